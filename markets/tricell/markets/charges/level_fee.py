"""A fee on every traded kWh by the level that it was traded at.

The fee of level l is the sum of the fees along the path up to the lowest area that seller and
buyer have in common, so it does not fall from level to level::

    B_n = sum_t sum_l fee_tl q_tnl,     fee_microgrid <= fee_cell <= fee_multicell

with the energy ``q`` that customer n bought at each level. In bands of the local clock other fees
may hold; a slot that lies in several bands pays their mean by time. Energy from the retailer does
not pay it. The fee is added to what the buyer pays; both sides know it before the gate, and so
share it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tricell.markets.charge import AboutCharge, Calendar, Customers, EnergyRates, SlotCharge
from tricell.markets.time_windows import Window, band_shares, check_bands

ABOUT = AboutCharge(
    name="level_fee",
    line="A fee on every traded kWh by the level of the market where it was bought.",
    base="kWh bought at each level",
    source="CEER, Regulatory Aspects of Self-Consumption and Energy Communities, 2019",
)

Fee = Annotated[float, Field(ge=0)]
PLAIN = "outside all windows"


class LevelFee(SlotCharge):
    """A fee on every traded kWh by the level that it was traded at."""

    RATES: ClassVar[tuple[str, ...]] = ("microgrid", "cell", "multicell", "bands")

    kind: Literal["level_fee"] = "level_fee"
    microgrid: Fee = 0.0
    """Fee of energy traded inside a microgrid, EUR/kWh (0)."""
    cell: Fee = 0.0
    """Fee of energy traded inside a cell, EUR/kWh; not below that of a microgrid (0)."""
    multicell: Fee = 0.0
    """Fee of energy traded across cells, EUR/kWh; not below that of a cell (0)."""
    bands: dict[str, tuple[Fee, Fee, Fee]] = Field(default_factory=dict)
    """Other fees by the name of a band: microgrid, cell, multi-cell, EUR/kWh (none)."""
    windows: tuple[Window, ...] = ()
    """When the bands hold, by local time; outside all of them the fees above hold (none)."""

    @model_validator(mode="after")
    def _can_be_traded_on(self) -> Self:
        if self.customers:
            raise ValueError(
                "a fee per level holds for everybody who trades; leave `customers` empty, or take "
                "`volumetric` for some classes"
            )
        check_bands(self.windows, (*self.bands, PLAIN), PLAIN)
        plain = (self.microgrid, self.cell, self.multicell)
        for band, fees in ((PLAIN, plain), *self.bands.items()):
            if list(fees) != sorted(fees):
                raise ValueError(
                    f"the fees {', '.join(f'{fee:g}' for fee in fees)} EUR/kWh of microgrid, cell "
                    f"and multi-cell ({band}) fall; allowed are fees that stay or rise with the "
                    "level, since a longer path includes the shorter one"
                )
        return self

    def rates(self, calendar: Calendar, customers: Customers) -> EnergyRates:
        """Return the fees, of every slot or, without bands, one set for all."""
        plain = [self.microgrid, self.cell, self.multicell, 0.0]
        if not self.bands:
            return EnergyRates.of(by_source=np.array([plain]))
        names = (*self.bands, PLAIN)
        fees = np.array([[*self.bands[band], 0.0] for band in self.bands] + [plain])
        return EnergyRates.of(by_source=band_shares(calendar, self.windows, names, PLAIN) @ fees)
