"""The AC power flow against literature values, closed forms and pandapower itself."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tricell.errors import GridError, PowerFlowError
from tricell.grid_models.electrical_grid import (
    BranchKind,
    ElectricalGrid,
    activate_tap_changers,
    build_electrical_grid,
)
from tricell.grid_models.pandapower_grid import PandapowerGrid, load_pandapower_grid
from tricell.grid_models.power_flow import PowerFlow, PowerFlowState

FloatArray = NDArray[np.float64]
CASES = Path(__file__).parent / "cases"

# tricell's promise; the algorithm reaches some 1e-9 of it.
VM_TOLERANCE_PU = 1e-6
LOADING_TOLERANCE_PERCENT = 1e-3


def case(name: str) -> tuple[Any, Any, Any]:
    given_values = json.loads((CASES / name / "input.json").read_text())
    expected = json.loads((CASES / name / "expected.json").read_text())
    return given_values, expected["expected"], expected["tolerance"]


def named_net(function: str, **arguments: Any) -> Any:
    return load_pandapower_grid(
        PandapowerGrid(kind="pandapower", function=function, arguments=arguments)
    )


def consumption(net: Any, grid: ElectricalGrid) -> tuple[FloatArray, FloatArray]:
    """Power per node as the element tables state it [kW, kvar]."""
    p_kw, q_kvar = np.zeros(grid.n_nodes), np.zeros(grid.n_nodes)
    for table, sign in (("load", 1.0), ("sgen", -1.0), ("storage", 1.0)):
        elements = net[table][net[table].in_service]
        rows = net.bus.index.get_indexer(elements.bus)
        p_kw += sign * grid.sum_to_nodes(rows, elements.p_mw * elements.scaling * 1e3)
        q_kvar += sign * grid.sum_to_nodes(rows, elements.q_mvar * elements.scaling * 1e3)
    return p_kw, q_kvar


def solved(net: Any) -> tuple[PowerFlowState, PowerFlow]:
    grid = build_electrical_grid(net)
    power_flow = PowerFlow(grid, net)
    return power_flow.solve(*consumption(net, grid)), power_flow


def assert_equal_to_runpp(net: Any) -> PowerFlow:
    state, power_flow = solved(net)
    pp.runpp(net, calculate_voltage_angles=True, init="dc", numba=False, tolerance_mva=1e-9)
    np.testing.assert_allclose(
        state.bus_vm_pu, net.res_bus.vm_pu, rtol=0, atol=VM_TOLERANCE_PU, equal_nan=True
    )
    for ours, theirs in (
        (state.line_loading_percent, net.res_line),
        (state.trafo_loading_percent, net.res_trafo),
        (state.trafo3w_loading_percent, net.res_trafo3w),
    ):
        loading = theirs.loading_percent.fillna(0.0)
        np.testing.assert_allclose(ours, loading, rtol=0, atol=LOADING_TOLERANCE_PERCENT)
    grid_kw = state.slack_power_kva.sum()
    assert grid_kw.real == pytest.approx(net.res_ext_grid.p_mw.sum() * 1e3, abs=1e-2)
    assert grid_kw.imag == pytest.approx(net.res_ext_grid.q_mvar.sum() * 1e3, abs=1e-2)
    return power_flow


# Reference cases -----------------------------------------------------------------------------


def test_baran_and_wu_feeder_has_the_published_losses_and_lowest_voltage_case_pf01() -> None:
    inputs, expected, tolerance = case("PF01")
    state, _ = solved(named_net(inputs["function"]))
    assert state.loss_kw.sum() == pytest.approx(expected["loss_p_kw"], abs=tolerance["loss_p_kw"])
    loss_kvar = (state.q_from_kvar + state.q_to_kvar).sum()
    assert loss_kvar == pytest.approx(expected["loss_q_kvar"], abs=tolerance["loss_p_kw"])
    assert state.bus_vm_pu.argmin() == expected["vmin_bus_0based"]
    assert state.bus_vm_pu.min() == pytest.approx(expected["vmin_pu"], abs=tolerance["vmin_pu"])
    slack = state.slack_power_kva[0] / 1e3
    assert slack.real == pytest.approx(expected["slack_p_mw"], abs=1e-5)
    assert slack.imag == pytest.approx(expected["slack_q_mvar"], abs=1e-5)


def test_cigre_low_voltage_benchmark_has_the_voltages_and_losses_of_case_pf03() -> None:
    inputs, expected, tolerance = case("PF03")
    net = named_net(inputs["function"])
    state, _ = solved(net)
    vm_by_name = dict(zip(net.bus.name, state.bus_vm_pu, strict=True))
    for bus, vm_pu in expected["vm_pu"].items():
        assert vm_by_name[bus] == pytest.approx(vm_pu, abs=tolerance["vm_pu"]), bus
    kind = state.grid.branch_kind
    kw = tolerance["power_kw"]
    line_loss_kw = state.loss_kw[kind == BranchKind.LINE].sum()
    trafo_loss_kw = state.loss_kw[kind == BranchKind.TRAFO].sum()
    assert line_loss_kw == pytest.approx(expected["loss_line_kw"], abs=kw)
    assert trafo_loss_kw == pytest.approx(expected["loss_trafo_kw"], abs=kw)
    assert state.slack_power_kva.sum().real == pytest.approx(expected["slack_p_kw"], abs=kw)


def test_cigre_medium_voltage_benchmark_with_pv_and_wind_is_as_in_case_pf05() -> None:
    inputs, expected, tolerance = case("PF05")
    state, _ = solved(named_net(inputs["function"], **inputs["arguments"]))
    line_loss_kw = state.loss_kw[state.grid.branch_kind == BranchKind.LINE].sum()
    assert line_loss_kw == pytest.approx(expected["loss_line_kw"], abs=tolerance["power_kw"])
    assert state.bus_vm_pu.min() == pytest.approx(expected["vmin_pu"], abs=tolerance["vm_pu"])
    slack_mw = state.slack_power_kva.sum().real / 1e3
    assert slack_mw == pytest.approx(expected["slack_p_mw"], abs=1e-5)
    assert state.line_loading_percent.max() == pytest.approx(
        expected["max_line_loading_percent"], abs=tolerance["percent"]
    )


def test_unbalanced_feeder_of_case_pf09_spreads_around_the_balanced_solution() -> None:
    inputs, expected, tolerance = case("PF09")
    net = named_net(inputs["function"], **inputs["arguments"])
    pp.runpp_3ph(net, numba=False)
    phases = net.res_bus_3ph[["vm_a_pu", "vm_b_pu", "vm_c_pu"]]
    assert phases.min().to_list() == pytest.approx(
        list(expected["vmin_pu"].values()), abs=tolerance["vm_pu"]
    )
    assert phases.loc[906].to_list() == pytest.approx(
        expected["bus_906_vm_abc"], abs=tolerance["vm_pu"]
    )
    state, _ = solved(net)
    balanced = state.bus_vm_pu[net.bus.index.get_loc(906)]
    assert phases.loc[906].min() < balanced < phases.loc[906].max()


@cache
def two_bus_net() -> Any:
    inputs, _, _ = case("PF10")
    net = pp.create_empty_network()
    first, second = (pp.create_bus(net, vn_kv=inputs["v1_kv"]) for _ in range(2))
    pp.create_ext_grid(net, first)
    pp.create_line_from_parameters(
        net, first, second, 1.0, inputs["r_ohm"], inputs["x_ohm"], c_nf_per_km=0.0, max_i_ka=0.2
    )
    pp.create_load(net, second, inputs["p_mw"], inputs["q_mvar"])
    return net


def test_two_buses_agree_with_the_closed_form_of_case_pf10() -> None:
    _, expected, tolerance = case("PF10")
    state, _ = solved(two_bus_net())
    assert state.bus_vm_pu[1] == pytest.approx(expected["v2_pu"], abs=tolerance["v2_pu"])
    assert state.loss_kw[0] == pytest.approx(expected["loss_kw"], abs=tolerance["loss_kw"])
    loss_kvar = state.q_from_kvar[0] + state.q_to_kvar[0]
    assert loss_kvar == pytest.approx(expected["loss_kvar"], abs=tolerance["loss_kw"])


# Equality with pandapower ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("case33bw", {}),
        ("create_cigre_network_lv", {}),
        ("create_cigre_network_mv", {"with_der": "all"}),
        ("mv_oberrhein", {}),
        ("simple_mv_open_ring_net", {}),
        ("create_synthetic_voltage_control_lv_network", {"network_class": "suburb_1"}),
    ],
)
def test_fixed_point_is_equal_to_runpp(function: str, arguments: dict[str, Any]) -> None:
    power_flow = assert_equal_to_runpp(named_net(function, **arguments))
    assert power_flow.fallbacks == 0


@pytest.mark.parametrize("function", ["example_multivoltage", "create_cigre_network_hv"])
def test_networks_with_voltage_controlling_generators_are_solved_by_runpp_and_counted(
    function: str,
) -> None:
    power_flow = assert_equal_to_runpp(named_net(function))
    assert power_flow.fallbacks == 1


def test_open_line_switch_out_of_service_bus_and_bus_coupler_are_equal_to_runpp() -> None:
    net = pandapower.networks.create_cigre_network_mv()
    net.switch["closed"] = True
    open_end = net.line.index[8]
    pp.create_switch(net, net.line.to_bus.at[open_end], open_end, et="l", closed=False)
    coupled = pp.create_bus(net, 20.0)
    pp.create_switch(net, 5, coupled, et="b", closed=True)
    pp.create_load(net, coupled, 0.3, 0.1)
    dead = pp.create_bus(net, 20.0, in_service=False)
    pp.create_line(net, 6, dead, 0.5, "NA2XS2Y 1x185 RM/25 12/20 kV")
    power_flow = assert_equal_to_runpp(net)
    grid = power_flow.grid
    assert grid.node_of_bus[net.bus.index.get_loc(dead)] == -1
    assert grid.node_of_bus[net.bus.index.get_loc(coupled)] == grid.node_of_bus[5]


def test_tap_positions_count_although_the_tap_changer_type_is_missing() -> None:
    net = pandapower.networks.create_cigre_network_mv()
    net.trafo["tap_side"] = "hv"
    net.trafo["tap_neutral"], net.trafo["tap_pos"] = 0, 3
    net.trafo["tap_step_percent"], net.trafo["tap_step_degree"] = 1.5, 0.0
    net.trafo["tap_changer_type"] = None
    tapped, _ = solved(net)
    activate_tap_changers(net)
    assert list(net.trafo.tap_changer_type.unique()) == ["Ratio"]
    pp.runpp(net, calculate_voltage_angles=True, init="dc", numba=False)
    np.testing.assert_allclose(tapped.bus_vm_pu, net.res_bus.vm_pu, rtol=0, atol=VM_TOLERANCE_PU)


def test_building_the_grid_leaves_the_network_as_it_was() -> None:
    net = pandapower.networks.create_cigre_network_lv()
    loads, trafos = net.load.copy(), net.trafo.copy()
    build_electrical_grid(net)
    assert net.load.equals(loads)
    assert net.trafo.equals(trafos)
    assert len(net.res_bus) == 0


def test_a_rated_snapshot_that_does_not_converge_is_no_obstacle_to_building() -> None:
    net = pandapower.networks.create_cigre_network_lv()
    net.load["p_mw"] *= 100.0
    assert build_electrical_grid(net).n_nodes == build_electrical_grid(cigre_lv()).n_nodes


# Fall-back and errors --------------------------------------------------------------------------


@cache
def cigre_lv() -> Any:
    return pandapower.networks.create_cigre_network_lv()


def test_newton_takes_over_near_voltage_collapse() -> None:
    # The most these two buses can carry is V^2 / (2 (|Z| + R)) = 192.6 kW at unit power factor.
    net = two_bus_net()
    grid = build_electrical_grid(net)
    power_flow = PowerFlow(grid, net)
    p_kw = grid.sum_to_nodes([1], [190.0])
    state = power_flow.solve(p_kw, np.zeros(2))
    assert state.method == "runpp"
    assert power_flow.fallbacks == 1
    current_pu = -np.conj(p_kw[1] / 1e3 / state.v[1])
    impedance_pu = grid.branch_r_pu[0] + 1j * grid.branch_x_pu[0]
    assert state.v[1] == pytest.approx(1.0 + impedance_pu * current_pu, abs=VM_TOLERANCE_PU)


def test_a_state_without_solution_names_the_power_the_lowest_voltage_and_the_bus() -> None:
    net = cigre_lv()
    grid = build_electrical_grid(net)
    p_kw, q_kvar = consumption(net, grid)
    with pytest.raises(PowerFlowError) as raised:
        PowerFlow(grid, net).solve(p_kw * 1000.0, q_kvar)
    message = str(raised.value)
    assert f"{p_kw.sum() * 1000:,.0f} kW consumed" in message
    assert "pu at bus '" in message
    assert "kW, not W or MW" in message


def test_after_a_failed_slot_the_next_one_is_solved_as_if_nothing_had_happened() -> None:
    net = cigre_lv()
    grid = build_electrical_grid(net)
    p_kw, q_kvar = consumption(net, grid)
    power_flow = PowerFlow(grid, net)
    with pytest.raises(PowerFlowError):
        power_flow.solve(p_kw * 1000.0, q_kvar)
    fresh = PowerFlow(grid, net).solve(p_kw, q_kvar)
    np.testing.assert_array_equal(power_flow.solve(p_kw, q_kvar).v, fresh.v)


def test_a_resumed_power_flow_gives_the_same_bits_from_its_start_voltage() -> None:
    net = cigre_lv()
    grid = build_electrical_grid(net)
    p_kw, q_kvar = consumption(net, grid)
    running = PowerFlow(grid, net)
    running.solve(p_kw * 0.5, q_kvar)
    resumed = PowerFlow(grid, net)
    resumed.start_voltage = running.start_voltage.copy()
    np.testing.assert_array_equal(running.solve(p_kw, q_kvar).v, resumed.solve(p_kw, q_kvar).v)


def test_a_network_without_external_grid_is_refused_with_advice() -> None:
    net = pandapower.networks.create_cigre_network_lv()
    net.ext_grid["in_service"] = False
    with pytest.raises(GridError, match="ext_grid"):
        build_electrical_grid(net)


def test_an_element_that_cannot_be_modelled_is_refused_by_its_table() -> None:
    net = pandapower.networks.create_cigre_network_mv()
    pp.create_dcline(net, 3, 5, p_mw=0.1, loss_percent=1, loss_mw=0, vm_from_pu=1, vm_to_pu=1)
    with pytest.raises(GridError, match="dcline"):
        build_electrical_grid(net)


# Properties ------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(-1.0, 1.0))
def test_the_external_grid_delivers_consumption_plus_losses(seed: int, share: float) -> None:
    net = cigre_lv()
    power_flow = cigre_lv_power_flow()
    grid = power_flow.grid
    random = np.random.default_rng(seed)
    rated_kw, rated_kvar = consumption(net, grid)
    p_kw = share * rated_kw * random.uniform(0.0, 1.0, grid.n_nodes)
    q_kvar = rated_kvar * random.uniform(-0.5, 0.5, grid.n_nodes)
    state = power_flow.solve(p_kw, q_kvar)
    assert state.slack_power_kva.sum().real == pytest.approx(
        p_kw.sum() + state.loss_kw.sum(), abs=1e-3
    )
    assert (state.loss_kw > -1e-9).all()


@cache
def cigre_lv_power_flow() -> PowerFlow:
    return PowerFlow(build_electrical_grid(cigre_lv()), cigre_lv())


@given(values=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=60))
def test_summing_to_nodes_keeps_the_total(values: list[float]) -> None:
    grid = cigre_lv_power_flow().grid
    rows = np.arange(len(values)) % len(grid.node_of_bus)
    kept = grid.node_of_bus[rows] >= 0
    total = np.array(values)[kept].sum()
    assert grid.sum_to_nodes(rows, values).sum() == pytest.approx(total, abs=1e-6)
