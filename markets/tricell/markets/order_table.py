"""Orders of one market and one slot, as columns: what every mechanism reads.

The joint program has columns of its own (`tricell.markets.orders`), which stay the same over a
run. A mechanism sees the orders of one slot only, in kWh, in any number and order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tricell.errors import MarketError
from tricell.markets.orders import BUY, PRICE_LIMIT_EUR_PER_KWH, SELL

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

NO_AGENT = -1
"""The agent of an order that belongs to nobody in particular."""
ENERGY_RESIDUE_KWH = 1e-12
"""Energies below this share of a market's volume (or kWh) are rounding, and never a trade."""


@dataclass(frozen=True)
class Orders:
    """Orders in columns, all of the same length; make them with `Orders.of`, which checks them.

    Attributes
    ----------
    id : names, unique.
    side : +1 buys, -1 sells.
    energy_kwh : above 0.
    price_eur_per_kwh : highest price of a buyer, lowest price of a seller.
    time : when the order came, in any unit; earlier goes first.
    agent : number of the agent behind it, `NO_AGENT` if nobody in particular.
    node : electrical node, -1 if unknown.
    priority : rank by time, then id; unique.
    attributes : further columns that a mechanism may ask for (``zone``, ``slope``, ...).
    """

    id: NDArray[np.str_]
    side: Floats
    energy_kwh: Floats
    price_eur_per_kwh: Floats
    time: Floats
    agent: Indices
    node: Indices
    priority: Indices
    attributes: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.id)

    @property
    def buys(self) -> Indices:
        """Rows of the buying orders."""
        return np.flatnonzero(self.side > 0.0)

    @property
    def sells(self) -> Indices:
        """Rows of the selling orders."""
        return np.flatnonzero(self.side < 0.0)

    def take(self, rows: Indices) -> Orders:
        """Return some of the orders, in the given sequence."""
        return Orders(
            id=self.id[rows],
            side=self.side[rows],
            energy_kwh=self.energy_kwh[rows],
            price_eur_per_kwh=self.price_eur_per_kwh[rows],
            time=self.time[rows],
            agent=self.agent[rows],
            node=self.node[rows],
            priority=self.priority[rows],
            attributes={name: column[rows] for name, column in self.attributes.items()},
        )

    def with_energy(self, energy_kwh: Floats) -> Orders:
        """Return the same orders with other quantities."""
        return replace(self, energy_kwh=energy_kwh)

    def with_price(self, price_eur_per_kwh: Floats) -> Orders:
        """Return the same orders with other limit prices."""
        return replace(self, price_eur_per_kwh=price_eur_per_kwh)

    def arriving(self, place: Indices) -> Orders:
        """Return the same orders, arriving in another sequence: the place of each in it."""
        return replace(self, time=place.astype(np.float64), priority=place)

    def attribute(self, name: str, default: float) -> Floats:
        """Return a numeric column, or the default for every order if there is none."""
        column = self.attributes.get(name)
        if column is None:
            return np.full(len(self), default)
        return np.asarray(column, dtype=np.float64)

    @staticmethod
    def of(
        *,
        id: Sequence[str],
        side: ArrayLike,
        energy_kwh: ArrayLike,
        price_eur_per_kwh: ArrayLike,
        time: ArrayLike | None = None,
        agent: ArrayLike | None = None,
        node: ArrayLike | None = None,
        attributes: Mapping[str, Sequence[Any] | NDArray[Any]] | None = None,
        price_limit_eur_per_kwh: float = PRICE_LIMIT_EUR_PER_KWH,
    ) -> Orders:
        """Make orders from columns, and refuse what is no order.

        Parameters
        ----------
        id, side, energy_kwh, price_eur_per_kwh, time, agent, node, attributes : see the class.
        price_limit_eur_per_kwh : largest absolute price; other currencies may need another.

        Raises
        ------
        MarketError
            Naming the first wrong order, its value and what is allowed.

        Examples
        --------
        >>> Orders.of(id=["b", "s"], side=[1, -1], energy_kwh=[1, 2], price_eur_per_kwh=[0.3, 0.1])
        Orders(2 orders: 1 buying 1 kWh, 1 selling 2 kWh)
        """
        names = np.asarray(list(id), dtype=np.str_).reshape(-1)
        count = len(names)
        columns = {
            "side": _column("side", side, count),
            "energy_kwh": _column("energy_kwh", energy_kwh, count),
            "price_eur_per_kwh": _column("price_eur_per_kwh", price_eur_per_kwh, count),
            "time": _column("time", np.zeros(count) if time is None else time, count),
        }
        _check(names, columns, price_limit_eur_per_kwh)
        further = {name: np.asarray(column) for name, column in (attributes or {}).items()}
        for name, column in further.items():
            _require_length(name, len(column), count)
        priority = np.empty(count, dtype=np.int64)
        priority[np.lexsort((names, columns["time"]))] = np.arange(count)
        return Orders(
            id=names,
            **columns,
            agent=_rows("agent", agent, count),
            node=_rows("node", node, count),
            priority=priority,
            attributes=further,
        )

    def __repr__(self) -> str:
        buys, sells = self.buys, self.sells
        return (
            f"Orders({len(self)} orders: {len(buys)} buying {self.energy_kwh[buys].sum():g} kWh, "
            f"{len(sells)} selling {self.energy_kwh[sells].sum():g} kWh)"
        )


def is_order(
    energy_kwh: float, price_eur_per_kwh: float, price_limit: float = PRICE_LIMIT_EUR_PER_KWH
) -> bool:
    """Whether a market takes an order: energy above 0, price within the limit, both numbers.

    `Orders.of` refuses all orders because of one that is none; who passes on what others sent
    leaves those out beforehand.

    Examples
    --------
    >>> is_order(1.0, -0.05), is_order(0.0, 0.30), is_order(1.0, 3.5), is_order(float("nan"), 0.1)
    (True, False, False, False)
    """
    return 0.0 < energy_kwh < np.inf and abs(price_eur_per_kwh) <= price_limit


def _column(name: str, values: ArrayLike, count: int) -> Floats:
    column = np.asarray(values, dtype=np.float64).reshape(-1)
    _require_length(name, len(column), count)
    return column


def _rows(name: str, values: ArrayLike | None, count: int) -> Indices:
    if values is None:
        return np.full(count, NO_AGENT, dtype=np.int64)
    column = np.asarray(values, dtype=np.int64).reshape(-1)
    _require_length(name, len(column), count)
    return column


def _require_length(name: str, length: int, count: int) -> None:
    if length != count:
        raise MarketError(
            f"the column {name!r} of the orders has {length} entries, but there are {count} ids; "
            "give one entry per order"
        )


def _check(names: NDArray[np.str_], columns: Mapping[str, Floats], price_limit: float) -> None:
    """Refuse the first order that is none."""
    side, energy = columns["side"], columns["energy_kwh"]
    price, time = columns["price_eur_per_kwh"], columns["time"]
    rules = (
        ((side == BUY) | (side == SELL), "side", side, "+1 (buys) or -1 (sells)"),
        ((energy > 0.0) & np.isfinite(energy), "energy_kwh", energy, "a number above 0"),
        (
            np.abs(price) <= price_limit,
            "price_eur_per_kwh",
            price,
            f"a number within +-{price_limit:g} EUR/kWh",
        ),
        (np.isfinite(time), "time", time, "a number"),
    )
    for good, name, values, allowed in rules:
        if not good.all():
            row = int(np.argmin(good))
            raise MarketError(
                f"order {str(names[row])!r} (row {row + 1}): {name} is {values[row]:g}; "
                f"allowed is {allowed}"
            )
    unique, first = np.unique(names, return_index=True)
    if len(unique) != len(names):
        row = int(np.setdiff1d(np.arange(len(names)), first)[0])
        raise MarketError(
            f"order {str(names[row])!r} (row {row + 1}) has the id of an order before it; "
            "give every order its own id"
        )
