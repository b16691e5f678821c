"""Group privacy: what others than the manager may see of members' values.

Outside the manager a value appears only in the sum of a group with at least ``k`` contributors;
of a smaller group nothing is published. A member without a value contributes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tricell.errors import MarketError
from tricell.markets.mechanism import About

ABOUT = About(
    name="group_privacy",
    line="publishes sums of groups with enough contributors, and nothing of smaller groups",
    source="Moret, Pinson 2019, Energy collectives",
)


def published_sums(
    values: Mapping[str, float], groups: Mapping[str, Collection[str]], k: int
) -> dict[str, float | None]:
    """Return the sum of each group, None where fewer than ``k`` members contribute.

    Parameters
    ----------
    values : of each member, in any unit.
    groups : names of the members of each group; one that is named twice counts once.
    k : fewest contributors, at least 1.

    Raises
    ------
    MarketError
        If ``k`` is below 1.
    """
    if k < 1:
        raise MarketError(
            f"the fewest contributors of a published sum are {k}; allowed is 1 or more"
        )
    sums: dict[str, float | None] = {}
    for name, members in groups.items():
        contributions = [values[member] for member in dict.fromkeys(members) if member in values]
        sums[name] = float(sum(contributions)) if len(contributions) >= k else None
    return sums
