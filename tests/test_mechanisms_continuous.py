"""Continuous double auction, double auction in random halves and Vickrey double auction."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.order_books import book, books

from tricell.errors import MarketError
from tricell.markets.mechanism import MarketTerms
from tricell.markets.mechanisms.continuous_double_auction import (
    Cancel,
    Change,
    ContinuousDoubleAuction,
    Deal,
    NewOrder,
    OrderEvent,
    play_order_events,
)
from tricell.markets.mechanisms.random_halves import RandomHalves, draw_halves, trade_in_halves
from tricell.markets.mechanisms.uniform_price import UniformPrice
from tricell.markets.mechanisms.vickrey import Vickrey
from tricell.markets.order_table import Orders

BUY, SELL = 1.0, -1.0
EUR = 1e-9
KWH = 1e-9
TERMS = MarketTerms()


# --- continuous double auction ---


def deals_of(*events: OrderEvent) -> list[Deal[str]]:
    return list(play_order_events(events).deals)


def test_a_new_order_takes_the_best_price_first_and_pays_what_rests() -> None:
    """Worked by hand: the buyer takes 0.17, then 0.20, and rests with what nobody sells."""
    session = play_order_events(
        [
            NewOrder("dear", SELL, 1.0, 0.20),
            NewOrder("cheap", SELL, 1.0, 0.17),
            NewOrder("b", BUY, 3.0, 0.25),
        ]
    )
    assert session.deals == (Deal("b", "cheap", 1.0, 0.17), Deal("b", "dear", 1.0, 0.20))
    assert session.book_kwh == {"b": 1.0}


def test_of_equal_prices_the_one_that_came_first_deals() -> None:
    deals = deals_of(
        NewOrder("z", SELL, 1.0, 0.2), NewOrder("a", SELL, 1.0, 0.2), NewOrder("b", BUY, 1.0, 0.2)
    )
    assert deals == [("b", "z", 1.0, 0.2)]


@pytest.mark.parametrize(
    ("change", "first"),
    [
        (Change("early", energy_kwh=0.5), "early"),
        (Change("early", energy_kwh=1.0), "early"),
        (Change("early", price_eur_per_kwh=0.2), "early"),
        (Change("early", energy_kwh=1.5), "late"),
        (NewOrder("early", SELL, 0.5, 0.2), "early"),
        (NewOrder("early", SELL, 1.5, 0.2), "late"),
        (NewOrder("early", SELL, 0.5, 0.2, agent=3), "late"),
    ],
)
def test_only_a_change_that_takes_energy_away_keeps_the_place(
    change: OrderEvent, first: str
) -> None:
    deals = deals_of(
        NewOrder("early", SELL, 1.0, 0.2),
        NewOrder("late", SELL, 1.0, 0.2),
        change,
        NewOrder("b", BUY, 0.1, 0.2),
    )
    assert deals == [("b", first, 0.1, 0.2)]


def test_an_order_that_goes_to_another_price_and_back_is_the_last() -> None:
    deals = deals_of(
        NewOrder("early", SELL, 1.0, 0.2),
        NewOrder("late", SELL, 1.0, 0.2),
        Change("early", price_eur_per_kwh=0.3),
        Change("early", price_eur_per_kwh=0.2),
        NewOrder("b", BUY, 2.0, 0.2),
    )
    assert deals == [("b", "late", 1.0, 0.2), ("b", "early", 1.0, 0.2)]


def test_a_change_of_price_deals_as_a_new_order_does() -> None:
    session = play_order_events(
        [
            NewOrder("s", SELL, 1.0, 0.2),
            NewOrder("b", BUY, 2.0, 0.1),
            Change("b", price_eur_per_kwh=0.25),
        ]
    )
    assert session.deals == (Deal("b", "s", 1.0, 0.2),)
    assert session.book_kwh == {"b": 1.0}


def test_a_cancelled_order_does_not_deal_and_its_id_is_free_again() -> None:
    session = play_order_events(
        [
            NewOrder("s", SELL, 1.0, 0.2),
            Cancel("s"),
            NewOrder("b", BUY, 1.0, 0.3),
            NewOrder("s", SELL, 0.5, 0.1),
        ]
    )
    assert session.deals == (Deal("b", "s", 0.5, 0.3),)
    assert session.book_kwh == {"b": 0.5}


def test_what_comes_too_late_for_an_order_is_without_effect() -> None:
    session = play_order_events(
        [
            NewOrder("s", SELL, 1.0, 0.2),
            NewOrder("b", BUY, 1.0, 0.2),
            Cancel("s"),
            Change("s", 5.0, 0.1),
            Cancel("unknown"),
        ]
    )
    assert len(session.deals) == 1
    assert session.book_kwh == {}


def test_orders_of_one_agent_are_passed_over_and_stay_in_their_place() -> None:
    """The buyer of agent 1 passes its own cheaper ask, which then deals with somebody else."""
    deals = deals_of(
        NewOrder("own", SELL, 1.0, 0.10, agent=1),
        NewOrder("other", SELL, 1.0, 0.12, agent=2),
        NewOrder("b1", BUY, 1.0, 0.15, agent=1),
        NewOrder("b3", BUY, 1.0, 0.15, agent=3),
    )
    assert deals == [("b1", "other", 1.0, 0.12), ("b3", "own", 1.0, 0.10)]


def test_orders_of_nobody_in_particular_deal_with_each_other() -> None:
    assert len(deals_of(NewOrder("s", SELL, 1.0, 0.1), NewOrder("b", BUY, 1.0, 0.1))) == 1


def test_rounding_is_neither_a_deal_nor_an_order() -> None:
    """Demands of 0.1 and 0.2 take a supply of 0.3 whole, though 0.3 - 0.1 - 0.2 is not 0."""
    for sizes in ((0.1, 0.2), (0.2, 0.1)):
        orders = [NewOrder(f"b{n}", BUY, size, 0.2) for n, size in enumerate(sizes)]
        session = play_order_events([NewOrder("s", SELL, 0.3, 0.1), *orders])
        assert len(session.deals) == 2
        assert session.book_kwh == {}


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (NewOrder("x", BUY, 0.0, 0.2), "order 'x': energy_kwh is 0; .* above 0"),
        (NewOrder("x", BUY, float("nan"), 0.2), "order 'x': energy_kwh is nan"),
        (NewOrder("x", BUY, float("inf"), 0.2), "order 'x': energy_kwh is inf"),
        (NewOrder("x", BUY, 1.0, float("nan")), "order 'x': price_eur_per_kwh is nan"),
        (NewOrder("x", BUY, 1.0, 3.5), r"order 'x': price_eur_per_kwh is 3.5; .* \+-3"),
        (NewOrder("x", 0.0, 1.0, 0.2), "order 'x': side is 0"),
        (Change("s", energy_kwh=-1.0), "order 's': energy_kwh is -1"),
    ],
)
def test_what_is_no_order_is_refused_by_name(event: OrderEvent, message: str) -> None:
    with pytest.raises(MarketError, match=message):
        play_order_events([NewOrder("s", SELL, 1.0, 0.2), event])


@dataclass
class PlainBook:
    """The rule told with a list and sorting: what the fast book is compared with."""

    resting: list[NewOrder] = field(default_factory=list)
    deals: list[tuple[str, str, float, float]] = field(default_factory=list)

    def play(self, event: OrderEvent) -> None:
        if isinstance(event, Cancel):
            self.resting = [each for each in self.resting if each.id != event.id]
            return
        before = next((each for each in self.resting if each.id == event.id), None)
        if isinstance(event, Change):
            if before is None:
                return
            energy = event.energy_kwh if event.energy_kwh is not None else before.energy_kwh
            price = event.price_eur_per_kwh
            price = before.price_eur_per_kwh if price is None else price
            event = replace(before, energy_kwh=energy, price_eur_per_kwh=price)
        if before is not None:
            place = self.resting.index(before)
            if event.energy_kwh <= before.energy_kwh and event == replace(
                before, energy_kwh=event.energy_kwh
            ):
                self.resting[place] = event
                return
            self.resting.pop(place)
        self.enter(event)

    def enter(self, new: NewOrder) -> None:
        def crosses(other: NewOrder) -> bool:
            return (
                other.side == -new.side
                and new.side * (new.price_eur_per_kwh - other.price_eur_per_kwh) >= 0.0
                and (new.agent < 0 or other.agent != new.agent)
            )

        left = new.energy_kwh
        best = sorted(
            filter(crosses, self.resting), key=lambda each: new.side * each.price_eur_per_kwh
        )
        for other in best:
            dealt = min(left, other.energy_kwh)
            if dealt <= 0.0:
                break
            buy, sell = (new.id, other.id) if new.side > 0.0 else (other.id, new.id)
            self.deals.append((buy, sell, dealt, other.price_eur_per_kwh))
            left -= dealt
            place = self.resting.index(other)
            self.resting[place] = replace(other, energy_kwh=other.energy_kwh - dealt)
        self.resting = [each for each in self.resting if each.energy_kwh > 0.0]
        if left > 0.0:
            self.resting.append(replace(new, energy_kwh=left))


names = st.sampled_from([f"o{n}" for n in range(10)])
whole_kwh = st.integers(1, 5).map(float)
cents = st.integers(-2, 5).map(lambda cent: cent / 100)
events = st.one_of(
    st.builds(NewOrder, names, st.sampled_from([BUY, SELL]), whole_kwh, cents, st.integers(-1, 3)),
    st.builds(Change, names, st.none() | whole_kwh, st.none() | cents),
    st.builds(Cancel, names),
)


@settings(max_examples=200)
@given(st.lists(events, max_size=40))
def test_any_events_give_what_a_plain_list_gives(sequence: list[OrderEvent]) -> None:
    """Whole kWh, so that both sides of the comparison are exact."""
    plain = PlainBook()
    for event in sequence:
        plain.play(event)
    session = play_order_events(sequence)
    assert [tuple(deal) for deal in session.deals] == plain.deals
    assert session.book_kwh == {each.id: each.energy_kwh for each in plain.resting}


@given(books())
def test_a_slot_plays_its_orders_by_time_then_id(orders: Orders) -> None:
    sequence = np.argsort(orders.priority)
    session = play_order_events(
        NewOrder(
            str(orders.id[row]),
            float(orders.side[row]),
            float(orders.energy_kwh[row]),
            float(orders.price_eur_per_kwh[row]),
            int(orders.agent[row]),
        )
        for row in sequence
    )
    result = ContinuousDoubleAuction().clear(orders, TERMS)
    trades = result.trades
    assert trades is not None
    assert [
        (str(orders.id[buy]), str(orders.id[sell]), energy, price)
        for buy, sell, energy, price in zip(
            trades.buy, trades.sell, trades.energy_kwh, trades.buy_price, strict=True
        )
    ] == [tuple(deal) for deal in session.deals]
    remains = orders.energy_kwh - result.accepted_kwh
    rests = np.array([session.book_kwh.get(str(name), 0.0) for name in orders.id])
    assert remains == pytest.approx(rests, abs=KWH)


def test_the_sequence_of_arrival_decides_the_welfare() -> None:
    """Two arrivals of one book: the dear seller deals only where the cheap one comes too late."""
    orders = book([(1.0, 0.30)], [(1.0, 0.10), (1.0, 0.25)])
    early = replace(orders, priority=np.array([2, 0, 1]))
    late = replace(orders, priority=np.array([1, 2, 0]))
    market = ContinuousDoubleAuction()
    assert market.clear(early, TERMS).welfare_eur == pytest.approx(0.20, abs=EUR)
    assert market.clear(late, TERMS).welfare_eur == pytest.approx(0.05, abs=EUR)


# --- random halves ---


def in_halves(orders: Orders, left: list[bool], rank: list[int]) -> tuple[list[float], object]:
    result = trade_in_halves(orders, np.array(left), np.array(rank))
    return result.accepted_kwh.tolist(), result


def test_a_half_without_a_crossing_posts_the_middle_of_its_best_bid_and_ask() -> None:
    """Left bids 0.10 and asks 0.30, so 0.20 is posted right, where 2 kWh trade at it."""
    orders = book([(1.0, 0.10), (2.0, 0.25)], [(1.0, 0.30), (3.0, 0.15)])
    result = trade_in_halves(orders, np.array([True, False, True, False]), np.array([0, 1, 2, 3]))
    assert result.price_left == pytest.approx(0.20)
    assert result.price_right == pytest.approx(0.15)
    assert (result.volume_left_kwh, result.volume_right_kwh) == (0.0, 2.0)
    assert result.payment_eur == pytest.approx([0.0, 0.4, 0.0, -0.4])


def test_a_half_with_one_side_posts_no_price() -> None:
    orders = book([(1.0, 0.3), (1.0, 0.3)], [(1.0, 0.1)])
    result = trade_in_halves(orders, np.array([True, False, False]), np.array([0, 1, 2]))
    assert result.price_left is None
    assert result.volume_right_kwh == 0.0


def test_the_long_side_is_served_by_the_lottery_of_the_agents() -> None:
    """Three buyers of 1 kWh for 1.5 kWh: the lottery's first gets 1, its second 0.5."""
    orders = book([(1.0, 0.3), (1.0, 0.28), (1.0, 0.26), (1.0, 0.2)], [(1.5, 0.1), (1.0, 0.2)])
    left = [True, True, True, False, True, False]
    accepted, _ = in_halves(orders, left, [2, 0, 1, 0, 0, 0])
    assert accepted[:3] == [0.0, 1.0, 0.5]
    assert accepted[4] == 1.5


def test_an_agent_fills_its_own_orders_by_merit() -> None:
    orders = book([(1.0, 0.22), (1.0, 0.3), (1.0, 0.2)], [(1.5, 0.1), (1.0, 0.2)])
    left = [True, True, False, True, False]
    accepted, _ = in_halves(orders, left, [0, 0, 1, 2, 3])
    assert accepted[:2] == [0.5, 1.0]


def test_orders_in_neither_half_do_not_trade() -> None:
    orders = book([(1.0, 0.3), (1.0, 0.3), (1.0, 0.3)], [(1.0, 0.1), (1.0, 0.1)])
    left = np.array([True, False, False, True, False])
    right = np.array([False, True, False, False, True])
    result = trade_in_halves(orders, left, np.arange(5), right)
    assert result.accepted_kwh.tolist() == [1.0, 1.0, 0.0, 1.0, 1.0]


def test_halves_that_overlap_or_are_too_short_are_refused() -> None:
    orders = book([(1.0, 0.3)], [(1.0, 0.1)])
    both = np.array([True, True])
    with pytest.raises(MarketError, match="order 'b000' is in both halves"):
        trade_in_halves(orders, both, np.arange(2), both)
    with pytest.raises(MarketError, match="'rank' has 1 entries, but there are 2 orders"):
        trade_in_halves(orders, both, np.arange(1))


def test_orders_of_one_agent_are_in_one_half_and_halves_are_halves() -> None:
    count = 101
    orders = Orders.of(
        id=[f"o{n}" for n in range(3 * count)],
        side=[BUY] * (3 * count),
        energy_kwh=np.ones(3 * count),
        price_eur_per_kwh=np.full(3 * count, 0.2),
        agent=np.tile(np.arange(count), 3),
    )
    left, rank = draw_halves(orders, 3)
    assert left.sum() == 3 * (count // 2)
    for values in (left.reshape(3, count), rank.reshape(3, count)):
        assert (values == values[0]).all()
    assert sorted(rank[:count].tolist()) == list(range(count))


def test_the_seed_draws_the_halves() -> None:
    orders = book([(1.0, 0.3 - n / 100) for n in range(9)], [(1.0, n / 100) for n in range(9)])
    market = RandomHalves()
    draws = [market.clear(orders, MarketTerms(seed=seed)) for seed in (1, 1, 2)]
    assert (draws[0].left == draws[1].left).all()
    assert (draws[0].accepted_kwh == draws[1].accepted_kwh).all()
    assert (draws[0].left != draws[2].left).any()


@given(books(max_orders=14), st.integers(0, 20))
def test_each_half_buys_what_it_sells_at_the_price_of_the_other(orders: Orders, seed: int) -> None:
    result = RandomHalves().clear(orders, MarketTerms(seed=seed))
    for half, price, volume in (
        (result.left, result.price_right, result.volume_left_kwh),
        (~result.left, result.price_left, result.volume_right_kwh),
    ):
        for side in (BUY, SELL):
            traded = result.accepted_kwh[half & (orders.side == side)].sum()
            assert traded == pytest.approx(volume, abs=KWH)
        if volume > 0.0:
            assert price is not None
            worth = orders.side * (orders.price_eur_per_kwh - price)
            assert (worth[half & (result.accepted_kwh > 0.0)] >= 0.0).all()
    assert result.operator_surplus_eur == pytest.approx(0.0, abs=EUR)


def test_in_a_large_market_little_welfare_is_lost() -> None:
    """Segal-Halevi et al. 2018: efficiency goes to 1 with the number of traders."""
    random = np.random.default_rng(5)
    shares = []
    for count in (40, 4000):
        orders = Orders.of(
            id=[f"o{n}" for n in range(count)],
            side=np.tile([BUY, SELL], count // 2),
            energy_kwh=random.uniform(0.5, 1.5, count),
            price_eur_per_kwh=random.uniform(0.05, 0.35, count),
        )
        best = UniformPrice().clear(orders, TERMS).welfare_eur
        shares.append(RandomHalves().clear(orders, TERMS).welfare_eur / best)
    assert shares[0] < shares[1]
    assert shares[1] > 0.97


# --- Vickrey double auction ---


def without_agent(orders: Orders, agent: int) -> float:
    rest = orders.take(np.flatnonzero(orders.agent != agent))
    return UniformPrice().clear(rest, TERMS).welfare_eur


@given(books(max_orders=12), st.integers(1, 12))
def test_every_agent_gains_what_the_market_gains_by_it(orders: Orders, agents: int) -> None:
    """The definition, with the call auction as the independent source of both welfares."""
    orders = replace(orders, agent=np.arange(len(orders)) % agents)
    result = Vickrey().clear(orders, TERMS)
    best = UniformPrice().clear(orders, TERMS).welfare_eur
    assert result.welfare_eur == pytest.approx(best, abs=EUR)
    gain = orders.side * orders.price_eur_per_kwh * result.accepted_kwh - result.payment_eur
    assert (gain >= -EUR).all()
    for agent in range(min(agents, len(orders))):
        expected = best - without_agent(orders, agent)
        assert gain[orders.agent == agent].sum() == pytest.approx(expected, abs=EUR)


@given(books(max_orders=12))
def test_buyers_pay_no_more_and_sellers_get_no_less_than_at_the_clearing_prices(
    orders: Orders,
) -> None:
    result = Vickrey().clear(orders, TERMS)
    low, high = (UniformPrice(k=k).clear(orders, TERMS).buy_price for k in (0.0, 1.0))
    if low is None or high is None:
        assert not result.accepted_kwh.any()
        return
    limit = np.where(orders.side > 0.0, low, -high) * result.accepted_kwh
    assert (result.payment_eur <= limit + EUR).all()
    assert result.operator_surplus_eur <= EUR


def test_an_agent_of_several_orders_does_not_set_its_own_price() -> None:
    """Alone, the 0.20 of the second order is what the first displaces; of one agent, it is not."""
    orders = book([(1.0, 0.30), (1.0, 0.20)], [(1.0, 0.10)])
    one = replace(orders, agent=np.array([0, 0, 1]))
    assert Vickrey().clear(orders, TERMS).payment_eur[0] == pytest.approx(0.20)
    assert Vickrey().clear(one, TERMS).payment_eur[0] == pytest.approx(0.10)


def test_an_agent_that_only_deals_with_itself_pays_nothing_in_total() -> None:
    orders = replace(book([(1.0, 0.3)], [(1.0, 0.1)]), agent=np.array([4, 4]))
    assert Vickrey().clear(orders, TERMS).operator_surplus_eur == pytest.approx(0.0, abs=EUR)


def test_orders_at_the_marginal_price_share_in_proportion() -> None:
    """The larger buyer displaces 0.5 kWh of the smaller at 0.20, and 1 kWh of supply at 0.10."""
    orders = book([(1.0, 0.2), (3.0, 0.2)], [(2.0, 0.1)])
    result = Vickrey().clear(orders, TERMS)
    assert result.accepted_kwh == pytest.approx([0.5, 1.5, 2.0])
    assert result.payment_eur[:2] == pytest.approx([0.1, 0.2])
