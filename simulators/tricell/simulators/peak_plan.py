r"""The smallest import that a battery can keep its owner below, and the energy that this needs.

Where power has a price (`tricell.markets.charge.PeakSignal`), every owner's own net power
:math:`n_t` (load less generation, positive imports) is known for the whole run. With a cap
:math:`c` a slot of :math:`h` hours takes and may give the store

.. math::
   need_t = (n_t - c)^+ h / \eta_d, \qquad
   room_t = \min(\bar p_c, (c - n_t)^+)\, h\, \eta_c

A cap holds if the discharging power suffices, :math:`n_t - c \le \bar p_d`, and if a store that
is charged as much as the cap allows, :math:`s_{t+1} = \min(E, \kappa s_t + room_t - need_t)` with
the share :math:`\kappa` left after self-discharge, never falls below zero. The smallest cap is
found by bisection, month after month (or for the whole period), each starting with what the store
can hold by then; it is never below the power that costs nothing. Then

.. math::
   r_t = \max(0, (r_{t+1} + need_t - room_t) / \kappa), \qquad r_T = 0

is the least energy that must be in store at the start of slot :math:`t`. Whoever keeps to
:math:`s_t \ge r_t` can hold the caps to the end.

Batteries of one owner share net power and free power in proportion to their own power, so that
their caps add up to the owner's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from tricell.markets.charge import PeakSignal
from tricell.simulators.population import Batteries, BoolArray, FloatArray, IntArray

BISECTIONS = 32
"""Halvings of the bracket of a cap; the bracket is at most the discharging power."""


@dataclass(frozen=True)
class PeakPlan:
    """Caps and reserves of all batteries.

    Attributes
    ----------
    cap_kw : float64, shape (n_span, n_battery)
        Largest import of each battery's owner (its share of it), kW; infinite where power has no
        price.
    span : int64, shape (T,)
        Row of `cap_kw` that each slot belongs to.
    reserve_kwh : float64, shape (T + 1, n_battery)
        Least stored energy at the start of each slot, and after the last one.
    """

    cap_kw: FloatArray
    span: IntArray
    reserve_kwh: FloatArray


def plan_peaks(
    batteries: Batteries,
    net_kw: FloatArray,
    signals: Sequence[PeakSignal],
    month: IntArray,
    hours: float,
) -> PeakPlan | None:
    """Plan the caps of all batteries whose owners pay for power.

    Parameters
    ----------
    batteries : Batteries
        Ratings and first states.
    net_kw : float64, shape (T, n_battery)
        Own net power of each battery's owner (its share), kW, positive imports.
    signals : sequence of PeakSignal
        Prices on the power of the agents. Where several concern an owner, months count if one of
        them counts months, and the smallest power that costs nothing.
    month : int64, shape (T,)
        Number of the month of every slot.
    hours : float
        Length of a slot, h.

    Returns
    -------
    PeakPlan or None
        None if nobody pays for power.
    """
    n_battery = len(batteries)
    pays = {span: np.zeros(n_battery, np.bool_) for span in ("month", "period")}
    free_kw = np.full(n_battery, np.inf)
    for signal in signals:
        concerned = (signal.eur_per_kw > 0)[batteries.agent]
        pays[signal.span] |= concerned
        free_kw = np.where(concerned, np.minimum(free_kw, signal.free_kw[batteries.agent]), free_kw)
    anybody = pays["month"] | pays["period"]
    if not anybody.any() or not len(net_kw):
        return None
    free_kw = np.where(anybody, np.maximum(free_kw, 0.0), 0.0) * _share_of_power(batteries)
    _, span = np.unique(month, return_inverse=True)
    cap_kw = np.full((int(span.max()) + 1, n_battery), np.inf)
    whole = np.zeros(len(net_kw), np.int64)
    for chosen, slots_of in ((pays["month"], span), (anybody & ~pays["month"], whole)):
        if chosen.any():
            some = _rows(batteries, chosen)
            cap_kw[:, chosen] = smallest_caps(
                some, net_kw[:, chosen], free_kw[chosen], slots_of, hours
            )
    reserve = reserves(batteries, net_kw, cap_kw[span], hours)
    return PeakPlan(cap_kw=cap_kw, span=span.astype(np.int64), reserve_kwh=reserve)


def smallest_caps(
    batteries: Batteries, net_kw: FloatArray, free_kw: FloatArray, span: IntArray, hours: float
) -> FloatArray:
    """Find the smallest import that each battery can hold, span after span.

    Parameters
    ----------
    batteries : Batteries
        Ratings; they start at `Batteries.soc0_kwh`.
    net_kw : float64, shape (T, n_battery)
        Own net power, kW.
    free_kw : float64, shape (n_battery,)
        No cap is below this, kW.
    span : int64, shape (T,)
        Billing span of every slot: 0, 1, ... in the order of time.
    hours : float
        Length of a slot, h.

    Returns
    -------
    float64, shape (n_span, n_battery)
    """
    caps = np.empty((int(span.max()) + 1, len(batteries)))
    stored = batteries.soc0_kwh
    for row in range(len(caps)):
        part = net_kw[span == row]
        peak = np.maximum(part.max(axis=0), free_kw)
        low, high = np.maximum(peak - batteries.discharge_kw, free_kw), peak
        low_holds = _fullest_store(batteries, stored, part, low, hours)[0]
        high = np.where(low_holds, low, high)
        for _ in range(BISECTIONS):
            if (low == high).all():
                break
            middle = 0.5 * (low + high)
            holds = _fullest_store(batteries, stored, part, middle, hours)[0]
            low, high = np.where(holds, low, middle), np.where(holds, middle, high)
        stored = np.maximum(_fullest_store(batteries, stored, part, high, hours)[1], 0.0)
        caps[row] = high
    return caps


def reserves(
    batteries: Batteries, net_kw: FloatArray, cap_kw: FloatArray, hours: float
) -> FloatArray:
    """Compute the least stored energy that keeps the caps within reach.

    Parameters
    ----------
    batteries : Batteries
        Ratings.
    net_kw : float64, shape (T, n_battery)
        Own net power, kW.
    cap_kw : float64, shape (T, n_battery)
        Cap of every slot, kW; infinite for none.
    hours : float
        Length of a slot, h.

    Returns
    -------
    float64, shape (T + 1, n_battery)
        Reserve at the start of each slot, kWh; 0 after the last one.
    """
    gain = _largest_gain(batteries, net_kw, cap_kw, hours)
    kept = _kept(batteries, hours)
    reserve = np.zeros((len(net_kw) + 1, len(batteries)))
    for slot in range(len(net_kw) - 1, -1, -1):
        wanted = (reserve[slot + 1] - gain[slot]) / kept
        np.clip(wanted, 0.0, batteries.energy_kwh, out=reserve[slot])
    return reserve


def _largest_gain(
    batteries: Batteries, net_kw: FloatArray, cap_kw: FloatArray, hours: float
) -> FloatArray:
    """Return what every slot may add to the store, or must take, under a cap, kWh."""
    spare_kw = cap_kw - net_kw
    return np.where(
        spare_kw >= 0,
        np.minimum(spare_kw, batteries.charge_kw) * (hours * batteries.eta_charge),
        spare_kw * (hours / batteries.eta_discharge),
    )


def _fullest_store(
    batteries: Batteries, stored: FloatArray, net_kw: FloatArray, cap_kw: FloatArray, hours: float
) -> tuple[BoolArray, FloatArray]:
    """Return whether each cap holds, and what a store charged at every chance ends with."""
    gain = _largest_gain(batteries, net_kw, cap_kw, hours)
    kept, lowest = _kept(batteries, hours), np.zeros(len(batteries))
    now = stored.copy()
    for more in gain:
        now *= kept
        now += more
        np.minimum(now, batteries.energy_kwh, out=now)
        np.minimum(lowest, now, out=lowest)
    enough_power = net_kw.max(axis=0) - cap_kw <= batteries.discharge_kw * (1.0 + 1e-12)
    return np.asarray(enough_power & (lowest >= 0.0)), now


def _kept(batteries: Batteries, hours: float) -> FloatArray:
    return np.asarray((1.0 - batteries.self_discharge_per_day) ** (hours / 24.0))


def _share_of_power(batteries: Batteries) -> FloatArray:
    total = np.bincount(batteries.agent, weights=batteries.discharge_kw)[batteries.agent]
    return np.divide(batteries.discharge_kw, total, out=np.zeros_like(total), where=total > 0)


def _rows(batteries: Batteries, chosen: BoolArray) -> Batteries:
    return Batteries(**{f.name: getattr(batteries, f.name)[chosen] for f in fields(batteries)})
