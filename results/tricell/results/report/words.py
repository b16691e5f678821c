"""How numbers are written in captions, hover texts and tables of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence

UNKNOWN = "–"
ROUNDING = 1e-6
"""A share below this is a rounding error and is written as 0."""


def number(value: float, digits: int = 3) -> str:
    """Write a number with so many significant digits, a separator of thousands and a true minus.

    Examples
    --------
    >>> number(1234567.0), number(0.01234), number(-2.5), number(float("nan")), number(99.96)
    ('1,234,567', '0.0123', '−2.5', '–', '100')
    """
    if not math.isfinite(value):
        return UNKNOWN
    if value == 0.0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(decimals, 12)}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", "−") if text.strip("-0.,") else "0"


def energy(kwh: float) -> str:
    """Write energy in the unit that needs the fewest digits.

    Examples
    --------
    >>> energy(12.345), energy(56789.0), energy(1.5e9)
    ('12.3 kWh', '56.8 MWh', '1,500 GWh')
    """
    for unit, scale in (("GWh", 1e6), ("MWh", 1e3)):
        if abs(kwh) >= 10.0 * scale:
            return f"{number(kwh / scale)} {unit}"
    return f"{number(kwh)} kWh"


def euros(amount: float) -> str:
    """Write an amount of money: cents up to 1000 EUR, whole euros above.

    Examples
    --------
    >>> euros(-12.345), euros(12345.6), euros(-0.001)
    ('−12.35 EUR', '12,346 EUR', '0.00 EUR')
    """
    if not math.isfinite(amount):
        return UNKNOWN
    text = f"{amount:,.0f}" if abs(amount) >= 1000.0 else f"{amount:,.2f}"
    return ("0.00" if text == "-0.00" else text.replace("-", "−")) + " EUR"


def percent(share: float) -> str:
    """Write a share in percent, small ones with a decimal more.

    Examples
    --------
    >>> percent(0.256), percent(0.0123), percent(0.0001), percent(1e-9)
    ('26 %', '1.2 %', '< 0.1 %', '0 %')
    """
    if not math.isfinite(share):
        return UNKNOWN
    if abs(share) < ROUNDING:
        return "0 %"
    if 0.0 < share < 0.001:
        return "< 0.1 %"
    digits = 1 if 0.0 < abs(share) < 0.0995 else 0
    return f"{100.0 * share:.{digits}f} %".replace("-", "−")


def counted(count: int, one: str, many: str = "") -> str:
    """Write how many there are of something.

    Examples
    --------
    >>> counted(1, "slot"), counted(1200, "slot"), counted(2, "bus", "buses")
    ('1 slot', '1,200 slots', '2 buses')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listed(words: Sequence[str]) -> str:
    """Join words as a sentence does.

    Examples
    --------
    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
