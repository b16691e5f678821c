"""Discriminatory auction: every matched pair has prices of its own.

Bids by falling and asks by rising price, ties by time, are paired from the top while the bid is
at least the ask; nothing is rationed in proportion. A pair ``b, s`` trades at::

    own_bid:  the buyer pays b, the seller gets s, the operator keeps b - s
    split:    both at k b + (1 - k) s
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from tricell.markets.mechanism import (
    About,
    Guarantees,
    MarketResult,
    MarketTerms,
    Mechanism,
    Trades,
    paired_result,
)
from tricell.markets.merit_order import cross, trades_at
from tricell.markets.order_table import Orders

ABOUT = About(
    name="pay_as_bid",
    line="call auction in pairs: everybody at the own price, or each pair at a split of the two",
    source="OLI aggregation market, its further price mechanisms",
    guarantees=Guarantees(
        budget_balance="weak",
        individual_rationality=True,
        efficiency=True,
        incentive_compatibility=False,
        note="with pricing split, buyers pay what sellers get",
    ),
)

Pricing = Literal["own_bid", "split"]


class PayAsBid(Mechanism):
    """Call auction in which every matched pair has prices of its own."""

    kind: Literal["pay_as_bid"] = "pay_as_bid"
    """Call auction in which every matched pair has prices of its own."""
    pricing: Pricing = "own_bid"
    """own_bid: buyer pays the bid, seller gets the ask; split: both a price between (own_bid)."""
    k: Annotated[float, Field(ge=0, le=1)] = 0.5
    """With split, where between ask and bid: 0 at the ask, 1 at the bid (0.5)."""

    def clear(self, orders: Orders, terms: MarketTerms) -> MarketResult:
        """Clear one market for one slot; see the module."""
        return paired_result(orders, priced_pairs(orders, self.pricing, self.k))


def priced_pairs(orders: Orders, pricing: Pricing, k: float = 0.5) -> Trades:
    """Pair the orders in merit order.

    Parameters
    ----------
    orders : of any number.
    pricing : own_bid or split.
    k : with split, 0 at the ask, 1 at the bid.

    Returns
    -------
    Trades, best pairs first; of no length if nothing can be matched.
    """
    trades = trades_at(cross(orders), orders, buyer_share=k, seller_share=k)
    if pricing == "split":
        return trades
    price = orders.price_eur_per_kwh
    return replace(trades, buy_price=price[trades.buy], sell_price=price[trades.sell])
