"""Cases of clearing with a network: the market of a feeder, its losses, the gate for trades."""

from __future__ import annotations

from typing import Any

import numpy as np

from tricell.markets.loss_factors import (
    branch_losses_kw,
    marginal_loss_factors,
    path_flows_kw,
    share_by_margin,
    share_pro_rata,
)
from tricell.markets.order_table import is_order
from tricell.markets.radial_feeder import Feeder, FeederOrders, clear_feeder
from tricell.markets.sensitivity_gate import GateLimits, NetworkState, pass_gate
from tricell.markets.trade_paths import Branches, root_paths

SIDES = {"buy": 1.0, "sell": -1.0}


def feeder_market(case: dict[str, Any]) -> dict[str, Any]:
    names, branches = tree(case["lines"], case.get("slack"))
    place = {name: row for row, name in enumerate(names)}
    offers = [o for o in case.get("offers", []) if is_order(o["pmax"], o["price"])]
    fixed = case.get("fixed") or {}
    cleared = clear_feeder(
        Feeder(
            branches,
            per_line(case, "r"),
            per_line(case, "x"),
            per_line(case, "cap", np.inf),
            case["v_slack"],
            given(case, "v_min", 0.0),
            given(case, "v_max", 1e6),
        ),
        FeederOrders(
            np.array([place[str(o["node"])] for o in offers], np.int64),
            np.array([SIDES[o["side"]] for o in offers], np.float64),
            np.array([o["pmax"] for o in offers], np.float64),
            np.array([o["price"] for o in offers], np.float64),
        ),
        load_kw=at_nodes(names, {name: load.get("p", 0.0) for name, load in fixed.items()}),
        load_kvar=at_nodes(names, {name: load.get("q", 0.0) for name, load in fixed.items()}),
        import_price=case["p_im"],
        export_price=case["p_ex"],
    )
    if cleared is None:
        return {"feasible": False}
    idle = {o["id"]: 0.0 for o in case.get("offers", [])}
    ids = [o["id"] for o in offers]
    return {
        "feasible": True,
        "accepted": idle | dict(zip(ids, cleared.accepted_kw.tolist(), strict=True)),
        "dlmp": dict(zip(names, cleared.price.tolist(), strict=True)),
        "flows": by_line(names, branches, cleared.flow_kw),
        "voltages": dict(zip(names[1:], cleared.voltage[1:].tolist(), strict=True)),
        "imports": cleared.imports_kw,
        "exports": cleared.exports_kw,
        "welfare": cleared.welfare_eur,
        "network_rent": cleared.network_rent_eur,
    }


def losses(case: dict[str, Any]) -> dict[str, Any]:
    names, branches = tree(case["lines"])
    withdrawn = {str(name): float(value) for name, value in case["withdraw"].items()}
    withdrawal = at_nodes(names, withdrawn)
    paths, resistance = root_paths(branches), per_line(case, "r")
    flow = path_flows_kw(paths, withdrawal)
    loss = branch_losses_kw(flow, resistance, case["v"])
    factor = marginal_loss_factors(paths, flow, resistance, case["v"])
    total = float(loss.sum())

    def of_parties(values: Any) -> dict[str, float]:
        every = dict(zip(names, values.tolist(), strict=True))
        return {name: every[name] for name in withdrawn}

    return {
        "flows": by_line(names, branches, flow),
        "line_loss": by_line(names, branches, loss),
        "total": total,
        "prorata": of_parties(share_pro_rata(total, withdrawal)),
        "mlf": of_parties(factor),
        "marginal_scaled": of_parties(share_by_margin(total, factor, withdrawal)),
    }


def gate(case: dict[str, Any]) -> dict[str, Any]:
    names, branches = tree(case["lines"])
    place = {name: row for row, name in enumerate(names)}
    known = {"v": given(case, "v0", {}), "flow": given(case, "flow0", {})}
    voltage = np.array([known["v"].get(name, case["v_nom"]) for name in names], np.float64)
    limits = GateLimits(
        per_line(case, "cap", np.inf),
        np.full(len(names), given(case, "v_min", -np.inf)),
        np.full(len(names), given(case, "v_max", np.inf)),
    )
    flow = np.array([known["flow"].get(names[end], 0.0) for end in branches.end], np.float64)
    trades = case["trades"]
    passed = pass_gate(
        root_paths(branches),
        per_line(case, "r"),
        limits,
        NetworkState(flow, voltage),
        seller=np.array([place[str(t["seller"])] for t in trades], np.int64),
        buyer=np.array([place[str(t["buyer"])] for t in trades], np.int64),
        power_kw=np.array([t["q"] for t in trades], np.float64),
        voltage=case["v_nom"],
    )
    return {
        "decisions": [
            {"id": t["id"], "accepted": bool(yes)}
            for t, yes in zip(trades, passed.accepted, strict=True)
        ],
        "flows": by_line(names, branches, passed.state.flow_kw),
        "voltages": {
            name: value
            for name, value in zip(names, passed.state.voltage.tolist(), strict=True)
            if name != names[0] or name in known["v"]
        },
    }


def tree(lines: list[dict[str, Any]], root: Any = None) -> tuple[list[str], Branches]:
    """Return the names of the nodes, the root first, and the lines between them, led away from it.

    Without a named root it is the only node that no line leads to, else node "0".
    """
    ends = [(str(line["from"]), str(line["to"])) for line in lines]
    starts = list(dict.fromkeys(start for start, _ in ends))
    unfed = [name for name in starts if name not in {end for _, end in ends}]
    if root is None:
        root = unfed[0] if len(unfed) == 1 or "0" not in (n for pair in ends for n in pair) else "0"
    names = list(dict.fromkeys([str(root), *(name for pair in ends for name in pair)]))
    ends = outward(ends, str(root))
    start = np.array([names.index(start) for start, _ in ends], np.int64)
    end = np.array([names.index(end) for _, end in ends], np.int64)
    return names, Branches(start, end, len(names))


def outward(ends: list[tuple[str, str]], root: str) -> list[tuple[str, str]]:
    """Return the ends of every line, the one nearer to the root first."""
    reached, turned = [root], dict(enumerate(ends))
    for node in reached:
        for line, (start, end) in enumerate(ends):
            if end == node and start not in reached:
                turned[line] = (end, start)
            if node in (start, end):
                reached += [name for name in (start, end) if name not in reached]
    return list(turned.values())


def given(values: dict[str, Any], field: str, absent: Any) -> Any:
    """Return a value, or what stands for one that is absent or null."""
    return absent if values.get(field) is None else values[field]


def per_line(case: dict[str, Any], field: str, absent: float = 0.0) -> Any:
    return np.array([given(line, field, absent) for line in case["lines"]], np.float64)


def at_nodes(names: list[str], values: dict[str, float]) -> Any:
    return np.array([float(values.get(name, 0.0)) for name in names])


def by_line(names: list[str], branches: Branches, values: Any) -> dict[str, float]:
    """Return values of lines by the name of their lower end."""
    ends = [names[end] for end in branches.end]
    return dict(zip(ends, values.tolist(), strict=True))


ADAPTERS = {"G1_lindistflow": feeder_market, "G3_losses": losses, "G4_sensitivity_gate": gate}
