"""One manager for all tanks of a community: schedules by hand, limits, what every plan keeps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyomo.environ as pe
import pytest
from numpy.typing import NDArray
from pyomo.contrib.solver.solvers.highs import Highs
from tests.strategies import GridModel, joint_problem, order_columns, planned_model, unloaded_limits

from tricell.errors import MarketError
from tricell.markets.flexibility.community_model import CommunityMembers, build_community_model
from tricell.markets.flexibility.community_plan import CommunityPlanner, CommunityPrices
from tricell.markets.flexibility.tanks import Plan, PlanSteps, TankOutlook
from tricell.markets.joint_market import GridLimits
from tricell.markets.linear_flow import LinearFlow

Floats = NDArray[np.float64]

RETAIL, FEED_IN = 0.32, 0.08
MICROGRID_FEE, CELL_FEE = 0.01, 0.03
KW = 1e-6
EUR = 1e-6


def hours(count: int) -> PlanSteps:
    return PlanSteps(np.ones(count, np.int64), 1.0)


def tanks(steps: PlanSteps, count: int, **given: Any) -> TankOutlook:
    """Lossless empty tanks of 3 kWh and 3 kW whose content is worth 0.20 EUR/kWh in the end."""

    def grid(value: Any) -> Floats:
        return np.array(np.broadcast_to(value, (len(steps), count)), dtype=np.float64)

    def row(value: Any) -> Floats:
        return np.array(np.broadcast_to(value, count), dtype=np.float64)

    return TankOutlook(
        start_kwh=row(given.get("start_kwh", 0.0)),
        kept=grid(given.get("kept", 1.0)),
        into_kwh_per_kw=grid(given.get("into", 1.0) * steps.hours[:, None]),
        out_kwh_per_kw=grid(steps.hours[:, None] / given.get("out", 1.0)),
        inflow_kwh=grid(given.get("inflow_kwh", 0.0)),
        lowest_kwh=grid(given.get("lowest_kwh", 0.0)),
        highest_kwh=grid(given.get("highest_kwh", 3.0)),
        charge_kw=grid(given.get("charge_kw", 3.0)),
        discharge_kw=grid(given.get("discharge_kw", 3.0)),
        shortfall_eur_per_kwh=row(given.get("shortfall", 2.0)),
        worth_at_end_eur_per_kwh=row(given.get("worth", 0.2)),
        wear_eur_per_kwh=row(given.get("wear", 0.0)),
    )


def prices(model: GridModel, retail: Any, feed_in: Any, **given: Any) -> CommunityPrices:
    fee = np.array(
        [{1: MICROGRID_FEE, 2: CELL_FEE}.get(int(level), 0.06) for level in _level(model)]
    )
    return CommunityPrices(
        np.asarray(retail, dtype=np.float64),
        np.asarray(feed_in, dtype=np.float64),
        fee[None] * given.pop("fee_factor", 1.0),
        **given,
    )


def _level(model: GridModel) -> Any:
    return model.tree.level


def low_voltage_nodes(model: GridModel) -> list[NDArray[np.int64]]:
    """Nodes of each microgrid, from its transformer outwards."""
    leaves = np.flatnonzero(np.asarray(model.tree.level) == 1)
    return [np.flatnonzero(model.linear.node_area == area) for area in leaves]


def community(
    nodes: Any,
    tank_agent: Any,
    *,
    load_kw: Any = 10.0,
    generation_kw: Any = 20.0,
    tank_kw: Any = 3.0,
    gives_kw: Any = None,
    takes_part: Any = True,
) -> CommunityMembers:
    n_agent, n_tank = len(nodes), len(tank_agent)

    def column(value: Any, size: int) -> Floats:
        return np.array(np.broadcast_to(value, size), dtype=np.float64)

    return CommunityMembers(
        agent_node=np.asarray(nodes, dtype=np.int64),
        takes_part=np.array(np.broadcast_to(takes_part, n_agent), dtype=np.bool_),
        highest_load_kw=column(load_kw, n_agent),
        highest_generation_kw=column(generation_kw, n_agent),
        tank_agent=np.asarray(tank_agent, dtype=np.int64),
        tank_charge_kw=column(tank_kw, n_tank),
        tank_discharge_kw=column(tank_kw if gives_kw is None else gives_kw, n_tank),
    )


def planner(
    model: GridModel,
    members: CommunityMembers,
    steps: PlanSteps,
    limits: GridLimits | None = None,
    **band: float,
) -> CommunityPlanner:
    band = {"v_min_pu": 0.5, "v_max_pu": 1.5} | band
    problem = joint_problem(model, order_columns([], []), **band)
    return CommunityPlanner(problem, members, limits or unloaded_limits(model), steps)


def column_powers(*rows: list[float]) -> Floats:
    return np.array(rows, dtype=np.float64)


# --- where surplus goes ---


@pytest.mark.parametrize(
    ("surplus_kw", "filled_kwh"),
    [(2.0, [2.0, 0.0, 0.0]), (4.0, [3.0, 1.0, 0.0]), (7.0, [3.0, 3.0, 1.0]), (12.0, [3.0] * 3)],
)
def test_surplus_fills_the_home_then_the_community_then_the_cell(
    surplus_kw: float, filled_kwh: list[float]
) -> None:
    # A stored kWh is worth 0.20 anywhere: at home it costs 0.08 (feeding in), next door 0.01 more,
    # in the cell 0.03 more; nobody buys from the retailer for 0.32.
    model = planned_model("radial")
    first, _ = low_voltage_nodes(model)
    cell = int(np.flatnonzero(np.asarray(model.linear.node_area) == 0)[-1])
    members = community([first[1], first[2], cell], [0, 1, 2])
    plan = planner(model, members, hours(1)).plan(
        tanks(hours(1), 3),
        np.zeros((1, 3)),
        column_powers([surplus_kw, 0.0, 0.0]),
        prices(model, [RETAIL], [FEED_IN]),
    )
    np.testing.assert_allclose(plan.stored_kwh[0], filled_kwh, atol=KW)
    exported = surplus_kw - sum(filled_kwh)
    paid = MICROGRID_FEE * filled_kwh[1] + CELL_FEE * filled_kwh[2] - FEED_IN * exported
    assert plan.cost_eur == pytest.approx(paid - 0.2 * sum(filled_kwh), abs=EUR)


def test_stored_energy_is_worth_what_it_will_save_and_not_what_buying_it_costs() -> None:
    # The battery in the cell stays empty: a kWh there costs 0.19 next door, 0.03 on the way, and
    # brings 0.20. Any value from 0.20 to 0.22 is a dual; at 0.22 it would buy.
    model = planned_model("radial")
    first, _ = low_voltage_nodes(model)
    cell = int(np.flatnonzero(np.asarray(model.linear.node_area) == 0)[-1])
    members = community([first[1], first[2], cell], [0, 1, 2])
    plan = planner(model, members, hours(1)).plan(
        tanks(hours(1), 3),
        np.zeros((1, 3)),
        column_powers([4.0, 0.0, 0.0]),
        prices(model, [RETAIL], [FEED_IN]),
    )
    np.testing.assert_allclose(plan.value_eur_per_kwh[0], [0.20, 0.20, 0.20], atol=1e-7)


def test_energy_is_kept_for_the_dear_hours_and_serves_home_before_it_is_sold() -> None:
    model = planned_model("radial")
    first, _ = low_voltage_nodes(model)
    members = community([first[1], first[2]], [0])
    load = column_powers([0.0, 0.0], [2.0, 2.0], [1.0, 2.0])
    plan = planner(model, members, hours(3)).plan(
        tanks(hours(3), 1, start_kwh=3.0, worth=0.0),
        load,
        np.zeros((3, 2)),
        prices(model, [0.20, 0.20, 0.40], [0.05] * 3),
    )
    # The last hour saves 0.40 at home and 0.39 next door, so all 3 kWh wait for it.
    np.testing.assert_allclose(plan.discharge_kw[:, 0], [0.0, 0.0, 3.0], atol=KW)
    # All else is bought: 2 + 2 kWh at 0.20; next door pays the fee of the area for 2 kWh.
    assert plan.cost_eur == pytest.approx(4 * 0.20 + 2 * MICROGRID_FEE, abs=EUR)


def test_own_charges_on_what_passes_a_meter_keep_energy_at_home() -> None:
    model = planned_model("radial")
    first, _ = low_voltage_nodes(model)
    members = community([first[1], first[2]], [0, 1])
    charged = prices(
        model,
        [RETAIL],
        [FEED_IN],
        import_charge=np.array([[0.15]]),
        export_charge=np.array([[0.0]]),
    )
    plan = planner(model, members, hours(1)).plan(
        tanks(hours(1), 2), np.zeros((1, 2)), column_powers([5.0, 0.0]), charged
    )
    # Next door would pay 0.15 + 0.01 above the 0.08 of the retailer for what is worth 0.20.
    np.testing.assert_allclose(plan.stored_kwh[0], [3.0, 0.0], atol=KW)


def test_nobody_imports_only_to_be_paid_for_exports() -> None:
    # 0.20 for every exported kWh, and 0.01 for one from next door: with one meter it is not both.
    model = planned_model("radial")
    first, _ = low_voltage_nodes(model)
    plan = planner(model, community([first[1]], [0], load_kw=2.0), hours(1)).plan(
        tanks(hours(1), 1, start_kwh=1.0, worth=0.0),
        column_powers([2.0]),
        np.zeros((1, 1)),
        prices(model, [RETAIL], [FEED_IN], export_charge=np.array([[-0.2]])),
    )
    assert plan.discharge_kw[0, 0] == pytest.approx(1.0)
    assert plan.cost_eur == pytest.approx(RETAIL, abs=EUR)


# --- limits of the network ---


def night(model: GridModel, rating_kw: float) -> tuple[Plan, CommunityPlanner]:
    """Eight vehicles of 11 kW behind one transformer need 11 kWh each by the end of six hours."""
    first, _ = low_voltage_nodes(model)
    steps, count = hours(6), 8
    members = community(
        [first[1]] * count, range(count), load_kw=0.0, generation_kw=0.0, tank_kw=11.0, gives_kw=0.0
    )
    limits = unloaded_limits(model)
    entry = model.linear.entry_edge[model.linear.node_area[first[1]]]
    limits.flow_max_kw[entry] = rating_kw
    plans = planner(model, members, steps, limits)
    by_step = np.zeros((6, 1))
    by_step[-1] = 11.0
    vehicles = tanks(
        steps,
        count,
        lowest_kwh=by_step,
        highest_kwh=50.0,
        charge_kw=11.0,
        discharge_kw=0.0,
        worth=0.0,
    )
    retail = [0.30, 0.26, 0.22, 0.24, 0.28, 0.32]
    zero = np.zeros((6, count))
    return plans.plan(vehicles, zero, zero, prices(model, retail, [0.0] * 6)), plans


def test_without_a_limit_all_vehicles_charge_in_the_cheapest_hour() -> None:
    plan, plans = night(planned_model("radial"), 1000.0)
    np.testing.assert_allclose(plan.charge_kw.sum(axis=1), [0, 0, 88, 0, 0, 0], atol=KW)
    assert not len(plans.problem.watched.limited)


def test_a_transformer_spreads_charging_over_the_cheapest_hours_of_the_night() -> None:
    plan, _ = night(planned_model("radial"), 25.0)
    np.testing.assert_allclose(plan.charge_kw.sum(axis=1), [0, 25, 25, 25, 13, 0], atol=KW)
    np.testing.assert_allclose(plan.stored_kwh[-1], 11.0, atol=KW)
    # 0.28 is the price of the last hour in use: a kWh less in any hour is bought in that one. Once
    # a vehicle has what it needs, more is worth nothing.
    in_part = (plan.charge_kw > KW) & (plan.charge_kw < 11.0 - KW)
    assert in_part.any()
    np.testing.assert_allclose(plan.value_eur_per_kwh[in_part], 0.28, atol=1e-7)
    np.testing.assert_allclose(plan.value_eur_per_kwh[-1], 0.0, atol=1e-7)


def test_a_limit_that_cannot_be_kept_gives_way_at_its_price() -> None:
    # 88 kWh do not fit through 10 kW in six hours; a missing kWh costs 2, one beyond the rating 5.
    plan, _ = night(planned_model("radial"), 10.0)
    np.testing.assert_allclose(plan.charge_kw.sum(axis=1), 10.0, atol=KW)
    cheapest = 10 * (0.30 + 0.26 + 0.22 + 0.24 + 0.28 + 0.32)
    assert plan.cost_eur == pytest.approx(cheapest + 2.0 * 28, abs=1e-5)


def test_power_of_those_who_take_no_part_counts_for_limits_and_not_for_cost() -> None:
    model = planned_model("radial")
    first, _ = low_voltage_nodes(model)
    members = community(
        [first[1], first[2]], [0], load_kw=[0.0, 15.0], generation_kw=0.0, tank_kw=20.0,
        takes_part=[True, False],
    )  # fmt: skip
    limits = unloaded_limits(model)
    limits.flow_max_kw[model.linear.entry_edge[model.linear.node_area[first[1]]]] = 20.0
    plan = planner(model, members, hours(1), limits).plan(
        tanks(hours(1), 1, highest_kwh=50.0, charge_kw=20.0, worth=0.5),
        column_powers([0.0, 15.0]),
        np.zeros((1, 2)),
        prices(model, [RETAIL], [FEED_IN]),
    )
    assert plan.charge_kw[0, 0] == pytest.approx(5.0, abs=KW)
    assert plan.cost_eur == pytest.approx(5.0 * (RETAIL - 0.5), abs=EUR)


@pytest.mark.parametrize("v_max_pu", [1.5, 1.01])
def test_a_voltage_limit_binds_and_holds(v_max_pu: float) -> None:
    model = planned_model("radial")
    second = low_voltage_nodes(model)[1]
    steps, end = hours(2), int(second[-1])
    members = community([end], [0], load_kw=0.0, generation_kw=0.0, tank_kw=40.0)
    plans = planner(model, members, steps, v_max_pu=v_max_pu)
    zero = np.zeros((2, 1))
    plan = plans.plan(
        tanks(
            steps, 1, start_kwh=40.0, highest_kwh=40.0, charge_kw=40.0, discharge_kw=40.0, worth=0.0
        ),
        zero,
        zero,
        prices(model, [0.4, 0.5], [0.2, 0.3]),
    )
    flow = LinearFlow(model.linear, np.zeros(model.linear.n_node))
    net = np.zeros(model.linear.n_node)
    net[end] = -plan.discharge_kw[1, 0]
    voltage2 = flow.state(net, unloaded_limits(model).voltage_offset).voltage2[end]
    if v_max_pu == 1.5:
        assert plan.discharge_kw[1, 0] == pytest.approx(40.0)
        assert not len(plans.problem.watched.edges)
        assert voltage2 > 1.01**2
    else:
        assert voltage2 == pytest.approx(1.01**2, abs=1e-7)
        assert plan.discharge_kw[0, 0] > 1.0


# --- what every plan keeps ---


def random_community(seed: int) -> tuple[CommunityPlanner, dict[str, Any]]:
    """Twelve agents with five batteries, two vehicles and a heated house, limits that bind."""
    rng = np.random.default_rng(seed)
    name = ["radial", "radial at the external grid", "medium-voltage ring"][seed % 3]
    model = planned_model(name)
    steps = PlanSteps.of(0.25, horizon_h=6.0)
    places = np.flatnonzero(~np.asarray(model.linear.is_slack))
    nodes = rng.choice(places, 12)
    tank_agent = np.array([0, 1, 2, 3, 0, 4, 5, 6])
    rating = np.array([3.0, 3.0, 5.0, 5.0, 2.0, 11.0, 11.0, 4.0])
    gives = np.array([3.0, 3.0, 5.0, 5.0, 2.0, 11.0, 0.0, 0.0])
    load = rng.uniform(0.0, 6.0, (len(steps), 12))
    generation = rng.uniform(-8.0, 12.0, (len(steps), 12)).clip(0.0)
    members = community(
        nodes, tank_agent, load_kw=6.0, generation_kw=12.0, tank_kw=rating, gives_kw=gives
    )
    limits = unloaded_limits(model, 0.15)
    plans = planner(model, members, steps, limits, v_min_pu=0.97, v_max_pu=1.03)
    lowest = np.zeros((len(steps), 8))
    lowest[-2:, 5:7] = 9.0
    inflow = np.zeros((len(steps), 8))
    inflow[:, 7] = -0.8 * steps.hours
    outlook = tanks(
        steps,
        8,
        start_kwh=rng.uniform(0.0, 4.0, 8),
        into=np.where(np.arange(8) == 7, rng.uniform(2.5, 3.5, (len(steps), 1)), 0.95),
        out=0.9,
        kept=np.where(np.arange(8) == 7, 0.98, 1.0),
        inflow_kwh=inflow,
        lowest_kwh=lowest,
        highest_kwh=10.0,
        charge_kw=rating,
        discharge_kw=gives,
        worth=0.15,
        wear=0.02,
    )
    spot = rng.uniform(0.05, 0.4, len(steps))
    given = {
        "outlook": outlook,
        "load_kw": load,
        "generation_kw": generation,
        "prices": prices(model, spot + 0.1, spot),
    }
    return plans, given


def later(given: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """The same community an hour later, with other prices."""
    old = given["outlook"]
    outlook = replace(old, start_kwh=np.clip(plan.stored_kwh[3], 0.0, 10.0))
    moved = {key: np.roll(given[key], -4, axis=0) for key in ("load_kw", "generation_kw")}
    was = given["prices"]
    now = replace(was, retail=np.roll(was.retail, -4), feed_in=np.roll(was.feed_in, -4))
    return given | moved | {"outlook": outlook, "prices": now}


def the_whole_horizon(plans: CommunityPlanner) -> Any:
    """All steps as one Pyomo model, with the numbers of the last plan."""
    whole, before = pe.ConcreteModel(), None
    whole.steps = pe.Block(range(len(plans.steps)))
    for t, block in whole.steps.items():
        step = build_community_model(plans.problem)
        for parameter in step.component_objects(pe.Param):
            values = plans.program.parameter(parameter.name)[t]
            for index, value in zip(parameter.index_set(), values, strict=True):
                parameter[index] = float(value)
        step.cost.deactivate()
        block.step = step
        if before is not None:
            step.before_kwh.setlb(None)
            step.before_kwh.setub(None)
            block.begins = pe.Constraint(
                step.tanks, rule=lambda _, j, a=before, b=step: a.stored_kwh[j] == b.before_kwh[j]
            )
        before = step
    whole.cost = pe.Objective(expr=sum(block.step.cost.expr for block in whole.steps.values()))
    return whole


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_plan_costs_what_pyomos_own_solver_finds(seed: int) -> None:
    plans, given = random_community(seed)
    plan = plans.plan(**given)
    found = Highs().solve(the_whole_horizon(plans))
    ours = float(plans.program.cost @ plans.program.solve().values)
    assert float(found.incumbent_objective) == pytest.approx(ours, rel=1e-7, abs=1e-6)
    assert len(plans.problem.watched.limited)
    others = plans.problem.members.others
    passes = given["load_kw"][:, others] - given["generation_kw"][:, others]
    fee = np.broadcast_to(
        given["prices"].fee, (len(passes), len(plans.problem.network.area_parent))
    )
    paid = np.maximum(passes, 0.0) * fee[:, plans.problem.agent_area[others]]
    constant = float((plans.steps.hours[:, None] * paid).sum())
    assert plan.cost_eur == pytest.approx(float(found.incumbent_objective) + constant, abs=1e-6)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_energy_is_conserved_and_no_tank_charges_and_discharges_at_once(seed: int) -> None:
    plans, given = random_community(seed)
    outlook, plan = given["outlook"], plans.plan(**given)
    assert not ((plan.charge_kw > 0.0) & (plan.discharge_kw > 0.0)).any()
    for power, most in (
        (plan.charge_kw, outlook.charge_kw),
        (plan.discharge_kw, outlook.discharge_kw),
    ):
        assert (power >= 0.0).all()
        assert (power <= most).all()
    assert (plan.stored_kwh <= outlook.highest_kwh + KW).all()
    assert (plan.stored_kwh >= outlook.lowest_kwh - KW).all()
    before = np.vstack([outlook.start_kwh, plan.stored_kwh[:-1]])
    change = outlook.into_kwh_per_kw * plan.charge_kw - outlook.out_kwh_per_kw * plan.discharge_kw
    expected = outlook.kept * before + change + outlook.inflow_kwh
    batteries = slice(0, 5)
    np.testing.assert_allclose(plan.stored_kwh[:, batteries], expected[:, batteries], atol=1e-9)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_together_never_costs_more_than_all_households_alone(seed: int) -> None:
    plans, given = random_community(seed)
    # Limits bind the community and not the households alone, so they are left out here.
    problem = plans.problem.network
    free = unloaded_limits_like(plans)
    wide = replace(problem, v2_min=problem.v2_min * 0.0, v2_max=problem.v2_max * 9.0)
    members = plans.problem.members
    together = CommunityPlanner(wide, members, free, plans.steps).plan(**given)
    alone = 0.0
    for agent in range(len(members.agent_node)):
        mine = np.flatnonzero(members.tank_agent == agent)
        if not len(mine):
            net = given["load_kw"][:, agent] - given["generation_kw"][:, agent]
            price = np.where(net > 0.0, given["prices"].retail, given["prices"].feed_in)
            alone += float(plans.steps.hours @ (net * price))
            continue
        single = replace(
            members,
            takes_part=np.arange(len(members.agent_node)) == agent,
            tank_agent=members.tank_agent[mine],
            tank_charge_kw=members.tank_charge_kw[mine],
            tank_discharge_kw=members.tank_discharge_kw[mine],
        )
        own = {name: values[..., mine] for name, values in vars(given["outlook"]).items()}
        only = CommunityPlanner(wide, single, free, plans.steps)
        alone += only.plan(**given | {"outlook": TankOutlook(**own)}).cost_eur
    assert together.cost_eur < alone - 0.1


def unloaded_limits_like(plans: CommunityPlanner) -> GridLimits:
    edges = plans.problem.network.grid.n_edge
    return GridLimits(np.full(edges, -1e6), np.full(edges, 1e6), np.zeros(edges))


def test_a_plan_from_the_basis_of_the_one_before_is_as_good_as_one_from_nothing() -> None:
    plans, given = random_community(0)
    following = later(given, plans.plan(**given))
    warm = plans.plan(**following)
    cold = random_community(0)[0].plan(**following)
    assert warm.cost_eur == pytest.approx(cold.cost_eur, rel=1e-9, abs=1e-7)


def test_a_community_goes_on_from_its_memory_with_the_same_bits() -> None:
    plans, given = random_community(1)
    resumed = random_community(1)[0]
    second = later(given, plans.plan(**given))
    third = later(second, plans.plan(**second))
    resumed.recall(plans.memory().copy())
    one, other = plans.plan(**third), resumed.plan(**third)
    for name, values in vars(one).items():
        np.testing.assert_array_equal(values, getattr(other, name))
    plans.recall(resumed.memory())
    np.testing.assert_array_equal(plans.plan(**third).charge_kw, resumed.plan(**third).charge_kw)


def test_energy_that_is_paid_to_be_taken_is_not_burnt_in_a_battery() -> None:
    # At -0.30 a linear program charges and discharges at once, to lose as much as it can.
    model = planned_model("radial")
    first, _ = low_voltage_nodes(model)
    plans = planner(model, community([first[1]], [0], generation_kw=0.0), hours(3))
    plan = plans.plan(
        tanks(hours(3), 1, into=0.9, out=0.9, worth=0.0),
        np.zeros((3, 1)),
        np.zeros((3, 1)),
        prices(model, [-0.3, -0.3, 0.3], [-0.4, -0.4, 0.2], fee_factor=0.0),
    )
    assert not ((plan.charge_kw > 0.0) & (plan.discharge_kw > 0.0)).any()
    assert plans.passes > 1
    np.testing.assert_allclose(plan.charge_kw[:, 0].sum(), 3.0 / 0.9, atol=KW)
    np.testing.assert_allclose(plan.discharge_kw[2, 0], 2.7, atol=KW)


# --- what is refused ---


def test_a_tank_of_somebody_who_takes_no_part_is_refused() -> None:
    with pytest.raises(MarketError, match="tank 1 belongs to agent 2, who takes no part"):
        community([1, 1, 1], [0, 2], takes_part=[True, True, False])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"load_kw": np.zeros((2, 1))},
            r"load_kw has shape \(2, 1\); this community needs \(1, 1\)",
        ),
        ({"prices": {"feed_in": [0.5]}}, "area 0 would earn 0.21 EUR/kWh by importing and export"),
    ],
)
def test_what_no_plan_can_be_made_of_is_refused(change: dict[str, Any], message: str) -> None:
    model = planned_model("radial")
    first, _ = low_voltage_nodes(model)
    plans = planner(model, community([first[1]], [0]), hours(1))
    asked = {"retail": [RETAIL], "feed_in": [FEED_IN]} | change.pop("prices", {})
    zero = np.zeros((1, 1))
    given: dict[str, Any] = {
        "load_kw": zero,
        "generation_kw": zero,
        "prices": prices(model, **asked),
    } | change
    with pytest.raises(MarketError, match=message):
        plans.plan(tanks(hours(1), 1), **given)


def test_a_tank_that_was_said_never_to_give_back_is_not_asked_to() -> None:
    model = planned_model("radial")
    first, _ = low_voltage_nodes(model)
    plans = planner(model, community([first[1]], [0], gives_kw=0.0), hours(1))
    zero = np.zeros((1, 1))
    with pytest.raises(MarketError, match="tank 0 would discharge"):
        plans.plan(tanks(hours(1), 1), zero, zero, prices(model, [RETAIL], [FEED_IN]))
