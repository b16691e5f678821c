"""Cases of charges on given trades: by distance, by nodal price, by sensitivity."""

from __future__ import annotations

from typing import Any

import numpy as np

from tricell.markets.charges.congestion_rent import nodal_price_charges
from tricell.markets.charges.sensitivity_charge import sensitivity_fees
from tricell.markets.loss_factors import marginal_loss_factors, path_flows_kw
from tricell.markets.trade_fees import recover_cost
from tricell.markets.trade_paths import (
    Branches,
    root_paths,
    thevenin_distance,
    transfer_factors,
    tree_paths,
    zones_on_paths,
)


def exogenous(case: dict[str, Any]) -> dict[str, Any]:
    ends = [(str(line["from"]), str(line["to"])) for line in case.get("lines", [])]
    trades = case["trades"]
    at = [str(trade[side]) for trade in trades for side in ("seller", "buyer")]
    names = list(dict.fromkeys([*(name for pair in ends for name in pair), *at]))
    branches = network(names, ends)
    seller, buyer = sides(names, trades)
    fees = recover_cost(
        case["cost"],
        distances(case, names, branches, seller, buyer),
        energies(trades),
        case["n_agents"],
        unit_fee=case.get("unit_fee"),
        u_max=case["u_max"] if case.get("u_max") is not None else np.inf,
    )
    return {
        "distance": by_trade(trades, distances(case, names, branches, seller, buyer)),
        "fees": by_trade(trades, fees.fee_eur),
        "per_side": by_trade(trades, fees.per_side_eur),
        "recovered": fees.recovered_eur,
        "residual_per_agent": fees.residual_eur_per_agent,
        "unit_fee": fees.unit_fee,
    }


def distances(
    case: dict[str, Any], names: list[str], branches: Branches, seller: Any, buyer: Any
) -> Any:
    if case["policy"] == "unique":
        return np.ones(len(seller))
    if case["policy"] == "zonal":
        zones = {str(name): zone for name, zone in case["zones"].items()}
        labels = list(dict.fromkeys(zones.values()))
        zone = np.array([labels.index(zones[name]) for name in names])
        return zones_on_paths(branches, zone, seller, buyer)
    used = np.abs(tree_paths(branches, seller, buyer))
    if case["policy"] == "ptd":
        return used.sum(axis=1)
    return used @ np.abs([complex(x.get("r", 0.0), x.get("x", 0.0)) for x in case["lines"]])


def meshed(case: dict[str, Any]) -> dict[str, Any]:
    ends = [(str(line["from"]), str(line["to"])) for line in case["lines"]]
    names = list(dict.fromkeys(name for pair in ends for name in pair))
    branches = network(names, ends)
    seller, buyer = (np.array([names.index(str(case[side]))]) for side in ("from", "to"))
    reactance = np.array([line["x"] for line in case["lines"]], np.float64)
    impedance = np.array([complex(line.get("r", 0.0), line["x"]) for line in case["lines"]])
    factors = transfer_factors(branches, reactance, seller, buyer)[0]
    labels = [f"{line['from']}-{line['to']}" for line in case["lines"]]
    return {
        "ptd": float(np.abs(factors).sum()),
        "ptdf": dict(zip(labels, factors.tolist(), strict=True)),
        "thevenin": float(thevenin_distance(branches, impedance, seller, buyer)[0]),
    }


def nodal(case: dict[str, Any]) -> dict[str, Any]:
    trades = case["trades"]
    price = {str(node): float(value) for node, value in case["dlmp"].items()}
    charges = nodal_price_charges(
        np.array([price[str(trade["buyer"])] for trade in trades]),
        np.array([price[str(trade["seller"])] for trade in trades]),
        energies(trades),
    )
    return {
        "fees": by_trade(trades, charges),
        "per_side": by_trade(trades, 0.5 * charges),
        "total": float(charges.sum()),
    }


def sensitivity(case: dict[str, Any]) -> dict[str, Any]:
    ends = [(str(line["from"]), str(line["to"])) for line in case["lines"]]
    nodes = list(dict.fromkeys(name for pair in ends for name in pair))
    unfed = [name for name in nodes if name not in {end for _, end in ends}]
    root = unfed[0] if len(unfed) == 1 or "0" not in nodes else "0"
    names = list(dict.fromkeys([root, *nodes]))
    branches = network(names, ends)
    withdrawn = {str(name): float(value) for name, value in case["withdraw"].items()}
    paths = root_paths(branches)
    factor = marginal_loss_factors(
        paths,
        path_flows_kw(paths, np.array([withdrawn.get(name, 0.0) for name in names])),
        np.array([line["r"] for line in case["lines"]], np.float64),
        case["v"],
    )
    trades = case["trades"]
    seller, buyer = sides(names, trades)
    energy = energies(trades)
    added = energy * (factor[buyer] - factor[seller])
    fees = sensitivity_fees(
        added,
        energy,
        np.abs(tree_paths(branches, seller, buyer)).sum(axis=1),
        case["p_loss"],
        case.get("u_util", 0.0),
        credit=case.get("credit", False),
    )
    return {
        "charges": {
            trade["id"]: {"delta_loss": loss, "fee": fee}
            for trade, loss, fee in zip(trades, added.tolist(), fees.tolist(), strict=True)
        },
        "mlf": dict(zip(names, factor.tolist(), strict=True)),
        "total": float(fees.sum()),
    }


def network(names: list[str], ends: list[tuple[str, str]]) -> Branches:
    start = np.array([names.index(start) for start, _ in ends], np.int64)
    end = np.array([names.index(end) for _, end in ends], np.int64)
    return Branches(start, end, len(names))


def sides(names: list[str], trades: list[dict[str, Any]]) -> Any:
    return (
        np.array([names.index(str(trade[side])) for trade in trades], np.int64)
        for side in ("seller", "buyer")
    )


def energies(trades: list[dict[str, Any]]) -> Any:
    return np.array([trade["q"] for trade in trades], np.float64)


def by_trade(trades: list[dict[str, Any]], values: Any) -> dict[str, float]:
    return dict(zip([trade["id"] for trade in trades], values.tolist(), strict=True))


ADAPTERS = {
    "H1_exogenous": exogenous,
    "H1m_meshed_distance": meshed,
    "H2_dlmp_charge": nodal,
    "H3_sensitivity_charge": sensitivity,
}
