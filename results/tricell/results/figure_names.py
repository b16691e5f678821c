"""What key figures are called where people read them: in reports and on the screen.

Shares are stored as numbers from 0 to 1 and shown in percent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from tricell.results.figure_list import BILL_COMPONENTS, PERCENTILES

LOW_VOLTAGE_PEAK = "peak_low_voltage"
LOW_VOLTAGE_REDUCTION = "peak_low_voltage_reduction"
FIGURE_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "revenue_shortfall": "revenue shortfall (allowed less collected)",
        "revenue_shortfall_per_kwh": "revenue shortfall per kWh imported",
        "price_gini": "Gini index of network charges per kWh (0 is equal)",
        "price_jain": "Jain index of network charges per kWh (1 is equal)",
        "lowest_quintile_price": "network charges of the lowest consumption quintile",
        "lowest_quintile_relative_price": "the same over the mean of all",
        "community_saving_per_member": "saving per participant against no local trade",
        LOW_VOLTAGE_PEAK: "sum of the peaks of the low-voltage interfaces",
        LOW_VOLTAGE_REDUCTION: "reduction of the sum of low-voltage peaks",
        "peak_grid": "peak of the grid connection",
        "peak_reduction": "reduction of the peak of the grid connection",
        "curtailed": "curtailed generation",
        "voltage_hours": "bus hours out of the voltage band",
        "limits_met_share": "time in which all limits are met",
        "local_trade_share": "imported energy bought in local markets",
        "price_signal_strength": "price signal (highest less lowest price)",
        "rebound_rise": "rebound peak when low prices begin",
        "share_clearly_worse": "customers hit hard",
        "import": "energy imported",
        "export": "energy exported",
        "energy_not_served": "demand not met",
        "share_ratio": "energy shared among members over load",
        "energy_balance": "balance inside the community",
        "peak_import": "highest import",
        "peak_export": "highest export",
        "peak_import_no_trading": "highest import without trading",
        "peak_import_reduction": "reduction of the highest import",
        "unsold": "energy offered and sold to nobody",
        "peak_to_average_ratio": "peak over mean of the net demand",
        "loss": "network losses",
        "loss_ratio": "losses over what enters the network",
        "voltage_violation_rate": "bus slots out of the voltage band",
        "voltage_violation_depth": "worst distance to the voltage band, pu",
        "line_overload_hours": "line hours over the limit",
        "line_loading_max": "highest line loading",
        "trafo_overload_hours": "transformer hours over the limit",
        "trafo_loading_max": "highest transformer loading",
        "tap_steps": "steps of tap changers",
        "breach_energy": "accepted breaches of power limits",
        "breach_cost": "accepted breaches at their prices",
        "energy_residual": "energy handed to the level above",
        "liquidity": "traded over offered energy",
        "price_mean": "mean price",
        "relative_bill_change": "change of bills against no trading",
        **{
            f"bill_change_p{percent}": f"change of bills against no trading, {percent}th percentile"
            for percent in PERCENTILES
        },
        **{
            f"relative_bill_change_p{percent}": f"relative change of bills, {percent}th percentile"
            for percent in PERCENTILES
        },
        "retail_price_band": "retail price signal (highest less lowest price)",
        "price_band": "price signal (highest less lowest price)",
        "price_traded": "mean price of trades",
        "optimal_gain": "gain in the joint optimum",
        "welfare_share": "welfare share of the optimum",
        "value_tapping": "possible saving that was made",
        "bill": "bills in all",
        "bill_no_trading": "bills without trading",
        "effective_price": "price of a bought kWh, all in",
        "saving_per_agent": "mean saving a year",
        "low_consumers_relative_price": "price for the fifth that buys least, over that of all",
        "charge_recovery": "network charges over allowed cost",
        "willingness": "participants with a saving",
        "jain_saving": "Jain index of savings (1 is equal)",
        "gini_saving": "Gini index of savings (0 is equal)",
        "equality": "equality of savings (1 is equal)",
        "jain_price": "Jain index of effective prices (1 is equal)",
        "gini_price": "Gini index of effective prices (0 is equal)",
        "qoe": "fairness of effective prices (1 is equal)",
        "mim": "lowest over highest effective price",
        "overall": "overall index of Zhou, Wu, Long",
        "vehicle_energy": "energy charged by vehicles",
        "vehicle_energy_missed": "energy that vehicles lacked when they left",
        "short_departure_share": "departures of vehicles without their energy",
        "heat_pump_energy": "electricity of heat pumps",
        "heat_discomfort": "temperatures outside the comfort band",
        "heat_unmet": "heat demand not met",
        "appliance_energy": "energy of shiftable appliances",
        "appliance_energy_missed": "energy of missed jobs of appliances",
        "shared_battery_cycles": "full cycles of shared batteries",
        "shared_battery_losses": "losses of shared batteries",
        "imbalance_energy": "energy that differs from contracts",
        "imbalance_cost": "cost of imbalance",
        "forecast_mae": "mean absolute error of forecasts a slot",
        "forecast_wape": "error of forecasts over net energy",
        "member_forecast_mae": "mean absolute error of participants' forecasts a slot",
        "member_forecast_wape": "error of participants' forecasts over net energy",
        "flexibility_asked": "flexibility asked for",
        "flexibility_accepted": "flexibility bought",
        "flexibility_delivered": "flexibility delivered",
        "flexibility_unmet": "flexibility not delivered",
        "flexibility_delivered_share": "delivered over asked flexibility",
        "flexibility_cost": "paid for flexibility",
        "flexibility_income": "income of participants from flexibility",
        "transmission_operator_pays": "transmission system operator pays",
        "lookahead_value": "saved by looking ahead",
        "lookahead_regret": "lost to wrong forecasts",
        "stored_energy_end": "energy in store at the end",
        "stored_energy_end_no_trading": "energy in store at the end without trading",
        **{
            f"bill_share_{name}": f"share of bills: {name.replace('_', ' ')}"
            for name in BILL_COMPONENTS
        },
    }
)
"""Names of key figures; others go by their own without underscores."""
SHARES = (
    "revenue_recovery",
    "limits_met_share",
    "self_sufficiency",
    "local_trade_share",
    "share_clearly_worse",
    "peak_reduction",
    LOW_VOLTAGE_REDUCTION,
    "self_consumption",
    "peak_import_reduction",
    "share_ratio",
    "energy_balance",
    "loss_ratio",
    "voltage_violation_rate",
    "liquidity",
    "welfare_share",
    "value_tapping",
    "charge_recovery",
    "willingness",
    "short_departure_share",
    "forecast_wape",
    "member_forecast_wape",
    "flexibility_delivered_share",
    "relative_bill_change",
    *(f"relative_bill_change_p{percent}" for percent in PERCENTILES),
    *(f"bill_share_{name}" for name in BILL_COMPONENTS),
)
"""Key figures that are shown in percent."""


def figure_name(name: str) -> str:
    """Write the name of a key figure for people.

    Examples
    --------
    >>> figure_name("peak_grid"), figure_name("self_sufficiency")
    ('peak of the grid connection', 'self sufficiency')
    """
    return FIGURE_NAMES.get(name, name.replace("_", " "))


def figure_factor(name: str) -> float:
    """Return what values are multiplied by to be shown: 100 for a share, else 1."""
    return 100.0 if name in SHARES else 1.0


def figure_unit(name: str, unit: str) -> str:
    """Write the unit that a key figure is shown in; no unit as a dash.

    Examples
    --------
    >>> figure_unit("peak_reduction", "1"), figure_unit("losses", "kWh")
    ('%', 'kWh')
    """
    return "%" if name in SHARES else unit_for_people(unit)


def unit_for_people(unit: str) -> str:
    """Write a unit as reports write it: years as yr, no unit as a dash.

    Examples
    --------
    >>> unit_for_people("EUR/(kW a)"), unit_for_people("EUR/a"), unit_for_people("1")
    ('EUR/(kW yr)', 'EUR/yr', '-')
    >>> unit_for_people("percent")
    '%'
    """
    if unit == "percent":
        return "%"
    return "-" if unit == "1" else re.sub(r"\ba\b", "yr", unit)
