"""Fleets of devices: what a plan foresees of them is what they do, and orders keep to the plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tricell.markets.flexibility.tanks import PlanSteps, TankOutlook
from tricell.simulators.appliance_jobs import ApplianceJobs
from tricell.simulators.battery_fleet import BatteryDevices
from tricell.simulators.battery_orders import Step
from tricell.simulators.device_checks import PowerBand
from tricell.simulators.device_populations import (
    Owners,
    RunTime,
    draw_heat_pumps,
    draw_shiftable_loads,
    draw_vehicles,
    draw_windows,
)
from tricell.simulators.fleet import EnergyPerPower, Fleet, shared_by_owner
from tricell.simulators.flexible_devices import Heating
from tricell.simulators.heat_fleet import HeatDevices
from tricell.simulators.heat_pumps import (
    HeatStores,
    building_conditions,
    coefficient_of_performance,
    heated_buildings,
    heated_stores,
    store_conditions,
)
from tricell.simulators.planned_orders import OwnerTerms, PlannedSlot, planned_orders
from tricell.simulators.population import Batteries
from tricell.simulators.vehicle_fleet import VehicleDevices

Floats = NDArray[np.float64]

SLOTS, HOURS = 192, 0.25
STEPS = PlanSteps.of(HOURS, horizon_h=12.0)


def owners(count: int, kind: str) -> Owners:
    return Owners(tuple(f"{kind} {row}" for row in range(count)), np.arange(count))


def vehicles(seed: int = 1) -> VehicleDevices:
    drawn = draw_vehicles(owners(20, "car"), seed, gives_back_share=0.5)
    return VehicleDevices(draw_windows(drawn, RunTime(SLOTS, HOURS), seed))


def outdoor_c() -> Floats:
    return 2.0 + 6.0 * np.sin(np.arange(SLOTS) / 96 * 2 * np.pi)[:, None] * np.ones(10)


def houses(seed: int = 1) -> HeatDevices:
    pumps, buildings = draw_heat_pumps(owners(10, "house"), seed)
    fleet = heated_buildings(pumps, buildings, HOURS)
    cop = coefficient_of_performance(pumps, outdoor_c())
    return HeatDevices(
        Heating(fleet, building_conditions(fleet, cop, outdoor_c(), 0.3 * np.ones_like(cop)))
    )


def heat_stores(seed: int = 1) -> HeatDevices:
    pumps, _ = draw_heat_pumps(owners(10, "store"), seed)
    cop = coefficient_of_performance(pumps, outdoor_c())
    fleet = heated_stores(
        pumps, HeatStores(np.full(10, 15.0), np.full(10, 0.01), np.full(10, 7.0)), HOURS
    )
    return HeatDevices(Heating(fleet, store_conditions(fleet, cop, 0.3 * pumps.rated_kw * cop)))


def batteries() -> BatteryDevices:
    count, ones = 12, np.ones(12)
    rated = Batteries(
        np.arange(count) % 5, 10 * ones, 4 * ones, 5 * ones, 0.9 * ones, 0.95 * ones,
        0.02 * ones, 3 * ones,
    )  # fmt: skip
    return BatteryDevices(rated, tuple(f"battery {row}" for row in range(count)), HOURS)


FLEETS: dict[str, Callable[[], Fleet]] = {
    "batteries": batteries,
    "vehicles": vehicles,
    "houses": houses,
    "heat stores": heat_stores,
}


def lived(fleet: Fleet, slots: range, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Let a fleet live at random powers inside its band; powers and stored energy after slots."""
    power, stored = [], []
    for slot in slots:
        band = fleet.band(slot)
        share = random.uniform(size=len(fleet.names))
        power.append(band.lowest_kw + share * (band.highest_kw - band.lowest_kw))
        fleet.carry_out(slot, power[-1])
        stored.append(fleet.state().stored_kwh)
        fleet.begin_slot(slot + 1)
    return np.array(power), np.array(stored)


def foreseen(outlook: TankOutlook, power_kw: Floats) -> Floats:
    """Energy after every step of a plan at some powers, and what comes from elsewhere."""
    stored, now = [], outlook.start_kwh
    for step, power in enumerate(power_kw):
        now = outlook.kept[step] * now + outlook.inflow_kwh[step]
        now = now + outlook.into_kwh_per_kw[step] * np.maximum(power, 0.0)
        now = now - outlook.out_kwh_per_kw[step] * np.maximum(-power, 0.0)
        stored.append(now)
    return np.array(stored)


@pytest.mark.parametrize("kind", FLEETS)
def test_a_tank_foresees_what_single_slots_do(kind: str) -> None:
    """1e-9 kWh is rounding; misses of vehicles come from elsewhere and are left out."""
    fleet = FLEETS[kind]()
    random = np.random.default_rng(3)
    fleet.begin_slot(0)
    lived(fleet, range(40), random)
    outlook = fleet.outlook(40, PlanSteps(np.ones(4, np.int64), HOURS))
    power, stored = lived(fleet, range(40, 44), random)
    missed = np.zeros(len(fleet.names), np.bool_)
    for step, expected in enumerate(foreseen(outlook, power)):
        same = ~missed
        np.testing.assert_allclose(stored[step][same], expected[same], atol=1e-9)
        # an arrival is told by the tank in the step it begins, by the fleet at the slot's start
        if kind == "vehicles" and step + 1 < len(power):
            missed |= outlook.inflow_kwh[step + 1] < 0
            missed |= (expected < outlook.lowest_kwh[step] - 1e-9) | (outlook.charge_kw[step] == 0)


@pytest.mark.parametrize("kind", ["houses", "heat stores"])
def test_a_long_step_of_a_heated_tank_is_its_slots_one_after_the_other(kind: str) -> None:
    """At constant power; the tank of the step knows the losses within it."""
    fleet = FLEETS[kind]()
    fleet.begin_slot(0)
    power = 0.4 * fleet.charge_kw
    outlook = fleet.outlook(0, PlanSteps(np.array([8]), HOURS))
    for slot in range(8):
        fleet.carry_out(slot, power)
    np.testing.assert_allclose(
        foreseen(outlook, power[None])[-1], fleet.state().stored_kwh, atol=1e-9
    )


def test_a_vehicle_must_be_full_before_it_leaves_and_is_away_in_between() -> None:
    fleet = vehicles()
    fleet.begin_slot(0)
    outlook = fleet.outlook(0, PlanSteps(np.ones(96, np.int64), HOURS))
    away = outlook.charge_kw == 0.0
    leaves = ~away[:-1] & away[1:]
    assert leaves.any()
    target = np.broadcast_to(fleet._fleet.vehicles.target_kwh, leaves.shape)
    np.testing.assert_array_equal(outlook.lowest_kwh[:-1][leaves], target[leaves])
    drives = outlook.inflow_kwh[1:][away[:-1] & ~away[1:]]
    assert (drives <= 0.0).all()
    assert drives.any()


@pytest.mark.parametrize("kind", FLEETS)
def test_a_fleet_goes_on_from_its_memory_alone(kind: str) -> None:
    first, again = FLEETS[kind](), FLEETS[kind]()
    first.begin_slot(0)
    lived(first, range(30), np.random.default_rng(1))
    again.recall(first.memory())
    one = lived(first, range(30, 60), np.random.default_rng(2))
    other = lived(again, range(30, 60), np.random.default_rng(2))
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


def test_thrifty_vehicles_and_pumps_draw_more_where_energy_is_cheap() -> None:
    price = 0.3 + 0.1 * (np.arange(SLOTS) // 24 % 2)
    for kind in ("vehicles", "houses"):
        fleet = FLEETS[kind]()
        fleet.begin_slot(0)
        drawn = []
        for slot in range(96):
            ahead = np.broadcast_to(price[slot : slot + 96, None], (96, len(fleet.names)))
            drawn.append(fleet.thrifty_kw(slot, ahead))
            fleet.carry_out(slot, drawn[-1])
            fleet.begin_slot(slot + 1)
        total = np.array(drawn).sum(axis=1)
        assert total[price[:96] < 0.35].sum() > 1.5 * total[price[:96] > 0.35].sum()


def test_jobs_wait_for_cheap_slots_and_never_run_twice() -> None:
    homes = owners(8, "home")
    loads = draw_shiftable_loads(homes, RunTime(SLOTS, HOURS), 1)
    cheap = 0.3 + 0.2 * np.cos(np.arange(SLOTS) / 96 * 4 * np.pi)
    price = np.broadcast_to(cheap[:, None], (SLOTS, 8))
    costs, energies = [], []
    for waits in (False, True):
        jobs = ApplianceJobs(loads, homes.name)
        power = np.array([jobs.run(t, price[t:] if waits else None) for t in range(SLOTS)])
        costs.append(float(power.sum(axis=1) @ cheap) * HOURS)
        energies.append(power.sum() * HOURS)
        assert not jobs.state().unmet_kwh.any()
    np.testing.assert_allclose(energies, loads.energy_kwh.sum(), rtol=1e-12)
    assert costs[1] < 0.9 * costs[0]


def test_devices_share_what_their_owner_has_and_no_more() -> None:
    agent = np.array([0, 1, 1, 2])
    got = shared_by_owner(agent, np.array([2.0, 3.0, 1.0, 4.0]), np.array([5.0, 2.0, -1.0]))
    np.testing.assert_allclose(got, [2.0, 1.5, 0.5, 0.0])


SMALL = st.floats(0.0, 5.0)


@given(
    rows=st.lists(
        st.tuples(SMALL, SMALL, SMALL, SMALL, SMALL, st.booleans(), st.floats(-1, 2)),
        min_size=1,
        max_size=6,
    ),
    surplus=st.floats(-5, 5),
    fee=st.floats(0, 0.1),
)
@settings(max_examples=200, deadline=None)
def test_orders_from_a_plan_stay_in_the_band_and_never_buy_and_sell_at_once(
    rows: list[tuple[float, ...]], surplus: float, fee: float
) -> None:
    must, room, give, charge, discharge, charges, value = map(np.array, zip(*rows, strict=True))
    gives = must == 0.0
    band = PowerBand(np.where(gives, -give, must), np.where(gives, room, must + room))
    plan = PlannedSlot(np.where(charges, charge, 0.0), np.where(charges, 0.0, discharge), value)
    energy = EnergyPerPower(np.full(len(must), 0.9), np.full(len(must), 1 / 0.9), 0.01 + 0 * must)
    agent = np.zeros(len(must), np.int64)
    owner = OwnerTerms(
        agent, np.array([surplus]), np.full(len(must), fee), np.zeros(1), np.full(1, 0.3)
    )
    orders = planned_orders(plan, band, energy, owner)
    upper, price = orders.upper_kw, orders.limit_price_eur_per_kwh
    bought = upper[Step.CHARGE_OWN] + upper[Step.CHARGE_MARKET]
    sold = upper[Step.DISCHARGE_OWN] + upper[Step.DISCHARGE_MARKET]
    assert (upper >= 0).all()
    assert (np.maximum(band.lowest_kw, 0) + bought <= band.highest_kw + 1e-9).all()
    assert (sold <= np.maximum(-band.lowest_kw, 0) + 1e-9).all()
    assert upper[Step.CHARGE_OWN].sum() <= max(surplus, 0) + 1e-9
    assert upper[Step.DISCHARGE_OWN].sum() <= max(-surplus, 0) + 1e-9
    # At no price of the area are both a charging and a discharging step worth it.
    both = (bought > 0) & (sold > 0)
    assert (price[Step.CHARGE_MARKET] < price[Step.DISCHARGE_OWN])[both].all()
    assert (price[Step.CHARGE_OWN] < price[Step.DISCHARGE_MARKET])[both].all()


def test_a_plan_that_charges_is_bid_above_its_value_and_one_that_stands_still_below() -> None:
    band = PowerBand(np.array([-4.0, -4.0]), np.array([4.0, 4.0]))
    plan = PlannedSlot(np.array([2.0, 0.0]), np.zeros(2), np.array([0.2, 0.2]))
    energy = EnergyPerPower(np.ones(2), np.ones(2), np.zeros(2))
    owner = OwnerTerms(np.array([0, 1]), np.array([0.5, 0.0]), np.zeros(2), np.zeros(1), np.ones(1))
    orders = planned_orders(plan, band, energy, owner)
    np.testing.assert_allclose(orders.upper_kw[:, 0], [0.5, 1.5, 0.0, 0.0])
    np.testing.assert_allclose(orders.upper_kw[:, 1], [0.0, 4.0, 0.0, 4.0])
    assert orders.limit_price_eur_per_kwh[Step.CHARGE_MARKET, 0] > 0.2
    assert orders.limit_price_eur_per_kwh[Step.CHARGE_MARKET, 1] < 0.2
    assert orders.limit_price_eur_per_kwh[Step.DISCHARGE_MARKET, 1] > 0.2


def test_tanks_of_several_fleets_stand_side_by_side() -> None:
    parts = []
    for make in FLEETS.values():
        fleet = make()
        fleet.begin_slot(0)
        parts.append(fleet.outlook(0, STEPS))
    joined = TankOutlook.joined(parts)
    assert len(joined) == 52
    some = joined.some(np.arange(12, 32))
    np.testing.assert_array_equal(some.charge_kw, parts[1].charge_kw)
    assert replace(some).kept.shape == (len(STEPS), 20)


def test_no_store_bids_more_than_the_retailer_asks() -> None:
    """However much a plan fears that lines are full: 9 EUR/kWh is a breach, not a price."""
    band = PowerBand(np.array([-4.0]), np.array([4.0]))
    plan = PlannedSlot(np.array([2.0]), np.zeros(1), np.array([9.0]))
    energy = EnergyPerPower(np.array([0.9]), np.array([1 / 0.9]), np.zeros(1))
    owner = OwnerTerms(np.array([0]), np.zeros(1), np.array([0.02]), np.zeros(1), np.array([0.3]))
    orders = planned_orders(plan, band, energy, owner)
    price = orders.limit_price_eur_per_kwh[Step.CHARGE_MARKET, 0]
    assert 0.3 - 0.02 < price < 0.3 - 0.02 + 1e-3
