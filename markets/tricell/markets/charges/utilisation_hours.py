"""Two pairs of prices, by how evenly a customer uses its power: Germany's metered customers.

With the annual energy ``E_n`` and the peak import ``P_n``, utilisation hours are ``E_n / P_n``
(``u_n``, h/yr), and customer n pays for the share ``y`` of a year that the meter data cover::

    B_n = y (c1 E_n + p1 P_n)  where u_n < 2500 h,      B_n = y (c2 E_n + p2 P_n)  from 2500 h on

Both lines meet at 2500 h, ``(c1 - c2) 2500 = p2 - p1``, so that nobody gains by a jump. Energy of a
part of a year is scaled to the year. Below 2500 h power is cheap and energy dear (c1 > c2).
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
    MeterData,
    PeakSignal,
)
from tricell.markets.metered_power import PowerCharge

ABOUT = AboutCharge(
    name="utilisation_hours",
    line="Two pairs of prices per kWh and kW, below and above 2500 utilisation hours.",
    base="kWh imported, kW annual peak import",
    source="StromNEV, annex 4, Germany; price sheets of distribution operators",
)

ROUNDING_EUR_PER_KWH = 1e-4
"""Price sheets round to 0.01 ct/kWh: two prices are together off by as much."""
ROUNDING_EUR_PER_KW = 0.01
RELATIVE_ROUNDING = 0.005

Price = Annotated[float, Field(ge=0)]


class UtilisationHours(PowerCharge):
    """Two pairs of prices, below and above a number of utilisation hours."""

    RATES: ClassVar[tuple[str, ...]] = (
        "below_rate_eur_per_kwh",
        "below_rate_eur_per_kw_year",
        "above_rate_eur_per_kwh",
        "above_rate_eur_per_kw_year",
    )

    kind: Literal["utilisation_hours"] = "utilisation_hours"
    below_rate_eur_per_kwh: Price = 0.0
    """Price of an imported kWh below the threshold, EUR/kWh (0)."""
    below_rate_eur_per_kw_year: Price = 0.0
    """Price of a kW of the highest import below the threshold, EUR/kW/yr (0)."""
    above_rate_eur_per_kwh: Price = 0.0
    """Price of an imported kWh from the threshold on, EUR/kWh (0)."""
    above_rate_eur_per_kw_year: Price = 0.0
    """Price of a kW of the highest import from the threshold on, EUR/kW/yr (0)."""
    threshold_hours: Annotated[float, Field(gt=0, le=8760)] = 2500.0
    """Utilisation hours from which the second pair holds, h/yr (2500)."""
    expected_side: Literal["below", "above"] = "below"
    """Which pair agents count with before the year is over (below)."""
    allow_step: bool = False
    """Whether both pairs may give different bills at the threshold (false)."""

    @model_validator(mode="after")
    def _lines_meet(self) -> Self:
        saved = (self.below_rate_eur_per_kwh - self.above_rate_eur_per_kwh) * self.threshold_hours
        paid = self.above_rate_eur_per_kw_year - self.below_rate_eur_per_kw_year
        rounding = ROUNDING_EUR_PER_KWH * self.threshold_hours + ROUNDING_EUR_PER_KW
        allowed = max(RELATIVE_ROUNDING * abs(paid), min(rounding, 0.05 * abs(paid)))
        if not self.allow_step and abs(saved - paid) > allowed:
            raise ValueError(
                f"at {self.threshold_hours:g} utilisation hours the bill jumps by "
                f"{paid - saved:+.2f} EUR per kW: the price per kW rises by {paid:.2f} EUR, energy "
                f"gets cheaper by {saved:.2f} EUR. Both must be the same but for rounding of the "
                f"prices ({allowed:.2f} EUR); correct a price, or set `allow_step: true`"
            )
        return self

    def rates(self, calendar: Calendar, customers: Customers) -> EnergyRates:
        """Return the price per kWh of the expected side."""
        return EnergyRates.of(imported=self._expected()[0] * self.pays(customers)[None, :])

    def peak_signal(self, customers: Customers) -> PeakSignal:
        """Return the price per kW of the expected side."""
        return PeakSignal(
            eur_per_kw=self._expected()[1] * self.pays(customers),
            free_kw=np.zeros(len(customers)),
            span="period",
        )

    def power_bill_eur(self, meters: MeterData) -> Floats:
        """Return the bill of every customer as if all paid it, EUR, shape (N,)."""
        import_kw, _ = self.measured_import_kw(meters)
        peak_kw = import_kw.max(axis=0)
        energy_kwh = meters.import_kwh.sum(axis=0)
        year = meters.calendar.year_share
        below = self.below_rate_eur_per_kwh * energy_kwh + (
            self.below_rate_eur_per_kw_year * year * peak_kw
        )
        above = self.above_rate_eur_per_kwh * energy_kwh + (
            self.above_rate_eur_per_kw_year * year * peak_kw
        )
        even = energy_kwh >= self.threshold_hours * year * peak_kw
        return np.asarray(np.where(even, above, below))

    def _expected(self) -> tuple[float, float]:
        if self.expected_side == "below":
            return self.below_rate_eur_per_kwh, self.below_rate_eur_per_kw_year
        return self.above_rate_eur_per_kwh, self.above_rate_eur_per_kw_year
