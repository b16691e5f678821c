"""Writing a results file while a run goes on.

Slots come in blocks of any length; a day is written at once. The file is called
`<name>.part` until `ResultsWriter.finish` renames it, and nothing is on the disk before the
first slot is there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from tricell.errors import ResultsError
from tricell.results import layout
from tricell.results.datasets import (
    Column,
    Columns,
    append,
    checked_table,
    create_axis,
    create_series,
    create_table,
    epoch_seconds,
    storable_text,
)
from tricell.results.disk_space import require_room
from tricell.results.packing import fast_deflate

SlotValues: TypeAlias = Mapping[str, Mapping[str, NDArray[Any] | float]]
"""group -> variable -> one number per entity (a single number in the group `slot`)."""

BlockValues: TypeAlias = Mapping[str, Mapping[str, NDArray[Any]]]
"""group -> variable -> array of shape (slots, entities), (slots,) in the group `slot`."""

FILE_ERRORS = (OSError, RuntimeError)
"""What h5py raises when the system refuses a write."""

ROOM_FOR_THE_END = 2**21
"""Bytes that are kept free on the disk so that a run can be ended properly."""


@dataclass(frozen=True)
class RunHeader:
    """What is known about a run before it starts.

    `start` is the start of the first slot (UTC), `provenance` anything that JSON can hold:
    packages, inputs with version and licence, solver, machine.
    """

    run_id: str
    scenario_yaml: str
    random_seed: int
    start: np.datetime64
    number_of_slots: int
    time_step_s: int = 900
    time_zone_local: str = "UTC"
    currency: str = "EUR"
    provenance: Mapping[str, object] = field(default_factory=dict)
    date_created: str = field(default_factory=lambda: datetime.now(UTC).isoformat("T", "seconds"))


@dataclass(frozen=True)
class _Series:
    """A growing dataset and the rows of it that are not written yet."""

    dataset: h5py.Dataset
    buffer: NDArray[Any]


_GroupPlan: TypeAlias = tuple[str, int, list[tuple[str, NDArray[Any]]]]


def check_output(path: Path | str, *, force: bool = False) -> None:
    """Refuse an output that exists or a folder that cannot be written, before a run starts.

    Raises
    ------
    ResultsError
        If the file, or its unfinished form, exists and `force` is not set, or if the folder is
        missing or read-only.
    """
    target = Path(path)
    part = part_path(target)
    folder = target.absolute().parent
    if not folder.is_dir():
        raise ResultsError(f"{target}: the folder {folder} does not exist; create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ResultsError(f"{target}: no permission to write in {folder}; choose another output")
    if target.is_dir():
        raise ResultsError(f"{target} is a folder; name a file in it, e.g. {target / 'run.h5'}")
    if force:
        return
    if target.exists():
        raise ResultsError(
            f"{target} exists and is not overwritten; choose another output or use --force"
        )
    if part.exists():
        raise ResultsError(
            f"{part} exists: a run is writing it, or one was stopped and left it; "
            f"choose another output, or use --force to replace it"
        )


def part_path(path: Path | str) -> Path:
    """Give the name of a results file while it is being written.

    Examples
    --------
    >>> part_path("out/week.h5").name
    'week.h5.part'
    """
    target = Path(path)
    return target.with_name(target.name + ".part")


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
        Replace an existing file.
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
        self.path = Path(path)
        self.part_path = part_path(path)
        self._header = header
        self._force = force
        self._gzip_level = gzip_level
        self._entities = _checked_entities(entities)
        self._ids = _series_ids(self._entities)
        self._deflate = fast_deflate()
        self._file: h5py.File | None = None
        self._plan: list[_GroupPlan] = []
        self._groups: set[str] = set()
        self._series: list[_Series] = []
        self._clocks: list[h5py.Dataset] = []
        self._rows: dict[str, list[dict[str, Column]]] = {}
        self._growing: dict[str, h5py.Group] = {}
        self._row = 0
        self._slots_on_disk = 0

    @property
    def slots_written(self) -> int:
        """Number of slots taken so far."""
        return self._slots_on_disk + self._row

    def __enter__(self) -> ResultsWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is None:
            return
        if error is None:
            self.finish("failed", failure_message="the run ended without saying how")
            return
        try:
            self.finish("failed", failure_message=str(error) or type(error).__name__)
        except ResultsError as second:
            error.add_note(str(second))
            self.abandon()

    def abandon(self) -> None:
        """Let go of the unfinished file as it is, e.g. because the disk is full."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(*FILE_ERRORS):
                file.close()

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
        if self._file is None:
            self._begin(values)
        count = len(next(iter(values[self._plan[0][0]].values()), ()))
        if self.slots_written + count > self._header.number_of_slots:
            raise ResultsError(
                f"{self.path}: the run was announced with {self._header.number_of_slots} slots "
                f"and brings more"
            )
        self._check_shapes(values, count)
        taken = 0
        while taken < count:
            step = min(count - taken, layout.ROWS_PER_CHUNK - self._row)
            for group, _, buffers in self._plan:
                for name, buffer in buffers:
                    buffer[self._row : self._row + step] = values[group][name][taken : taken + step]
            self._row += step
            taken += step
            if self._row == layout.ROWS_PER_CHUNK:
                self.flush()

    def append_trades(self, columns: Columns) -> None:
        """Take trades, as columns of tables/trade; see `append_rows`."""
        self.append_rows(layout.TRADE, columns)

    def append_rows(self, name: str, columns: Columns) -> None:
        """Take rows of a table that grows; a single number stands for the whole column.

        Parameters
        ----------
        name
            Name of the table, `layout.TRADE` or `layout.POSTING`.
        columns
            Column name -> values.

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
        rows = self._rows.setdefault(name, [])
        rows.append({column: values.copy() for column, values in checked.items()})

    def flush(self) -> None:
        """Write to the disk what was taken so far; done by itself once a day of slots."""
        if self._file is None:
            return
        with _clear_file_errors(self.part_path):
            require_room(self.part_path, self._bytes_taken() + ROOM_FOR_THE_END)
            rows = self._row
            times = self._times(self._slots_on_disk, rows)
            for clock in self._clocks:
                append(clock, times)
            for series in self._series:
                append(series.dataset, series.buffer[:rows], self._deflate)
            self._row = 0
            self._slots_on_disk += rows
            self._flush_rows()
            self._file.flush()

    def finish(
        self,
        status: Literal["complete", "failed"] = "complete",
        tables: Mapping[str, Columns] | None = None,
        *,
        failure_message: str = "",
    ) -> Path | None:
        """Write the tables at the end, set the status and give the file its name.

        Parameters
        ----------
        status
            "complete", or "failed" for a run that ended early: what was computed stays readable.
        tables
            bill, kpi, warning, timing: name -> column -> values.
        failure_message
            Why the run failed.

        Returns
        -------
        The path of the file, or None if there never was a slot and so there is no file.

        Raises
        ------
        ResultsError
            If a table does not fit the layout or the file cannot be written.
        """
        if self._file is None:
            return None
        if self.slots_written == 0:
            self.abandon()
            self.part_path.unlink(missing_ok=True)
            return None
        if status == "complete" and self.slots_written != self._header.number_of_slots:
            raise ResultsError(
                f"{self.path}: the run has {self.slots_written} of "
                f"{self._header.number_of_slots} slots and is not complete"
            )
        checked = _checked_tables(tables or {}, self._file)
        try:
            self.flush()
        except ResultsError:
            if status == "complete":
                raise
        self._write_end(status, checked, failure_message)
        return self._rename()

    def _begin(self, values: SlotValues) -> None:
        variables = _recorded(values, self._ids)
        self._groups = set(values)
        self._groups = set(values)
        check_output(self.path, force=self._force)
        with _clear_file_errors(self.part_path):
            require_room(self.part_path, ROOM_FOR_THE_END)
            self._file = h5py.File(
                self.part_path, "w", libver=("earliest", "v108"), track_order=True
            )
            _write_header(self._file, self._header)
            tables = self._file.create_group(layout.TABLE_ROOT, track_order=True)
            for name, columns in self._entities.items():
                create_table(tables, layout.TABLES[name], columns, self._gzip_level)
            self._file.create_group(layout.SERIES_ROOT, track_order=True)
            for group, names in variables.items():
                self._begin_group(layout.SERIES[group], names)

    def _begin_group(self, group: layout.SeriesGroup, names: list[str]) -> None:
        assert self._file is not None
        target = self._file[layout.SERIES_ROOT].create_group(group.name, track_order=True)
        target.attrs["long_name"] = group.meaning
        clock = create_axis(target, layout.TIME, np.empty(0, np.int64), grows=True)
        self._clocks.append(clock)
        axes = [clock]
        shape: tuple[int, ...] = (layout.ROWS_PER_CHUNK,)
        if group.id_table:
            ids = self._ids[group.name]
            axis = layout.Variable(group.name, "str", "", f"ids, as in tables/{group.id_table}")
            axes.append(create_axis(target, axis, ids))
            shape = (layout.ROWS_PER_CHUNK, ids.size)
        buffers = []
        for variable in group.variables:
            if variable.name in names:
                buffer = np.empty(shape, variable.dtype)
                dataset = create_series(target, variable, axes, self._gzip_level)
                self._series.append(_Series(dataset, buffer))
                buffers.append((variable.name, buffer))
        self._plan.append((group.name, len(names), buffers))

    def _write_end(
        self, status: str, tables: Mapping[str, Mapping[str, Column]], failure_message: str
    ) -> None:
        file = self._file
        assert file is not None
        with _clear_file_errors(self.part_path):
            volume = sum(
                column.nbytes for columns in tables.values() for column in columns.values()
            )
            require_room(self.part_path, 8 * volume + ROOM_FOR_THE_END // 8)
            for name, columns in tables.items():
                group = file[layout.TABLE_ROOT]
                create_table(group, layout.TABLES[name], columns, self._gzip_level)
            if status == "failed":
                file.attrs["failure_message"] = storable_text(failure_message)
            file.flush()
            file.attrs["run_status"] = status
            file.close()
        self._file = None

    def _bytes_taken(self) -> int:
        """Give the bytes that wait for the disk, before packing."""
        series = sum(series.buffer.nbytes for series in self._series)
        waiting = (rows for parts in self._rows.values() for rows in parts)
        return series + sum(column.nbytes for rows in waiting for column in rows.values())

    def _times(self, first: int, count: int) -> NDArray[np.int64]:
        start = int(epoch_seconds(np.asarray(self._header.start)))
        return start + self._header.time_step_s * np.arange(first, first + count, dtype=np.int64)

    def _flush_rows(self) -> None:
        waiting, self._rows = self._rows, {}
        for name, parts in waiting.items():
            columns = {
                column: np.concatenate([rows[column] for rows in parts]) for column in parts[0]
            }
            self._append_to(layout.TABLES[name], columns)

    def _append_to(self, table: layout.Table, columns: dict[str, Column]) -> None:
        assert self._file is not None
        group = self._growing.get(table.name)
        if group is None:
            tables = self._file[layout.TABLE_ROOT]
            created = create_table(tables, table, columns, self._gzip_level, grows=True)
            self._growing[table.name] = created
            return
        axis = group[table.axis]
        added = next(iter(columns.values())).size
        append(axis, np.arange(axis.size, axis.size + added, dtype=np.int64))
        for name, column in columns.items():
            append(group[name], column)

    def _check_shapes(self, values: BlockValues, count: int) -> None:
        time = np.datetime64(int(self._times(self.slots_written, 1)[0]), "s")
        where = f"slot {self.slots_written} ({time} UTC)"
        if set(values) != self._groups:
            raise ResultsError(
                f"{where} brings the groups {_listed(set(values))}, the first slot had "
                f"{_listed(self._groups)}"
            )
        for group, _, buffers in self._plan:
            expected = {name for name, _ in buffers}
            given = set(values.get(group, {}))
            if expected != given:
                raise ResultsError(
                    f"{where}: the group {group} brings {_listed(given - expected)} that the "
                    f"first slot did not have, and lacks {_listed(expected - given)}"
                )
            for name, buffer in buffers:
                array = values[group][name]
                wanted = (count, *buffer.shape[1:])
                if array.shape != wanted:
                    raise ResultsError(
                        f"{where}: {group}/{name} has the shape {array.shape[1:]}, expected "
                        f"{buffer.shape[1:]}, one number per {group}, and {count} slots"
                    )
                if array.dtype.kind not in "fiub":
                    raise ResultsError(f"{where}: {group}/{name} is not a number")

    def _rename(self) -> Path:
        with _clear_file_errors(self.part_path):
            _sync(self.part_path, os.O_RDWR)
            if self.path.exists() and not self._force:
                raise ResultsError(
                    f"{self.path} appeared while the run went on and is not overwritten; "
                    f"the results are in {self.part_path}: rename that file"
                )
            os.replace(self.part_path, self.path)
            _sync(self.path.absolute().parent, os.O_RDONLY)
        return self.path


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _sync(path: Path, mode: int) -> None:
    descriptor = os.open(path, mode)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _clear_file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FILE_ERRORS as error:
        code = getattr(error, "errno", None)
        reason = os.strerror(code) if code else str(error)
        raise ResultsError(
            f"{path} cannot be written: {reason}; "
            f"free some space or mend the permissions and run again"
        ) from error


def _checked_entities(entities: Mapping[str, Columns]) -> dict[str, dict[str, Column]]:
    unknown = sorted(set(entities) - set(layout.ENTITY_TABLES))
    if unknown:
        raise ResultsError(
            f"{', '.join(unknown)}: no such entity table; allowed: "
            f"{', '.join(layout.ENTITY_TABLES)}"
        )
    return {
        name: checked_table(table, entities[name])
        for name, table in layout.ENTITY_TABLES.items()
        if name in entities
    }


def _checked_tables(tables: Mapping[str, Columns], file: h5py.File) -> dict[str, dict[str, Column]]:
    checked = {}
    for name, columns in tables.items():
        if name not in layout.TABLES:
            raise ResultsError(f"{name}: no such table; allowed: {', '.join(layout.TABLES)}")
        if layout.table_path(name) in file:
            raise ResultsError(f"tables/{name} was written before; give it once")
        checked[name] = checked_table(layout.TABLES[name], columns)
    return checked


def _series_ids(entities: Mapping[str, Mapping[str, Column]]) -> dict[str, Column]:
    ids = {}
    for group in layout.SERIES.values():
        columns = entities.get(group.id_table)
        if columns is None:
            continue
        of_table = columns[layout.TABLES[group.id_table].axis]
        ids[group.name] = of_table[columns["level"] == group.level] if group.level else of_table
    return ids


def _recorded(values: SlotValues, ids: Mapping[str, Column]) -> dict[str, list[str]]:
    """Give the variables to record by group; groups without entities are left out."""
    recorded = {}
    for name, columns in values.items():
        group = layout.SERIES.get(name)
        if group is None:
            raise ResultsError(
                f"{name!r} is no group of time series; allowed: {', '.join(layout.SERIES)}"
            )
        unknown = [variable for variable in columns if group.variable(variable) is None]
        if unknown:
            allowed = ", ".join(variable.name for variable in group.variables)
            raise ResultsError(f"{name}: {', '.join(unknown)} is unknown; allowed: {allowed}")
        if group.id_table and name not in ids:
            raise ResultsError(f"{name}: its ids are missing; give the table {group.id_table!r}")
        if columns and (not group.id_table or ids[name].size):
            recorded[name] = list(columns)
    return recorded


def _write_header(file: h5py.File, header: RunHeader) -> None:
    scenario = storable_text(header.scenario_yaml)
    program = f"tricell {_tricell_version()}"
    attributes: dict[str, str | np.int64] = {
        "Conventions": layout.CONVENTIONS,
        "schema_name": layout.SCHEMA_NAME,
        "schema_version": layout.SCHEMA_VERSION,
        "run_id": storable_text(header.run_id),
        "run_status": "running",
        "date_created": header.date_created,
        "source": program,
        "history": f"{header.date_created} {program} ran {storable_text(header.run_id)}",
        "scenario_sha256": hashlib.sha256(scenario.encode()).hexdigest(),
        "random_seed": np.int64(header.random_seed),
        "time_step_s": np.int64(header.time_step_s),
        "number_of_slots": np.int64(header.number_of_slots),
        "time_label": layout.TIME_LABEL,
        "time_zone_local": header.time_zone_local,
        "currency": header.currency,
        "sign_convention": layout.SIGN_CONVENTION,
    }
    for name, value in attributes.items():
        file.attrs[name] = value
    meta = file.create_group(layout.META_ROOT, track_order=True)
    texts = {
        layout.SCENARIO_YAML: scenario,
        layout.PROVENANCE_JSON: json.dumps(dict(header.provenance), indent=1, default=str),
    }
    for name, text in texts.items():
        dataset = meta.create_dataset(name, data=storable_text(text), dtype=h5py.string_dtype())
        dataset.attrs["long_name"] = layout.META[name]


def _tricell_version() -> str:
    try:
        return version("tricell")
    except PackageNotFoundError:
        return "from source"
