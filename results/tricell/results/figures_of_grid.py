"""Key figures of the grid: losses, voltages, loadings, tap changers.

Series of buses, lines and transformers are read in blocks of some days; kept of a whole run are a
few numbers per element.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tricell.results import kpis
from tricell.results.area_series import AreaSeries
from tricell.results.figure_scopes import Scope, Scopes, table_or_empty
from tricell.results.figures_of_energy import Values, each_scope
from tricell.results.reader import Results

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]
Figures: TypeAlias = dict[Scope, float | None]


@dataclass(frozen=True)
class Beyond:
    """How elements stand to their limits over the run, shape (elements,).

    Attributes
    ----------
    outside : slots in which the value is outside its limits.
    known : slots in which there is a value.
    lowest, highest : of the known values; NaN where there is none.
    low, high : limits; infinite where there is none.
    """

    outside: Floats
    known: Floats
    lowest: Floats
    highest: Floats
    low: Floats
    high: Floats

    @property
    def has_limit(self) -> Bools:
        """Whether an element has a limit and a value."""
        limited = np.isfinite(self.low) | np.isfinite(self.high)
        return np.asarray(limited & (self.known > 0))

    @property
    def depth(self) -> Floats:
        """By how much the limits are exceeded at worst; 0 where they are not."""
        return np.maximum(np.maximum(self.low - self.lowest, self.highest - self.high), 0.0)


def beyond(blocks: Iterable[NDArray[Any]], low: Floats, high: Floats) -> Beyond:
    """Hold the values of elements against their limits, block by block.

    A value on its limit is inside. Limits are rounded to the type of the values, so that a value
    on its limit is one in the file too.

    Parameters
    ----------
    blocks : of shape (slots, elements); NaN where a value is unknown.
    low, high : limits, shape (elements,); NaN where there is none.
    """
    least, most = np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)
    outside, known = np.zeros(len(low)), np.zeros(len(low))
    lowest, highest = np.full(len(low), np.inf), np.full(len(low), -np.inf)
    for block in blocks:
        below, above = least.astype(block.dtype), most.astype(block.dtype)
        minimum, maximum = np.fmin.reduce(block, axis=0), np.fmax.reduce(block, axis=0)
        worst = np.flatnonzero((minimum < below) | (maximum > above))
        values = block[:, worst]
        outside[worst] += ((values < below[worst]) | (values > above[worst])).sum(axis=0)
        known += len(block) - (np.isnan(block).sum(axis=0) if np.isnan(block.sum()) else 0)
        lowest, highest = np.fmin(lowest, minimum), np.fmax(highest, maximum)
    found = known > 0
    return Beyond(
        outside,
        known,
        np.where(found, lowest, np.nan),
        np.where(found, highest, np.nan),
        least,
        most,
    )


def grid_figures(
    results: Results, scopes: Scopes, areas: AreaSeries, energy: Values, hours: float
) -> Values:
    """Compute the figures of the grid for the run, levels and areas; slots last `hours`."""
    loss = scopes.with_below(areas.sums("loss", hours))
    figures: Values = {"loss": loss, "loss_ratio": _loss_ratio(loss, energy)}
    figures |= _voltages(results, scopes, hours)
    for kind in ("line", "trafo"):
        figures |= _loadings(results, scopes, kind, hours)
    figures["tap_steps"] = _tap_steps(results, scopes)
    return figures


def _loss_ratio(loss: Figures, energy: Values) -> Figures:
    entering = (energy.get("import", {}), energy.get("generation", {}))
    return each_scope(kpis.loss_ratio, loss, *entering)


def _voltages(results: Results, scopes: Scopes, hours: float) -> Values:
    table = table_or_empty(results, "bus")
    low, high = _column(table, "vm_min"), _column(table, "vm_max")
    found = beyond(_blocks(results, "bus", "vm", len(table)), low, high)
    parts = {
        scope: rows & found.has_limit
        for scope, rows in scopes.elements(scopes.area_rows(table["area"])).items()
    }
    return {
        "voltage_violation_rate": {
            scope: kpis.violation_share(found.outside[rows].sum(), found.known[rows].sum())
            for scope, rows in parts.items()
        },
        "voltage_violation_depth": _over(parts, found.depth, np.max),
        "voltage_hours": _over(parts, found.outside * hours, np.sum),
    }


def _loadings(results: Results, scopes: Scopes, kind: str, hours: float) -> Values:
    table = table_or_empty(results, kind)
    limits = _column(table, "loading_max")
    no_limit = np.full(len(table), np.nan)
    found = beyond(_blocks(results, kind, "loading", len(table)), no_limit, limits)
    parts = scopes.elements(scopes.area_rows(table["area"]))
    known = {scope: rows & (found.known > 0) for scope, rows in parts.items()}
    limited = {scope: rows & found.has_limit for scope, rows in parts.items()}
    return {
        f"{kind}_overload_hours": _over(limited, found.outside * hours, np.sum),
        f"{kind}_loading_max": _over(known, found.highest, np.max),
    }


def _tap_steps(results: Results, scopes: Scopes) -> Figures:
    table = table_or_empty(results, "trafo")
    steps = np.full(len(table), np.nan)
    before = None
    for block in _blocks(results, "trafo", "tap", len(table)):
        taps = block.astype(np.int64)
        positions = taps if before is None else np.vstack([before, taps])
        moved = np.abs(np.diff(positions, axis=0)).sum(axis=0)
        steps, before = np.nan_to_num(steps) + moved, taps[-1:]
    parts = scopes.elements(scopes.area_rows(table["area"]))
    known = {scope: rows & np.isfinite(steps) for scope, rows in parts.items()}
    return _over(known, steps, np.sum)


def _over(parts: Mapping[Scope, Bools], values: Floats, reduce: Callable[[Floats], Any]) -> Figures:
    """Reduce the values of each scope's elements; None where it has none."""
    return {
        scope: float(reduce(values[rows])) if rows.any() else None for scope, rows in parts.items()
    }


def _column(table: pd.DataFrame, name: str) -> Floats:
    """Give a column of numbers, NaN where the file has no such column."""
    if name not in table:
        return np.full(len(table), np.nan)
    return table[name].to_numpy(dtype=np.float64)


def _blocks(results: Results, group: str, variable: str, elements: int) -> Iterable[NDArray[Any]]:
    """Read a variable in blocks; none where the file does not have it."""
    if not elements or group not in results.groups or variable not in results.variables(group):
        return ()
    return results.blocks(group, variable)
