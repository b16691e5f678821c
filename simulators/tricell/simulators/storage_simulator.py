"""mosaik simulator of all batteries: state of charge, and what they bid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.simulators.battery import apply_power, own_surplus_of_batteries
from tricell.simulators.battery_orders import BatterySlot, BatteryStrategy, KnownPrices
from tricell.simulators.messages import StorageNow
from tricell.simulators.population import Batteries
from tricell.simulators.slot_simulator import ChildKind, SlotSimulator

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PriceSeries:
    """Prices outside the local markets, per slot of the run, EUR/kWh."""

    wholesale: Floats
    retail: Floats
    feed_in: Floats


@dataclass(frozen=True)
class StorageSettings:
    """What the storage simulator is set up with.

    Attributes
    ----------
    batteries : ratings and first states.
    names : name of each battery.
    strategy : turns states and prices into orders.
    prices : prices that the strategies know.
    local_fee : network fee of each battery's own area, EUR/kWh.
    first_slot_of_day : slots between midnight UTC and the start of the run.
    """

    batteries: Batteries
    names: tuple[str, ...]
    strategy: BatteryStrategy
    prices: PriceSeries
    local_fee: Floats
    first_slot_of_day: int


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
        self._local_fee = settings.local_fee
        self._first_slot_of_day = settings.first_slot_of_day
        self._slots_per_day = 86_400 // self.step_s
        self._soc_kwh = settings.batteries.soc0_kwh.copy()

    def child_kinds(self) -> Sequence[ChildKind]:
        """One child per battery."""
        outputs = {"soc_kwh": "soc_kwh", "p_kw": "p_kw"}
        return (ChildKind("Battery", "battery", self._names, outputs),)

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
        )
        orders = self._strategy(self._batteries, state, self._known_prices(slot))
        self.outputs = {
            "storage": StorageNow(self._soc_kwh, orders),
            "soc_kwh": self._soc_kwh,
            "p_kw": done_kw,
        }

    def _known_prices(self, slot: int) -> KnownPrices:
        retail = self._prices.retail
        since_midnight = (slot + self._first_slot_of_day) % self._slots_per_day
        day_start, day_end = slot - since_midnight, slot - since_midnight + self._slots_per_day
        day_start = max(day_start, 0)
        return KnownPrices(
            retail_eur_per_kwh=float(retail[slot]),
            feed_in_eur_per_kwh=float(self._prices.feed_in[slot]),
            local_fee_eur_per_kwh=self._local_fee,
            day_retail_eur_per_kwh=retail[day_start:day_end],
            slot_of_day=slot - day_start,
        )
