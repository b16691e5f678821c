"""The bill without any trading: every household alone with the retailer.

Each agent uses its own generation first, its battery stores what is left over and covers what is
missing (greedy self-consumption), and the rest is bought at the retail price or fed in at the
feed-in price, netted per slot (mechanism A1). Where feeding in would earn nothing the plant is
curtailed instead. Grid limits play no part in this reference: it is what contracts would bill.

Network charges are those of the same meters: what a kWh from the retailer pays is in his all-in
price, what an imported or exported kWh of this customer pays comes on top, and charges of a whole
period are billed on its net power. Charges that depend on what others do, such as losses, are
left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.grid_models.arrays import sum_by_key
from tricell.markets.charge import (
    Calendar,
    Charge,
    Customers,
    EnergyRates,
    MeterData,
    PeriodCharge,
    Source,
)
from tricell.markets.settlement import TradingAreas
from tricell.simulators.battery import apply_power, greedy_power, own_surplus_of_batteries
from tricell.simulators.grown_rows import GrownTable
from tricell.simulators.population import Batteries

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class MeterRates:
    """What a kWh pays to the network operator by the meter alone; EUR/kWh, shape (T or 1, N or 1).

    Attributes
    ----------
    imported, exported : on top of the retail price, and less than the feed-in price.
    known_exported : what agents count with when they decide to feed in.
    """

    imported: Floats
    exported: Floats
    known_exported: Floats

    @classmethod
    def of(
        cls, areas: TradingAreas, rates: EnergyRates, period_rates: EnergyRates | None = None
    ) -> MeterRates:
        """Return the rates of a run, less those of charges that are billed by the period.

        Parameters
        ----------
        areas : tree and membership: energy of the retailer crosses all borders.
        rates : of all charges.
        period_rates : the part of them that belongs to charges of the whole period.
        """
        member = areas.agent_area
        into = areas.border_cost(rates.entry)[Source.RETAIL][:, member]
        out = areas.border_cost(rates.exit)[Source.RETAIL][:, member]
        imported, exported = rates.imported + into, rates.exported + out
        billed = exported
        if period_rates is not None:
            in_retail_price = period_rates.by_source[:, Source.RETAIL, None]
            imported = imported - period_rates.imported - in_retail_price
            billed = exported - period_rates.exported
        return cls(imported, billed, exported)

    def part(self, first: int, count: int) -> MeterRates:
        """Return the rates of some consecutive slots."""

        def cut(array: Floats) -> Floats:
            return array if len(array) == 1 else array[first : first + count]

        return MeterRates(cut(self.imported), cut(self.exported), cut(self.known_exported))

    @classmethod
    def nothing(cls) -> MeterRates:
        """Return rates of zero."""
        zero = np.zeros((1, 1))
        return cls(zero, zero, zero)


class NoTradingReference:
    """Bills of all agents without trading, summed block by block.

    Parameters
    ----------
    batteries : ratings and owners.
    n_agent : number of agents.
    charges, customers : network charges and who is billed; of the charges, those of a whole period
        are billed here, by `bill_period`.
    areas : tree and membership, for charges on an area's peak.

    Attributes
    ----------
    bill_eur : per agent, positive is paid.
    rows : what charges of the whole period are billed on.
    """

    def __init__(
        self,
        batteries: Batteries,
        n_agent: int,
        charges: Sequence[Charge] = (),
        customers: Customers | None = None,
        areas: TradingAreas | None = None,
    ) -> None:
        self._alone, self._areas = LoneHouseholds(batteries), areas
        self._charges = [each for each in charges if isinstance(each, PeriodCharge)]
        self._customers = customers
        self.rows = GrownTable()
        self.bill_eur = np.zeros(n_agent)

    @property
    def stored_kwh(self) -> Floats:
        """Energy in each battery after the last slot."""
        return self._alone.stored_kwh

    def memory(self) -> dict[str, Floats]:
        """Return the sums so far, and what the batteries hold."""
        return {"bill_eur": self.bill_eur, "stored_kwh": self.stored_kwh}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from what `memory` returned; `rows` are recalled by themselves."""
        self.bill_eur = memory["bill_eur"]
        self._alone.stored_kwh = memory["stored_kwh"]

    def period_rates(self, calendar: Calendar) -> EnergyRates | None:
        """Return what agents know of the charges of the whole period; None for nothing."""
        if self._customers is None:
            return None
        known = [each.rates(calendar, self._customers) for each in self._charges]
        return reduce(add, [each for each in known if each is not None], EnergyRates.of())

    def add(
        self,
        load_kw: Floats,
        generation_kw: Floats,
        retail: Floats,
        feed_in: Floats,
        hours: float,
        *,
        rates: MeterRates | None = None,
    ) -> None:
        """Bill a block of slots.

        Parameters
        ----------
        load_kw, generation_kw : shape (slots, agents).
        retail, feed_in : EUR/kWh, shape (slots,); the retail price is all in.
        hours : length of a slot, h.
        rates : what a kWh pays by the meter; None for nothing.
        """
        rates = rates or MeterRates.nothing()
        earns = feed_in[:, None] - rates.known_exported
        net = self._alone.net_kw(load_kw, generation_kw, earns, hours)
        bought = np.maximum(net, 0.0) * (retail[:, None] + rates.imported)
        earned = np.maximum(-net, 0.0) * (feed_in[:, None] - rates.exported)
        self.bill_eur += (bought - earned).sum(axis=0) * hours
        if self._charges:
            self.rows.add({"net_kw": net})

    def bill_period(self, calendar: Calendar) -> None:
        """Add the charges of the whole period; once, after its last slot.

        Parameters
        ----------
        calendar : its slots.
        """
        kept = self.rows.all()
        if not kept:
            return
        assert self._customers is not None
        net = kept["net_kw"]
        area_net = None if self._areas is None else net @ self._areas.within
        meters = MeterData(
            calendar,
            self._customers,
            net,
            area_net_kw=area_net,
            congestion_rent_eur=np.zeros(len(net)),
        )
        for charge in self._charges:
            self.bill_eur += charge.bill_eur(meters)


class LoneHouseholds:
    """Households that deal with the retailer only, block after block.

    Attributes
    ----------
    stored_kwh : energy in each battery after the last slot.
    """

    def __init__(self, batteries: Batteries) -> None:
        self._batteries = batteries
        self.stored_kwh = batteries.soc0_kwh.copy()

    def net_kw(
        self, load_kw: Floats, generation_kw: Floats, feed_in_earns: Floats, hours: float
    ) -> Floats:
        """Return what the meters show in a block of slots, kW, shape (slots, agents).

        Parameters
        ----------
        load_kw, generation_kw : shape (slots, agents).
        feed_in_earns : what a kWh fed in earns, EUR/kWh, shape (slots, agents or 1); plants stop
            where it is nothing.
        hours : length of a slot, h.
        """
        net = np.asarray(load_kw - generation_kw, np.float64)
        for row in range(len(net)):
            net[row] += self._battery_kw(-net[row], hours)
        return np.where((net < 0.0) & ~(feed_in_earns > 0.0), 0.0, net)

    def _battery_kw(self, surplus_kw: Floats, hours: float) -> Floats:
        """Power of all batteries per agent in one slot."""
        batteries = self._batteries
        own = own_surplus_of_batteries(batteries, surplus_kw)
        power = greedy_power(batteries, self.stored_kwh, own, hours)
        self.stored_kwh = apply_power(batteries, self.stored_kwh, power, hours)
        return sum_by_key(batteries.agent, power, len(surplus_kw))
