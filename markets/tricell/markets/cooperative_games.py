"""Games in which groups of players are worth something: how to share it, and who would leave.

A game is a function from coalitions, a table of booleans (coalitions, players), to their values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import factorial

import numpy as np
from numpy.typing import NDArray

from tricell.errors import MarketError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Game = Callable[[Bools], Floats]

MOST_PLAYERS_EXACT = 10
"""Up to here the Shapley value looks at every coalition."""
MOST_PLAYERS_LISTED = 14
"""Up to here the core and the nucleolus can be computed: they need every coalition's value."""
LEAST_PERMUTATIONS = 2000
TOLERANCE = 1e-9


def all_coalitions(players: int) -> Bools:
    """Every coalition, shape (2 ** players, players); in row m player i stands for the bit i.

    Raises
    ------
    MarketError
        If there are too many players to list all coalitions.
    """
    if players > MOST_PLAYERS_LISTED:
        raise MarketError(
            f"cooperative game: {players} players have 2^{players} coalitions; allowed are "
            f"{MOST_PLAYERS_LISTED} players where every coalition is looked at"
        )
    rows = np.arange(2**players, dtype=np.int64)
    return np.asarray((rows[:, None] >> np.arange(players)) & 1, dtype=np.bool_)


def netting_game(net_kwh: Floats, retail_price: Floats, feed_in_price: Floats) -> Game:
    """Return the saving of a coalition that is billed as one meter, summed over slots.

    ``v(C) = sum_t (sum_i bill(net_ti) - bill(sum_i net_ti))`` over i in C, where a net import pays
    the retail price and a net export earns the feed-in price.

    Parameters
    ----------
    net_kwh : shape (slots, players), load less generation.
    retail_price, feed_in_price : per slot, EUR/kWh.
    """

    def value(coalitions: Bools) -> Floats:
        members = coalitions.astype(np.float64)
        alone = retail_bill_eur(net_kwh, retail_price[:, None], feed_in_price[:, None])
        together = retail_bill_eur(members @ net_kwh.T, retail_price, feed_in_price)
        return np.asarray(members @ alone.sum(axis=0) - together.sum(axis=1), dtype=np.float64)

    return value


def retail_bill_eur(net_kwh: Floats, retail_price: Floats, feed_in_price: Floats) -> Floats:
    """Retail bill of net energies, same shape: imports at one price, exports at the other."""
    imports, exports = np.maximum(net_kwh, 0.0), np.maximum(-net_kwh, 0.0)
    return np.asarray(retail_price * imports - feed_in_price * exports, dtype=np.float64)


def restricted_to_links(game: Game, links: NDArray[np.int64]) -> Game:
    """Return the game in which only players that are connected by links can act together.

    ``v_links(C) = sum of v(K)`` over the connected parts K of C.

    Parameters
    ----------
    game : the game without links.
    links : pairs of players, shape (links, 2).
    """

    def value(coalitions: Bools) -> Floats:
        part = _connected_part(coalitions, links)
        total = np.zeros(len(coalitions))
        for first in range(coalitions.shape[1]):
            total += game((part == first) & coalitions)
        return total

    return value


def _connected_part(coalitions: Bools, links: NDArray[np.int64]) -> NDArray[np.int64]:
    """Lowest player that each member is connected to inside its coalition."""
    part = np.where(coalitions, np.arange(coalitions.shape[1]), coalitions.shape[1])
    changed = True
    while changed:
        before = part.copy()
        for one, other in links:
            both = coalitions[:, one] & coalitions[:, other]
            lowest = np.minimum(part[both, one], part[both, other])
            part[both, one] = part[both, other] = lowest
        changed = not np.array_equal(before, part)
    return part


def shapley_value(
    game: Game, players: int, *, seed: int = 0, permutations: int = LEAST_PERMUTATIONS
) -> Floats:
    """Each player's mean contribution over all sequences in which the players may come together.

    Up to `MOST_PLAYERS_EXACT` players all sequences count, above that a random sample.

    Parameters
    ----------
    game : values of coalitions.
    players : number of players.
    seed, permutations : of the sample.

    Raises
    ------
    MarketError
        If fewer than `LEAST_PERMUTATIONS` permutations are asked for.
    """
    if permutations < LEAST_PERMUTATIONS:
        raise MarketError(
            f"Shapley value: permutations is {permutations}; allowed is {LEAST_PERMUTATIONS} or "
            "more"
        )
    if players <= MOST_PLAYERS_EXACT:
        return _shapley_of_table(game(all_coalitions(players)), players)
    return _shapley_of_sample(game, players, np.random.default_rng(seed), permutations)


def _shapley_of_table(values: Floats, players: int) -> Floats:
    """Sum of ``|C|! (n - |C| - 1)! / n! (v(C + i) - v(C))`` over the C without i."""
    rows = np.arange(len(values))
    sizes = all_coalitions(players).sum(axis=1)
    weights = np.array(
        [factorial(s) * factorial(players - s - 1) / factorial(players) for s in range(players)]
    )
    share = np.zeros(players)
    for player in range(players):
        without = rows[(rows >> player) & 1 == 0]
        gains = values[without | (1 << player)] - values[without]
        share[player] = weights[sizes[without]] @ gains
    return share


def _shapley_of_sample(
    game: Game, players: int, random: np.random.Generator, permutations: int
) -> Floats:
    total = np.zeros(players)
    count = np.arange(1, players + 1)
    for _ in range(permutations):
        sequence = random.permutation(players)
        rank = np.empty(players, dtype=np.int64)
        rank[sequence] = np.arange(players)
        values = game(rank[None, :] < count[:, None])
        total[sequence] += np.diff(values, prepend=0.0)
    return total / permutations


def largest_excess(values: Floats, share: Floats) -> float:
    """Largest ``v(C) - sum of shares in C`` over coalitions neither empty nor of everybody.

    0 for a single player, who can leave nobody.
    """
    if len(values) <= 2:
        return 0.0
    excess = values - all_coalitions(len(share)) @ share
    return float(excess[1:-1].max())


def is_in_core(values: Floats, share: Floats) -> bool:
    """Whether no coalition has more on its own than its members' shares."""
    scale = max(1.0, float(np.abs(values).max()))
    return largest_excess(values, share) <= TOLERANCE * scale


@dataclass(frozen=True)
class _Fixed:
    """Coalitions whose excess is settled, as equations on the shares."""

    rows: Floats
    totals: Floats

    def settled(self, coalitions: Floats) -> Bools:
        """Whether the equations determine what a coalition gets."""
        _, singular, directions = np.linalg.svd(self.rows)
        rank = int((singular > TOLERANCE).sum())
        free = directions[rank:]
        return np.asarray(np.abs(coalitions @ free.T).max(axis=1, initial=0.0) <= 1e-7)


def nucleolus(values: Floats) -> Floats:
    """Shares that make the largest excess smallest, then the second largest, and so on.

    By linear programs in sequence: each makes the largest excess of the open coalitions as small
    as possible, and settles one that holds it there, so that there are as many as players.

    Parameters
    ----------
    values : of every coalition, in the sequence of `all_coalitions`.
    """
    players = len(values).bit_length() - 1
    if players == 0:
        return np.zeros(0)
    scale = float(np.abs(values).max()) or 1.0
    coalitions = all_coalitions(players).astype(np.float64)
    worth = values / scale
    fixed = _Fixed(coalitions[-1:], worth[-1:])
    open_rows = np.arange(1, len(values) - 1)
    while len(fixed.rows) < players:
        open_rows = open_rows[~fixed.settled(coalitions[open_rows])]
        excess, holding = _least_excess(coalitions[open_rows], worth[open_rows], fixed)
        row = open_rows[holding]
        fixed = _Fixed(
            np.vstack([fixed.rows, coalitions[row]]),
            np.append(fixed.totals, worth[row] - excess),
        )
    share = np.linalg.solve(fixed.rows, fixed.totals)
    return np.asarray(share * scale, dtype=np.float64)


def _least_excess(coalitions: Floats, values: Floats, fixed: _Fixed) -> tuple[float, int]:
    """Return the smallest largest excess, and a coalition that has it in every optimum.

    A positive dual says so; that of the largest dual is the surest.
    """
    from scipy.optimize import linprog  # noqa: PLC0415  scipy takes long to import

    players = coalitions.shape[1]
    solution = linprog(
        c=np.append(np.zeros(players), 1.0),
        A_ub=-np.column_stack([coalitions, np.ones(len(coalitions))]),
        b_ub=-values,
        A_eq=np.column_stack([fixed.rows, np.zeros(len(fixed.rows))]),
        b_eq=fixed.totals,
        bounds=(None, None),
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if solution.x is None:
        raise MarketError(f"nucleolus: the linear program ended with {solution.message!r}")
    duals = -np.asarray(solution.ineqlin.marginals, dtype=np.float64)
    return float(solution.x[-1]), int(np.argmax(duals))
