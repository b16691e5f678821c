"""Members that are billed as one meter share the saving (canonical coalition game).

A coalition C saves what its members pay alone less what its netted meter pays::

    v(C) = sum over slots (sum_i bill(net_i) - bill(sum_i net_i))

The saving is split by the Shapley value (mean contribution over all sequences of joining) or the
nucleolus (largest excess smallest, then the second, and so on); each then pays its bill alone less
its share. Shares are in the core if no coalition would have more on its own: the excess
``v(C) - sum of shares`` is nowhere above 0. The least-core epsilon is the smallest largest excess
that shares can have; negative, each coalition is better off inside by at least that much.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tricell.errors import MarketError
from tricell.markets.cooperative_games import (
    LEAST_PERMUTATIONS,
    MOST_PLAYERS_LISTED,
    Game,
    all_coalitions,
    is_in_core,
    largest_excess,
    netting_game,
    nucleolus,
    retail_bill_eur,
    shapley_value,
)
from tricell.markets.mechanism import About, Guarantees

Floats = NDArray[np.float64]

ABOUT = About(
    name="coalition_value_sharing",
    line="members are billed as one meter and share the saving by Shapley value or nucleolus",
    source="Lee et al. 2014, Direct electricity trading; Han, Morstyn, McCulloch 2019, "
    "Incentivizing prosumer coalitions",
    guarantees=Guarantees(
        budget_balance="strong",
        individual_rationality=True,
        efficiency=True,
        incentive_compatibility=False,
        note="the feed-in price must be at most the retail price; the retailer flow counts",
    ),
)


@dataclass(frozen=True)
class ValueShares:
    """How the saving can be shared, arrays per member in EUR.

    Attributes
    ----------
    saving_eur : v of all members together.
    bill_alone_eur : what each pays without the others, positive pays.
    shapley_eur : shares by the Shapley value, which add up to the saving.
    nucleolus_eur : shares by the nucleolus, which add up to the saving.
    shapley_in_core : no coalition would have more on its own than by the Shapley value.
    least_core_epsilon_eur : smallest largest excess; 0 for a single member.
    core_nonempty : some shares keep every coalition inside.

    The last four need every coalition's value, and are None above 14 members.
    """

    saving_eur: float
    bill_alone_eur: Floats
    shapley_eur: Floats
    nucleolus_eur: Floats | None = None
    shapley_in_core: bool | None = None
    least_core_epsilon_eur: float | None = None
    core_nonempty: bool | None = None

    def bill_eur(self, share_eur: Floats) -> Floats:
        """Return what each pays if the saving is shared so."""
        return np.asarray(self.bill_alone_eur - share_eur, dtype=np.float64)


@dataclass(frozen=True)
class MeteredSlots:
    """Nets of members over slots, checked: shape (slots, members) in kWh, prices per slot."""

    net_kwh: Floats
    retail_price: Floats
    feed_in_price: Floats

    @staticmethod
    def of(net_kwh: ArrayLike, retail_price: ArrayLike, feed_in_price: ArrayLike) -> MeteredSlots:
        """Make slots from one row of nets or several, and from one price or one per slot.

        Raises
        ------
        MarketError
            Naming the member, slot or price that is no finite number.
        """
        net = np.atleast_2d(np.asarray(net_kwh, dtype=np.float64))
        if not np.isfinite(net).all():
            slot, member = (int(n) for n in np.argwhere(~np.isfinite(net))[0])
            raise MarketError(
                f"member {member + 1}, slot {slot + 1}: net is {net[slot, member]:g} kWh; "
                "allowed is a number"
            )
        prices = []
        for name, given in (("retail_price", retail_price), ("feed_in_price", feed_in_price)):
            column = np.asarray(given, dtype=np.float64).reshape(-1)
            if len(column) not in (1, len(net)) or not np.isfinite(column).all():
                raise MarketError(
                    f"{name} is {column.tolist()}; allowed is a number, or one for each of "
                    f"{len(net)} slots"
                )
            prices.append(np.broadcast_to(column, (len(net),)))
        return MeteredSlots(net, *prices)


def coalition_value_sharing(
    net_kwh: ArrayLike,
    retail_price: ArrayLike,
    feed_in_price: ArrayLike,
    *,
    seed: int = 0,
    permutations: int = LEAST_PERMUTATIONS,
) -> ValueShares:
    """Share the saving of members that are billed as one meter.

    Parameters
    ----------
    net_kwh : load less generation, shape (members,) or (slots, members).
    retail_price, feed_in_price : EUR/kWh, one or one per slot.
    seed, permutations : of the sampled Shapley value above 10 members.

    Raises
    ------
    MarketError
        If a number is none.

    Examples
    --------
    >>> shares = coalition_value_sharing([-3.0, 2.0, 2.5], 0.30, 0.08)
    >>> shares.shapley_eur.round(3).tolist(), shares.nucleolus_eur.round(3).tolist()
    ([0.385, 0.11, 0.165], [0.495, 0.055, 0.11])
    """
    slots = MeteredSlots.of(net_kwh, retail_price, feed_in_price)
    members = slots.net_kwh.shape[1]
    game = netting_game(slots.net_kwh, slots.retail_price, slots.feed_in_price)
    shapley = shapley_value(game, members, seed=seed, permutations=permutations)
    alone = retail_bill_eur(
        slots.net_kwh, slots.retail_price[:, None], slots.feed_in_price[:, None]
    )
    shares = ValueShares(
        saving_eur=float(game(np.ones((1, members), dtype=np.bool_))[0]),
        bill_alone_eur=np.asarray(alone.sum(axis=0), dtype=np.float64),
        shapley_eur=shapley,
    )
    return shares if members > MOST_PLAYERS_LISTED else _with_core(shares, game)


def _with_core(shares: ValueShares, game: Game) -> ValueShares:
    """Add what needs the value of every coalition."""
    values = game(all_coalitions(len(shares.shapley_eur)))
    fairest = nucleolus(values)
    return replace(
        shares,
        nucleolus_eur=fairest,
        shapley_in_core=is_in_core(values, shares.shapley_eur),
        least_core_epsilon_eur=largest_excess(values, fairest),
        core_nonempty=is_in_core(values, fairest),
    )
