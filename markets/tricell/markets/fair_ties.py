"""The fair point among all optimal answers of a market.

When orders tie at the marginal price, the simplex method serves some of them fully and others not
at all, and which ones depends on where it started. The answer that is reported must neither be
unfair nor depend on the path. So after the linear program the accepted quantities move, inside
the set of optimal answers, to the point that serves tied orders in proportion to their quantity::

    minimise  sum_j (upper_j - x_j)^2 / (upper_j - lower_j)
    over      the columns with zero reduced cost, all balances and binding limits kept

Prices stay as they are: every point of that set has the same duals. The problem is solved in its
dual, which has one variable per balance and binding limit, by a semismooth Newton method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spl
from numpy.typing import NDArray

from tricell.markets.compiled_program import CompiledProgram, Solution

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

REDUCED_COST_TOLERANCE = 1e-9
TRADE_RANGE_KW = 1.0e7
"""Range given to unbounded import and export columns; it makes them follow the orders freely."""

MAX_NEWTON_STEPS = 60
MAX_LIMIT_ROUNDS = 6
BALANCE_TOLERANCE = 1e-9
"""Error of a balance or limit, relative to its right-hand side (and absolute below 1)."""
LIMIT_TOLERANCE = 1e-6


def proportional_point(
    matrix: Floats, right: Floats, lower: Floats, upper: Floats, wish: Floats
) -> Floats | None:
    """Return the point of {matrix x = right, lower <= x <= upper} nearest to a wish.

    Distances are weighed by 1 / (upper - lower), so that columns give way in proportion to their
    range.

    Parameters
    ----------
    matrix, right : equality constraints, shapes (m, n) and (m,).
    lower, upper : bounds with ``upper > lower``, shape (n,).
    wish : the point that each column would take alone, shape (n,).

    Returns
    -------
    The point, or None if Newton's method did not find it.

    Examples
    --------
    Two orders of 2 and 6 kW share 4 kW:

    >>> row = np.ones((1, 2))
    >>> full = np.array([2.0, 6.0])
    >>> proportional_point(row, np.array([4.0]), np.zeros(2), full, full).round(9).tolist()
    [1.0, 3.0]
    """
    # Rows in kW and rows in pu^2 stand side by side: bring all to the same size first.
    size = np.abs(matrix).max(axis=1, initial=0.0)
    size = np.where(size > 0.0, size, 1.0)
    matrix, right = matrix / size[:, None], right / size
    weight = 0.5 * (upper - lower)
    spread = matrix * weight
    normal = spread @ matrix.T
    ridge = 1e-13 * max(float(np.max(np.diag(normal), initial=0.0)), 1e-9)
    eye = ridge * np.eye(len(right))
    multiplier: Floats = np.linalg.solve(normal + eye, matrix @ wish - right).astype(np.float64)
    tolerance = BALANCE_TOLERANCE * (1.0 + np.abs(right))

    def point(at: Floats) -> Floats:
        moved: Floats = np.clip(wish - weight * (at @ matrix), lower, upper)
        return moved

    def dual(at: Floats, x: Floats) -> float:
        return float(0.5 * ((x - wish) ** 2 / weight).sum() + at @ (matrix @ x - right))

    x = point(multiplier)
    for _ in range(MAX_NEWTON_STEPS):
        gap = matrix @ x - right
        if (np.abs(gap) <= tolerance).all():
            return x
        free = (x > lower) & (x < upper)
        jacobian = spread[:, free] @ matrix[:, free].T
        step = np.linalg.solve(jacobian + eye + 1e-9 * np.diag(np.diag(normal)), gap)
        now, slope, length = dual(multiplier, x), float(gap @ step), 1.0
        while length > 1e-12:
            trial = point(multiplier + length * step)
            if dual(multiplier + length * step, trial) >= now + 1e-4 * length * slope:
                break
            length *= 0.5
        else:
            return None
        multiplier, x = multiplier + length * step, trial
    return None


@dataclass(frozen=True)
class TieColumns:
    """Where a market's columns and rows lie in its compiled program.

    Attributes
    ----------
    orders : columns of the orders.
    trades : columns of imports and exports of areas (unbounded above).
    balances : rows of the area balances.
    states : columns that the network rows determine (flows, voltages, angles).
    definitions : as many rows as `states`: node balances, voltage drops, DC flows.
    """

    orders: Indices
    trades: Indices
    balances: Indices
    states: Indices
    definitions: Indices


class FairTies:
    """Moves a program's solution to the fair point of its optimal face.

    Attributes
    ----------
    unresolved : slots in which Newton's method failed and the solver's vertex was kept.
    """

    def __init__(self, program: CompiledProgram, columns: TieColumns) -> None:
        matrix = program.form.matrix.tocsr()
        self._program, self._columns = program, columns
        self._market = np.concatenate([columns.orders, columns.trades])
        self._n_order = len(columns.orders)
        self._balance = sp.csc_matrix(matrix[columns.balances][:, self._market])
        self._market_t = sp.csr_matrix(matrix[:, self._market].T)
        self._states_t = sp.csr_matrix(matrix[:, columns.states].T)
        definition = matrix[columns.definitions]
        self._factor = spl.splu(sp.csc_matrix(definition[:, columns.states]))
        self._transposed = spl.splu(sp.csc_matrix(definition[:, columns.states].T))
        self._orders_in_network = sp.csr_matrix(definition[:, columns.orders])
        self._sensitivity: dict[int, Floats] = {}
        self.unresolved = 0

    def move(self, solution: Solution) -> tuple[Floats, Floats]:
        """Return accepted order quantities and the change of the states they cause.

        Returns
        -------
        accepted : per order column, kW.
        state_change : per state column, what the move adds to the solver's answer.
        """
        program, columns = self._program, self._columns
        unchanged = solution.values[columns.orders], np.zeros(0)
        duals = solution.row_duals
        reduced = program.cost[self._market] - self._market_t @ duals
        level = np.abs(reduced) <= REDUCED_COST_TOLERANCE
        level &= program.upper[self._market] > program.lower[self._market] + 1e-9
        face = np.flatnonzero(level)
        tied = face[: np.searchsorted(face, self._n_order)]
        if len(tied) < 2:
            return unchanged
        held = np.abs(program.cost[columns.states] - self._states_t @ duals)
        rows: list[int] = np.flatnonzero(held > REDUCED_COST_TOLERANCE).tolist()
        target = self._fair_orders(solution, face, tied, rows)
        return unchanged if target is None else target

    def _fair_orders(
        self, solution: Solution, face: Indices, tied: Indices, held: list[int]
    ) -> tuple[Floats, Floats] | None:
        program, columns = self._program, self._columns
        value, market = solution.values[self._market], self._market[face]
        lower = program.lower[market]
        upper = np.minimum(program.upper[market], lower + TRADE_RANGE_KW)
        wish = np.where(face < self._n_order, upper, lower)
        balance = self._balance[:, face].toarray()
        touched = np.abs(balance).sum(axis=1) > 0
        state = solution.values[columns.states]
        low, high = program.lower[columns.states], program.upper[columns.states]
        bound: dict[int, float] = {}
        solved = value[: self._n_order]
        for _ in range(MAX_LIMIT_ROUNDS):
            network = np.zeros((len(held) + len(bound), len(face)))
            network[:, : len(tied)] = [self._state_row(k)[tied] for k in [*held, *bound]] or 0.0
            at = network @ value[face]
            at[len(held) :] += [bound[k] - state[k] for k in bound]
            matrix = np.vstack([balance[touched], network])
            right = np.concatenate([balance[touched] @ value[face], at])
            point = proportional_point(matrix, right, lower, upper, wish)
            if point is None:
                self.unresolved += 1
                return None
            accepted = solved.copy()
            accepted[tied] = point[: len(tied)]
            change = self._state_change(accepted - solved)
            moved = state + change
            beyond = np.maximum(low - moved, moved - high)
            beyond[held] = 0.0
            worst = int(np.argmax(beyond))
            if beyond[worst] <= LIMIT_TOLERANCE or worst in bound:
                return accepted, change
            bound[worst] = float(low[worst] if moved[worst] < low[worst] else high[worst])
        self.unresolved += 1
        return None

    def _state_change(self, order_change: Floats) -> Floats:
        return np.asarray(-self._factor.solve(self._orders_in_network @ order_change))

    def _state_row(self, state: int) -> Floats:
        """Change of one state per kW of each order (computed once, kept)."""
        row = self._sensitivity.get(state)
        if row is None:
            unit = np.zeros(len(self._columns.states))
            unit[state] = 1.0
            row = -(self._orders_in_network.T @ self._transposed.solve(unit))
            self._sensitivity[state] = row
        return row
