"""What the storage simulator of a world is set up with: fleets at their start, who decides."""

from __future__ import annotations

import numpy as np

from tricell.scenarios.prices_of_owners import owner_prices, prices_of_agents
from tricell.scenarios.strategy import LookAheadStrategy, RuleStrategy, ThriftyStrategy
from tricell.scenarios.world import World
from tricell.simulators.battery_fleet import BatteryDevices
from tricell.simulators.battery_strategies import make_strategy
from tricell.simulators.look_ahead import LookAhead, RunPlan, look_ahead
from tricell.simulators.owner_prices import OwnerPrices
from tricell.simulators.storage_simulator import StorageSettings
from tricell.simulators.store_decisions import ByPlan, ByRule, Decides, Stores
from tricell.simulators.store_fleets import appliances_of, other_fleets
from tricell.simulators.strategies.bill_saving import BillSaving
from tricell.simulators.strategies.price_band import PriceBand
from tricell.simulators.strategies.self_consumption import SelfConsumption

_NO_ROWS = np.zeros(0, np.int64)


def storage_settings(world: World) -> StorageSettings:
    """Return fresh fleets and what decides for them."""
    scenario, population = world.scenario, world.population
    hours, strategy = scenario.time.step_hours, scenario.participants.strategy
    wear = strategy.wear_eur_per_kwh if isinstance(strategy, LookAheadStrategy) else 0.0
    stores = Stores(
        BatteryDevices(population.batteries, world.battery_names, hours, wear),
        other_fleets(world.flexible, hours, wear),
    )
    appliances = appliances_of(world.flexible, population.agents.id)
    return StorageSettings(
        stores=stores,
        decides=_decides(world, stores),
        appliances=appliances[0] if appliances else None,
        appliance_prices=None if isinstance(strategy, RuleStrategy) else prices_of_agents(world),
        shared=world.shared_batteries,
    )


def _decides(world: World, stores: Stores) -> Decides:
    strategy = world.scenario.participants.strategy
    prices = owner_prices(world, world.participants.battery_agent)
    if isinstance(strategy, LookAheadStrategy):
        # Only who looks ahead pays for loading what compiles the programs.
        from tricell.scenarios.look_ahead_setup import look_ahead_manager  # noqa: PLC0415

        replan_slots = max(round(strategy.replan_h / prices.hours), 1)
        manager = look_ahead_manager(world, stores, strategy, replan_slots)
        # No household plans a shared battery; the manager of a community does.
        shared = world.shared_batteries if strategy.manager == "household" else _NO_ROWS
        return ByPlan(stores, manager, prices, replan_slots=replan_slots, shared=shared)
    return _by_rule(world, stores, prices, thrifty=isinstance(strategy, ThriftyStrategy))


def _by_rule(world: World, stores: Stores, prices: OwnerPrices, *, thrifty: bool) -> ByRule:
    batteries, run_plan = world.population.batteries, None
    bids = _battery_strategy(world)
    if (foreseen := foreseen_by_batteries(world)) is not None:
        hours = world.scenario.time.step_hours
        run_plan = RunPlan(batteries, foreseen, prices.of_first(len(batteries)), hours=hours)
    return ByRule(
        stores,
        make_strategy(bids),
        prices,
        run_plan,
        waits_for_cheap_slots=thrifty,
        shared=_NO_ROWS if thrifty else world.shared_batteries,
    )


def _battery_strategy(world: World) -> SelfConsumption | PriceBand | BillSaving:
    wanted = world.scenario.participants
    if isinstance(wanted.strategy, ThriftyStrategy) and not isinstance(wanted.battery, PriceBand):
        return PriceBand()
    return wanted.battery


def foreseen_by_batteries(world: World) -> LookAhead | None:
    """Return what a battery strategy that plans ahead foresees of the run; None for all others."""
    signals = [charge.peak_signal(world.customers) for charge in world.charges]
    return look_ahead(
        _battery_strategy(world),
        world.population.batteries,
        forecast=world.forecast,
        month=world.calendar.month,
        hours=world.scenario.time.step_hours,
        signals=[signal for signal in signals if signal is not None],
    )
