"""The programs that plan ahead for a world: compiled once, before the first slot."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tricell.grid_models.arrays import sum_by_key
from tricell.markets.flexibility.community_model import CommunityMembers
from tricell.markets.flexibility.community_plan import CommunityPlanner
from tricell.markets.flexibility.household_plan import HouseholdPlanner, HouseholdTanks
from tricell.markets.flexibility.tanks import PlanSteps
from tricell.markets.joint_market import GridLimits
from tricell.scenarios.prices_of_owners import prices_of_agents
from tricell.scenarios.strategy import LookAheadStrategy
from tricell.scenarios.world import World
from tricell.simulators.look_ahead_managers import (
    ComingSlots,
    CommunityManager,
    CommunityTerms,
    HouseholdManager,
)
from tricell.simulators.store_decisions import Manager, Stores

Floats = NDArray[np.float64]


def look_ahead_manager(
    world: World, stores: Stores, strategy: LookAheadStrategy, replan_slots: int
) -> Manager:
    """Compile what plans the stores of a world.

    Parameters
    ----------
    world : what runs.
    stores : all stores.
    strategy : who plans, and how far.
    replan_slots : slots between plans.
    """
    time = world.scenario.time
    steps = PlanSteps.of(
        time.step_hours,
        horizon_h=max(strategy.horizon_h, replan_slots * time.step_hours),
        fine_h=replan_slots * time.step_hours,
    )
    coming = ComingSlots(world.forecast, steps, time.slots)
    owner = world.participants.battery_agent
    tanks = HouseholdTanks(
        owner,
        np.concatenate([fleet.charge_kw for fleet in stores.fleets]),
        np.concatenate([fleet.discharge_kw for fleet in stores.fleets]),
    )
    if strategy.manager == "household":
        return _households(world, tanks, np.arange(len(owner)), coming)
    takes_part = world.areas.takes_part[owner]
    others = np.flatnonzero(~takes_part)
    return CommunityManager(
        _community(world, tanks, np.flatnonzero(takes_part), steps, replan_slots),
        np.flatnonzero(takes_part),
        coming,
        CommunityTerms(
            prices_of_agents(world),
            world.rates,
            world.areas.seen_fee(world.rates, world.prices.retail, world.prices.feed_in),
        ),
        _households(world, tanks, others, coming) if len(others) else None,
    )


def _households(
    world: World, tanks: HouseholdTanks, rows: NDArray[np.int64], coming: ComingSlots
) -> HouseholdManager:
    some = HouseholdTanks(tanks.owner[rows], tanks.charge_kw[rows], tanks.discharge_kw[rows])
    planner = HouseholdPlanner(some, coming.steps, len(world.population.agents))
    return HouseholdManager(planner, coming, prices_of_agents(world))


def _community(
    world: World,
    tanks: HouseholdTanks,
    rows: NDArray[np.int64],
    steps: PlanSteps,
    replan_slots: int,
) -> CommunityPlanner:
    load, generation = _highest_power(world)
    members = CommunityMembers(
        agent_node=world.participants.agent_node,
        takes_part=world.areas.takes_part,
        highest_load_kw=load,
        highest_generation_kw=generation,
        tank_agent=tanks.owner[rows],
        tank_charge_kw=tanks.charge_kw[rows],
        tank_discharge_kw=tanks.discharge_kw[rows],
    )
    correction, n_node = world.first_correction, world.linear.n_node
    limits = GridLimits(
        correction.flow_min_kw,
        correction.flow_max_kw,
        world.feedback.voltage_offset(correction, np.zeros(n_node)),
    )
    return CommunityPlanner(world.market.problem, members, limits, steps, replan_slots=replan_slots)


def _highest_power(world: World) -> tuple[Floats, Floats]:
    """Return the highest load and generation of every agent that the profiles allow, kW."""
    devices, values = world.population.devices, world.population.profiles.values
    peak = values.max(axis=0).astype(np.float64)[devices.p_profile] * devices.rated_kw
    n_agent = len(world.population.agents)

    def of_agents(chosen: NDArray[np.bool_]) -> Floats:
        return sum_by_key(devices.agent[chosen], np.maximum(peak[chosen], 0.0), n_agent)

    return of_agents(~devices.generates), of_agents(devices.generates)
