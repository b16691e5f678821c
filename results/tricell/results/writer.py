"""Writing a results file while a run goes on, so that a crash loses little of it.

The run lies in a folder, see `tricell.results.run_folder`: a checkpoint ends a segment, and with
it all that was computed can be read and gone on with. At the end the segments become one file.
Nothing is on the disk before `ResultsWriter.begin`, and nothing stays of a run without slots.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tricell.errors import ResultsError
from tricell.results import layout
from tricell.results.datasets import Column, Columns, checked_table
from tricell.results.joining import (
    ROOM_FOR_THE_END,
    Frame,
    end_file,
    join,
    recorded_series,
    recorded_tables,
    rows_in,
    series_ids,
    write_master,
)
from tricell.results.run_folder import (
    FILE_ERRORS,
    HEADER,
    JOINED,
    RunFolder,
    check_output,
    clear_file_errors,
    part_path,
    publish,
    resume_command,
    sync,
    sync_folder,
    unfinished,
)
from tricell.results.run_header import RunHeader, begun, header_as_json, resumed
from tricell.results.saved_memory import Memory, PackedMemory, pack_memory
from tricell.results.saved_run import SavedRun
from tricell.results.segments import OpenSegment, Segment, segment_form
from tricell.results.writer_checks import (
    checked_entities,
    checked_totals,
    listed,
    recorded_variables,
    refuse_other_entities,
    refuse_other_variables,
)

__all__ = ["ResultsWriter", "RunHeader", "SavedRun", "check_output", "part_path"]

SlotValues: TypeAlias = Mapping[str, Mapping[str, NDArray[Any] | float]]
"""group -> variable -> one number per entity (a single number in the group `slot`)."""

BlockValues: TypeAlias = Mapping[str, Mapping[str, NDArray[Any]]]
"""group -> variable -> array of shape (slots, entities), (slots,) in the group `slot`."""

Derive: TypeAlias = Callable[[Path], Mapping[str, Columns]]
"""Path of the joined file -> tables that are worked out from it."""


class ResultsWriter:
    """Writes one results file.

    Parameters
    ----------
    path
        Name of the finished file.
    header
        What is known about the run.
    entities
        Tables of `layout.ENTITY_TABLES`: name -> column -> values. Their ids, in their order,
        are the axes of the time series.
    force
        Replace an existing file, and a stopped run of it.
    gzip_level
        1 (faster) to 4 (smaller); whole days of series are packed faster than level 1 where the
        package `isal` is installed.

    Raises
    ------
    ResultsError
        If the output exists or cannot be written, or if a table does not fit the layout.
    """

    def __init__(
        self,
        path: Path | str,
        header: RunHeader,
        entities: Mapping[str, Columns],
        *,
        force: bool = False,
        gzip_level: int = 4,
    ) -> None:
        check_output(path, force=force)
        self._force = force
        self._set_up(RunFolder(Path(path)), begun(header), checked_entities(entities), gzip_level)

    @classmethod
    def resume(
        cls,
        saved: SavedRun,
        entities: Mapping[str, Columns] | None = None,
        *,
        gzip_level: int = 4,
    ) -> ResultsWriter:
        """Give a writer that goes on behind the last checkpoint of a stopped run.

        Parameters
        ----------
        saved
            The stopped run; the writer takes over its lock.
        entities
            As for a new run; compared with what the run was begun with.

        Raises
        ------
        ResultsError
            If the tables of entities are not those of the run.
        """
        if entities is not None:
            refuse_other_entities(checked_entities(entities), saved)
        writer = cls.__new__(cls)
        writer._force = False
        header = resumed(saved.header, saved.slots_saved)
        writer._set_up(saved.hand_over(), header, saved.entities, gzip_level)
        writer._saved = saved
        writer._segments = list(saved.segments)
        writer._taken = saved.slots_saved
        writer._columns = {
            name: set(columns) for name, columns in recorded_tables(saved.segments).items()
        }
        return writer

    def _set_up(
        self,
        folder: RunFolder,
        header: RunHeader,
        entities: dict[str, dict[str, Column]],
        gzip_level: int,
    ) -> None:
        self.path = folder.output
        self.part_path = folder.path
        self._folder = folder
        self._header = header
        self._entities = entities
        self._ids = series_ids(entities)
        self._gzip_level = gzip_level
        self._frame = Frame(header, entities, gzip_level)
        self._saved: SavedRun | None = None
        self._segments: list[Segment] = []
        self._segment: OpenSegment | None = None
        self._form = b""
        self._is_open = False
        self._groups: set[str] = set()
        self._buffers: dict[tuple[str, str], NDArray[Any]] = {}
        self._taken = 0
        self._rows: dict[str, list[dict[str, Column]]] = {}
        self._columns: dict[str, set[str]] = {}

    @property
    def slots_written(self) -> int:
        """Number of slots taken so far, those before the run was resumed among them."""
        return self._taken

    @property
    def segments_written(self) -> int:
        """Number of segments on the disk; who reads the run while it goes on opens all of them."""
        return len(self._segments)

    @property
    def _row(self) -> int:
        """Number of slots that wait for the disk."""
        return self._taken - self._slots_on_disk

    @property
    def _slots_on_disk(self) -> int:
        before = self._segments[-1].end if self._segments else 0
        return before + (self._segment.slots if self._segment is not None else 0)

    def __enter__(self) -> ResultsWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._is_open:
            self.abandon()
            return
        if error is None:
            self.finish("failed", failure_message="the run ended without saying how")
            return
        try:
            self.finish("failed", failure_message=str(error) or type(error).__name__)
        except ResultsError as second:
            error.add_note(str(second))
            self.abandon()

    def begin(self) -> None:
        """Make the folder of the run, so that it can be read and gone on with from now on.

        Raises
        ------
        ResultsError
            If the output exists meanwhile, or if the folder cannot be written.
        """
        if self._is_open:
            return
        if self._saved is None:
            check_output(self.path, force=self._force)
            self._folder.create()
        self._is_open = True
        begins = clear_file_errors(self.part_path, "start the run again")
        with begins if self._saved is None else self._clear_file_errors():
            self._write_header()
            self._write_master()
            if self._saved is not None:
                self._folder.remove_leftovers(segment.path for segment in self._segments)

    def abandon(self) -> None:
        """Let go of the run as a crash would, e.g. because the disk is full."""
        self._is_open = False
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.abandon()
        self._folder.unlock()

    def write_slot(self, values: SlotValues) -> None:
        """Take the values of the next slot; see `write_block`."""
        rows = {
            group: {name: np.asarray(value)[np.newaxis] for name, value in columns.items()}
            for group, columns in values.items()
        }
        self.write_block(rows)

    def write_block(self, values: BlockValues) -> None:
        """Take the values of some consecutive slots; the arrays are copied.

        The first block decides which variables the file has, all others bring the same.

        Parameters
        ----------
        values
            group -> variable -> array of shape (slots, entities), or (slots,) in the group
            `slot`.

        Raises
        ------
        ResultsError
            If values are missing, unknown or of the wrong shape, if there are more slots than
            announced, or if the file cannot be written.
        """
        if not self._groups:
            self._plan(values)
        self.begin()
        group, variable = next(iter(self._buffers))
        count = len(values.get(group, {}).get(variable, ()))
        if self.slots_written + count > self._header.number_of_slots:
            raise ResultsError(
                f"{self.path}: the run was announced with {self._header.number_of_slots} slots "
                f"and brings more"
            )
        self._check_shapes(values, count)
        taken = 0
        while taken < count:
            row = self._row
            step = min(count - taken, layout.ROWS_PER_CHUNK - row)
            for (group, name), buffer in self._buffers.items():
                buffer[row : row + step] = values[group][name][taken : taken + step]
            self._taken += step
            taken += step
            if row + step == layout.ROWS_PER_CHUNK:
                self.flush()

    def append_trades(self, columns: Columns) -> None:
        """Take trades, as columns of tables/trade; see `append_rows`."""
        self.append_rows(layout.TRADE, columns)

    def append_rows(self, name: str, columns: Columns) -> None:
        """Take rows of a table that grows; a single number stands for the whole column.

        Parameters
        ----------
        name
            Name of the table: `layout.TRADE`, `layout.POSTING` or `layout.SERVICE`.
        columns
            Column name -> values; the first rows decide which columns the table has.

        Raises
        ------
        ResultsError
            If a column is missing, unknown or of another length.
        """
        table = layout.TABLES[name]
        try:
            arrays = np.broadcast_arrays(*(np.atleast_1d(column) for column in columns.values()))
        except ValueError as error:
            lengths = {name: np.size(column) for name, column in columns.items()}
            raise ResultsError(f"tables/{name}: the columns differ in length: {lengths}") from error
        checked = checked_table(table, dict(zip(columns, arrays, strict=True)))
        had = self._columns.setdefault(name, set(checked))
        if had != set(checked):
            raise ResultsError(
                f"tables/{name}: these rows bring the columns {listed(set(checked))}, the first "
                f"rows had {listed(had)}"
            )
        rows = self._rows.setdefault(name, [])
        rows.append({column: values.copy() for column, values in checked.items()})

    def flush(self) -> None:
        """Write to the disk what was taken so far; done by itself once a day of slots."""
        count = self._row
        if not self._is_open or not (count or self._rows):
            return
        with self._clear_file_errors():
            segment = self._open_segment()
            segment.require_room(self._bytes_taken() + ROOM_FOR_THE_END)
            if count:
                taken = {key: buffer[:count] for key, buffer in self._buffers.items()}
                segment.write_series(taken, count)
            self._flush_rows(segment)

    def checkpoint(self, memory: Memory, grown: Mapping[str, NDArray[Any]]) -> None:
        """Put all that was taken so far on the disk, so that the run can go on from here.

        Without a slot since the last checkpoint nothing is done.

        Parameters
        ----------
        memory
            State of the run behind the last slot: numpy arrays, numbers, texts, None, and lists,
            tuples and mappings of those. It replaces that of the last checkpoint.
        grown
            Rows that came since the last checkpoint; `SavedRun.grown` joins those of all.

        Raises
        ------
        ResultsError
            If the memory holds anything else, or if the folder cannot be written.
        """
        packed = pack_memory(memory, "memory"), pack_memory(grown, "grown")
        self.flush()
        if self._segment is None or not self._segment.slots:
            return
        with self._clear_file_errors():
            self._segment.require_room(sum(each.nbytes for each in packed))
            self._end_segment(packed)
            self._write_master()

    def finish(
        self,
        status: Literal["complete", "failed"] = "complete",
        tables: Mapping[str, Columns] | None = None,
        *,
        failure_message: str = "",
        derive: Derive | None = None,
    ) -> Path | None:
        """Join all segments, write the tables at the end and give the file its name.

        Parameters
        ----------
        status
            "complete", or "failed" for a run that ended early: what was computed stays readable,
            and the folder stays so that the run can be gone on with.
        tables
            bill, warning, timing and so on: name -> column -> values. Of the table of devices the
            columns `layout.DEVICE_TOTALS`.
        failure_message
            Why the run failed.
        derive
            Called with the path of the joined file, with all those tables in it, before it gets
            its name; gives the tables that are worked out from it.

        Returns
        -------
        The path of the file, or None if there never was a slot and so there is no file.

        Raises
        ------
        ResultsError
            If a table does not fit the layout or the file cannot be written.
        """
        if not self._is_open:
            self.abandon()
            return None
        if self.slots_written == 0:
            self._remove_folder()
            return None
        if status == "complete" and self.slots_written != self._header.number_of_slots:
            raise ResultsError(
                f"{self.path}: the run has {self.slots_written} of "
                f"{self._header.number_of_slots} slots and is not complete"
            )
        if status == "failed":
            failure_message = failure_message or "the run ended without saying why"
        checked = self._checked_tables(tables or {})
        self._end_tail(must_succeed=status == "complete")
        if status == "failed":
            self._show_failure(failure_message)
        try:
            self._join(status, checked, failure_message, derive)
        except BaseException as error:
            if status == "complete":
                self._show_failure(f"the results could not be joined: {error}")
            self.abandon()
            raise
        if status == "complete":
            self._remove_folder()
        else:
            self.abandon()
        return self.path

    def _plan(self, values: BlockValues) -> None:
        """Decide by the first block which variables the run records."""
        recorded = recorded_variables(values, self._ids)
        if not recorded:
            raise ResultsError(f"{self.path}: the first slot brings no values")
        if any(segment.slots for segment in self._segments):
            refuse_other_variables(recorded, recorded_series(self._segments), self.path)
        self._groups = set(values)
        for group, names in recorded.items():
            width = self._ids[group].size if layout.SERIES[group].id_table else None
            shape = (layout.ROWS_PER_CHUNK,) if width is None else (layout.ROWS_PER_CHUNK, width)
            for variable in layout.SERIES[group].variables:
                if variable.name in names:
                    self._buffers[group, variable.name] = np.empty(shape, variable.dtype)

    def _open_segment(self) -> OpenSegment:
        if self._segment is None:
            first_rows = rows_in(self._segments)
            self._segment = OpenSegment(
                self.part_path, self._slots_on_disk, first_rows, self._segment_form()
            )
        return self._segment

    def _segment_form(self) -> bytes:
        if not self._form:
            widths: dict[tuple[str, str], int | None] = {
                key: buffer.shape[1] if buffer.ndim > 1 else None
                for key, buffer in self._buffers.items()
            }
            self._form = segment_form(widths, self._gzip_level)
        return self._form

    def _flush_rows(self, segment: OpenSegment) -> None:
        waiting, self._rows = self._rows, {}
        for name, parts in waiting.items():
            columns = {
                column: np.concatenate([rows[column] for rows in parts]) for column in parts[0]
            }
            segment.append_rows(layout.TABLES[name], columns)

    def _end_segment(self, checkpoint: tuple[PackedMemory, PackedMemory] | None = None) -> None:
        segment = self._segment
        if segment is None:
            return
        ended = segment.publish(checkpoint)
        # After an interruption just here it is on the list already.
        if not self._segments or self._segments[-1].path != ended.path:
            self._segments.append(ended)
        self._segment = None

    def _end_tail(self, *, must_succeed: bool) -> None:
        """Put what came behind the last checkpoint on the disk."""
        try:
            self.flush()
        except ResultsError:
            if must_succeed:
                raise
        with self._clear_file_errors():
            self._end_segment()

    def _write_header(self) -> None:
        path = self.part_path / HEADER
        unfinished(path).write_text(header_as_json(self._header), encoding="utf-8")
        publish(path)

    def _write_master(
        self, status: layout.RunStatus = "running", failure_message: str = ""
    ) -> None:
        write_master(
            self.part_path,
            self._frame,
            self._segments,
            status=status,
            failure_message=failure_message,
        )

    def _show_failure(self, failure_message: str) -> None:
        """Say in the folder why the run ended, if the disk takes it."""
        with suppress(*FILE_ERRORS):
            self._write_master("failed", failure_message)

    def _join(
        self,
        status: layout.RunStatus,
        tables: dict[str, dict[str, Column]],
        failure_message: str,
        derive: Derive | None,
    ) -> None:
        path = unfinished(self.part_path / JOINED)
        try:
            with self._clear_file_errors():
                join(path, self._frame, self._segments)
            if derive is not None:
                with self._clear_file_errors():
                    end_file(path, tables, "running", "", self._gzip_level)
                tables, failure_message = self._derived(derive, path, tables, failure_message)
            with self._clear_file_errors():
                end_file(path, tables, status, failure_message, self._gzip_level)
                sync(path)
        except BaseException:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            raise
        with self._clear_file_errors(self.path):
            self._give_name(path)

    def _derived(
        self, derive: Derive, path: Path, given: Mapping[str, object], failure_message: str
    ) -> tuple[dict[str, dict[str, Column]], str]:
        """Work out the last tables; a run that failed goes without them if they have no answer."""
        try:
            return self._checked_tables(derive(path), given), failure_message
        except ResultsError as error:
            if not failure_message:
                raise
            return {}, f"{failure_message}\nKey figures were not worked out: {error}"

    def _give_name(self, path: Path) -> None:
        if self.path.exists() and not self._may_be_replaced():
            whole = self.part_path / JOINED
            os.replace(path, whole)
            raise ResultsError(
                f"{self.path} appeared while the run went on and is not overwritten; "
                f"the results are in {whole}: move that file to another name"
            )
        os.replace(path, self.path)
        sync_folder(self.path.absolute().parent)

    def _may_be_replaced(self) -> bool:
        """Whether the existing file is in nobody's way: the run's own end when it failed."""
        return self._force or (self._saved is not None and self._saved.is_own_failure())

    def _remove_folder(self) -> None:
        self._is_open = False
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.abandon()
        self._folder.remove()

    def _clear_file_errors(self, path: Path | None = None) -> AbstractContextManager[None]:
        return clear_file_errors(
            path or self.part_path,
            f"go on with `{resume_command(self.path)}`; what was saved can be read in "
            f"{self._folder.master}",
        )

    def _bytes_taken(self) -> int:
        """Give the bytes that wait for the disk, before packing."""
        series = sum(buffer.nbytes for buffer in self._buffers.values())
        waiting = (rows for parts in self._rows.values() for rows in parts)
        return series + sum(column.nbytes for rows in waiting for column in rows.values())

    def _checked_tables(
        self, tables: Mapping[str, Columns], given: Mapping[str, object] | None = None
    ) -> dict[str, dict[str, Column]]:
        checked = {}
        there = {*self._entities, *self._rows, *recorded_tables(self._segments), *(given or ())}
        if self._segment is not None:
            there |= set(self._segment.rows)
        for name, columns in tables.items():
            if name not in layout.TABLES:
                raise ResultsError(f"{name}: no such table; allowed: {', '.join(layout.TABLES)}")
            is_totals = name == layout.DEVICE and name in self._entities
            if name in (given or ()) or (name in there and not is_totals):
                raise ResultsError(f"tables/{name} was written before; give it once")
            checked[name] = (
                checked_totals(columns, self._entities[name])
                if is_totals
                else checked_table(layout.TABLES[name], columns)
            )
        return checked

    def _check_shapes(self, values: BlockValues, count: int) -> None:
        time = np.datetime64(int(self._header.times(self.slots_written, 1)[0]), "s")
        where = f"slot {self.slots_written} ({time} UTC)"
        if set(values) != self._groups:
            raise ResultsError(
                f"{where} brings the groups {listed(set(values))}, the first slot had "
                f"{listed(self._groups)}"
            )
        for group in {group for group, _ in self._buffers}:
            expected = {name for of, name in self._buffers if of == group}
            given = set(values[group])
            if expected != given:
                raise ResultsError(
                    f"{where}: the group {group} brings {listed(given - expected)} that the "
                    f"first slot did not have, and lacks {listed(expected - given)}"
                )
        for (group, name), buffer in self._buffers.items():
            array = values[group][name]
            if array.shape != (count, *buffer.shape[1:]):
                raise ResultsError(
                    f"{where}: {group}/{name} has the shape {array.shape[1:]}, expected "
                    f"{buffer.shape[1:]}, one number per {group}, and {count} slots"
                )
            if array.dtype.kind not in "fiub":
                raise ResultsError(f"{where}: {group}/{name} is not a number")
