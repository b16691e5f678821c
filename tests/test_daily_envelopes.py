"""Operating envelopes as a daily product: published before the day, held in each of its slots."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
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
from tricell.markets.daily_envelopes import DayForecast, PowerRange, daily_envelopes
from tricell.markets.joint_market import GridLimits
from tricell.markets.linear_flow import LinearFlow
from tricell.markets.operating_envelopes import RULES, EnvelopeCalculator, Envelopes, Rule

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

KW = 1e-5
PU2 = 2e-6
"""HiGHS keeps rows to 1e-7 in their unit; voltages multiply what many rows leave."""
SLOTS = 96


# --- the worked case ---


def feeder_of_the_worked_case(rule: Rule) -> tuple[EnvelopeCalculator, Indices, GridLimits]:
    """Two houses on one feeder: squared voltage rises by 0.004 and 0.004, 0.004 and 0.010 per kW.

    The idle feeder is 0.03 and 0.02 below the upper limit.
    """
    model = planned_model("radial")
    houses = np.flatnonzero(model.linear.node_area == len(model.tree) - 1)[1:3].astype(np.int64)
    r = np.zeros(model.linear.n_edge)
    for house, of_house in zip(houses, (0.002, 0.003), strict=True):
        r[model.linear.edge_to == house] = of_house
    grid = replace(model.linear, edge_r=r)
    limits = unloaded_limits(model)
    limits.flow_min_kw[:], limits.flow_max_kw[:] = -1e4, 1e4
    problem = replace(
        joint_problem(model, order_columns(houses.tolist(), [1.0, 1.0]), 0.1, 9.0), grid=grid
    )
    idle = LinearFlow(grid, problem.constant_kw).state(np.zeros(grid.n_node), limits.voltage_offset)
    problem.v2_max[houses] = idle.voltage2[houses] + [0.03, 0.02]
    return EnvelopeCalculator(problem, houses, rule), houses, limits


WORKED = {"equal": (1.428571429,) * 2, "proportional": (1.428571429,) * 2, "max_total": (5.0, 0.0)}
"""Case G2 of the public mechanism cases: margins 0.03 and 0.02, caps 5 kW."""


@pytest.mark.parametrize("rule", RULES)
def test_all_slots_of_a_day_have_the_envelopes_of_the_worked_case(rule: Rule) -> None:
    calculator, houses, limits = feeder_of_the_worked_case(rule)
    none = np.zeros((SLOTS, 2))
    day = daily_envelopes(calculator, houses, DayForecast(none, none, none + 5.0, [limits] * SLOTS))
    np.testing.assert_allclose(-day.lowest_kw, np.tile(WORKED[rule], (SLOTS, 1)), atol=1e-6)
    np.testing.assert_array_equal(day.highest_kw, 0.0)


def test_rules_differ_in_who_bears_a_narrow_feeder() -> None:
    published = {}
    for rule in RULES:
        calculator, houses, limits = feeder_of_the_worked_case(rule)
        capacity = np.array([[2.0, 6.0]])
        day = DayForecast(np.zeros((1, 2)), np.zeros((1, 2)), capacity, [limits])
        published[rule] = -daily_envelopes(calculator, houses, day).lowest_kw[0]
    assert published["equal"][0] == pytest.approx(published["equal"][1])
    assert published["proportional"] / capacity[0] == pytest.approx(
        np.full(2, 0.02 / (0.004 * 2.0 + 0.010 * 6.0))
    )
    # Near the transformer a kW costs least room: 2 kW there leave (0.02 - 0.008) / 0.010 kW.
    assert published["max_total"] == pytest.approx([2.0, 1.2], abs=1e-6)
    totals = {rule: envelopes.sum() for rule, envelopes in published.items()}
    assert totals["max_total"] > totals["equal"] > totals["proportional"]


# --- any grid ---


def wanted_powers(case: MarketCase, slot: Slot) -> tuple[Floats, Floats]:
    buys = case.problem.orders.side > 0.0
    quantity = slot.book.quantity_kw
    return np.where(buys, quantity, 0.0), np.where(buys, 0.0, quantity)


def agents_firm(case: MarketCase, slot: Slot) -> Floats:
    """Firm demand of the nodes, each borne by the first agent that stands there."""
    node = case.problem.orders.node
    first = np.array([row == np.flatnonzero(node == at)[0] for row, at in enumerate(node)])
    return np.where(first, slot.firm_kw[node], 0.0)


def forecast(case: MarketCase, share_of_capacity: float = 1.0) -> DayForecast:
    """The slots of a case as a day known without error."""
    wanted = [wanted_powers(case, slot) for slot in case.slots]
    return DayForecast(
        firm_kw=np.array([agents_firm(case, slot) for slot in case.slots]),
        import_capacity_kw=np.array([one for one, _ in wanted]) / share_of_capacity,
        export_capacity_kw=np.array([one for _, one in wanted]) / share_of_capacity,
        limits=[case.limits] * len(case.slots),
    )


def at_nodes(case: MarketCase, per_agent: Floats) -> Floats:
    return sum_by_key(case.problem.orders.node, per_agent, case.problem.grid.n_node)


@settings(max_examples=25, deadline=None)
@given(market_cases(max_slots=2), st.sampled_from(RULES))
def test_a_day_known_without_error_has_the_envelopes_of_its_slots(
    case: MarketCase, rule: Rule
) -> None:
    node = case.problem.orders.node
    day = forecast(case)
    published = daily_envelopes(EnvelopeCalculator(case.problem, node, rule), node, day)
    by_slot = EnvelopeCalculator(case.problem, node, rule)
    for row, slot in enumerate(case.slots):
        firm = at_nodes(case, day.firm_kw[row])
        exact = by_slot.limits(firm, firm, *wanted_powers(case, slot), case.limits)
        room = published.of_slot(row).room(day.firm_kw[row])
        np.testing.assert_allclose(room.import_kw, exact.import_kw, rtol=0, atol=1e-9)
        np.testing.assert_allclose(room.export_kw, exact.export_kw, rtol=0, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(market_cases(max_slots=2), st.sampled_from(RULES), st.sampled_from([0.3, 0.8, 1.0]))
def test_a_published_day_never_lets_more_through_than_its_slots_could(
    case: MarketCase, rule: Rule, share: float
) -> None:
    """Envelopes by rated power, of which less is wanted later: inside what is best in the slot."""
    node = case.problem.orders.node
    day = forecast(case, share)
    published = daily_envelopes(EnvelopeCalculator(case.problem, node, rule), node, day)
    best = EnvelopeCalculator(case.problem, node, "max_total")
    same_rule = EnvelopeCalculator(case.problem, node, rule)
    for row, slot in enumerate(case.slots):
        wanted, firm = wanted_powers(case, slot), at_nodes(case, day.firm_kw[row])
        used = published.of_slot(row).room(day.firm_kw[row]).at_most(*wanted)
        exact = best.limits(firm, firm, *wanted, case.limits)
        total = exact.import_kw.sum() + exact.export_kw.sum()
        assert used.import_kw.sum() + used.export_kw.sum() <= total + KW
        if rule == "equal":
            alike = same_rule.limits(firm, firm, *wanted, case.limits)
            np.testing.assert_allclose(used.import_kw, alike.import_kw, rtol=0, atol=1e-9)
            np.testing.assert_allclose(used.export_kw, alike.export_kw, rtol=0, atol=1e-9)


def beyond(case: MarketCase, firm_node: Floats, power: Floats) -> tuple[Floats, Floats]:
    """How far a schedule is beyond the limits of edges (kW) and nodes (pu^2), at least 0."""
    grid, limits = case.problem.grid, case.limits
    state = LinearFlow(grid, case.problem.constant_kw).state(
        firm_node + at_nodes(case, power), limits.voltage_offset
    )
    flow = np.maximum(state.flow_kw - limits.flow_max_kw, limits.flow_min_kw - state.flow_kw)
    voltage2 = state.voltage2[grid.has_voltage]
    above = voltage2 - case.problem.v2_max[grid.has_voltage]
    below = case.problem.v2_min[grid.has_voltage] - voltage2
    return np.maximum(flow, 0.0), np.maximum(np.maximum(above, below), 0.0)


@settings(max_examples=25, deadline=None)
@given(market_cases(max_slots=1), st.sampled_from([0.0, 1.0]), st.integers(0, 2**32))
def test_a_day_that_comes_otherwise_is_cut_so_that_only_firm_demand_breaks_a_limit(
    case: MarketCase, right: float, seed: int
) -> None:
    slot, orders = case.slots[0], case.problem.orders
    calculator = EnvelopeCalculator(case.problem, orders.node, "max_total")
    day = forecast(case)
    day = replace(day, firm_kw=day.firm_kw * right)
    published = daily_envelopes(calculator, orders.node, day).of_slot(0)
    firm = agents_firm(case, slot)
    firm_node = at_nodes(case, firm)
    promised = published.room(firm).at_most(*wanted_powers(case, slot))
    held = calculator.cut(firm_node, promised, case.limits)
    for given_kw, promised_kw in zip(
        (held.import_kw, held.export_kw), (promised.import_kw, promised.export_kw), strict=True
    ):
        assert (given_kw >= 0.0).all()
        assert (given_kw <= promised_kw).all()
    if right:
        np.testing.assert_array_equal(held.import_kw, promised.import_kw)
        np.testing.assert_array_equal(held.export_kw, promised.export_kw)
    flow_anyway, voltage_anyway = beyond(case, firm_node, np.zeros(len(orders)))
    share = np.random.default_rng(seed).integers(0, 2, (4, len(orders)))
    for part in [*share, np.ones(len(orders)), np.zeros(len(orders))]:
        flow, voltage = beyond(case, firm_node, part * held.import_kw - (1 - part) * held.export_kw)
        assert flow[flow_anyway == 0.0].max(initial=0.0) <= KW
        assert voltage[voltage_anyway == 0.0].max(initial=0.0) <= PU2


def test_a_cut_takes_as_few_kw_as_possible() -> None:
    """On the worked feeder 3 kW at both ends are too much: the far house is cut to 0.8 kW."""
    calculator, _, limits = feeder_of_the_worked_case("equal")
    promised = Envelopes(np.zeros(2), np.full(2, 3.0))
    held = calculator.cut(np.zeros(calculator.problem.grid.n_node), promised, limits)
    assert held.export_kw == pytest.approx([3.0, (0.02 - 3.0 * 0.004) / 0.010], abs=1e-6)


def test_demand_beyond_a_range_leaves_no_room_on_that_side_and_more_on_the_other() -> None:
    allowed = PowerRange(np.array([-4.0, -4.0]), np.array([6.0, 6.0]))
    room = allowed.room(np.array([8.0, -5.0]))
    assert room.import_kw.tolist() == [0.0, 11.0]
    assert room.export_kw.tolist() == [12.0, 0.0]


def test_a_day_whose_parts_do_not_fit_together_is_refused_by_name() -> None:
    _, _, limits = feeder_of_the_worked_case("equal")
    day = np.zeros((2, 3))
    with pytest.raises(MarketError, match=r"export_capacity_kw of a day has shape \(2, 2\)"):
        DayForecast(day, day, np.zeros((2, 2)), [limits] * 2)
    with pytest.raises(MarketError, match=r"firm_kw of a day has shape \(2, 3\); allowed is \(1"):
        DayForecast(day, day, day, [limits])
