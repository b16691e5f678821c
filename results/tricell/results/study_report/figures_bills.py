"""Figures of money: F1 bill changes, F2 components, F6 efficiency and equity, F10 revenue gap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tricell.results.charge_indicators import price_gini
from tricell.results.report.look import GREY, PALE
from tricell.results.study_layout import ALL_LEVELS
from tricell.results.study_layout import COMPONENTS as NO_CHARGES
from tricell.results.study_report.data import CLOSURE_LABELS, LOW_VOLTAGE, PEAK_LABELS, StudyData
from tricell.results.study_report.style import (
    NO_OTHER_DESIGN,
    ReportFigure,
    design_legend,
    design_looks,
    grouped,
    legend_above,
    legend_height,
    new_figure,
    panels,
    part_colours,
    row_height,
    row_labels,
    signed,
    wrapped,
    zero_line,
)

MAX_PANELS = 6
OUTER, INNER = (0.01, 0.99), (0.05, 0.95)
"""Quantiles at which the axes of bill changes end."""
FAR = 4.0
"""Values beyond so many times the inner range are far from all others."""
MAX_SEGMENTS = 4
LABEL_WIDTH = 24
CHARACTERS = 74
"""So many characters fit in the width of a figure beside its row labels."""
COMPONENTS: Mapping[str, str] = {
    "energy_retail": "energy from the retailer",
    "energy_p2p": "energy from peers, net",
    "network": "network charges",
    "levy": "levies",
    "losses": "losses",
    "other": "congestion, redispatch",
    "export": "export (income)",
}
MATTERS = 0.005
"""Amounts below this, EUR/yr, are not drawn."""
MATTERS_PERCENT = 0.01
FRONT = "Pareto front"
GAP_FIXED = "gap, fixed rates"
EQUITY: Mapping[str, str] = {
    "redistributed": "cross-subsidy, % of the network revenue",
    "gini": "Gini index of network charges per kWh",
}
"""What is drawn against the peak, with the title of its axis."""
PEAK_AXIS: Mapping[str, str] = {
    LOW_VOLTAGE: "change of the sum of\nlow-voltage peaks, %",
    ALL_LEVELS: "change of the peak of\nthe grid connection, %",
}
SHOWN_PERCENT = 0.05
SHOWN_SHARE = 0.05
"""Designs whose steps are all below this share of the largest have no panel."""


def bill_changes(data: StudyData) -> ReportFigure:
    """F1: distribution of bill changes, customers sorted by their change."""
    slug, title = "bill_changes", "Who pays more and who pays less"
    bills = data.bills(data.main_closure)
    bills = bills[bills["design"] != data.reference]
    if bills.empty:
        return ReportFigure("F1", slug, title, "", None, (NO_OTHER_DESIGN,))
    bills = bills.assign(change=bills["total"] - bills["total_before"])
    names = data.segment_names[:MAX_PANELS]
    looks = design_looks(data.designs)
    legend = {design: looks[design] for design in data.others}
    height = legend_height(data.labels[design] for design in legend)
    figure, axes = panels(len(names), 2, 2.5, extra=height)
    clipped = 0
    for number, (name, axis) in enumerate(zip(names, axes, strict=True)):
        part = bills[bills["segment"] == name]
        low, high = _limits(part["change"].to_numpy())
        clipped += int(((part["change"] < low) | (part["change"] > high)).sum())
        zero_line(axis)
        for design in data.others:
            values = part.loc[part["design"] == design, "change"].to_numpy()
            if len(values):
                x, y = _sorted_curve(values)
                look = looks[design]
                axis.plot(x, y, color=look.colour, linestyle=look.dash, drawstyle="steps-mid")
        axis.set_title(f"{name} (n = {len(part) // part['design'].nunique():,})")
        axis.set_xlim(0, 100)
        axis.set_ylim(low, high)
        grouped(axis, "y")
        axis.grid(axis="y")
        axis.set_xlabel("customers, sorted, %")
        if number % 2 == 0:
            axis.set_ylabel("change of bill, EUR/yr")
    design_legend(figure, legend, data.labels)
    notes = [f"Closure: {CLOSURE_LABELS[data.main_closure]}."]
    if len(data.segment_names) > MAX_PANELS:
        notes.append(f"Smaller classes are in T3: {', '.join(data.segment_names[MAX_PANELS:])}.")
    if clipped:
        notes.append(
            f"{clipped} of {len(bills):,} values lie outside the axes, which leave out the "
            "outermost 1 % of a panel, or 5 % where these are far from all others."
        )
    return ReportFigure(
        "F1",
        slug,
        title,
        "Change of each customer's yearly bill against the same customer's bill under "
        f"{data.labels[data.reference]}, by class (n customers, all seeds together). "
        "For each design the customers are sorted by their own change: where a line crosses zero, "
        "it parts those who pay less (left) from those who pay more (right). Each panel has its "
        "own scale.",
        figure,
        tuple(notes),
    )


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, OUTER) if len(values) > 100 else _range(values)
    inner_low, inner_high = np.quantile(values, INNER) if len(values) > 100 else (low, high)
    low, high = min(low, 0.0), max(high, 0.0)
    inner_low, inner_high = min(inner_low, 0.0), max(inner_high, 0.0)
    bound = FAR * (inner_high - inner_low)
    low, high = (low if low > -bound else inner_low), (high if high < bound else inner_high)
    room = 0.06 * (high - low) or 1.0
    return float(low - room), float(high + room)


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)


def _sorted_curve(
    values: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return shares of customers, %, and their values in ascending order, to both ends."""
    ordered = np.sort(values)
    middle = (np.arange(len(ordered)) + 0.5) / len(ordered) * 100.0
    shares = np.concatenate([[0.0], middle, [100.0]])
    return shares, np.concatenate([ordered[:1], ordered, ordered[-1:]])


def bill_components(data: StudyData) -> ReportFigure:
    """F2: mean bills by component, and the network part by charge."""
    rows = data.bills(data.main_closure)
    names = data.segment_names[:MAX_SEGMENTS]
    means = rows.groupby(["segment", "design"])[list(COMPONENTS)].mean()
    parts = [name for name in COMPONENTS if means[name].abs().max() > MATTERS]
    lines = -(-len(names) // 2) + 1
    texts = [data.labels[design] for design in data.designs]
    legend = [*(COMPONENTS[name] for name in parts), "bill"]
    panel = row_height(texts, LABEL_WIDTH) * len(texts) + 0.75
    figure = new_figure(lines * panel + legend_height(legend))
    grid = figure.add_gridspec(lines, 2)
    axes = [figure.add_subplot(grid[row // 2, row % 2]) for row in range(len(names))]
    colours = part_colours(list(COMPONENTS))
    for axis, name in zip(axes, names, strict=True):
        rows_of = pd.MultiIndex.from_product([[name], data.designs])
        amounts = means.reindex(rows_of)[parts].fillna(0.0)
        _stack(axis, amounts, colours)
        axis.plot(amounts.sum(axis=1), np.arange(len(amounts)), "D", color="black", markersize=4.5)
        axis.set_title(f"{name}: bill")
        axis.use_sticky_edges = False
        axis.margins(x=0.06)
        if amounts.to_numpy().min() >= -MATTERS:
            axis.set_xlim(left=0.0)
    below = figure.add_subplot(grid[lines - 1, :])
    _stack(below, _mean_charges(data), {})
    below.set_title("all customers: network charges by name")
    for number, axis in enumerate((*axes, below)):
        is_left = number % 2 == 0 or axis is below
        row_labels(axis, texts if is_left else [""] * len(texts), LABEL_WIDTH)
        axis.invert_yaxis()
        axis.grid(axis="x")
        zero_line(axis, vertical=True)
        axis.xaxis.set_major_locator(MaxNLocator(5))
        grouped(axis, "x")
        axis.set_xlabel("EUR/yr per customer")
    handles: list[object] = [Patch(color=colours[name], label=COMPONENTS[name]) for name in parts]
    bill = Line2D([], [], color="black", marker="D", linestyle="", label="bill")
    legend_above(figure, [*handles, bill])
    notes = [f"Closure: {CLOSURE_LABELS[data.main_closure]}."]
    if len(data.segment_names) > MAX_SEGMENTS:
        notes.append(f"Smaller classes are in T3: {', '.join(data.segment_names[MAX_SEGMENTS:])}.")
    return ReportFigure(
        "F2",
        "bill_components",
        "What a bill consists of",
        "Mean yearly bill per customer by component; income stands left of zero and the diamond "
        "marks the bill, the sum of all. Below, the charges of each design by name. Means over "
        "customers and seeds; amounts of the period scaled to a year.",
        figure,
        tuple(notes),
    )


def _mean_charges(data: StudyData) -> pd.DataFrame:
    """Return mean EUR/yr per customer by design and charge; what is no charge is left out."""
    rows = data.rows("bill_component", closure=data.main_closure)
    customers = data.rows("bill", closure=data.main_closure).groupby("design")["customer"].count()
    rows = rows[~rows["component"].isin(NO_CHARGES)]
    amounts = rows["amount"] / rows["year_share"]
    sums = amounts.groupby([rows["design"], rows["component"]]).sum().unstack().fillna(0.0)
    means = sums.div(customers, axis=0).reindex(list(data.designs)).fillna(0.0)
    return means.loc[:, means.abs().max() > MATTERS]


def _stack(axis: Axes, means: pd.DataFrame, colours: Mapping[str, str]) -> None:
    """Stack positive amounts to the right and negative ones to the left of zero.

    Without colours every bar is pale and carries its name, or a number that is explained beside it.
    """
    positions = np.arange(len(means))
    ends = {1: np.zeros(len(means)), -1: np.zeros(len(means))}
    span = float(means.clip(lower=0.0).sum(axis=1).max() - means.clip(upper=0.0).sum(axis=1).min())
    for name in means.columns:
        values = means[name].to_numpy()
        for sign in (1, -1):
            amounts = np.where(np.sign(values) == sign, values, 0.0)
            if not amounts.any():
                continue
            axis.barh(
                positions,
                amounts,
                left=ends[sign],
                color=colours.get(str(name), PALE),
                edgecolor="white",
                height=0.72,
            )
            if not colours:
                _name_bars(axis, str(name), amounts, ends[sign], span)
            ends[sign] = ends[sign] + amounts


def _name_bars(
    axis: Axes, name: str, amounts: NDArray[np.float64], starts: NDArray[np.float64], span: float
) -> None:
    """Write a charge's name into its bars, shortened to what fits."""
    for row, (amount, start) in enumerate(zip(amounts, starts, strict=True)):
        room = int(abs(amount) / span * CHARACTERS)
        text = name if len(name) <= room else f"{name[: room - 1]}…" if room > 4 else ""
        axis.text(start + amount / 2.0, row, text, ha="center", va="center", fontsize=9)


def efficiency_equity(data: StudyData) -> ReportFigure:
    """F6: designs by the grid's peak and by who pays for whom, with the Pareto front."""
    slug, title = "efficiency_equity", "Efficiency and equity of the designs"
    table = _trade_off(data)
    shown = {name: heading for name, heading in EQUITY.items() if table[name].notna().sum() > 1}
    if not shown:
        return ReportFigure("F6", slug, title, "", None, (NO_OTHER_DESIGN,))
    looks = design_looks(data.designs)
    texts = [*(data.labels[design] for design in table.index), FRONT]
    figure = new_figure(3.3 + legend_height(texts))
    axes = figure.subplots(1, len(shown), sharex=True, squeeze=False)[0]
    for axis, (name, heading) in zip(axes, shown.items(), strict=True):
        known = table.dropna(subset=[name])
        front = pareto_front(known["peak"].to_numpy(), known[name].to_numpy())
        _draw_front(axis, known["peak"].to_numpy()[front], known[name].to_numpy()[front])
        for design, row in known.iterrows():
            look = looks[str(design)]
            axis.errorbar(
                row["peak"],
                row[name],
                xerr=_to_extremes(row, "peak"),
                yerr=_to_extremes(row, name),
                color=look.colour,
                marker=look.marker,
                markersize=8,
                elinewidth=0.9,
                capsize=2.5,
            )
        axis.set_xlabel(PEAK_AXIS[data.peak_level])
        grouped(axis, "x")
        axis.set_ylabel(heading)
        axis.grid()
        axis.margins(0.12)
    handles = [
        Line2D([], [], color=looks[d].colour, marker=looks[d].marker, linestyle="", label=label)
        for d, label in ((d, data.labels[d]) for d in table.index)
    ]
    front_handle = Line2D([], [], color=GREY, linestyle=":", label=FRONT)
    legend_above(figure, [*handles, front_handle])
    spread = " Bars span the seeds." if len(data.seeds) > 1 else ""
    notes = [f"Closure: {CLOSURE_LABELS[data.main_closure]}.", *_connection_note(data)]
    missing = [heading for name, heading in EQUITY.items() if name not in shown]
    if missing:
        notes.append(f"Undefined here and not drawn: {', '.join(missing)}.")
    return ReportFigure(
        "F6",
        slug,
        title,
        f"Left and down is better. Across: the change of the {PEAK_LABELS[data.peak_level]}, a "
        f"driver of network cost, against {data.labels[data.reference]}. Up, first: half the sum "
        "of the absolute differences between each customer's network charges and causal cost, as "
        "a share of the revenue; 0 means that everybody pays what he causes. Up, second: Gini "
        "index of network charges per kWh imported; 0 means that all pay the same per kWh. On the "
        "dotted front no design is better in one without being worse in the other. Means over "
        f"seeds.{spread}",
        figure,
        tuple(notes),
    )


def _connection_note(data: StudyData) -> list[str]:
    """State the change of the connection's peak where another peak is drawn."""
    if data.peak_level == ALL_LEVELS:
        return []
    runs = data.base[data.base["closure"] == data.main_closure]
    change = data.peaks(ALL_LEVELS)["change"].loc[runs.index].groupby(runs["design"]).mean()
    parts = [
        f"{data.labels[design]} {signed(change[design])} %"
        for design in data.others
        if np.isfinite(change.get(design, np.nan))
    ]
    return [f"Change of the peak of the grid connection: {', '.join(parts)}."] if parts else []


def _to_extremes(row: pd.Series[float], name: str) -> list[list[float]]:
    """Return how far the extremes lie below and above the mean."""
    below, above = row[name] - row[f"{name}_low"], row[f"{name}_high"] - row[name]
    return [[max(0.0, below)], [max(0.0, above)]]


def _trade_off(data: StudyData) -> pd.DataFrame:
    """Return by design the means over seeds, and with _low and _high the extremes."""
    bills = data.bills(data.main_closure)
    change = data.peaks(data.peak_level)["change"]
    rows = [
        {
            "design": part["design"].iloc[0],
            "peak": change[run],
            "redistributed": 100.0 * redistributed(part["network"], part["causal_cost"]),
            "gini": price_gini(part["network"].to_numpy(), part["import_kwh"].to_numpy()),
        }
        for run, part in bills.groupby("run")
        if np.isfinite(change[run])
    ]
    names = ["peak", "redistributed", "gini"]
    found = pd.DataFrame(rows, columns=["design", *names]).astype(dict.fromkeys(names, float))
    groups = found.groupby("design")[names]
    low, high = groups.min().add_suffix("_low"), groups.max().add_suffix("_high")
    spread = pd.concat([groups.mean(), low, high], axis=1)
    return spread.reindex([design for design in data.designs if design in spread.index])


def redistributed(network: pd.Series[float], causal: pd.Series[float]) -> float:
    """Return the share of the network revenue that is paid by others than those who cause it.

    With causal cost scaled to the revenue, that is sum |paid - caused| / 2 over the revenue.
    """
    revenue, cost = float(network.sum()), float(causal.sum())
    if revenue <= 0.0 or cost <= 0.0:
        return float("nan")
    return float((network - causal * (revenue / cost)).abs().sum() / 2.0 / revenue)


def pareto_front(cost: NDArray[np.float64], harm: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return who is not beaten in both, less being better, in ascending cost.

    Examples
    --------
    >>> pareto_front(np.array([3.0, 1.0, 2.0]), np.array([1.0, 3.0, 4.0])).tolist()
    [1, 0]
    """
    order = np.lexsort((harm, cost))
    lowest = np.minimum.accumulate(harm[order])
    improves = np.concatenate([[True], harm[order][1:] < lowest[:-1]])
    return np.asarray(order[improves], np.int64)


def _draw_front(axis: Axes, cost: NDArray[np.float64], harm: NDArray[np.float64]) -> None:
    axis.step(cost, harm, where="post", color=GREY, linestyle=":", linewidth=1.4, zorder=1)


def revenue_gap(data: StudyData) -> ReportFigure:
    """F10: from the revenue that rates were made for to what is collected, class by class."""
    slug, title = "revenue_gap", "How the network operator's revenue gap comes about"
    if "fixed" not in data.closures:
        note = "Not drawn: the study has no runs in which customers react to fixed rates."
        return ReportFigure("F10", slug, title, "", None, (note,))
    steps = {design: _gap_steps(data, design) for design in data.designs}
    sizes = {
        design: max((abs(bar.size) for bar in bars), default=0.0) for design, bars in steps.items()
    }
    least = max(SHOWN_PERCENT, SHOWN_SHARE * max(sizes.values()))
    shown = {design: bars for design, bars in steps.items() if sizes[design] > least}
    notes = [_gap_words(data, steps, sizes, least)] if len(shown) < len(steps) else []
    if not shown:
        return ReportFigure("F10", slug, title, "", None, ("Not drawn: " + notes[0],))
    notes.append(f"Classes that change the revenue by less than {SHOWN_PERCENT:g} % are left out.")
    rows = max(len(bars) for bars in shown.values())
    figure, axes = panels(len(shown), 2, 0.24 * rows + 0.75, sharex=True, extra=0.1)
    looks = design_looks(data.designs)
    for (design, bars), axis in zip(shown.items(), axes, strict=True):
        _waterfall(axis, bars, looks[design].colour)
        axis.set_ylim(rows - 0.4, -0.6)
        axis.set_title(wrapped(data.labels[design], 26))
        axis.set_xlabel("revenue less allowed, %")
    ends = [end for bars in shown.values() for bar in bars for end in (bar.start, bar.end)]
    span = max(ends) - min(ends)
    axes[0].set_xlim(min(ends) - 0.45 * span, max(ends) + 0.4 * span)
    return ReportFigure(
        "F10",
        slug,
        title,
        "Revenue less what is allowed, in percent of it. Pale steps: what each class pays less "
        "(left) or more (right) for the network when it reacts to rates that stay as they were, "
        "against the same rates without reaction. Full bars: the gap that remains, and, where the "
        "study has it, the gap once rates are solved again. A full bar before the first step is a "
        "gap that was there without any reaction. Means over seeds.",
        figure,
        tuple(notes),
    )


def _gap_words(
    data: StudyData,
    steps: Mapping[str, Sequence[_Step]],
    sizes: Mapping[str, float],
    least: float,
) -> str:
    """State the gaps of designs without a panel."""
    words = []
    for design, bars in steps.items():
        if sizes[design] <= least:
            gaps = [bar.size for bar in bars if bar.label == GAP_FIXED]
            words.append(data.labels[design] + (f" {signed(gaps[0])} %" if gaps else ""))
    return (
        f"No gap to show (all steps below {least:.2g} %; gap at fixed rates): {', '.join(words)}."
    )


@dataclass(frozen=True)
class _Step:
    """A bar of the waterfall, % of the allowed revenue."""

    label: str
    start: float
    size: float
    is_sum: bool = False

    @property
    def end(self) -> float:
        return self.start + self.size


def _gap_steps(data: StudyData, design: str) -> list[_Step]:
    """Return the bars of a design; none where it has no run at fixed rates."""
    rows = data.rows("revenue")
    rows = rows[(rows["level"] == ALL_LEVELS) & (rows["design"] == design)]
    sums = rows.groupby("closure")[["gap", "allowed"]].sum()
    gaps = {
        str(closure): 100.0 * gap / allowed
        for closure, gap, allowed in sums.itertuples()
        if allowed > 0.0
    }
    if "fixed" not in gaps:
        return []
    steps: list[_Step] = []
    if "none" in gaps:
        if abs(gaps["none"]) > MATTERS_PERCENT:
            steps.append(_Step("without reaction", 0.0, gaps["none"], True))
        level = gaps["none"]
        for name, percent in _paid_less(data, design):
            steps.append(_Step(wrapped(name, 20), level, percent))
            level += percent
        if abs(gaps["fixed"] - level) > SHOWN_PERCENT:
            steps.append(_Step("all others", level, gaps["fixed"] - level))
    steps.append(_Step(GAP_FIXED, 0.0, gaps["fixed"], True))
    if "resolved" in gaps:
        steps.append(_Step("new rates", gaps["fixed"], gaps["resolved"] - gaps["fixed"]))
        steps.append(_Step("gap, new rates", 0.0, gaps["resolved"], True))
    return steps


def _paid_less(data: StudyData, design: str) -> list[tuple[str, float]]:
    """Return what segments pay more at fixed rates than without reaction, % of the allowed.

    Segments that change it by less than is shown are left out.
    """
    rows = data.rows("revenue", closure="fixed")
    rows = rows[(rows["level"] == ALL_LEVELS) & (rows["design"] == design)]
    allowed = float((rows["allowed"] / rows["year_share"]).mean())
    paid = []
    for closure in ("none", "fixed"):
        bills = data.bills(closure)
        bills = bills[bills["design"] == design]
        paid.append(bills.groupby("segment")["network"].sum() / max(1, bills["seed"].nunique()))
    change = (100.0 / allowed) * paid[1].sub(paid[0], fill_value=0.0)
    return [
        (name, float(change[name]))
        for name in data.segment_names
        if abs(change.get(name, 0.0)) > SHOWN_PERCENT
    ]


def _waterfall(axis: Axes, steps: Sequence[_Step], colour: str) -> None:
    for row, step in enumerate(steps):
        axis.barh(
            row,
            step.size,
            left=step.start,
            color=colour if step.is_sum else PALE,
            edgecolor=colour if step.is_sum else GREY,
            linewidth=0.8,
            height=0.7,
        )
        if row + 1 < len(steps):
            axis.plot([step.end] * 2, [row + 0.35, row + 0.65], color=GREY, linewidth=0.8)
        rises = step.size > -0.05
        axis.annotate(
            signed(step.size),
            (step.end, row),
            xytext=(3 if rises else -3, 0),
            textcoords="offset points",
            ha="left" if rises else "right",
            va="center",
            fontsize=9,
        )
    zero_line(axis, vertical=True)
    axis.set_yticks(np.arange(len(steps)), [step.label for step in steps])
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x")
