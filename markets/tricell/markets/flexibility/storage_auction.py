"""Auction of storage capacity: households lend room in their batteries to shared facilities.

Household n asks ``r_n`` for up to ``q_n`` kWh of room, facility m bids ``a_m`` for up to ``Q_m``.
Asks and bids cross as in a call auction. The last matched household J and facility K leave, and
bound the price of those before them, the participants::

    p   = clip((mean of a + mean of r) / 2,  r_J,  a_K)
    x_n = min(q_n, max(p - r_n, 0) / theta)            what n offers at this price

``theta`` is how fast lending more becomes a burden. If the offers exceed the sum of Q, everybody
gives up in proportion to its ask ``r_n``, down to nothing at most. Facilities share what is left
in proportion to Q, and pay p for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.markets.mechanism import About, Guarantees
from tricell.markets.merit_order import cross
from tricell.markets.order_table import ENERGY_RESIDUE_KWH, Orders

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

ABOUT = About(
    name="storage_auction",
    line="households auction room in their batteries to shared facilities",
    source="Tushar et al. 2016, Energy storage sharing in smart grid: a modified auction",
    guarantees=Guarantees(
        budget_balance="strong",
        individual_rationality=True,
        efficiency=False,
        incentive_compatibility=False,
        note="the price lies between every participant's ask and bid",
    ),
)

NOBODY = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class StorageAuctionResult:
    """Who lends how much room to whom; arrays go with the rows of the orders.

    Attributes
    ----------
    price : EUR per kWh of room; None if nothing was lent.
    households, facilities : rows of the participants in merit order.
    offered_kwh : what each household offers at the price.
    lent_kwh : what it lends after the excess was given up.
    rented_kwh : what each facility gets.
    """

    price: float | None
    households: Indices
    facilities: Indices
    offered_kwh: Floats
    lent_kwh: Floats
    rented_kwh: Floats

    @property
    def earned_eur(self) -> Floats:
        """What each household earns."""
        return self.lent_kwh * (self.price or 0.0)

    @property
    def paid_eur(self) -> Floats:
        """What each facility pays."""
        return self.rented_kwh * (self.price or 0.0)


def auction_storage(orders: Orders, theta: float) -> StorageAuctionResult:
    """Auction room in batteries; see the module.

    Parameters
    ----------
    orders : sells are households, buys are facilities; kWh of room and EUR per kWh of it.
    theta : rise of a household's burden, EUR/kWh per kWh, above 0.

    Raises
    ------
    MarketError
        If theta is not above 0, or an ask is below 0; it names the household.
    """
    if not 0.0 < theta < np.inf:
        raise MarketError(f"theta is {theta}; allowed is a finite number above 0, in EUR/kWh/kWh")
    ask, room = orders.price_eur_per_kwh, orders.energy_kwh
    wrong = orders.sells[ask[orders.sells] < 0.0]
    if len(wrong):
        raise MarketError(
            f"household {orders.id[wrong[0]]} asks {ask[wrong[0]]:g} EUR/kWh; allowed is at least "
            "0, as what is given up is in proportion to the ask"
        )
    crossing = cross(orders)
    households = _before_the_last(crossing.sells, crossing.sold_kwh)
    facilities = _before_the_last(crossing.buys, crossing.bought_kwh)
    offered, lent, rented = np.zeros(len(orders)), np.zeros(len(orders)), np.zeros(len(orders))
    if not len(households) or not len(facilities):
        return StorageAuctionResult(None, NOBODY, NOBODY, offered, lent, rented)
    middle = 0.5 * (ask[facilities].mean() + ask[households].mean())
    price = float(np.clip(middle, crossing.last_sell, crossing.last_buy))
    worth_it = np.maximum(price - ask[households], 0.0) / theta
    offered[households] = np.minimum(room[households], worth_it)
    wanted = room[facilities]
    lent[households] = give_up_by_ask(offered[households], ask[households], float(wanted.sum()))
    rented[facilities] = lent.sum() * wanted / wanted.sum()
    return StorageAuctionResult(price, households, facilities, offered, lent, rented)


def give_up_by_ask(offered_kwh: Floats, ask: Floats, total_kwh: float) -> Floats:
    """Cut offers in proportion to their asks, down to 0 at most, until a total is left.

    What somebody cannot give up any more is given up by the others, again by their asks. Where
    only asks of 0 are left, these give up the same.

    Parameters
    ----------
    offered_kwh, ask : shape (households,), at least 0.
    total_kwh : what may be left in sum, kWh, above 0.

    Examples
    --------
    >>> give_up_by_ask(np.array([4.0, 1.0, 5.0]), np.array([0.02, 0.05, 0.03]), 6.0)
    array([2.8, 0. , 3.2])
    """
    left = offered_kwh.copy()
    excess = left.sum() - total_kwh
    while excess > ENERGY_RESIDUE_KWH * max(1.0, total_kwh):
        has_some = left > 0.0
        weight = np.where(has_some, ask, 0.0)
        weight = weight if weight.any() else has_some.astype(np.float64)
        weight /= weight.max()  # Else asks near the smallest number would vanish below.
        left = np.maximum(left - excess * (weight / weight.sum()), 0.0)
        excess = left.sum() - total_kwh
    return left


def _before_the_last(rows: Indices, matched_kwh: Floats) -> Indices:
    """Rows that are matched, without the last of them."""
    matched: Indices = rows[matched_kwh > 0.0]
    return matched[:-1]
