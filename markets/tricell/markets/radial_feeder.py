"""A market on one radial feeder that is given by its lines in ohm: the smallest joint market.

For teaching, hand calculation and tests. It is `joint_market` in its hard form on a grid of two
areas, the supply (node 0) and the feeder below it, without any fee between them::

    maximise   sum_buy b x - sum_sell s x - p_im imports + p_ex exports
    voltage    v_j = v_i - 2 10^3 (r P + x Q)          squared, V^2, losses neglected
    limits     V_min <= V <= V_max below the supply,   |P| <= cap of every line

Everybody pays or gets the price of the own node, the dual of its balance (DLMP), firm loads too.
The rent of the network is what they pay less what the supply is paid.

Ties: where nobody is served in part and nothing is imported or exported, every price between two
bounds supports the result, and that of the optimal basis is stated. Where nothing flows at all and
only buyers, only sellers or nobody came, it is the price of the supply: the import price, and the
export price for sellers.

Sources: Baran and Wu 1989 (DistFlow); Kim and Dvorkin 2020 (P2P-dominant distribution system).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.grid_models.arrays import sum_by_key
from tricell.grid_models.linear_grid import LinearGrid
from tricell.markets.joint_market import Clearing, GridLimits, JointMarket, TradePrices
from tricell.markets.joint_model import JointProblem
from tricell.markets.orders import OrderBook, OrderColumns, OrderKind
from tricell.markets.trade_paths import Branches, root_paths

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

W_PER_KW = 1e3
SUPPLY_NODE = 0
SUPPLY, BELOW = 0, 1
"""Rows of the two areas."""
NO_LIMIT_KW = 1e9
BREACH_PRICE = 1e3
SMALLEST_KW = 1e-9
"""Less is rounding."""


@dataclass(frozen=True)
class Feeder:
    """A radial feeder; node 0 is its supply.

    Attributes
    ----------
    branches : lines; `end` is the node away from the supply.
    r_ohm, x_ohm : impedance of every line.
    cap_kw : largest flow of every line, inf for none.
    v_supply, v_min, v_max : voltage of the supply and band of the other nodes, V.
    """

    branches: Branches
    r_ohm: Floats
    x_ohm: Floats
    cap_kw: Floats
    v_supply: float
    v_min: float
    v_max: float


@dataclass(frozen=True)
class FeederOrders:
    """Orders at nodes: side +1 buys, -1 sells; kW and EUR/kWh; arrays of one length."""

    node: Indices
    side: Floats
    power_kw: Floats
    price_eur_per_kwh: Floats


@dataclass(frozen=True)
class FeederClearing:
    """Result of one hour on a feeder.

    Attributes
    ----------
    accepted_kw : per order.
    price : per node, EUR/kWh.
    flow_kw, voltage : per line (away from the supply) and per node (V).
    imports_kw, exports_kw : at the supply.
    welfare_eur, network_rent_eur : per hour.
    """

    accepted_kw: Floats
    price: Floats
    flow_kw: Floats
    voltage: Floats
    imports_kw: float
    exports_kw: float
    welfare_eur: float
    network_rent_eur: float


def clear_feeder(
    feeder: Feeder,
    orders: FeederOrders,
    *,
    load_kw: Floats,
    load_kvar: Floats,
    import_price: float,
    export_price: float,
) -> FeederClearing | None:
    """Clear the market of a feeder; None where no schedule keeps all limits.

    Parameters
    ----------
    feeder, orders : network and orders.
    load_kw, load_kvar : firm load per node, negative generates.
    import_price, export_price : of energy at the supply, EUR/kWh.

    Raises
    ------
    MarketError
        If the network is not radial, a line does not lead away from the supply, or energy earns
        more when it is exported than it costs to import.
    """
    if export_price > import_price:
        raise MarketError(
            f"an exported kWh earns {export_price} EUR and an imported one costs {import_price} "
            "EUR, so that importing and exporting at once would never end; allowed is an export "
            "price up to the import price"
        )
    grid = feeder_grid(feeder)
    market = JointMarket(_problem(feeder, grid, orders))
    clearing = market.clear(
        OrderBook(orders.price_eur_per_kwh, orders.power_kw),
        load_kw,
        TradePrices(np.array([import_price, 0.0]), np.array([export_price, 0.0])),
        _limits(feeder, grid, load_kvar),
    )
    if market.elastic_slots:
        return None
    return _result(feeder, orders, clearing, load_kw, (import_price, export_price))


def feeder_grid(feeder: Feeder) -> LinearGrid:
    """Return the linear grid of a feeder, squared voltages per unit of its supply's.

    Raises
    ------
    MarketError
        If the network is not radial, or a line does not lead away from the supply.
    """
    branches = feeder.branches
    paths = root_paths(branches, SUPPLY_NODE)
    turned = np.flatnonzero((paths < 0.0).any(axis=0))
    if len(turned):
        row = int(turned[0])
        raise MarketError(
            f"line {row} leads from node {branches.start[row]} to node {branches.end[row]}, "
            "towards the supply; allowed are lines that lead away from it. Swap its ends."
        )
    n_node, n_edge = branches.n_node, len(branches)
    no_edge, no_node = np.zeros(n_edge), np.zeros(n_node)
    is_supply = np.arange(n_node) == SUPPLY_NODE
    order, size = _depth_first(paths, branches)
    start = np.argsort(order)[branches.end]
    per_unit = W_PER_KW / feeder.v_supply**2
    return LinearGrid(
        node_area=np.where(is_supply, SUPPLY, BELOW),
        area_meshed=np.zeros(2, np.bool_),
        is_slack=is_supply,
        has_voltage=~is_supply,
        has_angle=np.zeros(n_node, np.bool_),
        fixed_angle_rad=no_node,
        edge_from=branches.start,
        edge_to=branches.end,
        edge_meshed=np.zeros(n_edge, np.bool_),
        edge_r=feeder.r_ohm * per_unit,
        edge_x=feeder.x_ohm * per_unit,
        edge_inverse_ratio2=np.ones(n_edge),
        edge_susceptance_kw=no_edge,
        edge_shift_rad=no_edge,
        branch_edge=np.arange(n_edge),
        branch_sign=np.ones(n_edge),
        branch_share=np.ones(n_edge),
        subtree_order=order,
        subtree_start=start,
        subtree_stop=start + size,
    )


def _depth_first(paths: Floats, branches: Branches) -> tuple[Indices, Indices]:
    """Return the nodes depth first, and the number of nodes below every line."""
    children: list[list[int]] = [[] for _ in range(branches.n_node)]
    for above, below in zip(branches.start.tolist(), branches.end.tolist(), strict=True):
        children[above].append(below)
    order, stack = [], [SUPPLY_NODE]
    while stack:
        node = stack.pop()
        order.append(node)
        stack.extend(children[node])
    return np.array(order, np.int64), np.asarray(paths.sum(axis=0), np.int64)


def _problem(feeder: Feeder, grid: LinearGrid, orders: FeederOrders) -> JointProblem:
    count = len(orders.node)
    kind = np.where(orders.side > 0.0, OrderKind.FLEXIBLE_LOAD, OrderKind.GENERATION)
    return JointProblem(
        grid=grid,
        area_parent=np.array([-1, SUPPLY]),
        orders=OrderColumns(np.arange(count), orders.node, orders.side, kind.astype(np.int8)),
        constant_kw=np.zeros(grid.n_node),
        v2_min=np.full(grid.n_node, (feeder.v_min / feeder.v_supply) ** 2),
        v2_max=np.full(grid.n_node, (feeder.v_max / feeder.v_supply) ** 2),
        flow_breach_eur_per_kwh=np.full(grid.n_edge, BREACH_PRICE),
        voltage_breach_eur_per_pu2_h=BREACH_PRICE,
    )


def _limits(feeder: Feeder, grid: LinearGrid, load_kvar: Floats) -> GridLimits:
    """Return limits, and drops by reactive power; the voltage of the supply is 1."""
    cap = np.minimum(feeder.cap_kw, NO_LIMIT_KW)
    reactive = 2.0 * grid.edge_x * grid.downstream_sum(load_kvar)
    return GridLimits(-cap, cap, reactive - grid.is_slack[grid.edge_from])


def _result(
    feeder: Feeder,
    orders: FeederOrders,
    clearing: Clearing,
    load_kw: Floats,
    prices: tuple[float, float],
) -> FeederClearing:
    traded = sum_by_key(orders.node, orders.side * clearing.accepted_kw, feeder.branches.n_node)
    withdrawn = load_kw + traded
    net = float(withdrawn.sum())
    imports, exports = max(net, 0.0), max(-net, 0.0)
    supply_paid = prices[0] * imports - prices[1] * exports
    value = float((orders.side * orders.price_eur_per_kwh) @ clearing.accepted_kw)
    voltage = feeder.v_supply * np.sqrt(clearing.voltage2)
    voltage[SUPPLY_NODE] = feeder.v_supply
    price = clearing.node_price
    one_side = len(np.unique(orders.side)) < 2
    if one_side and not load_kw.any() and not (clearing.accepted_kw > SMALLEST_KW).any():
        price = np.full_like(price, prices[1] if (orders.side < 0.0).any() else prices[0])
    return FeederClearing(
        accepted_kw=clearing.accepted_kw,
        price=price,
        flow_kw=clearing.flow_kw,
        voltage=voltage,
        imports_kw=imports,
        exports_kw=exports,
        welfare_eur=value - supply_paid,
        network_rent_eur=float(price @ withdrawn) - supply_paid,
    )
