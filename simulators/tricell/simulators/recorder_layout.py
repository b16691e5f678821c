"""What the recorder is told of a run before its first slot: sizes, memberships, prices, limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tricell.grid_models.electrical_grid import ElectricalGrid
from tricell.grid_models.linear_grid import LinearGrid
from tricell.markets.charge import Calendar, Charge, Customers, EnergyRates
from tricell.markets.imbalance import ImbalanceTerms
from tricell.markets.settlement import TradingAreas
from tricell.simulators.device_list import DeviceList
from tricell.simulators.flexible_devices import SharedBattery
from tricell.simulators.grid_simulator import OperatingLimits
from tricell.simulators.owner_prices import PriceSeries
from tricell.simulators.population import Batteries

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class RecorderLayout:
    """Sizes and memberships that the recorder needs.

    Attributes
    ----------
    grid, linear : the network.
    areas : market areas; `agent_area` inside.
    agent_node : node of each agent.
    batteries : ratings and owners.
    store_agent : owner of each store, batteries first.
    prices : outside prices per slot.
    n_slot : slots of the run.
    hours : length of a slot.
    flow_breach_eur_per_kwh, voltage_breach_eur_per_pu2_h : prices of breaches.
    limits : what the AC power flow is held against.
    rates : network charges per kWh of every slot.
    charges : network charges; without any, the rates are billed as one.
    calendar, customers : the slots, and who is billed; needed where there are charges.
    levy_eur_per_kwh : levies in the price of energy from the retailer.
    imbalance : how deviations from contracts are settled; None where forecasts are perfect.
    devices : devices beside the batteries of households; None without any.
    shared : rows of the batteries that are shared, the last of these devices.
    members : who shares what such a battery earns.
    """

    grid: ElectricalGrid
    linear: LinearGrid
    areas: TradingAreas
    agent_node: Indices
    batteries: Batteries
    store_agent: Indices
    prices: PriceSeries
    n_slot: int
    hours: float
    flow_breach_eur_per_kwh: Floats
    voltage_breach_eur_per_pu2_h: float
    limits: OperatingLimits
    rates: EnergyRates = field(default_factory=EnergyRates.of)
    charges: tuple[Charge, ...] = ()
    calendar: Calendar | None = None
    customers: Customers | None = None
    levy_eur_per_kwh: float = 0.0
    imbalance: ImbalanceTerms | None = None
    devices: DeviceList | None = None
    shared: Indices = field(default_factory=lambda: np.zeros(0, np.int64))
    members: tuple[SharedBattery, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """Length of the vectors of each series group; ``slot`` has plain numbers."""
        return {
            "slot": 0,
            "agent": len(self.agent_node),
            "area": len(self.areas.parent),
            "bus": len(self.grid.node_of_bus),
            "line": len(self.grid.line_branch),
            "trafo": len(self.grid.transformer_branch),
            "device": 0 if self.devices is None else len(self.devices),
        }

    @cached_property
    def branch_area(self) -> Indices:
        """Area that the losses of each branch belong to: the lower one of those of its ends."""
        node_area = self.linear.node_area
        return np.maximum(node_area[self.grid.branch_from], node_area[self.grid.branch_to])
