"""Batteries of a scenario that several participants share, at the busbar of an area or at a bus.

::

    shared_batteries:
      - {name: village battery, area: LV2.101, energy_kwh: 200, power_kw: 100}
      - {name: cell storage, level: cell, energy_kwh: 1000, power_kw: 500,
         members: {LV2.101 Load 3: 2, LV2.101 Load 4: 1}}
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from tricell.grid_models.area_tree import LEVEL_NAMES, AreaTree
from tricell.scenarios.adoption import Positive, Share
from tricell.scenarios.participant_faults import FieldFaults
from tricell.scenarios.section import Section, broken_rule
from tricell.scenarios.vehicle_choice import Efficiency, Name
from tricell.scenarios.yaml_tree import Key
from tricell.simulators.flexible_devices import SharedBattery
from tricell.simulators.population import (
    AgentKind,
    AgentTable,
    Batteries,
    FloatArray,
    IntArray,
    Population,
)


class SharedBatteryChoice(Section):
    """A battery of several participants, which trades like one of them.

    Its place is one of `level`, `area` and `bus`.
    """

    name: Name
    """Its id in results; unique."""
    level: Literal["microgrid", "cell", "multicell"] | None = None
    """One battery at the busbar of every area of this level, `NAME, AREA` in results."""
    area: Name | None = None
    """At the busbar of this area."""
    bus: Name | None = None
    """At this bus."""
    energy_kwh: Positive
    """Usable capacity, kWh."""
    power_kw: Positive
    """Largest charging and discharging power, kW."""
    efficiency: Efficiency = 0.95
    """Efficiency of charging, and of discharging (0.95)."""
    self_discharge_per_day: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the stored energy lost in a day (0)."""
    start_share: Share = 0.0
    """Share of the capacity that is stored at the start (0)."""
    members: Literal["all"] | dict[Name, Positive] = "all"
    """Who shares what it earns: `all` who trade in its area and the areas below, alike; or
    participants with their shares, taken in proportion (all)."""

    @model_validator(mode="after")
    def _has_one_place(self) -> SharedBatteryChoice:
        given = [name for name in ("level", "area", "bus") if getattr(self, name) is not None]
        if len(given) != 1:
            raise broken_rule(
                f"`{self.name}` stands nowhere"
                if not given
                else f"`{self.name}` has several places",
                at=(given[-1],) if given else (),
                allowed="one of `level`, `area` and `bus`",
            )
        if self.level is not None and self.members != "all":
            raise broken_rule(
                f"every {self.level} gets a `{self.name}`, so that its members cannot be listed",
                at=("members",),
                allowed="all, or `area` instead of `level`",
            )
        return self


@dataclass(frozen=True)
class Site:
    """Network and areas that batteries are put into.

    Attributes
    ----------
    net : pandapowerNet
    tree : its areas.
    path : where the list of batteries stands in the scenario.
    faults : gets unknown areas, buses and members.
    """

    net: Any
    tree: AreaTree
    path: tuple[Key, ...]
    faults: FieldFaults


@dataclass(frozen=True)
class _Place:
    """Where a shared battery stands."""

    name: str
    bus_row: int
    area: int


def with_shared_batteries(
    population: Population, wanted: tuple[SharedBatteryChoice, ...], site: Site
) -> tuple[Population, tuple[SharedBattery, ...]]:
    """Append the shared batteries as agents.

    Parameters
    ----------
    population : all other agents.
    wanted : the batteries.
    site : where they are put.

    Returns
    -------
    Population
        With one more agent and battery each.
    tuple of SharedBattery
        Who shares what each earns.
    """
    placed: list[tuple[_Place, SharedBatteryChoice]] = []
    shared: list[SharedBattery] = []
    for position, each in enumerate(wanted):
        at = (*site.path, position)
        for place in _places(each, at, site):
            members, shares = _members(each, place, population, at, site)
            if not len(members):
                site.faults.add(at, f"`{place.name}` has no members: nobody trades in its area")
            elif not site.faults.found:
                shared.append(SharedBattery(len(population.agents) + len(shared), members, shares))
                placed.append((place, each))
    if site.faults.found or not placed:
        return population, ()
    return _appended(population, placed), tuple(shared)


def _places(wanted: SharedBatteryChoice, at: tuple[Key, ...], site: Site) -> list[_Place]:
    tree, faults = site.tree, site.faults
    if wanted.bus is not None:
        return _place_at_bus(wanted.name, wanted.bus, (*at, "bus"), site)
    if wanted.area is not None:
        what = f"`{wanted.name}` stands in the area `{wanted.area}`, which does not exist"
        known = {name: row for row, name in enumerate(tree.id)}
        allowed = f"an area: {', '.join(tree.id[:8])}{', ...' if len(tree) > 8 else ''}"
        area = faults.row_of(wanted.area, known, (*at, "area"), what, allowed)
        named = {} if area is None else {area: wanted.name}
    else:
        levels = [LEVEL_NAMES[int(level)] for level in tree.level]
        areas = [area for area, level in enumerate(levels) if level == wanted.level]
        named = {area: f"{wanted.name}, {tree.id[area]}" for area in areas}
        if not named:
            nowhere = f"the network has no {wanted.level} for `{wanted.name}`"
            faults.add((*at, "level"), nowhere, allowed=", ".join(dict.fromkeys(levels)))
    places = []
    for area, name in named.items():
        busbar = entry_bus(site.net, tree, area)
        if busbar is None:
            faults.add(
                (*at, "area" if wanted.area else "level"),
                f"the area `{tree.id[area]}` has no busbar where `{wanted.name}` could stand",
                suggestion="name a `bus` instead",
            )
        else:
            places.append(_Place(name, busbar, area))
    return places


def _place_at_bus(name: str, bus: str, at: tuple[Key, ...], site: Site) -> list[_Place]:
    names = [str(each) for each in site.net.bus["name"]]
    rows = {each: row for row, each in enumerate(names)}
    what = f"`{name}` stands at the bus `{bus}`, which does not exist"
    row = site.faults.row_of(bus, rows, at, what, "the name of a bus of the network")
    if row is None:
        return []
    area = int(site.tree.area_of_bus[row])
    if names.count(bus) > 1 or area < 0:
        why = f"{names.count(bus)} buses have that name" if area >= 0 else "it is in no area"
        site.faults.add(at, f"`{name}` cannot stand at the bus `{bus}`: {why}")
        return []
    return [_Place(name, row, area)]


def entry_bus(net: Any, tree: AreaTree, area: int) -> int | None:
    """Return the row of the bus where an area is connected to the grid above it.

    Of several connections it is that of the first; of an area with the external grid inside, the
    bus of that; None for an area without any of both.
    """
    connected = [
        net[table].iloc[row][column]
        for table, row in tree.connection_trafos[area]
        for column in ("lv_bus", "mv_bus", "to_bus", "from_bus")
        if column in net[table]
    ]
    sources = net.ext_grid.bus[net.ext_grid.in_service.astype(bool)]
    rows = net.bus.index.get_indexer([*connected, *sources])
    inside = [int(row) for row in rows if tree.area_of_bus[row] == area]
    return inside[0] if inside else None


def _members(
    wanted: SharedBatteryChoice,
    place: _Place,
    population: Population,
    at: tuple[Key, ...],
    site: Site,
) -> tuple[IntArray, FloatArray]:
    """Return the members, and their shares of 1 in all."""
    if wanted.members == "all":
        members = _all_in(place.area, site.tree, population)
        return members, np.full(len(members), 1.0 / max(len(members), 1))
    rows = {name: row for row, name in enumerate(population.agents.id)}
    found = [
        site.faults.row_of(
            name,
            rows,
            (*at, "members", name),
            f"`{name}`, a member of `{wanted.name}`, does not exist",
            "a participant of the network or of `participants.extra`",
        )
        for name in wanted.members
    ]
    shares = np.array(list(wanted.members.values()))
    return np.array([row or 0 for row in found], dtype=np.int64), shares / shares.sum()


def _all_in(area: int, tree: AreaTree, population: Population) -> IntArray:
    """Return everybody who trades in an area or below it, but for lower grids."""
    inside = np.zeros(len(tree) + 1, dtype=np.bool_)  # the last stands for no area, row -1
    for row in range(area, len(tree)):  # a parent stands before its children
        inside[row] = row == area or inside[tree.parent[row]]
    agents = population.agents
    trades = inside[tree.area_of_bus[agents.bus_row]] & population.takes_part
    return np.flatnonzero(trades & (agents.kind != AgentKind.LOWER_GRID))


def _appended(
    population: Population, placed: list[tuple[_Place, SharedBatteryChoice]]
) -> Population:
    agents, batteries = population.agents, population.batteries
    places, sizes = zip(*placed, strict=True)
    rows = np.array([place.bus_row for place in places], dtype=np.int64)
    kinds = np.full(len(places), int(AgentKind.SHARED_STORAGE))
    energy = np.array([each.energy_kwh for each in sizes])
    power = np.array([each.power_kw for each in sizes])
    efficiency = np.array([each.efficiency for each in sizes])
    more = Batteries(
        agent=len(agents) + np.arange(len(places)),
        energy_kwh=energy,
        charge_kw=power,
        discharge_kw=power,
        eta_charge=efficiency,
        eta_discharge=efficiency,
        self_discharge_per_day=np.array([each.self_discharge_per_day for each in sizes]),
        soc0_kwh=energy * np.array([each.start_share for each in sizes]),
    )
    columns = {
        key: np.concatenate([value, getattr(more, key)]) for key, value in vars(batteries).items()
    }
    return replace(
        population,
        agents=AgentTable(
            id=(*agents.id, *(place.name for place in places)),
            bus_row=np.concatenate([agents.bus_row, rows]),
            kind=np.concatenate([agents.kind, kinds]),
        ),
        batteries=Batteries(**columns),
    )
