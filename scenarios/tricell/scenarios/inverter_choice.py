"""PV inverters of a scenario that control reactive power: a share of the plants, and a list.

::

    inverters: {control: voltage}       # Q(U) as VDE-AR-N 4105 asks for, or with more to say:
    inverters:
      control: power_factor
      share: 0.8
      power_factor: 0.95
      kva_per_kwp: {kind: uniform, least: 0.8, most: 1.0}
      plants:
        - {participant: LV2.101 Load 3, rated_kva: 10, control: voltage}
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from tricell.scenarios.adoption import Share
from tricell.scenarios.distribution_choice import PositiveDrawn, replaced
from tricell.scenarios.participant_faults import FieldFaults
from tricell.scenarios.pv_choice import plants_of_list
from tricell.scenarios.section import Section, broken_rule
from tricell.simulators.device_populations import ROOF_INVERTERS, Owners, draw_inverters
from tricell.simulators.inverter import (
    Q_OF_U_VOLTAGE_PU,
    Inverters,
    ReactiveControl,
    least_power_factor,
    standard_characteristic,
)
from tricell.simulators.population import NO_PROFILE, DeviceKind, FloatArray, IntArray, Population

Control = Literal["power_factor", "voltage"]
PowerFactor = Annotated[float, Field(gt=0, le=1)]
Voltage = Annotated[float, Field(gt=0.5, lt=1.5)]
CODES = {
    "power_factor": ReactiveControl.POWER_FACTOR,
    "voltage": ReactiveControl.VOLTAGE,
}
PATH = ("participants", "inverters")


class PlantInverter(Section):
    """The inverter of one participant's PV plant."""

    participant: Annotated[str, Field(min_length=1)]
    """Id of the participant with the plant."""
    rated_kva: float
    """Rated apparent power, kVA."""
    control: Control | None = None
    """What sets its reactive power (null: as all others)."""
    power_factor: float | None = None
    """The one it holds, or the least one with `voltage` (null: as all others)."""

    @model_validator(mode="after")
    def _is_possible(self) -> PlantInverter:
        if self.rated_kva <= 0:
            raise broken_rule(
                f"the inverter of `{self.participant}` has {self.rated_kva:g} kVA",
                at=("rated_kva",),
                allowed="above 0",
            )
        if self.power_factor is not None and not 0 < self.power_factor <= 1:
            raise broken_rule(
                f"the inverter of `{self.participant}` has the power factor {self.power_factor:g}",
                at=("power_factor",),
                allowed="above 0 and at most 1",
            )
        return self


class InverterChoice(Section):
    """Inverters of PV plants that control reactive power; all other plants have that of the data.

    An inverter also limits what its plant can feed in to its apparent power.
    """

    control: Control
    """`power_factor`: a fixed one; `voltage`: by the voltage, as Q(U) says."""
    share: Share = 1.0
    """Share of the PV plants with such an inverter, drawn by the seed (1)."""
    power_factor: PowerFactor | None = None
    """Power factor held, or the least one (null: 0.95 up to 4.6 kVA, else 0.9; VDE-AR-N 4105)."""
    absorbs: bool = True
    """With `power_factor`: whether reactive power is absorbed, which lowers the voltage (true)."""
    kva_per_kwp: PositiveDrawn | None = None
    """Rated apparent power per peak power of the modules, kVA/kWp (null: 0.85 to 1)."""
    gives_way: Literal["active", "reactive"] = "active"
    """Which power is cut where both exceed the apparent power (active)."""
    corners_pu: tuple[Voltage, Voltage, Voltage, Voltage] = Q_OF_U_VOLTAGE_PU
    """With `voltage`: all reactive power generated up to the first voltage, none between the second
    and third, all absorbed from the last on, pu (0.93, 0.97, 1.03, 1.07)."""
    plants: tuple[PlantInverter, ...] = ()
    """Inverters one by one; `share` leaves these participants out (none)."""

    @model_validator(mode="after")
    def _corners_rise(self) -> InverterChoice:
        if (np.diff(self.corners_pu) <= 0).any():
            raise broken_rule(
                f"the corners {', '.join(f'{corner:g}' for corner in self.corners_pu)} do not rise",
                at=("corners_pu",),
                allowed="four voltages, each above the one before",
            )
        return self

    @model_validator(mode="after")
    def _says_nothing_in_vain(self) -> InverterChoice:
        used = {plant.control or self.control for plant in self.plants}
        used |= {self.control} if self.share > 0 else set()
        for name, default, control in (
            ("absorbs", True, "power_factor"),
            ("corners_pu", Q_OF_U_VOLTAGE_PU, "voltage"),
        ):
            if getattr(self, name) != default and control not in used:
                raise broken_rule(
                    f"`{name}` does nothing, as no inverter has `control: {control}`",
                    at=(name,),
                    allowed=f"only with `control: {control}`",
                )
        return self


def with_inverters(
    population: Population, wanted: InverterChoice | None, seed: int, faults: FieldFaults
) -> tuple[Population, Inverters | None]:
    """Return everybody without the data's reactive power where an inverter has it, and those.

    Parameters
    ----------
    population : Population
    wanted : InverterChoice or None
    seed : int
        Of whose plants have such an inverter, and of their ratings.
    faults : FieldFaults
        Gets the plants that are listed and do not exist.
    """
    if wanted is None:
        return population, None
    owners = pv_owners(population)
    names = [plant.participant for plant in wanted.plants]
    found = plants_of_list(names, owners.name, (*PATH, "plants"), faults)
    if faults.found:
        return population, None
    listed = np.array(found, dtype=np.int64)
    drawn = _drawn(owners, listed, wanted.share, seed)
    rows = np.concatenate([listed, drawn])
    if not len(rows):
        return population, None
    chosen = Owners(tuple(owners.name[row] for row in rows), owners.agent[rows])
    inverters = _inverters(chosen, wanted, _rated_kva(population, chosen, wanted, seed))
    by_voltage = int((inverters.control == ReactiveControl.VOLTAGE).sum())
    note = (
        f"{len(inverters)} of {len(owners.name)} PV plants have inverters that control reactive "
        f"power, {by_voltage} of them by the voltage."
    )
    population = replace(population, notes=(*population.notes, note))
    return _without_reactive_power(population, inverters.agent), inverters


def pv_owners(population: Population) -> Owners:
    """Return the participants that own PV and no other plants."""
    devices = population.devices
    is_pv = devices.kind == DeviceKind.PV
    with_pv = devices.agent[devices.generates & is_pv & (devices.rated_kw > 0)]
    with_others = devices.agent[devices.generates & ~is_pv]
    agent = np.setdiff1d(with_pv, with_others)
    return Owners(tuple(population.agents.id[row] for row in agent), agent)


def _drawn(owners: Owners, listed: IntArray, share: float, seed: int) -> IntArray:
    """Return positions of a share of the other owners; a smaller share is part of a larger one."""
    others = np.setdiff1d(np.arange(len(owners.name)), listed)
    order = np.argsort(owners.uniforms(seed, "pv inverter owner", 1)[0][others], kind="stable")
    return np.sort(others[order[: round(share * len(others))]])


def _rated_kva(
    population: Population, owners: Owners, wanted: InverterChoice, seed: int
) -> FloatArray:
    """Return rated apparent powers: listed plants first, then drawn ones."""
    from_data = replaced(ROOF_INVERTERS, wanted)
    peak_kw = population.pv_kwp[owners.agent]
    rated = draw_inverters(owners, peak_kw, seed, from_data).rated_kva
    rated[: len(wanted.plants)] = [plant.rated_kva for plant in wanted.plants]
    return rated


def _inverters(owners: Owners, wanted: InverterChoice, rated_kva: FloatArray) -> Inverters:
    """Return inverters with their settings: those of the list first."""
    n = len(rated_kva)
    control = np.full(n, int(CODES[wanted.control]))
    power_factor = least_power_factor(rated_kva)
    if wanted.power_factor is not None:
        power_factor = np.full(n, wanted.power_factor)
    for row, plant in enumerate(wanted.plants):
        control[row] = CODES[plant.control or wanted.control]
        power_factor[row] = plant.power_factor or power_factor[row]
    _, share = standard_characteristic(power_factor)
    return Inverters(
        name=owners.name,
        agent=owners.agent,
        rated_kva=rated_kva,
        control=control,
        power_factor=power_factor,
        absorbs=np.full(n, wanted.absorbs),
        reactive_first=np.full(n, wanted.gives_way == "active"),
        voltage_pu=np.tile(wanted.corners_pu, (n, 1)),
        reactive_share=share,
    )


def _without_reactive_power(population: Population, owners: IntArray) -> Population:
    """Take the data's reactive power from the plants of some owners."""
    devices = population.devices
    taken = devices.generates & np.isin(devices.agent, owners)
    return replace(
        population,
        devices=replace(
            devices,
            q_profile=np.where(taken, NO_PROFILE, devices.q_profile),
            rated_kvar=np.where(taken, 0.0, devices.rated_kvar),
        ),
    )
