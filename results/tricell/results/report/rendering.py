"""Sections of parts as one HTML page that needs nothing beside it and no network."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from tricell.results.report.parts import Cell, Part, PartTable, Section
from tricell.results.report.words import UNKNOWN, number

TEMPLATE = "page.html.j2"
ROUNDING = 1e-9
"""A number below this is a rounding error and is written as 0."""
DIGITS = 4
"""Significant digits of numbers in tables."""


TURNING = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])
"""Characters in a name that would turn round the direction of all text after it."""


@dataclass(frozen=True)
class Highlight:
    """A headline figure: the figure, what it is, and a plain sentence about it.

    `mood` is good, bad or empty; a word on the page tells it too.
    """

    figure: str
    name: str
    sentence: str
    mood: str = ""


@dataclass(frozen=True)
class AreaChoice:
    """An area that can be chosen.

    `depth` is how many areas hold it; `inside` are its id and those of the areas in it.
    """

    id: str
    label: str
    depth: int
    inside: Sequence[str]


@dataclass(frozen=True)
class Page:
    """What stands on a page.

    Attributes
    ----------
    title, lead : heading and the sentence beneath it.
    facts : short facts beneath that, such as the period.
    banner : a warning above all, "" for none.
    highlights, sections, areas : in their order; no areas, no choice of one.
    """

    title: str
    lead: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    banner: str = ""
    highlights: Sequence[Highlight] = ()
    areas: Sequence[AreaChoice] = ()


@dataclass(frozen=True)
class TableCell:
    """A cell as it is written."""

    text: str
    is_number: bool


def render(page: Page) -> str:
    """Return the page as HTML, plotly.js in it.

    Raises
    ------
    ValueError
        If two parts have the same key.
    """
    keys = [part.key for section in page.sections for part in section.parts]
    if len(keys) != len(set(keys)):
        raise ValueError(f"parts of a page have different keys, here are: {', '.join(keys)}")
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_readable,
    )
    environment.filters.update(
        figure=figure_json, as_json=script_json, cells=table_cells, heads=heading_cells
    )
    return environment.get_template(TEMPLATE).render(
        page=page,
        area_tree={each.id: list(each.inside) for each in page.areas},
        area_names={each.id: each.label for each in page.areas},
        style=_file("page.css"),
        script=_file("glue.js"),
        plotly=Markup(get_plotlyjs()),
    )


def _readable(value: object) -> object:
    """Return what the template writes, without characters that turn text round."""
    plain = isinstance(value, str) and not isinstance(value, Markup)
    return str(value).translate(TURNING) if plain else value


def figure_json(part: Part) -> Markup:
    """Return all that the page's script needs of a part's figure, small and safe in HTML."""
    assert part.figure is not None
    figure = part.figure.to_dict()
    figure["layout"].pop("template", None)
    content: dict[str, object] = {"data": figure["data"], "layout": figure["layout"]}
    if part.control:
        content["updates"] = part.control.updates
    if part.extra:
        content["extra"] = part.extra
    return script_json(content)


def script_json(content: object) -> Markup:
    """Write JSON that may stand inside a script element: arrays as base64, NaN as null."""
    text = json.dumps(_plain(content), separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    text = text.translate(TURNING)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028"))


def table_cells(table: PartTable) -> list[tuple[str, list[TableCell]]]:
    """Return the rows of a table: the area a row is about and its cells as they are written."""
    numeric = _numeric_columns(table)
    areas = table.areas or [""] * len(table.rows)
    return [
        (area, [TableCell(cell_text(cell), numeric[column]) for column, cell in enumerate(row)])
        for area, row in zip(areas, table.rows, strict=True)
    ]


def heading_cells(table: PartTable) -> list[TableCell]:
    """Return the headings of a table; those of numbers stand at the right, as numbers do."""
    numeric = _numeric_columns(table)
    return [TableCell(text, numeric[column]) for column, text in enumerate(table.headings)]


def cell_text(cell: Cell) -> str:
    """Write a cell.

    Examples
    --------
    >>> cell_text(1234567), cell_text(0.123456), cell_text(None), cell_text("Cell 1")
    ('1,234,567', '0.1235', '–', 'Cell 1')
    """
    if isinstance(cell, str):
        return cell
    if cell is None:
        return UNKNOWN
    if isinstance(cell, (int, np.integer)):
        return f"{cell:,}".replace("-", "−")
    return "0" if abs(cell) < ROUNDING else number(float(cell), DIGITS)


def _numeric_columns(table: PartTable) -> list[bool]:
    """Return which columns have numbers only, and one at least."""
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.headings)
    return [
        any(not isinstance(cell, str) and cell is not None for cell in column)
        and not any(isinstance(cell, str) for cell in column)
        for column in columns
    ]


def _plain(value: Any) -> Any:
    """Turn numbers and arrays of numpy and plotly's base64 into small JSON.

    Floats of double precision become single precision: more than a screen can show.
    """
    if isinstance(value, Mapping):
        if value.get("dtype") == "f8" and "bdata" in value:
            whole = np.frombuffer(base64.b64decode(value["bdata"]), dtype="<f8")
            return {**value, **_encoded(whole.astype("<f4"))}
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _array(values: np.ndarray[Any, Any]) -> Any:
    if values.dtype.kind == "M":
        return np.datetime_as_string(values, unit="s").tolist()
    if values.dtype.kind not in "fiu" or (values.dtype.kind != "f" and values.dtype.itemsize > 4):
        return _plain(values.tolist())
    small = values.astype("<f4") if values.dtype.kind == "f" else values
    shape = {} if small.ndim == 1 else {"shape": ", ".join(map(str, small.shape))}
    return {**_encoded(np.ascontiguousarray(small)), **shape}


def _encoded(values: np.ndarray[Any, Any]) -> dict[str, str]:
    name = f"{values.dtype.kind}{values.dtype.itemsize}"
    return {"dtype": name, "bdata": base64.b64encode(values.tobytes()).decode("ascii")}


def _file(name: str) -> Markup:
    return Markup((Path(__file__).parent / name).read_text(encoding="utf-8"))
