"""The kinds of figures that `tricell plot` draws, and drawing one into a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import pandas as pd

from tricell.errors import ResultsError
from tricell.results.output_file import require_output, write_whole
from tricell.results.plots import energy, grid, network, prices, tree
from tricell.results.plots.canvas import SUFFIXES, WIDTHS_CM, Drawn, paper, picture
from tricell.results.plots.choice import Choice, PartOfRun
from tricell.results.plots.kinds import KINDS, Kind
from tricell.results.reader import Results, open_results
from tricell.results.report.run_data import RunData

MOST_NAMED = 30
"""Messages name at most so many areas."""

Drawer: TypeAlias = Callable[[RunData, Choice], Drawn]

DRAWERS: Mapping[str, Drawer] = MappingProxyType(
    {
        "prices": prices.prices,
        "price-map": prices.price_map,
        "energy-flows": energy.energy_flows,
        "energy": energy.energy,
        "bills": energy.bills,
        "duration": network.duration,
        "voltage-map": network.voltage_map,
        "verdicts": network.verdicts,
        "grid": grid.grid,
        "hierarchy": tree.hierarchy,
    }
)


@dataclass(frozen=True)
class Order:
    """Which figure is wanted, as it was typed.

    Attributes
    ----------
    kind : see `kinds.KINDS`.
    area, level : only this area with all inside it; only this level. None for all.
    start, stop : only the slots that start at or after the one and before the other, UTC.
    at : the slot of a figure of one moment, UTC; None for the worst.
    width : single or double.
    """

    kind: str
    area: str | None = None
    level: str | None = None
    start: str | None = None
    stop: str | None = None
    at: str | None = None
    width: str = "double"


def write_plot(path: Path, order: Order, output: Path, *, force: bool = False) -> str:
    """Draw a figure of the run in a results file, and return its caption.

    Raises
    ------
    ResultsError
        If the kind, the width or the ending of the output is unknown; if the area, level or slot is
        not in the file, or if there is nothing to draw; if the file cannot be read or the output
        cannot be written.
    """
    kind = require_kind(order.kind)
    require_output(output, SUFFIXES, (path,), force=force)
    _require_options(kind, order)
    with open_results(path) as results, paper():
        start, stop, at = (
            _instant(name, text)
            for name, text in (("--start", order.start), ("--stop", order.stop), ("--at", order.at))
        )
        data = RunData(PartOfRun(results, start, stop))
        _require_slots(results, data)
        choice = Choice(_known_area(data, order.area), _known_level(data, order), at, order.width)
        drawn = DRAWERS[kind.name](data, choice)
        content = picture(drawn.figure, output.suffix.lower())
    write_whole(output, content)
    return drawn.caption


def require_kind(name: str) -> Kind:
    """Return a kind of figure.

    Raises
    ------
    ResultsError
        If there is none of that name.
    """
    if name not in KINDS:
        raise ResultsError(
            f"There is no kind of figure {name!r}{_likely(name, list(KINDS))} Allowed: "
            f"{', '.join(KINDS)}. `tricell plot --list` says what each shows."
        )
    return KINDS[name]


def _require_options(kind: Kind, order: Order) -> None:
    if order.width not in WIDTHS_CM:
        raise ResultsError(
            f"--width is {order.width!r}; allowed are "
            + " and ".join(f"{name} ({cm:g} cm)" for name, cm in WIDTHS_CM.items())
            + "."
        )
    given = {"area": order.area, "level": order.level, "at": order.at}
    given["period"] = order.start or order.stop
    names = {"area": "--area", "level": "--level", "at": "--at", "period": "--start and --stop"}
    for option, value in given.items():
        if value is not None and option not in kind.options:
            allowed = [names[each] for each in kind.options]
            raise ResultsError(
                f"The figure {kind.name} takes no {names[option]}"
                + (f"; it takes {', '.join(allowed)}." if allowed else ".")
            )


def _instant(option: str, text: str | None) -> pd.Timestamp | None:
    """Read an instant, UTC unless it has an offset."""
    if text is None:
        return None
    instant = pd.to_datetime(text, errors="coerce")
    if not isinstance(instant, pd.Timestamp):
        raise ResultsError(
            f"{option} is {text!r}, which is no time such as 2016-05-25 or 2016-05-25T12:00 (UTC "
            "unless an offset is given, such as 2016-05-25T12:00+02:00)."
        )
    return instant.tz_localize("UTC") if instant.tz is None else instant.tz_convert("UTC")


def _require_slots(results: Results, data: RunData) -> None:
    if data.slots_done:
        return
    times = results.times() if results.groups else pd.DatetimeIndex([])
    if not len(times):
        raise ResultsError(f"{results.path} has no slot yet; there is nothing to draw.")
    last = times[-1] + pd.Timedelta(hours=data.slot_hours)
    raise ResultsError(
        f"{results.path} has no slot between --start and --stop; it has those from "
        f"{times[0]:%Y-%m-%dT%H:%M} up to {last:%Y-%m-%dT%H:%M} UTC."
    )


def _known_area(data: RunData, area: str | None) -> str:
    known = [str(each) for each in data.areas["area"]]
    if area is not None and area not in known:
        raise ResultsError(
            f"{data.results.path} has no area {area!r}{_likely(area, known)} It has: "
            f"{_named(known)}."
        )
    return area or ""


def _known_level(data: RunData, order: Order) -> str:
    if order.level is None:
        return ""
    if order.level not in data.levels:
        raise ResultsError(
            f"{data.results.path} has no level {order.level!r}{_likely(order.level, data.levels)} "
            f"It has: {', '.join(data.levels)}."
        )
    inside = data.inside(order.area) if order.area else tuple(data.areas["area"])
    here = data.areas.loc[data.areas["area"].isin(list(inside)), "level"]
    if order.level not in set(here):
        raise ResultsError(
            f"The area {order.area} holds no area of the level {order.level}; it has: "
            f"{', '.join(dict.fromkeys(here))}."
        )
    return order.level


def _named(words: Sequence[str]) -> str:
    """Join words, and say how many more there are than can be read at a glance."""
    others = len(words) - MOST_NAMED
    return ", ".join(words[:MOST_NAMED]) + (f" and {others:,} others" if others > 0 else "")


def _likely(word: str, known: Sequence[str]) -> str:
    """Return ``; did you mean 'x'?`` for the closest known word, else a full stop."""
    close = get_close_matches(word, known, 1, 0.5)
    return f"; did you mean {close[0]!r}?" if close else "."
