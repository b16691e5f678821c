"""Runs a scenario from its file to its results file."""

from __future__ import annotations

import platform
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from tricell.errors import SimulatorError, TricellError
from tricell.markets.compiled_program import HIGHS_OPTIONS
from tricell.results.writer import RunHeader, check_output
from tricell.scenarios.co_simulation import CoSimulation, start_co_simulation
from tricell.scenarios.results_sink import ResultsSink
from tricell.scenarios.run_identity import package_version
from tricell.scenarios.scenario_file import as_yaml
from tricell.scenarios.schema import Scenario
from tricell.scenarios.world import World, build_world

Progress = Callable[[int, int], None]

PACKAGES = (
    "tricell",
    "mosaik",
    "mosaik-api-v3",
    "pandapower",
    "simbench",
    "pyomo",
    "highspy",
    "numpy",
    "scipy",
    "pandas",
    "h5py",
)


@dataclass(frozen=True)
class RunOutcome:
    """What a run left behind.

    Attributes
    ----------
    output : the results file.
    slots : slots computed.
    seconds : wall-clock time of the slot loop.
    """

    output: Path
    slots: int
    seconds: float


def run_scenario(
    scenario: Scenario, output: Path, *, force: bool = False, progress: Progress | None = None
) -> RunOutcome:
    """Run a scenario and write its results file.

    Parameters
    ----------
    scenario : what to run.
    output : name of the results file.
    force : replace an existing file.
    progress : called with (slots done, slots in all).

    Raises
    ------
    TricellError
        If something cannot be used or fails. What was computed until then is in the results
        file, which says `run_status: failed`; without any slot there is no file.
    """
    check_output(output, force=force)
    started = perf_counter()
    world = build_world(scenario)
    sink = ResultsSink(world, output, run_header(world), force=force)
    with _warnings_noted(sink):
        co_simulation = start_co_simulation(world, sink)
        if progress is not None:
            co_simulation.recorder.on_slot = _reporter(progress, scenario.time.slots)
        built = perf_counter()
        sink.timings["build"] = (built - started, 1)
        _run_and_close(co_simulation, sink, scenario)
    assert sink.path is not None
    return RunOutcome(sink.path, co_simulation.recorder.slots_done, perf_counter() - built)


@contextmanager
def _warnings_noted(sink: ResultsSink) -> Iterator[None]:
    """Put the warnings of mosaik and of simulators into the results file, not on the terminal."""

    def note(message: Warning | str, *_: Any, **__: Any) -> None:
        sink.warnings.append(("simulator", "", str(message), 1))

    with warnings.catch_warnings():
        warnings.filterwarnings("default", module=r"mosaik($|\.|_)")
        warnings.showwarning = note
        yield


def _run_and_close(co_simulation: CoSimulation, sink: ResultsSink, scenario: Scenario) -> None:
    begun = perf_counter()
    try:
        co_simulation.run(scenario.time.slots, scenario.time.step_s)
        if co_simulation.recorder.slots_done < scenario.time.slots:
            raise SimulatorError("mosaik ended the run before its last slot")
        co_simulation.recorder.flush()
    except TricellError as error:
        sink.failure = str(error)
        _close(co_simulation, sink, perf_counter() - begun)
        raise type(error)(f"{error}\n{_what_is_left(sink, co_simulation)}") from error
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)
        sink.failure = "stopped by Ctrl-C" if stopped else f"{type(error).__name__}: {error}"
        _close(co_simulation, sink, perf_counter() - begun)
        raise
    _close(co_simulation, sink, perf_counter() - begun)


def _close(co_simulation: CoSimulation, sink: ResultsSink, loop_s: float) -> None:
    """Stop everybody, third parties first: what they leave behind goes into the file."""
    _fill_timings(co_simulation, sink, loop_s)
    try:
        co_simulation.stop_strangers()
        for name, stranger in co_simulation.strangers.items():
            sink.warnings += [("simulator", name, note, 1) for note in stranger.notes]
    finally:
        co_simulation.shut_down()


def _what_is_left(sink: ResultsSink, co_simulation: CoSimulation) -> str:
    if sink.path is None:
        return "No slot was computed, so there is no results file."
    return f"The {co_simulation.recorder.slots_done} slots computed so far are in {sink.path}."


def _fill_timings(co_simulation: CoSimulation, sink: ResultsSink, loop_s: float) -> None:
    timings, recorder = sink.timings, co_simulation.recorder
    for name, simulator in co_simulation.simulators.items():
        timings[name] = (simulator.seconds, simulator.calls)
    kept = recorder.seconds - recorder.settle_seconds - recorder.write_seconds
    timings["recorder"] = (max(kept, 0.0), recorder.calls)
    timings["settlement"] = (recorder.settle_seconds, recorder.flushes)
    timings["results file"] = (recorder.write_seconds, recorder.flushes)
    for name, stranger in co_simulation.strangers.items():
        timings[name] = (stranger.seconds, stranger.calls)
    in_simulators = sum(seconds for part, (seconds, _) in timings.items() if part != "build")
    timings["mosaik"] = (max(loop_s - in_simulators, 0.0), recorder.slots_done)


def _reporter(progress: Progress, slots: int) -> Callable[[int], None]:
    """Report at most ten times a second: a terminal is slower than a slot."""
    last = 0.0

    def report(done: int) -> None:
        nonlocal last
        now = perf_counter()
        if now - last > 0.1 or done == slots:
            last = now
            progress(done, slots)

    return report


def run_header(world: World) -> RunHeader:
    """Return what is known about a run before it starts."""
    scenario = world.scenario
    time = scenario.time
    return RunHeader(
        run_id=f"{scenario.name} {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        scenario_yaml=as_yaml(scenario),
        random_seed=scenario.seed,
        start=time.start_utc,
        number_of_slots=time.slots,
        time_step_s=time.step_s,
        time_zone_local=time.local_zone,
        provenance=provenance(world),
    )


def provenance(world: World) -> dict[str, Any]:
    """Return packages, inputs with licences, solver and machine."""
    profiles = world.population.profiles
    return {
        "packages": {name: package_version(name) for name in PACKAGES},
        "git_commit": _git_commit(),
        "inputs": [
            {
                "name": profiles.source or "profiles",
                "version": package_version("simbench"),
                "licence": profiles.licence or "as supplied by the planner",
            },
            {
                "name": world.wholesale.provenance,
                "version": "",
                "licence": world.wholesale.licence or "as supplied by the planner",
            },
        ],
        "solver": {
            "name": "HiGHS",
            "version": package_version("highspy"),
            "options": HIGHS_OPTIONS,
        },
        "machine": {
            "python": platform.python_version(),
            "system": platform.platform(),
            "processor": platform.machine(),
        },
        "population": world.population.counts(),
        "notes": list(world.population.notes),
    }


def _git_commit() -> str:
    """Commit of the source tree that runs, or an empty text outside of one."""
    with suppress(OSError, subprocess.SubprocessError):
        answer = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
        return answer.stdout.strip()
    return ""
