"""The crossing of demand and supply: what most auctions start from.

Buys stand by falling price, sells by rising price; equal prices by time, then id (the order's
`priority`). Energy is matched while the buyer bids at least what the seller asks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tricell.markets.mechanism import Trades
from tricell.markets.order_table import ENERGY_RESIDUE_KWH, Orders

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

SAME_PRICE_EUR_PER_KWH = 1e-9
"""Prices that are this near count as equal: a fee was taken off one of them, perhaps."""


@dataclass(frozen=True)
class Crossing:
    """Where the two curves meet.

    Attributes
    ----------
    buys, sells : rows of the orders in merit order.
    bought_kwh, sold_kwh : matched energy of each of them, strictly by merit order.
    volume_kwh : matched energy.
    last_buy, last_sell : prices of the last matched pair; nan if there is none.
    next_buy, next_sell : prices of the next unserved kWh of each side, the rest of a part-filled
        order included; -inf and +inf if there is none.
    """

    buys: Indices
    sells: Indices
    bought_kwh: Floats
    sold_kwh: Floats
    volume_kwh: float
    last_buy: float
    last_sell: float
    next_buy: float
    next_sell: float


def merit_order(orders: Orders) -> tuple[Indices, Indices]:
    """Rows of the buys by falling price and of the sells by rising price, ties by priority."""
    buys, sells = orders.buys, orders.sells
    price, priority = orders.price_eur_per_kwh, orders.priority
    return (
        buys[np.lexsort((priority[buys], -price[buys]))],
        sells[np.lexsort((priority[sells], price[sells]))],
    )


def cross(orders: Orders) -> Crossing:
    """Match demand and supply in merit order."""
    buys, sells = merit_order(orders)
    bids, asks = orders.price_eur_per_kwh[buys], orders.price_eur_per_kwh[sells]
    demand, supply = orders.energy_kwh[buys], orders.energy_kwh[sells]
    volume = _volume(bids, np.cumsum(demand), asks, np.cumsum(supply))
    bought, last_buy, next_buy = _fill(bids, demand, volume, -np.inf)
    sold, last_sell, next_sell = _fill(asks, supply, volume, np.inf)
    return Crossing(
        buys=buys,
        sells=sells,
        bought_kwh=bought,
        sold_kwh=sold,
        volume_kwh=volume,
        last_buy=last_buy,
        last_sell=last_sell,
        next_buy=next_buy,
        next_sell=next_sell,
    )


def _volume(bids: Floats, demand: Floats, asks: Floats, supply: Floats) -> float:
    """Largest energy up to which every bid is at least every ask.

    Up to the end of the n-th bid, what is offered at or below that bid can be matched; the volume
    is the best of these.
    """
    if not len(bids) or not len(asks):
        return 0.0
    affordable = np.searchsorted(asks, bids + SAME_PRICE_EUR_PER_KWH, side="right")
    offered = np.concatenate([[0.0], supply])[affordable]
    return float(np.max(np.minimum(demand, offered)))


def _fill(
    prices: Floats, energy: Floats, volume: float, none: float
) -> tuple[Floats, float, float]:
    """Fill a side up to the volume; return energies, the last filled price and the next one.

    Sums of the same energies in another sequence differ by rounding (0.1 + 0.2 against 0.3), so
    an order that ends within a rounding error of the volume ends at it.
    """
    if volume <= 0.0:
        return np.zeros(len(energy)), np.nan, float(prices[0]) if len(prices) else none
    end = np.cumsum(energy)
    residue = ENERGY_RESIDUE_KWH * max(1.0, volume)
    end = np.where(np.abs(end - volume) <= residue, volume, end)
    start = np.concatenate([[0.0], end[:-1]])
    filled = np.clip(volume - start, 0.0, energy)
    whole = end <= volume
    filled[whole] = energy[whole]
    last = int(np.flatnonzero(start < volume)[-1])
    following = last if end[last] > volume else last + 1
    return (
        filled,
        float(prices[last]),
        float(prices[following]) if following < len(prices) else none,
    )


def largest_volume_kwh(orders: Orders) -> float:
    """Largest energy that pairs of crossing orders can trade, whatever that is worth, kWh.

    By the theorem of max flow and min cut: for every bid ``t``, no more flows than all demand
    bidding above ``t`` and all supply asking at most ``t``. A market's volume as a share of it
    tells how much trade its price rule gives up.
    """
    bids, demand = orders.price_eur_per_kwh[orders.buys], orders.energy_kwh[orders.buys]
    asks, supply = orders.price_eur_per_kwh[orders.sells], orders.energy_kwh[orders.sells]
    levels = np.unique(bids)
    above = np.array([demand[bids > level].sum() for level in levels])
    below = np.array([supply[asks <= level].sum() for level in levels])
    return float(np.min(above + below, initial=demand.sum()))


def accepted_in_merit_order(orders: Orders, crossing: Crossing) -> Floats:
    """Return accepted energy per order, earlier orders first among equal prices."""
    accepted = np.zeros(len(orders))
    accepted[crossing.buys] = crossing.bought_kwh
    accepted[crossing.sells] = crossing.sold_kwh
    return accepted


def accepted_pro_rata(orders: Orders, crossing: Crossing) -> Floats:
    """Return accepted energy per order, in proportion among those at the marginal price."""
    accepted = accepted_in_merit_order(orders, crossing)
    for side, price in ((orders.buys, crossing.last_buy), (orders.sells, crossing.last_sell)):
        away = np.abs(orders.price_eur_per_kwh[side] - price)
        marginal = side[away <= SAME_PRICE_EUR_PER_KWH]
        if len(marginal) > 1:
            offered = orders.energy_kwh[marginal]
            served = accepted[marginal].sum()
            if served < offered.sum():
                accepted[marginal] = offered * (served / offered.sum())
    return accepted


def pairs(
    buys: Indices, bought_kwh: Floats, sells: Indices, sold_kwh: Floats
) -> tuple[Indices, Indices, Floats]:
    """Pair two lists of the same total energy from their tops: rows of both sides, and energy."""
    buy_end, sell_end = np.cumsum(bought_kwh), np.cumsum(sold_kwh)
    total = min(buy_end[-1], sell_end[-1]) if len(buys) and len(sells) else 0.0
    if total <= 0.0:
        none = np.zeros(0, dtype=np.int64)
        return none, none, np.zeros(0)
    cuts = np.unique(np.concatenate([buy_end, sell_end]))
    cuts = cuts[(cuts > 0.0) & (cuts < total)]
    # Cuts that differ by rounding only are one cut.
    residue = ENERGY_RESIDUE_KWH * max(1.0, total)
    edges = np.concatenate([[0.0], cuts, [total]])
    keep = np.concatenate([[True], np.diff(edges) > residue])
    keep[-1] = True
    edges = edges[keep]
    if len(edges) > 2 and edges[-1] - edges[-2] <= residue:
        edges = np.delete(edges, -2)
    middle = 0.5 * (edges[1:] + edges[:-1])
    buy = np.minimum(np.searchsorted(buy_end, middle), len(buys) - 1)
    sell = np.minimum(np.searchsorted(sell_end, middle), len(sells) - 1)
    return buys[buy], sells[sell], np.diff(edges)


def trades_at(
    crossing: Crossing, orders: Orders, *, buyer_share: float, seller_share: float
) -> Trades:
    """Pair the matched orders; price of a side = share * bid + (1 - share) * ask."""
    buy, sell, energy = pairs(crossing.buys, crossing.bought_kwh, crossing.sells, crossing.sold_kwh)
    bid, ask = orders.price_eur_per_kwh[buy], orders.price_eur_per_kwh[sell]
    return Trades(
        buy=buy,
        sell=sell,
        energy_kwh=energy,
        buy_price=ask + buyer_share * (bid - ask),
        sell_price=ask + seller_share * (bid - ask),
    )
