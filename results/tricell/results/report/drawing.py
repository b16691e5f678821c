"""What the figures of a report share: panels, axes of time, clear colours, the empty part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from plotly.graph_objects import Figure
from plotly.subplots import make_subplots

from tricell.results.report import look
from tricell.results.report.parts import Part
from tricell.results.report.run_data import RunData

Values = NDArray[np.float64]
HEADER = 30
"""Pixels above a panel for its title."""


def panels(
    heights: Sequence[int], titles: Sequence[str], *, gap: int = 92, above: int = 0, below: int = 52
) -> Figure:
    """Begin a figure of panels under each other, pixels; each has its title at its left edge.

    Parameters
    ----------
    heights, titles : of each panel; an empty title leaves no room for one.
    gap, above, below : between panels, above the first (for a legend) and below the last.
    """
    first = above + (HEADER if titles[0] else 8)
    inner = sum(heights) + gap * (len(heights) - 1)
    figure = make_subplots(
        rows=len(heights),
        cols=1,
        row_heights=list(heights),
        vertical_spacing=gap / inner if len(heights) > 1 else 0.0,
        subplot_titles=list(titles),
    )
    layout = look.base_layout(inner + first + below)
    axis = {
        **_part_of(layout, "xaxis"),
        "title": {"standoff": 8, "font": {"size": look.FONT_SIZE}},
        "exponentformat": "none",
        "separatethousands": True,
    }
    names = [
        f"{way}axis{'' if row == 0 else row + 1}" for row in range(len(heights)) for way in "xy"
    ]
    legend = {"y": 1.0 + (first - above - 4) / inner, "yref": "paper", "yanchor": "bottom"}
    figure.update_layout(
        {
            **layout,
            **dict.fromkeys(names, axis),
            "margin": {"l": 8, "r": 8, "t": first, "b": below},
            "legend": {**_part_of(layout, "legend"), **legend},
        }
    )
    figure.for_each_annotation(
        lambda note: note.update(
            x=0.0, xanchor="left", yshift=4, font={"size": look.FONT_SIZE, "color": look.INK}
        )
    )
    return figure


def _part_of(layout: Mapping[str, object], name: str) -> Mapping[str, object]:
    part = layout[name]
    assert isinstance(part, dict)
    return part


def time_steps(times: pd.DatetimeIndex, hours: float = 0.0) -> Mapping[str, object]:
    """Return the places of values in time for a trace: start and step where they are even.

    Parameters
    ----------
    times : starts of the values.
    hours : how long each lasts; a single value is as wide as that.
    """
    if len(times) == 1 and hours:
        return {"x0": times[0].isoformat(), "dx": round(hours * 3_600_000)}
    if len(times) > 1:
        steps = np.diff(times.to_numpy()).astype("timedelta64[s]").astype(np.int64)
        if (steps == steps[0]).all():
            return {"x0": times[0].isoformat(), "dx": int(steps[0]) * 1000}
    return {"x": times.strftime("%Y-%m-%dT%H:%M").tolist()}


def colour_axis(
    scale: look.ColourScale, low: float, high: float, **bar: object
) -> dict[str, object]:
    """Return colours for heat maps, with the bar that explains them lying above the panels.

    Parameters
    ----------
    scale, low, high : colours, and the values at their ends.
    bar : more about the bar, such as its ticks.
    """
    lying = {
        "orientation": "h",
        "x": 0.0,
        "xanchor": "left",
        "yref": "container",
        "y": 1.0,
        "yanchor": "top",
        "len": 0.7,
        "thickness": 12,
        "outlinewidth": 0,
        "ticks": "outside",
        "ticklabelposition": "outside bottom",
    }
    colours = [list(stop) for stop in scale]
    return {"colorscale": colours, "cmin": low, "cmax": high, "colorbar": {**lying, **bar}}


COLOUR_BAR = 58
"""Pixels that the bar of `colour_axis` needs above the panels."""


def clear(colour: str, opacity: float) -> str:
    """Return a colour that lets through what is behind it.

    Examples
    --------
    >>> clear("#0072B2", 0.2)
    'rgba(0,114,178,0.2)'
    """
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def nothing(key: str, title: str, why: str) -> Part:
    """Return a part without a figure, which says why there is none."""
    return Part(key, title, "", notes=(f"Not drawn: {why}",))


def at_the_end(data: RunData, table: str) -> str:
    """Say why a table that is made at the end of a run is empty."""
    if data.status == "complete":
        return f"the file has no table {table}."
    how = "still goes on" if data.status == "running" else "failed"
    return f"the run {how}; the table {table} is made at its end."


def small(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return values in single precision: half the size, and more than a screen can show."""
    return np.ascontiguousarray(values, dtype=np.float32)
