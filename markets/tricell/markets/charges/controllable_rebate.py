"""A lump sum per year for customers whose devices may be controlled: section 14a EnWG, module 1.

Customer n receives, for the share ``y`` of a year that the meter data cover, ::

    B_n = -min(y (L + e w), y g + w sum_t i_nt h)

a lump sum ``L`` and the price ``w`` of ``e`` kWh, but no more than it pays itself: the base price
``g`` and the working price ``w`` for its import ``i`` (kW) in slots of ``h`` hours. In Germany
``L`` is 80 EUR with 19 % VAT, and ``e`` is 750 kWh, 20 % of 3750 kWh. Unlike all other charges,
this one is money that the customer gets.

Module 2, a lower working price for these customers, is a `volumetric` charge for the class
`controllable` beside one for `not_controllable`; module 3 is `time_bands` for the class.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from tricell.markets.charge import AboutCharge, Floats, MeterData, PeriodCharge

ABOUT = AboutCharge(
    name="controllable_rebate",
    line="A lump sum per year for customers with controllable devices, up to what they pay.",
    base="customers with controllable devices",
    source="BNetzA, BK8-22/010-A, 23.11.2023, module 1 of section 14a EnWG",
)


class ControllableRebate(PeriodCharge):
    """A lump sum per year that reduces what a customer pays."""

    RATES: ClassVar[tuple[str, ...]] = (
        "lump_sum_eur_per_year",
        "working_rate_eur_per_kwh",
        "base_rate_eur_per_year",
    )

    kind: Literal["controllable_rebate"] = "controllable_rebate"
    customers: tuple[str, ...] = ("controllable",)
    """Classes that receive it: as for all charges (controllable)."""
    lump_sum_eur_per_year: Annotated[float, Field(ge=0)] = 0.0
    """Lump sum per customer, EUR/yr (0; 67.23, that is 80 EUR less VAT, in Germany)."""
    energy_kwh_per_year: Annotated[float, Field(ge=0)] = 0.0
    """Energy whose working price is added to the lump sum, kWh/yr (0; 750 in Germany)."""
    working_rate_eur_per_kwh: Annotated[float, Field(ge=0)] = 0.0
    """Working price that the customer pays on imports, EUR/kWh (0)."""
    base_rate_eur_per_year: Annotated[float, Field(ge=0)] = 0.0
    """Base price that the customer pays, EUR/yr (0)."""

    @property
    def rebate_eur_per_year(self) -> float:
        """What a customer receives at the most, EUR/yr."""
        return self.lump_sum_eur_per_year + self.energy_kwh_per_year * self.working_rate_eur_per_kwh

    def bill_eur(self, meters: MeterData) -> Floats:
        """Return what every customer pays, negative or zero, EUR, shape (N,)."""
        year = meters.calendar.year_share
        paid_eur = (
            self.base_rate_eur_per_year * year
            + self.working_rate_eur_per_kwh * meters.import_kwh.sum(axis=0)
        )
        rebate_eur = np.minimum(self.rebate_eur_per_year * year, paid_eur)
        return np.asarray(-rebate_eur * self.pays(meters.customers))
