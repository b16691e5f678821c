"""A price on the import in the hours when the area draws most: coincident or critical peak.

Customer n of area a pays ``B_n = p y cp_n``, for the share ``y`` of a year that the meter data
cover, with ``cp_n = (1/H) sum_{t in T_a} i_nt``: the mean of its import ``i`` (kW) over the ``H``
whole hours ``T_a`` in which the area, or the whole system, imports most. Of hours with the same
import the earlier ones count. Slots shorter than an hour are averaged to hours of UTC; longer
slots, and data with fewer than ``H`` hours, are taken as they are.

The hours are known only afterwards. Batteries that save this charge guard against all of them:
they see the price on the customer's own peak, which is what a kW less is worth at the most.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from tricell.markets.charge import (
    AboutCharge,
    Customers,
    Floats,
    Indices,
    MeterData,
    PeakSignal,
    PeriodCharge,
)
from tricell.markets.metered_power import interval_means

ABOUT = AboutCharge(
    name="coincident_peak",
    line="A price per kW of import in the hours when the area imports most.",
    base="kW mean import in peak hours of the area",
    source="National Grid ESO, Triads (H = 3); Baldick, J. of Regulatory Economics 54, 2018",
)

HOUR_MINUTES = 60
TOP = -1
"""Row of the area above a top area."""


class CoincidentPeak(PeriodCharge):
    """A price per kW of import in the peak hours of the area and year."""

    RATES: ClassVar[tuple[str, ...]] = ("rate_eur_per_kw_year",)

    kind: Literal["coincident_peak"] = "coincident_peak"
    rate_eur_per_kw_year: Annotated[float, Field(ge=0)] = 0.0
    """Price of a kW of mean import in the peak hours, EUR/kW/yr (0)."""
    hours: Annotated[int, Field(ge=1, le=50)] = 3
    """How many peak hours count, 1 to 50 (3)."""
    level: Literal["area", "system"] = "area"
    """Whose peak hours: those of the customer's own `area`, or of the whole `system` (area)."""

    def peak_signal(self, customers: Customers) -> PeakSignal:
        """Return the price per kW of the customer's own peak: the most that a kW is worth."""
        return PeakSignal(
            eur_per_kw=self.rate_eur_per_kw_year * self.pays(customers),
            free_kw=np.zeros(len(customers)),
            span="period",
        )

    def bill_eur(self, meters: MeterData) -> Floats:
        """Return what every customer pays for the whole of the meter data, EUR, shape (N,)."""
        per_kw = self.rate_eur_per_kw_year * meters.calendar.year_share
        return np.asarray(per_kw * self.pays(meters.customers) * self.coincident_kw(meters))

    def coincident_kw(self, meters: MeterData) -> Floats:
        """Return every customer's mean import in the peak hours, kW, shape (N,)."""
        import_kw, _ = interval_means(np.maximum(meters.net_kw, 0.0), meters.calendar, HOUR_MINUTES)
        drawn_kw, _ = interval_means(self._drawn_kw(meters), meters.calendar, HOUR_MINUTES)
        peak = np.argsort(-drawn_kw, axis=0, kind="stable")[: self.hours]
        own = self.level == "area"
        column = meters.customers.area if own else np.zeros_like(meters.customers.area)
        rows = peak[:, column]
        return np.asarray(np.take_along_axis(import_kw, rows, axis=0).mean(axis=0))

    def _drawn_kw(self, meters: MeterData) -> Floats:
        """Return what every area imports, kW, shape (T, A), or the system, shape (T, 1)."""
        customers = meters.customers
        area_kw = meters.area_net_kw
        if self.level == "system":
            if area_kw is None:
                return np.asarray(meters.net_kw.sum(axis=1, keepdims=True))
            top = customers.area_parent == TOP
            return np.asarray(area_kw[:, top].sum(axis=1, keepdims=True))
        return net_of_areas_kw(meters) if area_kw is None else area_kw


def net_of_areas_kw(meters: MeterData) -> Floats:
    """Return the sum of what the members of every area draw, and of the areas below it.

    Returns
    -------
    ndarray
        Net import without losses, kW, shape (T, A).
    """
    customers = meters.customers
    member = np.zeros((len(customers), len(customers.area_parent)))
    row: Indices = customers.area
    inside = np.ones(len(customers), np.bool_)
    for _ in customers.area_parent:
        member[np.flatnonzero(inside), row[inside]] = 1.0
        row = np.where(inside, customers.area_parent[row], TOP)
        inside = row != TOP
        if not inside.any():
            break
    return np.asarray(meters.net_kw @ member)
