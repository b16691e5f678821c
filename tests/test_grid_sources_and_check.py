"""Networks from pandapower and from files, and what a check says about them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks
import pandas as pd
import pytest
from pandapower.io_utils import to_dict_of_dfs
from pydantic import TypeAdapter, ValidationError

from tricell.errors import GridError
from tricell.grid_models.file_grid import FileGrid
from tricell.grid_models.grid_check import check_grid
from tricell.grid_models.grid_sources import GridSource, list_grids, load_grid
from tricell.grid_models.pandapower_grid import PandapowerGrid


def pandapower_grid(function: str, **arguments: Any) -> PandapowerGrid:
    return PandapowerGrid(kind="pandapower", function=function, arguments=arguments)


# Sources ---------------------------------------------------------------------------------------


def test_the_kind_of_a_source_chooses_its_parameters() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(GridSource)
    source = adapter.validate_python({"kind": "pandapower", "function": "case33bw"})
    assert isinstance(source, PandapowerGrid)
    assert len(load_grid(source).bus) == 33
    with pytest.raises(ValidationError, match="simbench"):
        adapter.validate_python({"kind": "matpower"})
    with pytest.raises(ValidationError, match="Extra inputs"):
        adapter.validate_python({"kind": "pandapower", "function": "case33bw", "argument": {}})


def test_arguments_reach_the_network_function() -> None:
    net = load_grid(pandapower_grid("create_cigre_network_mv", with_der="pv_wind"))
    assert len(net.sgen) == 9


def test_every_listed_grid_has_a_kind_and_can_be_named_once() -> None:
    grids = list_grids()
    names = [grid.name for grid in grids]
    assert len(names) == len(set(names))
    assert {"1-LV-rural2--2-sw", "case33bw", "mv_oberrhein"} <= set(names)
    assert {grid.kind for grid in grids} == {"simbench", "pandapower"}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (pandapower_grid("create_cigre_net_mv"), ["Did you mean 'create_cigre_network_mv'"]),
        (pandapower_grid("sys"), ["no function 'sys'"]),
        (pandapower_grid("create_cigre_network_mv", der=1), ["cannot be called", "(with_der="]),
        (pandapower_grid("create_cigre_network_mv", with_der="x"), ["refuses", "pv_wind"]),
    ],
)
def test_a_wrong_function_or_argument_is_named_with_what_is_allowed(
    source: PandapowerGrid, words: list[str]
) -> None:
    with pytest.raises(GridError) as raised:
        load_grid(source)
    for word in words:
        assert word in str(raised.value)


def write_json(net: Any, path: Path) -> None:
    pp.to_json(net, str(path))


def write_excel(net: Any, path: Path) -> None:
    """Write what `pandapower.to_excel` writes, without its extra dependency."""
    with pd.ExcelWriter(path, engine="openpyxl") as workbook:
        for name, table in to_dict_of_dfs(net).items():
            table.to_excel(workbook, sheet_name=name)


@pytest.mark.parametrize(("name", "write"), [("own.json", write_json), ("own.xlsx", write_excel)])
def test_a_planners_own_file_is_read(
    tmp_path: Path, name: str, write: Callable[[Any, Path], None]
) -> None:
    net = pandapower.networks.create_cigre_network_mv()
    write(net, tmp_path / name)
    read = load_grid(FileGrid(kind="file", path=tmp_path / name))
    assert read.bus.name.to_list() == net.bus.name.to_list()
    np.testing.assert_allclose(read.line.length_km, net.line.length_km)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.json", None, ["no file", "Check 'path'"]),
        ("grid.csv", "a;b", ["'.csv'", ".json", ".xlsx"]),
        ("cut.json", '{"_module": "pandapower', ["no pandapower network", "to_json"]),
        ("other.json", "[1, 2]", ["no pandapower network"]),
        ("empty.json", "", ["no pandapower network"]),
        ("other.xlsx", "no workbook", ["no pandapower network"]),
    ],
)
def test_missing_and_garbled_files_are_named_with_what_to_do(
    tmp_path: Path, name: str, content: str | None, words: list[str]
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(GridError) as raised:
        load_grid(FileGrid(kind="file", path=path))
    for word in (str(path), *words):
        assert word in str(raised.value)


# Check -----------------------------------------------------------------------------------------


def sound_net() -> Any:
    net = pandapower.networks.create_cigre_network_mv()
    net.bus["min_vm_pu"], net.bus["max_vm_pu"] = 0.9, 1.1
    return net


def test_a_sound_network_has_no_findings() -> None:
    assert check_grid(sound_net()) == []


def break_external_grid(net: Any) -> None:
    net.ext_grid["in_service"] = False


def break_island(net: Any) -> None:
    net.trafo.loc[1, "in_service"] = False


def break_impedance(net: Any) -> None:
    net.line.loc[3, ["r_ohm_per_km", "x_ohm_per_km"]] = 0.0


def break_rating(net: Any) -> None:
    net.line.loc[4, "max_i_ka"] = np.nan
    net.line.loc[5, "max_i_ka"] = -1.0
    net.line.loc[6, "max_i_ka"] = 99999.0


def break_trafo_rating(net: Any) -> None:
    net.trafo.loc[1, "sn_mva"] = 0.0


def break_voltage_limit(net: Any) -> None:
    net.bus.loc[2, "max_vm_pu"] = np.nan


def swap_voltage_limits(net: Any) -> None:
    net.bus.loc[2, "min_vm_pu"] = 1.2


def add_impedance_load(net: Any) -> None:
    pp.create_load(net, 4, 0.1, const_z_p_percent=50.0)


def add_generator(net: Any) -> None:
    pp.create_gen(net, 4, 0.1)


def add_dcline(net: Any) -> None:
    pp.create_dcline(net, 3, 5, p_mw=0.1, loss_percent=1, loss_mw=0, vm_from_pu=1, vm_to_pu=1)


def add_asymmetric_load(net: Any) -> None:
    pp.create_asymmetric_load(net, 4, p_a_mw=0.1)


def add_dead_bus(net: Any) -> None:
    pp.create_bus(net, 20.0, min_vm_pu=0.9, max_vm_pu=1.1)


@pytest.mark.parametrize(
    ("change", "severity", "table", "word"),
    [
        (break_external_grid, "error", "ext_grid", "create_ext_grid"),
        (break_island, "error", "bus", "no path to an external grid"),
        (break_impedance, "error", "line", "no impedance"),
        (break_rating, "warning", "line", "no thermal limit is enforced"),
        (break_trafo_rating, "error", "trafo", "sn_mva"),
        (break_voltage_limit, "warning", "bus", "0.9 to 1.1 pu"),
        (swap_voltage_limits, "error", "bus", "min_vm_pu is above max_vm_pu"),
        (add_impedance_load, "warning", "load", "treated as constant power"),
        (add_generator, "warning", "gen", "Newton"),
        (add_generator, "warning", "gen", "no part in trading: its power is in no bill and in no"),
        (add_dcline, "error", "dcline", "cannot be modelled"),
        (add_asymmetric_load, "warning", "asymmetric_load", "balanced"),
        (add_dead_bus, "warning", "bus", "nothing is connected"),
    ],
)
def test_each_fault_is_found_with_its_element_and_treatment(
    change: Callable[[Any], None], severity: str, table: str, word: str
) -> None:
    net = sound_net()
    change(net)
    findings = [finding for finding in check_grid(net) if finding.table == table]
    assert [finding.severity for finding in findings] == [severity]
    assert word in findings[0].message + findings[0].treatment
    assert findings[0].name
    assert findings[0].row >= -1


def test_elements_with_the_same_fault_are_named_together_and_errors_come_first() -> None:
    net = sound_net()
    break_rating(net)
    break_impedance(net)
    findings = check_grid(net)
    assert [finding.severity for finding in findings] == ["error", "warning"]
    for line in (4, 5, 6):
        assert net.line.name[line] in findings[1].name
    assert findings[1].row == 4
