"""Double auction of equal lots in which telling one's true price is best (McAfee).

Every trader offers one lot. Bids fall ``b_1 >= b_2 ...``, asks rise ``s_1 <= s_2 ...``, and ``k``
pairs have ``b_i >= s_i``::

    p0 = (b_{k+1} + s_{k+1}) / 2
    s_k <= p0 <= b_k:   k lots, all at p0
    otherwise:          k - 1 lots, buyers pay b_k, sellers get s_k, the operator keeps the gap

The second holds too where a trader k+1 is missing on a side. At most one trade is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from tricell.errors import MarketError
from tricell.markets.mechanism import (
    About,
    Guarantees,
    MarketResult,
    MarketTerms,
    Mechanism,
    uniform_result,
)
from tricell.markets.merit_order import merit_order
from tricell.markets.order_table import ENERGY_RESIDUE_KWH, NO_AGENT, Orders

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

ABOUT = About(
    name="mcafee",
    line="double auction of equal lots that gives up at most one trade to be truthful",
    source="McAfee 1992, A dominant strategy double auction",
    guarantees=Guarantees(
        budget_balance="weak",
        individual_rationality=True,
        efficiency=False,
        incentive_compatibility=True,
        note="for traders on one side of the market; each offers one lot",
    ),
)

PRICE_TOLERANCE = 1e-9
"""Prices, EUR/kWh, that differ by less are equal where one of them was computed."""


@dataclass(frozen=True)
class LotAuction:
    """What the auction of equal lots decided.

    Attributes
    ----------
    lots : number of lots that trade: those of the best bids and the best asks.
    buy_price, sell_price : EUR/kWh; None if nothing was traded.
    reduced : whether a matched pair was given up.
    surplus_eur : what stays with the operator.
    """

    lots: int
    buy_price: float | None
    sell_price: float | None
    reduced: bool
    surplus_eur: float


class McAfee(Mechanism):
    """Double auction of equal lots, truthful."""

    kind: Literal["mcafee"] = "mcafee"
    """Double auction of equal lots, truthful."""
    lot_kwh: Annotated[float, Field(gt=0)] = 0.1
    """Size of a lot, kWh; smaller orders stay out, larger ones offer one lot (0.1)."""

    def clear(self, orders: Orders, terms: MarketTerms) -> MarketResult:
        """Clear one market for one slot; see the module.

        An agent offers one lot a side: its best order that is large enough.
        """
        buys, sells = (self._one_lot_each(orders, rows) for rows in merit_order(orders))
        price = orders.price_eur_per_kwh
        outcome = auction_of_lots(price[buys], price[sells], self.lot_kwh)
        accepted = np.zeros(len(orders))
        accepted[buys[: outcome.lots]] = self.lot_kwh
        accepted[sells[: outcome.lots]] = self.lot_kwh
        flags = frozenset({"reduced"}) if outcome.reduced else frozenset()
        return uniform_result(orders, accepted, outcome.buy_price, outcome.sell_price, flags=flags)

    def _one_lot_each(self, orders: Orders, rows: Indices) -> Indices:
        """Keep the first order of each agent that holds a lot, in the same sequence."""
        residue = ENERGY_RESIDUE_KWH * max(1.0, self.lot_kwh)
        rows = rows[orders.energy_kwh[rows] >= self.lot_kwh - residue]
        agent = orders.agent[rows]
        first = np.zeros(len(rows), dtype=bool)
        first[np.unique(agent, return_index=True)[1]] = True
        chosen: Indices = rows[first | (agent == NO_AGENT)]
        return chosen


def auction_of_lots(bids: ArrayLike, asks: ArrayLike, lot_kwh: float = 1.0) -> LotAuction:
    """Clear bids and asks of one lot each.

    Parameters
    ----------
    bids, asks : prices in any sequence, EUR/kWh, shapes (buyers,) and (sellers,).
    lot_kwh : size of a lot, kWh.

    Raises
    ------
    MarketError
        If a price is no number, or the lot not above 0.

    Examples
    --------
    >>> auction_of_lots([0.30, 0.22], [0.10, 0.21]).lots
    1
    """
    if not (lot_kwh > 0.0 and np.isfinite(lot_kwh)):
        raise MarketError(f"the lot is {lot_kwh:g} kWh; allowed is a number above 0")
    bid, ask = -np.sort(-_prices("bids", bids)), np.sort(_prices("asks", asks))
    both = min(len(bid), len(ask))
    pairs = int(np.count_nonzero(bid[:both] >= ask[:both]))
    if pairs == 0:
        return LotAuction(0, None, None, False, 0.0)
    lowest_bid, highest_ask = float(bid[pairs - 1]), float(ask[pairs - 1])
    if pairs < both:
        middle = 0.5 * float(bid[pairs] + ask[pairs])
        if highest_ask - PRICE_TOLERANCE <= middle <= lowest_bid + PRICE_TOLERANCE:
            price = min(max(middle, highest_ask), lowest_bid)
            return LotAuction(pairs, price, price, False, 0.0)
    if pairs == 1:
        return LotAuction(0, None, None, True, 0.0)
    surplus = (pairs - 1) * lot_kwh * (lowest_bid - highest_ask)
    return LotAuction(pairs - 1, lowest_bid, highest_ask, True, surplus)


def _prices(name: str, values: ArrayLike) -> Floats:
    prices = np.asarray(values, dtype=np.float64).reshape(-1)
    good = np.isfinite(prices)
    if not good.all():
        row = int(np.argmin(good))
        raise MarketError(
            f"entry {row + 1} of the {name} is {prices[row]:g}; allowed is a number in EUR/kWh"
        )
    return prices
