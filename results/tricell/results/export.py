"""Tables and time series of a results file as they are passed on to others, in blocks.

What a file holds as a code is passed on as its word. A row of another table stays as it is, and
the column ``<name>_id`` after it has the id. Times are UTC. Names are those of the layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from tricell.errors import ResultsError
from tricell.results import layout
from tricell.results.export_columns import ColumnEncoder, instants, variable_of, words
from tricell.results.export_writing import TIME_TYPE, WORD_TYPE, Stream, field
from tricell.results.reader import Instant, Results

VALUES_PER_BLOCK = 2_000_000


@dataclass(frozen=True)
class Period:
    """Slots that start at or after `start` and before `stop`, UTC; None is open.

    Raises
    ------
    ResultsError
        If one of them is no time.
    """

    start: Instant | None = None
    stop: Instant | None = None

    def __post_init__(self) -> None:
        for instant in (self.start, self.stop):
            if instant is not None:
                _in_utc(instant)

    @property
    def is_open(self) -> bool:
        """Whether nothing is left out."""
        return self.start is None and self.stop is None

    def holds(self, times: pd.Series[Any]) -> NDArray[np.bool_]:
        """Tell which instants are in the period."""
        inside = np.ones(len(times), dtype=bool)
        if self.start is not None:
            inside &= (times >= _in_utc(self.start)).to_numpy()
        if self.stop is not None:
            inside &= (times < _in_utc(self.stop)).to_numpy()
        return inside


def contents(results: Results) -> str:
    """Tell what can be exported from a file: its tables, and its time series by group."""
    series = [f"  {group}: {', '.join(results.variables(group))}" for group in results.groups]
    return "\n".join([f"Tables: {', '.join(results.tables)}", "Time series:", *series])


def table_stream(results: Results, name: str, period: Period) -> Stream:
    """Give a table in blocks of rows.

    Parameters
    ----------
    results : an open file; it stays open until the blocks are read.
    name : a table.
    period : rows of other times are left out, where the table has times.

    Raises
    ------
    ResultsError
        If there is no such table, or if a period is given and it has no times.
    """
    blocks = results.table_blocks(name)
    first = next(blocks)
    if not period.is_open and layout.TIME.name not in first:
        raise ResultsError(
            f"{results.path}: the table {name} has no times; leave out --start and --stop"
        )
    table = layout.TABLES.get(name)
    names = [str(name) for name in first]
    variables = [
        variable_of(table.column(name) if table else None, name, first[name]) for name in names
    ]
    encoder = ColumnEncoder(results, variables)

    def read() -> Iterator[pa.RecordBatch]:
        block: pd.DataFrame | None = first
        while block is not None:
            kept = block if period.is_open else block[period.holds(block[layout.TIME.name])]
            yield encoder.batch([kept[name] for name in names])
            block = next(blocks, None)

    return Stream(encoder.schema, read())


def series_stream(results: Results, group: str, variable: str, period: Period) -> Stream:
    """Give one variable as a wide table: a row per slot, a column per entity.

    Raises
    ------
    ResultsError
        If there is no such group or variable.
    """
    if group == layout.SLOT:
        return _slot_stream(results, (variable,), period)
    described = _described(results, group, variable)
    entities = [replace(described, name=str(entity)) for entity in results.ids(group)]
    encoder = ColumnEncoder(results, [layout.TIME, *entities])
    slots = max(VALUES_PER_BLOCK // max(len(entities), 1), 1)
    times = results.times(group, period.start, period.stop)
    blocks = results.blocks(group, variable, period.start, period.stop, slots=slots)

    def read() -> Iterator[pa.RecordBatch]:
        for number, block in enumerate(blocks):
            rows = times[number * slots : number * slots + len(block)]
            yield encoder.batch([rows, *np.ascontiguousarray(block.T)])

    return Stream(encoder.schema, read())


def group_stream(results: Results, group: str, period: Period) -> Stream:
    """Give all variables of a group: a row per slot and entity, a column per variable.

    Raises
    ------
    ResultsError
        If there is no such group.
    """
    names = results.variables(group)
    if group == layout.SLOT:
        return _slot_stream(results, names, period)
    entities = results.ids(group)
    encoder = ColumnEncoder(results, [_described(results, group, name) for name in names])
    slots = max(VALUES_PER_BLOCK // max(len(entities) * len(names), 1), 1)
    times = results.times(group, period.start, period.stop)
    blocks = [results.blocks(group, name, period.start, period.stop, slots=slots) for name in names]
    axes = RowAxes(times, group, list(entities))
    schema = pa.schema([*axes.schema, *encoder.schema])

    def read() -> Iterator[pa.RecordBatch]:
        for number, values in enumerate(zip(*blocks, strict=True)):
            columns = encoder.batch([block.ravel() for block in values]).columns
            rows = slice(number * slots, number * slots + len(values[0]))
            yield pa.record_batch([*axes.columns(rows), *columns], schema=schema)

    return Stream(schema, read())


@dataclass(frozen=True)
class RowAxes:
    """The first two columns of tables with a row per slot and entity."""

    times: pd.DatetimeIndex
    entity: str
    ids: list[str]

    @property
    def schema(self) -> pa.Schema:
        """Names and types of both."""
        return pa.schema(
            [
                field(layout.TIME.name, TIME_TYPE, "", layout.TIME.meaning),
                field(self.entity, WORD_TYPE, "", f"id of the {self.entity}"),
            ]
        )

    def columns(self, slots: slice) -> tuple[pa.Array, pa.Array]:
        """Give both for some slots, slot by slot."""
        times = self.times[slots]
        numbers = np.tile(np.arange(len(self.ids), dtype=np.int32), len(times))
        return instants(times.repeat(len(self.ids))), words(self.ids, numbers)


def _slot_stream(results: Results, names: tuple[str, ...], period: Period) -> Stream:
    variables = [_described(results, layout.SLOT, name) for name in names]
    encoder = ColumnEncoder(results, [layout.TIME, *variables])
    slots = results.slots(period.start, period.stop)
    batch = encoder.batch([slots.index, *(slots[name] for name in names)])
    return Stream(encoder.schema, iter([batch]))


def _described(results: Results, group: str, name: str) -> layout.Variable:
    if name not in results.variables(group):
        raise ResultsError(
            f"{results.path}: the group {group} has no variable {name!r}; it has: "
            f"{', '.join(results.variables(group))}"
        )
    known = layout.SERIES.get(group)
    found = None if known is None else known.variable(name)
    return variable_of(found, name, next(results.blocks(group, name), np.empty(0)))


def _in_utc(instant: Instant) -> pd.Timestamp:
    try:
        time = pd.Timestamp(instant)
        return time.tz_localize("UTC") if time.tz is None else time.tz_convert("UTC")
    except (ValueError, TypeError, OverflowError) as error:
        raise ResultsError(
            f"{instant!r} is no time; expected one like 2016-05-23T06:00, which is UTC unless it "
            f"has an offset"
        ) from error
