"""Posted listings: sellers list energy at a price, buyers order from the list in arrival sequence.

An order takes the cheapest listings first (ties by id), up to its highest price. The grid is
checked order by order: the energy accepted from the listings of one feeder stays within the
feeder's limit. An order that breaks one is dropped whole ("reject"), or loses its most expensive
kWh on that feeder ("partial"). Every kWh costs what its listing says. What an order does not get
comes from the retailer; what a seller sold but did not deliver is bought at the retail price on
the seller's account.

Bidding: LISTED, ORDERED. Exchange: ACCEPTED or REJECTED, then DELIVERED. Settlement: SETTLED.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    Trades,
    paired_result,
)
from tricell.markets.order_table import ENERGY_RESIDUE_KWH, Orders

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Bools = NDArray[np.bool_]

ABOUT = About(
    name="posted_listings",
    line="sellers post prices, buyers order in turn, each order is checked against feeder limits",
    source="Zhang, Wu, Zhou, Cheng, Long 2018, Peer-to-peer energy trading in a microgrid: Elecbay",
    guarantees=Guarantees(
        budget_balance="strong",
        individual_rationality=True,
        efficiency=False,
        incentive_compatibility=False,
    ),
)

NetworkCheck = Literal["reject", "partial"]
TradeState = Literal["LISTED", "ORDERED", "ACCEPTED", "REJECTED", "DELIVERED", "SETTLED"]

NEXT_STATES: Mapping[TradeState, tuple[TradeState, ...]] = {
    "LISTED": ("ORDERED",),
    "ORDERED": ("ACCEPTED", "REJECTED"),
    "ACCEPTED": ("DELIVERED",),
    "REJECTED": ("SETTLED",),
    "DELIVERED": ("SETTLED",),
    "SETTLED": (),
}
"""The states that may follow each; a rejected order settles at the retailer."""


@dataclass(frozen=True, kw_only=True)
class PostedListingsResult(MarketResult):
    """What a market of posted listings decided.

    Attributes
    ----------
    rejected : per order, whether the grid check dropped it whole.
    state : per order, after the gate: LISTED if nobody ordered it, ORDERED if it found no listing.
    """

    rejected: Bools
    state: tuple[TradeState, ...]


class PostedListings(Mechanism):
    """Posted listings; a seller's order is a listing, its node the feeder."""

    kind: Literal["posted_listings"] = "posted_listings"
    """Sellers post prices, buyers order in turn."""
    network_check: NetworkCheck = "reject"
    """Whether an order that breaks a feeder limit is dropped or trimmed (reject)."""
    feeder_limit_kwh: dict[int, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Most energy accepted from the listings of a node, kWh (no limits)."""

    def clear(self, orders: Orders, terms: MarketTerms) -> PostedListingsResult:
        """Clear one market for one slot; see the module."""
        listings = _cheapest_first(orders)
        ordering = orders.buys[np.argsort(orders.priority[orders.buys])]
        feeders, feeder = np.unique(orders.node[listings], return_inverse=True)
        limit = np.array([self.feeder_limit_kwh.get(int(each), np.inf) for each in feeders])
        asks, left = orders.price_eur_per_kwh[listings], orders.energy_kwh[listings].copy()
        used = np.zeros(len(feeders))
        rejected = np.zeros(len(orders), dtype=np.bool_)
        buy_rows: list[Indices] = []
        sell_rows: list[Indices] = []
        energies: list[Floats] = []
        for row in ordering:
            top = int(np.searchsorted(asks, orders.price_eur_per_kwh[row], side="right"))
            taken = _cheapest(left[:top], float(orders.energy_kwh[row]))
            taken, broke = _check_feeders(taken, feeder[:top], used, limit)
            if broke and self.network_check == "reject":
                rejected[row] = True
                continue
            at = np.flatnonzero(taken)
            used += np.bincount(feeder[at], taken[at], len(feeders))
            left[at] = _less(left[at], taken[at])
            buy_rows.append(np.full(len(at), row, dtype=np.int64))
            sell_rows.append(listings[at])
            energies.append(taken[at])
        trades = _trades(orders, buy_rows, sell_rows, energies)
        return _result(orders, trades, rejected)


def _cheapest_first(orders: Orders) -> Indices:
    sells = orders.sells
    return sells[np.lexsort((orders.id[sells], orders.price_eur_per_kwh[sells]))]


def _cheapest(left: Floats, energy: float) -> Floats:
    """Take an energy from the top of a list."""
    taken = np.clip(energy - (np.cumsum(left) - left), 0.0, left)
    return np.where(taken <= ENERGY_RESIDUE_KWH * max(1.0, energy), 0.0, taken)


def _less(before: Floats, taken: Floats) -> Floats:
    """Subtract energies; rounding residues are nothing."""
    left = before - taken
    return np.where(left <= ENERGY_RESIDUE_KWH * np.maximum(1.0, before), 0.0, left)


def _check_feeders(
    taken: Floats, feeder: Indices, used: Floats, limit: Floats
) -> tuple[Floats, bool]:
    """Trim the most expensive kWh on each feeder beyond its limit; also whether any was."""
    drawn = np.bincount(feeder, taken, len(limit))
    excess = drawn + used - limit
    broken = np.flatnonzero((excess > ENERGY_RESIDUE_KWH * np.maximum(1.0, used)) & (drawn > 0.0))
    for each in broken:
        on_feeder = np.flatnonzero(feeder == each)
        room = max(float(limit[each] - used[each]), 0.0)
        taken[on_feeder] = _cheapest(taken[on_feeder], room)
    return taken, len(broken) > 0


def _trades(
    orders: Orders, buys: list[Indices], sells: list[Indices], energies: list[Floats]
) -> Trades:
    none = np.zeros(0, dtype=np.int64)
    sell = np.concatenate([none, *sells])
    price = orders.price_eur_per_kwh[sell]
    return Trades(
        buy=np.concatenate([none, *buys]),
        sell=sell,
        energy_kwh=np.concatenate([np.zeros(0), *energies]),
        buy_price=price,
        sell_price=price,
    )


def _result(orders: Orders, trades: Trades, rejected: Bools) -> PostedListingsResult:
    paired = paired_result(orders, trades)
    waiting: dict[bool, TradeState] = {True: "ORDERED", False: "LISTED"}
    state = tuple(
        "REJECTED" if dropped else "ACCEPTED" if energy > 0.0 else waiting[side > 0.0]
        for dropped, energy, side in zip(rejected, paired.accepted_kwh, orders.side, strict=True)
    )
    return PostedListingsResult(
        accepted_kwh=paired.accepted_kwh,
        payment_eur=paired.payment_eur,
        buy_price=None,
        sell_price=None,
        welfare_eur=paired.welfare_eur,
        operator_surplus_eur=paired.operator_surplus_eur,
        trades=trades,
        rejected=rejected,
        state=state,
    )


def settle_listings(
    orders: Orders,
    result: MarketResult,
    retail_price: float,
    delivered_kwh: ArrayLike | None = None,
) -> Floats:
    """Bills after metering, EUR per order; positive pays.

    Parameters
    ----------
    orders, result : of the market.
    retail_price : of what an order did not get, and of what a seller did not deliver, EUR/kWh.
    delivered_kwh : per order, metered energy of the sellers (buyers' entries are not read); None
        if all was delivered.

    Raises
    ------
    MarketError
        Naming the seller whose delivered energy is negative or no number.
    """
    sold = result.accepted_kwh
    delivered = sold if delivered_kwh is None else np.asarray(delivered_kwh, dtype=np.float64)
    selling = orders.side < 0.0
    wrong = np.flatnonzero(selling & ~(delivered >= 0.0))
    if len(wrong):
        raise MarketError(
            f"order {str(orders.id[wrong[0]])!r}: delivered_kwh is {delivered[wrong[0]]:g}; "
            "allowed is a number of at least 0"
        )
    unserved = orders.energy_kwh - sold
    shortfall = np.maximum(sold - delivered, 0.0)
    return result.payment_eur + retail_price * np.where(selling, shortfall, unserved)


def advance(state: TradeState, to: TradeState) -> TradeState:
    """Return the next state of an order, if it may follow.

    Raises
    ------
    MarketError
        If it may not.
    """
    if to not in NEXT_STATES[state]:
        allowed = ", ".join(NEXT_STATES[state]) or "none, it is the last"
        raise MarketError(f"an order that is {state} cannot become {to}; allowed is {allowed}")
    return to
