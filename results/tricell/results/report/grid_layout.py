"""Where buses are drawn: at the places that the data give, or as a tree from the grid's feed.

The tree is worked out from the topology alone: a bus stands as far down as it has lines and
transformers above it, and side branches stand beside each other, so that none cross.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import networkx as nx
import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ends: TypeAlias = NDArray[np.int32]

CROWDED = 0.5
"""From this share of buses that hide behind others on, places do not help to read a grid."""
CELLS = 400
"""Buses closer than 1/400 of the extent of their area hide each other."""


def line_ends(elements: pd.DataFrame, first: str, last: str, buses: pd.Series[str]) -> Ends:
    """Return the rows of the buses at both ends of each element, (elements, 2); -1 = none."""
    index = pd.Index(buses)
    ends = [index.get_indexer(pd.Index(elements[column])) for column in (first, last)]
    return np.column_stack(ends).astype(np.int32).reshape(-1, 2)


def has_places(buses: pd.DataFrame) -> bool:
    """Return whether the data place all buses, and so that most of them can be told apart.

    Places are judged area by area, since an area can be looked at by itself. The two busbars
    of a transformer may share a place.
    """
    if not len(buses) or not {"x", "y"} <= set(buses):
        return False
    if not np.isfinite(buses[["x", "y"]].to_numpy(np.float64)).all():
        return False
    hidden = sum(
        _hidden(area[["x", "y"]].to_numpy(np.float64)) for _, area in buses.groupby("area")
    )
    return hidden <= CROWDED * len(buses)


def _hidden(places: Floats) -> int:
    """Count the buses that stand where another one stands."""
    extent = float(np.ptp(places, axis=0).max())
    if extent == 0.0:
        return len(places) - 1
    cells = np.floor(CELLS * (places - places.min(axis=0)) / extent)
    return len(places) - len(np.unique(cells, axis=0))


def joined_buses(buses: pd.DataFrame, ends: Ends) -> Ends:
    """Return pairs of buses that a closed switch seems to join, (pairs, 2).

    Results do not name switches. Two parts of the grid count as joined where a bus of each stands
    at the same place, in the same area and at the same nominal voltage, as busbars do.
    """
    if not {"x", "y"} <= set(buses):
        return np.empty((0, 2), dtype=np.int32)
    graph = _graph(len(buses), ends)
    parts = nx.utils.UnionFind(range(len(buses)))
    for first, last in graph.edges:
        parts.union(first, last)
    pairs = []
    placed = buses.reset_index(drop=True).dropna(subset=["x", "y"])
    for rows in placed.groupby(["area", "nominal_kv", "x", "y"]).indices.values():
        first, *others = (int(placed.index[row]) for row in rows)
        for bus in others:
            if parts[first] != parts[bus]:
                parts.union(first, bus)
                pairs.append((first, bus))
    return np.array(pairs, dtype=np.int32).reshape(-1, 2)


def _graph(count: int, ends: Ends) -> nx.Graph:
    graph = nx.Graph()
    graph.add_nodes_from(range(count))
    graph.add_edges_from((int(first), int(last)) for first, last in ends if min(first, last) >= 0)
    return graph


def tree_places(count: int, ends: Ends, roots: Sequence[int]) -> Floats:
    """Place buses as a tree, (buses, 2): x from 0 for the first branch, y down from 0.

    Parameters
    ----------
    count : number of buses.
    ends : rows of the buses at the ends of lines and transformers, (elements, 2).
    roots : rows of buses to begin with, such as those that feed the grid; any other part of the
        grid begins with its lowest row.

    Notes
    -----
    Each bus stands over the middle of its branches. In a loop the shortest way to the root counts.
    """
    graph = _graph(count, ends)
    places = np.zeros((count, 2))
    seen: set[int] = set()
    next_leaf = 0.0
    for root in (*roots, *range(count)):
        if root not in seen:
            next_leaf = _place_tree(graph, root, seen, places, next_leaf) + 1.0
    return places


def _place_tree(
    graph: nx.Graph, root: int, seen: set[int], places: Floats, next_leaf: float
) -> float:
    """Place what hangs on a root, and return the place of the next leaf beside it."""
    children: Mapping[int, list[int]] = {
        bus: list(below) for bus, below in nx.bfs_successors(graph, root)
    }
    heights = _heights(children, root)
    order: list[int] = []
    stack = [(root, 0)]
    while stack:
        bus, depth = stack.pop()
        order.append(bus)
        seen.add(bus)
        places[bus, 1] = -depth
        # Short branches first, so that the main feeder runs at the right edge of its branches.
        below = sorted(children.get(bus, []), key=lambda child: heights[child], reverse=True)
        stack.extend((child, depth + 1) for child in below)
        if not below:
            places[bus, 0] = next_leaf
            next_leaf += 1.0
    for bus in reversed(order):
        if children.get(bus):
            places[bus, 0] = np.mean([places[child, 0] for child in children[bus]])
    return next_leaf


def _heights(children: Mapping[int, list[int]], root: int) -> dict[int, int]:
    """Return the longest way down from each bus."""
    order = [root]
    for bus in order:
        order.extend(children.get(bus, []))
    heights: dict[int, int] = {}
    for bus in reversed(order):
        heights[bus] = max((heights[child] + 1 for child in children.get(bus, [])), default=0)
    return heights
