"""A market mechanism of a third party: the book crosses, and the price is fixed beforehand.

Those who would not trade at that price stay out; among the rest the short side trades fully.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from tricell.markets.mechanism import (
    About,
    Guarantees,
    MarketResult,
    MarketTerms,
    Mechanism,
    uniform_result,
)
from tricell.markets.merit_order import accepted_in_merit_order, cross
from tricell.markets.order_table import Orders

ABOUT = About(
    name="even_price",
    line="everybody trades at a price that is fixed beforehand",
    source="the tests of tricell",
    guarantees=Guarantees(
        budget_balance="strong",
        individual_rationality=True,
        efficiency=False,
        incentive_compatibility=False,
    ),
)


class EvenPrice(Mechanism):
    """Everybody trades at a price that is fixed beforehand."""

    kind: Literal["even_price"] = "even_price"
    """Everybody trades at a price that is fixed beforehand."""
    price: Annotated[float, Field(ge=-3, le=3)] = 0.2
    """Price of every trade, EUR/kWh (0.2)."""

    def clear(self, orders: Orders, terms: MarketTerms) -> MarketResult:
        """Clear one market for one slot; see the module."""
        willing = np.flatnonzero(orders.side * (orders.price_eur_per_kwh - self.price) >= 0.0)
        crossing = cross(orders.take(willing))
        accepted = np.zeros(len(orders))
        accepted[willing] = accepted_in_merit_order(orders.take(willing), crossing)
        price = self.price if crossing.volume_kwh > 0.0 else None
        return uniform_result(orders, accepted, price, price)
