"""The layout of a results file in words for people (Markdown) and as data for programs (JSON).

Both say what `tricell.results.layout` says, so that neither can say anything else. A page holds the
parts between markers, ``<!-- layout: tables -->`` and ``<!-- end -->``; `filled` writes them anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tricell.results import layout

PRESENCE_WORDS: Mapping[layout.Presence, str] = {
    "always": "in every file",
    "complete": "in every complete run",
    "rows": "in every file in which it has rows",
}
TYPE_WORDS: Mapping[str, str] = {
    "i1": "whole number of 1 byte",
    "i4": "whole number of 4 bytes",
    "i8": "whole number of 8 bytes",
    "f4": "floating-point number of 4 bytes (IEEE 754)",
    "f8": "floating-point number of 8 bytes (IEEE 754)",
    "str": "text of any length, UTF-8",
}
VARIABLE_HEADER = ("name", "type", "unit", "dimensions", "required", "meaning")
ATTRIBUTE_HEADER = ("attribute", "type", "there", "meaning")

Rows = Iterable[tuple[str, ...]]


def layout_description() -> dict[str, Any]:
    """Return the whole layout as plain data, ready for JSON."""
    return {
        "schema_name": layout.SCHEMA_NAME,
        "schema_version": layout.SCHEMA_VERSION,
        "conventions": layout.CONVENTIONS,
        "types": dict(TYPE_WORDS),
        "time_unit": layout.TIME_UNIT,
        "sign_convention": layout.SIGN_CONVENTION,
        "chunk": {
            "slots": layout.ROWS_PER_CHUNK,
            "most_entities": layout.MAX_ENTITIES_PER_CHUNK,
        },
        "attributes": [_attribute(each) for each in layout.ROOT_ATTRIBUTES],
        "group_attributes": [_attribute(each) for each in layout.GROUP_ATTRIBUTES],
        "dataset_attributes": [_attribute(each) for each in layout.DATASET_ATTRIBUTES],
        layout.META_ROOT: dict(layout.META),
        layout.SERIES_ROOT: {name: _series(group) for name, group in layout.SERIES.items()},
        layout.TABLE_ROOT: {name: _table(table) for name, table in layout.TABLES.items()},
    }


def filled(page: str) -> str:
    """Return a page with the text between its markers written anew.

    Raises
    ------
    KeyError
        If a marker names no part of the layout.
    """
    marked = re.compile(r"(<!-- layout: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
    return marked.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]()}\n{found[3]}", page)


def types_text() -> str:
    """Return the table of all types."""
    rows = ((f"`{name}`", words) for name, words in TYPE_WORDS.items())
    return "\n".join(_rows(("type", "what it is"), rows))


def attributes_text() -> str:
    """Return the attributes of the file and the texts about the run."""
    rows = (_attribute_row(each) for each in layout.ROOT_ATTRIBUTES)
    texts = (
        (f"`{layout.meta_path(name)}`", "`str`", "always", meaning)
        for name, meaning in layout.META.items()
    )
    parts = _rows(ATTRIBUTE_HEADER, rows)
    return "\n".join([*parts, *_rows(("text", "type", "there", "meaning"), texts)])


def described_text() -> str:
    """Return the attributes of groups and datasets."""
    groups = (_attribute_row(each) for each in layout.GROUP_ATTRIBUTES)
    datasets = (_attribute_row(each) for each in layout.DATASET_ATTRIBUTES)
    header = ATTRIBUTE_HEADER[1:]
    return "\n".join(
        [
            *_rows(("attribute of a group", *header), groups),
            *_rows(("attribute of a dataset", *header), datasets),
        ]
    )


def series_text() -> str:
    """Return all groups of time series with their variables."""
    lines = []
    for group in layout.SERIES.values():
        path = layout.series_path(group.name)
        there = "in every file" if group.name == layout.SLOT else "in every file with such entities"
        told = f"The group is {there}{_since(group)}."
        lines += [f"### `{path}`", "", f"{_sentence(group.meaning)} {told}", ""]
        axes = (_variable_row(axis, (axis.name,)) for axis in group.axes)
        variables = (_variable_row(each, group.dimensions, group.since) for each in group.variables)
        lines += _rows(VARIABLE_HEADER, (*axes, *variables))
    return "\n".join(lines)


def tables_text() -> str:
    """Return all tables with their columns."""
    lines = []
    for table in layout.TABLES.values():
        there = f"The table is {PRESENCE_WORDS[table.presence]}{_since(table)}."
        lines += [f"### `{layout.table_path(table.name)}`", ""]
        lines += [f"{_sentence(table.meaning)} {there}", ""]
        columns = (_variable_row(each, (table.axis,), table.since) for each in _columns(table))
        lines += _rows(VARIABLE_HEADER, columns)
    return "\n".join(lines)


PARTS: Mapping[str, Callable[[], str]] = {
    "types": types_text,
    "attributes": attributes_text,
    "described": described_text,
    "series": series_text,
    "tables": tables_text,
}
"""What a marker on a page may name."""


def _columns(table: layout.Table) -> tuple[layout.Variable, ...]:
    return table.columns if table.row_number is None else (table.row_number, *table.columns)


def _variable_row(
    variable: layout.Variable, dimensions: tuple[str, ...], since: str = layout.FIRST_VERSION
) -> tuple[str, ...]:
    """Give the cells of a row; `since` is the version that brought the group or table."""
    told = "" if variable.since == since else _since(variable)
    return (
        f"`{variable.name}`",
        f"`{variable.dtype}`",
        variable.unit,
        ", ".join(dimensions),
        "yes" if variable.required else "no",
        f"{_meaning(variable)}{told.replace(',', ';')}",
    )


def _since(added: layout.Flag | layout.Variable | layout.SeriesGroup | layout.Table) -> str:
    """Say which version brought it; "" for what there was from the beginning."""
    if added.since == layout.FIRST_VERSION:
        return ""
    return f", since {added.since.rpartition('.')[0]}"


def _meaning(variable: layout.Variable) -> str:
    """Say what values mean, and which there are."""
    parts = [variable.meaning]
    is_new = variable.since != layout.FIRST_VERSION
    codes = [
        f"{flag.value} = `{flag.word}`: {flag.meaning}{'' if is_new else _since(flag)}"
        for flag in variable.flags
    ]
    if codes:
        parts.append(", ".join(codes))
    if variable.words:
        parts.append("one of: " + ", ".join(f"`{word}`" for word in variable.words))
    if variable.points_to and variable.dtype == "str":
        parts.append(f"an id of `{layout.table_path(variable.points_to)}`")
    told = [f"{value} = {meaning}" for value, meaning in variable.outside if value != ""]
    if told and "-1 =" not in variable.meaning:
        parts.append(", ".join(told))
    return "; ".join(parts)


def _attribute_row(attribute: layout.Attribute) -> tuple[str, ...]:
    meaning = attribute.meaning
    if attribute.allowed:
        meaning += ": " + " or ".join(f"`{value}`" for value in attribute.allowed)
    if attribute.pattern:
        meaning += f"; matches `{attribute.pattern}`"
    is_type = attribute.dtype in TYPE_WORDS
    dtype = f"`{attribute.dtype}`" if is_type else attribute.dtype
    return (f"`{attribute.name}`", dtype, attribute.required, meaning)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _rows(header: tuple[str, ...], rows: Rows) -> Iterator[str]:
    yield _row(header)
    yield _row(("---",) * len(header))
    for row in rows:
        yield _row(row)
    yield ""


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _series(group: layout.SeriesGroup) -> dict[str, Any]:
    datasets = [
        *(_variable(axis, (axis.name,)) for axis in group.axes),
        *(_variable(each, group.dimensions) for each in group.variables),
    ]
    described: dict[str, Any] = {"meaning": group.meaning}
    if group.id_table:
        described["ids_of"] = layout.table_path(group.id_table)
    if group.level:
        described["level"] = group.level
    return described | _since_field(group) | {"datasets": datasets}


def _table(table: layout.Table) -> dict[str, Any]:
    return {
        "meaning": table.meaning,
        "there": PRESENCE_WORDS[table.presence],
        **_since_field(table),
        "datasets": [_variable(column, (table.axis,)) for column in _columns(table)],
    }


def _variable(variable: layout.Variable, dimensions: tuple[str, ...]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": variable.name,
        "type": variable.dtype,
        "unit": variable.unit,
        "dimensions": list(dimensions),
        "required": variable.required,
        "meaning": variable.meaning,
    }
    if variable.flags:
        described["codes"] = [
            {"value": flag.value, "word": flag.word, "meaning": flag.meaning} | _since_field(flag)
            for flag in variable.flags
        ]
    if variable.words:
        described["allowed"] = list(variable.words)
    if variable.points_to:
        described["points_to"] = layout.table_path(variable.points_to)
    if variable.outside:
        described["outside"] = [
            {"value": value, "meaning": meaning} for value, meaning in variable.outside
        ]
    return described | _since_field(variable)


def _since_field(
    added: layout.Flag | layout.Variable | layout.SeriesGroup | layout.Table,
) -> dict[str, str]:
    return {} if added.since == layout.FIRST_VERSION else {"since": added.since}


def _attribute(attribute: layout.Attribute) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": attribute.name,
        "type": attribute.dtype,
        "there": attribute.required,
        "meaning": attribute.meaning,
    }
    if attribute.allowed:
        described["allowed"] = list(attribute.allowed)
    if attribute.pattern:
        described["pattern"] = attribute.pattern
    return described
