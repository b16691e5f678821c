"""What the command line shows of network charges: the charges, then the published presets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tricell.markets.charge_preset import ChargePreset
from tricell.markets.charge_registry import KnownCharge
from tricell.scenarios.screen import section_rule

WIDE = 110
"""From this many columns on, sources stand beside the lines, not below them."""
OWN = "tricell"
CHARGES = "Network charges: use as {kind: NAME, ...} under `charges` of a scenario"
PRESETS = "Presets: use as {preset: NAME} under `charges` of a scenario; prices net of VAT"
CHOICES_SHOWN = 4
DOUBTFUL = frozenset({"low", "placeholder"})
"""Qualities of prices that nobody should publish unchecked."""


def show_charges(
    console: Console, charges: Mapping[str, KnownCharge], presets: Mapping[str, ChargePreset]
) -> None:
    """Print all charges and all presets; for terminals of 80 columns and more."""
    is_wide = console.width >= WIDE
    name_width = max((len(name) for name in (*charges, *presets)), default=0)
    console.print(section_rule(CHARGES))
    console.print(_charge_table(charges.values(), name_width, is_wide))
    console.print(section_rule(PRESETS))
    console.print(_preset_table(presets.values(), name_width, is_wide))


def _table(first: str, name_width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, expand=True)
    table.add_column(first, no_wrap=True, min_width=name_width)
    return table


def _charge_table(charges: Iterable[KnownCharge], name_width: int, is_wide: bool) -> Table:
    table = _table("charge", name_width)
    table.add_column("billed on", ratio=2)
    table.add_column("what it does", ratio=4)
    if is_wide:
        table.add_column("source", ratio=3)
    for charge in charges:
        about = charge.about
        what = Text(about.line)
        if charge.origin != OWN:
            what.append(f"\nfrom the package {charge.origin}", style="yellow")
        cells = [Text(about.name, style="bold"), Text(about.base), what]
        table.add_row(*cells, *([Text(about.source, style="dim")] if is_wide else []))
        table.add_row()
    return table


def _preset_table(presets: Iterable[ChargePreset], name_width: int, is_wide: bool) -> Table:
    table = _table("preset", name_width)
    table.add_column("country", no_wrap=True)
    table.add_column("year", no_wrap=True)
    table.add_column("what it is", ratio=4)
    table.add_column("quality", width=11, no_wrap=True)
    if is_wide:
        table.add_column("source", ratio=3)
    for preset in presets:
        table.add_row(*_preset_cells(preset, is_wide))
        table.add_row()
    return table


def _preset_cells(preset: ChargePreset, is_wide: bool) -> list[Text]:
    what = Text(preset.line)
    if preset.parameter is not None:
        what.append(f"\n{preset.parameter.name}: {_choices(preset)}", style="cyan")
    cells = [
        Text(preset.name, style="bold"),
        Text(preset.country),
        Text(str(preset.year)),
        what,
        Text(preset.quality, style="yellow" if preset.quality in DOUBTFUL else ""),
    ]
    source = Text("; ".join(each.name for each in preset.sources), style="dim")
    return [*cells, source] if is_wide else cells


def _choices(preset: ChargePreset) -> str:
    rest = len(preset.choices) - CHOICES_SHOWN
    shown = ", ".join(preset.choices[:CHOICES_SHOWN])
    return f"{shown} (default {preset.choices[0]})" if rest <= 0 else f"{shown} and {rest} more"
