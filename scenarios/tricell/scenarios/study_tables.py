"""Turn the closures of a study into the tables of `tricell.results.study_layout`.

Every function returns the columns of one table for one closure, without the number of the run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.grid_models.area_tree import LEVEL_NAMES
from tricell.markets.charge import Charge, Customers, MeterData, SlotCharge, Source
from tricell.markets.postings import Kind
from tricell.markets.rate_solution import RateSolution
from tricell.markets.settlement import kind_of_charge
from tricell.results import charge_indicators as indicators
from tricell.results import kpis, layout
from tricell.results.study_layout import ALL_LEVELS, DURATION_POINTS
from tricell.scenarios.network_charges import energy_rates
from tricell.scenarios.study_closures import Billing, ClosureResult, collected_otherwise
from tricell.scenarios.study_run import RunRecord
from tricell.simulators.population import AgentKind

Floats = NDArray[np.float64]
Columns = dict[str, Any]

LEVELS = layout.AREA_LEVELS
OTHER_COMPONENTS = ("congestion", "redispatch")
HOUSEHOLD = AgentKind.HOUSEHOLD.label
UNIT_WORDS = {"kwh": "kWh", "kw": "kW", "kwp": "kWp", "kva": "kVA", "year": "a", "ohm": "ohm"}
RATE_UNIT = re.compile(r"eur_per_([a-z_]+)$")
DEFAULT_UNIT = "EUR/kWh"


def closure_tables(result: ClosureResult) -> dict[str, Columns]:
    """Return the rows of a closure in all tables that have any, without the column ``run``."""
    billing = result.billing
    if billing is None:
        return {}
    makers: Mapping[str, Callable[[Billing], Columns]] = {
        "revenue": revenue,
        "bill": bills,
        "bill_component": bill_components,
        "interface": interfaces,
        "duration": durations,
        "mean_day": mean_days,
        "day_matrix": day_matrix,
        "traded": traded,
        "grid": grid,
        "peak": peaks,
        "kpi": key_figures,
    }
    return {"rate": rates(result), **{name: make(billing) for name, make in makers.items()}}


def rates(result: ClosureResult) -> Columns:
    """List the rates of every round; the last round holds those of the bills."""
    rows: list[tuple[Any, ...]] = []
    last = len(result.rounds) - 1
    for number, round_ in enumerate(result.rounds):
        for charge in round_.charges:
            if not any(value for _, value, _ in rates_of(charge)):
                continue
            for name, value, unit in rates_of(charge):
                outcome = (round_.collected_eur, round_.change)
                rows.append(
                    (number, int(number == last), charge.label, name, value, unit, *outcome)
                )
    names = ("iteration", "is_final", "charge", "field", "value", "unit", "collected", "change")
    return _columns(names, rows)


def rates_of(charge: Charge) -> Iterator[tuple[str, float, str]]:
    """Yield name, value and unit of every rate of a charge, those inside tables one by one."""
    for name in charge.RATES:
        yield from _leaves(getattr(charge, name), name, _unit(name))


def _leaves(value: Any, name: str, unit: str) -> Iterator[tuple[str, float, str]]:
    match value:
        case None:
            return
        case Charge():
            for inner, number, its_unit in rates_of(value):
                yield f"{name}.{inner}", number, its_unit
        case dict():
            for key, inner in value.items():
                yield from _leaves(inner, f"{name}.{_key(key)}", unit)
        case tuple() | list():
            for position, inner in enumerate(value):
                yield from _leaves(inner, f"{name}.{position}", unit)
        case np.ndarray():
            yield from _leaves(value.tolist(), name, unit)
        case _:
            yield name, float(value), unit


def _key(key: object) -> str:
    return "-".join(str(part) for part in key) if isinstance(key, tuple) else str(key)


def _unit(field: str) -> str:
    """Return the unit that the name of a field ends with.

    >>> _unit("rate_eur_per_kw_year"), _unit("microgrid")
    ('EUR/(kW a)', 'EUR/kWh')
    """
    found = RATE_UNIT.search(field)
    if found is None:
        return DEFAULT_UNIT
    words = [UNIT_WORDS.get(word, word) for word in found.group(1).split("_")]
    return f"EUR/{words[0]}" if len(words) == 1 else f"EUR/({' '.join(words)})"


def revenue(billing: Billing) -> Columns:
    """Set collected against allowed revenue, by level of the customers and in all."""
    record, solution, cascade = billing.record, billing.solution, billing.cascade
    paid = solution.bill_eur[solution.recovers].sum(axis=0)
    paid = paid + record.congestion_eur + record.border_eur
    collected = np.bincount(record.customers.level - 1, paid, minlength=len(LEVELS))
    allowed = np.append(cascade.borne_eur, solution.allowed_eur)
    collected = np.append(collected, solution.revenue_eur)
    return {
        "level": [*LEVELS, ALL_LEVELS],
        "allowed": allowed,
        "own": np.append(cascade.allowed_eur, cascade.allowed_eur.sum()),
        "collected": collected,
        "gap": collected - allowed,
    }


def components(billing: Billing) -> dict[str, Floats]:
    """Return what every customer pays by component, EUR, shape (N,); they add up to the bill."""
    record, solution = billing.record, billing.solution
    retail_kwh = record.retail_kwh
    supply = record.retail_price[:, None] - billing.levies_eur_per_kwh
    parts = {
        "energy_p2p": record.energy_p2p_eur,
        "energy_retail": (retail_kwh * supply).sum(axis=0),
        "export": record.export_eur,
        "levy": retail_kwh.sum(axis=0) * billing.levies_eur_per_kwh,
        "congestion": record.congestion_eur,
        "redispatch": record.redispatch_eur,
    }
    if record.border_eur.any():
        parts["border fees"] = record.border_eur
    return parts | dict(zip(solution.labels, solution.bill_eur, strict=True))


def bills(billing: Billing) -> Columns:
    """Bills of all customers."""
    record, solution, customers = billing.record, billing.solution, billing.record.customers
    meters, parts = record.meters, components(billing)
    bought = record.bought_kwh[: Source.RETAIL].sum(axis=(0, 1))
    charged = {kind: _charged(solution, kind) for kind in (Kind.NETWORK, Kind.LOSSES, Kind.LEVY)}
    return {
        "customer": customers.id,
        "class": customers.group,
        "area": [record.area_id[area] for area in customers.area],
        "level": [LEVEL_NAMES[int(level)] for level in customers.level],
        "with_pv": customers.has_pv.astype(np.int8),
        "with_battery": record.with_battery.astype(np.int8),
        "participates": record.participates.astype(np.int8),
        "load_kwh": record.load_kwh,
        "import_kwh": meters.import_kwh.sum(axis=0),
        "export_kwh": meters.export_kwh.sum(axis=0),
        "shared_kwh": bought,
        "energy_p2p": parts["energy_p2p"],
        "energy_retail": parts["energy_retail"],
        "export": parts["export"],
        "network": charged[Kind.NETWORK] + record.border_eur,
        "levy": parts["levy"] + charged[Kind.LEVY],
        "losses": charged[Kind.LOSSES],
        "other": sum((parts[name] for name in OTHER_COMPONENTS), np.zeros(len(customers))),
        "total": total_bill(billing),
        "no_trading_total": billing.no_trading_eur,
        "causal_cost": billing.causal_eur,
    }


def _charged(solution: RateSolution, kind: Kind) -> Floats:
    """Return what customers pay for the charges of a kind, EUR, shape (N,)."""
    chosen = [kind_of_charge(charge) is kind for charge in solution.charges]
    return np.asarray(solution.bill_eur[np.array(chosen, np.bool_)].sum(axis=0))


def total_bill(billing: Billing) -> Floats:
    """Return the bill of every customer, EUR, shape (N,)."""
    return np.asarray(sum(components(billing).values(), np.zeros(len(billing.causal_eur))))


def bill_components(billing: Billing) -> Columns:
    """Bills by component; components that nobody pays are left out."""
    paid = {name: amount for name, amount in components(billing).items() if amount.any()}
    ids = billing.record.customers.id
    return {
        "customer": [customer for _ in paid for customer in ids],
        "component": [name for name in paid for _ in ids],
        "amount": np.concatenate([*paid.values(), np.zeros(0)]),
    }


def interfaces(billing: Billing) -> Columns:
    """Peaks of every area's connection to the one above."""
    record, customers = billing.whole, billing.whole.customers
    flow = record.area_net_kw
    at = flow.argmax(axis=0)
    individual = np.maximum(record.net_kw, 0.0).max(axis=0)
    below = _member(customers).T @ individual
    peak = flow.max(axis=0)
    return {
        "area": record.area_id,
        "level": [LEVEL_NAMES[int(level)] for level in customers.area_level],
        "trafo": record.area_trafo,
        "parent": ["" if row < 0 else record.area_id[row] for row in customers.area_parent],
        "rating": record.area_rating_kva,
        "peak_kw": peak,
        "peak_time": record.start[at],
        "peak_export_kw": np.maximum(-flow, 0.0).max(axis=0),
        "peak_loading": record.peak_loading_percent,
        "hours_over_limit": record.overload_hours,
        "coincidence": np.divide(
            peak, below, out=np.full(len(peak), np.nan), where=(below > 0.0) & (peak > 0.0)
        ),
        "energy_kwh": np.maximum(flow, 0.0).sum(axis=0) * record.hours,
    }


def durations(billing: Billing) -> Columns:
    """Load duration curve of every area's connection."""
    record = billing.record
    share = np.linspace(0.0, 1.0, DURATION_POINTS)
    curves = np.quantile(record.area_net_kw, 1.0 - share, axis=0)
    return {
        "area": [area for area in record.area_id for _ in share],
        "share_of_time": np.tile(share, len(record.area_id)),
        "kw": curves.T.ravel(),
    }


def mean_days(billing: Billing) -> Columns:
    """Mean day of every area's connection by local time."""
    record = billing.record
    hours, slot = np.unique(record.calendar.hour, return_inverse=True)
    count = np.bincount(slot)
    means = np.stack([np.bincount(slot, flow) / count for flow in record.area_net_kw.T])
    return {
        "area": [area for area in record.area_id for _ in hours],
        "hour": np.tile(hours, len(record.area_id)),
        "kw": means.ravel(),
    }


def day_matrix(billing: Billing) -> Columns:
    """Import of every area's connection by local day and hour."""
    record = billing.record
    local = record.calendar.local.tz_localize(None)
    day = local.to_numpy().astype("datetime64[D]").astype(np.int64)
    areas = len(record.area_id)
    return {
        "area": [area for area in record.area_id for _ in day],
        "day": np.tile(day, areas),
        "hour": np.tile(record.calendar.hour, areas),
        "kw": record.area_net_kw.T.ravel(),
    }


def traded(billing: Billing) -> Columns:
    """Energy by where it was bought, and the charges on it that are known per kWh."""
    record = billing.record
    charges = [each for each in billing.solution.charges if isinstance(each, SlotCharge)]
    known = energy_rates(charges, record.calendar, record.customers)
    amounts = [
        float((bought * (known.by_source[:, source, None] + known.imported)).sum())
        for source, bought in enumerate(record.bought_kwh)
    ]
    return {
        "level": [*LEVELS, Source.RETAIL.label],
        "energy_kwh": record.bought_kwh.sum(axis=(1, 2)),
        "charge_eur": amounts,
    }


def grid(billing: Billing) -> Columns:
    """Grid indicators by level of the network."""
    record, customers = billing.whole, billing.whole.customers
    level = customers.area_level
    peak = np.maximum(record.area_net_kw.max(axis=0), 0.0)
    loss = record.area_loss_kw.sum(axis=0) * record.hours
    top = np.flatnonzero(customers.area_parent < 0)
    overload = record.overload_hours + record.line_overload_hours
    rows = []
    for number in range(1, len(LEVELS) + 1):
        here, own = level == number, customers.level == number
        sums = loss[here].sum(), overload[here].sum(), peak[here].sum()
        rows.append(_grid_row(record, here, own, sums))
    together = record.area_net_kw[:, top].sum(axis=1).max()
    every = np.ones(len(level), np.bool_), np.ones(len(customers), np.bool_)
    rows.append(_grid_row(record, *every, (loss.sum(), overload.sum(), max(together, 0.0))))
    names = (
        "loss_kwh",
        "voltage_hours",
        "overload_hours",
        "curtailed_kwh",
        "peak_kw",
        "vm_min",
        "vm_max",
    )
    return {"level": [*LEVELS, ALL_LEVELS], **_columns(names, rows)}


def _grid_row(
    record: RunRecord,
    areas: NDArray[np.bool_],
    customers: NDArray[np.bool_],
    sums: tuple[Any, Any, Any],
) -> tuple[float, ...]:
    """Return a row of the table; `sums` are losses, hours of overload and the peak."""
    loss, overload, peak = sums
    low, high = record.vm_min[areas], record.vm_max[areas]
    return (
        float(loss),
        float(record.voltage_hours[areas].sum()),
        float(overload),
        float(record.curtailed_kwh[customers].sum()),
        float(peak),
        float(np.fmin.reduce(low)) if low.size else np.nan,
        float(np.fmax.reduce(high)) if high.size else np.nan,
    )


def peaks(billing: Billing) -> Columns:
    """Each customer's own peak beside its import at the peak of its area."""
    record, customers = billing.record, billing.record.customers
    imports = np.maximum(record.net_kw, 0.0)
    at = record.area_net_kw.argmax(axis=0)[customers.area]
    return {
        "customer": customers.id,
        "individual_kw": imports.max(axis=0),
        "coincident_kw": imports[at, np.arange(len(customers))],
    }


def key_figures(billing: Billing) -> Columns:
    """Key figures of a closure for itself; those against the reference design come later."""
    figures = [
        *_revenue_figures(billing),
        *_fairness_figures(billing),
        *_grid_figures(billing),
        *_price_figures(billing),
    ]
    return _columns(("name", "scope", "value", "unit"), figures)


Figure = tuple[str, str, float, str]


def _revenue_figures(billing: Billing) -> Iterator[Figure]:
    solution, record = billing.solution, billing.record
    imported = float(record.meters.import_kwh.sum())
    gap = indicators.revenue_gap(solution.allowed_eur, solution.revenue_eur, imported)
    recovery = indicators.revenue_recovery(solution.revenue_eur, solution.allowed_eur)
    yield "revenue_recovery", "run", _or_nan(recovery), "1"
    yield "revenue_shortfall", "run", gap.eur, "EUR"
    yield "revenue_shortfall_per_kwh", "run", _or_nan(gap.ct_per_kwh), "ct/kWh"
    yield "congestion_rent", "run", collected_otherwise(record), "EUR"


def _fairness_figures(billing: Billing) -> Iterator[Figure]:
    record, solution = billing.record, billing.solution
    network = solution.bill_eur[solution.recovers].sum(axis=0)
    imports = record.meters.import_kwh.sum(axis=0)
    share = record.calendar.year_share
    yield "price_gini", "run", _or_nan(indicators.price_gini(network, imports)), "1"
    yield "price_jain", "run", _or_nan(indicators.price_jain(network, imports)), "1"
    burden = indicators.lowest_quintile_burden(network, imports)
    yield "lowest_quintile_price", "run", _or_nan(burden.eur_per_kwh), "EUR/kWh"
    yield "lowest_quintile_relative_price", "run", _or_nan(burden.relative_price), "1"
    saving = indicators.community_saving_per_member(
        billing.no_trading_eur, total_bill(billing), record.participates, share
    )
    yield "community_saving_per_member", "run", _or_nan(saving), "EUR/a"
    subsidy = (network - billing.causal_eur) / share
    homes = np.array(record.customers.group) == HOUSEHOLD
    for owners, with_pv in (("households with PV", True), ("households without PV", False)):
        chosen = homes & (record.customers.has_pv == with_pv)
        if chosen.any():
            yield "cross_subsidy", owners, float(subsidy[chosen].mean()), "EUR/a"
            yield "network_bill", owners, float(network[chosen].mean() / share), "EUR/a"


def _grid_figures(billing: Billing) -> Iterator[Figure]:
    record, level = billing.whole, billing.whole.customers.area_level
    top = record.customers.area_parent < 0
    load = record.area_net_kw[:, top].sum(axis=1)
    peak = np.maximum(record.area_net_kw.max(axis=0), 0.0)
    yield "peak_grid", "run", float(max(load.max(), 0.0)), "kW"
    for number, name in enumerate(LEVELS, start=1):
        if (level == number).any():
            yield "peak", name, float(peak[level == number].sum()), "kW"
    loss = float(record.area_loss_kw.sum()) * record.hours
    yield "losses", "run", loss, "kWh"
    yield "curtailed", "run", float(record.curtailed_kwh.sum()), "kWh"
    yield "voltage_hours", "run", float(record.voltage_hours.sum()), "h"
    yield "limits_met_share", "run", record.limits_met_share, "1"
    imported = np.maximum(load, 0.0) * record.hours
    sufficiency = kpis.self_sufficiency(imported, record.load_kwh)
    yield "self_sufficiency", "run", _or_nan(sufficiency), "1"
    bought = billing.record.bought_kwh.sum(axis=(1, 2))
    total = float(bought.sum())
    local = float(bought[: Source.RETAIL].sum())
    yield "local_trade_share", "run", local / total if total > 0.0 else np.nan, "1"


def _price_figures(billing: Billing) -> Iterator[Figure]:
    record, charges = billing.record, billing.solution.charges
    slot_charges = [each for each in charges if isinstance(each, SlotCharge)]
    known = energy_rates(slot_charges, record.calendar, record.customers)
    network = known.by_source[:, Source.RETAIL] + known.imported.mean(axis=1)
    seen = np.broadcast_to(network, len(record.start))
    strength = indicators.price_signal_strength(seen + record.retail_price)
    yield "price_signal_strength", "run", _or_nan(strength), "EUR/kWh"
    top = record.customers.area_parent < 0
    load, before = (r.area_net_kw[:, top].sum(axis=1) for r in (record, billing.reference))
    rebound = indicators.rebound_peak(load, before, seen)
    yield "rebound_rise", "run", np.nan if rebound is None else rebound.rise_kw, "kW"
    prices = _house_prices(record, charges)
    for kwh, price in zip(indicators.HOUSES_KWH, prices, strict=True):
        yield "effective_price", f"house {kwh:g} kWh", price, "EUR/kWh"


def _house_prices(record: RunRecord, charges: Sequence[Charge]) -> list[float]:
    """Price of a kWh, supply and network, for houses with the mean shape of all households.

    A charge that needs more than a meter (a class, an area's peak) leaves it undefined.
    """
    homes = np.array(record.customers.group) == HOUSEHOLD
    shape = np.maximum(record.net_kw[:, homes], 0.0).mean(axis=1) if homes.any() else None
    if shape is None or not shape.any():
        return [np.nan] * len(indicators.HOUSES_KWH)
    houses = indicators.house_profiles_kw(shape, record.hours)
    # One customer of each other class, without any power, so that charges may speak of them.
    others = sorted(set(record.customers.group) - {HOUSEHOLD})
    net = np.concatenate([houses, np.zeros((len(houses), len(others)))], axis=1)
    group = (HOUSEHOLD,) * houses.shape[1] + tuple(others)
    customers = replace(Customers.plain(net.shape[1]), group=group)
    meters = MeterData(
        record.calendar,
        customers,
        net,
        wholesale_price=record.wholesale_price,
        congestion_rent_eur=np.zeros(len(net)),
    )
    try:
        network = sum((charge.bill_eur(meters) for charge in charges), np.zeros(net.shape[1]))
    except MarketError:
        return [np.nan] * len(indicators.HOUSES_KWH)
    energy = (meters.import_kwh * record.retail_price[:, None]).sum(axis=0)
    bill, share = (network + energy)[: houses.shape[1]], record.calendar.year_share
    return [float(p) for p in indicators.effective_price(bill, indicators.HOUSES_KWH, share)]


def _member(customers: Customers) -> Floats:
    """Return 1 where a customer (row) is in an area or below it (column)."""
    member = np.zeros((len(customers), len(customers.area_level)))
    area = customers.area.copy()
    while (inside := area >= 0).any():
        member[np.flatnonzero(inside), area[inside]] = 1.0
        area = np.where(inside, customers.area_parent[area], -1)
    return member


def _columns(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> Columns:
    return {name: [row[position] for row in rows] for position, name in enumerate(names)}


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else float(value)
