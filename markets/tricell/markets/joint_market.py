"""The joint market: one program over all levels, cleared every slot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tricell.grid_models.arrays import sum_by_key
from tricell.markets.compiled_program import CompiledProgram
from tricell.markets.fair_ties import FairTies, TieColumns
from tricell.markets.joint_model import JointProblem, build_joint_model, limited_edges
from tricell.markets.orders import OrderBook

Floats = NDArray[np.float64]


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
    cold : the solver had to start from scratch.
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
    cold: bool


class JointMarket:
    """Compiles the joint problem once and clears slot after slot.

    Attributes
    ----------
    program : the compiled program.
    ties : the mover to the fair point; counts what it could not resolve.
    """

    def __init__(self, problem: JointProblem) -> None:
        self.problem = problem
        model = build_joint_model(problem)
        self.program = CompiledProgram(model)
        program, grid = self.program, problem.grid
        self._orders = program.columns(model.accepted_kw)
        self._flow = program.columns(model.flow_kw)
        self._import_above = program.columns(model.import_above_kw)
        self._export_above = program.columns(model.export_above_kw)
        self._limited_edges = limited_edges(grid)
        self._entered_areas = np.flatnonzero(grid.entry_edge >= 0)
        self._entry_edges = grid.entry_edge[self._entered_areas]
        self._flow_above = program.columns(model.flow_above_kw)
        self._flow_below = program.columns(model.flow_below_kw)
        self._voltage = program.columns(model.voltage2)
        self._voltage_above = program.columns(model.voltage2_above)
        self._voltage_below = program.columns(model.voltage2_below)
        self._balance_rows = program.rows(model.area_balance)
        self._node_rows = program.rows(model.node_balance)
        self._voltage_nodes = np.flatnonzero(grid.has_voltage)
        self._balanced_nodes = np.flatnonzero(~grid.is_slack)
        self._drop_edges = np.array(list(model.drop_edges), dtype=np.int64)
        trades = np.concatenate(
            [program.columns(model.import_kw), program.columns(model.export_kw)]
        )
        states = [self._flow, self._voltage, program.columns(model.angle_rad)]
        definitions = [
            self._node_rows,
            program.rows(model.voltage_drop),
            program.rows(model.dc_flow),
        ]
        self.ties = FairTies(
            program,
            TieColumns(
                orders=self._orders,
                trades=trades,
                balances=self._balance_rows,
                states=np.concatenate(states),
                definitions=np.concatenate(definitions),
            ),
        )
        self._below = _descendants(problem.area_parent)
        self._parameters = {
            name: program.parameter(name)
            for name in (
                "order_price",
                "order_quantity",
                "firm_kw",
                "import_price",
                "export_price",
                "import_max_kw",
                "export_max_kw",
                "flow_min_kw",
                "flow_max_kw",
                "voltage_offset",
            )
        }

    def set_slot(
        self, book: OrderBook, firm_kw: Floats, prices: TradePrices, limits: GridLimits
    ) -> None:
        """Write a slot's numbers into the program.

        Parameters
        ----------
        book : orders, in the column order of the problem.
        firm_kw : firm net demand per node (positive consumes), kW.
        prices : prices at the areas' borders.
        limits : limits of the linear model.
        """
        parameters = self._parameters
        parameters["order_price"][:] = book.price_eur_per_kwh
        parameters["order_quantity"][:] = book.quantity_kw
        parameters["firm_kw"][:] = firm_kw
        parameters["import_price"][:] = prices.import_price
        parameters["export_price"][:] = prices.export_price
        low, high = limits.flow_min_kw, limits.flow_max_kw
        parameters["flow_min_kw"][:] = low[self._limited_edges]
        parameters["flow_max_kw"][:] = high[self._limited_edges]
        parameters["import_max_kw"][self._entered_areas] = np.maximum(high[self._entry_edges], 0.0)
        parameters["export_max_kw"][self._entered_areas] = np.maximum(-low[self._entry_edges], 0.0)
        parameters["voltage_offset"][:] = limits.voltage_offset[self._drop_edges]

    def clear(self) -> Clearing:
        """Solve the slot that was set and return its fair optimum."""
        solution = self.program.solve()
        accepted, change = self.ties.move(solution)
        value, dual, grid = solution.values, solution.row_duals, self.problem.grid
        breach = np.zeros(grid.n_edge)
        breach[self._limited_edges] = value[self._flow_above] - value[self._flow_below]
        flow = value[self._flow] + breach
        entry_breach = value[self._import_above] - value[self._export_above]
        breach[self._entry_edges] = entry_breach[self._entered_areas]
        voltage2_breach = np.zeros(grid.n_node)
        voltage_breach = value[self._voltage_above] - value[self._voltage_below]
        voltage2_breach[self._voltage_nodes] = voltage_breach
        voltage2 = np.full(grid.n_node, np.nan)
        voltage = value[self._voltage] + voltage_breach
        if len(change):
            flow = flow + change[: len(flow)]
            voltage = voltage + change[len(flow) : len(flow) + len(voltage)]
        voltage2[self._voltage_nodes] = voltage
        area_price = -dual[self._balance_rows]
        node_price = area_price[grid.node_area]
        node_price[self._balanced_nodes] += dual[self._node_rows]
        return Clearing(
            accepted_kw=accepted,
            net_import_kw=self._net_import(accepted),
            area_price=area_price,
            node_price=node_price,
            flow_kw=flow,
            voltage2=voltage2,
            flow_breach_kw=breach,
            voltage2_breach=voltage2_breach,
            cost_eur_per_h=solution.objective,
            cold=solution.cold,
        )

    def _net_import(self, accepted_kw: Floats) -> Floats:
        """Net import per area from what its members, and all below, consume."""
        orders, grid = self.problem.orders, self.problem.grid
        net = self._parameters["firm_kw"] + sum_by_key(
            orders.node, orders.side * accepted_kw, grid.n_node
        )
        own = sum_by_key(grid.node_area, net, len(self.problem.area_parent))
        return np.asarray(self._below @ own)


def _descendants(parent: NDArray[np.int64]) -> Floats:
    """Matrix with 1 where the column's area lies in the row's area or below it."""
    below = np.eye(len(parent))
    for area in range(len(parent) - 1, -1, -1):
        if parent[area] >= 0:
            below[parent[area]] += below[area]
    return below
