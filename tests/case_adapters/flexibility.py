"""Cases of storage and flexibility."""

from __future__ import annotations

from math import isinf
from typing import Any

import numpy as np

from tricell.markets.flexibility.battery import Battery
from tricell.markets.flexibility.battery_schedule import schedule_battery
from tricell.markets.flexibility.community_battery import use_community_battery
from tricell.markets.flexibility.ev_charging import Site, Vehicle, charge_vehicles
from tricell.markets.flexibility.flexibility_market import FlexibilityRequest, serve_requests
from tricell.markets.flexibility.mixed_integer import NoScheduleError
from tricell.markets.flexibility.multilevel_storage import StorageLevel, use_levels
from tricell.markets.flexibility.online_storage import Nanogrids, operate_cluster
from tricell.markets.flexibility.peak_shaving import shave_peak
from tricell.markets.flexibility.real_option import value_option
from tricell.markets.flexibility.storage_auction import auction_storage
from tricell.markets.order_table import Orders, is_order

INFEASIBLE = {"feasible": False}


def by_name(names: list[str], values: Any) -> dict[str, float]:
    return dict(zip(names, np.asarray(values).tolist(), strict=True))


def battery_of(case: dict[str, Any]) -> Battery:
    """Ratings of a battery with `eta_c` and `eta_d`; an `eta` alone is that of charging."""
    return Battery(
        capacity_kwh=case["cap"],
        power_kw=case["p"],
        stored_kwh=case.get("soc0", 0.0),
        end_kwh=case.get("soc_end", 0.0),
        charge_efficiency=case.get("eta_c", case.get("eta", 1.0)),
        discharge_efficiency=case.get("eta_d", 1.0),
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


def community_battery(case: dict[str, Any]) -> dict[str, Any]:
    """Meters that own no share are settled with the retailer alone."""
    members, nets = case["members"], case["nets"]
    names = list(dict.fromkeys([*members, *(name for slot in nets for name in slot)]))
    owners = [members.get(name, {}) for name in names]
    result = use_community_battery(
        np.array([[slot.get(name, 0.0) for name in names] for slot in nets]).reshape(
            -1, len(names)
        ),
        [owner.get("share", 0.0) for owner in owners],
        battery_of(case["battery"]),
        import_price=case["p_im"],
        export_price=case["p_ex"],
        fee=case.get("fee", 0.0),
        stored_kwh=[owner.get("soc0", 0.0) for owner in owners],
        hours=case.get("dt", 1.0),
        names=names,
    )
    stored = by_name(names, result.stored_kwh[-1]) if nets else {}
    return {
        "bills": by_name(names, result.bill_eur),
        "operator_revenue": result.operator_revenue_eur,
        "soc": {name: stored.get(name, members[name].get("soc0", 0.0)) for name in members},
    }


def storage_auction(case: dict[str, Any]) -> dict[str, Any]:
    households = [ru for ru in case["rus"] if is_order(ru["q"], ru["r"])]
    facilities = [sfc for sfc in case["sfcs"] if is_order(sfc["Q"], sfc["a"])]
    both = [*households, *facilities]
    orders = Orders.of(
        id=[each["id"] for each in both],
        side=[-1.0] * len(households) + [1.0] * len(facilities),
        energy_kwh=[*(ru["q"] for ru in households), *(sfc["Q"] for sfc in facilities)],
        price_eur_per_kwh=[*(ru["r"] for ru in households), *(sfc["a"] for sfc in facilities)],
        time=[each.get("t", 0) for each in both],
    )
    result = auction_storage(orders, case["theta"])
    lenders = orders.id[result.households].tolist()
    renters = orders.id[result.facilities].tolist()
    return {
        "allocation": by_name(lenders, result.lent_kwh[result.households]),
        "offered": by_name(lenders, result.offered_kwh[result.households]),
        "participants": [*lenders, *renters],
        "payments": by_name(lenders, result.earned_eur[result.households]),
        "price": result.price,
        "sfc_share": by_name(renters, result.rented_kwh[result.facilities]),
    }


def multilevel_storage(case: dict[str, Any]) -> dict[str, Any]:
    levels = [
        StorageLevel(
            name=level["id"],
            capacity_kwh=level["cap"],
            power_kw=level["p"],
            efficiency=level.get("eta", 1.0),
            fee=level.get("fee", 0.0),
            stored_kwh=level.get("soc", 0.0),
        )
        for level in case["levels"]
    ]
    names = [level.name for level in levels]
    nets = np.array(case["nets"], dtype=np.float64).reshape(-1, 1)
    result = use_levels(nets, levels, case.get("dt", 1.0))
    used = (result.charge_kwh + result.draw_kwh)[:, :, 0]
    grid = (result.import_kwh + result.export_kwh)[:, 0]
    stored = result.stored_kwh[-1, :, 0] if len(nets) else [each.stored_kwh for each in levels]
    return {
        "exports": float(result.export_kwh.sum()),
        "fees": float(result.fee_eur.sum()),
        "imports": float(result.import_kwh.sum()),
        "log": [
            {"grid": float(left), "use": by_name(names, row)}
            for left, row in zip(grid, used, strict=True)
        ],
        "soc": by_name(names, stored),
    }


def flexibility_market(case: dict[str, Any]) -> dict[str, Any]:
    offers = [each for each in case["offers"] if is_order(each["q"], each["price"])]
    orders = Orders.of(
        id=[each["id"] for each in offers],
        side=[-1.0] * len(offers),
        energy_kwh=[each["q"] for each in offers],
        price_eur_per_kwh=[each["price"] for each in offers],
        time=[each.get("t", 0) for each in offers],
    )
    request = FlexibilityRequest(
        "DSO",
        case["need"],
        np.array([each.get("sens", 1.0) for each in offers], dtype=np.float64),
        case.get("pricing", "pay_as_bid"),
        case.get("threshold", 0.0),
    )
    baseline = [each.get("baseline", 0.0) for each in offers]
    meter = [each.get("meter", 0.0) for each in offers]
    (result,) = serve_requests(orders, [request], baseline, meter)
    taken = result.purchase.accepted_kwh > 0.0
    names = orders.id[taken].tolist()
    return {
        "accepted": by_name(names, result.purchase.accepted_kwh[taken]),
        "clearing": result.purchase.clearing_price,
        "delivered": by_name(names, result.delivered_kwh[taken]),
        "dso_cost": result.cost_eur,
        "payments": by_name(names, result.payment_eur[taken]),
        "unmet": result.purchase.unmet_kwh,
    }


def peak_shaving(case: dict[str, Any]) -> dict[str, Any]:
    result = shave_peak(
        case["load"], battery_of(case["battery"]), case["capacity_tariff"], case.get("dt", 1.0)
    )
    return {
        "capacity_saving": result.saving_eur,
        "peak_after": result.peak_after_kw,
        "peak_before": result.peak_before_kw,
        "shaved": result.shaved_kw,
    }


def online_storage(case: dict[str, Any]) -> dict[str, Any]:
    nanogrids = case["nanogrids"]

    def column(name: str) -> Any:
        return np.array([each[name] for each in nanogrids], dtype=np.float64)

    names = [each["id"] for each in nanogrids]
    cluster = Nanogrids(
        column("net"), column("B"), column("cap"), column("rate"), column("theta"), names
    )
    result = operate_cluster(
        cluster, case["V"], import_price=case["p_im"], export_price=case["p_ex"]
    )
    return {
        "battery": by_name(names, result.battery_kwh),
        "cost": result.cost_eur,
        "exports": result.export_kwh,
        "imports": result.import_kwh,
    }


def real_option(case: dict[str, Any]) -> dict[str, Any]:
    result = value_option(
        case["V"],
        case["I"],
        drift=case["alpha"],
        volatility=case["sigma"],
        discount=case["rho"],
    )
    return {
        "beta": None if isinf(result.beta) else result.beta,
        "invest_now": bool(result.invest_now),
        "min_subsidy": float(result.subsidy_eur),
        "trigger": float(result.trigger_eur),
    }


def ev_charging(case: dict[str, Any]) -> dict[str, Any]:
    vehicles = [
        Vehicle(ev["id"], ev["arrive"], ev["depart"], ev["need"], ev["p"]) for ev in case["evs"]
    ]
    site = Site.of(case["price"], case.get("cap", np.inf), hours=case.get("dt", 1.0))
    try:
        plan = charge_vehicles(site, vehicles)
    except NoScheduleError:
        return INFEASIBLE
    return {"cost": plan.cost_eur, "feasible": True, "total_by_slot": plan.total_kwh.tolist()}


ADAPTERS = {
    "I1_battery": battery_schedule,
    "I2_community_battery": community_battery,
    "I3_storage_auction": storage_auction,
    "I4_multilevel": multilevel_storage,
    "I5_flex": flexibility_market,
    "I6_peakshave": peak_shaving,
    "I7_lyapunov": online_storage,
    "I8_real_option": real_option,
    "I9_ev": ev_charging,
}
