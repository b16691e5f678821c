"""Figures of the market: prices over time and by time of day, and where energy goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from plotly.graph_objects import Figure, Heatmap, Sankey, Scatter

from tricell.results.report import look
from tricell.results.report.drawing import (
    COLOUR_BAR,
    Values,
    at_the_end,
    clear,
    colour_axis,
    nothing,
    panels,
    small,
    time_steps,
)
from tricell.results.report.energy_flows import (
    BATTERIES,
    BOUGHT_OUTSIDE,
    CONSUMED,
    CURTAILED,
    LOSSES,
    MOVED,
    OTHERS_BUY,
    OTHERS_SELL,
    OWN_AREA,
    SOLD_OUTSIDE,
    USE,
    Flow,
    Node,
    area_energy,
    flows,
    joined,
    main_areas,
    through,
)
from tricell.results.report.parts import Control, Part
from tricell.results.report.run_data import RunData, span
from tricell.results.report.words import energy, listed, number, percent

MOST_LINES = 40
"""Areas of a level that get a thin line of their own."""
DAYS_FOR_PROFILE = 3.0
TARIFFS: Mapping[str, str] = {"retail_price": "retail price", "feed_in_price": "feed-in price"}
SAME_EUR = 5e-7
"""Prices closer than this are the same price."""
MOST_DAYS_IN_SLOTS = 62
"""Heat maps of longer runs have a row per hour."""


# ------------------------------------------------------------------------------- prices over time


def prices(data: RunData) -> Part:
    """Draw prices of each level over time, with the tariffs; in longer runs by time of day too."""
    key, title = "prices", "Prices at each level"
    levels = _priced_levels(data)
    if not levels:
        return nothing(key, title, "the file has no price of any area.")
    with_profile = data.slots_done * data.slot_hours / 24.0 >= DAYS_FOR_PROFILE
    headings = ["Over time", "By time of day, mean over all days"] if with_profile else [""]
    figure = panels([300, 220][: len(headings)], headings, above=64)
    _draw_prices(figure, data, levels)
    if with_profile:
        _draw_profiles(figure, data, levels)
        figure.update_xaxes(title_text="local time of day", dtick=3, range=[0, 24], row=2)
        figure.update_yaxes(title_text="EUR/kWh", row=2)
    figure.update_xaxes(title_text=data.time_title, row=1)
    figure.update_yaxes(title_text="EUR/kWh", row=1)
    if len(data.times) == 1:
        _show_points(figure, data)
    notes = _keep_to_usual(figure, data, levels)
    return Part(key, title, _prices_caption(data, levels), figure, notes=notes)


def _show_points(figure: Figure, data: RunData) -> None:
    """Draw points where there is one value only, of which a line would show nothing."""
    start = data.times[0]
    around = pd.Timedelta(hours=data.bucket_hours)
    symbols = dict(zip(look.PLOTLY_DASHES, look.PLOTLY_MARKERS, strict=False))
    figure.update_traces(mode="markers", marker={"size": 9})
    figure.for_each_trace(
        lambda trace: trace.update(
            marker={"color": trace.line.color, "symbol": symbols[trace.line.dash or "solid"]}
        )
    )
    figure.update_xaxes(range=[(start - around).isoformat(), (start + around).isoformat()])


def _priced_levels(data: RunData) -> list[str]:
    return [
        level
        for level in data.levels
        if data.has(level, "price") and np.isfinite(data.bucketed(level, "price")).any()
    ]


def _draw_prices(figure: Figure, data: RunData, levels: Sequence[str]) -> None:
    steps = time_steps(data.times, data.bucket_hours)
    width = 2.0 if data.slots_per_bucket == 1 else 1.4
    for level in levels:
        values, colour = data.bucketed(level, "price"), look.LEVEL_COLOURS[level]
        if values.shape[1] > 1:
            low, high = across(values, 10.0), across(values, 90.0)
            edge = {"mode": "lines", "line": {"width": 0, "shape": "hv"}, "hoverinfo": "skip"}
            shared = {**edge, **steps, "showlegend": False, "legendgroup": level}
            figure.add_trace(Scatter(y=small(low), **shared), row=1, col=1)
            figure.add_trace(
                Scatter(y=small(high), fill="tonexty", fillcolor=clear(colour, 0.25), **shared),
                row=1,
                col=1,
            )
        figure.add_trace(
            Scatter(
                y=small(across(values, 50.0)),
                **steps,
                mode="lines",
                name=_level_label(data, level),
                legendgroup=level,
                line={"color": colour, "width": width, "shape": "hv", "dash": _dash(level)},
                hovertemplate=f"%{{x|%a %d %b %H:%M}}<br>{look.LEVEL_NAMES[level]}, median: "
                "%{y:.4f} EUR/kWh<extra></extra>",
            ),
            row=1,
            col=1,
        )
    for level in levels:
        if len(data.ids(level)) > 1:
            _draw_areas(figure, data, level, steps)
    for name, label in TARIFFS.items():
        if data.has("slot", name):
            figure.add_trace(_tariff(data, name, label, steps), row=1, col=1)


def _level_label(data: RunData, level: str) -> str:
    count = data.bucketed(level, "price").shape[1]
    name = look.LEVEL_NAMES[level]
    return name if count == 1 else f"{name}: median of {count}, band 10–90 %"


def _dash(level: str) -> str:
    return look.LEVEL_DASHES[level]


def _draw_areas(figure: Figure, data: RunData, level: str, steps: Mapping[str, object]) -> None:
    values = data.bucketed(level, "price")
    for number_, area in enumerate(data.ids(level)[:MOST_LINES]):
        figure.add_trace(
            Scatter(
                y=small(values[:, number_]),
                **steps,
                mode="lines",
                name=str(area),
                meta={"area": str(area)},
                showlegend=False,
                legendgroup=level,
                opacity=0.25,
                line={"color": look.INK, "width": 1, "shape": "hv"},
                hovertemplate=f"%{{x|%a %d %b %H:%M}}<br>{area}: %{{y:.4f}} EUR/kWh<extra></extra>",
            ),
            row=1,
            col=1,
        )


def _tariff(data: RunData, name: str, label: str, steps: Mapping[str, object]) -> Scatter:
    dash = "solid" if name == "retail_price" else "dot"
    return Scatter(
        y=small(data.bucketed("slot", name)[:, 0]),
        **steps,
        mode="lines",
        name=label,
        line={"color": look.GREY, "width": 1.4, "dash": dash, "shape": "hv"},
        hovertemplate=f"%{{x|%a %d %b %H:%M}}<br>{label}: %{{y:.4f}} EUR/kWh<extra></extra>",
    )


def _draw_profiles(figure: Figure, data: RunData, levels: Sequence[str]) -> None:
    hours = data.slot_times.hour + data.slot_times.minute / 60.0
    lines = {level: (across(data.whole(level, "price"), 50.0), level) for level in levels}
    for level, (values, _) in lines.items():
        by_time = pd.Series(values).groupby(hours).mean()
        look_of = {"color": look.LEVEL_COLOURS[level], "width": 2.2, "dash": _dash(level)}
        _add_profile(figure, by_time, look.LEVEL_NAMES[level], level, look_of)
    for name, label in TARIFFS.items():
        if data.has("slot", name):
            by_time = pd.Series(data.whole("slot", name)[:, 0]).groupby(hours).mean()
            dash = "solid" if name == "retail_price" else "dot"
            _add_profile(
                figure, by_time, label, "", {"color": look.GREY, "width": 1.4, "dash": dash}
            )


def _add_profile(
    figure: Figure,
    by_time: pd.Series[float],
    label: str,
    group: str,
    line: Mapping[str, object],
) -> None:
    x, y = by_time.index.to_numpy(np.float32), by_time.to_numpy()
    figure.add_trace(
        Scatter(
            x=np.append(x, np.float32(24.0)),
            y=small(np.append(y, y[-1:])),
            mode="lines",
            name=label,
            legendgroup=group or None,
            showlegend=False,
            line={**line, "shape": "hv"},
            hovertemplate=f"{label}, mean at %{{x:.2f}} h: %{{y:.4f}} EUR/kWh<extra></extra>",
        ),
        row=2,
        col=1,
    )


def _keep_to_usual(figure: Figure, data: RunData, levels: Sequence[str]) -> tuple[str, ...]:
    """Let single prices far out (breach prices) not press all others to a line."""
    shown = np.concatenate([data.bucketed(level, "price").ravel() for level in levels])
    shown = shown[np.isfinite(shown)]
    tariffs = [data.bucketed("slot", name) for name in TARIFFS if data.has("slot", name)]
    usual = np.concatenate([np.percentile(shown, [1.0, 99.0]), *(each.ravel() for each in tariffs)])
    low, high = min(0.0, float(np.nanmin(usual))), float(np.nanmax(usual))
    margin = 0.08 * max(high - low, 1e-3)
    outside = int(((shown < low - 4 * margin) | (shown > high + 4 * margin)).sum())
    if not outside:
        figure.update_yaxes(rangemode="tozero")
        return ()
    figure.update_yaxes(range=[low - 4 * margin, high + 4 * margin], row=1)
    return (
        f"{percent(outside / len(shown))} of the prices drawn lie outside the scale, from "
        f"{number(float(shown.min()))} to {number(float(shown.max()))} EUR/kWh; zoom out to see "
        "them.",
    )


def _prices_caption(data: RunData, levels: Sequence[str]) -> str:
    parts = []
    for level in levels:
        values = data.whole(level, "price")
        low, middle, high = np.nanpercentile(values, [0.0, 50.0, 100.0])
        parts.append(
            f"{look.LEVEL_NAMES[level]}: median {price_text(middle)} EUR/kWh, from "
            f"{price_text(low)} to {price_text(high)}."
        )
    parts.append(_outside_tariffs(data, levels))
    if data.slots_per_bucket > 1:
        parts.append(f"Each point is the mean of {span(data.bucket_hours)}.")
    return " ".join(part for part in parts if part)


def price_text(price: float) -> str:
    """Write a price, EUR/kWh.

    Examples
    --------
    >>> price_text(0.31), price_text(-0.0415), price_text(-1e-9)
    ('0.310', '−0.042', '0.000')
    """
    return f"{round(price, 3) + 0.0:.3f}".replace("-", "−")


def _outside_tariffs(data: RunData, levels: Sequence[str]) -> str:
    """Say how often an area's price leaves the range that the retailer's prices span."""
    if not all(data.has("slot", name) for name in TARIFFS):
        return ""
    retail, feed_in = (data.whole("slot", name) for name in TARIFFS)
    if not (np.isfinite(retail) & np.isfinite(feed_in)).any():
        return ""
    above = below = known = 0
    for level in levels:
        values = data.whole(level, "price")
        above += int((values > retail + SAME_EUR).sum())
        below += int((values < feed_in - SAME_EUR).sum())
        known += int(np.isfinite(values).sum())
    if not above and not below:
        return "No price leaves the range between feed-in and retail price."
    parts = []
    if below:
        parts.append(f"{percent(below / known)} of all prices lie below the feed-in price")
    if above:
        whose = "" if below else " of all prices lie"
        parts.append(f"{percent(above / known)}{whose} above the retail price")
    return f"{listed(parts)}: there a limit of the grid has its price."


def across(values: Values, percentile: float) -> Values:
    """Return a percentile over the areas, slot by slot; NaN where no area has a value.

    Parameters
    ----------
    values : (slots, areas).
    percentile : 0 to 100; with linear interpolation, as numpy does.
    """
    ordered = np.sort(values, axis=1)
    known = np.isfinite(ordered).sum(axis=1)
    place = percentile / 100.0 * np.maximum(known - 1, 0)
    low = np.floor(place).astype(np.int64)
    high = np.ceil(place).astype(np.int64)
    rows = np.arange(len(ordered))
    result: Values = ordered[rows, low] + (place - low) * (ordered[rows, high] - ordered[rows, low])
    return result


# ------------------------------------------------------------------------------ heat map of prices


def price_heat_map(data: RunData) -> Part:
    """Draw the mean price of each level's areas, day by time of day."""
    key, title = "price_heat_map", "Prices by day and time of day"
    levels = _priced_levels(data)
    if not levels:
        return nothing(key, title, "the file has no price of any area.")
    if data.slots_done * data.slot_hours / 24.0 < DAYS_FOR_PROFILE:
        return _area_price_map(data, key, "Prices in each area", levels)
    maps = {level: day_by_time(data, _mean_over_areas(data, level)) for level in levels}
    days = len(next(iter(maps.values())).columns)
    titles = [_heat_title(data, level) for level in levels]
    figure = panels([210] * len(levels), titles, above=COLOUR_BAR)
    for row, level in enumerate(levels, start=1):
        figure.add_trace(_heat(maps[level], level), row=row, col=1)
        figure.update_yaxes(
            title_text="time of day",
            autorange="reversed",
            tickvals=[0, 6, 12, 18, 24],
            ticktext=["0:00", "6:00", "12:00", "18:00", "24:00"],
            showgrid=False,
            row=row,
        )
        figure.update_xaxes(showgrid=False, row=row)
    _day_axis(figure, days)
    figure.update_xaxes(title_text=f"local day ({data.results.attrs['time_zone_local']})")
    figure.update_layout(coloraxis=_price_colours([each.to_numpy() for each in maps.values()]))
    return Part(key, title, _heat_caption(maps), figure)


def _area_price_map(data: RunData, key: str, title: str, levels: Sequence[str]) -> Part:
    """Draw short runs with a row per area instead of a column per day."""
    shown = [level for level in reversed(levels) for _ in data.ids(level)]
    areas = [str(area) for level in reversed(levels) for area in data.ids(level)]
    values = np.concatenate([data.bucketed(level, "price").T for level in reversed(levels)])
    kept = slice(0, MOST_LINES)
    figure = panels([max(70, 24 * len(areas[kept]))], [""], above=COLOUR_BAR)
    figure.add_trace(
        Heatmap(
            z=small(values[kept]),
            y=areas[kept],
            **time_steps(data.times, data.bucket_hours),
            coloraxis="coloraxis",
            hoverongaps=False,
            ygap=1,
            hovertemplate="%{y}, %{x|%a %d %b %H:%M}: %{z:.4f} EUR/kWh<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="", type="category")
    figure.update_xaxes(title_text=data.time_title, showgrid=False)
    figure.update_layout(coloraxis=_price_colours([values]))
    means = np.nanmean(np.where(np.isfinite(values), values, np.nan), axis=1)
    dear, cheap = int(np.nanargmax(means)), int(np.nanargmin(means))
    if means[dear] - means[cheap] < SAME_EUR:
        first = f"On average energy costs {price_text(means[dear])} EUR/kWh everywhere."
    else:
        first = (
            f"On average energy is dearest in {areas[dear]} "
            f"({_level_price(shown[dear], means[dear])}) and cheapest in {areas[cheap]} "
            f"({_level_price(shown[cheap], means[cheap])})."
        )
    caption = f"{first} Dark is cheap, yellow is dear."
    left_out = len(areas) - MOST_LINES
    notes = (f"{left_out} more areas are not drawn.",) if left_out > 0 else ()
    return Part(key, title, caption, figure, notes=notes)


def _level_price(level: str, price: float) -> str:
    return f"{look.LEVEL_NAME[level]}, {price_text(price)} EUR/kWh"


def _heat_title(data: RunData, level: str) -> str:
    ids = data.ids(level)
    if len(ids) == 1:
        return f"{look.LEVEL_NAMES[level]}: {ids[0]}"
    return f"{look.LEVEL_NAMES[level]}, mean of {len(ids)}"


def _mean_over_areas(data: RunData, level: str) -> Values:
    values = data.whole(level, "price")
    known = np.isfinite(values).sum(axis=1)
    total = np.where(np.isfinite(values), values, 0.0).sum(axis=1)
    return np.where(known > 0, total / np.maximum(known, 1), np.nan)


def day_by_time(data: RunData, values: Values) -> pd.DataFrame:
    """Lay out values of slots: rows are local times of day (hours), columns are local days.

    Runs of more than `MOST_DAYS_IN_SLOTS` days get a row per hour, with the mean of its slots.
    Where clocks are put back, an hour is the mean of two.
    """
    times = data.slot_times
    hours = times.hour + times.minute / 60.0 + times.second / 3600.0
    step = data.slot_hours
    if len(times) * data.slot_hours / 24.0 > MOST_DAYS_IN_SLOTS:
        step = max(1.0, step)
    rows = np.floor(np.asarray(hours) / step + 1e-9) * step
    table = pd.Series(values).groupby([rows, times.normalize()]).mean().unstack()
    full_rows = np.arange(0.0, 24.0, step)
    days = pd.date_range(table.columns.min(), table.columns.max(), freq="D")
    return table.reindex(index=full_rows, columns=days)


def _heat(table: pd.DataFrame, level: str) -> Heatmap:
    step = float(table.index[1] - table.index[0]) if len(table) > 1 else 24.0
    return Heatmap(
        z=small(table.to_numpy()),
        x=pd.DatetimeIndex(table.columns).strftime("%Y-%m-%d").tolist(),
        y0=float(table.index[0]) + step / 2.0,
        dy=step,
        coloraxis="coloraxis",
        hoverongaps=False,
        name=look.LEVEL_NAMES[level],
        hovertemplate=f"{look.LEVEL_NAMES[level]}, %{{x|%a %d %b %Y}}, "
        "%{y:.2f} h: %{z:.4f} EUR/kWh<extra></extra>",
    )


def _day_axis(figure: Figure, days: int) -> None:
    if days <= 10:
        figure.update_xaxes(dtick=86_400_000, tickformat="%a<br>%d %b")
    else:
        figure.update_xaxes(tickformat="%d %b<br>%Y")


def _price_colours(values: Sequence[Values]) -> dict[str, object]:
    """Return the colours of prices; the few at either end share the last colour."""
    low, high = np.nanpercentile(np.concatenate([each.ravel() for each in values]), [0.5, 99.5])
    if high - low <= SAME_EUR:
        low, high = low - 0.01, high + 0.01
    unit = {"ticksuffix": " EUR/kWh", "showticksuffix": "last"}
    return colour_axis(look.SEQUENTIAL, float(low), float(high), **unit)


def _heat_caption(maps: Mapping[str, pd.DataFrame]) -> str:
    level, table = next(iter(maps.items()))
    by_hour = table.mean(axis=1)
    by_hour = by_hour.groupby(np.floor(by_hour.index)).mean()
    hours, means = by_hour.index.to_numpy(np.float64), by_hour.to_numpy()
    cheap, dear = hours[np.nanargmin(means)], hours[np.nanargmax(means)]
    name = look.LEVEL_NAMES[level].lower()
    if by_hour.max() - by_hour.min() < SAME_EUR:
        first = f"In {name} the price is the same at every hour of the day."
    else:
        first = (
            f"In {name} energy is cheapest at {cheap:.0f} to {cheap + 1:.0f} o'clock "
            f"({price_text(by_hour.min())} EUR/kWh on average) and dearest at {dear:.0f} to "
            f"{dear + 1:.0f} o'clock ({price_text(by_hour.max())})."
        )
    step = table.index[1] - table.index[0] if len(table) > 1 else 24.0
    return (
        f"{first} Each cell is {span(float(step))} of one day; dark is cheap, yellow is dear. "
        "The scale ends where 0.5 % of the cells lie beyond."
    )


# ---------------------------------------------------------------------------------- energy flows

_NODE_COLOURS: Mapping[str, str] = {
    OWN_AREA: "#F0E442",
    USE: look.OKABE_ITO[5],
    "microgrid": look.LEVEL_COLOURS["microgrid"],
    "cell": look.LEVEL_COLOURS["cell"],
    "multicell": look.LEVEL_COLOURS["multicell"],
    BOUGHT_OUTSIDE: look.LEVEL_COLOURS["retail"],
    SOLD_OUTSIDE: look.LEVEL_COLOURS["retail"],
    CURTAILED: look.BAD,
    LOSSES: look.GREY,
    BATTERIES: look.TOL_LIGHT[6],
    CONSUMED: look.OKABE_ITO[5],
    MOVED: look.INK,
    OTHERS_BUY: look.PALE,
    OTHERS_SELL: look.PALE,
}


_SHORT: Mapping[str, str] = {
    BOUGHT_OUTSIDE: "bought",
    SOLD_OUTSIDE: "to retailer",
    LOSSES: "losses",
    MOVED: "redispatch",
    OTHERS_BUY: "others buy",
    OTHERS_SELL: "others sell",
}
_MARKETS: Mapping[str, str] = {
    "microgrid": "microgrids",
    "cell": "cells",
    "multicell": "the multi-cell area",
}


def energy_flows(data: RunData) -> Part:
    """Draw energy from where it is generated or bought to where it is used or sold."""
    key, title = "energy_flows", "Where energy comes from and where it goes"
    energy_ = run_energy(data)
    if energy_ is None:
        return nothing(key, title, at_the_end(data, "receipt"))
    found = flows(joined(energy_, main_areas(energy_)), losses_kwh(data, data.levels))
    if not found:
        return nothing(key, title, "no energy was generated, used or traded.")
    views = {"all areas": found, **_lower_view(data, energy_, found)}
    diagrams = {name: _diagram(view) for name, view in views.items()}
    rows = max(_rows(view) for view in views.values())
    figure = Figure(
        Sankey(valueformat=",.0f", valuesuffix=" kWh", arrangement="snap", **diagrams["all areas"])
    )
    figure.update_layout(look.base_layout(380 + 24 * rows))
    figure.update_layout(font={"size": 12}, margin={"l": 8, "r": 8, "t": 12, "b": 16})
    updates = [
        [{name: [value] for name, value in diagram.items()}, {}, [0]]
        for diagram in diagrams.values()
    ]
    control = Control("Energy of", list(views), updates) if len(views) > 1 else None
    notes = _flows_notes(data, found)
    return Part(key, title, _flows_caption(found), figure, notes=notes, control=control)


def run_energy(data: RunData) -> pd.DataFrame | None:
    """Return the energy of each area's members; None where the file does not tell who bought."""
    receipts, bills = data.table("receipt"), data.bills
    if receipts.empty or bills.empty or not data.has("agent", "p_net"):
        return None

    agent_kwh = _energy_by_key_figures(data)
    if agent_kwh is None:
        agent_kwh = _energy_by_series(data)
    agent_kwh["curtailed"] = bills["curtailed"].fillna(0.0) if "curtailed" in bills else 0.0
    return area_energy(list(data.areas["area"]), data.agents, receipts, agent_kwh)


def _energy_by_key_figures(data: RunData) -> pd.DataFrame | None:
    """Take the energy of each agent from its key figures, which spares a year's series.

    None where one of them is not there. What is neither load nor generation is the battery's.
    """
    kpis = data.kpis
    names = ["load", "generation", "import", "export", "energy_not_served"]
    mine = kpis[(kpis["scope_kind"] == "agent") & kpis["name"].isin(names)]
    table = mine.pivot_table(index="scope", columns="name", values="value", aggfunc="first")
    table = table.reindex(index=data.agents["agent"], columns=names)
    if table.isna().to_numpy().any():
        return None
    net = table["import"] - table["export"]
    return pd.DataFrame(
        {
            "generation": table["generation"],
            "storage": net - table["load"] + table["generation"] + table["energy_not_served"],
            "net": net,
        }
    ).reset_index(drop=True)


def _energy_by_series(data: RunData) -> pd.DataFrame:
    """Sum up the energy of each agent from its time series, kWh."""
    columns = {"generation": "p_pv", "storage": "p_storage", "net": "p_net"}
    return pd.DataFrame(
        {
            name: data.total("agent", variable) * data.slot_hours
            if data.has("agent", variable)
            else np.zeros(len(data.agents))
            for name, variable in columns.items()
        }
    )


def losses_kwh(data: RunData, levels: Sequence[str]) -> float:
    """Return the losses in the networks of these levels, kWh."""
    known = [level for level in levels if data.has(level, "loss")]
    return sum(float(data.total(level, "loss").sum()) for level in known) * data.slot_hours


def _lower_view(
    data: RunData, energy_: pd.DataFrame, found: Sequence[Flow]
) -> Mapping[str, Sequence[Flow]]:
    """Show the microgrids by themselves where larger areas make them too small to be seen."""
    drawn = {node.area for node in through(found) if node.area}
    level_of = data.areas.set_index("area")["level"]
    lower = energy_[level_of.reindex(energy_.index).to_numpy() == "microgrid"]
    if lower.empty or set(lower.index) <= drawn:
        return {}
    view = flows(joined(lower, main_areas(lower)), losses_kwh(data, ["microgrid"]))
    return {"microgrids only": view} if view else {}


def _diagram(found: Sequence[Flow]) -> dict[str, dict[str, object]]:
    """Return nodes and links as plotly takes them."""
    sizes = through(found)
    order = {node: place for place, node in enumerate(sizes)}
    return {
        "node": {
            "label": [_node_label(node) for node in sizes],
            "customdata": [_short_label(node) for node in sizes],
            "color": [_NODE_COLOURS[node.kind] for node in sizes],
            "pad": 14,
            "thickness": 14,
            "line": {"width": 0},
            "hovertemplate": "%{label}<br>%{value:,.0f} kWh<extra></extra>",
        },
        "link": {
            "source": [order[flow.source] for flow in found],
            "target": [order[flow.target] for flow in found],
            "value": [flow.kwh for flow in found],
            "color": [clear(_NODE_COLOURS[flow.source.kind], 0.4) for flow in found],
            "hovertemplate": "%{source.label} → %{target.label}<br>"
            "%{value:,.1f} kWh<extra></extra>",
        },
    }


def _rows(found: Sequence[Flow]) -> int:
    return len({node.area for node in through(found)})


def _node_label(node: Node) -> str:
    if node.area:
        return f"{node.area} {node.kind}"
    if node.kind in look.LEVEL_NAME:
        return f"{look.LEVEL_NAME[node.kind].removesuffix(' area')} trade"
    return node.kind


def _short_label(node: Node) -> str:
    """Name a node by what its column does not tell, for narrow screens."""
    if node.area:
        return node.area
    if node.kind in look.LEVEL_NAME:
        return look.LEVEL_NAME[node.kind].removesuffix(" area")
    return _SHORT.get(node.kind, node.kind)


def _flows_caption(found: Sequence[Flow]) -> str:
    generated = sum(flow.kwh for flow in found if flow.source.kind == OWN_AREA)
    used = sum(flow.kwh for flow in found if flow.target.kind == USE)
    where = _shares(found, "target", generated)
    origin = _shares(found, "source", used)
    parts = []
    if where:
        parts.append(f"Of {energy(generated)} of available generation, {listed(where)}.")
    if origin:
        parts.append(f"Of {energy(used)} that members use, {listed(origin)}.")
    parts.append(
        "From left to right: what is generated and bought, the markets, what the members of each "
        "area use, and where it ends. Widths are energy over the whole run; hover for kWh."
    )
    return " ".join(parts)


def _shares(found: Sequence[Flow], end: str, whole: float) -> list[str]:
    """Say what share of generation goes to each kind of target, or of use comes from each."""
    words = {
        OWN_AREA: "comes from their own plants",
        USE: "is used by its owners",
        CURTAILED: "is curtailed",
        SOLD_OUTSIDE: "is sold to the retailer",
        BOUGHT_OUTSIDE: "is bought from the retailer",
        BATTERIES: "comes out of batteries",
        MOVED: "is moved by redispatch",
    }
    anchor, kind = ("source", OWN_AREA) if end == "target" else ("target", USE)
    sums: dict[str, float] = {}
    for flow in found:
        if getattr(flow, anchor).kind == kind:
            other = getattr(flow, end).kind
            sums[other] = sums.get(other, 0.0) + flow.kwh
    verb = "is sold" if end == "target" else "is bought"
    return [
        f"{percent(kwh / whole)} " + (words.get(other) or f"{verb} in {_MARKETS[other]}")
        for other, kwh in sorted(sums.items(), key=lambda item: -item[1])
    ]


def _flows_notes(data: RunData, found: Sequence[Flow]) -> tuple[str, ...]:
    notes = []
    kinds = {node.kind for flow in found for node in (flow.source, flow.target)}
    if LOSSES in kinds:
        notes.append("Network losses are outside the trades and drawn as bought outside.")
    if BATTERIES in kinds:
        notes.append("Batteries take what they hold more at the end, and what they lose.")
    if MOVED in kinds:
        notes.append(
            "Trades are drawn as settled; what the network operator moved afterwards is the net of "
            "each area."
        )
    others = [
        node.area
        for node in {node for flow in found for node in (flow.source, flow.target)}
        if node.area and node.area not in set(data.areas["area"])
    ]
    if others:
        notes.append("Areas too small to be seen beside the largest are joined.")
    return tuple(notes)
