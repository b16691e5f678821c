"""Every market mechanism clears any book: what holds whatever the orders and the rule.

The mechanisms come from the registry, each with its defaults and with the ends of its parameters'
ranges; one that is added is tried without a change here.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.order_books import TERMS, book, books, crowd, permuted

from tricell.errors import MarketError
from tricell.markets.mechanism import MarketResult, Mechanism, welfare_eur
from tricell.markets.mechanism_registry import slot_mechanisms
from tricell.markets.order_table import ENERGY_RESIDUE_KWH, Orders

TOLERANCE = 1e-9
"""kWh or EUR, relative to the volume of the book where that is above 1."""
EXAMPLES = 40


# --- mechanisms ---


def choices(annotation: Any, metadata: list[Any]) -> list[Any]:
    """Return the ends of a parameter's range: all words, both answers, or a number's bounds."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if annotation is bool:
        return [False, True]
    bounds = (getattr(each, end, None) for each in metadata for end in ("ge", "le"))
    if annotation is float:
        return [float(bound) for bound in bounds if bound is not None]
    return []


def variants() -> Iterator[Any]:
    """Yield every mechanism with its defaults, and with one parameter at an end of its range."""
    for kind in slot_mechanisms():
        name = kind.model_fields["kind"].default
        yield pytest.param(kind.model_validate({}), id=name)
        for field, info in kind.model_fields.items():
            if field == "kind":
                continue
            for value in choices(info.annotation, info.metadata):
                if value != info.default:
                    yield pytest.param(
                        kind.model_validate({field: value}), id=f"{name}-{field}-{value}"
                    )


MECHANISMS = list(variants())
every_mechanism = pytest.mark.parametrize("mechanism", MECHANISMS)


# --- what holds for every result ---


def scale(orders: Orders) -> float:
    return max(1.0, float(orders.energy_kwh.sum()))


def require_sound(orders: Orders, result: MarketResult) -> None:
    """Assert that energy and money add up, and that the result says what it contains."""
    tolerance = TOLERANCE * scale(orders)
    accepted, paid = result.accepted_kwh, result.payment_eur
    assert accepted.shape == paid.shape == (len(orders),)
    assert np.isfinite(accepted).all()
    assert np.isfinite(paid).all()
    assert (accepted >= 0.0).all()
    assert (accepted <= orders.energy_kwh + ENERGY_RESIDUE_KWH * scale(orders)).all()
    residues = accepted[(accepted > 0.0) & (accepted < TOLERANCE)]
    assert residues.tolist() == []
    bought, sold = accepted[orders.buys].sum(), accepted[orders.sells].sum()
    assert bought == pytest.approx(sold, abs=tolerance)
    assert result.volume_kwh(orders) == pytest.approx(bought, abs=tolerance)
    assert paid.sum() == pytest.approx(result.operator_surplus_eur, abs=tolerance)
    assert result.welfare_eur == pytest.approx(welfare_eur(orders, accepted), abs=tolerance)
    if bought == 0.0:
        assert (paid == 0.0).all()
    require_pairs_add_up(orders, result)


def require_pairs_add_up(orders: Orders, result: MarketResult) -> None:
    """Assert that trades, if a mechanism makes them, are real and sum to what was accepted."""
    trades = result.trades
    if trades is None:
        return
    tolerance = TOLERANCE * scale(orders)
    assert (orders.side[trades.buy] > 0.0).all()
    assert (orders.side[trades.sell] < 0.0).all()
    assert (trades.energy_kwh >= TOLERANCE).all()
    per_order = np.zeros(len(orders))
    np.add.at(per_order, trades.buy, trades.energy_kwh)
    np.add.at(per_order, trades.sell, trades.energy_kwh)
    assert per_order == pytest.approx(result.accepted_kwh, abs=tolerance)


def require_same(
    one: MarketResult, other: MarketResult, rows: np.ndarray[Any, np.dtype[np.int64]]
) -> None:
    """Assert that ``other`` says of its orders what ``one`` says of the orders in ``rows``."""
    assert other.accepted_kwh == pytest.approx(one.accepted_kwh[rows], abs=TOLERANCE)
    assert other.payment_eur == pytest.approx(one.payment_eur[rows], abs=TOLERANCE)
    assert other.flags == one.flags
    for first, second in ((one.buy_price, other.buy_price), (one.sell_price, other.sell_price)):
        assert isinstance(first, NoneType) == isinstance(second, NoneType)
        if first is not None:
            assert second == pytest.approx(first, abs=TOLERANCE)


# --- books of every kind ---

ONE_SIDE = {
    "buys_only": book([(1.0, 0.25), (2.0, 0.31)], []),
    "sells_only": book([], [(1.0, 0.05), (2.0, 0.12)]),
    "one_buy": book([(1.0, 0.25)], []),
    "one_sell": book([], [(1.0, 0.05)]),
}
ODD_BOOKS = ONE_SIDE | {
    "no_crossing": book([(1.0, 0.10)], [(1.0, 0.20)]),
    "one_pair": book([(1.0, 0.25)], [(2.0, 0.12)]),
    "ties_in_everything": book([(1.0, 0.20)] * 5, [(1.0, 0.20)] * 5),
    "ties_and_short_supply": book([(1.0, 0.20)] * 5, [(1.0, 0.20)] * 3),
    "ties_and_short_demand": book([(0.7, 0.20)] * 3, [(0.7, 0.20)] * 7),
    "zero_prices": book([(1.0, 0.0), (2.0, 0.0)], [(1.5, 0.0), (2.0, 0.0)]),
    "negative_prices": book([(1.0, -0.02), (2.0, -0.06)], [(1.5, -0.10), (2.0, -0.03)]),
    "price_limits": book([(1.0, 3.0), (1.0, -3.0)], [(1.0, 3.0), (1.0, -3.0)]),
    "demands_add_up_to_supply": book([(0.1, 0.25), (0.2, 0.22), (0.3, 0.2)], [(0.3, 0.1)]),
    "supplies_add_up_to_demand": book([(0.3, 0.25)], [(0.1, 0.1), (0.2, 0.12), (0.3, 0.14)]),
    "tenths": book([(0.1, 0.25)] * 10 + [(0.3, 0.2)], [(1.0, 0.1), (0.1, 0.11), (0.7, 0.12)]),
    "thirds": book([(1 / 3, 0.25)] * 3 + [(0.1, 0.2)], [(0.1, 0.1)] * 10 + [(0.2, 0.15)]),
    "far_sizes": book([(1e-3, 0.25), (1e5, 0.2)], [(1e5, 0.1), (1e-3, 0.05)]),
    "crowd": crowd(300, 3),
    "group": crowd(40, 4),
}


@every_mechanism
def test_an_empty_book_trades_nothing_at_no_price(mechanism: Mechanism) -> None:
    orders = book([], [])
    result = mechanism.clear(orders, TERMS)
    require_sound(orders, result)
    assert result.welfare_eur == result.operator_surplus_eur == 0.0
    assert result.buy_price is None
    assert result.sell_price is None


@every_mechanism
@pytest.mark.parametrize("name", ONE_SIDE)
def test_one_side_alone_trades_nothing(mechanism: Mechanism, name: str) -> None:
    orders = ONE_SIDE[name]
    result = mechanism.clear(orders, TERMS)
    require_sound(orders, result)
    assert result.accepted_kwh.tolist() == [0.0] * len(orders)
    assert result.welfare_eur == result.operator_surplus_eur == 0.0


@every_mechanism
@pytest.mark.parametrize("name", [name for name in ODD_BOOKS if name not in ONE_SIDE])
def test_energy_and_money_add_up_on_odd_books(mechanism: Mechanism, name: str) -> None:
    orders = ODD_BOOKS[name]
    require_sound(orders, mechanism.clear(orders, TERMS))


@every_mechanism
def test_energy_and_money_add_up_on_random_books(mechanism: Mechanism) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(orders=books(12), seed=st.integers(0, 100))
    def adds_up(orders: Orders, seed: int) -> None:
        result = mechanism.clear(orders, TERMS)
        require_sound(orders, result)
        shuffled, rows = permuted(orders, seed)
        require_same(result, mechanism.clear(shuffled, TERMS), rows)

    adds_up()


@every_mechanism
@pytest.mark.parametrize("name", ["ties_in_everything", "ties_and_short_supply", "group"])
def test_the_sequence_of_rows_does_not_matter(mechanism: Mechanism, name: str) -> None:
    orders = ODD_BOOKS[name]
    shuffled, rows = permuted(orders, 5)
    require_same(mechanism.clear(orders, TERMS), mechanism.clear(shuffled, TERMS), rows)


@every_mechanism
def test_the_same_seed_gives_the_same_bits(mechanism: Mechanism) -> None:
    orders = ODD_BOOKS["group"]
    before = orders.energy_kwh.copy(), orders.price_eur_per_kwh.copy()
    one, other = mechanism.clear(orders, TERMS), mechanism.clear(orders, TERMS)
    assert one.accepted_kwh.tobytes() == other.accepted_kwh.tobytes()
    assert one.payment_eur.tobytes() == other.payment_eur.tobytes()
    assert (one.buy_price, one.sell_price) == (other.buy_price, other.sell_price)
    assert (one.iterations, one.flags) == (other.iterations, other.flags)
    assert np.array_equal(orders.energy_kwh, before[0])
    assert np.array_equal(orders.price_eur_per_kwh, before[1])


# --- orders that are none ---

GOOD: dict[str, Any] = {
    "id": ["first", "second", "third"],
    "side": [1.0, -1.0, 1.0],
    "energy_kwh": [1.0, 2.0, 0.5],
    "price_eur_per_kwh": [0.2, 0.1, -0.05],
    "time": [0.0, 0.0, 1.0],
}
NO_NUMBERS = [float("nan"), float("inf"), float("-inf")]


@pytest.mark.parametrize(
    ("column", "value"),
    [("energy_kwh", value) for value in [*NO_NUMBERS, 0.0, -0.0, -1.0]]
    + [("price_eur_per_kwh", value) for value in [*NO_NUMBERS, 3.0000001, -3.1]]
    + [("side", value) for value in [*NO_NUMBERS, 0.0, 2.0, -0.5]]
    + [("time", value) for value in NO_NUMBERS],
)
def test_an_order_that_is_none_is_refused_by_its_name(column: str, value: float) -> None:
    values = list(GOOD[column])
    values[1] = value
    with pytest.raises(MarketError) as refusal:
        Orders.of(**GOOD | {column: values})
    message = str(refusal.value)
    assert "'second'" in message
    assert column in message
    assert f"{value:g}" in message
    assert "allowed" in message


def test_the_first_of_several_wrong_orders_is_named() -> None:
    with pytest.raises(MarketError, match="'second'"):
        Orders.of(**GOOD | {"energy_kwh": [1.0, 0.0, -1.0]})


def test_an_id_that_is_used_twice_is_refused_by_its_name() -> None:
    with pytest.raises(MarketError, match=r"'first' \(row 3\)"):
        Orders.of(**GOOD | {"id": ["first", "second", "first"]})


@pytest.mark.parametrize("column", ["side", "energy_kwh", "price_eur_per_kwh", "time", "agent"])
def test_a_column_of_another_length_is_refused_by_its_name(column: str) -> None:
    with pytest.raises(MarketError, match=f"{column}.* 2 entries.* 3 ids"):
        Orders.of(**GOOD | {column: [1, 1]})


def test_an_attribute_of_another_length_is_refused_by_its_name() -> None:
    with pytest.raises(MarketError, match=r"zone.* 1 entries.* 3 ids"):
        Orders.of(**GOOD, attributes={"zone": ["A"]})


def test_prices_of_another_currency_may_have_another_limit() -> None:
    orders = Orders.of(
        **GOOD | {"price_eur_per_kwh": [45.0, 20.0, 50.0]}, price_limit_eur_per_kwh=50
    )
    assert orders.price_eur_per_kwh.tolist() == [45.0, 20.0, 50.0]
    with pytest.raises(MarketError, match=r"'third'.*within \+-45"):
        Orders.of(**GOOD | {"price_eur_per_kwh": [45.0, 20.0, 50.0]}, price_limit_eur_per_kwh=45)


def test_earlier_orders_have_priority_and_ids_break_ties() -> None:
    orders = Orders.of(**GOOD | {"id": ["z", "b", "a"], "time": [0.0, 1.0, 1.0]})
    assert orders.priority.tolist() == [0, 2, 1]
