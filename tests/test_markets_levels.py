"""Markets level by level on real networks: every mechanism, and every way to meet the grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.strategies import (
    FEE_OF_LEVEL,
    GridModel,
    joint_problem,
    level_rates,
    planned_model,
    trade_prices,
    unloaded_limits,
)

from tricell.grid_models.arrays import sum_by_key
from tricell.markets.charge import Source
from tricell.markets.joint_market import Clearing, JointMarket
from tricell.markets.joint_model import JointProblem
from tricell.markets.level_markets import LevelMarkets, MarketDesign, NetworkMode, SlotDemand
from tricell.markets.level_settlement import LevelTrade, settle_level_trades
from tricell.markets.linear_flow import LinearFlow
from tricell.markets.mechanism import Mechanism
from tricell.markets.mechanism_registry import known_mechanisms
from tricell.markets.mechanisms.mid_market_rate import MidMarketRate
from tricell.markets.mechanisms.uniform_price import UniformPrice
from tricell.markets.meter_orders import MeterOrders, MeterState
from tricell.markets.orders import OrderBook, OrderColumns, OrderKind
from tricell.markets.settlement import ClearedBlock, TradingAreas
from tricell.simulators.battery_orders import Step

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

HOURS = 0.25
RETAIL, FEED_IN = 0.32, 0.08
NETWORKS: tuple[NetworkMode, ...] = get_args(NetworkMode)
FLOW_TOLERANCE_KW, VOLTAGE2_TOLERANCE = 1e-4, 2e-6
STEP_KINDS = (
    OrderKind.CHARGE_OWN,
    OrderKind.CHARGE_MARKET,
    OrderKind.DISCHARGE_OWN,
    OrderKind.DISCHARGE_MARKET,
)
STEP_SIDES = np.repeat([1.0, -1.0], 2)


@dataclass(frozen=True)
class Village:
    """Households with plants and batteries on a network, and slots of a day for them."""

    model: GridModel
    problem: JointProblem
    agent_node: Indices
    generators: Indices
    battery_agent: Indices
    areas: TradingAreas
    demands: tuple[SlotDemand, ...]

    @property
    def agent_ids(self) -> tuple[str, ...]:
        return tuple(f"house{row}" for row in range(len(self.agent_node)))

    def meters(self) -> MeterOrders:
        return MeterOrders(self.agent_ids, self.agent_node, self.battery_agent, HOURS)

    def markets(
        self, mechanism: Mechanism | None, network: NetworkMode, joint: JointMarket
    ) -> LevelMarkets:
        names = tuple(f"area{row}" for row in range(len(self.areas.parent)))
        return LevelMarkets(
            joint,
            self.meters(),
            generators=self.generators,
            areas=self.areas,
            area_names=names,
            design=MarketDesign([mechanism] * len(names), network),
            agent_names=self.agent_ids,
            hours=HOURS,
        )


def village(
    name: str, seed: int, *, loading_limit: float = 1.0, v_max_pu: float = 1.1, slots: int = 2
) -> Village:
    """Return seeded households of a network: sun in even slots, evening in odd ones."""
    random = np.random.default_rng(seed)
    model = planned_model(name)
    places = np.flatnonzero(~model.linear.is_slack)
    agent_node = np.sort(random.choice(places, 8)).astype(np.int64)
    generators = np.flatnonzero(random.random(8) < 0.6).astype(np.int64)
    battery_agent = np.flatnonzero(random.random(8) < 0.5).astype(np.int64)
    owner = np.concatenate([generators, np.tile(battery_agent, len(STEP_KINDS))])
    kinds = [np.full(len(generators), OrderKind.GENERATION)]
    kinds += [np.full(len(battery_agent), kind) for kind in STEP_KINDS]
    sides = [-np.ones(len(generators)), np.repeat(STEP_SIDES, len(battery_agent))]
    columns = OrderColumns(
        agent=owner,
        node=agent_node[owner],
        side=np.concatenate(sides),
        kind=np.concatenate(kinds).astype(np.int8),
    )
    problem = joint_problem(model, columns, v_min_pu=2.0 - v_max_pu, v_max_pu=v_max_pu)
    fee = np.array([FEE_OF_LEVEL[int(level)] for level in model.tree.level])
    parent = np.asarray(model.tree.parent, dtype=np.int64)
    level = np.asarray(model.tree.level, dtype=np.int64)
    areas = TradingAreas.of(parent, level, model.linear.node_area[agent_node])
    built = Village(model, problem, agent_node, generators, battery_agent, areas, ())
    limits = unloaded_limits(model, loading_limit)
    demands = []
    for slot in range(slots):
        meters = drawn_meters(built, random, sun=slot % 2 == 0)
        demands.append(
            SlotDemand(
                slot=slot,
                meters=meters,
                book=book_of(built, meters),
                firm_node_kw=sum_by_key(agent_node, meters.firm_kw, model.linear.n_node),
                untraded_node_kw=None,
                prices=trade_prices(parent, fee, RETAIL, FEED_IN),
                fee=fee,
                seen_fee=fee,
                entry=np.zeros(len(fee)),
                exit=np.zeros(len(fee)),
                retail_charge=0.0,
                limits=limits,
                retail_price=RETAIL,
                feed_in_price=FEED_IN,
            )
        )
    return replace(built, demands=tuple(demands))


def drawn_meters(place: Village, random: np.random.Generator, *, sun: bool) -> MeterState:
    """Draw what stands behind the meters; one house feeds in what nobody can switch off."""
    count, n_battery = len(place.agent_node), len(place.battery_agent)
    firm = random.uniform(0.0, 12.0, count)
    firm[-1] = -1.5
    generation = np.zeros(count)
    generation[place.generators] = random.uniform(5.0, 60.0, len(place.generators)) * sun
    net = (firm - generation)[place.battery_agent]
    power = random.uniform(0.0, 6.0, n_battery)
    charges = random.random(n_battery) < 0.5
    own_charge = np.where(charges, np.minimum(power, np.maximum(-net, 0.0)), 0.0)
    own_discharge = np.where(charges, 0.0, np.minimum(power, np.maximum(net, 0.0)))
    charge_value = random.uniform(0.06, 0.2, n_battery)
    discharge_cost = charge_value + random.uniform(0.02, 0.08, n_battery)
    return MeterState(
        firm_kw=firm,
        generation_kw=generation,
        own_charge_kw=own_charge,
        market_charge_kw=np.where(charges, power - own_charge, 0.0),
        own_discharge_kw=own_discharge,
        market_discharge_kw=np.where(charges, 0.0, power - own_discharge),
        own_charge_price=charge_value,
        market_charge_price=charge_value,
        own_discharge_price=discharge_cost,
        market_discharge_price=discharge_cost,
        generation_offer=np.zeros(count),
    )


def book_of(place: Village, meters: MeterState) -> OrderBook:
    """Return the same as orders of the joint program: buyers' prices net of the local fee."""
    level = place.areas.level[place.areas.agent_area[place.battery_agent]]
    fee = np.array([FEE_OF_LEVEL[int(one)] for one in level])
    plants = meters.generation_kw[place.generators]
    steps = {
        Step.CHARGE_OWN: (meters.own_charge_kw, meters.own_charge_price),
        Step.CHARGE_MARKET: (meters.market_charge_kw, meters.market_charge_price - fee),
        Step.DISCHARGE_OWN: (meters.own_discharge_kw, meters.own_discharge_price - fee),
        Step.DISCHARGE_MARKET: (meters.market_discharge_kw, meters.market_discharge_price),
    }
    return OrderBook(
        np.concatenate([np.zeros(len(plants)), *[price for _, price in steps.values()]]),
        np.concatenate([plants, *[power for power, _ in steps.values()]]),
    )


def retailer(place: Village) -> tuple[Floats, Floats]:
    """Return retail and feed-in price at every meter."""
    count = len(place.agent_node)
    return np.full(count, RETAIL), np.full(count, FEED_IN)


WIDE = ("radial", "medium-voltage ring")
TIGHT = ("radial", "low-voltage ring")


@cache
def cases(*, tight: bool) -> tuple[tuple[Village, JointMarket], ...]:
    """Villages with limits that never bind, or that do."""
    loading_limit, v_max_pu = (0.1, 1.02) if tight else (100.0, 1.5)
    places = [
        village(name, seed, loading_limit=loading_limit, v_max_pu=v_max_pu)
        for seed, name in enumerate(TIGHT if tight else WIDE)
    ]
    return tuple((place, JointMarket(place.problem)) for place in places)


@dataclass(frozen=True)
class Slot:
    """A cleared slot."""

    place: Village
    demand: SlotDemand
    optimum: Clearing
    clearing: Clearing
    trade: LevelTrade


def cleared(mechanism: Mechanism | None, network: NetworkMode, *, tight: bool) -> list[Slot]:
    found = []
    for place, joint in cases(tight=tight):
        markets = place.markets(mechanism, network, joint)
        for demand in place.demands:
            optimum = joint.clear(demand.book, demand.firm_node_kw, demand.prices, demand.limits)
            found.append(Slot(place, demand, optimum, *markets.clear(demand)))
    return found


KINDS = {
    name: each.parameters(kind=name) for name, each in known_mechanisms().items() if each.parameters
}


# --- every mechanism, every way to meet the grid ---


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_mechanism_balances_money_and_keeps_bounds(kind: str, network: NetworkMode) -> None:
    slots = cleared(KINDS[kind], network, tight=True)
    for slot in slots:
        assert_bounds(slot)
        assert_contract_and_change_are_physical(slot)
        assert_state_is_that_of_the_schedule(slot)
        if network == "envelope":
            assert_envelopes_keep_limits(slot)
        elif network != "none":
            assert_limits(slot)
    for place, _ in cases(tight=True):
        assert_money(place, [slot for slot in slots if slot.place is place])


def block_of(place: Village, slots: list[Slot]) -> ClearedBlock:
    """Return what the recorder knows of some slots beside their trades."""
    fee = np.array([FEE_OF_LEVEL[int(level)] for level in place.areas.level])
    return ClearedBlock(
        p_net_kw=np.array([physical_kwh(slot) for slot in slots]) / HOURS,
        area_price=np.array([slot.clearing.area_price for slot in slots]),
        agent_price=np.zeros((len(slots), len(place.agent_node))),
        retail_price=np.full(len(slots), RETAIL),
        feed_in_price=np.full(len(slots), FEED_IN),
        hours=HOURS,
        rates=level_rates(place.areas, fee),
    )


def assert_money(place: Village, slots: list[Slot]) -> None:
    """What agents pay is what the others receive, slot by slot and part by part."""
    trades = [slot.trade for slot in slots]
    money = settle_level_trades(trades, place.areas, block_of(place, slots))
    sides = (
        money.agents_eur,
        money.retailer_eur,
        money.network_operator_eur,
        money.market_operator_eur,
    )
    np.testing.assert_allclose(sum(sides), 0.0, rtol=0, atol=1e-9)
    parts = (money.energy_p2p, money.energy_retail, money.export, money.network, money.redispatch)
    assert sum(part.sum() for part in parts) == pytest.approx(-money.agents_eur.sum(), abs=1e-9)
    surplus = sum(trade.operator_surplus for trade in trades)
    assert money.market_operator_eur.sum() == pytest.approx(surplus, abs=1e-9)
    fees = money.areas.network_charge_eur.sum()
    cost = sum(trade.redispatch_cost for trade in trades)
    assert money.network_operator_eur.sum() == pytest.approx(fees - cost, abs=1e-9)
    np.testing.assert_allclose(money.bought_p2p_kwh.sum(), money.sold_p2p_kwh.sum(), atol=1e-9)
    # The retailer gets his prices for his energy, and what rebalancing takes from or gives him.
    own = money.retail_import_kwh * RETAIL - money.retail_export_kwh * FEED_IN
    moved = np.array([trade.redispatch_retail for trade in trades])
    np.testing.assert_allclose(money.retailer_eur, own + moved, rtol=0, atol=1e-9)


def assert_bounds(slot: Slot) -> None:
    accepted = slot.clearing.accepted_kw
    assert (accepted >= -1e-9).all()
    assert (accepted <= slot.demand.book.quantity_kw + 1e-6).all()


def physical_kwh(slot: Slot) -> Floats:
    """Net consumption of every agent, from the schedule."""
    place, columns = slot.place, slot.place.problem.orders
    moved = columns.side * slot.clearing.accepted_kw
    net = slot.demand.meters.firm_kw + sum_by_key(columns.agent, moved, len(place.agent_node))
    return np.asarray(net * HOURS)


def contract_kwh(trade: LevelTrade) -> Floats:
    """Net purchase of every agent, from peers and the retailer."""
    return np.asarray((trade.bought - trade.sold).sum(axis=0))


def assert_contract_and_change_are_physical(slot: Slot) -> None:
    change = physical_kwh(slot) - contract_kwh(slot.trade)
    # Changes of rows of one agent may offset each other, so this is a lower bound.
    assert np.abs(change).sum() <= slot.trade.redispatch_moved + 1e-6
    if slot.trade.redispatch_moved < 1e-9:
        np.testing.assert_allclose(change, 0.0, rtol=0, atol=1e-8)


def assert_state_is_that_of_the_schedule(slot: Slot) -> None:
    net = slot.place.model.linear.node_area
    by_area = sum_by_key(
        net[slot.place.agent_node], physical_kwh(slot) / HOURS, len(slot.place.areas.parent)
    )
    for area in range(len(by_area) - 1, 0, -1):
        by_area[slot.place.areas.parent[area]] += by_area[area]
    np.testing.assert_allclose(slot.clearing.net_import_kw, by_area, rtol=0, atol=1e-6)


def assert_limits(slot: Slot) -> None:
    """Flows and voltages lie inside the limits, or beyond by no more than the named breach."""
    clearing, limits, problem = slot.clearing, slot.demand.limits, slot.place.problem
    over = np.abs(clearing.flow_breach_kw) + FLOW_TOLERANCE_KW
    limited = np.isfinite(limits.flow_max_kw)
    assert (clearing.flow_kw <= limits.flow_max_kw + over)[limited].all()
    assert (clearing.flow_kw >= limits.flow_min_kw - over)[limited].all()
    has = problem.grid.has_voltage
    over = (np.abs(clearing.voltage2_breach) + VOLTAGE2_TOLERANCE)[has]
    assert (clearing.voltage2[has] <= problem.v2_max[has] + over).all()
    assert (clearing.voltage2[has] >= problem.v2_min[has] - over).all()
    if not slot.optimum.flow_breach_kw.any() and not slot.optimum.voltage2_breach.any():
        assert not clearing.flow_breach_kw.any(), "breached where the joint program need not"
        assert not clearing.voltage2_breach.any()


def assert_envelopes_keep_limits(slot: Slot) -> None:
    """Only what flows whatever happens may break a limit: envelopes add nothing to that."""
    place, limits, problem = slot.place, slot.demand.limits, slot.place.problem
    state, meters = slot.demand.meters, place.meters()
    offered = meters.rows(state, *retailer(place)).energy_kwh
    always = sum_by_key(
        place.agent_node, meters.always(state, offered) / HOURS, problem.grid.n_node
    )
    firm = LinearFlow(problem.grid, problem.constant_kw).state(always, limits.voltage_offset)
    flow, tolerance = slot.clearing.flow_kw, FLOW_TOLERANCE_KW
    assert (flow <= np.maximum(limits.flow_max_kw, firm.flow_kw) + tolerance).all()
    assert (flow >= np.minimum(limits.flow_min_kw, firm.flow_kw) - tolerance).all()
    has, tolerance = problem.grid.has_voltage, VOLTAGE2_TOLERANCE
    voltage2 = slot.clearing.voltage2[has]
    assert (voltage2 <= np.maximum(problem.v2_max, firm.voltage2)[has] + tolerance).all()
    assert (voltage2 >= np.minimum(problem.v2_min, firm.voltage2)[has] - tolerance).all()


def test_limits_of_the_tight_villages_bind() -> None:
    assert any(
        slot.trade.redispatch_moved > 0.1 for slot in cleared(None, "redispatch", tight=True)
    )
    mechanism = UniformPrice()
    slots = cleared(mechanism, "redispatch", tight=True)
    assert any(slot.trade.redispatch_moved > 0.1 for slot in slots)
    free = cleared(mechanism, "none", tight=True)
    for slot, unlimited in zip(slots, free, strict=True):
        np.testing.assert_array_equal(slot.trade.energy_bought, unlimited.trade.energy_bought)


# --- against the joint optimum ---


@pytest.mark.parametrize("mechanism", [UniformPrice(), MidMarketRate(), None])
def test_markets_level_by_level_never_gain_more_than_the_joint_optimum(
    mechanism: Mechanism | None,
) -> None:
    for slot in cleared(mechanism, "none", tight=False):
        assert slot.trade.optimal_gain >= -1e-7
        assert slot.trade.gain <= slot.trade.optimal_gain + 1e-6
        if isinstance(mechanism, UniformPrice):
            assert slot.trade.gain >= -1e-9


@pytest.mark.parametrize("tight", [False, True])
def test_endogenous_markets_carry_out_the_joint_optimum(tight: bool) -> None:
    for slot in cleared(UniformPrice(), "endogenous", tight=tight):
        for name in ("accepted_kw", "net_import_kw", "flow_kw"):
            here, there = getattr(slot.clearing, name), getattr(slot.optimum, name)
            np.testing.assert_allclose(here, there, rtol=0, atol=1e-6)


def test_without_any_market_and_network_trade_gains_nothing() -> None:
    for tight in (False, True):
        for slot in cleared(None, "none", tight=tight):
            assert slot.trade.gain == pytest.approx(0.0, abs=1e-12)
            np.testing.assert_array_equal(slot.trade.bought[: Source.RETAIL], 0.0)
            np.testing.assert_array_equal(slot.trade.energy_bought, 0.0)
            assert slot.trade.redispatch_moved == pytest.approx(0.0, abs=1e-9)


def test_limits_that_never_bind_change_nothing() -> None:
    free = cleared(UniformPrice(), "none", tight=False)
    for network in ("envelope", "redispatch"):
        for slot, other in zip(cleared(UniformPrice(), network, tight=False), free, strict=True):
            np.testing.assert_allclose(
                slot.clearing.accepted_kw, other.clearing.accepted_kw, rtol=0, atol=1e-6
            )
            assert slot.trade.gain == pytest.approx(other.trade.gain, abs=1e-6)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_same_slot_gives_the_same_bits(network: NetworkMode) -> None:
    runs = []
    for _ in range(2):
        cases.cache_clear()
        runs.append(cleared(KINDS["random_halves"], network, tight=True))
    once, again = runs
    for one, two in zip(once, again, strict=True):
        assert one.clearing.accepted_kw.tobytes() == two.clearing.accepted_kw.tobytes()
        assert one.trade.energy_bought.tobytes() == two.trade.energy_bought.tobytes()
        assert one.trade.gain == two.trade.gain


# --- rows behind a meter ---


@given(seed=st.integers(0, 10_000), data=st.data())
@settings(max_examples=60)
def test_rows_and_what_is_carried_out_are_the_reverse_of_each_other(
    seed: int, data: st.DataObject
) -> None:
    place = village("radial", seed, slots=1)
    state, orders = place.demands[0].meters, place.meters()
    rows = orders.rows(state, *retailer(place))
    share = np.random.default_rng(data.draw(st.integers(0, 99))).random(len(rows))
    # Demand, and feed-in that nobody can switch off, always flow.
    taken = rows.energy_kwh - orders.flexible(state, rows.energy_kwh) * (1.0 - share)
    done = orders.outcome(state, rows.energy_kwh, taken)
    back = orders.rows_of(state, rows.energy_kwh, done)
    np.testing.assert_allclose(back, taken, rtol=0, atol=1e-9)
    again = orders.outcome(state, rows.energy_kwh, back)
    np.testing.assert_allclose(again.generation_kw, done.generation_kw, rtol=0, atol=1e-9)
    np.testing.assert_allclose(again.steps_kw, done.steps_kw, rtol=0, atol=1e-9)
    net = state.firm_kw - done.generation_kw
    of_battery = np.array([1.0, 1.0, -1.0, -1.0]) @ done.steps_kw
    net += sum_by_key(place.battery_agent, of_battery, len(net))
    np.testing.assert_allclose(orders.by_agent(rows.side * back), net * HOURS, rtol=0, atol=1e-9)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=60)
def test_batteries_stay_within_their_steps_whatever_is_taken(seed: int) -> None:
    place = village("radial", seed, slots=1)
    state, orders = place.demands[0].meters, place.meters()
    rows = orders.rows(state, *retailer(place))
    taken = rows.energy_kwh * np.random.default_rng(seed).random(len(rows))
    done = orders.outcome(state, rows.energy_kwh, taken)
    most = np.stack(
        [
            state.own_charge_kw,
            state.market_charge_kw,
            state.own_discharge_kw,
            state.market_discharge_kw,
        ]
    )
    assert (done.steps_kw >= -1e-12).all()
    assert (done.steps_kw <= most + 1e-12).all()
    assert (done.generation_kw >= -1e-12).all()
    assert (done.generation_kw <= state.generation_kw + 1e-12).all()
