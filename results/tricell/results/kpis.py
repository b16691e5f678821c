"""Key figures of a run: pure functions on arrays, None where a figure is undefined.

Net demand is n = load - generation of one agent in one slot (kWh), N its sum over the agents.
An array of agents by slots has the shape (agents, slots).

Sources
-------
.. [1] Zhou, Wu, Long 2018, Evaluation of peer-to-peer energy sharing mechanisms based on a
   multiagent simulation framework. The names are theirs, the normalisation is tricell's.
.. [2] Jain, Chiu, Hawe 1984, A quantitative measure of fairness and discrimination.
.. [3] Hossfeld, Skorin-Kapov, Heegaard, Varela 2017, Definition of QoE fairness in shared systems.
.. [4] Gini 1912, Variabilita e mutabilita.
.. [5] Moret, Pinson 2019, Energy collectives: a community and fairness based approach.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole > 0.0 else None


def _floats(values: ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _known(values: ArrayLike) -> Floats:
    """Give the values that are not NaN, in one dimension."""
    floats = _floats(values).ravel()
    return floats[~np.isnan(floats)]


def community_net(load_kwh: ArrayLike, generation_kwh: ArrayLike) -> Floats:
    """Net demand N of all agents together, kWh per slot, from (agents, slots) arrays."""
    net: Floats = (_floats(load_kwh) - _floats(generation_kwh)).sum(axis=0)
    return net


def shared_energy(load_kwh: ArrayLike, generation_kwh: ArrayLike) -> Floats:
    """Energy that can be shared, T = min(D, S), kWh per slot, from (agents, slots) arrays.

    D is the sum of the positive net demands, S of the negative ones.
    """
    net = _floats(load_kwh) - _floats(generation_kwh)
    demand = np.maximum(net, 0.0).sum(axis=0)
    surplus = np.maximum(-net, 0.0).sum(axis=0)
    shared: Floats = np.minimum(demand, surplus)
    return shared


def imported(net_kwh: ArrayLike) -> float | None:
    """Energy taken from outside, sum max(N, 0), kWh; None without a known slot.

    Examples
    --------
    >>> imported([1.0, -2.0, float("nan")])
    1.0
    >>> imported([float("nan")]) is None
    True
    """
    net = _known(net_kwh)
    return float(np.maximum(net, 0.0).sum()) if net.size else None


def exported(net_kwh: ArrayLike) -> float | None:
    """Energy given to the outside, sum max(-N, 0), kWh; None without a known slot."""
    return imported(-_floats(net_kwh))


def self_sufficiency(net_kwh: ArrayLike, load_kwh: ArrayLike) -> float | None:
    """Share of the load that is not imported, 1 - sum max(N, 0) / sum load [1]_.

    Parameters
    ----------
    net_kwh
        N of the community per slot.
    load_kwh
        Its load, of any shape.

    Examples
    --------
    >>> self_sufficiency([1.0, -2.0], [3.0, 1.0])
    0.75
    >>> self_sufficiency([0.0], [0.0]) is None
    True
    """
    return remaining_share(imported(net_kwh), _floats(load_kwh).sum())


def self_consumption(net_kwh: ArrayLike, generation_kwh: ArrayLike) -> float | None:
    """Share of the generation that is not exported, 1 - sum max(-N, 0) / sum generation."""
    return remaining_share(exported(net_kwh), _floats(generation_kwh).sum())


def remaining_share(part: float | None, whole: float | None) -> float | None:
    """Share that is left of a whole, 1 - part / whole; None unless the whole is above 0.

    Self-sufficiency from an import and a load, self-consumption from an export and a generation,
    where only sums over the slots are at hand.

    Examples
    --------
    >>> remaining_share(1.0, 4.0)
    0.75
    >>> remaining_share(1.0, 0.0) is None
    True
    """
    if part is None or whole is None:
        return None
    taken = _ratio(part, whole)
    return None if taken is None else 1.0 - taken


def peak(net_kw: ArrayLike) -> float | None:
    """Highest import, max_t max(N, 0), kW; 0 for who only exports, None without a known slot."""
    net = _known(net_kw)
    return float(max(net.max(), 0.0)) if net.size else None


def reduction(value: float | None, reference: float | None) -> float | None:
    """Reduction against a reference, 1 - value / reference; None unless that is above 0.

    Examples
    --------
    >>> reduction(75.0, 100.0)
    0.25
    """
    return remaining_share(value, reference)


def peak_to_average_ratio(net_kwh: ArrayLike) -> float | None:
    """Peak over mean of the net demand, max N / mean N; None unless the mean is an import."""
    net = _known(net_kwh)
    return peak_over_mean(net.max(), net.mean()) if net.size else None


def peak_over_mean(highest: float, mean: float) -> float | None:
    """Peak over mean, max N / mean N, where only these two are at hand; None if the mean is <= 0.

    Examples
    --------
    >>> peak_over_mean(3.0, 2.0)
    1.5
    """
    return _ratio(highest, mean)


def share_ratio(shared_kwh: ArrayLike, load_kwh: ArrayLike) -> float | None:
    """Shared energy over load, sum T / sum load."""
    return _ratio(_floats(shared_kwh).sum(), _floats(load_kwh).sum())


def loss_ratio(loss_kwh: float, imports_kwh: float, generation_kwh: float) -> float | None:
    """Losses over what enters the network, loss / (imports + generation)."""
    return _ratio(loss_kwh, imports_kwh + generation_kwh)


def voltage_violation_rate(
    vm_pu: ArrayLike, vm_min_pu: ArrayLike, vm_max_pu: ArrayLike
) -> float | None:
    """Share of the known bus-slots whose voltage is outside its limits.

    The limits may be numbers or arrays that broadcast against the voltages; a voltage on its
    limit is inside, an unknown one (NaN) does not count.
    """
    voltage = _floats(vm_pu)
    outside = (voltage < _floats(vm_min_pu)) | (voltage > _floats(vm_max_pu))
    return violation_share(int(outside.sum()), int((~np.isnan(voltage)).sum()))


def violation_share(outside: int, known: int) -> float | None:
    """Bus-slots outside their limits over all that are known; None if none is.

    Examples
    --------
    >>> violation_share(1, 4)
    0.25
    """
    return _ratio(outside, known)


def voltage_violation_depth_pu(
    vm_pu: ArrayLike, vm_min_pu: ArrayLike, vm_max_pu: ArrayLike
) -> float | None:
    """Largest distance of a voltage to its limits, pu; 0 if all are inside, None if unknown."""
    voltage = _floats(vm_pu)
    depth = _known(np.maximum(_floats(vm_min_pu) - voltage, voltage - _floats(vm_max_pu)))
    return float(max(depth.max(), 0.0)) if depth.size else None


def overload_hours(
    loading_percent: ArrayLike, limit_percent: ArrayLike, slot_hours: float
) -> float | None:
    """Hours that elements are above their loading limit, summed over the elements.

    None without an element whose loading is known.
    """
    loading = _floats(loading_percent)
    if np.isnan(loading).all():
        return None
    return float((loading > _floats(limit_percent)).sum() * slot_hours)


def welfare(value_eur: ArrayLike, cost_eur: ArrayLike) -> float:
    """Value of the energy to the buyers less its cost to the sellers, EUR."""
    return float(_floats(value_eur).sum() - _floats(cost_eur).sum())


def saving(no_trading_bill_eur: ArrayLike, bill_eur: ArrayLike) -> Floats:
    """Give the saving of each agent, EUR: its bill without trading less its bill."""
    saved: Floats = _floats(no_trading_bill_eur) - _floats(bill_eur)
    return saved


def relative_change(value: float, reference: float) -> float | None:
    """Change over a reference, value / reference - 1; None unless that is above 0.

    Examples
    --------
    >>> relative_change(110.0, 100.0), relative_change(1.0, 0.0)
    (0.1, None)
    """
    return _ratio(value - reference, reference)


def percentile(values: ArrayLike, percent: float) -> float | None:
    """Percentile of the known values, between two of them linearly; None where none is known.

    Examples
    --------
    >>> percentile([0.0, 10.0, float("nan")], 90.0)
    9.0
    """
    known = _known(values)
    return float(np.percentile(known, percent)) if known.size else None


def jain(values: ArrayLike) -> float | None:
    """Jain's index of equality, (sum x)^2 / (n sum x^2); 1 if all are zero [2]_.

    Examples
    --------
    >>> jain([1.0, 1.0]), jain([1.0, 0.0]), jain([0.0, 0.0])
    (1.0, 0.5, 1.0)
    """
    x = _floats(values)
    if not x.size:
        return None
    if not x.any():
        return 1.0
    scaled = x / np.abs(x).max()
    return float(scaled.sum() ** 2 / (x.size * np.square(scaled).sum()))


def quality_of_experience(prices: ArrayLike, low: float, high: float) -> float | None:
    """Fairness of unit prices, 1 - 2 sigma / (H - L), with the population sigma [3]_.

    [L, H] is the range that the prices may have.
    """
    x = _floats(prices)
    if not x.size or not high > low:
        return None
    return float(1.0 - 2.0 * x.std() / (high - low))


def min_max_ratio(values: ArrayLike) -> float | None:
    """Smallest over largest value, min x / max x, of e.g. unit prices [5]_."""
    x = _floats(values)
    return _ratio(x.min(), x.max()) if x.size else None


def gini(values: ArrayLike) -> float | None:
    """Gini coefficient, sum_ij |x_i - x_j| / (2 n^2 mean); None if any x < 0 or the mean is 0 [4]_.

    Computed from the sorted values, sum_i (2 i - n - 1) x_i / (n sum x) with i = 1..n.

    Examples
    --------
    >>> gini([1.0, 1.0]), gini([0.0, 1.0]), gini([-1.0, 2.0])
    (0.0, 0.5, None)
    """
    x = np.sort(_floats(values))
    if not x.size or x[0] < 0.0 or x[-1] == 0.0:
        return None
    shares = x / x[-1]
    weights = 2.0 * np.arange(1, x.size + 1) - x.size - 1.0
    return float(max(weights @ shares, 0.0) / (x.size * shares.sum()))


def equality(values: ArrayLike) -> float | None:
    """Equality of e.g. savings, 1 - Gini [1]_."""
    inequality = gini(values)
    return None if inequality is None else 1.0 - inequality


def offered_energy(
    traded_kwh: float, residual_kwh: float, unsold_kwh: float, unserved_kwh: float
) -> float:
    """Energy brought to a market, traded + (residual + unsold + unserved) / 2, kWh.

    It is the mean of what is offered for sale and what is asked for: each traded kWh is one of
    both, while what is handed on, left over or not served is one of either.

    Examples
    --------
    >>> offered_energy(3.0, 1.0, 1.0, 0.0)
    4.0
    """
    return traded_kwh + 0.5 * (residual_kwh + unsold_kwh + unserved_kwh)


def liquidity(traded_kwh: float, offered_kwh: float) -> float | None:
    """Traded over offered energy."""
    return _ratio(traded_kwh, offered_kwh)


def unit_price(paid_eur: float, bought_kwh: float) -> float | None:
    """Price of a kWh, all in: what is paid over the energy bought, EUR/kWh; None if none is.

    Examples
    --------
    >>> unit_price(3.0, 10.0)
    0.3
    """
    return _ratio(paid_eur, bought_kwh)


def mean_price(price: ArrayLike) -> float | None:
    """Mean of a price over its known slots, EUR/kWh."""
    known = _known(price)
    return float(known.mean()) if known.size else None


def price_band(price: ArrayLike) -> float | None:
    """Strength of a price signal: its highest less its lowest value, EUR/kWh."""
    known = _known(price)
    return float(known.max() - known.min()) if known.size else None


def price_of_trades(traded_kwh: ArrayLike, price: ArrayLike) -> float | None:
    """Mean price weighted by the traded energy, sum E p / sum E, EUR/kWh; None without trade.

    Examples
    --------
    >>> round(price_of_trades([1.0, 3.0], [0.2, 0.1]), 3)
    0.125
    """
    energy, prices = _floats(traded_kwh), _floats(price)
    traded = np.where(np.isnan(prices), 0.0, np.nan_to_num(energy))
    return _ratio(float(traded @ np.nan_to_num(prices)), traded.sum())


def component_share(component_eur: float, total_eur: float) -> float | None:
    """Share of a component in a bill; None unless the bill is to be paid."""
    return _ratio(component_eur, total_eur)


def share_of(codes: ArrayLike, wanted: Sequence[int]) -> float | None:
    """Share of the slots that carry one of some codes, such as verdicts; None without slots.

    Examples
    --------
    >>> share_of([0, 1, 2, 0], (0, 1))
    0.75
    """
    told = np.asarray(codes)
    return float(np.isin(told, wanted).mean()) if told.size else None


def welfare_share(gain_eur: float, optimal_gain_eur: float) -> float | None:
    """Gain from trade over that in the joint optimum of the same orders.

    1 where all clear jointly (the optimum is then NaN), None where there was nothing to gain.

    Examples
    --------
    >>> welfare_share(9.0, 10.0), welfare_share(float("nan"), float("nan"))
    (0.9, 1.0)
    """
    return 1.0 if np.isnan(optimal_gain_eur) else _ratio(gain_eur, optimal_gain_eur)


def settled_savings(saving_eur: ArrayLike, bill_eur: ArrayLike, tolerance: float = 1e-9) -> Floats:
    """Take rounding errors out of savings: 0 below 1e-9 EUR and below 1e-9 of the bill.

    The Gini coefficient is undefined where anybody loses; a rounding error is no loss.

    Examples
    --------
    >>> settled_savings([-7e-15, 0.5], [-35.4, 2.0])
    array([0. , 0.5])
    """
    savings = _floats(saving_eur)
    residue = tolerance * np.maximum(np.abs(_floats(bill_eur)), 1.0)
    return np.where(np.abs(savings) <= residue, 0.0, savings)


def share(part: float, whole: float) -> float | None:
    """Part over whole, such as departures of vehicles that lack energy over all; None of nothing.

    Examples
    --------
    >>> share(1.0, 4.0), share(0.0, 0.0)
    (0.25, None)
    """
    return _ratio(part, whole)


def equivalent_full_cycles(energy_kwh: ArrayLike, capacity_kwh: float) -> float | None:
    """Equivalent full cycles of a battery, sum abs(p h) / (2 capacity).

    A full cycle charges the usable capacity once and discharges it once, at the terminals.

    Parameters
    ----------
    energy_kwh
        Energy per slot, positive charges, of any shape.
    capacity_kwh
        Usable capacity of all batteries meant.

    Examples
    --------
    >>> equivalent_full_cycles([5.0, -5.0, 10.0, -10.0], 10.0)
    1.5
    """
    return _ratio(float(np.abs(_known(energy_kwh)).sum()), 2.0 * capacity_kwh)


def storage_losses(energy_kwh: ArrayLike, stored_kwh: ArrayLike) -> float | None:
    """Losses of storage, sum p h less the rise of what is stored, kWh; None with less than 2 slots.

    What is stored is known at the start of each slot, so the last slot does not count.

    Parameters
    ----------
    energy_kwh, stored_kwh
        Energy taken in each slot and stored at its start, shape (slots, batteries).

    Examples
    --------
    >>> round(storage_losses([[1.0], [-0.8], [0.0]], [[0.0], [0.9], [0.0]]), 6)
    0.2
    """
    energy, stored = _floats(energy_kwh), _floats(stored_kwh)
    if len(stored) < 2:
        return None
    return float(energy[:-1].sum() - (stored[-1] - stored[0]).sum())


def charge_recovery(revenue_eur: float, cost_eur: float) -> float | None:
    """Network charges collected over the network cost to recover."""
    return _ratio(revenue_eur, cost_eur)


def system_strength(short_circuit_mva: float, inverter_mva: ArrayLike) -> float | None:
    """Short-circuit power over the rated power of all inverters."""
    return _ratio(short_circuit_mva, _floats(inverter_mva).sum())


def value_tapping(
    cost_eur: float, cost_no_trading_eur: float, cost_optimal_eur: float
) -> float | None:
    """Share of the possible saving that was made, (C_A1 - C) / (C_A1 - C_opt) [1]_."""
    return _ratio(cost_no_trading_eur - cost_eur, cost_no_trading_eur - cost_optimal_eur)


def willingness(savings_eur: ArrayLike, tolerance_eur: float = 1e-9) -> float | None:
    """Share of the agents with a saving above zero [1]_."""
    savings = _floats(savings_eur)
    return float((savings > tolerance_eur).mean()) if savings.size else None


def energy_balance(net_kwh: ArrayLike) -> float | None:
    """Balance inside the community, 1 - sum |N| / sum |n|, from n (agents, slots) [1]_."""
    net = _floats(net_kwh)
    return balanced_share(np.abs(net.sum(axis=0)).sum(), np.abs(net).sum())


def balanced_share(together_kwh: float, apart_kwh: float) -> float | None:
    """Energy balance from its two sums, 1 - sum |N| / sum |n|; None where nobody has any n.

    Examples
    --------
    >>> balanced_share(1.0, 5.0)
    0.8
    """
    return remaining_share(together_kwh, apart_kwh)


def flatness(net_kwh: ArrayLike) -> float | None:
    """Flatness of the exchange with the grid, mean |N| / max |N| [1]_."""
    net = np.abs(_known(net_kwh))
    return _ratio(net.mean(), net.max()) if net.size else None


def overall(
    figures: Mapping[str, float | None], weights: Mapping[str, float] | None = None
) -> float | None:
    """Weighted mean of key figures, equal weights by default [1]_.

    None if one of the figures is undefined: leaving it out would make runs incomparable.

    Examples
    --------
    >>> overall({"equality": 0.5, "flatness": 1.0})
    0.75
    """
    if not figures:
        return None
    shares = weights or dict.fromkeys(figures, 1.0)
    total = 0.0
    for name, value in figures.items():
        if value is None:
            return None
        total += shares[name] * value
    return _ratio(total, sum(shares[name] for name in figures))
