"""A small study with made-up but plausible households, for tests of what reads studies.

Sixty customers in four areas (two LV grids behind an MV grid behind the HV connection) over some
days of quarter-hours; four designs of the network charge, three closures, two seeds and two
shares of PV. The bills are computed from the made-up meter data, so that all tables agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tricell.results.study_layout import TABLES
from tricell.results.study_results import StudyHeader, write_study

Floats = NDArray[np.float64]

HOURS = 0.25
SLOTS = 96
START = np.datetime64("2016-06-30T22:00:00", "s")
"""Midnight of 1 July 2016 in Berlin, UTC."""
AREAS = {"HV": ("multicell", ""), "MV1": ("cell", "HV"), "LV1": ("microgrid", "MV1")}
AREAS["LV2"] = ("microgrid", "MV1")
RATING_KVA = {"HV": 400.0, "MV1": 400.0, "LV1": 160.0, "LV2": 100.0}
HOMES, SHOPS = 54, 6
RETAIL, FEED_IN, PEER, LEVY = 0.19, 0.08, 0.13, 0.02
"""EUR/kWh: supply by the retailer, feed-in, price between peers, levies."""
NETWORK_EUR_PER_KWH = 0.1
"""Allowed revenue per kWh that the reference run imports."""
CHARGES = {
    "volumetric": ("working price", "ct_per_kwh"),
    "fixed": ("standing charge", "eur_per_year"),
    "peak": ("monthly peak", "eur_per_kw_year"),
    "bands": ("time bands", "ct_per_kwh.high"),
}
LABELS = {
    "volumetric": "Volumetric (today)",
    "fixed": "Fixed price",
    "peak": "Monthly peak",
    "bands": "Time bands",
}
UNITS = {"volumetric": "EUR/kWh", "fixed": "EUR/a", "peak": "EUR/(kW a)", "bands": "EUR/kWh"}


@dataclass(frozen=True)
class Plan:
    """Which runs the study has."""

    designs: Sequence[str] = tuple(CHARGES)
    closures: Sequence[str] = ("none", "fixed", "resolved")
    seeds: Sequence[int] = (1, 2)
    pv_shares: Sequence[float] = (0.3, 0.6)
    days: int = 7
    failed: Sequence[int] = ()


@dataclass(frozen=True)
class Homes:
    """The customers of a run: what they own and what their meters show."""

    area: Sequence[str]
    group: Sequence[str]
    with_pv: NDArray[np.bool_]
    with_battery: NDArray[np.bool_]
    load_kw: Floats
    net_kw: Floats


@dataclass(frozen=True)
class _Run:
    """One run of the study."""

    number: int
    design: str
    closure: str
    point: int
    seed: int
    pv_share: float
    days: int
    failed: bool


@dataclass
class _Rows:
    """Rows of all tables, column by column."""

    columns: dict[str, dict[str, list[Any]]] = field(default_factory=dict)

    def add(self, table: str, count: int = 1, **values: Any) -> None:
        wanted = {column.name for column in TABLES[table].columns}
        assert set(values) == wanted, (table, wanted ^ set(values))
        target = self.columns.setdefault(table, {})
        for name, value in values.items():
            many = isinstance(value, (list, np.ndarray))
            target.setdefault(name, []).extend(value if many else [value] * count)


def write_study_file(path: Path, plan: Plan | None = None, **header: Any) -> Path:
    """Write the made-up study to a file."""
    details = StudyHeader(
        study="made_up",
        description="Made-up households, to see how a report looks.",
        reference_design=(plan or Plan()).designs[0],
        study_yaml="name: made_up\n",
        scenario_yaml="name: made_up_base\n",
        provenance={"packages": {"tricell": "0.1.0", "numpy": "2.0"}, "machine": {"cores": 2}},
        date_created="2026-01-02T03:04:05+00:00",
    )
    return write_study(path, replace(details, **header), study_tables(plan), force=True)


def study_tables(plan: Plan | None = None) -> Mapping[str, Mapping[str, Any]]:
    """Make up all tables of a study."""
    plan = plan or Plan()
    rows = _Rows()
    for design in plan.designs:
        rows.add(
            "design",
            design=design,
            label=LABELS[design],
            description=f"The network is paid by: {CHARGES[design][0]}.",
            is_reference=int(design == plan.designs[0]),
            charges=f"- kind: {design}\n",
        )
    for name, value, unit, source, year in (
        ("allowed revenue", "10", "ct/kWh", "made up for this test", "2016"),
        ("retail price, supply", "19", "ct/kWh", "made up for this test", "2016"),
        ("feed-in tariff", "8", "ct/kWh", "made up for this test", "2016"),
        ("floor of the monthly peak", "2.5", "kW", "Flemish regulator VREG, tariff method", "2023"),
    ):
        rows.add("parameter", name=name, value=value, unit=unit, source=source, year=year)
    number = 0
    for point, (pv_share, seed) in enumerate((p, s) for p in plan.pv_shares for s in plan.seeds):
        homes = make_homes(seed, pv_share, plan.days)
        for design in plan.designs:
            for closure in plan.closures:
                failed = number in plan.failed
                run = _Run(number, design, closure, point, seed, pv_share, plan.days, failed)
                _add_run(rows, run)
                if not failed:
                    _add_results(rows, run, homes)
                number += 1
    tables: dict[str, dict[str, Any]] = {}
    for name, table in TABLES.items():
        found = rows.columns.get(name, {})
        tables[name] = {column.name: found.get(column.name, []) for column in table.columns}
    return tables


def make_homes(seed: int, pv_share: float, days: int) -> Homes:
    """Make up households and shops and their meters, shape (T, N)."""
    rng = np.random.default_rng(seed)
    hour = np.tile(np.arange(SLOTS) * HOURS, days)
    count = HOMES + SHOPS
    area = ["LV1"] * 30 + ["LV2"] * 24 + ["MV1"] * SHOPS
    group = ["household"] * HOMES + ["business"] * SHOPS
    evening = 0.22 + 0.5 * np.exp(-(((hour - 19.0) / 2.2) ** 2)) + 0.2 * _bump(hour, 7.5, 1.5)
    working = 0.25 + 0.8 * _bump(hour, 12.0, 4.0)
    shape = np.where(np.arange(count) < HOMES, evening[:, None], 6.0 * working[:, None])
    size = rng.lognormal(0.0, 0.35, count)
    load = shape * size * rng.gamma(4.0, 0.25, (len(hour), count))
    with_pv = rng.permutation(np.linspace(0.0, 1.0, count, endpoint=False)) < pv_share
    with_battery = with_pv & (rng.random(count) < 0.5)
    sunny = rng.uniform(0.4, 1.0, days).repeat(SLOTS)
    sun = sunny * np.clip(np.cos((hour - 13.0) / 8.5 * np.pi / 1.6), 0.0, None)
    net = load - sun[:, None] * np.where(with_pv, rng.uniform(2.0, 5.5, count), 0.0)
    stored = np.where(with_battery, 0.5, 0.0) * np.maximum(-net, 0.0)
    evening_share = _bump(hour, 20.0, 2.0) / _bump(hour, 20.0, 2.0).sum()
    net = net + stored - 0.9 * stored.sum(axis=0) * evening_share[:, None]
    return Homes(area, group, with_pv, with_battery, load, net)


def reacted(homes: Homes, design: str, strength: float) -> Floats:
    """Move a share of the load of those with a battery as the design rewards it, kW, (T, N)."""
    if design in ("volumetric", "fixed"):
        return homes.net_kw * (1.0 if design == "volumetric" else 1.0 + 0.03 * strength)
    days = len(homes.net_kw) // SLOTS
    hour = np.tile(np.arange(SLOTS) * HOURS, days)
    dear = (hour >= 17.0) & (hour < 21.0)
    cheap = (hour >= 10.0) & (hour < 15.0)
    takes = np.where(homes.with_battery, 0.6, 0.15) * strength
    moved = np.where(dear[:, None], np.maximum(homes.net_kw, 0.0) * takes, 0.0)
    target = cheap if design == "bands" else ~dear & (hour < 6.0)
    back = moved.sum(axis=0) / target.sum()
    net = homes.net_kw - moved + np.where(target[:, None], back, 0.0)
    return net if design == "bands" else np.minimum(net, 0.85 * homes.net_kw.max(axis=0))


def _bump(hour: Floats, middle: float, width: float) -> Floats:
    return np.asarray(np.exp(-(((hour - middle) / width) ** 2)))


def billing_base(design: str, net: Floats) -> Floats:
    """What the design bills: kWh, customers, kW or weighted kWh; shape (N,)."""
    imports = np.maximum(net, 0.0)
    hour = np.tile(np.arange(SLOTS) * HOURS, len(net) // SLOTS)
    weight = np.where((hour >= 17.0) & (hour < 21.0), 2.0, np.where(hour < 6.0, 0.4, 1.0))
    match design:
        case "volumetric":
            return np.asarray(imports.sum(axis=0) * HOURS)
        case "fixed":
            return np.where(np.arange(net.shape[1]) < HOMES, 1.0, 6.0)
        case "peak":
            return np.asarray(np.maximum(imports.max(axis=0), 2.5))
        case _:
            return np.asarray((imports * weight[:, None]).sum(axis=0) * HOURS)


def _add_run(rows: _Rows, run: _Run) -> None:
    rows.add(
        "run",
        run=run.number,
        design=run.design,
        closure=run.closure,
        point=run.point,
        seed=run.seed,
        start=START,
        days=float(run.days),
        pv_share=run.pv_share,
        battery_share=np.nan,
        ev_share=np.nan,
        heat_pump_share=np.nan,
        participation=np.nan,
        status="failed" if run.failed else "complete",
        message="the power flow found no solution" if run.failed else "",
        seconds=1.5,
        simulations=1,
        reused=0,
        iterations=4 if run.closure == "resolved" else 1,
        converged=1,
        year_share=run.days * 24.0 / 8760.0,
        meters=f"{run.number:064x}",
    )


def _add_results(rows: _Rows, run: _Run, homes: Homes) -> None:
    design, closure, days = run.design, run.closure, run.days
    reference = homes.net_kw
    allowed = NETWORK_EUR_PER_KWH * float(np.maximum(reference, 0.0).sum() * HOURS)
    net = reference if closure == "none" else reacted(homes, design, 1.0)
    rate = allowed / billing_base(design, reference).sum()
    scale = days * 24.0 / 8760.0 if design in ("fixed", "peak") else 1.0
    rounds = 4 if closure == "resolved" else 1
    for iteration in range(rounds):
        met = reacted(homes, design, 1.0 - 0.5**iteration) if rounds > 1 else net
        final = iteration == rounds - 1
        met = net if final else met
        collected = float((rate * billing_base(design, met)).sum())
        before = rate
        if final and closure == "resolved":
            rate = allowed / billing_base(design, met).sum()
            collected = allowed
        rows.add(
            "rate",
            run=run.number,
            iteration=iteration,
            is_final=int(final),
            charge=CHARGES[design][0],
            field=CHARGES[design][1],
            value=rate / scale,
            unit=UNITS[design],
            collected=collected,
            change=np.nan if iteration == 0 else abs(rate / before - 1.0),
        )
        if not final:
            rate = allowed / billing_base(design, met).sum()
    network = rate * billing_base(design, net)
    _add_bills(rows, run, homes, (net, network), allowed)
    _add_grid(rows, run.number, homes, net)
    _add_figures(rows, run.number, homes, net, network)


def _add_bills(
    rows: _Rows, case: _Run, homes: Homes, meters: tuple[Floats, Floats], allowed: float
) -> None:
    run, design = case.number, case.design
    net, network = meters
    ids = [f"{area}.home.{row + 1:02d}" for row, area in enumerate(homes.area)]
    count = len(ids)
    imports, exports = np.maximum(net, 0.0) * HOURS, np.maximum(-net, 0.0) * HOURS
    ratio = np.minimum(1.0, exports.sum(axis=1) / np.maximum(imports.sum(axis=1), 1e-9))
    shared = imports * ratio[:, None]
    sold = exports * (shared.sum(axis=1) / np.maximum(exports.sum(axis=1), 1e-9))[:, None]
    amounts = {
        "energy_p2p": PEER * (shared - sold).sum(axis=0),
        "energy_retail": RETAIL * (imports - shared).sum(axis=0),
        "export": -FEED_IN * (exports - sold).sum(axis=0),
        "levy": LEVY * imports.sum(axis=0),
    }
    own = np.maximum(homes.net_kw, 0.0)
    top = own[np.argsort(homes.net_kw.sum(axis=1))[-4:]].mean(axis=0)
    causal = allowed * (0.4 / count + 0.6 * top / top.sum())
    total = sum(amounts.values(), np.zeros(count)) + network
    rows.add(
        "bill",
        count,
        run=run,
        customer=ids,
        **{"class": list(homes.group)},
        area=list(homes.area),
        level=[AREAS[area][0] for area in homes.area],
        with_pv=homes.with_pv.astype(int),
        with_battery=homes.with_battery.astype(int),
        participates=1,
        load_kwh=homes.load_kw.sum(axis=0) * HOURS,
        import_kwh=imports.sum(axis=0),
        export_kwh=exports.sum(axis=0),
        shared_kwh=shared.sum(axis=0),
        **amounts,
        network=network,
        losses=0.0,
        other=0.0,
        total=total,
        no_trading_total=(RETAIL + LEVY + 0.1) * imports.sum(axis=0)
        - FEED_IN * exports.sum(axis=0),
        causal_cost=causal,
    )
    for name, amount in {**amounts, CHARGES[design][0]: network}.items():
        rows.add("bill_component", count, run=run, customer=ids, component=name, amount=amount)
    at_level = np.array([AREAS[area][0] for area in homes.area])
    for level in ("microgrid", "cell", "all"):
        here = np.ones(count, bool) if level == "all" else at_level == level
        due, paid = float(causal[here].sum()), float(network[here].sum())
        own_cost = allowed if level == "all" else allowed * (0.6 if level == "microgrid" else 0.4)
        rows.add(
            "revenue",
            run=run,
            level=level,
            allowed=due,
            own=own_cost,
            collected=paid,
            gap=paid - due,
        )
    energy = {
        "microgrid": 0.8 * float(shared.sum()),
        "cell": 0.2 * float(shared.sum()),
        "multicell": 0.0,
        "retail": float((imports - shared).sum()),
    }
    for level, kwh in energy.items():
        charge = 0.1 * kwh if design in ("volumetric", "bands") else 0.0
        rows.add("traded", run=run, level=level, energy_kwh=kwh, charge_eur=charge)
    peaks = net.max(axis=0)
    in_area = area_flows(homes, net)
    coincident = np.array(
        [max(0.0, net[in_area[area].argmax(), row]) for row, area in enumerate(homes.area)]
    )
    rows.add(
        "peak",
        count,
        run=run,
        customer=ids,
        individual_kw=np.maximum(peaks, 0.0),
        coincident_kw=coincident,
    )


def area_flows(homes: Homes, net: Floats) -> dict[str, Floats]:
    """Import of every area, kW, shape (T,)."""
    own = {area: net[:, np.array(homes.area) == area].sum(axis=1) for area in AREAS}
    own["MV1"] = own["MV1"] + own["LV1"] + own["LV2"]
    own["HV"] = own["HV"] + own["MV1"]
    return own


def _add_grid(rows: _Rows, run: int, homes: Homes, net: Floats) -> None:
    days = len(net) // SLOTS
    hour = np.arange(SLOTS) * HOURS
    day = int(np.datetime64("2016-07-01", "D").astype(int))
    for area, flow in area_flows(homes, net).items():
        level, parent = AREAS[area]
        members = [row for row, home in enumerate(homes.area) if area in (home, "MV1", "HV")]
        rows.add(
            "interface",
            run=run,
            area=area,
            level=level,
            trafo=f"trafo {area}",
            parent=parent,
            rating=RATING_KVA[area],
            peak_kw=float(flow.max()),
            peak_time=START + np.timedelta64(int(flow.argmax()) * 900, "s"),
            peak_export_kw=max(0.0, -float(flow.min())),
            peak_loading=float(np.abs(flow).max() / RATING_KVA[area] * 100.0),
            hours_over_limit=float((np.abs(flow) > RATING_KVA[area]).sum() * HOURS),
            coincidence=float(flow.max() / net[:, members].max(axis=0).sum()),
            energy_kwh=float(np.maximum(flow, 0.0).sum() * HOURS),
        )
        rows.add(
            "duration",
            101,
            run=run,
            area=area,
            share_of_time=np.linspace(0.0, 1.0, 101),
            kw=np.quantile(flow, np.linspace(1.0, 0.0, 101)),
        )
        by_day = flow.reshape(days, SLOTS)
        rows.add("mean_day", SLOTS, run=run, area=area, hour=hour, kw=by_day.mean(axis=0))
        rows.add(
            "day_matrix",
            days * SLOTS,
            run=run,
            area=area,
            day=np.repeat(day + np.arange(days), SLOTS),
            hour=np.tile(hour, days),
            kw=flow,
        )
    flows = area_flows(homes, net)
    for level in ("microgrid", "cell", "multicell", "all"):
        peak = sum(f.max() for a, f in flows.items() if AREAS[a][0] == level)
        rows.add(
            "grid",
            run=run,
            level=level,
            loss_kwh=0.02 * float(np.abs(flows["HV"]).sum() * HOURS),
            voltage_hours=0.0,
            overload_hours=0.0,
            curtailed_kwh=0.0,
            peak_kw=float(flows["HV"].max() if level == "all" else peak),
            vm_min=0.96,
            vm_max=1.03,
        )


def _add_figures(rows: _Rows, run: int, homes: Homes, net: Floats, network: Floats) -> None:
    imports = np.maximum(net, 0.0).sum(axis=0) * HOURS
    figures = {
        "self_sufficiency": (1.0 - float(imports.sum() / (homes.load_kw.sum() * HOURS)), "1"),
        "peak_grid": (float(area_flows(homes, net)["HV"].max()), "kW"),
        "revenue_per_kwh": (float(network.sum() / imports.sum()), "EUR/kWh"),
        "undefined_figure": (np.nan, "1"),
    }
    for name, (value, unit) in figures.items():
        rows.add("kpi", run=run, name=name, scope="run", value=value, unit=unit)


def frames(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Turn made-up tables into data frames."""
    for name, columns in tables.items():
        yield name, pd.DataFrame(dict(columns))
