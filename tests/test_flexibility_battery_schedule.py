"""The cheapest schedule of a battery against all schedules of a small lattice, and its limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyomo.environ as pe
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tricell.errors import MarketError
from tricell.markets.flexibility.battery import Battery, replay
from tricell.markets.flexibility.battery_schedule import BatterySchedule, schedule_battery
from tricell.markets.flexibility.mixed_integer import NoScheduleError, has_optimum

EUR = 1e-7
KWH = 1e-9

prices = st.integers(-30, 40).map(lambda cents: cents / 100)
slots = st.lists(st.tuples(st.integers(-4, 4), prices, prices), min_size=1, max_size=4)


@st.composite
def lattice_batteries(draw: st.DrawFn) -> Battery:
    """Ratings whose vertices all lie on the lattice of half kWh stored.

    Between two times at which the stored energy is at a bound, one slot is free; its energy follows
    from the bounds. With 0.5 in and 1 out, half kWh stored are whole kWh in and half kWh out.
    """
    capacity = draw(st.integers(1, 3))
    return Battery(
        capacity_kwh=capacity,
        power_kw=draw(st.integers(0, 3)),
        stored_kwh=draw(st.integers(0, capacity)),
        end_kwh=draw(st.integers(0, capacity)),
        charge_efficiency=draw(st.sampled_from([0.5, 1.0])),
        wear_eur_per_kwh=draw(st.sampled_from([0.0, 0.03])),
    )


def cheapest_by_trying(plan: list[tuple[int, float, float]], battery: Battery) -> float:
    """Least cost over all paths of half kWh stored; inf if none ends as asked."""
    levels = np.arange(0.0, battery.capacity_kwh + 0.25, 0.5)
    best = {battery.stored_kwh: 0.0}
    for net, buy, sell in plan:
        following: dict[float, float] = {}
        for before, so_far in best.items():
            for after in levels.tolist():
                charge = max(after - before, 0.0) / battery.charge_efficiency
                discharge = max(before - after, 0.0)
                if max(charge, discharge) > battery.power_kw:
                    continue
                outside = net + charge - discharge
                paid = outside * (buy if outside > 0.0 else sell)
                cost = so_far + paid + battery.wear_eur_per_kwh * discharge
                following[after] = min(cost, following.get(after, np.inf))
        best = following
    return min((cost for level, cost in best.items() if level >= battery.end_kwh), default=np.inf)


def scheduled(plan: list[tuple[int, float, float]], battery: Battery) -> BatterySchedule:
    net, buy, sell = (np.array(column, dtype=np.float64) for column in zip(*plan, strict=True))
    return schedule_battery(net, buy, sell, battery)


@settings(max_examples=60, deadline=None)
@given(slots, lattice_batteries())
def test_the_schedule_costs_what_the_best_of_all_paths_costs(
    plan: list[tuple[int, float, float]], battery: Battery
) -> None:
    """Any sign of prices, and export that earns more than import costs."""
    best = cheapest_by_trying(plan, battery)
    if np.isinf(best):
        with pytest.raises(NoScheduleError, match="end_kwh"):
            scheduled(plan, battery)
        return
    assert scheduled(plan, battery).cost_eur == pytest.approx(best, abs=EUR)


efficiencies = st.floats(0.5, 1.0)
real_batteries = st.builds(
    Battery,
    capacity_kwh=st.floats(0.5, 10.0),
    power_kw=st.floats(0.0, 20.0),
    stored_kwh=st.floats(0.0, 0.5),
    charge_efficiency=efficiencies,
    discharge_efficiency=efficiencies,
    wear_eur_per_kwh=st.floats(0.0, 0.05),
)
real_slots = st.lists(
    st.tuples(st.floats(-8, 8), st.floats(-0.3, 0.5), st.floats(-0.3, 0.5)), min_size=1, max_size=6
)


@settings(max_examples=60, deadline=None)
@given(real_slots, real_batteries, st.sampled_from([0.25, 1.0]))
def test_energy_is_conserved_and_nothing_runs_both_ways(
    plan: list[tuple[float, float, float]], battery: Battery, hours: float
) -> None:
    net, buy, sell = (np.array(column) for column in zip(*plan, strict=True))
    result = schedule_battery(net, buy, sell, battery, hours)
    path = result.path
    change = np.diff(path.stored_kwh, prepend=battery.stored_kwh)
    taken = battery.charge_efficiency * path.charge_kwh
    given_kwh = path.discharge_kwh / battery.discharge_efficiency
    np.testing.assert_allclose(change, taken - given_kwh, rtol=0, atol=KWH)
    outside = net + path.charge_kwh - path.discharge_kwh
    np.testing.assert_allclose(outside, result.import_kwh - result.export_kwh, rtol=0, atol=KWH)
    assert not (path.charge_kwh * path.discharge_kwh).any()
    assert not (result.import_kwh * result.export_kwh).any()
    assert (path.stored_kwh >= 0.0).all()
    assert (path.stored_kwh <= battery.capacity_kwh).all()
    assert np.maximum(path.charge_kwh, path.discharge_kwh).max() <= battery.power_kw * hours
    idle = np.sum(buy * np.maximum(net, 0.0) - sell * np.maximum(-net, 0.0))
    assert result.cost_without_eur == pytest.approx(idle, abs=1e-12)
    assert result.cost_eur <= result.cost_without_eur


def test_at_negative_prices_a_full_battery_burns_nothing() -> None:
    """Importing 1 kWh earns 0.10 EUR, but a full battery has no room.

    A program without binary variables would charge 2 kWh and discharge 1 kWh at once.
    """
    battery = Battery(3.0, 2.0, stored_kwh=3.0, charge_efficiency=0.5)
    result = schedule_battery([0.0], -0.10, -0.20, battery)
    assert result.cost_eur == 0.0
    assert not result.path.charge_kwh.any()
    assert not result.path.discharge_kwh.any()


def test_a_meter_does_not_trade_with_itself_where_export_earns_more() -> None:
    result = schedule_battery([1.0, 1.0], 0.10, 0.30, Battery(1.0, 0.5))
    assert result.import_kwh.tolist() == [1.0, 1.0]
    assert result.cost_eur == pytest.approx(0.20)


def test_quarter_hours_take_a_quarter_of_the_power() -> None:
    """Four slots of 15 min at 2 kW take 2 kWh; 4 kWh at 0.40 less 4 kWh at 0.10 are not reached."""
    plan = [0.10] * 4 + [0.40] * 4
    result = schedule_battery([0.0] * 8, plan, plan, Battery(4.0, 2.0), hours=0.25)
    assert result.path.charge_kwh.tolist() == pytest.approx([0.5] * 4 + [0.0] * 4, abs=KWH)
    assert result.saving_eur == pytest.approx(2.0 * 0.30)


def test_a_battery_that_must_be_filled_costs_more_than_an_idle_one() -> None:
    result = schedule_battery([0.0], 0.30, 0.08, Battery(2.0, 2.0, end_kwh=1.0))
    assert result.saving_eur == pytest.approx(-0.30)
    assert result.path.stored_kwh[-1] == pytest.approx(1.0, abs=KWH)


def test_an_end_out_of_reach_names_the_battery() -> None:
    battery = Battery(4.0, 1.0, end_kwh=3.0, name="battery 7 of house B")
    with pytest.raises(NoScheduleError, match=r"battery 7 of house B.*end_kwh = 3"):
        schedule_battery([0.0, 0.0], 0.30, 0.08, battery)


DE_LU_2019_06_08 = (
    -19.95, -39.96, -40.0, -44.93, -54.78, -59.95, -60.0, -60.07, -65.06, -68.26, -73.04, -75.9,
    -85.03, -90.01, -85.04, -74.44, -65.04, -59.94, 10.54, 23.54, 25.47, 27.31, 20.84, 25.62,
)  # fmt: skip
"""Day-ahead prices of the zone DE-LU with eighteen negative hours, EUR/MWh."""


def test_a_day_of_negative_prices_earns_what_a_battery_can_do_and_not_what_it_cannot() -> None:
    """2 MWh, 1 MW, 95 % each way: 256.0892 EUR; a program without binaries believes 327.9266.

    Both figures are HiGHS's own, of the mixed-integer and of the linear program (tolerance 0.001).
    """
    battery = Battery(2.0, 1.0, charge_efficiency=0.95, discharge_efficiency=0.95)
    prices = np.array(DE_LU_2019_06_08)
    schedule = schedule_battery(np.zeros(24), prices, prices, battery)
    assert -schedule.cost_eur == pytest.approx(256.0892, abs=1e-3)
    assert not (np.minimum(schedule.path.charge_kwh, schedule.path.discharge_kwh) > KWH).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"capacity_kwh": 0.0}, "cellar: capacity_kwh is 0.0"),
        ({"capacity_kwh": float("inf")}, "capacity_kwh is inf"),
        ({"power_kw": -1.0}, "power_kw is -1.0"),
        ({"charge_efficiency": 0.0}, "charge_efficiency is 0.0; allowed is above 0"),
        ({"discharge_efficiency": 1.1}, "discharge_efficiency is 1.1"),
        ({"stored_kwh": 3.0}, "stored_kwh is 3.0; allowed is 0 to 2"),
        ({"wear_eur_per_kwh": float("nan")}, "wear_eur_per_kwh is nan"),
    ],
)
def test_a_rating_that_no_battery_has_is_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(MarketError, match=message):
        replace(Battery(2.0, 1.0, name="cellar"), **change)  # type: ignore[arg-type]


def test_a_gap_in_a_series_names_its_slot() -> None:
    with pytest.raises(MarketError, match="import_price in slot 1 is nan"):
        schedule_battery([0.0, 1.0], [0.3, np.nan], 0.08, Battery(1.0, 1.0))
    with pytest.raises(MarketError, match=r"export_price has shape \(3,\)"):
        schedule_battery([0.0, 1.0], 0.3, [0.1, 0.1, 0.1], Battery(1.0, 1.0))
    with pytest.raises(MarketError, match="net_kwh has no slot"):
        schedule_battery([], 0.3, 0.1, Battery(1.0, 1.0))
    with pytest.raises(MarketError, match="slots are 0"):
        schedule_battery([0.0, 1.0], 0.3, 0.1, Battery(1.0, 1.0), hours=0.0)


def test_a_program_without_an_optimum_says_how_highs_ended() -> None:
    model = pe.ConcreteModel(name="endless")
    model.x = pe.Var(bounds=(0.0, None))
    model.cost = pe.Objective(expr=-model.x)
    with pytest.raises(MarketError, match=r"HiGHS ended the model 'endless' with \w*[uU]nbounded"):
        has_optimum(model)


def test_a_replay_is_cut_to_what_the_battery_can_do() -> None:
    path = replay(Battery(2.0, 1.5, stored_kwh=1.0), np.array([3.0, -9.0, -9.0, -9.0]), 1.0)
    assert path.charge_kwh.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert path.discharge_kwh.tolist() == [0.0, 1.5, 0.5, 0.0]
