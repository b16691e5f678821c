"""Markets level by level on random trees and books, and the worked case of three levels."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.order_books import TERMS, books

from tricell.markets.local_first import LocalFirstResult, MarketAreas, clear_local_first
from tricell.markets.mechanism import MarketResult, Mechanism
from tricell.markets.mechanisms.mcafee import McAfee
from tricell.markets.mechanisms.mid_market_rate import MidMarketRate
from tricell.markets.mechanisms.random_halves import RandomHalves
from tricell.markets.mechanisms.uniform_price import UniformPrice
from tricell.markets.order_table import Orders

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

MK19 = Path(__file__).parent / "cases" / "MK19"
EXACT = 1e-9


@dataclass(frozen=True)
class Market:
    """A tree of areas and the orders of its agents."""

    areas: MarketAreas
    order_area: Indices
    orders: Orders

    def clear(self, *mechanisms: Mechanism | None, seed: int = 7) -> LocalFirstResult:
        """Clear with one mechanism for all areas, or with one for each."""
        n_area = len(self.areas.parent)
        of_area = mechanisms if len(mechanisms) == n_area else mechanisms * n_area
        terms = replace(TERMS, seed=seed)
        return clear_local_first(self.orders, self.order_area, self.areas, of_area, terms)

    @property
    def buys(self) -> NDArray[np.bool_]:
        return self.orders.side > 0.0


def tree(parent: list[int], fee: list[float]) -> MarketAreas:
    names = tuple(f"area{row}" for row in range(len(parent)))
    return MarketAreas(np.array(parent, np.int64), np.array(fee, np.float64), names)


@st.composite
def markets(draw: st.DrawFn, *, has_fees: bool = True, is_served: bool | None = None) -> Market:
    """Draw one to three levels, agents in any area, and fees that rise towards the top."""
    n_cell = draw(st.integers(0, 2))
    parent = [-1] + [0] * n_cell
    if n_cell:
        parent += draw(st.lists(st.integers(1, n_cell), max_size=3))
    fee_of_level = draw(st.sampled_from([(0.06, 0.03, 0.01), (0.09, 0.05, 0.0)]))
    depth = [0] + [1] * n_cell + [2] * (len(parent) - 1 - n_cell)
    fee = [fee_of_level[level] if has_fees else 0.0 for level in depth]
    orders = draw(books(max_orders=12))
    count = len(orders)
    rows = st.lists(st.integers(0, len(parent) - 1), min_size=count, max_size=count)
    order_area = np.array(draw(rows), dtype=np.int64)
    retail = np.full(count, is_served)
    if is_served is None:
        retail = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)), dtype=bool)
    orders = replace(orders, attributes={**orders.attributes, "retail": retail})
    return Market(tree(parent, fee), order_area, orders)


ANY_MECHANISM = st.sampled_from([UniformPrice(), McAfee(), MidMarketRate(), RandomHalves(), None])


@st.composite
def mechanisms_of(draw: st.DrawFn, market: Market) -> list[Mechanism | None]:
    """Draw a mechanism, or none, for every area."""
    size = len(market.areas.parent)
    return draw(st.lists(ANY_MECHANISM, min_size=size, max_size=size))


def uniform() -> UniformPrice:
    return UniformPrice()


# --- energy ---


@given(data=st.data(), market=markets())
@settings(max_examples=60)
def test_every_area_buys_what_it_sells(data: st.DataObject, market: Market) -> None:
    result = market.clear(*data.draw(mechanisms_of(market)))
    for one in result.markets:
        accepted, side = one.result.accepted_kwh, one.orders.side
        assert float(accepted @ side) == pytest.approx(0.0, abs=EXACT)
        assert result.area_traded_kwh[one.area] == pytest.approx(accepted[side > 0.0].sum())
    side = market.orders.side
    assert float(result.traded_kwh @ side) == pytest.approx(0.0, abs=EXACT)
    assert result.area_traded_kwh.sum() == pytest.approx(result.traded_kwh[market.buys].sum())


@given(data=st.data(), market=markets())
@settings(max_examples=60)
def test_what_is_offered_is_traded_served_or_left(data: st.DataObject, market: Market) -> None:
    result = market.clear(*data.draw(mechanisms_of(market)))
    offered = market.orders.energy_kwh
    np.testing.assert_allclose(result.taken_kwh + result.left_kwh, offered, rtol=0, atol=EXACT)
    for part in (result.traded_kwh, result.left_kwh, result.taken_kwh):
        assert (part >= 0.0).all()
        assert (part <= offered + EXACT).all()
    served = market.orders.attribute("retail", 1.0) > 0.0
    np.testing.assert_array_equal(result.left_kwh[served], 0.0)
    np.testing.assert_array_equal((result.bought_retail_kwh + result.sold_retail_kwh)[~served], 0.0)
    np.testing.assert_array_equal(result.bought_retail_kwh[~market.buys], 0.0)
    np.testing.assert_array_equal(result.sold_retail_kwh[market.buys], 0.0)


@given(data=st.data(), market=markets())
@settings(max_examples=60)
def test_an_order_only_goes_up_and_loses_what_it_traded(
    data: st.DataObject, market: Market
) -> None:
    result = market.clear(*data.draw(mechanisms_of(market)))
    parent, left = market.areas.parent, market.orders.energy_kwh.copy()
    seen_at: dict[int, int] = {}
    for one in result.markets:
        for row in one.rows.tolist():
            here = seen_at.get(row, int(market.order_area[row]))
            while here != one.area:
                assert here >= 0, "an order stood in an area that is not above its own"
                here = int(parent[here])
            assert seen_at.get(row) != one.area, "an order stood twice in one market"
            seen_at[row] = one.area
        np.testing.assert_array_equal(one.orders.energy_kwh, left[one.rows])
        left[one.rows] -= one.result.accepted_kwh
        left[left <= EXACT] = 0.0


@given(data=st.data(), market=markets())
@settings(max_examples=60)
def test_the_forwarding_table_maps_fills_and_payments_back(
    data: st.DataObject, market: Market
) -> None:
    result = market.clear(*data.draw(mechanisms_of(market)))
    filled, paid = np.zeros(len(market.orders)), np.zeros(len(market.orders))
    for one in result.markets:
        np.testing.assert_array_equal(one.orders.id, market.orders.id[one.rows])
        filled[one.rows] += one.result.accepted_kwh
        paid[one.rows] += one.result.payment_eur
    np.testing.assert_allclose(result.traded_kwh, filled, rtol=0, atol=EXACT)
    np.testing.assert_allclose(result.energy_eur, paid, rtol=0, atol=EXACT)


@given(data=st.data(), market=markets(is_served=True))
@settings(max_examples=60)
def test_what_goes_up_from_an_area_is_what_its_members_still_have(
    data: st.DataObject, market: Market
) -> None:
    chosen = data.draw(mechanisms_of(market))
    result = market.clear(*chosen)
    below = np.eye(len(market.areas.parent), dtype=bool)
    for area in range(len(below) - 1, 0, -1):
        below[market.areas.parent[area]] |= below[area]
    for area, members in enumerate(below):
        inside = members[market.order_area]
        offered = market.orders.energy_kwh[inside].sum()
        traded = 2.0 * result.area_traded_kwh[members].sum()
        residual = result.area_residual_kwh[area]
        assert residual == pytest.approx(offered - traded, abs=1e-8)


# --- money ---


@given(market=markets())
@settings(max_examples=80)
def test_uniform_prices_lie_inside_bids_with_the_fee_on_top(market: Market) -> None:
    result = market.clear(uniform())
    limit = market.orders.price_eur_per_kwh
    all_in = result.energy_eur + result.network_eur
    value = market.orders.side * limit * result.traded_kwh
    assert (all_in <= value + EXACT).all(), "a buyer paid more, or a seller got less, than it said"
    for one in result.markets:
        price = one.result.buy_price
        if price is None:
            continue
        fee = market.areas.fee_eur_per_kwh[one.area]
        traded = one.result.accepted_kwh > 0.0
        own_limit = limit[one.rows]
        assert (price + fee <= own_limit[traded & (one.orders.side > 0.0)] + EXACT).all()
        assert (price >= own_limit[traded & (one.orders.side < 0.0)] - EXACT).all()
        assert result.area_price[one.area] == pytest.approx(price)


@given(data=st.data(), market=markets())
@settings(max_examples=60)
def test_the_network_fee_is_volume_times_the_fee_of_the_area(
    data: st.DataObject, market: Market
) -> None:
    result = market.clear(*data.draw(mechanisms_of(market)))
    expected = result.area_traded_kwh * market.areas.fee_eur_per_kwh
    np.testing.assert_allclose(result.area_network_eur, expected, rtol=0, atol=EXACT)
    assert result.network_eur.sum() == pytest.approx(expected.sum(), abs=EXACT)
    np.testing.assert_array_equal(result.network_eur[~market.buys], 0.0)


@given(data=st.data(), market=markets())
@settings(max_examples=60)
def test_payments_for_energy_are_the_surplus_of_the_operators(
    data: st.DataObject, market: Market
) -> None:
    result = market.clear(*data.draw(mechanisms_of(market)))
    assert result.energy_eur.sum() == pytest.approx(result.area_surplus_eur.sum(), abs=EXACT)
    retail = result.bought_retail_kwh * TERMS.retail_price
    retail -= result.sold_retail_kwh * TERMS.feed_in_price
    np.testing.assert_allclose(result.retail_eur, retail, rtol=0, atol=EXACT)


def welfare(result: LocalFirstResult, orders: Orders) -> float:
    """Value of what was bought less cost of what was sold, before fees."""
    return float((orders.side * orders.price_eur_per_kwh) @ result.traded_kwh)


@given(data=st.data(), market=markets(has_fees=False))
@settings(max_examples=80)
def test_level_by_level_never_beats_one_pool(data: st.DataObject, market: Market) -> None:
    pooled = replace(market, order_area=np.zeros(len(market.orders), np.int64)).clear(uniform())
    for result in (market.clear(uniform()), market.clear(*data.draw(mechanisms_of(market)))):
        assert welfare(result, market.orders) <= welfare(pooled, market.orders) + EXACT


def test_a_local_trade_can_keep_energy_from_somebody_who_values_it_more() -> None:
    orders = Orders.of(
        id=["near", "seller", "far"],
        side=[1, -1, 1],
        energy_kwh=[1, 1, 1],
        price_eur_per_kwh=[0.15, 0.10, 0.30],
        agent=[0, 1, 2],
    )
    market = Market(tree([-1, 0, 0], [0.0] * 3), np.array([1, 1, 2]), orders)
    assert market.clear(uniform()).traded_kwh.tolist() == [1.0, 1.0, 0.0]
    pooled = replace(market, order_area=np.zeros(3, np.int64)).clear(uniform())
    assert pooled.traded_kwh.tolist() == [0.0, 1.0, 1.0]


# --- markets that are not there, and orders that go up ---


@given(market=markets())
@settings(max_examples=30)
def test_without_a_mechanism_everything_goes_up(market: Market) -> None:
    result = market.clear(None)
    assert result.markets == ()
    np.testing.assert_array_equal(result.traded_kwh, 0.0)
    np.testing.assert_array_equal(result.energy_eur + result.network_eur, 0.0)
    only_top = [uniform(), *[None] * (len(market.areas.parent) - 1)]
    pooled = replace(market, order_area=np.zeros(len(market.orders), np.int64))
    here, there = market.clear(*only_top), pooled.clear(*only_top)
    np.testing.assert_allclose(here.traded_kwh, there.traded_kwh, rtol=0, atol=EXACT)
    np.testing.assert_allclose(here.energy_eur, there.energy_eur, rtol=0, atol=EXACT)


def test_an_order_goes_up_in_the_name_of_its_area() -> None:
    orders = Orders.of(
        id=["b", "s", "own"],
        side=[1, -1, -1],
        energy_kwh=[2, 3, 1],
        price_eur_per_kwh=[0.3, 0.1, 0.2],
        agent=[5, 6, 7],
    )
    market = Market(tree([-1, 0, 1, 1], [0.0] * 4), np.array([2, 3, 0]), orders)
    below, top = market.clear(uniform()).markets[-2:]
    n_agent = len(TERMS.agent_names)
    assert below.area == 1
    assert below.orders.agent.tolist() == [n_agent + 2, n_agent + 3]
    assert top.area == 0
    # What is left of the seller comes from the cell; the other is the top area's own member.
    assert top.rows.tolist() == [1, 2]
    assert top.orders.energy_kwh.tolist() == [1.0, 1.0]
    assert top.orders.agent.tolist() == [n_agent + 1, 7]


def test_rounding_residues_do_not_go_up() -> None:
    orders = Orders.of(
        id=["a", "b", "s"],
        side=[1, 1, -1],
        energy_kwh=[0.1, 0.2, 0.3],
        price_eur_per_kwh=[0.3, 0.3, 0.1],
        agent=[0, 1, 2],
    )
    result = Market(tree([-1, 0], [0.0, 0.0]), np.array([1, 1, 1]), orders).clear(uniform())
    assert [one.area for one in result.markets] == [1]
    np.testing.assert_array_equal(result.left_kwh + result.bought_retail_kwh, 0.0)


# --- determinism ---


def bits(result: LocalFirstResult) -> list[bytes]:
    """Bytes of everything numeric, of the areas' markets too."""

    def of(one: Any, kind: type[Any]) -> list[bytes]:
        values = [getattr(one, field.name) for field in fields(kind)]
        return [value.tobytes() for value in values if isinstance(value, np.ndarray)]

    inside = [of(one.result, MarketResult) for one in result.markets]
    return [*of(result, LocalFirstResult), *[part for market in inside for part in market]]


@given(data=st.data(), market=markets())
@settings(max_examples=30)
def test_the_same_seed_gives_the_same_bits(data: st.DataObject, market: Market) -> None:
    chosen = data.draw(mechanisms_of(market))
    assert bits(market.clear(*chosen)) == bits(market.clear(*chosen))


def test_every_area_draws_from_its_own_seed() -> None:
    """Equal books of two areas are halved differently, and differently under another seed."""
    half = 12
    one = np.arange(half)
    both = np.concatenate([one, one])
    orders = Orders.of(
        id=[f"o{n:02d}" for n in range(2 * half)],
        side=np.where(both % 2, -1.0, 1.0),
        energy_kwh=1.0 + both,
        price_eur_per_kwh=np.where(both % 2, 0.05, 0.2) + both / 200.0,
        agent=np.arange(2 * half),
    )
    market = Market(tree([-1, 0, 0], [0.0] * 3), np.repeat([1, 2], half), orders)

    def fills(seed: int) -> tuple[Floats, Floats]:
        result = market.clear(None, RandomHalves(), RandomHalves(), seed=seed)
        return result.traded_kwh[:half], result.traded_kwh[half:]

    seen = {fill.tobytes() for seed in range(6) for fill in fills(seed)}
    assert len(seen) > 2
    assert any(not np.array_equal(*fills(seed)) for seed in range(6))


# --- worked case ---


def test_three_levels_match_and_charge_as_in_case_mk19() -> None:
    """Load and PV of each microgrid are two agents, so that they meet in its market."""
    given_case = json.loads((MK19 / "input.json").read_text())
    answer = json.loads((MK19 / "expected.json").read_text())
    expected, tolerance = answer["expected"], answer["tolerance"]
    fees = given_case["network_fee_eur_kwh"]
    cells = given_case["cells"]
    names = ["top", *cells, *[one for members in cells.values() for one in members]]
    parent, level = [-1, *[0] * len(cells)], ["multicell", *["cell"] * len(cells)]
    for cell, members in cells.items():
        parent += [names.index(cell)] * len(members)
        level += ["microgrid"] * len(members)
    retail, feed_in = given_case["retail_buy"], given_case["feed_in"]
    offers = [
        (name, kind, given_case[name][kind])
        for members in cells.values()
        for name in members
        for kind in ("load", "pv")
        if given_case[name][kind] > 0
    ]
    is_load = np.array([kind == "load" for _, kind, _ in offers])
    orders = Orders.of(
        id=[f"{name} {kind}" for name, kind, _ in offers],
        side=np.where(is_load, 1.0, -1.0),
        energy_kwh=[energy for _, _, energy in offers],
        price_eur_per_kwh=np.where(is_load, retail, 0.0),
        agent=np.arange(len(offers)),
    )
    areas = replace(tree(parent, [fees[one] for one in level]), names=tuple(names))
    result = clear_local_first(
        orders,
        np.array([names.index(name) for name, _, _ in offers]),
        areas,
        [uniform()] * len(names),
        replace(TERMS, retail_price=retail, feed_in_price=feed_in),
    )
    for name, matched in expected["matched"].items():
        members = np.array([one == name for one in level])
        traded = result.area_traded_kwh[members].sum()
        assert traded == pytest.approx(matched, abs=tolerance["kwh"])
    bought, sold = result.bought_retail_kwh.sum(), result.sold_retail_kwh.sum()
    assert bought == pytest.approx(expected["retail_import"], abs=tolerance["kwh"])
    assert sold == pytest.approx(expected["feed_in_export"], abs=tolerance["kwh"])
    charged = result.network_eur.sum()
    assert charged == pytest.approx(expected["network_fee_local_trades_eur"], abs=tolerance["eur"])
