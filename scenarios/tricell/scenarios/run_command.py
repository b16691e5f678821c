"""`tricell run`: a scenario simulated, or a run continued that was stopped."""
# ruff: noqa: PLC0415 (imports inside the functions keep the start fast)

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tricell.errors import ResultsError
from tricell.scenarios.check_command import show_scenario
from tricell.scenarios.command_options import (
    DaysOption,
    SeedOption,
    SetOption,
    StartOption,
    given_overrides,
)

if TYPE_CHECKING:
    from tricell.scenarios.runner import Progress, RunOutcome
    from tricell.scenarios.schema import Scenario


def run(
    scenario: Annotated[
        str | None,
        typer.Argument(
            metavar="SCENARIO",
            help="Name of a shipped scenario, or path of a YAML file.",
            show_default=False,
        ),
    ] = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Results file (default: NAME.h5 in this folder)."
        ),
    ] = None,
    start: StartOption = None,
    days: DaysOption = None,
    assignments: SetOption = None,
    seed: SeedOption = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite an existing results file.")
    ] = False,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="FILE",
            help="Go on with the run of this results file, which was stopped or killed.",
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only the path of the results file.")
    ] = False,
    dry: Annotated[
        bool, typer.Option("--dry", help="Show what would run, as `check` does; run nothing.")
    ] = False,
) -> None:
    """Simulate a scenario and write a results file.

    A run that was stopped, by Ctrl-C, a full disk or a crash of the machine, goes on with
    `tricell run --resume FILE` and ends with the same results as one that never stopped.
    """
    given = {
        "SCENARIO": scenario,
        "--output": output,
        "--start": start,
        "--days": days,
        "--set": assignments,
        "--seed": seed,
        "--force": force,
        "--dry": dry,
    }
    if resume is not None:
        _refuse_beside_resume([name for name, value in given.items() if value])
        _resume(resume, quiet)
    elif scenario is None:
        raise typer.BadParameter(
            "name a scenario (`tricell list scenarios` shows those that are shipped), or a run to "
            "go on with: --resume FILE",
            param_hint="SCENARIO",
        )
    else:
        _start(scenario, output, (start, days, seed, assignments), force, quiet=quiet, dry=dry)


def _refuse_beside_resume(given: list[str]) -> None:
    if given:
        raise typer.BadParameter(
            f"the scenario and all options of a run are kept with it; leave out {', '.join(given)}",
            param_hint="--resume",
        )


def _start(
    name: str,
    output: Path | None,
    options: tuple[str | None, str | None, str | None, list[str] | None],
    force: bool,
    *,
    quiet: bool,
    dry: bool,
) -> None:
    from tricell.results.run_folder import check_output
    from tricell.scenarios.scenario_file import faults_located, load_scenario

    if output is not None and not dry:
        check_output(output, force=force)
    overrides = given_overrides(*options)
    loaded = load_scenario(name, overrides)
    with faults_located(name, overrides, loaded):
        if dry:
            show_scenario(loaded)
            return
        target = output or Path(f"{loaded.name}.h5")
        check_output(target, force=force)
        _run_and_show(loaded.name, quiet, lambda progress: _run(loaded, target, force, progress))


def _run(scenario: Scenario, output: Path, force: bool, progress: Progress) -> RunOutcome:
    from tricell.scenarios.runner import run_scenario

    return run_scenario(scenario, output, force=force, progress=progress)


def _resume(file: Path, quiet: bool) -> None:
    from tricell.results.run_folder import part_path
    from tricell.results.saved_run import SavedRun

    meant = file.with_suffix(".h5")
    if not file.suffix and (meant.exists() or part_path(meant).is_dir()):
        raise ResultsError(f"{file}: no such file; did you mean {meant}?")
    SavedRun.open(file).close()  # where nothing can go on, this says so before the work begins

    def go_on(progress: Progress) -> RunOutcome:
        from tricell.scenarios.resumption import resume_run

        return resume_run(file, progress=progress)

    _run_and_show(file.name, quiet, go_on, "The stopped run is as it was.")


def _run_and_show(
    name: str,
    quiet: bool,
    work: Callable[[Progress], RunOutcome],
    at_start: str = "No file was written.",
) -> None:
    """Do the work; `at_start` is what to say if it is stopped before there is anything to tell."""
    from tricell.scenarios.screen import RunProgress, standard_output
    from tricell.simulators.interrupts import stop_like_ctrl_c

    stop_like_ctrl_c()
    try:
        with RunProgress(name, shown=not quiet) as progress:
            outcome = work(progress.update)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(*(error.args or (at_start,))) from None
    if quiet:
        typer.echo(str(outcome.output))
        return
    from tricell.results.run_summary import summarise
    from tricell.results.summary import print_summary

    print_summary(summarise(outcome.output), standard_output())
