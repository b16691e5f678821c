"""Key figures: the public case, what is undefined is None, and what holds for all numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricell.results import kpis

CASE = Path(__file__).parent / "cases" / "N_kpi"

amounts = st.lists(st.floats(0.0, 1e6), min_size=1, max_size=20)


def test_the_public_case_comes_out() -> None:
    given_ = json.loads((CASE / "input.json").read_text())
    wanted = json.loads((CASE / "expected.json").read_text())
    load, generation = np.array(given_["load"]), np.array(given_["gen"])
    net = kpis.community_net(load, generation)
    savings = kpis.saving(given_["cost_conv"], given_["cost_p2p"])
    prices = given_["unit_price"]
    imports = float(np.maximum(net, 0.0).sum())
    figures = {
        "self_sufficiency": kpis.self_sufficiency(net, load),
        "self_consumption": kpis.self_consumption(net, generation),
        "par": kpis.peak_to_average_ratio(net),
        "share_ratio": kpis.share_ratio(kpis.shared_energy(load, generation), load),
        "loss_ratio": kpis.loss_ratio(given_["loss"], imports, float(generation.sum())),
        "volt_viol_rate": kpis.voltage_violation_rate(
            given_["volt"], given_["v_min"], given_["v_max"]
        ),
        "gini": kpis.gini(savings),
        "equality": kpis.equality(savings),
        "willingness": kpis.willingness(savings),
        "jain": kpis.jain(prices),
        "qoe": kpis.quality_of_experience(prices, given_["L"], given_["H"]),
        "mim": kpis.min_max_ratio(prices),
        "liquidity": kpis.liquidity(given_["traded"], given_["offered"]),
        "charge_recovery": kpis.charge_recovery(given_["network_revenue"], given_["network_cost"]),
        "value_tapping": kpis.value_tapping(
            sum(given_["cost_p2p"]), sum(given_["cost_conv"]), given_["cost_opt"]
        ),
        "energy_balance": kpis.energy_balance(load - generation),
        "flatness": kpis.flatness(net),
    }
    assert figures == pytest.approx(wanted["expected"], rel=wanted["rtol"], abs=wanted["atol"])


@pytest.mark.parametrize(
    "undefined",
    [
        lambda: kpis.self_sufficiency([0.0], [0.0]),
        lambda: kpis.self_consumption([1.0], [0.0]),
        lambda: kpis.peak_to_average_ratio([1.0, -1.0]),
        lambda: kpis.peak_to_average_ratio([]),
        lambda: kpis.share_ratio([0.0], [0.0]),
        lambda: kpis.loss_ratio(0.0, 0.0, 0.0),
        lambda: kpis.voltage_violation_rate([], 0.9, 1.1),
        lambda: kpis.voltage_violation_depth_pu([], 0.9, 1.1),
        lambda: kpis.jain([]),
        lambda: kpis.quality_of_experience([0.1, 0.2], 0.3, 0.3),
        lambda: kpis.min_max_ratio([0.0, 0.0]),
        lambda: kpis.gini([0.0, 0.0]),
        lambda: kpis.gini([-1.0, 2.0]),
        lambda: kpis.equality([]),
        lambda: kpis.liquidity(0.0, 0.0),
        lambda: kpis.charge_recovery(1.0, 0.0),
        lambda: kpis.system_strength(100.0, [0.0]),
        lambda: kpis.value_tapping(1.0, 2.0, 2.0),
        lambda: kpis.willingness([]),
        lambda: kpis.energy_balance([[0.0], [0.0]]),
        lambda: kpis.flatness([0.0]),
        lambda: kpis.overall({"gini": None, "jain": 1.0}),
        lambda: kpis.overall({}),
    ],
)
def test_an_undefined_figure_is_none_and_never_zero(undefined: Callable[[], object]) -> None:
    assert undefined() is None


def test_a_voltage_on_its_limit_is_no_violation() -> None:
    assert kpis.voltage_violation_rate([0.9, 1.1], 0.9, 1.1) == 0.0
    assert kpis.voltage_violation_depth_pu([0.88, 1.1], 0.9, 1.1) == pytest.approx(0.02)


def test_overload_is_counted_in_hours_of_elements() -> None:
    loading = np.array([[101.0, 99.0], [120.0, 100.5]])
    assert kpis.overload_hours(loading, 100.0, 0.25) == pytest.approx(0.75)


@given(amounts)
def test_gini_equals_its_definition_and_stays_below_one(values: list[float]) -> None:
    x = np.array(values)
    if not x.any():
        assert kpis.gini(x) is None
        return
    scaled = x / x.max()
    differences = np.abs(scaled[:, None] - scaled[None, :]).sum()
    by_definition = differences / (2 * x.size**2 * scaled.mean())
    # 1e-9: two orders of summation of at most 400 terms
    assert kpis.gini(x) == pytest.approx(by_definition, abs=1e-9)
    assert 0.0 <= (kpis.gini(x) or 0.0) < 1.0


@given(amounts)
def test_jain_lies_between_one_over_n_and_one(values: list[float]) -> None:
    index = kpis.jain(values)
    assert index is not None
    # 1e-9: rounding of the sums
    assert 1.0 / len(values) - 1e-9 <= index <= 1.0 + 1e-9


@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.floats(0.0, 100.0)), min_size=1, max_size=10))
def test_shared_energy_closes_the_balance_of_the_community(
    pairs: list[tuple[float, float]],
) -> None:
    load, generation = np.array(pairs).T[:, :, None]
    net = load - generation
    shared = kpis.shared_energy(load, generation)
    imports = np.maximum(kpis.community_net(load, generation), 0.0)
    # every positive net demand is met by sharing or by imports
    assert np.maximum(net, 0.0).sum(axis=0) == pytest.approx(shared + imports, abs=1e-9)
