"""How the figures of a study look: one colour per design, readable type, no ornament.

Designs take the colours of Okabe and Ito (Color Universal Design, 2008), which people with a
colour vision deficiency tell apart; beyond them the line style and the marker change. Components
and levels take the light scheme of Tol (SRON/EPS/TN/09-002, 2021), so that nobody takes a
component for a design. Type is 9 pt and more at the printed width of 17 cm.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from tricell.results.report.look import GREY, GRID, OKABE_ITO, TOL_LIGHT

DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
WIDTH_IN = 6.9
"""Printed width of a figure, inches."""
LEGEND_CHARACTERS = 100
"""So many characters fit beside each other in that width."""
LEGEND_LINE_IN = 0.19
NO_OTHER_DESIGN = "Not drawn: there is no run of a design beside the reference to compare."

_LOOK: Mapping[Any, Any] = MappingProxyType(
    {
        "font.family": "DejaVu Sans",
        "font.size": 9.5,
        "axes.titlesize": 9.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.labelsize": 9.5,
        "xtick.labelsize": 9.0,
        "ytick.labelsize": 9.0,
        "legend.fontsize": 9.0,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": GREY,
        "xtick.color": "#333333",
        "ytick.color": "#333333",
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.7,
        "lines.linewidth": 1.7,
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "svg.fonttype": "path",
        "svg.hashsalt": "tricell",
        "path.simplify": True,
    }
)


@dataclass(frozen=True)
class Look:
    """How a design is drawn, everywhere in the report."""

    colour: str
    dash: Any
    marker: str


def design_looks(designs: Sequence[str]) -> Mapping[str, Look]:
    """Give every design a look of its own, in the order of the study."""
    return MappingProxyType(
        {
            design: Look(
                OKABE_ITO[number % len(OKABE_ITO)],
                DASHES[number // len(OKABE_ITO) % len(DASHES)],
                MARKERS[number % len(MARKERS)],
            )
            for number, design in enumerate(designs)
        }
    )


def part_colours(parts: Sequence[str]) -> Mapping[str, str]:
    """Give every component or level a colour that no design has."""
    return MappingProxyType(
        {part: TOL_LIGHT[number % len(TOL_LIGHT)] for number, part in enumerate(parts)}
    )


@contextmanager
def drawing() -> Iterator[None]:
    """Draw with the report's type and lines, whatever matplotlib is set to elsewhere."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_LOOK)
        yield


def new_figure(height: float, width: float = WIDTH_IN) -> Figure:
    """Begin a figure, inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panels(
    count: int,
    columns: int,
    panel_height: float,
    *,
    sharex: bool = False,
    sharey: bool = False,
    extra: float = 0.1,
) -> tuple[Figure, list[Axes]]:
    """Begin a figure of so many panels, with extra inches for a legend."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = new_figure(rows * panel_height + extra)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey)
    axes = list(grid.flat)
    for axis in axes[count:]:
        axis.remove()
    if sharex:
        for axis in axes[:count]:
            axis.xaxis.set_tick_params(labelbottom=True)
    return figure, axes[:count]


def design_legend(figure: Figure, looks: Mapping[str, Look], labels: Mapping[str, str]) -> None:
    """Put one legend of the designs above all panels."""
    handles = [
        Line2D([], [], color=look.colour, linestyle=look.dash, label=labels[design])
        for design, look in looks.items()
    ]
    legend_above(figure, handles)


def legend_above(figure: Figure, handles: Sequence[Any], title: str = "") -> None:
    """Put one legend above all panels, in as many columns as fit."""
    columns = _legend_columns([str(handle.get_label()) for handle in handles])
    figure.legend(
        handles=list(handles),
        loc="outside upper left",
        ncols=columns,
        title=title or None,
        alignment="left",
    )


def legend_height(labels: Iterable[str]) -> float:
    """Return the height that a legend of these labels takes, inches."""
    texts = list(labels)
    return 0.1 + LEGEND_LINE_IN * -(-len(texts) // _legend_columns(texts))


def _legend_columns(labels: Sequence[str]) -> int:
    longest = max((len(label) for label in labels), default=1)
    return max(1, min(len(labels), LEGEND_CHARACTERS // (longest + 5)))


def row_labels(axis: Axes, labels: Sequence[str], width: int) -> None:
    """Name rows from the top, each in lines of at most so many characters."""
    axis.set_yticks(range(len(labels)), [wrapped(label, width) for label in labels])
    for text in axis.get_yticklabels():
        text.set_linespacing(0.88)


def row_height(labels: Iterable[str], width: int) -> float:
    """Return the height of a row whose label is wrapped, inches."""
    return 0.3 if any(len(label) > width for label in labels) else 0.23


def grouped(axis: Axes, ways: str = "xy") -> None:
    """Write the numbers of linear axes with separators of thousands."""
    for way in ways:
        (axis.xaxis if way == "x" else axis.yaxis).set_major_formatter(
            FuncFormatter(lambda value, _: tick_text(value))
        )


def tick_text(value: float) -> str:
    """Write the number of a tick.

    Examples
    --------
    >>> tick_text(20000.0), tick_text(-2.5), tick_text(0.30000000000000004)
    ('20,000', '−2.5', '0.3')
    """
    text = f"{value:,.0f}" if abs(value) >= 1000.0 else f"{round(value, 9):g}"
    return text.replace("-", "−")


def zero_line(axis: Axes, *, vertical: bool = False) -> None:
    """Mark where nothing changes."""
    (axis.axvline if vertical else axis.axhline)(0.0, color=GREY, linewidth=0.8, zorder=1)


def wrapped(text: str, width: int) -> str:
    """Break a text into lines of at most so many characters, at blanks."""
    return "\n".join(textwrap.wrap(text, width)) or text


@dataclass(frozen=True)
class ReportFigure:
    """A figure of the report.

    Attributes
    ----------
    key, slug, title : such as F1, ``bill_changes`` and what it shows.
    caption : what is seen and how it is computed.
    drawing : the figure; None where the study has nothing to draw.
    notes : what is missing, and why.
    """

    key: str
    slug: str
    title: str
    caption: str
    drawing: Figure | None
    notes: tuple[str, ...] = ()


def signed(value: float) -> str:
    """Write a number with its sign and one decimal, zero without."""
    return "0.0" if abs(value) < 0.05 else f"{value:+.1f}".replace("-", "−")
