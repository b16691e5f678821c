"""Segments as one file: virtually, while a run goes on, and as a plain file at its end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import h5py
import numpy as np

from tricell.results import layout
from tricell.results.datasets import (
    ROWS_PER_TABLE_CHUNK,
    Column,
    add_columns,
    attach,
    create_axis,
    create_growing_table,
    create_series,
    create_table,
    create_table_group,
    describe,
    file_image,
    row_number,
    storable_text,
    write_rows,
)
from tricell.results.disk_space import require_room
from tricell.results.packing import copy_chunks, fast_deflate
from tricell.results.run_folder import MASTER, publish, unfinished
from tricell.results.run_header import RunHeader, write_header
from tricell.results.segments import Recorded, Segment

PLAIN = ("earliest", "v108")
VIRTUAL = ("earliest", "v110")
"""Oldest and newest form of HDF5 that files may need: virtual datasets came with 1.10."""

EntityColumns: TypeAlias = Mapping[str, Mapping[str, Column]]

ROOM_FOR_THE_END = 2**21
"""Bytes that are kept free on the disk so that a run can be ended properly."""
BYTES_PER_PIECE = 128
"""Of one dataset of one segment in the file that shows all of them."""


class _Place(NamedTuple):
    """A series to be filled, and its axes."""

    group: h5py.Group
    variable: layout.Variable
    axes: list[h5py.Dataset]

    @property
    def path(self) -> str:
        return f"{self.group.name}/{self.variable.name}"


class _Piece(NamedTuple):
    """Rows of a virtual dataset: where they begin, how many, and the file that has them."""

    first: int
    rows: int
    file: str


def series_ids(entities: EntityColumns) -> dict[str, Column]:
    """Give the ids of each group of time series, from the tables of entities."""
    ids = {}
    for group in layout.SERIES.values():
        columns = entities.get(group.id_table)
        if columns is None:
            continue
        of_table = columns[layout.TABLES[group.id_table].axis]
        ids[group.name] = of_table[columns["level"] == group.level] if group.level else of_table
    return ids


def recorded_series(segments: Iterable[Segment]) -> Recorded:
    """Give the variables of a run by group, from its first segment with slots."""
    return next((segment.series for segment in segments if segment.slots), {})


def recorded_tables(segments: Iterable[Segment]) -> Recorded:
    """Give the columns of the growing tables that have rows, in the order of the layout."""
    found = {name: columns for segment in segments for name, columns in segment.tables.items()}
    return {name: found[name] for name in layout.TABLES if name in found}


def rows_in(segments: Iterable[Segment]) -> dict[str, int]:
    """Count the rows of each growing table."""
    counts: dict[str, int] = {}
    for segment in segments:
        for name, rows in segment.rows.items():
            counts[name] = counts.get(name, 0) + rows
    return counts


class Frame:
    """What does not change in the files of a run, made once: header, entities, groups and ids.

    Parameters
    ----------
    header, entities : of the run.
    gzip_level : for tables and series.
    """

    def __init__(self, header: RunHeader, entities: EntityColumns, gzip_level: int) -> None:
        self.header = header
        self.entities = entities
        self.gzip_level = gzip_level
        self._images: dict[tuple[str, ...], bytes] = {}

    def start_file(self, path: Path, segments: Sequence[Segment]) -> None:
        """Write the beginning of a file that shows or joins segments, with the status running."""
        recorded = recorded_series(segments)
        image = self._images.get(tuple(recorded))
        if image is None:
            image = file_image(lambda file: self._fill(file, recorded), PLAIN)
            self._images[tuple(recorded)] = image
        path.write_bytes(image)

    def places(self, file: h5py.File, segments: Sequence[Segment]) -> list[_Place]:
        """Write the times of all slots; give the series to be filled."""
        times = self.header.times(0, segments[-1].end if segments else 0)
        places = []
        for name, names in recorded_series(segments).items():
            kind, group = layout.SERIES[name], file[layout.series_path(name)]
            axes = [group[layout.TIME.name], *([group[name]] if kind.id_table else [])]
            write_rows(axes[0], 0, times)
            places += [_Place(group, each, axes) for each in kind.variables if each.name in names]
        return places

    def _fill(self, file: h5py.File, recorded: Recorded) -> None:
        write_header(file, self.header)
        tables = file.create_group(layout.TABLE_ROOT, track_order=True)
        for name, columns in self.entities.items():
            create_table(tables, layout.TABLES[name], columns, self.gzip_level)
        root = file.create_group(layout.SERIES_ROOT, track_order=True)
        ids = series_ids(self.entities)
        for name in recorded:
            kind = layout.SERIES[name]
            group = root.create_group(name, track_order=True)
            group.attrs["long_name"] = kind.meaning
            create_axis(group, layout.TIME, np.empty(0, np.int64), grows=True)
            if kind.id_table:
                axis = layout.Variable(name, "str", "", f"ids, as in tables/{kind.id_table}")
                create_axis(group, axis, ids[name])


def write_master(
    folder: Path,
    frame: Frame,
    segments: Sequence[Segment],
    *,
    status: layout.RunStatus = "running",
    failure_message: str = "",
) -> None:
    """Write the file that shows everything so far; programs read it like a finished one."""
    path = folder / MASTER
    datasets = sum(map(len, recorded_series(segments).values())) + len(layout.TABLES)
    growth = BYTES_PER_PIECE * datasets * len(segments)
    frame.start_file(unfinished(path), segments)
    require_room(unfinished(path), growth + ROOM_FOR_THE_END // 8)
    with h5py.File(unfinished(path), "r+", libver=VIRTUAL) as file:
        pieces = [_Piece(each.first_slot, each.slots, each.path.name) for each in segments]
        for place in frame.places(file, segments):
            _show(place.group, place.variable, pieces, place.axes)
        for name, columns in recorded_tables(segments).items():
            _show_table(file[layout.TABLE_ROOT], layout.TABLES[name], columns, segments)
        set_status(file, status, failure_message)
    publish(path)


def join(path: Path, frame: Frame, segments: Sequence[Segment]) -> None:
    """Write all segments as one plain file, its status still running."""
    frame.start_file(path, segments)
    require_room(path, ROOM_FOR_THE_END // 8)
    with h5py.File(path, "r+", libver=PLAIN) as file:
        series = {
            place.path: create_series(*place, frame.gzip_level)
            for place in frame.places(file, segments)
        }
        columns = _create_tables(file[layout.TABLE_ROOT], segments, frame.gzip_level)
        for segment in segments:
            require_room(path, segment.path.stat().st_size + ROOM_FOR_THE_END // 8)
            with h5py.File(segment.path, "r") as source:
                _copy_segment(source, segment, series, columns)
        for growing in columns.values():
            growing.end()


def _create_tables(
    parent: h5py.Group, segments: Sequence[Segment], gzip_level: int
) -> dict[str, _GrowingColumn]:
    """Create the growing tables; give their columns by path."""
    counts = rows_in(segments)
    columns: dict[str, _GrowingColumn] = {}
    for name, names in recorded_tables(segments).items():
        table = layout.TABLES[name]
        group = create_growing_table(parent, table, names, counts[name], gzip_level)
        columns |= {column.name: _GrowingColumn(column) for column in group.values()}
    return columns


def _copy_segment(
    source: h5py.File,
    segment: Segment,
    series: Mapping[str, h5py.Dataset],
    columns: Mapping[str, _GrowingColumn],
) -> None:
    if segment.slots:
        for path, target in series.items():
            _copy_rows(source[path], target, segment.first_slot)
    for name in segment.rows:
        for column in source[layout.table_path(name)].values():
            columns[column.name].add(column[:])


def end_file(
    path: Path,
    tables: Mapping[str, Mapping[str, Column]],
    status: layout.RunStatus,
    failure_message: str,
    gzip_level: int,
) -> None:
    """Write the tables at the end of a joined file, or more columns of one, then its status."""
    volume = sum(column.nbytes for columns in tables.values() for column in columns.values())
    require_room(path, 8 * volume + ROOM_FOR_THE_END // 8)
    with h5py.File(path, "r+", libver=PLAIN) as file:
        parent = file[layout.TABLE_ROOT]
        for name, columns in tables.items():
            if name in parent:
                add_columns(parent[name], layout.TABLES[name], columns, gzip_level)
            else:
                create_table(parent, layout.TABLES[name], columns, gzip_level)
        set_status(file, status, failure_message)


def set_status(file: h5py.File, status: layout.RunStatus, failure_message: str) -> None:
    """Write how the run ended, or that it goes on; the last thing that is written."""
    if status == "failed":
        file.attrs["failure_message"] = storable_text(failure_message)
    file.flush()
    file.attrs["run_status"] = status


class _GrowingColumn:
    """A column of a joined table; whole chunks are packed as fast as can be."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset
        self._deflate = fast_deflate()
        self._waiting: list[Column] = []
        self._written = 0

    def add(self, rows: Column) -> None:
        self._waiting.append(rows)
        if sum(part.size for part in self._waiting) >= ROWS_PER_TABLE_CHUNK:
            self._write(ROWS_PER_TABLE_CHUNK)

    def end(self) -> None:
        if self._waiting:
            self._write(1)

    def _write(self, step: int) -> None:
        """Write what waits, in multiples of so many rows."""
        rows = np.concatenate(self._waiting)
        count = rows.size // step * step
        write_rows(self._dataset, self._written, rows[:count], self._deflate)
        self._written += count
        self._waiting = [rows[count:]]


def _copy_rows(source: h5py.Dataset, target: h5py.Dataset, first: int) -> None:
    if first % source.chunks[0]:
        write_rows(target, first, source[:])
    else:
        copy_chunks(source, target, first)


def _show_table(
    parent: h5py.Group, table: layout.Table, columns: Iterable[str], segments: Sequence[Segment]
) -> None:
    pieces, first = [], 0
    for segment in segments:
        rows = segment.rows.get(table.name, 0)
        pieces.append(_Piece(first, rows, segment.path.name))
        first += rows
    group = create_table_group(parent, table)
    axis = _show(group, row_number(table), pieces)
    axis.make_scale(table.axis)
    for column in table.columns:
        if column.name in columns:
            _show(group, column, pieces, [axis])


def _show(
    group: h5py.Group,
    variable: layout.Variable,
    pieces: Sequence[_Piece],
    axes: Sequence[h5py.Dataset] = (),
) -> h5py.Dataset:
    """Create a dataset whose rows lie in other files; h5py's own way takes ten times as long."""
    shape = (sum(piece.rows for piece in pieces), *(axis.size for axis in axes[1:]))
    whole = h5py.h5s.create_simple(shape)
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_attr_creation_order(h5py.h5p.CRT_ORDER_TRACKED | h5py.h5p.CRT_ORDER_INDEXED)
    if variable.is_float:
        properties.set_fill_value(np.array(np.nan, variable.dtype))
    path = f"{group.name}/{variable.name}".encode()
    source = whole.copy()
    for piece in pieces:
        if piece.rows:
            extent = (piece.rows, *shape[1:])
            whole.select_hyperslab((piece.first, *(0 for _ in shape[1:])), extent)
            source.set_extent_simple(extent)
            properties.set_virtual(whole, piece.file.encode(), path, source)
    whole.select_all()
    kind = h5py.h5t.py_create(np.dtype(variable.dtype), logical=True)
    h5py.h5d.create(group.id, variable.name.encode(), kind, whole, dcpl=properties)
    dataset = group[variable.name]
    describe(dataset, variable)
    attach(dataset, axes)
    return dataset
