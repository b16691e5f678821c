"""Services of flexibility: who is called, what is held, what was delivered, and what it earns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tricell.errors import MarketError
from tricell.markets.flexibility.flexibility_market import (
    FlexibilityRequest,
    Pricing,
    baseline_from_like_days,
    buy_flexibility,
)
from tricell.markets.order_table import Orders
from tricell.markets.postings import Kind, Party, balances
from tricell.markets.services.baselines import BaselineHistory, baselines_of_block, kind_of_day
from tricell.markets.services.offers import Direction, StoreBand, StoreBids, store_offers
from tricell.markets.services.reserve import hold_reserve
from tricell.markets.services.selection import (
    aggregate_offers,
    buy_fairly,
    split_down,
    split_set_points,
)
from tricell.markets.services.service import (
    Service,
    ServiceKind,
    SlotServices,
    StoreOwners,
    serve_slot,
    take_reserve,
)
from tricell.markets.services.settlement import (
    SoldBlock,
    moved_kw,
    service_postings,
    settle_services,
)

KW = 1e-9
DOWN, UP = Direction.DOWN, Direction.UP
PARENT = np.array([-1, 0, 0, 1, 1, 2])
"""All cells, two cells, and three microgrids: two in the first cell, one in the second."""
powers = st.integers(0, 8).map(lambda quarter: quarter / 4)


def band_of(low: Any, high: Any, asks: Any, pays: Any) -> StoreBand:
    return StoreBand(*(np.array(each, dtype=np.float64) for each in (low, high, asks, pays)))


def alike(low: Any, high: Any, price: float = 0.2) -> StoreBand:
    """Stores that all value energy alike."""
    prices = np.full((2, len(low)), price)
    return band_of(low, high, prices, prices)


def owners_of(area: list[int], parent: Any = PARENT) -> StoreOwners:
    """One store for each owner, in these areas."""
    agents = np.arange(len(area))
    return StoreOwners.of(agents, np.array(area), parent)


def service(
    kind: ServiceKind, who: StoreOwners, power: float, area: int = 0, **other: Any
) -> Service:
    """A service that is open in slot 0 of 2 and asks all stores of an area."""
    given: dict[str, Any] = {
        "name": f"{kind} {area} {power}",
        "direction": DOWN,
        "effect": who.below(area).astype(np.float64),
        "is_open": np.array([True, False]),
    }
    return Service(kind=kind, area=area, power_kw=power, **(given | other))


def serve(
    services: list[Service],
    band: StoreBand,
    schedule: Any,
    who: StoreOwners,
    *,
    imports: Any = 0.0,
    slot: int = 0,
) -> SlotServices:
    reserve = take_reserve(services, slot, band, np.clip(0.0, band.lowest_kw, band.highest_kw))
    imported = np.broadcast_to(np.asarray(imports, np.float64), who.n_area)
    schedule_kw = np.asarray(schedule, np.float64)
    return serve_slot(services, slot, reserve, schedule_kw, imported, who=who, hours=0.25)


# --- the worked case ---


@pytest.mark.parametrize(
    ("pricing", "pay"), [("pay_as_bid", [0.6, 0.0, 0.0625]), ("pay_as_clear", [0.75, 0.0, 0.0625])]
)
def test_the_worked_case_of_a_request_is_served_and_settled_in_a_slot(
    pricing: Pricing, pay: list[float]
) -> None:
    """Case I5: 4 kWh at a line; prices 0.20, 0.15 with half the effect, 0.25; o3 delivers half.

    Three stores that charge 3, 4 and 2 kW in a slot of 1 h can charge less at these prices.
    """
    who = owners_of([3, 4, 5])
    asks = [[0.2, 0.15, 0.25]] * 2
    band = band_of([0.0] * 3, [3.0, 4.0, 2.0], asks, asks)
    request = service(
        ServiceKind.DSO_REQUEST,
        who,
        4.0,
        area=-1,
        effect=np.array([1.0, 0.5, 1.0]),
        pricing=pricing,
        threshold=0.6,
    )
    reserve = take_reserve([request], 0, band, np.zeros(3))
    sold = serve_slot(
        [request], 0, reserve, np.array([3.0, 4.0, 2.0]), np.zeros(6), who=who, hours=1.0
    )
    np.testing.assert_allclose(sold.sold_kw[0], [3.0, 0.0, 1.0])
    np.testing.assert_allclose(sold.move_kw, [-3.0, 0.0, -1.0])
    assert sold.unmet_kw[0] == 0.0
    baseline, meter = np.array([[5.0, 4.0, 3.0]]), np.array([[2.0, 2.0, 2.5]])
    block = SoldBlock(sold.sold_kw[None], sold.price[None], baseline, meter, 1.0)
    (outcome,) = settle_services([request], block)
    np.testing.assert_allclose(outcome.delivered_kwh, [[3.0, 0.0, 0.5]])
    np.testing.assert_allclose(outcome.pay_eur, [pay])


def test_products_of_the_tso_add_the_price_of_power_times_hours() -> None:
    """2 kW for a quarter of an hour at 0.20 EUR/kWh and 0.04 EUR/(kW h): 0.10 and 0.02 EUR."""
    who = owners_of([3])
    request = service(ServiceKind.TSO_REQUEST, who, 2.0, capacity_price=0.04)
    sold = serve([request], alike([-3.0], [3.0]), [0.0], who)
    block = SoldBlock(
        sold.sold_kw[None], sold.price[None], np.zeros((1, 1)), np.array([[-2.0]]), 0.25
    )
    (outcome,) = settle_services([request], block)
    assert outcome.pay_eur[0, 0] == pytest.approx(0.12)


# --- who is called ---


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(powers, st.integers(-3, 12), st.sampled_from([-0.5, 0.0, 0.5, 1.0])), max_size=8
    ),
    powers,
    st.sampled_from(["pay_as_bid", "pay_as_clear"]),
)
def test_buying_fairly_costs_and_gives_what_buying_in_sequence_does(
    book: list[tuple[float, int, float]], need: float, pricing: Pricing
) -> None:
    offered = np.array([each[0] for each in book])
    price = np.array([each[1] / 20 for each in book])
    effect = np.array([each[2] for each in book])
    request = FlexibilityRequest("DSO", 2 * need, effect, pricing)
    fair = buy_fairly(offered, price, request)
    there = offered > 0.0
    orders = Orders.of(
        id=[f"o{row}" for row in np.flatnonzero(there)],
        side=-np.ones(there.sum()),
        energy_kwh=offered[there],
        price_eur_per_kwh=price[there],
    )
    plain = buy_flexibility(orders, replace(request, sensitivity=effect[there]))
    assert fair.unmet_kwh == pytest.approx(plain.unmet_kwh, abs=1e-8)
    assert fair.clearing_price == pytest.approx(plain.clearing_price)
    gained, wanted = fair.accepted_kwh @ effect, plain.accepted_kwh @ effect[there]
    assert gained == pytest.approx(wanted, abs=1e-8)
    if pricing == "pay_as_bid":
        cost = fair.accepted_kwh @ (fair.price * (effect > 0))
        assert cost <= plain.accepted_kwh @ plain.price + 1e-8 or len(set(effect)) > 1


def test_equal_offers_are_called_for_the_same_share_and_dear_ones_not_at_all() -> None:
    offered, price = np.array([1.0, 3.0, 4.0]), np.array([0.2, 0.2, 0.5])
    bought = buy_fairly(offered, price, FlexibilityRequest("DSO", 2.0))
    np.testing.assert_allclose(bought.accepted_kwh, [0.5, 1.5, 0.0])
    capped = buy_fairly(offered, price, FlexibilityRequest("DSO", 6.0), max_price=0.3)
    np.testing.assert_allclose(capped.accepted_kwh, [1.0, 3.0, 0.0])
    assert capped.unmet_kwh == pytest.approx(2.0)


def test_a_store_stops_charging_before_it_gives_back_and_the_other_way_round() -> None:
    band = band_of([-3.0, -3.0], [2.0, 2.0], [[0.2, 0.2], [0.1, 0.3]], [[0.3] * 2, [0.2] * 2])
    down = store_offers(band, np.array([1.0, -1.0]), DOWN)
    np.testing.assert_allclose(down.power_kw, [[1.0, 0.0], [3.0, 2.0]])
    # Giving back can only begin once charging has ended, so it is never the cheaper offer.
    np.testing.assert_allclose(down.price, [[0.2, 0.2], [0.2, 0.3]])
    up = store_offers(band, np.array([1.0, -1.0]), UP)
    np.testing.assert_allclose(up.power_kw, [[0.0, 1.0], [1.0, 2.0]])
    np.testing.assert_allclose(up.price, [[-0.3, -0.3], [-0.2, -0.2]])


def test_what_must_be_charged_is_not_offered() -> None:
    """A vehicle that must draw 2 of the 5 kW that it draws can draw 3 kW less."""
    offers = store_offers(alike([2.0], [7.0]), np.array([5.0]), DOWN)
    np.testing.assert_allclose(offers.power_kw, [[3.0], [0.0]])


def test_stores_ask_their_own_price_or_else_that_of_the_retailer() -> None:
    none, half = np.array([np.nan, np.nan]), np.array([0.81, 0.0])
    bids = StoreBids(
        charge_own=np.array([0.25, np.nan]),
        charge_market=none,
        discharge_own=none,
        discharge_market=none,
        retail=0.324,
        feed_in=0.1,
        round_trip=half,
        wear=np.array([0.05, 0.0]),
    )
    np.testing.assert_allclose(bids.asks(), [[0.25, 0.324], [0.45, np.inf]])
    np.testing.assert_allclose(bids.pays(), [[0.1, 0.1], [0.081, 0.1]])


def test_a_schedule_outside_its_band_is_refused() -> None:
    with pytest.raises(MarketError, match=r"store 1 is scheduled at 3 kW; its band .* -1 to 2 kW"):
        store_offers(alike([-1.0, -1.0], [2.0, 2.0]), np.array([0.0, 3.0]), DOWN)


# --- no kWh is sold twice ---


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_power_is_sold_twice_and_every_store_stays_in_its_band(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 6))
    area = data.draw(st.lists(st.integers(0, 5), min_size=count, max_size=count))
    of_each = st.lists(powers, min_size=count, max_size=count)
    low, high, share = (np.array(data.draw(of_each)) for _ in range(3))
    low = -low + data.draw(st.sampled_from([0.0, 0.0, 0.25]))
    high = np.maximum(low, high)
    prices = data.draw(hnp.arrays(np.float64, (2, count), elements=st.sampled_from([0.1, 0.2])))
    who, band = owners_of(area), band_of(low, high, prices, prices)
    kinds = st.tuples(
        st.sampled_from(list(ServiceKind)), powers, st.integers(0, 5), st.sampled_from([DOWN, UP])
    )
    services = [
        service(kind, who, power, where, name=f"s{row}", direction=way)
        for row, (kind, power, where, way) in enumerate(data.draw(st.lists(kinds, max_size=5)))
    ]
    reserve = take_reserve(services, 0, band, np.clip(0.0, low, high))
    left = reserve.band
    schedule = left.lowest_kw + share / 2 * (left.highest_kw - left.lowest_kw)
    sold = serve_slot(services, 0, reserve, schedule, np.full(6, 3.0), who=who, hours=0.25)
    ways = np.array([int(each.direction) for each in services], dtype=np.float64)
    is_reserve = np.array([each.kind is ServiceKind.RESERVE for each in services], dtype=bool)
    called = np.where(is_reserve[:, None], 0.0, sold.sold_kw)
    held = sold.sold_kw - called
    down = (ways < 0.0) @ held
    up = (ways > 0.0) @ held
    after = schedule + sold.move_kw
    np.testing.assert_allclose(ways @ called, sold.move_kw, atol=KW)
    assert (after >= low + down - KW).all()
    assert (after <= high - up + KW).all()
    # Whoever is called one way is not called the other way.
    assert not (((ways < 0) @ called > KW) & ((ways > 0) @ called > KW)).any()
    for row, each in enumerate(services):
        bought = float(sold.sold_kw[row].sum())
        assert bought + sold.unmet_kw[row] == pytest.approx(sold.need_kw[row], abs=KW)
        assert not sold.sold_kw[row][each.effect <= 0.0].any()


def test_the_dso_is_served_before_the_tso_whatever_the_order_of_the_scenario() -> None:
    who = owners_of([3, 3])
    services = [
        service(ServiceKind.TSO_REQUEST, who, 3.0),
        service(ServiceKind.DSO_REQUEST, who, 3.0, area=3),
    ]
    sold = serve(services, alike([-2.0, -2.0], [0.0, 0.0]), [0.0, 0.0], who)
    np.testing.assert_allclose(sold.sold_kw.sum(axis=1), [1.0, 3.0])
    np.testing.assert_allclose(sold.unmet_kw, [2.0, 0.0])


def test_a_slot_in_which_nothing_is_open_sells_nothing() -> None:
    who = owners_of([3])
    services = [service(kind, who, 1.0, name=kind) for kind in ServiceKind]
    sold = serve(services, alike([-2.0], [2.0]), [1.0], who, imports=9.0, slot=1)
    assert not sold.sold_kw.any()
    assert not sold.need_kw.any()
    assert not sold.move_kw.any()


def test_shaving_a_peak_asks_for_what_is_above_its_limit_once_others_were_served() -> None:
    """7 kW of import and a limit of 4 need 3 kW; the request before has lowered it by 1 kW."""
    who = owners_of([3, 4])
    services = [
        service(ServiceKind.DSO_REQUEST, who, 1.0, area=3),
        service(ServiceKind.PEAK_SHAVING, who, 4.0, area=1),
    ]
    sold = serve(services, alike([-5.0] * 2, [5.0] * 2), [0.0, 0.0], who, imports=7.0)
    np.testing.assert_allclose(sold.need_kw, [1.0, 2.0])
    assert sold.move_kw.sum() == pytest.approx(-3.0)
    below = serve(services, alike([-5.0] * 2, [5.0] * 2), [0.0, 0.0], who, imports=2.0)
    np.testing.assert_allclose(below.need_kw, [1.0, 0.0])


# --- reserve ---


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(powers, powers), min_size=1, max_size=6), powers, st.sampled_from([DOWN, UP])
)
def test_reserve_stays_free_wherever_the_markets_put_a_store(
    bands: list[tuple[float, float]], need: float, way: Direction
) -> None:
    low, high = -np.array([each[0] for each in bands]), np.array([each[1] for each in bands])
    band = alike(low, high)
    held, left = hold_reserve(band, need, way, np.ones(len(bands), bool), 0.0 * low)
    assert (left.lowest_kw <= left.highest_kw + KW).all()
    # Standing still stays possible: reserve never makes a store draw or give back.
    assert (left.lowest_kw <= KW).all()
    assert (left.highest_kw >= -KW).all()
    for schedule in (left.lowest_kw, left.highest_kw):
        moved = schedule + int(way) * held
        assert (moved >= low - KW).all()
        assert (moved <= high + KW).all()
    total = float((-low if way is DOWN else high).sum())
    assert held.sum() == pytest.approx(min(need, total))


def test_reserve_earns_its_capacity_price_and_moves_nothing() -> None:
    who = owners_of([3, 4])
    reserve = service(ServiceKind.RESERVE, who, 3.0, capacity_price=0.02)
    sold = serve([reserve], alike([-1.0, -1.0], [1.0, 1.0]), [0.0, 0.0], who)
    np.testing.assert_allclose(sold.sold_kw, [[1.0, 1.0]])
    assert sold.unmet_kw[0] == pytest.approx(1.0)
    assert not sold.move_kw.any()
    block = SoldBlock(
        sold.sold_kw[None], sold.price[None], np.zeros((1, 2)), np.zeros((1, 2)), 0.25
    )
    (outcome,) = settle_services([reserve], block)
    np.testing.assert_allclose(outcome.pay_eur, [[0.005, 0.005]])
    assert not outcome.moved_kwh.any()


# --- areas offer upwards and split set-points ---


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), powers, st.sampled_from([0.1, 0.2, 0.3])), max_size=9),
    powers,
)
def test_set_points_add_up_exactly_and_give_what_one_market_of_all_would(
    stores: list[tuple[int, float, float]], need: float
) -> None:
    area = [each[0] for each in stores]
    power, price = np.array([each[1] for each in stores]), np.array([each[2] for each in stores])
    who = owners_of(area)
    split = split_down(4 * need, who.way, power, price, 6)
    assert split.offer_kw.sum() == pytest.approx(min(4 * need, power.sum()), abs=KW)
    assert (split.offer_kw <= power + KW).all()
    for row in range(6):
        assert split.area_kw[row] == pytest.approx(split.offer_kw[who.below(row)].sum(), abs=KW)
    together = buy_fairly(power, price, FlexibilityRequest("TSO", 4 * need))
    np.testing.assert_allclose(split.offer_kw, together.accepted_kwh, atol=KW)


def test_a_cell_offers_one_step_for_each_price_of_each_microgrid() -> None:
    curve = aggregate_offers(
        np.array([0, 0, 0, 0]),
        np.array([3, 3, 4, 3]),
        np.array([1.0, 2.0, 4.0, 8.0]),
        np.array([0.2, 0.1, 0.1, 0.2]),
    )
    assert curve.member.tolist() == [3, 3, 4]
    np.testing.assert_allclose(curve.price, [0.1, 0.2, 0.1])
    np.testing.assert_allclose(curve.power_kw, [2.0, 9.0, 4.0])
    np.testing.assert_allclose(split_set_points(np.array([3.0]), curve, 5), [0, 0, 0, 1.0, 2.0])


def test_a_set_point_beyond_what_was_offered_is_refused() -> None:
    curve = aggregate_offers(np.zeros(1, int), np.zeros(1, int), np.ones(1), np.ones(1))
    with pytest.raises(MarketError, match="area 0 gets a set-point of 2 kW, but offered 1 kW"):
        split_set_points(np.array([2.0]), curve, 1)


def test_a_request_of_all_cells_leaves_the_set_points_of_all_areas() -> None:
    who = owners_of([3, 4, 5])
    prices = [[0.2, 0.1, 0.2]] * 2
    band = band_of([-2.0] * 3, [0.0] * 3, prices, prices)
    sold = serve([service(ServiceKind.TSO_REQUEST, who, 4.0)], band, [0.0] * 3, who)
    np.testing.assert_allclose(sold.set_point_kw, [[0.0, 3.0, 1.0, 1.0, 2.0, 1.0]])


# --- baselines ---


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=16))
def test_the_baseline_is_the_mean_of_the_last_like_days_without_an_event(
    days: list[tuple[bool, bool]],
) -> None:
    energy = np.random.default_rng(3).random((len(days) + 1, 4, 1))
    history, place = BaselineHistory(4, 1), np.arange(4)
    for number, (weekend, event) in enumerate(days):
        history.add(number, int(weekend), place, energy[number], np.array([event]))
    today: dict[str, Any] = {"day": np.full(4, 99), "kind": np.ones(4, int), "place": place}
    found = baselines_of_block(
        history,
        **today,
        meter=energy[-1],
        expected=np.full((4, 1), 7.0),
        called=np.zeros((4, 1), bool),
    )
    kinds, events = [int(each[0]) for each in days], [each[1] for each in days]
    try:
        wanted = baseline_from_like_days(energy[:-1], kinds, events, kind=1)
    except MarketError:
        wanted = np.full((4, 1), 7.0)
    np.testing.assert_allclose(found, wanted)


def test_a_day_counts_as_an_event_only_for_the_meters_that_were_called() -> None:
    history, place, one = BaselineHistory(1, 2), np.zeros(1, int), np.array([[2.0, 2.0]])
    history.add(0, 0, place, one, np.array([True, False]))
    history.add(1, 0, place[:0], one[:0], np.zeros(2, bool))
    expected = np.array([[9.0, 9.0]])
    np.testing.assert_allclose(history.baseline(0, place, expected), [[9.0, 2.0]])


def test_baselines_are_the_same_however_days_are_cut_into_blocks() -> None:
    """Also when the history is saved and recalled between them."""
    slots, rng = 40, np.random.default_rng(1)
    meter, called = rng.random((slots, 3)), rng.random((slots, 3)) < 0.05
    day = np.arange(slots) // 4 + 5
    series: dict[str, Any] = {
        "day": day,
        "kind": kind_of_day(day % 7),
        "place": np.arange(slots) % 4,
    }
    data: dict[str, Any] = {"meter": meter, "expected": meter + 1.0, "called": called}
    whole = baselines_of_block(BaselineHistory(4, 3), **series, **data)
    parts, memory = [], BaselineHistory(4, 3).memory()
    for cut in np.array_split(np.arange(slots), 7):
        history = BaselineHistory(4, 3)
        history.recall(memory)
        each = {name: values[cut] for name, values in (series | data).items()}
        parts.append(baselines_of_block(history, **each))
        memory = history.memory()
    np.testing.assert_array_equal(np.concatenate(parts), whole)


# --- money ---


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_payments_of_all_parties_add_up_to_zero_and_nothing_is_delivered_twice(
    data: st.DataObject,
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    who = owners_of([3, 4, 5])
    services = [
        service(kind, who, 1.0, name=kind, threshold=0.5, direction=way, capacity_price=0.01)
        for kind, way in zip(ServiceKind, (DOWN, DOWN, UP, DOWN), strict=True)
    ]
    sold, price = rng.random((6, 4, 3)), rng.random((6, 4, 3)) - 0.2
    baseline, meter = rng.random((6, 3)) * 4, rng.random((6, 3)) * 4
    block = SoldBlock(sold, price, baseline, meter, 0.5)
    outcomes = settle_services(services, block)
    postings = service_postings(services, outcomes, who, n_agent=5, wholesale_price=rng.random(6))
    balance = balances(postings, 6)
    np.testing.assert_allclose(np.sum(list(balance.values()), axis=0), 0.0, atol=1e-12)
    pay = np.sum([each.pay_eur for each in outcomes], axis=0)
    np.testing.assert_allclose(balance[Party.AGENTS], pay.sum(axis=1))
    assert {each.kind for each in postings} == {Kind.CAPACITY}
    down = outcomes[0].delivered_kwh + outcomes[1].delivered_kwh
    assert (down <= np.maximum(baseline - meter, 0.0) * 0.5 + KW).all()
    moved = np.sum([each.moved_kwh for each in outcomes], axis=0)
    np.testing.assert_allclose(moved_kw(services, sold) * 0.5, moved, atol=KW)
    booked = np.sum([each.agent_kwh for each in postings if each.agent_kwh is not None], axis=0)
    np.testing.assert_allclose(booked[:3], moved.sum(axis=0), atol=KW)
