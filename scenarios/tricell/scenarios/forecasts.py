"""The sections `forecasts` and `imbalance` of a scenario, and what a run makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from tricell.markets.forecast_error import ErrorModel
from tricell.markets.imbalance import ImbalanceScheme, ImbalanceTerms
from tricell.scenarios.section import Section
from tricell.simulators.population import FloatArray, Population
from tricell.simulators.power_forecast import (
    Ar1Forecast,
    PersistenceForecast,
    PowerForecast,
    RunSlots,
    Source,
)

if TYPE_CHECKING:
    from tricell.scenarios.schema import Scenario

Sigma = Annotated[float, Field(ge=0, le=1)]
"""Standard deviation of a relative error, 0.2 for 20 %; 20 is a mistake, not 2000 %."""


class PerfectForecasts(Section):
    """Orders are placed knowing what the slot will bring."""

    kind: Literal["perfect"] = "perfect"


class PersistenceForecasts(Section):
    """Orders are placed as if the slot were like that of the day before."""

    kind: Literal["persistence"] = "persistence"


class ErrorsBySource(Section):
    """Standard deviation of the relative forecast error, by kind of load or plant; 0.2 is 20 %."""

    load: Sigma = 0.0
    """Of households and firms without chargers and heat pumps (0)."""
    ev: Sigma = 0.0
    """Of chargers that follow a profile (0)."""
    heat_pump: Sigma = 0.0
    """Of heat pumps that follow a profile (0)."""
    pv: Sigma = 0.0
    """Of PV plants (0)."""
    wind: Sigma = 0.0
    """Of wind turbines (0)."""
    other: Sigma = 0.0
    """Of all other plants (0)."""


class Ar1Forecasts(Section):
    """Orders are placed on forecasts that miss by an AR(1) process, drawn by the seed."""

    kind: Literal["ar1"] = "ar1"
    sigma: ErrorsBySource
    """Standard deviation of the relative error, by kind of load or plant."""
    correlation: Annotated[float, Field(gt=-1, lt=1)] = 0.9
    """Correlation of the errors of neighbouring slots, between -1 and 1 (0.9)."""


Forecasts = Annotated[
    PerfectForecasts | PersistenceForecasts | Ar1Forecasts, Field(discriminator="kind")
]


class FixedImbalancePrice(Section):
    """The same price of a deviation in every slot."""

    kind: Literal["fixed"] = "fixed"
    price_eur_per_kwh: float
    """Price, EUR/kWh."""


class WholesaleImbalancePrice(Section):
    """A price of deviations that follows the wholesale price."""

    kind: Literal["wholesale"] = "wholesale"
    factor: float = 1.0
    """Multiple of the wholesale price (1)."""


class DualImbalance(Section):
    """Energy too much costs the retail price, energy too little earns the feed-in price."""

    kind: Literal["dual"] = "dual"


class SingleImbalance(Section):
    """Deviations of either sign are settled at one price."""

    kind: Literal["single"] = "single"
    price: Annotated[FixedImbalancePrice | WholesaleImbalancePrice, Field(discriminator="kind")]
    """The price of a deviation."""


class SharedImbalance(Section):
    """Deviations cost the price of the own area; what they cost beyond is shared equally."""

    kind: Literal["ucs"] = "ucs"


Imbalance = Annotated[
    DualImbalance | SingleImbalance | SharedImbalance, Field(discriminator="kind")
]


def build_forecast(scenario: Scenario, population: Population) -> PowerForecast:
    """Return the forecasts of a scenario's participants.

    Forecasts whose errors are all zero are perfect ones.

    Raises
    ------
    DataError
        If the profiles do not cover the scenario, or are too short for a kind of forecasts.
    """
    time, wanted = scenario.time, scenario.forecasts
    first_row = population.profiles.first_row(time.start_utc, time.slots, time.step_s)
    run = RunSlots(first_row, time.slots, 86_400 // time.step_s)
    match wanted:
        case PersistenceForecasts():
            return PersistenceForecast(population, run)
        case Ar1Forecasts() if has_errors(wanted):
            models = {
                source: ErrorModel(getattr(wanted.sigma, source.value), wanted.correlation)
                for source in Source
            }
            return Ar1Forecast(population, run, models, scenario.seed)
        case _:
            return PowerForecast(population, run)


def has_errors(forecasts: PerfectForecasts | PersistenceForecasts | Ar1Forecasts) -> bool:
    """Return whether forecasts can differ from what comes."""
    match forecasts:
        case PersistenceForecasts():
            return True
        case Ar1Forecasts():
            return any(getattr(forecasts.sigma, source.value) > 0.0 for source in Source)
        case _:
            return False


def imbalance_terms(scenario: Scenario, wholesale: FloatArray) -> ImbalanceTerms | None:
    """Return how deviations are settled; None where forecasts are perfect.

    Parameters
    ----------
    scenario : the scenario.
    wholesale : price of every slot, EUR/kWh, shape (slots,).
    """
    if not has_errors(scenario.forecasts):
        return None
    wanted = scenario.imbalance
    scheme = ImbalanceScheme(wanted.kind)
    if not isinstance(wanted, SingleImbalance):
        return ImbalanceTerms(scheme)
    if isinstance(wanted.price, FixedImbalancePrice):
        return ImbalanceTerms(scheme, np.full(len(wholesale), wanted.price.price_eur_per_kwh))
    return ImbalanceTerms(scheme, wanted.price.factor * wholesale)
