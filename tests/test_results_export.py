"""`tricell export`: what others get is what the file has, in words, ids, units and whole files."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from tests.golden_file import unpacked_golden, write_running
from typer.testing import CliRunner

from tricell.results import layout, open_results
from tricell.results.export_meters import AreaTree, shared_parts
from tricell.results.writer import ResultsWriter, RunHeader
from tricell.scenarios.command_line import app

START = np.datetime64("2016-05-23T16:00:00")
SLOT = np.timedelta64(900, "s")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked_golden(tmp_path_factory.mktemp("good"))


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def exported(file: Path, *options: str) -> Path:
    ended = CliRunner().invoke(app, ["export", str(file), *options])
    assert ended.exit_code == 0, ended.output
    return Path(ended.output.splitlines()[-1].rpartition(":")[0])


def refused(file: Path, *options: str) -> str:
    ended = CliRunner(env={"NO_COLOR": "1"}).invoke(app, ["export", str(file), *options])
    assert ended.exit_code == 2, ended.output
    return " ".join(ended.output.split())


# --- tables ---


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_every_table_comes_back_as_the_reader_gives_it(good: Path, kind: str) -> None:
    with open_results(good) as results:
        for name in results.tables:
            expected = results.table(name)
            path = exported(good, "--table", name, "--to", kind)
            assert path.name == f"golden_{name}.{kind}"
            back = read_csv(path) if kind == "csv" else pd.read_parquet(path)
            assert len(back) == len(expected)
            for column in expected:
                compare(back[column], expected[column])


def read_csv(path: Path) -> pd.DataFrame:
    """Read numbers to the last bit, which pandas does only on request."""
    return pd.read_csv(path, float_precision="round_trip")


def read_rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def compare(back: pd.Series[Any], expected: pd.Series[Any]) -> None:
    if isinstance(expected.dtype, pd.DatetimeTZDtype):
        assert (pd.to_datetime(back, utc=True) == expected).all()
    elif pd.api.types.is_numeric_dtype(expected):
        numbers = pd.to_numeric(back, errors="coerce").to_numpy(dtype=np.float64)
        np.testing.assert_array_equal(numbers, expected.to_numpy(dtype=np.float64))
    else:
        assert back.astype(object).fillna("").astype(str).tolist() == expected.astype(str).tolist()


def test_times_are_iso_8601_codes_are_words_and_rows_have_their_ids(good: Path) -> None:
    heading, *lines = read_rows(exported(good, "--table", "trade"))
    rows = [dict(zip(heading, line, strict=True)) for line in lines]
    with open_results(good) as results:
        areas = results.table("area")["area"]
    assert rows[0]["time"] == "2016-05-23T16:00:00Z"
    assert {row["level"] for row in rows} <= {"microgrid", "cell", "multicell", "retail"}
    for row in rows:
        number = int(row["area"])
        assert row["area_id"] == ("" if number == layout.NO_ROW else areas[number])
    assert {row["buyer_id"] for row in rows} <= {"the area's pool", "the retailer"}


def test_units_stand_in_the_heading_on_request_and_always_in_parquet(good: Path) -> None:
    plain = exported(good, "--table", "bill").read_text().splitlines()[0].split(",")
    told = exported(good, "--table", "bill", "--units", "--force").read_text().splitlines()[0]
    assert plain[:3] == ["agent", "energy_p2p", "energy_retail"]
    assert told.split(",")[:3] == ["agent", "energy_p2p [EUR]", "energy_retail [EUR]"]
    schema = pyarrow.parquet.read_schema(exported(good, "--table", "bill", "--to", "parquet"))
    assert schema.field("bought_p2p").metadata[b"units"] == b"kWh"
    assert schema.field("bought_p2p").metadata[b"long_name"] == b"energy bought from peers"
    assert schema.metadata[b"schema_name"] == b"tricell-results"
    for kind in ("parquet", "mosaik-hdf5"):
        assert "--units is for CSV" in refused(good, "--table", "bill", "--units", "--to", kind)


def test_a_period_leaves_out_the_rows_of_other_times(good: Path) -> None:
    options = ("--start", "2016-05-23T17:00", "--stop", "2016-05-23T19:30+02:00")
    trades = pd.read_csv(exported(good, "--table", "trade", *options))
    assert set(trades["time"]) == {"2016-05-23T17:00:00Z", "2016-05-23T17:15:00Z"}
    assert "the table bill has no times" in refused(good, "--table", "bill", *options)
    assert "'noon' is no time; expected one like" in refused(good, "--meters", "--start", "noon")


def test_texts_with_commas_quotes_and_line_breaks_come_back(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run.h5")
    rows = read_rows(exported(path, "--table", "agent"))
    assert [row[0] for row in rows[1:]] == HOMES
    assert read_rows(exported(path, "--series", "agent/p_net"))[0] == ["time", *HOMES]


# --- time series ---


def test_a_variable_is_a_wide_table_with_a_column_per_entity(good: Path) -> None:
    for ending in ("csv", "parquet"):
        path = exported(good, "--series", "agent/p_net", "--output", f"net.{ending}")
        back = read_csv(path) if ending == "csv" else pd.read_parquet(path)
        with open_results(good) as results:
            expected = results.frame("agent", "p_net")
        assert (pd.to_datetime(back.pop("time"), utc=True) == expected.index).all()
        assert list(back) == list(expected)
        np.testing.assert_array_equal(back.to_numpy(), expected.to_numpy())


def test_a_group_has_a_row_per_slot_and_entity(good: Path) -> None:
    path = exported(good, "--series", "agent", "--stop", "2016-05-23T16:30")
    assert path.name == "golden_agent_series.csv"
    back = read_csv(path)
    with open_results(good) as results:
        expected = results.dataset("agent").isel(time=slice(2)).to_dataframe().reset_index()
    assert back["agent"].tolist() == expected["agent"].tolist()
    for variable in ("p_net", "soc", "price"):
        np.testing.assert_array_equal(back[variable], expected[variable])


def test_the_group_of_the_run_has_words_and_ids(good: Path) -> None:
    back = pd.read_csv(exported(good, "--series", "slot"))
    with open_results(good) as results:
        slots, buses = results.slots(), results.table("bus")["bus"]
    assert back["verdict"].tolist() == slots["verdict"].astype(str).tolist()
    assert back["vm_min_bus_id"].tolist() == buses[slots["vm_min_bus"]].tolist()


# --- meters ---


HOMES = ['sunny, "roof"', "shop\nnext door", "Käserei; Ost"]
ENTITIES: dict[str, dict[str, Any]] = {
    "agent": {
        "agent": HOMES,
        "area": ["LV", "LV", "MV"],
        "level": ["microgrid", "microgrid", "cell"],
        "bus": ["b"] * 3,
        "class": ["household"] * 3,
    },
    "area": {
        "area": ["MV", "LV"],
        "level": ["cell", "microgrid"],
        "parent": ["", "MV"],
        "n_bus": [1, 1],
    },
    "bus": {"bus": ["b"], "area": ["MV"]},
    "line": {"line": ["l"], "area": ["MV"], "from_bus": ["b"], "to_bus": ["b"]},
    "trafo": {"trafo": ["t"], "area": ["MV"], "hv_bus": ["b"], "lv_bus": ["b"]},
}
NET_KW = np.array([[-8.0, 4.0, 8.0], [2.0, 0.0, 4.0]])
TRADED_KWH = {"microgrid": [1.0, 0.0], "cell": [1.0, 0.0]}
"""In the first slot 1 kWh of the roof meets in the microgrid, and the other in the cell."""


def write_run(path: Path, trades: dict[str, Any] | None = None, sold: float = 2.0) -> Path:
    """Write two slots: of pools that clear jointly, or, with trades, of markets by level."""
    gain = np.nan if trades is None else 1.0
    header = RunHeader("homes", "name: homes\n", 1, START, 2)
    with ResultsWriter(path, header, ENTITIES) as writer:
        for slot in range(2):
            writer.write_slot(
                {
                    "slot": {"verdict": 0, "gain": gain},
                    "agent": {"p_net": NET_KW[slot]},
                    "microgrid": {"energy_traded": np.array([TRADED_KWH["microgrid"][slot]])},
                    "cell": {"energy_traded": np.array([TRADED_KWH["cell"][slot]])},
                }
            )
        if trades is not None:
            writer.append_trades(trades)
        bills = {
            "agent": HOMES,
            **{name: np.zeros(3) for name in ("total", "no_trading_total", "saving")},
            "bought_p2p": [0.0, 1.0, 1.0],
            "sold_p2p": [sold, 0.0, 0.0],
        }
        writer.finish("complete", {"bill": bills})
    return path


def test_what_a_pool_meets_is_shared_in_proportion_at_every_level() -> None:
    """Two buyers of 3 and 1 kWh share 2 kWh, and of the 2 kWh left half meets above."""
    tree = AreaTree(np.array([1, -1]), np.array([0, 0, 1]), np.array([0, 1]))
    bought = np.array([[3.0, 1.0, 2.0]])
    shared, _ = shared_parts(bought, np.zeros((1, 3)), np.array([[2.0, 2.0]]), tree)
    np.testing.assert_allclose(shared, [[1.5 + 0.75, 0.5 + 0.25, 1.0]])


def test_meters_have_both_directions_and_what_was_shared(tmp_path: Path) -> None:
    back = pd.read_csv(exported(write_run(tmp_path / "run.h5"), "--meters"))
    assert list(back) == [
        "time",
        "meter",
        "import_kwh",
        "export_kwh",
        "shared_import_kwh",
        "shared_export_kwh",
    ]
    assert back["meter"].tolist() == HOMES * 2
    assert back["time"].tolist() == ["2016-05-23T16:00:00Z"] * 3 + ["2016-05-23T16:15:00Z"] * 3
    np.testing.assert_allclose(back["import_kwh"], [0, 1, 2, 0.5, 0, 1])
    np.testing.assert_allclose(back["export_kwh"], [2, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(back["shared_import_kwh"], [0, 1, 1, 0, 0, 0])
    np.testing.assert_allclose(back["shared_export_kwh"], [2, 0, 0, 0, 0, 0])


def test_meters_that_share_other_than_the_bills_say_are_refused(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run.h5", sold=3.0)
    assert "what meters share differs by up to 1 kWh" in refused(path, "--meters")
    assert not Path("run_meters.csv").exists()


def test_trades_that_name_both_sides_are_what_was_shared(tmp_path: Path) -> None:
    trades = {
        "time": [START, START, START + SLOT],
        "level": [layout.Level.MICROGRID, layout.Level.RETAIL, layout.Level.CELL],
        "area": [1, layout.NO_ROW, 0],
        "seller": [0, layout.RETAILER_ROW, layout.POOL_ROW],
        "buyer": [1, 2, 2],
        "energy": [0.75, 2.0, 0.25],
        "price": [0.2] * 3,
        "network_charge": [0.0] * 3,
    }
    back = pd.read_csv(exported(write_run(tmp_path / "run.h5", trades), "--meters"))
    np.testing.assert_allclose(back["shared_import_kwh"], [0, 0.75, 0, 0, 0, 0.25])
    np.testing.assert_allclose(back["shared_export_kwh"], [0.75, 0, 0, *[np.nan] * 3])


def test_behind_pools_that_serve_by_price_the_shared_part_is_left_empty(good: Path) -> None:
    back = pd.read_csv(exported(good, "--meters"))
    with open_results(good) as results:
        net_kwh = results.frame("agent", "p_net").to_numpy().ravel() / 4
        trades = results.table("trade")
    np.testing.assert_allclose(back["import_kwh"] - back["export_kwh"], net_kwh)
    with_peers = set(trades.loc[(trades["level"] != "retail") & (trades["energy"] > 0), "time"])
    unknown = pd.to_datetime(back["time"]).isin(list(with_peers))
    assert 0 < unknown.sum() < len(back)
    assert back.loc[unknown, "shared_import_kwh"].isna().all()
    assert (back.loc[~unknown, "shared_import_kwh"] == 0.0).all()


# --- mosaik-hdf5 ---


def test_the_layout_of_mosaik_hdf5_is_read_by_its_documented_rules(good: Path) -> None:
    """pypi.org/project/mosaik-hdf5: one row (relations, series) per relation, series by entity."""
    path = exported(good, "--to", "mosaik-hdf5")
    with open_results(good) as results, h5py.File(path) as database:
        agents, net_kw = results.table("agent"), results.frame("agent", "p_net")
        assert database.attrs["step_size"] == 900
        assert database.attrs["start"] == "2016-05-23T16:00:00+00:00"
        for _, agent in agents.iterrows():
            eid = f"Agent-0.{agent['agent']}"
            series = database["Series"][eid]
            np.testing.assert_array_equal(series["p_net"][:], net_kw[agent["agent"]])
            assert series.attrs["class"] == agent["class"]
            related = [tuple(part.decode() for part in row) for row in database["Relations"][eid]]
            assert (f"/Relations/Bus-0.{agent['bus']}", f"/Series/Bus-0.{agent['bus']}") in related
            for relations, their_series in related:
                assert eid in {row[0].decode()[11:] for row in database[relations][:]}
                assert their_series in database
        assert database["Series/Run-0.run/verdict"].shape == (12,)
    assert "holds all time series" in refused(good, "--to", "mosaik-hdf5", "--table", "bill")


# --- outputs ---


def test_an_output_that_is_there_is_kept_unless_forced(good: Path) -> None:
    path = exported(good, "--table", "bill")
    path.write_text("mine")
    assert "exists already" in refused(good, "--table", "bill")
    assert path.read_text() == "mine"
    exported(good, "--table", "bill", "--force")
    assert path.read_text().startswith("agent,")


def test_the_results_themselves_are_never_overwritten(good: Path) -> None:
    before = good.read_bytes()
    assert "is what is read" in refused(
        good, "--to", "mosaik-hdf5", "--output", str(good), "--force"
    )
    assert good.read_bytes() == before


def test_an_export_that_fails_half_way_leaves_no_file(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.csv.write_csv", full)
    assert "cannot be written: No space left on device" in refused(good, "--table", "bill")
    assert not list(Path.cwd().iterdir())


def test_of_a_run_that_goes_on_rows_of_tables_to_come_have_no_ids_yet(good: Path) -> None:
    write_running(good, Path("week.h5"))
    with open_results("week.h5") as running:
        assert "charge" not in running.tables
    done, whole = pd.read_csv(exported(Path("week.h5"), "-t", "posting")), posting_of(good)
    assert 0 < len(done) < len(whole)
    assert (done["charge"] >= 0).any()
    assert done["charge_id"].isna().all()
    columns = [name for name in done if name != "charge_id"]
    pd.testing.assert_frame_equal(done[columns], whole[columns].iloc[: len(done)])


def posting_of(good: Path) -> pd.DataFrame:
    return pd.read_csv(exported(good, "-t", "posting", "-o", "whole.csv"))


def test_what_there_is_to_export_is_listed(good: Path) -> None:
    ended = CliRunner().invoke(app, ["export", str(good), "--list"])
    assert "Tables: agent, area, bus" in ended.output
    assert "  trafo: loading, p_from, tap" in ended.output
    told = refused(good)
    assert "Choose what to export: --table NAME, --series" in told
    assert "Tables: agent, area" in told
    assert "Choose only one of" in refused(good, "--table", "bill", "--meters")
    assert "no table 'bills'; it has: agent" in refused(good, "--table", "bills")
    assert "no variable 'v'; it has: vm" in refused(good, "--series", "bus/v")
    assert "does not tell its format" in refused(good, "--meters", "--output", "a.xlsx")
