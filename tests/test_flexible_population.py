"""Devices that shift energy, from a scenario to arrays: who owns them, what is refused."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime, time
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandapower as pp
import pytest

from tricell.grid_models.area_tree import AreaTree, cut_areas
from tricell.scenarios.appliance_choice import KNOWN, ApplianceChoice
from tricell.scenarios.faults import Fault, ScenarioFaultsError
from tricell.scenarios.flexible_population import build_flexible
from tricell.scenarios.heat_pump_choice import SEASONAL_COP
from tricell.scenarios.local_times import RunClock
from tricell.scenarios.network import Network, load_network
from tricell.scenarios.participant_faults import ParticipantError
from tricell.scenarios.participants import build_population
from tricell.scenarios.scenario_file import (
    Override,
    as_yaml,
    faults_located,
    from_yaml,
    load_scenario,
)
from tricell.scenarios.schema import Scenario
from tricell.scenarios.weather import outdoor_temperature
from tricell.simulators.flexible_devices import FlexibleDevices
from tricell.simulators.heat_pumps import HeatSource, coefficient_of_performance
from tricell.simulators.household_power import AgentPower
from tricell.simulators.population import AgentKind, DeviceKind, Population

TOWN = """
name: town
time: {start: 2016-05-23T00:00Z, days: 2}
grid:
  source: {kind: file, path: town.json}
participants:
  profiles: constant
prices:
  wholesale: {kind: constant, price_eur_per_kwh: 0.05}
  retail: {kind: fixed, price_eur_per_kwh: 0.3}
  feed_in: {kind: fixed, price_eur_per_kwh: 0.08}
"""
HOUSES = 12


@cache
def town() -> Any:
    """Return one medium-voltage line with two low-voltage grids, six houses of 2 kW in each."""
    net = pp.create_empty_network()
    first = pp.create_bus(net, 20.0, name="first MV")
    second = pp.create_bus(net, 20.0, name="second MV")
    pp.create_ext_grid(net, first)
    pp.create_line(net, first, second, 1.0, "NA2XS2Y 1x95 RM/25 12/20 kV")
    for grid, above in enumerate((first, second)):
        busbar = pp.create_bus(net, 0.4, name=f"busbar {grid}")
        pp.create_transformer(net, above, busbar, "0.25 MVA 20/0.4 kV")
        end = pp.create_bus(net, 0.4, name=f"end {grid}")
        pp.create_line(net, busbar, end, 0.1, "NAYY 4x50 SE")
        for house in range(HOUSES // 2):
            pp.create_load(net, end, 0.002, name=f"house {grid}{house}")
    return net


@cache
def town_areas() -> AreaTree:
    return cut_areas(town())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("town")
    pp.to_json(town(), str(folder / "town.json"))
    (folder / "town.yaml").write_text(TOWN)
    return folder


def scenario_of(folder: Path, *assignments: str) -> Scenario:
    overrides = [Override.from_assignment(each) for each in assignments]
    return load_scenario(str(folder / "town.yaml"), overrides)


def built(scenario: Scenario) -> tuple[Population, FlexibleDevices]:
    population = build_population(scenario, town())
    return build_flexible(scenario, town(), town_areas(), population)


def owned(scenario: Scenario) -> FlexibleDevices:
    return built(scenario)[1]


def faults_of(folder: Path, participants: str) -> tuple[Fault, ...]:
    """Return the faults of a file of its own, found by reading or by building."""
    file = folder / "mine.yaml"
    file.write_text(f"extends: town.yaml\nparticipants:\n{participants}")

    def read_and_build() -> None:
        scenario = load_scenario(str(file))
        with faults_located(str(file), [], scenario):
            built(scenario)

    with pytest.raises(ScenarioFaultsError) as caught:
        read_and_build()
    return caught.value.faults


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal to the last bit, arrays and dataclasses too."""
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))
    if is_dataclass(one) and type(one) is type(other):
        names = [field.name for field in fields(one)]
        return all(same(getattr(one, name), getattr(other, name)) for name in names)
    return bool(one == other)


ALL_KINDS = (
    "participants.evs={share: 0.5, gives_back_share: 0.5}",
    "participants.heat_pumps={share: 0.5}",
    "participants.adoption={heat_pump_profile: any, heat_pump_kw: 2}",
    "participants.appliances={share: 0.5}",
)


# --- who owns what ---


def test_without_any_devices_nothing_changes(folder: Path) -> None:
    scenario = scenario_of(folder)
    before = build_population(scenario, town())
    after, devices = build_flexible(scenario, town(), town_areas(), before)
    assert after is before
    assert devices == FlexibleDevices()


@pytest.mark.parametrize(
    "field", ["evs={share: SHARE}", "heat_pumps={share: SHARE}", "appliances={share: SHARE}"]
)
def test_owners_at_a_smaller_share_keep_their_devices_when_others_join(
    folder: Path, field: str
) -> None:
    def devices(share: float) -> dict[str, list[Any]]:
        wanted = f"participants.{field.replace('SHARE', str(share))}"
        pumps = "participants.adoption={heat_pump_profile: any, heat_pump_kw: 2}"
        found = owned(scenario_of(folder, wanted, pumps))
        if found.vehicles is not None:
            fleet = found.vehicles
            window = [fleet.windows.arrive_slot, fleet.windows.need_kwh]
            per_window = np.column_stack(window)
            return {
                name: [fleet.vehicles.battery_kwh[row], per_window[a:b].tolist()]
                for row, (name, a, b) in enumerate(
                    zip(
                        fleet.vehicles.name,
                        fleet.first_window[:-1],
                        fleet.first_window[1:],
                        strict=True,
                    )
                )
            }
        if found.stores is not None:
            pump = found.stores.fleet
            return {name: [pump.high[row]] for row, name in enumerate(pump.pumps.name)}
        jobs = found.appliances
        assert jobs is not None
        return {name: [jobs.earliest_slot[row]] for row, name in enumerate(jobs.name)}

    few, many = devices(0.3), devices(0.8)
    assert few.items() <= many.items()
    assert len(few) < len(many)


def test_exactly_the_rounded_share_of_the_households_owns_a_device(folder: Path) -> None:
    found = owned(scenario_of(folder, *ALL_KINDS))
    assert found.vehicles is not None
    assert found.stores is not None
    assert len(found.vehicles) == len(found.stores.fleet) == HOUSES / 2
    assert len(set(found.vehicles.vehicles.agent)) == HOUSES / 2


def test_the_same_seed_gives_the_same_bits_and_another_one_others(folder: Path) -> None:
    first, again = (owned(scenario_of(folder, *ALL_KINDS)) for _ in range(2))
    other = owned(scenario_of(folder, *ALL_KINDS, "seed=2"))
    for name in ("vehicles", "stores", "appliances"):
        assert same(getattr(first, name), getattr(again, name))
        assert not same(getattr(first, name), getattr(other, name))


def test_a_vehicle_of_the_list_takes_the_place_of_one_by_share(folder: Path) -> None:
    by_share = owned(scenario_of(folder, "participants.evs.share=0.5")).vehicles
    assert by_share is not None
    owner = by_share.vehicles.name[0].removesuffix(" vehicle")
    car = f"{{name: mine, owner: {owner}, battery_kwh: 50, charger_kw: 11, windows: [{DAILY}]}}"
    fleet = owned(
        scenario_of(folder, "participants.evs.share=0.5", f"participants.evs.list=[{car}]")
    ).vehicles
    assert fleet is not None
    assert fleet.vehicles.name == (*by_share.vehicles.name[1:], "mine")
    assert fleet.vehicles.battery_kwh[-1] == 50


def test_an_extra_participant_does_not_change_who_is_drawn(folder: Path) -> None:
    guest = "participants.extra=[{name: guest, bus: end 0, load_kw: 1}]"
    alone = owned(scenario_of(folder, "participants.evs.share=1")).vehicles
    beside = owned(scenario_of(folder, "participants.evs.share=1", guest)).vehicles
    assert same(alone, beside)


@cache
def district() -> tuple[Network, Population]:
    scenario = load_scenario("district")
    network = load_network(scenario)
    return network, build_population(scenario, network.net)


def district_of(*assignments: str) -> tuple[Scenario, Population, Population, FlexibleDevices]:
    """Return scenario, participants before and after, and devices of a day of the district."""
    given = [Override.from_assignment(each) for each in ("time.days=1", *assignments)]
    scenario, (network, before) = load_scenario("district", given), district()
    after, devices = build_flexible(scenario, network.net, network.tree, before)
    return scenario, before, after, devices


def test_heat_pumps_of_the_data_give_their_electricity_to_a_store() -> None:
    scenario, before, after, devices = district_of("participants.heat_pumps.share=0.1")
    owners = set(before.devices.agent[before.devices.kind == DeviceKind.HEAT_PUMP])
    assert devices.stores is not None
    heating = devices.stores
    agents = heating.fleet.pumps.agent
    assert len(agents) == 43
    assert set(agents) <= owners  # 58 own one in the data: those come first
    time_ = scenario.time
    row = before.profiles.first_row(time_.start_utc, time_.slots, time_.step_s)
    load = [AgentPower(p).block(row, time_.slots).p_load_kw[:, agents] for p in (before, after)]
    demand = -heating.conditions.gain_kw / heating.conditions.cop
    np.testing.assert_allclose(load[0] - load[1], demand, atol=1e-12)
    assert set(heating.conditions.cop[0]) == set(SEASONAL_COP.values())
    assert (demand <= heating.fleet.pumps.rated_kw * (1 + 1e-12)).all()
    assert "43 heat pumps can run at other times; 43 profiles" in after.notes[-1]


def test_a_household_without_a_heat_pump_gets_the_one_that_adoption_would_give() -> None:
    _, before, after, devices = district_of("participants.heat_pumps.share=1")
    assert devices.stores is not None
    fleet = devices.stores.fleet
    assert len(fleet) == 434
    assert after.profiles is before.profiles
    of_household = before.agents.kind[after.devices.agent] == AgentKind.HOUSEHOLD
    assert not (of_household & (after.devices.kind == DeviceKind.HEAT_PUMP)).any()
    # Air_* and Soil_* of SimBench are drawn alike, whatever the share
    assert 0.1 < (fleet.pumps.source == HeatSource.GROUND).mean() < 0.9


def test_by_the_weather_the_cop_follows_the_outdoor_temperature() -> None:
    scenario, _, _, devices = district_of(
        "participants.heat_pumps={share: 0.1}", "weather={try_region: 4}"
    )
    assert devices.stores is not None
    assert scenario.weather is not None
    pumps, time_ = devices.stores.fleet.pumps, scenario.time
    outdoor = outdoor_temperature(scenario.weather, time_.start_utc, time_.slots, time_.step_s)
    expected = coefficient_of_performance(pumps, outdoor[:, None])
    np.testing.assert_array_equal(devices.stores.conditions.cop, expected)


def test_chargers_of_the_data_make_room_for_vehicles_but_charging_stations_stay() -> None:
    scenario, before, after, devices = district_of("participants.evs.share=1")
    assert devices.vehicles is not None
    assert len(devices.vehicles) == 434
    at = after.agents.kind[after.devices.agent[after.devices.kind == DeviceKind.EV]]
    assert AgentKind.HOUSEHOLD not in at
    charger = int(np.argmax(before.devices.kind == DeviceKind.EV))
    station = int(before.devices.agent[charger])
    kind = before.agents.kind.copy()
    kind[station] = AgentKind.CHARGING_STATION
    changed = replace(before, agents=replace(before.agents, kind=kind))
    network, _ = district()
    kept, _ = build_flexible(scenario, network.net, network.tree, changed)
    assert station in kept.devices.agent[kept.devices.kind == DeviceKind.EV]


def test_the_base_loads_are_lower_by_what_appliances_use_on_average() -> None:
    _, before, after, _ = district_of("participants.appliances={share: 1, kinds: [dishwasher]}")
    base = before.devices.kind == DeviceKind.BASE_LOAD
    home = base & (before.agents.kind[before.devices.agent] == AgentKind.HOUSEHOLD)
    less = (before.device_energy_kwh() - after.device_energy_kwh())[home]
    # 1.9 + 4 x 0.1 + 1.5 kW for a quarter of an hour each, on 60 % of 366 days
    per_year = (1.9 + 0.4 + 1.5) / 4 * 0.6 * 366
    floor = 0.75 * before.device_energy_kwh()[home]
    np.testing.assert_allclose(less, np.minimum(per_year, floor), rtol=1e-6)
    assert (before.device_energy_kwh() == after.device_energy_kwh())[~home].all()


# --- windows and jobs ---

DAILY = '{arrive: "17:30", depart: "07:00", need_kwh: 8}'


def listed_windows(folder: Path, windows: str, *assignments: str) -> list[list[float]]:
    car = f"{{name: car, owner: house 00, battery_kwh: 50, charger_kw: 2, windows: [{windows}]}}"
    fleet = owned(scenario_of(folder, f"participants.evs.list=[{car}]", *assignments)).vehicles
    assert fleet is not None
    found = fleet.windows
    columns = [found.arrive_slot, found.depart_slot, found.need_kwh]
    return np.column_stack(columns).tolist()  # type: ignore[no-any-return]


def test_daily_windows_follow_the_local_clock_and_the_night_before_counts(folder: Path) -> None:
    """17:30 and 07:00 in summer are 15:30 and 05:00 UTC; 5 h are left of the first night."""
    expected = [[0, 20, 8], [62, 96 + 20, 8], [96 + 62, 192 + 20, 8]]
    assert listed_windows(folder, DAILY) == expected


def test_of_the_night_before_no_more_is_needed_than_can_still_be_charged(folder: Path) -> None:
    first = listed_windows(folder, DAILY, "time.start=2016-05-23T04:00Z")[0]
    assert first == [0, 4, pytest.approx(2 * 0.92 * 1)]  # one hour at 2 kW


def test_a_night_in_which_the_clock_changes_is_an_hour_shorter(folder: Path) -> None:
    summer = listed_windows(folder, DAILY, "time.start=2016-03-26T00:00Z")
    assert summer[1][:2] == [66, 96 + 20]  # 17:30 CET to 07:00 CEST


def test_windows_with_a_date_count_once_and_may_lie_outside_the_run(folder: Path) -> None:
    windows = (
        "{arrive: 2016-05-23T17:30+02:00, depart: 2016-05-24T07:05+02:00, need_kwh: 1},"
        "{arrive: 2016-06-23T17:30, depart: 2016-06-24T07:00}"
    )
    assert listed_windows(folder, windows) == [[62, 96 + 20, 1]]


def test_a_run_touches_its_local_days_and_the_one_before() -> None:
    clock = RunClock(datetime(2016, 5, 23, 22, tzinfo=UTC), 96, 900, ZoneInfo("Europe/Berlin"))
    assert [str(day) for day in clock.days()] == ["2016-05-23", "2016-05-24"]
    assert clock.run_time.first_slot_of_day == 0
    assert clock.intervals(time(0), time(1)) == {"2016-05-24": (0, 4)}


def test_daily_jobs_run_on_every_day_that_holds_them(folder: Path) -> None:
    job = '{name: dryer, owner: house 00, power_kw: [2, 1], earliest: "09:00", latest_end: "10:00"}'
    once = (
        "{name: kiln, owner: house 01, power_kw: [3], earliest: 2016-05-23T20:00, "
        "latest_end: 2016-05-23T23:00}"
    )
    jobs = owned(scenario_of(folder, f"participants.appliances.list=[{job}, {once}]")).appliances
    assert jobs is not None
    assert jobs.name == ("dryer, 2016-05-23", "dryer, 2016-05-24", "kiln")
    assert jobs.earliest_slot.tolist() == [28, 96 + 28, 80]
    assert jobs.latest_end_slot.tolist() == [32, 96 + 32, 92]
    assert jobs.profile_kw.tolist() == [[2, 1], [2, 1], [3, 0]]


def test_appliances_by_share_and_those_of_a_list_stand_side_by_side(folder: Path) -> None:
    job = '{name: kiln, owner: house 01, power_kw: [3], earliest: "09:00", latest_end: "10:00"}'
    wanted = f"participants.appliances={{share: 1, kinds: [{OWN_KIND}], list: [{job}]}}"
    jobs = owned(scenario_of(folder, wanted)).appliances
    assert jobs is not None
    assert len(jobs) == 2 * HOUSES + 2
    assert set(jobs.agent) == set(range(HOUSES))


OWN_KIND = "{name: sauna, power_kw: [6, 3], runs_per_day: 1, earliest_h: 4, latest_end_h: 23}"


def test_the_known_appliances_are_those_that_the_schema_names() -> None:
    assert ApplianceChoice().kinds == tuple(KNOWN)


# --- what devices are drawn from ---


@pytest.mark.parametrize(
    ("given", "least", "most"),
    [
        ("55", 55, 55),
        ("{kind: choice, values: [30, 90], shares: [0.5, 0.5]}", 30, 90),
        ("{kind: choice, values: [30, 90]}", 30, 90),
        ("{kind: uniform, least: 31, most: 33}", 31, 33),
        ("{kind: normal, mean: 50, deviation: 9, least: 49, most: 51}", 49, 51),
        ("{kind: lognormal, median: 50, log_deviation: 0.001}", 49, 51),
    ],
)
def test_a_quantity_is_drawn_from_what_the_scenario_gives(
    folder: Path, given: str, least: float, most: float
) -> None:
    wanted = f"participants.evs={{share: 1, battery_kwh: {given}}}"
    fleet = owned(scenario_of(folder, wanted)).vehicles
    usual = owned(scenario_of(folder, "participants.evs.share=1")).vehicles
    assert fleet is not None
    assert usual is not None
    battery = fleet.vehicles.battery_kwh
    assert ((battery >= least) & (battery <= most)).all()
    np.testing.assert_array_equal(fleet.vehicles.charger_kw, usual.vehicles.charger_kw)


def test_a_scenario_with_all_devices_reads_back_as_it_was_written(folder: Path) -> None:
    scenario = scenario_of(
        folder,
        *ALL_KINDS,
        "participants.evs.charger_kw={kind: choice, values: [4, 11]}",
        "participants.evs.list=[{name: a, owner: house 00, battery_kwh: 9, charger_kw: 1, windows:"
        " [{arrive: 17:30, depart: 07:00:30}]}, {name: b, owner: house 00, battery_kwh: 9, "
        "charger_kw: 1, windows: [{arrive: 2016-05-23T17:30+02:00, depart: 2016-05-24}]}]",
        f"participants.appliances.kinds=[dishwasher, {OWN_KIND}]",
        "participants.shared_batteries=[{name: s, level: cell, energy_kwh: 1, power_kw: 1}]",
    )
    assert from_yaml(as_yaml(scenario)) == scenario


# --- buildings ---


def test_buildings_lose_heat_to_the_weather_and_start_inside_their_band(folder: Path) -> None:
    barn = (
        "{name: barn, owner: house 00, rated_kw: 4, capacity_kwh_per_k: 6, "
        "resistance_k_per_kw: 5, gain_kw: 0.5}"
    )
    wanted = f"participants.heat_pumps={{share: 0.5, model: building, buildings: [{barn}]}}"
    scenario = scenario_of(folder, wanted, "weather={try_region: 4}", "time.start=2016-01-18")
    houses = owned(scenario).houses
    assert houses is not None
    fleet, conditions = houses.fleet, houses.conditions
    assert fleet.pumps.name[-1] == "barn"
    assert ((fleet.start >= fleet.low) & (fleet.start <= fleet.high)).all()
    assert fleet.start[-1] == 21
    assert conditions.cop.shape == (192, len(fleet))
    assert (conditions.surroundings == conditions.surroundings[:, :1]).all()
    assert conditions.gain_kw[0, -1] == 0.5  # no sun at midnight, nor in the barn
    assert (conditions.gain_kw[48, :-1] > conditions.gain_kw[0, :-1]).all()


# --- shared batteries ---


def test_a_community_battery_stands_at_the_busbar_and_all_in_the_area_share_it(
    folder: Path,
) -> None:
    names = town_areas().id
    wanted = f"{{name: ours, area: {names[1]}, energy_kwh: 100, power_kw: 50, start_share: 0.5}}"
    population, devices = built(scenario_of(folder, f"participants.shared_batteries=[{wanted}]"))
    assert population.agents.id[-1] == "ours"
    assert population.agents.kind[-1] == AgentKind.SHARED_STORAGE
    assert town().bus["name"].iloc[population.agents.bus_row[-1]] == "busbar 0"
    batteries = population.batteries
    assert batteries.agent.tolist() == [HOUSES]
    assert batteries.energy_kwh[0] == 100
    assert batteries.soc0_kwh[0] == 50
    (shared,) = devices.shared
    assert shared.agent == HOUSES
    assert shared.members.tolist() == list(range(HOUSES // 2))
    np.testing.assert_allclose(shared.shares, 2 / HOUSES)


def test_a_cell_storage_belongs_to_all_below_and_one_per_level_to_each_area(folder: Path) -> None:
    each = "{name: M, level: microgrid, energy_kwh: 9, power_kw: 3}"
    cell = "{name: C, level: cell, energy_kwh: 90, power_kw: 30}"
    population, devices = built(
        scenario_of(folder, f"participants.shared_batteries=[{each}, {cell}]")
    )
    tree = town_areas()
    assert population.agents.id[-3:] == (f"M, {tree.id[1]}", f"M, {tree.id[2]}", "C, cell 1")
    buses = [town().bus["name"].iloc[row] for row in population.agents.bus_row[-3:]]
    assert buses == ["busbar 0", "busbar 1", "first MV"]
    assert [len(shared.members) for shared in devices.shared] == [6, 6, 12]


def test_named_members_share_in_proportion_and_who_does_not_trade_is_not_among_all(
    folder: Path,
) -> None:
    named = "{name: N, bus: end 1, energy_kwh: 9, power_kw: 3, members: {house 00: 3, house 11: 1}}"
    free = "{name: A, bus: end 1, energy_kwh: 9, power_kw: 3}"
    _, devices = built(
        scenario_of(
            folder,
            f"participants.shared_batteries=[{named}, {free}]",
            "participants.adoption.participation=0.5",
        )
    )
    first, second = devices.shared
    assert (first.members.tolist(), first.shares.tolist()) == ([0, 7], [0.75, 0.25])
    population = build_population(
        scenario_of(folder, "participants.adoption.participation=0.5"), town()
    )
    assert population.takes_part[second.members].all()


# --- what is refused ---

BARE = "name: my car, owner: house 00"
CAR = f"{BARE}, battery_kwh: 50, charger_kw: 2"
PUMP = "owner: house 00, rated_kw: 2, name: my pump"


@pytest.mark.parametrize(
    ("participants", "field", "words"),
    [
        (f"evs: {{list: [{{{BARE}, charger_kw: 2, battery_kwh: 0, windows: [{DAILY}]}}]}}",
         "list.0.battery_kwh", "`my car` must be greater than 0"),
        (f"evs: {{list: [{{{BARE}, battery_kwh: 5, charger_kw: 0, windows: [{DAILY}]}}]}}",
         "list.0.charger_kw", "`my car` must be greater than 0"),
        (f"evs: {{list: [{{{BARE}, battery_kwh: 5, charger_kw: x, windows: [{DAILY}]}}]}}",
         "list.0.charger_kw", "`my car` must be a number"),
        (f"evs: {{list: [{{{CAR}, windows: []}}]}}", "list.0.windows", "`my car` must have"),
        (f"evs: {{list: [{{{CAR}, target_kwh: 60, windows: [{DAILY}]}}]}}", "list.0.target_kwh",
         "target_kwh of `my car` is 60"),
        (f"evs: {{list: [{{{CAR}, reserve_kwh: 6, windows: [{DAILY}]}}]}}", "list.0.reserve_kwh",
         "`my car` has a reserve_kwh, but does not give back"),
        (f"evs: {{list: [{{{CAR}, reserve_kwh: 60, gives_back: true, windows: [{DAILY}]}}]}}",
         "list.0.reserve_kwh", "reserve_kwh of `my car` is 60"),
        ("heat_pumps: {share: 0.1, floor_m2: 100}", "floor_m2", "with `model: store`"),
        ("heat_pumps: {share: 0.1, model: building, store_h: 1}", "store_h", "`model: building`"),
        (f"evs: {{list: [{{{CAR}, windows: [{{arrive: 2016-05-24, depart: 2016-05-23}}]}}]}}",
         "windows.0.depart", "`my car` departs at 2016-05-23T00:00Z.*reversed"),
        (f"evs: {{list: [{{{CAR}, windows: [{{arrive: 07:00, depart: 07:00}}]}}]}}",
         "windows.0.depart", "`my car` departs at 07:00.*reversed"),
        (f"evs: {{list: [{{{CAR}, windows: [{{arrive: 25:00, depart: 07:00}}]}}]}}",
         "windows.0.arrive", "`25:00` is not a time"),
        (f"evs: {{list: [{{{CAR}, windows: [{DAILY}, {{arrive: 06:00, depart: 09:00}}]}}]}}",
         "windows.1.arrive", "windows of `my car` overlap.*06:00.*07:00|overlap"),
        (f"evs: {{list: [{{{CAR}, windows: [{{arrive: 2016-05-23, depart: 2016-05-25}}, "
         "{arrive: 2016-05-24, depart: 2016-05-26}]}]}", "windows.1.arrive", "overlap"),
        (f"evs: {{list: [{{{CAR}, windows: [{DAILY}, {{arrive: 2016-05-24, depart: 2016-05-25}}]"
         "}]}", "list.0.windows", "plug windows of the day and others with a date"),
        (f"evs: {{list: [{{{CAR}, windows: [{{arrive: 06:00, depart: 09:00, need_kwh: 6}}]}}]}}",
         "windows.0.need_kwh", "`my car` needs 6 kWh"),
        ("evs: {charger_kw: {kind: uniform, least: 0, most: 3}}", "evs.charger_kw",
         "values from 0 to 3 cannot be used"),
        ("evs: {arrival_h: 24}", "evs.arrival_h", "`24` cannot be used"),
        ("evs: {battery_kwh: {kind: uniform, least: 3, most: 3}}", "battery_kwh.most", "rise"),
        ("evs: {battery_kwh: {kind: choice, values: [1, 2], shares: [1]}}", "battery_kwh.shares",
         "2 values have 1 shares"),
        (f"heat_pumps: {{stores: [{{{PUMP}, capacity_kwh: 0}}]}}", "stores.0.capacity_kwh",
         "`my pump` must be greater than 0"),
        (f"heat_pumps: {{stores: [{{{PUMP}, capacity_kwh: 5, start_kwh: 6}}]}}",
         "stores.0.start_kwh", "`my pump` starts with 6 kWh"),
        (f"heat_pumps: {{stores: [{{{PUMP}, capacity_kwh: 5, heat_kw: 6}}]}}",
         "stores.0.heat_kw", "`my pump` has no profile"),
        (f"heat_pumps: {{buildings: [{{{PUMP}, capacity_kwh_per_k: 5, resistance_k_per_kw: 5, "
         "comfort_low_c: 21, comfort_high_c: 21}]}", "buildings.0.comfort_high_c",
         "comfort band of `my pump` is empty"),
        (f"heat_pumps: {{buildings: [{{{PUMP}, capacity_kwh_per_k: 5, resistance_k_per_kw: 5}}]}}",
         "heat_pumps.buildings", "there is no weather"),
        ("heat_pumps: {share: 0.1, model: building}", "heat_pumps.model", "there is no weather"),
        ("appliances: {share: 0.5, kinds: []}", "appliances.kinds", "at least 1 item, not 0$"),
        ("appliances: {kinds: [dishwascher]}", "kinds.0", "cannot be `dishwascher`"),
        ("appliances: {kinds: [dishwasher, dishwasher]}", "kinds.1", "occurs twice"),
        ("appliances: {kinds: [{name: k, power_kw: [1, 1], runs_per_day: 1, earliest_h: 4, "
         "latest_end_h: 4.25}]}", "latest_end_h", "run of the `k` does not fit"),
        ("appliances: {list: [{name: k, owner: house 00, power_kw: [0], earliest: 04:00, "
         "latest_end: 05:00}]}", "power_kw", "`k` uses no energy"),
        ("appliances: {list: [{name: k, owner: house 00, power_kw: [1], earliest: 2016-05-24, "
         "latest_end: 2016-05-23}]}", "latest_end", "`k` is to be done"),
        ("shared_batteries: [{name: s, energy_kwh: 1, power_kw: 1}]", "shared_batteries.0",
         "`s` stands nowhere"),
        ("shared_batteries: [{name: s, energy_kwh: 1, power_kw: 1, area: a, bus: b}]",
         "shared_batteries.0.bus", "`s` has several places"),
        ("shared_batteries: [{name: s, energy_kwh: 0, power_kw: 1, area: a}]", "energy_kwh",
         "`s` must be greater than 0"),
        ("shared_batteries: [{name: s, energy_kwh: 1, power_kw: 1, level: cell, members: {a: 1}}]",
         "shared_batteries.0.members", "every cell gets a `s`"),
    ],
)  # fmt: skip
def test_a_wrong_device_is_refused_with_line_field_and_name(
    folder: Path, participants: str, field: str, words: str
) -> None:
    (fault,) = faults_of(folder, f"  {participants}\n")
    assert fault.field.endswith(field)
    assert fault.line == 3
    assert re.search(words, fault.message), fault.message


def test_what_does_not_fit_the_network_is_told_all_at_once_with_its_lines(folder: Path) -> None:
    faults = faults_of(
        folder,
        """  evs:
    list:
      - {name: one, owner: hause 00, battery_kwh: 9, charger_kw: 2,
         windows: [{arrive: 7:00, depart: 9:00}]}
      - {name: house 01, owner: house 00, battery_kwh: 9, charger_kw: 2,
         windows: [{arrive: 7:00, depart: 9:00}]}
  heat_pumps:
    stores:
      - {name: one, owner: house 00, rated_kw: 2, capacity_kwh: 5, profile: any}
  shared_batteries:
    - {name: s, energy_kwh: 1, power_kw: 1, area: nowhere}
    - {name: t, energy_kwh: 1, power_kw: 1, bus: end 2}
    - {name: u, energy_kwh: 1, power_kw: 1, bus: end 1, members: {house 99: 1}}
    - {name: v, energy_kwh: 1, power_kw: 1, level: multicell}
""",
    )
    found = [(fault.line, fault.field.removeprefix("participants.")) for fault in faults]
    assert found == [
        (5, "evs.list.0.owner"),
        (7, "evs.list.1.name"),
        (11, "heat_pumps.stores.0.name"),
        (13, "shared_batteries.0.area"),
        (14, "shared_batteries.1.bus"),
        (15, "shared_batteries.2.members.house 99"),
        (16, "shared_batteries.3.level"),
    ]
    assert faults[0].suggestion == "did you mean `house 00`?"
    assert "owner of `one`" in faults[0].message
    assert faults[4].suggestion == "did you mean `end 1`?"


@pytest.mark.parametrize(
    ("participants", "words"),
    [
        (f"evs: {{list: [{{{CAR}, windows: [{{arrive: 07:01, depart: 07:14}}]}}]}}",
         "plug window of `my car` on 2016-05-23 has 0 whole slots"),
        (f"evs: {{list: [{{{CAR}, windows: [{{arrive: 07:10, depart: 07:50, need_kwh: 1.2}}]}}]}}",
         "plug window of `my car` on 2016-05-23 has 2 whole slots"),
        (f"heat_pumps: {{stores: [{{{PUMP}, capacity_kwh: 5}}]}}",
         "`my pump` is to follow the heat pump that `house 00` has in the data, which does not"),
        ("appliances: {list: [{name: k, owner: house 00, power_kw: [1, 1], earliest: 04:00, "
         "latest_end: 04:25}]}", "`k` takes 2 slots, but between its times lie 1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_slots_or_the_data_is_refused(
    folder: Path, participants: str, words: str
) -> None:
    (fault,) = faults_of(folder, f"  {participants}\n")
    assert words in fault.message
    assert fault.line == 3


def test_from_python_a_wrong_owner_is_an_error_that_names_field_and_device(folder: Path) -> None:
    car = f"{{{CAR}, windows: [{DAILY}]}}".replace("house 00", "nobody")
    with pytest.raises(ParticipantError, match=r"participants\.evs\.list\.0\.owner.*`my car`"):
        built(scenario_of(folder, f"participants.evs.list=[{car}]"))


# --- what is shipped ---


def test_the_flexible_district_has_the_devices_that_it_promises() -> None:
    scenario, (network, _) = load_scenario("district_flexible"), district()
    before = build_population(scenario, network.net)
    population, devices = build_flexible(scenario, network.net, network.tree, before)
    assert devices.vehicles is not None
    assert devices.stores is not None
    assert len(population.batteries) == 301
    assert len(devices.vehicles) == 152
    assert len(devices.stores.fleet) == 100
    assert [len(shared.members) for shared in devices.shared] == [99, 505]
