"""Members can only act together along links; the saving is shared by the Myerson value.

With links, a coalition saves what its connected parts save, ``v_links(C) = sum v(K)`` over the
connected parts K of C, where v is the saving of being billed as one meter. The Myerson value is the
Shapley value of that game: each connected part shares exactly its own saving.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tricell.errors import MarketError
from tricell.markets.cooperative_games import (
    LEAST_PERMUTATIONS,
    netting_game,
    restricted_to_links,
    retail_bill_eur,
    shapley_value,
)
from tricell.markets.mechanism import About, Guarantees
from tricell.markets.mechanisms.coalition_value_sharing import MeteredSlots

Floats = NDArray[np.float64]

ABOUT = About(
    name="coalition_graph",
    line="members that are linked are billed as one meter and share by the Myerson value",
    source="Myerson 1977, Graphs and cooperation in games; Lee et al. 2014, Direct electricity "
    "trading",
    guarantees=Guarantees(
        budget_balance="strong",
        individual_rationality=True,
        efficiency=False,
        incentive_compatibility=False,
        note="the feed-in price must be at most the retail price; the retailer flow counts",
    ),
)


@dataclass(frozen=True)
class LinkedShares:
    """Saving of all members with their links, and each one's share and bill, EUR."""

    saving_eur: float
    myerson_eur: Floats
    bill_eur: Floats


def coalition_graph(
    net_kwh: ArrayLike,
    links: ArrayLike,
    retail_price: ArrayLike,
    feed_in_price: ArrayLike,
    *,
    seed: int = 0,
    permutations: int = LEAST_PERMUTATIONS,
) -> LinkedShares:
    """Share the saving of members that can only act together along links.

    Parameters
    ----------
    net_kwh : load less generation, shape (members,) or (slots, members).
    links : pairs of member numbers, shape (links, 2); none if empty.
    retail_price, feed_in_price : EUR/kWh, one or one per slot.
    seed, permutations : of the sampled value above 10 members.

    Raises
    ------
    MarketError
        If a number is none, or a link names a member that does not exist.
    """
    slots = MeteredSlots.of(net_kwh, retail_price, feed_in_price)
    members = slots.net_kwh.shape[1]
    pairs = np.asarray(links, dtype=np.int64).reshape(-1, 2)
    if len(pairs) and (pairs.min() < 0 or pairs.max() >= members):
        row = int(np.argmax(((pairs < 0) | (pairs >= members)).any(axis=1)))
        raise MarketError(
            f"link {row + 1} is {pairs[row].tolist()}; allowed are members 0 to {members - 1}"
        )
    game = netting_game(slots.net_kwh, slots.retail_price, slots.feed_in_price)
    linked = restricted_to_links(game, pairs)
    share = shapley_value(linked, members, seed=seed, permutations=permutations)
    alone = retail_bill_eur(
        slots.net_kwh, slots.retail_price[:, None], slots.feed_in_price[:, None]
    )
    return LinkedShares(
        saving_eur=float(linked(np.ones((1, members), dtype=np.bool_))[0]),
        myerson_eur=share,
        bill_eur=np.asarray(alone.sum(axis=0) - share, dtype=np.float64),
    )
