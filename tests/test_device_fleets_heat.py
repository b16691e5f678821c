"""Heat pumps: conservation, comfort wherever it is reachable, COP of the source."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tricell.errors import DataError, SimulatorError
from tricell.simulators.heat_pumps import (
    Buildings,
    HeatConditions,
    HeatFleet,
    HeatPumps,
    HeatSource,
    HeatStores,
    apply_power,
    building_conditions,
    coefficient_of_performance,
    demand_met_share,
    heated_buildings,
    heated_stores,
    hysteresis,
    idle_state,
    power_band,
    reachable_states,
    run_by_hysteresis,
    store_conditions,
)

Floats = NDArray[np.float64]
HOURS = 0.25
SLOTS = 48
TOLERANCE = 1e-9


def filled(n: int, columns: dict[str, Any]) -> dict[str, Any]:
    return {key: np.broadcast_to(np.asarray(v), n).copy() for key, v in columns.items()}


def pumps_of(n: int = 1, **columns: Any) -> HeatPumps:
    """Air-source pumps of 3 kW with radiators, some columns changed."""
    defaults = {
        "agent": np.arange(n),
        "rated_kw": 3.0,
        "source": 0,
        "flow_at_0_c": 40.0,
        "flow_slope": 1.0,
        "cop_factor": 1.0,
    }
    return HeatPumps(tuple(f"pump {row}" for row in range(n)), **filled(n, defaults | columns))


def buildings_of(n: int = 1, **columns: Any) -> Buildings:
    """Houses with 5 kWh/K and 6 K/kW between 20 and 22 degC, some columns changed."""
    defaults = {
        "capacity_kwh_per_k": 5.0,
        "resistance_k_per_kw": 6.0,
        "comfort_low_c": 20.0,
        "comfort_high_c": 22.0,
        "start_c": 21.0,
    }
    return Buildings(**filled(n, defaults | columns))


def stores_of(n: int = 1, **columns: Any) -> HeatStores:
    """Stores of 20 kWh that lose 1 % an hour, some columns changed."""
    defaults = {"capacity_kwh": 20.0, "loss_per_h": 0.01, "start_kwh": 10.0}
    return HeatStores(**filled(n, defaults | columns))


@st.composite
def some_houses(draw: st.DrawFn) -> tuple[HeatFleet, HeatConditions]:
    """Return houses and weather: some pumps too small for it, some houses too warm by the sun."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 6))
    low = random.uniform(18, 21, n)
    fleet = heated_buildings(
        pumps_of(n, rated_kw=random.uniform(0.5, 8, n)),
        buildings_of(
            n,
            capacity_kwh_per_k=random.uniform(0.5, 20, n),
            resistance_k_per_kw=random.uniform(2, 20, n),
            comfort_low_c=low,
            comfort_high_c=low + random.uniform(0.2, 4, n),
            start_c=low + random.uniform(-2, 4, n),
        ),
        HOURS,
    )
    outdoor = random.uniform(-15, 20) + np.cumsum(random.normal(0, 1, (SLOTS, n)), axis=0)
    gain = random.uniform(0, 1.5, (SLOTS, n)) * (random.random((SLOTS, n)) < 0.5)
    cop = coefficient_of_performance(fleet.pumps, outdoor)
    return fleet, building_conditions(fleet, cop, outdoor, gain)


@st.composite
def some_stores(draw: st.DrawFn) -> tuple[HeatFleet, HeatConditions]:
    """Return stores and a heat demand that is now and then more than they can serve."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 6))
    capacity = random.uniform(1, 50, n)
    fleet = heated_stores(
        pumps_of(n, rated_kw=random.uniform(0.5, 8, n)),
        stores_of(
            n,
            capacity_kwh=capacity,
            loss_per_h=10 ** random.uniform(-4, -0.5, n),
            start_kwh=capacity * random.random(n),
        ),
        HOURS,
    )
    cop = random.uniform(1.5, 5, (SLOTS, n))
    demand = random.exponential(random.uniform(0.5, 8), (SLOTS, n))
    return fleet, store_conditions(fleet, cop, demand)


def power_within(
    fleet: HeatFleet, state: Floats, conditions: HeatConditions, random: np.random.Generator,
    end: tuple[Floats, Floats] | None = None,
) -> Floats:  # fmt: skip
    band = power_band(fleet, state, conditions, end)
    share = np.clip(random.uniform(-0.5, 1.5, len(fleet)), 0, 1)
    return np.asarray(band.lowest_kw + share * (band.highest_kw - band.lowest_kw))


@given(houses=some_houses(), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_houses_conserve_energy_whatever_the_power(
    houses: tuple[HeatFleet, HeatConditions], seed: int
) -> None:
    fleet, weather = houses
    random = np.random.default_rng(seed)
    state, balance = fleet.start, np.zeros(len(fleet))
    for slot in range(SLOTS):
        now = weather.slot(slot)
        power = fleet.pumps.rated_kw * random.random(len(fleet))
        step = apply_power(fleet, state, now, power)
        assert step.heat_kwh == pytest.approx(power * now.cop * HOURS, rel=1e-12)
        balance += step.heat_kwh + now.gain_kw * HOURS - step.lost_kwh
        state = step.state
    assert fleet.capacity * (state - fleet.start) == pytest.approx(balance, abs=TOLERANCE)


@given(stores=some_stores(), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_stores_conserve_energy_and_serve_or_report_every_kwh_of_demand(
    stores: tuple[HeatFleet, HeatConditions], seed: int
) -> None:
    fleet, demand = stores
    random = np.random.default_rng(seed)
    state, balance = fleet.start, np.zeros(len(fleet))
    for slot in range(SLOTS):
        now = demand.slot(slot)
        step = apply_power(fleet, state, now, power_within(fleet, state, now, random))
        served = -now.gain_kw * HOURS - step.unmet_kwh
        assert (served >= -TOLERANCE).all()
        assert (step.unmet_kwh >= 0).all()
        # a store that leaves demand unmet is empty, and its pump ran at full power
        assert (step.state[step.unmet_kwh > TOLERANCE] == 0).all()
        assert (step.lost_kwh >= -TOLERANCE).all()
        balance += step.heat_kwh - served - step.lost_kwh
        state = step.state
        assert (state <= fleet.high * (1 + 1e-9)).all()
    assert state - fleet.start == pytest.approx(balance, abs=TOLERANCE)


@given(houses=st.one_of(some_houses(), some_stores()), seed=st.integers(0, 1000))
@settings(max_examples=80, deadline=None)
def test_power_within_the_band_keeps_comfort_and_demand_wherever_that_is_reachable(
    houses: tuple[HeatFleet, HeatConditions], seed: int
) -> None:
    fleet, conditions = houses
    least, most = reachable_states(fleet, conditions)
    reachable = (fleet.start >= least[0]) & (fleet.start <= most[0])
    possible = _stays_possible(fleet, conditions, least, most)
    random = np.random.default_rng(seed)
    state = fleet.start
    outside, unmet = np.zeros(len(fleet)), np.zeros(len(fleet))
    for slot in range(SLOTS):
        now, end = conditions.slot(slot), (least[slot + 1], most[slot + 1])
        step = apply_power(fleet, state, now, power_within(fleet, state, now, random, end))
        state = step.state
        outside += step.discomfort_kh
        unmet += step.unmet_kwh
    kept = reachable & possible
    assert outside[kept].max(initial=0) <= TOLERANCE
    assert unmet[kept].max(initial=0) <= TOLERANCE


def _stays_possible(
    fleet: HeatFleet, conditions: HeatConditions, least: Floats, most: Floats
) -> NDArray[np.bool_]:
    """Return where some power leads from the reachable states of every slot to the next ones."""
    possible = np.ones(len(fleet), dtype=np.bool_)
    full = fleet.pumps.rated_kw * fleet.state_per_kw
    for slot in range(SLOTS):
        now = conditions.slot(slot)
        possible &= idle_state(fleet, least[slot], now) <= most[slot + 1] + 1e-9
        hottest = idle_state(fleet, least[slot], now) + full * now.cop
        possible &= hottest >= least[slot + 1] - 1e-9
    return possible


def test_a_house_is_heated_ahead_of_a_cold_spell_that_its_pump_cannot_follow() -> None:
    fleet = heated_buildings(pumps_of(rated_kw=1.0), buildings_of(start_c=21.0), HOURS)
    outdoor = np.where(np.arange(SLOTS) < 24, 10.0, -2.0)[:, None]
    cop = coefficient_of_performance(fleet.pumps, outdoor)
    weather = building_conditions(fleet, cop, outdoor, np.array(0.0))
    least, most = reachable_states(fleet, weather)
    assert least[0, 0] < 21
    assert least[24, 0] > 20.5  # the deficit of six hours at -2 degC is about 1 K
    ahead, blind = np.zeros(1), np.zeros(1)
    warm = cold = fleet.start
    for slot in range(SLOTS):
        now = weather.slot(slot)
        foreseen = power_band(fleet, warm, now, (least[slot + 1], most[slot + 1]))
        step = apply_power(fleet, warm, now, foreseen.lowest_kw)
        warm, ahead = step.state, ahead + step.discomfort_kh
        step = apply_power(fleet, cold, now, power_band(fleet, cold, now).lowest_kw)
        cold, blind = step.state, blind + step.discomfort_kh
    assert ahead[0] <= TOLERANCE
    assert blind[0] > 0.1


@given(houses=st.one_of(some_houses(), some_stores()))
@settings(max_examples=40, deadline=None)
def test_hysteresis_leaves_the_band_only_where_no_power_of_that_slot_could_keep_it(
    houses: tuple[HeatFleet, HeatConditions],
) -> None:
    fleet, conditions = houses
    run = run_by_hysteresis(fleet, conditions)
    rated = fleet.pumps.rated_kw
    cold = run.state < fleet.low - TOLERANCE
    warm = run.state > fleet.high + TOLERANCE
    assert (run.power_kw[cold] == np.broadcast_to(rated, run.power_kw.shape)[cold]).all()
    assert (run.power_kw[warm] == 0).all()


def test_hysteresis_heats_at_full_power_to_the_top_and_then_rests() -> None:
    fleet = heated_buildings(pumps_of(), buildings_of(start_c=20.0), HOURS)
    outdoor = np.zeros((96, 1))
    cop = coefficient_of_performance(fleet.pumps, outdoor)
    weather = building_conditions(fleet, cop, outdoor, np.array(0.0))
    run = run_by_hysteresis(fleet, weather)
    part = (run.power_kw > 0) & (run.power_kw < 3.0)
    switched = np.diff((run.power_kw[:, 0] > 0).astype(int))
    assert run.discomfort_kh.max() == 0
    assert part.sum() <= np.abs(switched).sum()
    assert run.state.max() == pytest.approx(22.0)
    # a run from 20 to 22 degC needs 10 kWh and what is lost: at least 4 of its slots are full
    assert (run.power_kw == 3.0).sum() >= 4
    resting, _ = hysteresis(fleet, np.array([21.0]), np.array([False]), weather.slot(0))
    assert resting.tolist() == [0.0]


def test_a_house_cools_down_as_the_exponential_solution_says() -> None:
    # T = T_a + (T_0 - T_a) exp(-t / RC) = 20 exp(-0.25 / 30) with R C = 6 x 5 h
    fleet = heated_buildings(pumps_of(), buildings_of(start_c=20.0), HOURS)
    conditions = building_conditions(fleet, np.array([3.0]), np.array([0.0]), np.array([0.0]))
    step = apply_power(fleet, fleet.start, conditions, np.zeros(1))
    assert step.state == pytest.approx([20 * np.exp(-0.25 / 30)], rel=1e-14)
    assert step.discomfort_kh == pytest.approx((20 - step.state) * 0.25)


def test_the_cop_is_that_of_staffell_et_al_and_stays_within_their_lifts() -> None:
    # air: 6.81 - 0.121 x 40 + 0.000630 x 1600; ground: 8.77 - 0.150 x 30 + 0.000734 x 900
    pumps = pumps_of(2, source=[0, 1], cop_factor=[1.0, 0.5])
    assert coefficient_of_performance(pumps, np.zeros(1)) == pytest.approx([2.978, 2.4653])
    for source, least, most in ((HeatSource.AIR, 15.0, 60.0), (HeatSource.GROUND, 20.0, 60.0)):
        one = pumps_of(source=source, flow_slope=0.0)
        far = coefficient_of_performance(one, np.array([[-60.0], [60.0]]), ground_c=-60.0)
        assert far.min() > 1.5
        flow = 10.0 + np.array([least, most])
        at_ends = [
            coefficient_of_performance(
                pumps_of(source=source, flow_slope=0.0, flow_at_0_c=f), np.array([10.0])
            )[0]
            for f in [*flow, 10.0, 200.0]
        ]
        assert at_ends[2:] == pytest.approx(at_ends[:2])


def test_the_share_of_demand_met_is_undefined_without_demand() -> None:
    share = demand_met_share(np.array([[4.0, 0.0], [4.0, 0.0]]), np.array([[2.0, 0.0], [0.0, 0.0]]))
    assert share[0] == 0.75
    assert np.isnan(share[1])
    with pytest.raises(DataError, match="same shape"):
        demand_met_share(np.zeros((2, 1)), np.zeros((3, 1)))


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: pumps_of(2, rated_kw=[3.0, 0.0]), "'pump 1': rated_kw is 0"),
        (lambda: pumps_of(2, cop_factor=[-0.1, 1.0]), "'pump 0': cop_factor is -0.1"),
        (lambda: pumps_of(2, source=[0, 2]), "'pump 1': source is 2"),
        (lambda: pumps_of(2, flow_at_0_c=[np.inf, 2]), "'pump 0': flow_at_0_c is inf"),
        (
            lambda: heated_buildings(
                pumps_of(2), buildings_of(2, comfort_high_c=[22.0, 20.0]), HOURS
            ),
            "'pump 1': comfort_high_c is 20.*the band is empty",
        ),
        (
            lambda: heated_buildings(
                pumps_of(2), buildings_of(2, capacity_kwh_per_k=[0.0, 5.0]), HOURS
            ),
            "'pump 0': capacity_kwh_per_k is 0",
        ),
        (
            lambda: heated_buildings(
                pumps_of(2), buildings_of(2, capacity_kwh_per_k=[1e-9, 5.0]), HOURS
            ),
            "'pump 0': time constant",
        ),
        (
            lambda: heated_stores(pumps_of(2), stores_of(2, capacity_kwh=[20.0, 0.0]), HOURS),
            "'pump 1': capacity_kwh is 0",
        ),
        (
            lambda: heated_stores(pumps_of(2), stores_of(2, start_kwh=[21.0, 0.0]), HOURS),
            "'pump 0': start_kwh is 21",
        ),
    ],
)
def test_impossible_parameters_are_refused_with_the_name_of_the_heat_pump(
    build: Any, says: str
) -> None:
    with pytest.raises(DataError, match=says):
        build()


def test_a_cop_of_zero_and_a_negative_demand_are_refused_with_the_name_of_the_heat_pump() -> None:
    houses = heated_buildings(pumps_of(2), buildings_of(2), HOURS)
    zero = np.zeros(1)
    with pytest.raises(DataError, match="'pump 1': cop is 0"):
        building_conditions(houses, np.array([[3.0, 3.0], [3.0, 0.0]]), zero, zero)
    with pytest.raises(DataError, match="'pump 0': outdoor_c is nan"):
        building_conditions(houses, np.array([3.0, 3.0]), np.array([np.nan, 0.0]), zero)
    stores = heated_stores(pumps_of(2), stores_of(2), HOURS)
    with pytest.raises(DataError, match="'pump 1': demand_kw is -1"):
        store_conditions(stores, np.array([3.0, 3.0]), np.array([0.0, -1.0]))


def test_set_points_that_a_heat_pump_cannot_carry_out_are_refused_with_its_name() -> None:
    fleet = heated_stores(pumps_of(2), stores_of(2, start_kwh=[10.0, 20.0]), HOURS)
    idle = store_conditions(fleet, np.array([3.0, 3.0]), np.zeros(1))
    for power, why in (
        ([3.1, 0.0], "'pump 0' cannot run at 3.1 kW"),
        ([0.0, -1.0], "'pump 1' cannot run at -1 kW"),
        ([0.0, 1.0], "'pump 1' cannot run at 1 kW.*no room"),
    ):
        with pytest.raises(SimulatorError, match=why):
            apply_power(fleet, fleet.start, idle, np.array(power))
