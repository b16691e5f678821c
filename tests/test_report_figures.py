"""Figures and tables of a run's report show what is in the file, and never fail on what is not."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tricell.results.layout import (
    SERIES,
    TABLES,
    BindingKind,
    PostingKind,
    PostingLevel,
    Variable,
    Verdict,
)
from tricell.results.reader import Results, open_results
from tricell.results.report import figures_bills, figures_market, figures_network, look, tables
from tricell.results.report.energy_flows import (
    BATTERIES,
    BOUGHT_OUTSIDE,
    CONSUMED,
    CURTAILED,
    LOSSES,
    MOVED,
    OWN_AREA,
    SOLD_OUTSIDE,
    USE,
    Flow,
    Node,
    flows,
    joined,
    main_areas,
    surplus,
    through,
)
from tricell.results.report.parts import Part
from tricell.results.report.run_data import RunData
from tricell.results.writer import ResultsWriter, RunHeader
from tricell.scenarios.runner import run_scenario
from tricell.scenarios.scenario_file import load_scenario

MAKERS: tuple[Callable[[RunData], Part], ...] = (
    figures_market.prices,
    figures_market.price_heat_map,
    figures_market.energy_flows,
    figures_network.load_duration,
    figures_network.voltage_heat_map,
    figures_bills.savings,
    figures_bills.bill_components,
    tables.key_figures,
    tables.area_table,
    tables.slot_verdicts,
    tables.binding_elements,
    tables.warnings,
    tables.provenance,
)
SPRINGS = (BOUGHT_OUTSIDE, OWN_AREA, "members elsewhere sell")
DRAINS = (SOLD_OUTSIDE, CURTAILED, LOSSES, CONSUMED, "members elsewhere buy")
START = np.datetime64("2016-07-01T00:00:00")
NETWORK = """
name: network
time: {start: 2016-05-23T08:00Z, days: 0.25, local_zone: Europe/Berlin}
grid: {source: {kind: pandapower, function: create_cigre_network_lv}}
participants:
  profiles: constant
  extra:
  - {name: home, bus: Bus R18, load_kw: 2, pv_kwp: 9, pv_profile: any, battery_kwh: 10,
     battery_kw: 5}
  - {name: roof, bus: Bus R11, load_kw: 1, pv_kwp: 90, pv_profile: any}
  - {name: shop, bus: Bus C12, load_kw: 1, pv_kwp: 900, pv_profile: any}
prices:
  wholesale: {kind: de_lu_2019}
  retail: {kind: fixed, price_eur_per_kwh: 0.3}
  feed_in: {kind: fixed, price_eur_per_kwh: 0.05}
"""
SMALL_YAML = "name: small\nlimits: {loading_tolerance_percent: 0.5, voltage_tolerance_pu: 0.0005}\n"


def entities(microgrids: int, agents: int) -> dict[str, dict[str, Any]]:
    areas = ["MV1", *(f"LV{k}" for k in range(microgrids))]
    homes = [f"home {k}" for k in range(agents)]
    home_areas = [areas[1 + k % microgrids] for k in range(agents)]
    return {
        "agent": {
            "agent": homes,
            "area": home_areas,
            "level": ["microgrid"] * agents,
            "bus": [f"{area} bus" for area in home_areas],
            "class": ["business" if k % 3 == 2 else "household" for k in range(agents)],
        },
        "area": {
            "area": areas,
            "level": ["cell", *["microgrid"] * microgrids],
            "parent": ["", *["MV1"] * microgrids],
        },
        "bus": {
            "bus": [f"{area} bus" for area in areas],
            "area": areas,
            "vm_min": [0.9] * len(areas),
            "vm_max": [1.1] * len(areas),
        },
        "line": {
            "line": ["line 1"],
            "area": ["MV1"],
            "from_bus": ["MV1 bus"],
            "to_bus": ["LV0 bus"],
        },
        "trafo": {
            "trafo": [f"trafo {area}" for area in areas[1:]],
            "area": areas[1:],
            "hv_bus": ["MV1 bus"] * microgrids,
            "lv_bus": [f"{area} bus" for area in areas[1:]],
            "loading_max": [100.0] * microgrids,
        },
    }


def block(microgrids: int, agents: int, slots: int, seed: int = 3) -> dict[str, dict[str, Any]]:
    random = np.random.default_rng(seed)

    def some(low: float, high: float, count: int) -> Any:
        return random.uniform(low, high, (slots, count))

    def level(count: int) -> dict[str, Any]:
        return {
            "price": some(0.08, 0.32, count),
            "energy_traded": some(0.0, 2.0, count),
            "p_import": some(-5.0, 5.0, count),
            "loss": some(0.0, 0.1, count),
        }

    verdict = np.zeros(slots, dtype=np.int8)
    verdict[slots // 2 :: 7] = Verdict.LIMITS_MET_BY_RECLEARING
    verdict[-1] = Verdict.LIMITS_BROKEN
    return {
        "agent": {
            "p_net": some(-1.0, 1.0, agents),
            "p_pv": some(0.0, 2.0, agents),
            "p_storage": some(-0.1, 0.2, agents),
        },
        "bus": {"vm": some(0.93, 1.08, microgrids + 1)},
        "trafo": {"loading": some(5.0, 130.0, microgrids)},
        "microgrid": level(microgrids),
        "cell": level(1),
        "slot": {
            "verdict": verdict,
            "reclearings": (verdict > 0).astype(np.int32),
            "binding_kind": np.where(
                np.arange(slots) % 4 == 0, BindingKind.TRAFO, BindingKind.NONE
            ),
            "binding_element": np.where(np.arange(slots) % 4 == 0, 0, -1),
            "retail_price": np.full(slots, 0.3),
            "feed_in_price": np.full(slots, 0.1),
        },
    }


def end_tables(agents: int) -> dict[str, Any]:
    saving = np.linspace(-2.0, 10.0, agents)
    traded = np.arange(agents) + 1.0
    return {
        "bill": {
            "agent": [f"home {k}" for k in range(agents)],
            "energy_retail": np.full(agents, 8.0),
            "export": np.full(agents, -1.0),
            "total": np.full(agents, 7.0),
            "no_trading_total": 7.0 + saving,
            "saving": saving,
            "curtailed": np.full(agents, 0.5),
        },
        "receipt": {
            "agent": np.concatenate([np.arange(agents)] * 2),
            "kind": [PostingKind.ENERGY_P2P] * agents + [PostingKind.ENERGY_RETAIL] * agents,
            "level": [PostingLevel.MICROGRID] * agents + [PostingLevel.RETAIL] * agents,
            "charge": [-1] * 2 * agents,
            "energy": np.concatenate([traded * (-1.0) ** np.arange(agents), traded]),
            "amount": np.zeros(2 * agents),
        },
        "kpi": {
            "name": ["load", "self_sufficiency", "peak_to_average_ratio"],
            "scope_kind": ["run"] * 3,
            "scope": ["run"] * 3,
            "value": [1234.5, 0.25, np.nan],
            "unit": ["kWh", "1", "1"],
        },
        "warning": {
            "time": [START, START + np.timedelta64(900, "s"), START],
            "kind": ["missing rating", "missing rating", "price gap"],
            "element": ["line 1", "line 2", ""],
            "message": ["taken as unlimited", "taken as unlimited", "filled by the hour before"],
            "count": [1, 2, 40],
        },
    }


def completed(variables: tuple[Variable, ...], given: Mapping[str, Any], rows: Any) -> Any:
    """Add what every file has: texts are empty, floats gaps, whole numbers 0."""
    empty = {"str": "", "f4": np.nan, "f8": np.nan}
    added = {
        each.name: np.full(rows, empty.get(each.dtype, 0))
        for each in variables
        if each.name not in given
    }
    return {**given, **added}


def complete_block(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        group: completed(
            tuple(each for each in SERIES[group].variables if each.name != "time"),
            columns,
            np.shape(next(iter(columns.values()))),
        )
        for group, columns in values.items()
    }


def complete_tables(given: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        name: completed(TABLES[name].columns, columns, len(next(iter(columns.values()))))
        for name, columns in given.items()
    }


def write_run(
    path: Path,
    slots: int = 200,
    *,
    microgrids: int = 2,
    agents: int = 6,
    step_s: int = 900,
    change: Callable[[dict[str, dict[str, Any]]], None] | None = None,
    end: Mapping[str, Any] | None = None,
    status: str = "complete",
) -> Path:
    header = RunHeader(
        "small", SMALL_YAML, 1, START, slots, time_step_s=step_s, time_zone_local="Europe/Berlin"
    )
    values = block(microgrids, agents, slots)
    if change:
        change(values)
    with ResultsWriter(path, header, complete_tables(entities(microgrids, agents))) as writer:
        writer.write_block(complete_block(values))
        if status == "complete":
            writer.finish("complete", complete_tables(end_tables(agents) if end is None else end))
        else:
            writer.finish("failed", failure_message="the machine was switched off")
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunData]:
    with open_results(write_run(tmp_path_factory.mktemp("small") / "small.h5")) as results:
        yield RunData(results)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunData]:
    """Six hours of the low-voltage network of CIGRE: three microgrids, two of them with plants."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "network.yaml").write_text(NETWORK)
    outcome = run_scenario(load_scenario(str(folder / "network.yaml"), []), folder / "run.h5")
    with open_results(outcome.output) as results:
        yield RunData(results)


def all_parts(results: Results) -> dict[str, Part]:
    data = RunData(results)
    parts = [make(data) for make in MAKERS]
    assert len({part.key for part in parts}) == len(parts)
    return {part.key: part for part in parts}


def check_readable(parts: Mapping[str, Part]) -> None:
    for part in parts.values():
        assert part.title
        assert part.figure is not None or part.rows or part.notes, part.key
        for text in (part.caption, *part.notes):
            assert "nan" not in text.lower().split(), text
            assert "inf" not in text.lower().split(), text
        if part.figure is not None:
            assert len(part.figure.to_json()) < 700_000, part.key
        if part.rows:
            assert {len(row) for row in part.rows.rows} <= {len(part.rows.headings)}


def numbers(encoded: Any) -> np.ndarray[Any, Any]:
    """Undo the typed arrays of plotly's JSON."""
    if isinstance(encoded, dict):
        flat = np.frombuffer(base64.b64decode(encoded["bdata"]), dtype=f"<{encoded['dtype']}")
        shape = encoded.get("shape")
        return flat.reshape([int(n) for n in shape.split(",")]) if shape else flat
    return np.asarray(encoded, dtype=float)


def traces(part: Part) -> list[dict[str, Any]]:
    assert part.figure is not None
    found: list[dict[str, Any]] = json.loads(part.figure.to_json())["data"]
    return found


# -------------------------------------------------------------------- what is not in a file


def test_a_run_of_any_length_gives_every_part(tmp_path: Path, small: RunData) -> None:
    check_readable(all_parts(small.results))
    for slots in (1, 97):
        with open_results(write_run(tmp_path / f"{slots}.h5", slots)) as results:
            parts = all_parts(results)
            check_readable(parts)
            assert all(
                part.figure is not None or part.rows or part.key == "binding_elements"
                for part in parts.values()
            )


def test_a_run_of_one_slot_shows_its_prices_as_points_in_an_hour_that_people_know(
    tmp_path: Path,
) -> None:
    with open_results(write_run(tmp_path / "one.h5", 1)) as results:
        parts = all_parts(results)
    prices = parts["prices"].figure
    assert prices is not None
    assert {trace.mode for trace in prices.data} == {"markers"}
    first, last = (pd.Timestamp(end) for end in prices.layout.xaxis.range)
    assert last - first == pd.Timedelta(minutes=30)
    voltages = parts["voltage_heat_map"].figure
    assert voltages is not None
    assert voltages.data[0].dx == 15 * 60 * 1000


def test_a_failed_run_says_that_bills_are_made_at_the_end(tmp_path: Path) -> None:
    with open_results(write_run(tmp_path / "failed.h5", status="failed")) as results:
        parts = all_parts(results)
    check_readable(parts)
    for key, table in (("savings", "bill"), ("energy_flows", "receipt")):
        assert parts[key].figure is None
        assert parts[key].notes == (
            f"Not drawn: the run failed; the table {table} is made at its end.",
        )
    assert parts["prices"].figure is not None


def test_a_run_still_going_on_shows_what_is_done(tmp_path: Path) -> None:
    path = tmp_path / "going_on.h5"
    header = RunHeader("small", SMALL_YAML, 1, START, 400)
    with ResultsWriter(path, header, complete_tables(entities(2, 6))) as writer:
        writer.write_block(complete_block(block(2, 6, 96)))
        writer.checkpoint({}, {})
        with open_results(path) as results:
            parts = all_parts(results)
    check_readable(parts)
    assert parts["load_duration"].figure is not None
    assert "still goes on" in parts["savings"].notes[0]


def test_a_run_without_a_slot_has_no_figures_but_reasons(tmp_path: Path) -> None:
    path = write_run(tmp_path / "none.h5", 1, status="failed")
    with h5py.File(path, "r+") as file:
        for group in file["timeseries"].values():
            for name, dataset in group.items():
                if dataset.shape[0] == 1 and name in ("time", *_variables(group)):
                    dataset.resize(0, axis=0)
    with open_results(path) as results:
        parts = all_parts(results)
    check_readable(parts)
    assert not [key for key, part in parts.items() if part.figure is not None]
    assert parts["prices"].notes[0].startswith("Not drawn: ")


def _variables(group: h5py.Group) -> list[str]:
    known = SERIES[group.name.rsplit("/", 1)[1]].variables
    return [each.name for each in known]


def test_gaps_everywhere_are_told_and_not_drawn(tmp_path: Path) -> None:
    def forget(values: dict[str, dict[str, Any]]) -> None:
        for columns in values.values():
            for name, column in columns.items():
                if np.asarray(column).dtype.kind == "f":
                    columns[name] = np.full_like(column, np.nan)

    with open_results(write_run(tmp_path / "gaps.h5", change=forget)) as results:
        parts = all_parts(results)
    check_readable(parts)
    for key in ("prices", "price_heat_map", "load_duration", "voltage_heat_map"):
        assert parts[key].figure is None
        assert parts[key].notes


@pytest.mark.parametrize("missing", ["agent", "bus", "microgrid", "slot"])
def test_a_missing_group_of_series_costs_only_its_own_figures(tmp_path: Path, missing: str) -> None:
    def drop(values: dict[str, dict[str, Any]]) -> None:
        del values[missing]

    with open_results(write_run(tmp_path / "less.h5", 50, change=drop)) as results:
        parts = all_parts(results)
    check_readable(parts)
    drawn = [key for key, part in parts.items() if part.figure is not None]
    assert len(drawn) >= 5


def test_a_file_without_tables_of_the_end_still_makes_a_page(tmp_path: Path) -> None:
    with open_results(write_run(tmp_path / "bare.h5", 50, end={})) as results:
        parts = all_parts(results)
    check_readable(parts)
    assert parts["key_figures"].notes == ("No key figures: the file has no table kpi.",)


def test_figures_of_a_year_stay_small(tmp_path: Path) -> None:
    def leave_agents_out(values: dict[str, dict[str, Any]]) -> None:
        del values["agent"]

    path = write_run(
        tmp_path / "year.h5",
        8760,
        microgrids=30,
        agents=1500,
        step_s=3600,
        change=leave_agents_out,
    )
    with open_results(path) as results:
        data = RunData(results)
        parts = {make.__name__: make(data) for make in MAKERS}
    check_readable(parts)
    assert "other transformers" in str(parts["load_duration"].figure)


# ------------------------------------------------------------------------------------- prices


def test_prices_are_medians_and_deciles_over_the_areas_of_a_level(tmp_path: Path) -> None:
    path = write_run(tmp_path / "many.h5", 40, microgrids=11)
    with open_results(path) as results:
        part = figures_market.prices(RunData(results))
        frame = results.frame("microgrid", "price")
    by_name = {trace.get("name"): trace for trace in traces(part)}
    median = numbers(by_name["Microgrids: median of 11, band 10–90 %"]["y"])
    np.testing.assert_allclose(median, frame.median(axis=1), rtol=1e-6)
    band = [
        numbers(trace["y"])
        for trace in traces(part)
        if trace.get("hoverinfo") == "skip" and trace["legendgroup"] == "microgrid"
    ]
    # linear interpolation, type 7 of Hyndman and Fan (1996), as pandas takes it
    np.testing.assert_allclose(band[0], frame.quantile(0.1, axis=1), rtol=1e-6)
    np.testing.assert_allclose(band[1], frame.quantile(0.9, axis=1), rtol=1e-6)
    areas = {trace["meta"]["area"] for trace in traces(part) if trace.get("meta")}
    assert areas == set(frame.columns)


def test_times_of_prices_are_local_and_say_so(small: RunData) -> None:
    part = figures_market.prices(small)
    assert part.figure is not None
    # 2016-07-01 00:00 UTC is 02:00 in Berlin
    assert traces(part)[0]["x0"] == "2016-07-01T02:00:00"
    assert part.figure.layout.xaxis.title.text == "local time (Europe/Berlin)"


def test_the_caption_counts_prices_beyond_the_tariffs(small: RunData) -> None:
    frames = [small.results.frame(level, "price") for level in ("microgrid", "cell")]
    values = np.concatenate([frame.to_numpy().ravel() for frame in frames])
    caption = figures_market.prices(small).caption
    assert f"{100.0 * (values < 0.1).mean():.1f} % of all prices lie below" in caption
    assert f"{100.0 * (values > 0.3).mean():.1f} % above the retail price" in caption


def test_a_breach_price_does_not_hide_all_other_prices(tmp_path: Path) -> None:
    def breach(values: dict[str, dict[str, Any]]) -> None:
        values["microgrid"]["price"][10, 0] = 5000.0

    with open_results(write_run(tmp_path / "breach.h5", change=breach)) as results:
        part = figures_market.prices(RunData(results))
    assert part.figure is not None
    assert part.figure.layout.yaxis.range[1] < 1.0
    assert "5,000" in part.notes[0]


def test_the_heat_map_of_prices_has_local_days_and_times(tmp_path: Path) -> None:
    with open_results(write_run(tmp_path / "week.h5", 4 * 96)) as results:
        part = figures_market.price_heat_map(RunData(results))
        prices = results.frame("microgrid", "price").mean(axis=1)
    local = pd.DatetimeIndex(prices.index).tz_convert("Europe/Berlin")
    table = prices.groupby([local.hour + local.minute / 60, local.date]).mean()
    cells = numbers(traces(part)[0]["z"])
    np.testing.assert_allclose(cells, table.unstack().to_numpy(), rtol=1e-6)
    # July, UTC + 2: four days from 2:00 on the 1st until 2:00 on the 5th
    assert cells.shape == (96, 5)
    assert np.isnan(cells[:8, 0]).all()
    assert np.isnan(cells[8:, 4]).all()


@settings(max_examples=30, deadline=None)
@given(
    arrays(
        np.float64,
        st.tuples(st.integers(1, 5), st.integers(1, 7)),
        elements=st.one_of(st.floats(-10.0, 10.0), st.just(np.nan)),
    ),
    st.sampled_from([0.0, 10.0, 50.0, 90.0, 100.0]),
)
def test_percentiles_over_areas_leave_gaps_out(values: Any, percentile: float) -> None:
    expected = pd.DataFrame(values).quantile(percentile / 100.0, axis=1).to_numpy()
    np.testing.assert_allclose(figures_market.across(values, percentile), expected, atol=1e-12)


# ------------------------------------------------------------------------------- energy flows


def check_balance(found: list[Flow]) -> None:
    """Every node in the middle gives what it gets, and all together too."""
    whole = sum(flow.kwh for flow in found)
    for node in through(found):
        if node.kind not in (*SPRINGS, *DRAINS, BATTERIES):
            assert abs(surplus(found, node)) <= 1e-6 * whole, node
    total = sum(surplus(found, node) for node in through(found))
    assert abs(total) <= 1e-6 * whole


def run_flows(data: RunData) -> list[Flow]:
    energy = figures_market.run_energy(data)
    assert energy is not None
    losses = figures_market.losses_kwh(data, data.levels)
    return flows(joined(energy, main_areas(energy)), losses)


def test_the_flows_of_a_run_balance_and_agree_with_its_series(real: RunData) -> None:
    found, results = run_flows(real), real.results
    check_balance(found)
    hours = real.slot_hours

    def kwh(variable: str) -> float:
        return float(results.frame("agent", variable).to_numpy().sum() * hours)

    def passed(**ends: str) -> float:
        return sum(
            flow.kwh
            for flow in found
            if all(getattr(flow, end).kind == kind for end, kind in ends.items())
        )

    assert passed(source=OWN_AREA) == pytest.approx(kwh("p_pv_available"))
    assert passed(target=CONSUMED) == pytest.approx(kwh("p_load") - kwh("p_unserved"))
    assert passed(target=BATTERIES) - passed(source=BATTERIES) == pytest.approx(kwh("p_storage"))
    traded = results.frame("microgrid", "energy_traded").to_numpy().sum()
    assert passed(source="microgrid") == pytest.approx(traded)
    bills = results.table("bill")
    assert passed(target=SOLD_OUTSIDE) == pytest.approx(bills["sold_retail"].sum())
    assert passed(source=BOUGHT_OUTSIDE, target=USE) == pytest.approx(bills["bought_retail"].sum())
    loss = sum(results.frame(level, "loss").to_numpy().sum() for level in ("microgrid", "cell"))
    assert passed(target=LOSSES) == pytest.approx(loss * hours)


def test_the_diagram_has_the_flows_and_the_caption_their_shares(real: RunData) -> None:
    part, found = figures_market.energy_flows(real), run_flows(real)
    link = traces(part)[0]["link"]
    assert numbers(link["value"]) == pytest.approx([flow.kwh for flow in found])
    own = sum(f.kwh for f in found if f.source.kind == OWN_AREA and f.target.kind == USE)
    share = own / sum(f.kwh for f in found if f.source.kind == OWN_AREA)
    assert 0.001 < share < 0.01
    assert f"{100.0 * share:.1f} % is used by its owners" in part.caption


def test_key_figures_of_agents_give_the_same_flows_as_their_series(real: RunData) -> None:
    by_series = figures_market._energy_by_series(real)
    by_figures = figures_market._energy_by_key_figures(real)
    assert by_figures is not None
    for name in by_figures:
        np.testing.assert_allclose(by_figures[name], by_series[name], atol=1e-6)


amounts = st.floats(0.0, 1e6)
areas_of_energy = st.lists(
    st.fixed_dictionaries(
        {
            "generation": amounts,
            "curtailed": amounts,
            "storage": st.floats(-1e4, 1e4),
            "net": st.floats(-1e6, 1e6),
            "bought microgrid": amounts,
            "bought retail": amounts,
            "sold cell": amounts,
            "sold retail": amounts,
        }
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=30, deadline=None)
@given(areas_of_energy, amounts)
def test_flows_balance_whatever_was_settled(rows: list[dict[str, float]], losses: float) -> None:
    energy = pd.DataFrame(rows, index=[f"area {k}" for k in range(len(rows))])
    merged = joined(energy, main_areas(energy))
    np.testing.assert_allclose(merged.sum(), energy.sum(), rtol=1e-9, atol=1e-6)
    found = flows(merged, losses)
    assert all(flow.kwh > 0.0 for flow in found)
    if found:
        check_balance(found)


def test_what_redispatch_moves_comes_from_outside() -> None:
    # 10 kWh sold to the retailer, of which 4 kWh could not flow: the network operator buys them
    row = {"generation": 6.0, "curtailed": 4.0, "storage": 0.0, "net": -6.0, "sold retail": 10.0}
    found = flows(pd.DataFrame([row], index=["A"]), 0.0)
    area = Node(OWN_AREA, "A")
    assert {(flow.source.kind, flow.target.kind): flow.kwh for flow in found} == pytest.approx(
        {
            (OWN_AREA, CURTAILED): 4.0,
            (OWN_AREA, SOLD_OUTSIDE): 10.0,
            (MOVED, OWN_AREA): 4.0,
            (BOUGHT_OUTSIDE, MOVED): 4.0,
        }
    )
    assert surplus(found, area) == pytest.approx(-10.0), "6 kWh fed in and 4 kWh curtailed"


# ------------------------------------------------------------------------------------ network


def test_load_duration_curves_fall_from_the_highest_to_the_lowest_loading(small: RunData) -> None:
    frame = small.results.frame("trafo", "loading")
    part = figures_network.load_duration(small)
    for trace in traces(part):
        trafo = trace["name"].split(":")[0]
        curve = numbers(trace["y"])
        assert (np.diff(curve) <= 0.0).all()
        assert (curve[0], curve[-1]) == (frame[trafo].max(), frame[trafo].min())
        assert trace["meta"] == {"area": trafo.removeprefix("trafo ")}
        assert trace["dx"] * (len(curve) - 1) == pytest.approx(100.0)
    worst = frame.max().idxmax()
    share = (frame[worst] > frame[worst].max() / 2.0).mean()
    assert f"Most loaded is {worst}: up to {frame[worst].max():.0f} %" in part.caption
    assert f"{100.0 * share:.0f} % of the time" in part.caption
    assert "2 of 2 transformers go beyond the limit" in part.caption


def test_voltages_are_coloured_by_the_way_to_the_limit_and_hovers_say_pu(small: RunData) -> None:
    frame = small.results.frame("bus", "vm")
    low, high = traces(figures_network.voltage_heat_map(small))
    assert low["y"] == ["MV1", "LV0", "LV1"]
    for trace in (low, high):
        np.testing.assert_allclose(numbers(trace["customdata"]), frame.to_numpy().T, rtol=1e-6)
        # the limits are 0.9 and 1.1 pu, so 0.1 pu is the whole way
        expected = (frame.to_numpy().T - 1.0) / 0.1
        np.testing.assert_allclose(numbers(trace["z"]), expected, atol=2e-5)


def test_the_way_to_a_limit_is_one_at_the_limit_on_either_side() -> None:
    voltage = np.array([[0.9, 1.0, 1.05, 1.06]])
    way = figures_network.toward_limit(voltage, np.array([0.9]), np.array([1.05]))
    np.testing.assert_allclose(way, [[-1.0, 0.0, 1.0, 1.2]])


# -------------------------------------------------------------------------------------- bills


def test_savings_are_sorted_and_losers_are_counted(small: RunData) -> None:
    bills = small.results.table("bill")
    part = figures_bills.savings(small)
    panels = {trace["name"]: numbers(trace["y"]) for trace in traces(part)}
    drawn = np.concatenate(list(panels.values()))
    assert sorted(drawn) == pytest.approx(sorted(bills["saving"]))
    assert all((np.diff(values) >= 0.0).all() for values in panels.values())
    # six savings from -2 to 10 EUR in even steps: only -2 is below zero
    assert "1 agent (17 %) is worse off (shaded), home 0 the most (−2.00 EUR)" in part.caption
    assert "All 6 agents together save 24.00 EUR" in part.caption
    titles = [note.text for note in part.figure.layout.annotations] if part.figure else []
    assert "<b>household</b>: 4 agents, 1 worse off" in titles
    assert "1 worse off" in titles


def test_components_are_means_of_the_class_and_add_up_to_the_bill(small: RunData) -> None:
    part = figures_bills.bill_components(small)
    drawn = [(trace["name"], trace["x"][0]) for trace in traces(part)]
    assert drawn[:4] == [
        ("energy from the retailer", 8.0),
        ("fed in to the retailer", -1.0),
        ("total", 7.0),
        ("without trading", pytest.approx(7.0 + np.mean([-2.0, 0.4, 5.2, 7.6]))),
    ]
    assert "All bills add up to 42.00 EUR" in part.caption


# ------------------------------------------------------------------------------------- tables


def test_key_figures_have_plain_names_units_and_reasons(small: RunData) -> None:
    part = tables.key_figures(small)
    assert part.rows is not None
    rows = {row[0]: row[1:3] for row in part.rows.rows}
    values = list(rows.values())
    assert values[0] == (1234.5, "kWh")
    assert values[1] == (25.0, "%"), "shares are shown in percent"
    assert values[2][0] is None
    assert "Undefined: " in str(part.rows.rows[2][3])


def test_areas_stand_by_level_with_figures_of_their_own_elements(small: RunData) -> None:
    part, results = tables.area_table(small), small.results
    assert part.rows is not None
    table = pd.DataFrame(part.rows.rows, columns=list(part.rows.headings)).set_index("area")
    assert list(table.index) == list(part.rows.areas) == ["MV1", "LV0", "LV1"]
    assert list(table["members"]) == [0, 3, 3]
    traded = results.frame("microgrid", "energy_traded").sum()
    assert table["traded, kWh"].loc[["LV0", "LV1"]].tolist() == pytest.approx(traded.tolist())
    imports = results.frame("microgrid", "p_import")
    assert table.loc["LV0", "peak import, kW"] == pytest.approx(imports["LV0"].max())
    assert table.loc["LV0", "peak export, kW"] == pytest.approx(-imports["LV0"].min())
    assert table.loc["LV1", "lowest voltage, pu"] == results.frame("bus", "vm")["LV1 bus"].min()
    savings = results.table("bill")["saving"]
    assert table.loc["LV0", "saving of members, EUR"] == pytest.approx(savings[::2].sum())


def test_verdicts_are_counted_and_the_first_bad_slot_is_named(small: RunData) -> None:
    part = tables.slot_verdicts(small)
    verdicts = small.results.slots()["verdict"]
    assert part.rows is not None
    counts = {row[0]: row[1] for row in part.rows.rows}
    for word, name in look.VERDICT_NAMES.items():
        assert counts[name[0].upper() + name[1:]] == (verdicts == word).sum()
    strip = traces(part)[0]
    assert strip["z"][0] == verdicts.cat.codes.tolist()
    # the last of 200 quarter hours begins 49.75 h after 02:00 local time
    assert "In 199 of 200 slots all limits are kept" in part.caption
    assert "The first that is not is 03 Jul 2016 03:45 local time." in part.caption


def test_steps_of_a_long_run_show_the_share_of_each_verdict(tmp_path: Path) -> None:
    with open_results(write_run(tmp_path / "long.h5", 960)) as results:
        data = RunData(results)
        part = tables.slot_verdicts(data)
        verdicts = results.slots()["verdict"].astype(str)
    step = np.arange(960) // data.slots_per_bucket
    assert step.max() < 400
    drawn = {trace["name"]: numbers(trace["y"]) for trace in traces(part) if trace.get("name")}
    for word in ("limits_met", "limits_met_by_reclearing", "limits_broken"):
        share = 100.0 * (verdicts == word).groupby(step).mean()
        np.testing.assert_allclose(drawn[look.VERDICT_NAMES[word]], share, rtol=1e-6)


def test_binding_elements_are_ranked_by_their_slots(small: RunData) -> None:
    part = tables.binding_elements(small)
    bar = traces(part)[0]
    assert (bar["x"], bar["y"], bar["meta"]) == ([50], ["trafo LV0"], {"area": "LV0"})
    assert "In 25 % of 200 slots a limit of the grid holds trade back." in part.caption


def test_warnings_of_one_kind_are_one_row_the_most_frequent_first(small: RunData) -> None:
    part = tables.warnings(small)
    assert part.rows is not None
    assert [tuple(row) for row in part.rows.rows] == [
        ("price gap", "filled by the hour before", "–", "2016-07-01 00:00", 40),
        ("missing rating", "taken as unlimited", "line 1, line 2", "2016-07-01 00:00", 3),
    ]
    assert part.caption == "43 warnings of 2 kinds; times are UTC."


def test_provenance_names_inputs_with_licence_and_holds_the_scenario(real: RunData) -> None:
    part = tables.provenance(real)
    assert part.rows is not None
    rows = {(row[0], row[1]): row[2] for row in part.rows.rows}
    prices = next(
        rows[key] for key in rows if str(key[1]).startswith("Wholesale prices: EPEX SPOT")
    )
    assert prices == "licence MIT"
    assert rows["solver", "name"] == "HiGHS"
    assert ("run", "seed of everything random") in rows
    assert part.folded is not None
    assert list(part.folded.values()) == [real.results.scenario_yaml]
