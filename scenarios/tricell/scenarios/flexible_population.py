"""Devices that shift energy, beside the batteries of households: from a scenario to arrays."""

from __future__ import annotations

from typing import Any

from tricell.grid_models.area_tree import AreaTree
from tricell.scenarios.schema import Scenario
from tricell.simulators.flexible_devices import FlexibleDevices
from tricell.simulators.population import Population


def build_flexible(
    scenario: Scenario, net: Any, tree: AreaTree, population: Population
) -> tuple[Population, FlexibleDevices]:
    """Return everybody with the agents and batteries that are shared, and all flexible devices.

    Parameters
    ----------
    scenario : Scenario
    net : pandapowerNet
    tree : its areas.
    population : from `tricell.scenarios.participants.build_population`.
    """
    return population, FlexibleDevices()
