"""A price per kWh by bands of the local clock: time-of-use charges.

Customer n pays ``B_n = sum_t c_t i_nt h`` for its import ``i`` (kW) in slots of ``h`` hours, with
``c_t = sum_b share_tb c_b``: the share of slot t that lies in band b times the band's rate. The
clock is that of the place, also on the days with 23 and 25 hours.

With ``sources: retail`` only energy bought from the retailer pays it, and none that was bought in
a market nearby (Austria's SNAP); what the latter pays is a charge of its own, such as a fee per
level.

For a revenue R, rates ``c_b`` in given ratios follow from ``sum_b c_b E_b = R``, with the energy
``E_b`` of each band, by `scaled`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tricell.markets.charge import (
    AboutCharge,
    Calendar,
    Customers,
    EnergyRates,
    Floats,
    SlotCharge,
    Source,
)
from tricell.markets.time_windows import Window, band_shares, check_bands

ABOUT = AboutCharge(
    name="time_bands",
    line="A price per imported kWh for each of several bands of the local clock.",
    base="kWh imported per band",
    source="BNetzA, BK8-22/010-A (module 3), 2023; CWaPE, tarif Impact, 2026; UK DUoS, CDCM",
)


class TimeBands(SlotCharge):
    """A price per imported kWh by bands of the local clock."""

    RATES: ClassVar[tuple[str, ...]] = ("rates_eur_per_kwh",)

    kind: Literal["time_bands"] = "time_bands"
    rates_eur_per_kwh: Annotated[dict[str, Annotated[float, Field(ge=0)]], Field(min_length=1)]
    """Price of every band by its name, EUR/kWh."""
    windows: tuple[Window, ...] = ()
    """When the bands hold, by local time."""
    default: str | None = None
    """Band of all time that no window names (none: windows must name all time)."""
    sources: Literal["all", "retail"] = "all"
    """`all`: every imported kWh pays; `retail`: only energy bought from the retailer (all)."""

    @model_validator(mode="after")
    def _one_band_at_a_time(self) -> Self:
        check_bands(self.windows, tuple(self.rates_eur_per_kwh), self.default)
        if self.sources == "retail" and self.customers:
            raise ValueError(
                "`sources: retail` cannot go with `customers`: what a kWh pays by where it was "
                "bought is the same for all in a market. Leave one of the two out"
            )
        return self

    def rate_of_slot(self, calendar: Calendar) -> Floats:
        """Return the price of every slot, EUR/kWh, shape (T,)."""
        bands = tuple(self.rates_eur_per_kwh)
        shares = band_shares(calendar, self.windows, bands, self.default)
        return np.asarray(shares @ np.array([self.rates_eur_per_kwh[band] for band in bands]))

    def rates(self, calendar: Calendar, customers: Customers) -> EnergyRates:
        """Return the price of every slot."""
        rate = self.rate_of_slot(calendar)[:, None]
        if self.customers:
            return EnergyRates.of(imported=rate * self.pays(customers))
        pays = np.ones(len(Source))
        if self.sources == "retail":
            pays[:] = [source == Source.RETAIL for source in Source]
        return EnergyRates.of(by_source=rate * pays)
