"""Cases of the continuous double auction, the randomly halved and the Vickrey double auction."""

from __future__ import annotations

from typing import Any

import numpy as np

from tricell.markets.mechanism import MarketTerms
from tricell.markets.mechanisms.continuous_double_auction import (
    Cancel,
    Change,
    NewOrder,
    OrderEvent,
    play_order_events,
)
from tricell.markets.mechanisms.random_halves import draw_halves, trade_in_halves
from tricell.markets.mechanisms.vickrey import Vickrey
from tricell.markets.order_table import Orders, is_order

SIDES = {"buy": 1.0, "sell": -1.0}
CHANGES = ("change", "amend", "modify", "update", "replace")


def continuous_double_auction(case: dict[str, Any]) -> dict[str, Any]:
    names = {str(e["agent"]) for e in case["orders"] if e.get("agent") is not None}
    agents = {name: number for number, name in enumerate(sorted(names))}
    session = play_order_events(
        [_event(event, agents) for event in case["orders"] if _is_event(event)]
    )
    return {
        "trades": [
            {"buy": deal.buy, "sell": deal.sell, "q": deal.energy_kwh, "p": deal.price_eur_per_kwh}
            for deal in session.deals
        ],
        "book": session.book_kwh,
    }


def _is_event(event: dict[str, Any]) -> bool:
    return "side" not in event or is_order(event["q"], event["p"])


def _event(event: dict[str, Any], agents: dict[str, int]) -> OrderEvent:
    if "cancel" in event:
        return Cancel(event["cancel"])
    for word in CHANGES:
        if word in event:
            return Change(event[word], event.get("q"), event.get("p"))
    if "side" not in event:
        return Change(event["id"], event.get("q"), event.get("p"))
    return NewOrder(
        event["id"],
        SIDES[event["side"]],
        event["q"],
        event["p"],
        agents.get(str(event.get("agent")), -1),
    )


def valid(bids: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [bid for bid in bids if is_order(bid["q"], bid["p"])]


def by_id(bids: list[dict[str, Any]], orders: Orders, values: Any) -> dict[str, float]:
    """Values of all bids; invalid ones stay idle."""
    idle = {bid["id"]: 0.0 for bid in bids}
    return idle | dict(zip(orders.id.tolist(), values.tolist(), strict=True))


def orders_of(bids: list[dict[str, Any]]) -> Orders:
    """Columns of the valid ones of a list of bids; bids of the same `agent` share a number."""
    bids = valid(bids)
    names = {str(bid["agent"]) for bid in bids if bid.get("agent") is not None}
    agents = {name: number for number, name in enumerate(sorted(names))}
    return Orders.of(
        id=[bid["id"] for bid in bids],
        side=[SIDES[bid["side"]] for bid in bids],
        energy_kwh=[bid["q"] for bid in bids],
        price_eur_per_kwh=[bid["p"] for bid in bids],
        time=[bid.get("t", 0) for bid in bids],
        agent=[agents.get(str(bid.get("agent")), -1) for bid in bids],
    )


def random_halves(case: dict[str, Any]) -> dict[str, Any]:
    orders = orders_of(case["bids"])
    owners = [str(bid.get("agent", bid["id"])) for bid in valid(case["bids"])]
    left, rank = draw_halves(orders, case.get("seed", 0))
    right = ~left
    if "partition" in case:
        left = np.array([owner in case["partition"]["left"] for owner in owners], dtype=bool)
        right = np.array([owner in case["partition"]["right"] for owner in owners], dtype=bool)
    if "lottery" in case:
        places = {str(agent): place for place, agent in enumerate(case["lottery"])}
        rank = np.array([places.get(owner, len(places)) for owner in owners], dtype=np.int64)
    result = trade_in_halves(orders, left, rank, right)
    return {
        "accepted": by_id(case["bids"], orders, result.accepted_kwh),
        "price_left": result.price_left,
        "price_right": result.price_right,
        "volume_left": result.volume_left_kwh,
        "volume_right": result.volume_right_kwh,
    }


def vickrey(case: dict[str, Any]) -> dict[str, Any]:
    orders = orders_of(case["bids"])
    result = Vickrey().clear(orders, MarketTerms())
    return {
        "accepted": by_id(case["bids"], orders, result.accepted_kwh),
        "payments": by_id(case["bids"], orders, result.payment_eur),
        "welfare": result.welfare_eur,
        "deficit": -result.operator_surplus_eur,
    }


ADAPTERS = {
    "B4_cda": continuous_double_auction,
    "B6_muda": random_halves,
    "B7_vcg": vickrey,
}
