"""Buyers drift between sellers until each seller that has buyers is worth the same (evolution).

A share ``x_j`` of the demand D is with seller j, at price ``p_j`` and with supply ``S_j``. Crowding
lowers what a buyer has of it, and shares grow with the payoff above the mean::

    payoff_j = v - p_j - theta x_j D / S_j        mean = sum x_j payoff_j
    x_j <- x_j (1 + eta (payoff_j - mean))

The shares stay a distribution. At the fixed point all sellers with buyers have the same payoff.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tricell.errors import MarketError
from tricell.markets.mechanism import About

Floats = NDArray[np.float64]

ABOUT = About(
    name="replicator_sellers",
    line="buyers drift to the sellers with the better payoff until all payoffs are equal",
    source="Paudel et al. 2019, Peer-to-peer energy trading in a prosumer-based microgrid",
)

STANDSTILL = 1e-13
"""Change of a share in one step below which the shares stand still."""


@dataclass(frozen=True)
class SellerShares:
    """Where buyers end.

    Attributes
    ----------
    share : share of the demand at each seller, adds up to 1.
    demand_kwh : energy asked of each seller.
    payoff : value of a kWh from each seller to a buyer, EUR/kWh.
    steps : steps taken.
    converged : the shares stand still.
    """

    share: Floats
    demand_kwh: Floats
    payoff: Floats
    steps: int
    converged: bool


def replicator_sellers(
    price: ArrayLike,
    supply_kwh: ArrayLike,
    *,
    demand_kwh: float,
    value: float,
    crowding: float,
    step: float,
    start_share: ArrayLike | None = None,
    max_steps: int = 50_000,
) -> SellerShares:
    """Let the shares of the sellers evolve to their fixed point.

    Parameters
    ----------
    price, supply_kwh : of each seller, EUR/kWh and kWh (above 0).
    demand_kwh : demand of all buyers.
    value : value of a kWh to a buyer, EUR/kWh.
    crowding : fall of the payoff at full use of a seller, EUR/kWh.
    step : growth per EUR/kWh of payoff above the mean.
    start_share : first shares; equal ones if none are given.
    max_steps : steps after which it stops.

    Raises
    ------
    MarketError
        If a supply is not above 0, columns differ in length, or the start is no distribution.
    """
    prices = np.asarray(price, dtype=np.float64).reshape(-1)
    supply = np.asarray(supply_kwh, dtype=np.float64).reshape(-1)
    share = _start(start_share, len(prices))
    _check(prices, supply, share)
    steps, converged = 0, len(prices) == 0
    while not converged and steps < max_steps:
        payoff = value - prices - crowding * share * demand_kwh / supply
        # A step too long for the payoffs may not make a share negative.
        grown = np.maximum(share * (1.0 + step * (payoff - share @ payoff)), 0.0)
        grown /= grown.sum()
        converged = bool(np.abs(grown - share).max() <= STANDSTILL)
        share, steps = grown, steps + 1
    payoff = value - prices - crowding * share * demand_kwh / supply
    return SellerShares(share, share * demand_kwh, payoff, steps, converged)


def _start(start_share: ArrayLike | None, count: int) -> Floats:
    if start_share is None:
        return np.full(count, 1.0 / max(count, 1))
    return np.asarray(start_share, dtype=np.float64).reshape(-1)


def _check(price: Floats, supply: Floats, share: Floats) -> None:
    if not len(price) == len(supply) == len(share):
        raise MarketError(
            f"sellers: {len(price)} prices, {len(supply)} supplies and {len(share)} shares; "
            "give one of each per seller"
        )
    for name, column, good, allowed in (
        ("price", price, np.isfinite(price), "a number"),
        ("supply_kwh", supply, (supply > 0.0) & np.isfinite(supply), "a number above 0"),
        ("start_share", share, share >= 0.0, "0 or more"),
    ):
        if not good.all():
            row = int(np.argmin(good))
            raise MarketError(f"seller {row + 1}: {name} is {column[row]:g}; allowed is {allowed}")
    if len(share) and abs(share.sum() - 1.0) > 1e-9:
        raise MarketError(f"sellers: start_share adds up to {share.sum():g}; allowed is 1")
