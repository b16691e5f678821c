"""Distance from the connection of an area: by hand on a small feeder, and on a real network."""

from __future__ import annotations

import numpy as np
import pandapower as pp
import pytest

from tricell.grid_models.area_tree import cut_areas
from tricell.grid_models.electrical_distance import distance_from_connection
from tricell.grid_models.electrical_grid import build_electrical_grid
from tricell.grid_models.linear_grid import build_linear_grid


def feeder() -> pp.pandapowerNet:
    """One transformer and three lines in a row, of 0.2 + 0.1j ohm per km."""
    net = pp.create_empty_network()
    buses = [pp.create_bus(net, 20.0), *(pp.create_bus(net, 0.4) for _ in range(4))]
    pp.create_ext_grid(net, buses[0])
    pp.create_transformer(net, buses[0], buses[1], "0.4 MVA 20/0.4 kV")
    for start, length in zip((1, 2, 3), (0.1, 0.3, 0.2), strict=True):
        pp.create_line_from_parameters(
            net, buses[start], buses[start + 1], length, 0.2, 0.1, 0.0, 0.3
        )
    return net


def measured(net: pp.pandapowerNet) -> tuple[np.ndarray, np.ndarray]:
    grid = build_electrical_grid(net)
    tree = cut_areas(net)
    linear = build_linear_grid(grid, tree, grid.node_of_bus)
    found = distance_from_connection(grid, linear.node_area, np.asarray(tree.parent))
    return found.ohm[grid.node_of_bus], found.branches[grid.node_of_bus]


def test_distance_adds_up_from_the_transformer_to_the_end_of_the_feeder() -> None:
    ohm, branches = measured(feeder())
    per_km = np.hypot(0.2, 0.1)
    # Short-circuit voltage 6 % of 0.4 MVA at 0.4 kV.
    transformer = 0.06 * 0.4**2 / 0.4
    assert ohm[1] == pytest.approx(transformer, rel=1e-3)
    assert np.diff(ohm[1:]) == pytest.approx(per_km * np.array([0.1, 0.3, 0.2]), rel=1e-9)
    assert branches[1:].tolist() == [1.0, 2.0, 3.0, 4.0]


def test_of_two_parallel_lines_the_shorter_one_counts() -> None:
    net = feeder()
    pp.create_line_from_parameters(net, 1, 2, 0.05, 0.2, 0.1, 0.0, 0.3)
    ohm, _ = measured(net)
    assert ohm[2] - ohm[1] == pytest.approx(0.05 * np.hypot(0.2, 0.1), rel=1e-9)
