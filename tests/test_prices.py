"""Wholesale, retail and feed-in prices."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricell.errors import DataError
from tricell.scenarios.prices import (
    ConstantWholesale,
    CsvWholesale,
    DayAhead2019,
    DynamicRetail,
    FixedFeedIn,
    FixedRetail,
    WholesaleFeedIn,
    WholesaleSeries,
    check_prices,
    day_ahead_2019_eur_per_mwh,
    feed_in_prices,
    matching_days_of_2019,
    retail_prices,
    wholesale_series,
)

CASE = Path(__file__).parent / "cases" / "ST05"


def series(
    parameters: Any, start: str, slots: int, step_s: int = 900, folder: Path = Path()
) -> WholesaleSeries:
    return wholesale_series(
        parameters, start=np.datetime64(start), slots=slots, step_s=step_s, folder=folder
    )


def test_the_shipped_prices_are_those_of_case_st05() -> None:
    case = json.loads((CASE / "expected.json").read_text())
    expected, tolerance = case["expected"], case["tolerance"]["eur"]
    prices = day_ahead_2019_eur_per_mwh()
    assert len(prices) == expected["n"]
    assert (prices < 0).sum() == expected["negative_hours"]
    assert prices.mean() == pytest.approx(expected["mean"], abs=tolerance)
    assert prices.min() == pytest.approx(expected["min"], abs=tolerance)
    assert prices.max() == pytest.approx(expected["max"], abs=tolerance)
    assert prices[:3] == pytest.approx(expected["first"], abs=tolerance)


@given(st.dates().filter(lambda day: day.year >= 1900))
def test_a_day_takes_the_nearest_day_of_2019_with_the_same_weekday(day: Any) -> None:
    matched = matching_days_of_2019(np.array([day], dtype="datetime64[D]"))[0].astype(date)
    assert isinstance(matched, date)
    assert matched.year == 2019
    assert matched.weekday() == day.weekday()
    day_of_year = min(day.timetuple().tm_yday, 365)
    assert abs(matched.timetuple().tm_yday - day_of_year) <= 7


def test_a_day_of_2019_takes_itself() -> None:
    days = np.arange("2019-01-01", "2020-01-01", dtype="datetime64[D]")
    np.testing.assert_array_equal(matching_days_of_2019(days), days)


def test_prices_follow_the_clock_of_utc_plus_one_and_hold_for_the_hour() -> None:
    """2018-12-31 23:00 UTC is the first hour of 2019 in UTC+1: 28.32, then 10.07 EUR/MWh."""
    found = series(DayAhead2019(), "2018-12-31T23:00:00", 8)
    expected = [0.02832] * 4 + [0.01007] * 4
    np.testing.assert_allclose(found.price_eur_per_kwh, expected, rtol=1e-12)


def test_slots_longer_than_an_hour_take_the_mean() -> None:
    found = series(DayAhead2019(), "2018-12-31T23:00:00", 1, step_s=7200)
    assert found.price_eur_per_kwh[0] == pytest.approx((0.02832 + 0.01007) / 2)


def test_provenance_says_which_day_was_taken() -> None:
    """2016-07-04 is a Monday; the nearest Monday of 2019 is 2019-07-01."""
    found = series(DayAhead2019(), "2016-07-04T00:00:00", 96)
    assert "2016-07-04, takes 2019-07-01" in found.provenance
    assert found.licence == "MIT"


def test_a_leap_year_is_covered_to_its_last_slot() -> None:
    found = series(DayAhead2019(), "2016-01-01T00:00:00", 366 * 96)
    assert np.isfinite(found.price_eur_per_kwh).all()
    assert found.price_eur_per_kwh.mean() == pytest.approx(0.0377, abs=0.001)


def test_retail_and_feed_in_prices_follow_their_parameters() -> None:
    wholesale = np.array([-0.02, 0.05])
    assert retail_prices(FixedRetail(price_eur_per_kwh=0.3), wholesale).tolist() == [0.3, 0.3]
    dynamic = retail_prices(DynamicRetail(adder_eur_per_kwh=0.2), wholesale)
    np.testing.assert_allclose(dynamic, [0.18, 0.25])
    assert feed_in_prices(FixedFeedIn(price_eur_per_kwh=0.08), wholesale).tolist() == [0.08, 0.08]
    following = WholesaleFeedIn(margin_eur_per_kwh=-0.004)
    np.testing.assert_allclose(feed_in_prices(following, wholesale), [-0.024, 0.046])
    floored = WholesaleFeedIn(margin_eur_per_kwh=-0.004, floor_eur_per_kwh=0.0)
    np.testing.assert_allclose(feed_in_prices(floored, wholesale), [0.0, 0.046])
    constant = series(ConstantWholesale(price_eur_per_kwh=0.04), "2016-01-01", 3)
    assert constant.price_eur_per_kwh.tolist() == [0.04] * 3


def test_own_wholesale_prices_are_read_and_repeated_within_their_step(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("time;eur\n2016-01-01T00:00;40\n2016-01-01T01:00;-8\n")
    parameters = CsvWholesale(file="p.csv", column="eur")
    found = series(parameters, "2016-01-01T00:30:00", 4, folder=tmp_path)
    np.testing.assert_allclose(found.price_eur_per_kwh, [0.04, 0.04, -0.008, -0.008])


@pytest.mark.parametrize(
    ("column", "start", "step_s", "message"),
    [
        ("eur", "2016-01-01T01:15:00", 900, "covers 2016-01-01T00:00:00 to 2016-01-01T02:00:00"),
        ("eur", "2015-12-31T23:45:00", 900, "Choose a horizon inside"),
        ("euro", "2016-01-01T00:00:00", 900, "did you mean 'eur'"),
        ("eur", "2016-01-01T00:00:00", 7200, "no multiple of the slot length 7200 s"),
    ],
)
def test_own_wholesale_prices_that_do_not_fit_are_refused(
    tmp_path: Path, column: str, start: str, step_s: int, message: str
) -> None:
    (tmp_path / "p.csv").write_text("time,eur\n2016-01-01T00:00,40\n2016-01-01T01:00,-8\n")
    with pytest.raises(DataError, match=message):
        series(CsvWholesale(file="p.csv", column=column), start, 4, step_s, tmp_path)


def test_prices_at_which_buying_and_selling_back_pays_are_refused_with_the_first_slot() -> None:
    retail, feed_in = np.array([0.30, 0.12, 0.10]), np.full(3, 0.08)
    start = np.datetime64("2016-01-01T00:00:00")
    check_prices(retail, feed_in, start=start, step_s=900)
    with pytest.raises(
        DataError, match=r"slot 1 \(2016-01-01T00:15:00 UTC, and in 2 slots.*0\.0700.*0\.0800"
    ):
        check_prices(retail - [0.0, 0.05, 0.05], feed_in, start=start, step_s=900)
