"""How pages of results and their figures look: colours that all people tell apart, plain type.

Categories take the colours of Okabe and Ito (Color Universal Design, 2008), which people with a
colour vision deficiency tell apart. Amounts take cividis (Nunez, Anderton, Renslow, PLoS ONE 13,
2018, e0199239), voltages a map from blue over pale grey to orange. Nothing is told by colour alone:
lines also differ by dashes, points by markers, and areas by labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
TOL_LIGHT = (
    "#77AADD",
    "#EE8866",
    "#EEDD88",
    "#FFAABB",
    "#99DDFF",
    "#44BB99",
    "#BBCC33",
    "#AAAA00",
    "#DDDDDD",
)
"""The light scheme of Tol (SRON/EPS/TN/09-002, 2021), for areas that touch each other."""
INK = "#1A1A1A"
GREY = "#6B6B6B"
PALE = "#D9D9D9"
GRID = "#E6E6E6"
GOOD, BAD, WARN = "#009E73", "#D55E00", "#E69F00"

FONT = '"Helvetica Neue", Arial, "DejaVu Sans", sans-serif'
FONT_SIZE = 13
"""Pixels; the smallest type on a page is 12."""

PLOTLY_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
PLOTLY_MARKERS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")

DARK = 0.179
"""At this luminance black and white ink have the same contrast, 4.6 to 1."""

ColourScale = Sequence[Sequence[float | str]]
SEQUENTIAL: ColourScale = (
    (0.0, "#00224E"),
    (0.125, "#123570"),
    (0.25, "#3B496C"),
    (0.375, "#575D6D"),
    (0.5, "#707173"),
    (0.625, "#8A8678"),
    (0.75, "#A59C74"),
    (0.875, "#C3B369"),
    (1.0, "#FEE838"),
)
"""Cividis, dark to light: for amounts from little to much."""
DIVERGING: ColourScale = (
    (0.0, "#0B4A8F"),
    (0.2, "#3B87C8"),
    (0.4, "#A9CBE6"),
    (0.5, "#EFEFEF"),
    (0.6, "#F5C58B"),
    (0.8, "#DD7C1F"),
    (1.0, "#8F3B00"),
)
"""Blue over pale grey to orange: for voltages from low to high, for import less export."""
GAIN: ColourScale = tuple((1.0 - float(place), colour) for place, colour in reversed(DIVERGING))
"""The same turned round: a loss is orange, a gain blue."""

LEVEL_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "microgrid": "Microgrids",
        "cell": "Cells",
        "multicell": "Multi-cell",
        "retail": "Retailer",
    }
)
LEVEL_NAME: Mapping[str, str] = MappingProxyType(
    {
        "microgrid": "microgrid",
        "cell": "cell",
        "multicell": "multi-cell area",
        "retail": "retailer",
    }
)
LEVEL_COLOURS: Mapping[str, str] = MappingProxyType(
    {
        "microgrid": OKABE_ITO[0],
        "cell": OKABE_ITO[1],
        "multicell": OKABE_ITO[2],
        "retail": OKABE_ITO[3],
    }
)
LEVEL_DASHES: Mapping[str, str] = MappingProxyType(
    {"microgrid": "solid", "cell": "dash", "multicell": "dot", "retail": "dashdot"}
)
VERDICT_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "limits_met": "all limits kept",
        "limits_met_by_reclearing": "kept after clearing again",
        "limits_broken": "a limit broken",
        "no_ac_solution": "no AC solution",
    }
)
VERDICT_COLOURS: Mapping[str, str] = MappingProxyType(
    {
        "limits_met": OKABE_ITO[2],
        "limits_met_by_reclearing": OKABE_ITO[5],
        "limits_broken": OKABE_ITO[4],
        "no_ac_solution": OKABE_ITO[6],
    }
)


def colour(number: int) -> str:
    """Return the colour of the so-manieth category, from 0."""
    return OKABE_ITO[number % len(OKABE_ITO)]


def dash(number: int) -> str:
    """Return the dash of the so-manieth line, from 0: it changes once the colours are used up."""
    return PLOTLY_DASHES[number // len(OKABE_ITO) % len(PLOTLY_DASHES)]


def marker(number: int) -> str:
    """Return the marker of the so-manieth category, from 0."""
    return PLOTLY_MARKERS[number % len(PLOTLY_MARKERS)]


def sample(scale: ColourScale, share: float) -> str:
    """Return the colour at a place of a scale, which ends at 0 and 1.

    Examples
    --------
    >>> sample(((0.0, "#000000"), (1.0, "#FF8000")), 0.5)
    '#804000'
    """
    place = min(max(share, 0.0), 1.0)
    ends = [(float(at), _rgb(str(colour))) for at, colour in scale]
    for (low, first), (high, last) in pairwise(ends):
        if place <= high:
            way = (place - low) / (high - low)
            mixed = (round(a + way * (b - a)) for a, b in zip(first, last, strict=True))
            return "#" + "".join(f"{part:02X}" for part in mixed)
    return str(scale[-1][1])


def text_on(colour: str) -> str:
    """Return black or white ink, whichever is easier to read on a colour (WCAG 2.2, 1.4.3).

    Examples
    --------
    >>> text_on("#FEE838"), text_on("#00224E")
    ('#000000', '#FFFFFF')
    """
    return "#000000" if luminance(colour) > DARK else "#FFFFFF"


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour, 0 (black) to 1 (white), as WCAG 2.2 has it."""
    parts = (part / 255.0 for part in _rgb(colour))
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def base_layout(height: int, **more: object) -> dict[str, object]:
    """Return the layout that all figures of a page share, with what is said more.

    Parameters
    ----------
    height : pixels; the width is that of the page.
    more : other keys of a plotly layout, such as ``xaxis_title``, which win.
    """
    axis = {
        "gridcolor": GRID,
        "linecolor": GREY,
        "zerolinecolor": GREY,
        "ticks": "outside",
        "tickcolor": PALE,
        "automargin": True,
        "title": {"standoff": 8},
    }
    layout: dict[str, object] = {
        "template": None,
        "height": height,
        "autosize": True,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "font": {"family": FONT, "size": FONT_SIZE, "color": INK},
        "colorway": list(OKABE_ITO),
        "hoverlabel": {"bgcolor": "white", "font": {"family": FONT, "size": FONT_SIZE}},
        "legend": {
            "orientation": "h",
            "x": 0.0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            "title": {"text": ""},
        },
        "xaxis": axis,
        "yaxis": dict(axis),
        "separators": ".,",
    }
    return {**layout, **more}
