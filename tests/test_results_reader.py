"""The reader: tables as pandas, series as xarray read when needed, runs that go on."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import copyfile, copytree, rmtree

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from tests.golden_file import CHECKPOINTS, unpacked_golden, write_running

from tricell.errors import ResultsError
from tricell.results import Results, layout, open_results
from tricell.results.run_folder import MASTER, part_path

ROOT = Path(__file__).parents[1]
SLOTS = 12


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked_golden(tmp_path_factory.mktemp("good"))


@pytest.fixture
def results(good: Path) -> Iterator[Results]:
    with open_results(good) as opened:
        yield opened


@pytest.fixture(scope="module")
def running_folder(good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("running") / "week.h5"
    write_running(good, output)
    return part_path(output)


@pytest.fixture
def running(running_folder: Path, tmp_path: Path) -> Path:
    """Give the name of a results file that is not there yet, and its folder is."""
    copytree(running_folder, part_path(tmp_path / "week.h5"))
    return tmp_path / "week.h5"


# --- series ---


def test_a_series_has_the_dimensions_times_and_ids_of_its_group(results: Results) -> None:
    voltage = results.series("bus", "vm")
    assert voltage.dims == ("time", "bus")
    assert voltage.attrs["units"] == "1"
    assert voltage["bus"].to_numpy().tolist() == results.table("bus")["bus"].tolist()
    assert voltage["time"].dtype.kind == "M"
    frame = results.frame("bus", "vm")
    np.testing.assert_array_equal(voltage.to_numpy(), frame.to_numpy())
    assert (pd.DatetimeIndex(voltage["time"].to_numpy(), tz="UTC") == frame.index).all()


def test_a_part_of_the_period_is_a_part_of_the_series(results: Results) -> None:
    whole = results.series("agent", "p_net")
    part = results.series("agent", "p_net", "2016-05-23T17:00", "2016-05-23T19:30+02:00")
    xr.testing.assert_identical(part, whole.isel(time=slice(4, 6)))


def test_coded_variables_keep_what_their_codes_mean(results: Results) -> None:
    verdict = results.series("slot", "verdict")
    assert verdict.dims == ("time",)
    words = [flag.word for flag in layout.VERDICTS]
    assert verdict.attrs["flag_meanings"].split() == words
    assert verdict.attrs["flag_values"].tolist() == [flag.value for flag in layout.VERDICTS]


def test_a_dataset_is_what_xarray_itself_makes_of_the_file(good: Path, results: Results) -> None:
    for group in results.groups:
        path = layout.series_path(group)
        with xr.open_dataset(good, group=path, engine="h5netcdf", decode_timedelta=False) as theirs:
            ours = results.dataset(group)
            xr.testing.assert_equal(ours, theirs)
            for name in theirs.variables:
                ours_attrs, theirs_attrs = ours[name].attrs, theirs[name].attrs
                assert ours_attrs.keys() == theirs_attrs.keys()
                for key, value in theirs_attrs.items():
                    np.testing.assert_array_equal(ours_attrs[key], value)


def test_values_are_read_when_they_are_needed_and_only_those(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[str, tuple[int, ...]]] = []
    wrapped = Results._read

    def spy(self: Results, dataset: h5py.Dataset, key: object) -> object:
        values = wrapped(self, dataset, key)
        read.append((dataset.name, np.shape(values)))
        return values

    monkeypatch.setattr(Results, "_read", spy)
    power = results.series("agent", "p_net")
    assert "/timeseries/agent/p_net" not in dict(read)
    power.isel(agent=slice(2, 5), time=slice(0, 4)).to_numpy()
    assert dict(read)["/timeseries/agent/p_net"] == (4, 3)


def test_values_that_are_asked_for_too_late_are_told_so(good: Path) -> None:
    with open_results(good) as opened:
        power = opened.series("agent", "p_net")
    with pytest.raises(ResultsError, match="is closed; read values before the end of the `with`"):
        power.load()


def test_every_kind_of_selection_is_that_of_the_numbers(results: Results) -> None:
    power, numbers = results.series("agent", "p_net"), results.frame("agent", "p_net").to_numpy()
    np.testing.assert_array_equal(power.isel(agent=[5, 1, 1])[::-2], numbers[::-2, [5, 1, 1]])
    np.testing.assert_array_equal(power[3, 4], numbers[3, 4])
    where = {"time": xr.DataArray([0, 7], dims="k"), "agent": xr.DataArray([3, 2], dims="k")}
    np.testing.assert_array_equal(power.isel(where), numbers[[0, 7], [3, 2]])
    np.testing.assert_allclose(power.resample(time="1h").sum()[0], numbers[:4].sum(axis=0))


# --- tables, figures, levels ---


def test_blocks_of_a_table_are_the_table(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tricell.results.reader.TABLE_ROWS_PER_BLOCK", 7)
    blocks = list(results.table_blocks("posting"))
    assert {len(block) for block in blocks[:-1]} == {7}
    pd.testing.assert_frame_equal(pd.concat(blocks), results.table("posting"))


def test_figures_are_a_mapping_with_none_where_undefined(results: Results) -> None:
    table = results.table("kpi")
    undefined = table[table["value"].isna()].iloc[0]
    assert results.kpis[undefined["scope"]][undefined["name"]] is None
    defined = table[table["value"].notna()].iloc[0]
    assert results.kpis[defined["scope"]][defined["name"]] == defined["value"]


def test_figures_of_things_of_one_name_are_not_mixed(good: Path, tmp_path: Path) -> None:
    # 260 kWh are the load of a class that is called like a level, 1 kWh of an agent called "run".
    path = tmp_path / "shared.h5"
    copyfile(good, path)
    with h5py.File(path, "r+") as file:
        kpi = file[layout.table_path("kpi")]
        kinds, scopes, names = (kpi[each].asstr()[...] for each in ("scope_kind", "scope", "name"))
        for kind, scope, value in (("class", "cell", 260.0), ("agent", "run", 1.0)):
            here = np.flatnonzero((kinds == kind) & (names == "load"))[0]
            kpi["scope"][here], kpi["value"][here] = scope, value
        level_load = kpi["value"][(kinds == "level") & (scopes == "cell") & (names == "load")][0]
        run_load = kpi["value"][(kinds == "run") & (names == "load")][0]
    with open_results(path) as results:
        with pytest.raises(
            ResultsError, match=r"level, class; use kpis_of\('level'\)\['cell'\] or"
        ):
            results.kpis["cell"]
        assert "cell" not in results.kpis
        assert results.kpis_of("class")["cell"]["load"] == 260.0
        assert results.kpis_of("level")["cell"]["load"] == level_load
        assert results.kpis_of("agent")["run"]["load"] == 1.0
        assert results.kpis["run"]["load"] == run_load
        with pytest.raises(KeyError):
            results.kpis["nobody"]
        with pytest.raises(ResultsError, match="no kind of scope"):
            results.kpis_of("areas")


def test_levels_are_told_the_lowest_first(results: Results) -> None:
    assert results.levels == ("microgrid", "cell")
    assert results.status == "complete"


def test_the_layout_is_had_without_what_reads_files() -> None:
    code = (
        "import sys, tricell.results.layout; print({'h5py', 'pandas', 'xarray'} & {*sys.modules})"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "set()"


# --- runs that go on, or were killed ---


def test_a_run_that_goes_on_is_opened_by_the_name_of_its_file_to_come(running: Path) -> None:
    for path in (running, part_path(running), part_path(running) / MASTER):
        with open_results(path) as results:
            assert results.status == "running"
            assert len(results.times()) == CHECKPOINTS[-1]
            assert results.series("agent", "p_net").notnull().all()


def test_a_run_without_a_checkpoint_has_nothing_to_read_yet(tmp_path: Path) -> None:
    part_path(tmp_path / "week.h5").mkdir()
    with pytest.raises(ResultsError, match=r"nothing to read before its first checkpoint"):
        open_results(tmp_path / "week.h5")


def test_a_segment_that_is_missing_or_cut_off_is_no_gap_in_the_numbers(running: Path) -> None:
    """HDF5 itself gives gaps for it, and says nothing."""
    segment = sorted(part_path(running).glob("slots-*.h5"))[0]
    segment.write_bytes(segment.read_bytes()[:1000])
    with open_results(running) as results, pytest.raises(ResultsError, match=r"damaged or cut off"):
        results.frame("agent", "p_net")
    segment.unlink()
    with open_results(running) as results, pytest.raises(ResultsError, match=r"no such file"):
        results.frame("agent", "p_net")


def test_a_run_that_ended_while_it_was_read_says_so(running: Path) -> None:
    with open_results(running) as results:
        first = results.frame("agent", "p_net")
        rmtree(part_path(running))
        assert not first.empty
        with pytest.raises(ResultsError, match=r"its run has ended; open it again"):
            results.frame("agent", "p_net")


WRITER = """
    import sys, time
    from pathlib import Path
    import h5py
    from tests.golden_file import block_of, entities_of, header_of
    from tricell.results import layout
    from tricell.results.writer import ResultsWriter

    with h5py.File(sys.argv[1]) as file:
        entities = entities_of(file)
        writer = ResultsWriter(Path(sys.argv[2]), header_of(file), entities)
        for slot in range(12):
            writer.write_block(block_of(file, slot, slot + 1))
            writer.checkpoint({"slot": slot}, {})
            print(slot, flush=True)
            time.sleep(0.05)
    writer.finish("complete", {})
"""


def test_reading_does_not_disturb_a_run_that_writes(good: Path, tmp_path: Path) -> None:
    output = tmp_path / "week.h5"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(good), str(output)],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        seen = set()
        kept = open_results(output)
        while process.poll() is None:
            try:
                with open_results(output) as results:
                    power = results.frame("agent", "p_net")
            except ResultsError as error:
                if not any(text in str(error) for text in ("has ended", "no such file", "folder")):
                    raise
                continue
            assert power.notna().to_numpy().all()
            seen.add(len(power))
            time.sleep(0.02)
        kept.close()
    assert process.returncode == 0
    assert len(seen) > 1, "it grew while it was read"
    with open_results(output) as results, open_results(good) as expected:
        assert results.status == "complete"
        pd.testing.assert_frame_equal(
            results.frame("agent", "p_net"), expected.frame("agent", "p_net")
        )
