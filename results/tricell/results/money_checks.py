"""Does the money of a results file add up: bills, receipts, charges and postings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tricell.results import layout
from tricell.results.deviations import Deviation, DeviationKind
from tricell.results.usable_file import UsableFile

TOLERANCE_EUR = 1e-6
RELATIVE_TOLERANCE = 1e-9
"""Sums in another order differ by rounding: some 1e-12 of what was added up."""

Amounts: TypeAlias = NDArray[Any]
Bill: TypeAlias = Mapping[str, Amounts]


@dataclass(frozen=True)
class _Sum:
    """What amounts should be, and the sum of the absolute values that this was made of."""

    eur: Amounts
    volume: Amounts


def check_money(usable: UsableFile) -> Iterator[Deviation]:
    """Yield all sums that do not come out; sums of columns that are not there are left out."""
    bill = _columns(usable, "bill", (*layout.BILL_PARTS, "total", "no_trading_total", "saving"))
    if layout.BILL_PARTS.keys() - {*layout.OPTIONAL_BILL_PARTS} | {"total"} <= bill.keys():
        nothing = np.zeros_like(bill["total"])
        bill = {**dict.fromkeys(layout.OPTIONAL_BILL_PARTS, nothing), **bill}
        parts = _sum_of([bill[name] for name in layout.BILL_PARTS])
        yield from _compare("bill", "total", bill["total"], parts, words="the sum of its parts")
        yield from _check_postings(usable, bill)
    if {"total", "no_trading_total", "saving"} <= bill.keys():
        parts = _sum_of([bill["no_trading_total"], -bill["total"]])
        yield from _compare(
            "bill", "saving", bill["saving"], parts, words="no_trading_total - total"
        )
    receipt = _columns(usable, "receipt", ("agent", "charge", "amount"))
    if len(receipt) == 3:
        yield from _check_receipts(usable, receipt, bill)


def _columns(usable: UsableFile, table: str, names: Sequence[str]) -> Bill:
    """Read the columns that there are; none if they differ in length."""
    read = {name: usable.column(table, name) for name in names}
    found = {name: column for name, column in read.items() if column is not None}
    return found if len({column.shape for column in found.values()}) == 1 else {}


def _check_receipts(usable: UsableFile, receipt: Bill, bill: Bill) -> Iterator[Deviation]:
    """Check that receipts add up to the bill of each agent and to the revenue of each charge."""
    agent, charge, amount = (receipt[name] for name in ("agent", "charge", "amount"))
    if "total" in bill:
        paid = _sum_by_row(_rows_of_bills(usable, agent), amount, bill["total"].size)
        found, wanted = paid.eur, _Sum(bill["total"], paid.volume)
        yield from _compare("receipt", "amount", found, wanted, words="the bill's total")
    revenue = usable.column("charge", "revenue")
    if revenue is not None:
        paid = _sum_by_row(charge, amount, revenue.size)
        yield from _compare("charge", "revenue", revenue, paid, words="what the receipts say")


def _rows_of_bills(usable: UsableFile, agent: Amounts) -> Amounts:
    """Turn rows of tables/agent into those of tables/bill, where agents may stand otherwise."""
    agents, billed = usable.column("agent", "agent"), usable.column("bill", "agent")
    if agents is None or billed is None:
        return agent
    row = {name: number for number, name in enumerate(billed.tolist())}
    rows = np.array([row.get(name, -1) for name in agents.tolist()], dtype=np.int64)
    inside = (agent >= 0) & (agent < rows.size)
    return np.where(inside, rows[np.where(inside, agent, 0)], -1) if rows.size else agent


def _check_postings(usable: UsableFile, bill: Bill) -> Iterator[Deviation]:
    """Check that what agents pay less what they get is, kind by kind, what their bills say."""
    posting = _columns(usable, "posting", ("payer", "payee", "kind", "amount"))
    if len(posting) < 4:
        return
    agents = layout.Party.AGENTS
    sign = (posting["payer"] == agents).astype(np.int64) - (posting["payee"] == agents)
    paid = _sum_by_row(posting["kind"], sign * posting["amount"], len(layout.PostingKind))
    for name, kind in layout.BILL_PARTS.items():
        billed = bill[name]
        found, volume = paid.eur[[kind]], paid.volume[[kind]] + np.abs(billed).sum()
        words = f"the sum of {layout.table_path('bill', name)}"
        where = f"what agents pay for {kind.name.lower()}: "
        wanted = _Sum(billed.sum(keepdims=True), volume)
        yield from _compare("posting", "amount", found, wanted, words=words, where=where)


def _sum_of(parts: Sequence[Amounts]) -> _Sum:
    return _Sum(np.sum(parts, axis=0), np.sum(np.abs(parts), axis=0))


def _sum_by_row(rows: Amounts, amounts: Amounts, size: int) -> _Sum:
    """Add amounts by the row of another table; rows that it does not have are left out."""
    inside = (rows >= 0) & (rows < size)
    kept, eur = rows[inside], amounts[inside]
    return _Sum(
        np.bincount(kept, eur, minlength=size), np.bincount(kept, np.abs(eur), minlength=size)
    )


def _compare(
    table: str, column: str, found: Amounts, wanted: _Sum, *, words: str, where: str = ""
) -> Iterator[Deviation]:
    gap = np.abs(found - wanted.eur)
    within = gap <= TOLERANCE_EUR + RELATIVE_TOLERANCE * wanted.volume
    wrong = np.flatnonzero(~within)  # a NaN is within nothing
    if wrong.size:
        row = int(wrong[0])
        others = f" (and {wrong.size - 1} others)" if wrong.size > 1 else ""
        place = where or f"row {row}{others}: "
        yield Deviation(
            DeviationKind.MONEY,
            layout.table_path(table, column),
            f"{place}{found[row]:.6f} EUR",
            f"{wanted.eur[row]:.6f} EUR, {words}",
        )
