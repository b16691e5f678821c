"""Supply of last resort: for members without a contract or in default, or after a failed clearing.

With retail price r, feed-in price f and a markup m::

    bill = r (1 + m) max(n, 0) - f max(-n, 0)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tricell.errors import MarketError
from tricell.markets.mechanism import About

Floats = NDArray[np.float64]

ABOUT = About(
    name="last_resort",
    line="retail price with a markup for members that nobody else supplies",
    source="supplier of last resort, as in most retail markets",
)


@dataclass(frozen=True)
class LastResort:
    """What members pay the supplier of last resort.

    Attributes
    ----------
    bill_eur : per member; positive pays.
    price : of imports, EUR/kWh.
    """

    bill_eur: Floats
    price: float


def settle_at_last_resort(
    net_kwh: ArrayLike, retail_price: float, feed_in_price: float, markup: float = 0.0
) -> LastResort:
    """Settle net energies of one slot with the supplier of last resort.

    Parameters
    ----------
    net_kwh : shape (members,), positive consumes.
    retail_price, feed_in_price : EUR/kWh.
    markup : share of the retail price that is added to it, at least 0.

    Raises
    ------
    MarketError
        If the markup is negative or a number is not finite.

    Examples
    --------
    >>> settle_at_last_resort([2.0, -1.0], 0.30, 0.08, markup=0.2).bill_eur.round(6)
    array([ 0.72, -0.08])
    """
    if not (markup >= 0.0 and isfinite(markup)):
        raise MarketError(f"markup is {markup:g}; allowed is a share of at least 0, such as 0.2")
    net = np.asarray(net_kwh, dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(net))
    if len(wrong):
        raise MarketError(
            f"member {wrong[0]}: net_kwh is {net[wrong[0]]:g}; allowed is a finite number of kWh"
        )
    if not (isfinite(retail_price) and isfinite(feed_in_price)):
        raise MarketError(
            f"retail_price is {retail_price:g} and feed_in_price {feed_in_price:g}; allowed are "
            "finite prices in EUR/kWh"
        )
    price = retail_price * (1.0 + markup)
    return LastResort(np.where(net > 0.0, price, feed_in_price) * net, price)
