"""The golden results files, unpacked, and the same run as it was while it went on."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from tests.golden.make import golden_path

from tricell.results import layout
from tricell.results.run_folder import master_path
from tricell.results.writer import ResultsWriter, RunHeader

CHECKPOINTS = (5, 9)
"""Slots that a run that goes on has taken at its checkpoints."""


def unpacked_golden(folder: Path, version: str = "1.0.0") -> Path:
    """Unpack the golden file of a version into a folder."""
    target = folder / "golden.h5"
    target.write_bytes(gzip.decompress(golden_path(version).read_bytes()))
    return target


def write_running(golden: Path, output: Path) -> Path:
    """Write the first slots of a run again, as a run that goes on; return its file of now."""
    with h5py.File(golden) as file:
        entities = entities_of(file)
        writer = ResultsWriter(output, header_of(file), entities)
        first = 0
        for end in CHECKPOINTS:
            writer.write_block(block_of(file, first, end))
            for name in (layout.TRADE, layout.POSTING, layout.SERVICE):
                if name not in file[layout.TABLE_ROOT]:
                    continue
                writer.append_rows(name, rows_of(file, name, first, end))
            writer.checkpoint({"slot": end}, {})
            first = end
        writer.abandon()
    return master_path(output)


def header_of(file: h5py.File) -> RunHeader:
    return RunHeader(
        run_id=file.attrs["run_id"],
        scenario_yaml=file["meta/scenario_yaml"].asstr()[()],
        random_seed=int(file.attrs["random_seed"]),
        start=np.datetime64(int(file["timeseries/slot/time"][0]), "s"),
        number_of_slots=int(file.attrs["number_of_slots"]),
        time_zone_local=file.attrs["time_zone_local"],
    )


def entities_of(file: h5py.File) -> dict[str, dict[str, Any]]:
    """Read the tables of entities that the file has, without what a run adds at its end."""
    tables = {
        name: columns_of(file, name)
        for name in layout.ENTITY_TABLES
        if name in file[layout.TABLE_ROOT]
    }
    for name in layout.DEVICE_TOTALS:
        tables.get(layout.DEVICE, {}).pop(name, None)
    return tables


def columns_of(file: h5py.File, table: str) -> dict[str, Any]:
    """Read the columns of a table without its row numbers."""
    group = file[layout.table_path(table)]
    return {
        column.name: values_of(group[column.name])
        for column in layout.TABLES[table].columns
        if column.name in group
    }


def rows_of(file: h5py.File, table: str, first: int, end: int) -> dict[str, Any]:
    """Read the rows of a growing table that belong to some slots."""
    times = file["timeseries/slot/time"][first:end]
    columns = columns_of(file, table)
    here = np.isin(columns["time"], times)
    return {name: values[here] for name, values in columns.items()}


def block_of(file: h5py.File, first: int, end: int) -> dict[str, dict[str, Any]]:
    return {
        name: {
            variable: dataset[first:end]
            for variable, dataset in group.items()
            if variable not in layout.SERIES[name].dimensions
        }
        for name, group in file[layout.SERIES_ROOT].items()
    }


def values_of(dataset: h5py.Dataset) -> Any:
    is_text = h5py.check_string_dtype(dataset.dtype) is not None
    return dataset.asstr()[...] if is_text else dataset[...]
