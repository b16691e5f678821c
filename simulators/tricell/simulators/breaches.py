"""Limits that the market could not keep: which, how often, since when and by how much."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.simulators.grid_simulator import (
    FLOW_BREACH_TOLERANCE_KW,
    VOLTAGE2_BREACH_TOLERANCE,
)
from tricell.simulators.slot_simulator import Memory

Floats = NDArray[np.float64]


class Breaches:
    """Limits that the market could not keep, over the run.

    Attributes
    ----------
    flow_kw, voltage2 : largest breach per edge (kW) and per node (pu^2), 0 where there was none.
    flow_kw_sum : sum over slots per edge, kW.
    edge_slots, node_slots : number of slots.
    edge_first, node_first : first slot.
    """

    def __init__(self, n_edge: int, n_node: int) -> None:
        self.flow_kw, self.voltage2 = np.zeros(n_edge), np.zeros(n_node)
        self.flow_kw_sum = np.zeros(n_edge)
        self.edge_slots, self.node_slots = np.zeros(n_edge, np.int64), np.zeros(n_node, np.int64)
        self.edge_first, self.node_first = np.zeros(n_edge, np.int64), np.zeros(n_node, np.int64)

    def memory(self) -> dict[str, NDArray[Any]]:
        """Return all figures so far."""
        return vars(self).copy()

    def recall(self, memory: Memory) -> None:
        """Go on from what `memory` returned."""
        vars(self).update(memory)

    def add(self, slot: int, flow_kw: Floats, voltage2: Floats) -> None:
        """Take the breaches of a slot."""
        edges = np.flatnonzero(np.abs(flow_kw) > FLOW_BREACH_TOLERANCE_KW)
        nodes = np.flatnonzero(np.abs(voltage2) > VOLTAGE2_BREACH_TOLERANCE)
        if len(edges):
            by = np.abs(flow_kw[edges])
            self.edge_first[edges[self.edge_slots[edges] == 0]] = slot
            self.edge_slots[edges] += 1
            self.flow_kw_sum[edges] += by
            self.flow_kw[edges] = np.maximum(self.flow_kw[edges], by)
        if len(nodes):
            self.node_first[nodes[self.node_slots[nodes] == 0]] = slot
            self.node_slots[nodes] += 1
            self.voltage2[nodes] = np.maximum(self.voltage2[nodes], np.abs(voltage2[nodes]))
