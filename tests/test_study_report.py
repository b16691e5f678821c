"""The report of a study: all tables and figures are there, with the numbers of the study."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from tests.study_data import CHARGES, LABELS, Plan, study_tables, write_study_file

from tricell.errors import ResultsError
from tricell.results.charge_indicators import WORSE_EUR_PER_YEAR, WORSE_PERCENT
from tricell.results.report.look import OKABE_ITO
from tricell.results.study_report import write_report
from tricell.results.study_report.data import CLOSURE_LABELS, LOW_VOLTAGE, StudyData, load
from tricell.results.study_report.export import save_report
from tricell.results.study_report.figures import all_figures
from tricell.results.study_report.figures_bills import pareto_front, redistributed
from tricell.results.study_report.figures_grid import tree_places
from tricell.results.study_report.page import findings, format_cell, render
from tricell.results.study_report.style import ReportFigure, design_looks, drawing
from tricell.results.study_report.tables import all_tables, parameter_name, parameter_value
from tricell.results.study_results import StudyHeader, open_study, write_study

TABLE_KEYS = [f"T{number}" for number in range(1, 9)]
FIGURE_KEYS = [f"F{number}" for number in range(1, 11)]
YEAR_SHARE = 7.0 * 24.0 / 8760.0
RESOLVED = CLOSURE_LABELS["resolved"]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study_file(tmp_path_factory.mktemp("study") / "made_up.study.h5")


@pytest.fixture(scope="module")
def data(study: Path) -> StudyData:
    return load(study)


@pytest.fixture(scope="module")
def figures(data: StudyData) -> dict[str, ReportFigure]:
    """All figures; they are drawn once, by `report`."""
    with drawing():
        return {figure.key: figure for figure in all_figures(data)}


@pytest.fixture(scope="module")
def report(data: StudyData, figures: dict[str, ReportFigure]) -> Path:
    save_report(data, all_tables(data), tuple(figures.values()), data.path.parent / "report")
    return data.path.parent / "report"


@pytest.fixture(scope="module")
def tables(report: Path) -> dict[str, pd.DataFrame]:
    return {
        path.name.partition("_")[0]: pd.read_parquet(path)
        for path in (report / "tables").glob("*.parquet")
    }


@pytest.fixture(scope="module")
def base(study: Path) -> dict[str, pd.DataFrame]:
    """The tables of the runs at the base point, straight from the file."""
    with open_study(study) as opened:
        names = ("revenue", "bill", "rate", "kpi", "interface", "grid")
        tables = {name: opened.table(name, with_run=True) for name in names}
    return {name: table[table["pv_share"] == 0.3] for name, table in tables.items()}


# --- files ---


def test_every_table_and_figure_is_written_in_every_format(report: Path) -> None:
    tables = {path.name for path in (report / "tables").iterdir()}
    drawn = {path.name for path in (report / "figures").iterdir()}
    for key in TABLE_KEYS:
        assert {Path(n).suffix for n in tables if n.startswith(f"{key}_")} == {".csv", ".parquet"}
    for key in FIGURE_KEYS:
        assert {Path(n).suffix for n in drawn if n.startswith(f"{key}_")} == {".png", ".svg"}
    assert (report / "report.html").is_file()
    assert len((report / "figures" / "captions.txt").read_text().split("\n\n")) == 10


def test_csv_holds_the_numbers_of_parquet_to_seven_digits(
    report: Path, tables: dict[str, pd.DataFrame]
) -> None:
    for path in (report / "tables").glob("*.csv"):
        table = tables[path.name.partition("_")[0]]
        other = pd.read_csv(path)
        assert list(table.columns) == list(other.columns)
        for name in table.columns:
            if pd.api.types.is_float_dtype(table[name]):
                np.testing.assert_allclose(table[name], other[name], rtol=1e-6)
        for number in re.findall(r"(?<=,)-?[\d.]+(?:e[+-]\d+)?(?=,)", path.read_text()):
            digits = number.partition("e")[0].replace(".", "").lstrip("-0")
            assert len(digits) <= 7, (path.name, number)


def test_rounding_noise_is_zero_in_files(tables: dict[str, pd.DataFrame]) -> None:
    for key, table in tables.items():
        for name in table.select_dtypes("float"):
            size = table[name].abs()
            assert not ((size > 0.0) & (size < 1e-6)).any(), (key, name)


def test_figures_are_xml_and_carry_no_address_that_is_loaded(report: Path) -> None:
    for path in (report / "figures").glob("*.svg"):
        root = ElementTree.parse(path).getroot()
        assert root.tag == f"{SVG}svg"
        for element in root.iter():
            for name, value in element.attrib.items():
                if name.endswith("href"):
                    assert value.startswith(("#", "data:")), (path.name, value)


def test_only_the_formats_that_are_asked_for_are_written(study: Path, tmp_path: Path) -> None:
    paths = write_report(study, tmp_path / "deep" / "folder", ["csv"])
    assert len(paths) == 8
    assert {path.suffix for path in (tmp_path / "deep").rglob("*.*")} == {".csv"}
    with pytest.raises(ResultsError, match=r"no format docx; choose from html, csv"):
        write_report(study, tmp_path, ["docx"])


def test_the_same_study_makes_the_same_files(tmp_path: Path) -> None:
    plan = Plan(designs=("volumetric",), closures=("none",), seeds=(1,), pv_shares=(0.3,), days=1)
    path = write_study_file(tmp_path / "a.study.h5", plan)
    formats = ("html", "csv", "parquet", "svg")
    paths = write_report(path, tmp_path / "one", formats)
    write_report(path, tmp_path / "two", formats)
    assert len(paths) == 1 + 8 * 2 + 5 + 1, "five figures of one design have nothing to compare"
    for path in paths:
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == other.read_bytes(), path.name


def test_a_folder_that_cannot_be_written_is_an_error_that_says_so(
    study: Path, tmp_path: Path
) -> None:
    (tmp_path / "report").write_text("a file")
    with pytest.raises(ResultsError, match="cannot be written to"):
        write_report(study, tmp_path / "report", ["csv"])


# --- tables ---


def test_headings_of_numbers_state_their_unit(data: StudyData) -> None:
    without_unit = {"Number", "Mean", "Lowest seed", "Highest seed", "Value", "Reference"}
    without_unit |= {"Difference to reference"}
    for table in all_tables(data):
        for name in table.full.columns:
            if pd.api.types.is_float_dtype(table.full[name]) and name not in without_unit:
                assert re.search(r", (EUR/yr|%|kW|kWh|p\.u\.|bus-h|element-h|h)", name), name


def test_revenue_by_level_and_closure_is_that_of_the_study(
    tables: dict[str, pd.DataFrame], base: dict[str, pd.DataFrame]
) -> None:
    for design in CHARGES:
        for closure in ("none", "fixed", "resolved"):
            rows = base["revenue"].query(
                "design == @design and closure == @closure and level == 'all'"
            )
            table = tables["T1"]
            chosen = table["Design"].eq(LABELS[design]) & table["Level"].eq("all levels")
            shown = table[chosen & table["Closure"].eq(CLOSURE_LABELS[closure])].iloc[0]
            assert shown["Collected, EUR/yr"] == pytest.approx(
                rows["collected"].mean() / YEAR_SHARE
            )
            assert shown["Gap, EUR/yr"] == pytest.approx(rows["gap"].mean() / YEAR_SHARE, abs=1e-6)
    recovered = tables["T1"].query("Closure == @RESOLVED and Level == 'all levels'")
    np.testing.assert_allclose(recovered["Recovery, %"], 100.0, atol=1e-6)


def test_levels_add_up_to_all_levels(tables: dict[str, pd.DataFrame]) -> None:
    table = tables["T1"]
    is_all = table["Level"] == "all levels"
    for name in ("Allowed revenue, EUR/yr", "Collected, EUR/yr"):
        parts = table[~is_all].groupby(["Design", "Closure"])[name].sum()
        whole = table[is_all].set_index(["Design", "Closure"])[name]
        np.testing.assert_allclose(parts, whole.reindex(parts.index), rtol=1e-9)


def test_rates_are_the_final_ones_in_cents_where_they_are_per_kwh(
    tables: dict[str, pd.DataFrame], base: dict[str, pd.DataFrame]
) -> None:
    final = base["rate"].query("is_final == 1 and design == 'bands' and closure == 'resolved'")
    shown = tables["T2"].query("Design == 'Time bands' and Closure == @RESOLVED").iloc[0]
    assert shown["Unit"] == "ct/kWh"
    assert shown["Mean"] == pytest.approx(100.0 * final["value"].mean())
    assert shown["Lowest seed"] <= shown["Mean"] <= shown["Highest seed"]
    peak = tables["T2"].query("Design == 'Monthly peak'")
    assert set(peak["Unit"]) == {"EUR/(kW yr)"}


def test_bills_by_class_are_those_of_the_same_customers_under_the_reference(
    tables: dict[str, pd.DataFrame], base: dict[str, pd.DataFrame]
) -> None:
    bills = base["bill"].query("closure == 'resolved' and `class` == 'household'")
    keys = ["seed", "customer"]
    before = bills.query("design == 'volumetric'").set_index(keys)["total"] / YEAR_SHARE
    after = bills.query("design == 'peak'").set_index(keys)["total"] / YEAR_SHARE
    change = after - before
    hard = (change > WORSE_EUR_PER_YEAR) & (change > WORSE_PERCENT / 100 * before.clip(lower=0))
    shown = (
        tables["T3"]
        .query("Customers == 'household' and Design == 'Monthly peak' and Closure == @RESOLVED")
        .iloc[0]
    )
    assert shown["Number"] == 54
    assert shown["Mean change, EUR/yr"] == pytest.approx(change.mean())
    assert shown["P10 change, EUR/yr"] == pytest.approx(change.quantile(0.1))
    assert shown["P50 change, EUR/yr"] == pytest.approx(change.median())
    assert shown["P90 change, EUR/yr"] == pytest.approx(change.quantile(0.9))
    assert shown["Change of mean, %"] == pytest.approx(100 * change.sum() / before.sum())
    assert shown["Hit hard, % of customers"] == pytest.approx(100 * hard.mean())
    reference = tables["T3"].query("Design == 'Volumetric (today)'")
    np.testing.assert_allclose(reference["Mean change, EUR/yr"], 0.0, atol=1e-9)


def test_cross_subsidies_add_up_to_zero(tables: dict[str, pd.DataFrame]) -> None:
    table = tables["T4"]
    is_all = table["Customers"] == "all customers"
    sums = table[~is_all].groupby(["Design", "Closure"])["Cross-subsidy, EUR/yr"].sum()
    paid = table[is_all].groupby(["Design", "Closure"])["Network charges paid, EUR/yr"].sum()
    assert (sums.abs() < 1e-9 * paid).all()
    assert table[~is_all].groupby(["Design", "Closure"])["Number"].sum().eq(60.0).all()
    np.testing.assert_allclose(table["Cross-subsidy, EUR/yr"][is_all], 0.0, atol=1e-6)


def test_cross_subsidy_under_new_rates_is_paid_less_caused(
    tables: dict[str, pd.DataFrame], base: dict[str, pd.DataFrame]
) -> None:
    bills = base["bill"].query(
        "design == 'fixed' and closure == 'resolved' and with_pv == 1 and `class` == 'household'"
    )
    expected = (bills["network"] - bills["causal_cost"]).sum() / 2 / YEAR_SHARE
    shown = tables["T4"].query(
        "Design == 'Fixed price' and Closure == @RESOLVED and Customers == 'household with PV'"
    )
    assert shown["Cross-subsidy, EUR/yr"].iloc[0] == pytest.approx(expected)


def test_peaks_change_against_the_run_with_the_same_seed(
    tables: dict[str, pd.DataFrame], base: dict[str, pd.DataFrame]
) -> None:
    peaks = base["grid"].query("level == 'all' and closure == 'resolved'")
    by_design = peaks.groupby("design")["peak_kw"].mean()
    shown = tables["T5"].query("Level == 'all levels' and Closure == @RESOLVED").set_index("Design")
    assert shown.loc["Time bands", "Peak, kW"] == pytest.approx(by_design["bands"])
    assert shown.loc["Time bands", "Peak change, %"] == pytest.approx(
        100 * (by_design["bands"] / by_design["volumetric"] - 1)
    )


def test_key_figures_stand_beside_those_of_the_reference(
    tables: dict[str, pd.DataFrame], base: dict[str, pd.DataFrame], data: StudyData
) -> None:
    values = base["kpi"].query("name == 'self_sufficiency' and closure == 'resolved'")
    means = 100.0 * values.groupby("design")["value"].mean()
    row = (
        tables["T6"]
        .query(
            "`Key figure` == 'self sufficiency' and Design == 'Fixed price'"
            " and Closure == @RESOLVED"
        )
        .iloc[0]
    )
    assert row["Unit"] == "%"
    assert row["Value"] == pytest.approx(means["fixed"])
    assert row["Reference"] == pytest.approx(means["volumetric"])
    assert row["Difference to reference"] == pytest.approx(means["fixed"] - means["volumetric"])
    (table,) = (each for each in all_tables(data) if each.key == "T6")
    assert list(table.shown.columns)[2] == "Volumetric (today)"
    assert any("undefined figure" in note for note in table.notes)


def test_columns_of_the_sensitivity_name_their_closure(
    tables: dict[str, pd.DataFrame], base: dict[str, pd.DataFrame]
) -> None:
    heads = list(tables["T7"].columns[3:])
    assert [re.findall(r"\((.*?)\)", head) for head in heads] == [["new rates"]] * 7 + [
        ["fixed rates"]
    ]
    peaks = base["grid"].query("level == 'microgrid' and closure == 'resolved'")
    by_design = peaks.groupby("design")["peak_kw"].mean()
    row = tables["T7"].query("Design == 'Time bands' and Value == 30.0").iloc[0]
    assert row["Sum of low-voltage peaks (new rates), kW"] == pytest.approx(by_design["bands"])
    assert row["Change of that sum (new rates), %"] == pytest.approx(
        100 * (by_design["bands"] / by_design["volumetric"] - 1)
    )


def test_low_voltage_peaks_are_among_the_key_figures(
    tables: dict[str, pd.DataFrame], base: dict[str, pd.DataFrame]
) -> None:
    peaks = base["grid"].query("level == 'microgrid' and closure == 'resolved'")
    by_design = peaks.groupby("design")["peak_kw"].mean()
    shown = tables["T6"].query("Closure == @RESOLVED and Design == 'Monthly peak'")
    is_low = shown["Key figure"] == "sum of the peaks of the low-voltage interfaces"
    row = shown[is_low].iloc[0]
    assert row["Value"] == pytest.approx(by_design["peak"])
    assert row["Reference"] == pytest.approx(by_design["volumetric"])
    assert (shown["Key figure"] == "peak of the grid connection").any()


def test_without_low_voltage_the_connection_is_judged(tmp_path: Path) -> None:
    """Areas of the made-up study called cells."""
    plan = Plan(designs=("volumetric", "peak"), seeds=(1,), pv_shares=(0.3,), days=1)
    found = {name: dict(columns) for name, columns in study_tables(plan).items()}
    found["interface"]["level"] = ["cell"] * len(found["interface"]["level"])
    is_low = np.array(found["grid"]["level"]) == LOW_VOLTAGE
    found["grid"]["peak_kw"] = np.where(is_low, 0.0, found["grid"]["peak_kw"])
    header = StudyHeader("a", "", "volumetric", "name: a\n", "name: b\n")
    data = load(write_study(tmp_path / "a.study.h5", header, found))
    assert findings(data)[0].startswith("The peak of the grid connection is lowest under")
    with drawing():
        figures = {figure.key: figure for figure in all_figures(data)}
    assert "peak of the grid connection" in figures["F6"].caption
    assert "connection to the grid above (HV)" in figures["F4"].caption
    assert not [n for n in all_tables(data)[6].full.columns if "low-voltage" in n]


def test_sensitivity_has_every_value_of_every_axis(tables: dict[str, pd.DataFrame]) -> None:
    table = tables["T7"]
    assert list(table["Axis"].unique()) == ["Share of households with PV, %", "Seed"]
    shares = table.query("Axis == 'Share of households with PV, %'")
    assert sorted(shares["Value"].unique()) == [30.0, 60.0]
    assert len(shares) == 2 * len(CHARGES)
    none_without_reaction = shares.query("Design == 'Volumetric (today)'")[
        "Revenue gap (fixed rates), %"
    ]
    np.testing.assert_allclose(none_without_reaction, 0.0, atol=1e-9)
    assert (shares.query("Design == 'Monthly peak'")["Revenue gap (fixed rates), %"] < -1.0).all()


def test_parameters_carry_source_and_year(tables: dict[str, pd.DataFrame]) -> None:
    assert list(tables["T8"].columns) == ["Parameter", "Value", "Unit", "Source", "Year"]
    assert tables["T8"]["Source"].notna().all()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("allowed revenue", "2.5028e+06", ("allowed revenue", "2,502,800")),
        (
            "Monthly peak: network power, interval_minutes",
            "15",
            ("Monthly peak: network power, interval", "15"),
        ),
        ("Fees: fee, rates_eur_per_kwh.always", "0.11", ("Fees: fee, rates, always", "0.11")),
        (
            "local: energy, microgrid_discount",
            "0.57",
            ("local: energy, microgrid discount", "0.57"),
        ),
        (
            "price, feed_in",
            "kind fixed, price_eur_per_kwh 0.08",
            ("price, feed in", "fixed, price 0.08"),
        ),
        ("discounts", "57 and 28", ("discounts", "57 and 28")),
    ],
)
def test_parameters_are_written_in_words(name: str, value: str, words: tuple[str, str]) -> None:
    assert (parameter_name(name), parameter_value(value)) == words


# --- figures ---


def test_no_axes_are_empty_and_all_have_labels(figures: dict[str, ReportFigure]) -> None:
    for key, figure in figures.items():
        assert figure.drawing is not None
        for axes in figure.drawing.axes:
            assert axes.has_data() or axes.collections or axes.images, key
            if axes.axison and axes.get_label() != "<colorbar>":
                assert axes.get_xlabel(), (key, axes.get_title())


def test_type_is_nine_points_and_more(figures: dict[str, ReportFigure]) -> None:
    for key, figure in figures.items():
        for text in _texts(figure.drawing):
            assert float(text.get_fontsize()) >= 9.0, (key, text.get_text())


def _texts(figure: Figure | None) -> list[Text]:
    assert figure is not None
    return [each for each in figure.findobj(Text) if isinstance(each, Text) and each.get_text()]


def test_a_design_has_the_same_colour_in_every_figure(data: StudyData) -> None:
    looks = design_looks(data.designs)
    assert [looks[design].colour for design in CHARGES] == list(OKABE_ITO[:4])
    many = design_looks([f"design {number}" for number in range(20)])
    pairs = {(look.colour, str(look.dash)) for look in many.values()}
    assert len(pairs) == 20, "beyond the palette the line style tells designs apart"


def test_the_curve_of_bill_changes_is_sorted_and_spans_all_customers(
    figures: dict[str, ReportFigure],
) -> None:
    drawing_ = figures["F1"].drawing
    assert drawing_ is not None
    lines = [line for line in drawing_.axes[0].lines if np.size(line.get_xdata()) > 2]
    assert len(lines) == len(CHARGES) - 1
    for line in lines:
        x, y = (np.asarray(values) for values in (line.get_xdata(), line.get_ydata()))
        assert (np.diff(x) >= 0).all()
        assert (np.diff(y) >= 0).all()
        assert (x[0], x[-1]) == (0.0, 100.0)


def test_the_waterfall_ends_at_the_gap_of_the_study(
    figures: dict[str, ReportFigure], base: dict[str, pd.DataFrame]
) -> None:
    rows = base["revenue"].query("level == 'all' and closure == 'fixed' and design == 'peak'")
    gap = 100 * rows["gap"].sum() / rows["allowed"].sum()
    drawing_ = figures["F10"].drawing
    assert drawing_ is not None
    (axes,) = (each for each in drawing_.axes if each.get_title(loc="left") == "Monthly peak")
    texts = [text.get_text() for text in axes.texts]
    assert texts.count(f"−{abs(gap):.1f}") == 1
    assert texts[-1] == "0.0"
    assert any("Volumetric" in note for note in figures["F10"].notes)


def test_captions_say_how_and_notes_which_closure(figures: dict[str, ReportFigure]) -> None:
    for figure in figures.values():
        assert len(figure.caption) > 80, figure.key


def test_pareto_front_leaves_out_who_is_beaten_in_both() -> None:
    cost, harm = np.array([1.0, 2.0, 3.0, 2.0]), np.array([5.0, 3.0, 4.0, 1.0])
    assert pareto_front(cost, harm).tolist() == [0, 3]


def test_redistributed_share_is_zero_where_everybody_pays_what_he_causes() -> None:
    paid = pd.Series([2.0, 4.0])
    assert redistributed(paid, paid / 2) == 0.0
    assert redistributed(pd.Series([4.0, 0.0]), pd.Series([1.0, 1.0])) == pytest.approx(0.5)
    assert np.isnan(redistributed(paid, paid * 0.0))


def test_a_forest_of_areas_has_no_two_places_the_same() -> None:
    parents = {"a": "", "b": "a", "c": "a", "d": "b", "e": "", "f": "gone"}
    places = tree_places(parents)
    assert set(places) == set(parents)
    assert len(set(places.values())) == len(parents)


# --- page ---


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag in ("script", "iframe", "object", "embed", "link"):
            self.loads.append(tag)
        self.loads += [values[name] for name in ("src", "srcset", "data") if name in values]
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a":
            self.links.append(values["href"])
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(report: Path) -> tuple[str, _Page]:
    text = (report / "report.html").read_text(encoding="utf-8")
    parsed = _Page()
    parsed.feed(text)
    return text, parsed


def test_the_page_needs_nothing_beside_it(page: tuple[str, _Page]) -> None:
    text, parsed = page
    assert parsed.open == [], "every tag is closed"
    assert len(parsed.loads) == len(FIGURE_KEYS)
    for source in parsed.loads:
        assert source.startswith("data:image/svg+xml;base64,")
        ElementTree.fromstring(b64decode(source.partition(",")[2]))
    assert not re.search(r"(?:url\(|@import|https?:)", text)


def test_contents_lead_to_every_table_and_figure(page: tuple[str, _Page]) -> None:
    _, parsed = page
    assert len(parsed.ids) == len(set(parsed.ids))
    assert {link.removeprefix("#") for link in parsed.links} <= set(parsed.ids)
    assert {*TABLE_KEYS, *FIGURE_KEYS} <= {link.removeprefix("#") for link in parsed.links}


def test_the_page_states_method_closures_limits_and_provenance(page: tuple[str, _Page]) -> None:
    text, _ = page
    for words in (
        "no reaction",
        "Limits of the study",
        "A period of 7 days stands for a year",
        "SHA-256",
        "2026-01-02T03:04:05",
        "Volumetric (today) (reference: changes count from it)",
        "@media print",
        "made_up.study.h5",
    ):
        assert words in text


def test_a_name_with_markup_is_shown_and_not_run(tmp_path: Path) -> None:
    plan = Plan(designs=("volumetric",), closures=("none",), seeds=(1,), pv_shares=(0.3,), days=1)
    path = write_study_file(tmp_path / "a.study.h5", plan, description="<script>alert(1)</script>")
    text = _page_of(load(path))
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_the_title_stands_once_and_without_underscores(page: tuple[str, _Page]) -> None:
    text, _ = page
    assert text.count("<h1>") == 1
    assert "<h1>Made up</h1>" in text
    assert "<title>Made up</title>" in text
    assert text.count("to see how a report looks") == 1


def test_provenance_is_a_table_and_no_json(tmp_path: Path) -> None:
    plan = Plan(designs=("volumetric",), closures=("none",), seeds=(1,), pv_shares=(0.3,), days=1)
    provenance = {
        "git_commit": "abc",
        "inputs": [{"name": "SimBench", "version": "1.6.3", "licence": "ODbL-1.0"}],
        "packages": {"mosaik-api-v3": "3.0"},
        "solver": {"name": "HiGHS", "options": {"output_flag": False}},
        "population": {"agents_household": 1434},
        "notes": ["108 of 434 households own a plant."],
    }
    path = write_study_file(tmp_path / "a.study.h5", plan, provenance=provenance)
    data = load(path)
    text = _page_of(data)
    for words in (
        '<h3 class="later">Inputs and their licences</h3>',
        '<th scope="col">Licence</th>',
        "<td>ODbL-1.0</td>",
        '<th scope="row">mosaik-api-v3</th>',
        '<th scope="row">options: output flag</th>',
        "<td>1,434</td>",
        "<li>108 of 434 households own a plant.</li>",
        '<th scope="row">Commit of the program</th><td>abc</td>',
    ):
        assert words in text
    assert "{" not in text.partition('id="provenance"')[2]


def _page_of(data: StudyData) -> str:
    """Return the page without pictures, which take most of the time."""
    with drawing():
        return render(data, all_tables(data), all_figures(data), {})


def test_findings_name_the_best_and_the_worst_design(data: StudyData) -> None:
    low_voltage, connection, gap, hard = findings(data)
    assert low_voltage.startswith("The sum of the peaks of the low-voltage interfaces is lowest")
    assert "lowest under Monthly peak (−" in connection
    assert "The peak of the grid connection is" in connection
    assert "Monthly peak" in gap
    assert "fewest under" in hard
    assert "Time bands" in hard.partition("fewest under")[2]


def test_the_reference_can_be_best_and_nobody_wins_within_rounding(tmp_path: Path) -> None:
    """Peaks in kW: reference 100, peak 100.04, bands 150; the connection 1000 everywhere."""
    plan = Plan(
        designs=("volumetric", "peak", "bands"), closures=("none",), seeds=(1,), pv_shares=(0.3,)
    )
    found = {name: dict(columns) for name, columns in study_tables(plan).items()}
    kw = {"microgrid": [100.0, 100.04, 150.0], "all": [1000.0, 1000.3, 999.8]}
    found["grid"]["peak_kw"] = [
        kw.get(level, [0.0] * 3)[run]
        for run, level in zip(found["grid"]["run"], found["grid"]["level"], strict=True)
    ]
    header = StudyHeader("a", "", "volumetric", "name: a\n", "name: b\n")
    low_voltage, connection, *_ = findings(load(write_study(tmp_path / "a.h5", header, found)))
    assert low_voltage == (
        "The sum of the peaks of the low-voltage interfaces is lowest under Volumetric (today) "
        "(the reference) and Monthly peak (0.0 % against Volumetric (today)) and highest under "
        "Time bands (+50.0 %)."
    )
    assert connection == (
        "The peak of the grid connection is the same under all designs, to 0.1 %."
    )


@pytest.mark.parametrize(
    ("value", "spec", "text"),
    [
        (1234.5678, ",.1f", "1,234.6"),
        (-0.0004, "+,.1f", "0.0"),
        (-12.0, "+,.0f", "−12"),
        (float("nan"), ",.0f", "–"),
        (1e-17, "", "0"),
        (0.12345, "", "0.1235"),
        ("word", "", "word"),
    ],
)
def test_numbers_are_rounded_for_people(value: object, spec: str, text: str) -> None:
    assert format_cell(value, spec).text == text


# --- what is missing ---


def test_with_one_adoption_the_rounds_stand_in_and_are_said_to(tmp_path: Path) -> None:
    plan = Plan(seeds=(1,), pv_shares=(0.3,), days=1, designs=("volumetric", "bands"))
    data = load(write_study_file(tmp_path / "a.study.h5", plan))
    with drawing():
        figures = {figure.key: figure for figure in all_figures(data)}
    feedback = figures["F5"]
    assert feedback.drawing is not None
    assert {axes.get_xlabel() for axes in feedback.drawing.axes} == {"round"}
    assert "One share of adoption in the study: only the rounds are shown." in feedback.notes


def test_what_cannot_be_drawn_is_a_note_and_no_empty_plot(tmp_path: Path) -> None:
    plan = Plan(designs=("volumetric",), closures=("none",), seeds=(1,), pv_shares=(0.3,), days=1)
    path = write_study_file(tmp_path / "a.study.h5", plan)
    with drawing():
        figures = {figure.key: figure for figure in all_figures(load(path))}
    missing = {key for key, figure in figures.items() if figure.drawing is None}
    assert missing == {"F1", "F5", "F6", "F7", "F10"}
    for key in missing:
        assert figures[key].notes[0].startswith("Not drawn: "), key
    old = tmp_path / "report" / "figures" / "F1_bill_changes.svg"
    old.parent.mkdir(parents=True)
    old.write_text("of an earlier study")
    paths = write_report(path, tmp_path / "report", ["html", "svg"])
    assert not [each for each in paths if each.name.startswith("F1_")]
    assert not old.exists()
    text = (tmp_path / "report" / "report.html").read_text()
    assert text.count("Not drawn: ") == 5


def test_failed_runs_are_left_out_and_named(tmp_path: Path) -> None:
    """Run 0 is the reference without reaction, seed 1; run 14 the time bands at new rates."""
    plan = Plan(seeds=(1, 2), pv_shares=(0.3,), days=1, failed=(0, 11))
    path = write_study_file(tmp_path / "a.study.h5", plan)
    data = load(path)
    assert 0 not in data.runs.index
    assert 11 not in data.runs.index
    assert set(data.runs["before"]) <= set(data.runs.index)
    text = _page_of(data)
    assert text.count("the power flow found no solution") == 2
    assert "2 failed" in text


@pytest.mark.parametrize(
    "failed",
    [
        (2, 5, 8),  # no run at new rates but the reference's
        (5, 8, 11),  # the reference failed at new rates
        (1, 4, 7, 10),  # no run at fixed rates
        (0, 1, 2, 3, 4, 5, 7),
    ],
)
def test_whatever_failed_the_rest_is_reported(tmp_path: Path, failed: tuple[int, ...]) -> None:
    """Run 3 d + c is design d at closure c: none, fixed, resolved."""
    plan = Plan(
        designs=("peak", "bands", "fixed", "volumetric"),
        seeds=(1,),
        pv_shares=(0.3,),
        days=1,
        failed=failed,
    )
    path = write_study_file(tmp_path / "a.study.h5", plan, reference_design="volumetric")
    data = load(path)
    assert _page_of(data).count("the power flow found no solution") == len(failed)
    for table in all_tables(data):
        assert len(table.full) > 0, table.key


def test_a_study_of_failures_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    plan = Plan(
        designs=("volumetric",),
        closures=("none",),
        seeds=(1,),
        pv_shares=(0.3,),
        days=1,
        failed=(0,),
    )
    path = write_study_file(tmp_path / "a.study.h5", plan)
    with pytest.raises(ResultsError, match=r"1 of 1 runs failed.*run the study again"):
        write_report(path, tmp_path)


def test_a_file_that_is_no_study_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.study.h5").write_text(json.dumps({}))
    with pytest.raises(ResultsError, match=r"expected HDF5.*found b'\{\}'"):
        write_report(tmp_path / "a.study.h5", tmp_path)
