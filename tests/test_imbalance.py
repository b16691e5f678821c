"""Imbalance: worked cases, money that balances, and netting level by level."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.markets.imbalance import (
    AgentAreas,
    ImbalancePrices,
    ImbalanceScheme,
    net_by_level,
    price_deviations,
    settle_imbalance,
)

Floats = NDArray[np.float64]

SCHEMES = tuple(ImbalanceScheme)
PRICES = ImbalancePrices(retail=0.30, feed_in=0.08, contract=0.19, imbalance=0.25)
QUICK = settings(max_examples=25, deadline=None)
# EUR of some 20 agents of at most 9 kWh each at below 1 EUR/kWh: rounding of sums stays below this.
ROUNDING_EUR = 1e-9
# A net deviation up to the tolerance of 1e-9 kWh counts as none: at most so many EUR are left over.
TOLERANCE_EUR = 2e-9

# Whole watt-hours, as meters report them.
watt_hours = st.integers(-9000, 9000).map(lambda n: n / 1e3)


@st.composite
def markets(draw: st.DrawFn) -> tuple[Floats, Floats, ImbalancePrices]:
    """Deviations and balanced contracts of a day, shape (T, N), and a price set per slot."""
    shape = draw(st.integers(1, 4)), draw(st.integers(2, 8))
    deviation = draw(arrays(np.float64, shape, elements=watt_hours))
    contract = draw(arrays(np.float64, shape, elements=watt_hours))
    contract[:, -1] -= contract.sum(axis=1)
    feed_in = draw(arrays(np.float64, shape[:1], elements=st.integers(-5, 10).map(_cent)))
    spread = draw(arrays(np.float64, shape[:1], elements=st.integers(0, 30).map(_cent)))
    price = feed_in + draw(st.floats(0.0, 1.0)) * spread
    imbalance = draw(arrays(np.float64, shape[:1], elements=st.integers(-20, 60).map(_cent)))
    return deviation, contract, ImbalancePrices(feed_in + spread, feed_in, price, imbalance)


@st.composite
def area_trees(draw: st.DrawFn, agents: int) -> AgentAreas:
    """Agents anywhere in a random tree of areas, whose rows are shuffled."""
    areas = draw(st.integers(1, 6))
    above = [-1] + [draw(st.integers(0, area - 1)) for area in range(1, areas)]
    row = np.array(draw(st.permutations(range(areas))))
    parent = np.full(areas, -1)
    for area in range(1, areas):
        parent[row[area]] = row[above[area]]
    area_of_agent = [draw(st.integers(0, areas - 1)) for _ in range(agents)]
    return AgentAreas(np.array(area_of_agent), parent)


def _cent(number: int) -> float:
    return number / 100


# --- one area ---


@pytest.mark.parametrize("scheme", SCHEMES)
@QUICK
@given(market=markets())
def test_without_deviation_bills_are_the_contracts_and_nothing_else(
    scheme: ImbalanceScheme, market: tuple[Floats, Floats, ImbalancePrices]
) -> None:
    _, contracted, prices = market
    settled = settle_imbalance(contracted, contracted, prices, scheme)
    assert not settled.deviation_kwh.any()
    assert prices.contract is not None
    np.testing.assert_array_equal(
        settled.bill_eur, np.asarray(prices.contract)[:, None] * contracted
    )
    assert not settled.retailer_eur.any()
    np.testing.assert_allclose(settled.balance_eur, 0.0, atol=ROUNDING_EUR)


@pytest.mark.parametrize("scheme", SCHEMES)
@QUICK
@given(market=markets())
def test_agents_pay_what_the_retailer_gets_and_the_balancing_party_keeps(
    scheme: ImbalanceScheme, market: tuple[Floats, Floats, ImbalancePrices]
) -> None:
    deviation, _, prices = market
    costs = price_deviations(deviation, prices, scheme)
    np.testing.assert_allclose(
        costs.cost_eur.sum(axis=1), costs.retailer_eur + costs.kept_eur, atol=ROUNDING_EUR
    )


@QUICK
@given(market=markets())
def test_dual_prices_leave_the_balancing_party_the_gap_on_energy_that_cancels(
    market: tuple[Floats, Floats, ImbalancePrices],
) -> None:
    deviation, _, prices = market
    cancels = np.minimum(
        np.maximum(deviation, 0).sum(axis=1), np.maximum(-deviation, 0).sum(axis=1)
    )
    kept = price_deviations(deviation, prices, "dual").kept_eur
    gap = np.asarray(prices.retail) - np.asarray(prices.feed_in)
    np.testing.assert_allclose(kept, gap * cancels, atol=ROUNDING_EUR)
    assert (kept >= -ROUNDING_EUR).all()


@QUICK
@given(market=markets())
def test_the_cost_split_balances_wherever_contracts_do(
    market: tuple[Floats, Floats, ImbalancePrices],
) -> None:
    deviation, contracted, prices = market
    settled = settle_imbalance(contracted + deviation, contracted, prices, "ucs")
    np.testing.assert_allclose(settled.balance_eur, 0.0, atol=1e-8)


@QUICK
@given(market=markets())
def test_the_cost_split_takes_the_same_from_all_who_deviate_the_way_the_area_does(
    market: tuple[Floats, Floats, ImbalancePrices],
) -> None:
    """Madhusudan, Zobiri, Mustafa 2022, written out slot by slot."""
    deviation, _, prices = market
    cost = price_deviations(deviation, prices, "ucs").cost_eur
    columns = (prices.retail, prices.feed_in, prices.contract)
    for row, paid, retail, feed_in, p in zip(
        deviation, cost, *map(np.asarray, columns), strict=True
    ):
        net = row.sum()
        bears = row * np.sign(net) > 0.0 if abs(net) > 1e-6 else np.zeros(len(row), bool)
        split = (retail - p) * net if net > 0 else (p - feed_in) * -net
        share = split / bears.sum() if bears.any() else 0.0
        np.testing.assert_allclose(paid, p * row + share * bears, atol=1e-8)


def test_deviations_that_cancel_cost_nothing_beyond_the_contract_price_when_split() -> None:
    settled = settle_imbalance([1.1 + 0.1, -1.2], [1.0, -1.0], PRICES, "ucs")
    np.testing.assert_allclose(settled.bill_eur, [0.19 * 1.2, -0.19 * 1.2], atol=1e-12)
    assert float(settled.balance_eur) == pytest.approx(0.0, abs=1e-9)


def test_without_a_price_nothing_was_traded_and_all_pay_the_retailer_s_prices() -> None:
    """Worked out: 2 kWh at 0.30, 1 kWh at 0.08; the retailer gets 1 kWh at 0.30."""
    nothing = ImbalancePrices(0.30, 0.08)
    for scheme in SCHEMES:
        settled = settle_imbalance([2.0, -1.0], [0.0, 0.0], nothing, scheme)
        np.testing.assert_allclose(settled.bill_eur, [0.60, -0.08])
        assert float(settled.retailer_eur) == pytest.approx(0.30)


def test_a_slot_without_a_price_leaves_the_other_slots_as_they_are() -> None:
    prices = ImbalancePrices(0.30, 0.08, [0.19, np.nan])
    settled = settle_imbalance([[2.0, -1.0], [2.0, -1.0]], [[1.0, -1.0], [0.0, 0.0]], prices, "ucs")
    np.testing.assert_allclose(settled.bill_eur, [[0.19 * 2 + 0.11, -0.19], [0.60, -0.08]])


@pytest.mark.parametrize(
    ("actual", "contracted", "prices", "scheme", "named"),
    [
        ([1.0, np.nan], [1.0, 1.0], PRICES, "dual", "agent 1: actual_kwh is nan"),
        ([[1.0], [np.inf]], [[1.0], [1.0]], PRICES, "dual", "slot 1, agent 0: actual_kwh is inf"),
        ([1.0], [1.0], ImbalancePrices(np.nan, 0.1, 0.2), "dual", "retail price is not finite"),
        ([1.0], [1.0], ImbalancePrices(0.3, 0.1, 0.2), "single", "needs the imbalance price"),
        ([1.0], [1.0], ImbalancePrices(0.3, 0.1), "ucs", "there is no contract price"),
        ([1.0], [1.0], PRICES, "triple", "allowed are dual, single, ucs"),
    ],
)
def test_wrong_input_is_refused_by_name(
    actual: object, contracted: object, prices: ImbalancePrices, scheme: str, named: str
) -> None:
    with pytest.raises(MarketError, match=named):
        settle_imbalance(np.array(actual), np.array(contracted), prices, scheme)


def test_deviations_alone_cannot_be_split_without_a_contract_price() -> None:
    with pytest.raises(MarketError, match="ucs needs the contract price"):
        price_deviations([1.0], ImbalancePrices(0.3, 0.1), "ucs")


# --- areas in a tree ---


@pytest.mark.parametrize("scheme", SCHEMES)
@QUICK
@given(data=st.data(), market=markets())
def test_money_balances_among_agents_balancing_parties_and_retailer(
    scheme: ImbalanceScheme, data: st.DataObject, market: tuple[Floats, Floats, ImbalancePrices]
) -> None:
    deviation, _, prices = market
    netted = net_by_level(deviation, data.draw(area_trees(deviation.shape[1])), prices, scheme)
    np.testing.assert_allclose(
        netted.cost_eur.sum(axis=1),
        netted.kept_eur.sum(axis=1) + netted.retailer_eur,
        atol=ROUNDING_EUR,
    )


@pytest.mark.parametrize("scheme", SCHEMES)
@QUICK
@given(data=st.data(), market=markets())
def test_netting_loses_no_energy(
    scheme: ImbalanceScheme, data: st.DataObject, market: tuple[Floats, Floats, ImbalancePrices]
) -> None:
    """What agents take too much is cancelled at some level or comes from the retailer."""
    deviation, _, prices = market
    tree = data.draw(area_trees(deviation.shape[1]))
    netted = net_by_level(deviation, tree, prices, scheme)
    top = netted.net_kwh[:, tree.parent < 0].sum(axis=1)
    np.testing.assert_allclose(top, deviation.sum(axis=1), atol=1e-9)
    taken = np.maximum(deviation, 0.0).sum(axis=1)
    from_retailer = np.maximum(top, 0.0)
    np.testing.assert_allclose(netted.cancelled_kwh.sum(axis=1) + from_retailer, taken, atol=1e-9)


@QUICK
@given(data=st.data(), market=markets())
def test_under_dual_prices_every_level_s_balancing_party_gains_by_what_it_nets(
    data: st.DataObject, market: tuple[Floats, Floats, ImbalancePrices]
) -> None:
    deviation, _, prices = market
    netted = net_by_level(deviation, data.draw(area_trees(deviation.shape[1])), prices, "dual")
    gap = (np.asarray(prices.retail) - np.asarray(prices.feed_in))[:, None]
    np.testing.assert_allclose(netted.kept_eur, gap * netted.cancelled_kwh, atol=ROUNDING_EUR)
    assert (netted.kept_eur >= -ROUNDING_EUR).all()


@QUICK
@given(data=st.data(), market=markets())
def test_under_the_cost_split_no_balancing_party_gains_or_loses(
    data: st.DataObject, market: tuple[Floats, Floats, ImbalancePrices]
) -> None:
    deviation, _, prices = market
    netted = net_by_level(deviation, data.draw(area_trees(deviation.shape[1])), prices, "ucs")
    np.testing.assert_allclose(netted.kept_eur, 0.0, atol=TOLERANCE_EUR)


@pytest.mark.parametrize("scheme", SCHEMES)
@QUICK
@given(market=markets())
def test_one_area_alone_is_the_plain_rule(
    scheme: ImbalanceScheme, market: tuple[Floats, Floats, ImbalancePrices]
) -> None:
    deviation, _, prices = market
    alone = AgentAreas(np.zeros(deviation.shape[1], np.int64), np.array([-1]))
    netted, plain = (
        net_by_level(deviation, alone, prices, scheme),
        price_deviations(deviation, prices, scheme),
    )
    np.testing.assert_allclose(netted.cost_eur, plain.cost_eur, atol=TOLERANCE_EUR)
    np.testing.assert_allclose(netted.kept_eur[:, 0], plain.kept_eur, atol=TOLERANCE_EUR)
    np.testing.assert_allclose(netted.retailer_eur, plain.retailer_eur, atol=TOLERANCE_EUR)


MULTI_CELL, CELL, VILLAGE, STREET = range(4)
THREE_LEVELS = AgentAreas(
    np.array([VILLAGE, VILLAGE, STREET, MULTI_CELL]), np.array([-1, MULTI_CELL, CELL, CELL])
)


def test_three_levels_net_one_after_the_other() -> None:
    """Worked out: the village cancels 1 of 3 kWh, the cell 0.5, the top 1; 0.5 is left."""
    netted = net_by_level([[3.0, -1.0, -0.5, -1.0]], THREE_LEVELS, PRICES, "dual")
    assert netted.net_kwh.tolist() == [[0.5, 1.5, 2.0, -0.5]]
    assert netted.cancelled_kwh.tolist() == [[1.0, 0.5, 1.0, 0.0]]
    np.testing.assert_allclose(netted.kept_eur, [[0.22, 0.11, 0.22, 0.0]])
    np.testing.assert_allclose(netted.retailer_eur, [0.15])


def test_an_area_that_balances_itself_bears_nothing_of_the_others_cost() -> None:
    """Worked out: the street is 1 kWh long; it alone bears (0.19 - 0.08) x 1 = 0.11 EUR."""
    netted = net_by_level([[2.0, -2.0, -1.0, 0.0]], THREE_LEVELS, PRICES, "ucs")
    np.testing.assert_allclose(netted.cost_eur, [[0.38, -0.38, -0.19 + 0.11, 0.0]])


def test_the_cost_of_an_area_is_split_among_its_own_members_only() -> None:
    """Worked out: 0.11 x 4 = 0.44 EUR, half to the cell, half to the agent at the top."""
    netted = net_by_level([[1.0, 1.0, 1.0, 1.0]], THREE_LEVELS, PRICES, "ucs")
    np.testing.assert_allclose(netted.cost_eur - 0.19, [[0.22 / 4, 0.22 / 4, 0.22 / 2, 0.22]])


def test_agents_without_an_area_and_areas_in_a_ring_are_refused() -> None:
    with pytest.raises(MarketError, match="area of agent 1 is row 4; allowed are 0 to 1"):
        AgentAreas(np.array([0, 4]), np.array([-1, 0]))
    with pytest.raises(MarketError, match="parent of area 0 is row 7"):
        AgentAreas(np.array([0]), np.array([7]))
    with pytest.raises(MarketError, match="lies below itself"):
        AgentAreas(np.array([0]), np.array([1, 0]))
    with pytest.raises(MarketError, match="a column for each agent"):
        net_by_level([[1.0]], THREE_LEVELS, PRICES, "dual")


def test_with_a_price_per_area_the_difference_stays_where_areas_meet() -> None:
    # Two microgrids below a cell, D = -0.5: C = (0.20 - 0.10) 0.5 = 0.05, all with the first one.
    tree = AgentAreas(np.array([1, 2, 2]), np.array([-1, 0, 0]))
    of_areas = ImbalancePrices(0.30, 0.10, contract=[[0.20, 0.10, 0.15]])
    netted = net_by_level([[-1.0, 1.0, -0.5]], tree, of_areas, "ucs")
    np.testing.assert_allclose(netted.cost_eur, [[-0.10 + 0.05, 0.15, -0.075]], atol=1e-12)
    # The first microgrid passes -1 kWh on at 0.20 instead of 0.10, the second 0.5 kWh.
    np.testing.assert_allclose(netted.kept_eur, [[0.0, 0.10, -0.025]], atol=1e-12)
    np.testing.assert_allclose(netted.retailer_eur, [-0.05], atol=1e-12)
