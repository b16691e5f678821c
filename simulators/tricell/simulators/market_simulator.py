"""mosaik simulator of the three-level market."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.grid_models.ac_feedback import Correction
from tricell.grid_models.arrays import sum_by_key
from tricell.markets.daily_envelopes import PowerRange
from tricell.markets.joint_market import Clearing, GridLimits
from tricell.markets.level_markets import SlotDemand
from tricell.markets.level_settlement import LevelTrade
from tricell.markets.linear_flow import LinearFlow
from tricell.markets.own_use import clear_with_own_use
from tricell.simulators.envelope_gate import EnvelopeGate
from tricell.simulators.market_settings import MarketSettings
from tricell.simulators.messages import AgentPowerNow, Schedule, StorageNow
from tricell.simulators.scheduled_power import as_metered, scheduled_power
from tricell.simulators.service_desk import ServiceDesk
from tricell.simulators.slot_demand import (
    outside_of_markets,
    reactive_of_nodes,
    slot_demand,
    with_firm_load,
)
from tricell.simulators.slot_simulator import SLOTS_PER_BLOCK, ChildKind, Memory, SlotSimulator

Floats = NDArray[np.float64]


class MarketSimulator(SlotSimulator[MarketSettings]):
    """Clears the joint market every slot, again if the grid asks for it.

    Parent model ``Market``: reads ``power``, ``forecast`` and ``storage`` of the fleets,
    ``correction`` of the last slot (time-shifted) and ``reclear`` (weak); gives ``schedule``
    (`Schedule`), ``battery_kw`` and ``p_net_kw``. Children ``Area``: read ``price_eur_per_kwh``
    and ``p_import_kw``.
    """

    MODEL = "Market"
    ATTRIBUTES = (
        "power",
        "forecast",
        "storage",
        "correction",
        "reclear",
        "schedule",
        "battery_kw",
        "p_net_kw",
        "price_eur_per_kwh",
        "p_import_kw",
    )
    TRIGGERS = ("reclear",)

    def set_up(self, settings: MarketSettings) -> None:
        """Set up the market."""
        self._settings, self._market = settings, settings.market
        self._levels, self._gate = settings.levels, None
        if settings.gate is not None and settings.levels is not None:
            self._gate = EnvelopeGate(settings.gate, settings.levels, settings.feedback)
        self._allowed: PowerRange | None = None
        self._desk: ServiceDesk | None = None
        if settings.services is not None:
            problem = settings.market.problem
            flow = LinearFlow(problem.grid, problem.constant_kw)
            self._desk = ServiceDesk(settings.services, flow, settings.areas)
        self._slot = -1
        self._reclearings = 0
        self._fed_in_kw: Floats | None = None

    def child_kinds(self) -> Sequence[ChildKind]:
        """One child per area."""
        outputs = {"price_eur_per_kwh": "price_eur_per_kwh", "p_import_kw": "p_import_kw"}
        return (ChildKind("Area", "area", self._settings.area_ids, outputs),)

    def advance(self, slot: int, inputs: Mapping[str, Any]) -> None:
        """Clear a slot for the first time, or again with what the grid reported."""
        mine = inputs[self.MODEL]
        power: AgentPowerNow = self.parent_input(inputs, "power")
        forecast: AgentPowerNow = self.parent_input(inputs, "forecast")
        storage: StorageNow = self.parent_input(inputs, "storage")
        if slot != self._slot:
            self._slot, self._reclearings, self._fed_in_kw = slot, 0, None
            if slot % SLOTS_PER_BLOCK == 0 and slot > 0:
                self.recall(self.memory())
            self._cold_before = self._market.cold_starts
            correction = self.parent_input(inputs, "correction")
            if self._gate is not None:
                self._allowed = self._gate.of_slot(slot, correction)
                self._gate.saw(slot, storage.firm_kw)
        else:
            self._reclearings += 1
            correction = next(iter(mine["reclear"].values()))
        schedule = self.clear(slot, forecast, storage, correction)
        if forecast is not power:
            schedule = as_metered(self._settings, slot, schedule, power)
        self.outputs = {
            "schedule": schedule,
            "battery_kw": schedule.battery_kw,
            "p_net_kw": schedule.p_net_kw,
            "price_eur_per_kwh": schedule.clearing.area_price,
            "p_import_kw": schedule.clearing.net_import_kw,
        }

    def memory(self) -> Memory:
        """Return all that later slots depend on; read when `Schedule.memory` is wanted."""
        levels = {} if self._levels is None else self._levels.memory()
        gate = None if self._gate is None else self._gate.memory()
        return {"joint": self._market.memory(), "levels": levels, "gate": gate}

    def recall(self, memory: Memory) -> None:
        """Go on from `memory` and nothing else."""
        self._market.recall(memory["joint"])
        if self._levels is not None:
            self._levels.recall(memory["levels"])
        if self._gate is not None:
            self._gate.recall(memory["gate"])

    def clear(
        self, slot: int, power: AgentPowerNow, storage: StorageNow, correction: Correction
    ) -> Schedule:
        """Build the slot's orders, clear them and turn the result into a schedule.

        Parameters
        ----------
        slot : its number.
        power : what is known at the gate.
        storage : states and orders of all stores.
        correction : what the last AC power flow taught.
        """
        power = with_firm_load(power, storage.firm_kw)
        if self._desk is None:
            return self._scheduled(slot, power, storage, correction)
        reserve, storage = self._desk.hold(slot, storage)
        schedule = self._scheduled(slot, power, storage, correction)
        return self._desk.serve(slot, schedule, reserve)

    def _scheduled(
        self, slot: int, power: AgentPowerNow, storage: StorageNow, correction: Correction
    ) -> Schedule:
        """Clear the markets alone."""
        settings = self._settings
        expected_q = reactive_of_nodes(settings, power, self._fed_in_kw)
        limits = GridLimits(
            correction.flow_min_kw,
            correction.flow_max_kw,
            settings.feedback.voltage_offset(correction, expected_q),
        )
        outside = outside_of_markets(settings, slot, power, storage)
        demand = slot_demand(
            settings, slot, power, storage, limits=limits, outside=outside, allowed=self._allowed
        )
        clearing, trade = self._cleared(demand)
        done = scheduled_power(settings, power, storage, outside, clearing)
        self._fed_in_kw = done.generation_kw
        q_node = reactive_of_nodes(settings, power, done.generation_kw)
        return Schedule(
            memory=self.memory() if self.ends_block(slot) else None,
            power=power,
            storage=storage,
            clearing=clearing,
            generation_kw=done.generation_kw,
            p_net_kw=done.p_net_kw,
            battery_kw=done.battery_kw,
            p_node_kw=sum_by_key(settings.participants.agent_node, done.p_net_kw, len(q_node)),
            q_node_kvar=q_node,
            reclearings=self._reclearings,
            cold_starts=self._market.cold_starts - self._cold_before,
            trade=trade,
        )

    def _cleared(self, demand: SlotDemand) -> tuple[Clearing, LevelTrade | None]:
        """Clear all levels jointly, or one after the other."""
        if self._levels is not None:
            return self._levels.clear(demand)
        clearing = clear_with_own_use(
            self._market,
            demand.book,
            demand.firm_node_kw,
            demand.prices,
            demand.limits,
            untraded_kw=demand.untraded_node_kw,
            own=demand.own_use,
        )
        return clearing, None
