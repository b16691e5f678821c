"""Writes the reference pages from the code that they describe; a hook of MkDocs.

A page holds a marker such as ``<!-- reference: scenario -->``; the build puts the tables there. So
the pages cannot say anything else than `tricell.scenarios.schema`, `tricell.errors`,
`tricell.markets.mechanism_registry`, `tricell.markets.charge_registry`,
`tricell.markets.charge_preset` and `tricell.results.figure_list` do. The pages at the top of the
repository are shown beside those of ``docs``.

The page of the results file is whole without a build: ``python docs/reference_pages.py`` writes its
tables anew from `tricell.results.layout`.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from ruamel.yaml import YAML

import tricell.errors
from tricell.markets.charge import Charge, SlotCharge
from tricell.markets.charge_preset import ChargePreset, known_presets
from tricell.markets.charge_registry import KnownCharge, known_charges
from tricell.markets.mechanism_registry import KnownMechanism, known_mechanisms
from tricell.markets.metered_power import PowerCharge
from tricell.markets.section_14a import module_3_prices
from tricell.markets.time_windows import Window
from tricell.results import layout_text
from tricell.results.figure_list import FAMILIES, NOT_RECORDED, FigureDefinition
from tricell.results.layout import SCOPE_KINDS
from tricell.scenarios.charge_choice import PresetEntry
from tricell.scenarios.distribution_choice import DISTRIBUTIONS
from tricell.scenarios.field_guide import FieldGuide
from tricell.scenarios.mechanism_choice import parameter_lines
from tricell.scenarios.mechanism_screen import guarantee_words
from tricell.scenarios.schema import json_schema

ROOT = Path(__file__).parents[1]
RESULTS_FILE_PAGE = Path(__file__).with_name("results_file.md")
SHOWN_FROM_THE_TOP = {"ARCHITECTURE.md": "architecture.md", "CHANGELOG.md": "changelog.md"}

FieldPath = tuple[str | int, ...]
Rows = list[tuple[str, ...]]

PARAMETER_HEADER = ("parameter", "allowed", "meaning")
LINE_LENGTH = 90
ELSEWHERE = {"charges": "[charges and presets](charges.md)"}
"""Fields of a scenario whose sections have a page of their own."""
DISTRIBUTION_KINDS = {str(model.model_fields["kind"].default) for model in DISTRIBUTIONS}


def scenario_reference() -> str:
    """Return all sections of a scenario file, from its JSON Schema."""
    schema = json_schema()
    del schema["anyOf"]  # `extends` or all that is required: no matter for a list of fields
    guide = FieldGuide(schema)
    parts = [*_section(guide, (), {}), "## Distributions", ""]
    parts += [
        "What a quantity of many devices is drawn from, by the seed and each device's name.",
        "",
    ]
    for model in DISTRIBUTIONS:
        kind = model.model_fields["kind"].default
        parts += [f"### `kind: {kind}`", "", inspect.cleandoc(model.__doc__ or ""), ""]
        parts += _table(PARAMETER_HEADER, _parameters(model))
    return "\n".join(parts)


def errors_reference() -> str:
    """Return the exceptions of tricell with what they mean."""
    return "\n".join(_errors(tricell.errors.TricellError, 0))


def mechanisms_reference() -> str:
    """Return all mechanisms of tricell with their parameters, from the registry."""
    known = [each for each in known_mechanisms().values() if each.origin == "tricell"]
    parts = [
        "### Markets for one slot",
        "",
        "Use: in scenarios, with `tricell clear`, from Python.",
    ]
    parts += ["", *_mechanism_table([each for each in known if each.parameters is not None])]
    parts += ["### Library functions", "", "Use: from Python."]
    parts += ["", *_mechanism_table([each for each in known if each.parameters is None])]
    parts += ["### Parameters", ""]
    for each in known:
        rows = parameter_lines(each.parameters) if each.parameters is not None else []
        if rows:
            parts += [f"#### `{each.about.name}`", ""]
            named = [(f"`{name}`", allowed, meaning) for name, allowed, meaning in rows]
            parts += _table(("parameter", "allowed", "meaning"), named)
    return "\n".join(parts)


def charges_reference() -> str:
    """Return all network charges of tricell with their parameters, from the registry."""
    known = [each for each in known_charges().values() if each.origin == "tricell"]
    header = ("charge", "what it does", "base", "settled", "agents know", "source")
    parts = ["## All charges", "", *_table(header, [_charge_row(each) for each in known])]
    common = [(n, a, m) for n, a, m in _parameters(PowerCharge) if n != "`interval_minutes`"]
    parts += ["## Parameters", "", "### Of every charge", "", *_table(PARAMETER_HEADER, common)]
    for each in known:
        rows = [row for row in _parameters(each.parameters) if row not in common]
        parts += [f"### `{each.about.name}`", "", each.about.line, ""]
        parts += _table(PARAMETER_HEADER, rows) if rows else ["No further parameters.", ""]
    parts += ["### A window of a band", "", "An entry of `windows`.", ""]
    parts += _table(PARAMETER_HEADER, _parameters(Window))
    return "\n".join(parts)


def presets_reference() -> str:
    """Return all presets with country, year, quality, sources and prices, from their files."""
    presets = known_presets().values()
    header = ("preset", "where", "year", "what it is", "quality", "to choose")
    parts = ["## All presets", "", *_table(header, [_preset_row(each) for each in presets])]
    quality = FieldGuide(ChargePreset.model_json_schema()).meaning(("quality",), {})
    parts += [quality, "", "### In a scenario", "", "An entry of `charges` with a preset:", ""]
    parts += _table(PARAMETER_HEADER, _parameters(PresetEntry))
    for each in presets:
        parts += _preset(each)
    return "\n".join(parts)


def operators_reference() -> str:
    """Return the prices of module 3 of all operators, with the addresses of their price sheets."""
    rows = []
    for each in module_3_prices().values():
        prices = tuple(f"{100.0 * price:.2f}" for price in (each.low, each.standard, each.high))
        rows.append((f"[{each.operator}]({each.url})", *prices))
    return "\n".join(_table(("operator, price sheet", "NT", "ST", "HT"), rows))


def key_figures_reference() -> str:
    """Return all key figures of a run, and those that it cannot tell, from their list."""
    header = ("figure", "unit", "of", "what it tells", "formula", "undefined if", "source")
    parts = []
    for family, figures in FAMILIES.items():
        parts += [f"## {family}", "", *_table(header, map(_figure_row, figures))]
    parts += ["## Not recorded", "", "Key figures of other programs that a run does not know:", ""]
    parts += _table(("figure", "why"), NOT_RECORDED.items())
    return "\n".join(parts)


REFERENCES = {
    "key_figures": key_figures_reference,
    "charges": charges_reference,
    "presets": presets_reference,
    "operators": operators_reference,
    "mechanisms": mechanisms_reference,
    "scenario": scenario_reference,
    "errors": errors_reference,
}


def on_files(files: Any, config: Any) -> Any:
    """Add the pages at the top of the repository (called by MkDocs)."""
    from mkdocs.structure.files import File  # noqa: PLC0415 (tests import this without MkDocs)

    for source, page in SHOWN_FROM_THE_TOP.items():
        text = (ROOT / source).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the references in the place of their markers (called by MkDocs)."""
    for name, reference in REFERENCES.items():
        marker = f"<!-- reference: {name} -->"
        if marker in markdown:
            markdown = markdown.replace(marker, reference())
    return markdown


def _section(guide: FieldGuide, path: FieldPath, data: Any) -> Iterator[str]:
    """Yield the table of a section's fields, then the sections inside it."""
    yield f"## {_title(path, data)}"
    yield ""
    if path and (meaning := guide.meaning(path, data)):
        yield from (meaning, "")
    rows, inner = [], []
    for name in guide.field_names(path, data):
        child = (*path, name)
        if name in ELSEWHERE and not path:
            rows.append((f"`{name}`", f"a list of {ELSEWHERE[name]}", guide.meaning(child, data)))
            continue
        if set(guide.kinds(child, data)) == DISTRIBUTION_KINDS:
            allowed = "a number or a [distribution](#distributions)"
            rows.append((f"`{name}`", allowed, guide.meaning(child, data)))
            continue
        sections = _sections_inside(guide, child, data)
        inner += sections
        allowed = guide.allowed(child, data)
        if sections:
            kinds = [each["kind"] for _, each in sections if "kind" in each]
            one = "a list of sections" if isinstance(sections[0][0][-1], int) else "a section"
            allowed = one + (f", `kind:` {', '.join(kinds)}" if kinds else "")
        rows.append((f"`{name}`", allowed, guide.meaning(child, data)))
    yield from _table(("field", "allowed", "meaning, unit (default)"), rows)
    for child, chosen in inner:
        yield from _section(guide, child, _placed(data, child, chosen))


def _sections_inside(
    guide: FieldGuide, path: FieldPath, data: Any
) -> list[tuple[FieldPath, dict[str, str]]]:
    """Find the sections that a field holds, one for each kind; none for a plain field."""
    is_list = "array" in guide.types(path, data)
    place = (*path, 0) if is_list else path
    kinds = guide.kinds(place, data)
    if kinds:
        return [(place, {"kind": kind}) for kind in kinds]
    return [(place, {})] if guide.field_names(place, data) else []


def _placed(data: Any, path: FieldPath, value: dict[str, str]) -> Any:
    """Return the data with a value at a path; lists have one entry."""
    if not path:
        return value
    key, rest = path[0], path[1:]
    if isinstance(key, int):
        return [_placed(data[0] if isinstance(data, list) else {}, rest, value)]
    inside = dict(data) if isinstance(data, dict) else {}
    inside[key] = _placed(inside.get(key, {}), rest, value)
    return inside


def _mechanism_table(known: Iterable[KnownMechanism]) -> Iterator[str]:
    rows = []
    for mechanism in known:
        about = mechanism.about
        words = guarantee_words(about.guarantees)
        note = about.guarantees.note if about.guarantees is not None else ""
        promises = f"{words} ({note})" if note else words
        rows.append((f"`{about.name}`", about.line, promises, about.source))
    return _table(("name", "what it does", "guarantees", "source"), rows)


def _parameters(model: type[BaseModel]) -> Rows:
    """Return name, what is allowed and meaning of every field of a model."""
    schema = model.model_json_schema()
    guide = FieldGuide(schema)
    rows: Rows = []
    for name, field in schema["properties"].items():
        if name == "kind":
            continue
        by_name = "additionalProperties" in field
        allowed = "a table by names" if by_name else guide.allowed((name,), {})
        rows.append((f"`{name}`", allowed, guide.meaning((name,), {})))
    return rows


def _figure_row(figure: FigureDefinition) -> tuple[str, ...]:
    scopes = "all" if figure.scopes == SCOPE_KINDS else ", ".join(figure.scopes)
    name, formula = f"`{figure.name}`", f"`{figure.formula}`"
    return (name, figure.unit, scopes, figure.meaning, formula, figure.undefined, figure.source)


def _charge_row(charge: KnownCharge) -> tuple[str, ...]:
    about, kind = charge.about, charge.parameters
    settled = "per slot" if issubclass(kind, SlotCharge) else "per period"
    known = []
    if kind.rates is not Charge.rates:
        known.append("EUR/kWh")
    if kind.peak_signal is not Charge.peak_signal:
        known.append("EUR/kW")
    seen = ", ".join(known) or "nothing"
    name = f"[`{about.name}`](#{about.name})"
    return (name, about.line, about.base, settled, seen, about.source)


def _preset_row(preset: ChargePreset) -> tuple[str, ...]:
    name = f"[`{preset.name}`](#{preset.name})"
    choice = f"`{preset.parameter.name}`" if preset.parameter is not None else ""
    return (name, preset.country, str(preset.year), preset.line, preset.quality, choice)


def _preset(preset: ChargePreset) -> Iterator[str]:
    """Yield what a preset is, what was assumed, where it is from, and its charges."""
    yield from (f"### `{preset.name}`", "", preset.description.strip(), "")
    yield from (f"Prices of {preset.year}, net of VAT. Quality: {preset.quality}.", "")
    chosen = ""
    if preset.parameter is not None:
        name, default = preset.parameter.name, preset.parameter.default
        listed = "those of the table below" if preset.parameter.table else ", ".join(preset.choices)
        yield from (f"To choose, `{name}`: {preset.parameter.meaning}.", "")
        yield from (f"Allowed: {listed}; without it {default}.", "")
        chosen = f" of `{name}: {default}`"
    if preset.assumptions:
        yield from ("Assumptions:", "", *(f"* {each.strip()}" for each in preset.assumptions), "")
    yield from ("Sources:", "")
    for source in preset.sources:
        yield f"* [{source.name}]({source.url})" if source.url else f"* {source.name}"
    yield ""
    if preset.published:
        yield from ("As published:", "", "```yaml", *_yaml(preset.published), "```", "")
    yield from (f"Charges{chosen}:", "", "```yaml", *_yaml({"charges": preset.charges}), "```", "")


def _yaml(table: Mapping[str, Any]) -> Iterator[str]:
    """Yield plain data as YAML: tables of tables field by field, anything else on one line."""
    for key, value in table.items():
        inner = value.values() if isinstance(value, dict) else value
        tables = isinstance(value, dict | list | tuple) and any(isinstance(v, dict) for v in inner)
        if not tables:
            yield _flow({key: value})[1:-1]
        elif isinstance(value, dict):
            yield f"{key}:"
            yield from (f"  {line}" for line in _yaml(value))
        else:
            yield f"{key}:"
            for entry in value:
                short = _flow(entry)
                lines = [short] if len(short) < LINE_LENGTH else list(_yaml(entry))
                yield from (("  - ", "    ")[row > 0] + line for row, line in enumerate(lines))


def _flow(data: Any) -> str:
    """Write plain data as one line of YAML."""
    writer, text = YAML(typ="safe", pure=True), io.StringIO()
    writer.default_flow_style, writer.width = True, 10_000
    writer.sort_base_mapping_type_on_output = False
    writer.dump(data, text)
    return text.getvalue().strip()


def _title(path: FieldPath, data: Any) -> str:
    if not path:
        return "The file"
    text = ".".join(str(key) for key in path).replace(".0", "[]")
    for key in path:
        data = data[key]
    return f"`{text}`" + (f", kind `{data['kind']}`" if "kind" in data else "")


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield from (_row(header), _row(("---",) * len(header)))
    yield from (_row(row) for row in rows)
    yield ""


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _errors(kind: type[Exception], depth: int) -> Iterator[str]:
    meaning = (kind.__doc__ or "").splitlines()[0]
    yield f"{'    ' * depth}* **{kind.__name__}**: {meaning}"
    for each in kind.__subclasses__():
        if each.__module__ == tricell.errors.__name__:
            yield from _errors(each, depth + 1)


def write_results_file_page() -> None:
    """Write the parts of the page of the results file that say what its layout is."""
    text = RESULTS_FILE_PAGE.read_text(encoding="utf-8")
    RESULTS_FILE_PAGE.write_text(layout_text.filled(text), encoding="utf-8")


if __name__ == "__main__":
    write_results_file_page()
