"""Forecast errors: their distribution, their bits, and the measures of forecasts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import kstest

from tricell.errors import MarketError
from tricell.markets.forecast_error import (
    LEAST_FACTOR,
    PERFECT,
    AccuracySums,
    AreaAccuracy,
    ErrorModel,
    accuracy_of_areas,
    actual_from_forecast,
    forecast_from_actual,
    mean_absolute_error,
    persistence,
    relative_errors,
    weighted_absolute_error,
)
from tricell.markets.imbalance import ImbalancePrices, ImbalanceScheme, settle_imbalance
from tricell.markets.random_streams import AgentSlots, agent_numbers, uniforms

Floats = NDArray[np.float64]

QUICK = settings(max_examples=25, deadline=None)
SLOTS, AGENTS = 2000, 100


def errors_of_many(model: ErrorModel, source: str = "load") -> Floats:
    return relative_errors(model, 1, source, AgentSlots(range(AGENTS), 0, SLOTS))


# --- distribution ---


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, -0.4])
def test_errors_have_the_stated_deviation_and_memory(correlation: float) -> None:
    """Within five standard errors of the estimates.

    The variance estimated with mean 0 known from M values in all of an AR(1) process has the
    relative standard error sqrt(2 / M (1 + rho^2) / (1 - rho^2)), and the lag-one correlation
    sqrt((1 - rho^2) / M) (Bartlett 1946). Five of them are missed once in 1.7 million draws.
    """
    sigma = 0.25
    error = errors_of_many(ErrorModel(sigma, correlation))
    memory = correlation**2
    variance_error = np.sqrt(2.0 / error.size * (1.0 + memory) / (1.0 - memory))
    assert np.mean(error**2) / sigma**2 == pytest.approx(1.0, abs=5.0 * variance_error)
    lag_one = np.sum(error[1:] * error[:-1]) / np.sum(error[:-1] ** 2)
    assert lag_one == pytest.approx(correlation, abs=5.0 * np.sqrt((1.0 - memory) / error.size))


def test_the_process_is_stationary_from_its_first_slot_on() -> None:
    """The relative standard error of a variance of M independent values is sqrt(2 / M)."""
    many = 20_000
    error = relative_errors(ErrorModel(0.25, 0.9), 1, "load", AgentSlots(range(many), 0, 3))
    np.testing.assert_allclose(np.mean(error**2, axis=1), 0.25**2, rtol=5.0 * np.sqrt(2.0 / many))


def test_errors_of_different_agents_and_sources_are_independent() -> None:
    """A correlation of M independent values has the standard error 1 / sqrt(M)."""
    model = ErrorModel(0.2)
    load, pv = errors_of_many(model), errors_of_many(model, "pv")
    assert abs(np.asarray(np.corrcoef(load.ravel(), pv.ravel()))[0, 1]) < 5.0 / np.sqrt(load.size)
    between = np.asarray(np.corrcoef(load.T))[np.triu_indices(AGENTS, 1)]
    # of 4950 pairs the largest lies beyond five standard errors once in 350 draws, beyond six never
    assert np.abs(between).max() < 6.0 / np.sqrt(SLOTS)


def test_single_errors_are_normal() -> None:
    """Kolmogorov and Smirnov; a right distribution is refused once in 10 000 draws."""
    error = errors_of_many(ErrorModel(0.2)).ravel()
    assert kstest(error / 0.2, "norm").pvalue > 1e-4


# --- bits ---


@QUICK
@given(
    seed=st.integers(0, 2**63),
    first=st.integers(0, 300),
    count=st.integers(1, 60),
    chosen=st.lists(st.integers(0, 19), min_size=1, max_size=8),
    correlation=st.floats(-0.99, 0.99),
)
def test_an_error_is_the_same_bits_in_any_block_and_any_company(
    seed: int, first: int, count: int, chosen: list[int], correlation: float
) -> None:
    model = ErrorModel(0.3, correlation)
    whole = relative_errors(model, seed, "ev", AgentSlots(range(20), 0, 360))
    part = relative_errors(model, seed, "ev", AgentSlots(chosen, first, count))
    np.testing.assert_array_equal(part, whole[first : first + count, chosen])
    if first:
        going_on = relative_errors(
            model, seed, "ev", AgentSlots(chosen, first, count), before=whole[first - 1, chosen]
        )
        np.testing.assert_array_equal(going_on, part)


def test_a_block_that_starts_late_in_the_year_is_the_same_bits_too() -> None:
    model = ErrorModel(0.2, 0.95)
    whole = relative_errors(model, 3, "pv", AgentSlots([4], 0, 9000))
    part = relative_errors(model, 3, "pv", AgentSlots([4], 8990, 10))
    np.testing.assert_array_equal(part, whole[8990:])


def test_another_seed_or_source_gives_other_errors() -> None:
    model, block = ErrorModel(0.2), AgentSlots([0, 1], 0, 96)
    first = relative_errors(model, 1, "load", block)
    assert not np.array_equal(first, relative_errors(model, 2, "load", block))
    assert not np.array_equal(first, relative_errors(model, 1, "pv", block))


def test_the_random_numbers_are_those_of_philox_read_in_order() -> None:
    """The agent is the second word of the key; numbers are 52 bits of each word."""
    read = uniforms(5, "x", AgentSlots([9], 0, 50))[:, 0]
    seed_key = _key_of(5, "x")
    words = np.random.Philox(key=np.array([seed_key, 9], np.uint64)).random_raw(50)
    np.testing.assert_array_equal(read, ((words >> np.uint64(12)) + 0.5) * 2.0**-52)
    assert np.isfinite(ndtri([0.5 * 2.0**-52, (2.0**52 - 0.5) * 2.0**-52])).all()


def _key_of(seed: int, stream: str) -> int:
    number = int(agent_numbers([stream])[0])
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0])


@pytest.mark.parametrize(
    ("seed", "agents", "first", "named"),
    [
        (-1, [0], 0, "seed is -1"),
        (1, [3, -2], 0, "number .*-2.*whole numbers"),
        (1, [0.5], 0, "number .*0.5.*whole numbers"),
        (1, [0], -1, "first_slot is -1"),
    ],
)
def test_random_numbers_are_refused_for_what_is_not_there(
    seed: int, agents: list[float], first: int, named: str
) -> None:
    with pytest.raises(MarketError, match=named):
        uniforms(seed, "x", AgentSlots(agents, first, 1))


# --- forecasts ---


def test_without_error_the_forecast_is_the_actual_energy_and_nobody_pays_imbalance() -> None:
    actual = np.random.default_rng(1).normal(size=(96, 5))
    none = relative_errors(PERFECT, 1, "load", AgentSlots(range(5), 0, 96))
    forecast = forecast_from_actual(actual, none)
    np.testing.assert_array_equal(forecast, actual)
    np.testing.assert_array_equal(actual_from_forecast(actual, none), actual)
    prices = ImbalancePrices(0.30, 0.08, 0.19, 0.25)
    for scheme in ImbalanceScheme:
        settled = settle_imbalance(actual, forecast, prices, scheme)
        assert not settled.deviation_kwh.any()
        assert not settled.retailer_eur.any()
    assert mean_absolute_error(actual, forecast) == 0.0
    assert weighted_absolute_error(actual, forecast) == 0.0


def test_energy_is_its_forecast_times_one_plus_the_error() -> None:
    actual = actual_from_forecast(np.array([2.0, -4.0, 0.0]), np.array([0.25, -0.5, 0.3]))
    assert actual.tolist() == [2.5, -2.0, 0.0]


@QUICK
@given(energy=st.floats(-50.0, 50.0), error=st.floats(-5.0, 5.0), sigma=st.sampled_from([0.1, 1.0]))
def test_a_forecast_made_from_the_actual_energy_leads_back_to_it(
    energy: float, error: float, sigma: float
) -> None:
    actual, eps = np.array([energy]), np.array([error * sigma])
    forecast = forecast_from_actual(actual, eps)
    np.testing.assert_allclose(actual_from_forecast(forecast, eps), actual, rtol=1e-12)
    # neither side changes the direction of energy, and forecasts stay within ten times the actual
    assert (forecast * actual >= 0.0).all()
    assert (np.abs(forecast) <= np.abs(actual) / LEAST_FACTOR * (1 + 1e-12)).all()


def test_persistence_is_the_energy_of_the_day_before() -> None:
    actual = np.arange(10.0).reshape(5, 2)
    forecast = persistence(actual, 2)
    assert np.isnan(forecast[:2]).all()
    np.testing.assert_array_equal(forecast[2:], actual[:3])
    known = persistence(actual, 2, day_before_kwh=np.full((2, 2), 7.0))
    assert known[:2].tolist() == [[7.0, 7.0], [7.0, 7.0]]
    np.testing.assert_array_equal(persistence(actual, 8), np.full((5, 2), np.nan))


def test_persistence_refuses_a_day_of_another_shape() -> None:
    with pytest.raises(MarketError, match=r"day_before_kwh has shape \(1, 2\)"):
        persistence(np.zeros((5, 2)), 2, np.zeros((1, 2)))
    with pytest.raises(MarketError, match="slots_per_day is 0"):
        persistence(np.zeros((5, 2)), 0)


@pytest.mark.parametrize(("sigma", "correlation"), [(-0.1, 0.0), (np.nan, 0.0), (0.1, 1.0)])
def test_a_process_that_does_not_exist_is_refused(sigma: float, correlation: float) -> None:
    with pytest.raises(MarketError, match=r"forecast error: (sigma|correlation) is"):
        ErrorModel(sigma, correlation)


# --- how good ---


def test_measures_are_none_where_undefined() -> None:
    assert mean_absolute_error([], []) is None
    assert mean_absolute_error([1.0], [np.nan]) is None
    assert weighted_absolute_error([0.0, 0.0], [1.0, 0.0]) is None
    assert mean_absolute_error([0.0, 0.0], [1.0, 0.0]) == 0.5
    with pytest.raises(MarketError, match="2 actual values and 1 forecasts"):
        mean_absolute_error([1.0, 2.0], [1.0])


def test_values_without_a_forecast_are_left_out() -> None:
    assert mean_absolute_error([1.0, 2.0, np.nan], [np.nan, 3.0, 1.0]) == 1.0


def test_an_area_s_error_is_that_of_its_net_energy() -> None:
    """Worked out: the first area misses by 1 + 1 kWh in two slots, its members by 4 in four."""
    actual = np.array([[2.0, -1.0, 4.0], [2.0, 0.0, 0.0]])
    forecast = np.array([[4.0, -2.0, 5.0], [1.0, 0.0, 0.0]])
    first, second, empty = accuracy_of_areas(actual, forecast, np.array([0, 0, 1]), 3)
    assert (first.mae_kwh, first.member_mae_kwh) == (1.0, 1.0)
    assert first.wape == pytest.approx(2 / 3)
    assert first.member_wape == pytest.approx(4 / 5)
    assert (second.mae_kwh, second.wape) == (0.5, 0.25)
    assert (empty.mae_kwh, empty.wape, empty.member_mae_kwh, empty.member_wape) == (None,) * 4


def test_accuracy_added_up_block_by_block_is_that_of_the_whole() -> None:
    actual = np.array([[1.0, -2.0, 0.5], [0.0, 1.0, -1.5], [2.0, 0.25, 1.0], [1.0, 1.0, 1.0]])
    forecast = actual[::-1] * 1.25
    # areas: everything, the first two agents, the last one, nobody
    within = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]])
    sums = AccuracySums(within)
    sums.add(actual[:1], forecast[:1])
    resumed = AccuracySums(within)
    resumed.recall(sums.memory())
    resumed.add(actual[1:], forecast[1:])
    whole = accuracy_of_areas(actual, forecast, np.zeros(3, np.int64), 1)
    parts = accuracy_of_areas(actual, forecast, np.array([1, 1, 2]), 4)
    for found, wanted in zip(resumed.accuracy(), (*whole, *parts[1:]), strict=True):
        one, other = (np.array([*vars(each).values()], np.float64) for each in (found, wanted))
        np.testing.assert_allclose(one, other, rtol=1e-12)
    assert resumed.accuracy()[3] == AreaAccuracy(None, None, None, None)
