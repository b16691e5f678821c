"""The gate of operating envelopes that are published for a day: what is known, and what was said.

At the first slot of a day the network operator takes

* load and generation of everybody as they are forecast, active and reactive;
* the correction of the linear model from the same slot of the day before, or, on the first day of
  a run, from the last AC solution before it;
* what rule-driven vehicles, heat pumps and appliances drew in the same slot of the day before;
* the ratings of plants and of all devices that shift energy, whatever they will want.

`tricell.markets.daily_envelopes` makes ranges of net power from that. Days are those of UTC, as the
slots are. A run that begins within a day publishes for the rest of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tricell.grid_models.ac_feedback import AcFeedback, Correction
from tricell.grid_models.arrays import sum_by_key
from tricell.markets.daily_envelopes import DayForecast, PowerRange
from tricell.markets.joint_market import GridLimits
from tricell.markets.level_markets import LevelMarkets
from tricell.simulators.power_forecast import PowerForecast
from tricell.simulators.slot_simulator import Memory

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class Rated(Protocol):
    """Devices that shift energy: their owners, and how much they draw and give back at most."""

    @property
    def agent(self) -> Indices:
        """Owner of each device."""

    @property
    def charge_kw(self) -> Floats:
        """Largest power that each draws, kW."""

    @property
    def discharge_kw(self) -> Floats:
        """Largest power that each gives back, kW."""


@dataclass(frozen=True)
class GateSettings:
    """What the gate is set up with.

    Attributes
    ----------
    power : forecasts of load and generation.
    plant_kw : rated power of every agent's plants.
    fleets : devices that shift energy.
    takes_part : whether each agent takes part in the markets; outsiders have no envelope.
    agent_node : electrical node of each agent.
    slots, slots_per_day : length of the run and of a day.
    since_midnight : slots of the first day that lie before the run.
    """

    power: PowerForecast
    plant_kw: Floats
    fleets: Sequence[Rated]
    takes_part: NDArray[np.bool_]
    agent_node: Indices
    slots: int
    slots_per_day: int
    since_midnight: int


class EnvelopeGate:
    """Publishes the envelopes of every day, and keeps them for its slots.

    Parameters
    ----------
    settings : what is known before a day begins.
    levels : markets that meet the grid by envelopes.
    feedback : turns corrections into limits.
    """

    def __init__(self, settings: GateSettings, levels: LevelMarkets, feedback: AcFeedback) -> None:
        self._settings, self._levels, self._feedback = settings, levels, feedback
        n_agent = len(settings.agent_node)
        members = np.where(settings.takes_part, 1.0, 0.0)
        rated = np.zeros((2, n_agent))
        for fleet in settings.fleets:
            rated[0] += sum_by_key(fleet.agent, fleet.charge_kw, n_agent)
            rated[1] += sum_by_key(fleet.agent, fleet.discharge_kw, n_agent)
        self._charge_kw, self._discharge_kw = rated * members
        self._devices_kw = np.zeros((settings.slots_per_day, n_agent))
        self._corrections: Floats | None = None
        self._published_at = -1
        self._day: PowerRange | None = None

    def of_slot(self, slot: int, correction: Correction) -> PowerRange:
        """Return what was published for a slot; where a day begins, publish first.

        Parameters
        ----------
        slot : its number; slots are asked for in the order of time.
        correction : from the AC solution of the slot before.
        """
        place = self._place(slot)
        learnt = np.stack(
            [correction.drop_residual, correction.flow_min_kw, correction.flow_max_kw]
        )
        if self._corrections is None:
            self._corrections = np.tile(learnt, (self._settings.slots_per_day, 1, 1))
        self._corrections[place - 1] = learnt
        if self._day is None or place == 0:
            self._published_at = slot
            self._day = self._levels.publish(self._forecast(slot, self._corrections))
        return self._day.of_slot(slot - self._published_at)

    def saw(self, slot: int, devices_kw: Floats) -> None:
        """Keep what devices drew by their rules in a slot, per agent, for the day after."""
        self._devices_kw[self._place(slot)] = devices_kw

    def memory(self) -> Memory:
        """Return all that later slots depend on, as it is now."""
        corrections = self._corrections
        return {
            "corrections": None if corrections is None else corrections.copy(),
            "devices_kw": self._devices_kw.copy(),
            "published_at": self._published_at,
            "day": None if self._day is None else vars(self._day),
        }

    def recall(self, memory: Memory) -> None:
        """Go on from `memory` and nothing else."""
        corrections, day = memory["corrections"], memory["day"]
        self._corrections = None if corrections is None else np.array(corrections)
        self._devices_kw = np.array(memory["devices_kw"])
        self._published_at = int(memory["published_at"])
        self._day = None if day is None else PowerRange(**day)

    def _place(self, slot: int) -> int:
        """Return how many slots of its day lie before a slot."""
        return (slot + self._settings.since_midnight) % self._settings.slots_per_day

    def _forecast(self, slot: int, corrections: Floats) -> DayForecast:
        """Return what is known of the slots from `slot` to the end of its day, or of the run."""
        known, place = self._settings, self._place(slot)
        count = min(known.slots_per_day - place, known.slots - slot)
        of_day = slice(place, place + count)
        power = known.power.of_slots(slot, count)
        generation, members = power.p_generation_available_kw, known.takes_part
        runs = np.maximum(generation, 0.0)
        need = power.p_load_kw + self._devices_kw[of_day] + np.maximum(-generation, 0.0)
        need = need - np.where(members, 0.0, runs)
        # A household uses its own plants first; what it feeds in whatever happens is firm, too.
        firm = np.maximum(need - np.where(members, runs, 0.0), 0.0) + np.minimum(need, 0.0)
        rated = np.where(members, np.maximum(known.plant_kw, runs), 0.0)
        reactive = power.q_load_kvar - power.q_generation_kvar
        return DayForecast(
            firm_kw=firm,
            import_capacity_kw=np.broadcast_to(self._charge_kw, firm.shape),
            export_capacity_kw=np.maximum(firm - need + rated, 0.0) + self._discharge_kw,
            limits=[
                self._limits(learnt, reactive_kvar)
                for learnt, reactive_kvar in zip(corrections[of_day].copy(), reactive, strict=True)
            ],
        )

    def _limits(self, learnt: Floats, reactive_kvar: Floats) -> GridLimits:
        """Return the limits of a slot from what was learnt a day before."""
        correction = Correction(*learnt)
        n_node = self._levels.joint.problem.grid.n_node
        q_node = sum_by_key(self._settings.agent_node, reactive_kvar, n_node)
        return GridLimits(
            correction.flow_min_kw,
            correction.flow_max_kw,
            self._feedback.voltage_offset(correction, q_node),
        )
