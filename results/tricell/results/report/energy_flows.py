"""Where energy comes from and where it goes over a run: the flows behind the Sankey diagram.

Energy is followed as it was settled: what members of an area generate is used by themselves, sold
at a market level, sold outside or curtailed; what they use comes from themselves, from a market
level or from outside. What was traded and then moved by the network operator shows as a node of its
own, so that every node in the middle gives what it gets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tricell.results.layout import AREA_LEVELS

SILENT_KWH = 1e-6
SILENT_SHARE = 1e-9
"""Flows below this, or this share of all flows, are rounding and are not drawn."""
MOST_AREAS = 12
"""So many areas stand for themselves; the others are joined."""
LEAST_SHARE = 0.005
"""Areas with less of all energy than this are joined too, or their labels would overlap."""

BOUGHT_OUTSIDE = "bought outside"
SOLD_OUTSIDE = "sold to the retailer"
CURTAILED = "curtailed"
LOSSES = "network losses"
BATTERIES = "batteries"
CONSUMED = "consumed"
MOVED = "moved by redispatch"
OTHERS_BUY = "members elsewhere buy"
OTHERS_SELL = "members elsewhere sell"
OWN_AREA = "generation"
USE = "use"


@dataclass(frozen=True)
class Node:
    """A place that energy passes: its kind, and the area where it belongs to one."""

    kind: str
    area: str = ""


@dataclass(frozen=True)
class Flow:
    """Energy from one node to another, kWh over the run."""

    source: Node
    target: Node
    kwh: float


def area_energy(
    areas: Sequence[str],
    agents: pd.DataFrame,
    receipts: pd.DataFrame,
    agent_kwh: pd.DataFrame,
) -> pd.DataFrame:
    """Sum up what the members of each area generate, trade, store and use, kWh.

    Parameters
    ----------
    areas
        Ids of all areas.
    agents, receipts
        The tables of that name.
    agent_kwh
        One row per agent: generation (fed in), curtailed, storage (charged less discharged) and
        net (metered, positive when bought).

    Returns
    -------
    DataFrame
        One row per area that has members; columns as in `agent_kwh`, and `bought <level>` and
        `sold <level>` for every level that occurs.
    """
    energy = receipts[receipts["kind"].isin(["energy_p2p", "energy_retail", "export"])]
    way = np.where(energy["energy"] > 0.0, "bought ", "sold ")
    traded = pd.DataFrame(
        {
            "area": agents["area"].to_numpy()[energy["agent"].to_numpy()],
            "key": way + energy["level"].astype(str).to_numpy(),
            "kwh": energy["energy"].abs().to_numpy(),
        }
    ).pivot_table(index="area", columns="key", values="kwh", aggfunc="sum", fill_value=0.0)
    own = agent_kwh.groupby(agents["area"].to_numpy()).sum()
    members = [area for area in areas if area in own.index]
    return own.reindex(members).join(traded).fillna(0.0)


def main_areas(energy: pd.DataFrame) -> list[str]:
    """Name the areas with the most energy, each large enough to be seen in a diagram of all."""
    size = energy["generation"] + energy["net"].abs() + _sum_of(energy, "bought ")
    order = size.sort_values(ascending=False, kind="stable")
    large = order[order >= LEAST_SHARE * order.sum()].index[:MOST_AREAS]
    return [area for area in energy.index if area in set(large)]


def joined(energy: pd.DataFrame, main: Iterable[str]) -> pd.DataFrame:
    """Join all areas but the main ones in one row called as many others as they are."""
    kept = [area for area in energy.index if area in set(main)]
    rest = energy.drop(index=kept)
    if rest.empty:
        return energy
    if len(rest) == 1:
        return pd.concat([energy.loc[kept], rest])
    name = f"{len(rest)} other areas"
    return pd.concat([energy.loc[kept], rest.sum().to_frame(name).T])


def flows(energy: pd.DataFrame, losses_kwh: float) -> list[Flow]:
    """Give the flows of these areas, of losses and of redispatch; silent ones are left out.

    Where the areas are not all areas, members elsewhere sell and buy what is missing at a level.
    """
    found = [flow for area, row in energy.iterrows() for flow in _flows_of(str(area), row)]
    found.append(Flow(Node(BOUGHT_OUTSIDE), Node(LOSSES), losses_kwh))
    silent = max(SILENT_KWH, SILENT_SHARE * sum(abs(flow.kwh) for flow in found))
    found += _closing(found, silent)
    return [flow for flow in found if flow.kwh > silent]


def _flows_of(area: str, row: pd.Series[float]) -> list[Flow]:
    generation, use = Node(OWN_AREA, area), Node(USE, area)
    sold = {key.removeprefix("sold "): row[key] for key in row.index if key.startswith("sold ")}
    bought = {
        key.removeprefix("bought "): row[key] for key in row.index if key.startswith("bought ")
    }
    moved = row["net"] - sum(bought.values()) + sum(sold.values())
    own = row["generation"] + max(moved, 0.0) - sum(sold.values())
    consumed = sum(bought.values()) + own - row["storage"] - max(-moved, 0.0)
    return [
        Flow(generation, Node(CURTAILED), row["curtailed"]),
        *(Flow(generation, level_node(name, sold=True), kwh) for name, kwh in sold.items()),
        *(Flow(level_node(name, sold=False), use, kwh) for name, kwh in bought.items()),
        *_both_ways(generation, use, own),
        Flow(Node(MOVED), generation, max(moved, 0.0)),
        Flow(use, Node(MOVED), max(-moved, 0.0)),
        *_both_ways(use, Node(BATTERIES), row["storage"]),
        *_both_ways(use, Node(CONSUMED), consumed),
    ]


def _both_ways(one: Node, other: Node, kwh: float) -> list[Flow]:
    return [Flow(one, other, kwh) if kwh >= 0.0 else Flow(other, one, -kwh)]


def level_node(level: str, *, sold: bool) -> Node:
    """Give the node of a trade level: markets meet in one, the retailer buys and sells outside."""
    if level != "retail":
        return Node(level)
    return Node(SOLD_OUTSIDE if sold else BOUGHT_OUTSIDE)


def _closing(found: Sequence[Flow], silent: float) -> list[Flow]:
    """Let redispatch and trade levels give what they get, by what is outside of these areas."""
    closing = []
    for node in dict.fromkeys(
        flow_node for flow in found for flow_node in (flow.source, flow.target)
    ):
        gap = surplus(found, node)
        if node.kind == MOVED:
            closing += _outlet(node, gap, Node(SOLD_OUTSIDE), Node(BOUGHT_OUTSIDE))
        elif node.kind in AREA_LEVELS and abs(gap) > silent:
            closing += _outlet(node, gap, Node(OTHERS_BUY), Node(OTHERS_SELL))
    return closing


def _outlet(node: Node, gap: float, drain: Node, spring: Node) -> list[Flow]:
    return [Flow(node, drain, gap)] if gap > 0.0 else [Flow(spring, node, -gap)]


def surplus(found: Iterable[Flow], node: Node) -> float:
    """Return what a node gets less what it gives, kWh."""
    return sum(flow.kwh * ((flow.target == node) - (flow.source == node)) for flow in found)


def through(found: Sequence[Flow]) -> Mapping[Node, float]:
    """Energy that passes each node, kWh: the larger of what it gets and what it gives."""
    got: dict[Node, float] = {}
    given: dict[Node, float] = {}
    for flow in found:
        got[flow.target] = got.get(flow.target, 0.0) + flow.kwh
        given[flow.source] = given.get(flow.source, 0.0) + flow.kwh
    nodes = dict.fromkeys([*given, *got])
    return {node: max(got.get(node, 0.0), given.get(node, 0.0)) for node in nodes}


def _sum_of(energy: pd.DataFrame, prefix: str) -> pd.Series[float]:
    columns = [name for name in energy.columns if str(name).startswith(prefix)]
    total: pd.Series[float] = energy[columns].sum(axis=1)
    return total
