"""Procurement of equal units from the cheapest sellers, all paid the first losing price.

Asks above the reserve are ignored. Of the others ``s_1 <= s_2 ...``, ties by id, the first ``n``
that are needed win, and each is paid::

    s_{n+1} if there is one, else the reserve

So nobody's own ask moves the own price, and the true cost is the best ask. What the asks cannot
cover is reported as a shortfall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tricell.errors import MarketError
from tricell.markets.mechanism import About, Guarantees

ABOUT = About(
    name="reverse_vickrey",
    line="procurement of equal units from the cheapest sellers at the first losing ask",
    source="Vickrey 1961, Counterspeculation, auctions, and competitive sealed tenders",
    guarantees=Guarantees(
        budget_balance="strong",
        individual_rationality=True,
        efficiency=True,
        incentive_compatibility=True,
        note="for sellers of one unit each; efficient if a unit is worth the reserve",
    ),
)


@dataclass(frozen=True)
class Procurement:
    """What was procured.

    Attributes
    ----------
    winners : ids, cheapest first.
    price : paid to each winner, EUR per unit; None if there is none.
    cost_eur : paid in sum.
    shortfall : units that nobody offers at the reserve or below.
    """

    winners: tuple[str, ...]
    price: float | None
    cost_eur: float
    shortfall: int


def procure(ids: Sequence[str], asks: ArrayLike, units: int, reserve: float) -> Procurement:
    """Buy units from the cheapest sellers of one unit each.

    Parameters
    ----------
    ids : names of the sellers, unique.
    asks : EUR per unit, shape (sellers,).
    units : how many are needed, 0 or more.
    reserve : highest price that is paid, EUR per unit.

    Raises
    ------
    MarketError
        Naming the seller whose ask or id is wrong, or the wrong parameter.

    Examples
    --------
    >>> procure(["a", "b", "c"], [0.12, 0.09, 0.15], units=2, reserve=0.20)
    Procurement(winners=('b', 'a'), price=0.15, cost_eur=0.3, shortfall=0)
    """
    names = np.asarray(list(ids), dtype=np.str_).reshape(-1)
    price = np.asarray(asks, dtype=np.float64).reshape(-1)
    _check(names.tolist(), price.tolist(), units, reserve)
    merit = np.lexsort((names, price))
    merit = merit[price[merit] <= reserve]
    winners = merit[:units]
    shortfall = units - len(winners)
    if not len(winners):
        return Procurement((), None, 0.0, shortfall)
    paid = float(price[merit[units]]) if len(merit) > units else float(reserve)
    return Procurement(tuple(names[winners].tolist()), paid, paid * len(winners), shortfall)


def _check(names: list[str], asks: list[float], units: int, reserve: float) -> None:
    if len(names) != len(asks):
        raise MarketError(f"there are {len(names)} ids but {len(asks)} asks; give one ask per id")
    for name, ask in zip(names, asks, strict=True):
        if not np.isfinite(ask):
            raise MarketError(f"the ask of {name!r} is {ask:g}; allowed is a number in EUR")
    if len(set(names)) != len(names):
        twice = next(name for n, name in enumerate(names) if name in names[:n])
        raise MarketError(f"the id {twice!r} stands twice among the asks; give each its own id")
    if units < 0:
        raise MarketError(f"units is {units}; allowed is 0 or more")
    if not np.isfinite(reserve):
        raise MarketError(f"the reserve is {reserve:g}; allowed is a number in EUR")
