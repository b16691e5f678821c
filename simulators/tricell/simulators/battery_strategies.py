"""The registry of battery strategies: one file in `strategies` and one entry here each."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import Field

from tricell.simulators.battery_orders import BatteryStrategy
from tricell.simulators.strategies.price_band import PriceBand, price_band_orders
from tricell.simulators.strategies.self_consumption import (
    SelfConsumption,
    self_consumption_orders,
)

BatteryStrategyParameters = Annotated[SelfConsumption | PriceBand, Field(discriminator="kind")]
"""Parameters of any strategy, told apart by ``kind``."""


def make_strategy(parameters: SelfConsumption | PriceBand) -> BatteryStrategy:
    """Bind parameters to the strategy they belong to.

    Parameters
    ----------
    parameters : SelfConsumption or PriceBand
        Validated parameters.

    Returns
    -------
    BatteryStrategy
        Function of (batteries, slot, prices).
    """
    match parameters:
        case SelfConsumption():
            return partial(self_consumption_orders, parameters)
        case PriceBand():
            return partial(price_band_orders, parameters)
