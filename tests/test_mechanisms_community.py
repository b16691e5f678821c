"""Communities: their manager, the market between them, and what they publish.

Numbers without a source are worked out by hand beside the test.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tricell.errors import MarketError
from tricell.markets.mechanism import MarketResult, MarketTerms, Mechanism
from tricell.markets.mechanisms.community_manager import (
    CommunityManager,
    CommunityMembers,
    CommunityOperation,
    balance_by_messages,
    community_fairness,
    import_shares,
    operate_community,
)
from tricell.markets.mechanisms.composite_market import CompositeMarket, trade_residuals
from tricell.markets.mechanisms.group_privacy import published_sums
from tricell.markets.mechanisms.uniform_price import UniformPrice
from tricell.markets.order_table import Orders

TERMS = MarketTerms(retail_price=0.30, feed_in_price=0.08)
EVERY_SLOT_MECHANISM: list[Mechanism] = [
    CommunityManager(),
    CommunityManager(slope=0.05),
    CommunityManager(mode="competitive"),
    CompositeMarket(),
    CompositeMarket(inside="manager", fee=0.02),
]


@st.composite
def books(draw: st.DrawFn, most: int = 10) -> Orders:
    """Order books with ties, one side only and negative prices among them."""
    count = draw(st.integers(0, most))

    def column(elements: st.SearchStrategy[int]) -> np.ndarray:
        return np.array(draw(st.lists(elements, min_size=count, max_size=count)), dtype=float)

    return Orders.of(
        id=[f"o{n}" for n in range(count)],
        side=column(st.sampled_from([1, -1])),
        energy_kwh=column(st.integers(1, 20)) / 10,
        price_eur_per_kwh=column(st.integers(-10, 40)) / 100,
        attributes={"community": column(st.integers(-1, 2))},
    )


@st.composite
def communities(draw: st.DrawFn) -> CommunityMembers:
    """Generators, loads and fixed members; some have constant marginal cost."""
    count = draw(st.integers(1, 7))

    def column(low: int, high: int) -> np.ndarray:
        elements = st.integers(low, high)
        return np.array(draw(st.lists(elements, min_size=count, max_size=count)), dtype=float)

    kind, size = column(0, 2), column(1, 8)
    return CommunityMembers(
        slope=column(0, 4) / 50,
        intercept=column(0, 40) / 100,
        least_kwh=np.select([kind == 0, kind == 1], [np.zeros(count), -size], size - 4),
        most_kwh=np.select([kind == 0, kind == 1], [size, np.zeros(count)], size - 4),
    )


def cost(members: CommunityMembers, operation: CommunityOperation) -> float:
    x = operation.injection_kwh
    own = np.sum(0.5 * members.slope * x**2 + members.intercept * x)
    return float(own + 0.30 * operation.imports_kwh - 0.08 * operation.exports_kwh)


def assert_sound(orders: Orders, result: MarketResult) -> None:
    """Energy and money balance, limits hold and nobody is worse off than by its own order."""
    bought = result.accepted_kwh[orders.side > 0].sum()
    sold = result.accepted_kwh[orders.side < 0].sum()
    assert bought == pytest.approx(sold, abs=1e-9)
    assert result.payment_eur.sum() == pytest.approx(result.operator_surplus_eur, abs=1e-9)
    assert result.operator_surplus_eur >= -1e-9
    assert (result.accepted_kwh >= 0.0).all()
    assert (result.accepted_kwh <= orders.energy_kwh + 1e-9).all()
    gain = orders.side * orders.price_eur_per_kwh * result.accepted_kwh - result.payment_eur
    assert (gain >= -1e-9).all()


@pytest.mark.parametrize("mechanism", EVERY_SLOT_MECHANISM, ids=repr)
@given(orders=books(), with_retailer=st.booleans())
@settings(deadline=None, max_examples=60)
def test_slot_mechanism_is_sound_on_any_book(
    mechanism: Mechanism, orders: Orders, with_retailer: bool
) -> None:
    terms = TERMS if with_retailer else MarketTerms()
    assert_sound(orders, mechanism.clear(orders, terms))


# Community manager


@given(communities())
@settings(deadline=None, max_examples=200)
def test_manager_balances_settles_and_prices_within_the_retailers_prices(
    members: CommunityMembers,
) -> None:
    result = operate_community(members, 0.30, 0.08)
    injected = result.injection_kwh.sum() + result.imports_kwh - result.exports_kwh
    assert injected == pytest.approx(0.0, abs=1e-9)
    paid = 0.30 * result.imports_kwh - 0.08 * result.exports_kwh
    assert result.bill_eur.sum() == pytest.approx(paid, abs=1e-9)
    assert (result.injection_kwh >= members.least_kwh - 1e-12).all()
    assert (result.injection_kwh <= members.most_kwh + 1e-12).all()
    if result.price is not None:
        assert 0.08 <= result.price <= 0.30
    if result.imports_kwh > 0.0:
        assert result.price == 0.30
    if result.exports_kwh > 0.0:
        assert result.price == 0.08


@given(communities())
@settings(deadline=None, max_examples=40)
def test_messages_reach_the_cost_that_the_manager_computes(members: CommunityMembers) -> None:
    central = operate_community(members, 0.30, 0.08)
    private = balance_by_messages(members, 0.30, 0.08)
    assert private.converged
    assert cost(members, private) == pytest.approx(cost(members, central), abs=1e-6)


def test_a_range_of_prices_gives_its_middle_and_equal_costs_are_rationed() -> None:
    balanced = CommunityMembers(
        *(np.array(c, dtype=float) for c in ([0, 0], [0, 0], [2, -2], [2, -2]))
    )
    assert operate_community(balanced, 0.30, 0.08).price == pytest.approx(0.19)
    # Two generators of 3 and 1 kWh at 0.1 serve a fixed 2 kWh: 1.5 and 0.5.
    equal = CommunityMembers(
        slope=np.zeros(3),
        intercept=np.array([0.1, 0.1, 0.0]),
        least_kwh=np.array([0.0, 0.0, -2.0]),
        most_kwh=np.array([3.0, 1.0, -2.0]),
    )
    result = operate_community(equal, 0.30, 0.08)
    assert result.price == pytest.approx(0.1)
    assert result.injection_kwh == pytest.approx([1.5, 0.5, -2.0])


def test_community_where_nobody_moves_has_no_price() -> None:
    idle = CommunityMembers(np.zeros(1), np.array([0.5]), np.zeros(1), np.array([3.0]))
    result = operate_community(idle, 0.30, 0.08)
    assert result.price is None
    assert not result.injection_kwh.any()


def test_ten_thousand_members_are_operated_exactly() -> None:
    rng = np.random.default_rng(3)
    load = np.arange(10_000) % 2 == 0
    size = rng.uniform(0, 2, 10_000)
    members = CommunityMembers(
        slope=rng.uniform(0, 0.1, 10_000),
        intercept=rng.uniform(0.0, 0.4, 10_000),
        least_kwh=np.where(load, -size, 0.0),
        most_kwh=np.where(load, 0.0, size),
    )
    result = operate_community(members, 0.30, 0.08)
    assert result.imports_kwh == result.exports_kwh == 0.0
    assert result.injection_kwh.sum() == pytest.approx(0.0, abs=1e-8)


def test_import_shares_follow_deficits_up_to_a_cap() -> None:
    members = CommunityMembers(
        np.zeros(3), np.zeros(3), np.array([-6.0, -3.0, -1.0]), np.array([-6.0, -3.0, -1.0])
    )
    operation = operate_community(members, 0.30, 0.08)
    assert import_shares(operation) == pytest.approx([6.0, 3.0, 1.0])
    # Cap 4 each: the rest of 6 kWh splits 3:1 into 4.5 and 1.5, so the second is capped too.
    assert import_shares(operation, cap=0.4) == pytest.approx([4.0, 4.0, 2.0])
    assert import_shares(operation, cap=0.3) is None


def test_fairness_of_one_price_is_complete_in_prices() -> None:
    members = CommunityMembers(
        np.zeros(2), np.zeros(2), np.array([-3.0, 1.0]), np.array([-3.0, 1.0])
    )
    fairness = community_fairness(operate_community(members, 0.30, 0.08), 0.30, 0.08)
    assert fairness.jain == pytest.approx(16 / 20)
    assert (fairness.qoe, fairness.min_max) == pytest.approx((1.0, 1.0))


def test_community_errors_name_what_is_wrong() -> None:
    members = CommunityMembers(np.array([-1.0]), np.zeros(1), np.zeros(1), np.ones(1))
    with pytest.raises(MarketError, match="member 0: slope -1"):
        operate_community(members, 0.3, 0.08)
    with pytest.raises(MarketError, match=r"exports earn 0\.3 EUR/kWh and imports cost 0\.08"):
        operate_community(members, 0.08, 0.3)


def test_competitive_community_is_a_call_auction() -> None:
    orders = Orders.of(id=["b", "s"], side=[1, -1], energy_kwh=[1, 2], price_eur_per_kwh=[0.2, 0.1])
    competitive = CommunityManager(mode="competitive").clear(orders, TERMS)
    assert competitive.buy_price == UniformPrice().clear(orders, TERMS).buy_price


def test_no_float_residue_becomes_a_trade() -> None:
    orders = Orders.of(
        id=["a", "b", "c", "s"],
        side=[1, 1, 1, -1],
        energy_kwh=[0.1, 0.2, 0.3, 0.3],
        price_eur_per_kwh=[0.3, 0.28, 0.1, 0.09],
    )
    for mechanism in (CommunityManager(), CompositeMarket()):
        result = mechanism.clear(orders, TERMS)
        assert result.accepted_kwh == pytest.approx([0.1, 0.2, 0.0, 0.3], abs=1e-12)
        assert result.accepted_kwh[2] == 0.0


# Composite market


def test_communities_net_inside_before_they_trade_outside() -> None:
    # Community 0 nets 1 kWh at the middle rate 0.19; its other kWh meets the peer at 0.08 to 0.26.
    orders = Orders.of(
        id=["gen", "load", "peer"],
        side=[-1, 1, 1],
        energy_kwh=[2, 1, 1],
        price_eur_per_kwh=[0.08, 0.30, 0.26],
        attributes={"community": [0, 0, -1]},
    )
    result = CompositeMarket(fee=0.02).clear(orders, TERMS)
    outside = 0.5 * (0.08 + 0.24)
    assert result.accepted_kwh == pytest.approx([2, 1, 1])
    assert result.payment_eur == pytest.approx([-0.19 - outside, 0.19, outside + 0.02])
    assert result.operator_surplus_eur == pytest.approx(0.02)


def test_balanced_communities_trade_nothing_and_have_no_price() -> None:
    nobody = Orders.of(id=[], side=[], energy_kwh=[], price_eur_per_kwh=[])
    result = trade_residuals(
        ["m"], np.array([0.1 + 0.2 - 0.3]), nobody, retail_price=0.3, feed_in_price=0.08
    )
    assert result.price is None
    assert result.accepted_kwh.tolist() == [0.0]
    with pytest.raises(MarketError, match="2 communities but 1 residuals"):
        trade_residuals(["m", "n"], np.zeros(1), nobody, retail_price=0.3, feed_in_price=0.08)


# Privacy


def test_sums_of_small_groups_stay_unpublished() -> None:
    values = {"a": 1.0, "b": 2.0, "c": -0.5}
    groups = {"all": ["a", "b", "c"], "twice": ["a", "a", "b"], "absent": ["a", "b", "z"]}
    assert published_sums(values, groups, 3) == {"all": 2.5, "twice": None, "absent": None}
    with pytest.raises(MarketError, match="contributors of a published sum are 0"):
        published_sums(values, groups, 0)
