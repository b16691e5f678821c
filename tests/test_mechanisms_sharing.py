"""Baselines and sharing rules: their promises on random members, and where they make none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import time
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.optimize import linprog

from tricell.errors import MarketError
from tricell.markets.mechanism import MarketTerms
from tricell.markets.mechanisms.bill_sharing import BillSharing, bill_sharing
from tricell.markets.mechanisms.last_resort import settle_at_last_resort
from tricell.markets.mechanisms.mid_market_rate import MidMarketRate, mid_market_rate, middle_price
from tricell.markets.mechanisms.retail_only import RetailOnly, settle_at_retail
from tricell.markets.mechanisms.supply_demand_ratio import SupplyDemandRatio, supply_demand_ratio
from tricell.markets.mechanisms.time_of_use import (
    TariffBand,
    real_time_prices,
    schedule_cost,
    schedule_flexible_load,
    tariff_prices,
)
from tricell.markets.order_table import Orders
from tricell.markets.sharing import SharingResult, SharingRule, share_with_response

Floats = NDArray[np.float64]
Rule = Callable[[Any, float, float], SharingResult]

RETAIL, FEED_IN = 0.30, 0.08
RULES: tuple[Rule, ...] = (bill_sharing, mid_market_rate, supply_demand_ratio)
FAIR_RULES: tuple[Rule, ...] = (mid_market_rate, supply_demand_ratio)
MARKETS: tuple[SharingRule, ...] = (
    BillSharing(),
    MidMarketRate(),
    SupplyDemandRatio(),
    SupplyDemandRatio(compensation=0.05),
)
TERMS = MarketTerms(retail_price=RETAIL, feed_in_price=FEED_IN)

# Whole watt-hours, as meters report them.
nets = arrays(
    np.float64, st.integers(1, 30), elements=st.integers(-9000, 9000).map(lambda n: n / 1e3)
)
retail_prices = st.integers(1, 60).map(lambda cent: cent / 100)
# EUR of some 30 members of at most 9 kWh each: rounding of sums stays below this.
ROUNDING_EUR = 1e-9


@st.composite
def price_pairs(draw: st.DrawFn) -> tuple[float, float]:
    """Retail price, and a feed-in price of at most it; negative ones too."""
    retail = draw(retail_prices)
    return retail, draw(st.integers(-20, round(retail * 100))) / 100


def without_trading(net: Floats, retail: float, feed_in: float) -> Floats:
    return settle_at_retail(net, retail, feed_in).bill_eur


# --- sharing rules on meter values ---


@pytest.mark.parametrize("rule", RULES)
@settings(deadline=None)
@given(net=nets, prices=price_pairs())
def test_members_together_pay_what_the_community_pays_the_retailer(
    rule: Rule, net: Floats, prices: tuple[float, float]
) -> None:
    retail, feed_in = prices
    result = rule(net, retail, feed_in)
    wanted = retail * max(net.sum(), 0.0) - feed_in * max(-net.sum(), 0.0)
    assert result.bill_eur.sum() == pytest.approx(wanted, abs=ROUNDING_EUR)
    assert result.retailer_net_eur == pytest.approx(wanted, abs=ROUNDING_EUR)
    assert result.imbalance_eur == pytest.approx(0.0, abs=ROUNDING_EUR)


@pytest.mark.parametrize("rule", FAIR_RULES)
@settings(deadline=None)
@given(net=nets, prices=price_pairs())
def test_nobody_pays_more_than_without_sharing(
    rule: Rule, net: Floats, prices: tuple[float, float]
) -> None:
    bills = rule(net, *prices).bill_eur
    assert (bills <= without_trading(net, *prices) + ROUNDING_EUR).all()


@settings(deadline=None)
@given(net=nets, prices=price_pairs(), share=st.floats(0.0, 1.0))
def test_nobody_pays_more_than_without_sharing_with_any_compensation_either(
    net: Floats, prices: tuple[float, float], share: float
) -> None:
    retail, feed_in = prices
    bills = supply_demand_ratio(net, retail, feed_in, share * (retail - feed_in)).bill_eur
    assert (bills <= without_trading(net, retail, feed_in) + ROUNDING_EUR).all()


@pytest.mark.parametrize("surplus", [3.0, 4.5])
def test_bill_sharing_takes_from_sellers_whenever_the_community_does_not_export(
    surplus: float,
) -> None:
    net = np.array([-surplus, 2.0, 2.5])
    bills = bill_sharing(net, RETAIL, FEED_IN).bill_eur
    assert bills[0] == 0.0 > without_trading(net, RETAIL, FEED_IN)[0]


@settings(deadline=None)
@given(net=nets, prices=price_pairs(), compensation=st.integers(0, 40).map(lambda cent: cent / 100))
def test_the_ratio_rule_equals_its_published_formulas(
    net: Floats, prices: tuple[float, float], compensation: float
) -> None:
    """Liu et al. 2017 and Long et al. 2018, both sides' prices written out."""
    retail, feed_in = prices
    demand, supply = np.maximum(net, 0.0).sum(), np.maximum(-net, 0.0).sum()
    if demand == 0.0 or supply == 0.0:
        return
    ratio, floor = supply / demand, feed_in + compensation
    if not 0.0 < floor <= retail:
        sell = retail - (retail - feed_in) * min(ratio, 1.0)
        buy = sell * ratio + retail * (1.0 - ratio) if ratio < 1.0 else feed_in
    elif ratio <= 1.0:
        sell = floor * retail / ((retail - floor) * ratio + floor)
        buy = sell * ratio + retail * (1.0 - ratio)
    else:
        sell, buy = feed_in + compensation / ratio, floor
    result = supply_demand_ratio(net, retail, feed_in, compensation)
    assert (result.buy_price, result.sell_price) == pytest.approx((buy, sell), abs=1e-12)
    assert ("fallback" in result.flags) == (not 0.0 < floor <= retail)


@pytest.mark.parametrize("rule", RULES)
def test_an_absent_side_has_no_price_and_the_other_has_the_retailers(rule: Rule) -> None:
    buyers, sellers, nobody = (
        rule(net, RETAIL, FEED_IN) for net in ([1.0, 2.0, 0.0], [-1.0, 0.0], [0.0])
    )
    assert buyers.buy_price == pytest.approx(RETAIL)
    assert sellers.sell_price == pytest.approx(FEED_IN)
    assert (buyers.sell_price, sellers.buy_price) == (None, None)
    assert sellers.supply_demand_ratio is None
    assert (nobody.buy_price, nobody.sell_price, nobody.retailer_net_eur) == (None, None, 0.0)
    assert rule([], RETAIL, FEED_IN).bill_eur.shape == (0,)


@pytest.mark.parametrize("rule", RULES)
def test_a_tenth_and_two_tenths_meet_three_tenths_without_residue(rule: Rule) -> None:
    result = rule([0.1, 0.2, -0.3], RETAIL, FEED_IN)
    assert result.retailer_net_eur == 0.0
    assert result.buy_price == pytest.approx(result.sell_price, rel=1e-14)


@pytest.mark.parametrize("rule", RULES)
def test_a_member_or_a_price_that_is_no_number_is_named(rule: Rule) -> None:
    with pytest.raises(MarketError, match="member 1: net_kwh is nan"):
        rule([1.0, np.nan], RETAIL, FEED_IN)
    with pytest.raises(MarketError, match="feed_in_price is nan"):
        rule([1.0], RETAIL, np.nan)


def test_a_negative_compensation_is_refused() -> None:
    with pytest.raises(MarketError, match=r"compensation is -0\.01"):
        supply_demand_ratio([1.0, -1.0], RETAIL, FEED_IN, -0.01)


@pytest.mark.parametrize("rule", RULES)
def test_ten_thousand_members_settle_in_a_millisecond(rule: Rule) -> None:
    net = np.random.default_rng(1).normal(size=10_000)

    def seconds() -> float:
        start = perf_counter()
        rule(net, RETAIL, FEED_IN)
        return perf_counter() - start

    # the quickest of many runs: others may use the machine
    assert min(seconds() for _ in range(50)) < 1e-3


# --- demand response ---


def test_prices_and_demand_response_come_to_rest() -> None:
    """Each buyer wants 3 kWh less 5 kWh per EUR/kWh, the seller has 2 kWh: a fixed point."""
    seller = np.array([[-2.0]])

    def respond(buy: Floats, sell: Floats) -> Floats:
        wanted = np.repeat(3.0 - 5.0 * buy[:, None], 2, axis=1)
        return np.hstack([wanted, np.repeat(seller, len(buy), axis=0)])

    start = np.array([[3.0, 3.0, -2.0]])
    result = share_with_response(start, RETAIL, FEED_IN, middle_price, respond)
    assert result.flags == frozenset()
    price = result.slots[0].buy_price
    assert price is not None
    # a step of one half and a price tolerance of 1e-6 leave some 1e-5 kWh to go
    assert result.net_kwh[0, :2] == pytest.approx([3.0 - 5.0 * price] * 2, abs=1e-4)


def test_response_that_never_settles_keeps_the_cheapest_iterate_and_says_so() -> None:
    def contrary(buy: Floats, sell: Floats) -> Floats:
        return np.where(buy[:, None] > 0.2, [[1.0, -1.0]], [[4.0, -1.0]])

    result = share_with_response(
        [[4.0, -1.0]], RETAIL, FEED_IN, middle_price, contrary, step=1.0, max_rounds=7
    )
    assert result.flags == {"last defence"}
    assert result.rounds == 7
    assert result.net_kwh.tolist() == [[1.0, -1.0]]


# --- sharing rules as a market of a slot ---


@st.composite
def books(draw: st.DrawFn) -> Orders:
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from([1.0, -1.0]),
                st.integers(1, 5000).map(lambda n: n / 1e3),
                st.sampled_from([-0.1, 0.0, 0.05, 0.08, 0.2, 0.3, 0.45]),
            ),
            max_size=25,
        )
    )
    return Orders.of(
        id=[f"o{n}" for n in range(len(rows))],
        side=[row[0] for row in rows],
        energy_kwh=[row[1] for row in rows],
        price_eur_per_kwh=[row[2] for row in rows],
    )


@pytest.mark.parametrize("market", MARKETS, ids=str)
@settings(deadline=None)
@given(orders=books())
def test_a_slot_sells_what_it_buys_and_serves_both_sides_in_proportion(
    market: SharingRule, orders: Orders
) -> None:
    result = market.clear(orders, TERMS)
    accepted, price = result.accepted_kwh, orders.price_eur_per_kwh
    takes_part = np.where(orders.side > 0.0, price >= RETAIL, price <= FEED_IN)
    assert (accepted[~takes_part] == 0.0).all()
    assert (accepted <= orders.energy_kwh).all()
    assert float(orders.side @ accepted) == pytest.approx(0.0, abs=1e-9)
    assert result.payment_eur.sum() == result.operator_surplus_eur
    assert result.operator_surplus_eur == pytest.approx(0.0, abs=ROUNDING_EUR)
    for side in (1.0, -1.0):
        served = accepted[takes_part & (orders.side == side)]
        offered = orders.energy_kwh[takes_part & (orders.side == side)]
        if len(served):
            assert served / offered == pytest.approx([served.sum() / offered.sum()] * len(served))
            if result.volume_kwh(orders) == 0.0:
                assert not accepted.any()


@pytest.mark.parametrize("market", MARKETS[1:], ids=str)
@settings(deadline=None)
@given(orders=books(), feed_in=st.sampled_from([-0.1, 0.0, 0.08]), fee=st.sampled_from([0.0, 0.1]))
def test_nobody_trades_at_a_price_worse_than_its_order(
    market: SharingRule, orders: Orders, feed_in: float, fee: float
) -> None:
    terms = MarketTerms(retail_price=RETAIL - fee, feed_in_price=feed_in)
    result = market.clear(orders, terms)
    gain = orders.side * orders.price_eur_per_kwh * result.accepted_kwh - result.payment_eur
    assert (gain >= -ROUNDING_EUR).all()


@settings(deadline=None)
@given(net=nets)
def test_slot_and_retailer_together_give_the_bills_of_the_rule(net: Floats) -> None:
    net = net[net != 0.0]
    orders = Orders.of(
        id=[f"m{n}" for n in range(len(net))],
        side=np.sign(net),
        energy_kwh=np.abs(net),
        price_eur_per_kwh=np.where(net > 0.0, RETAIL, FEED_IN),
    )
    outside = np.where(net > 0.0, RETAIL, -FEED_IN)
    for rule, market in zip(RULES, MARKETS[:3], strict=True):
        result = market.clear(orders, TERMS)
        bills = result.payment_eur + outside * (orders.energy_kwh - result.accepted_kwh)
        assert bills == pytest.approx(rule(net, RETAIL, FEED_IN).bill_eur, abs=ROUNDING_EUR)


@pytest.mark.parametrize("market", MARKETS, ids=str)
def test_a_slot_with_one_side_or_none_trades_nothing(market: SharingRule) -> None:
    for sides in ([], [1.0, 1.0], [-1.0]):
        names = [f"o{n}" for n in range(len(sides))]
        prices = [0.3 if side > 0.0 else 0.0 for side in sides]
        orders = Orders.of(
            id=names, side=sides, energy_kwh=np.ones(len(sides)), price_eur_per_kwh=prices
        )
        result = market.clear(orders, TERMS)
        assert (result.buy_price, result.sell_price) == (None, None)
        assert not result.accepted_kwh.any()


def test_orders_that_are_marked_firm_take_part_below_the_retail_price() -> None:
    orders = Orders.of(
        id=["firm", "other", "pv"],
        side=[1.0, 1.0, -1.0],
        energy_kwh=[1.0, 1.0, 1.0],
        price_eur_per_kwh=[0.25, 0.30, 0.08],
        attributes={"firm": [True, False, False]},
    )
    result = MidMarketRate().clear(orders, TERMS)
    assert result.accepted_kwh.tolist() == [1.0, 0.0, 1.0]
    # between 0.25, which the retailer is worth less the fee, and 0.08
    assert result.buy_price == pytest.approx(0.165)


def test_nothing_is_shared_where_the_fee_is_above_the_gain() -> None:
    orders = Orders.of(
        id=["b", "s"], side=[1.0, -1.0], energy_kwh=[1, 1], price_eur_per_kwh=[0.07, 0.08]
    )
    result = MidMarketRate().clear(orders, MarketTerms(retail_price=0.07, feed_in_price=0.08))
    assert not result.accepted_kwh.any()


def test_a_sharing_market_without_prices_outside_says_which_is_missing() -> None:
    orders = Orders.of(id=["b"], side=[1.0], energy_kwh=[1.0], price_eur_per_kwh=[0.3])
    with pytest.raises(MarketError, match="retail_price is nan"):
        MidMarketRate().clear(orders, MarketTerms())


# --- no trading ---


@settings(deadline=None)
@given(orders=books())
def test_without_a_market_everything_is_left_to_the_retailer(orders: Orders) -> None:
    result = RetailOnly().clear(orders, TERMS)
    assert not result.accepted_kwh.any()
    assert (result.buy_price, result.operator_surplus_eur, result.welfare_eur) == (None, 0.0, 0.0)


@settings(deadline=None)
@given(
    net=arrays(np.float64, (4, 3), elements=st.integers(-900, 900).map(lambda n: n / 100)),
    fee=st.floats(0.0, 0.2),
    wholesale=st.floats(-0.1, 0.2),
    net_metering=st.booleans(),
)
def test_bills_go_to_network_wholesale_and_retailer(
    net: Floats, fee: float, wholesale: float, net_metering: bool
) -> None:
    result = settle_at_retail(
        net,
        RETAIL,
        FEED_IN,
        network_fee=fee,
        wholesale_price=wholesale,
        net_metering=net_metering,
    )
    shares = result.network_eur + result.wholesale_eur + result.retailer_margin_eur
    assert result.bill_eur.sum() == pytest.approx(shares, abs=ROUNDING_EUR)
    assert result.wholesale_eur == pytest.approx(wholesale * net.sum(), abs=ROUNDING_EUR)


def test_net_metering_bills_the_month_and_not_the_slot() -> None:
    net = [[2.0, 1.0], [-3.0, 3.0], [0.5, -1.0]]  # months of -0.5 and +3 kWh
    metered = settle_at_retail(net, RETAIL, FEED_IN, network_fee=0.1, net_metering=True)
    assert metered.bill_eur == pytest.approx([-0.5 * FEED_IN, 3.0 * RETAIL])
    assert metered.network_eur == pytest.approx(0.3)
    by_slot = settle_at_retail(net, RETAIL, FEED_IN).bill_eur
    assert by_slot == pytest.approx([2.5 * RETAIL - 3.0 * FEED_IN, 4.0 * RETAIL - 1.0 * FEED_IN])


def test_at_a_negative_feed_in_price_exporters_pay_and_curtailable_plants_stop() -> None:
    result = settle_at_retail([-2.0, -2.0, 1.0], RETAIL, -0.05, is_curtailable=[False, True, True])
    assert result.bill_eur == pytest.approx([0.10, 0.0, 0.30])


def test_net_metering_at_prices_that_vary_is_refused() -> None:
    with pytest.raises(MarketError, match=r"retail_price lies between 0\.2 and 0\.3"):
        settle_at_retail([[1.0], [2.0]], [0.2, 0.3], FEED_IN, net_metering=True)


def test_a_meter_that_gives_no_number_is_named_with_its_slot() -> None:
    with pytest.raises(MarketError, match="meter 1, slot 0: net_kwh is nan"):
        settle_at_retail([[1.0, np.nan]], RETAIL, FEED_IN)
    with pytest.raises(MarketError, match="one for each of the 1 slots"):
        settle_at_retail([1.0], [0.1, 0.2], FEED_IN)


@settings(deadline=None)
@given(net=nets, markup=st.floats(0.0, 1.0))
def test_last_resort_never_costs_less_than_the_retailer(net: Floats, markup: float) -> None:
    result = settle_at_last_resort(net, RETAIL, FEED_IN, markup)
    extra = result.bill_eur - without_trading(net, RETAIL, FEED_IN)
    assert extra == pytest.approx(RETAIL * markup * np.maximum(net, 0.0), abs=ROUNDING_EUR)


def test_a_negative_markup_is_refused() -> None:
    with pytest.raises(MarketError, match=r"markup is -0\.1"):
        settle_at_last_resort([1.0], RETAIL, FEED_IN, -0.1)


# --- time of use ---

NIGHT_AND_DAY = (TariffBand(time(22), time(6), 0.20), TariffBand(time(6), time(22), 0.40))


@pytest.mark.parametrize(
    ("first_hour_utc", "local_hour_of_each_slot"),
    [
        # 2026-03-29 01:00 UTC: clocks in Berlin go from 2 to 3 (EU directive 2000/84/EC)
        ("2026-03-29T00", [1, 3, 4, 5, 6, 7]),
        # 2026-10-25 01:00 UTC: from 3 back to 2
        ("2026-10-25T00", [2, 2, 3, 4, 5, 6]),
    ],
)
def test_a_band_keeps_its_local_hours_when_the_clocks_change(
    first_hour_utc: str, local_hour_of_each_slot: list[int]
) -> None:
    slots = np.datetime64(first_hour_utc, "h") + np.arange(6)
    prices = tariff_prices(slots, NIGHT_AND_DAY, "Europe/Berlin")
    assert prices.tolist() == [0.20 if hour < 6 else 0.40 for hour in local_hour_of_each_slot]


def test_weekend_bands_and_a_price_for_the_rest() -> None:
    weekend = (TariffBand(time(0), time(0), 0.10, frozenset({5, 6})),)
    days = np.array(["2026-01-02T12", "2026-01-03T12", "2026-01-05T12"], "datetime64[h]")
    prices = tariff_prices(days, weekend, "UTC", other_price=0.30)
    assert prices.tolist() == [0.30, 0.10, 0.30]  # Friday, Saturday, Monday
    with pytest.raises(MarketError, match="no band of the tariff covers Friday 12:00"):
        tariff_prices(days, weekend, "UTC")


def test_an_unknown_time_zone_is_named() -> None:
    with pytest.raises(MarketError, match="'Europe/Berlinn', which is unknown"):
        tariff_prices(np.array(["2026-01-01"], "datetime64[D]"), NIGHT_AND_DAY, "Europe/Berlinn")


def test_real_time_prices_follow_the_wholesale_price() -> None:
    assert real_time_prices([0.05, -0.02], 0.20) == pytest.approx([0.25, 0.18])


@settings(deadline=None)
@given(
    price=st.lists(st.integers(-20, 50).map(lambda cent: cent / 100), min_size=1, max_size=8),
    energy=st.integers(0, 100).map(lambda n: n / 10),
    limit=st.integers(0, 30).map(lambda n: n / 10),
)
def test_a_schedule_is_the_cheapest_that_fits_and_there_is_none_if_none_fits(
    price: list[float], energy: float, limit: float
) -> None:
    plan = schedule_flexible_load(price, energy, limit)
    assert plan.is_feasible == (energy <= limit * len(price) + 1e-9)
    if plan.energy_kwh is None:
        assert plan.cost_eur is None
        return
    best = linprog(price, A_eq=[np.ones(len(price))], b_eq=[energy], bounds=(0.0, limit))
    assert plan.energy_kwh.sum() == pytest.approx(energy, abs=1e-9)
    assert (plan.energy_kwh >= 0.0).all()
    assert (plan.energy_kwh <= limit).all()
    # feasibility tolerance of the reference solver, 1e-7
    assert plan.cost_eur == pytest.approx(best.fun, abs=1e-6)


def test_equal_prices_fill_the_earliest_slot() -> None:
    plan = schedule_flexible_load([0.2, 0.1, 0.2, 0.1], 3.0, [1.0, 1.0, 1.0, 1.0])
    assert plan.energy_kwh is not None
    assert plan.energy_kwh.tolist() == [1.0, 1.0, 0.0, 1.0]


def test_a_load_of_the_rounded_sum_of_its_limits_fits() -> None:
    plan = schedule_flexible_load([0.1, 0.2, 0.3], 0.3, [0.1, 0.2, 1.0])
    assert plan.energy_kwh is not None
    assert plan.energy_kwh[2] == 0.0


def test_a_load_that_is_none_is_refused() -> None:
    with pytest.raises(MarketError, match="energy_kwh is -1"):
        schedule_flexible_load([0.1], -1.0)
    with pytest.raises(MarketError, match="slot 1: price is nan"):
        schedule_flexible_load([0.1, np.nan], 1.0)
    with pytest.raises(MarketError, match="slot 0: slot_limit_kwh is -1"):
        schedule_flexible_load([0.1], 1.0, -1.0)
    with pytest.raises(MarketError, match="2 prices, but 1 energies"):
        schedule_cost([0.1, 0.2], [1.0])
