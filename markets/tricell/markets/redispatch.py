"""Redispatch: the smallest change of a cleared schedule that the grid can carry.

A market without a network model hands over what it accepted, x_j up to q_j. The network operator
then moves as few kilowatts as it can::

    minimise    sum_j less_j + more_j
    subject to  the network rows and limits of the joint market at  x_j - less_j + more_j
                0 <= less_j <= x_j,   0 <= more_j <= q_j - x_j

This is the joint market with the changes as orders, each at 1 EUR/kWh, and with exchange between
areas and with the retailer free of charge. So equal changes are shared in proportion to what each
order could give, and where firm demand alone breaks limits the breach is named.

What the change costs, and who bears it, is settled in `level_markets`.

Source: cost-based redispatch as in section 13a of the German Energy Industry Act (EnWG).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.grid_models.arrays import sum_by_key
from tricell.markets.joint_market import Clearing, GridLimits, JointMarket, TradePrices
from tricell.markets.joint_model import JointProblem
from tricell.markets.linear_flow import LinearFlow, LinearState
from tricell.markets.orders import OrderBook, OrderColumns

Floats = NDArray[np.float64]

MOVE_PRICE = 1.0
"""What moving a kWh costs the program, EUR/kWh: only its ratio to breach prices matters."""
BREACH_FACTOR = 1000.0
"""Makes any breach dearer than all the moves that could avoid it."""
KEPT_FLOW_KW, KEPT_VOLTAGE2 = 1e-6, 1e-6
"""How far beyond a limit a schedule may be and still count as feasible, kW and pu^2."""
SMALLEST_MOVE_KW = 1e-9


@dataclass(frozen=True)
class RedispatchResult:
    """A schedule that the grid can carry, and how it was reached.

    Attributes
    ----------
    accepted_kw : per order column, after the change.
    less_kw, more_kw : change of each order column, at least 0.
    moved_kw : sum of all changes.
    clearing : network state after the change. Its accepted powers are the changes (all `less`,
        then all `more`), its prices are in kW moved per kW of demand at a node.
    """

    accepted_kw: Floats
    less_kw: Floats
    more_kw: Floats
    moved_kw: float
    clearing: Clearing


class Redispatch:
    """Compiles the problem of the smallest change once and solves it slot after slot.

    Parameters
    ----------
    problem : grid, areas, order columns and limits of the market whose schedules are changed.

    Attributes
    ----------
    market : the joint market of the changes.
    changed_slots : schedules so far that the grid could not carry as they were.
    """

    def __init__(self, problem: JointProblem) -> None:
        self.problem = problem
        self.market = JointMarket(
            replace(
                problem,
                orders=change_orders(problem.orders),
                flow_breach_eur_per_kwh=problem.flow_breach_eur_per_kwh * BREACH_FACTOR,
                voltage_breach_eur_per_pu2_h=problem.voltage_breach_eur_per_pu2_h * BREACH_FACTOR,
            )
        )
        self.changed_slots = 0
        self._flow = LinearFlow(problem.grid, problem.constant_kw)
        self._price = -MOVE_PRICE * self.market.problem.orders.side
        free = np.zeros(len(problem.area_parent))
        self._free_trade = TradePrices(free, free)

    def memory(self) -> dict[str, Any]:
        """Return all that later schedules, and the counts of the run, depend on."""
        return {"market": self.market.memory(), "changed_slots": self.changed_slots}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from `memory` and nothing else."""
        self.market.recall(memory["market"])
        self.changed_slots = int(memory["changed_slots"])

    def adjust(
        self, accepted_kw: Floats, quantity_kw: Floats, firm_kw: Floats, limits: GridLimits
    ) -> RedispatchResult:
        """Return the feasible schedule that is nearest to an accepted one.

        Parameters
        ----------
        accepted_kw : what the market accepted, per order column.
        quantity_kw : largest power of each order column.
        firm_kw : firm net demand per node (positive consumes).
        limits : limits of the linear model.

        Raises
        ------
        MarketError
            If an accepted power is no number or not between 0 and its quantity.
        """
        _check_schedule(accepted_kw, quantity_kw)
        orders, grid = self.problem.orders, self.problem.grid
        accepted = np.clip(accepted_kw, 0.0, quantity_kw)
        net = firm_kw + sum_by_key(orders.node, orders.side * accepted, grid.n_node)
        state = self._flow.state(net, limits.voltage_offset)
        if self._is_kept(state, limits):
            nothing = np.zeros(len(orders))
            unchanged = self._clearing_of(state, net)
            return RedispatchResult(accepted, nothing, nothing, 0.0, unchanged)
        self.changed_slots += 1
        ranges = OrderBook(self._price, np.concatenate([accepted, quantity_kw - accepted]))
        clearing = self.market.clear(ranges, net, self._free_trade, limits)
        change = np.clip(clearing.accepted_kw, 0.0, ranges.quantity_kw)
        change[change < SMALLEST_MOVE_KW] = 0.0
        less, more = np.split(change, 2)
        moved = np.clip(accepted - less + more, 0.0, quantity_kw)
        return RedispatchResult(moved, less, more, float(change.sum()), clearing)

    def _is_kept(self, state: LinearState, limits: GridLimits) -> bool:
        """Whether a state keeps all limits of the linear model."""
        flow, voltage2 = state.flow_kw, state.voltage2[self.problem.grid.has_voltage]
        lowest = self.problem.v2_min[self.problem.grid.has_voltage]
        highest = self.problem.v2_max[self.problem.grid.has_voltage]
        kept = (flow <= limits.flow_max_kw + KEPT_FLOW_KW).all()
        kept &= (flow >= limits.flow_min_kw - KEPT_FLOW_KW).all()
        kept &= (voltage2 <= highest + KEPT_VOLTAGE2).all()
        return bool(kept & (voltage2 >= lowest - KEPT_VOLTAGE2).all())

    def _clearing_of(self, state: LinearState, net_kw: Floats) -> Clearing:
        """Return the clearing in which nothing has to be moved."""
        grid, parent = self.problem.grid, self.problem.area_parent
        net_import = sum_by_key(grid.node_area, net_kw, len(parent))
        for area in range(len(parent) - 1, -1, -1):
            if parent[area] >= 0:
                net_import[parent[area]] += net_import[area]
        return Clearing(
            accepted_kw=np.zeros(2 * len(self.problem.orders)),
            net_import_kw=net_import,
            area_price=np.zeros(len(parent)),
            node_price=np.zeros(grid.n_node),
            flow_kw=state.flow_kw,
            voltage2=state.voltage2,
            flow_breach_kw=np.zeros(grid.n_edge),
            voltage2_breach=np.zeros(grid.n_node),
            cost_eur_per_h=0.0,
        )


def change_orders(orders: OrderColumns) -> OrderColumns:
    """Columns of the changes: first `less` of every order, which acts like its opposite."""
    return OrderColumns(
        agent=np.tile(orders.agent, 2),
        node=np.tile(orders.node, 2),
        side=np.concatenate([-orders.side, orders.side]),
        kind=np.tile(orders.kind, 2),
    )


def _check_schedule(accepted_kw: Floats, quantity_kw: Floats) -> None:
    slack = SMALLEST_MOVE_KW + 1e-6 * np.abs(quantity_kw)
    good = (accepted_kw >= -slack) & (accepted_kw <= quantity_kw + slack)
    if not good.all():
        k = int(np.argmin(good))
        raise MarketError(
            f"order column {k} was accepted with {accepted_kw[k]} kW; allowed is a number "
            f"between 0 and its quantity of {quantity_kw[k]} kW"
        )


# --- money ---
