"""A network charge of a third party: imports after a local hour of the day cost more.

Customer n pays ``B_n = c sum_t i_nt h`` over the slots t that start at ``from_hour`` or later.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from tricell.markets.charge import AboutCharge, Calendar, Customers, EnergyRates, SlotCharge

ABOUT = AboutCharge(
    name="evening",
    line="A price per imported kWh in the evening.",
    base="kWh imported in the evening",
    source="the tests of tricell",
)


class Evening(SlotCharge):
    """A price per imported kWh in the evening."""

    RATES: ClassVar[tuple[str, ...]] = ("rate_eur_per_kwh",)

    kind: Literal["evening"] = "evening"
    rate_eur_per_kwh: Annotated[float, Field(ge=0)] = 0.0
    """Price of an imported kWh in the evening, EUR/kWh (0)."""
    from_hour: Annotated[float, Field(ge=0, lt=24)] = 18.0
    """Local hour at which the evening begins, to midnight (18)."""

    def rates(self, calendar: Calendar, customers: Customers) -> EnergyRates:
        """Return the price of every slot and customer."""
        rate = np.where(calendar.hour >= self.from_hour, self.rate_eur_per_kwh, 0.0)
        return EnergyRates.of(imported=rate[:, None] * self.pays(customers))
