"""mosaik simulator of the three-level market."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.grid_models.ac_feedback import AcFeedback, Correction
from tricell.grid_models.arrays import sum_by_key
from tricell.markets.charge import EnergyRates
from tricell.markets.joint_market import GridLimits, JointMarket, TradePrices
from tricell.markets.level_markets import LevelMarkets, SlotDemand
from tricell.markets.level_settlement import LevelTrade
from tricell.markets.meter_orders import MeterState
from tricell.markets.orders import OrderBook, check_order_book
from tricell.markets.settlement import TradingAreas
from tricell.simulators.battery_orders import Step
from tricell.simulators.messages import AgentPowerNow, Schedule, StorageNow
from tricell.simulators.slot_simulator import ChildKind, SlotSimulator
from tricell.simulators.storage_simulator import PriceSeries

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class MarketParticipants:
    """Who stands where in the market.

    Attributes
    ----------
    agent_ids : names, for messages.
    agent_node : electrical node of each agent.
    generators : agents with generation; their orders are the first order columns.
    battery_agent : owner of each battery; four order columns each follow, step by step.
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


class MarketSimulator(SlotSimulator[MarketSettings]):
    """Clears the joint market every slot, again if the grid asks for it.

    Parent model ``Market``: reads ``power`` and ``storage`` of the fleets, ``correction`` of the
    last slot (time-shifted) and ``reclear`` (weak); gives ``schedule`` (`Schedule`),
    ``battery_kw`` and ``p_net_kw``. Children ``Area``: read ``price_eur_per_kwh`` and
    ``p_import_kw``.
    """

    MODEL = "Market"
    ATTRIBUTES = (
        "power",
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
        self._levels = settings.levels
        self._areas, self._area_ids = settings.areas, settings.area_ids
        self._rates = settings.rates
        self._who, self._prices = settings.participants, settings.prices
        self._price = np.full(len(settings.market.problem.orders), settings.generation_price)
        self._battery_steps = slice(len(settings.participants.generators), None)
        self._n_battery = len(settings.participants.battery_agent)
        self._slot = -1
        self._reclearings = 0

    def child_kinds(self) -> Sequence[ChildKind]:
        """One child per area."""
        outputs = {"price_eur_per_kwh": "price_eur_per_kwh", "p_import_kw": "p_import_kw"}
        return (ChildKind("Area", "area", self._area_ids, outputs),)

    def advance(self, slot: int, inputs: Mapping[str, Any]) -> None:
        """Clear a slot for the first time, or again with what the grid reported."""
        mine = inputs[self.MODEL]
        power: AgentPowerNow = self.parent_input(inputs, "power")
        storage: StorageNow = self.parent_input(inputs, "storage")
        if slot != self._slot:
            self._slot, self._reclearings = slot, 0
            self._cold_before = self._market.cold_starts
            correction = self.parent_input(inputs, "correction")
        else:
            self._reclearings += 1
            correction = next(iter(mine["reclear"].values()))
        schedule = self.clear(slot, power, storage, correction)
        self.outputs = {
            "schedule": schedule,
            "battery_kw": schedule.battery_kw,
            "p_net_kw": schedule.p_net_kw,
            "price_eur_per_kwh": schedule.clearing.area_price,
            "p_import_kw": schedule.clearing.net_import_kw,
        }

    def clear(
        self, slot: int, power: AgentPowerNow, storage: StorageNow, correction: Correction
    ) -> Schedule:
        """Build the slot's orders, clear them and turn the result into a schedule."""
        who, market = self._who, self._market
        n_node = market.problem.grid.n_node
        book = self._order_book(power, storage)
        firm = power.p_load_kw + np.maximum(-power.generation_kw, 0.0)
        firm_node = sum_by_key(who.agent_node, firm, n_node)
        reactive = power.q_load_kvar - power.q_generation_kvar
        q_node = sum_by_key(who.agent_node, reactive, n_node)
        limits = GridLimits(
            correction.flow_min_kw,
            correction.flow_max_kw,
            self._feedback.voltage_offset(correction, q_node),
        )
        fee = self._areas.fee(self._rates.part(slot, 1))[0]
        prices = self._trade_prices(slot, fee)
        trade: LevelTrade | None = None
        if self._levels is None:
            clearing = market.clear(book, firm_node, prices, limits)
        else:
            demand = SlotDemand(
                slot=slot,
                meters=_meter_state(firm, power, storage),
                book=book,
                firm_node_kw=firm_node,
                prices=prices,
                fee=fee,
                limits=limits,
                retail_price=float(self._prices.retail[slot]),
                feed_in_price=float(self._prices.feed_in[slot]),
            )
            clearing, trade = self._levels.clear(demand)
        accepted = clearing.accepted_kw
        generation = np.minimum(power.generation_kw, 0.0)
        generation[who.generators] += accepted[: len(who.generators)]
        charge_own, charge, discharge_own, discharge = accepted[self._battery_steps].reshape(
            4, self._n_battery
        )
        battery = charge_own + charge - discharge_own - discharge
        p_net = power.p_load_kw - generation
        p_net += sum_by_key(who.battery_agent, battery, len(p_net))
        return Schedule(
            power=power,
            storage=storage,
            clearing=clearing,
            generation_kw=generation,
            p_net_kw=p_net,
            battery_kw=battery,
            p_node_kw=sum_by_key(who.agent_node, p_net, n_node),
            q_node_kvar=q_node,
            reclearings=self._reclearings,
            cold_starts=market.cold_starts - self._cold_before,
            trade=trade,
        )

    def _order_book(self, power: AgentPowerNow, storage: StorageNow) -> OrderBook:
        generators = self._who.generators
        quantity = np.concatenate(
            [np.maximum(power.generation_kw[generators], 0.0), storage.orders.upper_kw.ravel()]
        )
        price = self._price.copy()
        price[self._battery_steps] = storage.orders.limit_price_eur_per_kwh.ravel()
        book = OrderBook(price, quantity)
        check_order_book(self._market.problem.orders, book, self._who.agent_ids)
        return book

    def _trade_prices(self, slot: int, fee: Floats) -> TradePrices:
        """Fees between levels; at the top, retail less the top fee, and feed-in."""
        parent = self._areas.parent
        import_price = np.where(parent >= 0, fee[parent] - fee, self._prices.retail[slot] - fee)
        export_price = np.where(parent >= 0, 0.0, self._prices.feed_in[slot])
        return TradePrices(import_price, export_price)


def _meter_state(firm_kw: Floats, power: AgentPowerNow, storage: StorageNow) -> MeterState:
    """Return what stands behind every meter; the steps' prices without the local fee."""
    upper, price = storage.orders.upper_kw, storage.orders.limit_price_eur_per_kwh
    return MeterState(
        firm_kw=firm_kw,
        generation_kw=np.maximum(power.generation_kw, 0.0),
        own_charge_kw=upper[Step.CHARGE_OWN],
        market_charge_kw=upper[Step.CHARGE_MARKET],
        own_discharge_kw=upper[Step.DISCHARGE_OWN],
        market_discharge_kw=upper[Step.DISCHARGE_MARKET],
        charge_value=price[Step.CHARGE_OWN],
        discharge_cost=price[Step.DISCHARGE_MARKET],
    )
