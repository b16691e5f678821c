"""All devices of a run that shift energy, beside the batteries of households."""

from __future__ import annotations

from dataclasses import dataclass

from tricell.simulators.electric_vehicles import VehicleFleet
from tricell.simulators.heat_pumps import HeatConditions, HeatFleet
from tricell.simulators.inverter import Inverters
from tricell.simulators.population import FloatArray, IntArray
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
class SharedBattery:
    """A battery that several agents share: a community's, a cell's, a multi-cell's.

    Attributes
    ----------
    agent : row of the battery itself in the table of agents; its battery stands in
        `tricell.simulators.population.Batteries`.
    members : int64, shape (n_member,)
        Rows of the agents that share what it earns.
    shares : float64, shape (n_member,)
        Their shares, above 0, 1 in all.
    """

    agent: int
    members: IntArray
    shares: FloatArray


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
    shared : batteries of several agents.
    """

    vehicles: VehicleFleet | None = None
    houses: Heating | None = None
    stores: Heating | None = None
    appliances: ShiftableLoads | None = None
    inverters: Inverters | None = None
    shared: tuple[SharedBattery, ...] = ()
