"""What every network charge has in common: what it bills, and what of it agents know beforehand.

A charge is one file in `tricell.markets.charges`: a constant ``ABOUT`` and a class derived from one
of the two kinds below, whose fields are its parameters, rates included. Rates are net of VAT.

* `SlotCharge`: what it costs is settled slot by slot (a price per kWh, a fee on a trade, losses).
* `PeriodCharge`: what it costs is known when the billing period ends (a peak, a fixed price).

What agents know beforehand, `EnergyRates`, enters the clearing, so that a charge moves trades; a
price on power, `PeakSignal`, is what batteries shave peaks for. Every charge is proportional to
its rates: `scaled` multiplies all of them, which is how rates are solved for a revenue.

Prices per year count for the share of a year that the meter data cover, by its length in time.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, ClassVar, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from tricell.errors import MarketError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Bools = NDArray[np.bool_]

HOURS_PER_YEAR = 8760.0


class Source(IntEnum):
    """Where an imported kWh was bought: at a market's level, or from the retailer."""

    MICROGRID = 0
    CELL = 1
    MULTICELL = 2
    RETAIL = 3

    @property
    def label(self) -> str:
        """Lower-case name for tables."""
        return self.name.lower()


@dataclass(frozen=True)
class Calendar:
    """The slots of a period, and what the clock on the wall shows in each.

    Attributes
    ----------
    start : datetime64[s], shape (T,)
        Start of every slot, UTC.
    hours : float
        Length of a slot, h.
    zone : str
        Time zone of the place, for local hours, months and weekdays across daylight saving time.

    Raises
    ------
    MarketError
        If there is no such time zone.
    """

    start: NDArray[np.datetime64]
    hours: float
    zone: str = "Europe/Berlin"

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise MarketError(
                f"calendar: {self.zone!r} is not a time zone. Give a name of the IANA data base, "
                "such as 'Europe/Berlin' or 'UTC'."
            ) from error

    def __len__(self) -> int:
        return len(self.start)

    @cached_property
    def local(self) -> pd.DatetimeIndex:
        """Local start of every slot."""
        return pd.DatetimeIndex(self.start).tz_localize("UTC").tz_convert(self.zone)

    @cached_property
    def hour(self) -> Floats:
        """Local hour of the day at the start of every slot, 0 to below 24, with fractions."""
        local = self.local
        return np.asarray(local.hour + local.minute / 60.0 + local.second / 3600.0, np.float64)

    @cached_property
    def month(self) -> Indices:
        """Months since 1970 by local time, one number per slot: the key of monthly peaks."""
        return np.asarray((self.local.year - 1970) * 12 + self.local.month - 1, np.int64)

    @cached_property
    def quarter(self) -> Indices:
        """Quarter of the year, 1 to 4, by local time."""
        return np.asarray(self.local.quarter, np.int64)

    @cached_property
    def weekday(self) -> Indices:
        """Day of the week, 0 Monday to 6 Sunday, by local time."""
        return np.asarray(self.local.weekday, np.int64)

    @property
    def year_share(self) -> float:
        """Share of a year of 8760 h that the slots cover."""
        return len(self) * self.hours / HOURS_PER_YEAR

    def part(self, first: int, count: int) -> Calendar:
        """Return the calendar of some consecutive slots."""
        return Calendar(self.start[first : first + count], self.hours, self.zone)


@dataclass(frozen=True)
class Customers:
    """Who is billed; arrays with one entry per customer.

    Attributes
    ----------
    id : names.
    group : customer class, such as ``household`` or ``business``.
    area : row of the area that each is a member of.
    area_level : level of every area, 1 microgrid, 2 cell, 3 multi-cell; shape (A,).
    area_parent : row of the area above, -1 at the top; shape (A,).
    connection_kw : contracted power; nan where none is known.
    controllable : whether a device stands behind the meter that can be controlled (battery, heat
        pump, charger), in the sense of section 14a EnWG.
    has_pv : whether a plant stands behind the meter.
    distance_ohm : sum of the magnitudes of impedance from the area's connection to the customer.
    branches : number of lines and transformers on that way.
    """

    id: tuple[str, ...]
    group: tuple[str, ...]
    area: Indices
    area_level: Indices
    area_parent: Indices
    connection_kw: Floats
    controllable: Bools
    has_pv: Bools
    distance_ohm: Floats
    branches: Floats

    def __len__(self) -> int:
        return len(self.id)

    @property
    def level(self) -> Indices:
        """Level of the area that each customer is a member of."""
        return np.asarray(self.area_level[self.area])

    @classmethod
    def plain(cls, count: int, group: str = "household") -> Customers:
        """Return customers of one class in one microgrid, without anything else known."""
        return cls(
            id=tuple(str(row) for row in range(count)),
            group=(group,) * count,
            area=np.zeros(count, np.int64),
            area_level=np.array([1]),
            area_parent=np.array([-1]),
            connection_kw=np.full(count, np.nan),
            controllable=np.zeros(count, np.bool_),
            has_pv=np.zeros(count, np.bool_),
            distance_ohm=np.zeros(count),
            branches=np.zeros(count),
        )


@dataclass(frozen=True)
class MeterData:
    """What meters and markets recorded over T slots.

    Attributes
    ----------
    calendar, customers : the slots and the N customers.
    net_kw : shape (T, N), positive imports.
    bought_kwh : shape (4, T, N), imported energy by `Source`; it adds up to the import. None
        where only the meters are known: then all of it counts as bought from the retailer.
    area_net_kw : shape (T, A), import of every area through its connection; positive imports.
    area_loss_kw : shape (T, A), losses in every area's own network.
    wholesale_price : EUR/kWh, shape (T,).
    congestion_rent_eur : what the network operator got in every slot because lines were full,
        shape (T,).
    """

    calendar: Calendar
    customers: Customers
    net_kw: Floats
    bought_kwh: Floats | None = None
    area_net_kw: Floats | None = None
    area_loss_kw: Floats | None = None
    wholesale_price: Floats | None = None
    congestion_rent_eur: Floats | None = None

    @cached_property
    def import_kwh(self) -> Floats:
        """Imported energy, shape (T, N)."""
        return np.asarray(np.maximum(self.net_kw, 0.0) * self.calendar.hours)

    @cached_property
    def export_kwh(self) -> Floats:
        """Exported energy, shape (T, N)."""
        return np.asarray(np.maximum(-self.net_kw, 0.0) * self.calendar.hours)


@dataclass(frozen=True)
class EnergyRates:
    """What a kWh pays, as far as agents know it before the gate; EUR/kWh.

    The four parts add up. Arrays may have the length 1 on an axis along which they do not change.

    Attributes
    ----------
    by_source : shape (T, 4); of every imported kWh by where it was bought (`Source`). Farther
        away never costs less.
    imported : shape (T, N); of every imported kWh of a customer, wherever it was bought.
    exported : shape (T, N); of every exported kWh of a customer; negative where it earns.
    entry, exit : shape (T, A); of every kWh that enters or leaves an area through its border to
        the area above.
    """

    by_source: Floats
    imported: Floats
    exported: Floats
    entry: Floats
    exit: Floats

    @classmethod
    def of(
        cls,
        *,
        by_source: Floats | None = None,
        imported: Floats | None = None,
        exported: Floats | None = None,
        entry: Floats | None = None,
        exit: Floats | None = None,
    ) -> EnergyRates:
        """Return rates of which only some parts are not zero."""
        nothing = np.zeros((1, 1))
        return cls(
            by_source=np.zeros((1, len(Source))) if by_source is None else by_source,
            imported=nothing if imported is None else imported,
            exported=nothing if exported is None else exported,
            entry=nothing if entry is None else entry,
            exit=nothing if exit is None else exit,
        )

    def __add__(self, other: EnergyRates) -> EnergyRates:
        return EnergyRates(
            self.by_source + other.by_source,
            self.imported + other.imported,
            self.exported + other.exported,
            self.entry + other.entry,
            self.exit + other.exit,
        )

    def part(self, first: int, count: int) -> EnergyRates:
        """Return the rates of some consecutive slots."""

        def cut(array: Floats) -> Floats:
            return array if len(array) == 1 else array[first : first + count]

        return EnergyRates(
            cut(self.by_source),
            cut(self.imported),
            cut(self.exported),
            cut(self.entry),
            cut(self.exit),
        )


@dataclass(frozen=True)
class PeakSignal:
    """A price on a customer's power that a battery may save; arrays of shape (N,).

    Attributes
    ----------
    eur_per_kw : what one more kW of peak import in a billing span costs; 0 for nobody concerned.
    free_kw : power that costs nothing extra (floor, band, contracted power).
    span : "month" where every month has a peak of its own, "period" for one peak in all.
    """

    eur_per_kw: Floats
    free_kw: Floats
    span: Literal["month", "period"]


@dataclass(frozen=True)
class AboutCharge:
    """What a charge is, in a line.

    Attributes
    ----------
    name : name of its file, and `kind` of its parameters.
    line : what it does, in one line.
    base : what it is billed on, such as "kWh imported" or "kW monthly peak".
    source : law, paper or regulator that describes it.
    """

    name: str
    line: str
    base: str
    source: str


class Charge(BaseModel):
    """Parameters of a network charge. Subclasses derive from `SlotCharge` or `PeriodCharge`.

    Fields that hold a rate are named in ``RATES``; `scaled` multiplies them, nested tables too.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    RATES: ClassVar[tuple[str, ...]] = ()

    kind: str
    """Which charge this is: the name of its file."""
    name: str = ""
    """What it is called in bills and tables (its kind)."""
    customers: tuple[str, ...] = ()
    """Classes that pay it: customer classes, `controllable`, `not_controllable`, `with_pv`,
    `without_pv` (all)."""
    purpose: Literal["network", "levy"] = "network"
    """`network`: recovers the network operator's cost; `levy`: collected for the state."""

    @property
    def label(self) -> str:
        """Name in bills and tables."""
        return self.name or self.kind

    def scaled(self, factor: float) -> Self:
        """Return the charge with all rates multiplied by a factor."""
        return self.model_copy(
            update={rate: _times(getattr(self, rate), factor) for rate in self.RATES}
        )

    def pays(self, customers: Customers) -> Floats:
        """Return 1 for every customer who pays this charge and 0 for the others, shape (N,).

        Raises
        ------
        MarketError
            If ``customers`` of the charge names a class that there is not.
        """
        if not self.customers:
            return np.ones(len(customers))
        groups = np.array(customers.group, dtype=np.str_)
        special = {
            "controllable": customers.controllable,
            "not_controllable": ~customers.controllable,
            "with_pv": customers.has_pv,
            "without_pv": ~customers.has_pv,
        }
        chosen = np.zeros(len(customers), np.bool_)
        for wanted in self.customers:
            if wanted not in special and wanted not in customers.group:
                raise MarketError(
                    f"charge {self.label!r}: there are no customers {wanted!r}; classes here: "
                    f"{', '.join(sorted(set(customers.group)))}, and {', '.join(special)}"
                )
            chosen |= special.get(wanted, groups == wanted)
        return chosen.astype(np.float64)

    def resolved(self, area_ids: Sequence[str]) -> Self:
        """Return the charge with the names of areas that it speaks of turned into rows.

        Parameters
        ----------
        area_ids : names of all areas, in the order of their rows.
        """
        return self

    def rates(self, calendar: Calendar, customers: Customers) -> EnergyRates | None:
        """Return what agents know of it before the gate, per kWh; None for nothing.

        Parameters
        ----------
        calendar, customers : the T slots and N customers.
        """
        return None

    def peak_signal(self, customers: Customers) -> PeakSignal | None:
        """Return the price on power that batteries may save; None for none."""
        return None

    @abstractmethod
    def bill_eur(self, meters: MeterData) -> Floats:
        """Return what every customer pays for the whole of the meter data, EUR, shape (N,)."""


class SlotCharge(Charge):
    """A charge that is settled slot by slot; by default by the rates that agents know."""

    def amounts_eur(self, meters: MeterData) -> Floats:
        """Return what every customer pays in every slot, EUR, shape (T, N)."""
        rates = self.rates(meters.calendar, meters.customers)
        assert rates is not None, f"{self.kind} has no rates and no rule of its own"
        return billed_by_rates(rates, meters)

    def bill_eur(self, meters: MeterData) -> Floats:
        """Return what every customer pays for the whole of the meter data, EUR, shape (N,)."""
        return np.asarray(self.amounts_eur(meters).sum(axis=0))


class PeriodCharge(Charge):
    """A charge that is known when the billing period ends; the subclass says `bill_eur`."""


def billed_by_rates(rates: EnergyRates, meters: MeterData) -> Floats:
    """Return what energy rates bill in every slot, EUR, shape (T, N).

    Charges at the borders of areas (`EnergyRates.entry`, `exit`) need the flows between areas and
    are settled with them; they are not in here.
    """
    amounts = meters.import_kwh * rates.imported + meters.export_kwh * rates.exported
    if meters.bought_kwh is None:
        return np.asarray(amounts + meters.import_kwh * rates.by_source[:, Source.RETAIL, None])
    for source in Source:
        amounts = amounts + meters.bought_kwh[source] * rates.by_source[:, source, None]
    return np.asarray(amounts)


def _times(rate: Any, factor: float) -> Any:
    """Multiply a number, or every number in nested tables and models, by a factor."""
    match rate:
        case None:
            return None
        case Charge():
            return rate.scaled(factor)
        case dict():
            return {key: _times(value, factor) for key, value in rate.items()}
        case tuple():
            return tuple(_times(value, factor) for value in rate)
        case _:
            return rate * factor
