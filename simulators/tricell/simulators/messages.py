"""What tricell's simulators send each other every slot. Arrays are read-only for the receiver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.grid_models.ac_feedback import Correction
from tricell.grid_models.power_flow import PowerFlowState
from tricell.markets.joint_market import Clearing
from tricell.markets.level_settlement import LevelTrade
from tricell.markets.services.service import SlotServices
from tricell.simulators.battery_orders import BatteryOrders
from tricell.simulators.device_checks import PowerBand
from tricell.simulators.fleet import DeviceState
from tricell.simulators.inverter_control import SteeredPlants

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AgentPowerNow:
    """What the slot brings to every agent; shapes (agents,).

    Attributes
    ----------
    p_load_kw, q_load_kvar : demand.
    generation_kw : generation that sun or wind would allow, at least 0.
    q_generation_kvar : reactive power that the generators feed in.
    plants : how that follows from what is fed in, where inverters control it; None where it is that
        of the data.
    """

    p_load_kw: Floats
    q_load_kvar: Floats
    generation_kw: Floats
    q_generation_kvar: Floats
    plants: SteeredPlants | None = None


@dataclass(frozen=True)
class StorageNow:
    """State and orders of all stores at the start of a slot; batteries are the first of them.

    Attributes
    ----------
    soc_kwh : energy stored in batteries, shape (batteries,).
    orders : four steps per store.
    must_kw : what each store takes whatever the market says, shape (stores,).
    firm_kw : that and what appliances draw, part of the load, shape (agents,).
    devices : states of all devices beside the batteries of households; None without any.
    job_kw : what appliances draw, per device; None without any.
    memory : what the fleets remember; only at the end of a block.
    band : what every store could do; only in slots with services.
    """

    soc_kwh: Floats
    orders: BatteryOrders
    must_kw: Floats
    firm_kw: Floats
    devices: DeviceState | None = None
    job_kw: Floats | None = None
    memory: Mapping[str, Any] | None = None
    band: PowerBand | None = None


@dataclass(frozen=True)
class Contracted:
    """What was contracted at the gate, on forecasts.

    Attributes
    ----------
    forecast : what the slot was expected to bring; what stores must take is in the load.
    p_net_kw : per agent, in the markets; what those who do not trade take by their meters.
    p_node_kw, q_node_kvar : consumption per electrical node, with what services moved.
    """

    forecast: AgentPowerNow
    p_net_kw: Floats
    p_node_kw: Floats
    q_node_kvar: Floats


@dataclass(frozen=True)
class Schedule:
    """What the market decided for a slot, what it decided upon, and what the meters tell.

    Attributes
    ----------
    power, storage : what the fleets published; what stores must take is in the load.
    clearing : result of the market.
    generation_kw, p_net_kw : per agent, by the meters.
    battery_kw : per store, positive charges; what it must take is part of it.
    p_node_kw, q_node_kvar : consumption per electrical node, by the meters.
    reclearings : how often the slot was cleared again so far.
    cold_starts : solves of this slot that had to start from scratch.
    memory : what the market remembers after this slot; only at the end of a block.
    trade : what was traded where the levels are cleared one after the other; None where the joint
        program clears, whose trades follow from its schedule.
    contracted : what was contracted; None where forecasts are perfect and meters tell the same.
    services : flexibility that was sold beside the market; what it moved is part of the powers of
        stores, agents and nodes. None in runs without services.
    """

    power: AgentPowerNow
    storage: StorageNow
    clearing: Clearing
    generation_kw: Floats
    p_net_kw: Floats
    battery_kw: Floats
    p_node_kw: Floats
    q_node_kvar: Floats
    reclearings: int
    cold_starts: int
    trade: LevelTrade | None
    memory: Mapping[str, Any] | None = None
    contracted: Contracted | None = None
    services: SlotServices | None = None


@dataclass(frozen=True)
class Breach:
    """The limit that a slot breaks most, beyond the tolerance, or none (``element`` -1).

    Attributes
    ----------
    voltage_pu, loading_percent : by how much voltages and loadings exceed their limits at most.
    correctable : some broken limit is one that the market knows and did not give up itself.
    """

    voltage_pu: float
    loading_percent: float
    correctable: bool

    @property
    def limits_met(self) -> bool:
        """Whether every limit is kept within the tolerance."""
        return self.voltage_pu <= 0.0 and self.loading_percent <= 0.0


@dataclass(frozen=True)
class GridReport:
    """The AC proof of a slot.

    Attributes
    ----------
    schedule : what was proved.
    state : AC power flow of the meter values.
    breach : limits that it breaks.
    correction : what the linear model learns from it.
    tap_positions : per row of the transformer table.
    gap_pu : largest voltage difference between linear model and AC, of what was contracted.
    gap_percent : largest flow difference, in percent of the rating.
    memory : what the grid remembers after this slot; only at the end of a block.
    """

    schedule: Schedule
    state: PowerFlowState
    breach: Breach
    correction: Correction
    tap_positions: NDArray[np.int64]
    gap_pu: float
    gap_percent: float
    memory: Mapping[str, Any] | None = None
