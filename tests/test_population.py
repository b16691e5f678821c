"""Who consumes and produces: SimBench's tables, planners' tables, and power per agent."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandapower as pp
import pandas as pd
import pytest
import simbench

from tricell.errors import DataError
from tricell.scenarios.population_simbench import population_from_simbench
from tricell.scenarios.population_tables import (
    ConstantProfiles,
    CsvProfiles,
    Hdf5Profiles,
    SimbenchProfiles,
    population_from_source,
)
from tricell.simulators.battery import greedy_self_consumption
from tricell.simulators.household_power import AgentPower
from tricell.simulators.population import AgentKind, DeviceKind, Population

CASES = Path(__file__).parent / "cases"
QUARTER_HOUR_S = 900
JANUARY = np.datetime64("2016-01-01T00:00:00")


@cache
def simbench_net(code: str) -> Any:
    return simbench.get_simbench_net(code)


@cache
def simbench_population(code: str) -> Population:
    return population_from_simbench(simbench_net(code))


def case(name: str) -> tuple[Any, Any, Any]:
    given = json.loads((CASES / name / "input.json").read_text())
    expected = json.loads((CASES / name / "expected.json").read_text())
    return given, expected["expected"], expected["tolerance"]


# SimBench ------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", case("SB07")[1])
def test_simbench_sums_peaks_and_coincidence_are_those_of_case_sb07(code: str) -> None:
    _, by_code, tolerance = case("SB07")
    expected = by_code[code]
    population = simbench_population(code)
    devices, profiles = population.devices, population.profiles
    from_sgen = np.array(["SGen" in name for name in devices.name]) & devices.generates
    energy_mwh = population.device_energy_kwh() / 1e3
    power = AgentPower(population).block(0, len(profiles.values))
    load_kw = power.p_load_kw.sum(axis=1)
    load_peaks_kw = profiles.values.max(axis=0)[devices.p_profile] * devices.rated_kw

    assert energy_mwh[~devices.generates].sum() == pytest.approx(
        expected["energy_load_mwh"], abs=tolerance["mwh"]
    )
    assert energy_mwh[from_sgen].sum() == pytest.approx(
        expected["energy_sgen_mwh"], abs=tolerance["mwh"]
    )
    assert load_kw.max() == pytest.approx(expected["peak_load_kw"], abs=tolerance["kw"])
    assert load_kw.argmax() == expected["t_peak_load"]
    assert load_kw.max() / load_peaks_kw[~devices.generates].sum() == pytest.approx(
        expected["coincidence_factor"], abs=1e-5
    )
    if expected["energy_storage_mwh"] == 0:
        net_kw = load_kw - power.p_generation_available_kw.sum(axis=1)
        assert net_kw.min() == pytest.approx(expected["net_min_kw"], abs=tolerance["kw"])
        assert net_kw.argmin() == expected["t_net_min"]


def test_plants_with_battery_taken_apart_give_the_energy_of_simbench_series() -> None:
    """SB07 gives -60.483 MWh for the storage rows; greedy self-consumption comes within 3 %.

    The two are different computations of the same plants (ST01: 9.07 against 8.95 MWh for one).
    """
    population = simbench_population("1-LV-rural2--2-sw")
    owners = population.batteries.agent
    devices = population.devices
    at_battery = np.array(["Storage" in name for name in devices.name])
    base = (devices.kind == DeviceKind.BASE_LOAD) & np.isin(devices.agent, owners)
    values = population.profiles.values.astype(np.float64)

    def of_owners(chosen: Any) -> Any:
        position = {int(agent): number for number, agent in enumerate(owners)}
        power = np.zeros((len(values), len(owners)))
        for device in np.flatnonzero(chosen):
            series = values[:, devices.p_profile[device]] * devices.rated_kw[device]
            power[:, position[int(devices.agent[device])]] += series
        return power

    pv_kw = of_owners(at_battery)
    schedule = greedy_self_consumption(population.batteries, of_owners(base), pv_kw, 0.25)
    output_mwh = (pv_kw - schedule.battery_kw).sum() * 0.25 / 1e3
    assert output_mwh == pytest.approx(60.483, rel=0.03)


def test_st01_is_read_from_the_network_with_the_ratings_of_the_case() -> None:
    given, _, _ = case("ST01")
    population = simbench_population(given["code"])
    first, battery = population.batteries, given["battery"]
    owner = first.agent[0]
    assert population.agents.kind[owner] == AgentKind.HOUSEHOLD
    assert population.pv_kwp[owner] == pytest.approx(13.7)
    assert first.energy_kwh[0] == pytest.approx(battery["e_kwh"])
    assert first.charge_kw[0] == first.discharge_kw[0] == pytest.approx(battery["p_kw"])
    assert (first.eta_charge[0], first.eta_discharge[0]) == (battery["eta_c"], battery["eta_d"])
    per_day = battery["self_discharge_percent_day"] / 100
    assert first.self_discharge_per_day[0] == pytest.approx(per_day)
    assert first.soc0_kwh[0] == battery["soc0"]


def test_simbench_agents_and_devices_are_counted_by_kind() -> None:
    """118 loads, 11 sgens and 8 storages of 1-LV-rural2--2-sw, counted in its tables."""
    counts = simbench_population("1-LV-rural2--2-sw").counts()
    loads = ("base_load", "ev", "heat_pump", "lower_grid_load")
    assert sum(counts[f"devices_{kind}"] for kind in loads) == 118
    assert counts["devices_pv"] == 11 + 8
    assert counts["batteries"] == 8
    assert counts["agents_household"] + counts["agents_business"] == 99


def test_heat_pumps_chargers_and_pv_belong_to_a_customer_of_their_bus() -> None:
    population = simbench_population("1-LV-rural2--2-sw")
    net = simbench_net("1-LV-rural2--2-sw")
    tables = [net[table][["name", "bus"]] for table in ("load", "sgen", "storage")]
    bus_by_name = pd.concat(tables).set_index("name")["bus"]
    rows = net.bus.index.get_indexer(bus_by_name.loc[list(population.devices.name)])
    np.testing.assert_array_equal(population.agents.bus_row[population.devices.agent], rows)
    own_kinds = {AgentKind.HEAT_PUMP, AgentKind.CHARGING_STATION, AgentKind.PRODUCER}
    assert not own_kinds & set(population.agents.kind)


def simbench_like_net(
    loads: Sequence[tuple[str, int, str]],
    sgens: Sequence[tuple[str, int, str]] = (),
    storages: Sequence[tuple[str, int, str]] = (),
) -> Any:
    """Two buses (0: LV, 1: MV) with elements (name, bus, profile) of 10 kW; four intervals."""
    net = pp.create_empty_network()
    pp.create_bus(net, 0.4)
    pp.create_bus(net, 20.0)
    for name, bus, _ in loads:
        pp.create_load(net, bus, 0.01, 0.002, name=name)
    for name, bus, _ in sgens:
        pp.create_sgen(net, bus, 0.01, name=name)
    for name, bus, _ in storages:
        pp.create_storage(net, bus, -0.01, 0.02, name=name, soc_percent=0.0)
    net.load["profile"] = [profile for *_, profile in loads]
    net.sgen["profile"] = [profile for *_, profile in sgens]
    net.storage["profile"] = [profile for *_, profile in storages]
    net.storage["efficiency_percent"] = 0.95
    net.storage["self-discharge_percent_per_day"] = 0.13
    clock = [f"01.01.2016 00:{minute:02d}" for minute in (0, 15, 30, 45)]
    ramp = np.array([0.25, 0.5, 0.75, 1.0])
    renewables = {"PV1": ramp, "PV5": ramp, "WP4": ramp, "lv_rural1": ramp}
    load_columns = {f"{profile}_pload": ramp for *_, profile in loads}
    load_columns |= {f"{profile}_qload": ramp for *_, profile in loads}
    net["profiles"] = {
        "load": pd.DataFrame({"time": clock, **load_columns}),
        "renewables": pd.DataFrame({"time": clock, **renewables}),
        "powerplants": pd.DataFrame({"time": clock}),
        "storage": pd.DataFrame({"time": clock, "lv_rural1": ramp}),
    }
    return net


def test_guests_of_a_bus_are_spread_over_its_customers_in_turn() -> None:
    net = simbench_like_net(
        [
            ("a", 0, "H0-A"),
            ("b", 0, "G1-A"),
            ("ev1", 0, "HLS_A_3.7"),
            ("ev2", 0, "HLS_A_3.7"),
            ("hp", 0, "Air_Parallel_1"),
            ("lonely charger", 1, "APLS_0.1"),
        ],
        [("pv1", 0, "PV1"), ("pv2", 0, "PV5"), ("wind", 1, "WP4")],
    )
    population = population_from_simbench(net)
    assert population.agents.id == ("a", "b", "lonely charger", "wind")
    assert dict(zip(population.devices.name, population.devices.agent, strict=True)) == {
        "a": 0,
        "b": 1,
        "ev1": 0,
        "ev2": 1,
        "hp": 0,
        "lonely charger": 2,
        "pv1": 0,
        "pv2": 1,
        "wind": 3,
    }


def test_pv_goes_first_to_the_customer_whose_plant_has_no_battery() -> None:
    net = simbench_like_net(
        [("a", 0, "H0-A"), ("b", 0, "H0-B")],
        [("pv", 0, "PV1")],
        [("plant", 0, "Storage_PV5_H0-A")],
    )
    np.testing.assert_allclose(population_from_simbench(net).pv_kwp, [10.0, 10.0])


def test_a_plant_without_load_of_its_profile_is_a_producer_and_said_so() -> None:
    net = simbench_like_net([("a", 0, "H0-A")], storages=[("plant", 0, "Storage_WP4_3%_e_MWh")])
    population = population_from_simbench(net)
    assert population.agents.id == ("a", "plant")
    assert population.agents.kind[1] == AgentKind.PRODUCER
    assert population.batteries.agent.tolist() == [1]
    assert "Storage_WP4_3%_e_MWh" in population.notes[0]


def test_equivalents_of_lower_grids_at_one_bus_are_one_agent_that_feeds_in_its_storage() -> None:
    net = simbench_like_net(
        [("eq load", 1, "lv_rural1")],
        [("eq sgen", 1, "lv_rural1")],
        [("eq storage", 1, "lv_rural1")],
    )
    population = population_from_simbench(net)
    power = AgentPower(population).block(0, 4)
    assert population.agents.id == ("eq load",)
    assert len(population.batteries) == 0
    np.testing.assert_allclose(power.p_load_kw[:, 0], [2.5, 5, 7.5, 10])
    np.testing.assert_allclose(power.q_load_kvar[:, 0], [0.5, 1, 1.5, 2])
    np.testing.assert_allclose(power.p_generation_available_kw[:, 0], [5, 10, 15, 20])


def test_rows_out_of_service_and_scaling_are_respected() -> None:
    net = simbench_like_net([("a", 0, "H0-A"), ("off", 0, "H0-A")])
    net.load.loc[1, "in_service"] = False
    net.load.loc[0, "scaling"] = 0.5
    population = population_from_simbench(net)
    assert population.agents.id == ("a",)
    assert population.devices.rated_kw.tolist() == [5.0]
    assert "1 rows of net.load" in population.notes[0]


def test_a_gap_in_simbench_profiles_is_named_with_time_and_column() -> None:
    net = simbench_like_net([("a", 0, "H0-A")])
    net.profiles["load"].loc[2, "H0-A_pload"] = np.nan
    with pytest.raises(DataError, match=r"2016-01-01T00:30:00 in column 'load/H0-A_pload'"):
        population_from_simbench(net)


def test_an_unknown_or_missing_simbench_profile_is_named() -> None:
    net = simbench_like_net([("a", 0, "X9")])
    with pytest.raises(DataError, match="'a' has the unknown SimBench profile 'X9'"):
        population_from_simbench(net)
    net = simbench_like_net([("a", 0, "H0-A")])
    del net.profiles["load"]["H0-A_pload"]
    with pytest.raises(DataError, match="lacks 1 columns that elements use: load/H0-A_pload"):
        population_from_simbench(net)


def test_a_network_without_profiles_is_refused() -> None:
    with pytest.raises(DataError, match=r"net\.profiles is missing or empty"):
        population_from_simbench(pp.create_empty_network())


# Power per agent -----------------------------------------------------------------------------


def test_power_of_agents_equals_simbench_absolute_values_summed_by_bus() -> None:
    """SimBench's own get_absolute_values is the reference; float32 profiles allow 1e-6."""
    net = simbench_net("1-LV-rural1--0-sw")
    population = simbench_population("1-LV-rural1--0-sw")
    absolute = simbench.get_absolute_values(net, profiles_instead_of_study_cases=True)
    day = AgentPower(population).block(20_000, 96)
    pairs = [
        (day.p_load_kw, "load", "p_mw"),
        (day.q_load_kvar, "load", "q_mvar"),
        (day.p_generation_available_kw, "sgen", "p_mw"),
    ]
    for ours, table, column in pairs:
        theirs = absolute[table, column].to_numpy()[20_000:20_096] * 1e3
        bus_row = net.bus.index.get_indexer(net[table]["bus"])
        for row in range(len(net.bus)):
            of_bus = ours[:, population.agents.bus_row == row].sum(axis=1)
            expected = theirs[:, bus_row == row].sum(axis=1)
            np.testing.assert_allclose(of_bus, expected, rtol=1e-6, atol=1e-6)


def test_blocks_are_read_only_and_independent_of_their_length() -> None:
    power = AgentPower(simbench_population("1-LV-rural1--0-sw"))
    day, slot = power.block(96, 96), power.block(100, 1)
    np.testing.assert_array_equal(day.p_load_kw[4], slot.p_load_kw[0])
    with pytest.raises(ValueError, match="read-only"):
        day.p_load_kw[0, 0] = 1.0


def test_a_slot_of_agent_power_costs_less_than_a_twentieth_of_a_millisecond() -> None:
    power = AgentPower(simbench_population("1-LV-rural2--2-sw"))
    power.block(0, 96)
    begin = time.perf_counter()
    for day in range(50):
        power.block(day * 96, 96)
    assert (time.perf_counter() - begin) / (50 * 96) < 0.05e-3


@pytest.mark.parametrize(
    ("start", "slots", "step_s", "message"),
    [
        ("2016-12-31T23:45:00", 2, 900, "cover 2016-01-01T00:00:00 to 2017-01-01T00:00:00"),
        ("2015-12-31T23:45:00", 2, 900, "Choose a horizon inside"),
        ("2016-01-01T00:00:00", 2, 3600, r"have 15 min steps.*: set time\.step_minutes to 15\.$"),
        ("2016-01-01T00:05:00", 2, 900, "between two rows"),
    ],
)
def test_a_horizon_that_the_profiles_do_not_cover_is_refused(
    start: str, slots: int, step_s: int, message: str
) -> None:
    profiles = simbench_population("1-LV-rural1--0-sw").profiles
    assert profiles.first_row(np.datetime64("2016-01-02T00:00:00"), 96, 900) == 96
    with pytest.raises(DataError, match=message):
        profiles.first_row(np.datetime64(start), slots, step_s)


# Planners' own profiles ----------------------------------------------------------------------

TIMES = ["2016-01-01 00:00", "2016-01-01 00:15", "2016-01-01 00:30", "2016-01-01 00:45"]


def own_net() -> Any:
    net = pp.create_empty_network()
    pp.create_bus(net, 0.4)
    pp.create_load(net, 0, 0.004, 0.001, name="House")
    pp.create_load(net, 0, 0.010, 0.0, name="Shop")
    pp.create_sgen(net, 0, 0.005, name="Roof", type="PV")
    net.load["profile"] = [None, "shop"]
    return net


def own_table(**changes: Any) -> pd.DataFrame:
    columns = {"time": TIMES, "House": [0, 0.5, 1, 0], "shop": [1, 1, 1, 1], "Roof": [0, 0, 1, 2]}
    return pd.DataFrame(columns | changes)


def read_own(
    folder: Path, frame: pd.DataFrame, *, slots: int = 4, net: Any = None, **options: Any
) -> Population:
    frame.to_csv(folder / "own.csv", index=False)
    return population_from_source(
        CsvProfiles(files=("own.csv",), **options),
        own_net() if net is None else net,
        start=JANUARY,
        slots=slots,
        step_s=QUARTER_HOUR_S,
        folder=folder,
    )


def test_csv_columns_are_found_by_element_name_and_by_profile(tmp_path: Path) -> None:
    population = read_own(tmp_path, own_table())
    day = AgentPower(population).block(0, 4)
    assert population.agents.id == ("House", "Shop")
    np.testing.assert_allclose(day.p_load_kw, [[0, 10], [2, 10], [4, 10], [0, 10]])
    np.testing.assert_allclose(day.q_load_kvar[:, 0], [0, 0.5, 1, 0])
    np.testing.assert_allclose(day.p_generation_available_kw[:, 0], [0, 0, 5, 10])


def test_csv_profiles_in_kw_are_the_power_and_keep_the_power_factor(tmp_path: Path) -> None:
    population = read_own(tmp_path, own_table(), unit="kw")
    day = AgentPower(population).block(0, 4)
    np.testing.assert_allclose(day.p_load_kw, [[0.0, 1.0], [0.5, 1.0], [1.0, 1.0], [0.0, 1.0]])
    np.testing.assert_allclose(day.q_load_kvar[:, 0], [0, 0.125, 0.25, 0])
    np.testing.assert_allclose(population.pv_kwp, [2, 0])


def test_a_column_of_reactive_power_wins_over_the_power_factor(tmp_path: Path) -> None:
    population = read_own(tmp_path, own_table(House_q=[1.0, 1, 1, 1]))
    np.testing.assert_allclose(AgentPower(population).block(0, 4).q_load_kvar[:, 0], 1.0)


def test_hdf5_profiles_equal_csv_profiles(tmp_path: Path) -> None:
    frame = own_table()
    with h5py.File(tmp_path / "own.h5", "w") as file:
        seconds = pd.to_datetime(frame.pop("time")).to_numpy("datetime64[s]").astype(np.int64)
        file["mine/time"] = seconds
        for name in frame:
            file[f"mine/{name}"] = frame[name].to_numpy(float)
    population = population_from_source(
        Hdf5Profiles(files=("own.h5",), group="mine"),
        own_net(),
        start=JANUARY,
        slots=4,
        step_s=QUARTER_HOUR_S,
        folder=tmp_path,
    )
    expected = read_own(tmp_path, own_table())
    np.testing.assert_array_equal(population.profiles.values, expected.profiles.values)
    assert population.profiles.start == expected.profiles.start


def test_a_clock_with_an_offset_is_turned_into_utc(tmp_path: Path) -> None:
    cet = [f"2016-01-01T01:{minute:02d}+01:00" for minute in (0, 15, 30, 45)]
    assert read_own(tmp_path, own_table(time=cet)).profiles.start == JANUARY
    naive = [text[:16] for text in cet]
    population = read_own(tmp_path, own_table(time=naive), utc_offset_hours=1)
    assert population.profiles.start == JANUARY


def test_constant_profiles_keep_every_element_at_its_rated_power(tmp_path: Path) -> None:
    population = population_from_source(
        ConstantProfiles(), own_net(), start=JANUARY, slots=2, step_s=900, folder=tmp_path
    )
    block = AgentPower(population).block(0, 2)
    np.testing.assert_allclose(block.p_load_kw, [[4, 10], [4, 10]])
    assert "constant" in population.notes[0]


def test_simbench_profiles_must_cover_the_horizon(tmp_path: Path) -> None:
    net = simbench_like_net([("a", 0, "H0-A")])
    with pytest.raises(DataError, match="Choose a horizon inside the profiles"):
        population_from_source(
            SimbenchProfiles(), net, start=JANUARY, slots=5, step_s=900, folder=tmp_path
        )


def test_a_storage_with_a_capacity_is_a_battery_and_one_without_is_noted(tmp_path: Path) -> None:
    net = own_net()
    pp.create_storage(net, 0, 0.003, 0.008, name="Cellar", soc_percent=50.0)
    pp.create_storage(net, 0, 0.003, float("nan"), name="Unknown")
    population = read_own(tmp_path, own_table(), net=net)
    assert population.battery_kwh.tolist() == [8.0, 0.0]
    assert population.battery_kw.tolist() == [3.0, 0.0]
    assert population.batteries.soc0_kwh.tolist() == [4.0]
    assert "'Unknown' has no capacity" in population.notes[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shop": [1, None, 1, 1]}, r"column 'shop' holds no number at 2016-01-01T00:15:00 UTC"),
        ({"shop": [1, "x", 1, 1]}, r"column 'shop' holds 'x' in row 2"),
        ({"time": [TIMES[0], TIMES[0], *TIMES[2:]]}, r"2016-01-01T00:00:00 UTC occurs twice"),
        ({"time": [TIMES[1], TIMES[0], *TIMES[2:]]}, r"comes after 2016-01-01T00:15:00"),
        ({"time": [*TIMES[:3], "2016-01-01 01:45"]}, r"after 2016-01-01T00:30:00 UTC the next"),
        ({"time": [*TIMES[:3], "noon"]}, r"row 4 has the time 'noon'"),
    ],
)
def test_wrong_values_and_times_are_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_own(tmp_path, own_table(**changes))


def test_profiles_of_ones_own_may_be_resampled_to_the_slots(tmp_path: Path) -> None:
    profiles = read_own(tmp_path, own_table()).profiles
    with pytest.raises(DataError, match=r"step of 900 s.*or resample the profiles to 3600 s"):
        profiles.first_row(JANUARY, 1, 3600)


@pytest.mark.parametrize("unit", ["kw", "relative"])
def test_generation_written_negative_is_refused_but_standby_is_not(
    tmp_path: Path, unit: str
) -> None:
    standby = read_own(tmp_path, own_table(Roof=[-0.01, -0.01, -0.01, 2]), unit=unit)
    generation_kw = AgentPower(standby).block(0, 4).p_generation_available_kw[:, 0]
    np.testing.assert_allclose(generation_kw[3], 2 if unit == "kw" else 10)
    message = r"own\.csv: the column 'Roof' .*net\.sgen 'Roof'.*generation is written positive"
    with pytest.raises(DataError, match=message):
        read_own(tmp_path, own_table(Roof=[0, 0, -1, -2]), unit=unit)


def test_a_column_with_the_name_of_several_elements_is_refused(tmp_path: Path) -> None:
    net = own_net()
    net.sgen["name"] = "House"
    net.load.index = pd.Index([7, 9])
    listed = r"'House' has the name of 2 elements: net\.load index 7, net\.sgen index 0\. Rename"
    with pytest.raises(DataError, match=listed):
        read_own(tmp_path, own_table(), net=net)
    net = own_net()
    net.load["name"] = "House"
    with pytest.raises(DataError, match=r"2 elements.*into their profile column"):
        read_own(tmp_path, own_table(), net=net)


def test_elements_of_one_name_may_share_a_column_through_their_profile(tmp_path: Path) -> None:
    net = own_net()
    net.load["name"] = net.load["profile"] = "House"
    day = AgentPower(read_own(tmp_path, own_table(), net=net)).block(0, 4)
    np.testing.assert_allclose(day.p_load_kw, [[0, 0], [2, 5], [4, 10], [0, 0]])


def test_missing_columns_are_all_named_with_the_closest_match(tmp_path: Path) -> None:
    frame = own_table().rename(columns={"House": "Hous", "shop": "other"})
    with pytest.raises(DataError, match=r"2 elements.*did you mean 'Hous'.*'Shop' with profile"):
        read_own(tmp_path, frame)


def test_wrong_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no time column 'time'.*did you mean 'times'"):
        read_own(tmp_path, own_table().rename(columns={"time": "times"}))
    with pytest.raises(DataError, match="needs 2016-01-01T00:00:00 to 2016-01-01T01:15:00"):
        read_own(tmp_path, own_table(), slots=5)
    (tmp_path / "text.h5").write_text("no HDF5")
    for source, message in (
        (CsvProfiles(files=("missing.csv",)), "There is no file"),
        (Hdf5Profiles(files=("text.h5",)), "cannot be read as an HDF5 file"),
    ):
        with pytest.raises(DataError, match=message):
            population_from_source(
                source, own_net(), start=JANUARY, slots=4, step_s=900, folder=tmp_path
            )
