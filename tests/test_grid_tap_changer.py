"""On-load tap changers: what they hold, when they move, and what the matrices become."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandapower as pp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tricell.errors import GridError
from tricell.grid_models.electrical_grid import ElectricalGrid, build_electrical_grid
from tricell.grid_models.power_flow import PowerFlow
from tricell.grid_models.tap_changer import (
    DEAD_BAND_STEPS,
    DEFAULT_SET_POINT_PU,
    TapController,
    find_tap_changers,
)

HV_MV = "25 MVA 110/20 kV"
SET_POINT_PU = 1.02
STEP_PU = 0.015


def regulated_net(**columns: Any) -> Any:
    """Two parallel regulated transformers, then a third one in series."""
    net = pp.create_empty_network()
    ehv = pp.create_bus(net, 110.0)
    hv, mv, lv = (pp.create_bus(net, kv) for kv in (20.0, 20.0, 0.4))
    pp.create_ext_grid(net, ehv, vm_pu=1.05)
    for name in ("first", "second"):
        pp.create_transformer(net, ehv, hv, HV_MV, name=name)
    pp.create_line(net, hv, mv, 5.0, "NA2XS2Y 1x185 RM/25 12/20 kV")
    pp.create_transformer(net, mv, lv, "0.63 MVA 20/0.4 kV", name="third")
    net.trafo["tap_side"], net.trafo["tap_changer_type"] = "hv", None
    net.trafo["tap_neutral"], net.trafo["tap_pos"] = 0, 0
    net.trafo["tap_min"], net.trafo["tap_max"] = -9, 9
    net.trafo["tap_step_percent"], net.trafo["tap_step_degree"] = 100 * STEP_PU, 0.0
    net.trafo["autoTap"], net.trafo["autoTapSide"] = 1, "lv"
    net.trafo["autoTapSetp"] = SET_POINT_PU
    for name, values in columns.items():
        net.trafo[name] = values
    return net


def controlled(net: Any, **options: Any) -> tuple[TapController, ElectricalGrid, PowerFlow]:
    grid = build_electrical_grid(net)
    power_flow = PowerFlow(grid, net)
    return TapController(grid, net, power_flow, **options), grid, power_flow


def loads(grid: ElectricalGrid, mv_kw: float, lv_kw: float) -> tuple[Any, Any]:
    p_kw = grid.sum_to_nodes([2, 3], [mv_kw, lv_kw])
    return p_kw, 0.3 * p_kw


def runpp_at(net: Any, grid: ElectricalGrid, positions: Any, power: tuple[Any, Any]) -> Any:
    """Solve by pandapower with the same taps and powers."""
    net.trafo["tap_changer_type"] = "Ratio"
    net.trafo["tap_pos"] = positions
    net.load = net.load.iloc[:0]
    for row in range(len(net.bus)):
        node = grid.node_of_bus[row]
        pp.create_load(net, net.bus.index[row], power[0][node] / 1e3, power[1][node] / 1e3)
    pp.runpp(net, init="dc", calculate_voltage_angles=True, numba=False, tolerance_mva=1e-9)
    return net


# Matrices --------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    positions=st.lists(st.integers(-9, 9), min_size=3, max_size=3),
    sides=st.lists(st.sampled_from(["hv", "lv"]), min_size=3, max_size=3),
    degree=st.sampled_from([0.0, 90.0, 120.0]),
)
def test_corrected_admittances_are_those_that_pandapower_builds(
    positions: list[int], sides: list[str], degree: float
) -> None:
    # Phase angles only on the transformer in series: in parallel they would make a short circuit.
    net = regulated_net(tap_side=sides, tap_step_degree=[0.0, 0.0, degree])
    positions[1], sides[1] = positions[0], sides[0]
    controller, grid, power_flow = controlled(net)
    controller.positions = np.array(positions)
    power = loads(grid, 8000.0, 300.0)
    state = power_flow.solve(*power)
    pandapowers = runpp_at(net, grid, positions, power)
    np.testing.assert_allclose(state.bus_vm_pu, pandapowers.res_bus.vm_pu, rtol=0, atol=1e-7)
    np.testing.assert_allclose(
        state.trafo_loading_percent, pandapowers.res_trafo.loading_percent, rtol=0, atol=1e-3
    )
    rebuilt = build_electrical_grid(pandapowers)
    np.testing.assert_allclose(controller.branch_ratio, rebuilt.branch_ratio, rtol=1e-12)
    difference = abs(power_flow.admittances.y_bus - rebuilt.y_bus).max()
    assert difference < 1e-9 * abs(rebuilt.y_bus).max()


def test_the_newton_fall_back_knows_the_tap_positions() -> None:
    net = regulated_net()
    controller, grid, power_flow = controlled(net)
    controller.positions = np.array([3, 3, -2])
    power = loads(grid, 8000.0, 300.0)
    fixed_point = power_flow.solve(*power)
    newton = power_flow._newton.solve(*power, power_flow.admittances.tap_positions)
    assert newton is not None
    np.testing.assert_allclose(newton[0], fixed_point.v, rtol=0, atol=1e-7)


def test_matrices_are_kept_per_set_of_positions() -> None:
    controller, _, power_flow = controlled(regulated_net())
    in_the_data = power_flow.admittances
    controller.positions = np.array([1, 1, 0])
    moved = power_flow.admittances
    assert moved is not in_the_data
    controller.positions = np.array([0, 0, 0])
    assert power_flow.admittances is in_the_data
    controller.positions = np.array([1, 1, 0])
    assert power_flow.admittances is moved


# Control ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mv_kw", "lv_kw"), [(0.0, 0.0), (12e3, 500.0), (-9e3, -500.0)])
def test_regulated_voltages_end_inside_the_dead_band(mv_kw: float, lv_kw: float) -> None:
    controller, grid, _ = controlled(regulated_net())
    state = controller.regulate(*loads(grid, mv_kw, lv_kw))
    for bus in (1, 3):
        error_pu = abs(state.bus_vm_pu[bus] - SET_POINT_PU)
        assert error_pu <= DEAD_BAND_STEPS * STEP_PU
    assert controller.unsettled == 0
    assert controller.moves > 0


def test_parallel_transformers_move_together() -> None:
    controller, grid, _ = controlled(regulated_net())
    controller.regulate(*loads(grid, 15e3, 100.0))
    first, second, _ = controller.positions
    assert first == second != 0


def test_end_positions_are_kept() -> None:
    controller, grid, _ = controlled(regulated_net(tap_min=-1, tap_max=1, autoTapSetp=1.2))
    state = controller.regulate(*loads(grid, 5e3, 100.0))
    assert controller.positions.tolist() == [-1, -1, -1]
    assert state.bus_vm_pu[1] < 1.2
    assert controller.unsettled == 0


def test_small_swings_inside_the_dead_band_move_nothing() -> None:
    controller, grid, _ = controlled(regulated_net())
    controller.regulate(*loads(grid, 5e3, 100.0))
    settled, moves = controller.positions, controller.moves
    for swing in (0.98, 1.02, 0.99, 1.01):
        controller.regulate(*loads(grid, 5e3 * swing, 100.0))
    assert controller.positions.tolist() == settled.tolist()
    assert controller.moves == moves


def test_the_same_slots_give_the_same_positions_and_bits() -> None:
    def run() -> tuple[list[list[int]], bytes]:
        controller, grid, _ = controlled(regulated_net())
        positions, voltages = [], b""
        for slot in range(20):
            mv_kw = 9e3 * np.sin(slot)
            voltages += controller.regulate(*loads(grid, mv_kw, 0.03 * mv_kw)).v.tobytes()
            positions.append(controller.positions.tolist())
        return positions, voltages

    assert run() == run()


def test_a_tap_on_the_low_voltage_side_moves_the_other_way() -> None:
    on_hv, grid, _ = controlled(regulated_net())
    on_lv, _, _ = controlled(regulated_net(tap_side="lv"))
    for controller in (on_hv, on_lv):
        controller.regulate(*loads(grid, 12e3, 100.0))
    assert np.sign(on_hv.positions[0]) == -np.sign(on_lv.positions[0]) != 0


# Data ------------------------------------------------------------------------------------------


def test_a_missing_set_point_is_taken_from_the_same_level_and_recorded() -> None:
    net = regulated_net(autoTapSetp=[1.03, np.nan, np.nan])
    tap_changers, findings = find_tap_changers(net, build_electrical_grid(net))
    assert [tap.set_point_pu for tap in tap_changers] == [1.03, 1.03, DEFAULT_SET_POINT_PU]
    assert [finding.name for finding in findings] == ["second", "third"]
    assert "1.03 pu is held" in findings[0].treatment


def test_a_transformer_marked_as_regulated_without_steps_is_left_alone_and_recorded() -> None:
    net = regulated_net(tap_step_percent=[1.5, 1.5, np.nan])
    tap_changers, findings = find_tap_changers(net, build_electrical_grid(net))
    assert [tap.row for tap in tap_changers] == [0, 1]
    assert "tap step is missing" in findings[0].message


def test_set_points_by_name_regulate_transformers_that_the_data_do_not_mark() -> None:
    net = regulated_net(autoTap=0)
    assert controlled(net)[0].tap_changers == ()
    controller, grid, _ = controlled(net, set_points_pu={"third": 1.0})
    state = controller.regulate(*loads(grid, 1e3, 300.0))
    assert [tap.row for tap in controller.tap_changers] == [2]
    assert state.bus_vm_pu[3] == pytest.approx(1.0, abs=DEAD_BAND_STEPS * STEP_PU)


def test_a_set_point_for_an_unknown_transformer_is_refused_by_name() -> None:
    net = regulated_net()
    with pytest.raises(GridError) as raised:
        find_tap_changers(net, plain_grid(), {"thrid": 1.0})
    assert "'thrid'" in str(raised.value)
    assert "third" in str(raised.value)


@cache
def plain_grid() -> ElectricalGrid:
    return build_electrical_grid(regulated_net())
