"""Indicators of network-charge studies: their formulas, and None or NaN where they are undefined.

Numbers without a source of their own are worked out beside the test.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tricell.markets.charge import Calendar, Customers, MeterData
from tricell.markets.charges.fixed import Fixed
from tricell.markets.charges.volumetric import Volumetric
from tricell.markets.cost_recovery import CostSplit, causal_cost, cost_cascade
from tricell.markets.rate_solution import bills_by_charge, solve_rates
from tricell.results.charge_indicators import (
    HOUSES_KWH,
    QuintileBurden,
    ReboundPeak,
    RevenueGap,
    bill_change_by_class,
    community_saving_per_member,
    component_shares,
    cross_subsidy,
    effective_price,
    hours_over_limit,
    house_profiles_kw,
    individual_and_coincident_peaks,
    lowest_quintile_burden,
    peak_export_kw,
    peak_import_kw,
    peak_reduction,
    price_gini,
    price_jain,
    price_per_kwh,
    price_signal_strength,
    rebound_peak,
    revenue_gap,
    revenue_recovery,
    share_clearly_worse,
    simultaneity,
    voltage_hours,
)

Floats = NDArray[np.float64]
QUICK = settings(max_examples=80, deadline=None)
NAN = float("nan")
amounts = st.integers(0, 1000).map(lambda n: n / 10)


def same(found: Floats, expected: list[float]) -> bool:
    return bool(np.allclose(found, expected, rtol=1e-12, atol=0.0, equal_nan=True))


# --- revenue ---


def test_recovery_and_gap_of_revenue() -> None:
    assert revenue_recovery(95.0, 100.0) == pytest.approx(0.95)
    assert revenue_recovery(95.0, 0.0) is None
    assert revenue_gap(100.0, 104.0, 800.0) == RevenueGap(eur=-4.0, ct_per_kwh=-0.5)
    assert revenue_gap(100.0, 95.0, 0.0) == RevenueGap(eur=5.0, ct_per_kwh=None)


# --- bills ---


def test_bill_changes_of_each_class_and_of_all() -> None:
    """Households 100 to 110 and 200 to 190: means 150 and 150; the shop 50 to 100."""
    table = bill_change_by_class(
        [110.0, 190.0, 100.0], [100.0, 200.0, 50.0], ["household", "household", "shop"]
    )
    assert list(table.index) == ["household", "shop", "all"]
    house = table.loc["household"]
    assert [house["customers"], house["reference_eur"], house["bill_eur"]] == [2, 150, 150]
    assert house["change_eur"] == pytest.approx(0.0)
    assert house["change_percent"] == pytest.approx(0.0)
    assert house["eur_p50"] == pytest.approx(0.0)
    assert house["eur_p10"] == pytest.approx(-8.0)
    assert house["percent_p90"] == pytest.approx(-5.0 + 0.9 * 15.0)
    assert table.loc["shop", "change_percent"] == pytest.approx(100.0)
    assert table.loc["all", "change_eur"] == pytest.approx(50.0 / 3.0)


def test_a_bill_of_nothing_has_no_change_in_percent() -> None:
    table = bill_change_by_class([5.0, 3.0], [0.0, -1.0], ["a", "a"])
    assert table.loc["a", "change_eur"] == pytest.approx(4.5)
    assert table.loc["a", ["change_percent", "percent_p50"]].isna().all()


def test_the_table_of_nobody_has_a_row_without_figures() -> None:
    table = bill_change_by_class([], [], [])
    assert list(table.index) == ["all"]
    assert table.loc["all", "customers"] == 0
    assert table.drop(columns="customers").isna().to_numpy().all()


def test_components_share_the_bill_of_a_class() -> None:
    shares = component_shares(
        [[30.0, 0.0, 1.0], [10.0, 0.0, -1.0]], ["energy", "peak"], ["a", "b", "c"]
    )
    assert list(shares.loc["a"]) == pytest.approx([0.75, 0.25])
    assert np.isnan(shares.loc[["b", "c"]].to_numpy()).all()
    assert list(shares.loc["all"]) == pytest.approx([31 / 40, 9 / 40])


def test_cross_subsidy_is_what_is_paid_above_the_cost() -> None:
    table = cross_subsidy([30.0, 20.0, 50.0], [40.0, 20.0, 40.0], ["pv", "pv", "no pv"])
    assert table["subsidy_eur"].to_dict() == {"no pv": 10.0, "pv": -10.0, "all": 0.0}
    assert table.loc["pv", "subsidy_eur_per_customer"] == pytest.approx(-5.0)
    assert table.loc["no pv", "bill_per_cost"] == pytest.approx(1.25)
    assert cross_subsidy([1.0], [0.0], ["a"])["bill_per_cost"].isna().all()


# --- fairness ---


def test_prices_per_kilowatt_hour_and_their_inequality() -> None:
    """Prices 0.1 and 0.3: Gini 0.4 / (2 x 4 x 0.2) = 0.25, Jain 0.16 / (2 x 0.1) = 0.8."""
    bill, energy = [10.0, 30.0, 5.0], [100.0, 100.0, 0.0]
    assert same(price_per_kwh(bill, energy), [0.1, 0.3, NAN])
    assert price_gini(bill, energy) == pytest.approx(0.25)
    assert price_jain(bill, energy) == pytest.approx(0.8)


def test_inequality_is_undefined_where_nobody_has_a_price() -> None:
    assert price_gini([1.0], [0.0]) is None
    assert price_jain([1.0], [0.0]) is None
    assert price_gini([-1.0, 2.0], [1.0, 1.0]) is None


def test_the_lowest_quintile_pays_more_per_kilowatt_hour_of_a_fixed_price() -> None:
    """Ten customers with 100 to 1000 kWh pay 10 EUR each: two pay 20 EUR for 300 of 5500 kWh."""
    burden = lowest_quintile_burden(np.full(10, 10.0), np.arange(100.0, 1001.0, 100.0))
    assert burden.eur_per_kwh == pytest.approx(20 / 300)
    assert burden.relative_price == pytest.approx((20 / 300) / (100 / 5500))
    assert burden.bill_share == pytest.approx(0.2)
    assert burden.energy_share == pytest.approx(300 / 5500)


def test_all_who_import_as_little_belong_to_the_lowest_quintile() -> None:
    burden = lowest_quintile_burden([1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 5.0, 5.0])
    assert burden == QuintileBurden(None, None, 0.3, 0.0)
    assert lowest_quintile_burden([], []) == QuintileBurden(None, None, None, None)


def test_clearly_worse_needs_more_percent_and_more_euro() -> None:
    """Changes of 101, 100, 101 and 150 EUR on 1000, 100, 2000 and 0 EUR; per half a year half."""
    reference = np.array([1000.0, 100.0, 2000.0, 0.0])
    change = np.array([101.0, 100.0, 101.0, 150.0])
    assert share_clearly_worse(reference + change, reference, 1.0) == 0.5
    assert share_clearly_worse(reference / 2 + change / 2, reference / 2, 0.5) == 0.5
    assert share_clearly_worse([], [], 1.0) is None
    assert share_clearly_worse([1.0], [1.0], 0.0) is None


def test_members_save_and_others_do_not_count() -> None:
    saved = community_saving_per_member([50.0, 40.0, 30.0], [45.0, 37.0, 0.0], [1, 1, 0], 0.1)
    assert saved == pytest.approx(40.0)
    assert community_saving_per_member([50.0], [45.0], [0], 1.0) is None


# --- prices ---


def test_houses_of_a_given_consumption_have_an_effective_price() -> None:
    """A fixed 50 EUR and 10 ct/kWh: 50 / E + 0.10; flat profiles over a quarter of a year."""
    slots, hours = 8760, 0.25
    share = slots * hours / 8760
    rng = np.random.default_rng(1)
    net = house_profiles_kw(rng.uniform(-0.2, 1.0, slots), hours)
    assert net.shape == (slots, 3)
    start = np.datetime64("2026-01-01T00:00:00", "s") + 900 * np.arange(slots)
    meters = MeterData(Calendar(start, hours), Customers.plain(3), net)
    charges = [Volumetric(rate_eur_per_kwh=0.1), Fixed(rate_eur_per_year=50.0)]
    bill = bills_by_charge(charges, meters).sum(axis=0)
    assert effective_price(bill, HOUSES_KWH, share) == pytest.approx([0.12, 0.1 + 1 / 70, 0.11])


def test_a_house_without_import_cannot_be_scaled() -> None:
    assert np.isnan(house_profiles_kw([-1.0, 0.0], 1.0)).all()
    assert np.isnan(effective_price([1.0], [3500.0], 0.0)).all()


def test_a_price_signal_is_as_strong_as_its_span() -> None:
    assert price_signal_strength([0.03, 0.07, 0.11]) == pytest.approx(0.08)
    assert price_signal_strength([0.07]) == 0.0
    assert price_signal_strength([]) is None


def test_a_rebound_is_seen_in_the_first_step_of_low_prices() -> None:
    rate = [0.3, 0.1, 0.1, 0.3, 0.1, 0.3]
    load = [2.0, 7.0, 9.0, 1.0, 8.0, 1.0]
    reference = [5.0, 4.0, 3.0, 7.5, 2.0, 1.0]
    assert rebound_peak(load, reference, rate) == ReboundPeak(8.0, 4.0, 6.0, True, 2)
    assert rebound_peak(load, [20.0] * 6, rate) == ReboundPeak(8.0, 20.0, -12.0, False, 2)


def test_without_a_fall_of_prices_there_is_no_rebound() -> None:
    assert rebound_peak([1.0, 2.0], [1.0, 1.0], [0.2, 0.2]) is None
    assert rebound_peak([1.0, 2.0], [1.0, 1.0], [0.1, 0.2]) is None
    assert rebound_peak([], [], []) is None
    assert rebound_peak([1.0, 2.0], [1.0, 1.0], [0.3, 0.2], low=0.1) is None


# --- grid ---


def test_peaks_of_transformers_and_their_reduction() -> None:
    flow = [[3.0, -1.0, NAN], [-4.0, -2.0, NAN], [NAN, -1.0, NAN]]
    assert same(peak_import_kw(flow), [3.0, 0.0, NAN])
    assert same(peak_export_kw(flow), [4.0, 2.0, NAN])
    assert same(peak_reduction([1.0, 2.0, 3.0], [2.0, 0.0, NAN]), [0.5, NAN, NAN])
    assert np.isnan(peak_import_kw(np.zeros((0, 2)))).all()


def test_hours_over_a_limit_and_outside_the_voltage_band() -> None:
    loading = [[101.0, 100.0, NAN], [120.0, NAN, NAN]]
    assert same(hours_over_limit(loading, 0.25), [0.5, 0.0, NAN])
    assert same(hours_over_limit(loading, 0.25, limit=110.0), [0.25, 0.0, NAN])
    voltage = [[0.89, 1.10, NAN], [1.11, 0.9, NAN]]
    assert same(voltage_hours(voltage, 0.9, 1.1, 0.25), [0.5, 0.0, NAN])


def test_simultaneity_is_the_common_peak_over_all_peaks() -> None:
    assert simultaneity([[1.0, 2.0], [3.0, -9.0]]) == pytest.approx(3.0 / 5.0)
    assert simultaneity([[-1.0]]) is None
    assert simultaneity(np.zeros((0, 3))) is None


def test_own_and_coincident_peaks_of_customers() -> None:
    table = individual_and_coincident_peaks([[1.0, 5.0], [3.0, -2.0]], [6.0, 7.0])
    assert table["individual_kw"].tolist() == [3.0, 5.0]
    assert table["coincident_kw"].tolist() == [3.0, 0.0]
    assert individual_and_coincident_peaks(np.zeros((0, 2)), []).isna().to_numpy().all()


# --- what always holds ---


@st.composite
def billed_customers(draw: st.DrawFn) -> tuple[list[float], list[float], list[str]]:
    count = draw(st.integers(1, 12))
    several = st.lists(amounts, min_size=count, max_size=count)
    classes = st.lists(st.sampled_from(["a", "b", "c"]), min_size=count, max_size=count)
    return draw(several), draw(several), draw(classes)


@QUICK
@given(billed_customers())
def test_inequality_lies_between_nothing_and_everything(
    drawn: tuple[list[float], list[float], list[str]],
) -> None:
    bill, energy, _ = drawn
    index = price_gini(bill, energy)
    assert index is None or 0.0 <= index <= 1.0
    fairness = price_jain(bill, energy)
    assert fairness is None or 0.0 < fairness <= 1.0 + 1e-12


@QUICK
@given(billed_customers(), amounts)
def test_tables_by_class_add_up_to_all(
    drawn: tuple[list[float], list[float], list[str]], scale: float
) -> None:
    bill, cost, group = drawn
    table = cross_subsidy(bill, cost, group)
    classes = table.drop(index="all")
    assert classes["subsidy_eur"].sum() == pytest.approx(table.loc["all", "subsidy_eur"], abs=1e-9)
    assert classes["customers"].sum() == len(bill)
    shares = component_shares([bill, [scale + 1.0] * len(bill)], ["one", "other"], group)
    assert shares.sum(axis=1).to_numpy() == pytest.approx(np.ones(len(shares)))


@QUICK
@given(st.integers(1, 6), st.integers(1, 8), st.floats(1.0, 1e5), st.integers(0, 2**32 - 1))
def test_cross_subsidies_are_zero_sum_where_revenue_equals_cost(
    slots: int, count: int, eur_per_year: float, seed: int
) -> None:
    net = np.random.default_rng(seed).uniform(-2.0, 5.0, (slots, count))
    net[:, 0] = 1.0 + 2.0 * count
    start = np.datetime64("2026-01-01T00:00:00", "s") + 3600 * np.arange(slots)
    meters = MeterData(Calendar(start, 1.0), Customers.plain(count), net)
    cascade = cost_cascade([eur_per_year, 0.0, 0.0], meters)
    cost = causal_cost(cascade, meters, CostSplit(0.3, 0.5, 0.2)).eur
    solution = solve_rates(
        [Volumetric(rate_eur_per_kwh=1.0)], meters, float(cascade.allowed_eur.sum())
    )
    bill = solution.bill_eur.sum(axis=0)
    group = ["even" if row % 2 == 0 else "odd" for row in range(count)]
    table = cross_subsidy(bill, cost, group)
    assert table.loc["all", "subsidy_eur"] == pytest.approx(0.0, abs=1e-9 * cost.sum())
    subsidies = table.drop(index="all")["subsidy_eur"]
    assert subsidies.sum() == pytest.approx(0.0, abs=1e-9 * cost.sum())
