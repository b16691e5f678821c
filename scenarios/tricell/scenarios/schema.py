"""The scenario: every field a planner can set, with unit and default.

The parameter models of grids, profiles, batteries and prices live beside the code that uses
them and are composed here; `tricell schema` prints the whole as JSON Schema for editors.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, field_validator, model_validator

from tricell.errors import GridError
from tricell.grid_models.grid_sources import GridSource
from tricell.markets.level_markets import NetworkMode
from tricell.markets.mechanism import Mechanism
from tricell.markets.mechanism_registry import slot_mechanisms
from tricell.markets.mechanisms.uniform_price import UniformPrice
from tricell.markets.operating_envelopes import Rule
from tricell.scenarios.adoption import Adoption
from tricell.scenarios.appliance_choice import ApplianceChoice
from tricell.scenarios.charge_choice import ChargeEntry
from tricell.scenarios.faults import did_you_mean
from tricell.scenarios.forecasts import (
    DualImbalance,
    Forecasts,
    Imbalance,
    PerfectForecasts,
)
from tricell.scenarios.heat_pump_choice import HeatPumpChoice
from tricell.scenarios.inverter_choice import InverterChoice
from tricell.scenarios.local_times import moment
from tricell.scenarios.population_tables import ProfileSource
from tricell.scenarios.prices import FeedInPrice, RetailPrice, WholesalePrice
from tricell.scenarios.pv_choice import PvFromData, PvFromWeather, PvSource
from tricell.scenarios.section import Section, broken_rule
from tricell.scenarios.services import ServiceEntry
from tricell.scenarios.shared_battery_choice import SharedBatteryChoice
from tricell.scenarios.strategy import (
    LookAheadStrategy,
    RuleStrategy,
    Strategy,
    ThriftyStrategy,
)
from tricell.scenarios.third_party import ThirdPartySimulator
from tricell.scenarios.vehicle_choice import VehicleChoice
from tricell.scenarios.weather import Weather
from tricell.simulators.battery_strategies import BatteryStrategyParameters
from tricell.simulators.strategies.bill_saving import BillSaving
from tricell.simulators.strategies.price_band import PriceBand
from tricell.simulators.strategies.self_consumption import SelfConsumption

if TYPE_CHECKING:
    SlotMechanism = Mechanism
else:
    SlotMechanism = Annotated[reduce(or_, slot_mechanisms()), Field(discriminator="kind")]
    """Parameters of any mechanism that clears a slot, third parties' included."""

MINUTES_PER_DAY = 1440
APPLIANCE_STEP_MINUTES = 15


class Time(Section):
    """The period that is simulated."""

    start: Annotated[datetime, BeforeValidator(moment)]
    """Start of the first slot, ISO 8601; UTC unless an offset is given."""
    days: Annotated[float, Field(gt=0, le=3660)] = 1.0
    """Length in days of 24 h (1); a whole number of slots."""
    step_minutes: Annotated[int, Field(ge=1, le=MINUTES_PER_DAY)] = 15
    """Length of a slot in min (15): a divisor of an hour, or whole hours that divide a day."""
    local_zone: str = "Europe/Berlin"
    """Time zone of the place (Europe/Berlin); recorded for those who read the results."""

    @property
    def step_s(self) -> int:
        """Length of a slot, s."""
        return self.step_minutes * 60

    @property
    def step_hours(self) -> float:
        """Length of a slot, h."""
        return self.step_minutes / 60

    @property
    def slots(self) -> int:
        """Number of slots."""
        return round(self.days * MINUTES_PER_DAY / self.step_minutes)

    @property
    def start_utc(self) -> np.datetime64:
        """Start of the first slot, UTC."""
        return np.datetime64(self.start.replace(tzinfo=None), "s")

    @property
    def end(self) -> datetime:
        """End of the last slot, UTC."""
        return self.start + timedelta(minutes=self.slots * self.step_minutes)

    def slot_starts(self) -> NDArray[np.datetime64]:
        """Return the start of every slot, UTC, shape (slots,)."""
        return self.start_utc + np.arange(self.slots) * np.timedelta64(self.step_s, "s")

    @field_validator("start", mode="after")
    @classmethod
    def _in_utc(cls, start: datetime) -> datetime:
        return start.replace(tzinfo=UTC) if start.tzinfo is None else start.astimezone(UTC)

    @field_validator("step_minutes")
    @classmethod
    def _divides_an_hour_or_a_day(cls, minutes: int) -> int:
        whole_hours = minutes % 60 == 0 and MINUTES_PER_DAY % minutes == 0
        if 60 % minutes and not whole_hours:
            raise broken_rule(
                f"slots of {minutes} min fit neither into an hour nor, as whole hours, into a day",
                allowed="1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60, 120, 180, 240, ... 1440",
            )
        return minutes

    @field_validator("local_zone")
    @classmethod
    def _is_a_known_zone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise broken_rule(
                f"`{zone}` is not a time zone",
                allowed="a name of the IANA data base, such as Europe/Berlin",
                suggestion=did_you_mean(zone, available_timezones()),
            ) from error
        return zone

    @model_validator(mode="after")
    def _holds_whole_slots(self) -> Time:
        slots = self.days * MINUTES_PER_DAY / self.step_minutes
        if abs(slots - round(slots)) > 1e-6 or round(slots) < 1:
            raise broken_rule(
                f"{self.days:g} days are not a whole number of slots of {self.step_minutes} min",
                at=("days",),
                allowed=f"a multiple of {self.step_minutes / MINUTES_PER_DAY:g}",
            )
        return self

    @model_validator(mode="after")
    def _starts_on_a_slot(self) -> Time:
        past_midnight_s = (self.start - self.start.replace(hour=0, minute=0, second=0)).seconds
        late_s = past_midnight_s % self.step_s
        if late_s or self.start.microsecond:
            earlier = (self.start - timedelta(seconds=late_s)).replace(microsecond=0)
            raise broken_rule(
                f"the start {self.start:%Y-%m-%dT%H:%M:%SZ} lies inside a slot of "
                f"{self.step_minutes} min",
                at=("start",),
                allowed="the beginning of a slot, counted from midnight UTC",
                suggestion=f"start at {earlier:%Y-%m-%dT%H:%MZ}",
            )
        return self


class AreaOptions(Section):
    """How the network is cut into microgrids, cells and multi-cells."""

    cut_lines: tuple[Annotated[int, Field(ge=0)] | str, ...] = ()
    """Lines that are borders beside the transformers (none): names, or row positions from 0."""
    merge_by_substation: bool = False
    """Join parts of one voltage that name the same substation (false)."""

    def cut_line_rows(self, line_names: Sequence[str | None]) -> list[int]:
        """Return row positions of the cut lines in a network with these line names.

        Raises
        ------
        GridError
            If a name or a position does not exist.
        """
        rows = {name: row for row, name in enumerate(line_names) if name is not None}
        return [_line_row(line, rows, len(line_names)) for line in self.cut_lines]


def _line_row(line: int | str, rows: dict[str, int], count: int) -> int:
    if isinstance(line, int):
        if line >= count:
            raise GridError(
                f"grid.areas.cut_lines names line {line}, but the network has lines 0 to "
                f"{count - 1}. Use a position in that range, or the name of a line."
            )
        return line
    if line not in rows:
        advice = did_you_mean(line, rows)
        raise GridError(
            f"grid.areas.cut_lines names the line {line!r}, which the network does not have"
            + (f"; {advice}" if advice else ". Use a name from its line table.")
        )
    return rows[line]


class Grid(Section):
    """The network and its areas."""

    source: GridSource
    """Where the network comes from."""
    areas: AreaOptions = AreaOptions()
    """How it is cut into areas."""


class Limits(Section):
    """What the grid must keep, and what breaking it costs where it cannot be kept."""

    voltage_min_pu: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Lowest voltage of every bus, pu (null: the limit that the network's data give)."""
    voltage_max_pu: Annotated[float, Field(gt=1, lt=2)] | None = None
    """Highest voltage of every bus, pu (null: the limit that the network's data give)."""
    line_loading_percent: Annotated[float, Field(gt=0, le=1000)] = 100.0
    """Highest loading of a line, % of its rated current (100)."""
    trafo_loading_percent: Annotated[float, Field(gt=0, le=1000)] = 100.0
    """Highest loading of a transformer, % of its rated current (100)."""
    line_breach_eur_per_kwh: Annotated[float, Field(gt=0)] = 5.0
    """Price of a kWh through a line above its limit, EUR/kWh (5)."""
    trafo_breach_eur_per_kwh: Annotated[float, Field(gt=0)] = 5.0
    """Price of a kWh through a transformer above its limit, EUR/kWh (5)."""
    voltage_breach_eur_per_pu_h: Annotated[float, Field(gt=0)] = 1_000_000.0
    """Price of one bus standing one pu outside its limits for an hour, EUR/(pu h) (1000000)."""
    voltage_tolerance_pu: Annotated[float, Field(ge=0, le=0.05)] = 5e-4
    """A bus counts as outside its limits beyond this much in the AC power flow, pu (0.0005)."""
    loading_tolerance_percent: Annotated[float, Field(ge=0, le=20)] = 0.5
    """An element counts as overloaded beyond this much in the AC power flow, % (0.5)."""


class ExtraParticipant(Section):
    """A participant that is not in the network's data."""

    name: Annotated[str, Field(min_length=1)]
    """Its id in results; unique."""
    bus: Annotated[str, Field(min_length=1)]
    """Name of the bus where it is connected."""
    load_kw: Annotated[float, Field(ge=0)] = 0.0
    """Rated load, kW (0); its profile multiplies it."""
    load_profile: str | None = None
    """Column of the profiles that shapes the load (null: constant at `load_kw`)."""
    pv_kwp: Annotated[float, Field(ge=0)] = 0.0
    """Rated power of a PV plant, kW (0)."""
    pv_profile: str | None = None
    """Column of the profiles that shapes the PV plant; needed if `pv_kwp` is above 0, but not with
    `pv: weather`."""
    battery_kwh: Annotated[float, Field(ge=0)] = 0.0
    """Usable battery capacity, kWh (0: no battery)."""
    battery_kw: Annotated[float, Field(ge=0)] = 0.0
    """Largest charging and discharging power of the battery, kW (0)."""
    battery_efficiency: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Efficiency of charging, and of discharging (0.95)."""

    @model_validator(mode="after")
    def _is_complete(self) -> ExtraParticipant:
        if (self.battery_kwh > 0) != (self.battery_kw > 0):
            at = "battery_kw" if self.battery_kwh > 0 else "battery_kwh"
            raise broken_rule(
                f"the battery of `{self.name}` needs both a capacity and a power",
                at=(at,),
                allowed="battery_kwh and battery_kw both above 0, or neither",
            )
        return self


class Participants(Section):
    """Who trades, and how their batteries behave."""

    profiles: ProfileSource
    """Where load and generation over time come from."""
    battery: BatteryStrategyParameters = SelfConsumption()
    """How batteries bid under the strategy `rule` (self_consumption)."""
    strategy: Strategy = RuleStrategy()
    """How devices are run: rule (default), price_band, lookahead, or a section of such a kind."""
    adoption: Adoption = Adoption()
    """Shares of households with PV, batteries, chargers, heat pumps, and of those that trade."""
    evs: VehicleChoice = VehicleChoice()
    """Electric vehicles whose charging can be shifted (none)."""
    heat_pumps: HeatPumpChoice = HeatPumpChoice()
    """Heat pumps with a thermal store or a building behind them (none)."""
    appliances: ApplianceChoice = ApplianceChoice()
    """Appliances whose runs can wait (none)."""
    shared_batteries: tuple[SharedBatteryChoice, ...] = ()
    """Batteries of a community, a cell or a multi-cell (none)."""
    pv: PvSource = PvFromData()
    """What PV plants follow: data (default), weather, or a section of that kind."""
    inverters: InverterChoice | None = None
    """Inverters of PV plants that control reactive power (null: reactive power of the data)."""
    extra: tuple[ExtraParticipant, ...] = ()
    """Participants beside those of the network's data (none)."""

    @field_validator("extra")
    @classmethod
    def _names_are_unique(cls, extra: tuple[ExtraParticipant, ...]) -> tuple[ExtraParticipant, ...]:
        _refuse_repeated_name([participant.name for participant in extra], "extra participants")
        return extra

    @model_validator(mode="after")
    def _pv_plants_follow_one_thing(self) -> Participants:
        weather = isinstance(self.pv, PvFromWeather)
        for row, one in enumerate(self.extra):
            if one.pv_kwp > 0 and (one.pv_profile is None) != weather:
                told = "a profile beside" if weather else "neither a profile nor"
                raise broken_rule(
                    f"the PV plant of `{one.name}` has {told} `pv: weather`",
                    at=("extra", row, "pv_profile"),
                    allowed="a column of the profiles, such as PV5, or `pv: weather`",
                )
        if weather and self.adoption.pv_profile is not None:
            raise broken_rule(
                "new PV plants have a profile beside `pv: weather`",
                at=("adoption", "pv_profile"),
                allowed="null with `pv: weather`",
            )
        return self

    @model_validator(mode="after")
    def _batteries_have_one_strategy(self) -> Participants:
        fits: tuple[type[object], ...] = (SelfConsumption, PriceBand, BillSaving)
        if isinstance(self.strategy, LookAheadStrategy):
            fits = (SelfConsumption,)
        elif isinstance(self.strategy, ThriftyStrategy):
            fits = (SelfConsumption, PriceBand)
        if not isinstance(self.battery, fits):
            raise broken_rule(
                f"batteries cannot follow `{self.battery.kind}` under `{self.strategy.kind}`",
                at=("battery",),
                allowed="any strategy of batteries with `strategy: rule`",
                suggestion="leave out either `battery` or `strategy`",
            )
        return self


class Fees(Section):
    """What a kWh traded at a level pays for the use of the grid; higher levels cost no less."""

    microgrid: Annotated[float, Field(ge=0)] = 0.0
    """Fee inside a microgrid, EUR/kWh (0)."""
    cell: Annotated[float, Field(ge=0)] = 0.0
    """Fee between microgrids of one cell, EUR/kWh (0)."""
    multicell: Annotated[float, Field(ge=0)] = 0.0
    """Fee between cells, EUR/kWh (0)."""

    @model_validator(mode="after")
    def _rise_with_the_level(self) -> Fees:
        for lower, upper in (("microgrid", "cell"), ("cell", "multicell")):
            below, above = getattr(self, lower), getattr(self, upper)
            if above < below:
                raise broken_rule(
                    f"the fee of the {upper} ({above:g}) is below that of the {lower} ({below:g})",
                    at=(upper,),
                    allowed=f"at least {below:g}: trading farther away must not be cheaper",
                )
        return self


class Prices(Section):
    """Prices outside the local markets, and the fees inside."""

    wholesale: WholesalePrice
    """Price at the energy exchange, EUR/kWh."""
    retail: RetailPrice
    """What households pay the retailer, EUR/kWh; network charges of `charges` come on top."""
    feed_in: FeedInPrice
    """What households get for energy that nobody nearby buys, EUR/kWh."""
    levies_eur_per_kwh: Annotated[float, Field(ge=0)] = 0.0
    """The part of the retail price that is collected for the state, EUR/kWh (0)."""
    fees: Fees = Fees()
    """Fee per level, EUR/kWh."""


class Market(Section):
    """How the three levels are cleared, and how the markets meet the grid."""

    coordination: Literal["joint", "local_first"] = "joint"
    """`joint`: one program over all levels; `local_first`: level by level, each its mechanism."""
    network: NetworkMode = "endogenous"
    """How the markets keep the grid's limits: none, envelope, redispatch, endogenous (default)."""
    envelope_rule: Rule = "max_total"
    """With `network: envelope`, how room is shared: max_total (default), proportional, equal."""
    envelope_product: Literal["slot", "day"] = "slot"
    """With `network: envelope`, when it is published: in every slot (default), or for a whole day
    before it begins."""
    microgrid: SlotMechanism | None = UniformPrice()
    """With `local_first`, the mechanism of the microgrids (uniform_price); null for no market."""
    cell: SlotMechanism | None = UniformPrice()
    """With `local_first`, the mechanism of the cells (uniform_price); null for no market."""
    multicell: SlotMechanism | None = UniformPrice()
    """With `local_first`, the mechanism of all cells (uniform_price); null for no market."""
    max_reclearings: Annotated[int, Field(ge=0, le=20)] = 3
    """How often a slot is cleared again if the AC power flow breaks a limit (3)."""

    def of_level(self, level: int) -> Mechanism | None:
        """Return the mechanism of a level, 1 microgrid to 3 multi-cell."""
        return (self.microgrid, self.cell, self.multicell)[level - 1]

    def _differs(self, name: str) -> bool:
        """Whether a field is not at its default."""
        return bool(getattr(self, name) != type(self).model_fields[name].default)

    @model_validator(mode="after")
    def _belongs_together(self) -> Market:
        if self.coordination == "joint":
            for name in ("microgrid", "cell", "multicell"):
                if self._differs(name):
                    raise broken_rule(
                        f"the {name} has a mechanism of its own, but the joint program clears it",
                        at=(name,),
                        allowed="mechanisms per level with `coordination: local_first`",
                    )
            if self.network != "endogenous":
                raise broken_rule(
                    f"the joint program knows the grid: `network: {self.network}` is not for it",
                    at=("network",),
                    allowed="endogenous, or any with `coordination: local_first`",
                )
        for name, use in (("envelope_rule", "share"), ("envelope_product", "publish")):
            if self.network != "envelope" and self._differs(name):
                raise broken_rule(
                    f"there are no envelopes to {use}",
                    at=(name,),
                    allowed=f"{name} with `network: envelope`",
                )
        return self


class Output(Section):
    """The results file."""

    compression_level: Annotated[int, Field(ge=1, le=9)] = 4
    """gzip level of the HDF5 data, 1 fast to 9 small (4)."""
    checkpoint_s: Annotated[float, Field(ge=0.0)] = 10.0
    """Seconds on the clock between checkpoints, each at the end of a day of slots; more in a long
    run and where they would take more than 2 % of it, 0 for one after every day (10)."""


class Scenario(Section):
    """A complete scenario."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    """Short name, and name of the results file: letters, digits, `.`, `_`, `-`."""
    description: str = ""
    """What the scenario shows, for people."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    """Seed of everything random (1): who owns which device, who trades, which order comes first."""
    time: Time
    """The period that is simulated."""
    grid: Grid
    """The network and its areas."""
    limits: Limits = Limits()
    """What the grid must keep."""
    weather: Weather | None = None
    """The weather that drives devices which ask for it (none)."""
    participants: Participants
    """Who trades."""
    prices: Prices
    """Prices outside the local markets, and fees."""
    charges: tuple[ChargeEntry, ...] = ()
    """Network charges on top of the retail price, and published presets of them (none)."""
    market: Market = Market()
    """How the markets are cleared."""
    forecasts: Forecasts = PerfectForecasts()
    """What is known when orders are placed (perfect)."""
    imbalance: Imbalance = DualImbalance()
    """How energy is settled that differs from what was contracted (dual)."""
    services: tuple[ServiceEntry, ...] = ()
    """Flexibility that network operators ask for (nothing)."""
    simulators: tuple[ThirdPartySimulator, ...] = ()
    """mosaik simulators of third parties that take part (none)."""
    output: Output = Output()
    """The results file."""

    @model_validator(mode="after")
    def _can_run_again(self) -> Scenario:
        strategy = self.participants.strategy
        if isinstance(strategy, LookAheadStrategy) and strategy.measure_value and self.simulators:
            raise broken_rule(
                "the value of looking ahead takes further runs, for which simulators of third "
                "parties cannot begin again",
                at=("participants", "strategy", "measure_value"),
                allowed="false with `simulators`",
            )
        return self

    @model_validator(mode="after")
    def _devices_fit_the_run(self) -> Scenario:
        pumps, appliances = self.participants.heat_pumps, self.participants.appliances
        if self.weather is None and pumps.needs_weather:
            raise broken_rule(
                "heat pumps of buildings need the outdoor temperature, but there is no weather",
                at=("participants", "heat_pumps", "buildings" if pumps.buildings else "model"),
                allowed="with a section `weather`, such as `weather: {try_region: 4}`, or "
                "`model: store`",
            )
        if appliances.share and self.time.step_minutes != APPLIANCE_STEP_MINUTES:
            raise broken_rule(
                f"runs of appliances are known in steps of {APPLIANCE_STEP_MINUTES} min, but slots "
                f"last {self.time.step_minutes} min",
                at=("participants", "appliances", "share"),
                allowed=f"a share with `time.step_minutes: {APPLIANCE_STEP_MINUTES}`, or a `list`",
            )
        return self

    @model_validator(mode="after")
    def _has_the_weather_that_is_asked_for(self) -> Scenario:
        if self.weather is None and isinstance(self.participants.pv, PvFromWeather):
            raise broken_rule(
                "PV plants follow the weather, but there is none",
                at=("participants", "pv"),
                allowed="with a section `weather`, such as `weather: {try_region: 4}`",
            )
        return self

    @field_validator("simulators")
    @classmethod
    def _simulator_names_are_unique(
        cls, simulators: tuple[ThirdPartySimulator, ...]
    ) -> tuple[ThirdPartySimulator, ...]:
        _refuse_repeated_name([simulator.name for simulator in simulators], "simulators")
        return simulators

    @model_validator(mode="after")
    def _has_imbalance_to_settle(self) -> Scenario:
        if self.forecasts.kind == "perfect" and self.imbalance.kind != "dual":
            raise broken_rule(
                "there is no imbalance to settle: forecasts are perfect",
                at=("imbalance",),
                allowed="`imbalance` with `forecasts: {kind: persistence}` or `{kind: ar1, ...}`",
            )
        return self


def _refuse_repeated_name(names: Sequence[str], what: str) -> None:
    for position, name in enumerate(names):
        if name in names[:position]:
            raise broken_rule(
                f"two {what} are called `{name}`",
                at=(position, "name"),
                suggestion="give each its own name",
            )


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a scenario file, for editors.

    A file that extends another may leave out any field, so that nothing but `kind` is required
    inside sections; `tricell check` reports what is missing in the merged scenario.
    """
    schema = Scenario.model_json_schema(by_alias=True)
    for section in schema["$defs"].values():
        if "required" in section:
            section["required"] = [name for name in section["required"] if name == "kind"]
    schema["properties"]["extends"] = {
        "type": "string",
        "description": "A shipped scenario or the path of a file that this one builds upon.",
    }
    schema["anyOf"] = [{"required": ["extends"]}, {"required": schema.pop("required")}]
    schema["title"] = "tricell scenario"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
