"""What key figures speak about: the run, levels, areas, customer classes and agents.

An area is meant with all areas below it: a cell is its medium-voltage grid with the low-voltage
grids that it feeds, a microgrid its low-voltage grid alone. A level is all areas of it, each for
itself: its sums are sums over its areas.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tricell.results import layout
from tricell.results.reader import Results

Floats: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]

LEVEL, AREA, CLASS, AGENT = layout.SCOPE_KINDS[1:]
UNKNOWN_ROW = -1


class Scope(NamedTuple):
    """One thing that figures speak about: its kind, of `layout.SCOPE_KINDS`, and its id."""

    kind: str
    name: str


RUN = Scope(layout.RUN_SCOPE, layout.RUN_SCOPE)


@dataclass(frozen=True)
class Scopes:
    """Areas, classes and agents of a run, and who belongs to what.

    Attributes
    ----------
    area, area_level : id and level of each of the A areas.
    is_top : whether an area has none above it, shape (A,).
    within : whether area b is area a or lies below it, shape (A, A).
    agent, agent_class : id and customer class of each of the N agents.
    agent_area : row of the area that an agent is a member of, -1 = unknown, shape (N,).
    may_store : whether an agent has a battery or another device that shifts energy, or the file
        does not tell, shape (N,).
    """

    area: tuple[str, ...]
    area_level: tuple[str, ...]
    is_top: Bools
    within: Bools
    agent: tuple[str, ...]
    agent_class: tuple[str, ...]
    agent_area: Rows
    may_store: Bools

    @property
    def levels(self) -> tuple[str, ...]:
        """Levels that have an area, the lowest first."""
        return tuple(level for level in layout.AREA_LEVELS if level in self.area_level)

    @property
    def classes(self) -> tuple[str, ...]:
        """Customer classes in the order of their names."""
        return tuple(sorted(set(self.agent_class)))

    def all(self) -> list[Scope]:
        """List every scope: run, levels, areas, classes, agents."""
        return [
            RUN,
            *(Scope(LEVEL, name) for name in self.levels),
            *(Scope(AREA, name) for name in self.area),
            *(Scope(CLASS, name) for name in self.classes),
            *(Scope(AGENT, name) for name in self.agent),
        ]

    def areas_of(self, level: str) -> Rows:
        """Give the rows of a level's areas."""
        return np.flatnonzero(np.array(self.area_level) == level)

    def area_rows(self, areas: Iterable[object]) -> Rows:
        """Give the row of each area named, -1 where there is none of that id."""
        row = {name: number for number, name in enumerate(self.area)}
        return np.array([row.get(str(name), UNKNOWN_ROW) for name in areas], dtype=np.int64)

    def belongs(self, area_row: Rows) -> Bools:
        """Tell which elements lie in an area or below it, shape (A, elements)."""
        if not self.area:
            return np.zeros((0, len(area_row)), np.bool_)
        inside: Bools = self.within[:, np.maximum(area_row, 0)] & (area_row != UNKNOWN_ROW)
        return inside

    def elements(self, area_row: Rows) -> dict[Scope, Bools]:
        """Tell which elements belong to the run, to each level and each area, shape (elements,)."""
        inside = self.belongs(area_row)
        parts: dict[Scope, Bools] = {RUN: np.ones(len(area_row), np.bool_)}
        for level in self.levels:
            parts[Scope(LEVEL, level)] = np.logical_or.reduce(inside[self.areas_of(level)])
        return parts | {Scope(AREA, name): inside[row] for row, name in enumerate(self.area)}

    def own_markets(self) -> dict[Scope, Bools]:
        """Tell whose own markets the run, each level and each area speak about, shape (A,)."""
        level = np.array(self.area_level, dtype=np.str_)
        one = np.eye(len(self.area), dtype=np.bool_)
        markets = {RUN: np.ones(len(self.area), np.bool_)}
        markets |= {Scope(LEVEL, name): level == name for name in self.levels}
        return markets | {Scope(AREA, name): one[row] for row, name in enumerate(self.area)}

    def members(self) -> dict[Scope, Bools]:
        """Tell which agents belong to the run, to each level, area and class, shape (N,)."""
        classes = np.array(self.agent_class, dtype=np.str_)
        of_classes = {Scope(CLASS, name): classes == name for name in self.classes}
        return self.elements(self.agent_area) | of_classes

    def of_own(
        self, by_area: Sequence[float | None], run: float | None = None
    ) -> dict[Scope, float | None]:
        """Give a figure to each area, and the sum over its areas to a level.

        Parameters
        ----------
        by_area : value of each area, None where undefined; a level with such an area has none.
        run : value of the run.
        """
        values: dict[Scope, float | None] = {RUN: run}
        for level in self.levels:
            values[Scope(LEVEL, level)] = total([by_area[row] for row in self.areas_of(level)])
        named = zip(self.area, by_area, strict=True)
        return values | {Scope(AREA, name): value for name, value in named}

    def with_below(self, by_area: Sequence[float | None]) -> dict[Scope, float | None]:
        """Add up what areas have of their own: of the run, of levels, of areas with those below."""
        parts = self.elements(np.arange(len(self.area)))
        return {
            scope: total([value for value, inside in zip(by_area, rows, strict=True) if inside])
            for scope, rows in parts.items()
        }


def total(values: Sequence[float | None]) -> float | None:
    """Add up figures; None if there is none or one of them is undefined.

    Examples
    --------
    >>> total([1.0, 2.0]), total([1.0, None]), total([])
    (3.0, None, None)
    """
    known = [value for value in values if value is not None and not np.isnan(value)]
    return float(sum(known)) if known and len(known) == len(values) else None


def table_or_empty(results: Results, name: str) -> pd.DataFrame:
    """Read a table; one without rows, but with all its columns, where the file has none."""
    if name in results.tables:
        return results.table(name)
    return pd.DataFrame({column.name: [] for column in layout.TABLES[name].columns})


def scopes_of(results: Results) -> Scopes:
    """Read what figures of a run can speak about."""
    areas, agents = table_or_empty(results, "area"), table_or_empty(results, "agent")
    ids, parents = ([str(each) for each in areas[name]] for name in ("area", "parent"))
    row = {name: number for number, name in enumerate(ids)}
    battery = agents.get("battery_kwh", pd.Series(np.nan, agents.index))
    owners = table_or_empty(results, layout.DEVICE)["agent"]
    return Scopes(
        area=tuple(ids),
        area_level=tuple(str(each) for each in areas["level"]),
        is_top=np.array([parent not in ids for parent in parents], np.bool_),
        within=_within(row, parents),
        agent=tuple(str(each) for each in agents["agent"]),
        agent_class=tuple(str(each) for each in agents["class"]),
        agent_area=np.array([row.get(str(area), UNKNOWN_ROW) for area in agents["area"]], np.int64),
        may_store=(battery.to_numpy(dtype=np.float64) != 0.0)
        | agents["agent"].isin(owners).to_numpy(),
    )


def _within(row: Mapping[str, int], parents: Sequence[str]) -> Bools:
    """Tell for every pair of areas whether the second is the first or lies below it."""
    within = np.eye(len(parents), dtype=np.bool_)
    for number, parent in enumerate(parents):
        above = parent
        for _ in parents:  # no tree is deeper than it has areas
            if above not in row:
                break
            within[row[above], number] = True
            above = parents[row[above]]
    return within
