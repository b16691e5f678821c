"""Bill sharing: shared energy is free, and members split the retailer's bill and revenue.

With demand D, supply S and ``N = D - S``::

    p_buy = retail max(N, 0) / D        p_sell = feed_in max(-N, 0) / S

That is a local price of 0. Whenever the community imports (N >= 0), sellers give for nothing what
the retailer would have paid for: the known defect of this rule.
"""

from __future__ import annotations

from typing import Literal

from numpy.typing import ArrayLike

from tricell.markets.mechanism import About, Guarantees
from tricell.markets.sharing import LocalPrice, SharingResult, SharingRule, share

ABOUT = About(
    name="bill_sharing",
    line="members split the bill of the common meter; energy they share is free",
    source="Long et al. 2017, Peer-to-peer energy trading in a community microgrid",
    guarantees=Guarantees(
        budget_balance="strong",
        individual_rationality=False,
        efficiency=False,
        incentive_compatibility=False,
        note="sellers get less than the feed-in price whenever the community does not export all",
    ),
)


class BillSharing(SharingRule):
    """Sharing of the common bill; energy that members share is free."""

    kind: Literal["bill_sharing"] = "bill_sharing"
    """Sharing of the common bill; energy that members share is free."""

    def local_price(
        self, demand_kwh: float, supply_kwh: float, retail_price: float, feed_in_price: float
    ) -> LocalPrice:
        """Return 0."""
        return free_price(demand_kwh, supply_kwh, retail_price, feed_in_price)


def free_price(
    demand_kwh: float, supply_kwh: float, retail_price: float, feed_in_price: float
) -> LocalPrice:
    """Return the local price of 0, whatever the retailer asks."""
    return LocalPrice(0.0)


def bill_sharing(net_kwh: ArrayLike, retail_price: float, feed_in_price: float) -> SharingResult:
    """Settle metered net energies, shape (members,), kWh; see the module.

    Raises
    ------
    MarketError
        Naming the member or price that is no finite number.

    Examples
    --------
    >>> bill_sharing([-3.0, 2.0, 2.5], 0.30, 0.08).sell_price
    0.0
    """
    return share(net_kwh, retail_price, feed_in_price, free_price)
