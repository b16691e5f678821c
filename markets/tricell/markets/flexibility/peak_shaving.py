"""The smallest peak that a battery can hold a load to, and what that saves in capacity charges.

::

    minimise    peak
    subject to  load + (c - d) / h <= peak,  peak >= 0            every slot, h hours long
                stored' = stored + eta_c c - d / eta_d,  0 <= stored' <= capacity,  c d = 0
                stored at the end >= stored at the start

Of all schedules with the smallest peak it is one that draws the least energy from the battery.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyomo.environ as pe
from numpy.typing import ArrayLike, NDArray

from tricell.errors import MarketError
from tricell.markets.flexibility.battery import (
    Battery,
    BatteryPath,
    battery_block,
    check_hours,
    check_series,
    path_of,
    replay,
)
from tricell.markets.flexibility.mixed_integer import has_optimum
from tricell.markets.mechanism import About

Floats = NDArray[np.float64]

ABOUT = About(
    name="peak_shaving",
    line="battery that holds the peak of a load as low as it can",
    source="the usual storage program with perfect foresight; tricell's own wording",
)

SAME_PEAK_KW = 1e-9
"""Peaks that are this near count as equal."""


@dataclass(frozen=True)
class PeakShaving:
    """The schedule with the smallest peak.

    Attributes
    ----------
    path : what the battery does.
    peak_before_kw, peak_after_kw : largest import without and with the battery, at least 0.
    saving_eur : shaved power times the capacity tariff.
    """

    path: BatteryPath
    peak_before_kw: float
    peak_after_kw: float
    saving_eur: float

    @property
    def shaved_kw(self) -> float:
        """What the battery takes off the peak."""
        return self.peak_before_kw - self.peak_after_kw


def shave_peak(
    load_kw: ArrayLike, battery: Battery, capacity_tariff: float, hours: float = 1.0
) -> PeakShaving:
    """Hold the peak of a load as low as a battery can.

    Parameters
    ----------
    load_kw : shape (slots,), negative where it feeds in.
    battery : it ends with what it holds at the start or more, whatever its `end_kwh`.
    capacity_tariff : EUR per kW of the peak.
    hours : length of a slot, h.

    Raises
    ------
    MarketError
        If a number is missing or not allowed.

    Examples
    --------
    >>> shave_peak([2.0, 6.0, 4.0, 2.0], Battery(3.0, 2.0, stored_kwh=1.5), 5.0).peak_after_kw
    4.0
    """
    load = np.asarray(load_kw, dtype=np.float64)
    check_series("load_kw", load, load.size)
    check_hours(hours)
    if not np.isfinite(capacity_tariff):
        raise MarketError(f"capacity_tariff is {capacity_tariff}; allowed is a finite number")
    battery = replace(battery, end_kwh=battery.stored_kwh)
    before = float(max(load.max(), 0.0))
    path = _smallest_peak(load, battery, hours)
    after = float(max(np.max(load + path.power_kwh / hours), 0.0))
    if after >= before - SAME_PEAK_KW:
        path, after = replay(battery, np.zeros(load.size), hours), before
    return PeakShaving(path, before, after, (before - after) * capacity_tariff)


def _smallest_peak(load: Floats, battery: Battery, hours: float) -> BatteryPath:
    slots = range(load.size)
    model = pe.ConcreteModel(name="peak shaving")
    model.battery = battery_block(battery, slots, hours)
    model.peak = pe.Var(bounds=(0.0, None))
    model.below_peak = pe.Constraint(
        slots,
        rule=lambda m, t: (
            float(load[t]) * hours + m.battery.charge[t] - m.battery.discharge[t] <= m.peak * hours
        ),
    )
    model.smallest_peak = pe.Objective(expr=model.peak)
    if not has_optimum(model):
        raise MarketError(f"{battery.name}: HiGHS found no schedule, though an idle one exists")
    model.peak.setub(model.peak.value)
    model.smallest_peak.deactivate()
    model.least_drawn = pe.Objective(expr=sum(model.battery.discharge.values()))
    has_optimum(model)  # If not, for rounding, the first schedule stays in the model.
    return path_of(model.battery, battery, slots, hours)
