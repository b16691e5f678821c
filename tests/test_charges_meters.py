"""Tariffs on meters: what customers pay by energy, power and time."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from tricell.errors import MarketError
from tricell.markets.charge import Calendar, Charge, Customers, MeterData, SlotCharge, Source
from tricell.markets.charge_registry import known_charges
from tricell.markets.charges.annual_peak import AnnualPeak
from tricell.markets.charges.bandwidth import Bandwidth
from tricell.markets.charges.coincident_peak import CoincidentPeak, net_of_areas_kw
from tricell.markets.charges.contracted_capacity import ContractedCapacity
from tricell.markets.charges.controllable_rebate import ControllableRebate
from tricell.markets.charges.fixed import Fixed
from tricell.markets.charges.injection import Injection
from tricell.markets.charges.local_use_discount import (
    LocalUseDiscount,
    compensating_rate,
    revenue_gap_share,
)
from tricell.markets.charges.monthly_peak import MonthlyPeak
from tricell.markets.charges.net_metering import NetMetering
from tricell.markets.charges.time_bands import TimeBands
from tricell.markets.charges.utilisation_hours import UtilisationHours
from tricell.markets.charges.volumetric import Volumetric
from tricell.markets.time_windows import Window, band_shares

CASES = Path(__file__).parent / "cases"
WORKDAYS = ["mon", "tue", "wed", "thu", "fri"]
NIGHT_AND_PEAK: dict[str, Any] = {
    "rates_eur_per_kwh": {"NT": 0.02, "ST": 0.07, "HT": 0.1},
    "default": "ST",
    "windows": [
        {"band": "HT", "hours": [17, 21], "quarters": [1, 4]},
        {"band": "NT", "hours": [23.5, 6], "quarters": [1, 4]},
    ],
}
IMPACT: dict[str, Any] = {
    "rates_eur_per_kwh": {"eco": 0.05, "medium": 0.1, "peak": 0.2},
    "windows": [
        {"band": "peak", "hours": [17, 22]},
        {"band": "medium", "hours": [7, 11]},
        {"band": "medium", "hours": [22, 1]},
        {"band": "eco", "hours": [1, 7]},
        {"band": "eco", "hours": [11, 17]},
    ],
}
"""Windows of Wallonia's tarif Impact 2026 (CWaPE); the prices are made up."""


def case(name: str) -> tuple[Any, Any]:
    """Input and expected answer of a worked case."""
    folder = CASES / name
    expected = json.loads((folder / "expected.json").read_text())["expected"]
    return json.loads((folder / "input.json").read_text()), expected


def calendar(start: str, slots: int, hours: float = 1.0, zone: str = "Europe/Berlin") -> Calendar:
    """Slots from a start in UTC on."""
    first = np.datetime64(start, "s")
    step = np.timedelta64(round(hours * 3600), "s")
    return Calendar(first + np.arange(slots) * step, hours, zone)


def meters(net_kw: Any, start: str = "2023-01-10", hours: float = 1.0, **more: Any) -> MeterData:
    """Meter data of plain customers; rows of ``net_kw`` are customers."""
    net = np.atleast_2d(np.asarray(net_kw, np.float64)).T
    slots, count = net.shape
    people = more.pop("customers", Customers.plain(count))
    return MeterData(calendar(start, slots, hours), people, net, **more)


@cache
def year_2023(hours: float = 1.0) -> Calendar:
    """All slots of 2023 by the clock of Berlin: 8760 h."""
    return calendar("2022-12-31T23:00", round(8760 / hours), hours)


def with_months(peaks_kw: Any) -> MeterData:
    """A year in which one hour of every month has its peak and all others a tenth of it."""
    slots = year_2023()
    month = slots.month - slots.month[0]
    peak = np.asarray(peaks_kw, np.float64)[month]
    first = np.r_[True, np.diff(month) > 0]
    return MeterData(slots, Customers.plain(1), np.where(first, peak, 0.1 * peak)[:, None])


class TestFamilyOfTariffs:
    """TR09: rates that earn 20 EUR from four customers in eight hours."""

    ratio = TimeBands.model_validate(
        {
            "rates_eur_per_kwh": {"base": 1.0, "peak": 3.0},
            "windows": [{"band": "peak", "hours": [4, 6]}],
            "default": "base",
        }
    )
    unit: tuple[tuple[str, Charge], ...] = (
        ("volumetric", Volumetric(rate_eur_per_kwh=1.0)),
        ("netmeter", NetMetering(rate_eur_per_kwh=1.0)),
        ("capacity", AnnualPeak(rate_eur_per_kw_year=1.0)),
        ("fixed", Fixed(rate_eur_per_year=1.0)),
        ("coincident", CoincidentPeak(rate_eur_per_kw_year=1.0, hours=1)),
        ("tou_base", ratio),
    )

    @pytest.mark.parametrize(("name", "charge"), unit)
    def test_rates_and_bills_are_those_of_the_case(self, name: str, charge: Charge) -> None:
        given_, expected = case("TR09")
        data = meters(given_["load_kw"], start="2023-01-09T22:00")
        factor = given_["revenue_eur"] / charge.bill_eur(data).sum()
        bills = charge.scaled(factor).bill_eur(data)
        assert bills.sum() == pytest.approx(given_["revenue_eur"], abs=1e-12)
        if name in expected["bills"]:
            assert bills == pytest.approx(expected["bills"][name], abs=1e-6)
        per_year = name in ("capacity", "fixed", "coincident")
        rate = factor * (data.calendar.year_share if per_year else 1.0)
        assert rate == pytest.approx(expected["rates"][name], abs=1e-6)


class TestNetMetering:
    def test_a_surplus_lapses_at_the_end_of_every_netting_period(self) -> None:
        """Day 1 exports 24 kWh, day 2 imports 48 kWh (UTC days would mix them)."""
        data = meters([[-1.0] * 24 + [2.0] * 24], start="2023-01-09T23:00")
        bill = {
            netting: NetMetering(rate_eur_per_kwh=0.1, netting=netting).bill_eur(data)[0]
            for netting in ("day", "month", "period")
        }
        assert bill == pytest.approx({"day": 4.8, "month": 2.4, "period": 2.4})

    def test_months_are_those_of_the_local_clock(self) -> None:
        data = meters([[-5.0] * 2 + [3.0] * 2], start="2023-01-31T21:00")
        assert NetMetering(rate_eur_per_kwh=1.0, netting="month").bill_eur(data) == [6.0]
        assert NetMetering(rate_eur_per_kwh=1.0).bill_eur(data) == [0.0]

    def test_agents_count_with_the_price_both_ways(self) -> None:
        rates = NetMetering(rate_eur_per_kwh=0.3).rates(year_2023(), Customers.plain(2))
        np.testing.assert_array_equal(rates.imported, [[0.3, 0.3]])
        np.testing.assert_array_equal(rates.exported, [[-0.3, -0.3]])


class TestFixed:
    def test_classes_pay_by_their_weight_for_the_share_of_the_year(self) -> None:
        people = replace(Customers.plain(3), group=("household", "business", "household"))
        data = meters(np.zeros((3, 876)), customers=people)
        bills = Fixed(rate_eur_per_year=100.0, weights={"business": 2.5}).bill_eur(data)
        assert bills == pytest.approx([10.0, 25.0, 10.0])

    def test_a_weight_of_nobody_is_an_error(self) -> None:
        with pytest.raises(MarketError, match=r"'shop', but there are none; classes here: househ"):
            Fixed(rate_eur_per_year=1.0, weights={"shop": 2.0}).bill_eur(meters([[1.0]]))


class TestPeaks:
    def test_flanders_floor_holds_in_every_month_and_not_for_the_mean(self) -> None:
        given_, expected = case("TR07")
        price = given_["price_2023_eur_per_kw"]
        charge = MonthlyPeak(rate_eur_per_kw_year=price, floor_kw=2.5)
        data = with_months(given_["monthly_peaks_kw"])
        assert charge.billed_kw(data)[0] == pytest.approx(expected["billed_kw"], abs=1e-6)
        assert charge.bill_eur(data)[0] == pytest.approx(expected["eur"], abs=0.01)
        after_averaging = max(2.5, MonthlyPeak().billed_kw(data)[0])
        assert after_averaging == pytest.approx(3.666667, abs=1e-6)

    @given(st.lists(st.floats(0, 20), min_size=12, max_size=12), st.floats(0, 5))
    @settings(max_examples=10, deadline=None)
    def test_a_year_counts_its_twelve_months_alike(self, peaks: list[float], floor: float) -> None:
        charge = MonthlyPeak(rate_eur_per_kw_year=1.0, floor_kw=floor)
        billed = np.mean([max(floor, peak) for peak in peaks])
        assert charge.billed_kw(with_months(peaks))[0] == pytest.approx(billed)

    def test_an_hour_of_another_month_hardly_counts(self) -> None:
        """2023 counted in UTC ends with an hour of January 2024 on the clock of Berlin."""
        slots = calendar("2023-01-01", 8760)
        net = np.full((8760, 1), 4.0)
        net[-1] = 100.0
        data = MeterData(slots, Customers.plain(1), net)
        assert MonthlyPeak().billed_kw(data)[0] == pytest.approx(4.0 + 96.0 / 744 / 12, rel=1e-6)

    def test_the_annual_peak_is_billed_at_least_at_the_floor(self) -> None:
        data = meters([[1.0, 4.0, -9.0], [1.0, 2.0, 0.0]])
        charge = AnnualPeak(rate_eur_per_kw_year=8760.0, floor_kw=3.0)
        assert charge.bill_eur(data) == pytest.approx([12.0, 9.0])

    def test_slots_shorter_than_the_metering_interval_are_averaged(self) -> None:
        minutes = [12.0, 0.0, 0.0, 3.0, 3.0, 3.0]
        data = meters([minutes], hours=1 / 12)
        year = data.calendar.year_share
        assert AnnualPeak(rate_eur_per_kw_year=1 / year).bill_eur(data) == pytest.approx([4.0])
        exact = AnnualPeak(rate_eur_per_kw_year=1 / year, interval_minutes=5)
        assert exact.bill_eur(data) == pytest.approx([12.0])

    def test_export_within_an_interval_does_not_hide_import(self) -> None:
        data = meters([[6.0, -6.0, 0.0]], hours=1 / 12)
        year = data.calendar.year_share
        assert AnnualPeak(rate_eur_per_kw_year=1 / year).bill_eur(data) == pytest.approx([2.0])

    def test_slots_that_do_not_divide_the_interval_are_an_error(self) -> None:
        with pytest.raises(MarketError, match=r"measured per 15 min, which slots of 10 min do not"):
            AnnualPeak().bill_eur(meters([[1.0, 1.0]], hours=1 / 6))

    def test_hourly_data_are_taken_as_they_are(self) -> None:
        hourly = meters([[2.0, 5.0]])
        quarters = meters([[2.0] * 4 + [5.0] * 4], hours=0.25)
        charge = MonthlyPeak(rate_eur_per_kw_year=100.0)
        assert charge.bill_eur(hourly) == pytest.approx(charge.bill_eur(quarters))

    def test_batteries_see_a_twelfth_of_the_price_in_every_month(self) -> None:
        people = Customers.plain(2)
        monthly = MonthlyPeak(rate_eur_per_kw_year=48.0, floor_kw=2.5).peak_signal(people)
        annual = AnnualPeak(rate_eur_per_kw_year=48.0, floor_kw=1.0).peak_signal(people)
        assert (monthly.span, annual.span) == ("month", "period")
        assert monthly.eur_per_kw == pytest.approx([4.0, 4.0])
        assert monthly.free_kw == pytest.approx([2.5, 2.5])
        assert annual.eur_per_kw == pytest.approx([48.0, 48.0])
        assert annual.free_kw == pytest.approx([1.0, 1.0])


class TestContractedCapacity:
    def people(self) -> Customers:
        return replace(Customers.plain(3), connection_kw=np.array([10.0, np.nan, 4.0]))

    def test_contracted_power_is_paid_and_what_exceeds_it_dearer(self) -> None:
        data = meters([[1.0, 2.0], [9.0, 0.0], [6.5, 0.0]], customers=self.people())
        year = data.calendar.year_share
        charge = ContractedCapacity(
            rate_eur_per_kw_year=2 / year, exceedance_rate_eur_per_kw_year=5 / year, default_kw=8.0
        )
        assert charge.bill_eur(data) == pytest.approx([20.0, 16.0 + 5.0, 8.0 + 12.5])

    def test_contracted_power_is_free_for_batteries(self) -> None:
        charge = ContractedCapacity(
            rate_eur_per_kw_year=20.0, exceedance_rate_eur_per_kw_year=50.0, default_kw=8.0
        )
        signal = charge.peak_signal(self.people())
        assert signal.free_kw == pytest.approx([10.0, 8.0, 4.0])
        assert signal.eur_per_kw == pytest.approx([50.0] * 3)

    def test_a_customer_without_contracted_power_is_an_error(self) -> None:
        data = meters(np.ones((3, 2)), customers=self.people())
        with pytest.raises(MarketError, match=r"1 customers have no contracted power, such as '1'"):
            ContractedCapacity(rate_eur_per_kw_year=1.0).bill_eur(data)

    def test_only_those_who_pay_need_contracted_power(self) -> None:
        people = replace(self.people(), group=("business", "household", "business"))
        data = meters(np.ones((3, 2)), customers=people)
        charge = ContractedCapacity(
            rate_eur_per_kw_year=1 / data.calendar.year_share, customers=("business",)
        )
        assert charge.bill_eur(data) == pytest.approx([10.0, 0.0, 4.0])


class TestBandwidth:
    def test_energy_above_the_band_is_paid_beside_the_fixed_price(self) -> None:
        data = meters([[4.0, 5.5, -3.0], [1.0, 1.0, 1.0]])
        charge = Bandwidth(
            band_kw=4.0,
            rate_eur_per_year=10 / data.calendar.year_share,
            above_rate_eur_per_kwh=0.5,
        )
        assert charge.bill_eur(data) == pytest.approx([10.75, 10.0])

    def test_batteries_see_the_hours_that_a_peak_lies_above(self) -> None:
        charge = Bandwidth(band_kw=4.0, above_rate_eur_per_kwh=0.5, hours_above_per_year=200.0)
        signal = charge.peak_signal(Customers.plain(1))
        assert (signal.eur_per_kw[0], signal.free_kw[0]) == (100.0, 4.0)

    def test_the_band_must_be_given_and_not_be_negative(self) -> None:
        with pytest.raises(ValidationError, match="Field required"):
            Bandwidth.model_validate({})
        with pytest.raises(ValidationError, match="greater than or equal to 0"):
            Bandwidth(band_kw=-1.0)


class TestTimeBands:
    def test_windows_past_midnight_and_quarters_are_those_of_the_clock(self) -> None:
        """In January Berlin is an hour ahead of UTC, in July two; Q2 and Q3 have no bands."""
        charge = TimeBands.model_validate(NIGHT_AND_PEAK)
        winter = charge.rate_of_slot(calendar("2023-01-09T23:00", 24))
        assert winter == pytest.approx([0.02] * 6 + [0.07] * 11 + [0.1] * 4 + [0.07] * 2 + [0.045])
        summer = charge.rate_of_slot(calendar("2023-07-09T22:00", 24))
        assert summer == pytest.approx([0.07] * 24)

    def test_a_slot_across_a_border_pays_by_its_shares(self) -> None:
        charge = TimeBands.model_validate(NIGHT_AND_PEAK)
        hourly = charge.rate_of_slot(year_2023())
        quarters = charge.rate_of_slot(year_2023(0.25)).reshape(-1, 4)
        assert hourly == pytest.approx(quarters.mean(axis=1))

    @pytest.mark.parametrize(
        ("day", "hours", "peak_utc"),
        [("2023-03-25T23:00", 23, 15), ("2023-10-28T22:00", 25, 16), ("2023-06-09T22:00", 24, 15)],
    )
    def test_days_of_23_and_25_hours_keep_the_clock(
        self, day: str, hours: int, peak_utc: int
    ) -> None:
        """17:00 in Berlin is 15:00 UTC in summer and 16:00 in winter; the peak lasts five hours."""
        charge = TimeBands.model_validate(IMPACT)
        slots = calendar(day, hours)
        rate = charge.rate_of_slot(slots)
        at_peak = slots.start[np.isclose(rate, 0.2)].astype("datetime64[h]").astype(np.int64) % 24
        assert at_peak.tolist() == list(range(peak_utc, peak_utc + 5))
        night = {23: 6 - 1, 24: 6, 25: 6 + 1}[hours]
        assert np.isclose(rate, 0.05).sum() == night + 6

    def test_the_hour_that_comes_twice_is_billed_twice(self) -> None:
        """On 29 October 2023 the clock of Berlin shows 2:30 at 0:30 and at 1:30 UTC."""
        windows = {"band": "twice", "hours": [2, 3]}
        charge = TimeBands.model_validate(
            {"rates_eur_per_kwh": {"twice": 1.0, "else": 0.0}, "windows": [windows]}
            | {"default": "else"}
        )
        data = meters([np.ones(25)], start="2023-10-28T22:00")
        assert charge.bill_eur(data) == pytest.approx([2.0])
        skipped = meters([np.ones(23)], start="2023-03-25T23:00")
        assert charge.bill_eur(skipped) == pytest.approx([0.0])

    def test_weekdays_and_months_narrow_a_window(self) -> None:
        """Red hours of London: Mon-Fri 11-14 and 16-19 h; here in November to February."""
        red: dict[str, Any] = {"band": "red", "weekdays": WORKDAYS, "months": [11, 12, 1, 2]}
        charge = TimeBands.model_validate(
            {
                "rates_eur_per_kwh": {"red": 1.0, "green": 0.0},
                "default": "green",
                "windows": [red | {"hours": [11, 14]}, red | {"hours": [16, 19]}],
            }
        )
        slots = calendar("2023-01-01", 8760, zone="Europe/London")
        days = slots.start.astype("datetime64[D]")
        winter = np.isin(days.astype("datetime64[M]").astype(np.int64) % 12, [0, 1, 10, 11])
        workdays = np.unique(days[np.is_busday(days) & winter])
        assert charge.rate_of_slot(slots).sum() == pytest.approx(6 * len(workdays))

    @given(
        st.lists(st.integers(0, 95), min_size=2, max_size=6, unique=True).map(sorted),
        st.sampled_from(["Europe/Berlin", "Europe/Lisbon", "Australia/Lord_Howe"]),
        st.sampled_from([0.25, 0.5, 1.0, 2.0]),
    )
    @settings(max_examples=15, deadline=None)
    def test_bands_divide_a_leap_year_among_them(
        self, edges: list[int], zone: str, hours: float
    ) -> None:
        """Every minute of 2024 lies in one band; clocks change by one hour, or half an hour."""
        bands = [f"band {number}" for number in range(len(edges))]
        spans = zip(edges, [*edges[1:], edges[0]], strict=True)
        windows = [
            Window(band=band, hours=(first / 4, last / 4))
            for band, (first, last) in zip(bands, spans, strict=True)
        ]
        TimeBands(rates_eur_per_kwh=dict.fromkeys(bands, 1.0), windows=tuple(windows))
        slots = calendar("2023-12-31T12:00", round(8784 / hours), hours, zone)
        shares = band_shares(slots, windows, bands, None)
        np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-12)
        fine = calendar("2023-12-31T12:00", 8784 * 12, 1 / 12, zone)
        by_clock = np.searchsorted(np.array(edges) / 4, fine.hour + 1e-9, "right") - 1
        counted = np.bincount(by_clock % len(edges), minlength=len(edges)) / 12
        np.testing.assert_allclose(shares.sum(axis=0) * hours, counted, atol=1e-6)

    def test_slots_that_begin_at_an_odd_second_are_shared_out(self) -> None:
        odd = Calendar(np.array(["2023-01-10T15:59:30"], "datetime64[s]"), 1 / 60)
        charge = TimeBands.model_validate(NIGHT_AND_PEAK)
        assert charge.rate_of_slot(odd) == pytest.approx([(0.07 + 0.1) / 2])

    def test_only_energy_from_the_retailer_pays_where_that_is_said(self) -> None:
        charge = TimeBands.model_validate(NIGHT_AND_PEAK | {"sources": "retail"})
        bought = np.zeros((4, 2, 1))
        bought[Source.CELL, :, 0] = [1.0, 0.5]
        bought[Source.RETAIL, :, 0] = [0.0, 0.5]
        data = meters([[1.0, 1.0]], start="2023-01-10T16:00", bought_kwh=bought)
        assert charge.amounts_eur(data)[:, 0] == pytest.approx([0.0, 0.05])
        everything = TimeBands.model_validate(NIGHT_AND_PEAK)
        assert everything.amounts_eur(data)[:, 0] == pytest.approx([0.1, 0.1])

    def test_a_class_may_have_bands_of_its_own(self) -> None:
        people = replace(Customers.plain(2), controllable=np.array([True, False]))
        charge = TimeBands.model_validate(NIGHT_AND_PEAK | {"customers": ["controllable"]})
        data = meters(np.ones((2, 4)), start="2023-01-10T16:00", customers=people)
        assert charge.bill_eur(data) == pytest.approx([0.4, 0.0])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"windows": [*NIGHT_AND_PEAK["windows"], {"band": "NT", "hours": [20.5, 22]}]},
                r"20:30-21:00 belongs to the bands 'HT' and 'NT' on every day of quarters 1 and 4",
            ),
            (
                {"rates_eur_per_kwh": {"NT": 1.0, "HT": 2.0}, "default": None},
                r"00:00-24:00 belongs to no band on every day of quarters 2 and 3",
            ),
            (
                {"windows": [*NIGHT_AND_PEAK["windows"], NIGHT_AND_PEAK["windows"][0]]},
                r"17:00-21:00 lies in 2 windows of band 'HT' on every day of quarters 1 and 4",
            ),
            ({"default": "XT"}, r"band 'XT' has no rate; bands with a rate: NT, ST and HT"),
            ({"default": None}, r"no window names band ST; give it a window, or make it the `def"),
            ({"windows": [{"band": "HT", "hours": [7, 7]}]}, r"has no time in it; a whole day is"),
            ({"windows": [{"band": "HT", "hours": [24, 7]}]}, r"has no time in it"),
            ({"windows": [{"band": "HT", "hours": [7, 25]}]}, r"less than or equal to 24"),
            ({"windows": [{"band": "HT", "hours": [7.001, 8]}]}, r"end at a full minute"),
            (
                {"windows": [{"band": "HT", "hours": [1, 2], "quarters": [1], "months": [7]}]},
                r"never holds: none of its months 7 lies in its quarters 1",
            ),
            ({"windows": [{"band": "HT", "hours": [1, 2], "quarters": [5]}]}, r"less than or eq"),
            ({"rates_eur_per_kwh": {"NT": -0.1}}, r"greater than or equal to 0"),
            (
                {"sources": "retail", "customers": ["household"]},
                r"`sources: retail` cannot go with `customers`",
            ),
        ],
    )
    def test_a_faulty_table_of_bands_says_what_is_wrong(
        self, change: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ValidationError, match=message):
            TimeBands.model_validate(NIGHT_AND_PEAK | change)

    def test_time_that_is_missing_on_some_days_names_the_days(self) -> None:
        with pytest.raises(ValidationError, match=r"17:00-21:00 .* on Saturday and Sunday of all"):
            TimeBands.model_validate(
                {
                    "rates_eur_per_kwh": {"NT": 1.0, "HT": 2.0},
                    "windows": [
                        {"band": "HT", "hours": [17, 21], "weekdays": WORKDAYS},
                        {"band": "NT", "hours": [21, 17]},
                    ],
                }
            )


class TestCoincidentPeak:
    net = np.array([[1.0, 2.0, 6.0, 1.0], [5.0, 1.0, 0.0, -3.0], [0.0, 0.0, 1.0, 8.0]])

    def two_areas(self) -> Customers:
        """Customers 0 and 1 in microgrid 1, customer 2 in the cell 0 above it."""
        return replace(
            Customers.plain(3),
            area=np.array([1, 1, 0]),
            area_level=np.array([2, 1]),
            area_parent=np.array([-1, 0]),
        )

    def billed(self, **more: Any) -> NDArray[np.float64]:
        level, hours = more.pop("level", "area"), more.pop("hours", 1)
        data = meters(self.net, customers=self.two_areas(), **more)
        return CoincidentPeak(hours=hours, level=level).coincident_kw(data)

    def test_an_area_contains_the_areas_below_it(self) -> None:
        data = meters(self.net, customers=self.two_areas())
        np.testing.assert_allclose(net_of_areas_kw(data), [[6, 6], [3, 3], [7, 6], [6, -2]])

    def test_customers_pay_for_the_peak_hour_of_their_own_area(self) -> None:
        """Microgrid: hours 0 and 2 are alike, the first counts; the cell peaks in hour 2."""
        assert self.billed() == pytest.approx([1.0, 5.0, 1.0])

    def test_all_pay_for_the_peak_hour_of_the_system_if_said(self) -> None:
        assert self.billed(level="system") == pytest.approx([6.0, 0.0, 1.0])

    def test_the_metered_import_of_an_area_decides_where_it_is_known(self) -> None:
        measured = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [0.0, 0.0]])
        assert self.billed(area_net_kw=measured) == pytest.approx([6.0, 0.0, 0.0])
        assert self.billed(area_net_kw=measured, level="system") == pytest.approx([2.0, 1.0, 0.0])

    def test_several_hours_are_averaged_and_export_counts_as_nothing(self) -> None:
        assert self.billed(hours=4) == pytest.approx([2.5, 1.5, 2.25])
        assert self.billed(hours=50) == pytest.approx([2.5, 1.5, 2.25])

    def test_shorter_slots_count_as_whole_hours(self) -> None:
        quarters = np.array([[9.0, 0.0, 0.0, 0.0, 3.0, 3.0, 3.0, 3.0]])
        kw = CoincidentPeak(hours=1).coincident_kw(meters(quarters, hours=0.25))
        assert kw == pytest.approx([3.0])

    def test_the_number_of_hours_has_limits(self) -> None:
        for hours in (0, 51):
            with pytest.raises(ValidationError):
                CoincidentPeak(hours=hours)


class TestInjection:
    def test_exports_pay_per_kwh_and_per_kw(self) -> None:
        data = meters([[1.0, -2.0, -4.0], [1.0, 1.0, 1.0]])
        charge = Injection(rate_eur_per_kwh=0.1, rate_eur_per_kw_year=3 / data.calendar.year_share)
        assert charge.bill_eur(data) == pytest.approx([0.6 + 12.0, 0.0])
        rates = charge.rates(data.calendar, data.customers)
        np.testing.assert_array_equal(rates.exported, [[0.1, 0.1]])


class TestUtilisationHours:
    """Stadtwerke Passau, price sheet of 2022, medium to low voltage and low voltage."""

    transformer = UtilisationHours(
        below_rate_eur_per_kw_year=30.81,
        below_rate_eur_per_kwh=0.0557,
        above_rate_eur_per_kw_year=115.06,
        above_rate_eur_per_kwh=0.0220,
    )

    @given(st.floats(0.1, 100), st.floats(0, 8760))
    @settings(max_examples=30, deadline=None)
    def test_the_bill_is_the_lower_one_of_both_pairs(self, peak_kw: float, hours: float) -> None:
        """Lines that cross: the pair of the customer's side is the cheaper one."""
        net = np.full(8760, 0.0)
        net[0] = peak_kw
        net[1:] = peak_kw * max(hours - 1, 0) / 8759
        energy = net.sum()
        data = MeterData(year_2023(), Customers.plain(1), net[:, None])
        below, above = 30.81 * peak_kw + 0.0557 * energy, 115.06 * peak_kw + 0.022 * energy
        assert self.transformer.bill_eur(data)[0] == pytest.approx(min(below, above))

    def test_a_part_of_a_year_is_scaled_to_the_year(self) -> None:
        """Constant 4 kW for a week: 8760 utilisation hours, so the second pair."""
        week = meters([np.full(168, 4.0)])
        bill = self.transformer.bill_eur(week)[0]
        assert bill == pytest.approx(115.06 * 4 * 168 / 8760 + 0.022 * 4 * 168)

    def test_published_prices_cross_but_for_rounding(self) -> None:
        UtilisationHours(
            below_rate_eur_per_kw_year=36.73,
            below_rate_eur_per_kwh=0.0640,
            above_rate_eur_per_kw_year=128.55,
            above_rate_eur_per_kwh=0.0272,
        )

    def test_a_jump_at_the_threshold_is_an_error_unless_allowed(self) -> None:
        prices = {
            "below_rate_eur_per_kw_year": 30.0,
            "below_rate_eur_per_kwh": 0.06,
            "above_rate_eur_per_kw_year": 120.0,
            "above_rate_eur_per_kwh": 0.03,
        }
        with pytest.raises(ValidationError, match=r"the bill jumps by \+15\.00 EUR per kW"):
            UtilisationHours.model_validate(prices)
        UtilisationHours.model_validate(prices | {"allow_step": True})

    def test_scaled_prices_can_be_read_again(self) -> None:
        for factor in (1e-3, 0.3, 40.0):
            solved = self.transformer.scaled(factor)
            assert UtilisationHours.model_validate(solved.model_dump()) == solved

    def test_agents_count_with_the_side_that_is_named(self) -> None:
        people = Customers.plain(1)
        above = self.transformer.model_copy(update={"expected_side": "above"})
        assert self.transformer.rates(year_2023(), people).imported[0, 0] == 0.0557
        assert self.transformer.peak_signal(people).eur_per_kw[0] == 30.81
        assert above.rates(year_2023(), people).imported[0, 0] == 0.022
        assert above.peak_signal(people).eur_per_kw[0] == 115.06


class TestLocalUseDiscount:
    def test_austrian_discounts(self) -> None:
        given_, expected = case("TR05")
        base, discounts = given_["base_ct_per_kwh"] / 100, given_["discounts"]
        for community, discount in discounts.items():
            charge = LocalUseDiscount(
                rate_eur_per_kwh=base,
                microgrid_discount=discount,
                cell_discount=discount,
                multicell_discount=discount,
            )
            by_source = charge.rates(year_2023(), Customers.plain(1)).by_source
            assert by_source[0, :3] * 100 == pytest.approx([expected[community]] * 3, abs=1e-9)
            assert by_source[0, Source.RETAIL] == base

    def test_a_compensating_rate_closes_the_gap(self) -> None:
        given_, expected = case("TR11")
        share, discount, rate = (
            given_[name] for name in ("volume_share_local", "discount", "tariff_ct")
        )
        assert revenue_gap_share(share, discount) == pytest.approx(expected["gap_share"])
        new = compensating_rate(rate, share, discount)
        assert new == pytest.approx(expected["new_tariff_ct"], abs=1e-5)

    @given(st.floats(0, 1), st.floats(0, 1))
    @settings(max_examples=30, deadline=None)
    def test_the_gap_of_bills_is_share_times_discount(self, share: float, discount: float) -> None:
        bought = np.array([share, 0.0, 0.0, 1.0 - share])[:, None, None] * 8.0
        data = meters([[8.0]], bought_kwh=bought)
        charge = LocalUseDiscount(rate_eur_per_kwh=0.05, microgrid_discount=discount)
        revenue = charge.bill_eur(data).sum()
        assert revenue == pytest.approx(0.4 * (1 - revenue_gap_share(share, discount)))
        if share * discount < 0.99:
            factor = compensating_rate(1.0, share, discount)
            assert charge.scaled(factor).bill_eur(data).sum() == pytest.approx(0.4)

    def test_without_markets_all_energy_is_the_retailers(self) -> None:
        charge = LocalUseDiscount(rate_eur_per_kwh=0.05, microgrid_discount=0.5)
        assert charge.bill_eur(meters([[8.0]])) == pytest.approx([0.4])

    def test_energy_from_farther_away_has_no_larger_discount(self) -> None:
        with pytest.raises(ValidationError, match=r"microgrid 0\.2, cell 0\.3, multicell 0;"):
            LocalUseDiscount(microgrid_discount=0.2, cell_discount=0.3)
        with pytest.raises(ValidationError, match="less than or equal to 1"):
            LocalUseDiscount(microgrid_discount=1.2)
        with pytest.raises(ValidationError, match="cannot be limited to `customers`"):
            LocalUseDiscount(customers=("household",))

    def test_energy_that_is_all_free_cannot_be_compensated(self) -> None:
        with pytest.raises(MarketError, match="no rate makes up for a discount of 100 %"):
            compensating_rate(5.0, 1.0, 1.0)
        with pytest.raises(MarketError, match=r"the discount is 1\.5, but must lie between"):
            revenue_gap_share(0.5, 1.5)


class TestControllableRebate:
    """Module 1 of section 14a EnWG, Netz Braunschweig 2025: 137.43 EUR net (bs-netz.de)."""

    module_1 = ControllableRebate(
        lump_sum_eur_per_year=80 / 1.19, energy_kwh_per_year=750.0, working_rate_eur_per_kwh=0.0936
    )

    def bills(self, kw: float) -> NDArray[np.float64]:
        people = replace(Customers.plain(2), controllable=np.array([True, False]))
        data = MeterData(year_2023(), people, np.full((8760, 2), kw))
        return self.module_1.bill_eur(data)

    def test_customers_with_controllable_devices_get_the_lump_sum(self) -> None:
        assert self.bills(0.5) == pytest.approx([-137.43, 0.0], abs=0.005)

    def test_nobody_gets_more_than_they_pay(self) -> None:
        assert self.bills(0.05) == pytest.approx([-0.0936 * 438, 0.0])
        assert self.bills(-1.0) == pytest.approx([0.0, 0.0])

    def test_module_2_is_two_working_prices(self) -> None:
        """Netz Braunschweig 2025: 40 % of 9.36 ct/kWh."""
        people = replace(Customers.plain(2), controllable=np.array([True, False]))
        data = meters([[100.0], [100.0]], customers=people)
        ordinary = Volumetric(rate_eur_per_kwh=0.0936, customers=("not_controllable",))
        reduced = Volumetric(rate_eur_per_kwh=0.4 * 0.0936, customers=("controllable",))
        total = ordinary.bill_eur(data) + reduced.bill_eur(data)
        assert total == pytest.approx([3.744, 9.36])

    def test_unknown_classes_are_named_with_all_that_there_are(self) -> None:
        with pytest.raises(MarketError, match=r"'ev'; .*household, and controllable, not_controll"):
            Volumetric(customers=("ev",)).bill_eur(meters([[1.0]]))


EXAMPLES: tuple[Charge, ...] = (
    Volumetric(rate_eur_per_kwh=0.08),
    NetMetering(rate_eur_per_kwh=0.08, netting="day"),
    Fixed(rate_eur_per_year=60.0, weights={"household": 0.5}),
    AnnualPeak(rate_eur_per_kw_year=40.0, floor_kw=1.0),
    MonthlyPeak(rate_eur_per_kw_year=40.4, floor_kw=2.5),
    ContractedCapacity(
        rate_eur_per_kw_year=10.0, exceedance_rate_eur_per_kw_year=30.0, default_kw=3.0
    ),
    Bandwidth(band_kw=2.0, rate_eur_per_year=100.0, above_rate_eur_per_kwh=0.3),
    TimeBands.model_validate(NIGHT_AND_PEAK),
    TimeBands.model_validate(IMPACT | {"sources": "retail"}),
    CoincidentPeak(rate_eur_per_kw_year=50.0, hours=3),
    Injection(rate_eur_per_kwh=0.01, rate_eur_per_kw_year=5.0),
    TestUtilisationHours.transformer,
    LocalUseDiscount(rate_eur_per_kwh=0.09, microgrid_discount=0.57, cell_discount=0.28),
    TestControllableRebate.module_1,
)
NET = st.lists(st.floats(-8, 8), min_size=24, max_size=24)


class TestEveryCharge:
    def test_every_charge_on_meters_has_an_example_here(self) -> None:
        here = {known.about.name for known in known_charges().values()}
        assert {charge.kind for charge in EXAMPLES} <= here

    @pytest.mark.parametrize("charge", EXAMPLES, ids=lambda charge: charge.kind)
    @given(first=NET, second=NET, factor=st.floats(0, 50))
    @settings(max_examples=12, deadline=None)
    def test_bills_grow_with_the_rates_and_are_none_below_zero(
        self, charge: Charge, first: list[float], second: list[float], factor: float
    ) -> None:
        data = meters([first, second], start="2023-03-25T20:00")
        bills = charge.bill_eur(data)
        np.testing.assert_allclose(
            charge.scaled(factor).bill_eur(data), factor * bills, rtol=1e-9, atol=1e-12
        )
        assert bills.shape == (2,)
        sign = -1.0 if isinstance(charge, ControllableRebate) else 1.0
        assert (sign * bills >= 0).all()

    @pytest.mark.parametrize("charge", EXAMPLES, ids=lambda charge: charge.kind)
    def test_rates_can_be_written_down_and_read_again(self, charge: Charge) -> None:
        solved = charge.scaled(1.75)
        assert type(charge).model_validate_json(solved.model_dump_json()) == solved

    @pytest.mark.parametrize("charge", EXAMPLES, ids=lambda charge: charge.kind)
    @given(net=NET)
    @settings(max_examples=8, deadline=None)
    def test_quarter_hours_that_do_not_change_within_the_hour_are_billed_like_hours(
        self, charge: Charge, net: list[float]
    ) -> None:
        hourly = meters([net], start="2023-10-28T12:00")
        quarters = meters([np.repeat(net, 4)], start="2023-10-28T12:00", hours=0.25)
        np.testing.assert_allclose(
            charge.bill_eur(quarters), charge.bill_eur(hourly), rtol=1e-9, atol=1e-12
        )

    @pytest.mark.parametrize("charge", EXAMPLES, ids=lambda charge: charge.kind)
    def test_without_rates_nobody_pays_anything(self, charge: Charge) -> None:
        data = meters([[3.0, -2.0, 5.0]])
        assert not charge.scaled(0.0).bill_eur(data).any()

    @pytest.mark.parametrize("charge", EXAMPLES, ids=lambda charge: charge.kind)
    def test_slots_add_up_to_the_bill(self, charge: Charge) -> None:
        data = meters([[3.0, -2.0, 5.0], [1.0, 0.0, 2.0]])
        if isinstance(charge, SlotCharge):
            amounts = charge.amounts_eur(data)
            assert amounts.shape == (3, 2)
            assert amounts.sum(axis=0) == pytest.approx(charge.bill_eur(data))

    @pytest.mark.parametrize(
        "kind", [type(charge) for charge in EXAMPLES], ids=lambda k: k.__name__
    )
    def test_no_rate_may_be_negative(self, kind: type[Charge]) -> None:
        for rate in kind.RATES:
            value: Any = {"only": -1.0} if kind.model_fields[rate].annotation is not float else -1.0
            with pytest.raises(ValidationError, match="greater than or equal to 0"):
                kind.model_validate({rate: value})
