"""Bars of energy over time: by hour, day, week or month, so that there are not too many."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

HOURLY_UP_TO = 72.0
DAILY_UP_TO = 46.0 * 24.0
WEEKLY_UP_TO = 27.0 * 7.0 * 24.0


def bar_word(hours: float) -> str:
    """Name the bars that a period of so many hours is drawn in.

    Examples
    --------
    >>> [bar_word(days * 24.0) for days in (1, 7, 90, 365)]
    ['hour', 'day', 'week', 'month']
    """
    limits = {"hour": HOURLY_UP_TO, "day": DAILY_UP_TO, "week": WEEKLY_UP_TO}
    return next((word for word, limit in limits.items() if hours <= limit), "month")


def bar_starts(times: pd.DatetimeIndex, word: str) -> pd.DatetimeIndex:
    """Give the start of the bar that each time belongs to; weeks begin on the first day's weekday.

    Examples
    --------
    >>> bar_starts(pd.DatetimeIndex(["2016-05-23 02:15", "2016-05-31 02:15"]), "week")
    DatetimeIndex(['2016-05-23', '2016-05-30'], dtype='datetime64[ns]', freq=None)
    """
    if word == "hour":
        return times.floor("h")
    days = times.normalize()
    if word == "day":
        return days
    if word == "week":
        return days[0] + pd.to_timedelta((days - days[0]).days // 7 * 7, unit="D")
    return days - pd.to_timedelta(days.day - 1, unit="D")


def bar_sums(
    times: pd.DatetimeIndex, values: NDArray[np.float64], word: str
) -> tuple[pd.DatetimeIndex, NDArray[np.float64]]:
    """Sum values by bar.

    Parameters
    ----------
    times, values : starts of the intervals and one row per interval.
    word : see `bar_word`.

    Returns
    -------
    tuple
        Starts of the bars in the order of time, and the sums, one row per bar.
    """
    codes, starts = pd.factorize(bar_starts(times, word))
    sums = np.zeros((len(starts), *values.shape[1:]))
    np.add.at(sums, codes, values)
    return pd.DatetimeIndex(starts), sums
