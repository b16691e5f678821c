"""Cases of messages: attempts until the gate, and bids that are late or lost."""

from __future__ import annotations

from math import inf
from typing import Any

from tricell.markets.message_delivery import (
    BidStatus,
    attempts_in_time,
    bid_status,
    earliest_copies_s,
    probability_in_time,
)


def attempts(case: dict[str, Any]) -> dict[str, Any]:
    count = attempts_in_time(case["t0"], case["gate"], case["latency"], case.get("retry", inf))
    return {"attempts": int(count), "p_on_time": float(probability_in_time(count, case["loss"]))}


def bids(case: dict[str, Any]) -> dict[str, Any]:
    messages = case["messages"]
    names = dict.fromkeys(each["bid"] for each in messages)
    number = {name: row for row, name in enumerate(names)}
    arrival = [inf if each.get("arrive") is None else each["arrive"] for each in messages]
    earliest = earliest_copies_s([number[each["bid"]] for each in messages], arrival, len(number))
    status = bid_status(earliest, case["gate"])
    return {"status": {name: BidStatus(status[row]).name for name, row in number.items()}}


ADAPTERS = {"M1_late_lost": attempts, "M1b_messages": bids}
