"""mosaik simulator that keeps what the others say and writes it, day by day.

Within a slot it only copies vectors. Once a day it derives what follows from them (net power,
trades, bills) for all slots at once and hands the block to a *sink*: the results file in a
`tricell run`, anything with the same methods elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.grid_models.arrays import sum_by_key, take_or
from tricell.grid_models.electrical_grid import ElectricalGrid
from tricell.grid_models.linear_grid import LinearGrid
from tricell.markets.charge import (
    Calendar,
    Charge,
    Customers,
    EnergyRates,
    MeterData,
    PeriodCharge,
)
from tricell.markets.forecast_error import AccuracySums
from tricell.markets.imbalance import ImbalanceTerms
from tricell.markets.level_settlement import LevelTrade, settle_level_trades
from tricell.markets.postings import Posting, Receipts, check_postings
from tricell.markets.settlement import (
    Billing,
    ClearedBlock,
    Contracts,
    Settlement,
    TradingAreas,
    settle,
)
from tricell.simulators.battery import apply_power
from tricell.simulators.device_list import DeviceList, DeviceTotals
from tricell.simulators.final_postings import charges_of_period, shares_of_members
from tricell.simulators.flexible_devices import SharedBattery
from tricell.simulators.grid_simulator import (
    FLOW_BREACH_TOLERANCE_KW,
    VOLTAGE2_BREACH_TOLERANCE,
    OperatingLimits,
)
from tricell.simulators.grown_rows import GrownRows
from tricell.simulators.interrupts import interrupts_held_back
from tricell.simulators.messages import GridReport, Schedule
from tricell.simulators.no_trading import MeterRates, NoTradingReference
from tricell.simulators.owner_prices import PriceSeries
from tricell.simulators.population import Batteries
from tricell.simulators.service_desk import RunServices
from tricell.simulators.service_record import ServiceRecord, SettledServices
from tricell.simulators.slot_simulator import SLOTS_PER_BLOCK, Memory, SlotSimulator

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

BILL_PARTS = (
    "energy_p2p",
    "energy_retail",
    "export",
    "network",
    "congestion",
    "losses",
    "levy",
    "redispatch",
    "imbalance",
    "flexibility",
)
"""Components of a bill, in EUR, that add up to its total."""
BILL_ENERGIES = ("bought_p2p_kwh", "sold_p2p_kwh", "bought_retail_kwh", "sold_retail_kwh")
BINDING_FROM = 0.99
"""Share of a limit (for voltages: of the half band) from which on it counts as binding."""


@dataclass(frozen=True)
class RecorderLayout:
    """Sizes and memberships that the recorder needs.

    Attributes
    ----------
    grid, linear : the network.
    areas : market areas; `agent_area` inside.
    agent_node : node of each agent.
    batteries : ratings and owners.
    store_agent : owner of each store, batteries first.
    prices : outside prices per slot.
    n_slot : slots of the run.
    hours : length of a slot.
    flow_breach_eur_per_kwh, voltage_breach_eur_per_pu2_h : prices of breaches.
    limits : what the AC power flow is held against.
    rates : network charges per kWh of every slot.
    charges : network charges; without any, the rates are billed as one.
    calendar, customers : the slots, and who is billed; needed where there are charges.
    levy_eur_per_kwh : levies in the price of energy from the retailer.
    imbalance : how deviations from contracts are settled; None where forecasts are perfect.
    devices : devices beside the batteries of households; None without any.
    shared : rows of the batteries that are shared, the last of these devices.
    members : who shares what such a battery earns.
    """

    grid: ElectricalGrid
    linear: LinearGrid
    areas: TradingAreas
    agent_node: Indices
    batteries: Batteries
    store_agent: Indices
    prices: PriceSeries
    n_slot: int
    hours: float
    flow_breach_eur_per_kwh: Floats
    voltage_breach_eur_per_pu2_h: float
    limits: OperatingLimits
    rates: EnergyRates = field(default_factory=EnergyRates.of)
    charges: tuple[Charge, ...] = ()
    calendar: Calendar | None = None
    customers: Customers | None = None
    levy_eur_per_kwh: float = 0.0
    imbalance: ImbalanceTerms | None = None
    devices: DeviceList | None = None
    shared: Indices = field(default_factory=lambda: np.zeros(0, np.int64))
    members: tuple[SharedBattery, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """Length of the vectors of each series group; ``slot`` has plain numbers."""
        return {
            "slot": 0,
            "agent": len(self.agent_node),
            "area": len(self.areas.parent),
            "bus": len(self.grid.node_of_bus),
            "line": len(self.grid.line_branch),
            "trafo": len(self.grid.transformer_branch),
            "device": 0 if self.devices is None else len(self.devices),
        }


@dataclass(frozen=True)
class SlotBlock:
    """Everything about some consecutive slots.

    Attributes
    ----------
    first_slot : number of the first slot.
    series : group -> variable -> array (slots, entities), or (slots,) in the group ``slot``.
        The group ``area`` holds all areas; the sink parts them by level.
    settlement : money and trades of the block.
    services : what was asked for as a service, a row each: number of the `slot`, number of the
        `service` in the scenario, `kind` (dso_request, tso_request, peak_shaving,
        reserve, set_point), row of the `area` or -1, and `need`, `accepted`,
        `delivered`, `unmet` (kWh) and `cost` (EUR). None without any.
    """

    first_slot: int
    series: Mapping[str, Mapping[str, NDArray[Any]]]
    settlement: Settlement
    services: Mapping[str, Sequence[Any] | NDArray[Any]] | None = None


class Breaches:
    """Limits that the market could not keep, over the run.

    Attributes
    ----------
    flow_kw, voltage2 : largest breach per edge (kW) and per node (pu^2), 0 where there was none.
    flow_kw_sum : sum over slots per edge, kW.
    edge_slots, node_slots : number of slots.
    edge_first, node_first : first slot.
    """

    def __init__(self, n_edge: int, n_node: int) -> None:
        self.flow_kw, self.voltage2 = np.zeros(n_edge), np.zeros(n_node)
        self.flow_kw_sum = np.zeros(n_edge)
        self.edge_slots, self.node_slots = np.zeros(n_edge, np.int64), np.zeros(n_node, np.int64)
        self.edge_first, self.node_first = np.zeros(n_edge, np.int64), np.zeros(n_node, np.int64)

    def memory(self) -> dict[str, NDArray[Any]]:
        """Return all figures so far."""
        return vars(self).copy()

    def recall(self, memory: Memory) -> None:
        """Go on from what `memory` returned."""
        vars(self).update(memory)

    def add(self, slot: int, flow_kw: Floats, voltage2: Floats) -> None:
        """Take the breaches of a slot."""
        edges = np.flatnonzero(np.abs(flow_kw) > FLOW_BREACH_TOLERANCE_KW)
        nodes = np.flatnonzero(np.abs(voltage2) > VOLTAGE2_BREACH_TOLERANCE)
        if len(edges):
            by = np.abs(flow_kw[edges])
            self.edge_first[edges[self.edge_slots[edges] == 0]] = slot
            self.edge_slots[edges] += 1
            self.flow_kw_sum[edges] += by
            self.flow_kw[edges] = np.maximum(self.flow_kw[edges], by)
        if len(nodes):
            self.node_first[nodes[self.node_slots[nodes] == 0]] = slot
            self.node_slots[nodes] += 1
            self.voltage2[nodes] = np.maximum(self.voltage2[nodes], np.abs(voltage2[nodes]))


class Sink(Protocol):
    """Where the recorder hands its blocks."""

    def write(self, block: SlotBlock) -> None:
        """Take a block of slots; arrays are only valid during the call."""

    def close(self, recorder: RecorderSimulator) -> None:
        """End the record; called once, after the last block."""


@dataclass(frozen=True)
class RecorderSettings:
    """What the recorder is set up with.

    Attributes
    ----------
    layout : sizes and memberships.
    sink : takes the blocks.
    services : flexibility that network operators ask for; None for nothing.
    """

    layout: RecorderLayout
    sink: Sink
    services: RunServices | None = None


class RecorderSimulator(SlotSimulator[RecorderSettings]):
    """Keeps the run's record.

    Parent model ``Recorder``: reads ``report``, which carries the schedule and what led to it.

    Attributes
    ----------
    bills : settlement component -> sum per agent, EUR or kWh.
    receipts : what every agent pays for what.
    period_postings : charges of the whole period and shares of members, booked in the last slot.
    reference : bills without trading.
    curtailed_kwh : per agent.
    devices : totals of the devices beside household batteries; None without any.
    stored_kwh : energy in each battery after the last slot.
    breaches : what the market had to give up, per edge and per node.
    forecast_table : errors of forecasts of every area (`mae`, `wape`, `member_mae`, `member_wape`
        of tables/forecast); None where forecasts are perfect.
    slots_done : slots handed to the sink or waiting for it.
    settle_seconds, write_seconds, flushes : time in settlement and in the sink, and how often.
    on_slot : called with the number of slots done after each.
    on_block : called after each full block but the last; then `memory` tells all that is to come
        depends on.
    """

    MODEL = "Recorder"
    ATTRIBUTES = ("report",)

    def set_up(self, settings: RecorderSettings) -> None:
        """Set up the record."""
        self.layout, self._sink = settings.layout, settings.sink
        layout, n_agent = settings.layout, len(settings.layout.agent_node)
        self.bills: dict[str, Floats] = {}
        self.receipts = Receipts()
        self.period_postings: tuple[Posting, ...] = ()
        self._metered = _Metered(settings.layout)
        self._accuracy = None if layout.imbalance is None else AccuracySums(layout.areas.within)
        self.curtailed_kwh = np.zeros(n_agent)
        self.devices = None if layout.devices is None else DeviceTotals(len(layout.devices))
        self.forecast_table: Mapping[str, Floats] | None = None
        self.stored_kwh = layout.batteries.soc0_kwh
        self.breaches = Breaches(layout.linear.n_edge, layout.linear.n_node)
        self.reference = NoTradingReference(
            layout.batteries, n_agent, layout.charges, layout.customers, layout.areas
        )
        of_period = (
            None if layout.calendar is None else self.reference.period_rates(layout.calendar)
        )
        self._meter_rates = MeterRates.of(layout.areas, layout.rates, of_period)
        self.settle_seconds = self.write_seconds = 0.0
        self.slots_done = self._row = self.flushes = 0
        self._closed = self._period_billed = False
        self.on_slot: Callable[[int], None] | None = None
        self.on_block: Callable[[], None] | None = None
        self._raw: dict[str, dict[str, NDArray[Any]]] = {}
        self._trades: list[LevelTrade] = []
        self._services: ServiceRecord | None = None
        if settings.services is not None:
            assert layout.calendar is not None
            run = settings.services
            self._services = ServiceRecord(run.services, run.who, layout.calendar)
        self._transformer_branch = layout.grid.transformer_branch
        node_area = layout.linear.node_area
        self._branch_area = np.maximum(
            node_area[layout.grid.branch_from], node_area[layout.grid.branch_to]
        )

    def advance(self, slot: int, inputs: Mapping[str, Any]) -> None:
        """Copy one slot; write once a block is full or the run ends."""
        with interrupts_held_back():
            self._take(slot, inputs)

    def _take(self, slot: int, inputs: Mapping[str, Any]) -> None:
        report: GridReport = self.parent_input(inputs, "report")
        schedule = report.schedule
        self._keep("agent", self._agent_values(schedule))
        self._keep("bus", self._bus_values(schedule, report))
        state = report.state
        line, trafo = self.layout.grid.line_branch, self._transformer_branch
        p_from = state.p_from_kw
        self._keep(
            "line", {"loading": state.line_loading_percent, "p_from": take_or(p_from, line, 0.0)}
        )
        self._keep(
            "trafo",
            {
                "loading": state.transformer_loading_percent,
                "p_from": take_or(p_from, trafo, 0.0),
                "tap": report.tap_positions,
            },
        )
        clearing = schedule.clearing
        loss = sum_by_key(self._branch_area, state.loss_kw, len(clearing.area_price))
        area = {"p_import": clearing.net_import_kw, "price": clearing.area_price, "loss": loss}
        self._keep("area", area)
        self._keep("slot", self._slot_values(slot, schedule, report))
        if schedule.storage.devices is not None:
            self._keep("device", self._device_values(schedule))
        self.breaches.add(slot, clearing.flow_breach_kw, clearing.voltage2_breach)
        if schedule.trade is not None:
            self._trades.append(schedule.trade)
        if self._services is not None and schedule.services is not None:
            self._services.keep(schedule.services)
        self._last = report
        self._row += 1
        self.slots_done += 1
        is_whole = self._row == SLOTS_PER_BLOCK
        if is_whole or self.slots_done == self.layout.n_slot:
            self.flush()
        if is_whole and self.slots_done < self.layout.n_slot and self.on_block is not None:
            self.on_block()
        if self.on_slot is not None:
            self.on_slot(self.slots_done)

    @property
    def last_schedule(self) -> Schedule:
        """What was done in the last slot."""
        return self._last.schedule

    def memory(self) -> dict[str, Memory]:
        """Return what all simulators remember, by their names; at the end of a block.

        Other simulators may be a step ahead of the recorder, so that what they remember comes with
        the report of the slot.
        """
        report = self._last
        schedule = report.schedule
        assert schedule.memory is not None
        assert report.memory is not None
        assert schedule.storage.memory is not None
        storage = {**schedule.storage.memory, "battery_kw": schedule.battery_kw}
        mine = {
            "slots_done": self.slots_done,
            "bills": self.bills,
            "receipts": self.receipts.memory(),
            "curtailed_kwh": self.curtailed_kwh,
            "stored_kwh": self.stored_kwh,
            "breaches": self.breaches.memory(),
            "reference": self.reference.memory(),
            "devices": {} if self.devices is None else self.devices.memory(),
            "services": {} if self._services is None else self._services.memory(),
        }
        if self._accuracy is not None:
            mine["accuracy"] = self._accuracy.memory()
        return {
            "storage": storage,
            "market": schedule.memory,
            "grid": report.memory,
            "recorder": mine,
        }

    def unsaved_rows(self) -> dict[str, NDArray[Any]]:
        """Return what the end of the run needs of the slots since the last call, row by row."""
        metered, reference = self._metered.unsaved_rows(), self.reference.unsaved_rows()
        rows = {f"metered {name}": values for name, values in metered.items()}
        return rows | {f"reference {name}": values for name, values in reference.items()}

    def recall(self, memory: Memory) -> None:
        """Go on from what `memory` returned, with the rows of `unsaved_rows` under ``rows``."""
        rows: dict[str, dict[str, NDArray[Any]]] = {"metered": {}, "reference": {}}
        for name, values in memory["rows"].items():
            part, key = name.split(" ")
            rows[part][key] = values
        self.slots_done = int(memory["slots_done"])
        self.bills = dict(memory["bills"])
        self.receipts.recall(memory["receipts"])
        self.curtailed_kwh = memory["curtailed_kwh"]
        self.stored_kwh = memory["stored_kwh"]
        self.breaches.recall(memory["breaches"])
        if self._services is not None:
            self._services.recall(memory["services"])
        if self.devices is not None:
            self.devices.recall(memory["devices"])
        self.reference.recall(memory["reference"], rows["reference"])
        if self._accuracy is not None:
            self._accuracy.recall(memory["accuracy"])
        self._metered.recall(rows["metered"])

    def discard(self) -> None:
        """Forget the record: the run never began."""
        self._closed = True

    def finalize(self) -> None:
        """End the record when mosaik shuts down."""
        if self._closed:
            return
        self._closed = True
        with interrupts_held_back():
            self.flush()
            self._bill_period()
            if self._accuracy is not None:
                self.forecast_table = _accuracy_table(self._accuracy)
            self._sink.close(self)

    def flush(self) -> None:
        """Derive what follows from the slots kept so far and hand them to the sink."""
        if self._row == 0:
            return
        started = perf_counter()
        block = self._settled_block()
        self._account(block)
        settled = perf_counter()
        self._sink.write(block)
        last = self._last.schedule
        batteries = self.layout.batteries
        done_kw = last.battery_kw[: len(batteries)]
        self.stored_kwh = apply_power(batteries, last.storage.soc_kwh, done_kw, self.layout.hours)
        self._row = 0
        self._trades.clear()
        self.flushes += 1
        self.settle_seconds += settled - started
        self.write_seconds += perf_counter() - settled
        if self.slots_done == self.layout.n_slot:
            self._bill_period()

    def _keep(self, group: str, values: Mapping[str, Any]) -> None:
        kept = self._raw.get(group)
        if kept is None:
            size = self.layout.sizes[group]
            shape = (SLOTS_PER_BLOCK, size) if group != "slot" else (SLOTS_PER_BLOCK,)
            kept = {name: np.empty(shape, np.asarray(v).dtype) for name, v in values.items()}
            self._raw[group] = kept
        for name, value in values.items():
            kept[name][self._row] = value

    def _agent_values(self, schedule: Schedule) -> dict[str, Any]:
        power, storage, contracted = schedule.power, schedule.storage, schedule.contracted
        batteries, n_agent = self.layout.batteries, len(self.layout.agent_node)
        drawn = self._drawn_beyond_must(schedule)
        values = {
            "p_load": power.p_load_kw + drawn,
            "q_load": power.q_load_kvar,
            "p_pv_available": power.generation_kw,
            "p_pv": schedule.generation_kw,
            "soc": sum_by_key(batteries.agent, storage.soc_kwh, n_agent),
            "p_net": schedule.p_net_kw,
            "price": schedule.clearing.node_price[self.layout.agent_node],
        }
        if contracted is not None:
            values |= {
                "p_contracted": contracted.p_net_kw,
                "p_load_forecast": contracted.forecast.p_load_kw + drawn,
                "p_pv_forecast": contracted.forecast.generation_kw,
            }
        return values

    def _drawn_beyond_must(self, schedule: Schedule) -> Floats | float:
        """Return what vehicles and heat pumps of every agent took from the market, kW."""
        first = len(self.layout.batteries)
        drawn = np.maximum(schedule.battery_kw[first:], 0.0)
        if not drawn.size:
            return 0.0
        drawn -= schedule.storage.must_kw[first:]
        return sum_by_key(self.layout.store_agent[first:], drawn, len(self.layout.agent_node))

    def _device_values(self, schedule: Schedule) -> dict[str, Any]:
        storage, layout = schedule.storage, self.layout
        assert storage.devices is not None
        jobs = np.zeros(0) if storage.job_kw is None else storage.job_kw
        of_stores = schedule.battery_kw
        power = [of_stores[len(layout.batteries) :], jobs, of_stores[layout.shared]]
        state = storage.devices
        return {
            "p": np.concatenate(power),
            "stored": state.stored_kwh,
            "unmet": state.unmet_kwh,
            "temperature": state.temperature_c,
            "departed": state.departed,
            "discomfort": state.discomfort_kh,
        }

    def _bus_values(self, schedule: Schedule, report: GridReport) -> dict[str, Any]:
        node = self.layout.grid.node_of_bus
        return {
            "vm": report.state.bus_vm_pu,
            "price": take_or(schedule.clearing.node_price, node, np.nan),
        }

    def _slot_values(self, slot: int, schedule: Schedule, report: GridReport) -> dict[str, Any]:
        layout, clearing, state = self.layout, schedule.clearing, report.state
        prices, trade = layout.prices, schedule.trade
        breach = np.abs(clearing.flow_breach_kw)
        breach_cost = float(breach @ layout.flow_breach_eur_per_kwh)
        voltage_breach = float(np.abs(clearing.voltage2_breach).sum())
        breach_cost += voltage_breach * layout.voltage_breach_eur_per_pu2_h
        met = report.breach.limits_met
        return {
            "verdict": (1 if schedule.reclearings else 0) if met else 2,
            "ac_gap_pu": report.gap_pu,
            "ac_gap_percent": report.gap_percent,
            "reclearings": schedule.reclearings,
            "breach_kw": float(breach.sum()),
            "breach_cost": breach_cost * layout.hours,
            "power_flow_method": int(state.method != "fixed_point"),
            "lp_cold_starts": schedule.cold_starts,
            "welfare": -clearing.cost_eur_per_h * layout.hours,
            "gain": np.nan if trade is None else trade.gain,
            "optimal_gain": np.nan if trade is None else trade.optimal_gain,
            "redispatch_moved": 0.0 if trade is None else trade.redispatch_moved,
            "redispatch_cost": 0.0 if trade is None else trade.redispatch_cost,
            "market_operator_surplus": 0.0 if trade is None else trade.operator_surplus,
            "market_iterations": 0 if trade is None else trade.iterations,
            "unfinished_markets": 0 if trade is None else trade.unfinished,
            "wholesale_price": prices.wholesale[slot],
            "retail_price": prices.retail[slot],
            "feed_in_price": prices.feed_in[slot],
        }

    def _settled_block(self) -> SlotBlock:
        """Derive a block; one whose books do not balance is left out, so that the rest is kept."""
        try:
            return self._derive()
        except MarketError:
            self.slots_done -= self._row
            self._row = 0
            self._trades.clear()
            if self._services is not None:
                self._services.forget()
            raise

    def _derive(self) -> SlotBlock:
        layout, rows = self.layout, self._row
        raw = {g: {n: v[:rows] for n, v in values.items()} for g, values in self._raw.items()}
        agent, area, slot = raw["agent"], raw["area"], raw["slot"]
        services = self._settled_services(agent, slot)
        settlement = self._settlement(agent, area, slot, services)
        curtailed = np.maximum(agent["p_pv_available"], 0.0) - np.maximum(agent["p_pv"], 0.0)
        agent |= {
            "p_storage": agent["p_net"] - agent["p_load"] + agent["p_pv"],
            "p_curtailed": curtailed,
            "p_unserved": np.zeros_like(curtailed),
        }
        trade = settlement.areas
        unsold = _sum_by(layout.areas.agent_area, curtailed, len(layout.areas.parent))
        area |= {
            "energy_traded": trade.traded_kwh,
            "energy_residual": trade.residual_kwh,
            "energy_unsold": unsold * layout.hours,
            "energy_unserved": np.zeros_like(unsold),
            "network_charge": trade.network_charge_eur,
        }
        if layout.imbalance is not None or not layout.areas.takes_part.all():
            area["p_import"] = agent["p_net"] @ layout.areas.within
        slot |= _worst(raw) | self._binding(raw)
        told = None if services is None else services.rows
        return SlotBlock(self.slots_done - rows, raw, settlement, told)

    def _settled_services(
        self, agent: Mapping[str, NDArray[Any]], slot: Mapping[str, NDArray[Any]]
    ) -> SettledServices | None:
        if self._services is None:
            return None
        first = self.slots_done - self._row
        return self._services.settle(first, agent["p_net"], slot["wholesale_price"])

    def _settlement(
        self,
        agent: Mapping[str, NDArray[Any]],
        area: Mapping[str, NDArray[Any]],
        slot: Mapping[str, NDArray[Any]],
        services: SettledServices | None,
    ) -> Settlement:
        layout, rows = self.layout, self._row
        first = self.slots_done - rows
        block = ClearedBlock(
            p_net_kw=agent["p_net"],
            area_price=area["price"],
            agent_price=agent["price"],
            retail_price=slot["retail_price"],
            feed_in_price=slot["feed_in_price"],
            hours=layout.hours,
            rates=layout.rates.part(first, rows),
            wholesale_price=slot["wholesale_price"],
            area_loss_kw=area["loss"],
            first_slot=first,
            services=None if services is None else services.sold,
            contracts=None
            if layout.imbalance is None
            else Contracts(agent["p_contracted"], layout.imbalance.part(first, rows)),
        )
        calendar = None if layout.calendar is None else layout.calendar.part(first, rows)
        billing = Billing(layout.charges, calendar, layout.customers, layout.levy_eur_per_kwh)
        if self._trades:
            return settle_level_trades(self._trades, layout.areas, block, billing)
        return settle(layout.areas, block, billing)

    def _binding(self, raw: Mapping[str, Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
        """Find what stands closest to its limit in each slot, if it stands at it."""
        limits, grid = self.layout.limits, self.layout.grid
        low = take_or(limits.vm_min_pu, grid.node_of_bus, np.nan)
        high = take_or(limits.vm_max_pu, grid.node_of_bus, np.nan)
        middle, half_band = 0.5 * (low + high), 0.5 * (high - low)
        line = take_or(limits.loading_percent, grid.line_branch, np.inf)
        trafo = take_or(limits.loading_percent, self._transformer_branch, np.inf)
        tightness = (
            np.abs(raw["bus"]["vm"] - middle) / half_band,
            raw["line"]["loading"] / line,
            raw["trafo"]["loading"] / trafo,
        )
        tightness = tuple(np.nan_to_num(of_kind, nan=0.0) for of_kind in tightness)
        worst = np.stack([of_kind.max(axis=1, initial=0.0) for of_kind in tightness], axis=1)
        where = np.stack(
            [
                of_kind.argmax(axis=1) if of_kind.shape[1] else -np.ones(len(worst))
                for of_kind in tightness
            ],
            axis=1,
        )
        kind = worst.argmax(axis=1)
        rows = np.arange(len(worst))
        binds = worst[rows, kind] >= BINDING_FROM
        return {
            "binding_kind": np.where(binds, kind + 1, 0),
            "binding_element": np.where(binds, where[rows, kind], -1).astype(np.int64),
        }

    def _account(self, block: SlotBlock) -> None:
        layout, money = self.layout, block.settlement
        for name in (*BILL_PARTS, *BILL_ENERGIES):
            self.bills[name] = self.bills.get(name, 0.0) + getattr(money, name)
        self.receipts.add(money.postings)
        agent, slot = block.series["agent"], block.series["slot"]
        self._metered.add(block)
        if self._accuracy is not None:
            net = (agent["p_load"] - agent["p_pv_available"]) * layout.hours
            forecast = (agent["p_load_forecast"] - agent["p_pv_forecast"]) * layout.hours
            self._accuracy.add(net, forecast)
        if self.devices is not None:
            self.devices.add(block.series["device"], layout.hours)
        self.curtailed_kwh += agent["p_curtailed"].sum(axis=0) * layout.hours
        self.reference.add(
            agent["p_load"],
            agent["p_pv_available"],
            slot["retail_price"],
            slot["feed_in_price"],
            layout.hours,
            rates=self._meter_rates.part(block.first_slot, len(slot["retail_price"])),
        )

    def _bill_period(self) -> None:
        """Book what is billed at the end: charges of the whole period, and shares of members."""
        layout = self.layout
        if self._period_billed or self.slots_done == 0:
            return
        self._period_billed = True
        booked: list[Posting] = []
        if self._metered.charges:
            meters = self._metered.data(self.slots_done)
            booked += charges_of_period(self._metered.charges, meters)
            for posting in booked:
                self._add_to_bills(posting.kind.value, posting)
            assert layout.calendar is not None
            self.reference.bill_period(layout.calendar.part(0, self.slots_done))
        parts = {name: self.bills[name] for name in BILL_PARTS}
        for name, posting in shares_of_members(parts, layout.members).items():
            self._add_to_bills(name, posting)
            booked.append(posting)
        check_postings(booked, np.zeros((1, len(layout.agent_node))), self.slots_done - 1)
        self.receipts.add(booked)
        self.period_postings = tuple(booked)

    def _add_to_bills(self, part: str, posting: Posting) -> None:
        assert posting.agent_eur is not None
        self.bills[part] = self.bills[part] + posting.agent_eur


def _accuracy_table(sums: AccuracySums) -> dict[str, Floats]:
    """Return the columns of the table of forecasts; NaN where a figure is undefined."""
    figures = [
        (each.mae_kwh, each.wape, each.member_mae_kwh, each.member_wape) for each in sums.accuracy()
    ]
    columns = np.array(figures, dtype=np.float64).T
    return dict(zip(("mae", "wape", "member_mae", "member_wape"), columns, strict=True))


class _Metered:
    """Keeps what the charges of the whole period are billed on; nothing where there are none."""

    def __init__(self, layout: RecorderLayout) -> None:
        self.charges = [each for each in layout.charges if isinstance(each, PeriodCharge)]
        self._layout = layout
        self._series: dict[str, GrownRows] = {}

    def add(self, block: SlotBlock) -> None:
        """Keep the meter data of a block."""
        if not self.charges:
            return
        wanted = {
            "net_kw": block.series["agent"]["p_net"],
            "area_net_kw": block.series["area"]["p_import"],
            "area_loss_kw": block.series["area"]["loss"],
            "wholesale_price": block.series["slot"]["wholesale_price"],
            "congestion_rent_eur": block.settlement.congestion_rent_eur,
        }
        for name, values in wanted.items():
            self._series.setdefault(name, GrownRows()).add(values.copy())

    def unsaved_rows(self) -> dict[str, Floats]:
        """Return the rows that no earlier call returned."""
        return {name: rows.unsaved() for name, rows in self._series.items()}

    def recall(self, rows: Mapping[str, Floats]) -> None:
        """Go on from all rows that were saved."""
        for name, values in rows.items():
            self._series.setdefault(name, GrownRows()).recall(values)

    def data(self, slots: int) -> MeterData:
        """Return the meter data of the whole period."""
        layout = self._layout
        assert layout.calendar is not None
        assert layout.customers is not None
        series = {name: rows.all() for name, rows in self._series.items()}
        return MeterData(layout.calendar.part(0, slots), layout.customers, **series)


def _sum_by(group: Indices, values: Floats, size: int) -> Floats:
    """Sum columns by group, shape (rows, size)."""
    total = np.zeros((len(values), size))
    np.add.at(total.T, group, values.T)
    return total


def _worst(raw: Mapping[str, Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Lowest and highest voltage and highest loadings of each slot, with their rows."""
    vm = raw["bus"]["vm"]
    low, high = np.where(np.isnan(vm), np.inf, vm), np.where(np.isnan(vm), -np.inf, vm)
    worst = {
        "vm_min": low.min(axis=1),
        "vm_min_bus": low.argmin(axis=1),
        "vm_max": high.max(axis=1),
        "vm_max_bus": high.argmax(axis=1),
    }
    for kind in ("line", "trafo"):
        loading = raw[kind]["loading"]
        if loading.shape[1]:
            worst[f"{kind}_loading_max"] = loading.max(axis=1)
            worst[f"{kind}_loading_max_{kind}"] = loading.argmax(axis=1)
        else:
            worst[f"{kind}_loading_max"] = np.full(len(vm), np.nan)
            worst[f"{kind}_loading_max_{kind}"] = np.full(len(vm), -1)
    return worst
