"""Reads tables of series over time from CSV and HDF5 files, with errors for people."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tricell.errors import DataError


@dataclass(frozen=True)
class TimeTable:
    """Series on an even time axis.

    Attributes
    ----------
    series : dict of str to float64, shape (n_row,)
        Values by column name; they may hold NaN until `column` asks for them.
    start : numpy.datetime64[s]
        UTC start of the first row.
    step_s : int
        Distance of two rows, s.
    n_row : int
        Number of rows.
    source : str
        Name of the file or files, for messages.
    """

    series: dict[str, NDArray[np.float64]]
    start: np.datetime64
    step_s: int
    n_row: int
    source: str

    def column(self, name: str) -> NDArray[np.float64]:
        """Return one series, all of it numbers.

        Raises
        ------
        DataError
            If the column does not exist (with the closest name) or holds a gap (with the time).
        """
        if name not in self.series:
            raise DataError(
                f"{self.source} has no column {name!r}{close_match(name, self.series)}. "
                "Correct the name or add the column."
            )
        values = self.series[name]
        good = np.isfinite(values)
        if not good.all():
            when = self.start + np.timedelta64(int(np.argmin(good)) * self.step_s, "s")
            raise DataError(
                f"{self.source}: column {name!r} holds no number at {when} UTC "
                f"({int(np.sum(~good))} of {self.n_row} rows). Fill the gaps."
            )
        return values


def close_match(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the closest known name, nothing where none is close."""
    best = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {best[0]!r}?)" if best else ""


def read_csv_table(path: Path, time_column: str = "time", utc_offset_hours: float = 0) -> TimeTable:
    """Read a CSV file with one time column and one column per series.

    Parameters
    ----------
    path : Path
        File with a header line, separated by comma, semicolon or tabulator.
    time_column : str
        Column with the start of each interval, ISO 8601.
    utc_offset_hours : float
        Offset of a clock that is written without one, h (1 for CET).

    Returns
    -------
    TimeTable
        All other columns.

    Raises
    ------
    DataError
        If the file cannot be read or its times are not an even, rising axis.
    """
    _require_file(path)
    try:
        frame = pd.read_csv(path, sep=_separator(path), skipinitialspace=True)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path.name} cannot be read as a CSV table: {error}. It needs a header line and one "
            "row per interval, separated by comma, semicolon or tabulator."
        ) from error
    if time_column not in frame.columns:
        hint = close_match(time_column, frame.columns)
        raise DataError(
            f"{path.name} has no time column {time_column!r}{hint}; its columns are "
            f"{', '.join(map(str, frame.columns[:5]))}. Set time_column or rename the column."
        )
    times = _parse_times(frame.pop(time_column), path.name, utc_offset_hours)
    series = {str(name): _numbers(frame[name], str(name), path.name) for name in frame.columns}
    return _on_even_axis(times, series, path.name)


def read_hdf5_table(path: Path, group: str = "/", utc_offset_hours: float = 0) -> TimeTable:
    """Read a group of an HDF5 file with a dataset ``time`` and one dataset per series.

    Parameters
    ----------
    path : Path
        HDF5 file.
    group : str
        Group that holds the datasets. ``time`` is whole seconds since 1970-01-01 or ISO 8601
        text; every other one-dimensional numeric dataset of that length is a series.
    utc_offset_hours : float
        Offset of a clock that is written without one, h.

    Returns
    -------
    TimeTable
        All series of the group.

    Raises
    ------
    DataError
        If the file cannot be read or its times are not an even, rising axis.
    """
    _require_file(path)
    try:
        with h5py.File(path, "r") as file:
            holder = file.get(group)
            if not isinstance(holder, h5py.Group) or "time" not in holder:
                raise DataError(
                    f"{path.name} has no dataset 'time' in group {group!r}; at the top it holds "
                    f"{', '.join(list(file)[:5])}. Set group or add the times."
                )
            raw = _read_times(holder["time"])
            series = {
                name: np.asarray(item[()], dtype=np.float64)
                for name, item in holder.items()
                if isinstance(item, h5py.Dataset)
                and item.shape == (len(raw),)
                and item.dtype.kind in "iuf"
                and name != "time"
            }
    except OSError as error:
        raise DataError(
            f"{path.name} cannot be read as an HDF5 file: {error}. Check the file and its kind."
        ) from error
    return _on_even_axis(_parse_times(raw, path.name, utc_offset_hours), series, path.name)


def join_tables(tables: list[TimeTable]) -> TimeTable:
    """Put the columns of several tables with the same time axis side by side.

    Raises
    ------
    DataError
        If the axes differ or a column occurs twice.
    """
    first, *others = tables
    series = dict(first.series)
    for table in others:
        if (table.start, table.step_s, table.n_row) != (first.start, first.step_s, first.n_row):
            raise DataError(
                f"{table.source} ({table.n_row} rows every {table.step_s} s from {table.start}) "
                f"and {first.source} ({first.n_row} rows every {first.step_s} s from "
                f"{first.start}) must share their times."
            )
        twice = sorted(series.keys() & table.series.keys())
        if twice:
            raise DataError(f"{table.source} repeats the column {twice[0]!r} of another file.")
        series |= table.series
    source = ", ".join(table.source for table in tables)
    return TimeTable(series, first.start, first.step_s, first.n_row, source)


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"There is no file {path}. Paths count from the scenario file's folder.")


def _separator(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        header = file.readline()
    return max(",;\t", key=header.count)


def _read_times(dataset: h5py.Dataset) -> pd.Series[Any]:
    if dataset.dtype.kind in "iu":
        return pd.Series(pd.to_datetime(dataset[()], unit="s"))
    return pd.Series(dataset.asstr()[()])


def _parse_times(
    raw: pd.Series[Any], source: str, utc_offset_hours: float
) -> NDArray[np.datetime64]:
    times = pd.to_datetime(raw, utc=True, format="ISO8601", errors="coerce")
    if times.isna().any():
        row = int(np.argmax(times.isna().to_numpy()))
        raise DataError(
            f"{source}: row {row + 1} has the time {raw.iloc[row]!r}, which is no date and time. "
            "Write ISO 8601, such as 2016-01-01 00:15."
        )
    written_with_offset = isinstance(raw.iloc[0], str) and pd.Timestamp(raw.iloc[0]).tz is not None
    utc = times.dt.tz_localize(None).to_numpy(dtype="datetime64[s]")
    offset_s = 0 if written_with_offset else round(utc_offset_hours * 3600)
    return np.asarray(utc - np.timedelta64(offset_s, "s"))


def _numbers(values: pd.Series[Any], name: str, source: str) -> NDArray[np.float64]:
    numbers = pd.to_numeric(values, errors="coerce")
    wrong = (numbers.isna() & values.notna()).to_numpy()
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{source}: column {name!r} holds {values.iloc[row]!r} in row {row + 1}, which is no "
            "number. Write numbers with a decimal point and without units."
        )
    return numbers.to_numpy(dtype=np.float64)


def _on_even_axis(
    times: NDArray[np.datetime64], series: dict[str, NDArray[np.float64]], source: str
) -> TimeTable:
    if len(times) < 2:
        raise DataError(f"{source} has {len(times)} rows; at least two are needed.")
    steps = np.diff(times).astype("timedelta64[s]").astype(np.int64)
    step_s = int(np.median(steps))
    if (steps <= 0).any():
        row = int(np.argmax(steps <= 0))
        what = "occurs twice" if steps[row] == 0 else f"comes after {times[row]}"
        raise DataError(
            f"{source}: the time {times[row + 1]} UTC {what} (row {row + 2}). Sort the rows and "
            "remove repeated ones; a clock with daylight saving time must be written with its "
            "UTC offset."
        )
    if (steps != step_s).any():
        row = int(np.argmax(steps != step_s))
        raise DataError(
            f"{source}: after {times[row]} UTC the next row is {times[row + 1]} UTC, but the step "
            f"is {step_s} s elsewhere. Fill or remove rows so that the step is even."
        )
    return TimeTable(series, times[0].astype("datetime64[s]"), step_s, len(times), source)
