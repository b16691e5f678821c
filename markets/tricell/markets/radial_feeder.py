"""A market on one radial feeder that is given by its lines in ohm: the smallest joint market.

For teaching, hand calculation and tests: one hour as one linear program, losses neglected. With
the lines T_j on the path from the supply (node 0) to node j::

    maximise   sum_buy b x - sum_sell s x - p_im imports + p_ex exports
    balance    inflow - outflow + imports - exports = firm load + bought - sold    of every node
    voltage    V_j^2 = V_0^2 - 2 10^3 sum over T_j of (r P + x Q)
    limits     V_min <= V <= V_max below the supply,   |P| <= cap of every line

Everybody pays or gets the price of the own node, the dual of its balance (DLMP), firm loads too.
The rent of the network is what they pay less what the supply is paid. `joint_market` is the market
of a whole grid of three levels.

Ties: where nobody is served in part and nothing is imported or exported, or where a limit is
reached exactly, every price between two bounds supports the result, and that of the optimal basis
is stated.

Sources: Baran and Wu 1989 (DistFlow); Kim and Dvorkin 2020 (P2P-dominant distribution system).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from tricell.errors import MarketError
from tricell.grid_models.arrays import sum_by_key
from tricell.markets.loss_factors import path_flows_kw
from tricell.markets.trade_paths import Branches, root_paths

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

W_PER_KW = 1e3
SUPPLY_NODE = 0
INFEASIBLE = 2
"""Status of a linear program without any feasible point."""


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
    drop, highest = _voltage_rows(feeder, load_kvar)
    n_order, n_line = len(orders.node), len(feeder.branches)
    other = np.zeros((n_line, n_order + 2))
    found = linprog(
        np.concatenate(
            [-orders.side * orders.price_eur_per_kwh, [import_price, -export_price], [0.0] * n_line]
        ),
        A_ub=np.block([[other, drop], [other, -drop]]),
        b_ub=np.concatenate([highest - feeder.v_min**2, feeder.v_max**2 - highest]),
        A_eq=_balance_rows(feeder.branches, orders),
        b_eq=load_kw,
        bounds=[
            *((0.0, float(most)) for most in orders.power_kw),
            *((0.0, None), (0.0, None)),
            *((-float(cap), float(cap)) for cap in feeder.cap_kw),
        ],
        method="highs",
    )
    if found.status == INFEASIBLE:
        return None
    if not found.success:
        raise MarketError(f"the market of the feeder was not cleared: {found.message}")
    accepted, _, flow = np.split(np.asarray(found.x), [n_order, n_order + 2])
    price = np.asarray(found.eqlin.marginals)
    at_nodes = sum_by_key(orders.node, orders.side * accepted, feeder.branches.n_node)
    withdrawn = load_kw + at_nodes
    net = float(withdrawn.sum())
    imports, exports = max(net, 0.0), max(-net, 0.0)
    supply_paid = import_price * imports - export_price * exports
    voltage2 = np.full(feeder.branches.n_node, feeder.v_supply**2)
    voltage2[feeder.branches.end] = highest - drop @ flow
    return FeederClearing(
        accepted_kw=accepted,
        price=price,
        flow_kw=flow,
        voltage=np.sqrt(voltage2),
        imports_kw=imports,
        exports_kw=exports,
        welfare_eur=float((orders.side * orders.price_eur_per_kwh) @ accepted) - supply_paid,
        network_rent_eur=float(price @ withdrawn) - supply_paid,
    )


def _voltage_rows(feeder: Feeder, load_kvar: Floats) -> tuple[Floats, Floats]:
    """Return how flows lower the squared voltage below each line, V^2 per kW, and it without any.

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
    above = 2.0 * W_PER_KW * paths[branches.end]
    reactive = above @ (feeder.x_ohm * path_flows_kw(paths, load_kvar))
    return above * feeder.r_ohm, feeder.v_supply**2 - reactive


def _balance_rows(branches: Branches, orders: FeederOrders) -> Floats:
    """Return what each order, import, export and flow brings to each node, shape (N, columns)."""
    n_order, n_line = len(orders.node), len(branches)
    brings = np.zeros((branches.n_node, n_order + 2 + n_line))
    brings[orders.node, np.arange(n_order)] = -orders.side
    brings[SUPPLY_NODE, n_order : n_order + 2] = 1.0, -1.0
    lines = n_order + 2 + np.arange(n_line)
    brings[branches.end, lines] = 1.0
    brings[branches.start, lines] = -1.0
    return brings
