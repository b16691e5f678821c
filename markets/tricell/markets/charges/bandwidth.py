"""A fixed price for a band of power, and a price on the energy above it.

Customer n pays ``B_n = f y + x sum_t max(0, i_nt - W) h`` for import ``i`` (kW) per metering
interval of ``h`` hours and the share ``y`` of a year that the meter data cover. The band ``W`` is
in the fixed price. Bands of other sizes are further charges for other `customers`.

Batteries see a price on power: a kW of peak more or less lies above the band for some hours of the
year, ``hours_above_per_year``, so that it costs ``x`` times these hours.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from tricell.markets.charge import AboutCharge, Customers, Floats, MeterData, PeakSignal
from tricell.markets.metered_power import PowerCharge

ABOUT = AboutCharge(
    name="bandwidth",
    line="A fixed price for a band of power, and a price per kWh above the band.",
    base="customers, and kWh above the band",
    source="Netbeheer Nederland, proposal of a bandwidth tariff",
)


class Bandwidth(PowerCharge):
    """A fixed price for a band of power, and a price per kWh above."""

    RATES: ClassVar[tuple[str, ...]] = ("rate_eur_per_year", "above_rate_eur_per_kwh")

    kind: Literal["bandwidth"] = "bandwidth"
    band_kw: Annotated[float, Field(ge=0)]
    """Power that the fixed price covers, kW."""
    rate_eur_per_year: Annotated[float, Field(ge=0)] = 0.0
    """Fixed price with the band, EUR/yr (0)."""
    above_rate_eur_per_kwh: Annotated[float, Field(ge=0)] = 0.0
    """Price of energy drawn above the band, EUR/kWh (0)."""
    hours_above_per_year: Annotated[float, Field(ge=0, le=8784)] = 365.0
    """How long a kW of peak lies above the band, h/yr (365, an hour a day); for batteries only."""

    def peak_signal(self, customers: Customers) -> PeakSignal:
        """Return what a kW above the band costs a year, by the hours it lies above."""
        eur_per_kw = self.above_rate_eur_per_kwh * self.hours_above_per_year
        return PeakSignal(
            eur_per_kw=eur_per_kw * self.pays(customers),
            free_kw=np.full(len(customers), self.band_kw),
            span="period",
        )

    def power_bill_eur(self, meters: MeterData) -> Floats:
        """Return the bill of every customer as if all paid it, EUR, shape (N,)."""
        import_kw, intervals = self.measured_import_kw(meters)
        above_kwh = np.maximum(import_kw - self.band_kw, 0.0).sum(axis=0) * intervals.hours
        fixed_eur = self.rate_eur_per_year * meters.calendar.year_share
        return np.asarray(fixed_eur + self.above_rate_eur_per_kwh * above_kwh)
