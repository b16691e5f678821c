"""Baselines over time: what a meter would have shown, from its last days without an event.

For every meter and slot of the day the baseline is the mean of the last like days (working days
for a working day, days of the weekend for a weekend's) on which that meter was not called; before
there are so many, of those there are; before there is one, the caller's own expectation. The rule
is that of `tricell.markets.flexibility.flexibility_market.baseline_from_like_days`, kept up to date
slot by slot in a store of fixed size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.markets.flexibility.flexibility_market import LIKE_DAYS

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Bools = NDArray[np.bool_]

DAY_KINDS = 2
"""Working days and weekends."""
NO_DAY = -1


def kind_of_day(weekday: Indices) -> Indices:
    """Return 0 for Monday to Friday, 1 for the weekend; `weekday` counts from Monday, 0."""
    return (weekday >= 5).astype(np.int64)


class BaselineHistory:
    """Keeps the last like days of all meters.

    Parameters
    ----------
    slots_per_day : slots of a day of 24 h.
    meters : how many there are.
    days : how many like days count.
    """

    def __init__(self, slots_per_day: int, meters: int, days: int = LIKE_DAYS) -> None:
        self._past = np.full((DAY_KINDS, days, slots_per_day, meters), np.nan)
        self._today = np.full((slots_per_day, meters), np.nan)
        self._called = np.zeros(meters, np.bool_)
        self._day, self._kind = NO_DAY, 0

    def baseline(self, kind: int, place: Indices, otherwise: Floats) -> Floats:
        """Return the baseline of slots of a day, in the unit of what was added.

        Parameters
        ----------
        kind : of the day, as of `kind_of_day`.
        place : each slot's place in the day, shape (T,).
        otherwise : where there is no like day, shape (T, meters).
        """
        past = self._past[kind][:, place]
        known = ~np.isnan(past)
        count = known.sum(axis=0)
        total = np.where(known, past, 0.0).sum(axis=0)
        return np.asarray(np.divide(total, count, out=otherwise.copy(), where=count > 0))

    def add(self, day: int, kind: int, place: Indices, energy: Floats, called: Bools) -> None:
        """Take the meters of slots of one day; a new day ends the one before.

        Parameters
        ----------
        day : its number, which rises.
        kind, place : as of `baseline`.
        energy : shape (T, meters).
        called : whether each meter was called in these slots, shape (meters,).
        """
        if day != self._day:
            self._end_day()
            self._day, self._kind = day, kind
        self._today[place] = energy
        self._called |= called

    def _end_day(self) -> None:
        if self._day != NO_DAY:
            past, kept = self._past[self._kind], ~self._called
            past[:-1, :, kept] = past[1:, :, kept]
            past[-1][:, kept] = self._today[:, kept]
        self._today[:] = np.nan
        self._called[:] = False

    def memory(self) -> dict[str, Any]:
        """Return all that later baselines depend on."""
        return {
            "past": self._past.copy(),
            "today": self._today.copy(),
            "called": self._called.copy(),
            "day": self._day,
            "kind": self._kind,
        }

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from what `memory` returned."""
        self._past, self._today = memory["past"].copy(), memory["today"].copy()
        self._called = memory["called"].copy()
        self._day, self._kind = int(memory["day"]), int(memory["kind"])


def baselines_of_block(
    history: BaselineHistory,
    *,
    day: Indices,
    kind: Indices,
    place: Indices,
    meter: Floats,
    expected: Floats,
    called: Bools,
) -> Floats:
    """Return the baselines of consecutive slots, and add their meters to the history.

    Parameters
    ----------
    history : of the days before; changed.
    day, kind, place : number and kind of each slot's day, and its place in it, shape (T,).
    meter : what was metered, shape (T, meters).
    expected : where there is no like day yet, shape (T, meters).
    called : whether each meter was called, shape (T, meters).
    """
    baseline = np.empty_like(meter)
    starts = np.flatnonzero(np.diff(day, prepend=day[:1] - 1))
    for start, end in zip(starts, [*starts[1:], len(day)], strict=True):
        here = slice(start, end)
        its = int(day[start]), int(kind[start])
        # A new day is begun first, so that the one before it counts.
        nothing = np.zeros(meter.shape[1], np.bool_)
        history.add(*its, place[:0], meter[:0], nothing)
        baseline[here] = history.baseline(its[1], place[here], expected[here])
        history.add(*its, place[here], meter[here], np.any(called[here], axis=0))
    return baseline
