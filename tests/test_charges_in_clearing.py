"""What network charges do to the clearing: nobody can do better alone at the prices of a slot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tricell.markets.meter_orders import MeterOrders, MeterState
from tricell.markets.orders import OrderBook
from tricell.markets.own_use import OwnUse
from tricell.scenarios.runner import run_scenario
from tricell.scenarios.scenario_file import Override, load_scenario

NOON = ("time.start=2016-05-23T11:00Z", "time.days=0.0625")
MUCH_PV = "participants.adoption={pv_share: 0.9, pv_kwp: 40, battery_share: 0.4}"
BAND = (
    "participants.battery={kind: price_band, buy_below_eur_per_kwh: 0.12,"
    " sell_above_eur_per_kwh: 0.3}"
)
WIDE = (
    "limits={line_loading_percent: 1000, trafo_loading_percent: 1000, voltage_min_pu: 0.5,"
    " voltage_max_pu: 1.5}"
)
NEGATIVE = "prices.feed_in={kind: fixed, price_eur_per_kwh: -0.02}"
INJECTION = "charges=[{kind: injection, rate_eur_per_kwh: 0.12}]"
CLOSED = "{kind: level_fee, microgrid: 0.4, cell: 0.4, multicell: 0.4}"
BORDERS = (
    "{kind: fee_matrix, clusters: {a: [LV2.101], b: [LV4.101]},"
    " fees_eur_per_kwh: {a: {a: 0.0, b: 0.04}, b: {a: 0.02, b: 0.0}}}"
)
LOCAL_FIRST = "market={coordination: local_first, network: redispatch}"


def run(folder: Path, *assignments: str) -> dict[str, Any]:
    overrides = [
        Override.from_assignment(text) for text in (*NOON, MUCH_PV, BAND, WIDE, *assignments)
    ]
    path = run_scenario(load_scenario("village", overrides), folder / "run.h5").output
    wanted = {
        "agent": ("p_net", "p_pv", "p_pv_available"),
        "slot": ("gain", "optimal_gain"),
    }
    with h5py.File(path) as file:
        return {
            name: file[f"timeseries/{group}/{name}"][()]
            for group, names in wanted.items()
            for name in names
        }


@pytest.mark.parametrize("coordination", ["market.coordination=joint", LOCAL_FIRST])
@pytest.mark.parametrize("prices", [INJECTION, NEGATIVE, f"charges=[{CLOSED}]"])
def test_nobody_buys_while_the_own_plant_stands_still(
    tmp_path: Path, prices: str, coordination: str
) -> None:
    found = run(tmp_path, NEGATIVE, prices, coordination)
    stands_still = found["p_pv_available"] - found["p_pv"] > 1e-3
    assert stands_still.any()
    assert not (stands_still & (found["p_net"] > 1e-3)).any()


def test_behind_a_full_transformer_nobody_buys_what_its_own_plant_could_make(
    tmp_path: Path,
) -> None:
    found = run(
        tmp_path,
        "limits.trafo_loading_percent=15",
        "charges=[{kind: volumetric, rate_eur_per_kwh: 0.07}]",
    )
    stands_still = found["p_pv_available"] - found["p_pv"] > 1e-3
    assert stands_still.any()
    assert not (stands_still & (found["p_net"] > 1e-3)).any()


@pytest.mark.parametrize("prices", [INJECTION, f"charges=[{BORDERS}]", f"charges=[{CLOSED}]"])
def test_levels_one_after_the_other_never_gain_more_than_the_joint_optimum(
    tmp_path: Path, prices: str
) -> None:
    found = run(tmp_path, LOCAL_FIRST, "market.network=none", NEGATIVE, prices)
    assert (found["gain"] <= found["optimal_gain"] + 1e-6).all()
    assert (found["gain"] >= -1e-6).all()


def test_closed_markets_gain_nothing_however_dear_borders_are(tmp_path: Path) -> None:
    charges = f"charges=[{CLOSED}, {BORDERS}]"
    self_use = "participants.battery={kind: self_consumption}"
    half = "participants.adoption={pv_share: 0.7, participation: 0.5}"
    found = run(tmp_path, LOCAL_FIRST, "market.network=none", self_use, half, charges)
    np.testing.assert_allclose(found["gain"], 0.0, atol=1e-9)
    np.testing.assert_allclose(found["optimal_gain"], 0.0, atol=1e-6)


def test_batteries_bid_no_more_than_the_retailer_asks_and_ask_no_less_than_he_pays() -> None:
    zero, one = np.zeros(1), np.ones(1)
    state = MeterState(
        firm_kw=zero,
        generation_kw=zero,
        own_charge_kw=zero,
        market_charge_kw=one,
        own_discharge_kw=zero,
        market_discharge_kw=one,
        own_charge_price=0.5 * one,
        market_charge_price=0.5 * one,
        own_discharge_price=0.02 * one,
        market_discharge_price=0.02 * one,
        generation_offer=zero,
    )
    rows = MeterOrders(("a",), np.array([0]), np.array([0]), hours=0.25).rows(
        state, 0.32 * one, 0.08 * one
    )
    market_charge, market_discharge = rows.price_eur_per_kwh[-2:]
    assert (market_charge, market_discharge) == (0.32, 0.08)
    assert rows.attribute("retail", 0.0)[-2:].all()


def test_what_a_battery_stores_comes_from_the_own_plant_first() -> None:
    own = OwnUse(
        load_kw=np.array([1.0, 2.0]),
        generators=np.array([0, 2]),
        battery_agent=np.array([0, 1]),
    )
    steps = np.zeros(6)
    book = own.in_load(OrderBook(np.zeros(10), np.concatenate([[5.0, 5.0], [3.0, 3.0], steps])))
    assert book.at_least_kw is not None
    np.testing.assert_array_equal(book.at_least_kw, [1.0, 2.0, *np.zeros(8)])
    enough = np.concatenate([[4.0, 2.0], [3.0, 3.0], steps])
    assert own.in_store(book, enough) is None
    too_little = np.concatenate([[2.0, 4.0], [3.0, 3.0], steps])
    again = own.in_store(book, too_little)
    assert again is not None
    assert again.at_least_kw is not None
    # The first plant serves 1 kW of load and the 3 kW of its battery; agent 1 has no plant.
    np.testing.assert_allclose(again.at_least_kw, [4.0, 2.0, 3.0, 0.0, *steps])


@pytest.mark.parametrize("coordination", ["market.coordination=joint", LOCAL_FIRST])
def test_a_transformer_that_outsiders_overload_alone_is_named(
    tmp_path: Path, coordination: str
) -> None:
    outside = "participants.adoption={pv_share: 0.9, pv_kwp: 40, participation: 0}"
    narrow = "limits.trafo_loading_percent=10"
    self_use = "participants.battery={kind: self_consumption}"
    run(tmp_path, coordination, self_use, outside, narrow)
    with h5py.File(tmp_path / "run.h5") as file:
        kinds = file["tables/warning/kind"].asstr()[()]
        named = file["tables/warning/element"].asstr()[()][kinds == "limit: power"]
        assert (file["timeseries/slot/breach_kw"][()] > 0.0).any()
    assert any("Trafo" in name for name in named)
