"""The grid as a map: voltages of buses, loadings of lines and transformers, moment by moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from tricell.results.report import look
from tricell.results.report.drawing import nothing
from tricell.results.report.grid_layout import (
    Ends,
    has_places,
    joined_buses,
    line_ends,
    tree_places,
)
from tricell.results.report.parts import Part
from tricell.results.report.run_data import Moment, RunData

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int16]

KEY, TITLE = "grid_map", "Voltage and loading on the grid"
MAP, TREE = "On the map", "As a tree"
WHOLE_PERIOD = "Whole period: each element at its worst"
LOADING_STEPS = (20, 40, 60, 80, 100)
"""Loadings between which lines change their look, % of the limit."""
LOADING_LOOKS = (
    ("#BFBFBF", 1.2),
    ("#C3B369", 2.0),
    ("#8A8678", 2.8),
    ("#575D6D", 3.6),
    ("#123570", 4.4),
    (look.BAD, 6.0),
)
"""Colour and width (pixels) below, between and above the steps: cividis, dark is heavy."""
UNKNOWN_VALUE = -32768
VM_SCALE, LOADING_SCALE = 10_000.0, 10.0
"""What values are multiplied by to be kept as 16-bit numbers."""


def grid_map(data: RunData) -> Part:
    """Draw buses, lines and transformers, with a slider of moments."""
    if not len(data.buses):
        return nothing(KEY, TITLE, "the file has no buses.")
    lines = line_ends(data.lines, "from_bus", "to_bus", data.buses["bus"])
    trafos = line_ends(data.trafos, "hv_bus", "lv_bus", data.buses["bus"])
    values = _values(data)
    if not values:
        return nothing(KEY, TITLE, "the file has no voltages and no loadings of a slot.")
    joined = joined_buses(data.buses, np.vstack([lines, trafos]))
    views = _views(data, trafos, np.vstack([lines, trafos, joined]))
    figure = _empty_figure()
    return Part(
        key=KEY,
        title=TITLE,
        caption=_caption(data, [str(view["name"]) for view in views]),
        figure=figure,
        notes=_notes(data, values),
        extra={
            "moments": [WHOLE_PERIOD, *(moment.label for moment in data.moments)],
            "named": _named(data.moments),
            "views": views,
            "values": values,
            "scales": {"vm": VM_SCALE, "line": LOADING_SCALE, "trafo": LOADING_SCALE},
            "ends": {"line": lines.ravel(), "trafo": trafos.ravel(), "joined": joined.ravel()},
            "bus": _labels(data.buses, "bus")
            | {
                "low": data.buses["vm_min"].to_numpy(np.float64),
                "high": data.buses["vm_max"].to_numpy(np.float64),
            },
            "line": _labels(data.lines, "line") | {"limit": _limits(data.lines)},
            "trafo": _labels(data.trafos, "trafo") | {"limit": _limits(data.trafos)},
            "tolerance": dict(zip(("vm", "loading"), tolerances(data), strict=True)),
            "steps": LOADING_STEPS,
            "looks": LOADING_LOOKS,
        },
    )


def _values(data: RunData) -> dict[str, Ints]:
    """Return voltages and loadings, first the worst of the run, then moment by moment.

    16-bit numbers, one row of all elements after the other.
    """
    values = {}
    if data.has("bus", "vm"):
        worst = worst_voltages(
            data.lowest("bus", "vm"),
            data.highest("bus", "vm"),
            data.buses["vm_min"].to_numpy(np.float64),
            data.buses["vm_max"].to_numpy(np.float64),
        )
        values["vm"] = packed(np.vstack([worst, data.at_moments("bus", "vm")]), VM_SCALE)
    for group in ("line", "trafo"):
        if data.has(group, "loading") and len(data.table(group)):
            worst = data.highest(group, "loading")
            rows = np.vstack([worst, data.at_moments(group, "loading")])
            values[group] = packed(rows, LOADING_SCALE)
    return values


def tolerances(data: RunData) -> tuple[float, float]:
    """Return what the run forgives beyond limits: voltage, per unit, and loading, %.

    0 where the scenario does not say.
    """
    limits = data.scenario.get("limits")
    found = limits if isinstance(limits, dict) else {}
    return (
        float(found.get("voltage_tolerance_pu") or 0.0),
        float(found.get("loading_tolerance_percent") or 0.0),
    )


def worst_voltages(low: Floats, high: Floats, low_limit: Floats, high_limit: Floats) -> Floats:
    """Return of each bus the voltage that came nearest to a limit, or farthest beyond it.

    Examples
    --------
    >>> worst_voltages(np.array([0.95]), np.array([1.04]), np.array([0.9]), np.array([1.1]))
    array([0.95])
    """
    return np.where(low - low_limit <= high_limit - high, low, high)


def packed(values: Floats, scale: float) -> Ints:
    """Return values times a scale as 16-bit numbers in one row; `UNKNOWN_VALUE` for a gap.

    Examples
    --------
    >>> packed(np.array([[1.02345, np.nan]]), 1e4)
    array([ 10234, -32768], dtype=int16)
    """
    scaled = np.clip(np.rint(np.asarray(values, np.float64) * scale), -32767, 32767)
    return np.where(np.isfinite(scaled), scaled, UNKNOWN_VALUE).astype(np.int16).ravel()


def _views(data: RunData, trafos: Ends, ends: Ends) -> list[dict[str, object]]:
    """Return the ways to place the buses, the better one first."""
    tree = tree_places(len(data.buses), ends, _roots(data, trafos))
    views = [_view(TREE, tree)]
    places = data.buses[["x", "y"]].to_numpy(np.float64) if {"x", "y"} <= set(data.buses) else None
    if places is not None and np.isfinite(places).any():
        view = _view(MAP, places)
        views = [view, *views] if has_places(data.buses) else [*views, view]
    return views


def _view(name: str, places: Floats) -> dict[str, object]:
    return {"name": name, "x": places[:, 0], "y": places[:, 1]}


def _roots(data: RunData, trafos: Ends) -> list[int]:
    """Return the rows of the buses that feed the grid: those of the highest voltage."""
    kv = data.buses["nominal_kv"].to_numpy(np.float64)
    top = np.flatnonzero(kv == np.nanmax(kv)) if np.isfinite(kv).any() else np.arange(1)
    upper = [int(bus) for bus in trafos[:, 0] if bus in set(top.tolist())]
    return [*upper, *(int(bus) for bus in top[:1])]


def _limits(table: pd.DataFrame) -> Floats:
    limits = table.get("loading_max")
    if limits is None:
        return np.full(len(table), 100.0)
    return limits.fillna(100.0).to_numpy(np.float64)


def _labels(table: pd.DataFrame, column: str) -> dict[str, Any]:
    """Return names of elements and rows of their areas, each area's id only once."""
    areas, names = pd.factorize(table["area"])
    ids = table[column].astype(str).tolist()
    return {"id": ids, "area": areas.astype(np.int16), "areas": [str(name) for name in names]}


def _named(moments: Sequence[Moment]) -> list[list[object]]:
    """Return the moments with a reason: the stop of the slider and the reason."""
    found = [[0, "whole period"]]
    found += [[row + 1, each.reason] for row, each in enumerate(moments) if each.reason]
    return found


def _empty_figure() -> go.Figure:
    """Return a figure whose traces the page's script fills: lines by loading, then buses."""
    figure = go.Figure()
    between = [f"{low} to {low + 20} %" for low in LOADING_STEPS[:-1]]
    names = [f"loading up to {LOADING_STEPS[0]} %", *between, "over the limit"]
    for name, (colour, width) in zip(names, LOADING_LOOKS, strict=True):
        figure.add_scatter(
            mode="lines",
            name=name,
            line={"color": colour, "width": width},
            hoverinfo="text",
            legend="legend",
            showlegend=True,
            x=[None],
            y=[None],
        )
    figure.add_scatter(
        mode="lines",
        name="joined busbars",
        line={"color": look.GREY, "width": 1.0, "dash": "dot"},
        **_hover(),
    )
    figure.add_scatter(
        mode="markers",
        name="bus",
        marker={
            "size": 7,
            "opacity": 1,
            "colorscale": [list(each) for each in look.DIVERGING],
            "cmin": -1,
            "cmax": 1,
            "line": {"width": 0.6, "color": look.GREY},
            "colorbar": _voltage_bar(),
        },
        **_hover(),
    )
    figure.add_scatter(
        mode="markers",
        name="transformer",
        marker={"symbol": "square", "size": 12, "line": {"width": 1.5, "color": "white"}},
        **_hover(),
    )
    figure.update_layout(
        look.base_layout(
            620,
            margin={"l": 4, "r": 4, "t": 40, "b": 70},
            xaxis=_bare_axis(),
            yaxis=_bare_axis(),
            hovermode="closest",
            dragmode="pan",
            uirevision="grid",
        )
    )
    figure.update_layout(legend={"itemclick": False, "itemdoubleclick": False})
    return figure


def _hover() -> dict[str, object]:
    return {"hoverinfo": "text", "showlegend": False, "x": [None], "y": [None]}


def _bare_axis() -> dict[str, object]:
    return {"visible": False, "showgrid": False, "zeroline": False}


def _voltage_bar() -> dict[str, object]:
    return {
        "title": {"text": "Voltage of buses within their limits", "side": "top"},
        "orientation": "h",
        "tickvals": [-1, 0, 1],
        "ticktext": ["lower limit", "middle", "upper limit"],
        "thickness": 12,
        "len": 0.5,
        "x": 0.0,
        "xanchor": "left",
        "xpad": 34,
        "y": 0.0,
        "yanchor": "top",
        "outlinewidth": 0,
    }


def _caption(data: RunData, views: Sequence[str]) -> str:
    voltage, loading = tolerances(data)
    forgiven = (
        f" by more than the run's tolerance of {voltage:g} pu or {loading:g} %"
        if voltage or loading
        else ""
    )
    every = (
        "every slot of the run"
        if len(data.moments) == data.slots_done
        else f"{len(data.moments)} slots spread over the run, the worst ones among them"
    )
    place = ". ".join(
        {
            MAP: "On the map places are those of the data, not to scale",
            TREE: "As a tree the grid hangs from its feed, and places say nothing of distances: "
            "dotted are busbars at one place, taken as joined by a switch",
        }[view]
        for view in views
    )
    return (
        "Buses are round, coloured by where their voltage lies between their own limits; lines and "
        "transformers (squares) are thicker and darker the more they are loaded, 100 % being the "
        f"limit. What is beyond its limit{forgiven} stands out: buses as large diamonds, lines as "
        f"thick orange. The slider has {every}. {place}. Drag to move, use the buttons to zoom; "
        "choose an area to see it alone."
    )


def _notes(data: RunData, values: dict[str, Ints]) -> list[str]:
    names = {"vm": "voltages", "line": "loadings of lines", "trafo": "loadings of transformers"}
    missing = [text for name, text in names.items() if name not in values]
    if not len(data.lines):
        missing.remove("loadings of lines")
    if not len(data.trafos):
        missing.remove("loadings of transformers")
    return [f"The file has no {name}; they are drawn in grey." for name in missing]
