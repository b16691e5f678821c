"""A leader sets one price, followers answer with their demand (Stackelberg game).

Follower i buys where its marginal value ``v_i - theta_i x`` meets the price::

    x_i(p) = clip((v_i - p) / theta_i, 0, cap_i)

and the leader, who pays ``c`` per kWh, takes the price in ``[low, high]`` of the largest profit
``(p - c) sum x_i(p)``, with ``sum x_i(p) <= grid_cap`` if the grid asks for it. Between two kinks
(where a follower starts to buy, or reaches its cap) the profit is a parabola, so the best price is
a kink, a bound, or the top of one of the parabolas::

    p = (c + (sum v/theta + sum of reached caps) / sum 1/theta) / 2

As a market of one slot the leader is a middleman. Buying orders are followers that take all they
ask for up to their limit price; sellers are paid what they ask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tricell.errors import MarketError
from tricell.markets.mechanism import (
    About,
    Guarantees,
    MarketResult,
    MarketTerms,
    Mechanism,
    uniform_result,
    welfare_eur,
)
from tricell.markets.merit_order import accepted_pro_rata, cross, merit_order
from tricell.markets.order_table import Orders

Floats = NDArray[np.float64]

ABOUT = About(
    name="leader_price",
    line="an operator sets the one price that earns it most, knowing how buyers answer",
    source="Tushar et al. 2020, Grid influenced peer-to-peer energy trading",
    guarantees=Guarantees(
        budget_balance="weak",
        individual_rationality=True,
        efficiency=False,
        incentive_compatibility=False,
    ),
)

TOLERANCE = 1e-9
EQUAL_PROFIT = 1e-12
"""Profits that differ by this share are equal: rounding, and too little to move the price."""


@dataclass(frozen=True)
class Followers:
    """Buyers whose marginal value falls with what they buy, arrays of equal length.

    Attributes
    ----------
    value : marginal value of the first kWh, EUR/kWh.
    slope : fall of the marginal value, EUR/kWh per kWh, above 0.
    cap_kwh : most that each buys; inf if nothing limits it.
    """

    value: Floats
    slope: Floats
    cap_kwh: Floats

    @staticmethod
    def of(value: Floats, slope: Floats, cap_kwh: Floats | None = None) -> Followers:
        """Make followers from columns.

        Raises
        ------
        MarketError
            If the columns differ in length, a slope is not above 0 or a cap is below 0.
        """
        worth, fall = np.asarray(value, dtype=np.float64), np.asarray(slope, dtype=np.float64)
        cap = np.full(len(worth), np.inf) if cap_kwh is None else np.asarray(cap_kwh, np.float64)
        rules = (
            ("value", worth, np.isfinite(worth), "a number"),
            ("slope", fall, (fall > 0.0) & np.isfinite(fall), "a number above 0"),
            ("cap_kwh", cap, cap >= 0.0, "0 or more"),
        )
        for name, column, good, allowed in rules:
            if len(column) != len(worth):
                raise MarketError(
                    f"followers: {name} has {len(column)} entries, value has {len(worth)}; "
                    "give one entry per follower"
                )
            if not good.all():
                row = int(np.argmin(good))
                raise MarketError(
                    f"follower {row + 1}: {name} is {column[row]:g}; allowed is {allowed}"
                )
        return Followers(worth, fall, cap)

    def demand_kwh(self, price: Floats | float) -> Floats:
        """Demand of each follower at each price, shape (followers,) or (prices, followers)."""
        asked = (self.value - np.asarray(price, dtype=np.float64)[..., None]) / self.slope
        return np.asarray(np.clip(asked, 0.0, self.cap_kwh), dtype=np.float64)

    @property
    def kinks(self) -> Floats:
        """Prices at which a follower starts to buy or reaches its cap, rising."""
        full = self.value - self.slope * self.cap_kwh
        kinks = np.unique(np.concatenate([self.value, full]))
        return np.asarray(kinks[np.isfinite(kinks)], dtype=np.float64)


@dataclass(frozen=True)
class LeaderDecision:
    """The leader's price and what follows from it: EUR/kWh, kWh per follower, EUR."""

    price: float
    demand_kwh: Floats
    profit_eur: float


def leader_price(
    followers: Followers,
    cost: float,
    lowest_price: float,
    highest_price: float,
    grid_cap_kwh: float = np.inf,
) -> LeaderDecision | None:
    """Return the most profitable price, the lowest of several; None if no price meets the cap.

    Parameters
    ----------
    followers : the buyers.
    cost : what a kWh costs the leader, EUR/kWh.
    lowest_price, highest_price : bounds of the price, EUR/kWh.
    grid_cap_kwh : most that all followers together may buy.

    Raises
    ------
    MarketError
        If the cost or a bound is not a number.
    """
    for name, given in (
        ("cost", cost),
        ("lowest_price", lowest_price),
        ("highest_price", highest_price),
    ):
        if not np.isfinite(given):
            raise MarketError(f"leader price: {name} is {given:g}; allowed is a number")
    if np.isnan(grid_cap_kwh):
        raise MarketError("leader price: grid_cap_kwh is nan; allowed is a number, or inf for none")
    low = max(lowest_price, _lowest_price_within(followers, grid_cap_kwh))
    if low > highest_price + TOLERANCE:
        return None
    low = min(low, highest_price)
    prices = _candidates(followers, cost, low, highest_price)
    profits = (prices - cost) * followers.demand_kwh(prices).sum(axis=1)
    highest = float(profits.max())
    best = int(np.argmax(profits >= highest - EQUAL_PROFIT * max(1.0, abs(highest))))
    return LeaderDecision(
        price=float(prices[best]),
        demand_kwh=followers.demand_kwh(float(prices[best])),
        profit_eur=float(profits[best]),
    )


def _lowest_price_within(followers: Followers, grid_cap_kwh: float) -> float:
    """Lowest price at which all followers together stay within the cap; -inf if all do."""
    most = float(followers.cap_kwh.sum())
    if most <= grid_cap_kwh + TOLERANCE:
        return -np.inf
    if grid_cap_kwh < -TOLERANCE:
        return np.inf
    kinks = followers.kinks
    totals = followers.demand_kwh(kinks).sum(axis=1)
    fits = int(np.argmax(totals <= grid_cap_kwh + TOLERANCE))
    # Below the first kink that fits, demand rises at a constant rate until the kink before it.
    below = kinks[fits - 1] if fits > 0 else kinks[0] - 1.0
    rate = (followers.demand_kwh(below).sum() - totals[fits]) / (kinks[fits] - below)
    return float(kinks[fits] - max(0.0, grid_cap_kwh - totals[fits]) / rate)


def _candidates(followers: Followers, cost: float, low: float, high: float) -> Floats:
    """Bounds, kinks and tops of the parabolas between them, rising."""
    kinks = followers.kinks
    edges = np.unique(np.concatenate([[low, high], kinks[(kinks > low) & (kinks < high)]]))
    middle = 0.5 * (edges[1:] + edges[:-1])
    asked = (followers.value - middle[:, None]) / followers.slope
    inside = (asked > 0.0) & (asked < followers.cap_kwh)
    reached = np.where(asked >= followers.cap_kwh, followers.cap_kwh, 0.0).sum(axis=1)
    rate = (inside / followers.slope).sum(axis=1)
    start = (inside * followers.value / followers.slope).sum(axis=1) + reached
    has_top = rate > 0.0
    tops = 0.5 * (cost + start[has_top] / rate[has_top])
    within = (tops > edges[:-1][has_top]) & (tops < edges[1:][has_top])
    return np.asarray(np.unique(np.concatenate([edges, tops[within]])), dtype=np.float64)


class LeaderPrice(Mechanism):
    """An operator buys at the asks and sells at the one price that earns it most."""

    kind: Literal["leader_price"] = "leader_price"
    """An operator sets the one price that earns it most."""
    lowest_price: Annotated[float, Field(ge=-3, le=3)] = -3.0
    """Lowest price that the operator may set, EUR/kWh (-3)."""
    highest_price: Annotated[float, Field(ge=-3, le=3)] = 3.0
    """Highest price that the operator may set, EUR/kWh (3)."""
    grid_cap_kwh: Annotated[float, Field(ge=0)] | None = None
    """Most that all buyers may ask for at the price, kWh; none if nothing is given."""

    def clear(self, orders: Orders, terms: MarketTerms) -> MarketResult:
        """Clear one market for one slot; see the module."""
        prices, profits, volumes = _middleman_profits(orders, self)
        if not len(prices):
            flags = frozenset({"infeasible"} if len(orders.buys) else ())
            return uniform_result(orders, np.zeros(len(orders)), None, None, flags=flags)
        trading = (profits >= profits.max() - TOLERANCE) & (volumes > 0.0)
        if profits.max() < -TOLERANCE or not trading.any():
            return uniform_result(orders, np.zeros(len(orders)), None, None)
        return _sell_at(orders, float(prices[np.argmax(trading)]))


def _middleman_profits(orders: Orders, terms: LeaderPrice) -> tuple[Floats, Floats, Floats]:
    """Return allowed prices, rising, with profit and volume of the leader at each."""
    buys, sells = merit_order(orders)
    bids, asks = orders.price_eur_per_kwh[buys], orders.price_eur_per_kwh[sells]
    if terms.lowest_price > terms.highest_price:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    bounds = (terms.lowest_price, terms.highest_price)
    ends = np.asarray(bounds if terms.grid_cap_kwh is not None and len(bids) else ())
    prices = np.unique(np.concatenate([np.clip(bids, *bounds), ends]))
    willing = np.concatenate([[0.0], np.cumsum(orders.energy_kwh[buys])])
    demand = willing[np.searchsorted(-bids, -prices, side="right")]
    if terms.grid_cap_kwh is not None:
        fits = demand <= terms.grid_cap_kwh + TOLERANCE
        prices, demand = prices[fits], demand[fits]
    offered = np.concatenate([[0.0], np.cumsum(orders.energy_kwh[sells])])
    cost = np.concatenate([[0.0], np.cumsum(orders.energy_kwh[sells] * asks)])
    volume = np.minimum(demand, offered[np.searchsorted(asks, prices, side="right")])
    return prices, prices * volume - np.interp(volume, offered, cost), volume


def _sell_at(orders: Orders, price: float) -> MarketResult:
    """All that buyers take and sellers give at a price; sellers are paid what they ask."""
    limit = orders.price_eur_per_kwh
    rows = np.flatnonzero(np.where(orders.side > 0.0, limit >= price, limit <= price))
    part = orders.take(rows)
    accepted = np.zeros(len(orders))
    accepted[rows] = accepted_pro_rata(part, cross(part))
    paid = np.where(orders.side > 0.0, price, -limit) * accepted
    return MarketResult(
        accepted_kwh=accepted,
        payment_eur=paid,
        buy_price=price,
        sell_price=None,
        welfare_eur=welfare_eur(orders, accepted),
        operator_surplus_eur=float(paid.sum()),
    )
