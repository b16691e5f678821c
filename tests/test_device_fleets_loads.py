"""Shiftable appliances and PV inverters: whole profiles, limits of power, characteristics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tricell.errors import DataError, SimulatorError
from tricell.simulators.appliance_jobs import ApplianceJobs
from tricell.simulators.inverter import (
    Inverters,
    ReactiveControl,
    characteristic_share,
    inverter_power,
    least_power_factor,
    standard_characteristic,
)
from tricell.simulators.shiftable_loads import (
    NOT_STARTED,
    ShiftableLoads,
    may_start,
    missed_kwh,
    must_start,
    none_started,
    power_band,
    power_of_jobs,
    power_of_starts,
    start_cheapest,
    start_jobs,
)

Floats = NDArray[np.float64]
SLOTS = 40


def jobs_of(n: int = 1, **columns: Any) -> ShiftableLoads:
    """Jobs of 2 kW and 1 kW for a slot each, between slots 0 and 10, some columns changed."""
    defaults = {"agent": np.arange(n), "slots": 2, "earliest_slot": 0, "latest_end_slot": 10}
    profile = np.asarray(columns.pop("profile_kw", [2.0, 1.0]), dtype=float)
    made = {
        key: np.broadcast_to(np.asarray(value), n).copy()
        for key, value in (defaults | columns).items()
    }
    names = tuple(f"washer {row}" for row in range(n))
    shape = (n, profile.shape[-1])
    return ShiftableLoads(
        name=names, profile_kw=np.broadcast_to(profile, shape).copy(), hours=0.25, **made
    )


@st.composite
def some_jobs(draw: st.DrawFn) -> ShiftableLoads:
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, longest = draw(st.integers(1, 8)), draw(st.integers(1, 6))
    slots = random.integers(1, longest + 1, n)
    profile = random.uniform(0.1, 3, (n, longest)) * (np.arange(longest) < slots[:, None])
    earliest = random.integers(0, SLOTS // 2, n)
    return jobs_of(
        n,
        profile_kw=profile,
        slots=slots,
        earliest_slot=earliest,
        latest_end_slot=earliest + slots + random.integers(0, 12, n),
    )


@given(loads=some_jobs(), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_every_job_runs_once_whole_and_inside_its_time_and_takes_its_energy(
    loads: ShiftableLoads, seed: int
) -> None:
    random = np.random.default_rng(seed)
    prices = random.uniform(-0.2, 0.5, SLOTS)
    for cheapest in (True, False):
        start = none_started(loads)
        power = np.zeros((SLOTS, len(loads)))
        for slot in range(SLOTS):
            wanted = start_cheapest(loads, start, slot, prices[slot : slot + 10])
            if not cheapest:
                some = may_start(loads, start, slot) & (random.random(len(loads)) < 0.3)
                wanted = must_start(loads, start, slot) | some
            band = power_band(loads, start, slot)
            start = start_jobs(loads, start, slot, wanted)
            power[slot] = power_of_jobs(loads, start, slot)
            assert (power[slot] >= band.lowest_kw).all()
            assert (power[slot] <= band.highest_kw).all()
        assert missed_kwh(loads, start, SLOTS).max() == 0
        assert power.sum(axis=0) * 0.25 == pytest.approx(loads.energy_kwh, abs=1e-9)
        assert (start >= loads.earliest_slot).all()
        assert (start + loads.slots <= loads.latest_end_slot).all()
        assert (power_of_starts(loads, start, SLOTS) == power).all()


@given(loads=some_jobs(), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_the_cheapest_start_is_the_best_of_all_starts_tried_one_by_one(
    loads: ShiftableLoads, seed: int
) -> None:
    prices = np.random.default_rng(seed).uniform(-0.2, 0.5, SLOTS)
    start = none_started(loads)
    for slot in range(SLOTS):
        start = start_jobs(loads, start, slot, start_cheapest(loads, start, slot, prices[slot:]))
    for row in range(len(loads)):
        costs = {
            first: float(prices[first : first + n] @ loads.profile_kw[row, :n])
            for n in [int(loads.slots[row])]
            for first in range(loads.earliest_slot[row], loads.latest_start_slot[row] + 1)
        }
        assert costs[int(start[row])] == pytest.approx(min(costs.values()), abs=1e-12)


def test_of_equally_cheap_starts_the_earliest_is_taken_and_unknown_prices_do_not_count() -> None:
    loads = jobs_of()
    assert start_cheapest(loads, none_started(loads), 0, np.full(10, 0.3)).tolist() == [True]
    # the last slot is the cheapest, but the price of the job's second slot is not known
    assert start_cheapest(loads, none_started(loads), 3, np.array([0.3, 0.3, 0.0])).tolist() == [
        False
    ]
    assert start_cheapest(loads, none_started(loads), 4, np.array([0.3])).tolist() == [False]
    assert start_cheapest(loads, none_started(loads), 8, np.array([0.3])).tolist() == [True]


def test_a_job_never_started_is_reported_with_its_energy() -> None:
    loads = jobs_of(2, latest_end_slot=[10, 12])
    start = none_started(loads)
    assert missed_kwh(loads, start, 7).tolist() == [0, 0]
    assert missed_kwh(loads, start, 8).tolist() == [0.75, 0]
    assert power_of_starts(loads, start, 12).sum() == 0


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"latest_end_slot": [10, 1]}, "'washer 1': latest_end_slot is 1.*whole profile"),
        ({"earliest_slot": [-1, 0]}, "'washer 0': earliest_slot is -1"),
        ({"slots": [2, 3]}, "'washer 1': slots is 3.*from 1 to 2"),
        ({"slots": [2, 1]}, "'washer 1': power after its slots is 1"),
        ({"profile_kw": [[2.0, 1.0], [2.0, -1.0]]}, "'washer 1': least_profile_kw is -1"),
        ({"profile_kw": [[0.0, 0.0], [2.0, 1.0]]}, "'washer 0': energy_kwh is 0"),
    ],
)
def test_impossible_jobs_are_refused_by_name(columns: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        jobs_of(2, **columns)


@pytest.mark.parametrize(
    ("start", "slot"), [([NOT_STARTED, 3], 5), ([NOT_STARTED, NOT_STARTED], 11)]
)
def test_a_set_point_that_starts_a_job_twice_or_too_late_is_refused_by_name(
    start: list[int], slot: int
) -> None:
    loads = jobs_of(2, latest_end_slot=[20, 12])
    with pytest.raises(SimulatorError, match=f"'washer 1' cannot start in slot {slot}"):
        start_jobs(loads, np.array(start), slot, np.array([False, True]))
    with pytest.raises(DataError, match="no price"):
        start_cheapest(loads, np.array(start), slot, np.empty(0))


def inverters_of(n: int = 1, **columns: Any) -> Inverters:
    """Inverters of 10 kVA with the standard Q(U) characteristic, some columns changed."""
    voltage, share = standard_characteristic(np.full(n, 0.9))
    defaults = {
        "agent": np.arange(n),
        "rated_kva": 10.0,
        "control": int(ReactiveControl.VOLTAGE),
        "power_factor": 0.9,
        "absorbs": True,
        "reactive_first": True,
    }
    corners = {
        "voltage_pu": np.asarray(columns.pop("voltage_pu", voltage)),
        "reactive_share": np.asarray(columns.pop("reactive_share", share)),
    }
    made = {
        key: np.broadcast_to(np.asarray(value), n).copy()
        for key, value in (defaults | columns).items()
    }
    return Inverters(name=tuple(f"roof {row}" for row in range(n)), **made, **corners)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None)
def test_inverters_keep_apparent_power_and_power_factor_and_account_for_every_kw(
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    n = 20
    factor = random.uniform(0.7, 1, n)
    voltage, share = standard_characteristic(factor)
    inverters = inverters_of(
        n,
        rated_kva=random.uniform(1, 100, n),
        control=random.integers(0, 2, n),
        power_factor=factor,
        absorbs=random.random(n) < 0.5,
        reactive_first=random.random(n) < 0.5,
        voltage_pu=voltage,
        reactive_share=share,
    )
    available = inverters.rated_kva * random.choice([0, 0.3, 1, 1.3], n) * random.random(n)
    limit = inverters.rated_kva * random.choice([0, 0.5, 1, np.inf], n)
    power = inverter_power(inverters, available, random.uniform(0.85, 1.15, n), limit)
    size = np.hypot(power.p_kw, power.q_kvar)
    tangent = np.sqrt(1 - factor**2) / factor
    assert (size <= inverters.rated_kva * (1 + 1e-12)).all()
    assert (np.abs(power.q_kvar) <= power.p_kw * tangent + 1e-6).all()
    assert power.p_kw + power.curtailed_kw == pytest.approx(available, abs=1e-9)
    assert (power.p_kw >= 0).all()
    assert (power.curtailed_kw >= -1e-12).all()
    assert (power.p_kw <= limit).all()
    active_first = ~inverters.reactive_first
    most = np.minimum(np.minimum(available, limit), inverters.rated_kva)
    assert (power.p_kw[active_first] == most[active_first]).all()


def test_the_standard_characteristic_lowers_high_and_raises_low_voltage() -> None:
    # VDE-AR-N 4105: corners at 0.93, 0.97, 1.03 and 1.07 pu; sin(acos 0.9) = 0.43589
    inverters = inverters_of(1)
    voltage = np.array([0.90, 0.93, 0.95, 0.97, 1.0, 1.03, 1.05, 1.07, 1.10])[:, None]
    most = 0.4358898943540674
    expected = [most, most, most / 2, 0, 0, 0, -most / 2, -most, -most]
    assert characteristic_share(inverters, voltage)[:, 0] == pytest.approx(expected, abs=1e-12)
    power = inverter_power(inverters, np.array([10.0]), np.array([1.07]))
    assert power.p_kw == pytest.approx([9.0])
    assert power.q_kvar == pytest.approx([-10 * most])
    assert power.curtailed_kw == pytest.approx([1.0])


def test_active_power_first_keeps_it_and_reactive_power_gets_what_is_left() -> None:
    inverters = inverters_of(1, reactive_first=False)
    high = np.array([1.10])
    full = inverter_power(inverters, np.array([10.0]), high)
    assert (full.p_kw[0], full.q_kvar[0]) == (10.0, 0.0)
    part = inverter_power(inverters, np.array([9.6]), high)
    assert part.q_kvar == pytest.approx([-2.8])  # sqrt(10^2 - 9.6^2)
    assert inverter_power(inverters, np.zeros(1), high).q_kvar == pytest.approx([0.0])


def test_a_fixed_power_factor_holds_below_the_rating_with_the_sign_that_is_set() -> None:
    inverters = inverters_of(2, control=0, absorbs=[True, False], power_factor=0.95)
    power = inverter_power(inverters, np.array([4.0, 4.0]), np.ones(2))
    reactive = 4 * np.tan(np.arccos(0.95))
    assert power.q_kvar == pytest.approx([-reactive, reactive])
    blocks = inverter_power(inverters, np.full((3, 2), 4.0), np.ones((3, 2)), 2.0)
    assert blocks.p_kw == pytest.approx(np.full((3, 2), 2.0))
    assert blocks.curtailed_kw == pytest.approx(np.full((3, 2), 2.0))


def test_small_inverters_need_a_power_factor_of_095_and_larger_ones_of_090() -> None:
    assert least_power_factor(np.array([4.6, 4.7])).tolist() == [0.95, 0.90]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"rated_kva": [10.0, 0.0]}, "'roof 1': rated_kva is 0"),
        ({"power_factor": [0.0, 0.9]}, "'roof 0': power_factor is 0"),
        ({"control": [0, 2]}, "'roof 1': control is 2"),
        ({"voltage_pu": [[0.9, 1.0]] * 2}, "need one row per inverter"),
        (
            {"voltage_pu": [[0.9, 1.1], [1.1, 0.9]], "reactive_share": [[0.4, -0.4]] * 2},
            "'roof 1': least step of voltage_pu is -0.2",
        ),
        (
            {"voltage_pu": [[0.9, 1.1]] * 2, "reactive_share": [[-0.4, 0.4], [0.4, -0.4]]},
            "'roof 0': largest rise of reactive_share is 0.8",
        ),
        (
            {"voltage_pu": [[0.9, 1.1]] * 2, "reactive_share": [[0.4, -1.4]] * 2},
            "'roof 0': largest reactive_share is 1.4",
        ),
    ],
)
def test_impossible_inverters_are_refused_by_name(columns: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        inverters_of(2, **columns)


def test_negative_available_power_and_limits_are_refused_by_name() -> None:
    inverters = inverters_of(2)
    with pytest.raises(DataError, match="'roof 1': available_kw is -1"):
        inverter_power(inverters, np.array([1.0, -1.0]), np.ones(2))
    with pytest.raises(DataError, match="'roof 0': limit_kw is -1"):
        inverter_power(inverters, np.ones(2), np.ones(2), -1.0)


def test_appliances_of_one_home_are_rated_by_what_may_run_at_once() -> None:
    together = jobs_of(3, agent=1, earliest_slot=[0, 3, 10], latest_end_slot=[4, 10, 14])
    one_by_one = jobs_of(3, agent=1, earliest_slot=[0, 4, 10], latest_end_slot=[4, 10, 14])
    names = ("Ann", "Bob")
    np.testing.assert_array_equal(ApplianceJobs(together, names).charge_kw, [4.0])
    np.testing.assert_array_equal(ApplianceJobs(one_by_one, names).charge_kw, [2.0])


@given(some_jobs())
def test_appliances_never_draw_more_than_they_are_rated(loads: ShiftableLoads) -> None:
    loads = replace(loads, agent=loads.agent // 3)
    fleet = ApplianceJobs(loads, tuple(f"home {row}" for row in range(8)))
    for slot in range(int(loads.latest_end_slot.max())):
        assert (fleet.run(slot, None) <= fleet.charge_kw + 1e-9).all()
