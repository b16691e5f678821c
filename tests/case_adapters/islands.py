"""Cases of island operation."""

from __future__ import annotations

from typing import Any

from tricell.markets.mechanism import MarketTerms
from tricell.markets.mechanisms.island_operation import IslandOperation
from tricell.markets.order_table import Orders

CRITICAL = 0


def island(case: dict[str, Any]) -> dict[str, Any]:
    loads, supply = ([each for each in case[side] if each["q"] > 0] for side in ("loads", "supply"))
    idle = {each["id"]: 0.0 for each in case["loads"]}
    both = [*loads, *supply]
    orders = Orders.of(
        id=[each["id"] for each in both],
        side=[1.0] * len(loads) + [-1.0] * len(supply),
        energy_kwh=[each["q"] for each in both],
        price_eur_per_kwh=[each.get("p", 0.0) for each in both],
        time=[each.get("t", 0) for each in both],
        attributes={"critical": [float(each.get("cls") == CRITICAL) for each in both]},
    )
    market = IslandOperation(
        value_of_lost_load=case.get("voll", 3.0),
        grid_forming=case.get("grid_forming", True),
        reserve_kwh=case.get("reserve"),
    )
    result = market.clear(orders, MarketTerms())
    ids = orders.id[: len(loads)].tolist()
    return {
        "served": idle | dict(zip(ids, result.accepted_kwh.tolist(), strict=False)),
        "shed": idle | dict(zip(ids, result.shed_kwh.tolist(), strict=False)),
        "payments": idle | dict(zip(ids, result.payment_eur.tolist(), strict=False)),
        "price": result.buy_price,
        "unused_supply": result.unused_supply_kwh,
        "ens_critical": result.energy_not_served_critical_kwh,
        **({"blackout": result.blackout} if {"grid_forming", "reserve"} & case.keys() else {}),
    }


ADAPTERS = {"J2_island": island}
