"""The results file: its layout, what the writer promises, and who can read it."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tricell.errors import ResultsError
from tricell.results import layout
from tricell.results.reader import Results, open_results
from tricell.results.writer import ResultsWriter, RunHeader, check_output, part_path

START = np.datetime64("2016-03-26T22:00:00")
SLOTS = 100
SCENARIO = "name: köln\nseed: 7\n"

HOMES = [f"LV1.201.home.{i}" for i in range(5)]
AREAS = ["LV1.201", "LV2.101", "MV2.101"]
ENTITIES: dict[str, dict[str, Any]] = {
    "agent": {
        "agent": HOMES,
        "area": ["LV1.201"] * 3 + ["LV2.101"] * 2,
        "level": ["microgrid"] * 5,
        "bus": ["bus 0", "bus 1", "bus 1", "bus 2", "bus 2"],
        "class": ["household"] * 4 + ["bäckerei"],
        "pv_kwp": [0.0, 5.5, None, 10.0, 0.0],
    },
    "area": {
        "area": AREAS,
        "level": ["microgrid", "microgrid", "cell"],
        "parent": ["MV2.101", "MV2.101", ""],
        "network_model": ["radial"] * 3,
        "n_bus": [2, 1, 3],
    },
    "bus": {"bus": ["bus 0", "bus 1", "bus 2"], "area": ["LV1.201", "LV1.201", "LV2.101"]},
    "line": {"line": ["line 0"], "area": ["LV1.201"], "from_bus": ["bus 0"], "to_bus": ["bus 1"]},
    "trafo": {"trafo": ["T1"], "area": ["LV1.201"], "hv_bus": ["bus 2"], "lv_bus": ["bus 0"]},
}
END_TABLES: dict[str, dict[str, Any]] = {
    "charge": {"charge": ["fees"], "kind": ["level_fee"], "purpose": ["network"], "revenue": [2.5]},
    "receipt": {
        "agent": [0, 1],
        "kind": [layout.PostingKind.NETWORK, layout.PostingKind.EXPORT],
        "level": [layout.PostingLevel.CELL, layout.PostingLevel.RETAIL],
        "charge": [0, layout.NO_ROW],
        "energy": [10.0, -4.0],
        "amount": [2.5, -0.3],
    },
    "bill": {
        "agent": HOMES,
        "total": np.arange(5.0),
        "no_trading_total": np.arange(5.0) + 1.0,
        "saving": np.ones(5),
    },
    "kpi": {
        "name": ["self_sufficiency", "par"],
        "scope_kind": ["run", "area"],
        "scope": ["run", "MV2.101"],
        "value": [0.25, None],
        "unit": ["1", "1"],
    },
    "warning": {"time": [START], "kind": ["gap"], "message": ["price filled"]},
    "timing": {"part": ["clearing"], "seconds": [0.5]},
}
SIZES = {"agent": 5, "bus": 3, "line": 1, "trafo": 1, "microgrid": 2, "cell": 1}


def header(slots: int = SLOTS) -> RunHeader:
    return RunHeader(
        run_id="village",
        scenario_yaml=SCENARIO,
        random_seed=7,
        start=START,
        number_of_slots=slots,
        time_zone_local="Europe/Berlin",
        provenance={"packages": {"h5py": h5py.__version__}},
    )


def slot_values(k: int) -> dict[str, dict[str, Any]]:
    """Every variable of the layout; the first entity's value is the slot's number."""
    values: dict[str, dict[str, Any]] = {}
    for group in layout.SERIES.values():
        if group.name == layout.SLOT:
            values[layout.SLOT] = {variable.name: k % 3 for variable in group.variables}
        elif group.name in SIZES:
            whole = np.arange(SIZES[group.name]) + k
            values[group.name] = {
                variable.name: whole if variable.is_float else whole % 100
                for variable in group.variables
            }
    return values


def trades_of(k: int) -> dict[str, Any]:
    return {
        "time": START + np.timedelta64(900 * k, "s"),
        "level": layout.Level.MICROGRID,
        "area": 0,
        "seller": [1, layout.POOL_ROW],
        "buyer": [0, layout.RETAILER_ROW],
        "energy": [0.5 + k, 1.0],
        "price": 0.2,
        "network_charge": [0.01, 0.0],
    }


def postings_of(k: int) -> dict[str, Any]:
    return {
        "time": START + np.timedelta64(900 * k, "s"),
        "payer": layout.Party.AGENTS,
        "payee": [layout.Party.DSO, layout.Party.RETAILER],
        "kind": [layout.PostingKind.NETWORK, layout.PostingKind.ENERGY_RETAIL],
        "level": layout.PostingLevel.RETAIL,
        "charge": [0, layout.NO_ROW],
        "energy": 1.0 + k,
        "amount": [0.1, 0.2],
    }


def write_run(path: Path, slots: int = SLOTS) -> Path:
    with ResultsWriter(path, header(slots), ENTITIES) as writer:
        for k in range(slots):
            writer.write_slot(slot_values(k))
            writer.append_trades(trades_of(k))
            writer.append_rows(layout.POSTING, postings_of(k))
        writer.finish("complete", END_TABLES)
    return path


@pytest.fixture(scope="module")
def run_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run") / "village.h5")


@pytest.fixture
def results(run_path: Path) -> Iterator[Results]:
    with open_results(run_path) as opened:
        yield opened


# --- what is written is what is read ---


def test_series_come_back_with_utc_times_and_ids(results: Results) -> None:
    net = results.frame("agent", "p_net")
    assert list(net.columns) == HOMES
    assert net.shape == (SLOTS, 5)
    assert net.index[0] == pd.Timestamp(START, tz="UTC")
    assert net.index[1] - net.index[0] == pd.Timedelta(minutes=15)
    expected = np.arange(SLOTS)[:, None] + np.arange(5)[None, :]
    np.testing.assert_array_equal(net.to_numpy(), expected)
    assert list(results.frame("cell", "p_import").columns) == ["MV2.101"]


def test_a_piece_of_a_series_is_read_by_time(results: Results) -> None:
    piece = results.frame("bus", "vm", start="2016-03-26T22:15", stop=START + 3 * 900)
    assert piece["bus 0"].tolist() == [1.0, 2.0]
    assert results.frame("bus", "vm", stop="2016-01-01").empty


def test_run_wide_numbers_come_back_as_words_where_they_are_codes(results: Results) -> None:
    slots = results.slots()
    assert slots["verdict"].iloc[:3].tolist() == [
        "limits_met",
        "limits_met_by_reclearing",
        "limits_broken",
    ]
    assert results.frame("slot", "vm_min").shape == (SLOTS, 1)


def test_tables_come_back(results: Results) -> None:
    agents = results.table("agent")
    assert agents["class"].tolist()[-1] == "bäckerei"
    assert np.isnan(agents["pv_kwp"].iloc[2]), "a gap stays a gap"
    trades = results.table("trade")
    assert len(trades) == 2 * SLOTS
    assert trades["level"].iloc[0] == "microgrid"
    assert trades["seller"].iloc[1] == layout.POOL_ROW
    assert trades["energy"].iloc[-2] == pytest.approx(0.5 + SLOTS - 1)
    assert trades["time"].iloc[-1] == pd.Timestamp(START, tz="UTC") + 99 * pd.Timedelta("15min")


def test_the_file_says_where_it_comes_from(results: Results) -> None:
    assert results.status == "complete"
    assert results.scenario_yaml == SCENARIO
    assert results.provenance["packages"] == {"h5py": h5py.__version__}
    assert results.attrs["random_seed"] == 7
    assert results.attrs["time_zone_local"] == "Europe/Berlin"
    expected = {attribute.name for attribute in layout.ROOT_ATTRIBUTES} - {"failure_message"}
    assert set(results.attrs) == expected


def test_an_undefined_kpi_is_none(results: Results) -> None:
    assert results.kpis["run"]["self_sufficiency"] == 0.25
    assert results.kpis["MV2.101"]["par"] is None


texts = st.text(max_size=20)
numbers = st.floats(allow_nan=True, allow_infinity=True)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(st.tuples(texts, texts, numbers), max_size=5),
    series=st.lists(st.lists(numbers, min_size=5, max_size=5), min_size=1, max_size=100),
)
def test_any_numbers_and_texts_survive(
    tmp_path: Path, rows: list[tuple[str, str, float]], series: list[list[float]]
) -> None:
    path = tmp_path / "any.h5"
    names, scopes, values = zip(*rows, strict=True) if rows else ((), (), ())
    kpi = {
        "name": names,
        "scope_kind": ["area"] * len(rows),
        "scope": scopes,
        "value": values,
        "unit": ["1"] * len(rows),
    }
    with ResultsWriter(path, header(len(series)), ENTITIES, force=True) as writer:
        for numbers_of_slot in series:
            writer.write_slot({"agent": {"p_net": np.array(numbers_of_slot)}})
        writer.finish("complete", {"kpi": kpi})
    with open_results(path) as again:
        np.testing.assert_array_equal(again.frame("agent", "p_net").to_numpy(), series)
        table = again.table("kpi")
        assert table["name"].tolist() == [name.replace("\0", "\ufffd") for name in names]
        np.testing.assert_array_equal(table["value"].to_numpy(), np.array(values, dtype=float))


@pytest.mark.parametrize("agents", [1, 512, 513, 1200])
def test_chunks_packed_outside_hdf5_read_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, agents: int
) -> None:
    monkeypatch.setattr("tricell.results.segments.fast_deflate", lambda: zlib.compress)
    many = {
        "agent": {
            "agent": [f"a{i}" for i in range(agents)],
            "area": ["LV1.201"] * agents,
            "level": ["microgrid"] * agents,
            "bus": ["bus 0"] * agents,
            "class": ["household"] * agents,
        }
    }
    noise = np.random.default_rng(0).normal(size=(200, agents))
    path = tmp_path / "packed.h5"
    with ResultsWriter(path, header(200), many) as writer:
        for k in range(200):
            writer.write_slot({"agent": {"p_net": noise[k]}, "slot": {"vm_min": k, "verdict": 2}})
        writer.finish()
    with open_results(path) as again:
        np.testing.assert_array_equal(again.frame("agent", "p_net").to_numpy(), noise)
        np.testing.assert_array_equal(again.slots()["vm_min"].to_numpy(), np.arange(200.0))
        assert set(again.slots()["verdict"]) == {"limits_broken"}


# --- the layout's rules, on a written file ---


def all_datasets(path: Path) -> Iterator[tuple[str, h5py.Dataset]]:
    with h5py.File(path, "r") as file:
        found: list[str] = []
        file.visititems(
            lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None
        )
        for name in found:
            yield name, file[name]


def test_every_axis_has_a_scale_in_its_own_group(run_path: Path) -> None:
    for name, dataset in all_datasets(run_path):
        for axis in range(dataset.ndim):
            if not dataset.is_scale:
                assert len(dataset.dims[axis]) == 1, name
                assert dataset.dims[axis][0].parent == dataset.parent, name


def test_every_number_has_a_unit_and_every_float_tells_its_gaps(run_path: Path) -> None:
    for name, dataset in all_datasets(run_path):
        assert dataset.attrs["long_name"], name
        if dataset.dtype.kind in "if":
            assert dataset.attrs["units"], name
        if dataset.dtype.kind == "f":
            assert np.isnan(dataset.attrs["_FillValue"]), name
            assert dataset.attrs["_FillValue"].dtype == dataset.dtype, name
            assert np.isnan(dataset.fillvalue), name


def test_only_types_and_filters_that_every_reader_knows_are_used(run_path: Path) -> None:
    numbers_allowed = {np.dtype(kind) for kind in ("i1", "i4", "i8", "f4", "f8")}
    for name, dataset in all_datasets(run_path):
        text = h5py.check_string_dtype(dataset.dtype)
        if text is None:
            assert dataset.dtype in numbers_allowed, name
            assert dataset.dtype.metadata is None, f"{name} is an enum or a reference"
        else:
            assert (text.encoding, text.length) == ("utf-8", None), name
        assert dataset.compression in (None, "gzip"), name
        assert dataset.compression is None or dataset.shuffle, name


def test_small_columns_of_tables_need_no_index_of_chunks(run_path: Path) -> None:
    with h5py.File(run_path, "r") as file:
        small = [file[layout.table_path("bill", name)] for name in ("total", "saving")]
        assert {(column.chunks, column.compression) for column in small} == {(None, None)}


def test_series_lie_in_day_chunks_of_the_prescribed_types(run_path: Path) -> None:
    with h5py.File(run_path, "r") as file:
        for group in layout.SERIES.values():
            if group.name not in file[layout.SERIES_ROOT]:
                continue
            for variable in group.variables:
                dataset = file[layout.series_path(group.name, variable.name)]
                assert dataset.dtype == np.dtype(variable.dtype)
                assert dataset.chunks[0] == layout.ROWS_PER_CHUNK
                assert max(dataset.chunks[1:], default=0) <= layout.MAX_ENTITIES_PER_CHUNK


def test_no_group_carries_the_name_of_a_variable_beside_it() -> None:
    assert {layout.SERIES_ROOT, layout.TABLE_ROOT, layout.META_ROOT}.isdisjoint(layout.SERIES)
    for group in layout.SERIES.values():
        names = [variable.name for variable in group.variables]
        assert len(names) == len(set(names))
        assert {"time", group.name}.isdisjoint(names)


def test_an_empty_level_is_left_out(results: Results) -> None:
    assert "multicell" not in results.groups


# --- files are safe ---


def test_nothing_is_written_for_a_run_that_never_starts(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path / "run.h5", header(), ENTITIES) as writer:
        assert writer.finish("failed", failure_message="no grid") is None
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_not_overwritten_without_force(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    path.write_text("a year of work")
    with pytest.raises(ResultsError, match=r"run\.h5 exists and is not overwritten.*--force"):
        ResultsWriter(path, header(), ENTITIES)
    assert path.read_text() == "a year of work"
    with ResultsWriter(path, header(1), ENTITIES, force=True) as writer:
        writer.write_slot(slot_values(0))
        assert path.read_text() == "a year of work", "replaced only when the new one is whole"
        writer.finish()
    assert h5py.is_hdf5(path)


def test_a_file_that_appears_meanwhile_is_not_overwritten_either(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with ResultsWriter(path, header(1), ENTITIES) as writer:
        writer.write_slot(slot_values(0))
        path.write_text("another run")
        with pytest.raises(ResultsError, match="appeared while the run went on"):
            writer.finish()
    assert path.read_text() == "another run"
    with open_results(part_path(path) / "joined.h5") as kept:
        assert kept.status == "complete"


def test_an_unfinished_file_of_another_run_is_not_overwritten(tmp_path: Path) -> None:
    part_path(tmp_path / "run.h5").write_text("half a run")
    with pytest.raises(ResultsError, match=r"run\.h5\.part exists and is no folder of a run"):
        check_output(tmp_path / "run.h5")
    check_output(tmp_path / "run.h5", force=True)


def test_a_missing_or_locked_folder_is_said_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ResultsError, match="does not exist"):
        check_output(tmp_path / "nowhere" / "run.h5")
    with pytest.raises(ResultsError, match="is a folder"):
        check_output(tmp_path)
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ResultsError, match="no permission"):
        check_output(tmp_path / "run.h5")


def test_a_failed_run_leaves_a_readable_file_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"

    def failing_run() -> None:
        with ResultsWriter(path, header(), ENTITIES) as writer:
            for k in range(50):
                writer.write_slot(slot_values(k))
            raise ValueError("the simulator Charger-0 died")

    with pytest.raises(ValueError, match="Charger-0"):
        failing_run()
    with open_results(path) as kept:
        assert kept.status == "failed"
        assert kept.attrs["failure_message"] == "the simulator Charger-0 died"
        assert len(kept.frame("agent", "p_net")) == 50
    assert part_path(path).is_dir(), "the run can be gone on with"


def test_a_run_that_lacks_slots_is_not_complete(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path / "run.h5", header(2), ENTITIES) as writer:
        writer.write_slot(slot_values(0))
        with pytest.raises(ResultsError, match="1 of 2 slots"):
            writer.finish("complete")


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are a POSIX thing")
def test_a_full_disk_is_said_and_the_days_before_stay_readable(tmp_path: Path) -> None:
    # A limit of the file size stands in for the full disk: the system refuses both alike.
    ended = run_python(
        """
        import resource, sys
        import numpy as np
        from tricell.errors import ResultsError
        from tricell.results.writer import ResultsWriter, RunHeader

        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000_000, 12_000_000))
        n = 4000
        ids = [f"a{i}" for i in range(n)]
        agents = {"agent": ids, "area": ids, "level": ids, "bus": ids, "class": ids}
        header = RunHeader("big", "", 1, np.datetime64("2016-01-01"), 960)
        noise = np.random.default_rng(0).normal(size=n)
        try:
            with ResultsWriter(sys.argv[1], header, {"agent": agents}) as writer:
                for k in range(960):
                    writer.write_slot({"agent": {"p_net": noise * (k + 1)}})
        except ResultsError as error:
            print(error)
        """,
        tmp_path / "big.h5",
    )
    assert ended.returncode == 0, ended.stderr
    assert "cannot be written: File too large; raise the limit" in ended.stdout
    with open_results(tmp_path / "big.h5") as kept:
        assert kept.status == "failed"
        days = len(kept.frame("agent", "p_net")) / 96
        assert days >= 1
        assert days == int(days), "whole days"


# --- wrong use is said clearly ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"agent": {"p_nett": np.zeros(5)}}, "p_nett is unknown; allowed: p_load"),
        ({"house": {"p_net": np.zeros(5)}}, "'house' is no group of time series"),
        ({"agent": {"p_net": np.zeros(4)}}, r"agent/p_net has the shape \(4,\), expected \(5,\)"),
        ({"agent": {"p_net": ["a"] * 5}}, "not a number"),
    ],
)
def test_wrong_slot_values_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with (
        ResultsWriter(tmp_path / "run.h5", header(), ENTITIES) as writer,
        pytest.raises(ResultsError, match=message),
    ):
        writer.write_slot(change)
    assert list(tmp_path.iterdir()) == [], "no slot, no file"


def test_a_later_slot_with_other_variables_is_refused(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path / "run.h5", header(), ENTITIES) as writer:
        writer.write_slot({"agent": {"p_net": np.zeros(5)}})
        with pytest.raises(ResultsError, match=r"slot 1 .* brings nothing .* lacks p_net"):
            writer.write_slot({"agent": {}})
        with pytest.raises(ResultsError, match="brings soc"):
            writer.write_slot({"agent": {"p_net": np.zeros(5), "soc": np.zeros(5)}})
        with pytest.raises(ResultsError, match="brings the groups agent, bus, the first slot had"):
            writer.write_slot({"agent": {"p_net": np.zeros(5)}, "bus": {"vm": np.ones(3)}})
        assert writer.slots_written == 1


def test_more_slots_than_announced_are_refused(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path / "run.h5", header(1), ENTITIES) as writer:
        writer.write_slot(slot_values(0))
        with pytest.raises(ResultsError, match="announced with 1 slots and brings more"):
            writer.write_slot(slot_values(1))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"agent": ["a"]}, "the columns area, level, bus, class are missing"),
        ({**ENTITIES["agent"], "colour": ["red"] * 5}, "'colour' is not in schema 1.1.0; allowed"),
        ({**ENTITIES["agent"], "bus": ["bus 0"]}, "the columns differ in length"),
        ({**ENTITIES["agent"], "agent": ["a", "b", "a", "c", "d"]}, "the id 'a' stands in more"),
        ({**ENTITIES["agent"], "pv_kwp": ["much"] * 5}, "pv_kwp: expected values of type f8"),
    ],
)
def test_wrong_tables_are_named(tmp_path: Path, table: dict[str, Any], message: str) -> None:
    with pytest.raises(ResultsError, match=message):
        ResultsWriter(tmp_path / "run.h5", header(), {**ENTITIES, "agent": table})


def test_the_reader_says_what_there_is(results: Results) -> None:
    with pytest.raises(ResultsError, match=r"no table 'trades'; it has: agent, area"):
        results.table("trades")
    with pytest.raises(ResultsError, match=r"no variable 'v'; it has: vm, price"):
        results.frame("bus", "v")
    with pytest.raises(ResultsError, match=r"no time series of 'node'; it has: slot, agent"):
        results.frame("node", "vm")


def damaged(path: Path, kind: str, source: Path) -> Path:
    content = source.read_bytes()
    if kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "text":
        path.write_text("time,price\n0,0.1\n")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind != "missing":
        path.write_bytes(content)
        with h5py.File(path, "r+") as file:
            if kind == "other schema":
                file.attrs["schema_name"] = "mosaik"
            elif kind == "no schema":
                del file.attrs["schema_name"]
            elif kind == "next major":
                file.attrs["schema_version"] = "2.0.0"
            else:
                del file[layout.TABLE_ROOT]
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such file"),
        ("empty", "expected HDF5.*found b''"),
        ("text", "expected HDF5.*found b'time,pri'"),
        ("truncated", "damaged or cut off"),
        ("other schema", "expected schema_name 'tricell-results', found schema_name 'mosaik'"),
        ("no schema", "found no schema_name"),
        ("next major", r"schema version 2\.0\.0, this tricell reads 1\.x; update tricell"),
        ("no tables", "the group /tables is missing; found"),
    ],
)
def test_a_wrong_file_is_refused_and_not_touched(
    tmp_path: Path, run_path: Path, kind: str, message: str
) -> None:
    path = damaged(tmp_path / "wrong.h5", kind, run_path)
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(ResultsError, match=message):
        open_results(path)
    assert (path.read_bytes() if path.exists() else None) == before


def test_a_higher_minor_version_is_read(tmp_path: Path, run_path: Path) -> None:
    path = tmp_path / "newer.h5"
    path.write_bytes(run_path.read_bytes())
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = "1.7.0"
        file[layout.series_path("bus")].create_dataset("angle", data=np.zeros((SLOTS, 3)))
    with open_results(path) as newer:
        assert newer.frame("bus", "angle").shape == (SLOTS, 3)


# --- a slot is cheap ---


def test_taking_a_slot_costs_little(tmp_path: Path) -> None:
    values = slot_values(1)
    with ResultsWriter(tmp_path / "run.h5", header(10_000), ENTITIES) as writer:
        writer.write_slot(values)
        best = np.inf
        for _ in range(20):
            begin = time.perf_counter()
            writer.write_slot(values)
            best = min(best, time.perf_counter() - begin)
    # measured 20 us for 56 variables; 200 us leaves room for a busy machine
    assert best < 200e-6


# --- other programs read it, each in a process of its own ---


def seen_by(code: str, path: Path) -> Any:
    ended = run_python(code, path)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_h5py_reads_it(run_path: Path) -> None:
    seen = seen_by(
        """
        import json, sys, h5py
        with h5py.File(sys.argv[1]) as f:
            net = f["timeseries/agent/p_net"]
            print(json.dumps([net.shape, net.dims[1][0].asstr()[0], net.attrs["units"]]))
        """,
        run_path,
    )
    assert seen == [[SLOTS, 5], HOMES[0], "kW"]


def test_pandas_reads_it_through_h5py(run_path: Path) -> None:
    seen = seen_by(
        """
        import json, sys, h5py, pandas as pd
        with h5py.File(sys.argv[1]) as f:
            g = f["tables/bill"]
            bills = pd.DataFrame({c: g[c][:] for c in g}).set_index("agent")
        print(json.dumps([bills["saving"].sum(), list(bills.columns)]))
        """,
        run_path,
    )
    assert seen == [5.0, ["total", "no_trading_total", "saving"]]


def test_xarray_reads_groups_with_their_coordinates(run_path: Path) -> None:
    seen = seen_by(
        """
        import json, sys, xarray as xr
        f = sys.argv[1]
        with xr.open_dataset(f, group="timeseries/agent", engine="h5netcdf") as agents:
            one = agents["p_net"].sel(agent="LV1.201.home.3").isel(time=2)
            daily = agents["p_load"].resample(time="1D").mean()
            seen = [float(one), str(one.time.values)[:19], daily.sizes["time"], agents.p_net.units]
        with xr.open_dataset(f, group="tables/trade", engine="h5netcdf") as trades:
            seen.append(len(trades.to_dataframe()))
        with xr.open_dataset(f, group="timeseries/slot", engine="h5netcdf") as slots:
            seen.append(slots["verdict"].attrs["flag_meanings"].split()[0])
        print(json.dumps(seen))
        """,
        run_path,
    )
    assert seen == [5.0, "2016-03-26T22:30:00", 2, "kW", 2 * SLOTS, "limits_met"]


def test_xarray_reads_the_whole_file_as_a_tree(run_path: Path) -> None:
    seen = seen_by(
        """
        import json, sys, xarray as xr
        with xr.open_datatree(sys.argv[1], engine="h5netcdf") as tree:
            rows = len(tree["timeseries/microgrid"].to_dataset().to_dataframe())
            print(json.dumps([rows, sorted(tree["tables"].children)]))
        """,
        run_path,
    )
    first = [name for name, table in layout.TABLES.items() if layout.is_in(table, "1.0.0")]
    assert seen == [2 * SLOTS, sorted(first)]
