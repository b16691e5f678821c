"""What the command line shows of market mechanisms: the list, and a cleared book."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tricell.errors import ResultsError
from tricell.markets.mechanism import Guarantees, MarketResult, MarketTerms, Mechanism
from tricell.markets.mechanism_registry import KnownMechanism
from tricell.markets.order_table import Orders
from tricell.scenarios.order_file import OrderFile
from tricell.scenarios.screen import section_rule

WIDE = 110
"""From this many columns on, sources stand beside the lines, not below them."""
ROWS_SHOWN = 60
OWN = "tricell"
NOTHING = "-"
MARKETS = "Markets for one slot: use in scenarios and with `tricell clear`"
FUNCTIONS = "Library functions: use from Python only"


def show_mechanisms(console: Console, known: Mapping[str, KnownMechanism]) -> None:
    """Print all mechanisms by their use; for terminals of 80 columns and more."""
    name_width = max((len(name) for name in known), default=0)
    for title, is_market in ((MARKETS, True), (FUNCTIONS, False)):
        group = [each for each in known.values() if (each.parameters is not None) == is_market]
        if group:
            console.print(section_rule(title))
            console.print(_mechanism_table(group, name_width, is_wide=console.width >= WIDE))


def _mechanism_table(group: Iterable[KnownMechanism], name_width: int, is_wide: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, expand=True)
    table.add_column("mechanism", no_wrap=True, min_width=name_width)
    table.add_column("what it does" if is_wide else "what it does, source", ratio=3)
    table.add_column("guarantees", width=15)
    if is_wide:
        table.add_column("source", ratio=2)
    for mechanism in group:
        table.add_row(*_mechanism_cells(mechanism, is_wide))
        table.add_row()
    return table


def guarantee_words(guarantees: Guarantees | None) -> str:
    """Return what a mechanism promises in short words; a dash where the idea does not apply.

    >>> guarantee_words(Guarantees("weak", True, False, True))
    'budget weak, rational, truthful'
    """
    if guarantees is None:
        return NOTHING
    words = {
        f"budget {guarantees.budget_balance}": True,
        "rational": guarantees.individual_rationality,
        "efficient": guarantees.efficiency,
        "truthful": guarantees.incentive_compatibility,
    }
    return ", ".join(word for word, holds in words.items() if holds)


def _mechanism_cells(mechanism: KnownMechanism, is_wide: bool) -> list[Text]:
    about = mechanism.about
    what = Text(about.line)
    if mechanism.origin != OWN:
        what.append(f"\nfrom the package {mechanism.origin}", style="yellow")
    if about.guarantees is not None and about.guarantees.note:
        what.append(f"\nnote: {about.guarantees.note}", style="italic")
    if not is_wide:
        what.append(f"\n{about.source}", style="dim")
    cells = [Text(about.name, style="bold"), what, Text(guarantee_words(about.guarantees))]
    return [*cells, Text(about.source, style="dim")] if is_wide else cells


def show_clearing(
    console: Console,
    book: OrderFile,
    mechanism: Mechanism,
    terms: MarketTerms,
    result: MarketResult,
) -> None:
    """Print a cleared book: orders, trades and totals; for terminals of 80 columns and more."""
    _print_head(console, book, mechanism, terms)
    if len(book.orders):
        _print_section(console, "Orders", _order_table(book, result))
    if result.trades is not None and len(result.trades):
        _print_section(console, "Trades", _trade_table(book.orders, result))
    _print_section(console, "Totals", _total_table(book.orders, result))


def _print_head(
    console: Console, book: OrderFile, mechanism: Mechanism, terms: MarketTerms
) -> None:
    orders = book.orders
    console.print(
        Text(mechanism.kind, style="bold").append(
            f": {book.path.name}, {_count(len(orders.buys), 'buy', 'buys')}, "
            f"{_count(len(orders.sells), 'sell', 'sells')}",
            style="not bold",
        )
    )
    parameters = [
        f"{name} {value}" for name, value in mechanism.model_dump(exclude={"kind"}).items()
    ]
    outside = [
        f"retail {terms.retail_price:g} EUR/kWh",
        f"feed-in {terms.feed_in_price:g} EUR/kWh",
        f"seed {terms.seed}",
    ]
    console.print(Text(", ".join([*parameters, *outside]), style="dim"))
    if orders.attributes:
        names = ", ".join(orders.attributes)
        console.print(Text(f"attributes of the orders: {names}", style="dim"))


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _print_section(console: Console, title: str, body: Table) -> None:
    console.print(section_rule(title))
    console.print(Padding(body, (0, 0, 0, 1), expand=False))


def _numbers(*texts: str, numbers: tuple[str, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    for heading in texts:
        table.add_column(heading, max_width=22, overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _order_table(book: OrderFile, result: MarketResult) -> Table:
    orders = book.orders
    texts = ["order", "agent", "side"] if book.agent_names else ["order", "side"]
    table = _numbers(
        *texts,
        numbers=(
            "energy\nkWh",
            "limit\nEUR/kWh",
            "accepted\nkWh",
            "price\nEUR/kWh",
            "payment\nEUR",
        ),
    )
    agents, sides, prices = _agents(book), _sides(orders), _paid_prices(orders, result)
    for row in range(min(len(orders), ROWS_SHOWN)):
        who = [str(orders.id[row]), agents[row], sides[row]]
        accepted = float(result.accepted_kwh[row])
        cells = [
            *(who if book.agent_names else who[::2]),
            _energy(orders.energy_kwh[row]),
            _money(orders.price_eur_per_kwh[row]),
            _energy(accepted) if accepted > 0.0 else NOTHING,
            NOTHING if np.isnan(prices[row]) else _money(prices[row]),
            _money(result.payment_eur[row]),
        ]
        table.add_row(*cells, style="" if accepted > 0.0 else "dim")
    _say_what_is_left(table, len(orders))
    return table


def _trade_table(orders: Orders, result: MarketResult) -> Table:
    trades = result.trades
    assert trades is not None
    prices = ("buyer pays\nEUR/kWh", "seller gets\nEUR/kWh")
    table = _numbers("buyer", "seller", numbers=("energy\nkWh", *prices))
    for k in range(min(len(trades), ROWS_SHOWN)):
        table.add_row(
            str(orders.id[trades.buy[k]]),
            str(orders.id[trades.sell[k]]),
            _energy(trades.energy_kwh[k]),
            _money(trades.buy_price[k]),
            _money(trades.sell_price[k]),
        )
    _say_what_is_left(table, len(trades))
    return table


def _say_what_is_left(table: Table, count: int) -> None:
    if count > ROWS_SHOWN:
        table.add_section()
        table.add_row(Text(f"and {count - ROWS_SHOWN:,} more", style="dim"))


def _total_table(orders: Orders, result: MarketResult) -> Table:
    payment = result.payment_eur
    bought, sold = (float(result.accepted_kwh[rows].sum()) for rows in (orders.buys, orders.sells))
    surplus = result.operator_surplus_eur
    rows: list[tuple[str, str | Text]] = [
        ("volume", _volume(bought, sold)),
        ("price", _price_words(result, bought)),
        ("welfare", f"{_money(result.welfare_eur)} EUR"),
        ("buyers pay", f"{_money(payment[orders.buys].sum())} EUR"),
        ("sellers get", f"{_money(-payment[orders.sells].sum())} EUR"),
        ("operator keeps", Text(f"{_money(surplus)} EUR", "bold red" if surplus < -1e-9 else "")),
    ]
    if result.iterations:
        rows.append(("iterations", f"{result.iterations:,}"))
    rows += _single_values(result)
    if result.flags:
        rows.append(("flags", Text(", ".join(sorted(result.flags)), style="yellow")))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table


def _volume(bought: float, sold: float) -> str:
    if abs(bought - sold) <= 1e-9 * max(1.0, bought):
        return f"{_energy(bought)} kWh" if bought > 0.0 else "nothing was traded"
    return f"{_energy(bought)} kWh bought, {_energy(sold)} kWh sold"


def _price_words(result: MarketResult, bought: float) -> str:
    buy, sell = result.buy_price, result.sell_price
    if buy is None and sell is None:
        return "every order has its own" if bought > 0.0 else "none"
    if buy == sell and buy is not None:
        return f"{_money(buy)} EUR/kWh"
    pay, get = (NOTHING if price is None else _money(price) for price in (buy, sell))
    return f"buyers pay {pay}, sellers get {get} EUR/kWh"


def _further(result: MarketResult) -> Iterator[tuple[str, Any]]:
    """Yield what a mechanism says beyond what every mechanism says."""
    common = {each.name for each in fields(MarketResult)}
    for each in fields(result):
        if each.name not in common:
            yield each.name, getattr(result, each.name)


def _single_values(result: MarketResult) -> Iterator[tuple[str, str]]:
    """Yield numbers, truths and words; arrays go into the file."""
    for name, value in _further(result):
        plain = value.item() if isinstance(value, np.generic) else value
        if isinstance(plain, str | int | float):
            text = _money(plain) if isinstance(plain, float) else str(plain)
            yield name.replace("_", " "), text


def write_clearing(file: Path, book: OrderFile, result: MarketResult) -> None:
    """Write every order with its accepted energy, price and payment as CSV.

    What a mechanism says of each order beyond that follows in further columns.

    Raises
    ------
    ResultsError
        If the file cannot be written.
    """
    orders = book.orders
    prices = _paid_prices(orders, result)
    columns: dict[str, Any] = {
        "id": orders.id,
        "agent": _agents(book),
        "side": _sides(orders),
        "energy_kwh": orders.energy_kwh,
        "price_eur_per_kwh": orders.price_eur_per_kwh,
        "time": orders.time,
        "node": ["" if node < 0 else node for node in orders.node],
        **orders.attributes,
        "accepted_kwh": result.accepted_kwh,
        "paid_eur_per_kwh": ["" if np.isnan(price) else price for price in prices],
        "payment_eur": result.payment_eur,
    }
    for name, value in _further(result):
        if isinstance(value, np.ndarray) and value.shape == (len(orders),) and name not in columns:
            columns[name] = value
    try:
        with file.open("w", newline="", encoding="utf-8") as target:
            writer = csv.writer(target, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
    except OSError as error:
        raise ResultsError(f"The file `{file}` cannot be written: {error.strerror}.") from error


def _agents(book: OrderFile) -> list[str]:
    names = book.agent_names
    return [names[number] if number >= 0 else "" for number in book.orders.agent]


def _sides(orders: Orders) -> list[str]:
    return ["buy" if side > 0.0 else "sell" for side in orders.side]


def _paid_prices(orders: Orders, result: MarketResult) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return what each order pays or gets per kWh on average; NaN if it trades nothing."""
    prices = np.full(len(orders), np.nan)
    traded = result.accepted_kwh > 0.0
    paid = orders.side * result.payment_eur
    prices[traded] = paid[traded] / result.accepted_kwh[traded]
    return prices


def _energy(kwh: float) -> str:
    return f"{kwh:,.6g}" if abs(kwh) < 1e5 else f"{kwh:,.0f}"


def _money(amount: float) -> str:
    """Write an amount or a price; what rounds to nothing has no sign."""
    return f"{round(float(amount), 4) + 0.0:,.4f}"
