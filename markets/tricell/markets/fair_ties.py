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
from scipy.optimize import lsq_linear

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
LIMITS_PER_ROUND = 8
EASE_OF_LIMITS = 1e5
"""A limit's own column follows the orders this much more easily than an order gives way."""
FAR_KW = 1e9
BALANCE_TOLERANCE = 1e-9
"""Error of a balance or limit, relative to its right-hand side (and absolute below 1)."""
LIMIT_TOLERANCE = 1e-7
SMALLEST_RANGE_KW = 1e-9
ROUNDING = 1e-13
HEAVY = 1e4
SMALLEST_SENSITIVITY = 1e-12


@dataclass(frozen=True)
class Wishes:
    """Columns with bounds, the point that each would take alone, and how easily it gives way.

    The distance of a column to its wish is weighed by 1 / `weight`.
    """

    lower: Floats
    upper: Floats
    wish: Floats
    weight: Floats

    @classmethod
    def to_be_served(cls, upper: Floats) -> Wishes:
        """Orders from 0 to `upper` that want it all and give way in proportion to it."""
        return cls(np.zeros_like(upper), upper, upper, 0.5 * upper)


def proportional_point(matrix: Floats, right: Floats, wishes: Wishes) -> Floats | None:
    """Return the point of {matrix x = right, lower <= x <= upper} nearest to the wishes.

    Parameters
    ----------
    matrix, right : equality constraints, shapes (m, n) and (m,).
    wishes : the n columns.

    Returns
    -------
    The point, or None if Newton's method did not find it.

    Examples
    --------
    Two orders of 2 and 6 kW share 4 kW:

    >>> row = np.ones((1, 2))
    >>> full = np.array([2.0, 6.0])
    >>> proportional_point(row, np.array([4.0]), Wishes.to_be_served(full)).round(9).tolist()
    [1.0, 3.0]
    """
    # Rows in kW and rows in pu^2 stand side by side: bring all to the same size first.
    size = np.abs(matrix).max(axis=1, initial=0.0)
    size = np.where(size > 0.0, size, 1.0)
    matrix, right = matrix / size[:, None], right / size
    lower, upper, wish, weight = wishes.lower, wishes.upper, wishes.wish, wishes.weight
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
            gain = dual(multiplier + length * step, trial) - now
            if gain >= 1e-4 * length * slope - ROUNDING * abs(now):
                break
            length *= 0.5
        else:
            break
        multiplier, x = multiplier + length * step, trial
    return _point_by_active_set(matrix, right, wishes, tolerance)


def _point_by_active_set(
    matrix: Floats, right: Floats, wishes: Wishes, tolerance: Floats
) -> Floats | None:
    """Find the same point where Newton's steps end at kinks: slower, by bounded least squares.

    Least squares with heavy equations tell which columns stand at a bound; with those fixed, the
    others follow from linear equations.
    """
    root = np.sqrt(wishes.weight)
    system = np.vstack([np.eye(len(root)), HEAVY * matrix * root])
    target = np.concatenate([wishes.wish / root, HEAVY * right])
    bounds = (wishes.lower / root, wishes.upper / root)
    near = lsq_linear(system, target, bounds=bounds, method="bvls", tol=1e-14)
    x: Floats = np.clip(near.x * root, wishes.lower, wishes.upper)
    margin = 1e-9 * (wishes.upper - wishes.lower)
    free = (x > wishes.lower + margin) & (x < wishes.upper - margin)
    x = np.where(free, x, np.where(x - wishes.lower < wishes.upper - x, wishes.lower, wishes.upper))
    spread = matrix[:, free] * wishes.weight[free]
    gap = matrix[:, free] @ wishes.wish[free] + matrix[:, ~free] @ x[~free] - right
    multiplier = np.linalg.lstsq(spread @ matrix[:, free].T, gap, rcond=None)[0]
    x[free] = wishes.wish[free] - wishes.weight[free] * (multiplier @ matrix[:, free])
    x = np.clip(x, wishes.lower, wishes.upper)
    return x if (np.abs(matrix @ x - right) <= 10.0 * tolerance).all() else None


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

    def only(self, chosen: list[int]) -> _Limits:
        """Return some of them."""
        k = np.array(chosen, dtype=np.int64)
        return _Limits(self.value[k], self.lower[k], self.upper[k], self.held[k])


def fair_point(
    held: Floats, rows: list[Floats], accepted: Floats, orders: Wishes, limits: _Limits
) -> Floats | None:
    """Serve orders in proportion where some quantities are held and others have limits.

    Parameters
    ----------
    held : rows of what must stay as it is, shape (m, n).
    rows : how each limited quantity changes with the orders, shape (n,) each.
    accepted : what the orders have now, shape (n,).
    orders : the orders' ranges.
    limits : the limited quantities now, and their bounds; each becomes a column of its own.
    """
    n_held, n_order, n_limit = len(held), len(accepted), len(rows)
    limited = np.array(rows).reshape(n_limit, n_order)
    size = np.abs(limited).max(axis=1, initial=0.0)
    limited = limited / size[:, None]
    value = limits.value / size
    low = np.maximum(limits.lower / size, -FAR_KW)
    high = np.minimum(limits.upper / size, FAR_KW)
    matrix = np.zeros((n_held + n_limit, n_order + n_limit))
    matrix[:n_held, :n_order] = held
    matrix[n_held:, :n_order] = limited
    matrix[n_held:, n_order:] = -np.eye(n_limit)
    right = np.concatenate([held @ accepted, limited @ accepted - value])
    easy = EASE_OF_LIMITS * float(orders.weight.max())
    wishes = Wishes(
        lower=np.concatenate([orders.lower, low]),
        upper=np.concatenate([orders.upper, high]),
        wish=np.concatenate([orders.wish, np.clip(value, low, high)]),
        weight=np.concatenate([orders.weight, np.full(n_limit, easy)]),
    )
    point = proportional_point(matrix, right, wishes)
    return None if point is None else point[:n_order]


class FairTies:
    """Moves a program's solution to the fair point of its optimal face.

    Attributes
    ----------
    unresolved : slots in which no fair point was found and the solver's vertex was kept.
    """

    def __init__(self, program: CompiledProgram, columns: TieColumns) -> None:
        matrix = program.form.matrix.tocsr()
        self._program, self._columns = program, columns
        self._orders_t = sp.csr_matrix(matrix[:, columns.orders].T)
        others = np.concatenate([columns.imports, columns.exports, columns.states])
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
        """Serve tied orders in proportion; limits join as inequalities once a point breaks them."""
        held = np.array(self._held_rows(limits.held, tied)).reshape(-1, len(tied))
        orders = Wishes.to_be_served(self._program.upper[self._columns.orders[tied]])
        watched: list[int] = []
        for _ in range(MAX_LIMIT_ROUNDS):
            rows = [self._row(limit)[tied] for limit in watched]
            point = fair_point(held, rows, accepted[tied], orders, limits.only(watched))
            if point is None:
                return None
            moved = accepted.copy()
            moved[tied] = point
            broken = self._broken_limits(moved - accepted, limits)
            if not broken:
                return moved
            new = [k for k in broken if k not in watched and self._row(k)[tied].any()]
            if not new:
                return None
            watched += new[:LIMITS_PER_ROUND]
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

    def _broken_limits(self, order_change: Floats, limits: _Limits) -> list[int]:
        """Find the limits that a move breaks, the worst first."""
        exchange = self._exchange_of_order @ order_change
        now = limits.value + np.concatenate([exchange, self._state_change(order_change)])
        scale = np.maximum(1.0, np.abs(limits.value))
        beyond = np.maximum(limits.lower - now, now - limits.upper) / scale
        beyond[limits.held] = 0.0
        broken = np.flatnonzero(beyond > LIMIT_TOLERANCE)
        worst_first: list[int] = broken[np.argsort(-beyond[broken], kind="stable")].tolist()
        return worst_first

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
