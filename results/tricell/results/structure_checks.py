"""Is a results file built as the layout says: groups, datasets, types, axes, attributes, packing.

Nothing here looks at the values of series and tables; that is `tricell.results.value_checks`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from tricell.results import layout
from tricell.results.deviations import Deviation, DeviationKind, guarded

TEXT_TYPE = "variable-length text, UTF-8"
FILTERS = {h5py.h5z.FILTER_DEFLATE: "gzip", h5py.h5z.FILTER_SHUFFLE: "shuffle"}
OTHER_FILTERS = {
    h5py.h5z.FILTER_FLETCHER32: "fletcher32",
    h5py.h5z.FILTER_SZIP: "szip",
    h5py.h5z.FILTER_NBIT: "nbit",
    h5py.h5z.FILTER_SCALEOFFSET: "scaleoffset",
}
PACKING = "gzip after shuffle, or no filter"
CHANGING = frozenset({"_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned"})
"""Attributes by which netCDF readers change what they read."""


@dataclass(frozen=True)
class _Wanted:
    """What a dataset has to be; `chunk` is None where any is allowed."""

    variable: layout.Variable
    dimensions: tuple[str, ...]
    is_axis: bool = False
    chunk: tuple[int, ...] | None = None


def check_structure(file: h5py.File) -> Iterator[Deviation]:
    """Yield all deviations of an open file's structure."""
    yield from guarded("/", check_root(file))
    yield from guarded("/", _check_members(file, ROOTS))
    for name, check in ROOTS.items():
        found = _member(file, name)
        if isinstance(found, h5py.Group):
            yield from guarded(f"/{name}", check(found))
        else:
            yield _missing(f"/{name}", "a group") if found is None else _no_group(found)


def check_root(file: h5py.File) -> Iterator[Deviation]:
    """Yield the deviations of the attributes of the file."""
    has_failed = _text_of(file.attrs.get("run_status")) == "failed"
    for attribute in layout.ROOT_ATTRIBUTES:
        path = f"/@{attribute.name}"
        if attribute.name in file.attrs:
            yield from _check_attribute(path, attribute, file.attrs[attribute.name])
        elif attribute.required == layout.ALWAYS or has_failed:
            yield _missing(path, attribute.meaning)
    known = {attribute.name for attribute in layout.ROOT_ATTRIBUTES}
    for name in file.attrs:
        if name not in known and not name.startswith("_"):
            yield _unknown(f"/@{name}", "an attribute", known)


def _check_attribute(path: str, attribute: layout.Attribute, value: Any) -> Iterator[Deviation]:
    text = _text_of(value)
    if attribute.dtype == "i8":
        if not (np.ndim(value) == 0 and np.asarray(value).dtype == np.int64):
            yield Deviation(DeviationKind.TYPE, path, _type_of(value), "one number of type i8")
    elif text is None:
        yield Deviation(DeviationKind.TYPE, path, _type_of(value), "a text")
    elif attribute.allowed and text not in attribute.allowed:
        allowed = " or ".join(map(repr, attribute.allowed))
        yield Deviation(DeviationKind.ATTRIBUTE, path, repr(text), allowed)
    elif attribute.pattern and not re.fullmatch(attribute.pattern, text):
        wanted = f"{attribute.meaning} (like {attribute.pattern})"
        yield Deviation(DeviationKind.ATTRIBUTE, path, repr(text), wanted)


def _check_members(group: h5py.Group, known: Collection[str]) -> Iterator[Deviation]:
    """Yield what a group has and should not have."""
    for name in group:
        if name not in known:
            kind = "a group" if isinstance(group.get(name), h5py.Group) else "a dataset"
            yield _unknown(f"{group.name.rstrip('/')}/{name}", kind, known)


def _check_texts(root: h5py.Group) -> Iterator[Deviation]:
    yield from _check_members(root, layout.META)
    for name, meaning in layout.META.items():
        wanted = _Wanted(layout.Variable(name, "str", "", meaning, required=True), ())
        yield from _check_member(root, wanted)


def _check_all_series(root: h5py.Group) -> Iterator[Deviation]:
    yield from _check_members(root, layout.SERIES)
    has_just_begun = not len(root) and _text_of(root.file.attrs.get("run_status")) == "running"
    for group in layout.SERIES.values():
        path = layout.series_path(group.name)
        yield from guarded(path, _check_series_of(root, group, is_needed=not has_just_begun))


def _check_series_of(
    root: h5py.Group, group: layout.SeriesGroup, *, is_needed: bool
) -> Iterator[Deviation]:
    found = _member(root, group.name)
    if isinstance(found, h5py.Group):
        yield from _check_series(found, group)
    elif found is not None:
        yield _no_group(found)
    elif is_needed and (group.name == layout.SLOT or _has_entities(root.file, group)):
        yield _missing(layout.series_path(group.name), f"the series of {group.meaning}")


def _has_entities(file: h5py.File, group: layout.SeriesGroup) -> bool:
    table = layout.TABLES[group.id_table]
    ids = file.get(layout.table_path(table.name, "level" if group.level else table.axis))
    if not isinstance(ids, h5py.Dataset) or not _is_text(ids):
        return False
    return bool(np.any(ids.asstr()[...] == group.level)) if group.level else ids.size > 0


def _check_series(found: h5py.Group, group: layout.SeriesGroup) -> Iterator[Deviation]:
    yield from _check_group(found)
    axes = [_Wanted(axis, (axis.name,), is_axis=True) for axis in group.axes]
    ids = _member(found, group.name) if group.id_table else None
    entities = ids.size if isinstance(ids, h5py.Dataset) else None
    is_known = not group.id_table or entities is not None
    chunk = layout.chunk_shape(entities) if is_known else None
    variables = [_Wanted(each, group.dimensions, chunk=chunk) for each in group.variables]
    yield from _check_datasets(found, [*axes, *variables])


def _check_all_tables(root: h5py.Group) -> Iterator[Deviation]:
    is_complete = _text_of(root.file.attrs.get("run_status")) == "complete"
    yield from _check_members(root, layout.TABLES)
    for table in layout.TABLES.values():
        is_needed = table.presence == "always" or (table.presence == "complete" and is_complete)
        path = layout.table_path(table.name)
        yield from guarded(path, _check_table_of(root, table, is_needed=is_needed))


def _check_table_of(
    root: h5py.Group, table: layout.Table, *, is_needed: bool
) -> Iterator[Deviation]:
    found = _member(root, table.name)
    if isinstance(found, h5py.Group):
        yield from _check_table(found, table)
    elif found is not None:
        yield _no_group(found)
    elif is_needed:
        yield _missing(layout.table_path(table.name), f"the table of {table.meaning}")


def _check_table(found: h5py.Group, table: layout.Table) -> Iterator[Deviation]:
    yield from _check_group(found)
    columns = table.columns if table.row_number is None else (table.row_number, *table.columns)
    wanted = [_Wanted(each, (table.axis,), is_axis=each.name == table.axis) for each in columns]
    yield from _check_datasets(found, wanted)


def _check_group(group: h5py.Group) -> Iterator[Deviation]:
    path = f"{group.name}@long_name"
    if not _text_of(group.attrs.get("long_name")):
        yield _missing(path, "a text that says what the group holds")


def _check_datasets(group: h5py.Group, wanted: Sequence[_Wanted]) -> Iterator[Deviation]:
    yield from _check_members(group, [each.variable.name for each in wanted])
    for each in wanted:
        path = f"{group.name}/{each.variable.name}"
        yield from guarded(path, _check_member(group, each))


def _check_member(group: h5py.Group, wanted: _Wanted) -> Iterator[Deviation]:
    variable, dataset = wanted.variable, _member(group, wanted.variable.name)
    path = f"{group.name}/{variable.name}"
    if dataset is None:
        if variable.required or wanted.is_axis:
            yield _missing(path, f"{variable.meaning} ({_type_name(variable)})")
        return
    if not isinstance(dataset, h5py.Dataset):
        yield Deviation(DeviationKind.TYPE, path, "a group", "a dataset")
        return
    yield from _check_type(path, dataset, variable)
    yield from _check_axes(path, group, dataset, wanted)
    yield from _check_described(path, dataset, variable)
    yield from _check_storage(path, dataset, wanted)


def _check_type(path: str, dataset: h5py.Dataset, variable: layout.Variable) -> Iterator[Deviation]:
    if variable.dtype == "str":
        is_right = _is_text(dataset)
    else:
        is_right = dataset.dtype == np.dtype(variable.dtype) and dataset.dtype.metadata is None
    if not is_right:
        yield Deviation(DeviationKind.TYPE, path, _dtype_name(dataset), _type_name(variable))


def _check_axes(
    path: str, group: h5py.Group, dataset: h5py.Dataset, wanted: _Wanted
) -> Iterator[Deviation]:
    dimensions = ", ".join(wanted.dimensions) or "none"
    if dataset.ndim != len(wanted.dimensions):
        found = f"{dataset.ndim} dimensions"
        yield Deviation(DeviationKind.SHAPE, path, found, f"the dimensions: {dimensions}")
        return
    if wanted.is_axis:
        if not dataset.is_scale:
            yield Deviation(DeviationKind.AXIS, path, "a plain dataset", "a dimension scale")
        return
    for number, name in enumerate(wanted.dimensions):
        axis = group.get(name)
        if not isinstance(axis, h5py.Dataset) or axis.shape is None:
            continue  # that the axis is missing or damaged is said where it should be
        if dataset.shape[number] != axis.size:
            found = f"length {dataset.shape[number]} along {name}"
            yield Deviation(DeviationKind.SHAPE, path, found, f"{axis.size}, as {axis.name} has")
        scales = _scales(dataset, number)
        if axis.is_scale and scales != [axis]:
            found = f"{', '.join(map(_scale_name, scales)) or 'no scale'} on axis {number}"
            yield Deviation(DeviationKind.AXIS, path, found, f"the scale {axis.name}")


def _scales(dataset: h5py.Dataset, number: int) -> list[h5py.Dataset]:
    try:
        return list(dataset.dims[number].values())
    except (RuntimeError, ValueError, KeyError):
        return []  # a reference to a scale that is gone


def _scale_name(scale: h5py.Dataset) -> str:
    return str(scale.name) if scale.name else "a scale that is gone"


def _check_described(
    path: str, dataset: h5py.Dataset, variable: layout.Variable
) -> Iterator[Deviation]:
    attributes = dataset.attrs
    if not _text_of(attributes.get("long_name")):
        yield _missing(f"{path}@long_name", "a text that says what the values mean")
    texts = {"units": variable.unit, "calendar": layout.TIME_CALENDAR if variable.is_time else ""}
    for name, wanted in texts.items():
        found = attributes.get(name)
        where = f"{path}@{name}"
        if found is None:
            if wanted:
                yield _missing(where, repr(wanted))
        elif _text_of(found) != wanted:
            shown = repr(_text_of(found) or found)
            yield Deviation(
                DeviationKind.ATTRIBUTE, where, shown, repr(wanted) if wanted else "none"
            )
    for name in CHANGING - ({"_FillValue"} if variable.is_float else set()):
        if name in attributes:
            shown = str(attributes[name])
            yield Deviation(DeviationKind.ATTRIBUTE, f"{path}@{name}", shown, "none")
    if variable.is_float and dataset.dtype.kind == "f":
        yield from _check_gap(path, dataset)
    if variable.flags:
        yield from _check_flags(path, dataset, variable)


def _check_gap(path: str, dataset: h5py.Dataset) -> Iterator[Deviation]:
    where, gap = f"{path}@_FillValue", dataset.attrs.get("_FillValue")
    wanted = f"NaN of type {dataset.dtype.kind}{dataset.dtype.itemsize}"
    if gap is None:
        yield _missing(where, wanted)
    elif np.asarray(gap).dtype != dataset.dtype or not np.all(np.isnan(gap)):
        yield Deviation(DeviationKind.ATTRIBUTE, where, f"{gap} ({_type_of(gap)})", wanted)
    if not np.isnan(dataset.fillvalue):
        found = f"the fill value {dataset.fillvalue}"
        yield Deviation(DeviationKind.STORAGE, path, found, "NaN where nothing was written")


def _check_flags(
    path: str, dataset: h5py.Dataset, variable: layout.Variable
) -> Iterator[Deviation]:
    known = {flag.value: flag.word for flag in variable.flags}
    version = _text_of(dataset.file.attrs.get("schema_version")) or layout.SCHEMA_VERSION
    wanted = {flag.value: flag.word for flag in variable.flags if layout.is_in(flag, version)}
    values = np.atleast_1d(dataset.attrs.get("flag_values", ())).tolist()
    words = (_text_of(dataset.attrs.get("flag_meanings")) or "").split()
    if "flag_values" not in dataset.attrs:
        yield _missing(f"{path}@flag_values", listed_codes(wanted))
    elif np.asarray(dataset.attrs["flag_values"]).dtype != np.dtype(variable.dtype):
        found, expected = _type_of(dataset.attrs["flag_values"]), f"codes of type {variable.dtype}"
        yield Deviation(DeviationKind.TYPE, f"{path}@flag_values", found, expected)
    elif "flag_meanings" not in dataset.attrs:
        yield _missing(f"{path}@flag_meanings", listed_codes(wanted))
    elif len(words) != len(values):
        found = f"{len(words)} words for {len(values)} codes"
        yield Deviation(
            DeviationKind.ATTRIBUTE, f"{path}@flag_meanings", found, "one word for each code"
        )
    else:
        told = dict(zip(values, words, strict=True))
        added = {code: word for code, word in told.items() if code not in known}
        if (
            any(told.get(code, word) != word for code, word in known.items())
            or wanted.keys() - told
        ):
            yield Deviation(
                DeviationKind.ATTRIBUTE,
                f"{path}@flag_meanings",
                listed_codes(told),
                listed_codes(wanted),
            )
        if added:
            yield _unknown(f"{path}@flag_values", f"the codes {listed_codes(added)}", wanted)


def listed_codes(codes: Mapping[int, str]) -> str:
    """Write codes with their words.

    Examples
    --------
    >>> listed_codes({0: "met", 2: "broken"})
    '0 = met, 2 = broken'
    """
    return ", ".join(f"{code} = {word}" for code, word in codes.items())


def _check_storage(path: str, dataset: h5py.Dataset, wanted: _Wanted) -> Iterator[Deviation]:
    if dataset.is_virtual:
        if _text_of(dataset.file.attrs.get("run_status")) == "complete":
            found = "values in other files"
            yield Deviation(DeviationKind.STORAGE, path, found, "all values in this file")
        return
    filters = _filters(dataset)
    if filters not in ([], ["shuffle", "gzip"]):
        yield Deviation(DeviationKind.STORAGE, path, " after ".join(filters[::-1]), PACKING)
    if wanted.chunk is not None and dataset.chunks != wanted.chunk and dataset.ndim:
        found = f"chunks of {dataset.chunks}" if dataset.chunks else "no chunks"
        yield Deviation(DeviationKind.STORAGE, path, found, f"chunks of {wanted.chunk}")


def _filters(dataset: h5py.Dataset) -> list[str]:
    plan = dataset.id.get_create_plist()
    codes = [plan.get_filter(number)[0] for number in range(plan.get_nfilters())]
    return [{**FILTERS, **OTHER_FILTERS}.get(code, f"filter {code}") for code in codes]


def _member(group: h5py.Group, name: str) -> Any:
    """Give what a group holds, None if nothing; h5py's `get` gives None for damage as well."""
    if name not in group:
        return None
    return group[name]


def _is_text(dataset: h5py.Dataset) -> bool:
    text = h5py.check_string_dtype(dataset.dtype)
    return text is not None and text.length is None and text.encoding == "utf-8"


def _dtype_name(dataset: h5py.Dataset) -> str:
    text = h5py.check_string_dtype(dataset.dtype)
    if text is not None:
        length = "variable-length" if text.length is None else f"{text.length} bytes of"
        return f"{length} text, {text.encoding.upper()}"
    kind = dataset.dtype
    if kind.kind not in "iuf":
        return str(kind)
    name = f"{kind.kind}{kind.itemsize}"
    if kind.metadata:
        return f"{name} as {', '.join(kind.metadata)}"
    return name if kind.isnative else f"{name} in another byte order"


def _type_name(variable: layout.Variable) -> str:
    return TEXT_TYPE if variable.dtype == "str" else variable.dtype


def _type_of(value: Any) -> str:
    if isinstance(value, str | bytes):
        return "a text" if _text_of(value) is not None else "a text that is no UTF-8"
    array = np.asarray(value)
    kind = f"{array.dtype.kind}{array.dtype.itemsize}"
    return f"type {kind}" if array.ndim == 0 else f"{array.size} values of type {kind}"


def _text_of(value: Any) -> str | None:
    """Give the text of an attribute, None if it is none or no UTF-8."""
    try:
        # What is no UTF-8 comes as lone surrogates.
        octets = value.encode() if isinstance(value, str) else value
        return octets.decode() if isinstance(octets, bytes) else None
    except UnicodeError:
        return None


def _missing(path: str, expected: str) -> Deviation:
    return Deviation(DeviationKind.MISSING, path, "nothing", expected)


def _no_group(dataset: h5py.Dataset) -> Deviation:
    return Deviation(DeviationKind.TYPE, dataset.name, "a dataset", "a group")


def _unknown(path: str, what: str, known: Iterable[object]) -> Deviation:
    names = ", ".join(str(name) for name in known)
    return Deviation(DeviationKind.UNKNOWN, path, what, f"one of: {names}")


ROOTS: Mapping[str, Callable[[h5py.Group], Iterator[Deviation]]] = {
    layout.META_ROOT: _check_texts,
    layout.SERIES_ROOT: _check_all_series,
    layout.TABLE_ROOT: _check_all_tables,
}
"""The groups at the top of a file, and what checks each."""
