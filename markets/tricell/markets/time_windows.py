"""Named bands of the local clock: which minute of which day of the year belongs to which band.

A window says from which hour to which a band holds, and on what days: in which quarters, months
and on which days of the week; on all where nothing is said. A window past midnight is two: from
its first hour to 24, and from 0 to its last hour, both of each day it holds on.

Windows of different bands never share a minute, and leave none over unless a band is named for
the rest. Time is that of the clock on the wall: the day with 23 hours lacks the minutes that the
clock skips, the day with 25 hours has an hour twice.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby, product
from typing import Annotated, Literal, Self, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tricell.errors import MarketError
from tricell.markets.charge import Bools, Calendar, Floats, Indices

MINUTES = 24 * 60
CLOCK_STEP_S = 15 * 60
"""All clocks are ahead of UTC by a multiple of this, before and after they change."""

Quarter = Annotated[int, Field(ge=1, le=4)]
Month = Annotated[int, Field(ge=1, le=12)]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Hour = Annotated[float, Field(ge=0, le=24)]

WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)
DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
FAULTS_SHOWN = 3

Span = tuple[int, int, str]
"""First minute, last minute (not included) and what is wrong between them."""


class Window(BaseModel):
    """Hours of the local clock in which a band holds."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    band: str
    """Name of the band."""
    hours: tuple[Hour, Hour]
    """From which local hour to which, such as [17, 21.5]; past midnight if the second is less."""
    quarters: tuple[Quarter, ...] = ()
    """Quarters of the year in which it holds, 1 to 4 (all)."""
    months: tuple[Month, ...] = ()
    """Months in which it holds, 1 to 12 (all)."""
    weekdays: tuple[Weekday, ...] = ()
    """Days on which it holds, `mon` to `sun` (all)."""

    @model_validator(mode="after")
    def _has_time(self) -> Self:
        first, last = self.hours
        if first in (last, 24.0):
            raise ValueError(
                f"a window of band {self.band!r} from {first:g} to {last:g} h has no time in it; "
                "a whole day is [0, 24], and a window past midnight such as [22, 6]"
            )
        if any(abs(hour * 60 - round(hour * 60)) > 1e-6 for hour in self.hours):
            raise ValueError(
                f"a window of band {self.band!r} from {first:g} to {last:g} h does not begin and "
                "end at a full minute; 17.25 is a quarter past 17"
            )
        if self.quarters and self.months and not self._months():
            raise ValueError(
                f"a window of band {self.band!r} never holds: none of its months "
                f"{_listed(map(str, self.months))} lies in its quarters "
                f"{_listed(map(str, self.quarters))}"
            )
        return self

    @property
    def minutes(self) -> tuple[int, int]:
        """First and last minute of the day, the last not included."""
        return round(self.hours[0] * 60), round(self.hours[1] * 60)

    def holds(self, month: Indices, weekday: Indices, minute: Indices) -> Bools:
        """Tell where the window holds.

        Parameters
        ----------
        month, weekday, minute
            Month 1 to 12, day of the week 0 to 6 and minute of the day; their shapes broadcast.
        """
        first, last = self.minutes
        after, before = minute >= first, minute < last
        held = after & before if first < last else after | before
        held = held & np.isin(month, self._months())
        return held & np.isin(weekday, [WEEKDAYS.index(day) for day in self.weekdays or WEEKDAYS])

    def _months(self) -> list[int]:
        return [
            month
            for month in self.months or range(1, 13)
            if not self.quarters or _quarter(month) in self.quarters
        ]


def check_bands(windows: Sequence[Window], bands: Collection[str], default: str | None) -> None:
    """Make sure that every minute of a year belongs to one band.

    Parameters
    ----------
    windows
        When the bands hold.
    bands
        Names of all bands.
    default
        Band of all time that no window names; None if windows must name all time.

    Raises
    ------
    ValueError
        If a window or the default names no band, a band never holds, bands overlap, or time is
        left over.
    """
    used = [window.band for window in windows] + ([] if default is None else [default])
    for band in used:
        if band not in bands:
            raise ValueError(
                f"band {band!r} has no rate; bands with a rate: {_listed(bands) or 'none'}"
            )
    idle = [band for band in bands if band not in used]
    if idle:
        raise ValueError(
            f"no window names band {_listed(idle)}; give it a window, or make it the `default`"
        )
    faults = list(_faults(windows, default))
    if faults:
        more = len(faults) - FAULTS_SHOWN
        raise ValueError(
            "; ".join(faults[:FAULTS_SHOWN])
            + (f"; and {more} more of the kind" if more > 0 else "")
            + ". Every minute must belong to one band: change the windows"
            + ("" if default else ", or name a `default` band for what they leave over")
        )


def band_shares(
    calendar: Calendar, windows: Sequence[Window], bands: Sequence[str], default: str | None
) -> Floats:
    """Return which share of every slot lies in which band.

    Parameters
    ----------
    calendar
        The T slots.
    windows, default
        As for `check_bands`.
    bands
        Names of the B bands.

    Returns
    -------
    ndarray
        Shape (T, B); rows add up to 1.
    """
    steps = _steps_within(calendar, windows)
    step_s = round(calendar.hours * 3600) // steps
    within = (np.arange(steps) * step_s).astype("timedelta64[s]")
    starts = (calendar.start.astype("datetime64[s]")[:, None] + within).ravel()
    fine = Calendar(starts, step_s / 3600, calendar.zone)
    month, minute = fine.month % 12 + 1, fine.local.hour * 60 + fine.local.minute
    band = np.full(len(fine), -1 if default is None else bands.index(default))
    for window in windows:
        band[window.holds(month, fine.weekday, np.asarray(minute))] = bands.index(window.band)
    member = band.reshape(-1, steps, 1) == np.arange(len(bands))
    return np.asarray(member.mean(axis=1))


def _steps_within(calendar: Calendar, windows: Sequence[Window]) -> int:
    """Return into how many steps slots are cut so that no step lies in two bands."""
    slot_s = round(calendar.hours * 3600)
    if slot_s < 1 or abs(slot_s - calendar.hours * 3600) > 1e-6:
        raise MarketError(
            f"time bands need slots of whole seconds, not of {calendar.hours * 3600:g} s"
        )
    edges_s = [minute * 60 for window in windows for minute in window.minutes]
    offset_s = calendar.start[:1].astype("datetime64[s]").astype(np.int64) % slot_s
    common = math.gcd(slot_s, CLOCK_STEP_S, *edges_s, *(int(each) for each in offset_s))
    return slot_s // common


def _faults(windows: Sequence[Window], default: str | None) -> Iterator[str]:
    """Say, as sentences, which minutes belong to several bands and which to none."""
    month, weekday, minute = np.ix_(np.arange(1, 13), np.arange(7), np.arange(MINUTES))
    held = np.array([window.holds(month, weekday, minute) for window in windows], np.bool_)
    held = held.reshape(len(windows), 12, 7, MINUTES)
    count = held.sum(axis=0)
    wrong = (count > 1) | ((count == 0) & (default is None))
    days: dict[Span, list[tuple[int, int]]] = defaultdict(list)
    for day in product(range(12), range(7)):
        if wrong[day].any():
            for span in _spans(held[:, day[0], day[1]], wrong[day], windows):
                days[span].append(day)
    for (first, last, what), at in days.items():
        yield f"{_clock(first)}-{_clock(last)} {what} on {_day_types(at)}"


def _spans(held: Bools, wrong: Bools, windows: Sequence[Window]) -> Iterator[Span]:
    """Yield the parts of a day that are wrong in the same way."""

    def what(minute: int) -> str:
        if not wrong[minute]:
            return ""
        bands = [
            window.band for window, holds in zip(windows, held[:, minute], strict=True) if holds
        ]
        if not bands:
            return "belongs to no band"
        if len(set(bands)) == 1:
            return f"lies in {len(bands)} windows of band {bands[0]!r}"
        return f"belongs to the bands {_listed(repr(band) for band in dict.fromkeys(bands))}"

    for text, group in groupby(range(len(wrong)), what):
        if text:
            minutes = list(group)
            yield minutes[0], minutes[-1] + 1, text


def _day_types(days: Sequence[tuple[int, int]]) -> str:
    """Name days given by month and day of the week, counted from 0."""
    weekdays = sorted({weekday for _, weekday in days})
    months = sorted({month for month, _ in days})
    if len(weekdays) == 7:
        named = "every day"
    elif len(weekdays) > 2 and weekdays == list(range(weekdays[0], weekdays[-1] + 1)):
        named = f"{DAY_NAMES[weekdays[0]]} to {DAY_NAMES[weekdays[-1]]}"
    else:
        named = _listed(DAY_NAMES[day] for day in weekdays)
    if len(months) == 12:
        return f"{named} of all quarters"
    quarters = sorted({_quarter(month + 1) for month in months})
    if len(months) == 3 * len(quarters):
        return f"{named} of {_quarters(quarters)}"
    text = _listed(MONTHS[month] for month in months)
    return f"{named} of {text} ({_quarters(quarters)})"


def _quarter(month: int) -> int:
    return (month - 1) // 3 + 1


def _quarters(quarters: Sequence[int]) -> str:
    word = "quarter" if len(quarters) == 1 else "quarters"
    return f"{word} {_listed(map(str, quarters))}"


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _listed(words: Collection[str] | Iterator[str]) -> str:
    *first, last = list(words) or [""]
    return f"{', '.join(first)} and {last}" if first else last
