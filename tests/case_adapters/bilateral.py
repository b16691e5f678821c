"""Cases of bilateral contracts, consensus dispatch and tokens."""

from __future__ import annotations

from typing import Any

import numpy as np

from tricell.markets.mechanisms.bilateral_contract_network import (
    Contracts,
    agree_contracts,
    forward_settlement,
)
from tricell.markets.mechanisms.consensus_dispatch import (
    DispatchAgents,
    DispatchLinks,
    Rounds,
    dispatch_by_consensus,
)
from tricell.markets.mechanisms.energy_tokens import TokenBuyers, TokenOffers, assign_tokens
from tricell.markets.mechanisms.token_venues import VenueBid, sell_at_venues


def contract_network(case: dict[str, Any]) -> dict[str, Any]:
    sellers, buyers = list(case["sellers"]), list(case["buyers"])
    names = [contract["id"] for contract in case["contracts"]]
    result = agree_contracts(
        Contracts.of(
            names,
            [sellers.index(contract["seller"]) for contract in case["contracts"]],
            [buyers.index(contract["buyer"]) for contract in case["contracts"]],
            [contract.get("fee", 0.0) for contract in case["contracts"]],
        ),
        values=list(case["buyers"].values()),
        costs=list(case["sellers"].values()),
        start=case["start"],
        tick=case["tick"],
    )
    agreed = np.flatnonzero(result.agreed)
    return {
        "agreed": {names[row]: float(result.price[row]) for row in agreed},
        "iterations": result.iterations,
    }


def forward_settle(case: dict[str, Any]) -> dict[str, Any]:
    bill, real_time, rest = forward_settlement(
        forward_kwh=case["forward_q"],
        forward_price=case["forward_p"],
        actual_kwh=case["actual"],
        real_time_kwh=case.get("rt_q", 0.0),
        real_time_price=case.get("rt_p", 0.0),
        retail_price=case["p_im"],
        feed_in_price=case["p_ex"],
    )
    return {"bill": bill, "rt_volume": real_time, "residual": rest}


def consensus(case: dict[str, Any]) -> dict[str, Any]:
    agents, links = case["agents"], case["links"]
    names = [agent["id"] for agent in agents]

    def column(rows: list[dict[str, Any]], key: str, default: float = 0.0) -> Any:
        return np.array([row.get(key, default) for row in rows], dtype=np.float64)

    result = dispatch_by_consensus(
        DispatchAgents(
            slope=column(agents, "a"),
            intercept=column(agents, "b"),
            least_kwh=column(agents, "pmin"),
            most_kwh=column(agents, "pmax"),
        ),
        DispatchLinks(
            producer=np.array([names.index(link["from"]) for link in links], dtype=np.int64),
            consumer=np.array([names.index(link["to"]) for link in links], dtype=np.int64),
            producer_gamma=column(links, "gamma_from"),
            consumer_gamma=column(links, "gamma_to"),
        ),
        Rounds(rho=case.get("rho", 0.02)),
    )
    return {
        "social_cost": result.social_cost_eur,
        "trades": [
            {
                "from": link["from"],
                "to": link["to"],
                "q": float(energy),
                "price": None if np.isnan(price) else float(price),
            }
            for link, energy, price in zip(links, result.energy_kwh, result.price, strict=True)
        ],
    }


def _codes(names: list[Any]) -> dict[Any, int]:
    return {name: code for code, name in enumerate(dict.fromkeys(names))}


def tokens(case: dict[str, Any]) -> dict[str, Any]:
    sold, buyers = case["tokens"], case["buyers"]
    zones = _codes([each.get("zone") for each in (*sold, *buyers)])
    slots = _codes([each.get("slot") for each in (*sold, *buyers)])

    def numbers(key: str) -> Any:
        return np.array([each.get(key, 0.0) for each in buyers], dtype=np.float64)

    result = assign_tokens(
        TokenOffers(
            ask=np.array([each["ask"] for each in sold], dtype=np.float64),
            green=np.array([bool(each.get("green", 0)) for each in sold], dtype=np.bool_),
            zone=np.array([zones[each.get("zone")] for each in sold], dtype=np.int64),
            slot=np.array([slots[each.get("slot")] for each in sold], dtype=np.int64),
        ),
        TokenBuyers(
            base=numbers("base"),
            green_value=numbers("w_green"),
            zone_value=numbers("w_loc"),
            slot_value=numbers("w_time"),
            zone=np.array([zones[each.get("zone")] for each in buyers], dtype=np.int64),
            slot=np.array([slots[each.get("slot")] for each in buyers], dtype=np.int64),
            units=np.array([each.get("units", 1) for each in buyers], dtype=np.int64),
        ),
    )
    return {
        "expired": [sold[row]["id"] for row in result.unsold],
        "surplus": result.surplus_eur,
        "trades": [
            {"token": sold[token]["id"], "buyer": buyers[buyer]["id"], "price": float(price)}
            for token, buyer, price in zip(result.token, result.buyer, result.price, strict=True)
        ],
    }


def venues(case: dict[str, Any]) -> dict[str, Any]:
    sold = case["tokens"]
    bids = [
        VenueBid(
            venue=number,
            price=bid["p"],
            fee=venue.get("fee", 0.0),
            units=bid.get("left", 1),
            green_only=bid.get("green_only", False),
        )
        for number, venue in enumerate(case["venues"])
        for bid in venue["bids"]
    ]
    result = sell_at_venues(
        [token["ask"] for token in sold],
        [bool(token.get("green", 0)) for token in sold],
        bids,
        case["p_ex"],
    )
    return {
        "fills": [
            {"token": token["id"], "venue": case["venues"][bids[bid].venue]["id"], "net": net}
            for token, bid, net in zip(sold, result.bid, result.net_eur, strict=True)
            if bid >= 0
        ],
        "revenue": result.revenue_eur,
    }


ADAPTERS = {
    "D2_bilateral_network": contract_network,
    "D2s_forward_settle": forward_settle,
    "D3_mbed": consensus,
    "D4_tokens": tokens,
    "D4v_venue": venues,
}
