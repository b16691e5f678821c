"""Figures of prices: over time, and as a heat map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from tricell.errors import ResultsError
from tricell.results.plots.canvas import (
    MAP_FRAME_CM,
    Drawn,
    colour_bar,
    colour_map,
    day_axis,
    heat_map,
    interval_edges,
    legend_above,
    legend_cm,
    map_colours,
    name_rows,
    new_figure,
    places,
    steps,
    time_axis,
)
from tricell.results.plots.choice import Choice
from tricell.results.report.figures_market import across, day_by_time
from tricell.results.report.look import GREY, LEVEL_COLOURS, LEVEL_NAME, LEVEL_NAMES, SEQUENTIAL
from tricell.results.report.run_data import RunData, span

Floats = NDArray[np.float64]

DASHES: Mapping[str, Any] = {"microgrid": "-", "cell": (0, (5, 1.5)), "multicell": (0, (1.2, 1.2))}
TARIFFS: Mapping[str, tuple[str, Any]] = {
    "retail_price": ("retail price", "-"),
    "feed_in_price": ("feed-in price", (0, (1, 1.5))),
}
LOW, HIGH = 10.0, 90.0
"""Percentiles over areas between which the band lies, as in the report."""
MOST_DAYS_BY_AREA = 10.0
"""Price maps of longer periods have a column per day instead of a row per area."""
LEAST_MAP_CM = 2.4
"""Height of a heat map of few rows: its scale of colours has a name."""
PRICE = "price, EUR/kWh"


def prices(data: RunData, choice: Choice) -> Drawn:
    """Draw the prices of the market levels over time, with the tariffs of the retailer."""
    markets = _markets(data, choice)
    labels = [label for _, _, label in markets]
    figure = new_figure(choice, 6.0 + legend_cm(choice, [*labels, *TARIFFS]))
    axis = figure.add_subplot()
    handles = []
    for level, columns, label in markets:
        values = data.bucketed(level, "price")[:, columns]
        colour = LEVEL_COLOURS[level]
        if values.shape[1] > 1:
            low, high = across(values, LOW), across(values, HIGH)
            axis.fill_between(
                places(interval_edges(data)),
                steps(data, low),
                steps(data, high),
                step="post",
                color=colour,
                alpha=0.22,
                linewidth=0,
            )
        line = Line2D([], [], label=label, color=colour, linestyle=DASHES[level])
        handles.append(_draw(axis, data, across(values, 50.0), line))
    for name, (label, dash) in TARIFFS.items():
        if data.has("slot", name):
            line = Line2D([], [], label=label, color=GREY, linestyle=dash)
            handles.append(_draw(axis, data, data.bucketed("slot", name)[:, 0], line))
    axis.set_ylabel(PRICE)
    axis.grid(axis="y")
    time_axis(axis, data, choice)
    legend_above(figure, choice, handles)
    band_words = (
        f"; where a level has several areas, their median, the band from the {LOW:g}th to the "
        f"{HIGH:g}th percentile"
    )
    several = any(len(columns) > 1 for _, columns, _ in markets)
    return Drawn(
        figure,
        f"Price of energy in the market of each level{band_words if several else ''}. "
        f"{_mean_words(data)}{data.period}.",
    )


def _markets(data: RunData, choice: Choice) -> list[tuple[str, NDArray[np.int64], str]]:
    """Return level, columns and label of the areas shown and, of one area, of those above it."""
    found = [
        (level, columns, _label(data, level, columns))
        for level in choice.levels(data)
        if data.has(level, "price") and len(columns := choice.columns(data, level))
    ]
    table = data.areas.set_index("area")
    above = str(table["parent"].get(choice.area, ""))
    while above in table.index and not choice.level:
        level = str(table["level"][above])
        column = np.array([data.ids(level).get_loc(above)], dtype=np.int64)
        found.append((level, column, _label(data, level, column)))
        above = str(table["parent"][above])
    if not any(np.isfinite(data.bucketed(level, "price")[:, n]).any() for level, n, _ in found):
        raise ResultsError(
            f"{data.results.path} has no price of {choice.area or choice.level or 'any area'} in "
            "this period. Leave --area, --level, --start and --stop out to see all."
        )
    return found


def _label(data: RunData, level: str, columns: NDArray[np.int64]) -> str:
    if len(columns) == 1:
        return f"{LEVEL_NAME[level]} {data.ids(level)[columns[0]]}"
    return f"{len(columns)} {LEVEL_NAMES[level].lower()}"


def _draw(axis: Axes, data: RunData, values: Floats, line: Line2D) -> Line2D:
    """Draw values over time as steps of this look."""
    line.set_data(places(interval_edges(data)), steps(data, values))
    line.set_drawstyle("steps-post")
    axis.add_line(line)
    axis.autoscale_view()
    return line


def _mean_words(data: RunData) -> str:
    if data.slots_per_bucket == 1:
        return ""
    return f"Each step is the mean of {span(data.bucket_hours)}. "


def price_map(data: RunData, choice: Choice) -> Drawn:
    """Draw prices as colours: a row per area, or over long periods the time of day of each day."""
    _markets(data, choice)
    if data.slots_done * data.slot_hours / 24.0 <= MOST_DAYS_BY_AREA:
        return _by_area(data, choice)
    levels = [level for level in reversed(choice.levels(data)) if data.has(level, "price")]
    figure = new_figure(choice, 1.6 + 4.4 * len(levels))
    panels = figure.subplots(len(levels), 1, squeeze=False, sharex=True)[:, 0]
    tables = {}
    for level in levels:
        values = data.whole(level, "price")[:, choice.columns(data, level)]
        tables[level] = day_by_time(data, _mean_of_known(values))
    colours = map_colours([table.to_numpy() for table in tables.values()])
    for (level, table), axis in zip(tables.items(), panels, strict=True):
        days = pd.DatetimeIndex(table.columns)
        hours = np.append(table.index.to_numpy(np.float64), 24.0)
        mesh = axis.pcolormesh(
            np.append(places(days), places(days)[-1] + 1.0),
            hours,
            np.ma.masked_invalid(table.to_numpy()),
            cmap=colour_map(SEQUENTIAL),
            norm=colours,
            rasterized=True,
        )
        axis.set_yticks(range(0, 25, 6))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda hour, _: f"{hour:.0f}:00"))
        axis.set_title(_label(data, level, choice.columns(data, level)))
        axis.set_ylabel("local time")
        day_axis(axis, data, days, choice)
    for axis in panels[:-1]:
        axis.set_xlabel("")
    colour_bar(figure, mesh, list(panels), choice, PRICE)
    return Drawn(
        figure,
        "Price of energy by time of day, a column per day; where a level has several areas, their "
        f"mean. The scale ends where 0.5 % of the cells lie beyond. {data.period}.",
    )


def _mean_of_known(values: Floats) -> Floats:
    known = np.isfinite(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    mean: Floats = np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
    return mean


def _by_area(data: RunData, choice: Choice) -> Drawn:
    parts, names = [], []
    for level in reversed(choice.levels(data)):
        columns = choice.columns(data, level)
        parts.append(data.bucketed(level, "price")[:, columns])
        names += [str(data.ids(level)[column]) for column in columns]
    values = np.concatenate(parts, axis=1)
    figure = new_figure(choice, MAP_FRAME_CM[choice.width] + max(LEAST_MAP_CM, 0.42 * len(names)))
    axis = figure.add_subplot()
    heat_map(axis, data, choice, values, norm=map_colours([values]), label=PRICE)
    name_rows(axis, names)
    gaps = " Pale: no price, nothing was traded." if np.isnan(values).any() else ""
    return Drawn(
        figure,
        f"Price of energy in the market of each area over time. {_mean_words(data)}"
        f"The scale ends where 0.5 % of the cells lie beyond.{gaps} {data.period}.",
    )
