"""Carry out a study with Dask: runs in processes of their own, a record of each, one results file.

The reference design is run at every point first; then every other design, each with all closures,
as soon as the reference run of its point is there. What a run leaves behind is kept by content in
the folder of the study, so that a study that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias
from uuid import uuid4

import dask
import distributed
from dask.system import CPU_COUNT

from tricell.errors import ResultsError, TricellError
from tricell.results.study_layout import SUFFIX
from tricell.results.study_results import StudyHeader, write_study
from tricell.scenarios.run_identity import surroundings
from tricell.scenarios.scenario_file import as_yaml
from tricell.scenarios.schema import Scenario
from tricell.scenarios.study_assembly import Outcome, assembled
from tricell.scenarios.study_closures import Job, evaluate, reference_run
from tricell.scenarios.study_file import LoadedStudy, study_as_yaml
from tricell.scenarios.study_plan import Point, points, scenario_at
from tricell.scenarios.study_run import RunCache
from tricell.scenarios.study_schema import Design
from tricell.scenarios.study_tables import closure_tables

DASK: Any = distributed
"""Dask's client, whose own annotations are incomplete."""
Client: TypeAlias = Any
Future: TypeAlias = Any

CACHE = "runs"
"""Folder of the records inside the folder of a study."""
TOPIC = "tricell-study"
QUIET: Mapping[str, Any] = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.admin.large-graph-warning-threshold": "1GB",
}
CONNECT_TIMEOUT_S = 20
ANY_LOOPBACK_PORT = "127.0.0.1:0"


@dataclass
class StudyState:
    """How far a study is.

    Attributes
    ----------
    designs, points, closures : how many of each.
    evaluations_done : designs at points that are done.
    simulated, reused : runs so far.
    failed : closures that failed.
    """

    designs: int
    points: int
    closures: int
    evaluations_done: int = 0
    simulated: int = 0
    reused: int = 0
    failed: int = 0

    @property
    def evaluations(self) -> int:
        """Designs at points."""
        return self.designs * self.points

    @property
    def results(self) -> int:
        """Rows of the table of runs."""
        return self.evaluations * self.closures

    @property
    def extent(self) -> str:
        """How large it is, in words, such as ``8 designs x 6 points x 3 closures``."""
        parts = (("design", self.designs), ("point", self.points), ("closure", self.closures))
        return " x ".join(f"{count} {name}{'s' if count > 1 else ''}" for name, count in parts)


Progress: TypeAlias = Callable[[StudyState], None]


@dataclass(frozen=True)
class StudyOutcome:
    """What a study left behind.

    Attributes
    ----------
    output : the results file.
    state : counts.
    messages : failures, and rates that did not settle.
    seconds : wall-clock time.
    """

    output: Path
    state: StudyState
    messages: tuple[str, ...]
    seconds: float


def results_file(loaded: LoadedStudy, folder: Path) -> Path:
    """Return the name of the results file of a study in its folder."""
    return folder / f"{loaded.study.name}{SUFFIX}"


def require_free(loaded: LoadedStudy, folder: Path, *, force: bool = False) -> Path:
    """Return the name of the results file of a study, where none is there or it may be replaced.

    Raises
    ------
    ResultsError
        If there is one and ``force`` is not given.
    """
    output = results_file(loaded, folder)
    if output.exists() and not force:
        raise ResultsError(
            f"The results `{output}` exist already. Choose another folder with --output, or "
            "overwrite them with --force; runs that are done are reused in any case."
        )
    return output


def run_study(
    loaded: LoadedStudy,
    folder: Path,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> StudyOutcome:
    """Carry out a study and write its results file.

    Parameters
    ----------
    loaded : the study.
    folder : takes the results and the records of runs; is made if it is not there.
    scheduler : address of a Dask scheduler; None starts processes on this machine.
    workers : number of these processes; None for one per core.
    force : replace an existing results file.
    progress : called whenever something is done.

    Raises
    ------
    TricellError
        If the folder or the scheduler cannot be used. Runs that fail are recorded in the results.
    """
    started = perf_counter()
    output = require_free(loaded, folder, force=force)
    cache = RunCache((folder / CACHE).absolute())
    with _client(scheduler, workers) as client:
        if scheduler is not None:
            _require_shared(client, cache.folder)
        campaign = _Campaign(loaded, cache.folder, client, progress or (lambda state: None))
        campaign.run()
    header = _header(loaded, campaign)
    tables = assembled(loaded, campaign.outcomes, campaign.allowed)
    write_study(output, header, tables, force=force)
    return StudyOutcome(
        output, campaign.state, tuple(campaign.messages()), perf_counter() - started
    )


@dataclass
class _Campaign:
    """All evaluations of a study under way."""

    loaded: LoadedStudy
    cache: Path
    client: Client
    progress: Progress
    outcomes: list[Outcome] = field(default_factory=list)
    allowed: dict[int, tuple[float, float, float]] = field(default_factory=dict)
    provenance: str = "{}"
    _waiting: dict[int, list[Point]] = field(default_factory=dict)
    _meaning: dict[str, tuple[Point, Design | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        study = self.loaded.study
        self.points = points(study, self.loaded.base)
        self.state = StudyState(len(study.designs), len(self.points), len(study.closures))

    def run(self) -> None:
        """Submit everything, and take what comes back until all is there."""
        self.client.subscribe_topic(TOPIC, self._noted)
        self.progress(self.state)
        first = [self._submit_reference(point) for point in self.points]
        futures = DASK.as_completed(first, loop=self.client.loop)
        for future in futures:
            point, design = self._meaning.pop(future.key)
            if design is None:
                for ready in self._referenced(point, future):
                    for wanted in self.loaded.study.designs:
                        futures.add(self._submit(ready, wanted))
            else:
                self._evaluated(point, design, future)
            self.progress(self.state)
        self.client.unsubscribe_topic(TOPIC)

    def messages(self) -> Iterator[str]:
        """Yield what failed or did not settle."""
        for outcome in self.outcomes:
            if outcome.status != "complete":
                what = "failed" if outcome.status == "failed" else "did not settle"
                yield (
                    f"{outcome.design}, closure {outcome.closure}, {outcome.point}: {what}: "
                    f"{outcome.message}"
                )

    def _noted(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """Count a run that a worker has done."""
        if event[1]["reused"]:
            self.state.reused += 1
        else:
            self.state.simulated += 1
        self.progress(self.state)

    def _reference(self, point: Point) -> Scenario:
        return scenario_at(self.loaded.scenario_of(self.loaded.study.reference_design), point)

    def _submit_reference(self, point: Point) -> Future:
        future = self.client.submit(
            _reference_task,
            self._reference(point),
            self.cache,
            self.loaded.study.billed_levels,
            pure=False,
            priority=10,
        )
        self._meaning[future.key] = (point, None)
        return future

    def _submit(self, point: Point, design: Design) -> Future:
        job = Job(
            study=self.loaded.study,
            design=design,
            scenario=scenario_at(self.loaded.scenario_of(design), point),
            reference=self._reference(point),
            allowed_eur_per_year=self.allowed[point.base],
            cache=self.cache,
        )
        future = self.client.submit(_evaluation_task, job, pure=False)
        self._meaning[future.key] = (point, design)
        return future

    def _referenced(self, point: Point, future: Future) -> list[Point]:
        """Take a reference run; return the points that can go on."""
        if future.status != "finished":
            self._reference_failed(point, _why(future))
            return []
        collected, year_share, provenance = future.result()
        if point.number == 0:
            self.provenance = provenance
        if point.number == point.base:
            self.allowed[point.base] = self._allowed(collected / year_share)
            return [point, *self._waiting.pop(point.base, [])]
        if point.base in self.allowed:
            return [point]
        self._waiting.setdefault(point.base, []).append(point)
        return []

    def _allowed(self, reference_eur_per_year: float) -> tuple[float, float, float]:
        """Return the allowed revenue by level, EUR per year."""
        study = self.loaded.study
        if study.revenue is not None:
            return study.revenue.microgrid, study.revenue.cell, study.revenue.multicell
        shares = study.level_shares
        return (
            reference_eur_per_year * shares.microgrid,
            reference_eur_per_year * shares.cell,
            reference_eur_per_year * shares.multicell,
        )

    def _reference_failed(self, point: Point, why: str) -> None:
        """Record that nothing can be said at a point, nor at those whose revenue depends on it."""
        study = self.loaded.study
        dropped = [point]
        if point.number == point.base and study.revenue is None:
            dropped += [each for each in self.points if each.base == point.base][1:]
            self._waiting.pop(point.base, None)
        for each in dropped:
            for design in study.designs:
                self._lost(each, design, f"the reference run failed: {why}")

    def _evaluated(self, point: Point, design: Design, future: Future) -> None:
        if future.status != "finished":
            self._lost(point, design, _why(future))
            return
        self.outcomes += [Outcome(point, design.name, **values) for values in future.result()]
        self._count(design, point)

    def _lost(self, point: Point, design: Design, why: str) -> None:
        for closure in self.loaded.study.closures:
            self.outcomes.append(Outcome(point, design.name, closure, "failed", why))
        self._count(design, point)

    def _count(self, design: Design, point: Point) -> None:
        self.state.evaluations_done += 1
        self.state.failed += sum(
            outcome.status == "failed"
            for outcome in self.outcomes
            if outcome.design == design.name and outcome.point == point
        )


def _why(future: Future) -> str:
    error = future.exception()
    return str(error) if isinstance(error, TricellError) else f"{type(error).__name__}: {error}"


def _reference_task(
    scenario: Scenario, cache: Path, levels: Sequence[str]
) -> tuple[float, float, str]:
    return reference_run(scenario, cache, _notify, levels)


def _evaluation_task(job: Job) -> list[dict[str, Any]]:
    return [
        {
            "closure": result.closure,
            "status": result.status,
            "message": result.message,
            "seconds": result.seconds,
            "simulations": result.simulations,
            "reused": result.reused,
            "iterations": result.iterations,
            "converged": result.converged,
            "meters": result.meters,
            "tables": closure_tables(result),
        }
        for result in evaluate(job, _notify)
    ]


def _notify(reused: bool) -> None:
    DASK.get_worker().log_event(TOPIC, {"reused": reused})


@contextmanager
def _client(scheduler: str | None, workers: int | None) -> Iterator[Client]:
    """Connect to a scheduler, or start processes on this machine and stop them in the end."""
    if scheduler is not None:
        try:
            client = DASK.Client(scheduler, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ResultsError(
                f"There is no Dask scheduler at `{scheduler}` ({error}). Start one with `dask "
                "scheduler` and workers with `dask worker`, or leave --scheduler out."
            ) from error
        with client:
            yield client
        return
    with (
        dask.config.set(QUIET),
        DASK.LocalCluster(
            n_workers=workers or CPU_COUNT,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=ANY_LOOPBACK_PORT,
            memory_limit=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        DASK.Client(cluster, set_as_default=False) as client,
    ):
        client.run(_leave_interrupts_to_the_parent)
        yield client


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _require_shared(client: Client, cache: Path) -> None:
    """Make sure that every worker of a cluster reaches the folder of the records."""
    mark = cache / f"{uuid4().hex}.mark"
    mark.touch()
    try:
        seen = client.run(os.path.exists, str(mark))
    finally:
        mark.unlink()
    if not seen:
        raise ResultsError(
            "The Dask scheduler has no workers. Start some with `dask worker ADDRESS`."
        )
    blind = [worker for worker, sees in seen.items() if not sees]
    if blind:
        raise ResultsError(
            f"The workers {', '.join(blind)} do not see the folder `{cache}`. Choose a folder with "
            "--output that all workers share, at the same path."
        )


def _header(loaded: LoadedStudy, campaign: _Campaign) -> StudyHeader:
    study = loaded.study
    provenance = json.loads(campaign.provenance) | {"computed_with": surroundings()}
    return StudyHeader(
        study=study.name,
        description=study.description,
        reference_design=study.reference,
        study_yaml=study_as_yaml(study),
        scenario_yaml=as_yaml(loaded.base),
        provenance=provenance,
        time_zone_local=loaded.base.time.local_zone,
    )
