"""The bill without any trading: every household alone with the retailer.

Each agent uses its own generation first, its battery stores what is left over and covers what is
missing (greedy self-consumption), and the rest is bought at the retail price or fed in at the
feed-in price, netted per slot (mechanism A1). Where the feed-in price is negative the plant is
curtailed instead. Grid limits play no part in this reference: it is what contracts would bill.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tricell.grid_models.arrays import sum_by_key
from tricell.simulators.battery import apply_power, greedy_power, own_surplus_of_batteries
from tricell.simulators.population import Batteries

Floats = NDArray[np.float64]


class NoTradingReference:
    """Bills of all agents without trading, summed block by block.

    Attributes
    ----------
    bill_eur : per agent, positive is paid.
    stored_kwh : energy in each battery after the last slot.
    """

    def __init__(self, batteries: Batteries, n_agent: int) -> None:
        self._batteries = batteries
        self.stored_kwh = batteries.soc0_kwh.copy()
        self.bill_eur = np.zeros(n_agent)

    def add(
        self, load_kw: Floats, generation_kw: Floats, retail: Floats, feed_in: Floats, hours: float
    ) -> None:
        """Bill a block of slots.

        Parameters
        ----------
        load_kw, generation_kw : shape (slots, agents).
        retail, feed_in : EUR/kWh, shape (slots,).
        hours : length of a slot, h.
        """
        net = self.net_kw(load_kw, generation_kw, hours)
        bought = np.maximum(net, 0.0) * retail[:, None]
        earned = np.maximum(-net, 0.0) * np.maximum(feed_in, 0.0)[:, None]
        self.bill_eur += (bought - earned).sum(axis=0) * hours

    def net_kw(self, load_kw: Floats, generation_kw: Floats, hours: float) -> Floats:
        """Return the net power of a block of slots, and move the batteries on.

        Parameters
        ----------
        load_kw, generation_kw : shape (slots, agents).
        hours : length of a slot, h.
        """
        net = load_kw - generation_kw
        for row in range(len(net)):
            net[row] += self._battery_kw(-net[row], hours)
        return net

    def _battery_kw(self, surplus_kw: Floats, hours: float) -> Floats:
        """Power of all batteries per agent in one slot."""
        batteries = self._batteries
        own = own_surplus_of_batteries(batteries, surplus_kw)
        power = greedy_power(batteries, self.stored_kwh, own, hours)
        self.stored_kwh = apply_power(batteries, self.stored_kwh, power, hours)
        return sum_by_key(batteries.agent, power, len(surplus_kw))
