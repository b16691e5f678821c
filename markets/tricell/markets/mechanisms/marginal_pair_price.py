"""Call auction at a price between the last matched bid and the last matched ask.

Energy is that of the call auction with one price. The price looks at the last matched pair
``b_m, s_m`` only, whatever order is part-filled::

    price = k b_m + (1 - k) s_m

So the price may leave the interval that clears the market: an order at the margin that was
rationed may wish for more at this price.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    name="marginal_pair_price",
    line="call auction at a price between the last matched bid and ask (k-price)",
    source="Satterthwaite and Williams 1989, Bilateral trade with the sealed bid k-double auction",
    guarantees=Guarantees(
        budget_balance="strong",
        individual_rationality=True,
        efficiency=True,
        incentive_compatibility=False,
        note="a rationed order at the margin may wish for more at the price",
    ),
)


@dataclass(frozen=True)
class MarginalPairResult(MarketResult):
    """What the auction decided, and the pair that made the price.

    Attributes
    ----------
    marginal_buy, marginal_sell : last matched bid and ask, EUR/kWh; None if nothing was traded.
    """

    marginal_buy: float | None = None
    marginal_sell: float | None = None


class MarginalPairPrice(Mechanism):
    """Call auction at a price between the last matched bid and ask."""

    kind: Literal["marginal_pair_price"] = "marginal_pair_price"
    """Call auction at a price between the last matched bid and ask."""
    k: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Where between ask and bid the price lies: 0 at the ask, 1 at the bid (0.5)."""

    def clear(self, orders: Orders, terms: MarketTerms) -> MarginalPairResult:
        """Clear one market for one slot; see the module."""
        crossing = cross(orders)
        price = marginal_pair_price(crossing, self.k)
        result = uniform_result(orders, accepted_pro_rata(orders, crossing), price, price)
        return MarginalPairResult(
            **vars(result),
            marginal_buy=None if price is None else crossing.last_buy,
            marginal_sell=None if price is None else crossing.last_sell,
        )


def marginal_pair_price(crossing: Crossing, k: float) -> float | None:
    """Price between the last matched ask and bid.

    Parameters
    ----------
    crossing : where demand and supply meet.
    k : 0 at the ask, 1 at the bid.

    Returns
    -------
    EUR/kWh; None without trade.
    """
    if crossing.volume_kwh <= 0.0:
        return None
    return crossing.last_sell + k * (crossing.last_buy - crossing.last_sell)
