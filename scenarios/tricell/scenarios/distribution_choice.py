"""What a quantity of a population of devices is drawn from: a number, or one of four distributions.

::

    battery_kwh: 60
    charger_kw: {kind: choice, values: [3.7, 11], shares: [0.75, 0.25]}
    arrival_h: {kind: normal, mean: 17, deviation: 2, least: 12, most: 23}
    charge_efficiency: {kind: uniform, least: 0.88, most: 0.94}
    charged_kwh: {kind: lognormal, median: 3.5, log_deviation: 1.1}
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from math import inf
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    model_validator,
)

from tricell.scenarios.section import Section, broken_rule
from tricell.simulators.distributions import Choice, Distribution, LogNormal, Normal, Uniform

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    DataT = TypeVar("DataT", bound=DataclassInstance)

GIVEN = "the scenario"
"""Source of numbers that a planner gave."""

Range = tuple[float, float]


class NormalValues(Section):
    """Normal distribution; what is beyond a limit becomes the limit."""

    kind: Literal["normal"] = "normal"
    mean: float
    """Mean before the limits."""
    deviation: Annotated[float, Field(gt=0)]
    """Standard deviation before the limits."""
    least: float
    """Least value."""
    most: float
    """Largest value."""

    @model_validator(mode="after")
    def _limits_rise(self) -> NormalValues:
        _require_rising(self.least, self.most)
        return self

    @property
    def values_within(self) -> Range:
        """Between what all values lie."""
        return self.least, self.most

    def distribution(self, unit: str) -> Distribution:
        """Return what values are drawn from."""
        return Normal(self.mean, self.deviation, self.least, self.most, unit, GIVEN)


class UniformValues(Section):
    """All values between two limits alike."""

    kind: Literal["uniform"] = "uniform"
    least: float
    """Least value."""
    most: float
    """Largest value."""

    @model_validator(mode="after")
    def _limits_rise(self) -> UniformValues:
        _require_rising(self.least, self.most)
        return self

    @property
    def values_within(self) -> Range:
        """Between what all values lie."""
        return self.least, self.most

    def distribution(self, unit: str) -> Distribution:
        """Return what values are drawn from."""
        return Uniform(self.least, self.most, unit, GIVEN)


class LogNormalValues(Section):
    """Distribution whose logarithm is normal."""

    kind: Literal["lognormal"] = "lognormal"
    median: Annotated[float, Field(gt=0)]
    """Median of the values."""
    log_deviation: Annotated[float, Field(gt=0)]
    """Standard deviation of the natural logarithm."""

    @property
    def values_within(self) -> Range:
        """Between what all values lie; 0 is never reached."""
        return 5e-324, inf

    def distribution(self, unit: str) -> Distribution:
        """Return what values are drawn from."""
        return LogNormal(self.median, self.log_deviation, unit, GIVEN)


class ChosenValues(Section):
    """A few values with their shares."""

    kind: Literal["choice"] = "choice"
    values: Annotated[tuple[float, ...], Field(min_length=1)]
    """The values."""
    shares: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    """Share of each value, 1 in all (null: all alike)."""

    @model_validator(mode="after")
    def _one_share_per_value(self) -> ChosenValues:
        if self.shares is None:
            return self
        if len(self.shares) != len(self.values) or abs(sum(self.shares) - 1) > 1e-9:
            raise broken_rule(
                f"{len(self.values)} values have {len(self.shares)} shares, "
                f"{sum(self.shares):g} in all",
                at=("shares",),
                allowed="one share of at least 0 for each value, 1 in all",
            )
        return self

    @property
    def values_within(self) -> Range:
        """Between what all values lie."""
        return min(self.values), max(self.values)

    def distribution(self, unit: str) -> Distribution:
        """Return what values are drawn from."""
        count = len(self.values)
        return Choice(self.values, self.shares or (1.0 / count,) * count, unit, GIVEN)


DISTRIBUTIONS = (ChosenValues, LogNormalValues, NormalValues, UniformValues)


def _form(value: object) -> str:
    return "section" if isinstance(value, dict | BaseModel) else "number"


_AnyDistribution = Annotated[
    ChosenValues | LogNormalValues | NormalValues | UniformValues, Field(discriminator="kind")
]
Drawn = Annotated[
    Annotated[float, Tag("number")] | Annotated[_AnyDistribution, Tag("section")],
    Discriminator(_form),
]
"""A number that all devices have, or a distribution."""


def values_within(drawn: Drawn) -> Range:
    """Return between what all values lie."""
    return (drawn, drawn) if isinstance(drawn, int | float) else drawn.values_within


def _require(good: Callable[[float, float], bool], allowed: str) -> AfterValidator:
    """Return the check that all values of a distribution are allowed."""

    def check(drawn: Drawn, info: ValidationInfo) -> Drawn:
        least, most = values_within(drawn)
        if not good(least, most):
            values = f"`{least:g}`" if least == most else f"values from {least:g} to {most:g}"
            raise broken_rule(f"{values} cannot be used for `{info.field_name}`", allowed=allowed)
        return drawn

    return AfterValidator(check)


PositiveDrawn = Annotated[Drawn, _require(lambda least, _: least > 0, "values above 0")]
ShareDrawn = Annotated[
    Drawn, _require(lambda least, most: 0 < least <= most <= 1, "values above 0, at most 1")
]
HourDrawn = Annotated[
    Drawn, _require(lambda least, most: 0 <= least <= most < 24, "hours from 0 to below 24")
]
HourOfTwoDays = Annotated[
    Drawn, _require(lambda least, most: 0 <= least <= most <= 48, "hours from 0 to 48")
]
TemperatureDrawn = Annotated[
    Drawn, _require(lambda least, most: 5 <= least <= most <= 35, "temperatures from 5 to 35 degC")
]


def distribution_of(drawn: Drawn, unit: str) -> Distribution:
    """Return what a number or a section of a scenario stands for."""
    if isinstance(drawn, int | float):
        return Choice((float(drawn),), (1.0,), unit, GIVEN)
    return drawn.distribution(unit)


def replaced(known: DataT, section: BaseModel) -> DataT:
    """Return known distributions with those instead that a section gives (null: as known).

    Parameters
    ----------
    known : a frozen dataclass of distributions and numbers.
    section : fields of the same names; those that it lacks stay as known.
    """
    changes: dict[str, Any] = {}
    for each in fields(known):
        given = getattr(section, each.name, None)
        if given is None:
            continue
        before = getattr(known, each.name)
        is_number = isinstance(before, int | float)
        changes[each.name] = (
            given if is_number else distribution_of(given, cast(Distribution, before).unit)
        )
    return replace(known, **changes)


def _require_rising(least: float, most: float) -> None:
    if not least < most:
        raise broken_rule(
            f"the limits {least:g} and {most:g} do not rise",
            at=("most",),
            allowed=f"above {least:g}",
        )
