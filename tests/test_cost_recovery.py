"""What levels cost, who bears it, and long-run incremental cost.

Numbers without a source of their own are worked out beside the test.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.markets.charge import Calendar, Customers, MeterData
from tricell.markets.cost_recovery import (
    CostSplit,
    allowed_for_period,
    causal_cost,
    coincident_import_kw,
    cost_cascade,
    peak_start,
)
from tricell.markets.long_run_incremental_cost import (
    Outlook,
    asset_charge_eur_per_mw,
    deferred_reinforcement_eur,
    node_charge_eur_per_mw,
    present_value_eur,
    years_to_reinforcement,
)

Floats = NDArray[np.float64]
YEAR = 8760
START = np.datetime64("2026-01-01T00:00:00", "s")
QUICK = settings(max_examples=80, deadline=None)


def calendar_of(slots: int, hours: float = 1.0) -> Calendar:
    step = np.timedelta64(round(hours * 3600), "s")
    return Calendar(START + np.arange(slots) * step, hours)


def customers_in(
    area: list[int], level: tuple[int, ...] = (1, 2, 3), parent: tuple[int, ...] = (1, 2, -1)
) -> Customers:
    """Customers by their area; by default a microgrid in a cell in a multi-cell grid."""
    return replace(
        Customers.plain(len(area)),
        area=np.array(area, np.int64),
        area_level=np.array(level),
        area_parent=np.array(parent),
    )


def metered(
    net_kw: list[list[float]] | Floats, customers: Customers, hours: float = 1.0
) -> MeterData:
    net = np.asarray(net_kw, np.float64)
    return MeterData(calendar_of(len(net), hours), customers, net)


def per_year(eur: float, slots: int) -> float:
    """Yearly revenue of which some hourly slots are due this much."""
    return eur * YEAR / slots


# --- allowed revenue ---


def test_a_period_is_due_its_share_of_a_year() -> None:
    week = calendar_of(7 * 96, hours=0.25)
    assert allowed_for_period([8760.0, 0.0], week) == pytest.approx([168.0, 0.0])


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_allowed_revenue_that_is_no_amount_of_money_is_named(wrong: float) -> None:
    with pytest.raises(MarketError, match="allowed are numbers from 0 upwards"):
        allowed_for_period([1.0, wrong, 0.0], calendar_of(1))


def test_a_revenue_per_level_is_asked_for() -> None:
    with pytest.raises(MarketError, match="2 numbers; give one each for microgrid, cell, multi"):
        cost_cascade([1.0, 1.0], metered([[1.0]], customers_in([0])))


# --- cascade ---


def test_cost_goes_down_by_the_share_of_the_coincident_peak() -> None:
    """Worked out by hand.

    HV peaks in slot 1 with 2 + 6 = 8 kW: 2 of its customer, 6 of the cell: 80 EUR give 20 and 60.
    MV then bears 40 + 60 = 100; in its peak, slot 1, its customer takes 2 and the microgrid 4: a
    third stays. LV bears 10 + 66.67.
    """
    meters = metered(
        [[1.0, 0.0, 2.0, 3.0], [1.0, 3.0, 2.0, 2.0], [0.5, 0.5, 1.0, 1.0]],
        customers_in([0, 0, 1, 2]),
    )
    cascade = cost_cascade([per_year(eur, 3) for eur in (10.0, 40.0, 80.0)], meters)
    assert cascade.passed_eur[2] == pytest.approx([0.0, 60.0, 0.0])
    assert cascade.passed_eur[1] == pytest.approx([200 / 3, 0.0, 0.0])
    assert cascade.borne_eur == pytest.approx([10 + 200 / 3, 100 / 3, 20.0])
    assert cascade.received_eur == pytest.approx([200 / 3, 60.0, 0.0])
    assert all(hours == [START + np.timedelta64(1, "h")] for hours in cascade.peak_start)


def test_who_feeds_in_at_the_peak_bears_nothing_of_what_is_above() -> None:
    meters = metered([[-3.0, 5.0], [1.0, 2.0]], customers_in([0, 1]))
    cascade = cost_cascade([0.0, per_year(30.0, 2), 0.0], meters, peak_hours=2)
    # Peak hours are both; the microgrid takes (0 + 1) / 2, the customer (5 + 2) / 2.
    assert cascade.borne_eur == pytest.approx([30 / 8, 30 * 7 / 8, 0.0])


def test_measured_flows_between_areas_count_with_their_losses() -> None:
    meters = metered([[2.0, 2.0]], customers_in([0, 1]))
    with_losses = replace(meters, area_net_kw=np.array([[3.0, 5.0, 5.0]]))
    cascade = cost_cascade([0.0, per_year(10.0, 1), 0.0], with_losses)
    assert cascade.borne_eur == pytest.approx([6.0, 4.0, 0.0])


def test_the_cost_of_a_network_upstream_of_the_model_goes_down_whole() -> None:
    village = customers_in([0, 0], level=(1,), parent=(-1,))
    cascade = cost_cascade(
        [per_year(eur, 1) for eur in (1.0, 2.0, 3.0)], metered([[1, 1]], village)
    )
    assert cascade.borne_eur == pytest.approx([6.0, 0.0, 0.0])
    assert [len(hours) for hours in cascade.peak_start] == [1, 0, 0]


def test_a_microgrid_right_below_the_multi_cell_grid_takes_its_share() -> None:
    tree = customers_in([0, 1, 2], level=(1, 2, 3), parent=(2, 2, -1))
    cascade = cost_cascade([0.0, 0.0, per_year(6.0, 1)], metered([[1.0, 2.0, 3.0]], tree))
    assert cascade.borne_eur == pytest.approx([1.0, 2.0, 3.0])


def test_a_cost_with_nobody_at_or_below_its_level_is_an_error() -> None:
    only_cell = customers_in([0], level=(2,), parent=(-1,))
    with pytest.raises(MarketError, match="of the microgrid level cannot be passed on"):
        cost_cascade([1.0, 0.0, 0.0], metered([[1.0]], only_cell))
    assert cost_cascade([0.0, YEAR, 0.0], metered([[1.0]], only_cell)).borne_eur[1] == 1.0


def test_a_cost_that_nobody_takes_power_for_is_an_error() -> None:
    exporting = metered([[-1.0]], customers_in([0]))
    with pytest.raises(MarketError, match="nobody takes anything there"):
        cost_cascade([1.0, 0.0, 0.0], exporting)
    assert cost_cascade([0.0, 0.0, 0.0], exporting).borne_eur.tolist() == [0.0, 0.0, 0.0]


def test_quarter_hours_are_averaged_to_hours_before_the_peak_is_sought() -> None:
    """A quarter hour of 6 kW in an hour of 1.5 kW is less than an hour of 2 kW."""
    calendar = calendar_of(8, hours=0.25)
    load = np.array([6.0, 0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 2.0])
    start = peak_start(load, calendar)
    assert start.tolist() == [calendar.start[4]]
    assert coincident_import_kw(load[:, None], calendar, start).tolist() == [2.0]


def test_of_equal_hours_the_earlier_is_the_peak_and_none_is_an_error() -> None:
    load = np.array([1.0, 5.0, 3.0, 5.0])
    assert peak_start(load, calendar_of(4), 2).tolist() == calendar_of(4).start[[1, 3]].tolist()
    with pytest.raises(MarketError, match="from 1 upwards"):
        peak_start(load, calendar_of(4), 0)


# --- causal cost ---


def test_causal_cost_follows_energy_peak_and_heads() -> None:
    """Two customers at LV, 100 EUR: import 3 and 1 kWh, at the peak 3 and 0 kW."""
    meters = metered([[3.0, 0.0], [0.0, 1.0]], customers_in([0, 0]))
    cascade = cost_cascade([per_year(100.0, 2), 0.0, 0.0], meters)
    cost = causal_cost(cascade, meters, CostSplit(energy=0.2, peak=0.5, customer=0.3))
    assert cost.energy_eur == pytest.approx([15.0, 5.0])
    assert cost.peak_eur == pytest.approx([50.0, 0.0])
    assert cost.customer_eur == pytest.approx([15.0, 15.0])
    assert cost.eur == pytest.approx([80.0, 20.0])


def test_each_level_may_have_a_split_of_its_own() -> None:
    meters = metered([[1.0, 3.0, 1.0]], customers_in([0, 0, 1]))
    cascade = cost_cascade([YEAR, YEAR, 0.0], meters)
    by_head = CostSplit(energy=0.0, peak=0.0, customer=1.0)
    cost = causal_cost(cascade, meters, [by_head, CostSplit(), CostSplit()])
    # MV: 1 EUR by 4 kW of the microgrid and 1 kW of its own; LV: 1.80 EUR, half each.
    assert cost.eur == pytest.approx([0.9, 0.9, 0.2])
    with pytest.raises(MarketError, match="cost split: 2 given"):
        causal_cost(cascade, meters, [by_head, by_head])


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5), (-0.5, 1.0, 0.5), (np.nan, 0.5, 0.5)])
def test_shares_of_a_cost_add_up_to_one(shares: tuple[float, float, float]) -> None:
    with pytest.raises(MarketError, match="add up to 1"):
        CostSplit(*shares)


@st.composite
def metered_trees(draw: st.DrawFn) -> MeterData:
    """Customers anywhere in a tree with two microgrids, a cell and a multi-cell grid."""
    area = draw(st.lists(st.integers(0, 3), min_size=1, max_size=7))
    slots = draw(st.integers(1, 6))
    power = st.integers(-30, 60).map(lambda n: n / 10)
    net = [[draw(power) for _ in area] for _ in range(slots)]
    net[0] = [abs(kw) + 1.0 for kw in net[0]]
    return metered(net, customers_in(area, level=(1, 1, 2, 3), parent=(2, 2, 3, -1)))


@QUICK
@given(
    metered_trees(),
    st.tuples(*(st.integers(0, 500).map(float),) * 3),
    st.integers(1, 4),
    st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(1, 5)),
)
def test_cost_is_neither_lost_nor_invented(
    meters: MeterData,
    revenue: tuple[float, float, float],
    peak_hours: int,
    parts: tuple[int, int, int],
) -> None:
    if not np.isin([1, 2, 3], meters.customers.level).all():
        revenue = (0.0, 0.0, revenue[2])
    cascade = cost_cascade(revenue, meters, peak_hours)
    energy, peak, customer = (part / sum(parts) for part in parts)
    cost = causal_cost(cascade, meters, CostSplit(energy, peak, customer))
    total = sum(revenue) * meters.calendar.year_share
    assert cascade.borne_eur.sum() == pytest.approx(total, rel=1e-12, abs=1e-12)
    assert cost.eur.sum() == pytest.approx(total, rel=1e-12, abs=1e-12)
    assert (cascade.borne_eur >= 0.0).all()
    assert (cost.eur >= 0.0).all()
    assert np.triu(cascade.passed_eur).sum() == 0.0


# --- long-run incremental cost ---

SQUARE = Outlook(growth=0.1, discount=0.21, life_years=1.0)
"""ln 1.21 = 2 ln 1.1, so that PV = A (D / C)^2; over one year the annuity is 1.21."""


def test_present_value_and_charge_by_hand() -> None:
    """C = 10, D = 5, A = 1000: PV 250; PV(6) 360; charge 110 x 1.21 = 133.1 EUR/MW/yr."""
    assert present_value_eur(5.0, 10.0, 1000.0, SQUARE) == pytest.approx(250.0)
    assert SQUARE.annuity == pytest.approx(1.21)
    assert asset_charge_eur_per_mw(5.0, 10.0, 1000.0, SQUARE) == pytest.approx(133.1)
    assert asset_charge_eur_per_mw(5.0, 10.0, 1000.0, SQUARE, 0.5) == pytest.approx(
        (302.5 - 250.0) * 1.21 / 0.5
    )


def test_years_until_demand_has_doubled_at_seven_percent() -> None:
    """1.07^n = 2 gives n = 10.24."""
    outlook = Outlook(growth=0.07, discount=0.05)
    assert years_to_reinforcement(5.0, 10.0, outlook) == pytest.approx(10.2448, abs=1e-4)
    assert years_to_reinforcement([10.0, 20.0], 10.0, outlook) == pytest.approx(
        [0.0, -10.2448], abs=1e-4
    )


def test_annuity_of_forty_years_at_five_percent() -> None:
    """0.05 / (1 - 1.05^-40) = 0.0582782, the usual table of annuities."""
    assert Outlook(growth=0.01, discount=0.05).annuity == pytest.approx(0.0582782, abs=1e-7)


def test_an_asset_that_carries_nothing_is_never_replaced() -> None:
    assert years_to_reinforcement(0.0, 10.0, SQUARE) == np.inf
    assert present_value_eur(0.0, 10.0, 1000.0, SQUARE) == 0.0


def test_a_node_pays_for_the_assets_on_its_way() -> None:
    path = np.array([[1.0, 0.0], [1.0, 1.0], [0.25, 0.75]])
    assert node_charge_eur_per_mw(np.array([8.0, 4.0]), path).tolist() == [8.0, 12.0, 5.0]


def test_a_lower_peak_defers_reinforcement() -> None:
    saved = deferred_reinforcement_eur([5.0, 4.0], [4.0, 5.0], 10.0, 1000.0, SQUARE)
    assert saved == pytest.approx([90.0, -90.0])


@pytest.mark.parametrize(
    ("flow", "capacity", "increment", "message"),
    [
        (-1.0, 10.0, 1.0, "peak flow is negative"),
        (np.nan, 10.0, 1.0, "peak flow is negative or not a number"),
        (1.0, 0.0, 1.0, "capacity is not above 0"),
        (1.0, 10.0, 0.0, "increment 0.0 MW"),
    ],
)
def test_impossible_assets_are_named(
    flow: float, capacity: float, increment: float, message: str
) -> None:
    with pytest.raises(MarketError, match=message):
        asset_charge_eur_per_mw(flow, capacity, 1000.0, SQUARE, increment)


@pytest.mark.parametrize("wrong", [0.0, -0.01, np.nan])
def test_without_growth_nothing_is_ever_due(wrong: float) -> None:
    with pytest.raises(MarketError, match="growth is"):
        Outlook(growth=wrong, discount=0.05)


@QUICK
@given(st.floats(0.1, 20.0), st.floats(0.1, 20.0), st.floats(0.001, 0.2), st.floats(0.001, 0.2))
def test_the_fuller_an_asset_the_earlier_and_the_dearer(
    one: float, other: float, growth: float, discount: float
) -> None:
    outlook = Outlook(growth, discount)
    low, high = sorted((one, other))
    value = present_value_eur([low, high], 10.0, 1000.0, outlook)
    assert value[0] <= value[1]
    assert asset_charge_eur_per_mw(low, 10.0, 1000.0, outlook) >= 0.0
