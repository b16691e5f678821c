"""What `tricell compare` prints, for terminals of 80 columns and more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from tricell.results.comparison import AgentChange, BillChange, ComparedRun, Comparison, FigureRow
from tricell.results.layout import RUN_SCOPE

UNKNOWN = "-"
NOT_COMPARABLE = "n/c"
NAME_COLUMNS = 49
"""Columns that the names, units and the first run take at most."""
RESIDUE = 1e-9
"""Figures below this are rounding and count as none."""
RUN_COLUMNS = 26
"""Columns that every other run takes with its difference."""


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print the runs, their figures with the difference to the first, and who gains and loses."""
    _print_section(console, "Runs", _run_table(comparison.runs))
    others = range(1, len(comparison.runs))
    at_once = max(1, (console.width - NAME_COLUMNS) // RUN_COLUMNS)
    for start in range(0, len(others), at_once):
        block = others[start : start + at_once]
        _print_section(console, "Key figures", _figure_table(comparison, block))
    unfit = [run for run in comparison.runs if run.not_comparable]
    for run in unfit:
        text = f" {NOT_COMPARABLE}: sums of {run.letter} are not comparable: {run.not_comparable}."
        console.print(Text(text, style="yellow"))
    _print_section(console, "Who gains and who loses, as against A", _change_table(comparison))


def _print_section(console: Console, title: str, body: Table) -> None:
    console.print()
    console.print(Rule(Text(title, style="bold"), align="left", style="dim"))
    console.print(Padding(body, (0, 0, 0, 1), expand=False))


def _run_table(runs: Sequence[ComparedRun]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("file", overflow="fold")
    table.add_column("scenario", overflow="fold")
    table.add_column("first slot, UTC", no_wrap=True)
    for heading in ("slots", "agents"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run in runs:
        name = Text(run.run_id.partition(" ")[0])
        if run.status != "complete":
            name.append(f" ({run.status})", style="bold red")
        table.add_row(
            Text(run.letter, style="bold"),
            str(run.path),
            name,
            UNKNOWN if run.first is None else f"{run.first:%Y-%m-%d %H:%M}",
            f"{run.slots:,}",
            f"{run.agents:,}",
        )
    return table


def _figure_table(comparison: Comparison, others: Sequence[int]) -> Table:
    letters = [run.letter for run in comparison.runs]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    table.add_column("figure", overflow="fold")
    table.add_column("unit", no_wrap=True)
    table.add_column(letters[0], justify="right", no_wrap=True)
    for number in others:
        table.add_column(letters[number], justify="right", no_wrap=True)
        heading = f"{letters[number]} - {letters[0]}"
        table.add_column(heading, justify="right", no_wrap=True, style="cyan")
    for row in comparison.figures:
        scope = "" if row.scope == RUN_SCOPE else f"{row.scope}: "
        name = scope + row.name.replace("_", " ")
        table.add_row(name, row.unit.replace("1", ""), *_figure_cells(row, others))
    return table


def _figure_cells(row: FigureRow, others: Sequence[int]) -> Iterator[str]:
    yield _figure(row.values[0])
    for number in others:
        yield _figure(row.values[number])
        difference = row.differences[number]
        if not row.is_comparable[number]:
            yield NOT_COMPARABLE
        else:
            yield (
                "="
                if difference is not None and abs(difference) < RESIDUE
                else _figure(difference, sign="+")
            )


def _figure(value: float | None, sign: str = "") -> str:
    if value is None:
        return UNKNOWN
    if abs(value) < RESIDUE:
        return "0"
    if abs(value) >= 1e5:
        return f"{value:{sign},.0f}"
    return f"{value:{sign}.2e}" if abs(value) < 1e-4 else f"{value:{sign},.5g}"


def _change_table(comparison: Comparison) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for run, change in zip(comparison.runs[1:], comparison.changes, strict=True):
        letter = Text(run.letter, style="bold")
        if change is None:
            reason = run.not_comparable or "the bills are not in both files"
            table.add_row(letter, "", Text(f"not comparable: {reason}", style="yellow"))
            continue
        table.add_row(letter, "agents", _counts(change))
        table.add_row("", "gain most", _named(change.most_gaining))
        table.add_row("", "lose most", _named(change.most_losing))
    return table


def _counts(change: BillChange) -> Text:
    text = Text(f"{change.gaining:,} gain", style="green")
    text.append(f", {change.losing:,} lose", style="bold red" if change.losing else "green")
    return text.append(f", {change.unchanged:,} pay the same", style="none")


def _named(changes: Sequence[AgentChange]) -> str:
    words = [f"{each.agent} ({each.gain_eur:+,.2f} EUR)" for each in changes]
    return ", ".join(words) or "nobody"
