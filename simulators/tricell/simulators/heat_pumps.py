r"""Heat pumps with a building or a thermal store behind them: COP, comfort, power band.

Both kinds are one thermal node with a heat capacity :math:`C` (kWh/K) and a resistance :math:`R`
(K/kW) to their surroundings at :math:`T_a`, heated by the pump and by gains :math:`g` (kW):

.. math:: C \dot T = (T_a - T) / R + \mathrm{COP}\, p + g

With everything constant in a slot of :math:`\Delta` hours the solution is exact:

.. math::
    T' = T_\infty + (T - T_\infty) a, \quad a = e^{-\Delta / RC}, \quad
    T_\infty = T_a + R (\mathrm{COP}\, p + g)

A **building** has its indoor temperature as state and a comfort band; leaving it is reported in
K h. A **store** is the same node with the stored energy as state: C = 1, R = 1 / (its loss per
hour), surroundings at 0 kWh, the heat demand as a negative gain, and a band from empty to full;
demand that an empty store cannot serve is reported as unmet.

The COP is that of Staffell et al. 2012 [1]_ for the lift :math:`\Delta T` from the source to the
flow of the heating system, held inside the range that they fitted:

.. math::
    \text{air: } 6.81 - 0.121 \Delta T + 0.000630 \Delta T^2, \ 15 \le \Delta T \le 60

    \text{ground: } 8.77 - 0.150 \Delta T + 0.000734 \Delta T^2, \ 20 \le \Delta T \le 60

.. [1] Staffell, Brett, Brandon, Hawkes 2012, A review of domestic heat pumps, Energy and
   Environmental Science 5, 9291-9306.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from tricell.errors import DataError
from tricell.simulators.device_checks import POWER_TOLERANCE, NamedDevices, PowerBand, require_hours
from tricell.simulators.population import BoolArray, FloatArray, IntArray

KIND = "heat pump"
GROUND_C = 10.0
"""Temperature of the ground that ground-source heat pumps draw from, degC; a round mean value of
German soil below the frost line."""

LEAST_TIME_CONSTANT = 0.02
"""Least time constant of a node in slots; with less, nothing would be left of a state to plan."""


class HeatSource(IntEnum):
    """Where a heat pump takes its heat; the codes are stable."""

    AIR = 0
    GROUND = 1


class _CopFit(NamedTuple):
    """``constant - linear x + square x^2`` for lifts x from `least_k` to `most_k`."""

    constant: float
    linear: float
    square: float
    least_k: float
    most_k: float


COP_FITS = {
    HeatSource.AIR: _CopFit(6.81, 0.121, 0.000630, 15.0, 60.0),
    HeatSource.GROUND: _CopFit(8.77, 0.150, 0.000734, 20.0, 60.0),
}
"""Staffell et al. 2012 (see above)."""


@dataclass(frozen=True)
class HeatPumps:
    """Ratings of heat pumps, arrays of shape (n_pump,).

    Attributes
    ----------
    name : tuple of str
        Unique names, for errors.
    agent : int64
        Row of the owner in the table of agents.
    rated_kw : float64
        Largest electric power, kW, above 0; the pump runs at any power from 0 to it.
    source : int64
        Codes of `HeatSource`.
    flow_at_0_c : float64
        Flow temperature of the heating system at 0 degC outdoors, degC.
    flow_slope : float64
        By how much the flow is warmer per kelvin that it is colder outdoors, at least 0.
    cop_factor : float64
        Factor on the COP of the fit, above 0; below 1 for what a plant in the field loses.

    Raises
    ------
    DataError
        If a value is not allowed; the heat pump is named.
    """

    name: tuple[str, ...]
    agent: IntArray
    rated_kw: FloatArray
    source: IntArray
    flow_at_0_c: FloatArray
    flow_slope: FloatArray
    cop_factor: FloatArray

    def __post_init__(self) -> None:
        check = NamedDevices.of(KIND, self.name, vars(self))
        check.require_positive(rated_kw=self.rated_kw, cop_factor=self.cop_factor)
        check.require_not_negative(flow_slope=self.flow_slope)
        known = np.isin(self.source, list(HeatSource))
        check.require("source", self.source, known, "0 (air) or 1 (ground)")
        finite = np.isfinite(self.flow_at_0_c)
        check.require("flow_at_0_c", self.flow_at_0_c, finite, "a finite number")

    def __len__(self) -> int:
        return len(self.name)


def coefficient_of_performance(
    pumps: HeatPumps, outdoor_c: FloatArray, ground_c: float = GROUND_C
) -> FloatArray:
    """Return heat per electric energy at an outdoor temperature.

    Parameters
    ----------
    pumps : HeatPumps
    outdoor_c : float64, shape (..., n_pump) or (..., 1)
        Outdoor temperature, degC.
    ground_c : float
        Temperature of the ground, degC.

    Returns
    -------
    float64, shape (..., n_pump)
        COP, above 0.

    Examples
    --------
    >>> one = lambda value: np.array([value])
    >>> pump = HeatPumps(("a",), one(0), one(3.0), one(0), one(40.0), one(1.0), one(1.0))
    >>> coefficient_of_performance(pump, np.array([[7.0], [-7.0]])).round(2)
    array([[4.09],
           [2.11]])
    """
    flow = pumps.flow_at_0_c - pumps.flow_slope * outdoor_c
    air = pumps.source == HeatSource.AIR
    lift = flow - np.where(air, outdoor_c, ground_c)
    at_air, at_ground = (_fitted(COP_FITS[source], lift) for source in HeatSource)
    return np.asarray(pumps.cop_factor * np.where(air, at_air, at_ground))


def _fitted(fit: _CopFit, lift_k: FloatArray) -> FloatArray:
    lift = np.clip(lift_k, fit.least_k, fit.most_k)
    return fit.constant - fit.linear * lift + fit.square * lift**2


@dataclass(frozen=True)
class Buildings:
    """One-node buildings, arrays of shape (n_pump,).

    Attributes
    ----------
    capacity_kwh_per_k : float64
        Effective heat capacity, kWh/K, above 0.
    resistance_k_per_kw : float64
        Temperature difference per kW lost, K/kW, above 0; 1 over the heat loss coefficient.
    comfort_low_c, comfort_high_c : float64
        Comfort band of the indoor temperature, degC; the upper end is above the lower one.
    start_c : float64
        Indoor temperature at the start, degC.
    """

    capacity_kwh_per_k: FloatArray
    resistance_k_per_kw: FloatArray
    comfort_low_c: FloatArray
    comfort_high_c: FloatArray
    start_c: FloatArray


@dataclass(frozen=True)
class HeatStores:
    """Thermal stores, arrays of shape (n_pump,).

    Attributes
    ----------
    capacity_kwh : float64
        Heat between empty and full, kWh, above 0.
    loss_per_h : float64
        Share of the stored heat lost in an hour, above 0.
    start_kwh : float64
        Heat at the start, kWh, from 0 to the capacity.
    """

    capacity_kwh: FloatArray
    loss_per_h: FloatArray
    start_kwh: FloatArray


@dataclass(frozen=True)
class HeatFleet:
    """Heat pumps with their thermal nodes, arrays of shape (n_pump,).

    Build it with `heated_buildings` or `heated_stores`.

    Attributes
    ----------
    pumps : HeatPumps
    hours : float
        Length of a slot, h.
    capacity, resistance : float64
        C and R of the node; 1 and 1 / loss for stores.
    low, high : float64
        Band of the state: degC of buildings, kWh of stores.
    start : float64
        State at the start.
    is_store : bool
        Whether the nodes are stores.

    Raises
    ------
    DataError
        If a node forgets its state within a small part of a slot; the heat pump is named.
    """

    pumps: HeatPumps
    hours: float
    capacity: FloatArray
    resistance: FloatArray
    low: FloatArray
    high: FloatArray
    start: FloatArray
    is_store: bool

    def __post_init__(self) -> None:
        time_constant_h = self.resistance * self.capacity
        slow = time_constant_h >= LEAST_TIME_CONSTANT * self.hours
        NamedDevices(KIND, self.pumps.name).require(
            "time constant (capacity x resistance) in h",
            time_constant_h,
            slow,
            f"at least {LEAST_TIME_CONSTANT:g} of a slot",
        )

    def __len__(self) -> int:
        return len(self.pumps)

    @property
    def kept(self) -> FloatArray:
        """Share ``a`` of the distance to equilibrium that is left after a slot."""
        return np.asarray(np.exp(-self.hours / (self.resistance * self.capacity)))

    @property
    def state_per_kw(self) -> FloatArray:
        """By how much a kW of heat during a slot raises the state: ``R (1 - a)``."""
        share_gone = -np.expm1(-self.hours / (self.resistance * self.capacity))
        return np.asarray(self.resistance * share_gone)


def heated_buildings(pumps: HeatPumps, buildings: Buildings, hours: float) -> HeatFleet:
    """Put a building behind each heat pump.

    Raises
    ------
    DataError
        If a capacity or resistance is not above 0 or a comfort band is empty; the pump is named.
    """
    require_hours(hours)
    check = NamedDevices(KIND, pumps.name)
    check.require_columns(vars(buildings))
    check.require_positive(
        capacity_kwh_per_k=buildings.capacity_kwh_per_k,
        resistance_k_per_kw=buildings.resistance_k_per_kw,
    )
    low, high = buildings.comfort_low_c, buildings.comfort_high_c
    for quantity, values in (("comfort_low_c", low), ("start_c", buildings.start_c)):
        check.require(quantity, values, np.isfinite(values), "a finite number")
    wide = np.isfinite(high) & (high > low)
    check.require("comfort_high_c", high, wide, "above comfort_low_c: the band is empty")
    return HeatFleet(
        pumps=pumps,
        hours=hours,
        capacity=buildings.capacity_kwh_per_k,
        resistance=buildings.resistance_k_per_kw,
        low=low,
        high=high,
        start=buildings.start_c,
        is_store=False,
    )


def heated_stores(pumps: HeatPumps, stores: HeatStores, hours: float) -> HeatFleet:
    """Put a thermal store behind each heat pump.

    Raises
    ------
    DataError
        If a capacity or loss is not above 0, or a start outside the store; the pump is named.
    """
    require_hours(hours)
    check = NamedDevices(KIND, pumps.name)
    check.require_columns(vars(stores))
    capacity, start = stores.capacity_kwh, stores.start_kwh
    check.require_positive(capacity_kwh=capacity, loss_per_h=stores.loss_per_h)
    inside = (start >= 0) & (start <= capacity)
    check.require("start_kwh", start, inside, "from 0 to capacity_kwh")
    n = len(pumps)
    return HeatFleet(
        pumps=pumps,
        hours=hours,
        capacity=np.ones(n),
        resistance=1.0 / stores.loss_per_h,
        low=np.zeros(n),
        high=capacity,
        start=start,
        is_store=True,
    )


@dataclass(frozen=True)
class HeatConditions:
    """What the nodes meet, arrays of shape (n_pump,) in a slot or (n_slot, n_pump) in a block.

    Build it with `building_conditions` or `store_conditions`.

    Attributes
    ----------
    cop : float64
        Heat per electric energy, above 0.
    surroundings : float64
        Outdoor temperature, degC; 0 for stores.
    gain_kw : float64
        Heat from sun, people and appliances, kW; for stores less the heat demand.
    """

    cop: FloatArray
    surroundings: FloatArray
    gain_kw: FloatArray

    def slot(self, row: int) -> HeatConditions:
        """Return one slot of a block."""
        return HeatConditions(self.cop[row], self.surroundings[row], self.gain_kw[row])


def building_conditions(
    fleet: HeatFleet, cop: FloatArray, outdoor_c: FloatArray, gain_kw: FloatArray
) -> HeatConditions:
    """Return what buildings meet.

    Parameters
    ----------
    fleet : HeatFleet
    cop : float64, shape (n_pump,) or (n_slot, n_pump)
        From `coefficient_of_performance` or any other source.
    outdoor_c, gain_kw : float64, to be broadcast to the shape of `cop`
        Outdoor temperature, degC, and heat gains, kW.

    Raises
    ------
    DataError
        If a COP is not above 0; the heat pump is named. If a number is not finite.
    """
    _require_cop(fleet, cop)
    outdoor, gain = np.broadcast_to(outdoor_c, cop.shape), np.broadcast_to(gain_kw, cop.shape)
    for quantity, values in (("outdoor_c", outdoor), ("gain_kw", gain)):
        # the sum of a column is finite only if all its numbers are
        total = values.reshape(-1, len(fleet)).sum(axis=0)
        NamedDevices(KIND, fleet.pumps.name).require(
            quantity, total, np.isfinite(total), "finite numbers"
        )
    return HeatConditions(cop, outdoor, gain)


def store_conditions(fleet: HeatFleet, cop: FloatArray, demand_kw: FloatArray) -> HeatConditions:
    """Return what stores meet: a heat demand of at least 0, kW, to be broadcast to the COP.

    Raises
    ------
    DataError
        If a COP is not above 0 or a demand is negative; the heat pump is named.
    """
    _require_cop(fleet, cop)
    demand = np.broadcast_to(demand_kw, cop.shape)
    least = demand.reshape(-1, len(fleet)).min(axis=0, initial=np.inf)
    good = (least >= 0) & np.isfinite(demand).reshape(-1, len(fleet)).all(axis=0)
    NamedDevices(KIND, fleet.pumps.name).require(
        "demand_kw", least, good, "a finite number of at least 0"
    )
    return HeatConditions(cop, np.zeros_like(cop), -demand)


def _require_cop(fleet: HeatFleet, cop: FloatArray) -> None:
    least = cop.reshape(-1, len(fleet)).min(axis=0, initial=np.inf)
    good = (least > 0) & np.isfinite(cop).reshape(-1, len(fleet)).all(axis=0)
    NamedDevices(KIND, fleet.pumps.name).require("cop", least, good, "a finite number above 0")


def idle_state(fleet: HeatFleet, state: FloatArray, conditions: HeatConditions) -> FloatArray:
    """Return the state after a slot without any heating, shape (n_pump,)."""
    rest = conditions.surroundings * -np.expm1(-fleet.hours / (fleet.resistance * fleet.capacity))
    return np.asarray(rest + state * fleet.kept + conditions.gain_kw * fleet.state_per_kw)


def reachable_states(fleet: HeatFleet, conditions: HeatConditions) -> tuple[FloatArray, FloatArray]:
    """Return between which states the band can be kept until the end of a block.

    A state at the start of slot t from which the pump can keep the band in all slots from t on
    lies between the two; looked back from the end, each slot at full power or none. Where no
    state can, the band itself stands, its lower end first.

    Parameters
    ----------
    fleet : HeatFleet
    conditions : HeatConditions
        Of a block, arrays of shape (n_slot, n_pump).

    Returns
    -------
    least, most : float64, shape (n_slot + 1, n_pump)
        Row t is the start of slot t, row t + 1 its end.
    """
    slots = len(conditions.cop)
    least = np.empty((slots + 1, len(fleet)))
    most = np.empty_like(least)
    least[slots], most[slots] = fleet.low, fleet.high
    empty = np.zeros(len(fleet))
    full_kw = conditions.cop * fleet.pumps.rated_kw
    for slot in reversed(range(slots)):
        unheated = idle_state(fleet, empty, conditions.slot(slot))
        heated = unheated + full_kw[slot] * fleet.state_per_kw
        least[slot] = np.clip((least[slot + 1] - heated) / fleet.kept, fleet.low, fleet.high)
        top = np.minimum((most[slot + 1] - unheated) / fleet.kept, fleet.high)
        most[slot] = np.maximum(top, least[slot])
    return least, most


def power_band(
    fleet: HeatFleet,
    state: FloatArray,
    conditions: HeatConditions,
    end: tuple[FloatArray, FloatArray] | None = None,
) -> PowerBand:
    """Return the electric power that keeps the state inside its band at the end of a slot.

    Where the lower end is out of reach both are the rated power, where the upper end is both 0.

    Parameters
    ----------
    fleet : HeatFleet
    state : float64, shape (n_pump,)
        At the start of the slot, degC or kWh.
    conditions : HeatConditions
        Of the slot, arrays of shape (n_pump,).
    end : pair of float64, shape (n_pump,), optional
        Least and greatest state at the end of the slot: row t + 1 of `reachable_states`, so that
        later slots keep the band too. Without it the band itself.

    Returns
    -------
    PowerBand
        Electric power, kW.
    """
    low, high = (fleet.low, fleet.high) if end is None else end
    unheated = idle_state(fleet, state, conditions)
    per_kw = fleet.state_per_kw * conditions.cop
    rated = fleet.pumps.rated_kw
    lowest = np.clip((low - unheated) / per_kw, 0.0, rated)
    highest = np.clip((high - unheated) / per_kw, 0.0, rated)
    return PowerBand(lowest, np.maximum(lowest, highest))


def hysteresis(
    fleet: HeatFleet, state: FloatArray, running: BoolArray, conditions: HeatConditions
) -> tuple[FloatArray, BoolArray]:
    """Heat at full power from the lower end of the band to the upper one, then rest.

    Parameters
    ----------
    fleet : HeatFleet
    state : float64, shape (n_pump,)
        degC or kWh.
    running : bool, shape (n_pump,)
        Whether the pump ran in the slot before.
    conditions : HeatConditions
        Of the slot.

    Returns
    -------
    power_kw : float64, shape (n_pump,)
        Electric power, kW; less than full only in the slot that reaches an end of the band.
    running : bool, shape (n_pump,)
        For the next slot.
    """
    band = power_band(fleet, state, conditions)
    rated = fleet.pumps.rated_kw
    too_cold, too_warm = band.lowest_kw > 0, band.highest_kw < rated
    # a slot that begins cold and would end too warm is heated up to the top, and ends the run
    wanted = np.where(running | too_cold, rated, 0.0)
    power = np.clip(wanted, band.lowest_kw, band.highest_kw)
    return power, (running | too_cold) & ~too_warm


@dataclass(frozen=True)
class HeatStep:
    """What a slot did, arrays of shape (n_pump,).

    Attributes
    ----------
    state : float64
        At the end of the slot, degC or kWh.
    heat_kwh : float64
        From the heat pump, kWh.
    lost_kwh : float64
        To the surroundings, kWh; below 0 where they are warmer.
    unmet_kwh : float64
        Heat demand that an empty store could not serve, kWh; 0 for buildings.
    discomfort_kh : float64
        Distance of the state at the end of the slot from the band times its length, K h; 0 for
        stores.
    """

    state: FloatArray
    heat_kwh: FloatArray
    lost_kwh: FloatArray
    unmet_kwh: FloatArray
    discomfort_kh: FloatArray


def apply_power(
    fleet: HeatFleet, state: FloatArray, conditions: HeatConditions, power_kw: FloatArray
) -> HeatStep:
    """Return what a slot at constant power does.

    Energy is conserved: ``C (state' - state) = heat + gain - lost + unmet``. A store that runs
    empty serves part of its demand and ends at 0; nothing else is clipped.

    Parameters
    ----------
    fleet : HeatFleet
    state : float64, shape (n_pump,)
        At the start of the slot, degC or kWh.
    conditions : HeatConditions
        Of the slot.
    power_kw : float64, shape (n_pump,)
        Electric power, kW.

    Returns
    -------
    HeatStep

    Raises
    ------
    SimulatorError
        If a power is below 0 or above the rated one, or a store too small; the pump is named.
    """
    names, rated = fleet.pumps.name, fleet.pumps.rated_kw
    possible = (power_kw >= 0) & (power_kw <= rated * (1 + POWER_TOLERANCE))
    check = NamedDevices(KIND, names)
    check.refuse_power(power_kw, possible, "it runs between 0 and rated_kw")
    heat_kw = power_kw * conditions.cop
    after = idle_state(fleet, state, conditions) + heat_kw * fleet.state_per_kw
    unmet_kw = np.zeros(len(fleet))
    discomfort = np.zeros(len(fleet))
    if fleet.is_store:
        fits = (power_kw == 0) | (after <= fleet.high * (1 + POWER_TOLERANCE))
        check.refuse_power(power_kw, fits, "its store has no room for that heat")
        unmet_kw = np.maximum(-after, 0.0) / fleet.state_per_kw
        after = np.maximum(after, 0.0)
    else:
        outside_k = np.maximum(fleet.low - after, 0.0) + np.maximum(after - fleet.high, 0.0)
        discomfort = outside_k * fleet.hours
    net_kw = heat_kw + conditions.gain_kw + unmet_kw
    return HeatStep(
        state=after,
        heat_kwh=heat_kw * fleet.hours,
        lost_kwh=_lost_kwh(fleet, state, conditions.surroundings, net_kw),
        unmet_kwh=unmet_kw * fleet.hours,
        discomfort_kh=discomfort,
    )


def _lost_kwh(
    fleet: HeatFleet, state: FloatArray, surroundings: FloatArray, net_kw: FloatArray
) -> FloatArray:
    """Return the integral of ``(T - T_a) / R`` over the slot: the heat lost, kWh.

    ``T - T_a`` goes from its value now towards ``R net``, so its mean is that end value plus the
    distance times ``R C (1 - a) / hours``.
    """
    end_value = fleet.resistance * net_kw
    distance = state - surroundings - end_value
    integral = end_value * fleet.hours + distance * fleet.capacity * fleet.state_per_kw
    return np.asarray(integral / fleet.resistance)


def demand_met_share(demand_kwh: FloatArray, unmet_kwh: FloatArray) -> FloatArray:
    """Return the share of the heat demand that was served.

    Parameters
    ----------
    demand_kwh, unmet_kwh : float64, shape (n_slot, n_pump)
        Demand and what of it was not served, kWh.

    Returns
    -------
    float64, shape (n_pump,)
        From 0 to 1; NaN where nothing was asked for.

    Raises
    ------
    DataError
        If the shapes differ.
    """
    if demand_kwh.shape != unmet_kwh.shape:
        raise DataError(
            f"heat demand of shape {demand_kwh.shape} and unmet demand of shape {unmet_kwh.shape} "
            "must have the same shape"
        )
    asked = demand_kwh.sum(axis=0)
    served = asked - unmet_kwh.sum(axis=0)
    nothing = np.full(len(asked), np.nan)
    return np.asarray(np.divide(served, asked, out=nothing, where=asked > 0))


@dataclass(frozen=True)
class HeatRun:
    """What a fleet did in a block, arrays of shape (n_slot, n_pump); see `HeatStep`."""

    power_kw: FloatArray
    state: FloatArray
    heat_kwh: FloatArray
    lost_kwh: FloatArray
    unmet_kwh: FloatArray
    discomfort_kh: FloatArray


def run_by_hysteresis(fleet: HeatFleet, conditions: HeatConditions) -> HeatRun:
    """Run a fleet by the rule alone, without any market.

    Parameters
    ----------
    fleet : HeatFleet
    conditions : HeatConditions
        Of all slots, arrays of shape (n_slot, n_pump).

    Returns
    -------
    HeatRun
    """
    slots = len(conditions.cop)
    rows = {key: np.empty((slots, len(fleet))) for key in HeatRun.__dataclass_fields__}
    state, running = fleet.start, np.zeros(len(fleet), dtype=np.bool_)
    for slot in range(slots):
        now = conditions.slot(slot)
        rows["power_kw"][slot], running = hysteresis(fleet, state, running, now)
        step = apply_power(fleet, state, now, rows["power_kw"][slot])
        for key, values in vars(step).items():
            rows[key][slot] = values
        state = step.state
    return HeatRun(**rows)
