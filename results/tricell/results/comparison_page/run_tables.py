"""Tables of compared runs: what they are, what differs in their scenarios, their key figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tricell.results import layout
from tricell.results.comparison import ComparedRun, Comparison, FigureRow
from tricell.results.comparison_page.scenario_fields import differing_fields
from tricell.results.figure_names import figure_factor, figure_name, figure_unit
from tricell.results.report.look import LEVEL_NAMES
from tricell.results.report.parts import Cell, Part, PartTable
from tricell.results.report.run_data import RunData
from tricell.results.report.words import UNKNOWN, counted

RESIDUE = 1e-9
"""Figures and differences below this are rounding and count as none."""
HUNDRED = 100.0


def runs(comparison: Comparison, data: Sequence[RunData]) -> Part:
    """List the runs, and say what keeps them from being compared."""
    rows = [
        (
            f"{run.letter}: {run.path}",
            each.title,
            each.period,
            run.slots,
            run.agents,
            UNKNOWN if run.seed is None else str(run.seed),
            run.status,
        )
        for run, each in zip(comparison.runs, data, strict=True)
    ]
    headings = ("run", "scenario", "period", "slots", "customers", "seed", "status")
    return Part(
        "runs",
        "The runs",
        f"Differences are counted from {comparison.runs[0].letter}, the run named first.",
        rows=PartTable(headings, rows),
        notes=tuple(_doubts(comparison.runs)),
    )


def _doubts(found: Sequence[ComparedRun]) -> Iterator[str]:
    for run in found:
        if run.not_comparable:
            yield (
                f"Sums of {run.letter} cannot be compared with those of {found[0].letter} "
                f"({run.not_comparable}); shares can."
            )
        if run.warning:
            yield f"Differences are not the design's alone: {run.letter} has {run.warning}."


def scenarios(comparison: Comparison, data: Sequence[RunData]) -> Part:
    """List the fields in which the scenarios differ."""
    letters = [run.letter for run in comparison.runs]
    unknown = [letter for letter, each in zip(letters, data, strict=True) if not each.scenario]
    fields = differing_fields([each.scenario for each in data])
    rows = [
        (field, *(UNKNOWN if value is None else value for value in values))
        for field, values in fields
        if field != "description"
    ]
    notes = [f"The file of {letter} does not have its scenario as YAML." for letter in unknown]
    if not rows:
        notes.append("Nothing: the scenarios are the same.")
    return Part(
        "scenarios",
        "What differs in the scenarios",
        f"{counted(len(rows), 'field')} of the scenarios as they were run, defaults filled in; "
        f"{UNKNOWN} where a scenario does not have the field." if rows else "",
        rows=PartTable(("field", *letters), rows) if rows else None,
        notes=tuple(notes),
    )  # fmt: skip


def run_figures(comparison: Comparison) -> Part:
    """Set the key figures of the runs side by side."""
    rows = [row for row in comparison.figures if row.scope == layout.RUN_SCOPE]
    return _figure_part(
        comparison, "run_figures", "Key figures of the whole run", rows, scope_heading=""
    )


def level_figures(comparison: Comparison) -> Part:
    """Set the key figures of levels side by side."""
    rows = [row for row in comparison.part_figures if row.scope in layout.AREA_LEVELS]
    return _figure_part(
        comparison, "level_figures", "Key figures of each level", rows, scope_heading="level"
    )


def area_figures(comparison: Comparison) -> Part:
    """Set the key figures of areas side by side."""
    rows = [row for row in comparison.part_figures if row.scope not in layout.AREA_LEVELS]
    return _figure_part(
        comparison, "area_figures", "Key figures of each area", rows, scope_heading="area"
    )


def _figure_part(
    comparison: Comparison,
    key: str,
    title: str,
    rows: Sequence[FigureRow],
    *,
    scope_heading: str,
) -> Part:
    known = [row for row in rows if any(value is not None for value in row.values)]
    if not known:
        return Part(key, title, "", notes=("No run has any.",))
    first, *others = [run.letter for run in comparison.runs]
    headings = ["figure", *([scope_heading] if scope_heading else []), "unit", first]
    for letter in others:
        headings += [letter, f"{letter} − {first}", f"{letter} − {first}, %"]
    scope_names = LEVEL_NAMES if scope_heading else {}
    cells: list[list[Cell]] = [
        [
            figure_name(row.name),
            *([scope_names.get(row.scope, row.scope)] if scope_heading else []),
            figure_unit(row.name, row.unit),
            *_cells(row),
        ]
        for row in known
    ]
    areas = [row.scope for row in known] if scope_heading == "area" else []
    left_out = len({(row.scope, row.name) for row in rows}) - len(known)
    caption = (
        "Differences in the unit of the figure, and in percent of the first run. "
        f"{UNKNOWN}: undefined, or not comparable."
    )
    if left_out:
        caption += f" {counted(left_out, 'figure')} that no run defines "
        caption += "is left out." if left_out == 1 else "are left out."
    return Part(key, title, caption, rows=PartTable(headings, cells, areas))


def _cells(row: FigureRow) -> Iterator[Cell]:
    """Give the first run's figure, then those of the others with their differences."""
    factor = figure_factor(row.name)
    values = [None if value is None else factor * value for value in row.values]
    yield values[0]
    for number in range(1, len(values)):
        difference = row.differences[number]
        yield values[number]
        yield None if difference is None else rounded(factor * difference)
        yield change_percent(row, number)


def rounded(value: float) -> float:
    """Return 0 for what is only rounding."""
    return 0.0 if abs(value) < RESIDUE else value


def change_percent(row: FigureRow, number: int) -> float | None:
    """Return a difference in percent of the first run's figure; None where that is none."""
    first, difference = row.values[0], row.differences[number]
    if difference is None or first is None or abs(first) < RESIDUE:
        return None
    return HUNDRED * rounded(difference) / abs(first)


def provenance(comparison: Comparison, data: Sequence[RunData]) -> Part:
    """List what made each file, and the packages in which they differ."""
    facts: list[Mapping[str, str]] = []
    for each in data:
        source = each.results.provenance
        attributes = each.results.attrs
        packages = source.get("packages") or {}
        facts.append(
            {
                "written by": str(attributes.get("source", UNKNOWN)),
                "begun": str(attributes.get("date_created", UNKNOWN)),
                "run": str(attributes.get("run_id", UNKNOWN)),
                "commit": str(source.get("git_commit") or UNKNOWN),
                "scenario, SHA-256": str(attributes.get("scenario_sha256", UNKNOWN)),
                **{f"package {name}": str(version) for name, version in packages.items()},
            }
        )
    names = dict.fromkeys(name for each in facts for name in each)
    rows = [
        (name, *(each.get(name, UNKNOWN) for each in facts))
        for name in names
        if not name.startswith("package ") or len({each.get(name) for each in facts}) > 1
    ]
    same = not any(name.startswith("package ") for name, *_ in rows)
    return Part(
        "provenance",
        "What made the files",
        "",
        rows=PartTable(("", *(run.letter for run in comparison.runs)), rows),
        notes=("All were computed with the same versions of packages.",) if same else (),
    )
