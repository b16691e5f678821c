"""The study: charge designs, the points at which they are held against each other, and closures.

A study starts from a base scenario. Its *designs* are lists of network charges; its *axes* are
shares of households with a device, the share that trades, seeds and periods; a *point* is one
value of each. Every design is run at every point, once for each *closure*:

* ``none``: nobody reacts. The rates recover the allowed revenue on the meters of the reference
  design's run, and the bills are those of these meters.
* ``fixed``: the same rates, but the agents know them: their meters change, and the revenue with
  them. The gap is shown.
* ``resolved``: rates and reactions in turns until the rates stay; then the rates are solved on the
  last meters, so that the revenue is the allowed one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tricell.scenarios.adoption import Share
from tricell.scenarios.charge_choice import ChargeEntry, expanded
from tricell.scenarios.local_times import moment
from tricell.scenarios.section import Section, broken_rule

Closure = Literal["none", "fixed", "resolved"]
Level = Literal["microgrid", "cell", "multicell"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
Moment = Annotated[datetime, BeforeValidator(moment)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Days = Annotated[float, Field(gt=0, le=3660)]
Euro = Annotated[float, Field(ge=0)]

SHARE_TOLERANCE = 1e-9


class Design(Section):
    """A charge design: the charges that all customers pay together."""

    name: Name
    """Short name: letters, digits, `.`, `_`, `-`."""
    label: str = ""
    """Name for people (the name)."""
    description: str = ""
    """What it is, in a sentence."""
    charges: Annotated[tuple[ChargeEntry, ...], Field(min_length=1)]
    """Its charges, as in a scenario; all rates that are not fixed are solved in proportion."""
    shares: dict[str, Annotated[float, Field(gt=0, le=1)]] | None = None
    """Share of the revenue that each charge has to collect, by its label (null: in proportion)."""
    fixed: tuple[str, ...] = ()
    """Labels of charges that keep their rates (none); levies always do."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Fields of the scenario that differ in this design, `field.path: value` (none)."""

    @property
    def title(self) -> str:
        """Name for people."""
        return self.label or self.name


class Axes(Section):
    """Points of a study; the first value of each axis is that of the base point."""

    pv_share: tuple[Share, ...] = ()
    """Shares of the households with PV, 0 to 1 (empty: as in the base scenario)."""
    battery_share: tuple[Share, ...] = ()
    """Shares of the households with a battery, 0 to 1 (empty: as in the base scenario)."""
    ev_share: tuple[Share, ...] = ()
    """Shares of the households with an electric car, 0 to 1 (empty: as in the base scenario)."""
    heat_pump_share: tuple[Share, ...] = ()
    """Shares of the households with a heat pump, 0 to 1 (empty: as in the base scenario)."""
    participation: tuple[Share, ...] = ()
    """Shares of the households that trade, 0 to 1 (empty: as in the base scenario)."""
    seed: tuple[Seed, ...] = ()
    """Seeds; everything is repeated for each (empty: that of the base scenario)."""
    days: tuple[Days, ...] = ()
    """Lengths of the period in days; everything is repeated for each (empty: the scenario's)."""
    start: tuple[Moment, ...] = ()
    """Starts of the period; everything is repeated for each (empty: the scenario's)."""

    @field_validator("start", mode="after")
    @classmethod
    def _in_utc(cls, starts: tuple[datetime, ...]) -> tuple[datetime, ...]:
        return tuple(
            start.replace(tzinfo=UTC) if start.tzinfo is None else start.astimezone(UTC)
            for start in starts
        )

    @model_validator(mode="after")
    def _values_differ(self) -> Axes:
        for name in type(self).model_fields:
            values = getattr(self, name)
            for position, value in enumerate(values):
                if value in values[:position]:
                    raise broken_rule(
                        f"the axis `{name}` has the value {value} twice",
                        at=(name, position),
                        suggestion="name every value once",
                    )
        return self


class Revenue(Section):
    """Revenue that the network operator is allowed, by level of the network that it pays for."""

    microgrid: Euro = 0.0
    """Cost of the low-voltage grids, EUR per year (0)."""
    cell: Euro = 0.0
    """Cost of the medium-voltage grids, EUR per year (0)."""
    multicell: Euro = 0.0
    """Cost of the high-voltage grid, EUR per year (0)."""

    @property
    def total(self) -> float:
        """Revenue over all levels, EUR per year."""
        return self.microgrid + self.cell + self.multicell

    @model_validator(mode="after")
    def _is_above_zero(self) -> Revenue:
        if self.total <= 0.0:
            raise broken_rule(
                "the allowed revenue of all levels is 0",
                allowed="at least one level above 0 EUR per year",
                suggestion="leave `revenue` out: then it is what the reference design collects",
            )
        return self


class LevelShares(Section):
    """Share of each level in the allowed revenue; they add up to 1."""

    microgrid: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Share of the low-voltage grids (0.6)."""
    cell: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of the medium-voltage grids (0.3)."""
    multicell: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the high-voltage grid and of all above it (0.1)."""

    @model_validator(mode="after")
    def _add_up(self) -> LevelShares:
        _require_whole(self.microgrid + self.cell + self.multicell, "shares of the levels")
        return self


class CostShares(Section):
    """What causes the cost of a level, for the causal cost of each customer; they add up to 1."""

    energy: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share caused by imported kWh (0.1)."""
    peak: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Share caused by import at the level's peak (0.7)."""
    customer: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share caused by each connection as such (0.2)."""
    peak_hours: Annotated[int, Field(ge=1, le=8760)] = 1
    """Hours of the highest load that make up a level's peak, h (1)."""

    @model_validator(mode="after")
    def _add_up(self) -> CostShares:
        _require_whole(self.energy + self.peak + self.customer, "shares of what causes the cost")
        return self


def _require_whole(total: float, what: str) -> None:
    if abs(total - 1.0) > SHARE_TOLERANCE:
        raise broken_rule(f"the {what} add up to {total:g}", allowed="shares that add up to 1")


class StatedParameter(Section):
    """A parameter that the tables of the study state with its source."""

    name: Annotated[str, Field(min_length=1)]
    """What it is."""
    value: str | float
    """Its value."""
    unit: str = ""
    """Its unit (none)."""
    source: str = ""
    """Where the value comes from."""
    year: int | None = None
    """Year that it speaks of (null: none)."""


class Study(Section):
    """A complete study."""

    name: Name
    """Short name, and name of the results: letters, digits, `.`, `_`, `-`."""
    description: str = ""
    """What the study asks, for people."""
    scenario: str
    """The base scenario: a shipped one, or the path of a file."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Fields of the base scenario that differ in the study, `field.path: value` (none)."""
    reference: str
    """Name of the design whose runs give the meters of closure `none`, and changes their start."""
    designs: Annotated[tuple[Design, ...], Field(min_length=1)]
    """What is held against each other."""
    billed_levels: tuple[Level, ...] = ()
    """Levels of the network whose customers the study bills: they alone bring the allowed revenue,
    and are in bills, means and indices. All others load the grid and trade at the same rates; what
    they pay, and their part of the cost, is not in the study (empty: all levels)."""
    axes: Axes = Axes()
    """The points at which every design is run (one: the base scenario)."""
    combine: Literal["grid", "one_at_a_time"] = "grid"
    """`grid`: all shares with all others; `one_at_a_time`: each share varies alone (grid)."""
    closures: Annotated[tuple[Closure, ...], Field(min_length=1)] = ("none", "fixed", "resolved")
    """How customers react: none, fixed, resolved (all three)."""
    revenue: Revenue | None = None
    """Allowed revenue (null: what the reference design collects at the base point)."""
    level_shares: LevelShares = LevelShares()
    """Without `revenue`: which part of what the reference design collects pays for which level."""
    cost: CostShares = CostShares()
    """What causes the cost of a level, and the hours of its peak."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Rates count as stable that change by less than this share of the largest (0.001)."""
    max_iterations: Annotated[int, Field(ge=1, le=200)] = 10
    """Rounds of rates and reactions at most (10)."""
    damping: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the old rates that is kept from round to round (0)."""
    parameters: tuple[StatedParameter, ...] = ()
    """Further parameters for the table of parameters, with source and year (none)."""

    @property
    def reference_design(self) -> Design:
        """The design that changes count from."""
        return next(design for design in self.designs if design.name == self.reference)

    @field_validator("designs")
    @classmethod
    def _names_differ(cls, designs: tuple[Design, ...]) -> tuple[Design, ...]:
        names = [design.name for design in designs]
        for position, name in enumerate(names):
            if name in names[:position]:
                raise broken_rule(
                    f"two designs are called `{name}`",
                    at=(position, "name"),
                    suggestion="give each its own name",
                )
        return designs

    @field_validator("closures")
    @classmethod
    def _closures_differ(cls, closures: tuple[Closure, ...]) -> tuple[Closure, ...]:
        for position, closure in enumerate(closures):
            if closure in closures[:position]:
                raise broken_rule(f"`{closure}` is named twice", at=(position,))
        return closures

    @model_validator(mode="after")
    def _names_exist(self) -> Study:
        names = [design.name for design in self.designs]
        if self.reference not in names:
            raise broken_rule(
                f"there is no design `{self.reference}`",
                at=("reference",),
                allowed=f"the name of a design: {', '.join(names)}",
            )
        for position, design in enumerate(self.designs):
            _check_labels(design, ("designs", position))
        return self


def _check_labels(design: Design, at: tuple[str | int, ...]) -> None:
    labels: list[str] = []
    for position, entry in enumerate(design.charges):
        for charge in expanded([entry]):
            if charge.label in labels:
                raise broken_rule(
                    f"two charges of the design `{design.name}` are called `{charge.label}`",
                    at=(*at, "charges", position),
                    suggestion="give each its own `name`",
                )
            labels.append(charge.label)
    _refuse_unknown(design.fixed, labels, (*at, "fixed"))
    if design.shares is None:
        return
    _refuse_unknown(design.shares, labels, (*at, "shares"))
    total = sum(design.shares.values())
    if abs(total - 1.0) > SHARE_TOLERANCE:
        raise broken_rule(
            f"the shares of the design `{design.name}` add up to {total:g}",
            at=(*at, "shares"),
            allowed="shares that add up to 1",
        )


def _refuse_unknown(
    wanted: Sequence[str] | dict[str, float], labels: Sequence[str], at: tuple[str | int, ...]
) -> None:
    for label in wanted:
        if label not in labels:
            raise broken_rule(
                f"the design has no charge `{label}`",
                at=at,
                allowed=f"labels of its charges: {', '.join(labels)}",
            )
