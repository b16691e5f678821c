"""What a slot's schedule and report say, as vectors per group of series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.grid_models.arrays import sum_by_key, take_or
from tricell.simulators.messages import GridReport, Schedule
from tricell.simulators.recorder_layout import RecorderLayout

Floats = NDArray[np.float64]
Values = Mapping[str, Any]


def values_of_slot(layout: RecorderLayout, slot: int, report: GridReport) -> dict[str, Values]:
    """Return the values of a slot: group -> variable -> vector, or number in the group ``slot``.

    Parameters
    ----------
    layout : sizes and memberships; `RecorderLayout.sizes` has the length of the vectors.
    slot : its number.
    report : what was decided and proved.
    """
    schedule = report.schedule
    values = {
        "agent": _agent_values(layout, schedule),
        "bus": _bus_values(layout, report),
        "line": _line_values(layout, report),
        "trafo": _trafo_values(layout, report),
        "area": _area_values(layout, report),
        "slot": _slot_values(layout, slot, report),
    }
    if schedule.storage.devices is not None:
        values["device"] = _device_values(layout, schedule)
    return values


def _agent_values(layout: RecorderLayout, schedule: Schedule) -> Values:
    power, contracted = schedule.power, schedule.contracted
    batteries, n_agent = layout.batteries, len(layout.agent_node)
    drawn = _drawn_beyond_must(layout, schedule)
    values = {
        "p_load": power.p_load_kw + drawn,
        "q_load": power.q_load_kvar,
        "p_pv_available": power.generation_kw,
        "p_pv": schedule.generation_kw,
        "soc": sum_by_key(batteries.agent, schedule.storage.soc_kwh, n_agent),
        "p_net": schedule.p_net_kw,
        "price": schedule.clearing.node_price[layout.agent_node],
    }
    if contracted is not None:
        values |= {
            "p_contracted": contracted.p_net_kw,
            "p_load_forecast": contracted.forecast.p_load_kw + drawn,
            "p_pv_forecast": contracted.forecast.generation_kw,
        }
    if schedule.services is not None:
        moved = schedule.services.move_kw
        values["p_service"] = sum_by_key(layout.store_agent, moved, n_agent)
    return values


def _drawn_beyond_must(layout: RecorderLayout, schedule: Schedule) -> Floats | float:
    """Return what vehicles and heat pumps of every agent took from the market, kW."""
    first = len(layout.batteries)
    drawn = np.maximum(schedule.battery_kw[first:], 0.0)
    if not drawn.size:
        return 0.0
    drawn -= schedule.storage.must_kw[first:]
    return sum_by_key(layout.store_agent[first:], drawn, len(layout.agent_node))


def _bus_values(layout: RecorderLayout, report: GridReport) -> Values:
    price = report.schedule.clearing.node_price
    return {
        "vm": report.state.bus_vm_pu,
        "price": take_or(price, layout.grid.node_of_bus, np.nan),
    }


def _line_values(layout: RecorderLayout, report: GridReport) -> Values:
    state = report.state
    return {
        "loading": state.line_loading_percent,
        "p_from": take_or(state.p_from_kw, layout.grid.line_branch, 0.0),
    }


def _trafo_values(layout: RecorderLayout, report: GridReport) -> Values:
    state = report.state
    return {
        "loading": state.transformer_loading_percent,
        "p_from": take_or(state.p_from_kw, layout.grid.transformer_branch, 0.0),
        "tap": report.tap_positions,
    }


def _area_values(layout: RecorderLayout, report: GridReport) -> Values:
    clearing = report.schedule.clearing
    loss = sum_by_key(layout.branch_area, report.state.loss_kw, len(clearing.area_price))
    return {"p_import": clearing.net_import_kw, "price": clearing.area_price, "loss": loss}


def _device_values(layout: RecorderLayout, schedule: Schedule) -> Values:
    storage, of_stores = schedule.storage, schedule.battery_kw
    state = storage.devices
    assert state is not None
    jobs = np.zeros(0) if storage.job_kw is None else storage.job_kw
    power = [of_stores[len(layout.batteries) :], jobs, of_stores[layout.shared]]
    return {
        "p": np.concatenate(power),
        "stored": state.stored_kwh,
        "unmet": state.unmet_kwh,
        "temperature": state.temperature_c,
        "departed": state.departed,
        "discomfort": state.discomfort_kh,
    }


def _slot_values(layout: RecorderLayout, slot: int, report: GridReport) -> Values:
    schedule, state = report.schedule, report.state
    clearing, prices, trade = schedule.clearing, layout.prices, schedule.trade
    breach = np.abs(clearing.flow_breach_kw)
    breach_cost = float(breach @ layout.flow_breach_eur_per_kwh)
    voltage_breach = float(np.abs(clearing.voltage2_breach).sum())
    breach_cost += voltage_breach * layout.voltage_breach_eur_per_pu2_h
    met = report.breach.limits_met
    return {
        "verdict": (1 if schedule.reclearings else 0) if met else 2,
        "ac_gap_pu": report.gap_pu,
        "ac_gap_percent": report.gap_percent,
        "reclearings": schedule.reclearings,
        "breach_kw": float(breach.sum()),
        "breach_cost": breach_cost * layout.hours,
        "power_flow_method": int(state.method != "fixed_point"),
        "lp_cold_starts": schedule.cold_starts,
        "welfare": -clearing.cost_eur_per_h * layout.hours,
        "gain": np.nan if trade is None else trade.gain,
        "optimal_gain": np.nan if trade is None else trade.optimal_gain,
        "redispatch_moved": 0.0 if trade is None else trade.redispatch_moved,
        "redispatch_cost": 0.0 if trade is None else trade.redispatch_cost,
        "market_operator_surplus": 0.0 if trade is None else trade.operator_surplus,
        "market_iterations": 0 if trade is None else trade.iterations,
        "unfinished_markets": 0 if trade is None else trade.unfinished,
        "wholesale_price": prices.wholesale[slot],
        "retail_price": prices.retail[slot],
        "feed_in_price": prices.feed_in[slot],
    }
