"""The report of a run: its head and its sections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from tricell.results.output_file import write_whole
from tricell.results.reader import open_results
from tricell.results.report import look
from tricell.results.report.figures_bills import bill_components, savings
from tricell.results.report.figures_contracts import (
    forecast_errors,
    has_imbalance,
    has_services,
    imbalance,
    service_power,
    service_table,
)
from tricell.results.report.figures_devices import (
    comfort,
    device_power,
    device_table,
    has_devices,
    misses,
    storage_levels,
)
from tricell.results.report.figures_market import energy_flows, price_heat_map, prices
from tricell.results.report.figures_network import load_duration, voltage_heat_map
from tricell.results.report.grid_map import grid_map
from tricell.results.report.hierarchy import hierarchy
from tricell.results.report.parts import Part, Section
from tricell.results.report.rendering import AreaChoice, Highlight, Page, render
from tricell.results.report.run_data import RunData
from tricell.results.report.tables import (
    area_table,
    binding_elements,
    key_figures,
    provenance,
    slot_verdicts,
    warnings,
)
from tricell.results.report.words import counted, energy, euros, listed, number, percent
from tricell.results.run_summary import Extreme, GridSummary, RunSummary, summary_of

SAME_EUR = 0.005
"""Half a cent: sums that differ by less are the same."""
Draw: TypeAlias = Callable[[RunData], Part | None]

SECTIONS: Sequence[tuple[str, str, Sequence[Draw]]] = (
    ("areas", "Areas", (hierarchy, area_table)),
    ("grid", "Grid", (grid_map,)),
    ("markets", "Markets", (prices, energy_flows, price_heat_map)),
    ("network", "Network", (load_duration, voltage_heat_map)),
    ("bills", "Bills", (savings, bill_components)),
    (
        "devices",
        "Devices",
        (device_power, storage_levels, comfort, device_table, misses),
    ),
    ("forecasts", "Forecasts and imbalance", (imbalance, forecast_errors)),
    ("services", "Services", (service_power, service_table)),
    ("figures", "Key figures", (key_figures,)),
    ("verdicts", "Verdicts", (slot_verdicts, binding_elements, warnings)),
    ("provenance", "Provenance", (provenance,)),
)
"""Slug, name and figures of the sections, in the order of the page."""
SHOWN_IF: Mapping[str, Callable[[RunData], bool]] = {
    "devices": has_devices,
    "forecasts": has_imbalance,
    "services": has_services,
}
"""Sections that stand on the page only if the run has what they are about."""


def write_page(path: Path, output: Path) -> Path:
    """Write the report of a run, see `tricell.results.report.write_report`."""
    with open_results(path) as results:
        page = run_page(RunData(results), summary_of(results))
    return write_whole(output, render(page).encode())


def run_page(data: RunData, summary: RunSummary) -> Page:
    """Return what stands on the page of a run."""
    return Page(
        title=data.title,
        lead=data.description,
        facts=_facts(data),
        banner=banner(data, summary.failure_message),
        highlights=highlights(data, summary),
        areas=area_choices(data),
        sections=[
            Section(slug, name, [part for draw in draws if (part := draw(data)) is not None])
            for slug, name, draws in SECTIONS
            if SHOWN_IF.get(slug, _always)(data)
        ],
    )


def _always(data: RunData) -> bool:
    return True


def _facts(data: RunData) -> list[tuple[str, str]]:
    counts = (
        counted(len(data.areas), "area"),
        counted(len(data.agents), "customer"),
        counted(len(data.buses), "bus", "buses"),
        counted(len(data.lines), "line"),
        counted(len(data.trafos), "transformer"),
    )
    return [("Period", data.period), ("Status", data.status), ("Size", ", ".join(counts))]


def banner(data: RunData, failure: str) -> str:
    """Say that a run is not complete, and how far it is; "" where it is."""
    done = f"{data.slots_done:,} of {counted(data.slots_planned, 'slot')}"
    if data.status == "running":
        return (
            f"This run is still going on: {done} are done. What is made at the end of a run, such "
            "as bills and key figures, is not there yet."
        )
    if data.status == "failed":
        return f"This run failed after {done}. {failure}".strip()
    return ""


def area_choices(data: RunData) -> list[AreaChoice]:
    """Return the areas, each followed by those inside it."""
    choices: list[AreaChoice] = []

    def add(parent: str, depth: int) -> None:
        for row in data.areas.loc[data.areas["parent"] == parent].to_dict("records"):
            area = str(row["area"])
            level = look.LEVEL_NAME[str(row["level"])]
            label = f"{row.get('name') or area}, {level}"
            choices.append(AreaChoice(area, label, depth, data.inside(area)))
            add(area, depth + 1)

    add("", 0)
    return choices


def highlights(data: RunData, summary: RunSummary) -> list[Highlight]:
    """Return the headline figures that the run has."""
    found = (
        _limits(summary.grid),
        _traded(summary),
        _saving(summary),
        _self_sufficiency(data),
        _voltage(data, summary.grid),
        _loading(data, summary.grid),
    )
    return [each for each in found if each is not None]


def _limits(grid: GridSummary | None) -> Highlight | None:
    if grid is None or grid.slots_met is None:
        return None
    broken = (grid.slots_broken or 0) + (grid.slots_without_solution or 0)
    whole = grid.slots_met + broken
    if not whole:
        return None
    if broken:
        unsolved = (
            f", {grid.slots_without_solution:,} of them without an AC solution"
            if grid.slots_without_solution
            else ""
        )
        sentence = f"The AC power flow breaks a limit in {counted(broken, 'slot')}{unsolved}."
    else:
        sentence = "The AC power flow proves that voltages and loadings stay inside their limits."
    if grid.slots_met_by_reclearing:
        sentence += (
            f" In {counted(grid.slots_met_by_reclearing, 'slot')} the market had to clear again."
        )
    return Highlight(
        f"{grid.slots_met:,} of {whole:,}",
        "slots with all limits kept",
        sentence,
        "bad" if broken else "good",
    )


def _traded(summary: RunSummary) -> Highlight | None:
    if not summary.levels:
        return None
    whole = sum(level.traded_kwh for level in summary.levels)
    parts = [
        f"{energy(level.traded_kwh)} "
        + (
            f"in {counted(level.areas, look.LEVEL_NAME[level.level])}"
            if level.areas > 1
            else f"in the {look.LEVEL_NAME[level.level]}"
        )
        for level in summary.levels
    ]
    sentence = f"That is {listed(parts)}." if whole else "Nobody bought from a peer on any level."
    return Highlight(energy(whole), "traded locally", sentence)


def _saving(summary: RunSummary) -> Highlight | None:
    bills = summary.bills
    if bills is None:
        return None
    if abs(bills.saving_eur) < SAME_EUR and not bills.losing_agents:
        return Highlight(euros(0.0), "saved by trading", "All bills are as without trading.")
    gains = bills.saving_eur >= 0.0
    losing = (
        "nobody loses"
        if not bills.losing_agents
        else f"{counted(bills.losing_agents, 'customer')} of {bills.agents:,} would have paid less"
        " without"
    )
    return Highlight(
        euros(abs(bills.saving_eur)),
        "saved by trading" if gains else "lost by trading",
        f"All bills come to {euros(bills.total_eur)} instead of "
        f"{euros(bills.no_trading_total_eur)} without trading. The median customer "
        f"{'saves' if bills.median_saving_eur >= 0.0 else 'loses'} "
        f"{euros(abs(bills.median_saving_eur))}; {losing}.",
        "good" if gains else "bad",
    )


def _self_sufficiency(data: RunData) -> Highlight | None:
    value = data.figure("self_sufficiency")
    if value is None:
        return None
    return Highlight(
        percent(value),
        "self-sufficient",
        "This share of the load is met without import from above."
        if value >= 0.0
        else "More was imported from above than the load took; batteries took the rest.",
    )


def _voltage(data: RunData, grid: GridSummary | None) -> Highlight | None:
    if grid is None or grid.vm_min is None or grid.vm_max is None:
        return None
    low, high = grid.vm_min, grid.vm_max
    return Highlight(
        f"{low.value:.3f} to {high.value:.3f} pu",
        "lowest and highest voltage",
        f"Lowest at {_where(data, low)}, highest at {_where(data, high)}.",
    )


def _loading(data: RunData, grid: GridSummary | None) -> Highlight | None:
    found = [
        (extreme, kind)
        for extreme, kind in (
            ((grid.line, "line"), (grid.trafo, "transformer")) if grid is not None else ()
        )
        if extreme is not None
    ]
    if not found:
        return None
    worst, kind = max(found, key=lambda each: each[0].value)
    others = [
        f"The highest loading of a {name} is {number(each.value, 4)} %."
        for each, name in found
        if name != kind
    ]
    sentence = f"The {kind} {_where(data, worst)}. " + " ".join(others)
    return Highlight(f"{number(worst.value, 4)} %", "highest loading", sentence.strip())


def _where(data: RunData, extreme: Extreme) -> str:
    time = extreme.time.tz_convert(str(data.results.attrs["time_zone_local"]))
    element = f"{extreme.element}, " if extreme.element else ""
    return f"{element}{time.day} {time:%b %Y %H:%M}"
