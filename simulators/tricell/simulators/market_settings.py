"""What the market simulator is set up with: who stands where, the programs, prices and rates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tricell.grid_models.ac_feedback import AcFeedback
from tricell.markets.charge import EnergyRates
from tricell.markets.joint_market import JointMarket
from tricell.markets.level_markets import LevelMarkets
from tricell.markets.settlement import TradingAreas
from tricell.simulators.envelope_gate import GateSettings
from tricell.simulators.outsiders import Outsiders
from tricell.simulators.owner_prices import PriceSeries
from tricell.simulators.service_desk import RunServices

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class MarketParticipants:
    """Who stands where in the market.

    Attributes
    ----------
    agent_ids : names, for messages.
    agent_node : electrical node of each agent.
    generators : agents with generation; their orders are the first order columns.
    battery_agent : owner of each store, batteries first; four order columns each follow, step by
        step.
    """

    agent_ids: tuple[str, ...]
    agent_node: Indices
    generators: Indices
    battery_agent: Indices


@dataclass(frozen=True)
class MarketSettings:
    """What the market simulator is set up with.

    Attributes
    ----------
    market : compiled joint market.
    feedback : turns corrections into limits.
    participants : who stands where.
    areas, area_ids : the tree, and names.
    prices : retail and feed-in prices of every slot.
    rates : network charges per kWh of every slot.
    generation_price : what generators ask for at least, EUR/kWh.
    levels : markets level by level; None if the joint program clears all levels at once.
    gate : what is known where envelopes are published for a day; None where they are not.
    services : flexibility that network operators ask for; None for nothing.
    """

    market: JointMarket
    feedback: AcFeedback
    participants: MarketParticipants
    areas: TradingAreas
    area_ids: tuple[str, ...]
    prices: PriceSeries
    rates: EnergyRates
    generation_price: float
    levels: LevelMarkets | None
    gate: GateSettings | None = None
    services: RunServices | None = None

    @cached_property
    def outsiders(self) -> Outsiders:
        """Those who take no part; false where everybody does."""
        return Outsiders(self.areas.takes_part, self.participants.battery_agent)

    @cached_property
    def order_trades(self) -> Floats:
        """1 for order columns of those who take part, 0 for the others."""
        orders = self.market.problem.orders
        return self.areas.takes_part[orders.agent].astype(np.float64)

    @cached_property
    def seen_fees(self) -> Floats:
        """What traders see of the areas' fees, EUR/kWh, shape (slots or 1, areas)."""
        return self.areas.seen_fee(self.rates, self.prices.retail, self.prices.feed_in)

    def seen_fee(self, slot: int) -> Floats:
        """Return what traders see of the areas' fees in a slot, EUR/kWh, shape (areas,)."""
        fees = self.seen_fees
        return np.asarray(fees[slot if len(fees) > 1 else 0])
