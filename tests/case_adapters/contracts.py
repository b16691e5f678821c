"""Cases of contracts between two agents, and of the negotiation of their price."""

from __future__ import annotations

from typing import Any

from tricell.markets.mechanisms.bilateral_contracts import BilateralContract, settle_contracts
from tricell.markets.mechanisms.price_negotiation import Concession, negotiate


def contract(each: dict[str, Any]) -> BilateralContract:
    return BilateralContract(
        id=each["id"],
        seller=each["seller"],
        buyer=each["buyer"],
        price=each.get("price"),
        index_offset=each.get("a", 0.0),
        index_factor=each.get("b", 0.0),
        floor=each.get("floor"),
        ceiling=each.get("ceil"),
        cap_kwh=each.get("cap"),
        priority=each.get("priority", 0),
    )


def if_then(case: dict[str, Any]) -> dict[str, Any]:
    result = settle_contracts(
        list(case["nets"].values()),
        [contract(each) for each in case["contracts"]],
        list(case["nets"]),
        retail_price=case["p_im"],
        feed_in_price=case["p_ex"],
        index=case.get("index"),
    )
    done = result.deliveries
    return {
        "bills": dict(zip(case["nets"], result.bill_eur.tolist(), strict=True)),
        "trades": [
            {"id": each.id, "p": price, "q": energy}
            for each, price, energy in zip(
                done.contracts, done.price.tolist(), done.energy_kwh.tolist(), strict=True
            )
        ],
    }


def negotiation(case: dict[str, Any]) -> dict[str, Any]:
    result = negotiate(
        Concession(**case["buyer"]), Concession(**case["seller"]), rounds=case["rounds"]
    )
    return {
        "ask": result.ask,
        "bid": result.bid,
        "deal": result.price is not None,
        "price": result.price,
        "round": result.round,
    }


ADAPTERS = {"D1_ifthen": if_then, "D1n_negotiate": negotiation}
