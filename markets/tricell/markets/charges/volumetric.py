"""A price per imported kWh, the same in every slot: the plain working price.

Customer n pays ``B_n = c sum_t i_nt h`` for its import ``i`` (kW) in slots of ``h`` hours,
wherever the energy was bought.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from tricell.markets.charge import AboutCharge, Calendar, Customers, EnergyRates, SlotCharge

ABOUT = AboutCharge(
    name="volumetric",
    line="A price per imported kWh, the same at all times.",
    base="kWh imported",
    source="CEER, Paper on Electricity Distribution Tariffs Supporting the Energy Transition, 2020",
)


class Volumetric(SlotCharge):
    """A price per imported kWh."""

    RATES: ClassVar[tuple[str, ...]] = ("rate_eur_per_kwh",)

    kind: Literal["volumetric"] = "volumetric"
    rate_eur_per_kwh: Annotated[float, Field(ge=0)] = 0.0
    """Price of an imported kWh, EUR/kWh (0)."""

    def rates(self, calendar: Calendar, customers: Customers) -> EnergyRates:
        """Return the price, the same in every slot."""
        if not self.customers:
            return EnergyRates.of(by_source=np.full((1, 4), self.rate_eur_per_kwh))
        return EnergyRates.of(imported=self.rate_eur_per_kwh * self.pays(customers)[None, :])
