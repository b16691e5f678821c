"""Small networks, markets and programs for Hypothesis, and how the tests build them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pandapower as pp
import pyomo.environ as pe
from hypothesis import strategies as st
from numpy.typing import NDArray

from tricell.grid_models.ac_feedback import AcFeedback
from tricell.grid_models.area_tree import AreaTree, cut_areas
from tricell.grid_models.electrical_grid import ElectricalGrid, build_electrical_grid
from tricell.grid_models.linear_grid import LinearGrid, build_linear_grid
from tricell.grid_models.power_flow import PowerFlow
from tricell.markets.charge import EnergyRates, Source
from tricell.markets.joint_market import Clearing, GridLimits, JointMarket, TradePrices
from tricell.markets.joint_model import JointProblem
from tricell.markets.orders import OrderBook, OrderColumns, OrderKind
from tricell.markets.settlement import TradingAreas

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

# --- networks ---

LOW_VOLTAGE_LINE = "NAYY 4x50 SE"
MEDIUM_VOLTAGE_LINE = "NA2XS2Y 1x95 RM/25 12/20 kV"


@dataclass(frozen=True)
class LowVoltageArea:
    """One LV area: where it hangs, how long its feeder is, and what makes it meshed or double."""

    medium_voltage_bus: int
    line_km: tuple[float, ...]
    is_ring: bool = False
    n_trafo: int = 1


@dataclass(frozen=True)
class NetPlan:
    """A medium-voltage area with low-voltage areas; a ring makes an area meshed."""

    line_km: tuple[float, ...]
    is_ring: bool
    behind_trafo: bool
    low_voltage: tuple[LowVoltageArea, ...]


def build_net(plan: NetPlan) -> Any:
    """Build the pandapower network of a plan; its loads are none."""
    net = pp.create_empty_network()
    first = pp.create_bus(net, 20.0)
    if plan.behind_trafo:
        high = pp.create_bus(net, 110.0)
        pp.create_transformer(net, high, first, "25 MVA 110/20 kV")
        pp.create_ext_grid(net, high)
    else:
        pp.create_ext_grid(net, first)
    medium = _feeder(
        net,
        first,
        plan.line_km,
        vn_kv=20.0,
        std_type=MEDIUM_VOLTAGE_LINE,
        is_ring=plan.is_ring,
    )
    for area in plan.low_voltage:
        low = pp.create_bus(net, 0.4)
        for _ in range(area.n_trafo):
            hung = medium[area.medium_voltage_bus % len(medium)]
            pp.create_transformer(net, hung, low, "0.25 MVA 20/0.4 kV")
        _feeder(
            net,
            low,
            area.line_km,
            vn_kv=0.4,
            std_type=LOW_VOLTAGE_LINE,
            is_ring=area.is_ring,
        )
    return net


def _feeder(
    net: Any, first: int, line_km: Sequence[float], *, vn_kv: float, std_type: str, is_ring: bool
) -> list[int]:
    buses = [first]
    for length in line_km:
        buses.append(pp.create_bus(net, vn_kv))
        pp.create_line(net, buses[-2], buses[-1], length, std_type)
    if is_ring and len(buses) > 2:
        pp.create_line(net, buses[-1], first, sum(line_km), std_type)
    return [int(bus) for bus in buses]


RADIAL_ENDS = (LowVoltageArea(0, (0.05, 0.2)), LowVoltageArea(1, (0.4, 0.2, 0.4)))
NET_PLANS = {
    "radial": NetPlan((2.0,), False, True, RADIAL_ENDS),
    "radial at the external grid": NetPlan((0.5, 2.0), False, False, RADIAL_ENDS),
    "parallel transformers": NetPlan((2.0,), False, True, (LowVoltageArea(1, (0.2,), False, 2),)),
    "low-voltage ring": NetPlan((2.0,), False, True, (LowVoltageArea(1, (0.2, 0.2, 0.4), True),)),
    "medium-voltage ring": NetPlan((0.5, 2.0, 6.0), True, True, RADIAL_ENDS),
    "rings on both levels": NetPlan(
        (2.0, 2.0), True, False, (*RADIAL_ENDS, LowVoltageArea(2, (0.2, 0.2), True, 2))
    ),
}
"""Radial and meshed networks of a cell with one to three microgrids."""


@dataclass(frozen=True)
class GridModel:
    """A network read by every model that the market needs."""

    net: Any
    grid: ElectricalGrid
    tree: AreaTree
    linear: LinearGrid


@cache
def planned_model(name: str) -> GridModel:
    """Return the models of one of `NET_PLANS`, built once: pandapower takes a second for all."""
    return grid_model(build_net(NET_PLANS[name]))


def grid_model(net: Any) -> GridModel:
    """Read a network as the world builder does."""
    grid, tree = build_electrical_grid(net), cut_areas(net)
    return GridModel(net, grid, tree, build_linear_grid(grid, tree, grid.node_of_bus))


# --- markets ---

BREACH_EUR_PER_KWH = 5.0
BREACH_EUR_PER_PU2_H = 50_000.0
FEE_OF_LEVEL = {1: 0.01, 2: 0.03, 3: 0.06}
PRICES = (0.0, 0.05, 0.10, 0.15, 0.20, 0.25, 0.40)
"""Few, so that orders tie."""


@dataclass(frozen=True)
class Slot:
    """Everything that a slot sets in the market."""

    book: OrderBook
    firm_kw: Floats
    retail: float
    feed_in: float


@dataclass(frozen=True)
class MarketCase:
    """A market on a network, and slots to clear; `story` tells how it was drawn."""

    model: GridModel
    problem: JointProblem
    limits: GridLimits
    fee: Floats
    slots: tuple[Slot, ...]
    story: str = ""

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """Show, in a failing example, what a person needs to build it again."""
        printer.text(f"MarketCase({self.story}, fee={self.fee}, slots={self.slots})")

    def trade_prices(self, slot: Slot) -> TradePrices:
        """Fees between levels; at the top retail less its fee, and feed-in."""
        return trade_prices(self.problem.area_parent, self.fee, slot.retail, slot.feed_in)


def trade_prices(parent: Indices, fee: Floats, retail: float, feed_in: float) -> TradePrices:
    """Border prices of a tree of areas with one fee per area."""
    below = parent >= 0
    return TradePrices(
        np.where(below, fee[parent] - fee, retail - fee), np.where(below, 0.0, feed_in)
    )


def level_rates(areas: TradingAreas, fee: Floats) -> EnergyRates:
    """Rates of a fee per level, from the fee of every area."""
    by_source = np.zeros((1, len(Source)))
    by_source[0, areas.level - 1] = fee
    return EnergyRates.of(by_source=by_source)


def clear(market: JointMarket, case: MarketCase, slot: Slot) -> Clearing:
    """Clear one slot: the only place in the tests that knows the market's signature."""
    return market.clear(slot.book, slot.firm_kw, case.trade_prices(slot), case.limits)


def order_columns(nodes: Sequence[int], sides: Sequence[float]) -> OrderColumns:
    """Orders of one agent each."""
    kinds = [OrderKind.FLEXIBLE_LOAD if side > 0 else OrderKind.GENERATION for side in sides]
    return OrderColumns(
        agent=np.arange(len(nodes)),
        node=np.array(nodes, dtype=np.int64),
        side=np.array(sides, dtype=np.float64),
        kind=np.array(kinds, dtype=np.int8),
    )


def joint_problem(
    model: GridModel,
    orders: OrderColumns,
    v_min_pu: float = 0.9,
    v_max_pu: float = 1.1,
    breach_eur_per_kwh: float = BREACH_EUR_PER_KWH,
) -> JointProblem:
    """Joint problem of a network with one voltage band."""
    linear = model.linear
    return JointProblem(
        grid=linear,
        area_parent=np.asarray(model.tree.parent, dtype=np.int64),
        orders=orders,
        constant_kw=np.zeros(linear.n_node),
        v2_min=np.full(linear.n_node, v_min_pu**2),
        v2_max=np.full(linear.n_node, v_max_pu**2),
        flow_breach_eur_per_kwh=np.full(linear.n_edge, breach_eur_per_kwh),
        voltage_breach_eur_per_pu2_h=BREACH_EUR_PER_PU2_H,
    )


def unloaded_limits(model: GridModel, loading_limit: float = 1.0) -> GridLimits:
    """Limits of the first slot of a run, from the AC solution without load."""
    feedback = AcFeedback(model.grid, model.linear, np.full(model.grid.n_branches, loading_limit))
    idle = np.zeros(model.grid.n_nodes)
    state = PowerFlow(model.grid, model.net).solve(idle, idle)
    correction = feedback.correction(state, np.zeros(model.linear.n_edge), idle)
    return GridLimits(
        correction.flow_min_kw,
        correction.flow_max_kw,
        feedback.voltage_offset(correction, idle),
    )


@st.composite
def market_cases(draw: st.DrawFn, *, max_slots: int = 3, largest_kw: float = 120.0) -> MarketCase:
    """Draw a network, orders at random nodes and a few slots; limits may bind."""
    name = draw(st.sampled_from(list(NET_PLANS)))
    model = planned_model(name)
    places = np.flatnonzero(~model.linear.is_slack).tolist()
    n_order = draw(st.integers(2, 10))
    nodes = draw(st.lists(st.sampled_from(places), min_size=n_order, max_size=n_order))
    sides = draw(st.lists(st.sampled_from([1.0, -1.0]), min_size=n_order, max_size=n_order))
    problem = joint_problem(model, order_columns(nodes, sides))
    loading_limit = draw(st.sampled_from([1.0, 0.3, 0.05]))
    limits = unloaded_limits(model, loading_limit)
    n_slot = draw(st.integers(1, max_slots))
    slots = tuple(draw(_slots(model, n_order, largest_kw)) for _ in range(n_slot))
    level = model.tree.level
    fee = np.array([FEE_OF_LEVEL[int(one)] for one in level]) * draw(st.sampled_from([0.0, 1.0]))
    story = f"{name}; nodes {nodes}, sides {sides}, loading limit {loading_limit}"
    return MarketCase(model, problem, limits, fee, slots, story)


@st.composite
def _slots(draw: st.DrawFn, model: GridModel, n_order: int, largest_kw: float) -> Slot:
    def vector(values: st.SearchStrategy[float], size: int) -> Floats:
        return np.array(draw(st.lists(values, min_size=size, max_size=size)))

    kilowatt = st.integers(0, int(10 * largest_kw)).map(lambda tenths: tenths / 10.0)
    firm = np.zeros(model.linear.n_node)
    places = np.flatnonzero(~model.linear.is_slack)
    firm[places] = vector(st.sampled_from([0.0, 0.0, 1.0, 7.5, -4.0, 30.0]), len(places))
    return Slot(
        OrderBook(vector(st.sampled_from(PRICES), n_order), vector(kilowatt, n_order)),
        firm,
        retail=0.32,
        feed_in=draw(st.sampled_from([0.08, 0.0, -0.02])),
    )


def permuted(case: MarketCase, order: Indices) -> MarketCase:
    """Return the same market with its orders in another order."""
    columns = case.problem.orders
    shuffled = OrderColumns(
        columns.agent[order], columns.node[order], columns.side[order], columns.kind[order]
    )
    slots = tuple(
        replace(
            slot,
            book=OrderBook(slot.book.price_eur_per_kwh[order], slot.book.quantity_kw[order]),
        )
        for slot in case.slots
    )
    return replace(case, problem=replace(case.problem, orders=shuffled), slots=slots)


# --- linear programs ---


@dataclass(frozen=True)
class ProgramPlan:
    """A linear program with parameters p in costs, column bounds, right-hand sides and matrix.

    minimise (c + C p)'x  subject to  (A + B p) x + M p >= b (or ==, or within a range),
    0 <= x <= u + U p
    """

    matrix: Floats
    parameter_in_matrix: Floats
    parameter_in_row: Floats
    right: Floats
    kind: tuple[str, ...]
    cost: Floats
    parameter_in_cost: Floats
    upper: Floats
    parameter_in_upper: Floats
    values: tuple[Floats, ...]


@st.composite
def program_plans(draw: st.DrawFn) -> ProgramPlan:
    """Small programs, feasible at every drawn parameter because each row has a slack."""

    def grid_of(low: int, high: int, *shape: int) -> Floats:
        size = int(np.prod(shape))
        numbers = draw(st.lists(st.integers(low, high), min_size=size, max_size=size))
        return np.array(numbers, dtype=np.float64).reshape(shape)

    n, m, k = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    kinds = st.sampled_from(["at_least", "at_most", "equal", "range"])
    return ProgramPlan(
        matrix=grid_of(-3, 3, m, n),
        parameter_in_matrix=draw(st.sampled_from([0.0, 1.0])) * grid_of(-1, 1, m, n, k),
        parameter_in_row=grid_of(-2, 2, m, k),
        right=grid_of(-5, 5, m),
        kind=tuple(draw(st.lists(kinds, min_size=m, max_size=m))),
        cost=grid_of(-4, 6, n),
        parameter_in_cost=grid_of(-1, 1, n, k),
        upper=grid_of(10, 20, n),
        parameter_in_upper=grid_of(-1, 1, n, k),
        values=tuple(grid_of(-3, 3, k) for _ in range(draw(st.integers(1, 4)))),
    )


def build_program(plan: ProgramPlan) -> pe.ConcreteModel:
    """Build the Pyomo model of a plan; every row has slacks of cost 50, so none is infeasible."""
    m, n = plan.matrix.shape
    k = plan.parameter_in_row.shape[1]
    model = pe.ConcreteModel()
    model.p = pe.Param(range(k), mutable=True, initialize=dict(enumerate(plan.values[0])))

    def weighed(weights: Floats) -> Any:
        return sum(float(w) * model.p[i] for i, w in enumerate(weights))

    model.x = pe.Var(
        range(n),
        bounds=lambda _, j: (0.0, float(plan.upper[j]) + weighed(plan.parameter_in_upper[j])),
    )
    model.more = pe.Var(range(m), bounds=(0.0, None))
    model.less = pe.Var(range(m), bounds=(0.0, None))

    def row(_: Any, i: int) -> Any:
        body = sum(
            (float(plan.matrix[i, j]) + weighed(plan.parameter_in_matrix[i, j])) * model.x[j]
            for j in range(n)
        )
        body += model.more[i] - model.less[i] + weighed(plan.parameter_in_row[i])
        right = float(plan.right[i])
        return {
            "at_least": body >= right,
            "at_most": body <= right,
            "equal": body == right,
            "range": pe.inequality(right, body, right + 2.0),
        }[plan.kind[i]]

    model.row = pe.Constraint(range(m), rule=row)
    costs = sum(
        (float(plan.cost[j]) + weighed(plan.parameter_in_cost[j])) * model.x[j] for j in range(n)
    )
    penalty = 50.0 * sum(model.more[i] + model.less[i] for i in range(m))
    model.cost = pe.Objective(expr=costs + penalty)
    return model
