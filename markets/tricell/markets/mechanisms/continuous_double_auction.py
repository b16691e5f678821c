"""Continuous double auction: a book that is open until the gate, in price-time priority.

Every event is dealt with when it comes. A new order takes the best order of the other side while
their prices cross, each time at the price of the order that rests::

    deal with the best resting order while    bid >= ask    at    price = price of what rests

The best is the lowest ask or the highest bid; among equal prices the one that has been resting
longest. Orders of the same agent never deal with each other: the next best is taken instead.
What remains of a new order rests, until the gate closes. A cancel takes an order out of the book.
A change that only takes energy away keeps the order's place; more energy, another price or the
other side puts it at the end, as an order that has just come.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from math import isfinite
from typing import Generic, Literal, NamedTuple, TypeVar

import numpy as np

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
from tricell.markets.order_table import ENERGY_RESIDUE_KWH, NO_AGENT, Orders
from tricell.markets.orders import BUY, PRICE_LIMIT_EUR_PER_KWH, SELL

ABOUT = About(
    name="continuous_double_auction",
    line="open book: every order deals at once with the best that rests, at the resting price",
    source="Friedman 1993, The double auction market institution: a survey",
    guarantees=Guarantees(
        budget_balance="strong",
        individual_rationality=True,
        efficiency=False,
        incentive_compatibility=False,
        note="the outcome depends on the sequence in which the orders come",
    ),
)

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order that comes; if one of its id rests, it takes the place of that one as a `Change`.

    Attributes
    ----------
    id : name.
    side : +1 buys, -1 sells.
    energy_kwh : above 0.
    price_eur_per_kwh : highest price of a buyer, lowest price of a seller.
    agent : number of the agent behind it, `NO_AGENT` if nobody in particular.
    """

    id: str
    side: float
    energy_kwh: float
    price_eur_per_kwh: float
    agent: int = NO_AGENT


@dataclass(frozen=True, slots=True)
class Change:
    """A change of what rests of an order; nothing happens if it does not rest any more.

    Attributes
    ----------
    id : name of the order.
    energy_kwh : what shall remain of it from now on, above 0; None leaves it.
    price_eur_per_kwh : new limit price; None leaves it.
    """

    id: str
    energy_kwh: float | None = None
    price_eur_per_kwh: float | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """The end of an order; nothing happens if it does not rest any more."""

    id: str


OrderEvent = NewOrder | Change | Cancel


class Deal(NamedTuple, Generic[Key]):
    """Two orders that met: their ids, the energy and the price of the one that rested."""

    buy: Key
    sell: Key
    energy_kwh: float
    price_eur_per_kwh: float


@dataclass(frozen=True)
class Session:
    """What happened from the first event to the gate.

    Attributes
    ----------
    deals : in the sequence in which they were made.
    book_kwh : energy of each order that still rests at the gate, by id, oldest first.
    """

    deals: tuple[Deal[str], ...]
    book_kwh: dict[str, float]


class ContinuousDoubleAuction(Mechanism):
    """Continuous double auction: the orders come one by one, by time, then id."""

    kind: Literal["continuous_double_auction"] = "continuous_double_auction"
    """Continuous double auction: the orders come one by one, by time, then id."""

    def clear(self, orders: Orders, terms: MarketTerms) -> MarketResult:
        """Clear one market for one slot; see the module."""
        book: _Book[int] = _Book()
        sequence = np.argsort(orders.priority)
        for row, side, energy, price, agent in zip(
            sequence.tolist(),
            orders.side[sequence].tolist(),
            orders.energy_kwh[sequence].tolist(),
            orders.price_eur_per_kwh[sequence].tolist(),
            orders.agent[sequence].tolist(),
            strict=True,
        ):
            book.place(row, side, energy, price, agent)
        return paired_result(orders, _trades(book.deals))


def play_order_events(events: Iterable[OrderEvent]) -> Session:
    """Play orders, changes and cancels in the sequence given.

    Parameters
    ----------
    events : what comes to the market from its opening to the gate.

    Raises
    ------
    MarketError
        If an order has an energy, price or side that is none; names the order and the value.

    Examples
    --------
    >>> session = play_order_events(
    ...     [NewOrder("s", -1, 2.0, 0.20), NewOrder("b", 1, 3.0, 0.22), Change("b", 0.5)]
    ... )
    >>> session.deals
    (Deal(buy='b', sell='s', energy_kwh=2.0, price_eur_per_kwh=0.2),)
    >>> session.book_kwh
    {'b': 0.5}
    """
    book: _Book[str] = _Book()
    for event in events:
        if isinstance(event, NewOrder):
            side, energy, price = event.side, event.energy_kwh, event.price_eur_per_kwh
            _check(event.id, side, energy, price)
            book.put(event.id, side, energy, price, event.agent)
        elif isinstance(event, Cancel):
            book.cancel(event.id)
        else:
            _change(book, event)
    return Session(tuple(book.deals), book.remaining())


class _Resting(Generic[Key]):
    """An order in the book; it has left the book when no energy remains."""

    __slots__ = ("agent", "energy", "key", "price", "side")

    def __init__(self, key: Key, side: float, energy: float, price: float, agent: int) -> None:
        self.key, self.side, self.energy = key, side, energy
        self.price, self.agent = price, agent


class _Book(Generic[Key]):
    """Both sides of the book as heaps; an order that has left goes out when it comes to the top.

    A heap's entries are (price, arrival, order); bids stand by negative price. Arrivals are
    unique, so orders themselves are never compared.
    """

    def __init__(self) -> None:
        self.deals: list[Deal[Key]] = []
        self._bids: list[tuple[float, int, _Resting[Key]]] = []
        self._asks: list[tuple[float, int, _Resting[Key]]] = []
        self._resting: dict[Key, _Resting[Key]] = {}
        self._arrivals = 0

    def remaining(self) -> dict[Key, float]:
        """Energy of every resting order, oldest first."""
        return {key: order.energy for key, order in self._resting.items()}

    def find(self, key: Key) -> _Resting[Key] | None:
        """Return the order if it rests."""
        return self._resting.get(key)

    def put(self, key: Key, side: float, energy: float, price: float, agent: int) -> None:
        """Place a new order or, if one of that name rests, change that one."""
        resting = self._resting.get(key)
        if resting is not None:
            keeps_place = (
                side == resting.side
                and price == resting.price
                and agent == resting.agent
                and energy <= resting.energy
            )
            if keeps_place:
                resting.energy = energy
                return
            self.cancel(key)
        self.place(key, side, energy, price, agent)

    def cancel(self, key: Key) -> None:
        """Take an order out of the book, if it is in it."""
        resting = self._resting.pop(key, None)
        if resting is not None:
            resting.energy = 0.0

    def place(self, key: Key, side: float, energy: float, price: float, agent: int) -> None:
        """Let an order that does not rest deal as far as it can; what remains rests."""
        buys = side > 0.0
        remains = self._deal(key, buys, energy, price, agent)
        if remains <= 0.0:
            return
        order = _Resting(key, side, remains, price, agent)
        self._resting[key] = order
        self._arrivals += 1
        if buys:
            heappush(self._bids, (-price, self._arrivals, order))
        else:
            heappush(self._asks, (price, self._arrivals, order))

    def _deal(self, key: Key, buys: bool, energy: float, price: float, agent: int) -> float:
        """Deal with the other side while prices cross; return the energy that remains."""
        others = self._asks if buys else self._bids
        limit = price if buys else -price
        skipped = []
        while energy > 0.0 and others and others[0][0] <= limit:
            other = others[0][2]
            if other.energy <= 0.0:
                heappop(others)
            elif agent != NO_AGENT and other.agent == agent:
                skipped.append(heappop(others))
            else:
                dealt = min(energy, other.energy)
                residue = ENERGY_RESIDUE_KWH * max(1.0, dealt)
                buy, sell = (key, other.key) if buys else (other.key, key)
                self.deals.append(Deal(buy, sell, dealt, other.price))
                energy = energy - dealt if energy - dealt > residue else 0.0
                other.energy -= dealt
                if other.energy <= residue:
                    self.cancel(other.key)
        for entry in skipped:
            heappush(others, entry)
        return energy


def _change(book: _Book[str], change: Change) -> None:
    order = book.find(change.id)
    if order is None:
        return
    energy = order.energy if change.energy_kwh is None else change.energy_kwh
    price = order.price if change.price_eur_per_kwh is None else change.price_eur_per_kwh
    _check(change.id, order.side, energy, price)
    book.put(change.id, order.side, energy, price, order.agent)


def _check(name: str, side: float, energy: float, price: float) -> None:
    """Refuse what is no order."""
    if side not in (BUY, SELL):
        raise MarketError(f"order {name!r}: side is {side:g}; allowed is +1 (buys) or -1 (sells)")
    if not (energy > 0.0 and isfinite(energy)):
        raise MarketError(f"order {name!r}: energy_kwh is {energy:g}; allowed is a number above 0")
    if not abs(price) <= PRICE_LIMIT_EUR_PER_KWH:
        raise MarketError(
            f"order {name!r}: price_eur_per_kwh is {price:g}; allowed is a number within "
            f"+-{PRICE_LIMIT_EUR_PER_KWH:g} EUR/kWh"
        )


def _trades(deals: list[Deal[int]]) -> Trades:
    price = np.array([deal.price_eur_per_kwh for deal in deals], dtype=np.float64)
    return Trades(
        buy=np.array([deal.buy for deal in deals], dtype=np.int64),
        sell=np.array([deal.sell for deal in deals], dtype=np.int64),
        energy_kwh=np.array([deal.energy_kwh for deal in deals], dtype=np.float64),
        buy_price=price,
        sell_price=price,
    )
