"""Does what a results file says about devices hold together: owners, departures, misses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.results import layout
from tricell.results.deviations import Deviation, DeviationKind, listed
from tricell.results.usable_file import UsableFile

TOLERANCE_KWH = 1e-6
RELATIVE_TOLERANCE = 1e-9
"""Sums in another order differ by rounding: some 1e-12 of what was added up."""


def check_devices(usable: UsableFile) -> Iterator[Deviation]:
    """Yield what does not hold together; columns that are not there are left out."""
    yield from _check_areas(usable)
    yield from _check_departures(usable)
    yield from _check_unmet(usable)


def _check_areas(usable: UsableFile) -> Iterator[Deviation]:
    """Check that devices stand in the areas of their owners."""
    agents, areas = usable.column("agent", "agent"), usable.column("agent", "area")
    owners, told = usable.column(layout.DEVICE, "agent"), usable.column(layout.DEVICE, "area")
    if agents is None or areas is None or owners is None or told is None:
        return
    if agents.shape != areas.shape or owners.shape != told.shape:
        return
    area_of = dict(zip(agents.tolist(), areas.tolist(), strict=True))
    wrong = [
        row
        for row, (owner, area) in enumerate(zip(owners.tolist(), told.tolist(), strict=True))
        if area_of.get(owner, area) != area
    ]
    if wrong:
        path = layout.table_path(layout.DEVICE, "area")
        found = f"another area than the owner's at row {listed(wrong)}"
        yield Deviation(DeviationKind.VALUE, path, found, "the area of the owner")


def _check_departures(usable: UsableFile) -> Iterator[Deviation]:
    short, departures = (
        usable.column(layout.DEVICE, name) for name in ("short_departures", "departures")
    )
    if short is None or departures is None or short.shape != departures.shape:
        return
    wrong = np.flatnonzero((short < 0) | (short > departures))
    if wrong.size:
        path = layout.table_path(layout.DEVICE, "short_departures")
        found = f"{short[wrong[0]]} at row {listed(wrong.tolist())}"
        expected = f"0 to {departures[wrong[0]]}, the departures"
        yield Deviation(DeviationKind.VALUE, path, found, expected)


def _check_unmet(usable: UsableFile) -> Iterator[Deviation]:
    """Check that what devices missed over the run is the sum of its series."""
    told = usable.column(layout.DEVICE, "unmet")
    if told is None:
        return
    total: NDArray[Any] = np.zeros(told.shape)
    blocks = 0
    for _, block in usable.blocks(layout.series_path(layout.DEVICE, "unmet")):
        if block.shape[1:] != told.shape:
            return
        total = total + np.nansum(block, axis=0)
        blocks += 1
    gap = np.abs(told - total)
    wrong = np.flatnonzero(gap > TOLERANCE_KWH + RELATIVE_TOLERANCE * np.abs(total))
    if blocks and wrong.size:
        row = int(wrong[0])
        path = layout.table_path(layout.DEVICE, "unmet")
        expected = f"{total[row]:.6f} kWh, the sum of {layout.series_path(layout.DEVICE, 'unmet')}"
        yield Deviation(DeviationKind.VALUE, path, f"{told[row]:.6f} kWh at row {row}", expected)
