"""Figures of the market and of feedback: F5 revenue and rates, F9 traded energy by level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from tricell.results.report.look import PALE
from tricell.results.study_layout import ALL_LEVELS
from tricell.results.study_report.data import (
    AXIS_LABELS,
    CLOSURE_LABELS,
    LEVEL_LABELS,
    StudyData,
)
from tricell.results.study_report.style import (
    ReportFigure,
    design_legend,
    design_looks,
    legend_above,
    legend_height,
    new_figure,
    panels,
    part_colours,
    row_labels,
    zero_line,
)
from tricell.results.study_report.tables import along_axis, varied_axes

ADOPTION = ("pv_share", "battery_share", "ev_share", "heat_pump_share", "participation")
MARKET_LEVELS = ("microgrid", "cell", "multicell", "retail")
SMALL_RATE = 1e-12
SMALL_PERCENT = 1e-3
"""Gaps below this, %, are rounding."""


def feedback(data: StudyData) -> ReportFigure:
    """F5: revenue and rates against adoption, and round by round."""
    slug, title = "feedback", "Revenue and rates as customers react"
    axis_name = next((name for name in ADOPTION if name in varied_axes(data)), "")
    adoption = _by_adoption(data, axis_name) if axis_name else pd.DataFrame()
    rounds = _by_round(data)
    drawn = [
        each
        for each in (
            (adoption, "gap", "revenue less allowed\nat fixed rates, %", "adoption"),
            (adoption, "rate", "rate, % of that at\nthe lowest share", "adoption"),
            (rounds, "gap", "collected less allowed, %", "round"),
            (rounds, "rate", "rate, % of that in\nthe first round", "round"),
        )
        if len(each[0]) and each[0][each[1]].notna().any()
    ]
    if not drawn:
        note = (
            "Not drawn: the study has one share of adoption and no closure in which rates are "
            "solved again, so neither adoption nor rounds can be compared."
        )
        return ReportFigure("F5", slug, title, "", None, (note,))
    height = legend_height(data.labels[design] for design in data.designs)
    figure, axes = panels(len(drawn), 2, 2.4, extra=height)
    for axis, (table, column, label, against) in zip(axes, drawn, strict=True):
        _draw_paths(axis, data, table, column)
        axis.set_ylabel(label)
        axis.set_xlabel(AXIS_LABELS[axis_name] if against == "adoption" else "round")
        if column == "gap":
            zero_line(axis)
            if table[column].abs().max() < SMALL_PERCENT:
                axis.set_ylim(-1.0, 1.0)
    looks = design_looks(data.designs)
    design_legend(figure, {d: looks[d] for d in data.designs}, data.labels)
    return ReportFigure(
        "F5",
        slug,
        title,
        _feedback_caption(data, axis_name, rounds),
        figure,
        tuple(_feedback_notes(data, axis_name, rounds)),
    )


def _feedback_caption(data: StudyData, axis_name: str, rounds: pd.DataFrame) -> str:
    parts = ["How far revenue departs from what is allowed, and how far rates move to recover it."]
    if axis_name:
        parts.append(
            "Against adoption: the gap at fixed rates, and the rates of the bills (closure: "
            f"{CLOSURE_LABELS[data.main_closure]})."
        )
    if len(rounds):
        parts.append("By round: what is collected, and the rates, while both follow each other.")
    parts.append(
        "Rates are relative to where the path begins, as the mean over the rates of a design. "
        "Means over seeds."
    )
    return " ".join(parts)


def _feedback_notes(data: StudyData, axis_name: str, rounds: pd.DataFrame) -> list[str]:
    notes = []
    if not axis_name:
        notes.append("One share of adoption in the study: only the rounds are shown.")
    if rounds.empty:
        notes.append("No closure with rates solved again in the study: no rounds to show.")
    open_runs = data.runs[data.runs["converged"].astype(int) == 0]
    if len(open_runs):
        names = ", ".join(data.labels[name] for name in dict.fromkeys(open_runs["design"]))
        notes.append(f"{len(open_runs)} runs did not settle: {names}.")
    return notes


def _draw_paths(axis: Axes, data: StudyData, table: pd.DataFrame, column: str) -> None:
    looks = design_looks(data.designs)
    for design in data.designs:
        line = table[table["design"] == design].sort_values("x")
        look = looks[design]
        axis.plot(
            line["x"],
            line[column],
            color=look.colour,
            linestyle=look.dash,
            marker=look.marker,
            markersize=5,
        )
    axis.set_xticks(np.unique(table["x"])[:: max(1, table["x"].nunique() // 8)])
    axis.margins(0.08, 0.12)
    axis.grid(axis="y")


def _by_adoption(data: StudyData, axis: str) -> pd.DataFrame:
    """Return design, x, gap at fixed rates in % and rate in % of the lowest adoption."""
    rows = []
    for value, runs in along_axis(data, axis):
        gaps = data.rows("revenue", runs=runs, closure="fixed")
        gaps = gaps[gaps["level"] == ALL_LEVELS].groupby("design")[["gap", "allowed"]].sum()
        percent = (100.0 * gaps["gap"] / gaps["allowed"]).to_dict()
        final = data.rows("rate", runs=runs, closure=data.main_closure)
        final = final[final["is_final"].astype(bool)]
        for (design, charge, field), rate in final.groupby(["design", "charge", "field"])["value"]:
            key = {"design": design, "rate_of": f"{charge} {field}", "x": value}
            rows.append({**key, "gap": percent.get(design, np.nan), "value": rate.mean()})
    return _relative(pd.DataFrame(rows), ["design", "rate_of"])


def _by_round(data: StudyData) -> pd.DataFrame:
    """Return design, x, collected less allowed in % and rate in % of the first round."""
    rows = data.rows("rate", closure="resolved")
    revenue = data.rows("revenue", closure="resolved")
    allowed = revenue[revenue["level"] == ALL_LEVELS].set_index("run")["allowed"]
    rows = rows.assign(
        gap=100.0 * (rows["collected"] / rows["run"].map(allowed) - 1.0),
        rate_of=rows["charge"] + " " + rows["field"],
        x=rows["iteration"],
    )
    if rows.empty or rows["x"].max() < 1:
        return pd.DataFrame()
    return _relative(rows, ["design", "rate_of", "seed"])


def _relative(rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return means by design and x with the rate relative to its first value, %."""
    if rows.empty:
        return rows
    ordered = rows.sort_values("x", kind="stable")
    first = ordered.groupby(list(keys))["value"].transform("first")
    ordered = ordered.assign(rate=100.0 * ordered["value"] / first.where(first.abs() > SMALL_RATE))
    return ordered.groupby(["design", "x"])[["gap", "rate"]].mean().reset_index()


def traded_energy(data: StudyData) -> ReportFigure:
    """F9: where imported energy is bought, and what a kWh of it pays for the network."""
    rows = data.rows("traded", closure=data.main_closure)
    sums = rows.groupby(["design", "level"])[["energy_kwh", "charge_eur"]].sum()
    energy = sums["energy_kwh"].unstack().reindex(index=list(data.designs))
    levels = [level for level in MARKET_LEVELS if level in energy and energy[level].sum() > 0.0]
    if not levels:
        note = "Not drawn: nothing was imported in any run."
        return ReportFigure("F9", "traded", "Where energy is bought", "", None, (note,))
    shares = 100.0 * energy[levels].div(energy[levels].sum(axis=1), axis=0).fillna(0.0)
    cents = 100.0 * (sums["charge_eur"] / sums["energy_kwh"].where(sums["energy_kwh"] > 0.0))
    colours = _level_colours()
    figure = new_figure(0.4 * len(data.designs) + 1.2)
    left, right = figure.subplots(1, 2, sharey=True)
    positions = np.arange(len(data.designs))
    start = np.zeros(len(positions))
    for level in levels:
        widths = shares[level].to_numpy()
        left.barh(positions, widths, left=start, color=colours[level], edgecolor="white")
        for row, width in enumerate(widths):
            if width >= 7.0:
                middle = start[row] + width / 2.0
                left.text(middle, row, f"{width:.0f}", ha="center", va="center", fontsize=9)
        start = start + widths
    _draw_cents(right, cents, levels, data.designs)
    row_labels(left, [data.labels[design] for design in data.designs], 22)
    left.invert_yaxis()
    left.set_xlim(0, 100)
    left.set_xlabel("share of imported energy, %")
    right.set_xlabel("network charge on it, ct/kWh")
    handles = [Patch(facecolor=colours[level], label=LEVEL_LABELS[level]) for level in levels]
    legend_above(figure, handles)
    return ReportFigure(
        "F9",
        "traded",
        "Where energy is bought, and what it pays for the network",
        "Left: imported energy by the market level it was bought at. Right: the mean of the "
        "charges per kWh on it; charges on power and fixed charges are not in there. Sums over "
        "seeds.",
        figure,
        (f"Closure: {CLOSURE_LABELS[data.main_closure]}.",),
    )


def _level_colours() -> dict[str, str]:
    return {**part_colours(MARKET_LEVELS), "retail": PALE}


def _draw_cents(
    axis: Axes, cents: pd.Series[float], levels: Sequence[str], designs: Sequence[str]
) -> None:
    colours = _level_colours()
    offsets = np.linspace(-0.27, 0.27, len(levels)) if len(levels) > 1 else np.zeros(1)
    for level, offset in zip(levels, offsets, strict=True):
        values = [cents.get((design, level), np.nan) for design in designs]
        axis.plot(
            values,
            np.arange(len(designs)) + offset,
            "o",
            color=colours[level],
            markeredgecolor="#333333",
            markeredgewidth=0.6,
            markersize=7,
            clip_on=False,
            zorder=4,
        )
    axis.grid(axis="x")
    axis.set_xlim(left=min(0.0, float(np.nanmin(cents.to_numpy(), initial=0.0))))
    axis.margins(x=0.08)
