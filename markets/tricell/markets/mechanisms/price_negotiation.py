"""Negotiation of one price by concessions: both sides move a step each round, up to their limits.

::

    bid_r = min(start + r step, limit)        ask_r = max(start - r step, limit)

The first round ``r = 0, 1, ...`` with ``bid_r >= ask_r`` is a deal at the middle of both; after the
last round there is none.
"""

from __future__ import annotations

from dataclasses import dataclass

from tricell.errors import MarketError
from tricell.markets.mechanism import About

ABOUT = About(
    name="price_negotiation",
    line="buyer and seller concede a step each round until their prices meet",
    source="concession protocol for bilateral contracts; the rule is tricell's own",
)

EQUAL_EUR_PER_KWH = 1e-9
"""Prices that are this near count as equal."""


@dataclass(frozen=True)
class Concession:
    """How one side negotiates, EUR/kWh.

    Attributes
    ----------
    start : price of round 0.
    step : what it gives way each round, at least 0.
    limit : price that it never goes beyond.
    """

    start: float
    step: float
    limit: float


@dataclass(frozen=True)
class Negotiation:
    """How a negotiation ended.

    Attributes
    ----------
    price : EUR/kWh; None without a deal.
    round : in which it ended.
    bid, ask : prices of that round, EUR/kWh.
    """

    price: float | None
    round: int
    bid: float
    ask: float


def negotiate(buyer: Concession, seller: Concession, rounds: int) -> Negotiation:
    """Negotiate a price; see the module.

    Parameters
    ----------
    buyer, seller : how they concede.
    rounds : number of the last round, at least 0.

    Raises
    ------
    MarketError
        If a step or the number of rounds is negative.

    Examples
    --------
    >>> negotiate(Concession(0.10, 0.02, 0.20), Concession(0.28, 0.03, 0.15), rounds=10).round
    4
    """
    for who, side in (("buyer", buyer), ("seller", seller)):
        if not side.step >= 0.0:
            raise MarketError(f"{who}: step is {side.step:g} EUR/kWh; allowed is at least 0")
    if rounds < 0:
        raise MarketError(f"rounds is {rounds}; allowed is at least 0")
    for now in range(rounds + 1):
        bid = min(buyer.start + now * buyer.step, buyer.limit)
        ask = max(seller.start - now * seller.step, seller.limit)
        if bid >= ask - EQUAL_EUR_PER_KWH:
            return Negotiation(0.5 * (bid + ask), now, bid, ask)
    return Negotiation(None, rounds, bid, ask)
