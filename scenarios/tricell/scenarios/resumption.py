"""Goes on with a run that was stopped, so that its results are those of one that never was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from tricell.errors import ResultsError
from tricell.results.saved_run import SavedRun
from tricell.results.writer import ResultsWriter
from tricell.scenarios.results_sink import ResultsSink, entity_tables
from tricell.scenarios.run_identity import SOURCE, computed_with
from tricell.scenarios.runner import Progress, RunOutcome, carry_out, run_scenario
from tricell.scenarios.scenario_file import from_yaml
from tricell.scenarios.schema import Scenario
from tricell.scenarios.world import build_world

CHANGES_SHOWN = 3


def resume_run(output: Path, *, progress: Progress | None = None) -> RunOutcome:
    """Go on with the run of a results file from its last checkpoint.

    Simulators of third parties keep what only they know, so that a run with such simulators
    begins again with its first slot.

    Parameters
    ----------
    output : name of the results file.
    progress : called with (slots done, slots in all).

    Raises
    ------
    ResultsError
        If there is nothing to go on with, or if what decides the results has changed.
    TricellError
        If something fails; see `tricell.scenarios.runner.run_scenario`.
    """
    started = perf_counter()
    with SavedRun.open(output) as saved:
        scenario = from_yaml(saved.header.scenario_yaml)
        _require_same(saved, scenario)
        if not scenario.simulators:
            return _go_on(saved, scenario, started, progress)
    return run_scenario(scenario, output, force=True, progress=progress)


def _go_on(
    saved: SavedRun, scenario: Scenario, started: float, progress: Progress | None
) -> RunOutcome:
    world = build_world(scenario)
    writer = ResultsWriter.resume(
        saved, entity_tables(world), gzip_level=scenario.output.compression_level
    )
    sink = ResultsSink(world, writer)
    memory: dict[str, Any] | None = None
    if saved.slots_saved:
        memory = dict(saved.memory)
        sink.recall(memory.pop("sink"))
        memory["recorder"] = {**memory["recorder"], "rows": saved.grown}
    return carry_out(
        world,
        sink,
        started=started,
        progress=progress,
        memory=memory,
        first_slot=saved.slots_saved,
    )


def _require_same(saved: SavedRun, scenario: Scenario) -> None:
    """Refuse to mix the results of two programs, or of two versions of the data."""
    before: Mapping[str, str] = dict(saved.header.provenance.get("computed_with", {}))  # type: ignore[call-overload]  # provenance is whatever JSON holds
    now = computed_with(scenario)
    changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    if not changed:
        return
    told = [_what_changed(name, before.get(name), now.get(name)) for name in changed]
    more = f" and {len(told) - CHANGES_SHOWN} more" if len(told) > CHANGES_SHOWN else ""
    commit = saved.header.provenance.get("git_commit") or "unknown"
    raise ResultsError(
        f"{saved.path}: this run was begun with other versions or data, so that going on would mix "
        f"two kinds of results: {'; '.join(told[:CHANGES_SHOWN])}{more}. Bring back what was there "
        f"(tricell's source was of git commit {commit}), or run the scenario again with --force."
    )


def _what_changed(name: str, before: str | None, now: str | None) -> str:
    """Say what is different: versions as they are, of files and source only that they changed."""
    if now is None:
        return f"{name} is missing"
    if name == SOURCE:
        return "tricell's own source has changed"
    if Path(name).is_absolute() and before is not None:
        return f"{name} has changed"
    return f"{name}: {before or 'nothing'}, now {now}"
