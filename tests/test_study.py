"""Studies: reading, expansion, content hashes, closures, failures, reuse, schedulers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
from distributed import LocalCluster
from typer.testing import CliRunner

from tricell.errors import ResultsError, SimulatorError
from tricell.markets.charge import Calendar, Charge, Customers
from tricell.results.study_layout import TABLES
from tricell.results.study_results import open_study
from tricell.scenarios import study_run
from tricell.scenarios.charge_choice import expanded
from tricell.scenarios.command_line import app
from tricell.scenarios.faults import ScenarioFaultsError
from tricell.scenarios.run_identity import run_hash
from tricell.scenarios.schema import Scenario
from tricell.scenarios.study_assembly import Outcome, assembled
from tricell.scenarios.study_closures import Job, evaluate, reference_run
from tricell.scenarios.study_engine import run_study
from tricell.scenarios.study_file import LoadedStudy, load_study, shipped_study_names
from tricell.scenarios.study_plan import (
    Point,
    expected_simulations,
    points,
    scenario_at,
)
from tricell.scenarios.study_run import (
    RECORD_VERSION,
    RunCache,
    RunRecord,
    of_levels,
    read_record,
)
from tricell.scenarios.study_schema import Revenue
from tricell.scenarios.study_tables import closure_tables, rates_of

VILLAGE = "network_charges_village"
HOURS = 0.25
SLOTS = 96
RATE = 0.11
SMALL = """\
name: small
scenario: village
set:
  time.days: 0.25
  time.start: 2016-05-23T15:00Z
  prices.retail: {kind: fixed, price_eur_per_kwh: 0.21}
  prices.fees: {microgrid: 0, cell: 0, multicell: 0}
  participants.battery: {kind: bill_saving}
reference: volumetric
designs:
  - name: volumetric
    charges:
      - {kind: volumetric, rate_eur_per_kwh: 0.11}
  - name: peak
    charges:
      - {kind: monthly_peak, rate_eur_per_kw_year: 60}
"""

Written = Callable[[str], str]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Write a study file and return its path."""

    def write(text: str) -> str:
        path = tmp_path / "study.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def charges_of(scenario: Scenario) -> tuple[Charge, ...]:
    return expanded(scenario.charges)


def kinds_of(scenario: Scenario) -> list[str]:
    return [charge.kind for charge in charges_of(scenario)]


def faults_of(path: str) -> list[str]:
    with pytest.raises(ScenarioFaultsError) as caught:
        load_study(path)
    return [str(fault) for fault in caught.value.faults]


# --- reading ---


@pytest.mark.parametrize("name", shipped_study_names())
def test_shipped_studies_are_valid(name: str) -> None:
    loaded = load_study(name)
    assert loaded.study.name == name
    assert len(loaded.designs) == len(loaded.study.designs)


@pytest.mark.parametrize("name", shipped_study_names())
def test_shipped_studies_are_about_whole_local_days(name: str) -> None:
    base = load_study(name).base
    calendar = Calendar(base.time.slot_starts(), base.time.step_hours, base.time.local_zone)
    assert calendar.hour[0] == 0.0
    assert base.time.days % 1.0 == 0.0


def test_the_study_of_a_district_has_six_designs_three_closures_and_some_seeds() -> None:
    study = load_study("network_charges_district").study
    assert len(study.designs) >= 6
    assert study.closures == ("none", "fixed", "resolved")
    assert len(study.axes.seed) >= 2


def test_a_shipped_study_is_found_in_its_folder_of_old() -> None:
    assert load_study(f"studies/{VILLAGE}.yaml").study == load_study(VILLAGE).study


def test_a_study_that_does_not_exist_is_reported_with_the_likely_one() -> None:
    (fault,) = faults_of("network_charges_vilage")
    assert "there is no study" in fault
    assert f"did you mean `{VILLAGE}`?" in fault


def test_what_the_study_sets_and_the_charges_of_a_design_are_in_its_scenario(
    written: Written,
) -> None:
    loaded = load_study(written(SMALL + "    set: {market.max_reclearings: 1}\n"))
    assert loaded.base.time.days == 0.25
    assert loaded.base.prices.fees.cell == 0.0
    volumetric, peak = loaded.designs
    assert kinds_of(volumetric) == ["volumetric"]
    assert kinds_of(peak) == ["monthly_peak"]
    assert (volumetric.market.max_reclearings, peak.market.max_reclearings) == (3, 1)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("reference: volumetric", "reference: flat", 9, "there is no design `flat`"),
        ("name: peak", "name: volumetric", 14, "two designs are called `volumetric`"),
        ("time.days: 0.25", "time.dais: 0.25", 4, "`dais` is not a field of `time`"),
        ("scenario: village", "scenario: vilage", 2, "there is no scenario `vilage`"),
        ("monthly_peak", "monthly_peek", 16, "cannot be `monthly_peek`"),
        ("rate_eur_per_kw_year: 60", "rate_eur_per_kw_year: -6", 16, "at least 0"),
        ("reference: vol", "closures: [none, non]\nreference: vol", 9, "cannot be `non`"),
        ("reference: vol", "axes: {pv_share: [2]}\nreference: vol", 9, "less than or equal to 1"),
        ("reference: vol", "axes: {seed: [1, 1]}\nreference: vol", 9, "has the value 1 twice"),
        ("reference: vol", "axes: {days: [0.3]}\nreference: vol", 9, "no whole number of slots"),
        ("reference: vol", "revenue: {cell: 0}\nreference: vol", 9, "allowed revenue of all"),
        ("reference: vol", "cost: {peak: 0.5}\nreference: vol", 9, "add up to 0.8"),
        ("scenario: village", "scenarios: village", 2, "`scenarios` is not a field of a study"),
        ("time.days: 0.25", "forecasts.kind: persistence", 2, "the scenario has `forecasts`"),
    ],
)
def test_faults_name_file_line_and_field(
    written: Written, old: str, new: str, line: int, message: str
) -> None:
    path = written(SMALL.replace(old, new, 1))
    found = faults_of(path)
    assert any(f"{path}:{line}" in fault and message in fault for fault in found), found


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("    fixed: [levy]\n", "the design has no charge `levy`"),
        ("    shares: {monthly_peak: 0.4}\n", "add up to 0.4"),
        ("    shares: {energy: 1}\n", "the design has no charge `energy`"),
        ("      - {kind: monthly_peak, floor_kw: 1}\n", "are called `monthly_peak`"),
    ],
)
def test_charges_of_a_design_must_fit_together(written: Written, more: str, message: str) -> None:
    assert any(message in fault for fault in faults_of(written(SMALL + more)))


# --- expansion ---


def points_of(loaded: LoadedStudy) -> tuple[Point, ...]:
    return points(loaded.study, loaded.base)


def axes(loaded: LoadedStudy, combine: str = "grid", **values: Any) -> LoadedStudy:
    study = loaded.study
    changed = study.axes.model_copy(update=values)
    return replace(loaded, study=study.model_copy(update={"axes": changed, "combine": combine}))


def test_without_axes_there_is_one_point_the_base_scenario(written: Written) -> None:
    loaded = load_study(written(SMALL))
    (point,) = points_of(loaded)
    assert (point.number, point.base, point.seed, point.days) == (0, 0, 1, 0.25)
    assert scenario_at(loaded.base, point) == loaded.base


def test_a_grid_has_all_shares_with_all_others_for_every_seed(written: Written) -> None:
    loaded = axes(load_study(written(SMALL)), seed=(1, 2), pv_share=(0.2, 0.5), ev_share=(0.0, 0.1))
    found = points_of(loaded)
    assert [point.number for point in found] == list(range(8))
    assert {(p.seed, p.pv_share, p.ev_share) for p in found} == {
        (seed, pv, ev) for seed in (1, 2) for pv in (0.2, 0.5) for ev in (0.0, 0.1)
    }
    assert [point.base for point in found] == [0, 0, 0, 0, 4, 4, 4, 4]


def test_one_at_a_time_varies_each_share_alone(written: Written) -> None:
    loaded = axes(
        load_study(written(SMALL)), "one_at_a_time", pv_share=(0.2, 0.5, 0.8), ev_share=(0.0, 0.1)
    )
    found = points_of(loaded)
    assert [(p.pv_share, p.ev_share) for p in found] == [(0.2, 0), (0.5, 0), (0.8, 0), (0.2, 0.1)]


def test_a_point_sets_seed_period_and_adoption(written: Written) -> None:
    loaded = axes(load_study(written(SMALL)), seed=(7,), days=(0.5,), participation=(0.6,))
    (point,) = points_of(loaded)
    scenario = scenario_at(loaded.base, point)
    assert (scenario.seed, scenario.time.days) == (7, 0.5)
    assert scenario.participants.adoption.participation == 0.6


def test_starts_with_an_offset_are_taken_in_utc(written: Written) -> None:
    text = SMALL + "axes: {start: [2016-05-23T01:00+01:00, 2016-05-24]}\n"
    loaded = load_study(written(text))
    starts = [scenario_at(loaded.base, point).time.start_utc for point in points_of(loaded)]
    assert starts == [np.datetime64("2016-05-23T00:00"), np.datetime64("2016-05-24T00:00")]


@pytest.mark.parametrize(
    ("closures", "revenue", "least", "most"),
    [
        (("none",), None, 4, 4),
        (("none", "fixed"), None, 4 + 8 - 2, 4 + 8 - 2),
        (("none", "fixed", "resolved"), None, 4 + 8 - 2, 4 + (8 - 2) * 5),
        (("resolved",), Revenue(cell=1.0), 4 + 8, 4 + 8 * 5),
    ],
)
def test_the_number_of_simulations_is_known_within_limits(
    written: Written, closures: Any, revenue: Revenue | None, least: int, most: int
) -> None:
    """Two seeds by two shares, two designs; the reference is known at the two base points."""
    loaded = axes(load_study(written(SMALL)), seed=(1, 2), pv_share=(0.2, 0.5))
    changes = {"closures": closures, "revenue": revenue, "max_iterations": 5}
    study = loaded.study.model_copy(update=changes)
    assert expected_simulations(study, points(study, loaded.base)) == (least, most)


# --- content hashes ---


def test_the_hash_covers_charges_and_period_but_not_the_name(written: Written) -> None:
    volumetric, peak = load_study(written(SMALL)).designs
    known = run_hash(volumetric, RECORD_VERSION)
    assert run_hash(volumetric.model_copy(update={"name": "other"}), RECORD_VERSION) == known
    assert run_hash(peak, RECORD_VERSION) != known
    assert run_hash(volumetric, RECORD_VERSION + 1) != known
    scaled = (charges_of(volumetric)[0].scaled(1.0 + 1e-12),)
    assert run_hash(volumetric.model_copy(update={"charges": scaled}), RECORD_VERSION) != known


def test_the_hash_covers_what_is_in_the_files_of_a_scenario(
    written: Written, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.csv"
    rows = "time,price\n" + "".join(f"2016-05-23T{hour:02d}:00Z,0.05\n" for hour in range(24))
    prices.write_text(rows)
    text = SMALL.replace(
        "participants.battery",
        "prices.wholesale: {kind: csv, file: prices.csv, column: price}\n  participants.battery",
    )
    path = written(text)
    before = run_hash(load_study(path).base, RECORD_VERSION)
    prices.write_text(rows.replace("0.05", "0.06"))
    assert run_hash(load_study(path).base, RECORD_VERSION) != before


# --- closures, on made-up runs ---


def made_up(scenario: Scenario) -> RunRecord:
    """Make up a run: a home with PV whose battery follows the price of a kW, and one without."""
    peak = "monthly_peak" in kinds_of(scenario)
    hour = np.arange(SLOTS) * HOURS
    load = 0.5 + 2.0 * np.exp(-(((hour - 19.0) / 1.5) ** 2))
    sun = np.maximum(0.0, 3.0 - np.abs(hour - 13.0))
    with_pv = load - sun
    if peak:
        with_pv = np.minimum(with_pv, 1.8)
    net = np.stack([with_pv, load], axis=1)
    bought = np.zeros((4, SLOTS, 2))
    bought[3] = np.maximum(net, 0.0) * HOURS
    customers = Customers.plain(2)
    customers = replace(customers, has_pv=np.array([True, False]))
    zeros, one = np.zeros(2), np.zeros(1)
    area = net.sum(axis=1, keepdims=True)
    values: dict[str, Any] = {field.name: zeros for field in fields(RunRecord)}
    values |= {
        "start": np.datetime64("2016-05-23T00:00", "s")
        + np.arange(SLOTS) * np.timedelta64(900, "s"),
        "hours": HOURS,
        "zone": "Europe/Berlin",
        "customers": customers,
        "area_id": ("LV1",),
        "area_trafo": ("trafo",),
        "area_rating_kva": np.array([100.0]),
        "with_battery": np.array([True, False]),
        "participates": np.array([True, True]),
        "load_kwh": np.full(2, load.sum() * HOURS),
        "net_kw": net,
        "bought_kwh": bought,
        "no_trading_net_kw": net,
        "area_net_kw": area,
        "area_loss_kw": 0.02 * np.abs(area),
        "wholesale_price": np.full(SLOTS, 0.05),
        "retail_price": np.full(SLOTS, 0.21),
        "feed_in_price": np.full(SLOTS, 0.08),
        "export_eur": -0.08 * np.maximum(-net, 0.0).sum(axis=0) * HOURS,
        "peak_loading_percent": np.array([10.0]),
        "overload_hours": one,
        "line_overload_hours": one,
        "voltage_hours": one,
        "vm_min": np.array([0.97]),
        "vm_max": np.array([1.02]),
        "limits_met_share": 1.0,
        "provenance": "{}",
        "seconds": 0.1,
    }
    return RunRecord(**values)


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> list[Scenario]:
    """Make up runs instead of simulating; the list holds the scenarios asked for."""
    asked: list[Scenario] = []

    def simulate(scenario: Scenario) -> RunRecord:
        asked.append(scenario)
        return made_up(scenario)

    monkeypatch.setattr(study_run, "simulate", simulate)
    return asked


def silent(reused: bool) -> None:
    """Take no notice."""


def job(loaded: LoadedStudy, design: str, cache: Path, allowed: float = 300.0) -> Job:
    chosen = next(each for each in loaded.study.designs if each.name == design)
    return Job(
        study=loaded.study,
        design=chosen,
        scenario=loaded.scenario_of(chosen),
        reference=loaded.scenario_of(loaded.study.reference_design),
        allowed_eur_per_year=(allowed, 0.0, 0.0),
        cache=cache,
    )


def test_a_record_comes_back_from_its_file_as_it_was(written: Written, tmp_path: Path) -> None:
    record = made_up(load_study(written(SMALL)).base)
    cache = RunCache(tmp_path / "runs")
    cache.put("a", record)
    again = cache.get("a")
    assert again is not None
    for name in (field.name for field in fields(record) if field.name != "customers"):
        np.testing.assert_array_equal(getattr(again, name), getattr(record, name))
    for field in fields(Customers):
        np.testing.assert_array_equal(
            getattr(again.customers, field.name), getattr(record.customers, field.name)
        )
    assert not list((tmp_path / "runs").glob("*.part"))


def test_a_damaged_record_counts_as_missing(tmp_path: Path) -> None:
    cache = RunCache(tmp_path)
    cache.path("a").write_bytes(b"not HDF5")
    assert cache.get("a") is None
    assert cache.get("b") is None
    with pytest.raises(OSError, match="file signature"):
        read_record(cache.path("a"))


def test_the_reference_collects_what_its_rate_bills(
    written: Written, tmp_path: Path, simulated: list[Scenario]
) -> None:
    scenario = load_study(written(SMALL)).designs[0]
    collected, year_share, _ = reference_run(scenario, tmp_path, silent)
    record = made_up(scenario)
    assert collected == pytest.approx(RATE * np.maximum(record.net_kw, 0).sum() * HOURS, rel=1e-12)
    assert year_share == pytest.approx(24.0 / 8760.0)


def test_revenue_is_the_allowed_one_without_reaction_and_with_new_rates(
    written: Written, tmp_path: Path, simulated: list[Scenario]
) -> None:
    """Closure fixed shows a gap: the battery cuts the peak that the rate was solved on."""
    results = evaluate(job(load_study(written(SMALL)), "peak", tmp_path), silent)
    assert [result.status for result in results] == ["complete"] * 3
    gaps = {}
    for result in results:
        revenue = closure_tables(result)["revenue"]
        assert revenue["allowed"][-1] == pytest.approx(300.0 * 24.0 / 8760.0, rel=1e-12)
        gaps[result.closure] = revenue["gap"][-1] / revenue["allowed"][-1]
    assert abs(gaps["none"]) < 1e-6
    assert abs(gaps["resolved"]) < 1e-6
    assert gaps["fixed"] < -0.05


def test_without_reaction_bills_are_those_of_the_reference_meters(
    written: Written, tmp_path: Path, simulated: list[Scenario]
) -> None:
    none, fixed, _ = evaluate(job(load_study(written(SMALL)), "peak", tmp_path), silent)
    reference = made_up(load_study(written(SMALL)).designs[0])
    bill = closure_tables(none)["bill"]
    np.testing.assert_allclose(bill["import_kwh"], reference.meters.import_kwh.sum(axis=0))
    peaks = np.maximum(reference.net_kw, 0.0).max(axis=0)
    np.testing.assert_allclose(bill["network"] / bill["network"].sum(), peaks / peaks.sum())
    assert closure_tables(fixed)["bill"]["import_kwh"][0] < bill["import_kwh"][0]


def test_components_of_a_bill_add_up_to_it(
    written: Written, tmp_path: Path, simulated: list[Scenario]
) -> None:
    for result in evaluate(job(load_study(written(SMALL)), "peak", tmp_path), silent):
        tables = closure_tables(result)
        bill, parts = tables["bill"], tables["bill_component"]
        customers = np.array(parts["customer"])
        for row, customer in enumerate(bill["customer"]):
            together = parts["amount"][customers == customer].sum()
            assert together == pytest.approx(bill["total"][row], rel=1e-12)
        named = ("energy_p2p", "energy_retail", "export", "network", "levy", "losses", "other")
        np.testing.assert_allclose(sum(bill[name] for name in named), bill["total"])
        assert bill["causal_cost"].sum() == pytest.approx(300.0 * 24.0 / 8760.0)


def test_rates_are_listed_round_by_round_and_the_last_are_those_of_the_bills(
    written: Written, tmp_path: Path, simulated: list[Scenario]
) -> None:
    *_, resolved = evaluate(job(load_study(written(SMALL)), "peak", tmp_path), silent)
    rates = closure_tables(resolved)["rate"]
    assert rates["is_final"] == [0] * (len(rates["is_final"]) - 1) + [1]
    assert set(rates["unit"]) == {"EUR/(kW a)"}
    assert resolved.billing is not None
    (charge,) = (c for c in resolved.billing.solution.charges if c.kind == "monthly_peak")
    assert rates["value"][-1] == next(rates_of(charge))[1]


def test_revenue_that_no_rate_can_recover_is_recorded_and_the_rest_goes_on(
    written: Written, tmp_path: Path, simulated: list[Scenario]
) -> None:
    text = SMALL + "  - name: nothing\n    charges: [{kind: injection, rate_eur_per_kwh: 0}]\n"
    results = evaluate(job(load_study(written(text)), "nothing", tmp_path), silent)
    assert [result.status for result in results] == ["failed"] * 3
    assert all("no rate can recover" in result.message for result in results)
    assert closure_tables(results[0]) == {}


def test_a_run_that_fails_is_recorded_and_other_closures_go_on(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def simulate(scenario: Scenario) -> RunRecord:
        if "monthly_peak" in kinds_of(scenario):
            raise SimulatorError("the battery caught fire")
        return made_up(scenario)

    monkeypatch.setattr(study_run, "simulate", simulate)
    results = evaluate(job(load_study(written(SMALL)), "peak", tmp_path), silent)
    assert [result.status for result in results] == ["complete", "failed", "failed"]
    assert results[1].message == "the battery caught fire"


def test_rates_that_do_not_settle_are_reported_as_such_with_their_path(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every reaction halves what there is to bill, so that the rate doubles again and again."""
    count = 0

    def simulate(scenario: Scenario) -> RunRecord:
        nonlocal count
        record = made_up(scenario)
        if "monthly_peak" in kinds_of(scenario):
            count += 1
            record = replace(record, net_kw=record.net_kw * 0.5**count)
        return record

    monkeypatch.setattr(study_run, "simulate", simulate)
    *_, resolved = evaluate(job(load_study(written(SMALL)), "peak", tmp_path), silent)
    assert resolved.status == "not_converged"
    assert resolved.message
    assert resolved.iterations > 2
    assert len(resolved.rounds) == resolved.iterations + 1


def test_runs_that_are_done_are_reused(
    written: Written, tmp_path: Path, simulated: list[Scenario]
) -> None:
    loaded = load_study(written(SMALL))
    first = evaluate(job(loaded, "peak", tmp_path), silent)
    done = len(simulated)
    again = evaluate(job(loaded, "peak", tmp_path), silent)
    assert len(simulated) == done
    assert all(result.reused == result.simulations for result in again)
    for one, other in zip(first, again, strict=True):
        for name, columns in closure_tables(one).items():
            for column, values in columns.items():
                np.testing.assert_array_equal(closure_tables(other)[name][column], values)


# --- customers of some levels ---


def with_a_large_customer(record: RunRecord) -> RunRecord:
    """Let the second customer be a hundred times as large, and connected at the level above."""
    net = record.net_kw * np.array([1.0, 100.0])
    customers = replace(
        record.customers,
        area=np.array([0, 1]),
        area_level=np.array([1, 2]),
        area_parent=np.array([1, -1]),
        group=("household", "lower_grid"),
    )
    area = np.stack([net[:, 0], net.sum(axis=1)], axis=1)
    bought = np.zeros((4, *net.shape))
    bought[3] = np.maximum(net, 0.0) * HOURS
    extremes = ("peak_loading_percent", "vm_min", "vm_max")
    hours = ("overload_hours", "line_overload_hours", "voltage_hours")
    by_area: dict[str, Any] = {name: np.ones(2) for name in (*extremes, *hours)}
    return replace(
        record,
        customers=customers,
        net_kw=net,
        bought_kwh=bought,
        no_trading_net_kw=net,
        area_net_kw=area,
        area_loss_kw=0.02 * np.abs(area),
        congestion_rent_eur=np.ones(SLOTS),
        load_kwh=np.maximum(net, 0.0).sum(axis=0) * HOURS,
        area_id=("LV1", "MV1"),
        area_trafo=("trafo", ""),
        area_rating_kva=np.array([100.0, np.nan]),
        **by_area,
    )


def test_the_customers_of_a_level_keep_their_own_data_and_their_part_of_the_rent(
    written: Written,
) -> None:
    whole = with_a_large_customer(made_up(load_study(written(SMALL)).base))
    part = of_levels(whole, ("microgrid",))
    assert part.customers.group == ("household",)
    np.testing.assert_array_equal(part.net_kw, whole.net_kw[:, :1])
    np.testing.assert_array_equal(part.bought_kwh, whole.bought_kwh[..., :1])
    np.testing.assert_array_equal(part.area_net_kw, whole.area_net_kw)
    share = part.meters.import_kwh.sum() / whole.meters.import_kwh.sum()
    assert part.congestion_rent_eur.sum() == pytest.approx(share * SLOTS, rel=1e-12)
    assert of_levels(whole, ()) is whole
    assert of_levels(whole, ("microgrid", "cell")) is whole
    with pytest.raises(SimulatorError, match="no customer at the level multicell; levels with"):
        of_levels(whole, ("multicell",))


def test_customers_of_other_levels_bring_no_revenue_and_have_no_bill(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference collects from the household alone, and the grid keeps the load of all."""
    monkeypatch.setattr(study_run, "simulate", lambda s: with_a_large_customer(made_up(s)))
    loaded = load_study(written(SMALL + "billed_levels: [microgrid]\n"))
    whole = with_a_large_customer(made_up(loaded.designs[0]))
    collected, _, _ = reference_run(loaded.designs[0], tmp_path, silent, ("microgrid",))
    home = of_levels(whole, ("microgrid",))
    assert collected == pytest.approx(
        RATE * home.meters.import_kwh.sum() + home.congestion_rent_eur.sum(), rel=1e-12
    )
    for result in evaluate(job(loaded, "peak", tmp_path, allowed=40_000.0), silent):
        tables = closure_tables(result)
        assert tables["bill"]["class"] == ("household",)
        revenue = tables["revenue"]
        assert revenue["allowed"][-1] == pytest.approx(40_000.0 * 24.0 / 8760.0)
        assert tables["grid"]["peak_kw"][-1] > 100.0
        kpi = dict(zip(tables["kpi"]["name"], tables["kpi"]["value"], strict=True))
        assert 0.0 <= kpi["self_sufficiency"] < 1.0
        if result.closure != "fixed":
            assert abs(revenue["gap"][-1]) < 1e-6 * revenue["allowed"][-1]


# --- tables ---


def parameters_of(loaded: LoadedStudy, **study: Any) -> dict[str, str]:
    changed = replace(loaded, study=loaded.study.model_copy(update=study))
    base = {point.number: (300.0, 20.0, 10.0) for point in points_of(changed)}
    table = assembled(changed, [], base)["parameter"]
    return dict(zip(table["name"], table["value"], strict=True))


def test_parameters_are_named_in_words_with_revenue_shares_and_seed(written: Written) -> None:
    loaded = axes(load_study(written(SMALL)), seed=(1, 2))
    found = parameters_of(loaded, billed_levels=("microgrid",))
    assert found["allowed revenue (seed 2)"] == "330"
    assert found["allowed revenue for the network of the level cell (seed 1)"] == "20"
    assert found["share of the allowed revenue for the network of the level cell"] == "0.3"
    assert found["levels of the network whose customers are billed"] == "microgrid"
    assert found["retail price without network charges, with levies"] == "0.21"
    assert found["peak: monthly peak, floor"] == "0"
    assert not any("_" in name or "kind" in name or "point" in name for name in found)


def test_prices_that_follow_the_wholesale_price_are_said_in_words(written: Written) -> None:
    more = (
        "prices.retail: {kind: dynamic, adder_eur_per_kwh: 0.15}\n"
        "  prices.wholesale: {kind: constant, price_eur_per_kwh: 0.05}\n"
        "  prices.feed_in: {kind: wholesale, margin_eur_per_kwh: -0.01, floor_eur_per_kwh: 0}"
    )
    old = "prices.retail: {kind: fixed, price_eur_per_kwh: 0.21}"
    found = parameters_of(load_study(written(SMALL.replace(old, more))))
    assert found["wholesale price"] == "0.05"
    assert found["retail price without network charges, with levies"] == "wholesale price + 0.15"
    assert found["feed-in price"] == "wholesale price -0.01, at least 0"
    assert found["allowed revenue"] == "330"


def test_tables_hold_every_column_for_every_run_and_failures_with_their_message(
    written: Written, tmp_path: Path, simulated: list[Scenario]
) -> None:
    loaded = load_study(written(SMALL))
    (point,) = points_of(loaded)
    outcomes = [
        Outcome(
            point, "volumetric", result.closure, result.status, "", tables=closure_tables(result)
        )
        for result in evaluate(job(loaded, "volumetric", tmp_path), silent)
    ]
    outcomes.append(Outcome(point, "peak", "none", "failed", "no such luck"))
    tables = assembled(loaded, outcomes, {0: (300.0, 0.0, 0.0)})
    for name, table in TABLES.items():
        assert set(tables[name]) == {column.name for column in table.columns}, name
        assert len({len(values) for values in tables[name].values()}) == 1, name
    assert list(tables["run"]["status"]) == ["complete"] * 3 + ["failed"]
    assert tables["run"]["message"][3] == "no such luck"
    assert set(tables["bill"]["run"]) == {0, 1, 2}
    assert "share_clearly_worse" in tables["kpi"]["name"]


def test_day_and_hour_of_interfaces_follow_local_time(
    written: Written, tmp_path: Path, simulated: list[Scenario]
) -> None:
    """The run starts at midnight UTC, which is 02:00 in Berlin in May."""
    (none, *_) = evaluate(job(load_study(written(SMALL)), "peak", tmp_path), silent)
    days = closure_tables(none)["day_matrix"]
    assert days["hour"][0] == 2.0
    first = np.datetime64("2016-05-23", "D").astype(int)
    assert (days["day"][0], days["day"][-1]) == (first, first + 1)


def test_the_calendar_of_a_record_has_its_zone(written: Written) -> None:
    record = made_up(load_study(written(SMALL)).base)
    assert isinstance(record.calendar, Calendar)
    assert record.calendar.zone == "Europe/Berlin"


# --- the whole, with processes ---


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Address of a cluster in this process, which has imported already what workers need."""
    cluster_of: Any = LocalCluster  # its own annotations are incomplete
    with cluster_of(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    ) as running:
        yield running.scheduler_address


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Carry out the small study once; gives the study file and the folder of the results."""
    folder = tmp_path_factory.mktemp("study")
    file = folder / "study.yaml"
    file.write_text(SMALL, encoding="utf-8")
    outcome = run_study(load_study(str(file)), folder / "out", workers=1)
    assert outcome.state.failed == 0, outcome.messages
    return file, folder / "out"


def test_a_study_of_real_runs_recovers_the_allowed_revenue(studied: tuple[Path, Path]) -> None:
    with open_study(studied[1] / "small.study.h5") as study:
        revenue = study.table("revenue", with_run=True)
        whole = revenue[revenue["level"] == "all"].set_index(["design", "closure"])
        runs = study.table("run")
        bills = study.table("bill")
    assert set(runs["status"]) == {"complete"}
    for closure in ("none", "resolved"):
        gap = whole.xs(closure, level="closure")
        assert (gap["gap"].abs() <= 1e-6 * gap["allowed"]).all()
    assert np.isfinite(bills["total"]).all()
    assert len(bills) == 6 * bills["customer"].nunique()


def test_a_study_goes_on_with_the_runs_that_are_there(
    studied: tuple[Path, Path], cluster: str
) -> None:
    """Half of the records are lost, as after an interruption: only those are simulated."""
    file, folder = studied
    records = sorted((folder / "runs").glob("*.h5"))
    for record in records[::2]:
        record.unlink()
    outcome = run_study(load_study(str(file)), folder, scheduler=cluster, force=True)
    assert outcome.state.simulated == len(records[::2])
    assert sorted((folder / "runs").glob("*.h5")) == records


def test_a_study_with_a_failed_design_is_written_and_ends_with_an_exit_code_of_its_own(
    studied: tuple[Path, Path], cluster: str, tmp_path: Path
) -> None:
    file, folder = studied
    nothing = "  - name: nothing\n    charges: [{kind: injection, rate_eur_per_kwh: 0}]\n"
    text = file.read_text().replace("designs:\n", "designs:\n" + nothing)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text)
    copytree(folder / "runs", tmp_path / "out" / "runs")
    command = ["study", str(wrong), "-o", str(tmp_path / "out"), "--quiet", "--scheduler", cluster]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "nothing, closure fixed" in result.output
    assert "no rate can recover" in result.output
    with open_study(tmp_path / "out" / "small.study.h5") as results:
        status = results.table("run").groupby("design")["status"].unique()
    assert list(status["nothing"]) == ["failed"]
    assert list(status["volumetric"]) == ["complete"]


def test_existing_results_are_not_overwritten(studied: tuple[Path, Path]) -> None:
    file, folder = studied
    with pytest.raises(ResultsError, match=r"exist already.*--force"):
        run_study(load_study(str(file)), folder)


def test_existing_results_are_seen_before_anything_starts(studied: tuple[Path, Path]) -> None:
    file, folder = studied
    result = CliRunner().invoke(app, ["study", str(file), "-o", str(folder)])
    assert result.exit_code == 2
    assert result.output.startswith("error: The results")


def test_a_cluster_gives_what_local_processes_give(
    studied: tuple[Path, Path], cluster: str, tmp_path: Path
) -> None:
    file, folder = studied
    run_study(load_study(str(file)), tmp_path, scheduler=cluster)
    with (
        open_study(folder / "small.study.h5") as one,
        open_study(tmp_path / "small.study.h5") as two,
    ):
        for name in TABLES:
            left, right = one.table(name), two.table(name)
            if name == "run":
                clock = ["seconds", "reused"]
                left, right = left.drop(columns=clock), right.drop(columns=clock)
            assert left.equals(right), name


def test_a_scheduler_that_is_not_there_is_a_clear_error(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tricell.scenarios.study_engine.CONNECT_TIMEOUT_S", 1)
    with pytest.raises(ResultsError, match=r"no Dask scheduler at `tcp://127\.0\.0\.1:9`"):
        run_study(load_study(written(SMALL)), tmp_path, scheduler="tcp://127.0.0.1:9")


def test_a_stopped_study_says_how_it_goes_on(
    written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tricell.scenarios.study_engine.run_study", stopped)
    result = CliRunner().invoke(app, ["study", written(SMALL), "-o", str(tmp_path), "--quiet"])
    assert result.exit_code == 130
    assert "the same command goes on from there" in " ".join(result.output.split())


def test_the_command_shows_the_plan_without_running_it(written: Written) -> None:
    result = CliRunner().invoke(app, ["study", written(SMALL), "--dry"])
    assert result.exit_code == 0
    assert "volumetric (reference)" in result.output
    assert "none, fixed, resolved" in result.output
    assert "2 designs x 1 point x 3 closures = 6" in result.output
    assert "at least 2, at most 11" in result.output


def test_a_plan_of_many_points_names_the_first_ones(written: Written) -> None:
    seeds = ", ".join(str(seed) for seed in range(25))
    path = written(SMALL + f"axes: {{seed: [{seeds}]}}\n")
    result = CliRunner().invoke(app, ["study", path, "--dry"])
    assert result.output.count("UTC") == 10
    assert "... and 15 more" in result.output


def test_without_a_study_those_that_are_shipped_are_named() -> None:
    result = CliRunner().invoke(app, ["study"])
    assert result.exit_code == 2
    for word in ("Which study?", *shipped_study_names(), "tricell list studies"):
        assert word in result.output


def test_shipped_studies_are_listed_with_what_they_ask() -> None:
    result = CliRunner().invoke(app, ["list", "studies"])
    assert result.exit_code == 0
    for name in shipped_study_names():
        assert name in result.output
