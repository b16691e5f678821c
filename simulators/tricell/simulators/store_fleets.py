"""Fleets from the devices of a run, in the order of the stores: a new kind is one line here."""

from __future__ import annotations

from dataclasses import dataclass

from tricell.simulators.appliance_jobs import ApplianceJobs
from tricell.simulators.fleet import Fleet
from tricell.simulators.flexible_devices import FlexibleDevices
from tricell.simulators.heat_fleet import HeatDevices
from tricell.simulators.population import Batteries, FloatArray, IntArray
from tricell.simulators.vehicle_fleet import VehicleDevices


def other_fleets(
    devices: FlexibleDevices, hours: float, wear_eur_per_kwh: float = 0.0
) -> tuple[Fleet, ...]:
    """Return fresh fleets of all stores that are no batteries.

    Parameters
    ----------
    devices : of the run.
    hours : length of a slot, h.
    wear_eur_per_kwh : wear of a kWh that a vehicle gives back.
    """
    fleets: list[Fleet] = []
    if devices.vehicles is not None and len(devices.vehicles):
        fleets.append(VehicleDevices(devices.vehicles, wear_eur_per_kwh))
    for heating in (devices.houses, devices.stores):
        if heating is not None and len(heating.fleet):
            fleets.append(HeatDevices(heating))
    return tuple(fleets)


def appliances_of(
    devices: FlexibleDevices, owner_names: tuple[str, ...]
) -> tuple[ApplianceJobs, ...]:
    """Return the appliances afresh; nothing where nobody owns any."""
    if devices.appliances is None or not len(devices.appliances):
        return ()
    return (ApplianceJobs(devices.appliances, owner_names),)


@dataclass
class SharedFleet:
    """Ratings of shared batteries, for the list of devices; arrays of shape (n,)."""

    names: tuple[str, ...]
    agent: IntArray
    charge_kw: FloatArray
    discharge_kw: FloatArray
    capacity_kwh: FloatArray
    kind: str = "shared_battery"


def shared_fleet(batteries: Batteries, rows: IntArray, names: tuple[str, ...]) -> SharedFleet:
    """Return the shared ones of all batteries.

    Parameters
    ----------
    batteries, names : of all batteries.
    rows : those that are shared.
    """
    return SharedFleet(
        tuple(names[row] for row in rows),
        batteries.agent[rows],
        batteries.charge_kw[rows],
        batteries.discharge_kw[rows],
        batteries.energy_kwh[rows],
    )
