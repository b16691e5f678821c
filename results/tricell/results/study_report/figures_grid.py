"""Figures of the grid: F3 load duration, F4 days, F7 tree of interfaces, F8 coincidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from tricell.results.report.look import GREY
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
    row_height,
    row_labels,
    signed,
    tick_text,
    wrapped,
    zero_line,
)

MAX_INTERFACES = 6
LEAST_OF_DAY = 0.25
"""Days of which less was simulated are not drawn."""
LEAST_KW = 0.1
"""Lower end of logarithmic axes."""
LABEL_WIDTH = 26
MAX_BESIDE = 40
"""Trees of up to so many areas stand two in a row."""
MAX_NAMED_AREAS = 24
"""Up to so many areas have their names in the tree."""
MAX_UPRIGHT = 3
"""Up to so many areas side by side have their names written across."""
MOST_PERCENT = 100.0
"""Changes beyond this have the colour of this."""
DIVERGING = "PuOr_r"
"""Colour map with a middle, safe for colour vision deficiencies: orange is more, violet less."""
SEQUENTIAL = "cividis"
HOUR_TICKS = (0, 6, 12, 18, 24)


def load_duration(data: StudyData) -> ReportFigure:
    """F3: load duration curves of the interfaces."""
    rows = data.rows("duration", closure=data.main_closure)
    mean = rows.groupby(["area", "design", "share_of_time"])["kw"].mean().reset_index()
    interfaces = data.rows("interface", closure=data.main_closure)
    peaks = interfaces.groupby("area")["peak_kw"].max().sort_values(ascending=False, kind="stable")
    ratings = interfaces.groupby("area")["rating"].first()
    areas = [data.root, *(area for area in peaks.index if area != data.root)]
    shown = areas[:MAX_INTERFACES]
    looks = design_looks(data.designs)
    height = legend_height(data.labels[design] for design in looks)
    figure, axes = panels(len(shown), 2, 2.2, extra=height)
    rated = False
    for number, (area, axis) in enumerate(zip(shown, axes, strict=True)):
        part = mean[mean["area"] == area]
        for design in data.designs:
            line = part[part["design"] == design]
            look = looks[design]
            axis.plot(
                100.0 * line["share_of_time"], line["kw"], color=look.colour, linestyle=look.dash
            )
        rating = float(ratings[area])
        if rating < 1.3 * part["kw"].max():
            axis.axhline(rating, color="black", linewidth=1.0, linestyle=":")
            rated = True
        zero_line(axis)
        axis.set_title(f"{area}{'' if np.isnan(rating) else f' ({rating:,.0f} kVA)'}")
        axis.set_xlim(0, 100)
        grouped(axis, "y")
        axis.grid(axis="y")
        axis.set_xlabel("share of the time, %")
        if number % 2 == 0:
            axis.set_ylabel("import, kW")
    design_legend(figure, looks, data.labels)
    notes = [f"Closure: {CLOSURE_LABELS[data.main_closure]}."]
    if len(areas) > len(shown):
        notes.append(
            f"Shown: the connection to the grid above and the {len(shown) - 1} interfaces with the "
            f"highest peaks, of {len(areas)} in all; tables/duration of the study has the others."
        )
    if rated:
        notes.append("Dotted: rating of the transformers, kVA, where it is near.")
    return ReportFigure(
        "F3",
        "load_duration",
        "Load duration curves of the interfaces",
        "Import of an area through its transformers, sorted from the highest to the lowest: each "
        "curve tells for which share of the time the import is at least so high; below zero the "
        "area exports. Means over seeds of curves of 101 points.",
        figure,
        tuple(notes),
    )


def days_before_after(data: StudyData) -> ReportFigure:
    """F4: the mean day of all designs, and every day before and after."""
    areas = data.low_voltage_areas
    days = data.rows("mean_day", closure=data.main_closure)
    days = days[days["area"].isin(areas)]
    of_run = days.groupby(["design", "run", "hour"])["kw"].sum()
    mean = of_run.groupby(["design", "hour"]).mean().unstack("hour")
    mean = mean.reindex([design for design in data.designs if design in mean.index])
    after = _lowest_peak(data)
    texts = [data.labels[str(design)] for design in mean.index]
    upper = row_height(texts, LABEL_WIDTH) * len(texts) + 0.75
    figure = new_figure(upper + (2.9 if after else 0.0))
    grid = figure.add_gridspec(2 if after else 1, 3, height_ratios=[upper, 2.9][: 1 + bool(after)])
    _draw_mean_days(figure.add_subplot(grid[0, :]), mean, data)
    notes = [f"Closure: {CLOSURE_LABELS[data.main_closure]}."]
    if after:
        seed = data.seeds[0]
        axes = [figure.add_subplot(grid[1, column]) for column in range(3)]
        matrices = [_day_matrix(data, design, seed) for design in (data.reference, after)]
        _draw_days(axes, matrices)
        notes.append(
            f"Before: {data.labels[data.reference]}. After: {data.labels[after]}. Both: "
            f"{_seed_words(data, seed)}"
        )
    else:
        notes.append("No design beside the reference: there is no after to compare with.")
    return ReportFigure(
        "F4",
        "days",
        "The day before and after",
        f"Import through {_where(data)}. Above, the mean day of each design. Below, each day of "
        "the period under the reference, under the other design with the lowest "
        f"{PEAK_LABELS[data.peak_level]}, and the difference: violet hours are relieved, orange "
        "ones gain load. Days of which less than a quarter was simulated are left out.",
        figure,
        tuple(notes),
    )


def _where(data: StudyData) -> str:
    areas = data.low_voltage_areas
    if data.peak_level != LOW_VOLTAGE:
        return f"the connection to the grid above ({data.root})"
    return f"the {len(areas)} low-voltage interfaces" if len(areas) > 1 else areas[0]


def _draw_mean_days(axis: Axes, mean: pd.DataFrame, data: StudyData) -> None:
    image = axis.imshow(
        mean.to_numpy(),
        aspect="auto",
        cmap=SEQUENTIAL,
        extent=(0.0, 24.0, len(mean) - 0.5, -0.5),
        interpolation="nearest",
    )
    row_labels(axis, [data.labels[str(design)] for design in mean.index], LABEL_WIDTH)
    axis.set_xticks(HOUR_TICKS)
    axis.set_xlabel("local time, h")
    axis.set_title(f"Mean day, {_where(data)}")
    bar = axis.figure.colorbar(image, ax=axis, label="import, kW", pad=0.01)
    grouped(bar.ax, "y")


def _seed_words(data: StudyData, seed: int) -> str:
    others = len(data.seeds) - 1
    return f"seed {seed}" + (f"; {others} more in the study." if others else ", the only one.")


def _lowest_peak(data: StudyData) -> str:
    """Name the design beside the reference with the lowest peak; empty for none."""
    runs = data.base[data.base["closure"] == data.main_closure]
    runs = runs[runs["design"] != data.reference]
    kw = data.peaks(data.peak_level)["kw"].loc[runs.index].dropna()
    return "" if kw.empty else str(kw.groupby(runs["design"]).mean().idxmin())


def _day_matrix(data: StudyData, design: str, seed: int) -> pd.DataFrame:
    """Return the import that F4 shows by day (rows) and hour; closure of the figures."""
    rows = data.rows("day_matrix")
    closure = data.main_closure
    chosen = rows[(rows["design"] == design) & (rows["seed"] == seed)]
    chosen = chosen[chosen["area"].isin(data.low_voltage_areas)]
    if not (chosen["closure"] == closure).any():
        closure = str(chosen["closure"].iloc[0])
    chosen = chosen[chosen["closure"] == closure]
    table = chosen.groupby(["day", "hour"])["kw"].sum().unstack()
    is_whole = table.notna().mean(axis=1) >= LEAST_OF_DAY
    return table[is_whole] if is_whole.any() else table


def _draw_days(axes: Sequence[Axes], matrices: Sequence[pd.DataFrame]) -> None:
    before, after = matrices
    difference = after.sub(before)
    bound = max(float(np.nanmax(np.abs(difference.to_numpy()))), 1e-9)
    both = np.concatenate([before.to_numpy().ravel(), after.to_numpy().ravel()])
    low, high = float(np.nanmin(both)), float(np.nanmax(both))
    pictures = (
        (before, "every day before", SEQUENTIAL, low, high),
        (after, "after", SEQUENTIAL, low, high),
        (difference, "after less before", DIVERGING, -bound, bound),
    )
    for axis, (matrix, title, colours, least, most) in zip(axes, pictures, strict=True):
        image = axis.imshow(
            matrix.to_numpy(),
            aspect="auto",
            cmap=colours,
            vmin=least,
            vmax=most,
            extent=(0.0, 24.0, len(matrix), 0.0),
            interpolation="nearest",
        )
        axis.set_title(title)
        axis.set_xticks(HOUR_TICKS)
        axis.set_xlabel("local time, h")
        last = axis is axes[2]
        if axis is not axes[0]:
            bar = axis.figure.colorbar(
                image,
                ax=axis if last else list(axes[:2]),
                label="kW" if last else "import, kW",
                location="bottom",
                aspect=18 if last else 38,
                pad=0.03,
            )
            bar.ax.xaxis.set_major_locator(MaxNLocator(3 if last else 6))
            grouped(bar.ax, "x")
            axis.tick_params(labelleft=False)
    dates = pd.to_datetime(before.index.to_numpy(), unit="D")
    marked = np.unique(np.linspace(0, len(dates) - 1, min(len(dates), 7)).round().astype(int))
    axes[0].set_yticks(marked + 0.5, [f"{dates[row]:%d %b}" for row in marked])


def interface_tree(data: StudyData) -> ReportFigure:
    """F7: the tree of areas with the change of each interface's peak."""
    slug, title = "interface_tree", "Peaks of the interfaces in the tree of areas"
    rows = data.rows("interface", closure=data.main_closure)
    if not (rows["design"] != data.reference).any():
        return ReportFigure("F7", slug, title, "", None, (NO_OTHER_DESIGN,))
    before = data.tables["interface"][["run", "area", "peak_kw"]].rename(columns={"run": "before"})
    rows = rows.merge(before, on=["before", "area"], suffixes=("", "_before"))
    means = rows.groupby(["design", "area"])[["peak_kw", "peak_kw_before"]].mean()
    change = 100.0 * (means["peak_kw"] / means["peak_kw_before"].where(lambda kw: kw > 0) - 1.0)
    shown = [design for design in data.others if design in means.index]
    parents = dict(rows.drop_duplicates("area").set_index("area")["parent"])
    places = tree_places({str(area): str(parent) for area, parent in parents.items()})
    largest = float(change.abs().max(skipna=True))
    bound = float(np.clip(largest, 1.0, MOST_PERCENT))
    scale = ScalarMappable(Normalize(-bound, bound), DIVERGING)
    figure, axes = panels(len(shown), 2 if len(places) <= MAX_BESIDE else 1, 2.35, extra=0.9)
    biggest = float(means["peak_kw_before"].max())
    sizes = means["peak_kw_before"] / biggest
    for design, axis in zip(shown, axes, strict=True):
        nodes = pd.DataFrame({"size": sizes.loc[design], "change": change.loc[design]})
        _draw_tree(axis, places, parents, nodes, scale)
        axis.set_title(data.labels[design])
    figure.colorbar(
        scale,
        ax=axes,
        label="change of the peak, %",
        orientation="horizontal",
        aspect=40,
        pad=0.02,
        extend="both" if largest > bound else "neither",
    )
    handles = [
        Line2D(
            [],
            [],
            marker="o",
            linestyle="",
            color="white",
            markeredgecolor=GREY,
            markersize=float(np.sqrt(_dot_area(kw / biggest, len(places)))),
            label=f"{tick_text(kw)} kW",
        )
        for kw in _round_sizes(biggest)
    ]
    legend_above(figure, handles, "Peak under the reference")
    notes = [f"Closure: {CLOSURE_LABELS[data.main_closure]}."]
    if len(places) > MAX_NAMED_AREAS:
        notes.append("Too many areas to name here: tables/interface of the study names them.")
    return ReportFigure(
        "F7",
        slug,
        title,
        "Each circle is the interface of an area to the one above it, with the grid connection at "
        "the top. Its size is the highest import under the reference "
        f"{data.labels[data.reference]}; its colour the change of that peak under the design: "
        "violet is lower, orange higher. Means over seeds.",
        figure,
        tuple(notes),
    )


def _round_sizes(biggest: float) -> list[float]:
    digit = 10.0 ** np.floor(np.log10(max(biggest, 1e-9)))
    top = float(np.floor(biggest / digit) * digit)
    return [top / 10.0, float(f"{top / 3.0:.1g}"), top]


def _dot_area(share: float, areas: int) -> float:
    """Return the size of a circle, square points; smaller where many stand side by side."""
    room = min(1.0, 40.0 / areas)
    return 25.0 * room + 400.0 * float(np.sqrt(room)) * max(0.0, share)


def tree_places(parents: Mapping[str, str]) -> dict[str, tuple[float, float]]:
    """Place the areas of a tree: leaves side by side, those above in their middle.

    Parameters
    ----------
    parents : area -> area above, empty at the top.

    Returns
    -------
    dict
        Area -> (across, depth), both from 0; depth counts from the top.

    Examples
    --------
    >>> tree_places({"top": "", "left": "top", "right": "top"})
    {'left': (0.0, 1.0), 'right': (1.0, 1.0), 'top': (0.5, 0.0)}
    """
    children: dict[str, list[str]] = {}
    for area, parent in parents.items():
        children.setdefault(parent if parent in parents else "", []).append(area)
    places: dict[str, tuple[float, float]] = {}
    leaves = 0

    def place(area: str, depth: int) -> float:
        nonlocal leaves
        below = sorted(children.get(area, []))
        if below:
            across = float(np.mean([place(child, depth + 1) for child in below]))
        else:
            across, leaves = float(leaves), leaves + 1
        places[area] = (across, float(depth))
        return across

    for top in sorted(children.get("", [])):
        place(top, 0)
    return places


def _draw_tree(
    axis: Axes,
    places: Mapping[str, tuple[float, float]],
    parents: Mapping[str, str],
    nodes: pd.DataFrame,
    scale: ScalarMappable,
) -> None:
    for area, (across, depth) in places.items():
        if parents[area] in places:
            above = places[parents[area]]
            axis.plot([across, above[0]], [-depth, -above[1]], color="#BBBBBB", lw=0.8, zorder=1)
    names = [area for area in places if area in nodes.index]
    nodes = nodes.loc[names]
    spots = np.array([places[area] for area in names])
    colours = scale.to_rgba(nodes["change"].fillna(0.0).to_numpy())
    areas = [_dot_area(share, len(places)) for share in nodes["size"]]
    axis.scatter(
        spots[:, 0], -spots[:, 1], s=areas, c=colours, edgecolors=GREY, linewidths=0.7, zorder=2
    )
    if len(places) <= MAX_NAMED_AREAS:
        _name_areas(axis, names, spots, nodes["change"], _is_crowded(places))
    axis.set_axis_off()
    axis.margins(0.16 if len(places) <= MAX_BESIDE else 0.02, 0.0)
    deepest = max(depth for _, depth in places.values())
    axis.set_ylim(-deepest - (1.3 if _is_crowded(places) else 0.5) * max(deepest, 1.0), 0.35)


def _is_crowded(places: Mapping[str, tuple[float, float]]) -> bool:
    """Tell whether too many areas stand side by side to write their names across."""
    leaves = {across for across, depth in places.values() if depth > 0}
    return len(places) <= MAX_NAMED_AREAS and len(leaves) > MAX_UPRIGHT


def _name_areas(
    axis: Axes,
    names: Sequence[str],
    spots: NDArray[np.float64],
    change: pd.Series[float],
    crowded: bool,
) -> None:
    for area, (across, depth) in zip(names, spots, strict=True):
        has_below = depth < spots[:, 1].max()
        gap = " " if has_below or crowded else "\n"
        text = area if np.isnan(change[area]) else f"{area}{gap}{signed(change[area])} %"
        axis.annotate(
            text,
            (across, -depth),
            xytext=(13, 0) if has_below else (0, -13),
            textcoords="offset points",
            ha="left" if has_below else "center",
            va="center" if has_below else "top",
            fontsize=9,
            rotation=90 if crowded and not has_below else 0,
        )


def coincidence(data: StudyData) -> ReportFigure:
    """F8: each customer's own peak and its part in the peak of the area."""
    rows = data.rows("peak", closure=data.main_closure)
    limit = 1.3 * float(rows["individual_kw"].max())
    below = float((rows["coincident_kw"] < LEAST_KW).mean())
    looks = design_looks(data.designs)
    columns = 2 if len(data.designs) in (2, 4) else 3
    figure, axes = panels(
        len(data.designs), columns, 5.7 / columns + 1.05, sharex=True, sharey=True
    )
    for number, (design, axis) in enumerate(zip(data.designs, axes, strict=True)):
        part = rows[rows["design"] == design]
        axis.plot([LEAST_KW, limit], [LEAST_KW, limit], color=GREY, linewidth=0.8)
        axis.scatter(
            part["individual_kw"].clip(lower=LEAST_KW),
            part["coincident_kw"].clip(lower=LEAST_KW),
            s=9,
            color=looks[design].colour,
            alpha=float(np.clip(250.0 / max(len(part), 1), 0.12, 0.7)),
            linewidths=0,
            rasterized=True,
        )
        sums = part[["individual_kw", "coincident_kw"]].sum()
        share = 100.0 * sums["coincident_kw"] / sums["individual_kw"] if len(part) else np.nan
        axis.set_title(f"{wrapped(data.labels[design], 26)}\n{share:.0f} % coincident", fontsize=9)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlim(0.8 * LEAST_KW, limit)
        axis.set_ylim(0.8 * LEAST_KW, limit)
        for each in (axis.xaxis, axis.yaxis):
            each.set_major_formatter(FuncFormatter(lambda kw, _: tick_text(kw)))
        axis.set_aspect("equal")
        axis.grid()
        axis.set_xlabel("own peak, kW")
        if number % columns == 0:
            axis.set_ylabel("at the area's peak, kW")
    notes = [f"Closure: {CLOSURE_LABELS[data.main_closure]}.", "Logarithmic axes."]
    if below > 0.0:
        notes.append(
            f"{100.0 * below:.0f} % of the points import less than {LEAST_KW:g} kW at the area's "
            "peak and are drawn at the lower edge."
        )
    return ReportFigure(
        "F8",
        "coincidence",
        "Own peaks and coincident peaks",
        "Each point is a customer: across, its highest import; up, its import in the slot in which "
        "its area imports most. On the diagonal both are the same. The title states the sum of all "
        "coincident imports as a share of the sum of all own peaks: a charge on own peaks bills "
        "what drives the grid only as far as the two agree. Customers of all seeds together.",
        figure,
        tuple(notes),
    )
