"""From a study to what has to be run: its points, and its scenarios at each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import product
from typing import Any

from tricell.markets.charge import Charge
from tricell.scenarios.charge_choice import expanded
from tricell.scenarios.schema import Scenario
from tricell.scenarios.study_schema import Study

SHARES = ("pv_share", "battery_share", "ev_share", "heat_pump_share", "participation")
"""Axes that `participants.adoption` takes."""


@dataclass(frozen=True)
class Point:
    """One value of every axis; a share is None where the base scenario's data stay.

    Attributes
    ----------
    number : from 0.
    base : number of the point with the same seed and period and the first value of all shares.
    """

    number: int
    base: int
    seed: int
    start: datetime
    days: float
    pv_share: float | None = None
    battery_share: float | None = None
    ev_share: float | None = None
    heat_pump_share: float | None = None
    participation: float | None = None

    @property
    def shares(self) -> dict[str, float]:
        """Shares that the point sets."""
        values = {name: getattr(self, name) for name in SHARES}
        return {name: value for name, value in values.items() if value is not None}

    def __str__(self) -> str:
        shares = "".join(f", {name} {value:g}" for name, value in self.shares.items())
        return f"seed {self.seed}, {self.days:g} days from {self.start:%Y-%m-%d %H:%M} UTC{shares}"


def points(study: Study, base: Scenario) -> tuple[Point, ...]:
    """Return all points of a study, repetition by repetition, each from its base point on.

    Parameters
    ----------
    study : names the axes.
    base : base scenario; its seed and period hold where an axis is empty.
    """
    axes = study.axes
    repetitions = product(
        axes.seed or (base.seed,), axes.start or (base.time.start,), axes.days or (base.time.days,)
    )
    combinations = list(_combined(study))
    found: list[Point] = []
    for seed, start, days in repetitions:
        first = len(found)
        for shares in combinations:
            found.append(Point(len(found), first, seed, start, days, **shares))
    return tuple(found)


def scenario_at(scenario: Scenario, point: Point) -> Scenario:
    """Return a scenario at a point of the axes, presets of charges spelled out."""
    time = scenario.time.model_copy(update={"start": point.start, "days": point.days})
    adoption = scenario.participants.adoption.model_copy(update=dict(point.shares))
    participants = scenario.participants.model_copy(update={"adoption": adoption})
    return scenario.model_copy(
        update={
            "seed": point.seed,
            "time": time,
            "participants": participants,
            "charges": expanded(scenario.charges),
        }
    )


def expected_simulations(study: Study, all_points: tuple[Point, ...]) -> tuple[int, int]:
    """Return the least and the most simulations that a study needs.

    One is that of the reference design at each point. Every design takes one more where customers
    react to its rates, and closure `resolved` one per further round. The rates of the reference
    design are known at base points if its own revenue is the allowed one.

    Parameters
    ----------
    study : names designs and closures.
    all_points : its points.
    """
    references = len(all_points)
    if not {"fixed", "resolved"} & set(study.closures):
        return references, references
    known = sum(point.number == point.base for point in all_points) if not study.revenue else 0
    reacting = references * len(study.designs) - known
    rounds = study.max_iterations if "resolved" in study.closures else 1
    return references + reacting, references + reacting * rounds


def with_charges(scenario: Scenario, charges: tuple[Charge, ...]) -> Scenario:
    """Return a scenario with other charges."""
    return scenario.model_copy(update={"charges": charges})


def _combined(study: Study) -> Iterator[dict[str, Any]]:
    """Yield the shares of each point of a repetition, those of the base point first."""
    values = {name: getattr(study.axes, name) for name in SHARES}
    given = {name: axis for name, axis in values.items() if axis}
    if study.combine == "grid":
        for combination in product(*given.values()):
            yield dict(zip(given, combination, strict=True))
        return
    first = {name: axis[0] for name, axis in given.items()}
    yield first
    for name, axis in given.items():
        for value in axis[1:]:
            yield {**first, name: value}


def axis_values(point: Point) -> dict[str, Any]:
    """Return the values of a point by axis; None where the base scenario's data stay."""
    names = [field.name for field in fields(point) if field.name not in ("number", "base")]
    return {name: getattr(point, name) for name in names}
