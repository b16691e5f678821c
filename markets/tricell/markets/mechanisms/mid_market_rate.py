"""Mid-market rate: shared energy costs the middle of the retail and the feed-in price.

With demand D, supply S, ``T = min(D, S)`` and ``mid = (retail + feed_in) / 2``::

    p_buy = (mid T + retail (D - T)) / D        p_sell = (mid T + feed_in (S - T)) / S
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from tricell.markets.mechanism import About, Guarantees
from tricell.markets.sharing import LocalPrice, SharingResult, SharingRule, share

ABOUT = About(
    name="mid_market_rate",
    line="shared energy costs the middle of retail and feed-in price",
    source="Long et al. 2017, Peer-to-peer energy trading in a community microgrid",
    guarantees=Guarantees(
        budget_balance="strong",
        individual_rationality=True,
        efficiency=False,
        incentive_compatibility=False,
        note="nobody pays more than without sharing if the feed-in price is at most the retail "
        "price; welfare is maximal among members that do not react to prices",
    ),
)


class MidMarketRate(SharingRule):
    """Sharing at the middle of retail and feed-in price."""

    kind: Literal["mid_market_rate"] = "mid_market_rate"
    """Sharing at the middle of retail and feed-in price."""

    def local_price(
        self, demand_kwh: float, supply_kwh: float, retail_price: float, feed_in_price: float
    ) -> LocalPrice:
        """Return the middle of the two prices."""
        return middle_price(demand_kwh, supply_kwh, retail_price, feed_in_price)


def middle_price(
    demand_kwh: float, supply_kwh: float, retail_price: float, feed_in_price: float
) -> LocalPrice:
    """Return the middle of the two prices, whatever the energies."""
    return LocalPrice(0.5 * (retail_price + feed_in_price))


def mid_market_rate(net_kwh: ArrayLike, retail_price: float, feed_in_price: float) -> SharingResult:
    """Settle metered net energies, shape (members,), kWh; see the module.

    Raises
    ------
    MarketError
        Naming the member or price that is no finite number.

    Examples
    --------
    >>> round(mid_market_rate([-3.0, 2.0, 2.5], 0.30, 0.08).buy_price, 6)
    0.226667
    """
    return share(net_kwh, retail_price, feed_in_price, middle_price)


def middle_of_quotes(bids: ArrayLike, asks: ArrayLike, divisor: float = 2.0) -> float | None:
    """Price that a community derives from quoted prices instead of the retailer's.

    ``(lowest bid + highest ask) / divisor``, as energy communities of rec-operation (INESC TEC)
    do; without asks it is the highest bid, without bids the lowest ask, without both None.

    Parameters
    ----------
    bids, asks : quoted prices, EUR/kWh.
    divisor : 2 for the middle; more favours buyers.

    Examples
    --------
    >>> middle_of_quotes([0.45, 0.40, 0.35], [0.0, 0.10, 0.15])
    0.25
    """
    bid, ask = np.asarray(bids, dtype=np.float64), np.asarray(asks, dtype=np.float64)
    if len(bid) and len(ask):
        return float((bid.min() + ask.max()) / divisor)
    if len(bid):
        return float(bid.max())
    return float(ask.min()) if len(ask) else None
