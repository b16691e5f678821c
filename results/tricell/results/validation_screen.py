"""What `tricell validate` prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tricell.results import layout
from tricell.results.deviations import Deviation
from tricell.results.validation import Validation


def print_validation(checked: Validation, console: Console) -> None:
    """Print that a file follows the layout, or all that deviates."""
    schema = f"{layout.SCHEMA_NAME} {layout.SCHEMA_VERSION}"
    if checked.is_fine:
        console.print(Text(f"{checked.path} follows {schema}.", style="green"))
    else:
        number = len(checked.deviations)
        what = f"{number} deviation{'s' * (number > 1)} from {schema}"
        console.print(Text(f"{checked.path} has {what}.", style="red"))
        console.print(_table(checked.deviations))
    if checked.notes:
        text = f"It is of version {checked.schema_version}; this program does not know:"
        console.print(Text(text, style="yellow"))
        console.print(_table(checked.notes))
    size = checked.size
    console.print(
        f"Checked: {size.groups:,} groups, {size.datasets:,} datasets, {size.values:,} values, "
        f"{size.slots:,} slots; the run is {checked.status or 'without a status'}."
    )


def _table(deviations: Sequence[Deviation]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("where", "what", "found", "expected"):
        table.add_column(heading, overflow="fold")
    for each in deviations:
        table.add_row(*map(Text, (each.path, each.kind.value, each.found, each.expected)))
    return table
