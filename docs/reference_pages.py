"""Writes the reference pages from the code that they describe; a hook of MkDocs.

A page holds a marker such as ``<!-- reference: scenario -->``; the build puts the tables there. So
the pages cannot say anything else than `tricell.scenarios.schema`, `tricell.results.layout`,
`tricell.errors` and `tricell.markets.mechanism_registry` do. The pages at the top of the repository
are shown beside those of ``docs``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tricell.errors
from tricell.markets.mechanism_registry import KnownMechanism, known_mechanisms
from tricell.results import layout
from tricell.scenarios.field_guide import FieldGuide
from tricell.scenarios.mechanism_choice import parameter_lines
from tricell.scenarios.mechanism_screen import guarantee_words
from tricell.scenarios.schema import json_schema

ROOT = Path(__file__).parents[1]
SHOWN_FROM_THE_TOP = {"ARCHITECTURE.md": "architecture.md", "CHANGELOG.md": "changelog.md"}

FieldPath = tuple[str | int, ...]


def scenario_reference() -> str:
    """Return all sections of a scenario file, from its JSON Schema."""
    schema = json_schema()
    del schema["anyOf"]  # `extends` or all that is required: no matter for a list of fields
    guide = FieldGuide(schema)
    return "\n".join(_section(guide, (), {}))


def results_reference() -> str:
    """Return all groups, tables and attributes of a results file, from its layout."""
    parts = ["## Time series", ""]
    for group in layout.SERIES.values():
        shape = "`(time,)`" if group.name == layout.SLOT else f"`(time, {group.name})`"
        parts += [f"### `{layout.series_path(group.name)}`", "", f"{group.meaning}; {shape}", ""]
        parts += _variables(group.variables)
    parts += ["## Tables", ""]
    for table in layout.TABLES.values():
        parts += [f"### `{layout.table_path(table.name)}`", "", table.meaning, ""]
        parts += _variables(table.columns)
    parts += ["## Texts and attributes", ""]
    texts = [(f"`{layout.meta_path(name)}`", meaning) for name, meaning in layout.META.items()]
    parts += _table(("text", "meaning"), texts)
    attributes = [(f"`{each.name}`", each.meaning) for each in layout.ROOT_ATTRIBUTES]
    parts += _table(("attribute of `/`", "meaning"), attributes)
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


REFERENCES = {
    "mechanisms": mechanisms_reference,
    "scenario": scenario_reference,
    "results": results_reference,
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


def _title(path: FieldPath, data: Any) -> str:
    if not path:
        return "The file"
    text = ".".join(str(key) for key in path).replace(".0", "[]")
    for key in path:
        data = data[key]
    return f"`{text}`" + (f", kind `{data['kind']}`" if "kind" in data else "")


def _variables(variables: Iterable[layout.Variable]) -> Iterator[str]:
    rows = []
    for variable in variables:
        codes = "; ".join(f"{f.value} = {f.word}: {f.meaning}" for f in variable.flags)
        meaning = variable.meaning + (f" ({codes})" if codes else "")
        rows.append((f"`{variable.name}`", variable.dtype, variable.unit, meaning))
    return _table(("name", "type", "unit", "meaning"), rows)


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
