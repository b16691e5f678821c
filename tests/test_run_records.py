"""What a run writes down beside its schedules: every transformer, breaches, energy in store."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tricell.errors import PowerFlowError
from tricell.results.reader import open_results
from tricell.results.summary import print_summary, summarise
from tricell.results.validation import validate
from tricell.scenarios.prices_of_owners import owner_prices
from tricell.scenarios.runner import run_scenario
from tricell.scenarios.scenario_file import Override, load_scenario
from tricell.scenarios.schema import Scenario
from tricell.scenarios.shipped import shipped_names
from tricell.scenarios.world import build_world

NETWORK = """
name: network
time: {{start: 2016-05-23T06:00Z, days: 0.125}}
grid: {{source: {{kind: pandapower, function: {function}}}}}
participants: {{profiles: constant, extra: [{extra}]}}
prices:
  wholesale: {{kind: de_lu_2019}}
  retail: {{kind: dynamic, adder_eur_per_kwh: 0.25}}
  feed_in: {{kind: fixed, price_eur_per_kwh: 0.05}}
"""
BATTERY_HOME = (
    "{name: home, bus: Bus R18, load_kw: 2, pv_kwp: 9, pv_profile: any, "
    "battery_kwh: 10, battery_kw: 5}"
)
HEAVY_LOAD = "{name: works, bus: Bus R18, load_kw: 5000}"


def scenario_of(tmp_path: Path, function: str, extra: str = "", *overrides: str) -> Scenario:
    path = tmp_path / "network.yaml"
    path.write_text(NETWORK.format(function=function, extra=extra))
    return load_scenario(str(path), [Override.from_assignment(text) for text in overrides])


@pytest.mark.parametrize("name", shipped_names())
def test_results_of_a_shipped_scenario_follow_the_layout(name: str, tmp_path: Path) -> None:
    scenario = load_scenario(name, [Override.from_assignment("time.days=0.0625")])
    assert validate(run_scenario(scenario, tmp_path / "run.h5").output).deviations == ()


@pytest.mark.parametrize("function", ["example_multivoltage", "create_cigre_network_mv"])
def test_results_of_other_networks_follow_the_layout(function: str, tmp_path: Path) -> None:
    outcome = run_scenario(scenario_of(tmp_path, function), tmp_path / "run.h5")
    assert validate(outcome.output).deviations == ()


def test_a_transformer_with_three_windings_is_recorded_beside_the_others(tmp_path: Path) -> None:
    outcome = run_scenario(scenario_of(tmp_path, "example_multivoltage"), tmp_path / "run.h5")
    with open_results(outcome.output) as results:
        names = list(results.table("trafo")["trafo"])
        loading = results.frame("trafo", "loading")["HV-MV-MV-Trafo"]
    assert names == ["EHV-HV-Trafo", "MV-LV-Trafo", "HV-MV-MV-Trafo"]
    assert (loading > 0.0).all()


def test_a_voltage_limit_that_cannot_hold_is_told_in_the_summary(tmp_path: Path) -> None:
    scenario = scenario_of(tmp_path, "create_cigre_network_lv", "", "limits.voltage_min_pu=0.99")
    outcome = run_scenario(scenario, tmp_path / "run.h5")
    console = Console(width=100, record=True, file=StringIO())
    print_summary(summarise(outcome.output), console)
    assert "voltage limits, priced at" in console.export_text()


def test_the_energy_in_store_at_the_end_follows_from_the_last_slot(tmp_path: Path) -> None:
    scenario = scenario_of(tmp_path, "create_cigre_network_lv", BATTERY_HOME)
    outcome = run_scenario(scenario, tmp_path / "run.h5")
    with open_results(outcome.output) as results:
        power_kw = results.frame("agent", "p_storage")["home"].to_numpy()
        stored_kwh = results.frame("agent", "soc")["home"].to_numpy()
        figures = results.kpis["run"]
    efficiency, hours = 0.95, 0.25
    gained_kwh = np.where(power_kw > 0.0, power_kw * efficiency, power_kw / efficiency) * hours
    assert power_kw.max() > 0.0
    # Rounding of sums over twelve slots only: the extra participant's battery loses nothing.
    np.testing.assert_allclose(np.cumsum(gained_kwh)[:-1], stored_kwh[1:], atol=1e-9)
    assert figures["stored_energy_end"] == pytest.approx(gained_kwh.sum(), abs=1e-9)
    assert figures["stored_energy_end_no_trading"] == pytest.approx(gained_kwh.sum(), abs=1e-6)


def test_a_state_without_solution_is_told_with_its_slot(tmp_path: Path) -> None:
    scenario = scenario_of(tmp_path, "create_cigre_network_lv", HEAVY_LOAD)
    with pytest.raises(PowerFlowError, match=r"Slot 0 \(2016-05-23T06:00:00 UTC\)"):
        run_scenario(scenario, tmp_path / "run.h5")
    assert not (tmp_path / "run.h5").exists()


def test_a_strategy_knows_the_prices_of_the_calendar_day(tmp_path: Path) -> None:
    """A run from 06:00 has 18 hours of its first day ahead of it, not 24."""
    scenario = scenario_of(tmp_path, "create_cigre_network_lv", BATTERY_HOME, "time.days=2")
    world = build_world(scenario)
    prices = owner_prices(world, world.population.batteries.agent)
    known = [prices.known_at(slot) for slot in (0, 71, 72)]
    assert [len(prices.day_retail_eur_per_kwh) for prices in known] == [72, 72, 96]
    assert [prices.slot_of_day for prices in known] == [0, 71, 0]


TIMES = ("calls", "seconds")


def test_runs_that_tell_the_value_of_looking_ahead_are_no_time_of_mosaik(tmp_path: Path) -> None:
    strategy = "participants.strategy={kind: lookahead, measure_value: true}"
    scenario = scenario_of(tmp_path, "create_cigre_network_lv", BATTERY_HOME, strategy)
    with open_results(run_scenario(scenario, tmp_path / "run.h5").output) as results:
        timing = results.table("timing")
    calls, seconds = (dict(zip(timing["part"], timing[name], strict=True)) for name in TIMES)
    assert calls["reference runs"] == 1
    assert seconds["reference runs"] > seconds["mosaik"]
