"""Appliances as a fleet: jobs that run once, whole, inside their hours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tricell.grid_models.arrays import sum_by_key
from tricell.simulators import shiftable_loads as jobs_of
from tricell.simulators.fleet import DeviceState
from tricell.simulators.population import FloatArray, IntArray


class ApplianceJobs:
    """Jobs of all homes; a device is what one owner's jobs draw together.

    A job cannot be divided, so that no market can take a part of it: whether it starts is decided
    before the orders of a slot, and what runs is firm load.

    Parameters
    ----------
    loads : the jobs.
    owner_names : name of every agent.

    Attributes
    ----------
    names : of the devices, one for each owner of jobs.
    agent : int64, shape (n_device,), owner of each device.
    charge_kw : float64, shape (n_device,), most that one owner's jobs may draw at once.
    power_kw : float64, shape (n_device,), what runs in this slot.
    """

    kind = "appliance"

    def __init__(self, loads: jobs_of.ShiftableLoads, owner_names: tuple[str, ...]) -> None:
        self._loads = loads
        self._start = jobs_of.none_started(loads)
        self.agent, self._device = np.unique(loads.agent, return_inverse=True)
        self.names = tuple(f"appliances of {owner_names[row]}" for row in self.agent)
        self.charge_kw = _most_at_once(loads, self._device, len(self.agent))
        self.discharge_kw = self.capacity_kwh = np.zeros(len(self.agent))
        self.power_kw = np.zeros(len(self.agent))
        self._missed = np.zeros(len(self.agent))

    def run(self, slot: int, price: FloatArray | None) -> FloatArray:
        """Start jobs and return what runs in a slot, kW, shape (n_device,).

        Parameters
        ----------
        slot : this slot; slots come one after the other.
        price : float64, shape (S, n_agent), what energy costs each owner from this slot on; None
            to start every job as early as it may.
        """
        loads, start = self._loads, self._start
        if price is None:
            wanted = jobs_of.may_start(loads, start, slot)
        else:
            wanted = jobs_of.start_cheapest(loads, start, slot, price[:, loads.agent])
        self._start = jobs_of.start_jobs(loads, start, slot, wanted)
        self.power_kw = self._by_device(jobs_of.power_of_jobs(loads, self._start, slot))
        just_missed = (loads.latest_start_slot == slot) & (self._start == jobs_of.NOT_STARTED)
        self._missed = self._by_device(np.where(just_missed, loads.energy_kwh, 0.0))
        return self.power_kw

    def _by_device(self, values: FloatArray) -> FloatArray:
        return sum_by_key(self._device, values, len(self.agent))

    def state(self) -> DeviceState:
        """Return that nothing is stored, and jobs that were missed."""
        return DeviceState.of(np.zeros(len(self.agent)), self._missed)

    def memory(self) -> Mapping[str, Any]:
        """Return when each job started."""
        return {"start": self._start}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on within a slot."""
        self._start = memory["start"]


def _most_at_once(loads: jobs_of.ShiftableLoads, device: IntArray, count: int) -> FloatArray:
    """Return the largest sum of peaks of each device's jobs that may run in one slot, kW."""
    peak_kw = loads.profile_kw.max(axis=1, initial=0.0)
    step_kw = np.concatenate([peak_kw, -peak_kw])
    slot = np.concatenate([loads.earliest_slot, loads.latest_end_slot])
    of = np.concatenate([device, device])
    order = np.lexsort((step_kw, slot, of))  # in one slot, what ends before what may begin
    most = np.zeros(count)
    np.maximum.at(most, of[order], np.cumsum(step_kw[order]))
    return np.asarray(np.round(most, 9))  # sums that go up and down end in residues
