"""The compiled program against Pyomo's own HiGHS interface."""

from __future__ import annotations

from typing import Any

import highspy
import numpy as np
import pandapower.networks
import pyomo.environ as pe
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from pyomo.contrib.solver.solvers.highs import Highs
from tests.strategies import (
    FEE_OF_LEVEL,
    GridModel,
    MarketCase,
    ProgramPlan,
    Slot,
    build_program,
    clear,
    grid_model,
    joint_problem,
    order_columns,
    program_plans,
    unloaded_limits,
)

from tricell.errors import MarketError
from tricell.grid_models.simbench_grid import SimbenchGrid, load_simbench_grid
from tricell.markets.compiled_program import CompiledProgram, Solution
from tricell.markets.fair_ties import FairTies, TieColumns
from tricell.markets.joint_market import JointMarket
from tricell.markets.joint_model import build_joint_model
from tricell.markets.orders import OrderBook

Floats = NDArray[np.float64]

# HiGHS works with feasibility tolerances of 1e-7; objectives of some 1e2 agree to that share.
RELATIVE = 1e-7
FEASIBILITY = 1e-6


def solved_by_pyomo(model: pe.ConcreteModel) -> tuple[float, Floats]:
    """Objective and row duals as Pyomo's interface reports them."""
    solver = Highs()
    results = solver.solve(model, raise_exception_on_nonoptimal_result=True)
    duals = results.solution_loader.get_duals()
    rows = list(model.component_data_objects(pe.Constraint, active=True))
    return float(results.incumbent_objective), np.array([duals.get(row, 0.0) for row in rows])


def hand_over(program: CompiledProgram, model: pe.ConcreteModel) -> None:
    """Give a Pyomo model the parameter values that a compiled program holds."""
    for parameter in model.component_objects(pe.Param):
        if parameter.mutable:
            values = program.parameter(parameter.name)
            for index, value in zip(parameter.index_set(), values, strict=True):
                parameter[index] = float(value)


def assert_feasible(program: CompiledProgram, solution: Solution) -> None:
    form, theta, x = program.form, program.theta, solution.values
    activity = form.matrix @ x
    assert (x >= form.column_lower(theta) - FEASIBILITY).all()
    assert (x <= form.column_upper(theta) + FEASIBILITY).all()
    assert (activity >= form.row_lower(theta) - FEASIBILITY).all()
    assert (activity <= form.row_upper(theta) + FEASIBILITY).all()


def dual_objective(program: CompiledProgram, solution: Solution) -> float:
    """Value of the dual program, minus infinity where a dual has the wrong sign."""

    def value(multiplier: Floats, low: Floats, high: Floats) -> float:
        bound = np.where(multiplier > 0.0, low, high)
        bound = np.where(np.abs(multiplier) > 1e-9, bound, 0.0)
        return float(multiplier @ bound)

    form, theta = program.form, program.theta
    reduced = form.cost(theta) - form.matrix.T @ solution.row_duals
    of_rows = value(solution.row_duals, form.row_lower(theta), form.row_upper(theta))
    return of_rows + value(reduced, form.column_lower(theta), form.column_upper(theta))


def assert_optimal(program: CompiledProgram, solution: Solution, objective: float) -> None:
    assert_feasible(program, solution)
    assert solution.objective == pytest.approx(objective, rel=RELATIVE, abs=1e-7)
    assert dual_objective(program, solution) == pytest.approx(objective, rel=RELATIVE, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(program_plans())
def test_random_programs_are_solved_warm_as_pyomo_solves_them_anew(plan: ProgramPlan) -> None:
    program = CompiledProgram(build_program(plan))
    for values in plan.values:
        program.parameter("p")[:] = values
        solution = program.solve()
        model = build_program(plan)
        hand_over(program, model)
        assert_optimal(program, solution, solved_by_pyomo(model)[0])


def test_the_duals_of_a_program_with_one_dual_solution_are_those_of_pyomo() -> None:
    model = pe.ConcreteModel()
    model.demand = pe.Param(mutable=True, initialize=7.0)
    model.x = pe.Var(range(3), bounds=(0.0, 4.0))
    model.balance = pe.Constraint(expr=sum(model.x.values()) == model.demand)
    model.reserve = pe.Constraint(expr=model.x[1] + model.x[2] >= 0.5 * model.demand + 1.0)
    model.cost = pe.Objective(expr=model.x[0] + 2.0 * model.x[1] + 5.0 * model.x[2])
    program = CompiledProgram(model)
    for demand in (7.0, 9.0, 3.0):
        program.parameter("demand")[:] = demand
        solution = program.solve()
        hand_over(program, model)
        objective, duals = solved_by_pyomo(model)
        assert_optimal(program, solution, objective)
        np.testing.assert_allclose(solution.row_duals, duals, rtol=0, atol=1e-9)
        assert program.rows(model.reserve).tolist() == [1]


# --- coefficients that depend on parameters ---


def a_heated_house(steps: int = 6) -> Any:
    """Heat at least cost with a coefficient of performance and losses that may change."""
    model = pe.ConcreteModel()
    model.price = pe.Param(range(steps), mutable=True, initialize=0.3)
    model.cop = pe.Param(range(steps), mutable=True, initialize=3.0)
    model.lost = pe.Param(mutable=True, initialize=0.1)
    model.need = pe.Param(range(steps), mutable=True, initialize=4.0)
    model.power = pe.Var(range(steps), bounds=(0.0, 3.0))
    model.stored = pe.Var(range(steps), bounds=(0.0, 8.0))
    model.missed = pe.Var(range(steps), bounds=(0.0, None))

    def balance(m: Any, t: int) -> Any:
        before = (1.0 - m.lost) * m.stored[t - 1] if t else 2.0
        return m.stored[t] == before + m.cop[t] * m.power[t] - m.need[t] + m.missed[t]

    model.balance = pe.Constraint(range(steps), rule=balance)
    model.cost = pe.Objective(
        expr=sum(m_price * p for m_price, p in zip(model.price[:], model.power[:], strict=True))
        + sum(5.0 * missed for missed in model.missed[:])
    )
    return model


def test_a_solve_that_begins_from_the_basis_of_its_optimum_makes_no_pivot() -> None:
    model = a_heated_house()
    program, another = CompiledProgram(model), CompiledProgram(model)
    optimum = program.solve()
    free = (optimum.values > program.lower + 1e-9) & (optimum.values < program.upper - 1e-9)
    others = program.form.matrix.shape[0] - int(free.sum())
    assert others == 0, "each balance leaves one column between its bounds"
    another.recall(another.basis_of(np.flatnonzero(free)))
    assert another.solve().objective == pytest.approx(optimum.objective, rel=RELATIVE)
    assert another._highs.getInfo().simplex_iteration_count == 0


def heat_of_a_day(slots: int) -> list[dict[str, Floats]]:
    """Parameters of a horizon that rolls; a coefficient of 0 is a heat pump that may not run."""
    random = np.random.default_rng(11)
    price, cop = random.uniform(0.1, 0.5, slots + 6), random.uniform(2.0, 5.0, slots + 6)
    cop[random.random(slots + 6) < 0.1] = 0.0
    need = random.uniform(0.0, 8.0, slots + 6)
    columns = {"price": price, "cop": cop, "need": need}
    return [
        {name: values[k : k + 6] for name, values in columns.items()}
        | {"lost": np.array([0.1 if k % 3 else 0.15])}
        for k in range(slots)
    ]


def set_all(program: CompiledProgram, values: dict[str, Floats]) -> None:
    for name, value in values.items():
        program.parameter(name)[:] = value


def test_coefficients_that_change_are_solved_warm_as_pyomo_solves_them_anew() -> None:
    model = a_heated_house()
    program = CompiledProgram(model)
    for values in heat_of_a_day(40):
        set_all(program, values)
        hand_over(program, model)
        assert_optimal(program, program.solve(), solved_by_pyomo(model)[0])


def test_the_last_basis_is_used_again_only_while_no_coefficient_has_changed() -> None:
    model = a_heated_house()
    program = CompiledProgram(model)
    program.solve()
    program.parameter("need")[:] = 3.9
    program.solve()
    assert program.reused == 1
    program.parameter("cop")[:] = 3.1
    hand_over(program, model)
    assert_optimal(program, program.solve(), solved_by_pyomo(model)[0])
    assert program.reused == 1
    program.parameter("need")[:] = 4.1
    hand_over(program, model)
    assert_optimal(program, program.solve(), solved_by_pyomo(model)[0])
    assert program.reused == 2


def test_a_program_with_coefficients_that_change_goes_on_from_its_memory_bit_by_bit() -> None:
    day = heat_of_a_day(30)
    first, second = CompiledProgram(a_heated_house()), CompiledProgram(a_heated_house())
    for values in day[:15]:
        set_all(first, values)
        first.solve()
    first.recall(first.memory())
    second.recall(first.memory())
    for values in day[15:]:
        answers = []
        for program in (first, second):
            set_all(program, values)
            answers.append(program.solve())
        np.testing.assert_array_equal(answers[0].values, answers[1].values)
        np.testing.assert_array_equal(answers[0].row_duals, answers[1].row_duals)
        assert answers[0].objective == answers[1].objective


# --- copies, and starts that move with time ---


def test_copies_of_a_model_are_solved_at_once_each_with_its_own_parameters() -> None:
    model, days = a_heated_house(), heat_of_a_day(3)
    program = CompiledProgram(model, copies=3)
    power, balance = program.columns(model.power), program.rows(model.balance)
    assert power.shape == balance.shape == (3, 6)
    for turn in range(3):
        days = days[1:] + days[:1]
        for copy, values in enumerate(days):
            for name, value in values.items():
                program.parameter(name)[copy] = value
        solution = program.solve()
        total = 0.0
        for copy, values in enumerate(days):
            single = CompiledProgram(model)
            set_all(single, values)
            alone = single.solve()
            total += alone.objective
            if turn == 0:
                # Both start from nothing; warm, another of several optima may be found.
                np.testing.assert_allclose(
                    solution.row_duals[balance[copy]], alone.row_duals, rtol=0, atol=1e-9
                )
        assert solution.objective == pytest.approx(total, rel=RELATIVE)


def an_hour_of_a_heated_house() -> Any:
    """An hour of `a_heated_house`, that begins with the heat of the hour before."""
    model = pe.ConcreteModel()
    model.price = pe.Param(mutable=True, initialize=0.3)
    model.cop = pe.Param(mutable=True, initialize=3.0)
    model.lost = pe.Param(mutable=True, initialize=0.1)
    model.need = pe.Param(mutable=True, initialize=4.0)
    model.power = pe.Var(bounds=(0.0, 3.0))
    model.before = pe.Var(bounds=(2.0, 2.0))
    model.stored = pe.Var(bounds=(0.0, 8.0))
    model.missed = pe.Var(bounds=(0.0, None))
    kept = (1.0 - model.lost) * model.before
    added = model.cop * model.power - model.need + model.missed
    model.balance = pe.Constraint(expr=model.stored == kept + added)
    model.cost = pe.Objective(expr=model.price * model.power + 5.0 * model.missed + model.before)
    return model


def test_chained_copies_begin_with_what_the_copy_before_ends_with() -> None:
    hour, whole = an_hour_of_a_heated_house(), a_heated_house()
    chain = CompiledProgram(hour, copies=6, chained=(hour.before, hour.stored))
    program = CompiledProgram(whole)
    assert chain.columns(hour.before)[1:].tolist() == chain.columns(hour.stored)[:-1].tolist()
    assert len(np.unique([chain.columns(v) for v in hour.component_objects(pe.Var)])) == 6 * 3 + 1
    for values in heat_of_a_day(10):
        set_all(program, values)
        for name, value in values.items():
            chain.parameter(name)[:] = np.reshape(value, (-1, 1))
        # Of the 2 kWh that `a_heated_house` begins with nothing is lost.
        chain.parameter("lost")[0] = 0.0
        found, expected = chain.solve(), program.solve()
        # Only what the first hour begins with costs 1 EUR per kWh.
        assert found.objective - 2.0 == pytest.approx(expected.objective, rel=RELATIVE, abs=1e-9)
        np.testing.assert_allclose(
            chain.form.matrix @ found.values, chain.form.row_lower(chain.theta), atol=FEASIBILITY
        )


def test_a_missing_number_in_one_copy_is_refused_by_name() -> None:
    program = CompiledProgram(a_heated_house(), copies=2)
    program.parameter("need")[1, 3] = np.nan
    with pytest.raises(MarketError, match="need"):
        program.solve()


@pytest.mark.parametrize("remembered", [False, True], ids=["running on", "from a memory"])
def test_a_start_that_moves_with_the_horizon_finds_the_same_optimum(remembered: bool) -> None:
    model = a_heated_house()
    program = CompiledProgram(model)

    def later(numbers: Any) -> Any:
        return np.append(numbers[1:], numbers[-1])

    columns, rows = np.arange(18), np.arange(6)
    for variable in (model.power, model.stored, model.missed):
        columns[program.columns(variable)] = later(program.columns(variable))
    rows[program.rows(model.balance)] = later(program.rows(model.balance))
    program.start_like(columns, rows)
    for values in heat_of_a_day(20):
        set_all(program, values)
        hand_over(program, model)
        assert_optimal(program, program.solve(), solved_by_pyomo(model)[0])
        if remembered:
            program.recall(program.memory())
        program.start_like(columns, rows)


# --- the joint market's model on real grids, warm over many slots ---


def cigre_low_voltage() -> GridModel:
    return grid_model(pandapower.networks.create_cigre_network_lv())


def simbench_village() -> GridModel:
    source = SimbenchGrid.model_validate({"kind": "simbench", "code": "1-LV-rural1--2-sw"})
    return grid_model(load_simbench_grid(source))


def random_market(model: GridModel, n_slot: int, loading_limit: float) -> MarketCase:
    """One buyer and one seller at every node, with prices that never tie."""
    random = np.random.default_rng(7)
    places = np.flatnonzero(~model.linear.is_slack)
    nodes = [*places, *places]
    sides = [1.0] * len(places) + [-1.0] * len(places)
    fee = np.array([FEE_OF_LEVEL[int(level)] for level in model.tree.level])
    slots = []
    for _ in range(n_slot):
        firm = np.zeros(model.linear.n_node)
        firm[places] = random.uniform(-2.0, 6.0, len(places))
        book = OrderBook(random.uniform(0.0, 0.4, len(nodes)), random.uniform(0.0, 8.0, len(nodes)))
        slots.append(Slot(book, firm, retail=0.32, feed_in=0.08))
    return MarketCase(
        model,
        joint_problem(model, order_columns(nodes, sides)),
        unloaded_limits(model, loading_limit),
        fee,
        tuple(slots),
    )


@pytest.mark.parametrize("network", [cigre_low_voltage, simbench_village])
@pytest.mark.parametrize("loading_limit", [1.0, 0.25])
def test_the_joint_market_solved_warm_equals_the_joint_model_rebuilt_in_every_slot(
    network: Any, loading_limit: float
) -> None:
    case = random_market(network(), 12, loading_limit)
    market = JointMarket(case.problem)
    for slot in case.slots:
        before = market.elastic_slots
        clearing = clear(market, case, slot)
        elastic = market.elastic_slots > before
        program = (market.elastic if elastic else market.hard).program
        model = build_joint_model(case.problem, elastic=elastic)
        hand_over(program, model)
        objective, duals = solved_by_pyomo(model)
        assert clearing.cost_eur_per_h == pytest.approx(objective, rel=RELATIVE, abs=1e-6)
        balance_rows = [
            row
            for row, constraint in enumerate(model.component_data_objects(pe.Constraint))
            if constraint.parent_component() is model.area_balance
        ]
        # Prices are drawn from a continuum, so that the optimum and its duals are unique.
        np.testing.assert_allclose(clearing.area_price, -duals[balance_rows], rtol=0, atol=1e-6)


# --- what is refused, and what happens when a warm start fails ---


def a_model() -> Any:
    model = pe.ConcreteModel()
    model.p = pe.Param(mutable=True, initialize=2.0)
    model.q = pe.Param(range(2), mutable=True, initialize=3.0)
    model.x = pe.Var(range(2), bounds=(0.0, 10.0))
    model.cost = pe.Objective(expr=model.x[0] + 2.0 * model.x[1])
    return model


@pytest.mark.parametrize(
    "coefficient",
    [lambda m: m.p * m.q[0], lambda m: m.p**2, lambda m: 1.0 / m.p],
    ids=["product of parameters", "square", "quotient"],
)
def test_a_coefficient_that_is_not_affine_in_the_parameters_is_refused_by_name(
    coefficient: Any,
) -> None:
    model = a_model()
    model.limit_of_feeder = pe.Constraint(expr=coefficient(model) * model.x[0] >= 1.0)
    with pytest.raises(MarketError, match="limit_of_feeder"):
        CompiledProgram(model)


def test_an_infinite_coefficient_is_refused_because_highs_would_keep_the_old_one() -> None:
    program = CompiledProgram(a_heated_house())
    program.parameter("cop")[1] = np.inf
    with pytest.raises(MarketError, match="infinite"):
        program.solve()


def test_ties_are_not_settled_where_coefficients_of_orders_move() -> None:
    model = a_heated_house()
    program = CompiledProgram(model)
    none, power = np.empty(0, np.int64), program.columns(model.power)
    stored = program.columns(model.stored)[:-1]
    assert set(program.form.moving_columns) == {*power, *stored}
    columns = TieColumns(
        orders=power,
        order_side=np.ones(len(power)),
        order_area=np.zeros(len(power), np.int64),
        area_parent=np.array([-1]),
        imports=none,
        exports=none,
        states=none,
        definitions=none,
    )
    with pytest.raises(MarketError, match="ties are settled fairly"):
        FairTies(program, columns)


def test_products_of_variables_are_refused_by_name() -> None:
    model = a_model()
    model.limit_of_feeder = pe.Constraint(expr=model.x[0] * model.x[1] >= 1.0)
    with pytest.raises(MarketError, match="constraint limit_of_feeder is not linear"):
        CompiledProgram(model)
    model = a_model()
    model.cost.set_value(model.x[0] ** 2)
    with pytest.raises(MarketError, match="the objective is not linear"):
        CompiledProgram(model)


@pytest.mark.parametrize(
    "right_hand_side",
    [lambda m: m.p * m.q[0], lambda m: 1.0 / m.p],
    ids=["product of parameters", "quotient"],
)
def test_right_hand_sides_that_are_not_affine_in_the_parameters_are_refused_by_name(
    right_hand_side: Any,
) -> None:
    model = a_model()
    model.limit_of_feeder = pe.Constraint(expr=model.x[0] >= right_hand_side(model))
    with pytest.raises(MarketError, match="limit_of_feeder"):
        CompiledProgram(model)


def test_integer_and_fixed_variables_are_refused_by_name() -> None:
    model = a_model()
    model.on = pe.Var(domain=pe.Binary)
    model.least = pe.Constraint(expr=model.on + model.x[0] >= 0.5)
    with pytest.raises(MarketError, match="variable on"):
        CompiledProgram(model)
    model = a_model()
    model.x[1].fix(3.0)
    with pytest.raises(MarketError, match=r"variable x\[1\]"):
        CompiledProgram(model)


def test_a_moving_bound_beside_the_bound_of_a_domain_is_refused_by_name() -> None:
    model = a_model()
    model.y = pe.Var(domain=pe.NonNegativeReals, bounds=(model.p - 5.0, None))
    with pytest.raises(MarketError, match="variable y"):
        CompiledProgram(model)


def test_a_constant_in_the_objective_is_part_of_its_value() -> None:
    model = a_model()
    model.cost.set_value(model.x[0] + 5.0 * model.p + 7.0)
    model.least = pe.Constraint(expr=model.x[0] >= 1.0)
    program = CompiledProgram(model)
    assert program.solve().objective == pytest.approx(18.0)
    program.parameter("p")[:] = 3.0
    assert program.solve().objective == pytest.approx(23.0)


def test_a_maximisation_is_refused_because_its_duals_would_have_the_other_sign() -> None:
    model = a_model()
    model.cost.set_sense(pe.maximize)
    with pytest.raises(MarketError, match="minimised"):
        CompiledProgram(model)


def test_a_model_needs_exactly_one_objective() -> None:
    model = a_model()
    model.other = pe.Objective(expr=model.x[1])
    with pytest.raises(MarketError, match="objective"):
        CompiledProgram(model)
    model.del_component(model.other)
    model.del_component(model.cost)
    with pytest.raises(MarketError, match="objective"):
        CompiledProgram(model)


def test_parameters_that_are_not_numbers_are_refused_and_not_ignored() -> None:
    model = a_model()
    model.least = pe.Constraint(expr=model.x[0] + model.x[1] >= model.p)
    program = CompiledProgram(model)
    program.parameter("p")[:] = np.nan
    with pytest.raises(MarketError, match="p"):
        program.solve()


def test_an_infeasible_slot_is_told_and_the_next_one_is_solved() -> None:
    model = a_model()
    model.least = pe.Constraint(expr=model.x[0] + model.x[1] >= model.p)
    program = CompiledProgram(model)
    program.parameter("p")[:] = 21.0
    assert program.solve_if_feasible() is None
    with pytest.raises(MarketError, match="infeasible"):
        program.solve()
    program.parameter("p")[:] = 12.0
    assert program.solve().objective == pytest.approx(14.0)


def test_bounds_that_cross_make_a_slot_infeasible_though_the_last_basis_would_do() -> None:
    model = a_model()
    model.low = pe.Param(mutable=True, initialize=1.0)
    model.between = pe.Var(bounds=(model.low, 3.0))
    model.cost.set_value(model.x[0] + model.between)
    model.total = pe.Constraint(expr=model.x[0] + model.between == model.p + 2.0)
    program = CompiledProgram(model)
    assert program.solve().objective == pytest.approx(4.0)
    program.parameter("low")[:] = 3.5
    assert program.solve_if_feasible() is None
    program.parameter("low")[:] = 2.5
    assert program.solve().values[program.columns(model.between)] >= 2.5 - FEASIBILITY


def test_a_basis_is_not_reused_where_it_would_ask_for_an_infinite_quantity() -> None:
    """The retailer sells without limit: once its price is the better one, it has to enter.

    HiGHS solves a basis with an infinite right-hand side without a word: 36 of these 400 slots
    were cleared wrongly, at prices above the retailer's.
    """
    case = random_market(cigre_low_voltage(), 400, 1.0)
    market = JointMarket(case.problem)
    for slot in case.slots:
        clearing = clear(market, case, slot)
        assert np.isfinite(clearing.cost_eur_per_h)
        assert market.elastic_slots == 0
        assert clearing.area_price.max() <= slot.retail + 1e-9
        assert clearing.area_price.min() >= slot.feed_in - 1e-9


def test_an_unbounded_program_is_told() -> None:
    model = a_model()
    model.free = pe.Var()
    model.cost.set_value(model.free)
    with pytest.raises(MarketError, match="Unbounded"):
        CompiledProgram(model).solve()


def test_a_failed_warm_start_is_repeated_from_scratch_and_counted() -> None:
    model = a_model()
    model.least = pe.Constraint(expr=model.x[0] + model.x[1] >= model.p)
    program = CompiledProgram(model)
    highs = program._highs

    class StallsOnce:
        """HiGHS that comes back without a result the first time."""

        def __init__(self) -> None:
            self.cleared = 0

        def getModelStatus(self) -> Any:  # noqa: N802 (HiGHS's own name)
            unknown = highspy.HighsModelStatus.kUnknown
            return highs.getModelStatus() if self.cleared else unknown

        def clearSolver(self) -> None:  # noqa: N802 (HiGHS's own name)
            self.cleared += 1
            highs.clearSolver()

        def __getattr__(self, name: str) -> Any:
            return getattr(highs, name)

    program._highs = StallsOnce()
    solution = program.solve()
    assert solution.cold
    assert solution.objective == pytest.approx(2.0)
    assert program.cold_starts == 1
    assert not program.solve().cold
