"""Who traded with whom at which level, and at what price, where all levels clear jointly.

Inside an area members' purchases and sales meet first; what is left crosses to the area above, in
proportion for all members alike, and at the top to the retailer. With the price ``p`` of the own
area, the fee ``f_l`` of the level where a kWh met and ``n``, ``x`` what crossing borders costs on
the way there and back, a buyer of the area a pays and a seller of the area a gets for its energy ::

    bought at level l     p_a + f_a - f_l - n_al
    sold at level l       p_a + x_al
    from the retailer     p_a + f_a - f_retail - n_a
    to the retailer       p_a + x_a

so that a kWh costs its buyer ``p_a + f_a`` all in and its seller keeps ``p_a``. The price is capped
by what the retailer would have charged: where a limit had to be broken the dual is a breach price,
which no household pays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tricell.grid_models.arrays import sum_by_key
from tricell.markets.charge import Source
from tricell.markets.traded_block import ClearedBlock, SlotTrades, TradingAreas, ratio

Floats = NDArray[np.float64]


def joint_trades(areas: TradingAreas, block: ClearedBlock) -> SlotTrades:
    """Return who traded with whom at which level, and at what price, in joint clearings."""
    energy = block.contracted_kw * areas.takes_part * block.hours
    buy, sell = np.maximum(energy, 0.0), np.maximum(-energy, 0.0)
    demand, supply = buy @ areas.members, sell @ areas.members
    is_open = areas.is_open(block.rates, block.retail_price, block.feed_in_price)
    traded = np.zeros_like(demand)
    for area in range(len(areas.parent) - 1, -1, -1):
        traded[:, area] = np.minimum(demand[:, area], supply[:, area]) * is_open[:, area]
        if (above := areas.parent[area]) >= 0:
            demand[:, above] += demand[:, area] - traded[:, area]
            supply[:, above] += supply[:, area] - traded[:, area]
    member = areas.agent_area
    bought = _by_source(areas, ratio(traded, demand))[:, :, member] * buy
    sold = _by_source(areas, ratio(traded, supply))[:, :, member] * sell
    price = _JointPrices.of(areas, block)
    return SlotTrades(
        bought_kwh=bought,
        sold_kwh=sold,
        bought_eur=bought * price.bought[:, :, member],
        sold_eur=sold * price.sold[:, :, member],
        congestion=energy * price.at_node,
        redispatch=np.zeros((0, len(member))),
        moved_kwh=np.zeros((0, len(member))),
        redispatch_retail=np.zeros(0),
        operator_keeps=False,
        area_traded_kwh=traded,
        area_residual_kwh=demand + supply - 2.0 * traded,
    )


@dataclass(frozen=True)
class _JointPrices:
    """Prices of energy alone by source in every area, and what the own node adds; EUR/kWh."""

    bought: Floats
    sold: Floats
    at_node: Floats

    @classmethod
    def of(cls, areas: TradingAreas, block: ClearedBlock) -> _JointPrices:
        rates, member = block.rates, areas.agent_area
        fee = areas.seen_fee(rates, block.retail_price, block.feed_in_price)
        into, out = areas.border_cost(rates.entry), areas.border_cost(rates.exit)
        ceiling = block.retail_price[:, None] - fee + into[Source.RETAIL]
        floor = np.minimum(block.feed_in_price[:, None] - out[Source.RETAIL], 0.0)
        base = np.clip(block.area_price, floor, ceiling)
        node = np.clip(block.agent_price, floor[:, member], ceiling[:, member])
        charged = rates.by_source.T[:, :, None] + into
        return cls(base + fee - charged, base + out, node - base[:, member])


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


def _by_source(areas: TradingAreas, local: Floats) -> Floats:
    """Share of the members' energy that meets at each level or goes to retail, (4, T, areas)."""
    share = np.zeros((len(Source), *local.shape))
    for area, parent in enumerate(areas.parent):
        left = 1.0 - local[:, area]
        if parent >= 0:
            share[:, :, area] = left * share[:, :, parent]
        else:
            share[Source.RETAIL, :, area] = left
        share[areas.level[area] - 1, :, area] += local[:, area]
    return share
