"""Published cases of auctions and of fees per market level, in the currencies of their sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tricell.markets.mechanism import MarketResult, MarketTerms, Mechanism
from tricell.markets.mechanisms.continuous_double_auction import ContinuousDoubleAuction
from tricell.markets.mechanisms.marginal_pair_price import MarginalPairPrice
from tricell.markets.mechanisms.uniform_price import UniformPrice
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


@pytest.mark.parametrize("missing", ["bids", "offers"])
def test_a_market_without_a_side_names_no_price_unlike_case_mk11(missing: str) -> None:
    given, _, _ = case("MK11")
    sides = {"bids": given["bids"], "offers": given["offers"]} | {missing: []}
    result = clear(MarginalPairPrice(k=0.5), orders_of(**sides))
    assert result.buy_price is None
    assert result.sell_price is None


def test_the_largest_welfare_and_its_volume_are_those_of_case_mk14() -> None:
    given, expected, tolerance = case("MK14")
    orders = orders_of(given["bids"], given["offers"])
    result = clear(UniformPrice(), orders)
    assert result.welfare_eur == pytest.approx(expected["max_welfare"], abs=tolerance["v"])
    assert result.volume_kwh(orders) == pytest.approx(
        expected["welfare_clearing_volume"], abs=tolerance["v"]
    )


def test_the_largest_volume_of_case_mk14_is_reached_by_one_sequence_of_arrivals() -> None:
    given, expected, tolerance = case("MK14")
    arrival = {"offer1": 0.0, "bid2": 1.0, "offer0": 2.0, "bid0": 3.0, "bid1": 4.0, "offer2": 5.0}
    names = orders_of(given["bids"], given["offers"]).id.tolist()
    orders = orders_of(given["bids"], given["offers"], [arrival[name] for name in names])
    result = clear(ContinuousDoubleAuction(), orders)
    assert result.volume_kwh(orders) == pytest.approx(expected["max_volume"], abs=tolerance["v"])
    assert result.welfare_eur < expected["max_welfare"]


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
