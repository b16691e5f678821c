"""Operating envelopes: the rules on given sensitivities, and the envelopes of whole grids."""

from __future__ import annotations

from dataclasses import replace

import highspy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.strategies import (
    NET_PLANS,
    MarketCase,
    Slot,
    clear,
    joint_problem,
    market_cases,
    order_columns,
    planned_model,
    unloaded_limits,
)

from tricell.errors import MarketError
from tricell.grid_models.arrays import sum_by_key
from tricell.markets.joint_market import GridLimits, JointMarket
from tricell.markets.linear_flow import LinearFlow
from tricell.markets.operating_envelopes import (
    RULES,
    EnvelopeCalculator,
    Envelopes,
    Rule,
    equal_envelopes,
    max_total_envelopes,
    proportional_envelopes,
)

Floats = NDArray[np.float64]

KW = 1e-5
PU2 = 1e-6
"""HiGHS keeps rows to 1e-7 in their unit; voltages multiply what many rows leave."""

FUNCTIONS = (equal_envelopes, proportional_envelopes, max_total_envelopes)


# --- rules ---


@st.composite
def limited_connections(draw: st.DrawFn) -> tuple[Floats, Floats, Floats]:
    """Margins, sensitivities of at least 0, and caps."""
    n_limit, n_connection = draw(st.integers(1, 4)), draw(st.integers(1, 5))

    def numbers(low: int, high: int, *shape: int) -> Floats:
        size = int(np.prod(shape))
        drawn = draw(st.lists(st.integers(low, high), min_size=size, max_size=size))
        return np.array(drawn, dtype=np.float64).reshape(shape)

    sensitivity = numbers(0, 5, n_limit, n_connection) / 1000.0
    return numbers(-2, 30, n_limit) / 1000.0, sensitivity, numbers(0, 12, n_connection)


@settings(max_examples=200, deadline=None)
@given(limited_connections())
def test_every_rule_keeps_margins_and_caps_and_max_total_is_the_largest(
    drawn: tuple[Floats, Floats, Floats],
) -> None:
    margin, sensitivity, cap = drawn
    totals = []
    for rule in FUNCTIONS:
        envelopes = rule(margin, sensitivity, cap)
        assert (envelopes >= 0.0).all()
        assert (envelopes <= cap).all()
        assert (sensitivity @ envelopes <= np.maximum(margin, 0.0) + 1e-9).all()
        totals.append(envelopes.sum())
    assert max(totals) == pytest.approx(totals[-1], abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(limited_connections())
def test_max_total_is_the_optimum_of_a_program_written_for_highs_by_hand(
    drawn: tuple[Floats, Floats, Floats],
) -> None:
    margin, sensitivity, cap = drawn
    highs = highspy.Highs()  # type: ignore[no-untyped-call]  # highspy ships no types
    highs.setOptionValue("output_flag", False)
    for most in cap:
        highs.addCol(-1.0, 0.0, float(most), 0, [], [])
    for row, room in zip(sensitivity, margin, strict=True):
        highs.addRow(-np.inf, max(float(room), 0.0), len(row), np.arange(len(row)), row)
    highs.run()
    total = max_total_envelopes(margin, sensitivity, cap).sum()
    assert total == pytest.approx(-highs.getObjectiveValue(), abs=1e-9)


def test_a_negative_margin_leaves_nothing_to_those_who_feel_it() -> None:
    margin, sensitivity = np.array([-0.01, 0.02]), np.array([[0.004, 0.0], [0.004, 0.01]])
    cap = np.array([5.0, 5.0])
    assert equal_envelopes(margin, sensitivity, cap).tolist() == [0.0, 0.0]
    assert proportional_envelopes(margin, sensitivity, cap).tolist() == [0.0, 0.0]
    assert max_total_envelopes(margin, sensitivity, cap).tolist() == [0.0, pytest.approx(2.0)]


def test_equal_gives_what_a_cap_leaves_to_nobody() -> None:
    margin, sensitivity = np.array([0.012]), np.array([[0.004, 0.004]])
    assert equal_envelopes(margin, sensitivity, np.array([0.5, 9.0])) == pytest.approx([0.5, 1.5])


def test_without_caps_the_limits_alone_decide() -> None:
    margin, sensitivity = np.array([0.012]), np.array([[0.004, 0.002]])
    endless = np.full(2, np.inf)
    assert equal_envelopes(margin, sensitivity, endless) == pytest.approx([2.0, 2.0])
    assert proportional_envelopes(margin, sensitivity, endless) == pytest.approx([2.0, 2.0])
    assert max_total_envelopes(margin, sensitivity, endless) == pytest.approx([0.0, 6.0])


@pytest.mark.parametrize("rule", FUNCTIONS)
def test_where_no_limit_is_felt_everybody_gets_the_cap(rule: type) -> None:
    cap = np.array([5.0, np.inf])
    envelopes = rule(np.array([0.01]), np.zeros((1, 2)), cap)
    np.testing.assert_array_equal(envelopes, cap)


@pytest.mark.parametrize("rule", FUNCTIONS)
def test_wrong_numbers_are_refused_by_name(rule: type) -> None:
    good = np.array([1.0]), np.array([[1.0, 1.0]]), np.array([1.0, 1.0])
    with pytest.raises(MarketError, match="cap of connection 1 is nan"):
        rule(good[0], good[1], np.array([1.0, np.nan]))
    with pytest.raises(MarketError, match="cap of connection 0 is -1"):
        rule(good[0], good[1], np.array([-1.0, 1.0]))
    with pytest.raises(MarketError, match="shape"):
        rule(good[0], good[1].T, good[2])
    with pytest.raises(MarketError, match="numbers"):
        rule(np.array([np.nan]), good[1], good[2])


# --- grids ---


def wanted_powers(case: MarketCase, slot: Slot) -> tuple[Floats, Floats]:
    """Each order's quantity as a wish in its direction; one agent each."""
    buys = case.problem.orders.side > 0.0
    quantity = slot.book.quantity_kw
    return np.where(buys, quantity, 0.0), np.where(buys, 0.0, quantity)


def envelopes_of(case: MarketCase, slot: Slot, rule: Rule, spread_kw: float = 0.0) -> Envelopes:
    """Envelopes of a slot whose firm demand may lie lower by a spread at every node."""
    calculator = EnvelopeCalculator(case.problem, case.problem.orders.node, rule)
    wishes = wanted_powers(case, slot)
    return calculator.limits(slot.firm_kw, slot.firm_kw - spread_kw, *wishes, case.limits)


def excess(case: MarketCase, firm: Floats, power: Floats) -> tuple[Floats, Floats]:
    """How far a schedule is beyond the limits of edges (kW) and nodes (pu^2), at least 0."""
    grid, limits = case.problem.grid, case.limits
    net = firm + sum_by_key(case.problem.orders.node, power, grid.n_node)
    state = LinearFlow(grid, case.problem.constant_kw).state(net, limits.voltage_offset)
    flow = np.maximum(state.flow_kw - limits.flow_max_kw, limits.flow_min_kw - state.flow_kw)
    has = grid.has_voltage
    above, below = state.voltage2 - case.problem.v2_max, case.problem.v2_min - state.voltage2
    return np.maximum(flow, 0.0), np.maximum(np.maximum(above, below)[has], 0.0)


@settings(max_examples=80, deadline=None)
@given(market_cases(), st.sampled_from(RULES), st.sampled_from([0.0, 5.0]), st.integers(0, 2**32))
def test_no_point_inside_the_envelopes_breaks_a_limit_that_firm_demand_keeps(
    case: MarketCase, rule: Rule, spread_kw: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    for slot in case.slots:
        envelopes = envelopes_of(case, slot, rule, spread_kw)
        wanted = wanted_powers(case, slot)
        for found, asked in zip((envelopes.import_kw, envelopes.export_kw), wanted, strict=True):
            assert (found >= 0.0).all()
            assert (found <= asked).all()
        idle = np.zeros(len(case.problem.orders))
        low, high = slot.firm_kw - spread_kw, slot.firm_kw
        served = ~case.problem.grid.is_slack
        corners = [excess(case, firm, idle) for firm in (low, high)]
        firm_keeps = all(part.max(initial=0.0) < 1e-9 for corner in corners for part in corner)
        directions = [idle + 1.0, idle, *rng.integers(0, 2, (4, len(idle))), rng.random(len(idle))]
        for share in directions:
            power = share * envelopes.import_kw - (1.0 - share) * envelopes.export_kw
            firm = np.where(rng.random(len(low)) < 0.5, low, high) * served
            flow, voltage = excess(case, firm, power)
            if firm_keeps and not case.problem.grid.edge_meshed.any():
                assert flow.max() <= KW
                assert voltage.max(initial=0.0) <= PU2
            elif spread_kw == 0.0:
                # Where firm demand is certain, what it breaks is not broken further.
                flow_before, voltage_before = excess(case, slot.firm_kw, idle)
                kept_flow, kept_voltage = flow_before <= 0.0, voltage_before <= 0.0
                assert flow[kept_flow].max(initial=0.0) <= KW
                assert voltage[kept_voltage].max(initial=0.0) <= PU2


def free_market_total(case: MarketCase, slot: Slot, side: float) -> float:
    """Largest total of one direction by the joint market, with one order per agent at 1 EUR."""
    orders = case.problem.orders
    columns = replace(orders, side=np.full(len(orders), side))
    problem = replace(case.problem, orders=columns)
    wanted = np.where(orders.side == side, slot.book.quantity_kw, 0.0)
    book = replace(slot.book, price_eur_per_kwh=np.full(len(orders), side), quantity_kw=wanted)
    idle = np.zeros_like(case.fee)
    free = replace(case, problem=problem, fee=idle)
    bought = replace(slot, book=book, retail=0.0, feed_in=0.0)
    return float(clear(JointMarket(problem), free, bought).accepted_kw.sum())


@settings(max_examples=60, deadline=None)
@given(market_cases(max_slots=1))
def test_in_radial_grids_max_total_is_what_the_joint_program_could_let_through(
    case: MarketCase,
) -> None:
    slot = case.slots[0]
    flow, voltage = excess(case, slot.firm_kw, np.zeros(len(case.problem.orders)))
    if case.problem.grid.edge_meshed.any() or flow.max() > 0.0 or voltage.max(initial=0.0) > 0.0:
        return
    envelopes = envelopes_of(case, slot, "max_total")
    for found, side in ((envelopes.import_kw, 1.0), (envelopes.export_kw, -1.0)):
        assert found.sum() == pytest.approx(free_market_total(case, slot, side), abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(market_cases(max_slots=1))
def test_max_total_allows_at_least_as_much_as_the_other_rules(case: MarketCase) -> None:
    totals = [
        sum(part.sum() for part in (found.import_kw, found.export_kw))
        for found in (envelopes_of(case, case.slots[0], rule) for rule in RULES)
    ]
    assert totals[RULES.index("max_total")] >= max(totals) - 1e-4


def behind_transformer(limit_kw: float) -> tuple[EnvelopeCalculator, GridLimits, int]:
    """Three connections at the bus bar of a low-voltage area with a limited transformer."""
    model = planned_model("radial")
    area = len(model.tree) - 1
    edge = int(model.linear.entry_edge[area])
    node = int(model.linear.edge_to[edge])
    problem = joint_problem(model, order_columns([node], [1.0]), 0.5, 1.5)
    limits = unloaded_limits(model)
    limits.flow_min_kw[edge], limits.flow_max_kw[edge] = -limit_kw, limit_kw
    return EnvelopeCalculator(problem, np.full(3, node), "max_total"), limits, node


def test_connections_behind_one_transformer_share_it_by_what_they_want() -> None:
    calculator, limits, _ = behind_transformer(60.0)
    firm = np.zeros(calculator.problem.grid.n_node)
    wanted = np.array([20.0, 40.0, 60.0])
    found = calculator.limits(firm, firm, wanted, np.zeros(3), limits)
    assert found.import_kw == pytest.approx([10.0, 20.0, 30.0])
    assert found.export_kw == pytest.approx([0.0, 0.0, 0.0])
    assert calculator.unresolved_ties == 0


def test_firm_demand_takes_room_from_imports_and_gives_it_to_exports() -> None:
    calculator, limits, node = behind_transformer(60.0)
    high, low = (np.zeros(calculator.problem.grid.n_node) for _ in range(2))
    high[node], low[node] = 30.0, 10.0
    wanted = np.full(3, 100.0)
    found = calculator.limits(high, low, wanted, wanted, limits)
    assert found.import_kw.sum() == pytest.approx(60.0 - 30.0)
    assert found.export_kw.sum() == pytest.approx(60.0 + 10.0)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", list(NET_PLANS))
def test_a_limit_that_firm_demand_breaks_gives_envelopes_of_zero_and_no_error(
    name: str, rule: Rule
) -> None:
    model = planned_model(name)
    places = np.flatnonzero(~model.linear.is_slack)
    node = int(np.flatnonzero(model.linear.node_area == len(model.tree) - 1)[-1])
    problem = joint_problem(model, order_columns([node], [1.0]), 0.5, 1.5)
    limits = unloaded_limits(model)
    firm = np.zeros(model.linear.n_node)
    firm[places] = 1e6
    found = EnvelopeCalculator(problem, np.array([node, node]), rule).limits(
        firm, firm, np.array([5.0, 1.0]), np.zeros(2), limits
    )
    assert found.import_kw == pytest.approx([0.0, 0.0], abs=1e-6)


def test_a_rule_and_a_wish_that_do_not_exist_are_refused() -> None:
    calculator, limits, node = behind_transformer(60.0)
    firm, none = np.zeros(calculator.problem.grid.n_node), np.zeros(3)
    with pytest.raises(MarketError, match="agent 1 wants an export of -1"):
        calculator.limits(firm, firm, none, np.array([0.0, -1.0, 0.0]), limits)
    with pytest.raises(MarketError, match="agent 2 wants an import of nan"):
        calculator.limits(firm, firm, np.array([0.0, 1.0, np.nan]), none, limits)
    with pytest.raises(MarketError, match="allowed are equal, proportional, max_total"):
        EnvelopeCalculator(calculator.problem, np.array([node]), "best")  # type: ignore[arg-type]  # what is tested


@settings(max_examples=40, deadline=None)
@given(market_cases(max_slots=1))
def test_flows_and_voltages_of_a_schedule_are_those_of_the_joint_market(case: MarketCase) -> None:
    slot = case.slots[0]
    clearing = clear(JointMarket(case.problem), case, slot)
    orders, grid = case.problem.orders, case.problem.grid
    net = slot.firm_kw + sum_by_key(orders.node, orders.side * clearing.accepted_kw, grid.n_node)
    flow = LinearFlow(grid, case.problem.constant_kw)
    state = flow.state(net, case.limits.voltage_offset)
    np.testing.assert_allclose(state.flow_kw, clearing.flow_kw, rtol=1e-7, atol=KW)
    np.testing.assert_allclose(state.voltage2, clearing.voltage2, rtol=0, atol=PU2)


@pytest.mark.parametrize("rule", RULES)
def test_in_a_loop_no_envelope_counts_on_a_counterflow_of_others(rule: Rule) -> None:
    """Every corner of the envelopes keeps the limits of a ring, not only the two extremes."""
    model = planned_model("low-voltage ring")
    linear = model.linear
    meshed = np.flatnonzero(linear.edge_meshed)
    ring = np.unique(np.concatenate([linear.edge_from[meshed], linear.edge_to[meshed]]))
    problem = joint_problem(model, order_columns(ring.tolist(), [1.0] * len(ring)), 0.5, 1.5)
    limits = unloaded_limits(model)
    limits.flow_min_kw[meshed], limits.flow_max_kw[meshed] = -10.0, 10.0
    firm, buys = np.zeros(linear.n_node), np.arange(len(ring)) % 2 == 0
    wanted = np.where(buys, 40.0, 0.0), np.where(buys, 0.0, 40.0)
    found = EnvelopeCalculator(problem, ring, rule).limits(firm, firm, *wanted, limits)
    assert found.import_kw.sum() + found.export_kw.sum() > 0.0
    flow = LinearFlow(linear, problem.constant_kw)
    for corner in range(2 ** len(ring)):
        imports = (corner >> np.arange(len(ring))) & 1 == 1
        net = sum_by_key(ring, np.where(imports, found.import_kw, -found.export_kw), len(firm))
        state = flow.state(net, limits.voltage_offset)
        assert np.abs(state.flow_kw[meshed]).max() <= 10.0 + KW
