"""Books of orders for the tests of market mechanisms: by Hypothesis, and from a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from tricell.markets.mechanism import MarketTerms
from tricell.markets.order_table import Orders

Floats = NDArray[np.float64]

RETAIL_PRICE = 0.30
FEED_IN_PRICE = 0.08
MAX_AGENTS = 400
TERMS = MarketTerms(
    retail_price=RETAIL_PRICE,
    feed_in_price=FEED_IN_PRICE,
    seed=7,
    agent_names=tuple(f"agent{number:03d}" for number in range(MAX_AGENTS)),
)

CENTS = range(-6, 41)
"""Prices of the random books, ct/kWh: below feed-in, between feed-in and retail, and above."""
TENTHS = range(1, 31)
"""Energies of the random books, 0.1 kWh; sums of them differ by rounding only, or by 0.1."""


@dataclass(frozen=True)
class Entry:
    """One order of a random book, in whole tenths and cents so that it shrinks to something short.

    Attributes
    ----------
    is_buy : side.
    tenths : energy, 0.1 kWh.
    cents : price, ct/kWh.
    time : arrival.
    """

    is_buy: bool
    tenths: int
    cents: int
    time: int


def orders_of(entries: Sequence[Entry]) -> Orders:
    """Return a book with an agent of its own behind each order, in two communities and in none."""
    count = len(entries)
    return Orders.of(
        id=[f"o{number:03d}" for number in range(count)],
        side=[1.0 if entry.is_buy else -1.0 for entry in entries],
        energy_kwh=np.array([entry.tenths for entry in entries]) / 10.0,
        price_eur_per_kwh=np.array([entry.cents for entry in entries]) / 100.0,
        time=[entry.time for entry in entries],
        agent=np.arange(count),
        attributes={"community": np.arange(count) // 2 % 3 - 1},
    )


def book(buys: Sequence[tuple[float, float]], sells: Sequence[tuple[float, float]]) -> Orders:
    """Return a book of (kWh, EUR/kWh) pairs, all at the same time, each of its own agent."""
    both = [*buys, *sells]
    return Orders.of(
        id=[f"b{n:03d}" for n in range(len(buys))] + [f"s{n:03d}" for n in range(len(sells))],
        side=[1.0] * len(buys) + [-1.0] * len(sells),
        energy_kwh=[energy for energy, _ in both],
        price_eur_per_kwh=[price for _, price in both],
        agent=np.arange(len(both)),
    )


def books(
    max_orders: int = 8, tenths: Sequence[int] = TENTHS, cents: Sequence[int] = CENTS
) -> st.SearchStrategy[Orders]:
    """Books of any sides and ties, also empty ones."""
    entry = st.builds(
        Entry,
        is_buy=st.booleans(),
        tenths=st.sampled_from(tenths),
        cents=st.sampled_from(cents),
        time=st.integers(0, 3),
    )
    return st.lists(entry, max_size=max_orders).map(orders_of)


def seeded_books(
    count: int,
    seed: int,
    sizes: tuple[int, int] = (2, 8),
    tenths: Sequence[int] = TENTHS,
    cents: Sequence[int] = CENTS,
) -> Iterator[Orders]:
    """Yield random books with both sides; the same seed gives the same books."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        size = int(random.integers(sizes[0], sizes[1] + 1))
        is_buy = random.random(size) < 0.5
        is_buy[:2] = True, False
        yield orders_of(
            [
                Entry(
                    is_buy=bool(buys),
                    tenths=int(random.choice(tenths)),
                    cents=int(random.choice(cents)),
                    time=int(random.integers(0, 4)),
                )
                for buys in is_buy
            ]
        )


def crowd(count: int, seed: int) -> Orders:
    """Return a large random book."""
    return next(seeded_books(1, seed, (count, count)))


def permuted(orders: Orders, seed: int) -> tuple[Orders, NDArray[np.int64]]:
    """Return the same orders in another sequence of rows, and the old row of each new one."""
    rows = np.random.default_rng(seed).permutation(len(orders)).astype(np.int64)
    shuffled = Orders.of(
        id=orders.id[rows].tolist(),
        side=orders.side[rows],
        energy_kwh=orders.energy_kwh[rows],
        price_eur_per_kwh=orders.price_eur_per_kwh[rows],
        time=orders.time[rows],
        agent=orders.agent[rows],
        node=orders.node[rows],
        attributes={name: column[rows] for name, column in orders.attributes.items()},
    )
    return shuffled, rows
