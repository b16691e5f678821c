"""Indicators of a network-charge study: pure functions on arrays and tables.

N customers, T slots, C charges (components of the bill), K elements of the grid. Bills are EUR of
the period that the meter data cover. Where a figure is undefined a scalar is None and an entry of
an array or a table is NaN; nothing becomes 0 for want of data.

Sources
-------
.. [1] CEER 2020, Paper on electricity distribution tariffs supporting the energy transition.
.. [2] Brown, Sappington 2018, On the role of maximum demand charges in the presence of distributed
   generation resources. Energy Economics 69.
.. [3] Simshauser 2016, Distribution network prices and solar PV: resolving rate instability and
   wealth transfers through demand tariffs. Energy Economics 54.
.. [4] Burger, Schneider, Botterud, Perez-Arriaga 2019, Fair, equitable, and efficient tariffs in
   the presence of distributed energy resources. In: Consumer, Prosumer, Prosumager.
.. [5] Neuteleers, Mulder, Hindriks 2017, Assessing fairness of dynamic grid tariffs. Energy
   Policy 108.
.. [6] Azarova, Engel, Ferner, Kollmann, Reichl 2018, Exploring the impact of network tariffs on
   household electricity expenditures using load profiles and socio-economic characteristics.
   Nature Energy 3.
.. [7] Steen, Tuan, Carlson 2016, Effects of network tariffs on residential distribution systems
   and price-responsive customers under hourly electricity pricing. IEEE Transactions on Smart
   Grid 7(2): new peaks when low prices begin.
.. [8] Velander 1952; Dickert, Schegner 2010, Residential load models for network planning
   purposes: simultaneity of loads.
.. [9] Fina, Auer 2020, Economic viability of renewable energy communities under the framework of
   the renewable energy directive transposed to Austrian law. Energies 13, 5743.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from tricell.results.kpis import charge_recovery, gini, jain, price_band

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

QUANTILES = (10, 50, 90)
"""Percentiles of bill changes that tables show."""
LOWEST_SHARE = 0.2
"""Share of the customers that counts as the lowest quintile."""
WORSE_PERCENT = 10.0
WORSE_EUR_PER_YEAR = 100.0
HOUSES_KWH = (2500.0, 3500.0, 5000.0)
"""Annual consumption of the houses whose effective price is compared."""
SAME_PRICE = 1e-9
"""Prices (EUR/kWh) that differ by no more are the same."""


def _floats(values: ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _divided(part: ArrayLike, whole: ArrayLike) -> Floats:
    """Return part over whole, NaN where the whole is not above 0."""
    parts, wholes = np.broadcast_arrays(_floats(part), _floats(whole))
    usable = wholes > 0.0
    return np.where(usable, parts / np.where(usable, wholes, 1.0), np.nan)


def _ratio(part: float, whole: float | None) -> float | None:
    return float(part / whole) if whole is not None and whole > 0.0 else None


# --- revenue ---


def revenue_recovery(revenue_eur: float, allowed_eur: float) -> float | None:
    """Return collected over allowed revenue, ``Gamma / R``; None if none is allowed [1]_."""
    return charge_recovery(revenue_eur, allowed_eur)


@dataclass(frozen=True)
class RevenueGap:
    """What the network operator lacks; negative where it collects too much.

    Attributes
    ----------
    eur : ``R - Gamma``.
    ct_per_kwh : ``100 (R - Gamma) / E`` of the energy E that customers import; None without any.
    """

    eur: float
    ct_per_kwh: float | None


def revenue_gap(allowed_eur: float, revenue_eur: float, import_kwh: float) -> RevenueGap:
    """Return allowed less collected revenue, in EUR and per kWh imported [1]_.

    Examples
    --------
    >>> revenue_gap(100.0, 95.0, 1000.0)
    RevenueGap(eur=5.0, ct_per_kwh=0.5)
    """
    gap = allowed_eur - revenue_eur
    return RevenueGap(gap, _ratio(100.0 * gap, import_kwh))


# --- bills ---


def bill_change_by_class(
    bill_eur: ArrayLike, reference_eur: ArrayLike, group: Sequence[str]
) -> pd.DataFrame:
    """Return how bills change against a reference, by customer class [3]_.

    ``delta_n = B_n - B_n,ref`` and ``100 delta_n / B_n,ref``, the latter undefined unless the
    reference bill is above 0.

    Parameters
    ----------
    bill_eur, reference_eur : shape (N,).
    group : class of each customer.

    Returns
    -------
    DataFrame
        One row per class and one for ``all``; columns ``customers``, ``reference_eur``,
        ``bill_eur`` (means), ``change_eur`` (mean), ``change_percent`` (of the class's sum), and
        ``eur_p10``, ``eur_p50``, ``eur_p90``, ``percent_p10``, ... over its customers; percent
        over those for whom it is defined.
    """
    bill, reference = _floats(bill_eur), _floats(reference_eur)
    change = bill - reference
    percent = 100.0 * _divided(change, reference)

    def row(rows: Bools) -> dict[str, float]:
        figures = {
            "customers": int(rows.sum()),
            "reference_eur": _mean(reference[rows]),
            "bill_eur": _mean(bill[rows]),
            "change_eur": _mean(change[rows]),
            "change_percent": float(100.0 * _divided(change[rows].sum(), reference[rows].sum())),
        }
        for unit, values in (("eur", change[rows]), ("percent", percent[rows])):
            for quantile in QUANTILES:
                figures[f"{unit}_p{quantile}"] = _percentile(values, quantile)
        return figures

    return _by_class(row, group)


def component_shares(
    bill_eur: ArrayLike, labels: Sequence[str], group: Sequence[str]
) -> pd.DataFrame:
    """Return each component's share of the bills of a class, ``sum_n B_cn / sum_cn B_cn`` [1]_.

    Parameters
    ----------
    bill_eur : shape (C, N); components may be negative (a refund).
    labels : names of the components.
    group : class of each customer.

    Returns
    -------
    DataFrame
        One row per class and one for ``all``, one column per component; they add up to 1. NaN
        where a class pays nothing in all.
    """
    bill = _floats(bill_eur)

    def row(rows: Bools) -> dict[str, float]:
        sums = bill[:, rows].sum(axis=1)
        return dict(zip(labels, _divided(sums, sums.sum()).tolist(), strict=True))

    return _by_class(row, group)


def cross_subsidy(
    bill_eur: ArrayLike, causal_cost_eur: ArrayLike, group: Sequence[str]
) -> pd.DataFrame:
    """Return what classes pay above or below the cost that they cause, ``X_k = B_k - C_k`` [4]_.

    The sum over the classes is 0 where bills add up to the cost; it is the row ``all``.

    Parameters
    ----------
    bill_eur, causal_cost_eur : shape (N,).
    group : class of each customer.

    Returns
    -------
    DataFrame
        One row per class and one for ``all``; columns ``customers``, ``bill_eur``, ``cost_eur``,
        ``subsidy_eur`` (sums), ``subsidy_eur_per_customer`` and ``bill_per_cost``.
    """
    bill, cost = _floats(bill_eur), _floats(causal_cost_eur)

    def row(rows: Bools) -> dict[str, float]:
        subsidy = bill[rows] - cost[rows]
        return {
            "customers": int(rows.sum()),
            "bill_eur": float(bill[rows].sum()),
            "cost_eur": float(cost[rows].sum()),
            "subsidy_eur": float(subsidy.sum()),
            "subsidy_eur_per_customer": _mean(subsidy),
            "bill_per_cost": float(_divided(bill[rows].sum(), cost[rows].sum())),
        }

    return _by_class(row, group)


# --- fairness ---


def price_per_kwh(bill_eur: ArrayLike, import_kwh: ArrayLike) -> Floats:
    """Return what a kWh costs each customer, ``B_n / E_n``, EUR/kWh; NaN without import [5]_."""
    return _divided(bill_eur, import_kwh)


def price_gini(bill_eur: ArrayLike, import_kwh: ArrayLike) -> float | None:
    """Return the Gini coefficient of EUR/kWh, 0 where all pay the same [5]_.

    Customers without import have no price and are left out. None if nobody is left, if one is paid
    (a negative bill), or if nobody pays.
    """
    price = price_per_kwh(bill_eur, import_kwh)
    return gini(price[np.isfinite(price)])


def price_jain(bill_eur: ArrayLike, import_kwh: ArrayLike) -> float | None:
    """Return Jain's index of EUR/kWh, 1 where all pay the same; None if nobody imports [5]_."""
    price = price_per_kwh(bill_eur, import_kwh)
    return jain(price[np.isfinite(price)])


@dataclass(frozen=True)
class QuintileBurden:
    """What the customers with the lowest consumption pay.

    Attributes
    ----------
    eur_per_kwh : their bills over their import.
    relative_price : this over what all pay per kWh; above 1 the small ones pay more.
    bill_share : their share of all bills.
    energy_share : their share of all import.
    """

    eur_per_kwh: float | None
    relative_price: float | None
    bill_share: float | None
    energy_share: float | None


def lowest_quintile_burden(bill_eur: ArrayLike, import_kwh: ArrayLike) -> QuintileBurden:
    """Return the burden of the fifth of the customers with the lowest import [6]_.

    It is ``(sum_Q B / sum_Q E) / (sum B / sum E)`` for the ``ceil(N / 5)`` customers with the
    lowest import; all who import as much as the last of them count too.
    """
    bill, energy = _floats(bill_eur), _floats(import_kwh)
    if not energy.size:
        return QuintileBurden(None, None, None, None)
    last = int(np.ceil(LOWEST_SHARE * energy.size)) - 1
    lowest = energy <= np.sort(energy)[last]
    price = _ratio(bill[lowest].sum(), energy[lowest].sum())
    return QuintileBurden(
        eur_per_kwh=price,
        relative_price=None if price is None else _ratio(price, _ratio(bill.sum(), energy.sum())),
        bill_share=_ratio(bill[lowest].sum(), bill.sum()),
        energy_share=_ratio(energy[lowest].sum(), energy.sum()),
    )


def share_clearly_worse(
    bill_eur: ArrayLike, reference_eur: ArrayLike, year_share: float
) -> float | None:
    """Return the share of customers who lose more than 10 % and more than 100 EUR a year [1]_.

    ``delta_n > 0.1 B_n,ref`` and ``delta_n / y > 100`` with the share y of a year that the bills
    cover. None without customers or time.
    """
    reference = _floats(reference_eur)
    change = _floats(bill_eur) - reference
    if not change.size or not year_share > 0.0:
        return None
    in_percent = change > WORSE_PERCENT / 100.0 * np.maximum(reference, 0.0)
    in_euro = change / year_share > WORSE_EUR_PER_YEAR
    return float((in_percent & in_euro).mean())


def community_saving_per_member(
    without_eur: ArrayLike, with_eur: ArrayLike, member: ArrayLike, year_share: float
) -> float | None:
    """Return what a member saves a year in a community, ``mean(B_without - B_with) / y`` [9]_.

    Parameters
    ----------
    without_eur, with_eur : bills in all (energy and network), shape (N,).
    member : who is a member, booleans of shape (N,).
    year_share : share of a year that the bills cover.

    Returns
    -------
    float or None
        EUR per member and year; None without members or time.
    """
    saved = (_floats(without_eur) - _floats(with_eur))[np.asarray(member, np.bool_)]
    return _ratio(saved.mean(), year_share) if saved.size else None


# --- prices ---


def house_profiles_kw(
    profile_kw: ArrayLike, hours: float, annual_kwh: Sequence[float] = HOUSES_KWH
) -> Floats:
    """Scale a house's import to others of the same shape, kW, shape (T, len(annual_kwh)).

    ``i_t 8760 / (T h) E_year / (sum i h 8760 / (T h))``: each consumes its annual energy, or the
    share of it that the period is of a year. Bill them with the charges of a design, and hand the
    bills to `effective_price`. NaN if the house imports nothing.

    Parameters
    ----------
    profile_kw : import of the house or mean of many, shape (T,); what is negative counts as 0.
    hours : length of a slot, h.
    annual_kwh : annual consumption of the houses wanted.
    """
    profile = np.maximum(_floats(profile_kw), 0.0)
    mean_kw = _floats(annual_kwh) / 8760.0
    return profile[:, None] * _divided(mean_kw, profile.mean() if profile.size else 0.0)


def effective_price(bill_eur: ArrayLike, annual_kwh: ArrayLike, year_share: float) -> Floats:
    """Return what a kWh costs houses of a given consumption, ``B / (E y)``, EUR/kWh [1]_.

    Parameters
    ----------
    bill_eur : of the period, shape of ``annual_kwh``.
    annual_kwh : consumption per year.
    year_share : share of a year that the bills cover.
    """
    return _divided(bill_eur, _floats(annual_kwh) * year_share)


def price_signal_strength(rate: ArrayLike) -> float | None:
    """Return the highest less the lowest rate over time, EUR/kWh; None without a rate [1]_."""
    return price_band(rate)


@dataclass(frozen=True)
class ReboundPeak:
    """The load in the first step of each window of low prices.

    Attributes
    ----------
    peak_kw : the highest of these loads.
    reference_kw : the highest of the loads of the reference in the same steps.
    rise_kw : the largest increase against the reference in one of these steps.
    new_peak : whether ``peak_kw`` is above the peak of the reference at any time.
    windows : number of windows of low prices.
    """

    peak_kw: float
    reference_kw: float
    rise_kw: float
    new_peak: bool
    windows: int


def rebound_peak(
    load_kw: ArrayLike, reference_kw: ArrayLike, rate: ArrayLike, low: float | None = None
) -> ReboundPeak | None:
    """Return the rebound in the first step of low prices [7]_.

    ``max over t with c_t <= low < c_{t-1}`` of the load. None if prices never fall to the low
    level: they are flat, or low from the first slot on.

    Parameters
    ----------
    load_kw, reference_kw : load of a level, transformer or group, shape (T,).
    rate : price that customers see, EUR/kWh, shape (T,).
    low : highest price that counts as low; the lowest of all by default.
    """
    load, reference, rates = _floats(load_kw), _floats(reference_kw), _floats(rate)
    if not rates.size:
        return None
    is_low = rates <= (rates.min() if low is None else low) + SAME_PRICE
    first = np.flatnonzero(is_low[1:] & ~is_low[:-1]) + 1
    if not first.size:
        return None
    return ReboundPeak(
        peak_kw=float(load[first].max()),
        reference_kw=float(reference[first].max()),
        rise_kw=float((load - reference)[first].max()),
        new_peak=bool(load[first].max() > reference.max()),
        windows=len(first),
    )


# --- grid ---


def peak_import_kw(flow_kw: ArrayLike) -> Floats:
    """Return the highest import of each transformer or interface, kW, shape (K,).

    ``max_t max(F_tk, 0)``; 0 for one that only ever feeds back, NaN without a measured slot.

    Parameters
    ----------
    flow_kw : shape (T, K), positive towards the customers; NaN where it is not known.
    """
    return _highest(np.maximum(_floats(flow_kw), 0.0))


def peak_export_kw(flow_kw: ArrayLike) -> Floats:
    """Return the highest flow back of each transformer or interface, ``max_t max(-F_tk, 0)``."""
    return _highest(np.maximum(-_floats(flow_kw), 0.0))


def peak_reduction(peak_kw: ArrayLike, reference_kw: ArrayLike) -> Floats:
    """Return the reduction of peaks, ``1 - P / P_ref``; NaN where the reference has no peak.

    Examples
    --------
    >>> peak_reduction([80.0, 5.0], [100.0, 0.0])
    array([0.2, nan])
    """
    return 1.0 - _divided(peak_kw, reference_kw)


def hours_over_limit(loading_percent: ArrayLike, hours: float, limit: float = 100.0) -> Floats:
    """Return for how long each element is above its limit, h, shape (K,).

    Parameters
    ----------
    loading_percent : shape (T, K). Slots without a value are left out; NaN if there is none.
    hours : length of a slot, h.
    limit : highest loading allowed, %.
    """
    loading = _floats(loading_percent)
    over = (loading > limit).sum(axis=0) * hours
    return np.where(np.isfinite(loading).any(axis=0), over, np.nan)


def voltage_hours(
    vm_pu: ArrayLike, vm_min_pu: ArrayLike, vm_max_pu: ArrayLike, hours: float
) -> Floats:
    """Return for how long each bus is outside its voltage band, h, shape (K,).

    Parameters
    ----------
    vm_pu : shape (T, K). Slots without a value are left out; NaN if there is none.
    vm_min_pu, vm_max_pu : band, numbers or shape (K,); on the limit is inside.
    hours : length of a slot, h.
    """
    voltage = _floats(vm_pu)
    outside = (voltage < _floats(vm_min_pu)) | (voltage > _floats(vm_max_pu))
    known = np.isfinite(voltage).any(axis=0)
    return np.where(known, outside.sum(axis=0) * hours, np.nan)


def simultaneity(import_kw: ArrayLike) -> float | None:
    """Return the peak of all together over the sum of their peaks [8]_.

    ``g = max_t sum_n i_nt / sum_n max_t i_nt``, from imports of shape (T, N), what is negative
    counting as 0. None if nobody imports.

    Examples
    --------
    >>> simultaneity([[1.0, 0.0], [0.0, 1.0]])
    0.5
    """
    imports = np.maximum(_floats(import_kw), 0.0)
    if not imports.size:
        return None
    return _ratio(imports.sum(axis=1).max(), imports.max(axis=0).sum())


def individual_and_coincident_peaks(import_kw: ArrayLike, load_kw: ArrayLike) -> pd.DataFrame:
    """Return each customer's own peak and its import at the peak of the area [2]_.

    Parameters
    ----------
    import_kw : shape (T, N); what is negative counts as 0.
    load_kw : load of the area or transformer, shape (T,).

    Returns
    -------
    DataFrame
        One row per customer; columns ``individual_kw`` and ``coincident_kw``. NaN without slots.
    """
    imports, load = np.maximum(_floats(import_kw), 0.0), _floats(load_kw)
    nothing = np.full(imports.shape[1], np.nan)
    return pd.DataFrame(
        {
            "individual_kw": imports.max(axis=0) if load.size else nothing,
            "coincident_kw": imports[load.argmax()] if load.size else nothing,
        }
    )


# --- shared ---


def _by_class(row: Callable[[Bools], dict[str, float]], group: Sequence[str]) -> pd.DataFrame:
    """Return a table with one row per class, in order of names, and one for all customers."""
    names = np.asarray(group, dtype=np.str_)
    rows = {str(name): row(names == name) for name in np.unique(names)}
    rows["all"] = row(np.ones(len(names), np.bool_))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("class")


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else float("nan")


def _percentile(values: Floats, quantile: float) -> float:
    known = values[np.isfinite(values)]
    return float(np.percentile(known, quantile)) if known.size else float("nan")


def _highest(values: Floats) -> Floats:
    """Return the largest known value of every column, NaN where there is none."""
    highest = np.where(np.isnan(values), -np.inf, values).max(axis=0, initial=-np.inf)
    return np.where(np.isfinite(highest), highest, np.nan)
