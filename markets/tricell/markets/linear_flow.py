"""Flows and voltages of the linear grid model for a given schedule, without any optimisation.

The equations are those of the joint market (`joint_model`): LinDistFlow where the grid is radial,
DC flow where it is meshed. With the schedule given they are a square system, factorised once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spl
from numpy.typing import NDArray

from tricell.grid_models.linear_grid import LinearGrid
from tricell.markets.joint_model import drop_edges

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class LinearState:
    """State of the linear model: flow per edge (kW) and squared voltage per node (pu^2).

    Voltages are nan where the linear model has none (slacks and meshed areas).
    """

    flow_kw: Floats
    voltage2: Floats


class LinearFlow:
    """Computes states of one linear grid model.

    Parameters
    ----------
    grid : linear grid model.
    constant_kw : consumption per node that is always there.
    """

    def __init__(self, grid: LinearGrid, constant_kw: Floats) -> None:
        self.grid = grid
        self._constant_kw = constant_kw
        self._balanced = np.flatnonzero(~grid.is_slack)
        self._voltage_nodes = np.flatnonzero(grid.has_voltage)
        self._drop_edges = drop_edges(grid)
        self._dc_edges = np.flatnonzero(grid.edge_meshed)
        self._factor = spl.splu(sp.vstack(self._rows(), format="csc"))
        fixed = np.where(grid.has_angle, 0.0, grid.fixed_angle_rad)
        given = fixed[grid.edge_from] - fixed[grid.edge_to] - grid.edge_shift_rad
        self._driven_kw = (grid.edge_susceptance_kw * given)[self._dc_edges]

    def state(self, net_kw: Floats, voltage_offset: Floats) -> LinearState:
        """Return the state of a schedule.

        Parameters
        ----------
        net_kw : consumption per node less generation, kW.
        voltage_offset : right-hand side of the LinDistFlow rows, pu^2, per edge.
        """
        consumed = (net_kw + self._constant_kw)[self._balanced]
        right = np.concatenate([consumed, voltage_offset[self._drop_edges], self._driven_kw])
        solved = self._factor.solve(right)
        n_edge = self.grid.n_edge
        voltage2 = np.full(self.grid.n_node, np.nan)
        voltage2[self._voltage_nodes] = solved[n_edge : n_edge + len(self._voltage_nodes)]
        return LinearState(solved[:n_edge], voltage2)

    def flow_per_kw(self, nodes: Indices) -> Floats:
        """Change of every edge's flow per kW consumed at each node, shape (edges, nodes)."""
        place = np.full(self.grid.n_node, -1, dtype=np.int64)
        place[self._balanced] = np.arange(len(self._balanced))
        served = np.flatnonzero(place[nodes] >= 0)
        right = np.zeros((self._factor.shape[0], len(nodes)))
        right[place[nodes[served]], served] = 1.0
        return np.asarray(self._factor.solve(right)[: self.grid.n_edge])

    def _rows(self) -> list[sp.csr_matrix]:
        """Node balances, voltage drops and DC flows over the flows, voltages and angles."""
        grid, drops, dc = self.grid, self._drop_edges, self._dc_edges
        edges = np.arange(grid.n_edge)
        voltage = _numbered(self._voltage_nodes, grid.n_node, grid.n_edge)
        first_angle = grid.n_edge + len(self._voltage_nodes)
        angle = _numbered(np.flatnonzero(grid.has_angle), grid.n_node, first_angle)
        node = _numbered(self._balanced, grid.n_node, 0)
        size = first_angle + int(grid.has_angle.sum())
        drop, row = np.arange(len(drops)), np.arange(len(dc))
        ones, slope = np.ones(grid.n_edge), grid.edge_susceptance_kw[dc]
        balance = [(node[grid.edge_to], edges, ones), (node[grid.edge_from], edges, -ones)]
        fall = [
            (drop, voltage[grid.edge_from[drops]], grid.edge_inverse_ratio2[drops]),
            (drop, voltage[grid.edge_to[drops]], -np.ones(len(drops))),
            (drop, drops, -2.0 * grid.edge_r[drops]),
        ]
        driven = [
            (row, dc, np.ones(len(dc))),
            (row, angle[grid.edge_from[dc]], -slope),
            (row, angle[grid.edge_to[dc]], slope),
        ]
        return [
            _sparse(balance, len(self._balanced), size),
            _sparse(fall, len(drops), size),
            _sparse(driven, len(dc), size),
        ]


def _numbered(members: Indices, size: int, first: int) -> Indices:
    """Consecutive numbers for the members, -1 for all others."""
    number = np.full(size, -1, dtype=np.int64)
    number[members] = first + np.arange(len(members))
    return number


def _sparse(
    entries: list[tuple[Indices, Indices, Floats]], n_row: int, n_col: int
) -> sp.csr_matrix:
    """Sparse matrix of (row, column, value) arrays; negative places are left out."""
    row, column, value = (np.concatenate(part) for part in zip(*entries, strict=True))
    kept = (row >= 0) & (column >= 0)
    return sp.csr_matrix((value[kept], (row[kept], column[kept])), shape=(n_row, n_col))
