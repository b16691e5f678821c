"""What an AC power flow teaches the linear grid model.

LinDistFlow and DC flow leave out losses, line charging, reactive flow in loops and tap positions.
The difference between the last AC solution and the linear one changes slowly, so it is carried
into the next clearing: voltages as a residual of each drop equation, flows as limits on active
power that already allow for losses and for reactive power.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tricell.grid_models.electrical_grid import ElectricalGrid
from tricell.grid_models.linear_grid import LinearGrid
from tricell.grid_models.power_flow import PowerFlowState

Floats = NDArray[np.float64]

KVA_PER_MVA = 1000.0

LIGHTLY_LOADED = 0.5
"""Below this share of its limit an edge keeps its plain rating: no correction could matter, and
limits that do not change need not be handed to the solver again."""


@dataclass(frozen=True)
class Correction:
    """What the next clearing takes over from an AC solution, per edge.

    Attributes
    ----------
    drop_residual : what is missing in each LinDistFlow row, pu^2, without its reactive part.
    flow_min_kw, flow_max_kw : limits on the linear model's active flow.
    """

    drop_residual: Floats
    flow_min_kw: Floats
    flow_max_kw: Floats


class AcFeedback:
    """Turns AC solutions into corrections of one linear grid model.

    Parameters
    ----------
    grid : node and branch arrays, with ratings.
    linear : linear model of the same grid.
    loading_limit : allowed share of the rated current per branch (1 for 100 %).
    """

    def __init__(self, grid: ElectricalGrid, linear: LinearGrid, loading_limit: Floats) -> None:
        self._linear = linear
        line_voltage = np.sqrt(3.0) * KVA_PER_MVA
        from_kv, to_kv = grid.node_vn_kv[grid.branch_from], grid.node_vn_kv[grid.branch_to]
        self._from, self._to = grid.branch_from, grid.branch_to
        self._from_kva = line_voltage * from_kv * grid.branch_rating_from_ka * loading_limit
        self._to_kva = line_voltage * to_kv * grid.branch_rating_to_ka * loading_limit
        self._by_edge = np.argsort(linear.branch_edge, kind="stable")
        self._first_of_edge = np.searchsorted(
            linear.branch_edge[self._by_edge], np.arange(linear.n_edge)
        )
        plain = np.minimum(self._from_kva, self._to_kva) / linear.branch_share
        self._plain_kw = np.minimum.reduceat(plain[self._by_edge], self._first_of_edge)
        self._parent_known = linear.has_voltage[linear.edge_from]

    def correction(self, state: PowerFlowState, flow_kw: Floats, q_kvar: Floats) -> Correction:
        """Return the correction that makes the linear model meet an AC solution.

        Parameters
        ----------
        state : AC solution.
        flow_kw : active flow per edge in the linear model of the same schedule.
        q_kvar : reactive consumption per node of the same schedule.
        """
        low, high = self._flow_limits(state, flow_kw)
        return Correction(self._drop_residual(state.vm_pu, flow_kw, q_kvar), low, high)

    def voltage_offset(self, correction: Correction, q_kvar: Floats) -> Floats:
        """Right-hand side of the LinDistFlow rows for a slot's reactive consumption, per edge."""
        reactive = self._linear.downstream_sum(q_kvar)
        return np.asarray(correction.drop_residual + 2.0 * self._linear.edge_x * reactive)

    def _drop_residual(self, vm_pu: Floats, flow_kw: Floats, q_kvar: Floats) -> Floats:
        linear, squared = self._linear, vm_pu**2
        parent = squared[linear.edge_from] * linear.edge_inverse_ratio2
        reactive = linear.downstream_sum(q_kvar)
        drop = np.where(self._parent_known, parent, 0.0) - squared[linear.edge_to]
        return np.asarray(drop - 2.0 * (linear.edge_r * flow_kw + linear.edge_x * reactive))

    def _flow_limits(self, state: PowerFlowState, flow_kw: Floats) -> tuple[Floats, Floats]:
        linear = self._linear
        share = linear.branch_share
        linear_flow = share * flow_kw[linear.branch_edge]
        out_of_from = linear.branch_sign * state.p_from_kw - linear_flow
        into_to = -linear.branch_sign * state.p_to_kw - linear_flow
        from_kw = _active_capacity(self._from_kva * state.vm_pu[self._from], state.q_from_kvar)
        to_kw = _active_capacity(self._to_kva * state.vm_pu[self._to], state.q_to_kvar)
        high = np.minimum(from_kw - out_of_from, to_kw - into_to) / share
        low = np.maximum(-from_kw - out_of_from, -to_kw - into_to) / share
        edge_low = np.maximum.reduceat(low[self._by_edge], self._first_of_edge)
        edge_high = np.minimum.reduceat(high[self._by_edge], self._first_of_edge)
        light = np.abs(flow_kw) < LIGHTLY_LOADED * np.minimum(edge_high, -edge_low)
        edge_low = np.where(light, -self._plain_kw, edge_low)
        edge_high = np.where(light, self._plain_kw, edge_high)
        crossed = edge_low > edge_high
        if crossed.any():
            middle = 0.5 * (edge_low[crossed] + edge_high[crossed])
            edge_low[crossed] = edge_high[crossed] = middle
        return edge_low, edge_high


def _active_capacity(kva: Floats, kvar: Floats) -> Floats:
    """Active power that fits beside reactive power within an apparent-power rating, kW."""
    with np.errstate(invalid="ignore"):
        return np.sqrt(np.maximum(kva * kva - kvar * kvar, 0.0))
