"""Published and hand-made cases with known dispatch, prices and flows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks
import pytest
from numpy.typing import NDArray
from tests.strategies import (
    GridModel,
    grid_model,
    joint_problem,
    level_rates,
    order_columns,
    trade_prices,
)

from tricell.grid_models.ac_feedback import AcFeedback, Correction
from tricell.grid_models.electrical_grid import build_electrical_grid
from tricell.grid_models.power_flow import PowerFlow
from tricell.markets.joint_market import Clearing, GridLimits, JointMarket
from tricell.markets.orders import OrderBook
from tricell.markets.settlement import ClearedBlock, TradingAreas, settle

Floats = NDArray[np.float64]
CASES = Path(__file__).parent / "cases"
WIDE_OPEN = 1e9


def case(name: str) -> tuple[Any, Any, Any]:
    given = json.loads((CASES / name / "input.json").read_text())
    expected = json.loads((CASES / name / "expected.json").read_text())
    return given, expected["expected"], expected["tolerance"]


def line(net: Any, start: int, end: int, r_ohm: float, x_ohm: float) -> int:
    return int(
        pp.create_line_from_parameters(
            net,
            start,
            end,
            length_km=1.0,
            r_ohm_per_km=r_ohm,
            x_ohm_per_km=x_ohm,
            c_nf_per_km=0.0,
            max_i_ka=1.0,
        )
    )


def edge_of_lines(model: GridModel) -> NDArray[np.int64]:
    return model.linear.branch_edge[model.grid.line_branch]


def open_limits(model: GridModel) -> GridLimits:
    open_flow = np.full(model.linear.n_edge, WIDE_OPEN)
    return GridLimits(-open_flow, open_flow, np.zeros(model.linear.n_edge))


# --- meshed: DC flow with congestion ---


def three_nodes(lines: list[list[Any]]) -> tuple[GridModel, NDArray[np.int64]]:
    """Return a ring of three buses with an external grid behind bus 1, and the buses' nodes."""
    net = pp.create_empty_network()
    buses = [pp.create_bus(net, 110.0) for _ in range(3)]
    stub = pp.create_bus(net, 110.0)
    pp.create_ext_grid(net, stub)
    for ends, reactance, _ in lines:
        first, second = (buses[int(end) - 1] for end in ends.split("-"))
        line(net, first, second, 0.0, 10.0 * reactance)
    line(net, stub, buses[0], 0.0, 1.0)
    model = grid_model(net)
    assert model.linear.area_meshed.tolist() == [True]
    return model, model.grid.node_of_bus[np.array(buses)]


def nodal_clearing(
    lines: list[list[Any]], demand: list[float], units: list[tuple[int, float, float]]
) -> tuple[Clearing, Floats, Floats]:
    """Clear units (bus, cost, MW) on three nodes; return flows of the lines and nodal prices."""
    model, nodes = three_nodes(lines)
    limits, edges = open_limits(model), edge_of_lines(model)
    for edge, (_, _, rating) in zip(edges, lines, strict=False):
        limits.flow_max_kw[edge], limits.flow_min_kw[edge] = rating, -rating
    orders = order_columns([nodes[bus - 1] for bus, _, _ in units], [-1.0] * len(units))
    book = OrderBook(
        np.array([cost for _, cost, _ in units]), np.array([size for _, _, size in units])
    )
    firm = np.zeros(model.linear.n_node)
    firm[nodes] = demand
    market = JointMarket(joint_problem(model, orders, breach_eur_per_kwh=1e5))
    prices = trade_prices(np.array([-1]), np.zeros(1), 1000.0, -1000.0)
    clearing = market.clear(book, firm, prices, limits)
    assert clearing.net_import_kw == pytest.approx([0.0], abs=1e-6)
    flows = (model.linear.branch_sign * 1.0)[model.grid.line_branch] * clearing.flow_kw[edges]
    return clearing, flows[: len(lines)], clearing.node_price[nodes]


def test_three_bus_dc_market_with_congestion_is_that_of_case_dl01() -> None:
    given, expected, tolerance = case("DL01")
    units = [(int(bus.removeprefix("bus")), cost, size) for bus, cost, size in given["gens"]]
    clearing, _, price = nodal_clearing(given["lines"], given["loads"], units)
    eur = tolerance["eur"]
    assert clearing.accepted_kw == pytest.approx(expected["dispatch"], abs=eur)
    assert clearing.cost_eur_per_h == pytest.approx(expected["cost"], abs=eur)
    assert price == pytest.approx(expected["lmp"], abs=eur)
    supply = np.zeros(3)
    np.add.at(supply, [bus - 1 for bus, _, _ in units], clearing.accepted_kw)
    surplus = price @ (np.array(given["loads"]) - supply)
    assert surplus == pytest.approx(expected["merchandising_surplus"], abs=eur)
    uncongested = [[ends, reactance, WIDE_OPEN] for ends, reactance, _ in given["lines"]]
    free, _, _ = nodal_clearing(uncongested, given["loads"], units)
    assert free.cost_eur_per_h == pytest.approx(expected["cost_uncongested"], abs=eur)


def test_thirty_units_on_three_nodes_are_cleared_as_in_case_dl03() -> None:
    given, expected, tolerance = case("DL03")
    units = [
        (int(node), float(first + k), given["unit_mw"])
        for node, first in given["first_cost"].items()
        for k in range(given["units_per_node"])
    ]
    demand = [float(given["demand_mw"][node]) for node in ("1", "2", "3")]
    clearing, flows, price = nodal_clearing(given["lines"], demand, units)
    assert price == pytest.approx(expected["lmp"], abs=tolerance["price"])
    assert clearing.cost_eur_per_h == pytest.approx(expected["cost"], abs=tolerance["price"])
    # Three units are marginal and the flows tie: the case's supply is one optimum of many.
    cost = np.array([cost for _, cost, _ in units]).reshape(3, -1)

    def cost_of(supply: Floats) -> float:
        used = np.clip(supply[:, None] - given["unit_mw"] * np.arange(10), 0.0, given["unit_mw"])
        return float((cost * used).sum())

    assert cost_of(np.array(expected["supply"])) == pytest.approx(expected["cost"])
    supply = clearing.accepted_kw.reshape(3, -1).sum(axis=1)
    assert cost_of(supply) == pytest.approx(expected["cost"])
    # tricell's optimum serves the three marginal units alike, which loads both long lines fully.
    assert supply == pytest.approx([7400.0, 7400.0, 7400.0], abs=tolerance["mw"])
    assert flows == pytest.approx([0.0, 5000.0, 5000.0], abs=tolerance["mw"])


# --- radial: LinDistFlow ---


def feeder(given: Any) -> tuple[GridModel, dict[str, int], Floats]:
    """Return the model of a feeder, the node of each name, and reactive demand per node, kvar."""
    net = pp.create_empty_network()
    names = [given["slack"], *(one["to"] for one in given["lines"])]
    bus = {name: pp.create_bus(net, given["v_slack"] / 1e3) for name in names}
    pp.create_ext_grid(net, bus[given["slack"]])
    for one in given["lines"]:
        line(net, bus[one["from"]], bus[one["to"]], one["r"], one["x"])
    model = grid_model(net)
    node = {name: int(model.grid.node_of_bus[row]) for name, row in bus.items()}
    q_kvar = np.zeros(model.linear.n_node)
    for name, load in given.get("fixed", {}).items():
        q_kvar[node[name]] = load["q"]
    return model, node, q_kvar


def lossless_offset(model: GridModel, q_kvar: Floats) -> Floats:
    """Offsets of pure LinDistFlow: the slack's voltage, and the reactive part of each drop."""
    linear = model.linear
    at_slack = linear.is_slack[linear.edge_from] & ~linear.edge_meshed
    open_flow = np.full(linear.n_edge, WIDE_OPEN)
    correction = Correction(np.where(at_slack, -1.0, 0.0), -open_flow, open_flow)
    feedback = AcFeedback(model.grid, linear, np.ones(model.grid.n_branches))
    return feedback.voltage_offset(correction, q_kvar)


def clear_feeder(given: Any) -> tuple[Clearing, GridModel, dict[str, int]]:
    model, node, q_kvar = feeder(given)
    cap = np.full(model.linear.n_edge, WIDE_OPEN)
    cap[edge_of_lines(model)] = [one["cap"] for one in given["lines"]]
    limits = GridLimits(-cap, cap, lossless_offset(model, q_kvar))
    offers = given["offers"]
    orders = order_columns(
        [node[one["node"]] for one in offers],
        [1.0 if one["side"] == "buy" else -1.0 for one in offers],
    )
    firm = np.zeros(model.linear.n_node)
    for name, load in given.get("fixed", {}).items():
        firm[node[name]] = load["p"]
    v_slack = given["v_slack"]
    problem = joint_problem(model, orders, given["v_min"] / v_slack, given["v_max"] / v_slack)
    book = OrderBook(
        np.array([one["price"] for one in offers], dtype=np.float64),
        np.array([one["pmax"] for one in offers], dtype=np.float64),
    )
    prices = trade_prices(np.array([-1]), np.zeros(1), given["p_im"], given["p_ex"])
    return JointMarket(problem).clear(book, firm, prices, limits), model, node


@pytest.mark.parametrize("name", ["G1_congested_line", "G1_reactive_load"])
def test_radial_clearing_prices_nodes_lines_and_voltages_as_worked_out_by_hand(name: str) -> None:
    given, expected, tolerance = case(name)
    clearing, model, node = clear_feeder(given)
    tight = {"abs": tolerance["any"]}
    accepted = [expected["accepted"][one["id"]] for one in given["offers"]]
    assert clearing.accepted_kw == pytest.approx(accepted, **tight)
    for place, price in expected["dlmp"].items():
        assert clearing.node_price[node[place]] == pytest.approx(price, **tight)
    for place, kilowatt in expected["flows"].items():
        edge = np.flatnonzero(model.linear.edge_to == node[place])[0]
        assert clearing.flow_kw[edge] == pytest.approx(kilowatt, **tight)
    for place, volt in expected["voltages"].items():
        voltage = given["v_slack"] * np.sqrt(clearing.voltage2[node[place]])
        assert voltage == pytest.approx(volt, **tight)
    net = float(clearing.net_import_kw[0])
    assert max(net, 0.0) == pytest.approx(expected["imports"], **tight)
    assert max(-net, 0.0) == pytest.approx(expected["exports"], **tight)
    assert -clearing.cost_eur_per_h == pytest.approx(expected["welfare"], **tight)
    consumption = np.zeros(model.linear.n_node)
    orders = [(1.0 if one["side"] == "buy" else -1.0) for one in given["offers"]]
    at = [node[one["node"]] for one in given["offers"]]
    np.add.at(consumption, at, np.array(orders) * clearing.accepted_kw)
    for place, load in given.get("fixed", {}).items():
        consumption[node[place]] += load["p"]
    grid_payment = given["p_im"] * max(net, 0.0) - given["p_ex"] * max(-net, 0.0)
    rent = clearing.node_price @ consumption - grid_payment
    assert rent == pytest.approx(expected["network_rent"], **tight)
    assert not clearing.flow_breach_kw.any()
    assert not clearing.voltage2_breach.any()


def test_a_load_beyond_the_line_is_served_with_a_named_breach_instead_of_infeasible() -> None:
    given, expected, tolerance = case("G1_infeasible")
    assert expected == {"feasible": False}
    clearing, model, node = clear_feeder(given)
    edge = np.flatnonzero(model.linear.edge_to == node["1"])[0]
    load, cap = given["fixed"]["1"]["p"], given["lines"][0]["cap"]
    assert clearing.flow_breach_kw[edge] == pytest.approx(load - cap, abs=tolerance["any"])
    assert clearing.flow_kw[edge] == pytest.approx(load, abs=tolerance["any"])


# --- three levels ---


def three_level_net(given: Any) -> tuple[GridModel, dict[str, int]]:
    """Return an HV busbar with a line, an MV busbar per cell and an LV busbar per microgrid."""
    net = pp.create_empty_network()
    high, end = pp.create_bus(net, 110.0), pp.create_bus(net, 110.0)
    pp.create_ext_grid(net, high)
    line(net, high, end, 0.1, 0.3)
    node_row = {}
    for microgrids in given["cells"].values():
        medium = pp.create_bus(net, 20.0)
        pp.create_transformer(net, end, medium, "25 MVA 110/20 kV")
        for name in microgrids:
            low = pp.create_bus(net, 0.4)
            pp.create_transformer(net, medium, low, "0.25 MVA 20/0.4 kV")
            node_row[name] = int(low)
    model = grid_model(net)
    return model, {name: int(model.grid.node_of_bus[row]) for name, row in node_row.items()}


def test_three_levels_match_and_charge_as_in_case_mk19() -> None:
    given, expected, tolerance = case("MK19")
    model, node = three_level_net(given)
    names = [name for microgrids in given["cells"].values() for name in microgrids]
    orders = order_columns([node[name] for name in names], [-1.0] * len(names))
    load = np.array([given[name]["load"] for name in names], dtype=np.float64)
    pv = np.array([given[name]["pv"] for name in names], dtype=np.float64)
    fee_of_level = dict(zip((1, 2, 3), given["network_fee_eur_kwh"].values(), strict=True))
    fee = np.array([fee_of_level[int(level)] for level in model.tree.level])
    retail, feed_in = given["retail_buy"], given["feed_in"]
    firm = np.zeros(model.linear.n_node)
    firm[orders.node] = load
    market = JointMarket(joint_problem(model, orders, 0.0, 10.0))
    prices = trade_prices(np.asarray(model.tree.parent), fee, retail, feed_in)
    clearing = market.clear(OrderBook(np.zeros(len(names)), pv), firm, prices, open_limits(model))
    areas = TradingAreas.of(
        np.asarray(model.tree.parent, dtype=np.int64),
        np.asarray(model.tree.level, dtype=np.int64),
        model.linear.node_area[orders.node],
    )
    bill = settle(
        areas,
        ClearedBlock(
            p_net_kw=(load - clearing.accepted_kw)[None, :],
            area_price=clearing.area_price[None, :],
            agent_price=clearing.node_price[orders.node][None, :],
            retail_price=np.array([retail]),
            feed_in_price=np.array([feed_in]),
            hours=1.0,
            rates=level_rates(areas, fee),
        ),
    )
    # Load and PV of a microgrid are one agent each here; what is matched inside it is netted.
    inside = np.minimum(load, clearing.accepted_kw).sum()
    matched = {
        level: bill.areas.traded_kwh[0, model.tree.level == code].sum()
        for code, level in ((1, "microgrid"), (2, "cell"), (3, "multicell"))
    }
    assert inside + matched["microgrid"] == pytest.approx(
        expected["matched"]["microgrid"], abs=tolerance["kwh"]
    )
    for level in ("cell", "multicell"):
        assert matched[level] == pytest.approx(expected["matched"][level], abs=tolerance["kwh"])
    net = clearing.net_import_kw[0]
    assert net == pytest.approx(expected["retail_import"], abs=tolerance["kwh"])
    assert max(-net, 0.0) == pytest.approx(expected["feed_in_export"], abs=tolerance["kwh"])
    fees = bill.areas.network_charge_eur.sum() + inside * fee_of_level[1]
    assert fees == pytest.approx(expected["network_fee_local_trades_eur"], abs=tolerance["eur"])


# --- losses ---


def test_loss_sensitivities_of_the_power_flow_are_those_of_case_dl05() -> None:
    given, expected, tolerance = case("DL05")
    net = pandapower.networks.case33bw()
    grid = build_electrical_grid(net)
    power_flow = PowerFlow(grid, net)
    rows = net.bus.index.get_indexer(net.load.bus)
    p_kw = grid.sum_to_nodes(rows, net.load.p_mw * 1e3)
    q_kvar = grid.sum_to_nodes(rows, net.load.q_mvar * 1e3)
    step = np.zeros(grid.n_nodes)
    for bus, price in expected.items():
        step[:] = 0.0
        step[grid.node_of_bus[int(bus)]] = given["step_kw"]

        def loss(p: Floats, q: Floats) -> float:
            return float(power_flow.solve(p, q).loss_kw.sum())

        width = 2.0 * given["step_kw"]
        by_p = (loss(p_kw + step, q_kvar) - loss(p_kw - step, q_kvar)) / width
        by_q = (loss(p_kw, q_kvar + step) - loss(p_kw, q_kvar - step)) / width
        assert 1.0 + by_p == pytest.approx(price["p"], abs=tolerance["value"])
        assert by_q == pytest.approx(price["q"], abs=tolerance["value"])
