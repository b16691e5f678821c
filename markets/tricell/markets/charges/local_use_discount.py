"""A price per imported kWh with a discount for energy that was bought nearby.

Customer n pays ``B_n = c sum_t (sum_l (1 - d_l) b_ntl + r_nt)``: ``b`` the energy (kWh) bought in
the market of level l, the lowest area that buyer and seller share, ``r`` that bought from the
retailer, and ``d_l`` the discount of the level. Farther away the discount is never larger.

With a share ``s`` of all energy bought at a discount ``d``, revenue falls short by the share
``s d``; the rate ``c / (1 - s d)`` makes up for it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tricell.errors import MarketError
from tricell.markets.charge import AboutCharge, Calendar, Customers, EnergyRates, SlotCharge

ABOUT = AboutCharge(
    name="local_use_discount",
    line="A price per imported kWh, lower for energy bought in an area nearby.",
    base="kWh imported, by the lowest common area",
    source="ElWOG section 52 (2a), Austria's energy communities; Fina and Auer, Energies 2020",
)

Discount = Annotated[float, Field(ge=0, le=1)]


class LocalUseDiscount(SlotCharge):
    """A price per imported kWh with discounts by the lowest common area."""

    RATES: ClassVar[tuple[str, ...]] = ("rate_eur_per_kwh",)

    kind: Literal["local_use_discount"] = "local_use_discount"
    rate_eur_per_kwh: Annotated[float, Field(ge=0)] = 0.0
    """Price of a kWh bought from the retailer, EUR/kWh (0)."""
    microgrid_discount: Discount = 0.0
    """Discount on energy bought in the own microgrid, as a share of the price (0)."""
    cell_discount: Discount = 0.0
    """Discount on energy bought in the own cell, as a share of the price (0)."""
    multicell_discount: Discount = 0.0
    """Discount on energy bought in the whole multi-cell grid, as a share of the price (0)."""

    @model_validator(mode="after")
    def _for_all_and_less_farther_away(self) -> Self:
        discounts = self.discounts
        if discounts != tuple(sorted(discounts, reverse=True)):
            raise ValueError(
                "energy from farther away cannot have the larger discount: microgrid "
                f"{discounts[0]:g}, cell {discounts[1]:g}, multicell {discounts[2]:g}; give each "
                "level at most the discount of the level below"
            )
        if self.customers:
            raise ValueError(
                "a local-use discount cannot be limited to `customers`: what a kWh pays by where "
                "it was bought is the same for all in a market. Leave `customers` out"
            )
        return self

    @property
    def discounts(self) -> tuple[float, float, float]:
        """Discounts from the microgrid upwards."""
        return self.microgrid_discount, self.cell_discount, self.multicell_discount

    def rates(self, calendar: Calendar, customers: Customers) -> EnergyRates:
        """Return the price by where energy was bought, the same in every slot."""
        shares = 1.0 - np.array([[*self.discounts, 0.0]])
        return EnergyRates.of(by_source=self.rate_eur_per_kwh * shares)


def revenue_gap_share(share: float, discount: float) -> float:
    """Return the share of the revenue that a discount costs.

    Parameters
    ----------
    share
        Share of all energy that has the discount, 0 to 1.
    discount
        Discount as a share of the price, 0 to 1.

    Examples
    --------
    >>> round(revenue_gap_share(0.25, 0.57), 6)
    0.1425

    Raises
    ------
    MarketError
        If one of the two is no share.
    """
    for name, value in (("share of the energy", share), ("discount", discount)):
        if not 0 <= value <= 1:
            raise MarketError(f"the {name} is {value:g}, but must lie between 0 and 1")
    return share * discount


def compensating_rate(rate: float, share: float, discount: float) -> float:
    """Return the rate that earns with the discount what ``rate`` earns without.

    Parameters
    ----------
    rate
        Rate without discounts, EUR/kWh or any other unit.
    share, discount
        As for `revenue_gap_share`.

    Examples
    --------
    >>> round(compensating_rate(5.0, 0.25, 0.57), 6)
    5.830904

    Raises
    ------
    MarketError
        If all energy is free, so that no rate earns anything.
    """
    left = 1.0 - revenue_gap_share(share, discount)
    if left <= 0:
        raise MarketError(
            "no rate makes up for a discount of 100 % on all energy; give a smaller discount, or "
            "a charge that is not on energy"
        )
    return rate / left
