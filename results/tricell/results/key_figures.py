"""The table kpi of a results file, computed from the file alone.

Which figures there are is said by `tricell.results.figure_list`; the formulas are pure functions
in `tricell.results.kpis`. Nothing but what the file holds is needed, so the figures of any results
file can be worked out again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tricell.errors import ResultsError
from tricell.results import kpis, layout
from tricell.results.area_series import read_area_series
from tricell.results.datasets import Columns
from tricell.results.figure_list import FIGURES, OVERALL, figures_of
from tricell.results.figure_scopes import RUN, Scope, Scopes, scopes_of
from tricell.results.figures_of_energy import Values, energy_figures
from tricell.results.figures_of_flexibility import flexibility_figures
from tricell.results.figures_of_grid import grid_figures
from tricell.results.figures_of_markets import (
    market_figures,
    price_range,
    read_slots,
    rebound_figures,
    slot_figures,
)
from tricell.results.figures_of_money import account_figures, bill_figures, price_figures
from tricell.results.reader import Results

SECONDS_PER_HOUR = 3600.0
HOURS_PER_YEAR = 8760.0


@dataclass(frozen=True)
class Figure:
    """One row of tables/kpi; `value` None is undefined."""

    name: str
    value: float | None
    unit: str
    scope_kind: str = layout.RUN_SCOPE
    scope: str = layout.RUN_SCOPE


def kpi_table(results: Results, extra: Sequence[Figure] = ()) -> Columns:
    """Compute all key figures of a results file, as columns of tables/kpi.

    Every figure of `figure_list` has a row for each thing that it speaks about; NaN where it is
    undefined or the file lacks what it is made of. Figures that are not everywhere have rows only
    if the file has what they are made of.

    Parameters
    ----------
    results : an open file.
    extra : what the run knows and its series do not: the energy in store at the end, the value
        of looking ahead.

    Raises
    ------
    ResultsError
        If a figure in `extra` is not in `figure_list` for that kind of scope and unit.
    """
    scopes = scopes_of(results)
    values = figure_values(results, scopes)
    for told in extra:
        _check_told(told)
        values.setdefault(told.name, {})[Scope(told.scope_kind, told.scope)] = told.value
    rows = list(_rows(values, scopes))
    return {
        "name": [row.name for row in rows],
        "scope_kind": [row.scope_kind for row in rows],
        "scope": [row.scope for row in rows],
        "value": np.array([row.value for row in rows], dtype=np.float64),
        "unit": [row.unit for row in rows],
    }


def figure_values(results: Results, scopes: Scopes) -> Values:
    """Compute the figures that the file can tell: name -> scope -> value, None if undefined."""
    hours = float(results.attrs["time_step_s"]) / SECONDS_PER_HOUR
    areas = read_area_series(results, scopes)
    slots = read_slots(results)
    energy = energy_figures(results, scopes, areas, hours)
    values: Values = {
        **energy,
        **grid_figures(results, scopes, areas, energy, hours),
        **market_figures(scopes, areas),
        **rebound_figures(scopes, areas, slots),
        **slot_figures(slots, hours),
        **bill_figures(results, scopes, areas.slots * hours / HOURS_PER_YEAR),
        **price_figures(results, scopes, price_range(slots)),
        **account_figures(results),
        **flexibility_figures(results, scopes, hours),
    }
    parts = {name: values.get(name, {}).get(RUN) for name in OVERALL}
    return {**values, "overall": {RUN: kpis.overall(parts)}}


def _rows(values: Values, scopes: Scopes) -> Iterator[Figure]:
    """List a figure for everything that it speaks about."""
    for scope in scopes.all():
        for figure in figures_of(scope.kind):
            if not figure.is_everywhere and figure.name not in values:
                continue
            value = values.get(figure.name, {}).get(scope)
            yield Figure(figure.name, value, figure.unit, *scope)


def _check_told(told: Figure) -> None:
    known = FIGURES.get(told.name)
    if known is None or told.scope_kind not in known.scopes or told.unit != known.unit:
        raise ResultsError(
            f"key figure {told.name!r} of a {told.scope_kind} in {told.unit}: there is none such; "
            f"tricell.results.figure_list names the figures with their scopes and units"
        )
