"""Cases of the sharing rules and of posted listings."""

from __future__ import annotations

from typing import Any

from tricell.markets.mechanisms.bill_sharing import bill_sharing
from tricell.markets.mechanisms.mid_market_rate import mid_market_rate
from tricell.markets.mechanisms.supply_demand_ratio import supply_demand_ratio
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


ADAPTERS = {"C1_billshare": bill_share, "C2_mmr": mid_market, "C3_sdr": ratio}
