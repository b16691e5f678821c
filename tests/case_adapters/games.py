"""Cases of the games between agents."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.markets.mechanisms.bidding_equilibrium import bidding_equilibrium
from tricell.markets.mechanisms.coalition_formation import coalition_formation
from tricell.markets.mechanisms.coalition_graph import coalition_graph
from tricell.markets.mechanisms.coalition_value_sharing import coalition_value_sharing
from tricell.markets.mechanisms.leader_price import Followers, leader_price
from tricell.markets.mechanisms.replicator_sellers import replicator_sellers
from tricell.markets.order_table import Orders

SIDES = {"buy": 1.0, "sell": -1.0}


def stackelberg(case: dict[str, Any]) -> dict[str, Any]:
    listed = case["followers"]
    followers = Followers.of(
        np.array([each["v"] for each in listed]),
        np.array([each["theta"] for each in listed]),
        np.array([_or_infinite(each.get("cap")) for each in listed]),
    )
    decision = leader_price(
        followers,
        case["cost"],
        case["p_lo"],
        case["p_hi"],
        _or_infinite(case.get("grid_cap")),
    )
    if decision is None:
        return {"feasible": False}
    return {
        "feasible": True,
        "price": decision.price,
        "profit": decision.profit_eur,
        "demand": _by_id([each["id"] for each in listed], decision.demand_kwh),
    }


def nash(case: dict[str, Any]) -> dict[str, Any]:
    players, fixed = case["players"], case.get("fixed", [])
    everybody = [*players, *fixed]
    orders = Orders.of(
        id=[each["id"] for each in everybody],
        side=[SIDES[each["side"]] for each in everybody],
        energy_kwh=[each["q"] for each in everybody],
        price_eur_per_kwh=[each["start"] for each in players] + [each["p"] for each in fixed],
        time=[each.get("t", 0) for each in everybody],
    )
    outcome = bidding_equilibrium(
        orders,
        np.arange(len(players)),
        [each["true"] for each in players],
        case["grid"],
        k=case.get("k", 0.0),
        max_rounds=case.get("maxit", 500),
    )
    ids = [each["id"] for each in players]
    return {
        "bids": _by_id(ids, outcome.bid),
        "payoffs": _by_id(ids, outcome.payoff_eur),
        "price": outcome.market.buy_price,
        "rounds": outcome.rounds,
        "converged": outcome.converged,
    }


def coalition_shares(case: dict[str, Any]) -> dict[str, Any]:
    ids, nets = _nets(case["nets"])
    shares = coalition_value_sharing(nets, case["p_im"], case["p_ex"], seed=case.get("seed", 0))
    return {
        "v_grand": shares.saving_eur,
        "shapley": _by_id(ids, shares.shapley_eur),
        "nucleolus": _by_id(ids, shares.nucleolus_eur)
        if shares.nucleolus_eur is not None
        else None,
        "shapley_in_core": shares.shapley_in_core,
        "least_core_eps": shares.least_core_epsilon_eur,
        "core_nonempty": shares.core_nonempty,
    }


def formation(case: dict[str, Any]) -> dict[str, Any]:
    ids, nets = _nets(case["nets"])
    formed = coalition_formation(
        nets,
        case["p_im"],
        case["p_ex"],
        membership_cost=case.get("kappa", 0.0),
        largest_size=case.get("max_size", 99),
    )
    return {
        "partition": [[ids[member] for member in members] for members in formed.partition],
        "bills": _by_id(ids, formed.bill_eur + formed.membership_eur),
    }


def myerson(case: dict[str, Any]) -> dict[str, Any]:
    ids, nets = _nets(case["nets"])
    links = [[ids.index(one), ids.index(other)] for one, other in case["links"]]
    shares = coalition_graph(
        nets, np.array(links, dtype=np.int64), case["p_im"], case["p_ex"], seed=case.get("seed", 0)
    )
    return {"v_grand": shares.saving_eur, "myerson": _by_id(ids, shares.myerson_eur)}


def replicator(case: dict[str, Any]) -> dict[str, Any]:
    sellers = case["sellers"]
    limit = {"max_steps": case["maxit"]} if "maxit" in case else {}
    shares = replicator_sellers(
        [each["p"] for each in sellers],
        [each["S"] for each in sellers],
        demand_kwh=case["D"],
        value=case["v"],
        crowding=case["theta"],
        step=case["eta"],
        **limit,
    )
    ids = [each["id"] for each in sellers]
    return {"state": _by_id(ids, shares.share), "demand": _by_id(ids, shares.demand_kwh)}


def _nets(nets: dict[str, float] | list[dict[str, float]]) -> tuple[list[str], NDArray[np.float64]]:
    """Ids, sorted, and nets of each slot; who is missing in a slot has none."""
    slots = nets if isinstance(nets, list) else [nets]
    ids = sorted({name for slot in slots for name in slot})
    table = [[slot.get(name, 0.0) for name in ids] for slot in slots]
    return ids, np.array(table, dtype=np.float64).reshape(len(slots), len(ids))


def _or_infinite(limit: float | None) -> float:
    return np.inf if limit is None else limit


def _by_id(ids: list[str], values: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(ids, values.tolist(), strict=True))


ADAPTERS = {
    "F1_stackelberg": stackelberg,
    "F2_nash": nash,
    "F3_coop": coalition_shares,
    "F4_formation": formation,
    "F5_myerson": myerson,
    "F6_replicator": replicator,
}
