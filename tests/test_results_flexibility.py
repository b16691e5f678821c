"""Devices, forecasts, imbalance and services in a results file: figures, checks, page, writing.

The numbers of the file are those of tests/flexible_results.py; sums beside them are worked out from
its hours and rates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from shutil import copyfile

import h5py
import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console
from tests.flexible_results import (
    CAPACITY_KWH,
    EFFICIENCY,
    MISSED_KWH,
    entities,
    write_flexible_run,
)
from tests.golden_file import unpacked_golden

from tricell.errors import ResultsError
from tricell.results import kpis, layout
from tricell.results.deviations import DeviationKind
from tricell.results.export import Period
from tricell.results.export_meters import meter_stream
from tricell.results.figure_list import FIGURES
from tricell.results.figure_scopes import Scope, scopes_of
from tricell.results.figures_of_flexibility import flexibility_figures
from tricell.results.layout_text import layout_description
from tricell.results.reader import Results, open_results
from tricell.results.report.figures_contracts import forecast_errors, imbalance, service_table
from tricell.results.report.figures_devices import (
    comfort,
    device_power,
    device_table,
    misses,
    storage_levels,
)
from tricell.results.report.page import run_page
from tricell.results.report.run_data import RunData
from tricell.results.run_summary import summary_of
from tricell.results.summary import print_summary, summarise
from tricell.results.validation import validate
from tricell.results.writer import ResultsWriter, RunHeader

DAYS = 2.0


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_flexible_run(tmp_path_factory.mktemp("flexible") / "run.h5", DAYS)


@pytest.fixture(scope="module")
def results(path: Path) -> Iterator[Results]:
    with open_results(path) as opened:
        yield opened


# --- what is written is what is read ---


def test_a_file_with_all_of_1_1_follows_the_layout(path: Path) -> None:
    checked = validate(path)
    assert checked.deviations == ()
    assert checked.notes == ()
    assert checked.schema_version == "1.1.0"


def test_totals_of_devices_stand_beside_what_was_known_before_the_run(results: Results) -> None:
    devices = results.table("device").set_index("device")
    told = devices[["agent", "area", "kind", "unmet"]].T["car 2"]
    assert told.to_list() == ["home 4", "LV2", "vehicle", MISSED_KWH]
    assert devices["short_departures"].sum() == 1
    assert list(results.ids("device")) == list(devices.index)


def test_what_is_known_before_a_run_is_not_given_again_at_its_end(tmp_path: Path) -> None:
    header = RunHeader("run", "name: run\n", 1, np.datetime64("2016-05-23T00:00:00"), 1)
    with ResultsWriter(tmp_path / "run.h5", header, entities()) as writer:
        writer.write_slot({"device": {name: np.zeros(9) for name in ("p", "stored", "unmet")}})
        with pytest.raises(ResultsError, match=r"tables/device: kind is not given at the end"):
            writer.finish("complete", {"device": {"kind": ["vehicle"] * 9}})
        with pytest.raises(ResultsError, match="columns differ in length"):
            writer.finish("complete", {"device": {"energy": [1.0]}})
        writer.abandon()


# --- key figures ---


def test_figures_of_devices_are_sums_over_their_owners(results: Results) -> None:
    run = results.kpis["run"]
    # a day: 10 h at 2, 3 and 1 kW less 2 h at 4 kW given back
    assert run["vehicle_energy"] == pytest.approx(DAYS * (20.0 + 30.0 + 10.0 - 8.0))
    assert results.kpis["LV2"]["vehicle_energy"] == pytest.approx(DAYS * 10.0)
    assert results.kpis["LV1"]["vehicle_energy_missed"] == 0.0
    assert results.kpis["LV2"]["vehicle_energy_missed"] == MISSED_KWH
    assert run["short_departure_share"] == pytest.approx(1.0 / 6.0)
    # 4 h at 2.5 and 20 h at 0.8 kW; 6 h at 2 kW
    assert run["heat_pump_energy"] == pytest.approx(DAYS * (10.0 + 16.0 + 12.0))
    assert run["heat_discomfort"] == 2.5
    assert run["heat_unmet"] == 0.0
    assert run["appliance_energy"] == pytest.approx(DAYS * 2.0)
    assert results.kpis["household"]["vehicle_energy"] == run["vehicle_energy"]


def test_shared_batteries_cycle_and_lose_what_their_efficiency_says(results: Results) -> None:
    charged = 4.0 * 4.0 * (1.0 + 0.6 + 0.3)  # 4 h at 4 kW, times the shares
    given = charged * EFFICIENCY**2
    run = results.kpis["run"]
    assert run["shared_battery_losses"] == pytest.approx(DAYS * (charged - given))
    cycles = DAYS * (charged + given) / (2.0 * 3.0 * CAPACITY_KWH)
    assert run["shared_battery_cycles"] == pytest.approx(cycles)
    assert results.kpis["LV2"]["shared_battery_cycles"] is None


def test_imbalance_of_an_area_is_what_is_left_after_deviations_cancel(results: Results) -> None:
    p_net, contracted, moved = (
        results.frame("agent", name) for name in ("p_net", "p_contracted", "p_service")
    )
    deviation = 0.25 * (p_net - contracted - moved)  # services are no imbalance
    assert moved.any(axis=None)
    figures = results.kpis
    assert figures["run"]["imbalance_energy"] == pytest.approx(deviation.sum(axis=1).abs().sum())
    assert figures["home 3"]["imbalance_energy"] == pytest.approx(deviation["home 3"].abs().sum())
    of_areas = sum(figures[area]["imbalance_energy"] or 0.0 for area in ("LV1", "LV2"))
    assert results.kpis_of("level")["microgrid"]["imbalance_energy"] == pytest.approx(of_areas)
    assert of_areas > (figures["run"]["imbalance_energy"] or 0.0)
    assert figures["run"]["imbalance_cost"] == pytest.approx(0.625)
    assert figures["home 1"]["imbalance_cost"] == -0.25


def test_the_run_has_the_forecast_errors_of_its_top_area(results: Results) -> None:
    table = results.table("forecast").set_index("area")
    for figure, column in (("forecast_mae", "mae"), ("member_forecast_wape", "member_wape")):
        assert results.kpis["run"][figure] == table.loc["MC", column]
        assert results.kpis["LV1"][figure] == table.loc["LV1", column]


def test_services_count_where_they_were_asked(results: Results) -> None:
    figures = results.kpis
    assert figures["run"]["flexibility_asked"] == 7.0
    assert figures["run"]["flexibility_delivered"] == 6.25
    assert figures["run"]["flexibility_unmet"] == 0.75
    assert figures["run"]["flexibility_delivered_share"] == pytest.approx(6.25 / 7.0)
    assert figures["run"]["flexibility_cost"] == figures["run"]["flexibility_income"] == 1.25
    assert figures["LV1"]["flexibility_asked"] == 3.0
    assert figures["LV2"]["flexibility_asked"] is None
    assert figures["run"]["transmission_operator_pays"] == pytest.approx(0.6)
    assert figures["run"]["lookahead_value"] == 4.0


def test_set_points_pass_on_what_was_asked_and_do_not_count_again(
    path: Path, tmp_path: Path
) -> None:
    def change(file: h5py.File) -> None:
        file["tables/service/kind"][2] = layout.ServiceKind.SET_POINT

    with open_results(_changed(path, tmp_path, change)) as changed:
        figures = flexibility_figures(changed, scopes_of(changed), 0.25)
    run = Scope("run", "run")
    assert figures["flexibility_asked"][run] == 3.0
    assert figures["flexibility_delivered"] == {run: 2.25, Scope("area", "LV1"): 2.25}


def test_a_device_hides_what_the_peak_would_be_without_trading(results: Results) -> None:
    assert results.kpis["run"]["peak_import_no_trading"] is None


def test_figures_of_what_a_run_does_not_have_have_no_rows(path: Path, tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        for name in ("device", "forecast", "service"):
            del file[layout.table_path(name)]
        del file["timeseries/device"]
        for name in ("p_contracted", "p_load_forecast", "p_pv_forecast", "p_service"):
            del file[layout.series_path("agent", name)]
        for name in layout.OPTIONAL_BILL_PARTS:
            del file[layout.table_path("bill", name)]

    with open_results(_changed(path, tmp_path, change)) as changed:
        assert flexibility_figures(changed, scopes_of(changed), 0.25) == {}
    assert not FIGURES["lookahead_value"].is_everywhere


def test_storage_figures_are_undefined_where_there_is_nothing_to_divide_by() -> None:
    assert kpis.equivalent_full_cycles([1.0, -1.0], 0.0) is None
    assert kpis.storage_losses([[1.0]], [[0.0]]) is None
    assert kpis.share(0.0, 0.0) is None


# --- what deviates is named ---


def _changed(path: Path, folder: Path, change: Callable[[h5py.File], None]) -> Path:
    target = folder / "changed.h5"
    copyfile(path, target)
    with h5py.File(target, "r+") as file:
        change(file)
    return target


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (("tables/device/unmet", 2, 9.0), (DeviationKind.VALUE, "/tables/device/unmet")),
        (
            ("tables/device/short_departures", 0, 7),
            (DeviationKind.VALUE, "/tables/device/short_departures"),
        ),
        (("tables/device/area", 0, "LV2"), (DeviationKind.VALUE, "/tables/device/area")),
        (("tables/device/kind", 0, "boat"), (DeviationKind.VALUE, "/tables/device/kind")),
        (("tables/device/agent", 0, "nobody"), (DeviationKind.REFERENCE, "/tables/device/agent")),
        (("tables/service/area", 0, 9), (DeviationKind.REFERENCE, "/tables/service/area")),
        (("tables/bill/flexibility", 0, 5.0), (DeviationKind.MONEY, "/tables/bill/total")),
    ],
)
def test_what_does_not_hold_together_is_named(
    path: Path,
    tmp_path: Path,
    change: tuple[str, int, object],
    where: tuple[DeviationKind, str],
) -> None:
    dataset, row, value = change

    def damage(file: h5py.File) -> None:
        file[dataset][row] = value

    found = {
        (each.kind, each.path) for each in validate(_changed(path, tmp_path, damage)).deviations
    }
    assert where in found


def test_postings_of_imbalance_need_bills_of_it(path: Path, tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        file["tables/bill/total"][...] -= file["tables/bill/imbalance"][...]
        file["tables/bill/no_trading_total"][...] -= file["tables/bill/imbalance"][...]
        del file["tables/bill/imbalance"]

    found = {each.path for each in validate(_changed(path, tmp_path, change)).deviations}
    assert "/tables/posting/amount" in found


def test_a_file_that_says_1_0_has_no_codes_of_1_1(path: Path, tmp_path: Path) -> None:
    """Codes are those of the file's own version, and of a later one if it is known."""

    def older(file: h5py.File) -> None:
        file.attrs["schema_version"] = "1.0.0"
        attributes = file["tables/posting/kind"].attrs
        attributes["flag_values"] = attributes["flag_values"][:8]
        attributes["flag_meanings"] = " ".join(attributes["flag_meanings"].split()[:8])

    def newer(file: h5py.File) -> None:
        older(file)
        file.attrs["schema_version"] = "1.1.0"

    assert validate(_changed(path, tmp_path, older)).is_fine
    found = {each.path for each in validate(_changed(path, tmp_path, newer)).deviations}
    assert found == {"/tables/posting/kind@flag_meanings"}


def test_the_layout_says_which_version_brought_what() -> None:
    described = layout_description()
    tables = described["tables"]
    assert {name for name, table in tables.items() if table.get("since") == "1.1.0"} == {
        "device",
        "forecast",
        "service",
    }
    added = [each["name"] for each in tables["bill"]["datasets"] if "since" in each]
    assert added == list(layout.OPTIONAL_BILL_PARTS)


# --- meters ---


def test_meters_tell_what_was_contracted_and_shared_of_it(tmp_path: Path) -> None:
    """In the golden run all levels clear jointly on forecasts, with two services."""
    golden = unpacked_golden(tmp_path, "1.1.0")
    with open_results(golden) as results:
        stream = meter_stream(results, Period())
        meters = pa.Table.from_batches(stream.blocks, stream.schema).to_pandas()
        bills = results.table("bill").set_index("agent")
        contracted = 0.25 * results.frame("agent", "p_contracted")
    sums = meters.groupby("meter", observed=True)[
        ["contracted_kwh", "shared_import_kwh", "shared_export_kwh"]
    ].sum()
    np.testing.assert_allclose(sums["contracted_kwh"], contracted.sum()[sums.index], atol=1e-9)
    for shared, billed in (("shared_import_kwh", "bought_p2p"), ("shared_export_kwh", "sold_p2p")):
        np.testing.assert_allclose(sums[shared], bills.loc[sums.index, billed], atol=1e-6)
    assert sums["shared_import_kwh"].sum() > 1.0


def test_meters_leave_out_what_services_moved_where_forecasts_are_perfect(tmp_path: Path) -> None:
    """Trades are those of the contracts; what is moved beside them was sold as a service."""
    golden = unpacked_golden(tmp_path, "1.1.0")
    with h5py.File(golden, "r+") as file:
        agent = file["timeseries/agent"]
        agent["p_service"][...] = agent["p_net"][...] - agent["p_contracted"][...]
        del agent["p_contracted"]
    with open_results(golden) as results:
        stream = meter_stream(results, Period())
        meters = pa.Table.from_batches(stream.blocks, stream.schema).to_pandas()
        bills = results.table("bill").set_index("agent")
    shared = meters.groupby("meter", observed=True)["shared_import_kwh"].sum()
    np.testing.assert_allclose(shared, bills.loc[shared.index, "bought_p2p"], atol=1e-6)
    taken = meters["import_kwh"] - meters["export_kwh"]
    assert (taken - meters["contracted_kwh"]).abs().max() > 0.1


# --- the page ---


def test_sections_of_flexibility_are_shown_where_there_is_something(results: Results) -> None:
    page = run_page(RunData(results), summary_of(results))
    slugs = [section.slug for section in page.sections]
    assert slugs[5:8] == ["devices", "forecasts", "services"]
    for section in page.sections[5:8]:
        for part in section.parts:
            assert part.figure is not None or part.rows, part.key


def test_the_page_tells_what_vehicles_and_rooms_lacked(results: Results) -> None:
    data = RunData(results)
    table = device_table(data)
    assert "1 of them (17 %) without all the energy they needed: 1.5 kWh" in table.caption
    assert table.rows is not None
    shared = [row for row in table.rows.rows if row[1] == "Shared batteries"]
    assert [row[0] for row in shared] == ["LV1", "C1", "MC"]
    rooms = comfort(data)
    assert rooms is not None
    assert "2.5 K h" in rooms.caption
    most = misses(data)
    assert most is not None
    assert most.rows is not None
    assert most.rows.rows[0][:2] == ["car 2", "home 4"]


def test_stores_are_shown_level_by_level(results: Results) -> None:
    figure = storage_levels(RunData(results)).figure
    assert figure is not None
    assert [trace.name for trace in figure.data] == [
        "Homes, 20 kWh",
        "Communities, 20 kWh",
        "Cells, 20 kWh",
        "Multi-cell, 20 kWh",
        "Vehicles, 140 kWh",
        "Heat stores, 10 kWh",
    ]
    highest = [max(trace.y) for trace in figure.data[1:4]]
    # 16 kWh into 20 kWh at 0.95, from 1 kWh on
    expected = [100.0 * (1.0 + 16.0 * share * EFFICIENCY) / CAPACITY_KWH for share in (1, 0.6, 0.3)]
    assert highest == pytest.approx(expected, rel=1e-6)


def test_longer_runs_show_devices_by_time_of_day(results: Results, tmp_path: Path) -> None:
    short = device_power(RunData(results)).figure
    with open_results(write_flexible_run(tmp_path / "week.h5", 4.0)) as week:
        long = device_power(RunData(week)).figure
    assert short is not None
    assert long is not None
    assert {trace.type for trace in short.data} == {"scatter"}
    assert {trace.type for trace in long.data} == {"heatmap"}
    assert len(short.data) == len(long.data) == 5
    vehicles = np.array(long.data[0].customdata)
    assert vehicles.shape == (96, 4)
    assert vehicles[0].tolist() == [6.0] * 4  # 2, 3 and 1 kW at midnight


def test_tables_of_contracts_and_services_have_their_sums(results: Results) -> None:
    data = RunData(results)
    errors = forecast_errors(data).rows
    assert errors is not None
    assert [row[0] for row in errors.rows] == ["MC", "C1", "LV1", "LV2"]
    assert errors.rows[3][2] == pytest.approx(12.0), "percent"
    assert "0.62 EUR" in imbalance(data).caption
    services = service_table(data).rows
    assert services is not None
    assert services.rows[0] == [
        *("Request of the network operator", "LV1", 2),
        *(3.0, 2.5, 2.25, 0.75, 75.0, 0.65),
    ]


def test_a_run_that_goes_on_has_a_page_of_its_devices(path: Path, tmp_path: Path) -> None:
    def running(file: h5py.File) -> None:
        file.attrs["run_status"] = "running"
        for name in ("bill", "kpi", "forecast", "receipt"):
            del file[layout.table_path(name)]
        for name in layout.DEVICE_TOTALS:
            del file[layout.table_path("device", name)]

    with open_results(_changed(path, tmp_path, running)) as changed:
        page = run_page(RunData(changed), summary_of(changed))
    parts = [part.key for section in page.sections for part in section.parts]
    assert {"device_power", "storage_levels", "device_table", "imbalance"} <= set(parts)
    assert "misses" not in parts


def test_the_printed_summary_tells_of_devices_forecasts_and_services(path: Path) -> None:
    summary = summarise(path)
    with open_results(path) as results:
        table, figures = results.table("device"), results.kpis[layout.RUN_SCOPE]
    vehicles = table[table["kind"] == "vehicle"]
    told = next(each for each in summary.flexibility.devices if each.kind == "vehicle")
    assert told.count == len(vehicles)
    assert told.departures == vehicles["departures"].sum()
    assert told.short_departures == vehicles["short_departures"].sum() > 0
    console = Console(width=80, record=True, file=StringIO())
    print_summary(summary, console)
    text = console.export_text()
    for words in (
        "Devices",
        "heat store",
        f"{figures['forecast_wape']:.1%} of all energy (WAPE)",
        "kWh delivered",
    ):
        assert words in text
    assert max(len(line) for line in text.splitlines() if str(path) not in line) <= 80
