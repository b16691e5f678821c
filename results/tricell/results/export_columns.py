"""Columns as they are passed on: codes as words, times as instants, rows of tables also as ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tricell.errors import ResultsError
from tricell.results import layout
from tricell.results.export_writing import TIME_TYPE, WORD_TYPE, field
from tricell.results.reader import Results

ID_SUFFIX = "_id"
NOTHING = "none"
"""How the layout begins the meaning of a row number that stands for nothing."""


class ColumnEncoder:
    """Makes Arrow columns of the columns of a file.

    Parameters
    ----------
    results : an open file; tables that columns refer to are read from it.
    variables : what the layout says about each column.
    """

    def __init__(self, results: Results, variables: Sequence[layout.Variable]) -> None:
        self._path = results.path
        self._variables = variables
        self._ids = {
            variable.name: _ids(results, variable) for variable in variables if _is_row(variable)
        }
        # Tables that are made at the end of a run are not there while it goes on.
        self._has_ids = {
            variable.name for variable in variables if variable.points_to in results.tables
        }
        fields = [field for variable in variables for field in _fields(variable)]
        self.schema = pa.schema(fields)

    def batch(self, columns: Mapping[str, Any] | Sequence[Any]) -> pa.RecordBatch:
        """Encode some rows: values by name, or in the order of the variables."""
        values = columns.values() if isinstance(columns, Mapping) else columns
        arrays = []
        for variable, column in zip(self._variables, values, strict=True):
            arrays.append(_array(variable, column))
            if variable.name in self._ids:
                arrays.append(self._names_of_rows(variable, np.asarray(column, dtype=np.int64)))
        return pa.record_batch(arrays, schema=self.schema)

    def _names_of_rows(self, variable: layout.Variable, rows: Any) -> pa.Array:
        names, outside = self._ids[variable.name]
        count = len(names) - len(outside)
        places = np.where((rows >= 0) & (rows < count), rows, -1)
        for number, value in enumerate(outside):
            places[rows == value] = count + number
        if (places < 0).any() and variable.name in self._has_ids:
            raise ResultsError(
                f"{self._path}: {variable.name} points at row {int(rows[places < 0][0])} of "
                f"tables/{variable.points_to}, which has {count}; `tricell validate` lists all "
                f"that deviates"
            )
        indices = pa.array(places, pa.int32(), mask=places < 0)
        return pa.DictionaryArray.from_arrays(indices, names)


def variable_of(known: layout.Variable | None, name: str, values: Any) -> layout.Variable:
    """Give what the layout says about a column, or what its values tell if it is not in there."""
    if known is not None:
        return known
    kind = np.asarray(values).dtype
    dtype: Any = f"{kind.kind}{kind.itemsize}" if kind.kind in "if" else "str"
    return layout.Variable(name, dtype, "", "")


def words(texts: Sequence[str], places: Any) -> pa.DictionaryArray:
    """Make a column of a few texts that repeat; a negative place is a gap."""
    indices = pa.array(places, pa.int32(), mask=np.asarray(places) < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(texts, pa.string()))


def instants(times: pd.DatetimeIndex) -> pa.Array:
    """Make a column of times, UTC."""
    return pa.array(times.as_unit("ms").asi8, pa.int64()).cast(TIME_TYPE)


def _fields(variable: layout.Variable) -> list[pa.Field]:
    described = [field(variable.name, _type(variable), _unit(variable), variable.meaning)]
    if _is_row(variable):
        meaning = f"id of the row of tables/{variable.points_to}"
        described.append(field(variable.name + ID_SUFFIX, WORD_TYPE, "", meaning))
    return described


def _unit(variable: layout.Variable) -> str:
    return "" if variable.is_time or variable.flags else variable.unit


def _type(variable: layout.Variable) -> pa.DataType:
    if variable.is_time:
        return TIME_TYPE
    if variable.flags:
        return WORD_TYPE
    if variable.dtype == "str":
        return pa.string()
    return pa.from_numpy_dtype(np.dtype(variable.dtype))


def _array(variable: layout.Variable, values: Any) -> pa.Array:
    if variable.is_time:
        return instants(pd.DatetimeIndex(values))
    if variable.flags:
        return _flag_words(variable, values)
    return pa.array(np.ascontiguousarray(values), _type(variable), from_pandas=True)


def _flag_words(variable: layout.Variable, values: Any) -> pa.DictionaryArray:
    if isinstance(values, pd.Series):
        values = values.array
    if isinstance(values, pd.Categorical):
        return words(list(values.categories), values.codes)
    codes = pd.Index([flag.value for flag in variable.flags])
    return words([flag.word for flag in variable.flags], codes.get_indexer(pd.Index(values)))


def _is_row(variable: layout.Variable) -> bool:
    return bool(variable.points_to) and variable.dtype != "str"


def _ids(results: Results, variable: layout.Variable) -> tuple[pa.Array, list[int]]:
    """Give the ids of a table and, after them, what stands outside of it."""
    table = layout.TABLES[variable.points_to]
    ids = list(results.table(table.name)[table.axis]) if table.name in results.tables else []
    outside = [(int(value), meaning) for value, meaning in variable.outside]
    told = ["" if meaning.startswith(NOTHING) else meaning for _, meaning in outside]
    return pa.array([*ids, *told], pa.string()), [value for value, _ in outside]
