"""The market's linear voltages against the AC power flow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandapower.networks
import pytest

from tricell.grid_models.area_tree import cut_areas
from tricell.grid_models.electrical_grid import build_electrical_grid
from tricell.grid_models.linear_grid import build_linear_grid
from tricell.grid_models.power_flow import PowerFlow

CASE = Path(__file__).parent / "cases" / "PF12"


def test_lindistflow_voltages_and_losses_are_those_of_case_pf12() -> None:
    given = json.loads((CASE / "expected.json").read_text())
    expected, tolerance = given["expected"], given["tolerance"]
    net = pandapower.networks.case33bw()
    grid = build_electrical_grid(net)
    linear = build_linear_grid(grid, cut_areas(net), grid.node_of_bus)
    rows = net.bus.index.get_indexer(net.load.bus)
    p_kw = grid.sum_to_nodes(rows, net.load.p_mw * 1e3)
    q_kvar = grid.sum_to_nodes(rows, net.load.q_mvar * 1e3)

    flow_kw, flow_kvar = linear.downstream_sum(p_kw), linear.downstream_sum(q_kvar)
    drop_pu2 = 2.0 * (linear.edge_r * flow_kw + linear.edge_x * flow_kvar)
    below = np.zeros((linear.n_node, linear.n_edge))
    for edge in range(linear.n_edge):
        first, end = linear.subtree_start[edge], linear.subtree_stop[edge]
        below[linear.subtree_order[first:end], edge] = 1.0
    vm_pu = np.sqrt(np.abs(grid.slack_voltage[0]) ** 2 - below @ drop_pu2)
    by_bus = vm_pu[grid.node_of_bus]
    assert by_bus.argmin() == expected["bus"]
    assert by_bus.min() == pytest.approx(expected["vmin_pu"], abs=tolerance["vmin_pu"])

    ac = PowerFlow(grid, net).solve(p_kw, q_kvar)
    worst_error = np.abs(by_bus - ac.bus_vm_pu).max()
    assert worst_error == pytest.approx(
        expected["max_abs_voltage_error_vs_ac"], abs=tolerance["err"]
    )
    loss_kw = (linear.edge_r * (flow_kw**2 + flow_kvar**2)).sum()
    assert loss_kw == pytest.approx(expected["loss_estimate_kw"], abs=tolerance["loss_kw"])
