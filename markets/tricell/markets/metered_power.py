"""What charges on power measure: means over metering intervals, and the peaks among them.

With the import ``i_nt`` of customer n in slot t, and ``J`` a metering interval::

    i_nJ = mean of i_nt over the slots t in J,        peak_n = max over J of i_nJ

Slots as long as the interval, or longer, are taken as they are: hourly data hide quarter-hour
peaks. Intervals are counted from full hours of UTC.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from tricell.errors import MarketError
from tricell.markets.charge import Calendar, Floats, Indices, MeterData, PeriodCharge

QUARTER_HOUR = 15


class PowerCharge(PeriodCharge):
    """A charge on the power that meters measure per metering interval.

    `bill_eur` gives the bill of those who pay it; the subclass says what power costs
    (`power_bill_eur`).
    """

    interval_minutes: Annotated[int, Field(ge=1, le=60)] = QUARTER_HOUR
    """Metering interval, min (15): shorter slots are averaged, longer ones taken as they are."""

    def bill_eur(self, meters: MeterData) -> Floats:
        """Return what every customer pays for the whole of the meter data, EUR, shape (N,)."""
        return np.asarray(self.power_bill_eur(meters) * self.pays(meters.customers))

    @abstractmethod
    def power_bill_eur(self, meters: MeterData) -> Floats:
        """Return the bill of every customer as if all paid it, EUR, shape (N,)."""

    def measured_import_kw(self, meters: MeterData) -> tuple[Floats, Calendar]:
        """Return the import per metering interval, kW, shape (J, N), and the intervals."""
        import_kw = np.maximum(meters.net_kw, 0.0)
        return interval_means(import_kw, meters.calendar, self.interval_minutes)


def interval_means(values: Floats, calendar: Calendar, minutes: int) -> tuple[Floats, Calendar]:
    """Return the mean of every metering interval.

    Parameters
    ----------
    values
        One row per slot, shape (T, ...).
    calendar
        The T slots.
    minutes
        Length of an interval, min. It must be a multiple of the slots where they are shorter.

    Returns
    -------
    tuple
        Means, shape (J, ...), and the calendar of the J intervals. An interval of which only some
        slots are there takes their mean.

    Raises
    ------
    MarketError
        If slots shorter than the interval do not divide it.
    """
    slot_s, interval_s = round(calendar.hours * 3600), minutes * 60
    if slot_s >= interval_s or not len(calendar):
        return values, calendar
    if interval_s % slot_s:
        raise MarketError(
            f"power is measured per {minutes} min, which slots of {slot_s / 60:g} min do not "
            "divide. Choose slots that do, such as 5 or 15 min, or another metering interval."
        )
    seconds = calendar.start.astype("datetime64[s]").astype(np.int64)
    intervals, first = np.unique(seconds // interval_s, return_index=True)
    slots = np.diff(np.append(first, len(calendar)))
    sums = np.add.reduceat(values, first, axis=0)
    start = (intervals * interval_s).astype("datetime64[s]")
    means = sums / slots.reshape(-1, *(1,) * (values.ndim - 1))
    return means, Calendar(start, interval_s / 3600, calendar.zone)


def monthly_peaks_kw(import_kw: Floats, calendar: Calendar) -> tuple[Floats, Floats]:
    """Return every month's peak and how much of the month was measured.

    Parameters
    ----------
    import_kw
        Import, kW, shape (T, N), T > 0.
    calendar
        The T slots in order of time.

    Returns
    -------
    tuple
        Peaks, kW, shape (M, N), and the share of each month that the slots cover, 0 to 1, shape
        (M,); months by local time.
    """
    months, first, slots = np.unique(calendar.month, return_index=True, return_counts=True)
    peaks = np.maximum.reduceat(import_kw, first, axis=0)
    return peaks, slots * calendar.hours / _hours_of(months, calendar.zone)


def _hours_of(months: Indices, zone: str) -> Floats:
    """Return the length of months by local time, h: with the hour of daylight saving time."""

    def start_utc(month: Indices) -> NDArray[np.datetime64]:
        midnight = pd.DatetimeIndex(month.astype("datetime64[M]").astype("datetime64[s]"))
        # Some clocks change at midnight of the first: it comes twice, or is skipped.
        first = np.ones(len(month), np.bool_)
        local = midnight.tz_localize(zone, ambiguous=first, nonexistent="shift_forward")
        return np.asarray(local.tz_convert("UTC").tz_localize(None), "datetime64[s]")

    return (start_utc(months + 1) - start_utc(months)) / np.timedelta64(1, "h")
