"""A price on the highest import of the period, per kW and year.

Customer n pays ``B_n = p y max(b, max_t i_nt)`` for the import ``i`` (kW) per metering interval and
the share ``y`` of a year that the meter data cover; less than the floor ``b`` is never billed.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from tricell.markets.charge import AboutCharge, Customers, Floats, MeterData, PeakSignal
from tricell.markets.metered_power import PowerCharge

ABOUT = AboutCharge(
    name="annual_peak",
    line="A price per kW of the highest import of the year, with a floor.",
    base="kW annual peak import",
    source="Jain, FH Oberoesterreich, thesis 2025; CEER, distribution tariffs paper, 2020",
)


class AnnualPeak(PowerCharge):
    """A price per kW of the highest import and year."""

    RATES: ClassVar[tuple[str, ...]] = ("rate_eur_per_kw_year",)

    kind: Literal["annual_peak"] = "annual_peak"
    rate_eur_per_kw_year: Annotated[float, Field(ge=0)] = 0.0
    """Price of a kW of peak import, EUR/kW/yr (0)."""
    floor_kw: Annotated[float, Field(ge=0)] = 0.0
    """Power that is billed at least, kW (0)."""

    def peak_signal(self, customers: Customers) -> PeakSignal:
        """Return the price of a kW above the floor, with one peak for the whole period."""
        return PeakSignal(
            eur_per_kw=self.rate_eur_per_kw_year * self.pays(customers),
            free_kw=np.full(len(customers), self.floor_kw),
            span="period",
        )

    def power_bill_eur(self, meters: MeterData) -> Floats:
        """Return the bill of every customer as if all paid it, EUR, shape (N,)."""
        import_kw, _ = self.measured_import_kw(meters)
        billed_kw = np.maximum(import_kw.max(axis=0), self.floor_kw)
        return np.asarray(self.rate_eur_per_kw_year * meters.calendar.year_share * billed_kw)
