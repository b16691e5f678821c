"""PV plants of a scenario that follow the weather, each with its own roof.

::

    weather: {try_region: 4}
    participants:
      pv: weather                       # or, with all that can be said:
      pv:
        kind: weather
        tilt_deg: {kind: choice, values: [20, 40]}
        azimuth_deg: 180
        losses: 0.12
        plants:
          - {participant: LV2.101 Load 3, tilt_deg: 10, azimuth_deg: 90}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field

from tricell.scenarios.distribution_choice import Drawn, distribution_of, values_within
from tricell.scenarios.participant_faults import FieldFaults
from tricell.scenarios.pv_power import USUAL_LOSSES, pv_power_over_the_year
from tricell.scenarios.section import Section, broken_rule
from tricell.scenarios.weather import SOURCE, Weather, rows_of_the_year
from tricell.scenarios.yaml_tree import Key
from tricell.simulators.device_populations import Owners
from tricell.simulators.distributions import ASSUMED, Choice, Distribution
from tricell.simulators.population import (
    NO_PROFILE,
    AgentKind,
    DeviceKind,
    FloatArray,
    Population,
)

DEGREES = "degrees"
ROOF_TILT = Choice((15.0, 30.0, 45.0), (0.25, 0.5, 0.25), DEGREES, ASSUMED)
ROOF_AZIMUTH = Choice(
    (90.0, 135.0, 180.0, 225.0, 270.0), (0.15, 0.15, 0.4, 0.15, 0.15), DEGREES, ASSUMED
)
OPEN_GROUND_DEG = (25.0, 180.0)
"""Tilt and azimuth of the plants of producers, which stand on open ground; assumed."""
STEP_DEG = 5.0
"""Drawn angles are whole multiples of this, so that many plants share a profile."""


def _lies_within(most: float) -> AfterValidator:
    def check(drawn: Drawn) -> Drawn:
        low, high = values_within(drawn)
        if not 0 <= low <= high <= most:
            given = f"`{low:g}`" if low == high else f"an angle between {low:g} and {high:g}"
            raise broken_rule(f"{given} is no such angle", allowed=f"0 to {most:g} degrees")
        return drawn

    return AfterValidator(check)


class PvRoof(Section):
    """The modules of one participant."""

    participant: Annotated[str, Field(min_length=1)]
    """Id of the participant with the plant."""
    tilt_deg: Annotated[float, Field(ge=0, le=90)]
    """0 level to 90 upright, degrees."""
    azimuth_deg: Annotated[float, Field(ge=0, le=360)]
    """Where they face, from north over east: 90 east, 180 south, 270 west, degrees."""


class PvFromData(Section):
    """PV plants follow the profiles of the data."""

    kind: Literal["data"] = "data"


class PvFromWeather(Section):
    """PV plants follow the sun of `weather`; their rated power stays."""

    kind: Literal["weather"] = "weather"
    tilt_deg: Annotated[Drawn, _lies_within(90.0)] | None = None
    """Tilt of the modules, 0 level to 90 upright, degrees (null: roofs 15, 30, 45; others 25)."""
    azimuth_deg: Annotated[Drawn, _lies_within(360.0)] | None = None
    """Where they face, 90 east, 180 south, degrees (null: roofs 90 to 270; others 180)."""
    losses: Annotated[float, Field(ge=0, lt=1)] = USUAL_LOSSES
    """Losses before the inverter by dirt, shade, wires, age, as a share (0.14)."""
    plants: tuple[PvRoof, ...] = ()
    """Participants whose modules are known (none)."""


def _kind_alone(value: object) -> object:
    return {"kind": value} if isinstance(value, str) else value


AnyPv = Annotated[PvFromData | PvFromWeather, Field(discriminator="kind")]
PvSource = Annotated[
    AnyPv,
    BeforeValidator(_kind_alone, json_schema_input_type=AnyPv | Literal["data", "weather"]),
]
"""What PV plants follow; ``pv: weather`` is short for ``pv: {kind: weather}``."""


def pv_from_weather(
    population: Population, wanted: PvFromWeather, weather: Weather, seed: int
) -> Population:
    """Return a population whose PV plants follow the weather.

    Parameters
    ----------
    population : Population
        With any profiles; those of its PV plants are not looked at.
    wanted : PvFromWeather
    weather : Weather
    seed : int
        Of the angles that are drawn; each participant has one roof.

    Raises
    ------
    ParticipantError
        If a plant that is listed does not exist.
    """
    devices, profiles = population.devices, population.profiles
    plants = np.flatnonzero((devices.kind == DeviceKind.PV) & devices.generates)
    owner, of_plant = np.unique(devices.agent[plants], return_inverse=True)
    roofs = _roofs(population, owner, wanted, seed)
    rows = rows_of_the_year(profiles.start, len(profiles.values), profiles.step_s)
    kinds, of_owner = np.unique(roofs, axis=0, return_inverse=True)
    columns = [
        pv_power_over_the_year(
            weather.try_region, float(tilt), float(azimuth), wanted.losses, profiles.step_s
        )[rows].astype(np.float32)
        for tilt, azimuth in kinds
    ]
    column = devices.p_profile.copy()
    column[plants] = len(profiles.columns) + of_owner.reshape(-1)[of_plant]
    has_reactive = np.zeros(len(devices), dtype=np.bool_)
    has_reactive[plants] = devices.q_profile[plants] != NO_PROFILE
    names = tuple(f"weather/PV {tilt:g} deg, {azimuth:g} deg" for tilt, azimuth in kinds)
    note = (
        f"{len(plants)} PV plants follow the sun of climate region {weather.try_region}: {SOURCE}; "
        "29 February has the weather of 28 February. Their rated power is that of the data."
    )
    return replace(
        population,
        devices=replace(
            devices,
            p_profile=column,
            q_profile=np.where(has_reactive, column, devices.q_profile),
        ),
        profiles=replace(
            profiles,
            values=np.column_stack([profiles.values, *columns]),
            columns=(*profiles.columns, *names),
        ),
        notes=(*population.notes, note),
    )


def _roofs(
    population: Population, owner: np.ndarray, wanted: PvFromWeather, seed: int
) -> FloatArray:
    """Return tilt and azimuth of the modules of each owner, degrees, shape (n_owner, 2)."""
    ids = population.agents.id
    owners = Owners(tuple(ids[agent] for agent in owner), owner)
    on_roof = population.agents.kind[owner] != AgentKind.PRODUCER
    roofs = np.empty((len(owner), 2))
    for column, (quantity, given, usual) in enumerate(
        (
            ("pv tilt", wanted.tilt_deg, ROOF_TILT),
            ("pv azimuth", wanted.azimuth_deg, ROOF_AZIMUTH),
        )
    ):
        known: Distribution = usual if given is None else distribution_of(given, DEGREES)
        drawn = owners.drawn(seed, quantity, known)
        if not isinstance(given, int | float):
            drawn = np.round(drawn / STEP_DEG) * STEP_DEG
        ground = OPEN_GROUND_DEG[column]
        roofs[:, column] = np.where(on_roof | (given is not None), drawn, ground)
    for row, plant in _listed(owners, wanted):
        roofs[row] = plant.tilt_deg, plant.azimuth_deg
    return roofs


def _listed(owners: Owners, wanted: PvFromWeather) -> list[tuple[int, PvRoof]]:
    """Return the plants that are listed, with their positions in `owners`."""
    faults = FieldFaults()
    names = [plant.participant for plant in wanted.plants]
    found = plants_of_list(names, owners.name, ("participants", "pv", "plants"), faults)
    faults.raise_if_any()
    return list(zip(found, wanted.plants, strict=True))


def plants_of_list(
    names: Sequence[str], owners: Sequence[str], path: tuple[Key, ...], faults: FieldFaults
) -> list[int]:
    """Return the positions of listed participants among the owners of PV plants.

    Parameters
    ----------
    names : participants as listed.
    owners : ids of all participants with a PV plant.
    path : where the list stands in the scenario.
    faults : gets those without a plant, and those that are listed twice.
    """
    rows = {name: row for row, name in enumerate(owners)}
    allowed = "the id of a participant with PV and no other plant"
    found = []
    for number, name in enumerate(names):
        where = (*path, number, "participant")
        found.append(faults.row_of(name, rows, where, f"`{name}` has no PV plant", allowed))
        if name in names[:number]:
            faults.add(where, f"the plant of `{name}` is listed twice", suggestion="list it once")
    return [row for row in found if row is not None]
