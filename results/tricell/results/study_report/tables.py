"""The tables T1 to T8 of a study's report.

Amounts per year are those of the period over its share of a year. With several seeds, sums are
means over the seeds, and percentiles are taken over the customers of all seeds together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from tricell.results.charge_indicators import share_clearly_worse
from tricell.results.figure_names import figure_factor, figure_name, figure_unit, unit_for_people
from tricell.results.study_layout import ALL_LEVELS
from tricell.results.study_report.data import (
    AXES,
    AXIS_LABELS,
    CLOSURE_LABELS,
    EVERYBODY,
    LEVEL_LABELS,
    LOW_VOLTAGE,
    RATES_LABELS,
    StudyData,
    in_order,
)

LEVELS = ("microgrid", "cell", "multicell", ALL_LEVELS)
SMALL_EUR = 0.005
"""Amounts below half a cent are rounding."""
NOISE = 1e-6
"""Figures below this are rounding and count as 0, whatever their unit."""
NOISE_OF_COLUMN = 1e-12
"""The same as a share of the largest figure of a column."""


@dataclass(frozen=True)
class ReportTable:
    """A table of the report.

    Attributes
    ----------
    key, slug, title : such as T1, ``revenue`` and what it shows.
    caption : what is seen and how it is computed.
    full : all rows, as they go to files; units are in the headings.
    shown : rows and columns that the page prints.
    formats : format of the numbers of a column, such as ``,.0f``; others have 4 digits.
    notes : what is missing, and why.
    merge : leading columns whose repeated cells the page leaves empty.
    """

    key: str
    slug: str
    title: str
    caption: str
    full: pd.DataFrame
    shown: pd.DataFrame
    formats: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    merge: int = 0


def all_tables(data: StudyData) -> tuple[ReportTable, ...]:
    """Make T1 to T8."""
    makers: Sequence[Callable[[StudyData], ReportTable]] = (
        revenue,
        rates,
        bills,
        cross_subsidy,
        grid,
        key_figures,
        sensitivity,
        parameters,
    )
    return tuple(_without_noise(make(data)) for make in makers)


def _without_noise(table: ReportTable) -> ReportTable:
    return replace(table, full=without_noise(table.full), shown=without_noise(table.shown))


def without_noise(table: pd.DataFrame) -> pd.DataFrame:
    """Set figures to 0 that are nothing but rounding.

    Examples
    --------
    >>> without_noise(pd.DataFrame({"gap": [2.43e-12, -7.8e-14, 0.5]}))["gap"].tolist()
    [0.0, 0.0, 0.5]
    """
    columns = {}
    for name in table.columns:
        values = table[name]
        if pd.api.types.is_float_dtype(values) and len(values):
            size = values.abs()
            bound = max(NOISE, NOISE_OF_COLUMN * float(np.nan_to_num(size.max())))
            values = values.mask(size < bound, 0.0)
        columns[name] = values
    return pd.DataFrame(columns)


def revenue(data: StudyData) -> ReportTable:
    """T1: what the network operator may and does collect, by level and closure."""
    rows = data.rows("revenue")
    money = ["own", "allowed", "collected", "gap"]
    rows[money] = rows[money].div(rows["year_share"], axis=0)
    means = rows.groupby(["design", "closure", "level"])[money].mean().reset_index()
    matters = (means[money].abs() > SMALL_EUR).any(axis=1)
    table = _named(data, means[matters], ("design", "closure", "level"))
    full = pd.DataFrame(
        {
            **_keys(table, ("design", "closure", "level")),
            "Own cost, EUR/yr": table["own"],
            "Allowed revenue, EUR/yr": table["allowed"],
            "Collected, EUR/yr": table["collected"],
            "Gap, EUR/yr": table["gap"],
            "Recovery, %": 100.0
            * table["collected"]
            / table["allowed"].where(table["allowed"] > 0),
        }
    )
    has_customers = (table[["allowed", "collected"]].abs() > SMALL_EUR).any(axis=1)
    notes = () if has_customers.all() else ("Levels without customers are in the files only.",)
    return ReportTable(
        "T1",
        "revenue",
        "Revenue by level and closure",
        "What the network operator may collect from the customers of each level after the cascade "
        "of costs, what it collects, and the difference. Own cost is that of the level's own "
        f"network before the cascade. {_averaged(data)}",
        full,
        full[has_customers.to_numpy()],
        {"Recovery, %": ",.2f"} | dict.fromkeys(full.columns[3:7], ",.0f"),
        notes,
        merge=2,
    )


def rates(data: StudyData) -> ReportTable:
    """T2: the rates of the bills."""
    rows = data.rows("rate")
    rows = rows[rows["is_final"].astype(bool)]
    per_kwh = rows["unit"] == "EUR/kWh"
    rows = rows.assign(
        value=rows["value"] * np.where(per_kwh, 100.0, 1.0),
        unit=rows["unit"].mask(per_kwh, "ct/kWh"),
    )
    keys = ["design", "charge", "field", "unit"]
    stats = rows.groupby([*keys, "closure"], sort=False)["value"].agg(["mean", "min", "max"])
    table = _named(data, stats.reset_index(), ("design", "closure"))
    full = pd.DataFrame(
        {
            "Design": table["design"],
            "Charge": table["charge"],
            "Rate": [rate_name(name) for name in table["field"]],
            "Field": table["field"],
            "Unit": [unit_for_people(unit) for unit in table["unit"]],
            "Closure": table["closure"],
            "Mean": table["mean"],
            "Lowest seed": table["min"],
            "Highest seed": table["max"],
        }
    )
    index = ["Design", "Charge", "Rate", "Field", "Unit"]
    wide = full.pivot(index=index, columns="Closure", values="Mean").reset_index()
    wide = wide[[*index, *(CLOSURE_LABELS[c] for c in data.closures)]].rename_axis(None, axis=1)
    order = full[index].drop_duplicates()
    notes = () if len(rows) else ("No rate was solved in this study.",)
    return ReportTable(
        "T2",
        "rates",
        "Rates solved for the allowed revenue",
        "Rates of each design in the unit of the row, net of value added tax. Without reaction and "
        "at fixed rates they are solved on the meters of the reference run; new rates are solved "
        f"until rates and reactions stay. {_averaged(data)}",
        full,
        order.merge(wide, on=index).drop(columns="Field"),
        notes=notes,
        merge=1,
    )


def rate_name(field: str) -> str:
    """Write the name of a rate's field for people; its unit stands beside it.

    Examples
    --------
    >>> rate_name("rate_eur_per_kwh"), rate_name("bands.high_eur_per_kwh")
    ('rate', 'bands, high')
    """
    parts = [re.sub(r"_?eur_per_[a-z_]+$", "", part) for part in field.split(".")]
    return ", ".join(part.replace("_", " ") for part in parts if part) or "rate"


def bills(data: StudyData) -> ReportTable:
    """T3: bills by class and design."""
    rows = [
        {"design": design, "closure": closure, "group": name, **_bill_row(part, data)}
        for closure in data.closures
        for design, of_design in data.bills(closure).groupby("design")
        for name, part in _groups(of_design)
    ]
    table = pd.DataFrame(rows)
    table["group"] = in_order(table["group"].tolist(), list(dict.fromkeys(table["group"])))
    table = _named(data, table.sort_values("group"), ("closure", "group", "design"))
    full = pd.DataFrame(
        {
            "Closure": table["closure"],
            "Customers": table["group"].astype(str),
            "Design": table["design"],
            **{name: table[name] for name in table.columns if name not in _BILL_KEYS},
        }
    )
    shown = full[full["Closure"] == CLOSURE_LABELS[data.main_closure]].drop(columns="Closure")
    return ReportTable(
        "T3",
        "bills",
        "Bills by customer class and design",
        "Bill per customer and its change against the same customer's bill under "
        f"{data.labels[data.reference]}: mean, change of the mean in percent, and the customers of "
        "the 10th, 50th and 90th percentile of the change. Hit hard: worse off by more than 10 % "
        f"and by more than 100 EUR/yr. {_scaled(data)}",
        full,
        shown,
        dict.fromkeys(_EUR_COLUMNS, ",.0f")
        | {"Change of mean, %": "+,.1f", "Hit hard, % of customers": ",.1f", "Number": "g"}
        | dict.fromkeys(_CHANGE_COLUMNS, "+,.0f"),
        (_only(data), _period_note(data)),
        merge=1,
    )


_BILL_KEYS = ("design", "closure", "group")
_EUR_COLUMNS = ("Mean bill, EUR/yr", "Mean reference bill, EUR/yr")
_CHANGE_COLUMNS = (
    "Mean change, EUR/yr",
    "P10 change, EUR/yr",
    "P50 change, EUR/yr",
    "P90 change, EUR/yr",
)


def _bill_row(part: pd.DataFrame, data: StudyData) -> dict[str, float]:
    after, before = part["total"].to_numpy(), part["total_before"].to_numpy()
    change = after - before
    low, middle, high = np.quantile(change, (0.1, 0.5, 0.9))
    sum_before = before.sum()
    return {
        "Number": len(part) / part["seed"].nunique(),
        "Mean reference bill, EUR/yr": before.mean(),
        "Mean bill, EUR/yr": after.mean(),
        "Mean change, EUR/yr": change.mean(),
        "Change of mean, %": 100.0 * change.sum() / sum_before if sum_before > 0 else np.nan,
        "P10 change, EUR/yr": low,
        "P50 change, EUR/yr": middle,
        "P90 change, EUR/yr": high,
        "Hit hard, % of customers": 100.0 * (share_clearly_worse(after, before, 1.0) or 0.0),
    }


def cross_subsidy(data: StudyData) -> ReportTable:
    """T4: who pays more for the network than it causes."""
    at_base = data.customers[data.customers["run"].isin(data.base["run"])]
    rows = [
        _subsidies(part).reset_index().assign(closure=str(closure), design=str(design))
        for (closure, design), part in at_base.groupby(["closure", "design"])
    ]
    table = pd.concat(rows, ignore_index=True)
    table["segment"] = in_order(table["segment"].tolist(), [*data.segment_names, EVERYBODY])
    table = _named(data, table.sort_values("segment"), ("closure", "design", "segment"))
    full = pd.DataFrame(
        {
            "Closure": table["closure"],
            "Design": table["design"],
            "Customers": table["segment"].astype(str),
            "Number": table["number"],
            "Network charges paid, EUR/yr": table["network"],
            "Causal cost, EUR/yr": table["cost"],
            "Cross-subsidy, EUR/yr": table["subsidy"],
            "Cross-subsidy per customer, EUR/yr": table["subsidy"] / table["number"],
            "Cross-subsidy, % of causal cost": 100.0
            * table["subsidy"]
            / table["cost"].where(table["cost"] > 0),
        }
    )
    shown = full[full["Closure"] == CLOSURE_LABELS[data.main_closure]].drop(columns="Closure")
    return ReportTable(
        "T4",
        "cross_subsidy",
        "Cross-subsidy by customer class and design",
        "Network charges paid less the network cost that the class causes; positive pays for "
        "others. The causal cost comes from the parts of the allowed revenue for energy, "
        "coincident peak and customers; it is scaled to what the design collects, so that the sum "
        f"over all customers is zero. {_averaged(data)}",
        full,
        shown,
        {"Number": "g"}
        | dict.fromkeys(full.columns[4:6], ",.0f")
        | dict.fromkeys(full.columns[6:8], "+,.0f")
        | {full.columns[8]: "+,.1f"},
        (_only(data),),
        merge=1,
    )


def _subsidies(bills: pd.DataFrame) -> pd.DataFrame:
    """Return what each segment pays, causes and pays for others, EUR/yr, mean over the seeds."""
    seeds = bills["seed"].nunique()
    of_run = bills.groupby("seed")[["network", "causal_cost"]].transform("sum")
    cost = bills["causal_cost"] * of_run["network"] / of_run["causal_cost"]
    table = bills.assign(cost=cost, subsidy=bills["network"] - cost, number=1.0)
    sums = table.groupby("segment")[["network", "cost", "subsidy", "number"]].sum() / seeds
    sums.loc[EVERYBODY] = sums.sum()
    return sums


def grid(data: StudyData) -> ReportTable:
    """T5: the grid by level of the network."""
    rows = data.rows("grid")
    names = [
        "peak_kw",
        "loss_kwh",
        "curtailed_kwh",
        "overload_hours",
        "voltage_hours",
        "vm_min",
        "vm_max",
    ]
    before = data.tables["grid"][["run", "level", "peak_kw", "loss_kwh"]]
    rows = rows.merge(
        before.rename(columns={"run": "before"}), on=["before", "level"], suffixes=("", "_before")
    )
    keys = ["closure", "level", "design"]
    means = rows.groupby(keys)[[*names, "peak_kw_before", "loss_kwh_before"]].mean().reset_index()
    has_peak = means["peak_kw"].notna() & (means[["peak_kw", "loss_kwh"]].abs() > 0).any(axis=1)
    table = _named(data, means[has_peak], ("closure", "level", "design"))
    period = f"in {data.days:g} d"
    full = pd.DataFrame(
        {
            **_keys(table, ("closure", "level", "design")),
            "Peak, kW": table["peak_kw"],
            "Peak change, %": _percent(table["peak_kw"], table["peak_kw_before"]),
            f"Losses, kWh {period}": table["loss_kwh"],
            "Loss change, %": _percent(table["loss_kwh"], table["loss_kwh_before"]),
            f"Curtailed, kWh {period}": table["curtailed_kwh"],
            f"Over limit, element-h {period}": table["overload_hours"],
            f"Out of voltage band, bus-h {period}": table["voltage_hours"],
            "Lowest voltage, p.u.": table["vm_min"],
            "Highest voltage, p.u.": table["vm_max"],
        }
    )
    shown = full[full["Closure"] == CLOSURE_LABELS[data.main_closure]].drop(columns="Closure")
    formats = {
        name: "+,.1f" if "change" in name else ".3f" if "p.u." in name else ",.1f"
        for name in full.columns[3:]
    }
    return ReportTable(
        "T5",
        "grid",
        "Grid indicators by level",
        "Peaks of the interfaces of each level (the sum of the peaks of its areas; for all levels "
        "the peak of the connection to the grid above), losses, curtailed generation, hours above "
        "the limits of lines and transformers and hours of buses outside the voltage band, by AC "
        f"power flow. Changes count from {data.labels[data.reference]}. {_averaged(data)}",
        full,
        shown,
        formats,
        (_only(data),),
        merge=1,
    )


def key_figures(data: StudyData) -> ReportTable:
    """T6: key figures beside those of the reference."""
    keys = ["scope", "name", "unit"]
    rows = data.joined(data.key_figures)
    before = data.key_figures[["run", *keys, "value"]].rename(columns={"run": "before"})
    rows = rows.merge(before, on=["before", *keys], how="left", suffixes=("", "_before"))
    groups = rows.groupby([*keys, "design", "closure"], sort=False)
    stats = groups.agg(
        value=("value", "mean"),
        low=("value", "min"),
        high=("value", "max"),
        before=("value_before", "mean"),
    ).reset_index()
    defined = stats.groupby(keys)["value"].transform(lambda values: values.notna().any())
    undefined = sorted(set(stats.loc[~defined, "name"]))
    values = ["value", "low", "high", "before"]
    stats[values] = stats[values].mul(stats["name"].map(figure_factor), axis=0)
    table = _named(data, stats[defined.astype(bool)], ("design", "closure"))
    full = pd.DataFrame(
        {
            "Speaks of": table["scope"],
            "Key figure": [figure_name(name) for name in table["name"]],
            "Unit": [
                figure_unit(name, unit)
                for name, unit in zip(table["name"], table["unit"], strict=True)
            ],
            "Design": table["design"],
            "Closure": table["closure"],
            "Value": table["value"],
            "Lowest seed": table["low"],
            "Highest seed": table["high"],
            "Reference": table["before"],
            "Difference to reference": table["value"] - table["before"],
        }
    )
    of_run = full[
        (full["Speaks of"] == "run") & (full["Closure"] == CLOSURE_LABELS[data.main_closure])
    ]
    order = of_run[["Key figure", "Unit"]].drop_duplicates()
    wide = of_run.pivot(index=["Key figure", "Unit"], columns="Design", values="Value")
    columns = [data.labels[d] for d in (data.reference, *data.others) if data.labels[d] in wide]
    wide = wide[columns].reset_index().rename_axis(None, axis=1)
    notes = [_only(data), "Figures of single classes, levels and areas are in the files."]
    if undefined:
        words = ", ".join(figure_name(name) for name in undefined)
        notes.append(f"Undefined in every run and left out: {words}.")
    return ReportTable(
        "T6",
        "key_figures",
        "Key figures with the reference",
        f"Key figures of the whole run; the reference {data.labels[data.reference]} stands first. "
        f"{_averaged(data)}",
        full,
        order.merge(wide, on=["Key figure", "Unit"]),
        notes=tuple(notes),
    )


def sensitivity(data: StudyData) -> ReportTable:
    """T7: how the result depends on each axis."""
    axes = varied_axes(data)
    rows = [
        {"axis": AXIS_LABELS[axis], "value": value, **line}
        for axis in (*axes, "seed")
        for value, runs in along_axis(data, axis)
        for line in sensitivity_rows(data, runs)
    ]
    table = pd.DataFrame(rows)
    rates = RATES_LABELS[data.main_closure]
    heads = {
        "low_peak": f"Sum of low-voltage peaks ({rates}), kW",
        "low_change": f"Change of that sum ({rates}), %",
        "peak": f"Connection's peak ({rates}), kW",
        "change": f"Change of the connection's peak ({rates}), %",
        "bill": f"Mean bill ({rates}), EUR/yr",
        "bill_change": f"Mean change of bills ({rates}), EUR/yr",
        "hard": f"Hit hard ({rates}), % of customers",
        "gap": f"Revenue gap ({RATES_LABELS['fixed']}), %",
    }
    if data.peak_level != LOW_VOLTAGE:
        del heads["low_peak"], heads["low_change"]
    full = pd.DataFrame(
        {
            "Axis": table["axis"],
            "Value": table["value"],
            "Design": table["design"].map(dict(data.labels)),
            **{head: table[name] for name, head in heads.items()},
        }
    )
    notes = []
    if not axes:
        notes.append("The study has one point of the axes; only its seeds can be compared.")
    if len(data.seeds) == 1:
        notes.append("The study has one seed, so the spread between populations is not known.")
    numbers = dict(zip(heads.values(), (_SENSITIVITY[name] for name in heads), strict=True))
    return ReportTable(
        "T7",
        "sensitivity",
        "Sensitivity to adoption, participation and seed",
        "Main results along one axis at a time, all others as at the base point. Each column names "
        f"its closure. Changes count from {data.labels[data.reference]} at the same point; the "
        "revenue gap is that before rates are solved again.",
        full,
        full,
        numbers | {"Value": "g"},
        tuple(notes),
        merge=2,
    )


_SENSITIVITY: Mapping[str, str] = {
    "low_peak": ",.1f",
    "low_change": "+,.1f",
    "peak": ",.1f",
    "change": "+,.1f",
    "bill": ",.0f",
    "bill_change": "+,.0f",
    "hard": ",.1f",
    "gap": "+,.1f",
}
"""What `sensitivity_rows` returns beside the design, with its format."""


def varied_axes(data: StudyData) -> tuple[str, ...]:
    """Name the axes along which there are several points whose others are those of the base."""
    return tuple(axis for axis in AXES if len(along_axis(data, axis)) > 1)


def along_axis(data: StudyData, axis: str) -> list[tuple[float, pd.DataFrame]]:
    """Return runs by value of an axis; all other axes are those of the base point."""
    if axis == "seed":
        return [(float(seed), data.base[data.base["seed"] == seed]) for seed in data.seeds]
    first = data.base.iloc[0]
    others = [name for name in AXES if name != axis]
    same = np.logical_and.reduce(
        [(data.runs[o] == first[o]) | (data.runs[o].isna() & np.isnan(first[o])) for o in others]
    )
    runs = data.runs[same]
    scale = 1.0 if axis == "days" else 100.0
    values = np.unique(runs[axis].dropna().to_numpy(np.float64))
    return [(round(scale * value, 9), runs[runs[axis] == value]) for value in values.tolist()]


def sensitivity_rows(data: StudyData, runs: pd.DataFrame) -> list[dict[str, object]]:
    """Return the main results of every design over some runs.

    Keys: design; low_peak and peak, kW, the sum of the low-voltage peaks and the peak of the grid
    connection; low_change and change, their change against the reference, %; bill and bill_change,
    EUR/yr; hard, % of customers; gap, % of the allowed revenue at fixed rates.
    """
    gaps = data.rows("revenue", runs=runs, closure="fixed")
    gaps = gaps[gaps["level"] == ALL_LEVELS].groupby("design")[["gap", "allowed"]].sum()
    gap = (100.0 * gaps["gap"] / gaps["allowed"]).to_dict()
    chosen = runs[runs["closure"] == data.main_closure]
    low, all_ = (
        data.peaks(level).loc[chosen.index].groupby(chosen["design"])[["kw", "before"]].mean()
        for level in (LOW_VOLTAGE, ALL_LEVELS)
    )
    rows: list[dict[str, object]] = []
    for design, part in data.bills(data.main_closure, runs).groupby("design"):
        line = _bill_row(part, data)
        rows.append(
            {
                "design": design,
                "low_peak": low["kw"].get(design, np.nan),
                "low_change": _percent(low["kw"], low["before"]).get(design, np.nan),
                "peak": all_["kw"].get(design, np.nan),
                "change": _percent(all_["kw"], all_["before"]).get(design, np.nan),
                "bill": line["Mean bill, EUR/yr"],
                "bill_change": line["Mean change, EUR/yr"],
                "hard": line["Hit hard, % of customers"],
                "gap": gap.get(str(design), np.nan),
            }
        )
    order = list(data.designs)
    return sorted(rows, key=lambda row: order.index(str(row["design"])))


def parameters(data: StudyData) -> ReportTable:
    """T8: parameters with source and year."""
    table = data.tables["parameter"]
    full = pd.DataFrame(
        {
            "Parameter": [parameter_name(_with_point(data, name)) for name in table["name"]],
            "Value": [parameter_value(value) for value in table["value"]],
            "Unit": [unit_for_people(unit) if unit else "" for unit in table["unit"]],
            "Source": table["source"],
            "Year": table["year"],
        }
    )
    return ReportTable(
        "T8",
        "parameters",
        "Parameters with source and year",
        "What the study assumes, and where it comes from.",
        full,
        full,
        notes=() if len(full) else ("The study file states no parameters.",),
    )


def parameter_name(name: str) -> str:
    """Write the name of a parameter in words; its unit stands beside it.

    Examples
    --------
    >>> parameter_name("Monthly peak: network power, floor_kw")
    'Monthly peak: network power, floor'
    >>> parameter_name("Bands: 14a-3 bands, rates_eur_per_kwh.NT"), parameter_name("price, feed_in")
    ('Bands: 14a-3 bands, rates, NT', 'price, feed in')
    """
    return re.sub(r"\b[a-z]+_[\w.]*\w", lambda found: _in_words(found[0]), name)


def _in_words(field: str) -> str:
    return rate_name(re.sub(r"(?<!_per)_(kw|kwh|kwp|kva|minutes|hours|days|percent)$", "", field))


def parameter_value(value: str) -> str:
    """Write the value of a parameter: numbers with separators, fields in words.

    Examples
    --------
    >>> parameter_value("2.5028e+06"), parameter_value("0.11"), parameter_value("57 and 28")
    ('2,502,800', '0.11', '57 and 28')
    >>> parameter_value("kind fixed, price_eur_per_kwh 0.21")
    'fixed, price 0.21'
    """
    try:
        number = float(value)
    except ValueError:
        return parameter_name(re.sub(r"\bkind ", "", value))
    return f"{number:,.10g}" if abs(number) < 1e9 else f"{number:,.0f}"


def _with_point(data: StudyData, name: str) -> str:
    """Say which point of the axes a parameter belongs to instead of its number."""

    def words(found: re.Match[str]) -> str:
        runs = data.tables["run"]
        at_point = runs[runs["point"] == int(found[1])]
        if at_point.empty:
            return found[0]
        shares = [
            f"{_beginning_small(AXIS_LABELS[axis])} {100.0 * at_point[axis].iloc[0]:g} %"
            for axis in varied_axes(data)
            if axis != "days"
        ]
        seed = f"seed {at_point['seed'].iloc[0]}"
        return f"({', '.join([seed, *shares])})"

    return re.sub(r"\(point (\d+)\)", words, name)


def _beginning_small(label: str) -> str:
    return label[:1].lower() + label[1:].removesuffix(", %")


def _groups(bills: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return all customers, every class, and its parts with and without PV where it has both."""
    found = [(EVERYBODY, bills)]
    for group, part in bills.groupby("class"):
        found.append((str(group), part))
        if part["segment"].nunique() > 1:
            found += [(str(name), each) for name, each in part.groupby("segment")]
    return found


def _named(data: StudyData, table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Sort by the keys in the order of the study and write their names for people."""
    orders: dict[str, Sequence[str]] = {
        "design": data.designs,
        "closure": data.closures,
        "level": LEVELS,
    }
    names: dict[str, Mapping[str, str]] = {
        "design": data.labels,
        "closure": CLOSURE_LABELS,
        "level": LEVEL_LABELS,
    }
    own = [key for key in keys if key in orders]
    table = table.assign(**{key: in_order(table[key].tolist(), orders[key]) for key in own})
    table = table.sort_values(list(keys), kind="stable").reset_index(drop=True)
    return table.assign(**{key: [names[key].get(each, each) for each in table[key]] for key in own})


def _keys(table: pd.DataFrame, keys: Sequence[str]) -> dict[str, pd.Series[str]]:
    return {key.capitalize(): table[key] for key in keys}


def _percent(after: pd.Series[float], before: pd.Series[float]) -> pd.Series[float]:
    return 100.0 * (after / before.where(before.abs() > 0) - 1.0)


def _averaged(data: StudyData) -> str:
    count = len(data.seeds)
    return "One seed." if count == 1 else f"Means over {count} seeds."


def _scaled(data: StudyData) -> str:
    count = len(data.seeds)
    pooled = "" if count == 1 else f" Customers of {count} seeds are taken together."
    return f"Amounts of the period of {data.period} are scaled to a year.{pooled}"


def _period_note(data: StudyData) -> str:
    if data.days >= 364:
        return "The period is a whole year."
    return (
        f"The period of {data.period} is not a year: season and weather of the period are in "
        "every amount per year."
    )


def _only(data: StudyData) -> str:
    return f"Closure shown: {CLOSURE_LABELS[data.main_closure]}. " + (
        "The files have all closures." if len(data.closures) > 1 else "The study has no other."
    )
