"""Whether what stands in a file has the shape that the layout promises, before it is read.

The checks look at names, kinds and shapes only, never at values, so that opening stays quick;
`tricell validate` looks at everything. What the layout does not know and what does not fit the
axes is left out: others may keep notes of their own in a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from tricell.errors import ResultsError
from tricell.results import layout
from tricell.results.open_file import WHAT_TO_DO

HINT = f"`tricell validate` lists all that deviates; {WHAT_TO_DO}"


def checked_attributes(found: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Give the attributes of the root as plain texts and numbers.

    Raises
    ------
    ResultsError
        If one that every file has is missing or of the wrong kind.
    """
    plain = {name: plain_value(value) for name, value in found.items()}
    for attribute in layout.ROOT_ATTRIBUTES:
        if attribute.required != layout.ALWAYS:
            continue
        if attribute.name not in plain:
            raise ResultsError(f"{where}: the attribute {attribute.name} is missing; {HINT}")
        value = plain[attribute.name]
        kind = int if attribute.dtype == "i8" else str
        # What is no UTF-8 comes as lone surrogates, which cannot be printed.
        if not isinstance(value, kind) or _is_broken(str(value)):
            raise ResultsError(
                f"{where}: the attribute {attribute.name} ({attribute.meaning}) is {value!r}, "
                f"expected {'a whole number' if kind is int else 'a text'}; {HINT}"
            )
    _refuse_impossible(plain, where)
    return plain


def series_parts(members: Mapping[str, Any], group: str, where: str) -> dict[str, h5py.Dataset]:
    """Give the datasets of a group of time series: the axes, and the variables that fit them.

    Parameters
    ----------
    members : name -> dataset or group, as they stand in the file.
    group : name of the group.
    where : named in error messages.

    Raises
    ------
    ResultsError
        If an axis is missing, or if a part that the layout knows is of the wrong kind or shape.
    """
    known = layout.SERIES.get(group)
    axes = [layout.TIME.name] if group == layout.SLOT else [layout.TIME.name, group]
    parts = _datasets(members, axes, where)
    _require_kind(parts[layout.TIME.name], "i8", (None,), f"{where}/{layout.TIME.name}")
    for axis in axes[1:]:
        _require_kind(parts[axis], "str", (None,), f"{where}/{axis}")
    shape = tuple(parts[axis].size for axis in axes)
    meaning = f"({', '.join(axes)})"
    for name, dataset in list(parts.items()):
        variable = None if known is None else known.variable(name)
        if variable is not None:
            _require_kind(dataset, variable.dtype, shape, f"{where}/{name}", meaning)
        elif name not in axes and dataset.shape not in (shape, shape[:1]):
            del parts[name]
    return parts


def table_parts(
    members: Mapping[str, Any], name: str, where: str, *, strict: bool
) -> dict[str, h5py.Dataset]:
    """Give the columns of a table, and its axis; see `series_parts`.

    Parameters
    ----------
    members, name, where : as there.
    strict : refuse a table that lacks a column which it has in every file.

    Raises
    ------
    ResultsError
        If a needed column is missing, or if one is of the wrong kind or length.
    """
    table = layout.TABLES.get(name)
    if table is None:
        return _datasets(members, [], where)
    required = [column.name for column in table.columns if column.required]
    needed = [table.axis, *(required if strict else ())]
    parts = _datasets(members, needed, where)
    axis_type: layout.Dtype = "str" if table.has_ids else "i8"
    _require_kind(parts[table.axis], axis_type, (None,), f"{where}/{table.axis}")
    rows = (parts[table.axis].size,)
    for column, dataset in list(parts.items()):
        known = table.column(column)
        if known is not None:
            _require_kind(dataset, known.dtype, rows, f"{where}/{column}", f"({table.axis},)")
        elif dataset.shape != rows:
            del parts[column]
    return parts


def _datasets(
    members: Mapping[str, Any], needed: Sequence[str], where: str
) -> dict[str, h5py.Dataset]:
    missing = [name for name in needed if not isinstance(members.get(name), h5py.Dataset)]
    if missing:
        raise ResultsError(
            f"{where} lacks {', '.join(missing)}; it has: {', '.join(members) or 'nothing'}. {HINT}"
        )
    return {name: part for name, part in members.items() if isinstance(part, h5py.Dataset)}


def _require_kind(
    dataset: h5py.Dataset,
    dtype: layout.Dtype,
    shape: tuple[int | None, ...],
    where: str,
    axes: str = "",
) -> None:
    is_text = h5py.check_string_dtype(dataset.dtype) is not None
    if is_text != (dtype == "str") or not (is_text or dataset.dtype.kind in "iuf"):
        raise ResultsError(
            f"{where} is of the type {dataset.dtype}, expected "
            f"{'texts' if dtype == 'str' else 'numbers'}; {HINT}"
        )
    fits = dataset.shape is not None and len(dataset.shape) == len(shape)
    fits = fits and all(
        size in (None, found) for size, found in zip(shape, dataset.shape, strict=True)
    )
    if not fits:
        expected = f"{axes} = {shape}" if axes else f"{len(shape)} dimension"
        raise ResultsError(f"{where} has the shape {dataset.shape}, expected {expected}; {HINT}")


def _refuse_impossible(attributes: Mapping[str, Any], where: str) -> None:
    status = attributes["run_status"]
    if status not in layout.RUN_STATUSES:
        raise ResultsError(
            f"{where}: run_status is {status!r}, expected {', '.join(layout.RUN_STATUSES)}; {HINT}"
        )
    for name, least in (("time_step_s", 1), ("number_of_slots", 0)):
        if attributes[name] < least:
            raise ResultsError(
                f"{where}: {name} is {attributes[name]}, expected at least {least}; {HINT}"
            )


def _is_broken(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def plain_value(value: Any) -> Any:
    """Give a text as `str` and a number as Python's own."""
    if isinstance(value, bytes):  # texts of fixed length, as other programs write them
        return value.decode("utf-8", "surrogateescape")
    return value.item() if isinstance(value, np.generic) else value
