"""Shiftable appliances: runs with a fixed power profile that start once and are not interrupted.

A *job* is one run of an appliance (a wash, a drying cycle) with the slots in which it may run. A
job that has started takes its profile slot by slot; a job that has not may start as long as it
ends in time, and has to start when that is about to become impossible. Everything is an array
over the jobs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tricell.errors import DataError, SimulatorError
from tricell.simulators.device_checks import NamedDevices, PowerBand, require_hours
from tricell.simulators.population import BoolArray, FloatArray, IntArray

KIND = "shiftable load"
NOT_STARTED = -1
"""Start of a job that has not started."""


@dataclass(frozen=True)
class ShiftableLoads:
    """Jobs of appliances, arrays of shape (n_job,).

    Attributes
    ----------
    name : tuple of str
        Unique names, for errors, such as ``"dishwasher of house 3, day 2"``.
    agent : int64
        Row of the owner in the table of agents.
    profile_kw : float64, shape (n_job, n_longest)
        Power in each slot from the start on, kW, at least 0; 0 after the job's own slots.
    slots : int64
        How many slots the job takes, from 1 to n_longest.
    earliest_slot : int64
        First slot in which it may run, at least 0.
    latest_end_slot : int64
        First slot in which it may no longer run.
    hours : float
        Length of a slot, h.

    Raises
    ------
    DataError
        If a value is not allowed; the job is named.
    """

    name: tuple[str, ...]
    agent: IntArray
    profile_kw: FloatArray
    slots: IntArray
    earliest_slot: IntArray
    latest_end_slot: IntArray
    hours: float

    def __post_init__(self) -> None:
        require_hours(self.hours)
        keys = ("agent", "profile_kw", "slots", "earliest_slot", "latest_end_slot")
        check = NamedDevices(KIND, self.name)
        check.require_columns({key: getattr(self, key) for key in keys})
        longest = self.profile_kw.shape[1]
        possible = (self.slots >= 1) & (self.slots <= longest)
        check.require("slots", self.slots, possible, f"from 1 to {longest}")
        check.require_not_negative(least_profile_kw=self.profile_kw.min(axis=1))
        check.require_not_negative(energy_kwh=self.energy_kwh)
        check.require("energy_kwh", self.energy_kwh, self.energy_kwh > 0, "above 0")
        after = np.arange(longest) >= self.slots[:, None]
        tail = np.where(after, self.profile_kw, 0.0).sum(axis=1)
        check.require("power after its slots", tail, tail == 0, "0 kW")
        early = self.earliest_slot >= 0
        check.require("earliest_slot", self.earliest_slot, early, "at least 0")
        wide = self.latest_end_slot - self.earliest_slot >= self.slots
        check.require(
            "latest_end_slot",
            self.latest_end_slot,
            wide,
            "so late that the whole profile fits after earliest_slot",
        )

    def __len__(self) -> int:
        return len(self.name)

    @property
    def latest_start_slot(self) -> IntArray:
        """Last slot in which a job can start and still end in time, shape (n_job,)."""
        return np.asarray(self.latest_end_slot - self.slots)

    @property
    def energy_kwh(self) -> FloatArray:
        """Energy of each job, kWh, shape (n_job,)."""
        return np.asarray(self.profile_kw.sum(axis=1) * self.hours)


def none_started(loads: ShiftableLoads) -> IntArray:
    """Return the state in which no job has started, int64, shape (n_job,)."""
    return np.full(len(loads), NOT_STARTED, dtype=np.int64)


def may_start(loads: ShiftableLoads, start_slot: IntArray, slot: int) -> BoolArray:
    """Return which jobs can start in a slot, shape (n_job,)."""
    in_time = (loads.earliest_slot <= slot) & (slot <= loads.latest_start_slot)
    return np.asarray((start_slot == NOT_STARTED) & in_time)


def must_start(loads: ShiftableLoads, start_slot: IntArray, slot: int) -> BoolArray:
    """Return which jobs can start in this slot for the last time, shape (n_job,)."""
    return np.asarray((start_slot == NOT_STARTED) & (slot == loads.latest_start_slot))


def start_cheapest(
    loads: ShiftableLoads, start_slot: IntArray, slot: int, price_eur_per_kwh: FloatArray
) -> BoolArray:
    """Start jobs whose cheapest start is now, the earliest of equally cheap ones.

    Starts for which not all prices are known do not count; a job that must start does.

    Parameters
    ----------
    loads : ShiftableLoads
    start_slot : int64, shape (n_job,)
        Start of each job, `NOT_STARTED` for none.
    slot : int
        This slot.
    price_eur_per_kwh : float64, shape (n_slot,) or (n_slot, n_job)
        Prices from this slot on, EUR/kWh.

    Returns
    -------
    bool, shape (n_job,)
        Which jobs start now.

    Raises
    ------
    DataError
        If there is no price for this slot.
    """
    if not len(price_eur_per_kwh):
        raise DataError("shiftable loads start when it is cheapest: no price is given")
    # most jobs have started or wait for later: only those that may start now are looked at
    rows = np.flatnonzero(may_start(loads, start_slot, slot))
    starts = np.zeros(len(loads), dtype=np.bool_)
    if len(rows):
        starts[rows] = _cheapest_is_now(loads, rows, slot, price_eur_per_kwh)
    return np.asarray(starts | must_start(loads, start_slot, slot))


def _cheapest_is_now(
    loads: ShiftableLoads, rows: IntArray, slot: int, price_eur_per_kwh: FloatArray
) -> BoolArray:
    """Return for some jobs whether no later start is cheaper than this slot's."""
    last = loads.latest_start_slot[rows] - slot
    lengths, profile = loads.slots[rows], loads.profile_kw[rows]
    longest = profile.shape[1]
    offsets = min(len(price_eur_per_kwh), int(last.max()) + 1)
    price = price_eur_per_kwh[: offsets + longest - 1]
    known = price[:, rows] if price.ndim > 1 else np.broadcast_to(price[:, None], (len(price), 1))
    padding = np.zeros((offsets + longest - 1 - len(known), known.shape[1]))
    windows = sliding_window_view(np.concatenate([known, padding]), longest, axis=0)
    # costs[k, j]: job j started k slots from now
    costs = (windows * profile).sum(axis=-1)
    offset = np.arange(offsets)[:, None]
    possible = (offset <= last) & (offset + lengths <= len(price_eur_per_kwh))
    costs[~possible] = np.inf
    return np.asarray(possible[0] & (costs[0] <= costs.min(axis=0)))


def start_jobs(
    loads: ShiftableLoads, start_slot: IntArray, slot: int, wanted: BoolArray
) -> IntArray:
    """Start jobs.

    Parameters
    ----------
    loads : ShiftableLoads
    start_slot : int64, shape (n_job,)
    slot : int
        This slot.
    wanted : bool, shape (n_job,)
        Set-point: which jobs start now.

    Returns
    -------
    int64, shape (n_job,)
        Start of each job, `NOT_STARTED` for none.

    Raises
    ------
    SimulatorError
        If a job started before, is not ready or would end too late; it is named.
    """
    wrong = wanted & ~may_start(loads, start_slot, slot)
    if wrong.any():
        row = int(np.argmax(wrong))
        before = "" if start_slot[row] == NOT_STARTED else f" and started in {start_slot[row]}"
        raise SimulatorError(
            f"{KIND} {loads.name[row]!r} cannot start in slot {slot}: it may start once, from slot "
            f"{loads.earliest_slot[row]} to {loads.latest_start_slot[row]}{before}"
        )
    return np.where(wanted, slot, start_slot)


def power_of_jobs(loads: ShiftableLoads, start_slot: IntArray, slot: int) -> FloatArray:
    """Return the power of the jobs that run in a slot.

    Parameters
    ----------
    loads : ShiftableLoads
    start_slot : int64, shape (n_job,)
        Including the starts of this slot.
    slot : int

    Returns
    -------
    float64, shape (n_job,)
        kW.
    """
    age = slot - start_slot
    runs = (start_slot != NOT_STARTED) & (age >= 0) & (age < loads.slots)
    column = np.where(runs, age, 0)
    return np.where(runs, loads.profile_kw[np.arange(len(loads)), column], 0.0)


def power_band(loads: ShiftableLoads, start_slot: IntArray, slot: int) -> PowerBand:
    """Return what a market may do with each job in a slot.

    A job that may start takes either nothing or all of its first slot's power: its order cannot
    be divided, and accepting it commits the rest of its profile.

    Returns
    -------
    PowerBand
        kW, shape (n_job,).
    """
    running = power_of_jobs(loads, start_slot, slot)
    first = loads.profile_kw[:, 0]
    lowest = running + np.where(must_start(loads, start_slot, slot), first, 0.0)
    highest = running + np.where(may_start(loads, start_slot, slot), first, 0.0)
    return PowerBand(lowest, highest)


def power_of_starts(loads: ShiftableLoads, start_slot: IntArray, slots: int) -> FloatArray:
    """Return the power of all jobs in the slots from 0 on.

    Parameters
    ----------
    loads : ShiftableLoads
    start_slot : int64, shape (n_job,)
        Start of each job, `NOT_STARTED` for none.
    slots : int
        How many slots.

    Returns
    -------
    float64, shape (slots, n_job)
        kW.
    """
    power = np.zeros((slots, len(loads)))
    for age in range(loads.profile_kw.shape[1]):
        slot = start_slot + age
        rows = np.flatnonzero((start_slot != NOT_STARTED) & (slot < slots))
        power[slot[rows], rows] = loads.profile_kw[rows, age]
    return power


def missed_kwh(loads: ShiftableLoads, start_slot: IntArray, slot: int) -> FloatArray:
    """Return the energy of jobs that can no longer start at the end of a slot, kWh, (n_job,)."""
    late = (start_slot == NOT_STARTED) & (slot >= loads.latest_start_slot)
    return np.where(late, loads.energy_kwh, 0.0)
