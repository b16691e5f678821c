"""Orders of one market and one slot from a CSV or Parquet file; all faults at once.

====================  ==========================================================================
column                meaning
====================  ==========================================================================
side                  buy or sell
energy_kwh            energy above 0, kWh; also called quantity
price_eur_per_kwh     highest price of a buyer, lowest of a seller; also called price
id                    name of the order; without it, the row number
agent                 name of who is behind the order; empty if nobody in particular
time                  when the order came, a number or a date; earlier goes first
node                  number of the electrical node; empty if unknown
any other             an attribute of the orders that a mechanism may ask for (zone, slope, ...)
====================  ==========================================================================
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tricell.errors import DataError
from tricell.markets.order_table import NO_AGENT, Orders
from tricell.markets.orders import BUY, PRICE_LIMIT_EUR_PER_KWH, SELL
from tricell.scenarios.faults import Fault, closest, did_you_mean

REQUIRED = ("side", "energy_kwh", "price_eur_per_kwh")
KNOWN = (*REQUIRED, "id", "agent", "time", "node")
OTHER_NAMES = {"quantity": "energy_kwh", "price": "price_eur_per_kwh"}
PARQUET_SIGNATURE = b"PAR1"
DELIMITERS = ",;\t"
FAULTS_SHOWN = 20
NODE_UNKNOWN = -1
SIDES = {"buy": BUY, "sell": SELL}
TRUTHS = {"true": True, "false": False}

ParsedT = TypeVar("ParsedT")


@dataclass(frozen=True)
class OrderFile:
    """Orders read from a file, and the name of each agent number in them."""

    path: Path
    orders: Orders
    agent_names: tuple[str, ...]


class OrderFaultsError(DataError):
    """A file of orders cannot be used; `faults` holds everything that is wrong with it."""

    def __init__(self, path: Path, faults: Sequence[Fault]) -> None:
        self.path = path
        self.faults = tuple(faults)
        super().__init__(path, self.faults)

    def __str__(self) -> str:
        count = len(self.faults)
        blocks = [str(fault) for fault in self.faults[:FAULTS_SHOWN]]
        unseen = f" ({count - FAULTS_SHOWN} not shown)" if count > FAULTS_SHOWN else ""
        noun = "fault" if count == 1 else "faults"
        return "\n\n".join(
            [*blocks, f"{count} {noun} in {self.path}{unseen}; nothing was cleared."]
        )


@dataclass
class _Sheet:
    """The cells of a file as text; empty where there is none."""

    path: Path
    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    """Line of each row in the file; in Parquet its number."""
    texts: list[str] = field(default_factory=list)
    """Each row as it was written; empty for Parquet."""
    faults: list[Fault] = field(default_factory=list)

    def column(self, name: str) -> list[str]:
        position = self.header.index(name)
        return [row[position].strip() for row in self.rows]

    def blame(self, row: int, name: str, message: str, allowed: str = "", hint: str = "") -> None:
        """Add a fault of one cell, or of a whole row if the column is unnamed."""
        excerpt = self.texts[row] if self.texts else ""
        is_simple = '"' not in excerpt
        position = self.header.index(name) if name else None
        cells = self.rows[row]
        value = "" if position is None else cells[position]
        column = None
        if position is not None and excerpt and is_simple:
            indent = len(value) - len(value.lstrip())
            column = 1 + indent + sum(len(cell) + 1 for cell in cells[:position])
        self.faults.append(
            Fault(
                file=str(self.path),
                line=self.lines[row],
                field=name,
                value=value.strip(),
                message=message,
                allowed=allowed,
                suggestion=hint,
                column=column,
                excerpt=excerpt if column is not None else "",
                marked=len(value.strip()),
            )
        )

    def blame_header(self, name: str, message: str, allowed: str = "", hint: str = "") -> None:
        line = 1 if self.texts or not self.rows else None
        self.faults.append(
            Fault(str(self.path), line, name, name, message, allowed=allowed, suggestion=hint)
        )


def read_orders(path: Path) -> OrderFile:
    """Read a file of orders; see the module for its columns.

    Raises
    ------
    OrderFaultsError
        With every fault: its row, column and value, and what is allowed there.
    DataError
        If there is no such file, or if it is neither CSV nor Parquet.
    """
    data = _bytes_of(path)
    sheet = _parquet(path) if data.startswith(PARQUET_SIGNATURE) else _csv(path, data)
    _check_header(sheet)
    if sheet.faults:
        raise OrderFaultsError(path, sheet.faults)
    columns = _parsed_columns(sheet)
    if sheet.faults:
        faults = sorted(sheet.faults, key=lambda each: (each.line or 0, each.column or 0))
        raise OrderFaultsError(path, faults)
    names = tuple(dict.fromkeys(name for name in columns.pop("agent") if name))
    numbers = {name: number for number, name in enumerate(names)}
    agents = [numbers.get(name, NO_AGENT) for name in _agent_cells(sheet)]
    return OrderFile(path, Orders.of(agent=agents, **columns), names)


def _bytes_of(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        siblings = [each.name for each in path.parent.glob("*")] if path.parent.is_dir() else []
        match = closest(path.name, siblings)
        hint = f" Did you mean `{path.parent / match}`?" if match else ""
        raise DataError(f"There is no file `{path}` with orders.{hint}") from error
    except OSError as error:
        raise DataError(f"The orders `{path}` cannot be read: {error.strerror}.") from error
    if path.suffix.lower() == ".parquet" and not data.startswith(PARQUET_SIGNATURE):
        raise DataError(
            f"`{path}` is not a Parquet file: it begins with {data[:4]!r}, "
            f"not {PARQUET_SIGNATURE!r}. Rename it to .csv if it holds text."
        )
    return data


def _csv(path: Path, data: bytes) -> _Sheet:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"`{path}` is neither Parquet nor text in UTF-8 (byte {error.start}). Save it as CSV "
            "in UTF-8."
        ) from error
    written = text.splitlines()
    first = written[0] if written else ""
    reader = csv.reader(written, delimiter=max(DELIMITERS, key=first.count), strict=True)
    sheet = _Sheet(path, [], [], [])
    start = 1
    try:
        for cells in reader:
            if start == 1:
                sheet.header = cells
            elif any(cell.strip() for cell in cells):
                sheet.rows.append(cells)
                sheet.lines.append(start)
                sheet.texts.append(written[start - 1])
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: this is not CSV ({error}).") from error
    return sheet


def _parquet(path: Path) -> _Sheet:
    import pandas as pd  # noqa: PLC0415 (half a second that a CSV file does not need)

    try:
        frame = pd.read_parquet(path)
    except ImportError as error:
        raise DataError(
            f"`{path}` is a Parquet file; reading it needs the package pyarrow. Install it with "
            "`pip install pyarrow`, or save the orders as CSV."
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"`{path}` is a damaged Parquet file: {error}") from error
    missing = frame.isna().to_numpy()
    rows = [
        ["" if absent else str(cell) for cell, absent in zip(cells, gaps, strict=True)]
        for cells, gaps in zip(frame.itertuples(index=False, name=None), missing, strict=True)
    ]
    header = [str(name) for name in frame.columns]
    return _Sheet(path, header, rows, list(range(1, len(rows) + 1)))


def _check_header(sheet: _Sheet) -> None:
    """Give the columns their own names; all are there, once, and every row has as many cells."""
    given = [name.strip() for name in sheet.header]
    lowered = [name.lower() for name in given]
    known = [OTHER_NAMES.get(name, name) for name in lowered]
    sheet.header = [k if k in KNOWN else name for k, name in zip(known, given, strict=True)]
    for name in dict.fromkeys(sheet.header):
        if sheet.header.count(name) > 1:
            written = ", ".join(g for g, k in zip(given, sheet.header, strict=True) if k == name)
            sheet.blame_header(name, f"the column `{name}` is there twice ({written})")
    for name in REQUIRED:
        if name not in sheet.header:
            unknown = [each for each in sheet.header if each not in KNOWN]
            found = ", ".join(each for each in given if each) or "none"
            allowed = f"columns {', '.join(KNOWN)}, and attributes; found: {found}"
            hint = did_you_mean(name, unknown)
            sheet.blame_header(name, f"the column `{name}` is missing", allowed, hint)
    if "" in sheet.header:
        sheet.blame_header("", f"column {sheet.header.index('') + 1} has no name")
    for row, cells in enumerate(sheet.rows):
        if len(cells) != len(sheet.header):
            message = f"this row has {len(cells)} cells, but the header has {len(sheet.header)}"
            sheet.blame(row, "", message)


def _parsed_columns(sheet: _Sheet) -> dict[str, Any]:
    price_limit = PRICE_LIMIT_EUR_PER_KWH
    per_kwh = f"a number within +-{price_limit:g} EUR/kWh (a price per MWh is 1000 times as large)"
    columns: dict[str, Any] = {
        "side": _parsed(sheet, "side", lambda text: SIDES[text.lower()], "buy or sell", SIDES),
        "energy_kwh": _parsed(sheet, "energy_kwh", _positive, "a number above 0"),
        "price_eur_per_kwh": _parsed(sheet, "price_eur_per_kwh", _price, per_kwh),
        "id": _ids(sheet),
        "agent": _agent_cells(sheet),
    }
    if "time" in sheet.header:
        allowed = "numbers, or dates such as 2016-01-18T00:15"
        columns["time"] = _parsed(sheet, "time", _time, allowed)
        _refuse_mixed_times(sheet)
    if "node" in sheet.header:
        columns["node"] = _parsed(sheet, "node", _node, "a whole number from 0, or nothing")
    attributes = {name: _attribute(sheet, name) for name in sheet.header if name not in KNOWN}
    columns["attributes"] = {
        name: column for name, column in attributes.items() if column is not None
    }
    return columns


def _parsed(
    sheet: _Sheet,
    name: str,
    convert: Callable[[str], ParsedT],
    allowed: str,
    choices: Sequence[str] | dict[str, float] = (),
) -> list[ParsedT]:
    """Convert the cells of a column, and blame those that cannot be."""
    parsed = []
    for row, text in enumerate(sheet.column(name)):
        try:
            parsed.append(convert(text))
        except (ValueError, KeyError):
            hint = did_you_mean(text, choices)
            if _is_number(text.replace(",", ".", 1)) and "," in text and not choices:
                hint = f"write `{text.replace(',', '.', 1)}`, with a point"
            message = f"`{name}` is `{text}`" if text else f"`{name}` is empty"
            sheet.blame(row, name, message, allowed, hint)
    return parsed


def _number(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise ValueError(text)
    return value


def _is_number(text: str) -> bool:
    try:
        _number(text)
    except ValueError:
        return False
    return True


def _positive(text: str) -> float:
    value = _number(text)
    if value <= 0.0:
        raise ValueError(text)
    return value


def _price(text: str) -> float:
    value = _number(text)
    if abs(value) > PRICE_LIMIT_EUR_PER_KWH:
        raise ValueError(text)
    return value


def _time(text: str) -> float:
    if _is_number(text):
        return float(text)
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _refuse_mixed_times(sheet: _Sheet) -> None:
    texts = sheet.column("time")
    kinds = [_is_number(text) for text in texts]
    if any(kinds) and not all(kinds):
        row = kinds.index(not kinds[0])
        message = f"`time` is `{texts[row]}`, but in the row before it is `{texts[row - 1]}`"
        sheet.blame(row, "time", message, "numbers in all rows, or dates in all rows")


def _node(text: str) -> int:
    if not text:
        return NODE_UNKNOWN
    value = _number(text)
    if value < 0.0 or not value.is_integer():
        raise ValueError(text)
    return int(value)


def _ids(sheet: _Sheet) -> list[str]:
    if "id" not in sheet.header:
        width = len(str(len(sheet.rows)))  # as texts, 02 stands before 10
        return [f"{row + 1:0{width}}" for row in range(len(sheet.rows))]
    names = sheet.column("id")
    first: dict[str, int] = {}
    for row, name in enumerate(names):
        if not name:
            sheet.blame(row, "id", "`id` is empty", "a name; or leave out the whole column")
        elif name in first:
            message = f"`id` is `{name}`, as in line {sheet.lines[first[name]]}"
            sheet.blame(row, "id", message, "a name of its own for every order")
        first.setdefault(name, row)
    return names


def _agent_cells(sheet: _Sheet) -> list[str]:
    return sheet.column("agent") if "agent" in sheet.header else [""] * len(sheet.rows)


def _attribute(sheet: _Sheet, name: str) -> NDArray[Any] | None:
    """Return a column as numbers, truths or texts; None if all of it is empty."""
    texts = sheet.column(name)
    if texts and not any(texts):
        return None
    for row, text in enumerate(texts):
        if not text:
            sheet.blame(row, name, f"`{name}` is empty", "a value in every row, or in none")
    if all(text.lower() in TRUTHS for text in texts):
        return np.array([TRUTHS[text.lower()] for text in texts], dtype=np.bool_)
    if all(_is_number(text) for text in texts):
        return np.array([float(text) for text in texts])
    return np.array(texts, dtype=np.str_)
