"""Runs a scenario from its file to its results file."""

from __future__ import annotations

import platform
import subprocess
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from tricell.errors import SimulatorError, TricellError
from tricell.markets.compiled_program import HIGHS_OPTIONS
from tricell.results.run_folder import RunFolder, check_output, resume_command
from tricell.results.run_header import RunHeader
from tricell.results.writer import ResultsWriter
from tricell.scenarios.co_simulation import CoSimulation, start_co_simulation
from tricell.scenarios.look_ahead_value import look_ahead_value, measures_value, runs_in_all
from tricell.scenarios.results_sink import ResultsSink, entity_tables
from tricell.scenarios.run_identity import DECIDING_PACKAGES, computed_with, package_version
from tricell.scenarios.scenario_file import as_yaml
from tricell.scenarios.schema import Scenario
from tricell.scenarios.weather import LICENCE, SOURCE
from tricell.scenarios.world import World, build_world
from tricell.simulators.recorder_simulator import RecorderSimulator

Progress = Callable[[int, int], None]

PACKAGES = (*DECIDING_PACKAGES, "mosaik-api-v3", "h5py")


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
    writer = ResultsWriter(
        output,
        run_header(world),
        entity_tables(world),
        force=force,
        gzip_level=scenario.output.compression_level,
    )
    return carry_out(world, ResultsSink(world, writer), started=started, progress=progress)


def carry_out(
    world: World,
    sink: ResultsSink,
    *,
    started: float,
    progress: Progress | None = None,
    memory: Mapping[str, Any] | None = None,
    first_slot: int = 0,
) -> RunOutcome:
    """Run a world to the end, or from where it was stopped.

    Parameters
    ----------
    world : what runs.
    sink : takes the results.
    started : when the work on the run began, as `time.perf_counter` gave it.
    progress : called with (slots done, slots in all).
    memory, first_slot : where a run goes on that was stopped; see `Checkpoints`.

    Raises
    ------
    TricellError
        If something cannot be used or fails; see `run_scenario`.
    """
    scenario = world.scenario
    with _warnings_noted(sink):
        co_simulation = start_co_simulation(world, sink, memory, first_slot)
        recorder = co_simulation.recorder
        report = _reporter(progress, runs_in_all(scenario) * scenario.time.slots)
        recorder.on_slot = report
        checkpoints = Checkpoints(recorder, sink, scenario.output.checkpoint_s)
        recorder.on_block = checkpoints.take_if_due
        built = perf_counter()
        sink.timings["build"] = (built - started, 1)
        try:
            _run_and_close(
                co_simulation,
                sink,
                checkpoints,
                lambda: _tell_value(world, co_simulation, sink, report),
            )
        except KeyboardInterrupt:
            # Whoever presses Ctrl-C again, or at the very end, is told what is left as well.
            raise KeyboardInterrupt(_what_is_left(sink, co_simulation)) from None
    assert sink.path is not None
    return RunOutcome(sink.path, recorder.slots_done, perf_counter() - built)


CHECKPOINT_SHARE = 0.02
"""Share of a run that checkpoints may take; their cost grows with the run."""
SEGMENTS_UNTIL_TWICE = 50
"""Segments of a run after which the time between checkpoints has doubled. Ten seconds at first
make 350 segments in a day: few enough that a reader can have all of them open at once."""


class Checkpoints:
    """Saves, now and then, all that is needed to go on with a run.

    Parameters
    ----------
    recorder : knows what all simulators remember.
    sink : keeps it beside the results.
    every_s : seconds on the clock between checkpoints; they are taken at the end of a block. More
        the longer the run, and where they would take too much of it; 0 takes one after every
        block.

    Attributes
    ----------
    seconds, taken : time that it took so far, and how often.
    """

    def __init__(self, recorder: RecorderSimulator, sink: ResultsSink, every_s: float) -> None:
        self._recorder, self._sink, self._every_s = recorder, sink, every_s
        self._last, self._wait_s = perf_counter(), every_s
        self.seconds, self.taken = 0.0, 0

    def take_if_due(self) -> None:
        """Save the run if the last time was long enough ago; at the end of a block only."""
        begun = perf_counter()
        if begun - self._last < self._wait_s:
            return
        memory = {**self._recorder.memory(), "sink": self._sink.memory()}
        self._sink.writer.checkpoint(memory, self._recorder.unsaved_rows())
        self._last = perf_counter()
        took = self._last - begun
        if self._every_s > 0.0:
            longer = 2.0 ** (self._sink.writer.segments_written / SEGMENTS_UNTIL_TWICE)
            self._wait_s = max(self._every_s * longer, took / CHECKPOINT_SHARE)
        self.seconds += took
        self.taken += 1


@contextmanager
def _warnings_noted(sink: ResultsSink) -> Iterator[None]:
    """Put the warnings of mosaik and of simulators into the results file, not on the terminal."""

    def note(message: Warning | str, *_: Any, **__: Any) -> None:
        # Once each: Python, too, tells a warning once, but a process that resumes tells it again.
        warning = ("simulator", "", str(message), 1)
        if warning not in sink.warnings:
            sink.warnings.append(warning)

    with warnings.catch_warnings():
        warnings.filterwarnings("default", module=r"mosaik($|\.|_)")
        warnings.showwarning = note
        yield


def _tell_value(
    world: World, co_simulation: CoSimulation, sink: ResultsSink, report: Callable[[int], None]
) -> None:
    """Tell the results file what looking ahead was worth, if the scenario asks for that."""
    if not measures_value(world.scenario):
        return
    slots, begun = world.scenario.time.slots, perf_counter()
    value = look_ahead_value(world, co_simulation, lambda done: report(slots + done))
    sink.told_eur |= asdict(value)
    sink.timings["reference runs"] = (perf_counter() - begun, runs_in_all(world.scenario) - 1)


def _run_and_close(
    co_simulation: CoSimulation,
    sink: ResultsSink,
    checkpoints: Checkpoints,
    after_last_slot: Callable[[], None],
) -> None:
    begun = perf_counter()

    def close() -> None:
        _fill_timings(co_simulation, sink, checkpoints, perf_counter() - begun)
        _close(co_simulation, sink)

    recorder = co_simulation.recorder
    try:
        sink.begin()
        co_simulation.run()
        if recorder.slots_done < co_simulation.time.slots:
            raise SimulatorError("mosaik ended the run before its last slot")
        recorder.flush()
        after_last_slot()
    except TricellError as error:
        sink.failure = str(error)
        close()
        raise type(error)(f"{error}\n{_what_is_left(sink, co_simulation)}") from error
    except KeyboardInterrupt:
        sink.failure = "stopped by Ctrl-C"
        close()
        raise
    except BaseException as error:
        sink.failure = f"{type(error).__name__}: {error}"
        close()
        raise
    close()


def _close(co_simulation: CoSimulation, sink: ResultsSink) -> None:
    """Stop everybody, third parties first: what they leave behind goes into the file."""
    try:
        co_simulation.stop_strangers()
        for name, stranger in co_simulation.strangers.items():
            sink.warnings += [("simulator", name, note, 1) for note in stranger.notes]
    finally:
        co_simulation.shut_down()


def _what_is_left(sink: ResultsSink, co_simulation: CoSimulation) -> str:
    output = sink.writer.path
    if sink.path is None and not RunFolder(output).holds_a_run:
        return "No slot was computed, so there is no results file."
    if not sink.failure:
        return f"All slots had been computed: the results in {output} are complete."
    left = (
        f"What was saved can be read in {sink.writer.part_path}"
        if sink.path is None
        else f"The {co_simulation.recorder.slots_done} slots computed so far are in {output}"
    )
    then = (
        "begins again, as simulators of third parties cannot go on from a checkpoint"
        if co_simulation.strangers
        else "goes on from the last checkpoint"
    )
    return f"{left}; `{resume_command(output)}` {then}."


def _fill_timings(
    co_simulation: CoSimulation, sink: ResultsSink, checkpoints: Checkpoints, loop_s: float
) -> None:
    timings, recorder = sink.timings, co_simulation.recorder
    for name, simulator in co_simulation.simulators.items():
        timings[name] = (simulator.seconds, simulator.calls)
    settled, written, saved = recorder.settle_seconds, recorder.write_seconds, checkpoints.seconds
    timings["recorder"] = (max(recorder.seconds - settled - written - saved, 0.0), recorder.calls)
    timings["settlement"] = (settled, recorder.flushes)
    timings["results file"] = (written, recorder.flushes)
    timings["checkpoints"] = (saved, checkpoints.taken)
    for name, stranger in co_simulation.strangers.items():
        timings[name] = (stranger.seconds, stranger.calls)
    in_simulators = sum(seconds for part, (seconds, _) in timings.items() if part != "build")
    timings["mosaik"] = (max(loop_s - in_simulators, 0.0), recorder.calls)


def _reporter(progress: Progress | None, slots: int) -> Callable[[int], None]:
    """Report at most ten times a second: a terminal is slower than a slot."""
    if progress is None:
        return lambda _done: None
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
            *([] if world.scenario.weather is None else [weather_input()]),
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
        "computed_with": computed_with(world.scenario),
    }


def weather_input() -> dict[str, str]:
    """Return where the weather comes from, and under which licence."""
    return {"name": SOURCE, "version": package_version("demandlib"), "licence": LICENCE}


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
