"""Populations: the same seed is the same bits, whoever else is drawn, from the stated numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tricell.errors import DataError
from tricell.simulators.device_populations import (
    APPLIANCES,
    HOME_HEATING,
    HOME_VEHICLES,
    ROOF_INVERTERS,
    ApplianceKind,
    Owners,
    RunTime,
    draw_heat_pumps,
    draw_inverters,
    draw_shiftable_loads,
    draw_vehicles,
    draw_windows,
)
from tricell.simulators.distributions import ASSUMED, Choice, LogNormal, Normal, Uniform
from tricell.simulators.electric_vehicles import charge_at_once, run_vehicles
from tricell.simulators.heat_pumps import (
    building_conditions,
    coefficient_of_performance,
    heated_buildings,
    run_by_hysteresis,
)

WEEK = RunTime(7 * 96, 0.25)


def owners_of(*numbers: int) -> Owners:
    return Owners(tuple(f"home {number}" for number in numbers), np.array(numbers))


def assert_rows_equal(many: Any, few: Any, rows: list[int]) -> None:
    for key, values in vars(few).items():
        if isinstance(values, np.ndarray):
            assert (getattr(many, key)[rows] == values).all(), key


def test_a_device_is_the_same_with_the_same_seed_whoever_else_is_drawn() -> None:
    many, few = owners_of(*range(30)), owners_of(7, 3)
    peak = np.linspace(2, 12, 30)
    rows = [7, 3]
    assert_rows_equal(draw_vehicles(many, 5), draw_vehicles(few, 5), rows)
    for all_drawn, drawn in zip(draw_heat_pumps(many, 5), draw_heat_pumps(few, 5), strict=True):
        assert_rows_equal(all_drawn, drawn, rows)
    assert_rows_equal(draw_inverters(many, peak, 5), draw_inverters(few, peak[rows], 5), rows)
    jobs, fewer = draw_shiftable_loads(many, WEEK, 5), draw_shiftable_loads(few, WEEK, 5)
    assert_rows_equal(jobs, fewer, [jobs.name.index(name) for name in fewer.name])


def windows_of_vehicle(seed: int, numbers: list[int], row: int, time: RunTime) -> NDArray[Any]:
    windows = draw_windows(draw_vehicles(owners_of(*numbers), seed), time, seed).windows
    own = windows.vehicle == row
    columns = (windows.arrive_slot[own], windows.depart_slot[own], windows.need_kwh[own])
    return np.column_stack(columns)


def test_the_days_of_a_vehicle_do_not_depend_on_other_vehicles_nor_on_the_length_of_the_run() -> (
    None
):
    alone = windows_of_vehicle(2, [4], 0, WEEK)
    assert len(alone) > 0
    assert (windows_of_vehicle(2, list(range(9)), 4, WEEK) == alone).all()
    longer = windows_of_vehicle(2, [4], 0, RunTime(21 * 96, 0.25))
    assert (longer[: len(alone)] == alone).all()
    other = windows_of_vehicle(3, [4], 0, WEEK)
    assert other.shape != alone.shape or (other != alone).any()


def test_vehicles_charge_as_often_late_and_much_as_the_profiles_of_simbench() -> None:
    # measured on HLS_A_3.7 to HLS_A_22.0: 0.477 days with charging, mean start 16.1 h; shares of
    # chargers 0.625, 0.272 and 0.103; median 3.52 kWh a day
    fleet = draw_windows(draw_vehicles(owners_of(*range(400)), 1), RunTime(28 * 96, 0.25), 1)
    windows, vehicles = fleet.windows, fleet.vehicles
    fresh = windows.arrive_slot > 0
    assert len(windows) / 400 / 29 == pytest.approx(0.477, abs=0.02)
    assert (windows.arrive_slot[fresh] % 96 / 4).mean() == pytest.approx(16.2, abs=0.3)
    assert (vehicles.charger_kw == 3.7).mean() == pytest.approx(0.625, abs=0.07)
    charged = windows.need_kwh / vehicles.charge_efficiency[windows.vehicle]
    assert np.median(charged) == pytest.approx(3.52, abs=0.3)


def test_drawn_vehicles_can_meet_all_their_needs() -> None:
    fleet = draw_windows(
        draw_vehicles(owners_of(*range(50)), 1, gives_back_share=0.5),
        replace(WEEK, first_slot_of_day=40), 1,
    )  # fmt: skip
    run = run_vehicles(fleet, WEEK.slots, lambda _slot, state: charge_at_once(fleet, state))
    assert run.missed_kwh.max() <= 1e-9
    assert (fleet.windows.arrive_slot == 0).any()
    assert 0 < fleet.vehicles.gives_back.mean() < 1


def test_vehicles_that_came_home_the_night_before_are_plugged_in_when_a_run_starts() -> None:
    windows = draw_windows(draw_vehicles(owners_of(*range(400)), 1), WEEK, 1).windows
    before = windows.arrive_slot == 0
    assert before.mean() * len(windows) / 400 == pytest.approx(0.477, abs=0.08)
    # they leave on the first morning, between 5 and 9 o'clock
    assert (windows.depart_slot[before] >= 20).all()
    assert (windows.depart_slot[before] <= 36).all()


def test_the_shares_and_kinds_of_a_population_can_be_changed() -> None:
    only_large = replace(HOME_VEHICLES, charger_kw=Choice((22.0,), (1.0,), "kW", ASSUMED))
    assert (draw_vehicles(owners_of(*range(20)), 1, only_large).charger_kw == 22.0).all()
    at_ground = replace(HOME_HEATING, ground_share=1.0)
    assert (draw_heat_pumps(owners_of(1, 2), 1, at_ground)[0].source == 1).all()
    none = replace(ROOF_INVERTERS, voltage_control_share=0.0)
    assert (draw_inverters(owners_of(1, 2), np.ones(2), 1, none).control == 0).all()


def test_drawn_heat_pumps_keep_their_houses_warm_at_the_design_temperature() -> None:
    pumps, buildings = draw_heat_pumps(owners_of(*range(40)), 1)
    fleet = heated_buildings(pumps, buildings, 0.25)
    outdoor = np.full((192, 1), HOME_HEATING.design_c)
    cop = coefficient_of_performance(pumps, outdoor)
    run = run_by_hysteresis(fleet, building_conditions(fleet, cop, outdoor, np.array(0.0)))
    assert run.discomfort_kh.max() <= 1e-9
    # ISO 13790: from 110 to 260 kJ/(m2 K), 30.6 to 72.2 Wh, on 60 to 250 m2
    assert (buildings.capacity_kwh_per_k >= 60 * 0.0305).all()
    assert (buildings.capacity_kwh_per_k <= 250 * 0.0723).all()
    # at the top of the band the rated power just covers the loss
    top = (buildings.comfort_high_c + 12) / buildings.resistance_k_per_kw
    assert pumps.rated_kw * cop[0] == pytest.approx(top)


def test_appliances_need_quarters_of_an_hour_and_stay_inside_the_run() -> None:
    jobs = draw_shiftable_loads(owners_of(*range(20)), replace(WEEK, first_slot_of_day=30), 1)
    assert len(jobs) > 20
    assert (jobs.earliest_slot >= 0).all()
    assert (jobs.latest_end_slot <= WEEK.slots).all()
    assert any("dishwasher, day 2" in name for name in jobs.name)
    with pytest.raises(DataError, match="slots last 1 h"):
        draw_shiftable_loads(owners_of(1), RunTime(24, 1.0), 1)
    never = tuple(replace(kind, runs_per_day=0.0) for kind in APPLIANCES)
    assert len(draw_shiftable_loads(owners_of(1), WEEK, 1, never)) == 0


def test_every_distribution_of_a_population_names_its_unit_and_source() -> None:
    kinds: list[Any] = [HOME_VEHICLES, HOME_HEATING, ROOF_INVERTERS, *APPLIANCES]
    named = [
        value
        for kind in kinds
        for value in vars(kind).values()
        if isinstance(value, Normal | LogNormal | Uniform | Choice)
    ]
    assert len(named) == 19
    assert all(value.unit and value.source for value in named)
    assert all(isinstance(kind, ApplianceKind) and kind.source for kind in APPLIANCES)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Normal(0, 0, 0, 1, "kW", ASSUMED), "deviation 0"),
        (lambda: Normal(0, 1, 1, 1, "kW", ASSUMED), "limits 1 and 1"),
        (lambda: LogNormal(0, 1, "kWh", ASSUMED), "median 0"),
        (lambda: Uniform(2, 1, "kW", ASSUMED), "from 2 to 1"),
        (lambda: Choice((1.0, 2.0), (0.5, 0.6), "kW", ASSUMED), "1 in all"),
        (lambda: Choice((1.0,), (0.5, 0.5), "kW", ASSUMED), "one share"),
        (lambda: RunTime(0, 0.25), "run of 0 slots"),
        (lambda: RunTime(1, 0.7), "slots of 0.7 h"),
        (lambda: RunTime(1, 0.25, 96), "from slot 96"),
    ],
)
def test_impossible_distributions_and_runs_are_refused(build: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        build()
