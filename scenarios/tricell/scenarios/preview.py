"""What a scenario is about, found out without running it: areas, grid findings, participants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tricell.grid_models.area_tree import AreaRow, AreaTree, render_tree
from tricell.grid_models.electrical_grid import build_electrical_grid
from tricell.grid_models.findings import GridFinding
from tricell.grid_models.linear_grid import build_linear_grid
from tricell.markets.charge import Charge, EnergyRates
from tricell.scenarios.flexible_population import build_flexible
from tricell.scenarios.network import load_network
from tricell.scenarios.network_charges import (
    build_calendar,
    build_charges,
    build_customers,
    energy_rates,
)
from tricell.scenarios.participants import build_population
from tricell.scenarios.schema import Scenario
from tricell.scenarios.service_settings import ServiceSite, place_services
from tricell.scenarios.world import build_prices
from tricell.simulators.population import Population


@dataclass(frozen=True)
class PriceRange:
    """Lowest, mean and highest value of a price, EUR/kWh."""

    name: str
    lowest: float
    mean: float
    highest: float


@dataclass(frozen=True)
class Preview:
    """A scenario with what its network and its data turn out to hold."""

    scenario: Scenario
    areas: tuple[AreaRow, ...]
    members: Mapping[str, int]
    """Participants by id of the area whose market they trade in."""
    findings: tuple[GridFinding, ...]
    counts: Mapping[str, int]
    """Agents, devices and batteries by kind."""
    charges: tuple[Charge, ...]
    prices: tuple[PriceRange, ...]
    notes: tuple[str, ...]
    """What was left out of the data, or read in a particular way."""


def preview(scenario: Scenario) -> Preview:
    """Load the network and the data of a scenario and look at them.

    Raises
    ------
    TricellError
        If the network or the data cannot be used.
    """
    network = load_network(scenario)
    net, tree = network.net, network.tree
    population, flexible = build_flexible(scenario, net, tree, build_population(scenario, net))
    grid = build_electrical_grid(net)
    linear = build_linear_grid(grid, tree, grid.node_of_bus)
    place_services(ServiceSite(scenario, net, tree, grid, linear, population, flexible))
    calendar = build_calendar(scenario.time)
    customers = build_customers(population, tree, grid, linear.node_area)
    charges = build_charges(scenario, tree.id)
    return Preview(
        scenario=scenario,
        areas=tuple(render_tree(tree, net)),
        members=_members(population, tree),
        findings=network.findings,
        counts=population.counts(),
        charges=charges,
        prices=_price_ranges(scenario, energy_rates(charges, calendar, customers)),
        notes=population.notes,
    )


def _members(population: Population, tree: AreaTree) -> dict[str, int]:
    area = tree.area_of_bus[population.agents.bus_row]
    counts = np.bincount(area[area >= 0], minlength=len(tree))
    return {name: int(count) for name, count in zip(tree.id, counts, strict=True)}


def _price_ranges(scenario: Scenario, rates: EnergyRates) -> tuple[PriceRange, ...]:
    _, prices = build_prices(scenario, rates)
    series = {"wholesale": prices.wholesale, "retail": prices.retail, "feed-in": prices.feed_in}
    return tuple(
        PriceRange(name, float(values.min()), float(values.mean()), float(values.max()))
        for name, values in series.items()
    )
