"""Battery physics, greedy self-consumption (case ST01) and the orders of the strategies."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simbench
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from tricell.errors import DataError, SimulatorError
from tricell.simulators.battery import (
    apply_power,
    greedy_power,
    greedy_self_consumption,
    own_surplus_of_batteries,
    power_bounds,
)
from tricell.simulators.battery_orders import BatterySlot, KnownPrices, Step
from tricell.simulators.battery_strategies import BatteryStrategyParameters, make_strategy
from tricell.simulators.population import Batteries
from tricell.simulators.strategies.bill_saving import BillSaving
from tricell.simulators.strategies.price_band import PriceBand
from tricell.simulators.strategies.self_consumption import SelfConsumption

CASE = Path(__file__).parent / "cases" / "ST01"
MAX_BATTERIES = 5


def batteries_of(n: int = 1, **columns: Any) -> Batteries:
    """Equal batteries of 10 kWh and 5 kW with 0.95/0.95, with some columns changed."""
    defaults = {
        "agent": np.arange(n),
        "energy_kwh": 10.0,
        "charge_kw": 5.0,
        "discharge_kw": 5.0,
        "eta_charge": 0.95,
        "eta_discharge": 0.95,
        "self_discharge_per_day": 0.0,
        "soc0_kwh": 0.0,
    }
    made = {
        name: np.broadcast_to(np.asarray(value), n).copy()
        for name, value in (defaults | columns).items()
    }
    return Batteries(**made)


def numbers(low: float, high: float, n: int) -> st.SearchStrategy[NDArray[np.float64]]:
    return st.lists(st.floats(low, high), min_size=n, max_size=n).map(np.array)


@st.composite
def some_batteries(draw: st.DrawFn) -> tuple[Batteries, NDArray[np.float64]]:
    """Batteries with any valid ratings and a stored energy between empty and full."""
    n = draw(st.integers(1, MAX_BATTERIES))
    energy = draw(numbers(0.1, 1e4, n))
    batteries = batteries_of(
        n,
        energy_kwh=energy,
        charge_kw=draw(numbers(0, 1e4, n)),
        discharge_kw=draw(numbers(0, 1e4, n)),
        eta_charge=draw(numbers(0.5, 1, n)),
        eta_discharge=draw(numbers(0.5, 1, n)),
        self_discharge_per_day=draw(numbers(0, 0.5, n)),
    )
    return batteries, energy * draw(numbers(0, 1, n))


# Physics -------------------------------------------------------------------------------------


@given(some_batteries(), numbers(-1, 1, MAX_BATTERIES), st.sampled_from([0.25, 1.0]))
def test_energy_is_conserved_and_stays_within_capacity(
    drawn: tuple[Batteries, NDArray[np.float64]], share: NDArray[np.float64], hours: float
) -> None:
    """What enters less losses less what leaves is what is stored, to 1e-9 of the sizes at hand."""
    batteries, soc = drawn
    share = share[: len(batteries)]
    charge, discharge = power_bounds(batteries, soc, hours)
    power = np.where(share > 0, share * charge, share * discharge)
    after = apply_power(batteries, soc, power, hours)

    into = np.maximum(power, 0) * hours
    out = np.maximum(-power, 0) * hours
    idle_loss = soc * (1 - (1 - batteries.self_discharge_per_day) ** (hours / 24))
    charge_loss = into * (1 - batteries.eta_charge)
    discharge_loss = out * (1 / batteries.eta_discharge - 1)
    balance = into - out - (after - soc) - idle_loss - charge_loss - discharge_loss
    scale = np.maximum(batteries.energy_kwh, 1.0)
    assert (np.abs(balance) <= 1e-9 * scale).all()
    assert (after >= -1e-9 * scale).all()
    assert (after <= batteries.energy_kwh + 1e-9 * scale).all()
    assert (charge >= 0).all()
    assert (charge <= batteries.charge_kw).all()
    assert (discharge >= 0).all()
    assert (discharge <= batteries.discharge_kw).all()


def test_bounds_are_tight_when_the_store_limits_the_slot() -> None:
    """1 kWh of room takes 1 / (0.95 * 0.25) kW, 1 kWh in store gives 0.95 / 0.25 kW."""
    batteries = batteries_of(2, charge_kw=50.0, discharge_kw=50.0)
    charge, discharge = power_bounds(batteries, np.array([9.0, 1.0]), 0.25)
    assert charge[0] == pytest.approx(1 / (0.95 * 0.25))
    assert discharge[1] == pytest.approx(0.95 / 0.25)
    after = apply_power(batteries, np.array([9.0, 1.0]), np.array([charge[0], -discharge[1]]), 0.25)
    np.testing.assert_allclose(after, [10.0, 0.0], atol=1e-12)


def test_self_discharge_over_a_day_is_the_rate_of_a_day_whatever_the_step() -> None:
    batteries = batteries_of(self_discharge_per_day=0.1)
    soc = np.array([8.0])
    for _ in range(96):
        soc = apply_power(batteries, soc, np.array([0.0]), 0.25)
    assert soc[0] == pytest.approx(8.0 * 0.9, rel=1e-12)


def test_power_that_does_not_fit_is_refused_with_the_numbers() -> None:
    with pytest.raises(SimulatorError, match=r"Battery 1 cannot run at -5 kW.*holds 1 of 10 kWh"):
        apply_power(batteries_of(2), np.array([9.0, 1.0]), np.array([0.0, -5.0]), 0.25)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("energy_kwh", 0.0, "energy_kwh is 0, but must be above 0 kWh"),
        ("energy_kwh", np.nan, "energy_kwh is nan"),
        ("charge_kw", -1.0, "charge_kw is -1, but must be 0 kW or more"),
        ("eta_charge", 0.0, r"eta_charge is 0, but must be in \(0, 1\]"),
        ("eta_discharge", 95.0, "95 % is 0.95"),
        ("self_discharge_per_day", 1.0, r"must be in \[0, 1\)"),
        ("soc0_kwh", 11.0, "between 0 and energy_kwh"),
    ],
)
def test_impossible_ratings_are_refused(column: str, value: float, message: str) -> None:
    with pytest.raises(DataError, match=message):
        batteries_of(1, **{column: value})


def test_batteries_of_one_owner_split_surplus_and_deficit_by_power() -> None:
    batteries = batteries_of(
        3, agent=np.array([0, 0, 1]), charge_kw=[3.0, 1.0, 0.0], discharge_kw=[1.0, 1.0, 5.0]
    )
    np.testing.assert_allclose(
        own_surplus_of_batteries(batteries, np.array([8.0, -2.0])), [6.0, 2.0, -2.0]
    )
    np.testing.assert_allclose(
        own_surplus_of_batteries(batteries, np.array([-8.0, 2.0])), [-4.0, -4.0, 0.0]
    )


# Greedy self-consumption ---------------------------------------------------------------------


@cache
def st01_series() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    given_case = json.loads((CASE / "input.json").read_text())
    net = simbench.get_simbench_net(given_case["code"])
    pv_kw = net.profiles["renewables"]["PV5"].to_numpy(float) * 13.7
    load_kw = net.profiles["load"]["H0-A_pload"].to_numpy(float) * 4.0
    reference_kw = net.profiles["storage"]["Storage_PV5_H0-A"].to_numpy(float) * 13.7
    return pv_kw, load_kw, reference_kw


def test_greedy_self_consumption_reproduces_simbench_case_st01() -> None:
    case = json.loads((CASE / "expected.json").read_text())
    expected, tolerance = case["expected"], case["tolerance"]
    rated = json.loads((CASE / "input.json").read_text())["battery"]
    battery = batteries_of(
        energy_kwh=rated["e_kwh"],
        charge_kw=rated["p_kw"],
        discharge_kw=rated["p_kw"],
        eta_charge=rated["eta_c"],
        eta_discharge=rated["eta_d"],
        self_discharge_per_day=rated["self_discharge_percent_day"] / 100,
        soc0_kwh=float(rated["soc0"]),
    )
    pv_kw, load_kw, reference_kw = st01_series()
    schedule = greedy_self_consumption(battery, load_kw[:, None], pv_kw[:, None], 0.25)
    model_kw = pv_kw - schedule.battery_kw[:, 0]

    def self_sufficiency(output_kw: NDArray[np.float64]) -> float:
        return float(np.minimum(output_kw, load_kw).sum() / load_kw.sum())

    energy = tolerance["model_mwh"]
    assert model_kw.sum() / 4e3 == pytest.approx(expected["model_mwh"], abs=energy)
    assert reference_kw.sum() / 4e3 == pytest.approx(expected["reference_mwh"], abs=energy)
    assert np.corrcoef(model_kw, reference_kw)[0, 1] == pytest.approx(
        expected["correlation"], abs=tolerance["correlation"]
    )
    share = tolerance["self_sufficiency"]
    assert self_sufficiency(model_kw) == pytest.approx(
        expected["self_sufficiency_model"], abs=share
    )
    assert self_sufficiency(reference_kw) == pytest.approx(
        expected["self_sufficiency_reference"], abs=share
    )
    np.testing.assert_allclose(schedule.grid_kw[:, 0], load_kw - model_kw, atol=1e-12)


def test_greedy_batteries_never_import_to_charge_nor_export_from_store() -> None:
    surplus = np.random.default_rng(1).normal(0, 4, (200, 3))
    schedule = greedy_self_consumption(
        batteries_of(3), np.maximum(-surplus, 0), np.maximum(surplus, 0), 0.25
    )
    assert (schedule.grid_kw * surplus <= 1e-12).all()
    assert (np.abs(schedule.grid_kw) <= np.abs(surplus) + 1e-12).all()


# Orders --------------------------------------------------------------------------------------


def known(
    retail: float = 0.30,
    feed_in: float = 0.08,
    fee: float = 0.05,
    day: NDArray[np.float64] | None = None,
) -> KnownPrices:
    prices = np.full(96, retail) if day is None else day
    return KnownPrices(retail, feed_in, np.array(fee), prices, 0)


@st.composite
def some_prices(draw: st.DrawFn) -> KnownPrices:
    day = draw(numbers(-0.1, 0.6, 8))
    fee = draw(st.floats(0, 0.1))
    feed_in = draw(st.floats(-0.1, 0.6))
    return KnownPrices(float(day[3]), feed_in, np.array(fee), day, 3)


@st.composite
def some_strategy(draw: st.DrawFn) -> SelfConsumption | PriceBand:
    kind = draw(st.sampled_from(["self", "quantile", "fixed"]))
    wear = draw(st.floats(0, 0.1))
    if kind == "self":
        return SelfConsumption()
    if kind == "quantile":
        low = draw(st.floats(0, 0.9))
        return PriceBand(
            buy_quantile=low,
            sell_quantile=draw(st.floats(low + 0.01, 1)),
            wear_eur_per_kwh=wear,
        )
    low = draw(st.floats(0, 0.5))
    return PriceBand(
        buy_below_eur_per_kwh=low,
        sell_above_eur_per_kwh=draw(st.floats(low + 1e-3, 1)),
        wear_eur_per_kwh=wear,
    )


@settings(max_examples=300)
@given(some_strategy(), some_batteries(), numbers(-2e4, 2e4, MAX_BATTERIES), some_prices())
def test_no_strategy_makes_charging_and_discharging_profitable_at_one_price(
    parameters: SelfConsumption | PriceBand,
    drawn: tuple[Batteries, NDArray[np.float64]],
    surplus: NDArray[np.float64],
    prices: KnownPrices,
) -> None:
    batteries, soc = drawn
    slot = BatterySlot(soc, surplus[: len(batteries)], 0.25)
    orders = make_strategy(parameters)(batteries, slot, prices)
    upper, limit = orders.upper_kw, orders.limit_price_eur_per_kwh
    charging, discharging = (
        [Step.CHARGE_OWN, Step.CHARGE_MARKET],
        [Step.DISCHARGE_OWN, Step.DISCHARGE_MARKET],
    )
    offered = upper > 0
    highest_bid = np.where(offered, limit, -np.inf)[charging].max(axis=0)
    lowest_ask = np.where(offered, limit, np.inf)[discharging].min(axis=0)
    assert (highest_bid <= lowest_ask).all()

    max_charge, max_discharge = power_bounds(batteries, soc, 0.25)
    rounding = 1e-12 * (1 + max_charge + max_discharge)
    assert (upper >= 0).all()
    assert np.isfinite(limit).all()
    assert (upper[charging].sum(axis=0) <= max_charge + rounding).all()
    assert (upper[discharging].sum(axis=0) <= max_discharge + rounding).all()
    assert (upper[Step.CHARGE_OWN] * upper[Step.DISCHARGE_OWN] == 0).all()
    assert (upper[Step.CHARGE_OWN] <= np.maximum(slot.own_surplus_kw, 0)).all()
    assert (upper[Step.DISCHARGE_OWN] <= np.maximum(-slot.own_surplus_kw, 0)).all()


@given(some_batteries(), numbers(-2e4, 2e4, MAX_BATTERIES), st.floats(0, 1), st.floats(0, 0.1))
def test_self_consumption_takes_own_surplus_and_covers_own_deficit_at_any_area_price(
    drawn: tuple[Batteries, NDArray[np.float64]],
    surplus: NDArray[np.float64],
    where: float,
    fee: float,
) -> None:
    """Area prices lie between feed-in and retail less fee; the outcome is the greedy one."""
    batteries, soc = drawn
    slot = BatterySlot(soc, surplus[: len(batteries)], 0.25)
    prices = known(fee=fee)
    orders = make_strategy(SelfConsumption())(batteries, slot, prices)
    area_price = 0.08 + where * (0.30 - fee - 0.08)
    limit, upper = orders.limit_price_eur_per_kwh, orders.upper_kw
    accepted_kw = np.where(limit[Step.CHARGE_OWN] > area_price, upper[Step.CHARGE_OWN], 0)
    accepted_kw = accepted_kw - np.where(
        limit[Step.DISCHARGE_OWN] < area_price, upper[Step.DISCHARGE_OWN], 0
    )
    expected = greedy_power(batteries, soc, slot.own_surplus_kw, 0.25)
    np.testing.assert_allclose(accepted_kw, expected, atol=1e-12)
    assert not upper[[Step.CHARGE_MARKET, Step.DISCHARGE_MARKET]].any()


def band_orders(parameters: PriceBand, soc: list[float], prices: KnownPrices) -> Any:
    batteries = batteries_of(len(soc))
    slot = BatterySlot(np.array(soc), np.zeros(len(soc)), 0.25)
    return make_strategy(parameters)(batteries, slot, prices).limit_price_eur_per_kwh


def test_a_price_band_buys_at_its_lower_end_when_full_and_sells_at_its_upper_end_when_empty() -> (
    None
):
    """All-in for the owner: the buyer pays the area's price plus the fee of 0.05."""
    band = PriceBand(buy_below_eur_per_kwh=0.15, sell_above_eur_per_kwh=0.30)
    limit = band_orders(band, [0.0, 10.0], known())
    assert limit[Step.CHARGE_MARKET, 1] == pytest.approx(0.15 - 0.05)
    assert limit[Step.CHARGE_OWN, 1] == pytest.approx(0.15)
    assert limit[Step.DISCHARGE_MARKET, 0] == pytest.approx(0.30)
    assert limit[Step.DISCHARGE_OWN, 0] == pytest.approx(0.30 - 0.05)


def test_the_emptier_of_two_batteries_pays_more_and_the_fuller_sells_cheaper() -> None:
    band = PriceBand(buy_below_eur_per_kwh=0.15, sell_above_eur_per_kwh=0.30)
    limit = band_orders(band, [0.0, 5.0, 10.0], known())
    assert (np.diff(limit, axis=1) < 0).all()
    np.testing.assert_allclose(limit[:, 1], limit[:, [0, 2]].mean(axis=1))


def test_a_band_narrower_than_the_losses_never_buys_to_lose() -> None:
    """0.95 * 0.95 of the energy comes back, so a kWh sold at 0.30 may cost at most 0.27075."""
    band = PriceBand(buy_below_eur_per_kwh=0.29, sell_above_eur_per_kwh=0.30)
    limit = band_orders(band, [0.0, 10.0], known())
    np.testing.assert_allclose(limit[Step.DISCHARGE_MARKET], 0.30)
    np.testing.assert_allclose(limit[Step.CHARGE_OWN], 0.30 * 0.95**2)


def test_quantiles_of_a_day_set_the_band() -> None:
    """Median-of-ranks quantiles of 0, 0.1, 0.2, 0.3, 0.4: 25 % is 0.1, 75 % is 0.3."""
    day = np.array([0.3, 0.0, 0.4, 0.1, 0.2])
    limit = band_orders(PriceBand(), [0.0, 10.0], known(day=day))
    assert limit[Step.CHARGE_OWN, 1] == pytest.approx(0.1)
    assert limit[Step.DISCHARGE_MARKET, 0] == pytest.approx(0.3)


def test_on_a_flat_day_a_band_neither_buys_from_nor_competes_with_the_retailer() -> None:
    limit = band_orders(PriceBand(), [1.0, 5.0, 9.0], known(retail=0.30, feed_in=0.08))
    assert (limit[Step.CHARGE_MARKET] < 0.30 - 0.05).all()
    assert (limit[Step.CHARGE_OWN] > 0.08).all()
    assert (limit[Step.DISCHARGE_OWN] < 0.30 - 0.05).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"buy_below_eur_per_kwh": 0.3, "sell_above_eur_per_kwh": 0.3}, "must be below"),
        ({"buy_below_eur_per_kwh": 0.3}, "belong together"),
        ({"buy_quantile": 0.8, "sell_quantile": 0.2}, "must be below sell_quantile"),
        (
            {"buy_below_eur_per_kwh": 0.1, "sell_above_eur_per_kwh": 0.3, "buy_quantile": 0.1},
            "not both",
        ),
        ({"buy_below_eur_per_kwh": -0.1, "sell_above_eur_per_kwh": 0.3}, "greater than or equal"),
        ({"wear_eur_per_kwh": float("nan")}, "finite number"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_a_wrong_price_band_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(BatteryStrategyParameters).validate_python({"kind": "price_band", **fields})


def test_a_strategy_is_chosen_by_its_kind() -> None:
    adapter: TypeAdapter[SelfConsumption | PriceBand | BillSaving] = TypeAdapter(
        BatteryStrategyParameters
    )
    assert adapter.validate_python({"kind": "self_consumption"}) == SelfConsumption()
    assert adapter.validate_python({"kind": "price_band"}) == PriceBand()
    assert adapter.validate_python({"kind": "bill_saving"}) == BillSaving()
