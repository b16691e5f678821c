"""Call auction with one price: all orders of a gate cross at once.

Volume is where demand meets supply. With ``b_m, s_m`` the prices of the last matched pair and
``b_n, s_n`` those of the next unserved kWh of each side::

    low  = max(s_m, b_n)        high = min(b_m, s_n)        price = low + k (high - low)

So a part-filled buyer or seller sets the price, and both exhausted share the gap. Among orders at
the marginal price energy is rationed in proportion.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tricell.markets.mechanism import (
    About,
    Guarantees,
    MarketResult,
    MarketTerms,
    Mechanism,
    uniform_result,
)
from tricell.markets.merit_order import Crossing, accepted_pro_rata, cross
from tricell.markets.order_table import Orders

ABOUT = About(
    name="uniform_price",
    line="call auction: one price for all, where demand meets supply",
    source="Mengelkamp et al. 2018, Designing microgrid energy markets (Brooklyn Microgrid)",
    guarantees=Guarantees(
        budget_balance="strong",
        individual_rationality=True,
        efficiency=True,
        incentive_compatibility=False,
    ),
)


class UniformPrice(Mechanism):
    """Call auction with one price for all."""

    kind: Literal["uniform_price"] = "uniform_price"
    """Call auction with one price for all."""
    k: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Where in the interval of clearing prices the price lies: 0 lowest, 1 highest (0.5)."""

    def clear(self, orders: Orders, terms: MarketTerms) -> MarketResult:
        """Clear one market for one slot; see the module."""
        crossing = cross(orders)
        price = clearing_price(crossing, self.k)
        return uniform_result(orders, accepted_pro_rata(orders, crossing), price, price)


def clearing_price(crossing: Crossing, k: float) -> float | None:
    """Price between the lowest and the highest that clear the market; None without trade."""
    if crossing.volume_kwh <= 0.0:
        return None
    low = max(crossing.last_sell, crossing.next_buy)
    high = min(crossing.last_buy, crossing.next_sell)
    return low + k * (high - low)
