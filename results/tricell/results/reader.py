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
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tricell.errors import ResultsError
from tricell.results import layout, study_layout
from tricell.results.expected_parts import (
    HINT,
    checked_attributes,
    plain_value,
    series_parts,
    table_parts,
)
from tricell.results.open_file import OpenFile, open_hdf5
from tricell.results.run_folder import MASTER, part_path

if TYPE_CHECKING:
    import xarray as xr

Instant: TypeAlias = str | np.datetime64 | pd.Timestamp

ROWS_PER_BLOCK = 30 * layout.ROWS_PER_CHUNK
TABLE_ROWS_PER_BLOCK = 1 << 18
OTHER_OPEN_FILES = 64
"""Files that a process may have open beside the segments of a run."""
PART_SUFFIX = part_path("run.h5").suffix
KNOWN_VERSION = tuple(int(number) for number in layout.SCHEMA_VERSION.split(".")[:2])


def open_results(path: Path | str) -> Results:
    """Open a results file for reading.

    While a run goes on, or after it was killed, its file is not there yet; then what it has written
    so far is opened, and `Results.status` is running.

    Parameters
    ----------
    path
        A results file, or the folder FILE.part that a run writes in.

    Raises
    ------
    ResultsError
        If there is no such file, or if it is not HDF5, damaged or cut off, not a results file of
        tricell, or of a higher major version than this program knows.
    """
    target = run_file(Path(path))
    is_running = target.name == MASTER and target.parent.suffix == PART_SUFFIX
    # A lock could keep the run from writing; and what it writes never changes what is there.
    file = open_hdf5(target, locking=False if is_running else None)
    try:
        return Results(target, file)
    except BaseException:
        file.close()
        raise


def open_files_allowed() -> float:
    """Give the number of files that this process may have open; infinite where nobody says."""
    try:
        import resource  # noqa: PLC0415 (Windows has none)
    except ImportError:
        return np.inf
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return np.inf if allowed == resource.RLIM_INFINITY else allowed


def run_file(path: Path) -> Path:
    """Find what holds the results: the file, or the one in the folder of a run that goes on.

    Raises
    ------
    ResultsError
        If it is a folder without results.
    """
    if path.is_dir():
        inside = path / MASTER
        if not inside.exists():
            raise ResultsError(
                f"{path} is a folder without {MASTER}; expected a results file such "
                f"as week.h5, or the folder week.h5.part of a run that goes on. A run that has "
                f"just begun has nothing to read before its first checkpoint"
            )
        return inside
    folder = part_path(path)
    return run_file(folder) if not path.exists() and folder.is_dir() else path


class Results(OpenFile):
    """An open results file; get one from `open_results`."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        super().__init__(path, file)
        with self.reading("the attributes of the file"):
            found = dict(file.attrs.items())
        version = checked_schema(found, path)
        self._strict = version <= KNOWN_VERSION
        self._attrs = checked_attributes(found, str(path))
        self._parts: dict[str, dict[str, h5py.Dataset]] = {}
        self._segments_seen: set[str] = set()
        roots = self._members("/")
        for name in (layout.SERIES_ROOT, layout.TABLE_ROOT, layout.META_ROOT):
            if not isinstance(roots.get(name), h5py.Group):
                raise ResultsError(
                    f"{path}: the group /{name} is missing; found: {list(roots)}. {HINT}"
                )

    def __repr__(self) -> str:
        return f"<Results {self.path}: {self.attrs['run_id']}, {self.status}>"

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Attributes of the run, see `layout.ROOT_ATTRIBUTES`."""
        return MappingProxyType(self._attrs)

    @property
    def status(self) -> layout.RunStatus:
        """Status of the run: running, complete or failed."""
        status: layout.RunStatus = self._attrs["run_status"]
        return status

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
        text = self._text(layout.PROVENANCE_JSON)
        with self.reading(layout.meta_path(layout.PROVENANCE_JSON)):
            return MappingProxyType(dict(json.loads(text)))

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables in the file."""
        return tuple(self._members(layout.TABLE_ROOT))

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups of time series in the file."""
        return tuple(self._members(layout.SERIES_ROOT))

    @property
    def kpis(self) -> Mapping[str, Mapping[str, float | None]]:
        """Key figures as scope -> name -> value, None where undefined.

        Scopes are "run", levels, areas, customer classes and agents by their ids. Figures of an id
        that several kinds share, such as a class and an agent, are not mixed: asking for it raises
        a `ResultsError`, and `kpis_of` tells them apart.
        """
        of_kinds = {kind: self.kpis_of(kind) for kind in layout.SCOPE_KINDS}
        kinds: dict[str, list[str]] = {}
        for kind, scopes in of_kinds.items():
            for scope in scopes:
                kinds.setdefault(scope, []).append(kind)
        # "run" is the run, whatever else has that name.
        shared = {
            scope: several
            for scope, several in kinds.items()
            if len(several) > 1 and scope != layout.RUN_SCOPE
        }
        figures = _FiguresByScope(self.path, shared)
        for scope, (kind, *_) in kinds.items():
            if scope not in shared:
                figures[scope] = of_kinds[kind][scope]
        return MappingProxyType(figures)

    def kpis_of(self, kind: str) -> Mapping[str, Mapping[str, float | None]]:
        """Key figures of one kind of scope as id -> name -> value, None where undefined.

        Parameters
        ----------
        kind : run, level, area, class or agent.

        Raises
        ------
        ResultsError
            If there is no such kind.
        """
        if kind not in layout.SCOPE_KINDS:
            raise ResultsError(
                f"{kind!r} is no kind of scope of key figures; there are: "
                f"{', '.join(layout.SCOPE_KINDS)}"
            )
        return self._figures.get(kind, MappingProxyType({}))

    @cached_property
    def _figures(self) -> Mapping[str, Mapping[str, Mapping[str, float | None]]]:
        """Key figures as kind of scope -> scope -> name -> value."""
        if "kpi" not in self.tables:
            return {}
        kinds: dict[str, dict[str, dict[str, float | None]]] = {}
        table = self.table("kpi")
        if "scope_kind" not in table:  # early files know the run only
            table = table.assign(scope_kind=layout.RUN_SCOPE, scope=layout.RUN_SCOPE)
        columns = (table[name].tolist() for name in ("scope_kind", "scope", "name", "value"))
        for kind, scope, name, value in zip(*columns, strict=True):
            figures = kinds.setdefault(kind, {}).setdefault(scope, {})
            figures[name] = None if np.isnan(value) else value
        return {
            kind: MappingProxyType({name: MappingProxyType(of) for name, of in scopes.items()})
            for kind, scopes in kinds.items()
        }

    def variables(self, group: str) -> tuple[str, ...]:
        """Names of the variables that a group of time series holds."""
        axes = {layout.TIME.name, group}
        return tuple(name for name in self._group(group) if name not in axes)

    def ids(self, group: str) -> pd.Index[str]:
        """Ids of the entities of a group of time series, in the order of its columns."""
        if group == layout.SLOT:
            raise ResultsError(f"{self.path}: the group {group} has no entities")
        ids: pd.Index[str] = pd.Index(self._read(self._group(group)[group], ...), name=group)
        return ids

    def times(
        self, group: str = layout.SLOT, start: Instant | None = None, stop: Instant | None = None
    ) -> pd.DatetimeIndex:
        """Read the starts of the slots, UTC."""
        clock = self._group(group)[layout.TIME.name]
        seconds = self._read(clock, self._rows(group, start, stop))
        with self.reading(layout.series_path(group, layout.TIME.name)):
            return _instants(seconds, layout.TIME.name)

    def table(self, name: str) -> pd.DataFrame:
        """Read a whole table: times as UTC, coded columns as categories.

        Raises
        ------
        ResultsError
            If the file has no such table, or if it is damaged.
        """
        columns = self._columns(name)
        return pd.DataFrame(
            {column: self._decoded(dataset, slice(None)) for column, dataset in columns.items()}
        )

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
        parts = self._group(group)
        with self.reading(layout.series_path(group)):
            variables = {
                name: lazy_variable(
                    part, (name,) if name in axes else axes[: part.ndim], self._read
                )
                for name, part in parts.items()
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
        columns = pd.Index([variable]) if dataset.ndim == 1 else self.ids(group)
        values = self._read(dataset, self._rows(group, start, stop)).reshape(-1, len(columns))
        return pd.DataFrame(values, index=self.times(group, start, stop), columns=columns)

    def slots(self, start: Instant | None = None, stop: Instant | None = None) -> pd.DataFrame:
        """Read all run-wide variables: one row per slot; coded variables as categories."""
        rows = self._rows(layout.SLOT, start, stop)
        group = self._group(layout.SLOT)
        columns = {name: self._decoded(group[name], rows) for name in self.variables(layout.SLOT)}
        return pd.DataFrame(columns, index=self.times(layout.SLOT, start, stop))

    def blocks(
        self,
        group: str,
        variable: str,
        start: Instant | None = None,
        stop: Instant | None = None,
        *,
        slots: int = ROWS_PER_BLOCK,
    ) -> Iterator[NDArray[Any]]:
        """Read one variable in blocks of that many slots, so that a year needs little memory."""
        dataset = self._variable(group, variable)
        rows = self._rows(group, start, stop)
        for first in range(rows.start, rows.stop, slots):
            yield self._read(dataset, slice(first, min(first + slots, rows.stop)))

    def table_blocks(self, name: str) -> Iterator[pd.DataFrame]:
        """Read a table in blocks of rows, as `table` does, so that a long one needs little memory.

        There is always at least one block; that of an empty table has no rows.

        Raises
        ------
        ResultsError
            If the file has no such table, or if it is damaged.
        """
        columns = self._columns(name)
        length = min((dataset.size for dataset in columns.values()), default=0)
        for first in range(0, max(length, 1), TABLE_ROWS_PER_BLOCK):
            rows = slice(first, min(first + TABLE_ROWS_PER_BLOCK, length))
            values = {column: self._decoded(data, rows) for column, data in columns.items()}
            yield pd.DataFrame(values, index=pd.RangeIndex(rows.start, rows.stop))

    def _read(self, dataset: h5py.Dataset, key: Any) -> NDArray[Any]:
        """Read a part of a dataset; where the run goes on, only if all its segments are there.

        HDF5 itself gives gaps for a segment that is missing or damaged, or that the process may
        not open beside the others, and says nothing.
        """
        if not (self._file and dataset.is_virtual):
            return super()._read(dataset, key)
        with self.reading(str(dataset.name)):
            names = {source.file_name for source in dataset.virtual_sources()}
        for name in sorted(names - self._segments_seen):
            open_hdf5(self.path.parent / name, locking=False).close()
            self._segments_seen.add(name)
        self._require_open_files(len(self._segments_seen))
        values = super()._read(dataset, key)
        if not self.path.exists():
            raise self.is_gone()
        return values

    def _require_open_files(self, segments: int) -> None:
        allowed = open_files_allowed()
        if segments + OTHER_OPEN_FILES > allowed:
            raise ResultsError(
                f"{self.path}: the run has {segments} segments so far, and this process may have "
                f"{allowed:.0f} files open; read it when the run has ended, or raise the limit, "
                f"e.g. with `ulimit -n {2 * (segments + OTHER_OPEN_FILES)}`"
            )

    def _text(self, name: str) -> str:
        path = layout.meta_path(name)
        dataset = self._members(layout.META_ROOT).get(name)
        if not isinstance(dataset, h5py.Dataset):
            raise ResultsError(f"{self.path} lacks {path}. {HINT}")
        return str(self._read(dataset, ()))

    def _group(self, name: str) -> Mapping[str, h5py.Dataset]:
        if not self.groups and self.status == "running":
            raise ResultsError(
                f"{self.path}: the run has no slot on the disk yet; try again after its first "
                f"checkpoint"
            )
        if name not in self.groups:
            raise ResultsError(
                f"{self.path} has no time series of {name!r}; it has: {', '.join(self.groups)}"
            )
        path = layout.series_path(name)
        if path not in self._parts:
            members = self._members(path)
            with self.reading(path):
                self._parts[path] = series_parts(members, name, f"{self.path}: {path}")
        return self._parts[path]

    def _columns(self, name: str) -> Mapping[str, h5py.Dataset]:
        if name not in self.tables:
            raise ResultsError(
                f"{self.path} has no table {name!r}; it has: {', '.join(self.tables)}"
            )
        path = layout.table_path(name)
        if path not in self._parts:
            members, where = self._members(path), f"{self.path}: {path}"
            with self.reading(path):
                parts = table_parts(members, name, where, strict=self._strict)
            table = layout.TABLES.get(name)
            if table is not None and not table.has_ids:
                del parts[table.axis]  # the axis is just row numbers
            self._parts[path] = parts
        return self._parts[path]

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
        times = self._read(clock, ...)
        first = 0 if start is None else int(np.searchsorted(times, _seconds(start)))
        end = times.size if stop is None else int(np.searchsorted(times, _seconds(stop)))
        return slice(first, max(first, end))

    def _decoded(self, dataset: h5py.Dataset, rows: slice) -> Any:
        values = self._read(dataset, rows)
        with self.reading(str(dataset.name)):
            if dataset.attrs.get("units") == layout.TIME_UNIT:
                return _instants(values, None)
            if "flag_meanings" in dataset.attrs:
                words = str(dataset.attrs["flag_meanings"]).split()
                told = pd.Index(dataset.attrs["flag_values"])
                if not told.is_unique:
                    raise ValueError(f"flag_values {told.tolist()} say a code twice")
                codes = told.get_indexer(values)
                return pd.Categorical.from_codes(codes, categories=pd.Index(words))
        return values


class _FiguresByScope(dict[str, Mapping[str, float | None]]):
    """Figures by scope that say so when they are asked for an id of several kinds of scope."""

    def __init__(self, path: Path, shared: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self._path = path
        self._shared = shared

    def __missing__(self, scope: str) -> Mapping[str, float | None]:
        if scope not in self._shared:
            raise KeyError(scope)
        kinds = self._shared[scope]
        raise ResultsError(
            f"{self._path}: {scope!r} is the id of several kinds of scope: {', '.join(kinds)}; use "
            f"{' or '.join(f'kpis_of({kind!r})[{scope!r}]' for kind in kinds)}"
        )


def checked_schema(attributes: Mapping[str, Any], path: Path) -> tuple[int, int]:
    """Give the major and minor version of a results file.

    Raises
    ------
    ResultsError
        If it is no results file of tricell, or of a higher major version than is known.
    """
    name = plain_value(attributes.get("schema_name"))
    if name == study_layout.SCHEMA_NAME:
        raise ResultsError(
            f"{path} holds the results of a study, not of one run; `tricell compare {path} "
            f"--designs A B` reads it, and in Python `tricell.results.study_results.open_study`"
        )
    if name != layout.SCHEMA_NAME:
        found = "no schema_name" if name is None else f"schema_name {name!r}"
        raise ResultsError(
            f"{path} is HDF5 but not a results file of tricell: expected schema_name "
            f"{layout.SCHEMA_NAME!r}, found {found}; `tricell run` writes such files"
        )
    version = plain_value(attributes.get("schema_version"))
    numbers = re.match(r"(\d{1,9})\.(\d{1,9})\.", version) if isinstance(version, str) else None
    if numbers is None:
        raise ResultsError(f"{path}: schema_version {version!r} is no version like 1.0.0. {HINT}")
    major, minor = int(numbers[1]), int(numbers[2])
    if major != KNOWN_VERSION[0]:
        raise ResultsError(
            f"{path} has schema version {version}, this tricell reads {KNOWN_VERSION[0]}.x; "
            f"update tricell"
        )
    return major, minor


def _instants(seconds: NDArray[np.int64], name: str | None) -> pd.DatetimeIndex:
    times = seconds.astype("datetime64[s]").astype("datetime64[ns]")
    return pd.DatetimeIndex(times, tz="UTC", name=name)


def _seconds(instant: Instant) -> int:
    time = pd.Timestamp(instant)
    in_utc = time.tz_localize("UTC") if time.tz is None else time.tz_convert("UTC")
    return int(np.ceil(in_utc.timestamp()))
