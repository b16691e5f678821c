"""Prices that the owners of stores see, all charges included."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tricell.markets.charge import EnergyRates
from tricell.simulators.battery_orders import KnownPrices
from tricell.simulators.population import IntArray

Floats = NDArray[np.float64]

AUCTION_HOUR = 13.0
"""From this hour of the day (UTC) on the prices of the next day are known, too."""


@dataclass(frozen=True)
class PriceSeries:
    """Prices outside the local markets, per slot of the run, EUR/kWh."""

    wholesale: Floats
    retail: Floats
    feed_in: Floats


@dataclass(frozen=True)
class StorageRates:
    """What owners of stores pay per kWh on top of prices, EUR/kWh.

    Arrays of shape (T, n_store), with the length 1 on an axis along which they do not change.

    Attributes
    ----------
    fee : on energy from inside the store's own area.
    imported : on every kWh that the owner imports, wherever it was bought.
    exported : on every kWh that the owner exports; negative where it earns.
    """

    fee: Floats
    imported: Floats
    exported: Floats


def storage_rates(
    rates: EnergyRates, area_fee: Floats, *, agent_area: IntArray, battery_agent: IntArray
) -> StorageRates:
    """Return what the owners of stores pay per kWh.

    Parameters
    ----------
    rates : EnergyRates
        Network charges per kWh of all agents.
    area_fee : float64, shape (n_slot or 1, n_area)
        Fee of a kWh that is bought in each area, EUR/kWh.
    agent_area : int64, shape (n_agent,)
        Area of every agent.
    battery_agent : int64, shape (n_store,)
        Owner of every store.
    """

    def of_owners(rate: Floats) -> Floats:
        return rate if rate.shape[1] == 1 else rate[:, battery_agent]

    return StorageRates(
        fee=area_fee[:, agent_area[battery_agent]],
        imported=of_owners(rates.imported),
        exported=of_owners(rates.exported),
    )


@dataclass(frozen=True)
class OwnerPrices:
    """Prices of the owners of stores over the run.

    Attributes
    ----------
    prices, rates : outside prices, and what owners pay on top.
    hours : length of a slot, h.
    first_slot_of_day : slots between midnight UTC and the start of the run.
    """

    prices: PriceSeries
    rates: StorageRates
    hours: float
    first_slot_of_day: int

    @property
    def slots(self) -> int:
        """Slots of the run."""
        return len(self.prices.retail)

    def of_first(self, count: int) -> OwnerPrices:
        """Return the prices of the first stores only."""

        def cut(rate: Floats) -> Floats:
            return rate if rate.shape[1] == 1 else rate[:, :count]

        rates = self.rates
        return replace(
            self, rates=StorageRates(cut(rates.fee), cut(rates.imported), cut(rates.exported))
        )

    def retail_at(self, slots: IntArray) -> Floats:
        """Return all-in retail prices, EUR/kWh, shape (slots, n_store) or (slots, 1)."""
        return self.prices.retail[slots, None] + _at(self.rates.imported, slots)

    def earned_at(self, slots: IntArray | int) -> Floats:
        """Return what exports earn, EUR/kWh, shape (slots, n_store) or (slots, 1)."""
        slots = np.atleast_1d(slots)
        return self.prices.feed_in[slots, None] - _at(self.rates.exported, slots)

    def fee_at(self, slot: int) -> Floats:
        """Return what owners pay on energy of their own area in a slot, EUR/kWh, (n_store,)."""
        now = np.array([slot])
        return np.asarray(_at(self.rates.fee, now)[0] + _at(self.rates.imported, now)[0])

    def export_charge_at(self, slot: int) -> Floats:
        """Return the charge on exports in a slot, EUR/kWh, shape (n_store,) or (1,)."""
        return np.asarray(_at(self.rates.exported, np.array([slot]))[0])

    def retail_ahead(self, slot: int) -> Floats:
        """Return the retail prices that are known from a slot on, EUR/kWh, shape (S, n_store).

        They are known until midnight UTC, and from `AUCTION_HOUR` on until the next one.
        """
        slots_of_day = round(24.0 / self.hours)
        since_midnight = (slot + self.first_slot_of_day) % slots_of_day
        known = slots_of_day - since_midnight
        if since_midnight * self.hours >= AUCTION_HOUR:
            known += slots_of_day
        ahead = np.arange(slot, min(slot + known, len(self.prices.retail)))
        n_store = self.rates.fee.shape[1]
        return np.broadcast_to(self.retail_at(ahead), (len(ahead), n_store))

    def known_at(self, slot: int) -> KnownPrices:
        """Return what battery strategies know in a slot."""
        slots_per_day = round(24.0 / self.hours)
        since_midnight = (slot + self.first_slot_of_day) % slots_per_day
        day_start, day_end = slot - since_midnight, slot - since_midnight + slots_per_day
        day_start = max(day_start, 0)
        prices, rates, now = self.prices, self.rates, np.array([slot])
        day_retail = prices.retail[day_start:day_end]
        if rates.imported.any():
            day = np.arange(day_start, day_start + len(day_retail))
            day_retail = day_retail[:, None] + _at(rates.imported, day)
        return KnownPrices(
            retail_eur_per_kwh=float(prices.retail[slot]) + _at(rates.imported, now)[0],
            feed_in_eur_per_kwh=float(prices.feed_in[slot]),
            local_fee_eur_per_kwh=self.fee_at(slot),
            day_retail_eur_per_kwh=day_retail,
            slot_of_day=slot - day_start,
            export_charge_eur_per_kwh=self.export_charge_at(slot),
        )


def _at(rate: Floats, slots: IntArray) -> Floats:
    """Return the rates of some slots, one row if they never change."""
    return rate if len(rate) == 1 else rate[slots]
