"""Figures of forecasts and imbalance, and of flexibility sold as a service."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from plotly.graph_objects import Scatter

from tricell.results import layout
from tricell.results.figures_of_flexibility import FORECAST_ERRORS, SET_POINT
from tricell.results.report import look
from tricell.results.report.drawing import Values, clear, nothing, panels, small, time_steps
from tricell.results.report.parts import Cell, Part, PartTable
from tricell.results.report.run_data import RunData
from tricell.results.report.words import energy, euros, percent

CONTRACT = ("p_net", "p_contracted")
MOVED = "p_service"
"""What services moved beside the contracts is no deviation."""
MOST_SERVICES = 8
"""Services that get a panel of their own."""
SERVICE_NAMES: Mapping[str, str] = {
    "dso_request": "Request of the network operator",
    "tso_request": "Request of the transmission system operator",
    "peak_shaving": "Peak shaving",
    "reserve": "Reserve",
    "set_point": "Set-point from above",
}
SUMS = ("need", "accepted", "delivered", "unmet", "cost")


# ------------------------------------------------------------------------ forecasts and imbalance


def has_imbalance(data: RunData) -> bool:
    """Whether the run tells forecasts from meters."""
    has_contracts = all(data.has("agent", name) for name in CONTRACT)
    return has_contracts or not data.table(layout.FORECAST).empty


def imbalance(data: RunData) -> Part:
    """Draw what was taken beyond contracts, of all together and of each for itself."""
    key, title = "imbalance", "Deviations from contracts"
    if not all(data.has("agent", name) for name in CONTRACT):
        return nothing(key, title, "the file does not tell what was contracted.")
    net, apart = _deviations(data)
    figure = panels([240], [""], above=44)
    steps = time_steps(data.times, data.bucket_hours)
    colour = look.OKABE_ITO[0]
    lines = (
        ("each for itself, sizes added up", apart, look.GREY, {"line_width": 1.4}),
        ("all together, after deviations cancel", net, colour, {"fill": "tozeroy"}),
    )
    for name, values, shown, more in lines:
        figure.add_trace(
            Scatter(
                y=small(values),
                **steps,
                mode="lines" if len(data.times) > 1 else "markers",
                name=name,
                line={"color": shown, "shape": "hv", "width": 1.6},
                fillcolor=clear(shown, 0.25),
                hovertemplate=f"%{{x|%a %d %b %H:%M}}<br>{name}: %{{y:,.2f}} kW<extra></extra>",
                **more,
            )
        )
    figure.update_yaxes(title_text="kW")
    figure.update_xaxes(title_text=data.time_title)
    return Part(key, title, _imbalance_caption(data), figure)


def _deviations(data: RunData) -> tuple[Values, Values]:
    """Return net deviation and sum of absolute deviations, kW, mean of each bucket."""
    net, apart = [np.empty(0)], [np.empty(0)]
    names = (*CONTRACT, MOVED) if data.has("agent", MOVED) else CONTRACT
    powers = (data.results.blocks("agent", name) for name in names)
    for metered, *agreed in zip(*powers, strict=True):
        deviation = np.nan_to_num(metered - sum(agreed))
        net.append(deviation.sum(axis=1))
        apart.append(np.abs(deviation).sum(axis=1))
    bucket = np.arange(data.slots_done) // data.slots_per_bucket
    count = np.maximum(np.bincount(bucket), 1)
    together, each = (np.concatenate(parts)[: data.slots_done] for parts in (net, apart))
    return np.bincount(bucket, together) / count, np.bincount(bucket, each) / count


def _imbalance_caption(data: RunData) -> str:
    text = "Above zero more is consumed, or less fed in, than was contracted at the gate."
    kwh, eur = data.figure("imbalance_energy"), data.figure("imbalance_cost")
    if kwh is not None:
        text += f" All together deviate by {energy(kwh)}."
    if eur is not None:
        verb = "pay" if eur >= 0.0 else "receive"
        text += f" Participants {verb} {euros(abs(eur))} for their deviations."
    return text


def forecast_errors(data: RunData) -> Part:
    """List errors of forecasts and the imbalance of each area."""
    key, title = "forecast_errors", "Forecast errors and imbalance of each area"
    kpis = data.kpis
    of_areas = kpis[kpis["scope_kind"] == "area"] if len(kpis) else kpis
    names = {
        "forecast_mae": "mean error, kWh a slot",
        "forecast_wape": "error over net energy, %",
        "member_forecast_mae": "mean error of a member, kWh a slot",
        "member_forecast_wape": "the same over its net energy, %",
        "imbalance_energy": "imbalance, kWh",
        "imbalance_cost": "cost of imbalance, EUR",
    }
    found = [name for name in names if len(kpis) and (of_areas["name"] == name).any()]
    if not found:
        return nothing(key, title, "the file has no errors of forecasts.")
    values = {
        name: of_areas[of_areas["name"] == name].set_index("scope")["value"] for name in found
    }
    areas = [str(area) for area in data.areas["area"]]
    rows: list[list[Cell]] = [
        [area, *(_shown(name, values[name].get(area)) for name in found)] for area in areas
    ]
    caption = (
        "Errors of the forecast of net energy at the gate, of the area with all areas in it; what "
        "members get wrong in opposite directions cancels."
        if set(found) & set(FORECAST_ERRORS)
        else "What differs from contracts, of the area with all areas in it."
    )
    table = PartTable(["area", *(names[name] for name in found)], rows, areas)
    return Part(key, title, caption, rows=table)


def _shown(name: str, value: float | None) -> float | None:
    if value is None or np.isnan(value):
        return None
    return float(value) * (100.0 if name.endswith("wape") else 1.0)


# --------------------------------------------------------------------------------------- services


def has_services(data: RunData) -> bool:
    """Whether flexibility was asked for as a service."""
    return not data.table(layout.SERVICE).empty


def service_power(data: RunData) -> Part:
    """Draw what each service asked for and got over time."""
    key, title = "service_power", "Flexibility asked for and delivered"
    table = data.table(layout.SERVICE)
    table = table[table["kind"] != SET_POINT]
    groups = list(table.groupby(["service", "kind", "area"], observed=True, sort=True))
    shown = groups[:MOST_SERVICES]
    titles = [_service_name(data, kind, area) for (_, kind, area), _ in shown]
    figure = panels([130] * len(shown), titles, gap=70, above=44)
    lines = (
        ("need", "asked for", look.INK, "solid", None),
        ("delivered", "delivered", look.GOOD, "solid", "tozeroy"),
        ("unmet", "not delivered", look.BAD, "dot", None),
    )
    for place, (_, part) in enumerate(shown, start=1):
        for column, name, colour, dash, fill in lines:
            figure.add_trace(
                Scatter(
                    y=small(_kw_in_buckets(data, part, column)),
                    **time_steps(data.times, data.bucket_hours),
                    mode="lines" if len(data.times) > 1 else "markers",
                    name=name,
                    legendgroup=name,
                    showlegend=place == 1,
                    fill=fill,
                    fillcolor=clear(colour, 0.3),
                    line={"color": colour, "dash": dash, "width": 1.6, "shape": "hv"},
                    hovertemplate=f"%{{x|%a %d %b %H:%M}}<br>{name}: %{{y:,.2f}} kW<extra></extra>",
                ),
                row=place,
                col=1,
            )
        figure.update_yaxes(title_text="kW", rangemode="tozero", row=place)
    figure.update_xaxes(title_text=data.time_title, row=len(shown))
    left_out = len(groups) - len(shown)
    notes = (f"{left_out:,} more are in the table only.",) if left_out else ()
    return Part(key, title, _service_caption(table), figure, notes=notes)


def _kw_in_buckets(data: RunData, part: pd.DataFrame, column: str) -> Values:
    """Spread rows over the slots; mean power of each bucket, kW, 0 where nothing was asked."""
    start = data.results.times()[0]
    slot = ((part["time"] - start) / pd.Timedelta(hours=data.slot_hours)).round().astype(np.int64)
    bucket = slot.to_numpy() // data.slots_per_bucket
    kwh = np.bincount(bucket, part[column].to_numpy(np.float64), minlength=len(data.times))
    return np.asarray(kwh[: len(data.times)] / data.bucket_hours)


def _service_name(data: RunData, kind: object, area: object) -> str:
    row = int(str(area))
    where = "" if row < 0 else f", {data.areas['area'].iloc[row]}"
    return f"{SERVICE_NAMES.get(str(kind), str(kind))}{where}"


def _service_caption(table: pd.DataFrame) -> str:
    need, delivered = float(table["need"].sum()), float(table["delivered"].sum())
    text = f"{energy(need)} were asked for and {energy(delivered)} delivered"
    text += f" ({percent(delivered / need)})" if need > 0.0 else ""
    paid = float(table["cost"].sum())
    return (
        f"{text}, for {euros(paid)}. What is delivered is measured against a baseline: the "
        "exchange that there would have been without the call."
    )


def service_table(data: RunData) -> Part:
    """List what each service asked for and got over the run."""
    key, title = "service_table", "Services over the run"
    table = data.table(layout.SERVICE)
    rows: list[list[Cell]] = []
    areas = []
    for (_, kind, area), part in table.groupby(["service", "kind", "area"], observed=True):
        row = int(str(area))
        areas.append("" if row < 0 else str(data.areas["area"].iloc[row]))
        sums = [float(part[name].sum()) for name in SUMS]
        share = 100.0 * sums[2] / sums[0] if sums[0] > 0.0 else None
        name = SERVICE_NAMES.get(str(kind), str(kind))
        rows.append([name, areas[-1] or "all", part["time"].nunique(), *sums[:4], share, sums[4]])
    headings = (
        "service",
        "area",
        "slots",
        "asked for, kWh",
        "bought, kWh",
        "delivered, kWh",
        "not delivered, kWh",
        "delivered, %",
        "paid, EUR",
    )
    caption = "A row for each service and area that was asked."
    if (table["kind"] == SET_POINT).any():
        caption += " Set-points pass on to areas below what a service asked for."
    return Part(key, title, caption, rows=PartTable(headings, rows, areas))
