"""The registry of battery strategies: one file in `strategies` and one entry here each."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import Field

from tricell.simulators.battery_orders import BatteryStrategy
from tricell.simulators.energy_plan import EnergyPlanner
from tricell.simulators.strategies.bill_saving import (
    BillSaving,
    bill_saving_orders,
    bill_saving_planner,
)
from tricell.simulators.strategies.price_band import PriceBand, price_band_orders
from tricell.simulators.strategies.self_consumption import (
    SelfConsumption,
    self_consumption_orders,
)

BatteryStrategyParameters = Annotated[
    SelfConsumption | PriceBand | BillSaving, Field(discriminator="kind")
]
"""Parameters of any strategy, told apart by ``kind``."""


def make_strategy(parameters: SelfConsumption | PriceBand | BillSaving) -> BatteryStrategy:
    """Bind parameters to the strategy they belong to.

    Parameters
    ----------
    parameters : SelfConsumption, PriceBand or BillSaving
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
        case BillSaving():
            return partial(bill_saving_orders, parameters)


def make_planner(parameters: SelfConsumption | PriceBand | BillSaving) -> EnergyPlanner | None:
    """Bind parameters to the planner of their strategy.

    Parameters
    ----------
    parameters : SelfConsumption, PriceBand or BillSaving
        Validated parameters.

    Returns
    -------
    EnergyPlanner or None
        None for strategies that do not plan ahead.
    """
    if isinstance(parameters, BillSaving):
        return bill_saving_planner(parameters)
    return None
