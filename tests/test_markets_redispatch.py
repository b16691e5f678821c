"""Redispatch: the smallest change that the grid can carry, and who pays for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyomo.environ as pe
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.strategies import (
    MarketCase,
    Slot,
    joint_problem,
    market_cases,
    order_columns,
    planned_model,
    unloaded_limits,
)

from tricell.errors import MarketError
from tricell.grid_models.arrays import sum_by_key
from tricell.markets.joint_market import GridLimits
from tricell.markets.linear_flow import LinearFlow, LinearState
from tricell.markets.redispatch import Redispatch, RedispatchResult

Floats = NDArray[np.float64]

KW = 1e-5
PU2 = 2e-6
MOVED_KW = 0.05
"""A voltage within its tolerance may spare this much."""

shares = st.lists(st.sampled_from([0.0, 0.3, 0.5, 1.0]), min_size=10, max_size=10)


def state_of(case: MarketCase, slot: Slot, accepted_kw: Floats) -> LinearState:
    orders, grid = case.problem.orders, case.problem.grid
    net = slot.firm_kw + sum_by_key(orders.node, orders.side * accepted_kw, grid.n_node)
    return LinearFlow(grid, case.problem.constant_kw).state(net, case.limits.voltage_offset)


def excess(case: MarketCase, state: LinearState) -> tuple[Floats, Floats]:
    """Signed kW per edge and pu^2 per node beyond the limits; 0 where they are kept."""
    problem, limits = case.problem, case.limits
    flow = state.flow_kw - np.clip(state.flow_kw, limits.flow_min_kw, limits.flow_max_kw)
    voltage2 = state.voltage2 - np.clip(state.voltage2, problem.v2_min, problem.v2_max)
    return flow, np.nan_to_num(voltage2)


def smallest_move_by_hand(case: MarketCase, slot: Slot, accepted: Floats) -> float | None:
    """Smallest sum of changes by a dense program on sensitivities; None if there is none."""
    problem, limits, quantity = case.problem, case.limits, slot.book.quantity_kw
    base = state_of(case, slot, accepted)
    columns = []
    for k in range(len(accepted)):
        moved = state_of(case, slot, accepted + np.eye(len(accepted))[k])
        columns.append((moved.flow_kw - base.flow_kw, moved.voltage2 - base.voltage2))
    model = pe.ConcreteModel()
    orders = range(len(accepted))
    model.less = pe.Var(orders, bounds=lambda _, k: (0.0, float(accepted[k])))
    model.more = pe.Var(orders, bounds=lambda _, k: (0.0, float(quantity[k] - accepted[k])))
    model.rows = pe.ConstraintList()
    kinds = (
        (0, base.flow_kw, limits.flow_min_kw, limits.flow_max_kw),
        (1, base.voltage2, problem.v2_min, problem.v2_max),
    )
    for kind, value, low, high in kinds:
        for row in np.flatnonzero(~np.isnan(value)):
            change = sum(
                float(columns[k][kind][row]) * (model.more[k] - model.less[k]) for k in orders
            )
            if isinstance(change, int | float):
                continue
            room = float(low[row] - value[row]), float(high[row] - value[row])
            if max(abs(float(columns[k][kind][row])) for k in orders) > 0.0:
                model.rows.add(pe.inequality(room[0], change, room[1]))
            elif room[0] > 1e-7 or room[1] < -1e-7:
                return None
    model.cost = pe.Objective(expr=sum(model.less.values()) + sum(model.more.values()))
    result = pe.SolverFactory("appsi_highs").solve(model, load_solutions=False)
    if result.solver.termination_condition != pe.TerminationCondition.optimal:
        return None
    return float(result.problem.upper_bound)


@settings(max_examples=80, deadline=None)
@given(market_cases(), shares)
def test_after_redispatch_every_limit_is_kept_or_its_breach_is_named(
    case: MarketCase, share: list[float]
) -> None:
    redispatch = Redispatch(case.problem)
    for slot in case.slots:
        quantity = slot.book.quantity_kw
        accepted = quantity * share[: len(quantity)]
        result = redispatch.adjust(accepted, quantity, slot.firm_kw, case.limits)
        assert (result.accepted_kw >= 0.0).all()
        assert (result.accepted_kw <= quantity).all()
        np.testing.assert_allclose(
            result.accepted_kw, accepted - result.less_kw + result.more_kw, rtol=0, atol=1e-9
        )
        state = state_of(case, slot, result.accepted_kw)
        np.testing.assert_allclose(result.clearing.flow_kw, state.flow_kw, rtol=1e-7, atol=KW)
        flow, voltage2 = excess(case, state)
        scale = 1.0 + np.abs(state.flow_kw)
        assert (np.abs(flow - result.clearing.flow_breach_kw) <= KW * scale).all()
        np.testing.assert_allclose(voltage2, result.clearing.voltage2_breach, rtol=0, atol=PU2)


@settings(max_examples=80, deadline=None)
@given(market_cases(), shares)
def test_nothing_moves_where_the_grid_carries_the_schedule(
    case: MarketCase, share: list[float]
) -> None:
    redispatch = Redispatch(case.problem)
    for slot in case.slots:
        quantity = slot.book.quantity_kw
        first = redispatch.adjust(
            quantity * share[: len(quantity)], quantity, slot.firm_kw, case.limits
        )
        broken = np.abs(first.clearing.flow_breach_kw).sum()
        if broken + np.abs(first.clearing.voltage2_breach).sum() > 0.0:
            continue
        again = redispatch.adjust(first.accepted_kw, quantity, slot.firm_kw, case.limits)
        assert again.moved_kw <= KW
        np.testing.assert_allclose(again.accepted_kw, first.accepted_kw, rtol=0, atol=KW)
        np.testing.assert_allclose(
            again.clearing.net_import_kw, first.clearing.net_import_kw, rtol=0, atol=KW
        )


@settings(max_examples=60, deadline=None)
@given(market_cases(max_slots=1), shares)
def test_the_change_is_the_smallest_that_a_program_on_sensitivities_finds(
    case: MarketCase, share: list[float]
) -> None:
    slot, quantity = case.slots[0], case.slots[0].book.quantity_kw
    accepted = quantity * share[: len(quantity)]
    smallest = smallest_move_by_hand(case, slot, accepted)
    result = Redispatch(case.problem).adjust(accepted, quantity, slot.firm_kw, case.limits)
    if smallest is not None:
        assert result.moved_kw == pytest.approx(smallest, rel=1e-4, abs=MOVED_KW)


def behind_transformer(
    sides: list[float], limit_kw: float
) -> tuple[Redispatch, GridLimits, Floats, int]:
    """Orders at the bus bar of a low-voltage area with a limited transformer."""
    model = planned_model("radial")
    edge = int(model.linear.entry_edge[len(model.tree) - 1])
    node = int(model.linear.edge_to[edge])
    problem = joint_problem(model, order_columns([node] * len(sides), sides), 0.5, 1.5)
    limits = unloaded_limits(model)
    limits.flow_min_kw[edge], limits.flow_max_kw[edge] = -limit_kw, limit_kw
    return Redispatch(problem), limits, np.zeros(model.linear.n_node), node


def test_equal_sellers_are_cut_in_proportion() -> None:
    redispatch, limits, firm, _ = behind_transformer([-1.0, -1.0], 60.0)
    full = np.array([30.0, 60.0])
    result = redispatch.adjust(full, full, firm, limits)
    assert result.less_kw == pytest.approx([10.0, 20.0])
    assert result.more_kw == pytest.approx([0.0, 0.0])
    assert result.moved_kw == pytest.approx(30.0)
    assert redispatch.changed_slots == 1


def test_less_generation_and_more_demand_relieve_an_export_alike() -> None:
    redispatch, limits, firm, _ = behind_transformer([-1.0, 1.0], 60.0)
    result = redispatch.adjust(np.array([90.0, 0.0]), np.array([90.0, 30.0]), firm, limits)
    assert result.moved_kw == pytest.approx(30.0)
    assert result.less_kw[0] == pytest.approx(3.0 * result.more_kw[1])


def test_a_breach_by_firm_demand_alone_is_named_after_everything_has_moved() -> None:
    redispatch, limits, firm, node = behind_transformer([1.0, -1.0], 60.0)
    firm[node] = 80.0
    result = redispatch.adjust(np.array([10.0, 0.0]), np.array([10.0, 5.0]), firm, limits)
    assert result.accepted_kw == pytest.approx([0.0, 5.0])
    assert result.clearing.flow_breach_kw.max() == pytest.approx(15.0)


def moved(less: list[float], more: list[float]) -> RedispatchResult:
    """Return a result with given changes; its clearing plays no part in the money."""
    redispatch, limits, firm, _ = behind_transformer([1.0], 60.0)
    idle = redispatch.adjust(np.zeros(1), np.zeros(1), firm, limits)
    return replace(idle, less_kw=np.array(less), more_kw=np.array(more))


@pytest.mark.parametrize("wrong", [-1.0, 11.0, np.nan])
def test_a_schedule_beyond_its_order_is_refused(wrong: float) -> None:
    redispatch, limits, firm, _ = behind_transformer([1.0], 60.0)
    with pytest.raises(MarketError, match="order column 0 was accepted with"):
        redispatch.adjust(np.array([wrong]), np.array([10.0]), firm, limits)
