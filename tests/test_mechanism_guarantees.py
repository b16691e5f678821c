"""Every market mechanism keeps what it promises, and breaks what it does not promise.

The mechanisms come from the registry: one that is added is tried without a change here, unless
it needs parameters or books of its own, which then stand in `CONDITIONS`. Every agent has one
order, as the notes of the truthful mechanisms ask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from numpy.typing import NDArray
from scipy.optimize import linprog
from tests.order_books import CENTS, TENTHS, TERMS, books, seeded_books

from tricell.markets.mechanism import Guarantees, MarketResult, Mechanism
from tricell.markets.mechanism_registry import known_mechanisms, slot_mechanisms
from tricell.markets.order_table import Orders

Floats = NDArray[np.float64]

TOLERANCE = 1e-9
"""EUR, on books of a few kWh."""
BROKEN = 1e-3
"""EUR; a promise that is broken by more than this is not broken by rounding."""
SEARCH_BOOKS = 300
"""Books that a search for a counterexample goes through."""
SEARCH_SEED = 20
MISREPORTED_CENTS = (-20.0, -5.0, -1.5, -0.5, 0.5, 1.5, 5.0, 20.0)
"""By how much an agent shades its price; half cents fall between the prices of the others."""


@dataclass(frozen=True)
class Condition:
    """On which books and with which parameters one mechanism is tried.

    Attributes
    ----------
    tenths, cents : energies and prices of the books.
    max_orders : size of the books.
    tolerance : EUR, for what a mechanism finds by iteration.
    parameters : of the mechanism, where its defaults would not show what it does.
    examples : random books for each promise; fewer where a clearing takes long.
    """

    tenths: tuple[int, ...] = tuple(TENTHS)
    cents: tuple[int, ...] = tuple(CENTS)
    max_orders: int = 8
    tolerance: float = TOLERANCE
    examples: int = 60
    parameters: Mapping[str, Any] = field(default_factory=dict)


CONDITIONS: dict[str, Condition] = {
    "bilateral_contract_network": Condition(
        tenths=(10, 20), examples=20, parameters={"lot_kwh": 1.0, "tick": 0.01, "fee": 0.01}
    ),
    "bilateral_contracts": Condition(
        parameters={
            "contracts": [
                {"id": "c1", "seller": "agent001", "buyer": "agent000", "price": 0.15},
                {"id": "c2", "seller": "agent002", "buyer": "agent003", "price": 0.20},
            ]
        }
    ),
    "composite_market": Condition(parameters={"fee": 0.01}),
}
"""By name of the mechanism; the others are tried with their defaults, on every sort of book."""

NO_COUNTEREXAMPLE: dict[tuple[str, str], str] = {
    ("bilateral_contracts", "incentive compatibility"): (
        "no price of an order changes what a contract delivers; agents can gain only by the "
        "contracts that they sign, which stand outside the book"
    ),
}
"""By mechanism and promise: why no book of the search can break what is not promised."""

MECHANISMS = {
    name: kind.model_validate(dict(CONDITIONS.get(name, Condition()).parameters))
    for name, kind in ((kind.model_fields["kind"].default, kind) for kind in slot_mechanisms())
}
PROMISING = [name for name in MECHANISMS if known_mechanisms()[name].about.guarantees is not None]


def condition_of(name: str) -> Condition:
    return CONDITIONS.get(name, Condition())


def promises_of(name: str) -> Guarantees:
    guarantees = known_mechanisms()[name].about.guarantees
    assert guarantees is not None
    return guarantees


# --- what a promise means ---


def worst_budget(mechanism: Mechanism, orders: Orders) -> float:
    """Money that a strong balance would not leave: what the operator keeps or lacks, EUR."""
    return abs(float(mechanism.clear(orders, TERMS).payment_eur.sum()))


def worst_deficit(mechanism: Mechanism, orders: Orders) -> float:
    """What the operator lacks, EUR."""
    return -float(mechanism.clear(orders, TERMS).payment_eur.sum())


def gains(orders: Orders, result: MarketResult) -> Floats:
    """What each order is better off than without trade, by its own price, EUR."""
    value = orders.side * orders.price_eur_per_kwh * result.accepted_kwh
    return np.asarray(value - result.payment_eur, dtype=np.float64)


def worst_loss(mechanism: Mechanism, orders: Orders) -> float:
    """Largest loss of an order by its own price, EUR."""
    return -float(gains(orders, mechanism.clear(orders, TERMS)).min(initial=0.0))


def optimum(orders: Orders) -> float:
    """Largest welfare of the book, by a linear program, EUR."""
    if not len(orders):
        return 0.0
    solved = linprog(
        -orders.side * orders.price_eur_per_kwh,
        A_eq=orders.side[None, :],
        b_eq=[0.0],
        bounds=[(0.0, energy) for energy in orders.energy_kwh.tolist()],
    )
    assert solved.fun is not None
    return -float(solved.fun)


def lost_welfare(mechanism: Mechanism, orders: Orders) -> float:
    """How far the welfare of the reported orders is from the optimum, EUR."""
    return abs(optimum(orders) - mechanism.clear(orders, TERMS).welfare_eur)


def misreports(orders: Orders) -> Iterator[tuple[int, Orders]]:
    """Yield each order's row with books in which it alone reports another price.

    An order shades its price a little and a lot, and reports just better and worse than each other
    order.
    """
    true = orders.price_eur_per_kwh
    beside = np.unique(np.concatenate([true - 0.005, true + 0.005]))
    for row in range(len(orders)):
        shaded = true[row] + np.array(MISREPORTED_CENTS) / 100.0
        for price in np.unique(np.concatenate([shaded, beside])):
            reported = true.copy()
            reported[row] = price
            yield row, orders.with_price(reported)


def best_lie(mechanism: Mechanism, orders: Orders) -> float:
    """What the luckiest liar gains over the truth, by its true price, EUR; the first large gain."""
    honest = gains(orders, mechanism.clear(orders, TERMS))
    best = 0.0
    for row, reported in misreports(orders):
        result = mechanism.clear(reported, TERMS)
        value = orders.side[row] * orders.price_eur_per_kwh[row] * result.accepted_kwh[row]
        best = max(best, float(value - result.payment_eur[row] - honest[row]))
        if best > BROKEN:
            break
    return best


Measure = Callable[[Mechanism, Orders], float]

MEASURES: dict[str, Measure] = {
    "strong budget balance": worst_budget,
    "weak budget balance": worst_deficit,
    "individual rationality": worst_loss,
    "efficiency": lost_welfare,
    "incentive compatibility": best_lie,
}
"""How far a mechanism is from keeping each promise on a book; above 0 breaks it."""


def is_promised(name: str, promise: str) -> bool:
    guarantees = promises_of(name)
    return {
        "strong budget balance": guarantees.budget_balance == "strong",
        "weak budget balance": guarantees.budget_balance in ("strong", "weak"),
        "individual rationality": guarantees.individual_rationality,
        "efficiency": guarantees.efficiency,
        "incentive compatibility": guarantees.incentive_compatibility,
    }[promise]


PROMISED = [
    (name, promise) for name in PROMISING for promise in MEASURES if is_promised(name, promise)
]
NOT_PROMISED = [
    (name, promise) for name in PROMISING for promise in MEASURES if not is_promised(name, promise)
]


# --- the promises, tried ---


@pytest.mark.parametrize(("name", "promise"), PROMISED)
def test_a_mechanism_keeps_its_promises_on_random_books(name: str, promise: str) -> None:
    condition, mechanism = condition_of(name), MECHANISMS[name]
    lying = promise == "incentive compatibility"
    largest = min(condition.max_orders, 5) if lying else condition.max_orders

    @settings(
        max_examples=condition.examples // 3 if lying else condition.examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(orders=books(largest, condition.tenths, condition.cents))
    def keeps_it(orders: Orders) -> None:
        assert MEASURES[promise](mechanism, orders) <= condition.tolerance

    keeps_it()


@pytest.mark.parametrize(
    ("name", "promise"), [each for each in NOT_PROMISED if each not in NO_COUNTEREXAMPLE]
)
def test_a_mechanism_breaks_what_it_does_not_promise(name: str, promise: str) -> None:
    condition, mechanism = condition_of(name), MECHANISMS[name]
    found = next(
        (
            orders
            for orders in seeded_books(
                SEARCH_BOOKS, SEARCH_SEED, (2, 6), condition.tenths, condition.cents
            )
            if MEASURES[promise](mechanism, orders) > BROKEN
        ),
        None,
    )
    assert found is not None, (
        f"{name} does not promise {promise}, but none of {SEARCH_BOOKS} random books breaks it: "
        "promise it, or say in NO_COUNTEREXAMPLE why the search cannot find one"
    )


def test_conditions_and_exceptions_name_mechanisms_that_exist_and_do_not_promise_them() -> None:
    assert set(CONDITIONS) <= set(PROMISING)
    assert set(NO_COUNTEREXAMPLE) <= set(NOT_PROMISED)


# --- the measures themselves ---


@given(orders=books(6))
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
def test_the_independent_optimum_is_that_of_selling_in_small_steps(orders: Orders) -> None:
    bids = np.sort(np.repeat(*_tenths(orders, orders.buys)))[::-1]
    asks = np.sort(np.repeat(*_tenths(orders, orders.sells)))
    size = min(len(bids), len(asks))
    by_hand = np.maximum(bids[:size] - asks[:size], 0.0).sum() / 10.0
    assert optimum(orders) == pytest.approx(by_hand, abs=TOLERANCE)


def _tenths(orders: Orders, rows: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    count = np.rint(orders.energy_kwh[rows] * 10.0).astype(np.int64)
    return orders.price_eur_per_kwh[rows], count
