"""Do the values of a results file hold together: times, ids, codes, rows, texts and money.

Series are read in blocks, so that a year of a region needs little memory. That every value is read
also shows chunks that are damaged.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tricell.results import layout
from tricell.results.deviations import Deviation, DeviationKind, listed
from tricell.results.device_checks import check_devices
from tricell.results.money_checks import check_money
from tricell.results.usable_file import UsableFile

Row = TypeVar("Row")

BINDING_TABLES = {
    layout.BindingKind.BUS: "bus",
    layout.BindingKind.LINE: "line",
    layout.BindingKind.TRAFO: "trafo",
}


def check_values(usable: UsableFile) -> Iterator[Deviation]:
    """Yield all deviations of the values."""
    yield from _check_texts(usable)
    yield from _check_clocks(usable)
    for group in layout.SERIES.values():
        yield from _check_ids(usable, group)
        for variable in group.variables:
            yield from _check_series(usable, group, variable)
    yield from _check_binding(usable)
    for table in layout.TABLES.values():
        yield from _check_table(usable, table)
    yield from _check_scopes(usable)
    yield from _check_hierarchy(usable)
    yield from check_money(usable)
    yield from check_devices(usable)
    yield from usable.unreadable


def _check_texts(usable: UsableFile) -> Iterator[Deviation]:
    scenario = usable.values(layout.meta_path(layout.SCENARIO_YAML))
    told = usable.file.attrs.get("scenario_sha256")
    if scenario is not None and isinstance(told, str):
        found = hashlib.sha256(str(scenario).encode()).hexdigest()
        if found != told:
            where = layout.meta_path(layout.SCENARIO_YAML)
            expected = f"{told}, as /@scenario_sha256 says"
            yield Deviation(DeviationKind.VALUE, where, f"a text with SHA-256 {found}", expected)
    provenance = usable.values(layout.meta_path(layout.PROVENANCE_JSON))
    if provenance is not None and not _is_json_object(str(provenance)):
        where = layout.meta_path(layout.PROVENANCE_JSON)
        yield Deviation(DeviationKind.VALUE, where, "another text", "an object in JSON")


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


# --- times ---


def _check_clocks(usable: UsableFile) -> Iterator[Deviation]:
    step = usable.file.attrs.get("time_step_s")
    main = usable.values(layout.series_path(layout.SLOT, layout.TIME.name))
    if isinstance(step, np.integer) and step < 1:
        yield Deviation(DeviationKind.VALUE, "/@time_step_s", str(step), "at least 1")
    for name in layout.SERIES:
        path = layout.series_path(name, layout.TIME.name)
        clock = usable.values(path)
        if clock is None:
            continue
        if isinstance(step, np.integer) and step >= 1:
            yield from _check_steps(path, clock, int(step))
        if main is not None and name != layout.SLOT and not np.array_equal(clock, main):
            expected = f"the times of {layout.series_path(layout.SLOT)}"
            yield Deviation(DeviationKind.TIME, path, f"{clock.size} other times", expected)
    if main is not None:
        yield from _check_number_of_slots(usable, main.size)


def _check_steps(path: str, clock: NDArray[Any], step: int) -> Iterator[Deviation]:
    steps = np.diff(clock)
    wrong = np.flatnonzero(steps != step)
    if wrong.size:
        found = f"steps of {listed(np.unique(steps[wrong]).tolist())} s, first at row {wrong[0]}"
        yield Deviation(DeviationKind.TIME, path, found, f"steps of {step} s")


def _check_number_of_slots(usable: UsableFile, slots: int) -> Iterator[Deviation]:
    announced, status = (usable.file.attrs.get(n) for n in ("number_of_slots", "run_status"))
    if not isinstance(announced, np.integer):
        return
    if status == "complete" and slots != announced:
        expected = f"{slots}, as the run is complete and has that many"
    elif slots > announced:
        expected = f"at least {slots}, as the file has that many"
    else:
        return
    yield Deviation(DeviationKind.TIME, "/@number_of_slots", str(announced), expected)


# --- series ---


def _check_ids(usable: UsableFile, group: layout.SeriesGroup) -> Iterator[Deviation]:
    if not group.id_table:
        return
    ids = usable.values(layout.series_path(group.name, group.name))
    wanted = usable.column(group.id_table, layout.TABLES[group.id_table].axis)
    level = usable.column(group.id_table, "level") if group.level else None
    if ids is None or wanted is None or (group.level and level is None):
        return
    if level is not None:
        wanted = wanted[level == group.level]
    if ids.size != wanted.size or np.any(ids != wanted):
        path, table = layout.series_path(group.name, group.name), layout.table_path(group.id_table)
        of_level = f" of the level {group.level}" if group.level else ""
        expected = f"the {wanted.size} ids of {table}{of_level} in their order"
        yield Deviation(DeviationKind.REFERENCE, path, f"{ids.size} other ids", expected)


def _check_series(
    usable: UsableFile, group: layout.SeriesGroup, variable: layout.Variable
) -> Iterator[Deviation]:
    path = layout.series_path(group.name, variable.name)
    wrong: dict[Any, None] = {}
    count = 0
    rows = _rows_of(usable, variable)
    for _, block in usable.blocks(path):
        bad = _wrong_numbers(block, variable, rows)
        count += bad.size
        wrong.update(dict.fromkeys(np.unique(bad).tolist()))
    if count:
        yield _wrong_values(path, variable, list(wrong), count, rows)


def _rows_of(usable: UsableFile, variable: layout.Variable) -> int | None:
    """Give the number of rows of the table that row numbers point at."""
    if not variable.points_to or variable.dtype == "str":
        return None
    ids = usable.column(variable.points_to, layout.TABLES[variable.points_to].axis)
    return None if ids is None else ids.size


def _wrong_numbers(
    values: NDArray[Any], variable: layout.Variable, rows: int | None
) -> NDArray[Any]:
    """Give the numbers that the layout does not allow."""
    if variable.is_float:
        return np.asarray(values[np.isinf(values)])
    if variable.flags:
        codes = [flag.value for flag in variable.flags]
        return np.asarray(values[~np.isin(values, codes)])
    if rows is not None:
        outside = [value for value, _ in variable.outside]
        is_wrong = ((values < 0) | (values >= rows)) & ~np.isin(values, outside)
        return np.asarray(values[is_wrong])
    return values[:0]


def _wrong_values(
    path: str, variable: layout.Variable, wrong: list[Any], count: int, rows: int | None
) -> Deviation:
    found = f"{count} times {listed(wrong)}"
    if variable.is_float:
        return Deviation(DeviationKind.VALUE, path, found, "finite numbers, NaN for a gap")
    if variable.flags:
        allowed = ", ".join(str(flag.value) for flag in variable.flags)
        return Deviation(DeviationKind.VALUE, path, found, f"the codes {allowed}")
    outside = "".join(f" or {value} ({meaning})" for value, meaning in variable.outside)
    expected = f"rows of {layout.table_path(variable.points_to)} from 0 to {(rows or 0) - 1}"
    return Deviation(DeviationKind.REFERENCE, path, found, expected + outside)


def _check_binding(usable: UsableFile) -> Iterator[Deviation]:
    path = layout.series_path(layout.SLOT, "binding_element")
    kinds = usable.values(layout.series_path(layout.SLOT, "binding_kind"))
    elements = usable.values(path)
    if kinds is None or elements is None or kinds.shape != elements.shape:
        return
    for kind, table in BINDING_TABLES.items():
        ids = usable.column(table, layout.TABLES[table].axis)
        here = elements[kinds == kind]
        wrong = here[(here < 0) | (here >= ids.size)] if ids is not None else here[:0]
        if wrong.size:
            found = f"{wrong.size} times {listed(np.unique(wrong).tolist())}"
            expected = f"rows of {layout.table_path(table)} where binding_kind is {int(kind)}"
            yield Deviation(DeviationKind.REFERENCE, path, found, expected)


# --- tables ---


def _check_table(usable: UsableFile, table: layout.Table) -> Iterator[Deviation]:
    axis = usable.column(table.name, table.axis)
    path = layout.table_path(table.name, table.axis)
    if axis is not None and table.has_ids:
        names, counts = np.unique(axis.astype(str), return_counts=True)
        if names.size < axis.size:
            found = f"{listed(names[counts > 1].tolist())} in more than one row"
            yield Deviation(DeviationKind.VALUE, path, found, "each id once")
        elif not names.all():
            yield Deviation(DeviationKind.VALUE, path, "an empty id", "ids of at least one letter")
    elif axis is not None and not np.array_equal(axis, np.arange(axis.size)):
        yield Deviation(DeviationKind.VALUE, path, "other numbers", "row numbers from 0")
    for column in table.columns:
        yield from _check_column(usable, table, column)


def _check_column(
    usable: UsableFile, table: layout.Table, column: layout.Variable
) -> Iterator[Deviation]:
    path = layout.table_path(table.name, column.name)
    values = usable.values(path)
    if values is None:
        return
    if column.dtype == "str":
        yield from _check_column_of_texts(usable, path, column, values)
    elif column.is_time:
        yield from _check_instants(usable, path, values, is_ordered=table.presence == "rows")
    else:
        rows = _rows_of(usable, column)
        wrong = _wrong_numbers(values, column, rows)
        if wrong.size:
            yield _wrong_values(path, column, np.unique(wrong).tolist(), wrong.size, rows)


def _check_column_of_texts(
    usable: UsableFile, path: str, column: layout.Variable, values: NDArray[Any]
) -> Iterator[Deviation]:
    if column.words:
        wrong = sorted(set(values.tolist()) - set(column.words))
        if wrong:
            allowed = ", ".join(map(repr, column.words))
            yield Deviation(DeviationKind.VALUE, path, listed(wrong), f"one of {allowed}")
    if not column.points_to:
        return
    ids = usable.column(column.points_to, layout.TABLES[column.points_to].axis)
    if ids is None:
        return
    outside = {value for value, _ in column.outside}
    wrong = sorted(set(values.tolist()) - set(ids.tolist()) - outside)
    if wrong:
        expected = f"ids of {layout.table_path(column.points_to)}"
        yield Deviation(DeviationKind.REFERENCE, path, listed(wrong), expected)


def _check_instants(
    usable: UsableFile, path: str, times: NDArray[Any], *, is_ordered: bool
) -> Iterator[Deviation]:
    clock = usable.values(layout.series_path(layout.SLOT, layout.TIME.name))
    if clock is None:
        return
    wrong = np.setdiff1d(times, clock)
    if wrong.size:
        found = f"{listed(wrong.tolist())} seconds since 1970"
        expected = f"times of {layout.series_path(layout.SLOT)}"
        yield Deviation(DeviationKind.TIME, path, found, expected)
    if is_ordered and np.any(np.diff(times) < 0):
        row = int(np.argmax(np.diff(times) < 0)) + 1
        yield Deviation(DeviationKind.TIME, path, f"an earlier time at row {row}", "rising times")


def _check_scopes(usable: UsableFile) -> Iterator[Deviation]:
    """Check that each key figure speaks about something that there is."""
    kinds, scopes = usable.column("kpi", "scope_kind"), usable.column("kpi", "scope")
    if kinds is None or scopes is None or kinds.shape != scopes.shape:
        return
    known = {
        layout.RUN_SCOPE: np.array([layout.RUN_SCOPE], dtype=object),
        "level": np.array(layout.AREA_LEVELS, dtype=object),
        "area": usable.column("area", "area"),
        "class": usable.column("agent", "class"),
        "agent": usable.column("agent", "agent"),
    }
    path = layout.table_path("kpi", "scope")
    for kind, allowed in known.items():
        if allowed is not None:
            wrong = sorted(set(scopes[kinds == kind].tolist()) - set(allowed.tolist()))
            if wrong:
                expected = f"what there is of the kind {kind!r}"
                yield Deviation(DeviationKind.REFERENCE, path, listed(wrong), expected)
    names = usable.column("kpi", "name")
    if names is not None and names.shape == kinds.shape:
        rows = list(zip(names.tolist(), kinds.tolist(), scopes.tolist(), strict=True))
        if len(set(rows)) < len(rows):
            again = [" of ".join((name, scope)) for name, _, scope in repeated(rows)]
            path = layout.table_path("kpi", "name")
            expected = "each figure of a scope once"
            yield Deviation(
                DeviationKind.VALUE, path, f"{listed(again)} in more than one row", expected
            )


def repeated(rows: Sequence[Row]) -> list[Row]:
    """List what stands in more than one row, in the order of the first.

    Examples
    --------
    >>> repeated(["a", "b", "a"])
    ['a']
    """
    return [row for row, count in Counter(rows).items() if count > 1]


# --- areas and their members ---


def _check_hierarchy(usable: UsableFile) -> Iterator[Deviation]:
    """Check levels and counts of areas against each other and against their members."""
    read = [usable.column("area", name) for name in ("area", "level", "parent")]
    columns = [column.tolist() for column in read if column is not None]
    if len(columns) < len(read) or len({len(column) for column in columns}) > 1:
        return
    ids, levels, parents = columns
    if not set(levels) <= set(layout.AREA_LEVELS):
        return  # said where words are checked
    level_of = dict(zip(ids, levels, strict=True))
    yield from _check_parents(level_of, parents)
    yield from _check_levels_of_agents(usable, level_of)
    for table in ("agent", "bus"):
        yield from _check_counts(usable, table, ids)


def _check_parents(level_of: Mapping[str, str], parents: Sequence[str]) -> Iterator[Deviation]:
    height = {level: number for number, level in enumerate(layout.AREA_LEVELS)}
    wrong = [
        area
        for (area, level), parent in zip(level_of.items(), parents, strict=False)
        if parent in level_of and height[level_of[parent]] <= height[level]
    ]
    if wrong:
        path = layout.table_path("area", "parent")
        found = f"areas of no higher level above {listed(wrong)}"
        yield Deviation(DeviationKind.REFERENCE, path, found, "areas of a higher level, or none")


def _check_levels_of_agents(usable: UsableFile, level_of: Mapping[str, str]) -> Iterator[Deviation]:
    areas, levels = usable.column("agent", "area"), usable.column("agent", "level")
    if areas is None or levels is None or areas.shape != levels.shape:
        return
    rows = [
        row
        for row, (area, level) in enumerate(zip(areas.tolist(), levels.tolist(), strict=True))
        if level in layout.AREA_LEVELS and level_of.get(area, level) != level
    ]
    if rows:
        path = layout.table_path("agent", "level")
        found = f"another level than the area's at row {listed(rows)}"
        yield Deviation(DeviationKind.VALUE, path, found, "the level of the agent's area")


def _check_counts(usable: UsableFile, table: str, ids: Sequence[str]) -> Iterator[Deviation]:
    told, areas = usable.column("area", f"n_{table}"), usable.column(table, "area")
    if told is None or areas is None or told.shape != (len(ids),) or not set(areas) <= set(ids):
        return
    members = Counter(areas.tolist())
    wrong = [row for row, area in enumerate(ids) if told[row] != members[area]]
    if wrong:
        row = wrong[0]
        yield Deviation(
            DeviationKind.VALUE,
            layout.table_path("area", f"n_{table}"),
            f"{told[row]} at row {listed(wrong)}",
            f"{members[ids[row]]}, as {layout.table_path(table)} has",
        )
