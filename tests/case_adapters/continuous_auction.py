"""Cases of the continuous double auction: events, not books."""

from __future__ import annotations

from typing import Any

from tricell.markets.mechanisms.continuous_double_auction import (
    Cancel,
    Change,
    NewOrder,
    OrderEvent,
    play_order_events,
)
from tricell.markets.order_table import is_order

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


ADAPTERS = {"B4_cda": continuous_double_auction}
