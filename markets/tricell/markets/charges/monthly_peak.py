"""A price on the mean of monthly peaks, per kW and year: Flanders' capacity tariff.

Customer n pays ``B_n = p y P_n`` for the share ``y`` of a year that the meter data cover, with::

    P_n = sum_m w_m max(b, max_{t in m} i_nt) / sum_m w_m

over local months ``m``, import ``i`` (kW) per metering interval, and a floor ``b`` that holds in
every month, not for the mean. ``w_m`` is the share of the month that was measured: 1 for whole
months, so that the mean of a year is that of its twelve peaks, and little for an hour of January
at the end of a year counted in UTC.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from tricell.markets.charge import AboutCharge, Customers, Floats, MeterData, PeakSignal
from tricell.markets.metered_power import PowerCharge, monthly_peaks_kw

ABOUT = AboutCharge(
    name="monthly_peak",
    line="A price per kW of the mean of monthly peak imports, each with a floor.",
    base="kW mean of monthly peak imports",
    source="VREG and Fluvius, capacity tariff of Flanders, since 2023",
)


class MonthlyPeak(PowerCharge):
    """A price per kW of the mean monthly peak and year."""

    RATES: ClassVar[tuple[str, ...]] = ("rate_eur_per_kw_year",)

    kind: Literal["monthly_peak"] = "monthly_peak"
    rate_eur_per_kw_year: Annotated[float, Field(ge=0)] = 0.0
    """Price of a kW of mean monthly peak, EUR/kW/yr (0)."""
    floor_kw: Annotated[float, Field(ge=0)] = 0.0
    """Power that is billed at least in every month, kW (0; 2.5 in Flanders)."""

    def peak_signal(self, customers: Customers) -> PeakSignal:
        """Return a twelfth of the price per kW above the floor, with a peak in every month."""
        return PeakSignal(
            eur_per_kw=self.rate_eur_per_kw_year / 12.0 * self.pays(customers),
            free_kw=np.full(len(customers), self.floor_kw),
            span="month",
        )

    def power_bill_eur(self, meters: MeterData) -> Floats:
        """Return the bill of every customer as if all paid it, EUR, shape (N,)."""
        return np.asarray(
            self.rate_eur_per_kw_year * meters.calendar.year_share * self.billed_kw(meters)
        )

    def billed_kw(self, meters: MeterData) -> Floats:
        """Return the mean of the monthly peaks, none below the floor, kW, shape (N,)."""
        peaks_kw, measured = monthly_peaks_kw(*self.measured_import_kw(meters))
        return np.asarray(np.average(np.maximum(peaks_kw, self.floor_kw), axis=0, weights=measured))
