"""What batteries foresee: own net power of their owners, peak plans, and values of stored energy.

The own net power is that of the forecasts that hold at the gates (`PowerForecast`), without what
simulators of third parties add. Stored energy is valued once, backwards from the end of the run,
so that no slot knows more or less of what follows it than its neighbours: a plan that is made anew
at a fixed hour, with a longer view than the one before it, would make all batteries change their
mind in that hour. Beyond the end of the run one more day is taken to be like the last one, so that
batteries do not sell out because the run ends.

Values are kept at the end of every day of the run and worked out again for the slots of a day
when it comes. That takes up to 320 bytes per battery and day; power and reserves of a whole run
take 16 bytes per battery and slot: 14 MB for 300 batteries and a month of quarter hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tricell.markets.charge import PeakSignal
from tricell.simulators.battery import own_surplus_of_batteries
from tricell.simulators.battery_orders import SlotPlan
from tricell.simulators.battery_strategies import make_planner
from tricell.simulators.energy_plan import EnergyPlanner, Outlook, StoredValue
from tricell.simulators.peak_plan import PeakPlan, plan_peaks
from tricell.simulators.population import Batteries, FloatArray, IntArray
from tricell.simulators.power_forecast import PowerForecast, like_the_last_day
from tricell.simulators.strategies.bill_saving import BillSaving
from tricell.simulators.strategies.price_band import PriceBand
from tricell.simulators.strategies.self_consumption import SelfConsumption

SLOTS_AT_ONCE = 96


@dataclass(frozen=True)
class LookAhead:
    """What the storage simulator plans with.

    Attributes
    ----------
    planner : values stored energy, part by part of the run.
    net_kw : own net power of each battery's owner, its share, kW; shape (T, n_battery).
    peaks : caps on imports and the reserves that they need; None without a price on power.
    """

    planner: EnergyPlanner
    net_kw: FloatArray
    peaks: PeakPlan | None


class OwnerPrices(Protocol):
    """Prices of the owners of all batteries over the run."""

    def retail_at(self, slots: IntArray) -> FloatArray:
        """Return all-in retail prices, EUR/kWh, shape (slots, n_battery) or (slots, 1)."""

    def earned_at(self, slots: IntArray) -> FloatArray:
        """Return what exports earn, EUR/kWh, shape (slots, n_battery) or (slots, 1)."""


def look_ahead(
    parameters: SelfConsumption | PriceBand | BillSaving,
    batteries: Batteries,
    *,
    forecast: PowerForecast,
    month: IntArray,
    hours: float,
    signals: Sequence[PeakSignal] = (),
) -> LookAhead | None:
    """Foresee what a strategy needs for a run.

    Parameters
    ----------
    parameters : SelfConsumption, PriceBand or BillSaving
        The strategy of all batteries.
    batteries : Batteries
        What plans.
    forecast : PowerForecast
        Of the power of their owners.
    month : int64, shape (T,)
        Number of the month of every slot; its length is that of the run.
    hours : float
        Length of a slot, h.
    signals : sequence of PeakSignal
        Prices on the power of the agents.

    Returns
    -------
    LookAhead or None
        None for strategies that do not plan ahead.
    """
    planner = make_planner(parameters)
    if planner is None or not len(batteries):
        return None
    assert isinstance(parameters, BillSaving)
    net_kw = own_net_kw(batteries, forecast, len(month))
    heeded = signals if parameters.peak_shaving else ()
    peaks = plan_peaks(batteries, net_kw, heeded, month, hours)
    return LookAhead(planner, net_kw, peaks)


def own_net_kw(batteries: Batteries, forecast: PowerForecast, slots: int) -> FloatArray:
    """Compute the own net power that each battery answers for.

    Parameters
    ----------
    batteries : Batteries
        Ratings and owners.
    forecast : PowerForecast
        Of the power of their owners.
    slots : int
        Number of slots of the run.

    Returns
    -------
    float64, shape (slots, n_battery)
        Load less generation, kW, positive imports; see
        `tricell.simulators.battery.own_surplus_of_batteries`.
    """
    net_kw = np.empty((slots, len(batteries)))
    for first in range(0, slots, SLOTS_AT_ONCE):
        count = min(SLOTS_AT_ONCE, slots - first)
        block = forecast.of_slots(first, count)
        surplus = block.p_generation_available_kw - block.p_load_kw
        for row in range(count):
            net_kw[first + row] = -own_surplus_of_batteries(batteries, surplus[row])
    return net_kw


class RunPlan:
    """Tells the plan of every slot; see the module.

    Parameters
    ----------
    batteries : ratings.
    foreseen : what is foreseen for the run.
    prices : of the owners.
    hours : length of a slot, h.
    """

    def __init__(
        self, batteries: Batteries, foreseen: LookAhead, prices: OwnerPrices, *, hours: float
    ) -> None:
        self._batteries, self._foreseen, self._prices = batteries, foreseen, prices
        self._hours, self._slots_per_day = hours, round(24.0 / hours)
        count = len(foreseen.net_kw)
        run = np.arange(count)
        self._levels = foreseen.planner.levels(
            batteries, prices.retail_at(run), prices.earned_at(run)
        )
        beyond = np.arange(count, count + self._slots_per_day)
        after = self._fillings(beyond, None)[1]
        self._after: list[FloatArray] = []
        for part in range((count - 1) // self._slots_per_day, -1, -1):
            self._after.insert(0, after)
            if part:
                after = self._fillings(self._slots_of(part), after)[1]
        self._part, self._at_end = -1, after

    def of_slot(self, slot: int) -> SlotPlan:
        """Return the plan of a slot; cheapest where slots are asked for in the order of time."""
        part = slot // self._slots_per_day
        if part != self._part:
            self._part = part
            self._at_end = self._fillings(self._slots_of(part), self._after[part])[0]
        peaks = self._foreseen.peaks
        n_battery = len(self._batteries)
        return SlotPlan(
            value=StoredValue(
                self._levels,
                self._at_end[slot % self._slots_per_day],
                self._batteries.energy_kwh,
            ),
            cap_kw=np.full(n_battery, np.inf) if peaks is None else peaks.cap_kw[peaks.span[slot]],
            reserve_kwh=np.zeros(n_battery) if peaks is None else peaks.reserve_kwh[slot + 1],
        )

    def _slots_of(self, part: int) -> IntArray:
        first = part * self._slots_per_day
        return np.arange(first, min(first + self._slots_per_day, len(self._foreseen.net_kw)))

    def _fillings(self, ahead: IntArray, after: FloatArray | None) -> tuple[FloatArray, FloatArray]:
        net_kw, peaks = self._foreseen.net_kw, self._foreseen.peaks
        slots = like_the_last_day(ahead, len(net_kw), self._slots_per_day)
        none = np.zeros((len(ahead), 1))
        outlook = Outlook(
            retail=self._prices.retail_at(slots),
            earns=self._prices.earned_at(slots),
            net_kw=net_kw[slots],
            cap_kw=none + np.inf if peaks is None else peaks.cap_kw[peaks.span[slots]],
            reserve_kwh=none
            if peaks is None
            else peaks.reserve_kwh[np.minimum(ahead + 1, len(net_kw))],
            hours=self._hours,
        )
        return self._foreseen.planner.fillings(self._batteries, outlook, self._levels, after)
