"""Auctions that price pairs, that give up trades to be truthful, and that procure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from tricell.errors import MarketError
from tricell.markets.mechanism import MarketResult, MarketTerms, Mechanism
from tricell.markets.mechanisms.marginal_pair_price import MarginalPairPrice
from tricell.markets.mechanisms.mcafee import McAfee, auction_of_lots
from tricell.markets.mechanisms.pay_as_bid import PayAsBid
from tricell.markets.mechanisms.reverse_vickrey import procure
from tricell.markets.mechanisms.trade_reduction import TradeReduction, give_up_equally
from tricell.markets.mechanisms.uniform_price import UniformPrice
from tricell.markets.order_table import Orders

TERMS = MarketTerms()
EUR = 1e-9
KWH = 1e-9

Book = list[tuple[float, int, int, int]]
"""Side, energy in tenths of a kWh, price in cents, time."""

MARKETS: tuple[Mechanism, ...] = (
    MarginalPairPrice(),
    MarginalPairPrice(k=0.0),
    MarginalPairPrice(k=1.0),
    PayAsBid(),
    PayAsBid(pricing="split", k=0.25),
    McAfee(lot_kwh=0.2),
    TradeReduction(),
)
TRUTHFUL: tuple[Mechanism, ...] = (McAfee(lot_kwh=0.2), TradeReduction())

traders = st.tuples(
    st.sampled_from([1.0, -1.0]), st.integers(1, 9), st.integers(-10, 40), st.integers(0, 2)
)
books = st.lists(traders, max_size=14)


def orders_of(book: Book) -> Orders:
    return Orders.of(
        id=[f"o{n:02d}" for n in range(len(book))],
        side=[each[0] for each in book],
        energy_kwh=[each[1] / 10 for each in book],
        price_eur_per_kwh=[each[2] / 100 for each in book],
        time=[each[3] for each in book],
    )


def two_sided(buys: list[tuple[float, float]], sells: list[tuple[float, float]]) -> Orders:
    """Orders b1, b2, ... and s1, s2, ... of energy and price, all at the same time."""
    both = buys + sells
    return Orders.of(
        id=[f"b{n + 1}" for n in range(len(buys))] + [f"s{n + 1}" for n in range(len(sells))],
        side=[1.0] * len(buys) + [-1.0] * len(sells),
        energy_kwh=[energy for energy, _ in both],
        price_eur_per_kwh=[price for _, price in both],
    )


def gain(orders: Orders, result: MarketResult, row: int, value: float) -> float:
    """What an order gains whose true price is another than the reported one."""
    return float(orders.side[row] * value * result.accepted_kwh[row] - result.payment_eur[row])


def gains(orders: Orders, result: MarketResult) -> list[float]:
    price = orders.price_eur_per_kwh
    return [gain(orders, result, row, price[row]) for row in range(len(orders))]


# --- every auction, on any book ---


@pytest.mark.parametrize("market", MARKETS, ids=str)
@settings(max_examples=80, deadline=None)
@given(book=books)
def test_bought_is_sold_within_the_orders_and_nobody_loses(market: Mechanism, book: Book) -> None:
    orders = orders_of(book)
    result = market.clear(orders, TERMS)
    accepted = result.accepted_kwh
    assert accepted[orders.buys].sum() == pytest.approx(accepted[orders.sells].sum(), abs=KWH)
    assert (accepted >= 0.0).all()
    assert (accepted <= orders.energy_kwh + 1e-12).all()
    assert ((accepted == 0.0) | (accepted > 1e-6)).all()
    assert min(gains(orders, result), default=0.0) >= -EUR
    assert result.payment_eur.sum() == pytest.approx(result.operator_surplus_eur, abs=EUR)
    assert result.operator_surplus_eur >= -EUR
    assert result.welfare_eur == pytest.approx(
        sum(gains(orders, result)) + result.operator_surplus_eur, abs=EUR
    )


@pytest.mark.parametrize("market", [m for m in MARKETS if m not in TRUTHFUL], ids=str)
@settings(max_examples=40, deadline=None)
@given(book=st.lists(traders, min_size=1, max_size=14))
def test_welfare_is_the_largest_that_a_linear_program_finds(market: Mechanism, book: Book) -> None:
    orders = orders_of(book)
    program = linprog(
        -orders.side * orders.price_eur_per_kwh,
        A_eq=orders.side[None, :],
        b_eq=[0.0],
        bounds=[(0.0, energy) for energy in orders.energy_kwh.tolist()],
    )
    assert program.fun is not None
    assert market.clear(orders, TERMS).welfare_eur == pytest.approx(-program.fun, abs=1e-7)


@pytest.mark.parametrize("market", MARKETS, ids=str)
@settings(max_examples=40, deadline=None)
@given(book=books, data=st.data())
def test_the_sequence_of_the_rows_does_not_matter(
    market: Mechanism, book: Book, data: st.DataObject
) -> None:
    orders = orders_of(book)
    rows = np.array(data.draw(st.permutations(range(len(book)))), dtype=np.int64)
    straight, mixed = market.clear(orders, TERMS), market.clear(orders.take(rows), TERMS)
    assert mixed.accepted_kwh == pytest.approx(straight.accepted_kwh[rows], abs=KWH)
    assert mixed.payment_eur == pytest.approx(straight.payment_eur[rows], abs=EUR)


@pytest.mark.parametrize("market", MARKETS, ids=str)
@pytest.mark.parametrize(
    "orders",
    [
        two_sided([], []),
        two_sided([(1.0, 0.3)], []),
        two_sided([], [(1.0, 0.1)]),
        two_sided([(1.0, 0.1)], [(1.0, 0.2)]),
    ],
    ids=["empty", "buys only", "sells only", "no crossing"],
)
def test_no_trade_has_no_price(market: Mechanism, orders: Orders) -> None:
    result = market.clear(orders, TERMS)
    assert result.buy_price is None
    assert result.sell_price is None
    assert not result.accepted_kwh.any()
    assert not result.payment_eur.any()
    assert result.welfare_eur == 0.0
    assert result.operator_surplus_eur == 0.0
    assert not result.flags


@pytest.mark.parametrize("market", [m for m in MARKETS if m not in TRUTHFUL], ids=str)
def test_demands_of_a_tenth_and_more_leave_no_residue(market: Mechanism) -> None:
    orders = two_sided([(0.1, 0.3), (0.2, 0.28), (0.3, 0.26)], [(0.3, 0.1)])
    result = market.clear(orders, TERMS)
    assert result.accepted_kwh == pytest.approx([0.1, 0.2, 0.0, 0.3])
    assert result.accepted_kwh[2] == 0.0
    assert result.trades is None or len(result.trades) == 2


@pytest.mark.parametrize("market", MARKETS, ids=str)
def test_a_thousand_orders_are_cleared(market: Mechanism) -> None:
    rng = np.random.default_rng(7)
    orders = Orders.of(
        id=[f"o{n}" for n in range(1000)],
        side=rng.choice([-1.0, 1.0], 1000),
        energy_kwh=rng.uniform(0.1, 3.0, 1000),
        price_eur_per_kwh=rng.uniform(-0.1, 0.4, 1000),
    )
    result = market.clear(orders, TERMS)
    accepted = result.accepted_kwh
    assert accepted[orders.buys].sum() == pytest.approx(accepted[orders.sells].sum())
    assert accepted[orders.buys].sum() > 0.0
    assert min(gains(orders, result)) >= -EUR


# --- price at the marginal pair ---


@settings(max_examples=100, deadline=None)
@given(book=books, k=st.floats(0.0, 1.0))
def test_the_marginal_pair_moves_money_but_no_energy(book: Book, k: float) -> None:
    orders = orders_of(book)
    result = MarginalPairPrice(k=k).clear(orders, TERMS)
    best = UniformPrice().clear(orders, TERMS)
    assert result.accepted_kwh.tolist() == best.accepted_kwh.tolist()
    assert result.operator_surplus_eur == pytest.approx(0.0, abs=EUR)
    if result.buy_price is not None:
        assert result.marginal_buy is not None
        assert result.marginal_sell is not None
        assert result.marginal_sell - EUR <= result.buy_price <= result.marginal_buy + EUR
        assert result.sell_price == result.buy_price


def test_a_rationed_seller_may_envy_at_the_marginal_pair_but_not_at_one_price() -> None:
    orders = two_sided([(1.0, 0.30)], [(4.0, 0.20)])
    envied = MarginalPairPrice().clear(orders, TERMS)
    assert envied.buy_price == pytest.approx(0.25)
    assert UniformPrice().clear(orders, TERMS).buy_price == pytest.approx(0.20)


def test_energy_at_the_marginal_price_is_shared_in_proportion() -> None:
    orders = two_sided([(1.0, 0.2), (3.0, 0.2)], [(2.0, 0.1)])
    result = MarginalPairPrice().clear(orders, TERMS)
    assert result.accepted_kwh == pytest.approx([0.5, 1.5, 2.0])
    assert result.buy_price == pytest.approx(0.15)


# --- pay as bid ---


@settings(max_examples=100, deadline=None)
@given(book=books, k=st.floats(0.0, 1.0))
def test_own_prices_leave_all_welfare_with_the_operator_and_a_split_none(
    book: Book, k: float
) -> None:
    orders = orders_of(book)
    own = PayAsBid().clear(orders, TERMS)
    split = PayAsBid(pricing="split", k=k).clear(orders, TERMS)
    best = UniformPrice().clear(orders, TERMS).welfare_eur
    assert own.operator_surplus_eur == pytest.approx(best, abs=EUR)
    assert own.welfare_eur == pytest.approx(best, abs=EUR)
    assert split.welfare_eur == pytest.approx(best, abs=EUR)
    assert split.operator_surplus_eur == pytest.approx(0.0, abs=EUR)


def test_equal_prices_are_served_by_time_and_not_in_proportion() -> None:
    late_first = Orders.of(
        id=["late", "early", "s"],
        side=[1, 1, -1],
        energy_kwh=[2.0, 2.0, 3.0],
        price_eur_per_kwh=[0.2, 0.2, 0.1],
        time=[5.0, 1.0, 0.0],
    )
    assert PayAsBid().clear(late_first, TERMS).accepted_kwh.tolist() == [1.0, 2.0, 3.0]


@settings(max_examples=60, deadline=None)
@given(book=books)
def test_pairs_trade_from_the_best_to_the_marginal(book: Book) -> None:
    orders = orders_of(book)
    trades = PayAsBid().clear(orders, TERMS).trades
    assert trades is not None
    assert (np.diff(trades.buy_price) <= 0.0).all()
    assert (np.diff(trades.sell_price) >= 0.0).all()
    assert (trades.buy_price >= trades.sell_price).all()
    assert (trades.energy_kwh > 1e-6).all()


@pytest.mark.parametrize(
    "market", [MarginalPairPrice(), PayAsBid(), PayAsBid(pricing="split")], ids=str
)
def test_a_buyer_who_bids_less_than_the_value_may_gain(market: Mechanism) -> None:
    honest = two_sided([(1.0, 0.30)], [(1.0, 0.10)])
    shaded = two_sided([(1.0, 0.12)], [(1.0, 0.10)])
    assert gain(shaded, market.clear(shaded, TERMS), 0, 0.30) > (
        gain(honest, market.clear(honest, TERMS), 0, 0.30) + 0.05
    )


# --- truthful auctions ---


@pytest.mark.parametrize("market", TRUTHFUL, ids=str)
@settings(max_examples=150, deadline=None)
@given(book=st.lists(traders, min_size=2, max_size=9), data=st.data())
def test_no_misreport_of_the_price_pays(market: Mechanism, book: Book, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(book) - 1))
    honest = orders_of(book)
    value = float(honest.price_eur_per_kwh[row])
    truth = gain(honest, market.clear(honest, TERMS), row, value)
    levels = sorted({price for _, _, price, _ in book})
    for price in {level + step for level in levels for step in (-0.5, 0.0, 0.5)}:
        prices = honest.price_eur_per_kwh.copy()
        prices[row] = price / 100
        liar = honest.with_price(prices)
        assert gain(liar, market.clear(liar, TERMS), row, value) <= truth + EUR


@pytest.mark.parametrize(
    ("market", "lost_eur"), [(McAfee(lot_kwh=1.0), 0.2), (TradeReduction(), 0.2)], ids=str
)
def test_truth_costs_welfare_where_only_one_pair_can_trade(
    market: Mechanism, lost_eur: float
) -> None:
    orders = two_sided([(1.0, 0.30)], [(1.0, 0.10)])
    result = market.clear(orders, TERMS)
    assert result.flags == {"reduced"}
    assert result.buy_price is None
    assert result.sell_price is None
    assert UniformPrice().clear(orders, TERMS).welfare_eur - result.welfare_eur == (
        pytest.approx(lost_eur)
    )


# --- McAfee ---

prices = st.lists(st.integers(-10, 40).map(lambda cents: cents / 100), max_size=8)


@settings(max_examples=200, deadline=None)
@given(bids=prices, asks=prices, lot=st.sampled_from([0.25, 1.0, 3.0]))
def test_mcafee_loses_at_most_one_trade(bids: list[float], asks: list[float], lot: float) -> None:
    outcome = auction_of_lots(bids, asks, lot)
    matched = zip(sorted(bids, reverse=True), sorted(asks), strict=False)
    efficient = sum(bid >= ask for bid, ask in matched)
    assert outcome.lots == efficient - outcome.reduced
    assert (outcome.buy_price is None) == (outcome.lots == 0)
    if outcome.buy_price is not None and outcome.sell_price is not None:
        gap = outcome.buy_price - outcome.sell_price
        assert outcome.surplus_eur == pytest.approx(outcome.lots * lot * gap, abs=EUR)
        assert gap >= 0.0


def test_mcafee_gives_up_a_trade_where_no_trader_is_left_to_set_the_price() -> None:
    outcome = auction_of_lots([0.30, 0.28], [0.10, 0.14, 0.50], 2.0)
    assert (outcome.lots, outcome.buy_price, outcome.sell_price) == (1, 0.28, 0.14)
    assert outcome.reduced
    assert outcome.surplus_eur == pytest.approx(0.28)


def test_mcafee_takes_a_price_that_meets_the_last_ask_but_for_rounding() -> None:
    third = 0.1 + 0.2
    assert third > 0.5 * (0.25 + 0.35)
    outcome = auction_of_lots([0.4, 0.35, 0.25], [0.1, third, 0.35])
    assert (outcome.lots, outcome.reduced) == (2, False)
    assert outcome.buy_price == third


def test_mcafee_trades_whole_lots_of_the_best_order_of_each_agent() -> None:
    orders = Orders.of(
        id=["small", "first", "second", "other", "last", "s1", "s2", "s3", "s4"],
        side=[1, 1, 1, 1, 1, -1, -1, -1, -1],
        energy_kwh=[0.4, 0.5, 9.0, 0.8, 0.5, 0.5, 0.7, 0.5, 0.5],
        price_eur_per_kwh=[0.40, 0.30, 0.29, 0.28, 0.12, 0.10, 0.12, 0.22, 0.24],
        agent=[1, 2, 2, 3, 4, 5, 6, 7, 8],
    )
    result = McAfee(lot_kwh=0.5).clear(orders, TERMS)
    assert result.accepted_kwh.tolist() == [0, 0.5, 0, 0.5, 0, 0.5, 0.5, 0, 0]
    assert result.buy_price == result.sell_price == pytest.approx(0.17)


@pytest.mark.parametrize("lot", [0.0, -1.0, np.nan, np.inf])
def test_mcafee_refuses_a_lot_that_is_none(lot: float) -> None:
    with pytest.raises(MarketError, match="above 0"):
        auction_of_lots([0.3], [0.1], lot)


def test_mcafee_names_the_price_that_is_none() -> None:
    with pytest.raises(MarketError, match="entry 2 of the asks is nan"):
        auction_of_lots([0.3], [0.1, np.nan])


# --- trade reduction ---


def test_the_long_side_gives_up_equally_and_small_traders_only_what_they_have() -> None:
    """Buyers 4 + 1 + 7 before the marginal one, sellers 7 before the marginal one: c = 2 kWh."""
    orders = two_sided(
        [(4.0, 0.40), (1.0, 0.39), (7.0, 0.38), (5.0, 0.30)], [(7.0, 0.10), (8.0, 0.20)]
    )
    result = TradeReduction().clear(orders, TERMS)
    assert result.accepted_kwh == pytest.approx([2.0, 0.0, 5.0, 0.0, 7.0, 0.0])
    assert (result.buy_price, result.sell_price) == (0.30, 0.20)
    assert result.operator_surplus_eur == pytest.approx(0.7)


def test_sellers_give_up_where_they_are_the_long_side() -> None:
    orders = two_sided(
        [(2.0, 0.40), (9.0, 0.30)], [(3.0, 0.10), (0.5, 0.11), (3.0, 0.12), (3.0, 0.2)]
    )
    result = TradeReduction().clear(orders, TERMS)
    assert result.accepted_kwh == pytest.approx([2.0, 0.0, 1.0, 0.0, 1.0, 0.0])


def test_the_marginal_trader_leaves_also_where_it_would_trade_in_full() -> None:
    orders = two_sided([(1.0, 0.4), (1.0, 0.3)], [(1.0, 0.1), (1.0, 0.2)])
    result = TradeReduction().clear(orders, TERMS)
    assert result.accepted_kwh.tolist() == [1.0, 0.0, 1.0, 0.0]


def test_of_two_marginal_orders_of_one_price_the_later_leaves() -> None:
    orders = Orders.of(
        id=["late", "early", "s1", "s2"],
        side=[1, 1, -1, -1],
        energy_kwh=[1.0, 1.0, 1.0, 1.0],
        price_eur_per_kwh=[0.3, 0.3, 0.1, 0.2],
        time=[2.0, 1.0, 0.0, 0.0],
    )
    assert TradeReduction().clear(orders, TERMS).accepted_kwh.tolist() == [0.0, 1.0, 1.0, 0.0]


@settings(max_examples=200, deadline=None)
@given(
    energy=st.lists(st.integers(1, 400), min_size=1, max_size=12),
    share=st.floats(0.001, 1.2),
)
@example(energy=[1, 1, 1], share=1.0)
@example(energy=[10, 5, 20], share=1.7 / 3.5)
def test_what_is_given_up_is_equal_and_leaves_the_total(energy: list[int], share: float) -> None:
    before = np.array(energy) / 10
    total = share * before.sum()
    left = give_up_equally(before, total)
    assert left.sum() == pytest.approx(min(total, before.sum()), abs=KWH)
    assert (left >= 0.0).all()
    assert (left <= before).all()
    given_up = before - left
    traded = left > 0.0
    assert np.ptp(given_up[traded]) <= KWH
    assert (given_up <= given_up[traded].max() + KWH).all()


def test_the_total_to_be_left_is_above_zero() -> None:
    with pytest.raises(MarketError, match="total is 0 kWh"):
        give_up_equally(np.array([1.0]), 0.0)


# --- procurement ---


@settings(max_examples=200, deadline=None)
@given(
    asks=st.lists(st.integers(0, 12), max_size=8),
    units=st.integers(0, 6),
    lie=st.integers(0, 12),
    data=st.data(),
)
def test_no_seller_gains_by_another_ask_than_its_cost(
    asks: list[int], units: int, lie: int, data: st.DataObject
) -> None:
    names = [f"s{n}" for n in range(len(asks))]
    result = procure(names, asks, units, reserve=10)
    assert len(result.winners) + result.shortfall == units
    assert result.cost_eur == len(result.winners) * (result.price or 0.0)
    assert all(asks[names.index(each)] <= (result.price or 0.0) <= 10 for each in result.winners)
    if asks:
        row = data.draw(st.integers(0, len(asks) - 1))
        other = procure(names, [*asks[:row], lie, *asks[row + 1 :]], units, reserve=10)

        def profit(winners: tuple[str, ...], price: float | None) -> float:
            return (price or 0.0) - asks[row] if names[row] in winners else 0.0

        assert profit(other.winners, other.price) <= profit(result.winners, result.price)


def test_equal_asks_win_by_id_and_are_paid_the_equal_loser() -> None:
    result = procure(["c", "a", "b"], [0.1, 0.1, 0.1], 2, reserve=0.2)
    assert (result.winners, result.price) == (("a", "b"), 0.1)


def test_the_reserve_is_paid_where_no_ask_is_left() -> None:
    result = procure(["a", "b", "c"], [0.1, 0.2, 0.21], 3, reserve=0.2)
    assert (result.winners, result.price, result.shortfall) == (("a", "b"), 0.2, 1)
    assert result.cost_eur == pytest.approx(0.4)


@pytest.mark.parametrize(("asks", "units"), [([], 2), ([0.3], 2), ([0.1], 0)])
def test_nobody_wins_without_a_price(asks: list[float], units: int) -> None:
    result = procure(["a"][: len(asks)], asks, units, reserve=0.2)
    assert (result.winners, result.price, result.cost_eur) == ((), None, 0.0)
    assert result.shortfall == units


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: procure(["a"], [np.nan], 1, 0.2), "ask of 'a' is nan"),
        (lambda: procure(["a"], [0.1, 0.2], 1, 0.2), "1 ids but 2 asks"),
        (lambda: procure(["a", "a"], [0.1, 0.2], 1, 0.2), "'a' stands twice"),
        (lambda: procure(["a"], [0.1], -1, 0.2), "units is -1"),
        (lambda: procure(["a"], [0.1], 1, np.inf), "reserve is inf"),
    ],
)
def test_what_is_no_procurement_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(MarketError, match=message):
        call()


def test_prices_that_differ_by_rounding_meet_and_share_the_margin() -> None:
    retail_less_fee = 0.30 - 0.02
    assert retail_less_fee < 0.28
    orders = Orders.of(
        id=["community", "peer", "seller"],
        side=[1, 1, -1],
        energy_kwh=[1.0, 3.0, 2.0],
        price_eur_per_kwh=[retail_less_fee, 0.28, 0.28],
    )
    result = UniformPrice().clear(orders, MarketTerms())
    assert result.accepted_kwh.tolist() == pytest.approx([0.5, 1.5, 2.0])
    assert result.buy_price == pytest.approx(0.28)
