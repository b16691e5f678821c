"""Bilateral contract networks, consensus dispatch and energy tokens.

Numbers without a source are worked out by hand beside the test.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tricell.errors import MarketError
from tricell.markets.mechanism import MarketResult, MarketTerms
from tricell.markets.mechanisms.bilateral_contract_network import (
    BilateralContractNetwork,
    Contracts,
    agree_contracts,
    forward_settlement,
)
from tricell.markets.mechanisms.consensus_dispatch import (
    ConsensusDispatch,
    DispatchAgents,
    DispatchLinks,
    Rounds,
    dispatch_by_consensus,
)
from tricell.markets.mechanisms.energy_tokens import (
    Token,
    TokenBuyers,
    TokenOffers,
    TokenState,
    assign_tokens,
    count_tokens,
    settle_token,
    token_values,
)
from tricell.markets.mechanisms.token_venues import VenueBid, sell_at_venues
from tricell.markets.order_table import Orders

TERMS = MarketTerms(retail_price=0.30, feed_in_price=0.08)


@st.composite
def books(draw: st.DrawFn, most: int = 10) -> Orders:
    """Order books with ties, one side only and negative prices among them."""
    count = draw(st.integers(0, most))
    column = st.lists(st.integers(-10, 30), min_size=count, max_size=count)
    energy = st.lists(st.integers(1, 20), min_size=count, max_size=count)
    side = st.lists(st.sampled_from([1, -1]), min_size=count, max_size=count)
    return Orders.of(
        id=[f"o{n}" for n in range(count)],
        side=draw(side),
        energy_kwh=np.array(draw(energy)) / 10,
        price_eur_per_kwh=np.array(draw(column)) / 100,
    )


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


# Bilateral contract networks


@given(books())
@settings(deadline=None, max_examples=60)
def test_contract_network_is_sound_on_any_book(orders: Orders) -> None:
    assert_sound(orders, BilateralContractNetwork().clear(orders, TERMS))


def test_contract_network_leaves_no_gain_above_a_tick_between_partners() -> None:
    rng = np.random.default_rng(1)
    costs = [sorted(rng.integers(5, 30, 3) / 100) for _ in range(4)]
    values = [sorted(rng.integers(5, 30, 3) / 100, reverse=True) for _ in range(4)]
    seller, buyer = (grid.reshape(-1) for grid in np.meshgrid(range(4), range(4)))
    contracts = Contracts.of([f"k{n:02}" for n in range(16)], seller, buyer)
    result = agree_contracts(contracts, values=values, costs=costs, start=0.0, tick=0.01)
    for s, b in zip(seller[~result.agreed], buyer[~result.agreed], strict=True):
        sold = int(result.agreed[seller == s].sum())
        bought = int(result.agreed[buyer == b].sum())
        if sold < 3 and bought < 3:
            assert values[b][bought] - costs[s][sold] <= 0.01 + 1e-9


def test_contract_fee_goes_to_the_operator_and_can_stop_a_trade() -> None:
    orders = Orders.of(id=["b", "s"], side=[1, -1], energy_kwh=[1, 1], price_eur_per_kwh=[0.2, 0.1])
    result = BilateralContractNetwork(fee=0.05).clear(orders, TERMS)
    assert result.operator_surplus_eur == pytest.approx(0.05)
    assert_sound(orders, result)
    dear = BilateralContractNetwork(fee=0.11).clear(orders, TERMS)
    assert not dear.accepted_kwh.any()


def test_energy_that_is_no_whole_lot_is_left() -> None:
    orders = Orders.of(
        id=["b", "s"], side=[1, -1], energy_kwh=[0.35, 0.95], price_eur_per_kwh=[0.2, 0.1]
    )
    result = BilateralContractNetwork(lot_kwh=0.1).clear(orders, TERMS)
    assert result.accepted_kwh == pytest.approx([0.3, 0.3])


def test_contracts_are_made_with_the_nearest_sellers() -> None:
    orders = Orders.of(
        id=["b", "far", "near"],
        side=[1, -1, -1],
        energy_kwh=[1, 1, 1],
        price_eur_per_kwh=[0.3, 0.1, 0.2],
        node=[4, 9, 5],
    )
    result = BilateralContractNetwork(partners=1).clear(orders, TERMS)
    assert result.accepted_kwh == pytest.approx([1, 0, 1])


def test_prices_off_the_grid_of_ticks_are_kept_exact() -> None:
    contracts = Contracts.of(["k"], [0], [0])
    result = agree_contracts(contracts, values=[[0.104]], costs=[[0.095]], start=0.0, tick=0.01)
    assert result.agreed.tolist() == [True]
    assert result.price == pytest.approx([0.10])
    missed = agree_contracts(contracts, values=[[0.109]], costs=[[0.101]], start=0.0, tick=0.01)
    assert missed.agreed.tolist() == [False]


def test_contract_errors_name_what_is_wrong() -> None:
    with pytest.raises(MarketError, match="two contracts are named 'k'"):
        Contracts.of(["k", "k"], [0, 0], [0, 0])
    with pytest.raises(MarketError, match="1 entries of 'buyer'"):
        Contracts.of(["k", "l"], [0, 0], [0])
    contracts = Contracts.of(["k"], [0], [2])
    with pytest.raises(MarketError, match="names buyer 2; there are 1"):
        agree_contracts(contracts, values=[[0.1]], costs=[[0.1]], start=0.0, tick=0.01)
    with pytest.raises(MarketError, match="tick is 0"):
        agree_contracts(contracts, values=[], costs=[], start=0.0, tick=0.0)


@pytest.mark.parametrize(
    ("actual", "bill", "real_time", "rest"),
    # 4 kWh forward at 0.18; then real time at 0.24 up to 0.7 kWh, retail 0.30, feed-in 0.08
    [
        (4.0, 0.72, 0.0, 0.0),
        (4.5, 0.72 + 0.5 * 0.24, 0.5, 0.0),
        (3.0, 0.72 - 0.7 * 0.24 - 0.3 * 0.08, -0.7, -0.3),
    ],
)
def test_deviation_of_a_forward_settles_in_real_time_first(
    actual: float, bill: float, real_time: float, rest: float
) -> None:
    settled = forward_settlement(
        forward_kwh=4.0,
        forward_price=0.18,
        actual_kwh=actual,
        real_time_kwh=0.7,
        real_time_price=0.24,
        retail_price=0.30,
        feed_in_price=0.08,
    )
    assert settled == pytest.approx((bill, real_time, rest))


# Consensus dispatch


def two_producers_one_consumer() -> tuple[DispatchAgents, DispatchLinks]:
    """Both offers at 0.10 + 0.02 s, a consumer of 0.40 - 0.02 s who dislikes the second by 0.04."""
    return (
        DispatchAgents(
            slope=np.full(3, 0.02),
            intercept=np.array([0.1, 0.1, 0.4]),
            least_kwh=np.array([0.0, 0.0, -20.0]),
            most_kwh=np.array([20.0, 20.0, 0.0]),
        ),
        DispatchLinks(
            producer=np.array([0, 1]),
            consumer=np.array([2, 2]),
            producer_gamma=np.zeros(2),
            consumer_gamma=np.array([0.0, -0.04]),
        ),
    )


@given(books())
@settings(deadline=None, max_examples=40)
def test_consensus_is_sound_on_any_book(orders: Orders) -> None:
    assert_sound(orders, ConsensusDispatch().clear(orders, TERMS))


@pytest.mark.parametrize("late_share", [0.0, 0.3])
def test_consensus_meets_the_marginal_costs_also_with_late_partners(late_share: float) -> None:
    # By hand: price = 0.1 + 0.02 q of each producer, 0.4 - 0.02 (q1 + q2) of the consumer.
    agents, links = two_producers_one_consumer()
    result = dispatch_by_consensus(agents, links, Rounds(late_share=late_share, seed=3))
    assert result.converged
    assert result.energy_kwh == pytest.approx([17 / 3, 11 / 3], abs=1e-4)
    assert result.price == pytest.approx([0.21333, 0.17333], abs=1e-4)


def test_consensus_that_needs_more_rounds_says_so_and_trades_nothing() -> None:
    agents, links = two_producers_one_consumer()
    result = dispatch_by_consensus(agents, links, Rounds(most=3))
    assert not result.converged
    assert not result.energy_kwh.any()
    orders = Orders.of(id=["b", "s"], side=[1, -1], energy_kwh=[1, 1], price_eur_per_kwh=[0.3, 0.1])
    slot = ConsensusDispatch(max_rounds=1).clear(orders, TERMS)
    assert slot.flags == {"not converged"}
    assert not slot.accepted_kwh.any()


def test_consensus_honours_a_least_production_and_refuses_an_impossible_one() -> None:
    agents, links = two_producers_one_consumer()
    must_run = DispatchAgents(
        agents.slope, agents.intercept, np.array([0.0, 8.0, -20.0]), agents.most_kwh
    )
    result = dispatch_by_consensus(must_run, links)
    assert result.energy_kwh[1] == pytest.approx(8.0, abs=1e-4)
    nobody = DispatchLinks(*(column[:1] for column in vars(links).values()))
    assert not dispatch_by_consensus(must_run, nobody).converged


def test_consensus_prefers_near_sellers_when_distance_weighs() -> None:
    orders = Orders.of(
        id=["b", "far", "near"],
        side=[1, -1, -1],
        energy_kwh=[1, 1, 1],
        price_eur_per_kwh=[0.3, 0.1, 0.11],
        node=[4, 9, 5],
    )
    result = ConsensusDispatch(distance_weight=0.02).clear(orders, TERMS)
    assert result.accepted_kwh == pytest.approx([1, 0, 1], abs=1e-3)


def test_consensus_errors_name_what_is_wrong() -> None:
    agents, links = two_producers_one_consumer()
    again = DispatchLinks(*(np.append(column, column[0]) for column in vars(links).values()))
    with pytest.raises(MarketError, match="link 3 joins agents 0 and 2"):
        dispatch_by_consensus(agents, again)
    chain = DispatchLinks(np.array([0, 2]), np.array([2, 1]), np.zeros(2), np.zeros(2))
    with pytest.raises(MarketError, match="agent 2 is producer of one link and consumer"):
        dispatch_by_consensus(agents, chain)
    with pytest.raises(MarketError, match="rho is 0"):
        dispatch_by_consensus(agents, links, Rounds(rho=0.0))


# Energy tokens


def token_market(
    asks: list[float], base: list[float], units: list[int]
) -> tuple[TokenOffers, TokenBuyers]:
    count, buyers = len(asks), len(base)
    return (
        TokenOffers(
            ask=np.array(asks, dtype=float),
            green=np.arange(count) % 2 == 0,
            zone=np.arange(count) % 2,
            slot=np.zeros(count, dtype=np.int64),
        ),
        TokenBuyers(
            base=np.array(base, dtype=float),
            green_value=np.full(buyers, 0.02),
            zone_value=np.full(buyers, 0.01),
            slot_value=np.zeros(buyers),
            zone=np.zeros(buyers, dtype=np.int64),
            slot=np.zeros(buyers, dtype=np.int64),
            units=np.array(units, dtype=np.int64),
        ),
    )


prices = st.integers(0, 30).map(lambda cents: cents / 100)


@given(
    st.lists(prices, max_size=6),
    st.lists(st.tuples(prices, st.integers(0, 3)), max_size=4),
)
@settings(deadline=None)
def test_every_token_trade_is_worth_it_and_within_units(
    asks: list[float], buyers: list[tuple[float, int]]
) -> None:
    offers, demand = token_market(asks, [b for b, _ in buyers], [u for _, u in buyers])
    result = assign_tokens(offers, demand)
    value = token_values(offers, demand)[result.token, result.buyer]
    assert (result.price <= value + 1e-9).all()
    assert (result.price >= offers.ask[result.token] - 1e-9).all()
    assert (np.bincount(result.buyer, minlength=len(buyers)) <= demand.units).all()
    assert sorted([*result.token, *result.unsold]) == list(range(len(asks)))


def test_a_token_that_gains_nothing_is_still_sold() -> None:
    offers, demand = token_market([0.10], [0.07], [1])  # 0.07 + 0.02 green + 0.01 zone
    result = assign_tokens(offers, demand)
    assert result.price == pytest.approx([0.10])


def test_tokens_are_conserved_over_their_lives() -> None:
    promised = [Token(id=f"t{n}", owner="s", slot=0) for n in range(5)]
    ends = [
        settle_token(token, buyer=buyer, produced=produced, retail_price=0.3, feed_in_price=0.08)
        for token, buyer, produced in zip(
            promised, ["x", None, "x", None, "x"], [True, True, False, False, True], strict=True
        )
    ]
    held = Token(id="h", owner="s", slot=0).to(TokenState.MINTED)
    count = count_tokens((*(token for token, _ in ends), held))
    assert count.minted == count.retired + count.expired + count.held == 4
    assert (count.retired, count.expired, count.held, count.broken_promises) == (2, 1, 1, 2)
    assert [owed for _, owed in ends] == pytest.approx([0.0, -0.08, 0.3, 0.0, 0.0])


def test_a_token_settles_once() -> None:
    token = Token(id="t", owner="s", slot=0)
    settled, _ = settle_token(token, buyer="x", produced=True, retail_price=0.3, feed_in_price=0.08)
    assert settled.owner == "x"
    with pytest.raises(MarketError, match="'t' is retired and cannot become minted"):
        settle_token(settled, buyer="y", produced=True, retail_price=0.3, feed_in_price=0.08)
    with pytest.raises(MarketError, match="'t' is there 2 times"):
        count_tokens((token, token))


def test_tokens_take_the_best_net_bid_and_first_listed_among_equals() -> None:
    bids = [
        VenueBid(venue=0, price=0.20, fee=0.5),
        VenueBid(venue=1, price=0.15, units=2),
        VenueBid(venue=2, price=0.15, green_only=True),
    ]
    result = sell_at_venues([0.1, 0.1, 0.1, 0.2], [False, True, True, True], bids, 0.08)
    assert result.bid == (1, 1, 2, -1)
    assert result.revenue_eur == pytest.approx(3 * 0.15 + 0.08)


def test_venue_without_bids_pays_the_feed_in_price_and_fees_are_shares() -> None:
    assert sell_at_venues([0.1], [True], [], 0.08).revenue_eur == pytest.approx(0.08)
    with pytest.raises(MarketError, match="bid 1: the fee is 5"):
        sell_at_venues([0.1], [True], [VenueBid(venue=0, price=0.2, fee=5)], 0.08)
