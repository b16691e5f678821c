"""All series of areas in one array per variable: few areas, so a year of them fits in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tricell.results import layout
from tricell.results.figure_scopes import Scopes
from tricell.results.reader import Results

Floats: TypeAlias = NDArray[np.float64]

VARIABLES = tuple(variable.name for variable in layout.SERIES[layout.AREA_LEVELS[0]].variables)


@dataclass(frozen=True)
class AreaSeries:
    """Series of the A areas in the order of tables/area.

    Attributes
    ----------
    slots : number T of slots in the file.
    values : variable -> shape (T, A); NaN where the file does not tell.
    """

    slots: int
    values: Mapping[str, Floats]

    def __getitem__(self, variable: str) -> Floats:
        """Give one variable, shape (T, A)."""
        return self.values[variable]

    def sums(self, variable: str, factor: float = 1.0) -> list[float | None]:
        """Add up the known slots of a variable, times a factor; None where an area has none."""
        columns = self.values[variable].T
        return [
            float(np.nansum(column)) * factor if np.isfinite(column).any() else None
            for column in columns
        ]


def read_area_series(results: Results, scopes: Scopes) -> AreaSeries:
    """Read the series of all areas."""
    slots = _number_of_slots(results)
    values = {name: np.full((slots, len(scopes.area)), np.nan) for name in VARIABLES}
    for level in scopes.levels:
        if level not in results.groups:
            continue
        rows = pd.Index(scopes.area).get_indexer(results.ids(level))
        for name in set(results.variables(level)) & set(VARIABLES):
            blocks = [np.empty((0, len(rows))), *results.blocks(level, name)]
            values[name][:, rows] = np.concatenate(blocks)
    return AreaSeries(slots, values)


def _number_of_slots(results: Results) -> int:
    return len(results.times(results.groups[0])) if results.groups else 0
