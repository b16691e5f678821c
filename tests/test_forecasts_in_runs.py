"""Forecasts at the gate in real runs: what is placed, what flows, and who pays for the difference.

A quarter of a sunny day of the village, with tight limits, so that plants are held back at noon.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from tricell.errors import DataError, ScenarioError
from tricell.markets.forecast_error import ErrorModel, accuracy_of_areas
from tricell.results import layout
from tricell.scenarios import runner
from tricell.scenarios.network import load_network
from tricell.scenarios.participants import build_population
from tricell.scenarios.resumption import resume_run
from tricell.scenarios.runner import run_scenario
from tricell.scenarios.scenario_file import Override, load_scenario
from tricell.simulators.household_power import AgentPower
from tricell.simulators.population import Population, Profiles
from tricell.simulators.power_forecast import (
    Ar1Forecast,
    PersistenceForecast,
    PowerForecast,
    RunSlots,
    Source,
    like_the_last_day,
)

Floats = NDArray[np.float64]

NOON = (
    "time.start=2016-05-23T10:00Z",
    "time.days=0.125",
    "limits.trafo_loading_percent=25",
    "limits.voltage_max_pu=1.05",
    "participants.adoption.participation=0.8",
    "prices.levies_eur_per_kwh=0.02",
    "charges=[{kind: volumetric, rate_eur_per_kwh: 0.05}]",
)
JOINT, LOCAL = "market.coordination=joint", "market.coordination=local_first"
REDISPATCH = "market.network=redispatch"
ERRORS = "forecasts={kind: ar1, sigma: {load: 0.1, pv: 0.3}}"
DUAL, UCS = "imbalance={kind: dual}", "imbalance={kind: ucs}"
SINGLE_EUR = 0.19
SINGLE = "imbalance={kind: single, price: {kind: fixed, price_eur_per_kwh: 0.19}}"
RUNS = {
    "joint dual": (JOINT, ERRORS, DUAL),
    "joint single": (JOINT, ERRORS, SINGLE),
    "joint ucs": (JOINT, ERRORS, UCS),
    "local dual": (LOCAL, REDISPATCH, ERRORS, DUAL),
    "local single": (LOCAL, REDISPATCH, ERRORS, SINGLE),
    "local ucs": (LOCAL, REDISPATCH, ERRORS, UCS),
}
FREE = (*NOON[:2], "prices.fees={microgrid: 0, cell: 0, multicell: 0}", JOINT, ERRORS, UCS)
HOURS = 0.25
EUR = 1e-9
KWH = 1e-6


@dataclass(frozen=True)
class Run:
    """A finished run's file."""

    path: Path

    def read(self, name: str) -> Any:
        with h5py.File(self.path) as file:
            return file[name][()]

    def agent(self, name: str) -> Floats:
        return np.asarray(self.read(f"timeseries/agent/{name}"))

    def slot(self, name: str) -> Floats:
        return np.asarray(self.read(f"timeseries/slot/{name}"))

    def table(self, name: str) -> dict[str, Any]:
        with h5py.File(self.path) as file:
            return {column: each[()] for column, each in file[f"tables/{name}"].items()}

    def datasets(self) -> dict[str, Any]:
        """Bits of every dataset but the clock and what the run was asked for."""
        found: dict[str, Any] = {}

        def take(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and not name.startswith(("tables/timing", "meta")):
                values = np.asarray(item[()])
                found[name] = values.tolist() if values.dtype == object else values.tobytes()

        with h5py.File(self.path) as file:
            file.visititems(take)
        return found

    @property
    def deviation_kwh(self) -> Floats:
        return (self.agent("p_net") - self.agent("p_contracted")) * HOURS

    @property
    def trades(self) -> NDArray[np.bool_]:
        """Who has a contract: whoever deviates in any slot."""
        return np.asarray((self.deviation_kwh != 0.0).any(axis=0))

    def balance(self, *kinds: layout.PostingKind) -> Floats:
        """What each party receives less what it pays, EUR, shape (party, slots); all kinds."""
        posting = self.table("posting")
        times, slot = np.unique(posting["time"], return_inverse=True)
        chosen = np.isin(posting["kind"], kinds) if kinds else np.ones(len(slot), np.bool_)
        balance = np.zeros((len(layout.Party), len(times)))
        np.add.at(balance, (posting["payee"][chosen], slot[chosen]), posting["amount"][chosen])
        np.subtract.at(balance, (posting["payer"][chosen], slot[chosen]), posting["amount"][chosen])
        return balance


def run(folder: Path, name: str, *assignments: str) -> Run:
    options = [Override.from_assignment(text) for text in assignments]
    return Run(run_scenario(load_scenario("village", options), folder / f"{name}.h5").output)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    return {name: run(folder, name, *NOON, *options) for name, options in RUNS.items()}


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run without binding limits and fees."""
    return run(tmp_path_factory.mktemp("free"), "free", *FREE)


# --- money and energy ---


@pytest.mark.parametrize("name", RUNS)
def test_money_is_kept_in_every_slot(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    np.testing.assert_allclose(run.balance().sum(axis=0), 0.0, rtol=0, atol=EUR)
    bill, receipt = run.table("bill"), run.table("receipt")
    parts = [part for part in layout.BILL_PARTS if part in bill]
    np.testing.assert_allclose(sum(bill[part] for part in parts), bill["total"], rtol=0, atol=EUR)
    paid = np.bincount(receipt["agent"], receipt["amount"], len(bill["total"]))
    np.testing.assert_allclose(paid, bill["total"], rtol=0, atol=EUR)
    assert np.abs(bill["imbalance"]).sum() > 0.1


@pytest.mark.parametrize("name", RUNS)
def test_contracts_and_deviations_are_what_the_meters_tell(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    receipt, net = run.table("receipt"), run.agent("p_net") * HOURS
    traded = [layout.PostingKind[one] for one in ("ENERGY_P2P", "ENERGY_RETAIL", "EXPORT", "FLEX")]

    def energy(*kinds: layout.PostingKind) -> Floats:
        chosen = np.isin(receipt["kind"], kinds)
        by_agent = np.bincount(receipt["agent"][chosen], receipt["energy"][chosen], net.shape[1])
        return np.asarray(by_agent, dtype=np.float64)

    contracted = run.agent("p_contracted").sum(axis=0) * HOURS
    np.testing.assert_allclose(energy(*traded), contracted, rtol=0, atol=KWH)
    of_imbalance = energy(layout.PostingKind.IMBALANCE)
    np.testing.assert_allclose(of_imbalance, run.deviation_kwh.sum(axis=0), rtol=0, atol=KWH)
    np.testing.assert_allclose(
        energy(*traded, layout.PostingKind.IMBALANCE), net.sum(axis=0), rtol=0, atol=KWH
    )


@pytest.mark.parametrize("name", ["joint dual", "local dual"])
def test_with_two_prices_energy_too_much_costs_retail_and_too_little_earns_feed_in(
    runs: dict[str, Run], name: str
) -> None:
    run = runs[name]
    deviation = run.deviation_kwh
    retail, feed_in = run.slot("retail_price")[:, None], run.slot("feed_in_price")[:, None]
    cost = np.where(deviation > 0.0, retail, feed_in) * deviation
    np.testing.assert_allclose(run.table("bill")["imbalance"], cost.sum(axis=0), rtol=0, atol=EUR)
    net = deviation.sum(axis=1)
    outside = np.where(net > 0.0, retail[:, 0], feed_in[:, 0]) * net
    kinds = layout.PostingKind
    posting = run.table("posting")
    by_operator = posting["payer"] == layout.Party.OPERATOR
    levied = by_operator & np.isin(posting["kind"], (kinds.NETWORK, kinds.LEVY))
    to_dso = posting["amount"][levied].sum()
    assert to_dso == pytest.approx(np.maximum(net, 0.0).sum() * (0.02 + 0.05), rel=1e-9)
    kept = run.balance(kinds.IMBALANCE)[layout.Party.OPERATOR]
    assert kept.sum() - to_dso == pytest.approx(cost.sum() - outside.sum(), abs=1e-8)
    assert (kept >= -EUR).all()


@pytest.mark.parametrize("name", ["joint single", "local single"])
def test_with_a_single_price_all_deviations_cost_it(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    cost = run.deviation_kwh.sum(axis=0) * SINGLE_EUR
    np.testing.assert_allclose(run.table("bill")["imbalance"], cost, rtol=0, atol=EUR)


def test_shared_costs_leave_nothing_with_the_operator_where_all_areas_have_one_price(
    free: Run,
) -> None:
    with h5py.File(free.path) as file:
        prices = [
            file[f"timeseries/{level}/price"][()]
            for level in layout.AREA_LEVELS
            if level in file["timeseries"]
        ]
    assert np.ptp(np.concatenate(prices, axis=1), axis=1).max() < 1e-9
    operator = free.balance()[layout.Party.OPERATOR]
    np.testing.assert_allclose(operator, 0.0, rtol=0, atol=1e-8)
    assert np.abs(free.table("bill")["imbalance"]).sum() > 0.1


def test_whoever_does_not_trade_has_no_imbalance(runs: dict[str, Run]) -> None:
    run = runs["local dual"]
    bill = run.table("bill")
    alone = (run.deviation_kwh == 0.0).all(axis=0)
    assert 0.1 < alone.mean() < 0.4
    assert (run.agent("p_load_forecast") != run.agent("p_load"))[:, alone].any()
    assert (bill["imbalance"][alone] == 0.0).all()
    assert (bill["bought_p2p"][alone] == 0.0).all()


# --- physics ---


@pytest.mark.parametrize("name", ["joint dual", "local dual"])
def test_what_flows_is_what_the_meters_tell(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    trafo, areas = run.table("trafo"), run.table("area")
    member = run.table("agent")["area"]
    flow = run.read("timeseries/trafo/p_from")
    checked = 0
    for row, (area, level) in enumerate(zip(areas["area"], areas["level"], strict=True)):
        fed_by = [t for t, of in enumerate(trafo["area"]) if of == area]
        if level != b"microgrid" or areas["parent"][row] == b"":
            continue
        column = [*run.read(f"timeseries/{level.decode()}/{level.decode()}")].index(area)
        lost = run.read(f"timeseries/{level.decode()}/loss")[:, column]
        net, contracted = (
            run.agent(which)[:, member == area].sum(axis=1) for which in ("p_net", "p_contracted")
        )
        through = flow[:, fed_by].sum(axis=1)
        np.testing.assert_allclose(through, net + lost, rtol=0, atol=1e-2)
        assert np.abs(through - contracted - lost).max() > 0.1
        checked += 1
    assert checked == 2


@pytest.mark.parametrize("name", ["joint dual", "local dual"])
def test_plants_feed_in_what_comes_unless_they_are_held_back(
    runs: dict[str, Run], name: str
) -> None:
    run = runs[name]
    made, comes = run.agent("p_pv")[:, run.trades], run.agent("p_pv_available")[:, run.trades]
    expected = run.agent("p_pv_forecast")[:, run.trades]
    held_back = made < comes - 1e-6
    assert held_back.any()
    assert (made[held_back] <= expected[held_back] + 1e-6).all()
    assert (made <= comes + 1e-9).all()
    freely = ~held_back & (comes > expected)
    assert freely.any()
    assert np.abs(made[freely] - comes[freely]).max() <= 1e-6


def test_forecasts_miss_by_about_sigma_and_their_errors_are_recorded(runs: dict[str, Run]) -> None:
    run = runs["joint dual"]
    pv = run.agent("p_pv_available")
    with_pv = (pv > 0.0).all(axis=0)
    relative = pv[:, with_pv] / run.agent("p_pv_forecast")[:, with_pv] - 1.0
    assert relative.std() == pytest.approx(0.3, rel=0.25)
    net = (run.agent("p_load") - pv) * HOURS
    forecast = (run.agent("p_load_forecast") - run.agent("p_pv_forecast")) * HOURS
    areas, told = run.table("area"), run.table("forecast")
    assert told["area"].tolist() == areas["area"].tolist()
    own = run.table("agent")["area"]
    above = dict(zip(areas["area"], areas["parent"], strict=True))
    for row, area in enumerate(areas["area"]):
        inside = np.zeros(len(own), np.bool_)
        here = own.copy()
        while (here != b"").any():
            inside |= here == area
            here = np.array([above.get(each, b"") for each in here], dtype=object)
        wanted = accuracy_of_areas(net, forecast, np.where(inside, 0, 1), 1)[0]
        assert told["mae"][row] == pytest.approx(wanted.mae_kwh)
        assert told["wape"][row] == pytest.approx(wanted.wape)
        assert told["member_mae"][row] == pytest.approx(wanted.member_mae_kwh)
        assert told["member_wape"][row] == pytest.approx(wanted.member_wape)


# --- bits ---


def test_without_errors_a_run_is_that_of_perfect_forecasts(tmp_path: Path) -> None:
    perfect = run(tmp_path, "perfect", *NOON, LOCAL, REDISPATCH).datasets()
    without = "forecasts={kind: ar1, sigma: {load: 0, pv: 0.0}}"
    found = run(tmp_path, "without", *NOON, LOCAL, REDISPATCH, without, DUAL)
    assert found.datasets() == perfect
    assert not (found.table("posting")["kind"] == layout.PostingKind.IMBALANCE).any()


def test_the_seed_decides_about_errors_and_nothing_else_does(
    runs: dict[str, Run], free: Run, tmp_path: Path
) -> None:
    again = run(tmp_path, "again", *NOON, *RUNS["local ucs"])
    assert again.datasets() == runs["local ucs"].datasets()
    other = run(tmp_path, "other", *FREE, "seed=2")
    np.testing.assert_array_equal(other.agent("p_load"), free.agent("p_load"))
    differs = other.agent("p_load_forecast") != free.agent("p_load_forecast")
    assert differs[free.agent("p_load") > 0.0].all()


def test_a_run_with_errors_that_was_stopped_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("time.start=2016-05-23T00:00Z", "time.days=1.25", "output.checkpoint_s=0", ERRORS)
    whole = run(tmp_path, "whole", *options)
    scenario = load_scenario("village", [Override.from_assignment(text) for text in options])
    output = tmp_path / "stopped.h5"

    def stop(done: int) -> None:
        if done == 100:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(runner, "_reporter", lambda *_: stop)
        with pytest.raises(KeyboardInterrupt, match="--resume"):
            run_scenario(scenario, output, progress=lambda *_: None)
    assert Run(resume_run(output).output).datasets() == whole.datasets()


# --- forecasts themselves ---


@cache
def village() -> Population:
    scenario = load_scenario("village", [])
    return build_population(scenario, load_network(scenario).net)


def test_perfect_forecasts_are_the_truth_and_after_the_run_the_last_day() -> None:
    run = RunSlots(first_row=1000, count=200, per_day=96)
    truth = AgentPower(village()).block(1000, 200)
    forecast = PowerForecast(village(), run)
    np.testing.assert_array_equal(forecast.of_slots(90, 20).p_load_kw, truth.p_load_kw[90:110])
    load, generation = forecast.ahead(150, 96)
    np.testing.assert_array_equal(load[:50], truth.p_load_kw[150:])
    np.testing.assert_array_equal(load[50:], truth.p_load_kw[104:150])
    np.testing.assert_array_equal(generation[:50], truth.p_generation_available_kw[150:])
    assert like_the_last_day(np.array([5, 9]), 6, 4).tolist() == [5, 5]


def test_persistence_knows_the_latest_day_that_is_over_and_nothing_later() -> None:
    run = RunSlots(first_row=1000, count=200, per_day=96)
    past = AgentPower(village()).block(1000 - 96, 296).p_load_kw
    forecast = PersistenceForecast(village(), run)
    np.testing.assert_array_equal(forecast.of_slots(0, 200).p_load_kw, past[:200])
    load, _ = forecast.ahead(40, 120)
    np.testing.assert_array_equal(load[:96], past[40:136])
    np.testing.assert_array_equal(load[96:], past[40:64])


def test_before_the_first_row_of_profiles_persistence_takes_their_last_days() -> None:
    rows = len(village().profiles.values)
    forecast = PersistenceForecast(village(), RunSlots(first_row=10, count=96, per_day=96))
    every = AgentPower(village())
    load = forecast.of_slots(0, 96).p_load_kw
    np.testing.assert_array_equal(load[:86], every.block(rows - 86, 86).p_load_kw)
    np.testing.assert_array_equal(load[86:], every.block(0, 10).p_load_kw)


def test_persistence_needs_a_day_of_profiles() -> None:
    profiles = village().profiles
    short = Profiles(profiles.values[:95], profiles.columns, profiles.start, profiles.step_s)
    population = Population(**{**vars(village()), "profiles": short})
    told = r"profiles \(of this scenario\) are shorter than a day"
    with pytest.raises(DataError, match=told):
        PersistenceForecast(population, RunSlots(0, 95, 96))


def test_errors_of_a_slot_do_not_depend_on_what_else_is_asked_for() -> None:
    run, models = RunSlots(1000, 300, 96), {Source.PV: ErrorModel(0.2, 0.9)}
    whole = Ar1Forecast(village(), run, models, 1).of_slots(0, 300)
    later = Ar1Forecast(village(), run, models, 1)
    load, generation = later.ahead(205, 95)
    np.testing.assert_array_equal(generation, whole.p_generation_available_kw[205:])
    np.testing.assert_array_equal(later.of_slots(96, 96).q_load_kvar, whole.q_load_kvar[96:192])
    truth = AgentPower(village()).block(1205, 95)
    np.testing.assert_array_equal(load, truth.p_load_kw)
    assert (generation != truth.p_generation_available_kw).any()


def test_no_plant_is_expected_to_give_more_than_its_rated_power() -> None:
    wild = {Source.PV: ErrorModel(0.8, 0.9)}
    forecast = Ar1Forecast(village(), RunSlots(0, 96 * 180, 96), wild, 1).of_slots(96 * 170, 96)
    truth = AgentPower(village()).block(96 * 170, 96)
    devices = village().devices
    rated = np.bincount(devices.agent, devices.rated_kw * devices.generates, len(village().agents))
    given = forecast.p_generation_available_kw
    assert (given <= np.maximum(rated, truth.p_generation_available_kw) + 1e-9).all()
    assert ((given == rated) & (rated > 0)).any(), "so large an error reaches the rated power"


# --- refusals ---


@pytest.mark.parametrize(
    ("assignments", "told"),
    [
        (("forecasts={kind: ar1, sigma: {pv: -0.1}}",), r"forecasts\.sigma\.pv"),
        (("forecasts={kind: ar1, sigma: {pv: 0.1}, correlation: 1}",), r"forecasts\.correlation"),
        (("forecasts={kind: ar1}",), r"sigma` is missing in `forecasts`"),
        (("forecasts={kind: ar1, sigma: {roof: 0.1}}",), "`roof` is not a field"),
        (("forecasts={kind: weather}",), "ar1, perfect or persistence"),
        ((ERRORS, "imbalance={kind: single}"), r"price` is missing in `imbalance`"),
        ((ERRORS, "imbalance={kind: triple}"), "dual, single or ucs"),
        ((UCS,), "there is no imbalance to settle"),
    ],
)
def test_wrong_sections_are_refused_by_name(assignments: tuple[str, ...], told: str) -> None:
    with pytest.raises(ScenarioError, match=told):
        load_scenario("village", [Override.from_assignment(text) for text in assignments])
