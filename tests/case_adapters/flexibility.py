"""Cases of storage and flexibility."""

from __future__ import annotations

from typing import Any

from tricell.markets.flexibility.battery import Battery
from tricell.markets.flexibility.battery_schedule import schedule_battery
from tricell.markets.flexibility.mixed_integer import NoScheduleError

INFEASIBLE = {"feasible": False}


def battery_of(case: dict[str, Any]) -> Battery:
    """Ratings of a battery with one `eta` for both ways, or one for each."""
    eta = case.get("eta", 1.0)
    return Battery(
        capacity_kwh=case["cap"],
        power_kw=case["p"],
        stored_kwh=case.get("soc0", 0.0),
        end_kwh=case.get("soc_end", 0.0),
        charge_efficiency=case.get("eta_c", eta),
        discharge_efficiency=case.get("eta_d", eta),
        wear_eur_per_kwh=case.get("wear", 0.0),
    )


def battery_schedule(case: dict[str, Any]) -> dict[str, Any]:
    battery = case["battery"] | {key: case[key] for key in ("wear", "soc_end") if key in case}
    hours = case.get("dt", case["battery"].get("dt", 1.0))
    try:
        result = schedule_battery(
            case["nets"], case["p_im"], case["p_ex"], battery_of(battery), hours
        )
    except NoScheduleError:
        return INFEASIBLE
    return {
        "cost": result.cost_eur,
        "cost_without": result.cost_without_eur,
        "saving": result.saving_eur,
    }


ADAPTERS = {
    "I1_battery": battery_schedule,
}
