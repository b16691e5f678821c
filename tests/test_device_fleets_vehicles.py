"""Electric vehicles: conservation, needs met by every rule and by any power within the band."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tricell.errors import DataError, SimulatorError
from tricell.simulators.electric_vehicles import (
    ElectricVehicles,
    PlugWindows,
    VehicleFleet,
    VehicleRule,
    VehicleRun,
    apply_power,
    begin_slot,
    charge_as_late_as_possible,
    charge_at_once,
    charge_when_cheapest,
    first_state,
    power_band,
    run_vehicles,
)

Floats = NDArray[np.float64]
HOURS = 0.25
SLOTS = 60
TOLERANCE_KWH = 1e-9


def vehicles_of(n: int = 1, **columns: Any) -> ElectricVehicles:
    """Vehicles of 50 kWh with chargers of 11 kW, some columns changed."""
    defaults = {
        "agent": np.arange(n),
        "battery_kwh": 50.0,
        "target_kwh": 40.0,
        "charger_kw": 11.0,
        "charge_efficiency": 0.9,
        "discharge_efficiency": 0.9,
        "gives_back": False,
        "reserve_kwh": 10.0,
    }
    made = {
        key: np.broadcast_to(np.asarray(value), n).copy()
        for key, value in (defaults | columns).items()
    }
    return ElectricVehicles(name=tuple(f"car {row}" for row in range(n)), **made)


def windows_of(*rows: tuple[int, int, int, float]) -> PlugWindows:
    """Windows of (vehicle, arrive, depart, need)."""
    vehicle, arrive, depart, need = np.array(rows).T
    return PlugWindows(vehicle.astype(int), arrive.astype(int), depart.astype(int), need)


@st.composite
def some_fleets(draw: st.DrawFn) -> VehicleFleet:
    """Return fleets with any valid ratings and windows that may follow at once."""
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    n = draw(st.integers(1, 6))
    battery = random.uniform(10, 100, n)
    target = battery * random.uniform(0.3, 1, n)
    vehicles = vehicles_of(
        n,
        battery_kwh=battery,
        target_kwh=target,
        charger_kw=random.uniform(1, 60, n),
        charge_efficiency=random.uniform(0.6, 1, n),
        discharge_efficiency=random.uniform(0.6, 1, n),
        gives_back=random.random(n) < 0.6,
        reserve_kwh=target * random.random(n),
    )
    gain = vehicles.charger_kw * vehicles.charge_efficiency * HOURS
    rows = []
    for car in range(n):
        slot = int(random.integers(0, 8))
        while slot < SLOTS + 10:
            depart = slot + int(random.integers(1, 20))
            most = min(target[car], gain[car] * (depart - slot))
            rows.append((car, slot, depart, most * random.choice([0.0, random.random(), 1.0])))
            slot = depart + int(random.integers(0, 6))
    random.shuffle(rows)
    return VehicleFleet(vehicles, windows_of(*rows), HOURS)


def within_band(fleet: VehicleFleet, seed: int) -> VehicleRule:
    """Any power within the band, its ends included."""
    random = np.random.default_rng(seed)

    def rule(_slot: int, state: Any) -> Floats:
        band = power_band(fleet, state)
        share = np.clip(random.uniform(-0.5, 1.5, len(fleet)), 0, 1)
        return np.asarray(band.lowest_kw + share * (band.highest_kw - band.lowest_kw))

    return rule


def rules(fleet: VehicleFleet, seed: int) -> dict[str, VehicleRule]:
    prices = np.random.default_rng(seed).uniform(-0.2, 0.5, SLOTS)
    return {
        "at once": lambda _slot, state: charge_at_once(fleet, state),
        "late": lambda _slot, state: charge_as_late_as_possible(fleet, state),
        "cheapest": lambda slot, state: charge_when_cheapest(
            fleet, state, prices[slot : slot + 24]
        ),
        "any power": within_band(fleet, seed),
    }


def balance_kwh(fleet: VehicleFleet, run: VehicleRun) -> Floats:
    """Return what of each vehicle's energy is not accounted for, kWh."""
    vehicles = fleet.vehicles
    charged = np.where(run.power_kw > 0, run.power_kw, 0) * HOURS * vehicles.charge_efficiency
    given_back = np.where(run.power_kw < 0, run.power_kw, 0) * HOURS / vehicles.discharge_efficiency
    gained = charged.sum(axis=0) + given_back.sum(axis=0)
    kept = run.stored_kwh[-1] - fleet.vehicles.target_kwh
    return np.asarray(kept - gained + run.driven_kwh.sum(axis=0) - run.missed_kwh.sum(axis=0))


@given(fleet=some_fleets(), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_every_rule_and_any_power_within_the_band_meets_every_need_and_conserves_energy(
    fleet: VehicleFleet, seed: int
) -> None:
    for name, rule in rules(fleet, seed).items():
        run = run_vehicles(fleet, SLOTS, rule)
        assert run.missed_kwh.max() <= TOLERANCE_KWH, name
        assert np.abs(balance_kwh(fleet, run)).max() <= TOLERANCE_KWH, name
        assert run.stored_kwh.min() >= -TOLERANCE_KWH
        assert (run.stored_kwh <= fleet.vehicles.battery_kwh + 1e-6).all()
        assert (run.power_kw[:, ~fleet.vehicles.gives_back] >= 0).all()


@given(fleet=some_fleets(), share=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_a_vehicle_that_gets_too_little_leaves_with_a_miss_of_just_what_it_lacks(
    fleet: VehicleFleet, share: float
) -> None:
    state = first_state(fleet)
    missed = 0.0
    lacked = 0.0
    for slot in range(SLOTS):
        before = state
        state, gone = begin_slot(fleet, state, slot)
        lack = np.maximum(fleet.vehicles.target_kwh - before.stored_kwh, 0)[gone.departed]
        lacked += float(lack.sum())
        missed += float(gone.missed_kwh.sum())
        state = apply_power(fleet, state, share * charge_at_once(fleet, state))
    assert missed == pytest.approx(lacked, abs=1e-9)


def test_a_miss_is_reported_once_and_the_next_need_is_as_stated() -> None:
    fleet = VehicleFleet(vehicles_of(), windows_of((0, 0, 4, 9.0), (0, 8, 12, 5.0)), HOURS)
    nothing = run_vehicles(fleet, 14, lambda _slot, state: np.zeros(1))
    assert nothing.missed_kwh[:, 0].nonzero()[0].tolist() == [4, 12]
    assert nothing.missed_kwh[[4, 12], 0] == pytest.approx([9.0, 5.0])
    assert nothing.driven_kwh[[0, 8], 0] == pytest.approx([9.0, 5.0])


def test_charging_at_once_late_and_when_cheapest_takes_the_slots_it_should() -> None:
    # full power stores 11 kW x 0.9 x 0.25 h = 2.475 kWh a slot; the need is one and a half slots
    fleet = VehicleFleet(vehicles_of(), windows_of((0, 1, 5, 1.5 * 2.475)), HOURS)
    prices = np.array([0.1, 0.3, 0.2, 0.1, 0.2, 0.0])

    def power(rule: VehicleRule) -> list[float]:
        return [round(kw, 9) for kw in run_vehicles(fleet, 6, rule).power_kw[:, 0].tolist()]

    assert power(lambda _slot, now: charge_at_once(fleet, now)) == [0, 11, 5.5, 0, 0, 0]
    assert power(lambda _slot, now: charge_as_late_as_possible(fleet, now)) == [
        0, 0, 0, 5.5, 11, 0,
    ]  # fmt: skip
    # slot 3 is cheapest; of slots 2 and 4 at the same price the earlier one
    assert power(lambda slot, now: charge_when_cheapest(fleet, now, prices[slot:])) == [
        0, 0, 5.5, 11, 0, 0,
    ]  # fmt: skip


def test_prices_of_each_vehicle_decide_for_that_vehicle() -> None:
    fleet = VehicleFleet(vehicles_of(2), windows_of((0, 0, 2, 2.0), (1, 0, 2, 2.0)), HOURS)
    prices = np.array([[0.1, 0.3], [0.2, 0.1]])
    run = run_vehicles(fleet, 2, lambda slot, now: charge_when_cheapest(fleet, now, prices[slot:]))
    assert (run.power_kw > 0).tolist() == [[True, False], [False, True]]


def test_no_known_price_after_this_slot_still_meets_the_need() -> None:
    fleet = VehicleFleet(vehicles_of(), windows_of((0, 0, 4, 9.9)), HOURS)
    run = run_vehicles(
        fleet, 5, lambda _slot, now: charge_when_cheapest(fleet, now, np.array([0.1]))
    )
    assert run.missed_kwh.sum() == pytest.approx(0, abs=1e-9)


@given(seed=st.integers(0, 1000), factor=st.floats(-3, 3), fleet=some_fleets())
@settings(max_examples=25, deadline=None)
def test_prices_move_charging_but_never_how_much_is_charged(
    seed: int, factor: float, fleet: VehicleFleet
) -> None:
    prices = np.random.default_rng(seed).uniform(-0.2, 0.5, 2 * SLOTS)
    totals = []
    for series in (prices, factor * prices):
        run = run_vehicles(
            fleet,
            SLOTS,
            lambda slot, now, known=series: charge_when_cheapest(  # type: ignore[misc]
                fleet, now, known[slot:]
            ),
        )
        assert np.abs(balance_kwh(fleet, run)).max() <= TOLERANCE_KWH
        totals.append(run)
    away = totals[0].missed_kwh + totals[1].missed_kwh
    assert away.max() <= TOLERANCE_KWH


def test_the_band_of_a_vehicle_that_gives_back_ends_at_its_reserve_and_at_its_need() -> None:
    vehicles = vehicles_of(gives_back=True, reserve_kwh=38.0)
    fleet = VehicleFleet(vehicles, windows_of((0, 0, 40, 1.0)), HOURS)
    state, _ = begin_slot(fleet, first_state(fleet), 0)
    # 39 kWh stored, 1 kWh above the reserve: 1 x 0.9 / 0.25 h = 3.6 kW at the charger
    assert power_band(fleet, state).lowest_kw == pytest.approx([-3.6])
    assert power_band(fleet, state).highest_kw == pytest.approx([11.0])
    short = VehicleFleet(vehicles, windows_of((0, 0, 1, 1.0)), HOURS)
    state, _ = begin_slot(short, first_state(short), 0)
    assert power_band(short, state).lowest_kw == pytest.approx([1 / 0.9 / HOURS])


def test_a_fleet_that_is_never_plugged_in_takes_nothing() -> None:
    none = np.empty(0, dtype=int)
    fleet = VehicleFleet(vehicles_of(2), PlugWindows(none, none, none, np.empty(0)), HOURS)
    run = run_vehicles(fleet, 3, lambda _slot, state: power_band(fleet, state).highest_kw)
    assert run.power_kw.tolist() == [[0, 0]] * 3
    assert run.stored_kwh.tolist() == [[40, 40]] * 3


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"battery_kwh": [50.0, 0.0]}, "'car 1': battery_kwh is 0"),
        ({"charger_kw": [-1.0, 11.0]}, "'car 0': charger_kw is -1"),
        ({"charge_efficiency": [0.9, 1.2]}, "'car 1': charge_efficiency is 1.2"),
        ({"target_kwh": [40.0, 60.0]}, "'car 1': target_kwh is 60"),
        ({"reserve_kwh": [45.0, 10.0]}, "'car 0': reserve_kwh is 45"),
        ({"reserve_kwh": [0.0, -1.0]}, "'car 1': reserve_kwh is -1"),
        ({"battery_kwh": [np.nan, 50.0]}, "'car 0': battery_kwh is nan"),
    ],
)
def test_impossible_ratings_are_refused_with_the_name_of_the_vehicle(
    columns: dict[str, list[float]], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        vehicles_of(2, **columns)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([(0, 0, 4, 1.0), (1, 6, 4, 1.0)], "'car 1': depart_slot is 4.*reversed"),
        ([(1, 4, 4, 0.0)], "'car 1': depart_slot is 4.*reversed"),
        ([(1, 0, 4, 9.9001)], "'car 1': need_kwh is 9.9001.*charger gives"),
        ([(1, 0, 400, 41.0)], "'car 1': need_kwh is 41.*target_kwh"),
        ([(1, 3, 8, 1.0), (1, 0, 4, 1.0)], "'car 1': arrive_slot is 3.*overlap"),
        ([(0, 0, 4, -1.0)], "'car 0': need_kwh is -1"),
        ([(0, -1, 4, 1.0)], "'car 0': arrive_slot is -1"),
        ([(2, 0, 4, 1.0)], "vehicle is a row"),
    ],
)
def test_impossible_windows_are_refused_with_the_name_of_the_vehicle(
    rows: list[tuple[int, int, int, float]], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        VehicleFleet(vehicles_of(2), windows_of(*rows), HOURS)


def test_two_vehicles_of_one_name_and_columns_of_other_lengths_are_refused() -> None:
    good = vars(vehicles_of(2))
    with pytest.raises(DataError, match="'car 0' occurs more than once"):
        ElectricVehicles(**(good | {"name": ("car 0", "car 0")}))
    with pytest.raises(DataError, match="column agent has 3 entries for 2 names"):
        ElectricVehicles(**(good | {"agent": np.arange(3)}))


@pytest.mark.parametrize(
    ("power_kw", "why"),
    [
        ([11.1, 0.0], "'car 0' cannot run at 11.1 kW.*charger"),
        ([-1.0, 0.0], "'car 0' cannot run at -1 kW.*give energy back"),
        ([0.0, 2.0], "'car 1' cannot run at 2 kW.*plugged in"),
    ],
)
def test_set_points_that_a_vehicle_cannot_carry_out_are_refused_with_its_name(
    power_kw: list[float], why: str
) -> None:
    fleet = VehicleFleet(vehicles_of(2), windows_of((0, 0, 8, 5.0), (1, 3, 9, 5.0)), HOURS)
    state, _ = begin_slot(fleet, first_state(fleet), 0)
    with pytest.raises(SimulatorError, match=why):
        apply_power(fleet, state, np.array(power_kw))


def test_a_full_battery_and_one_at_its_reserve_refuse_more() -> None:
    vehicles = vehicles_of(target_kwh=50.0, reserve_kwh=50.0, gives_back=True)
    fleet = VehicleFleet(vehicles, windows_of((0, 0, 8, 0.0)), HOURS)
    state, _ = begin_slot(fleet, first_state(fleet), 0)
    with pytest.raises(SimulatorError, match="no room"):
        apply_power(fleet, state, np.array([1.0]))
    with pytest.raises(SimulatorError, match="reserve_kwh"):
        apply_power(fleet, state, np.array([-1.0]))


def test_slots_without_length_and_a_rule_without_prices_are_refused() -> None:
    windows = windows_of((0, 0, 8, 5.0))
    with pytest.raises(DataError, match="slots last 0 h"):
        VehicleFleet(vehicles_of(), windows, 0.0)
    fleet = VehicleFleet(vehicles_of(), windows, HOURS)
    with pytest.raises(DataError, match="no price"):
        charge_when_cheapest(fleet, first_state(fleet), np.empty(0))
