"""Reading a results file: tables as pandas, series as xarray, lazily; the file is never changed.

Examples
--------
::

    with open_results("week.h5") as results:
        net_kw = results.series("agent", "p_net")          # xarray, read when it is needed
        daily_kwh = net_kw.resample(time="D").sum() / 4
        bills = results.table("bill")                      # pandas
        results.kpis["run"]["self_sufficiency"]
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tricell.errors import ResultsError
from tricell.results import layout
from tricell.results.open_file import OpenFile

if TYPE_CHECKING:
    import xarray as xr

Instant: TypeAlias = str | np.datetime64 | pd.Timestamp

ROWS_PER_BLOCK = 30 * layout.ROWS_PER_CHUNK
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def open_results(path: Path | str) -> Results:
    """Open a results file for reading.

    Raises
    ------
    ResultsError
        If there is no such file, or if it is not HDF5, cut off, still being written, not a
        results file of tricell, or of a higher major version than this program knows.
    """
    target = Path(path)
    file = _open_hdf5(target)
    try:
        _check_schema(file, target)
    except ResultsError:
        file.close()
        raise
    return Results(target, file)


class Results(OpenFile):
    """An open results file; get one from `open_results`."""

    def __repr__(self) -> str:
        return f"<Results {self.path}: {self.attrs['run_id']}, {self.status}>"

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Attributes of the run, see `layout.ROOT_ATTRIBUTES`."""
        return MappingProxyType({name: _plain(value) for name, value in self._file.attrs.items()})

    @property
    def status(self) -> str:
        """Status of the run: running, complete or failed."""
        return str(self._file.attrs["run_status"])

    @property
    def levels(self) -> tuple[str, ...]:
        """Levels of the areas that have time series, the lowest first."""
        groups = self.groups
        return tuple(level for level in layout.AREA_LEVELS if level in groups)

    @property
    def scenario_yaml(self) -> str:
        """The scenario that was run."""
        return self._text(layout.SCENARIO_YAML)

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Packages, inputs, solver and machine of the run."""
        return MappingProxyType(json.loads(self._text(layout.PROVENANCE_JSON)))

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables in the file."""
        return tuple(self._file[layout.TABLE_ROOT])

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups of time series in the file."""
        return tuple(self._file[layout.SERIES_ROOT])

    @property
    def kpis(self) -> Mapping[str, Mapping[str, float | None]]:
        """Key figures as scope -> name -> value, None where undefined."""
        scopes: dict[str, dict[str, float | None]] = {}
        if "kpi" in self.tables:
            table = self.table("kpi")
            for scope, name, value in zip(
                table["scope"], table["name"], table["value"], strict=True
            ):
                scopes.setdefault(scope, {})[name] = None if np.isnan(value) else float(value)
        return MappingProxyType(scopes)

    def variables(self, group: str) -> tuple[str, ...]:
        """Names of the variables that a group of time series holds."""
        axes = {layout.TIME.name, group}
        return tuple(name for name in self._group(group) if name not in axes)

    def ids(self, group: str) -> pd.Index[str]:
        """Ids of the entities of a group of time series, in the order of its columns."""
        if group == layout.SLOT:
            raise ResultsError(f"{self.path}: the group {group} has no entities")
        ids: pd.Index[str] = pd.Index(self._group(group)[group].asstr()[:], name=group)
        return ids

    def times(
        self, group: str = layout.SLOT, start: Instant | None = None, stop: Instant | None = None
    ) -> pd.DatetimeIndex:
        """Read the starts of the slots, UTC."""
        rows = self._rows(group, start, stop)
        return _instants(self._group(group)[layout.TIME.name][rows], layout.TIME.name)

    def table(self, name: str) -> pd.DataFrame:
        """Read a whole table: times as UTC, coded columns as categories.

        Raises
        ------
        ResultsError
            If the file has no such table.
        """
        if name not in self.tables:
            raise ResultsError(
                f"{self.path} has no table {name!r}; it has: {', '.join(self.tables)}"
            )
        group = self._file[layout.table_path(name)]
        axis_is_column = layout.TABLES[name].has_ids if name in layout.TABLES else True
        columns = {
            column: _decoded(dataset, slice(None))
            for column, dataset in group.items()
            if axis_is_column or column != layout.TABLES[name].axis
        }
        return pd.DataFrame(columns)

    def dataset(self, group: str) -> xr.Dataset:
        """Give a group of time series; values are read when they are needed, while it is open.

        The dimensions are (time, `group`), times are UTC without a zone, the attributes `units`
        and `long_name` say what a variable is, `flag_values` and `flag_meanings` what its codes
        mean.

        Raises
        ------
        ResultsError
            If the file has no such group; when values are needed, if they cannot be read.
        """
        import xarray as xr  # noqa: PLC0415 (takes half a second, and few need it)

        from tricell.results.lazy_arrays import lazy_variable  # noqa: PLC0415

        axes = (layout.TIME.name, group)
        variables = {
            name: lazy_variable(dataset, (name,) if name in axes else axes[: dataset.ndim], _part)
            for name, dataset in self._group(group).items()
        }
        return xr.decode_cf(xr.Dataset(variables), decode_timedelta=False)

    def series(
        self,
        group: str,
        variable: str,
        start: Instant | None = None,
        stop: Instant | None = None,
    ) -> xr.DataArray:
        """Give one variable as xarray; values are read when they are needed, while it is open.

        Parameters
        ----------
        group, variable
            See `layout.SERIES`. The dimensions are (time, `group`), in the group `slot` only time.
        start, stop
            The slots that start at or after `start` and before `stop`, UTC.

        Raises
        ------
        ResultsError
            If the file has no such group or variable; when values are needed, if they cannot be
            read.
        """
        self._variable(group, variable)
        return self.dataset(group)[variable].isel(time=self._rows(group, start, stop))

    def frame(
        self,
        group: str,
        variable: str,
        start: Instant | None = None,
        stop: Instant | None = None,
    ) -> pd.DataFrame:
        """Read one variable as pandas: rows are times, columns are the ids of the entities.

        Parameters
        ----------
        group, variable
            See `layout.SERIES`; in the group `slot` the only column is the variable.
        start, stop
            Read the slots that start at or after `start` and before `stop`, UTC.

        Raises
        ------
        ResultsError
            If the file has no such group or variable.
        """
        dataset = self._variable(group, variable)
        rows = self._rows(group, start, stop)
        columns = pd.Index([variable]) if dataset.ndim == 1 else self.ids(group)
        values = dataset[rows].reshape(-1, len(columns))
        return pd.DataFrame(values, index=self.times(group, start, stop), columns=columns)

    def slots(self, start: Instant | None = None, stop: Instant | None = None) -> pd.DataFrame:
        """Read all run-wide variables: one row per slot; coded variables as categories."""
        rows = self._rows(layout.SLOT, start, stop)
        group = self._group(layout.SLOT)
        columns = {name: _decoded(group[name], rows) for name in self.variables(layout.SLOT)}
        return pd.DataFrame(columns, index=self.times(layout.SLOT, start, stop))

    def blocks(self, group: str, variable: str) -> Iterator[NDArray[Any]]:
        """Read one variable in blocks of some days, so that a year needs little memory."""
        dataset = self._variable(group, variable)
        for first in range(0, dataset.shape[0], ROWS_PER_BLOCK):
            yield dataset[first : first + ROWS_PER_BLOCK]

    def _text(self, name: str) -> str:
        path = layout.meta_path(name)
        if path not in self._file:
            raise ResultsError(f"{self.path} lacks {path}")
        return str(self._file[path].asstr()[()])

    def _group(self, name: str) -> h5py.Group:
        if name not in self.groups:
            raise ResultsError(
                f"{self.path} has no time series of {name!r}; it has: {', '.join(self.groups)}"
            )
        return self._file[layout.series_path(name)]

    def _variable(self, group: str, variable: str) -> h5py.Dataset:
        if variable not in self.variables(group):
            raise ResultsError(
                f"{self.path}: the group {group} has no variable {variable!r}; "
                f"it has: {', '.join(self.variables(group))}"
            )
        return self._group(group)[variable]

    def _rows(self, group: str, start: Instant | None, stop: Instant | None) -> slice:
        clock = self._group(group)[layout.TIME.name]
        if start is None and stop is None:
            return slice(0, clock.size)
        times = clock[:]
        first = 0 if start is None else int(np.searchsorted(times, _seconds(start)))
        end = times.size if stop is None else int(np.searchsorted(times, _seconds(stop)))
        return slice(first, max(first, end))


def _open_hdf5(path: Path) -> h5py.File:
    if not path.is_file():
        raise ResultsError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            begin = file.read(len(HDF5_SIGNATURE))
        if not h5py.is_hdf5(path):
            raise ResultsError(
                f"{path} is not a results file: expected HDF5, which begins with "
                f"{HDF5_SIGNATURE!r}; found {begin!r}"
            )
        return h5py.File(path, "r")
    except PermissionError as error:
        raise ResultsError(f"{path}: no permission to read it") from error
    except BlockingIOError as error:
        raise ResultsError(f"{path} is being written; wait until the run has ended") from error
    except (OSError, RuntimeError) as error:
        raise ResultsError(
            f"{path} is HDF5 but damaged or cut off ({path.stat().st_size} bytes), expected a "
            f"whole file; copy it again or repeat the run. HDF5 says: {error}"
        ) from error


def _check_schema(file: h5py.File, path: Path) -> None:
    name = file.attrs.get("schema_name")
    if name != layout.SCHEMA_NAME:
        found = "no schema_name" if name is None else f"schema_name {name!r}"
        raise ResultsError(
            f"{path} is HDF5 but not a results file of tricell: "
            f"expected schema_name {layout.SCHEMA_NAME!r}, found {found}"
        )
    found_version = str(file.attrs.get("schema_version", ""))
    major, known = (text.partition(".")[0] for text in (found_version, layout.SCHEMA_VERSION))
    if not major.isdecimal():
        raise ResultsError(f"{path}: schema_version {found_version!r} is no version like 1.0.0")
    if int(major) > int(known):
        raise ResultsError(
            f"{path} has schema version {found_version}, this tricell reads {known}.x; "
            f"update tricell"
        )
    for needed in (layout.SERIES_ROOT, layout.TABLE_ROOT, layout.META_ROOT):
        if needed not in file:
            raise ResultsError(f"{path}: the group /{needed} is missing; found: {list(file)}")


def _part(dataset: h5py.Dataset, key: Any) -> NDArray[Any]:
    is_text = h5py.check_string_dtype(dataset.dtype) is not None
    values: NDArray[Any] = (dataset.asstr() if is_text else dataset)[key]
    return values


def _decoded(dataset: h5py.Dataset, rows: slice) -> Any:
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return dataset.asstr()[rows]
    values = dataset[rows]
    if dataset.attrs.get("units") == layout.TIME_UNIT:
        return _instants(values, None)
    if "flag_meanings" in dataset.attrs:
        words = str(dataset.attrs["flag_meanings"]).split()
        codes = pd.Index(dataset.attrs["flag_values"]).get_indexer(values)
        return pd.Categorical.from_codes(codes, categories=pd.Index(words))
    return values


def _instants(seconds: NDArray[np.int64], name: str | None) -> pd.DatetimeIndex:
    times = seconds.astype("datetime64[s]").astype("datetime64[ns]")
    return pd.DatetimeIndex(times, tz="UTC", name=name)


def _seconds(instant: Instant) -> int:
    time = pd.Timestamp(instant)
    in_utc = time.tz_localize("UTC") if time.tz is None else time.tz_convert("UTC")
    return int(np.ceil(in_utc.timestamp()))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
