"""How far a trade travels: the network path between two nodes, and distances along it.

With the branches ``l`` of a network, positive from `start` to `end`::

    radial:   T_kl   = path of trade k on branch l, +1 along it, -1 against it, else 0
    meshed:   T_kl   = (theta_start - theta_end) / x_l,  theta = B^-1 (e_seller - e_buyer)
              branches travelled      d_k = sum_l |T_kl|
              impedance travelled     d_k = sum_l |T_kl| |z_l|                     (radial)
              Thevenin, meshed        z_l = |Z_ii + Z_jj - 2 Z_ij|,  d_k = shortest path over z_l
              zones                   d_k = number of different zones on the path, both ends too

On a tree both forms of ``T`` are the same. A trade between two parties at one node travels
nothing; it still lies in one zone.

Sources: Baroche, Pinson, Le Goff Latimier and Ben Ahmed 2019, Exogenous cost allocation in
peer-to-peer electricity markets; Guerrero, Chapman and Verbic 2019, Decentralized P2P energy
trading under network constraints in a low-voltage network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import breadth_first_order, connected_components, dijkstra

from tricell.errors import MarketError

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Branches:
    """The branches of a network by the nodes at their ends.

    Attributes
    ----------
    start, end : node at either end, shape (L,).
    n_node : number of nodes.
    """

    start: Indices
    end: Indices
    n_node: int

    def __len__(self) -> int:
        return len(self.start)


# --- radial networks ---


def root_paths(branches: Branches, root: int = 0) -> Floats:
    """Return the path from the root to every node of a radial network.

    Parameters
    ----------
    branches : network without loops, all of it connected.
    root : node that all paths begin at.

    Returns
    -------
    float64, shape (n_node, L)
        +1 where the path follows the branch, -1 where it goes against it, else 0.

    Raises
    ------
    MarketError
        If the network has a loop or falls into parts.

    Examples
    --------
    >>> root_paths(Branches(np.array([0, 2]), np.array([1, 1]), 3)).tolist()
    [[0.0, 0.0], [1.0, 0.0], [1.0, -1.0]]
    """
    graph = _graph(branches, np.ones(len(branches)))
    order, parent = breadth_first_order(graph, root, directed=False)
    if len(order) != branches.n_node or len(branches) != branches.n_node - 1:
        raise MarketError(
            f"{len(branches)} branches join {len(order)} of {branches.n_node} nodes; the path of a "
            "trade is unique only in a network without loops that is all connected, which has one "
            "branch less than nodes. Take PTDFs for a meshed network, or remove what is not "
            "connected."
        )
    branch_of = {
        frozenset(ends): row
        for row, ends in enumerate(zip(branches.start.tolist(), branches.end.tolist(), strict=True))
    }
    paths = np.zeros((branches.n_node, len(branches)))
    for node in order[1:].tolist():
        above = int(parent[node])
        row = branch_of[frozenset((above, node))]
        paths[node] = paths[above]
        paths[node, row] = 1.0 if branches.start[row] == above else -1.0
    return paths


def tree_paths(branches: Branches, seller: Indices, buyer: Indices) -> Floats:
    """Return the path of every trade in a radial network.

    Parameters
    ----------
    branches : radial network.
    seller, buyer : node of either side, shape (K,).

    Returns
    -------
    float64, shape (K, L)
        +1, -1 or 0: the flow that 1 kW from the seller to the buyer adds to each branch.
    """
    paths = root_paths(branches)
    return np.asarray(paths[buyer] - paths[seller])


def zones_on_paths(branches: Branches, zone: Indices, seller: Indices, buyer: Indices) -> Floats:
    """Return the number of different zones on the path of every trade, both ends included.

    Parameters
    ----------
    branches : radial network.
    zone : zone of every node, 0 or more, shape (n_node,).
    seller, buyer : node of either side, shape (K,).
    """
    used = np.abs(tree_paths(branches, seller, buyer)) > 0.0
    nodes = np.zeros((len(seller), branches.n_node), np.bool_)
    for ends in (branches.start, branches.end):
        touches = np.zeros((len(branches), branches.n_node), np.bool_)
        touches[np.arange(len(branches)), ends] = True
        nodes |= used @ touches
    trade = np.arange(len(seller))
    nodes[trade, seller] = True
    nodes[trade, buyer] = True
    member = np.zeros((branches.n_node, int(zone.max(initial=0)) + 1), np.bool_)
    member[np.arange(branches.n_node), zone] = True
    return np.asarray((nodes @ member).sum(axis=1), dtype=np.float64)


# --- meshed networks ---


def transfer_factors(
    branches: Branches, reactance: Floats, seller: Indices, buyer: Indices
) -> Floats:
    """Return the part of every trade that each branch carries by DC power flow (PTDF).

    Parameters
    ----------
    branches : connected network, with or without loops.
    reactance : of every branch, not 0, in any one unit, shape (L,).
    seller, buyer : node of either side, shape (K,).

    Returns
    -------
    float64, shape (K, L)
        Positive from `start` to `end`.

    Raises
    ------
    MarketError
        If a branch has no reactance or the network falls into parts.

    Examples
    --------
    >>> ring = Branches(np.array([0, 1, 0]), np.array([1, 2, 2]), 3)
    >>> transfer_factors(ring, np.array([1.0, 1.0, 2.0]), np.array([0]), np.array([2])).tolist()
    [[0.5, 0.5, 0.5]]
    """
    inverse = _inverse_laplacian(branches, reactance.astype(np.complex128), "reactance").real
    angle = inverse[:, seller] - inverse[:, buyer]
    difference = angle[branches.start] - angle[branches.end]
    return np.asarray((difference / reactance[:, None]).T)


def thevenin_impedance(branches: Branches, impedance: Complexes) -> Floats:
    """Return the magnitude of the Thevenin impedance between the ends of every branch.

    Parameters
    ----------
    branches : connected network, with or without loops.
    impedance : of every branch, not 0, shape (L,).

    Raises
    ------
    MarketError
        If a branch has no impedance or the network falls into parts.
    """
    inverse = _inverse_laplacian(branches, impedance, "impedance")
    i, j = branches.start, branches.end
    return np.abs(inverse[i, i] + inverse[j, j] - 2.0 * inverse[i, j])


def thevenin_distance(
    branches: Branches, impedance: Complexes, seller: Indices, buyer: Indices
) -> Floats:
    """Return the length of the shortest path of every trade over Thevenin impedances.

    Parameters
    ----------
    branches : connected network, with or without loops.
    impedance : of every branch, not 0, shape (L,).
    seller, buyer : node of either side, shape (K,).

    Examples
    --------
    >>> ring = Branches(np.array([0, 1, 0]), np.array([1, 2, 2]), 3)
    >>> thevenin_distance(ring, np.array([1j, 1j, 2j]), np.array([0]), np.array([2])).tolist()
    [1.0]
    """
    length = thevenin_impedance(branches, impedance)
    shortest = dijkstra(_graph(branches, length), directed=False)
    return np.asarray(shortest[seller, buyer])


def _graph(branches: Branches, weight: Floats) -> sp.csr_matrix:
    """Return the lightest branch between every two nodes as a graph."""
    shape = (branches.n_node, branches.n_node)
    low = np.minimum(branches.start, branches.end)
    high = np.maximum(branches.start, branches.end)
    order = np.argsort(weight, kind="stable")
    _, first = np.unique(low[order] * branches.n_node + high[order], return_index=True)
    kept = order[first]
    return sp.csr_matrix((weight[kept], (low[kept], high[kept])), shape=shape)


def _inverse_laplacian(branches: Branches, impedance: Complexes, quantity: str) -> Complexes:
    """Invert the nodal admittance matrix with node 0 as reference, whose row stays 0."""
    without = np.flatnonzero(impedance == 0.0)
    if len(without):
        raise MarketError(
            f"branch {without[0]}, from node {branches.start[without[0]]} to node "
            f"{branches.end[without[0]]}, has no {quantity}; allowed is a number other than 0. "
            "Give it one, or join its two nodes."
        )
    parts, _ = connected_components(_graph(branches, np.ones(len(branches))), directed=False)
    if parts > 1:
        raise MarketError(
            f"the network falls into {parts} parts, between which no trade can travel; connect "
            "them, or study them one by one"
        )
    branch = np.arange(len(branches))
    incidence = np.zeros((len(branches), branches.n_node))
    incidence[branch, branches.start] += 1.0
    incidence[branch, branches.end] -= 1.0
    laplacian = incidence.T @ (incidence / impedance[:, None])
    inverse = np.zeros_like(laplacian)
    inverse[1:, 1:] = np.linalg.inv(laplacian[1:, 1:])
    return inverse
