"""A calendar shows the local clock of a place that exists."""

from __future__ import annotations

import numpy as np
import pytest

from tricell.errors import MarketError
from tricell.markets.charge import Calendar

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
