"""Caps on imports: the smallest that a battery can hold, and the energy kept for them."""

from __future__ import annotations

from dataclasses import replace
from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.optimize import linprog

from tricell.markets.charge import PeakSignal
from tricell.simulators.battery import apply_power, power_bounds
from tricell.simulators.peak_plan import plan_peaks, reserves, smallest_caps
from tricell.simulators.population import Batteries

Floats = NDArray[np.float64]

HOURS = 0.25


def batteries_of(
    count: int,
    *,
    energy_kwh: float = 10.0,
    power_kw: float = 5.0,
    eta: float = 0.95,
    lost_per_day: float = 0.0,
    soc0_kwh: float = 0.0,
) -> Batteries:
    def each(value: float) -> Floats:
        return np.full(count, value)

    return Batteries(
        agent=np.arange(count),
        energy_kwh=each(energy_kwh),
        charge_kw=each(power_kw),
        discharge_kw=each(power_kw),
        eta_charge=each(eta),
        eta_discharge=each(eta),
        self_discharge_per_day=each(lost_per_day),
        soc0_kwh=each(soc0_kwh),
    )


def signal_of(eur_per_kw: float, free_kw: float = 0.0, count: int = 1) -> PeakSignal:
    return PeakSignal(np.full(count, eur_per_kw), np.full(count, free_kw), "month")


@st.composite
def households(draw: st.DrawFn) -> tuple[Batteries, Floats]:
    """One household with a battery over a few slots."""
    energy = draw(st.floats(0.5, 12.0))
    battery = batteries_of(
        1,
        energy_kwh=energy,
        power_kw=draw(st.floats(0.2, 6.0)),
        eta=draw(st.floats(0.7, 1.0)),
        lost_per_day=draw(st.sampled_from([0.0, 0.0013, 0.3])),
        soc0_kwh=draw(st.floats(0.0, 1.0)) * energy,
    )
    slots = draw(st.integers(1, 14))
    net = draw(arrays(np.float64, (slots, 1), elements=st.floats(-6.0, 10.0, width=32)))
    return battery, net


def smallest_cap_by_linear_program(battery: Batteries, net_kw: Floats) -> float:
    """Minimise the cap over charging, discharging and stored energy of every slot."""
    slots = len(net_kw)
    kept = (1.0 - battery.self_discharge_per_day[0]) ** (HOURS / 24.0)
    into = HOURS * battery.eta_charge[0]
    out_of = HOURS / battery.eta_discharge[0]
    eye, zero = np.eye(slots), np.zeros((slots, slots))
    # Columns: charge, discharge, stored at the end of each slot, the cap.
    objective = np.append(np.zeros(3 * slots), 1.0)
    imports = np.hstack([eye, -eye, zero, -np.ones((slots, 1))])
    before = np.eye(slots, k=-1) * kept
    balance = np.hstack([-into * eye, out_of * eye, eye - before, np.zeros((slots, 1))])
    start = np.zeros(slots)
    start[0] = kept * battery.soc0_kwh[0]
    bounds = (
        [(0.0, battery.charge_kw[0])] * slots
        + [(0.0, battery.discharge_kw[0])] * slots
        + [(0.0, battery.energy_kwh[0])] * slots
        + [(0.0, None)]
    )
    solved = linprog(
        objective, A_ub=imports, b_ub=-net_kw[:, 0], A_eq=balance, b_eq=start, bounds=bounds
    )
    assert solved.fun is not None, solved.message
    return float(solved.fun)


@settings(max_examples=80, deadline=None)
@given(households())
def test_the_cap_is_the_smallest_that_any_schedule_reaches(
    household: tuple[Batteries, Floats],
) -> None:
    battery, net = household
    cap = smallest_caps(battery, net, np.zeros(1), np.zeros(len(net), np.int64), HOURS)
    assert cap[0, 0] == pytest.approx(smallest_cap_by_linear_program(battery, net), abs=2e-6)


@settings(max_examples=150, deadline=None)
@given(households(), st.floats(0.0, 4.0))
def test_whoever_keeps_the_reserve_holds_the_cap_and_never_has_a_higher_peak(
    household: tuple[Batteries, Floats], free_kw: float
) -> None:
    """Recharge no more than the reserve asks for, discharge no more than the cap asks for."""
    battery, net = household
    cap = smallest_caps(battery, net, np.array([free_kw]), np.zeros(len(net), np.int64), HOURS)
    reserve = reserves(battery, net, np.broadcast_to(cap, net.shape), HOURS)
    assert cap[0, 0] <= max(float(net.max()), free_kw)
    stored, kept = battery.soc0_kwh, (1 - battery.self_discharge_per_day) ** (HOURS / 24)
    for slot in range(len(net)):
        assert stored[0] >= reserve[slot, 0] - 1e-9
        must = np.maximum(net[slot] - cap[0], 0.0)
        missing = (reserve[slot + 1] - kept * stored) / (battery.eta_charge * HOURS)
        charge = np.clip(missing, 0.0, power_bounds(battery, stored, HOURS)[0])
        power = np.where(must > 0, -must, charge)
        assert net[slot, 0] + power[0] <= cap[0, 0] + 1e-9
        stored = apply_power(battery, stored, power, HOURS)


def test_each_month_has_the_smallest_cap_that_what_is_left_of_the_month_before_allows() -> None:
    """A store of 1 kWh without losses cuts 4 kW for one slot; refilling is free of the cap."""
    battery = batteries_of(1, energy_kwh=1.0, eta=1.0, soc0_kwh=1.0)
    net = np.array([0.0, 8.0, 0.0, 0.0, 0.0, 0.0, 6.0, 0.0])[:, None]
    month = np.array([7, 7, 7, 7, 8, 8, 8, 8])
    plan = plan_peaks(battery, net, [signal_of(1.0)], month, HOURS)
    assert plan is not None
    np.testing.assert_allclose(plan.cap_kw[:, 0], [4.0, 2.0], atol=1e-6)
    # After the first peak the store is empty; it needs 1 kWh before the second, whose cap of
    # 2 kW gives back 0.5 kWh per slot.
    np.testing.assert_allclose(plan.reserve_kwh[4:7, 0], [0.0, 0.5, 1.0], atol=1e-6)


def test_one_peak_for_the_whole_period_gives_one_cap() -> None:
    battery = batteries_of(1, energy_kwh=1.0, eta=1.0, soc0_kwh=1.0)
    net = np.array([0.0, 8.0, 0.0, 0.0, 0.0, 0.0, 6.0, 0.0])[:, None]
    signal = replace(signal_of(1.0), span="period")
    plan = plan_peaks(battery, net, [signal], np.array([7] * 4 + [8] * 4), HOURS)
    assert plan is not None
    np.testing.assert_allclose(plan.cap_kw[:, 0], [4.0, 4.0], atol=1e-6)


def test_power_that_costs_nothing_is_not_shaved() -> None:
    battery = batteries_of(1, soc0_kwh=10.0)
    net = np.array([1.0, 3.0, 2.0])[:, None]
    plan = plan_peaks(battery, net, [signal_of(1.0, free_kw=2.5)], np.zeros(3, np.int64), HOURS)
    assert plan is not None
    assert plan.cap_kw[0, 0] == 2.5


def test_without_a_price_on_power_there_is_no_plan() -> None:
    battery, net = batteries_of(2), np.ones((4, 2))
    month = np.zeros(4, np.int64)
    assert plan_peaks(battery, net, [], month, HOURS) is None
    assert plan_peaks(battery, net, [signal_of(0.0, count=2)], month, HOURS) is None


def test_only_owners_who_pay_for_power_have_a_cap() -> None:
    battery, net = batteries_of(2, soc0_kwh=5.0), np.full((4, 2), 3.0)
    signal = PeakSignal(np.array([0.0, 2.0]), np.zeros(2), "month")
    plan = plan_peaks(battery, net, [signal], np.zeros(4, np.int64), HOURS)
    assert plan is not None
    assert np.isinf(plan.cap_kw[0, 0])
    assert plan.cap_kw[0, 1] < 3.0
    assert not plan.reserve_kwh[:, 0].any()


def test_a_battery_that_cannot_discharge_leaves_the_peak_as_it_is() -> None:
    dead = replace(batteries_of(2), discharge_kw=np.zeros(2))
    signal = PeakSignal(np.array([0.0, 2.0]), np.zeros(2), "month")
    plan = plan_peaks(dead, np.full((4, 2), 3.0), [signal], np.zeros(4, np.int64), HOURS)
    assert plan is not None
    np.testing.assert_array_equal(plan.cap_kw[0], [np.inf, 3.0])


def test_batteries_of_one_owner_share_the_free_power_by_their_own_power() -> None:
    pair = replace(batteries_of(2), agent=np.array([0, 0]), discharge_kw=np.array([1.0, 3.0]))
    net = np.array([[0.5, 1.5]] * 3)
    plan = plan_peaks(pair, net, [signal_of(1.0, free_kw=6.0)], np.zeros(3, np.int64), HOURS)
    assert plan is not None
    np.testing.assert_allclose(plan.cap_kw[0], [1.5, 4.5])


def test_a_month_of_300_batteries_is_planned_within_two_seconds() -> None:
    random = np.random.default_rng(1)
    net = random.gamma(0.5, 1.0, (2976, 300)) - 0.3
    month = np.zeros(2976, np.int64)
    seconds = []
    for _ in range(3):
        begun = process_time()
        plan_peaks(batteries_of(300), net, [signal_of(1.0, count=300)], month, HOURS)
        seconds.append(process_time() - begun)
    assert min(seconds) < 2.0
