"""A network as plain arrays: nodes, branches, ratings and admittances.

`build_electrical_grid` reads pandapower's own internal model, so that every number here is the
one `pandapower.runpp` works with. A *node* is an electrical point in service: all buses joined by
closed bus-bus switches are one node, and so are the star point of a three-winding transformer
and the dead end behind an open switch at a line. A *branch* joins two nodes.

Sign and units: kV, kA, and per unit on `base_mva` and the node's nominal voltage. The branch
model is MATPOWER's: an ideal transformer of ratio ``branch_ratio * exp(j branch_shift_rad)`` at
the from side, then a pi section [1]_.

References
----------
.. [1] R. D. Zimmerman, C. E. Murillo-Sanchez, R. J. Thomas, "MATPOWER: Steady-State Operations,
   Planning, and Analysis Tools for Power Systems", IEEE Trans. Power Systems 26(1), 2011.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, cached_property
from typing import Any

import numpy as np
import pandapower as pp
import pandas as pd
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from pandapower.powerflow import LoadflowNotConverged
from pandapower.pypower.idx_brch import BR_R, BR_X, F_BUS, SHIFT, T_BUS, TAP
from pandapower.pypower.idx_bus import BASE_KV, BUS_TYPE, PD, PV, QD, REF, VA, VM
from pandapower.pypower.makeYbus import makeYbus

from tricell.errors import GridError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
ComplexArray = NDArray[np.complex128]

DEFAULT_VM_MIN_PU = 0.9
DEFAULT_VM_MAX_PU = 1.1
NO_THERMAL_LIMIT_KA = 9999.0
"""Currents from here on are how data sets say "no thermal limit" (case33bw: 99999 kA)."""

UNSUPPORTED_TABLES = ("dcline", "line_dc", "svc", "ssc", "vsc", "tcsc")
"""Tables whose elements in service tricell cannot model."""


class BranchKind(IntEnum):
    """The pandapower table that a branch comes from."""

    LINE = 0
    TRAFO = 1
    TRAFO3W = 2
    IMPEDANCE = 3
    OTHER = 4


@dataclass(frozen=True, eq=False)
class ElectricalGrid:
    """Arrays of one network; see the module's docstring for the conventions.

    Attributes
    ----------
    base_mva : float
        Base power of every per-unit value [MVA].
    node_of_bus : array of int, one per row of ``net.bus``
        Node of each bus; -1 where the bus is out of service.
    node_vn_kv : array of float, one per node
        Nominal voltage [kV].
    node_vm_min_pu, node_vm_max_pu : array of float, one per node
        Tightest voltage band of the node's buses [pu]; 0 and inf at nodes that have no bus.
    node_constant_p_kw, node_constant_q_kvar : array of float, one per node
        Consumption that is neither load, sgen nor storage (wards, motors, ...) [kW, kvar].
    slack_nodes : array of int
        Nodes that an external grid holds.
    slack_voltage : array of complex, one per slack node
        Voltage held there [pu].
    voltage_controlled_nodes : array of int
        Nodes where a generator holds the voltage magnitude.
    branch_kind, branch_row, branch_side : arrays of int, one per branch
        Table (`BranchKind`), row position in that table, and winding of a three-winding
        transformer (0 high, 1 medium, 2 low; 0 for everything else).
    branch_from, branch_to : array of int, one per branch
        Nodes at the two ends.
    branch_r_pu, branch_x_pu : array of float, one per branch
        Series impedance [pu].
    branch_ratio : array of float, one per branch
        Magnitude of the tap ratio at the from side; 1 for lines.
    branch_shift_rad : array of float, one per branch
        Phase shift at the from side [rad].
    branch_rating_from_ka, branch_rating_to_ka : array of float, one per branch
        Rated current of each end [kA]; inf where the data hold no rating.
    branch_loading_limit_percent : array of float, one per branch
        ``max_loading_percent`` of the element; 100 where the data hold none.
    y_bus : sparse complex matrix, nodes x nodes
        Bus admittance [pu].
    y_from, y_to : sparse complex matrices, branches x nodes
        ``y_from @ v`` is the current into each branch at its from end [pu]. The entries of all
        three matrices are sorted.
    line_branch, trafo_branch : array of int, one per row of ``net.line``, ``net.trafo``
        Branch of each element; -1 where it is out of service.
    trafo3w_branch : array of int, one row per row of ``net.trafo3w``, 3 columns
        Branches of the high, medium and low winding; -1 where out of service.
    """

    base_mva: float
    node_of_bus: IntArray
    node_vn_kv: FloatArray
    node_vm_min_pu: FloatArray
    node_vm_max_pu: FloatArray
    node_constant_p_kw: FloatArray
    node_constant_q_kvar: FloatArray
    slack_nodes: IntArray
    slack_voltage: ComplexArray
    voltage_controlled_nodes: IntArray
    branch_kind: NDArray[np.int8]
    branch_row: IntArray
    branch_side: NDArray[np.int8]
    branch_from: IntArray
    branch_to: IntArray
    branch_r_pu: FloatArray
    branch_x_pu: FloatArray
    branch_ratio: FloatArray
    branch_shift_rad: FloatArray
    branch_rating_from_ka: FloatArray
    branch_rating_to_ka: FloatArray
    branch_loading_limit_percent: FloatArray
    y_bus: sp.csr_matrix
    y_from: sp.csr_matrix
    y_to: sp.csr_matrix
    line_branch: IntArray
    trafo_branch: IntArray
    trafo3w_branch: IntArray

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return len(self.node_vn_kv)

    @property
    def n_branches(self) -> int:
        """Number of branches."""
        return len(self.branch_from)

    @property
    def transformer_branch(self) -> IntArray:
        """Branch of each row of ``net.trafo``, then the high winding of each of ``net.trafo3w``."""
        return np.concatenate([self.trafo_branch, self.trafo3w_branch[:, 0]])

    @cached_property
    def base_current_from_ka(self) -> FloatArray:
        """Current of 1 pu at the from end of each branch [kA]."""
        return _rated_current_ka(self.base_mva, self.node_vn_kv[self.branch_from])

    @cached_property
    def base_current_to_ka(self) -> FloatArray:
        """Current of 1 pu at the to end of each branch [kA]."""
        return _rated_current_ka(self.base_mva, self.node_vn_kv[self.branch_to])

    def sum_to_nodes(self, bus_rows: ArrayLike, values: ArrayLike) -> FloatArray:
        """Add up values that stand at buses, per node.

        Parameters
        ----------
        bus_rows : array of int
            Row position in ``net.bus`` of each value.
        values : array of float
            One value per entry of `bus_rows`, in any unit.

        Returns
        -------
        array of float, one per node
            Sums in the same unit; what stands at a bus out of service is left out.
        """
        nodes = self.node_of_bus[np.asarray(bus_rows, dtype=np.int64)]
        live = nodes >= 0
        weights = np.broadcast_to(np.asarray(values, dtype=float), nodes.shape)
        return _sums(nodes[live], weights[live], self.n_nodes)


def build_electrical_grid(
    net: pp.pandapowerNet,
    vm_min_pu: float = DEFAULT_VM_MIN_PU,
    vm_max_pu: float = DEFAULT_VM_MAX_PU,
) -> ElectricalGrid:
    """Read a pandapower network into arrays.

    The network itself is not changed. Loads, generation and storage play no part.

    Parameters
    ----------
    net : pandapowerNet
        Any balanced network with at least one external grid.
    vm_min_pu, vm_max_pu : float
        Voltage band of buses for which the network states none [pu].

    Returns
    -------
    ElectricalGrid

    Raises
    ------
    GridError
        If the network has no external grid in service, or elements that tricell cannot model.
    """
    _refuse_unsupported(net)
    solved = _solved_without_load(net)
    model = solved._ppc["internal"]
    bus, branch = model["bus"], model["branch"]
    node_of_bus = _nodes_of_buses(solved, len(bus))
    vm_min, vm_max = _node_voltage_band(net, node_of_bus, len(bus), vm_min_pu, vm_max_pu)
    slack_nodes = np.flatnonzero(bus[:, BUS_TYPE] == REF)
    slack_angle = np.deg2rad(bus[slack_nodes, VA])
    y_bus, y_from, y_to = makeYbus(model["baseMVA"], bus, branch)
    kind, row, side = _origin_of_branches(solved, model["branch_is"])
    rating_from_ka, rating_to_ka, loading_limit = _branch_limits(net, kind, row, side)
    tap = branch[:, TAP].real
    return ElectricalGrid(
        base_mva=float(model["baseMVA"]),
        node_of_bus=node_of_bus,
        node_vn_kv=bus[:, BASE_KV].real.astype(float),
        node_vm_min_pu=vm_min,
        node_vm_max_pu=vm_max,
        node_constant_p_kw=bus[:, PD].real * 1e3 - _generator_p_kw(net, node_of_bus, len(bus)),
        node_constant_q_kvar=bus[:, QD].real * 1e3,
        slack_nodes=slack_nodes.astype(np.int64),
        slack_voltage=bus[slack_nodes, VM] * np.exp(1j * slack_angle),
        voltage_controlled_nodes=np.flatnonzero(bus[:, BUS_TYPE] == PV).astype(np.int64),
        branch_kind=kind,
        branch_row=row,
        branch_side=side,
        branch_from=branch[:, F_BUS].real.astype(np.int64),
        branch_to=branch[:, T_BUS].real.astype(np.int64),
        branch_r_pu=branch[:, BR_R].real.astype(float),
        branch_x_pu=branch[:, BR_X].real.astype(float),
        branch_ratio=np.where(tap == 0, 1.0, tap),
        branch_shift_rad=np.deg2rad(branch[:, SHIFT].real),
        branch_rating_from_ka=rating_from_ka,
        branch_rating_to_ka=rating_to_ka,
        branch_loading_limit_percent=loading_limit,
        y_bus=_canonical(y_bus),
        y_from=_canonical(y_from),
        y_to=_canonical(y_to),
        line_branch=_branch_of_rows(kind, row, BranchKind.LINE, len(net.line)),
        trafo_branch=_branch_of_rows(kind, row, BranchKind.TRAFO, len(net.trafo)),
        trafo3w_branch=_branches_of_three_winding(kind, row, side, len(net.trafo3w)),
    )


def activate_tap_changers(net: pp.pandapowerNet) -> None:
    """Give every transformer with a tap side a tap changer type, in place.

    pandapower 3 ignores tap positions where ``tap_changer_type`` is empty, which it is in
    SimBench's data and in files written by older versions. Such a tap changer is taken as
    "Ratio", or as "Ideal" where the old ``tap_phase_shifter`` is true; its impedance does not
    depend on the tap.
    """
    for table in ("trafo", "trafo3w"):
        trafo = net[table]
        if trafo.empty or "tap_side" not in trafo:
            continue
        given = trafo.get("tap_changer_type", pd.Series(None, index=trafo.index, dtype=object))
        shifter = trafo.get("tap_phase_shifter", pd.Series(False, index=trafo.index)) == True  # noqa: E712 (the column may hold NA)
        if "tap_dependency_table" not in trafo:
            trafo["tap_dependency_table"] = False
        missing = given.isna() & trafo["tap_side"].isin(["hv", "mv", "lv"])
        filled = given.astype(object).mask(missing, "Ratio").mask(missing & shifter, "Ideal")
        trafo["tap_changer_type"] = filled


def solve_newton(net: pp.pandapowerNet, **options: Any) -> None:
    """Run `pandapower.runpp` with voltage angles, in place.

    It starts from a DC power flow; that divides by reactances, so that with a line of mere
    resistance it starts flat.
    """
    try:
        pp.runpp(net, init="dc", calculate_voltage_angles=True, numba=False, **options)
    except FloatingPointError:
        pp.runpp(net, init="flat", calculate_voltage_angles=True, numba=False, **options)


def private_copy(net: pp.pandapowerNet) -> pp.pandapowerNet:
    """Copy a network's element tables, so that a power flow leaves the original alone.

    Profiles, old results and the internal model of an earlier power flow are not copied: they
    are what makes a deep copy of a SimBench network slow.
    """
    copied = copy.deepcopy(_empty_network())
    for key in ("name", "f_hz", "sn_mva"):
        copied[key] = net[key]
    for key, value in net.items():
        if isinstance(value, pd.DataFrame) and not key.startswith(("_", "res_")):
            copied[key] = value.copy()
        elif key in ("std_types", "characteristic"):
            copied[key] = copy.deepcopy(value)
    activate_tap_changers(copied)
    return copied


@cache
def _empty_network() -> pp.pandapowerNet:
    """Build a network to copy: that takes 0.2 s, a copy 0.01 s."""
    return pp.create_empty_network()


def column_or(table: pd.DataFrame, name: str, default: float) -> FloatArray:
    """Read a column as floats, with a default where it is absent or empty."""
    if name not in table:
        return np.full(len(table), default)
    values = pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    return np.where(np.isnan(values), default, values)


def _refuse_unsupported(net: pp.pandapowerNet) -> None:
    for table in UNSUPPORTED_TABLES:
        elements = net[table] if table in net else pd.DataFrame()
        if len(elements) and column_or(elements, "in_service", 1.0).any():
            raise GridError(
                f"The network has {len(elements)} element(s) in its table '{table}', which tricell "
                "cannot model: only AC lines, transformers and impedances join buses here. "
                "Set them out of service or replace them by loads of the same power."
            )


def _solved_without_load(net: pp.pandapowerNet) -> pp.pandapowerNet:
    """Run one power flow on a private copy whose loads, sgens and storages carry nothing."""
    solved = private_copy(net)
    for table in ("load", "sgen", "storage"):
        for name in ("p_mw", "q_mvar"):
            solved[table][name] = 0.0
    solved.gen["p_mw"] = 0.0
    try:
        solve_newton(solved)
    except LoadflowNotConverged as error:
        raise GridError(
            "The network has no power flow solution even without any load. Look for an impedance "
            "of zero or of the wrong sign, and for transformers of very different ratio in "
            "parallel; pandapower.diagnostic(net) names the usual suspects."
        ) from error
    except UserWarning as error:
        raise GridError(
            f"pandapower cannot build the network's model: {error}. "
            "A network needs an 'ext_grid' in service at a bus in service."
        ) from error
    return solved


def _canonical(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Sort a matrix's entries, one per place, so that they can be found and replaced."""
    rows = sp.csr_matrix(matrix.astype(np.complex128))
    rows.sum_duplicates()
    return rows


def _nodes_of_buses(solved: pp.pandapowerNet, n_nodes: int) -> IntArray:
    lookup = np.asarray(solved._pd2ppc_lookups["bus"], dtype=np.int64)
    node = lookup[solved.bus.index.to_numpy()]
    live = solved.bus.in_service.to_numpy(dtype=bool) & (node >= 0) & (node < n_nodes)
    return np.where(live, node, -1)


def _node_voltage_band(
    net: pp.pandapowerNet,
    node_of_bus: IntArray,
    n_nodes: int,
    default_min: float,
    default_max: float,
) -> tuple[FloatArray, FloatArray]:
    """Tightest band over the buses of each node; open where a node has no bus."""
    live = node_of_bus >= 0
    vm_min, vm_max = np.zeros(n_nodes), np.full(n_nodes, np.inf)
    bus_min = column_or(net.bus, "min_vm_pu", default_min)
    bus_max = column_or(net.bus, "max_vm_pu", default_max)
    np.maximum.at(vm_min, node_of_bus[live], bus_min[live])
    np.minimum.at(vm_max, node_of_bus[live], bus_max[live])
    return vm_min, vm_max


def _generator_p_kw(net: pp.pandapowerNet, node_of_bus: IntArray, n_nodes: int) -> FloatArray:
    """Add up the fixed feed-in of voltage-controlling generators per node [kW]."""
    bus_row = net.bus.index.get_indexer(net.gen.bus)
    nodes = node_of_bus[bus_row]
    running = net.gen.in_service.to_numpy(dtype=bool) & (nodes >= 0)
    p_kw = net.gen.p_mw.to_numpy(dtype=float) * column_or(net.gen, "scaling", 1.0) * 1e3
    return _sums(nodes[running], p_kw[running], n_nodes)


def _sums(places: IntArray, weights: FloatArray, n_places: int) -> FloatArray:
    return np.bincount(places, weights=weights, minlength=n_places).astype(np.float64, copy=False)


def _origin_of_branches(
    solved: pp.pandapowerNet, in_service: NDArray[np.bool_]
) -> tuple[NDArray[np.int8], IntArray, NDArray[np.int8]]:
    """Table, row position and winding of every branch in service, in pandapower's order."""
    spans: Mapping[str, tuple[int, int]] = solved._pd2ppc_lookups["branch"]
    kinds = {
        "line": BranchKind.LINE,
        "trafo": BranchKind.TRAFO,
        "trafo3w": BranchKind.TRAFO3W,
        "impedance": BranchKind.IMPEDANCE,
    }
    kind = np.full(len(in_service), BranchKind.OTHER, dtype=np.int8)
    row = np.zeros(len(in_service), dtype=np.int64)
    side = np.zeros(len(in_service), dtype=np.int8)
    for table, (first, end) in spans.items():
        position = np.arange(end - first)
        n_rows = len(position) // 3 if table == "trafo3w" else len(position)
        kind[first:end] = kinds.get(table, BranchKind.OTHER)
        row[first:end] = position % n_rows
        side[first:end] = position // n_rows
    return kind[in_service], row[in_service], side[in_service]


def _branch_limits(
    net: pp.pandapowerNet, kind: NDArray[np.int8], row: IntArray, side: NDArray[np.int8]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rated current at the from and to end [kA] and the loading limit [percent]."""
    rating_from, rating_to = np.full(len(kind), np.inf), np.full(len(kind), np.inf)
    limit = np.full(len(kind), 100.0)

    lines = kind == BranchKind.LINE
    line_ka = line_rating_ka(net)[row[lines]]
    rating_from[lines] = rating_to[lines] = line_ka
    limit[lines] = column_or(net.line, "max_loading_percent", 100.0)[row[lines]]

    trafos = kind == BranchKind.TRAFO
    rated_mva = trafo_rating_mva(net)[row[trafos]]
    rating_from[trafos] = _rated_current_ka(
        rated_mva, column_or(net.trafo, "vn_hv_kv", 1.0)[row[trafos]]
    )
    rating_to[trafos] = _rated_current_ka(
        rated_mva, column_or(net.trafo, "vn_lv_kv", 1.0)[row[trafos]]
    )
    limit[trafos] = column_or(net.trafo, "max_loading_percent", 100.0)[row[trafos]]

    for winding, outer_end in ((0, rating_from), (1, rating_to), (2, rating_to)):
        name = ("hv", "mv", "lv")[winding]
        windings = (kind == BranchKind.TRAFO3W) & (side == winding)
        rated_mva = _positive_or_inf(column_or(net.trafo3w, f"sn_{name}_mva", np.inf))
        vn_kv = column_or(net.trafo3w, f"vn_{name}_kv", 1.0)
        outer_end[windings] = _rated_current_ka(rated_mva, vn_kv)[row[windings]]
        limit[windings] = column_or(net.trafo3w, "max_loading_percent", 100.0)[row[windings]]
    return rating_from, rating_to, limit


def line_rating_ka(net: pp.pandapowerNet) -> FloatArray:
    """Rated current of every line [kA]; inf where the data hold no thermal limit."""
    one_system_ka = column_or(net.line, "max_i_ka", np.inf)
    one_system_ka = np.where(one_system_ka >= NO_THERMAL_LIMIT_KA, np.inf, one_system_ka)
    factor = column_or(net.line, "df", 1.0) * column_or(net.line, "parallel", 1.0)
    return _positive_or_inf(one_system_ka * factor)


def trafo_rating_mva(net: pp.pandapowerNet) -> FloatArray:
    """Rated power of every two-winding transformer [MVA]; inf where the data hold none."""
    factor = column_or(net.trafo, "df", 1.0) * column_or(net.trafo, "parallel", 1.0)
    return _positive_or_inf(column_or(net.trafo, "sn_mva", np.inf) * factor)


def _positive_or_inf(values: FloatArray) -> FloatArray:
    return np.where(values > 0, values, np.inf)


def _rated_current_ka(rated_mva: FloatArray | float, vn_kv: FloatArray) -> FloatArray:
    return rated_mva / (float(np.sqrt(3.0)) * vn_kv)


def _branch_of_rows(
    kind: NDArray[np.int8], row: IntArray, wanted: BranchKind, n_rows: int
) -> IntArray:
    branches = np.flatnonzero(kind == wanted)
    found = np.full(n_rows, -1, dtype=np.int64)
    found[row[branches]] = branches
    return found


def _branches_of_three_winding(
    kind: NDArray[np.int8], row: IntArray, side: NDArray[np.int8], n_rows: int
) -> IntArray:
    branches = np.flatnonzero(kind == BranchKind.TRAFO3W)
    found = np.full((n_rows, 3), -1, dtype=np.int64)
    found[row[branches], side[branches]] = branches
    return found
