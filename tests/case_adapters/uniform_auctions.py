"""Cases of the auctions with one price."""

from __future__ import annotations

from typing import Any

from tricell.markets.mechanism import MarketTerms
from tricell.markets.mechanisms.uniform_price import UniformPrice
from tricell.markets.order_table import Orders

SIDES = {"buy": 1.0, "sell": -1.0}


def orders_of(bids: list[dict[str, Any]]) -> Orders:
    """Columns of a list of bids; bids of the same `agent` share a number."""
    agents = {name: n for n, name in enumerate(sorted({b["agent"] for b in bids if "agent" in b}))}
    return Orders.of(
        id=[bid["id"] for bid in bids],
        side=[SIDES[bid["side"]] for bid in bids],
        energy_kwh=[bid["q"] for bid in bids],
        price_eur_per_kwh=[bid["p"] for bid in bids],
        time=[bid.get("t", 0) for bid in bids],
        agent=[agents.get(bid.get("agent", ""), -1) for bid in bids],
    )


def uniform_price(case: dict[str, Any]) -> dict[str, Any]:
    orders = orders_of(case["bids"])
    result = UniformPrice(k=case.get("k", 0.5)).clear(orders, MarketTerms())
    return {
        "accepted": dict(zip(orders.id.tolist(), result.accepted_kwh.tolist(), strict=True)),
        "payments": dict(zip(orders.id.tolist(), result.payment_eur.tolist(), strict=True)),
        "price": result.buy_price,
        "volume": result.volume_kwh(orders),
        "welfare": result.welfare_eur,
    }


ADAPTERS = {"B1_uniform": uniform_price}
