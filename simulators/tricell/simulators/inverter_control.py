r"""Reactive power of PV plants in a run: their inverters between sun, market and grid.

* *Before the gate* an inverter limits what its plant can offer to its apparent power, and tells the
  market how much reactive power goes with that. A Q(U) characteristic takes the voltage of the slot
  before for it.
* *After clearing* reactive power is that of what is really fed in.
* *In the AC power flow* inverters with a Q(U) characteristic and voltages find each other, as they
  do within seconds in a grid: from slot to slot instead, large plants would swing. What was sold is
  fed in, so that now reactive power gives way where both exceed the apparent power.

For the last point let :math:`q` be the reactive power of all inverters, :math:`r = f(V(q)) - q`
what the characteristics miss. Each round adds :math:`\omega r` with the relaxation of Irons and
Tuck [1]_, :math:`\omega_k = -\omega_{k-1} r_{k-1} (r_k - r_{k-1}) / |r_k - r_{k-1}|^2`.

.. [1] Irons, Tuck 1969, A version of the Aitken accelerator for computer iteration, International
   Journal for Numerical Methods in Engineering 1, 275-277.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tricell.grid_models.arrays import sum_by_key
from tricell.grid_models.power_flow import PowerFlowState
from tricell.simulators.inverter import Inverters, ReactiveControl, inverter_power
from tricell.simulators.population import FloatArray, IntArray

SETTLED_SHARE = 1e-4
"""Reactive power has settled if it misses its characteristic by no more than this of the rating."""
MOST_ROUNDS = 40
FIRST_RELAXATION, LEAST_RELAXATION = 0.5, 0.05


@dataclass(frozen=True)
class SteeredPlants:
    """Inverters in a slot, for whoever decides how much their plants feed in.

    Attributes
    ----------
    inverters : one per owner, which has no other plants.
    node : int64, shape (n_inverter,)
        Electrical node of each.
    vm_pu : float64, shape (n_inverter,)
        Voltage that their characteristics see.
    other_kvar : float64, shape (n_agent,)
        Reactive power of all other plants, positive when generated.
    """

    inverters: Inverters
    node: IntArray
    vm_pu: FloatArray
    other_kvar: FloatArray

    @property
    def see_voltage(self) -> bool:
        """Whether any reactive power depends on the voltage."""
        return bool((self.inverters.control == ReactiveControl.VOLTAGE).any())

    def reactive_kvar(self, generation_kw: FloatArray) -> FloatArray:
        """Return the reactive power of all plants where their owners feed in some power.

        Parameters
        ----------
        generation_kw : float64, shape (n_agent,)
            What is fed in, kW; no more than `InverterControl.controlled` gave.

        Returns
        -------
        float64, shape (n_agent,)
            Positive when generated, kvar.
        """
        reactive = self.other_kvar.copy()
        reactive[self.inverters.agent] += self.inverter_kvar(generation_kw, self.vm_pu)
        return reactive

    def inverter_kvar(self, generation_kw: FloatArray, vm_pu: FloatArray) -> FloatArray:
        """Return the reactive power of each inverter at some voltages, shape (n_inverter,)."""
        fed_in_kw = np.maximum(generation_kw[self.inverters.agent], 0.0)
        asked = inverter_power(self.inverters, fed_in_kw, vm_pu).q_kvar
        room = np.sqrt(np.maximum(self.inverters.rated_kva**2 - fed_in_kw**2, 0.0))
        return np.clip(asked, -room, room)


@dataclass(frozen=True)
class InverterControl:
    """Inverters and where they stand.

    Attributes
    ----------
    inverters : one per owner, which has no other plants.
    node : int64, shape (n_inverter,)
        Electrical node of each.
    """

    inverters: Inverters
    node: IntArray

    def controlled(
        self, generation_kw: FloatArray, q_generation_kvar: FloatArray, vm_pu: FloatArray
    ) -> tuple[FloatArray, FloatArray, SteeredPlants]:
        """Return what inverters make of a slot before the gate.

        Parameters
        ----------
        generation_kw, q_generation_kvar : float64, shape (n_agent,)
            Available generation of all plants, and reactive power of those without an inverter.
        vm_pu : float64, shape (n_node,)
            Voltage of all nodes in the slot before.

        Returns
        -------
        tuple
            Available generation within the apparent power, reactive power of all plants if all
            that is fed in, and how the latter follows from what is fed in instead.
        """
        owner = self.inverters.agent
        plants = SteeredPlants(self.inverters, self.node, vm_pu[self.node], q_generation_kvar)
        sun_kw = np.maximum(generation_kw[owner], 0.0)
        fed_in = inverter_power(self.inverters, sun_kw, plants.vm_pu)
        within, reactive = generation_kw.copy(), q_generation_kvar.copy()
        within[owner] -= fed_in.curtailed_kw
        reactive[owner] += fed_in.q_kvar
        return within, reactive, plants


def settle(
    plants: SteeredPlants,
    generation_kw: FloatArray,
    q_node_kvar: FloatArray,
    solve: Callable[[FloatArray], PowerFlowState],
) -> tuple[FloatArray, PowerFlowState]:
    """Let characteristics and voltages of a slot find each other.

    Parameters
    ----------
    plants : SteeredPlants
    generation_kw : float64, shape (n_agent,)
        What is fed in, kW.
    q_node_kvar : float64, shape (n_node,)
        Consumption of the nodes, with the reactive power of the inverters at `plants.vm_pu`.
    solve : function of the consumption of the nodes
        AC power flow.

    Returns
    -------
    tuple
        Consumption of the nodes, kvar, and its AC power flow. After `MOST_ROUNDS` rounds the last
        ones are returned; they are consistent with each other.
    """
    now = plants.inverter_kvar(generation_kw, plants.vm_pu)
    rest = q_node_kvar + sum_by_key(plants.node, now, len(q_node_kvar))
    state = solve(q_node_kvar)
    relaxation, before = FIRST_RELAXATION, np.zeros(0)
    for _ in range(MOST_ROUNDS):
        missed = plants.inverter_kvar(generation_kw, state.vm_pu[plants.node]) - now
        if (np.abs(missed) <= SETTLED_SHARE * plants.inverters.rated_kva).all():
            break
        relaxation = _next_relaxation(relaxation, missed, before)
        now, before = now + relaxation * missed, missed
        q_node_kvar = rest - sum_by_key(plants.node, now, len(q_node_kvar))
        state = solve(q_node_kvar)
    return q_node_kvar, state


def _next_relaxation(relaxation: float, missed: FloatArray, before: FloatArray) -> float:
    """Return how much of what is missed is added; the first time there is no `before`."""
    if not len(before):
        return relaxation
    change = missed - before
    found = -relaxation * float(before @ change) / max(float(change @ change), 1e-300)
    return min(max(found, LEAST_RELAXATION), 1.0)
