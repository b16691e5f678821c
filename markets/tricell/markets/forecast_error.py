"""Forecasts that miss: relative errors with a memory, yesterday as forecast, and how good they are.

The error of agent n in slot t, relative to the forecast f, is a stationary process::

    actual_t = f_t (1 + eps_t)
    eps_0 = sigma z_0,   eps_t = rho eps_(t-1) + sigma sqrt(1 - rho^2) z_t,   z ~ N(0, 1)

so that every ``eps_t`` has the standard deviation sigma, and neighbours the correlation rho. Each
kind of load and plant has errors of its own; errors of different agents are independent.

Where a forecast is given, `actual_from_forecast` makes the actual energy. Where meters or profiles
are the truth, `forecast_from_actual` turns the relation round and makes the forecast that
misses them by ``eps``: ``f = actual / (1 + eps)``. The factor ``1 + eps`` is never taken below
`LEAST_FACTOR`, both ways: a load stays a load, and a forecast stays finite. At sigma = 0.3 this
meets one slot in 740, at 0.2 three in a million. Turned round, forecasts are high on average, by
about ``sigma^2`` of the actual energy, as the mean of ``1 / (1 + eps)`` is above 1.

A forecast without error is `PERFECT`, sigma = 0: bit for bit the actual energy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from tricell.errors import MarketError
from tricell.markets.random_streams import AgentSlots, uniforms

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

LEAST_FACTOR = 0.1
"""Least value of 1 + eps: actual energy is at least this share of its forecast."""
_SLOTS_AT_ONCE = 4096
"""Slots computed at a time on the way to a block that starts late; bounds the memory."""


@dataclass(frozen=True)
class ErrorModel:
    """Relative error of the forecasts of one kind of load or plant.

    Attributes
    ----------
    sigma : standard deviation of the relative error, at least 0.
    correlation : rho, of the errors of neighbouring slots, between -1 and 1, both excluded.
    """

    sigma: float
    correlation: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values for which the process does not exist."""
        if not (self.sigma >= 0.0 and isfinite(self.sigma)):
            raise MarketError(
                f"forecast error: sigma is {self.sigma:g}; allowed is a number of at least 0, such "
                "as 0.2 for 20 %"
            )
        if not -1.0 < self.correlation < 1.0:
            raise MarketError(
                f"forecast error: correlation is {self.correlation:g}; allowed is a number between "
                "-1 and 1, both excluded"
            )


PERFECT = ErrorModel(sigma=0.0)
"""Forecasts without error."""


def relative_errors(
    model: ErrorModel, seed: int, source: str, block: AgentSlots, before: Floats | None = None
) -> Floats:
    """Return the relative errors of a block of slots, shape (slots, agents).

    An agent's error in a slot is the same bits whichever block and whichever other agents are
    asked for.

    Parameters
    ----------
    model : of the source.
    seed : of the run, at least 0.
    source : kind of load or plant, such as ``load``, ``pv``, ``ev``, ``heat_pump``; each has
        errors of its own.
    block : for whom and when; the process starts in slot 0.
    before : errors of the slot before the block, shape (agents,), where they are known; else they
        are computed from slot 0 on.

    Raises
    ------
    MarketError
        If the seed is negative.

    Examples
    --------
    >>> model = ErrorModel(sigma=0.2, correlation=0.9)
    >>> day = relative_errors(model, 1, "load", AgentSlots([0, 1], 0, 96))
    >>> later = relative_errors(model, 1, "load", AgentSlots([1], 50, 4))
    >>> bool((later == day[50:54, 1:]).all())
    True
    """
    last = before
    if before is None:
        for start in range(0, block.first_slot, _SLOTS_AT_ONCE):
            count = min(_SLOTS_AT_ONCE, block.first_slot - start)
            part = AgentSlots(block.agents, start, count)
            last = _errors(model, _normals(seed, source, part), last)[-1]
    return _errors(model, _normals(seed, source, block), last)


def _normals(seed: int, source: str, block: AgentSlots) -> Floats:
    """Draw standard normal numbers, shape (slots, agents)."""
    return np.asarray(ndtri(uniforms(seed, f"forecast error of {source}", block)))


def _errors(model: ErrorModel, normal: Floats, before: Floats | None) -> Floats:
    """Return the errors of a block from its normal numbers and the errors of the slot before."""
    error = np.empty(normal.shape)
    news = model.sigma * sqrt(1.0 - model.correlation**2)
    last = before
    for slot, drawn in enumerate(normal):
        error[slot] = (
            model.sigma * drawn if last is None else model.correlation * last + news * drawn
        )
        last = error[slot]
    return error


def actual_from_forecast(forecast_kwh: Floats, relative_error: Floats) -> Floats:
    """Return the energy that comes where a forecast is given, ``f (1 + eps)``, same shape."""
    return np.asarray(forecast_kwh * np.maximum(1.0 + relative_error, LEAST_FACTOR))


def forecast_from_actual(actual_kwh: Floats, relative_error: Floats) -> Floats:
    """Return the forecast that misses a given actual energy, ``actual / (1 + eps)``, same shape."""
    return np.asarray(actual_kwh / np.maximum(1.0 + relative_error, LEAST_FACTOR))


def persistence(
    actual_kwh: Floats, slots_per_day: int, day_before_kwh: Floats | None = None
) -> Floats:
    """Return yesterday's energy of the same slot as the forecast, shape (T, N).

    Slots are counted in hours passed: on the days when clocks change, yesterday's slot is the one
    24 h before.

    Parameters
    ----------
    actual_kwh : shape (T, N).
    slots_per_day : 96 for slots of 15 min.
    day_before_kwh : the day before the first, shape (slots_per_day, N); without it the first day
        has no forecast, which is NaN.

    Raises
    ------
    MarketError
        If a day has no slot, or the day before is not one day of the same agents.

    Examples
    --------
    >>> persistence(np.array([[1.0], [2.0], [3.0]]), slots_per_day=2).ravel().tolist()
    [nan, nan, 1.0]
    """
    if slots_per_day < 1:
        raise MarketError(f"persistence: slots_per_day is {slots_per_day}; allowed is at least 1")
    day = (slots_per_day, *actual_kwh.shape[1:])
    before = np.full(day, np.nan) if day_before_kwh is None else day_before_kwh
    if before.shape != day:
        raise MarketError(f"persistence: day_before_kwh has shape {before.shape}; allowed is {day}")
    return np.concatenate([before, actual_kwh])[: len(actual_kwh)]


# --- how good a forecast was ---


def mean_absolute_error(actual_kwh: ArrayLike, forecast_kwh: ArrayLike) -> float | None:
    """Return ``mean |actual - forecast|``, kWh per value (MAE).

    Values without a forecast or without a reading (NaN) are left out; None if none are left.

    Examples
    --------
    >>> mean_absolute_error([1.0, 3.0], [2.0, 3.0])
    0.5
    """
    actual, forecast = _pairs(actual_kwh, forecast_kwh)
    return float(np.abs(actual - forecast).mean()) if len(actual) else None


def weighted_absolute_error(actual_kwh: ArrayLike, forecast_kwh: ArrayLike) -> float | None:
    """Return ``sum |actual - forecast| / sum |actual|`` (WAPE).

    Values without a forecast or without a reading (NaN) are left out; None if there is no actual
    energy.

    Examples
    --------
    >>> weighted_absolute_error([-3.5, 1.0, 2.5, 2.0], [-4.0, 1.0, 2.0, 2.0])
    0.1111111111111111
    """
    actual, forecast = _pairs(actual_kwh, forecast_kwh)
    whole = float(np.abs(actual).sum())
    return float(np.abs(actual - forecast).sum()) / whole if whole > 0.0 else None


def _pairs(actual_kwh: ArrayLike, forecast_kwh: ArrayLike) -> tuple[Floats, Floats]:
    actual = np.asarray(actual_kwh, dtype=np.float64).reshape(-1)
    forecast = np.asarray(forecast_kwh, dtype=np.float64).reshape(-1)
    if len(actual) != len(forecast):
        raise MarketError(
            f"forecast error: {len(actual)} actual values and {len(forecast)} forecasts; allowed "
            "is one forecast for each"
        )
    known = ~(np.isnan(actual) | np.isnan(forecast))
    return actual[known], forecast[known]


@dataclass(frozen=True)
class AreaAccuracy:
    """How good the forecasts of one area were; None where undefined.

    Attributes
    ----------
    mae_kwh, wape : of the area's net energy, in which errors of members cancel; what its balancing
        party meets.
    member_mae_kwh, member_wape : of its members one by one.
    """

    mae_kwh: float | None
    wape: float | None
    member_mae_kwh: float | None
    member_wape: float | None


def accuracy_of_areas(
    actual_kwh: Floats, forecast_kwh: Floats, area_of_agent: Indices, areas: int
) -> list[AreaAccuracy]:
    """Return the accuracy of the forecasts for each area.

    A slot in which one member has no forecast (NaN) has none for the area's net energy.

    Parameters
    ----------
    actual_kwh, forecast_kwh : net energy of each agent, shape (T, N).
    area_of_agent : row of each agent's area, shape (N,).
    areas : number of areas.

    Examples
    --------
    >>> actual, forecast = np.array([[1.0, 2.0]]), np.array([[2.0, 1.0]])
    >>> accuracy_of_areas(actual, forecast, np.array([0, 0]), 2)[0].wape
    0.0
    """
    return [
        _accuracy(actual_kwh[:, own], forecast_kwh[:, own])
        for own in (area_of_agent == area for area in range(areas))
    ]


def _accuracy(actual_kwh: Floats, forecast_kwh: Floats) -> AreaAccuracy:
    if not actual_kwh.shape[1]:
        return AreaAccuracy(None, None, None, None)
    net = actual_kwh.sum(axis=1), forecast_kwh.sum(axis=1)
    return AreaAccuracy(
        mean_absolute_error(*net),
        weighted_absolute_error(*net),
        mean_absolute_error(actual_kwh, forecast_kwh),
        weighted_absolute_error(actual_kwh, forecast_kwh),
    )


class AccuracySums:
    """Adds up, block by block, how far the forecasts of areas that lie in each other miss.

    After all blocks `accuracy` is what `accuracy_of_areas` says of the whole, with every agent a
    member of its own area and of all above it.

    Parameters
    ----------
    within : matrix (N, A), sparse or not: 1 where an agent belongs to an area or to one below it.

    Examples
    --------
    >>> sums = AccuracySums(np.array([[1.0], [1.0]]))
    >>> sums.add(np.array([[1.0, 2.0]]), np.array([[2.0, 1.0]]))
    >>> sums.accuracy()
    [AreaAccuracy(mae_kwh=0.0, wape=0.0, member_mae_kwh=1.0, member_wape=0.6666666666666666)]
    """

    def __init__(self, within: Any) -> None:
        self._within = within
        self._members = np.asarray(within.sum(axis=0)).reshape(-1)
        self._slots = 0
        none = np.zeros(len(self._members))
        self._sums = dict.fromkeys(("missed", "net", "members_missed", "members_net"), none)

    def add(self, actual_kwh: Floats, forecast_kwh: Floats) -> None:
        """Take a block of slots: net energy of each agent, and its forecast, shape (T, N)."""
        missed = forecast_kwh - actual_kwh
        found = {
            "missed": np.abs(missed @ self._within),
            "net": np.abs(actual_kwh @ self._within),
            "members_missed": np.abs(missed) @ self._within,
            "members_net": np.abs(actual_kwh) @ self._within,
        }
        self._sums = {name: self._sums[name] + each.sum(axis=0) for name, each in found.items()}
        self._slots += len(actual_kwh)

    def memory(self) -> dict[str, Any]:
        """Return the sums so far, for `recall`."""
        return {"slots": self._slots, "sums": self._sums}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from what `memory` returned."""
        self._slots, self._sums = int(memory["slots"]), dict(memory["sums"])

    def accuracy(self) -> list[AreaAccuracy]:
        """Return the accuracy of the forecasts for each area."""
        sums, slots = self._sums, self._slots
        return [
            AreaAccuracy(
                _quotient(sums["missed"][area], float(slots) if members else 0.0),
                _quotient(sums["missed"][area], sums["net"][area]),
                _quotient(sums["members_missed"][area], slots * members),
                _quotient(sums["members_missed"][area], sums["members_net"][area]),
            )
            for area, members in enumerate(self._members)
        ]


def _quotient(part: float, whole: float) -> float | None:
    return float(part) / float(whole) if whole > 0.0 else None
