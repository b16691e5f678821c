"""The smallest peak of a load, and vehicles charged at least cost, against dense programs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog

from tricell.errors import MarketError
from tricell.markets.flexibility.battery import Battery
from tricell.markets.flexibility.battery_schedule import schedule_battery
from tricell.markets.flexibility.ev_charging import Site, Vehicle, charge_vehicles
from tricell.markets.flexibility.mixed_integer import NoScheduleError
from tricell.markets.flexibility.peak_shaving import shave_peak

Floats = NDArray[np.float64]

KW = 1e-7
KWH = 1e-7
EUR = 1e-7

# --- peaks ---


def smallest_peak(load: Floats, battery: Battery, hours: float) -> float:
    """Peak by a dense program without binaries: wasting energy never lowers an import."""
    n = len(load)
    eta_in, eta_out = battery.charge_efficiency, battery.discharge_efficiency
    sums = np.tril(np.ones((n, n)))
    stored = np.hstack([sums * eta_in, -sums / eta_out, np.zeros((n, 1))])
    start = battery.stored_kwh
    below = np.hstack([np.eye(n), -np.eye(n), -hours * np.ones((n, 1))])
    found = linprog(
        [0.0] * 2 * n + [1.0],
        A_ub=np.vstack([below, stored, -stored, -stored[-1:]]),
        b_ub=np.concatenate(
            [-load * hours, np.full(n, battery.capacity_kwh - start), [start] * n, [0.0]]
        ),
        bounds=[(0.0, battery.power_kw * hours)] * 2 * n + [(0.0, None)],
    )
    return float(np.asarray(found.x)[-1])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-3, 8), min_size=1, max_size=8).map(np.array),
    st.builds(
        Battery,
        capacity_kwh=st.just(2.0),
        power_kw=st.floats(0.1, 4.0),
        stored_kwh=st.floats(0.0, 2.0),
        charge_efficiency=st.floats(0.5, 1.0),
        discharge_efficiency=st.floats(0.5, 1.0),
    ),
    st.sampled_from([0.25, 1.0]),
)
def test_no_schedule_has_a_smaller_peak(load: Floats, battery: Battery, hours: float) -> None:
    start = battery.stored_kwh
    result = shave_peak(load, battery, 60.0, hours)
    assert result.peak_after_kw == pytest.approx(smallest_peak(load, battery, hours), abs=KW)
    assert result.peak_before_kw == max(load.max(), 0.0)
    assert result.shaved_kw >= 0.0
    assert result.saving_eur == pytest.approx(60.0 * result.shaved_kw)
    path = result.path
    assert path.stored_kwh[-1] >= start - KWH
    assert not (path.charge_kwh * path.discharge_kwh).any()
    change = np.diff(path.stored_kwh, prepend=start)
    taken = battery.charge_efficiency * path.charge_kwh
    moved = taken - path.discharge_kwh / battery.discharge_efficiency
    np.testing.assert_allclose(change, moved, rtol=0, atol=1e-9)


def test_a_battery_that_cannot_help_stays_idle() -> None:
    result = shave_peak([2.0, 2.0], Battery(3.0, 2.0, stored_kwh=1.5), 5.0)
    assert result.shaved_kw == 0.0
    assert not result.path.charge_kwh.any()


def test_no_more_is_drawn_than_the_peak_needs() -> None:
    """Only the third slot is above 2; the battery gives 1 kWh there and takes it back later."""
    result = shave_peak([1.0, 1.0, 3.0, 1.0], Battery(5.0, 5.0, stored_kwh=5.0), 5.0)
    assert result.peak_after_kw == pytest.approx(2.0)
    assert result.path.discharge_kwh.sum() == pytest.approx(1.0, abs=KWH)


def test_feeding_in_has_no_peak() -> None:
    result = shave_peak([-2.0, -1.0], Battery(3.0, 2.0), 5.0)
    assert result.peak_before_kw == result.peak_after_kw == 0.0


# --- vehicles ---

vehicles = st.builds(
    lambda arrive, stay, need, power: Vehicle("", arrive, arrive + stay, need, power),
    st.integers(0, 4),
    st.integers(1, 5),
    st.integers(0, 6).map(float),
    st.integers(1, 4).map(float),
)
fleets = st.lists(vehicles, min_size=1, max_size=4).map(
    lambda fleet: [replace(each, name=f"e{n}") for n, each in enumerate(fleet)]
)
cents = st.integers(-10, 40).map(lambda price: price / 100)


def cheapest_by_hand(price: Floats, feeder: Floats, fleet: list[Vehicle]) -> float | None:
    """Least cost by a dense program; None if it has no point."""
    n_slot = len(price)
    bounds = [
        (0.0, each.power_kw if t in each.window(n_slot) else 0.0)
        for each in fleet
        for t in range(n_slot)
    ]
    found = linprog(
        np.tile(price, len(fleet)),
        A_ub=np.tile(np.eye(n_slot), len(fleet)),
        b_ub=feeder,
        A_eq=np.kron(np.eye(len(fleet)), np.ones(n_slot)),
        b_eq=[each.need_kwh for each in fleet],
        bounds=bounds,
    )
    return (
        float(price @ np.asarray(found.x).reshape(len(fleet), -1).sum(axis=0))
        if found.success
        else None
    )


@settings(max_examples=80, deadline=None)
@given(st.lists(cents, min_size=6, max_size=6).map(np.array), st.integers(1, 6), fleets)
def test_vehicles_charge_at_least_cost_or_are_named(
    price: Floats, cap: int, fleet: list[Vehicle]
) -> None:
    feeder = np.full(6, float(cap))
    least = cheapest_by_hand(price, feeder, fleet)
    site = Site.of(price, feeder)
    if least is None:
        with pytest.raises(NoScheduleError, match="lacks") as caught:
            charge_vehicles(site, fleet)
        missing = caught.value.missing_kwh
        assert missing
        served = [replace(v, need_kwh=v.need_kwh - missing.get(v.name, 0.0)) for v in fleet]
        if "feeder" in str(caught.value):
            charge_vehicles(site, served)
        return
    plan = charge_vehicles(site, fleet)
    assert plan.cost_eur == pytest.approx(least, abs=EUR)
    assert (plan.total_kwh <= feeder + KWH).all()
    for vehicle, charged in zip(fleet, plan.charge_kwh, strict=True):
        assert charged.sum() == pytest.approx(vehicle.need_kwh, abs=KWH)
        outside = np.delete(charged, vehicle.window(6))
        assert not outside.any()
    assert not plan.discharge_kwh.any()


def test_among_equal_prices_the_earliest_slot_is_filled_first() -> None:
    site = Site.of([0.2, 0.1, 0.1, 0.1], feeder_kw=4.0)
    plan = charge_vehicles(site, [Vehicle("a", 0, 4, 3.0, 3.0), Vehicle("b", 2, 4, 3.0, 3.0)])
    assert plan.total_kwh.tolist() == pytest.approx([0.0, 3.0, 3.0, 0.0], abs=KWH)


def test_quarter_hours_take_a_quarter_of_charger_and_feeder() -> None:
    site = Site.of([0.1, 0.2, 0.3], feeder_kw=8.0, hours=0.25)
    plan = charge_vehicles(site, [Vehicle("a", 0, 3, 3.0, 11.0)])
    assert plan.total_kwh.tolist() == pytest.approx([2.0, 1.0, 0.0], abs=KWH)


def test_a_short_feeder_names_the_vehicle_and_what_it_lacks() -> None:
    """2 kW for 2 h carry 4 kWh; the need is 5 kWh."""
    site = Site.of([0.1, 0.1], feeder_kw=2.0)
    with pytest.raises(NoScheduleError, match=r"feeder is too small for vehicle van, .* 1 kWh"):
        charge_vehicles(site, [Vehicle("van", 0, 2, 5.0, 11.0)])


def test_a_short_window_names_the_vehicle_and_what_it_lacks() -> None:
    with pytest.raises(NoScheduleError, match=r"window too short, for vehicle van, .* 2 kWh"):
        charge_vehicles(Site.of([0.1] * 4), [Vehicle("van", 3, 9, 5.0, 3.0)])
    with pytest.raises(NoScheduleError) as caught:
        charge_vehicles(
            Site.of([0.1] * 4), [Vehicle("a", 7, 9, 1.0, 3.0), Vehicle("b", 1, 1, 2.0, 3.0)]
        )
    assert caught.value.missing_kwh == {"a": 1.0, "b": 2.0}


def test_a_building_takes_its_part_of_the_feeder() -> None:
    site = Site.of([0.1, 0.2], feeder_kw=4.0, building_kwh=[3.0, 0.0])
    plan = charge_vehicles(site, [Vehicle("a", 0, 2, 3.0, 4.0)])
    assert plan.total_kwh.tolist() == pytest.approx([1.0, 2.0], abs=KWH)
    assert plan.cost_eur == pytest.approx(0.5)


# --- vehicles that give energy back ---


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(cents, cents), min_size=2, max_size=5).map(np.array),
    st.floats(0.0, 2.0),
    st.floats(0.6, 1.0),
)
def test_a_vehicle_that_gives_back_is_a_battery(prices: Floats, need: float, eta: float) -> None:
    buy, sell = prices.T
    battery = Battery(
        4.0, 3.0, 1.0, charge_efficiency=eta, discharge_efficiency=eta, wear_eur_per_kwh=0.01
    )
    alone = schedule_battery(np.zeros(len(buy)), buy, sell, replace(battery, end_kwh=1.0 + need))
    van = Vehicle("van", 0, len(buy), need, 3.0, battery)
    plan = charge_vehicles(Site.of(buy, export_price=sell), [van])
    assert plan.cost_eur == pytest.approx(alone.cost_eur, abs=EUR)
    assert not (plan.charge_kwh * plan.discharge_kwh).any()


def test_without_an_export_price_a_vehicle_serves_the_building_only() -> None:
    """Charged at 0.10, it saves 2 kWh at 0.40, not the 4 kWh that it could give; wear is 0.05."""
    battery = Battery(6.0, 4.0, wear_eur_per_kwh=0.05)
    site = Site.of([0.10, 0.40], feeder_kw=9.0, building_kwh=[0.0, 2.0])
    plan = charge_vehicles(site, [Vehicle("van", 0, 2, 0.0, 4.0, battery)])
    assert plan.total_kwh.tolist() == pytest.approx([2.0, -2.0], abs=KWH)
    assert plan.cost_eur == pytest.approx(0.20 - 0.80 + 0.10)


def test_a_vehicle_gives_back_inside_its_window_only() -> None:
    battery = Battery(6.0, 4.0, stored_kwh=4.0)
    site = Site.of([0.10, 0.40, 0.20, 0.90], export_price=[0.10, 0.40, 0.20, 0.90])
    plan = charge_vehicles(site, [Vehicle("van", 1, 3, 0.0, 4.0, battery)])
    assert plan.total_kwh.tolist() == pytest.approx([0.0, -4.0, 4.0, 0.0], abs=KWH)
    assert plan.cost_eur == pytest.approx(-0.80)


def test_two_way_vehicles_and_plain_ones_share_a_feeder() -> None:
    """The van gives 1 kW to the car beyond the feeder's 2 kW, and is full again at the end."""
    battery = Battery(6.0, 4.0, stored_kwh=4.0)
    site = Site.of([0.20, 0.20, 0.20], feeder_kw=2.0)
    van, car = Vehicle("van", 0, 3, 0.0, 4.0, battery), Vehicle("car", 0, 1, 3.0, 3.0)
    plan = charge_vehicles(site, [van, car])
    assert plan.discharge_kwh[0, 0] == pytest.approx(1.0, abs=KWH)
    assert plan.cost_eur == pytest.approx(0.60)
    with pytest.raises(NoScheduleError, match="feeder is too small for vehicle"):
        charge_vehicles(site, [van, replace(car, need_kwh=7.0, power_kw=7.0)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arrive": 3, "depart": 1}, "vehicle van: plugged in from slot 3 to 1"),
        ({"arrive": -1}, "vehicle van: plugged in from slot -1"),
        ({"need_kwh": -1.0}, "vehicle van: need_kwh is -1"),
        ({"power_kw": 0.0}, "vehicle van: power_kw is 0"),
        ({"battery": Battery(2.0, 1.0)}, "vehicle van: need_kwh is 3, but its battery has room"),
    ],
)
def test_a_vehicle_that_cannot_be_is_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(MarketError, match=message):
        replace(Vehicle("van", 0, 4, 3.0, 11.0), **change)  # type: ignore[arg-type]


def test_a_site_that_cannot_be_is_refused() -> None:
    with pytest.raises(MarketError, match="feeder_kw in slot 1 is -1"):
        Site.of([0.1, 0.1], feeder_kw=[1.0, -1.0])
    with pytest.raises(MarketError, match="building_kwh in slot 0 is 3, more than the feeder"):
        Site.of([0.1], feeder_kw=1.0, building_kwh=3.0)
    with pytest.raises(MarketError, match="price in slot 0 is nan"):
        Site.of([np.nan])
    with pytest.raises(MarketError, match="price has no slot"):
        Site.of([])
