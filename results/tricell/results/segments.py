"""Segments of a run: files of some consecutive slots and, mostly, a checkpoint to go on from.

A segment holds series and growing tables under the same names as the results file, without
axes and attributes, and is only read by those who show or join segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from tricell.errors import ResultsError
from tricell.results import layout
from tricell.results.datasets import (
    ROWS_PER_TABLE_CHUNK,
    Column,
    file_image,
    row_number,
    write_rows,
)
from tricell.results.disk_space import require_room
from tricell.results.packing import fast_deflate
from tricell.results.run_folder import FILE_ERRORS, SEGMENT, SEGMENTS, publish, unfinished
from tricell.results.saved_memory import PackedMemory, read_memory, write_memory

Recorded: TypeAlias = Mapping[str, Sequence[str]]
"""Group -> its variables, or growing table -> its columns, in the order of the layout."""

CHECKPOINT = "checkpoint"
WHOLE = "whole"
MEMORY = "memory"
GROWN = "grown"
FIRST_SLOT = "first_slot"
SLOTS = "slots"
TABLE_GZIP_LEVEL = 1


@dataclass(frozen=True)
class Segment:
    """A segment that is whole.

    Attributes
    ----------
    slots : number of slots in it.
    series : variables by group; nothing in a segment without slots.
    tables : columns by growing table, without the axis; only tables that have rows here.
    rows : rows here by growing table.
    has_checkpoint : whether a run can go on behind it.
    """

    path: Path
    first_slot: int
    slots: int
    series: Recorded
    tables: Recorded
    rows: Mapping[str, int]
    has_checkpoint: bool

    @property
    def end(self) -> int:
        """The first slot behind it."""
        return self.first_slot + self.slots


class OpenSegment:
    """The segment that is being written.

    Every step can be repeated, so that a segment can still be ended after an interruption.

    Parameters
    ----------
    folder : of the run.
    first_slot : its first slot.
    first_rows : growing table -> rows in the segments before.
    form : from `segment_form`.
    """

    def __init__(
        self,
        folder: Path,
        first_slot: int,
        first_rows: Mapping[str, int],
        form: bytes,
    ) -> None:
        self.path = folder / SEGMENT.format(first_slot)
        self.first_slot = first_slot
        self.slots = 0
        self.rows: dict[str, int] = {}
        self._first_rows = first_rows
        self._table_bytes = 0
        self._columns: dict[tuple[str, str], h5py.Dataset] = {}
        self._deflate = fast_deflate()
        unfinished(self.path).write_bytes(form)
        self._file = h5py.File(unfinished(self.path), "r+", libver=("earliest", "v108"))
        self._series = {
            (name, variable): dataset
            for name, group in self._file[layout.SERIES_ROOT].items()
            for variable, dataset in group.items()
        }

    def require_room(self, needed_bytes: int) -> None:
        """Make sure that the disk takes so many bytes more, beside those HDF5 still holds."""
        require_room(unfinished(self.path), self._table_bytes + needed_bytes)

    def write_series(self, series: Mapping[tuple[str, str], NDArray[Any]], count: int) -> None:
        """Take the next slots: (group, variable) -> array of shape (count, ...)."""
        for key, values in series.items():
            write_rows(self._series[key], self.slots, values, self._deflate)
        self.slots += count

    def append_rows(self, table: layout.Table, columns: Mapping[str, Column]) -> None:
        """Take the next rows of a growing table."""
        count = next(iter(columns.values())).size
        done = self.rows.get(table.name, 0)
        first = self._first_rows.get(table.name, 0) + done
        numbers = np.arange(first, first + count, dtype=np.int64)
        for name, values in {table.axis: numbers, **columns}.items():
            write_rows(self._column(table, name), done, values)
        self.rows[table.name] = done + count
        self._table_bytes += numbers.nbytes + sum(values.nbytes for values in columns.values())

    def publish(self, checkpoint: tuple[PackedMemory, PackedMemory] | None = None) -> Segment:
        """End the segment so that a crash keeps it: with memory and grown rows, or as a tail."""
        if self._file:
            self._end(checkpoint)
        if unfinished(self.path).exists() or not self.path.exists():
            publish(self.path)
        return read_segment(self.path)

    def abandon(self) -> None:
        """Let go of the file as it is."""
        with suppress(*FILE_ERRORS):
            self._file.close()

    def _end(self, checkpoint: tuple[PackedMemory, PackedMemory] | None) -> None:
        file = self._file
        if CHECKPOINT in file:
            del file[CHECKPOINT]
        if checkpoint is not None:
            group = file.create_group(CHECKPOINT)
            for name, memory in zip((MEMORY, GROWN), checkpoint, strict=True):
                write_memory(group, name, memory)
            group.attrs[WHOLE] = np.int8(1)
        for dataset in self._series.values():
            dataset.resize(self.slots, axis=0)
        for (table, _), column in self._columns.items():
            column.resize(self.rows.get(table, 0), axis=0)
        file.attrs[FIRST_SLOT], file.attrs[SLOTS] = self.first_slot, self.slots
        file.close()

    def _column(self, table: layout.Table, name: str) -> h5py.Dataset:
        """Give a column of a growing table, created when its first rows come."""
        key = (table.name, name)
        if key not in self._columns:
            path = layout.table_path(*key)
            self._columns[key] = self._file.get(path) or self._create_column(table, name, path)
        return self._columns[key]

    def _create_column(self, table: layout.Table, name: str, path: str) -> h5py.Dataset:
        variable = table.column(name) or row_number(table)
        chunk = (ROWS_PER_TABLE_CHUNK,)
        return _create(self._file, path, variable, (0,), chunk, gzip_level=TABLE_GZIP_LEVEL)


def segment_form(widths: Mapping[tuple[str, str], int | None], gzip_level: int) -> bytes:
    """Give the beginning of all segments of a run: series without slots.

    Parameters
    ----------
    widths : (group, variable) -> number of entities, None for one number per slot.
    gzip_level : for the series.
    """

    def fill(file: h5py.File) -> None:
        file.create_group(layout.SERIES_ROOT)
        for (group, name), width in widths.items():
            variable = layout.SERIES[group].variable(name)
            assert variable is not None
            shape: tuple[int, ...] = (0,) if width is None else (0, width)
            path, chunk = layout.series_path(group, name), layout.chunk_shape(width)
            _create(file, path, variable, shape, chunk, gzip_level=gzip_level)

    return file_image(fill, ("earliest", "v108"))


def _create(
    file: h5py.File,
    path: str,
    variable: layout.Variable,
    shape: tuple[int, ...],
    chunk: tuple[int, ...],
    *,
    gzip_level: int,
) -> h5py.Dataset:
    return file.create_dataset(
        path,
        shape,
        variable.dtype,
        maxshape=(None, *shape[1:]),
        chunks=chunk,
        compression="gzip",
        compression_opts=gzip_level,
        shuffle=True,
        fillvalue=np.nan if variable.is_float else None,
    )


def read_segment(path: Path) -> Segment:
    """Read what is in a segment.

    Raises
    ------
    ResultsError
        If it is damaged.
    """
    try:
        with h5py.File(path, "r") as file:
            return _segment(path, file)
    except (OSError, RuntimeError, KeyError) as error:
        raise ResultsError(
            f"{path} is damaged or cut off; delete it, and the run goes on before it. HDF5 says: "
            f"{error}"
        ) from error


def _segment(path: Path, file: h5py.File) -> Segment:
    series = file.get(layout.SERIES_ROOT, {})
    tables = file.get(layout.TABLE_ROOT, {})
    rows = {name: next(iter(table.values())).size for name, table in tables.items()}
    return Segment(
        path,
        int(file.attrs[FIRST_SLOT]),
        int(file.attrs[SLOTS]),
        {
            name: tuple(each.name for each in group.variables if each.name in series[name])
            for name, group in layout.SERIES.items()
            if name in series
        },
        {
            name: tuple(each.name for each in table.columns if each.name in tables[name])
            for name, table in layout.TABLES.items()
            if name in tables
        },
        rows,
        WHOLE in file[CHECKPOINT].attrs if CHECKPOINT in file else False,
    )


def saved_segments(folder: Path) -> list[Segment]:
    """List the segments that a run can go on behind: without a gap, each with a checkpoint."""
    kept: list[Segment] = []
    for path in sorted(folder.glob(SEGMENTS)):
        segment = read_segment(path)
        expected = kept[-1].end if kept else 0
        if not segment.has_checkpoint or segment.first_slot != expected:
            break
        kept.append(segment)
    return kept


def saved_memory(segment: Segment) -> dict[str, Any]:
    """Read the memory of a run at the end of a segment."""
    with h5py.File(segment.path, "r") as file:
        return read_memory(file[CHECKPOINT][MEMORY])


def saved_grown(segments: Sequence[Segment]) -> dict[str, NDArray[Any]]:
    """Read the rows that a run gathered in all segments, joined along the first axis."""
    parts: dict[str, list[NDArray[Any]]] = {}
    for segment in segments:
        with h5py.File(segment.path, "r") as file:
            for name, rows in read_memory(file[CHECKPOINT][GROWN]).items():
                parts.setdefault(name, []).append(rows)
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}
