"""Datasets that follow the layout: the right type, unit, gap value, packing and axes.

Everything here works on an open h5py file and knows nothing about a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from tricell.errors import ResultsError
from tricell.results import layout
from tricell.results.packing import Deflate, write_chunks

Columns: TypeAlias = Mapping[str, Any]
"""Column name -> array, or sequence of numbers, texts or instants; None is a gap."""
Column: TypeAlias = NDArray[Any]

TEXT = h5py.string_dtype("utf-8")
ROWS_PER_TABLE_CHUNK = 8192
SMALL_COLUMN_BYTES = 4096
"""A column up to this is stored as it is: the index of chunks alone takes 2 kB."""
_TEXT_TYPE = h5py.h5t.py_create(TEXT, logical=True)
_SCALAR = h5py.h5s.create(h5py.h5s.SCALAR)


def storable_text(value: object) -> str:
    """Make a text that HDF5 can hold: None is empty, NUL and lone surrogates are replaced."""
    text = "" if value is None else str(value)
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def epoch_seconds(times: ArrayLike) -> NDArray[np.int64]:
    """Turn instants (numpy datetime64, or already seconds since 1970 UTC) into seconds."""
    values = np.asarray(times)
    if values.dtype.kind == "M":
        values = values.astype("datetime64[s]")
    return values.astype(np.int64)


def encoded(variable: layout.Variable, values: ArrayLike, where: str) -> Column:
    """Give the values in the type that the layout prescribes.

    Parameters
    ----------
    variable
        What the layout says about them.
    values
        Numbers, instants or texts, one-dimensional; None is a gap.
    where
        Named in the error message.

    Raises
    ------
    ResultsError
        If the values are not of that kind or not one-dimensional.
    """
    try:
        column = _converted(variable, values)
    except (TypeError, ValueError) as error:
        raise ResultsError(
            f"{where}: expected values of type {variable.dtype} [{variable.unit or 'text'}] "
            f"({variable.meaning}), but: {error}"
        ) from error
    if column.ndim != 1:
        raise ResultsError(f"{where}: expected one column, got an array of shape {column.shape}")
    return column


def _converted(variable: layout.Variable, values: ArrayLike) -> Column:
    if variable.dtype == "str":
        texts = np.asarray(values, dtype=object)
        flat = [storable_text(value) for value in texts.ravel().tolist()]
        return np.array(flat, dtype=object).reshape(texts.shape)
    if variable.is_time:
        return epoch_seconds(values)
    numbers: Column = np.asarray(values, dtype=variable.dtype)
    return numbers


def checked_table(table: layout.Table, columns: Columns) -> dict[str, Column]:
    """Give the columns of a table in the layout's order and types.

    Raises
    ------
    ResultsError
        If a column is unknown, missing, of another length, or if ids repeat.
    """
    where = layout.table_path(table.name)
    _refuse_unknown(columns, [column.name for column in table.columns], where)
    missing = [c.name for c in table.columns if c.required and c.name not in columns]
    if missing:
        raise ResultsError(f"{where}: the columns {', '.join(missing)} are missing")
    checked = {
        column.name: encoded(column, columns[column.name], f"{where}/{column.name}")
        for column in table.columns
        if column.name in columns
    }
    lengths = {name: values.size for name, values in checked.items()}
    if len(set(lengths.values())) > 1:
        raise ResultsError(f"{where}: the columns differ in length: {lengths}")
    if table.has_ids:
        _refuse_repeated(checked[table.axis], where)
    return checked


def _refuse_unknown(given: Iterable[str], allowed: Sequence[str], where: str) -> None:
    unknown = [name for name in given if name not in allowed]
    if unknown:
        raise ResultsError(
            f"{where}: {', '.join(map(repr, unknown))} is not in schema {layout.SCHEMA_VERSION}; "
            f"allowed: {', '.join(allowed)}"
        )


def _refuse_repeated(ids: Column, where: str) -> None:
    names, counts = np.unique(ids.astype(str), return_counts=True)
    if names.size < ids.size:
        first = str(names[counts > 1][0])
        raise ResultsError(f"{where}: the id {first!r} stands in more than one row; ids are unique")


def create_axis(
    group: h5py.Group, variable: layout.Variable, values: Column, *, grows: bool = False
) -> h5py.Dataset:
    """Write the coordinates of an axis as a dimension scale."""
    chunk = (layout.ROWS_PER_CHUNK,) if grows else None
    axis = _create(group, variable, values.shape, chunk, None, values=values)
    axis.make_scale(variable.name)
    return axis


def create_series(
    group: h5py.Group, variable: layout.Variable, axes: Sequence[h5py.Dataset], gzip_level: int
) -> h5py.Dataset:
    """Create a variable of shape (times,) or (times, entities) without values."""
    shape = tuple(axis.size for axis in axes)
    chunk = layout.chunk_shape(*shape[1:])
    series = _create(group, variable, shape, chunk, gzip_level)
    attach(series, axes)
    return series


def create_table(
    parent: h5py.Group, table: layout.Table, columns: Mapping[str, Column], gzip_level: int
) -> h5py.Group:
    """Write a table of checked columns with its axis."""
    group = create_table_group(parent, table)
    id_column = table.column(table.axis)
    rows = np.arange(next(iter(columns.values())).size, dtype=np.int64)
    values = rows if id_column is None else columns[table.axis]
    create_axis(group, id_column or row_number(table), values)
    add_columns(group, table, columns, gzip_level)
    return group


def add_columns(
    group: h5py.Group, table: layout.Table, columns: Mapping[str, Column], gzip_level: int
) -> None:
    """Write checked columns of a table whose axis is there."""
    axis = group[table.axis]
    for column in table.columns:
        if column.name in columns and column.name != table.axis:
            values = columns[column.name]
            is_packed = column.dtype != "str" and values.nbytes > SMALL_COLUMN_BYTES
            chunk: Literal[True] | None = True if is_packed else None
            created = _create(group, column, values.shape, chunk, gzip_level, values=values)
            attach(created, [axis])


def create_growing_table(
    parent: h5py.Group, table: layout.Table, columns: Iterable[str], rows: int, gzip_level: int
) -> h5py.Group:
    """Create a table of numbers with its row numbers and without values."""
    group = create_table_group(parent, table)
    chunk = (ROWS_PER_TABLE_CHUNK,)
    axis = _create(group, row_number(table), (rows,), chunk, gzip_level)
    axis.make_scale(table.axis)
    for column in growing_columns(table, columns):
        attach(_create(group, column, (rows,), chunk, gzip_level), [axis])
    return group


def create_table_group(parent: h5py.Group, table: layout.Table) -> h5py.Group:
    """Create the group of a table."""
    group = parent.create_group(table.name, track_order=True)
    group.attrs["long_name"] = table.meaning
    return group


def growing_columns(table: layout.Table, columns: Iterable[str]) -> list[layout.Variable]:
    """Give the named columns in the order of the layout, without the row numbers."""
    names = set(columns) - {table.axis}
    return [column for column in table.columns if column.name in names]


def row_number(table: layout.Table) -> layout.Variable:
    """Describe the axis of a table that has no ids."""
    return layout.Variable(table.axis, "i8", "1", "row number")


def _create(
    group: h5py.Group,
    variable: layout.Variable,
    shape: tuple[int, ...],
    chunk: tuple[int, ...] | Literal[True] | None,
    gzip_level: int | None,
    *,
    values: Column | None = None,
) -> h5py.Dataset:
    """Create a dataset: one with a given chunk can grow, one with any chunk is packed."""
    packing: dict[str, Any] = {}
    if chunk is not None and gzip_level is not None:
        packing = {"compression": "gzip", "compression_opts": gzip_level, "shuffle": True}
    dataset = group.create_dataset(
        variable.name,
        shape,
        TEXT if variable.dtype == "str" else variable.dtype,
        data=values,
        chunks=chunk,
        maxshape=(None, *shape[1:]) if isinstance(chunk, tuple) else None,
        fillvalue=np.nan if variable.is_float else None,
        track_order=True,
        **packing,
    )
    describe(dataset, variable)
    return dataset


def describe(dataset: h5py.Dataset, variable: layout.Variable) -> None:
    """Write what the layout says about a dataset as its attributes."""
    _put_text(dataset, "long_name", variable.meaning)
    if variable.unit:
        _put_text(dataset, "units", variable.unit)
    if variable.is_time:
        _put_text(dataset, "calendar", layout.TIME_CALENDAR)
    if variable.is_float:
        _put(dataset, "_FillValue", np.array(np.nan, variable.dtype))
    if variable.flags:
        _put(
            dataset,
            "flag_values",
            np.array([flag.value for flag in variable.flags], variable.dtype),
        )
        _put_text(dataset, "flag_meanings", " ".join(flag.word for flag in variable.flags))


def _put_text(dataset: h5py.Dataset, name: str, text: str) -> None:
    """Write a new attribute; h5py's own way takes twice as long, and there are hundreds."""
    attribute = h5py.h5a.create(dataset.id, name.encode(), _TEXT_TYPE, _SCALAR)
    attribute.write(np.array(text, dtype=TEXT))


def _put(dataset: h5py.Dataset, name: str, numbers: NDArray[Any]) -> None:
    space = h5py.h5s.create_simple(numbers.shape) if numbers.shape else _SCALAR
    kind = h5py.h5t.py_create(numbers.dtype)
    h5py.h5a.create(dataset.id, name.encode(), kind, space).write(numbers)


def attach(dataset: h5py.Dataset, axes: Sequence[h5py.Dataset]) -> None:
    """Attach the scale of each dimension."""
    for number, axis in enumerate(axes):
        dataset.dims[number].attach_scale(axis)


def write_rows(
    dataset: h5py.Dataset, first: int, rows: Column, deflate: Deflate | None = None
) -> None:
    """Write rows from a row on, of a dataset that grows as needed; again if they are there.

    Whole chunks are packed by `deflate` if given.
    """
    end = first + rows.shape[0]
    if dataset.shape[0] < end:
        dataset.resize(end, axis=0)
    height = dataset.chunks[0]
    if deflate is not None and first % height == 0 and rows.shape[0] % height == 0:
        write_chunks(dataset, first, rows, deflate)
    elif rows.shape[0]:
        dataset[first:end] = rows


def file_image(fill: Callable[[h5py.File], None], libver: tuple[str, str]) -> bytes:
    """Give the bytes of an HDF5 file, for files that all begin alike."""
    with h5py.File(
        "image", "w", libver=libver, track_order=True, driver="core", backing_store=False
    ) as file:
        fill(file)
        file.flush()
        return bytes(file.id.get_file_image())
