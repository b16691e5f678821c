r"""The program by which one manager plans all tanks of a community, in Pyomo: one step of it.

All steps are alike, so a plan chains copies of this one (`CompiledProgram`): what tanks hold
before a step is what they hold after the step before.

Over the steps t of a plan, each h hours long, with tanks j (`tanks`), their owners o, areas a, and
pools p of members without tanks that may be curtailed::

    minimise  sum_t h [ sum_o (fee + import charge) bought + export charge sold
                        + sum_a import_price import - export_price export
                        + sum_j wear discharge - sum_p export charge curtailed
                        + breach prices x breaches ]
              + sum_j shortfall (missing + excess) - worth stored(last)

    tank       stored = kept stored(before) + into charge - out discharge + inflow
                        + missing - excess                     dual: value of stored energy
    owner      bought - sold = load - generation + curtailed + charge - discharge
    area       import - export = bought - sold of its owners + the others' load less generation
                        + curtailed of its pools + import - export of the areas in it
    flow       P = everything below the edge
    voltage    v_parent / t^2 - v_child = 2 r P + offset
    limits     P_min <= P <= P_max,  v_min <= v <= v_max, beyond them at breach prices

What an owner uses behind the own meter is free; energy from the own area pays the area's fee, and
from further away what higher levels add (import prices, as in `joint_model`). So the cheapest place
for surplus is the home, then the community, then the cell, wherever fees rise with the level.

Only what can bind is in the program: lines and transformers whose limit could be reached if all
members drew, or fed in, all that they can at once; voltages that could then leave their band; and
the edges on the way up from these. Meshed areas are left to the market.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyomo.environ as pe
from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.grid_models.arrays import sum_by_key
from tricell.grid_models.linear_grid import LinearGrid
from tricell.markets.joint_market import GridLimits
from tricell.markets.joint_model import JointProblem, drop_edges

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Bools = NDArray[np.bool_]

CLOSE_TO_LIMIT = 0.9
"""Share of a limit from which on it is watched: limits move a little with voltage and reactive
power, and they are looked through only once."""


@dataclass(frozen=True)
class CommunityMembers:
    """Who stands where, and the most that everybody can draw or feed in.

    Attributes
    ----------
    agent_node : electrical node of each agent, shape (N,).
    takes_part : whether an agent trades, shape (N,); the power of others only flows.
    highest_load_kw, highest_generation_kw : without tanks, at least 0, shape (N,).
    tank_agent : owner of each tank, shape (n,).
    tank_charge_kw, tank_discharge_kw : rated power of each tank, shape (n,); 0 for a tank that
        never gives back.
    """

    agent_node: Indices
    takes_part: Bools
    highest_load_kw: Floats
    highest_generation_kw: Floats
    tank_agent: Indices
    tank_charge_kw: Floats
    tank_discharge_kw: Floats

    def __post_init__(self) -> None:
        outside = np.flatnonzero(~self.takes_part[self.tank_agent])
        if len(outside):
            raise MarketError(
                f"tank {outside[0]} belongs to agent {self.tank_agent[outside[0]]}, who takes no "
                "part in the markets; a community plans only tanks of members. Leave it out."
            )

    @cached_property
    def owners(self) -> Indices:
        """Agents with tanks, in rising order, shape (n_owner,)."""
        return np.unique(self.tank_agent)

    @cached_property
    def others(self) -> Indices:
        """Members without tanks, shape (n_other,)."""
        member = self.takes_part.copy()
        member[self.owners] = False
        return np.flatnonzero(member)

    @cached_property
    def outsiders(self) -> Indices:
        """Agents who take no part, shape (n_outsider,)."""
        return np.flatnonzero(~self.takes_part)

    @cached_property
    def tank_owner(self) -> Indices:
        """Place of each tank's owner in `owners`, shape (n,)."""
        return np.searchsorted(self.owners, self.tank_agent).astype(np.int64)

    @cached_property
    def giving(self) -> Indices:
        """Tanks that can discharge."""
        return np.flatnonzero(self.tank_discharge_kw > 0.0)

    def extremes_kw(self, n_node: int) -> tuple[Floats, Floats]:
        """Return the highest and the lowest net power of each node."""
        tank_node = self.agent_node[self.tank_agent]
        highest = sum_by_key(self.agent_node, self.highest_load_kw, n_node)
        lowest = sum_by_key(self.agent_node, -self.highest_generation_kw, n_node)
        highest += sum_by_key(tank_node, self.tank_charge_kw, n_node)
        lowest -= sum_by_key(tank_node, self.tank_discharge_kw, n_node)
        return highest, lowest


@dataclass(frozen=True)
class WatchedGrid:
    """The part of a grid whose limits could bind; rows of nodes and edges of the linear grid.

    Attributes
    ----------
    edges : watched edges, those to a watched voltage included.
    limited : the edges whose flow could reach its limit.
    voltage_nodes : nodes whose voltage is worked out.
    bounded_nodes : the nodes whose voltage could leave its band.
    drops : edges that lead to `voltage_nodes`.
    above_node : lowest edge above each node that is watched or the entry of an area, else -1.
    above_edge : the same for each edge, itself not counted.
    """

    edges: Indices
    limited: Indices
    voltage_nodes: Indices
    bounded_nodes: Indices
    drops: Indices
    above_node: Indices
    above_edge: Indices


def watch(problem: JointProblem, members: CommunityMembers, limits: GridLimits) -> WatchedGrid:
    """Find the limits that could bind if everybody drew, or fed in, all that is possible.

    Parameters
    ----------
    problem : grid and voltage bounds.
    members : who can draw and feed in how much.
    limits : limits of the linear model, as at the start of a run.
    """
    grid = problem.grid
    highest, lowest = members.extremes_kw(grid.n_node)
    high_kw = _held_flows(grid, highest + problem.constant_kw, limits)
    low_kw = _held_flows(grid, lowest + problem.constant_kw, limits)
    reaches = (high_kw > CLOSE_TO_LIMIT * limits.flow_max_kw) | (
        low_kw < CLOSE_TO_LIMIT * limits.flow_min_kw
    )
    limited = np.flatnonzero(reaches & ~grid.edge_meshed)
    lowest_v2 = _voltages(grid, high_kw, limits.voltage_offset)
    highest_v2 = _voltages(grid, low_kw, limits.voltage_offset)
    leaves = (lowest_v2 < problem.v2_min) | (highest_v2 > problem.v2_max)
    drops = _on_the_way_up(grid, leaves)
    edges = np.union1d(limited, drops)
    bounds = np.union1d(edges, grid.entry_edge[grid.entry_edge >= 0])
    above_node, above_edge = _lowest_above(grid, bounds)
    return WatchedGrid(
        edges=edges,
        limited=limited,
        voltage_nodes=grid.edge_to[drops],
        bounded_nodes=np.flatnonzero(leaves),
        drops=drops,
        above_node=above_node,
        above_edge=above_edge,
    )


def _held_flows(grid: LinearGrid, node_kw: Floats, limits: GridLimits) -> Floats:
    """Flows of radial edges at given net powers, where each edge passes on no more than allowed.

    A power that lines below already hold back loads no transformer above them, and a flow beyond a
    limit is watched for its own sake: voltages need not be watched for it, too.
    """
    radial = np.flatnonzero(~grid.edge_meshed)
    above_node, above_edge = _lowest_above(grid, radial)
    below = np.flatnonzero(above_node >= 0)
    flow = sum_by_key(above_node[below], node_kw[below], grid.n_edge)
    size = grid.subtree_stop - grid.subtree_start
    for edge in radial[np.argsort(size[radial], kind="stable")]:
        flow[edge] = min(max(flow[edge], limits.flow_min_kw[edge]), limits.flow_max_kw[edge])
        if above_edge[edge] >= 0:
            flow[above_edge[edge]] += flow[edge]
    return flow


def _edge_to_node(grid: LinearGrid) -> Indices:
    """LinDistFlow edge that leads to each node, -1 if there is none."""
    leads = np.full(grid.n_node, -1, dtype=np.int64)
    drops = drop_edges(grid)
    leads[grid.edge_to[drops]] = drops
    return leads


def _voltages(grid: LinearGrid, flow_kw: Floats, offset: Floats) -> Floats:
    """Squared voltages at given flows, pu^2; nan where the linear model has none."""
    v2 = np.full(grid.n_node, np.nan)
    drops = drop_edges(grid)
    size = grid.subtree_stop - grid.subtree_start
    for edge in drops[np.argsort(-size[drops], kind="stable")]:
        parent, child = grid.edge_from[edge], grid.edge_to[edge]
        upper = grid.edge_inverse_ratio2[edge] * v2[parent] if grid.has_voltage[parent] else 0.0
        v2[child] = upper - 2.0 * grid.edge_r[edge] * flow_kw[edge] - offset[edge]
    return v2


def _on_the_way_up(grid: LinearGrid, nodes: Bools) -> Indices:
    """LinDistFlow edges between some nodes and where the voltage is no variable."""
    leads, found = _edge_to_node(grid), np.zeros(grid.n_edge, dtype=np.bool_)
    for node in np.flatnonzero(nodes):
        edge = leads[node]
        while edge >= 0 and not found[edge]:
            found[edge] = True
            edge = leads[grid.edge_from[edge]]
    return np.flatnonzero(found)


def _lowest_above(grid: LinearGrid, edges: Indices) -> tuple[Indices, Indices]:
    """Lowest of some radial edges above each node, and above each edge; -1 if there is none."""
    of_node = np.full(grid.n_node, -1, dtype=np.int64)
    of_edge = np.full(grid.n_edge, -1, dtype=np.int64)
    size = grid.subtree_stop - grid.subtree_start
    for edge in edges[np.argsort(-size[edges], kind="stable")]:
        of_edge[edge] = of_node[grid.edge_to[edge]]
        of_node[grid.subtree_order[grid.subtree_start[edge] : grid.subtree_stop[edge]]] = edge
    return of_node, of_edge


@dataclass(frozen=True)
class CommunityProblem:
    """What the program of a community is built from.

    Attributes
    ----------
    network : grid, areas, voltage bounds and breach prices (its orders do not matter here).
    members : who stands where.
    watched : limits that could bind.
    """

    network: JointProblem
    members: CommunityMembers
    watched: WatchedGrid

    @cached_property
    def agent_area(self) -> Indices:
        """Area of each agent."""
        return self.network.grid.node_area[self.members.agent_node]

    @cached_property
    def pool_of_agent(self) -> Indices:
        """Pool of each agent, -1 for owners of tanks, those without generation, and outsiders.

        Members of a pool share an area and hang on the same watched edge, so that no limit tells
        them apart.
        """
        members = self.members
        others = members.others[members.highest_generation_kw[members.others] > 0.0]
        place = np.stack(
            [self.agent_area[others], self.watched.above_node[members.agent_node[others]]]
        )
        pool = np.full(len(members.agent_node), -1, dtype=np.int64)
        if len(others):
            pool[others] = np.unique(place, axis=1, return_inverse=True)[1].ravel()
        return pool

    @cached_property
    def n_pool(self) -> int:
        """Number of pools."""
        return int(self.pool_of_agent.max(initial=-1)) + 1

    @cached_property
    def pool_agent(self) -> Indices:
        """One member of each pool."""
        agents = np.empty(self.n_pool, dtype=np.int64)
        inside = np.flatnonzero(self.pool_of_agent >= 0)
        agents[self.pool_of_agent[inside]] = inside
        return agents


def build_community_model(problem: CommunityProblem) -> pe.ConcreteModel:
    """Return the Pyomo model of one step; its parameters still carry neutral values."""
    model = pe.ConcreteModel(name="community step")
    _declare_sets(model, problem)
    _declare_parameters(model)
    _declare_tanks(model)
    _declare_trade(model)
    _declare_network_state(model, problem.network)
    _constraint_tank(model)
    _constraint_owner(model, problem.members)
    _constraint_area(model, problem)
    _constraint_flow(model, problem)
    _constraint_voltage_drop(model, problem)
    _objective_cost(model, problem.network)
    return model


def _declare_sets(model: pe.ConcreteModel, problem: CommunityProblem) -> None:
    """Declare tanks, owners, areas, pools, edges and nodes, by their row numbers."""
    members, watched = problem.members, problem.watched
    produces = members.highest_generation_kw[members.owners] > 0.0
    model.tanks = pe.RangeSet(0, len(members.tank_agent) - 1)
    model.giving = pe.Set(initialize=members.giving.tolist())
    model.owners = pe.RangeSet(0, len(members.owners) - 1)
    model.producers = pe.Set(initialize=np.flatnonzero(produces).tolist())
    model.areas = pe.RangeSet(0, len(problem.network.area_parent) - 1)
    model.pools = pe.RangeSet(0, problem.n_pool - 1)
    model.edges = pe.Set(initialize=watched.edges.tolist())
    model.limited_edges = pe.Set(initialize=watched.limited.tolist())
    model.drop_edges = pe.Set(initialize=watched.drops.tolist())
    model.voltage_nodes = pe.Set(initialize=watched.voltage_nodes.tolist())
    model.bounded_nodes = pe.Set(initialize=watched.bounded_nodes.tolist())


def _declare_parameters(model: pe.ConcreteModel) -> None:
    """Everything that a plan sets for a step; costs are of a kW, or a kWh, over all of it."""

    def declare(name: str, *index: Any, value: float = 0.0) -> None:
        setattr(model, name, pe.Param(*index, mutable=True, initialize=value))

    tanks = model.tanks
    declare("hours", value=1.0)
    declare("start_kwh", tanks)
    declare("kept", tanks, value=1.0)
    declare("into_kwh_per_kw", tanks, value=1.0)
    declare("out_kwh_per_kw", model.giving, value=1.0)
    declare("inflow_kwh", tanks)
    declare("lowest_kwh", tanks)
    declare("highest_kwh", tanks)
    declare("charge_max_kw", tanks)
    declare("discharge_max_kw", model.giving)
    declare("wear_cost", model.giving)
    declare("shortfall_cost", tanks, value=1.0)
    declare("worth", tanks)
    declare("owner_firm_kw", model.owners)
    declare("owner_generation_kw", model.producers)
    declare("bought_max_kw", model.owners)
    declare("sold_max_kw", model.owners)
    declare("bought_cost", model.owners, value=1.0)
    declare("sold_cost", model.owners)
    declare("pool_surplus_kw", model.pools)
    declare("pool_refund", model.pools)
    declare("area_firm_kw", model.areas)
    declare("import_cost", model.areas, value=1.0)
    declare("export_earns", model.areas)
    declare("edge_firm_kw", model.edges)
    declare("flow_min_kw", model.limited_edges)
    declare("flow_max_kw", model.limited_edges)
    declare("voltage_offset", model.drop_edges)


def _declare_tanks(model: pe.ConcreteModel) -> None:
    """Declare power and energy of tanks, and what they lack or cannot take."""
    model.charge_kw = pe.Var(model.tanks, bounds=lambda m, j: (0.0, m.charge_max_kw[j]))
    model.discharge_kw = pe.Var(model.giving, bounds=lambda m, j: (0.0, m.discharge_max_kw[j]))
    model.before_kwh = pe.Var(model.tanks, bounds=lambda m, j: (m.start_kwh[j], m.start_kwh[j]))
    model.stored_kwh = pe.Var(model.tanks, bounds=lambda m, j: (m.lowest_kwh[j], m.highest_kwh[j]))
    model.missing_kwh = pe.Var(model.tanks, bounds=(0.0, None))
    model.excess_kwh = pe.Var(model.tanks, bounds=(0.0, None))


def _declare_trade(model: pe.ConcreteModel) -> None:
    """Declare what owners buy and sell, what is curtailed, and import and export of areas, kW."""
    # The balances imply these bounds. Stated, they let the dual simplex method begin at once: a
    # column between two bounds is dual feasible at one of them.
    model.bought_kw = pe.Var(model.owners, bounds=lambda m, o: (0.0, m.bought_max_kw[o]))
    model.sold_kw = pe.Var(model.owners, bounds=lambda m, o: (0.0, m.sold_max_kw[o]))
    model.curtailed_kw = pe.Var(
        model.producers, bounds=lambda m, o: (0.0, m.owner_generation_kw[o])
    )
    model.pool_curtailed_kw = pe.Var(model.pools, bounds=lambda m, p: (0.0, m.pool_surplus_kw[p]))
    model.import_kw = pe.Var(model.areas, bounds=(0.0, None))
    model.export_kw = pe.Var(model.areas, bounds=(0.0, None))


def _declare_network_state(model: pe.ConcreteModel, network: JointProblem) -> None:
    """Declare flows and squared voltages within limits, and how far these are exceeded."""

    def flow_limits(m: pe.ConcreteModel, e: int) -> tuple[Any, Any]:
        return (m.flow_min_kw[e], m.flow_max_kw[e]) if e in m.limited_edges else (None, None)

    def band(m: pe.ConcreteModel, n: int) -> tuple[Any, Any]:
        if n not in m.bounded_nodes:
            return None, None
        return float(network.v2_min[n]), float(network.v2_max[n])

    model.flow_kw = pe.Var(model.edges, bounds=flow_limits)
    model.voltage2 = pe.Var(model.voltage_nodes, bounds=band)
    for name, where in (("flow", model.limited_edges), ("voltage2", model.bounded_nodes)):
        setattr(model, f"{name}_above", pe.Var(where, bounds=(0.0, None)))
        setattr(model, f"{name}_below", pe.Var(where, bounds=(0.0, None)))


def _breach(model: pe.ConcreteModel, name: str, index: int) -> Any:
    above = getattr(model, f"{name}_above")
    if index not in above:
        return 0.0
    return above[index] - getattr(model, f"{name}_below")[index]


def _constraint_tank(model: pe.ConcreteModel) -> None:
    """Fill and empty tanks."""

    def balance(m: pe.ConcreteModel, j: int) -> Any:
        change = m.into_kwh_per_kw[j] * m.charge_kw[j]
        if j in m.giving:
            change -= m.out_kwh_per_kw[j] * m.discharge_kw[j]
        change += m.kept[j] * m.before_kwh[j]
        beyond = m.missing_kwh[j] - m.excess_kwh[j]
        return m.stored_kwh[j] - change - beyond == m.inflow_kwh[j]

    model.tank = pe.Constraint(model.tanks, rule=balance)


def _constraint_owner(model: pe.ConcreteModel, members: CommunityMembers) -> None:
    """Buy or sell what passes an owner's meter."""
    tanks = _grouped(members.tank_owner, len(members.owners))

    def balance(m: pe.ConcreteModel, o: int) -> Any:
        tank_kw = sum(m.charge_kw[j] for j in tanks[o])
        tank_kw -= sum(m.discharge_kw[j] for j in tanks[o] if j in m.giving)
        curtailed = m.curtailed_kw[o] if o in m.producers else 0.0
        return _net(m, o) - curtailed - tank_kw == m.owner_firm_kw[o]

    model.owner = pe.Constraint(model.owners, rule=balance)


def _net(model: pe.ConcreteModel, owner: int) -> Any:
    """Power that an owner takes from the grid, kW."""
    return model.bought_kw[owner] - model.sold_kw[owner]


def _exchange(model: pe.ConcreteModel, area: int) -> Any:
    """Power that the members of an area, and of those below, take from above, kW."""
    return model.import_kw[area] - model.export_kw[area]


def _constraint_area(model: pe.ConcreteModel, problem: CommunityProblem) -> None:
    """Each area's import less export is the net power of its members and of the areas in it."""
    parent = problem.network.area_parent
    owners = _grouped(problem.agent_area[problem.members.owners], len(parent))
    pools = _grouped(problem.agent_area[problem.pool_agent], len(parent))
    children = _grouped(parent, len(parent))

    def balance(m: pe.ConcreteModel, a: int) -> Any:
        taken = sum(_net(m, o) for o in owners[a])
        taken += sum(m.pool_curtailed_kw[p] for p in pools[a])
        taken += sum(_exchange(m, c) for c in children[a])
        return _exchange(m, a) - taken == m.area_firm_kw[a]

    model.area = pe.Constraint(model.areas, rule=balance)


def _constraint_flow(model: pe.ConcreteModel, problem: CommunityProblem) -> None:
    """Carry over each watched edge what is taken below it."""
    grid, watched, members = problem.network.grid, problem.watched, problem.members
    entered = {int(edge): area for area, edge in enumerate(grid.entry_edge) if edge >= 0}
    owners = _grouped(watched.above_node[members.agent_node[members.owners]], grid.n_edge)
    pool_node = members.agent_node[problem.pool_agent]
    pools = _grouped(watched.above_node[pool_node], grid.n_edge)
    below = _grouped(watched.above_edge, grid.n_edge)

    def carried(m: pe.ConcreteModel, e: int) -> Any:
        if e in entered:
            return _exchange(m, entered[e])
        return m.flow_kw[e] + _breach(m, "flow", e)

    def balance(m: pe.ConcreteModel, e: int) -> Any:
        if e in entered:
            taken = _exchange(m, entered[e])
        else:
            taken = sum(_net(m, o) for o in owners[e])
            taken += sum(m.pool_curtailed_kw[p] for p in pools[e])
            taken += sum(carried(m, c) for c in below[e])
        return m.flow_kw[e] + _breach(m, "flow", e) - taken == m.edge_firm_kw[e]

    model.flow = pe.Constraint(model.edges, rule=balance)


def _constraint_voltage_drop(model: pe.ConcreteModel, problem: CommunityProblem) -> None:
    """LinDistFlow on the watched edges that lead to a watched voltage."""
    grid = problem.network.grid

    def actual(m: pe.ConcreteModel, n: int) -> Any:
        return m.voltage2[n] + _breach(m, "voltage2", n)

    def drop(m: pe.ConcreteModel, e: int) -> Any:
        parent, child = int(grid.edge_from[e]), int(grid.edge_to[e])
        # Where the parent's voltage is no variable it is part of the offset.
        upper = (
            float(grid.edge_inverse_ratio2[e]) * actual(m, parent)
            if grid.has_voltage[parent]
            else 0.0
        )
        flow = m.flow_kw[e] + _breach(m, "flow", e)
        lost = 2.0 * float(grid.edge_r[e]) * flow
        return upper - actual(m, child) - lost == m.voltage_offset[e]

    model.voltage_drop = pe.Constraint(model.drop_edges, rule=drop)


def _objective_cost(model: pe.ConcreteModel, network: JointProblem) -> None:
    """Minimise what the community pays in the step, less what its tanks then hold, EUR."""
    each = pe.quicksum
    tanks = each(c * model.discharge_kw[i] for i, c in model.wear_cost.items())
    tanks += each(
        c * (model.missing_kwh[j] + model.excess_kwh[j]) for j, c in model.shortfall_cost.items()
    )
    tanks -= each(c * model.stored_kwh[j] for j, c in model.worth.items())
    owners = each(c * model.bought_kw[i] for i, c in model.bought_cost.items())
    owners += each(c * model.sold_kw[i] for i, c in model.sold_cost.items())
    areas = each(c * model.import_kw[i] for i, c in model.import_cost.items())
    areas -= each(c * model.export_kw[i] for i, c in model.export_earns.items())
    pools = each(c * model.pool_curtailed_kw[i] for i, c in model.pool_refund.items())
    model.cost = pe.Objective(expr=tanks + owners + areas - pools + _breach_cost(model, network))


def _breach_cost(model: pe.ConcreteModel, network: JointProblem) -> Any:
    """Return what lies beyond limits, at its price over the step."""
    flow_price = network.flow_breach_eur_per_kwh.tolist()
    price = network.voltage_breach_eur_per_pu2_h
    each = pe.quicksum
    flows = each(
        flow_price[e] * model.hours * (model.flow_above[e] + model.flow_below[e])
        for e in model.limited_edges
    )
    return flows + each(
        price * model.hours * (model.voltage2_above[n] + model.voltage2_below[n])
        for n in model.bounded_nodes
    )


def _grouped(keys: Indices, size: int) -> list[list[int]]:
    """Positions of each key 0..size-1; negative keys are left out."""
    groups: list[list[int]] = [[] for _ in range(size)]
    for position, key in enumerate(keys.tolist()):
        if key >= 0:
            groups[key].append(position)
    return groups
