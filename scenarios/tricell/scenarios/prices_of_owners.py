"""Prices that agents of a world and the owners of its stores see."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tricell.scenarios.world import World
from tricell.simulators.owner_prices import OwnerPrices, storage_rates


def owner_prices(world: World, agents: NDArray[np.int64]) -> OwnerPrices:
    """Return the prices of some agents, one after the other, shape (n,)."""
    time = world.scenario.time
    rates = storage_rates(
        world.rates,
        world.areas.seen_fee(world.rates, world.prices.retail, world.prices.feed_in),
        agent_area=world.areas.agent_area,
        battery_agent=agents,
    )
    return OwnerPrices(world.prices, rates, time.step_hours, _slots_since_midnight(world))


def prices_of_agents(world: World) -> OwnerPrices:
    """Return the prices of all agents."""
    return owner_prices(world, np.arange(len(world.population.agents)))


def _slots_since_midnight(world: World) -> int:
    """Return the slots between midnight UTC and the start of the run."""
    time = world.scenario.time
    passed = time.start_utc - time.start_utc.astype("datetime64[D]")
    return int(passed // np.timedelta64(time.step_s, "s"))
