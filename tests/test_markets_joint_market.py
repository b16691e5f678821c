"""What every clearing of the joint market keeps, whatever the grid, the orders and the limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.strategies import (
    BREACH_EUR_PER_KWH,
    BREACH_EUR_PER_PU2_H,
    NET_PLANS,
    MarketCase,
    Slot,
    clear,
    joint_problem,
    market_cases,
    order_columns,
    planned_model,
    trade_prices,
    unloaded_limits,
)

from tricell.grid_models.arrays import sum_by_key
from tricell.markets.joint_market import Clearing, GridLimits, JointMarket
from tricell.markets.orders import OrderBook

Floats = NDArray[np.float64]

KW = 1e-6
"""HiGHS keeps bounds and rows to 1e-7 in the unit of the row."""
PRICE = 1e-7
"""Tolerance of HiGHS for reduced costs."""
PU2 = 1e-6


def consumption(case: MarketCase, slot: Slot, clearing: Clearing) -> Floats:
    """Net consumption per node of a cleared schedule, kW."""
    orders = case.problem.orders
    net = slot.firm_kw.copy()
    np.add.at(net, orders.node, orders.side * clearing.accepted_kw)
    return net


def members_sum(case: MarketCase, slot: Slot, clearing: Clearing) -> Floats:
    """Net import per area, children first: own nodes and the areas below."""
    linear, parent = case.problem.grid, case.problem.area_parent
    total = sum_by_key(linear.node_area, consumption(case, slot, clearing), len(parent))
    for area in range(len(parent) - 1, 0, -1):
        total[parent[area]] += total[area]
    return total


def cost_by_hand(case: MarketCase, slot: Slot, clearing: Clearing) -> float:
    """Objective from the schedule alone, where no area imports and exports at once."""
    prices, orders = case.trade_prices(slot), case.problem.orders
    agents = -(orders.side * slot.book.price_eur_per_kwh) @ clearing.accepted_kw
    net = members_sum(case, slot, clearing)
    imports, exports = np.maximum(net, 0.0), np.maximum(-net, 0.0)
    trade = prices.import_price @ imports - prices.export_price @ exports
    breaches = BREACH_EUR_PER_KWH * np.abs(clearing.flow_breach_kw).sum()
    breaches += BREACH_EUR_PER_PU2_H * np.abs(clearing.voltage2_breach).sum()
    return float(agents + trade + breaches)


def assert_schedule_is_valid(case: MarketCase, slot: Slot, clearing: Clearing) -> None:
    accepted, net = clearing.accepted_kw, consumption(case, slot, clearing)
    assert (accepted >= -KW).all()
    assert (accepted <= slot.book.quantity_kw + KW).all()
    by_members = members_sum(case, slot, clearing)
    np.testing.assert_allclose(clearing.net_import_kw, by_members, rtol=1e-12, atol=KW)
    grid = case.problem.grid
    inflow = sum_by_key(grid.edge_to, clearing.flow_kw, grid.n_node)
    outflow = sum_by_key(grid.edge_from, clearing.flow_kw, grid.n_node)
    served = ~grid.is_slack
    np.testing.assert_allclose((inflow - outflow)[served], net[served], rtol=1e-9, atol=KW)


def assert_network_rows_hold(case: MarketCase, clearing: Clearing) -> None:
    grid = case.problem.grid
    drops = ~grid.edge_meshed & grid.has_voltage[grid.edge_to]
    above = clearing.voltage2[grid.edge_from] * grid.edge_inverse_ratio2
    upper = np.where(grid.has_voltage[grid.edge_from], above, 0.0)
    drop = upper - clearing.voltage2[grid.edge_to] - 2.0 * grid.edge_r * clearing.flow_kw
    np.testing.assert_allclose(drop[drops], case.limits.voltage_offset[drops], rtol=1e-9, atol=PU2)


def assert_limits_are_kept_or_named(case: MarketCase, clearing: Clearing) -> None:
    limits, problem = case.limits, case.problem
    kept = clearing.flow_kw - clearing.flow_breach_kw
    scale = 1.0 + np.abs(clearing.flow_kw)
    assert (kept <= limits.flow_max_kw + KW * scale).all()
    assert (kept >= limits.flow_min_kw - KW * scale).all()
    limited = problem.grid.has_voltage
    voltage2 = (clearing.voltage2 - clearing.voltage2_breach)[limited]
    assert (voltage2 <= problem.v2_max[limited] + PU2).all()
    assert (voltage2 >= problem.v2_min[limited] - PU2).all()


def assert_orders_follow_their_node_price(case: MarketCase, slot: Slot, clearing: Clearing) -> None:
    orders, book = case.problem.orders, slot.book
    gain = orders.side * (book.price_eur_per_kwh - clearing.node_price[orders.node])
    left_out = book.quantity_kw - clearing.accepted_kw
    assert (left_out[gain > PRICE] <= KW).all(), "an order that gains is not served fully"
    assert (clearing.accepted_kw[gain < -PRICE] <= KW).all(), "an order that loses is served"


@settings(max_examples=80, deadline=None)
@given(market_cases())
def test_every_clearing_balances_keeps_or_names_limits_and_serves_orders_by_price(
    case: MarketCase,
) -> None:
    market = JointMarket(case.problem)
    for slot in case.slots:
        clearing = clear(market, case, slot)
        assert_schedule_is_valid(case, slot, clearing)
        assert_network_rows_hold(case, clearing)
        assert_limits_are_kept_or_named(case, clearing)
        assert_orders_follow_their_node_price(case, slot, clearing)


@settings(max_examples=60, deadline=None)
@given(market_cases())
def test_no_area_imports_and_exports_at_once_and_the_cost_follows_from_the_schedule(
    case: MarketCase,
) -> None:
    market = JointMarket(case.problem)
    for slot in case.slots:
        clearing = clear(market, case, slot)
        by_hand = cost_by_hand(case, slot, clearing)
        assert clearing.cost_eur_per_h == pytest.approx(by_hand, rel=1e-7, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(market_cases(largest_kw=20.0))
def test_without_congestion_prices_lie_between_feed_in_and_retail_less_the_fee(
    case: MarketCase,
) -> None:
    generous = np.full(case.problem.grid.n_edge, 1e9)
    limits = GridLimits(-generous, generous, case.limits.voltage_offset)
    n_node = case.problem.grid.n_node
    problem = replace(case.problem, v2_min=np.full(n_node, -1e3), v2_max=np.full(n_node, 1e3))
    free = replace(case, problem=problem, limits=limits)
    market = JointMarket(problem)
    for slot in free.slots:
        clearing = clear(market, free, slot)
        parent = problem.area_parent
        assert (clearing.flow_breach_kw == 0.0).all()
        node_area = problem.grid.node_area
        np.testing.assert_allclose(
            clearing.node_price, clearing.area_price[node_area], rtol=0, atol=PRICE
        )
        # Energy from the retailer costs retail less the fee, so that buyers pay retail all in.
        assert (clearing.area_price <= slot.retail - free.fee + PRICE).all()
        assert (clearing.area_price >= slot.feed_in - PRICE).all()
        # Energy moves upward for free and downward for the difference of the fees.
        child = np.flatnonzero(parent >= 0)
        spread = clearing.area_price[child] - clearing.area_price[parent[child]]
        step = free.fee[parent[child]] - free.fee[child]
        assert (spread >= -PRICE).all()
        assert (spread <= step + PRICE).all()
        net = clearing.net_import_kw[child]
        np.testing.assert_allclose(spread[net > KW], step[net > KW], rtol=0, atol=PRICE)
        np.testing.assert_allclose(spread[net < -KW], 0.0, rtol=0, atol=PRICE)


@settings(max_examples=40, deadline=None)
@given(
    market_cases(max_slots=1),
    st.sampled_from([-1e7, -1e5, 1e5, 1e7]),
    st.integers(0, 2**32 - 1),
)
def test_absurd_loads_are_cleared_and_what_they_break_is_named(
    case: MarketCase, absurd_kw: float, seed: int
) -> None:
    slot = case.slots[0]
    places = np.flatnonzero(~case.problem.grid.is_slack)
    firm = slot.firm_kw.copy()
    firm[np.random.default_rng(seed).choice(places)] += absurd_kw
    absurd = replace(slot, firm_kw=firm)
    market = JointMarket(case.problem)
    clear(market, case, slot)
    clearing = clear(market, case, absurd)
    by_members = members_sum(case, absurd, clearing)
    np.testing.assert_allclose(clearing.net_import_kw, by_members, rtol=1e-9)
    broken = np.abs(clearing.flow_breach_kw).max() + np.abs(clearing.voltage2_breach).max()
    assert broken > 0.0
    # The market finds back to what it does without the absurd load.
    again, fresh = clear(market, case, slot), clear(JointMarket(case.problem), case, slot)
    assert again.cost_eur_per_h == pytest.approx(fresh.cost_eur_per_h, rel=1e-7, abs=1e-6)
    np.testing.assert_allclose(again.accepted_kw, fresh.accepted_kw, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", list(NET_PLANS))
def test_a_limit_of_a_microgrid_shows_in_the_price_of_the_microgrid(name: str) -> None:
    """A buyer behind an exhausted transformer sets its area's price by its own bid."""
    model = planned_model(name)
    area = len(model.tree) - 1
    inside = np.flatnonzero(model.linear.node_area == area)
    outside = np.flatnonzero((model.linear.node_area == 0) & ~model.linear.is_slack)
    problem = joint_problem(model, order_columns([inside[0], outside[0]], [1.0, -1.0]))
    limits = unloaded_limits(model)
    edge = model.linear.entry_edge[area]
    limits.flow_max_kw[edge] = 40.0
    fee = np.zeros(len(model.tree))
    book = OrderBook(np.array([0.25, 0.10]), np.array([60.0, 60.0]))
    prices = trade_prices(problem.area_parent, fee, 0.32, 0.08)
    clearing = JointMarket(problem).clear(book, np.zeros(model.linear.n_node), prices, limits)
    # The seller asks for more than the feed-in price, so that it sells no more than gets through.
    assert clearing.accepted_kw == pytest.approx([40.0, 40.0])
    assert clearing.net_import_kw[area] == pytest.approx(40.0)
    assert clearing.area_price[area] == pytest.approx(0.25)
    assert clearing.area_price[0] == pytest.approx(0.10)


def test_breaches_name_the_element_and_its_kilowatts() -> None:
    model = planned_model("radial")
    linear = model.linear
    area = len(model.tree) - 1
    nodes = np.flatnonzero(linear.node_area == area)
    problem = joint_problem(model, order_columns([nodes[0], nodes[0]], [1.0, -1.0]), 0.5, 1.5)
    limits = unloaded_limits(model)
    firm = np.zeros(linear.n_node)
    firm[nodes] = 300.0 / len(nodes)
    prices = trade_prices(problem.area_parent, np.zeros(len(model.tree)), 0.32, 0.08)
    book = OrderBook(np.array([0.3, 0.1]), np.array([10.0, 0.0]))
    clearing = JointMarket(problem).clear(book, firm, prices, limits)
    edge = linear.entry_edge[area]
    # The area hangs on a transformer of 250 kVA (standard type "0.25 MVA 20/0.4 kV").
    assert limits.flow_max_kw[edge] == pytest.approx(250.0, rel=1e-3)
    assert clearing.flow_breach_kw[edge] == pytest.approx(300.0 - limits.flow_max_kw[edge])
    assert clearing.flow_kw[edge] == pytest.approx(300.0)
    # Beyond the transformer each kWh costs the breach on top of the retailer's price.
    assert clearing.area_price[area] == pytest.approx(0.32 + BREACH_EUR_PER_KWH)
    inside = linear.edge_to[np.abs(clearing.flow_breach_kw) > 1e-6]
    assert set(linear.node_area[inside]) == {area}
