"""Figures of the network: how long transformers are loaded how much, and voltages over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from plotly.graph_objects import Figure, Heatmap, Scatter

from tricell.results.report import look
from tricell.results.report.drawing import (
    COLOUR_BAR,
    Values,
    colour_axis,
    nothing,
    panels,
    small,
    time_steps,
)
from tricell.results.report.parts import Part
from tricell.results.report.run_data import RunData
from tricell.results.report.words import counted, number, percent

MAIN_TRAFOS = 5
"""The transformers with the highest loading are named; the others are thin grey lines."""
MOST_TRAFOS = 150
MOST_AREAS = 40
POINTS = 300
MOST_LIMITS = 3
NOMINAL_PU = 1.0
SCALE_END = 1.2
"""The voltage colours end at so many times the permitted deviation."""


# ------------------------------------------------------------------------------ load duration


def load_duration(data: RunData) -> Part:
    """Draw the loading of each transformer from its highest slot to its lowest."""
    key, title = "load_duration", "How long transformers are loaded how much"
    if data.trafos.empty:
        return nothing(key, title, "the grid has no transformer.")
    if not data.has("trafo", "loading"):
        return nothing(key, title, "the file has no loading of any transformer.")
    highest = data.highest("trafo", "loading")
    if not np.isfinite(highest).any():
        return nothing(key, title, "the loading of the transformers is not known in any slot.")
    curves = data.duration_curve("trafo", "loading", POINTS)
    order = np.argsort(-np.nan_to_num(highest, nan=-1.0), kind="stable")[:MOST_TRAFOS]
    figure = panels([330], [""], above=24 + 22 * min(MAIN_TRAFOS + 1, len(order)))
    for place in reversed(order[MAIN_TRAFOS:]):
        figure.add_trace(_curve(data, curves, int(place), None))
    for rank, place in enumerate(order[:MAIN_TRAFOS]):
        figure.add_trace(_curve(data, curves, int(place), rank))
    _label_others(figure, len(order) - MAIN_TRAFOS)
    _draw_limits(figure, data)
    figure.update_xaxes(title_text="share of the time, %", range=[0, 100], dtick=20)
    figure.update_yaxes(title_text="loading, % of the rating", rangemode="tozero")
    figure.update_layout(legend={"orientation": "v", "traceorder": "normal"}, margin={"r": 18})
    left_out = len(highest) - len(order)
    notes = (f"{left_out} transformers with a lower loading are not drawn.",) if left_out else ()
    return Part(key, title, _duration_caption(data, highest), figure, notes=notes)


def _curve(data: RunData, curves: Values, place: int, rank: int | None) -> Scatter:
    trafo = data.trafos.iloc[place]
    name, points = str(trafo["trafo"]), len(curves)
    line = (
        {"color": "#BDBDBD", "width": 1}
        if rank is None
        else {"color": look.colour(rank), "width": 2.2, "dash": look.PLOTLY_DASHES[rank]}
    )
    return Scatter(
        y=small(curves[:, place]),
        x0=0.0,
        dx=100.0 / max(points - 1, 1),
        mode="lines" if points > 1 else "markers",
        name=f"{name}: up to {number(float(curves[0, place]))} %",
        meta={"area": str(trafo["area"])},
        line=line,
        showlegend=rank is not None,
        hovertemplate=f"{name}<br>above %{{y:.1f}} % of its rating in %{{x:.1f}} % of the time"
        "<extra></extra>",
    )


def _label_others(figure: Figure, others: int) -> None:
    """Give the grey lines one entry in the legend."""
    if others > 0:
        figure.add_trace(
            Scatter(
                x=[None],
                y=[None],
                mode="lines",
                name=counted(others, "other transformer"),
                line={"color": "#BDBDBD", "width": 1},
            )
        )


def _draw_limits(figure: Figure, data: RunData) -> None:
    if "loading_max" not in data.trafos:
        return
    limits = data.trafos["loading_max"].to_numpy(np.float64)
    levels = np.unique(limits[np.isfinite(limits)])
    for limit in levels[:MOST_LIMITS]:
        of = f" ({(limits == limit).sum()} of {len(limits)})" if len(levels) > 1 else ""
        figure.add_hline(
            y=float(limit),
            line={"color": look.INK, "width": 1.2, "dash": "dash"},
            annotation={"text": f"limit {limit:g} %{of}", "font": {"size": 12}},
            annotation_position="top right",
        )


def _duration_caption(data: RunData, highest: Values) -> str:
    top = int(np.nanargmax(highest))
    name = str(data.trafos["trafo"].iloc[top])
    loading = data.whole("trafo", "loading")[:, top]
    loading = loading[np.isfinite(loading)]
    half = float((loading > 0.5 * highest[top]).mean())
    text = (
        f"Most loaded is {name}: up to {number(float(highest[top]))} % of its rating, but more "
        f"than half of that in only {percent(half)} of the time."
        if half < 0.5
        else f"Most loaded is {name}: up to {number(float(highest[top]))} % of its rating, and "
        f"more than half of that in {percent(half)} of the time."
    )
    return (
        f"{text} {_over_limit(data, highest)} A curve shows for which share of the time a "
        "transformer carries at least so much."
    )


def _over_limit(data: RunData, highest: Values) -> str:
    if "loading_max" not in data.trafos:
        return ""
    limits = data.trafos["loading_max"].to_numpy(np.float64)
    over = int((highest > limits + tolerance(data, "loading_tolerance_percent")).sum())
    count = len(highest)
    if not over:
        return f"No transformer of {count} goes beyond its limit."
    words = "goes" if over == 1 else "go"
    return f"{over} of {counted(count, 'transformer')} {words} beyond the limit at some time."


# --------------------------------------------------------------------------------- voltages


@dataclass(frozen=True)
class AreaVoltages:
    """Lowest and highest voltage of the buses of each area, (areas, buckets), and its limits."""

    areas: Sequence[str]
    low: Values
    high: Values
    limit_low: Values
    limit_high: Values

    def rows(self, places: Sequence[int]) -> AreaVoltages:
        """Return these areas only, in this order."""
        chosen = np.asarray(places, dtype=np.int64)
        return AreaVoltages(
            [self.areas[place] for place in places],
            self.low[chosen],
            self.high[chosen],
            self.limit_low[chosen],
            self.limit_high[chosen],
        )


def voltage_heat_map(data: RunData) -> Part:
    """Draw the lowest and highest voltage of each area, coloured by how near its limit is."""
    key, title = "voltage_heat_map", "Voltages in each area"
    if not data.has("bus", "vm") or data.buses.empty:
        return nothing(key, title, "the file has no voltages.")
    voltages = area_voltages(data)
    if not np.isfinite(voltages.low).any():
        return nothing(key, title, "the voltages are not known in any slot.")
    shown, notes = _worst_areas(voltages)
    height = max(64, 22 * len(shown.areas))
    figure = panels([height, height], ["Lowest voltage", "Highest voltage"], above=COLOUR_BAR)
    for row, values in enumerate((shown.low, shown.high), start=1):
        figure.add_trace(_voltage_map(data, shown, values), row=row, col=1)
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="", type="category")
    figure.update_xaxes(showgrid=False)
    figure.update_xaxes(title_text=data.time_title, row=2)
    figure.update_layout(coloraxis=_voltage_colours())
    return Part(key, title, _voltage_caption(data, voltages), figure, notes=notes)


def area_voltages(data: RunData) -> AreaVoltages:
    """Take the extremes over the buses of each area that has buses, in the order of the areas."""
    low, high = (data.bucketed("bus", "vm", how) for how in ("min", "max"))
    limits = [
        data.buses[name].to_numpy(np.float64)
        if name in data.buses
        else np.full(len(data.buses), np.nan)
        for name in ("vm_min", "vm_max")
    ]
    members = data.buses.groupby("area").indices
    areas = [str(area) for area in data.areas["area"] if area in members]
    places = [members[area] for area in areas]
    shape = (len(areas), len(low))
    return AreaVoltages(
        areas,
        np.array([np.fmin.reduce(low[:, place], axis=1) for place in places]).reshape(shape),
        np.array([np.fmax.reduce(high[:, place], axis=1) for place in places]).reshape(shape),
        np.array([np.fmax.reduce(limits[0][place]) for place in places]),
        np.array([np.fmin.reduce(limits[1][place]) for place in places]),
    )


def toward_limit(voltage: Values, low: Values, high: Values) -> Values:
    """Return how far voltages are on the way from nominal to their limit: -1 low, 1 high limit.

    Parameters
    ----------
    voltage : per unit, (areas, buckets).
    low, high : limits of each area, per unit, (areas,).
    """
    deviation = voltage - NOMINAL_PU
    room = np.where(deviation < 0.0, NOMINAL_PU - low[:, None], high[:, None] - NOMINAL_PU)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(room > 0.0, deviation / room, np.nan)


def _worst_areas(voltages: AreaVoltages) -> tuple[AreaVoltages, tuple[str, ...]]:
    if len(voltages.areas) <= MOST_AREAS:
        return voltages, ()
    ways = (
        toward_limit(values, voltages.limit_low, voltages.limit_high)
        for values in (voltages.low, voltages.high)
    )
    worst = np.fmax(*(np.fmax.reduce(np.abs(way), axis=1) for way in ways))
    kept = sorted(np.argsort(-np.nan_to_num(worst), kind="stable")[:MOST_AREAS].tolist())
    note = f"Of {len(voltages.areas)} areas the {MOST_AREAS} nearest to a limit are drawn."
    return voltages.rows(kept), (note,)


def _voltage_map(data: RunData, shown: AreaVoltages, values: Values) -> Heatmap:
    return Heatmap(
        z=small(toward_limit(values, shown.limit_low, shown.limit_high)),
        customdata=small(values),
        y=list(shown.areas),
        **time_steps(data.times, data.bucket_hours),
        coloraxis="coloraxis",
        hoverongaps=False,
        ygap=1,
        hovertemplate="%{y}, %{x|%a %d %b %Y %H:%M}<br>%{customdata:.4f} pu<extra></extra>",
    )


def _voltage_colours() -> dict[str, object]:
    return colour_axis(
        look.DIVERGING,
        -SCALE_END,
        SCALE_END,
        tickvals=[-1.0, 0.0, 1.0],
        ticktext=["lower limit", "nominal", "upper limit"],
    )


def _voltage_caption(data: RunData, voltages: AreaVoltages) -> str:
    lowest, highest = np.nanmin(voltages.low), np.nanmax(voltages.high)
    low_area = voltages.areas[int(np.nanargmin(np.fmin.reduce(voltages.low, axis=1)))]
    high_area = voltages.areas[int(np.nanargmax(np.fmax.reduce(voltages.high, axis=1)))]
    bands = pd.unique(
        pd.Series(
            [
                f"{low:g} to {high:g} pu"
                for low, high in zip(voltages.limit_low, voltages.limit_high, strict=True)
                if np.isfinite(low) and np.isfinite(high)
            ]
        )
    )
    allowed = f" Allowed is {' or '.join(bands)}." if len(bands) else ""
    where = ("", "") if len(voltages.areas) == 1 else (f" in {low_area}", f" in {high_area}")
    return (
        f"Voltages go from {lowest:.3f} pu{where[0]} to {highest:.3f} pu{where[1]}."
        f"{allowed} {_outside_band(data, voltages)} Blue is below nominal and orange above; the "
        "darkest colours are at and beyond the limit of the area."
    )


def _outside_band(data: RunData, voltages: AreaVoltages) -> str:
    slack = tolerance(data, "voltage_tolerance_pu")
    below = (voltages.low < voltages.limit_low[:, None] - slack).any(axis=1)
    above = (voltages.high > voltages.limit_high[:, None] + slack).any(axis=1)
    outside = int((below | above).sum())
    if not outside:
        return "No area leaves its band."
    words = "leaves its" if outside == 1 else "leave their"
    return f"{outside} of {counted(len(voltages.areas), 'area')} {words} band at some time."


def tolerance(data: RunData, name: str) -> float:
    """Return what the run allows beyond a limit before that counts as broken; 0 if not known."""
    limits = data.scenario.get("limits")
    value = limits.get(name) if isinstance(limits, dict) else None
    return float(value) if isinstance(value, (int, float)) else 0.0
