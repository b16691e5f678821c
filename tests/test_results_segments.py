"""A run in segments: what a crash, a full disk or a lost folder leaves, and how it goes on."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from tricell.errors import ResultsError
from tricell.results import layout
from tricell.results.reader import OTHER_OPEN_FILES, open_results
from tricell.results.run_folder import LOCK, check_output, master_path, part_path
from tricell.results.run_header import RunHeader, header_as_json, header_from_json
from tricell.results.saved_memory import pack_memory, read_memory, write_memory
from tricell.results.saved_run import SavedRun
from tricell.results.writer import ResultsWriter

START = np.datetime64("2016-03-26T22:00:00")
SLOTS = 30
DAY = 8
"""Slots of a chunk in these tests, so that some days fit in a few slots."""
HOMES = ["home 0", "home 1", "hömé 2"]
ENTITIES: dict[str, dict[str, Any]] = {
    "agent": {
        "agent": HOMES,
        "area": ["LV1"] * 3,
        "level": ["microgrid"] * 3,
        "bus": ["bus 0", "bus 1", "bus 1"],
        "class": ["household"] * 3,
        "pv_kwp": [0.0, None, 5.5],
    },
    "bus": {"bus": ["bus 0", "bus 1"], "area": ["LV1", "LV1"]},
}
END_TABLES: dict[str, dict[str, Any]] = {
    "charge": {"charge": ["fees"], "kind": ["level_fee"], "purpose": ["network"], "revenue": [2.5]}
}


@pytest.fixture(autouse=True)
def short_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "ROWS_PER_CHUNK", DAY)


def header(slots: int = SLOTS) -> RunHeader:
    return RunHeader(
        run_id="vïllage",
        scenario_yaml="name: köln\n",
        random_seed=7,
        start=START,
        number_of_slots=slots,
        provenance={"packages": {"h5py": h5py.__version__}, "share": 0.1},
        date_created="2016-01-01T00:00:00+00:00",
    )


def feed(writer: ResultsWriter, first: int, end: int) -> None:
    """Compute slots: any values, the same ones whenever the slot is computed."""
    for k in range(first, end):
        random = np.random.default_rng(k)
        writer.write_slot(
            {
                "slot": {"vm_min": random.normal(), "verdict": k % 3},
                "agent": {"p_net": random.normal(size=3), "soc": np.full(3, np.nan)},
                "bus": {"vm": random.normal(size=2)},
            }
        )
        count = k % 4
        trades = {
            "time": START + np.timedelta64(900 * k, "s"),
            "level": layout.Level.MICROGRID,
            "area": 0,
            "seller": np.arange(count),
            "buyer": layout.RETAILER_ROW,
            "energy": random.normal(size=count),
            "price": 0.2,
            "network_charge": 0.0,
        }
        if count:
            writer.append_trades(trades)


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def state_behind(slot: int) -> dict[str, Any]:
    return {"slot": slot, "soc": np.full(3, slot / 7)}


def rows_of(first: int, end: int) -> dict[str, Any]:
    return {"peak": np.arange(first, end, dtype=np.int64)}


def compute(writer: ResultsWriter, cuts: Iterable[int] = (), end: int = SLOTS) -> None:
    """Compute the rest of a run with checkpoints at `cuts`."""
    writer.begin()
    done = saved = writer.slots_written
    for cut in sorted({cut for cut in cuts if done < cut <= end} | {end}):
        feed(writer, done, cut)
        done = cut
        if cut in set(cuts):
            writer.checkpoint(state_behind(cut), rows_of(saved, cut))
            saved = cut


def whole_run(path: Path, cuts: Iterable[int] = ()) -> Path:
    with ResultsWriter(path, header(), ENTITIES) as writer:
        compute(writer, cuts)
        writer.finish("complete", END_TABLES)
    return path


def go_on(path: Path, cuts: Iterable[int] = ()) -> None:
    """Do what a user does behind a crash: resume, or start again where nothing was begun."""
    if path.exists() and not part_path(path).exists():
        return
    try:
        saved = SavedRun.open(path)
    except ResultsError as error:
        if "start the run without --resume" in str(error):
            whole_run(path, cuts)
        return
    assert saved.memory == {} if saved.slots_saved == 0 else saved.memory["slot"] > 0
    if saved.slots_saved:
        assert saved.memory["slot"] == saved.slots_saved
        np.testing.assert_array_equal(saved.grown["peak"], np.arange(saved.slots_saved))
    with ResultsWriter.resume(saved, ENTITIES) as writer:
        compute(writer, cuts)
        writer.finish("complete", END_TABLES)


Contents = Mapping[str, tuple[Any, ...]]


def contents(path: Path) -> Contents:
    """Give the type, shape, chunks and bytes of every dataset, and all attributes but two."""
    found: dict[str, tuple[Any, ...]] = {}

    def note(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            is_text = h5py.check_string_dtype(item.dtype) is not None
            values = item.asstr()[()] if is_text else item[()]
            octets = str(np.asarray(values).tolist()) if is_text else np.asarray(values).tobytes()
            found[name] = (item.dtype.str, item.shape, item.chunks, item.compression, octets)

    with h5py.File(path, "r") as file:
        file.visititems(note)
        told = {name: value for name, value in file.attrs.items() if name != "history"}
        found["/"] = (str(told), *(list(group) for group in file.values()))
    return found


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "ROWS_PER_CHUNK", DAY)
        return contents(whole_run(tmp_path_factory.mktemp("whole") / "run.h5"))


# --- the same file, however it came about ---


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    cuts=st.sets(st.integers(1, SLOTS), max_size=5),
    stops=st.lists(st.integers(0, SLOTS - 1), max_size=3),
    ends=st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_any_checkpoints_and_stops_give_the_same_file(
    tmp_path: Path, expected: Contents, cuts: set[int], stops: list[int], ends: list[bool]
) -> None:
    path = tmp_path / "run.h5"
    path.unlink(missing_ok=True)
    shutil.rmtree(part_path(path), ignore_errors=True)
    writer = ResultsWriter(path, header(), ENTITIES)
    for stop, fails in zip(sorted(stops), ends, strict=False):
        compute(writer, cuts, end=max(stop, writer.slots_written))
        if fails and writer.slots_written:
            writer.finish("failed", {}, failure_message="stopped")
        else:
            writer.abandon()
        writer = ResultsWriter.resume(SavedRun.open(path), ENTITIES)
    compute(writer, cuts)
    writer.finish("complete", END_TABLES)
    assert contents(path) == expected
    assert list(tmp_path.iterdir()) == [path]


DURABLE_STEPS = ("fsync", "replace", "unlink", "rmdir")


def die_at(step: int) -> None:
    """Let this process kill itself instead of taking its n-th step towards the disk."""
    taken = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def stand_in(*arguments: Any, **named: Any) -> Any:
            nonlocal taken
            taken += 1
            if taken == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)

        return stand_in

    for name in DURABLE_STEPS:
        setattr(os, name, counted(getattr(os, name)))


def in_a_child(work: Callable[[], None]) -> int:
    """Run something in a forked process; give how it ended, as `os.waitstatus_to_exitcode`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_killed_at_any_step_towards_the_disk_ends_the_same(
    tmp_path: Path, expected: Contents
) -> None:
    cuts = {16}
    for step in range(1, 1000):
        path = tmp_path / f"{step}.h5"

        def work(path: Path = path, step: int = step) -> None:
            die_at(step)
            whole_run(path, cuts)

        ended = in_a_child(work)
        assert ended in (0, -signal.SIGKILL)
        go_on(path, cuts)
        assert contents(path) == expected, f"killed at step {step}"
        assert not part_path(path).exists()
        if ended == 0:
            break
    assert 25 < step < 100, "all steps were tried"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_resumed_run_killed_at_any_step_goes_on_as_well(
    tmp_path: Path, expected: Contents
) -> None:
    cuts = {8, 24}
    stopped = tmp_path / "stopped.h5"
    writer = ResultsWriter(stopped, header(), ENTITIES)
    compute(writer, {8}, end=13)
    writer.finish("failed", {}, failure_message="stopped by Ctrl-C")
    for step in range(1, 1000):
        path = tmp_path / f"{step}.h5"
        shutil.copytree(part_path(stopped), part_path(path))
        shutil.copy(stopped, path)

        def work(path: Path = path, step: int = step) -> None:
            die_at(step)
            go_on(path, cuts)

        ended = in_a_child(work)
        assert ended in (0, -signal.SIGKILL)
        go_on(path, cuts)
        assert contents(path) == expected, f"killed at step {step}"
        if ended == 0:
            break
    assert 20 < step < 100, "all steps were tried"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_killed_again_and_again_ends_the_same(tmp_path: Path, expected: Contents) -> None:
    path, cuts = tmp_path / "run.h5", set(range(DAY, SLOTS, DAY))

    def work() -> None:
        die_at(14)
        go_on(path, cuts)

    tries = 1
    while in_a_child(work) != 0:
        tries += 1
        assert tries < 20, "every try comes some slots farther"
    go_on(path, cuts)
    assert contents(path) == expected
    assert tries > 2


def test_ctrl_c_at_any_step_towards_the_disk_leaves_a_run_to_go_on_with(
    tmp_path: Path, expected: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 0

    def interrupted(function: Callable[..., Any], step: int) -> Callable[..., Any]:
        def stand_in(*arguments: Any, **named: Any) -> Any:
            nonlocal taken
            taken += 1
            if taken == step:
                raise KeyboardInterrupt
            return function(*arguments, **named)

        return stand_in

    for step in range(1, 40):
        path, taken = tmp_path / f"{step}.h5", 0
        with monkeypatch.context() as patch:
            for name in DURABLE_STEPS:
                patch.setattr(os, name, interrupted(getattr(os, name), step))
            with suppress(KeyboardInterrupt):
                whole_run(path, {16})
        go_on(path)
        assert contents(path) == expected, f"interrupted at step {step}"
        if taken < step:
            break
    assert 20 < step < 39, "all steps were tried"


# --- what a checkpoint keeps ---


def through_a_file(memory: Mapping[str, Any]) -> dict[str, Any]:
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        write_memory(file, "memory", pack_memory(memory, "memory"))
        return read_memory(file["memory"])


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, (np.ndarray, np.generic)):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other)


dtypes = st.sampled_from([np.dtype(k) for k in ("?", "i1", "u8", "i8", "f2", "f4", "f8", "c16")])
arrays = dtypes.flatmap(
    lambda dtype: st_numpy.arrays(
        dtype, st_numpy.array_shapes(min_dims=0, min_side=0, max_side=3, max_dims=3)
    )
)
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(
    plain | arrays | arrays.filter(lambda array: array.size > 0).map(lambda a: a.ravel()[0]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(memory=st.dictionaries(st.text(max_size=5), values, max_size=5))
def test_a_memory_comes_back_bit_for_bit(memory: dict[str, Any]) -> None:
    assert same(through_a_file(memory), memory)


def test_other_kinds_of_arrays_come_back_too() -> None:
    memory: dict[str, Any] = {
        "seed": np.random.default_rng(1).bit_generator.state,
        "times": np.array(["2016-01-01", "NaT"], "M8[s]"),
        "texts": np.array(["a", "é"]),
        "column by column": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "swapped": np.arange(3, dtype=">i4"),
    }
    back = through_a_file(memory)
    assert back["seed"] == memory["seed"]
    for name in ("times", "texts", "column by column", "swapped"):
        assert same(back[name], memory[name])
    back["texts"][0] = "b"
    assert back["texts"][0] == "b", "an array of its own"


@pytest.mark.parametrize(
    ("memory", "message"),
    [
        ({"a": {"b": [0, {1}]}}, r"cannot keep memory/a/b\[1\]: it is a set; allowed are numpy"),
        ({"a": {1: 2}}, "cannot keep memory/a: 1 is no text"),
        ({"a": np.array([None])}, "cannot keep memory/a: object is no number"),
    ],
)
def test_a_memory_that_cannot_be_kept_is_refused(
    tmp_path: Path, memory: dict[str, Any], message: str
) -> None:
    with ResultsWriter(tmp_path / "run.h5", header(), ENTITIES) as writer:
        feed(writer, 0, DAY)
        with pytest.raises(ResultsError, match=message):
            writer.checkpoint(memory, {})
        writer.checkpoint({}, {})


def test_a_header_comes_back() -> None:
    assert header_from_json(header_as_json(header())) == header()


def test_grown_rows_are_joined_and_memory_is_that_of_the_last_checkpoint(tmp_path: Path) -> None:
    writer = ResultsWriter(tmp_path / "run.h5", header(), ENTITIES)
    for first in (0, DAY):
        feed(writer, first, first + DAY)
        grown: dict[str, Any] = {
            "load": np.full((first, 2), first, np.float32),
            "none": np.empty((0, 3)),
        }
        writer.checkpoint({"first": first}, grown)
        writer.checkpoint({"first": "without a new slot nothing is saved"}, grown)
    writer.abandon()
    with SavedRun.open(tmp_path / "run.h5") as saved:
        assert saved.memory == {"first": DAY}
        assert saved.grown["load"].shape == (DAY, 2)
        assert saved.grown["load"].dtype == np.float32
        assert saved.grown["none"].shape == (0, 3)
        assert (saved.slots_saved, saved.status) == (2 * DAY, "running")
        assert saved.header.number_of_slots == SLOTS


# --- what others see meanwhile ---


@pytest.fixture
def going_on(tmp_path: Path) -> Path:
    """Leave a run that was killed between checkpoints, in a folder with a strange name."""
    path = tmp_path / "ein Lauf %b ü.h5"
    writer = ResultsWriter(path, header(), ENTITIES)
    compute(writer, {8, 24}, end=27)
    writer.abandon()
    return path


def test_what_is_saved_reads_like_a_finished_file(going_on: Path, expected: Contents) -> None:
    seen = contents(master_path(going_on))
    for name in seen:
        if name.startswith(("timeseries", "tables")):
            whole, shown = expected[name], seen[name]
            assert shown[0] == whole[0], name
            assert whole[-1].startswith(shown[-1]), name
    assert seen["timeseries/agent/p_net"][1] == (24, 3)
    trades = sum(k % 4 for k in range(24))
    assert seen["tables/trade/trade"][4] == np.arange(trades).tobytes()
    assert set(seen) == set(expected) - {f"tables/charge/{name}" for name in END_TABLES["charge"]}


READERS = {
    "h5py": """
        import h5py
        with h5py.File(path) as file:
            net = file["timeseries/agent/p_net"]
            seen = [*net.shape, net.dims[1][0].asstr()[2], net.attrs["units"],
                    int(file["tables/trade/seller"][:].sum()), str(file.attrs["run_status"])]
    """,
    **{
        engine: f"""
        import xarray as xr
        with xr.open_dataset(path, group="timeseries/agent", engine="{engine}") as agents:
            net = agents["p_net"]
            seen = [*net.shape, str(net["agent"].values[2]), net.units]
            assert str(net["time"].values[1])[:16] == "2016-03-26T22:15"
            assert bool(net.notnull().all())
        with xr.open_datatree(path, engine="{engine}") as tree:
            trades = tree["tables/trade"].to_dataset().to_dataframe()
            seen += [int(trades["seller"].sum()), tree.attrs["run_status"]]
        """
        for engine in ("h5netcdf", "netcdf4")
    },
}


@pytest.mark.parametrize("reader", READERS)
def test_others_read_a_run_that_goes_on(going_on: Path, reader: str) -> None:
    code = (
        "import json, sys\npath = sys.argv[1]\n"
        + textwrap.dedent(READERS[reader])
        + "\nprint(json.dumps(seen))"
    )
    ended = run_python(code, master_path(going_on))
    assert ended.returncode == 0, ended.stderr
    sellers = sum(sum(range(k % 4)) for k in range(24))
    assert json.loads(ended.stdout) == [24, 3, HOMES[2], "kW", sellers, "running"]


@pytest.mark.parametrize("tool", [("h5dump", "-d", "/timeseries/slot/verdict"), ("ncdump", "-h")])
def test_tools_read_a_run_that_goes_on(going_on: Path, tool: tuple[str, ...]) -> None:
    if shutil.which(tool[0]) is None:
        pytest.skip(f"{tool[0]} is not installed")
    shown = subprocess.run(
        [*tool, str(master_path(going_on))], capture_output=True, text=True, timeout=60, check=False
    )
    assert shown.returncode == 0, shown.stderr
    assert "(0): 0, 1, 2, 0, 1, 2, 0, 1, 2" in shown.stdout or "(24 currently)" in shown.stdout


def test_a_run_that_goes_on_can_be_read_from_the_first_moment(tmp_path: Path) -> None:
    writer = ResultsWriter(tmp_path / "run.h5", header(), ENTITIES)
    writer.begin()
    with h5py.File(master_path(tmp_path / "run.h5"), "r") as file:
        assert list(file[layout.SERIES_ROOT]) == []
        assert file["tables/agent/agent"].asstr()[:].tolist() == HOMES
        assert file.attrs["run_status"] == "running"
    writer.abandon()


def test_a_run_with_more_segments_than_a_process_may_open_is_not_read_with_gaps(
    going_on: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments = len(list(part_path(going_on).glob("slots-*")))
    allowed = segments + OTHER_OPEN_FILES
    monkeypatch.setattr("tricell.results.reader.open_files_allowed", lambda: allowed - 1)
    with open_results(going_on) as results:
        with pytest.raises(ResultsError, match=rf"{segments} segments so far.*ulimit -n"):
            results.frame("agent", "p_net")
        monkeypatch.setattr("tricell.results.reader.open_files_allowed", lambda: allowed)
        assert results.frame("agent", "p_net").notna().all(axis=None)


def test_a_run_that_ends_while_it_is_read_is_gone_and_not_damaged(going_on: Path) -> None:
    def read_what_is_no_longer_there() -> None:
        with open_results(going_on) as results, results.reading("timeseries"):
            shutil.rmtree(part_path(going_on))
            raise OSError("unable to open a segment")

    with pytest.raises(ResultsError, match="is gone: its run has ended"):
        read_what_is_no_longer_there()


def test_a_stopped_run_may_be_moved(going_on: Path, expected: Contents) -> None:
    other = going_on.parent / "elsewhere"
    other.mkdir()
    shutil.move(part_path(going_on), part_path(other / "moved.h5"))
    assert contents(master_path(other / "moved.h5"))["timeseries/bus/vm"][1] == (24, 2)
    go_on(other / "moved.h5")
    assert contents(other / "moved.h5") == expected


# --- resuming ---


def test_the_file_tells_that_the_run_was_resumed(going_on: Path) -> None:
    go_on(going_on)
    with h5py.File(going_on, "r") as file:
        began, resumed = str(file.attrs["history"]).splitlines()
    assert began.startswith("2016-01-01T00:00:00+00:00 tricell")
    assert resumed.endswith("resumed it after 24 of 30 slots")


def test_a_run_that_failed_goes_on_and_replaces_its_file(
    tmp_path: Path, expected: Contents
) -> None:
    path = tmp_path / "run.h5"

    def stopped_run() -> None:
        with ResultsWriter(path, header(), ENTITIES) as writer:
            compute(writer, {8}, end=21)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_run()
    with h5py.File(path, "r") as file, h5py.File(master_path(path), "r") as shown:
        for each in (file, shown):
            assert each.attrs["run_status"] == "failed"
            assert each.attrs["failure_message"] == "KeyboardInterrupt"
            assert each["timeseries/bus/vm"].shape == (21, 2), "also what was not saved yet"
    with SavedRun.open(path) as saved:
        assert (saved.status, saved.slots_saved) == ("failed", 8)
    go_on(path)
    assert contents(path) == expected


def test_a_run_that_was_saved_at_its_end_only_has_to_be_joined(
    tmp_path: Path, expected: Contents
) -> None:
    writer = ResultsWriter(tmp_path / "run.h5", header(), ENTITIES)
    compute(writer, {SLOTS})
    writer.abandon()
    with SavedRun.open(tmp_path / "run.h5") as saved:
        assert saved.slots_saved == SLOTS
    go_on(tmp_path / "run.h5")
    assert contents(tmp_path / "run.h5") == expected


def test_a_stopped_run_may_be_named_by_its_folder(going_on: Path) -> None:
    with SavedRun.open(part_path(going_on)) as saved:
        assert (saved.path, saved.slots_saved) == (going_on, 24)


def test_a_writer_that_does_not_begin_leaves_the_stopped_run_alone(going_on: Path) -> None:
    before = sorted(part_path(going_on).iterdir())
    with ResultsWriter.resume(SavedRun.open(going_on)) as writer:
        assert writer.finish("failed", failure_message="no grid") is None
    assert sorted(part_path(going_on).iterdir()) == before
    with SavedRun.open(going_on) as saved:
        assert saved.slots_saved == 24


def test_a_complete_file_cannot_be_resumed(tmp_path: Path) -> None:
    whole_run(tmp_path / "run.h5")
    with pytest.raises(ResultsError, match=r"run\.h5 is complete, there is nothing to resume"):
        SavedRun.open(tmp_path / "run.h5")


def test_without_anything_there_is_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="start the run without --resume"):
        SavedRun.open(tmp_path / "run.h5")


def test_what_is_no_results_file_cannot_be_resumed(tmp_path: Path) -> None:
    (tmp_path / "run.h5").write_text("a letter")
    with pytest.raises(ResultsError, match=r"run\.h5 is no results file"):
        SavedRun.open(tmp_path / "run.h5")


def test_without_its_folder_a_failed_run_cannot_go_on(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with ResultsWriter(path, header(), ENTITIES) as writer:
        feed(writer, 0, 3)
    shutil.rmtree(part_path(path))
    with pytest.raises(ResultsError, match=r"run\.h5\.part with the checkpoints .* is missing"):
        SavedRun.open(path)


def test_a_file_of_another_run_is_not_replaced_by_a_resumed_one(going_on: Path) -> None:
    going_on.write_text("another run")
    with pytest.raises(ResultsError, match=r"is not of the run in .*found no results file"):
        SavedRun.open(going_on)
    going_on.unlink()
    saved = SavedRun.open(going_on)
    going_on.write_text("another run")
    with ResultsWriter.resume(saved, ENTITIES) as writer:
        compute(writer)
        with pytest.raises(ResultsError, match="appeared while the run went on"):
            writer.finish()
    assert going_on.read_text() == "another run"


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [("agent", "pv_kwp", [0.0, 0.0, 5.5]), ("bus", "area", ["a", "b"])],
)
def test_a_run_goes_on_with_the_same_entities_only(
    going_on: Path, table: str, column: str, value: list[Any]
) -> None:
    other = {**ENTITIES, table: {**ENTITIES[table], column: value}}
    with (
        SavedRun.open(going_on) as saved,
        pytest.raises(ResultsError, match=f"tables/{table}/{column} is not what it was"),
    ):
        ResultsWriter.resume(saved, other)


def test_a_run_goes_on_with_the_same_variables_only(going_on: Path) -> None:
    with (
        ResultsWriter.resume(SavedRun.open(going_on)) as writer,
        pytest.raises(ResultsError, match="brings nothing of agent, before it brought p_net, soc"),
    ):
        writer.write_slot({"bus": {"vm": np.ones(2)}})


# --- what hinders a run is said ---


def test_nobody_else_may_write_or_resume_a_run_that_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with ResultsWriter(path, header(), ENTITIES) as writer:
        compute(writer, {8}, end=9)
        for attempt in (
            lambda: check_output(path),
            lambda: check_output(path, force=True),
            lambda: ResultsWriter(path, header(), ENTITIES, force=True),
            lambda: SavedRun.open(path),
        ):
            with pytest.raises(ResultsError, match="a run is writing it at this moment"):
                attempt()
        writer.abandon()


def test_a_stopped_run_is_not_overwritten_without_force(going_on: Path) -> None:
    with pytest.raises(ResultsError, match=r"go on with `tricell run --resume .*ü\.h5'`, replace"):
        ResultsWriter(going_on, header(), ENTITIES)
    with ResultsWriter(going_on, header(2), ENTITIES, force=True) as writer:
        feed(writer, 0, 2)
        writer.finish()
    assert list(going_on.parent.iterdir()) == [going_on]


def test_two_that_begin_at_once_do_not_mix(tmp_path: Path) -> None:
    one, other = (ResultsWriter(tmp_path / "run.h5", header(), ENTITIES) for _ in range(2))
    one.begin()
    with pytest.raises(ResultsError, match="a run is writing it at this moment"):
        other.begin()
    one.abandon()
    with pytest.raises(ResultsError, match="holds a run that was stopped"):
        other.begin()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"

    def work() -> None:
        compute(ResultsWriter(path, header(), ENTITIES), {8}, end=10)
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_a_child(work) == -signal.SIGKILL
    assert (part_path(path) / LOCK).exists()
    with SavedRun.open(path) as saved:
        assert saved.slots_saved == 8


def test_a_run_without_slots_leaves_nothing(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path / "run.h5", header(), ENTITIES) as writer:
        writer.begin()
        assert writer.finish("failed", failure_message="no grid") is None
    assert list(tmp_path.iterdir()) == []


def test_files_of_others_in_the_folder_are_left_alone(tmp_path: Path, expected: Contents) -> None:
    path = tmp_path / "run.h5"
    part_path(path).mkdir()
    (part_path(path) / "notes.txt").write_text("mine")
    whole_run(path, {8})
    assert contents(path) == expected
    assert [file.name for file in part_path(path).iterdir()] == ["notes.txt"]


def test_a_folder_that_vanishes_during_the_run_is_said(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"

    def run_without_a_folder() -> None:
        with ResultsWriter(path, header(), ENTITIES) as writer:
            compute(writer, {8}, end=10)
            shutil.rmtree(part_path(path))
            writer.checkpoint({}, {})

    with pytest.raises(ResultsError, match=r"cannot be written: No such file.*moved or") as caught:
        run_without_a_folder()
    assert "cannot be written" in caught.value.__notes__[0], "nor can it be closed properly"
    assert not path.exists()


def test_a_damaged_segment_is_said(going_on: Path, expected: Contents) -> None:
    segment = part_path(going_on) / "slots-0000008.h5"
    segment.write_bytes(segment.read_bytes()[:1000])
    with pytest.raises(ResultsError, match=r"slots-0000008\.h5 is damaged or cut off; delete it"):
        SavedRun.open(going_on)
    segment.unlink()
    with SavedRun.open(going_on) as saved:
        assert saved.slots_saved == 8
    go_on(going_on)
    assert contents(going_on) == expected


@pytest.mark.parametrize("name", ["header.json", "run.h5"])
def test_a_damaged_folder_is_said(going_on: Path, name: str) -> None:
    file = part_path(going_on) / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ResultsError, match=f"{name} .*run the scenario again with --force"):
        SavedRun.open(going_on)


def test_a_stopped_run_of_another_schema_is_refused(going_on: Path) -> None:
    with h5py.File(master_path(going_on), "r+") as file:
        file.attrs["schema_version"] = "2.0.0"
    with pytest.raises(ResultsError, match=r"schema version 2\.0\.0, this tricell writes 1\."):
        SavedRun.open(going_on)


LIMITED = """
    import resource, sys
    from pathlib import Path
    import numpy as np
    from tricell.errors import ResultsError
    from tricell.results.run_header import RunHeader
    from tricell.results.saved_run import SavedRun
    from tricell.results.writer import ResultsWriter

    path, limit, days = Path(sys.argv[1]), int(sys.argv[2]), 8
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    n = 4000
    ids = [f"a{i}" for i in range(n)]
    agents = {"agent": ids, "area": ids, "level": ids, "bus": ids, "class": ids}
    header = RunHeader("big", "", 1, np.datetime64("2016-01-01"), days * 96)
    noise = np.random.default_rng(0).normal(size=(96, n))
    try:
        if path.with_name(path.name + ".part").exists():
            writer = ResultsWriter.resume(SavedRun.open(path), {"agent": agents})
        else:
            writer = ResultsWriter(path, header, {"agent": agents})
        with writer:
            writer.begin()
            for day in range(writer.slots_written // 96, days):
                writer.write_block({"agent": {"p_net": noise * (day + 1)}})
                if day % 2:
                    writer.checkpoint({"day": day}, {})
            writer.finish()
    except ResultsError as error:
        print(error, *getattr(error, "__notes__", ()), sep="\\n")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are a POSIX thing")
def test_a_disk_too_full_to_join_the_segments_keeps_all_that_was_computed(tmp_path: Path) -> None:
    # A limit of the file size stands in for the full disk: the system refuses both alike.
    path = tmp_path / "big.h5"
    ended = run_python(LIMITED, path, 15_000_000)
    assert ended.returncode == 0, ended.stderr
    assert (
        f"big.h5.part cannot be written: File too large; raise the limit on the size of a file "
        f"(`ulimit -f`; or of this kind of disk) and go on with `tricell run --resume {path}`"
        in ended.stdout
    )
    assert f"what was saved can be read in {master_path(path)}" in ended.stdout
    assert not path.exists()
    with h5py.File(master_path(path), "r") as file:
        assert file["timeseries/agent/p_net"].shape == (8 * 96, 4000)
        assert file["timeseries/agent/p_net"][:, 0].all()
        assert "could not be joined" in file.attrs["failure_message"]
    assert not list(part_path(path).glob("joined*"))
    assert run_python(LIMITED, path, 0).stdout == ""
    assert run_python(LIMITED, tmp_path / "whole.h5", 0).stdout == ""
    assert (
        contents(path)["timeseries/agent/p_net"]
        == (contents(tmp_path / "whole.h5")["timeseries/agent/p_net"])
    )


def test_a_disk_that_is_full_at_the_start_leaves_no_run_to_go_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tricell.results.writer.write_master", is_full)
    path = tmp_path / "run.h5"
    with pytest.raises(ResultsError, match=r"free some space and start the run again"):
        ResultsWriter(path, header(), ENTITIES).begin()
    monkeypatch.undo()
    monkeypatch.setattr(layout, "ROWS_PER_CHUNK", DAY)
    whole_run(path)
    assert not part_path(path).exists()


@pytest.fixture
def folder_of_nobody() -> Iterator[Path]:
    """Give a folder that a user without rights can write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.mark.skipif(not hasattr(os, "setuid") or os.getuid() != 0, reason="needs to be root")
@pytest.mark.parametrize("lost", ["run.h5.part", "."])
def test_a_permission_that_is_lost_during_the_run_is_said(
    folder_of_nobody: Path, expected: Contents, lost: str
) -> None:
    path = folder_of_nobody / "run.h5"
    said = folder_of_nobody / "said.txt"
    said.touch()
    said.chmod(0o666)
    part_path(path).mkdir()
    for folder in (folder_of_nobody, part_path(path)):
        os.chown(folder, 65534, 65534)

    def work() -> None:
        os.setuid(65534)
        try:
            with ResultsWriter(path, header(), ENTITIES) as writer:
                compute(writer, {8}, end=8)
                (folder_of_nobody / lost).chmod(0o500)
                compute(writer, {16})
                writer.finish()
        except ResultsError as error:
            said.write_text(str(error))

    assert in_a_child(work) == 0
    where = path if lost == "." else part_path(path)
    assert said.read_text().startswith(f"{where} cannot be written: Permission denied; mend the")
    go_on(path)
    assert contents(path) == expected


# --- what is worked out at the end ---


def test_the_last_tables_are_worked_out_from_the_joined_file(tmp_path: Path) -> None:
    def derive(path: Path) -> dict[str, dict[str, Any]]:
        with h5py.File(path, "r") as file:
            assert file["tables/charge/revenue"][0] == 2.5, "after the tables of the run"
            figure = float(file["timeseries/slot/vm_min"][:].mean())
        kpi = {"name": ["mean"], "scope_kind": ["run"], "scope": ["run"]}
        return {"kpi": {**kpi, "value": [figure], "unit": ["1"]}}

    with ResultsWriter(tmp_path / "run.h5", header(), ENTITIES) as writer:
        compute(writer, {8})
        writer.finish("complete", END_TABLES, derive=derive)
    with h5py.File(tmp_path / "run.h5", "r") as file:
        mean = float(file["timeseries/slot/vm_min"][:].mean())
        assert file["tables/kpi/value"][:].tolist() == [mean]
        assert file.attrs["run_status"] == "complete"


def test_a_run_whose_key_figures_fail_can_be_gone_on_with(
    tmp_path: Path, expected: Contents
) -> None:
    def derive(path: Path) -> dict[str, dict[str, Any]]:
        raise ResultsError("no key figures")

    path = tmp_path / "run.h5"
    with ResultsWriter(path, header(), ENTITIES) as writer:
        compute(writer, {8})
        with pytest.raises(ResultsError, match="no key figures"):
            writer.finish("complete", END_TABLES, derive=derive)
    assert not path.exists()
    with ResultsWriter.resume(SavedRun.open(path), ENTITIES) as writer:
        compute(writer, end=20)
        writer.finish("failed", {}, failure_message="Ctrl-C", derive=derive)
    with h5py.File(path, "r") as file:
        assert file.attrs["failure_message"] == (
            "Ctrl-C\nKey figures were not worked out: no key figures"
        )
    go_on(path)
    assert contents(path) == expected


def test_rows_of_other_columns_are_refused(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path / "run.h5", header(), ENTITIES) as writer:
        feed(writer, 0, 4)
        more = {"time": START, "level": 1, "area": 0, "seller": 0, "buyer": 0, "energy": 1.0}
        more |= {"price": 0.2, "network_charge": 0.0, "levy": 0.1}
        with pytest.raises(ResultsError, match=r"these rows bring the columns .*levy"):
            writer.append_trades(more)
