"""tricell's simulators in a mosaik script of your own, without `tricell run`.

``python examples/plain_mosaik.py`` runs half a day of the village and prints, slot by slot, the
voltage of one bus and the price in one microgrid, as they reach a simulator that is written here.
"""

from __future__ import annotations

from typing import Any

import mosaik
import mosaik_api_v3

from tricell.scenarios.co_simulation import connect_simulators, simulator_settings
from tricell.scenarios.scenario_file import load_scenario
from tricell.scenarios.world import build_world

BUS, AREA = "LV2.101 Bus 61", "LV2.101"
STEP_S = 900
SLOTS = 48

SIMULATORS: Any = {
    "Households": {"python": "tricell.simulators.household_simulator:HouseholdSimulator"},
    "Storage": {"python": "tricell.simulators.storage_simulator:StorageSimulator"},
    "Market": {"python": "tricell.simulators.market_simulator:MarketSimulator"},
    "Grid": {"python": "tricell.simulators.grid_simulator:GridSimulator"},
    "Recorder": {"python": "tricell.simulators.recorder_simulator:RecorderSimulator"},
    "Printer": {"python": "__main__:Printer"},
}


class Printer(mosaik_api_v3.Simulator):
    """A mosaik simulator as anybody would write it: prints the numbers that it is sent."""

    def __init__(self) -> None:
        model = {"public": True, "params": [], "attrs": ["voltage_pu", "price_eur_per_kwh"]}
        super().__init__({"type": "time-based", "models": {"Printer": model}})

    def init(self, sid: str, time_resolution: float, step_s: int) -> Any:
        self.step_s = step_s
        return self.meta

    def create(self, num: int, model: str) -> Any:
        return [{"eid": f"printer {i}", "type": model} for i in range(num)]

    def step(self, time: int, inputs: Any, max_advance: int) -> int:
        for heard in inputs.values():
            (voltage,), (price,) = (heard[a].values() for a in ("voltage_pu", "price_eur_per_kwh"))
            print(f"{time:6d} s   {voltage:.6f} pu   {price:.6f} EUR/kWh")
        return time + self.step_s


class Totals:
    """A sink: the recorder hands it a block of slots a day, and itself at the end."""

    load_kwh = 0.0

    def write(self, block: Any) -> None:
        self.load_kwh += block.series["agent"]["p_load"].sum() * STEP_S / 3600

    def close(self, recorder: Any) -> None:
        print(f"{recorder.slots_done} slots, {self.load_kwh:.3f} kWh consumed")


def main() -> None:
    village = build_world(load_scenario("village"))
    settings = simulator_settings(village, Totals())
    entities = {}

    with mosaik.World(SIMULATORS, skip_greetings=True, configure_logging=False) as world:

        def start(name: str) -> None:
            """Start a simulator; its one entity is called as the simulator and has children."""
            simulator = world.start(name, step_s=STEP_S, settings=settings[name.lower()])
            entities[name.lower()] = getattr(simulator, name)()

        for name in ("Households", "Storage", "Recorder"):
            start(name)
        with world.group():  # within a slot, the grid may ask the market to clear again
            start("Market")
            start("Grid")
        connect_simulators(world, entities, village)

        printer = world.start("Printer", step_s=STEP_S).Printer()
        buses = {bus.eid: bus for bus in entities["grid"].children}
        areas = {area.eid: area for area in entities["market"].children}
        world.connect(buses[f"bus:{BUS}"], printer, ("vm_pu", "voltage_pu"))
        world.connect(areas[f"area:{AREA}"], printer, "price_eur_per_kwh")

        world.run(until=SLOTS * STEP_S, print_progress=False)


if __name__ == "__main__":
    main()
