"""Figures of compared runs: prices, trade by level, load duration, verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

import numpy as np
from numpy.typing import NDArray
from plotly.graph_objects import Bar, Figure, Scatter

from tricell.results import layout
from tricell.results.comparison import Comparison
from tricell.results.comparison_page.run_tables import change_percent
from tricell.results.figure_names import figure_name
from tricell.results.report import look
from tricell.results.report.drawing import clear, nothing, panels, small, time_steps
from tricell.results.report.figures_market import across
from tricell.results.report.parts import Cell, Part, PartTable
from tricell.results.report.run_data import RunData
from tricell.results.report.words import counted, number

MAIN_TRAFOS = 5
"""So many transformers are drawn: those with the highest loading in any of the runs."""
POINTS = 300
LEGEND_ROW = 24
MOST_CHANGE = 100.0
"""Changes are drawn up to so many percent; what lies beyond stands at the edge."""
LEAST_CHANGE = 0.005
NAME_CHARACTERS = 24
"""Names of figures are broken into lines of so many characters."""
BAR_ROW = 34


def changes(comparison: Comparison) -> Part:
    """Draw by how many percent the key figures of the other runs differ from the first."""
    key, title = "changes", "By how much key figures differ"
    rows = [row for row in comparison.figures if row.scope == layout.RUN_SCOPE]
    found = [
        (figure_name(row.name), [change_percent(row, n) for n in range(1, len(row.values))])
        for row in rows
    ]
    found = [
        (name, values)
        for name, values in found
        if any(value is not None and abs(value) >= LEAST_CHANGE for value in values)
    ]
    if not found:
        return nothing(key, title, "no key figure of the whole run differs in any comparable way.")
    figure = panels([len(found) * max(BAR_ROW, 14 * len(comparison.runs)) + 20], [""], above=30)
    for place, run in enumerate(comparison.runs[1:]):
        values = [changes_of[place] for _, changes_of in found]
        figure.add_trace(
            Bar(
                x=[None if value is None else _clipped(value) for value in values],
                y=["<br>".join(wrap(name, NAME_CHARACTERS)) for name, _ in found],
                orientation="h",
                name=f"{run.letter} − {comparison.runs[0].letter}",
                marker={"color": look.colour(place + 1), "line": {"width": 0}},
                customdata=["" if value is None else f"{number(value)} %" for value in values],
                hovertemplate="%{y}: %{customdata}<extra></extra>",
            )
        )
    span = max(abs(_clipped(v)) for _, values in found for v in values if v is not None)
    figure.update_xaxes(
        title_text=f"change from {comparison.runs[0].letter}, %", range=[-1.04 * span, 1.04 * span]
    )
    figure.update_layout(showlegend=True)
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="", type="category")
    figure.update_layout(bargap=0.25)
    beyond = any(
        value is not None and abs(value) > MOST_CHANGE for _, values in found for value in values
    )
    notes = (
        (f"Bars end at {MOST_CHANGE:g} %; hover for the change, or see the table of key figures.",)
        if beyond
        else ()
    )
    return Part(
        key,
        title,
        f"{counted(len(found), 'figure')} of the whole run in percent of the first run; whether "
        "more is better depends on the figure. Those that are equal in all runs, or zero in the "
        "first, are in the table of key figures.",
        figure,
        notes=notes,
    )


def _clipped(percent: float) -> float:
    return float(np.clip(percent, -MOST_CHANGE, MOST_CHANGE))


def prices(comparison: Comparison, data: Sequence[RunData]) -> Part:
    """Draw the prices of each level of all runs over time."""
    key, title = "prices", "Prices at each level"
    levels = [
        level for level in layout.AREA_LEVELS if any(_has_prices(each, level) for each in data)
    ]
    if not levels:
        return nothing(key, title, "no run has a price of any area.")
    titles = [f"<b>{look.LEVEL_NAMES[level]}</b>" for level in levels]
    figure = panels([190] * len(levels), titles, gap=76, above=30)
    rows = []
    for panel, level in enumerate(levels, start=1):
        for place, (run, each) in enumerate(zip(comparison.runs, data, strict=True)):
            if not _has_prices(each, level):
                continue
            values = across(each.bucketed(level, "price"), 50.0)
            figure.add_trace(
                Scatter(
                    y=small(values),
                    **time_steps(each.times),
                    mode="lines",
                    name=run.letter,
                    legendgroup=run.letter,
                    showlegend=panel == 1,
                    line=_line(place) | {"shape": "hv"},
                    hovertemplate=f"{run.letter}, %{{x|%a %d %b %Y %H:%M}}: %{{y:.4f}} EUR/kWh"
                    "<extra></extra>",
                ),
                row=panel,
                col=1,
            )
            rows.append((look.LEVEL_NAMES[level], run.letter, *_price_figures(each, level)))
    figure.update_yaxes(title_text="EUR/kWh", rangemode="tozero")
    figure.update_xaxes(title_text=data[0].time_title, row=len(levels))
    headings = ("level", "run", "mean, EUR/kWh", "lowest", "highest")
    return Part(
        key,
        title,
        "The median over the areas of a level. The table has the mean, the lowest and the highest "
        "over all areas and slots with a price.",
        figure,
        PartTable(headings, rows),
    )


def _has_prices(data: RunData, level: str) -> bool:
    return data.has(level, "price") and bool(np.isfinite(data.bucketed(level, "price")).any())


def _price_figures(data: RunData, level: str) -> tuple[float, float, float]:
    values = data.whole(level, "price")
    values = values[np.isfinite(values)]
    return float(values.mean()), float(values.min()), float(values.max())


def _line(place: int) -> dict[str, object]:
    """Return the line of a run; the first is the thickest, so that it shows behind another."""
    dash = look.PLOTLY_DASHES[place % len(look.PLOTLY_DASHES)]
    return {"color": look.colour(place), "width": 3.2 if place == 0 else 1.8, "dash": dash}


def traded(comparison: Comparison, data: Sequence[RunData]) -> Part:
    """Draw how much was traded at each level per day."""
    key, title = "traded", "Energy traded at each level"
    levels = [
        level
        for level in layout.AREA_LEVELS
        if any(each.has(level, "energy_traded") for each in data)
    ]
    if not levels:
        return nothing(key, title, "no run has energy traded at any level.")
    figure = panels([64 + 26 * len(levels) * len(data)], [""], above=30)
    for place, (run, each) in enumerate(zip(comparison.runs, data, strict=True)):
        days = each.slots_done * each.slot_hours / 24.0
        kwh = [
            float(each.total(level, "energy_traded").sum()) / days
            if each.has(level, "energy_traded")
            else np.nan
            for level in levels
        ]
        figure.add_trace(
            Bar(
                x=kwh,
                y=[look.LEVEL_NAMES[level] for level in levels],
                orientation="h",
                name=run.letter,
                marker={"color": look.colour(place), "line": {"width": 0}},
                text=[f"{run.letter}: {number(value)} kWh" for value in kwh],
                textposition="auto",
                hovertemplate="%{y}, %{text} per day<extra></extra>",
            )
        )
    figure.update_xaxes(title_text="kWh per day", rangemode="tozero")
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="", type="category")
    figure.update_layout(bargap=0.25)
    return Part(
        key,
        title,
        "Traded between members of the same area, all areas of a level together, per day of the "
        "run: so runs of different lengths can be compared.",
        figure,
    )


def load_duration(comparison: Comparison, data: Sequence[RunData]) -> Part:
    """Draw the load duration curves of the most loaded transformers of all runs."""
    key, title = "load_duration", "How long transformers are loaded how much"
    known = [each for each in data if each.has("trafo", "loading") and len(each.trafos)]
    if not known:
        return nothing(key, title, "no run has the loading of a transformer.")
    highest: dict[str, float] = {}
    for each in known:
        for trafo, loading in zip(each.ids("trafo"), each.highest("trafo", "loading"), strict=True):
            highest[str(trafo)] = np.fmax(loading, highest.get(str(trafo), np.nan))
    ranked = sorted(highest, key=lambda trafo: -np.nan_to_num(highest[trafo]))
    main = ranked[:MAIN_TRAFOS]
    figure = panels([360], [""], above=30 + LEGEND_ROW * len(main) * len(data))
    curves = {
        run.letter: dict(
            zip(each.ids("trafo"), each.duration_curve("trafo", "loading", POINTS).T, strict=True)
        )
        for run, each in zip(comparison.runs, data, strict=True)
        if each in known
    }
    for rank, trafo in enumerate(main):
        for place, run in enumerate(comparison.runs):
            curve = curves.get(run.letter, {}).get(trafo)
            if curve is not None:
                _add_curve(figure, curve, rank, place, (trafo, run.letter))
    figure.update_xaxes(title_text="share of the time, %", range=[0, 100])
    figure.update_yaxes(title_text="loading, % of the rating", rangemode="tozero")
    figure.update_layout(legend={"orientation": "v", "traceorder": "normal"})
    left_out = len(ranked) - len(main)
    notes = (f"{counted(left_out, 'transformer')} with lower loadings are in no curve.",)
    return Part(
        key,
        title,
        "A curve shows for which share of the time a transformer carries at least so much. One "
        f"colour per transformer; the wide pale line is {comparison.runs[0].letter}, the thin "
        "ones, each with a dash of its own, are the other runs.",
        figure,
        _peaks(comparison, data, main),
        notes=notes if left_out else (),
    )


def _add_curve(
    figure: Figure,
    curve: NDArray[np.float64],
    rank: int,
    place: int,
    names: tuple[str, str],
) -> None:
    trafo, letter = names
    line = (
        {"color": clear(look.colour(rank), 0.4), "width": 6}
        if place == 0
        else {
            "color": look.colour(rank),
            "width": 1.6,
            "dash": look.PLOTLY_DASHES[(place - 1) % len(look.PLOTLY_DASHES)],
        }
    )
    figure.add_trace(
        Scatter(
            y=small(curve),
            x0=0.0,
            dx=100.0 / max(len(curve) - 1, 1),
            mode="lines" if len(curve) > 1 else "markers",
            name=f"{trafo}, {letter}",
            line=line,
            hovertemplate=f"{trafo}, {letter}<br>above %{{y:.1f}} % of its rating in %{{x:.1f}} % "
            "of the time<extra></extra>",
        )
    )


def _peaks(comparison: Comparison, data: Sequence[RunData], main: Sequence[str]) -> PartTable:
    """List the highest loading of each transformer in each run."""
    peaks = [
        dict(zip(each.ids("trafo"), each.highest("trafo", "loading"), strict=True))
        if each.has("trafo", "loading")
        else {}
        for each in data
    ]
    letters = [run.letter for run in comparison.runs]
    rows = [[trafo, *(_or_none(each.get(trafo)) for each in peaks)] for trafo in main]
    return PartTable(("transformer", *(f"{name}, highest %" for name in letters)), rows)


def _or_none(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def verdicts(comparison: Comparison, data: Sequence[RunData]) -> Part:
    """Draw in which share of the time the grid kept its limits."""
    key, title = "verdicts", "Were all limits kept?"
    known = [
        (run.letter, each.slots["verdict"].astype(str).value_counts(), each.slots_done)
        for run, each in zip(comparison.runs, data, strict=True)
        if "verdict" in each.slots and each.slots_done
    ]
    if not known:
        return nothing(key, title, "no run has verdicts on slots.")
    figure = panels([60 + 34 * len(known)], [""], above=30)
    words = [word for word in look.VERDICT_NAMES if any(word in counts for _, counts, _ in known)]
    for word in words:
        figure.add_trace(
            Bar(
                x=[100.0 * int(counts.get(word, 0)) / slots for _, counts, slots in known],
                y=[letter for letter, _, _ in known],
                orientation="h",
                name=look.VERDICT_NAMES[word],
                marker={"color": look.VERDICT_COLOURS[word], "line": {"width": 0}},
                hovertemplate=f"%{{y}}: {look.VERDICT_NAMES[word]} in %{{x:.2f}} % of the time"
                "<extra></extra>",
            )
        )
    figure.update_layout(
        barmode="stack", bargap=0.3, showlegend=True, legend={"traceorder": "normal"}
    )
    figure.update_xaxes(title_text="share of the slots, %", range=[0, 100])
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="", type="category")
    rows: list[list[Cell]] = [
        [look.VERDICT_NAMES[word], *(int(counts.get(word, 0)) for _, counts, _ in known)]
        for word in words
    ]
    headings = ("slots", *(letter for letter, _, _ in known))
    return Part(
        key,
        title,
        "What the AC power flow says of each slot.",
        figure,
        PartTable(headings, rows),
    )
