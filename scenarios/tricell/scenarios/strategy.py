"""How devices that store or shift energy are run: by rule, thriftily, or by looking ahead."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from tricell.scenarios.section import Section, broken_rule


class RuleStrategy(Section):
    """Every device follows its plain rule; batteries as `participants.battery` says."""

    kind: Literal["rule"] = "rule"


class ThriftyStrategy(Section):
    """Batteries follow a price band, all other devices wait for the cheapest known slots."""

    kind: Literal["price_band"] = "price_band"


class LookAheadStrategy(Section):
    """All devices follow a plan that is made anew again and again, for some hours ahead."""

    kind: Literal["lookahead"] = "lookahead"
    manager: Literal["household", "community"] = "household"
    """Who plans: every `household` for itself (default), or one manager for the `community`."""
    horizon_h: Annotated[float, Field(gt=0, le=168)] = 24.0
    """How far a plan looks ahead, h (24)."""
    replan_h: Annotated[float, Field(gt=0, le=24)] = 1.0
    """Time between plans, h (1)."""
    wear_eur_per_kwh: Annotated[float, Field(ge=0)] = 0.0
    """Wear of a battery or vehicle per kWh discharged, EUR/kWh (0)."""

    measure_value: bool = False
    """Whether the scenario also runs by rule, and with perfect forecasts if it has others, to tell
    what looking ahead is worth (false): two or three runs in all."""

    @model_validator(mode="after")
    def _sees_farther_than_the_next_plan(self) -> LookAheadStrategy:
        if self.horizon_h < self.replan_h:
            raise broken_rule(
                f"a plan of {self.horizon_h:g} h ends before the next one, {self.replan_h:g} h "
                "later",
                at=("horizon_h",),
                allowed=f"at least replan_h, {self.replan_h:g}",
            )
        return self


def _from_word(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


AnyStrategy = Annotated[
    RuleStrategy | ThriftyStrategy | LookAheadStrategy, Field(discriminator="kind")
]
Word = Literal["rule", "price_band", "lookahead"]

Strategy = Annotated[
    AnyStrategy, BeforeValidator(_from_word, json_schema_input_type=AnyStrategy | Word)
]
"""A word (rule, price_band, lookahead) or a section of that kind."""
