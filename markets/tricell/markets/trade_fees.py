"""Fees on given trades that recover a cost: a unit fee times distance times energy.

With the energy ``q_k`` of each trade and the distance ``d_k`` it travels (`trade_paths`)::

    u = min((K - rent) / sum_k d_k q_k, u_max)      fee_k = u d_k q_k, half of it from either side
    recovered G = sum_k fee_k                       residual per agent = (K - rent - G) / N

What a cap or idle trades leave is a fixed charge; a posted fee that brings more than the cost
makes it negative, which returns the rest. The rent that nodal prices bring is deducted first, so
that no cost is charged twice. Where no trade travels any distance there is no unit fee.

Source: Baroche, Pinson, Le Goff Latimier and Ben Ahmed 2019, Exogenous cost allocation in
peer-to-peer electricity markets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tricell.errors import MarketError

Floats = NDArray[np.float64]

FEE_STEP = 1.05
"""Factor from one tried unit fee to the next while one that recovers the cost is searched."""
MOST_STEPS = 600
"""Steps up to 5e12 times the fee without any response."""
MOST_BISECTIONS = 200
RECOVERY_TOLERANCE = 1e-9
"""Largest part of the cost by which a unit fee may miss it."""


@dataclass(frozen=True)
class TradeFees:
    """Fees of K trades.

    Attributes
    ----------
    unit_fee : EUR per kWh and unit of distance; None where no trade travels.
    fee_eur : fee of every trade, half of it paid by either side, shape (K,).
    recovered_eur : sum of the fees.
    residual_eur_per_agent : what remains of the cost, as a fixed charge.
    """

    unit_fee: float | None
    fee_eur: Floats
    recovered_eur: float
    residual_eur_per_agent: float

    @property
    def per_side_eur(self) -> Floats:
        """What the buyer pays of every trade's fee, and the seller as much."""
        return np.asarray(0.5 * self.fee_eur)


def recover_cost(
    cost_eur: float,
    distance: Floats,
    energy_kwh: Floats,
    n_agents: int,
    *,
    unit_fee: float | None = None,
    u_max: float = np.inf,
    rent_eur: float = 0.0,
) -> TradeFees:
    """Return the fees by which trades recover a cost.

    Parameters
    ----------
    cost_eur : what is to be recovered, EUR.
    distance : that every trade travels, shape (K,).
    energy_kwh : of every trade, at least 0, kWh, shape (K,).
    n_agents : agents that share what fees do not recover.
    unit_fee : fee that was posted beforehand, EUR per kWh and unit of distance; None for the
        one that recovers the cost.
    u_max : largest unit fee.
    rent_eur : congestion rent that the network operator has already, EUR.

    Raises
    ------
    MarketError
        If a distance or energy is negative or no number, or there is no agent.

    Examples
    --------
    >>> fees = recover_cost(0.3, np.array([1.0, 3.0]), np.array([4.0, 2.0]), 3)
    >>> round(fees.unit_fee, 6), fees.fee_eur.round(6).tolist()
    (0.03, [0.12, 0.18])
    """
    travelled = _travelled(distance, energy_kwh)
    if n_agents < 1:
        raise MarketError(f"{n_agents} agents share a cost of {cost_eur} EUR; at least 1 must")
    wanted = cost_eur - rent_eur
    total = float(travelled.sum())
    unit = unit_fee if unit_fee is not None or total == 0.0 else wanted / total
    if len(energy_kwh) == 0:
        unit = None
    if unit is not None:
        unit = min(unit, u_max)
    fee = travelled * (unit or 0.0)
    recovered = float(fee.sum())
    return TradeFees(unit, fee, recovered, (wanted - recovered) / n_agents)


def unit_fee_with_response(
    cost_eur: float, distance: Floats, respond: Callable[[float], Floats]
) -> float:
    """Return the smallest unit fee that recovers a cost from trades that respond to it.

    Fees are tried upwards from the one that would do if nobody responded, then the first interval
    that recovers the cost is halved.

    Parameters
    ----------
    cost_eur : what is to be recovered, at least 0, EUR.
    distance : that every trade travels, shape (K,).
    respond : energy of every trade at a unit fee, kWh, shape (K,).

    Raises
    ------
    MarketError
        If no unit fee recovers the cost; the message states the most that one brings.

    Examples
    --------
    >>> fee = unit_fee_with_response(0.9, np.array([1.0]), lambda u: np.array([10.0 - 10.0 * u]))
    >>> round(fee, 9)
    0.1
    """

    def revenue(unit: float) -> float:
        return unit * float(_travelled(distance, respond(unit)).sum())

    if cost_eur == 0.0:
        return 0.0
    idle = float(_travelled(distance, respond(0.0)).sum())
    low, high = _bracket(cost_eur, idle, revenue)
    for _ in range(MOST_BISECTIONS):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        low, high = (low, middle) if revenue(middle) >= cost_eur else (middle, high)
    if revenue(high) - cost_eur > RECOVERY_TOLERANCE * cost_eur:
        raise MarketError(
            f"no unit fee recovers exactly {cost_eur:.6g} EUR: at {high:.6g} the trades change so "
            f"abruptly that revenue jumps from {revenue(low):.6g} to {revenue(high):.6g} EUR. "
            "Take that fee and settle the difference as a fixed charge."
        )
    return high


def _bracket(cost: float, idle: float, revenue: Callable[[float], float]) -> tuple[float, float]:
    """Return two unit fees, the first too low, the second high enough."""
    most = 0.0
    if idle > 0.0:
        low, high = 0.0, cost / idle
        for _ in range(MOST_STEPS):
            now = revenue(high)
            if now >= cost:
                return low, high
            most = max(most, now)
            if now <= 0.0:
                break
            low, high = high, high * FEE_STEP
    raise MarketError(
        f"no unit fee recovers {cost:.6g} EUR: trades give way, and the most that one brings is "
        f"{most:.6g} EUR. Recover the rest by a fixed charge (a largest fee u_max), or lower the "
        "cost."
    )


def _travelled(distance: Floats, energy_kwh: Floats) -> Floats:
    """Return distance times energy of every trade, after a check of both."""
    for name, values in (("distance", distance), ("energy", energy_kwh)):
        wrong = np.flatnonzero(~((values >= 0.0) & np.isfinite(values)))
        if len(wrong):
            raise MarketError(
                f"{name} of trade {wrong[0]} is {values[wrong[0]]}; allowed is a finite number of "
                "at least 0"
            )
    return np.asarray(distance * energy_kwh)
