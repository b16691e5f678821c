"""What a network costs per level, who has to bear it, and what each customer causes of it.

A level is a voltage level: microgrid (LV), cell (MV), multi-cell (HV). Its allowed revenue ``R_l``
is EUR per year; a period of ``T`` slots of ``h`` hours is due the share ``T h / 8760`` of it.

Cascade, from the highest level to the lowest. To a level's network are connected its own customers
and the areas of lower levels right below it. Connection ``j`` contributes its import at the level's
peak, the mean over the ``H`` highest whole hours of what the level delivers in all::

    L_lt = sum_j n_jt                      peak(l): the H highest hours of L_l
    cp_j = mean of max(n_jt, 0) over t in peak(l)
    cost of j = (R_l + cost received from above) cp_j / sum_j cp_j

Slots shorter than an hour are averaged to hours, as coincident-peak charges do. A connection that
feeds in at the peak counts as 0, and never earns. The cost of areas of a lower level adds to that
level's own; the cost of own customers stays: it is what they have to bear, and it adds up to the
allowed revenue of all levels. A level that the grid does not model passes its whole cost to the
next lower level that there is: it is the network upstream.

Causal cost of customer n at level l, from the cost ``C_l`` that its customers bear::

    X_n = C_l (s_energy i_n / sum i + s_peak cp_n / sum cp + s_customer / N_l)

with the import ``i_n`` in kWh and the shares s of `CostSplit`.

Sources
-------
.. [1] StromNEV (German ordinance on electricity network charges), section 14: passing on of costs
   by the share of the simultaneous annual peak load.
.. [2] Perez-Arriaga, Ruester, Schwenen, Batlle, Glachant 2013, From distribution networks to smart
   distribution systems: rethinking the regulation of European electricity DSOs (THINK).
.. [3] Reneses, Rodriguez Ortega 2014, Distribution pricing: theoretical principles and practical
   approaches. IET Generation, Transmission & Distribution 8(10).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tricell.errors import MarketError
from tricell.markets.charge import Calendar, Customers, MeterData
from tricell.markets.charges.coincident_peak import net_of_areas_kw
from tricell.markets.metered_power import interval_means

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Times = NDArray[np.datetime64]

LEVELS = ("microgrid", "cell", "multicell")
"""Names of the levels 1 to 3, from the lowest to the highest."""
SHARES_ADD_UP = 1e-9
HOUR_MINUTES = 60


@dataclass(frozen=True)
class CostSplit:
    """Shares of a level's cost by what causes it; they add up to 1.

    Attributes
    ----------
    energy : share caused by kWh.
    peak : share caused by power at the level's peak.
    customer : share caused by each connection as such.
    """

    energy: float = 0.0
    peak: float = 1.0
    customer: float = 0.0

    def __post_init__(self) -> None:
        shares = (self.energy, self.peak, self.customer)
        if min(shares) < 0.0 or not abs(sum(shares) - 1.0) <= SHARES_ADD_UP:
            raise MarketError(
                f"cost split: energy {self.energy}, peak {self.peak} and customer {self.customer} "
                f"add up to {sum(shares):g}; give three shares from 0 to 1 that add up to 1"
            )


@dataclass(frozen=True)
class CostCascade:
    """Where the cost of the levels ends up; arrays over the levels 1 to 3 in this order.

    Attributes
    ----------
    allowed_eur : allowed revenue of the period, shape (3,).
    passed_eur : shape (3, 3), what the level of the row passes to the level of the column.
    borne_eur : what the customers connected at each level bear, shape (3,); adds up to the allowed
        revenue.
    peak_start : UTC start of the hours of each level's peak, highest first, three arrays; empty
        for a level that the grid does not model.
    """

    allowed_eur: Floats
    passed_eur: Floats
    borne_eur: Floats
    peak_start: tuple[Times, Times, Times]

    @property
    def received_eur(self) -> Floats:
        """What each level gets from those above, shape (3,)."""
        return np.asarray(self.passed_eur.sum(axis=0))


@dataclass(frozen=True)
class CausalCost:
    """What each customer causes of the cost, EUR, by cause; arrays of shape (N,)."""

    energy_eur: Floats
    peak_eur: Floats
    customer_eur: Floats

    @property
    def eur(self) -> Floats:
        """All of it, shape (N,)."""
        return np.asarray(self.energy_eur + self.peak_eur + self.customer_eur)


def allowed_for_period(eur_per_year: ArrayLike, calendar: Calendar) -> Floats:
    """Return the allowed revenue of a period from that of a year, EUR, same shape.

    Parameters
    ----------
    eur_per_year : EUR per year of 8760 h, of any shape; per level from the lowest.
    calendar : the slots of the period.

    Raises
    ------
    MarketError
        If one is negative or not a number.
    """
    yearly = np.asarray(eur_per_year, np.float64)
    if not (np.isfinite(yearly).all() and (yearly >= 0.0).all()):
        raise MarketError(
            f"allowed revenue: {yearly.tolist()} EUR per year; allowed are numbers from 0 upwards"
        )
    return np.asarray(yearly * calendar.year_share)


def cost_cascade(
    eur_per_year: Sequence[float], meters: MeterData, peak_hours: int = 1
) -> CostCascade:
    """Pass the cost of every level down to its customers and to the levels below it [1]_.

    Parameters
    ----------
    eur_per_year : allowed revenue of microgrid, cell and multi-cell level, EUR per year.
    meters : of the period. Flows between areas are `MeterData.area_net_kw` where known, otherwise
        the sum of the customers below, without losses.
    peak_hours : H, whole hours of the highest load that are averaged, 1 or more. Slots longer than
        an hour, and data with fewer hours, are taken as they are.

    Raises
    ------
    MarketError
        If a level has a cost and nobody takes power at its peak, or there is nobody at or below
        it; if the allowed revenue is not three numbers from 0 upwards.
    """
    allowed = allowed_for_period(eur_per_year, meters.calendar)
    if allowed.shape != (len(LEVELS),):
        raise MarketError(
            f"allowed revenue: {allowed.size} numbers; give one each for {', '.join(LEVELS)}"
        )
    customers = meters.customers
    area_net = meters.area_net_kw if meters.area_net_kw is not None else net_of_areas_kw(meters)
    parent_level = _level_above(customers)
    passed, borne = np.zeros((3, 3)), np.zeros(3)
    peaks = [meters.calendar.start[:0] for _ in LEVELS]
    for level in reversed(range(len(LEVELS))):
        cost = float(allowed[level] + passed[:, level].sum())
        if not (customers.area_level == level + 1).any():
            below = _next_level_below(customers, level, cost)
            if below is not None:
                passed[level, below] = cost
            continue
        own = meters.net_kw[:, customers.level == level + 1]
        areas = parent_level == level + 1
        connected = np.concatenate([own, area_net[:, areas]], axis=1)
        peaks[level] = peak_start(connected.sum(axis=1), meters.calendar, peak_hours)
        part = coincident_import_kw(connected, meters.calendar, peaks[level])
        shares = _shares(part, cost, f"the {LEVELS[level]} level, at the hour of its peak")
        count = own.shape[1]
        borne[level] = cost * shares[:count].sum()
        lower = customers.area_level[areas] - 1
        passed[level] += cost * np.bincount(lower, shares[count:], minlength=3)
    return CostCascade(allowed, passed, borne, (peaks[0], peaks[1], peaks[2]))


def causal_cost(
    cascade: CostCascade, meters: MeterData, split: CostSplit | Sequence[CostSplit]
) -> CausalCost:
    """Return what each customer causes of the cost that its level's customers bear [3]_.

    Parameters
    ----------
    cascade : of the same meter data.
    meters : N customers.
    split : the same for all levels, or one per level from the lowest.

    Raises
    ------
    MarketError
        If a level's customers bear a cost and have nothing by which it could be shared.
    """
    splits = (split,) * len(LEVELS) if isinstance(split, CostSplit) else tuple(split)
    if len(splits) != len(LEVELS):
        raise MarketError(
            f"cost split: {len(splits)} given; give one, or one each for {', '.join(LEVELS)}"
        )
    by_cause = np.zeros((3, len(meters.customers)))
    for level, shares in enumerate(splits):
        at = np.flatnonzero(meters.customers.level == level + 1)
        bases = (
            meters.import_kwh[:, at].sum(axis=0),
            coincident_import_kw(meters.net_kw[:, at], meters.calendar, cascade.peak_start[level]),
            np.ones(len(at)),
        )
        parts = (shares.energy, shares.peak, shares.customer)
        for cause, (share, base) in enumerate(zip(parts, bases, strict=True)):
            cost = float(share * cascade.borne_eur[level])
            what = ("kWh imported", "kW at the peak", "customers")[cause]
            by_cause[cause, at] = cost * _shares(
                base, cost, f"the customers of the {LEVELS[level]} level by {what}"
            )
    return CausalCost(*by_cause)


def peak_start(load_kw: Floats, calendar: Calendar, peak_hours: int = 1) -> Times:
    """Return when the hours of the highest load start, highest first; the earlier of equal ones.

    Parameters
    ----------
    load_kw : shape (T,).
    calendar : the T slots.
    peak_hours : how many hours to take, 1 or more.

    Raises
    ------
    MarketError
        If no hour is asked for, or slots shorter than an hour do not divide it.
    """
    if peak_hours < 1:
        raise MarketError(f"peak hours: {peak_hours}; allowed are whole numbers from 1 upwards")
    hourly, hours = interval_means(load_kw, calendar, HOUR_MINUTES)
    return np.asarray(hours.start[np.argsort(-hourly, kind="stable")[:peak_hours]])


def coincident_import_kw(net_kw: Floats, calendar: Calendar, start: Times) -> Floats:
    """Return the mean import of every column of ``net_kw`` (T, J) over some hours, shape (J,)."""
    if not len(start):
        return np.zeros(net_kw.shape[1])
    hourly, hours = interval_means(np.maximum(net_kw, 0.0), calendar, HOUR_MINUTES)
    return np.asarray(hourly[np.searchsorted(hours.start, start)].mean(axis=0))


def _level_above(customers: Customers) -> Indices:
    """Return the level of the area right above each area, 0 at the top; shape (A,)."""
    parent = customers.area_parent
    return np.where(parent >= 0, customers.area_level[parent], 0)


def _next_level_below(customers: Customers, level: int, cost: float) -> int | None:
    """Return the highest level below that has areas; None where there is none and no cost."""
    below = customers.area_level[customers.area_level <= level]
    if below.size:
        return int(below.max()) - 1
    if cost > 0.0:
        raise MarketError(
            f"allowed revenue: {cost:g} EUR of the {LEVELS[level]} level cannot be passed on: the "
            f"grid has no area at that level or below. Set it to 0, or use a grid that has one."
        )
    return None


def _shares(base: Floats, cost: float, where: str) -> Floats:
    """Return each one's share of a base; zeros where there is no base and no cost."""
    total = base.sum()
    if total > 0.0:
        return np.asarray(base / total)
    if cost > 0.0:
        raise MarketError(
            f"allowed revenue: {cost:g} EUR cannot be shared among {where}: nobody takes anything "
            "there. Use a longer period in which somebody does, or set that cost to 0."
        )
    return np.zeros(len(base))
