"""The page of `tricell compare`: what differs between runs, with the numbers of their files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from tests.browser import running_browser, watch
from tests.golden_file import unpacked_golden
from tests.study_data import LABELS, write_study_file
from typer.testing import CliRunner, Result

from tricell.results.comparison import compare_runs
from tricell.results.comparison_page.page import design_page, run_page
from tricell.results.comparison_page.scenario_fields import differing_fields
from tricell.results.design_comparison import compare_designs
from tricell.results.layout import Verdict
from tricell.results.reader import open_results
from tricell.results.report.parts import Cell, Part
from tricell.results.report.rendering import Page
from tricell.results.report.run_data import RunData
from tricell.scenarios.command_line import app

PLAIN = {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
DEARER = 0.5
"""EUR that the first customer pays more in the other run, and the second less."""
WIDTHS = (1280, 390)


def changed(first: Path, other: Path) -> Path:
    """Make another run of the first: dearer, hotter, and with a limit broken in one slot."""
    shutil.copy(first, other)
    with h5py.File(other, "r+") as file:
        totals = file["tables/bill/total"]
        totals[0], totals[1] = totals[0] + DEARER, totals[1] - DEARER
        file["timeseries/trafo/loading"][...] *= 2.0
        file["timeseries/microgrid/price"][...] += 0.01
        file["timeseries/slot/verdict"][3] = Verdict.LIMITS_BROKEN
        names = file["tables/kpi/name"].asstr()[:]
        loads = np.flatnonzero(names == "load")
        file["tables/kpi/value"][loads] = 1.1 * file["tables/kpi/value"][loads]
        text = file["meta/scenario_yaml"].asstr()[()]
        assert "seed: 1" in text
        file["meta/scenario_yaml"][()] = text.replace("seed: 1", "seed: 2")
    return other


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    first = unpacked_golden(folder)
    return first, changed(first, folder / "other.h5")


@pytest.fixture(scope="module")
def page(files: tuple[Path, Path]) -> Iterator[Page]:
    with open_results(files[0]) as one, open_results(files[1]) as two:
        yield run_page(compare_runs(files), [RunData(one), RunData(two)])


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def tricell(*arguments: str | Path) -> Result:
    return CliRunner(env=PLAIN).invoke(app, ["compare", *map(str, arguments)])


def part(page: Page, key: str) -> Part:
    return next(each for section in page.sections for each in section.parts if each.key == key)


def row(page: Page, key: str, *first: str) -> list[Cell]:
    table = part(page, key).rows
    assert table is not None
    return next(list(each) for each in table.rows if tuple(each[: len(first)]) == first)


# --- what differs in scenarios ---


def test_only_fields_that_differ_are_listed_with_their_dotted_path() -> None:
    one = {"seed": 1, "market": {"k": 0.5, "cell": {"kind": "cda"}}, "charges": [{"preset": "a"}]}
    two = {"seed": 1, "market": {"k": None, "cell": {"kind": "vcg"}}, "charges": []}
    assert differing_fields([one, two]) == [
        ("market.k", ("0.5", "none")),
        ("market.cell.kind", ("cda", "vcg")),
        ("charges[0].preset", ("a", None)),
        ("charges", (None, "[]")),
    ]


def test_equal_scenarios_differ_in_nothing() -> None:
    assert differing_fields([{"a": [1, 2]}, {"a": [1, 2]}]) == []


# --- numbers of the page ---


def test_the_page_says_what_differs_in_the_scenarios(page: Page) -> None:
    assert row(page, "scenarios", "seed") == ["seed", "1", "2"]
    rows = part(page, "scenarios").rows
    assert rows is not None
    assert len(rows.rows) == 1


def test_key_figures_stand_with_difference_and_percent(page: Page) -> None:
    figure, unit, first, other, difference, percent = row(page, "run_figures", "load")
    assert (figure, unit) == ("load", "kWh")
    assert isinstance(first, float)
    assert other == pytest.approx(1.1 * first)
    assert difference == pytest.approx(0.1 * first)
    assert percent == pytest.approx(10.0)
    *_, difference, percent = row(page, "run_figures", "self sufficiency")
    assert (difference, percent) == (0.0, 0.0)


def test_levels_and_areas_have_their_own_figures(page: Page) -> None:
    assert row(page, "level_figures", "load", "Microgrids")[-1] == pytest.approx(10.0)
    assert row(page, "area_figures", "load", "LV1.101")[-1] == pytest.approx(10.0)
    table = part(page, "area_figures").rows
    assert table is not None
    assert list(table.areas) == [cells[1] for cells in table.rows]
    assert [choice.id for choice in page.areas] == ["MV1.101", "LV1.101", "LV1.201"]


def test_undefined_is_a_gap_and_never_zero(page: Page) -> None:
    table = part(page, "run_figures").rows
    assert table is not None
    assert all(any(cell is not None for cell in cells[2:4]) for cells in table.rows)
    zeros = [cells for cells in table.rows if cells[2] == 0.0]
    assert zeros
    assert all(cells[-1] is None for cells in zeros), "no percent of zero"


def test_bills_tell_who_pays_more_and_who_less(page: Page) -> None:
    bills = part(page, "bills_B")
    assert "Of 26 customers 1 pay less, 1 more and 24 the same" in bills.caption
    assert bills.figure is not None
    heights = np.concatenate([np.asarray(trace.y) for trace in bills.figure.data])
    assert (heights.min(), heights.max()) == pytest.approx((-DEARER, DEARER))
    losers = part(page, "losers_B").rows
    assert losers is not None
    assert losers.rows[0][0] == "LV1.101 Load 1"


def test_load_duration_curves_of_all_runs_are_in_one_figure(
    page: Page, files: tuple[Path, Path]
) -> None:
    drawn = part(page, "load_duration")
    assert drawn.figure is not None
    with open_results(files[0]) as results:
        highest = results.frame("trafo", "loading").max()
    curves = {trace.name: np.asarray(trace.y) for trace in drawn.figure.data}
    assert set(curves) == {f"{trafo}, {run}" for trafo in highest.index for run in "AB"}
    for trafo, loading in highest.items():
        assert curves[f"{trafo}, A"][0] == pytest.approx(loading, rel=1e-6)
        assert curves[f"{trafo}, B"][0] == pytest.approx(2.0 * loading, rel=1e-6)


def test_prices_and_verdicts_are_those_of_the_files(page: Page) -> None:
    first, other = (row(page, "prices", "Microgrids", run)[2:] for run in "AB")
    assert np.array(other, float) - np.array(first, float) == pytest.approx([0.01] * 3)
    assert row(page, "verdicts", "all limits kept") == ["all limits kept", 12, 11]
    assert row(page, "verdicts", "a limit broken") == ["a limit broken", 0, 1]


def test_runs_of_other_periods_show_why_bills_are_not_compared(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copy(files[0], "later.h5")
    with h5py.File("later.h5", "r+") as file:
        for group in file["timeseries"].values():
            group["time"][...] += 86_400
    with open_results(files[0]) as one, open_results("later.h5") as two:
        page = run_page(compare_runs([files[0], "later.h5"]), [RunData(one), RunData(two)])
    (note,) = part(page, "bills_B").notes
    assert "begins 2016-05-24 16:00, not 2016-05-23 16:00" in note
    assert row(page, "run_figures", "load")[-2:] == [None, None]
    assert any("cannot be compared" in each for each in part(page, "runs").notes)


def test_two_designs_of_a_study_have_a_page(tmp_path: Path) -> None:
    study = write_study_file(tmp_path / "made_up.study.h5")
    comparison = compare_designs(study, ("volumetric", "peak"))
    page = design_page(comparison)
    assert page.title == f"{LABELS['volumetric']} and {LABELS['peak']} compared"
    everybody = comparison.winners.classes[0]
    assert row(page, "classes_B", "all customers")[1:4] == [
        everybody.customers,
        everybody.better,
        everybody.worse,
    ]
    change = sum(each.change_eur for each in comparison.winners.components)
    assert row(page, "components_B", "all together")[-1] == pytest.approx(change)
    result = tricell(study, "--designs", "volumetric", "peak", "--output", "designs.html")
    assert (result.exit_code, result.stdout) == (0, "designs.html\n"), result.stderr
    assert "Two designs of the study made_up" in Path("designs.html").read_text(encoding="utf-8")


# --- the command ---


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--output", "page.pdf"], "allowed is .html or .htm, such as `page.html`"),
        (["--output", "mine.html"], "exists already"),
        (["--output", "none/page.html"], "does not exist"),
        (["--force"], "--force overwrites a page; name one with --output"),
    ],
)
def test_a_page_that_cannot_be_written_exits_2(
    files: tuple[Path, Path], options: list[str], words: str
) -> None:
    Path("mine.html").write_text("mine")
    result = tricell(*files, *options)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert Path("mine.html").read_text() == "mine"
    assert [path.name for path in Path().iterdir()] == ["mine.html"]


def test_the_page_opens_without_a_network_and_draws_everything(files: tuple[Path, Path]) -> None:
    result = tricell(*files, "-o", "page.html")
    assert (result.exit_code, result.stdout) == (0, "page.html\n"), result.stderr
    address = Path("page.html").absolute().as_uri()
    with running_browser() as browser:
        for width in WIDTHS:
            tab = browser.new_page(viewport={"width": width, "height": 900})
            witness = watch(tab)
            tab.goto(address)
            tab.click("#draw-all")
            tab.wait_for_function(
                "[...document.querySelectorAll('.plot')].every((plot) => plot.dataset.drawn)"
            )
            assert tab.locator(".plot").count() == 7
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            assert witness.complaints == []
            assert witness.requests == []
            tab.select_option("#area", "LV1.101")
            shown = tab.locator("#part-area_figures tbody tr:visible td:nth-child(2)")
            assert set(shown.all_inner_texts()) == {"LV1.101"}
            tab.close()
