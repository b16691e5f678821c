"""Games between agents, and the island: what holds on any input, and the edges of each rule.

Numbers without a source of their own are worked out beside the test.
"""

from __future__ import annotations

from functools import partial
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tricell.errors import MarketError
from tricell.markets.cooperative_games import (
    all_coalitions,
    largest_excess,
    netting_game,
    nucleolus,
    restricted_to_links,
    shapley_value,
)
from tricell.markets.mechanism import MarketTerms
from tricell.markets.mechanisms.bidding_equilibrium import NOT_CONVERGED, bidding_equilibrium
from tricell.markets.mechanisms.coalition_formation import coalition_formation
from tricell.markets.mechanisms.coalition_graph import coalition_graph
from tricell.markets.mechanisms.coalition_value_sharing import coalition_value_sharing
from tricell.markets.mechanisms.island_operation import (
    BLACKOUT,
    IslandOperation,
    contract_left_kwh,
    reconnection_gate,
)
from tricell.markets.mechanisms.leader_price import Followers, LeaderPrice, leader_price
from tricell.markets.mechanisms.mid_market_rate import mid_market_rate
from tricell.markets.mechanisms.replicator_sellers import replicator_sellers
from tricell.markets.order_table import Orders

RETAIL, FEED_IN = 0.30, 0.08
QUICK = settings(max_examples=60, deadline=None)

prices = st.integers(-20, 60).map(lambda n: n / 100)
energies = st.integers(1, 60).map(lambda n: n / 10)
nets = st.lists(st.integers(-40, 40).map(lambda n: n / 10), min_size=1, max_size=6)


@st.composite
def books(draw: st.DrawFn) -> Orders:
    count = draw(st.integers(0, 14))
    return Orders.of(
        id=[f"o{n:02d}" for n in range(count)],
        side=[draw(st.sampled_from([1.0, -1.0])) for _ in range(count)],
        energy_kwh=[draw(energies) for _ in range(count)],
        price_eur_per_kwh=[draw(prices) for _ in range(count)],
        attributes={"critical": [draw(st.sampled_from([0.0, 1.0])) for _ in range(count)]},
    )


@st.composite
def follower_groups(draw: st.DrawFn) -> Followers:
    count = draw(st.integers(0, 5))
    return Followers.of(
        np.array([draw(prices) for _ in range(count)]),
        np.array([draw(st.integers(1, 20)) / 100 for _ in range(count)]),
        np.array([draw(st.sampled_from([0.0, 0.5, 2.0, np.inf])) for _ in range(count)]),
    )


def book(*orders: tuple[float, float, float]) -> Orders:
    """Orders of side, energy and price."""
    side, energy, price = zip(*orders, strict=True) if orders else ((), (), ())
    return Orders.of(
        id=[f"o{n}" for n in range(len(orders))],
        side=side,
        energy_kwh=energy,
        price_eur_per_kwh=price,
    )


# ---------------------------------------------------------------- one leader, many followers


@QUICK
@given(follower_groups(), prices, st.sampled_from([np.inf, 6.0, 1.0, 0.0]))
def test_no_price_of_a_fine_grid_earns_the_leader_more(
    followers: Followers, cost: float, cap: float
) -> None:
    decision = leader_price(followers, cost, -0.1, 0.5, cap)
    grid = np.linspace(-0.1, 0.5, 601)
    total = followers.demand_kwh(grid).sum(axis=1)
    allowed = total <= cap + 1e-9
    if decision is None:
        assert not allowed.any()
        return
    assert decision.demand_kwh.sum() <= cap + 1e-6
    assert -0.1 <= decision.price <= 0.5
    profits = (grid - cost) * total
    assert decision.profit_eur >= profits[allowed].max(initial=-np.inf) - 1e-9


def test_a_leader_whose_cost_nobody_pays_takes_the_lowest_price_without_loss() -> None:
    """Every price from 0.20 up has profit 0; below it, each kWh loses money."""
    followers = Followers.of(np.array([0.20]), np.array([0.05]))
    decision = leader_price(followers, 0.40, 0.0, 0.5)
    assert decision is not None
    assert decision.price == pytest.approx(0.20)
    assert decision.profit_eur == pytest.approx(0.0)


def test_reached_caps_join_the_best_price_of_the_rest() -> None:
    """p = (c + (v2/th2 + cap1) / (1/th2)) / 2 = (0.1 + (8 + 1) / 20) / 2 = 0.275."""
    followers = Followers.of(np.array([1.0, 0.40]), np.array([0.05, 0.05]), np.array([1.0, np.inf]))
    decision = leader_price(followers, 0.10, 0.0, 0.39)
    assert decision is not None
    assert decision.price == pytest.approx(0.275)
    assert decision.demand_kwh == pytest.approx([1.0, 2.5])


def test_a_cap_of_zero_closes_the_leaders_shop() -> None:
    followers = Followers.of(np.array([0.40, 0.30]), np.array([0.05, 0.05]))
    decision = leader_price(followers, 0.10, 0.0, 0.5, 0.0)
    assert decision is not None
    assert decision.price == pytest.approx(0.40)
    assert leader_price(followers, 0.10, 0.0, 0.39, 0.0) is None
    assert leader_price(followers, 0.10, 0.0, 0.5, -1.0) is None


def test_a_leader_without_followers_takes_the_lowest_price() -> None:
    decision = leader_price(Followers.of(np.zeros(0), np.zeros(0)), 0.1, 0.05, 0.3)
    assert decision is not None
    assert (decision.price, decision.profit_eur) == (0.05, 0.0)
    assert leader_price(Followers.of(np.zeros(0), np.zeros(0)), 0.1, 0.4, 0.3) is None


@pytest.mark.parametrize(
    ("value", "slope", "cap", "told"),
    [
        ([np.nan], [0.1], [1.0], "follower 1: value is nan"),
        ([0.3, 0.3], [0.1, 0.0], [1.0, 1.0], "follower 2: slope is 0"),
        ([0.3], [0.1], [-1.0], "follower 1: cap_kwh is -1"),
        ([0.3], [0.1, 0.1], [1.0], "slope has 2 entries"),
    ],
)
def test_a_wrong_follower_is_named(
    value: list[float], slope: list[float], cap: list[float], told: str
) -> None:
    with pytest.raises(MarketError, match=told):
        Followers.of(np.array(value), np.array(slope), np.array(cap))


@QUICK
@given(books())
def test_a_middleman_never_loses_and_nobody_trades_beyond_its_order(orders: Orders) -> None:
    result = LeaderPrice().clear(orders, MarketTerms())
    bought = result.accepted_kwh[orders.buys].sum()
    assert bought == pytest.approx(result.accepted_kwh[orders.sells].sum())
    assert result.operator_surplus_eur >= -1e-9
    assert result.payment_eur.sum() == pytest.approx(result.operator_surplus_eur)
    gain = orders.side * orders.price_eur_per_kwh * result.accepted_kwh - result.payment_eur
    assert gain.min(initial=0.0) >= -1e-9
    assert (result.accepted_kwh <= orders.energy_kwh + 1e-12).all()


@QUICK
@given(books())
def test_no_other_single_price_earns_a_middleman_more(orders: Orders) -> None:
    result = LeaderPrice().clear(orders, MarketTerms())
    limit, energy = orders.price_eur_per_kwh, orders.energy_kwh
    for price in np.unique(limit[orders.buys]):
        wanted = energy[orders.buys][limit[orders.buys] >= price].sum()
        earned = 0.0
        for row in orders.sells[np.argsort(limit[orders.sells], kind="stable")]:
            sold = min(wanted, energy[row]) if limit[row] <= price else 0.0
            earned, wanted = earned + (price - limit[row]) * sold, wanted - sold
        assert result.operator_surplus_eur >= earned - 1e-9


def test_a_middleman_sells_less_at_a_higher_price_if_that_pays() -> None:
    """At 0.30 it earns 2 x 0.20; at 0.15 it would earn 4 x 0.05."""
    orders = book((1, 2.0, 0.30), (1, 2.0, 0.15), (-1, 5.0, 0.10))
    result = LeaderPrice().clear(orders, MarketTerms())
    assert result.buy_price == pytest.approx(0.30)
    assert result.accepted_kwh == pytest.approx([2.0, 0.0, 2.0])
    assert result.operator_surplus_eur == pytest.approx(0.40)


def test_a_middleman_that_cannot_keep_the_grid_cap_says_so() -> None:
    orders = book((1, 2.0, 0.30), (-1, 5.0, 0.10))
    capped = LeaderPrice(grid_cap_kwh=1.0, highest_price=0.2).clear(orders, MarketTerms())
    assert capped.flags == {"infeasible"}
    assert capped.buy_price is None
    assert not capped.accepted_kwh.any()


def test_a_middleman_leaves_no_rounding_as_a_trade() -> None:
    orders = book((1, 0.1, 0.3), (1, 0.2, 0.3), (-1, 0.3, 0.1), (-1, 1.0, 0.2))
    result = LeaderPrice().clear(orders, MarketTerms())
    assert result.accepted_kwh.tolist() == [0.1, 0.2, 0.3, 0.0]


# ---------------------------------------------------------------- bids against bids


def test_bids_that_chase_each_other_for_ever_end_as_if_every_round_had_been_played() -> None:
    """Two sellers and a buyer who never settle, found among random books."""
    orders = book((-1, 3, 0.3), (-1, 1, 0.2), (1, 2, 0.3), (1, 3, 0.25), (-1, 2, 0.2))
    grid, rows, true = [0.1, 0.15, 0.2, 0.25, 0.3], [0, 1, 2], [0.1, 0.1, 0.25]

    def outcome(rounds: int) -> tuple[list[float], int, bool]:
        found = bidding_equilibrium(orders, rows, true, grid, k=0.5, max_rounds=rounds)
        return found.bid.tolist(), found.rounds, found.converged

    bid, rounds, converged = outcome(37)
    assert (rounds, converged) == (37, False)
    stepwise = orders
    for _ in range(37):
        one = bidding_equilibrium(stepwise, rows, true, grid, k=0.5, max_rounds=1)
        price = stepwise.price_eur_per_kwh.copy()
        price[:3] = one.bid
        stepwise = stepwise.with_price(price)
    assert bid == stepwise.price_eur_per_kwh[:3].tolist()


def test_no_player_of_an_equilibrium_gains_by_another_bid() -> None:
    orders = book((-1, 1.0, 0.3), (-1, 2.0, 0.3), (1, 2.0, 0.05), (1, 1.0, 0.25))
    grid, true = np.linspace(0.05, 0.3, 26), [0.10, 0.12, 0.28]
    found = bidding_equilibrium(orders, [0, 1, 2], true, grid, k=0.5)
    assert found.converged
    price = orders.price_eur_per_kwh.copy()
    price[:3] = found.bid
    settled = orders.with_price(price)
    for player in range(3):
        one = bidding_equilibrium(settled, [player], [true[player]], grid, k=0.5, max_rounds=1)
        assert one.bid[0] == found.bid[player]


def test_a_game_without_rounds_keeps_the_first_bids_and_says_that_it_did_not_converge() -> None:
    orders = book((-1, 1.0, 0.3), (1, 1.0, 0.3))
    found = bidding_equilibrium(orders, [0], [0.1], [0.1, 0.2], max_rounds=0)
    assert found.bid.tolist() == [0.3]
    assert (found.rounds, found.converged) == (0, False)
    assert found.flags == {NOT_CONVERGED}


def test_players_without_a_true_price_are_refused() -> None:
    with pytest.raises(MarketError, match="2 players, but 1 true prices"):
        bidding_equilibrium(book((1, 1, 1), (-1, 1, 0)), [0, 1], [0.1], [0.1])
    with pytest.raises(MarketError, match="grid has a nan"):
        bidding_equilibrium(book((1, 1, 1), (-1, 1, 0)), [0], [0.1], [np.nan])


# ---------------------------------------------------------------- shares of a coalition


@QUICK
@given(nets)
def test_shares_add_up_and_leave_nobody_worse_off_and_the_nucleolus_is_in_the_core(
    net: list[float],
) -> None:
    shares = coalition_value_sharing(net, RETAIL, FEED_IN)
    assert shares.nucleolus_eur is not None
    for share in (shares.shapley_eur, shares.nucleolus_eur):
        assert share.sum() == pytest.approx(shares.saving_eur, abs=1e-9)
        assert share.min() >= -1e-9
        together = RETAIL * max(sum(net), 0.0) - FEED_IN * max(-sum(net), 0.0)
        assert shares.bill_eur(share).sum() == pytest.approx(together, abs=1e-9)
    assert shares.core_nonempty
    assert shares.least_core_epsilon_eur is not None
    assert shares.least_core_epsilon_eur <= 1e-9


@QUICK
@given(st.lists(st.integers(-40, 40).map(lambda n: n / 10), min_size=1, max_size=5))
def test_the_shapley_value_is_the_mean_over_all_sequences_of_joining(net: list[float]) -> None:
    game = netting_game(np.array([net]), np.array([RETAIL]), np.array([FEED_IN]))
    count = len(net)
    mean, sequences = np.zeros(count), list(permutations(range(count)))
    for sequence in sequences:
        inside = np.zeros((1, count), dtype=np.bool_)
        for player in sequence:
            before = game(inside)[0]
            inside[0, player] = True
            mean[player] += (game(inside)[0] - before) / len(sequences)
    assert shapley_value(game, count) == pytest.approx(mean, abs=1e-9)


def test_a_sampled_shapley_value_is_near_the_exact_one_and_comes_back_with_its_seed() -> None:
    """2000 sequences: the standard error of a share is below 1 % of the saving here."""
    net = np.array([[-3.0, 2.0, 2.5, -1.0, 0.5, 1.0, -2.0, 0.7, -0.3, 1.1, -1.4]])
    game = netting_game(net, np.array([RETAIL]), np.array([FEED_IN]))
    sampled = shapley_value(game, 11, seed=7)
    assert np.array_equal(sampled, shapley_value(game, 11, seed=7))
    values = game(all_coalitions(11))
    assert sampled.sum() == pytest.approx(values[-1])
    exact = _exact_by_symmetry(game, net)
    assert np.abs(sampled - exact).max() < 0.02 * values[-1]
    with pytest.raises(MarketError, match="permutations is 1999"):
        shapley_value(game, 11, permutations=1999)


def _exact_by_symmetry(game: object, net: np.ndarray) -> np.ndarray:
    """Exact values from the mean gain by size, over all coalitions without the player."""
    assert callable(game)
    table = all_coalitions(net.shape[1])
    values, sizes = game(table), table.sum(axis=1)
    exact = []
    for player in range(net.shape[1]):
        without = np.flatnonzero(~table[:, player])
        gains = values[without + (1 << player)] - values[without]
        exact.append(np.mean([gains[sizes[without] == s].mean() for s in range(net.shape[1])]))
    return np.array(exact)


def test_above_fourteen_members_the_core_is_left_open() -> None:
    shares = coalition_value_sharing(np.linspace(-3.0, 4.0, 15), RETAIL, FEED_IN)
    assert shares.shapley_eur.sum() == pytest.approx(shares.saving_eur)
    assert shares.nucleolus_eur is None
    assert shares.core_nonempty is None


def test_the_nucleolus_of_the_bankruptcy_of_the_talmud() -> None:
    """Claims 100, 200, 300 on an estate of 200: 50, 75, 75 (Aumann, Maschler 1985)."""
    claims, estate = np.array([100.0, 200.0, 300.0]), 200.0
    values = np.maximum(estate - ~all_coalitions(3) @ claims, 0.0)
    assert nucleolus(values) == pytest.approx([50.0, 75.0, 75.0])


@QUICK
@given(st.lists(st.integers(0, 30), min_size=16, max_size=16), st.integers(0, 2**32 - 1))
def test_no_other_shares_have_a_lower_sequence_of_excesses_than_the_nucleolus(
    worths: list[int], seed: int
) -> None:
    """Shares nearby and far, on games of four players without any structure."""
    values = np.array([0, *worths[1:]], dtype=np.float64)
    best = nucleolus(values)
    coalitions = all_coalitions(4)
    assert best.sum() == pytest.approx(values[-1])

    def excesses(share: np.ndarray) -> np.ndarray:
        return np.asarray(np.sort((values - coalitions @ share)[1:-1])[::-1])

    random = np.random.default_rng(seed)
    for size in (0.01, 0.3, 10.0):
        for _ in range(20):
            move = random.normal(size=4) * size
            higher = excesses(best + move - move.mean()) - excesses(best)
            first = higher[np.abs(higher) > 1e-7]
            assert not len(first) or first[0] > 0.0


def test_a_game_with_an_empty_core_has_a_positive_least_core() -> None:
    """Any two of three take 1: each gets 1/3, and any two lack 1/3."""
    values = (all_coalitions(3).sum(axis=1) >= 2).astype(float)
    share = nucleolus(values)
    assert share == pytest.approx([1 / 3] * 3)
    assert largest_excess(values, share) == pytest.approx(1 / 3)


def test_a_single_member_and_members_of_one_side_save_nothing() -> None:
    alone = coalition_value_sharing([2.0], RETAIL, FEED_IN)
    assert (alone.saving_eur, alone.least_core_epsilon_eur) == (0.0, 0.0)
    buyers = coalition_value_sharing([2.0, 1.0], RETAIL, FEED_IN)
    assert buyers.nucleolus_eur == pytest.approx([0.0, 0.0])
    assert buyers.core_nonempty
    assert buyers.shapley_in_core


def test_a_net_that_is_no_number_is_named() -> None:
    with pytest.raises(MarketError, match="member 2, slot 1: net is nan"):
        coalition_value_sharing([1.0, np.nan], RETAIL, FEED_IN)
    with pytest.raises(MarketError, match="retail_price is"):
        coalition_value_sharing([[1.0], [2.0]], [0.3, 0.3, 0.3], FEED_IN)


# ---------------------------------------------------------------- links


@QUICK
@given(nets, st.data())
def test_each_linked_part_shares_exactly_its_own_saving(
    net: list[float], data: st.DataObject
) -> None:
    split = data.draw(st.integers(0, len(net)))
    chain = [[n, n + 1] for n in range(len(net) - 1) if n + 1 != split]
    shares = coalition_graph(net, np.array(chain, dtype=int).reshape(-1, 2), RETAIL, FEED_IN)
    for part in (slice(0, split), slice(split, None)):
        if net[part]:
            saved = coalition_value_sharing(net[part], RETAIL, FEED_IN).saving_eur
            assert shares.myerson_eur[part].sum() == pytest.approx(saved, abs=1e-9)
    assert shares.myerson_eur.min() >= -1e-9


@QUICK
@given(nets)
def test_with_all_links_the_myerson_value_is_the_shapley_value(net: list[float]) -> None:
    every = [[i, j] for i in range(len(net)) for j in range(i)]
    linked = coalition_graph(net, np.array(every, dtype=int).reshape(-1, 2), RETAIL, FEED_IN)
    shares = coalition_value_sharing(net, RETAIL, FEED_IN)
    assert linked.myerson_eur == pytest.approx(shares.shapley_eur, abs=1e-9)


def test_parts_are_found_along_long_chains_in_any_sequence_of_links() -> None:
    links = np.array([[8, 9], [0, 5], [5, 9], [8, 3], [3, 1]])
    game = restricted_to_links(lambda table: (table.sum(axis=1) - 1.0).clip(0.0), links)
    assert game(np.ones((1, 10), dtype=np.bool_)).tolist() == [5.0]


def test_members_without_links_save_nothing_and_wrong_links_are_named() -> None:
    shares = coalition_graph([-1.0, 1.0], [], RETAIL, FEED_IN)
    assert shares.myerson_eur.tolist() == [0.0, 0.0]
    assert shares.saving_eur == 0.0
    with pytest.raises(MarketError, match=r"link 2 is \[0, 2\]"):
        coalition_graph([-1.0, 1.0], [[0, 1], [0, 2]], RETAIL, FEED_IN)


# ---------------------------------------------------------------- coalitions that form


@QUICK
@given(nets, st.sampled_from([0.0, 0.01, 0.05]), st.integers(1, 6))
def test_formed_coalitions_keep_their_size_and_leave_nobody_worse_off_than_alone(
    net: list[float], kappa: float, largest: int
) -> None:
    formed = coalition_formation(net, RETAIL, FEED_IN, membership_cost=kappa, largest_size=largest)
    assert sorted(member for part in formed.partition for member in part) == list(range(len(net)))
    assert max(len(part) for part in formed.partition) <= largest
    alone = np.where(np.array(net) > 0.0, RETAIL, FEED_IN) * np.array(net)
    assert (formed.bill_eur + formed.membership_eur <= alone + 1e-8).all()
    for part in formed.partition:
        members = list(part)
        bills = mid_market_rate(np.array(net)[members], RETAIL, FEED_IN).bill_eur
        assert formed.bill_eur[members] == pytest.approx(bills)
        assert formed.membership_eur[members] == pytest.approx(kappa * (len(part) - 1))


@QUICK
@given(nets, st.sampled_from([0.0, 0.01, 0.05]))
def test_no_merge_or_split_of_formed_coalitions_is_better_for_all(
    net: list[float], kappa: float
) -> None:
    formed = coalition_formation(net, RETAIL, FEED_IN, membership_cost=kappa)

    def cost(part: tuple[int, ...]) -> dict[int, float]:
        bills = mid_market_rate(np.array(net)[list(part)], RETAIL, FEED_IN).bill_eur
        return dict(zip(part, bills + kappa * (len(part) - 1), strict=True))

    def better(after: dict[int, float], before: dict[int, float]) -> bool:
        change = [after[member] - before[member] for member in before]
        return max(change) <= 1e-9 and min(change) < -1e-8

    for one in formed.partition:
        for other in formed.partition:
            if one != other:
                assert not better(cost((*one, *other)), cost(one) | cost(other))
        for mask in range(1, 2 ** len(one) - 1):
            left = tuple(m for n, m in enumerate(one) if mask >> n & 1)
            right = tuple(m for m in one if m not in left)
            assert not better(cost(left) | cost(right), cost(one))


def test_no_members_form_no_coalition_and_wrong_sizes_are_refused() -> None:
    assert coalition_formation([], RETAIL, FEED_IN).partition == ()
    with pytest.raises(MarketError, match="largest_size is 0"):
        coalition_formation([1.0], RETAIL, FEED_IN, largest_size=0)


# ---------------------------------------------------------------- buyers that drift


@QUICK
@given(st.lists(st.tuples(st.integers(5, 25), st.integers(1, 9)), min_size=1, max_size=5))
def test_where_buyers_stay_all_payoffs_are_equal_and_nobody_offers_more(
    sellers: list[tuple[int, int]],
) -> None:
    price = [p / 100 for p, _ in sellers]
    shares = replicator_sellers(
        price, [s for _, s in sellers], demand_kwh=5.0, value=0.3, crowding=0.1, step=2.0
    )
    assert shares.share.sum() == pytest.approx(1.0)
    used = shares.payoff[shares.share > 1e-3]
    assert np.ptp(used) < 1e-4
    assert shares.payoff.max() <= used.max() + 1e-4


def test_a_step_far_too_long_still_leaves_a_distribution() -> None:
    shares = replicator_sellers(
        [0.1, 0.4], [1.0, 1.0], demand_kwh=1.0, value=0.3, crowding=0.1, step=50.0, max_steps=20
    )
    assert shares.share.min() >= 0.0
    assert shares.share.sum() == pytest.approx(1.0)
    assert shares.steps <= 20


def test_wrong_sellers_are_named() -> None:
    sellers = partial(replicator_sellers, demand_kwh=1.0, value=0.3, crowding=0.1, step=0.5)
    with pytest.raises(MarketError, match="seller 2: supply_kwh is 0"):
        sellers([0.1, 0.1], [1.0, 0.0])
    with pytest.raises(MarketError, match=r"start_share adds up to 0\.5"):
        sellers([0.1], [1.0], start_share=[0.5])
    assert not len(sellers([], []).share)


# ---------------------------------------------------------------- the island


@QUICK
@given(books())
def test_an_island_balances_and_sheds_exactly_what_it_does_not_serve(orders: Orders) -> None:
    result = IslandOperation().clear(orders, MarketTerms())
    buys, sells = orders.buys, orders.sells
    served = result.accepted_kwh[buys].sum()
    assert served == pytest.approx(result.accepted_kwh[sells].sum())
    assert (result.accepted_kwh + result.shed_kwh)[buys] == pytest.approx(orders.energy_kwh[buys])
    assert served + result.unused_supply_kwh == pytest.approx(orders.energy_kwh[sells].sum())
    assert result.payment_eur.sum() == pytest.approx(0.0, abs=1e-9)
    critical = orders.attribute("critical", 0.0)[buys] > 0.0
    if result.energy_not_served_critical_kwh > 1e-9:
        assert result.accepted_kwh[buys][~critical].sum() == pytest.approx(0.0)


def test_what_an_island_lacks_is_shed_in_proportion_at_the_margin() -> None:
    """2 kWh are left for 1 + 3 kWh at the same price: half of each."""
    orders = book((1, 1.0, 0.2), (1, 3.0, 0.2), (1, 1.0, 0.3), (-1, 3.0, 0.1))
    result = IslandOperation().clear(orders, MarketTerms())
    assert result.shed_kwh == pytest.approx([0.5, 1.5, 0.0, 0.0])
    assert result.buy_price == pytest.approx(0.2)


def test_an_island_that_cannot_be_operated_goes_dark() -> None:
    orders = book((1, 1.0, 0.2), (-1, 3.0, 0.1))
    assert not IslandOperation(reserve_kwh=3.0).clear(orders, MarketTerms()).blackout
    for island in (IslandOperation(grid_forming=False), IslandOperation(reserve_kwh=2.9)):
        result = island.clear(orders, MarketTerms())
        assert result.flags == {BLACKOUT}
        assert result.shed_kwh.tolist() == [1.0, 0.0]
        assert (result.buy_price, result.unused_supply_kwh) == (None, 3.0)


def test_contracts_across_the_breaker_are_void_for_the_time_that_it_was_open() -> None:
    assert contract_left_kwh([4.0, 1.0], 0.25, 1.0) == pytest.approx([3.0, 0.75])
    with pytest.raises(MarketError, match="islanded_hours is 2"):
        contract_left_kwh([1.0], 2.0, 1.0)


def test_an_island_comes_back_at_the_next_gate() -> None:
    assert reconnection_gate([0.0, 15.0, 30.0], 15.0) == 15.0
    assert reconnection_gate([0.0, 15.0, 30.0], 16.0) == 30.0
    assert reconnection_gate([0.0, 15.0, 30.0], 31.0) is None
