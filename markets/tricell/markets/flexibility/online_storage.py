"""Storage of nanogrids run without any forecast: each stored kWh has a worth that its level sets.

A cluster of nanogrids trades with the grid as one. In each slot, ``b`` is what batteries take::

    minimise    V (p_im import - p_ex export) + sum (B - theta) b
    subject to  sum (net + b) = import - export,    import export = 0
                -min(rate, B) <= b <= min(rate, capacity - B)

``B`` is what a battery holds. So a stored kWh is worth ``(theta - B) / V``: an empty battery buys
dearer than a full one. The larger V, the more money counts against levels near theta. Liu et al.
show by Lyapunov drift that levels stay bounded and the mean cost is within a constant over V of the
least one, whatever prices and loads come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.markets.mechanism import About

Floats = NDArray[np.float64]

ABOUT = About(
    name="online_storage",
    line="storage of a cluster of nanogrids, slot by slot, without forecasts (Lyapunov)",
    source="Liu et al. 2018, Online energy sharing for nanogrid clusters: a Lyapunov approach",
)

SAME_COST_EUR = 1e-12


@dataclass(frozen=True)
class Nanogrids:
    """A cluster in one slot; columns of shape (nanogrids,).

    Attributes
    ----------
    net_kwh : load less generation.
    stored_kwh : in each battery, 0 to its capacity.
    capacity_kwh : above 0.
    rate_kwh : most that a slot can charge or discharge, at least 0.
    threshold_kwh : theta, the level at which a stored kWh is worth nothing.
    name : for errors; numbers if there are none.

    Raises
    ------
    MarketError
        If one of them is not allowed; it names the nanogrid.
    """

    net_kwh: Floats
    stored_kwh: Floats
    capacity_kwh: Floats
    rate_kwh: Floats
    threshold_kwh: Floats
    name: Sequence[str] = ()

    def __post_init__(self) -> None:
        capacity, stored = self.capacity_kwh, self.stored_kwh
        lengths = {len(getattr(self, column)) for column in COLUMNS}
        if len(lengths) > 1:
            raise MarketError(f"columns of nanogrids have lengths {sorted(lengths)}; give one")
        rules = (
            ("net_kwh", np.isfinite(self.net_kwh), "a finite number"),
            ("capacity_kwh", (capacity > 0.0) & np.isfinite(capacity), "a finite number above 0"),
            ("stored_kwh", (stored >= 0.0) & (stored <= capacity), "0 to the capacity"),
            ("rate_kwh", self.rate_kwh >= 0.0, "a number of at least 0"),
            ("threshold_kwh", np.isfinite(self.threshold_kwh), "a finite number"),
        )
        for parameter, is_allowed, allowed in rules:
            for row in np.flatnonzero(~is_allowed)[:1]:
                name = self.name[row] if len(self.name) else row
                raise MarketError(
                    f"nanogrid {name}: {parameter} is {getattr(self, parameter)[row]}; allowed is "
                    f"{allowed}"
                )


COLUMNS = ("net_kwh", "stored_kwh", "capacity_kwh", "rate_kwh", "threshold_kwh")


@dataclass(frozen=True)
class OnlineStorage:
    """What the batteries of a cluster do in one slot.

    Attributes
    ----------
    battery_kwh : taken by each battery, negative when it gives, shape (nanogrids,).
    import_kwh, export_kwh : of the cluster, never both above 0.
    cost_eur : paid to the grid.
    """

    battery_kwh: Floats
    import_kwh: float
    export_kwh: float
    cost_eur: float


def operate_cluster(
    nanogrids: Nanogrids, weight: float, *, import_price: float, export_price: float
) -> OnlineStorage:
    """Run the batteries of a cluster for one slot; see the module.

    Prices may have any sign, and export may earn more than import costs. A battery whose stored
    kWh is worth just the grid's price stays idle.

    Parameters
    ----------
    nanogrids : the cluster.
    weight : V, kWh^2/EUR, above 0.
    import_price, export_price : EUR/kWh.

    Raises
    ------
    MarketError
        If the weight is not above 0, or a price is no number.
    """
    if not 0.0 < weight < np.inf:
        raise MarketError(f"weight V is {weight}; allowed is a finite number above 0")
    if not np.isfinite([import_price, export_price]).all():
        raise MarketError(f"prices are {import_price} and {export_price}; give finite numbers")
    worth = (nanogrids.threshold_kwh - nanogrids.stored_kwh) / weight
    net = float(nanogrids.net_kwh.sum())
    choices = []
    for price, sign in ((import_price, 1.0), (export_price, -1.0)):
        battery = _best_one_way(nanogrids, worth, price, sign)
        if battery is not None:
            grid = net + float(battery.sum())
            grid = grid if grid * sign > 0.0 else 0.0
            choices.append((price * grid - float(worth @ battery), battery, grid, price * grid))
    best = min(choices, key=lambda each: each[0])
    if best is not choices[0] and choices[0][0] - best[0] <= SAME_COST_EUR:
        best = choices[0]
    _, battery, grid, cost = best
    return OnlineStorage(battery, max(0.0, grid), max(0.0, -grid), cost)


def _best_one_way(nanogrids: Nanogrids, worth: Floats, price: float, sign: float) -> Floats | None:
    """Best use if the cluster only imports (sign 1) or only exports (sign -1); None if it cannot.

    At one price every battery decides for itself. If the cluster then trades the other way, the
    batteries for which it costs least move until it trades nothing.
    """
    highest = np.minimum(nanogrids.rate_kwh, nanogrids.capacity_kwh - nanogrids.stored_kwh)
    lowest = -np.minimum(nanogrids.rate_kwh, nanogrids.stored_kwh)
    battery = np.select([worth > price, worth < price], [highest, lowest], 0.0)
    wrong_way = -sign * (float(nanogrids.net_kwh.sum()) + float(battery.sum()))
    if wrong_way <= 0.0:
        return battery
    room = highest - battery if sign > 0.0 else battery - lowest
    if room.sum() < wrong_way:
        return None
    order = np.argsort(-sign * worth, kind="stable")
    before = np.concatenate([[0.0], np.cumsum(room[order])])[:-1]
    battery[order] += sign * np.clip(wrong_way - before, 0.0, room[order])
    return battery
