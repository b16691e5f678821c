"""A results file in the layout of mosaik-hdf5, for tools that read what that simulator writes.

By its documentation (mosaik-hdf5 0.5, pypi.org/project/mosaik-hdf5)::

    /                         meta data of the simulation as attributes
    /Relations/<eid>          one row per relation: path of its relations, path of its series
    /Series/<eid>             static data of the entity as attributes
    /Series/<eid>/<attr>      one value per step

It has neither a time axis nor units; the attributes `start`, `step_size` (seconds) and `duration`
of the root tell the time, and each dataset has its `units` beside what mosaik-hdf5 writes. An
entity is called by its kind and its id, such as ``Agent-0.LV1.201 Load 3``; `/` becomes `_`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tricell.errors import ResultsError
from tricell.results import layout
from tricell.results.export import Period
from tricell.results.export_writing import whole_file
from tricell.results.reader import Results

NEIGHBOURS: Mapping[str, Mapping[str, str]] = {
    "agent": {"bus": "bus", "area": "area"},
    "bus": {"area": "area"},
    "line": {"from_bus": "bus", "to_bus": "bus"},
    "trafo": {"hv_bus": "bus", "lv_bus": "bus"},
    "area": {"parent": "area"},
}
"""Table -> column with an id -> table of that id: what is related to what."""
RUN_ENTITY = "Run-0.run"
"""Has the variables of the whole run."""


Eids: TypeAlias = Mapping[tuple[str, str], str]
"""(table, id) -> how mosaik calls it."""


def write_mosaik(results: Results, output: Path, period: Period) -> int:
    """Write the series, relations and static data of a file as mosaik-hdf5 does.

    Returns
    -------
    Number of entities.

    Raises
    ------
    ResultsError
        If the results cannot be read, or if the file cannot be written; then there is none.
    """
    tables = {name: results.table(name) for name in NEIGHBOURS if name in results.tables}
    eids = _eids(results, tables)
    with whole_file(output) as part, h5py.File(part, "w") as file:
        file.attrs.update(_meta_data(results, period))
        relations, series = file.create_group("Relations"), file.create_group("Series")
        for eid, others in _relations(tables, eids).items():
            pairs = [(f"/Relations/{other}", f"/Series/{other}") for other in others]
            relations[eid] = np.array([[path.encode() for path in pair] for pair in pairs], "S")
        series.create_group(RUN_ENTITY)
        for table, frame in tables.items():
            for row in frame.to_dict("records"):
                series.create_group(eids[table, row[table]]).attrs.update(_static(row))
        for group in results.groups:
            _write_group(results, group, period, eids, series)
    return len(eids) + 1


def _eids(results: Results, tables: Mapping[str, pd.DataFrame]) -> Eids:
    eids: dict[tuple[str, str], str] = {}
    for table, frame in tables.items():
        kinds = frame["level"] if table == "area" else [table] * len(frame)
        for kind, name in zip(kinds, frame[table], strict=True):
            eids[table, name] = f"{kind.capitalize()}-0.{name.replace('/', '_')}"
    names, counts = np.unique(list(eids.values()), return_counts=True)
    if (counts > 1).any():
        raise ResultsError(
            f"{results.path}: two ids become the same name in mosaik's layout, where `/` cannot "
            f"stand: {names[counts > 1][0]}"
        )
    return eids


def _meta_data(results: Results, period: Period) -> dict[str, Any]:
    times = _times(results, period)
    step_s = int(results.attrs["time_step_s"])
    return {
        "start": times[0].isoformat() if len(times) else "",
        "step_size": step_s,
        "duration": step_s * len(times),
        "source": str(results.attrs["source"]),
        "run_id": str(results.attrs["run_id"]),
        "run_status": results.status,
        "sign_convention": layout.SIGN_CONVENTION,
    }


def _times(results: Results, period: Period) -> pd.DatetimeIndex:
    if not results.groups:
        return pd.DatetimeIndex([], tz="UTC")
    return results.times(results.groups[0], period.start, period.stop)


def _relations(tables: Mapping[str, pd.DataFrame], eids: Eids) -> dict[str, list[str]]:
    """Give every entity's neighbours, in both directions."""
    found: dict[str, set[str]] = {eid: set() for eid in eids.values()}
    for table, frame in tables.items():
        for column, other_table in NEIGHBOURS[table].items():
            if column not in frame:
                continue
            for name, other_name in zip(frame[table], frame[column], strict=True):
                other = eids.get((other_table, other_name))
                if other is not None:
                    found[eids[table, name]].add(other)
                    found[other].add(eids[table, name])
    return {eid: sorted(others) for eid, others in sorted(found.items()) if others}


def _static(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in row.items()}


def _write_group(
    results: Results, group: str, period: Period, eids: Eids, series: h5py.Group
) -> None:
    known = layout.SERIES.get(group)
    table = known.id_table if known is not None and known.id_table else group
    for name in results.variables(group):
        values = results.series(group, name, period.start, period.stop)
        variable = None if known is None else known.variable(name)
        about = {"units": variable.unit, "long_name": variable.meaning} if variable else {}
        if values.ndim == 1:
            _write(series[RUN_ENTITY], name, values.to_numpy(), about)
            continue
        ids = results.ids(group)
        width = layout.chunk_shape(max(len(ids), 1))[1]
        for first in range(0, len(ids), width):
            some = slice(first, first + width)
            columns = np.ascontiguousarray(values.isel({group: some}).to_numpy().T)
            for entity, column in zip(ids[some], columns, strict=True):
                eid = eids.get((table, entity), f"{table.capitalize()}-0.{entity}")
                _write(series.require_group(eid), name, column, about)


def _write(entity: h5py.Group, name: str, values: NDArray[Any], about: Mapping[str, Any]) -> None:
    packing = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if values.size else {}
    dataset = entity.create_dataset(name, data=values, **packing)
    dataset.attrs.update(about)
