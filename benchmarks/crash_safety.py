"""What it costs that a run can be killed at any moment, as shares of one run in one process.

    python benchmarks/crash_safety.py                       # four weeks of the district
    python benchmarks/crash_safety.py --scenario region --days 7 --checkpoint-s 5

Three things are there for nothing else: checkpoints, joining their segments into one file at the
end, and beginning every block of slots from what can be saved (the linear program starts from a
saved basis in a solver that was emptied). The last is counted as the time of these clearings
beyond that of a usual one.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from tricell.results.writer import ResultsWriter
from tricell.scenarios.runner import run_scenario
from tricell.scenarios.scenario_file import Override, load_scenario
from tricell.simulators.market_simulator import MarketSimulator
from tricell.simulators.slot_simulator import SLOTS_PER_BLOCK

TARGET = 0.05


@dataclass
class Clock:
    """Seconds of every call of a method."""

    seconds: list[float] = field(default_factory=list)

    def on(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            begun = perf_counter()
            try:
                return method(*arguments, **options)
            finally:
                self.seconds.append(perf_counter() - begun)

        return timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scenario", default="district")
    parser.add_argument("--days", type=int, default=28)
    parser.add_argument("--checkpoint-s", type=float, default=10.0)
    options = parser.parse_args()
    texts = [f"time.days={options.days}", f"output.checkpoint_s={options.checkpoint_s}"]
    scenario = load_scenario(options.scenario, [Override.from_assignment(text) for text in texts])
    clocks = {name: Clock() for name in ("checkpoints", "joining", "figures", "market")}
    vars_of_writer: Any = ResultsWriter
    vars_of_writer.checkpoint = clocks["checkpoints"].on(ResultsWriter.checkpoint)
    vars_of_writer._join = clocks["joining"].on(ResultsWriter._join)
    vars_of_writer._derived = clocks["figures"].on(ResultsWriter._derived)
    market: Any = MarketSimulator
    market.advance = clocks["market"].on(MarketSimulator.advance)
    with tempfile.TemporaryDirectory() as folder:
        begun = perf_counter()
        outcome = run_scenario(scenario, Path(folder) / "run.h5")
        whole = perf_counter() - begun
        size = outcome.output.stat().st_size
    clearings = np.array(clocks["market"].seconds)
    usual = float(np.median(clearings))
    first_of_block = np.sort(clearings[SLOTS_PER_BLOCK::SLOTS_PER_BLOCK])
    beginnings = float(np.maximum(first_of_block - usual, 0.0).sum())
    parts = {
        "checkpoints": sum(clocks["checkpoints"].seconds),
        "joining": sum(clocks["joining"].seconds) - sum(clocks["figures"].seconds),
        "blocks begun anew": beginnings,
    }
    taken = len(clocks["checkpoints"].seconds)
    print(f"{scenario.name}, {outcome.slots} slots, {size / 1e6:.0f} MB, {taken} checkpoints")
    print(f"{'whole run':<18} {whole:8.2f} s, {outcome.seconds:.2f} s of it the slots and the file")
    for name, seconds in parts.items():
        print(f"{name:<18} {seconds:8.2f} s {100.0 * seconds / outcome.seconds:6.2f} %")
    together = sum(parts.values())
    share = 100.0 * together / outcome.seconds
    print(f"{'together':<18} {together:8.2f} s {share:6.2f} % (target {TARGET:.0%})")
    figures = sum(clocks["figures"].seconds)
    print(f"not counted: key figures, {figures:.2f} s {100.0 * figures / outcome.seconds:.2f} %")


if __name__ == "__main__":
    main()
