"""What `tricell study` shows: the plan, a progress bar, and what came out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from tricell.scenarios.screen import error_output
from tricell.scenarios.study_engine import StudyOutcome, StudyState
from tricell.scenarios.study_file import LoadedStudy
from tricell.scenarios.study_plan import expected_simulations, points

MESSAGES_SHOWN = 10
POINTS_SHOWN = 10


class StudyProgress:
    """A bar on standard error: evaluations done, runs simulated and reused, failures."""

    def __init__(self, name: str, *, shown: bool) -> None:
        self._name = name
        self._bar = _bar() if shown else None
        self._task = None if self._bar is None else self._bar.add_task(name, total=None, detail="")

    def __enter__(self) -> StudyProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, state: StudyState) -> None:
        """Show how far the study is."""
        if self._bar is None or self._task is None:
            return
        self._bar.update(
            self._task,
            total=state.evaluations,
            completed=state.evaluations_done,
            detail=_counts(state),
        )


def _counts(state: StudyState) -> str:
    failed = f", [red]{state.failed} failed[/red]" if state.failed else ""
    return f"{state.simulated} simulations, {state.reused} reused{failed}"


def _bar() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.completed:.0f}/{task.total}"),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
        console=error_output(),
        expand=True,
    )


def show_studies(console: Console, studies: Sequence[LoadedStudy]) -> None:
    """List studies with what they ask."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("study", no_wrap=True)
    table.add_column("designs", justify="right")
    table.add_column("points", justify="right")
    table.add_column("what it asks", overflow="fold")
    for loaded in studies:
        study = loaded.study
        count = len(points(study, loaded.base))
        table.add_row(study.name, str(len(study.designs)), str(count), study.description)
    console.print(table)


def show_plan(console: Console, loaded: LoadedStudy) -> None:
    """Show what a study would run."""
    study = loaded.study
    console.print(f"[bold]{study.name}[/bold]  {study.description}")
    facts = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("scenario", loaded.base.name)
    for number, design in enumerate(study.designs):
        mark = " (reference)" if design.name == study.reference else ""
        facts.add_row("" if number else "designs", f"{design.name}: {design.title}{mark}")
    all_points = points(study, loaded.base)
    for number, point in enumerate(all_points[:POINTS_SHOWN]):
        facts.add_row("" if number else "points", str(point))
    if len(all_points) > POINTS_SHOWN:
        facts.add_row("", f"... and {len(all_points) - POINTS_SHOWN} more")
    facts.add_row("closures", ", ".join(study.closures))
    extent = StudyState(len(study.designs), len(all_points), len(study.closures))
    facts.add_row("results", f"{extent.extent} = {extent.results}")
    facts.add_row("simulations", _simulations(*expected_simulations(study, all_points)))
    console.print(facts)


def _simulations(least: int, most: int) -> str:
    if least == most:
        return str(least)
    return (
        f"at least {least}, at most {most}: some more than the least where batteries react to new "
        "rates; runs that are kept from before are reused"
    )


def show_outcome(console: Console, outcome: StudyOutcome, report: Path) -> None:
    """Show what a study left behind."""
    state = outcome.state
    console.print(
        f"{state.extent} = {state.results} results; {state.simulated} simulations, "
        f"{state.reused} reused, in {outcome.seconds:,.0f} s.",
        soft_wrap=True,
    )
    for message in outcome.messages[:MESSAGES_SHOWN]:
        console.print(f"[yellow]{message}[/yellow]", soft_wrap=True)
    if len(outcome.messages) > MESSAGES_SHOWN:
        console.print(f"... and {len(outcome.messages) - MESSAGES_SHOWN} more in the results")
    console.print(f"Results: {outcome.output}", soft_wrap=True)
    console.print(f"Report:  {report}", soft_wrap=True)
