r"""AC power flow of one network, fast enough to run every slot.

The bus admittance matrix is factorised once. With constant complex power at every node, the
voltages are the fixed point [1]_

.. math:: V = w + Y_{LL}^{-1} \overline{(S / V)}, \qquad w = -Y_{LL}^{-1} Y_{LS} V_S

where S holds the injected power of the load nodes L and :math:`V_S` the slack voltages. Each
iteration is one sparse triangular solve; it starts from the last slot's voltages. It converges
where the network is not close to voltage collapse (down to some 0.8 pu). Where it does not, or
where generators hold voltages, `pandapower.runpp` takes over, and that is counted.

References
----------
.. [1] C. Wang, A. Bernstein, J.-Y. Le Boudec, M. Paolone, "Explicit Conditions on Existence and
   Uniqueness of Load-Flow Solutions in Distribution Networks", IEEE Trans. Smart Grid 9(2), 2018.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandapower as pp
import scipy.sparse as sp
from numpy.typing import NDArray
from pandapower.powerflow import LoadflowNotConverged
from scipy.sparse.linalg import splu

from tricell.errors import PowerFlowError
from tricell.grid_models.arrays import take_or
from tricell.grid_models.electrical_grid import ElectricalGrid, private_copy, solve_newton

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
IntArray = NDArray[np.int64]

VOLTAGE_TOLERANCE_PU = 1e-9
"""Largest change of a voltage in the last iteration; the remaining error is smaller still."""
MAX_FIXED_POINT_ITERATIONS = 50
MAX_NEWTON_ITERATIONS = 30
KILO_PER_MEGA = 1e3


@dataclass(frozen=True, eq=False)
class Admittances:
    """The admittance matrices of one set of tap positions, and their factorisation.

    Attributes
    ----------
    y_bus, y_from, y_to : sparse complex matrices
        As in `ElectricalGrid` [pu].
    solve : function
        Solves ``Y_LL x = b`` for the load nodes.
    no_load_voltage : array of complex, one per load node
        Voltage with nothing connected [pu].
    tap_positions : tuple of (row in ``net.trafo``, position)
        Tap positions that differ from the data.
    """

    y_bus: sp.csr_matrix
    y_from: sp.csr_matrix
    y_to: sp.csr_matrix
    solve: Callable[[ComplexArray], ComplexArray]
    no_load_voltage: ComplexArray
    tap_positions: tuple[tuple[int, int], ...] = ()


def factorise(
    grid: ElectricalGrid,
    y_bus: sp.csr_matrix,
    y_from: sp.csr_matrix,
    y_to: sp.csr_matrix,
    tap_positions: tuple[tuple[int, int], ...] = (),
) -> Admittances:
    """Factorise the admittances between a grid's load nodes.

    The symmetric ordering without pivoting halves the time of every later solve. It is safe here
    because the diagonal of an admittance matrix dominates; a residual check guards it.
    """
    load_nodes = np.setdiff1d(np.arange(grid.n_nodes), grid.slack_nodes)
    rows = y_bus[load_nodes]
    among_loads = sp.csc_matrix(rows[:, load_nodes])
    slack_current = rows[:, grid.slack_nodes] @ grid.slack_voltage
    solve = splu(
        among_loads,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    ).solve
    no_load_voltage = -solve(slack_current)
    residual = np.abs(among_loads @ no_load_voltage + slack_current).max(initial=0.0)
    if not residual <= VOLTAGE_TOLERANCE_PU * max(1.0, np.abs(slack_current).max(initial=0.0)):
        solve = splu(among_loads).solve
        no_load_voltage = -solve(slack_current)
    return Admittances(y_bus, y_from, y_to, solve, no_load_voltage, tap_positions)


@dataclass(frozen=True, eq=False)
class PowerFlowState:
    """Voltages of one slot, and what follows from them.

    Flows are positive into the branch at either end, so that the two ends add up to its loss.

    Attributes
    ----------
    grid : ElectricalGrid
    admittances : Admittances
        The matrices that were in force.
    p_kw, q_kvar : array of float, one per node
        Consumption at each node [kW, kvar].
    v : array of complex, one per node
        Voltage [pu].
    iterations : int
        Iterations that were needed.
    method : {"fixed_point", "runpp"}
    """

    grid: ElectricalGrid
    admittances: Admittances
    p_kw: FloatArray
    q_kvar: FloatArray
    v: ComplexArray
    iterations: int
    method: str

    @property
    def _base_kva(self) -> float:
        return self.grid.base_mva * KILO_PER_MEGA

    @cached_property
    def vm_pu(self) -> FloatArray:
        """Voltage magnitude per node [pu]."""
        return np.abs(self.v)

    @cached_property
    def _current_from_pu(self) -> ComplexArray:
        return np.asarray(self.admittances.y_from @ self.v, dtype=complex)

    @cached_property
    def _current_to_pu(self) -> ComplexArray:
        return np.asarray(self.admittances.y_to @ self.v, dtype=complex)

    @cached_property
    def _power_from_kva(self) -> ComplexArray:
        return self.v[self.grid.branch_from] * np.conj(self._current_from_pu) * self._base_kva

    @cached_property
    def _power_to_kva(self) -> ComplexArray:
        return self.v[self.grid.branch_to] * np.conj(self._current_to_pu) * self._base_kva

    @property
    def p_from_kw(self) -> FloatArray:
        """Active power into each branch at its from end [kW]."""
        return self._power_from_kva.real

    @property
    def q_from_kvar(self) -> FloatArray:
        """Reactive power into each branch at its from end [kvar]."""
        return self._power_from_kva.imag

    @property
    def p_to_kw(self) -> FloatArray:
        """Active power into each branch at its to end [kW]."""
        return self._power_to_kva.real

    @property
    def q_to_kvar(self) -> FloatArray:
        """Reactive power into each branch at its to end [kvar]."""
        return self._power_to_kva.imag

    @cached_property
    def loss_kw(self) -> FloatArray:
        """Active power lost in each branch [kW]."""
        return self._power_from_kva.real + self._power_to_kva.real

    @cached_property
    def i_from_ka(self) -> FloatArray:
        """Current at the from end of each branch [kA]."""
        return np.abs(self._current_from_pu) * self.grid.base_current_from_ka

    @cached_property
    def i_to_ka(self) -> FloatArray:
        """Current at the to end of each branch [kA]."""
        return np.abs(self._current_to_pu) * self.grid.base_current_to_ka

    @cached_property
    def loading_percent(self) -> FloatArray:
        """Loading of each branch, of its more heavily loaded end [percent]; 0 if unrated."""
        from_end = self.i_from_ka / self.grid.branch_rating_from_ka
        to_end = self.i_to_ka / self.grid.branch_rating_to_ka
        return 100.0 * np.maximum(from_end, to_end)

    @property
    def bus_vm_pu(self) -> FloatArray:
        """Voltage magnitude per row of ``net.bus`` [pu]; NaN out of service."""
        return take_or(self.vm_pu, self.grid.node_of_bus, np.nan)

    @property
    def line_loading_percent(self) -> FloatArray:
        """Loading per row of ``net.line`` [percent]; 0 out of service."""
        return take_or(self.loading_percent, self.grid.line_branch, 0.0)

    @property
    def trafo_loading_percent(self) -> FloatArray:
        """Loading per row of ``net.trafo`` [percent]; 0 out of service."""
        return take_or(self.loading_percent, self.grid.trafo_branch, 0.0)

    @property
    def trafo3w_loading_percent(self) -> FloatArray:
        """Loading per row of ``net.trafo3w``, of its worst winding [percent]."""
        windings = take_or(self.loading_percent, self.grid.trafo3w_branch, 0.0)
        worst: FloatArray = windings.max(axis=1, initial=0.0)
        return worst

    @property
    def transformer_loading_percent(self) -> FloatArray:
        """Loading per row of ``net.trafo``, then of ``net.trafo3w`` [percent]."""
        return np.concatenate([self.trafo_loading_percent, self.trafo3w_loading_percent])

    @cached_property
    def slack_power_kva(self) -> ComplexArray:
        """Complex power that the external grid delivers at each slack node [kW + j kvar]."""
        nodes = self.grid.slack_nodes
        current_pu = np.asarray(self.admittances.y_bus[nodes] @ self.v, dtype=complex)
        into_network_kva: ComplexArray = self.v[nodes] * np.conj(current_pu) * self._base_kva
        return into_network_kva + self.p_kw[nodes] + 1j * self.q_kvar[nodes]


class PowerFlow:
    """Solves one network slot after slot.

    Attributes
    ----------
    grid : ElectricalGrid
    admittances : Admittances
        Matrices in force; a tap controller replaces them.
    start_voltage : array of complex, one per node
        Where the next solution starts from; part of a checkpoint, so that a resumed run gives
        the same bits.
    fallbacks : int
        How often `pandapower.runpp` had to solve.
    """

    def __init__(self, grid: ElectricalGrid, net: pp.pandapowerNet) -> None:
        self.grid = grid
        self.fallbacks = 0
        self._load_nodes = np.setdiff1d(np.arange(grid.n_nodes), grid.slack_nodes)
        self._newton = _NewtonFallback(grid, net)
        self.admittances = factorise(grid, grid.y_bus, grid.y_from, grid.y_to)
        self.start_voltage = self.no_load_voltage()

    def no_load_voltage(self) -> ComplexArray:
        """Voltage of every node with nothing connected [pu]."""
        v = np.empty(self.grid.n_nodes, dtype=complex)
        v[self._load_nodes] = self.admittances.no_load_voltage
        v[self.grid.slack_nodes] = self.grid.slack_voltage
        return v

    def solve(self, p_kw: FloatArray, q_kvar: FloatArray) -> PowerFlowState:
        """Find the voltages for one set of powers.

        Parameters
        ----------
        p_kw, q_kvar : array of float, one per node
            Consumption [kW, kvar]; generation is negative. The network's constant consumption
            (`ElectricalGrid.node_constant_p_kw`) is added here.

        Returns
        -------
        PowerFlowState

        Raises
        ------
        PowerFlowError
            If neither the fixed point nor Newton's method finds a solution.
        """
        grid = self.grid
        total_p_kw = p_kw + grid.node_constant_p_kw
        total_q_kvar = q_kvar + grid.node_constant_q_kvar
        if not len(grid.voltage_controlled_nodes):
            v, iterations = self._fixed_point(total_p_kw, total_q_kvar)
            if iterations <= MAX_FIXED_POINT_ITERATIONS:
                return self._state(total_p_kw, total_q_kvar, v, iterations, "fixed_point")
        else:
            v = self.start_voltage
        self.fallbacks += 1
        solved = self._newton.solve(p_kw, q_kvar, self.admittances.tap_positions)
        if solved is None:
            raise self._no_solution(total_p_kw, total_q_kvar, v)
        return self._state(total_p_kw, total_q_kvar, *solved, "runpp")

    def _state(
        self, p_kw: FloatArray, q_kvar: FloatArray, v: ComplexArray, iterations: int, method: str
    ) -> PowerFlowState:
        self.start_voltage = v
        return PowerFlowState(self.grid, self.admittances, p_kw, q_kvar, v, iterations, method)

    def _fixed_point(self, p_kw: FloatArray, q_kvar: FloatArray) -> tuple[ComplexArray, int]:
        """Iterate to the fixed point; more iterations than allowed mean that it failed."""
        nodes, solve = self._load_nodes, self.admittances.solve
        no_load_voltage = self.admittances.no_load_voltage
        base_kva = self.grid.base_mva * KILO_PER_MEGA
        injected_conj = ((-p_kw[nodes] + 1j * q_kvar[nodes]) / base_kva).astype(np.complex128)
        v = self.start_voltage[nodes]
        converged = VOLTAGE_TOLERANCE_PU**2
        iterations = MAX_FIXED_POINT_ITERATIONS + 1
        with np.errstate(all="ignore"):
            for iteration in range(1, MAX_FIXED_POINT_ITERATIONS + 1):
                current: ComplexArray = np.divide(injected_conj, np.conj(v))
                v_next = no_load_voltage + solve(current)
                step = v_next - v
                v = v_next
                if (step.real**2 + step.imag**2).max(initial=0.0) < converged:
                    iterations = iteration
                    break
        v_all = np.empty(self.grid.n_nodes, dtype=complex)
        v_all[nodes] = v
        v_all[self.grid.slack_nodes] = self.grid.slack_voltage
        return v_all, iterations

    def _no_solution(self, p_kw: FloatArray, q_kvar: FloatArray, v: ComplexArray) -> PowerFlowError:
        consumed, generated = p_kw.clip(min=0.0).sum(), (-p_kw).clip(min=0.0).sum()
        finite = np.where(np.isfinite(v), np.abs(v), np.inf)
        lowest = int(np.argmin(np.where(self.grid.node_vm_max_pu < np.inf, finite, np.inf)))
        return PowerFlowError(
            "The AC power flow has no solution that was found: "
            f"{consumed:,.0f} kW consumed, {generated:,.0f} kW generated, {q_kvar.sum():,.0f} kvar "
            f"consumed in sum. The lowest voltage seen was {finite[lowest]:.3f} pu at "
            f"{self._newton.bus_name(lowest)}. The network cannot carry this power: look for loads "
            "in the wrong unit (kW, not W or MW), lower them, raise the voltage of the external "
            "grid, or set up tap changers."
        )


class _NewtonFallback:
    """Newton's method of pandapower on a private copy with one load per node."""

    def __init__(self, grid: ElectricalGrid, net: pp.pandapowerNet) -> None:
        self._grid = grid
        self._source = net
        self._prepared: pp.pandapowerNet | None = None
        bus_rows = np.flatnonzero(grid.node_of_bus >= 0)
        self._nodes, first = np.unique(grid.node_of_bus[bus_rows], return_index=True)
        self._bus_rows = bus_rows[first]

    def bus_name(self, node: int) -> str:
        """Name the first bus of a node, for a message."""
        rows = self._bus_rows[self._nodes == node]
        if not len(rows):
            return "the star point of a transformer or a dead line end"
        return f"bus '{self._source.bus['name'].iloc[rows[0]]}' (row {rows[0]} of the bus table)"

    def solve(
        self, p_kw: FloatArray, q_kvar: FloatArray, tap_positions: tuple[tuple[int, int], ...]
    ) -> tuple[ComplexArray, int] | None:
        """Solve by Newton's method; None where it does not converge."""
        net = self._net()
        net.load["p_mw"] = p_kw[self._nodes] / KILO_PER_MEGA
        net.load["q_mvar"] = q_kvar[self._nodes] / KILO_PER_MEGA
        net.trafo["tap_pos"] = self._source.trafo["tap_pos"].to_numpy(dtype=float)
        for row, position in tap_positions:
            net.trafo.loc[net.trafo.index[row], "tap_pos"] = position
        try:
            solve_newton(net, max_iteration=MAX_NEWTON_ITERATIONS)
        except LoadflowNotConverged:
            return None
        model = net._ppc["internal"]
        return np.asarray(model["V"], dtype=complex), int(net._ppc["iterations"])

    def _net(self) -> pp.pandapowerNet:
        if self._prepared is None:
            self._prepared = private_copy(self._source)
            for table in ("load", "sgen", "storage"):
                self._prepared[table] = self._prepared[table].iloc[:0]
            buses = self._prepared.bus.index[self._bus_rows]
            pp.create_loads(self._prepared, buses, p_mw=0.0, q_mvar=0.0)
        return self._prepared
