"""What is known at the gate of daily envelopes, from a scenario's world."""

from __future__ import annotations

import numpy as np

from tricell.grid_models.arrays import sum_by_key
from tricell.scenarios.world import World
from tricell.simulators.envelope_gate import GateSettings
from tricell.simulators.store_fleets import other_fleets


def gate_settings(world: World) -> GateSettings | None:
    """Return what is known before a day begins; None where envelopes are not published then."""
    scenario, population = world.scenario, world.population
    if scenario.market.envelope_product != "day":
        return None
    time, devices = scenario.time, population.devices
    midnight = time.start_utc.astype("datetime64[D]")
    plants = devices.generates
    return GateSettings(
        power=world.forecast,
        plant_kw=sum_by_key(
            devices.agent[plants], devices.rated_kw[plants], len(population.agents)
        ),
        fleets=[population.batteries, *other_fleets(world.flexible, time.step_hours)],
        takes_part=world.areas.takes_part,
        agent_node=world.participants.agent_node,
        slots=time.slots,
        slots_per_day=86_400 // time.step_s,
        since_midnight=int((time.start_utc - midnight) // np.timedelta64(time.step_s, "s")),
    )
