"""`tricell plot`: every kind of figure, with the numbers of the file, at the size of a paper."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from tests.golden_file import unpacked_golden, write_running
from typer.testing import CliRunner, Result

from tricell.errors import ResultsError
from tricell.results.plots.canvas import DPI, POINTS, WIDTHS_CM, Drawn, paper
from tricell.results.plots.choice import Choice, PartOfRun, summed
from tricell.results.plots.grid import worst_slot
from tricell.results.plots.kinds import KINDS
from tricell.results.plots.periods import bar_sums, bar_word
from tricell.results.plots.plotting import DRAWERS, Order, write_plot
from tricell.results.reader import Results, open_results
from tricell.results.report.run_data import RunData
from tricell.scenarios.command_line import app

SLOTS, HOURS = 12, 0.25
"""Of the golden file: three hours from 18:00 local time."""
NOON = "2016-05-23T17:00Z"
PLAIN = {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked_golden(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def drawn(run: Path) -> dict[tuple[str, str], Drawn]:
    """Every kind at both widths."""
    with open_results(run) as results, paper():
        data = RunData(results)
        return {
            (kind, width): draw(data, Choice(width=width))
            for kind, draw in DRAWERS.items()
            for width in WIDTHS_CM
        }


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def tricell(*arguments: str | Path) -> Result:
    return CliRunner(env=PLAIN).invoke(app, ["plot", *map(str, arguments)])


def written(error: Result) -> str:
    return " ".join(error.stderr.split())


def lines_of(figure: Figure, label: str) -> np.ndarray:
    (line,) = (each for each in figure.axes[0].lines if each.get_label() == label)
    return np.asarray(line.get_ydata(), np.float64)


def bar_heights(figure: Figure) -> list[float]:
    return [
        float(sum(patch.get_height() for patch in container.patches))
        for container in figure.axes[0].containers
        if isinstance(container, BarContainer)
    ]


# --- the kinds ---


def test_every_kind_that_is_listed_is_drawn_and_documented() -> None:
    assert set(KINDS) == set(DRAWERS)
    listed = tricell("--list").stdout
    page = (Path(__file__).parents[1] / "docs" / "pictures.md").read_text(encoding="utf-8")
    for kind in KINDS:
        assert kind in listed
        assert f"| `{kind}` |" in page


@pytest.mark.parametrize("width", WIDTHS_CM)
@pytest.mark.parametrize("kind", KINDS)
def test_figures_have_the_printed_width_and_no_small_type(
    drawn: dict[tuple[str, str], Drawn], kind: str, width: str
) -> None:
    figure = drawn[kind, width].figure
    assert figure.get_figwidth() * 2.54 == pytest.approx(WIDTHS_CM[width])
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert texts, "a figure without any word cannot be read"
    assert min(float(text.get_fontsize()) for text in texts) >= POINTS
    assert drawn[kind, width].caption.endswith(".")


@pytest.mark.parametrize("kind", ["energy-flows", "grid", "voltage-map", "hierarchy", "duration"])
def test_nothing_stands_beyond_the_edge_of_a_narrow_figure(
    drawn: dict[tuple[str, str], Drawn], kind: str
) -> None:
    figure = drawn[kind, "single"].figure
    with paper():
        figure.draw_without_rendering()
        box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert box.x0 >= -0.02
    assert box.y0 >= -0.02
    assert box.x1 <= width + 0.02
    assert box.y1 <= height + 0.02


# --- numbers ---


def test_prices_are_those_of_the_file(run: Path, drawn: dict[tuple[str, str], Drawn]) -> None:
    with open_results(run) as results:
        prices = results.frame("microgrid", "price").median(axis=1).to_numpy()
        retail = results.slots()["retail_price"].to_numpy()
    figure = drawn["prices", "double"].figure
    np.testing.assert_allclose(lines_of(figure, "2 microgrids")[:SLOTS], prices)
    np.testing.assert_allclose(lines_of(figure, "retail price")[:SLOTS], retail)


def test_what_is_bought_from_and_sold_to_the_retailer_is_what_bills_say(
    run: Path, drawn: dict[tuple[str, str], Drawn]
) -> None:
    with open_results(run) as results:
        bills = results.table("bill")
        traded = results.frame("microgrid", "energy_traded").to_numpy().sum()
    heights = bar_heights(drawn["energy-flows", "double"].figure)
    expected = [traded, bills["bought_retail"].sum(), -bills["sold_retail"].sum()]
    np.testing.assert_allclose(heights, expected, rtol=1e-6)


def test_energy_from_somewhere_goes_somewhere(drawn: dict[tuple[str, str], Drawn]) -> None:
    """Generation, import and discharge equal load, export and charge: members have no losses."""
    heights = bar_heights(drawn["energy", "double"].figure)
    assert sum(heights) == pytest.approx(0.0, abs=1e-6 * max(heights))


def test_a_load_duration_curve_falls_from_the_highest_loading(
    run: Path, drawn: dict[tuple[str, str], Drawn]
) -> None:
    with open_results(run) as results:
        highest = results.frame("trafo", "loading").to_numpy().max()
    lines = drawn["duration", "double"].figure.axes[0].lines
    drawn_curves = [np.asarray(line.get_ydata(), np.float64) for line in lines]
    curves = [curve for curve in drawn_curves if len(curve) == SLOTS]
    assert max(curve[0] for curve in curves) == pytest.approx(highest)
    assert all((np.diff(curve) <= 0.0).all() for curve in curves)


def test_the_worst_slot_is_that_in_which_a_limit_is_nearest(run: Path) -> None:
    """The transformers carry 50 % at 18:00; the highest voltage, 1.025 pu, is 45 % of the way."""
    with open_results(run) as results:
        data = RunData(results)
        loading = results.frame("trafo", "loading").to_numpy().max(axis=1)
        assert worst_slot(data) == int(loading.argmax()) == 0


def test_captions_state_totals(run: Path, drawn: dict[tuple[str, str], Drawn]) -> None:
    with open_results(run) as results:
        saving = results.table("bill")["saving"]
    gaining = int((saving > 0.005).sum())
    caption = drawn["bills", "double"].caption
    assert f"{gaining} gain, 0 lose, {len(saving) - gaining} pay the same" in caption
    assert f"{saving.sum():.2f} EUR in all" in caption


# --- parts of a run ---


def test_a_part_of_a_run_is_read_as_if_there_were_no_other_slots(run: Path) -> None:
    with open_results(run) as results:
        part = PartOfRun(results, NOON, "2016-05-23T17:30Z")
        whole = results.frame("agent", "p_load")
        data = RunData(part)
        assert list(data.slot_times.strftime("%H:%M")) == ["19:00", "19:15"]
        assert len(data.slots) == 2
        np.testing.assert_allclose(data.whole("agent", "p_load"), whole.to_numpy()[4:6])
        columns = np.array([0, 3])
        expected = whole.to_numpy()[4:6, [0, 3]].sum(axis=1)
        np.testing.assert_allclose(summed(data, "agent", "p_load", columns), expected)


def test_one_area_shows_itself_and_the_markets_above(run: Path) -> None:
    with open_results(run) as results, paper():
        data = RunData(results)
        figure = DRAWERS["prices"](data, Choice(area="LV1.101")).figure
        labels = [line.get_label() for line in figure.axes[0].lines]
        assert labels[:2] == ["microgrid LV1.101", "cell MV1.101"]
        buses = DRAWERS["voltage-map"](data, Choice(area="LV1.101")).figure
        assert buses.axes[0].get_ylabel() == "14 buses of LV1.101, by voltage"


@given(
    st.lists(st.floats(0.0, 100.0), min_size=1, max_size=60),
    st.sampled_from(["15min", "6h", "2D"]),
)
def test_bars_keep_the_sum(values: list[float], step: str) -> None:
    times = pd.date_range("2016-03-26T22:00", periods=len(values), freq=step)
    word = bar_word(len(values) * pd.Timedelta(step).total_seconds() / 3600.0)
    starts, sums = bar_sums(times, np.array(values), word)
    assert sums.sum() == pytest.approx(sum(values))
    assert starts.is_monotonic_increasing
    assert starts[0] <= times[0]


def test_buses_without_places_are_drawn_as_a_tree(run: Path) -> None:
    shutil.copy(run, "tree.h5")
    with h5py.File("tree.h5", "r+") as file:
        for name in ("x", "y"):
            file["tables/bus"][name][:] = np.nan
    caption = write_plot(Path("tree.h5"), Order("grid"), Path("tree.png"))
    assert "as a tree, not to scale" in caption


def test_a_run_that_goes_on_is_drawn_as_far_as_it_is(run: Path) -> None:
    going_on = write_running(run, Path("going_on.h5"))
    assert "3 hours" not in write_plot(going_on, Order("prices"), Path("prices.png"))
    with pytest.raises(ResultsError, match="made at the end of a run"):
        write_plot(going_on, Order("bills"), Path("bills.png"))


# --- files ---


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_run_gives_the_same_bytes(run: Path, suffix: str) -> None:
    paths = [Path(f"{name}{suffix}") for name in ("one", "two")]
    for path in paths:
        write_plot(run, Order("voltage-map"), path)
    one, two = (path.read_bytes() for path in paths)
    assert one == two
    assert b"CreationDate" not in one
    assert b"dc:date" not in one


def test_a_picture_has_three_hundred_dots_an_inch(run: Path) -> None:
    result = tricell(run, "verdicts", "--width", "single")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("verdicts.png\nWhat the AC power flow proves")
    with Image.open("verdicts.png") as image:
        assert image.width == int(8.5 / 2.54 * DPI)
    assert [path.name for path in Path().iterdir()] == ["verdicts.png"], "no temporary file stays"


def test_an_existing_file_is_only_overwritten_by_force(run: Path) -> None:
    Path("grid.png").write_text("mine")
    refused = tricell(run, "grid")
    assert refused.exit_code == 2
    assert "exists already" in written(refused)
    assert Path("grid.png").read_text() == "mine"
    assert tricell(run, "grid", "--force").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pricez"], "no kind of figure 'pricez'; did you mean 'prices'? Allowed: prices,"),
        (["prices", "-o", "x.gif"], "allowed is .png, .svg or .pdf, such as `x.png`"),
        (["prices", "-o", "none/x.png"], "does not exist"),
        (["prices", "--area", "LV1.10"], "no area 'LV1.10'; did you mean 'LV1.101'? It has: MV1"),
        (["prices", "--level", "cel"], "no level 'cel'; did you mean 'cell'?"),
        (["prices", "--area", "LV1.101", "--level", "cell"], "holds no area of the level cell"),
        (["prices", "--width", "triple"], "allowed are single (8.5 cm) and double (17 cm)"),
        (["prices", "--start", "2020-01-01"], "from 2016-05-23T16:00 up to 2016-05-23T19:00 UTC"),
        (["prices", "--start", "noon"], "no time such as 2016-05-25"),
        (["prices", "--level", "cell"], "no price of cell in this period"),
        (["grid", "--at", "2016-05-23T19:00"], "no slot at 2016-05-23T19:00 UTC"),
        (["bills", "--start", "2016-05-23"], "bills takes no --start and --stop; it takes --area"),
        (["duration", "--area", "MV1.101", "--level", "cell"], "transformers feed: LV1.101"),
        (["bills", "--area", "MV1.101", "--level", "cell"], "no bills of MV1.101"),
    ],
)
def test_what_cannot_be_drawn_exits_2_and_says_what_is_allowed(
    run: Path, arguments: list[str], words: str
) -> None:
    before = run.read_bytes()
    result = tricell(run, *arguments)
    assert result.exit_code == 2, result.output
    assert words in written(result)
    assert "Traceback" not in result.output
    assert not list(Path().iterdir())
    assert run.read_bytes() == before


def test_a_file_that_is_not_there_or_no_results_exits_2() -> None:
    Path("text.h5").write_text("no HDF5")
    for name, words in (("none.h5", "no such file"), ("text.h5", "not a results file")):
        result = tricell(name, "prices")
        assert result.exit_code == 2
        assert words in written(result)


def test_a_file_that_lacks_a_variable_says_so(run: Path) -> None:
    class Bare(Results):
        """The run without any bus voltages."""

        def variables(self, group: str) -> tuple[str, ...]:
            return tuple(name for name in super().variables(group) if (group, name) != BUS_VM)

    BUS_VM = ("bus", "vm")
    with h5py.File(run) as file, paper(), pytest.raises(ResultsError, match="no voltages to draw"):
        DRAWERS["voltage-map"](RunData(Bare(run, file)), Choice())
