r"""The rule of shared storage: take what would be fed in, give it back instead of the retailer.

A community, cell or multi-cell battery has no load of its own. It values a kWh in store at
:math:`v = (p_{im} + p_{ex}) / 2`, the middle between the retail and the feed-in price: local
surplus, which is worth at least :math:`p_{ex}`, is bought as long as it costs less, and sold as
soon as neighbours would have to pay more. Neighbours who want energy now outbid it, and storage at
home pays no fee. The fees of the levels decide the rest: of two batteries the one that costs less
to reach is filled first, and used first, so that surplus fills home, community and cell in the
order that the fees make cheapest.
"""

from __future__ import annotations

import numpy as np

from tricell.simulators.battery_orders import (
    BatteryOrders,
    BatterySlot,
    KnownPrices,
    step_prices,
    step_quantities,
)
from tricell.simulators.population import Batteries


def shared_storage_orders(
    batteries: Batteries, slot: BatterySlot, prices: KnownPrices
) -> BatteryOrders:
    """Return orders at the middle between the prices of the retailer; see the module."""
    earns = prices.feed_in_eur_per_kwh - prices.export_charge_eur_per_kwh
    value = np.maximum(0.5 * (prices.retail_eur_per_kwh + earns), 0.0)
    value = np.broadcast_to(value, len(batteries))
    return BatteryOrders(
        step_prices(
            batteries,
            value,
            0.0,
            prices.local_fee_eur_per_kwh,
            prices.export_charge_eur_per_kwh,
        ),
        step_quantities(batteries, slot, trades_with_market=True),
    )
