"""Reactive power of PV plants in a run: their inverters between what the sun gives and the market.

Before the gate an inverter limits what its plant can offer to its apparent power, and says how much
reactive power goes with that. After clearing, the reactive power is that of what is really fed in.
A Q(U) characteristic sees the voltage of the slot before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tricell.simulators.inverter import Inverters, inverter_power
from tricell.simulators.population import FloatArray, IntArray


@dataclass(frozen=True)
class SteeredPlants:
    """Inverters in a slot, for whoever decides how much their plants feed in.

    Attributes
    ----------
    inverters : one per owner, which has no other plants.
    vm_pu : float64, shape (n_inverter,)
        Voltage that their characteristics see.
    other_kvar : float64, shape (n_agent,)
        Reactive power of all other plants, positive when generated.
    """

    inverters: Inverters
    vm_pu: FloatArray
    other_kvar: FloatArray

    def reactive_kvar(self, generation_kw: FloatArray) -> FloatArray:
        """Return the reactive power of all plants where their owners feed in some power.

        Parameters
        ----------
        generation_kw : float64, shape (n_agent,)
            What is fed in, kW; no more than `controlled` gave.

        Returns
        -------
        float64, shape (n_agent,)
            Positive when generated, kvar.
        """
        owner = self.inverters.agent
        fed_in = inverter_power(self.inverters, np.maximum(generation_kw[owner], 0.0), self.vm_pu)
        reactive = self.other_kvar.copy()
        reactive[owner] += fed_in.q_kvar
        return reactive


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
        """Return what inverters make of a slot.

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
        plants = SteeredPlants(self.inverters, vm_pu[self.node], q_generation_kvar)
        sun_kw = np.maximum(generation_kw[owner], 0.0)
        fed_in = inverter_power(self.inverters, sun_kw, plants.vm_pu)
        within, reactive = generation_kw.copy(), q_generation_kvar.copy()
        within[owner] -= fed_in.curtailed_kw
        reactive[owner] += fed_in.q_kvar
        return within, reactive, plants
