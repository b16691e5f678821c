"""A long run of a hamlet in a process of its own.

``python -m tests.long_run FOLDER DAYS SLOT ...`` prints, as JSON, what the process holds before
each of the slots named: resident memory, MB, and open files; and how many solvers were made before
and after the first slot.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import highspy
import numpy as np
import pandapower as pp
import pandas as pd

from tricell.markets.compiled_program import CompiledProgram
from tricell.scenarios.runner import run_scenario
from tricell.scenarios.scenario_file import load_scenario
from tricell.simulators.market_simulator import MarketSimulator
from tricell.simulators.storage_simulator import StorageSimulator

FIRST_SLOTS = 1
"""By then every program has been made."""
PAGE_MB = resource.getpagesize() / 1e6

SCENARIO = """
name: hamlet
time: {start: 2016-03-01, days: DAYS}
grid: {source: {kind: file, path: hamlet.json}}
participants:
  profiles: {kind: csv, files: [profiles.csv]}
  strategy: {kind: lookahead, replan_h: 6}
  extra:
    - {name: street battery, bus: end, battery_kwh: 10, battery_kw: 5}
  evs:
    list:
      - name: near car
        owner: near house
        battery_kwh: 40
        charger_kw: 11
        windows: [{arrive: "17:30", depart: "07:00", need_kwh: 8}]
prices:
  wholesale: {kind: de_lu_2019}
  retail: {kind: dynamic, adder_eur_per_kwh: 0.2}
  feed_in: {kind: fixed, price_eur_per_kwh: 0.05}
  fees: {microgrid: 0.01, cell: 0.03, multicell: 0.03}
"""


def write_hamlet(folder: Path, days: int) -> Path:
    """Write a scenario of two houses on one feeder, with PV, a battery and a vehicle."""
    net = pp.create_empty_network()
    medium, low, end = (
        pp.create_bus(net, kv, name=name)
        for kv, name in ((20.0, "station"), (0.4, "street"), (0.4, "end"))
    )
    pp.create_ext_grid(net, medium)
    pp.create_transformer(net, medium, low, "0.25 MVA 20/0.4 kV", name="transformer")
    pp.create_line(net, low, end, 0.1, "NAYY 4x150 SE", name="line")
    for bus, name in ((low, "near house"), (end, "far house")):
        pp.create_load(net, bus, 0.004, 0.001, name=name, profile="house")
    pp.create_sgen(net, end, 0.008, name="far roof", profile="sun", type="PV")
    pp.to_json(net, str(folder / "hamlet.json"))
    time = pd.date_range("2016-03-01", periods=96 * days, freq="15min", tz="UTC", name="time")
    hour = np.asarray(time.hour + time.minute / 60)
    random = np.random.default_rng(0)
    evening = 0.15 + 0.5 * np.exp(-((hour - 19.0) ** 2) / 6.0)
    sun = np.clip(np.cos((hour - 11.5) / 15.0 * np.pi), 0.0, None)
    profiles = {
        "house": evening * random.uniform(0.7, 1.3, len(time)),
        "sun": sun * random.uniform(0.3, 1.0, len(time)),
    }
    pd.DataFrame(profiles, index=time).round(4).to_csv(folder / "profiles.csv")
    path = folder / "hamlet.yaml"
    path.write_text(SCENARIO.replace("DAYS", str(days)))
    return path


@dataclass
class Watch:
    """What is counted and measured while slots go by."""

    at_slots: tuple[int, ...]
    memory_mb: list[float] = field(default_factory=list)
    open_files: list[int] = field(default_factory=list)
    made: dict[str, list[int]] = field(
        default_factory=lambda: {"solvers": [0, 0], "programs": [0, 0]}
    )
    in_slots: bool = False

    def begin(self, slot: int) -> None:
        """Measure before a slot."""
        self.in_slots = slot >= FIRST_SLOTS
        if slot in self.at_slots and len(self.memory_mb) < 1 + self.at_slots.index(slot):
            gc.collect()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.memory_mb.append(pages * PAGE_MB)
            self.open_files.append(len(os.listdir("/proc/self/fd")))

    def count_calls(self, owner: Any, name: str, what: str) -> None:
        """Count what is made by calling a function or class, before and while slots go by."""
        original = getattr(owner, name)

        def counted(*values: Any, **named: Any) -> Any:
            self.made[what][self.in_slots] += 1
            return original(*values, **named)

        setattr(owner, name, counted)


def watched(kind: type[Any], watch: Watch) -> None:
    """Let a simulator tell when its slots begin."""
    advance = kind.advance

    def told(self: Any, slot: int, inputs: Mapping[str, Any]) -> None:
        watch.begin(slot)
        advance(self, slot, inputs)

    kind.advance = told


def main(folder: Path, days: int, at_slots: tuple[int, ...]) -> None:
    """Run, and print what was seen."""
    watch = Watch(at_slots)
    watch.count_calls(highspy, "Highs", "solvers")
    watch.count_calls(CompiledProgram, "__init__", "programs")
    for kind in (MarketSimulator, StorageSimulator):
        watched(kind, watch)
    outcome = run_scenario(load_scenario(str(write_hamlet(folder, days))), folder / "hamlet.h5")
    print(
        json.dumps(
            {
                "memory_mb": watch.memory_mb,
                "open_files": watch.open_files,
                "made": watch.made,
                "output": str(outcome.output),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), tuple(int(text) for text in sys.argv[3:]))
