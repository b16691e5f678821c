"""The linear grid model: what it reads off a network, and how the AC solution corrects it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np
import pandapower as pp
import pandapower.networks
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.strategies import (
    LOW_VOLTAGE_LINE,
    MEDIUM_VOLTAGE_LINE,
    NET_PLANS,
    GridModel,
    grid_model,
    joint_problem,
    order_columns,
    planned_model,
    trade_prices,
    unloaded_limits,
)

from tricell.errors import GridError
from tricell.grid_models.ac_feedback import AcFeedback, Correction
from tricell.grid_models.linear_grid import LinearGrid
from tricell.grid_models.pandapower_grid import PandapowerGrid, load_pandapower_grid
from tricell.grid_models.power_flow import PowerFlow, PowerFlowState
from tricell.markets.joint_market import GridLimits, JointMarket
from tricell.markets.orders import OrderBook

Floats = NDArray[np.float64]


# --- radial or meshed, read off the grid ---


def is_meshed(net: Any) -> list[bool]:
    return [bool(one) for one in grid_model(net).linear.area_meshed]


def low_voltage_net(n_bus: int) -> tuple[Any, list[int]]:
    """Return an LV feeder on an external grid and its buses."""
    net = pp.create_empty_network()
    buses = [int(pp.create_bus(net, 0.4)) for _ in range(n_bus)]
    pp.create_ext_grid(net, buses[0])
    for first, second in pairwise(buses):
        pp.create_line(net, first, second, 0.1, LOW_VOLTAGE_LINE)
    return net, buses


def test_the_cigre_network_is_radial_as_operated_and_meshed_with_its_switches_closed() -> None:
    net = pandapower.networks.create_cigre_network_mv()
    assert not any(is_meshed(net))
    net.switch["closed"] = True
    assert is_meshed(net) == [True]


def test_a_closed_ring_is_meshed_and_an_open_line_end_makes_it_radial() -> None:
    net, buses = low_voltage_net(4)
    line = pp.create_line(net, buses[-1], buses[0], 0.1, LOW_VOLTAGE_LINE)
    assert is_meshed(net) == [True]
    pp.create_switch(net, buses[0], line, et="l", closed=False)
    assert is_meshed(net) == [False]


def test_lines_side_by_side_are_one_edge_and_no_ring() -> None:
    net, buses = low_voltage_net(3)
    pp.create_line(net, buses[1], buses[0], 0.3, LOW_VOLTAGE_LINE)
    model = grid_model(net)
    assert is_meshed(net) == [False]
    linear = model.linear
    assert linear.n_edge == 2
    shared = linear.branch_edge[[0, 2]]
    assert shared[0] == shared[1]
    # A line three times as long takes a third of the current.
    assert linear.branch_share[[0, 2]] == pytest.approx([0.75, 0.25])
    assert linear.branch_sign[0] == -linear.branch_sign[2]


def test_an_area_behind_parallel_transformers_is_radial_and_its_edge_takes_both() -> None:
    model = planned_model("parallel transformers")
    assert not model.linear.area_meshed.any()
    entry = model.linear.entry_edge[1]
    assert np.count_nonzero(model.linear.branch_edge == entry) == 2
    assert unloaded_limits(model).flow_max_kw[entry] == pytest.approx(500.0, rel=1e-3)


def test_an_area_fed_at_two_places_is_meshed_and_has_no_single_entry() -> None:
    net = pp.create_empty_network()
    medium = [pp.create_bus(net, 20.0) for _ in range(3)]
    low = [pp.create_bus(net, 0.4) for _ in range(3)]
    pp.create_ext_grid(net, medium[0])
    for pair in pairwise(medium):
        pp.create_line(net, *pair, 1.0, MEDIUM_VOLTAGE_LINE)
    for pair in pairwise(low):
        pp.create_line(net, *pair, 0.1, LOW_VOLTAGE_LINE)
    for high, end in ((medium[1], low[0]), (medium[2], low[2])):
        pp.create_transformer(net, high, end, "0.25 MVA 20/0.4 kV")
    model = grid_model(net)
    # The loop runs through both areas, so that neither is radial.
    assert model.linear.area_meshed.tolist() == [True, True]
    assert model.linear.entry_edge[1] == -1


def test_an_external_grid_inside_a_feeder_is_the_root_of_both_halves() -> None:
    net = pp.create_empty_network()
    buses = [pp.create_bus(net, 0.4) for _ in range(5)]
    for pair in pairwise(buses):
        pp.create_line(net, *pair, 0.1, LOW_VOLTAGE_LINE)
    pp.create_ext_grid(net, buses[2])
    model = grid_model(net)
    linear, node = model.linear, model.grid.node_of_bus
    assert linear.area_meshed.tolist() == [False]
    # Two edges leave the external grid: no single one carries the area's exchange.
    assert linear.entry_edge.tolist() == [-1]
    load = np.zeros(linear.n_node)
    load[node[buses]] = [1.0, 2.0, 4.0, 8.0, 16.0]
    below = dict(zip(linear.edge_to.tolist(), linear.downstream_sum(load), strict=True))
    assert [below[node[bus]] for bus in (buses[0], buses[1], buses[3], buses[4])] == [1, 3, 24, 16]


def test_two_external_grids_on_one_feeder_make_it_meshed() -> None:
    net, buses = low_voltage_net(4)
    pp.create_ext_grid(net, buses[-1])
    assert is_meshed(net) == [True]


def test_a_three_winding_transformer_joins_three_areas_through_its_star_point() -> None:
    net = pp.create_empty_network()
    high, medium, low = (pp.create_bus(net, vn_kv) for vn_kv in (110.0, 20.0, 10.0))
    far = pp.create_bus(net, 110.0)
    pp.create_ext_grid(net, far)
    pp.create_line(net, far, high, 5.0, "184-AL1/30-ST1A 110.0")
    pp.create_transformer3w(net, high, medium, low, "63/25/38 MVA 110/20/10 kV")
    for bus, vn_kv in ((medium, 20.0), (low, 10.0)):
        end = pp.create_bus(net, vn_kv)
        pp.create_line(net, bus, end, 1.0, MEDIUM_VOLTAGE_LINE)
        pp.create_load(net, end, 1.0)
    model = grid_model(net)
    linear = model.linear
    assert not linear.area_meshed.any()
    assert linear.n_node == len(net.bus) + 1
    assert (linear.entry_edge >= 0).all()
    star = np.setdiff1d(np.arange(linear.n_node), model.grid.node_of_bus)
    assert linear.node_area[star].tolist() == [0]


def test_a_line_without_reactance_is_allowed_in_a_radial_area() -> None:
    net = pp.create_empty_network()
    buses = [pp.create_bus(net, 0.4) for _ in range(2)]
    pp.create_ext_grid(net, buses[0])
    pp.create_line_from_parameters(net, *buses, 0.1, 0.6, 0.0, 0.0, 0.2)
    linear = grid_model(net).linear
    assert linear.area_meshed.tolist() == [False]
    assert linear.edge_x == pytest.approx([0.0])
    # r = 0.06 ohm at 400 V: 0.06 / 160 pu per MVA, and a kW is a thousandth of it.
    assert linear.edge_r == pytest.approx([0.06 / 0.16 / 1e3])


def test_a_line_without_reactance_is_refused_in_a_ring_by_its_row() -> None:
    net, buses = low_voltage_net(3)
    pp.create_line_from_parameters(net, buses[2], buses[0], 0.1, 0.6, 0.0, 0.0, 0.2)
    with pytest.raises(GridError, match="Row 2 of the table 'line' has no reactance"):
        grid_model(net)


@pytest.mark.parametrize(
    "function",
    [
        "create_cigre_network_hv",
        "create_cigre_network_mv",
        "create_cigre_network_lv",
        "mv_oberrhein",
        "example_multivoltage",
        "create_kerber_dorfnetz",
        "case33bw",
    ],
)
def test_every_network_has_as_many_rows_as_unknowns_and_whole_branches(function: str) -> None:
    source = PandapowerGrid(kind="pandapower", function=function, arguments={})
    net = load_pandapower_grid(source)
    for table in ("xward", "ward", "shunt", "impedance", "dcline", "motor"):
        net[table] = net[table].iloc[:0]
    linear = grid_model(net).linear
    assert linear.branch_share.min() > 0.0
    shares = linear.sum_to_edges(linear.branch_share)
    assert shares == pytest.approx(np.ones(linear.n_edge))
    drops = np.count_nonzero(~linear.edge_meshed & linear.has_voltage[linear.edge_to])
    assert drops == np.count_nonzero(linear.has_voltage)
    rows = np.count_nonzero(~linear.is_slack) + np.count_nonzero(linear.edge_meshed)
    assert rows == linear.n_edge + np.count_nonzero(linear.has_angle)
    assert not (linear.has_voltage & linear.has_angle).any()


# --- sums below an edge ---


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[int], int]:
    """Parent of each bus after the first, and the bus of the external grid."""
    n_bus = draw(st.integers(2, 12))
    parent = [draw(st.integers(0, bus - 1)) for bus in range(1, n_bus)]
    return parent, draw(st.integers(0, n_bus - 1))


@settings(max_examples=12, deadline=None)
@given(trees(), st.booleans())
def test_sums_below_an_edge_are_those_of_the_tree(
    tree: tuple[list[int], int], turned: bool
) -> None:
    parent, source = tree
    net = pp.create_empty_network()
    pp.create_buses(net, len(parent) + 1, 0.4)
    pp.create_ext_grid(net, source)
    graph = nx.Graph()
    for bus, above in enumerate(parent, start=1):
        ends = (bus, above) if turned and bus % 2 else (above, bus)
        pp.create_line(net, *ends, 0.1, LOW_VOLTAGE_LINE)
        graph.add_edge(bus, above)
    model = grid_model(net)
    linear, node = model.linear, model.grid.node_of_bus
    assert not linear.area_meshed.any()
    load = np.zeros(linear.n_node)
    load[node] = 2.0 ** np.arange(len(net.bus))
    rooted = nx.bfs_tree(graph, source)
    below = linear.downstream_sum(load)
    bus_of = {int(one): bus for bus, one in enumerate(node)}
    for edge in range(linear.n_edge):
        first, second = bus_of[int(linear.edge_from[edge])], bus_of[int(linear.edge_to[edge])]
        assert rooted.has_edge(first, second)
        behind = {second, *nx.descendants(rooted, second)}
        assert below[edge] == sum(2.0**bus for bus in behind)


# --- what an AC solution teaches ---


def random_schedule(model: GridModel, seed: int, kilowatt: float) -> tuple[Floats, Floats]:
    random = np.random.default_rng(seed)
    p_kw, q_kvar = np.zeros(model.linear.n_node), np.zeros(model.linear.n_node)
    places = np.flatnonzero(~model.linear.is_slack)
    p_kw[places] = random.uniform(-kilowatt, kilowatt, len(places))
    q_kvar[places] = random.uniform(-0.3, 0.3, len(places)) * kilowatt
    return p_kw, q_kvar


def lossless_flow(linear: LinearGrid, state: PowerFlowState, p_kw: Floats) -> Floats:
    """Flows of the linear model: sums in radial areas, AC flows in meshed ones."""
    ac_flow = linear.sum_to_edges(linear.branch_sign * state.p_from_kw)
    return np.asarray(np.where(linear.edge_meshed, ac_flow, linear.downstream_sum(p_kw)))


def linear_voltages(linear: LinearGrid, flow_kw: Floats, offset: Floats) -> Floats:
    """Solve the LinDistFlow rows from the top down, pu; nan where no voltage is a variable."""
    squared = np.full(linear.n_node, np.nan)
    waiting = [
        edge
        for edge in range(linear.n_edge)
        if not linear.edge_meshed[edge] and linear.has_voltage[linear.edge_to[edge]]
    ]
    while waiting:
        later = []
        for edge in waiting:
            parent, child = linear.edge_from[edge], linear.edge_to[edge]
            if linear.has_voltage[parent] and np.isnan(squared[parent]):
                later.append(edge)
                continue
            above = squared[parent] * linear.edge_inverse_ratio2[edge]
            upper = above if linear.has_voltage[parent] else 0.0
            squared[child] = upper - 2.0 * linear.edge_r[edge] * flow_kw[edge] - offset[edge]
        assert len(later) < len(waiting)
        waiting = later
    return np.asarray(np.sqrt(squared))


@pytest.mark.parametrize("name", list(NET_PLANS))
@pytest.mark.parametrize("seed", [1, 2])
def test_with_the_correction_the_linear_model_gives_the_ac_voltages(name: str, seed: int) -> None:
    model = planned_model(name)
    linear = model.linear
    p_kw, q_kvar = random_schedule(model, seed, 25.0)
    state = PowerFlow(model.grid, model.net).solve(p_kw, q_kvar)
    flow = lossless_flow(linear, state, p_kw)
    feedback = AcFeedback(model.grid, linear, np.ones(model.grid.n_branches))
    offset = feedback.voltage_offset(feedback.correction(state, flow, q_kvar), q_kvar)
    vm_pu = linear_voltages(linear, flow, offset)
    has = linear.has_voltage
    np.testing.assert_allclose(vm_pu[has], state.vm_pu[has], rtol=0, atol=1e-9)


def corrected(model: GridModel, p_kw: Floats, q_kvar: Floats) -> tuple[Correction, Floats, Floats]:
    """Correction, flows of the linear model, and the loading per edge in percent."""
    linear = model.linear
    state = PowerFlow(model.grid, model.net).solve(p_kw, q_kvar)
    flow = lossless_flow(linear, state, p_kw)
    feedback = AcFeedback(model.grid, linear, np.ones(model.grid.n_branches))
    loading = np.zeros(linear.n_edge)
    np.maximum.at(loading, linear.branch_edge, state.loading_percent)
    return feedback.correction(state, flow, q_kvar), flow, loading


@pytest.mark.parametrize("name", list(NET_PLANS))
@pytest.mark.parametrize("side", [1.0, -1.0], ids=["load", "generation"])
def test_a_schedule_at_its_limit_loads_the_element_fully(name: str, side: float) -> None:
    """Power in a feeder is set to its flow limit again and again, as the market does."""
    model = planned_model(name)
    linear = model.linear
    end = int(np.flatnonzero(linear.node_area == 1)[1])
    p_kw, q_kvar = np.zeros(linear.n_node), np.zeros(linear.n_node)
    p_kw[end], q_kvar[end] = side * 40.0, 10.0
    for _ in range(8):
        correction, flow, loading = corrected(model, p_kw, q_kvar)
        worst = int(np.argmax(loading))
        limit = correction.flow_max_kw if flow[worst] > 0.0 else correction.flow_min_kw
        p_kw[end] *= limit[worst] / flow[worst]
    assert loading[worst] == pytest.approx(100.0, abs=0.05)
    assert flow[worst] == pytest.approx(limit[worst], rel=1e-3)
    over = np.maximum(flow - correction.flow_max_kw, correction.flow_min_kw - flow)
    assert (over[loading < 99.0] < 0.0).all()


def test_networks_without_ratings_have_no_limits_and_no_warnings() -> None:
    model = grid_model(pandapower.networks.case33bw())
    p_kw, q_kvar = random_schedule(model, 3, 50.0)
    correction, _, _ = corrected(model, p_kw, q_kvar)
    assert np.isposinf(correction.flow_max_kw).all()
    assert np.isneginf(correction.flow_min_kw).all()


# --- DC flow ---


@pytest.mark.parametrize("name", list(NET_PLANS))
def test_flows_of_the_market_are_the_dc_power_flow_of_pandapower(name: str) -> None:
    model = planned_model(name)
    linear = model.linear
    p_kw, _ = random_schedule(model, 5, 20.0)
    problem = joint_problem(model, order_columns([], []), 0.5, 1.5)
    prices = trade_prices(problem.area_parent, np.zeros(len(model.tree)), 0.32, 0.08)
    nothing = OrderBook(np.zeros(0), np.zeros(0))
    open_flow = np.full(linear.n_edge, 1e9)
    limits = GridLimits(-open_flow, open_flow, unloaded_limits(model).voltage_offset)
    clearing = JointMarket(problem).clear(nothing, p_kw, prices, limits)
    net = pp.pandapowerNet(model.net)
    buses = net.bus.index[model.grid.node_of_bus >= 0]
    pp.create_loads(net, buses, p_kw[model.grid.node_of_bus[buses]] / 1e3)
    pp.rundcpp(net)
    share = linear.branch_share * linear.branch_sign
    flow = share * clearing.flow_kw[linear.branch_edge]
    for branch, table, column in (
        (model.grid.line_branch, "res_line", "p_from_mw"),
        (model.grid.trafo_branch, "res_trafo", "p_hv_mw"),
    ):
        expected = net[table][column].to_numpy() * 1e3
        np.testing.assert_allclose(flow[branch], expected, rtol=0, atol=1e-5)
