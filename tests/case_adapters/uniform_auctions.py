"""Cases of the auctions with one price."""

from __future__ import annotations

from typing import Any

from tricell.markets.mechanism import MarketTerms
from tricell.markets.mechanisms.uniform_price import UniformPrice
from tricell.markets.order_table import Orders, is_order

SIDES = {"buy": 1.0, "sell": -1.0}


def valid(bids: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [bid for bid in bids if is_order(bid["q"], bid["p"])]


def by_id(bids: list[dict[str, Any]], orders: Orders, values: Any) -> dict[str, float]:
    """Values of all bids; invalid ones stay idle."""
    idle = {bid["id"]: 0.0 for bid in bids}
    return idle | dict(zip(orders.id.tolist(), values.tolist(), strict=True))


def orders_of(bids: list[dict[str, Any]]) -> Orders:
    """Columns of the valid ones of a list of bids; bids of the same `agent` share a number."""
    bids = valid(bids)
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
        "accepted": by_id(case["bids"], orders, result.accepted_kwh),
        "payments": by_id(case["bids"], orders, result.payment_eur),
        "price": result.buy_price,
        "volume": result.volume_kwh(orders),
        "welfare": result.welfare_eur,
    }


ADAPTERS = {"B1_uniform": uniform_price}
