"""Who decides what stores do: their plain rules, thrift with known prices, or a plan.

A *store* is a battery, a vehicle, a house or a heat store. In every slot a decision says for each
what it must take, which is firm load of its owner, and what it offers to the market
(`BatteryOrders`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from tricell.grid_models.arrays import sum_by_key
from tricell.markets.flexibility.tanks import Plan, PlanSteps, TankOutlook
from tricell.simulators.battery import own_surplus_of_batteries
from tricell.simulators.battery_fleet import BatteryDevices
from tricell.simulators.battery_orders import (
    BatteryOrders,
    BatterySlot,
    BatteryStrategy,
    Step,
)
from tricell.simulators.device_checks import PowerBand
from tricell.simulators.fleet import EnergyPerPower, Fleet
from tricell.simulators.look_ahead import RunPlan
from tricell.simulators.owner_prices import OwnerPrices
from tricell.simulators.planned_orders import (
    OwnerTerms,
    PlannedSlot,
    kept_inside,
    planned_orders,
)
from tricell.simulators.population import FloatArray, IntArray
from tricell.simulators.strategies.shared_storage import shared_storage_orders

LATER_IS_SURE = 0.95
"""Share of its price that energy for later needs counts with; below 1, as it may not be needed."""


@dataclass(frozen=True)
class StoreDecision:
    """What stores do in a slot.

    Attributes
    ----------
    must_kw : what each store takes whatever the market says, shape (n_store,).
    orders : what is offered beyond, shape (4, n_store).
    """

    must_kw: FloatArray
    orders: BatteryOrders


@dataclass(frozen=True)
class Stores:
    """All stores of a run, batteries first.

    Attributes
    ----------
    batteries : the batteries.
    others : other fleets, in the order of the stores.
    """

    batteries: BatteryDevices
    others: tuple[Fleet, ...]

    @property
    def fleets(self) -> tuple[Fleet, ...]:
        """All fleets in the order of the stores."""
        return (self.batteries, *self.others)

    @cached_property
    def agent(self) -> IntArray:
        """Owner of each store, shape (n_store,)."""
        return np.concatenate([fleet.agent for fleet in self.fleets])

    def band(self, slot: int) -> PowerBand:
        """Return what a slot allows all stores."""
        bands = [fleet.band(slot) for fleet in self.fleets]
        return PowerBand(
            np.concatenate([band.lowest_kw for band in bands]),
            np.concatenate([band.highest_kw for band in bands]),
        )

    def energy_per_power(self, slot: int) -> EnergyPerPower:
        """Return what power does to all stores in a slot."""
        parts = [fleet.energy_per_power(slot) for fleet in self.fleets]
        return EnergyPerPower(
            np.concatenate([part.into for part in parts]),
            np.concatenate([part.out_of for part in parts]),
            np.concatenate([part.wear_eur_per_kwh for part in parts]),
        )

    def split(self, of_stores: FloatArray) -> list[FloatArray]:
        """Cut an array over stores, shape (..., n_store), into those of the fleets."""
        cuts = np.cumsum([len(fleet.names) for fleet in self.fleets])[:-1]
        return np.split(of_stores, cuts, axis=-1)


class Decides(Protocol):
    """Turns states and prices into a decision, slot after slot."""

    def decide(self, slot: int, surplus_kw: FloatArray) -> StoreDecision:
        """Decide on a slot.

        Parameters
        ----------
        slot : its number; every fleet has begun it.
        surplus_kw : generation less load of every agent, stores left out, shape (n_agent,).
        """

    def memory(self) -> Mapping[str, Any]:
        """Return all that later slots depend on."""

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from what `memory` returned."""


class ByRule:
    """Other stores follow their rule, whose power is firm; batteries bid by their strategy.

    Parameters
    ----------
    stores : all stores.
    strategy : of the batteries.
    prices : of the owners of all stores.
    run_plan : what a battery strategy that plans ahead foresees; None for all others.
    waits_for_cheap_slots : whether the other stores use the cheapest slots that are known.
    shared : rows of the batteries that follow the rule of shared storage instead.
    """

    def __init__(
        self,
        stores: Stores,
        strategy: BatteryStrategy,
        prices: OwnerPrices,
        run_plan: RunPlan | None,
        *,
        waits_for_cheap_slots: bool,
        shared: IntArray,
    ) -> None:
        self._stores, self._strategy, self._prices = stores, strategy, prices
        self._shared = shared
        self._battery_prices = prices.of_first(len(stores.batteries.names))
        self._run_plan, self._thrifty = run_plan, waits_for_cheap_slots

    def decide(self, slot: int, surplus_kw: FloatArray) -> StoreDecision:
        """Let the others take what they want, then the batteries bid with what is left."""
        batteries = self._stores.batteries.batteries
        must = [np.zeros(len(batteries))]
        surplus = surplus_kw
        if self._stores.others:
            wanted = self._wanted(slot)
            must += wanted
            for fleet, power in zip(self._stores.others, wanted, strict=True):
                taken = sum_by_key(fleet.agent, power, len(surplus_kw))
                surplus = surplus - taken
        state = BatterySlot(
            soc_kwh=self._stores.batteries.soc_kwh,
            own_surplus_kw=own_surplus_of_batteries(batteries, surplus),
            hours=self._prices.hours,
            plan=None if self._run_plan is None else self._run_plan.of_slot(slot),
        )
        known = self._battery_prices.known_at(slot)
        orders = self._strategy(batteries, state, known)
        if len(self._shared):
            of_shared = shared_storage_orders(batteries, state, known)
            orders = _with_columns(orders, of_shared, self._shared)
        return StoreDecision(np.concatenate(must), _padded(orders, sum(map(len, must[1:]))))

    def _wanted(self, slot: int) -> list[FloatArray]:
        others = self._stores.others
        if not self._thrifty:
            return [fleet.rule_kw(slot) for fleet in others]
        price = self._stores.split(self._prices.retail_ahead(slot))[1:]
        return [fleet.thrifty_kw(slot, own) for fleet, own in zip(others, price, strict=True)]

    def memory(self) -> Mapping[str, Any]:
        """Return nothing: rules look at the state alone."""
        return {}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Need nothing."""


def _with_columns(orders: BatteryOrders, others: BatteryOrders, rows: IntArray) -> BatteryOrders:
    """Return orders in which some batteries have those of others."""
    price, upper = orders.limit_price_eur_per_kwh.copy(), orders.upper_kw.copy()
    price[:, rows] = others.limit_price_eur_per_kwh[:, rows]
    upper[:, rows] = others.upper_kw[:, rows]
    return BatteryOrders(price, upper)


def _padded(orders: BatteryOrders, others: int) -> BatteryOrders:
    """Append stores without orders."""
    if not others:
        return orders
    none = np.zeros((len(Step), others))
    return BatteryOrders(
        np.hstack([orders.limit_price_eur_per_kwh, none]), np.hstack([orders.upper_kw, none])
    )


class Manager(Protocol):
    """Plans all stores ahead: one program per household, or one for a whole community."""

    steps: PlanSteps

    def plan(self, slot: int, outlook: TankOutlook, moved_slots: int) -> Plan:
        """Plan the steps from a slot on.

        Parameters
        ----------
        slot : the first slot of the plan.
        outlook : what the stores can do.
        moved_slots : slots since the plan before; 0 for the first plan.
        """

    def memory(self) -> Mapping[str, Any]:
        """Return what the solver starts from."""

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from what `memory` returned, with an emptied solver."""


class ByPlan:
    """All stores follow a plan that is made anew every few slots.

    Parameters
    ----------
    stores : all stores.
    manager : makes the plans.
    prices : of the owners of all stores.
    replan_slots : slots between plans; the plan's first steps are at least as many single slots.
    shared : rows of the batteries that follow the rule of shared storage instead.
    """

    def __init__(
        self,
        stores: Stores,
        manager: Manager,
        prices: OwnerPrices,
        *,
        replan_slots: int,
        shared: IntArray,
    ) -> None:
        self._stores, self._manager, self._prices = stores, manager, prices
        self._replan_slots, self._shared = replan_slots, shared
        self._battery_prices = prices.of_first(len(stores.batteries.names))
        self._agent = stores.agent
        self._planned_at = -1
        self._planned: dict[str, FloatArray] = {}

    def decide(self, slot: int, surplus_kw: FloatArray) -> StoreDecision:
        """Plan anew where it is due, and bid what the plan says."""
        if self._planned_at < 0 or slot - self._planned_at >= self._replan_slots:
            self._plan_from(slot)
        row = slot - self._planned_at
        band, energy = self._stores.band(slot), self._stores.energy_per_power(slot)
        now = PlannedSlot(**{name: values[row] for name, values in self._planned.items()})
        must = np.maximum(band.lowest_kw, 0.0)
        must += kept_inside(now, band, self._agent, surplus_kw - self._of_agents(must, surplus_kw))
        terms = OwnerTerms(
            self._agent,
            surplus_kw - self._of_agents(must, surplus_kw),
            self._prices.fee_at(slot),
            self._prices.export_charge_at(slot),
            self._prices.retail_at(np.array([slot]))[0],
        )
        orders = planned_orders(now, band, energy, terms, must)
        if len(self._shared):
            orders = _with_columns(orders, self._orders_of_shared(slot), self._shared)
        return StoreDecision(must, orders)

    def _of_agents(self, of_stores: FloatArray, like: FloatArray) -> FloatArray:
        return sum_by_key(self._agent, of_stores, len(like))

    def _orders_of_shared(self, slot: int) -> BatteryOrders:
        fleet = self._stores.batteries
        state = BatterySlot(fleet.soc_kwh, np.zeros(len(fleet.names)), self._prices.hours)
        return shared_storage_orders(fleet.batteries, state, self._battery_prices.known_at(slot))

    def _plan_from(self, slot: int) -> None:
        steps = self._manager.steps
        outlook = TankOutlook.joined([fleet.outlook(slot, steps) for fleet in self._stores.fleets])
        outlook = replace(outlook, worth_at_end_eur_per_kwh=self._worth_at_end(slot, outlook))
        moved = slot - self._planned_at if self._planned_at >= 0 else 0
        plan = self._manager.plan(slot, outlook, moved)
        rows = slice(0, self._replan_slots)
        self._planned_at = slot
        self._planned = {
            "charge_kw": plan.charge_kw[rows],
            "discharge_kw": plan.discharge_kw[rows],
            "value_eur_per_kwh": plan.value_eur_per_kwh[rows],
        }

    def _worth_at_end(self, slot: int, outlook: TankOutlook) -> FloatArray:
        """Return what is sure to be got for energy that is left, EUR/kWh.

        What gives back can export; heat, and energy in a vehicle that only takes, saves buying it
        later, at the cheapest price that is foreseen.
        """
        ahead = np.arange(slot, min(slot + self._manager.steps.total_slots, self._prices.slots))
        into = outlook.into_kwh_per_kw[-1] / self._manager.steps.hours[-1]
        earned = np.maximum(self._prices.earned_at(slot)[0], 0.0) / np.maximum(into, 1.0)
        saved = np.maximum(self._prices.retail_at(ahead).min(axis=0), 0.0) / into
        gives_back = (outlook.discharge_kw > 0.0).any(axis=0)
        return np.asarray(np.where(gives_back, earned, LATER_IS_SURE * saved))

    def memory(self) -> Mapping[str, Any]:
        """Return the plan in force and what the solver starts from."""
        return {
            "planned_at": self._planned_at,
            "planned": self._planned,
            "manager": self._manager.memory(),
        }

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on with the plan in force."""
        self._planned_at, self._planned = int(memory["planned_at"]), dict(memory["planned"])
        self._manager.recall(memory["manager"])
