"""Supply-demand ratio: the scarcer the supply, the nearer the local price to the retail price.

With demand D, supply S, ``R = S / D``, retail price r, feed-in price f, compensation c and
``e = f + c``::

    R <= 1:  p_sell = e r / ((r - e) R + e)      p_buy = p_sell R + r (1 - R)
    R >  1:  p_sell = f + c / R                  p_buy = e

which is a local price of ``e r / ((r - e) min(R, 1) + e)`` for the shared energy. The hyperbola
needs ``0 < e <= r``. Where that fails (a feed-in price of 0, say) it is replaced by the line
``r - (r - f) min(R, 1)`` and the result carries the flag "fallback".
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from numpy.typing import ArrayLike
from pydantic import Field

from tricell.errors import MarketError
from tricell.markets.mechanism import About, Guarantees
from tricell.markets.sharing import NO_FLAGS, LocalPrice, SharingResult, SharingRule, share

ABOUT = About(
    name="supply_demand_ratio",
    line="price of shared energy falls from retail to feed-in price as supply nears demand",
    source="Liu et al. 2017, Energy-sharing model with price-based demand response; compensation: "
    "Long, Wu, Zhou, Jenkins 2018",
    guarantees=Guarantees(
        budget_balance="strong",
        individual_rationality=True,
        efficiency=False,
        incentive_compatibility=False,
        note="nobody pays more than without sharing if the feed-in price is at most the retail "
        "price; welfare is maximal among members that do not react to prices",
    ),
)

FALLBACK = "fallback"


class SupplyDemandRatio(SharingRule):
    """Sharing at a price that follows the ratio of supply to demand."""

    kind: Literal["supply_demand_ratio"] = "supply_demand_ratio"
    """Sharing at a price that follows the ratio of supply to demand."""
    compensation: Annotated[float, Field(ge=0)] = 0.0
    """What sellers get above the feed-in price where supply is plenty, EUR/kWh (0)."""

    def local_price(
        self, demand_kwh: float, supply_kwh: float, retail_price: float, feed_in_price: float
    ) -> LocalPrice:
        """Return the price at this ratio."""
        return ratio_price(
            demand_kwh, supply_kwh, retail_price, feed_in_price, compensation=self.compensation
        )


def ratio_price(
    demand_kwh: float,
    supply_kwh: float,
    retail_price: float,
    feed_in_price: float,
    *,
    compensation: float = 0.0,
) -> LocalPrice:
    """Return the local price at the ratio of supply to demand; see the module."""
    ratio = min(supply_kwh / demand_kwh, 1.0)
    floor = feed_in_price + compensation
    if needs_fallback(retail_price, feed_in_price, compensation):
        line = retail_price - (retail_price - feed_in_price) * ratio
        return LocalPrice(line, frozenset({FALLBACK}))
    return LocalPrice(floor * retail_price / ((retail_price - floor) * ratio + floor), NO_FLAGS)


def needs_fallback(retail_price: float, feed_in_price: float, compensation: float) -> bool:
    """Whether the hyperbola does not exist at these prices."""
    return not 0.0 < feed_in_price + compensation <= retail_price


def supply_demand_ratio(
    net_kwh: ArrayLike, retail_price: float, feed_in_price: float, compensation: float = 0.0
) -> SharingResult:
    """Settle metered net energies, shape (members,), kWh; see the module.

    Raises
    ------
    MarketError
        Naming the member or price that is no finite number, or a negative compensation.

    Examples
    --------
    >>> round(supply_demand_ratio([-3.0, 2.0, 2.5], 0.30, 0.08).sell_price, 6)
    0.105882
    """
    if not compensation >= 0.0:
        raise MarketError(
            f"compensation is {compensation:g} EUR/kWh; allowed is 0 to the retail price less the "
            "feed-in price"
        )
    return share(
        net_kwh, retail_price, feed_in_price, partial(ratio_price, compensation=compensation)
    )
