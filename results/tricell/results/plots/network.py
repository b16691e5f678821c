"""Figures of the network over time: loading of transformers, voltages, verdicts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from tricell.errors import ResultsError
from tricell.results.plots.canvas import (
    DASHES,
    MAP_FRAME_CM,
    Drawn,
    colour_bar,
    colour_map,
    day_axis,
    interval_edges,
    labels_of,
    legend_above,
    legend_cm,
    name_rows,
    new_figure,
    places,
    time_axis,
)
from tricell.results.plots.choice import Choice
from tricell.results.report import words
from tricell.results.report.figures_market import day_by_time
from tricell.results.report.figures_network import (
    MAIN_TRAFOS,
    SCALE_END,
    area_voltages,
    toward_limit,
)
from tricell.results.report.look import (
    DIVERGING,
    INK,
    OKABE_ITO,
    PALE,
    VERDICT_COLOURS,
    VERDICT_NAMES,
)
from tricell.results.report.run_data import RunData, span

Floats = NDArray[np.float64]

CURVE_POINTS = 400
MOST_NAMED_AREAS = 60
"""Voltage maps of more areas show those that come nearest to a limit."""


def duration(data: RunData, choice: Choice) -> Drawn:
    """Draw load duration curves of transformers, in percent of their ratings."""
    rows = np.flatnonzero(data.trafos["area"].isin(choice.areas(data)).to_numpy())
    if not len(rows) or not data.has("trafo", "loading"):
        raise ResultsError(
            f"{data.results.path} has no loading of a transformer that feeds "
            f"{choice.area or 'these areas'}; transformers feed: "
            f"{', '.join(dict.fromkeys(data.trafos['area']))}."
        )
    curves = data.duration_curve("trafo", "loading", CURVE_POINTS)[:, rows]
    order = np.argsort(-np.nan_to_num(curves[0], nan=-1.0), kind="stable")
    names = data.trafos["trafo"].to_numpy()[rows]
    handles, others = [], len(order) - MAIN_TRAFOS
    for rank, place in enumerate(order[:MAIN_TRAFOS]):
        label = f"{names[place]}: up to {words.number(float(curves[0, place]))} %"
        look = {"color": OKABE_ITO[rank], "linestyle": DASHES[rank % len(DASHES)]}
        handles.append(Line2D([], [], label=label, **look))
    if others > 0:
        label = words.counted(others, "other transformer")
        handles.append(Line2D([], [], color=PALE, linewidth=0.8, label=label))
    figure = new_figure(choice, 6.2 + legend_cm(choice, labels_of(handles)))
    axis = figure.add_subplot()
    share = np.linspace(0.0, 100.0, len(curves))
    for rank, place in reversed(list(enumerate(order))):
        if rank < MAIN_TRAFOS:
            style = {"color": OKABE_ITO[rank], "linestyle": DASHES[rank % len(DASHES)]}
        else:
            style = {"color": PALE, "linewidth": 0.8}
        axis.plot(share, curves[:, place], **style)
    _draw_limits(axis, data, rows, float(np.nanmax(curves)))
    axis.set_xlim(0.0, 100.0)
    axis.set_ylim(bottom=0.0)
    axis.set_xlabel("share of the time, %")
    axis.set_ylabel("loading, % of the rating")
    axis.grid(axis="y")
    legend_above(figure, choice, handles)
    return Drawn(
        figure,
        "Loading of transformers from the highest slot to the lowest: a curve shows for which "
        f"share of the time a transformer carries at least so much. {data.period}.",
    )


def _draw_limits(axis: Axes, data: RunData, rows: NDArray[np.int64], highest: float) -> None:
    limits = data.trafos["loading_max"].to_numpy(np.float64)[rows]
    for limit in np.unique(limits[np.isfinite(limits) & (limits < 2.0 * highest)]):
        axis.axhline(limit, color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
        axis.annotate(
            f"limit {limit:g} %",
            (99.0, limit),
            xytext=(0, 2),
            textcoords="offset points",
            ha="right",
            va="bottom",
        )


def voltage_map(data: RunData, choice: Choice) -> Drawn:
    """Draw the lowest and highest voltage of areas over time; of one area each of its buses."""
    if not data.has("bus", "vm"):
        raise ResultsError(f"{data.results.path} has no voltages to draw.")
    shown = choice.areas(data)
    if len(shown) == 1 and choice.area:
        return _bus_voltages(data, choice)
    voltages = area_voltages(data)
    places = [place for place, area in enumerate(voltages.areas) if area in set(shown)]
    voltages = voltages.rows(places)
    ways = [
        toward_limit(values, voltages.limit_low, voltages.limit_high)
        for values in (voltages.low, voltages.high)
    ]
    left_out = max(0, len(places) - MOST_NAMED_AREAS)
    if left_out:
        worst = np.fmax(*(np.fmax.reduce(np.abs(way), axis=1) for way in ways))
        kept = np.sort(np.argsort(-np.nan_to_num(worst), kind="stable")[:MOST_NAMED_AREAS])
        ways = [way[kept] for way in ways]
        voltages = voltages.rows(kept.tolist())
    height = 1.6 + MAP_FRAME_CM[choice.width] + 2.0 * max(1.1, 0.4 * len(voltages.areas))
    figure = new_figure(choice, height)
    panels = figure.subplots(2, 1, sharex=True)
    for axis, way, title in zip(panels, ways, ("Lowest voltage", "Highest voltage"), strict=True):
        _draw_way(axis, data, choice, way)
        name_rows(axis, voltages.areas)
        axis.set_title(title)
    panels[0].set_xlabel("")
    _limit_bar(figure, list(panels), choice)
    low, high = float(np.nanmin(voltages.low)), float(np.nanmax(voltages.high))
    others = f" {left_out} areas that stay farther from their limits are left out." * (left_out > 0)
    return Drawn(
        figure,
        f"Lowest and highest voltage of all buses of each area{_step_words(data)}, from {low:.3f} "
        f"to {high:.3f} pu, coloured by how near it comes to the limit of its area.{others} "
        f"{data.period}.",
    )


def _bus_voltages(data: RunData, choice: Choice) -> Drawn:
    buses = np.flatnonzero((data.buses["area"] == choice.area).to_numpy())
    low, high = (data.bucketed("bus", "vm", how)[:, buses] for how in ("min", "max"))
    farthest = np.where(np.abs(low - 1.0) > np.abs(high - 1.0), low, high)
    limits = [data.buses[name].to_numpy(np.float64)[buses] for name in ("vm_min", "vm_max")]
    order = np.argsort(-_middle(farthest), kind="stable")
    ways = toward_limit(farthest.T, *limits)[order]
    figure = new_figure(choice, 8.0)
    axis = figure.add_subplot()
    _draw_way(axis, data, choice, ways)
    axis.set_yticks([])
    axis.set_ylabel(f"{words.counted(len(buses), 'bus', 'buses')} of {choice.area}, by voltage")
    _limit_bar(figure, [axis], choice)
    return Drawn(
        figure,
        f"Voltage of every bus of {choice.area}{_step_words(data)}, from {np.nanmin(low):.3f} to "
        f"{np.nanmax(high):.3f} pu, coloured by how near it comes to its limit; buses with the "
        f"highest voltage on top. {data.period}.",
    )


def _middle(values: Floats) -> Floats:
    """Return the mean of each column, gaps left out; 0 where all is a gap."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    mean: Floats = total / np.maximum(known.sum(axis=0), 1)
    return mean


def _step_words(data: RunData) -> str:
    """Say what stands for a step of several slots."""
    if data.slots_per_bucket == 1:
        return " over time"
    return f" over time, the extreme of every {span(data.bucket_hours)}"


def _draw_way(axis: Axes, data: RunData, choice: Choice, way: Floats) -> None:
    """Draw how far voltages are on the way to their limits, (rows, buckets)."""
    axis.pcolormesh(
        places(interval_edges(data)),
        np.arange(len(way) + 1) - 0.5,
        np.ma.masked_invalid(way),
        cmap=colour_map(DIVERGING),
        norm=Normalize(-SCALE_END, SCALE_END),
        rasterized=True,
    )
    axis.invert_yaxis()
    time_axis(axis, data, choice)


def _limit_bar(figure: Figure, axes: Sequence[Axes], choice: Choice) -> None:
    bar = colour_bar(figure, axes[0].collections[0], axes, choice, "")
    if choice.is_narrow:
        bar.set_ticks([-1.0, 0.0, 1.0], labels=["lower limit", "nominal", "upper limit"])
    else:
        ticks = ["lower limit", "half way", "nominal", "half way", "upper limit"]
        bar.set_ticks([-1.0, -0.5, 0.0, 0.5, 1.0], labels=ticks)


def verdicts(data: RunData, choice: Choice) -> Drawn:
    """Draw the verdict of the AC power flow on every slot: a column per day."""
    if "verdict" not in data.slots or data.slots.empty:
        raise ResultsError(f"{data.results.path} has no verdicts to draw.")
    kinds = list(VERDICT_NAMES)
    codes = data.slots["verdict"].astype(str).map({kind: n for n, kind in enumerate(kinds)})
    table = _worst_of_day(data, np.asarray(codes, np.float64))
    counts = codes.value_counts()
    handles = [
        Patch(
            color=VERDICT_COLOURS[kind],
            label=f"{VERDICT_NAMES[kind]}: {words.counted(int(counts[n]), 'slot')}",
        )
        for n, kind in enumerate(kinds)
        if n in counts.index
    ]
    figure = new_figure(choice, 5.2 + legend_cm(choice, labels_of(handles)))
    axis = figure.add_subplot()
    days = pd.DatetimeIndex(table.columns)
    axis.pcolormesh(
        np.append(places(days), places(days)[-1] + 1.0),
        np.append(table.index.to_numpy(np.float64), 24.0),
        np.ma.masked_invalid(table.to_numpy()),
        cmap=ListedColormap([VERDICT_COLOURS[kind] for kind in kinds]),
        norm=BoundaryNorm(np.arange(len(kinds) + 1) - 0.5, len(kinds)),
        rasterized=True,
    )
    axis.set_yticks(range(0, 25, 6))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda hour, _: f"{hour:.0f}:00"))
    axis.set_ylabel("local time of day")
    day_axis(axis, data, days, choice)
    legend_above(figure, choice, handles)
    met = float(codes.isin([0.0, 1.0]).mean())
    return Drawn(
        figure,
        "What the AC power flow proves of each slot, a column per day, the worst where a cell is "
        f"several slots: limits are kept in {words.percent(met)} of the time. {data.period}.",
    )


def _worst_of_day(data: RunData, codes: Floats) -> pd.DataFrame:
    """Lay out the worst code: rows are times of day (hours), columns are days."""
    shape = day_by_time(data, codes)
    step = 24.0 / len(shape)
    times = data.slot_times
    hours = np.asarray(times.hour + times.minute / 60.0 + times.second / 3600.0)
    rows = np.floor(hours / step + 1e-9) * step
    worst = pd.Series(codes).groupby([rows, times.normalize()]).max().unstack()
    return worst.reindex(index=shape.index, columns=shape.columns)
