"""A price per customer and year, whatever they import: the standing charge.

Customer n pays ``B_n = f w_k y`` for the share ``y`` of a year that the meter data cover, with a
weight ``w_k`` of the customer's class ``k``, 1 unless stated.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from tricell.errors import MarketError
from tricell.markets.charge import AboutCharge, Customers, Floats, MeterData, PeriodCharge

ABOUT = AboutCharge(
    name="fixed",
    line="A price per customer and year, with a weight per customer class.",
    base="customers",
    source="CEER, Paper on Electricity Distribution Tariffs Supporting the Energy Transition, 2020",
)


class Fixed(PeriodCharge):
    """A price per customer and year."""

    RATES: ClassVar[tuple[str, ...]] = ("rate_eur_per_year",)

    kind: Literal["fixed"] = "fixed"
    rate_eur_per_year: Annotated[float, Field(ge=0)] = 0.0
    """Price per customer and year, EUR/yr (0)."""
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """What a customer class pays of the price, as a factor; classes not named pay it once."""

    def bill_eur(self, meters: MeterData) -> Floats:
        """Return what every customer pays for the whole of the meter data, EUR, shape (N,).

        Raises
        ------
        MarketError
            If there is a weight of a customer class that there is not.
        """
        customers = meters.customers
        factor = self.pays(customers) * self._weight(customers)
        return np.asarray(self.rate_eur_per_year * meters.calendar.year_share * factor)

    def _weight(self, customers: Customers) -> Floats:
        here = sorted(set(customers.group))
        for group in self.weights:
            if group not in here:
                raise MarketError(
                    f"charge {self.label!r}: a weight is given for customers {group!r}, but there "
                    f"are none; classes here: {', '.join(here)}. Name one of them, or leave the "
                    "weight out."
                )
        return np.array([self.weights.get(group, 1.0) for group in customers.group])
