"""Devices that shift energy, beside the batteries of households: from a scenario to arrays.

Each kind has a file of its own: `tricell.scenarios.vehicle_choice`, `heat_pump_choice`,
`appliance_choice` and `shared_battery_choice`. What they have in common is here:

* A *share* of the households owns a device; they are the first in the order of
  `tricell.scenarios.adoption`, so that owners at a smaller share are among those at a larger one.
  Extra participants are asked last: they own what the lists give them.
* Whoever a list gives a device gets none by share.
* What such an owner had in the data (a charger, a heat pump) is taken out of the profiles, for its
  energy would count twice. Charging stations are agents of their own and stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import numpy as np

from tricell.errors import DataError
from tricell.grid_models.area_tree import AreaTree
from tricell.scenarios.adoption import Draw, chosen_devices, device_order, with_device_each
from tricell.scenarios.appliance_choice import drawn_jobs, joined_jobs, listed_jobs
from tricell.scenarios.heat_pump_choice import (
    Climate,
    HeatProfiles,
    StorePump,
    drawn_buildings,
    drawn_stores,
    joined_heating,
    listed_buildings,
    listed_stores,
)
from tricell.scenarios.inverter_choice import with_inverters
from tricell.scenarios.local_times import RunClock
from tricell.scenarios.participant_faults import FieldFaults
from tricell.scenarios.participants import profile_shelf
from tricell.scenarios.schema import Scenario
from tricell.scenarios.shared_battery_choice import Site, with_shared_batteries
from tricell.scenarios.vehicle_choice import drawn_vehicles, joined_vehicles, listed_vehicles
from tricell.scenarios.weather import irradiance, outdoor_temperature
from tricell.scenarios.yaml_tree import Key
from tricell.simulators.device_populations import Owners
from tricell.simulators.electric_vehicles import VehicleFleet
from tricell.simulators.flexible_devices import FlexibleDevices, Heating
from tricell.simulators.heat_pumps import HeatSource
from tricell.simulators.population import (
    AgentKind,
    DeviceKind,
    FloatArray,
    IntArray,
    Population,
)
from tricell.simulators.shiftable_loads import ShiftableLoads

APPLIANCE_STREAM = 2000
"""Number of the random stream of owners of appliances, apart from those of `DeviceKind`."""
LEAST_BASE_LOAD = 0.25
"""What is left of a base load at least if the energy of appliances is taken out of it."""
LISTED = (
    ("evs", "list"),
    ("heat_pumps", "stores"),
    ("heat_pumps", "buildings"),
    ("appliances", "list"),
)
"""Sections and fields of devices that a scenario names one by one."""
HOURS_PER_DAY = 24.0

AnyFleet = TypeVar("AnyFleet", VehicleFleet, Heating, ShiftableLoads)


def build_flexible(
    scenario: Scenario, net: Any, tree: AreaTree, population: Population
) -> tuple[Population, FlexibleDevices]:
    """Return everybody with the agents and batteries that are shared, and all flexible devices.

    Parameters
    ----------
    scenario : Scenario
    net : pandapowerNet
    tree : its areas.
    population : from `tricell.scenarios.participants.build_population`.

    Returns
    -------
    Population
        Without what the new devices replace; shared batteries are the last agents.
    FlexibleDevices
        What shifts energy, beside batteries.

    Raises
    ------
    ParticipantError
        With all fields that do not fit the network or the run.
    DataError
        If profiles are missing or unusable.
    """
    setting = _Setting(scenario, net, population)
    owners = {place: setting.listed_owners(place) for place in LISTED}
    setting.refuse_repeated_names()
    site = Site(net, tree, ("participants", "shared_batteries"), setting.faults)
    wanted = scenario.participants.shared_batteries
    population, shared = with_shared_batteries(population, wanted, site)
    setting.faults.raise_if_any()
    population, vehicles = _vehicles(setting, population, owners["evs", "list"])
    population, stores, houses = _heat_pumps(
        setting, population, owners["heat_pumps", "stores"], owners["heat_pumps", "buildings"]
    )
    population, appliances = _appliances(setting, population, owners["appliances", "list"])
    choice = scenario.participants.inverters
    population, inverters = with_inverters(population, choice, scenario.seed, setting.faults)
    setting.faults.raise_if_any()
    return population, FlexibleDevices(vehicles, houses, stores, appliances, inverters, shared)


@dataclass(frozen=True)
class _Setting:
    """What the devices of all kinds are built with; `population` is that of the network."""

    scenario: Scenario
    net: Any
    population: Population
    faults: FieldFaults = field(default_factory=FieldFaults)

    @cached_property
    def clock(self) -> RunClock:
        time = self.scenario.time
        return RunClock(time.start, time.slots, time.step_s, ZoneInfo(time.local_zone))

    @cached_property
    def households(self) -> IntArray:
        """Households of the network's data."""
        kind = self.population.agents.kind
        of_data = len(kind) - len(self.scenario.participants.extra)
        return np.flatnonzero(kind[:of_data] == AgentKind.HOUSEHOLD)

    @cached_property
    def rows(self) -> slice:
        """Rows of the profiles that belong to the run."""
        time = self.scenario.time
        first = self.population.profiles.first_row(time.start_utc, time.slots, time.step_s)
        return slice(first, first + time.slots)

    @cached_property
    def outdoor_c(self) -> FloatArray | None:
        """Outdoor temperature of the slots, degC; None without weather."""
        time, weather = self.scenario.time, self.scenario.weather
        if weather is None:
            return None
        return outdoor_temperature(weather, time.start_utc, time.slots, time.step_s)

    @cached_property
    def climate(self) -> Climate:
        """Weather of the slots; the schema refuses buildings without any."""
        time, weather = self.scenario.time, self.scenario.weather
        assert weather is not None
        assert self.outdoor_c is not None
        sun = irradiance(weather, time.start_utc, time.slots, time.step_s)
        return Climate(self.outdoor_c, sun.total_w_per_m2)

    @cached_property
    def draw(self) -> Draw:
        """Where new devices find their profiles."""
        participants, rows = self.scenario.participants, len(self.population.profiles.values)
        shelf = profile_shelf(participants.profiles, self.net, rows)
        return Draw(participants.adoption, shelf, self.scenario.seed)

    def entries(self, place: tuple[str, str]) -> Iterator[tuple[tuple[Key, ...], Any]]:
        """Yield path and entry of a list."""
        section, name = place
        entries = getattr(getattr(self.scenario.participants, section), name)
        for row, entry in enumerate(entries):
            yield ("participants", section, name, row), entry

    def listed_owners(self, place: tuple[str, str]) -> IntArray:
        """Return the rows of the owners in a list, 0 for those that do not exist."""
        rows = {name: row for row, name in enumerate(self.population.agents.id)}
        found = [
            self.faults.row_of(
                entry.owner,
                rows,
                (*path, "owner"),
                f"`{entry.owner}`, the owner of `{entry.name}`, does not exist",
                "a participant of the network or of `participants.extra`",
            )
            for path, entry in self.entries(place)
        ]
        return np.array([row or 0 for row in found], dtype=np.int64)

    def refuse_repeated_names(self) -> None:
        """Refuse names of devices and shared batteries that others have."""
        named = [
            (entry.name, (*path, "name")) for place in LISTED for path, entry in self.entries(place)
        ]
        named += [
            (each.name, ("participants", "shared_batteries", row, "name"))
            for row, each in enumerate(self.scenario.participants.shared_batteries)
        ]
        self.faults.refuse_repeated(
            named, self.population.agents.id, "something else is called `{}`, too"
        )

    def first_households(
        self, section: str, order: IntArray, share: float, listed: IntArray
    ) -> IntArray:
        """Return who gets a device by share, in the order of agents."""
        if share and not len(self.households):
            path = ("participants", section, "share")
            self.faults.add(path, "the network has no households that could own the devices")
        return np.setdiff1d(order[: round(share * len(self.households))], listed)

    def owners(self, agents: IntArray, what: str = "") -> Owners:
        """Return owners with the names of their devices."""
        ids = self.population.agents.id
        return Owners(tuple(f"{ids[row]}{what}" for row in agents), agents)


def _vehicles(
    setting: _Setting, population: Population, listed: IntArray
) -> tuple[Population, VehicleFleet | None]:
    wanted, seed = setting.scenario.participants.evs, setting.scenario.seed
    order = device_order(population, DeviceKind.EV, seed, setting.households)
    chosen = setting.first_households("evs", order, wanted.share, listed)
    fleets = []
    if len(chosen):
        owners = setting.owners(chosen, " vehicle")
        fleets.append(drawn_vehicles(wanted, owners, setting.clock, seed))
    if len(listed):
        path = ("participants", "evs", "list")
        fleets.append(listed_vehicles(wanted.list, listed, setting.clock, path, setting.faults))
    if not fleets:
        return population, None
    fleet = reduce(joined_vehicles, fleets)
    back = int(fleet.vehicles.gives_back.sum())
    told = f"{len(fleet)} vehicles can be charged at other times, {back} give back"
    return _without(population, DeviceKind.EV, fleet.vehicles.agent, told), fleet


def _heat_pumps(
    setting: _Setting, population: Population, in_stores: IntArray, in_buildings: IntArray
) -> tuple[Population, Heating | None, Heating | None]:
    wanted, seed = setting.scenario.participants.heat_pumps, setting.scenario.seed
    hours = setting.clock.hours
    order = device_order(population, DeviceKind.HEAT_PUMP, seed, setting.households)
    listed = np.concatenate([in_stores, in_buildings])
    chosen = setting.first_households("heat_pumps", order, wanted.share, listed)
    owners = setting.owners(chosen, " heat pump")
    stores, houses = [], []
    if len(chosen) and wanted.model == "store":
        profiles = _heat_profiles(setting, population, chosen)
        outdoor = setting.outdoor_c
        stores.append(
            drawn_stores(wanted, owners, profiles, outdoor_c=outdoor, seed=seed, hours=hours)
        )
    elif len(chosen):
        houses.append(drawn_buildings(wanted, owners, setting.climate, seed=seed, hours=hours))
    if len(in_stores):
        profile_kw = _profiles_of_stores(setting, population, in_stores)
        outdoor = setting.outdoor_c
        stores.append(
            listed_stores(wanted.stores, in_stores, profile_kw, outdoor_c=outdoor, hours=hours)
        )
    if len(in_buildings):
        houses.append(
            listed_buildings(wanted.buildings, in_buildings, setting.climate, hours=hours)
        )
    if stores or houses:
        agents = np.concatenate([chosen, listed])
        told = f"{len(agents)} heat pumps can run at other times"
        population = _without(population, DeviceKind.HEAT_PUMP, agents, told)
    return population, _all(stores, joined_heating), _all(houses, joined_heating)


def _heat_profiles(setting: _Setting, population: Population, agents: IntArray) -> HeatProfiles:
    """Return the heat pumps in the data of some agents; those without get one by `adoption`."""
    population = with_device_each(population, DeviceKind.HEAT_PUMP, agents, setting.draw)
    devices, profiles = population.devices, population.profiles
    chosen = (devices.kind == DeviceKind.HEAT_PUMP) & np.isin(devices.agent, agents)
    columns, column = np.unique(devices.p_profile[chosen], return_inverse=True)
    rated = np.zeros((len(columns), len(agents)))
    pump = np.searchsorted(agents, devices.agent[chosen])
    np.add.at(rated, (column, pump), devices.rated_kw[chosen])
    values = profiles.values[:, columns]
    largest, mean = values.max(axis=0).astype(np.float64), values.mean(axis=0, dtype=np.float64)
    in_ground = np.array(["Soil" in profiles.columns[row] for row in columns], dtype=np.bool_)
    # of several heat pumps of one owner, the larger part says where the heat comes from
    ground = (rated * np.where(in_ground, 1.0, -1.0)[:, None]).sum(axis=0) > 0
    return HeatProfiles(
        power_kw=values[setting.rows].astype(np.float64) @ rated,
        largest_kw=largest @ rated,
        mean_kw=mean @ rated,
        source=np.where(ground, int(HeatSource.GROUND), int(HeatSource.AIR)),
    )


def _profiles_of_stores(setting: _Setting, population: Population, agents: IntArray) -> FloatArray:
    """Return what the heat pumps of the list would draw by their profiles; see `listed_stores`."""
    heat_pumps = population.devices.kind == DeviceKind.HEAT_PUMP
    columns = []
    used: set[int] = set()
    for (path, pump), agent in zip(
        setting.entries(("heat_pumps", "stores")), agents.tolist(), strict=True
    ):
        if pump.profile is not None:
            columns.append(_listed_profile(setting, pump, (*path, "profile")))
        elif agent in used or agent not in population.devices.agent[heat_pumps]:
            why = "is taken by another one" if agent in used else "does not exist"
            setting.faults.add(
                (*path, "profile"),
                f"`{pump.name}` is to follow the heat pump that `{pump.owner}` has in the data, "
                f"which {why}",
                allowed="the name of a profile",
            )
        else:
            used.add(agent)
            row = np.array([agent])
            columns.append(_heat_profiles(setting, population, row).power_kw[:, 0])
    setting.faults.raise_if_any()
    return np.column_stack(columns)


def _listed_profile(setting: _Setting, pump: StorePump, path: tuple[Key, ...]) -> FloatArray:
    assert pump.profile is not None
    try:
        values = setting.draw.shelf.read(pump.profile, DeviceKind.HEAT_PUMP)
    except DataError as error:
        setting.faults.add(path, f"the profile of `{pump.name}` cannot be read: {error}")
        return np.zeros(0)
    factor = pump.rated_kw if pump.heat_kw is None else pump.heat_kw
    return np.asarray(values[setting.rows].astype(np.float64) * factor)


def _appliances(
    setting: _Setting, population: Population, listed: IntArray
) -> tuple[Population, ShiftableLoads | None]:
    wanted, seed = setting.scenario.participants.appliances, setting.scenario.seed
    order = np.random.default_rng([seed, APPLIANCE_STREAM]).permutation(setting.households)
    nobody = np.empty(0, np.int64)
    chosen = setting.first_households("appliances", order, wanted.share, nobody)
    jobs = []
    if len(chosen):
        jobs.append(drawn_jobs(wanted, setting.owners(chosen), setting.clock, seed))
        if wanted.in_base_load:
            population = _with_smaller_base_loads(population, chosen, wanted.kwh_per_day)
    if len(listed):
        path = ("participants", "appliances", "list")
        jobs.append(listed_jobs(wanted.list, listed, setting.clock, path, setting.faults))
    loads = _all(jobs, joined_jobs)
    return population, loads if loads is not None and len(loads) else None


def _with_smaller_base_loads(
    population: Population, agents: IntArray, kwh_per_day: float
) -> Population:
    """Take what appliances use on average out of the base loads of their owners."""
    devices, profiles = population.devices, population.profiles
    base = (devices.kind == DeviceKind.BASE_LOAD) & np.isin(devices.agent, agents)
    days = len(profiles.values) * profiles.step_s / 3600 / HOURS_PER_DAY
    per_day = np.zeros(len(population.agents))
    np.add.at(per_day, devices.agent[base], population.device_energy_kwh()[base] / days)
    left = np.ones(len(population.agents))
    np.divide(kwh_per_day, per_day, out=left, where=per_day > 0)
    left = np.where(per_day > 0, np.maximum(1.0 - left, LEAST_BASE_LOAD), 1.0)
    factor = np.where(base, left[devices.agent], 1.0)
    note = (
        f"Appliances of {len(agents)} households start when it suits; their base loads are scaled "
        f"by {left[agents].mean():.3f} on average, as they hold that energy already."
    )
    return replace(
        population,
        devices=replace(
            devices, rated_kw=devices.rated_kw * factor, rated_kvar=devices.rated_kvar * factor
        ),
        notes=(*population.notes, note),
    )


def _without(population: Population, kind: DeviceKind, agents: IntArray, told: str) -> Population:
    """Take the devices of a kind out of the profiles of some agents, and note how many."""
    devices = population.devices
    gone = (devices.kind == kind) & np.isin(devices.agent, agents)
    if kind is DeviceKind.EV:
        gone &= population.agents.kind[devices.agent] != AgentKind.CHARGING_STATION
    kept = chosen_devices(devices, ~gone)
    note = f"Flexible devices: {told}; {int(gone.sum())} profiles of the data are replaced."
    return replace(population, devices=kept, notes=(*population.notes, note))


def _all(fleets: list[AnyFleet], joined: Any) -> AnyFleet | None:
    return reduce(joined, fleets) if fleets else None
