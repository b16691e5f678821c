"""Whatever is wrong with a results file: said in plain words, exit code 2, the file untouched."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.golden_file import unpacked_golden
from typer.testing import CliRunner

from tricell.errors import ResultsError
from tricell.results import open_results, study_layout
from tricell.scenarios.command_line import app

PLAIN = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
Damage = Callable[[Path], object]

COMMANDS = [
    ["compare", "GOOD", "FILE"],
    ["validate", "FILE"],
    ["export", "FILE", "--table", "trade", "--output", "out.csv"],
    ["export", "FILE", "--list"],
    ["report", "FILE", "--output", "out.html"],
    ["plot", "FILE", "verdicts", "--output", "out.png"],
    ["view", "FILE", "--no-browser"],
]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked_golden(tmp_path_factory.mktemp("good"))


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def bad(good: Path, tmp_path: Path) -> Path:
    """Give a copy of a good file, to be damaged."""
    path = tmp_path / "bad.h5"
    path.write_bytes(good.read_bytes())
    return path


def read_everything(path: Path) -> None:
    """Call all that a reader can do."""
    with open_results(path) as results:
        seen = [results.attrs, results.status, results.levels, results.kpis, results.provenance]
        assert len(seen) == 5
        assert results.scenario_yaml
        for name in results.tables:
            results.table(name)
            list(results.table_blocks(name))
        for group in results.groups:
            results.times(group)
            results.dataset(group).load()
            for variable in results.variables(group):
                results.frame(group, variable)
                list(results.blocks(group, variable))
        results.slots()


def mark(path: Path) -> tuple[str, int]:
    return hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns


def edited(change: Callable[[h5py.File], object]) -> Damage:
    def edit(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return edit


def renamed_schema(name: str, value: object) -> Damage:
    return edited(lambda file: file.attrs.__setitem__(name, value))


def resized(path: str, shape: tuple[int, ...]) -> Damage:
    def change(file: h5py.File) -> None:
        if path in file:
            del file[path]
        file.create_dataset(path, data=np.zeros(shape, "f4"))

    return edited(change)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pandas_store(path: Path) -> None:
    path.unlink()
    with pd.HDFStore(path, "w") as store:
        store.put("trade", pd.DataFrame({"energy": [1.0]}), format="table")


def mosaik_database(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("Relations")
        file["Series/Sim-0.Home/P"] = np.zeros(4)


def foreign_netcdf(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["Conventions"] = "CF-1.8"
        file["t2m"] = np.zeros(4)


BAD: list[tuple[str, Damage, str]] = [
    ("empty", lambda p: p.write_bytes(b""), r"expected HDF5.*found b'', the file is empty"),
    ("text", lambda p: p.write_text("time,price\n"), r"expected HDF5.*found b'time,pri'"),
    ("half", lambda p: p.write_bytes(p.read_bytes()[:40_000]), r"cut off \(40000 bytes\).*copy"),
    ("missing", Path.unlink, r"no such file"),
    ("folder", folder, r"is a folder"),
    ("pandas", pandas_store, r"no schema_name; `tricell run` writes such files"),
    ("netcdf", foreign_netcdf, r"not a results file of tricell"),
    ("mosaik", mosaik_database, r"not a results file of tricell"),
    (
        "study",
        renamed_schema("schema_name", study_layout.SCHEMA_NAME),
        r"results of a study.*`tricell compare .*--designs A B` reads it|has no table 'design'",
    ),
    (
        "higher major",
        renamed_schema("schema_version", "2.0.0"),
        r"schema version 2\.0\.0, this tricell reads 1\.x; update tricell",
    ),
    ("no version", renamed_schema("schema_version", "new"), r"'new' is no version like 1\.0\.0"),
    ("a number", renamed_schema("schema_version", 1), r"is no version like 1\.0\.0"),
    ("no tables", edited(lambda f: f.__delitem__("tables")), r"the group /tables is missing"),
    (
        "no status",
        edited(lambda f: f.attrs.__delitem__("run_status")),
        r"the attribute run_status is missing",
    ),
    ("status", renamed_schema("run_status", "done"), r"run_status is 'done', expected running"),
    ("step", renamed_schema("time_step_s", 0), r"time_step_s is 0, expected at least 1"),
    ("text step", renamed_schema("time_step_s", "900"), r"'900', expected a whole number"),
]


@pytest.mark.parametrize(("damage", "message"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_every_command_says_what_is_wrong_with_a_file_and_leaves_it_alone(
    good: Path, bad: Path, damage: Damage, message: str
) -> None:
    damage(bad)
    before = mark(bad) if bad.is_file() else None
    for command in COMMANDS:
        if command[0] == "view" and not bad.exists():
            continue  # it waits for a run that has not begun
        words = [{"GOOD": str(good), "FILE": str(bad)}.get(word, word) for word in command]
        ended = CliRunner(env=PLAIN).invoke(app, words)
        assert ended.exit_code == 2, (command, ended.output, ended.exception)
        text = " ".join(ended.output.split())
        assert "Traceback" not in text
        if command[0] != "validate" or "deviation" not in text:  # it lists all in its own words
            assert re.search(message, text), (command, text)
        assert (mark(bad) if bad.is_file() else None) == before
    assert not list(Path.cwd().glob("out.*")), "nothing half done is left"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (resized("timeseries/bus/vm", (3, 2)), r"/timeseries/bus/vm has the shape \(3, 2\), exp"),
        (resized("timeseries/bus/vm", (12,)), r"/timeseries/bus/vm has the shape \(12,\), expec"),
        (resized("timeseries/bus/bus", (4,)), r"/timeseries/bus/bus is of the type float32, exp"),
        (resized("tables/bill/total", (1,)), r"/tables/bill/total has the shape \(1,\), expecte"),
        (edited(lambda f: f.__delitem__("timeseries/bus/time")), r"/timeseries/bus lacks time"),
        (edited(lambda f: f.__delitem__("tables/bill/total")), r"/tables/bill lacks total; it has"),
        (edited(lambda f: f.__delitem__("tables/trade/trade")), r"/tables/trade lacks trade; it"),
        (edited(lambda f: f.__delitem__("meta/scenario_yaml")), r"lacks /meta/scenario_yaml"),
    ],
)
def test_what_is_missing_or_misshapen_is_named_with_what_was_expected(
    bad: Path, damage: Damage, message: str
) -> None:
    damage(bad)
    with pytest.raises(ResultsError, match=message):
        read_everything(bad)


def test_texts_of_fixed_length_are_read_and_what_is_no_utf_8_is_refused(bad: Path) -> None:
    renamed_schema("run_id", np.bytes_("köln".encode()))(bad)
    with open_results(bad) as results:
        assert results.attrs["run_id"] == "köln"
    renamed_schema("run_id", np.bytes_(b"k\xf6ln"))(bad)
    with pytest.raises(ResultsError, match=r"run_id \(name of the run\) .* expected a text"):
        open_results(bad)


def test_the_parts_that_are_whole_can_still_be_read(bad: Path) -> None:
    resized("timeseries/bus/vm", (3, 2))(bad)
    with open_results(bad) as results:
        assert len(results.table("bill")) == 26
        assert not results.frame("agent", "p_net").empty
        with pytest.raises(ResultsError):
            results.frame("bus", "price")


def test_what_others_added_to_a_file_is_left_out(bad: Path) -> None:
    resized("timeseries/bus/note", (3,))(bad)
    resized("tables/bill/note", (3,))(bad)
    read_everything(bad)
    with open_results(bad) as results:
        assert "note" not in results.variables("bus")
        assert "note" not in results.table("bill")


def chunk_of(path: Path, dataset: str) -> slice:
    with h5py.File(path) as file:
        chunk = file[dataset].id.get_chunk_info(0)
    return slice(chunk.byte_offset, chunk.byte_offset + chunk.size)


def test_a_chunk_that_cannot_be_unpacked_is_named_however_late_it_is_read(bad: Path) -> None:
    content = bytearray(bad.read_bytes())
    where = chunk_of(bad, "timeseries/bus/price")
    content[where] = bytes(reversed(content[where]))
    bad.write_bytes(content)
    with open_results(bad) as results:
        price = results.series("bus", "price")
        for read in (
            price.to_numpy,
            price.mean,
            lambda: results.frame("bus", "price"),
            lambda: next(results.blocks("bus", "price")),
        ):
            with pytest.raises(ResultsError, match=r"/timeseries/bus/price is damaged and cannot"):
                read()
        assert not results.frame("bus", "vm").empty


def test_values_that_are_asked_for_after_closing_are_refused(good: Path) -> None:
    with open_results(good) as results:
        price = results.series("bus", "price")
    with pytest.raises(ResultsError, match=r"is closed; read .* before the end of the `with` bl"):
        price.to_numpy()
    with pytest.raises(ResultsError, match=r"is closed"):
        results.table("bill")


def test_a_size_that_one_wrong_byte_made_huge_does_not_fill_the_memory(bad: Path) -> None:
    def huge(file: h5py.File) -> None:
        for name in file["tables/timing"]:
            del file[f"tables/timing/{name}"]
        for name, dtype in (("timing", "i8"), ("part", h5py.string_dtype()), ("seconds", "f8")):
            file.create_dataset(f"tables/timing/{name}", (1 << 44,), dtype, chunks=(1024,))

    edited(huge)(bad)
    with (
        open_results(bad) as results,
        pytest.raises(ResultsError, match=r"shape \(17592186044416,\) but only 0 bytes"),
    ):
        results.table("timing")


def test_a_file_that_may_not_be_read_is_said_so(bad: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")  # root may read everything

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(ResultsError, match=r"no permission to read it; ask its owner"):
        open_results(bad)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_file_cut_off_anywhere_is_refused(
    good: Path, tmp_path: Path, data: st.DataObject
) -> None:
    content = good.read_bytes()
    path = tmp_path / "cut.h5"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1), label="length")])
    with pytest.raises(ResultsError, match=r"expected HDF5|damaged or cut off"):
        open_results(path)


def wrong_bytes(seed: int, content: bytes) -> bytes:
    generator = random.Random(seed)
    changed = bytearray(content)
    for _ in range(generator.choice([1, 1, 3, 30])):
        changed[generator.randrange(len(changed))] = generator.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("seed", range(15))
def test_wrong_bytes_anywhere_end_in_an_error_of_tricell_or_do_no_harm(
    good: Path, tmp_path: Path, seed: int
) -> None:
    path = tmp_path / "wrong.h5"
    path.write_bytes(wrong_bytes(seed, good.read_bytes()))
    before = mark(path)
    with suppress(ResultsError):
        read_everything(path)
    assert mark(path) == before


def every_part(good: Path) -> list[str]:
    names: list[str] = []
    with h5py.File(good) as file:
        file.visit(names.append)
    return names


def test_any_part_may_be_missing_without_a_traceback(good: Path, bad: Path) -> None:
    content = good.read_bytes()
    for name in every_part(good)[::20]:
        bad.write_bytes(content)
        with h5py.File(bad, "r+") as file:
            del file[name]
        with suppress(ResultsError):
            read_everything(bad)
