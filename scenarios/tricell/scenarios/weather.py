r"""Weather of a test reference year: outdoor temperature, wind and sun in every slot of a run.

The data are the test reference years of the German Weather Service (DWD) for the 15 climate
regions of Germany [1]_: one average year of 365 days at one station per region, hour by hour, put
together from 1988 to 2007. They come with the package demandlib.

* *Days.* A slot has the weather of the same day and time of the year, in whatever year it lies; 29
  February has that of 28 February, and 1 January follows 31 December.
* *Clock.* The data count hours in Central European Time without summer time; slots are UTC.
* *Temperature and wind* are values at full hours, linear in between; a slot has their mean.
* *Irradiance* is a mean over an hour, spread over it like the sine of the sun's elevation, so that
  each hour keeps its energy. What was measured is the mean of an hour in true solar time, as the
  DWD's radiation data are; what was computed from the cloudiness stands for the full hour. The data
  do not say so, but first light, noon and last light do.

.. [1] BBSR and DWD 2011, Aktualisierte und erweiterte Testreferenzjahre von Deutschland für
   mittlere, extreme und zukünftige Witterungsverhältnisse.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from math import gcd
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tricell.errors import DataError
from tricell.scenarios.section import Section

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

SOURCE = "test reference year of the German Weather Service (DWD, 2010), shipped with demandlib"
LICENCE = "free use if the DWD is named as the source (GeoNutzV); demandlib: MIT"

HOUR_S, DAY_S = 3600, 86_400
YEAR_HOURS = 8760
CET_AHEAD_HOURS = 1.0
"""How far the clock of the data is ahead of UTC, h."""
FEBRUARY_29 = 59
"""Day of a leap year, counted from 0, that the data do not have."""
FINEST_S = 300
"""The sun is looked at this often, or more often where slots ask for it, s."""
LEAST_SINE = 0.02
"""Sine of the sun's elevation below which all light counts as diffuse."""
CLEAREST_SKY = 0.85
"""Largest share of the sunlight outside the atmosphere that comes straight down to the ground."""
COMPUTED = 9
"""Mark of irradiance that was not measured but computed."""
COLUMNS = {
    "wind_m_per_s": 7,
    "temperature_c": 8,
    "direct_w_per_m2": 13,
    "diffuse_w_per_m2": 14,
    "mark": 15,
}
"""Columns of the data, counted from 0."""
PLACE = re.compile(r"Lage:\s*(\d+)°\s*(\d+)'\s*N.*?(\d+)°\s*(\d+)'\s*O")


class Weather(Section):
    """The weather of the place: a test reference year of the German Weather Service."""

    try_region: Annotated[int, Field(ge=1, le=15)]
    """Climate region of Germany, 1 to 15: 1 North Sea coast, 4 Potsdam, 12 Upper Rhine, ..."""


@dataclass(frozen=True)
class Station:
    """Where a test reference year was measured, and its hours, arrays of shape (8760,).

    Attributes
    ----------
    region : int
    latitude, longitude : float
        Degrees north and east.
    temperature_c, wind_m_per_s : float64
        At the end of every hour.
    direct_w_per_m2, diffuse_w_per_m2 : float64
        Irradiance on the level.
    mark : float64
        How irradiance was found; `COMPUTED` where not measured.
    """

    region: int
    latitude: float
    longitude: float
    temperature_c: Floats
    wind_m_per_s: Floats
    direct_w_per_m2: Floats
    diffuse_w_per_m2: Floats
    mark: Floats


@dataclass(frozen=True)
class Irradiance:
    """Irradiance on the level, means of the slots, W/m2, shape (slots,)."""

    direct_w_per_m2: Floats
    diffuse_w_per_m2: Floats

    @property
    def total_w_per_m2(self) -> Floats:
        """Both together."""
        return self.direct_w_per_m2 + self.diffuse_w_per_m2


@dataclass(frozen=True)
class Sky:
    """The sun and its light all year long, arrays of shape (365 days / step,).

    Attributes
    ----------
    step_s : int
        Distance of the points, s; each stands in the middle of its step, the first after new year
        UTC.
    zenith_deg, azimuth_deg : float64
        Where the sun stands; the azimuth counts from north over east.
    outside_w_per_m2 : float64
        Sunlight outside the atmosphere, towards the sun.
    normal_w_per_m2 : float64
        Direct light towards the sun.
    direct_w_per_m2, diffuse_w_per_m2 : float64
        Light on the level.
    """

    step_s: int
    zenith_deg: Floats
    azimuth_deg: Floats
    outside_w_per_m2: Floats
    normal_w_per_m2: Floats
    direct_w_per_m2: Floats
    diffuse_w_per_m2: Floats


def outdoor_temperature(
    weather: Weather, start_utc: np.datetime64, slots: int, step_s: int
) -> Floats:
    """Return the outdoor temperature of every slot, degrees Celsius.

    Parameters
    ----------
    weather : Weather
    start_utc : start of the first slot, UTC.
    slots : how many.
    step_s : length of a slot, s; a divisor of an hour, or whole hours that divide a day.

    Returns
    -------
    float64, shape (slots,)
    """
    fine_s = min(step_s, HOUR_S)
    fine = over_the_year(station(weather.try_region).temperature_c, fine_s)
    return slot_means(fine, fine_s, step_s)[rows_of_the_year(start_utc, slots, step_s)]


def irradiance(weather: Weather, start_utc: np.datetime64, slots: int, step_s: int) -> Irradiance:
    """Return the irradiance on the level of every slot; see `outdoor_temperature`."""
    light = sky(weather.try_region, fine_step_s(step_s))
    rows = rows_of_the_year(start_utc, slots, step_s)
    direct, diffuse = (
        slot_means(values, light.step_s, step_s)[rows]
        for values in (light.direct_w_per_m2, light.diffuse_w_per_m2)
    )
    return Irradiance(direct, diffuse)


def rows_of_the_year(start_utc: np.datetime64, slots: int, step_s: int) -> Indices:
    """Return the row of each slot in a year of 365 days that is cut into slots.

    Parameters
    ----------
    start_utc : start of the first slot, UTC.
    slots : how many.
    step_s : length of a slot, s; a divisor of a day.

    Examples
    --------
    >>> rows_of_the_year(np.datetime64("2016-02-28"), 4, 86_400)  # a leap year
    array([58, 58, 59, 60])
    """
    starts = start_utc.astype("datetime64[s]") + np.arange(slots) * np.timedelta64(step_s, "s")
    midnight = starts.astype("datetime64[D]")
    year = midnight.astype("datetime64[Y]")
    new_year = year.astype("datetime64[D]")
    day = (midnight - new_year).astype(np.int64)
    leap = ((year + 1).astype("datetime64[D]") - new_year).astype(np.int64) == 366
    day -= leap & (day >= FEBRUARY_29)
    second = (starts - midnight.astype("datetime64[s]")).astype(np.int64)
    return np.asarray(day * (DAY_S // step_s) + second // step_s)


def fine_step_s(step_s: int) -> int:
    """Return how often the sun is looked at where slots have a length, s."""
    return gcd(step_s, FINEST_S)


def slot_means(values: Floats, fine_s: int, step_s: int) -> Floats:
    """Return means over slots of values at finer steps."""
    return np.asarray(values.reshape(-1, step_s // fine_s).mean(axis=1))


def over_the_year(at_hours: Floats, step_s: int) -> Floats:
    """Return values at full hours, linear in between, as means of steps of at most an hour.

    Parameters
    ----------
    at_hours : float64, shape (8760,)
        At the end of every hour of the data's clock.
    step_s : a divisor of an hour, s.

    Returns
    -------
    float64, shape (365 days / step,)
        From new year UTC on.
    """
    return np.interp(
        _hours_of_the_data(step_s), np.arange(1, YEAR_HOURS + 1), at_hours, period=YEAR_HOURS
    )


def _hours_of_the_data(step_s: int) -> Floats:
    """Return the middle of every step of a year in UTC on the clock of the data, h."""
    return (np.arange(YEAR_HOURS * HOUR_S // step_s) + 0.5) * step_s / HOUR_S + CET_AHEAD_HOURS


@lru_cache(maxsize=4)
def station(region: int) -> Station:
    """Read the test reference year of a climate region.

    Raises
    ------
    DataError
        If the file is not there or not what it was.
    """
    file = _folder() / f"TRY2010_{region:02d}_Jahr.dat"
    try:
        head, _, body = file.read_text(encoding="utf-8").partition("***")
    except OSError as error:
        raise DataError(f"{_what(region)}: {error}. {REPAIR}") from error
    place = PLACE.search(head)
    rows = np.array([line.split() for line in body.split("\n") if line.strip()], dtype=np.float64)
    if place is None or rows.shape[0] != YEAR_HOURS:
        raise DataError(f"{_what(region)}: {file} is not as expected. {REPAIR}")
    degree_n, minute_n, degree_e, minute_e = (int(number) for number in place.groups())
    columns = {name: rows[:, column].copy() for name, column in COLUMNS.items()}
    return Station(region, degree_n + minute_n / 60, degree_e + minute_e / 60, **columns)


REPAIR = "Install demandlib 0.2.2 or later again: pip install --force-reinstall demandlib"


def _what(region: int) -> str:
    return f"test reference year of climate region {region}"


def _folder() -> Path:
    """Return where demandlib keeps the data, without importing it."""
    package = find_spec("demandlib")
    if package is None or package.origin is None:
        raise DataError(f"Weather needs the package demandlib, which is not installed. {REPAIR}")
    return Path(package.origin).parent / "vdi" / "resources_weather"


@lru_cache(maxsize=4)
def sky(region: int, step_s: int) -> Sky:
    """Return the sun and its light over the test reference year of a climate region.

    Parameters
    ----------
    region : 1 to 15.
    step_s : a divisor of an hour, s.
    """
    # pandas and pvlib take more than a second to import; few scenarios need them.
    import pandas as pd  # noqa: PLC0415
    from pvlib.irradiance import get_extra_radiation  # noqa: PLC0415
    from pvlib.solarposition import ephemeris  # noqa: PLC0415

    data = station(region)
    times = pd.date_range("2010-01-01", periods=YEAR_HOURS * HOUR_S // step_s, freq=f"{step_s}s")
    times = (times + pd.Timedelta(seconds=step_s / 2)).tz_localize("UTC")
    sun = ephemeris(times, data.latitude, data.longitude)
    sine = np.sin(np.radians(sun["elevation"].to_numpy()))
    outside = np.asarray(get_extra_radiation(times), dtype=np.float64)
    hour = _hour_of_each_point(data, sun["solar_time"].to_numpy(), step_s)
    direct, diffuse = _spread(data, hour, sine, step_s)
    normal = np.where(sine > LEAST_SINE, direct / np.maximum(sine, LEAST_SINE), 0.0)
    normal = np.minimum(normal, CLEAREST_SKY * outside)
    still_direct = normal * np.maximum(sine, 0.0)
    return Sky(
        step_s=step_s,
        zenith_deg=90.0 - sun["elevation"].to_numpy(),
        azimuth_deg=sun["azimuth"].to_numpy(),
        outside_w_per_m2=outside,
        normal_w_per_m2=normal,
        direct_w_per_m2=still_direct,
        diffuse_w_per_m2=diffuse + direct - still_direct,
    )


def _hour_of_each_point(data: Station, solar_time_h: Floats, step_s: int) -> Indices:
    """Return the row of the data whose irradiance each point of the year belongs to."""
    clock_h = _hours_of_the_data(step_s)
    behind_h = (solar_time_h - clock_h + 12.0) % 24.0 - 12.0
    measured = np.floor(clock_h + behind_h).astype(np.int64)
    # The value at a full hour, the end of its row, stands for half an hour before and after.
    computed = np.floor(clock_h + 0.5).astype(np.int64) - 1
    # One way for whole days, so that no hour is squeezed between a measured and a computed one.
    mostly_computed = (data.mark == COMPUTED).reshape(-1, 24).mean(axis=1) > 0.5
    day = np.floor(clock_h / 24.0).astype(np.int64) % len(mostly_computed)
    return np.where(mostly_computed[day], computed, measured) % YEAR_HOURS


def _spread(data: Station, hour: Indices, sine: Floats, step_s: int) -> tuple[Floats, Floats]:
    """Spread the energy of each hour over its points like the sun's sine, evenly in the dark."""
    up = np.maximum(sine, 0.0)
    in_hour = np.bincount(hour, minlength=YEAR_HOURS)
    sum_up = np.bincount(hour, up, minlength=YEAR_HOURS)
    dark = sum_up <= LEAST_SINE * in_hour
    part = np.where(dark[hour], 1.0, up) / np.where(dark, in_hour, sum_up)[hour]
    weight = part * HOUR_S / step_s
    direct = np.where(dark, 0.0, data.direct_w_per_m2)
    diffuse = data.direct_w_per_m2 + data.diffuse_w_per_m2 - direct
    return direct[hour] * weight, diffuse[hour] * weight
