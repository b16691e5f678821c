r"""When to build storage, and the smallest subsidy that has it built today: a real option.

The value V of storage that costs I moves as a geometric Brownian motion with drift alpha and
volatility sigma; money is discounted at rho. Who waits keeps the option to build later, so it is
worth building only once V exceeds a trigger above I::

    beta    = 1/2 - alpha / sigma^2 + sqrt((alpha / sigma^2 - 1/2)^2 + 2 rho / sigma^2)
    build   iff  V >= trigger = beta I / (beta - 1)
    subsidy = max(0, I - V (beta - 1) / beta)           what makes today's V the trigger

Without volatility this is ``beta = rho / alpha`` for a value that grows, and ``trigger = I`` (beta
without bound) for one that does not. If the value grows as fast as money is discounted, or faster,
waiting always pays: there is no trigger, and such rates are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tricell.errors import MarketError
from tricell.markets.mechanism import About

Floats = NDArray[np.float64]

ABOUT = About(
    name="real_option",
    line="when an investor builds storage, and the smallest subsidy that moves it to today",
    source="Chen et al. 2020, Socially optimal storage incentives; Dixit and Pindyck 1994",
)


@dataclass(frozen=True)
class InvestmentOption:
    """When to build; arrays in the common shape of value and cost.

    Attributes
    ----------
    beta : exponent of the option's value, above 1; inf if waiting is worth nothing.
    trigger_eur : value from which on it is built.
    invest_now : whether today's value reaches it.
    subsidy_eur : smallest one that has it built today.
    """

    beta: float
    trigger_eur: Floats
    invest_now: NDArray[np.bool_]
    subsidy_eur: Floats


def value_option(
    value_eur: ArrayLike, cost_eur: ArrayLike, *, drift: float, volatility: float, discount: float
) -> InvestmentOption:
    """Decide when storage is built; see the module.

    Parameters
    ----------
    value_eur, cost_eur : V and I, numbers or arrays, at least 0, EUR.
    drift, discount : alpha and rho, per year; the drift is below the discount rate.
    volatility : sigma, per square root of a year, at least 0.

    Raises
    ------
    MarketError
        If one of them is not allowed.

    Examples
    --------
    >>> option = value_option(150.0, 100.0, drift=0.02, volatility=0.2, discount=0.06)
    >>> round(option.beta, 6), round(float(option.subsidy_eur), 6)
    (1.732051, 36.60254)
    """
    value, cost = np.broadcast_arrays(np.asarray(value_eur, float), np.asarray(cost_eur, float))
    for name, amounts in (("value_eur", value), ("cost_eur", cost)):
        if not (np.isfinite(amounts) & (amounts >= 0.0)).all():
            raise MarketError(f"{name} is {amounts}; allowed are finite numbers of at least 0")
    beta = option_exponent(drift, volatility, discount)
    kept = 1.0 if beta == inf else (beta - 1.0) / beta
    trigger = np.asarray(cost / kept)
    return InvestmentOption(
        beta=beta,
        trigger_eur=trigger,
        invest_now=np.asarray(value >= trigger),
        subsidy_eur=np.asarray(np.maximum(cost - value * kept, 0.0)),
    )


def option_exponent(drift: float, volatility: float, discount: float) -> float:
    """Return beta, the root above 1 of ``sigma^2 b (b - 1) / 2 + alpha b - rho = 0``.

    Raises
    ------
    MarketError
        If the discount rate is not above 0 and above the drift, or the volatility is below 0.

    Examples
    --------
    >>> option_exponent(0.02, 0.0, 0.06)
    3.0
    """
    if not (isfinite(discount) and discount > 0.0):
        raise MarketError(f"discount is {discount}; allowed is a finite number above 0, per year")
    if not (isfinite(drift) and drift < discount):
        raise MarketError(
            f"drift is {drift}; allowed is a finite number below the discount rate of {discount}: "
            "else waiting always pays and storage is never built"
        )
    if not (isfinite(volatility) and volatility >= 0.0):
        raise MarketError(f"volatility is {volatility}; allowed is a finite number of at least 0")
    variance = volatility**2
    steady = drift - 0.5 * variance
    root = sqrt(steady**2 + 2.0 * discount * variance)
    if steady > 0.0:
        return 2.0 * discount / (steady + root)  # The same, without the difference of near numbers.
    return (root - steady) / variance if variance > 0.0 else inf
