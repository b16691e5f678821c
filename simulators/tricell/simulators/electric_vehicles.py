r"""Electric vehicles as a fleet: plug windows, charging rules, the power band, conservation.

While a vehicle is plugged in, the energy in its battery after a slot of :math:`\Delta` hours is

.. math:: E' = E + \eta_c p^+ \Delta - p^- \Delta / \eta_d

with :math:`p^+ = \max(p, 0)` and :math:`p^- = \max(-p, 0)` at the charger (kW, positive when it
consumes). A window says what the drive before it used, its *need*. On arrival the battery holds
the need less than on departure; until the next departure it has to be back at its target. What is
missing then is reported as the miss and counts as charged elsewhere, so that one bad night does
not make all later needs unreachable.

Everything is an array over the vehicles; a slot costs no Python per vehicle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tricell.errors import DataError
from tricell.simulators.device_checks import POWER_TOLERANCE, NamedDevices, PowerBand, require_hours
from tricell.simulators.population import BoolArray, FloatArray, IntArray

KIND = "electric vehicle"


@dataclass(frozen=True)
class ElectricVehicles:
    """Ratings of vehicles, arrays of shape (n_vehicle,).

    Attributes
    ----------
    name : tuple of str
        Unique names, for errors.
    agent : int64
        Row of the owner in the table of agents.
    battery_kwh : float64
        Usable capacity, kWh, above 0.
    target_kwh : float64
        Energy wanted at every departure, kWh, above 0, at most the capacity. All batteries start
        at their target.
    charger_kw : float64
        Largest power at the charger, each way, kW, above 0.
    charge_efficiency, discharge_efficiency : float64
        Above 0 and at most 1.
    gives_back : bool
        Whether the vehicle may discharge while it is plugged in (V2G, V2H).
    reserve_kwh : float64
        Discharging never goes below this, kWh, from 0 to the target.

    Raises
    ------
    DataError
        If a value is not allowed; the vehicle is named.
    """

    name: tuple[str, ...]
    agent: IntArray
    battery_kwh: FloatArray
    target_kwh: FloatArray
    charger_kw: FloatArray
    charge_efficiency: FloatArray
    discharge_efficiency: FloatArray
    gives_back: BoolArray
    reserve_kwh: FloatArray

    def __post_init__(self) -> None:
        check = NamedDevices.of(KIND, self.name, vars(self))
        check.require_positive(
            battery_kwh=self.battery_kwh,
            target_kwh=self.target_kwh,
            charger_kw=self.charger_kw,
        )
        check.require_share(
            charge_efficiency=self.charge_efficiency,
            discharge_efficiency=self.discharge_efficiency,
        )
        check.require_not_negative(reserve_kwh=self.reserve_kwh)
        fits = self.target_kwh <= self.battery_kwh
        check.require("target_kwh", self.target_kwh, fits, "at most battery_kwh")
        below = self.reserve_kwh <= self.target_kwh
        check.require("reserve_kwh", self.reserve_kwh, below, "at most target_kwh")

    def __len__(self) -> int:
        return len(self.name)


@dataclass(frozen=True)
class PlugWindows:
    """When vehicles are plugged in, arrays of shape (n_window,), in any order.

    Attributes
    ----------
    vehicle : int64
        Row of the vehicle.
    arrive_slot, depart_slot : int64
        First slot plugged in, and first slot gone; they may lie after the end of a run.
    need_kwh : float64
        Energy that the drive before took from the battery and that has to be back at departure,
        kWh in the battery, at least 0.
    """

    vehicle: IntArray
    arrive_slot: IntArray
    depart_slot: IntArray
    need_kwh: FloatArray

    def __len__(self) -> int:
        return len(self.vehicle)


@dataclass(frozen=True)
class VehicleFleet:
    """Vehicles with their windows, checked together and sorted for quick access.

    Attributes
    ----------
    vehicles : ElectricVehicles
    windows : PlugWindows
        As given; sorted by vehicle and arrival after construction.
    hours : float
        Length of a slot, h.
    first_window : int64, shape (n_vehicle + 1,)
        Windows of vehicle v are the rows ``first_window[v]`` to ``first_window[v + 1]``.

    Raises
    ------
    DataError
        If a window is reversed or overlaps another, starts before slot 0, or if its need is
        negative, more than the target or more than the charger gives; the vehicle is named.
    """

    vehicles: ElectricVehicles
    windows: PlugWindows
    hours: float
    first_window: IntArray = field(init=False)

    def __post_init__(self) -> None:
        require_hours(self.hours)
        n = len(self.vehicles)
        given = self.windows
        if any(len(values) != len(given) for values in vars(given).values()):
            raise DataError("plug windows: all columns must have equal lengths")
        if len(given) and (given.vehicle.min() < 0 or given.vehicle.max() >= n):
            raise DataError(f"plug windows: vehicle is a row of the vehicles, from 0 to {n - 1}")
        order = np.lexsort((given.depart_slot, given.arrive_slot, given.vehicle))
        ordered = PlugWindows(**{key: values[order] for key, values in vars(given).items()})
        object.__setattr__(self, "windows", ordered)
        counts = np.bincount(ordered.vehicle, minlength=n)
        object.__setattr__(self, "first_window", np.concatenate(([0], np.cumsum(counts))))
        self._check_times()
        self._check_needs()

    def __len__(self) -> int:
        return len(self.vehicles)

    @property
    def full_gain_kwh(self) -> FloatArray:
        """Energy that a battery gains in a slot at full power, kWh, shape (n_vehicle,)."""
        vehicles = self.vehicles
        return vehicles.charger_kw * vehicles.charge_efficiency * self.hours

    def _names_of_windows(self) -> tuple[str, ...]:
        return tuple(self.vehicles.name[row] for row in self.windows.vehicle)

    def _check_times(self) -> None:
        windows, names = self.windows, self._names_of_windows()
        arrive, depart = windows.arrive_slot, windows.depart_slot
        check = NamedDevices(KIND, names)
        check.require("arrive_slot", arrive, arrive >= 0, "at least 0")
        forward = depart > arrive
        check.require("depart_slot", depart, forward, "after arrive_slot: the window is reversed")
        same = windows.vehicle[1:] == windows.vehicle[:-1]
        apart = np.ones(len(windows), dtype=np.bool_)
        apart[1:] = ~same | (arrive[1:] >= depart[:-1])
        check.require(
            "arrive_slot",
            arrive,
            apart,
            "at or after the departure before it: its plug windows overlap",
        )

    def _check_needs(self) -> None:
        windows, names = self.windows, self._names_of_windows()
        need, owner = windows.need_kwh, windows.vehicle
        check = NamedDevices(KIND, names)
        check.require_not_negative(need_kwh=need)
        holds = need <= self.vehicles.target_kwh[owner]
        check.require("need_kwh", need, holds, "at most target_kwh: a drive uses no more")
        slots = windows.depart_slot - windows.arrive_slot
        gives = slots * self.full_gain_kwh[owner] * (1 + POWER_TOLERANCE)
        check.require(
            "need_kwh",
            need,
            need <= gives,
            "what the charger gives within the "
            "plug window: charger_kw x charge_efficiency x its hours",
        )


@dataclass(frozen=True)
class VehicleState:
    """State of a fleet within a slot, arrays of shape (n_vehicle,).

    Attributes
    ----------
    stored_kwh : float64
        Energy in the battery, kWh; while a vehicle is away, what it left with.
    window : int64
        Row of the window that the vehicle is in, or else of its next one.
    plugged : bool
        Whether it is plugged in.
    slots_left : int64
        Slots until departure, this one included; 0 while away.
    """

    stored_kwh: FloatArray
    window: IntArray
    plugged: BoolArray
    slots_left: IntArray


@dataclass(frozen=True)
class Departures:
    """What happened to energy between two slots, arrays of shape (n_vehicle,).

    Attributes
    ----------
    departed : bool
        Whether the vehicle left.
    missed_kwh : float64
        What it lacked to its target then, kWh; charged elsewhere.
    driven_kwh : float64
        What the drive took that ended with an arrival now, kWh.
    """

    departed: BoolArray
    missed_kwh: FloatArray
    driven_kwh: FloatArray


def first_state(fleet: VehicleFleet) -> VehicleState:
    """Return the state before the first slot: all away, at their target."""
    n = len(fleet)
    return VehicleState(
        stored_kwh=fleet.vehicles.target_kwh.copy(),
        window=fleet.first_window[:-1].copy(),
        plugged=np.zeros(n, dtype=np.bool_),
        slots_left=np.zeros(n, dtype=np.int64),
    )


def begin_slot(
    fleet: VehicleFleet, state: VehicleState, slot: int
) -> tuple[VehicleState, Departures]:
    """Let vehicles depart and arrive at the start of a slot.

    Parameters
    ----------
    fleet : VehicleFleet
    state : VehicleState
        After the slot before, or `first_state`.
    slot : int
        Number of the slot; slots come one after the other from 0 on.

    Returns
    -------
    VehicleState
        What the slot starts with.
    Departures
        Misses and drives.
    """
    windows = fleet.windows
    if not len(windows):
        none = np.zeros(len(fleet))
        return state, Departures(state.plugged.copy(), none, none.copy())
    departed = state.plugged & (windows.depart_slot[_row(fleet, state.window)] <= slot)
    lacking = np.maximum(fleet.vehicles.target_kwh - state.stored_kwh, 0.0)
    missed = np.where(departed, lacking, 0.0)
    window = state.window + departed
    plugged = state.plugged & ~departed
    row = _row(fleet, window)
    waits = window < fleet.first_window[1:]
    arrived = ~plugged & waits & (windows.arrive_slot[row] <= slot)
    driven = np.where(arrived, windows.need_kwh[row], 0.0)
    plugged = plugged | arrived
    return (
        VehicleState(
            stored_kwh=state.stored_kwh + missed - driven,
            window=window,
            plugged=plugged,
            slots_left=np.where(plugged, windows.depart_slot[row] - slot, 0),
        ),
        Departures(departed, missed, driven),
    )


def _row(fleet: VehicleFleet, window: IntArray) -> IntArray:
    """Return rows that exist, also for vehicles after their last window."""
    return np.minimum(window, len(fleet.windows) - 1)


def power_band(fleet: VehicleFleet, state: VehicleState) -> PowerBand:
    """Return what a market may do with each vehicle so that its need stays reachable.

    The least power leaves just so much that full power in all later slots reaches the target; it
    is below zero where a vehicle may give back. If the target is out of reach, both are the
    charger's power. A vehicle that is away takes nothing.

    Parameters
    ----------
    fleet : VehicleFleet
    state : VehicleState
        From `begin_slot`.

    Returns
    -------
    PowerBand
        kW at the charger, shape (n_vehicle,).
    """
    vehicles, full = fleet.vehicles, fleet.full_gain_kwh
    stored = state.stored_kwh
    later = np.maximum(state.slots_left - 1, 0) * full
    needed = vehicles.target_kwh - stored - later
    most_out = np.minimum(
        np.maximum(stored - vehicles.reserve_kwh, 0.0),
        vehicles.charger_kw * fleet.hours / vehicles.discharge_efficiency,
    )
    least_gain = np.maximum(needed, np.where(vehicles.gives_back, -most_out, 0.0))
    most_gain = np.clip(vehicles.battery_kwh - stored, 0.0, full)
    highest = _power_of_gain(fleet, most_gain)
    lowest = np.minimum(_power_of_gain(fleet, least_gain), highest)
    return PowerBand(
        lowest_kw=np.where(state.plugged, lowest, 0.0),
        highest_kw=np.where(state.plugged, highest, 0.0),
    )


def _power_of_gain(fleet: VehicleFleet, gain_kwh: FloatArray) -> FloatArray:
    """Return the power at the charger that changes the stored energy by a gain in a slot, kW."""
    vehicles = fleet.vehicles
    charging = gain_kwh / (vehicles.charge_efficiency * fleet.hours)
    discharging = gain_kwh * vehicles.discharge_efficiency / fleet.hours
    power = np.where(gain_kwh >= 0, charging, discharging)
    return np.clip(power, -vehicles.charger_kw, vehicles.charger_kw)


def charge_at_once(fleet: VehicleFleet, state: VehicleState) -> FloatArray:
    """Charge at full power from arrival until the target is reached.

    Returns
    -------
    float64, shape (n_vehicle,)
        Power at the charger, kW.
    """
    lacking = np.clip(fleet.vehicles.target_kwh - state.stored_kwh, 0.0, fleet.full_gain_kwh)
    return np.where(state.plugged, _power_of_gain(fleet, lacking), 0.0)


def charge_as_late_as_possible(fleet: VehicleFleet, state: VehicleState) -> FloatArray:
    """Charge so late that full power until departure just reaches the target.

    Returns
    -------
    float64, shape (n_vehicle,)
        Power at the charger, kW.
    """
    return np.maximum(power_band(fleet, state).lowest_kw, 0.0)


def charge_when_cheapest(
    fleet: VehicleFleet, state: VehicleState, price_eur_per_kwh: FloatArray
) -> FloatArray:
    """Charge in the cheapest slots until departure, the earliest of equal prices first.

    Prices may change from slot to slot, as the rule decides anew each time. Slots after the last
    given price are used only if the target cannot be reached otherwise. No price makes a vehicle
    take more than its target.

    Parameters
    ----------
    fleet : VehicleFleet
    state : VehicleState
    price_eur_per_kwh : float64, shape (n_slot,) or (n_slot, n_vehicle)
        Prices from this slot on, EUR/kWh, at least one.

    Returns
    -------
    float64, shape (n_vehicle,)
        Power at the charger, kW.

    Raises
    ------
    DataError
        If there is no price for this slot.
    """
    if not len(price_eur_per_kwh):
        raise DataError("electric vehicles charge when it is cheapest: no price is given")
    prices = price_eur_per_kwh if price_eur_per_kwh.ndim == 2 else price_eur_per_kwh[:, None]
    longest = int(state.slots_left.max(initial=1))
    prices = prices[: max(longest, 1)]
    cheaper = np.cumsum(prices < prices[0], axis=0)
    last = np.clip(state.slots_left, 1, len(prices)) - 1
    column = np.arange(len(fleet)) if prices.shape[1] > 1 else np.zeros(len(fleet), dtype=np.int64)
    full = fleet.full_gain_kwh
    lacking = fleet.vehicles.target_kwh - state.stored_kwh
    gain = np.clip(lacking - cheaper[last, column] * full, 0.0, full)
    wanted = np.where(state.plugged, _power_of_gain(fleet, gain), 0.0)
    return np.maximum(wanted, charge_as_late_as_possible(fleet, state))


def apply_power(fleet: VehicleFleet, state: VehicleState, power_kw: FloatArray) -> VehicleState:
    """Return the state after a slot at constant power.

    Nothing is clipped, so that energy is conserved to the last bit. The need is not enforced: who
    gives less than the band makes a miss, which `begin_slot` reports.

    Parameters
    ----------
    fleet : VehicleFleet
    state : VehicleState
        From `begin_slot`.
    power_kw : float64, shape (n_vehicle,)
        Power at the charger, kW, positive when it consumes.

    Returns
    -------
    VehicleState
        Same windows, other stored energy.

    Raises
    ------
    SimulatorError
        If a vehicle is away, its charger too small, its battery too full, or if it may not give
        back so much; the vehicle is named.
    """
    vehicles = fleet.vehicles
    names, slack_kwh = vehicles.name, POWER_TOLERANCE * vehicles.battery_kwh
    check = NamedDevices(KIND, names)
    check.refuse_power(power_kw, state.plugged | (power_kw == 0), "it is not plugged in")
    fits = np.abs(power_kw) <= vehicles.charger_kw * (1 + POWER_TOLERANCE)
    check.refuse_power(power_kw, fits, "its charger is too small")
    may = vehicles.gives_back | (power_kw >= 0)
    check.refuse_power(power_kw, may, "it does not give energy back")
    stored = state.stored_kwh + stored_gain_kwh(fleet, power_kw)
    room = (power_kw <= 0) | (stored <= vehicles.battery_kwh + slack_kwh)
    check.refuse_power(power_kw, room, "its battery has no room for that")
    keeps = (power_kw >= 0) | (stored >= vehicles.reserve_kwh - slack_kwh)
    check.refuse_power(power_kw, keeps, "its battery would fall below reserve_kwh")
    return VehicleState(stored, state.window, state.plugged, state.slots_left)


def stored_gain_kwh(fleet: VehicleFleet, power_kw: FloatArray) -> FloatArray:
    """Return by how much the stored energy changes in a slot at a power.

    Parameters
    ----------
    fleet : VehicleFleet
    power_kw : float64, shape (..., n_vehicle)
        Power at the charger, kW.

    Returns
    -------
    float64, shape (..., n_vehicle)
        kWh.
    """
    vehicles = fleet.vehicles
    charge = np.maximum(power_kw, 0.0) * vehicles.charge_efficiency * fleet.hours
    discharge = np.maximum(-power_kw, 0.0) / vehicles.discharge_efficiency * fleet.hours
    return np.asarray(charge - discharge)


@dataclass(frozen=True)
class VehicleRun:
    """What a fleet did in some slots from 0 on, arrays of shape (n_slot, n_vehicle).

    Attributes
    ----------
    power_kw : float64
        Power at the charger, kW.
    stored_kwh : float64
        Stored energy at the end of each slot, kWh.
    driven_kwh, missed_kwh : float64
        Drives that ended and needs that were missed at the start of each slot, kWh.
    """

    power_kw: FloatArray
    stored_kwh: FloatArray
    driven_kwh: FloatArray
    missed_kwh: FloatArray


VehicleRule = Callable[[int, VehicleState], FloatArray]
"""``rule(slot, state)``: the power of each vehicle, kW."""


def run_vehicles(fleet: VehicleFleet, slots: int, rule: VehicleRule) -> VehicleRun:
    """Run a fleet without any market.

    Parameters
    ----------
    fleet : VehicleFleet
    slots : int
        How many slots, from slot 0 on.
    rule : VehicleRule
        Such as ``lambda slot, state: charge_at_once(fleet, state)``.

    Returns
    -------
    VehicleRun
    """
    power, stored, driven, missed = (np.zeros((slots, len(fleet))) for _ in range(4))
    state = first_state(fleet)
    for slot in range(slots):
        state, gone = begin_slot(fleet, state, slot)
        power[slot] = rule(slot, state)
        state = apply_power(fleet, state, power[slot])
        stored[slot] = state.stored_kwh
        driven[slot], missed[slot] = gone.driven_kwh, gone.missed_kwh
    return VehicleRun(power, stored, driven, missed)
