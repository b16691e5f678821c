"""The report of a run: one page that says what is in the file, for complete and broken runs."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from plotly.graph_objects import Figure
from tests.browser import running_browser, watch
from typer.testing import CliRunner

from tricell.errors import ResultsError
from tricell.results import reader
from tricell.results.layout import SERIES, TABLES, Variable, Verdict
from tricell.results.reader import Results, open_results
from tricell.results.report import look, write_report
from tricell.results.report.grid_layout import has_places, joined_buses, line_ends, tree_places
from tricell.results.report.grid_map import WHOLE_PERIOD, grid_map, packed, worst_voltages
from tricell.results.report.hierarchy import hierarchy, hierarchy_measures, hierarchy_nodes
from tricell.results.report.page import SECTIONS, run_page
from tricell.results.report.parts import Part, PartTable, Section
from tricell.results.report.rendering import Page, render, script_json, table_cells
from tricell.results.report.run_data import RunData
from tricell.results.run_summary import summary_of
from tricell.results.writer import ResultsWriter, RunHeader
from tricell.scenarios.command_line import app

SLOTS = 800
START = np.datetime64("2016-07-01T00:00:00")
AREAS = ["MV1", "LV1", "LV2"]
BUSES = ["MV1 a", "MV1 b", "LV1 a", "LV1 b", "LV2 a"]
HOMES = ["LV1 home 1", "LV1 home 2", "LV2 shop", "MV1 plant"]
SCENARIO = "name: two villages\ndescription: Two villages at one feeder\n"
ENTITIES: Mapping[str, Mapping[str, Any]] = {
    "agent": {
        "agent": HOMES,
        "area": ["LV1", "LV1", "LV2", "MV1"],
        "level": ["microgrid", "microgrid", "microgrid", "cell"],
        "bus": ["LV1 a", "LV1 b", "LV2 a", "MV1 b"],
        "class": ["household", "household", "business", "producer"],
    },
    "area": {
        "area": AREAS,
        "name": ["Feeder", "Upper village", "Lower <village>"],
        "level": ["cell", "microgrid", "microgrid"],
        "parent": ["", "MV1", "MV1"],
    },
    "bus": {
        "bus": BUSES,
        "area": ["MV1", "MV1", "LV1", "LV1", "LV2"],
        "nominal_kv": [20.0, 20.0, 0.4, 0.4, 0.4],
        "vm_min": [0.95] * 5,
        "vm_max": [1.05] * 5,
        "x": [0.0, 1.0, 0.1, 0.2, 1.1],
        "y": [0.0, 0.0, 1.0, 2.0, 1.0],
    },
    "line": {
        "line": ["MV1 line", "LV1 line"],
        "area": ["MV1", "LV1"],
        "from_bus": ["MV1 a", "LV1 a"],
        "to_bus": ["MV1 b", "LV1 b"],
        "loading_max": [100.0, 100.0],
    },
    "trafo": {
        "trafo": ["LV1 trafo", "LV2 trafo"],
        "area": ["LV1", "LV2"],
        "hv_bus": ["MV1 a", "MV1 b"],
        "lv_bus": ["LV1 a", "LV2 a"],
        "loading_max": [100.0, 100.0],
    },
}
BILLS = {
    "agent": HOMES,
    "total": [90.0, 55.0, 200.0, -40.0],
    "no_trading_total": [100.0, 50.0, 250.0, -30.0],
    "saving": [10.0, -5.0, 50.0, 10.0],
    "bought_p2p": [30.0, 0.0, 100.0, 0.0],
    "bought_retail": [10.0, 20.0, 100.0, 0.0],
}


def completed(variables: tuple[Variable, ...], given: Mapping[str, Any], shape: Any) -> Any:
    """Add what every file has: empty texts, gaps, and 0 for whole numbers."""
    empty = {"str": "", "f4": np.nan, "f8": np.nan}
    missing = {
        each.name: np.full(shape, empty.get(each.dtype, 0))
        for each in variables
        if each.name not in given and each.name != "time"
    }
    return {**given, **missing}


def complete_tables(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        name: completed(TABLES[name].columns, columns, len(next(iter(columns.values()))))
        for name, columns in tables.items()
    }


def series(slots: int, seed: int = 7) -> dict[str, dict[str, Any]]:
    random = np.random.default_rng(seed)
    voltages = random.uniform(0.97, 1.03, (slots, 5))
    voltages[slots // 2, 4] = 0.94
    voltages[3, 0] = np.nan
    loadings = random.uniform(5.0, 80.0, (slots, 2))
    loadings[slots // 3, 1] = 120.0
    verdicts = np.zeros(slots, dtype=np.int8)
    verdicts[slots // 2] = Verdict.LIMITS_BROKEN
    return {
        "agent": {
            "p_load": random.uniform(0.0, 2.0, (slots, 4)),
            "p_net": random.uniform(-2.0, 2.0, (slots, 4)),
        },
        "bus": {"vm": voltages},
        "line": {"loading": random.uniform(5.0, 60.0, (slots, 2))},
        "trafo": {"loading": loadings},
        "microgrid": {"energy_traded": np.ones((slots, 2)), "price": np.full((slots, 2), 0.2)},
        "cell": {"energy_traded": np.full((slots, 1), 0.5), "price": np.full((slots, 1), 0.1)},
        "slot": {
            "verdict": verdicts,
            "vm_min": np.nanmin(voltages, axis=1),
            "vm_min_bus": np.nanargmin(voltages, axis=1),
            "vm_max": np.nanmax(voltages, axis=1),
            "vm_max_bus": np.nanargmax(voltages, axis=1),
            "trafo_loading_max": loadings.max(axis=1),
            "trafo_loading_max_trafo": loadings.argmax(axis=1),
        },
    }


def full_block(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        group: completed(SERIES[group].variables, columns, np.shape(next(iter(columns.values()))))
        for group, columns in values.items()
    }


def header(slots: int) -> RunHeader:
    return RunHeader("two villages", SCENARIO, 1, START, slots, time_zone_local="Europe/Berlin")


def write_run(path: Path, slots: int = SLOTS, status: str = "complete") -> Path:
    with ResultsWriter(path, header(slots), complete_tables(ENTITIES)) as writer:
        writer.write_block(full_block(series(slots)))
        if status == "complete":
            writer.finish("complete", complete_tables({"bill": BILLS}))
        else:
            writer.finish("failed", failure_message="the solver <gave> up")
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run") / "villages.h5")


@pytest.fixture(scope="module")
def page_path(file: Path) -> Path:
    return write_report(file, file.with_suffix(".html"))


@pytest.fixture
def data(file: Path) -> Iterator[RunData]:
    with open_results(file) as results:
        yield RunData(results)


def voltages() -> Any:
    return series(SLOTS)["bus"]["vm"].astype(np.float32)


class Elements(HTMLParser):
    """Collects tags with their attributes, and texts of scripts by their id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self._script = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._script = str(dict(attrs).get("id", "")) if tag == "script" else ""

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data


# ---- what is known of a run


def test_more_than_a_week_is_shown_in_buckets_of_whole_hours(data: RunData) -> None:
    # 800 quarter hours are 200 hours, fewer than the 400 points of a figure.
    assert (data.slots_per_bucket, data.bucket_hours, len(data.times)) == (4, 1.0, 200)
    # The run begins at midnight UTC, 2 o'clock in Berlin in July.
    assert data.times[0] == pd.Timestamp("2016-07-01 02:00")
    assert data.times[1] - data.times[0] == pd.Timedelta(hours=1)


@pytest.mark.parametrize("rows", [800, 96, 37])
def test_buckets_are_those_of_all_slots_wherever_blocks_end(
    data: RunData, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blocks(self: Results, group: str, variable: str) -> Iterator[Any]:
        whole = self.frame(group, variable).to_numpy()
        return (whole[first : first + rows] for first in range(0, len(whole), rows))

    monkeypatch.setattr(reader.Results, "blocks", blocks)
    by_hour = voltages().reshape(200, 4, 5)
    np.testing.assert_allclose(data.bucketed("bus", "vm"), np.nanmean(by_hour, axis=1), rtol=1e-6)
    np.testing.assert_array_equal(data.bucketed("bus", "vm", "min"), np.nanmin(by_hour, axis=1))
    np.testing.assert_array_equal(data.bucketed("bus", "vm", "max"), np.nanmax(by_hour, axis=1))
    rows_shown = [moment.slot for moment in data.moments]
    np.testing.assert_array_equal(data.at_moments("bus", "vm"), voltages()[rows_shown])
    np.testing.assert_allclose(data.total("bus", "vm"), np.nansum(voltages(), axis=0), rtol=1e-6)


def test_a_variable_is_read_only_once(data: RunData, monkeypatch: pytest.MonkeyPatch) -> None:
    data.bucketed("bus", "vm")
    monkeypatch.setattr(reader.Results, "blocks", None)
    assert data.bucketed("bus", "vm", "max").shape == (200, 5)
    assert data.lowest("bus", "vm")[4] == np.float32(0.94)
    assert data.duration_curve("bus", "vm").shape == (400, 5)


def test_a_duration_curve_falls_from_the_highest_to_the_lowest_value(data: RunData) -> None:
    curve = data.duration_curve("bus", "vm", points=50)
    assert curve.shape == (50, 5)
    np.testing.assert_array_equal(curve[0], np.nanmax(voltages(), axis=0))
    np.testing.assert_array_equal(curve[-1], np.nanmin(voltages(), axis=0))
    assert (np.diff(curve, axis=0) <= 0.0).all()


def test_the_worst_slots_are_among_the_moments_and_say_why(data: RunData) -> None:
    reasons = {moment.reason: moment.slot for moment in data.moments if moment.reason}
    assert reasons["lowest voltage"] == SLOTS // 2
    assert reasons["highest transformer loading"] == SLOTS // 3
    assert len(data.moments) < 100


def test_a_day_shows_every_slot(tmp_path: Path) -> None:
    with open_results(write_run(tmp_path / "day.h5", slots=96)) as results:
        data = RunData(results)
        assert len(data.moments) == 96
        assert (data.bucket_hours, len(data.times)) == (0.25, 96)


# ---- the hierarchy


def test_the_hierarchy_holds_every_area_class_and_customer_under_its_area(data: RunData) -> None:
    nodes = hierarchy_nodes(data)
    parents = dict(zip(nodes.ids, nodes.parents, strict=True))
    assert parents["MV1"] == ""
    assert parents["LV1"] == parents["LV2"] == "MV1"
    assert parents["class:LV1:household"] == "LV1"
    assert parents["agent:MV1 plant"] == "class:MV1:producer"
    counts = {node: len(rows) for node, rows in zip(nodes.ids, nodes.members, strict=True)}
    assert [counts[area] for area in AREAS] == [4, 2, 1]
    assert set(nodes.areas) == set(AREAS)


def test_savings_of_an_area_are_those_of_all_customers_in_it(data: RunData) -> None:
    nodes = hierarchy_nodes(data)
    measures = {each.name: each.values for each in hierarchy_measures(data, nodes)}
    row = {node: number for number, node in enumerate(nodes.ids)}
    # MV1: 10 - 5 + 50 + 10 = 65 EUR against 100 + 50 + 250 + 30 EUR without trading.
    assert measures["saving"][row["MV1"]] == pytest.approx(100.0 * 65.0 / 430.0)
    assert measures["saving per customer"][row["LV1"]] == pytest.approx((10.0 - 5.0) / 2)
    assert measures["bought from peers"][row["LV1"]] == pytest.approx(100.0 * 30.0 / 60.0)
    # Who buys nothing has no share of it.
    assert np.isnan(measures["bought from peers"][row["agent:MV1 plant"]])
    assert "self-sufficiency" not in measures  # no such key figure in the file


def test_labels_of_the_hierarchy_can_be_read_on_their_colour(data: RunData) -> None:
    part = hierarchy(data)
    assert part.control is not None
    for scale in (look.SEQUENTIAL, look.DIVERGING, look.GAIN):
        for share in np.linspace(0.0, 1.0, 50):
            colour = look.sample(scale, float(share))
            light, dark = sorted(
                (look.luminance(colour), look.luminance(look.text_on(colour))), reverse=True
            )
            assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2.2, 1.4.3, level AA


def test_blocks_without_a_figure_are_white_and_said_to_be(data: RunData) -> None:
    part = hierarchy(data)
    assert part.figure is not None
    assert part.control is not None
    names = [option.split(",")[0] for option in part.control.options]
    update: Any = part.control.updates[names.index("bought from peers")][0]
    (marker,) = update["marker"]
    row = list(part.figure.data[0].ids).index("agent:MV1 plant")
    # A gap would be drawn in plotly's dark grey, as if it were a low value.
    assert marker["colors"][row] == "#FFFFFF"
    assert None not in marker["colors"]
    assert "White blocks have no such figure." in part.caption


# ---- the grid


def test_a_tree_puts_each_bus_under_its_feed_and_in_the_middle_of_its_branches() -> None:
    #     0
    #    / \
    #   1   2 - 3
    #  / \
    # 4   5
    ends = np.array([[0, 1], [0, 2], [2, 3], [1, 4], [1, 5]], dtype=np.int32)
    places = tree_places(6, ends, [0])
    assert places[:, 1].tolist() == [0, -1, -1, -2, -2, -2]
    assert places[1, 0] == pytest.approx((places[4, 0] + places[5, 0]) / 2)
    assert places[2, 0] == places[3, 0]
    assert len(np.unique(places, axis=0)) == 6


def test_a_tree_places_loops_and_islands_too() -> None:
    ends = np.array([[0, 1], [1, 2], [2, 0], [3, 4], [-1, 2]], dtype=np.int32)
    places = tree_places(5, ends, [0])
    assert len(np.unique(places, axis=0)) == 5


def test_a_long_feeder_is_placed_without_recursion() -> None:
    count = 5000
    ends = np.column_stack([np.arange(count - 1), np.arange(1, count)]).astype(np.int32)
    assert tree_places(count, ends, [0])[-1, 1] == -(count - 1)


def test_busbars_at_one_place_join_only_what_is_apart() -> None:
    buses = pd.DataFrame(
        {"area": ["A"] * 4, "nominal_kv": [20.0, 20.0, 20.0, 0.4], "x": [0.0] * 4, "y": [0.0] * 4}
    )
    ends = np.array([[0, 1]], dtype=np.int32)
    assert joined_buses(buses, ends).tolist() == [[0, 2]]


def test_places_serve_where_most_buses_can_be_told_apart() -> None:
    buses = pd.DataFrame({"area": ["A"] * 4, "x": [0.0, 1.0, 2.0, 3.0], "y": [0.0] * 4})
    assert has_places(buses)
    assert not has_places(buses.assign(x=0.0))
    assert not has_places(buses.assign(x=[0.0, 1.0, np.nan, 2.0]))
    assert not has_places(buses.drop(columns="x"))


def test_ends_of_lines_are_rows_of_buses() -> None:
    lines = pd.DataFrame({"from_bus": ["b", "c"], "to_bus": ["a", "nowhere"]})
    assert line_ends(lines, "from_bus", "to_bus", pd.Series(["a", "b", "c"])).tolist() == [
        [1, 0],
        [2, -1],
    ]


def test_the_worst_voltage_is_that_nearest_to_its_limit() -> None:
    low, high = np.array([0.94, 0.99]), np.array([1.0, 1.06])
    worst = worst_voltages(low, high, np.full(2, 0.95), np.full(2, 1.05))
    np.testing.assert_array_equal(worst, [0.94, 1.06])


def test_the_map_holds_voltages_and_loadings_of_every_moment(data: RunData) -> None:
    part = grid_map(data)
    assert part.extra is not None
    stops = part.extra["moments"]
    values = part.extra["values"]
    assert isinstance(stops, list)
    assert isinstance(values, dict)
    assert stops[0] == WHOLE_PERIOD
    assert len(stops) == len(data.moments) + 1
    assert values["vm"].shape == (len(stops) * 5,)
    assert values["vm"][4] == 9400  # the lowest voltage of the run, 0.94, in 1/10 000
    assert values["trafo"][1] == 1200  # 120 %, in 1/10 %
    np.testing.assert_array_equal(
        values["vm"].reshape(-1, 5)[1:],
        packed(voltages()[[m.slot for m in data.moments]], 1e4).reshape(-1, 5),
    )


# ---- the page


def test_numbers_of_a_page_are_small_and_closed_off_from_html() -> None:
    content = json.loads(
        script_json({"a": np.array([1.0, np.nan]), "b": [np.float64(0.5), float("nan")], "c": "</"})
    )
    assert content["a"]["dtype"] == "f4"
    np.testing.assert_array_equal(
        np.frombuffer(base64.b64decode(content["a"]["bdata"]), "<f4"), [1.0, np.nan]
    )
    assert content["b"] == [0.5, None]
    assert "</" not in script_json({"c": "</script>"})


def test_a_name_that_turns_text_round_does_not_turn_the_page() -> None:
    part = Part("one", "line \u202eevil", "", rows=PartTable(["name"], [["\u2066odd\u202e"]]))
    text = render(Page("t", "", [], [Section("s", "S", [part])]))
    body = text.split("<main")[1].split("</main>")[0]
    assert "line evil" in body
    assert ">odd<" in body
    assert "\u202e" not in script_json({"label": "a\u202eb"})


def test_arrays_of_a_figure_become_single_precision() -> None:
    figure = Figure()
    figure.add_scatter(x=np.arange(5.0), y=np.linspace(0.0, 1.0, 5))
    text = render(Page("t", "", (), [Section("s", "S", [Part("k", "K", "", figure)])]))
    found = json.loads(Elements(text).scripts["k-figure"])
    assert found["data"][0]["y"]["dtype"] == "f4"
    assert "template" not in found["layout"]


def test_tables_keep_numbers_at_the_right_and_rows_by_area() -> None:
    table = PartTable(("name", "value"), [("a", 1234.5), ("b", None)], areas=("LV1", ""))
    rows = table_cells(table)
    assert [area for area, _ in rows] == ["LV1", ""]
    assert [[cell.text for cell in cells] for _, cells in rows] == [["a", "1,234"], ["b", "–"]]
    assert [cell.is_number for cell in rows[0][1]] == [False, True]


def test_two_parts_of_one_key_are_refused() -> None:
    part = Part("same", "A part", "")
    with pytest.raises(ValueError, match="different keys"):
        render(Page("t", "", (), [Section("s", "S", [part, part])]))


def test_the_page_needs_no_network_and_all_its_figures_can_be_read(page_path: Path) -> None:
    text = page_path.read_text(encoding="utf-8")
    page = Elements(text)
    for tag, attributes in page.tags:
        address = attributes.get("src") or attributes.get("href") or ""
        assert address.startswith(("#", "data:")) or not address, (tag, address)
    drawn = [attributes for _, attributes in page.tags if attributes.get("class") == "plot"]
    keys = {str(attributes["data-part"]) for attributes in drawn}
    assert {"hierarchy", "grid_map", "prices"} <= keys
    for key in keys:
        json.loads(page.scripts[f"{key}-figure"])
    assert ("html", {"lang": "en"}) in page.tags
    assert len(text) < 6e6  # plotly.js is 4.8 MB of it


def test_every_label_and_link_of_the_page_leads_somewhere(page_path: Path) -> None:
    page = Elements(page_path.read_text(encoding="utf-8"))
    ids = [str(attributes["id"]) for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [
        str(attributes.get("for") or str(attributes.get("href", ""))[1:])
        for tag, attributes in page.tags
        if tag == "label" or (tag == "a" and str(attributes.get("href")).startswith("#"))
    ]
    assert len(targets) > len(SECTIONS)
    assert set(targets) <= set(ids)
    labelled = [
        target
        for _, attributes in page.tags
        for target in str(attributes.get("aria-labelledby", "")).split()
    ]
    assert set(labelled) <= set(ids)


def test_the_head_says_what_matters(data: RunData) -> None:
    page = run_page(data, summary_of(data.results))
    assert (page.title, page.lead) == ("two villages", "Two villages at one feeder")
    said = {each.name: each for each in page.highlights}
    assert said["slots with all limits kept"].figure == "799 of 800"
    assert said["slots with all limits kept"].mood == "bad"
    # 2 microgrids trade 1 kWh and the cell 0.5 kWh in each of 800 slots.
    assert said["traded locally"].figure == "2,000 kWh"
    assert said["saved by trading"].figure == "65.00 EUR"
    assert said["highest loading"].figure == "120 %"
    assert "LV2 trafo" in said["highest loading"].sentence
    assert [(each.id, each.depth) for each in page.areas] == [("MV1", 0), ("LV1", 1), ("LV2", 1)]
    assert page.areas[0].inside == ("MV1", "LV1", "LV2")
    assert page.banner == ""


def test_a_failed_run_has_a_page_that_says_why_it_failed(tmp_path: Path) -> None:
    file = write_run(tmp_path / "failed.h5", slots=100, status="failed")
    text = write_report(file, tmp_path / "failed.html").read_text(encoding="utf-8")
    assert "This run failed after 100 of 100 slots. the solver &lt;gave&gt; up" in text


def test_a_run_that_goes_on_has_a_page_of_what_is_done(tmp_path: Path) -> None:
    path = tmp_path / "going_on.h5"
    with ResultsWriter(path, header(SLOTS), complete_tables(ENTITIES)) as writer:
        writer.write_block(full_block(series(192)))
        writer.checkpoint({}, {})
        text = write_report(path, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "This run is still going on: 192 of 800 slots are done." in text


def test_a_run_without_voltages_and_loadings_says_so_instead_of_a_map(tmp_path: Path) -> None:
    path = tmp_path / "no_ac.h5"
    values = series(96)
    for group in ("bus", "line", "trafo"):
        del values[group]
    values["slot"] = {"verdict": np.zeros(96, dtype=np.int8)}
    with ResultsWriter(path, header(96), complete_tables(ENTITIES)) as writer:
        writer.write_block(full_block(values))
        writer.finish("complete", complete_tables({"bill": BILLS}))
    text = write_report(path, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Not drawn: the file has no voltages and no loadings" in text


def test_a_file_that_is_no_result_leaves_no_page(tmp_path: Path) -> None:
    (tmp_path / "notes.h5").write_text("milk, bread", encoding="utf-8")
    with pytest.raises(ResultsError, match="not a results file"):
        write_report(tmp_path / "notes.h5", tmp_path / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.h5"]


# ---- the command


def test_the_command_names_the_page_after_the_file_and_keeps_what_is_there(
    file: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "week.h5"
    copy.write_bytes(file.read_bytes())
    first = CliRunner().invoke(app, ["report", str(copy)])
    assert first.exit_code == 0, first.output
    page = tmp_path / "week.html"
    assert re.search(r"week\.html +\d\.\d MB", first.output.replace("\n", ""))
    page.write_text("mine", encoding="utf-8")
    second = CliRunner().invoke(app, ["report", str(copy)])
    assert second.exit_code == 2
    assert page.read_text(encoding="utf-8") == "mine"
    assert CliRunner().invoke(app, ["report", str(copy), "--force"]).exit_code == 0
    assert page.stat().st_size > 1e6


def test_the_command_refuses_a_page_that_is_the_file(file: Path) -> None:
    before = file.read_bytes()
    result = CliRunner().invoke(app, ["report", str(file), "--output", str(file), "--force"])
    assert result.exit_code == 2
    assert file.read_bytes() == before


# ---- in a browser


DRAWN = "document.querySelectorAll('.plot:not([data-drawn])').length === 0"


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_draws_all_and_follows_the_chosen_area(page_path: Path, width: int) -> None:
    with running_browser() as browser:
        page = browser.new_page(viewport={"width": width, "height": 900})
        witness = watch(page)
        page.goto(f"{page_path.as_uri()}#area=LV1")
        page.evaluate("tricellPage.drawAll()")
        page.wait_for_function(DRAWN)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("#area").input_value() == "LV1"
        tree = page.locator("[data-part=hierarchy]")
        assert tree.get_attribute("data-level") == "LV1"

        page.locator("#area").select_option("")
        tree.locator("g.slice", has_text="Lower <village>").first.click(position={"x": 9, "y": 9})
        page.wait_for_function("tricellPage.state.area === 'LV2'")
        assert page.evaluate("location.hash") == "#area=LV2"
        page.locator("#hierarchy-list summary").press("Enter")
        page.get_by_role("button", name="Feeder").press("Enter")
        page.wait_for_function("tricellPage.state.area === 'MV1'")

        slider = page.locator("#grid-moment")
        slider.press("ArrowRight")
        grid = page.locator("[data-part=grid_map]")
        page.wait_for_function(
            "document.querySelector('[data-part=grid_map]').dataset.stop === '1'"
        )
        assert grid.get_attribute("data-moment") == slider.get_attribute("aria-valuetext")
        page.locator("#hierarchy-choice").select_option(index=1)
        page.locator("#grid-view").select_option(index=1)
        assert witness.complaints == []
        assert witness.requests == []
