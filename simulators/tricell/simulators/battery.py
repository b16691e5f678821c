r"""Battery physics as pure functions on arrays, one entry per battery.

The stored energy after a slot of length :math:`\Delta` hours is

.. math:: E' = E (1-\sigma)^{\Delta/24} + \eta_c\, p^+ \Delta - p^- \Delta / \eta_d

with charging :math:`p^+ = \max(p, 0)`, discharging :math:`p^- = \max(-p, 0)` at the terminals
(kW), efficiencies :math:`\eta_c, \eta_d` and a share :math:`\sigma` lost in a day. Power is
positive when the battery consumes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tricell.errors import SimulatorError
from tricell.simulators.population import Batteries, FloatArray

SOC_TOLERANCE_KWH_PER_KWH = 1e-6
"""Largest overshoot of the stored energy, as a share of capacity, that counts as rounding."""


def stored_after_self_discharge(
    batteries: Batteries, soc_kwh: FloatArray, hours: float
) -> FloatArray:
    """Compute the stored energy of idle batteries after a time.

    Parameters
    ----------
    batteries : Batteries
        Ratings.
    soc_kwh : float64, shape (n_battery,)
        Stored energy at the start, kWh.
    hours : float
        Time that passes, h.

    Returns
    -------
    float64, shape (n_battery,)
        Stored energy, kWh.
    """
    kept = (1.0 - batteries.self_discharge_per_day) ** (hours / 24.0)
    return np.asarray(soc_kwh * kept)


def apply_power(
    batteries: Batteries, soc_kwh: FloatArray, power_kw: FloatArray, hours: float
) -> FloatArray:
    """Compute the stored energy after a slot at constant power.

    Nothing is clipped, so that energy is conserved to the last bit; an overshoot by rounding
    (up to `SOC_TOLERANCE_KWH_PER_KWH` of capacity) is carried and worked off by the next slot's
    `power_bounds`.

    Parameters
    ----------
    batteries : Batteries
        Ratings.
    soc_kwh : float64, shape (n_battery,)
        Stored energy at the start of the slot, kWh.
    power_kw : float64, shape (n_battery,)
        Power at the terminals, kW, positive when charging.
    hours : float
        Length of the slot, h.

    Returns
    -------
    float64, shape (n_battery,)
        Stored energy at the end of the slot, kWh.

    Raises
    ------
    SimulatorError
        If a power does not fit into what a battery can take or give.
    """
    charge = np.maximum(power_kw, 0.0) * hours * batteries.eta_charge
    discharge = np.maximum(-power_kw, 0.0) * hours / batteries.eta_discharge
    new_soc = stored_after_self_discharge(batteries, soc_kwh, hours) + charge - discharge
    slack = SOC_TOLERANCE_KWH_PER_KWH * batteries.energy_kwh
    good = (new_soc >= -slack) & (new_soc <= batteries.energy_kwh + slack)
    if not good.all():
        row = int(np.argmin(good))
        raise SimulatorError(
            f"Battery {row} cannot run at {power_kw[row]:g} kW for {hours:g} h: it holds "
            f"{soc_kwh[row]:g} of {batteries.energy_kwh[row]:g} kWh and would end at "
            f"{new_soc[row]:g} kWh. Whoever sets its power must keep to power_bounds()."
        )
    return np.asarray(new_soc)


def power_bounds(
    batteries: Batteries, soc_kwh: FloatArray, hours: float
) -> tuple[FloatArray, FloatArray]:
    """Largest charging and discharging power that a slot allows.

    Parameters
    ----------
    batteries : Batteries
        Ratings.
    soc_kwh : float64, shape (n_battery,)
        Stored energy at the start of the slot, kWh.
    hours : float
        Length of the slot, h.

    Returns
    -------
    max_charge_kw, max_discharge_kw : float64, shape (n_battery,)
        Power at the terminals, kW, both zero or more.
    """
    stored = stored_after_self_discharge(batteries, soc_kwh, hours)
    room = (batteries.energy_kwh - stored) / (batteries.eta_charge * hours)
    supply = stored * batteries.eta_discharge / hours
    return (
        np.clip(room, 0.0, batteries.charge_kw),
        np.clip(supply, 0.0, batteries.discharge_kw),
    )


def own_surplus_of_batteries(batteries: Batteries, surplus_kw: FloatArray) -> FloatArray:
    """Share of its owner's surplus that each battery answers for.

    Batteries of one owner split the surplus (or deficit) in proportion to their power, charging
    power for a surplus and discharging power for a deficit.

    Parameters
    ----------
    batteries : Batteries
        Ratings and owners.
    surplus_kw : float64, shape (n_agent,)
        Generation less load of each agent, kW; negative is a deficit.

    Returns
    -------
    float64, shape (n_battery,)
        Surplus of each battery, kW.
    """
    own = surplus_kw[batteries.agent]
    power = np.where(own > 0, batteries.charge_kw, batteries.discharge_kw)
    total = np.bincount(batteries.agent, weights=power, minlength=len(surplus_kw))[batteries.agent]
    return np.asarray(own * np.divide(power, total, out=np.zeros_like(power), where=total > 0))


def greedy_power(
    batteries: Batteries, soc_kwh: FloatArray, own_surplus_kw: FloatArray, hours: float
) -> FloatArray:
    """Power of batteries that store any own surplus and cover any own deficit at once.

    Parameters
    ----------
    batteries : Batteries
        Ratings.
    soc_kwh : float64, shape (n_battery,)
        Stored energy at the start of the slot, kWh.
    own_surplus_kw : float64, shape (n_battery,)
        Own generation less own load, kW.
    hours : float
        Length of the slot, h.

    Returns
    -------
    float64, shape (n_battery,)
        Power at the terminals, kW, positive when charging.
    """
    max_charge_kw, max_discharge_kw = power_bounds(batteries, soc_kwh, hours)
    return np.clip(own_surplus_kw, -max_discharge_kw, max_charge_kw)


@dataclass(frozen=True)
class GreedySchedule:
    """What greedy self-consumption does over a horizon, arrays of shape (n_slot, n_battery).

    Attributes
    ----------
    battery_kw : float64
        Power at the terminals, kW, positive when charging.
    soc_kwh : float64
        Stored energy at the end of each slot, kWh.
    grid_kw : float64
        What remains of load less PV plus battery, kW, positive when imported.
    """

    battery_kw: FloatArray
    soc_kwh: FloatArray
    grid_kw: FloatArray


def greedy_self_consumption(
    batteries: Batteries, p_load_kw: FloatArray, p_pv_kw: FloatArray, hours: float
) -> GreedySchedule:
    """Run batteries on own surplus and deficit alone, without any trading.

    This is the reference that trading is compared with, and the rule behind SimBench's combined
    PV-and-battery profiles (simbench issue 2).

    Parameters
    ----------
    batteries : Batteries
        Ratings; they start at `Batteries.soc0_kwh`.
    p_load_kw, p_pv_kw : float64, shape (n_slot, n_battery)
        Load and PV generation beside each battery, kW, both positive.
    hours : float
        Length of a slot, h.

    Returns
    -------
    GreedySchedule
        Battery power, stored energy and remaining exchange with the grid.
    """
    surplus = p_pv_kw - p_load_kw
    battery_kw = np.empty_like(surplus)
    soc = np.empty_like(surplus)
    now = batteries.soc0_kwh
    for slot, own_surplus in enumerate(surplus):
        battery_kw[slot] = greedy_power(batteries, now, own_surplus, hours)
        now = apply_power(batteries, now, battery_kw[slot], hours)
        soc[slot] = now
    return GreedySchedule(battery_kw=battery_kw, soc_kwh=soc, grid_kw=battery_kw - surplus)
