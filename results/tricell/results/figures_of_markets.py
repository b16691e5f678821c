"""Key figures of markets: what is traded at which price, gains, counts of the clearing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tricell.results import kpis, layout
from tricell.results.area_series import AreaSeries
from tricell.results.charge_indicators import rebound_peak
from tricell.results.figure_scopes import AREA, RUN, Scope, Scopes, total
from tricell.results.figures_of_energy import Values, each_scope
from tricell.results.layout import PowerFlowMethod, Verdict
from tricell.results.reader import Results

Floats: TypeAlias = NDArray[np.float64]
Numbers: TypeAlias = NDArray[Any]

SUMS = (
    "welfare",
    "gain",
    "optimal_gain",
    "redispatch_moved",
    "redispatch_cost",
    "reclearings",
    "market_iterations",
    "unfinished_markets",
    "lp_cold_starts",
    "breach_cost",
)
"""Figures that are the sum over the slots of the variable of the same name."""
LOW_PRICES = 0.25
"""Part of a price's band that counts as low."""
LIMITS_MET = (Verdict.LIMITS_MET, Verdict.LIMITS_MET_BY_RECLEARING)
FALL_BACKS = (PowerFlowMethod.NEWTON, PowerFlowMethod.FAILED)
OWN_MARKET = ("energy_traded", "energy_residual", "energy_unsold", "energy_unserved")


def market_figures(scopes: Scopes, areas: AreaSeries) -> Values:
    """Compute the figures of the areas' own markets; a level has the sums of its areas."""
    own = {name: areas.sums(name) for name in (*OWN_MARKET, "network_charge")}
    energies = [scopes.of_own(own[name]) for name in OWN_MARKET]
    traded, prices = areas["energy_traded"], areas["price"]
    names = [Scope(AREA, name) for name in scopes.area]
    return {
        "energy_traded": energies[0] | {RUN: total(own["energy_traded"])},
        "energy_residual": energies[1],
        "unsold": scopes.with_below(own["energy_unsold"]),
        "liquidity": each_scope(_liquidity, *energies),
        "price_mean": {name: kpis.mean_price(prices[:, row]) for row, name in enumerate(names)},
        "price_band": {name: kpis.price_band(prices[:, row]) for row, name in enumerate(names)},
        "price_traded": {
            scope: kpis.price_of_trades(traded[:, rows].ravel(), prices[:, rows].ravel())
            for scope, rows in scopes.own_markets().items()
        },
        "network_charge_on_trades": scopes.of_own(
            own["network_charge"], total(own["network_charge"])
        ),
    }


def _liquidity(*energies: float) -> float | None:
    """Divide traded by offered energy, from what `OWN_MARKET` names."""
    return kpis.liquidity(energies[0], kpis.offered_energy(*energies))


def rebound_figures(scopes: Scopes, areas: AreaSeries, slots: Mapping[str, Numbers]) -> Values:
    """Find the highest import when low retail prices begin, of areas and of the run at its top."""
    if "retail_price" not in slots:
        return {}
    price, imports = slots["retail_price"], areas["p_import"]
    rebounds = {
        Scope(AREA, name): _rebound(imports[:, row], price) for row, name in enumerate(scopes.area)
    }
    top = imports[:, scopes.is_top].sum(axis=1) if scopes.is_top.any() else np.empty(0)
    return {"rebound_peak": rebounds | {RUN: _rebound(top, price)}}


def _rebound(import_kw: Floats, price: Floats) -> float | None:
    known = np.isfinite(import_kw) & np.isfinite(price)
    load, rate = import_kw[known], price[known]
    if not load.size:
        return None
    low = float(rate.min() + LOW_PRICES * (rate.max() - rate.min()))
    found = rebound_peak(load, load, rate, low)
    return None if found is None else max(found.peak_kw, 0.0)


def slot_figures(slots: Mapping[str, Numbers], hours: float) -> Values:
    """Compute the figures of the run that come from run-wide numbers per slot."""
    figures = {name: float(slots[name].sum()) for name in SUMS if name in slots}
    values: dict[str, float | None] = dict(figures)
    if "breach_kw" in slots:
        values["breach_energy"] = float(slots["breach_kw"].sum()) * hours
    if "retail_price" in slots:
        values["retail_price_band"] = kpis.price_band(slots["retail_price"])
    if "verdict" in slots:
        values["limits_met_share"] = kpis.share_of(slots["verdict"], LIMITS_MET)
    if "power_flow_method" in slots:
        falls = np.isin(slots["power_flow_method"], FALL_BACKS).sum()
        values["power_flow_fall_backs"] = float(falls)
    if {"gain", "optimal_gain"} <= set(figures):
        share = kpis.welfare_share(figures["gain"], figures["optimal_gain"])
        values |= {"welfare_share": share, "value_tapping": share}
    return {name: {RUN: value} for name, value in values.items()}


def price_range(slots: Mapping[str, Numbers]) -> tuple[float, float] | None:
    """Give the lowest feed-in price and the highest retail price of the run, EUR/kWh."""
    prices = [slots.get(name, np.empty(0)) for name in ("feed_in_price", "retail_price")]
    feed_in, retail = (each[np.isfinite(each)] for each in prices)
    return (float(feed_in.min()), float(retail.max())) if feed_in.size and retail.size else None


def read_slots(results: Results) -> dict[str, Numbers]:
    """Read what the file has about the whole run, shape (T,) each; nothing without a slot."""
    if layout.SLOT not in results.groups or not len(results.times()):
        return {}
    return {
        name: np.concatenate(list(results.blocks(layout.SLOT, name)))
        for name in results.variables(layout.SLOT)
    }
