"""Figures of devices that shift energy: what they draw, what is in store, what they missed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from plotly.graph_objects import Figure, Heatmap, Scatter

from tricell.results import layout
from tricell.results.figures_of_flexibility import (
    APPLIANCE,
    HEAT_STORE,
    HOUSE,
    SHARED_BATTERY,
    VEHICLE,
)
from tricell.results.report import look
from tricell.results.report.drawing import (
    COLOUR_BAR,
    Values,
    clear,
    colour_axis,
    nothing,
    panels,
    small,
    time_steps,
)
from tricell.results.report.figures_market import DAYS_FOR_PROFILE, across, day_by_time
from tricell.results.report.parts import Cell, Part, PartTable
from tricell.results.report.run_data import RunData
from tricell.results.report.words import counted, energy, listed, number, percent

KIND_NAMES: Mapping[str, str] = {
    VEHICLE: "Vehicles",
    HOUSE: "Heat pumps with a building",
    HEAT_STORE: "Heat pumps with a store",
    APPLIANCE: "Appliances",
    SHARED_BATTERY: "Shared batteries",
}
KIND_COLOURS: Mapping[str, str] = dict(
    zip(
        KIND_NAMES,
        (look.OKABE_ITO[0], look.OKABE_ITO[4], look.OKABE_ITO[1], look.OKABE_ITO[3], look.GOOD),
        strict=True,
    )
)
SHARED_NAMES: Mapping[str, str] = {
    "microgrid": "Communities",
    "cell": "Cells",
    "multicell": "Multi-cell",
}
HOMES = "Homes"
NOTHING_KWH = 5e-4
MOST_MISSES = 15


def has_devices(data: RunData) -> bool:
    """Whether the run has devices that shift energy, beside the batteries of households."""
    return not data.table(layout.DEVICE).empty


# ---------------------------------------------------------------------------------------- power


def device_power(data: RunData) -> Part:
    """Draw what all devices of each kind draw together; in longer runs day by time of day."""
    key, title = "device_power", "What devices draw"
    if not data.has(layout.DEVICE, "p"):
        return nothing(key, title, "the file has no power of devices.")
    rows = _rows_of_kinds(data)
    if data.slots_done * data.slot_hours / 24.0 >= DAYS_FOR_PROFILE:
        figure = _power_by_day(data, rows)
        how = "A column is a day, a row a time of day; blue gives back, orange draws."
    else:
        figure = _power_over_time(data, rows)
        how = "Above zero they draw, below they give back; each kind has its own scale."
    return Part(key, title, f"{_power_caption(data, rows)} {how}", figure)


def _rows_of_kinds(data: RunData) -> dict[str, list[int]]:
    kinds = data.table(layout.DEVICE)["kind"].astype(str).tolist()
    found = {name: [row for row, kind in enumerate(kinds) if kind == name] for name in KIND_NAMES}
    return {name: rows for name, rows in found.items() if rows}


def _titles(rows: Mapping[str, Sequence[int]]) -> list[str]:
    return [f"{KIND_NAMES[kind]}, {len(of):,}" for kind, of in rows.items()]


def _power_over_time(data: RunData, rows: Mapping[str, Sequence[int]]) -> Figure:
    figure = panels([120] * len(rows), _titles(rows), gap=70)
    power = data.bucketed(layout.DEVICE, "p")
    for place, (kind, of) in enumerate(rows.items(), start=1):
        colour = KIND_COLOURS[kind]
        figure.add_trace(
            Scatter(
                y=small(power[:, of].sum(axis=1)),
                **time_steps(data.times, data.bucket_hours),
                mode="lines" if len(data.times) > 1 else "markers",
                name=KIND_NAMES[kind],
                fill="tozeroy",
                fillcolor=clear(colour, 0.25),
                line={"color": colour, "width": 1.6, "shape": "hv"},
                hovertemplate="%{x|%a %d %b %H:%M}<br>%{y:,.1f} kW<extra></extra>",
            ),
            row=place,
            col=1,
        )
        figure.update_yaxes(title_text="kW", rangemode="tozero", row=place)
    figure.update_xaxes(title_text=data.time_title, row=len(rows))
    figure.update_layout(showlegend=False)
    return figure


def _power_by_day(data: RunData, rows: Mapping[str, Sequence[int]]) -> Figure:
    """Draw a heat map of each kind; each is coloured by the share of its own peak."""
    figure = panels([170] * len(rows), _titles(rows), gap=70, above=COLOUR_BAR)
    power = _sums_of_kinds(data, rows)
    for place, kind in enumerate(rows, start=1):
        table = day_by_time(data, power[:, place - 1])
        peak = max(float(np.nanmax(np.abs(table.to_numpy()))), NOTHING_KWH)
        step = float(table.index[1] - table.index[0]) if len(table) > 1 else 24.0
        figure.add_trace(
            Heatmap(
                z=small(table.to_numpy() / peak),
                customdata=small(table.to_numpy()),
                x=pd.DatetimeIndex(table.columns).strftime("%Y-%m-%d").tolist(),
                y0=float(table.index[0]) + step / 2.0,
                dy=step,
                coloraxis="coloraxis",
                hoverongaps=False,
                name=KIND_NAMES[kind],
                hovertemplate=f"{KIND_NAMES[kind]}, %{{x|%a %d %b %Y}}, %{{y:.2f}} h: "
                "%{customdata:,.1f} kW<extra></extra>",
            ),
            row=place,
            col=1,
        )
    ticks = {
        "tickvals": [0, 6, 12, 18, 24],
        "ticktext": ["0:00", "6:00", "12:00", "18:00", "24:00"],
    }
    figure.update_yaxes(autorange="reversed", showgrid=False, **ticks)
    figure.update_xaxes(showgrid=False, tickformat="%d %b<br>%Y")
    figure.update_xaxes(title_text="local day", row=len(rows))
    ends = {"tickvals": [-1.0, 0.0, 1.0], "ticktext": ["peak given back", "0", "peak drawn"]}
    figure.update_layout(coloraxis=colour_axis(look.DIVERGING, -1.0, 1.0, **ends))
    return figure


def _sums_of_kinds(data: RunData, rows: Mapping[str, Sequence[int]]) -> Values:
    """Add up the power of each kind slot by slot, kW, (slots, kinds)."""
    blocks = [
        np.stack([block[:, of].sum(axis=1) for of in rows.values()], axis=1)
        for block in data.results.blocks(layout.DEVICE, "p")
    ]
    return np.concatenate(blocks)


def _power_caption(data: RunData, rows: Mapping[str, Sequence[int]]) -> str:
    sums = data.slot_hours * data.total(layout.DEVICE, "p")
    parts = [
        f"{KIND_NAMES[kind].lower()} {energy(float(sums[of].sum()))}" for kind, of in rows.items()
    ]
    return f"Energy drawn less given back: {listed(parts)}."


# ---------------------------------------------------------------------------------------- store


@dataclass(frozen=True)
class _Store:
    """What is in store at one level, kWh over the buckets, and how much would fit."""

    name: str
    colour: str
    dash: str
    stored_kwh: Values
    capacity_kwh: float


def storage_levels(data: RunData) -> Part:
    """Draw how full the stores of homes, communities, cells and the multi-cell area are."""
    key, title = "storage_levels", "What is in store at each level"
    stores = [each for each in _stores(data) if each.capacity_kwh > 0.0]
    if not stores or not len(data.times):
        return nothing(key, title, "nobody has a battery or a vehicle.")
    figure = panels([280], [""], above=64)
    for each in stores:
        figure.add_trace(
            Scatter(
                y=small(100.0 * each.stored_kwh / each.capacity_kwh),
                customdata=small(each.stored_kwh),
                **time_steps(data.times, data.bucket_hours),
                mode="lines" if len(data.times) > 1 else "markers",
                name=f"{each.name}, {energy(each.capacity_kwh)}",
                line={"color": each.colour, "dash": each.dash, "width": 2},
                hovertemplate=f"%{{x|%a %d %b %H:%M}}<br>{each.name}: %{{y:.0f}} %, "
                "%{customdata:,.1f} kWh<extra></extra>",
            )
        )
    figure.update_yaxes(title_text="% of what fits", rangemode="tozero")
    figure.update_xaxes(title_text=data.time_title)
    parts = [f"{each.name.lower()} {_range(each)}" for each in stores]
    caption = f"Between the emptiest and the fullest moment: {listed(parts)}. The legend says how"
    return Part(
        key, title, f"{caption} much fits. Vehicles count while they are away, too.", figure
    )


def _range(store: _Store) -> str:
    share = store.stored_kwh / store.capacity_kwh
    return f"{percent(float(np.nanmin(share)))} to {percent(float(np.nanmax(share)))}"


def _stores(data: RunData) -> list[_Store]:
    devices = data.table(layout.DEVICE)
    found = []
    if data.has("agent", "soc") and "battery_kwh" in data.agents:
        shared = devices.loc[devices["kind"] == SHARED_BATTERY, "agent"]
        homes = np.flatnonzero(~data.agents["agent"].isin(shared).to_numpy())
        capacity = data.agents["battery_kwh"].to_numpy(np.float64)[homes]
        stored = np.nansum(data.bucketed("agent", "soc")[:, homes], axis=1)
        found.append(_Store(HOMES, look.INK, "solid", stored, float(np.nansum(capacity))))
    if not data.has(layout.DEVICE, "stored") or "capacity_kwh" not in devices:
        return found
    level = devices["area"].map(data.areas.set_index("area")["level"]).astype(str)
    is_shared = devices["kind"] == SHARED_BATTERY
    for name, label in SHARED_NAMES.items():
        rows = np.flatnonzero((is_shared & (level == name)).to_numpy())
        colour, dash = look.LEVEL_COLOURS[name], look.LEVEL_DASHES[name]
        found.append(_store_of_devices(data, rows, label, colour, dash))
    for kind, colour, dash in (
        (VEHICLE, look.OKABE_ITO[5], "longdash"),
        (HEAT_STORE, look.OKABE_ITO[4], "dashdot"),
    ):
        rows = np.flatnonzero((devices["kind"] == kind).to_numpy())
        label = "Vehicles" if kind == VEHICLE else "Heat stores"
        found.append(_store_of_devices(data, rows, label, colour, dash))
    return found


def _store_of_devices(
    data: RunData, rows: NDArray[np.signedinteger], name: str, colour: str, dash: str
) -> _Store:
    capacity = data.table(layout.DEVICE)["capacity_kwh"].to_numpy(np.float64)[rows]
    stored = np.nansum(data.bucketed(layout.DEVICE, "stored")[:, rows], axis=1)
    return _Store(name, colour, dash, stored, float(np.nansum(capacity)))


# -------------------------------------------------------------------------------------- comfort


def comfort(data: RunData) -> Part | None:
    """Draw the temperatures in all buildings, as a band; None without a building."""
    key, title = "comfort", "Temperatures indoors"
    if not data.has(layout.DEVICE, "temperature"):
        return None
    values = data.bucketed(layout.DEVICE, "temperature")
    values = values[:, np.isfinite(values).any(axis=0)]
    if not values.size:
        return None
    several = values.shape[1] > 1
    figure = panels([220], [""], above=44 if several else 0)
    steps = time_steps(data.times, data.bucket_hours)
    colour = KIND_COLOURS[HOUSE]
    if several:
        edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", **steps}
        figure.add_trace(Scatter(y=small(across(values, 10.0)), showlegend=False, **edge))
        band = {"fill": "tonexty", "fillcolor": clear(colour, 0.25)}
        figure.add_trace(
            Scatter(y=small(across(values, 90.0)), name="10 to 90 % of them", **band, **edge)
        )
    figure.add_trace(
        Scatter(
            y=small(across(values, 50.0)),
            **steps,
            mode="lines" if len(data.times) > 1 else "markers",
            name="median building",
            line={"color": colour, "width": 2},
            hovertemplate="%{x|%a %d %b %H:%M}<br>median %{y:.1f} °C<extra></extra>",
        )
    )
    figure.update_yaxes(title_text="°C")
    figure.update_xaxes(title_text=data.time_title)
    text = (
        f"{counted(values.shape[1], 'building')} between {number(float(np.nanmin(values)))} and "
        f"{number(float(np.nanmax(values)))} °C."
    )
    outside = data.figure("heat_discomfort")
    if outside is not None:
        text += (
            f" Outside their comfort bands they were for {number(outside)} K h: hours times kelvin."
            if outside > NOTHING_KWH
            else " All stayed inside their comfort bands."
        )
    return Part(key, title, text, figure)


# --------------------------------------------------------------------------------------- tables


def device_table(data: RunData) -> Part:
    """List the devices of each area by kind: energy, and what was missed."""
    key, title = "device_table", "Devices in each area"
    devices = data.table(layout.DEVICE)
    groups = devices.groupby(["area", "kind"], sort=False)
    rows: list[list[Cell]] = []
    for (area, kind), part in groups:
        sums = {name: _sum(part, name) for name in layout.DEVICE_TOTALS}
        is_vehicle = kind == VEHICLE
        rows.append(
            [
                str(area),
                KIND_NAMES.get(str(kind), str(kind)),
                len(part),
                sums["energy"],
                sums["unmet"],
                sums["departures"] if is_vehicle else None,
                sums["short_departures"] if is_vehicle else None,
                sums["discomfort"] if kind in (HOUSE, HEAT_STORE) else None,
            ]
        )
    headings = (
        "area",
        "kind",
        "devices",
        "energy, kWh",
        "missed, kWh",
        "departures",
        "of them short",
        "discomfort, K h",
    )
    table = PartTable(headings, rows, [str(row[0]) for row in rows])
    caption = (
        "Missed is the energy that vehicles lacked when they left, heat demand that was not "
        "served, and jobs of appliances that did not run."
    )
    return Part(key, title, f"{_miss_sentence(data)} {caption}".strip(), rows=table)


def _sum(part: pd.DataFrame, name: str) -> float | None:
    return float(part[name].sum()) if name in part and part[name].notna().any() else None


def _miss_sentence(data: RunData) -> str:
    devices = data.table(layout.DEVICE)
    if not {"short_departures", "departures", "unmet"} <= set(devices):
        return ""
    vehicles = devices[devices["kind"] == VEHICLE]
    leave, short = int(vehicles["departures"].sum()), int(vehicles["short_departures"].sum())
    if not leave:
        return ""
    if not short:
        return f"Vehicles left {counted(leave, 'time')}, each time with the energy they needed."
    return (
        f"Vehicles left {counted(leave, 'time')}, {short:,} of them "
        f"({percent(short / leave)}) without all the energy they needed: "
        f"{energy(float(vehicles['unmet'].sum()))} in all."
    )


def misses(data: RunData) -> Part | None:
    """List the devices that missed most; None if none did, or the run does not tell yet."""
    key, title = "misses", "Devices that missed most"
    devices = data.table(layout.DEVICE)
    if "unmet" not in devices:
        return None
    missed = devices[devices["unmet"] > NOTHING_KWH].sort_values(
        "unmet", ascending=False, kind="stable"
    )
    if missed.empty:
        return None
    shown = missed.head(MOST_MISSES)
    rows: list[list[Cell]] = [
        [str(name), str(agent), str(area), KIND_NAMES.get(str(kind), str(kind)), float(kwh)]
        for name, agent, area, kind, kwh in shown[
            ["device", "agent", "area", "kind", "unmet"]
        ].itertuples(index=False)
    ]
    left_out = len(missed) - len(shown)
    notes = (f"{left_out:,} more devices missed less.",) if left_out else ()
    headings = ("device", "owner", "area", "kind", "missed, kWh")
    table = PartTable(headings, rows, [str(row[2]) for row in rows])
    caption = (
        f"{counted(len(missed), 'device')} missed {energy(float(missed['unmet'].sum()))} in all."
    )
    return Part(key, title, caption, rows=table, notes=notes)
