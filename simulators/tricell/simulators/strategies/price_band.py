r"""Strategy ``price_band``: buy below one price, sell above another, in between by fill level.

Both prices are all-in prices of the owner (:math:`b` = buy below, :math:`s` = sell above). The
value of stored energy falls in a straight line from an empty to a full battery,

.. math::
   v(E) = v_{full} + (v_{empty} - v_{full}) (1 - E / E_{max}), \quad
   v_{full} = b / \eta_c, \quad v_{empty} = (s - w) \eta_d

so a full battery still buys at :math:`b` (if it had room), an empty one sells from :math:`s`
(if it had energy), and in between it moves to the fill level whose value equals the price. Of
two equal batteries the emptier one pays more and the fuller one sells cheaper, which evens them
out instead of running one of them alone.

If the band is narrower than the losses (:math:`v_{full} > v_{empty}`), buying at :math:`b` to
sell at :math:`s` loses money. With prices given by the planner :math:`v_{full}` is then lowered
to :math:`v_{empty}`; with quantiles of a flat day the feed-in price (less the owner's charge on
export) takes the place of :math:`b`, which leaves self-consumption and trade with neighbours, but
no trade on the retail price. The value is never below zero: energy is not worth less in store
than thrown away.
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tricell.simulators.battery_orders import (
    BatteryOrders,
    BatterySlot,
    KnownPrices,
    step_prices,
    step_quantities,
)
from tricell.simulators.population import Batteries, FloatArray

DEFAULT_QUANTILES = (0.25, 0.75)


class PriceBand(BaseModel):
    """Buy below one price and sell above another, fixed or as quantiles of the day's prices."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    kind: Literal["price_band"] = "price_band"
    buy_below_eur_per_kwh: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """All-in price at and below which the battery buys, EUR/kWh; needs `sell_above` too."""
    sell_above_eur_per_kwh: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """All-in price at and above which the battery sells, EUR/kWh; needs `buy_below` too."""
    buy_quantile: float = Field(default=DEFAULT_QUANTILES[0], ge=0, le=1)
    """Without fixed prices: quantile of the day's retail prices to buy below."""
    sell_quantile: float = Field(default=DEFAULT_QUANTILES[1], ge=0, le=1)
    """Without fixed prices: quantile of the day's retail prices to sell above."""
    wear_eur_per_kwh: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Wear per kWh discharged, EUR/kWh."""

    @model_validator(mode="after")
    def _band_is_a_band(self) -> Self:
        buy, sell = self.buy_below_eur_per_kwh, self.sell_above_eur_per_kwh
        if (buy is None) != (sell is None):
            raise ValueError(
                "buy_below_eur_per_kwh and sell_above_eur_per_kwh belong together: give both, "
                "or neither to use buy_quantile and sell_quantile"
            )
        if buy is not None and sell is not None:
            if buy >= sell:
                raise ValueError(
                    f"buy_below_eur_per_kwh ({buy:g}) must be below sell_above_eur_per_kwh "
                    f"({sell:g})"
                )
            if {"buy_quantile", "sell_quantile"} & self.model_fields_set:
                raise ValueError(
                    "give either fixed prices (buy_below_eur_per_kwh, sell_above_eur_per_kwh) "
                    "or quantiles (buy_quantile, sell_quantile), not both"
                )
        if self.buy_quantile >= self.sell_quantile:
            raise ValueError(
                f"buy_quantile ({self.buy_quantile:g}) must be below sell_quantile "
                f"({self.sell_quantile:g})"
            )
        return self


def price_band_orders(
    parameters: PriceBand,
    batteries: Batteries,
    slot: BatterySlot,
    prices: KnownPrices,
) -> BatteryOrders:
    """Orders at the value of stored energy that belongs to each battery's fill level.

    Parameters
    ----------
    parameters : PriceBand
        Band and wear.
    batteries : Batteries
        Ratings.
    slot : BatterySlot
        Stored energy and own surplus.
    prices : KnownPrices
        Retail prices of the day, feed-in price of the slot and the local fee.

    Returns
    -------
    BatteryOrders
        All four steps.
    """
    value = stored_energy_value(parameters, batteries, slot.soc_kwh, prices)
    return BatteryOrders(
        limit_price_eur_per_kwh=step_prices(
            batteries,
            value,
            parameters.wear_eur_per_kwh,
            prices.local_fee_eur_per_kwh,
            prices.export_charge_eur_per_kwh,
        ),
        upper_kw=step_quantities(batteries, slot, trades_with_market=True),
    )


def stored_energy_value(
    parameters: PriceBand, batteries: Batteries, soc_kwh: FloatArray, prices: KnownPrices
) -> FloatArray:
    """Value ``v`` of a kWh in store, EUR/kWh, shape (n_battery,); see the module."""
    buy, sell = _band(parameters, prices)
    value_empty = (sell - parameters.wear_eur_per_kwh) * batteries.eta_discharge
    value_full = buy / batteries.eta_charge
    if parameters.buy_below_eur_per_kwh is None:
        earns = prices.feed_in_eur_per_kwh - prices.export_charge_eur_per_kwh
        worth_feed_in = earns / batteries.eta_charge
        value_full = np.where(value_full > value_empty, worth_feed_in, value_full)
    value_full = np.minimum(value_full, value_empty)
    room = np.clip(1.0 - soc_kwh / batteries.energy_kwh, 0.0, 1.0)
    return np.asarray(np.maximum(value_full + (value_empty - value_full) * room, 0.0))


def _band(
    parameters: PriceBand, prices: KnownPrices
) -> tuple[FloatArray | float, FloatArray | float]:
    buy, sell = parameters.buy_below_eur_per_kwh, parameters.sell_above_eur_per_kwh
    if buy is not None and sell is not None:
        return buy, sell
    if prices.day_retail_eur_per_kwh.ndim > 1:
        quantiles = [parameters.buy_quantile, parameters.sell_quantile]
        lowest, highest = np.quantile(prices.day_retail_eur_per_kwh, quantiles, axis=0)
        return lowest, highest
    ranked = np.sort(prices.day_retail_eur_per_kwh)
    rank = np.linspace(0.0, 1.0, len(ranked))
    low, high = np.interp([parameters.buy_quantile, parameters.sell_quantile], rank, ranked)
    return float(low), float(high)
