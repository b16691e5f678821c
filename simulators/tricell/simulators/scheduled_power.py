"""What a cleared slot makes agents do: as it was accepted at the gate, and as the meters tell."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tricell.grid_models.arrays import sum_by_key
from tricell.markets.joint_market import Clearing
from tricell.simulators.market_settings import MarketSettings
from tricell.simulators.messages import AgentPowerNow, Contracted, Schedule, StorageNow
from tricell.simulators.outsiders import Outside
from tricell.simulators.slot_demand import (
    outside_of_markets,
    reactive_of_nodes,
    with_firm_load,
)

Floats = NDArray[np.float64]

CURTAILED_KW = 1e-6
"""A plant that was accepted for less than its forecast by more than this is held back."""


@dataclass(frozen=True)
class ScheduledPower:
    """Power of those who trade and of those who do not, kW.

    Attributes
    ----------
    generation_kw, p_net_kw : per agent.
    battery_kw : per store, positive charges; what it must take is part of it.
    """

    generation_kw: Floats
    p_net_kw: Floats
    battery_kw: Floats


def scheduled_power(
    settings: MarketSettings,
    power: AgentPowerNow,
    storage: StorageNow,
    outside: Outside | None,
    clearing: Clearing,
) -> ScheduledPower:
    """Turn accepted orders, and what outsiders do, into power of agents and stores.

    Parameters
    ----------
    settings : who stands where.
    power : what was known at the gate; what stores must take is in the load.
    storage : states and orders of all stores.
    outside : what those do who take no part.
    clearing : result of the market.
    """
    who, accepted = settings.participants, clearing.accepted_kw
    plants, stores = len(who.generators), len(who.battery_agent)
    generation = np.minimum(power.generation_kw, 0.0)
    generation[who.generators] += accepted[:plants]
    charge_own, charge, discharge_own, discharge = accepted[plants:].reshape(4, stores)
    battery = charge_own + charge - discharge_own - discharge
    if outside is not None:
        generation += outside.generation_kw
        battery = battery + outside.battery_kw
    p_net = power.p_load_kw - generation
    p_net += sum_by_key(who.battery_agent, battery, len(p_net))
    return ScheduledPower(generation, p_net, battery + storage.must_kw)


def as_metered(
    settings: MarketSettings, slot: int, planned: Schedule, power: AgentPowerNow
) -> Schedule:
    """Return what the meters tell of a schedule that was made on forecasts.

    Stores keep their set-points. Plants of those who trade feed in what comes, but no more than
    was accepted where that was less than forecast; loads are as they are.

    Parameters
    ----------
    settings : who stands where.
    slot : its number.
    planned : the schedule at the gate.
    power : what comes.
    """
    who, storage, forecast = settings.participants, planned.storage, planned.power
    takes_part = settings.areas.takes_part
    power = with_firm_load(power, storage.firm_kw)
    generation = _metered_generation(settings, planned, power)
    if (outside := outside_of_markets(settings, slot, power, storage)) is not None:
        generation += outside.generation_kw
    more_load = power.p_load_kw - forecast.p_load_kw
    p_net = planned.p_net_kw + more_load - (generation - planned.generation_kw)
    q_node = reactive_of_nodes(settings, power, generation)
    contracted_kw = np.where(takes_part, planned.p_net_kw, p_net)
    if planned.services is not None:
        # What services move was sold beside the contracts.
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


def _metered_generation(
    settings: MarketSettings, planned: Schedule, power: AgentPowerNow
) -> Floats:
    """Return what plants of those who trade feed in, and what is drawn by plants at rest."""
    generators = settings.participants.generators
    accepted = planned.clearing.accepted_kw[: len(generators)]
    expected = np.maximum(planned.power.generation_kw[generators], 0.0)
    comes = np.maximum(power.generation_kw[generators], 0.0)
    held_back = accepted < expected - CURTAILED_KW
    trades = settings.areas.takes_part[generators]
    plants = np.where(held_back, np.minimum(comes, accepted), comes) * trades
    generation = np.minimum(power.generation_kw, 0.0)
    generation[generators] += plants
    return generation
