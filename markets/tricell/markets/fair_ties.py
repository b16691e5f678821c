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

from tricell.errors import MarketError
from tricell.markets.compiled_program import (
    REDUCED_COST_TOLERANCE,
    CompiledProgram,
    Solution,
)

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Bools = NDArray[np.bool_]

MAX_NEWTON_STEPS = 60
MAX_LIMIT_ROUNDS = 30
DAMPINGS = tuple(10.0**power for power in range(-9, 7))
"""Shares of the diagonal added to Newton's matrix, one after the other until a step is uphill."""
BALANCE_TOLERANCE = 1e-9
"""Error of a balance or limit, relative to its right-hand side (and absolute below 1)."""
LIMIT_TOLERANCE = 1e-7
SMALLEST_RANGE_KW = 1e-9
ROUNDING = 1e-13
SMALLEST_SENSITIVITY = 1e-12


def proportional_point(
    matrix: Floats,
    right: Floats,
    lower: Floats,
    upper: Floats,
    wish: Floats,
    *,
    at_most: Bools | None = None,
) -> Floats | None:
    """Return the point nearest to a wish that keeps balances, limits and bounds.

    Distances are weighed by 1 / (upper - lower), so that columns give way in proportion to their
    range.

    Parameters
    ----------
    matrix, right : rows ``matrix x = right``, shapes (m, n) and (m,).
    lower, upper : bounds with ``upper > lower``, shape (n,).
    wish : the point that each column would take alone, shape (n,).
    at_most : rows that are ``matrix x <= right`` instead, shape (m,); none if left out.

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
    limit = np.zeros(len(right), dtype=bool) if at_most is None else at_most
    dual = _Dual.of(matrix, right, lower, upper, wish, limit=limit)
    tolerance = BALANCE_TOLERANCE * (1.0 + np.abs(right))
    even = ~limit
    multiplier, x = dual.start(even)
    for _ in range(MAX_NEWTON_STEPS):
        gap = matrix @ x - right
        # A limit without a multiplier only counts where it is exceeded.
        working = even | (multiplier > 0.0) | (gap > tolerance)
        if (np.abs(gap[working]) <= tolerance[working]).all():
            return x
        better = dual.improved(multiplier, x, gap, working)
        if better is None:
            return None
        multiplier, x = better
    return None


@dataclass(frozen=True)
class _Dual:
    """The dual of `proportional_point`: a multiplier per row, at least 0 for limits."""

    matrix: Floats
    right: Floats
    lower: Floats
    upper: Floats
    wish: Floats
    limit: Bools
    weight: Floats
    spread: Floats
    normal: Floats
    ridge: float

    @classmethod
    def of(
        cls,
        matrix: Floats,
        right: Floats,
        lower: Floats,
        upper: Floats,
        wish: Floats,
        *,
        limit: Bools,
    ) -> _Dual:
        weight = 0.5 * (upper - lower)
        spread = matrix * weight
        normal = spread @ matrix.T
        ridge = 1e-13 * max(float(np.max(np.diag(normal), initial=0.0)), 1e-9)
        return cls(matrix, right, lower, upper, wish, limit, weight, spread, normal, ridge)

    def point(self, at: Floats) -> Floats:
        """Columns that the multipliers ask for, inside their bounds."""
        moved = self.wish - self.weight * (at @ self.matrix)
        return np.asarray(np.clip(moved, self.lower, self.upper))

    def value(self, at: Floats, x: Floats) -> float:
        distance = 0.5 * ((x - self.wish) ** 2 / self.weight).sum()
        return float(distance + at @ (self.matrix @ x - self.right))

    def start(self, even: Bools) -> tuple[Floats, Floats]:
        """Multipliers that would be right without bounds and limits, and their point."""
        multiplier: Floats = np.zeros(len(self.right))
        wanted = self.matrix[even] @ self.wish - self.right[even]
        damping = np.full(even.sum(), self.ridge)
        multiplier[even] = _newton_step(self.normal[np.ix_(even, even)], wanted, damping)
        return multiplier, self.point(multiplier)

    def improved(
        self, multiplier: Floats, x: Floats, gap: Floats, working: Bools
    ) -> tuple[Floats, Floats] | None:
        """Take a damped Newton step that raises the dual; None if there is none."""
        free = (x > self.lower) & (x < self.upper)
        rows = np.ix_(working, free)
        jacobian = self.spread[rows] @ self.matrix[rows].T
        now, scale = self.value(multiplier, x), np.diag(self.normal)
        # Limits in a row have dependent rows: only more damping tells which of them binds.
        for damping in DAMPINGS:
            step = _newton_step(jacobian, gap[working], self.ridge + damping * scale[working])
            moved = multiplier.copy()
            moved[working] += step
            moved[self.limit] = np.maximum(moved[self.limit], 0.0)
            trial = self.point(moved)
            gain = self.value(moved, trial) - now
            if gain >= 1e-4 * float(gap @ (moved - multiplier)) - ROUNDING * abs(now):
                return moved, trial
        return None


def _newton_step(system: Floats, gap: Floats, damping: Floats) -> Floats:
    return np.asarray(np.linalg.solve(system + np.diag(damping), gap))


@dataclass(frozen=True)
class TieColumns:
    """Where a market's columns and rows lie in its compiled program.

    Attributes
    ----------
    orders : columns of the orders.
    order_side, order_area : +1 buys or -1 sells, and the area of each order.
    area_parent : row of the area above each area, -1 for the top; parents come first.
    imports, exports : columns of each area's exchange with the area above.
    states : columns that the network rows determine (flows, voltages, angles).
    definitions : as many rows as `states`: node balances, voltage drops, DC flows.
    """

    orders: Indices
    order_side: Floats
    order_area: Indices
    area_parent: Indices
    imports: Indices
    exports: Indices
    states: Indices
    definitions: Indices


@dataclass(frozen=True)
class _Limits:
    """Quantities that depend linearly on the orders, and the bounds they have to keep.

    First the areas' exchanges (kW), then the network's states.
    """

    value: Floats
    lower: Floats
    upper: Floats
    held: Bools


class FairTies:
    """Moves a program's solution to the fair point of its optimal face.

    Attributes
    ----------
    unresolved : slots in which no fair point was found and the solver's vertex was kept.

    Raises
    ------
    MarketError
        If a coefficient of one of the columns depends on a parameter: the network and what it
        does with an order are factored once.
    """

    def __init__(self, program: CompiledProgram, columns: TieColumns) -> None:
        matrix = program.form.matrix.tocsr()
        self._program, self._columns = program, columns
        self._orders_t = sp.csr_matrix(matrix[:, columns.orders].T)
        others = np.concatenate([columns.imports, columns.exports, columns.states])
        moving = program.form.moving_columns
        if np.isin(moving, columns.orders).any() or np.isin(moving, others).any():
            raise MarketError(
                "the coefficients of orders, exchanges and network states must not depend on "
                "mutable parameters where ties are settled fairly"
            )
        self._others_t = sp.csr_matrix(matrix[:, others].T)
        self._others = others
        definition = matrix[columns.definitions]
        among_states = sp.csc_matrix(definition[:, columns.states])
        self._factor = spl.splu(among_states)
        self._transposed = spl.splu(sp.csc_matrix(among_states.T))
        self._orders_in_network = sp.csr_matrix(definition[:, columns.orders])
        self._exchange_of_order = _orders_below(columns)
        self._sensitivity: dict[int, Floats] = {}
        self.unresolved = 0

    def move(self, solution: Solution) -> tuple[Floats, Floats]:
        """Return accepted order quantities and the change of the states they cause.

        Returns
        -------
        accepted : per order column, kW.
        state_change : per state column, what the move adds to the solver's answer; empty if
            nothing moved.
        """
        program, orders = self._program, self._columns.orders
        accepted = solution.values[orders]
        reduced = program.cost[orders] - self._orders_t @ solution.row_duals
        level = np.abs(reduced) <= REDUCED_COST_TOLERANCE
        level &= program.upper[orders] > program.lower[orders] + SMALLEST_RANGE_KW
        tied = np.flatnonzero(level)
        if not len(tied):
            return accepted, np.zeros(0)
        moved = self._fair_orders(accepted, tied, self._limits(solution))
        if moved is None:
            self.unresolved += 1
            return accepted, np.zeros(0)
        return moved, self._state_change(moved - accepted)

    def _limits(self, solution: Solution) -> _Limits:
        """Bounds of exchanges and states; what a nonzero dual pins to its bound is held."""
        program, columns, others = self._program, self._columns, self._others
        n_area = len(columns.imports)
        reduced = program.cost[others] - self._others_t @ solution.row_duals
        fixed = np.abs(reduced) > REDUCED_COST_TOLERANCE
        value = solution.values
        imports, exports, states = fixed[:n_area], fixed[n_area : 2 * n_area], fixed[2 * n_area :]
        exchange = value[columns.imports] - value[columns.exports]
        lower, upper = program.lower[columns.states], program.upper[columns.states]
        return _Limits(
            value=np.concatenate([exchange, value[columns.states]]),
            lower=np.concatenate([np.where(exports, 0.0, -program.upper[columns.exports]), lower]),
            upper=np.concatenate([np.where(imports, 0.0, program.upper[columns.imports]), upper]),
            held=np.concatenate([imports & exports, states]),
        )

    def _fair_orders(self, accepted: Floats, tied: Indices, limits: _Limits) -> Floats | None:
        program, orders = self._program, self._columns.orders[tied]
        lower, upper = program.lower[orders], program.upper[orders]
        rows = self._held_rows(limits.held, tied)
        if rows and len(tied) == 1:
            return accepted
        n_held = len(rows)
        room = [0.0] * n_held
        bound: set[tuple[int, float]] = set()
        for _ in range(MAX_LIMIT_ROUNDS):
            matrix = np.array(rows).reshape(-1, len(tied))
            right = matrix @ accepted[tied] + np.array(room)
            at_most = np.arange(len(rows)) >= n_held
            point = proportional_point(matrix, right, lower, upper, upper, at_most=at_most)
            if point is None:
                return None
            moved = accepted.copy()
            moved[tied] = point
            worst = self._worst_limit(moved - accepted, limits)
            if worst is None:
                return moved
            limit, sign, distance = worst
            if (limit, sign) in bound:
                return None
            bound.add((limit, sign))
            rows.append(sign * self._row(limit)[tied])
            room.append(distance)
        return None

    def _held_rows(self, held: Bools, tied: Indices) -> list[Floats]:
        """Rows of what has to stay: exchanges of areas (less those of held areas below), states.

        Taken less the held areas below, the rows of areas have no order in common.
        """
        n_area = len(self._columns.area_parent)
        rows = {int(k): self._row(int(k))[tied] for k in np.flatnonzero(held)}
        for area in [k for k in rows if k < n_area]:
            above = self._columns.area_parent[area]
            while above >= 0 and above not in rows:
                above = self._columns.area_parent[above]
            if above >= 0:
                rows[int(above)] = rows[int(above)] - self._exchange_of_order[area][tied]
        return [row for row in rows.values() if row.any()]

    def _worst_limit(
        self, order_change: Floats, limits: _Limits
    ) -> tuple[int, float, float] | None:
        """Find the limit that a move breaks most, on which side, and how far it may move."""
        exchange = self._exchange_of_order @ order_change
        now = limits.value + np.concatenate([exchange, self._state_change(order_change)])
        scale = np.maximum(1.0, np.abs(limits.value))
        beyond = np.maximum(limits.lower - now, now - limits.upper) / scale
        beyond[limits.held] = 0.0
        worst = int(np.argmax(beyond))
        if beyond[worst] <= LIMIT_TOLERANCE:
            return None
        low, value, high = limits.lower[worst], limits.value[worst], limits.upper[worst]
        # HiGHS keeps bounds to its own tolerance; a vertex just outside has no room left.
        if now[worst] > high:
            return worst, 1.0, max(float(high - value), 0.0)
        return worst, -1.0, max(float(value - low), 0.0)

    def _state_change(self, order_change: Floats) -> Floats:
        return np.asarray(-self._factor.solve(self._orders_in_network @ order_change))

    def _row(self, limit: int) -> Floats:
        """Change of an exchange or a state per kW of each order (computed once, kept)."""
        row = self._sensitivity.get(limit)
        if row is None:
            n_area = len(self._columns.imports)
            if limit < n_area:
                row = self._exchange_of_order[limit]
            else:
                unit = np.zeros(len(self._columns.states))
                unit[limit - n_area] = 1.0
                row = -(self._orders_in_network.T @ self._transposed.solve(unit))
            row = np.where(np.abs(row) > SMALLEST_SENSITIVITY, row, 0.0)
            self._sensitivity[limit] = row
        return row


def _orders_below(columns: TieColumns) -> Floats:
    """Side of each order in the rows of all areas that it trades through, (areas, orders)."""
    rows = np.zeros((len(columns.area_parent), len(columns.orders)))
    rows[columns.order_area, np.arange(len(columns.orders))] = columns.order_side
    for area in range(len(columns.area_parent) - 1, 0, -1):
        if columns.area_parent[area] >= 0:
            rows[columns.area_parent[area]] += rows[area]
    return rows
