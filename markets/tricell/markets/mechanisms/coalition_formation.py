"""Members merge and split coalitions until nobody can be made better off so (coalition formation).

In a coalition C, member i pays its bill by the mid-market rate among the members of C, and a cost
of being together::

    cost_i(C) = mid-market bill_i(C) + kappa (|C| - 1)

It starts with everybody alone. The first pair of coalitions, in the sequence of their members,
merges if no member pays more and one pays less, within a largest size; if no pair does, the first
coalition that has such a split (its smaller part first, then in sequence) splits. It ends when
neither is left. Each step lowers the sum of all costs, so it does end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tricell.errors import MarketError
from tricell.markets.mechanism import About, Guarantees
from tricell.markets.mechanisms.coalition_value_sharing import MeteredSlots
from tricell.markets.mechanisms.mid_market_rate import mid_market_rate

Floats = NDArray[np.float64]
Coalition = tuple[int, ...]
Partition = tuple[Coalition, ...]
Costs = Callable[[Coalition], Floats]

ABOUT = About(
    name="coalition_formation",
    line="members merge and split groups that share at the mid-market rate until all are content",
    source="Tushar et al. 2020, A coalition formation game framework for peer-to-peer trading",
    guarantees=Guarantees(
        budget_balance="strong",
        individual_rationality=True,
        efficiency=False,
        incentive_compatibility=False,
        note="the retailer flow counts; the cost of being together is nobody's income",
    ),
)

TOLERANCE = 1e-9
MOST_MEMBERS_SPLIT = 16
"""Splits of larger coalitions are too many to look at."""


@dataclass(frozen=True)
class Coalitions:
    """Stable coalitions.

    Attributes
    ----------
    partition : members of each coalition, rising, and coalitions by their first member.
    bill_eur : mid-market bill of each member, positive pays.
    membership_eur : cost of being together of each member.
    steps : merges and splits.
    """

    partition: Partition
    bill_eur: Floats
    membership_eur: Floats
    steps: int


def coalition_formation(
    net_kwh: ArrayLike,
    retail_price: ArrayLike,
    feed_in_price: ArrayLike,
    *,
    membership_cost: float = 0.0,
    largest_size: int = 99,
) -> Coalitions:
    """Let members form coalitions that share at the mid-market rate.

    Parameters
    ----------
    net_kwh : load less generation, shape (members,) or (slots, members), in the sequence in which
        members and coalitions are looked at.
    retail_price, feed_in_price : EUR/kWh, one or one per slot.
    membership_cost : kappa, EUR per member and per other member.
    largest_size : most members of a coalition.

    Raises
    ------
    MarketError
        If a number is none, or a coalition grows too large to look at all its splits.

    Examples
    --------
    >>> coalition_formation([-3.0, 2.0, -1.0, 2.0], 0.30, 0.08, largest_size=2).partition
    ((0, 1), (2, 3))
    """
    slots = MeteredSlots.of(net_kwh, retail_price, feed_in_price)
    if not np.isfinite(membership_cost) or largest_size < 1:
        raise MarketError(
            f"coalition formation: membership_cost is {membership_cost:g} and largest_size is "
            f"{largest_size}; allowed are a number, and 1 or more"
        )
    costs = _member_costs(slots, membership_cost)
    # Without a cost of being together no split is better for all: in the parts, the ratio of
    # supply to demand is on average what it was, so it falls for somebody.
    may_split = membership_cost > 0.0 or bool((slots.feed_in_price > slots.retail_price).any())
    partition: Partition = tuple((member,) for member in range(slots.net_kwh.shape[1]))
    steps = 0
    while True:
        after = _merged(partition, costs, largest_size)
        if after is None and may_split:
            after = _split(partition, costs)
        if after is None:
            break
        partition, steps = after, steps + 1
    return _coalitions(partition, slots, membership_cost, steps)


def _member_costs(slots: MeteredSlots, membership_cost: float) -> Costs:
    @cache
    def costs(members: Coalition) -> Floats:
        return _bills(slots, members) + membership_cost * (len(members) - 1)

    return costs


def _bills(slots: MeteredSlots, members: Coalition) -> Floats:
    """Mid-market bill of each member of a coalition over all slots."""
    total = np.zeros(len(members))
    prices = zip(slots.retail_price, slots.feed_in_price, strict=True)
    for net, (retail, feed_in) in zip(slots.net_kwh[:, list(members)], prices, strict=True):
        total += mid_market_rate(net, float(retail), float(feed_in)).bill_eur
    return total


def _improves(before: Floats, after: Floats) -> bool:
    """Nobody pays more, somebody pays less, and so do all together."""
    change = after - before
    return bool((change <= TOLERANCE).all() and (change < -TOLERANCE).any() and change.sum() < 0.0)


def _in_sequence(members: Coalition, costs: Floats) -> Floats:
    return costs[np.argsort(np.asarray(members))]


def _merged(partition: Partition, costs: Costs, largest_size: int) -> Partition | None:
    """Partition after the first merge that improves; None if there is none."""
    for one, other in combinations(partition, 2):
        if len(one) + len(other) > largest_size:
            continue
        apart = _in_sequence(one + other, np.concatenate([costs(one), costs(other)]))
        together = tuple(sorted(one + other))
        if _improves(apart, costs(together)):
            rest = [each for each in partition if each not in (one, other)]
            return tuple(sorted([*rest, together]))
    return None


def _split(partition: Partition, costs: Costs) -> Partition | None:
    """Partition after the first split that improves; None if there is none."""
    for coalition in partition:
        for one, other in _halves(coalition):
            apart = _in_sequence(one + other, np.concatenate([costs(one), costs(other)]))
            if _improves(costs(coalition), apart):
                rest = [each for each in partition if each != coalition]
                return tuple(sorted([*rest, one, other]))
    return None


def _halves(coalition: Coalition) -> Iterator[tuple[Coalition, Coalition]]:
    """Both parts of every split, the smaller part first by size, then in sequence."""
    count = len(coalition)
    if count > MOST_MEMBERS_SPLIT:
        raise MarketError(
            f"coalition formation: a coalition of {count} members has too many splits to look at; "
            f"give a largest_size of {MOST_MEMBERS_SPLIT} or less"
        )
    for size in range(1, count // 2 + 1):
        for one in combinations(coalition, size):
            yield one, tuple(member for member in coalition if member not in one)


def _coalitions(
    partition: Partition, slots: MeteredSlots, membership_cost: float, steps: int
) -> Coalitions:
    bill = np.zeros(slots.net_kwh.shape[1])
    membership = np.zeros(len(bill))
    for members in partition:
        bill[list(members)] = _bills(slots, members)
        membership[list(members)] = membership_cost * (len(members) - 1)
    return Coalitions(partition, bill, membership, steps)
