"""A battery in a schedule: its ratings, its constraints, and the schedule replayed step by step.

The stored energy after a slot with ``c`` kWh charged and ``d`` kWh discharged at the terminals is::

    stored' = stored + eta_c c - d / eta_d,    0 <= stored' <= capacity,    c d = 0
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import pyomo.environ as pe
from numpy.typing import NDArray

from tricell.errors import MarketError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Battery:
    """Ratings of a battery and what it holds.

    Attributes
    ----------
    capacity_kwh : above 0.
    power_kw : largest power at the terminals, each way, at least 0; may be infinite.
    stored_kwh : at the start, at most the capacity.
    end_kwh : least that it holds at the end.
    charge_efficiency, discharge_efficiency : above 0 and at most 1.
    wear_eur_per_kwh : per kWh discharged, at least 0.
    name : what errors call it.

    Raises
    ------
    MarketError
        If one of them is not allowed.
    """

    capacity_kwh: float
    power_kw: float
    stored_kwh: float = 0.0
    end_kwh: float = 0.0
    charge_efficiency: float = 1.0
    discharge_efficiency: float = 1.0
    wear_eur_per_kwh: float = 0.0
    name: str = "battery"

    def __post_init__(self) -> None:
        capacity = self.capacity_kwh
        rules = (
            ("capacity_kwh", 0.0 < capacity < np.inf, "a finite number above 0"),
            ("power_kw", self.power_kw >= 0.0, "a number of at least 0"),
            ("stored_kwh", 0.0 <= self.stored_kwh <= capacity, f"0 to {capacity:g}, the capacity"),
            ("end_kwh", 0.0 <= self.end_kwh < np.inf, "a finite number of at least 0"),
            ("charge_efficiency", 0.0 < self.charge_efficiency <= 1.0, "above 0 and at most 1"),
            (
                "discharge_efficiency",
                0.0 < self.discharge_efficiency <= 1.0,
                "above 0 and at most 1",
            ),
            ("wear_eur_per_kwh", 0.0 <= self.wear_eur_per_kwh < np.inf, "a finite number, 0 or up"),
        )
        for parameter, is_allowed, allowed in rules:
            if not is_allowed:
                raise MarketError(
                    f"{self.name}: {parameter} is {getattr(self, parameter)}; allowed is {allowed}"
                )

    def most_charged_kwh(self, hours: float) -> float:
        """Most energy that a slot can take at the terminals, kWh."""
        return min(self.power_kw * hours, self.capacity_kwh / self.charge_efficiency)

    def most_discharged_kwh(self, hours: float) -> float:
        """Most energy that a slot can give at the terminals, kWh."""
        return min(self.power_kw * hours, self.capacity_kwh * self.discharge_efficiency)


@dataclass(frozen=True)
class BatteryPath:
    """What a battery does; arrays of shape (slots,), kWh at the terminals.

    Attributes
    ----------
    charge_kwh, discharge_kwh : at least 0, never both above 0 in a slot.
    stored_kwh : at the end of each slot.
    """

    charge_kwh: Floats
    discharge_kwh: Floats
    stored_kwh: Floats

    @property
    def power_kwh(self) -> Floats:
        """Energy taken from outside in each slot, negative when it gives, kWh."""
        return self.charge_kwh - self.discharge_kwh


def battery_block(battery: Battery, slots: range, hours: float, missing: Any = 0.0) -> pe.Block:
    """Variables and constraints of a battery over consecutive slots, one at least.

    `missing` is what it may lack at the end: a number, or a variable of the model, kWh.
    """
    block = pe.Block(concrete=True)
    most_in, most_out = battery.most_charged_kwh(hours), battery.most_discharged_kwh(hours)
    block.charge = pe.Var(slots, bounds=(0.0, most_in))
    block.discharge = pe.Var(slots, bounds=(0.0, most_out))
    block.stored = pe.Var(slots, bounds=(0.0, battery.capacity_kwh))
    block.is_charging = pe.Var(slots, domain=pe.Binary)

    def storage(b: pe.Block, t: int) -> Any:
        before = b.stored[t - 1] if t > slots.start else battery.stored_kwh
        taken = battery.charge_efficiency * b.charge[t]
        given = b.discharge[t] / battery.discharge_efficiency
        return b.stored[t] - before == taken - given

    block.storage = pe.Constraint(slots, rule=storage)
    block.charge_only = pe.Constraint(
        slots, rule=lambda b, t: b.charge[t] <= most_in * b.is_charging[t]
    )
    block.discharge_only = pe.Constraint(
        slots, rule=lambda b, t: b.discharge[t] <= most_out * (1.0 - b.is_charging[t])
    )
    block.end = pe.Constraint(expr=block.stored[slots[-1]] + missing >= battery.end_kwh)
    return block


def path_of(block: pe.Block, battery: Battery, slots: range, hours: float) -> BatteryPath:
    """Replay the solved block, so that no tolerance of the solver is left in the energies."""

    def values(variable: pe.Var) -> Floats:
        return np.array([variable[t].value for t in slots], dtype=np.float64)

    net = values(block.charge) - values(block.discharge)
    charging = values(block.is_charging) > 0.5
    return replay(battery, np.where(charging, np.maximum(net, 0.0), np.minimum(net, 0.0)), hours)


def replay(battery: Battery, power_kwh: Floats, hours: float) -> BatteryPath:
    """Run a battery step by step at a wanted energy per slot, cut to what it can take and give.

    Parameters
    ----------
    battery : its ratings.
    power_kwh : shape (slots,), energy at the terminals, negative when it gives, kWh.
    hours : length of a slot, h.

    Examples
    --------
    >>> battery = Battery(capacity_kwh=2.0, power_kw=3.0, charge_efficiency=0.5)
    >>> replay(battery, np.array([5.0, -4.0]), 1.0).stored_kwh
    array([1.5, 0. ])
    """
    charge, discharge, stored = (np.zeros(len(power_kwh)) for _ in range(3))
    now = battery.stored_kwh
    most = battery.power_kw * hours
    for t, wanted in enumerate(power_kwh.tolist()):
        room = (battery.capacity_kwh - now) / battery.charge_efficiency
        charge[t] = min(max(wanted, 0.0), most, room)
        discharge[t] = min(max(-wanted, 0.0), most, now * battery.discharge_efficiency)
        now += battery.charge_efficiency * charge[t] - discharge[t] / battery.discharge_efficiency
        now = min(max(now, 0.0), battery.capacity_kwh)
        stored[t] = now
    return BatteryPath(charge, discharge, stored)


def check_series(name: str, values: Floats, slots: int) -> None:
    """Refuse a series that is empty, of another length, or with a gap.

    Raises
    ------
    MarketError
        Naming the series, and the slot of the gap.
    """
    if not slots:
        raise MarketError(f"{name} has no slot; a schedule needs at least one")
    if values.shape != (slots,):
        raise MarketError(f"{name} has shape {values.shape}; allowed is ({slots},), one per slot")
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise MarketError(
            f"{name} in slot {wrong[0]} is {values[wrong[0]]}; allowed is a finite number"
        )


def check_hours(hours: float) -> None:
    """Refuse a slot without length.

    Raises
    ------
    MarketError
        If it is not above 0, or endless.
    """
    if not (isfinite(hours) and hours > 0.0):
        raise MarketError(f"slots are {hours} h long; allowed is a finite number above 0")
