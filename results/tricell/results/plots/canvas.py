"""The paper that figures are drawn on: width, type, legends, axes of time, heat maps, and files.

Type is 9 pt at the printed width of one column (8.5 cm) or two (17 cm). Colours are those of
reports, see `tricell.results.report.look`. The same figure gives the same bytes: no date, no
version and no random names are written.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import matplotlib.dates as mdates
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tricell.results.plots.choice import Choice
from tricell.results.report.look import PALE, SEQUENTIAL, ColourScale
from tricell.results.report.run_data import RunData
from tricell.results.study_report.style import drawing, grouped

CM = 1.0 / 2.54
"""One centimetre in inches."""
WIDTHS_CM: Mapping[str, float] = MappingProxyType({"single": 8.5, "double": 17.0})
"""Printed widths: one column of a paper, or both."""
POINTS = 9.0
CHARACTERS_PER_CM = 5.6
"""So many characters of a legend fit in a centimetre."""
HANDLE_CHARACTERS = 5.5
"""So many characters wide is what stands before and between labels."""
LEGEND_LINE_CM = 0.47
MAP_FRAME_CM: Mapping[str, float] = MappingProxyType({"single": 3.3, "double": 1.6})
"""Height of what stands around a heat map: times, and its scale of colours."""
DPI = 300
BAR_CM = 9.0
"""Scales of colours beside a figure are at most so long."""
SUFFIXES = (".png", ".svg", ".pdf")
COLOURS_OF_MAP = 256
DAYS_NAMED = 10
"""Axes of up to so many days name each, where there is room."""
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (5, 1.5, 1.2, 1.5)),
    (0, (9, 2)),
)
_PAPER: Mapping[Any, Any] = {
    **dict.fromkeys(
        (
            "font.size",
            "axes.titlesize",
            "axes.labelsize",
            "xtick.labelsize",
            "ytick.labelsize",
            "legend.fontsize",
        ),
        POINTS,
    ),
    "axes.titleweight": "normal",
    "lines.linewidth": 1.3,
    "pdf.fonttype": 42,  # publishers refuse type 3
}
_NO_DATES: Mapping[str, Mapping[str, None]] = MappingProxyType(
    {
        ".png": {"Software": None},
        ".svg": {"Date": None, "Creator": None},
        ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
)


@dataclass(frozen=True)
class Drawn:
    """A figure and what to print below it.

    Attributes
    ----------
    caption : what is seen, how it was reduced, and what was left out.
    """

    figure: Figure
    caption: str


@contextmanager
def paper() -> Iterator[None]:
    """Draw with the type of a printed paper."""
    with drawing():
        mpl.rcParams.update(_PAPER)
        yield


def new_figure(choice: Choice, height_cm: float) -> Figure:
    """Begin a figure of the chosen width."""
    size = (WIDTHS_CM[choice.width] * CM, height_cm * CM)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def legend_cm(choice: Choice, labels: Sequence[str]) -> float:
    """Return the height that a legend above a figure takes."""
    return LEGEND_LINE_CM * -(-len(labels) // _columns(choice, labels)) if labels else 0.0


def labels_of(handles: Sequence[Any]) -> list[str]:
    """Return what handles of a legend are called."""
    return [str(handle.get_label()) for handle in handles]


def legend_above(figure: Figure, choice: Choice, handles: Sequence[Any]) -> None:
    """Put one legend above all panels, in as many columns as fit."""
    figure.legend(
        handles=list(handles),
        loc="outside upper left",
        ncols=_columns(choice, labels_of(handles)),
        alignment="left",
        handlelength=1.6,
        columnspacing=1.2,
        borderpad=0.1,
    )


def _columns(choice: Choice, labels: Sequence[str]) -> int:
    """Return the most columns that fit; a legend is filled column by column."""
    room = CHARACTERS_PER_CM * WIDTHS_CM[choice.width]
    for columns in range(len(labels), 1, -1):
        rows = -(-len(labels) // columns)
        parts = [labels[first : first + rows] for first in range(0, len(labels), rows)]
        if sum(max(map(len, part)) + HANDLE_CHARACTERS for part in parts) <= room:
            return len(parts)
    return 1


def time_axis(axis: Axes, data: RunData, choice: Choice) -> None:
    """Label an axis of time as short as its length allows, and say which clock it is."""
    locator = mdates.AutoDateLocator(  # type: ignore[no-untyped-call]
        minticks=2, maxticks=5 if choice.is_narrow else 9
    )
    formatter = mdates.ConciseDateFormatter(  # type: ignore[no-untyped-call]
        locator, show_offset=False
    )
    formatter.formats = ["%Y", "%b", "%-d %b", "%H:%M", "%H:%M", "%H:%M"]
    formatter.zero_formats = ["", "%b", "%-d %b", "%-d %b", "%H:%M", "%H:%M"]
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(formatter)
    edges = places(interval_edges(data))
    axis.set_xlim(edges[0], edges[-1])
    axis.set_xlabel(f"time ({data.results.attrs['time_zone_local']}), {_years(data)}")


def day_axis(axis: Axes, data: RunData, days: pd.DatetimeIndex, choice: Choice) -> None:
    """Label an axis of whole days in the middle of each day, or of as many as there is room for."""
    if len(days) > DAYS_NAMED:
        time_axis(axis, data, choice)
    else:
        every = -(-len(days) // (4 if choice.is_narrow else DAYS_NAMED))
        named = days[::every]
        axis.set_xticks(
            places(named) + 0.5,
            [f"{day.day} {day:%b}" for day in named],
        )
        axis.tick_params(axis="x", length=0)
    axis.set_xlim(places(days)[0], places(days)[-1] + 1.0)
    axis.set_xlabel(f"day, {_years_of(data)}")


def _years(data: RunData) -> str:
    """Return the year of the run, or the day of a run of less than two."""
    first, last = data.slot_times[0], data.slot_times[-1]
    if last - first < pd.Timedelta(days=2):
        return f"{first.day} {first:%B %Y}"
    return _years_of(data)


def _years_of(data: RunData) -> str:
    first, last = data.slot_times[0], data.slot_times[-1]
    return f"{first:%Y}" if first.year == last.year else f"{first:%Y} and {last:%Y}"


def interval_edges(data: RunData) -> pd.DatetimeIndex:
    """Return the starts of the buckets and the end of the last."""
    end = data.slot_times[-1] + pd.Timedelta(hours=data.slot_hours)
    return pd.DatetimeIndex([*data.times, end])


def places(times: pd.DatetimeIndex) -> NDArray[np.float64]:
    """Return where times lie on an axis of time, in days."""
    return np.asarray(mdates.date2num(times), np.float64)  # type: ignore[no-untyped-call]


def steps(data: RunData, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values for lines in steps over `interval_edges`, so that the last bucket is drawn."""
    return np.concatenate([values, values[-1:]])


def colour_map(scale: ColourScale) -> Colormap:
    """Return a colour scale of reports as matplotlib has it; gaps are pale."""
    places = [(float(place), str(colour)) for place, colour in scale]
    made = LinearSegmentedColormap.from_list("tricell", places, COLOURS_OF_MAP)
    return made.with_extremes(bad=PALE)


def map_colours(parts: Sequence[NDArray[np.float64]]) -> Normalize:
    """Return a scale of colours for these values that leaves out the last 0.5 % at both ends."""
    values = np.concatenate([part.ravel() for part in parts])
    low, high = np.nanpercentile(values, [0.5, 99.5])
    return Normalize(low, high) if high > low else Normalize(low - 0.01, high + 0.01)


def heat_map(
    axis: Axes,
    data: RunData,
    choice: Choice,
    values: NDArray[np.float64],
    *,
    norm: Normalize,
    label: str,
) -> None:
    """Draw values over time as colours, the first row on top.

    Parameters
    ----------
    values : one row per bucket, one column per row of the map.
    label : what the colours show, with its unit.
    """
    mesh = axis.pcolormesh(
        places(interval_edges(data)),
        np.arange(values.shape[1] + 1) - 0.5,
        np.ma.masked_invalid(values.T),
        cmap=colour_map(SEQUENTIAL),
        norm=norm,
        rasterized=True,
    )
    axis.invert_yaxis()
    time_axis(axis, data, choice)
    colour_bar(axis.figure, mesh, [axis], choice, label)


def colour_bar(
    figure: Any, mesh: Any, axes: Sequence[Axes], choice: Choice, label: str
) -> Colorbar:
    """Put a scale of colours beside heat maps, or below them where there is no room beside."""
    if choice.is_narrow:
        bar: Colorbar = figure.colorbar(
            mesh, ax=list(axes), label=label, location="bottom", pad=0.02, aspect=30
        )
        grouped(bar.ax, "x")
    else:
        height = WIDTHS_CM[choice.width] * figure.get_figheight() / figure.get_figwidth()
        bar = figure.colorbar(
            mesh,
            ax=list(axes),
            label=label,
            pad=0.015,
            aspect=22,
            shrink=min(1.0, BAR_CM / height),
            anchor=(0.0, 1.0),
        )
        grouped(bar.ax, "y")
    return bar


def name_rows(axis: Axes, names: Sequence[str]) -> None:
    """Name every row of a heat map."""
    axis.set_yticks(range(len(names)), list(names))
    axis.tick_params(axis="y", length=0)


def picture(figure: Figure, suffix: str) -> bytes:
    """Return a figure as the content of a file of that ending; call it inside `paper`."""
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format=suffix.removeprefix("."), dpi=DPI, metadata=dict(_NO_DATES[suffix])
    )
    return buffer.getvalue()
