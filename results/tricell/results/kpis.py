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

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole > 0.0 else None


def _floats(values: ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)


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
    imported = _ratio(np.maximum(_floats(net_kwh), 0.0).sum(), _floats(load_kwh).sum())
    return None if imported is None else 1.0 - imported


def self_consumption(net_kwh: ArrayLike, generation_kwh: ArrayLike) -> float | None:
    """Share of the generation that is not exported, 1 - sum max(-N, 0) / sum generation."""
    exported = _ratio(np.maximum(-_floats(net_kwh), 0.0).sum(), _floats(generation_kwh).sum())
    return None if exported is None else 1.0 - exported


def peak_to_average_ratio(net_kwh: ArrayLike) -> float | None:
    """Peak over mean of the net demand, max N / mean N; None unless the mean is an import."""
    net = _floats(net_kwh)
    return _ratio(net.max(), net.mean()) if net.size else None


def share_ratio(shared_kwh: ArrayLike, load_kwh: ArrayLike) -> float | None:
    """Shared energy over load, sum T / sum load."""
    return _ratio(_floats(shared_kwh).sum(), _floats(load_kwh).sum())


def loss_ratio(loss_kwh: float, imports_kwh: float, generation_kwh: float) -> float | None:
    """Losses over what enters the network, loss / (imports + generation)."""
    return _ratio(loss_kwh, imports_kwh + generation_kwh)


def voltage_violation_rate(
    vm_pu: ArrayLike, vm_min_pu: ArrayLike, vm_max_pu: ArrayLike
) -> float | None:
    """Share of the bus-slots whose voltage is outside its limits.

    The limits may be numbers or arrays that broadcast against the voltages; a voltage on its
    limit is inside.
    """
    voltage = _floats(vm_pu)
    outside = (voltage < _floats(vm_min_pu)) | (voltage > _floats(vm_max_pu))
    return float(outside.mean()) if voltage.size else None


def voltage_violation_depth_pu(
    vm_pu: ArrayLike, vm_min_pu: ArrayLike, vm_max_pu: ArrayLike
) -> float | None:
    """Largest distance of a voltage to its limits, pu; 0 if all are inside."""
    voltage = _floats(vm_pu)
    depth = np.maximum(_floats(vm_min_pu) - voltage, voltage - _floats(vm_max_pu))
    return float(np.maximum(depth, 0.0).max()) if voltage.size else None


def overload_hours(
    loading_percent: ArrayLike, limit_percent: ArrayLike, slot_hours: float
) -> float:
    """Hours that elements are above their loading limit, summed over the elements."""
    return float((_floats(loading_percent) > _floats(limit_percent)).sum() * slot_hours)


def welfare(value_eur: ArrayLike, cost_eur: ArrayLike) -> float:
    """Value of the energy to the buyers less its cost to the sellers, EUR."""
    return float(_floats(value_eur).sum() - _floats(cost_eur).sum())


def saving(no_trading_bill_eur: ArrayLike, bill_eur: ArrayLike) -> Floats:
    """Give the saving of each agent, EUR: its bill without trading less its bill."""
    saved: Floats = _floats(no_trading_bill_eur) - _floats(bill_eur)
    return saved


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


def liquidity(traded_kwh: float, offered_kwh: float) -> float | None:
    """Traded over offered energy."""
    return _ratio(traded_kwh, offered_kwh)


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
    unbalanced = _ratio(np.abs(net.sum(axis=0)).sum(), np.abs(net).sum())
    return None if unbalanced is None else 1.0 - unbalanced


def flatness(net_kwh: ArrayLike) -> float | None:
    """Flatness of the exchange with the grid, mean |N| / max |N| [1]_."""
    net = np.abs(_floats(net_kwh))
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
