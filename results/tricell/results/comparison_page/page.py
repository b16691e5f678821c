"""The page of a comparison: its head and its sections."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tricell.results import layout
from tricell.results.comparison import Comparison, FigureRow
from tricell.results.comparison_page import bill_parts, run_figures, run_tables
from tricell.results.comparison_page.run_tables import change_percent, rounded
from tricell.results.design_comparison import DesignComparison
from tricell.results.figure_names import figure_factor, figure_name, figure_unit
from tricell.results.output_file import write_whole
from tricell.results.reader import open_results
from tricell.results.report.page import area_choices
from tricell.results.report.parts import Part, PartTable, Section
from tricell.results.report.rendering import Highlight, Page, render
from tricell.results.report.run_data import RunData
from tricell.results.report.words import listed, number

HEADLINES = (
    "self_sufficiency",
    "energy_traded",
    "peak_import",
    "peak_export",
    "agents_pay",
    "limits_met_share",
)
"""Key figures at the head of a page of two runs, where they are known."""


def write_comparison(comparison: Comparison, output: Path) -> Path:
    """Write the page that compares runs, and return its path.

    Raises
    ------
    ResultsError
        If a file cannot be read any more, or the page cannot be written.
    """
    with ExitStack() as stack:
        data = [RunData(stack.enter_context(open_results(run.path))) for run in comparison.runs]
        content = render(run_page(comparison, data))
    return write_whole(output, content.encode("utf-8"))


def write_design_comparison(comparison: DesignComparison, output: Path) -> Path:
    """Write the page that compares two designs of a study, and return its path.

    Raises
    ------
    ResultsError
        If the page cannot be written.
    """
    return write_whole(output, render(design_page(comparison)).encode("utf-8"))


def run_page(comparison: Comparison, data: Sequence[RunData]) -> Page:
    """Return what stands on the page that compares runs."""
    runs = comparison.runs
    bills = [part for place in range(1, len(runs)) for part in _bills(comparison, data, place)]
    sections = (
        Section(
            "overview",
            "Overview",
            (
                run_tables.runs(comparison, data),
                run_tables.scenarios(comparison, data),
                run_figures.changes(comparison),
            ),
        ),
        Section(
            "markets",
            "Markets",
            (run_figures.prices(comparison, data), run_figures.traded(comparison, data)),
        ),
        Section("network", "Network", (run_figures.load_duration(comparison, data),)),
        Section("bills", "Bills", bills),
        Section(
            "figures",
            "Key figures",
            (
                run_tables.run_figures(comparison),
                run_tables.level_figures(comparison),
                run_tables.area_figures(comparison),
            ),
        ),
        Section("verdicts", "Verdicts", (run_figures.verdicts(comparison, data),)),
        Section("provenance", "Provenance", (run_tables.provenance(comparison, data),)),
    )
    return Page(
        title=_title(comparison, data),
        lead=f"{len(runs)} runs side by side; differences are counted from {runs[0].letter}.",
        facts=[(run.letter, run.path.name) for run in runs],
        banner=_banner(comparison),
        highlights=_highlights(comparison),
        sections=sections,
        areas=area_choices(data[0]) if comparison.part_figures else (),
    )


def _bills(comparison: Comparison, data: Sequence[RunData], place: int) -> list[Part]:
    letters = (comparison.runs[0].letter, comparison.runs[place].letter)
    change = comparison.changes[place - 1]
    if change is None:
        reason = comparison.runs[place].not_comparable or "the bills are not in both files"
        title = f"Bills in {letters[1]} against {letters[0]}"
        return [Part(f"bills_{letters[1]}", title, "", notes=(f"Not comparable: {reason}.",))]
    parts = [bill_parts.sorted_changes(data[0], data[place], letters)]
    if change.winners is not None:
        parts += [
            bill_parts.classes(change.winners, letters),
            bill_parts.components(change.winners, letters),
            bill_parts.losers(change.winners, letters),
        ]
    return parts


def _title(comparison: Comparison, data: Sequence[RunData]) -> str:
    titles = [each.title for each in data]
    names = (
        titles if len(set(titles)) == len(titles) else [run.path.stem for run in comparison.runs]
    )
    return f"{listed(names)} compared"


def _banner(comparison: Comparison) -> str:
    """Say which runs are not complete."""
    open_runs = [
        f"{run.letter} {'still goes on' if run.status == 'running' else 'failed'}"
        for run in comparison.runs
        if run.status != "complete"
    ]
    return f"Not all runs are complete: {listed(open_runs)}." if open_runs else ""


def _highlights(comparison: Comparison) -> list[Highlight]:
    """Return the main differences of two runs; of more there is no short word."""
    if len(comparison.runs) != 2:
        return []
    rows = {row.name: row for row in comparison.figures if row.scope == layout.RUN_SCOPE}
    known = [rows[name] for name in HEADLINES if name in rows]
    known = [row for row in known if row.differences[1] is not None]
    differing = [row for row in known if rounded(row.differences[1] or 0.0)]
    found = [_highlight(row) for row in differing]
    if len(differing) < len(known):
        same = [figure_name(row.name) for row in known if row not in differing]
        found.append(Highlight(f"{len(same)} of {len(known)}", "main figures are equal in both",
                               f"Equal: {listed(same)}."))  # fmt: skip
    change = comparison.changes[0]
    if change is not None:
        found.append(
            Highlight(
                f"{change.gaining:,} pay less",
                "customers, in B against A",
                f"{change.losing:,} pay more and {change.unchanged:,} the same.",
            )
        )
    return found


def _highlight(row: FigureRow) -> Highlight:
    factor, unit = figure_factor(row.name), figure_unit(row.name, row.unit)
    first, other, difference = (
        factor * (each or 0.0) for each in (row.values[0], row.values[1], row.differences[1])
    )
    percent = change_percent(row, 1)
    change = rounded(difference)
    sign = "+" if change > 0.0 else ""
    words = "no difference" if change == 0.0 else f"{sign}{number(change)} {_unit(unit, True)}"
    share = ""
    if percent is not None and change and unit != "%":
        share = f", {'+' if percent > 0.0 else ''}{number(percent)} %"
    return Highlight(
        words.strip(),
        figure_name(row.name),
        f"{number(first, 4)} {_unit(unit)} in A, {number(other, 4)} {_unit(unit)} in B{share}.",
    )


def _unit(unit: str, difference: bool = False) -> str:
    if unit == "%" and difference:
        return "points"
    return "" if unit == "-" else unit


def design_page(comparison: DesignComparison) -> Page:
    """Return what stands on the page that compares two designs of a study."""
    letters, seeds = ("A", "B"), len(comparison.seeds)
    winners = comparison.winners
    sections = (
        Section(
            "bills",
            "Bills",
            (
                bill_parts.classes(winners, letters, seeds),
                bill_parts.components(winners, letters),
                bill_parts.losers(winners, letters),
            ),
        ),
        Section("figures", "Key figures", (_design_figures(comparison),)),
    )
    everybody = winners.classes[0]
    designs = zip(letters, comparison.labels, comparison.designs, strict=True)
    return Page(
        title=f"{comparison.labels[0]} and {comparison.labels[1]} compared",
        lead=f"Two designs of the study {comparison.study}; differences are counted from A.",
        facts=[
            *((letter, _called(label, name)) for letter, label, name in designs),
            ("Closure", comparison.closure),
            ("Period", f"{comparison.days:g} days"),
            ("Seeds", ", ".join(str(seed) for seed in comparison.seeds)),
        ],
        banner=f"Note: {listed(comparison.warnings)}." if comparison.warnings else "",
        highlights=[
            Highlight(f"{everybody.better:,}", "customers pay less in B",
                      f"Of {everybody.customers:,} customers of all seeds."),
            Highlight(f"{everybody.worse:,}", "customers pay more in B",
                      f"{100.0 * everybody.hard_share:.0f} % of all are hit hard."),
            Highlight(f"{number(everybody.median_eur)} EUR/yr", "median change of a bill",
                      "Positive pays more in B."),
        ],
        sections=sections,
    )  # fmt: skip


def _called(label: str, name: str) -> str:
    return label if label == name else f"{label} ({name})"


def _design_figures(comparison: DesignComparison) -> Part:
    rows = []
    for each in comparison.figures:
        factor = figure_factor(each.name)
        before, after = factor * each.before, factor * each.after
        share = 100.0 * rounded(after - before) / abs(before) if abs(before) > 1e-9 else None
        name, unit = figure_name(each.name), figure_unit(each.name, each.unit)
        rows.append((name, unit, before, after, rounded(after - before), share))
    title = "Key figures, means over the seeds" if len(comparison.seeds) > 1 else "Key figures"
    headings = ("figure", "unit", "A", "B", "B − A", "B − A, %")
    notes = () if rows else ("The study has no key figures of both designs.",)
    table = PartTable(headings, rows) if rows else None
    return Part("design_figures", title, "", rows=table, notes=notes)
