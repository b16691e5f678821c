"""Rates that recover an allowed revenue: a family of designs, discounts, and what cannot be solved.

Numbers without a source of their own are worked out beside the test.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.markets.charge import Calendar, Charge, Customers, MeterData, PeriodCharge
from tricell.markets.charge_preset import known_presets, load_preset
from tricell.markets.charges.annual_peak import AnnualPeak
from tricell.markets.charges.coincident_peak import CoincidentPeak
from tricell.markets.charges.controllable_rebate import ControllableRebate
from tricell.markets.charges.fixed import Fixed
from tricell.markets.charges.local_use_discount import LocalUseDiscount
from tricell.markets.charges.net_metering import NetMetering
from tricell.markets.charges.postage_stamp import PostageStamp
from tricell.markets.charges.time_bands import TimeBands
from tricell.markets.charges.volumetric import Volumetric
from tricell.markets.rate_solution import NoRateError, billed, bills_by_charge, solve_rates
from tricell.markets.time_windows import Window

Floats = NDArray[np.float64]
QUICK = settings(max_examples=60, deadline=None)
MIDNIGHT = np.datetime64("2026-01-07T00:00:00", "s")

LOAD_KW = np.array(
    [
        [1.0, 1.0, 1.0, 1.0, 2.0, 4.0, 3.0, 1.0],
        [0.5, 0.5, 0.5, 0.5, 1.0, 2.0, 2.0, 0.5],
        [2.0, 2.0, 3.0, 3.0, 3.0, 3.0, 2.0, 2.0],
        [1.0, 1.0, -2.0, -3.0, -1.0, 3.0, 3.0, 1.0],
    ]
).T
"""Four customers over eight hours; the last one has a plant (reference case TR09)."""
YEAR_SHARE = 8 / 8760


def metered(net_kw: Floats, hours: float = 1.0) -> MeterData:
    start = MIDNIGHT + np.arange(len(net_kw)) * np.timedelta64(round(hours * 3600), "s")
    return MeterData(Calendar(start, hours, "UTC"), Customers.plain(net_kw.shape[1]), net_kw)


def four_customers() -> MeterData:
    return metered(LOAD_KW)


def flat(rate: float = 1.0, name: str = "") -> Volumetric:
    return Volumetric(rate_eur_per_kwh=rate, name=name)


class Banded(PeriodCharge):
    """A charge that does not grow with its rate: at most 1 EUR."""

    RATES: ClassVar[tuple[str, ...]] = ("rate",)

    kind: Literal["banded"] = "banded"
    rate: float = 0.5

    def bill_eur(self, meters: MeterData) -> Floats:
        return np.full(len(meters.customers), min(self.rate, 1.0))


class Rent(PeriodCharge):
    """Congestion rent: what it collects has no rate."""

    kind: Literal["rent"] = "rent"

    def bill_eur(self, meters: MeterData) -> Floats:
        return np.full(len(meters.customers), 1.5)


# --- one design after the other recovers the same revenue (reference case TR09) ---


@pytest.mark.parametrize(
    ("charge", "rate", "bills"),
    [
        (flat(), 0.39604, [5.544554, 2.970297, 7.920792, 3.564356]),
        (
            NetMetering(rate_eur_per_kwh=1.0),
            0.449438,
            [6.292135, 3.370787, 8.988764, 1.348315],
        ),
        (
            AnnualPeak(rate_eur_per_kw_year=1 / YEAR_SHARE, interval_minutes=60),
            1.666667,
            [6.666667, 3.333333, 5.0, 5.0],
        ),
        (Fixed(rate_eur_per_year=1 / YEAR_SHARE), 5.0, [5.0, 5.0, 5.0, 5.0]),
        (CoincidentPeak(rate_eur_per_kw_year=1 / YEAR_SHARE, hours=1), 1.666667, None),
        (
            TimeBands(
                rates_eur_per_kwh={"peak": 3.0, "base": 1.0},
                windows=(Window(band="peak", hours=(5, 7)),),
                default="base",
            ),
            0.21164,
            None,
        ),
    ],
    ids=lambda each: each.kind if isinstance(each, Charge) else "",
)
def test_every_design_recovers_the_revenue(
    charge: Charge, rate: float, bills: list[float] | None
) -> None:
    solution = solve_rates([charge], four_customers(), 20.0)
    assert solution.factor == pytest.approx([rate], abs=1e-5)
    assert solution.revenue_eur == pytest.approx(20.0, rel=1e-9)
    assert solution.gap_eur == pytest.approx(0.0, abs=1e-8)
    if bills is not None:
        assert solution.bill_eur[0] == pytest.approx(bills, abs=1e-5)


def test_a_discount_on_local_energy_is_made_up_for_by_the_rate() -> None:
    """Reference case TR11: a quarter of the energy at 57 % off; 5 ct becomes 5.830904 ct."""
    meters = metered(np.array([[1.0], [3.0]]))
    bought = np.zeros((4, 2, 1))
    bought[0, 0], bought[3, 1] = 1.0, 3.0
    meters = replace(meters, bought_kwh=bought)
    charge = LocalUseDiscount(rate_eur_per_kwh=0.05, microgrid_discount=0.57)
    allowed = 4 * 0.05
    unsolved = billed([charge], meters, allowed)
    assert unsolved.gap_eur / allowed == pytest.approx(0.1425)
    solution = solve_rates([charge], meters, allowed)
    assert 5.0 * solution.factor[0] == pytest.approx(5.830904, abs=1e-5)
    assert solution.revenue_eur == pytest.approx(allowed, rel=1e-12)


# --- several charges ---


def test_all_charges_are_scaled_by_one_factor() -> None:
    """50.5 kWh at 1 EUR and 4 customers at 2 EUR are 58.5 EUR."""
    charges = [flat(), Fixed(rate_eur_per_year=2 / YEAR_SHARE)]
    solution = solve_rates(charges, four_customers(), 117.0)
    assert solution.factor == pytest.approx([2.0, 2.0])
    assert solution.charge_revenue_eur == pytest.approx([101.0, 16.0])
    assert solution.bill_eur.shape == (2, 4)


def test_shares_of_the_revenue_scale_each_charge_on_its_own() -> None:
    charges = [flat(name="energy"), Fixed(rate_eur_per_year=1.0), flat(0.1, "kept")]
    solution = solve_rates(
        charges, four_customers(), 25.05, {"energy": 0.7, "fixed": 0.3}, fixed=["kept"]
    )
    assert solution.charge_revenue_eur == pytest.approx([14.0, 6.0, 5.05])
    assert solution.labels == ("energy", "fixed", "kept")
    assert solution.factor[2] == 1.0


def test_what_is_collected_otherwise_is_deducted_once() -> None:
    """20 EUR less 4 EUR of rent, 6 EUR of a charge without a rate, and 5.05 EUR kept."""
    charges = [flat(), flat(0.1, "kept"), Rent()]
    solution = solve_rates(charges, four_customers(), 20.0, fixed=["kept"], collected_eur=4.0)
    assert solution.charge_revenue_eur == pytest.approx([4.95, 5.05, 6.0])
    assert solution.revenue_eur == pytest.approx(20.0)


def test_levies_keep_their_rates_and_recover_nothing() -> None:
    levy = flat(0.02, "levy").model_copy(update={"purpose": "levy"})
    solution = solve_rates([flat(), levy], four_customers(), 20.0)
    assert solution.charge_revenue_eur == pytest.approx([20.0, 1.01])
    assert solution.revenue_eur == pytest.approx(20.0)
    assert solution.recovers.tolist() == [True, False]


def test_a_rebate_that_keeps_its_rates_is_paid_by_the_others() -> None:
    meters = four_customers()
    meters = replace(
        meters, customers=replace(meters.customers, controllable=np.array([True] + 3 * [False]))
    )
    rebate = ControllableRebate(lump_sum_eur_per_year=1 / YEAR_SHARE, working_rate_eur_per_kwh=1.0)
    solution = solve_rates([flat(), rebate], meters, 20.0, fixed=[rebate.label])
    assert solution.charge_revenue_eur == pytest.approx([21.0, -1.0])


def test_nothing_to_recover_makes_rates_zero() -> None:
    assert solve_rates([flat()], four_customers(), 0.0).factor.tolist() == [0.0]
    assert solve_rates([flat()], metered(np.zeros((2, 2))), 0.0).factor.tolist() == [0.0]


def test_bills_without_a_charge_are_an_empty_table() -> None:
    assert bills_by_charge([], four_customers()).shape == (0, 4)
    assert billed([], four_customers(), 3.0).gap_eur == 3.0


@pytest.mark.parametrize("preset", known_presets())
def test_every_shipped_preset_can_be_solved_for_a_revenue(preset: str) -> None:
    """A day of six households, half of them with a plant and a device that can be controlled."""
    rng = np.random.default_rng(4)
    meters = metered(rng.uniform(-1.0, 4.0, (96, 6)), hours=0.25)
    half = np.arange(6) % 2 == 0
    six = replace(meters.customers, controllable=half, has_pv=half, connection_kw=np.full(6, 10.0))
    solution = solve_rates(load_preset(preset), replace(meters, customers=six), 500.0)
    assert solution.revenue_eur == pytest.approx(500.0, rel=1e-9)


# --- what cannot be solved ---


@pytest.mark.parametrize(
    ("charges", "allowed", "options", "message"),
    [
        ([flat(0.0)], 20.0, {}, "no rate can recover 20 EUR: all rates of 'volumetric' are 0"),
        ([], 20.0, {}, "no rate can recover 20 EUR: no charge is left"),
        ([flat()], 20.0, {"fixed": ["volumetric"], "collected_eur": -40.0}, "no charge is left"),
        ([flat()], 20.0, {"fixed": ["volumetric"]}, "already more than allowed"),
        ([flat()], 20.0, {"collected_eur": 20.1}, "already more than allowed"),
        ([flat()], 0.0, {"collected_eur": 0.1}, "already more than allowed"),
    ],
)
def test_a_revenue_that_no_rate_recovers_is_named(
    charges: list[Charge], allowed: float, options: dict[str, object], message: str
) -> None:
    with pytest.raises(NoRateError, match=message):
        solve_rates(charges, four_customers(), allowed, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("charge", [flat(), PostageStamp(rate_eur_per_kwh=0.02)])
def test_a_base_that_is_zero_is_named(charge: Charge) -> None:
    nothing = metered(np.full((3, 2), -1.0))
    with pytest.raises(NoRateError, match=f"nothing that '{charge.label}' could bill"):
        solve_rates([charge], nothing, 20.0)


def test_rates_that_pay_out_recover_nothing() -> None:
    meters = four_customers()
    meters = replace(meters, customers=replace(meters.customers, controllable=np.ones(4, np.bool_)))
    rebate = ControllableRebate(lump_sum_eur_per_year=80.0, working_rate_eur_per_kwh=1.0)
    with pytest.raises(NoRateError, match="pay out more than they collect"):
        solve_rates([rebate], meters, 20.0)


@pytest.mark.parametrize(
    ("shares", "options", "message"),
    [
        ({"a": 0.5, "b": 0.6}, {}, "add up to 1.1"),
        ({"a": 1.5, "b": -0.5}, {}, "allowed are shares from 0 to 1"),
        ({"a": 1.0}, {}, "shares of revenue: b; needed is one share for every charge"),
        ({"a": 0.5, "b": 0.5}, {"fixed": ["b"]}, "shares of revenue: b; needed is one share"),
        ({"a": 0.5, "c": 0.5}, {}, "there is no charge 'c'; charges here: a, b"),
        (None, {"fixed": ["c"]}, "there is no charge 'c'"),
        (None, {"collected_eur": np.nan}, "nan EUR is not a number"),
    ],
)
def test_options_that_do_not_fit_are_named(
    shares: dict[str, float] | None, options: dict[str, object], message: str
) -> None:
    charges = [flat(name="a"), flat(name="b")]
    with pytest.raises(MarketError, match=message):
        solve_rates(charges, four_customers(), 20.0, shares, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [-0.01, np.nan, np.inf])
def test_an_allowed_revenue_that_is_no_amount_is_named(wrong: float) -> None:
    with pytest.raises(MarketError, match="allowed are numbers from 0 upwards"):
        solve_rates([flat()], four_customers(), wrong)


def test_two_charges_of_one_name_are_named() -> None:
    with pytest.raises(MarketError, match="'volumetric' is there more than once"):
        solve_rates([flat(), flat()], four_customers(), 1.0)


def test_a_charge_that_is_not_proportional_to_its_rates_is_named() -> None:
    with pytest.raises(MarketError, match="'banded': 10 times its rates collect 4 EUR, not 20 EUR"):
        solve_rates([Banded()], four_customers(), 20.0)


# --- what always holds ---


@st.composite
def designs(draw: st.DrawFn) -> list[Charge]:
    rate = st.integers(1, 50).map(lambda n: n / 100)
    choices: list[Charge] = [
        Volumetric(rate_eur_per_kwh=draw(rate)),
        NetMetering(rate_eur_per_kwh=draw(rate)),
        AnnualPeak(rate_eur_per_kw_year=100 * draw(rate), floor_kw=draw(rate)),
        Fixed(rate_eur_per_year=100 * draw(rate)),
        CoincidentPeak(rate_eur_per_kw_year=100 * draw(rate), hours=draw(st.integers(1, 5))),
    ]
    return draw(st.lists(st.sampled_from(choices), min_size=1, unique_by=lambda each: each.kind))


@st.composite
def meters_with_import(draw: st.DrawFn) -> MeterData:
    slots, count = draw(st.integers(1, 8)), draw(st.integers(1, 5))
    power = st.integers(-40, 60).map(lambda n: n / 10)
    net = np.array([[draw(power) for _ in range(count)] for _ in range(slots)])
    net[0, 0] = 1.0 + 4.0 * slots * count
    return metered(net)


@QUICK
@given(designs(), meters_with_import(), st.floats(0.01, 1e6), st.data())
def test_revenue_is_what_is_allowed(
    charges: list[Charge], meters: MeterData, allowed: float, data: st.DataObject
) -> None:
    common = solve_rates(charges, meters, allowed)
    assert common.revenue_eur == pytest.approx(allowed, rel=1e-9)
    assert np.ptp(common.factor) == 0.0
    parts = [data.draw(st.integers(1, 9)) for _ in charges]
    shares = {charge.label: part / sum(parts) for charge, part in zip(charges, parts, strict=True)}
    split = solve_rates(charges, meters, allowed, shares)
    assert split.charge_revenue_eur == pytest.approx(
        [share * allowed for share in shares.values()], rel=1e-9
    )


@QUICK
@given(designs(), meters_with_import(), st.floats(0.1, 10.0))
def test_rates_that_are_solved_already_stay(
    charges: list[Charge], meters: MeterData, scale: float
) -> None:
    solution = solve_rates(charges, meters, 100.0 * scale)
    again = solve_rates(solution.charges, meters, 100.0 * scale)
    assert again.factor == pytest.approx(np.ones(len(charges)), rel=1e-9)
