"""Services of a scenario, placed in the network of a run: who can serve them, and when."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import numpy as np

from tricell.markets.linear_flow import LinearFlow
from tricell.markets.services.offers import Direction
from tricell.markets.services.service import Service, ServiceKind, StoreOwners
from tricell.scenarios.local_times import RunClock
from tricell.scenarios.participant_faults import FieldFaults
from tricell.scenarios.services import BoughtEnergy, PeakShaving, Reserve, ServiceEntry
from tricell.scenarios.store_settings import owner_prices
from tricell.scenarios.world import World
from tricell.simulators.battery_fleet import BatteryDevices
from tricell.simulators.population import FloatArray
from tricell.simulators.service_desk import RunServices
from tricell.simulators.store_fleets import other_fleets

NAMES_SHOWN = 8


def run_services(world: World) -> RunServices | None:
    """Return the services of a world and who can serve them; None without any.

    Raises
    ------
    ParticipantError
        If names repeat, an area, line or transformer does not exist, a service is never open, or
        nobody could serve it; all faults at once.
    """
    wanted = world.scenario.services
    if not wanted:
        return None
    hours, agent = world.scenario.time.step_hours, world.participants.battery_agent
    who = StoreOwners.of(agent, world.areas.agent_area, world.areas.parent)
    faults = FieldFaults()
    faults.refuse_repeated(
        [(each.name, ("services", row, "name")) for row, each in enumerate(wanted)],
        (),
        "two services are called `{}`",
    )
    found = [_service(world, who, row, each, faults) for row, each in enumerate(wanted)]
    faults.raise_if_any()
    fleets = (
        BatteryDevices(world.population.batteries, world.battery_names, hours),
        *other_fleets(world.flexible, hours),
    )
    energy = [fleet.energy_per_power(0) for fleet in fleets]
    return RunServices(
        services=tuple(found),
        who=who,
        store_agent=agent,
        agent_node=world.participants.agent_node,
        prices=owner_prices(world, agent),
        round_trip=np.concatenate([each.into / each.out_of for each in energy]),
        wear_eur_per_kwh=np.concatenate([each.wear_eur_per_kwh for each in energy]),
    )


def _service(
    world: World, who: StoreOwners, row: int, wanted: ServiceEntry, faults: FieldFaults
) -> Service:
    path = ("services", row)
    time = world.scenario.time
    clock = RunClock(time.start, time.slots, time.step_s, ZoneInfo(time.local_zone))
    is_open = wanted.is_open(clock)
    if not is_open.any():
        faults.add(
            (*path, "from"),
            f"service `{wanted.name}` is open in no whole slot of the run",
            allowed=f"times between {time.start:%Y-%m-%dT%H:%MZ} and {time.end:%Y-%m-%dT%H:%MZ}",
        )
    area, effect = _place(world, who, path, wanted, faults)
    takes_part = world.areas.takes_part[world.participants.battery_agent]
    effect = np.where(takes_part, effect, 0.0)
    if not effect.any():
        faults.add(
            path,
            f"service `{wanted.name}` asks nobody: no battery, vehicle or heat pump of anybody who "
            "trades stands there",
            suggestion="name another place, or give households there something that stores energy",
        )
    return Service(
        name=wanted.name,
        kind=ServiceKind(wanted.kind),
        direction=Direction.UP if getattr(wanted, "direction", "down") == "up" else Direction.DOWN,
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
    world: World,
    who: StoreOwners,
    path: tuple[str | int, ...],
    wanted: ServiceEntry,
    faults: FieldFaults,
) -> tuple[int, FloatArray]:
    """Return the row of the area that is asked, and the effect of every store."""
    some = np.ones(len(who.owner))  # Where the place is unknown, that is the only fault.
    for element in ("line", "trafo"):
        name = getattr(wanted, element, None)
        if name is not None:
            effect = _effect_behind(world, element, name, path, faults)
            return -1, some if effect is None else effect
    if wanted.area is None:
        tops = np.flatnonzero(world.areas.parent < 0)
        return int(tops[0]), some
    rows = {name: row for row, name in enumerate(world.tree.id)}
    known = _listed(world.tree.id)
    area = faults.row_of(
        wanted.area,
        rows,
        (*path, "area"),
        f"there is no area `{wanted.area}`",
        f"one of {known}",
    )
    return (0, some) if area is None else (area, who.below(area).astype(np.float64))


def _effect_behind(
    world: World, element: str, name: str, path: tuple[str | int, ...], faults: FieldFaults
) -> FloatArray | None:
    """Return how much a kW of every store changes the flow through a line or transformer."""
    names = world.names.line if element == "line" else world.names.trafo
    rows = {each: row for row, each in enumerate(names)}
    row = faults.row_of(
        name,
        rows,
        (*path, element),
        f"there is no {element} `{name}`",
        f"one of {_listed(names)}",
    )
    if row is None:
        return None
    grid, linear = world.grid, world.linear
    branch = int((grid.line_branch if element == "line" else grid.transformer_branch)[row])
    edge = -1 if branch < 0 else int(linear.branch_edge[branch])
    if edge < 0 or linear.edge_meshed[edge]:
        faults.add(
            (*path, element),
            f"the {element} `{name}` is out of service or part of a loop",
            allowed=f"a {element} with one side that is fed through it alone, or an area",
        )
        return None
    flow = LinearFlow(linear, world.market.problem.constant_kw)
    node = world.participants.agent_node[world.participants.battery_agent]
    return np.asarray(flow.flow_per_kw(node)[edge])


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    more = len(names) - NAMES_SHOWN
    return shown + (f" and {more} more" if more > 0 else "")
