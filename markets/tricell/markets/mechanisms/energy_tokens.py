"""Energy tokens: lots that carry their origin, matched to buyers who value it.

A buyer's value of a token is ``base + w_green [green] + w_loc [same zone] + w_time [same slot]``.
Tokens are assigned to buyers' units so that the sum of value less ask is largest, with no term
below 0; the price of each is the middle of value and ask.

A token is promised, minted when its energy is metered, sold, and retired when its buyer used it;
one that nobody bought, or that was not produced, expires. Each settles once, so that always

    minted = retired + expired after minting + held.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.markets.mechanism import About, Guarantees

ABOUT = About(
    name="energy_tokens",
    line="lots with a signature (origin, zone, slot), assigned to those who value it most",
    source="Park et al. 2018, Prosumerchain with energy tags",
    guarantees=Guarantees(
        budget_balance="strong",
        individual_rationality=True,
        efficiency=True,
        incentive_compatibility=False,
    ),
)

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

SAME_PRICE = 1e-12
"""Prices closer than this are the same, EUR/kWh."""


@dataclass(frozen=True)
class TokenBuyers:
    """Buyers of tokens, arrays of equal length.

    Attributes
    ----------
    base : value of any token, EUR.
    green_value, zone_value, slot_value : what is added for a green token, one of the own zone and
        one of the own slot, EUR.
    zone, slot : own zone (a number for each name) and slot.
    units : how many tokens each buys at most.
    """

    base: Floats
    green_value: Floats
    zone_value: Floats
    slot_value: Floats
    zone: Indices
    slot: Indices
    units: Indices


@dataclass(frozen=True)
class TokenOffers:
    """Tokens for sale, arrays of equal length.

    Attributes
    ----------
    ask : lowest price, EUR.
    green : whether from a renewable source.
    zone, slot : where and when its energy is produced.
    """

    ask: Floats
    green: NDArray[np.bool_]
    zone: Indices
    slot: Indices


@dataclass(frozen=True)
class TokenAssignment:
    """Who buys which token.

    Attributes
    ----------
    token, buyer : pairs, by rising token.
    price : of each pair, EUR.
    surplus_eur : sum of value less ask.
    unsold : tokens that nobody buys.
    """

    token: Indices
    buyer: Indices
    price: Floats
    surplus_eur: float
    unsold: Indices


def token_values(tokens: TokenOffers, buyers: TokenBuyers) -> Floats:
    """Value of every token to every buyer, EUR; shape (tokens, buyers)."""
    same_zone = tokens.zone[:, None] == buyers.zone
    same_slot = tokens.slot[:, None] == buyers.slot
    return np.asarray(
        buyers.base
        + buyers.green_value * tokens.green[:, None]
        + buyers.zone_value * same_zone
        + buyers.slot_value * same_slot
    )


def assign_tokens(tokens: TokenOffers, buyers: TokenBuyers) -> TokenAssignment:
    """Assign tokens to buyers for the largest sum of value less ask."""
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 (slow to import)

    value = token_values(tokens, buyers)
    gain = value - tokens.ask[:, None]
    worthwhile = gain >= -SAME_PRICE
    # A pair that gains nothing still is a trade, so it is worth a hair more than none.
    weight = np.where(worthwhile, np.maximum(gain, 0.0) + SAME_PRICE, 0.0)
    unit_of = np.repeat(np.arange(len(buyers.units)), buyers.units)
    token, unit = linear_sum_assignment(weight[:, unit_of], maximize=True)
    buyer = unit_of[unit]
    kept = worthwhile[token, buyer]
    token, buyer = token[kept], buyer[kept]
    return TokenAssignment(
        token=token,
        buyer=buyer,
        price=0.5 * (value[token, buyer] + tokens.ask[token]),
        surplus_eur=float(gain[token, buyer].sum()),
        unsold=np.setdiff1d(np.arange(len(tokens.ask)), token),
    )


class TokenState(Enum):
    """Where a token is in its life."""

    PROMISED = "promised"
    MINTED = "minted"
    SOLD = "sold"
    RETIRED = "retired"
    EXPIRED = "expired"


NEXT_STATES: Mapping[TokenState, frozenset[TokenState]] = {
    TokenState.PROMISED: frozenset({TokenState.MINTED, TokenState.EXPIRED}),
    TokenState.MINTED: frozenset({TokenState.SOLD, TokenState.EXPIRED}),
    TokenState.SOLD: frozenset({TokenState.RETIRED}),
    TokenState.RETIRED: frozenset(),
    TokenState.EXPIRED: frozenset(),
}
"""The states that may follow each."""


@dataclass(frozen=True)
class Token:
    """One lot of energy with its origin.

    Attributes
    ----------
    id : name, unique.
    owner : who holds it.
    slot, zone, source, green : its signature.
    energy_kwh : of the lot.
    state : where it is in its life.
    minted : whether its energy was produced.
    """

    id: str
    owner: str
    slot: int
    zone: str = ""
    source: str = ""
    green: bool = False
    energy_kwh: float = 1.0
    state: TokenState = TokenState.PROMISED
    minted: bool = False

    def to(self, state: TokenState, owner: str | None = None) -> Token:
        """Return the token in its next state, with a new owner if it was sold.

        Raises
        ------
        MarketError
            If that state cannot follow.
        """
        if state not in NEXT_STATES[self.state]:
            allowed = ", ".join(sorted(each.value for each in NEXT_STATES[self.state]))
            raise MarketError(
                f"token {self.id!r} is {self.state.value} and cannot become {state.value}; "
                f"what may follow is {allowed or 'nothing'}"
            )
        return replace(
            self,
            state=state,
            owner=self.owner if owner is None else owner,
            minted=self.minted or state is TokenState.MINTED,
        )


@dataclass(frozen=True)
class TokenCount:
    """How many tokens there are; ``minted == retired + expired + held``.

    Attributes
    ----------
    minted : tokens whose energy was produced.
    retired, expired, held : of those, how many were used, lapsed, and still have an owner.
    broken_promises : promised tokens whose energy never came.
    """

    minted: int
    retired: int
    expired: int
    held: int
    broken_promises: int


def count_tokens(tokens: tuple[Token, ...]) -> TokenCount:
    """Count tokens by what became of them.

    Raises
    ------
    MarketError
        If two tokens have the same id.
    """
    names = Counter(token.id for token in tokens)
    twice = next((name for name, times in names.items() if times > 1), None)
    if twice is not None:
        raise MarketError(f"token {twice!r} is there {names[twice]} times; ids are unique")
    state = Counter(token.state for token in tokens if token.minted)
    return TokenCount(
        minted=state.total(),
        retired=state[TokenState.RETIRED],
        expired=state[TokenState.EXPIRED],
        held=state[TokenState.MINTED] + state[TokenState.SOLD],
        broken_promises=sum(
            token.state is TokenState.EXPIRED and not token.minted for token in tokens
        ),
    )


def settle_token(
    token: Token, *, buyer: str | None, produced: bool, retail_price: float, feed_in_price: float
) -> tuple[Token, float]:
    """Settle a promised token: deliver or replace it, or let it expire.

    A sold token that was not produced is replaced from the retailer at the seller's cost; one
    that is produced and unsold earns the feed-in price.

    Parameters
    ----------
    token : a promised token.
    buyer : who bought it; None if nobody.
    produced : whether its energy was metered.
    retail_price, feed_in_price : of the retailer, EUR/kWh.

    Returns
    -------
    the token at the end of its life, and what its seller pays to the retailer in EUR (negative
    receives); the price of the sale is a matter of its own.

    Raises
    ------
    MarketError
        If the token is not promised: it settles once.
    """
    if not produced:
        owed = token.energy_kwh * retail_price if buyer is not None else 0.0
        return token.to(TokenState.EXPIRED), owed
    minted = token.to(TokenState.MINTED)
    if buyer is None:
        return minted.to(TokenState.EXPIRED), -token.energy_kwh * feed_in_price
    return minted.to(TokenState.SOLD, buyer).to(TokenState.RETIRED), 0.0
