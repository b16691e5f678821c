"""Published cases of auctions and of fees per market level, in the currencies of their sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given as given_by
from hypothesis import settings
from scipy.optimize import linprog
from tests.order_books import books

from tricell.errors import MarketError
from tricell.markets.mechanism import MarketResult, MarketTerms, Mechanism
from tricell.markets.mechanisms.community_schedule import CommunityMeters, schedule_community
from tricell.markets.mechanisms.marginal_pair_price import MarginalPairPrice
from tricell.markets.mechanisms.mid_market_rate import middle_of_quotes
from tricell.markets.mechanisms.uniform_price import UniformPrice
from tricell.markets.merit_order import largest_volume_kwh
from tricell.markets.order_table import Orders

CASES = Path(__file__).parent / "cases"
PRICE_LIMIT = 100.0
"""Largest price of the cases, in whatever currency."""

Blocks = list[list[float]]


def case(name: str) -> tuple[Any, Any, Any]:
    given = json.loads((CASES / name / "input.json").read_text())
    expected = json.loads((CASES / name / "expected.json").read_text())
    return given, expected["expected"], expected["tolerance"]


def orders_of(bids: Blocks, offers: Blocks, time: list[float] | None = None) -> Orders:
    """Return the orders of blocks (kWh, price)."""
    blocks = [*bids, *offers]
    return Orders.of(
        id=[f"bid{n}" for n in range(len(bids))] + [f"offer{n}" for n in range(len(offers))],
        side=[1.0] * len(bids) + [-1.0] * len(offers),
        energy_kwh=[energy for energy, _ in blocks],
        price_eur_per_kwh=[price for _, price in blocks],
        time=time,
        price_limit_eur_per_kwh=PRICE_LIMIT,
    )


def units(prices: list[float]) -> Blocks:
    return [[1.0, price] for price in prices]


def clear(mechanism: Mechanism, orders: Orders) -> MarketResult:
    return mechanism.clear(orders, MarketTerms())


def price_of(orders: Orders, k: float = 0.5) -> float:
    result = clear(UniformPrice(k=k), orders)
    assert result.buy_price is not None
    assert result.buy_price == result.sell_price
    return result.buy_price


# --- one price for all ---


@pytest.mark.parametrize("name", ["MK01", "MK03", "MK07", "MK09"])
def test_volume_welfare_and_the_interval_of_prices_are_those_of_published_books(name: str) -> None:
    given, expected, tolerance = case(name)
    is_unit = "quantity_each" in given
    bids = units(given["bids"]) if is_unit else given["bids"]
    offers = units(given["offers"]) if is_unit else given["offers"]
    orders = orders_of(bids, offers)
    result = clear(UniformPrice(), orders)
    assert result.volume_kwh(orders) == pytest.approx(expected["volume"], abs=tolerance["volume"])
    assert result.welfare_eur == pytest.approx(expected["welfare"], abs=1e-9)
    lowest, highest = expected["price_interval"]
    assert price_of(orders, 0.0) == lowest
    assert price_of(orders, 1.0) == highest
    assert price_of(orders) == pytest.approx((lowest + highest) / 2.0)
    published = expected.get("published_price", expected.get("gsy_e_price"))
    assert lowest <= published <= highest


def test_the_published_price_of_case_mk03_is_the_highest_that_clears() -> None:
    given, expected, _ = case("MK03")
    orders = orders_of(units(given["bids"]), units(given["offers"]))
    assert price_of(orders, 1.0) == expected["gsy_e_price"]


def test_decimal_prices_clear_without_rounding_as_in_case_mk06() -> None:
    given, expected, tolerance = case("MK06")
    orders = orders_of(given["bids"], given["offers"])
    result = clear(UniformPrice(), orders)
    assert result.volume_kwh(orders) == expected["volume"]
    assert price_of(orders) == pytest.approx(expected["price"], abs=tolerance["price"])
    assert result.welfare_eur == pytest.approx(expected["welfare"], abs=1e-9)


# --- other rules ---


def test_the_middle_of_the_marginal_pair_is_the_published_price_of_case_mk11() -> None:
    given, expected, tolerance = case("MK11")
    orders = orders_of(given["bids"], given["offers"])
    result = clear(MarginalPairPrice(k=0.5), orders)
    assert result.buy_price == pytest.approx(expected["divisor_2"], abs=tolerance["price"])


def test_the_middle_of_quotes_is_that_of_case_mk11() -> None:
    given, expected, tolerance = case("MK11")
    bids, asks = ([price for _, price in given[side]] for side in ("bids", "offers"))
    answers = {
        "divisor_2": middle_of_quotes(bids, asks),
        "divisor_3": middle_of_quotes(bids, asks, divisor=3.0),
        "no_offers": middle_of_quotes(bids, []),
        "no_bids": middle_of_quotes([], asks),
    }
    assert answers == pytest.approx(expected, abs=tolerance["price"])
    assert middle_of_quotes([], []) is None


def test_the_largest_welfare_and_its_volume_are_those_of_case_mk14() -> None:
    given, expected, tolerance = case("MK14")
    orders = orders_of(given["bids"], given["offers"])
    result = clear(UniformPrice(), orders)
    assert result.welfare_eur == pytest.approx(expected["max_welfare"], abs=tolerance["v"])
    assert result.volume_kwh(orders) == pytest.approx(
        expected["welfare_clearing_volume"], abs=tolerance["v"]
    )


def test_the_largest_volume_is_that_of_case_mk14() -> None:
    given, expected, tolerance = case("MK14")
    orders = orders_of(given["bids"], given["offers"])
    assert largest_volume_kwh(orders) == pytest.approx(expected["max_volume"], abs=tolerance["v"])


@settings(max_examples=60, deadline=None)
@given_by(books(max_orders=8))
def test_the_largest_volume_is_the_optimum_over_all_crossing_pairs(orders: Orders) -> None:
    """An independent linear program over all pairs whose bid is at least the ask."""
    buys, sells = orders.buys, orders.sells
    price = orders.price_eur_per_kwh
    found = [(b, s) for b in buys for s in sells if price[b] >= price[s]]
    best = 0.0
    if found:
        rows = np.array([[float(row in pair) for pair in found] for row in range(len(orders))])
        solved = linprog(-np.ones(len(found)), A_ub=rows, b_ub=orders.energy_kwh)
        assert solved.fun is not None
        best = -solved.fun
    assert largest_volume_kwh(orders) == pytest.approx(best, abs=1e-9)


# --- a community over several slots ---


def test_the_schedule_of_a_community_with_a_battery_is_that_of_case_mk15() -> None:
    given, expected, tolerance = case("MK15")
    names = list(given["e_c"])
    battery = given["battery_m1"]
    first = np.array([1.0, 0.0])
    sell = np.array([np.maximum(given["retail_sell"][n], given["market_sell"]) for n in names])
    meters = CommunityMeters(
        demand_kwh=np.array([given["e_c"][name] for name in names], dtype=float),
        generation_kwh=np.array([given["e_g"][name] for name in names], dtype=float),
        buy_price=np.full(sell.shape, min(given["retail_buy"], given["market_buy"])),
        sell_price=sell,
        local_tariff=given["local_grid_tariff"],
        capacity_kwh=battery["e_kwh"] * first,
        power_kwh=battery["p_max"] * given["dt_h"] * first,
        stored_kwh=battery["e0"] * first,
        efficiency=battery["eff"],
        wear_eur_per_kwh=battery["degradation_per_kwh_charged"],
    )
    together = schedule_community(meters)
    alone = [schedule_community(meters.only(row)).cost_eur for row in range(len(names))]
    cost = {
        "community_cost": together.cost_eur,
        "alone_m1": alone[0],
        "alone_m2": alone[1],
        "saving": sum(alone) - together.cost_eur,
    }
    assert cost == pytest.approx({name: expected[name] for name in cost}, abs=tolerance["cost"])
    assert together.stored_kwh[0] == pytest.approx(expected["battery_soc"], abs=1e-9)


def test_a_community_that_could_trade_in_a_circle_is_refused() -> None:
    one = np.ones((1, 2))
    none = np.zeros(1)
    meters = CommunityMeters(one, 0.0 * one, 0.1 * one, 0.2 * one, 0.0, none, none, none)
    with pytest.raises(MarketError, match="meter 0, slot 0: selling earns"):
        schedule_community(meters)


# --- fees per level ---


def test_each_market_on_the_way_prices_the_offer_with_the_fees_so_far_as_in_case_mk16() -> None:
    given, expected, tolerance = case("MK16")
    way = ["houses", "neighbourhood2", "grid", "neighbourhood1", "houses"]
    markets = ["house2", "neighbourhood2", "grid", "neighbourhood1", "house1"]
    fee = np.array([given["fees"][market] for market in way])
    behind = np.cumsum(fee)
    ahead = fee.sum() - behind
    for market, so_far, still in zip(markets, behind, ahead, strict=True):
        orders = orders_of([[1.0, given["bid"] - still]], [[1.0, given["offer"] + so_far]])
        price = price_of(orders, k=0.0)
        assert price == pytest.approx(expected["prices"][market], abs=tolerance["eur"])
    assert price == pytest.approx(expected["load_pays"], abs=tolerance["eur"])
    assert price - fee.sum() == pytest.approx(expected["pv_gets"], abs=tolerance["eur"])
