"""Orders as columns: who wants to buy or sell how much, at which price, at which node."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from tricell.errors import MarketError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

BUY, SELL = 1.0, -1.0
PRICE_LIMIT_EUR_PER_KWH = 3.0


class OrderKind(IntEnum):
    """What stands behind an order column."""

    GENERATION = 0
    CHARGE_OWN = 1
    CHARGE_MARKET = 2
    DISCHARGE_OWN = 3
    DISCHARGE_MARKET = 4
    FLEXIBLE_LOAD = 5


@dataclass(frozen=True)
class OrderColumns:
    """The fixed part of a run's orders, one entry per order column.

    Attributes
    ----------
    agent : row in the agent table.
    node : electrical node of the agent.
    side : +1 for buying (consuming), -1 for selling (generating).
    kind : `OrderKind` code.
    """

    agent: Indices
    node: Indices
    side: Floats
    kind: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.agent)


@dataclass(frozen=True)
class OrderBook:
    """The moving part: limit price and quantity of each order column in one slot.

    Attributes
    ----------
    price_eur_per_kwh : limit price, net of the local network fee for buying orders.
    quantity_kw : largest accepted power, at least 0.
    at_least_kw : smallest accepted power; None for 0.
    """

    price_eur_per_kwh: Floats
    quantity_kw: Floats
    at_least_kw: Floats | None = None


def check_order_book(columns: OrderColumns, book: OrderBook, agent_ids: tuple[str, ...]) -> None:
    """Refuse orders that are not numbers, negative, or beyond the price limit.

    Raises
    ------
    MarketError
        Naming the agent of the first wrong order, its value and what is allowed.
    """
    quantity, price = book.quantity_kw, book.price_eur_per_kwh
    wrong = ~(quantity >= 0.0) | ~np.isfinite(quantity)
    wrong |= ~(np.abs(price) <= PRICE_LIMIT_EUR_PER_KWH)
    if wrong.any():
        k = int(np.argmax(wrong))
        raise MarketError(
            f"order {OrderKind(columns.kind[k]).name.lower()} of {agent_ids[columns.agent[k]]!r}: "
            f"{quantity[k]} kW at {price[k]} EUR/kWh; a quantity must be a number of at least 0 "
            f"and a price lie within +-{PRICE_LIMIT_EUR_PER_KWH} EUR/kWh"
        )
