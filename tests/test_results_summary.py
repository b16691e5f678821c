"""The summary says what the file holds, leaves nothing unsold unsaid, and fits a terminal."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from tricell.results.layout import PowerFlowMethod, Verdict
from tricell.results.summary import RunSummary, print_summary, summarise
from tricell.results.writer import ResultsWriter, RunHeader

SLOTS = 200
START = np.datetime64("2016-07-01T00:00:00")
HOMES = ["LV1.201.home.1", "LV1.201.home.2", "LV2.101.home.1"]
BUSES = ["LV1.201 Bus 7", "LV2.101 Bus 3"]
ENTITIES = {
    "agent": {
        "agent": HOMES,
        "area": ["LV1.201", "LV1.201", "LV2.101"],
        "level": ["microgrid"] * 3,
        "bus": [BUSES[0], BUSES[0], BUSES[1]],
        "class": ["household"] * 3,
    },
    "area": {
        "area": ["LV1.201", "LV2.101", "MV2.101"],
        "level": ["microgrid", "microgrid", "cell"],
        "parent": ["MV2.101", "MV2.101", ""],
    },
    "bus": {"bus": BUSES, "area": ["LV1.201", "LV2.101"]},
    "line": {
        "line": ["LV1.201 Line 1", "LV1.201 Line 2"],
        "area": ["LV1.201"] * 2,
        "from_bus": [BUSES[0]] * 2,
        "to_bus": [BUSES[1]] * 2,
    },
    "trafo": {
        "trafo": ["MV2.101-LV1.201-Trafo 1"],
        "area": ["LV1.201"],
        "hv_bus": [BUSES[0]],
        "lv_bus": [BUSES[1]],
    },
}
TABLES = {
    "bill": {
        "agent": HOMES,
        "no_trading_total": [100.0, 50.0, 10.0],
        "total": [90.0, 45.0, 11.0],
        "saving": [10.0, 5.0, -1.0],
    },
    "charge": {
        "charge": ["fees", "grid peak", "tax"],
        "kind": ["level_fee", "annual_peak", "volumetric"],
        "purpose": ["network", "network", "levy"],
        "revenue": [12.5, 30.0, -0.001],
    },
    "timing": {"part": ["power flow", "clearing"], "seconds": [0.05, 0.15], "calls": [200, 200]},
    "warning": {
        "time": [START, START + np.timedelta64(900, "s"), START],
        "kind": ["missing rating", "missing rating", "price gap"],
        "element": ["LV1.201 Line 1", "LV1.201 Line 2", ""],
        "message": [
            "no rated current, taken as unlimited",
            "the same",
            "filled by the hour before",
        ],
        "count": [1, 1, 4],
    },
}


def slot_numbers(k: int) -> dict[str, float]:
    return {
        "verdict": Verdict.LIMITS_BROKEN if k in (150, 151) else Verdict.LIMITS_MET,
        "vm_min": 0.95 if k == 120 else 0.98,
        "vm_min_bus": 1,
        "vm_max": 1.06 if k == 33 else 1.01,
        "vm_max_bus": 0,
        "line_loading_max": 104.5 if k == 150 else 60.0,
        "line_loading_max_line": 1,
        "trafo_loading_max": 50.0 + k / 10.0,
        "trafo_loading_max_trafo": 0,
        "ac_gap_pu": 2e-4 if k == 5 else 1e-5,
        "ac_gap_percent": 0.3,
        "reclearings": 2 if k == 151 else 0,
        "breach_kw": 4.0 if k == 151 else 0.0,
        "breach_cost": 20.0 if k == 151 else 0.0,
        "power_flow_method": PowerFlowMethod.NEWTON if k == 7 else PowerFlowMethod.FIXED_POINT,
        "lp_cold_starts": 1 if k == 0 else 0,
    }


def area_numbers(traded: list[float], price: list[float], unsold: float) -> dict[str, list[float]]:
    idle = [0.0] * len(traded)
    return {
        "energy_traded": traded,
        "price": price,
        "energy_residual": [0.5] * len(traded),
        "energy_unsold": [unsold, *idle[1:]],
        "energy_unserved": idle,
    }


def write_run(path: Path, *, unsold: float = 0.0, status: str = "complete") -> Path:
    header = RunHeader("district", "name: district\n", 1, START, SLOTS)
    with ResultsWriter(path, header, ENTITIES) as writer:
        for k in range(SLOTS if status == "complete" else 100):
            as_arrays: dict[str, dict[str, Any]] = {
                "microgrid": area_numbers([2.0, 1.0], [0.10, 0.25], unsold),
                "cell": area_numbers([0.0], [0.30], 0.0),
                "trafo": {"tap": [k // 50]},
            }
            values = {
                group: {name: np.array(column) for name, column in columns.items()}
                for group, columns in as_arrays.items()
            }
            writer.write_slot({**values, "slot": slot_numbers(k)})
        if status == "complete":
            writer.finish("complete", TABLES)
        else:
            writer.finish("failed", failure_message="the simulator Charger-0 stopped answering")
    return path


def rendered(summary: RunSummary, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    print_summary(summary, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> RunSummary:
    return summarise(write_run(tmp_path_factory.mktemp("run") / "district.h5"))


def test_energy_is_summed_by_level_and_the_price_is_weighted_by_energy(summary: RunSummary) -> None:
    microgrid, cell = summary.levels
    assert microgrid.level == "microgrid"
    assert microgrid.traded_kwh == pytest.approx(3.0 * SLOTS)
    assert microgrid.residual_kwh == pytest.approx(1.0 * SLOTS)
    # (2 kWh at 0.10 and 1 kWh at 0.25) / 3 kWh
    assert microgrid.price_eur_per_kwh == pytest.approx(0.15)
    assert cell.price_eur_per_kwh is None, "a price without trades is no price"


def test_the_worst_of_the_grid_comes_with_its_element_and_its_time(summary: RunSummary) -> None:
    grid = summary.grid
    assert grid is not None
    assert grid.vm_min is not None
    assert grid.vm_min.value == pytest.approx(0.95, abs=1e-6), "stored as f4"
    assert grid.vm_min.element == "LV2.101 Bus 3"
    assert grid.vm_min.time == pd.Timestamp("2016-07-02T06:00", tz="UTC"), "slot 120 of 15 min"
    assert grid.line is not None
    assert grid.line.element == "LV1.201 Line 2"
    assert grid.trafo is not None
    assert grid.trafo.value == pytest.approx(69.9, abs=1e-4), "stored as f4"


def test_verdicts_and_fall_backs_are_counted(summary: RunSummary) -> None:
    grid = summary.grid
    assert grid is not None
    assert (grid.slots_met, grid.slots_broken, grid.slots_without_solution) == (198, 2, 0)
    assert grid.first_broken == pd.Timestamp("2016-07-02T13:30", tz="UTC")
    assert (grid.reclearings, grid.power_flow_fall_backs, grid.lp_cold_starts) == (2, 1, 1)
    assert grid.breach_kwh == pytest.approx(1.0), "4 kW in one quarter of an hour"
    assert grid.tap_moves == 3


def test_tap_moves_are_counted_across_the_blocks_that_are_read(
    summary: RunSummary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tricell.results.reader.ROWS_PER_BLOCK", 50)
    again = summarise(summary.path)
    assert again.grid == summary.grid


def test_bills_tell_who_gains_and_who_is_worst_off(summary: RunSummary) -> None:
    bills = summary.bills
    assert bills is not None
    assert bills.saving_eur == pytest.approx(14.0)
    assert bills.saving_share == pytest.approx(14.0 / 160.0)
    assert bills.gaining_share == pytest.approx(2 / 3)
    assert bills.median_saving_eur == pytest.approx(5.0)
    assert (bills.worst_agent, bills.worst_saving_eur) == (HOMES[2], -1.0)
    assert bills.losing_agents == 1


def test_network_charges_are_listed_with_what_all_agents_pay(summary: RunSummary) -> None:
    assert [(one.name, one.purpose) for one in summary.charges] == [
        ("fees", "network"),
        ("grid peak", "network"),
        ("tax", "levy"),
    ]
    text = rendered(summary, 80)
    assert "Network charges" in text
    assert "42.50 EUR" in text
    # What rounds to nothing has no sign.
    assert "-0.00" not in text


def test_time_and_warnings_are_grouped(summary: RunSummary) -> None:
    clearing, power_flow = summary.timings
    assert (clearing.part, power_flow.part) == ("clearing", "power flow"), "longest first"
    assert clearing.share == pytest.approx(0.75)
    assert clearing.ms_per_slot == pytest.approx(0.75), "0.15 s over 200 slots"
    rating, gap = summary.warnings
    assert (rating.kind, rating.count, rating.elements) == ("missing rating", 2, 2)
    assert (gap.count, gap.elements) == (4, 0)


@pytest.mark.parametrize("width", [80, 120])
def test_the_printed_summary_fits_the_terminal(summary: RunSummary, width: int) -> None:
    text = rendered(summary, width)
    lines = [line for line in text.splitlines() if str(summary.path) not in line]
    assert max(map(len, lines)) <= width
    for words in (
        "district: complete, 200 slots",
        "met in 198 of 200 slots",
        "0.9500 pu at LV2.101 Bus 3, 2016-07-02 06:00",
        "104.5 % at LV1.201 Line 2",
        "14.00 EUR (8.8%)",
        "66.7% of 3 agents gain, 1 loses",
        "missing rating",
        "clearing",
        "0.1500",
        "together",
    ):
        assert words in text
    assert str(summary.path) in text


def test_unsold_energy_is_said_in_words_and_so_is_that_there_is_none(
    tmp_path: Path, summary: RunSummary
) -> None:
    assert "No energy stayed unserved. No energy stayed unsold." in rendered(summary, 80)
    unsold = summarise(write_run(tmp_path / "unsold.h5", unsold=0.25))
    assert "Unsold: 50.0 kWh (microgrid)." in rendered(unsold, 80)


def test_a_failed_run_says_why_and_how_far_it_came(tmp_path: Path) -> None:
    failed = summarise(write_run(tmp_path / "failed.h5", status="failed"))
    text = rendered(failed, 80)
    assert "district: failed, 100 of 200 slots" in text
    assert "the simulator Charger-0 stopped answering" in text
    assert failed.bills is None
    assert failed.timings == ()
