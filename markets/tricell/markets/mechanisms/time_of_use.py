"""Time-of-use tariff: the retail price depends on the hour, and flexible loads move to cheap slots.

The price of a slot is that of the band in which the slot starts, in local time, so that a band
keeps its hours through the change to summer time. With ``wholesale + adder`` as prices it is
real-time pricing. A flexible load of E kWh, at most x_max in a slot, is scheduled at least cost::

    min  sum_t p_t x_t    with    sum_t x_t = E,    0 <= x_t <= x_max

Equal prices fill the earliest slot first. A load that does not fit has no schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tricell.errors import MarketError
from tricell.markets.mechanism import About

Floats = NDArray[np.float64]

ABOUT = About(
    name="time_of_use",
    line="retail price by time of day; flexible load moves to the cheapest slots",
    source="time-of-use and real-time retail tariffs as usual",
)

EVERY_DAY = frozenset(range(7))


@dataclass(frozen=True)
class TariffBand:
    """Hours of the day with a price of their own.

    Attributes
    ----------
    start, end : local time of day; the end is excluded, and an end at or before the start lies on
        the next day.
    price_eur_per_kwh : all-in retail price.
    weekdays : days on which the slots lie, 0 is Monday.
    """

    start: time
    end: time
    price_eur_per_kwh: float
    weekdays: frozenset[int] = EVERY_DAY

    def covers(self, moment: datetime) -> bool:
        """Whether a local moment lies in the band."""
        if moment.weekday() not in self.weekdays:
            return False
        clock = moment.time()
        if self.start < self.end:
            return self.start <= clock < self.end
        return clock >= self.start or clock < self.end


def tariff_prices(
    slot_start_utc: NDArray[np.datetime64],
    bands: Sequence[TariffBand],
    time_zone: str,
    *,
    other_price: float | None = None,
) -> Floats:
    """Price of each slot, EUR/kWh.

    Parameters
    ----------
    slot_start_utc : shape (slots,), starts of the slots in UTC.
    bands : the first that covers a slot's start decides.
    time_zone : IANA name, such as "Europe/Berlin".
    other_price : price outside all bands; without it, all slots must be covered.

    Raises
    ------
    MarketError
        If the time zone is unknown, or no band covers a slot.
    """
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise MarketError(
            f"time_zone is {time_zone!r}, which is unknown; give an IANA name, such as "
            "'Europe/Berlin'"
        ) from error
    seconds = np.asarray(slot_start_utc).astype("datetime64[s]").astype(np.int64)
    local = [datetime.fromtimestamp(int(each), zone) for each in seconds]
    return np.array([_band_price(each, bands, other_price) for each in local], dtype=np.float64)


def _band_price(moment: datetime, bands: Sequence[TariffBand], other_price: float | None) -> float:
    for band in bands:
        if band.covers(moment):
            return band.price_eur_per_kwh
    if other_price is None:
        raise MarketError(
            f"no band of the tariff covers {moment:%A %H:%M} local time; cover the whole week, or "
            "give other_price"
        )
    return other_price


def real_time_prices(wholesale_price: ArrayLike, adder: float) -> Floats:
    """Retail price that follows the wholesale price, EUR/kWh."""
    return np.asarray(wholesale_price, dtype=np.float64) + adder


@dataclass(frozen=True)
class LoadSchedule:
    """The cheapest schedule of a flexible load.

    Attributes
    ----------
    is_feasible : whether the load fits; if not, there is no schedule.
    energy_kwh : per slot; None if infeasible.
    cost_eur : None if infeasible.
    """

    is_feasible: bool
    energy_kwh: Floats | None = None
    cost_eur: float | None = None


def schedule_flexible_load(
    price: ArrayLike, energy_kwh: float, slot_limit_kwh: ArrayLike = np.inf
) -> LoadSchedule:
    """Place a flexible load into the cheapest slots, the earliest among equals.

    Parameters
    ----------
    price : shape (slots,), EUR/kWh.
    energy_kwh : the load, at least 0.
    slot_limit_kwh : most that a slot takes, one number or shape (slots,).

    Raises
    ------
    MarketError
        If a price is not finite, the load is negative or a limit is.

    Examples
    --------
    >>> schedule_flexible_load([0.40, 0.20, 0.10], 5.0, 3.0).energy_kwh
    array([0., 2., 3.])
    """
    prices = np.asarray(price, dtype=np.float64).reshape(-1)
    limits = np.broadcast_to(np.asarray(slot_limit_kwh, dtype=np.float64), prices.shape)
    _check_load(prices, energy_kwh, limits)
    order = np.argsort(prices, kind="stable")
    room = np.minimum(limits[order], energy_kwh)
    end = np.cumsum(room)
    rounding = 1e-12 * max(1.0, energy_kwh)
    if energy_kwh > (end[-1] if len(end) else 0.0) + rounding:
        return LoadSchedule(is_feasible=False)
    placed = np.clip(energy_kwh - (end - room), 0.0, room)
    schedule = np.zeros(len(prices))
    schedule[order] = np.where(placed <= rounding, 0.0, placed)
    return LoadSchedule(True, schedule, schedule_cost(prices, schedule))


def schedule_cost(price: ArrayLike, energy_kwh: ArrayLike) -> float:
    """Cost of a schedule, EUR; both of shape (slots,)."""
    prices = np.asarray(price, dtype=np.float64)
    energies = np.asarray(energy_kwh, dtype=np.float64)
    if prices.shape != energies.shape:
        raise MarketError(
            f"there are {prices.size} prices, but {energies.size} energies; give one for each slot"
        )
    return float(prices @ energies)


def _check_load(prices: Floats, energy_kwh: float, limits: Floats) -> None:
    if not np.isfinite(prices).all():
        slot = int(np.argmin(np.isfinite(prices)))
        raise MarketError(f"slot {slot}: price is {prices[slot]:g}; allowed is a finite number")
    if not 0.0 <= energy_kwh < np.inf:
        raise MarketError(f"energy_kwh is {energy_kwh:g}; allowed is a number of at least 0")
    if not (limits >= 0.0).all():
        slot = int(np.argmin(limits >= 0.0))
        raise MarketError(
            f"slot {slot}: slot_limit_kwh is {limits[slot]:g}; allowed is a number of at least 0"
        )
