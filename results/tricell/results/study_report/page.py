"""The page of a study's report: one HTML file that needs nothing beside it."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tricell.results.charge_indicators import WORSE_EUR_PER_YEAR, WORSE_PERCENT
from tricell.results.study_layout import ALL_LEVELS, CLOSURES
from tricell.results.study_report.data import (
    AXES,
    AXIS_LABELS,
    CLOSURE_LABELS,
    PEAK_LABELS,
    StudyData,
)
from tricell.results.study_report.style import ReportFigure, signed
from tricell.results.study_report.tables import ReportTable, sensitivity_rows, varied_axes

TEMPLATE = "page.html.j2"
UNKNOWN = "–"
SECTIONS: Sequence[tuple[str, str, Sequence[str]]] = (
    ("revenue", "Revenue and rates", ("T1", "T2", "F10", "F5")),
    ("bills", "Bills and fairness", ("T3", "F1", "F2", "T4", "F6")),
    ("grid", "Grid", ("T5", "F3", "F4", "F7", "F8")),
    ("market", "Market", ("F9",)),
    ("figures", "Key figures and sensitivity", ("T6", "T7")),
    ("parameters", "Parameters", ("T8",)),
)
CLOSURE_TEXTS: Mapping[str, str] = {
    "none": "Rates are solved on the meters of the reference run and its bills are made with "
    "them; nobody changes anything. What is seen is who is billed otherwise for the same use.",
    "fixed": "The same rates, but batteries, trades and plants react to them. Rates stay, so "
    "revenue falls short of what is allowed or exceeds it: the gap.",
    "resolved": "Rates and reactions follow each other until both stay; then the rates recover "
    "the allowed revenue on the meters that are billed. Runs that do not settle are named.",
}


@dataclass(frozen=True)
class Cell:
    """A cell of a table on the page."""

    text: str
    is_number: bool


@dataclass(frozen=True)
class PagePart:
    """A table or a figure on the page; a table has rows, a figure an image if it was drawn."""

    key: str
    title: str
    caption: str
    notes: Sequence[str]
    headings: Sequence[Cell] = ()
    rows: Sequence[Sequence[Cell]] = ()
    image: str = ""


def render(
    data: StudyData,
    tables: Sequence[ReportTable],
    figures: Sequence[ReportFigure],
    drawn: Mapping[str, bytes],
) -> str:
    """Return the page.

    Parameters
    ----------
    drawn : SVG of every figure that was drawn, by its key.
    """
    parts = {table.key: _table_part(table) for table in tables}
    parts |= {figure.key: _figure_part(figure, drawn) for figure in figures}
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["held"] = held_together
    return environment.get_template(TEMPLATE).render(
        title=data.title,
        description=data.attrs["description"],
        findings=findings(data),
        designs=_designs(data),
        closures=[(CLOSURE_LABELS[c], CLOSURE_TEXTS[c]) for c in CLOSURES if c in data.closures],
        sections=[(slug, name, [parts[key] for key in keys]) for slug, name, keys in SECTIONS],
        runs=_run_facts(data),
        troubles=_troubles(data),
        period=data.period,
        is_year=data.days >= 364,
        seeds=len(data.seeds),
        facts=_facts(data),
        origins=_origins(data),
    )


def held_together(text: str) -> str:
    """Keep numbers and their units on one line.

    Examples
    --------
    >>> held_together("by 5 % or 100 EUR/yr") == "by 5\u00a0% or 100\u00a0EUR/yr"
    True
    """
    return re.sub(r"(?<=\d) (?=%|EUR|kW|kVA|ct/)", "\u00a0", text)


def findings(data: StudyData) -> list[str]:
    """Say in sentences which design, the reference among them, is best and worst.

    Designs that differ by less than what is written are named together.
    """
    rows = pd.DataFrame(sensitivity_rows(data, data.base)).set_index("design")
    if not set(data.others) & set(rows.index):
        return []
    sentences = []
    measures = [("change", ALL_LEVELS)]
    if data.peak_level != ALL_LEVELS:
        measures.insert(0, ("low_change", data.peak_level))
    for column, level in measures:
        change = rows[column].dropna().astype(float)
        if len(change) > 1:
            sentences.append(_peak_sentence(data, change, PEAK_LABELS[level]))
    gap = rows["gap"].dropna().astype(float)
    if len(gap):
        names, size = _highest(data, gap.abs(), TENTH)
        if size < TENTH / 2.0:
            sentences.append(
                "At fixed rates no design departs from the allowed revenue by 0.05 % or more."
            )
        else:
            values = " and ".join(f"{signed(gap[name])} %" for name in names)
            sentences.append(
                "At fixed rates the revenue departs most from what is allowed under "
                f"{_names(data, names)}: {values}."
            )
    hard = rows["hard"].drop(data.reference, errors="ignore").astype(float)
    (best, least), (worst, most) = _lowest(data, hard, WHOLE), _highest(data, hard, WHOLE)
    sentences.append(
        f"Customers worse off than under {data.labels[data.reference]} by more than "
        f"{WORSE_PERCENT:g} % and more than {WORSE_EUR_PER_YEAR:g} EUR/yr: "
        + (
            f"{least:.0f} % under every other design."
            if most - least < WHOLE
            else f"most under {_names(data, worst)} ({most:.0f} %), fewest under "
            f"{_names(data, best)} ({least:.0f} %)."
        )
    )
    return sentences


TENTH, WHOLE = 0.1, 1.0
"""Digits that findings are written with, %."""
MANY_NAMES = 3


def _peak_sentence(data: StudyData, change: pd.Series[float], what: str) -> str:
    (low, least), (high, most) = _lowest(data, change, TENTH), _highest(data, change, TENTH)
    reference = data.labels[data.reference]
    if most - least < TENTH:
        return f"The {what} is the same under all designs, to {TENTH:g} %."
    return (
        f"The {what} is lowest under {_names(data, low)} "
        f"({signed(least)} % against {reference}) and highest under {_names(data, high)} "
        f"({signed(most)} %)."
    )


def _lowest(data: StudyData, values: pd.Series[float], digit: float) -> tuple[list[str], float]:
    """Return the lowest value and the designs within a digit of it, in the order of the study."""
    lowest = float(values.min())
    near = values.index[values - lowest < digit]
    return [name for name in data.designs if name in near], lowest


def _highest(data: StudyData, values: pd.Series[float], digit: float) -> tuple[list[str], float]:
    names, lowest = _lowest(data, -values, digit)
    return names, -lowest


def _names(data: StudyData, designs: Sequence[str]) -> str:
    labels = [
        data.labels[name] + (" (the reference)" if name == data.reference else "")
        for name in designs
    ]
    if len(labels) > MANY_NAMES:
        left_out = len(labels) - MANY_NAMES
        labels = [*labels[:MANY_NAMES], f"{left_out} more"]
    return " and ".join([", ".join(labels[:-1]), labels[-1]] if len(labels) > 1 else labels)


def format_cell(value: object, spec: str) -> Cell:
    """Write a value for the page; what is not known as a dash.

    Examples
    --------
    >>> format_cell(1234.5, ",.0f").text, format_cell(float("nan"), "g").text
    ('1,234', '–')
    """
    if isinstance(value, (int, float, np.integer, np.floating)):
        number = float(value)
        if np.isnan(number):
            return Cell(UNKNOWN, True)
        text = f"{number:{spec}}" if spec else _four_digits(number)
        return Cell(_without_negative_zero(text), True)
    return Cell(str(value), False)


def _four_digits(number: float) -> str:
    if number == 0.0 or abs(number) < 1e-12:
        return "0"
    if abs(number) >= 1000.0:
        return f"{number:,.0f}"
    return f"{number:.2e}" if abs(number) < 1e-4 else f"{number:.4g}"


def _without_negative_zero(text: str) -> str:
    if not text.strip("+-0.,"):
        return text.lstrip("+-")
    return text.replace("-", "−") if text.startswith("-") else text


def _table_part(table: ReportTable) -> PagePart:
    shown = table.shown
    numeric = [pd.api.types.is_numeric_dtype(shown[name]) for name in shown.columns]
    rows: list[list[Cell]] = []
    last: list[object] = []
    for values in shown.itertuples(index=False):
        cells = [
            format_cell(value, table.formats.get(name, ""))
            for name, value in zip(shown.columns, values, strict=True)
        ]
        for column in range(table.merge):
            if list(values[: column + 1]) == last[: column + 1]:
                cells[column] = Cell("", cells[column].is_number)
        last = list(values)
        rows.append(cells)
    headings = [
        Cell(str(name), is_number) for name, is_number in zip(shown.columns, numeric, strict=True)
    ]
    return PagePart(table.key, table.title, table.caption, table.notes, headings, rows)


def _figure_part(figure: ReportFigure, drawn: Mapping[str, bytes]) -> PagePart:
    image = ""
    if figure.key in drawn:
        image = f"data:image/svg+xml;base64,{b64encode(drawn[figure.key]).decode('ascii')}"
    return PagePart(figure.key, figure.title, figure.caption, figure.notes, image=image)


def _designs(data: StudyData) -> list[tuple[str, str, str, bool]]:
    table = data.tables["design"]
    return [
        (data.labels[name], description, charges, name == data.reference)
        for name, description, charges in zip(
            table["design"], table["description"], table["charges"], strict=True
        )
    ]


def _run_facts(data: StudyData) -> list[tuple[str, str]]:
    runs = data.tables["run"]
    states = runs["status"].value_counts().sort_index()
    start = pd.Timestamp(data.base["start"].iloc[0]).tz_convert(data.attrs["time_zone_local"])
    bills = data.bills(data.main_closure)
    customers = bills.groupby("run")["customer"].nunique()
    axes = [
        f"{AXIS_LABELS[axis]}: {', '.join(_axis_values(data, axis))}" for axis in varied_axes(data)
    ]
    return [
        ("Customers", f"{int(customers.min()):,}"),
        ("Period", f"{data.period} from {start:%d %B %Y}"),
        ("Designs", f"{len(data.designs)}"),
        ("Closures", "; ".join(CLOSURE_LABELS[c] for c in data.closures)),
        ("Seeds", ", ".join(str(seed) for seed in data.seeds)),
        ("Axes", "; ".join(axes) or "none is varied"),
        (
            "Runs",
            f"{len(runs):,}: "
            + ", ".join(f"{count:,} {str(s).replace('_', ' ')}" for s, count in states.items()),
        ),
    ]


def _axis_values(data: StudyData, axis: str) -> list[str]:
    scale = 1.0 if axis == "days" else 100.0
    values = np.unique(data.runs[axis].dropna().to_numpy(np.float64))
    return [f"{scale * value:g}" for value in values]


def _troubles(data: StudyData) -> list[tuple[str, str, str, str]]:
    """Return design, closure, point and message of runs that failed or did not settle."""
    runs = data.tables["run"]
    bad = runs[(runs["status"] != "complete") | ~runs["run"].isin(data.runs["run"])]
    texts = bad[["design", "closure", "message"]].astype(str).to_numpy().tolist()
    return [
        (
            data.labels.get(design, design),
            CLOSURE_LABELS[closure],
            _point(bad.iloc[row]),
            message or "its reference run failed, so it takes no part",
        )
        for row, (design, closure, message) in enumerate(texts)
    ]


def _point(run: pd.Series[Any]) -> str:
    values = [
        f"{axis.replace('_', ' ')} {run[axis]:g}"
        for axis in ("seed", *AXES)
        if not np.isnan(run[axis])
    ]
    return ", ".join(values)


@dataclass(frozen=True)
class Origin:
    """A part of the provenance: rows of a table, or a list of sentences."""

    title: str
    headings: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    items: Sequence[str] = ()


ORIGINS: Mapping[str, str] = {
    "inputs": "Inputs and their licences",
    "packages": "Packages",
    "computed_with": "Program that computed the runs",
    "solver": "Solver",
    "machine": "Machine",
    "population": "Customers and devices at the base point",
    "notes": "Notes on the data",
}
"""Titles of the parts of the provenance, in their order; others follow by their names."""
FACTS: Mapping[str, str] = {
    "git_commit": "Commit of the program",
    "source": "SHA-256 of the source",
}


def _facts(data: StudyData) -> list[tuple[str, str]]:
    digest = hashlib.sha256(data.path.read_bytes()).hexdigest()
    facts = [
        ("Study", data.attrs["study"]),
        ("Date of the study", data.attrs["date_created"]),
        ("Program", data.attrs["source"]),
        ("Results file", data.path.name),
        ("SHA-256 of the results file", digest),
        ("Schema", f"{data.attrs['schema_name']} {data.attrs['schema_version']}"),
        ("Time zone", data.attrs["time_zone_local"]),
        ("Seeds", ", ".join(str(seed) for seed in sorted(set(data.tables["run"]["seed"])))),
    ]
    single = {name: each for name, each in data.provenance.items() if not _is_nested(each)}
    return facts + [(_word(name), str(value)) for name, value in single.items()]


def _origins(data: StudyData) -> list[Origin]:
    """Return what the provenance lists, part by part."""
    nested = {name: each for name, each in data.provenance.items() if _is_nested(each) and each}
    order = [name for name in ORIGINS if name in nested]
    order += [name for name in nested if name not in ORIGINS]
    return [_origin(ORIGINS.get(name, _word(name)), nested[name]) for name in order]


def _origin(title: str, value: Any) -> Origin:
    if isinstance(value, Mapping):
        return Origin(title, (), list(_pairs(value)))
    if all(isinstance(each, Mapping) for each in value):
        keys = list(dict.fromkeys(key for each in value for key in each))
        rows = [[str(each.get(key, "")) or UNKNOWN for key in keys] for each in value]
        return Origin(title, [_word(key).capitalize() for key in keys], rows)
    return Origin(title, items=[str(each) for each in value])


def _pairs(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        words = prefix + (name if prefix else _word(name))
        if isinstance(value, Mapping):
            yield from _pairs(value, f"{words}: ")
        elif isinstance(value, list):
            yield words.replace("_", " "), ", ".join(str(each) for each in value)
        else:
            yield words.replace("_", " "), _plain(value)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _is_nested(value: object) -> bool:
    return isinstance(value, (Mapping, list))


def _word(name: str) -> str:
    """Write a name for people, except where it is that of a package."""
    return FACTS.get(name, name.replace("_", " "))
