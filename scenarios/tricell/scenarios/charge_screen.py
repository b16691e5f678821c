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
    console.print(section_rule(CHARGES))
    console.print(_charge_table(charges.values(), _width(charges), is_wide))
    console.print(section_rule(PRESETS))
    console.print(_preset_table(presets.values(), _width(presets), is_wide))


def _width(names: Iterable[str]) -> int:
    return max((len(name) for name in names), default=0)


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
    if is_wide:
        table.add_column("country", no_wrap=True)
        table.add_column("year", no_wrap=True)
        table.add_column("what it is", ratio=4)
        table.add_column("quality", no_wrap=True)
        table.add_column("source", ratio=3)
    else:
        table.add_column("where, quality", width=14, no_wrap=True)
        table.add_column("what it is", ratio=1)
    for preset in presets:
        table.add_row(*(_wide_cells(preset) if is_wide else _narrow_cells(preset)))
        table.add_row()
    return table


def _wide_cells(preset: ChargePreset) -> list[Text]:
    return [
        Text(preset.name, style="bold"),
        Text(preset.country),
        Text(str(preset.year)),
        _what(preset),
        _quality(preset),
        Text("; ".join(source.name for source in preset.sources), style="dim"),
    ]


def _narrow_cells(preset: ChargePreset) -> list[Text]:
    where = Text(f"{preset.country} {preset.year}\n").append_text(_quality(preset))
    return [Text(preset.name, style="bold"), where, _what(preset)]


def _quality(preset: ChargePreset) -> Text:
    return Text(preset.quality, style="yellow" if preset.quality in DOUBTFUL else "")


def _what(preset: ChargePreset) -> Text:
    what = Text(preset.line)
    if preset.parameter is not None:
        what.append(f"\n{preset.parameter.name}: {_choices(preset)}", style="cyan")
    return what


def _choices(preset: ChargePreset) -> str:
    default, *others = preset.choices
    if len(others) >= CHOICES_SHOWN:
        return f"one of {len(others) + 1}, default {default}"
    return f"{', '.join([default, *others])}; default {default}"
