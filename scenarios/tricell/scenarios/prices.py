"""Prices outside the local markets: wholesale, retail and feed-in, in EUR/kWh per slot.

The shipped wholesale series is of 2019, while profiles are usually of another year (SimBench:
2016). A day of the scenario takes the prices of the day of 2019 that has the same weekday and is
nearest to the same date, so that weekends stay weekends and seasons stay seasons. Public
holidays are not matched.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tricell.errors import DataError
from tricell.scenarios.section import Section
from tricell.scenarios.time_tables import read_csv_table

FloatArray = NDArray[np.float64]

DAY_AHEAD_2019_FILE = Path(__file__).parent / "data" / "de_lu_day_ahead_2019_hourly.csv"
DAY_AHEAD_2019_UTC_OFFSET_HOURS = 1
HOUR_S = 3600
MWH_PER_KWH = 1e-3
PRICE_TOLERANCE_EUR_PER_KWH = 1e-12


class DayAhead2019(Section):
    """Day-ahead prices of Germany and Luxembourg in 2019 (shipped), matched by weekday."""

    kind: Literal["de_lu_2019"] = "de_lu_2019"


class ConstantWholesale(Section):
    """The same wholesale price in every slot."""

    kind: Literal["constant"] = "constant"
    price_eur_per_kwh: float
    """Price, EUR/kWh."""


class CsvWholesale(Section):
    """Wholesale prices from a CSV file that covers the horizon."""

    kind: Literal["csv"] = "csv"
    file: str
    """Path, counted from the scenario file's folder."""
    column: str
    """Column with the prices."""
    unit: Literal["eur_per_mwh", "eur_per_kwh"] = "eur_per_mwh"
    """Unit of the column (eur_per_mwh)."""
    time_column: str = "time"
    """Column with the start of each interval, ISO 8601 (time)."""
    utc_offset_hours: Annotated[float, Field(ge=-14, le=14)] = 0.0
    """Offset of a clock written without one, h (0: UTC)."""


class FixedRetail(Section):
    """The same all-in retail price in every slot."""

    kind: Literal["fixed"] = "fixed"
    price_eur_per_kwh: float
    """What a household pays for a kWh, EUR/kWh."""


class DynamicRetail(Section):
    """Retail price that follows the wholesale price."""

    kind: Literal["dynamic"] = "dynamic"
    adder_eur_per_kwh: float
    """Network charges, levies, tax and margin on top of the wholesale price, EUR/kWh."""


class FixedFeedIn(Section):
    """The same price for exported energy in every slot."""

    kind: Literal["fixed"] = "fixed"
    price_eur_per_kwh: float
    """What a household gets for a kWh, EUR/kWh."""


class WholesaleFeedIn(Section):
    """Feed-in price that follows the wholesale price."""

    kind: Literal["wholesale"] = "wholesale"
    margin_eur_per_kwh: float = 0.0
    """Added to the wholesale price, negative for what the marketer keeps, EUR/kWh (0)."""
    floor_eur_per_kwh: float | None = None
    """Lowest price, EUR/kWh (null: none, so that it may be negative)."""


WholesalePrice = Annotated[
    DayAhead2019 | ConstantWholesale | CsvWholesale, Field(discriminator="kind")
]
RetailPrice = Annotated[FixedRetail | DynamicRetail, Field(discriminator="kind")]
FeedInPrice = Annotated[FixedFeedIn | WholesaleFeedIn, Field(discriminator="kind")]


@dataclass(frozen=True)
class WholesaleSeries:
    """Wholesale price of each slot with its origin.

    Attributes
    ----------
    price_eur_per_kwh : float64, shape (n_slot,)
        Price, EUR/kWh.
    provenance : str
        One sentence for people: where the prices come from and how they were matched.
    licence : str
        Licence of the data, empty where the planner supplied them.
    """

    price_eur_per_kwh: FloatArray
    provenance: str
    licence: str = ""


def wholesale_series(
    parameters: DayAhead2019 | ConstantWholesale | CsvWholesale,
    *,
    start: np.datetime64,
    slots: int,
    step_s: int,
    folder: Path,
) -> WholesaleSeries:
    """Wholesale price of every slot of a horizon.

    Parameters
    ----------
    parameters : DayAhead2019, ConstantWholesale or CsvWholesale
        Validated section of the scenario.
    start : numpy.datetime64
        UTC start of the horizon.
    slots : int
        Number of slots.
    step_s : int
        Length of a slot, s; divides an hour or is a whole number of hours.
    folder : Path
        Folder of the scenario file, from which relative paths count.

    Returns
    -------
    WholesaleSeries
        Prices and their origin.

    Raises
    ------
    DataError
        If a file is wrong or does not cover the horizon.
    """
    match parameters:
        case DayAhead2019():
            return _day_ahead_2019_series(start, slots, step_s)
        case ConstantWholesale(price_eur_per_kwh=price):
            text = f"Wholesale prices: constant {price:g} EUR/kWh, set by the scenario."
            return WholesaleSeries(np.full(slots, price), text)
        case CsvWholesale():
            prices = _csv_prices(parameters, start, slots, step_s, folder)
            text = f"Wholesale prices: column {parameters.column!r} of {parameters.file}."
            return WholesaleSeries(prices, text)


def retail_prices(
    parameters: FixedRetail | DynamicRetail, wholesale_eur_per_kwh: FloatArray
) -> FloatArray:
    """All-in retail price of every slot, EUR/kWh, shape (n_slot,)."""
    match parameters:
        case FixedRetail(price_eur_per_kwh=price):
            return np.full(len(wholesale_eur_per_kwh), price)
        case DynamicRetail(adder_eur_per_kwh=adder):
            return np.asarray(wholesale_eur_per_kwh + adder)


def feed_in_prices(
    parameters: FixedFeedIn | WholesaleFeedIn, wholesale_eur_per_kwh: FloatArray
) -> FloatArray:
    """Price of exported energy in every slot, EUR/kWh, shape (n_slot,)."""
    match parameters:
        case FixedFeedIn(price_eur_per_kwh=price):
            return np.full(len(wholesale_eur_per_kwh), price)
        case WholesaleFeedIn(margin_eur_per_kwh=margin, floor_eur_per_kwh=floor):
            following = wholesale_eur_per_kwh + margin
            return np.asarray(following if floor is None else np.maximum(following, floor))


def check_prices(
    retail_eur_per_kwh: FloatArray,
    feed_in_eur_per_kwh: FloatArray,
    *,
    start: np.datetime64,
    step_s: int,
) -> None:
    """Require that buying from the retailer to sell to the retailer never pays.

    Parameters
    ----------
    retail_eur_per_kwh, feed_in_eur_per_kwh : float64, shape (n_slot,)
        Prices, EUR/kWh; the retail price with network charges.
    start : numpy.datetime64
        UTC start of the first slot.
    step_s : int
        Length of a slot, s.

    Raises
    ------
    DataError
        For the first slot in which it would pay.
    """
    broken = retail_eur_per_kwh - feed_in_eur_per_kwh < -PRICE_TOLERANCE_EUR_PER_KWH
    if broken.any():
        slot = int(np.argmax(broken))
        when = start.astype("datetime64[s]") + np.timedelta64(slot * step_s, "s")
        raise DataError(
            f"Prices in slot {slot} ({when} UTC, and in {int(broken.sum())} slots in all): the "
            f"retail price {retail_eur_per_kwh[slot]:.4f} is below the feed-in price "
            f"{feed_in_eur_per_kwh[slot]:.4f} EUR/kWh, so that buying and selling back would earn "
            "money. Raise the retail price, or lower the feed-in price."
        )


@cache
def day_ahead_2019_eur_per_mwh() -> FloatArray:
    """Day-ahead prices DE-LU of 2019, EUR/MWh, shape (8760,), from 2019-01-01 00:00 UTC+1."""
    table = read_csv_table(DAY_AHEAD_2019_FILE, time_column="time_local_naive_cet")
    prices = table.column("price_eur_per_mwh")
    prices.flags.writeable = False
    return prices


def matching_days_of_2019(days: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """Day of 2019 with the same weekday that is nearest to the same date.

    Parameters
    ----------
    days : datetime64[D], any shape
        Days of any year.

    Returns
    -------
    datetime64[D], same shape
        Days of 2019; at the turn of the year the nearest within 2019.

    Examples
    --------
    >>> matching_days_of_2019(np.array(["2016-07-04"], dtype="datetime64[D]"))  # a Monday
    array(['2019-07-01'], dtype='datetime64[D]')
    """
    months = days.astype("datetime64[M]")
    month_of_2019 = (months - months.astype("datetime64[Y]")) + np.datetime64("2019-01", "M")
    same_date = month_of_2019.astype("datetime64[D]") + (days - months.astype("datetime64[D]"))
    week = np.timedelta64(7, "D")
    three_days = np.timedelta64(3, "D")
    to_weekday = (days - same_date + three_days) % week - three_days
    match = same_date + to_weekday
    match = np.where(match < np.datetime64("2019-01-01"), match + week, match)
    return np.asarray(np.where(match > np.datetime64("2019-12-31"), match - week, match))


def _day_ahead_2019_series(start: np.datetime64, slots: int, step_s: int) -> WholesaleSeries:
    sample_s = min(step_s, HOUR_S)
    per_slot = step_s // sample_s
    offset = np.timedelta64(DAY_AHEAD_2019_UTC_OFFSET_HOURS * HOUR_S, "s")
    clock = start.astype("datetime64[s]") + offset
    clock = clock + np.arange(slots * per_slot) * np.timedelta64(sample_s, "s")
    days = clock.astype("datetime64[D]")
    matched = matching_days_of_2019(days)
    hour_of_day = (clock - days) // np.timedelta64(HOUR_S, "s")
    day_of_2019 = (matched - np.datetime64("2019-01-01")) // np.timedelta64(1, "D")
    per_mwh = day_ahead_2019_eur_per_mwh()[day_of_2019 * 24 + hour_of_day]
    text = (
        "Wholesale prices: EPEX SPOT DE-LU day-ahead 2019 (from oemof-solph, fixed UTC+1). Each "
        "day takes the nearest date of 2019 with the same weekday; the first day, "
        f"{days[0]}, takes {matched[0]}."
    )
    prices = per_mwh.reshape(slots, per_slot).mean(axis=1) * MWH_PER_KWH
    return WholesaleSeries(prices, text, "MIT")


def _csv_prices(
    parameters: CsvWholesale, start: np.datetime64, slots: int, step_s: int, folder: Path
) -> FloatArray:
    table = read_csv_table(
        folder / parameters.file, parameters.time_column, parameters.utc_offset_hours
    )
    prices = table.column(parameters.column)
    first = start.astype("datetime64[s]")
    if table.step_s % step_s:
        raise DataError(
            f"{table.source} has a step of {table.step_s} s, which is no multiple of the slot "
            f"length {step_s} s. Resample the prices."
        )
    offset_s = int((first - table.start) / np.timedelta64(1, "s"))
    rows = (offset_s + np.arange(slots) * step_s) // table.step_s
    if rows[0] < 0 or rows[-1] >= table.n_row:
        end = first + np.timedelta64(slots * step_s, "s")
        covered = table.start + np.timedelta64(table.n_row * table.step_s, "s")
        raise DataError(
            f"{table.source} covers {table.start} to {covered} UTC, but the scenario needs "
            f"{first} to {end} UTC. Choose a horizon inside, or supply more prices."
        )
    unit = MWH_PER_KWH if parameters.unit == "eur_per_mwh" else 1.0
    return np.asarray(prices[rows] * unit)
