"""The joint market of all levels as one linear program in Pyomo.

Every slot::

    minimise    sum_sell price x - sum_buy price x                        (cost minus value)
              + sum_a import_price_a import_a - export_price_a export_a   (fees; retail at the top)
              + breach prices x breaches

    area balance  sum of members' traded power = import_a - export_a      dual: price of the area
    node balance  inflow - outflow = net power at the node
    voltage drop  v_parent/t^2 - v_child = 2 (r P + x Q) + offset         (radial areas)
    DC flow       P = b (angle_from - angle_to - shift)                   (meshed areas)
    limits        on P of every edge, on v of every node of a radial area, and on the import and
                  export of an area that hangs on one edge (so that the area's price feels them)

Whoever does not take part in the markets still flows: such power is in the node balances and not
in those of the areas. Power is in kW, prices in EUR/kWh, the objective in EUR/h. The marginal
price of a node (DLMP) is the dual of its area's balance plus the dual of its own balance. Firm
demand, prices, quantities and limits are mutable parameters: `CompiledProgram` turns them into
numbers that a slot sets.

Limits are hard. The *elastic* form of the model has, in addition, a breach variable at a stated
price for every limit, so that it always has a solution and names what had to give.

Sources: Baran and Wu 1989 (DistFlow); Kim and Dvorkin 2020 (P2P-dominant distribution system).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pe
from numpy.typing import NDArray

from tricell.grid_models.linear_grid import LinearGrid
from tricell.markets.orders import OrderColumns

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class JointProblem:
    """What the joint market is built from.

    Attributes
    ----------
    grid : linear grid model.
    area_parent : row of each area's parent, -1 for the top.
    orders : order columns.
    constant_kw : consumption per node that nobody trades (wards, generators of the grid data).
    v2_min, v2_max : bounds of squared voltage per node, pu^2.
    flow_breach_eur_per_kwh : per edge, price of power beyond its limit.
    voltage_breach_eur_per_pu2_h : price of squared voltage beyond its band, per pu^2 and hour.
    """

    grid: LinearGrid
    area_parent: NDArray[np.int64]
    orders: OrderColumns
    constant_kw: Floats
    v2_min: Floats
    v2_max: Floats
    flow_breach_eur_per_kwh: Floats
    voltage_breach_eur_per_pu2_h: float


def build_joint_model(problem: JointProblem, *, elastic: bool) -> pe.ConcreteModel:
    """Return the Pyomo model; its parameters still carry neutral values.

    Parameters
    ----------
    problem : grid, areas, orders and limits.
    elastic : limits may be breached at their prices; otherwise they are hard.
    """
    model = pe.ConcreteModel(name="joint market")
    declare_sets(model, problem)
    declare_parameters(model)
    declare_trade(model)
    declare_network_state(model, problem)
    declare_breaches(model, elastic=elastic)
    constraint_area_balance(model, problem)
    constraint_node_balance(model, problem)
    constraint_voltage_drop(model, problem)
    constraint_dc_flow(model, problem)
    objective_cost(model, problem)
    return model


def declare_sets(model: pe.ConcreteModel, problem: JointProblem) -> None:
    """Areas, nodes, edges and orders, by their row numbers."""
    grid = problem.grid
    model.areas = pe.RangeSet(0, len(problem.area_parent) - 1)
    model.nodes = pe.RangeSet(0, grid.n_node - 1)
    model.edges = pe.RangeSet(0, grid.n_edge - 1)
    model.limited_edges = pe.Set(initialize=limited_edges(grid).tolist())
    model.orders = pe.RangeSet(0, len(problem.orders) - 1)
    model.voltage_nodes = pe.Set(initialize=np.flatnonzero(grid.has_voltage).tolist())
    model.angle_nodes = pe.Set(initialize=np.flatnonzero(grid.has_angle).tolist())
    model.balanced_nodes = pe.Set(initialize=np.flatnonzero(~grid.is_slack).tolist())
    model.drop_edges = pe.Set(initialize=drop_edges(grid).tolist())
    model.dc_edges = pe.Set(initialize=np.flatnonzero(grid.edge_meshed).tolist())


def declare_parameters(model: pe.ConcreteModel) -> None:
    """Everything that a slot sets."""
    model.order_price = pe.Param(model.orders, mutable=True, initialize=0.0)
    model.order_quantity = pe.Param(model.orders, mutable=True, initialize=0.0)
    model.firm_kw = pe.Param(model.nodes, mutable=True, initialize=0.0)
    model.area_firm_kw = pe.Param(model.areas, mutable=True, initialize=0.0)
    model.import_price = pe.Param(model.areas, mutable=True, initialize=1.0)
    model.export_price = pe.Param(model.areas, mutable=True, initialize=0.0)
    model.import_max_kw = pe.Param(model.areas, mutable=True, initialize=1.0e9)
    model.export_max_kw = pe.Param(model.areas, mutable=True, initialize=1.0e9)
    model.flow_min_kw = pe.Param(model.limited_edges, mutable=True, initialize=-1.0e9)
    model.flow_max_kw = pe.Param(model.limited_edges, mutable=True, initialize=1.0e9)
    model.voltage_offset = pe.Param(model.drop_edges, mutable=True, initialize=0.0)


def declare_trade(model: pe.ConcreteModel) -> None:
    """Declare accepted power of each order, and import and export of each area, kW."""
    model.accepted_kw = pe.Var(model.orders, bounds=lambda m, j: (0.0, m.order_quantity[j]))
    model.import_kw = pe.Var(model.areas, bounds=lambda m, a: (0.0, m.import_max_kw[a]))
    model.export_kw = pe.Var(model.areas, bounds=lambda m, a: (0.0, m.export_max_kw[a]))


def declare_network_state(model: pe.ConcreteModel, problem: JointProblem) -> None:
    """Declare flows and squared voltages within limits, and angles."""

    def flow_limits(m: pe.ConcreteModel, e: int) -> tuple[Any, Any]:
        return (m.flow_min_kw[e], m.flow_max_kw[e]) if e in m.limited_edges else (None, None)

    model.flow_kw = pe.Var(model.edges, bounds=flow_limits)
    model.voltage2 = pe.Var(
        model.voltage_nodes,
        bounds=lambda _, n: (float(problem.v2_min[n]), float(problem.v2_max[n])),
    )
    model.angle_rad = pe.Var(model.angle_nodes)


def declare_breaches(model: pe.ConcreteModel, *, elastic: bool) -> None:
    """Declare what exceeds the limits, above and below; nothing if they are hard."""
    limited = {
        "flow": model.limited_edges,
        "voltage2": model.voltage_nodes,
        "exchange": model.areas,
    }
    for name, index in limited.items():
        where = index if elastic else []
        setattr(model, f"{name}_above", pe.Var(where, bounds=(0.0, None)))
        setattr(model, f"{name}_below", pe.Var(where, bounds=(0.0, None)))


def breach(model: pe.ConcreteModel, name: str, index: int) -> Any:
    """Return how far a limit is exceeded, signed; 0 where it is hard or there is none."""
    above = getattr(model, f"{name}_above")
    return above[index] - getattr(model, f"{name}_below")[index] if index in above else 0.0


def actual_flow(model: pe.ConcreteModel, edge: int) -> Any:
    """Flow of an edge with what exceeds its limits, kW."""
    return model.flow_kw[edge] + breach(model, "flow", edge)


def net_import(model: pe.ConcreteModel, area: int) -> Any:
    """Import less export of an area with what exceeds the rating of its connection, kW."""
    return model.import_kw[area] - model.export_kw[area] + breach(model, "exchange", area)


def actual_voltage2(model: pe.ConcreteModel, node: int) -> Any:
    """Squared voltage of a node with what exceeds its band, pu^2."""
    return model.voltage2[node] + breach(model, "voltage2", node)


def constraint_area_balance(model: pe.ConcreteModel, problem: JointProblem) -> None:
    """Each area's import minus export equals the net power of its members."""
    orders, grid = problem.orders, problem.grid
    area_orders = _group(grid.node_area[orders.node], len(problem.area_parent))
    children = _group(problem.area_parent, len(problem.area_parent))

    def balance(m: pe.ConcreteModel, a: int) -> Any:
        agents = sum(float(orders.side[j]) * m.accepted_kw[j] for j in area_orders[a])
        below = sum(net_import(m, c) for c in children[a])
        return agents + below + m.area_firm_kw[a] - net_import(m, a) == 0.0

    model.area_balance = pe.Constraint(model.areas, rule=balance)


def constraint_node_balance(model: pe.ConcreteModel, problem: JointProblem) -> None:
    """Consume at each node what flows into it less what flows out."""
    orders, grid = problem.orders, problem.grid
    entering = _group(grid.edge_to, grid.n_node)
    leaving = _group(grid.edge_from, grid.n_node)
    at_node = _group(orders.node, grid.n_node)

    def balance(m: pe.ConcreteModel, n: int) -> Any:
        inflow = sum(actual_flow(m, e) for e in entering[n])
        outflow = sum(actual_flow(m, e) for e in leaving[n])
        agents = sum(float(orders.side[j]) * m.accepted_kw[j] for j in at_node[n])
        return inflow - outflow - agents == m.firm_kw[n] + float(problem.constant_kw[n])

    model.node_balance = pe.Constraint(model.balanced_nodes, rule=balance)


def constraint_voltage_drop(model: pe.ConcreteModel, problem: JointProblem) -> None:
    """LinDistFlow: the drop of squared voltage along each edge of a radial area."""
    grid = problem.grid

    def drop(m: pe.ConcreteModel, e: int) -> Any:
        parent, child = int(grid.edge_from[e]), int(grid.edge_to[e])
        # Where the parent's voltage is no variable it is part of the offset.
        upper = (
            float(grid.edge_inverse_ratio2[e]) * actual_voltage2(m, parent)
            if grid.has_voltage[parent]
            else 0.0
        )
        flow = 2.0 * float(grid.edge_r[e]) * actual_flow(m, e)
        return upper - actual_voltage2(m, child) - flow == m.voltage_offset[e]

    model.voltage_drop = pe.Constraint(model.drop_edges, rule=drop)


def constraint_dc_flow(model: pe.ConcreteModel, problem: JointProblem) -> None:
    """DC power flow: the flow of each edge of a meshed area from the angles at its ends."""
    grid = problem.grid

    def angle(m: pe.ConcreteModel, n: int) -> Any:
        return m.angle_rad[n] if grid.has_angle[n] else float(grid.fixed_angle_rad[n])

    def flow(m: pe.ConcreteModel, e: int) -> Any:
        difference = angle(m, int(grid.edge_from[e])) - angle(m, int(grid.edge_to[e]))
        susceptance = float(grid.edge_susceptance_kw[e])
        driven = susceptance * (difference - float(grid.edge_shift_rad[e]))
        return actual_flow(m, e) - driven == 0.0

    model.dc_flow = pe.Constraint(model.dc_edges, rule=flow)


def objective_cost(model: pe.ConcreteModel, problem: JointProblem) -> None:
    """Minimise cost of what is sold less value of what is bought, fees and breaches, EUR/h."""
    side = problem.orders.side
    agents = sum(
        -float(side[j]) * model.order_price[j] * model.accepted_kw[j] for j in model.orders
    )
    trade = sum(
        model.import_price[a] * model.import_kw[a] - model.export_price[a] * model.export_kw[a]
        for a in model.areas
    )
    model.cost = pe.Objective(expr=agents + trade + breach_cost(model, problem))


def breach_cost(model: pe.ConcreteModel, problem: JointProblem) -> Any:
    """Return what all breaches cost; power beyond an area's rating also pays for its trade."""
    flow_price, entry = problem.flow_breach_eur_per_kwh, problem.grid.entry_edge
    entry_price = np.where(entry >= 0, flow_price[entry], flow_price.max())
    flows = sum(
        float(flow_price[e]) * (model.flow_above[e] + model.flow_below[e]) for e in model.flow_above
    )
    exchanges = sum(
        (float(entry_price[a]) + model.import_price[a]) * model.exchange_above[a]
        + (float(entry_price[a]) - model.export_price[a]) * model.exchange_below[a]
        for a in model.exchange_above
    )
    voltages = sum(model.voltage2_above[n] + model.voltage2_below[n] for n in model.voltage2_above)
    return flows + exchanges + problem.voltage_breach_eur_per_pu2_h * voltages


def drop_edges(grid: LinearGrid) -> NDArray[np.int64]:
    """Edges with a LinDistFlow row: those that lead to a node with a voltage variable."""
    return np.flatnonzero(~grid.edge_meshed & grid.has_voltage[grid.edge_to])


def limited_edges(grid: LinearGrid) -> NDArray[np.int64]:
    """Edges whose limit is on their own flow: all but the single entries of areas."""
    limited = np.ones(grid.n_edge, dtype=bool)
    limited[grid.entry_edge[grid.entry_edge >= 0]] = False
    return np.flatnonzero(limited)


def _group(keys: NDArray[np.int64], size: int) -> list[list[int]]:
    """Positions of each key 0..size-1; negative keys are left out."""
    groups: list[list[int]] = [[] for _ in range(size)]
    for position, key in enumerate(keys):
        if key >= 0:
            groups[key].append(position)
    return groups
