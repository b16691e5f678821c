"""When storage is built, and the smallest subsidy that has it built today."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tricell.errors import MarketError
from tricell.markets.flexibility.real_option import option_exponent, value_option

rates = st.floats(0.01, 0.2)


@settings(max_examples=200, deadline=None)
@given(rates, st.floats(-0.2, 0.99), st.floats(1e-3, 1.0))
def test_beta_is_the_root_above_one(discount: float, part: float, volatility: float) -> None:
    """Dixit and Pindyck 1994, section 5.2: the fundamental quadratic."""
    drift = part * discount
    beta = option_exponent(drift, volatility, discount)
    assert beta > 1.0
    terms = 0.5 * volatility**2 * beta * (beta - 1.0), drift * beta, -discount
    assert abs(sum(terms)) <= 1e-9 * max(abs(term) for term in terms)


@settings(max_examples=100, deadline=None)
@given(st.floats(0.0, 500.0), st.floats(0.0, 500.0), rates, st.floats(0.0, 0.5))
def test_the_subsidy_is_just_what_makes_it_worth_building_now(
    value: float, cost: float, discount: float, volatility: float
) -> None:
    moves = {"drift": 0.3 * discount, "volatility": volatility, "discount": discount}
    option = value_option(value, cost, **moves)
    subsidy = float(option.subsidy_eur)
    assert 0.0 <= subsidy <= cost
    assert bool(option.invest_now) == (value >= option.trigger_eur)
    helped = value_option(value, cost - subsidy, **moves)
    assert helped.trigger_eur <= value * (1.0 + 1e-12) + 1e-9
    if bool(option.invest_now):
        assert subsidy == pytest.approx(0.0, abs=1e-9)


def test_more_volatility_makes_waiting_worth_more() -> None:
    triggers = [
        float(value_option(1.0, 100.0, drift=0.02, volatility=s, discount=0.06).trigger_eur)
        for s in (0.0, 1e-9, 0.1, 0.2, 0.4)
    ]
    assert triggers[0] == pytest.approx(100.0 * 0.06 / 0.04)
    assert triggers[1] == pytest.approx(triggers[0])
    assert triggers == sorted(triggers)


@pytest.mark.parametrize("drift", [0.0, -0.03])
def test_without_volatility_and_growth_it_is_built_at_cost(drift: float) -> None:
    option = value_option([99.0, 100.0], 100.0, drift=drift, volatility=0.0, discount=0.06)
    assert option.beta == inf
    assert option.trigger_eur.tolist() == [100.0, 100.0]
    assert option.invest_now.tolist() == [False, True]
    assert option.subsidy_eur.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("drift", "volatility", "discount", "message"),
    [
        (0.06, 0.2, 0.06, "drift is 0.06; allowed is a finite number below the discount rate"),
        (0.09, 0.2, 0.06, "waiting always pays"),
        (0.02, -0.2, 0.06, "volatility is -0.2"),
        (-0.02, 0.2, 0.0, "discount is 0.0"),
        (0.02, 0.2, np.nan, "discount is nan"),
    ],
)
def test_rates_without_a_trigger_are_refused(
    drift: float, volatility: float, discount: float, message: str
) -> None:
    with pytest.raises(MarketError, match=message):
        value_option(150.0, 100.0, drift=drift, volatility=volatility, discount=discount)


def test_a_negative_cost_is_refused() -> None:
    with pytest.raises(MarketError, match="cost_eur is"):
        value_option(150.0, -1.0, drift=0.02, volatility=0.2, discount=0.06)
