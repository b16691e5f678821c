"""Seconds per plan of a community's manager over a day of `district_flexible`, HiGHS beside ours.

    python benchmarks/look_ahead_community.py [--scenario NAME] [--ways N]

The run is a whole one: households, storage, market, grid and records. Every plan is timed in
seconds of the processor, and within it what HiGHS takes for passing the program, its basis and
solving it. Other programs on the machine still count where they share its caches. With `--ways N`
the program of every N-th plan is at once solved again in other ways that HiGHS offers; the seconds
of the day then count these, too.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import Any

import highspy
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from tricell.markets.compiled_program import BASIS_STATUS, HIGHS_OPTIONS
from tricell.markets.flexibility.community_plan import COST_PERTURBATION, CommunityPlanner
from tricell.markets.flexibility.tanks import Plan
from tricell.scenarios.co_simulation import start_co_simulation
from tricell.scenarios.scenario_file import Override, load_scenario
from tricell.scenarios.world import build_world
from tricell.simulators.recorder_simulator import RecorderSimulator
from tricell.simulators.slot_block import SlotBlock

PERTURBATION = "dual_simplex_cost_perturbation_multiplier"
OURS = {**HIGHS_OPTIONS, PERTURBATION: COST_PERTURBATION}
DUAL = {"solver": "simplex", "simplex_strategy": 1}
WAYS: dict[str, tuple[bool, dict[str, Any]]] = {
    "dual simplex, basis moved on": (True, {**OURS, **DUAL}),
    "the same, costs not perturbed": (True, {**OURS, **DUAL, PERTURBATION: 0.0}),
    "the same, costs perturbed as by default": (True, {**OURS, **DUAL, PERTURBATION: 1.0}),
    "primal simplex, basis moved on": (True, {**OURS, "simplex_strategy": 4}),
    "dual simplex from nothing": (False, {**OURS, **DUAL}),
    "dual simplex from nothing, presolve": (False, {**DUAL, "presolve": "on"}),
    "interior point, crossover": (False, {"solver": "ipm", "presolve": "on"}),
    "interior point alone": (
        False,
        {"solver": "ipm", "presolve": "on", "run_crossover": "off"},
    ),
}
"""Whether each way begins from a basis, and its options."""
Answers = dict[str, tuple[float, float]]
"""Seconds and objective of every way."""


class TimedHighs:
    """Passes everything on to HiGHS and adds up what solving takes."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.seconds, self.iterations = 0.0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _timed(self, name: str, *arguments: Any) -> Any:
        started = process_time()
        answer = getattr(self._inner, name)(*arguments)
        self.seconds += process_time() - started
        return answer

    def passModel(self, program: Any) -> Any:  # noqa: N802  # HiGHS's name
        return self._timed("passModel", program)

    def setBasis(self, basis: Any) -> Any:  # noqa: N802  # HiGHS's name
        return self._timed("setBasis", basis)

    def run(self) -> Any:
        answer = self._timed("run")
        self.iterations += int(self._inner.getInfo().simplex_iteration_count)
        return answer


def solve(lp: Any, status: Any, options: dict[str, Any]) -> tuple[float, float]:
    """Return seconds and objective of one way."""
    highs: Any = highspy.Highs()  # type: ignore[no-untyped-call]  # highspy ships no types
    for option, value in {"output_flag": False, "threads": 1, **options}.items():
        highs.setOptionValue(option, value)
    started = process_time()
    highs.passModel(lp)
    if status is not None:
        basis = highspy.HighsBasis()
        states = [BASIS_STATUS[code] for code in status.tolist()]
        basis.col_status, basis.row_status = states[: lp.num_col_], states[lp.num_col_ :]
        basis.valid = True
        highs.setBasis(basis)
    highs.run()
    return process_time() - started, float(highs.getInfo().objective_function_value)


def solve_in_all_ways(lp: Any, basis: Any) -> Answers:
    """Return seconds and objective of every way."""
    return {name: solve(lp, basis if warm else None, way) for name, (warm, way) in WAYS.items()}


@dataclass
class Tape:
    """What every plan took, and some of them in other ways."""

    every: int
    seconds: list[float] = field(default_factory=list)
    highs_seconds: list[float] = field(default_factory=list)
    iterations: list[int] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)
    answers: list[Answers] = field(default_factory=list)
    planner: CommunityPlanner | None = None


def put_on_tape(tape: Tape) -> None:
    """Time every plan that any community makes from now on."""
    plan = CommunityPlanner.plan

    def taped_plan(planner: CommunityPlanner, *arguments: Any, **named: Any) -> Plan:
        program = planner.program
        if not isinstance(program._highs, TimedHighs):
            program._highs = TimedHighs(program._highs)
            tape.planner = planner
        highs = program._highs
        before, pivots, basis = highs.seconds, highs.iterations, planner.memory()
        started = process_time()
        answer = plan(planner, *arguments, **named)
        tape.seconds.append(process_time() - started)
        tape.highs_seconds.append(highs.seconds - before)
        tape.iterations.append(highs.iterations - pivots)
        tape.costs.append(answer.cost_eur)
        if tape.every and basis.size and (len(tape.seconds) - 1) % tape.every == 0:
            columns, rows = planner._later
            moved_on = np.concatenate([basis[: len(columns)][columns], basis[len(columns) :][rows]])
            tape.answers.append(solve_in_all_ways(highs.getLp(), moved_on))
        return answer

    setattr(CommunityPlanner, "plan", taped_plan)  # noqa: B010  # a tape, not a product


class Forgetful:
    """Takes the place of the results file."""

    def write(self, block: SlotBlock) -> None:
        """Forget a block."""

    def close(self, recorder: RecorderSimulator) -> None:
        """Have nothing to close."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scenario", default="district_flexible")
    parser.add_argument("--ways", type=int, default=0, metavar="N")
    options = parser.parse_args()
    wanted = ("time.days=1", "participants.strategy={kind: lookahead, manager: community}")
    scenario = load_scenario(options.scenario, [Override.from_assignment(one) for one in wanted])
    tape = Tape(options.ways)
    put_on_tape(tape)
    clocks = [(perf_counter(), process_time())]
    world = build_world(scenario)
    co_simulation = start_co_simulation(world, Forgetful())
    clocks.append((perf_counter(), process_time()))
    co_simulation.run()
    clocks.append((perf_counter(), process_time()))
    co_simulation.shut_down()
    report(tape, np.diff(clocks, axis=0))
    if tape.answers:
        compare(tape.answers)


def report(tape: Tape, took: NDArray[np.float64]) -> None:
    """Print every plan, the sums of the day, and what building and running took.

    `took` holds a row for each of both, with seconds by the clock and of the processor.
    """
    assert tape.planner is not None
    console, rows = Console(), Table("plan", "s", "HiGHS s", "ratio", "iterations", "EUR")
    for k, (seconds, highs) in enumerate(zip(tape.seconds, tape.highs_seconds, strict=True)):
        rows.add_row(
            f"{k + 1}",
            f"{seconds:.2f}",
            f"{highs:.2f}",
            f"{seconds / highs:.2f}",
            f"{tape.iterations[k]}",
            f"{tape.costs[k]:.2f}",
        )
    total, highs = sum(tape.seconds), sum(tape.highs_seconds)
    rows.add_row("all", f"{total:.2f}", f"{highs:.2f}", f"{total / highs:.2f}", style="bold")
    console.print(rows)
    n_row, n_column = tape.planner.program.form.matrix.shape
    members, watched = tape.planner.problem.members, tape.planner.problem.watched
    console.print(
        f"{len(members.tank_agent)} tanks of {len(members.owners)} owners over "
        f"{len(tape.planner.steps)} steps: {n_column} columns, {n_row} rows; watched: "
        f"{len(watched.limited)} flows and {len(watched.bounded_nodes)} voltages"
    )
    times = Table("", "s by the clock", "s of the processor")
    by_name = {"world and programs built": took[0], "day run": took[1], "both": took.sum(axis=0)}
    for name, (clock, processor) in by_name.items():
        times.add_row(name, f"{clock:.1f}", f"{processor:.1f}")
    times.add_row("of the day: plans", "", f"{total:.1f}")
    times.add_row("of the plans: HiGHS", "", f"{highs:.1f}")
    console.print(times)


def compare(answers: list[Answers]) -> None:
    """Print what all ways took."""
    table = Table("way", "mean s", "worst s", "largest difference of the optimum")
    best = np.array([next(iter(each.values()))[1] for each in answers])
    for name in WAYS:
        seconds, objective = np.array([each[name] for each in answers]).T
        gap = np.abs(objective - best) / np.maximum(np.abs(best), 1.0)
        table.add_row(name, f"{seconds.mean():.2f}", f"{seconds.max():.2f}", f"{gap.max():.1e}")
    Console().print(table)


if __name__ == "__main__":
    main()
