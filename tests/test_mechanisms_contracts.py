"""Posted listings, contracts between two agents, negotiation: their promises and edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tricell.errors import MarketError
from tricell.markets.mechanism import MarketResult, MarketTerms
from tricell.markets.mechanisms.bilateral_contracts import (
    BilateralContract,
    BilateralContracts,
    contract_price,
    settle_contracts,
)
from tricell.markets.mechanisms.posted_listings import (
    NetworkCheck,
    PostedListings,
    advance,
    settle_listings,
)
from tricell.markets.mechanisms.price_negotiation import Concession, negotiate
from tricell.markets.mechanisms.uniform_price import UniformPrice
from tricell.markets.order_table import Orders

RETAIL, FEED_IN = 0.30, 0.08
NAMES = ("Ada", "Ben", "Cem", "Dea")
TERMS = MarketTerms(retail_price=RETAIL, feed_in_price=FEED_IN, agent_names=NAMES)
# EUR and kWh of at most 25 orders of at most 5 kWh: rounding of sums stays below this.
ROUNDING = 1e-9


@st.composite
def books(draw: st.DrawFn) -> Orders:
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from([1.0, -1.0]),
                st.integers(1, 50).map(lambda n: n / 10),
                st.integers(-5, 40).map(lambda cent: cent / 100),
                st.integers(0, 3),
                st.integers(0, 2),
            ),
            max_size=25,
        )
    )
    return Orders.of(
        id=[f"o{n}" for n in range(len(rows))],
        side=[row[0] for row in rows],
        energy_kwh=[row[1] for row in rows],
        price_eur_per_kwh=[row[2] for row in rows],
        time=[row[3] for row in rows],
        agent=[row[3] for row in rows],
        node=[row[4] for row in rows],
    )


def assert_balanced(orders: Orders, result: MarketResult) -> None:
    """Energy bought is sold, nobody trades more than offered, and money neither comes nor goes."""
    assert float(orders.side @ result.accepted_kwh) == pytest.approx(0.0, abs=ROUNDING)
    assert (result.accepted_kwh <= orders.energy_kwh + ROUNDING).all()
    assert (result.accepted_kwh >= 0.0).all()
    assert result.payment_eur.sum() == pytest.approx(0.0, abs=ROUNDING)
    assert result.operator_surplus_eur == pytest.approx(0.0, abs=ROUNDING)
    assert result.trades is not None
    # no rounding residue is a trade: the least energy in these books is 0.1 kWh
    assert (result.trades.energy_kwh > 1e-6).all()


# --- posted listings ---


@pytest.mark.parametrize("check", ["reject", "partial"])
@settings(deadline=None)
@given(orders=books(), limits=st.dictionaries(st.integers(0, 2), st.integers(0, 80)))
def test_posted_listings_keep_feeder_limits_and_everybodys_price(
    check: NetworkCheck, orders: Orders, limits: dict[int, int]
) -> None:
    limit_kwh = {node: limit / 10 for node, limit in limits.items()}
    result = PostedListings(network_check=check, feeder_limit_kwh=limit_kwh).clear(orders, TERMS)
    assert_balanced(orders, result)
    selling = orders.side < 0.0
    for node, limit in limit_kwh.items():
        sold = result.accepted_kwh[selling & (orders.node == node)].sum()
        assert sold <= limit + ROUNDING
    gain = orders.side * orders.price_eur_per_kwh * result.accepted_kwh - result.payment_eur
    assert (gain >= -ROUNDING).all()
    assert gain[selling] == pytest.approx(np.zeros(int(selling.sum())), abs=ROUNDING)
    assert not (result.accepted_kwh[result.rejected] > 0.0).any()
    assert check == "reject" or not result.rejected.any()


@settings(deadline=None)
@given(orders=books())
def test_without_limits_both_checks_agree(orders: Orders) -> None:
    one, other = (
        PostedListings(network_check=check).clear(orders, TERMS).accepted_kwh
        for check in ("reject", "partial")
    )
    assert one.tolist() == other.tolist()


def test_listings_are_not_efficient_because_the_first_order_takes_the_cheapest() -> None:
    """The thrifty buyer comes first, so both trade for 0.15 EUR instead of one for 0.20 EUR."""
    orders = Orders.of(
        id=["keen", "thrifty", "cheap", "dear"],
        side=[1, 1, -1, -1],
        energy_kwh=[1, 1, 1, 1],
        price_eur_per_kwh=[0.30, 0.15, 0.10, 0.20],
        time=[1, 0, 0, 0],
    )
    assert PostedListings().clear(orders, TERMS).welfare_eur == pytest.approx(0.15)
    assert UniformPrice().clear(orders, TERMS).welfare_eur == pytest.approx(0.20)


def test_listings_tell_what_became_of_each_order() -> None:
    orders = Orders.of(
        id=["served", "too much", "too cheap", "pv", "idle"],
        side=[1, 1, 1, -1, -1],
        energy_kwh=[1, 3, 1, 5, 1],
        price_eur_per_kwh=[0.30, 0.30, 0.05, 0.10, 0.40],
        time=[0, 1, 2, 0, 0],
        node=[-1, -1, -1, 7, 7],
    )
    result = PostedListings(feeder_limit_kwh={7: 2.0}).clear(orders, TERMS)
    assert result.state == ("ACCEPTED", "REJECTED", "ORDERED", "ACCEPTED", "LISTED")
    assert result.rejected.tolist() == [False, True, False, False, False]


def test_a_trimmed_order_loses_its_most_expensive_energy_on_the_feeder() -> None:
    orders = Orders.of(
        id=["b", "far cheap", "far dear", "near"],
        side=[1, -1, -1, -1],
        energy_kwh=[6, 2, 2, 2],
        price_eur_per_kwh=[0.30, 0.10, 0.20, 0.15],
        node=[-1, 1, 1, 2],
    )
    market = PostedListings(network_check="partial", feeder_limit_kwh={1: 2.5})
    assert market.clear(orders, TERMS).accepted_kwh.tolist() == [4.5, 2.0, 0.5, 2.0]


def test_what_a_seller_does_not_deliver_is_bought_on_its_account() -> None:
    orders = Orders.of(
        id=["b", "s"], side=[1, -1], energy_kwh=[3, 2], price_eur_per_kwh=[0.30, 0.10]
    )
    result = PostedListings().clear(orders, TERMS)
    assert settle_listings(orders, result, RETAIL) == pytest.approx([0.5, -0.2])
    short = settle_listings(orders, result, RETAIL, [0.0, 1.5])
    assert short == pytest.approx([0.5, -0.2 + 0.5 * RETAIL])
    with pytest.raises(MarketError, match="order 's': delivered_kwh is nan"):
        settle_listings(orders, result, RETAIL, [0.0, np.nan])


def test_an_order_goes_through_its_states_in_sequence() -> None:
    assert advance(advance("ORDERED", "ACCEPTED"), "DELIVERED") == "DELIVERED"
    with pytest.raises(MarketError, match="REJECTED cannot become DELIVERED; allowed is SETTLED"):
        advance("REJECTED", "DELIVERED")


@pytest.mark.parametrize("check", ["reject", "partial"])
def test_three_listings_of_tenths_leave_no_residue(check: NetworkCheck) -> None:
    orders = Orders.of(
        id=["b", "c", "s1", "s2"],
        side=[1, 1, -1, -1],
        energy_kwh=[0.3, 0.3, 0.1, 0.2],
        price_eur_per_kwh=[0.3, 0.3, 0.1, 0.1],
        time=[0, 1, 0, 0],
        node=[-1, -1, 1, 1],
    )
    market = PostedListings(network_check=check, feeder_limit_kwh={1: 0.3})
    result = market.clear(orders, TERMS)
    assert result.accepted_kwh == pytest.approx([0.3, 0.0, 0.1, 0.2])
    assert result.trades is not None
    assert len(result.trades) == 2


def test_a_negative_feeder_limit_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        PostedListings(feeder_limit_kwh={1: -1.0})


# --- bilateral contracts ---


@st.composite
def contract_lists(draw: st.DrawFn) -> tuple[BilateralContract, ...]:
    pairs = draw(st.lists(st.permutations(NAMES).map(lambda names: names[:2]), max_size=8))
    return tuple(
        BilateralContract(
            id=f"c{n}",
            seller=pair[0],
            buyer=pair[1],
            price=draw(st.integers(-5, 40)) / 100,
            cap_kwh=draw(st.none() | st.integers(0, 30).map(lambda tenth: tenth / 10)),
            priority=draw(st.integers(0, 2)),
        )
        for n, pair in enumerate(pairs)
    )


@settings(deadline=None)
@given(orders=books(), contracts=contract_lists())
def test_contracts_deliver_within_caps_and_orders(
    orders: Orders, contracts: tuple[BilateralContract, ...]
) -> None:
    result = BilateralContracts(contracts=contracts).clear(orders, TERMS)
    assert_balanced(orders, result)
    assert result.trades is not None
    pairs = {(each.seller, each.buyer) for each in contracts}
    for sell, buy in zip(result.trades.sell, result.trades.buy, strict=True):
        assert (NAMES[orders.agent[sell]], NAMES[orders.agent[buy]]) in pairs


@settings(deadline=None)
@given(
    net=st.lists(st.integers(-50, 50).map(lambda n: n / 10), min_size=4, max_size=4),
    contracts=contract_lists(),
)
def test_contracts_and_retailer_settle_every_metered_kwh_once(
    net: list[float], contracts: tuple[BilateralContract, ...]
) -> None:
    result = settle_contracts(net, contracts, NAMES, retail_price=RETAIL, feed_in_price=FEED_IN)
    left = result.residual_kwh
    assert left.sum() == pytest.approx(sum(net), abs=ROUNDING)
    assert (np.abs(left) <= np.abs(net)).all()
    assert (left * np.array(net) >= 0.0).all()
    outside = np.maximum(left, 0.0).sum() * RETAIL - np.maximum(-left, 0.0).sum() * FEED_IN
    assert result.bill_eur.sum() == pytest.approx(outside, abs=ROUNDING)
    by_id = {each.id: each for each in contracts}
    for contract, energy in zip(
        result.deliveries.contracts, result.deliveries.energy_kwh, strict=True
    ):
        cap = by_id[contract.id].cap_kwh
        assert 0.0 < energy <= (np.inf if cap is None else cap)


def test_contracts_deliver_by_priority_then_id() -> None:
    contracts = [
        BilateralContract(id="z", seller="Ada", buyer="Ben", price=0.1, priority=1),
        BilateralContract(id="b", seller="Ada", buyer="Cem", price=0.1, priority=2),
        BilateralContract(id="a", seller="Ada", buyer="Dea", price=0.1, priority=2),
    ]
    result = settle_contracts(
        [-3.0, 1.0, 1.5, 1.5], contracts, NAMES, retail_price=RETAIL, feed_in_price=FEED_IN
    )
    assert [each.id for each in result.deliveries.contracts] == ["z", "a", "b"]
    assert result.deliveries.energy_kwh.tolist() == [1.0, 1.5, 0.5]


@pytest.mark.parametrize(
    ("index", "floor", "ceiling", "price"),
    [
        (0.10, None, None, 0.11),
        (0.10, 0.12, 0.20, 0.12),
        (0.30, 0.12, 0.20, 0.20),
        (0.30, 0.12, None, 0.29),
        (-0.10, None, 0.20, -0.07),
    ],
)
def test_an_indexed_price_stays_between_floor_and_ceiling(
    index: float, floor: float | None, ceiling: float | None, price: float
) -> None:
    """0.02 + 0.9 index, clipped."""
    contract = BilateralContract(
        id="c",
        seller="Ada",
        buyer="Ben",
        index_offset=0.02,
        index_factor=0.9,
        floor=floor,
        ceiling=ceiling,
    )
    assert contract_price(contract, index) == pytest.approx(price)
    with pytest.raises(MarketError, match="'c' follows an index, but index is not given"):
        contract_price(contract, None)


def test_a_contract_binds_also_where_the_retailer_is_better() -> None:
    """The counterexample to individual rationality that the mechanism admits."""
    contract = BilateralContract(id="c", seller="Ada", buyer="Ben", price=0.40)
    result = settle_contracts(
        [-1.0, 1.0, 0.0, 0.0], [contract], NAMES, retail_price=RETAIL, feed_in_price=FEED_IN
    )
    assert result.bill_eur[1] == pytest.approx(0.40)
    assert result.bill_eur[1] > RETAIL


def test_a_wrong_contract_is_named() -> None:
    stranger = BilateralContract(id="c", seller="Eve", buyer="Ben", price=0.1)
    with pytest.raises(MarketError, match="contract 'c': seller is 'Eve'"):
        settle_contracts([1.0] * 4, [stranger], NAMES, retail_price=0.3, feed_in_price=0.1)
    twin = BilateralContract(id="c", seller="Ada", buyer="Ben", price=0.1)
    with pytest.raises(MarketError, match="two contracts have the id 'c'"):
        settle_contracts([1.0] * 4, [twin, twin], NAMES, retail_price=0.3, feed_in_price=0.1)
    with pytest.raises(ValidationError, match="seller and buyer are both 'Ada'"):
        BilateralContract(id="c", seller="Ada", buyer="Ada", price=0.1)
    with pytest.raises(ValidationError, match=r"floor 0\.2 lies above ceiling 0\.1"):
        BilateralContract(id="c", seller="Ada", buyer="Ben", floor=0.2, ceiling=0.1)
    with pytest.raises(MarketError, match="agent 'Ben': net_kwh is nan"):
        settle_contracts([1, np.nan, 0, 0], [], NAMES, retail_price=0.3, feed_in_price=0.1)


def test_a_contract_market_needs_the_names_of_the_agents_in_its_book() -> None:
    contract = BilateralContract(id="c", seller="Ada", buyer="Ben", price=0.1)
    orders = Orders.of(id=["o"], side=[1.0], energy_kwh=[1.0], price_eur_per_kwh=[0.3], agent=[9])
    with pytest.raises(MarketError, match="order 'o': agent is 9"):
        BilateralContracts(contracts=(contract,)).clear(orders, TERMS)
    assert not BilateralContracts().clear(orders, MarketTerms()).accepted_kwh.any()


def test_a_contract_between_tenths_leaves_no_residue() -> None:
    orders = Orders.of(
        id=["b1", "b2", "s"],
        side=[1, 1, -1],
        energy_kwh=[0.1, 0.2, 0.3],
        price_eur_per_kwh=[0.3, 0.3, 0.08],
        agent=[1, 1, 0],
    )
    contracts = tuple(
        BilateralContract(id=name, seller="Ada", buyer="Ben", price=0.1) for name in ("c", "d")
    )
    result = BilateralContracts(contracts=contracts).clear(orders, TERMS)
    assert result.accepted_kwh == pytest.approx([0.1, 0.2, 0.3])
    assert result.trades is not None
    assert len(result.trades) == 2


# --- negotiation ---

prices = st.integers(0, 40).map(lambda cent: cent / 100)


@settings(deadline=None)
@given(
    buyer=st.builds(Concession, prices, prices, prices),
    seller=st.builds(Concession, prices, prices, prices),
    rounds=st.integers(0, 50),
)
def test_a_deal_respects_both_limits_and_fails_only_if_prices_do_not_meet(
    buyer: Concession, seller: Concession, rounds: int
) -> None:
    result = negotiate(buyer, seller, rounds)
    if result.price is None:
        assert result.round == rounds
        assert result.bid < result.ask
        return
    assert seller.limit - 1e-9 <= result.price <= buyer.limit + 1e-9
    if result.round > 0:
        assert negotiate(buyer, seller, result.round - 1).price is None


def test_prices_that_meet_exactly_are_a_deal_in_spite_of_rounding() -> None:
    """In round 3 both stand at 0.30; in floating point 3 x 0.1 is not 0.3."""
    result = negotiate(Concession(0.0, 0.1, 1.0), Concession(0.6, 0.1, 0.0), 3)
    assert result.round == 3
    assert result.price == pytest.approx(0.30)


def test_a_negotiation_that_goes_backwards_is_refused() -> None:
    good = Concession(0.1, 0.02, 0.2)
    with pytest.raises(MarketError, match=r"seller: step is -0\.1"):
        negotiate(good, Concession(0.3, -0.1, 0.1), 5)
    with pytest.raises(MarketError, match="rounds is -1"):
        negotiate(good, good, -1)
