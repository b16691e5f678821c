"""Flexibility for network operators: who is called, what counts as delivered, and what it earns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tricell.errors import MarketError
from tricell.markets.flexibility.flexibility_market import (
    FlexibilityRequest,
    Pricing,
    baseline_from_like_days,
    buy_flexibility,
    pay_for_delivery,
    rebound_cost_eur,
    serve_requests,
)
from tricell.markets.order_table import Orders

KWH = 1e-9
EUR = 1e-9

Offer = tuple[int, int, float, int]
"""Energy in kWh, price in cents, sensitivity, kWh by which the meter is below the baseline."""

offers = st.lists(
    st.tuples(
        st.integers(1, 6),
        st.integers(-5, 40),
        st.sampled_from([-0.5, 0.0, 0.25, 0.5, 1.0]),
        st.integers(-2, 8),
    ),
    max_size=7,
)
pricings: st.SearchStrategy[Pricing] = st.sampled_from(["pay_as_bid", "pay_as_clear"])


def orders_of(book: list[Offer]) -> Orders:
    return Orders.of(
        id=[f"o{n:02d}" for n in range(len(book))],
        side=[-1.0] * len(book),
        energy_kwh=[float(each[0]) for each in book],
        price_eur_per_kwh=[each[1] / 100 for each in book],
    )


def column(book: list[Offer], place: int) -> Any:
    return np.array([each[place] for each in book], dtype=np.float64)


@settings(max_examples=150, deadline=None)
@given(offers, st.integers(0, 15), pricings)
def test_the_cheapest_effects_are_called_until_the_need_is_met(
    book: list[Offer], need: int, pricing: Pricing
) -> None:
    effect = column(book, 2)
    request = FlexibilityRequest("DSO", need, effect, pricing)
    bought = buy_flexibility(orders_of(book), request)
    accepted = bought.accepted_kwh
    assert (accepted <= column(book, 0) + KWH).all()
    assert not accepted[effect <= 0.0].any()
    assert float(accepted @ effect) + bought.unmet_kwh == pytest.approx(need, abs=KWH)
    useful = effect > 0.0
    if bought.unmet_kwh > KWH:
        np.testing.assert_allclose(accepted[useful], column(book, 0)[useful])
    if bought.clearing_price is None:
        assert not accepted.any()
        return
    taken = accepted > 0.0
    per_effect = column(book, 1)[useful] / 100 / effect[useful]
    cheaper = per_effect < bought.clearing_price - 1e-12
    np.testing.assert_allclose(accepted[useful][cheaper], column(book, 0)[useful][cheaper])
    assert (bought.price[taken] >= column(book, 1)[taken] / 100 - EUR).all()
    if pricing == "pay_as_clear":
        np.testing.assert_allclose(bought.price[taken], bought.clearing_price * effect[taken])


@settings(max_examples=150, deadline=None)
@given(offers, st.integers(0, 8), st.integers(0, 8), st.integers(0, 8), pricings)
def test_no_energy_is_sold_or_counted_as_delivered_twice(
    book: list[Offer], first: int, second: int, system: int, pricing: Pricing
) -> None:
    orders, reduced = orders_of(book), np.maximum(column(book, 3), 0.0)
    requests = [
        FlexibilityRequest("TSO", system, 1.0, pricing, 0.8, capacity_price=0.01, held_hours=4.0),
        FlexibilityRequest("DSO", first, column(book, 2), pricing, 0.5),
        FlexibilityRequest("DSO", second, 1.0, pricing),
    ]
    outcomes = serve_requests(orders, requests, 9.0, 9.0 - column(book, 3), 0.5)
    assert [each.request.operator for each in outcomes] == ["DSO", "DSO", "TSO"]
    assert outcomes[0].request is requests[1]
    accepted = sum(each.purchase.accepted_kwh for each in outcomes)
    delivered = sum(each.delivered_kwh for each in outcomes)
    assert (accepted <= orders.energy_kwh + KWH).all()
    assert (delivered <= np.minimum(reduced, accepted) + KWH).all()
    np.testing.assert_allclose(delivered, np.minimum(reduced, accepted), atol=KWH)
    alone = serve_requests(orders, requests[1:], 9.0, 9.0 - column(book, 3), 0.5)
    for with_tso, without in zip(outcomes, alone, strict=False):
        np.testing.assert_array_equal(with_tso.payment_eur, without.payment_eur)


def test_pay_falls_by_the_share_delivered_only_below_the_threshold() -> None:
    """4 kWh at 0.20: 3 delivered of 4 is 0.75; at a threshold of 0.8 it earns 0.75 of 0.60."""
    orders = orders_of([(4, 20, 1.0, 0)])
    for threshold, pay in ((0.75, 0.60), (0.8, 0.45), (0.0, 0.60)):
        request = FlexibilityRequest("DSO", 4.0, 1.0, "pay_as_bid", threshold)
        (outcome,) = serve_requests(orders, [request], 5.0, 2.0)
        assert outcome.cost_eur == pytest.approx(pay)


def test_rounding_of_the_meter_costs_nobody_their_pay() -> None:
    """5.1 - 2.1 is a little less than 3, which is 0.6 of 5 kWh."""
    request = FlexibilityRequest("DSO", 5.0, 1.0, "pay_as_bid", 0.6)
    (outcome,) = serve_requests(orders_of([(5, 20, 1.0, 0)]), [request], 5.1, 2.1)
    assert outcome.delivered_kwh[0] < 3.0
    assert outcome.cost_eur == pytest.approx(0.60)


def test_a_tso_product_also_pays_for_power_held_ready() -> None:
    """2 kWh in half an hour are 4 kW; 4 h at 0.01 make 0.16, and the energy 0.20 (a half: 0.05)."""
    request = FlexibilityRequest(
        "TSO", 2.0, pricing="pay_as_bid", threshold=0.9, capacity_price=0.01, held_hours=4.0
    )
    orders = orders_of([(3, 10, 1.0, 0)])
    (whole,) = serve_requests(orders, [request], 4.0, 2.0, hours=0.5)
    assert whole.cost_eur == pytest.approx(0.20 + 0.16)
    (half,) = serve_requests(orders, [request], 4.0, 3.0, hours=0.5)
    assert half.cost_eur == pytest.approx((0.10 + 0.16) * 0.5)


def test_more_use_than_the_baseline_is_no_delivery() -> None:
    request = FlexibilityRequest("DSO", 2.0, threshold=0.5)
    bought = buy_flexibility(orders_of([(3, 10, 1.0, 0)]), request)
    (outcome,) = serve_requests(orders_of([(3, 10, 1.0, 0)]), [request], 2.0, 3.0)
    assert outcome.delivered_kwh.tolist() == [0.0]
    assert outcome.cost_eur == 0.0
    assert pay_for_delivery(request, bought, np.array([2.0])).tolist() == pytest.approx([0.2])


def test_equal_offers_are_called_by_time_then_id() -> None:
    orders = Orders.of(
        id=["b", "a", "c"],
        side=[-1.0] * 3,
        energy_kwh=[1.0] * 3,
        price_eur_per_kwh=[0.1] * 3,
        time=[1, 1, 0],
    )
    bought = buy_flexibility(orders, FlexibilityRequest("DSO", 2.0))
    assert bought.accepted_kwh.tolist() == [0.0, 1.0, 1.0]


def test_no_offer_is_called_for_what_rounding_leaves() -> None:
    """0.7 + 0.1 is a little less than 0.8."""
    orders = Orders.of(
        id=["a", "b", "c"],
        side=[-1.0] * 3,
        energy_kwh=[0.7, 0.1, 1.0],
        price_eur_per_kwh=[0.1, 0.2, 0.9],
    )
    bought = buy_flexibility(orders, FlexibilityRequest("DSO", 0.8, pricing="pay_as_clear"))
    assert bought.accepted_kwh.tolist() == [0.7, 0.1, 0.0]
    assert bought.clearing_price == pytest.approx(0.2)
    assert bought.unmet_kwh == 0.0


# --- baselines ---


def test_the_baseline_is_the_mean_of_the_last_five_like_days_without_events() -> None:
    """Days 1 to 9, day k uses k kWh; 3 and 7 are events, 5 is a holiday: 9, 8, 6, 4, 2 are left."""
    days = np.arange(1.0, 10.0)
    kind = np.where(days == 5, "holiday", "workday")
    energy = days[:, np.newaxis] * np.array([1.0, 10.0])
    baseline = baseline_from_like_days(energy, kind, np.isin(days, [3, 7]), "workday")
    assert baseline.tolist() == pytest.approx([5.8, 58.0])
    assert baseline_from_like_days(energy, kind, days < 5, "holiday").tolist() == [5.0, 50.0]


def test_a_baseline_without_a_like_day_is_refused() -> None:
    with pytest.raises(MarketError, match="none of the last 2 days is of the kind 'holiday'"):
        baseline_from_like_days([[1.0], [2.0]], ["w", "w"], [False, False], "holiday")
    with pytest.raises(MarketError, match="none of the last 2 days"):
        baseline_from_like_days([[1.0], [2.0]], ["w", "w"], [True, True], "w")
    with pytest.raises(MarketError, match="as many day_kind and is_event; given are 1 and 2"):
        baseline_from_like_days([[1.0], [2.0]], ["w"], [True, True], "w")


def test_a_rebound_pays_the_imbalance_price() -> None:
    cost = rebound_cost_eur([1.0, 1.0], [1.5, 0.5], [0.2, 0.2])
    assert cost.tolist() == pytest.approx([0.1, 0.0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"need_kwh": -1.0}, "request of the DSO: need_kwh is -1"),
        ({"threshold": 1.5}, "threshold is 1"),
        ({"sensitivity": np.nan}, "sensitivity is nan"),
        ({"pricing": "free"}, "pricing is free; allowed is pay_as_bid or pay_as_clear"),
        ({"capacity_price": -0.1}, "capacity_price is"),
    ],
)
def test_a_request_that_cannot_be_served_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(MarketError, match=message):
        replace(FlexibilityRequest("DSO", 1.0), **change)


def test_offers_that_buy_and_columns_of_another_length_are_refused() -> None:
    buys = Orders.of(id=["x"], side=[1.0], energy_kwh=[1.0], price_eur_per_kwh=[0.1])
    with pytest.raises(MarketError, match="offer x buys"):
        buy_flexibility(buys, FlexibilityRequest("DSO", 1.0))
    one = orders_of([(1, 1, 1.0, 0)])
    with pytest.raises(MarketError, match=r"sensitivity has shape \(2,\)"):
        buy_flexibility(one, FlexibilityRequest("DSO", 1.0, np.ones(2)))
    with pytest.raises(MarketError, match="meter_kwh of offer 0 is nan"):
        serve_requests(one, [FlexibilityRequest("DSO", 1.0)], 1.0, np.nan)
