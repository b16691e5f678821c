"""Heat pumps of a scenario: a share of the households, drawn, and those of two lists.

::

    heat_pumps:
      share: 0.3
      model: store                # SimBench's own heat demand, behind a thermal store
      stores:
        - {name: mill, owner: LV2.101 Load 3, rated_kw: 3, capacity_kwh: 20}
      buildings:                  # need `weather`
        - {name: barn, owner: LV2.101 Load 4, rated_kw: 4,
           capacity_kwh_per_k: 6, resistance_k_per_kw: 5}

The electricity of a profile times the COP is the heat demand behind a store: charged and drawn
in the same slot, the pump would use just its profile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from tricell.scenarios.adoption import Positive, Share
from tricell.scenarios.distribution_choice import (
    PositiveDrawn,
    TemperatureDrawn,
    distribution_of,
    replaced,
)
from tricell.scenarios.section import Section, broken_rule
from tricell.scenarios.vehicle_choice import Name, NotNegative
from tricell.simulators.device_populations import (
    FLOOR_HEATING,
    HOME_HEATING,
    RADIATORS,
    HeatDistributions,
    Owners,
    draw_heat_pumps,
)
from tricell.simulators.distributions import ASSUMED, Distribution, Uniform
from tricell.simulators.flexible_devices import Heating
from tricell.simulators.heat_pumps import (
    Buildings,
    HeatConditions,
    HeatFleet,
    HeatPumps,
    HeatSource,
    HeatStores,
    building_conditions,
    coefficient_of_performance,
    heated_buildings,
    heated_stores,
    store_conditions,
)
from tricell.simulators.population import FloatArray, IntArray

SEASONAL_COP = {HeatSource.AIR: 3.1, HeatSource.GROUND: 4.1}
"""Mean seasonal performance factors of heat pumps in existing houses: Fraunhofer ISE 2020,
WPsmart im Bestand, final report."""
STORE_HOURS = Uniform(6.0, 12.0, "h of the mean demand", ASSUMED)
"""Some 300 to 500 litres of water, 30 K warmer or colder, for a house that needs 12 MWh a year."""
LOSS_PER_H = 0.01
"""Share of a store's heat that is lost in an hour; assumed."""
INTERNAL_GAIN = 3.0
"""Heat from people and appliances, W per m2 of floor: TABULA, single-family houses."""

SUN_SHARE = 0.03
"""Windows of a seventh of the floor, of whose light a fifth comes in as heat; assumed."""

ONLY_OF_STORES = ("store_h", "loss_per_h", "cop")
ONLY_OF_BUILDINGS = (
    *("floor_m2", "loss_w_per_m2_k", "capacity_kj_per_m2_k", "ground_share", "comfort_low_c"),
    *("comfort_width_k", "design_c", "gain_w_per_m2", "sun_share"),
)
"""Fields of heat pumps by share that only one of the two models asks for."""

Source = Literal["air", "ground"]
SOURCES = {"air": HeatSource.AIR, "ground": HeatSource.GROUND}


class ListedPump(Section):
    """What all heat pumps of a list have."""

    name: Name
    """Its name; unique."""
    owner: Name
    """Id of the participant that it heats."""
    rated_kw: Positive
    """Largest electric power, kW."""
    source: Source = "air"
    """Where it takes its heat: air or ground (air)."""
    flow_at_0_c: Annotated[float, Field(ge=20, le=80)] = RADIATORS[0]
    """Flow temperature of the heating at 0 degC outdoors, degC (40: radiators; floor: 30); for
    the COP by `weather`."""
    flow_slope: NotNegative = RADIATORS[1]
    """By how much the flow is warmer per kelvin that it is colder outdoors (1; floor: 0.5)."""
    cop_factor: Positive = HOME_HEATING.cop_factor
    """What is reached in the field of the COP by `weather` (0.85)."""


class StorePump(ListedPump):
    """One heat pump with a thermal store behind it."""

    capacity_kwh: Positive
    """Heat between empty and full, kWh."""
    loss_per_h: Annotated[float, Field(gt=0, lt=1)] = LOSS_PER_H
    """Share of the stored heat lost in an hour (0.01)."""
    start_kwh: NotNegative | None = None
    """Heat at the start, kWh (null: half of the capacity)."""
    cop: Positive | None = None
    """Heat per electricity (null: by `weather`; without it 3.1 for air, 4.1 for ground)."""
    profile: str | None = None
    """Profile of the heat demand (null: that of the owner's heat pump in the data)."""
    heat_kw: Positive | None = None
    """Heat demand where the profile is 1, kW (null: what the pump gives)."""

    @model_validator(mode="after")
    def _belongs_together(self) -> StorePump:
        if self.start_kwh is not None and self.start_kwh > self.capacity_kwh:
            raise broken_rule(
                f"`{self.name}` starts with {self.start_kwh:g} kWh, above its capacity",
                at=("start_kwh",),
                allowed=f"at most {self.capacity_kwh:g}",
            )
        if self.heat_kw is not None and self.profile is None:
            raise broken_rule(
                f"`{self.name}` has no profile that its heat demand could multiply",
                at=("heat_kw",),
                allowed="a demand with a `profile`",
            )
        return self


class BuildingPump(ListedPump):
    """One heat pump that keeps a building inside its comfort band."""

    capacity_kwh_per_k: Positive
    """Effective heat capacity, kWh/K."""
    resistance_k_per_kw: Positive
    """Kelvin between indoors and outdoors per kW lost, K/kW."""
    comfort_low_c: float = 20.0
    """Lower end of the comfort band, degC (20)."""
    comfort_high_c: float = 22.0
    """Upper end of the comfort band, degC (22)."""
    start_c: float | None = None
    """Indoor temperature at the start, degC (null: the middle of the band)."""
    gain_kw: NotNegative = 0.4
    """Heat from people and appliances, kW (0.4)."""
    sun_m2: NotNegative = 0.0
    """Effective area that takes in the sun's irradiance on the level, m2 (0)."""

    @model_validator(mode="after")
    def _comfort_band_is_wide(self) -> BuildingPump:
        if not self.comfort_low_c < self.comfort_high_c:
            raise broken_rule(
                f"the comfort band of `{self.name}` is empty",
                at=("comfort_high_c",),
                allowed=f"above {self.comfort_low_c:g}",
            )
        return self


class HeatPumpChoice(Section):
    """Heat pumps that can be shifted; null for what was measured or assumed."""

    share: Share = 0.0
    """Share of the households with one, owners of a heat pump first (0)."""
    model: Literal["store", "building"] = "store"
    """`store`: the demand of a heat-pump profile behind a thermal store; `building`: a house that
    is kept inside a comfort band, by `weather` (store)."""
    store_h: PositiveDrawn | None = None
    """Heat of a full store in hours of the year's mean demand, h (null: 6 to 12)."""
    loss_per_h: Annotated[float, Field(gt=0, lt=1)] = LOSS_PER_H
    """Share of a store's heat lost in an hour (0.01)."""
    cop: PositiveDrawn | None = None
    """Heat per electricity with stores (null: by `weather`; without it 3.1 air, 4.1 ground)."""
    floor_m2: PositiveDrawn | None = None
    """Heated floor of a building, m2 (null: 121 on average, as in TABULA)."""
    loss_w_per_m2_k: PositiveDrawn | None = None
    """Heat loss of a building, W per m2 of floor and K (null: 0.8 to 2)."""
    capacity_kj_per_m2_k: PositiveDrawn | None = None
    """Heat capacity of a building, kJ per m2 of floor and K (null: 110, 165 or 260, ISO 13790)."""
    ground_share: Share | None = None
    """Share of pumps of buildings that draw from the ground (null: 0.234, as in SimBench)."""
    floor_heating_share: Share | None = None
    """Share of floor heating, the others have radiators, for the COP by `weather` (null: 0.5)."""
    cop_factor: Positive | None = None
    """What is reached in the field of the COP by `weather` (null: 0.85)."""
    comfort_low_c: TemperatureDrawn | None = None
    """Lower end of the comfort band, degC (null: 19.5 to 21)."""
    comfort_width_k: PositiveDrawn | None = None
    """Width of the comfort band, K (null: 1 to 3)."""
    design_c: Annotated[float, Field(ge=-30, le=15)] | None = None
    """Outdoor temperature at which the pump just heats the building, degC (null: -12)."""
    gain_w_per_m2: NotNegative = INTERNAL_GAIN
    """Heat from people and appliances, W per m2 of floor (3, as in TABULA)."""
    sun_share: NotNegative = SUN_SHARE
    """Effective area for the sun's irradiance on the level, m2 per m2 of floor (0.03)."""
    stores: tuple[StorePump, ...] = ()
    """Heat pumps with a store one by one; their owners get none by `share` (none)."""
    buildings: tuple[BuildingPump, ...] = ()
    """Heat pumps of buildings one by one; their owners get none by `share` (none)."""

    @model_validator(mode="after")
    def _fields_are_of_the_model(self) -> HeatPumpChoice:
        other = ONLY_OF_BUILDINGS if self.model == "store" else ONLY_OF_STORES
        for name in other:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise broken_rule(
                    f"{name} does not say anything with `model: {self.model}`",
                    at=(name,),
                    allowed="it with the other model, or in the list of single heat pumps",
                )
        return self

    @property
    def distributions(self) -> HeatDistributions:
        """What heated houses are drawn from."""
        return replaced(HOME_HEATING, self)

    @property
    def store_hours(self) -> Distribution:
        """What the size of a store is drawn from, h."""
        given = self.store_h
        return STORE_HOURS if given is None else distribution_of(given, STORE_HOURS.unit)

    @property
    def needs_weather(self) -> bool:
        """Whether there are buildings."""
        return bool(self.buildings or (self.share and self.model == "building"))


@dataclass(frozen=True)
class Climate:
    """Weather of the slots of a run, float64, shape (slots,).

    Attributes
    ----------
    outdoor_c : outdoor temperature, degC.
    sun_w_per_m2 : irradiance on the level, W/m2.
    """

    outdoor_c: FloatArray
    sun_w_per_m2: FloatArray


@dataclass(frozen=True)
class HeatProfiles:
    """What heat pumps would draw by their profiles, one column per pump.

    Attributes
    ----------
    power_kw : float64, shape (slots, n_pump)
        Electric power in the slots of the run, kW.
    largest_kw, mean_kw : float64, shape (n_pump,)
        Of all rows of the profiles, kW.
    source : int64, shape (n_pump,)
        Codes of `HeatSource`.
    """

    power_kw: FloatArray
    largest_kw: FloatArray
    mean_kw: FloatArray
    source: IntArray


def drawn_stores(
    wanted: HeatPumpChoice,
    owners: Owners,
    profiles: HeatProfiles,
    *,
    outdoor_c: FloatArray | None,
    seed: int,
    hours: float,
) -> Heating:
    """Put a store between the heat pumps of profiles and the heat that these stand for.

    Parameters
    ----------
    wanted : the section of the scenario.
    owners : who gets one.
    profiles : one for each owner.
    outdoor_c : float64, shape (slots,)
        Outdoor temperature, degC; None without weather.
    seed : of the scenario.
    hours : length of a slot, h.
    """
    count, from_data = len(owners.name), wanted.distributions
    has_floor = owners.uniforms(seed, "hp floor heating", 1)[0] < from_data.floor_heating_share
    pumps = HeatPumps(
        name=owners.name,
        agent=owners.agent,
        rated_kw=profiles.largest_kw,
        source=profiles.source,
        flow_at_0_c=np.where(has_floor, FLOOR_HEATING[0], RADIATORS[0]),
        flow_slope=np.where(has_floor, FLOOR_HEATING[1], RADIATORS[1]),
        cop_factor=np.full(count, from_data.cop_factor),
    )
    usual = _seasonal_cop(profiles.source)
    given = np.full(count, np.nan)
    if wanted.cop is not None:
        usual = given = owners.drawn(seed, "hp cop", distribution_of(wanted.cop, "1"))
    cop = _cop(pumps, given, outdoor_c, len(profiles.power_kw))
    capacity = owners.drawn(seed, "hp store", wanted.store_hours) * profiles.mean_kw * usual
    start = capacity * owners.uniforms(seed, "hp start", 1)[0]
    stores = HeatStores(capacity, np.full(count, wanted.loss_per_h), start)
    fleet = heated_stores(pumps, stores, hours)
    return Heating(fleet, store_conditions(fleet, cop, profiles.power_kw * cop))


def listed_stores(
    listed: Sequence[StorePump],
    agents: IntArray,
    profile_kw: FloatArray,
    *,
    outdoor_c: FloatArray | None,
    hours: float,
) -> Heating:
    """Return the heat pumps of a list with their stores; see `drawn_stores`.

    Parameters
    ----------
    listed : the heat pumps.
    agents : int64, shape (n_pump,)
        Rows of their owners.
    profile_kw : float64, shape (slots, n_pump)
        What each would draw by its profile, kW; heat where `heat_kw` is given.
    outdoor_c, hours : as for `drawn_stores`.
    """
    pumps = _listed_pumps(listed, agents)
    given = _column([np.nan if each.cop is None else each.cop for each in listed])
    cop = _cop(pumps, given, outdoor_c, len(profile_kw))
    half = [each.capacity_kwh / 2 for each in listed]
    starts = [
        middle if each.start_kwh is None else each.start_kwh
        for each, middle in zip(listed, half, strict=True)
    ]
    stores = HeatStores(
        capacity_kwh=_column([each.capacity_kwh for each in listed]),
        loss_per_h=_column([each.loss_per_h for each in listed]),
        start_kwh=_column(starts),
    )
    fleet = heated_stores(pumps, stores, hours)
    is_heat = np.array([each.heat_kw is not None for each in listed], dtype=np.bool_)
    return Heating(fleet, store_conditions(fleet, cop, profile_kw * np.where(is_heat, 1.0, cop)))


def drawn_buildings(
    wanted: HeatPumpChoice, owners: Owners, climate: Climate, *, seed: int, hours: float
) -> Heating:
    """Draw a building with its heat pump for each owner; see `drawn_stores`."""
    from_data = wanted.distributions
    pumps, buildings = draw_heat_pumps(owners, seed, from_data)
    floor_m2 = owners.drawn(seed, "hp floor", from_data.floor_m2)
    gains = floor_m2 * wanted.gain_w_per_m2 / 1000
    return _heated(pumps, buildings, climate, (gains, floor_m2 * wanted.sun_share), hours)


def listed_buildings(
    listed: Sequence[BuildingPump], agents: IntArray, climate: Climate, *, hours: float
) -> Heating:
    """Return the heat pumps of a list with their buildings; see `drawn_stores`."""
    low = _column([each.comfort_low_c for each in listed])
    high = _column([each.comfort_high_c for each in listed])
    start = _column([np.nan if each.start_c is None else each.start_c for each in listed])
    buildings = Buildings(
        capacity_kwh_per_k=_column([each.capacity_kwh_per_k for each in listed]),
        resistance_k_per_kw=_column([each.resistance_k_per_kw for each in listed]),
        comfort_low_c=low,
        comfort_high_c=high,
        start_c=np.where(np.isnan(start), (low + high) / 2, start),
    )
    gains = _column([each.gain_kw for each in listed])
    aperture_m2 = _column([each.sun_m2 for each in listed])
    pumps = _listed_pumps(listed, agents)
    return _heated(pumps, buildings, climate, (gains, aperture_m2), hours)


def joined_heating(first: Heating, second: Heating) -> Heating:
    """Put two fleets of one kind one after the other."""
    a, b = first.fleet, second.fleet
    arrays = {
        key: np.concatenate([value, getattr(b.pumps, key)])
        for key, value in vars(a.pumps).items()
        if key != "name"
    }
    nodes = {
        key: np.concatenate([getattr(a, key), getattr(b, key)])
        for key in ("capacity", "resistance", "low", "high", "start")
    }
    pumps = HeatPumps(name=a.pumps.name + b.pumps.name, **arrays)
    conditions = {
        key: np.concatenate([value, getattr(second.conditions, key)], axis=1)
        for key, value in vars(first.conditions).items()
    }
    return Heating(
        HeatFleet(pumps, a.hours, is_store=a.is_store, **nodes), HeatConditions(**conditions)
    )


def _heated(
    pumps: HeatPumps,
    buildings: Buildings,
    climate: Climate,
    gains: tuple[FloatArray, FloatArray],
    hours: float,
) -> Heating:
    """Join pumps and buildings; gains are kW of their own and m2 that take in the sun."""
    fleet = heated_buildings(pumps, buildings, hours)
    outdoor = climate.outdoor_c[:, None]
    own_kw, aperture_m2 = gains
    gain_kw = own_kw + aperture_m2 * climate.sun_w_per_m2[:, None] / 1000
    cop = coefficient_of_performance(pumps, outdoor)
    return Heating(fleet, building_conditions(fleet, cop, outdoor, gain_kw))


def _listed_pumps(listed: Sequence[ListedPump], agents: IntArray) -> HeatPumps:
    return HeatPumps(
        name=tuple(each.name for each in listed),
        agent=agents,
        rated_kw=_column([each.rated_kw for each in listed]),
        source=np.array([int(SOURCES[each.source]) for each in listed], dtype=np.int64),
        flow_at_0_c=_column([each.flow_at_0_c for each in listed]),
        flow_slope=_column([each.flow_slope for each in listed]),
        cop_factor=_column([each.cop_factor for each in listed]),
    )


def _cop(
    pumps: HeatPumps, given: FloatArray, outdoor_c: FloatArray | None, slots: int
) -> FloatArray:
    """Return the COP of every slot, shape (slots, n_pump): as given, by weather, or seasonal."""
    if outdoor_c is None:
        usual = np.broadcast_to(_seasonal_cop(pumps.source), (slots, len(pumps)))
    else:
        usual = coefficient_of_performance(pumps, outdoor_c[:, None])
    return np.where(np.isnan(given), usual, given)


def _seasonal_cop(source: IntArray) -> FloatArray:
    air = source == HeatSource.AIR
    return np.where(air, SEASONAL_COP[HeatSource.AIR], SEASONAL_COP[HeatSource.GROUND])


def _column(values: Sequence[float]) -> FloatArray:
    return np.array(values, dtype=np.float64)
