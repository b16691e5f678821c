"""A linear Pyomo model, walked once and then solved many times by a warm HiGHS.

The Pyomo model stays the readable definition of a problem. Rebuilding or re-walking it for every
slot would cost more than solving it, so `CompiledProgram` walks it once: every entry of every
mutable `pyomo.environ.Param` becomes one coordinate of a vector *theta*, and the cost vector,
column bounds, row bounds and the coefficients a of the matrix A become sparse affine maps of
theta::

    minimise  (c0 + C theta)' x + constant + k' theta
    subject to  rl0 + RL theta <= A x <= ru0 + RU theta,   lb0 + LB theta <= x <= ub0 + UB theta
    with the coefficients of A   a = a0 + AA theta

A slot sets theta with numpy and calls `solve`. Where coefficients of A change, HiGHS has to factor
its basis anew, so they should be few; a program without such coefficients pays nothing for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import highspy
import numpy as np
import pyomo.environ as pe
import scipy.sparse as sp
from numpy.typing import NDArray
from pyomo.common.collections import ComponentSet
from pyomo.common.errors import DeveloperError
from pyomo.core.expr.visitor import (
    ExpressionReplacementVisitor,
    identify_mutable_parameters,
)
from pyomo.repn.linear import LinearRepnVisitor
from pyomo.repn.parameterized import ParameterizedLinearRepnVisitor
from pyomo.repn.util import OrderedVarRecorder

from tricell.errors import MarketError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

OPTIMAL = highspy.HighsModelStatus.kOptimal
INFEASIBLE = highspy.HighsModelStatus.kInfeasible

PRIMAL_TOLERANCE = 1e-7
"""How far a basic column may be outside its bounds; as in HiGHS."""
REDUCED_COST_TOLERANCE = 1e-9

HIGHS_OPTIONS: dict[str, Any] = {
    "output_flag": False,
    "threads": 1,
    "presolve": "off",
    "solver": "simplex",
    # With the default perturbation one warm solve in about a hundred came back with status
    # "Unknown" and prices wrong in the third digit.
    "dual_simplex_cost_perturbation_multiplier": 0.0,
}
BASIS_STATUS = {int(status): status for status in highspy.HighsBasisStatus.__members__.values()}
BASIC_OR_NOT = np.array(
    [highspy.HighsBasisStatus.kNonbasic, highspy.HighsBasisStatus.kBasic], dtype=object
)
FALL_BACK_OPTIONS: dict[str, Any] = {
    "presolve": "on",
    "dual_simplex_cost_perturbation_multiplier": 1.0,
}
"""What HiGHS does by default, for programs that it cannot decide otherwise."""


@dataclass(frozen=True)
class AffineMap:
    """`constant + matrix @ theta`, restricted to the entries that depend on theta."""

    constant: Floats
    matrix: sp.csr_matrix

    @property
    def moving(self) -> Indices:
        """Positions whose value depends on theta."""
        return np.flatnonzero(np.diff(self.matrix.indptr)).astype(np.int64)

    def __call__(self, theta: Floats) -> Floats:
        """Evaluate at theta."""
        return np.asarray(self.constant + self.matrix @ theta, dtype=np.float64)

    def some(self, places: Indices) -> AffineMap:
        """Return the map of some of the values."""
        return AffineMap(self.constant[places], self.matrix[places])

    def repeated(self, copies: int) -> AffineMap:
        """Return the map of as many copies, each with its own theta, one after the other."""
        matrix = sp.csr_matrix(sp.block_diag([self.matrix] * copies, format="csr"))
        return AffineMap(np.tile(self.constant, copies), matrix)


@dataclass(frozen=True)
class LinearForm:
    """The data of a compiled program: matrix, and affine maps of theta.

    `cost`, `column_lower` and `column_upper` have one entry per column, `row_lower` and
    `row_upper` one per row, `offset` a single one: the constant of the objective. `coefficients`
    has one entry per stored entry of `matrix`, in the order of `matrix.data`; `matrix` holds
    their values as of the program's last `update`.
    """

    matrix: sp.csc_matrix
    coefficients: AffineMap
    cost: AffineMap
    column_lower: AffineMap
    column_upper: AffineMap
    row_lower: AffineMap
    row_upper: AffineMap
    offset: AffineMap

    @property
    def moving_columns(self) -> Indices:
        """Columns with a coefficient in a row that depends on theta."""
        return np.unique(self.column_of(self.coefficients.moving))

    def repeated(self, copies: int) -> LinearForm:
        """Return the form of as many copies that have nothing to do with each other."""
        each = {field.name: getattr(self, field.name) for field in fields(self)}
        maps = {name: one.repeated(copies) for name, one in each.items() if name != "matrix"}
        every = np.ones((1, copies))
        offset = AffineMap(
            every @ maps["offset"].constant, sp.csr_matrix(every @ maps["offset"].matrix)
        )
        matrix = sp.csc_matrix(sp.block_diag([self.matrix] * copies, format="csc"))
        return LinearForm(matrix, **{**maps, "offset": offset})

    def with_columns_joined(self, place: Indices) -> LinearForm:
        """Return the form in which columns of the same place in `place` are one and the same.

        Costs and bounds of a joint column are those of the first that goes there.
        """
        matrix, n_column = self.matrix, int(place.max(initial=-1)) + 1
        column = place[self.column_of(np.arange(matrix.nnz))]
        # By column, then by row: the order of a matrix stored by columns.
        order = np.lexsort((matrix.indices, column))
        starts = np.searchsorted(column[order], np.arange(n_column + 1))
        joined = sp.csc_matrix(
            (matrix.data[order], matrix.indices[order], starts),
            shape=(matrix.shape[0], n_column),
        )
        first = np.unique(place, return_index=True)[1].astype(np.int64)
        return replace(
            self,
            matrix=joined,
            coefficients=self.coefficients.some(order),
            cost=self.cost.some(first),
            column_lower=self.column_lower.some(first),
            column_upper=self.column_upper.some(first),
        )

    def column_of(self, entries: Indices) -> Indices:
        """Return the columns in which entries of the matrix lie, by place in `matrix.data`."""
        return np.searchsorted(self.matrix.indptr, entries, side="right").astype(np.int64) - 1


@dataclass(frozen=True)
class Basis:
    """The basic columns of an optimum, their costs, and the row duals that follow from both."""

    columns: Indices
    cost: Floats
    duals: Floats


@dataclass(frozen=True)
class Solution:
    """One optimum: `values` per column, `row_duals` per row (d objective / d right-hand side).

    `cold` tells that the warm start had to be thrown away. The arrays belong to the caller.
    """

    values: Floats
    row_duals: Floats
    objective: float
    cold: bool


class _AffineRows:
    """Collects `constant + sum(coefficient * theta[k])` for many rows."""

    def __init__(self, size: int, fill: float) -> None:
        self.constant = np.full(size, fill)
        self._row: list[int] = []
        self._coordinate: list[int] = []
        self._coefficient: list[float] = []

    def put(self, row: int, constant: float, terms: Iterable[tuple[int, float]]) -> None:
        self.constant[row] = constant
        for coordinate, coefficient in terms:
            self._row.append(row)
            self._coordinate.append(coordinate)
            self._coefficient.append(coefficient)

    def map(self, theta_size: int) -> AffineMap:
        shape = (len(self.constant), theta_size)
        entries = (self._coefficient, (self._row, self._coordinate))
        return AffineMap(self.constant, sp.csr_matrix(entries, shape=shape))


Affine = tuple[float, list[tuple[int, float]]]


def _minus(left: Affine, right: Affine) -> Affine:
    return left[0] - right[0], left[1] + [(k, -v) for k, v in right[1]]


class _Walker:
    """Reads Pyomo expressions as linear forms whose coefficients are affine in theta."""

    def __init__(self, parameters: list[Any]) -> None:
        # The parametrised visitor needs variables, not Params, to stand for theta.
        shadow = pe.ConcreteModel()
        shadow.theta = pe.Var(range(len(parameters)))
        self._stand_ins = list(shadow.theta.values())
        self._owner = shadow
        self._coordinate = {id(v): k for k, v in enumerate(self._stand_ins)}
        self._coordinate |= {id(p): k for k, p in enumerate(parameters)}
        # One visitor each, reused: making one takes longer than the walk through a row, and with
        # some the whole walk becomes quadratic.
        self._substitution = ExpressionReplacementVisitor(
            {id(p): v for p, v in zip(parameters, self._stand_ins, strict=True)}
        )
        self._plain = LinearRepnVisitor({}, var_recorder=OrderedVarRecorder({}, {}, None))
        self._parametrised = ParameterizedLinearRepnVisitor(
            {},
            wrt=ComponentSet(self._stand_ins),
            var_recorder=OrderedVarRecorder({}, {}, None),
        )

    def _depends_on_theta(self, expression: Any) -> bool:
        return any(id(p) in self._coordinate for p in identify_mutable_parameters(expression))

    def affine(self, expression: Any, place: Any) -> Affine:
        """Return (constant, terms in theta) of an expression without variables."""
        if isinstance(expression, int | float | np.number):
            return float(expression), []
        coordinate = self._coordinate.get(id(expression))
        if coordinate is not None:
            return 0.0, [(coordinate, 1.0)]
        if not expression.is_expression_type():
            return float(pe.value(expression)), []
        try:
            form = self._plain.walk_expression(self._substitution.walk_expression(expression))
        except DeveloperError as error:
            raise MarketError(f"{_named(place)}: {expression} cannot be read: {error}") from error
        if form.nonlinear is not None:
            raise MarketError(
                f"{_named(place)}: {expression} is not linear in the mutable parameters"
            )
        terms = [(self._coordinate[key], value) for key, value in form.linear.items()]
        return float(form.constant), terms

    def linear(self, expression: Any, place: Any) -> Any:
        """Return Pyomo's linear representation of an expression in the model's variables."""
        if self._depends_on_theta(expression):
            expression = self._substitution.walk_expression(expression)
            form = self._parametrised.walk_expression(expression)
        else:
            form = self._plain.walk_expression(expression)
        if form.nonlinear is not None:
            raise MarketError(
                f"{_named(place)} is not linear; only linear programs can be compiled"
            )
        return form


def _named(place: Any) -> str:
    """Name a variable, constraint or objective; slow, so only where something is wrong."""
    if place.ctype is pe.Objective:
        return "the objective"
    return f"{'variable' if place.ctype is pe.Var else 'constraint'} {place.name}"


def _refuse_other_than_free_and_real(variables: list[Any]) -> None:
    for variable in variables:
        if not variable.is_continuous() or variable.fixed:
            kind = "fixed" if variable.fixed else "not continuous"
            raise MarketError(
                f"variable {variable.name} is {kind}; only free real variables can be compiled"
            )


def _mutable_parameters(model: pe.ConcreteModel) -> Iterator[tuple[str, list[Any]]]:
    for parameter in model.component_objects(pe.Param, active=True):
        if parameter.mutable:
            yield parameter.name, list(parameter.values())


def _new_highs(options: Mapping[str, Any]) -> Any:
    highs: Any = highspy.Highs()  # type: ignore[no-untyped-call]  # highspy ships no types
    for option, value in options.items():
        highs.setOptionValue(option, value)
    return highs


class CompiledProgram:
    """A linear Pyomo model as arrays, with a HiGHS instance that stays warm between solves.

    Parameters
    ----------
    model : the definition.
    copies : solve so many copies of the model at once, each with its own parameters; they have
        nothing to do with each other. Walking one model and repeating its arrays takes far less
        than walking a large model. Parameters, columns and rows then have one more axis, the
        first: shape (copies, ...).
    chained : two variables of the same index. In each copy but the first, the former is the
        latter of the copy before, such as what a step begins with and what it ends with; its own
        costs and bounds count in the first copy alone.
    options : options of HiGHS for this program, where they differ from `HIGHS_OPTIONS`.

    Attributes
    ----------
    theta : Floats
        Current value of every mutable parameter entry. Write it through `parameter(name)`.
    form : LinearForm
        The arrays of the program.
    cold_starts : int
        How often a warm solve did not end optimal and was repeated from scratch.
    reused : int
        How often the last optimal basis was still optimal, so that HiGHS had nothing to do.
    cost, lower, upper : Floats
        Cost and bounds per column at the current theta, after `update`.
    """

    def __init__(
        self,
        model: pe.ConcreteModel,
        copies: int | None = None,
        *,
        chained: tuple[pe.Var, pe.Var] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._copies = copies
        self._slices, parameters = self._number_parameters(model)
        self.theta = np.array([pe.value(p) for p in parameters], dtype=np.float64)
        columns = list(model.component_data_objects(pe.Var, active=True))
        _refuse_other_than_free_and_real(columns)
        rows = list(model.component_data_objects(pe.Constraint, active=True))
        self._column = {id(v): k for k, v in enumerate(columns)}
        self._row = {id(c): k for k, c in enumerate(rows)}
        self.form = self._walk(model, columns, rows, _Walker(parameters))
        # Where the columns of each copy lie.
        self._places = np.arange((copies or 1) * len(columns)).reshape(-1, len(columns))
        if copies is not None:
            self.form = self.form.repeated(copies)
            self.theta = np.tile(self.theta, copies)
        if chained is not None:
            self._chain(*chained)
        self.cold_starts = self.reused = 0
        self._options = {**HIGHS_OPTIONS, **(options or {})}
        self._highs = _new_highs(self._options)
        self._sent: list[Floats] = []
        self._basis: Basis | None = None
        self._recalled: NDArray[np.int8] | None = None
        self._prepare_updates()
        self._load()

    def _chain(self, begins_with: pe.Var, ends_with: pe.Var) -> None:
        begins, ends = self.columns(begins_with)[0], self.columns(ends_with)[0]
        kept = np.ones(self._places.shape, dtype=np.bool_)
        kept[1:, begins] = False
        places = np.cumsum(kept).reshape(kept.shape) - 1
        places[1:, begins] = places[:-1, ends]
        self._places = places
        self.form = self.form.with_columns_joined(places.ravel())

    @staticmethod
    def _number_parameters(model: pe.ConcreteModel) -> tuple[dict[str, slice], list[Any]]:
        slices: dict[str, slice] = {}
        parameters: list[Any] = []
        for name, entries in _mutable_parameters(model):
            slices[name] = slice(len(parameters), len(parameters) + len(entries))
            parameters += entries
        return slices, parameters

    def _walk(
        self, model: pe.ConcreteModel, columns: list[Any], rows: list[Any], walker: _Walker
    ) -> LinearForm:
        size = len(self.theta)
        cost, offset = self._walk_objective(model, len(columns), walker)
        lower, upper = _AffineRows(len(columns), -np.inf), _AffineRows(len(columns), np.inf)
        for k, variable in enumerate(columns):
            if variable.lower is not None:
                lower.put(k, *walker.affine(variable.lower, variable))
            if variable.upper is not None:
                upper.put(k, *walker.affine(variable.upper, variable))
        row_lower, row_upper = _AffineRows(len(rows), -np.inf), _AffineRows(len(rows), np.inf)
        entries: list[tuple[int, int, Affine]] = []
        for k, constraint in enumerate(rows):
            low, body, high = constraint.to_bounded_expression()
            form = walker.linear(body, constraint)
            inside = walker.affine(form.constant, constraint)
            for key, coefficient in form.linear.items():
                entries.append((k, self._column[key], walker.affine(coefficient, constraint)))
            if low is not None:
                row_lower.put(k, *_minus(walker.affine(low, constraint), inside))
            if high is not None:
                row_upper.put(k, *_minus(walker.affine(high, constraint), inside))
        matrix, coefficients = self._matrix(entries, (len(rows), len(columns)))
        return LinearForm(
            matrix=matrix,
            coefficients=coefficients,
            cost=cost.map(size),
            column_lower=lower.map(size),
            column_upper=upper.map(size),
            row_lower=row_lower.map(size),
            row_upper=row_upper.map(size),
            offset=offset.map(size),
        )

    def _matrix(
        self, entries: list[tuple[int, int, Affine]], shape: tuple[int, int]
    ) -> tuple[sp.csc_matrix, AffineMap]:
        # By column, then by row: the order of a matrix stored by columns.
        entries.sort(key=lambda entry: (entry[1], entry[0]))
        coefficients = _AffineRows(len(entries), 0.0)
        for k, (_, _, coefficient) in enumerate(entries):
            coefficients.put(k, *coefficient)
        values = coefficients.map(len(self.theta))
        place = ([row for row, _, _ in entries], [column for _, column, _ in entries])
        return sp.csc_matrix((values(self.theta), place), shape=shape), values

    def _walk_objective(
        self, model: pe.ConcreteModel, n_columns: int, walker: _Walker
    ) -> tuple[_AffineRows, _AffineRows]:
        objectives = list(model.component_data_objects(pe.Objective, active=True))
        if len(objectives) != 1:
            raise MarketError(
                f"a model needs exactly one objective, this one has {len(objectives)}"
            )
        objective = objectives[0]
        if objective.sense != pe.minimize:
            raise MarketError("the objective must be minimised; turn its sign")
        cost, offset = _AffineRows(n_columns, 0.0), _AffineRows(1, 0.0)
        form = walker.linear(objective.expr, objective)
        offset.put(0, *walker.affine(form.constant, objective))
        for key, coefficient in form.linear.items():
            cost.put(self._column[key], *walker.affine(coefficient, objective))
        return cost, offset

    def _load(self) -> None:
        """Give HiGHS the whole program at the costs and bounds in force; it forgets all else."""
        form = self.form
        program = highspy.HighsLp()
        program.num_row_, program.num_col_ = form.matrix.shape
        program.col_cost_ = self.cost
        program.col_lower_, program.col_upper_ = self.lower, self.upper
        program.row_lower_, program.row_upper_ = self._row_lower, self._row_upper
        program.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        program.a_matrix_.start_ = form.matrix.indptr
        program.a_matrix_.index_ = form.matrix.indices
        program.a_matrix_.value_ = form.matrix.data
        self._highs.passModel(program)
        self._sent = [target[places].copy() for _, places, target in self._targets]
        self._basis = None

    def _prepare_updates(self) -> None:
        """Stack the moving entries of all six maps into one matrix: one product per slot."""
        form, theta = self.form, self.theta
        self.cost = form.cost(theta)
        self.lower, self.upper = form.column_lower(theta), form.column_upper(theta)
        self._row_lower, self._row_upper = form.row_lower(theta), form.row_upper(theta)
        columns = np.union1d(form.column_lower.moving, form.column_upper.moving)
        rows = np.union1d(form.row_lower.moving, form.row_upper.moving)
        self._moving_costs = form.cost.moving.astype(np.int32)
        self._moving_columns, self._moving_rows = columns.astype(np.int32), rows.astype(np.int32)
        self._rows_matrix = form.matrix.tocsr()
        # By columns the transpose is the same array of values, so that it follows by itself.
        self._columns_matrix = form.matrix.T
        coefficients = form.coefficients.moving
        parts = (
            (form.cost, self._moving_costs, self.cost),
            (form.column_lower, self._moving_columns, self.lower),
            (form.column_upper, self._moving_columns, self.upper),
            (form.row_lower, self._moving_rows, self._row_lower),
            (form.row_upper, self._moving_rows, self._row_upper),
            (form.coefficients, coefficients.astype(np.int32), form.matrix.data),
        )
        self._stacked = sp.vstack([m.matrix[places] for m, places, _ in parts], format="csr")
        self._stacked_constant = np.concatenate([m.constant[places] for m, places, _ in parts])
        ends = np.cumsum([0, *(len(places) for _, places, _ in parts)])
        self._targets = [
            (slice(start, stop), places, target)
            for start, stop, (_, places, target) in zip(ends[:-1], ends[1:], parts, strict=True)
        ]
        self._coefficient_row = form.matrix.indices[coefficients]
        self._coefficient_column = form.column_of(coefficients)
        # Where the entries of the matrix by columns lie in that by rows: numbers take the way.
        numbers = form.matrix.copy()
        numbers.data = np.arange(form.matrix.nnz)
        self._coefficient_by_rows = np.argsort(numbers.tocsr().data)[coefficients]

    def parameter(self, name: str) -> Floats:
        """Return the writable part of theta of a mutable Param, in the Param's index order."""
        if self._copies is None:
            return self.theta[self._slices[name]]
        return self.theta.reshape(self._copies, -1)[:, self._slices[name]]

    def columns(self, variable: pe.Var) -> Indices:
        """Return the column numbers of an indexed or scalar variable, in its index order."""
        numbers = np.array([self._column[id(v)] for v in variable.values()], dtype=np.int64)
        return self._places[0, numbers] if self._copies is None else self._places[:, numbers]

    def rows(self, constraint: pe.Constraint) -> Indices:
        """Return the row numbers of a constraint, in its index order."""
        numbers = np.array([self._row[id(c)] for c in constraint.values()], dtype=np.int64)
        if self._copies is None:
            return numbers
        return numbers + len(self._row) * np.arange(self._copies)[:, None]

    def solve(self) -> Solution:
        """Solve at the current theta, warm from the last basis.

        Raises
        ------
        MarketError
            If the program is infeasible, unbounded or cannot be solved even from scratch.
        """
        solution = self.solve_if_feasible()
        if solution is None:
            raise MarketError("the program is infeasible: no point keeps all its constraints")
        return solution

    def solve_if_feasible(self) -> Solution | None:
        """Solve at the current theta as `solve` does, but return None if it is infeasible."""
        self.update()
        if self._recalled is not None:
            self._begin_anew(self._recalled)
        return self._solve_with_last_basis() or self._solve_with_highs()

    def memory(self) -> NDArray[np.int8]:
        """Return what a later solve depends on: HiGHS's status of all columns, then of all rows.

        Empty where HiGHS has no basis.
        """
        if self._recalled is not None:
            return self._recalled
        basis = self._highs.getBasis()
        if not basis.valid:
            return np.empty(0, np.int8)
        return np.array([int(s) for s in (*basis.col_status, *basis.row_status)], np.int8)

    def recall(self, memory: NDArray[np.int8]) -> None:
        """Begin the next solve from `memory` and from nothing else.

        What HiGHS keeps from solve to solve (factors, weights, scaling) decides the last bits of
        its answers and cannot be saved. A run that does this now and then can be continued from
        there by another process with the same bits.
        """
        self._recalled = memory

    def basis_of(self, columns: Indices) -> NDArray[np.int8]:
        """Return the memory of a basis made of some columns, as many as there are rows.

        Where a row each gives the value of one column once all others are known, these columns
        are a basis, and a better one to begin with than none. At which bound the others lie HiGHS
        sees by their reduced costs.
        """
        status = np.full(sum(self.form.matrix.shape), int(highspy.HighsBasisStatus.kNonbasic))
        status[columns] = int(highspy.HighsBasisStatus.kBasic)
        return status.astype(np.int8)

    def start_like(self, columns: Indices, rows: Indices) -> None:
        """Begin the next solve with every column and row in the state of another one.

        Where time moves on, what was the next hour is now the present one, and the last optimum
        says more about it when it moves on as well. Answers do not depend on it, only the time
        they take (and, among equal optima, which one is found).

        Parameters
        ----------
        columns, rows : for each column and each row, the one whose state it takes.
        """
        if self._recalled is not None:
            of_columns, of_rows = np.split(self._recalled, [min(len(columns), self._recalled.size)])
            if self._recalled.size:
                self._recalled = np.concatenate([of_columns[columns], of_rows[rows]])
            return
        if not self._highs.getBasis().valid:
            return
        _, basic = self._highs.getBasicVariables()
        n_columns = len(columns)
        is_basic = np.zeros(n_columns + len(rows), np.int8)
        is_basic[np.where(basic < 0, n_columns - 1 - basic, basic)] = 1
        # At which bound the others lie HiGHS sees by their reduced costs.
        basis = highspy.HighsBasis()
        basis.col_status = BASIC_OR_NOT[is_basic[:n_columns][columns]].tolist()
        basis.row_status = BASIC_OR_NOT[is_basic[n_columns:][rows]].tolist()
        basis.valid = True
        self._start_from(basis)

    def _start_from(self, basis: Any) -> None:
        # "Alien" has HiGHS repair a basis that does not determine a point.
        basis.alien = True
        self._highs.setBasis(basis)
        self._basis = None

    def _begin_anew(self, memory: NDArray[np.int8]) -> None:
        self._recalled = None
        self._load()
        if memory.size:
            rows, columns = self.form.matrix.shape
            status = [BASIS_STATUS[code] for code in memory.tolist()]
            basis = highspy.HighsBasis()
            basis.col_status, basis.row_status = status[:columns], status[columns:]
            basis.valid = len(status) == rows + columns
            self._start_from(basis)

    def update(self) -> None:
        """Evaluate the costs, bounds and coefficients that follow from theta."""
        if np.isnan(self.theta).any():
            self._refuse_parameters()
        moved = self._stacked @ self.theta
        moved += self._stacked_constant
        for part, places, target in self._targets:
            target[places] = moved[part]
        if len(self._coefficient_row):
            self._follow_coefficients(moved[self._targets[-1][0]])

    def _follow_coefficients(self, coefficients: Floats) -> None:
        if not np.isfinite(coefficients).all():
            raise MarketError("a coefficient of a constraint is infinite; only bounds may be")
        self._rows_matrix.data[self._coefficient_by_rows] = coefficients
        if (coefficients != self._sent[-1]).any():
            # HiGHS holds factors of the last basis that belong to other coefficients.
            self._basis = None

    def _refuse_parameters(self) -> None:
        wrong = [name for name in self._slices if np.isnan(self.parameter(name)).any()]
        raise MarketError(f"the parameters {', '.join(wrong)} hold values that are not numbers")

    def _objective(self, values: Floats) -> float:
        return float(self.cost @ values + self.form.offset(self.theta)[0])

    def _solve_with_last_basis(self) -> Solution | None:
        """Return the optimum if the last optimal basis still is one, else None.

        From slot to slot the optimal basis mostly stays. Then the solution follows from one
        triangular solve with the factors that HiGHS holds: nonbasic columns lie at the bound
        that their reduced cost points to, basic ones follow, and if they keep their bounds this
        is the optimum. Nothing has to be handed over and no pivot is made.
        """
        basis = self._basis
        if basis is None:
            return None
        basic_cost = self.cost[basis.columns]
        if (basic_cost != basis.cost).any():
            basis = self._priced(basis.columns)
        reduced = self.cost - self._columns_matrix @ basis.duals
        values = np.where(reduced < -REDUCED_COST_TOLERANCE, self.upper, self.lower)
        values[basis.columns] = 0.0
        rows = np.where(basis.duals < -REDUCED_COST_TOLERANCE, self._row_upper, self._row_lower)
        right = rows - self._rows_matrix @ values
        # Where the bound that a reduced cost or dual points to is infinite, HiGHS has to pivot.
        moving = self._moving_columns
        if not (np.isfinite(values).all() and np.isfinite(right).all()):
            return None
        if (self.lower[moving] > self.upper[moving]).any():
            return None
        _, basic = self._highs.getBasisSolve(right)
        low, high = self.lower[basis.columns], self.upper[basis.columns]
        if not ((basic >= low - PRIMAL_TOLERANCE) & (basic <= high + PRIMAL_TOLERANCE)).all():
            return None
        values[basis.columns] = basic
        self.reused += 1
        return Solution(values, basis.duals, self._objective(values), False)

    def _priced(self, columns: Indices) -> Basis:
        cost = self.cost[columns]
        _, duals = self._highs.getBasisTransposeSolve(cost)
        self._basis = Basis(columns, cost, np.array(duals))
        return self._basis

    def _solve_with_highs(self) -> Solution | None:
        """Run HiGHS from its last basis; repeat from scratch if that fails."""
        self._hand_over()
        highs, cold = self._highs, False
        highs.run()
        status = highs.getModelStatus()
        if status not in (OPTIMAL, INFEASIBLE):
            cold = True
            self.cold_starts += 1
            status = self._status_from_scratch()
        self._basis = None
        if status == INFEASIBLE:
            return None
        if status != OPTIMAL:
            raise MarketError(
                f"HiGHS ended with status {highs.modelStatusToString(status)!r}; "
                "the program has no optimum that could be found"
            )
        solution = highs.getSolution()
        duals = np.array(solution.row_dual)
        _, columns = highs.getBasicVariables()
        # A row among the basic variables is an inequality that does not bind: then HiGHS decides.
        if (columns >= 0).all():
            self._basis = Basis(columns.astype(np.int64), self.cost[columns], duals)
        values = np.array(solution.col_value)
        return Solution(values, duals, self._objective(values), cold)

    def _status_from_scratch(self) -> Any:
        """Solve without a basis; where that ends undecided, with HiGHS's own options."""
        highs = self._highs
        for options in ({}, FALL_BACK_OPTIONS):
            for option, value in options.items():
                highs.setOptionValue(option, value)
            highs.clearSolver()
            highs.run()
            for option in options:
                highs.setOptionValue(option, self._options[option])
            status = highs.getModelStatus()
            if status in (OPTIMAL, INFEASIBLE):
                break
        return status

    def _hand_over(self) -> None:
        """Give HiGHS the costs, bounds and coefficients that changed since it ran last."""
        now = [target[places] for _, places, target in self._targets]
        changed = [a != b for a, b in zip(now, self._sent, strict=True)]
        self._sent = now
        cost, lower, upper, row_lower, row_upper, coefficients = now
        new = np.flatnonzero(changed[0])
        if len(new):
            self._highs.changeColsCost(len(new), self._moving_costs[new], cost[new])
        new = np.flatnonzero(changed[1] | changed[2])
        if len(new):
            columns = self._moving_columns[new]
            self._highs.changeColsBounds(len(new), columns, lower[new], upper[new])
        new = np.flatnonzero(changed[3] | changed[4])
        if len(new):
            rows = self._moving_rows[new]
            self._highs.changeRowsBounds(len(new), rows, row_lower[new], row_upper[new])
        new = np.flatnonzero(changed[5])
        if len(new):
            places = (self._coefficient_row[new], self._coefficient_column[new], coefficients[new])
            change = self._highs.changeCoeff
            for row, column, value in zip(*(place.tolist() for place in places), strict=True):
                change(row, column, value)
