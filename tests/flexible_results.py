"""A results file with everything of schema 1.1: devices, forecasts, imbalance and services.

Two microgrids in a cell in a multi-cell area, eight homes and a shared battery on each level. The
numbers follow the equations of the devices, so that sums can be checked, but come from no market.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.results import layout
from tricell.results.key_figures import Figure, kpi_table
from tricell.results.layout import Party, PostingKind, PostingLevel, ServiceKind
from tricell.results.reader import open_results
from tricell.results.writer import ResultsWriter, RunHeader

Floats = NDArray[np.float64]

START = np.datetime64("2016-05-23T22:00:00")
STEP_S = 900
HOURS = STEP_S / 3600.0
EFFICIENCY = 0.95
"""Of shared batteries, each way."""
CAPACITY_KWH = 20.0
AREAS = {
    "area": ["MC", "C1", "LV1", "LV2"],
    "level": ["multicell", "cell", "microgrid", "microgrid"],
    "parent": ["", "MC", "C1", "C1"],
}
HOMES = [f"home {k}" for k in range(8)]
SHARED = ["LV1 battery", "C1 battery", "MC battery"]
AGENTS = [*HOMES, *SHARED]
AGENT_AREA = ["LV1"] * 4 + ["LV2"] * 4 + ["LV1", "C1", "MC"]
CARS = ["car 0", "car 1", "car 2"]
OWNER = {
    "car 0": "home 0",
    "car 1": "home 1",
    "car 2": "home 4",
    "house 2": "home 2",
    "tank 5": "home 5",
    "washer 3": "home 3",
    **{name: name for name in SHARED},
}
KIND = dict(
    zip(
        OWNER,
        ["vehicle"] * 3 + ["house", "heat_store", "appliance"] + ["shared_battery"] * 3,
        strict=True,
    )
)
DEVICES = list(OWNER)
MISSED_KWH = 1.5
"""What the third car lacks when it leaves on the first morning."""


def write_flexible_run(path: Path, days: float = 2.0) -> Path:
    """Write the file, with key figures."""
    slots = round(days * 96)
    header = RunHeader(
        run_id="flexible",
        scenario_yaml="name: flexible\n",
        random_seed=1,
        start=START,
        number_of_slots=slots,
        time_step_s=STEP_S,
        time_zone_local="Europe/Berlin",
    )
    series = block(slots)
    with ResultsWriter(path, header, entities()) as writer:
        writer.write_block(series)
        writer.append_rows(layout.POSTING, postings())
        writer.append_rows(layout.SERVICE, services())
        writer.finish("complete", end_tables(series), derive=_figures)
    return path


def _figures(file: Path) -> dict[str, Any]:
    told = [Figure("lookahead_value", 4.0, "EUR"), Figure("lookahead_regret", 0.5, "EUR")]
    with open_results(file) as results:
        return {"kpi": kpi_table(results, told)}


def entities() -> dict[str, dict[str, Any]]:
    """Give the tables of entities, with gaps where nothing is stated."""
    gaps = {"str": "", "f8": np.nan}
    complete = {}
    for name, given in _stated_entities().items():
        count = len(given[name])
        complete[name] = given | {
            column.name: [gaps.get(column.dtype, 0)] * count
            for column in layout.TABLES[name].columns
            if column.name not in (*given, *layout.DEVICE_TOTALS)
        }
    return complete


def _stated_entities() -> dict[str, dict[str, Any]]:
    level = dict(zip(AREAS["area"], AREAS["level"], strict=True))
    count = len(AGENTS)
    return {
        "agent": {
            "agent": AGENTS,
            "area": AGENT_AREA,
            "level": [level[area] for area in AGENT_AREA],
            "bus": [f"{area} bus" for area in AGENT_AREA],
            "class": ["household"] * 8 + ["shared_storage"] * 3,
            "load_kw": [4.0] * count,
            "pv_kwp": [5.0] * 8 + [0.0] * 3,
            "battery_kwh": [10.0] * 2 + [0.0] * 6 + [CAPACITY_KWH] * 3,
            "battery_kw": [5.0] * 2 + [0.0] * 6 + [10.0] * 3,
        },
        "area": AREAS
        | {"network_model": ["radial"] * 4, "n_agent": [1, 1, 5, 4], "n_bus": [1, 1, 1, 1]},
        "bus": {
            "bus": [f"{area} bus" for area in AREAS["area"]],
            "area": AREAS["area"],
            "nominal_kv": [110.0, 20.0, 0.4, 0.4],
            "vm_min": [0.9] * 4,
            "vm_max": [1.1] * 4,
        },
        "line": {"line": ["l"], "area": ["C1"], "from_bus": ["C1 bus"], "to_bus": ["LV1 bus"]},
        "trafo": {
            "trafo": ["t C1", "t LV1", "t LV2"],
            "area": ["C1", "LV1", "LV2"],
            "hv_bus": ["MC bus", "C1 bus", "C1 bus"],
            "lv_bus": ["C1 bus", "LV1 bus", "LV2 bus"],
            "loading_max": [100.0] * 3,
        },
        "device": {
            "device": DEVICES,
            "agent": list(OWNER.values()),
            "area": [AGENT_AREA[AGENTS.index(owner)] for owner in OWNER.values()],
            "kind": list(KIND.values()),
            "charge_kw": [11.0, 11.0, 3.7, 3.0, 3.0, 2.0, 10.0, 10.0, 10.0],
            "discharge_kw": [0.0, 11.0, 0.0, 0.0, 0.0, 0.0, 10.0, 10.0, 10.0],
            "capacity_kwh": [40.0, 60.0, 40.0, 12.0, 10.0, 0.0, *[CAPACITY_KWH] * 3],
        },
    }


def block(slots: int) -> dict[str, dict[str, Floats]]:
    """Give all series; hours are those of the local clock, two ahead of UTC."""
    hour = np.asarray(np.arange(slots) * HOURS % 24.0, dtype=np.float64)
    device = _device_series(slots, hour)
    agent = _agent_series(slots, hour, device["p"])
    values: dict[str, dict[str, Any]] = {"agent": agent, "device": device}
    for name, level in zip(AREAS["area"], AREAS["level"], strict=True):
        inside = [_is_inside(area, name) for area in AGENT_AREA]
        column = agent["p_net"][:, inside].sum(axis=1, keepdims=True)
        of_level = values.setdefault(level, {})
        of_level["p_import"] = np.concatenate(
            [of_level.get("p_import", np.empty((slots, 0))), column], axis=1
        )
    for level in layout.AREA_LEVELS:
        values[level]["price"] = np.full_like(values[level]["p_import"], 0.2)
    values["slot"] = {
        "retail_price": np.full(slots, 0.3),
        "feed_in_price": np.full(slots, 0.1),
        "vm_min": np.full(slots, 0.97),
        "vm_max": np.full(slots, 1.03),
    }
    values |= {"bus": {}, "line": {}, "trafo": {}}
    widths = {"bus": 4, "line": 1, "trafo": 3, "slot": None}
    for name, group in values.items():
        count = widths.get(name, 0) if name in widths else next(iter(group.values())).shape[1]
        shape = (slots,) if count is None else (slots, count)
        for variable in layout.SERIES[name].variables:
            if variable.required:
                group.setdefault(variable.name, np.zeros(shape))
    values["bus"]["vm"] = np.ones((slots, 4))
    return values


def _is_inside(area: str, other: str) -> bool:
    parents = dict(zip(AREAS["area"], AREAS["parent"], strict=True))
    while area and area != other:
        area = parents[area]
    return area == other


def _device_series(slots: int, hour: Floats) -> dict[str, Floats]:
    power, stored, unmet = (np.zeros((slots, len(DEVICES))) for _ in range(3))
    temperature = np.full((slots, len(DEVICES)), np.nan)
    night = (hour < 6.0) | (hour >= 20.0)
    for column, rate in enumerate((2.0, 3.0, 1.0)):
        power[:, column] = np.where(night, rate, 0.0)
    power[(hour >= 18.0) & (hour < 20.0), 1] = -4.0
    departs = int(np.argmax(hour == 6.0))
    charged = power[:, :3] * HOURS
    # The drive uses what was charged since the day before.
    charged[hour == 6.0] -= charged[:96].sum(axis=0)
    stored[:, :3] = 20.0 + np.cumsum(charged, axis=0) - charged
    unmet[departs, 2] = MISSED_KWH
    power[:, 3] = np.where((hour >= 4.0) & (hour < 8.0), 2.5, 0.8)
    temperature[:, 3] = 21.0 + 1.4 * np.sin((hour - 8.0) / 24.0 * 2.0 * np.pi)
    stored[:, 3] = 6.0 * (temperature[:, 3] - 20.0)
    power[:, 4] = np.where((hour >= 10.0) & (hour < 16.0), 2.0, 0.0)
    stored[:, 4] = 5.0 + 4.0 * np.sin((hour - 10.0) / 24.0 * 2.0 * np.pi)
    power[:, 5] = np.where((hour >= 12.0) & (hour < 13.0), 2.0, 0.0)
    for column, share in zip((6, 7, 8), (1.0, 0.6, 0.3), strict=True):
        power[(hour >= 10.0) & (hour < 14.0), column] = 4.0 * share
        # What was charged and not lost.
        power[(hour >= 18.0) & (hour < 22.0), column] = -4.0 * share * EFFICIENCY**2
    of_shared = power[:, 6:]
    inside = np.where(of_shared > 0.0, of_shared * EFFICIENCY, of_shared / EFFICIENCY) * HOURS
    stored[:, 6:] = 1.0 + np.cumsum(inside, axis=0) - inside
    return {"p": power, "stored": stored, "unmet": unmet, "temperature": temperature}


def _agent_series(slots: int, hour: Floats, p_device: Floats) -> dict[str, Floats]:
    count = len(AGENTS)
    is_home = np.arange(count) < len(HOMES)
    sun = np.maximum(0.0, np.sin((hour - 6.0) / 12.0 * np.pi))[:, None]
    p_pv = np.where(is_home, 3.0 * sun, 0.0)
    p_load = np.where(is_home, 0.4 + 0.2 * np.sin(hour / 24.0 * 2.0 * np.pi)[:, None] ** 2, 0.0)
    p_storage, soc = np.zeros((slots, count)), np.zeros((slots, count))
    for column, name in enumerate(DEVICES):
        owner = AGENTS.index(OWNER[name])
        drawn = np.maximum(p_device[:, column], 0.0)
        if KIND[name] == "shared_battery":
            p_storage[:, owner] = p_device[:, column]
            soc[:, owner] = 5.0
        else:
            p_load[:, owner] += drawn
            p_storage[:, owner] -= np.maximum(-p_device[:, column], 0.0)
    soc[:, :2] = 5.0 + 3.0 * np.sin((hour - 12.0) / 24.0 * 2.0 * np.pi)[:, None]
    p_net = p_load - p_pv + p_storage
    wrong = np.where(is_home, 0.3 * np.sin(hour[:, None] + np.arange(count)), 0.0)
    moved = np.zeros((slots, count))
    moved[(hour >= 18.0) & (hour < 19.0), 1] = -2.0
    return {
        "p_load": p_load,
        "p_pv": p_pv,
        "p_pv_available": p_pv,
        "p_storage": p_storage,
        "soc": soc,
        "p_net": p_net,
        "price": np.full((slots, count), 0.2),
        "p_contracted": p_net - wrong - moved,
        "p_service": moved,
        "p_load_forecast": p_load - wrong,
        "p_pv_forecast": p_pv,
    }


def services() -> dict[str, Any]:
    """Give two requests: one served in full, one in part."""
    first = START + np.timedelta64(18 * 3600, "s")
    return {
        "time": [first, first + np.timedelta64(STEP_S, "s"), first + np.timedelta64(STEP_S, "s")],
        "service": [0, 0, 1],
        "kind": [ServiceKind.DSO_REQUEST, ServiceKind.DSO_REQUEST, ServiceKind.PEAK_SHAVING],
        "area": [2, 2, 1],
        "need": [1.0, 2.0, 4.0],
        "accepted": [1.0, 1.5, 4.0],
        "delivered": [1.0, 1.25, 4.0],
        "unmet": [0.0, 0.75, 0.0],
        "cost": [0.25, 0.4, 0.6],
    }


IMBALANCE_EUR = np.array([0.5, -0.25, 0.125, 0.0, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
FLEXIBILITY_EUR = np.array([0.0, -0.65, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -0.6, 0.0, 0.0])
RETAIL_EUR = np.array([10.0] * 8 + [2.0] * 3)


def postings() -> dict[str, Any]:
    return {
        "time": START,
        "payer": [Party.AGENTS, Party.AGENTS, Party.AGENTS, Party.TSO],
        "payee": [Party.RETAILER, Party.OPERATOR, Party.DSO, Party.DSO],
        "kind": [
            PostingKind.ENERGY_RETAIL,
            PostingKind.IMBALANCE,
            PostingKind.CAPACITY,
            PostingKind.CAPACITY,
        ],
        "level": PostingLevel.NONE,
        "charge": layout.NO_ROW,
        "energy": 0.0,
        "amount": [RETAIL_EUR.sum(), IMBALANCE_EUR.sum(), FLEXIBILITY_EUR.sum(), 0.6],
    }


def end_tables(series: dict[str, dict[str, Floats]]) -> dict[str, Any]:
    device, agent = series["device"], series["agent"]
    total = RETAIL_EUR + IMBALANCE_EUR + FLEXIBILITY_EUR
    count = len(AGENTS)
    deviation = (agent["p_net"] - agent["p_contracted"] - agent["p_service"]) * HOURS
    parts = {
        PostingKind.ENERGY_RETAIL: RETAIL_EUR,
        PostingKind.IMBALANCE: IMBALANCE_EUR,
        PostingKind.CAPACITY: FLEXIBILITY_EUR,
    }
    days = len(device["p"]) // 96
    return {
        "device": {
            "energy": device["p"].sum(axis=0) * HOURS,
            "unmet": device["unmet"].sum(axis=0),
            "departures": [days] * 3 + [0] * 6,
            "short_departures": [0, 0, 1] + [0] * 6,
            "discomfort": [0.0] * 3 + [2.5] + [0.0] * 5,
        },
        "forecast": {
            "area": AREAS["area"],
            "mae": [_mae(deviation, area) for area in AREAS["area"]],
            "wape": [0.05, 0.05, 0.1, 0.12],
            "member_mae": [np.abs(deviation).mean()] * 4,
            "member_wape": [0.15] * 4,
        },
        "charge": {"charge": ["fees"], "kind": ["fees"], "purpose": ["network"], "revenue": [0.0]},
        "receipt": {
            "agent": np.concatenate([np.arange(count)] * len(parts)),
            "kind": np.repeat([int(kind) for kind in parts], count),
            "level": PostingLevel.NONE + np.zeros(len(parts) * count, np.int8),
            "charge": np.full(len(parts) * count, layout.NO_ROW),
            "energy": np.zeros(len(parts) * count),
            "amount": np.concatenate(list(parts.values())),
        },
        "bill": {
            "agent": AGENTS,
            **{name: np.zeros(count) for name in layout.BILL_PARTS},
            "energy_retail": RETAIL_EUR,
            "imbalance": IMBALANCE_EUR,
            "flexibility": FLEXIBILITY_EUR,
            "total": total,
            "no_trading_total": total + 1.0,
            "saving": np.ones(count),
            **dict.fromkeys(
                ("bought_p2p", "sold_p2p", "bought_retail", "sold_retail", "unserved", "curtailed"),
                np.zeros(count),
            ),
        },
        "warning": {"time": [], "kind": [], "message": []},
        "timing": {"part": ["all"], "seconds": [1.0], "calls": [1]},
    }


def _mae(deviation_kwh: Floats, area: str) -> float:
    inside = [_is_inside(of, area) for of in AGENT_AREA]
    return float(np.abs(deviation_kwh[:, inside].sum(axis=1)).mean())
