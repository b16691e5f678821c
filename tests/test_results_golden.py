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
    assert set(results.tables) == set(layout.TABLES)
    assert set(results.groups) == set(layout.SERIES) - {"multicell"}


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
