"""Put the outcomes of all runs of a study together into its tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tricell.markets.charge import HOURS_PER_YEAR, Charge
from tricell.markets.charge_preset import known_presets
from tricell.markets.charge_registry import known_charges
from tricell.results import charge_indicators as indicators
from tricell.results.layout import AREA_LEVELS
from tricell.results.study_layout import CLOSURES, TABLES
from tricell.scenarios.charge_choice import ChargeEntry, PresetEntry, expanded
from tricell.scenarios.prices import (
    ConstantWholesale,
    DayAhead2019,
    DynamicRetail,
    FixedFeedIn,
    FixedRetail,
)
from tricell.scenarios.scenario_file import dumped
from tricell.scenarios.schema import Prices
from tricell.scenarios.study_file import LoadedStudy
from tricell.scenarios.study_plan import SHARES, Point, points
from tricell.scenarios.study_schema import Design
from tricell.scenarios.study_tables import Columns, rates_of

ASSUMED = "assumption of this study"
PARAMETER_UNITS = {
    "kw": "kW",
    "kva": "kVA",
    "kwh": "kWh",
    "percent": "%",
    "hours": "h",
    "minutes": "min",
}
UNIT_IN_NAME = re.compile(r"(_eur_per_[a-z_]+|_(kwh|kwp|kw|kva|percent|minutes))$")
SET = "scenario of the study"
COMMON_FIELDS = ("kind", "name", "customers", "purpose")


@dataclass(frozen=True)
class Outcome:
    """One closure of a design at a point, as a worker hands it back.

    Attributes
    ----------
    point, design, closure : which.
    status, message : `study_layout.RUN_STATUS`, and why.
    seconds, simulations, reused, iterations, converged, meters : columns of the table of runs.
    tables : rows in all other tables, without the number of the run.
    """

    point: Point
    design: str
    closure: str
    status: str
    message: str
    seconds: float = 0.0
    simulations: int = 0
    reused: int = 0
    iterations: int = 0
    converged: bool = False
    meters: str = ""
    tables: Mapping[str, Columns] = field(default_factory=dict)


def assembled(
    loaded: LoadedStudy,
    outcomes: Sequence[Outcome],
    allowed: Mapping[int, tuple[float, float, float]],
) -> dict[str, Columns]:
    """Return all tables of a study.

    Parameters
    ----------
    loaded : the study.
    outcomes : of all closures, in any order.
    allowed : allowed revenue by level, EUR per year, by number of the base point.
    """
    ordered = sorted(outcomes, key=_order(loaded))
    parts: dict[str, list[tuple[int, Columns]]] = {name: [] for name in TABLES}
    for number, outcome in enumerate(ordered):
        for name, columns in outcome.tables.items():
            parts[name].append((number, columns))
        parts["kpi"] += [(number, columns) for columns in _against(outcome, ordered, loaded)]
    tables = {name: _stacked(name, rows) for name, rows in parts.items()}
    tables["design"] = _designs(loaded)
    tables["parameter"] = _parameters(loaded, allowed)
    tables["run"] = _runs(loaded, ordered)
    return tables


def _order(loaded: LoadedStudy) -> Any:
    names = [design.name for design in loaded.study.designs]

    def key(outcome: Outcome) -> tuple[int, int, int]:
        closure = CLOSURES.index(outcome.closure)
        return outcome.point.number, names.index(outcome.design), closure

    return key


def _stacked(name: str, rows: Sequence[tuple[int, Columns]]) -> Columns:
    """Put the rows of all runs below one another, with the number of the run."""
    names = [column.name for column in TABLES[name].columns]
    stacked: Columns = {column: [] for column in names}
    for number, columns in rows:
        length = len(next(iter(columns.values())))
        stacked["run"] += [number] * length
        for column, values in columns.items():
            stacked[column] += list(values)
    return stacked


def _runs(loaded: LoadedStudy, outcomes: Sequence[Outcome]) -> Columns:
    step_h = loaded.base.time.step_hours
    shares = {
        name: [_or_nan(getattr(outcome.point, name)) for outcome in outcomes] for name in SHARES
    }
    return {
        "run": np.arange(len(outcomes)),
        "design": [outcome.design for outcome in outcomes],
        "closure": [outcome.closure for outcome in outcomes],
        "point": [outcome.point.number for outcome in outcomes],
        "seed": [outcome.point.seed for outcome in outcomes],
        "start": [np.datetime64(o.point.start.replace(tzinfo=None), "s") for o in outcomes],
        "days": [outcome.point.days for outcome in outcomes],
        **shares,
        "status": [outcome.status for outcome in outcomes],
        "message": [outcome.message for outcome in outcomes],
        "seconds": [outcome.seconds for outcome in outcomes],
        "simulations": [outcome.simulations for outcome in outcomes],
        "reused": [outcome.reused for outcome in outcomes],
        "iterations": [outcome.iterations for outcome in outcomes],
        "converged": [int(outcome.converged) for outcome in outcomes],
        "year_share": [
            round(outcome.point.days * 24.0 / step_h) * step_h / HOURS_PER_YEAR
            for outcome in outcomes
        ],
        "meters": [outcome.meters for outcome in outcomes],
    }


def _against(
    outcome: Outcome, outcomes: Sequence[Outcome], loaded: LoadedStudy
) -> Iterator[Columns]:
    """Yield key figures against the reference design at the same point and closure."""
    reference = next(
        other
        for other in outcomes
        if other.design == loaded.study.reference
        and (other.point, other.closure) == (outcome.point, outcome.closure)
    )
    if "bill" not in outcome.tables or "bill" not in reference.tables:
        return
    bill, before = outcome.tables["bill"]["total"], reference.tables["bill"]["total"]
    year_share = outcome.point.days * 24.0 / HOURS_PER_YEAR
    worse = indicators.share_clearly_worse(bill, before, year_share)
    figures = [("share_clearly_worse", _or_nan(worse), "1")]
    peak, old = (_value(each, "peak_grid") for each in (outcome, reference))
    figures.append(("peak_reduction", 1.0 - peak / old if old > 0.0 else np.nan, "1"))
    yield {
        "name": [name for name, _, _ in figures],
        "scope": ["run"] * len(figures),
        "value": [value for _, value, _ in figures],
        "unit": [unit for _, _, unit in figures],
    }


def _value(outcome: Outcome, name: str) -> float:
    kpi = outcome.tables["kpi"]
    return float(kpi["value"][list(kpi["name"]).index(name)])


def _designs(loaded: LoadedStudy) -> Columns:
    study = loaded.study
    return {
        "design": [design.name for design in study.designs],
        "label": [design.title for design in study.designs],
        "description": [design.description for design in study.designs],
        "is_reference": [int(design.name == study.reference) for design in study.designs],
        "charges": [
            dumped([charge.model_dump(mode="json") for charge in expanded(design.charges)])
            for design in study.designs
        ],
    }


Parameter = tuple[str, str, str, str, str]


def _parameters(loaded: LoadedStudy, allowed: Mapping[int, tuple[float, float, float]]) -> Columns:
    study = loaded.study
    rows: list[Parameter] = [
        (p.name, _shown(p.value), p.unit, p.source, "" if p.year is None else str(p.year))
        for p in study.parameters
    ]
    rows += _study_parameters(loaded, allowed)
    for design in study.designs:
        rows += _design_parameters(design)
    names = ("name", "value", "unit", "source", "year")
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _study_parameters(
    loaded: LoadedStudy, allowed: Mapping[int, tuple[float, float, float]]
) -> Iterator[Parameter]:
    study = loaded.study
    billed = " and ".join(study.billed_levels) or "all"
    yield "levels of the network whose customers are billed", billed, "", ASSUMED, ""
    source = ASSUMED if study.revenue is not None else "collected by the reference design"
    repetitions = {point.number: point for point in points(study, loaded.base)}
    for number, levels in allowed.items():
        where = _repetition(loaded, repetitions[number])
        yield f"allowed revenue{where}", f"{sum(levels):.0f}", "EUR/a", source, ""
        for level, amount in zip(AREA_LEVELS, levels, strict=True):
            name = f"allowed revenue for the network of the level {level}{where}"
            yield name, f"{amount:.0f}", "EUR/a", source, ""
    if study.revenue is None:
        for level in AREA_LEVELS:
            name = f"share of the allowed revenue for the network of the level {level}"
            yield name, _shown(getattr(study.level_shares, level)), "1", ASSUMED, ""
    for cause in ("energy", "peak", "customer"):
        value = _shown(getattr(study.cost, cause))
        yield f"share of the cost caused by: {cause}", value, "1", ASSUMED, ""
    yield "hours of a level's peak", _shown(study.cost.peak_hours), "h", ASSUMED, ""
    yield "change of rates that counts as none", _shown(study.tolerance), "1", ASSUMED, ""
    yield "most rounds of rates and reactions", _shown(study.max_iterations), "", ASSUMED, ""
    for name, value in _prices(loaded.base.prices):
        yield name, value, "EUR/kWh", SET, ""


def _repetition(loaded: LoadedStudy, point: Point) -> str:
    """Return in words which repetition a base point belongs to, where there are several."""
    axes = loaded.study.axes
    parts = []
    if len(axes.seed) > 1:
        parts.append(f"seed {point.seed}")
    if len(axes.start) > 1:
        parts.append(f"from {point.start:%Y-%m-%d %H:%M} UTC")
    if len(axes.days) > 1:
        parts.append(f"{point.days:g} days")
    return f" ({', '.join(parts)})" if parts else ""


def _prices(prices: Prices) -> Iterator[tuple[str, str]]:
    """Yield prices outside the local markets in words."""
    match prices.wholesale:
        case DayAhead2019():
            wholesale = "day-ahead prices of Germany and Luxembourg, 2019"
        case ConstantWholesale(price_eur_per_kwh=price):
            wholesale = _shown(price)
        case series:
            wholesale = f"column {series.column} of {series.file}"
    yield "wholesale price", wholesale
    match prices.retail:
        case FixedRetail(price_eur_per_kwh=price):
            retail = _shown(price)
        case DynamicRetail(adder_eur_per_kwh=adder):
            retail = f"wholesale price + {adder:g}"
    yield "retail price without network charges, with levies", retail
    yield "levies in the retail price", _shown(prices.levies_eur_per_kwh)
    match prices.feed_in:
        case FixedFeedIn(price_eur_per_kwh=price):
            feed_in = _shown(price)
        case follows:
            lowest = follows.floor_eur_per_kwh
            floor = "" if lowest is None else f", at least {lowest:g}"
            feed_in = f"wholesale price {follows.margin_eur_per_kwh:+g}{floor}"
    yield "feed-in price", feed_in


def _design_parameters(design: Design) -> Iterator[Parameter]:
    for entry in design.charges:
        source, year = _source(entry)
        for charge in expanded([entry]):
            about = f"{design.title}: {charge.label.replace('_', ' ')}"
            for name, value, unit in rates_of(charge):
                yield f"{about}, {_in_words(name)}", _shown(value), unit, source, year
            for name, number in _other_numbers(charge):
                words, unit = _in_words(name), _parameter_unit(name)
                yield f"{about}, {words}", _shown(number), unit, source, year


def _in_words(field: str) -> str:
    """Return the name of a field of a charge in words, without the unit at its end.

    >>> _in_words("rates_eur_per_kwh.HT"), _in_words("floor_kw"), _in_words("cell_discount")
    ('rates, HT', 'floor', 'cell discount')
    """
    head, *inside = field.split(".")
    return ", ".join([UNIT_IN_NAME.sub("", head).replace("_", " "), *inside])


def _source(entry: ChargeEntry) -> tuple[str, str]:
    if isinstance(entry, PresetEntry):
        preset = known_presets()[entry.preset]
        return "; ".join(each.name for each in preset.sources), str(preset.year)
    return f"{ASSUMED}; the charge: {known_charges()[entry.kind].about.source}", ""


def _other_numbers(charge: Charge) -> Iterator[tuple[str, float]]:
    for name in type(charge).model_fields:
        value = getattr(charge, name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if name not in (*COMMON_FIELDS, *charge.RATES) and is_number:
            yield name, float(value)


def _parameter_unit(name: str) -> str:
    return PARAMETER_UNITS.get(name.rsplit("_", 1)[-1], "1" if "discount" in name else "")


def _shown(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else float(value)
