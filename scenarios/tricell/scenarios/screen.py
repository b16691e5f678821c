"""What the command line shows: colours, tables, trees and the progress bar."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from math import isfinite
from types import TracebackType
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from tricell.scenarios.shipped import ShippedScenario

if TYPE_CHECKING:
    from tricell.grid_models.area_tree import AreaRow
    from tricell.grid_models.findings import GridFinding
    from tricell.grid_models.grid_sources import KnownGrid
    from tricell.scenarios.preview import Preview
    from tricell.scenarios.schema import Scenario
    from tricell.scenarios.third_party import Endpoint

ERROR_STYLES = (
    (r"^.*?: (error): .*$", "bold red"),
    (r"^ +\d* *(\|)", "blue"),
    (r"(\^+)$", "bold red"),
    (r"^ += (allowed|help):", "cyan"),
)

MORE_GRIDS = (
    "As grid.source in a scenario:",
    "  {kind: simbench, code: 1-LV-rural2--2-sw}",
    "  {kind: simbench, scenario: 2, mv: [MV2.101], lv: [LV1.201, LV2.201]}   any that fit",
    "  {kind: pandapower, function: create_cigre_network_lv}",
    "  {kind: file, path: my_grid.json}   written by pandapower, .json or .xlsx",
)
MAX_FEEDERS_SHOWN = 2
ABBREVIATIONS = {"ev": "EV", "pv": "PV"}


def standard_output() -> Console:
    """Return the console for results."""
    return Console(file=sys.stdout, highlight=False)


def error_output() -> Console:
    """Return the console for progress and errors."""
    return Console(file=sys.stderr, highlight=False)


def error_text(message: str) -> Text:
    """Return an error message coloured as compilers do."""
    if ": error: " not in message:
        message = f"error: {message}"
    text = Text(message)
    for pattern, style in ERROR_STYLES:
        for match in re.finditer(pattern, message, flags=re.MULTILINE):
            text.stylize(style, *match.span(1))
    return text


def scenario_table(scenarios: Iterable[ShippedScenario]) -> Table:
    """Return the shipped scenarios as a table."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("scenario", "days", "from"):
        table.add_column(heading, no_wrap=True)
    table.add_column("what it shows", overflow="fold")
    for scenario in scenarios:
        table.add_row(
            Text(scenario.name, style="bold"),
            f"{scenario.days:g}",
            scenario.start[:10],
            scenario.description,
        )
    return table


def grid_lines(grids: Sequence[KnownGrid]) -> str:
    """Return the grids that a scenario can name, one per line so that it can be searched."""
    kind_width = max(len(grid.kind) for grid in grids)
    name_width = max(len(grid.name) for grid in grids)
    lines = [
        f"{grid.kind:<{kind_width}}  {grid.name:<{name_width}}  {grid.description}"
        for grid in grids
    ]
    return "\n".join([*lines, "", *MORE_GRIDS])


def show_preview(console: Console, seen: Preview) -> None:
    """Print what a scenario is about; made for terminals of 80 columns and more."""
    _print_head(console, seen.scenario)
    _print_section(console, "Areas", _area_table(seen))
    _print_section(console, "Participants", _count_table(seen.counts))
    _print_section(console, "Prices, EUR/kWh", _price_table(seen))
    if seen.scenario.simulators:
        _print_section(console, "Simulators of third parties", _simulator_table(seen.scenario))
    if seen.findings:
        _print_section(console, "Findings about the grid", _finding_table(seen.findings))
    if seen.notes:
        console.print(section_rule("Notes about the data"))
        for note in seen.notes:
            console.print(Padding(Text(note), (0, 0, 0, 1)))
    console.print(Text(f"\n{seen.scenario.name} is ready to run.", style="green"))


def _print_head(console: Console, scenario: Scenario) -> None:
    time = scenario.time
    title = Text(scenario.name, style="bold")
    if scenario.description:
        title.append(f": {scenario.description}", style="not bold")
    console.print(title)
    console.print(
        f"{time.start:%Y-%m-%d %H:%M} to {time.end:%Y-%m-%d %H:%M} UTC, "
        f"{time.slots:,} slots of {time.step_minutes} min, seed {scenario.seed}"
    )


def section_rule(title: str) -> Padding:
    """Return the line that begins a section."""
    rule = Rule(Text(title, style="bold"), align="left", style="dim", characters="-")
    return Padding(rule, (1, 0, 0, 0))


def _print_section(console: Console, title: str, body: Table) -> None:
    console.print(section_rule(title))
    console.print(Padding(body, (0, 0, 0, 1), expand=False))


def _area_table(seen: Preview) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("area", no_wrap=True)
    table.add_column("level", no_wrap=True)
    for heading in ("members", "buses", "MVA"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("fed by", overflow="fold")
    for row, drawn in zip(seen.areas, _tree_lines(seen.areas), strict=True):
        table.add_row(
            drawn,
            row.level_name,
            f"{seen.members[row.id]:,}",
            f"{row.n_bus:,}",
            _mva(row.rating_kva),
            _some(row.connection_names),
        )
    return table


def _mva(rating_kva: float) -> str:
    if not isfinite(rating_kva):
        return "-"
    return f"{rating_kva / 1e3:,.0f}" if rating_kva >= 100e3 else f"{rating_kva / 1e3:.3g}"


def _some(names: Sequence[str]) -> str:
    if len(names) <= MAX_FEEDERS_SHOWN:
        return ", ".join(names)
    return f"{names[0]} and {len(names) - 1} more"


def _tree_lines(areas: Sequence[AreaRow]) -> list[Text]:
    """Draw the branches in front of the name of each area; the rows come depth first."""
    lines = []
    for position, row in enumerate(areas):
        branches = ""
        for depth in range(1, row.depth + 1):
            following = next((r for r in areas[position + 1 :] if r.depth <= depth), None)
            goes_on = following is not None and following.depth == depth
            if depth == row.depth:
                branches += "├─ " if goes_on else "└─ "
            else:
                branches += "│  " if goes_on else "   "
        lines.append(Text(branches, style="dim").append(row.id, style="not dim"))
    return lines


def _count_table(counts: Mapping[str, int]) -> Table:
    table = _facts()
    for group in ("agents", "devices"):
        members = {
            key.removeprefix(f"{group}_"): count
            for key, count in counts.items()
            if key.startswith(f"{group}_") and count
        }
        kinds = ", ".join(f"{_words(kind)} {count:,}" for kind, count in members.items())
        table.add_row(group, f"{sum(members.values()):,}: {kinds}" if members else "none")
    table.add_row("batteries", f"{counts.get('batteries', 0):,}")
    return table


def _words(kind: str) -> str:
    return ABBREVIATIONS.get(kind, kind.replace("_", " "))


def _price_table(seen: Preview) -> Table:
    table = _facts()
    for price in seen.prices:
        span = f"{price.mean:.4f}"
        if price.highest > price.lowest:
            span = f"{price.mean:.4f} on average, {price.lowest:.4f} to {price.highest:.4f}"
        table.add_row(price.name, span)
    fees = seen.scenario.prices.fees
    levels = f"microgrid {fees.microgrid:g}, cell {fees.cell:g}, multi-cell {fees.multicell:g}"
    table.add_row("fees", levels)
    for charge in seen.charges[1:]:
        table.add_row("charge", charge.label)
    return table


def _simulator_table(scenario: Scenario) -> Table:
    table = _facts()
    for simulator in scenario.simulators:
        kind, how = simulator.starter
        table.add_row(simulator.name, f"{kind}: {how}")
        for connection in simulator.connections:
            table.add_row("", f"{_end(connection.source)} -> {_end(connection.to)}")
    return table


def _end(endpoint: Endpoint) -> str:
    target = endpoint.target
    where = f"{target[0]} {target[1]}" if target else f"its entity {endpoint.own_entity}"
    return f"{where}, {endpoint.attr}"


def _finding_table(findings: Sequence[GridFinding]) -> Table:
    table = _facts()
    for finding in findings:
        text = Text(f"{finding.name}: {finding.message}; {finding.treatment}")
        table.add_row(Text(finding.severity, style="yellow"), text)
    return table


def _facts() -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


class RunProgress:
    """A bar on standard error: what is done, slots per second, time left."""

    def __init__(self, name: str, *, shown: bool) -> None:
        self._name = name
        self._shown = shown
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> RunProgress:
        if self._shown:
            self._bar = _bar()
            self._task = self._bar.add_task(f"{self._name}: building", total=None)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            with suppress(OSError):  # the terminal may be gone
                self._bar.stop()

    def update(self, done: int, total: int) -> None:
        """Show that `done` of `total` slots are simulated."""
        if self._bar is None or self._task is None:
            return
        if self._bar.tasks[0].total is None:
            self._bar.reset(self._task, total=total, description=self._name)
        self._bar.update(self._task, completed=done)


class _SlotCountColumn(ProgressColumn):
    """Slots done of slots in all; nothing while the network is being built."""

    def render(self, task: Task) -> Text:
        return Text("" if task.total is None else f"{task.completed:,.0f}/{task.total:,.0f}")


class _SlotRateColumn(ProgressColumn):
    """Slots per second, over the last seconds."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} slots/s", style="cyan")


def _bar() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        _SlotCountColumn(),
        _SlotRateColumn(),
        TimeRemainingColumn(compact=True),
        console=error_output(),
        expand=True,
    )
