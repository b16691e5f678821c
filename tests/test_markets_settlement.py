"""The money of cleared slots: who pays whom, once and to the last cent; and no trading at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.strategies import MarketCase, Slot, clear, level_rates, market_cases

from tricell.errors import MarketError
from tricell.markets.joint_market import Clearing, GridLimits, JointMarket
from tricell.markets.orders import OrderBook, OrderColumns, OrderKind, check_order_book
from tricell.markets.settlement import ClearedBlock, Settlement, TradingAreas, settle
from tricell.simulators.no_trading import NoTradingReference
from tricell.simulators.population import Batteries

Floats = NDArray[np.float64]
CASES = Path(__file__).parent / "cases"

EUR = 1e-6
"""Schedules hold to 1e-7 kW, breach prices are 5 EUR/kWh."""
KWH = 1e-5
HOURS = 0.25


def agents_of(case: MarketCase) -> tuple[TradingAreas, NDArray[np.int64]]:
    """One agent per node with its firm demand, and one per order; with the node of each."""
    grid, orders = case.problem.grid, case.problem.orders
    node = np.concatenate([np.arange(grid.n_node), orders.node])
    level = np.asarray(case.model.tree.level, dtype=np.int64)
    return TradingAreas.of(case.problem.area_parent, level, grid.node_area[node]), node


def settled(case: MarketCase) -> tuple[TradingAreas, ClearedBlock, Settlement]:
    """Clear all slots of a case and settle them as one block."""
    market = JointMarket(case.problem)
    areas, node = agents_of(case)
    clearings = [clear(market, case, slot) for slot in case.slots]
    block = ClearedBlock(
        p_net_kw=np.stack(
            [net_of_agents(case, s, c) for s, c in zip(case.slots, clearings, strict=True)]
        ),
        area_price=np.stack([one.area_price for one in clearings]),
        agent_price=np.stack([one.node_price[node] for one in clearings]),
        retail_price=np.array([slot.retail for slot in case.slots]),
        feed_in_price=np.array([slot.feed_in for slot in case.slots]),
        hours=HOURS,
        rates=level_rates(areas, case.fee),
    )
    return areas, block, settle(areas, block)


def net_of_agents(case: MarketCase, slot: Slot, clearing: Clearing) -> Floats:
    return np.concatenate([slot.firm_kw, case.problem.orders.side * clearing.accepted_kw])


def without_limits(case: MarketCase) -> MarketCase:
    """Return the same market on a grid that never binds."""
    n_node = case.problem.grid.n_node
    problem = replace(case.problem, v2_min=np.full(n_node, -1e3), v2_max=np.full(n_node, 1e3))
    wide = np.full(case.problem.grid.n_edge, 1e9)
    return replace(
        case, problem=problem, limits=GridLimits(-wide, wide, case.limits.voltage_offset)
    )


def paid_by_agents(bill: Settlement) -> Floats:
    return np.asarray(
        bill.energy_p2p + bill.energy_retail + bill.export + bill.network + bill.congestion
    )


@settings(max_examples=60, deadline=None)
@given(market_cases())
def test_postings_add_up_to_zero_and_every_kilowatt_hour_is_counted_once(case: MarketCase) -> None:
    areas, block, bill = settled(case)
    zero = bill.agents_eur + bill.retailer_eur + bill.network_operator_eur
    np.testing.assert_allclose(zero, 0.0, atol=1e-9)
    assert paid_by_agents(bill).sum() == pytest.approx(-bill.agents_eur.sum(), abs=1e-9)
    energy = block.p_net_kw * HOURS
    purchases, sales = np.maximum(energy, 0.0).sum(axis=0), np.maximum(-energy, 0.0).sum(axis=0)
    np.testing.assert_allclose(bill.bought_p2p_kwh + bill.bought_retail_kwh, purchases, atol=1e-9)
    np.testing.assert_allclose(bill.sold_p2p_kwh + bill.sold_retail_kwh, sales, atol=1e-9)
    traded = bill.areas.traded_kwh.sum()
    assert bill.bought_p2p_kwh.sum() == pytest.approx(traded, abs=KWH)
    assert bill.sold_p2p_kwh.sum() == pytest.approx(traded, abs=KWH)
    top = block.p_net_kw.sum(axis=1) * HOURS
    assert bill.bought_retail_kwh.sum() == pytest.approx(np.maximum(top, 0.0).sum(), abs=KWH)
    assert bill.sold_retail_kwh.sum() == pytest.approx(np.maximum(-top, 0.0).sum(), abs=KWH)
    assert bill.network.sum() == pytest.approx(bill.areas.network_charge_eur.sum(), abs=EUR)
    assert (bill.areas.traded_kwh >= 0.0).all()
    net = block.p_net_kw @ areas.within.toarray()
    np.testing.assert_allclose(bill.areas.residual_kwh, np.abs(net) * HOURS, atol=1e-9)
    assert areas.parent[0] == -1


@settings(max_examples=60, deadline=None)
@given(market_cases(max_slots=1))
def test_no_one_pays_more_than_retail_or_pays_for_selling_beyond_a_negative_feed_in_price(
    case: MarketCase,
) -> None:
    """Even where a limit had to be broken and the duals are breach prices."""
    _, block, bill = settled(case)
    slot, energy = case.slots[0], block.p_net_kw[0] * HOURS
    paid = paid_by_agents(bill)
    assert (
        paid
        <= np.maximum(energy, 0.0) * slot.retail
        + np.maximum(-energy, 0.0) * max(-slot.feed_in, 0.0)
        + 1e-9
    ).all()


@settings(max_examples=60, deadline=None)
@given(market_cases())
def test_without_congestion_the_operator_gets_the_fees_and_sellers_no_less_than_feed_in(
    case: MarketCase,
) -> None:
    free = without_limits(case)
    _, block, bill = settled(free)
    fees = bill.areas.network_charge_eur.sum(axis=1)
    np.testing.assert_allclose(bill.network_operator_eur, fees, rtol=1e-9, atol=EUR)
    assert (bill.network_operator_eur >= -EUR).all()
    np.testing.assert_allclose(bill.congestion, 0.0, atol=EUR)
    sold = np.maximum(-block.p_net_kw, 0.0) * HOURS
    least = (sold * block.feed_in_price[:, None]).sum(axis=0)
    bought = np.maximum(block.p_net_kw, 0.0) * HOURS
    most = (bought * block.retail_price[:, None]).sum(axis=0)
    assert (paid_by_agents(bill) <= most - least + EUR).all()


@settings(max_examples=60, deadline=None)
@given(market_cases(largest_kw=60.0))
def test_congestion_alone_never_costs_the_operator_money(case: MarketCase) -> None:
    """The rent of a kept limit goes to the operator; only broken limits are not paid by anyone."""
    market = JointMarket(case.problem)
    kept = [slot for slot in case.slots if not broken(clear(market, case, slot))]
    if kept:
        _, _, bill = settled(replace(case, slots=tuple(kept)))
        assert (bill.network_operator_eur >= -EUR).all()


def broken(clearing: Clearing) -> bool:
    return bool(np.abs(clearing.flow_breach_kw).max() + np.abs(clearing.voltage2_breach).max() > 0)


# --- by hand ---


def one_area(p_net_kw: list[float], price: float, fee: float) -> Settlement:
    """One slot of an hour in one area; the retailer sells at 0.32 and pays 0.08 EUR/kWh."""
    net = np.array([p_net_kw])
    areas = TradingAreas.of(np.array([-1]), np.array([1]), np.zeros(net.shape[1], dtype=np.int64))
    return settle(
        areas,
        ClearedBlock(
            p_net_kw=net,
            area_price=np.array([[price]]),
            agent_price=np.full_like(net, price),
            retail_price=np.array([0.32]),
            feed_in_price=np.array([0.08]),
            hours=1.0,
            rates=level_rates(areas, np.array([fee])),
        ),
    )


def test_one_area_without_a_fee_by_hand() -> None:
    """Two buyers of 3 and 1 kWh, a seller of 2 kWh: 2 kWh meet, 2 kWh come from the retailer."""
    bill = one_area([3.0, 1.0, -2.0], 0.32, 0.0)
    assert bill.bought_p2p_kwh == pytest.approx([1.5, 0.5, 0.0])
    assert bill.bought_retail_kwh == pytest.approx([1.5, 0.5, 0.0])
    assert bill.energy_p2p == pytest.approx([0.48, 0.16, -0.64])
    assert bill.energy_retail == pytest.approx([0.48, 0.16, 0.0])
    assert bill.retailer_eur == pytest.approx([0.64])
    assert bill.network_operator_eur == pytest.approx([0.0], abs=1e-12)


def test_one_area_with_a_fee_by_hand() -> None:
    """At a fee of 0.04 the price is 0.28; buyers pay 0.32 all in, 2 kWh earn the operator 0.08."""
    bill = one_area([3.0, 1.0, -2.0], 0.28, 0.04)
    assert bill.network == pytest.approx([0.06, 0.02, 0.0])
    assert bill.energy_p2p == pytest.approx([1.5 * 0.28, 0.5 * 0.28, -2.0 * 0.28])
    assert paid_by_agents(bill) == pytest.approx([0.96, 0.32, -0.56])
    assert bill.network_operator_eur == pytest.approx([0.08])


def test_a_surplus_is_exported_at_the_feed_in_price_by_hand() -> None:
    """A buyer of 1 kWh, sellers of 2 and 3 kWh: 1 kWh meets, 4 kWh are fed in, all at 0.08."""
    bill = one_area([1.0, -2.0, -3.0], 0.08, 0.01)
    assert bill.sold_p2p_kwh == pytest.approx([0.0, 0.4, 0.6])
    assert bill.sold_retail_kwh == pytest.approx([0.0, 1.6, 2.4])
    assert bill.export == pytest.approx([0.0, -0.128, -0.192])
    assert paid_by_agents(bill) == pytest.approx([0.09, -0.16, -0.24])
    assert bill.retailer_eur == pytest.approx([-0.32])
    assert bill.network_operator_eur == pytest.approx([0.01])


def test_a_breach_price_is_paid_by_no_household() -> None:
    bill = one_area([3.0, 1.0, -2.0], 5.32, 0.04)
    assert paid_by_agents(bill) == pytest.approx([0.96, 0.32, -0.56])


# --- no trading ---


def no_batteries() -> Batteries:
    none = np.zeros(0)
    return Batteries(np.zeros(0, dtype=np.int64), none, none, none, none, none, none, none)


def test_bills_without_trading_are_those_of_case_a1_fit_retail() -> None:
    folder = CASES / "A1_fit_retail"
    given = json.loads((folder / "input.json").read_text())
    answer = json.loads((folder / "expected.json").read_text())
    agents, prices = given["agents"], (np.array([given["p_im"]]), np.array([given["p_ex"]]))
    reference = NoTradingReference(no_batteries(), len(agents))
    load = np.array([[one["load"] for one in agents]])
    generation = np.array([[one["gen"] for one in agents]])
    reference.add(load, generation, *prices, 1.0)
    expected = [answer["expected"]["bills"][one["id"]] for one in agents]
    assert reference.bill_eur == pytest.approx(expected, abs=answer["tolerance"]["any"])


def test_without_trading_a_plant_stops_where_feeding_in_costs_money() -> None:
    reference = NoTradingReference(no_batteries(), 2)
    load, generation = np.array([[1.0, 2.0]]), np.array([[3.0, 0.0]])
    reference.add(load, generation, np.array([0.3]), np.array([-0.05]), 0.5)
    assert reference.bill_eur == pytest.approx([0.0, 0.3])


def test_without_trading_slots_are_netted_one_by_one_and_blocks_add_up() -> None:
    load, generation = np.array([[2.0], [0.0]]), np.array([[0.0], [2.0]])
    retail, feed_in = np.full(2, 0.3), np.full(2, 0.1)
    whole = NoTradingReference(no_batteries(), 1)
    whole.add(load, generation, retail, feed_in, 0.25)
    assert whole.bill_eur == pytest.approx([2.0 * 0.25 * (0.3 - 0.1)])
    parts = NoTradingReference(no_batteries(), 1)
    for row in range(2):
        one = slice(row, row + 1)
        parts.add(load[one], generation[one], retail[one], feed_in[one], 0.25)
    assert parts.bill_eur == pytest.approx(whole.bill_eur)


# --- orders ---


@pytest.mark.parametrize(
    ("price", "quantity", "told"),
    [
        (np.nan, 1.0, "nan EUR/kWh"),
        (3.5, 1.0, "3.5 EUR/kWh"),
        (0.1, -1.0, "-1.0 kW"),
        (0.1, np.inf, "inf kW"),
        (0.1, np.nan, "nan kW"),
    ],
)
def test_an_order_that_is_no_order_is_refused_by_name(
    price: float, quantity: float, told: str
) -> None:
    columns = OrderColumns(
        np.array([0, 1]), np.array([0, 0]), np.ones(2), np.full(2, OrderKind.CHARGE_OWN, np.int8)
    )
    book = OrderBook(np.array([0.1, price]), np.array([1.0, quantity]))
    with pytest.raises(MarketError, match="order charge_own of 'Meier'") as caught:
        check_order_book(columns, book, ("Huber", "Meier"))
    assert told in str(caught.value)


@given(st.floats(-3.0, 3.0), st.floats(0.0, 1e9))
def test_orders_within_the_limits_are_accepted(price: float, quantity: float) -> None:
    columns = OrderColumns(
        np.zeros(1, np.int64), np.zeros(1, np.int64), np.ones(1), np.zeros(1, np.int8)
    )
    check_order_book(columns, OrderBook(np.array([price]), np.array([quantity])), ("Huber",))
