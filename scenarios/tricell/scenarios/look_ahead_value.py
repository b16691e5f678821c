"""What looking ahead is worth: the same scenario by rule, and with perfect forecasts.

The cost of a run is what all bills come to, less the worth of what is left in the stores after the
last slot, so that no strategy wins by emptying them: energy in batteries is worth what feeding it
in earns on average, and energy in vehicles and heat stores what buying it later would cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tricell.scenarios.co_simulation import CoSimulation, start_co_simulation
from tricell.scenarios.forecasts import PerfectForecasts, has_errors
from tricell.scenarios.schema import Scenario
from tricell.scenarios.strategy import LookAheadStrategy, RuleStrategy
from tricell.scenarios.world import World, build_world
from tricell.simulators.recorder_simulator import RecorderSimulator
from tricell.simulators.run_totals import BILL_PARTS
from tricell.simulators.slot_block import SlotBlock
from tricell.simulators.storage_simulator import StorageSimulator

OnSlot = Callable[[int], None]


def measures_value(scenario: Scenario) -> bool:
    """Return whether a scenario asks for the value of looking ahead."""
    strategy = scenario.participants.strategy
    return isinstance(strategy, LookAheadStrategy) and strategy.measure_value


def runs_in_all(scenario: Scenario) -> int:
    """Return how many runs a scenario takes, its own included."""
    if not measures_value(scenario):
        return 1
    return 3 if has_errors(scenario.forecasts) else 2


@dataclass(frozen=True)
class LookAheadValue:
    """What looking ahead cost and saved, EUR.

    Attributes
    ----------
    lookahead_value : cost by rule less the cost of the run.
    lookahead_regret : cost of the run less that with perfect forecasts.
    """

    lookahead_value: float
    lookahead_regret: float


def look_ahead_value(world: World, done: CoSimulation, on_slot: OnSlot) -> LookAheadValue:
    """Run a scenario by rule and with perfect forecasts, and compare what it costs.

    Parameters
    ----------
    world : what has run.
    done : the run, after its last slot; its stores are asked for the last time.
    on_slot : called with the number of slots of the references that are done.
    """
    scenario, cost = world.scenario, run_cost_eur(world, done)
    by_rule = _reference_cost_eur(_with(scenario, strategy=RuleStrategy()), on_slot)
    foreseen = cost
    if has_errors(scenario.forecasts):
        perfect = scenario.model_copy(update={"forecasts": PerfectForecasts()})
        slots = scenario.time.slots
        foreseen = _reference_cost_eur(perfect, lambda count: on_slot(slots + count))
    return LookAheadValue(by_rule - cost, cost - foreseen)


def run_cost_eur(world: World, done: CoSimulation) -> float:
    """Return the cost of a run after its last slot, EUR; see the module."""
    recorder, storage = done.recorder, done.simulators["storage"]
    assert isinstance(storage, StorageSimulator)
    bills = sum(float(np.sum(recorder.totals.bills[part])) for part in BILL_PARTS)
    last = world.scenario.time.slots - 1
    prices, worth = world.prices, 0.0
    retail, feed_in = float(prices.retail.mean()), float(prices.feed_in.mean())
    for kind, stored, into in storage.left_after(last, recorder.last_schedule.battery_kw):
        per_kwh = np.full(len(stored), feed_in) if kind == "battery" else retail / into
        worth += float(stored @ per_kwh)
    return bills - worth


def _reference_cost_eur(scenario: Scenario, on_slot: OnSlot) -> float:
    world = build_world(scenario)
    reference = start_co_simulation(world, _NoRecord())
    try:
        reference.recorder.on_slot = on_slot
        reference.run()
        reference.recorder.flush()
        return run_cost_eur(world, reference)
    finally:
        reference.recorder.discard()
        reference.shut_down()


def _with(scenario: Scenario, **participants: Any) -> Scenario:
    changed = scenario.participants.model_copy(update=participants)
    return scenario.model_copy(update={"participants": changed})


class _NoRecord:
    """Takes the blocks of a run whose results nobody reads."""

    def write(self, block: SlotBlock) -> None:
        """Forget a block."""

    def close(self, recorder: RecorderSimulator) -> None:
        """Forget the run."""
