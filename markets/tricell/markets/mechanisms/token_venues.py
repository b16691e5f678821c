"""Token venues: each token goes where it earns most.

Tokens go in sequence. Each takes the open bid with the highest price net of its venue's fee,
``p (1 - fee)``, if that is at least the token's ask; equal ones go to the venue and bid that are
listed first. Bids over the counter are a venue like the others. Unsold tokens earn the feed-in
price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tricell.errors import MarketError
from tricell.markets.mechanism import About, Guarantees

ABOUT = About(
    name="token_venues",
    line="each energy token goes to the venue where it earns most after fees",
    source="Park et al. 2018, Prosumerchain with energy tags",
    guarantees=Guarantees(
        budget_balance="weak",
        individual_rationality=True,
        efficiency=False,
        incentive_compatibility=False,
        note="venues keep their fee",
    ),
)

SAME_PRICE = 1e-12
"""Prices closer than this are the same, EUR."""


@dataclass(frozen=True)
class VenueBid:
    """An open bid at a venue.

    Attributes
    ----------
    venue : number of the venue; venues and their bids are given in their listed sequence.
    price : of a token, EUR.
    fee : share of the price that the venue keeps, within 0 to 1.
    units : how many tokens it takes.
    green_only : whether it takes green tokens only.
    """

    venue: int
    price: float
    fee: float = 0.0
    units: int = 1
    green_only: bool = False


@dataclass(frozen=True)
class VenueFills:
    """Where tokens went.

    Attributes
    ----------
    bid : for each token the number of the bid that took it; -1 if none did.
    net_eur : for each token what its seller got from the venue; 0 if unsold.
    revenue_eur : of all tokens, unsold ones at the feed-in price.
    """

    bid: tuple[int, ...]
    net_eur: tuple[float, ...]
    revenue_eur: float


def sell_at_venues(
    asks: Sequence[float], green: Sequence[bool], bids: Sequence[VenueBid], feed_in_price: float
) -> VenueFills:
    """Sell tokens one after the other at the best venue.

    Parameters
    ----------
    asks, green : lowest price in EUR and origin of each token, in the sequence of their sale.
    bids : open bids of all venues.
    feed_in_price : what an unsold token earns, EUR.

    Raises
    ------
    MarketError
        If a venue's fee is no share.
    """
    for number, bid in enumerate(bids):
        if not 0.0 <= bid.fee <= 1.0:
            raise MarketError(f"bid {number + 1}: the fee is {bid.fee:g}; it is a share, 0 to 1")
    net = np.array([bid.price * (1.0 - bid.fee) for bid in bids], dtype=np.float64)
    green_only = np.array([bid.green_only for bid in bids], dtype=np.bool_)
    left = np.array([bid.units for bid in bids], dtype=np.int64)
    taken: list[int] = []
    for ask, is_green in zip(asks, green, strict=True):
        fits = (left > 0) & (~green_only | is_green) & (net >= ask - SAME_PRICE)
        offers = np.where(fits, net, -np.inf)
        best = int(np.argmax(offers >= offers.max() - SAME_PRICE)) if fits.any() else -1
        if best >= 0:
            left[best] -= 1
        taken.append(best)
    earned = tuple(float(net[bid]) if bid >= 0 else 0.0 for bid in taken)
    unsold = sum(bid < 0 for bid in taken)
    return VenueFills(tuple(taken), earned, sum(earned) + unsold * feed_in_price)
