"""Cases of the baselines: retail, time of use, last resort."""

from __future__ import annotations

from typing import Any

import numpy as np

from tricell.markets.mechanisms.last_resort import settle_at_last_resort
from tricell.markets.mechanisms.retail_only import settle_at_retail
from tricell.markets.mechanisms.time_of_use import schedule_cost, schedule_flexible_load


def retail(case: dict[str, Any]) -> dict[str, Any]:
    agents = case["agents"]
    result = settle_at_retail(
        # a column for each agent, a row for each slot where the case has several
        np.array([np.subtract(each.get("load", 0.0), each.get("gen", 0.0)) for each in agents]).T,
        case["p_im"],
        case["p_ex"],
        network_fee=case.get("network_fee", 0.0),
        wholesale_price=case.get("wholesale", 0.0),
        is_curtailable=[bool(each.get("curtailable", False)) for each in agents],
        net_metering=case.get("net_metering", False),
    )
    return {
        "bills": {
            agent["id"]: bill for agent, bill in zip(agents, result.bill_eur.tolist(), strict=True)
        },
        "dso": result.network_eur,
        "retailer_margin": result.retailer_margin_eur,
        "wholesale": result.wholesale_eur,
    }


def time_of_use(case: dict[str, Any]) -> dict[str, Any]:
    plan = schedule_flexible_load(case["prices"], case["energy"], case.get("x_max", np.inf))
    if plan.energy_kwh is None or plan.cost_eur is None:
        return {"feasible": plan.is_feasible}
    baseline_cost = schedule_cost(case["prices"], case["baseline"])
    return {
        "baseline_cost": baseline_cost,
        "cost": plan.cost_eur,
        "feasible": plan.is_feasible,
        "saving": baseline_cost - plan.cost_eur,
        "schedule": plan.energy_kwh.tolist(),
    }


def last_resort(case: dict[str, Any]) -> dict[str, Any]:
    result = settle_at_last_resort(
        list(case["nets"].values()), case["p_im"], case["p_ex"], case.get("markup", 0.0)
    )
    return {
        "bills": dict(zip(case["nets"], result.bill_eur.tolist(), strict=True)),
        "price": result.price,
    }


ADAPTERS = {"A1_fit_retail": retail, "A2_tou": time_of_use, "J3_last_resort": last_resort}
