"""Own use first: nobody buys what its own plant is kept from making.

The joint program sees a plant as one order, whatever it serves. Where the price of an area, or of a
node behind a full line, falls to what plants ask for, they stand still in part, in proportion; a
household could then pay fees and charges for energy while its own plant stands still. So, where a
plant of the solution makes less than its owner uses, the program is solved again with the own load
as the least power of every plant; and once more where a battery stored energy from elsewhere that
its owner's plant could have made. Such a solution is worth the same, but for the fees that own use
saves. Where a limit could not be kept that way, the first one stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tricell.grid_models.arrays import sum_by_key
from tricell.markets.joint_market import Clearing, GridLimits, JointMarket, TradePrices
from tricell.markets.orders import OrderBook

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

RESIDUE_KW = 1e-6
"""Power that counts as nothing."""


@dataclass(frozen=True)
class OwnUse:
    """What plants serve at home in one slot.

    Attributes
    ----------
    load_kw : own load that every plant can serve, per agent with generation.
    generators : these agents; their orders are the first columns.
    battery_agent : owner of each battery; steps to store own surplus are the next columns.
    """

    load_kw: Floats
    generators: Indices
    battery_agent: Indices

    def is_short(self, accepted_kw: Floats) -> bool:
        """Return whether a plant of a solution makes less than its owner's load could take."""
        made = accepted_kw[: len(self.generators)]
        return bool((made < self.load_kw - RESIDUE_KW).any())

    def in_load(self, book: OrderBook) -> OrderBook:
        """Return the orders with what serves the own load as the least power."""
        least = np.zeros_like(book.quantity_kw)
        least[: len(self.generators)] = self.load_kw
        return replace(book, at_least_kw=least)

    def in_store(self, book: OrderBook, accepted_kw: Floats) -> OrderBook | None:
        """Return the orders with what batteries stored of it, too; None if it came from home.

        Parameters
        ----------
        book : orders as `in_load` returns them.
        accepted_kw : solution of the program with them.
        """
        n_plant, n_battery = len(self.generators), len(self.battery_agent)
        assert book.at_least_kw is not None
        n_agent = 1 + max(self.generators.max(initial=0), self.battery_agent.max(initial=0))
        stored = np.maximum(accepted_kw[n_plant : n_plant + n_battery], 0.0)
        wanted = sum_by_key(self.battery_agent, stored, n_agent)[self.generators]
        own = np.minimum(wanted, book.quantity_kw[:n_plant] - self.load_kw)
        own = np.maximum(own, 0.0)
        if (own <= accepted_kw[:n_plant] - self.load_kw + RESIDUE_KW).all():
            return None
        per_kw = np.zeros(n_agent)
        per_kw[self.generators] = np.divide(
            own, wanted, out=np.zeros_like(own), where=wanted > RESIDUE_KW
        )
        least = book.at_least_kw.copy()
        charge = np.minimum(stored, book.quantity_kw[n_plant : n_plant + n_battery])
        charge *= per_kw[self.battery_agent]
        least[n_plant : n_plant + n_battery] = charge
        least[:n_plant] += np.where(
            per_kw[self.generators] > 0.0,
            sum_by_key(self.battery_agent, charge, n_agent)[self.generators],
            0.0,
        )
        return replace(book, at_least_kw=np.minimum(least, book.quantity_kw))


def clear_with_own_use(
    market: JointMarket,
    book: OrderBook,
    firm_kw: Floats,
    prices: TradePrices,
    limits: GridLimits,
    *,
    untraded_kw: Floats | None = None,
    own: OwnUse | None = None,
) -> Clearing:
    """Clear one slot of the joint market, own use first.

    Parameters
    ----------
    market : the joint market.
    book, firm_kw, prices, limits, untraded_kw : as for `JointMarket.clear`.
    own : what plants can serve at home; None where no plant runs.
    """
    clearing = market.clear(book, firm_kw, prices, limits, untraded_kw)
    if own is None:
        return clearing
    in_load = own.in_load(book)
    if own.is_short(clearing.accepted_kw):
        served = market.clear(in_load, firm_kw, prices, limits, untraded_kw)
        if _breaks_more(served, clearing):
            return clearing
        clearing = served
    in_store = own.in_store(in_load, clearing.accepted_kw)
    if in_store is None:
        return clearing
    stored = market.clear(in_store, firm_kw, prices, limits, untraded_kw)
    return clearing if _breaks_more(stored, clearing) else stored


def _breaks_more(one: Clearing, other: Clearing) -> bool:
    """Whether one clearing breaks limits further than another."""

    def broken(clearing: Clearing) -> Floats:
        parts = (clearing.flow_breach_kw, clearing.voltage2_breach)
        return np.array([np.abs(part).sum() for part in parts])

    return bool((broken(one) > broken(other) + RESIDUE_KW).any())
