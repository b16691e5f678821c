r"""Strategy ``self_consumption``: store own surplus, cover own deficit, ignore the market.

Without a broken grid limit the price :math:`\lambda` of an area lies between the feed-in price
:math:`f` (a seller can always export) and the retail price less the local fee
:math:`r - \varphi` (a buyer can always import). To have its way at every such price the battery
values stored energy by what it has in the slot:

.. math::
   v = (r - \varphi + m - g) / \eta_c \quad\text{with a surplus, so that the limit of charge\_own
   is above } r - \varphi

   v = \eta_d (f - m - w + \varphi) \quad\text{with a deficit, so that the limit of
   discharge\_own is below } f

where :math:`m` is a small margin that decides ties and :math:`g` the owner's charge on export.
No single :math:`v` between :math:`f` and :math:`r - \varphi` could do both, and none is needed: a
battery has a surplus or a deficit, never both, and offers nothing to the market.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tricell.simulators.battery_orders import (
    BatteryOrders,
    BatterySlot,
    KnownPrices,
    step_prices,
    step_quantities,
)
from tricell.simulators.population import Batteries


class SelfConsumption(BaseModel):
    """Store own surplus and cover own deficit; no trade with others."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    kind: Literal["self_consumption"] = "self_consumption"
    priority_margin_eur_per_kwh: float = Field(default=0.001, gt=0, allow_inf_nan=False)
    """Margin by which the battery's own use outbids the retailer, EUR/kWh; decides ties."""


def self_consumption_orders(
    parameters: SelfConsumption,
    batteries: Batteries,
    slot: BatterySlot,
    prices: KnownPrices,
) -> BatteryOrders:
    """Orders that take the own surplus and cover the own deficit at any price of the area.

    Parameters
    ----------
    parameters : SelfConsumption
        Margin for ties.
    batteries : Batteries
        Ratings.
    slot : BatterySlot
        Stored energy and own surplus.
    prices : KnownPrices
        Retail and feed-in price of the slot and the local fee.

    Returns
    -------
    BatteryOrders
        ``CHARGE_OWN`` or ``DISCHARGE_OWN`` per battery; the market steps have no quantity.
    """
    fee, margin = prices.local_fee_eur_per_kwh, parameters.priority_margin_eur_per_kwh
    export_charge = prices.export_charge_eur_per_kwh
    highest_price = prices.retail_eur_per_kwh - fee + margin
    lowest_price = prices.feed_in_eur_per_kwh - margin
    value = np.where(
        slot.own_surplus_kw > 0,
        (highest_price - export_charge) / batteries.eta_charge,
        batteries.eta_discharge * (lowest_price + fee),
    )
    return BatteryOrders(
        limit_price_eur_per_kwh=step_prices(batteries, value, 0.0, fee, export_charge),
        upper_kw=step_quantities(batteries, slot, trades_with_market=False),
    )
