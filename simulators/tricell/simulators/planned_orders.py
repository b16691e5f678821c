r"""Orders from a plan: planned power is bid for surely, the rest of the band at its value.

With the value :math:`v` of a stored kWh that the plan gives for the end of the slot (EUR/kWh), the
energy :math:`a` stored per kWh drawn (an efficiency, or a COP), the energy :math:`b` taken per kWh
given back, wear :math:`w`, the price :math:`\varphi` of energy from the own area beyond the
area's price, the charge :math:`g` on export, and a small margin :math:`m`,

=====================  =================================  ====================================
step                   limit price (EUR/kWh)              upper power
=====================  =================================  ====================================
``CHARGE_OWN``         :math:`v a \pm m + g`              own surplus, as far as wanted
``CHARGE_MARKET``      :math:`v a \pm m - \varphi`        the rest of what is wanted
``DISCHARGE_OWN``      :math:`v b + w \mp m - \varphi`    own deficit, as far as wanted
``DISCHARGE_MARKET``   :math:`v b + w \mp m + g`          the rest of what is wanted
=====================  =================================  ====================================

What is *wanted* is the planned power, with the upper sign, where the plan charges (or gives back),
and then nothing is offered in the other direction; where the plan stands still, all of the band is
offered both ways, with the lower sign. Prices of an optimal plan and its power fit together: it
charges only where a stored kWh is worth what it costs, so that with a plan that comes true just
the planned power is accepted. Where things come otherwise, prices decide. As the value of what can
be given back counts as at least 0, nothing charges and gives back at once, at negative prices
neither. Nobody has to pay more than the retailer asks, so :math:`v a` counts as the owner's retail
price at most: what a plan fears of full lines is no bid.

Where a household plans that one of its stores fills another, what passes between them behind the
meter is firm (`kept_inside`) and no order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tricell.grid_models.arrays import sum_by_key
from tricell.markets.orders import PRICE_LIMIT_EUR_PER_KWH
from tricell.simulators.battery_orders import BatteryOrders, Step
from tricell.simulators.device_checks import PowerBand
from tricell.simulators.fleet import EnergyPerPower, shared_by_owner
from tricell.simulators.population import FloatArray, IntArray

MARGIN_EUR_PER_KWH = 1e-4
"""By how much planned power is bid for better than its value; more than the solver's residues."""
HIGHEST_PRICE_EUR_PER_KWH = 0.99 * PRICE_LIMIT_EUR_PER_KWH
PLANNED_AT_LEAST = 1e-6
"""Planned power counts from this share of the band on."""


@dataclass(frozen=True)
class PlannedSlot:
    """What a plan says about a slot; arrays of shape (n_store,).

    Attributes
    ----------
    charge_kw, discharge_kw : planned power, never both above 0.
    value_eur_per_kwh : of a kWh stored at the end of the slot.
    """

    charge_kw: FloatArray
    discharge_kw: FloatArray
    value_eur_per_kwh: FloatArray


@dataclass(frozen=True)
class OwnerTerms:
    """What owners have and pay in a slot.

    Attributes
    ----------
    agent : int64, shape (n_store,), owner of each store.
    surplus_kw : own generation less firm load, kW, shape (n_agent,).
    fee : on energy from inside the own area, with the own charge on imports, shape (n_store,).
    export_charge : on exported energy, shape (n_store,).
    retail : all-in price of energy from the retailer, shape (n_store,) or (1,).
    """

    agent: IntArray
    surplus_kw: FloatArray
    fee: FloatArray
    export_charge: FloatArray
    retail: FloatArray


def kept_inside(
    plan: PlannedSlot, band: PowerBand, agent: IntArray, surplus_kw: FloatArray
) -> FloatArray:
    """Return what stores take from other stores of their owner, and from their owner's surplus.

    Only for owners who plan to charge one store and to discharge another: what one meter takes and
    gives at once is nobody else's affair.

    Parameters
    ----------
    plan, band : for this slot.
    agent : int64, shape (n_store,), owner of each store.
    surplus_kw : own generation less firm load, kW, shape (n_agent,).

    Returns
    -------
    float64, shape (n_store,)
        Power beyond what each store must take anyway, kW.
    """
    must = np.maximum(band.lowest_kw, 0.0)
    charge = np.clip(plan.charge_kw - must, 0.0, band.highest_kw - must)
    discharge = np.clip(plan.discharge_kw, 0.0, np.maximum(-band.lowest_kw, 0.0))
    given = sum_by_key(agent, discharge, len(surplus_kw))
    left = np.where(given > 0.0, np.maximum(surplus_kw + given, 0.0), 0.0)
    return shared_by_owner(agent, charge, left)


def planned_orders(
    plan: PlannedSlot,
    band: PowerBand,
    energy: EnergyPerPower,
    owner: OwnerTerms,
    must: FloatArray | None = None,
) -> BatteryOrders:
    """Return the orders of all stores beyond what they take anyway.

    Parameters
    ----------
    plan : for this slot.
    band : what the slot allows.
    energy : what power does to the stores.
    owner : what the owners have and pay.
    must : what each store takes anyway, kW; None for what the band says.
    """
    if must is None:
        must = np.maximum(band.lowest_kw, 0.0)
    room, give = band.highest_kw - must, np.maximum(-band.lowest_kw, 0.0)
    charge = np.clip(plan.charge_kw - must, 0.0, room)
    discharge = np.clip(plan.discharge_kw, 0.0, give)
    charges = charge > PLANNED_AT_LEAST * np.maximum(room, 1e-9)
    gives = ~charges & (must == 0.0) & (discharge > PLANNED_AT_LEAST * np.maximum(give, 1e-9))
    buys = np.where(charges, charge, np.where(gives, 0.0, room))
    sells = np.where(gives, discharge, np.where(charges | (must > 0.0), 0.0, give))
    own_charge = shared_by_owner(owner.agent, buys, owner.surplus_kw)
    own_discharge = shared_by_owner(owner.agent, sells, -owner.surplus_kw)
    upper = np.stack([own_charge, buys - own_charge, own_discharge, sells - own_discharge])
    margin = MARGIN_EUR_PER_KWH
    value = np.minimum(plan.value_eur_per_kwh, np.maximum(owner.retail, 0.0) / energy.into)
    value = np.where(give > 0, np.maximum(value, 0.0), value)
    pays = value * energy.into + np.where(charges, margin, -margin)
    out_of = np.where(give > 0, energy.out_of, 0.0)
    takes = value * out_of + energy.wear_eur_per_kwh + np.where(gives, -margin, margin)
    price = np.empty_like(upper)
    price[Step.CHARGE_OWN] = pays + owner.export_charge
    price[Step.CHARGE_MARKET] = pays - owner.fee
    price[Step.DISCHARGE_OWN] = takes - owner.fee
    price[Step.DISCHARGE_MARKET] = takes + owner.export_charge
    highest = HIGHEST_PRICE_EUR_PER_KWH
    return BatteryOrders(np.clip(price, -highest, highest), upper)
