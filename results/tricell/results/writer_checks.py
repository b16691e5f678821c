"""Checks of what a run brings: known variables, the same as before, of known entities."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tricell.errors import ResultsError
from tricell.results import layout
from tricell.results.datasets import Column, Columns, checked_table
from tricell.results.joining import EntityColumns
from tricell.results.saved_run import SavedRun
from tricell.results.segments import Recorded


def listed(names: set[str]) -> str:
    """Name them in the order of the alphabet."""
    return ", ".join(sorted(names)) or "nothing"


def checked_entities(entities: Mapping[str, Columns]) -> dict[str, dict[str, Column]]:
    """Give the tables of entities in the order and types of the layout."""
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


def checked_totals(columns: Columns, devices: Mapping[str, Column]) -> dict[str, Column]:
    """Give what is known about devices at the end of a run in the types of the layout.

    Parameters
    ----------
    columns : of `layout.DEVICE_TOTALS`.
    devices : columns of the table that were written before the run.
    """
    unknown = set(columns) - set(layout.DEVICE_TOTALS)
    if unknown:
        raise ResultsError(
            f"{layout.table_path(layout.DEVICE)}: {listed(unknown)} is not given at the end of a "
            f"run; allowed: {', '.join(layout.DEVICE_TOTALS)}"
        )
    whole = checked_table(layout.TABLES[layout.DEVICE], {**devices, **columns})
    return {name: whole[name] for name in layout.DEVICE_TOTALS if name in columns}


def recorded_variables(
    values: Mapping[str, Mapping[str, Any]], ids: Mapping[str, Column]
) -> dict[str, list[str]]:
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


def refuse_other_variables(given: Recorded, saved: Recorded, path: Path) -> None:
    """Refuse a resumed run that records other variables than before."""
    for group in sorted({*given, *saved}):
        if set(given.get(group, ())) != set(saved.get(group, ())):
            raise ResultsError(
                f"{path}: the resumed run brings {listed(set(given.get(group, ())))} of {group}, "
                f"before it brought {listed(set(saved.get(group, ())))}; resume with the version "
                f"and the files that the run was begun with"
            )


def refuse_other_entities(given: EntityColumns, saved: SavedRun) -> None:
    """Refuse a resumed run whose entities are not those that it was begun with."""
    for name in sorted({*given, *saved.entities}):
        now, before = given.get(name, {}), saved.entities.get(name, {})
        for column in sorted({*now, *before}):
            is_same = (
                column in now
                and column in before
                and np.array_equal(
                    now[column], before[column], equal_nan=now[column].dtype.kind == "f"
                )
            )
            if not is_same:
                raise ResultsError(
                    f"{saved.path}: tables/{name}/{column} is not what it was when the run was "
                    f"begun; resume with the version and the files that it was begun with"
                )
