"""`tricell compare`: winners and losers by class, between runs and between designs of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.study_data import Plan, study_tables, write_study_file
from typer.testing import CliRunner, Result

from tricell.errors import ResultsError
from tricell.results.bill_changes import ALL, LARGEST, winners_and_losers
from tricell.results.comparison import compare_runs
from tricell.results.design_comparison import compare_designs
from tricell.results.study_results import StudyHeader, open_study, write_study
from tricell.results.writer import ResultsWriter, RunHeader
from tricell.scenarios.command_line import app

START = np.datetime64("2016-07-01T00:00:00")
HOMES = ["home 1", "home 2", "home 3", "shop 1"]
CLASSES = ["household", "household", "household", "business"]
DAY = 1.0 / 365.0
YEAR_SHARE = 7.0 * 24.0 / 8760.0


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study_file(tmp_path_factory.mktemp("study") / "made_up.study.h5")


def tricell(*arguments: str, width: int = 80) -> Result:
    plain = {"COLUMNS": str(width), "NO_COLOR": "1", "TERM": "dumb"}
    return CliRunner(env=plain).invoke(app, ["compare", *arguments])


def words(result: Result) -> str:
    return " ".join((result.stdout + result.stderr).split())


def write_run(
    name: str, network: list[float], *, seed: int = 1, pv: float = 0.0, classes: list[str] = CLASSES
) -> str:
    """Write a run of one day in which everybody pays 2 EUR for energy, and for the network."""
    columns: dict[str, Any] = {"area": "LV1", "level": "microgrid", "bus": "bus 1"}
    same = {key: [value] * len(HOMES) for key, value in columns.items()}
    agents = {"agent": HOMES, **same, "class": classes, "pv_kwp": [pv, 0.0, 0.0, 0.0]}
    total = [2.0 + each for each in network]
    bill = {
        "agent": HOMES,
        "energy_retail": [2.0] * len(HOMES),
        "network": network,
        "total": total,
        "no_trading_total": total,
        "saving": [0.0] * len(HOMES),
    }
    header = RunHeader("district", "name: district\n", seed, START, 24, time_step_s=3600)
    with ResultsWriter(Path(name), header, {"agent": agents}) as writer:
        for _ in range(24):
            writer.write_slot({"slot": {"vm_min": 1.0}})
        writer.finish("complete", {"bill": bill})
    return name


def bills(before: list[float], after: list[float], group: list[str] | None = None) -> pd.DataFrame:
    names = [f"home {number}" for number in range(len(before))]
    groups = group or ["household"] * len(before)
    return pd.DataFrame({"group": groups, "before": before, "after": after}, index=names)


# --- the rule ---


def test_changes_are_scaled_to_a_year_and_counted_by_class() -> None:
    table = bills([1.0, 2.0, 4.0], [2.0, 1.5, 4.0], ["household", "household", "business"])
    result = winners_and_losers(table, DAY)
    everybody, business, household = result.classes
    assert (everybody.group, business.group, household.group) == (ALL, "business", "household")
    assert (everybody.customers, everybody.better, everybody.worse) == (3, 1, 1)
    assert (business.better, business.worse) == (0, 0)
    assert household.mean_eur == pytest.approx(365.0 * 0.25)
    assert household.mean_percent == pytest.approx(100.0 * 0.5 / 3.0)
    assert household.median_percent == pytest.approx((100.0 - 25.0) / 2.0)
    assert household.p10_eur == pytest.approx(365.0 * (-0.5 + 0.1 * 1.5))
    assert household.p90_eur == pytest.approx(365.0 * (-0.5 + 0.9 * 1.5))


@pytest.mark.parametrize(
    ("before", "after", "hard"),
    [
        (2000.0, 2150.0, 0.0),  # 150 EUR but 7.5 %
        (500.0, 590.0, 0.0),  # 18 % but 90 EUR
        (1000.0, 1100.0, 0.0),  # exactly on both limits
        (500.0, 601.0, 1.0),
        (-50.0, 60.0, 1.0),  # nothing was paid before: the limit in EUR decides
    ],
)
def test_who_is_hit_hard_is_worse_by_more_than_both_limits(
    before: float, after: float, hard: float
) -> None:
    assert winners_and_losers(bills([before], [after]), 1.0).classes[0].hard_share == hard


def test_a_bill_of_nothing_has_no_change_in_percent() -> None:
    (everybody, _) = winners_and_losers(bills([0.0], [50.0]), 1.0).classes
    assert everybody.mean_percent is None
    assert everybody.median_percent is None
    assert everybody.mean_eur == 50.0


def test_the_largest_losers_are_named_and_winners_are_not() -> None:
    after = [100.0 + change for change in (5.0, -3.0, 9.0, 0.0, 7.0, 1.0, 2.0, 3.0)]
    losers = winners_and_losers(bills([100.0] * 8, after), 1.0).largest_losers
    assert len(losers) == LARGEST
    assert [each.customer for each in losers[:3]] == ["home 2", "home 4", "home 0"]
    assert losers[0].percent == pytest.approx(9.0)
    assert winners_and_losers(bills([1.0], [0.5]), 1.0).largest_losers == ()


amounts = st.lists(
    st.tuples(st.floats(-500, 500), st.floats(-500, 500), st.sampled_from(["a", "b", "c"])),
    min_size=1,
    max_size=30,
)


@given(amounts)
def test_classes_add_up_to_all_and_swapping_designs_swaps_winners(
    rows: list[tuple[float, float, str]],
) -> None:
    before, after = [row[0] for row in rows], [row[1] for row in rows]
    group = [row[2] for row in rows]
    there = winners_and_losers(bills(before, after, group), 1.0)
    back = winners_and_losers(bills(after, before, group), 1.0)
    everybody, *classes = there.classes
    for name in ("customers", "better", "worse"):
        assert getattr(everybody, name) == sum(getattr(each, name) for each in classes)
    assert everybody.mean_eur * everybody.customers == pytest.approx(
        sum(each.mean_eur * each.customers for each in classes), abs=1e-6
    )
    assert (everybody.better, everybody.worse) == (back.classes[0].worse, back.classes[0].better)
    assert everybody.p10_eur <= everybody.median_eur <= everybody.p90_eur
    assert 0.0 <= everybody.hard_share <= 1.0


# --- two runs ---


def test_runs_show_winners_and_losers_by_class_and_component() -> None:
    files = [write_run("a.h5", [1.0, 1.0, 1.0, 9.0]), write_run("b.h5", [0.5, 2.0, 1.0, 8.0])]
    (change,) = compare_runs(files).changes
    assert change is not None
    assert change.winners is not None
    everybody, business, household = change.winners.classes
    assert (everybody.better, everybody.worse) == (2, 1)
    assert business.mean_eur == pytest.approx(-365.0)
    assert household.mean_eur == pytest.approx(365.0 * 0.5 / 3.0)
    assert household.hard_share == pytest.approx(1.0 / 3.0)
    parts = {each.component: each.change_eur for each in change.winners.components}
    assert parts == pytest.approx({"energy_retail": 0.0, "network": 365.0 * -0.5})
    shown = words(tricell(*files))
    assert "Bills per year, B - A, EUR: + pays more" in shown
    assert "home 2 +365 +33.3 household" in shown
    assert "network 4,380.00 4,197.50 -182" in shown
    assert "not the design alone" not in shown


def test_another_seed_or_population_is_shown_with_a_warning() -> None:
    first = write_run("a.h5", [1.0] * 4)
    other_seed = write_run("b.h5", [2.0] * 4, seed=7)
    other_homes = write_run("c.h5", [2.0] * 4, pv=5.0, classes=["business", *CLASSES[1:]])
    comparison = compare_runs([first, other_seed, other_homes])
    assert comparison.runs[0].warning == ""
    assert comparison.runs[1].warning == "seed 7, not 1"
    assert comparison.runs[2].warning == (
        "1 agents with another class; 1 agents with another pv_kwp"
    )
    assert comparison.changes[1] is not None, "shown all the same"
    shown = words(tricell(first, other_seed))
    assert "not the design alone: B has seed 7, not 1." in shown


def test_names_of_classes_are_words_and_break_at_blanks() -> None:
    classes = ["lower_grid", "household", "household", "charging_station"]
    network = ([10000.0] * 4, [99999.0, 1.0, 0.5, 70000.0])
    files = [
        write_run(name, amounts, classes=classes)
        for name, amounts in zip(("a.h5", "b.h5"), network, strict=True)
    ]
    result = tricell(*files)
    assert "…" not in result.stdout, "millions fit, in two tables"
    for name in ("lower grid", "charging station", "household"):
        assert name in result.stdout
    assert "_" not in result.stdout


def test_shares_are_shown_in_percent(study: Path) -> None:
    result = tricell(str(study), "--designs", "volumetric", "peak")
    comparison = compare_designs(study, ("volumetric", "peak"))
    (share,) = (each for each in comparison.figures if each.name == "self_sufficiency")
    row = f"self sufficiency % {100 * share.before:.2f} {100 * share.after:.2f}"
    assert row in words(result)


@pytest.mark.parametrize("width", [80, 120])
def test_winners_fit_the_terminal(width: int, study: Path) -> None:
    result = tricell(str(study), "--designs", "volumetric", "peak", width=width)
    assert result.exit_code == 0, result.stderr
    assert max(map(len, result.stdout.splitlines())) <= width


# --- two designs of a study ---


def test_designs_are_compared_for_the_same_customers_and_seed(study: Path) -> None:
    comparison = compare_designs(study, ("volumetric", "peak"), "fixed")
    with open_study(study) as opened:
        table = opened.table("bill", with_run=True)
    table = table[(table["pv_share"] == 0.3) & (table["closure"] == "fixed")]
    by_design = {
        name: part.set_index(["seed", "customer"])["total"] / YEAR_SHARE
        for name, part in table.groupby("design")
    }
    change = by_design["peak"] - by_design["volumetric"]
    everybody = comparison.winners.classes[0]
    assert comparison.closure == "fixed"
    assert comparison.seeds == (1, 2)
    assert everybody.customers == len(change) == 120
    assert everybody.mean_eur == pytest.approx(change.mean())
    assert everybody.worse == int((change > 0.01).sum())
    losers = comparison.winners.largest_losers
    mean = change.groupby("customer").mean().sort_values(ascending=False)
    assert [each.customer for each in losers] == list(mean.index[: len(losers)])
    assert len({each.customer for each in losers}) == LARGEST, "everybody is named once"
    assert losers[0].change_eur == pytest.approx(mean.iloc[0])


def test_components_of_a_study_add_up_to_the_change_of_all_bills(study: Path) -> None:
    comparison = compare_designs(study, ("volumetric", "bands"))
    assert comparison.closure == "resolved", "the last closure that both have"
    total = sum(each.change_eur for each in comparison.winners.components)
    everybody = comparison.winners.classes[0]
    per_seed = everybody.mean_eur * everybody.customers / len(comparison.seeds)
    assert total == pytest.approx(per_seed, abs=0.05)
    names = [each.component for each in comparison.winners.components]
    assert "working price" in names
    assert "time bands" in names


def test_the_screen_names_designs_closure_and_losers(study: Path) -> None:
    designs = ("--designs", "volumetric", "fixed", "--closure", "none")
    shown = words(tricell(str(study), *designs, width=120))
    for text in (
        "A Volumetric (today) (volumetric)",
        "B Fixed price (fixed)",
        "closure none, period 7 d, seed 1, 2",
        "only the base point of the axes is compared",
        "sum of the peaks of the low-voltage interfaces kW",
        "reduction of the sum of low-voltage peaks %",
        "peak of the grid connection kW",
        "n counts the customers of all 2 seeds",
        "Who loses most, B - A",
        "standing charge",
    ):
        assert text in shown


def test_customers_of_other_size_are_warned_of(tmp_path: Path) -> None:
    plan = Plan(
        designs=("volumetric", "peak"), closures=("none",), seeds=(1,), pv_shares=(0.3,), days=1
    )
    tables = {name: dict(columns) for name, columns in study_tables(plan).items()}
    load = list(tables["bill"]["load_kwh"])
    load[-1] *= 2.0
    tables["bill"]["load_kwh"] = load
    header = StudyHeader("other", "", "volumetric", "name: other\n", "name: base\n")
    path = write_study(tmp_path / "other.study.h5", header, tables)
    warnings = compare_designs(path, ("volumetric", "peak")).warnings
    assert warnings == ("1 customers differ in what they own or use",)


def test_a_seed_that_failed_for_one_design_is_left_out_and_said(tmp_path: Path) -> None:
    """Runs: seed 1 volumetric 0, peak 1; seed 2 volumetric 2, peak 3."""
    plan = Plan(
        designs=("volumetric", "peak"), closures=("none",), pv_shares=(0.3,), days=1, failed=(3,)
    )
    path = write_study_file(tmp_path / "a.study.h5", plan)
    comparison = compare_designs(path, ("volumetric", "peak"))
    assert comparison.seeds == (1,)
    assert "seeds that only one design has are left out: 2" in comparison.warnings
    assert comparison.winners.classes[0].customers == 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["STUDY"], "Name the two designs to compare, such as --designs volumetric fixed"),
        (["STUDY", "--designs", "volumetric", "gold"], "no runs of a design 'gold'; it has: vol"),
        (["STUDY", "--designs", "peak", "peak"], "'peak' is named twice"),
        (
            ["STUDY", "--designs", "peak", "fixed", "--closure", "some"],
            "at the closure 'some'; both have: none, fixed, resolved",
        ),
        (["STUDY", "run.h5", "--designs", "peak", "fixed"], "but 2 files are named"),
        (["run.h5", "--designs", "peak", "fixed"], "is not the results of a study"),
        (["run.h5", "run2.h5", "--closure", "none"], "--closure speaks of a study"),
        (["missing.h5", "--designs", "peak", "fixed"], "missing.h5: no such file"),
    ],
)
def test_what_cannot_be_compared_exits_2_and_says_what_to_do(
    arguments: list[str], message: str, study: Path
) -> None:
    write_run("run.h5", [1.0] * 4)
    write_run("run2.h5", [1.0] * 4)
    result = tricell(*(str(study) if each == "STUDY" else each for each in arguments))
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


def test_designs_without_a_seed_in_common_are_an_error(tmp_path: Path) -> None:
    plan = Plan(
        designs=("volumetric", "peak", "fixed"),
        closures=("none",),
        pv_shares=(0.3,),
        days=1,
        failed=(2, 4),
    )
    path = write_study_file(tmp_path / "a.study.h5", plan)
    with pytest.raises(ResultsError, match="no seed in common"):
        compare_designs(path, ("peak", "fixed"))
