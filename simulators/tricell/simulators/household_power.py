"""Power of every agent for a block of slots: profile rows times rated power, summed by agent.

For one quantity (load, generation, each active and reactive) the sum over the devices d of agent
a is ``p[t, a] = sum_d rated[d] * profile[t, column[d]]``. Devices of one agent that share a
profile column merge into one coefficient, so the sum is a product of the profile rows with a
sparse matrix (n_agent, n_column) that is built once. Only the block that is asked for is in
memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tricell.simulators.population import (
    NO_PROFILE,
    BoolArray,
    FloatArray,
    IntArray,
    Population,
    Profiles,
)


@dataclass(frozen=True)
class PowerBlock:
    """Power of all agents in a block of slots, arrays of shape (n_slot, n_agent).

    Attributes
    ----------
    p_load_kw : float64
        Consumption of all loads, kW.
    q_load_kvar : float64
        Reactive power consumed by the loads, kvar.
    p_generation_available_kw : float64
        Generation before any curtailment, kW, positive.
    q_generation_kvar : float64
        Reactive power of the generators with the sign of the data (generated), kvar.
    """

    p_load_kw: FloatArray
    q_load_kvar: FloatArray
    p_generation_available_kw: FloatArray
    q_generation_kvar: FloatArray


class AgentPower:
    """Computes `PowerBlock` objects of a population.

    Parameters
    ----------
    population : Population
        Agents, devices and profiles.

    Examples
    --------
    >>> from tricell.simulators.population import AgentKind, AgentTable, Batteries, DeviceKind
    >>> from tricell.simulators.population import Devices, Population, Profiles
    >>> one, none = np.array([0]), np.empty(0)
    >>> house = Population(
    ...     AgentTable(("house",), one, np.array([AgentKind.HOUSEHOLD])),
    ...     Devices(("load",), one, np.array([DeviceKind.BASE_LOAD]), np.array([False]),
    ...             one, np.array([4.0]), np.array([-1]), np.array([0.0])),
    ...     Batteries(np.empty(0, int), none, none, none, none, none, none, none),
    ...     Profiles(np.array([[0.25], [0.5]], np.float32), ("h0",),
    ...              np.datetime64("2016-01-01T00:00:00"), 900),
    ... )
    >>> AgentPower(house).block(0, 2).p_load_kw
    array([[1.],
           [2.]])
    """

    def __init__(self, population: Population) -> None:
        devices = population.devices
        n_agent = len(population.agents)
        self._profiles: Profiles = population.profiles

        def matrix(chosen: BoolArray, column: IntArray, rated: FloatArray) -> _AgentMatrix:
            chosen = chosen & (column != NO_PROFILE) & (rated != 0)
            return _AgentMatrix(devices.agent[chosen], column[chosen], rated[chosen], n_agent)

        load, generation = ~devices.generates, devices.generates
        self._p_load = matrix(load, devices.p_profile, devices.rated_kw)
        self._q_load = matrix(load, devices.q_profile, devices.rated_kvar)
        self._p_generation = matrix(generation, devices.p_profile, devices.rated_kw)
        self._q_generation = matrix(generation, devices.q_profile, devices.rated_kvar)

    def block(self, first_row: int, slots: int) -> PowerBlock:
        """Power of all agents for some consecutive slots.

        Parameters
        ----------
        first_row : int
            Profile row of the first slot, from `Profiles.first_row` plus the slot number.
        slots : int
            Number of slots; a day (96) is a good block.

        Returns
        -------
        PowerBlock
            Fresh read-only arrays of shape (slots, n_agent).
        """
        rows = self._profiles.values[first_row : first_row + slots]
        return PowerBlock(
            p_load_kw=self._p_load.apply(rows),
            q_load_kvar=self._q_load.apply(rows),
            p_generation_available_kw=self._p_generation.apply(rows),
            q_generation_kvar=self._q_generation.apply(rows),
        )


class _AgentMatrix:
    """Sparse sum of rated power over the devices of each agent, on the columns in use."""

    def __init__(self, agent: IntArray, column: IntArray, rated: FloatArray, n_agent: int) -> None:
        self._columns, position = np.unique(column, return_inverse=True)
        shape = (n_agent, len(self._columns))
        self._rated = sparse.csr_array((rated, (agent, position)), shape=shape)

    def apply(self, rows: NDArray[np.float32]) -> FloatArray:
        """Return power (n_row, n_agent) of profile rows (n_row, n_column)."""
        used = np.ascontiguousarray(rows[:, self._columns].T, dtype=np.float64)
        power: FloatArray = np.ascontiguousarray((self._rated @ used).T)
        power.flags.writeable = False
        return power
