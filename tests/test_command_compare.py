"""`tricell compare`: figures side by side, who gains and who loses, and what cannot be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from tricell.errors import ResultsError
from tricell.results import layout
from tricell.results.comparison import AgentChange, Comparison, FigureRow, compare_runs
from tricell.results.writer import ResultsWriter, RunHeader
from tricell.scenarios.command_line import app

START = np.datetime64("2016-07-01T00:00:00")
SLOT = dict.fromkeys((each.name for each in layout.SERIES["slot"].variables), 1.0)
HOMES = ["home 1", "home 2", "home 3", "home 4"]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def tricell(*arguments: str, width: int = 80) -> Result:
    plain = {"COLUMNS": str(width), "NO_COLOR": "1", "TERM": "dumb"}
    return CliRunner(env=plain).invoke(app, ["compare", *arguments])


def entities_of(homes: list[str]) -> dict[str, Any]:
    columns = {"area": "LV1", "level": "microgrid", "bus": "bus 1", "class": "household"}
    same = {name: [value] * len(homes) for name, value in columns.items()}
    return {"agent": {"agent": homes, **same}}


def write_run(
    name: str,
    totals: list[float],
    *,
    load: float = 100.0,
    share: float = 0.5,
    slots: int = 4,
    start: np.datetime64 = START,
    homes: list[str] = HOMES,
) -> str:
    before = np.full(len(homes), 10.0)
    tables: dict[str, dict[str, Any]] = {
        "bill": {
            "agent": homes,
            "total": totals,
            "no_trading_total": before,
            "saving": before - np.array(totals),
        },
        "kpi": {
            "name": ["load", "self_sufficiency", "peak_to_average_ratio", "energy_traded", "load"],
            "scope_kind": ["run", "run", "run", "level", "area"],
            "scope": ["run", "run", "run", "microgrid", "LV1"],
            "value": [load, share, np.nan, 7.0, 5.0],
            "unit": ["kWh", "1", "1", "kWh", "kWh"],
        },
    }
    header = RunHeader("district", "name: district\n", 1, start, slots)
    with ResultsWriter(Path(name), header, entities_of(homes)) as writer:
        for _ in range(slots):
            writer.write_slot({"slot": SLOT})
        writer.finish("complete", tables)
    return name


def row(comparison: Comparison, name: str) -> FigureRow:
    return next(each for each in comparison.figures if each.name == name)


def test_figures_stand_side_by_side_with_their_difference_to_the_first() -> None:
    files = [
        write_run("a.h5", [9.0] * 4),
        write_run("b.h5", [9.0] * 4, load=90.0, share=0.75),
        write_run("c.h5", [9.0] * 4, load=130.0),
    ]
    comparison = compare_runs(files)
    assert [run.letter for run in comparison.runs] == ["A", "B", "C"]
    load, share = row(comparison, "load"), row(comparison, "self_sufficiency")
    assert (load.unit, load.values, load.differences) == (
        "kWh",
        (100.0, 90.0, 130.0),
        (0.0, -10.0, 30.0),
    )
    assert share.differences == (0.0, 0.25, 0.0)
    assert row(comparison, "energy_traded").scope == "microgrid"
    assert {each.scope for each in comparison.figures} == {"run", "microgrid"}, "no single area"
    assert row(comparison, "peak_to_average_ratio").values == (None, None, None)


def test_agents_that_gain_and_lose_against_the_first_are_counted_and_named() -> None:
    """Against no trading (10 EUR each), A: 2 gain, 1 loses; B: 2 gain, 2 lose."""
    first = write_run("a.h5", [8.0, 9.0, 10.0, 11.0])
    other = write_run("b.h5", [5.0, 9.0, 12.0, 11.5])
    comparison = compare_runs([first, other])
    assert row(comparison, "agents_gaining").values == (2.0, 2.0)
    assert row(comparison, "agents_losing").values == (1.0, 2.0)
    (change,) = comparison.changes
    assert change is not None
    assert (change.gaining, change.losing, change.unchanged) == (1, 2, 1)
    assert change.most_gaining == (AgentChange("home 1", 3.0),)
    assert change.most_losing == (AgentChange("home 3", -2.0), AgentChange("home 4", -0.5))


def test_agents_are_matched_by_name_not_by_row() -> None:
    first = write_run("a.h5", [1.0, 2.0, 3.0, 4.0])
    other = write_run("b.h5", [4.0, 3.0, 2.0, 1.0], homes=HOMES[::-1])
    (change,) = compare_runs([first, other]).changes
    assert change is not None
    assert change.unchanged == 4


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"slots": 8}, "8 slots, not 4"),
        ({"start": START + np.timedelta64(1, "D")}, "begins 2016-07-02 00:00, not 2016-07-01"),
        ({"homes": [*HOMES[:3], "shop"]}, "other agents (1 only here, 1 only in the first)"),
    ],
)
def test_sums_of_other_periods_or_agents_are_not_compared(
    options: dict[str, Any], reason: str
) -> None:
    files = [write_run("a.h5", [9.0] * 4), write_run("b.h5", [9.0] * 4, share=0.75, **options)]
    comparison = compare_runs(files)
    assert reason in comparison.runs[1].not_comparable
    assert row(comparison, "load").differences[1] is None
    assert row(comparison, "self_sufficiency").differences[1] == 0.25, "a ratio can be compared"
    assert comparison.changes == (None,)
    shown = " ".join(tricell(*files).stdout.split())
    assert "load kWh 100 100 n/c" in shown
    assert "not comparable" in shown
    assert reason.partition(",")[0] in shown


@pytest.mark.parametrize("width", [80, 120])
def test_many_runs_fit_the_terminal(width: int) -> None:
    files = [write_run(f"run{n}.h5", [9.0] * 4, load=100.0 + n) for n in range(5)]
    result = tricell(*files, width=width)
    assert result.exit_code == 0, result.stderr
    assert max(map(len, result.stdout.splitlines())) <= width
    for words in (
        "B - A",
        "E - A",
        "+4",
        "self sufficiency",
        "microgrid: energy traded",
        "run4.h5",
    ):
        assert words in result.stdout


def test_figures_are_shown_by_family_and_those_that_tell_nothing_are_counted() -> None:
    """The ratio is undefined and nobody loses: two figures, for in both runs it is so."""
    files = [write_run("a.h5", [9.0] * 4), write_run("b.h5", [9.0] * 4, share=0.0)]
    lines = [" ".join(line.split()) for line in tricell(*files).stdout.splitlines()]
    shown = [lines.index(head) for head in ("Bills", "Energy", "By level")]
    assert shown == sorted(shown), "the most asked for come first"
    assert "Left out: 2 figures that are 0 or undefined in all runs." in lines
    assert "self sufficiency % 50.00 0 -50.00" in lines, "0 in one run is worth knowing"
    assert not any("peak over mean" in line or "agents losing" in line for line in lines)


def test_equal_runs_show_equal_signs_and_nobody_gains() -> None:
    files = [write_run("a.h5", [9.0] * 4), write_run("b.h5", [9.0] * 4)]
    shown = " ".join(tricell(*files).stdout.split())
    assert "load kWh 100 100 =" in shown
    assert "0 gain, 0 lose, 4 pay the same gain most nobody lose most nobody" in shown


def test_a_run_that_failed_is_marked() -> None:
    first = write_run("a.h5", [9.0] * 4)
    header = RunHeader("district", "name: district\n", 1, START, 4)
    with ResultsWriter(Path("b.h5"), header, entities_of(HOMES)) as writer:
        writer.write_slot({"slot": SLOT})
        writer.finish("failed", failure_message="a simulator stopped")
    result = tricell(first, "b.h5")
    assert result.exit_code == 0, result.stderr
    assert "(failed)" in " ".join(result.stdout.split())
    assert "1 slots, not 4" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.h5"], "nothing to compare"),
        (["a.h5", "a.h5"], "named twice"),
        (["a.h5", "missing.h5"], "missing.h5: no such file"),
        (["a.h5", "text.h5"], "text.h5 is not a results file"),
    ],
)
def test_files_that_cannot_be_compared_exit_2_with_a_message(
    arguments: list[str], words: str
) -> None:
    write_run("a.h5", [9.0] * 4)
    Path("text.h5").write_text("not HDF5")
    result = tricell(*arguments)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    with pytest.raises(ResultsError):
        compare_runs(arguments)
