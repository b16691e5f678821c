"""What a page of results is made of: parts, each a figure or a table, in named sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from plotly.graph_objects import Figure

Cell: TypeAlias = str | int | float | None
"""A cell of a table: text, or a number that the page writes; None and NaN are undefined."""


@dataclass(frozen=True)
class PartTable:
    """A table of a page.

    Attributes
    ----------
    headings, rows : all rows are as long as the headings; units stand in the headings.
    areas : for each row the id of the area it is about, "" for none; empty where no row is about
        an area. Choosing an area on the page leaves its rows and those of the areas inside it.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    areas: Sequence[str] = ()


@dataclass(frozen=True)
class Control:
    """A list or slider above a figure that changes what the figure shows.

    Attributes
    ----------
    label : what is chosen.
    options : texts to choose from; the first is what the figure shows at first.
    updates : for each option the restyling of plotly, ``[data, layout, traces]``, all JSON.
    """

    label: str
    options: Sequence[str]
    updates: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Part:
    """A figure or a table with a title, on a page.

    Attributes
    ----------
    key : unique on the page, a slug such as ``load_duration``.
    title, caption : what it shows; how to read it and how it is computed.
    figure : None where the run has nothing to draw; `notes` then says why. A trace with
        ``meta={"area": id}`` is about that area: choosing an area on the page leaves its traces
        and those of the areas inside it.
    rows : a table instead of a figure, or beneath it.
    notes : what is missing, and why.
    control : a list above the figure, None for none.
    extra : data for the page's own script, by name; all JSON.
    folded : long texts, such as the scenario, by heading; the page shows one on request.
    """

    key: str
    title: str
    caption: str
    figure: Figure | None = None
    rows: PartTable | None = None
    notes: Sequence[str] = ()
    control: Control | None = None
    extra: Mapping[str, object] | None = None
    folded: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Section:
    """Parts under one heading of the page."""

    slug: str
    name: str
    parts: Sequence[Part]
