"""Heat pumps as a fleet: `tricell.simulators.heat_pumps` with its state from slot to slot."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from tricell.markets.flexibility.tanks import PlanSteps, TankOutlook
from tricell.simulators import heat_pumps as hp
from tricell.simulators.device_checks import PowerBand
from tricell.simulators.fleet import SHORTFALL_EUR_PER_KWH, DeviceState, EnergyPerPower
from tricell.simulators.flexible_devices import Heating
from tricell.simulators.population import FloatArray
from tricell.simulators.power_forecast import like_the_last_day


class HeatDevices:
    """Heat pumps with their buildings or stores; see `Fleet`.

    Stored energy is heat above the lower end of the band, kWh: with a building of capacity C at T
    it is ``C (T - T_low)``. A plan knows the conditions of the coming slots.

    Parameters
    ----------
    heating : pumps, nodes and the conditions of all slots.
    """

    def __init__(self, heating: Heating) -> None:
        fleet = heating.fleet
        self._fleet, self._conditions = fleet, heating.conditions
        self._now = fleet.start.copy()
        self._running = np.zeros(len(fleet), np.bool_)
        self._unmet, self._discomfort = np.zeros(len(fleet)), np.zeros(len(fleet))
        self.kind = "heat_store" if fleet.is_store else "house"
        self.names, self.agent = fleet.pumps.name, fleet.pumps.agent
        self.charge_kw = fleet.pumps.rated_kw
        self.discharge_kw = np.zeros(len(fleet))
        self.capacity_kwh = fleet.capacity * (fleet.high - fleet.low)

    @cached_property
    def _reachable(self) -> tuple[FloatArray, FloatArray]:
        """Between which states the band can be kept until the end of the run."""
        return hp.reachable_states(self._fleet, self._conditions)

    def begin_slot(self, slot: int) -> None:
        """Nothing happens between slots."""

    def band(self, slot: int) -> PowerBand:
        """Return what keeps the band within reach in this slot and all later ones."""
        least, most = self._reachable
        end = least[slot + 1], most[slot + 1]
        return hp.power_band(self._fleet, self._now, self._conditions.slot(slot), end)

    def rule_kw(self, slot: int) -> FloatArray:
        """Heat from the lower end of the band to the upper one, then rest."""
        conditions = self._conditions.slot(slot)
        power, self._running = hp.hysteresis(self._fleet, self._now, self._running, conditions)
        return power

    def thrifty_kw(self, slot: int, price: FloatArray) -> FloatArray:
        """Heat as much as the band takes in the cheaper half of the known slots, else least."""
        band = self.band(slot)
        cheap = price[0] < np.median(price, axis=0)
        return np.where(cheap, band.highest_kw, band.lowest_kw)

    def carry_out(self, slot: int, power_kw: FloatArray) -> None:
        """Heat, lose heat, serve the demand."""
        step = hp.apply_power(self._fleet, self._now, self._conditions.slot(slot), power_kw)
        self._now, self._unmet, self._discomfort = step.state, step.unmet_kwh, step.discomfort_kh

    def energy_per_power(self, slot: int) -> EnergyPerPower:
        """Return the COP, less what a building loses within the slot."""
        none = np.zeros(len(self._fleet))
        return EnergyPerPower(self._heat_kept * self._conditions.cop[slot], none + np.inf, none)

    @property
    def _heat_kept(self) -> FloatArray:
        """Share of the heat of a slot that is in the node at its end."""
        fleet = self._fleet
        return np.asarray(fleet.capacity * fleet.state_per_kw / fleet.hours)

    def outlook(self, slot: int, steps: PlanSteps) -> TankOutlook:
        """Return the tank of heat; of longer steps, power is the same in all slots.

        Slots after the end of the run meet what the last day met.
        """
        fleet, per_day = self._fleet, max(round(24.0 / self._fleet.hours), 1)
        coming = slot + np.arange(steps.total_slots)
        rows = like_the_last_day(coming, len(self._conditions.cop), per_day)
        cop = self._conditions.cop[rows]
        idle = hp.HeatConditions(
            cop, self._conditions.surroundings[rows], self._conditions.gain_kw[rows]
        )
        kept = fleet.kept
        # heat that is there at the end of a step: what each slot brings, less what later ones lose
        later = (steps.first + steps.slots)[np.repeat(np.arange(len(steps)), steps.slots)]
        left = kept ** (later - 1 - np.arange(steps.total_slots))[:, None]
        drift = fleet.capacity * (hp.idle_state(fleet, fleet.low, idle) - fleet.low) * left
        per_kw = self._heat_kept * fleet.hours * cop * left
        ones = np.ones((len(steps), len(fleet)))
        return TankOutlook(
            start_kwh=fleet.capacity * (self._now - fleet.low),
            kept=kept ** steps.slots[:, None],
            into_kwh_per_kw=steps.total(per_kw),
            out_kwh_per_kw=ones,
            inflow_kwh=steps.total(drift),
            lowest_kwh=0.0 * ones,
            highest_kwh=self.capacity_kwh * ones,
            charge_kw=fleet.pumps.rated_kw * ones,
            discharge_kw=0.0 * ones,
            shortfall_eur_per_kwh=np.full(len(fleet), SHORTFALL_EUR_PER_KWH),
            worth_at_end_eur_per_kwh=np.zeros(len(fleet)),
            wear_eur_per_kwh=np.zeros(len(fleet)),
        )

    def state(self) -> DeviceState:
        """Return stored heat and what the slot before could not keep."""
        fleet = self._fleet
        stored = fleet.capacity * (self._now - fleet.low)
        if fleet.is_store:
            return DeviceState.of(stored, self._unmet)
        return DeviceState.of(
            stored, self._unmet, temperature_c=self._now, discomfort_kh=self._discomfort
        )

    def memory(self) -> Mapping[str, Any]:
        """Return temperatures or heat, and which pumps run."""
        return {
            "now": self._now,
            "running": self._running,
            "unmet": self._unmet,
            "discomfort": self._discomfort,
        }

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on within a slot."""
        self._now, self._running = memory["now"], np.asarray(memory["running"], np.bool_)
        self._unmet, self._discomfort = memory["unmet"], memory["discomfort"]
