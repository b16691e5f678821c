"""Time-variable network charges of section 14a EnWG (module 3): price sheets and their rules.

An operator names three prices, NT (low), ST (standard) and HT (high), and the windows of NT and
HT, written ``HT Q14 11-13.5h; NT Q14 23.75-6.5h``: quarters of the year, then local hours, past
midnight where the second is the smaller. Outside of all windows ST holds. The rules, with ``p``
the prices and ``T_q`` the hours per day of HT in quarter ``q``::

    0.10 p_ST <= p_NT <= 0.40 p_ST,  p_HT <= 2.00 p_ST,  T_q >= 2 h,  in two quarters or more

and neutrality: the standard load profile pays on average as much as ST.

Source: BNetzA, Beschluss BK8-22/010-A, 23.11.2023, annex 2 module 3. The table of 2026 is a
transcription of price sheets by the registry Netzentgelte-DE; every row has the address of its
sheet.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from tricell.errors import MarketError

PRESET_FOLDER = Path(__file__).parent / "charge_presets"
TABLE_2026 = PRESET_FOLDER / "de_14a_module_3_2026.csv"

LOW_SHARE = (0.10, 0.40)
HIGH_SHARE = 2.00
HIGH_HOURS = 2.0
QUARTERS_AT_LEAST = 2
SHARE_DIGITS = 3
"""Shares count as published: to a tenth of a percent, since prices are rounded to 0.01 ct."""
HOURS_OF_A_DAY = 24.0

Band = Literal["NT", "HT"]
WINDOW = re.compile(
    r"(?P<band>NT|HT) Q(?P<quarters>[1-4]{1,4}) "
    r"(?P<start>\d{1,2}(?:\.\d+)?)-(?P<end>\d{1,2}(?:\.\d+)?)h"
)


@dataclass(frozen=True)
class BandWindow:
    """When a band holds.

    Attributes
    ----------
    band : NT or HT.
    quarters : quarters of the year, 1 to 4, ascending.
    start, end : local hours of the day, 0 to 24; past midnight where the end is the smaller.
    """

    band: Band
    quarters: tuple[int, ...]
    start: float
    end: float

    @property
    def hours(self) -> float:
        """Length of the window, h per day.

        >>> BandWindow("NT", (1, 4), 23.75, 6.5).hours
        6.75
        """
        return (self.end - self.start) % HOURS_OF_A_DAY or HOURS_OF_A_DAY


@dataclass(frozen=True)
class Module3Prices:
    """One operator's prices of module 3.

    Attributes
    ----------
    operator : name of the network operator.
    low, standard, high : working prices NT, ST and HT, EUR/kWh net of VAT.
    windows : when NT and HT hold; ST holds at all other times.
    standard_profile_average : average price of the dynamic standard profile H0 as the table states
        it, EUR/kWh.
    url : address of the price sheet.
    """

    operator: str
    low: float
    standard: float
    high: float
    windows: tuple[BandWindow, ...]
    standard_profile_average: float
    url: str

    def time_bands(self) -> dict[str, Any]:
        """Return the fields of a `time_bands` charge that differ from operator to operator."""
        return {
            "rates_eur_per_kwh": {"NT": self.low, "ST": self.standard, "HT": self.high},
            "default": "ST",
            "windows": [
                {
                    "band": window.band,
                    "quarters": list(window.quarters),
                    "hours": [window.start, window.end],
                }
                for window in self.windows
            ],
        }


def parse_windows(text: str) -> tuple[BandWindow, ...]:
    """Read the windows of a price sheet.

    >>> parse_windows("HT Q14 11-13.5h")
    (BandWindow(band='HT', quarters=(1, 4), start=11.0, end=13.5),)

    Raises
    ------
    MarketError
        If a part cannot be read, an hour is none of a day, or a quarter is named twice.
    """
    return tuple(_window(part.strip()) for part in text.split(";"))


def _window(text: str) -> BandWindow:
    match = WINDOW.fullmatch(text)
    if match is None:
        raise MarketError(
            f"`{text}` is no window of a time band. Write band, quarters and local hours, such as "
            "`HT Q14 11-13.5h`, and a `;` between windows."
        )
    quarters = tuple(sorted(int(digit) for digit in match["quarters"]))
    if len(set(quarters)) < len(quarters):
        raise MarketError(f"The window `{text}` names a quarter twice. Name each once.")
    start, end = float(match["start"]), float(match["end"])
    if not (start < HOURS_OF_A_DAY and end <= HOURS_OF_A_DAY and start != end):
        raise MarketError(
            f"The window `{text}` has no hours of a day. The first may be 0 to below 24, the "
            "second up to 24, and they must differ."
        )
    band: Band = "NT" if match["band"] == "NT" else "HT"
    return BandWindow(band, quarters, start, end)


@cache
def module_3_prices() -> Mapping[str, Module3Prices]:
    """Return the prices of 2026 by operator, as the shipped table has them."""
    with TABLE_2026.open(encoding="utf-8", newline="") as table:
        rows = [_prices(row) for row in csv.DictReader(table)]
    return {each.operator: each for each in rows}


def _prices(row: Mapping[str, str]) -> Module3Prices:
    return Module3Prices(
        operator=row["operator"],
        low=_eur(row["NT_ct_kWh"]),
        standard=_eur(row["ST_ct_kWh"]),
        high=_eur(row["HT_ct_kWh"]),
        windows=parse_windows(row["windows"]),
        standard_profile_average=_eur(row["avg_h0dyn"]),
        url=row["url"],
    )


def _eur(cents: str) -> float:
    """Return EUR of a price in ct, without the dust of binary fractions."""
    return round(float(cents) / 100.0, 8)


def rule_breaches(prices: Module3Prices) -> tuple[str, ...]:
    """Return which rules of module 3 the prices break, each as a sentence; empty for none.

    Neutrality needs a load profile and is not in here. Shares are compared as published, rounded
    to a tenth of a percent.
    """
    low, high = (
        round(price / prices.standard, SHARE_DIGITS) for price in (prices.low, prices.high)
    )
    breaches = []
    if not LOW_SHARE[0] <= low <= LOW_SHARE[1]:
        breaches.append(f"NT is {low:.1%} of ST, allowed are 10 % to 40 %")
    if high > HIGH_SHARE:
        breaches.append(f"HT is {high:.1%} of ST, allowed are at most 200 %")
    hours: dict[int, float] = defaultdict(float)
    for window in prices.windows:
        for quarter in window.quarters:
            hours[quarter] += window.hours if window.band == "HT" else 0.0
    breaches += [
        f"HT holds {hours[quarter]:g} h a day in quarter {quarter}, at least 2 h are due"
        for quarter in sorted(hours)
        if hours[quarter] < HIGH_HOURS
    ]
    if len(hours) < QUARTERS_AT_LEAST:
        breaches.append(f"the bands hold in {len(hours)} quarter of the year, at least 2 are due")
    return tuple(breaches)
