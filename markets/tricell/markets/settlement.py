"""Who pays what to whom: the money of a block of cleared slots, as arrays.

Everybody settles at the price of the own node, capped by what the retailer would have charged
(where a limit had to be broken the dual is a breach price, which no household pays). A buyer also
pays the network fee of the level that the energy was traded at:

* inside an area members' purchases and sales meet first; what is left crosses to the area above,
  in proportion for all members alike, and at the top to the retailer;
* energy that met at level l pays the fee of level l to the network operator; energy from the
  retailer costs the retail price, which is all in.

What the agents pay, less what the retailer gets for its energy, stays with the network operator:
fees, and the rent of congested lines. So every slot's payments add up to zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from tricell.grid_models.arrays import sum_by_key
from tricell.markets.charge import EnergyRates

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Bools = NDArray[np.bool_]


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


@dataclass(frozen=True)
class ClearedBlock:
    """Cleared schedules and prices of T slots.

    Attributes
    ----------
    p_net_kw : shape (T, agents), positive buys.
    net_import_kw : shape (T, areas), positive into the area.
    area_price, agent_price : EUR/kWh, shapes (T, areas) and (T, agents).
    retail_price, feed_in_price : EUR/kWh, shape (T,); the retail price is all in.
    hours : length of a slot.
    rates : network charges per kWh of these slots.
    """

    p_net_kw: Floats
    net_import_kw: Floats
    area_price: Floats
    agent_price: Floats
    retail_price: Floats
    feed_in_price: Floats
    hours: float
    rates: EnergyRates


@dataclass(frozen=True)
class AreaTrade:
    """Energy that met inside each area and what crossed its border, shape (T, areas), kWh, EUR."""

    traded_kwh: Floats
    residual_kwh: Floats
    network_charge_eur: Floats


@dataclass(frozen=True)
class Settlement:
    """Money and energy of a block, positive amounts are paid by the agent.

    Attributes
    ----------
    energy_p2p, energy_retail, export, network, congestion : EUR per agent, summed over slots.
    redispatch : EUR per agent, for being moved away from what was traded.
    bought_p2p_kwh, sold_p2p_kwh, bought_retail_kwh, sold_retail_kwh : per agent.
    agents_eur, retailer_eur, network_operator_eur, market_operator_eur : per slot, what each side
        receives (the agents' is what they pay, negative); the four add up to zero.
    retail_import_kwh, retail_export_kwh : per slot, bought from and sold to the retailer.
    areas : trade inside and across areas.
    """

    energy_p2p: Floats
    energy_retail: Floats
    export: Floats
    network: Floats
    congestion: Floats
    redispatch: Floats
    bought_p2p_kwh: Floats
    sold_p2p_kwh: Floats
    bought_retail_kwh: Floats
    sold_retail_kwh: Floats
    agents_eur: Floats
    retailer_eur: Floats
    network_operator_eur: Floats
    market_operator_eur: Floats
    retail_import_kwh: Floats
    retail_export_kwh: Floats
    areas: AreaTrade


def settle(areas: TradingAreas, block: ClearedBlock) -> Settlement:
    """Settle a block of slots.

    Parameters
    ----------
    areas : tree, fees and membership.
    block : cleared schedules and prices.
    """
    buy = np.maximum(block.p_net_kw, 0.0) * block.hours
    sell = np.maximum(-block.p_net_kw, 0.0) * block.hours
    demand, supply = _area_sides(areas, block, buy, sell)
    traded = np.minimum(demand, supply)
    local_buy = _ratio(traded, demand)
    local_sell = _ratio(traded, supply)
    fee = areas.fee(block.rates)
    retail_share, network_rate = _shares_of_buyers(areas, local_buy, fee)
    export_share = _share_of_sellers(areas, local_sell)
    member = areas.agent_area
    ceiling = block.retail_price[:, None] - fee
    floor = np.minimum(block.feed_in_price, 0.0)[:, None]
    base = np.clip(block.area_price, floor, ceiling)[:, member]
    price = np.clip(block.agent_price, floor, ceiling[:, member])
    from_retail, to_retail = buy * retail_share[:, member], sell * export_share[:, member]
    network = buy * network_rate[:, member]
    paid = (buy - from_retail) * (base + fee[:, member]) - network
    energy_retail = from_retail * (base + fee[:, member])
    earned = (sell - to_retail) * base
    export = -to_retail * base
    congestion = (buy - sell) * (price - base)
    total = (paid - earned + energy_retail + export + network + congestion).sum(axis=1)
    top = block.net_import_kw[:, 0] * block.hours
    imports, exports = np.maximum(top, 0.0), np.maximum(-top, 0.0)
    retailer = imports * block.retail_price - exports * block.feed_in_price
    return Settlement(
        energy_p2p=(paid - earned).sum(axis=0),
        energy_retail=energy_retail.sum(axis=0),
        export=export.sum(axis=0),
        network=network.sum(axis=0),
        congestion=congestion.sum(axis=0),
        redispatch=np.zeros(len(member)),
        bought_p2p_kwh=(buy - from_retail).sum(axis=0),
        sold_p2p_kwh=(sell - to_retail).sum(axis=0),
        bought_retail_kwh=from_retail.sum(axis=0),
        sold_retail_kwh=to_retail.sum(axis=0),
        agents_eur=-total,
        retailer_eur=retailer,
        network_operator_eur=total - retailer,
        market_operator_eur=np.zeros_like(total),
        retail_import_kwh=imports,
        retail_export_kwh=exports,
        areas=AreaTrade(traded, np.abs(block.net_import_kw) * block.hours, traded * fee),
    )


def area_trade_kw(areas: TradingAreas, p_net_kw: Floats, net_import_kw: Floats) -> Floats:
    """Power that meets inside each area in one slot, kW.

    Parameters
    ----------
    areas : tree and membership.
    p_net_kw : per agent, positive buys.
    net_import_kw : per area, positive into the area.
    """
    child = np.flatnonzero(areas.parent >= 0)
    n_area = len(areas.parent)

    def side(agents: Floats, children: Floats) -> Floats:
        own = sum_by_key(areas.agent_area, np.maximum(agents, 0.0), n_area)
        below = sum_by_key(areas.parent[child], np.maximum(children[child], 0.0), n_area)
        return own + below

    return np.minimum(side(p_net_kw, net_import_kw), side(-p_net_kw, -net_import_kw))


def _area_sides(
    areas: TradingAreas, block: ClearedBlock, buy: Floats, sell: Floats
) -> tuple[Floats, Floats]:
    """Energy asked for and offered in each area: by its agents and by the areas below."""
    n_area = len(areas.parent)
    agent = np.arange(len(areas.agent_area))
    shape = (len(agent), n_area)
    member = sp.csr_matrix((np.ones(len(agent)), (agent, areas.agent_area)), shape=shape)
    child = np.flatnonzero(areas.parent >= 0)
    below = np.zeros((n_area, n_area))
    below[child, areas.parent[child]] = 1.0
    imported = np.maximum(block.net_import_kw, 0.0) * block.hours
    exported = np.maximum(-block.net_import_kw, 0.0) * block.hours
    return buy @ member + imported @ below, sell @ member + exported @ below


def _shares_of_buyers(areas: TradingAreas, local: Floats, fee: Floats) -> tuple[Floats, Floats]:
    """Share of a purchase that comes from the retailer, and its mean network fee, per area."""
    retail, rate = 1.0 - local, local * fee
    for area, parent in enumerate(areas.parent):
        if parent >= 0:
            rate[:, area] += retail[:, area] * rate[:, parent]
            retail[:, area] *= retail[:, parent]
    return retail, rate


def _share_of_sellers(areas: TradingAreas, local: Floats) -> Floats:
    """Share of a sale that ends at the retailer, per area."""
    export = 1.0 - local
    for area, parent in enumerate(areas.parent):
        if parent >= 0:
            export[:, area] *= export[:, parent]
    return export


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0.0)
