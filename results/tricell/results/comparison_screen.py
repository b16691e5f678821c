"""What `tricell compare` prints, for terminals of 80 columns and more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.console import Console, Group
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from tricell.results.bill_changes import WinnersLosers
from tricell.results.charge_indicators import WORSE_EUR_PER_YEAR, WORSE_PERCENT
from tricell.results.comparison import AgentChange, BillChange, ComparedRun, Comparison, FigureRow
from tricell.results.design_comparison import DesignComparison
from tricell.results.figure_list import FAMILIES
from tricell.results.figure_names import figure_factor, figure_name, figure_unit
from tricell.results.layout import RUN_SCOPE

UNKNOWN = "-"
NOT_COMPARABLE = "n/c"
PERCENT = "%"
NAME_COLUMNS = 49
"""Columns that the names, units and the first run take at most."""
RESIDUE = 1e-9
"""Figures below this are rounding and count as none."""
RUN_COLUMNS = 26
"""Columns that every other run takes with its difference."""
FAMILY_ORDER = ("Bills", "Energy", "Peaks", "Markets", "Grid", "Fairness", "Accounts")
"""Families of key figures, the most asked for first; all others follow."""
BY_LEVEL, OTHERS = "By level", "Others"
FAMILY_OF = {each.name: family for family, figures in FAMILIES.items() for each in figures} | {
    "agents_gaining": "Bills",
    "agents_losing": "Bills",
}


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print the runs, their figures with the difference to the first, and who gains and loses."""
    _print_section(console, "Runs", _run_table(comparison.runs))
    others = range(1, len(comparison.runs))
    at_once = max(1, (console.width - NAME_COLUMNS) // RUN_COLUMNS)
    for start in range(0, len(others), at_once):
        block = others[start : start + at_once]
        _print_section(console, "Key figures", _figure_table(comparison, block))
    left_out = sum(not _tells(row) for row in comparison.figures)
    if left_out:
        text = f" Left out: {left_out} figures that are 0 or undefined in all runs."
        console.print(Text(text, style="dim"))
    unfit = [run for run in comparison.runs if run.not_comparable]
    for run in unfit:
        text = f" {NOT_COMPARABLE}: sums of {run.letter} are not comparable: {run.not_comparable}."
        console.print(Text(text, style="yellow"))
    for run in comparison.runs:
        if run.warning:
            text = f" not the design alone: {run.letter} has {run.warning}."
            console.print(Text(text, style="yellow"))
    _print_section(console, "Who gains and who loses, as against A", _change_table(comparison))
    for run, change in zip(comparison.runs[1:], comparison.changes, strict=True):
        if change is not None and change.winners is not None:
            print_winners(change.winners, f"{run.letter} - {comparison.runs[0].letter}", console)


def print_design_comparison(comparison: DesignComparison, console: Console) -> None:
    """Print two designs of a study, their key figures, and who gains and loses between them."""
    facts = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for letter, name, label in zip("AB", comparison.designs, comparison.labels, strict=True):
        facts.add_row(Text(letter, style="bold"), f"{label} ({name})" if label != name else name)
    seeds = ", ".join(str(seed) for seed in comparison.seeds)
    facts.add_row("", f"closure {comparison.closure}, period {comparison.days:g} d, seed {seeds}")
    _print_section(console, f"Designs of {comparison.study}", facts)
    for warning in comparison.warnings:
        console.print(Text(f" note: {warning}.", style="yellow"))
    if comparison.figures:
        title = "Key figures, means over the seeds" if len(comparison.seeds) > 1 else "Key figures"
        _print_section(console, title, _design_figure_table(comparison))
    print_winners(comparison.winners, "B - A", console, len(comparison.seeds))


def _design_figure_table(comparison: DesignComparison) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    table.add_column("figure", overflow="fold")
    table.add_column("unit", no_wrap=True)
    for heading in ("A", "B"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("B - A", justify="right", no_wrap=True, style="cyan")
    for each in comparison.figures:
        factor, unit = figure_factor(each.name), figure_unit(each.name, each.unit)
        before, after = factor * each.before, factor * each.after
        table.add_row(
            figure_name(each.name),
            unit,
            _figure(before, unit),
            _figure(after, unit),
            _difference(after - before, unit),
        )
    return table


def print_winners(winners: WinnersLosers, pair: str, console: Console, seeds: int = 1) -> None:
    """Print how bills change by customer class and component, and who loses most."""
    title = f"Bills per year, {pair}, EUR: + pays more"
    _print_section(console, title, _class_table(winners, console.width))
    days = winners.year_share * 365.0
    note = (
        f" Period of {days:,.4g} d, scaled to a year. hard: worse by over "
        f"{WORSE_PERCENT:g} % and over {WORSE_EUR_PER_YEAR:g} EUR/yr."
    )
    if seeds > 1:
        note += f" n counts the customers of all {seeds} seeds; all else below is a mean over them."
    console.print(Text(note, style="dim"))
    if winners.largest_losers:
        _print_section(console, f"Who loses most, {pair}", _loser_table(winners))
    if winners.components:
        _print_section(console, f"Bills by component, {pair}, EUR/yr", _component_table(winners))


def _print_section(console: Console, title: str, body: Table | Group) -> None:
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
    for family, rows in _families(comparison.figures):
        table.add_row(Text(family, style="bold"))
        for row in rows:
            scope = "" if row.scope == RUN_SCOPE else f"{row.scope}: "
            unit = figure_unit(row.name, row.unit)
            name = Padding(scope + figure_name(row.name), (0, 0, 0, 1))
            table.add_row(name, unit, *_figure_cells(row, others, unit))
    return table


def _families(rows: Sequence[FigureRow]) -> Iterator[tuple[str, list[FigureRow]]]:
    """Yield the figures that tell anything, family by family."""
    found: dict[str, list[FigureRow]] = {name: [] for name in (*FAMILY_ORDER, *FAMILIES)}
    for row in filter(_tells, rows):
        family = FAMILY_OF.get(row.name, OTHERS) if row.scope == RUN_SCOPE else BY_LEVEL
        found.setdefault(family, []).append(row)
    return ((family, members) for family, members in found.items() if members)


def _tells(row: FigureRow) -> bool:
    """Tell whether a figure is more than 0 or undefined in any run."""
    return any(value is not None and abs(value) >= RESIDUE for value in row.values)


def _figure_cells(row: FigureRow, others: Sequence[int], unit: str) -> Iterator[str]:
    factor = figure_factor(row.name)
    values = [None if value is None else factor * value for value in row.values]
    yield _figure(values[0], unit)
    for number in others:
        yield _figure(values[number], unit)
        difference = row.differences[number]
        if not row.is_comparable[number]:
            yield NOT_COMPARABLE
        else:
            yield UNKNOWN if difference is None else _difference(factor * difference, unit)


def _difference(value: float, unit: str) -> str:
    return "=" if abs(value) < RESIDUE else _figure(value, unit, sign="+")


def _figure(value: float | None, unit: str, sign: str = "") -> str:
    if value is None:
        return UNKNOWN
    if abs(value) < RESIDUE:
        return "0"
    if unit == PERCENT:
        return f"{value:{sign}.2f}"
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


def _class_table(winners: WinnersLosers, width: int) -> Group:
    """Return how classes change, in two tables where one is wider than the screen."""
    columns = {
        "n": [f"{each.customers:,}" for each in winners.classes],
        "better": [f"{each.better:,}" for each in winners.classes],
        "worse": [f"{each.worse:,}" for each in winners.classes],
        "mean": [_eur(each.mean_eur) for each in winners.classes],
        "median": [_eur(each.median_eur) for each in winners.classes],
        "P10": [_eur(each.p10_eur) for each in winners.classes],
        "P90": [_eur(each.p90_eur) for each in winners.classes],
        "mean %": [_percent(each.mean_percent) for each in winners.classes],
        "hard %": [f"{100.0 * each.hard_share:.0f}" for each in winners.classes],
    }
    names = [in_words(each.group) for each in winners.classes]
    longest = max(len(word) for name in [*names, "class"] for word in name.split())
    taken = sum(1 + max(map(len, [head, *cells])) for head, cells in columns.items())
    counts, amounts = ("n", "better", "worse", "mean %", "hard %"), ("mean", "median", "P10", "P90")
    parts = [tuple(columns)] if 2 + longest + taken <= width else [counts, amounts]
    return Group(*(_part_of_classes(names, columns, part, longest) for part in parts))


def _part_of_classes(
    names: Sequence[str], columns: Mapping[str, Sequence[str]], heads: Sequence[str], longest: int
) -> Table:
    table = _plain_table("class", heads)
    table.columns[0].min_width = longest
    for row, name in enumerate(names):
        cells = [columns[head][row] for head in heads]
        table.add_row(name, *cells, style="bold" if row == 0 else None)
    return table


def _loser_table(winners: WinnersLosers) -> Table:
    table = _plain_table("customer", ("EUR/yr", "%"))
    table.add_column("class", overflow="fold")
    for each in winners.largest_losers:
        table.add_row(
            each.customer, _eur(each.change_eur), _percent(each.percent), in_words(each.group)
        )
    return table


def _component_table(winners: WinnersLosers) -> Table:
    table = _plain_table("component", ("before", "after", "change"))
    for each in winners.components:
        amounts = (f"{each.before_eur:,.2f}", f"{each.after_eur:,.2f}", _eur(each.change_eur))
        table.add_row(in_words(each.component), *amounts)
    before, after = (
        sum(getattr(each, name) for each in winners.components)
        for name in ("before_eur", "after_eur")
    )
    amounts = (f"{before:,.2f}", f"{after:,.2f}", _eur(after - before))
    table.add_row("sum", *amounts, style="bold")
    return table


def in_words(name: str) -> str:
    """Write the name of a class or component for people."""
    return name.replace("_", " ")


def _plain_table(first: str, numbers: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column(first, overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _eur(value: float) -> str:
    if abs(value) < 0.05:
        return "0"
    return f"{value:+,.1f}" if abs(value) < 100.0 else f"{value:+,.0f}"


def _percent(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:+,.1f}"
