"""Cases of communities."""

from __future__ import annotations

from typing import Any

import numpy as np

from tricell.markets.mechanisms.community_manager import CommunityMembers, operate_community
from tricell.markets.mechanisms.composite_market import trade_residuals
from tricell.markets.mechanisms.group_privacy import published_sums
from tricell.markets.order_table import Orders

SIDES = {"buy": 1.0, "sell": -1.0}


def limits(member: dict[str, Any]) -> tuple[float, float]:
    if member["type"] == "gen":
        return 0.0, member["pmax"]
    if member["type"] == "load":
        return -member["cmax"], 0.0
    return -member["net"], -member["net"]


def community(case: dict[str, Any]) -> dict[str, Any]:
    members = case["members"]
    names = [member["id"] for member in members]
    bounds = np.array([limits(member) for member in members], dtype=np.float64).reshape(-1, 2)
    result = operate_community(
        CommunityMembers(
            slope=np.array([member.get("a", 0.0) for member in members], dtype=np.float64),
            intercept=np.array([member.get("b", 0.0) for member in members], dtype=np.float64),
            least_kwh=bounds[:, 0],
            most_kwh=bounds[:, 1],
        ),
        case["p_im"],
        case["p_ex"],
    )
    return {
        "bills": dict(zip(names, result.bill_eur.tolist(), strict=True)),
        "exports": result.exports_kwh,
        "imports": result.imports_kwh,
        "injection": dict(zip(names, result.injection_kwh.tolist(), strict=True)),
        "price": result.price,
    }


def composite(case: dict[str, Any]) -> dict[str, Any]:
    communities, peers = case["communities"], case.get("independents", [])
    names = [each["id"] for each in communities]
    residual = np.array([sum(each["nets"].values()) for each in communities], dtype=np.float64)
    result = trade_residuals(
        names,
        residual,
        Orders.of(
            id=[peer["id"] for peer in peers],
            side=[SIDES[peer["side"]] for peer in peers],
            energy_kwh=[peer["q"] for peer in peers],
            price_eur_per_kwh=[peer["p"] for peer in peers],
            time=[peer.get("t", 0) for peer in peers],
        ),
        retail_price=case["p_im"],
        feed_in_price=case["p_ex"],
        fee=case.get("fee", 0.0),
        k=case.get("k", 0.5),
    )
    everybody = [*names, *(peer["id"] for peer in peers)]
    return {
        "accepted": dict(zip(everybody, result.accepted_kwh.tolist(), strict=True)),
        "dso_fee": result.fee_eur,
        "price": result.price,
        "residual_of": dict(zip(names, residual.tolist(), strict=True)),
        "to_retailer": dict(zip(everybody, result.to_retailer_kwh.tolist(), strict=True)),
        "volume": result.volume_kwh,
    }


def privacy(case: dict[str, Any]) -> dict[str, Any]:
    return {"published": published_sums(case["values"], case["groups"], case["k"])}


ADAPTERS = {"E1_community": community, "E2_composite": composite, "E3_privacy": privacy}
