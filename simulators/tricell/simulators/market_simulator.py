"""mosaik simulator of the three-level market."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.grid_models.ac_feedback import AcFeedback, Correction
from tricell.grid_models.arrays import sum_by_key
from tricell.markets.charge import EnergyRates, Source
from tricell.markets.daily_envelopes import PowerRange
from tricell.markets.joint_market import Clearing, GridLimits, JointMarket, TradePrices
from tricell.markets.level_markets import LevelMarkets, SlotDemand
from tricell.markets.level_settlement import LevelTrade
from tricell.markets.linear_flow import LinearFlow
from tricell.markets.meter_orders import MeterState
from tricell.markets.orders import OrderBook, check_order_book
from tricell.markets.own_use import OwnUse, clear_with_own_use
from tricell.markets.settlement import TradingAreas
from tricell.simulators.battery_orders import Step
from tricell.simulators.envelope_gate import EnvelopeGate, GateSettings
from tricell.simulators.messages import AgentPowerNow, Contracted, Schedule, StorageNow
from tricell.simulators.outsiders import Outside, Outsiders
from tricell.simulators.owner_prices import PriceSeries
from tricell.simulators.service_desk import RunServices, ServiceDesk
from tricell.simulators.slot_simulator import SLOTS_PER_BLOCK, ChildKind, Memory, SlotSimulator

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

CURTAILED_KW = 1e-6
"""A plant that was accepted for less than its forecast by more than this is held back."""


@dataclass(frozen=True)
class MarketParticipants:
    """Who stands where in the market.

    Attributes
    ----------
    agent_ids : names, for messages.
    agent_node : electrical node of each agent.
    generators : agents with generation; their orders are the first order columns.
    battery_agent : owner of each store, batteries first; four order columns each follow, step by
        step.
    """

    agent_ids: tuple[str, ...]
    agent_node: Indices
    generators: Indices
    battery_agent: Indices


@dataclass(frozen=True)
class MarketSettings:
    """What the market simulator is set up with.

    Attributes
    ----------
    market : compiled joint market.
    feedback : turns corrections into limits.
    participants : who stands where.
    areas, area_ids : the tree, and names.
    prices : retail and feed-in prices of every slot.
    rates : network charges per kWh of every slot.
    generation_price : what generators ask for at least, EUR/kWh.
    levels : markets level by level; None if the joint program clears all levels at once.
    gate : what is known where envelopes are published for a day; None where they are not.
    services : flexibility that network operators ask for; None for nothing.
    """

    market: JointMarket
    feedback: AcFeedback
    participants: MarketParticipants
    areas: TradingAreas
    area_ids: tuple[str, ...]
    prices: PriceSeries
    rates: EnergyRates
    generation_price: float
    levels: LevelMarkets | None
    gate: GateSettings | None = None
    services: RunServices | None = None


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
        self._market, self._feedback = settings.market, settings.feedback
        self._levels, self._gate = settings.levels, None
        if settings.gate is not None and settings.levels is not None:
            self._gate = EnvelopeGate(settings.gate, settings.levels, settings.feedback)
        self._allowed: PowerRange | None = None
        self._areas, self._area_ids = settings.areas, settings.area_ids
        self._rates = settings.rates
        areas, prices = settings.areas, settings.prices
        self._seen_fee = areas.seen_fee(settings.rates, prices.retail, prices.feed_in)
        self._who, self._prices = settings.participants, settings.prices
        self._generation_price = settings.generation_price
        self._battery_steps = slice(len(settings.participants.generators), None)
        self._n_battery = len(settings.participants.battery_agent)
        self._outsiders = Outsiders(settings.areas.takes_part, self._who.battery_agent)
        orders = settings.market.problem.orders
        self._order_trades = settings.areas.takes_part[orders.agent].astype(np.float64)
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
        return (ChildKind("Area", "area", self._area_ids, outputs),)

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
            schedule = self._as_metered(slot, schedule, power)
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
        q_node = self._q_node(power, self._fed_in_kw)
        limits = GridLimits(
            correction.flow_min_kw,
            correction.flow_max_kw,
            self._feedback.voltage_offset(correction, q_node),
        )
        outside = self._outside(slot, power, storage)
        demand = self._demand(slot, power, storage, limits, outside)
        clearing, trade = self._cleared(demand)
        return self._schedule(power, storage, outside, clearing, trade=trade, q_node_kvar=q_node)

    def _q_node(self, power: AgentPowerNow, fed_in_kw: Floats | None) -> Floats:
        """Return what nodes consume, kvar: with inverters, as goes with what is fed in if known."""
        generated = power.q_generation_kvar
        if power.plants is not None and fed_in_kw is not None:
            generated = power.plants.reactive_kvar(fed_in_kw)
        n_node = self._market.problem.grid.n_node
        return sum_by_key(self._who.agent_node, power.q_load_kvar - generated, n_node)

    def _demand(
        self,
        slot: int,
        power: AgentPowerNow,
        storage: StorageNow,
        limits: GridLimits,
        outside: Outside | None,
    ) -> SlotDemand:
        """Put together what the slot brings to the markets."""
        who, n_node = self._who, self._market.problem.grid.n_node
        rates = self._rates.part(slot, 1)
        fee, offer = _of_slot(self._seen_fee, slot), self._generation_offer(power, rates)
        firm = power.p_load_kw + np.maximum(-power.generation_kw, 0.0)
        untraded_node = None
        if outside is not None:
            firm = np.where(self._areas.takes_part, firm, outside.net_kw)
            untraded_node = sum_by_key(who.agent_node, outside.net_kw, n_node)
        return SlotDemand(
            slot=slot,
            meters=self._meter_state(firm, power, storage, fee, offer),
            book=self._order_book(power, storage, offer),
            firm_node_kw=sum_by_key(who.agent_node, firm, n_node),
            untraded_node_kw=untraded_node,
            prices=self._trade_prices(slot, fee, rates),
            fee=self._areas.fee(rates)[0],
            seen_fee=fee,
            entry=rates.entry[0],
            exit=rates.exit[0],
            retail_charge=float(rates.by_source[0, Source.RETAIL]),
            limits=limits,
            retail_price=float(self._prices.retail[slot]),
            feed_in_price=float(self._prices.feed_in[slot]),
            own_use=self._own_use(power),
            allowed=self._allowed,
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

    def _schedule(
        self,
        power: AgentPowerNow,
        storage: StorageNow,
        outside: Outside | None,
        clearing: Clearing,
        *,
        trade: LevelTrade | None,
        q_node_kvar: Floats,
    ) -> Schedule:
        """Turn accepted orders, and what outsiders do, into power of agents and nodes."""
        who, accepted = self._who, clearing.accepted_kw
        generation = np.minimum(power.generation_kw, 0.0)
        generation[who.generators] += accepted[: len(who.generators)]
        charge_own, charge, discharge_own, discharge = accepted[self._battery_steps].reshape(
            4, self._n_battery
        )
        battery = charge_own + charge - discharge_own - discharge
        if outside is not None:
            generation += outside.generation_kw
            battery = battery + outside.battery_kw
        p_net = power.p_load_kw - generation
        p_net += sum_by_key(who.battery_agent, battery, len(p_net))
        battery = battery + storage.must_kw
        if power.plants is not None:
            self._fed_in_kw = generation
            q_node_kvar = self._q_node(power, generation)
        return Schedule(
            memory=self.memory() if self.ends_block(self._slot) else None,
            power=power,
            storage=storage,
            clearing=clearing,
            generation_kw=generation,
            p_net_kw=p_net,
            battery_kw=battery,
            p_node_kw=sum_by_key(who.agent_node, p_net, len(q_node_kvar)),
            q_node_kvar=q_node_kvar,
            reclearings=self._reclearings,
            cold_starts=self._market.cold_starts - self._cold_before,
            trade=trade,
        )

    def _as_metered(self, slot: int, planned: Schedule, power: AgentPowerNow) -> Schedule:
        """Return what the meters tell of a schedule that was made on forecasts.

        Stores keep their set-points. Plants of those who trade feed in what comes, but no more
        than was accepted where that was less than forecast; loads are as they are.
        """
        who, storage, forecast = self._who, planned.storage, planned.power
        power = with_firm_load(power, storage.firm_kw)
        accepted = planned.clearing.accepted_kw[: len(who.generators)]
        expected, comes = (
            np.maximum(each.generation_kw[who.generators], 0.0) for each in (forecast, power)
        )
        held_back = accepted < expected - CURTAILED_KW
        trades = self._areas.takes_part[who.generators]
        plants = np.where(held_back, np.minimum(comes, accepted), comes) * trades
        generation = np.minimum(power.generation_kw, 0.0)
        generation[who.generators] += plants
        if (outside := self._outside(slot, power, storage)) is not None:
            generation += outside.generation_kw
        more_load = power.p_load_kw - forecast.p_load_kw
        p_net = planned.p_net_kw + more_load - (generation - planned.generation_kw)
        q_node = self._q_node(power, generation)
        contracted_kw = np.where(self._areas.takes_part, planned.p_net_kw, p_net)
        if planned.services is not None:
            # what services move was sold beside the contracts
            moved = planned.services.move_kw
            contracted_kw = contracted_kw - sum_by_key(who.battery_agent, moved, len(p_net))
        contracted = Contracted(
            forecast=forecast,
            p_net_kw=contracted_kw,
            p_node_kw=planned.p_node_kw,
            q_node_kvar=planned.q_node_kvar,
        )
        return replace(
            planned,
            power=power,
            generation_kw=generation,
            p_net_kw=p_net,
            p_node_kw=sum_by_key(who.agent_node, p_net, len(q_node)),
            q_node_kvar=q_node,
            contracted=contracted,
        )

    def _outside(self, slot: int, power: AgentPowerNow, storage: StorageNow) -> Outside | None:
        """Return what those do who take no part; None if everybody does."""
        if not self._outsiders:
            return None
        rates = self._rates.part(slot, 1)
        earns = np.broadcast_to(
            self._prices.feed_in[slot] - rates.exported[0], len(power.p_load_kw)
        )
        fee = _of_slot(self._seen_fee, slot)
        retail = self._prices.retail[slot] - fee[self._areas.agent_area[self._who.battery_agent]]
        return self._outsiders.act(
            power,
            storage,
            feed_in=float(self._prices.feed_in[slot]),
            feed_in_net=np.asarray(earns),
            retail=retail,
        )

    def _generation_offer(self, power: AgentPowerNow, rates: EnergyRates) -> Floats:
        """Return what each agent's plants ask for: their own price, and what feeding in costs.

        Plants that do not exceed the own load feed nothing in and pay nothing for it.
        """
        feeds_in = power.generation_kw > power.p_load_kw
        return np.asarray(self._generation_price + np.where(feeds_in, rates.exported[0], 0.0))

    def _own_use(self, power: AgentPowerNow) -> OwnUse | None:
        """Return what plants can serve at home; None where no plant runs."""
        who = self._who
        plants = np.maximum(power.generation_kw[who.generators], 0.0)
        if not plants.any():
            return None
        load = np.clip(power.p_load_kw[who.generators], 0.0, plants)
        load = np.where(self._areas.takes_part[who.generators], load, 0.0)
        return OwnUse(load, who.generators, who.battery_agent)

    def _order_book(self, power: AgentPowerNow, storage: StorageNow, offer: Floats) -> OrderBook:
        generators = self._who.generators
        quantity = np.concatenate(
            [np.maximum(power.generation_kw[generators], 0.0), storage.orders.upper_kw.ravel()]
        )
        if self._outsiders:
            quantity *= self._order_trades
        price = np.concatenate([offer[generators], storage.orders.limit_price_eur_per_kwh.ravel()])
        book = OrderBook(price, quantity)
        check_order_book(self._market.problem.orders, book, self._who.agent_ids)
        return book

    def _trade_prices(self, slot: int, fee: Floats, rates: EnergyRates) -> TradePrices:
        """Fees between levels and at borders; at the top, retail less the top fee, and feed-in."""
        parent = self._areas.parent
        import_price = np.where(parent >= 0, fee[parent] - fee, self._prices.retail[slot] - fee)
        export_price = np.where(parent >= 0, 0.0, self._prices.feed_in[slot])
        return TradePrices(import_price + rates.entry[0], export_price - rates.exit[0])

    def _meter_state(
        self,
        firm_kw: Floats,
        power: AgentPowerNow,
        storage: StorageNow,
        fee: Floats,
        offer: Floats,
    ) -> MeterState:
        """Return what stands behind every meter; prices without the fee of the own area."""
        upper = storage.orders.upper_kw
        generation = np.maximum(power.generation_kw, 0.0)
        if self._outsiders:
            upper = upper * self._areas.takes_part[self._who.battery_agent]
            generation = np.where(self._areas.takes_part, generation, 0.0)
        price = storage.orders.limit_price_eur_per_kwh
        own_fee = fee[self._areas.agent_area[self._who.battery_agent]]
        return MeterState(
            firm_kw=firm_kw,
            generation_kw=generation,
            own_charge_kw=upper[Step.CHARGE_OWN],
            market_charge_kw=upper[Step.CHARGE_MARKET],
            own_discharge_kw=upper[Step.DISCHARGE_OWN],
            market_discharge_kw=upper[Step.DISCHARGE_MARKET],
            own_charge_price=price[Step.CHARGE_OWN],
            market_charge_price=price[Step.CHARGE_MARKET] + own_fee,
            own_discharge_price=price[Step.DISCHARGE_OWN] + own_fee,
            market_discharge_price=price[Step.DISCHARGE_MARKET],
            generation_offer=offer,
        )


def with_firm_load(power: AgentPowerNow, firm_kw: Floats) -> AgentPowerNow:
    """Return the power of the agents with what their devices must take, part of their load."""
    if not firm_kw.any():
        return power
    return replace(power, p_load_kw=power.p_load_kw + firm_kw)


def _of_slot(series: Floats, slot: int) -> Floats:
    """Row of a slot; the only one where nothing changes over time."""
    return np.asarray(series[slot if len(series) > 1 else 0])
