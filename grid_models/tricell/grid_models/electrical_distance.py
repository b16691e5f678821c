r"""How far every node is from the connection of its own area: in ohm, and in branches.

The distance of a node is the length of the shortest way from the upper end of the transformers
(or lines) that feed its area, through the area's own branches. A branch is as long as the
magnitude of its series impedance, :math:`|Z| = |z| \cdot V_n^2 / S_b`, at the lower of its two
nominal voltages; so the feeding transformer counts. In the area of the grid connection the way
begins there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import dijkstra

from tricell.grid_models.electrical_grid import ElectricalGrid

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

SHORTEST_BRANCH_OHM = 1e-9
"""Length of branches without impedance (closed switches): a graph keeps no edge of length 0."""


@dataclass(frozen=True)
class ElectricalDistance:
    """Distance of every node from the connection of its area; nan where there is no way.

    Attributes
    ----------
    ohm : sum of the magnitudes of impedance, ohm, shape (nodes,).
    branches : number of lines and transformers on the shortest way by number, shape (nodes,).
    """

    ohm: Floats
    branches: Floats


def distance_from_connection(
    grid: ElectricalGrid, node_area: Indices, area_parent: Indices
) -> ElectricalDistance:
    """Measure the distance of every node from the connection of its own area.

    Parameters
    ----------
    grid : the network.
    node_area : area of every node.
    area_parent : row of the area above every area, -1 at the top.
    """
    voltage = np.minimum(grid.node_vn_kv[grid.branch_from], grid.node_vn_kv[grid.branch_to])
    impedance = np.hypot(grid.branch_r_pu, grid.branch_x_pu) * voltage**2 / grid.base_mva
    lengths = (np.maximum(impedance, SHORTEST_BRANCH_OHM), np.ones(grid.n_branches))
    ohm, branches = (_from_connections(grid, node_area, area_parent, each) for each in lengths)
    return ElectricalDistance(ohm, branches)


def _from_connections(
    grid: ElectricalGrid, node_area: Indices, area_parent: Indices, length: Floats
) -> Floats:
    distance = np.full(grid.n_nodes, np.nan)
    ends = np.stack([grid.branch_from, grid.branch_to])
    owner = node_area[ends]
    for area, parent in enumerate(area_parent):
        inside = (owner == area).all(axis=0)
        crossing = (owner == area).any(axis=0) & (owner == parent).any(axis=0) & (parent >= 0)
        graph = _graph(ends, length, inside | crossing, grid.n_nodes)
        if parent >= 0:
            starts = np.unique(ends[:, crossing][owner[:, crossing] == parent])
        else:
            starts = grid.slack_nodes
        if len(starts) == 0:
            continue
        reached = dijkstra(graph, directed=False, indices=starts, min_only=True)
        mine = (node_area == area) & np.isfinite(reached)
        distance[mine] = reached[mine]
    return distance


def _graph(ends: Indices, length: Floats, chosen: NDArray[np.bool_], n_node: int) -> sp.csr_matrix:
    """Branches as a symmetric matrix of lengths; of parallel branches the shortest."""
    first, second = ends[:, chosen].min(axis=0), ends[:, chosen].max(axis=0)
    kept = length[chosen]
    order = np.lexsort((kept, second, first))
    pair = first[order] * n_node + second[order]
    _, unique = np.unique(pair, return_index=True)
    rows = order[unique]
    return sp.csr_matrix((kept[rows], (first[rows], second[rows])), shape=(n_node, n_node))
