"""Electric vehicles of a scenario: a share of the households, drawn, and those of a list.

::

    evs:
      share: 0.4
      gives_back_share: 0.1
      charger_kw: {kind: choice, values: [3.7, 11], shares: [0.75, 0.25]}
      list:
        - name: Ann's car
          owner: LV2.101 Load 3
          battery_kwh: 60
          charger_kw: 11
          windows: [{arrive: "17:30", depart: "07:00", need_kwh: 8}]
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from tricell.scenarios.adoption import Positive, Share
from tricell.scenarios.distribution_choice import (
    HourDrawn,
    PositiveDrawn,
    ShareDrawn,
    replaced,
)
from tricell.scenarios.local_times import Interval, RunClock, When, hours_between, told
from tricell.scenarios.participant_faults import FieldFaults
from tricell.scenarios.section import Section, broken_rule
from tricell.scenarios.yaml_tree import Key
from tricell.simulators.device_checks import POWER_TOLERANCE
from tricell.simulators.device_populations import (
    HOME_VEHICLES,
    Owners,
    VehicleDistributions,
    draw_vehicles,
    draw_windows,
)
from tricell.simulators.electric_vehicles import ElectricVehicles, PlugWindows, VehicleFleet

NotNegative = Annotated[float, Field(ge=0)]
Efficiency = Annotated[float, Field(gt=0, le=1)]
Name = Annotated[str, Field(min_length=1)]


class PlugWindow(Section):
    """When a vehicle is plugged in, and what the drive before it used."""

    arrive: When
    """Time of the day by the local clock, such as 17:30, on every day; or a date and time."""
    depart: When
    """As `arrive`; a time of the day that is not after it lies on the day after."""
    need_kwh: NotNegative = 0.0
    """Energy that the drive before took from the battery, back at departure, kWh (0)."""

    @property
    def hours(self) -> float:
        """How long it lasts, h."""
        return hours_between(self.arrive, self.depart)


class Vehicle(Section):
    """One electric vehicle."""

    name: Name
    """Its name; unique."""
    owner: Name
    """Id of the participant where it charges."""
    battery_kwh: Positive
    """Usable capacity, kWh."""
    target_kwh: Positive | None = None
    """Energy wanted at every departure, kWh (null: `battery_kwh`)."""
    charger_kw: Positive
    """Largest power at the charger, each way, kW."""
    charge_efficiency: Efficiency = 0.92
    """Efficiency of charging (0.92)."""
    discharge_efficiency: Efficiency | None = None
    """Efficiency of giving back (null: as that of charging)."""
    gives_back: bool = False
    """Whether it may discharge while it is plugged in (false)."""
    reserve_kwh: NotNegative = 0.0
    """Giving back never goes below this, kWh (0)."""
    windows: Annotated[tuple[PlugWindow, ...], Field(min_length=1)]
    """When it is plugged in."""

    @property
    def wanted_kwh(self) -> float:
        """Energy wanted at every departure, kWh."""
        return self.battery_kwh if self.target_kwh is None else self.target_kwh

    @model_validator(mode="after")
    def _gives_back_if_that_is_described(self) -> Vehicle:
        for name in ("discharge_efficiency", "reserve_kwh"):
            if getattr(self, name) and not self.gives_back:
                raise broken_rule(
                    f"`{self.name}` has a {name}, but does not give back",
                    at=(name,),
                    allowed="it with `gives_back: true`",
                )
        return self

    @model_validator(mode="after")
    def _stored_energy_fits(self) -> Vehicle:
        for name, most, of in (
            ("target_kwh", self.battery_kwh, "battery_kwh"),
            ("reserve_kwh", self.wanted_kwh, "what is wanted at departure"),
        ):
            given = getattr(self, name)
            if given is not None and given > most:
                raise broken_rule(
                    f"the {name} of `{self.name}` is {given:g}, above {of}",
                    at=(name,),
                    allowed=f"at most {most:g}",
                )
        return self

    @model_validator(mode="after")
    def _windows_are_possible(self) -> Vehicle:
        for row, window in enumerate(self.windows):
            if window.hours <= 0:
                raise broken_rule(
                    f"`{self.name}` departs at {told(window.depart)} after arriving at "
                    f"{told(window.arrive)}: "
                    "its plug window is reversed",
                    at=("windows", row, "depart"),
                    allowed="a time after `arrive`, and of its kind: both of the day, or both "
                    "with a date",
                )
            most = min(self.wanted_kwh, window.hours * self.charger_kw * self.charge_efficiency)
            if window.need_kwh > most * (1 + POWER_TOLERANCE):
                raise broken_rule(
                    f"`{self.name}` needs {window.need_kwh:g} kWh",
                    at=("windows", row, "need_kwh"),
                    allowed=f"at most {most:.6g}: what it is to hold at departure, and what "
                    "charger_kw x charge_efficiency gives while it is plugged in",
                )
        return self

    @model_validator(mode="after")
    def _windows_lie_apart(self) -> Vehicle:
        dates = {isinstance(window.arrive, type(self.windows[0].arrive)) for window in self.windows}
        if len(dates) > 1:
            raise broken_rule(
                f"`{self.name}` has plug windows of the day and others with a date",
                at=("windows",),
                allowed="one kind",
            )
        order = sorted(range(len(self.windows)), key=lambda row: self.windows[row].arrive)
        for row, after in zip(order, [*order[1:], order[0]], strict=True):
            this, other = self.windows[row], self.windows[after]
            wait_h = hours_between(this.arrive, other.arrive)
            last_of_dated = after == order[0] and wait_h <= 0
            if this.hours > wait_h and len(order) > 1 and not last_of_dated:
                raise broken_rule(
                    f"the plug windows of `{self.name}` overlap: it arrives at "
                    f"{told(other.arrive)} and is to depart at {told(this.depart)}",
                    at=("windows", after, "arrive"),
                    allowed="windows one after the other",
                )
        return self


class VehicleChoice(Section):
    """Electric vehicles whose charging can be shifted; null for what was measured or assumed."""

    share: Share = 0.0
    """Share of the households with one, owners of a charger first (0)."""
    gives_back_share: Share = 0.0
    """Share of these that may give energy back (0)."""
    charger_kw: PositiveDrawn | None = None
    """Power at the charger, kW (null: 3.7, 11 or 22, as in SimBench)."""
    battery_kwh: PositiveDrawn | None = None
    """Usable capacity, kWh (null: 40, 60 or 80)."""
    target_share: ShareDrawn | None = None
    """Energy wanted at departure as a share of the battery (null: 0.8 or 1)."""
    charge_efficiency: ShareDrawn | None = None
    """Efficiency of charging, and of giving back (null: 0.88 to 0.94)."""
    charges_on_a_day: Share | None = None
    """Share of the days on which a vehicle is plugged in at home (null: 0.477, as in SimBench)."""
    arrival_h: HourDrawn | None = None
    """Hour of the day of arrival, local clock (null: 16.1, deviation 4.1, as in SimBench)."""
    departure_h: HourDrawn | None = None
    """Hour of the next day of departure, local clock (null: 7.5, deviation 1)."""
    charged_kwh: PositiveDrawn | None = None
    """Energy at the charger for a day's drives, kWh (null: median 3.52, as in SimBench)."""
    reserve_share: Share | None = None
    """Share of the battery below which nothing is given back (null: 0.3)."""
    list: tuple[Vehicle, ...] = ()
    """Vehicles one by one; their owners get none by `share` (none)."""

    @property
    def distributions(self) -> VehicleDistributions:
        """What vehicles are drawn from."""
        return replaced(HOME_VEHICLES, self)


def drawn_vehicles(
    wanted: VehicleChoice, owners: Owners, clock: RunClock, seed: int
) -> VehicleFleet:
    """Draw one vehicle for each owner, with its plug windows over the run."""
    from_data = wanted.distributions
    vehicles = draw_vehicles(owners, seed, from_data, wanted.gives_back_share)
    return draw_windows(vehicles, clock.run_time, seed, from_data)


def listed_vehicles(
    listed: tuple[Vehicle, ...],
    agents: np.ndarray,
    clock: RunClock,
    path: tuple[Key, ...],
    faults: FieldFaults,
) -> VehicleFleet:
    """Return the vehicles of a list, with their plug windows over the run.

    Parameters
    ----------
    listed : the vehicles.
    agents : int64, shape (n_vehicle,)
        Rows of their owners.
    clock : of the run.
    path : where the list stands in the scenario.
    faults : gets windows that hold no whole slot, or fewer than their need takes.
    """
    windows = [
        (vehicle, *slots)
        for vehicle, each in enumerate(listed)
        for slots in _windows_of(each, clock, (*path, vehicle), faults)
    ]
    vehicle, arrive, depart, need = np.array(windows, dtype=np.float64).reshape(-1, 4).T
    return VehicleFleet(
        _ratings(listed, agents),
        PlugWindows(
            vehicle=vehicle.astype(np.int64),
            arrive_slot=arrive.astype(np.int64),
            depart_slot=depart.astype(np.int64),
            need_kwh=need.copy(),
        ),
        clock.hours,
    )


def joined_vehicles(first: VehicleFleet, second: VehicleFleet) -> VehicleFleet:
    """Put two fleets one after the other."""
    arrays = {
        key: np.concatenate([value, getattr(second.vehicles, key)])
        for key, value in vars(first.vehicles).items()
        if key != "name"
    }
    vehicles = ElectricVehicles(name=first.vehicles.name + second.vehicles.name, **arrays)
    later = replace(second.windows, vehicle=second.windows.vehicle + len(first))
    windows = {
        key: np.concatenate([value, getattr(later, key)])
        for key, value in vars(first.windows).items()
    }
    return VehicleFleet(vehicles, PlugWindows(**windows), first.hours)


def _ratings(listed: tuple[Vehicle, ...], agents: np.ndarray) -> ElectricVehicles:
    def column(values: list[float]) -> np.ndarray:
        return np.array(values, dtype=np.float64)

    return ElectricVehicles(
        name=tuple(each.name for each in listed),
        agent=agents,
        battery_kwh=column([each.battery_kwh for each in listed]),
        target_kwh=column([each.wanted_kwh for each in listed]),
        charger_kw=column([each.charger_kw for each in listed]),
        charge_efficiency=column([each.charge_efficiency for each in listed]),
        discharge_efficiency=column(
            [each.discharge_efficiency or each.charge_efficiency for each in listed]
        ),
        gives_back=np.array([each.gives_back for each in listed], dtype=np.bool_),
        reserve_kwh=column([each.reserve_kwh for each in listed]),
    )


def _windows_of(
    vehicle: Vehicle, clock: RunClock, path: tuple[Key, ...], faults: FieldFaults
) -> list[tuple[int, int, float]]:
    """Return first slot, first slot gone and need of the windows that overlap the run."""
    windows = []
    gain_kwh = vehicle.charger_kw * vehicle.charge_efficiency * clock.hours
    for row, window in enumerate(vehicle.windows):
        for day, slots in clock.intervals(window.arrive, window.depart).items():
            gives = (slots.end - slots.first) * gain_kwh
            if slots.end <= slots.first or window.need_kwh > gives * (1 + POWER_TOLERANCE):
                _refuse_window(vehicle, day, slots, (*path, "windows", row, "need_kwh"), faults)
                break
            first = max(slots.first, 0)
            # of a window that began before the run, only what is still to come can be charged
            need = min(window.need_kwh, (slots.end - first) * gain_kwh)
            windows.append((first, slots.end, need))
    return windows


def _refuse_window(
    vehicle: Vehicle, day: str, slots: Interval, path: tuple[Key, ...], faults: FieldFaults
) -> None:
    whole = max(slots.end - slots.first, 0)
    faults.add(
        path,
        f"the plug window of `{vehicle.name}` on {day} has {whole} whole slots: too short for "
        "its need",
        allowed="windows that hold whole slots, in which charger_kw x charge_efficiency gives "
        "the need",
    )
