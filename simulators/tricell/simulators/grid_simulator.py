"""mosaik simulator of the grid: AC power flow, tap changers and the verdict of every slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.errors import PowerFlowError
from tricell.grid_models.ac_feedback import AcFeedback, Correction
from tricell.grid_models.electrical_grid import ElectricalGrid
from tricell.grid_models.linear_grid import LinearGrid
from tricell.grid_models.power_flow import PowerFlowState
from tricell.grid_models.tap_changer import TapController
from tricell.markets.linear_flow import LinearFlow
from tricell.simulators.inverter_control import settle
from tricell.simulators.messages import Breach, Contracted, GridReport, Schedule
from tricell.simulators.slot_simulator import ChildKind, Memory, SlotSimulator

Floats = NDArray[np.float64]

FLOW_BREACH_TOLERANCE_KW = 1e-3
VOLTAGE2_BREACH_TOLERANCE = 1e-6


@dataclass(frozen=True)
class GridNames:
    """Unique names of the rows of the network's tables; `trafo` ends with ``net.trafo3w``."""

    bus: tuple[str, ...]
    line: tuple[str, ...]
    trafo: tuple[str, ...]


@dataclass(frozen=True)
class OperatingLimits:
    """What the AC power flow is held against.

    Attributes
    ----------
    vm_min_pu, vm_max_pu : per node.
    loading_percent : per branch; inf where there is no limit.
    voltage_tolerance_pu, loading_tolerance_percent : exceeding a limit by less is no breach.
    """

    vm_min_pu: Floats
    vm_max_pu: Floats
    loading_percent: Floats
    voltage_tolerance_pu: float
    loading_tolerance_percent: float


@dataclass(frozen=True)
class GridSettings:
    """What the grid simulator is set up with.

    Attributes
    ----------
    grid, linear : the network's arrays and its linear model.
    controller : tap changers around the AC power flow.
    feedback : turns AC solutions into corrections of the linear model.
    limits : limits and tolerances.
    names : names of buses, lines and transformers.
    fixed_taps : tap positions in the data, per row of the transformer table.
    start : start of slot 0, UTC.
    max_reclearings : how often a slot may be cleared again.
    """

    grid: ElectricalGrid
    linear: LinearGrid
    controller: TapController
    feedback: AcFeedback
    limits: OperatingLimits
    names: GridNames
    fixed_taps: NDArray[np.int64]
    start: np.datetime64
    max_reclearings: int


class GridSimulator(SlotSimulator[GridSettings]):
    """The network with its tap changers.

    Parent model ``Grid``: reads ``schedule``; gives ``report`` (`GridReport`), ``correction``,
    ``vm_pu`` and, only if the market shall clear again, ``reclear``. Children ``Bus`` (``vm_pu``,
    ``price_eur_per_kwh``), ``Line`` and ``Trafo`` (``loading_percent``).

    Where meters tell something else than what was contracted, whether to clear again is judged
    before the gate, on contracted power; what happens is then the power flow of the meter values.
    """

    MODEL = "Grid"
    ATTRIBUTES = ("schedule", "report", "correction", "reclear", "vm_pu")
    TRIGGERS = ("schedule",)
    EVENTS = ("reclear",)

    def set_up(self, settings: GridSettings) -> None:
        """Set up the grid."""
        self._grid, self._linear = settings.grid, settings.linear
        self._controller, self._feedback = settings.controller, settings.feedback
        self._limits, self._names = settings.limits, settings.names
        self._start = settings.start
        self._fixed_taps, self._max_reclearings = settings.fixed_taps, settings.max_reclearings
        self._rating_kva = _edge_rating_kva(settings.grid, settings.linear)
        rows = [tap.row for tap in settings.controller.tap_changers]
        self._tap_rows = np.array(rows, dtype=np.int64)
        self._slot, self._before = -1, self._controller.memory()

    @cached_property
    def _linear_flow(self) -> LinearFlow:
        return LinearFlow(self._linear, self._grid.node_constant_p_kw)

    def child_kinds(self) -> Sequence[ChildKind]:
        """One child per bus, line and transformer."""
        bus = {"vm_pu": "bus_vm_pu", "price_eur_per_kwh": "bus_price"}
        return (
            ChildKind("Bus", "bus", self._names.bus, bus),
            ChildKind("Line", "line", self._names.line, {"loading_percent": "line_loading"}),
            ChildKind("Trafo", "trafo", self._names.trafo, {"loading_percent": "trafo_loading"}),
        )

    def advance(self, slot: int, inputs: Mapping[str, Any]) -> None:
        """Solve the AC power flow of a schedule and judge it."""
        schedule: Schedule = self.parent_input(inputs, "schedule")
        if slot != self._slot:
            self._slot, self._before = slot, self._controller.memory()
        report = self._proof(slot, schedule)
        is_final = not report.breach.correctable or schedule.reclearings >= self._max_reclearings
        if is_final and schedule.contracted is not None:
            report = self._as_metered(slot, report)
        self.outputs = {
            "report": report,
            "correction": report.correction,
            "vm_pu": report.state.vm_pu,
        }
        if not is_final:
            self.outputs["reclear"] = report.correction

    def _proof(self, slot: int, schedule: Schedule) -> GridReport:
        """Prove what was contracted: that is what the linear model of the market speaks of."""
        planned: Schedule | Contracted
        if schedule.contracted is None:
            schedule, state = self._settled(slot, schedule)
            planned = schedule
        else:
            planned = schedule.contracted
            state = self._regulated(slot, planned.p_node_kw, planned.q_node_kvar)
        flow = schedule.clearing.flow_kw
        correction = self._feedback.correction(state, flow, planned.q_node_kvar)
        breach = self._breach(state, schedule)
        gap_pu, gap_percent = self._gaps(state, schedule)
        return GridReport(
            schedule=schedule,
            state=state,
            breach=breach,
            correction=correction,
            tap_positions=self._tap_positions(),
            gap_pu=gap_pu,
            gap_percent=gap_percent,
            memory=self._memory(correction) if self.ends_block(slot) else None,
        )

    def _as_metered(self, slot: int, proof: GridReport) -> GridReport:
        """Return the report of what the meters tell; taps move from where they really stood."""
        self._controller.recall(self._before)
        schedule, state = self._settled(slot, proof.schedule)
        # flows of the linear model do not depend on its voltages
        offset = np.zeros(self._linear.n_edge)
        flow = self._linear_flow.state(schedule.p_node_kw, offset).flow_kw
        correction = self._feedback.correction(state, flow, schedule.q_node_kvar)
        return replace(
            proof,
            schedule=schedule,
            state=state,
            breach=self._breach(state, schedule),
            correction=correction,
            tap_positions=self._tap_positions(),
            memory=self._memory(correction) if self.ends_block(slot) else None,
        )

    def _settled(self, slot: int, schedule: Schedule) -> tuple[Schedule, PowerFlowState]:
        """Solve the power flow of a schedule, with inverters that see its voltages."""

        def solve(q_node_kvar: Floats) -> PowerFlowState:
            return self._regulated(slot, schedule.p_node_kw, q_node_kvar)

        plants = schedule.power.plants
        if plants is None or not plants.see_voltage:
            return schedule, solve(schedule.q_node_kvar)
        generation_kw, q_node_kvar = schedule.generation_kw, schedule.q_node_kvar
        q_node_kvar, state = settle(plants, generation_kw, q_node_kvar, solve)
        return replace(schedule, q_node_kvar=q_node_kvar), state

    def _regulated(self, slot: int, p_node_kw: Floats, q_node_kvar: Floats) -> PowerFlowState:
        try:
            return self._controller.regulate(p_node_kw, q_node_kvar)
        except PowerFlowError as error:
            when = self._start + np.timedelta64(slot * self.step_s, "s")
            raise PowerFlowError(f"Slot {slot} ({when} UTC): {error}") from error

    def recall(self, memory: Memory) -> None:
        """Go on with the tap positions and voltages of the slot before."""
        self._controller.recall(memory["controller"])

    def _memory(self, correction: Correction) -> Memory:
        return {"controller": self._controller.memory(), "correction": asdict(correction)}

    def vector(self, name: str) -> Any:
        """Vectors of the children, taken from the last report only when somebody asks."""
        state: PowerFlowState = self.outputs["report"].state
        if name == "bus_vm_pu":
            return state.bus_vm_pu
        if name == "line_loading":
            return state.line_loading_percent
        if name == "trafo_loading":
            return state.transformer_loading_percent
        schedule: Schedule = self.outputs["report"].schedule
        return schedule.clearing.node_price[self._grid.node_of_bus]

    def _tap_positions(self) -> NDArray[np.int64]:
        taps = self._fixed_taps.copy()
        taps[self._tap_rows] = self._controller.positions
        return taps

    def _breach(self, state: PowerFlowState, schedule: Schedule) -> Breach:
        limits, clearing = self._limits, schedule.clearing
        vm = state.vm_pu
        outside = np.maximum(limits.vm_min_pu - vm, vm - limits.vm_max_pu)
        outside -= limits.voltage_tolerance_pu
        over = state.loading_percent - limits.loading_percent - limits.loading_tolerance_percent
        given_up_voltage = np.abs(clearing.voltage2_breach) > VOLTAGE2_BREACH_TOLERANCE
        given_up_flow = np.abs(clearing.flow_breach_kw) > FLOW_BREACH_TOLERANCE_KW
        known_voltage = self._linear.has_voltage & ~given_up_voltage
        known_flow = ~given_up_flow[self._linear.branch_edge]
        correctable = bool(
            np.any((outside > 0.0) & known_voltage) or np.any((over > 0.0) & known_flow)
        )
        return Breach(float(outside.max()), float(over.max(initial=-np.inf)), correctable)

    def _gaps(self, state: PowerFlowState, schedule: Schedule) -> tuple[float, float]:
        clearing, linear = schedule.clearing, self._linear
        voltage2 = clearing.voltage2[linear.has_voltage]
        linear_vm = np.sqrt(np.maximum(voltage2, 0.0))
        gap_pu = np.abs(state.vm_pu[linear.has_voltage] - linear_vm).max(initial=0.0)
        flow = linear.sum_to_edges(linear.branch_sign * state.p_from_kw)
        gap = 100.0 * np.abs(flow - clearing.flow_kw) / self._rating_kva
        return float(gap_pu), float(gap.max(initial=0.0))


def _edge_rating_kva(grid: ElectricalGrid, linear: LinearGrid) -> Floats:
    kv = grid.node_vn_kv[grid.branch_from]
    return linear.sum_to_edges(np.sqrt(3.0) * 1000.0 * kv * grid.branch_rating_from_ka)
