"""Vickrey double auction (VCG): everybody gains what the market gains by their being there.

The allocation is the efficient one, that of the call auction with one price: merit order, and
in proportion among the orders at the marginal price. With ``W`` its welfare and ``W_-i`` that of
the same market without all orders of agent ``i``::

    payment of agent i = its own value at what it bought, less its cost of what it sold - (W - W_-i)

Buyers pay no more and sellers get no less than at any clearing price, so the operator has a
deficit, which is posted to a sponsor (the retailer or the network operator): it is the negative
operator surplus of the result. An order of nobody in particular is an agent of its own. Where an
agent has several orders, its gain is shared over them in proportion to their accepted energy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tricell.markets.mechanism import (
    About,
    Guarantees,
    MarketResult,
    MarketTerms,
    Mechanism,
    welfare_eur,
)
from tricell.markets.merit_order import Crossing, accepted_pro_rata, cross
from tricell.markets.order_table import Orders

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

ABOUT = About(
    name="vickrey",
    line="efficient trade; everybody gains what the market gains by their being there (VCG)",
    source="Vickrey 1961, Counterspeculation, auctions, and competitive sealed tenders",
    guarantees=Guarantees(
        budget_balance="none",
        individual_rationality=True,
        efficiency=True,
        incentive_compatibility=True,
        note="the deficit is borne by a sponsor",
    ),
)


class Vickrey(Mechanism):
    """Vickrey double auction (VCG); its deficit is a negative operator surplus."""

    kind: Literal["vickrey"] = "vickrey"
    """Vickrey double auction (VCG); its deficit is a negative operator surplus."""

    def clear(self, orders: Orders, terms: MarketTerms) -> MarketResult:
        """Clear one market for one slot; see the module."""
        crossing = cross(orders)
        accepted = accepted_pro_rata(orders, crossing)
        value = orders.side * orders.price_eur_per_kwh * accepted
        paid = value - _gains(orders, crossing, accepted)
        return MarketResult(
            accepted_kwh=accepted,
            payment_eur=paid,
            buy_price=None,
            sell_price=None,
            welfare_eur=welfare_eur(orders, accepted),
            operator_surplus_eur=float(paid.sum()),
        )


def _gains(orders: Orders, crossing: Crossing, accepted_kwh: Floats) -> Floats:
    """Gain of every order: its share of what the welfare loses without its agent, EUR."""
    curves = _Curves.of(orders, crossing)
    owner = _owners(orders)
    of_bids, of_asks = _rows_of(owner[crossing.buys]), _rows_of(owner[crossing.sells])
    none = np.zeros(0, dtype=np.int64)
    traded = np.bincount(owner, accepted_kwh, int(owner.max(initial=-1)) + 1)
    gain_per_kwh = np.zeros(len(traded))
    welfare = curves.welfare_eur()
    for agent in np.flatnonzero(traded > 0.0).tolist():
        without = curves.without(of_bids.get(agent, none), of_asks.get(agent, none))
        gain = max(welfare - without.welfare_eur(), 0.0)
        gain_per_kwh[agent] = gain / traded[agent]
    return gain_per_kwh[owner] * accepted_kwh


def _owners(orders: Orders) -> Indices:
    """Return the agent of each order, from 0; an order of nobody is an agent of its own."""
    first_free = int(orders.agent.max(initial=-1)) + 1
    owner = np.where(orders.agent < 0, first_free + orders.priority, orders.agent)
    return np.asarray(np.unique(owner, return_inverse=True)[1], dtype=np.int64)


def _rows_of(owner: Indices) -> dict[int, Indices]:
    """Places in a list of owners by owner."""
    sequence = np.argsort(owner, kind="stable")
    owners, starts = np.unique(owner[sequence], return_index=True)
    return dict(zip(owners.tolist(), np.split(sequence, starts[1:]), strict=False))


@dataclass(frozen=True)
class _Curves:
    """Demand by falling and supply by rising price."""

    bids: Floats
    demand_kwh: Floats
    asks: Floats
    supply_kwh: Floats

    @staticmethod
    def of(orders: Orders, crossing: Crossing) -> _Curves:
        buys, sells = crossing.buys, crossing.sells
        price, energy = orders.price_eur_per_kwh, orders.energy_kwh
        return _Curves(price[buys], energy[buys], price[sells], energy[sells])

    def without(self, buys: Indices, sells: Indices) -> _Curves:
        """Return the curves without some orders."""
        return _Curves(
            np.delete(self.bids, buys),
            np.delete(self.demand_kwh, buys),
            np.delete(self.asks, sells),
            np.delete(self.supply_kwh, sells),
        )

    def welfare_eur(self) -> float:
        """Largest welfare: the area between the curves up to where they meet."""
        if not len(self.bids) or not len(self.asks):
            return 0.0
        demand, supply = (
            np.concatenate([[0.0], np.cumsum(energy)])
            for energy in (self.demand_kwh, self.supply_kwh)
        )
        offered = supply[np.searchsorted(self.asks, self.bids, side="right")]
        volume = float(np.max(np.minimum(demand[1:], offered)))
        value = np.concatenate([[0.0], np.cumsum(self.bids * self.demand_kwh)])
        cost = np.concatenate([[0.0], np.cumsum(self.asks * self.supply_kwh)])
        return float(np.interp(volume, demand, value) - np.interp(volume, supply, cost))
