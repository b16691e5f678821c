"""The golden files of every minor version are read as ever, with the same numbers.

The numbers are those that the program printed when the file was made, see tests/golden/README.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.golden.make import HERE, golden_path
from tests.golden_file import unpacked_golden

from tricell.results import layout
from tricell.results.reader import Results, open_results
from tricell.results.validation import validate

VERSIONS = sorted(path.name.removeprefix("results-")[:-6] for path in HERE.glob("results-*.h5.gz"))
IMBALANCE_EUR, FLEXIBILITY_EUR = 4.37776593293726, -0.8960186176748575
"""As the bills of 1.1 say."""
EXACT = 1e-12
"""Sums of the same stored numbers; only their order may differ."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    with open_results(unpacked_golden(tmp_path_factory.mktemp("golden"), "1.0.0")) as opened:
        yield opened


def test_there_is_a_golden_file_of_every_minor_version() -> None:
    minor = int(layout.SCHEMA_VERSION.split(".")[1])
    assert [f"1.{number}" for number in range(minor + 1)] == VERSIONS
    assert golden_path(layout.SCHEMA_VERSION).is_file()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_golden_file_follows_the_layout(version: str, tmp_path: Path) -> None:
    checked = validate(unpacked_golden(tmp_path, version))
    assert checked.deviations == ()
    assert checked.notes == ()
    assert checked.schema_version.startswith(f"{version}.")


def test_the_run_of_1_0_says_what_it_was(results: Results) -> None:
    assert results.status == "complete"
    assert results.attrs["number_of_slots"] == 12
    assert results.attrs["time_zone_local"] == "Europe/Berlin"
    assert "coordination: local_first" in results.scenario_yaml
    assert results.provenance["inputs"][0]["licence"] == "ODbL-1.0"
    tables = {name for name, table in layout.TABLES.items() if layout.is_in(table, "1.0.0")}
    groups = {name for name, group in layout.SERIES.items() if layout.is_in(group, "1.0.0")}
    assert set(results.tables) == tables
    assert set(results.groups) == groups - {"multicell"}


def test_the_series_of_1_0_have_their_numbers(results: Results) -> None:
    net = results.frame("agent", "p_net")
    assert net.shape == (12, 26)
    assert net.index[0] == pd.Timestamp("2016-05-23T16:00", tz="UTC")
    assert net.to_numpy().sum() == pytest.approx(-314.41822982113354, rel=EXACT)
    imported = results.frame("cell", "p_import")
    np.testing.assert_allclose(imported["MV1.101"], net.sum(axis=1), atol=1e-9)
    slots = results.slots()
    assert set(slots["verdict"]) == {"limits_met"}
    # As f4 stores it.
    assert slots["vm_min"].min() == np.float32(0.9892204403877258)
    assert results.frame("bus", "vm").to_numpy().min() == slots["vm_min"].min()


def test_the_money_of_1_0_has_its_amounts(results: Results) -> None:
    bills = results.table("bill")
    assert bills["total"].sum() == pytest.approx(7.567266672467635, rel=EXACT)
    assert bills["levy"].sum() == pytest.approx(2.540454, abs=1e-6)
    charges = results.table("charge").set_index("charge")["revenue"]
    # Figures as printed, to six digits.
    assert charges.to_dict() == pytest.approx(
        {
            "fees": 0.0,
            "Flanders capacity": 1.303957,
            "Flanders energy": 3.463812,
            "trading fee": 0.196275,
        },
        abs=1e-6,
    )
    trades = results.table("trade")
    assert len(trades) == 24
    assert trades["energy"].sum() == pytest.approx(225.25470216682496, rel=EXACT)
    assert trades["level"].value_counts().to_dict() == {
        "microgrid": 12,
        "retail": 12,
        "cell": 0,
        "multicell": 0,
    }


def test_the_key_figures_of_1_0_speak_of_all_kinds_of_things(results: Results) -> None:
    table = results.table("kpi")
    assert set(table["scope_kind"]) == set(layout.SCOPE_KINDS)
    run = results.kpis["run"]
    assert run["self_sufficiency"] == pytest.approx(0.6738554462381554, rel=EXACT)
    assert run["import"] == pytest.approx(63.51134120690019, rel=EXACT)
    assert None in {value for figures in results.kpis.values() for value in figures.values()}


# --- 1.1 ---


@pytest.fixture(scope="module")
def of_1_1(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    with open_results(unpacked_golden(tmp_path_factory.mktemp("golden"), "1.1.0")) as opened:
        yield opened


def test_the_run_of_1_1_has_all_that_was_added(of_1_1: Results) -> None:
    assert of_1_1.attrs["schema_version"] == "1.1.0"
    assert set(of_1_1.tables) == set(layout.TABLES)
    assert set(of_1_1.groups) == set(layout.SERIES) - {"multicell"}
    agent = {variable.name for variable in layout.SERIES["agent"].variables}
    assert set(of_1_1.variables("agent")) == agent
    device = {variable.name for variable in layout.SERIES["device"].variables}
    assert set(of_1_1.variables("device")) == device
    told = {name for name, value in of_1_1.kpis["run"].items() if value is not None}
    assert {"vehicle_energy", "shared_battery_cycles", "imbalance_cost", "forecast_mae"} <= told


def test_devices_of_1_1_have_their_totals(of_1_1: Results) -> None:
    devices = of_1_1.table("device").set_index("device")
    assert devices["kind"].to_dict() == {
        "car": "vehicle",
        "late car": "vehicle",
        "LV1.201 Load 4 heat pump": "heat_store",
        "appliances of LV1.101 Load 4": "appliance",
        "shared battery": "shared_battery",
    }
    energy = of_1_1.frame("device", "p").sum() * 0.25
    np.testing.assert_allclose(energy, devices["energy"].to_numpy(), atol=1e-12)
    # 20 kWh into the battery at an efficiency of 0.9, with enough time for 3.7 kW.
    assert devices["energy"]["late car"] == pytest.approx(20.0 / 0.9, rel=EXACT)
    assert devices["departures"].to_dict()["late car"] == 1
    assert devices["unmet"].sum() == 0.0


def test_powers_of_1_1_hold_what_devices_draw_and_give_back(of_1_1: Results) -> None:
    """p_net = p_load - p_unserved - p_pv + p_storage, with devices in load and storage."""
    power = {name: of_1_1.frame("agent", name) for name in of_1_1.variables("agent")}
    net = power["p_load"] - power["p_unserved"] - power["p_pv"] + power["p_storage"]
    np.testing.assert_allclose(net, power["p_net"], atol=1e-9)
    car = of_1_1.frame("device", "p")["late car"]
    assert (power["p_load"]["LV1.201 Load 2"] >= car - 1e-12).all()
    battery = of_1_1.frame("device", "p")["shared battery"]
    np.testing.assert_allclose(power["p_storage"]["shared battery"], battery, atol=1e-12)


def test_the_money_of_1_1_has_its_amounts(of_1_1: Results) -> None:
    bills = of_1_1.table("bill")
    assert bills["imbalance"].sum() == pytest.approx(IMBALANCE_EUR, rel=EXACT)
    assert bills["flexibility"].sum() == pytest.approx(FLEXIBILITY_EUR, rel=EXACT)
    services = of_1_1.table("service")
    asked = services[services["kind"] != "set_point"]
    assert asked["cost"].sum() == pytest.approx(-FLEXIBILITY_EUR, rel=EXACT)
    assert (asked["need"] - asked["delivered"]).to_numpy() == pytest.approx(
        asked["unmet"].to_numpy(), abs=1e-12
    )
    kinds = of_1_1.table("posting")["kind"].value_counts()
    assert kinds["imbalance"] > 0
    assert kinds["capacity"] > 0
