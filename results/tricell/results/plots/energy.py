"""Figures of energy: where it was traded, and what participants used and made; and of bills."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from tricell.errors import ResultsError
from tricell.results.plots.canvas import (
    Drawn,
    interval_edges,
    legend_above,
    legend_cm,
    new_figure,
    places,
    time_axis,
)
from tricell.results.plots.choice import Choice, summed
from tricell.results.plots.periods import bar_sums, bar_word
from tricell.results.report import words
from tricell.results.report.look import GREY, LEVEL_COLOURS, OKABE_ITO
from tricell.results.report.run_data import RunData
from tricell.results.study_report.style import grouped, zero_line

Floats = NDArray[np.float64]

MARKETS = {"microgrid": "microgrids", "cell": "cells", "multicell": "the multi-cell area"}
FILLED = 0.84
"""How much of its time a bar covers."""
UNITS = (("GWh", 1e6), ("MWh", 1e3))
"""Large units and their kWh; bars are drawn in the largest of which they reach ten."""
SAME_EUR = 0.005
"""Who saves or loses less pays the same."""


def energy_flows(data: RunData, choice: Choice) -> Drawn:
    """Draw where energy was traded over time: in the markets of each level, or with those above."""
    top = choice.area or _top(data)
    chosen = Choice(area=top, level=choice.level)
    levels = [name for name in chosen.levels(data) if data.has(name, "energy_traded")]
    if not levels:
        raise ResultsError(f"{data.results.path} has no energy traded at any level to draw.")
    outside = "retailer" if top == _top(data) else "markets above"
    bought, sold = _exchange(data, top)
    columns = {
        f"traded in {MARKETS[level]}": summed(
            data, level, "energy_traded", chosen.columns(data, level)
        )
        for level in levels
    }
    colours = [*(LEVEL_COLOURS[level] for level in levels), GREY, LEVEL_COLOURS["retail"]]
    columns |= {f"bought from {outside}": bought, f"sold to {outside}": -sold}
    figure = _bars(data, choice, columns, colours)
    sums = [f"{name} {words.energy(abs(float(kwh.sum())))}" for name, kwh in columns.items()]
    where = choice.area or "all areas"
    return Drawn(
        figure,
        f"Energy of {where} by where it was traded; below zero what was sold to the "
        f"{outside}. In all: {words.listed(sums)}. {data.period}.",
    )


def _top(data: RunData) -> str:
    parents = data.areas["parent"]
    return str(data.areas.loc[~parents.isin(list(data.areas["area"])), "area"].iloc[0])


def _exchange(data: RunData, area: str) -> tuple[Floats, Floats]:
    """Return what an area buys from and sells to those above its market, kWh in every slot.

    Both follow from what is left after its market, left = bought + sold, and from its net import,
    net = bought - sold.
    """
    level = str(data.areas.set_index("area")["level"][area])
    column = np.array([data.ids(level).get_loc(area)], dtype=np.int64)
    left = summed(data, level, "energy_residual", column)
    net = data.slot_hours * summed(data, level, "p_import", column)
    return np.maximum(0.5 * (left + net), 0.0), np.maximum(0.5 * (left - net), 0.0)


def energy(data: RunData, choice: Choice) -> Drawn:
    """Draw load, generation, batteries and exchange over time."""
    agents = np.flatnonzero(data.agents["area"].isin(choice.areas(data)).to_numpy())
    if not len(agents):
        raise ResultsError(
            f"{data.results.path}: {choice.area or choice.level} has no participants of its own "
            "to draw. Choose an area that has, or leave --area and --level out."
        )
    kwh = {
        name: data.slot_hours * summed(data, "agent", name, agents)
        for name in ("p_pv", "p_load", "p_unserved", "p_storage", "p_net")
    }
    columns = {
        "generation": kwh["p_pv"],
        "import": np.maximum(kwh["p_net"], 0.0),
        "from batteries": np.maximum(-kwh["p_storage"], 0.0),
        "load": kwh["p_unserved"] - kwh["p_load"],
        "export": np.minimum(kwh["p_net"], 0.0),
        "into batteries": np.minimum(-kwh["p_storage"], 0.0),
    }
    colours = [OKABE_ITO[1], GREY, OKABE_ITO[2], OKABE_ITO[0], OKABE_ITO[3], "#8FD3BE"]
    figure = _bars(data, choice, columns, colours)
    sums = [
        f"{name} {words.energy(abs(float(values.sum())))}"
        for name, values in columns.items()
        if values.any()
    ]
    who = f"members of {choice.area}" if choice.area else "all participants"
    return Drawn(
        figure,
        f"Energy of {who}: above zero where it comes from, below where it goes. Import and export "
        f"are the net of all together in each slot, without losses. In all: {words.listed(sums)}. "
        f"{data.period}.",
    )


def _bars(
    data: RunData, choice: Choice, columns: Mapping[str, Floats], colours: Sequence[str]
) -> Figure:
    """Draw columns (kWh in every slot) as stacked bars; those that are zero are left out."""
    shown = {
        name: (values, colour)
        for (name, values), colour in zip(columns.items(), colours, strict=True)
        if np.abs(values).sum() > 1e-6
    }
    if not shown:
        raise ResultsError(f"{data.results.path}: there is no energy to draw in this period.")
    word = bar_word(data.slots_done * data.slot_hours)
    slots = np.column_stack([values for values, _ in shown.values()])
    starts, sums = bar_sums(data.slot_times, slots, word)
    highest = np.abs(sums).max()
    unit, size = next((each for each in UNITS if highest >= 10.0 * each[1]), ("kWh", 1.0))
    figure = new_figure(choice, 6.0 + legend_cm(choice, list(shown)))
    axis = figure.add_subplot()
    picked = [colour for _, colour in shown.values()]
    _stack(axis, data, starts, sums / size, picked)
    axis.set_ylabel(f"{unit} per {word}")
    time_axis(axis, data, choice)
    handles = [Patch(color=colour, label=name) for name, (_, colour) in shown.items()]
    legend_above(figure, choice, handles)
    return figure


def _stack(
    axis: Axes,
    data: RunData,
    starts: pd.DatetimeIndex,
    values: Floats,
    colours: Sequence[str],
) -> None:
    """Stack columns of values over time, those below zero downwards."""
    left = places(starts)
    widths = FILLED * np.diff(left, append=places(interval_edges(data))[-1])
    for sign in (1.0, -1.0):
        base = np.zeros(len(starts))
        for column, colour in zip(values.T, colours, strict=True):
            part = np.where(sign * column > 0.0, column, 0.0)
            if part.any():
                axis.bar(left, part, widths, base, align="edge", color=colour, linewidth=0)
                base += part
    zero_line(axis)
    grouped(axis, "y")
    axis.grid(axis="y")


def bills(data: RunData, choice: Choice) -> Drawn:
    """Draw what each participant saves by trading, sorted."""
    members = data.agents.set_index("agent")
    table = data.bills.dropna(subset=["saving"])
    table = table[table["agent"].map(members["area"]).isin(choice.areas(data))]
    if table.empty:
        raise ResultsError(
            f"{data.results.path} has no bills of "
            f"{choice.area or choice.level or 'participants'} to draw. Bills are made at the end "
            "of a run and of those who are members of an area themselves."
        )
    saving = table["saving"].to_numpy(np.float64)
    group = table["agent"].map(members["class"]).astype(str).to_numpy()
    classes = list(pd.Series(group).value_counts().index)
    labels = [f"{name.replace('_', ' ')} ({int((group == name).sum()):,})" for name in classes]
    figure = new_figure(choice, 6.0 + legend_cm(choice, labels))
    axis = figure.add_subplot()
    order = np.argsort(-saving, kind="stable")
    edges = np.arange(len(order) + 1) + 0.5
    handles = []
    for number, (name, label) in enumerate(zip(classes, labels, strict=True)):
        here = group[order] == name
        colour = OKABE_ITO[number % len(OKABE_ITO)]
        axis.stairs(np.where(here, saving[order], 0.0), edges, fill=True, color=colour, linewidth=0)
        handles.append(Patch(color=colour, label=label))
    _spread(axis, saving)
    zero_line(axis)
    axis.set_xlim(0.5, len(order) + 0.5)
    axis.set_xlabel("participants, sorted by what they save")
    legend_above(figure, choice, handles)
    gain, lose = int((saving > SAME_EUR).sum()), int((saving < -SAME_EUR).sum())
    return Drawn(
        figure,
        "What each participant pays less over the whole run than if everybody traded with the "
        f"retailer only: {gain:,} gain, {lose:,} lose, {len(saving) - gain - lose:,} pay the same; "
        f"{words.euros(float(saving.sum()))} in all, {words.euros(float(np.median(saving)))} in "
        "the median.",
    )


def _spread(axis: Axes, saving: Floats) -> None:
    """Label amounts; use a symmetric logarithmic axis where few of them dwarf all others."""
    size = np.abs(saving[np.abs(saving) > SAME_EUR])
    axis.set_ylabel("saving, EUR")
    if len(size) and size.max() > 100.0 * np.median(size):
        linear = 10.0 ** np.floor(np.log10(np.median(size)))
        axis.set_yscale("symlog", linthresh=float(linear))
        axis.set_ylabel("saving, EUR (logarithmic)")
    grouped(axis, "y")
    axis.grid(axis="y")
