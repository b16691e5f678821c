"""The mosaik world of a scenario: which simulators there are and what flows between them.

::

    Households -forecast> Storage --storage--> Market --schedule--> Grid --report--> Recorder
        |                    |                  |  |                  |
        +---power, forecast--|----------------->+  +<-----reclear-----+   (weak: same slot)
                             +<---battery_kw----+  +<---correction----+   (from the slot before)

The market and the grid form a group: within a slot the grid may ask the market to clear again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

import mosaik
import mosaik.exceptions
import numpy as np
from mosaik.starters import ConnectStarter, Starter

from tricell.errors import SimulatorError
from tricell.grid_models.ac_feedback import Correction
from tricell.scenarios.envelope_settings import gate_settings
from tricell.scenarios.faults import did_you_mean
from tricell.scenarios.schema import Market, Time
from tricell.scenarios.service_settings import run_services
from tricell.scenarios.store_settings import storage_settings
from tricell.scenarios.third_party import Connection, ThirdPartySimulator
from tricell.scenarios.world import GENERATION_OFFER_EUR_PER_KWH, World
from tricell.simulators.grid_simulator import GridSettings, GridSimulator
from tricell.simulators.household_simulator import HouseholdSettings, HouseholdSimulator
from tricell.simulators.inverter_control import InverterControl
from tricell.simulators.market_settings import MarketSettings
from tricell.simulators.market_simulator import MarketSimulator
from tricell.simulators.recorder_simulator import RecorderSettings, RecorderSimulator, Sink
from tricell.simulators.simulator_starters import CommandStarter, ModuleStarter
from tricell.simulators.slot_simulator import Memory, SlotSimulator
from tricell.simulators.storage_simulator import StorageSimulator
from tricell.simulators.watched_starter import InstanceStarter, WatchedStarter

Entity = Any

MOSAIK_START_TIMEOUT_S = 60.0
NAMES_SHOWN = 5
CONNECTION_TASKS = ("handle remote requests for", "Reader task for")
"""Names of the tasks that hold the connections to remote simulators."""

MOSAIK_ERRORS = (
    mosaik.exceptions.ScenarioError,
    mosaik.exceptions.SimulationError,
    mosaik.exceptions.SimulatorError,
)
UNUSABLE = (
    *MOSAIK_ERRORS,
    SystemExit,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""What mosaik raises when a simulator's answers are not what they should be."""


@dataclass
class CoSimulation:
    """A mosaik world with all simulators connected, ready to run.

    Attributes
    ----------
    mosaik_world : the mosaik World.
    simulators : tricell's own simulators by name.
    strangers : watched third-party simulators by name.
    time : the period.
    first_slot : where the run begins; not 0 where one goes on that was stopped.
    """

    mosaik_world: mosaik.World
    simulators: Mapping[str, SlotSimulator[Any]]
    strangers: MutableMapping[str, WatchedStarter]
    time: Time
    first_slot: int = 0

    @property
    def recorder(self) -> RecorderSimulator:
        """The recorder."""
        recorder = self.simulators["recorder"]
        assert isinstance(recorder, RecorderSimulator)
        return recorder

    def run(self) -> None:
        """Run to the end.

        Raises
        ------
        SimulatorError
            If mosaik cannot go on with what a simulator does.
        """
        try:
            until = (self.time.slots - self.first_slot) * self.time.step_s
            self.mosaik_world.run(until=until, print_progress=False, shutdown=False)
        except MOSAIK_ERRORS as error:
            raise SimulatorError(f"mosaik ended the run: {error}") from error

    def stop_strangers(self) -> None:
        """Stop the simulators of third parties, so that what they say last can be recorded."""
        loop = self.mosaik_world.loop
        _cancel_tasks(loop, keep=CONNECTION_TASKS)
        for stranger in self.strangers.values():
            loop.run_until_complete(stranger.stop())

    def shut_down(self) -> None:
        """Stop all simulators, the recorder included, and close what mosaik opened."""
        loop = self.mosaik_world.loop
        try:
            self.stop_strangers()
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
    services = run_services(world)
    return {
        "households": HouseholdSettings(
            population, time.start_utc, time.slots, world.forecast, _inverter_control(world)
        ),
        "storage": replace(
            storage_settings(world), tells_band=None if services is None else services.is_open
        ),
        "market": MarketSettings(
            market=world.market,
            feedback=world.feedback,
            participants=world.participants,
            areas=world.areas,
            area_ids=world.tree.id,
            prices=world.prices,
            rates=world.rates,
            generation_price=GENERATION_OFFER_EUR_PER_KWH,
            levels=world.levels,
            gate=gate_settings(world),
            services=services,
        ),
        "grid": GridSettings(
            grid=world.grid,
            linear=world.linear,
            controller=world.controller,
            feedback=world.feedback,
            limits=world.limits,
            names=world.names,
            fixed_taps=world.fixed_taps,
            start=time.start_utc,
            max_reclearings=_max_reclearings(world.scenario.market),
        ),
        "recorder": RecorderSettings(world.recorder_layout(), sink, services),
    }


def _inverter_control(world: World) -> InverterControl | None:
    inverters = world.flexible.inverters
    if inverters is None:
        return None
    return InverterControl(inverters, world.participants.agent_node[inverters.agent])


def _max_reclearings(market: Market) -> int:
    """How often clearing again can help: never where the market does not know the grid."""
    return 0 if market.network == "none" else market.max_reclearings


SIMULATORS: Mapping[str, type[SlotSimulator[Any]]] = {
    "households": HouseholdSimulator,
    "storage": StorageSimulator,
    "market": MarketSimulator,
    "grid": GridSimulator,
    "recorder": RecorderSimulator,
}
GROUPED = ("market", "grid")
"""The two that share a mosaik group: the grid may ask the market to clear a slot again."""


def connect_simulators(
    mosaik_world: mosaik.World,
    entities: Mapping[str, Entity],
    world: World,
    memory: Mapping[str, Memory] | None = None,
) -> None:
    """Connect the parent entities of tricell's five simulators.

    Parameters
    ----------
    mosaik_world : the mosaik World that started them; market and grid in one group.
    entities : parent entity of each simulator, by the names of `SIMULATORS`.
    world : gives the values of the time before the first slot.
    memory : gives them instead where a run goes on that was stopped.
    """
    households, storage = entities["households"], entities["storage"]
    market, grid, recorder = entities["market"], entities["grid"], entities["recorder"]
    connect = mosaik_world.connect
    connect(households, storage, ("forecast", "power"))
    connect(households, market, "power", "forecast")
    connect(storage, market, "storage")
    connect(market, grid, "schedule")
    connect(grid, market, "reclear", weak=True)
    battery_kw = np.zeros(len(world.participants.battery_agent))
    correction = world.first_correction
    if memory is not None:
        battery_kw = memory["storage"]["battery_kw"]
        correction = Correction(**memory["grid"]["correction"])
    before = {"battery_kw": battery_kw, "correction": correction}
    if world.flexible.inverters is not None:
        voltage = {"vm_pu": world.controller.vm_pu}
        if memory is not None:
            voltage = {"vm_pu": np.abs(memory["grid"]["controller"]["start_voltage"])}
        connect(grid, households, "vm_pu", time_shifted=True, initial_data=voltage)
    connect(market, storage, "battery_kw", time_shifted=True, initial_data=before)
    connect(grid, market, "correction", time_shifted=True, initial_data=before)
    connect(grid, recorder, "report")


def start_co_simulation(
    world: World, sink: Sink, memory: Mapping[str, Memory] | None = None, first_slot: int = 0
) -> CoSimulation:
    """Start all simulators of a scenario, tricell's and third parties', and connect them.

    Parameters
    ----------
    world : what runs.
    sink : takes the recorder's blocks.
    memory : what tricell's simulators remember of a run that was stopped; only without third
        parties, whose simulators always begin with the first slot.
    first_slot : where that run goes on.

    Raises
    ------
    SimulatorError
        If a third party's simulator does not start or cannot be connected as asked.
    """
    simulators = {name: kind() for name, kind in SIMULATORS.items()}
    co_simulation = CoSimulation(
        _mosaik_world(world), simulators, {}, world.scenario.time, first_slot
    )
    try:
        entities = _start_ours(co_simulation, world, sink)
        connect_simulators(co_simulation.mosaik_world, entities, world, memory)
        for name, remembered in (memory or {}).items():
            simulators[name].recall(remembered)
        ours = {child.eid: child for parent in entities.values() for child in parent.children}
        for settings in world.scenario.simulators:
            _add_stranger(co_simulation, world, settings, ours)
    except BaseException:
        co_simulation.recorder.discard()
        co_simulation.shut_down()
        raise
    return co_simulation


def _mosaik_world(world: World) -> mosaik.World:
    # The watch over each third party's simulator keeps its own time; mosaik's limit is no help.
    slowest_s = max((s.timeout_s for s in world.scenario.simulators), default=0.0)
    mosaik_world = mosaik.World(
        {},
        mosaik_config={"start_timeout": slowest_s + MOSAIK_START_TIMEOUT_S},
        skip_greetings=True,
        configure_logging=False,
    )
    # Whatever breaks a task is reported by whoever waits for it.
    mosaik_world.loop.set_exception_handler(lambda _loop, _context: None)
    return mosaik_world


def _start_ours(co_simulation: CoSimulation, world: World, sink: Sink) -> dict[str, Entity]:
    """Start tricell's own simulators and return their parent entities."""
    mosaik_world, simulators = co_simulation.mosaik_world, co_simulation.simulators
    settings = simulator_settings(world, sink)
    entities = {}

    def start(name: str) -> None:
        factory = mosaik_world.start(
            InstanceStarter(simulators[name]),
            sim_id=name,
            step_s=world.scenario.time.step_s,
            first_slot=co_simulation.first_slot,
            settings=settings[name],
        )
        entities[name] = getattr(factory, simulators[name].MODEL)()

    for name in SIMULATORS:
        if name not in GROUPED:
            start(name)
    with mosaik_world.group():
        for name in GROUPED:
            start(name)
    return entities


def _add_stranger(
    co_simulation: CoSimulation,
    world: World,
    settings: ThirdPartySimulator,
    ours: Mapping[str, Entity],
) -> None:
    """Start a third party's simulator and connect it."""
    name, mosaik_world = settings.name, co_simulation.mosaik_world
    if name in SIMULATORS:
        raise SimulatorError(
            f"a simulator cannot be called {name!r}, as one of tricell's own is; change its `name`"
        )
    starter = _starter(settings)
    watched = WatchedStarter(name, starter, settings.timeout_s, _start_advice(settings))
    co_simulation.strangers[name] = watched
    try:
        created = _start_and_create(mosaik_world, world, settings, watched)
        for connection in settings.connections:
            source, to = _ends(name, connection, created, ours)
            mosaik_world.connect_one(
                source,
                to,
                connection.source.attr,
                connection.to.attr,
                transform=_transform(name, connection),
                **_shift(connection, to, world.scenario.time.step_s),
            )
    except UNUSABLE as error:
        raise SimulatorError(
            f"simulator {name!r} does not fit into the run: {error or type(error).__name__}"
        ) from error


def _starter(settings: ThirdPartySimulator) -> Starter:
    kind, text = settings.starter
    version = settings.api_version
    if kind == "python":
        return ModuleStarter(text, version, settings.cwd)
    if kind == "cmd":
        return CommandStarter(text, version, settings.cwd, settings.env, settings.timeout_s)
    return ConnectStarter.from_addr_string(text, api_version=version)


def _start_advice(settings: ThirdPartySimulator) -> str:
    kind, text = settings.starter
    if kind == "python":
        return (
            f"Check `python: {text}` in the scenario and that the package is installed beside "
            "tricell; for a module of your own, set `cwd` to its folder."
        )
    if kind == "cmd":
        return (
            f"Check `cmd: {text}` in the scenario by running it by hand; raise `timeout_s` if it "
            "only needs longer."
        )
    return (
        f"Start it so that it listens at {text} before the run, or correct `connect: {text}` in "
        "the scenario."
    )


def _start_and_create(
    mosaik_world: mosaik.World,
    world: World,
    settings: ThirdPartySimulator,
    watched: WatchedStarter,
) -> list[Entity]:
    time = world.scenario.time
    parameters = settings.filled(settings.init, time.start, time.step_s)
    factory: Any = mosaik_world.start(watched, sim_id=settings.name, **parameters)
    described: Mapping[str, Any] = factory.meta["models"]
    models = [name for name, model in described.items() if model.get("public", True)]
    if settings.model not in models:
        raise SimulatorError(
            f"simulator {settings.name!r} has no model {settings.model!r}; "
            f"{_which(settings.model, models)}. Correct `model` in the scenario."
        )
    values = settings.filled(settings.create, time.start, time.step_s)
    created: list[Entity] = getattr(factory, settings.model).create(settings.count, **values)
    return created


def _ends(
    name: str, connection: Connection, created: list[Entity], ours: Mapping[str, Entity]
) -> tuple[Entity, Entity]:
    source, to = (
        _own_entity(name, end.own_entity, created)
        if end.target is None
        else _our_entity(name, *end.target, ours)
        for end in (connection.source, connection.to)
    )
    _check_attribute(name, source, connection.source.attr, source.model_mock.output_attrs, "read")
    _check_attribute(name, to, connection.to.attr, to.model_mock.input_attrs, "set")
    return source, to


def _shift(connection: Connection, to: Entity, step_s: int) -> dict[str, Any]:
    if not connection.time_shifted:
        return {}
    # A triggered simulator steps when the value arrives, so that it has to arrive a slot later;
    # the others look for the last value before their step.
    if to.triggered_by(connection.to.attr):
        return {"time_shifted": step_s}
    return {"time_shifted": True, "initial_data": _Initial(connection.initial)}


class _Initial(float):
    """A value of the time before the first slot, in the unit of its target already."""


def _transform(name: str, connection: Connection) -> Callable[[Any], Any]:
    """Return what mosaik does to each value: scale it, after a check if it comes to tricell."""
    scale, sent = connection.scale, connection.source.attr

    def scaled(value: Any) -> float:
        return float(value) if isinstance(value, _Initial) else value * scale

    def checked(value: Any) -> float:
        if not isinstance(value, int | float | np.number) or not np.isfinite(value):
            kind, entity = connection.to.target or ("", "")
            raise SimulatorError(
                f"simulator {name!r} sent {value!r} as {sent}, for {connection.to.attr} of the "
                f"{kind} {entity!r}. It must be a finite number in every slot: mend the simulator "
                "or its data."
            )
        return scaled(value)

    return checked if connection.into_tricell else scaled


def _own_entity(name: str, wanted: int | str, created: list[Entity]) -> Entity:
    if isinstance(wanted, int):
        return created[wanted]
    candidates = {e.eid: e for parent in created for e in (parent, *(parent.children or ()))}
    if wanted not in candidates:
        raise SimulatorError(
            f"simulator {name!r} has no entity {wanted!r}; {_which(wanted, candidates)}. Correct "
            "`entity` in its connections."
        )
    return candidates[wanted]


def _our_entity(name: str, kind: str, entity: str, ours: Mapping[str, Entity]) -> Entity:
    found = ours.get(f"{kind}:{entity}")
    if found is None:
        known = [eid.split(":", 1)[1] for eid in ours if eid.startswith(f"{kind}:")]
        raise SimulatorError(
            f"simulator {name!r} wants to connect to the {kind} {entity!r}, which does not exist; "
            f"{_which(entity, known)}. Correct `{kind}` in its connections."
        )
    return found


def _check_attribute(name: str, entity: Entity, attr: str, known: Any, use: str) -> None:
    """Refuse an attribute that cannot be read or set; some mosaik models take any."""
    if attr in known:
        return
    listable = sorted(known) if isinstance(known, Iterable) else []
    raise SimulatorError(
        f"simulator {name!r} wants to {use} {attr!r} of {entity.eid!r}, which is not possible; "
        f"{_which(attr, listable)}. Correct `attr` in its connections."
    )


def _which(wanted: str, known: Iterable[str]) -> str:
    """Suggest what was meant, or list what there is."""
    names = list(known)
    if advice := did_you_mean(wanted, names):
        return advice.rstrip("?")
    if not names:
        return "there is none"
    shown = ", ".join(names[:NAMES_SHOWN])
    more = len(names) - NAMES_SHOWN
    return f"there is {shown}" + (f" and {more} more" if more > 0 else "")


def _cancel_tasks(loop: asyncio.AbstractEventLoop, keep: tuple[str, ...] = ()) -> None:
    """Cancel all tasks but those whose name starts with one of `keep`."""
    tasks = [t for t in asyncio.all_tasks(loop) if not t.get_name().startswith(keep or ("\0",))]
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
