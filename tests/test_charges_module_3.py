"""Module 3 of section 14a EnWG: price sheets of 107 operators, their rules and their neutrality.

Numbers: the table of price sheets of 2026 that tricell ships (transcribed by the registry
Netzentgelte-DE), and its column `avg_h0dyn`, the average price of the dynamic standard profile H0.
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricell.errors import MarketError
from tricell.markets.charge import Calendar, Customers, Floats, MeterData
from tricell.markets.charge_preset import charge_of, load_preset
from tricell.markets.section_14a import (
    TABLE_2026,
    BandWindow,
    Module3Prices,
    module_3_prices,
    parse_windows,
    rule_breaches,
)

HOLIDAYS_2026 = [
    (1, 1), (4, 3), (4, 6), (5, 1), (5, 14), (5, 25), (10, 3), (12, 25), (12, 26),
]  # fmt: skip
"""Holidays of all German states in 2026, month and day."""
CASES = Path(__file__).parent / "cases"
ROUNDING_CT = 5.0e-5
"""The table states averages to 0.0001 ct/kWh."""
OPERATORS = tuple(module_3_prices())


def table() -> list[dict[str, str]]:
    with TABLE_2026.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# --- windows ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HT Q14 11-13.5h", [BandWindow("HT", (1, 4), 11.0, 13.5)]),
        (
            "HT Q1234 17-22h; NT Q14 23.75-6.5h",
            [BandWindow("HT", (1, 2, 3, 4), 17.0, 22.0), BandWindow("NT", (1, 4), 23.75, 6.5)],
        ),
    ],
)
def test_windows_of_a_price_sheet_are_read(text: str, expected: list[BandWindow]) -> None:
    assert list(parse_windows(text)) == expected


@pytest.mark.parametrize("row", table(), ids=lambda row: row["operator"])
def test_the_windows_of_every_row_are_read_and_written_back(row: dict[str, str]) -> None:
    windows = parse_windows(row["windows"])
    written = (
        f"{each.band} Q{''.join(map(str, each.quarters))} {each.start:g}-{each.end:g}h"
        for each in windows
    )
    assert "; ".join(written) == row["windows"]
    assert {each.band for each in windows} == {"NT", "HT"}


@given(
    start=st.integers(0, 95),
    end=st.integers(0, 96),
    quarters=st.sets(st.integers(1, 4), min_size=1),
)
def test_any_window_is_as_long_as_its_hours_say(start: int, end: int, quarters: set[int]) -> None:
    if start == end:
        return
    numbers = "".join(map(str, sorted(quarters)))
    (window,) = parse_windows(f"HT Q{numbers} {start / 4:g}-{end / 4:g}h")
    inside = [start <= k < end if start < end else k >= start or k < end for k in range(96)]
    assert window.hours == sum(inside) / 4
    assert window.quarters == tuple(sorted(quarters))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no window"),
        ("HT 11-13h", "no window"),
        ("HT Q5 11-13h", "no window"),
        ("ST Q14 11-13h", "no window"),
        ("HT Q14 11-13h, NT Q14 1-2h", "no window"),
        ("HT Q141 11-13h", "twice"),
        ("HT Q14 11-25h", "hours of a day"),
        ("HT Q14 24-6h", "hours of a day"),
        ("HT Q14 6-6h", "hours of a day"),
    ],
)
def test_a_window_that_cannot_be_read_is_refused_with_what_to_write(text: str, word: str) -> None:
    with pytest.raises(MarketError, match=word):
        parse_windows(text)


# --- rules ---


def prices(**changes: Any) -> Module3Prices:
    return replace(module_3_prices()["Netze BW GmbH"], **changes)


def test_the_default_operator_keeps_all_rules() -> None:
    assert rule_breaches(prices()) == ()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"low": 0.0757 * 0.41}, "NT is 41.0%"),
        ({"low": 0.0757 * 0.09}, "NT is 9.0%"),
        ({"high": 0.0757 * 2.01}, "HT is 201.0%"),
        ({"windows": parse_windows("HT Q14 17-18.75h; NT Q14 0-6h")}, "1.75 h a day in quarter 1"),
        ({"windows": parse_windows("HT Q1 17-20h; NT Q14 0-6h")}, "0 h a day in quarter 4"),
        ({"windows": parse_windows("HT Q4 17-20h; NT Q4 0-6h")}, "in 1 quarter"),
    ],
)
def test_a_broken_rule_is_named(changes: dict[str, Any], sentence: str) -> None:
    assert any(sentence in breach for breach in rule_breaches(prices(**changes)))


def test_the_bounds_themselves_keep_the_rules() -> None:
    for low, high in ((0.10, 2.0), (0.40, 1.0)):
        allowed = prices(standard=0.05, low=0.05 * low, high=0.05 * high)
        assert rule_breaches(allowed) == ()


def test_the_published_shares_of_operators_that_keep_the_rules_are_found() -> None:
    """96 of 107 keep the corridor of NT (89.7 %), 106 the cap of HT (99.1 %), all the times."""
    breaches = [rule_breaches(each) for each in module_3_prices().values()]
    assert len(breaches) == 107
    shares = {
        word: 100 * np.mean([not any(word in text for text in each) for each in breaches])
        for word in ("NT is", "HT is", "h a day", "in 1 quarter")
    }
    assert shares["NT is"] == pytest.approx(89.7, abs=0.05)
    assert shares["HT is"] == pytest.approx(99.1, abs=0.05)
    assert shares["h a day"] == shares["in 1 quarter"] == 100.0


def test_the_median_prices_are_the_published_ones() -> None:
    """Median NT, ST and HT of 2026: 2.31, 6.61 and 9.63 ct/kWh."""
    rows = [(each.low, each.standard, each.high) for each in module_3_prices().values()]
    np.testing.assert_allclose(np.median(rows, axis=0) * 100, [2.31, 6.61, 9.63], atol=0.005)


# --- neutrality ---


@cache
def standard_profile() -> Floats:
    """Dynamic H0 of 2026 by quarter hours of the wall clock: shares of the undynamised year.

    The dynamic factors do not average to 1: the shares add up to 1.000036, and the published
    averages are sums with these shares as they are.
    """
    bdew = pytest.importorskip("demandlib.bdew")
    holidays = {date(2026, *day): "holiday" for day in HOLIDAYS_2026}
    frame = bdew.ElecSlp(2026, holidays=holidays).get_profiles("h0_dyn")
    return np.asarray(frame["h0_dyn"], np.float64)


def meters() -> MeterData:
    """A household with a year's use of about 1 kWh in the shape of the standard profile."""
    start = np.datetime64("2026-01-01", "s") + np.arange(35040) * np.timedelta64(900, "s")
    kilowatts = standard_profile()[:, None] * 4.0
    wall_clock = Calendar(start.astype("datetime64[s]"), 0.25, zone="UTC")
    return MeterData(wall_clock, Customers.plain(1), kilowatts)


def average_ct(operator: str, household: MeterData) -> float:
    (charge,) = load_preset("de_14a_module_3", operator=operator)
    return 100.0 * float(charge.bill_eur(household)[0])


def test_netze_bw_is_neutral_for_the_standard_profile() -> None:
    """TR03: 7.5757 ct/kWh, 0.076 % above ST (price sheet 2026, BK8-22/010-A)."""
    given_ = json.loads((CASES / "TR03" / "input.json").read_text("utf-8"))
    stated = json.loads((CASES / "TR03" / "expected.json").read_text("utf-8"))
    low, standard, high = (given_[f"{band}_ct_per_kwh"] / 100 for band in ("NT", "ST", "HT"))
    sheet = prices(low=low, standard=standard, high=high, windows=parse_windows(given_["windows"]))
    charge = charge_of({"kind": "time_bands", **sheet.time_bands()})
    average = 100.0 * float(charge.bill_eur(meters())[0])
    assert average == pytest.approx(stated["expected"]["weighted_ct_per_kwh"], abs=ROUNDING_CT)
    assert 100.0 * (average / 100 / standard - 1.0) == pytest.approx(
        stated["expected"]["deviation_percent"], abs=stated["tolerance"]["percent"] / 10
    )
    assert average == pytest.approx(average_ct("Netze BW GmbH", meters()), rel=1e-12)


def test_the_average_price_of_the_standard_profile_is_that_of_the_table_for_all_operators() -> None:
    """Deviations from ST: median +0.56 %, 70 % of the operators within 2 %."""
    household = meters()
    found = np.array([average_ct(operator, household) for operator in OPERATORS])
    stated = np.array([float(row["avg_h0dyn"]) for row in table()])
    standard = np.array([float(row["ST_ct_kWh"]) for row in table()])
    np.testing.assert_allclose(found, stated, rtol=0, atol=ROUNDING_CT)
    percent = 100.0 * (found / standard - 1.0)
    assert np.median(percent) == pytest.approx(0.56, abs=0.005)
    assert np.mean(np.abs(percent) <= 2.0) == pytest.approx(0.70, abs=0.005)


def test_the_shares_of_the_dynamic_profile_add_up_to_one_within_four_hundred_thousandths() -> None:
    assert standard_profile().sum() == pytest.approx(1.0, abs=4e-5)


# --- the charge ---


@pytest.mark.parametrize("operator", OPERATORS)
def test_no_minute_of_any_operator_is_in_two_bands(operator: str) -> None:
    """`time_bands` refuses windows that overlap; a bill needs no more than that it is built."""
    fields = module_3_prices()[operator].time_bands()
    charge = charge_of({"kind": "time_bands", **fields})
    assert set(charge.model_dump()["rates_eur_per_kwh"]) == {"NT", "ST", "HT"}


def test_the_preset_s_own_charge_is_that_of_its_default_operator_in_the_table() -> None:
    from_table = module_3_prices()["Netze BW GmbH"].time_bands()
    own, *_ = load_preset("de_14a_module_3")
    assert own == charge_of({"kind": "time_bands", "name": "14a-3 bands", **from_table})
