"""Shared storage: shares of a battery, room at auction, levels in turn, nanogrids online."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.markets.flexibility.battery import Battery
from tricell.markets.flexibility.community_battery import use_community_battery
from tricell.markets.flexibility.multilevel_storage import StorageLevel, use_levels
from tricell.markets.flexibility.online_storage import Nanogrids, OnlineStorage, operate_cluster
from tricell.markets.flexibility.storage_auction import auction_storage, give_up_by_ask
from tricell.markets.order_table import Orders

Floats = NDArray[np.float64]

KWH = 1e-9
EUR = 1e-9

# --- a battery of which members own shares ---

BATTERY = Battery(10.0, 4.0, charge_efficiency=0.9, discharge_efficiency=0.8, name="B1")
PRICES: dict[str, Any] = {"import_price": 0.30, "export_price": 0.08}

net_energies = st.lists(
    st.lists(st.floats(-6, 6), min_size=3, max_size=3), min_size=1, max_size=6
).map(np.array)


@settings(max_examples=60, deadline=None)
@given(net_energies, st.sampled_from([0.25, 1.0]))
def test_members_keep_to_their_shares_and_money_and_energy_balance(
    net: Floats, hours: float
) -> None:
    share, start = np.array([0.5, 0.3, 0.0]), np.array([2.0, 0.0, 0.0])
    use = use_community_battery(
        net, share, BATTERY, **PRICES, fee=0.02, stored_kwh=start, hours=hours
    )
    change = np.diff(use.stored_kwh, axis=0, prepend=start[np.newaxis])
    np.testing.assert_allclose(change, 0.9 * use.charge_kwh - use.draw_kwh / 0.8, atol=KWH)
    outside = use.import_kwh - use.export_kwh
    np.testing.assert_allclose(outside, net + use.charge_kwh - use.draw_kwh, atol=KWH)
    assert not (use.charge_kwh * use.draw_kwh).any()
    assert (use.stored_kwh <= share * 10.0).all()
    assert (use.charge_kwh + use.draw_kwh <= share * 4.0 * hours).all()
    assert use.operator_revenue_eur == pytest.approx(0.02 * (use.charge_kwh + use.draw_kwh).sum())
    retail = 0.30 * use.import_kwh.sum() - 0.08 * use.export_kwh.sum()
    assert use.bill_eur.sum() == pytest.approx(retail + use.operator_revenue_eur, abs=EUR)
    alone = 0.30 * np.maximum(net[:, 2], 0.0).sum() - 0.08 * np.maximum(-net[:, 2], 0.0).sum()
    assert use.bill_eur[2] == pytest.approx(alone, abs=EUR)


def test_power_room_and_surplus_limit_in_turn() -> None:
    """Share 0.5 of 6 kWh and 4 kW: 2 kW, then 3 kWh of room at 0.9, then the surplus."""
    battery = Battery(6.0, 4.0, charge_efficiency=0.9)
    use = use_community_battery([[-5.0], [-5.0], [-0.5], [9.0]], [0.5], battery, **PRICES)
    assert use.charge_kwh[:, 0].tolist() == pytest.approx([2.0, (3.0 - 1.8) / 0.9, 0.0, 0.0])
    assert use.draw_kwh[3, 0] == pytest.approx(2.0)


def test_prices_may_change_from_slot_to_slot() -> None:
    use = use_community_battery(
        [[2.0], [2.0]], [0.0], BATTERY, import_price=[0.1, 0.4], export_price=0.05
    )
    assert use.bill_eur.tolist() == pytest.approx([1.0])


@pytest.mark.parametrize(
    ("share", "stored", "message"),
    [
        ([0.7, 0.6], 0.0, "B1: the shares add up to 1.3"),
        ([0.7, -0.1], 0.0, "B1: share of member Bo is -0.1"),
        ([0.5, 0.1], [0.0, 2.0], "member Bo holds 2.0 kWh; allowed is 0 to 1"),
    ],
)
def test_shares_that_the_battery_does_not_have_are_refused(
    share: list[float], stored: float | list[float], message: str
) -> None:
    with pytest.raises(MarketError, match=message):
        use_community_battery(
            [[1.0, 1.0]], share, BATTERY, **PRICES, stored_kwh=stored, names=["Al", "Bo"]
        )


def test_a_negative_fee_or_a_gap_is_refused() -> None:
    with pytest.raises(MarketError, match=r"B1: fee is -0\.1"):
        use_community_battery([[1.0]], [0.5], BATTERY, **PRICES, fee=-0.1)
    with pytest.raises(MarketError, match="net_kwh needs"):
        use_community_battery([[np.nan]], [0.5], BATTERY, **PRICES)
    with pytest.raises(MarketError, match="import_price needs"):
        use_community_battery([[1.0]], [0.5], BATTERY, import_price=np.nan, export_price=0.0)


# --- room in batteries at auction ---


def storage_book(households: list[tuple[int, int]], facilities: list[tuple[int, int]]) -> Orders:
    """Households and facilities with room in kWh and price in cents."""
    both = households + facilities
    return Orders.of(
        id=[f"h{n:02d}" for n in range(len(households))]
        + [f"f{n:02d}" for n in range(len(facilities))],
        side=[-1.0] * len(households) + [1.0] * len(facilities),
        energy_kwh=[float(room) for room, _ in both],
        price_eur_per_kwh=[cents / 100 for _, cents in both],
    )


traders = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 15)), max_size=6)


@settings(max_examples=150, deadline=None)
@given(traders, traders, st.sampled_from([0.001, 0.01, 0.05]))
def test_nobody_loses_in_the_storage_auction_and_its_money_balances(
    households: list[tuple[int, int]], facilities: list[tuple[int, int]], theta: float
) -> None:
    orders = storage_book(households, facilities)
    result = auction_storage(orders, theta)
    if result.price is None:
        assert not result.lent_kwh.any()
        assert not result.rented_kwh.any()
        assert not len(result.households)
        return
    assert result.earned_eur.sum() == pytest.approx(result.paid_eur.sum(), abs=EUR)
    assert result.lent_kwh.sum() == pytest.approx(result.rented_kwh.sum(), abs=KWH)
    price = orders.price_eur_per_kwh
    assert (price[result.households] <= result.price).all()
    assert (price[result.facilities] >= result.price).all()
    assert (result.lent_kwh <= result.offered_kwh).all()
    assert (result.offered_kwh <= orders.energy_kwh).all()
    assert (result.rented_kwh <= orders.energy_kwh + KWH).all()
    burden = price * result.lent_kwh + theta * result.lent_kwh**2 / 2
    assert (result.earned_eur >= burden - EUR).all()


def test_the_price_of_storage_is_clipped_to_the_pair_that_left() -> None:
    """Mean bid 0.12 and mean ask 0.00 make 0.06, less than the ask of 0.07 that left."""
    orders = storage_book([(2, 0), (5, 7)], [(2, 12), (5, 8)])
    result = auction_storage(orders, 0.1)
    assert result.price == pytest.approx(0.07)
    assert result.offered_kwh.tolist() == pytest.approx([0.7, 0.0, 0.0, 0.0])


def test_an_excess_of_room_is_given_up_by_ask() -> None:
    """Mean bid 0.20 and mean ask 0.03 make 0.115: 8 + 4 = 12 kWh for 9; 3 leave as 0.02 to 0.04."""
    orders = storage_book([(8, 2), (4, 4), (9, 10)], [(9, 20), (12, 12)])
    result = auction_storage(orders, 0.001)
    assert result.price == pytest.approx(0.115)
    assert result.offered_kwh[:3].tolist() == pytest.approx([8.0, 4.0, 0.0])
    assert result.lent_kwh[:3].tolist() == pytest.approx([7.0, 2.0, 0.0])
    assert result.rented_kwh[3:].tolist() == pytest.approx([9.0, 0.0])


def test_one_pair_alone_trades_no_room() -> None:
    assert auction_storage(storage_book([(2, 5)], [(2, 9)]), 0.01).price is None


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 9), st.floats(0, 0.2)), min_size=1, max_size=6),
    st.floats(0.1, 1.0),
)
def test_giving_up_ends_at_the_total_and_takes_by_ask(
    traders: list[tuple[float, float]], part: float
) -> None:
    offered, ask = np.array(traders).T
    assume(offered.sum() > 0.01)
    left = give_up_by_ask(offered, ask, part * offered.sum())
    assert left.sum() == pytest.approx(part * offered.sum(), abs=KWH)
    assert ((left >= 0.0) & (left <= offered)).all()
    cut = offered - left
    inside = (left > KWH) & (ask > 1e-3)
    if inside.any():
        per_ask = cut[inside] / ask[inside]
        np.testing.assert_allclose(per_ask, per_ask[0], rtol=1e-6, atol=1e-6)


def test_asks_of_nothing_give_up_the_same() -> None:
    left = give_up_by_ask(np.array([4.0, 2.0, 1.0]), np.zeros(3), 4.0)
    assert left.tolist() == pytest.approx([3.0, 1.0, 0.0])


def test_a_theta_of_nothing_and_a_negative_ask_are_refused() -> None:
    with pytest.raises(MarketError, match="theta is 0"):
        auction_storage(storage_book([(2, 5)], [(2, 9)]), 0.0)
    with pytest.raises(MarketError, match=r"household h00 asks -0\.01"):
        auction_storage(storage_book([(2, -1)], [(2, 9)]), 0.01)


# --- levels in turn ---


@settings(max_examples=60, deadline=None)
@given(net_energies)
def test_levels_fill_in_turn_and_energy_balances(net: Floats) -> None:
    levels = [
        StorageLevel("home", np.array([1.0, 2.0, 3.0]), 2.0, 0.9, 0.0, 0.5),
        StorageLevel("community", 3.0, np.array([2.0, 1.0, 0.0]), 0.8, 0.02),
        StorageLevel("cell", 10.0, np.inf, 1.0, 0.04),
    ]
    use = use_levels(net, levels)
    put_in, drawn = use.charge_kwh.sum(axis=1), use.draw_kwh.sum(axis=1)
    outside = use.import_kwh - use.export_kwh
    np.testing.assert_allclose(outside, net + put_in - drawn, atol=KWH)
    eta = np.array([0.9, 0.8, 1.0])[:, np.newaxis]
    start = np.zeros((1, 3, 3))
    start[0, 0] = 0.5
    change = np.diff(use.stored_kwh, axis=0, prepend=start)
    np.testing.assert_allclose(change, eta * use.charge_kwh - use.draw_kwh, atol=KWH)
    fee = np.array([0.0, 0.02, 0.04])[:, np.newaxis]
    np.testing.assert_allclose(use.fee_eur, fee * (use.charge_kwh + use.draw_kwh).sum(axis=0))
    # Who uses the cell has emptied its slice of the community, or runs it at full power.
    power = np.array([2.0, 1.0, 0.0])
    draws_far = use.draw_kwh[:, 2] > KWH
    busy = (use.stored_kwh[:, 1] <= KWH) | (use.draw_kwh[:, 1] >= power - KWH)
    assert busy[draws_far].all()
    alone = use_levels(net[:, :1], [StorageLevel("home", 1.0, 2.0, 0.9, 0.0, 0.5), *_rest()])
    np.testing.assert_array_equal(alone.stored_kwh[..., 0], use.stored_kwh[..., 0])


def _rest() -> list[StorageLevel]:
    return [
        StorageLevel("community", 3.0, 2.0, 0.8, 0.02),
        StorageLevel("cell", 10.0, np.inf, 1.0, 0.04),
    ]


def test_without_levels_all_is_left_to_the_grid() -> None:
    use = use_levels([[-1.0], [2.0]], [])
    assert use.export_kwh.tolist() == [[1.0], [0.0]]
    assert use.import_kwh.tolist() == [[0.0], [2.0]]


def test_a_bad_slice_names_its_level_and_household() -> None:
    with pytest.raises(MarketError, match=r"level cell, household 1: capacity_kwh is 0\.0"):
        StorageLevel("cell", np.array([1.0, 0.0]), 1.0)
    with pytest.raises(MarketError, match=r"level home: efficiency is 1\.2"):
        StorageLevel("home", 1.0, 1.0, efficiency=1.2)
    with pytest.raises(MarketError, match=r"level home: capacity_kwh has shape \(2,\)"):
        use_levels([[1.0]], [StorageLevel("home", np.ones(2), 1.0)])


# --- nanogrids without forecasts ---

nanogrid = st.tuples(st.integers(-3, 3), st.integers(0, 3), st.integers(0, 3), st.integers(-3, 9))
grid_prices = st.integers(-30, 40).map(lambda cents: cents / 100)


def cluster_of(rows: list[tuple[int, int, int, int]]) -> Nanogrids:
    """Nanogrids of 3 kWh from net energy, stored energy, rate and threshold."""
    net, stored, rate, threshold = np.array(rows, dtype=np.float64).T
    return Nanogrids(net, stored, np.full(len(rows), 3.0), rate, threshold)


def penalty(cluster: Nanogrids, weight: float, prices: tuple[float, float], b: Floats) -> float:
    """What the rule minimises."""
    grid = float(cluster.net_kwh.sum() + b.sum())
    cost = grid * (prices[0] if grid > 0.0 else prices[1])
    return weight * cost + float((cluster.stored_kwh - cluster.threshold_kwh) @ b)


def best_by_trying(cluster: Nanogrids, weight: float, prices: tuple[float, float]) -> float:
    """Least penalty on whole kWh, where all corners of the program lie."""
    ranges = [
        range(-int(min(rate, stored)), int(min(rate, 3.0 - stored)) + 1)
        for rate, stored in zip(cluster.rate_kwh, cluster.stored_kwh, strict=True)
    ]
    tried = (np.array(b, dtype=np.float64) for b in product(*ranges))
    return min(penalty(cluster, weight, prices, b) for b in tried)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(nanogrid, min_size=1, max_size=3),
    st.sampled_from([1.0, 7.0, 20.0]),
    grid_prices,
    grid_prices,
)
def test_no_other_use_of_the_batteries_is_better_in_the_slot(
    rows: list[tuple[int, int, int, int]], weight: float, buy: float, sell: float
) -> None:
    """Any sign of prices, and export that earns more than import costs."""
    cluster = cluster_of(rows)
    result = operate_cluster(cluster, weight, import_price=buy, export_price=sell)
    found = penalty(cluster, weight, (buy, sell), result.battery_kwh)
    assert found == pytest.approx(best_by_trying(cluster, weight, (buy, sell)), abs=1e-9)
    grid = cluster.net_kwh.sum() + result.battery_kwh.sum()
    assert result.import_kwh - result.export_kwh == pytest.approx(grid, abs=KWH)
    assert result.cost_eur == pytest.approx(buy * result.import_kwh - sell * result.export_kwh)
    stored = cluster.stored_kwh + result.battery_kwh
    assert ((stored >= 0.0) & (stored <= 3.0)).all()


def operate_one(worth: float) -> OnlineStorage:
    """A nanogrid with balanced load whose stored kWh has a given worth."""
    net, stored, capacity, rate, theta = np.array([[0.0], [2.0], [4.0], [1.0], [2.0 + 10 * worth]])
    cluster = Nanogrids(net, stored, capacity, rate, theta)
    return operate_cluster(cluster, 10.0, import_price=0.30, export_price=0.08)


@pytest.mark.parametrize(
    ("worth", "battery"), [(0.35, 1.0), (0.30, 0.0), (0.2, 0.0), (0.08, 0.0), (0.05, -1.0)]
)
def test_a_battery_trades_only_where_its_energy_is_worth_more_or_less_than_the_grids(
    worth: float, battery: float
) -> None:
    assert operate_one(worth).battery_kwh.tolist() == pytest.approx([battery])


def test_bad_nanogrids_are_named() -> None:
    one = np.ones(2)
    with pytest.raises(MarketError, match=r"nanogrid N2: stored_kwh is 3\.0"):
        Nanogrids(one, np.array([1.0, 3.0]), 2 * one, one, one, ["N1", "N2"])
    with pytest.raises(MarketError, match=r"nanogrid 0: capacity_kwh is 0\.0"):
        Nanogrids(one, 0 * one, 0 * one, one, one)
    with pytest.raises(MarketError, match="lengths"):
        Nanogrids(one, one, one, one, np.ones(3))
    cluster = Nanogrids(one, one, one, one, one)
    with pytest.raises(MarketError, match="weight V is 0"):
        operate_cluster(cluster, 0.0, import_price=0.3, export_price=0.1)
    with pytest.raises(MarketError, match="prices are"):
        operate_cluster(cluster, 1.0, import_price=np.nan, export_price=0.1)
