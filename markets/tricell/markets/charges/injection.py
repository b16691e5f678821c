"""A price on what customers export: the generators' share of network charges (G-component).

Customer n pays ``B_n = g sum_t e_nt h + p y max_t e_nt`` for its export ``e`` (kW) in slots of
``h`` hours, the peak per metering interval, and the share ``y`` of a year that the meter data
cover. Sellers know the part per kWh beforehand and ask for that much more.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from tricell.markets.charge import (
    AboutCharge,
    Calendar,
    Customers,
    EnergyRates,
    Floats,
    MeterData,
)
from tricell.markets.metered_power import PowerCharge, interval_means

ABOUT = AboutCharge(
    name="injection",
    line="A price per exported kWh, and per kW of peak export.",
    base="kWh exported, kW peak export",
    source="ACER, Report on Electricity Transmission and Distribution Tariff Methodologies, 2023",
)


class Injection(PowerCharge):
    """A price per exported kWh, and per kW of peak export and year."""

    RATES: ClassVar[tuple[str, ...]] = ("rate_eur_per_kwh", "rate_eur_per_kw_year")

    kind: Literal["injection"] = "injection"
    rate_eur_per_kwh: Annotated[float, Field(ge=0)] = 0.0
    """Price of an exported kWh, EUR/kWh (0)."""
    rate_eur_per_kw_year: Annotated[float, Field(ge=0)] = 0.0
    """Price of a kW of the highest export, EUR/kW/yr (0)."""

    def rates(self, calendar: Calendar, customers: Customers) -> EnergyRates:
        """Return the price per exported kWh, the same in every slot."""
        return EnergyRates.of(exported=self.rate_eur_per_kwh * self.pays(customers)[None, :])

    def power_bill_eur(self, meters: MeterData) -> Floats:
        """Return the bill of every customer as if all paid it, EUR, shape (N,)."""
        export_kw = np.maximum(-meters.net_kw, 0.0)
        peak_kw = interval_means(export_kw, meters.calendar, self.interval_minutes)[0].max(axis=0)
        energy_eur = self.rate_eur_per_kwh * meters.export_kwh.sum(axis=0)
        power_eur = self.rate_eur_per_kw_year * meters.calendar.year_share * peak_kw
        return np.asarray(energy_eur + power_eur)
