"""What those do who take no part in the local markets: alone with the retailer.

Such a household uses its own generation, and its battery takes the steps that pay at the retailer's
prices: own surplus is stored where it is worth no less than fed in (or thrown away), own need is
covered where that costs no more than the retailer, and it buys and sells where his prices meet its
own. The rest is bought from or sold to him. Where feeding in would cost money, the plant only
serves its own household. The power flows like any other; grid limits do not hold it back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tricell.grid_models.arrays import sum_by_key
from tricell.simulators.battery_orders import Step
from tricell.simulators.messages import AgentPowerNow, StorageNow

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Outside:
    """Power of the outsiders in one slot, kW; 0 for everybody who trades.

    Attributes
    ----------
    generation_kw : per agent.
    battery_kw : per battery, positive charges.
    net_kw : per agent, positive consumes.
    """

    generation_kw: Floats
    battery_kw: Floats
    net_kw: Floats


class Outsiders:
    """Those who take no part.

    Parameters
    ----------
    takes_part : whether each agent trades.
    battery_agent : owner of each battery.
    """

    def __init__(self, takes_part: Bools, battery_agent: Indices) -> None:
        self._trades = takes_part
        self._battery_agent = battery_agent
        self._battery_trades = takes_part[battery_agent]

    def __bool__(self) -> bool:
        return not self._trades.all()

    def act(
        self,
        power: AgentPowerNow,
        storage: StorageNow,
        *,
        feed_in: float,
        feed_in_net: Floats,
        retail: Floats,
    ) -> Outside:
        """Return what they do in a slot.

        Parameters
        ----------
        power, storage : what the slot brings.
        feed_in : the feed-in price, EUR/kWh.
        feed_in_net : what a kWh fed in earns after charges, EUR/kWh, per agent.
        retail : the retail price less the fee of the own area, EUR/kWh, per store: what limit
            prices of orders are to be compared with.
        """
        steps, limit = storage.orders.upper_kw, storage.orders.limit_price_eur_per_kwh
        surplus_worth = np.maximum(feed_in, feed_in - feed_in_net)[self._battery_agent]
        pays = np.empty(steps.shape, np.bool_)
        pays[Step.CHARGE_OWN] = limit[Step.CHARGE_OWN] >= surplus_worth
        pays[Step.CHARGE_MARKET] = limit[Step.CHARGE_MARKET] >= retail
        pays[Step.DISCHARGE_OWN] = limit[Step.DISCHARGE_OWN] <= retail
        pays[Step.DISCHARGE_MARKET] = limit[Step.DISCHARGE_MARKET] <= feed_in
        taken = np.where(pays, steps, 0.0)
        battery = taken[Step.CHARGE_OWN] + taken[Step.CHARGE_MARKET]
        battery -= taken[Step.DISCHARGE_OWN] + taken[Step.DISCHARGE_MARKET]
        battery = np.where(self._battery_trades, 0.0, battery)
        stored = sum_by_key(self._battery_agent, battery, len(self._trades))
        need = np.maximum(power.p_load_kw + stored, 0.0)
        wanted = np.where(feed_in_net >= 0.0, np.inf, need)
        generation = np.minimum(np.maximum(power.generation_kw, 0.0), wanted)
        generation = np.where(self._trades, 0.0, generation)
        firm = power.p_load_kw + np.maximum(-power.generation_kw, 0.0)
        net = np.where(self._trades, 0.0, firm - generation + stored)
        return Outside(generation, battery, net)
