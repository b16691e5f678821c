"""Storage on several levels: a surplus fills home, community and cell in turn, the grid comes last.

Each level takes what the level before has left over, and a deficit draws in the same order::

    surplus:  input = min(left, p, (capacity - stored) / eta),   stored' = stored + eta input
    deficit:  draw  = min(left, p, stored),                      stored' = stored - draw

So all losses are those of charging. Every kWh put in or drawn costs the level's fee.

Households are rows of arrays. Each has a slice of its own at every level; a level that households
share is cut into slices by the shares that they own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tricell.errors import MarketError
from tricell.markets.flexibility.battery import check_hours
from tricell.markets.mechanism import About

Floats = NDArray[np.float64]

ABOUT = About(
    name="multilevel_storage",
    line="surplus fills storage of home, community and cell in turn; deficit draws in this order",
    source="storage at several levels of a hierarchy; the rule is tricell's own",
)


@dataclass(frozen=True)
class StorageLevel:
    """A level's storage, nearest first; numbers, or arrays of shape (households,) for its slices.

    Attributes
    ----------
    name : what errors call it.
    capacity_kwh : above 0.
    power_kw : largest power each way, at least 0; may be infinite.
    efficiency : of charging, above 0 and at most 1.
    fee : EUR per kWh put in or drawn, at least 0.
    stored_kwh : at the start, at most the capacity.

    Raises
    ------
    MarketError
        If one of them is not allowed; it names the level.
    """

    name: str
    capacity_kwh: ArrayLike
    power_kw: ArrayLike
    efficiency: ArrayLike = 1.0
    fee: ArrayLike = 0.0
    stored_kwh: ArrayLike = 0.0

    def __post_init__(self) -> None:
        capacity, power = np.asarray(self.capacity_kwh), np.asarray(self.power_kw)
        eta, fee, stored = map(np.asarray, (self.efficiency, self.fee, self.stored_kwh))
        rules: tuple[tuple[str, Any, str], ...] = (
            ("capacity_kwh", (capacity > 0.0) & np.isfinite(capacity), "a finite number above 0"),
            ("power_kw", power >= 0.0, "a number of at least 0"),
            ("efficiency", (eta > 0.0) & (eta <= 1.0), "above 0 and at most 1"),
            ("fee", (fee >= 0.0) & np.isfinite(fee), "a finite number of at least 0"),
            ("stored_kwh", (stored >= 0.0) & (stored <= capacity), "0 to the capacity"),
        )
        for parameter, is_allowed, allowed in rules:
            if not np.all(is_allowed):
                given = np.asarray(getattr(self, parameter))
                household = int(np.argmin(is_allowed)) if np.ndim(is_allowed) else None
                where = "" if household is None else f", household {household}"
                value = given.flat[household or 0] if given.ndim else given
                raise MarketError(
                    f"level {self.name}{where}: {parameter} is {value}; allowed is {allowed}"
                )


@dataclass(frozen=True)
class MultilevelUse:
    """What households put in and draw.

    Attributes
    ----------
    charge_kwh, draw_kwh : shape (slots, levels, households).
    stored_kwh : at the end of each slot, shape (slots, levels, households).
    import_kwh, export_kwh : what no level could balance, shape (slots, households).
    fee_eur : shape (levels, households).
    """

    charge_kwh: Floats
    draw_kwh: Floats
    stored_kwh: Floats
    import_kwh: Floats
    export_kwh: Floats
    fee_eur: Floats


def use_levels(
    net_kwh: ArrayLike, levels: Sequence[StorageLevel], hours: float = 1.0
) -> MultilevelUse:
    """Run storage on several levels through consecutive slots, for all households at once.

    Parameters
    ----------
    net_kwh : load less generation, shape (slots, households), kWh.
    levels : in the order in which they are used.
    hours : length of a slot, h.

    Raises
    ------
    MarketError
        If a number is missing or a slice has another length than there are households.

    Examples
    --------
    >>> levels = [StorageLevel("home", 2.0, 2.0, 0.9), StorageLevel("cell", 9.0, 3.0, 0.9, 0.04)]
    >>> use = use_levels([[-6.0], [4.0]], levels)
    >>> use.charge_kwh[0, :, 0], use.draw_kwh[1, :, 0], use.export_kwh[:, 0]
    (array([2., 3.]), array([1.8, 2.2]), array([1., 0.]))
    """
    net = np.asarray(net_kwh, dtype=np.float64)
    if net.ndim != 2 or not np.isfinite(net).all():
        raise MarketError("net_kwh needs shape (slots, households) and finite numbers")
    check_hours(hours)
    households = net.shape[1]
    charge, draw, level = np.zeros((3, len(net), len(levels), households))
    stored = [_slices(each, "stored_kwh", households) for each in levels]
    surplus, deficit = np.maximum(-net, 0.0), np.maximum(net, 0.0)
    for k, each in enumerate(levels):
        capacity = _slices(each, "capacity_kwh", households)
        eta = _slices(each, "efficiency", households)
        most = _slices(each, "power_kw", households) * hours
        now = stored[k]
        for t in range(len(net)):
            charge[t, k] = np.minimum.reduce([surplus[t], most, (capacity - now) / eta])
            draw[t, k] = np.minimum.reduce([deficit[t], most, now])
            now = np.clip(now + eta * charge[t, k] - draw[t, k], 0.0, capacity)
            level[t, k] = now
        surplus, deficit = surplus - charge[:, k], deficit - draw[:, k]
    fee = np.array([_slices(each, "fee", households) for each in levels])
    used = (charge + draw).sum(axis=0)
    return MultilevelUse(charge, draw, level, deficit, surplus, fee.reshape(used.shape) * used)


def _slices(level: StorageLevel, parameter: str, households: int) -> Floats:
    values = np.asarray(getattr(level, parameter), dtype=np.float64)
    if values.ndim and values.shape != (households,):
        raise MarketError(
            f"level {level.name}: {parameter} has shape {values.shape}; allowed is one number, or "
            f"({households},), one for each household"
        )
    return np.full(households, values) if values.ndim == 0 else values
