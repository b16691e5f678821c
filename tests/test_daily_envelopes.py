"""Operating envelopes as a daily product: published before the day, held in each of its slots."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

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
from tests.test_run_memory import Done, run

from tricell.errors import MarketError, ScenarioError
from tricell.grid_models.arrays import sum_by_key
from tricell.markets.daily_envelopes import DayForecast, PowerRange, daily_envelopes
from tricell.markets.joint_market import Clearing, GridLimits
from tricell.markets.level_markets import LevelMarkets, SlotDemand
from tricell.markets.level_settlement import LevelTrade
from tricell.markets.linear_flow import LinearFlow
from tricell.markets.operating_envelopes import RULES, EnvelopeCalculator, Envelopes, Rule
from tricell.markets.orders import OrderKind
from tricell.scenarios.scenario_file import Override, load_scenario

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


# --- runs ---

MORNING = (
    "time.start=2016-05-23T09:00Z",
    "time.days=0.125",
    "market.coordination=local_first",
    "limits.trafo_loading_percent=25",
    "limits.voltage_max_pu=1.05",
)
"""Sun enough to break the voltage limit of a village if nobody holds it."""
ENVELOPE = ("market.network=envelope", "market.envelope_product=day")
RUNS: dict[str, tuple[str, ...]] = {
    "none": ("market.network=none",),
    "slot": ("market.network=envelope",),
    **{rule: (*ENVELOPE, f"market.envelope_rule={rule}") for rule in RULES},
}
NOON = (
    "time.start=2016-05-23T12:00Z",
    "time.days=1.125",
    *MORNING[2:],
    *ENVELOPE,
    "market.envelope_rule=proportional",
)
WITHIN, BROKEN = 0, 2
"""Verdicts of the AC power flow."""


@dataclass(frozen=True)
class Run:
    """What a run left, and what its markets published and cleared."""

    done: Done
    days: list[tuple[DayForecast, PowerRange]]
    slots: list[tuple[LevelMarkets, SlotDemand, Clearing]]

    @property
    def verdict(self) -> NDArray[np.int8]:
        return np.concatenate([self.series("slot", "verdict", at) for at in self.blocks])

    @property
    def blocks(self) -> list[int]:
        return sorted(self.done.sink.blocks)

    def series(self, group: str, name: str, block: int = 0) -> NDArray[Any]:
        return self.done.sink.blocks[block][group][name]


def watched_run(*assignments: str) -> Run:
    """Run the village and keep what passes through its markets."""
    scenario = load_scenario("village", [Override.from_assignment(text) for text in assignments])
    days: list[tuple[DayForecast, PowerRange]] = []
    slots: list[tuple[LevelMarkets, SlotDemand, Clearing]] = []
    publish, clear = LevelMarkets.publish, LevelMarkets.clear

    def published(markets: LevelMarkets, day: DayForecast) -> PowerRange:
        days.append((day, publish(markets, day)))
        return days[-1][1]

    def cleared(markets: LevelMarkets, demand: SlotDemand) -> tuple[Clearing, LevelTrade]:
        clearing, trade = clear(markets, demand)
        slots.append((markets, demand, clearing))
        return clearing, trade

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LevelMarkets, "publish", published)
        patch.setattr(LevelMarkets, "clear", cleared)
        return Run(run(scenario), days, slots)


@pytest.fixture(scope="module")
def runs() -> dict[str, Run]:
    return {name: watched_run(*MORNING, *more) for name, more in RUNS.items()}


@pytest.mark.parametrize("rule", RULES)
def test_a_published_day_keeps_the_limits_of_the_power_flow_as_envelopes_of_slots_do(
    runs: dict[str, Run], rule: Rule
) -> None:
    assert (runs["none"].verdict == BROKEN).any()
    assert (runs["slot"].verdict == WITHIN).all()
    assert (runs[rule].verdict == WITHIN).all()


def test_a_day_is_published_once_for_all_slots_that_are_left_of_it(runs: dict[str, Run]) -> None:
    for rule in RULES:
        ((day, published),) = runs[rule].days
        assert len(day.limits) == len(published.highest_kw) == 12
    assert not runs["slot"].days
    assert all(demand.allowed is None for _, demand, _ in runs["slot"].slots)


def net_power(demand: SlotDemand, markets: LevelMarkets, clearing: Clearing) -> Floats:
    orders = markets.joint.problem.orders
    moved = orders.side * clearing.accepted_kw
    return demand.meters.firm_kw + sum_by_key(orders.agent, moved, len(demand.meters.firm_kw))


@pytest.mark.parametrize("rule", RULES)
def test_no_connection_leaves_its_range_but_with_what_flows_whatever_happens(
    runs: dict[str, Run], rule: Rule
) -> None:
    held_back = 0
    for markets, demand, clearing in runs[rule].slots:
        net, allowed, meters = net_power(demand, markets, clearing), demand.allowed, demand.meters
        assert allowed is not None
        anyway = np.maximum(meters.firm_kw - meters.generation_kw, 0.0)
        anyway = anyway + np.minimum(meters.firm_kw, 0.0)
        assert (net <= np.maximum(allowed.highest_kw, anyway) + 1e-6).all()
        orders, own = markets.joint.problem.orders, OrderKind.DISCHARGE_OWN
        covered = np.where(orders.kind == own, demand.book.quantity_kw, 0.0)
        anyway = anyway - sum_by_key(orders.agent, covered, len(net))
        assert (net >= np.minimum(allowed.lowest_kw, anyway) - 1e-6).all()
        held_back += int((np.abs(net - allowed.lowest_kw) < 1e-6).sum())
    assert held_back > 12


def shares_of_capacity(run: Run) -> Floats:
    """Published feed-in of each plant as a share of what was asked for, in each slot."""
    ((day, published),) = run.days
    plants = day.export_capacity_kw.min(axis=0) > 0.1
    feed_in = day.firm_kw - published.lowest_kw
    return np.asarray(feed_in[:, plants] / day.export_capacity_kw[:, plants])


def test_rules_differ_in_whom_they_hold_back_and_by_how_much(runs: dict[str, Run]) -> None:
    shares = {rule: shares_of_capacity(runs[rule]) for rule in RULES}
    np.testing.assert_allclose(np.ptp(shares["proportional"], axis=1), 0.0, atol=1e-9)
    assert (np.ptp(shares["max_total"], axis=1) > 0.2).all()
    ((day, published),) = runs["equal"].days
    feed_in = day.firm_kw - published.lowest_kw
    below_capacity = feed_in < day.export_capacity_kw - 1e-9
    for slot in range(len(feed_in)):
        np.testing.assert_allclose(np.ptp(feed_in[slot][below_capacity[slot]]), 0.0, atol=1e-9)
    curtailed = {name: one.done.recorder.totals.curtailed_kwh.sum() for name, one in runs.items()}
    assert curtailed["max_total"] < curtailed["proportional"] < curtailed["equal"]
    assert curtailed["slot"] < curtailed["max_total"]


@pytest.fixture(scope="module")
def over_midnight() -> Run:
    """From noon to the early afternoon of the next day: a block ends within a day."""
    return watched_run(*NOON)


def test_each_day_is_published_at_its_midnight_and_learns_from_the_day_before(
    over_midnight: Run,
) -> None:
    (first, _), (second, _) = over_midnight.days
    assert [len(first.limits), len(second.limits)] == [48, 60]
    assert (over_midnight.verdict == WITHIN).all()
    # The first day takes the grid to be as it was before the run, the second as it was at the
    # same time of the first; only reactive power makes a difference within the first.
    known, learnt = ([one.flow_max_kw for one in day.limits] for day in (first, second))
    assert all(np.array_equal(one, known[0], equal_nan=True) for one in known)
    assert not all(np.array_equal(one, learnt[0], equal_nan=True) for one in learnt)


def test_a_run_goes_on_within_a_published_day_with_the_same_bits(over_midnight: Run) -> None:
    assert over_midnight.blocks == [0, 96]
    scenario = load_scenario("village", [Override.from_assignment(text) for text in NOON])
    rest = run(scenario, over_midnight.done.saved[96], first_slot=96)
    for group, columns in rest.sink.blocks[96].items():
        for name, values in columns.items():
            expected = over_midnight.series(group, name, 96)
            assert values.tobytes() == expected.tobytes(), (group, name)


@pytest.mark.parametrize(
    ("assignment", "what"),
    [
        ("market.envelope_product=day", "there are no envelopes to publish"),
        ("market.envelope_product=week", "envelope_product"),
    ],
)
def test_a_day_without_envelopes_and_a_product_that_does_not_exist_are_refused(
    assignment: str, what: str
) -> None:
    with pytest.raises(ScenarioError, match=what):
        load_scenario("village", [Override.from_assignment(assignment)])


def test_markets_without_envelopes_publish_none(runs: dict[str, Run]) -> None:
    markets, _, _ = runs["none"].slots[0]
    ((day, _),) = runs["equal"].days
    with pytest.raises(MarketError, match="no envelopes to publish with `network: none`"):
        markets.publish(day)
