"""Other programs read a results file, finished or going on, each in a process of its own.

Every reader prints what it sees; it has to be what h5py sees, number by number. Two libraries of
HDF5 in one process would disturb each other, so none is loaded here but h5py's.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from tests.golden_file import CHECKPOINTS, unpacked_golden, write_running
from tests.outside_tools import READERS, require_node_package, require_tool

from tricell.results import layout

Seen = dict[str, Any]

NAMES = {
    "net": "timeseries/agent/p_net",
    "vm": "timeseries/bus/vm",
    "ids": "timeseries/agent/agent",
    "seconds": "timeseries/agent/time",
    "verdict": "timeseries/slot/verdict",
    "trade_energy": "tables/trade/energy",
    "posting_amount": "tables/posting/amount",
    "classes": "tables/agent/class",
}

XARRAY = """
    import json, sys
    import numpy as np, xarray as xr
    path, engine = sys.argv[1:]
    def opened(group):
        return xr.open_dataset(path, group=group, engine=engine)
    with opened("timeseries/agent") as agents, opened("timeseries/bus") as buses:
        seen = {
            "net": agents["p_net"].values.tolist(),
            "vm": buses["vm"].values.tolist(),
            "ids": agents["agent"].values.tolist(),
            "seconds": agents["time"].values.astype("datetime64[s]").astype(int).tolist(),
            "unit": agents["p_net"].attrs["units"],
        }
        frame = agents["p_net"].to_pandas()
        seen["frame"] = [list(frame.columns), str(frame.index[0]), frame.to_numpy().tolist()]
        long = agents[["p_net", "soc"]].to_dataframe()
        seen["long"] = [list(long.index.names), len(long)]
        hourly = agents["p_net"].resample(time="1h").mean()
        seen["hourly"] = hourly.values.tolist()
        one = agents["p_net"].sel(agent=seen["ids"][-1]).isel(time=2)
        seen["one"] = float(one)
    with opened("timeseries/slot") as slots:
        seen["verdict"] = slots["verdict"].values.tolist()
        seen["words"] = slots["verdict"].attrs["flag_meanings"]
    with opened("tables/trade") as trades, opened("tables/posting") as postings:
        seen["trade_energy"] = trades.to_dataframe()["energy"].tolist()
        seen["trade_time"] = str(trades["time"].values[0])
        seen["posting_amount"] = postings["amount"].values.tolist()
    with opened("tables/agent") as agents:
        seen["classes"] = agents["class"].values.tolist()
    with xr.open_datatree(path, engine=engine) as tree:
        seen["status"] = tree.attrs["run_status"]
        seen["rows"] = {
            node.path: len(node.to_dataset().to_dataframe())
            for node in tree.leaves if node.path.startswith(("/timeseries", "/tables"))
        }
        imported = tree["timeseries/microgrid"].to_dataset()["p_import"].sum("time").to_pandas()
        seen["imported"] = {str(area): float(value) for area, value in imported.items()}
    print(json.dumps(seen))
"""

PANDAS = """
    import json, sys
    import xarray as xr
    bills = xr.open_dataset(sys.argv[1], group="tables/agent", engine="h5netcdf").to_dataframe()
    print(json.dumps([bills.index.name, bills["pv_kwp"].tolist(), bills["class"].tolist()]))
"""

PYTABLES = """
    import json, sys
    import tables
    with tables.open_file(sys.argv[1]) as file:
        root = file.root
        def values(path):
            return file.get_node("/" + path)[:]
        # No axes: PyTables 3.11 does not know the type of the references that a scale holds.
        print(json.dumps({
            "net": values("timeseries/agent/p_net").tolist(),
            "vm": values("timeseries/bus/vm").tolist(),
            "verdict": values("timeseries/slot/verdict").tolist(),
            "trade_energy": values("tables/trade/energy").tolist(),
            "posting_amount": values("tables/posting/amount").tolist(),
            "unit": str(root.timeseries.agent.p_net.attrs.units),
            "status": str(root._v_attrs.run_status),
        }))
"""

H5PY = """
    import json, sys
    import h5py
    names = json.loads(sys.argv[2])
    with h5py.File(sys.argv[1]) as file:
        seen = {
            name: (file[path].asstr() if file[path].dtype == object else file[path])[:].tolist()
            for name, path in names.items()
        }
        seen["unit"] = file["timeseries/agent/p_net"].attrs["units"]
        seen["status"] = file.attrs["run_status"]
    print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked_golden(tmp_path_factory.mktemp("golden"))


@pytest.fixture(scope="module")
def running(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_running(golden, tmp_path_factory.mktemp("running") / "run.h5")


@pytest.fixture(scope="module", params=["finished", "running"])
def file(request: pytest.FixtureRequest, golden: Path, running: Path) -> Path:
    return golden if request.param == "finished" else running


@pytest.fixture(scope="module")
def expected(file: Path) -> Seen:
    """What is in the file; a run that goes on has the beginning of the finished one."""
    with h5py.File(file) as opened:
        seen: Seen = {name: values_in(opened, path) for name, path in NAMES.items()}
        seen["unit"] = str(opened["timeseries/agent/p_net"].attrs["units"])
        seen["status"] = str(opened.attrs["run_status"])
    return seen


def values_in(file: h5py.File, path: str) -> list[Any]:
    dataset = file[path]
    is_text = h5py.check_string_dtype(dataset.dtype) is not None
    values: list[Any] = (dataset.asstr() if is_text else dataset)[:].tolist()
    return values


def output_of(*command: object) -> str:
    ended = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def seen_by(code: str, *arguments: object) -> Any:
    return json.loads(output_of(sys.executable, "-c", textwrap.dedent(code), *arguments))


def agreed(seen: Seen, expected: Seen) -> None:
    """Compare what a reader saw, item by item, with what there is."""
    for name, values in expected.items():
        if name in seen:
            assert seen[name] == values, name


def test_a_run_that_goes_on_shows_the_slots_up_to_its_last_checkpoint(
    golden: Path, running: Path
) -> None:
    slots = CHECKPOINTS[-1]
    with h5py.File(golden) as whole, h5py.File(running) as part:
        assert part.attrs["run_status"] == "running"
        for name in ("net", "vm", "verdict", "seconds"):
            values = values_in(part, NAMES[name])
            assert len(values) == slots
            assert values == values_in(whole, NAMES[name])[:slots]
        assert part[NAMES["net"]].is_virtual
        rows = part["tables/trade/trade"].size
        assert 0 < rows < whole["tables/trade/trade"].size
        energy = NAMES["trade_energy"]
        assert values_in(part, energy) == values_in(whole, energy)[:rows]


def test_h5py_reads_it(file: Path, expected: Seen) -> None:
    assert seen_by(H5PY, file, json.dumps(NAMES)) == expected


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_xarray_reads_groups_with_their_coordinates_and_the_whole_file_as_a_tree(
    file: Path, expected: Seen, engine: str
) -> None:
    seen = seen_by(XARRAY, file, engine)
    agreed(seen, expected)
    net, slots = np.array(expected["net"]), len(expected["seconds"])
    columns, start, values = seen["frame"]
    assert (columns, values) == (expected["ids"], expected["net"])
    assert start == "2016-05-23 16:00:00"
    assert seen["long"] == [["time", "agent"], slots * len(columns)]
    whole_hours = slots // 4
    hourly = net[: 4 * whole_hours].reshape(whole_hours, 4, -1).mean(axis=1)
    np.testing.assert_allclose(seen["hourly"][:whole_hours], hourly, rtol=1e-12, atol=1e-12)
    assert seen["one"] == net[2, -1]
    assert seen["words"].split() == [flag.word for flag in layout.VERDICTS]
    assert seen["trade_time"].startswith("2016-05-23T16:00:00")
    rows, imports = rows_and_imports(file)
    assert seen["rows"] == rows
    assert seen["imported"] == pytest.approx(imports, rel=1e-12)


def rows_and_imports(file: Path) -> tuple[dict[str, int], dict[str, float]]:
    """Return the rows of each group as a frame, and the sum of each microgrid's import."""
    with h5py.File(file) as opened:
        slots = opened["timeseries/slot/time"].size
        series = {
            f"/timeseries/{name}": slots * (group[name].size if name in group else 1)
            for name, group in opened[layout.SERIES_ROOT].items()
        }
        tables = {
            f"/tables/{name}": group[layout.TABLES[name].axis].size
            for name, group in opened[layout.TABLE_ROOT].items()
        }
        imports = opened["timeseries/microgrid/p_import"][:].sum(axis=0)
        areas = opened["timeseries/microgrid/microgrid"].asstr()[:]
    return series | tables, dict(zip(areas, imports, strict=True))


def test_pandas_reads_a_table_in_one_line(golden: Path) -> None:
    index, pv_kwp, classes = seen_by(PANDAS, golden)
    with h5py.File(golden) as opened:
        assert pv_kwp == opened["tables/agent/pv_kwp"][:].tolist()
        assert classes == values_in(opened, NAMES["classes"])
    assert index == "agent"


def test_pytables_reads_it(file: Path, expected: Seen) -> None:
    seen = seen_by(PYTABLES, file)
    assert len(seen) == 7
    agreed(seen, expected)


def test_ncdump_reads_it(file: Path, expected: Seen) -> None:
    ncdump = require_tool("ncdump", "netcdf-bin")
    header = output_of(ncdump, "-h", file)
    assert "double p_net(time, agent) ;" in header
    assert 'p_net:units = "kW" ;' in header
    assert f'run_status = "{expected["status"]}" ;' in header
    # The path needs no `-g`: names of groups and variables are told by `-v /group/variable`.
    text = output_of(ncdump, "-p", "9,17", "-v", "/timeseries/agent/p_net", file)
    found = re.search(r"^\s*p_net =\n(.*?);", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    numbers = [float(word) for word in found[1].split(",")]
    assert numbers == np.array(expected["net"]).ravel().tolist()


@pytest.mark.parametrize("name", ["net", "vm", "verdict", "trade_energy"])
def test_h5dump_reads_it(file: Path, expected: Seen, tmp_path: Path, name: str) -> None:
    h5dump = require_tool("h5dump", "hdf5-tools")
    binary = tmp_path / "values.bin"
    output_of(h5dump, "-d", f"/{NAMES[name]}", "-b", "NATIVE", "-o", binary, file)
    with h5py.File(file) as opened:
        dtype = opened[NAMES[name]].dtype
    assert np.fromfile(binary, dtype).tolist() == np.ravel(expected[name]).tolist()


def test_h5wasm_under_node_reads_it(file: Path, expected: Seen) -> None:
    node = require_tool("node", "nodejs")
    require_node_package("h5wasm")
    assert json.loads(output_of(node, READERS / "h5wasm_reader.js", file)) == expected
