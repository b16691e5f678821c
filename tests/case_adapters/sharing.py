"""Cases of the sharing rules and of posted listings."""

from __future__ import annotations

from typing import Any

from tricell.markets.mechanism import MarketTerms
from tricell.markets.mechanisms.bill_sharing import bill_sharing
from tricell.markets.mechanisms.mid_market_rate import mid_market_rate
from tricell.markets.mechanisms.posted_listings import PostedListings, settle_listings
from tricell.markets.mechanisms.supply_demand_ratio import supply_demand_ratio
from tricell.markets.order_table import Orders
from tricell.markets.sharing import SharingResult


def answer(case: dict[str, Any], result: SharingResult) -> dict[str, Any]:
    return {
        "bills": dict(zip(case["nets"], result.bill_eur.tolist(), strict=True)),
        "imbalance": result.imbalance_eur,
        "p_buy": result.buy_price,
        "p_sell": result.sell_price,
        "retailer_net": result.retailer_net_eur,
    }


def bill_share(case: dict[str, Any]) -> dict[str, Any]:
    return answer(case, bill_sharing(list(case["nets"].values()), case["p_im"], case["p_ex"]))


def mid_market(case: dict[str, Any]) -> dict[str, Any]:
    return answer(case, mid_market_rate(list(case["nets"].values()), case["p_im"], case["p_ex"]))


def ratio(case: dict[str, Any]) -> dict[str, Any]:
    result = supply_demand_ratio(
        list(case["nets"].values()), case["p_im"], case["p_ex"], case.get("lam", 0.0)
    )
    return {
        **answer(case, result),
        "fallback": "fallback" in result.flags,
        "sdr": result.supply_demand_ratio,
    }


def listings(case: dict[str, Any]) -> dict[str, Any]:
    posted, ordered = case["listings"], case["orders"]
    feeders = {
        name: number for number, name in enumerate({each.get("feeder"): 0 for each in posted})
    }
    n_buy, n_sell = len(ordered), len(posted)
    orders = Orders.of(
        id=[f"order {each['id']}" for each in ordered] + [f"listing {e['id']}" for e in posted],
        side=[1.0] * n_buy + [-1.0] * n_sell,
        energy_kwh=[each["q"] for each in (*ordered, *posted)],
        price_eur_per_kwh=[each.get("p_max", case["p_im"]) for each in ordered]
        + [each["p"] for each in posted],
        time=[*range(n_buy), *range(n_sell)],
        node=[-1] * n_buy + [feeders[each.get("feeder")] for each in posted],
    )
    limits = case.get("limits") or {}
    market = PostedListings(
        network_check=case.get("mode", "reject"),
        feeder_limit_kwh={feeders[name]: limits[name] for name in limits if name in feeders},
    )
    result = market.clear(orders, MarketTerms(retail_price=case["p_im"]))
    bills = settle_listings(orders, result, case["p_im"])
    unsold = orders.energy_kwh - result.accepted_kwh
    sellers = [each["id"] for each in posted]
    return {
        "bills": {each["id"]: float(bills[row]) for row, each in enumerate(ordered)},
        "orders": [
            {
                "order": each["id"],
                "p2p": float(result.accepted_kwh[row]),
                "rejected": bool(result.rejected[row]),
            }
            for row, each in enumerate(ordered)
        ],
        "seller_p2p": dict(zip(sellers, (-result.payment_eur[n_buy:]).tolist(), strict=True)),
        "unsold": dict(zip(sellers, unsold[n_buy:].tolist(), strict=True)),
    }


ADAPTERS = {
    "C1_billshare": bill_share,
    "C2_mmr": mid_market,
    "C3_sdr": ratio,
    "C4_elecbay": listings,
}
