"""The figure of the hierarchy: the tree of areas, and a line of figures for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from tricell.errors import ResultsError
from tricell.results import layout
from tricell.results.plots.canvas import WIDTHS_CM, Drawn, legend_above, legend_cm, new_figure
from tricell.results.plots.choice import Choice
from tricell.results.report import words
from tricell.results.report.look import GRID, INK, LEVEL_COLOURS, LEVEL_NAME, PALE
from tricell.results.report.run_data import RunData

ROW_CM = 0.44
MOST_ROWS = 50
"""Larger trees end one level higher."""
INDENT_CM = 0.55
COLUMN_CM = {
    "members": 1.75,
    "import": 2.25,
    "export": 2.25,
    "peak": 2.0,
    "rating": 2.1,
    "price": 2.4,
}
UNITS = {"members": "", "peak": "kW", "rating": "kVA", "price": "ct/kWh"}
KWH_PER_MWH, KWH_SHOWN_UP_TO = 1e3, 10e3
NARROW = ("import", "export")
"""Columns that fit in one column of a paper."""
ONE_DECIMAL = ("import", "export", "price")
MARKERS = {"multicell": "D", "cell": "s", "microgrid": "o"}


@dataclass(frozen=True)
class Row:
    """A line of the tree: an area, how deep it lies, and its figures by column."""

    area: str
    level: str
    depth: int
    figures: dict[str, float]


def hierarchy(data: RunData, choice: Choice) -> Drawn:
    """Draw the tree of areas with the energy and the peak of each."""
    deepest, left_out = _deepest(data, choice)
    rows = list(_rows(data, choice, deepest))
    if not rows:
        raise ResultsError(f"{data.results.path} has no areas to draw.")
    columns = NARROW if choice.is_narrow else tuple(COLUMN_CM)
    levels = list(dict.fromkeys(row.level for row in rows))
    handles = [
        Line2D([], [], linestyle="", marker=MARKERS[level], color=LEVEL_COLOURS[level],
               label=LEVEL_NAME[level])
        for level in levels
    ]  # fmt: skip
    above = legend_cm(choice, [LEVEL_NAME[level] for level in levels])
    figure = new_figure(choice, 1.0 + above + ROW_CM * (len(rows) + 1.7))
    axis = figure.add_subplot()
    axis.set_axis_off()
    axis.set_xlim(0.0, WIDTHS_CM[choice.width])
    axis.set_ylim(len(rows) - 0.4, -2.1)
    _draw_branches(axis, rows)
    _draw_rows(axis, rows, columns, WIDTHS_CM[choice.width])
    legend_above(figure, choice, handles)
    others = f" {left_out} areas of lower levels are not drawn." if left_out else ""
    return Drawn(
        figure,
        "The areas of the run, each below the one that holds it. Members are those of an area and "
        "of all inside it; import and export are the net of all of them in each slot, peak is the "
        "highest of both, price is the mean over time of the area's market."
        + others
        + f" {data.period}.",
    )


def _deepest(data: RunData, choice: Choice) -> tuple[int, int]:
    """Return the number of the lowest level drawn, and how many areas that leaves out."""
    order = {level: number for number, level in enumerate(reversed(layout.AREA_LEVELS))}
    inside = data.inside(choice.area) if choice.area else tuple(data.areas["area"])
    of_area = data.areas[data.areas["area"].isin(list(inside))]["level"].map(order)
    deepest = order[choice.level] if choice.level else int(of_area.max())
    while not choice.level and deepest > of_area.min() and (of_area <= deepest).sum() > MOST_ROWS:
        deepest -= 1
    return deepest, int((of_area > deepest).sum())


def _rows(data: RunData, choice: Choice, deepest: int) -> Sequence[Row]:
    order = {level: number for number, level in enumerate(reversed(layout.AREA_LEVELS))}
    table = data.areas
    known = set(table["area"])
    found: list[Row] = []

    def visit(area: str, depth: int) -> None:
        level = str(table.set_index("area")["level"][area])
        if order[level] > deepest:
            return
        found.append(Row(area, level, depth, _figures(data, area, level)))
        for child in table.loc[table["parent"] == area, "area"]:
            visit(str(child), depth + 1)

    tops = [choice.area] if choice.area else table.loc[~table["parent"].isin(known), "area"]
    for top in tops:
        visit(str(top), 0)
    return found


def _figures(data: RunData, area: str, level: str) -> dict[str, float]:
    """Return the figures of an area, energy in kWh; those that are unknown are not in it."""
    members = data.agents["area"].isin(list(data.inside(area))).sum()
    figures = {"members": float(members)}
    if "rating" in data.areas:
        ratings = data.areas["rating"].to_numpy(np.float64)
        figures["rating"] = float(ratings[list(data.areas["area"]).index(area)])
    column = data.ids(level).get_loc(area)
    if data.has(level, "p_import"):
        kw = data.whole(level, "p_import")[:, column]
        figures["import"] = float(np.nansum(np.maximum(kw, 0.0))) * data.slot_hours
        figures["export"] = float(np.nansum(np.maximum(-kw, 0.0))) * data.slot_hours
        figures["peak"] = float(np.nanmax(np.abs(kw), initial=0.0))
    if data.has(level, "price"):
        price = data.whole(level, "price")[:, column]
        if np.isfinite(price).any():
            figures["price"] = 100.0 * float(price[np.isfinite(price)].mean())
    return figures


def _draw_branches(axis: Axes, rows: Sequence[Row]) -> None:
    """Draw a line from each area down to those directly below it."""
    for number, row in enumerate(rows):
        for lower in range(number + 1, len(rows)):
            if rows[lower].depth <= row.depth:
                break
            if rows[lower].depth == row.depth + 1:
                x = _across(row.depth)
                axis.plot([x, x, x + INDENT_CM], [number, lower, lower], color=PALE, lw=1.0,
                          zorder=1)  # fmt: skip


def _across(depth: int) -> float:
    return 0.2 + INDENT_CM * depth


def _draw_rows(axis: Axes, rows: Sequence[Row], columns: Sequence[str], width_cm: float) -> None:
    ends = width_cm - np.cumsum([0.0, *(COLUMN_CM[name] for name in reversed(columns))])[:-1]
    right = dict(zip(reversed(columns), ends, strict=True))
    energies = [row.figures[name] for row in rows for name in NARROW if name in row.figures]
    is_large = max(energies, default=0.0) >= KWH_SHOWN_UP_TO
    units = UNITS | dict.fromkeys(NARROW, "MWh" if is_large else "kWh")
    scales = dict.fromkeys(NARROW, 1.0 / KWH_PER_MWH) if is_large else {}
    for name, x in right.items():
        heading = f"{name}\n{units[name]}".rstrip()
        axis.text(x, -1.25, heading, ha="right", va="center", linespacing=1.0)
    for number, row in enumerate(rows):
        axis.axhline(number - 0.5, color=GRID, linewidth=0.6, zorder=0)
        x = _across(row.depth)
        axis.plot(x, number, MARKERS[row.level], color=LEVEL_COLOURS[row.level], ms=5, zorder=2)
        axis.text(x + 0.25, number, row.area, va="center", color=INK)
        for name, end in right.items():
            figure = scales.get(name, 1.0) * row.figures.get(name, float("nan"))
            axis.text(end, number, _written(name, figure), ha="right", va="center", color=INK)


def _written(column: str, figure: float) -> str:
    if not np.isfinite(figure):
        return words.UNKNOWN
    has_decimal = column in ONE_DECIMAL and abs(figure) < 1000.0
    return f"{figure:,.1f}" if has_decimal else f"{figure:,.0f}"
