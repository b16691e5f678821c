"""Messages: attempts until the gate, the earliest copy, lost results and readings; the meter."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tricell.errors import MarketError
from tricell.markets.imbalance import ImbalancePrices, settle_imbalance
from tricell.markets.message_delivery import (
    CHANNELS,
    REQUIREMENTS,
    BidStatus,
    Channel,
    MessageClass,
    Readings,
    Retries,
    attempts_in_time,
    bid_status,
    earliest_copies_s,
    first_arrivals_s,
    followed_schedule_kwh,
    late_readings,
    meets,
    probability_in_time,
    substitute_readings,
    true_up_eur,
)
from tricell.markets.random_streams import AgentSlots
from tricell.markets.transactive_meter import (
    SignedReading,
    class_errors,
    joins_market,
    measured_kwh,
)

QUICK = settings(max_examples=50, deadline=None)
MANY = AgentSlots(range(200), 0, 100)

# --- attempts ---


@QUICK
@given(
    sent=st.integers(-20, 20),
    gate=st.integers(-20, 60),
    latency=st.integers(0, 30),
    retry=st.integers(1, 15),
)
def test_attempts_are_counted_as_if_each_were_sent(
    sent: int, gate: int, latency: int, retry: int
) -> None:
    """In tenths of a second, in which floating point does not hit the gate exactly."""
    arrivals = range(sent + latency, gate + 1, retry)
    assert attempts_in_time(sent / 10, gate / 10, latency / 10, retry / 10) == len(arrivals)


@QUICK
@given(sent=st.integers(-20, 20), gate=st.integers(-20, 60), latency=st.integers(0, 30))
def test_without_retries_there_is_one_attempt_or_none(sent: int, gate: int, latency: int) -> None:
    assert attempts_in_time(sent, gate, latency) == (sent + latency <= gate)


def test_what_cannot_arrive_is_never_in_time_and_what_cannot_be_lost_always() -> None:
    assert probability_in_time([0, 0, 1, 5], [0.0, 0.5, 0.0, 1.0]).tolist() == [0.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("times", "named"),
    [
        ((0.0, nan, 0.5, 1.0), "gate is not finite"),
        ((0.0, 5.0, -0.5, 1.0), "latency_s is -0.5"),
        ((0.0, 5.0, 0.5, 0.0), "retry_s is 0"),
    ],
)
def test_times_that_make_no_sense_are_refused(times: tuple[float, ...], named: str) -> None:
    with pytest.raises(MarketError, match=named):
        attempts_in_time(*times)


def test_shares_beyond_one_are_refused() -> None:
    with pytest.raises(MarketError, match="outside 0 to 1"):
        probability_in_time(1, 1.5)
    with pytest.raises(MarketError, match=r"delivered is 99.9; allowed is a share"):
        Channel(0.5, 99.9)
    with pytest.raises(MarketError, match="latency_s is -1"):
        Channel(-1.0, 0.9)
    with pytest.raises(MarketError, match="most_attempts is 0"):
        Retries(0)
    with pytest.raises(MarketError, match="every_s is 0"):
        Retries(2, 0.0)


def test_drawn_messages_are_in_time_as_often_as_the_formula_says() -> None:
    """20 000 messages; five standard errors of a share, missed once in 1.7 million draws."""
    channel, gate = Channel(0.5, 0.7), 5.0
    arrival = first_arrivals_s(
        0.0, channel, Retries(10, 2.0), seed=1, message=MessageClass.BID, block=MANY
    )
    expected = float(probability_in_time(attempts_in_time(0.0, gate, 0.5, 2.0), channel.loss))
    error = np.sqrt(expected * (1.0 - expected) / arrival.size)
    assert np.mean(arrival <= gate) == pytest.approx(expected, abs=5.0 * error)
    assert set(np.unique(arrival[np.isfinite(arrival)])) <= {0.5 + 2.0 * k for k in range(10)}


def test_messages_are_lost_for_good_when_the_sender_gives_up() -> None:
    channel = Channel(0.5, 0.6)
    arrival = first_arrivals_s(
        0.0, channel, Retries(2), seed=1, message=MessageClass.BID, block=MANY
    )
    error = np.sqrt(0.16 * 0.84 / arrival.size)
    assert np.mean(np.isinf(arrival)) == pytest.approx(0.16, abs=5.0 * error)
    always = replace(channel, delivered=1.0), replace(channel, delivered=0.0)
    full, empty = (
        first_arrivals_s(7.0, each, Retries(2), seed=1, message=MessageClass.BID, block=MANY)
        for each in always
    )
    assert (full == 7.5).all()
    assert np.isinf(empty).all()


def test_a_better_channel_delivers_all_that_a_worse_one_does_and_not_later() -> None:
    good, bad = (
        first_arrivals_s(
            0.0, Channel(0.5, share), Retries(3), seed=4, message=MessageClass.METER, block=MANY
        )
        for share in (0.9, 0.6)
    )
    assert (good <= bad).all()


# --- classes and networks ---


def test_requirements_are_the_stated_assumptions_with_their_source() -> None:
    stated = {each.value: (need.latency_s, need.delivered) for each, need in REQUIREMENTS.items()}
    assert stated == {
        "protection": (0.1, 0.99999),
        "set_point": (2.0, 0.999),
        "bid": (5.0, 0.99),
        "result": (5.0, 0.99),
        "meter": (60.0, 0.98),
    }
    assert all("assumption" in need.source for need in REQUIREMENTS.values())
    assert all("Jogunola" in channel.source for channel in CHANNELS.values())


def test_a_structured_overlay_serves_all_but_protection_and_an_unstructured_one_readings_only() -> (
    None
):
    def served(name: str) -> set[str]:
        return {each for each, need in REQUIREMENTS.items() if meets(need, CHANNELS[name])}

    assert served("structured_overlay") == {"set_point", "bid", "result", "meter"}
    assert served("unstructured_overlay") == {"meter"}


# --- bids ---


@QUICK
@given(
    copies=st.lists(
        st.tuples(st.integers(0, 4), st.one_of(st.just(inf), st.floats(0.0, 200.0))), max_size=30
    ),
    data=st.data(),
)
def test_only_the_earliest_copy_counts_in_whatever_order_copies_come(
    copies: list[tuple[int, float]], data: st.DataObject
) -> None:
    gate = 100.0
    shuffled = data.draw(st.permutations(copies))
    first, second = (
        bid_status(earliest_copies_s([c[0] for c in each], [c[1] for c in each], 5), gate).tolist()
        for each in (copies, shuffled)
    )
    assert first == second
    for bid, status in enumerate(first):
        arrivals = [time for row, time in copies if row == bid and time < inf]
        expected = BidStatus.LOST
        if arrivals:
            in_time = min(arrivals) <= gate + 1e-9
            expected = BidStatus.ACCEPTED if in_time else BidStatus.LATE
        assert status == expected


def test_a_copy_at_the_gate_is_in_time_and_a_late_copy_beside_a_lost_one_makes_it_late() -> None:
    earliest = earliest_copies_s([0, 1, 1], [100.0, inf, 130.0], 3)
    names = [BidStatus(each).name for each in bid_status(earliest, 100.0)]
    assert names == ["ACCEPTED", "LATE", "LOST"]


def test_a_copy_of_an_unknown_bid_is_refused() -> None:
    with pytest.raises(MarketError, match="message 1: bid 3, arrival 2 s"):
        earliest_copies_s([0, 3], [1.0, 2.0], 3)
    with pytest.raises(MarketError, match="message 0: bid 0, arrival nan s"):
        earliest_copies_s([0], [nan], 3)


# --- results and readings ---

PRICES = ImbalancePrices(retail=0.30, feed_in=0.08, contract=0.20)


def test_a_lost_result_keeps_the_contract_and_costs_imbalance() -> None:
    """Worked out: contracted -3 kWh at 0.20, delivered -2; the missing kWh costs 0.30."""
    contracted, default = np.array([-3.0, 3.0]), np.array([-2.0, 1.0])
    followed = followed_schedule_kwh(contracted, default, np.array([False, True]))
    assert followed.tolist() == [-2.0, 3.0]
    settled = settle_imbalance(followed, contracted, PRICES, "dual")
    np.testing.assert_allclose(settled.bill_eur, [-0.60 + 0.30, 0.60])


def test_a_lost_reading_is_the_forecast_and_flagged_until_it_comes() -> None:
    reading, forecast = np.array([1.0, nan, nan]), np.array([9.0, 2.0, 3.0])
    first = substitute_readings(reading, np.array([True, False, False]), forecast)
    assert first.energy_kwh.tolist() == [1.0, 2.0, 3.0]
    assert first.is_substituted.tolist() == [False, True, True]
    later = late_readings(first, np.array([5.0, 2.5, nan]), np.array([True, True, False]))
    assert later.energy_kwh.tolist() == [1.0, 2.5, 3.0]
    assert later.is_substituted.tolist() == [False, False, True]


def test_the_true_up_brings_bills_to_what_they_had_been_with_all_readings() -> None:
    contracted, actual = np.array([2.0, -2.0]), np.array([2.5, -1.0])
    forecast = np.array([2.2, -2.3])

    def settle(energy_kwh: np.ndarray) -> np.ndarray:
        return settle_imbalance(energy_kwh, contracted, PRICES, "ucs").bill_eur

    before = substitute_readings(actual, np.array([True, False]), forecast)
    after = late_readings(before, actual, np.array([True, True]))
    correction = true_up_eur(before, after, settle)
    np.testing.assert_allclose(settle(before.energy_kwh) + correction, settle(actual), atol=1e-12)
    assert not true_up_eur(after, after, settle).any()


def test_a_reading_that_is_lost_without_a_forecast_is_refused() -> None:
    with pytest.raises(MarketError, match=r"reading \[1\]: neither reading nor forecast"):
        substitute_readings(np.array([1.0, nan]), np.array([True, False]), np.array([nan, nan]))


def test_late_readings_do_not_change_those_that_were_there() -> None:
    there = Readings(np.array([1.0]), np.array([False]))
    assert late_readings(there, np.array([8.0]), np.array([True])).energy_kwh.tolist() == [1.0]


# --- the transactive meter ---


def test_a_reading_changed_on_its_way_is_not_genuine() -> None:
    reading = SignedReading("m1", 7, 0.125, 0.01, 2.0).signed(b"key of m1")
    assert reading.is_genuine(b"key of m1")
    for changed in (
        replace(reading, energy_kwh=0.1),
        replace(reading, slot=8),
        replace(reading, meter="m2"),
        replace(reading, signature=""),
    ):
        assert not changed.is_genuine(b"key of m1")
    assert not reading.is_genuine(b"key of m2")


def test_a_wrong_clock_moves_energy_to_the_neighbouring_slot() -> None:
    """Worked out: 90 s of 900 are a tenth of the next slot, or of the one before."""
    energy = np.array([[1.0, 1.0], [3.0, 3.0], [0.0, 0.0]])
    read = measured_kwh(energy, [90.0, -90.0], 0.25)
    np.testing.assert_allclose(read, [[1.2, 1.0], [2.7, 2.8], [0.0, 0.3]])
    np.testing.assert_array_equal(measured_kwh(energy, 0.0, 0.25), energy)
    with pytest.raises(MarketError, match="meter 1: clock_drift_s is 901"):
        measured_kwh(energy, [0.0, 901.0], 0.25)


def test_the_error_of_a_meter_stays_within_its_class_and_does_not_change_with_its_company() -> None:
    errors = class_errors(0.01, 1, range(500))
    assert (np.abs(errors) < 0.01).all()
    # of 500 uniform draws none beyond 97 % of the range has the probability 0.97^500, or 2e-7
    assert np.abs(errors).max() > 0.0097
    assert class_errors(0.01, 1, [499]).tolist() == [errors[499]]
    with pytest.raises(MarketError, match="class_error is outside 0 to 1"):
        class_errors(1.0, 1, [0])


def test_a_meter_joins_only_for_a_gain_and_within_its_limits() -> None:
    joins = joins_market([0.5, 0.6, 0.5, nan], 0.6, [1.0, 1.0, -2.0, 1.0], (-1.5, 1.5))
    assert joins.tolist() == [True, False, False, False]
    with pytest.raises(MarketError, match="least <= most"):
        joins_market(0.5, 0.6, 0.0, (1.0, -1.0))
