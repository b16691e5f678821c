"""Operating envelopes: how far each connection may go, whatever the others do inside theirs.

Before the gate the network operator publishes the largest import and export of every connection.
With the *margin* m_i of each limit i at zero flexible power (0 if it is broken already), the
*sensitivity* S_ij of that limit to connection j, and the *cap* c_j that connection j asks for,
envelopes e keep ``S e <= m`` and ``0 <= e <= c`` by one of three rules:

* `equal`:         e_j = min(c_j, min_i m_i / sum_j S_ij), what a cap leaves is not given to others
* `proportional`:  e_j = alpha c_j with alpha = min(1, min_i m_i / (S_i c))
* `max_total`:     maximise sum_j e_j (a linear program)

`EnvelopeCalculator` applies the rules to a whole grid. With p the imports and g the exports::

    rise_e = sum of p below edge e                                (radial edge; likewise for g)
    fall_n = fall_parent / t^2 + 2 r+ rise + 2 r- rise of g       (squared voltage)
    load_e = sum_k h+ p_k + h- g_k                                (meshed edge, h its sensitivity
                                                                   to consumption at node k)

Each has its margin at firm demand as upper bound. A change of net power by anything between the
two extremes changes no flow and no voltage by more than this, so every point inside the envelopes
keeps the linear limits, also where a counterflow in a loop fails to come. Among equal totals
`max_total` takes the one that serves connections in proportion to what they want.

Source: Petrou et al. 2021, Ensuring distribution network integrity using dynamic operating limits
for prosumers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyomo.environ as pe
import scipy.sparse as sp
import scipy.sparse.linalg as spl
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse.csgraph import connected_components

from tricell.errors import MarketError
from tricell.grid_models.linear_grid import LinearGrid
from tricell.markets.compiled_program import CompiledProgram
from tricell.markets.fair_ties import FairTies, TieColumns
from tricell.markets.joint_market import GridLimits
from tricell.markets.joint_model import JointProblem, drop_edges
from tricell.markets.linear_flow import LinearFlow

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

Rule = Literal["equal", "proportional", "max_total"]
RULES: tuple[Rule, ...] = ("equal", "proportional", "max_total")

IMPORT, EXPORT = 0, 1
SMALLEST_LOAD = 1e-12
"""Effects on a limit below this (kW or pu^2) are rounding."""
SMALLEST_ENVELOPE_KW = 1e-9
"""Less is rounding, and counts as nothing."""
STILL_KEPT = 5e-7
"""How far beyond a limit (kW or pu^2) counts as kept: what programs that were solved leave."""


# --- the rules on margins and sensitivities ---


def equal_envelopes(margin: Floats, sensitivity: Floats, cap: Floats) -> Floats:
    """Give every connection the same, then cut to its cap.

    Parameters
    ----------
    margin : room of each limit, shape (limits,); a negative one counts as 0, inf is no limit.
    sensitivity : change of each limited quantity per kW, shape (limits, connections).
    cap : largest envelope of each connection, kW, shape (connections,); may be infinite.

    Raises
    ------
    MarketError
        If a shape is wrong, or a margin, sensitivity or cap is no number.

    Examples
    --------
    >>> equal_envelopes(np.array([3.0]), np.array([[1.0, 1.0]]), np.array([1.0, 5.0]))
    array([1. , 1.5])
    """
    _check_limits(margin, sensitivity, cap)
    return np.minimum(_largest_share(margin, sensitivity.sum(axis=1)), cap)


def proportional_envelopes(margin: Floats, sensitivity: Floats, cap: Floats) -> Floats:
    """Give every connection the same share of its cap; parameters as in `equal_envelopes`.

    Infinite caps are the limit of equal caps that grow: they share alike, finite ones get nothing
    unless no limit is felt.

    Examples
    --------
    >>> proportional_envelopes(np.array([3.0]), np.array([[1.0, 1.0]]), np.array([1.0, 5.0]))
    array([0.5, 2.5])
    """
    _check_limits(margin, sensitivity, cap)
    endless = np.isinf(cap)
    if not endless.any():
        return np.asarray(min(1.0, _largest_share(margin, sensitivity @ cap)) * cap)
    share = _largest_share(margin, sensitivity[:, endless].sum(axis=1))
    if np.isinf(share):
        rest = proportional_envelopes(margin, sensitivity[:, ~endless], cap[~endless])
    else:
        rest = np.zeros(int((~endless).sum()))
    envelopes = np.empty_like(cap)
    envelopes[endless], envelopes[~endless] = share, rest
    return envelopes


def max_total_envelopes(margin: Floats, sensitivity: Floats, cap: Floats) -> Floats:
    """Return envelopes with the largest sum; parameters as in `equal_envelopes`.

    Raises
    ------
    MarketError
        Also if negative sensitivities and infinite caps leave the total without bound.

    Examples
    --------
    >>> sensitivity = np.array([[1.0, 2.0]])
    >>> max_total_envelopes(np.array([3.0]), sensitivity, np.array([2.0, 5.0])).tolist()
    [2.0, 0.5]
    """
    _check_limits(margin, sensitivity, cap)
    room = np.maximum(margin, 0.0)
    felt = (sensitivity > 0.0).any(axis=0)
    bounded = felt | np.isfinite(cap)
    envelopes = cap.copy()
    if not bounded.any():
        return envelopes
    found = linprog(
        -np.ones(int(bounded.sum())),
        A_ub=sensitivity[:, bounded],
        b_ub=room,
        bounds=[(0.0, float(most)) for most in cap[bounded]],
        method="highs",
    )
    if not found.success:
        raise MarketError(
            f"the largest total of {len(cap)} envelopes was not found: {found.message}; "
            "give finite caps where a connection relieves a limit"
        )
    envelopes[bounded] = np.clip(np.asarray(found.x), 0.0, cap[bounded])
    return envelopes


def _largest_share(margin: Floats, load: Floats) -> float:
    """Largest factor of a load that no margin refuses; inf if no limit feels it."""
    felt = load > 0.0
    return float(np.min(np.maximum(margin[felt], 0.0) / load[felt], initial=np.inf))


def _check_limits(margin: Floats, sensitivity: Floats, cap: Floats) -> None:
    shape = (len(margin), len(cap))
    if sensitivity.shape != shape:
        raise MarketError(
            f"sensitivities have shape {sensitivity.shape}; allowed is {shape}, a row for each "
            "limit and a column for each connection"
        )
    if np.isnan(margin).any() or not np.isfinite(sensitivity).all():
        raise MarketError("margins must be numbers and sensitivities finite numbers")
    wrong = np.flatnonzero(~(cap >= 0.0))
    if len(wrong):
        raise MarketError(
            f"cap of connection {wrong[0]} is {cap[wrong[0]]}; allowed is a number of at least 0"
        )


# --- a whole grid ---


@dataclass(frozen=True)
class Envelopes:
    """Largest flexible power of each agent beside its firm demand, kW, at least 0."""

    import_kw: Floats
    export_kw: Floats

    def at_most(self, import_kw: Floats, export_kw: Floats) -> Envelopes:
        """Return the same, but no more than is wanted."""
        return Envelopes(
            np.minimum(self.import_kw, import_kw), np.minimum(self.export_kw, export_kw)
        )


class EnvelopeCalculator:
    """Computes the envelopes of all connections of a grid; compiled once, for many slots.

    Parameters
    ----------
    problem : grid and voltage bounds (its orders do not matter here).
    agent_node : electrical node of each agent.
    rule : how room is shared.
    """

    def __init__(self, problem: JointProblem, agent_node: Indices, rule: Rule) -> None:
        if rule not in RULES:
            raise MarketError(f"envelope rule is {rule!r}; allowed are {', '.join(RULES)}")
        self.problem, self.rule = problem, rule
        self._flow = LinearFlow(problem.grid, problem.constant_kw)
        self._n_agent = len(agent_node)
        self._parts = _GridParts.of(problem.grid, self._flow)
        model = build_envelope_model(problem.grid, self._parts, agent_node)
        self._program = program = CompiledProgram(model)
        states = (model.rise, model.fall, model.injected, model.loop_load)
        rows = (model.rise_row, model.fall_row, model.injected_row, model.loop_load_row)
        self._states = np.concatenate([program.columns(one) for one in states])
        self._definitions = np.concatenate([program.rows(one) for one in rows])
        self._orders = program.columns(model.power_kw)
        matrix = program.form.matrix.tocsr()[self._definitions]
        self._factor = spl.splu(sp.csc_matrix(matrix[:, self._states]))
        self._of_orders = sp.csr_matrix(matrix[:, self._orders])
        self._ties = FairTies(program, self._tie_columns(model))

    @property
    def unresolved_ties(self) -> int:
        """Slots in which ties of `max_total` stayed as the solver left them."""
        return self._ties.unresolved

    def memory(self) -> dict[str, Any]:
        """Return all that later envelopes, and the counts of the run, depend on."""
        return {"program": self._program.memory(), "unresolved_ties": self._ties.unresolved}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from `memory` and nothing else."""
        self._program.recall(memory["program"])
        self._ties.unresolved = int(memory["unresolved_ties"])

    def limits(
        self,
        firm_import_kw: Floats,
        firm_export_kw: Floats,
        wanted_import_kw: Floats,
        wanted_export_kw: Floats,
        limits: GridLimits,
    ) -> Envelopes:
        """Return the envelopes of one slot.

        Parameters
        ----------
        firm_import_kw, firm_export_kw : highest and lowest firm net demand per node (positive
            consumes); the same array twice where it is certain. It is never clipped.
        wanted_import_kw, wanted_export_kw : flexible power that each agent asks for, at least 0.
        limits : limits of the linear model.

        Raises
        ------
        MarketError
            If wanted power of an agent is negative or no finite number.
        """
        wanted = np.concatenate([wanted_import_kw, wanted_export_kw])
        room = self._room(firm_import_kw, firm_export_kw, wanted, limits)
        if self.rule == "max_total":
            return self._envelopes(self._largest_total(room), wanted)
        return self._envelopes(self._shared(room - self._idle(), wanted), wanted)

    def cut(self, firm_kw: Floats, published: Envelopes, limits: GridLimits) -> Envelopes:
        """Return envelopes that were promised, less as few kW as it takes to keep all limits.

        Parameters
        ----------
        firm_kw : firm net demand per node (positive consumes); it is never cut.
        published : what each agent may use of what was promised, at least 0.
        limits : limits of the linear model.
        """
        promised = np.concatenate([published.import_kw, published.export_kw])
        room = self._room(firm_kw, firm_kw, promised, limits)
        if (self._loads(promised) <= room + STILL_KEPT).all():
            return published
        return self._envelopes(self._largest_total(room), promised)

    def _room(
        self,
        firm_import_kw: Floats,
        firm_export_kw: Floats,
        wanted_kw: Floats,
        limits: GridLimits,
    ) -> Floats:
        """Set the slot, and return what every limit can take, at least what flows anyway."""
        self._check_wanted(wanted_kw)
        highest = np.maximum(firm_import_kw, firm_export_kw)
        lowest = np.minimum(firm_import_kw, firm_export_kw)
        program = self._program
        program.parameter("wanted_kw")[:] = wanted_kw
        program.parameter("firm_spread_kw")[:] = highest - lowest
        return np.maximum(self._margins(highest, limits), self._idle())

    def _idle(self) -> Floats:
        """Return what the spread of firm demand alone puts on every limit."""
        return self._loads(np.zeros(2 * self._n_agent))

    def _envelopes(self, power_kw: Floats, wanted_kw: Floats) -> Envelopes:
        """Return powers of both directions without rounding errors."""
        kept = np.clip(power_kw, 0.0, wanted_kw)
        kept = np.where(power_kw > SMALLEST_ENVELOPE_KW, kept, 0.0)
        return Envelopes(kept[: self._n_agent], kept[self._n_agent :])

    def _tie_columns(self, model: pe.ConcreteModel) -> TieColumns:
        """One area with a boundless exchange: only the network's limits hold envelopes back."""
        n_order = len(self._orders)
        return TieColumns(
            orders=self._orders,
            order_side=np.ones(n_order),
            order_area=np.zeros(n_order, dtype=np.int64),
            area_parent=np.array([-1]),
            imports=self._program.columns(model.boundless_import),
            exports=self._program.columns(model.boundless_export),
            states=self._states,
            definitions=self._definitions,
        )

    def _check_wanted(self, wanted: Floats) -> None:
        wrong = np.flatnonzero(~((wanted >= 0.0) & np.isfinite(wanted)))
        if len(wrong):
            side = "import" if wrong[0] < self._n_agent else "export"
            raise MarketError(
                f"agent {wrong[0] % self._n_agent} wants an {side} of {wanted[wrong[0]]} kW; "
                "allowed is a finite number of at least 0"
            )

    def _loads(self, power_kw: Floats) -> Floats:
        """Return what powers, with the spread of firm demand, put on every limit."""
        program = self._program
        right = program.form.row_lower(program.theta)[self._definitions]
        return np.asarray(self._factor.solve(right - self._of_orders @ power_kw))

    def _margins(self, highest_kw: Floats, limits: GridLimits) -> Floats:
        """Room of every limit at the highest firm demand, in the sequence of the states."""
        parts, problem = self._parts, self.problem
        state = self._flow.state(highest_kw, limits.voltage_offset)
        above = limits.flow_max_kw - state.flow_kw
        below = state.flow_kw - limits.flow_min_kw
        falls, rises = state.voltage2 - problem.v2_min, problem.v2_max - state.voltage2
        radial, meshed, nodes = parts.radial, parts.meshed, parts.voltage_nodes
        return np.concatenate(
            [
                *(above[radial], below[radial]),
                *(falls[nodes], rises[nodes]),
                np.full(2 * len(parts.loop_nodes), np.inf),
                *(above[meshed], below[meshed]),
            ]
        )

    def _largest_total(self, room: Floats) -> Floats:
        parts, program = self._parts, self._program
        ends = np.cumsum([2 * len(parts.radial), 2 * len(parts.voltage_nodes)])
        rise, fall, _ = np.split(room, ends)
        program.parameter("rise_max")[:] = rise
        program.parameter("fall_max")[:] = fall
        program.parameter("loop_load_max")[:] = room[len(room) - 2 * len(parts.meshed) :]
        accepted, _ = self._ties.move(program.solve())
        return accepted

    def _shared(self, margin: Floats, wanted: Floats) -> Floats:
        """Powers of the rules `equal` and `proportional`; a limit felt by both sides cuts both."""
        imports = np.arange(len(wanted)) < self._n_agent
        asked = wanted if self.rule == "proportional" else np.ones(len(wanted))
        idle = self._idle()
        by_side = [self._loads(np.where(side, asked, 0.0)) - idle for side in (imports, ~imports)]
        both = by_side[IMPORT] + by_side[EXPORT]
        most = 1.0 if self.rule == "proportional" else np.inf
        share = np.full(2, most)
        for side, load in enumerate(by_side):
            felt = load > SMALLEST_LOAD
            share[side] = np.min(margin[felt] / both[felt], initial=most)
        factor = np.where(imports, share[IMPORT], share[EXPORT])
        return np.minimum(np.where(asked > 0.0, asked * factor, 0.0), wanted)


@dataclass(frozen=True)
class _GridParts:
    """How limits hang together in a linear grid.

    Attributes
    ----------
    radial, meshed : edges of either kind.
    voltage_nodes : nodes with a squared voltage.
    loop_nodes : nodes at a meshed edge.
    above_node, above_edge : the lowest radial edge above each node and above each edge, -1 if
        there is none.
    per_kw : flow of each meshed edge per kW consumed at each loop node of the same loops.
    """

    radial: Indices
    meshed: Indices
    voltage_nodes: Indices
    loop_nodes: Indices
    above_node: Indices
    above_edge: Indices
    per_kw: Floats

    @staticmethod
    def of(grid: LinearGrid, flow: LinearFlow) -> _GridParts:
        """Read them from a grid."""
        radial, meshed = np.flatnonzero(~grid.edge_meshed), np.flatnonzero(grid.edge_meshed)
        first, second = grid.edge_from[meshed], grid.edge_to[meshed]
        loop_nodes = np.unique(np.concatenate([first, second]))
        graph = sp.csr_matrix((np.ones(len(meshed)), (first, second)), shape=(grid.n_node,) * 2)
        _, part = connected_components(graph, directed=False)
        per_kw = flow.flow_per_kw(loop_nodes)[meshed]
        per_kw = np.where(part[first][:, None] == part[loop_nodes], per_kw, 0.0)
        above_node, above_edge = _lowest_edges_above(grid)
        return _GridParts(
            radial=radial,
            meshed=meshed,
            voltage_nodes=np.flatnonzero(grid.has_voltage),
            loop_nodes=loop_nodes,
            above_node=above_node,
            above_edge=above_edge,
            per_kw=np.where(np.abs(per_kw) > SMALLEST_LOAD, per_kw, 0.0),
        )


def _lowest_edges_above(grid: LinearGrid) -> tuple[Indices, Indices]:
    """For each node, and for each edge, the lowest radial edge above; -1 if there is none."""
    of_node = np.full(grid.n_node, -1, dtype=np.int64)
    of_edge = np.full(grid.n_edge, -1, dtype=np.int64)
    size = grid.subtree_stop - grid.subtree_start
    radial = np.flatnonzero(~grid.edge_meshed)
    for edge in radial[np.argsort(-size[radial], kind="stable")]:
        of_edge[edge] = of_node[grid.edge_to[edge]]
        of_node[grid.subtree_order[grid.subtree_start[edge] : grid.subtree_stop[edge]]] = edge
    return of_node, of_edge


def build_envelope_model(
    grid: LinearGrid, parts: _GridParts, agent_node: Indices
) -> pe.ConcreteModel:
    """Return the Pyomo model of the largest total; its parameters still carry neutral values."""
    model = pe.ConcreteModel(name="operating envelopes")
    _declare_envelopes(model, parts, len(agent_node), grid.n_node)
    _constraint_rise(model, grid, parts, agent_node)
    _constraint_fall(model, grid, parts)
    _constraint_loops(model, grid, parts, agent_node)
    model.cost = pe.Objective(expr=-sum(model.power_kw.values()))
    return model


def _declare_envelopes(
    model: pe.ConcreteModel, parts: _GridParts, n_agent: int, n_node: int
) -> None:
    """Powers, what they put on limits, and the room of each; first imports, then exports."""
    model.sides = pe.RangeSet(0, 1)
    model.agents = pe.RangeSet(0, n_agent - 1)
    model.nodes = pe.RangeSet(0, n_node - 1)
    model.radial = pe.Set(initialize=parts.radial.tolist())
    model.voltage_nodes = pe.Set(initialize=parts.voltage_nodes.tolist())
    model.loop_nodes = pe.Set(initialize=parts.loop_nodes.tolist())
    model.meshed = pe.Set(initialize=parts.meshed.tolist())
    free = {"mutable": True, "initialize": 0.0}
    model.wanted_kw = pe.Param(model.sides, model.agents, **free)
    model.firm_spread_kw = pe.Param(model.nodes, **free)
    model.rise_max = pe.Param(model.sides, model.radial, **free)
    model.fall_max = pe.Param(model.sides, model.voltage_nodes, **free)
    model.loop_load_max = pe.Param(model.sides, model.meshed, **free)
    model.power_kw = pe.Var(
        model.sides, model.agents, bounds=lambda m, s, a: (0.0, m.wanted_kw[s, a])
    )
    model.rise = pe.Var(model.sides, model.radial, bounds=lambda m, s, e: (None, m.rise_max[s, e]))
    model.fall = pe.Var(
        model.sides, model.voltage_nodes, bounds=lambda m, s, n: (None, m.fall_max[s, n])
    )
    model.injected = pe.Var(model.sides, model.loop_nodes)
    model.loop_load = pe.Var(
        model.sides, model.meshed, bounds=lambda m, s, e: (None, m.loop_load_max[s, e])
    )
    model.boundless_import = pe.Var(bounds=(0.0, None))
    model.boundless_export = pe.Var(bounds=(0.0, None))


def _constraint_rise(
    model: pe.ConcreteModel, grid: LinearGrid, parts: _GridParts, agent_node: Indices
) -> None:
    """Sum powers below each radial edge, from edge to edge."""
    agents = _members(parts.above_node[agent_node], grid.n_edge)
    nodes = _members(parts.above_node, grid.n_edge)
    edges = _members(np.where(grid.edge_meshed, -1, parts.above_edge), grid.n_edge)

    def rise(m: pe.ConcreteModel, s: int, e: int) -> Any:
        own = sum(m.power_kw[s, a] for a in agents[e])
        below = sum(m.rise[s, c] for c in edges[e])
        return m.rise[s, e] - own - below == _firm_spread(m, s, nodes[e])

    model.rise_row = pe.Constraint(model.sides, model.radial, rule=rise)


def _constraint_fall(model: pe.ConcreteModel, grid: LinearGrid, parts: _GridParts) -> None:
    """LinDistFlow: how far imports lower, and exports raise, squared voltage at most."""
    edge_to = np.full(grid.n_node, -1, dtype=np.int64)
    drops = drop_edges(grid)
    edge_to[grid.edge_to[drops]] = drops

    def fall(m: pe.ConcreteModel, s: int, n: int) -> Any:
        e = int(edge_to[n])
        above, r = int(grid.edge_from[e]), float(grid.edge_r[e])
        # Star equivalents of three-winding transformers may have a negative resistance.
        own = 2.0 * abs(r) * (m.rise[s, e] if r >= 0.0 else m.rise[1 - s, e])
        inherited = (
            float(grid.edge_inverse_ratio2[e]) * m.fall[s, above]
            if grid.has_voltage[above]
            else 0.0
        )
        return m.fall[s, n] - inherited - own == 0.0

    model.fall_row = pe.Constraint(model.sides, model.voltage_nodes, rule=fall)


def _constraint_loops(
    model: pe.ConcreteModel, grid: LinearGrid, parts: _GridParts, agent_node: Indices
) -> None:
    """DC flow: what the worst combination inside the envelopes puts on each meshed edge."""
    agents = _members(agent_node, grid.n_node)
    leaving = _members(np.where(grid.edge_meshed, -1, grid.edge_from), grid.n_node)
    position = {int(e): k for k, e in enumerate(parts.meshed)}

    def injected(m: pe.ConcreteModel, s: int, n: int) -> Any:
        own = sum(m.power_kw[s, a] for a in agents[n])
        below = sum(m.rise[s, e] for e in leaving[n])
        return m.injected[s, n] - own - below == _firm_spread(m, s, [n])

    def load(m: pe.ConcreteModel, s: int, e: int) -> Any:
        row = parts.per_kw[position[e]]
        worst = sum(
            abs(float(row[k])) * m.injected[s if row[k] > 0.0 else 1 - s, int(parts.loop_nodes[k])]
            for k in np.flatnonzero(row)
        )
        return m.loop_load[s, e] - worst == 0.0

    model.injected_row = pe.Constraint(model.sides, model.loop_nodes, rule=injected)
    model.loop_load_row = pe.Constraint(model.sides, model.meshed, rule=load)


def _firm_spread(model: pe.ConcreteModel, side: int, nodes: list[int]) -> Any:
    """How far firm demand may lie below its highest: as good as an export of that size."""
    return sum(model.firm_spread_kw[n] for n in nodes) if side == EXPORT else 0.0


def _members(keys: Indices, size: int) -> list[list[int]]:
    """Positions of each key 0..size-1; negative keys are left out."""
    groups: list[list[int]] = [[] for _ in range(size)]
    for position, key in enumerate(keys):
        if key >= 0:
            groups[key].append(position)
    return groups
