"""A price per imported kWh, from which exported kWh are deducted: net metering.

Customer n pays ``B_n = c sum_p max(0, sum_{t in p} (i_nt - e_nt) h)`` over netting periods ``p``,
for its import ``i`` and export ``e`` (kW) in slots of ``h`` hours. A surplus at the end of a
netting period lapses. The last period, and the first, may be cut short by the meter data.

Agents count with the full price both ways: a kWh that they import costs it, a kWh that they export
saves it, as is so for everybody who imports more than they export.
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
    Indices,
    MeterData,
    PeriodCharge,
)

ABOUT = AboutCharge(
    name="net_metering",
    line="A price per kWh of import less export, per netting period.",
    base="kWh imported less exported, not below zero",
    source="CEER, Paper on Electricity Distribution Tariffs Supporting the Energy Transition, 2020",
)


class NetMetering(PeriodCharge):
    """A price per kWh of import less export."""

    RATES: ClassVar[tuple[str, ...]] = ("rate_eur_per_kwh",)

    kind: Literal["net_metering"] = "net_metering"
    rate_eur_per_kwh: Annotated[float, Field(ge=0)] = 0.0
    """Price of a kWh imported and not netted, EUR/kWh (0)."""
    netting: Literal["day", "month", "period"] = "period"
    """Over what export is deducted: local `day`, local `month` or the whole `period` (period)."""

    def rates(self, calendar: Calendar, customers: Customers) -> EnergyRates:
        """Return the price for imports, and minus the price for exports."""
        rate = self.rate_eur_per_kwh * self.pays(customers)[None, :]
        return EnergyRates.of(imported=rate, exported=-rate)

    def bill_eur(self, meters: MeterData) -> Floats:
        """Return what every customer pays for the whole of the meter data, EUR, shape (N,)."""
        first = np.unique(self._period(meters.calendar), return_index=True)[1]
        net_kwh = np.add.reduceat(meters.net_kw * meters.calendar.hours, first, axis=0)
        base_kwh = np.maximum(net_kwh, 0.0).sum(axis=0)
        return np.asarray(self.rate_eur_per_kwh * base_kwh * self.pays(meters.customers))

    def _period(self, calendar: Calendar) -> Indices:
        """Return the number of every slot's netting period, shape (T,)."""
        match self.netting:
            case "day":
                days = calendar.local.tz_localize(None).to_numpy("datetime64[D]")
                return np.asarray(days.astype(np.int64))
            case "month":
                return calendar.month
            case "period":
                return np.zeros(len(calendar), np.int64)
