"""Services of a scenario, placed in the network of a run: who can serve them, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from tricell.grid_models.area_tree import AreaTree
from tricell.grid_models.electrical_grid import ElectricalGrid
from tricell.grid_models.linear_grid import LinearGrid
from tricell.markets.linear_flow import LinearFlow
from tricell.markets.services.offers import Direction
from tricell.markets.services.service import Service, ServiceKind, StoreOwners
from tricell.scenarios.local_times import RunClock
from tricell.scenarios.participant_faults import FieldFaults
from tricell.scenarios.prices_of_owners import owner_prices
from tricell.scenarios.schema import Scenario
from tricell.scenarios.services import (
    BoughtEnergy,
    DsoRequest,
    PeakShaving,
    Reserve,
    ServiceEntry,
)
from tricell.scenarios.world import World, unique_names
from tricell.scenarios.yaml_tree import Key
from tricell.simulators.battery_fleet import BatteryDevices
from tricell.simulators.flexible_devices import FlexibleDevices
from tricell.simulators.population import FloatArray, IntArray, Population
from tricell.simulators.service_desk import RunServices
from tricell.simulators.store_fleets import other_fleets

NAMES_SHOWN = 8


def run_services(world: World) -> RunServices | None:
    """Return the services of a world and who can serve them; None without any.

    Raises
    ------
    ParticipantError
        As `place_services`.
    """
    scenario, population = world.scenario, world.population
    if not scenario.services:
        return None
    site = ServiceSite(
        scenario, world.net, world.tree, world.grid, world.linear, population, world.flexible
    )
    hours = scenario.time.step_hours
    fleets = (
        BatteryDevices(population.batteries, world.battery_names, hours),
        *other_fleets(world.flexible, hours),
    )
    energy = [fleet.energy_per_power(0) for fleet in fleets]
    return RunServices(
        services=place_services(site),
        who=site.who,
        store_agent=site.store_agent,
        agent_node=world.participants.agent_node,
        prices=owner_prices(world, site.store_agent),
        round_trip=np.concatenate([each.into / each.out_of for each in energy]),
        wear_eur_per_kwh=np.concatenate([each.wear_eur_per_kwh for each in energy]),
    )


@dataclass(frozen=True)
class ServiceSite:
    """A scenario, its network and who stands in it."""

    scenario: Scenario
    net: Any
    tree: AreaTree
    grid: ElectricalGrid
    linear: LinearGrid
    population: Population
    flexible: FlexibleDevices
    faults: FieldFaults = field(default_factory=FieldFaults)

    @cached_property
    def store_agent(self) -> IntArray:
        """Owner of each store, batteries first."""
        fleets = other_fleets(self.flexible, self.scenario.time.step_hours)
        return np.concatenate([self.population.batteries.agent, *[f.agent for f in fleets]])

    @cached_property
    def who(self) -> StoreOwners:
        """Owners of the stores in the tree of areas."""
        # Whoever stands at the mere grid connection belongs to the top area.
        area = np.maximum(self.tree.area_of_bus[self.population.agents.bus_row], 0)
        return StoreOwners.of(self.store_agent, area, np.asarray(self.tree.parent, np.int64))

    @cached_property
    def clock(self) -> RunClock:
        """Slots of the run by the clock of the place."""
        time = self.scenario.time
        return RunClock(time.start, time.slots, time.step_s, ZoneInfo(time.local_zone))


def place_services(site: ServiceSite) -> tuple[Service, ...]:
    """Return the services of a scenario, in its order.

    Raises
    ------
    ParticipantError
        If names repeat, an area, line or transformer does not exist, a service is never open, or
        nobody could serve it; all faults at once.
    """
    wanted = site.scenario.services
    site.faults.refuse_repeated(
        [(each.name, ("services", row, "name")) for row, each in enumerate(wanted)],
        (),
        "two services are called `{}`",
    )
    found = tuple(_service(site, ("services", row), each) for row, each in enumerate(wanted))
    site.faults.raise_if_any()
    return found


def _service(site: ServiceSite, path: tuple[Key, ...], wanted: ServiceEntry) -> Service:
    is_open = wanted.is_open(site.clock)
    if not is_open.any():
        time = site.scenario.time
        site.faults.add(
            (*path, "from"),
            f"service `{wanted.name}` is open in no whole slot of the run",
            allowed=f"times between {time.start:%Y-%m-%dT%H:%MZ} and {time.end:%Y-%m-%dT%H:%MZ}",
        )
    area, effect = _place(site, path, wanted)
    effect = np.where(site.population.takes_part[site.store_agent], effect, 0.0)
    if not effect.any():
        site.faults.add(
            path,
            f"service `{wanted.name}` asks nobody: no battery, vehicle or heat pump of anybody who "
            "trades stands there",
            suggestion="name another place, or give households there something that stores energy",
        )
    goes_up = not isinstance(wanted, PeakShaving) and wanted.direction == "up"
    return Service(
        name=wanted.name,
        kind=ServiceKind(wanted.kind),
        direction=Direction.UP if goes_up else Direction.DOWN,
        area=area,
        effect=effect,
        is_open=is_open,
        power_kw=_power_kw(wanted),
        capacity_price=getattr(wanted, "capacity_price_eur_per_kw_h", 0.0),
        **(wanted.terms if isinstance(wanted, BoughtEnergy) else {}),
    )


def _power_kw(wanted: ServiceEntry) -> float:
    if isinstance(wanted, PeakShaving):
        return wanted.limit_kw
    return wanted.power_kw if isinstance(wanted, Reserve) else wanted.need_kw


def _place(
    site: ServiceSite, path: tuple[Key, ...], wanted: ServiceEntry
) -> tuple[int, FloatArray]:
    """Return the row of the area that is asked, -1 for none, and the effect of every store."""
    if isinstance(wanted, DsoRequest):
        if wanted.line is not None:
            return -1, _effect_behind(site, "line", wanted.line, path)
        if wanted.trafo is not None:
            return -1, _effect_behind(site, "trafo", wanted.trafo, path)
    area: int | None = int(np.flatnonzero(np.asarray(site.tree.parent) < 0)[0])
    if wanted.area is not None:
        area = site.faults.row_of(
            wanted.area,
            {name: row for row, name in enumerate(site.tree.id)},
            (*path, "area"),
            f"there is no area `{wanted.area}`",
            f"one of {_listed(site.tree.id)}",
        )
    if area is None:
        return -1, _some(site)
    return area, site.who.below(area).astype(np.float64)


def _effect_behind(site: ServiceSite, element: str, name: str, path: tuple[Key, ...]) -> FloatArray:
    """Return how much a kW of every store changes the flow through a line or transformer."""
    net, grid, linear = site.net, site.grid, site.linear
    names = unique_names(
        list(net.line["name"]) if element == "line" else [*net.trafo["name"], *net.trafo3w["name"]],
        element,
    )
    row = site.faults.row_of(
        name,
        {each: row for row, each in enumerate(names)},
        (*path, element),
        f"there is no {element} `{name}`",
        f"one of {_listed(names)}",
    )
    if row is None:
        return _some(site)
    branch = int((grid.line_branch if element == "line" else grid.transformer_branch)[row])
    edge = -1 if branch < 0 else int(linear.branch_edge[branch])
    if edge < 0 or linear.edge_meshed[edge]:
        site.faults.add(
            (*path, element),
            f"the {element} `{name}` is out of service or part of a loop",
            allowed=f"a {element} with one side that is fed through it alone, or an `area`",
        )
        return _some(site)
    node = grid.node_of_bus[site.population.agents.bus_row][site.store_agent]
    return np.asarray(LinearFlow(linear, grid.node_constant_p_kw).flow_per_kw(node)[edge])


def _some(site: ServiceSite) -> FloatArray:
    """Any effect: where the place is unknown, that is fault enough."""
    return np.ones(len(site.store_agent))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    more = len(names) - NAMES_SHOWN
    return shown + (f" and {more} more" if more > 0 else "")
