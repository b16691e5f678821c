"""The network of a scenario: loaded, checked and cut into areas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tricell.errors import GridError
from tricell.grid_models.area_tree import AreaTree, cut_areas
from tricell.grid_models.findings import GridFinding
from tricell.grid_models.grid_check import check_grid
from tricell.grid_models.grid_sources import load_grid
from tricell.scenarios.schema import Scenario


@dataclass(frozen=True)
class Network:
    """A pandapower network that can be used, its areas, and what is to be said about it."""

    net: Any
    tree: AreaTree
    findings: tuple[GridFinding, ...]


def load_network(scenario: Scenario) -> Network:
    """Load, check and cut the network of a scenario.

    Raises
    ------
    GridError
        With everything that stops a run.
    """
    net = load_grid(scenario.grid.source)
    findings = tuple(check_grid(net))
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        lines = [f"  {error.name}: {error.message}; {error.treatment}" for error in errors]
        raise GridError("\n".join(["The network cannot be used as it is.", *lines]))
    areas = scenario.grid.areas
    cut_rows = areas.cut_line_rows(list(net.line["name"]))
    tree = cut_areas(net, cut_rows, areas.merge_by_substation)
    return Network(net, tree, findings)
