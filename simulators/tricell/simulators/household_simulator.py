"""mosaik simulator of all households and other participants: what a slot brings to each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tricell.simulators.household_power import AgentPower, PowerBlock
from tricell.simulators.inverter_control import InverterControl
from tricell.simulators.messages import AgentPowerNow
from tricell.simulators.population import Population
from tricell.simulators.power_forecast import PowerForecast
from tricell.simulators.slot_simulator import SLOTS_PER_BLOCK, ChildKind, SlotSimulator


@dataclass(frozen=True)
class HouseholdSettings:
    """What the household simulator is set up with.

    Attributes
    ----------
    population : agents with devices and profiles.
    start : start of slot 0, UTC.
    slots : number of slots.
    forecast : what is known at the gate; None if that is the truth.
    inverters : control reactive power of PV plants; None if all follow the data.
    """

    population: Population
    start: np.datetime64
    slots: int
    forecast: PowerForecast | None = None
    inverters: InverterControl | None = None


class HouseholdSimulator(SlotSimulator[HouseholdSettings]):
    """Load and generation of every agent, from profiles and from connected simulators.

    Parent model ``Households``: attributes ``power`` (`AgentPowerNow`) with its vectors, and
    ``forecast``, the same as known at the gate: one object where forecasts are perfect. Children
    ``Household``: read ``p_load_kw``, ``q_load_kvar``, ``generation_kw``; set ``p_kw`` and
    ``q_kvar``, which add to the load (a negative sum adds generation that cannot be curtailed).
    What is set is known at the gate. Inverters that control reactive power read ``vm_pu``, the
    voltages of the slot before (a time-shifted connection).
    """

    MODEL = "Households"
    ATTRIBUTES = ("power", "forecast", "p_load_kw", "q_load_kvar", "generation_kw", "vm_pu")

    def set_up(self, settings: HouseholdSettings) -> None:
        """Set up the fleet."""
        self._population = settings.population
        self._power = AgentPower(settings.population)
        profiles = settings.population.profiles
        self._first_row = profiles.first_row(settings.start, settings.slots, self.step_s)
        self._slots = settings.slots
        forecast = settings.forecast
        self._forecast = None if forecast is None or forecast.is_perfect else forecast
        self._inverters = settings.inverters
        self._block: PowerBlock | None = None
        self._forecasts: PowerBlock | None = None
        self._block_start = 0

    def child_kinds(self) -> Sequence[ChildKind]:
        """One child per agent."""
        readable = {a: a for a in ("p_load_kw", "q_load_kvar", "generation_kw")}
        names = self._population.agents.id
        return (ChildKind("Household", "household", names, readable, ("p_kw", "q_kvar")),)

    def advance(self, slot: int, inputs: Mapping[str, Any]) -> None:
        """Publish the powers of a slot, and their forecast."""
        row = self._row_of(slot)
        assert self._block is not None
        power = self._power_now(self._block, row, inputs)
        forecast = power
        if self._forecasts is not None:
            forecast = self._power_now(self._forecasts, row, inputs)
        self.outputs = {
            "power": power,
            "forecast": forecast,
            "p_load_kw": power.p_load_kw,
            "q_load_kvar": power.q_load_kvar,
            "generation_kw": power.generation_kw,
        }

    def _row_of(self, slot: int) -> int:
        """Return the row of a slot in the block, after making a new block if it is in none."""
        row = slot - self._block_start
        if self._block is None or not 0 <= row < len(self._block.p_load_kw):
            self._block_start, row = slot, 0
            rows = min(SLOTS_PER_BLOCK, self._slots - slot)
            self._block = self._power.block(self._first_row + slot, rows)
            if self._forecast is not None:
                self._forecasts = self._forecast.of_slots(slot, rows)
        return row

    def _power_now(self, block: PowerBlock, row: int, inputs: Mapping[str, Any]) -> AgentPowerNow:
        p_load, q_load = block.p_load_kw[row], block.q_load_kvar[row]
        if inputs:
            p_load = self._with_connected(p_load, inputs, "p_kw")
            q_load = self._with_connected(q_load, inputs, "q_kvar")
        generation, reactive = block.p_generation_available_kw[row], block.q_generation_kvar[row]
        if self._inverters is None:
            return AgentPowerNow(p_load, q_load, generation, reactive)
        vm_pu = self.parent_input(inputs, "vm_pu")
        controlled = self._inverters.controlled(generation, reactive, vm_pu)
        return AgentPowerNow(p_load, q_load, *controlled)

    def _with_connected(self, load: Any, inputs: Mapping[str, Any], attribute: str) -> Any:
        sums = self.child_sums(inputs, attribute)
        if not sums:
            return load
        total = load.copy()
        for position, value in sums:
            total[position] += value
        return total
