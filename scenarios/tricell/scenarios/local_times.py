"""Times in a scenario, of the day or with a date, and the slots of a run that they fall into.

A time of the day, such as ``17:30``, is meant on every day by the clock of the place
(``time.local_zone``); one with a date is UTC unless it has an offset, as everywhere in a scenario.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, WithJsonSchema

from tricell.scenarios.section import broken_rule
from tricell.simulators.device_populations import RunTime

TIME_OF_DAY = re.compile(r"^\d{1,2}:\d{2}(:\d{2})?$")
ISO_DATE = re.compile(r"^\d{4}-\d{2}-\d{2}")
DAY_H = 24.0


def moment(value: object) -> object:
    """Read ISO 8601 text; numbers are refused, though pydantic would take seconds since 1970."""
    if isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(str(value) if ISO_DATE.match(str(value)) else "")
    except ValueError as error:
        raise broken_rule(
            f"`{value}` is not a date",
            allowed="a date or a date and time, such as 2016-01-18 or 2016-01-18T06:00+01:00",
        ) from error


def _daily_or_dated(value: object) -> object:
    if isinstance(value, time):
        return value
    try:
        if TIME_OF_DAY.match(str(value)):
            return time.fromisoformat(str(value).zfill(5))
        when = moment(value)
    except ValueError as error:
        raise broken_rule(
            f"`{value}` is not a time",
            allowed="a time of the day, such as 17:30, or a date and time, such as "
            "2016-01-18T17:30+01:00",
        ) from error
    assert isinstance(when, datetime)
    return in_utc(when)


def in_utc(when: datetime) -> datetime:
    """Return a moment in UTC; without an offset it is meant so."""
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


_TIME_OF_DAY = {"type": "string", "format": "time-of-day", "pattern": TIME_OF_DAY.pattern}
_DATED = {"type": "string", "format": "date-time"}
When = Annotated[
    time | datetime,
    BeforeValidator(_daily_or_dated),
    WithJsonSchema({"anyOf": [_TIME_OF_DAY, _DATED]}),
]
"""A time of every day by the local clock, or a moment."""


def hours_between(begin: time | datetime, end: time | datetime) -> float:
    """Return how long it is from one time to another, h; not above 0 if they are reversed.

    A time of the day that is not later than the begin is meant on the day after; equal times and
    a mixture of both kinds give 0.

    Examples
    --------
    >>> hours_between(time(17, 30), time(7))
    13.5
    >>> hours_between(time(7), time(7))
    0.0
    """
    if isinstance(begin, datetime) and isinstance(end, datetime):
        return (end - begin).total_seconds() / 3600
    if isinstance(begin, datetime) or isinstance(end, datetime):
        return 0.0
    return (hour_of(end) - hour_of(begin)) % DAY_H


def told(when: time | datetime) -> str:
    """Return a time as a scenario writes it.

    Examples
    --------
    >>> told(time(7, 30)), told(datetime(2016, 1, 18, 6, tzinfo=UTC))
    ('07:30', '2016-01-18T06:00Z')
    """
    of_day = f"{when.hour:02d}:{when.minute:02d}" + f":{when.second:02d}" * bool(when.second)
    return f"{when:%Y-%m-%d}T{of_day}Z" if isinstance(when, datetime) else of_day


def hour_of(of_day: time) -> float:
    """Return hours since midnight."""
    return of_day.hour + of_day.minute / 60 + of_day.second / 3600


class Interval(NamedTuple):
    """Slots of a run: the first one that lies inside, and the first one behind; may lie outside."""

    first: int
    end: int


@dataclass(frozen=True)
class RunClock:
    """The slots of a run by the clock of the place.

    Attributes
    ----------
    start : start of the first slot, UTC.
    slots : how many there are.
    step_s : length of a slot, s.
    zone : time zone of the place.
    """

    start: datetime
    slots: int
    step_s: int
    zone: ZoneInfo

    @property
    def hours(self) -> float:
        """Length of a slot, h."""
        return self.step_s / 3600

    @property
    def run_time(self) -> RunTime:
        """The same for populations; the offset to UTC is that at the start, all through the run."""
        local = self.start.astimezone(self.zone)
        past_midnight_s = local.hour * 3600 + local.minute * 60 + local.second
        return RunTime(self.slots, self.hours, past_midnight_s // self.step_s)

    def days(self) -> Iterator[date]:
        """Yield the local days that the run touches, and the day before."""
        end = self.start + timedelta(seconds=self.slots * self.step_s)
        day = self.start.astimezone(self.zone).date() - timedelta(days=1)
        while datetime.combine(day, time(), self.zone) < end:
            yield day
            day += timedelta(days=1)

    def intervals(self, begin: time | datetime, end: time | datetime) -> dict[str, Interval]:
        """Return the slots between two times, for each day or once, that overlap the run.

        Only whole slots count: an interval begins with the next slot and ends with the last one
        that is over.

        Parameters
        ----------
        begin, end : both times of the day, or both moments.

        Returns
        -------
        dict of str to Interval
            By the local day on which it begins, ISO 8601.
        """
        slots = {}
        for first, last in self._moments(begin, end):
            interval = Interval(
                math.ceil((first - self.start) / timedelta(seconds=self.step_s)),
                math.floor((last - self.start) / timedelta(seconds=self.step_s)),
            )
            if interval.end > 0 and interval.first < self.slots:
                slots[first.astimezone(self.zone).date().isoformat()] = interval
        return slots

    def _moments(
        self, begin: time | datetime, end: time | datetime
    ) -> Iterator[tuple[datetime, datetime]]:
        if isinstance(begin, datetime) and isinstance(end, datetime):
            yield begin, end
        elif isinstance(begin, time) and isinstance(end, time):
            over_night = timedelta(days=int(end <= begin))
            for day in self.days():
                first = datetime.combine(day, begin, self.zone)
                last = datetime.combine(day + over_night, end, self.zone)
                # in UTC, as a clock that changes in between makes the interval shorter or longer
                yield first.astimezone(UTC), last.astimezone(UTC)
