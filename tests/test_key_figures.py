"""The table kpi: figures worked out by hand, what must hold for all runs, what is undefined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from numpy.typing import NDArray

from tricell.errors import ResultsError
from tricell.results import kpis, layout
from tricell.results.figure_list import FIGURES, NOT_RECORDED, OVERALL, figures_of
from tricell.results.figure_names import figure_name
from tricell.results.figures_of_grid import beyond
from tricell.results.key_figures import Figure, kpi_table
from tricell.results.layout import Party, PostingKind, PostingLevel
from tricell.results.reader import open_results
from tricell.results.writer import ResultsWriter, RunHeader
from tricell.scenarios.runner import run_scenario
from tricell.scenarios.scenario_file import Override, load_scenario

Floats = NDArray[np.float64]
Figures = Mapping[tuple[str, str], float]
"""(name, scope) -> value."""

START = np.datetime64("2016-07-01T00:00:00")
HOUR_S = 3600
AREAS: dict[str, list[Any]] = {
    "area": ["MV1", "LV1", "LV2"],
    "level": ["cell", "microgrid", "microgrid"],
    "parent": ["", "MV1", "MV1"],
    "network_model": ["radial"] * 3,
    "n_bus": [1, 2, 1],
}
AGENTS: dict[str, list[Any]] = {
    "agent": ["ann", "bob", "shop", "mill"],
    "area": ["LV1", "LV1", "LV2", "MV1"],
    "level": ["microgrid", "microgrid", "microgrid", "cell"],
    "bus": ["b1", "b2", "b3", "b0"],
    "class": ["household", "household", "business", "farm"],
    "battery_kwh": [0.0, 0.0, 0.0, 0.0],
}
BUSES: dict[str, list[Any]] = {
    "bus": ["b0", "b1", "b2", "b3"],
    "area": ["MV1", "LV1", "LV1", "LV2"],
    "vm_min": [0.95, 0.9, 0.9, np.nan],
    "vm_max": [1.05, 1.1, 1.1, np.nan],
}
LINES: dict[str, list[Any]] = {
    "line": ["l1"],
    "area": ["LV1"],
    "from_bus": ["b1"],
    "to_bus": ["b2"],
    "loading_max": [80.0],
}
TRAFOS: dict[str, list[Any]] = {
    "trafo": ["t1", "t2"],
    "area": ["LV1", "LV2"],
    "hv_bus": ["b0", "b0"],
    "lv_bus": ["b1", "b3"],
    "loading_max": [100.0, 100.0],
}
# kW in slots of an hour, so kWh too: rows are slots, columns ann, bob, shop, mill.
LOAD = np.array([[1, 2, 0, 0], [1, 1, 1, 0], [1, 0, 1, 0], [1, 2, 0, 0]], dtype=np.float64)
PV = np.array([[0, 0, 0, 4], [3, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=np.float64)
BILL: dict[str, list[Any]] = {
    "agent": AGENTS["agent"],
    "energy_p2p": [1.0, 2.0, 0.5, -3.0],
    "energy_retail": [2.5, 2.5, 1.0, 0.0],
    "network": [0.5, 0.5, 0.5, 0.0],
    "total": [4.0, 5.0, 2.0, -3.0],
    "no_trading_total": [5.0, 5.0, 2.5, -2.0],
    "saving": [1.0, 0.0, 0.5, 1.0],
    "unserved": [0.0, 0.0, 0.25, 0.0],
    "curtailed": [0.5, 0.0, 0.0, 2.0],
}
P2P, RETAIL, NETWORK, EXPORT = (
    PostingKind.ENERGY_P2P,
    PostingKind.ENERGY_RETAIL,
    PostingKind.NETWORK,
    PostingKind.EXPORT,
)
RECEIPTS = [
    # agent, kind, kWh, EUR: ann pays 1.5 EUR for 6 kWh, bob 1.75 for 5, shop 0.5 for 2
    (0, P2P, 2.0, 0.2),
    (0, P2P, -1.0, -0.1),
    (0, RETAIL, 4.0, 1.2),
    (0, NETWORK, 2.0, 0.1),
    (1, RETAIL, 5.0, 1.75),
    (2, P2P, 2.0, 0.5),
    (3, EXPORT, -4.0, -0.4),
]
POSTINGS = [
    (Party.AGENTS, Party.RETAILER, 3.0),
    (Party.RETAILER, Party.AGENTS, 1.0),
    (Party.RETAILER, Party.WHOLESALE, 1.5),
    (Party.WHOLESALE, Party.RETAILER, 0.25),
    (Party.AGENTS, Party.DSO, 0.1),
    (Party.AGENTS, Party.OPERATOR, 0.2),
    (Party.OPERATOR, Party.AGENTS, 0.15),
    (Party.DSO, Party.WHOLESALE, 0.05),
]


@dataclass
class Run:
    """A run whose every variable is 0 but for what is given."""

    load: Floats = field(default_factory=lambda: LOAD)
    pv: Floats = field(default_factory=lambda: PV)
    series: dict[str, dict[str, Any]] = field(default_factory=dict)
    entities: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {
            "agent": AGENTS,
            "area": AREAS,
            "bus": BUSES,
            "line": LINES,
            "trafo": TRAFOS,
        }
    )
    bill: Mapping[str, Any] = field(default_factory=lambda: BILL)
    receipts: Sequence[tuple[int, PostingKind, float, float]] = field(
        default_factory=lambda: RECEIPTS
    )
    step_s: int = HOUR_S

    def write(self, path: Path) -> Path:
        """Write the results file of the run."""
        slots = len(self.load)
        header = RunHeader("run", "name: run\n", 1, START, slots, self.step_s)
        times = np.full(len(POSTINGS), START)
        payer, payee, amount = zip(*POSTINGS, strict=True)
        agent, kind, energy, paid = zip(*self.receipts, strict=True)
        tables = {
            "bill": self.bill,
            "receipt": {
                "agent": agent,
                "kind": kind,
                "level": [PostingLevel.NONE] * len(self.receipts),
                "charge": [layout.NO_ROW] * len(self.receipts),
                "energy": energy,
                "amount": paid,
            },
        }
        with ResultsWriter(path, header, self.entities) as writer:
            writer.write_block(self._block())
            writer.append_rows(
                layout.POSTING,
                {
                    "time": times,
                    "payer": payer,
                    "payee": payee,
                    "kind": P2P,
                    "level": PostingLevel.NONE,
                    "charge": layout.NO_ROW,
                    "energy": 0.0,
                    "amount": amount,
                },
            )
            writer.finish("complete", tables)
        return path

    def _block(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Give every variable of the layout, and the areas' imports from those of their members."""
        slots, net = len(self.load), self.load - self.pv
        areas, members = self.entities["area"], np.array(self.entities["agent"]["area"])
        below = {name: np.isin(members, [name, *_below(name, areas)]) for name in areas["area"]}
        block: dict[str, dict[str, NDArray[Any]]] = {}
        for group in layout.SERIES.values():
            ids = _ids(group, self.entities)
            if group.name != layout.SLOT and not ids:
                continue
            shape = (slots,) if group.name == layout.SLOT else (slots, len(ids))
            required = (each.name for each in group.variables if each.required)
            block[group.name] = {name: np.zeros(shape) for name in required}
            if group.level:
                imports = [net[:, below[name]].sum(axis=1) for name in ids]
                block[group.name]["p_import"] = np.stack(imports, axis=1)
        block["agent"] |= {"p_load": self.load, "p_pv": self.pv, "p_net": net}
        for name, variables in self.series.items():
            for variable, values in variables.items():
                block[name][variable] = np.broadcast_to(
                    np.asarray(values, dtype=np.float64), block[name][variable].shape
                )
        return block


def _ids(group: layout.SeriesGroup, entities: Mapping[str, Mapping[str, Any]]) -> list[str]:
    if not group.id_table:
        return []
    table = entities.get(group.id_table, {group.id_table: []})
    levels = table.get("level", [])
    names: list[str] = list(table[group.id_table])
    if group.level:
        return [name for name, level in zip(names, levels, strict=True) if level == group.level]
    return names


def _below(name: str, areas: Mapping[str, Sequence[str]]) -> list[str]:
    pairs = zip(areas["area"], areas["parent"], strict=True)
    return [area for area, parent in pairs if parent == name]


def figures_of_run(run: Run, extra: Sequence[Figure] = ()) -> Figures:
    with TemporaryDirectory() as folder, open_results(run.write(Path(folder) / "r.h5")) as results:
        table = pd.DataFrame(kpi_table(results, extra))
    names = zip(table["name"], table["scope"], strict=True)
    return dict(zip(names, table["value"], strict=True))


GRID_SERIES: dict[str, dict[str, Any]] = {
    "bus": {
        # b0 below its band by 0.01 once, b2 above by 0.02 once; b3 has no band.
        "vm": np.array(
            [[1.0, 1.0, 1.0, 0.5], [0.94, 1.0, 1.12, 0.5], [0.95, 1.1, 0.9, 0.5], [1, 1, 1, 0.5]]
        )
    },
    "line": {"loading": np.array([[80.0], [90.0], [100.0], [10.0]])},
    "trafo": {
        "loading": np.array([[50.0, 20.0], [101.0, 30.0], [99.0, 100.0], [0.0, 0.0]]),
        "tap": np.array([[0, 0], [2, 0], [1, 0], [1, 0]]),
    },
}
AREA_SERIES: dict[str, dict[str, Any]] = {
    "cell": {
        "price": np.array([[0.1], [0.2], [0.3], [0.2]]),
        "energy_traded": np.array([[2.0], [0.0], [0.0], [2.0]]),
        "energy_residual": np.array([[1.0], [1.0], [0.0], [0.0]]),
        "energy_unsold": np.array([[2.0], [0.0], [0.0], [0.0]]),
        "loss": 0.5,
        "network_charge": 0.25,
    },
    "microgrid": {
        "price": np.array([[0.1, 0.1], [0.1, 0.1], [0.1, 0.1], [0.3, 0.1]]),
        "energy_traded": np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]),
        "energy_residual": np.array([[3.0, 0.0], [0.0, 1.0], [0.0, 1.0], [2.0, 0.0]]),
        "energy_unsold": np.array([[0.0, 0.0], [0.5, 0.0], [0.0, 0.0], [0.0, 0.0]]),
        "loss": np.array([[0.25, 0.0]]),
    },
}
SLOT_SERIES: dict[str, dict[str, Any]] = {
    "slot": {
        "verdict": np.array([0, 1, 2, 0]),
        "retail_price": np.array([0.4, 0.3, 0.4, 0.3]),
        "feed_in_price": np.array([0.1, 0.1, 0.12, 0.1]),
        "gain": 9.0,
        "optimal_gain": 10.0,
        "welfare": np.array([1.0, 2.0, 3.0, -4.0]),
        "breach_kw": np.array([0.0, 2.0, 0.0, 0.0]),
        "reclearings": np.array([0, 2, 1, 0]),
        "power_flow_method": np.array([0, 1, 0, 2]),
    }
}


@pytest.fixture(scope="module")
def village() -> Figures:
    return figures_of_run(Run(series=GRID_SERIES | AREA_SERIES | SLOT_SERIES))


BY_HAND: dict[str, dict[tuple[str, str], float]] = {
    # Net demands: LV1 3, -1, 1, 3; LV2 0, 1, 1, 0; with the mill, MV1 is -1, 0, 2, 3.
    "energy": {
        ("load", "LV1"): 9.0,
        ("load", "run"): 11.0,
        ("load", "microgrid"): 11.0,
        ("load", "household"): 9.0,
        ("load", "ann"): 4.0,
        ("generation", "MV1"): 7.0,
        ("import", "LV1"): 7.0,
        ("export", "LV1"): 1.0,
        ("import", "microgrid"): 9.0,
        ("import", "run"): 5.0,
        ("export", "run"): 1.0,
        ("import", "ann"): 3.0,
        ("export", "mill"): 4.0,
        ("unsold", "run"): 2.5,
        ("unsold", "MV1"): 2.5,
        ("unsold", "LV1"): 0.5,
        ("curtailed", "MV1"): 2.5,
        ("curtailed", "mill"): 2.0,
        ("energy_not_served", "business"): 0.25,
        ("self_sufficiency", "LV1"): 1 - 7 / 9,
        ("self_sufficiency", "run"): 1 - 5 / 11,
        ("self_sufficiency", "microgrid"): 1 - 9 / 11,
        ("self_sufficiency", "ann"): 0.25,
        ("self_consumption", "run"): 1 - 1 / 7,
        ("self_consumption", "LV1"): 1 - 1 / 3,
        # LV1: demands 3, 1, 1, 3 and surpluses 0, 2, 0, 0; so 1 kWh is shared
        ("share_ratio", "LV1"): 1 / 9,
        # run: demands 3, 2, 2, 3 and surpluses 4, 2, 0, 0; so 3 + 2 are shared
        ("share_ratio", "run"): 5 / 11,
        ("energy_balance", "LV1"): 1 - 8 / 10,
        ("energy_balance", "run"): 1 - 6 / 16,
    },
    "peaks": {
        ("peak_import", "LV1"): 3.0,
        ("peak_import", "microgrid"): 4.0,
        ("peak_import", "bob"): 2.0,
        ("peak_export", "MV1"): 1.0,
        ("peak_export", "mill"): 4.0,
        # without trading nothing is curtailed: that lowers no import here
        ("peak_import_no_trading", "MV1"): 3.0,
        ("peak_import_reduction", "MV1"): 0.0,
        ("peak_to_average_ratio", "LV1"): 2.0,
        ("peak_to_average_ratio", "bob"): 2 / 1.25,
        ("flatness", "LV1"): 2 / 3,
        # The retail price falls before the second and the fourth slot.
        ("rebound_peak", "run"): 3.0,
        ("rebound_peak", "LV2"): 1.0,
    },
    "grid": {
        ("loss", "LV1"): 1.0,
        ("loss", "MV1"): 3.0,
        ("loss", "microgrid"): 1.0,
        ("loss_ratio", "LV1"): 1 / (7 + 3),
        ("loss_ratio", "run"): 3 / (5 + 7),
        # of 12 bus-slots with limits 2 are outside; those on a limit are inside
        ("voltage_violation_rate", "run"): 2 / 12,
        ("voltage_violation_rate", "LV1"): 1 / 8,
        ("voltage_violation_rate", "microgrid"): 1 / 8,
        ("voltage_violation_depth", "run"): 0.02,
        ("voltage_hours", "MV1"): 2.0,
        ("line_overload_hours", "LV1"): 2.0,
        ("line_loading_max", "run"): 100.0,
        ("trafo_overload_hours", "microgrid"): 1.0,
        ("trafo_overload_hours", "LV2"): 0.0,
        ("trafo_loading_max", "LV2"): 100.0,
        ("tap_steps", "LV1"): 3.0,
        ("limits_met_share", "run"): 0.75,
        ("breach_energy", "run"): 2.0,
        ("reclearings", "run"): 3.0,
        ("power_flow_fall_backs", "run"): 2.0,
    },
    "markets": {
        ("energy_traded", "MV1"): 4.0,
        ("energy_traded", "run"): 5.0,
        ("energy_traded", "microgrid"): 1.0,
        ("energy_residual", "LV1"): 5.0,
        ("energy_residual", "microgrid"): 7.0,
        ("liquidity", "MV1"): 4 / (4 + (2 + 2) / 2),
        ("liquidity", "LV1"): 1 / (1 + 5.5 / 2),
        ("liquidity", "LV2"): 0.0,
        ("price_mean", "MV1"): 0.2,
        ("price_band", "MV1"): 0.2,
        ("price_band", "LV2"): 0.0,
        ("retail_price_band", "run"): 0.4 - 0.3,
        ("price_traded", "MV1"): 0.15,
        ("price_traded", "run"): (4 * 0.15 + 0.1) / 5,
        ("network_charge_on_trades", "cell"): 1.0,
        ("welfare", "run"): 2.0,
        ("gain", "run"): 36.0,
        ("welfare_share", "run"): 0.9,
        ("value_tapping", "run"): 0.9,
    },
    "money": {
        ("bill", "run"): 8.0,
        ("bill", "LV1"): 9.0,
        ("bill", "microgrid"): 11.0,
        ("bill_no_trading", "household"): 10.0,
        ("saving", "MV1"): 2.5,
        ("saving", "ann"): 1.0,
        ("network_charge_revenue", "MV1"): 1.5,
        ("bill_share_network", "LV1"): 1 / 9,
        ("bill_share_energy_retail", "microgrid"): 6 / 11,
        # 8760 h a year over the 4 h of the run
        ("saving_per_agent", "run"): 2.5 / 4 * 2190,
        ("share_clearly_worse", "run"): 0.0,
        # bills change by -1, 0, -0.5, -1 EUR; the mill gets money without trading too
        ("relative_bill_change", "run"): 8.0 / 10.5 - 1.0,
        ("bill_change_p10", "run"): -1.0,
        ("bill_change_p50", "run"): -0.75,
        ("bill_change_p90", "run"): -0.15,
        ("relative_bill_change_p50", "run"): -0.2,
        ("relative_bill_change_p90", "run"): -0.04,
        ("relative_bill_change_p90", "household"): -0.02,
        # of three who buy the shop buys least
        ("low_consumers_relative_price", "run"): 0.25 / (3.75 / 13),
        ("effective_price", "ann"): 0.25,
        ("effective_price", "bob"): 0.35,
        ("effective_price", "run"): 3.75 / 13,
        ("effective_price", "household"): 3.25 / 11,
        ("agents_pay", "run"): 2.15,
        ("retailer_receives", "run"): 2.0,
        ("network_operator_receives", "run"): 0.1,
        ("market_operators_receive", "run"): 0.05,
        ("retailer_pays_wholesale", "run"): 1.25,
        ("network_operator_pays_wholesale", "run"): 0.05,
    },
    "fairness": {
        ("willingness", "run"): 0.75,
        ("willingness", "household"): 0.5,
        ("jain_saving", "run"): 2.5**2 / (4 * 2.25),
        # sorted savings 0, 0.5, 1, 1: (-0.5 + 1 + 3) / (4 * 2.5)
        ("gini_saving", "run"): 0.35,
        ("equality", "run"): 0.65,
        ("mim", "run"): 0.25 / 0.35,
        # the mill buys nothing; population sigma of 0.25, 0.35, 0.25 over prices 0.1 to 0.4
        ("qoe", "run"): 1 - 2 * float(np.std([0.25, 0.35, 0.25])) / 0.3,
        ("jain_price", "household"): 0.6**2 / (2 * (0.25**2 + 0.35**2)),
        ("gini_price", "household"): 0.1 / (2 * 0.6),
        ("flatness", "run"): 0.5,
        ("overall", "run"): (0.9 + 0.75 + 0.65 + (1 - 6 / 16) + 0.5 + (1 - 5 / 11)) / 6,
    },
}


@pytest.mark.parametrize("family", BY_HAND)
def test_figures_are_those_worked_out_by_hand(village: Figures, family: str) -> None:
    wanted = BY_HAND[family]
    # 1e-6: voltages and loadings are stored in 4 bytes
    assert {key: village[key] for key in wanted} == pytest.approx(wanted, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("self_sufficiency", "mill"),
        ("self_consumption", "bob"),
        ("peak_to_average_ratio", "mill"),
        ("voltage_violation_rate", "LV2"),
        ("voltage_hours", "LV2"),
        ("line_overload_hours", "LV2"),
        ("line_loading_max", "LV2"),
        ("price_traded", "LV2"),
        ("effective_price", "mill"),
        ("mim", "farm"),
        ("relative_bill_change", "farm"),
        ("relative_bill_change_p50", "farm"),
        ("charge_recovery", "run"),
        ("stored_energy_end", "run"),
    ],
)
def test_what_is_undefined_is_nan_and_not_zero(village: Figures, name: str, scope: str) -> None:
    assert np.isnan(village[name, scope])


def test_every_figure_has_a_row_for_each_thing_that_it_speaks_about(tmp_path: Path) -> None:
    with open_results(Run().write(tmp_path / "run.h5")) as results:
        table = pd.DataFrame(kpi_table(results))
    counts = {"run": 1, "level": 2, "area": 3, "class": 3, "agent": 4}
    for kind, count in counts.items():
        rows = table.loc[table["scope_kind"] == kind, "name"].value_counts()
        everywhere = (each.name for each in figures_of(kind) if each.is_everywhere)
        assert rows.to_dict() == dict.fromkeys(everywhere, count)
    units = dict(zip(table["name"], table["unit"], strict=True))
    assert units == {name: each.unit for name, each in FIGURES.items() if each.is_everywhere}
    assert set(table.columns) == {each.name for each in layout.TABLES["kpi"].columns}


def test_without_numbers_there_are_no_figures() -> None:
    unknown = np.full(LOAD.shape, np.nan)
    series = {
        group: {each.name: np.nan for each in layout.SERIES[group].variables if each.is_float}
        for group in ("slot", "bus", "line", "microgrid", "cell")
    }
    series["agent"] = {"p_net": np.nan}
    entities = {name: table for name, table in Run().entities.items() if name != "trafo"}
    bill = {name: np.full(4, np.nan) if name != "agent" else ids for name, ids in BILL.items()}
    figures = figures_of_run(Run(unknown, unknown, series, entities, bill))
    told = {name for (name, _), value in figures.items() if not np.isnan(value)}
    whole_numbers = {"reclearings", "market_iterations", "unfinished_markets", "lp_cold_starts"}
    whole_numbers |= {"limits_met_share", "power_flow_fall_backs"}
    everywhere = {name for name, each in FIGURES.items() if each.is_everywhere}
    accounts = {name for name in everywhere if "_receive" in name or "_pay" in name}
    prices = {"effective_price", "jain_price", "gini_price", "mim", "low_consumers_relative_price"}
    joint = {"welfare_share", "value_tapping"}
    assert told == whole_numbers | accounts | prices | joint, "only what is given"


def test_a_battery_hides_what_the_peak_would_be_without_trading() -> None:
    agents = {**AGENTS, "battery_kwh": [0.0, 0.0, 5.0, 0.0]}
    figures = figures_of_run(Run(entities=Run().entities | {"agent": agents}))
    assert np.isnan(figures["peak_import_no_trading", "LV2"])
    assert np.isnan(figures["peak_import_reduction", "run"])
    assert figures["peak_import_no_trading", "LV1"] == 3.0
    del agents["battery_kwh"]
    figures = figures_of_run(Run(entities=Run().entities | {"agent": agents}))
    assert np.isnan(figures["peak_import_no_trading", "LV1"]), "the file does not tell"


def test_energy_counts_by_the_length_of_a_slot() -> None:
    hourly, quarterly = figures_of_run(Run()), figures_of_run(Run(step_s=HOUR_S // 4))
    for name in ("load", "import", "loss"):
        assert quarterly[name, "run"] == pytest.approx(hourly[name, "run"] / 4)
    for name in ("self_sufficiency", "peak_import", "flatness"):
        assert quarterly[name, "run"] == pytest.approx(hourly[name, "run"])


def test_where_all_clear_jointly_the_optimum_is_reached() -> None:
    joint = {"slot": {"gain": np.nan, "optimal_gain": np.nan}}
    figures = figures_of_run(Run(series=joint))
    assert figures["welfare_share", "run"] == figures["value_tapping", "run"] == 1.0
    assert np.isnan(figures["gain", "run"])


def test_a_run_adds_what_its_series_do_not_hold() -> None:
    figures = figures_of_run(Run(), [Figure("stored_energy_end", 7.0, "kWh")])
    assert figures["stored_energy_end", "run"] == 7.0
    with pytest.raises(ResultsError, match="figure_list"):
        figures_of_run(Run(), [Figure("stored_energy", 7.0, "kWh")])


def test_prices_beyond_the_tariffs_widen_the_range_that_fairness_is_measured_in() -> None:
    # Charges by power make a kWh of the shop cost 2.25 EUR, above the highest tariff of 0.4.
    receipts = [*RECEIPTS, (2, NETWORK, 0.0, 4.0)]
    tariffs = {"slot": {"retail_price": 0.4, "feed_in_price": 0.1}}
    figures = figures_of_run(Run(series=tariffs, receipts=receipts))
    spread = float(np.std([0.25, 0.35, 2.25]))
    assert figures["qoe", "run"] == pytest.approx(1 - 2 * spread / (2.25 - 0.1))
    assert 0.0 <= figures["qoe", "run"] <= 1.0


def test_a_rounding_error_is_no_loss() -> None:
    bill = {**BILL, "saving": [1.0, -9e-13, 0.5, 1.0], "total": [4.0, 2791.8, 2.0, -3.0]}
    assert figures_of_run(Run(bill=bill))["gini_saving", "run"] == pytest.approx(0.35)


def test_an_area_of_nobody_adds_nothing_and_has_no_ratios() -> None:
    areas = {name: [*column, *column[-1:]] for name, column in AREAS.items()}
    areas["area"] = ["MV1", "LV1", "LV2", "LV3"]
    figures = figures_of_run(Run(entities=Run().entities | {"area": areas}))
    assert figures["load", "LV3"] == figures["bill", "LV3"] == 0.0
    assert figures["load", "microgrid"] == 11.0
    for name in ("self_sufficiency", "willingness", "mim", "voltage_hours", "trafo_loading_max"):
        assert np.isnan(figures[name, "LV3"])


powers = arrays_of.arrays(np.float64, (3, 4), elements=st.floats(0.0, 50.0, width=32))
ADDITIVE = ("load", "generation", "curtailed", "energy_not_served", "saving")
SHARES_AT_MOST_1 = (
    "self_sufficiency",
    "self_consumption",
    "energy_balance",
    "flatness",
    "share_ratio",
    "willingness",
    "jain_saving",
    "loss_ratio",
    "voltage_violation_rate",
    "liquidity",
)


@given(powers, powers)
@settings(max_examples=12, deadline=None)
def test_sums_add_up_over_areas_classes_and_agents(load: Floats, pv: Floats) -> None:
    figures = figures_of_run(Run(load, pv))
    for name in ADDITIVE:
        total = pytest.approx(figures[name, "run"], rel=1e-9, abs=1e-9)
        assert figures[name, "MV1"] == total
        assert figures[name, "microgrid"] + figures[name, "mill"] == total, "and the cell's own"
        for scopes in (AGENTS["agent"], ["household", "business", "farm"]):
            known = [figures[name, scope] for scope in dict.fromkeys(scopes)]
            assert sum(known) == total
    assert figures["import", "run"] - figures["export", "run"] == pytest.approx(
        load.sum() - pv.sum(), abs=1e-9
    )


@given(powers, powers)
@settings(max_examples=12, deadline=None)
def test_figures_stay_within_their_bounds(load: Floats, pv: Floats) -> None:
    figures = figures_of_run(Run(load, pv))
    for (name, scope), value in figures.items():
        if name in SHARES_AT_MOST_1 and not np.isnan(value):
            assert value <= 1.0 + 1e-9, (name, scope)
            assert value >= -1e-9, (name, scope)
    for scope in ("run", "LV1", "household"):
        ratio = figures["peak_to_average_ratio", scope]
        assert np.isnan(ratio) or ratio >= 1.0 - 1e-9
        peak, net = figures["peak_import", scope], figures["import", scope]
        assert peak <= net + 1e-9


def test_limits_are_held_block_by_block_as_at_once() -> None:
    voltage = np.array([[1.0, 0.93, np.nan], [1.12, 0.97, np.nan], [1.06, np.nan, np.nan]])
    low, high = np.full(3, 0.95), np.array([1.05, 1.05, 1.05])
    found = beyond(iter([voltage[:2], voltage[2:]]), low, high)
    assert found.outside.tolist() == [2.0, 1.0, 0.0]
    assert found.known.tolist() == [3.0, 2.0, 0.0]
    rate = kpis.violation_share(int(found.outside.sum()), int(found.known.sum()))
    assert rate == kpis.voltage_violation_rate(voltage, low, high) == 3 / 5
    depth = kpis.voltage_violation_depth_pu(voltage, low, high)
    assert np.nanmax(found.depth) == depth == pytest.approx(0.07)


def test_a_slot_without_values_is_left_out() -> None:
    load = LOAD.copy()
    load[1, 0] = np.nan
    figures = figures_of_run(Run(load, PV))
    assert figures["load", "ann"] == 3.0
    assert figures["load", "shop"] == 2.0
    assert figures["load", "LV1"] == 7.0, "the slot in which a member is unknown does not count"
    assert figures["import", "LV1"] == 7.0


def test_each_figure_says_what_it_is_and_has_a_name_for_people() -> None:
    for name, figure in FIGURES.items():
        assert figure.meaning
        assert figure.formula
        assert set(figure.scopes) <= set(layout.SCOPE_KINDS)
        assert "_" not in figure_name(name)
    assert set(OVERALL) < set(FIGURES)
    assert not set(NOT_RECORDED) & set(FIGURES)
    names = [figure_name(name) for name in FIGURES]
    assert len(set(names)) == len(names)


def test_a_run_is_told_by_its_series_and_books_alike(tmp_path: Path) -> None:
    """Figures of a run beside what its bills, charges and whole series add up to."""
    short = [Override.from_assignment("time.days=0.125")]
    outcome = run_scenario(load_scenario("village", short), tmp_path / "run.h5")
    with open_results(outcome.output) as results:
        figures = results.kpis["run"]
        again = pd.DataFrame(kpi_table(results))
        kept = results.table("kpi")
        bill, charge = results.table("bill"), results.table("charge")
        power = {name: results.frame("agent", name) for name in ("p_load", "p_pv", "p_net")}
        at_top_kw = results.frame("cell", "p_import").sum(axis=1)
    told = again["name"].str.startswith("stored_energy")
    # 1e-12: the same numbers from the same file
    pd.testing.assert_series_equal(kept["value"][~told], again["value"][~told], rtol=1e-12)
    imported = at_top_kw.clip(lower=0.0).sum() / 4
    net = power["p_net"].sum(axis=1)
    wanted = {
        "load": power["p_load"].to_numpy().sum() / 4,
        "generation": power["p_pv"].to_numpy().sum() / 4,
        "import": imported,
        "self_sufficiency": 1.0 - imported / (power["p_load"].to_numpy().sum() / 4),
        "flatness": at_top_kw.abs().mean() / at_top_kw.abs().max(),
        "energy_balance": 1.0 - net.abs().sum() / power["p_net"].abs().to_numpy().sum(),
        "peak_import": max(at_top_kw.max(), 0.0),
        "agents_pay": bill["total"].sum(),
        "saving": bill["saving"].sum(),
        "network_operator_receives": charge["revenue"].sum(),
        "network_charge_on_trades": charge["revenue"].sum(),
    }
    # 1e-9: sums in another order, and the solver's residue between areas and meters
    assert {name: figures[name] for name in wanted} == pytest.approx(wanted, rel=1e-9)
    parties = ("retailer_receives", "network_operator_receives", "market_operators_receive")
    assert sum(figures[name] or 0.0 for name in parties) == pytest.approx(figures["agents_pay"])
