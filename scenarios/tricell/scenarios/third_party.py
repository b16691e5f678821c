"""Any mosaik simulator in a scenario: how to start it and what to connect.

::

    simulators:
      - name: ev_charger
        cmd: "%(python)s %(folder)s/ev_charger.py %(addr)s"
        model: Charger
        create: {p_max_kw: 11}
        connections:
          - {from: {attr: p_kw}, to: {household: LV1.201 Load 3, attr: p_kw}}
      - name: measured
        python: mosaik_csv:CSV
        model: Data
        init: {sim_start: "%(start)s", datafile: "%(folder)s/measured.csv"}
        connections:
          - {from: {attr: P}, to: {household: LV1.201 Load 4, attr: p_kw}, scale: 0.001}
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import Field, JsonValue, model_validator

from tricell.scenarios.section import Section, broken_rule

StarterKind: TypeAlias = Literal["python", "cmd", "connect"]
TargetKind: TypeAlias = Literal[
    "household",
    "battery",
    "vehicle",
    "house",
    "heat_store",
    "appliance",
    "bus",
    "line",
    "trafo",
    "area",
]

STARTERS: tuple[StarterKind, ...] = ("python", "cmd", "connect")
TARGETS: tuple[TargetKind, ...] = get_args(TargetKind)
FOLDER_PLACEHOLDER = "%(folder)s"
START_PLACEHOLDER = "%(start)s"
STEP_PLACEHOLDER = "%(step_s)s"
MOSAIK_DATE_FORMAT = "%Y-%m-%d %H:%M:%S"

Name = Annotated[str, Field(min_length=1)]


class Endpoint(Section):
    """One end of a connection: an attribute of an entity.

    Name one tricell entity (`household`, `battery`, `vehicle`, `house`, `heat_store`, `appliance`,
    `bus`, `line`, `trafo` or `area`) by its id. An end without any of these belongs to the
    simulator itself.
    """

    attr: Name
    """Name of the attribute."""
    entity: Annotated[int, Field(ge=0)] | Name | None = None
    """Entity of the simulator itself: position from 0 in the order of creation, or its own id
    (default: the first)."""
    household: Name | None = None
    """Id of an agent; `p_kw` is power in kW added to its load."""
    battery: Name | None = None
    """Id of the agent whose battery is meant."""
    vehicle: Name | None = None
    """Name of a vehicle."""
    house: Name | None = None
    """Name of a heat pump that keeps a building warm."""
    heat_store: Name | None = None
    """Name of a heat pump with a thermal store."""
    appliance: Name | None = None
    """Name of a home's appliances, such as `appliances of LV1.201 Load 3`."""
    bus: Name | None = None
    """Name of a bus."""
    line: Name | None = None
    """Name of a line."""
    trafo: Name | None = None
    """Name of a transformer."""
    area: Name | None = None
    """Id of a microgrid, cell or multi-cell."""

    @property
    def target(self) -> tuple[TargetKind, str] | None:
        """Kind and id of the tricell entity, or None for the simulator's own end."""
        return next(iter(self._targets()), None)

    @property
    def own_entity(self) -> int | str:
        """Position or id of the simulator's own entity."""
        return 0 if self.entity is None else self.entity

    def _targets(self) -> list[tuple[TargetKind, str]]:
        named = ((kind, getattr(self, kind)) for kind in TARGETS)
        return [(kind, name) for kind, name in named if name is not None]

    @model_validator(mode="after")
    def _names_one_entity(self) -> Endpoint:
        named: list[str] = [kind for kind, _ in self._targets()]
        if self.entity is not None:
            named.append("entity")
        if len(named) > 1:
            raise broken_rule(
                f"one end of a connection names {len(named)} entities: {', '.join(named)}",
                at=(named[-1],),
                allowed="one of them; a line for each connection",
            )
        return self


class Connection(Section):
    """One attribute of one entity that flows into another, every slot."""

    source: Annotated[Endpoint, Field(alias="from")]
    """Where the value comes from."""
    to: Endpoint
    """Where the value goes."""
    scale: float = 1.0
    """Factor on the value (1); 0.001 turns W into kW."""
    time_shifted: bool = False
    """Deliver the value of the slot before (false); needed for one direction of a loop."""
    initial: float = 0.0
    """Value delivered in the first slot if `time_shifted`, in the unit of the target (0)."""

    @property
    def into_tricell(self) -> bool:
        """Whether the simulator gives the value, rather than takes it."""
        return self.source.target is None

    @model_validator(mode="after")
    def _joins_the_simulator_with_tricell(self) -> Connection:
        own_ends = [end for end in (self.source, self.to) if end.target is None]
        if len(own_ends) == 1:
            return self
        problem = (
            "both ends of this connection belong to the simulator itself"
            if own_ends
            else "neither end of this connection belongs to the simulator"
        )
        kinds = ", ".join(TARGETS)
        raise broken_rule(
            problem,
            allowed=f"one end with a {kinds}, and one end with none of them",
        )


class ThirdPartySimulator(Section):
    """A mosaik simulator that tricell starts or connects to."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
    """Name in messages and results: letters, digits, `_` and `-`."""
    python: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] | None = None
    """Start in this process: `module:Class`, such as `mosaik_csv:CSV`."""
    cmd: Name | None = None
    """Start as a process: a command with `%(addr)s` where the address of mosaik goes;
    `%(python)s` is this Python, `%(folder)s` the folder of the scenario file."""
    connect: Annotated[str, Field(pattern=r"^[^\s:]+:\d{1,5}$")] | None = None
    """Connect to a running simulator: `host:port`."""
    cwd: Path | None = None
    """Working folder of `cmd` (the current folder); folder where the module of `python` is looked
    for first."""
    env: dict[str, str] = Field(default_factory=dict)
    """Environment variables for `cmd`, added to the current ones."""
    api_version: str | None = None
    """Version of the mosaik API that an old simulator speaks (the current one)."""
    model: Name
    """Name of the model to create entities of."""
    count: Annotated[int, Field(ge=1)] = 1
    """Number of entities (1)."""
    init: dict[str, JsonValue] = Field(default_factory=dict)
    """Parameters of the simulator. `%(start)s` becomes the start of the scenario as
    `YYYY-MM-DD HH:MM:SS` in UTC, `%(step_s)s` the slot length in s, `%(folder)s` the folder of
    the scenario file."""
    create: dict[str, JsonValue] = Field(default_factory=dict)
    """Parameters of the model; the same placeholders."""
    timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """Longest wait for the start and for any answer, s (30); then the run ends with an error."""
    connections: Annotated[tuple[Connection, ...], Field(min_length=1)]
    """What flows between the simulator and tricell."""

    @property
    def starter(self) -> tuple[StarterKind, str]:
        """How to start the simulator, as one entry of mosaik's `sim_config`."""
        return self._starters()[0]

    def _starters(self) -> list[tuple[StarterKind, str]]:
        given = ((kind, getattr(self, kind)) for kind in STARTERS)
        return [(kind, text) for kind, text in given if text is not None]

    @model_validator(mode="after")
    def _has_one_starter(self) -> ThirdPartySimulator:
        given = [kind for kind, _ in self._starters()]
        if len(given) != 1:
            problem = " and ".join(given) + " are given together" if given else "nothing starts it"
            raise broken_rule(
                f"simulator `{self.name}`: {problem}",
                at=(given[-1],) if given else (),
                allowed="one of python: module:Class, cmd: a command, connect: host:port",
            )
        return self

    @model_validator(mode="after")
    def _command_passes_the_address(self) -> ThirdPartySimulator:
        if self.cmd is not None and "%(addr)s" not in self.cmd:
            raise broken_rule(
                f"simulator `{self.name}`: the command does not pass on mosaik's address",
                at=("cmd",),
                allowed='a command with %(addr)s, such as "%(python)s charger.py %(addr)s"',
            )
        return self

    @model_validator(mode="after")
    def _entities_exist(self) -> ThirdPartySimulator:
        for position, connection in enumerate(self.connections):
            for side, end in (("from", connection.source), ("to", connection.to)):
                if isinstance(end.entity, int) and end.entity >= self.count:
                    raise broken_rule(
                        f"simulator `{self.name}` has no entity {end.entity}: count is "
                        f"{self.count} and positions start at 0",
                        at=("connections", position, side, "entity"),
                        allowed=f"0 to {self.count - 1}, or an entity's id",
                    )
        return self

    @model_validator(mode="after")
    def _does_not_wait_for_itself(self) -> ThirdPartySimulator:
        prompt = [c for c in self.connections if not c.time_shifted]
        gives = next((c for c in prompt if c.into_tricell), None)
        takes = next((c for c in prompt if not c.into_tricell), None)
        if gives is None or takes is None:
            return self
        kind, entity = takes.source.target or ("", "")
        raise broken_rule(
            f"simulator `{self.name}` takes {takes.source.attr} of the {kind} `{entity}` and gives "
            f"{gives.source.attr} in the same slot, but each follows from the other",
            at=("connections", self.connections.index(takes)),
            allowed="connections of both directions if those of one have `time_shifted: true`",
            suggestion="add `time_shifted: true`, and `initial:` with the value before the first "
            "slot; the simulator then works with the value of the slot before",
        )

    def filled(
        self, parameters: Mapping[str, JsonValue], start: datetime, step_s: int
    ) -> dict[str, JsonValue]:
        """Return `init` or `create` with the placeholders for start and slot length filled in."""
        return {key: _filled(value, start, step_s) for key, value in parameters.items()}


def _filled(value: JsonValue, start: datetime, step_s: int) -> JsonValue:
    if isinstance(value, dict):
        return {key: _filled(inner, start, step_s) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, start, step_s) for inner in value]
    if value == STEP_PLACEHOLDER:
        return step_s
    if isinstance(value, str):
        text = value.replace(START_PLACEHOLDER, start.strftime(MOSAIK_DATE_FORMAT))
        return text.replace(STEP_PLACEHOLDER, str(step_s))
    return value
