"""The grid as a linear market sees it: LinDistFlow where it is radial, DC flow where it is meshed.

Parallel branches between the same two nodes are merged into one *edge*. Every area of the tree is
read as radial or meshed from the grid itself, never configured:

* radial area: each node hangs on exactly one edge. Flow ``P`` on each edge (lossless, from the
  parent's side), and squared voltage ``v`` at each node by LinDistFlow (Baran and Wu 1989)::

      v_parent / t^2 - v_child = 2 (r P + x Q) + offset

* meshed area: a voltage angle at each node and, on each edge, DC power flow::

      P = b (angle_from - angle_to - shift)

  Voltage magnitudes in meshed areas are no variables of the market; the AC power flow checks them.

What the linear equations leave out (losses, charging, tap positions) enters through *offsets* that
the last AC power flow gives: see `ac_feedback`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import breadth_first_order

from tricell.errors import GridError
from tricell.grid_models.area_tree import AreaTree
from tricell.grid_models.arrays import sum_by_key
from tricell.grid_models.electrical_grid import BranchKind, ElectricalGrid

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Bools = NDArray[np.bool_]

KW_PER_MW = 1000.0


@dataclass(frozen=True)
class LinearGrid:
    """Nodes, edges and areas of a linear grid model (arrays; node numbers of `ElectricalGrid`).

    Attributes
    ----------
    node_area : area row per node; nodes of the mere grid connection belong to the top area.
    area_meshed : per area, True if it needs DC power flow.
    is_slack : per node, True at the grid connections.
    has_voltage : per node, True where squared voltage is a variable (radial areas).
    has_angle : per node, True where the angle is a variable (meshed areas).
    fixed_angle_rad : per node, the known angle where `has_angle` is False (else 0).
    edge_from, edge_to : nodes of each edge; in radial areas `edge_from` is the parent.
    edge_meshed : per edge, True for DC power flow.
    edge_r, edge_x : LinDistFlow impedance, pu of squared voltage per kW (or kvar); 0 if meshed.
    edge_inverse_ratio2 : 1/t^2 seen from `edge_from`.
    edge_susceptance_kw : b in kW per rad; 0 if radial.
    edge_shift_rad : phase shift of the edge.
    branch_edge : edge of each branch of the electrical grid.
    branch_sign : +1 where branch and edge point the same way, else -1.
    branch_share : part of the edge's flow that the branch carries.
    subtree_order, subtree_start, subtree_stop : nodes below each radial edge are
        ``subtree_order[start:stop]`` (zero length for meshed edges).
    """

    node_area: Indices
    area_meshed: Bools
    is_slack: Bools
    has_voltage: Bools
    has_angle: Bools
    fixed_angle_rad: Floats
    edge_from: Indices
    edge_to: Indices
    edge_meshed: Bools
    edge_r: Floats
    edge_x: Floats
    edge_inverse_ratio2: Floats
    edge_susceptance_kw: Floats
    edge_shift_rad: Floats
    branch_edge: Indices
    branch_sign: Floats
    branch_share: Floats
    subtree_order: Indices
    subtree_start: Indices
    subtree_stop: Indices

    @property
    def n_node(self) -> int:
        """Number of nodes."""
        return len(self.node_area)

    @property
    def n_edge(self) -> int:
        """Number of edges."""
        return len(self.edge_from)

    def downstream_sum(self, node_values: Floats) -> Floats:
        """Sum of a nodal quantity (kW, kvar) below each radial edge; 0 for meshed edges."""
        running = np.concatenate([[0.0], np.cumsum(node_values[self.subtree_order])])
        return np.asarray(running[self.subtree_stop] - running[self.subtree_start])

    def sum_to_edges(self, branch_values: Floats) -> Floats:
        """Sum of a branch quantity over the branches of each edge."""
        return sum_by_key(self.branch_edge, branch_values, self.n_edge)

    @property
    def entry_edge(self) -> Indices:
        """Per area, the one edge that joins it to what lies above; -1 if there are several.

        On this edge the flow equals the area's net import.
        """
        owner = self.node_area[self.edge_to]
        above = self.node_area[self.edge_from]
        crossing = ~self.edge_meshed & ((owner != above) | self.is_slack[self.edge_from])
        n_area = len(self.area_meshed)
        edges = np.flatnonzero(crossing)
        count = np.bincount(owner[edges], minlength=n_area)
        entry = np.full(n_area, -1, dtype=np.int64)
        entry[owner[edges]] = edges
        return np.where(count == 1, entry, -1)


def build_linear_grid(grid: ElectricalGrid, tree: AreaTree, bus_node: Indices) -> LinearGrid:
    """Derive the linear model of a grid from its arrays and its area tree.

    Parameters
    ----------
    grid : node and branch arrays.
    tree : areas per bus (row position in the bus table).
    bus_node : node of each bus row, -1 if out of service.

    Raises
    ------
    GridError
        If a branch of a meshed area has no reactance.
    """
    n_node = len(grid.node_vn_kv)
    is_slack = np.zeros(n_node, dtype=bool)
    is_slack[grid.slack_nodes] = True
    edges = _merge_parallel_branches(grid)
    node_area = _areas_of_nodes(n_node, tree, bus_node, edges)
    order, parent = _walk_from_slack(n_node, edges, grid.slack_nodes)
    depth = np.empty(n_node, dtype=np.int64)
    depth[order] = np.arange(n_node)
    area_meshed, single_entry = _find_meshed_areas(edges, node_area, is_slack, tree)
    owner = _area_of_edges(edges, node_area, depth)
    internal = node_area[edges.first] == node_area[edges.second]
    edge_meshed = area_meshed[owner] & (internal | ~single_entry[owner])
    _refuse_loops_without_reactance(grid, edge_meshed[edges.of_branch])
    oriented = _orient(edges, grid, depth, edge_meshed)
    angle_known = _known_angles(
        oriented,
        edge_meshed=edge_meshed,
        is_slack=is_slack,
        owner=owner,
        internal=internal,
        single_entry=single_entry,
    )
    start, stop, subtree_order = _subtrees(n_node, oriented, edge_meshed, parent, depth)
    has_angle = np.zeros(n_node, dtype=bool)
    has_angle[oriented.first[edge_meshed]] = True
    has_angle[oriented.second[edge_meshed]] = True
    has_angle &= ~angle_known
    fixed = np.zeros(n_node)
    fixed[grid.slack_nodes] = np.angle(grid.slack_voltage)
    base_kw = grid.base_mva * KW_PER_MW
    impedance_scale = np.where(edge_meshed, 0.0, 1.0 / base_kw)
    return LinearGrid(
        node_area=node_area,
        area_meshed=area_meshed,
        is_slack=is_slack,
        has_voltage=~is_slack
        & ~_touched_by_meshed(oriented, edge_meshed, n_node)
        & ~area_meshed[node_area],
        has_angle=has_angle,
        fixed_angle_rad=fixed,
        edge_from=oriented.first,
        edge_to=oriented.second,
        edge_meshed=edge_meshed,
        edge_r=oriented.r * impedance_scale,
        edge_x=oriented.x * impedance_scale,
        edge_inverse_ratio2=1.0 / oriented.ratio**2,
        edge_susceptance_kw=np.where(edge_meshed, oriented.susceptance * base_kw, 0.0),
        edge_shift_rad=oriented.shift,
        branch_edge=edges.of_branch,
        branch_sign=np.where(grid.branch_from == oriented.first[edges.of_branch], 1.0, -1.0),
        branch_share=_branch_shares(grid, edges, edge_meshed),
        subtree_order=subtree_order,
        subtree_start=start,
        subtree_stop=stop,
    )


@dataclass(frozen=True)
class _Edges:
    first: Indices
    second: Indices
    r: Floats
    x: Floats
    ratio: Floats
    shift: Floats
    susceptance: Floats
    of_branch: Indices


def _merge_parallel_branches(grid: ElectricalGrid) -> _Edges:
    pair = np.sort(np.stack([grid.branch_from, grid.branch_to], axis=1), axis=1)
    _, first_branch, of_branch = np.unique(pair, axis=0, return_index=True, return_inverse=True)
    of_branch = of_branch.ravel().astype(np.int64)
    n_edge = len(first_branch)
    admittance = 1.0 / (grid.branch_r_pu + 1j * grid.branch_x_pu)
    total = sum_by_key(of_branch, admittance.real, n_edge) + 1j * sum_by_key(
        of_branch, admittance.imag, n_edge
    )
    impedance = 1.0 / total
    return _Edges(
        first=grid.branch_from[first_branch],
        second=grid.branch_to[first_branch],
        r=impedance.real,
        x=impedance.imag,
        ratio=grid.branch_ratio[first_branch],
        shift=grid.branch_shift_rad[first_branch],
        susceptance=sum_by_key(of_branch, _dc_susceptance(grid), n_edge),
        of_branch=of_branch,
    )


def _dc_susceptance(grid: ElectricalGrid) -> Floats:
    """Return 1 / (x t) of each branch, pu; inf where a branch is a mere resistance."""
    reactance = grid.branch_x_pu * grid.branch_ratio
    unlimited = np.full_like(reactance, np.inf)
    return np.divide(1.0, reactance, out=unlimited, where=reactance != 0.0)


def _refuse_loops_without_reactance(grid: ElectricalGrid, branch_meshed: Bools) -> None:
    wrong = np.flatnonzero(branch_meshed & (grid.branch_x_pu == 0.0))
    if len(wrong):
        table = BranchKind(int(grid.branch_kind[wrong[0]])).name.lower()
        raise GridError(
            f"Row {grid.branch_row[wrong[0]]} of the table '{table}' has no reactance, but lies in "
            "a meshed part of the network, where flows follow from reactances (DC power flow). "
            "Give it a reactance (x_ohm_per_km of lines), or open the loop with a switch."
        )


def _areas_of_nodes(n_node: int, tree: AreaTree, bus_node: Indices, edges: _Edges) -> Indices:
    """Area of each node; star points take their neighbour's highest area, stubs the top one."""
    area = np.full(n_node, -1, dtype=np.int64)
    known = (bus_node >= 0) & (tree.area_of_bus >= 0)
    area[bus_node[known]] = tree.area_of_bus[known]
    has_bus = np.zeros(n_node, dtype=bool)
    has_bus[bus_node[bus_node >= 0]] = True
    for node in np.flatnonzero(~has_bus):
        around = np.concatenate(
            [edges.second[edges.first == node], edges.first[edges.second == node]]
        )
        neighbours = area[around]
        neighbours = neighbours[neighbours >= 0]
        if len(neighbours):
            area[node] = neighbours.min()
    return np.where(area < 0, 0, area)


def _walk_from_slack(n_node: int, edges: _Edges, slack_nodes: Indices) -> tuple[Indices, Indices]:
    """Breadth-first order and parent of each node, from a virtual source that ties the slacks."""
    source = n_node
    row = np.concatenate([edges.first, np.full(len(slack_nodes), source)])
    column = np.concatenate([edges.second, slack_nodes])
    graph = sp.csr_matrix((np.ones(len(row)), (row, column)), shape=(n_node + 1, n_node + 1))
    order, parent = breadth_first_order(graph, source, directed=False)
    return order[1:].astype(np.int64), parent[:n_node].astype(np.int64)


def _area_of_edges(edges: _Edges, node_area: Indices, depth: Indices) -> Indices:
    """Area that an edge belongs to: the one of its end that is further from the source."""
    lower = np.where(depth[edges.first] > depth[edges.second], edges.first, edges.second)
    return np.maximum(node_area[lower], np.maximum(node_area[edges.first], node_area[edges.second]))


def _find_meshed_areas(
    edges: _Edges, node_area: Indices, is_slack: Bools, tree: AreaTree
) -> tuple[Bools, Bools]:
    """Which areas have loops or several entries, and which have just one entry.

    Areas are numbered parents first, so an edge between two areas belongs to the higher number.
    """
    n_area = len(tree.id)
    owner = np.maximum(node_area[edges.first], node_area[edges.second])
    nodes = np.bincount(node_area[~is_slack], minlength=n_area)
    meshed = np.bincount(owner, minlength=n_area) != nodes
    crossing = node_area[edges.first] != node_area[edges.second]
    entries = np.bincount(owner[crossing], minlength=n_area)
    single_entry = entries == 1
    for area in range(n_area - 1, 0, -1):
        if meshed[area] and not single_entry[area] and tree.parent[area] >= 0:
            meshed[tree.parent[area]] = True
    return meshed, single_entry


def _orient(edges: _Edges, grid: ElectricalGrid, depth: Indices, edge_meshed: Bools) -> _Edges:
    """Turn radial edges so that the parent comes first; ratio and impedance are referred there."""
    turn = ~edge_meshed & (depth[edges.first] > depth[edges.second])
    square = np.where(turn, edges.ratio**2, 1.0)
    return _Edges(
        first=np.where(turn, edges.second, edges.first),
        second=np.where(turn, edges.first, edges.second),
        r=edges.r * square,
        x=edges.x * square,
        ratio=np.where(turn, 1.0 / edges.ratio, edges.ratio),
        shift=np.where(turn, -edges.shift, edges.shift),
        susceptance=edges.susceptance,
        of_branch=edges.of_branch,
    )


def _touched_by_meshed(edges: _Edges, edge_meshed: Bools, n_node: int) -> Bools:
    touched = np.zeros(n_node, dtype=bool)
    touched[edges.first[edge_meshed]] = True
    touched[edges.second[edge_meshed]] = True
    return touched


def _known_angles(
    edges: _Edges,
    *,
    edge_meshed: Bools,
    is_slack: Bools,
    owner: Indices,
    internal: Bools,
    single_entry: Bools,
) -> Bools:
    """Nodes whose angle is given: slacks, and the entry node of a meshed area with one entry."""
    known = is_slack.copy()
    entry = ~edge_meshed & ~internal & single_entry[owner]
    candidates = edges.second[entry]
    touched = _touched_by_meshed(edges, edge_meshed, len(is_slack))
    known[candidates[touched[candidates]]] = True
    return known


def _subtrees(
    n_node: int, edges: _Edges, edge_meshed: Bools, parent: Indices, depth: Indices
) -> tuple[Indices, Indices, Indices]:
    """Nodes below each radial edge as slices of one depth-first order."""
    children: list[list[int]] = [[] for _ in range(n_node + 1)]
    for node in np.argsort(depth):
        children[parent[node]].append(int(node))
    order: list[int] = []
    begin, end = np.zeros(n_node + 1, np.int64), np.zeros(n_node + 1, np.int64)
    stack: list[tuple[int, bool]] = [(n_node, False)]
    while stack:
        node, done = stack.pop()
        if done:
            end[node] = len(order)
            continue
        begin[node] = len(order)
        if node < n_node:
            order.append(node)
        stack.append((node, True))
        stack.extend((child, False) for child in reversed(children[node]))
    start = np.where(edge_meshed, 0, begin[edges.second])
    stop = np.where(edge_meshed, 0, end[edges.second])
    return start, stop, np.array(order, dtype=np.int64)


def _branch_shares(grid: ElectricalGrid, edges: _Edges, edge_meshed: Bools) -> Floats:
    """Part of its edge's active flow on each branch: by admittance, by 1/x where meshed."""
    magnitude = 1.0 / np.abs(grid.branch_r_pu + 1j * grid.branch_x_pu)
    weight = np.where(edge_meshed[edges.of_branch], np.abs(_dc_susceptance(grid)), magnitude)
    total = sum_by_key(edges.of_branch, weight, len(edges.first))
    return np.asarray(weight / total[edges.of_branch])
