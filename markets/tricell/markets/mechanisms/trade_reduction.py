"""Double auction of many units that gives up the marginal traders to be truthful (Huang et al.).

In merit order, buyer K and seller J are the last that are matched. Both leave wholly, with what
they would have traded, and set the prices of those before them::

    volume = min(q_1 + ... + q_{K-1},  q_1 + ... + q_{J-1})
    buyers pay b_K, sellers get s_J, the operator keeps (b_K - s_J) volume

The short side trades in full. On the long side everybody gives up the same energy ``c``, but not
more than is there: ``max(q_i - c, 0)``, with ``c`` such that the sum is the volume.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.markets.mechanism import (
    About,
    Guarantees,
    MarketResult,
    MarketTerms,
    Mechanism,
    uniform_result,
)
from tricell.markets.merit_order import cross
from tricell.markets.order_table import ENERGY_RESIDUE_KWH, Orders

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

ABOUT = About(
    name="trade_reduction",
    line="double auction of many units without the marginal buyer and seller, who set the prices",
    source=("Huang, Scheller-Wolf, Sycara 2002, Design of a multi-unit double auction e-market"),
    guarantees=Guarantees(
        budget_balance="weak",
        individual_rationality=True,
        efficiency=False,
        incentive_compatibility=True,
        note="for traders with one order each; quantities are taken as true",
    ),
)


class TradeReduction(Mechanism):
    """Double auction of many units without the marginal traders."""

    kind: Literal["trade_reduction"] = "trade_reduction"
    """Double auction of many units without the marginal traders."""

    def clear(self, orders: Orders, terms: MarketTerms) -> MarketResult:
        """Clear one market for one slot; see the module."""
        crossing = cross(orders)
        accepted = np.zeros(len(orders))
        if crossing.volume_kwh <= 0.0:
            return uniform_result(orders, accepted, None, None)
        reduced = frozenset({"reduced"})
        buys = _before_the_last(crossing.buys, crossing.bought_kwh)
        sells = _before_the_last(crossing.sells, crossing.sold_kwh)
        if not len(buys) or not len(sells):
            return uniform_result(orders, accepted, None, None, flags=reduced)
        energy = orders.energy_kwh
        volume = min(float(energy[buys].sum()), float(energy[sells].sum()))
        accepted[buys] = give_up_equally(energy[buys], volume)
        accepted[sells] = give_up_equally(energy[sells], volume)
        return uniform_result(
            orders, accepted, crossing.last_buy, crossing.last_sell, flags=reduced
        )


def give_up_equally(energy_kwh: Floats, total_kwh: float) -> Floats:
    """Take the same energy from everybody, but not more than is there, until a total is left.

    Parameters
    ----------
    energy_kwh : energies above 0, kWh, shape (traders,).
    total_kwh : what shall be left in sum, kWh, above 0.

    Returns
    -------
    What is left to each, kWh, shape (traders,); all as it was if the sum is at most the total.

    Raises
    ------
    MarketError
        If the total is not above 0.

    Examples
    --------
    >>> give_up_equally(np.array([4.0, 1.0, 7.0]), 7.0).tolist()
    [2.0, 0.0, 5.0]
    """
    if not total_kwh > 0.0:
        raise MarketError(f"the total is {total_kwh:g} kWh; allowed is a number above 0")
    residue = ENERGY_RESIDUE_KWH * max(1.0, total_kwh)
    if energy_kwh.sum() - total_kwh <= residue:
        return energy_kwh.copy()
    largest_first = -np.sort(-energy_kwh)
    given_up = (np.cumsum(largest_first) - total_kwh) / np.arange(1, len(energy_kwh) + 1)
    keepers = int(np.flatnonzero(largest_first > given_up)[-1])
    left: Floats = energy_kwh - given_up[keepers]
    left[left <= residue] = 0.0
    return left


def _before_the_last(rows: Indices, matched_kwh: Floats) -> Indices:
    """Rows that are matched, without the last of them."""
    last = int(np.flatnonzero(matched_kwh > 0.0)[-1])
    before: Indices = rows[:last]
    return before
