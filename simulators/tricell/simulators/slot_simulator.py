"""What all of tricell's mosaik simulators share: slots, entities, vectors and a stopwatch.

Each simulator has one *parent* entity that exchanges whole vectors or messages, and one child
entity per household, battery, bus, line, transformer or area, so that any mosaik simulator can
connect to a single one of them. A child's id is ``<kind>:<name>``, such as ``household:Load 3``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Generic, TypeAlias, TypeVar

import mosaik_api_v3
import numpy as np

from tricell.errors import SimulatorError

Settings = TypeVar("Settings")

SLOTS_PER_BLOCK = 96
"""Slots that are settled and written at once. A run can only be continued where a block begins:
there everything begins anew from what the simulators remember."""

Memory: TypeAlias = Mapping[str, Any]
"""What a simulator remembers from slot to slot: numbers, texts and arrays by name, nested."""


@dataclass(frozen=True)
class ChildKind:
    """One kind of child entities.

    Attributes
    ----------
    model : mosaik model name, such as ``Household``.
    prefix : first part of the entity id, such as ``household``.
    names : unique names; the position in this tuple is the position in the vectors.
    outputs : child attribute -> name of the vector it is read from.
    inputs : child attributes that other simulators may set.
    """

    model: str
    prefix: str
    names: tuple[str, ...]
    outputs: Mapping[str, str]
    inputs: tuple[str, ...] = ()


class SlotSimulator(mosaik_api_v3.Simulator, Generic[Settings]):
    """Base of the simulators: steps once per slot and hands out vectors.

    A subclass names its parent model and its attributes, takes its settings in `set_up`, returns
    its children from `child_kinds`, and implements `advance`, which leaves its outputs in
    `self.outputs`. mosaik starts it with the parameters ``settings`` and ``step_s`` (s), and, where
    a run goes on that was stopped, ``first_slot``; then `recall` gives it back what it remembered.

    Attributes
    ----------
    outputs : attribute of the parent entity -> value of the current slot.
    seconds, calls : time spent in `advance`, and how often it was called.
    """

    MODEL = ""
    ATTRIBUTES: tuple[str, ...] = ()
    TRIGGERS: tuple[str, ...] = ()
    EVENTS: tuple[str, ...] = ()

    def __init__(self) -> None:
        kind = "hybrid" if self.TRIGGERS else "time-based"
        meta: Any = {"api_version": "3.0", "type": kind, "models": {}}
        super().__init__(meta)  # type: ignore[no-untyped-call]  # mosaik's own gap
        self.outputs: dict[str, Any] = {}
        self.seconds = 0.0
        self.calls = 0
        self.step_s = 900
        self.first_slot = 0
        self._children: dict[str, tuple[ChildKind, int]] = {}

    def child_kinds(self) -> Sequence[ChildKind]:
        """Return the kinds of children; called once, after the set-up."""
        return ()

    def advance(self, slot: int, inputs: Mapping[str, Any]) -> None:
        """Compute slot number `slot` from mosaik's inputs, and fill `self.outputs`."""
        raise TypeError(f"{type(self).__name__} does not say how it advances")

    def set_up(self, settings: Settings) -> None:
        """Take over the settings; `self.step_s` is known."""
        raise TypeError(f"{type(self).__name__} does not say how it is set up")

    def recall(self, memory: Memory) -> None:
        """Go on from what was remembered at the end of the slot before the first one."""

    def init(self, sid: str, time_resolution: float = 1.0, **sim_params: Any) -> Any:
        """Set up the simulator and return mosaik's meta data.

        Raises
        ------
        SimulatorError
            If mosaik's unit of time is not a second.
        """
        if time_resolution != 1.0:
            raise SimulatorError(
                f"simulator {sid}: one mosaik step must be 1 s, but time_resolution is "
                f"{time_resolution} s; create the World with time_resolution=1"
            )
        self.step_s = int(sim_params["step_s"])
        self.first_slot = int(sim_params.get("first_slot", 0))
        self.set_up(sim_params["settings"])
        parent: dict[str, Any] = {
            "public": True,
            "params": [],
            "attrs": list(self.ATTRIBUTES),
        }
        if self.TRIGGERS:
            parent |= {"trigger": list(self.TRIGGERS), "non-persistent": list(self.EVENTS)}
        models: dict[str, Any] = {self.MODEL: parent}
        for kind in self.child_kinds():
            models[kind.model] = {
                "public": False,
                "params": [],
                "trigger": [],
                "non-trigger": list(kind.inputs),
                "persistent": list(kind.outputs),
                "non-persistent": [],
            }
        self.meta["models"] = models
        return self.meta

    def create(self, num: int, model: str, **_: Any) -> Any:
        """Create the parent entity with its children; there is one parent per simulator."""
        if model != self.MODEL or num != 1 or self._children:
            raise SimulatorError(
                f"{type(self).__name__} has exactly one entity of the model {self.MODEL}; "
                f"{num} of {model} were asked for"
            )
        children = []
        for kind in self.child_kinds():
            for position, name in enumerate(kind.names):
                entity = f"{kind.prefix}:{name}"
                self._children[entity] = (kind, position)
                children.append({"eid": entity, "type": kind.model, "rel": []})
        return [{"eid": self.MODEL, "type": self.MODEL, "rel": [], "children": children}]

    def step(self, time: int, inputs: dict[str, Any], max_advance: int) -> int:
        """Advance one slot and ask for the next."""
        started = perf_counter()
        step = time // self.step_s
        self.advance(self.first_slot + step, inputs)
        self.seconds += perf_counter() - started
        self.calls += 1
        return (step + 1) * self.step_s

    def get_data(self, outputs: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Any]]:
        """Hand out what was asked for: messages and vectors, or single numbers of children."""
        return {entity: self._read(entity, attributes) for entity, attributes in outputs.items()}

    def _read(self, entity: str, attributes: Sequence[str]) -> dict[str, Any]:
        if entity == self.MODEL:
            return {a: self.outputs[a] for a in attributes if a in self.outputs}
        kind, position = self._children[entity]
        return {a: float(self.vector(kind.outputs[a])[position]) for a in attributes}

    @staticmethod
    def ends_block(slot: int) -> bool:
        """Whether a slot is the last of its block."""
        return (slot + 1) % SLOTS_PER_BLOCK == 0

    def vector(self, name: str) -> Any:
        """Return the vector that children's attributes are read from."""
        return self.outputs[name]

    def parent_input(self, inputs: Mapping[str, Any], attribute: str) -> Any:
        """Return the one value that is connected to an attribute of the parent entity."""
        sources = inputs.get(self.MODEL, {}).get(attribute)
        if not sources:
            raise SimulatorError(
                f"nothing is connected to {self.MODEL}.{attribute} of {type(self).__name__}"
            )
        return next(iter(sources.values()))

    def child_sums(self, inputs: Mapping[str, Any], attribute: str) -> list[tuple[int, float]]:
        """Position and sum of what other simulators send to an attribute of single children.

        Raises
        ------
        SimulatorError
            If a value is no finite number; names the simulator that sent it.
        """
        sums = []
        for entity, attributes in inputs.items():
            if entity != self.MODEL and attribute in attributes:
                values = attributes[attribute]
                for source, value in values.items():
                    if not isinstance(value, int | float | np.number) or not np.isfinite(value):
                        raise SimulatorError(
                            f"simulator {source.split('.')[0]!r} sent {value!r} to {attribute} of "
                            f"{entity!r}; it must be a finite number"
                        )
                sums.append((self._children[entity][1], float(sum(values.values()))))
        return sums
