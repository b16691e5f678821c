"""What a battery tells the market: four priced steps, and what it knows when it decides.

A battery bids a value ``v`` of stored energy (EUR per kWh stored). With efficiencies
``eta_c, eta_d``, wear ``w`` and the local fee ``phi`` that a buyer in the battery's own area
pays (with what the owner pays on every imported kWh), and the charge ``g`` on the owner's
export, the limit prices in terms of the area's price are

=====================  ==========================  ============================================
step                   limit price (EUR/kWh)       why
=====================  ==========================  ============================================
``CHARGE_OWN``         ``v * eta_c + g``           own surplus is kept instead of sold
``CHARGE_MARKET``      ``v * eta_c - phi``         a buyer pays the area's price plus the fee
``DISCHARGE_OWN``      ``v / eta_d + w - phi``     own demand saves the area's price and the fee
``DISCHARGE_MARKET``   ``v / eta_d + w + g``       a seller earns the area's price less ``g``
=====================  ==========================  ============================================

A charging step is accepted when the area's price is at or below its limit, a discharging step
when the price is at or above it. With ``v >= 0`` and ``w >= 0`` no price makes charging and
discharging both profitable, as long as export does not earn back more than import costs
(``phi + g >= 0``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from tricell.simulators.battery import power_bounds
from tricell.simulators.energy_plan import StoredValue
from tricell.simulators.population import Batteries, FloatArray


class Step(IntEnum):
    """Rows of the arrays in `BatteryOrders`."""

    CHARGE_OWN = 0
    CHARGE_MARKET = 1
    DISCHARGE_OWN = 2
    DISCHARGE_MARKET = 3


@dataclass(frozen=True)
class BatteryOrders:
    """Orders of all batteries for one slot, arrays of shape (4, n_battery), rows as in `Step`.

    Attributes
    ----------
    limit_price_eur_per_kwh : float64
        Highest price a charging step pays, lowest price a discharging step takes, EUR/kWh.
    upper_kw : float64
        Largest accepted power of each step, kW; the lower bound is zero. The two charging steps
        sum to at most the charging bound of the slot, the two discharging steps likewise, and at
        most one of ``CHARGE_OWN`` and ``DISCHARGE_OWN`` is above zero.
    """

    limit_price_eur_per_kwh: FloatArray
    upper_kw: FloatArray


@dataclass(frozen=True)
class KnownPrices:
    """What a strategy knows about prices when it decides on a slot.

    Attributes
    ----------
    retail_eur_per_kwh : float64, shape (n_battery,) or float
        All-in price of energy from the retailer in this slot, EUR/kWh.
    feed_in_eur_per_kwh : float
        What the retailer pays for exported energy in this slot, EUR/kWh.
    local_fee_eur_per_kwh : float64, shape (n_battery,) or ()
        What the owner pays on energy from inside the battery's own area on top of its price:
        the area's fee and the owner's own charge on imports, EUR/kWh.
    day_retail_eur_per_kwh : float64, shape (n_slot,) or (n_slot, n_battery)
        Retail price of all slots of the day, known since the day-ahead auction, EUR/kWh.
    slot_of_day : int
        Position of this slot in `day_retail_eur_per_kwh`; what follows it is the look-ahead.
    export_charge_eur_per_kwh : float64, shape (n_battery,) or float
        What the owner pays on every exported kWh, EUR/kWh; negative where it earns.
    """

    retail_eur_per_kwh: FloatArray | float
    feed_in_eur_per_kwh: float
    local_fee_eur_per_kwh: FloatArray
    day_retail_eur_per_kwh: FloatArray
    slot_of_day: int
    export_charge_eur_per_kwh: FloatArray | float = 0.0


@dataclass(frozen=True)
class SlotPlan:
    """What was planned for a slot.

    Attributes
    ----------
    value : StoredValue
        Value of energy in store at the end of the slot.
    cap_kw : float64, shape (n_battery,)
        Largest import of the owner, kW; infinite for none.
    reserve_kwh : float64, shape (n_battery,)
        Least stored energy at the end of the slot, kWh; 0 for none.
    """

    value: StoredValue
    cap_kw: FloatArray
    reserve_kwh: FloatArray


@dataclass(frozen=True)
class BatterySlot:
    """State of all batteries in the slot that a strategy decides on.

    Attributes
    ----------
    soc_kwh : float64, shape (n_battery,)
        Stored energy at the start of the slot, kWh.
    own_surplus_kw : float64, shape (n_battery,)
        Own generation less own load, kW; negative is a deficit. See
        `tricell.simulators.battery.own_surplus_of_batteries`.
    hours : float
        Length of the slot, h.
    plan : SlotPlan or None
        What a strategy that plans ahead has planned; None for all others.
    """

    soc_kwh: FloatArray
    own_surplus_kw: FloatArray
    hours: float
    plan: SlotPlan | None = None


BatteryStrategy = Callable[[Batteries, BatterySlot, KnownPrices], BatteryOrders]
"""``strategy(batteries, slot, prices)``, pure and vectorised over the batteries."""


def step_quantities(
    batteries: Batteries, slot: BatterySlot, *, trades_with_market: bool
) -> FloatArray:
    """Upper quantities of the four steps.

    Parameters
    ----------
    batteries : Batteries
        Ratings.
    slot : BatterySlot
        Stored energy and own surplus.
    trades_with_market : bool
        Whether power beyond the own surplus and deficit is offered to the market.

    Returns
    -------
    float64, shape (4, n_battery)
        Upper bound of each step, kW, rows as in `Step`.
    """
    max_charge_kw, max_discharge_kw = power_bounds(batteries, slot.soc_kwh, slot.hours)
    upper_kw = np.zeros((len(Step), len(batteries)))
    upper_kw[Step.CHARGE_OWN] = np.clip(slot.own_surplus_kw, 0.0, max_charge_kw)
    upper_kw[Step.DISCHARGE_OWN] = np.clip(-slot.own_surplus_kw, 0.0, max_discharge_kw)
    if trades_with_market:
        upper_kw[Step.CHARGE_MARKET] = max_charge_kw - upper_kw[Step.CHARGE_OWN]
        upper_kw[Step.DISCHARGE_MARKET] = max_discharge_kw - upper_kw[Step.DISCHARGE_OWN]
    return upper_kw


def step_prices(
    batteries: Batteries,
    value_eur_per_kwh: FloatArray,
    wear_eur_per_kwh: float,
    local_fee_eur_per_kwh: FloatArray,
    export_charge_eur_per_kwh: FloatArray | float = 0.0,
) -> FloatArray:
    """Limit prices of the four steps from the value of stored energy.

    Parameters
    ----------
    batteries : Batteries
        Efficiencies.
    value_eur_per_kwh : float64, shape (n_battery,)
        Value ``v`` of a kWh in store, EUR/kWh.
    wear_eur_per_kwh : float
        Wear ``w`` per kWh discharged, EUR/kWh.
    local_fee_eur_per_kwh : float64, shape (n_battery,) or ()
        What a buyer pays on top, ``phi``, EUR/kWh.
    export_charge_eur_per_kwh : float64, shape (n_battery,) or float
        Charge ``g`` on the owner's export, EUR/kWh.

    Returns
    -------
    float64, shape (4, n_battery)
        Limit price of each step, EUR/kWh, rows as in `Step`.
    """
    pays = value_eur_per_kwh * batteries.eta_charge
    takes = value_eur_per_kwh / batteries.eta_discharge + wear_eur_per_kwh
    prices = np.empty((len(Step), len(batteries)))
    prices[Step.CHARGE_OWN] = pays + export_charge_eur_per_kwh
    prices[Step.CHARGE_MARKET] = pays - local_fee_eur_per_kwh
    prices[Step.DISCHARGE_OWN] = takes - local_fee_eur_per_kwh
    prices[Step.DISCHARGE_MARKET] = takes + export_charge_eur_per_kwh
    return prices
