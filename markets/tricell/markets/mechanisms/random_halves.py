"""Double auction in random halves (MUDA): each half of the agents sets the price of the other.

The agents are parted at random into two halves. Each half's own price ``p`` is that of a call
auction among its orders: the middle of the clearing prices or, if nothing crosses, of its best
bid and best ask; none if a side is empty. It is posted in the other half, where::

    buyers with bid >= p and sellers with ask <= p may trade        volume = min(demand, supply)

The short side trades all it offers. On the long side the agents are served one after the other in
the sequence of a lottery, each agent's own orders by merit. Without a posted price a half does
not trade. As no order touches the price it trades at, no misreport of a price pays.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    welfare_eur,
)
from tricell.markets.mechanisms.uniform_price import clearing_price
from tricell.markets.merit_order import SAME_PRICE_EUR_PER_KWH, cross
from tricell.markets.order_table import ENERGY_RESIDUE_KWH, Orders

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Bools = NDArray[np.bool_]

_STREAM = 0x68616C66
"""Of random numbers, so that halves have nothing to do with orders drawn from the same seed."""

ABOUT = About(
    name="random_halves",
    line="random halves of the agents, each trading at the price of the other (MUDA)",
    source="Segal-Halevi, Hassidim, Aumann 2018, MUDA: a truthful multi-unit double-auction",
    guarantees=Guarantees(
        budget_balance="strong",
        individual_rationality=True,
        efficiency=False,
        incentive_compatibility=True,
        note="welfare comes near the largest possible in large markets only",
    ),
)


@dataclass(frozen=True, kw_only=True)
class RandomHalvesResult(MarketResult):
    """Result of both halves; `buy_price` and `sell_price` are None, as each half has its own.

    Attributes
    ----------
    left : per order, whether it is in the left half.
    price_left, price_right : price made by the half and paid in the other, EUR/kWh; None if it
        made none.
    volume_left_kwh, volume_right_kwh : energy traded within the half.
    """

    left: Bools
    price_left: float | None
    price_right: float | None
    volume_left_kwh: float
    volume_right_kwh: float


class RandomHalves(Mechanism):
    """Double auction in random halves (MUDA), drawn from the seed of the market's terms."""

    kind: Literal["random_halves"] = "random_halves"
    """Double auction in random halves (MUDA), drawn from the seed of the market's terms."""

    def clear(self, orders: Orders, terms: MarketTerms) -> RandomHalvesResult:
        """Clear one market for one slot; see the module."""
        left, rank = draw_halves(orders, terms.seed)
        return trade_in_halves(orders, left, rank)


def draw_halves(orders: Orders, seed: int) -> tuple[Bools, Indices]:
    """Draw halves and lottery; an order of nobody in particular counts as an agent of its own.

    Parameters
    ----------
    orders : n orders; the draw depends on their agents, times and ids, not on their sequence.
    seed : of the draw.

    Returns
    -------
    left : (n,), whether the order's agent is in the left half, which is the smaller one if the
        number of agents is odd.
    rank : (n,), place of the order's agent in the lottery.
    """
    nobody = orders.agent < 0
    first_free = int(orders.agent.max(initial=-1)) + 1
    owner = np.where(nobody, first_free + orders.priority, orders.agent)
    agents, agent_of_order = np.unique(owner, return_inverse=True)
    random = np.random.default_rng([_STREAM, seed])
    in_left = random.permutation(len(agents)) < len(agents) // 2
    return in_left[agent_of_order], random.permutation(len(agents))[agent_of_order]


def trade_in_halves(
    orders: Orders, left: Bools, rank: Indices, right: Bools | None = None
) -> RandomHalvesResult:
    """Clear with given halves and lottery.

    Parameters
    ----------
    orders : n orders.
    left : (n,), whether the order is in the left half.
    rank : (n,), place of the order's agent in the lottery, lowest first.
    right : (n,), whether the order is in the right half; None for all that are not in the left
        one. Orders in no half do not trade.

    Raises
    ------
    MarketError
        If an order is in both halves, or an array has another length than the orders.
    """
    right = ~left if right is None else right
    _check(orders, left, rank, right)
    price_left, price_right = _price(orders, left), _price(orders, right)
    accepted, paid = np.zeros(len(orders)), np.zeros(len(orders))
    volumes = []
    for half, price in ((left, price_right), (right, price_left)):
        volume = 0.0
        if price is not None:
            rows = np.flatnonzero(half)
            accepted[rows], volume = _served(orders.take(rows), price, rank[rows])
            paid[rows] = orders.side[rows] * price * accepted[rows]
        volumes.append(volume)
    return RandomHalvesResult(
        accepted_kwh=accepted,
        payment_eur=paid,
        buy_price=None,
        sell_price=None,
        welfare_eur=welfare_eur(orders, accepted),
        operator_surplus_eur=float(paid.sum()),
        left=left,
        price_left=price_left,
        price_right=price_right,
        volume_left_kwh=volumes[0],
        volume_right_kwh=volumes[1],
    )


def _check(orders: Orders, left: Bools, rank: Indices, right: Bools) -> None:
    for name, values in (("left", left), ("rank", rank), ("right", right)):
        if len(values) != len(orders):
            raise MarketError(
                f"{name!r} has {len(values)} entries, but there are {len(orders)} orders; "
                "give one entry per order"
            )
    if np.any(left & right):
        name = str(orders.id[np.argmax(left & right)])
        raise MarketError(f"order {name!r} is in both halves; allowed is one half or none")


def _price(orders: Orders, half: Bools) -> float | None:
    """Price that a half makes: of its call auction, else midway between best bid and best ask."""
    crossing = cross(orders.take(np.flatnonzero(half)))
    if crossing.volume_kwh > 0.0:
        return clearing_price(crossing, 0.5)
    if not len(crossing.buys) or not len(crossing.sells):
        return None
    return 0.5 * (crossing.next_buy + crossing.next_sell)


def _served(orders: Orders, price: float, rank: Indices) -> tuple[Floats, float]:
    """Energy per order that trades at a posted price, and the volume."""
    worth = orders.side * (orders.price_eur_per_kwh - price)
    sequence = np.lexsort((orders.priority, -worth, rank))
    sequence = sequence[worth[sequence] >= -SAME_PRICE_EUR_PER_KWH]
    sides = [sequence[orders.side[sequence] == side] for side in (1.0, -1.0)]
    volume = min(float(orders.energy_kwh[rows].sum()) for rows in sides)
    accepted = np.zeros(len(orders))
    for rows in sides:
        accepted[rows] = _up_to(orders.energy_kwh[rows], volume)
    return accepted, volume


def _up_to(energy_kwh: Floats, volume_kwh: float) -> Floats:
    """Serve from the top up to a volume; what ends within rounding of it is served whole."""
    end = np.cumsum(energy_kwh)
    residue = ENERGY_RESIDUE_KWH * max(1.0, volume_kwh)
    left_over = volume_kwh - (end - energy_kwh)
    served = np.clip(np.where(left_over > residue, left_over, 0.0), 0.0, energy_kwh)
    return np.where(end <= volume_kwh + residue, energy_kwh, served)
