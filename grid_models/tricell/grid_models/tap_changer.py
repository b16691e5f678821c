"""On-load tap changers: hold a voltage by stepping transformers, as the data say.

SimBench marks regulated transformers with ``autoTap``, ``autoTapSide`` and ``autoTapSetp``. A
tap changer moves only when the voltage leaves a dead band of more than half a step, so that it
does not hunt, and stays within its end positions. Transformers that regulate the same node move
together. Those nearer to the external grid move first; the others wait until it has settled.

A tap position changes a branch's complex ratio by a known factor, so the admittance matrices are
corrected instead of built anew, and kept per set of positions.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandapower as pp
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import dijkstra

from tricell.errors import GridError
from tricell.grid_models.area_tree import CELL_BELOW_KV, MICROGRID_BELOW_KV, element_name
from tricell.grid_models.electrical_grid import ElectricalGrid, column_or
from tricell.grid_models.findings import GridFinding
from tricell.grid_models.power_flow import Admittances, PowerFlow, PowerFlowState, factorise

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
ComplexArray = NDArray[np.complex128]

DEFAULT_SET_POINT_PU = 1.025
DEAD_BAND_STEPS = 0.6
"""Half width of the dead band in steps; above 0.5, so that one step never jumps across it."""
MAX_ROUNDS = 10
MAX_CACHED_POSITIONS = 32


@dataclass(frozen=True)
class TapChanger:
    """One regulated transformer.

    Attributes
    ----------
    row : int
        Row position in ``net.trafo``.
    branch, controlled_node : int
        Its branch and the node whose voltage it holds.
    tap_side, controlled_side : {"hv", "lv"}
    set_point_pu : float
        Voltage to hold [pu].
    position, neutral, lowest, highest : int
        Position in the data, neutral position and end positions.
    step_percent, step_degree : float
        Size of a step [percent] and its angle [degree].
    """

    row: int
    branch: int
    controlled_node: int
    tap_side: str
    controlled_side: str
    set_point_pu: float
    position: int
    neutral: int
    lowest: int
    highest: int
    step_percent: float
    step_degree: float

    @property
    def step_pu(self) -> float:
        """Change of the controlled voltage for one position up [pu]."""
        sign = 1.0 if self.tap_side == self.controlled_side else -1.0
        return sign * self.step_percent / 100.0

    def ratio_factor(self, position: int) -> complex:
        """Factor on the winding's rated voltage at a position, 1 at neutral.

        As in pandapower's tap changers of type "Ratio" and "Symmetrical".
        """
        steps = (position - self.neutral) * self.step_percent / 100.0
        return complex(1.0 + steps * np.exp(1j * np.deg2rad(self.step_degree)))


@dataclass(frozen=True)
class _Group:
    """Tap changers that regulate one node, moved as one."""

    members: tuple[int, ...]
    controlled_node: int
    set_point_pu: float
    step_pu: float
    depth: int


def find_tap_changers(
    net: pp.pandapowerNet, grid: ElectricalGrid, set_points_pu: Mapping[str, float] | None = None
) -> tuple[list[TapChanger], list[GridFinding]]:
    """Read the regulated transformers of a network.

    Parameters
    ----------
    net : pandapowerNet
    grid : ElectricalGrid
        Built from the same network.
    set_points_pu : mapping of str to float, optional
        Set-points [pu] of the low-voltage side by transformer name; they replace or add to what
        the data say.

    Returns
    -------
    tap_changers : list of TapChanger
    findings : list of GridFinding
        Assumptions: a set-point that the data do not give, a tap changer without steps.

    Raises
    ------
    GridError
        If a name in `set_points_pu` is no transformer.
    """
    trafo = net.trafo
    explicit = _explicit_set_points(net, set_points_pu or {})
    marked = column_or(trafo, "autoTap", 0.0) == 1.0
    set_points = column_or(trafo, "autoTapSetp", np.nan)
    tap_changers: list[TapChanger] = []
    findings: list[GridFinding] = []
    for row in np.flatnonzero(marked | np.isin(np.arange(len(trafo)), list(explicit))):
        if grid.trafo_branch[row] < 0:
            continue
        if fault := _why_not_regulated(trafo, int(row)):
            findings.append(_ignored(net, int(row), fault))
            continue
        set_point = explicit.get(int(row), float(set_points[row]))
        if np.isnan(set_point):
            set_point = _usual_set_point(net, marked, set_points, int(row))
            findings.append(_assumed(net, int(row), set_point))
        tap_changers.append(_tap_changer(trafo, grid, int(row), set_point, int(row) in explicit))
    return tap_changers, findings


def _explicit_set_points(net: pp.pandapowerNet, by_name: Mapping[str, float]) -> dict[int, float]:
    """Translate names of transformers into row positions."""
    row_of_name = {element_name(net, "trafo", row): row for row in range(len(net.trafo))}
    unknown = sorted(set(by_name) - set(row_of_name))
    if unknown:
        raise GridError(
            f"No transformer is called {', '.join(map(repr, unknown))}, but a set-point is given "
            f"for it. The network's transformers: {', '.join(sorted(row_of_name))}."
        )
    return {row_of_name[name]: float(value) for name, value in by_name.items()}


def _why_not_regulated(trafo: pd.DataFrame, row: int) -> str:
    """Say why a transformer cannot be regulated; empty if it can."""
    if "tap_side" not in trafo or trafo["tap_side"].iloc[row] not in ("hv", "lv"):
        return "it has no tap side"
    if column_or(trafo, "tap_step_percent", 0.0)[row] == 0.0:
        return "its tap step is missing or zero"
    if np.isnan(column_or(trafo, "tap_min", np.nan) + column_or(trafo, "tap_max", np.nan))[row]:
        return "its end positions are missing"
    if "tap_changer_type" in trafo and trafo["tap_changer_type"].iloc[row] == "Ideal":
        return "it shifts the phase only"
    if "tap_dependency_table" in trafo and trafo["tap_dependency_table"].iloc[row] is True:
        return "its impedance depends on the tap position"
    return ""


def _ignored(net: pp.pandapowerNet, row: int, fault: str) -> GridFinding:
    return GridFinding(
        severity="warning",
        table="trafo",
        row=row,
        name=element_name(net, "trafo", row),
        message=f"the transformer is marked as regulated, but {fault}",
        treatment="its tap position stays as the data give it",
    )


def _assumed(net: pp.pandapowerNet, row: int, set_point_pu: float) -> GridFinding:
    return GridFinding(
        severity="warning",
        table="trafo",
        row=row,
        name=element_name(net, "trafo", row),
        message="the transformer is regulated, but the data give no voltage set-point",
        treatment=f"{set_point_pu:.4g} pu is held, as at the other transformers of this level",
    )


def _usual_set_point(
    net: pp.pandapowerNet, marked: NDArray[np.bool_], set_points_pu: FloatArray, row: int
) -> float:
    """Mean set-point of the regulated transformers that feed the same voltage level."""
    borders_kv = [MICROGRID_BELOW_KV, CELL_BELOW_KV]
    level = np.digitize(net.trafo["vn_lv_kv"].to_numpy(dtype=float), borders_kv)
    peers = marked & ~np.isnan(set_points_pu) & (level == level[row])
    return round(float(set_points_pu[peers].mean()), 6) if peers.any() else DEFAULT_SET_POINT_PU


def _tap_changer(
    trafo: pd.DataFrame, grid: ElectricalGrid, row: int, set_point_pu: float, explicit: bool
) -> TapChanger:
    one = trafo.iloc[row]
    branch = int(grid.trafo_branch[row])
    side = "hv" if not explicit and one.get("autoTapSide") == "hv" else "lv"
    ends = {"hv": grid.branch_from, "lv": grid.branch_to}
    neutral = column_or(trafo, "tap_neutral", 0.0)[row]
    return TapChanger(
        row=row,
        branch=branch,
        controlled_node=int(ends[side][branch]),
        tap_side=str(one["tap_side"]),
        controlled_side=side,
        set_point_pu=set_point_pu,
        position=round(column_or(trafo, "tap_pos", float(neutral))[row]),
        neutral=round(neutral),
        lowest=round(one["tap_min"]),
        highest=round(one["tap_max"]),
        step_percent=float(one["tap_step_percent"]),
        step_degree=float(column_or(trafo, "tap_step_degree", 0.0)[row]),
    )


def admittances_at(
    grid: ElectricalGrid, tap_changers: Iterable[TapChanger], positions: Iterable[int]
) -> Admittances:
    """Correct a grid's admittances for new tap positions, and factorise them.

    A tap on the high-voltage side divides the from-side entries of the branch by the change of
    the ratio. A tap on the low-voltage side also changes the impedance in per unit, with the
    square of the ratio, as in pandapower.
    """
    taps, positions = list(tap_changers), [int(position) for position in positions]
    moved = [(tap.row, position) for tap, position in zip(taps, positions, strict=True)]
    branch = np.array([tap.branch for tap in taps], dtype=np.int64)
    change = np.array(
        [
            tap.ratio_factor(position) / tap.ratio_factor(tap.position)
            for tap, position in zip(taps, positions, strict=True)
        ],
        dtype=complex,
    )
    at_hv = np.array([tap.tap_side == "hv" for tap in taps], dtype=bool)
    start, end = grid.branch_from[branch], grid.branch_to[branch]
    both = (start, end)
    factor_ff = np.where(at_hv, 1.0 / np.abs(change) ** 2, 1.0)
    factor_ft = np.where(at_hv, 1.0 / np.conj(change), 1.0 / change)
    factor_tf = np.where(at_hv, 1.0 / change, 1.0 / np.conj(change))
    factor_tt = np.where(at_hv, 1.0, 1.0 / np.abs(change) ** 2)
    y_from, change_ff, change_ft = _scaled(grid.y_from, branch, both, (factor_ff, factor_ft))
    y_to, change_tf, change_tt = _scaled(grid.y_to, branch, both, (factor_tf, factor_tt))
    y_bus = grid.y_bus.copy()
    for row, column, added in (
        (start, start, change_ff),
        (start, end, change_ft),
        (end, start, change_tf),
        (end, end, change_tt),
    ):
        np.add.at(y_bus.data, _places(y_bus, row, column), added)
    return factorise(grid, y_bus, y_from, y_to, tuple(moved))


def _scaled(
    matrix: sp.csr_matrix,
    branch: IntArray,
    ends: tuple[IntArray, IntArray],
    factors: tuple[ComplexArray, ComplexArray],
) -> tuple[sp.csr_matrix, ComplexArray, ComplexArray]:
    """Scale the two entries of some branches; return the matrix and what was added to each."""
    scaled = matrix.copy()
    at_start, at_end = (_places(matrix, branch, end) for end in ends)
    scaled.data[at_start] *= factors[0]
    scaled.data[at_end] *= factors[1]
    added = scaled.data - matrix.data
    return scaled, added[at_start], added[at_end]


def _places(matrix: sp.csr_matrix, rows: IntArray, columns: IntArray) -> IntArray:
    """Find where the entries of a matrix with sorted rows stand in its data."""
    first, last = matrix.indptr[rows], matrix.indptr[rows + 1]
    return np.array(
        [
            begin + np.searchsorted(matrix.indices[begin:stop], column)
            for begin, stop, column in zip(first, last, columns, strict=True)
        ],
        dtype=np.int64,
    )


class TapController:
    """Runs the power flow and steps the regulated transformers until they hold.

    Attributes
    ----------
    tap_changers : tuple of TapChanger
    findings : tuple of GridFinding
        Assumptions made when the data were read.
    positions : array of int, one per tap changer
        Positions in force; part of a checkpoint.
    moves : int
        Steps made so far, all tap changers together.
    unsettled : int
        Slots in which a voltage was still outside its band after the last round although its
        tap changer could have moved.
    """

    def __init__(
        self,
        grid: ElectricalGrid,
        net: pp.pandapowerNet,
        power_flow: PowerFlow,
        set_points_pu: Mapping[str, float] | None = None,
    ) -> None:
        tap_changers, findings = find_tap_changers(net, grid, set_points_pu)
        self.tap_changers = tuple(tap_changers)
        self.findings = tuple(findings)
        self.moves = 0
        self.unsettled = 0
        self._grid = grid
        self._power_flow = power_flow
        self._groups = _group(grid, self.tap_changers)
        self._lowest = np.array([tap.lowest for tap in tap_changers], dtype=np.int64)
        self._highest = np.array([tap.highest for tap in tap_changers], dtype=np.int64)
        self._direction = np.array([np.sign(tap.step_pu) for tap in tap_changers], dtype=np.int64)
        self._cache: OrderedDict[tuple[int, ...], Admittances] = OrderedDict()
        self._positions = np.array([tap.position for tap in tap_changers], dtype=np.int64)
        self._cache[tuple(self._positions.tolist())] = power_flow.admittances

    @property
    def positions(self) -> IntArray:
        """Positions in force, one per tap changer."""
        return self._positions.copy()

    @positions.setter
    def positions(self, positions: IntArray) -> None:
        self._positions = np.asarray(positions, dtype=np.int64).copy()
        self._power_flow.admittances = self._admittances()

    @property
    def branch_ratio(self) -> FloatArray:
        """Tap ratio of every branch at the positions in force."""
        ratio = self._grid.branch_ratio.copy()
        for tap, position in zip(self.tap_changers, self._positions, strict=True):
            change = abs(tap.ratio_factor(int(position)) / tap.ratio_factor(tap.position))
            ratio[tap.branch] *= change if tap.tap_side == "hv" else 1.0 / change
        return ratio

    @property
    def vm_pu(self) -> FloatArray:
        """Voltage of every node in the solution before [pu]."""
        return np.abs(self._power_flow.start_voltage)

    def memory(self) -> dict[str, Any]:
        """Return all that later slots, and the counts of the run, depend on."""
        return {
            "positions": self.positions,
            "start_voltage": self._power_flow.start_voltage,
            "counts": [self.moves, self.unsettled, self._power_flow.fallbacks],
        }

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from `memory`, with the same bits."""
        self.positions = memory["positions"]
        self._power_flow.start_voltage = memory["start_voltage"]
        self.moves, self.unsettled, self._power_flow.fallbacks = memory["counts"]

    def regulate(self, p_kw: FloatArray, q_kvar: FloatArray) -> PowerFlowState:
        """Solve one slot, moving tap changers until their voltages are in the dead band.

        Parameters
        ----------
        p_kw, q_kvar : array of float, one per node
            Consumption [kW, kvar].

        Returns
        -------
        PowerFlowState
            At the final positions.
        """
        state = self._power_flow.solve(p_kw, q_kvar)
        seen = {tuple(self._positions.tolist())}
        for _ in range(MAX_ROUNDS):
            moved = self._next_positions(state.vm_pu)
            if moved is None:
                return state
            key = tuple(moved.tolist())
            if key in seen:
                break
            seen.add(key)
            self.moves += int(np.abs(moved - self._positions).sum())
            self.positions = moved
            state = self._power_flow.solve(p_kw, q_kvar)
        self.unsettled += self._next_positions(state.vm_pu) is not None
        return state

    def _next_positions(self, vm_pu: FloatArray) -> IntArray | None:
        """Move the groups nearest to the grid that are outside their band; None if none is."""
        steps = [self._steps(group, vm_pu) for group in self._groups]
        moving = [group.depth for group, step in zip(self._groups, steps, strict=True) if step]
        if not moving:
            return None
        positions = self._positions.copy()
        for group, step in zip(self._groups, steps, strict=True):
            if group.depth == min(moving):
                members = list(group.members)
                positions[members] += step * self._direction[members]
        return positions

    def _steps(self, group: _Group, vm_pu: FloatArray) -> int:
        """Count the steps up in voltage that bring a group's node nearest to its set-point."""
        wanted = (group.set_point_pu - vm_pu[group.controlled_node]) / group.step_pu
        if abs(wanted) <= DEAD_BAND_STEPS:
            return 0
        members = list(group.members)
        position, rising = self._positions[members], self._direction[members] > 0
        to_highest, to_lowest = self._highest[members] - position, position - self._lowest[members]
        room_up = int(np.where(rising, to_highest, to_lowest).min())
        room_down = int(np.where(rising, to_lowest, to_highest).min())
        return int(np.clip(round(wanted), -max(room_down, 0), max(room_up, 0)))

    def _admittances(self) -> Admittances:
        key = tuple(self._positions.tolist())
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        self._cache[key] = admittances_at(self._grid, self.tap_changers, key)
        if len(self._cache) > MAX_CACHED_POSITIONS:
            self._cache.popitem(last=False)
        return self._cache[key]


def _group(grid: ElectricalGrid, tap_changers: tuple[TapChanger, ...]) -> tuple[_Group, ...]:
    """Join tap changers that regulate one node, nearest to the external grid first."""
    depth = _regulated_transformers_before(grid, [tap.branch for tap in tap_changers])
    groups = []
    for node in sorted({tap.controlled_node for tap in tap_changers}):
        members = tuple(i for i, tap in enumerate(tap_changers) if tap.controlled_node == node)
        group = _Group(
            members=members,
            controlled_node=node,
            set_point_pu=float(np.mean([tap_changers[i].set_point_pu for i in members])),
            step_pu=max(abs(tap_changers[i].step_pu) for i in members),
            depth=int(depth[node]),
        )
        groups.append(group)
    return tuple(sorted(groups, key=lambda group: (group.depth, group.controlled_node)))


def _regulated_transformers_before(grid: ElectricalGrid, regulated: list[int]) -> IntArray:
    """Count the regulated transformers between the external grid and every node."""
    one_transformer = float(grid.n_branches + 1)
    weight = np.ones(grid.n_branches)
    weight[regulated] = one_transformer
    order = np.argsort(-weight, kind="stable")
    shape = (grid.n_nodes, grid.n_nodes)
    graph = sp.lil_matrix(shape)
    graph[grid.branch_from[order], grid.branch_to[order]] = weight[order]
    distance = dijkstra(graph.tocsr(), directed=False, indices=grid.slack_nodes, min_only=True)
    return (distance // one_transformer).astype(np.int64)
