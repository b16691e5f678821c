"""SimBench networks: loading them by code or in parts, and their power flow cases."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pytest
import simbench
from numpy.typing import NDArray
from pydantic import ValidationError

from tricell.errors import GridError
from tricell.grid_models.area_tree import cut_areas
from tricell.grid_models.electrical_grid import (
    BranchKind,
    ElectricalGrid,
    build_electrical_grid,
    private_copy,
)
from tricell.grid_models.power_flow import PowerFlow, PowerFlowState
from tricell.grid_models.simbench_grid import SimbenchGrid, load_simbench_grid, low_voltage_grids

FloatArray = NDArray[np.float64]
CASES = Path(__file__).parent / "cases"
SNAPSHOT_CASES = ("SB01", "SB03", "SB06")


def case(name: str) -> tuple[Any, Any, Any]:
    given = json.loads((CASES / name / "input.json").read_text())
    expected = json.loads((CASES / name / "expected.json").read_text())
    return given, expected["expected"], expected["tolerance"]


@cache
def simbench_net(**parts: Any) -> Any:
    return load_simbench_grid(SimbenchGrid(kind="simbench", **parts))


def write_step(net: Any, step: int) -> None:
    """Write one row of the profiles into the element tables."""
    net.profiles = {name: table.iloc[step : step + 1] for name, table in net.profiles.items()}
    for (table, column), values in simbench.get_absolute_values(net, True).items():
        if len(net[table]):
            net[table][column] = values.iloc[0].to_numpy()


def consumption(net: Any, grid: ElectricalGrid) -> tuple[FloatArray, FloatArray]:
    p_kw, q_kvar = np.zeros(grid.n_nodes), np.zeros(grid.n_nodes)
    for table, sign in (("load", 1.0), ("sgen", -1.0), ("storage", 1.0)):
        elements = net[table][net[table].in_service]
        rows = net.bus.index.get_indexer(elements.bus)
        p_kw += sign * grid.sum_to_nodes(rows, elements.p_mw * elements.scaling * 1e3)
        q_kvar += sign * grid.sum_to_nodes(rows, elements.q_mvar * elements.scaling * 1e3)
    return p_kw, q_kvar


def solved(net: Any) -> PowerFlowState:
    grid = build_electrical_grid(net)
    return PowerFlow(grid, net).solve(*consumption(net, grid))


def line_loss_kw(state: PowerFlowState) -> float:
    return float(state.loss_kw[state.grid.branch_kind == BranchKind.LINE].sum())


# Power flow cases ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SNAPSHOT_CASES)
def test_simbench_snapshots_have_the_voltages_losses_and_loadings_of_the_cases(name: str) -> None:
    inputs, expected, tolerance = case(name)
    net = simbench_net(code=inputs["code"])
    write_step(net, inputs["step"])
    state = solved(net)
    vm_pu, kw = state.bus_vm_pu, tolerance["kw"]
    assert vm_pu.min() == pytest.approx(expected["vmin"], abs=tolerance["vm_pu"])
    assert vm_pu.max() == pytest.approx(expected["vmax"], abs=tolerance["vm_pu"])
    vm_by_name = dict(zip(net.bus.name, vm_pu, strict=True))
    assert vm_by_name[expected["vmin_bus"]] == pytest.approx(vm_pu.min(), abs=1e-9)
    assert vm_by_name[expected["vmax_bus"]] == pytest.approx(vm_pu.max(), abs=1e-9)
    trafo_loss_kw = state.loss_kw[state.grid.branch_kind == BranchKind.TRAFO].sum()
    assert line_loss_kw(state) == pytest.approx(expected["loss_line_kw"], abs=kw)
    assert trafo_loss_kw == pytest.approx(expected["loss_trafo_kw"], abs=kw)
    delivered = state.slack_power_kva.sum()
    assert delivered.real == pytest.approx(expected["slack_p_kw"], abs=kw)
    assert delivered.imag == pytest.approx(expected["slack_q_kvar"], abs=kw)
    assert net.load.p_mw.sum() * 1e3 == pytest.approx(expected["load_kw"], abs=kw)
    assert net.sgen.p_mw.sum() * 1e3 == pytest.approx(expected["sgen_kw"], abs=kw)
    percent = tolerance["percent"]
    assert state.line_loading_percent.max() == pytest.approx(
        expected["max_line_loading"], abs=percent
    )
    assert state.trafo_loading_percent.max() == pytest.approx(
        expected["trafo_loading"], abs=percent
    )


@cache
def district_of_case_sb11() -> Any:
    inputs, _, _ = case("SB11")
    net = simbench_net(mv=tuple(inputs["mv"]), lv_per_mv=inputs["lv_per_mv"], scenario=0)
    write_step(net, inputs["step"])
    return net


def test_joint_power_flow_has_the_interface_powers_of_case_sb11() -> None:
    _, expected, tolerance = case("SB11")
    net = district_of_case_sb11()
    state = solved(net)
    for name, p_kw in expected["interface_p_kw"].items():
        branch = state.grid.trafo_branch[net.trafo.name.to_list().index(name)]
        assert state.p_from_kw[branch] == pytest.approx(p_kw, abs=tolerance["kw"]), name
    assert line_loss_kw(state) == pytest.approx(expected["loss_line_kw"], abs=tolerance["kw"])
    delivered_kw = state.slack_power_kva.sum().real
    assert delivered_kw == pytest.approx(expected["slack_p_kw"], abs=tolerance["kw"])
    # The expected voltage is rounded to 1e-5; 1e-7 holds between the split and the joint run.
    assert state.bus_vm_pu.min() == pytest.approx(expected["vmin_pu"], abs=5e-6)


def test_levels_solved_in_turn_reach_the_joint_solution_in_the_rounds_of_case_sb11() -> None:
    _, expected, tolerance = case("SB11")
    net = district_of_case_sb11()
    joint = solved(net)
    tree = cut_areas(net)
    areas = {name: area for area, name in enumerate(tree.id) if name.startswith("LV")}
    trafo_row = {name: tree.connection_trafos[area][0][1] for name, area in areas.items()}
    lower = {
        name: _sub_flow(net, tree.area_of_bus == area, [trafo_row[name]])
        for name, area in areas.items()
    }
    upper_net = private_copy(net)
    upper_net.trafo.loc[upper_net.trafo.index[list(trafo_row.values())], "in_service"] = False
    upper = _sub_flow(upper_net, ~np.isin(tree.area_of_bus, list(areas.values())), [])
    interface_kva = dict.fromkeys(areas, 0.0 + 0.0j)
    rounds, change_kva = 0, np.inf
    while change_kva > 1e-5 and rounds < 10:
        rounds += 1
        state = _solve_with(
            upper, {net.trafo.hv_bus.iloc[trafo_row[n]]: s for n, s in interface_kva.items()}
        )
        before = dict(interface_kva)
        for name, (lower_net, grid) in lower.items():
            hv_row = net.bus.index.get_loc(net.trafo.hv_bus.iloc[trafo_row[name]])
            held = replace(grid, slack_voltage=state.v[[upper[1].node_of_bus[hv_row]]])
            below = PowerFlow(held, lower_net).solve(*consumption(lower_net, grid))
            interface_kva[name] = below.slack_power_kva[0]
        change_kva = max(abs(interface_kva[n] - before[n]) for n in areas)
    # The last round only finds that nothing changes any more.
    assert rounds - 1 <= expected["iterations_to_1e_8_mw"] + tolerance["iterations"]
    for name, row in trafo_row.items():
        joint_kw = joint.p_from_kw[joint.grid.trafo_branch[row]]
        assert interface_kva[name].real == pytest.approx(joint_kw, abs=tolerance["kw"])
    upper_buses = upper[1].node_of_bus >= 0
    np.testing.assert_allclose(
        state.bus_vm_pu[upper_buses],
        joint.bus_vm_pu[upper_buses],
        rtol=0,
        atol=tolerance["vm_pu"],
    )


def _sub_flow(net: Any, keep: NDArray[np.bool_], trafo_rows: list[int]) -> tuple[Any, Any]:
    """Keep some buses; with transformers, their upper buses become the external grid."""
    part = private_copy(net)
    hv_buses = part.trafo.hv_bus.iloc[trafo_rows].to_list()
    part.bus["in_service"] = keep | part.bus.index.isin(hv_buses)
    if trafo_rows:
        part.ext_grid = part.ext_grid.iloc[:0]
        pp.create_ext_grid(part, hv_buses[0])
        for table in ("load", "sgen"):
            part[table] = part[table][~part[table].bus.isin(hv_buses)]
        part.line = part.line[~part.line.from_bus.isin(hv_buses) & ~part.line.to_bus.isin(hv_buses)]
        part.switch = part.switch[
            ~((part.switch.et == "l") & ~part.switch.element.isin(part.line.index))
        ]
    return part, build_electrical_grid(part)


def _solve_with(part: tuple[Any, Any], added_kva: dict[Any, complex]) -> PowerFlowState:
    net, grid = part
    p_kw, q_kvar = consumption(net, grid)
    for bus, power in added_kva.items():
        node = grid.node_of_bus[net.bus.index.get_loc(bus)]
        p_kw[node] += power.real
        q_kvar[node] += power.imag
    return PowerFlow(grid, net).solve(p_kw, q_kvar)


# Composed networks -----------------------------------------------------------------------------


def test_low_voltage_grids_without_medium_voltage_hang_on_one_busbar() -> None:
    net = simbench_net(lv=("LV2.101", "LV4.101"))
    tree = cut_areas(net)
    assert sorted(tree.id[1:]) == ["LV2.101", "LV4.101"]
    assert tree.parent.tolist() == [-1, 0, 0]
    assert tree.level.tolist() == [2, 1, 1]
    assert len(net.ext_grid) == 1
    assert set(net.profiles) >= {"load", "renewables"}
    # 96 and 43 buses, and the busbar that both share.
    assert tree.n_bus[0] == 1
    assert sorted(tree.n_bus[1:]) == [43, 96]


def test_the_region_has_a_multicell_five_cells_and_twelve_microgrids() -> None:
    # MV3.101 gives two cells, for its busbar sections are open: real_data of SimBench 1.6.3.
    net = simbench_net(
        hv="HV1", mv=("MV1.101", "MV2.101", "MV3.101", "MV4.101"), lv_per_mv=3, scenario=2
    )
    assert len(net.bus) == 1840
    tree = cut_areas(net)
    assert np.bincount(tree.level, minlength=4).tolist() == [0, 12, 5, 1]
    assert tree.id[0] == "HV1"
    merged = cut_areas(net, merge_by_substation=True)
    assert np.bincount(merged.level, minlength=4).tolist() == [0, 12, 4, 1]
    assert "MV3.101" in merged.id

    # Three external grids at two different voltages, six transformers, a meshed high voltage.
    grid = build_electrical_grid(net)
    assert len(grid.slack_nodes) == 3
    net.load["scaling"] = net.sgen["scaling"] = net.storage["scaling"] = 0.1
    state = PowerFlow(grid, net).solve(*consumption(net, grid))
    pp.runpp(net, calculate_voltage_angles=True, init="dc", numba=False, tolerance_mva=1e-9)
    np.testing.assert_allclose(state.bus_vm_pu, net.res_bus.vm_pu, rtol=0, atol=1e-6)
    for ours, theirs in (
        (state.line_loading_percent, net.res_line),
        (state.trafo_loading_percent, net.res_trafo),
    ):
        np.testing.assert_allclose(ours, theirs.loading_percent, rtol=0, atol=1e-3)


def test_low_voltage_grids_are_chosen_one_of_each_type_in_turn() -> None:
    six = low_voltage_grids("MV2.101", 2, 6)
    assert six == ["LV1.201", "LV2.201", "LV3.201", "LV4.201", "LV5.201", "LV6.201"]
    assert low_voltage_grids("MV2.101", 2, 7) == [*six, "LV1.202"]


# Errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"code": "1-LV-rural9--0-sw"}, ["'1-LV-rural9--0-sw'", "Did you mean", "1-LV-rural"]),
        ({"mv": ["MV2.1"]}, ["'MV2.1'", "'mv'", "MV2."]),
        ({"mv": ["MV2.101"], "lv": ["LV1.101"]}, ["LV1.101", "Add MV1.101"]),
        ({"mv": ["MV2.101"], "lv": ["LV1.201", "LV1.201"]}, ["LV1.201", "more than once"]),
        ({"lv": ["LV1.101", "LV3.301"]}, ["10.0, 20.0", "one busbar"]),
        ({"mv": ["MV1.102"], "lv_per_mv": 2}, ["MV1.102", "MV1.101, MV2.101"]),
        ({"hv": "HV2", "mv": ["MV1.101"]}, ["MV1.101", "HV2"]),
    ],
)
def test_unknown_or_unfitting_grids_are_named_with_what_is_allowed(
    parts: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(GridError) as raised:
        load_simbench_grid(SimbenchGrid(kind="simbench", **parts))
    for word in words:
        assert word in str(raised.value)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"code": "1-LV-rural1--0-sw", "mv": ["MV2.101"]},
        {"code": "1-LV-rural1--0-sw", "scenario": 0},
        {"mv": ["MV2.101"], "lv": ["LV1.201"], "lv_per_mv": 1},
        {"lv_per_mv": 1},
        {"hv": "HV1"},
        {"mv": ["MV2.101"], "scenario": 3},
        {"mv": ["MV2.101"], "lvs": ["LV1.201"]},
    ],
)
def test_contradicting_parameters_are_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SimbenchGrid(kind="simbench", **parts)
