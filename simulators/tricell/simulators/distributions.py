"""Distributions that populations of devices are drawn from: data with a unit and a source.

A distribution turns uniform numbers into values (its inverse distribution function), so that it
draws nothing itself: the same uniform number is the same value, whoever else is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import ndtri

from tricell.errors import DataError
from tricell.simulators.population import FloatArray

ASSUMED = "assumed"
"""Source of a number that was chosen, not measured."""


class Distribution(Protocol):
    """What a population is drawn from.

    Attributes
    ----------
    unit, source : str
        Unit of the values and where the numbers come from.
    """

    @property
    def unit(self) -> str:
        """Unit of the values."""
        ...

    @property
    def source(self) -> str:
        """Where the numbers come from."""
        ...

    def at(self, uniform: FloatArray) -> FloatArray:
        """Return the values at uniform numbers between 0 and 1, of the same shape."""
        ...


@dataclass(frozen=True)
class Normal:
    """Normal distribution, cut at `least` and `most` (what is beyond becomes the limit)."""

    mean: float
    deviation: float
    least: float
    most: float
    unit: str
    source: str

    def __post_init__(self) -> None:
        if not (self.deviation > 0 and self.least < self.most):
            raise DataError(
                f"a normal distribution in {self.unit} has the deviation {self.deviation:g} and "
                f"the limits {self.least:g} and {self.most:g}; allowed is a deviation above 0 and "
                "limits that rise"
            )

    def at(self, uniform: FloatArray) -> FloatArray:
        """Return the values at uniform numbers."""
        return np.clip(self.mean + self.deviation * ndtri(uniform), self.least, self.most)


@dataclass(frozen=True)
class LogNormal:
    """Distribution whose logarithm is normal; `median` and `log_deviation` of the logarithm."""

    median: float
    log_deviation: float
    unit: str
    source: str

    def __post_init__(self) -> None:
        if not (self.median > 0 and self.log_deviation > 0):
            raise DataError(
                f"a log-normal distribution in {self.unit} has the median {self.median:g} and the "
                f"deviation {self.log_deviation:g}; allowed is above 0 for both"
            )

    def at(self, uniform: FloatArray) -> FloatArray:
        """Return the values at uniform numbers."""
        return np.asarray(self.median * np.exp(self.log_deviation * ndtri(uniform)))


@dataclass(frozen=True)
class Uniform:
    """All values between two limits alike."""

    least: float
    most: float
    unit: str
    source: str

    def __post_init__(self) -> None:
        if not self.least < self.most:
            raise DataError(
                f"a uniform distribution in {self.unit} goes from {self.least:g} to "
                f"{self.most:g}; allowed are limits that rise"
            )

    def at(self, uniform: FloatArray) -> FloatArray:
        """Return the values at uniform numbers."""
        return np.asarray(self.least + (self.most - self.least) * uniform)


@dataclass(frozen=True)
class Choice:
    """A few values with their shares.

    Examples
    --------
    >>> Choice((3.7, 11.0), (0.75, 0.25), "kW", "assumed").at(np.array([0.1, 0.74, 0.76]))
    array([ 3.7,  3.7, 11. ])
    """

    values: tuple[float, ...]
    shares: tuple[float, ...]
    unit: str
    source: str

    def __post_init__(self) -> None:
        fits = len(self.values) == len(self.shares) and abs(sum(self.shares) - 1) < 1e-9
        if not (fits and all(share >= 0 for share in self.shares)):
            raise DataError(
                f"a choice in {self.unit} has {len(self.values)} values and the shares "
                f"{self.shares}; allowed is one share of at least 0 per value, 1 in all"
            )

    def at(self, uniform: FloatArray) -> FloatArray:
        """Return the values at uniform numbers."""
        position = np.searchsorted(np.cumsum(self.shares)[:-1], uniform, side="right")
        return np.asarray(np.array(self.values)[position])
