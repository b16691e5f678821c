"""A fee for every zone that a traded kWh crosses.

With areas as zones, a trade crosses the areas on its path, both ends included: 1 inside a
microgrid, 3 inside a cell (microgrid, cell, microgrid), 5 across cells. With levels as zones it is
1, 2 and 3. So ``fee_l = u zones_l``, billed as a fee per level (`level_fee`)::

    B_n = u sum_t sum_l zones_l q_tnl

Paths are counted from microgrid to microgrid: who is connected to a cell directly pays as members
of its microgrids do, because a pooled market does not know whose energy a member bought. Given
trades are counted node by node by `tricell.markets.trade_paths.zones_on_paths`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from tricell.markets.charge import AboutCharge, Calendar, Customers, EnergyRates, SlotCharge

ABOUT = AboutCharge(
    name="zonal",
    line="A fee for every zone that a traded kWh crosses.",
    base="kWh traded times zones crossed",
    source="Baroche et al. 2019, Exogenous cost allocation in peer-to-peer electricity markets",
)

ZONES = {"areas": (1.0, 3.0, 5.0), "levels": (1.0, 2.0, 3.0)}
"""Zones on a path whose highest area is a microgrid, a cell, the multi-cell area."""


class Zonal(SlotCharge):
    """A fee for every zone crossed."""

    RATES: ClassVar[tuple[str, ...]] = ("rate_eur_per_kwh_zone",)

    kind: Literal["zonal"] = "zonal"
    rate_eur_per_kwh_zone: Annotated[float, Field(ge=0)] = 0.0
    """Fee on a traded kWh for each zone on its path, EUR/kWh (0)."""
    zones: Literal["areas", "levels"] = "areas"
    """What counts as a zone: every area on the path, or every level (areas)."""

    @model_validator(mode="after")
    def _for_everybody(self) -> Zonal:
        if self.customers:
            raise ValueError("a fee per zone holds for all trades; leave `customers` empty")
        return self

    def rates(self, calendar: Calendar, customers: Customers) -> EnergyRates:
        """Return the fee of every level, the same in every slot; none on energy from retail."""
        crossed = np.array([[*ZONES[self.zones], 0.0]])
        return EnergyRates.of(by_source=self.rate_eur_per_kwh_zone * crossed)
