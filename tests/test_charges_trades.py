"""Charges on trades: by level, cluster, distance, sensitivity, nodal price and losses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.optimize import linprog

from tricell.errors import MarketError
from tricell.markets.charge import Calendar, Customers, EnergyRates, MeterData, SlotCharge, Source
from tricell.markets.charges.congestion_rent import CongestionRent, nodal_price_charges
from tricell.markets.charges.electrical_distance import ElectricalDistance
from tricell.markets.charges.fee_matrix import FeeMatrix, exit_and_entry
from tricell.markets.charges.level_fee import LevelFee
from tricell.markets.charges.loss_allocation import LossAllocation
from tricell.markets.charges.postage_stamp import PostageStamp
from tricell.markets.charges.sensitivity_charge import SensitivityCharge, sensitivity_fees
from tricell.markets.charges.zonal import Zonal
from tricell.markets.loss_factors import (
    branch_losses_kw,
    fit_feeder_losses,
    marginal_loss_factors,
    members_below,
    path_flows_kw,
    share_by_margin,
    share_pro_rata,
)
from tricell.markets.radial_feeder import Feeder, FeederClearing, FeederOrders, clear_feeder
from tricell.markets.sensitivity_gate import GateLimits, NetworkState, pass_gate
from tricell.markets.trade_fees import recover_cost, unit_fee_with_response
from tricell.markets.trade_paths import (
    Branches,
    root_paths,
    thevenin_distance,
    transfer_factors,
    tree_paths,
    zones_on_paths,
)

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

VOLT = 400.0
# Parents first: the top, two cells below it, and two microgrids in each cell.
AREA_IDS = ("top", "cell A", "cell B", "A1", "A2", "B1", "B2")
AREA_PARENT = np.array([-1, 0, 0, 1, 1, 2, 2])
AREA_LEVEL = np.array([3, 2, 2, 1, 1, 1, 1])
MICROGRIDS = np.array([3, 4, 5, 6])


# --- what the tests are fed with ---


@dataclass(frozen=True)
class Network:
    """A random tree, away from node 0, with withdrawals and trades."""

    branches: Branches
    resistance: Floats
    withdrawal: Floats
    seller: Indices
    buyer: Indices
    energy: Floats


@st.composite
def networks(draw: st.DrawFn) -> Network:
    size = draw(st.integers(1, 8))
    parents = [draw(st.integers(0, node - 1)) for node in range(1, size + 1)]
    count = draw(st.integers(1, 5))
    node = st.integers(0, size)
    kilowatt = st.floats(-20.0, 20.0).map(lambda value: round(value, 3))

    def vector(values: st.SearchStrategy[Any], length: int) -> Any:
        return np.array(draw(st.lists(values, min_size=length, max_size=length)))

    return Network(
        Branches(np.array(parents), np.arange(1, size + 1), size + 1),
        vector(st.sampled_from([0.05, 0.1, 0.4]), size),
        np.append(0.0, vector(kilowatt, size)),
        vector(node, count),
        vector(node, count),
        vector(st.sampled_from([0.5, 2.0, 5.0]), count),
    )


def calendar(slots: int, start: str = "2026-01-15T00:00") -> Calendar:
    first = np.datetime64(start, "s")
    return Calendar(first + np.arange(slots) * np.timedelta64(3600, "s"), 1.0)


def customers(count: int = 8, area: Indices | None = None) -> Customers:
    """Return households spread over the four microgrids."""
    return Customers(
        id=tuple(f"h{n}" for n in range(count)),
        group=("household",) * count,
        area=MICROGRIDS[np.arange(count) % 4] if area is None else area,
        area_level=AREA_LEVEL,
        area_parent=AREA_PARENT,
        connection_kw=np.full(count, np.nan),
        controllable=np.zeros(count, np.bool_),
        has_pv=np.arange(count) % 2 == 0,
        distance_ohm=np.resize([0.1, 0.2, 0.3], count),
        branches=np.resize([1.0, 2.0, 3.0], count),
    )


def meter_data(seed: int, slots: int = 6, count: int = 8) -> MeterData:
    random = np.random.default_rng(seed)
    net = random.normal(1.0, 3.0, (slots, count)).round(3)
    who = customers(count)
    below = members_below(who.area, who.area_parent)
    imported = np.maximum(net, 0.0)
    shares = random.dirichlet(np.ones(len(Source)), (slots, count))
    return MeterData(
        calendar=calendar(slots),
        customers=who,
        net_kw=net,
        bought_kwh=np.moveaxis(shares, -1, 0) * imported,
        area_net_kw=net @ below.T,
        area_loss_kw=random.uniform(0.0, 0.5, (slots, len(AREA_IDS))),
        wholesale_price=random.uniform(-0.02, 0.2, slots),
    )


# --- paths ---


@given(networks())
@settings(deadline=None, max_examples=60)
def test_on_a_tree_a_trade_flows_on_its_path_and_nowhere_else(network: Network) -> None:
    paths = tree_paths(network.branches, network.seller, network.buyer)
    reactance = network.resistance
    factors = transfer_factors(network.branches, reactance, network.seller, network.buyer)
    assert factors == pytest.approx(paths, abs=1e-9)
    distance = thevenin_distance(
        network.branches, network.resistance.astype(complex), network.seller, network.buyer
    )
    assert distance == pytest.approx(np.abs(paths) @ network.resistance, abs=1e-9)


@given(networks())
@settings(deadline=None, max_examples=40)
def test_with_every_node_a_zone_a_trade_crosses_one_zone_more_than_branches(
    network: Network,
) -> None:
    each = np.arange(network.branches.n_node)
    crossed = zones_on_paths(network.branches, each, network.seller, network.buyer)
    used = np.abs(tree_paths(network.branches, network.seller, network.buyer)).sum(axis=1)
    assert crossed == pytest.approx(used + 1.0)
    everywhere = zones_on_paths(network.branches, 0 * each, network.seller, network.buyer)
    assert everywhere == pytest.approx(np.ones(len(network.seller)))


def test_a_path_through_a_zone_counts_it_once_even_if_it_comes_back() -> None:
    line = Branches(np.array([0, 1, 2]), np.array([1, 2, 3]), 4)
    zone = np.array([0, 1, 0, 0])
    assert zones_on_paths(line, zone, np.array([0, 2]), np.array([3, 2])).tolist() == [2.0, 1.0]


def test_a_loop_or_a_part_without_connection_has_no_path() -> None:
    loop = Branches(np.array([0, 1, 0]), np.array([1, 2, 2]), 3)
    with pytest.raises(MarketError, match=r"3 branches join 3 of 3 nodes.*PTDFs"):
        root_paths(loop)
    apart = Branches(np.array([0, 2]), np.array([1, 3]), 4)
    with pytest.raises(MarketError, match="join 2 of 4 nodes"):
        root_paths(apart)
    with pytest.raises(MarketError, match="falls into 2 parts"):
        transfer_factors(apart, np.ones(2), np.array([0]), np.array([1]))


def test_a_branch_without_reactance_is_named() -> None:
    line = Branches(np.array([0, 1]), np.array([1, 2]), 3)
    with pytest.raises(MarketError, match="branch 1, from node 1 to node 2, has no reactance"):
        transfer_factors(line, np.array([1.0, 0.0]), np.array([0]), np.array([2]))


def test_parallel_branches_share_a_trade_and_shorten_the_way() -> None:
    pair = Branches(np.array([0, 0]), np.array([1, 1]), 2)
    here, there = np.array([0]), np.array([1])
    assert transfer_factors(pair, np.array([1.0, 3.0]), here, there).tolist() == [[0.75, 0.25]]
    assert thevenin_distance(pair, np.array([1j, 1j]), here, there) == pytest.approx([0.5])


# --- fees that recover a cost ---


@given(networks(), st.floats(0.0, 100.0), st.floats(0.0, 1.0))
@settings(deadline=None, max_examples=60)
def test_fees_and_the_fixed_rest_recover_exactly_the_cost(
    network: Network, cost: float, u_max: float
) -> None:
    used = np.abs(tree_paths(network.branches, network.seller, network.buyer)).sum(axis=1)
    for cap in (np.inf, u_max):
        fees = recover_cost(cost, used, network.energy, 4, u_max=cap)
        assert fees.recovered_eur + 4 * fees.residual_eur_per_agent == pytest.approx(cost)
        assert 2.0 * fees.per_side_eur.sum() == pytest.approx(fees.recovered_eur)
        assert fees.unit_fee is None or fees.unit_fee <= cap
    if used.any() and cost > 0.0:
        assert recover_cost(cost, used, network.energy, 4).recovered_eur == pytest.approx(cost)


def test_a_capped_fee_leaves_a_fixed_charge() -> None:
    """6 kWh at 0.02 bring 0.12 of 0.30 EUR, so each of 3 agents bears 0.06 EUR."""
    fees = recover_cost(0.3, np.ones(2), np.array([4.0, 2.0]), 3, u_max=0.02)
    assert fees.unit_fee == 0.02
    assert fees.fee_eur == pytest.approx([0.08, 0.04])
    assert fees.residual_eur_per_agent == pytest.approx(0.06)


def test_without_trades_or_distance_there_is_no_unit_fee_and_all_is_fixed() -> None:
    for distance, energy in ((np.zeros(0), np.zeros(0)), (np.zeros(2), np.ones(2))):
        fees = recover_cost(0.3, distance, energy, 3)
        assert fees.unit_fee is None
        assert fees.recovered_eur == 0.0
        assert fees.residual_eur_per_agent == pytest.approx(0.1)


def test_rent_of_the_network_is_not_charged_again() -> None:
    fees = recover_cost(1.0, np.ones(1), np.array([4.0]), 2, rent_eur=0.4)
    assert fees.recovered_eur == pytest.approx(0.6)
    assert fees.residual_eur_per_agent == pytest.approx(0.0)


def test_a_posted_fee_that_brings_more_than_the_cost_returns_the_rest() -> None:
    fees = recover_cost(1.0, np.ones(1), np.array([4.0]), 2, unit_fee=0.5)
    assert fees.recovered_eur == pytest.approx(2.0)
    assert fees.residual_eur_per_agent == pytest.approx(-0.5)


def test_a_negative_distance_or_nobody_to_pay_is_refused() -> None:
    with pytest.raises(MarketError, match="distance of trade 1 is -1"):
        recover_cost(1.0, np.array([1.0, -1.0]), np.ones(2), 1)
    with pytest.raises(MarketError, match="energy of trade 0 is nan"):
        recover_cost(1.0, np.ones(1), np.array([np.nan]), 1)
    with pytest.raises(MarketError, match="0 agents share"):
        recover_cost(1.0, np.ones(1), np.ones(1), 0)


@given(st.floats(0.01, 1.0), st.floats(0.0, 5.0))
@settings(deadline=None, max_examples=50)
def test_the_unit_fee_is_found_when_trades_shrink_with_it(part: float, slope: float) -> None:
    """With q = 10 - s u, revenue u q is largest at u = 5 / s; the smaller root is wanted."""
    largest = 25.0 / slope if slope > 0.5 else 40.0
    cost = 0.99 * part * largest

    def respond(unit: float) -> Floats:
        return np.array([max(10.0 - slope * unit, 0.0)])

    unit = unit_fee_with_response(cost, np.ones(1), respond)
    assert unit * respond(unit)[0] == pytest.approx(cost, rel=1e-8)
    if slope > 0.5:
        assert unit <= 5.0 / slope + 1e-9


def test_a_cost_that_no_unit_fee_recovers_is_refused_with_the_most_that_one_brings() -> None:
    with pytest.raises(MarketError, match=r"no unit fee recovers 30 EUR.*most that one brings is"):
        unit_fee_with_response(30.0, np.ones(1), lambda u: np.array([max(10.0 - u, 0.0)]))
    with pytest.raises(MarketError, match="no unit fee recovers 1 EUR"):
        unit_fee_with_response(1.0, np.ones(1), lambda u: np.zeros(1))


def test_a_jump_of_revenue_over_the_cost_is_named() -> None:
    def grows_late(unit: float) -> Floats:
        return np.array([1.0 if unit < 2.0 else 4.0])

    with pytest.raises(MarketError, match=r"revenue jumps from 2 to 8 EUR"):
        unit_fee_with_response(
            5.0, np.ones(1), lambda u: grows_late(u) if u > 0 else np.ones(1) * 4
        )


# --- losses ---


@given(networks())
@settings(deadline=None, max_examples=60)
def test_both_rules_share_all_losses_and_nothing_else(network: Network) -> None:
    paths = root_paths(network.branches)
    flow = path_flows_kw(paths, network.withdrawal)
    total = float(branch_losses_kw(flow, network.resistance, VOLT).sum())
    factor = marginal_loss_factors(paths, flow, network.resistance, VOLT)
    shares = share_by_margin(total, factor, network.withdrawal)
    assert shares.sum() == pytest.approx(total, abs=1e-12)
    # Losses are a quadratic form, so margins add up to twice the losses.
    assert shares == pytest.approx(0.5 * factor * network.withdrawal, abs=1e-9)
    pro_rata = share_pro_rata(total, network.withdrawal)
    assert pro_rata.min() >= 0.0
    assert pro_rata.sum() == pytest.approx(total, abs=1e-12)


@given(networks())
@settings(deadline=None, max_examples=30)
def test_marginal_factors_are_the_slope_of_losses(network: Network) -> None:
    paths = root_paths(network.branches)

    def total(withdrawal: Floats) -> float:
        flow = path_flows_kw(paths, withdrawal)
        return float(branch_losses_kw(flow, network.resistance, VOLT).sum())

    flow = path_flows_kw(paths, network.withdrawal)
    factor = marginal_loss_factors(paths, flow, network.resistance, VOLT)
    step = 1e-3
    for node in range(1, network.branches.n_node):
        more = np.where(np.arange(len(factor)) == node, step, 0.0)
        rise = total(network.withdrawal + more) - total(network.withdrawal - more)
        assert rise / (2.0 * step) == pytest.approx(factor[node], abs=1e-6)


def test_the_fit_finds_the_factors_of_a_real_feeder_of_one_line() -> None:
    """Customers along one line: the measured losses are those of the model, so it is exact."""
    length = 4
    line = Branches(np.arange(length), np.arange(1, length + 1), length + 1)
    paths, resistance = root_paths(line), np.array([0.1, 0.2, 0.1, 0.4])
    withdrawal = np.random.default_rng(3).normal(1.0, 4.0, (20, length))
    every = np.hstack([np.zeros((20, 1)), withdrawal])
    flow = path_flows_kw(paths, every)
    loss = branch_losses_kw(flow, resistance, VOLT).sum(axis=1)
    fitted = fit_feeder_losses(withdrawal, np.cumsum(resistance), loss)
    assert fitted.explained_kw == pytest.approx(loss)
    exact = marginal_loss_factors(paths, flow, resistance, VOLT)[:, 1:]
    assert fitted.factor == pytest.approx(exact)


@pytest.mark.parametrize("rule", ["pro_rata", "marginal"])
@given(seed=st.integers(0, 2**16))
@settings(deadline=None, max_examples=25)
def test_the_operator_gets_exactly_what_the_losses_cost(rule: Any, seed: int) -> None:
    meters = meter_data(seed)
    assert meters.area_loss_kw is not None
    assert meters.wholesale_price is not None
    cost = meters.area_loss_kw.sum(axis=1) * meters.wholesale_price
    amounts = LossAllocation(rule=rule).amounts_eur(meters)
    assert amounts.sum(axis=1) == pytest.approx(cost, abs=1e-9)
    with_pv = LossAllocation(rule=rule, customers=("with_pv",)).amounts_eur(meters)
    assert with_pv.sum(axis=1) == pytest.approx(cost, abs=1e-9)
    assert not with_pv[:, ~meters.customers.has_pv].any()


def test_losses_of_idle_slots_and_of_areas_without_customers_are_shared_alike() -> None:
    who = customers(2, np.array([3, 3]))
    loss = np.zeros((1, len(AREA_IDS)))
    loss[0, [3, 6]] = 0.2, 0.4
    meters = MeterData(
        calendar(1),
        who,
        np.zeros((1, 2)),
        area_loss_kw=loss,
        wholesale_price=np.array([0.1]),
    )
    assert LossAllocation().amounts_eur(meters) == pytest.approx(np.array([[0.03, 0.03]]))


def test_members_below_an_area_bear_its_losses_and_others_do_not() -> None:
    meters = meter_data(1)
    loss = np.zeros((6, len(AREA_IDS)))
    loss[:, 1] = 1.0
    only_cell = MeterData(
        meters.calendar,
        meters.customers,
        meters.net_kw,
        area_loss_kw=loss,
        wholesale_price=np.full(6, 0.1),
    )
    amounts = LossAllocation().amounts_eur(only_cell)
    in_cell = np.isin(meters.customers.area, [3, 4])
    assert amounts.sum(axis=1) == pytest.approx(np.full(6, 0.1))
    assert not amounts[:, ~in_cell].any()


def test_losses_that_nobody_measured_cannot_be_billed() -> None:
    bare = MeterData(calendar(1), customers(2), np.ones((1, 2)))
    with pytest.raises(MarketError, match="needs the losses of the areas"):
        LossAllocation().amounts_eur(bare)
    with pytest.raises(MarketError, match="needs the losses of the areas"):
        SensitivityCharge(loss_eur_per_kwh=0.1).amounts_eur(bare)


# --- fees in a pooled market ---


def test_a_level_fee_is_paid_by_the_level_of_purchase_and_not_on_retail() -> None:
    meters = meter_data(2)
    assert meters.bought_kwh is not None
    fee = LevelFee(microgrid=0.01, cell=0.03, multicell=0.05)
    bill = fee.bill_eur(meters)
    expected = np.einsum("l,ltn->n", [0.01, 0.03, 0.05, 0.0], meters.bought_kwh)
    assert bill == pytest.approx(expected)
    assert fee.scaled(2.0).bill_eur(meters) == pytest.approx(2.0 * expected)


def test_a_level_fee_changes_in_its_windows_by_local_time() -> None:
    fee = LevelFee.model_validate(
        {
            "microgrid": 0.01,
            "cell": 0.02,
            "multicell": 0.03,
            "bands": {"peak": [0.04, 0.05, 0.06]},
            "windows": [{"band": "peak", "hours": [17, 19]}],
        }
    )
    # 16 o'clock UTC is 17 o'clock in Berlin in January.
    rates = fee.rates(calendar(24), customers())
    assert np.flatnonzero(rates.by_source[:, 0] == 0.04).tolist() == [16, 17]
    assert rates.by_source[16].tolist() == [0.04, 0.05, 0.06, 0.0]
    assert rates.by_source[0].tolist() == [0.01, 0.02, 0.03, 0.0]
    assert fee.scaled(0.5).rates(calendar(24), customers()).by_source[16, 2] == 0.03


def test_fees_that_fall_with_the_level_or_hold_for_some_only_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"0.03, 0.02, 0.05 EUR/kWh .* fall"):
        LevelFee(microgrid=0.03, cell=0.02, multicell=0.05)
    with pytest.raises(ValidationError, match="leave `customers` empty"):
        LevelFee(cell=0.02, multicell=0.02, customers=("household",))
    with pytest.raises(ValidationError, match="'peak'"):
        LevelFee.model_validate({"windows": [{"band": "peak", "hours": [1, 2]}]})


def test_a_postage_stamp_is_the_same_at_every_level() -> None:
    rates = PostageStamp(rate_eur_per_kwh=0.04).rates(calendar(1), customers())
    assert rates.by_source.tolist() == [[0.04, 0.04, 0.04, 0.0]]


def test_a_zonal_fee_counts_areas_or_levels_on_the_path() -> None:
    by_area = Zonal(rate_eur_per_kwh_zone=0.01).rates(calendar(1), customers())
    assert by_area.by_source[0] == pytest.approx([0.01, 0.03, 0.05, 0.0])
    by_level = Zonal(rate_eur_per_kwh_zone=0.01, zones="levels").rates(calendar(1), customers())
    assert by_level.by_source[0] == pytest.approx([0.01, 0.02, 0.03, 0.0])


@pytest.mark.parametrize("distance", ["thevenin", "ptdf"])
def test_each_side_pays_for_its_own_way_to_the_connection(distance: Any) -> None:
    meters = meter_data(4)
    charge = ElectricalDistance(rate_eur_per_kwh_unit=0.1, distance=distance)
    who = meters.customers
    way = who.distance_ohm if distance == "thevenin" else who.branches
    moved = np.abs(meters.net_kw).sum(axis=0)
    assert charge.bill_eur(meters) == pytest.approx(0.1 * way * moved)


def test_a_sensitivity_charge_bills_use_and_added_losses_and_gives_credit_only_if_told() -> None:
    meters = meter_data(5)
    use = SensitivityCharge(use_eur_per_kwh_branch=0.01).amounts_eur(meters)
    assert use == pytest.approx(0.01 * meters.customers.branches * np.abs(meters.net_kw))
    strict = SensitivityCharge(loss_eur_per_kwh=0.2).amounts_eur(meters)
    lenient = SensitivityCharge(loss_eur_per_kwh=0.2, credit=True).amounts_eur(meters)
    assert strict.min() >= 0.0
    assert lenient.min() < 0.0
    assert strict == pytest.approx(np.maximum(lenient, 0.0))
    # The margins of all areas add up to twice their losses.
    assert meters.area_loss_kw is not None
    assert lenient.sum() == pytest.approx(0.2 * 2.0 * meters.area_loss_kw[:, :].sum())


def test_only_credit_pays_for_counterflow() -> None:
    added, one = np.array([0.05, -0.05]), np.ones(2)
    assert sensitivity_fees(added, 2 * one, one, 0.2, 0.01) == pytest.approx([0.03, 0.02])
    with_credit = sensitivity_fees(added, 2 * one, one, 0.2, 0.01, credit=True)
    assert with_credit == pytest.approx([0.03, 0.01])


@pytest.mark.parametrize(
    "charge",
    [
        LevelFee(),
        PostageStamp(),
        Zonal(),
        ElectricalDistance(),
        SensitivityCharge(),
        CongestionRent(),
    ],
    ids=lambda charge: charge.kind,
)
def test_a_charge_with_rates_of_zero_bills_nothing(charge: SlotCharge) -> None:
    assert not charge.bill_eur(meter_data(6)).any()


# --- fees between clusters ---


def matrix(fees: dict[str, dict[str, float]], **more: Any) -> FeeMatrix:
    names = {"a": ("A1",), "b": ("A2",), "c": ("cell B",)}
    return FeeMatrix.model_validate(
        {"clusters": {n: names[n] for n in fees}, "fees_eur_per_kwh": fees, **more}
    )


def table(exits: Floats, entries: Floats, local: float) -> dict[str, dict[str, float]]:
    fees = exits[:, None] + entries + np.diag(local - exits - entries)
    fees += local * (1.0 - np.eye(len(exits)))
    names = "abc"[: len(exits)]
    return {
        start: {end: float(fees[i, j]) for j, end in enumerate(names)}
        for i, start in enumerate(names)
    }


def border_fee(rates: EnergyRates, start: int, end: int) -> float:
    """Return what a kWh pays on its way up from one area and down to another one."""

    def ways_up(area: int) -> list[int]:
        return [area, *ways_up(int(AREA_PARENT[area]))] if AREA_PARENT[area] >= 0 else [area]

    up, down = ways_up(start), ways_up(end)
    fee = rates.by_source[0, 0]
    fee += sum(rates.exit[0, area] for area in up if area not in down)
    return float(fee + sum(rates.entry[0, area] for area in down if area not in up))


@given(
    st.lists(st.integers(0, 50), min_size=3, max_size=3),
    st.lists(st.integers(0, 50), min_size=3, max_size=3),
    st.integers(0, 20),
)
@settings(deadline=None, max_examples=40)
def test_a_table_of_leaving_plus_entering_is_charged_on_every_way(
    leave: list[int], enter: list[int], inside: int
) -> None:
    fees = table(np.array(leave) / 1e3, np.array(enter) / 1e3, inside / 1e3)
    charge = matrix(fees).resolved(AREA_IDS)
    rates = charge.rates(calendar(1), customers())
    areas = {"a": [3], "b": [4], "c": [2, 5, 6]}
    for start, starts in areas.items():
        for end, ends in areas.items():
            for way in ((one, other) for one in starts for other in ends):
                assert border_fee(rates, *way) == pytest.approx(fees[start][end], abs=1e-9)
    assert rates.by_source[0, Source.RETAIL] == 0.0


def test_a_symmetric_table_is_split_in_halves() -> None:
    fees = {"a": {"a": 0.0, "b": 0.04}, "b": {"a": 0.04, "b": 0.0}}
    rates = matrix(fees).resolved(AREA_IDS).rates(calendar(1), customers())
    assert rates.entry[0] == pytest.approx([0, 0, 0, 0.02, 0.02, 0, 0])
    assert rates.exit[0] == pytest.approx([0, 0, 0, 0.02, 0.02, 0, 0])


def test_other_tables_hold_in_their_windows() -> None:
    def symmetric(fee: float) -> dict[str, dict[str, float]]:
        return {"a": {"a": 0.0, "b": fee}, "b": {"a": fee, "b": 0.0}}

    charge = matrix(
        symmetric(0.02),
        bands={"noon": symmetric(0.0)},
        windows=[{"band": "noon", "hours": [12, 14]}],
    ).resolved(AREA_IDS)
    rates = charge.rates(calendar(24), customers())
    assert rates.entry[11, 3] == pytest.approx(0.0)
    assert rates.entry[10, 3] == pytest.approx(0.01)
    assert charge.scaled(3.0).rates(calendar(24), customers()).entry[10, 3] == pytest.approx(0.03)


def test_a_missing_pair_is_named() -> None:
    with pytest.raises(ValidationError, match="no fee from 'b' to 'a'"):
        matrix({"a": {"a": 0.0, "b": 0.1}, "b": {"b": 0.0}})
    with pytest.raises(ValidationError, match="names the cluster 'z', which has no areas"):
        matrix({"a": {"a": 0.0, "b": 0.1, "z": 0.0}, "b": {"a": 0.0, "b": 0.0}})


def test_a_table_that_a_pooled_market_cannot_charge_names_its_worst_pair() -> None:
    """Around the circle a, b, c the fees are 0.03 one way and 0.09 the other."""
    fees = {
        "a": {"a": 0.0, "b": 0.01, "c": 0.03},
        "b": {"a": 0.03, "b": 0.0, "c": 0.01},
        "c": {"a": 0.01, "b": 0.03, "c": 0.0},
    }
    charge = matrix(fees).resolved(AREA_IDS)
    with pytest.raises(MarketError, match=r"from '.' to '.' it states 0\.0. EUR/kWh.* 0\.01 away"):
        charge.rates(calendar(1), customers())
    different = {"a": {"a": 0.01, "b": 0.01}, "b": {"a": 0.01, "b": 0.02}}
    with pytest.raises(MarketError, match=r"inside cluster 'a' is 0.01 and inside 'b' 0.02"):
        matrix(different).resolved(AREA_IDS).rates(calendar(1), customers())


def test_a_cluster_that_pays_for_leaving_and_coming_back_is_refused() -> None:
    fees = table(np.array([-0.05, 0.1, 0.1]), np.array([-0.02, 0.1, 0.1]), 0.0)
    charge = matrix(fees).resolved(AREA_IDS)
    with pytest.raises(MarketError, match=r"leaves cluster 'a' and enters cluster 'a' would earn"):
        charge.rates(calendar(1), customers())


def test_areas_that_do_not_exist_or_contain_each_other_are_refused() -> None:
    fees = {"a": {"a": 0.0, "b": 0.0}, "b": {"a": 0.0, "b": 0.0}}

    def clusters(**areas: tuple[str, ...]) -> FeeMatrix:
        return FeeMatrix(clusters=areas, fees_eur_per_kwh=fees)

    with pytest.raises(MarketError, match=r"'b' names the area 'Z9', which does not exist"):
        clusters(a=("A1",), b=("Z9",)).resolved(AREA_IDS)
    nested = clusters(a=("cell A",), b=("A2",)).resolved(AREA_IDS)
    with pytest.raises(MarketError, match="'a' contains an area of cluster 'b'"):
        nested.rates(calendar(1), customers())
    with pytest.raises(ValidationError, match="'A1' is in the clusters 'a' and 'b'"):
        clusters(a=("A1",), b=("A1",))
    with pytest.raises(MarketError, match="call `resolved`"):
        clusters(a=("A1",), b=("A2",)).rates(calendar(1), customers())


def test_exit_and_entry_come_nearest_to_any_table() -> None:
    random = np.random.default_rng(0).uniform(size=(4, 4))
    leave, enter = exit_and_entry(random)
    miss = random - leave[:, None] - enter
    assert miss.sum(axis=0) == pytest.approx(np.zeros(4), abs=1e-12)
    assert miss.sum(axis=1) == pytest.approx(np.zeros(4), abs=1e-12)


# --- nodal prices ---


@dataclass(frozen=True)
class FeederCase:
    """A feeder with orders and firm load."""

    feeder: Feeder
    orders: FeederOrders
    load_kw: Floats

    def clear(self) -> FeederClearing | None:
        return clear_feeder(
            self.feeder,
            self.orders,
            load_kw=self.load_kw,
            load_kvar=0.2 * np.maximum(self.load_kw, 0.0),
            import_price=0.3,
            export_price=0.08,
        )


@st.composite
def feeder_cases(draw: st.DrawFn) -> FeederCase:
    network = draw(networks())
    size = len(network.branches)
    cap = draw(st.lists(st.sampled_from([2.1, 5.3, 50.0]), min_size=size, max_size=size))
    count = len(network.seller)
    side = draw(st.lists(st.sampled_from([1.0, -1.0]), min_size=count, max_size=count))
    cents = draw(st.lists(st.integers(-2, 40), min_size=count, max_size=count, unique=True))
    feeder = Feeder(
        network.branches,
        network.resistance,
        0.3 * network.resistance,
        np.array(cap),
        VOLT,
        v_min=395.0,
        v_max=405.0,
    )
    orders = FeederOrders(
        network.seller, np.array(side), network.energy * 1.3, np.array(cents) / 100.0
    )
    return FeederCase(feeder, orders, 0.1 * network.withdrawal)


def best_welfare(case: FeederCase) -> float | None:
    """Return the welfare by SciPy's HiGHS from flows and voltages as rows of the orders."""
    feeder, orders = case.feeder, case.orders
    paths = root_paths(feeder.branches)
    order_flow = paths.T[:, orders.node] * orders.side
    firm_flow = case.load_kw @ paths
    reactive = (0.2 * np.maximum(case.load_kw, 0.0)) @ paths
    drop = 2e3 * paths[1:] @ (feeder.r_ohm[:, None] * order_flow)
    firm = 2e3 * paths[1:] @ (feeder.r_ohm * firm_flow + feeder.x_ohm * reactive)
    rows = np.vstack([order_flow, -order_flow, drop, -drop])
    room = np.concatenate(
        [
            feeder.cap_kw - firm_flow,
            feeder.cap_kw + firm_flow,
            VOLT**2 - firm - feeder.v_min**2,
            feeder.v_max**2 - VOLT**2 + firm,
        ]
    )
    found: Any = linprog(
        np.concatenate([-orders.side * orders.price_eur_per_kwh, [0.3, -0.08]]),
        A_ub=np.hstack([rows, np.zeros((len(rows), 2))]),
        b_ub=room,
        A_eq=[[*(-orders.side), 1.0, -1.0]],
        b_eq=[case.load_kw.sum()],
        bounds=[*((0.0, most) for most in orders.power_kw), (0.0, None), (0.0, None)],
    )
    assert found.status in (0, 2), found.message
    return -float(found.fun) if found.status == 0 else None


@given(feeder_cases())
@settings(deadline=None, max_examples=40)
def test_a_feeder_is_cleared_at_the_largest_welfare_and_pays_who_supplies_it(
    case: FeederCase,
) -> None:
    best, cleared = best_welfare(case), case.clear()
    assert (best is None) == (cleared is None)
    if best is None or cleared is None:
        return
    assert cleared.welfare_eur == pytest.approx(best, abs=1e-6)
    # Nobody is served at a price that the own order does not allow.
    price = cleared.price[case.orders.node]
    gain = case.orders.side * (case.orders.price_eur_per_kwh - price)
    assert (gain[cleared.accepted_kw > 1e-6] >= -1e-6).all()
    assert (np.abs(cleared.flow_kw) <= case.feeder.cap_kw + 1e-6).all()


@given(feeder_cases())
@settings(deadline=None, max_examples=40)
def test_charges_at_nodal_prices_add_up_to_the_rent_of_the_network(case: FeederCase) -> None:
    """Everybody trades with the supply; the supply's price is that of what it sells or buys."""
    cleared = case.clear()
    if cleared is None:
        return
    bought = case.load_kw + np.bincount(
        case.orders.node,
        case.orders.side * cleared.accepted_kw,
        minlength=case.feeder.branches.n_node,
    )
    charges = nodal_price_charges(cleared.price, np.full(len(bought), cleared.price[0]), bought)
    assert charges.sum() == pytest.approx(cleared.network_rent_eur, abs=1e-6)


def test_trades_against_the_congestion_earn_by_nodal_prices() -> None:
    charges = nodal_price_charges(np.array([0.28, 0.1]), np.array([0.1, 0.28]), np.array([2, 0.5]))
    assert charges == pytest.approx([0.36, -0.09])


def test_where_nothing_flows_the_price_is_that_of_the_supply() -> None:
    def price(side: float, limit: float) -> list[float]:
        feeder = Feeder(
            Branches(np.array([0]), np.array([1]), 2),
            np.array([0.1]),
            np.zeros(1),
            np.array([np.inf]),
            VOLT,
            380.0,
            420.0,
        )
        order = FeederOrders(np.array([1]), np.array([side]), np.array([2.0]), np.array([limit]))
        cleared = FeederCase(feeder, order, np.zeros(2)).clear()
        assert cleared is not None
        return [float(each) for each in cleared.price]

    assert price(1.0, 0.2) == [0.3, 0.3]
    assert price(-1.0, 0.2) == [0.08, 0.08]


def test_a_feeder_with_a_turned_line_or_a_loss_making_supply_is_refused() -> None:
    turned = Feeder(
        Branches(np.array([1]), np.array([0]), 2),
        np.array([0.1]),
        np.zeros(1),
        np.array([9.0]),
        VOLT,
        380.0,
        420.0,
    )
    nothing = FeederOrders(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0))
    with pytest.raises(MarketError, match="line 0 leads from node 1 to node 0, towards the supply"):
        FeederCase(turned, nothing, np.zeros(2)).clear()
    with pytest.raises(MarketError, match=r"an exported kWh earns 0\.4 EUR"):
        clear_feeder(
            turned,
            nothing,
            load_kw=np.zeros(2),
            load_kvar=np.zeros(2),
            import_price=0.3,
            export_price=0.4,
        )


def test_rent_is_deducted_or_returned_but_never_both() -> None:
    meters = meter_data(7)
    slots = len(meters.net_kw)
    with_rent = replace(meters, congestion_rent_eur=np.full(slots, 3.0 / slots))
    assert not CongestionRent().bill_eur(with_rent).any()
    assert CongestionRent(use="rebate").bill_eur(with_rent).sum() == pytest.approx(-3.0)
    with pytest.raises(MarketError, match="rent of congested lines is not known"):
        CongestionRent(use="rebate").bill_eur(meters)


# --- the gate ---


@given(networks(), st.sampled_from([3.0, 10.0, 50.0]))
@settings(deadline=None, max_examples=60)
def test_the_gate_breaks_no_limit_and_refuses_only_what_would(network: Network, cap: float) -> None:
    n_node, n_edge = network.branches.n_node, len(network.branches)
    paths = root_paths(network.branches)
    limits = GateLimits(np.full(n_edge, cap), np.full(n_node, 390.0), np.full(n_node, 410.0))
    start = NetworkState(np.zeros(n_edge), np.full(n_node, VOLT))
    passed = pass_gate(
        paths,
        network.resistance,
        limits,
        start,
        seller=network.seller,
        buyer=network.buyer,
        power_kw=network.energy,
        voltage=VOLT,
    )
    assert passed.state.keeps(limits)
    # The state is that of all accepted trades at once, by the withdrawals they make.
    withdrawal = np.zeros(n_node)
    accepted = passed.accepted * network.energy
    np.add.at(withdrawal, network.buyer, accepted)
    np.add.at(withdrawal, network.seller, -accepted)
    flow = path_flows_kw(paths, withdrawal)
    assert passed.state.flow_kw == pytest.approx(flow, abs=1e-9)
    drop = 1e3 * paths @ (network.resistance * flow) / VOLT
    assert passed.state.voltage == pytest.approx(VOLT - drop, abs=1e-9)
    if not passed.accepted[0]:
        path = tree_paths(network.branches, network.seller, network.buyer)[0]
        moved = 1e3 * paths @ (network.resistance * path) / VOLT * network.energy[0]
        too_far = (np.abs(path) * network.energy[0] > cap).any() or (np.abs(moved) > 10.0).any()
        assert too_far


def test_a_trade_within_one_node_passes_and_moves_nothing() -> None:
    line = Branches(np.array([0]), np.array([1]), 2)
    here = np.array([1])
    start = NetworkState(np.array([2.0]), np.array([400.0, 399.0]))
    passed = pass_gate(
        root_paths(line),
        np.array([0.1]),
        GateLimits(np.array([2.0]), np.full(2, 380.0), np.full(2, 420.0)),
        start,
        seller=here,
        buyer=here,
        power_kw=np.array([100.0]),
        voltage=VOLT,
    )
    assert passed.accepted.tolist() == [True]
    assert passed.state.flow_kw.tolist() == [2.0]
