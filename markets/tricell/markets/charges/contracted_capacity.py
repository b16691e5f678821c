"""A price on the power a customer contracted, and a price on power above it.

Customer n pays ``B_n = y (p C_n + x max(0, max_t i_nt - C_n))`` for the share ``y`` of a year that
the meter data cover: ``C`` the contracted power (kW) of the connection, ``i`` the import (kW) per
metering interval, ``x`` the price of exceedance.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from tricell.errors import MarketError
from tricell.markets.charge import AboutCharge, Customers, Floats, MeterData, PeakSignal
from tricell.markets.metered_power import PowerCharge

ABOUT = AboutCharge(
    name="contracted_capacity",
    line="A price per kW of contracted power, and another per kW above it.",
    base="kW contracted",
    source="CEER, Paper on Electricity Distribution Tariffs Supporting the Energy Transition, 2020",
)


class ContractedCapacity(PowerCharge):
    """A price per kW of contracted power and year."""

    RATES: ClassVar[tuple[str, ...]] = (
        "rate_eur_per_kw_year",
        "exceedance_rate_eur_per_kw_year",
    )

    kind: Literal["contracted_capacity"] = "contracted_capacity"
    rate_eur_per_kw_year: Annotated[float, Field(ge=0)] = 0.0
    """Price of a kW of contracted power, EUR/kW/yr (0)."""
    exceedance_rate_eur_per_kw_year: Annotated[float, Field(ge=0)] = 0.0
    """Price of a kW by which the highest import exceeds the contracted power, EUR/kW/yr (0)."""
    default_kw: Annotated[float, Field(ge=0)] | None = None
    """Contracted power of customers whose connection states none, kW (none: that is an error)."""

    def peak_signal(self, customers: Customers) -> PeakSignal:
        """Return the price of exceedance per kW above the contracted power."""
        return PeakSignal(
            eur_per_kw=self.exceedance_rate_eur_per_kw_year * self.pays(customers),
            free_kw=self.contracted_kw(customers),
            span="period",
        )

    def power_bill_eur(self, meters: MeterData) -> Floats:
        """Return the bill of every customer as if all paid it, EUR, shape (N,)."""
        contracted_kw = self.contracted_kw(meters.customers)
        import_kw, _ = self.measured_import_kw(meters)
        above_kw = np.maximum(import_kw.max(axis=0) - contracted_kw, 0.0)
        per_year = (
            self.rate_eur_per_kw_year * contracted_kw
            + self.exceedance_rate_eur_per_kw_year * above_kw
        )
        return np.asarray(per_year * meters.calendar.year_share)

    def contracted_kw(self, customers: Customers) -> Floats:
        """Return the contracted power, kW, shape (N,); 0 for those who do not pay the charge.

        Raises
        ------
        MarketError
            If a customer who pays has no contracted power and the charge no default.
        """
        pays = self.pays(customers) > 0
        contracted_kw = np.where(pays, customers.connection_kw, 0.0)
        unknown = np.isnan(contracted_kw)
        if unknown.any() and self.default_kw is None:
            names = [customers.id[row] for row in np.flatnonzero(unknown)]
            raise MarketError(
                f"charge {self.label!r}: {len(names)} customers have no contracted power, such as "
                f"{names[0]!r}. Give the power of their connections, or `default_kw` in the charge."
            )
        return np.where(unknown, self.default_kw or 0.0, contracted_kw)
