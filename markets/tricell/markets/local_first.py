"""Markets level by level: microgrids first, then cells, then all cells together.

Each area's market clears the orders of its own members and what the areas below left over, with
the mechanism of its level. An order that goes up keeps its price step, but carries the identity
of the area that it comes from, also in its column ``community`` (-1 for the area's own members).
At an area with network fee ``phi`` every buyer bids ``phi`` less, pays the seller's price and, on
top, ``phi`` to the network operator. Where crossing an area's border costs something, an order that
goes up bids so much less, or asks for so much more. What is left after the highest level is for the
retailer, who serves every order at the retail or the feed-in price, or only those marked so where
the orders have a column ``retail``.

Sequential clearing is budget balanced and individually rational wherever its mechanisms are, but
not efficient: a local trade can keep energy from a buyer elsewhere who values it more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tricell.markets.mechanism import MarketResult, MarketTerms, Mechanism
from tricell.markets.order_table import ENERGY_RESIDUE_KWH, Orders

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class MarketAreas:
    """The tree of market areas, parents first.

    Attributes
    ----------
    parent : row of the area above, -1 for the top.
    fee_eur_per_kwh : whole network fee of a kWh that is traded in this area.
    names : names of the areas: who stands behind an order that goes up.
    entry, exit : cost of a kWh that enters or leaves each area through its border to the area
        above, EUR/kWh; an array of length 1 where it is the same for all.
    """

    parent: Indices
    fee_eur_per_kwh: Floats
    names: tuple[str, ...]
    entry: Floats = field(default_factory=lambda: np.zeros(1))
    exit: Floats = field(default_factory=lambda: np.zeros(1))

    def to_top(self, at_border: Floats) -> Floats:
        """Sum what crossing borders costs on the way from each area to the top, EUR/kWh."""
        total = np.zeros(len(self.parent))
        own = np.broadcast_to(at_border, total.shape)
        for area, parent in enumerate(self.parent):
            if parent >= 0:
                total[area] = total[parent] + own[area]
        return total


@dataclass(frozen=True)
class AreaMarket:
    """One market of the sequence.

    Attributes
    ----------
    area : row of the area.
    rows : rows of its orders in the whole list: the forwarding table.
    orders : the orders as the market saw them, buyers' prices less the fee.
    result : what it decided.
    taken_kwh : energy of each order that was traded here, rounding residues included.
    """

    area: int
    rows: Indices
    orders: Orders
    result: MarketResult
    taken_kwh: Floats


@dataclass(frozen=True)
class LocalFirstResult:
    """All levels together; energies in kWh, one entry per order unless stated.

    Attributes
    ----------
    traded_kwh : sold to or bought from peers.
    energy_eur : paid for it (negative: received).
    network_eur : network fees, and costs of crossing borders.
    bought_retail_kwh, sold_retail_kwh : what the retailer served.
    retail_eur : paid to him (negative: received).
    left_kwh : what nobody took.
    markets : the markets that had orders, in the sequence in which they cleared.
    area_traded_kwh, area_price, area_network_eur, area_surplus_eur : per area; the price is what
        sellers received on average, nan where nothing was traded.
    area_residual_kwh : per area, bought and sold energy that went up and flows in any case.
    """

    traded_kwh: Floats
    energy_eur: Floats
    network_eur: Floats
    bought_retail_kwh: Floats
    sold_retail_kwh: Floats
    retail_eur: Floats
    left_kwh: Floats
    markets: tuple[AreaMarket, ...]
    area_traded_kwh: Floats
    area_price: Floats
    area_network_eur: Floats
    area_surplus_eur: Floats
    area_residual_kwh: Floats

    @property
    def taken_kwh(self) -> Floats:
        """Energy of each order that flows: traded with peers, or with the retailer."""
        return self.traded_kwh + self.bought_retail_kwh + self.sold_retail_kwh


def clear_local_first(
    orders: Orders,
    order_area: Indices,
    areas: MarketAreas,
    mechanisms: Sequence[Mechanism | None],
    terms: MarketTerms,
    *,
    takes_part: NDArray[np.bool_] | None = None,
) -> LocalFirstResult:
    """Clear all levels, from the lowest areas to the top.

    Parameters
    ----------
    orders : of all agents; rows without energy are passed over.
    order_area : area of each order's agent.
    areas : the tree.
    mechanisms : of each area; None where there is no market.
    terms : retail and feed-in price, seed, and the agents' names.
    takes_part : whether each order enters the markets; the others are the retailer's. None if all
        do.
    """
    n_area = len(areas.parent)
    left = orders.energy_kwh.copy()
    energy_eur, network_eur = np.zeros(len(orders)), np.zeros(len(orders))
    residual = np.zeros(n_area)
    to_retailer = np.where(orders.attribute("retail", 1.0) > 0.0, 1.0, 0.0)
    waiting = _own_rows(order_area, n_area, takes_part)
    names = (*terms.agent_names, *areas.names)
    borders = _Borders.of(areas)
    markets: list[AreaMarket] = []
    for area in range(n_area - 1, -1, -1):
        rows = np.sort(np.concatenate(waiting[area]))
        rows = rows[left[rows] > 0.0]
        mechanism = mechanisms[area]
        if mechanism is not None and len(rows):
            fee = float(areas.fee_eur_per_kwh[area])
            child = _child_towards(order_area[rows], areas.parent, area)
            crossed = borders.crossed(orders.side[rows], order_area[rows], area)
            costs = crossed + np.where(orders.side[rows] > 0.0, fee, 0.0)
            offered = orders.take(rows).with_energy(left[rows])
            book = _book(offered, costs, child, len(terms.agent_names))
            result = mechanism.clear(book, borders.terms(terms, names, area, fee))
            remainder = _remainder(left[rows], result.accepted_kwh)
            markets.append(AreaMarket(area, rows, book, result, left[rows] - remainder))
            left[rows] = remainder
            energy_eur[rows] += result.payment_eur
            network_eur[rows] += result.accepted_kwh * costs
            rows = rows[left[rows] > 0.0]
        residual[area] = left[rows] @ to_retailer[rows]
        if areas.parent[area] >= 0:
            waiting[areas.parent[area]].append(rows)
    traded = orders.energy_kwh - left
    served = left * to_retailer
    bought = np.where(orders.side > 0.0, served, 0.0)
    sold = served - bought
    network_eur += served * borders.crossed(orders.side, order_area, 0)
    of_area = _area_figures(markets, areas)
    return LocalFirstResult(
        traded_kwh=traded,
        energy_eur=energy_eur,
        network_eur=network_eur,
        bought_retail_kwh=bought,
        sold_retail_kwh=sold,
        retail_eur=bought * terms.retail_price - sold * terms.feed_in_price,
        left_kwh=left - bought - sold,
        markets=tuple(markets),
        area_traded_kwh=of_area.traded_kwh,
        area_price=of_area.price,
        area_network_eur=of_area.traded_kwh * areas.fee_eur_per_kwh,
        area_surplus_eur=of_area.surplus_eur,
        area_residual_kwh=residual,
    )


@dataclass(frozen=True)
class _AreaFigures:
    """Traded energy, mean price of the sellers and operator surplus of every area."""

    traded_kwh: Floats
    price: Floats
    surplus_eur: Floats


def _area_figures(markets: Sequence[AreaMarket], areas: MarketAreas) -> _AreaFigures:
    n_area = len(areas.parent)
    figures = _AreaFigures(np.zeros(n_area), np.full(n_area, np.nan), np.zeros(n_area))
    for market in markets:
        result, area = market.result, market.area
        volume = result.volume_kwh(market.orders)
        if volume > 0.0:
            received = -float(result.payment_eur[market.orders.sells].sum())
            figures.price[area] = received / volume
        figures.traded_kwh[area] = volume
        figures.surplus_eur[area] = result.operator_surplus_eur
    return figures


@dataclass(frozen=True)
class _Borders:
    """What crossing borders costs from each area to the top, EUR/kWh."""

    entry: Floats
    exit: Floats

    @classmethod
    def of(cls, areas: MarketAreas) -> _Borders:
        return cls(areas.to_top(areas.entry), areas.to_top(areas.exit))

    def crossed(self, side: Floats, origin: Indices, area: int) -> Floats:
        """Cost of the borders between the areas of some orders and an area above them."""
        into, out = self.entry[origin] - self.entry[area], self.exit[origin] - self.exit[area]
        return np.asarray(np.where(side > 0.0, into, out))

    def terms(
        self, terms: MarketTerms, names: tuple[str, ...], area: int, fee: float
    ) -> MarketTerms:
        """Terms of one area: its own seed, and what the retailer is worth to its members."""
        return replace(
            terms,
            retail_price=terms.retail_price + self.entry[area] - fee,
            feed_in_price=terms.feed_in_price - self.exit[area],
            seed=int(np.random.SeedSequence((terms.seed, area)).generate_state(1)[0]),
            agent_names=names,
        )


def _own_rows(
    order_area: Indices, n_area: int, takes_part: NDArray[np.bool_] | None
) -> list[list[Indices]]:
    by_area = np.argsort(order_area, kind="stable")
    cuts = np.searchsorted(order_area[by_area], np.arange(1, n_area))
    own = np.split(by_area, cuts)
    return [[rows if takes_part is None else rows[takes_part[rows]]] for rows in own]


def _book(orders: Orders, costs: Floats, child: Indices, n_agent: int) -> Orders:
    """Orders as one area's market sees them: network costs, and who stands behind them."""
    return replace(
        orders,
        price_eur_per_kwh=orders.price_eur_per_kwh - orders.side * costs,
        agent=np.where(child < 0, orders.agent, n_agent + child),
        attributes={**orders.attributes, "community": child},
    )


def _child_towards(origin: Indices, parent: Indices, area: int) -> Indices:
    """Child of an area through which an order came up; -1 for the area's own members."""
    here = origin.copy()
    child = np.full(len(origin), -1, dtype=np.int64)
    while True:
        below = here != area
        if not below.any():
            return child
        child = np.where(below, here, child)
        here = np.where(below, parent[here], here)


def _remainder(before: Floats, accepted: Floats) -> Floats:
    """Return what is left of each order; rounding residues count as nothing."""
    left = before - accepted
    return np.where(left <= ENERGY_RESIDUE_KWH * np.maximum(before, 1.0), 0.0, left)
