"""Key figures of flexibility over time: devices, imbalance, forecasts and services.

A file has them only if it has what they are made of; see `FigureDefinition.is_everywhere`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tricell.results import kpis, layout
from tricell.results.figure_scopes import AGENT, AREA, LEVEL, RUN, Scope, Scopes
from tricell.results.figures_of_energy import Values, each_scope
from tricell.results.reader import Results

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

VEHICLE, HOUSE, HEAT_STORE, APPLIANCE, SHARED_BATTERY = layout.DEVICE_KINDS
DEVICE_SUMS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "vehicle_energy": ("energy", (VEHICLE,)),
    "vehicle_energy_missed": ("unmet", (VEHICLE,)),
    "heat_pump_energy": ("energy", (HOUSE, HEAT_STORE)),
    "heat_unmet": ("unmet", (HOUSE, HEAT_STORE)),
    "heat_discomfort": ("discomfort", (HOUSE, HEAT_STORE)),
    "appliance_energy": ("energy", (APPLIANCE,)),
    "appliance_energy_missed": ("unmet", (APPLIANCE,)),
}
"""Figures that are the sum of a column of tables/device over some kinds."""
BILL_SUMS = {"imbalance_cost": ("imbalance", 1.0), "flexibility_income": ("flexibility", -1.0)}
"""Figures that are the sum of a column of tables/bill, times a factor."""
SERVICE_SUMS = {
    "flexibility_asked": "need",
    "flexibility_accepted": "accepted",
    "flexibility_delivered": "delivered",
    "flexibility_unmet": "unmet",
    "flexibility_cost": "cost",
}
"""Figures that are the sum of a column of tables/service."""
SET_POINT = layout.ServiceKind.SET_POINT.name.lower()
FORECAST_ERRORS = {
    "forecast_mae": "mae",
    "forecast_wape": "wape",
    "member_forecast_mae": "member_mae",
    "member_forecast_wape": "member_wape",
}
"""Figures that are an entry of tables/forecast."""


def flexibility_figures(results: Results, scopes: Scopes, hours: float) -> Values:
    """Compute the figures of flexibility that the file can tell; slots last `hours`."""
    return {
        **device_figures(results, scopes),
        **shared_battery_figures(results, scopes, hours),
        **imbalance_figures(results, scopes, hours),
        **forecast_figures(results, scopes),
        **service_figures(results, scopes),
    }


def device_figures(results: Results, scopes: Scopes) -> Values:
    """Add up what devices consumed and missed, by the groups that their owners belong to."""
    if layout.DEVICE not in results.tables:
        return {}
    devices = results.table(layout.DEVICE)
    owned = _owned(devices, scopes)
    figures: Values = {}
    for figure, (column, kinds) in DEVICE_SUMS.items():
        of_kind = devices["kind"].isin(kinds).to_numpy()
        if of_kind.any():
            figures[figure] = _sums(devices.get(column), of_kind, owned)
    vehicles = (devices["kind"] == VEHICLE).to_numpy()
    if vehicles.any():
        counts = (
            _sums(devices.get(name), vehicles, owned) for name in ("short_departures", "departures")
        )
        figures["short_departure_share"] = each_scope(kpis.share, *counts)
    return figures


def _owned(devices: pd.DataFrame, scopes: Scopes) -> dict[Scope, Bools]:
    """Tell which devices belong to members of the run, of each level, area and class."""
    row = {name: number for number, name in enumerate(scopes.agent)}
    owner = np.array([row[str(name)] for name in devices["agent"]], dtype=np.int64)
    return {scope: members[owner] for scope, members in scopes.members().items()}


def _sums(
    column: pd.Series[float] | None, rows: Bools, owned: Mapping[Scope, Bools]
) -> dict[Scope, float | None]:
    """Add up a column by scope; None where the file does not have it or nobody has such rows."""
    if column is None:
        return dict.fromkeys(owned)
    values = column.to_numpy(dtype=np.float64)
    return {
        scope: float(np.nansum(values[rows & of])) if (rows & of).any() else None
        for scope, of in owned.items()
    }


def shared_battery_figures(results: Results, scopes: Scopes, hours: float) -> Values:
    """Compute cycles and losses of shared batteries, by the area that they belong to."""
    if layout.DEVICE not in results.tables or layout.DEVICE not in results.groups:
        return {}
    devices = results.table(layout.DEVICE)
    shared = (devices["kind"] == SHARED_BATTERY).to_numpy()
    if not shared.any():
        return {}
    p_kw, stored_kwh = (
        np.concatenate([block[:, shared] for block in results.blocks(layout.DEVICE, name)])
        for name in ("p", "stored")
    )
    chosen = devices[shared]
    capacity = chosen.get("capacity_kwh", pd.Series(np.nan, chosen.index)).to_numpy(np.float64)
    owned = {scope: of for scope, of in _owned(chosen, scopes).items() if of.any()}
    return {
        "shared_battery_cycles": {
            scope: kpis.equivalent_full_cycles(p_kw[:, of] * hours, float(capacity[of].sum()))
            for scope, of in owned.items()
        },
        "shared_battery_losses": {
            scope: kpis.storage_losses(p_kw[:, of] * hours, stored_kwh[:, of])
            for scope, of in owned.items()
        },
    }


def imbalance_figures(results: Results, scopes: Scopes, hours: float) -> Values:
    """Compute how far meters are from contracts, and what that costs."""
    return {
        **_imbalance_energy(results, scopes, hours),
        **_shares_of_bills(results, scopes),
    }


def _imbalance_energy(results: Results, scopes: Scopes, hours: float) -> Values:
    """Add up absolute net deviations: of an agent, and of groups whose deviations cancel."""
    told = results.variables("agent") if "agent" in results.groups else ()
    if not {"p_net", "p_contracted"} <= set(told) or not scopes.agent:
        return {}
    names = ("p_net", "p_contracted", *({"p_service"} & set(told)))
    members = {scope: of for scope, of in scopes.members().items() if scope.kind != LEVEL}
    groups = np.array(list(members.values()), dtype=np.float64)
    of_agents, of_groups = np.zeros(len(scopes.agent)), np.zeros(len(groups))
    days = (results.blocks("agent", name, slots=layout.ROWS_PER_CHUNK) for name in names)
    for net, *agreed in zip(*days, strict=True):
        deviation = np.nan_to_num(net - sum(agreed)) * hours  # nobody contracted for a gap
        of_agents += np.abs(deviation).sum(axis=0)
        of_groups += np.abs(deviation @ groups.T).sum(axis=0)
    energy: dict[Scope, float | None] = dict(zip(members, of_groups.tolist(), strict=True))
    by_area = scopes.of_own([energy[Scope(AREA, name)] for name in scopes.area])
    energy |= {scope: kwh for scope, kwh in by_area.items() if scope.kind == LEVEL}
    named = zip(scopes.agent, of_agents.tolist(), strict=True)
    return {"imbalance_energy": energy | {Scope(AGENT, name): kwh for name, kwh in named}}


def _shares_of_bills(results: Results, scopes: Scopes) -> Values:
    if "bill" not in results.tables or not scopes.agent:
        return {}
    bills = results.table("bill").set_index("agent").reindex(list(scopes.agent))
    members = scopes.members()
    figures: Values = {}
    for figure, (column, factor) in BILL_SUMS.items():
        if column in bills:
            amounts = factor * bills[column].to_numpy(dtype=np.float64)
            named = zip(scopes.agent, amounts.tolist(), strict=True)
            figures[figure] = {
                **{scope: float(amounts[rows].sum()) for scope, rows in members.items()},
                **{Scope(AGENT, name): amount for name, amount in named},
            }
    return figures


def forecast_figures(results: Results, scopes: Scopes) -> Values:
    """Give the errors of forecasts of each area, and those of the top area to the run."""
    if layout.FORECAST not in results.tables:
        return {}
    table = results.table(layout.FORECAST).set_index("area")
    figures: Values = {}
    for figure, column in FORECAST_ERRORS.items():
        if column not in table:
            continue
        errors = {str(area): float(value) for area, value in table[column].items()}
        figures[figure] = {Scope(AREA, name): errors.get(name) for name in scopes.area}
        if scopes.is_top.sum() == 1:
            figures[figure][RUN] = errors.get(scopes.area[int(np.argmax(scopes.is_top))])
    return figures


def service_figures(results: Results, scopes: Scopes) -> Values:
    """Add up what services asked for and got, of the run and of each area that was asked.

    Set-points pass on to areas below what a service asked for, so they do not count again.
    """
    if layout.SERVICE not in results.tables:
        return {}
    sums = [
        block[block["kind"] != SET_POINT].groupby("area")[list(SERVICE_SUMS.values())].sum()
        for block in results.table_blocks(layout.SERVICE)
    ]
    by_area = pd.concat(sums).groupby(level=0).sum()
    asked = np.isin(np.arange(len(scopes.area)), by_area.index)
    by_row = by_area.reindex(range(len(scopes.area)))
    figures: Values = {}
    for figure, column in SERVICE_SUMS.items():
        sums_of_areas = by_row[column].to_numpy(dtype=np.float64).tolist()
        named = zip(scopes.area, sums_of_areas, asked, strict=True)
        figures[figure] = {
            RUN: float(by_area[column].sum()),
            **{Scope(AREA, name): value for name, value, is_asked in named if is_asked},
        }
    figures["flexibility_delivered_share"] = each_scope(
        kpis.share, figures["flexibility_delivered"], figures["flexibility_asked"]
    )
    return figures
