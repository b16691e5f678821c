"""The joint market: one program over all levels, cleared every slot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.grid_models.arrays import sum_by_key
from tricell.markets.compiled_program import CompiledProgram, Solution
from tricell.markets.fair_ties import FairTies, TieColumns
from tricell.markets.joint_model import (
    JointProblem,
    build_joint_model,
    drop_edges,
    limited_edges,
)
from tricell.markets.orders import OrderBook

Floats = NDArray[np.float64]

PARAMETERS = (
    "order_price",
    "order_quantity",
    "firm_kw",
    "area_firm_kw",
    "import_price",
    "export_price",
    "import_max_kw",
    "export_max_kw",
    "flow_min_kw",
    "flow_max_kw",
    "voltage_offset",
)
"""Mutable parameters of the joint model, set anew every slot."""


@dataclass(frozen=True)
class TradePrices:
    """Prices of crossing each area's border in one slot, EUR/kWh, one entry per area.

    For an area below the top the import price is the network fee that its level adds; for the
    top it is the retail energy price, and the export price there is the feed-in price.
    """

    import_price: Floats
    export_price: Floats


@dataclass(frozen=True)
class GridLimits:
    """Limits of the linear model in one slot, with what the last AC power flow taught.

    Attributes
    ----------
    flow_min_kw, flow_max_kw : allowed flow per edge.
    voltage_offset : right-hand side of the LinDistFlow rows, pu^2, one entry per edge.
    """

    flow_min_kw: Floats
    flow_max_kw: Floats
    voltage_offset: Floats


@dataclass(frozen=True)
class Clearing:
    """Result of one clearing; kW, EUR/kWh, pu^2.

    Attributes
    ----------
    accepted_kw : per order column, at least 0.
    net_import_kw : per area, positive into the area.
    area_price, node_price : duals; the node price is the area's plus the grid's part (DLMP).
    flow_kw : per edge, with breaches.
    voltage2 : squared voltage per node; nan where it is no variable.
    flow_breach_kw, voltage2_breach : beyond the limits per edge and per node, signed, 0 if kept.
    cost_eur_per_h : value of the objective.
    """

    accepted_kw: Floats
    net_import_kw: Floats
    area_price: Floats
    node_price: Floats
    flow_kw: Floats
    voltage2: Floats
    flow_breach_kw: Floats
    voltage2_breach: Floats
    cost_eur_per_h: float


class JointMarket:
    """Compiles the joint problem once and clears slot after slot.

    Limits are hard first. Only if a slot has no solution with them is it solved in the elastic
    form, whose breaches are named in the result.

    Attributes
    ----------
    problem : what the market was built from.
    hard, elastic : the two forms of the program.
    elastic_slots : clearings that needed the elastic form.
    """

    def __init__(self, problem: JointProblem) -> None:
        self.problem = problem
        self.hard = _Form(problem, elastic=False)
        self.elastic = _Form(problem, elastic=True)
        self.elastic_slots = 0
        self._below = _descendants(problem.area_parent)
        self._limited_edges = limited_edges(problem.grid)
        self._entered_areas = np.flatnonzero(problem.grid.entry_edge >= 0)
        self._entry_edges = problem.grid.entry_edge[self._entered_areas]
        self._drop_edges = drop_edges(problem.grid)
        below = problem.grid.downstream_sum(problem.constant_kw)
        self._constant_below_kw = below[self._entry_edges]
        self._voltage_nodes = np.flatnonzero(problem.grid.has_voltage)
        self._balanced_nodes = np.flatnonzero(~problem.grid.is_slack)

    @property
    def cold_starts(self) -> int:
        """Solves so far that had to start from scratch."""
        return self.hard.program.cold_starts + self.elastic.program.cold_starts

    @property
    def unresolved_ties(self) -> int:
        """Slots whose ties stayed as the solver left them."""
        return self.hard.ties.unresolved + self.elastic.ties.unresolved

    def memory(self) -> dict[str, Any]:
        """Return all that later clearings, and the counts of the run, depend on."""
        return {
            "hard": self.hard.program.memory(),
            "elastic": self.elastic.program.memory(),
            "elastic_slots": self.elastic_slots,
            "unresolved_ties": [self.hard.ties.unresolved, self.elastic.ties.unresolved],
        }

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from `memory` and nothing else; see `CompiledProgram.recall`."""
        self.hard.program.recall(memory["hard"])
        self.elastic.program.recall(memory["elastic"])
        self.elastic_slots = int(memory["elastic_slots"])
        self.hard.ties.unresolved, self.elastic.ties.unresolved = memory["unresolved_ties"]

    def clear(
        self,
        book: OrderBook,
        firm_kw: Floats,
        prices: TradePrices,
        limits: GridLimits,
        untraded_kw: Floats | None = None,
    ) -> Clearing:
        """Clear one slot and return its fair optimum.

        Parameters
        ----------
        book : orders, in the column order of the problem.
        firm_kw : firm net demand per node (positive consumes), kW.
        prices : prices at the areas' borders.
        limits : limits of the linear model.
        untraded_kw : the part of `firm_kw` of those who take no part in the markets, per node;
            it flows, but is in no area's balance. None for nothing.
        """
        if book.at_least_kw is not None:
            return self._clear_beyond(
                book, book.at_least_kw, firm_kw, prices, limits, untraded_kw=untraded_kw
            )
        traded_kw = firm_kw if untraded_kw is None else firm_kw - untraded_kw
        values = self._parameter_values(book, prices, limits, untraded_kw)
        values |= {"firm_kw": firm_kw, "area_firm_kw": self._area_sum(traded_kw)}
        self.hard.set_parameters(values)
        solution, form = self.hard.program.solve_if_feasible(), self.hard
        if solution is None:
            form = self.elastic
            form.set_parameters(values)
            solution = form.program.solve()
            self.elastic_slots += 1
        clearing = self._clearing(form, solution, traded_kw)
        if untraded_kw is None:
            return clearing
        return self._with_untraded_breaches(clearing, untraded_kw, limits)

    def _clear_beyond(
        self,
        book: OrderBook,
        least_kw: Floats,
        firm_kw: Floats,
        prices: TradePrices,
        limits: GridLimits,
        *,
        untraded_kw: Floats | None,
    ) -> Clearing:
        """Clear with the smallest power of each order as a part of firm demand."""
        orders = self.problem.orders
        least = orders.side * least_kw
        rest = OrderBook(book.price_eur_per_kwh, np.maximum(book.quantity_kw - least_kw, 0.0))
        firm_kw = firm_kw + sum_by_key(orders.node, least, self.problem.grid.n_node)
        clearing = self.clear(rest, firm_kw, prices, limits, untraded_kw)
        return replace(
            clearing,
            accepted_kw=clearing.accepted_kw + least_kw,
            cost_eur_per_h=clearing.cost_eur_per_h - float(least @ book.price_eur_per_kwh),
        )

    def _with_untraded_breaches(
        self, clearing: Clearing, untraded_kw: Floats, limits: GridLimits
    ) -> Clearing:
        """Name the connections that are overloaded by power that nobody trades.

        An area's members exchange what such power leaves of its connection; where that is nothing,
        the program is content, and yet the connection is beyond its rating.
        """
        edge = self._entry_edges
        low, high = limits.flow_min_kw[edge], limits.flow_max_kw[edge]
        untraded = self._constant_below_kw
        untraded = untraded + self.problem.grid.downstream_sum(untraded_kw)[edge]
        alone = (untraded > high) | (untraded < low)
        if not alone.any():
            return clearing
        flow, breach = clearing.flow_kw[edge], clearing.flow_breach_kw.copy()
        beyond = np.maximum(flow - high, 0.0) - np.maximum(low - flow, 0.0)
        breach[edge] = np.where(alone, beyond, breach[edge])
        return replace(clearing, flow_breach_kw=breach)

    def net_import_kw(self, accepted_kw: Floats, firm_kw: Floats) -> Floats:
        """Net import per area from what its members, and all below, consume.

        Parameters
        ----------
        accepted_kw : per order column.
        firm_kw : firm net demand per node that takes part in the markets, kW.
        """
        orders, grid = self.problem.orders, self.problem.grid
        net = firm_kw + sum_by_key(orders.node, orders.side * accepted_kw, grid.n_node)
        return np.asarray(self._below @ self._area_sum(net))

    def _area_sum(self, node_kw: Floats) -> Floats:
        """Sum of a nodal quantity over the members of each area."""
        return sum_by_key(self.problem.grid.node_area, node_kw, len(self.problem.area_parent))

    def _parameter_values(
        self,
        book: OrderBook,
        prices: TradePrices,
        limits: GridLimits,
        untraded_kw: Floats | None,
    ) -> dict[str, Floats]:
        low, high = limits.flow_min_kw, limits.flow_max_kw
        import_max = np.full(len(self.problem.area_parent), np.inf)
        export_max = import_max.copy()
        untraded = self._constant_below_kw
        if untraded_kw is not None:
            untraded = untraded + self.problem.grid.downstream_sum(untraded_kw)[self._entry_edges]
        highest, lowest = high[self._entry_edges] - untraded, low[self._entry_edges] - untraded
        import_max[self._entered_areas] = np.maximum(highest, 0.0)
        export_max[self._entered_areas] = np.maximum(-lowest, 0.0)
        return {
            "order_price": book.price_eur_per_kwh,
            "order_quantity": book.quantity_kw,
            "import_price": prices.import_price,
            "export_price": prices.export_price,
            "import_max_kw": import_max,
            "export_max_kw": export_max,
            "flow_min_kw": low[self._limited_edges],
            "flow_max_kw": high[self._limited_edges],
            "voltage_offset": limits.voltage_offset[self._drop_edges],
        }

    def _clearing(self, form: _Form, solution: Solution, firm_kw: Floats) -> Clearing:
        accepted, change = form.ties.move(solution)
        grid, dual = self.problem.grid, solution.row_duals
        flow_breach, voltage2_breach = self._breaches(form, solution)
        state = solution.values[form.states]
        if len(change):
            state = state + change
        # An area's entry has its limit, and its breach, on the exchange and not on the flow.
        flow = state[: grid.n_edge] + flow_breach
        flow[self._entry_edges] -= flow_breach[self._entry_edges]
        voltage2 = np.full(grid.n_node, np.nan)
        voltage2[self._voltage_nodes] = state[grid.n_edge :][: len(self._voltage_nodes)]
        area_price = -dual[form.balance_rows]
        node_price = area_price[grid.node_area]
        node_price[self._balanced_nodes] += dual[form.node_rows]
        return Clearing(
            accepted_kw=accepted,
            net_import_kw=self.net_import_kw(accepted, firm_kw),
            area_price=area_price,
            node_price=node_price,
            flow_kw=flow,
            voltage2=voltage2 + voltage2_breach,
            flow_breach_kw=flow_breach,
            voltage2_breach=voltage2_breach,
            cost_eur_per_h=solution.objective,
        )

    def _breaches(self, form: _Form, solution: Solution) -> tuple[Floats, Floats]:
        """Breaches per edge (kW) and per node (pu^2), signed."""
        grid = self.problem.grid
        flow, voltage2 = np.zeros(grid.n_edge), np.zeros(grid.n_node)
        if form is self.elastic:
            flow[self._limited_edges] = form.breach(solution, "flow")
            exchange = form.breach(solution, "exchange")
            flow[self._entry_edges] = exchange[self._entered_areas]
            voltage2[self._voltage_nodes] = form.breach(solution, "voltage2")
        return flow, voltage2


class _Form:
    """One compiled form of the joint model, with the places of its columns and rows."""

    def __init__(self, problem: JointProblem, *, elastic: bool) -> None:
        model = build_joint_model(problem, elastic=elastic)
        self.program = CompiledProgram(model)
        program = self.program
        states = (model.flow_kw, model.voltage2, model.angle_rad)
        self.states = np.concatenate([program.columns(variable) for variable in states])
        self.balance_rows = program.rows(model.area_balance)
        self.node_rows = program.rows(model.node_balance)
        definitions = (model.node_balance, model.voltage_drop, model.dc_flow)
        self.ties = FairTies(
            program,
            TieColumns(
                orders=program.columns(model.accepted_kw),
                order_side=problem.orders.side,
                order_area=problem.grid.node_area[problem.orders.node],
                area_parent=problem.area_parent,
                imports=program.columns(model.import_kw),
                exports=program.columns(model.export_kw),
                states=self.states,
                definitions=np.concatenate([program.rows(rows) for rows in definitions]),
            ),
        )
        self._breaches = {
            name: (
                program.columns(getattr(model, f"{name}_above")),
                program.columns(getattr(model, f"{name}_below")),
            )
            for name in ("flow", "voltage2", "exchange")
        }
        self._parameters = {name: program.parameter(name) for name in PARAMETERS}

    def set_parameters(self, values: Mapping[str, Floats]) -> None:
        """Write a slot's numbers into the program."""
        for name, entries in self._parameters.items():
            entries[:] = values[name]

    def breach(self, solution: Solution, name: str) -> Floats:
        """Return signed breaches of one kind of limits; none in the hard form."""
        above, below = self._breaches[name]
        return solution.values[above] - solution.values[below]


def _descendants(parent: NDArray[np.int64]) -> Floats:
    """Matrix with 1 where the column's area lies in the row's area or below it."""
    below = np.eye(len(parent))
    for area in range(len(parent) - 1, -1, -1):
        if parent[area] >= 0:
            below[parent[area]] += below[area]
    return below
