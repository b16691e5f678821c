"""The summary that `tricell run` ends with, for terminals of 80 columns and more.

`summarise` reads it from the results file, `print_summary` prints it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from tricell.results.run_summary import (
    SILENT_KWH,
    BillSummary,
    ChargeSummary,
    DeviceSummary,
    Extreme,
    FlexibilitySummary,
    GridSummary,
    LevelSummary,
    MarketSummary,
    RunSummary,
    TimingSummary,
    WarningSummary,
    summarise,
)

__all__ = ["RunSummary", "print_summary", "summarise"]

GOOD, BAD, NOTE = "green", "bold red", "yellow"
UNKNOWN = "-"


def print_summary(summary: RunSummary, console: Console) -> None:
    """Print the summary; made for terminals of 80 columns and more."""
    _print_head(summary, console)
    if summary.levels:
        _print_section(console, "Energy by level", _level_table(summary.levels))
        console.print(_balance_line(summary.levels))
    if summary.market is not None:
        _print_section(console, "Markets level by level", _market_table(summary.market))
    if summary.grid is not None:
        _print_section(console, "Grid", _grid_table(summary.grid, summary.slots))
    if summary.bills is not None:
        _print_section(console, "Bills against no trading", _bill_table(summary.bills))
    if summary.flexibility.devices:
        _print_section(console, "Devices", _device_table(summary.flexibility.devices))
    if facts := _flexibility_facts(summary.flexibility):
        _print_section(console, "Flexibility over time", facts)
    if summary.charges:
        _print_section(console, "Network charges", _charge_table(summary.charges))
    if summary.timings:
        _print_section(console, "Where the time went", _timing_table(summary.timings))
    if summary.warnings:
        _print_section(console, "Warnings", _warning_table(summary.warnings))
    console.print()
    console.print(Text("Results: ").append(str(summary.path), style="bold"), soft_wrap=True)


def _print_head(summary: RunSummary, console: Console) -> None:
    style = {"complete": GOOD, "failed": BAD}.get(summary.status, NOTE)
    console.print()
    title = Text(f"{summary.run_id}: ", style="bold").append(summary.status, style=style)
    if summary.first is not None and summary.last is not None:
        slots = f"{summary.slots:,}"
        if summary.slots != summary.slots_planned:
            slots += f" of {summary.slots_planned:,}"
        title.append(f", {slots} slots, {_moment(summary.first)} to {_moment(summary.last)} UTC")
    console.print(title)
    if summary.failure_message:
        console.print(Text(summary.failure_message, style=BAD))


def _print_section(console: Console, title: str, body: Table) -> None:
    console.print()
    console.print(Rule(Text(title, style="bold"), align="left", style="dim"))
    console.print(Padding(body, (0, 0, 0, 1), expand=False))


def _table(*headings: str, numbers_from: int = 1) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    for position, heading in enumerate(headings):
        is_number = position >= numbers_from
        table.add_column(heading, justify="right" if is_number else "left", no_wrap=is_number)
    return table


def _facts() -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    return table


def _level_table(levels: Sequence[LevelSummary]) -> Table:
    table = _table(
        "level",
        "areas",
        "traded\nkWh",
        "residual\nkWh",
        "unsold\nkWh",
        "unserved\nkWh",
        "mean price\nEUR/kWh",
    )
    table.columns[0].no_wrap = True
    for level in levels:
        price = level.price_eur_per_kwh
        table.add_row(
            level.level,
            f"{level.areas}",
            _energy(level.traded_kwh),
            _energy(level.residual_kwh),
            Text(_energy(level.unsold_kwh), style=_if_any(level.unsold_kwh, NOTE)),
            Text(_energy(level.unserved_kwh), style=_if_any(level.unserved_kwh, BAD)),
            UNKNOWN if price is None else f"{price:.4f}",
        )
    return table


def _balance_line(levels: Sequence[LevelSummary]) -> Text:
    """Say in words what stayed unsold or unserved, and that nothing did where nothing did."""
    words = Text(" ")
    for what, style in (("unserved", BAD), ("unsold", NOTE)):
        amounts = {level.level: getattr(level, f"{what}_kwh") for level in levels}
        found = [f"{_energy(kwh)} kWh ({name})" for name, kwh in amounts.items() if _any(kwh)]
        if found:
            words.append(f"{what.capitalize()}: {', '.join(found)}. ", style=style)
        elif any(np.isnan(kwh) for kwh in amounts.values()):
            words.append(f"{what.capitalize()} energy was not recorded. ", style=NOTE)
        else:
            words.append(f"No energy stayed {what}. ", style=GOOD)
    return words


def _market_table(market: MarketSummary) -> Table:
    table = _facts()
    table.add_row("gain from trade", _euros(market.gain_eur))
    share = "" if market.welfare_share is None else f"{market.welfare_share:.1%} of "
    lower = market.slots_below_99_percent
    where = f"; below 99 % in {lower:,} slots" if lower else ""
    table.add_row("joint optimum", f"{share}{_euros(market.optimal_gain_eur)}{where}")
    if _any(market.redispatch_kwh):
        moved = f"{_energy(market.redispatch_kwh)} kWh moved by the network operator"
        table.add_row("redispatch", f"{moved} for {_euros(market.redispatch_cost_eur)}")
    if abs(market.operators_keep_eur) >= 0.005:
        table.add_row("operators keep", _euros(market.operators_keep_eur))
    if market.unfinished_markets:
        text = f"{market.unfinished_markets:,} markets, left to the level above"
        table.add_row("not converged", Text(text, style=BAD))
    return table


def _grid_table(grid: GridSummary, slots: int) -> Table:
    table = _facts()
    table.add_row("limits", _verdict(grid, slots))
    table.add_row("lowest voltage", _extreme(grid.vm_min, "{:.4f} pu"))
    table.add_row("highest voltage", _extreme(grid.vm_max, "{:.4f} pu"))
    table.add_row("highest line load", _extreme(grid.line, "{:.1f} %"))
    table.add_row("highest trafo load", _extreme(grid.trafo, "{:.1f} %"))
    if grid.breach_kwh is not None:
        table.add_row("breached by market", _breach(grid.breach_kwh, grid.breach_cost_eur))
    table.add_row("linear model vs AC", _gap(grid))
    table.add_row("re-clearings", _number(grid.reclearings))
    table.add_row("tap steps", _number(grid.tap_moves))
    fall_backs = (
        f"power flow {_number(grid.power_flow_fall_backs)}, "
        f"linear program {_number(grid.lp_cold_starts)} cold starts"
    )
    table.add_row("fall-backs", fall_backs)
    return table


def _verdict(grid: GridSummary, slots: int) -> Text:
    if grid.slots_met is None:
        return Text("not recorded", style=NOTE)
    again = grid.slots_met_by_reclearing
    words = f"met in {grid.slots_met:,} of {slots:,} slots"
    if again:
        words += f" ({again:,} after clearing again)"
    bad = (grid.slots_broken or 0) + (grid.slots_without_solution or 0)
    if not bad:
        return Text(words, style=GOOD)
    text = Text(words).append(f"; broken in {grid.slots_broken:,}", style=BAD)
    if grid.slots_without_solution:
        text.append(f"; no AC solution in {grid.slots_without_solution:,}", style=BAD)
    if grid.first_broken is not None:
        text.append(f"; first {_moment(grid.first_broken)}")
    return text


def _breach(kwh: float, cost_eur: float | None) -> Text:
    """Say what limits the market gave up: power, or (at a cost without power) voltage."""
    cost = 0.0 if cost_eur is None else cost_eur
    if not _any(kwh) and not _any(cost):
        return Text("none")
    what = f"{_energy(kwh)} kWh of power" if _any(kwh) else "voltage limits"
    return Text(f"{what}, priced at {cost:,.2f} EUR (see warnings)", style=BAD)


def _gap(grid: GridSummary) -> str:
    gaps = []
    if grid.ac_gap_pu is not None:
        gaps.append(f"voltage within {grid.ac_gap_pu:.1e} pu")
    if grid.ac_gap_percent is not None:
        gaps.append(f"loading within {grid.ac_gap_percent:.2f} %")
    return ", ".join(gaps) or UNKNOWN


def _device_table(devices: Sequence[DeviceSummary]) -> Table:
    table = _table("kind", "devices", "energy\nkWh", "unmet\nkWh", "departures", "of them short")
    for each in devices:
        unmet = each.unmet_kwh if each.unmet_kwh > SILENT_KWH else 0.0
        vehicles = each.departures > 0
        short = Text(f"{each.short_departures:,}", style=_if_any(each.short_departures, BAD))
        table.add_row(
            each.kind.replace("_", " "),
            f"{each.count:,}",
            _energy(each.energy_kwh),
            Text(_energy(unmet), style=_if_any(unmet, BAD)),
            f"{each.departures:,}" if vehicles else "",
            short if vehicles else "",
        )
    return table


def _flexibility_facts(found: FlexibilitySummary) -> Table | None:
    """Tell what plans, forecasts and services came to; None where a run has none of them."""
    table = _facts()
    value, regret = found.lookahead_value_eur, found.lookahead_regret_eur
    if value is not None:
        words = f"saved {_euros(value)}" if value >= 0.0 else f"cost {_euros(-value)} more"
        table.add_row("looking ahead", f"{words} {'against' if value >= 0.0 else 'than'} rules")
    if regret is not None:
        words = f"save {_euros(regret)} more" if regret >= 0.0 else f"cost {_euros(-regret)} more"
        table.add_row("perfect forecasts", f"would {words}")
    if found.forecast_wape is not None:
        table.add_row("forecast error", f"{found.forecast_wape:.1%} of all energy (WAPE)")
    if found.imbalance_kwh is not None and found.imbalance_eur is not None:
        energy, cost = _energy(found.imbalance_kwh), _euros(found.imbalance_eur)
        table.add_row("imbalance", f"{energy} kWh beside contracts, which agents pay {cost} for")
    if found.asked_kwh is not None and found.delivered_kwh is not None:
        delivered = f"{_energy(found.delivered_kwh)} of {_energy(found.asked_kwh)} kWh delivered"
        paid = "" if found.services_eur is None else f" for {_euros(found.services_eur)}"
        table.add_row("services", delivered + paid)
    return table if table.row_count else None


def _bill_table(bills: BillSummary) -> Table:
    table = _facts()
    share = bills.saving_share
    part = "" if share is None else f" ({share:.1%})"
    gains = f"{bills.gaining_share:.1%} of {bills.agents:,} agents gain"
    without = f"{_euros(bills.no_trading_total_eur)}, where no grid limit curtails anyone"
    table.add_row("without trading", without)
    table.add_row("with trading", _euros(bills.total_eur))
    saving = f"{_euros(bills.saving_eur)}{part}"
    table.add_row("saving", Text(saving, style=GOOD if bills.saving_eur >= 0.0 else BAD))
    verb = "loses" if bills.losing_agents == 1 else "lose"
    loses = f", {bills.losing_agents:,} {verb}" if bills.losing_agents else ", none loses"
    table.add_row("who gains", Text(gains).append(loses, BAD if bills.losing_agents else GOOD))
    table.add_row("median saving", _euros(bills.median_saving_eur))
    worst = f"{bills.worst_agent}, saving {_euros(bills.worst_saving_eur)}"
    table.add_row("worst-off agent", worst)
    stored, alone = bills.stored_kwh, bills.stored_no_trading_kwh
    if stored is not None and alone is not None and (_any(stored) or _any(alone)):
        text = f"{_energy(stored)} kWh at the end, {_energy(alone)} without trading; in no bill"
        table.add_row("in batteries", text)
    return table


def _charge_table(charges: Sequence[ChargeSummary]) -> Table:
    table = _table("charge", "kind", "for", "all agents pay", numbers_from=3)
    for charge in charges:
        table.add_row(charge.name, charge.kind, charge.purpose, _euros(charge.revenue_eur))
    if len(charges) > 1:
        table.add_section()
        together = _euros(sum(charge.revenue_eur for charge in charges))
        table.add_row("together", "", "", together, style="bold")
    return table


def _timing_table(timings: Sequence[TimingSummary]) -> Table:
    table = _table("part", "s", "share", "ms per slot")
    for timing in timings:
        table.add_row(
            timing.part,
            f"{timing.seconds:,.2f}",
            f"{timing.share:.1%}",
            f"{timing.ms_per_slot:.3f}",
        )
    seconds, ms_per_slot = (
        sum(getattr(timing, name) for timing in timings) for name in ("seconds", "ms_per_slot")
    )
    table.add_section()
    table.add_row("together", f"{seconds:,.2f}", "", f"{ms_per_slot:.3f}", style="bold")
    return table


def _warning_table(warnings: Sequence[WarningSummary]) -> Table:
    table = _table("kind", "first message", "elements", "times", numbers_from=2)
    for warning in warnings:
        message = f"{warning.message} ({_moment(warning.first)})"
        elements = f"{warning.elements:,}" if warning.elements else UNKNOWN
        table.add_row(Text(warning.kind, style=NOTE), message, elements, f"{warning.count:,}")
    return table


def _extreme(extreme: Extreme | None, number: str) -> str:
    if extreme is None:
        return UNKNOWN
    where = f" at {extreme.element}" if extreme.element else ""
    return f"{number.format(extreme.value)}{where}, {_moment(extreme.time)}"


def _moment(time: pd.Timestamp) -> str:
    return time.strftime("%Y-%m-%d %H:%M")


def _any(kwh: float) -> bool:
    return bool(kwh > SILENT_KWH)


def _if_any(kwh: float, style: str) -> str:
    return style if _any(kwh) else ""


def _energy(kwh: float) -> str:
    if np.isnan(kwh):
        return UNKNOWN
    if 0.0 < abs(kwh) < 0.05:
        return f"{kwh:.2g}"
    return f"{kwh:,.1f}" if abs(kwh) < 1e4 else f"{kwh:,.0f}"


def _number(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def _euros(amount: float) -> str:
    """Write an amount; what rounds to nothing has no sign."""
    return f"{round(amount, 2) + 0.0:,.2f} EUR"
