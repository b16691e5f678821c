"""The same fee on every traded kWh, whatever its path.

``B_n = u sum_t q_tn`` for the energy ``q`` that customer n bought in markets of any level. The unit
fee that recovers a cost K from given trades is ``u = K / sum q`` (`tricell.markets.trade_fees`
with distance 1). Energy from the retailer does not pay it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from tricell.markets.charge import AboutCharge, Calendar, Customers, EnergyRates, SlotCharge

ABOUT = AboutCharge(
    name="postage_stamp",
    line="The same fee on every traded kWh, whatever its path.",
    base="kWh traded",
    source="Baroche et al. 2019, Exogenous cost allocation in peer-to-peer electricity markets",
)


class PostageStamp(SlotCharge):
    """The same fee on every traded kWh."""

    RATES: ClassVar[tuple[str, ...]] = ("rate_eur_per_kwh",)

    kind: Literal["postage_stamp"] = "postage_stamp"
    rate_eur_per_kwh: Annotated[float, Field(ge=0)] = 0.0
    """Fee on a traded kWh, EUR/kWh (0)."""

    @model_validator(mode="after")
    def _for_everybody(self) -> PostageStamp:
        if self.customers:
            raise ValueError("a postage stamp holds for all trades; leave `customers` empty")
        return self

    def rates(self, calendar: Calendar, customers: Customers) -> EnergyRates:
        """Return the fee at every level of the market, the same in every slot."""
        return EnergyRates.of(by_source=self.rate_eur_per_kwh * np.array([[1.0, 1.0, 1.0, 0.0]]))
