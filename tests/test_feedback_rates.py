"""Rates solved again after a reaction: when they settle, and what is said when they do not.

The textbook case has a closed form; the other reactions are worked out beside the test.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tricell.errors import MarketError
from tricell.markets.charge import Calendar, Charge, Customers, MeterData
from tricell.markets.charges.fixed import Fixed
from tricell.markets.charges.volumetric import Volumetric
from tricell.markets.feedback import (
    FeedbackPath,
    Respond,
    adoption_feedback,
    resolve_until_stable,
)
from tricell.markets.rate_solution import NoRateError, RateSolution, solve_rates

QUICK = settings(max_examples=60, deadline=None)
ENERGY_KWH = 1000.0
ALLOWED_EUR = 100.0
SAVED = 0.8
"""Share of its energy that a customer with a plant does not import."""


def meters_of(energy_kwh: float) -> MeterData:
    """One customer who imports this energy in an hour."""
    calendar = Calendar(np.array(["2026-01-01T00:00:00"], "datetime64[s]"), 1.0, "UTC")
    return MeterData(calendar, Customers.plain(1), np.array([[energy_kwh]]))


def rate_of(charges: tuple[Charge, ...]) -> float:
    charge = charges[0]
    assert isinstance(charge, Volumetric)
    return charge.rate_eur_per_kwh


def adopters(adoption: Callable[[float], float], saved: float = SAVED) -> Respond:
    """Customers who own plants with a share that follows the rate."""

    def respond(charges: tuple[Charge, ...]) -> MeterData:
        return meters_of(ENERGY_KWH * (1.0 - saved * adoption(rate_of(charges))))

    return respond


def solve(charges: tuple[Charge, ...], meters: MeterData) -> RateSolution:
    return solve_rates(charges, meters, ALLOWED_EUR)


def settle(
    respond: Respond,
    *,
    rate: float = ALLOWED_EUR / ENERGY_KWH,
    tolerance: float = 1e-9,
    max_iterations: int = 60,
    damping: float = 0.0,
) -> FeedbackPath:
    return resolve_until_stable(
        respond,
        solve,
        [Volumetric(rate_eur_per_kwh=rate)],
        tolerance=tolerance,
        max_iterations=max_iterations,
        damping=damping,
    )


def linear(slope: float) -> Callable[[float], float]:
    """Adoption that grows with the rate above that of a network without plants."""
    return lambda rate: float(np.clip(slope * (rate - 0.08), 0.0, 1.0))


# --- the textbook case ---


def test_a_weak_reaction_settles_where_the_closed_form_does() -> None:
    """Adoption 2 (c - 0.08): stable since F' dc/da = 2 x 0.08 / (1 - 0.8 a)^2 is below 1."""
    path = settle(adopters(linear(2.0)))
    rates, shares = adoption_feedback(
        ALLOWED_EUR,
        ENERGY_KWH,
        SAVED,
        linear(2.0),
        first_adoption=linear(2.0)(0.1),
        iterations=path.iterations,
    )
    assert path.converged
    assert 0.1 * path.solved_factor[:, 0] == pytest.approx(rates, rel=1e-12)
    c, a = rates[-1], shares[-1]
    assert c == pytest.approx(ALLOWED_EUR / (ENERGY_KWH * (1 - SAVED * a)), rel=1e-8)
    assert a == pytest.approx(2.0 * (c - 0.08), rel=1e-8)
    assert 2.0 * SAVED * 0.1 / (1 - SAVED * a) ** 2 < 1.0


def test_rates_after_settling_collect_what_is_allowed() -> None:
    path = settle(adopters(linear(2.0)), tolerance=1e-6)
    assert path.solution.revenue_eur == pytest.approx(ALLOWED_EUR, rel=1e-9)
    assert path.gap_eur[0] == pytest.approx(ALLOWED_EUR * SAVED * linear(2.0)(0.1))
    assert abs(path.gap_eur[-1]) <= 1e-5 * ALLOWED_EUR
    assert path.factor[0].tolist() == [1.0]
    assert path.labels == ("volumetric",)


def test_a_death_spiral_is_reported_as_diverging_with_its_path() -> None:
    """Everybody who owns a plant leaves the network, and a rate of 0.17 EUR/kWh makes all do so."""
    respond = adopters(linear(11.0), saved=1.0)
    path = settle(respond)
    assert path.reason == "diverging"
    assert not path.converged
    assert "no rate can recover 100 EUR" in path.message
    rates, _ = adoption_feedback(
        ALLOWED_EUR,
        ENERGY_KWH,
        1.0,
        linear(11.0),
        first_adoption=linear(11.0)(0.1),
        iterations=path.iterations,
    )
    assert rates[-1] == np.inf
    assert 0.1 * path.solved_factor[:-1, 0] == pytest.approx(rates[:-1], rel=1e-12)
    assert np.isnan(path.solved_factor[-1]).all()
    assert np.isnan(path.revenue_eur[-1])
    assert (np.diff(path.factor[:, 0]) > 0.0).all()


def test_rates_that_run_away_are_stopped() -> None:
    """Energy falls with the cube of the rate: c_{k+1} = 1000 c_k^3 from c_0 = 1."""
    path = settle(lambda charges: meters_of(0.1 / rate_of(charges) ** 3), rate=1.0)
    assert path.reason == "diverging"
    assert "times those solved first" in path.message


def test_rates_still_growing_at_the_limit_are_diverging() -> None:
    """Energy is 60 / c^1.5 kWh: c_{k+1} = 100 c_k^1.5 / 60 from c_0 = 1."""
    path = settle(
        lambda charges: meters_of(60.0 / rate_of(charges) ** 1.5), rate=1.0, max_iterations=5
    )
    assert path.reason == "diverging"
    assert "still grows after 5 runs" in path.message
    assert path.factor[:3, 0] == pytest.approx([1.0, 10 / 6, (10 / 6) ** 2.5])


# --- cycles, limits, damping ---


def shifting(charges: tuple[Charge, ...]) -> MeterData:
    """Customers who leave above 0.15 EUR/kWh: 1000 kWh below, 500 kWh above."""
    return meters_of(1000.0 if rate_of(charges) < 0.15 else 500.0)


def test_rates_that_come_back_are_a_cycle() -> None:
    path = settle(shifting)
    assert path.reason == "converged"
    path = settle(lambda charges: meters_of(500.0 if rate_of(charges) < 0.15 else 1000.0))
    assert path.reason == "cycle"
    assert "every 2 runs" in path.message
    assert 0.1 * path.factor[:, 0] == pytest.approx([0.1, 0.2])


def reciprocal(charges: tuple[Charge, ...]) -> MeterData:
    """Energy grows with the rate: c_{k+1} = 0.1 (0.1 / c_k)^0.9 swings around 0.1."""
    return meters_of(ENERGY_KWH * (rate_of(charges) / 0.1) ** 0.9)


def test_at_the_limit_the_change_that_is_left_is_said() -> None:
    path = settle(reciprocal, rate=0.2, max_iterations=5)
    assert path.reason == "iteration limit"
    assert path.iterations == 5
    assert "Allow more iterations, or use damping" in path.message


def test_damping_settles_swinging_rates_sooner() -> None:
    plain = settle(reciprocal, rate=0.2, max_iterations=300)
    damped = settle(reciprocal, rate=0.2, damping=0.5)
    assert plain.converged
    assert damped.converged
    assert damped.iterations < plain.iterations / 5
    assert damped.solution.factor[0] * 0.2 == pytest.approx(0.1, rel=1e-6)


def test_customers_who_do_not_react_need_two_runs() -> None:
    path = settle(lambda charges: meters_of(ENERGY_KWH), rate=3.0)
    assert path.converged
    assert path.iterations == 2
    assert path.revenue_eur == pytest.approx([3000.0, 100.0])


def test_several_charges_are_followed_each_on_its_own() -> None:
    def half_each(charges: tuple[Charge, ...], meters: MeterData) -> RateSolution:
        return solve_rates(charges, meters, ALLOWED_EUR, {"volumetric": 0.5, "fixed": 0.5})

    path = resolve_until_stable(
        adopters(linear(2.0)),
        half_each,
        [Volumetric(rate_eur_per_kwh=0.1), Fixed(rate_eur_per_year=8760.0)],
    )
    assert path.converged
    assert path.factor.shape == (path.iterations, 2)
    assert path.factor[-1, 1] == pytest.approx(50.0)


# --- what cannot be started ---


def test_a_first_run_without_a_base_is_an_error() -> None:
    with pytest.raises(NoRateError, match="no rate can recover 100 EUR"):
        settle(lambda charges: meters_of(0.0))


@pytest.mark.parametrize(
    ("tolerance", "max_iterations", "damping", "message"),
    [
        (0.0, 5, 0.0, "tolerance is 0.0"),
        (1e-6, 0, 0.0, "0 iterations"),
        (1e-6, 5, 1.0, "damping is 1.0"),
        (1e-6, 5, -0.1, "damping is -0.1"),
    ],
)
def test_options_out_of_range_are_named(
    tolerance: float, max_iterations: int, damping: float, message: str
) -> None:
    with pytest.raises(MarketError, match=message):
        settle(shifting, tolerance=tolerance, max_iterations=max_iterations, damping=damping)


@QUICK
@given(st.floats(0.0, 3.0), st.floats(0.0, 0.6), st.floats(0.01, 1.0))
def test_a_stable_reaction_always_ends_at_rates_that_recover(
    slope: float, saved: float, rate: float
) -> None:
    """Solved rates are at most 0.1 / 0.4 = 0.25, so that adoption is at most 3 x 0.17 = 0.51 and
    F' dc/da at most 3 x 0.1 x 0.6 / (1 - 0.6 x 0.51)^2 = 0.37."""
    path = settle(adopters(linear(slope), saved), rate=rate, max_iterations=300)
    assert path.converged
    assert path.solution.revenue_eur == pytest.approx(ALLOWED_EUR, rel=1e-9)
    assert abs(path.gap_eur[-1]) <= 1e-6 * ALLOWED_EUR
