"""Vehicles as a fleet: `tricell.simulators.electric_vehicles` with its state from slot to slot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tricell.markets.flexibility.tanks import PlanSteps, TankOutlook
from tricell.simulators import electric_vehicles as ev
from tricell.simulators.device_checks import PowerBand
from tricell.simulators.fleet import SHORTFALL_EUR_PER_KWH, DeviceState, EnergyPerPower
from tricell.simulators.population import FloatArray


class VehicleDevices:
    """Vehicles with their plug windows over the run; see `Fleet`.

    A plan knows all windows: when a vehicle comes and goes, and what its drives will use.

    Parameters
    ----------
    fleet : vehicles and windows.
    wear_eur_per_kwh : wear of giving a kWh back.
    """

    kind = "vehicle"

    def __init__(self, fleet: ev.VehicleFleet, wear_eur_per_kwh: float = 0.0) -> None:
        self._fleet, vehicles = fleet, fleet.vehicles
        self._wear = wear_eur_per_kwh
        self._state = ev.first_state(fleet)
        none = np.zeros(len(fleet))
        self._gone = ev.Departures(none > 0, none, none)
        self._at_home, self._drives = _windows_per_slot(fleet)
        self.names, self.agent = vehicles.name, vehicles.agent
        self.charge_kw = vehicles.charger_kw
        self.discharge_kw = np.where(vehicles.gives_back, vehicles.charger_kw, 0.0)
        self.capacity_kwh = vehicles.battery_kwh

    def begin_slot(self, slot: int) -> None:
        """Let vehicles depart and arrive."""
        self._state, self._gone = ev.begin_slot(self._fleet, self._state, slot)

    def band(self, slot: int) -> PowerBand:
        """Return what keeps every need within reach."""
        return ev.power_band(self._fleet, self._state)

    def rule_kw(self, slot: int) -> FloatArray:
        """Charge at once after arrival."""
        return ev.charge_at_once(self._fleet, self._state)

    def thrifty_kw(self, slot: int, price: FloatArray) -> FloatArray:
        """Charge in the cheapest slots until departure."""
        return ev.charge_when_cheapest(self._fleet, self._state, price)

    def carry_out(self, slot: int, power_kw: FloatArray) -> None:
        """Charge and give back."""
        self._state = ev.apply_power(self._fleet, self._state, power_kw)

    def energy_per_power(self, slot: int) -> EnergyPerPower:
        """Return efficiencies; nothing comes out of a vehicle that does not give back."""
        vehicles = self._fleet.vehicles
        out_of = np.where(vehicles.gives_back, 1.0 / vehicles.discharge_efficiency, np.inf)
        wear = np.full(len(vehicles), self._wear)
        return EnergyPerPower(vehicles.charge_efficiency, out_of, wear)

    def outlook(self, slot: int, steps: PlanSteps) -> TankOutlook:
        """Return the coming windows: charging while plugged in, drives as outflow.

        In a step in which a vehicle is at home for a part only, its power is cut in proportion. At
        the end of the last step before a departure it has to be at its target; what it lacks
        then counts as charged elsewhere.
        """
        vehicles = self._fleet.vehicles
        rows = np.minimum(slot + np.arange(steps.total_slots + 1), len(self._at_home) - 1)
        home, drives = self._at_home[rows], self._drives[rows[:-1]].copy()
        drives[0] = 0.0  # what has just arrived has paid for its drive already
        share = steps.mean(home[:-1].astype(np.float64))
        departs = home[:-1] & ~home[1:]
        # somebody may leave and another window begin in the very same slot
        departs |= home[:-1] & home[1:] & (self._drives[rows[1:]] > 0)
        leaves = np.maximum.reduceat(departs, steps.first, axis=0)
        hours = steps.hours[:, None]
        floor = np.minimum(vehicles.reserve_kwh, self._state.stored_kwh)
        ones = np.ones((len(steps), len(vehicles)))
        return TankOutlook(
            start_kwh=self._state.stored_kwh,
            kept=ones,
            into_kwh_per_kw=hours * vehicles.charge_efficiency,
            out_kwh_per_kw=hours / vehicles.discharge_efficiency,
            inflow_kwh=-steps.total(drives),
            lowest_kwh=np.where(leaves, vehicles.target_kwh, np.where(share > 0, floor, -np.inf)),
            highest_kwh=ones * vehicles.battery_kwh,
            charge_kw=share * vehicles.charger_kw,
            discharge_kw=share * self.discharge_kw,
            shortfall_eur_per_kwh=np.full(len(vehicles), SHORTFALL_EUR_PER_KWH),
            worth_at_end_eur_per_kwh=np.zeros(len(vehicles)),
            wear_eur_per_kwh=np.full(len(vehicles), self._wear),
        )

    def state(self) -> DeviceState:
        """Return stored energy, and misses of vehicles that have just left."""
        gone = self._gone
        return DeviceState.of(self._state.stored_kwh, gone.missed_kwh, departed=gone.departed)

    def memory(self) -> Mapping[str, Any]:
        """Return the state within the slot."""
        return dict(vars(self._state))

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on within a slot."""
        self._state = ev.VehicleState(**memory)


def _windows_per_slot(fleet: ev.VehicleFleet) -> tuple[np.ndarray, FloatArray]:
    """Return who is at home in every slot, and what drives that end there used, kWh; (T, n)."""
    windows, last = fleet.windows, 1 + int(fleet.windows.depart_slot.max(initial=0))
    change = np.zeros((last + 1, len(fleet)), np.int64)
    np.add.at(change, (windows.arrive_slot, windows.vehicle), 1)
    np.add.at(change, (windows.depart_slot, windows.vehicle), -1)
    drives = np.zeros((last + 1, len(fleet)))
    np.add.at(drives, (windows.arrive_slot, windows.vehicle), windows.need_kwh)
    return change.cumsum(axis=0) > 0, drives
