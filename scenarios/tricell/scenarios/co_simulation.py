"""The mosaik world of a scenario: which simulators there are and what flows between them.

::

    Households --power--> Storage --storage--> Market --schedule--> Grid --report--> Recorder
        |                    |                  |  |                  |
        +--------power-------|----------------->+  +<-----reclear-----+   (weak: same slot)
                             +<---battery_kw----+  +<---correction----+   (from the slot before)

The market and the grid form a group: within a slot the grid may ask the market to clear again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mosaik
import mosaik.exceptions
import numpy as np
from mosaik.starters import CmdStarter, ConnectStarter, PythonStarter, Starter

from tricell.errors import SimulatorError
from tricell.scenarios.faults import did_you_mean
from tricell.scenarios.third_party import Connection, ThirdPartySimulator
from tricell.scenarios.world import GENERATION_OFFER_EUR_PER_KWH, World
from tricell.simulators.battery_strategies import make_strategy
from tricell.simulators.grid_simulator import GridSettings, GridSimulator
from tricell.simulators.household_simulator import HouseholdSettings, HouseholdSimulator
from tricell.simulators.market_simulator import MarketSettings, MarketSimulator
from tricell.simulators.recorder_simulator import RecorderSettings, RecorderSimulator, Sink
from tricell.simulators.slot_simulator import SlotSimulator
from tricell.simulators.storage_simulator import StorageSettings, StorageSimulator
from tricell.simulators.watched_starter import InstanceStarter, WatchedStarter

Entity = Any


@dataclass
class CoSimulation:
    """A mosaik world with all simulators connected, ready to run.

    Attributes
    ----------
    mosaik_world : the mosaik World.
    simulators : tricell's own simulators by name.
    strangers : watched third-party simulators by name.
    """

    mosaik_world: mosaik.World
    simulators: Mapping[str, SlotSimulator[Any]]
    strangers: Mapping[str, WatchedStarter]

    @property
    def recorder(self) -> RecorderSimulator:
        """The recorder."""
        recorder = self.simulators["recorder"]
        assert isinstance(recorder, RecorderSimulator)
        return recorder

    def run(self, until_s: int) -> None:
        """Run to the end."""
        self.mosaik_world.run(until=until_s, print_progress=False, shutdown=False)

    def shut_down(self) -> None:
        """Stop all simulators, the recorder included, and close what mosaik opened."""
        loop = self.mosaik_world.loop
        try:
            _cancel_tasks(loop)
            self.mosaik_world.shutdown()  # type: ignore[no-untyped-call]  # mosaik's own gap
        finally:
            if not loop.is_closed():
                loop.close()


def simulator_settings(world: World, sink: Sink) -> dict[str, Any]:
    """Return the settings of each of tricell's simulators, by the names of `SIMULATORS`.

    Parameters
    ----------
    world : what runs.
    sink : takes the recorder's blocks.
    """
    time, population = world.scenario.time, world.population
    fee = world.areas.fee_eur_per_kwh[world.areas.agent_area]
    return {
        "households": HouseholdSettings(population, time.start_utc, time.slots),
        "storage": StorageSettings(
            batteries=population.batteries,
            names=world.battery_names,
            strategy=make_strategy(world.scenario.participants.battery),
            prices=world.prices,
            local_fee=fee[population.batteries.agent],
        ),
        "market": MarketSettings(
            market=world.market,
            feedback=world.feedback,
            participants=world.participants,
            areas=world.areas,
            area_ids=world.tree.id,
            prices=world.prices,
            generation_price=GENERATION_OFFER_EUR_PER_KWH,
        ),
        "grid": GridSettings(
            grid=world.grid,
            linear=world.linear,
            controller=world.controller,
            feedback=world.feedback,
            limits=world.limits,
            names=world.names,
            fixed_taps=world.fixed_taps,
            max_reclearings=world.scenario.market.max_reclearings,
        ),
        "recorder": RecorderSettings(world.recorder_layout(), sink),
    }


SIMULATORS: Mapping[str, type[SlotSimulator[Any]]] = {
    "households": HouseholdSimulator,
    "storage": StorageSimulator,
    "market": MarketSimulator,
    "grid": GridSimulator,
    "recorder": RecorderSimulator,
}
_GROUPED = ("market", "grid")


def connect_simulators(
    mosaik_world: mosaik.World,
    entities: Mapping[str, Entity],
    world: World,
) -> None:
    """Connect the parent entities of tricell's five simulators.

    Parameters
    ----------
    mosaik_world : the mosaik World that started them; market and grid in one group.
    entities : parent entity of each simulator, by the names of `SIMULATORS`.
    world : gives the values of the time before the first slot.
    """
    households, storage = entities["households"], entities["storage"]
    market, grid, recorder = entities["market"], entities["grid"], entities["recorder"]
    connect = mosaik_world.connect
    connect(households, storage, "power")
    connect(households, market, "power")
    connect(storage, market, "storage")
    connect(market, grid, "schedule")
    connect(grid, market, "reclear", weak=True)
    idle = {"battery_kw": np.zeros(len(world.population.batteries))}
    connect(market, storage, "battery_kw", time_shifted=True, initial_data=idle)
    first = {"correction": world.first_correction}
    connect(grid, market, "correction", time_shifted=True, initial_data=first)
    connect(grid, recorder, "report")


def start_co_simulation(world: World, sink: Sink) -> CoSimulation:
    """Start all simulators of a scenario, tricell's and third parties', and connect them.

    Raises
    ------
    SimulatorError
        If a third party's simulator does not start or cannot be connected as asked.
    """
    mosaik_world = mosaik.World({}, skip_greetings=True, configure_logging=False)
    simulators = {name: kind() for name, kind in SIMULATORS.items()}
    co_simulation = CoSimulation(mosaik_world, simulators, {})
    try:
        settings = simulator_settings(world, sink)
        step_s = world.scenario.time.step_s
        entities = {}

        def start(name: str) -> None:
            factory = mosaik_world.start(
                InstanceStarter(simulators[name]),
                sim_id=name,
                step_s=step_s,
                settings=settings[name],
            )
            entities[name] = getattr(factory, simulators[name].MODEL)()

        for name in SIMULATORS:
            if name not in _GROUPED:
                start(name)
        with mosaik_world.group():
            for name in _GROUPED:
                start(name)
        connect_simulators(mosaik_world, entities, world)
        co_simulation.strangers = _start_strangers(mosaik_world, world, entities)
    except BaseException:
        co_simulation.recorder.discard()
        co_simulation.shut_down()
        raise
    return co_simulation


def _start_strangers(
    mosaik_world: mosaik.World, world: World, entities: Mapping[str, Entity]
) -> dict[str, WatchedStarter]:
    ours = {child.eid: child for parent in entities.values() for child in parent.children}
    strangers = {}
    for settings in world.scenario.simulators:
        watched = WatchedStarter(settings.name, _starter(settings), settings.timeout_s)
        strangers[settings.name] = watched
        try:
            _start_and_connect(mosaik_world, world, settings, watched, ours)
        except (mosaik.exceptions.ScenarioError, SystemExit, TypeError, ValueError) as error:
            raise SimulatorError(
                f"simulator {settings.name!r} does not fit into the run: {error}. If values go "
                "both ways, set `time_shifted: true` on one of the connections."
            ) from error
    return strangers


def _starter(settings: ThirdPartySimulator) -> Starter:
    kind, text = settings.starter
    version = settings.api_version
    if kind == "python":
        return PythonStarter.from_string(text, api_version=version)
    if kind == "cmd":
        return CmdStarter(text, cwd=str(settings.cwd or "."), env=settings.env, api_version=version)
    return ConnectStarter.from_addr_string(text, api_version=version)


def _start_and_connect(
    mosaik_world: mosaik.World,
    world: World,
    settings: ThirdPartySimulator,
    watched: WatchedStarter,
    ours: Mapping[str, Entity],
) -> None:
    time = world.scenario.time
    factory = mosaik_world.start(
        watched, sim_id=settings.name, **settings.filled(settings.init, time.start, time.step_s)
    )
    model = getattr(factory, settings.model, None)
    if model is None:
        raise SimulatorError(
            f"simulator {settings.name!r} has no model {settings.model!r}; correct `model` in the "
            "scenario"
        )
    parameters = settings.filled(settings.create, time.start, time.step_s)
    created = model.create(settings.count, **parameters)
    for connection in settings.connections:
        _connect(mosaik_world, settings.name, connection, created, ours)


def _connect(
    mosaik_world: mosaik.World,
    name: str,
    connection: Connection,
    created: list[Entity],
    ours: Mapping[str, Entity],
) -> None:
    ends = []
    for end in (connection.source, connection.to):
        if end.target is None:
            ends.append(_own_entity(name, end.own_entity, created))
        else:
            kind, entity = end.target
            ends.append(_our_entity(name, kind, entity, ours))
    shifted: dict[str, Any] = {}
    if connection.time_shifted:
        shifted = {"time_shifted": True, "initial_data": connection.initial}
    mosaik_world.connect_one(
        ends[0],
        ends[1],
        connection.source.attr,
        connection.to.attr,
        transform=_scaled(connection.scale),
        **shifted,
    )


def _scaled(factor: float) -> Callable[[Any], Any]:
    if factor == 1.0:
        return lambda value: value
    return lambda value: value * factor


def _own_entity(name: str, wanted: int | str, created: list[Entity]) -> Entity:
    if isinstance(wanted, int):
        return created[wanted]
    candidates = {e.eid: e for parent in created for e in (parent, *parent.children)}
    if wanted not in candidates:
        raise SimulatorError(
            f"simulator {name!r} has no entity {wanted!r}; it has {', '.join(candidates)}"
        )
    return candidates[wanted]


def _our_entity(name: str, kind: str, entity: str, ours: Mapping[str, Entity]) -> Entity:
    found = ours.get(f"{kind}:{entity}")
    if found is None:
        known = [eid.split(":", 1)[1] for eid in ours if eid.startswith(f"{kind}:")]
        advice = did_you_mean(entity, known) or f"there are {len(known)}, such as {known[:3]}"
        raise SimulatorError(
            f"simulator {name!r} wants to connect to the {kind} {entity!r}, which does not exist; "
            f"{advice}"
        )
    return found


def _cancel_tasks(loop: asyncio.AbstractEventLoop) -> None:
    tasks = [task for task in asyncio.all_tasks(loop) if not task.done()]
    for task in tasks:
        if "handle remote requests" not in task.get_name():
            task.cancel()
    waiting = [t for t in tasks if "handle remote requests" not in t.get_name()]
    if waiting:
        loop.run_until_complete(asyncio.gather(*waiting, return_exceptions=True))
