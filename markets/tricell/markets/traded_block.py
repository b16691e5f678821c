"""A block of cleared slots: the tree of areas, schedules and prices, and who traded what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from tricell.markets.charge import EnergyRates, Source
from tricell.markets.imbalance import ImbalanceTerms
from tricell.markets.postings import Posting

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Bools = NDArray[np.bool_]

LOCAL = (Source.MICROGRID, Source.CELL, Source.MULTICELL)
"""Where energy is traded among agents, from the lowest level up."""


@dataclass(frozen=True)
class TradingAreas:
    """The tree of market areas, parents first.

    Attributes
    ----------
    parent : row of the area above, -1 for the top.
    level : level of each area, 1 microgrid, 2 cell, 3 multi-cell.
    agent_area : area of each agent.
    takes_part : whether each agent trades; the others buy from and sell to the retailer only.
    """

    parent: Indices
    level: Indices
    agent_area: Indices
    takes_part: Bools

    @classmethod
    def of(cls, parent: Indices, level: Indices, agent_area: Indices) -> TradingAreas:
        """Return a tree in which every agent trades."""
        return cls(parent, level, agent_area, np.ones(len(agent_area), np.bool_))

    def fee(self, rates: EnergyRates) -> Floats:
        """Return the fee of a kWh that is bought in each area, EUR/kWh, shape (T or 1, areas)."""
        return rates.by_source[:, self.level - 1]

    def seen_fee(self, rates: EnergyRates, retail: Floats, feed_in: Floats) -> Floats:
        """Return the fee of each area, but at most all that trade there could gain.

        Trade is worth no more than the gap between buying from and feeding in to the retailer,
        borders on the way included. Where the fee is larger the area's market is closed, and its
        members act as with a fee of just that gap: all is indifferent to them but the retailer.

        Parameters
        ----------
        rates : network charges per kWh.
        retail, feed_in : EUR/kWh, shape (T,); the retail price is all in.

        Returns
        -------
        EUR/kWh, shape (T, areas), or (1, areas) where the fees do not change and all are open.
        """
        fee, gap = self.fee(rates), self._gap(rates, retail, feed_in)
        return fee if (fee <= gap).all() else np.minimum(fee, gap)

    def is_open(self, rates: EnergyRates, retail: Floats, feed_in: Floats) -> Bools:
        """Return whether the fee of each area leaves anything to gain, shape (T, areas)."""
        return np.asarray(self.fee(rates) <= self._gap(rates, retail, feed_in))

    def _gap(self, rates: EnergyRates, retail: Floats, feed_in: Floats) -> Floats:
        borders = self.border_cost(rates.entry) + self.border_cost(rates.exit)
        return np.asarray((retail - feed_in)[:, None] + borders[Source.RETAIL])

    def border_cost(self, at_border: Floats) -> Floats:
        """Cost of crossing borders between each area and where a kWh meets, by its source.

        Parameters
        ----------
        at_border : EUR/kWh at each area's border to the area above, shape (T or 1, areas or 1).

        Returns
        -------
        EUR/kWh, shape (4, T or 1, areas); zero at the top, which has no area above.
        """
        own = np.broadcast_to(at_border, (len(at_border), len(self.parent)))
        cost = np.zeros((len(Source), *own.shape))
        for area, parent in enumerate(self.parent):
            if parent >= 0:
                cost[:, :, area] = cost[:, :, parent]
                cost[self.level[area] :, :, area] += own[:, area]
        return cost

    @cached_property
    def members(self) -> Any:
        """Sparse matrix (agents, areas): 1 in the agent's own area."""
        return self._matrix(self.agent_area)

    @cached_property
    def within(self) -> Any:
        """Sparse matrix (agents, areas): 1 in the agent's own area and all above it."""
        here = self.agent_area
        matrix = self._matrix(here)
        while (here := np.where(here >= 0, self.parent[here], -1)).max(initial=-1) >= 0:
            matrix = matrix + self._matrix(here)
        return matrix.tocsr()

    @cached_property
    def market_of(self) -> tuple[Any, ...]:
        """Per level a sparse matrix (agents, areas): 1 in the area where the agent trades on it."""
        found = []
        for level in range(1, len(LOCAL) + 1):
            here = self.agent_area.copy()
            for _ in range(len(self.parent)):
                lower = (here >= 0) & (self.level[here] < level)
                if not lower.any():
                    break
                here = np.where(lower, self.parent[here], here)
            here = np.where((here >= 0) & (self.level[here] == level), here, -1)
            found.append(self._matrix(here))
        return tuple(found)

    def _matrix(self, area: Indices) -> Any:
        agent = np.flatnonzero(area >= 0)
        shape = (len(area), len(self.parent))
        return sp.csr_matrix((np.ones(len(agent)), (agent, area[agent])), shape=shape)


@dataclass(frozen=True)
class Contracts:
    """What was contracted in T slots where meters tell something else.

    Attributes
    ----------
    p_net_kw : in the markets, shape (T, agents), positive buys; of those who do not trade, what the
        meters tell.
    terms : how deviations are settled in these slots.
    """

    p_net_kw: Floats
    terms: ImbalanceTerms


@dataclass(frozen=True)
class SoldServices:
    """Flexibility that was sold as a service in T slots.

    Attributes
    ----------
    moved_kw : by how much every agent consumes more than contracted, shape (T, agents).
    postings : who pays whom for it.
    """

    moved_kw: Floats
    postings: tuple[Posting, ...]


@dataclass(frozen=True)
class ClearedBlock:
    """Schedules and prices of T slots.

    Attributes
    ----------
    p_net_kw : what the meters tell, shape (T, agents), positive buys.
    area_price, agent_price : EUR/kWh, shapes (T, areas) and (T, agents).
    retail_price, feed_in_price : EUR/kWh, shape (T,); the retail price is all in.
    hours : length of a slot.
    rates : all network charges per kWh of these slots.
    wholesale_price : EUR/kWh, shape (T,); None where the wholesale side is left out.
    area_loss_kw : losses in every area's own network, shape (T, areas); None if not known.
    first_slot : number of the first slot, for messages.
    contracts : what was traded, where that is not what the meters tell; else None.
    services : flexibility that was sold as a service; None for nothing.
    """

    p_net_kw: Floats
    area_price: Floats
    agent_price: Floats
    retail_price: Floats
    feed_in_price: Floats
    hours: float
    rates: EnergyRates
    wholesale_price: Floats | None = None
    area_loss_kw: Floats | None = None
    first_slot: int = 0
    contracts: Contracts | None = None
    services: SoldServices | None = None

    @property
    def contracted_kw(self) -> Floats:
        """What was contracted in the markets, kW, shape (T, agents)."""
        if self.contracts is not None:
            return self.contracts.p_net_kw
        return self.p_net_kw if self.services is None else self.p_net_kw - self.services.moved_kw

    @property
    def promised_kw(self) -> Floats:
        """What was contracted, and what services of flexibility moved, kW, shape (T, agents)."""
        contracted = self.contracted_kw
        return contracted if self.services is None else contracted + self.services.moved_kw


@dataclass(frozen=True)
class SlotTrades:
    """What everybody bought and sold in T slots, and what the energy alone cost.

    Attributes
    ----------
    bought_kwh, sold_kwh : by where it was traded (`Source`), shape (4, T, agents).
    bought_eur, sold_eur : paid and received for it without network charges, the same shape.
    congestion, redispatch : EUR that agents pay for the price of the own node, and for being moved
        away from what was traded, shape (T, agents).
    moved_kwh : how much more each agent consumes than it bought, shape (T, agents).
    redispatch_retail : EUR that the retailer receives for energy that takes its place, shape (T,).
    operator_keeps : whether the markets' operators keep what buyers pay more than sellers get;
        otherwise it is congestion rent.
    area_traded_kwh, area_residual_kwh : what met in each area, what crossed its border, (T, areas).
    """

    bought_kwh: Floats
    sold_kwh: Floats
    bought_eur: Floats
    sold_eur: Floats
    congestion: Floats
    redispatch: Floats
    moved_kwh: Floats
    redispatch_retail: Floats
    operator_keeps: bool
    area_traded_kwh: Floats
    area_residual_kwh: Floats


@dataclass(frozen=True)
class Totals:
    """Energy by source over agents, shape (4, T), and over slots, shape (4, agents)."""

    bought: Floats
    sold: Floats
    bought_by_agent: Floats
    sold_by_agent: Floats

    @classmethod
    def of(cls, trades: SlotTrades) -> Totals:
        """Sum up the trades of a block."""
        bought, sold = trades.bought_kwh, trades.sold_kwh
        return cls(bought.sum(axis=2), sold.sum(axis=2), bought.sum(axis=1), sold.sum(axis=1))


def ratio(part: Floats, whole: Floats) -> Floats:
    """Return parts as shares of a whole; 0 where the whole is not above 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0.0)
