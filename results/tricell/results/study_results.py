"""The results of a study: one HDF5 file with the tables of `study_layout`, written at once.

Examples
--------
::

    with open_study("network_charges_district.study.h5") as study:
        bills = study.table("bill", with_run=True)
        bills.groupby(["design", "closure", "class"])["total"].mean()
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tricell.errors import ResultsError
from tricell.results import layout, study_layout
from tricell.results.datasets import (
    TEXT,
    Column,
    Columns,
    checked_table,
    create_table,
    storable_text,
)
from tricell.results.open_file import DAMAGE, OpenFile, open_hdf5

StudyTables: TypeAlias = Mapping[str, Columns]
"""Table -> column -> values, as `study_layout.TABLES` names them."""

RUN_COLUMNS = (
    "design",
    "closure",
    "point",
    "seed",
    "start",
    "days",
    "pv_share",
    "battery_share",
    "ev_share",
    "heat_pump_share",
    "participation",
    "status",
    "year_share",
)
"""What `StudyResults.table` adds of a row's run."""

GZIP_LEVEL = 4


@dataclass(frozen=True)
class StudyHeader:
    """What is known about a study beside its tables.

    Attributes
    ----------
    study, description : name and purpose.
    reference_design : design that changes count from.
    study_yaml, scenario_yaml : the study and the base scenario, complete.
    provenance : packages, inputs with licences, solver and machine; anything that JSON can hold.
    time_zone_local : time zone of the place.
    """

    study: str
    description: str
    reference_design: str
    study_yaml: str
    scenario_yaml: str
    provenance: Mapping[str, object] = field(default_factory=dict)
    time_zone_local: str = "Europe/Berlin"
    currency: str = "EUR"
    date_created: str = field(default_factory=lambda: datetime.now(UTC).isoformat("T", "seconds"))


def write_study(
    path: Path | str, header: StudyHeader, tables: StudyTables, *, force: bool = False
) -> Path:
    """Write the results of a study; the file gets its name when it is whole.

    Parameters
    ----------
    path : name of the finished file.
    header : texts and attributes.
    tables : all tables of `study_layout.TABLES`; one may have no rows.
    force : replace an existing file.

    Raises
    ------
    ResultsError
        If the file exists, cannot be written, or if a table does not fit the layout.
    """
    target = Path(path)
    if target.exists() and not force:
        raise ResultsError(
            f"{target} exists and is not overwritten; choose another output or use --force"
        )
    missing = [name for name in study_layout.TABLES if name not in tables]
    unknown = [name for name in tables if name not in study_layout.TABLES]
    if missing or unknown:
        raise ResultsError(
            f"{target}: the tables of a study are {', '.join(study_layout.TABLES)}; missing: "
            f"{', '.join(missing) or 'none'}, unknown: {', '.join(unknown) or 'none'}"
        )
    checked = {
        name: checked_table(table, tables[name]) for name, table in study_layout.TABLES.items()
    }
    part = target.with_name(target.name + ".part")
    try:
        with h5py.File(part, "w", track_order=True) as file:
            _write_header(file, header)
            _write_tables(file, checked)
        os.replace(part, target)
    except (OSError, RuntimeError) as error:
        raise ResultsError(f"{target} cannot be written: {error}") from error
    return target


def open_study(path: Path | str) -> StudyResults:
    """Open the results of a study for reading.

    Raises
    ------
    ResultsError
        If there is no such file, or if it is damaged, not the results of a study, or of a higher
        major version than this program knows.
    """
    target = Path(path)
    file = open_hdf5(target)
    try:
        return StudyResults(target, file)
    except BaseException:
        file.close()
        raise


def is_study(path: Path | str) -> bool:
    """Tell whether a file holds the results of a study."""
    try:
        with h5py.File(path, "r") as file:
            return bool(file.attrs.get("schema_name") == study_layout.SCHEMA_NAME)
    except DAMAGE:
        return False


class StudyResults(OpenFile):
    """Open results of a study; get them from `open_study`."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        super().__init__(path, file)
        self._names: dict[str, NDArray[Any]] = {}
        with self.reading("the attributes"):
            self._attrs = {name: str(value) for name, value in file.attrs.items()}
        _check_schema(self._attrs, path)

    @property
    def attrs(self) -> Mapping[str, str]:
        """Attributes of the study, see `study_layout.ROOT_ATTRIBUTES`."""
        return MappingProxyType(self._attrs)

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.attrs["study"]

    @property
    def reference_design(self) -> str:
        """Name of the design that changes count from."""
        return self.attrs["reference_design"]

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Packages, inputs, solver and machine."""
        with self.reading("the provenance"):
            return MappingProxyType(dict(json.loads(self.text("provenance_json"))))

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables."""
        return tuple(self._members(layout.TABLE_ROOT))

    def text(self, name: str) -> str:
        """Return one of the texts of `study_layout.META`."""
        path = layout.meta_path(name)
        with self.reading(path):
            return str(self._file[path].asstr()[()])

    def table(self, name: str, *, with_run: bool = False) -> pd.DataFrame:
        """Read a whole table: times as UTC, flags as 0 and 1, words as text.

        Parameters
        ----------
        name : table of `study_layout.TABLES`.
        with_run : add the columns `RUN_COLUMNS` of each row's run.

        Raises
        ------
        ResultsError
            If there is no such table.
        """
        if name not in self.tables:
            raise ResultsError(
                f"{self.path} has no table {name!r}; it has: {', '.join(self.tables)}"
            )
        table = study_layout.TABLES[name]
        group = self._members(layout.table_path(name))
        with self.reading(layout.table_path(name)):
            frame = pd.DataFrame(
                {
                    column.name: self._decoded(column, group[column.name])
                    for column in table.columns
                    if column.name in group
                }
            )
        if with_run and name != "run" and "run" in frame:
            runs = self.table("run").set_index("run")[list(RUN_COLUMNS)]
            return frame.join(runs, on="run")
        return frame

    def units(self, name: str) -> dict[str, str]:
        """Return the unit of every column of a table; empty for texts."""
        return {column.name: column.unit for column in study_layout.TABLES[name].columns}

    def _decoded(self, column: layout.Variable, dataset: h5py.Dataset) -> Any:
        if column.dtype == "str":
            if h5py.check_string_dtype(dataset.dtype) is not None:
                return self._read(dataset, ...)
            if column.name not in self._names:
                names = self._file[f"/names/{column.name}"]
                self._names[column.name] = self._read(names, ...)
            return self._names[column.name][self._read(dataset, ...)]
        values = self._read(dataset, ...)
        if column.is_time:
            times = values.astype("datetime64[s]").astype("datetime64[ns]")
            return pd.DatetimeIndex(times, tz="UTC")
        return values


def _check_schema(attributes: Mapping[str, str], path: Path) -> None:
    if attributes.get("schema_name") != study_layout.SCHEMA_NAME:
        raise ResultsError(
            f"{path} does not hold the results of a study; `tricell study` writes such files, "
            f"called NAME{study_layout.SUFFIX}"
        )
    found = attributes.get("schema_version", "")
    major, known = (text.partition(".")[0] for text in (found, study_layout.SCHEMA_VERSION))
    if not major.isdecimal() or int(major) > int(known):
        raise ResultsError(
            f"{path} has schema version {found!r}, this tricell reads {known}.x; update tricell"
        )


def _write_header(file: h5py.File, header: StudyHeader) -> None:
    attributes = {
        "Conventions": layout.CONVENTIONS,
        "schema_name": study_layout.SCHEMA_NAME,
        "schema_version": study_layout.SCHEMA_VERSION,
        "study": header.study,
        "description": header.description,
        "reference_design": header.reference_design,
        "date_created": header.date_created,
        "source": f"tricell {version('tricell')}",
        "time_zone_local": header.time_zone_local,
        "currency": header.currency,
    }
    for name, value in attributes.items():
        file.attrs[name] = storable_text(value)
    texts = {
        "study_yaml": header.study_yaml,
        "scenario_yaml": header.scenario_yaml,
        "provenance_json": json.dumps(header.provenance, indent=2, ensure_ascii=False),
    }
    meta = file.create_group(layout.META_ROOT, track_order=True)
    for name, text in texts.items():
        meta.create_dataset(name, data=storable_text(text), dtype=TEXT)
        meta[name].attrs["long_name"] = study_layout.META[name]


def _write_tables(file: h5py.File, tables: Mapping[str, Mapping[str, Column]]) -> None:
    words: dict[str, dict[str, int]] = {}
    root = file.create_group(layout.TABLE_ROOT, track_order=True)
    for name, table in study_layout.TABLES.items():
        coded = [c.name for c in table.columns if _is_coded(table, c)]
        columns = {
            column: _codes(values, words.setdefault(column, {})) if column in coded else values
            for column, values in tables[name].items()
        }
        stored = tuple(
            replace(c, dtype="i4", unit="1", meaning=f"{c.meaning}; row of /names/{c.name}")
            if c.name in coded
            else c
            for c in table.columns
        )
        create_table(root, replace(table, columns=stored), columns, GZIP_LEVEL)
    names = file.create_group("names", track_order=True)
    for column, rows in words.items():
        names.create_dataset(column, data=np.array(list(rows), dtype=object), dtype=TEXT)


def _is_coded(table: layout.Table, column: layout.Variable) -> bool:
    return column.name in study_layout.CODED and column.name != table.axis


def _codes(values: Column, words: dict[str, int]) -> Column:
    """Return the row of each text in `words`, which grows by those that are new."""
    return np.array([words.setdefault(text, len(words)) for text in values], dtype=np.int32)
