"""The section `services` of a scenario: who asks for flexibility, where, when and at what price.

::

    services:
      - {kind: dso_request, name: evening peak, trafo: LV2.101-trafo, need_kw: 20,
         from: "17:00", until: "20:00", max_price_eur_per_kwh: 0.5}
      - {kind: peak_shaving, name: connection, area: LV4.101, limit_kw: 60}
      - {kind: reserve, name: held, power_kw: 10, capacity_price_eur_per_kw_h: 0.02}
      - {kind: tso_request, name: balance, need_kw: 30, from: 2016-05-23T10:00Z,
         until: 2016-05-23T12:00Z, capacity_price_eur_per_kw_h: 0.01}
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from tricell.markets.flexibility.flexibility_market import Pricing
from tricell.scenarios.local_times import RunClock, When, hours_between
from tricell.scenarios.section import Section, broken_rule
from tricell.simulators.population import BoolArray


class AskedService(Section):
    """What all services have in common."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    """Its name; unique among the services."""
    area: str | None = None
    """Id of the area whose stores are asked, with all areas below it (null: all)."""
    begin: Annotated[When | None, Field(alias="from")] = None
    """Begin: a time of every day by the local clock, such as "17:00", or a date and time (null:
    always, with `until: null`)."""
    until: When | None = None
    """End, of the same kind as `from`; a time of the day that is not later is one of the next
    day (null)."""

    @model_validator(mode="after")
    def _lasts(self) -> AskedService:
        if self.begin is None and self.until is None:
            return self
        missing = "from" if self.begin is None else "until" if self.until is None else ""
        if missing:
            raise broken_rule(
                f"`{self.name}` has no `{missing}`",
                at=(missing,),
                allowed="`from` and `until`, or neither of them for always",
            )
        assert self.begin is not None
        assert self.until is not None
        if isinstance(self.begin, datetime) != isinstance(self.until, datetime):
            raise broken_rule(
                f"`{self.name}` begins at a time of another kind than it ends",
                at=("until",),
                allowed="two times of the day, or two dates with times",
            )
        if hours_between(self.begin, self.until) <= 0.0:
            raise broken_rule(
                f"`{self.name}` ends when it begins, or before",
                at=("until",),
                allowed="a time behind `from`",
            )
        return self

    def is_open(self, clock: RunClock) -> BoolArray:
        """Return the slots in which it is asked for, shape (n_slot,)."""
        if self.begin is None or self.until is None:
            return np.ones(clock.slots, np.bool_)
        found = np.zeros(clock.slots, np.bool_)
        for interval in clock.intervals(self.begin, self.until).values():
            found[max(interval.first, 0) : max(interval.end, 0)] = True
        return found


class BoughtEnergy(AskedService):
    """What services that buy energy have in common."""

    max_price_eur_per_kwh: float | None = None
    """What is paid at most for a kWh of effect, EUR/kWh (null: any price)."""
    payment: Pricing = "pay_as_bid"
    """What a kWh earns: what it asks (pay_as_bid, default), or as much as the dearest that is
    called, each by its effect (pay_as_clear)."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share delivered below which pay falls by that share (0: never)."""

    @property
    def terms(self) -> dict[str, Any]:
        """Return price and payment as a `Service` has them."""
        most = self.max_price_eur_per_kwh
        return {
            "max_price": np.inf if most is None else most,
            "pricing": self.payment,
            "threshold": self.threshold,
        }


class DsoRequest(BoughtEnergy):
    """Power that the network operator asks for."""

    kind: Literal["dso_request"] = "dso_request"
    line: str | None = None
    """Name of a line to relieve, instead of `area`: what is consumed behind it is asked (null)."""
    trafo: str | None = None
    """Name of a transformer to relieve, instead of `area` (null)."""
    need_kw: Annotated[float, Field(gt=0)]
    """Power that is needed, kW."""
    direction: Literal["down", "up"] = "down"
    """Consumption is to go down (default; feeding in more counts) or up."""

    @model_validator(mode="after")
    def _asks_in_one_place(self) -> DsoRequest:
        named = [name for name in ("area", "line", "trafo") if getattr(self, name) is not None]
        if len(named) > 1:
            raise broken_rule(
                f"`{self.name}` names {' and '.join(named)}",
                at=(named[-1],),
                allowed="one of area, line, trafo",
            )
        return self


class TsoRequest(BoughtEnergy):
    """Power that the transmission system operator asks an area for, which splits it below."""

    kind: Literal["tso_request"] = "tso_request"
    need_kw: Annotated[float, Field(gt=0)]
    """Power that is needed, kW."""
    direction: Literal["down", "up"] = "down"
    """Consumption is to go down (default; feeding in more counts) or up."""
    capacity_price_eur_per_kw_h: Annotated[float, Field(ge=0)] = 0.0
    """What is paid for called power beside its energy, EUR per kW and hour (0)."""


class PeakShaving(BoughtEnergy):
    """What an area imports beyond a limit, bought by the network operator."""

    kind: Literal["peak_shaving"] = "peak_shaving"
    limit_kw: Annotated[float, Field(ge=0)]
    """Import of the area, losses left out, that is not to be exceeded, kW."""


class Reserve(AskedService):
    """Power that stores keep free for the transmission system operator; it is not called."""

    kind: Literal["reserve"] = "reserve"
    power_kw: Annotated[float, Field(gt=0)]
    """Power to hold, kW."""
    direction: Literal["down", "up"] = "down"
    """Consumption could go down (default) or up by as much."""
    capacity_price_eur_per_kw_h: Annotated[float, Field(ge=0)]
    """What is paid for it, EUR per kW and hour."""


ServiceEntry = Annotated[
    DsoRequest | TsoRequest | PeakShaving | Reserve, Field(discriminator="kind")
]
