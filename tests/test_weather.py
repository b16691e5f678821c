"""Weather of test reference years: hours, days, energy of the sun, and PV plants that follow it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tricell.errors import DataError
from tricell.scenarios.faults import ScenarioFaultsError
from tricell.scenarios.participants import build_population
from tricell.scenarios.pv_choice import (
    OPEN_GROUND_DEG,
    PvFromWeather,
    PvRoof,
    pv_from_weather,
)
from tricell.scenarios.pv_power import pv_power_over_the_year
from tricell.scenarios.scenario_file import Override, load_scenario
from tricell.scenarios.schema import Scenario
from tricell.scenarios.weather import (
    Weather,
    irradiance,
    outdoor_temperature,
    rows_of_the_year,
    sky,
    station,
)
from tricell.simulators.population import (
    AgentKind,
    AgentTable,
    Batteries,
    DeviceKind,
    Devices,
    Population,
    Profiles,
)

POTSDAM = Weather(try_region=4)
NEW_YEAR = np.datetime64("2015-01-01T00:00:00")
A_YEAR_OF_HOURS = 8760


# Days and hours ------------------------------------------------------------------------------


def test_potsdam_and_its_first_hours_are_those_of_the_dwds_file() -> None:
    # TRY2010_04_Jahr.dat: 52 deg 23 min N, 13 deg 4 min E; -2.6 degC at 1 h CET, -3.9 at 2 h.
    potsdam = station(4)
    assert potsdam.latitude == pytest.approx(52 + 23 / 60)
    assert potsdam.longitude == pytest.approx(13 + 4 / 60)
    # 1 h CET is midnight UTC, so that the hour after has the mean of both values.
    hour = outdoor_temperature(POTSDAM, NEW_YEAR, 1, 3600)
    assert hour == pytest.approx([(-2.6 - 3.9) / 2])
    quarters = outdoor_temperature(POTSDAM, NEW_YEAR, 4, 900)
    assert quarters == pytest.approx(-2.6 - 1.3 * np.array([0.125, 0.375, 0.625, 0.875]))


@pytest.mark.parametrize("step_s", [60, 720, 900, 1200, 3600, 10_800, 86_400])
def test_the_mean_temperature_of_a_year_is_that_of_the_data_at_any_step(step_s: int) -> None:
    slots = 365 * 86_400 // step_s
    temperature = outdoor_temperature(POTSDAM, NEW_YEAR, slots, step_s)
    assert temperature.mean() == pytest.approx(station(4).temperature_c.mean(), abs=1e-9)


def test_29_february_has_the_weather_of_the_day_before_and_all_years_end_alike() -> None:
    leap = outdoor_temperature(POTSDAM, np.datetime64("2016-02-28"), 3 * 24, 3600)
    other = outdoor_temperature(POTSDAM, np.datetime64("2015-02-28"), 2 * 24, 3600)
    assert (leap[:24] == leap[24:48]).all()
    assert (leap[24:] == other).all()
    last_days = [rows_of_the_year(np.datetime64(f"{y}-12-31"), 2, 86_400) for y in (2015, 2016)]
    assert (last_days[0] == [364, 0]).all()
    assert (last_days[1] == [364, 0]).all()


# The sun -------------------------------------------------------------------------------------


@pytest.mark.parametrize("region", range(1, 16))
def test_every_region_keeps_the_energy_of_its_sun_and_the_time_of_its_noon(region: int) -> None:
    data, light = station(region), sky(region, 300)
    on_level = light.direct_w_per_m2 + light.diffuse_w_per_m2
    energy_kwh_per_m2 = on_level.sum() * 300 / 3.6e6
    given_kwh_per_m2 = (data.direct_w_per_m2 + data.diffuse_w_per_m2).sum() / 1000
    assert energy_kwh_per_m2 == pytest.approx(given_kwh_per_m2, rel=1e-12)
    assert on_level.min() >= 0
    # Averaged over a year, clouds are about as frequent before noon as after it, so that light and
    # the height of the sun have one centre. Taken as CET, the hours of the files miss it by 15 to
    # 34 minutes.
    hour_of_day = np.tile(np.arange(288) / 12, 365)
    height = np.maximum(np.cos(np.radians(light.zenith_deg)), 0.0)
    centres = [np.average(hour_of_day, weights=each) for each in (on_level, height)]
    assert abs(centres[0] - centres[1]) * 60 < 5.0


def test_irradiance_of_coarse_slots_is_the_mean_of_fine_ones() -> None:
    may = np.datetime64("2016-05-20")
    fine, coarse = irradiance(POTSDAM, may, 96, 900), irradiance(POTSDAM, may, 24, 3600)
    assert coarse.total_w_per_m2 == pytest.approx(fine.total_w_per_m2.reshape(-1, 4).mean(axis=1))
    assert coarse.direct_w_per_m2.max() > 200
    assert (coarse.total_w_per_m2[:2] == 0).all()


# PV plants -----------------------------------------------------------------------------------


def test_a_roof_in_potsdam_that_faces_south_yields_about_1020_kwh_per_kwp() -> None:
    # 30 degrees to the south in region 4: 1 020 kWh/kWp is the usual yield there; PVWatts' losses
    # of 14 % give 996, and 12 % give 1 020.
    usual = pv_power_over_the_year(4, 30.0, 180.0, 0.14, 900)
    assert usual.sum() * 0.25 == pytest.approx(996.3, abs=0.5)
    careful = pv_power_over_the_year(4, 30.0, 180.0, 0.12, 900)
    assert careful.sum() * 0.25 == pytest.approx(1020.0, rel=0.005)
    assert usual.min() == 0.0
    assert usual.max() < 1.0
    hourly = pv_power_over_the_year(4, 30.0, 180.0, 0.14, 3600)
    assert hourly == pytest.approx(usual.reshape(-1, 4).mean(axis=1), abs=1e-12)


def test_east_peaks_before_south_and_south_before_west() -> None:
    hour = np.tile(np.arange(96) / 4, 365)
    centre = [
        np.average(hour, weights=pv_power_over_the_year(4, 30.0, azimuth, 0.14, 900))
        for azimuth in (90.0, 180.0, 270.0)
    ]
    assert np.diff(centre) == pytest.approx([1.13, 1.13], abs=0.15)
    # Solar noon in Potsdam is 11:08 UTC; the quarter of an hour that begins before has it.
    assert centre[1] == pytest.approx(11.0, abs=0.2)


def two_plants() -> Population:
    """A house with a load and PV that has reactive power, and a producer with PV only."""
    one = np.array([0, 1])
    return Population(
        AgentTable(("house", "park"), one, np.array([AgentKind.HOUSEHOLD, AgentKind.PRODUCER])),
        Devices(
            name=("load", "roof", "field"),
            agent=np.array([0, 0, 1]),
            kind=np.array([DeviceKind.BASE_LOAD, DeviceKind.PV, DeviceKind.PV]),
            generates=np.array([False, True, True]),
            p_profile=np.array([0, 0, 0]),
            rated_kw=np.array([2.0, 5.0, 300.0]),
            q_profile=np.array([-1, 0, -1]),
            rated_kvar=np.array([0.0, -1.0, 0.0]),
        ),
        Batteries(np.empty(0, np.int64), *[np.empty(0)] * 7),
        Profiles(
            np.full((96, 1), 0.5, np.float32), ("any",), np.datetime64("2016-05-20T00:00:00"), 900
        ),
    )


def test_pv_plants_follow_the_sun_with_their_rated_power_and_power_factor() -> None:
    before = two_plants()
    after = pv_from_weather(before, PvFromWeather(tilt_deg=30, azimuth_deg=180), POTSDAM, seed=1)
    assert (after.devices.rated_kw == before.devices.rated_kw).all()
    assert after.devices.p_profile.tolist() == [0, 1, 1]
    assert after.devices.q_profile.tolist() == [-1, 1, -1]
    assert (after.profiles.values[:, 0] == 0.5).all()
    day = slice(139 * 96, 140 * 96)  # 20 May of the 365 days
    expected = pv_power_over_the_year(4, 30.0, 180.0, 0.14, 900)[day]
    assert after.profiles.values[:, 1] == pytest.approx(expected, abs=1e-7)
    assert "climate region 4" in after.notes[-1]


def test_roofs_are_drawn_by_seed_and_name_and_those_of_the_list_are_known() -> None:
    def names(**settings: object) -> list[str]:
        wanted = PvFromWeather.model_validate({"kind": "weather", **settings})
        after = pv_from_weather(two_plants(), wanted, POTSDAM, seed=7)
        return [after.profiles.columns[row] for row in after.devices.p_profile[1:]]

    tilt, azimuth = OPEN_GROUND_DEG
    drawn = names()
    assert drawn == names()
    assert drawn[1] == f"weather/PV {tilt:g} deg, {azimuth:g} deg"
    assert names(tilt_deg={"kind": "uniform", "least": 9, "most": 11}) == [
        f"weather/PV 10 deg, {drawn[0].split()[-2]} deg",
        "weather/PV 10 deg, 180 deg",
    ]
    listed = names(plants=[{"participant": "house", "tilt_deg": 12, "azimuth_deg": 98}])
    assert listed == ["weather/PV 12 deg, 98 deg", drawn[1]]


def test_a_roof_without_a_plant_and_one_that_is_listed_twice_are_refused_together() -> None:
    def roof(name: str) -> PvRoof:
        return PvRoof(participant=name, tilt_deg=0, azimuth_deg=0)

    wanted = PvFromWeather(plants=(roof("hous"), roof("park"), roof("park")))
    with pytest.raises(DataError) as caught:
        pv_from_weather(two_plants(), wanted, POTSDAM, seed=1)
    told = str(caught.value)
    assert "`hous` has no PV plant" in told
    assert "did you mean `house`" in told
    assert "the plant of `park` is listed twice" in told


# Scenarios -----------------------------------------------------------------------------------


def scenario(folder: Path, text: str, *assignments: str) -> Scenario:
    path = folder / "mine.yaml"
    path.write_text(f"extends: village\n{text}", encoding="utf-8")
    return load_scenario(str(path), [Override.from_assignment(each) for each in assignments])


def test_a_scenario_asks_for_the_weather_in_a_word(tmp_path: Path) -> None:
    text = "weather: {try_region: 4}\nparticipants: {pv: weather}\n"
    asked = scenario(tmp_path, text)
    assert asked.participants.pv == PvFromWeather()
    assert scenario(tmp_path, "").participants.pv.kind == "data"


def test_extra_plants_and_new_ones_need_no_profile_where_the_weather_drives_them(
    tmp_path: Path,
) -> None:
    text = (
        "weather: {try_region: 4}\n"
        "grid: {source: {kind: pandapower, function: create_cigre_network_lv}}\n"
        "time: {start: 2016-05-20, days: 1}\n"
        "participants:\n"
        "  profiles: constant\n"
        "  pv: {kind: weather, tilt_deg: 30, azimuth_deg: 180}\n"
        "  adoption: {pv_share: 0.5}\n"
        "  extra: [{name: roof, bus: Bus R11, pv_kwp: 9}]\n"
    )
    asked = scenario(tmp_path, text)
    population = build_population(asked, _network(asked))
    devices = population.devices
    plants = devices.kind == DeviceKind.PV
    assert plants.sum() > 1
    sun = population.profiles.values[:, devices.p_profile[plants]]
    expected = pv_power_over_the_year(4, 30.0, 180.0, 0.14, 900)[139 * 96 : 140 * 96]
    assert np.ptp(sun, axis=1).max() == 0.0
    assert sun[:, 0] == pytest.approx(expected, abs=1e-7)


def _network(asked: Scenario) -> object:
    from tricell.grid_models.grid_sources import load_grid  # noqa: PLC0415

    return load_grid(asked.grid.source)


@pytest.mark.parametrize(
    ("text", "field", "told"),
    [
        ("participants: {pv: weather}", "participants.pv", "there is none"),
        ("weather: {try_region: 16}", "weather.try_region", "15"),
        (
            "weather: {try_region: 4}\nparticipants: {pv: {kind: weather, tilt_deg: 91}}",
            "participants.pv.tilt_deg",
            "no such angle",
        ),
        (
            "weather: {try_region: 4}\nparticipants: {pv: weather, adoption: {pv_profile: PV5}}",
            "participants.adoption.pv_profile",
            "beside `pv: weather`",
        ),
        (
            "participants: {extra: [{name: roof, bus: any, pv_kwp: 3}]}",
            "participants.extra.0.pv_profile",
            "`roof` has neither a profile nor `pv: weather`",
        ),
    ],
)
def test_what_does_not_fit_together_is_told_at_its_field(
    tmp_path: Path, text: str, field: str, told: str
) -> None:
    with pytest.raises(ScenarioFaultsError) as caught:
        scenario(tmp_path, text)
    (fault,) = caught.value.faults
    assert fault.field == field
    assert told in fault.message


def test_starting_tricell_does_not_import_what_only_the_weather_needs() -> None:
    code = (
        "import sys, tricell.scenarios.weather, tricell.scenarios.pv_power; "
        "sys.exit(any(name in sys.modules for name in ('pvlib', 'demandlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
