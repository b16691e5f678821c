"""The figure of the grid at one moment: voltages of buses, loadings of lines and transformers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from tricell.errors import ResultsError
from tricell.results.plots.canvas import (
    WIDTHS_CM,
    Drawn,
    colour_map,
    legend_above,
    legend_cm,
    new_figure,
)
from tricell.results.plots.choice import Choice
from tricell.results.report import words
from tricell.results.report.grid_layout import has_places, line_ends, tree_places
from tricell.results.report.grid_map import LOADING_LOOKS, LOADING_STEPS
from tricell.results.report.look import DIVERGING, GREY, PALE
from tricell.results.report.run_data import RunData

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

POINTS_PER_PIXEL = 0.42
"""Lines in print are thinner than on a screen."""
EARTH_DEGREES = 360.0
LEAST_FLATNESS, MOST_FLATNESS = 0.45, 1.1
"""Height over width of a map."""
FULL_PERCENT = 100.0
TOLERANCE_PERCENT = 0.5
"""Markets load elements up to their limit, which the AC power flow proves within this."""


def grid(data: RunData, choice: Choice) -> Drawn:
    """Draw the network at one moment: by default that at which a limit is nearest."""
    if data.buses.empty:
        raise ResultsError(f"{data.results.path} has no buses to draw.")
    slot, why = _slot(data, choice)
    buses = np.flatnonzero(data.buses["area"].isin(choice.areas(data)).to_numpy())
    places, is_map = _places(data, buses)
    voltage = _within_limits(data, slot)[buses]
    lines, lines_loading = _elements(data, slot, "line", ("from_bus", "to_bus"), buses)
    trafos, trafos_loading = _elements(data, slot, "trafo", ("hv_bus", "lv_bus"), buses)
    labels = _loading_labels()
    height = _height(places, is_map, choice)
    figure = new_figure(choice, height + 1.5 + legend_cm(choice, labels))
    axis = figure.add_subplot()
    _draw_lines(axis, places, lines, lines_loading)
    _draw_lines(axis, places, trafos, np.full(len(trafos), np.nan))
    _draw_buses(axis, places, voltage)
    _draw_trafos(axis, places, trafos, trafos_loading)
    axis.set_axis_off()
    if is_map:
        axis.set_aspect(_aspect(places))
    handles = [
        Line2D([], [], color=colour, linewidth=POINTS_PER_PIXEL * width, label=label)
        for (colour, width), label in zip(LOADING_LOOKS, labels, strict=True)
    ]
    legend_above(figure, choice, handles)
    _voltage_bar(figure, axis)
    time = data.slot_times[slot]
    where = "at their places in the data" if is_map else "as a tree, not to scale"
    return Drawn(
        figure,
        f"The grid on {time.day} {time:%B %Y at %H:%M} local time{why}: lines by their loading in "
        "percent of the limit, transformers as squares in the same colours, buses by where their "
        f"voltage lies between their limits; {where}. "
        f"{_extremes(data, slot, buses)}",
    )


def _slot(data: RunData, choice: Choice) -> tuple[int, str]:
    """Return the number of the slot that is drawn, and why where it was not asked for."""
    if choice.at is None:
        return worst_slot(data), ", when a limit is nearest"
    times = data.results.times()
    if not times[0] <= choice.at < times[-1] + pd.Timedelta(hours=data.slot_hours):
        last = times[-1] + pd.Timedelta(hours=data.slot_hours)
        raise ResultsError(
            f"{data.results.path} has no slot at {choice.at:%Y-%m-%dT%H:%M} UTC; it has those from "
            f"{times[0]:%Y-%m-%dT%H:%M} up to {last:%Y-%m-%dT%H:%M} UTC."
        )
    return int(times.searchsorted(choice.at, side="right")) - 1, ""


def worst_slot(data: RunData) -> int:
    """Return the slot in which an element comes nearest to its limit, or goes farthest beyond.

    Loadings count as they are, 1 at their rating. Voltages count by their way from 1 pu to the
    limit of the bus at which they are lowest or highest.
    """
    slots = data.slots
    use = np.zeros(len(slots))
    for name in ("line_loading_max", "trafo_loading_max"):
        if name in slots:
            use = np.fmax(use, slots[name].to_numpy(np.float64) / FULL_PERCENT)
    for name in ("vm_min", "vm_max"):
        if name in slots and name in data.buses and f"{name}_bus" in slots:
            limits = data.buses[name].to_numpy(np.float64)[slots[f"{name}_bus"].to_numpy(np.int64)]
            room, way = np.abs(limits - 1.0), slots[name].to_numpy(np.float64) - 1.0
            way = -way if name == "vm_min" else way
            use = np.fmax(use, np.divide(way, room, out=np.zeros(len(use)), where=room > 0.0))
    return int(np.argmax(use))


def _at(data: RunData, slot: int, group: str, variable: str) -> Floats:
    """Return the values of a slot, NaN throughout where the file does not have them."""
    if not data.has(group, variable):
        return np.full(len(data.table(group)), np.nan)
    start = data.results.times()[slot]
    stop = start + pd.Timedelta(hours=data.slot_hours)
    values: Floats = data.results.frame(group, variable, start, stop).to_numpy(np.float64)[0]
    return values


def _within_limits(data: RunData, slot: int) -> Floats:
    """Return where the voltage of each bus lies: -1 at its lower limit, 1 at its upper."""
    low, high = (data.buses[name].to_numpy(np.float64) for name in ("vm_min", "vm_max"))
    voltage = _at(data, slot, "bus", "vm")
    width = high - low
    share = np.divide(voltage - low, width, out=np.full(len(low), np.nan), where=width > 0.0)
    return np.asarray(2.0 * share - 1.0)


def _elements(
    data: RunData, slot: int, group: str, ends: tuple[str, str], buses: Rows
) -> tuple[Rows, Floats]:
    """Return the ends of lines or transformers between these buses, and their loading, %."""
    table = data.table(group)
    rows = line_ends(table, *ends, data.buses.iloc[buses]["bus"])
    kept = (rows >= 0).all(axis=1)
    loading = _at(data, slot, group, "loading")
    limit = (
        table["loading_max"].to_numpy(np.float64)
        if "loading_max" in table
        else np.full(len(table), FULL_PERCENT)
    )
    limit = np.where(limit > 0.0, limit, FULL_PERCENT)
    return rows[kept].astype(np.int64), (FULL_PERCENT * loading / limit)[kept]


def _places(data: RunData, buses: Rows) -> tuple[Floats, bool]:
    """Return where buses are drawn, and whether these are the places of the data."""
    table = data.buses.iloc[buses]
    if has_places(table):
        return table[["x", "y"]].to_numpy(np.float64), True
    ends = [
        line_ends(data.lines, "from_bus", "to_bus", table["bus"]),
        line_ends(data.trafos, "hv_bus", "lv_bus", table["bus"]),
    ]
    kv = table["nominal_kv"].to_numpy(np.float64)
    top = np.flatnonzero(kv == np.nanmax(kv)) if np.isfinite(kv).any() else np.arange(1)
    hangs = [row for row in ends[1][:, 0] if row in set(top.tolist())]
    roots = [int(row) for row in (*hangs, *top[:1]) if row >= 0]
    return tree_places(len(buses), np.vstack(ends), roots), False


def _aspect(places: Floats) -> float:
    """Return how much longer a step north is than one east: degrees are wider at the equator."""
    x, y = places.T
    in_degrees = np.abs(x).max() <= EARTH_DEGREES / 2.0 and np.abs(y).max() <= EARTH_DEGREES / 4.0
    return float(1.0 / np.cos(np.radians(y.mean()))) if in_degrees else 1.0


def _height(places: Floats, is_map: bool, choice: Choice) -> float:
    width = WIDTHS_CM[choice.width]
    if not is_map:
        return 0.6 * width
    extent = np.ptp(places, axis=0)
    flatness = _aspect(places) * extent[1] / extent[0] if extent[0] > 0.0 else MOST_FLATNESS
    return width * float(np.clip(flatness, LEAST_FLATNESS, MOST_FLATNESS))


def _loading_labels() -> list[str]:
    steps = [0, *LOADING_STEPS]
    return [*(f"{low} to {high} %" for low, high in pairwise(steps)), "over the limit"]


def _draw_lines(axis: Axes, places: Floats, ends: Rows, loading: Floats) -> None:
    """Draw elements by their loading, those of unknown loading as thin pale lines."""
    classes = _classes(loading)
    for number, (colour, width) in enumerate(LOADING_LOOKS):
        chosen = (classes == number) & np.isfinite(loading)
        _add_lines(axis, places, ends[chosen], (colour, POINTS_PER_PIXEL * width), 1 + number)
    _add_lines(axis, places, ends[~np.isfinite(loading)], (PALE, 0.6), 1)


def _classes(loading: Floats) -> Rows:
    """Return the number of each loading's look; at the limit is not beyond it."""
    steps = [*LOADING_STEPS[:-1], LOADING_STEPS[-1] + TOLERANCE_PERCENT]
    return np.digitize(loading, steps, right=True)


def _add_lines(axis: Axes, places: Floats, ends: Rows, look: tuple[str, float], order: int) -> None:
    """Draw elements in one colour and width (points); those of a higher order lie above."""
    colour, width = look
    lines = LineCollection(list(places[ends]), colors=colour, linewidths=width, zorder=order)
    lines.set_capstyle("round")
    axis.add_collection(lines)
    axis.autoscale_view()


def _draw_buses(axis: Axes, places: Floats, voltage: Floats) -> None:
    size = float(np.clip(4000.0 / max(len(places), 1), 3.0, 16.0))
    order = np.argsort(np.nan_to_num(np.abs(voltage), nan=-1.0), kind="stable")
    axis.scatter(
        places[order, 0],
        places[order, 1],
        s=size,
        c=voltage[order],
        cmap=colour_map(DIVERGING),
        norm=Normalize(-1.0, 1.0),
        plotnonfinite=True,
        edgecolors=GREY,
        linewidths=0.3,
        zorder=10,
    )


def _draw_trafos(axis: Axes, places: Floats, ends: Rows, loading: Floats) -> None:
    if not len(ends):
        return
    classes = _classes(loading)
    colours = [
        LOADING_LOOKS[number][0] if known else "white"
        for number, known in zip(classes, np.isfinite(loading), strict=True)
    ]
    middle = places[ends].mean(axis=1)
    axis.scatter(
        middle[:, 0],
        middle[:, 1],
        s=26.0,
        marker="s",
        c=colours,
        edgecolors="white",
        linewidths=0.7,
        zorder=11,
    )


def _voltage_bar(figure: Figure, axis: Axes) -> None:
    bar = figure.colorbar(
        ScalarMappable(Normalize(-1.0, 1.0), colour_map(DIVERGING)),
        ax=axis,
        orientation="horizontal",
        location="bottom",
        fraction=0.05,
        aspect=30,
        shrink=0.7,
        pad=0.01,
        label="voltage of buses within their limits",
    )
    bar.set_ticks([-1.0, 0.0, 1.0], labels=["lower limit", "middle", "upper limit"])


def _extremes(data: RunData, slot: int, buses: Rows) -> str:
    """State the extremes of what is drawn."""
    voltage = _at(data, slot, "bus", "vm")[buses]
    parts = []
    if np.isfinite(voltage).any():
        parts.append(f"Voltages from {np.nanmin(voltage):.3f} to {np.nanmax(voltage):.3f} pu")
    for group, ends, name in (
        ("line", ("from_bus", "to_bus"), "lines"),
        ("trafo", ("hv_bus", "lv_bus"), "transformers"),
    ):
        loading = _elements(data, slot, group, ends, buses)[1]
        if np.isfinite(loading).any():
            parts.append(f"{name} up to {words.number(float(np.nanmax(loading)))} %")
    return f"{', '.join(parts)}." if parts else "Neither voltages nor loadings are in the file."
