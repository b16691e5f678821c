"""A calendar shows the local clock of a place that exists, and bands follow it."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from tricell.errors import MarketError
from tricell.markets.charge import Calendar
from tricell.markets.metered_power import monthly_peaks_kw
from tricell.markets.time_windows import Window, band_shares

HOURS = np.datetime64("2026-03-29T00:00", "s") + np.arange(3) * np.timedelta64(3600, "s")


@pytest.mark.parametrize("zone", ["Europe/Berlim", "", "Europe", "../etc/passwd"])
def test_an_unknown_time_zone_is_an_error_in_plain_words(zone: str) -> None:
    with pytest.raises(MarketError) as caught:
        Calendar(HOURS, 1.0, zone)
    message = str(caught.value)
    assert repr(zone) in message
    assert "is not a time zone" in message
    assert "such as 'Europe/Berlin'" in message


def test_local_hours_skip_the_hour_that_the_clock_skips() -> None:
    # Clocks in Berlin go from 2 to 3 h on 29 March 2026, at 1 h UTC.
    assert Calendar(HOURS, 1.0, "Europe/Berlin").hour.tolist() == [1.0, 3.0, 4.0]
    assert Calendar(HOURS, 1.0, "UTC").hour.tolist() == [0.0, 1.0, 2.0]


# Clocks ahead of UTC by 10:30 and 11 h, by 5:45 h, and by 1 and 2 h; some change within the days.
ZONES = {
    "Australia/Lord_Howe": "2026-04-03T22:00",
    "Asia/Kathmandu": "2026-05-04T05:00",
    "Europe/Berlin": "2026-10-24T21:00",
    "America/New_York": "2026-03-08T01:00",
}


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("minutes", [5, 15, 60, 180])
def test_bands_follow_the_clock_of_the_place_minute_by_minute(zone: str, minutes: int) -> None:
    start = np.datetime64(ZONES[zone], "s") + np.arange(2880 // minutes) * (60 * minutes)
    night = Window(band="night", hours=(21.5, 6.0))
    shares = band_shares(Calendar(start, minutes / 60, zone), [night], ("day", "night"), "day")
    clock = [
        datetime.fromtimestamp(int(second) + 60 * minute, ZoneInfo(zone))
        for second in start.astype(np.int64)
        for minute in range(minutes)
    ]
    at_night = [not 6 * 60 <= now.hour * 60 + now.minute < 21 * 60 + 30 for now in clock]
    expected = np.array(at_night, np.float64).reshape(-1, minutes).mean(axis=1)
    assert shares[:, 1] == pytest.approx(expected)
    assert shares.sum(axis=1) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("zone", "month", "hours"),
    [
        # Midnight of 1 November 2020 comes twice in Havana; of 1 October 2023 never in Asuncion.
        ("America/Havana", "2020-11", 721),
        ("America/Asuncion", "2023-10", 743),
    ],
)
def test_a_month_whose_first_midnight_comes_twice_or_never_has_all_its_hours(
    zone: str, month: str, hours: int
) -> None:
    around = np.datetime64(month, "s") + np.arange(-24, 800) * np.timedelta64(3600, "s")
    calendar = Calendar(around, 1.0, zone)
    inside = calendar.part(int(np.argmax(calendar.month == calendar.month[200])), hours)
    assert len(np.unique(inside.month)) == 1
    _, measured = monthly_peaks_kw(np.ones((hours, 1)), inside)
    assert measured == pytest.approx([1.0])
