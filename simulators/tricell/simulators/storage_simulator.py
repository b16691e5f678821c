"""mosaik simulator of all batteries: state of charge, and what they bid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.markets.charge import EnergyRates
from tricell.simulators.battery import apply_power, own_surplus_of_batteries
from tricell.simulators.battery_orders import BatterySlot, BatteryStrategy, KnownPrices
from tricell.simulators.look_ahead import LookAhead, RunPlan
from tricell.simulators.messages import StorageNow
from tricell.simulators.population import Batteries, IntArray
from tricell.simulators.slot_simulator import ChildKind, Memory, SlotSimulator

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PriceSeries:
    """Prices outside the local markets, per slot of the run, EUR/kWh."""

    wholesale: Floats
    retail: Floats
    feed_in: Floats


@dataclass(frozen=True)
class StorageRates:
    """What owners of batteries pay per kWh on top of prices, EUR/kWh.

    Arrays of shape (T, n_battery), with the length 1 on an axis along which they do not change.

    Attributes
    ----------
    fee : on energy from inside the battery's own area.
    imported : on every kWh that the owner imports, wherever it was bought.
    exported : on every kWh that the owner exports; negative where it earns.
    """

    fee: Floats
    imported: Floats
    exported: Floats


def storage_rates(
    rates: EnergyRates, area_fee: Floats, *, agent_area: IntArray, battery_agent: IntArray
) -> StorageRates:
    """Return what the owners of batteries pay per kWh.

    Parameters
    ----------
    rates : EnergyRates
        Network charges per kWh of all agents.
    area_fee : float64, shape (n_slot or 1, n_area)
        Fee of a kWh that is bought in each area, EUR/kWh.
    agent_area : int64, shape (n_agent,)
        Area of every agent.
    battery_agent : int64, shape (n_battery,)
        Owner of every battery.
    """

    def of_owners(rate: Floats) -> Floats:
        return rate if rate.shape[1] == 1 else rate[:, battery_agent]

    return StorageRates(
        fee=area_fee[:, agent_area[battery_agent]],
        imported=of_owners(rates.imported),
        exported=of_owners(rates.exported),
    )


@dataclass(frozen=True)
class StorageSettings:
    """What the storage simulator is set up with.

    Attributes
    ----------
    batteries : ratings and first states.
    names : name of each battery.
    strategy : turns states and prices into orders.
    prices : prices that the strategies know.
    rates : what the owners pay on top.
    first_slot_of_day : slots between midnight UTC and the start of the run.
    look_ahead : what a strategy that plans ahead foresees; None for all others.
    """

    batteries: Batteries
    names: tuple[str, ...]
    strategy: BatteryStrategy
    prices: PriceSeries
    rates: StorageRates
    first_slot_of_day: int
    look_ahead: LookAhead | None = None


@dataclass(frozen=True)
class _OwnerPrices:
    """Prices of the owners of batteries, all charges included."""

    prices: PriceSeries
    rates: StorageRates

    def retail_at(self, slots: IntArray) -> Floats:
        """Return all-in retail prices, EUR/kWh, shape (slots, n_battery) or (slots, 1)."""
        return self.prices.retail[slots, None] + _at(self.rates.imported, slots)

    def earned_at(self, slots: IntArray) -> Floats:
        """Return what exports earn, EUR/kWh, shape (slots, n_battery) or (slots, 1)."""
        return self.prices.feed_in[slots, None] - _at(self.rates.exported, slots)


def _at(rate: Floats, slots: IntArray) -> Floats:
    """Return the rates of some slots, one row if they never change."""
    return rate if len(rate) == 1 else rate[slots]


class StorageSimulator(SlotSimulator[StorageSettings]):
    """Batteries of all agents.

    Parent model ``Storage``: reads ``power`` of the households and ``battery_kw`` of the last
    slot's schedule (a time-shifted connection); gives ``storage`` (`StorageNow`). Children
    ``Battery`` (named by their agent): read ``soc_kwh`` at the start of the slot and ``p_kw`` of
    the slot before.
    """

    MODEL = "Storage"
    ATTRIBUTES = ("power", "battery_kw", "storage", "soc_kwh", "p_kw")

    def set_up(self, settings: StorageSettings) -> None:
        """Set up the fleet."""
        self._batteries, self._names = settings.batteries, settings.names
        self._strategy, self._prices = settings.strategy, settings.prices
        self._rates = settings.rates
        self._first_slot_of_day = settings.first_slot_of_day
        self._slots_per_day = 86_400 // self.step_s
        self._soc_kwh = settings.batteries.soc0_kwh.copy()
        self._plan: RunPlan | None = None
        if settings.look_ahead is not None:
            self._plan = RunPlan(
                settings.batteries,
                settings.look_ahead,
                _OwnerPrices(settings.prices, settings.rates),
                hours=self.step_s / 3600.0,
            )

    def child_kinds(self) -> Sequence[ChildKind]:
        """One child per battery."""
        outputs = {"soc_kwh": "soc_kwh", "p_kw": "p_kw"}
        return (ChildKind("Battery", "battery", self._names, outputs),)

    def recall(self, memory: Memory) -> None:
        """Go on with the energy that was stored at the start of the slot before."""
        self._soc_kwh = memory["soc_kwh"]

    def advance(self, slot: int, inputs: Mapping[str, Any]) -> None:
        """Carry out the last set-points, then bid for this slot."""
        hours = self.step_s / 3600.0
        done_kw = self.parent_input(inputs, "battery_kw")
        if slot > 0:
            self._soc_kwh = apply_power(self._batteries, self._soc_kwh, done_kw, hours)
        power = self.parent_input(inputs, "power")
        surplus = power.generation_kw - power.p_load_kw
        state = BatterySlot(
            soc_kwh=self._soc_kwh,
            own_surplus_kw=own_surplus_of_batteries(self._batteries, surplus),
            hours=hours,
            plan=None if self._plan is None else self._plan.of_slot(slot),
        )
        orders = self._strategy(self._batteries, state, self._known_prices(slot))
        self.outputs = {
            "storage": StorageNow(self._soc_kwh, orders),
            "soc_kwh": self._soc_kwh,
            "p_kw": done_kw,
        }

    def _known_prices(self, slot: int) -> KnownPrices:
        since_midnight = (slot + self._first_slot_of_day) % self._slots_per_day
        day_start, day_end = slot - since_midnight, slot - since_midnight + self._slots_per_day
        day_start = max(day_start, 0)
        prices, rates, now = self._prices, self._rates, np.array([slot])
        day_retail = prices.retail[day_start:day_end]
        if rates.imported.any():
            day = np.arange(day_start, day_start + len(day_retail))
            day_retail = day_retail[:, None] + _at(rates.imported, day)
        imported = _at(rates.imported, now)[0]
        return KnownPrices(
            retail_eur_per_kwh=float(prices.retail[slot]) + imported,
            feed_in_eur_per_kwh=float(prices.feed_in[slot]),
            local_fee_eur_per_kwh=_at(rates.fee, now)[0] + imported,
            day_retail_eur_per_kwh=day_retail,
            slot_of_day=slot - day_start,
            export_charge_eur_per_kwh=_at(rates.exported, now)[0],
        )
