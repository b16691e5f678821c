"""All devices of a run that shift energy, beside the batteries of households."""

from __future__ import annotations

from dataclasses import dataclass

from tricell.simulators.electric_vehicles import VehicleFleet
from tricell.simulators.heat_pumps import HeatConditions, HeatFleet
from tricell.simulators.inverter import Inverters
from tricell.simulators.shiftable_loads import ShiftableLoads


@dataclass(frozen=True)
class Heating:
    """Heat pumps and what they meet.

    Attributes
    ----------
    fleet : pumps, each with a building or a store.
    conditions : of all slots of the run, arrays of shape (slots, n_pump).
    """

    fleet: HeatFleet
    conditions: HeatConditions


@dataclass(frozen=True)
class FlexibleDevices:
    """Devices that shift energy; None for kinds that nobody owns.

    Attributes
    ----------
    vehicles : with their plug windows over the run.
    houses : heat pumps that keep buildings inside their comfort bands.
    stores : heat pumps that charge thermal stores against a heat demand.
    appliances : jobs inside the run.
    inverters : of PV plants that control reactive power.
    """

    vehicles: VehicleFleet | None = None
    houses: Heating | None = None
    stores: Heating | None = None
    appliances: ShiftableLoads | None = None
    inverters: Inverters | None = None
