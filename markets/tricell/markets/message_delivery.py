"""Messages that come late or never, and what then happens.

A message sent at ``t_0`` and again every ``retry`` seconds, each attempt lost with the probability
``loss`` and else there after ``latency``, is in time if one copy arrives by the gate::

    attempts = number of k = 0, 1, ... with  t_0 + k retry + latency <= gate
    P(in time) = 1 - loss^attempts

- **Bids.** The earliest copy of a bid counts, further ones change nothing. By the gate it is
  ACCEPTED, later LATE; a bid of which no copy arrives is LOST. Bids that are LATE or LOST are not
  kept for the next gate: their agent settles at the retailer's prices.
- **Results.** A lost result cancels no trade. Its agent does not know it, follows its default
  schedule, and pays for the imbalance (`followed_schedule_kwh`).
- **Readings.** A lost reading is substituted by the forecast and flagged. Once the reading is
  there, the books are put right by the difference of two settlements (`substitute_readings`,
  `true_up_eur`).

Times are in seconds on any common clock; a copy that never arrives has the time infinity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from math import inf, isfinite
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tricell.errors import MarketError
from tricell.markets.random_streams import AgentSlots, uniforms

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Bools = NDArray[np.bool_]

TIME_TOLERANCE_S = 1e-9
"""A copy that arrives later than the gate by at most this is in time."""


# --- what messages need, and what networks give ---


class MessageClass(StrEnum):
    """What a message is for."""

    PROTECTION = "protection"
    SET_POINT = "set_point"
    BID = "bid"
    RESULT = "result"
    METER = "meter"


@dataclass(frozen=True)
class Requirement:
    """What a class of messages asks of the network.

    Attributes
    ----------
    latency_s : within which a message must be there.
    delivered : share of messages for which that must hold, 0 to 1.
    source : where the numbers come from.
    """

    latency_s: float
    delivered: float
    source: str


@dataclass(frozen=True)
class Channel:
    """A network that carries messages.

    Attributes
    ----------
    latency_s : of each copy that arrives.
    delivered : share of copies that arrive, 0 to 1.
    source : where the numbers come from.
    """

    latency_s: float
    delivered: float
    source: str = "stated by the user"

    def __post_init__(self) -> None:
        """Refuse a negative latency and shares outside 0 to 1."""
        if not (self.latency_s >= 0.0 and isfinite(self.latency_s)):
            raise MarketError(f"channel: latency_s is {self.latency_s:g}; allowed is at least 0 s")
        if not 0.0 <= self.delivered <= 1.0:
            raise MarketError(
                f"channel: delivered is {self.delivered:g}; allowed is a share between 0 and 1"
            )

    @property
    def loss(self) -> float:
        """Probability that a copy is lost."""
        return 1.0 - self.delivered


_ASSUMED = "assumption, in the style of IEEE 1547.3"
REQUIREMENTS: Mapping[MessageClass, Requirement] = MappingProxyType(
    {
        MessageClass.PROTECTION: Requirement(0.1, 0.99999, _ASSUMED),
        MessageClass.SET_POINT: Requirement(2.0, 0.999, _ASSUMED),
        MessageClass.BID: Requirement(5.0, 0.99, _ASSUMED),
        MessageClass.RESULT: Requirement(5.0, 0.99, _ASSUMED),
        MessageClass.METER: Requirement(60.0, 0.98, _ASSUMED),
    }
)
"""What each class of messages needs."""

_OVERLAYS = "Jogunola et al. 2018, peer-to-peer architectures for energy trading"
CHANNELS: Mapping[str, Channel] = MappingProxyType(
    {
        "structured_overlay": Channel(0.5, 0.99997, _OVERLAYS),
        "unstructured_overlay": Channel(0.5, 0.98, _OVERLAYS),
    }
)
"""Overlay networks of peers from the literature."""


def meets(requirement: Requirement, channel: Channel, retry_s: float = inf) -> bool:
    """Whether a channel is good enough, with attempts every ``retry_s`` seconds.

    Examples
    --------
    >>> bids = REQUIREMENTS[MessageClass.BID]
    >>> meets(bids, CHANNELS["unstructured_overlay"])
    False
    >>> meets(bids, CHANNELS["unstructured_overlay"], retry_s=2.0)
    True
    """
    attempts = attempts_in_time(0.0, requirement.latency_s, channel.latency_s, retry_s)
    return bool(probability_in_time(attempts, channel.loss) >= requirement.delivered)


# --- attempts ---


def attempts_in_time(
    sent_s: ArrayLike, gate_s: ArrayLike, latency_s: ArrayLike, retry_s: ArrayLike = inf
) -> Indices:
    """Return how many attempts arrive by the gate if none is lost.

    Parameters
    ----------
    sent_s, gate_s, latency_s : first attempt, gate, and time under way, s; numbers or arrays.
    retry_s : between attempts, above 0; infinity for a single one.

    Raises
    ------
    MarketError
        If a time is not a number, a latency negative or a retry not above 0.

    Examples
    --------
    >>> int(attempts_in_time(0.0, 5.0, 0.5, 2.0))
    3
    """
    sent, gate, latency, retry = (
        np.asarray(each, dtype=np.float64) for each in (sent_s, gate_s, latency_s, retry_s)
    )
    if not (np.isfinite(sent).all() and np.isfinite(gate).all()):
        raise MarketError("messages: a time sent or a gate is not finite; allowed are seconds")
    if not (np.isfinite(latency).all() and (latency >= 0.0).all()):
        raise MarketError(f"messages: latency_s is {latency.min():g}; allowed is at least 0 s")
    if not (retry > 0.0).all():
        raise MarketError(
            f"messages: retry_s is {retry.min():g}; allowed is above 0 s, infinity for one attempt"
        )
    spare = gate - sent - latency + TIME_TOLERANCE_S
    # an infinite retry makes 0 of any spare time, and must not make it of a time that has run out
    repeats = np.where(spare >= 0.0, np.floor(spare / retry), -1.0)
    return np.asarray(repeats + 1.0, dtype=np.int64)


def probability_in_time(attempts: ArrayLike, loss: ArrayLike) -> Floats:
    """Return ``1 - loss^attempts``: the probability that a copy arrives in time.

    Raises
    ------
    MarketError
        If a loss is not between 0 and 1.

    Examples
    --------
    >>> float(probability_in_time(3, 0.1))
    0.999
    """
    lost = np.asarray(loss, dtype=np.float64)
    if not ((lost >= 0.0) & (lost <= 1.0)).all():
        raise MarketError("messages: a loss is outside 0 to 1; it is the share of copies lost")
    return np.asarray(1.0 - lost ** np.asarray(attempts, dtype=np.float64))


@dataclass(frozen=True)
class Retries:
    """How often a sender tries.

    Attributes
    ----------
    most_attempts : after which it gives up, at least 1.
    every_s : time between attempts, s, above 0; plays no part for a single attempt.
    """

    most_attempts: int = 1
    every_s: float = 1.0

    def __post_init__(self) -> None:
        """Refuse no attempts, and no time between them."""
        if self.most_attempts < 1:
            raise MarketError(
                f"messages: most_attempts is {self.most_attempts}; allowed is at least 1"
            )
        if not (self.every_s > 0.0 and isfinite(self.every_s)):
            raise MarketError(f"messages: every_s is {self.every_s:g}; allowed is above 0 s")


def first_arrivals_s(
    sent_s: ArrayLike,
    channel: Channel,
    retries: Retries,
    *,
    seed: int,
    message: MessageClass,
    block: AgentSlots,
) -> Floats:
    """Draw when the earliest copy of each agent's message arrives, s; infinity if all are lost.

    A number u between 0 and 1 for each message says how many copies are lost in a row: m or more if
    ``u < loss^m``. So a message has the same luck on every channel: what arrives on one also
    arrives on a better one.

    Parameters
    ----------
    sent_s : of the first attempt, shape (slots, agents) or one that spreads to it.
    channel, retries : that carries the message, and how often it is sent.
    seed : of the run, at least 0.
    message : what the message is for; each class has numbers of its own.
    block : agents and slots, as in `random_streams.uniforms`.

    Raises
    ------
    MarketError
        If the seed is negative.
    """
    drawn = uniforms(seed, f"messages: {message}", block)
    thresholds = channel.loss ** np.arange(1.0, retries.most_attempts + 1.0)
    lost = (drawn[..., None] < thresholds).sum(axis=-1)
    arrival = np.asarray(sent_s, dtype=np.float64) + lost * retries.every_s + channel.latency_s
    return np.asarray(np.where(lost < retries.most_attempts, arrival, inf))


# --- bids ---


class BidStatus(IntEnum):
    """What became of a bid."""

    ACCEPTED = 0
    LATE = 1
    LOST = 2


def earliest_copies_s(bid: ArrayLike, arrival_s: ArrayLike, bids: int) -> Floats:
    """Return when the earliest copy of each bid arrives, s, shape (bids,); infinity without any.

    Parameters
    ----------
    bid : row of the bid that each message carries, shape (messages,).
    arrival_s : of each message, shape (messages,); infinity if it never arrives.
    bids : number of bids.

    Raises
    ------
    MarketError
        Naming the message whose bid does not exist or whose arrival is not a number.
    """
    rows, arrival = np.asarray(bid, dtype=np.int64), np.asarray(arrival_s, dtype=np.float64)
    for message in np.flatnonzero((rows < 0) | (rows >= bids) | np.isnan(arrival)):
        raise MarketError(
            f"message {message}: bid {rows[message]}, arrival {arrival[message]:g} s; allowed are "
            f"bids 0 to {bids - 1} and a time in s, infinity for a lost message"
        )
    earliest = np.full(bids, inf)
    np.minimum.at(earliest, rows, arrival)
    return earliest


def bid_status(earliest_s: ArrayLike, gate_s: ArrayLike) -> NDArray[np.int8]:
    """Return the `BidStatus` of each bid from its earliest copy, same shape.

    Only ACCEPTED bids enter the clearing of this gate; no other bid enters that of a later one.

    Examples
    --------
    >>> [BidStatus(each).name for each in bid_status([50.0, 101.0, inf], 100.0)]
    ['ACCEPTED', 'LATE', 'LOST']
    """
    earliest = np.asarray(earliest_s, dtype=np.float64)
    late = np.where(np.isinf(earliest), BidStatus.LOST, BidStatus.LATE)
    in_time = earliest <= np.asarray(gate_s, dtype=np.float64) + TIME_TOLERANCE_S
    return np.where(in_time, BidStatus.ACCEPTED, late).astype(np.int8)


# --- results and readings ---


def followed_schedule_kwh(
    result_kwh: Floats, default_kwh: Floats, is_result_there: Bools
) -> Floats:
    """Return the schedule that each agent follows, same shape.

    The contract stays ``result_kwh`` for all: the difference is a deviation and costs imbalance.

    Parameters
    ----------
    result_kwh : what the market decided.
    default_kwh : what the agent does when it hears nothing.
    is_result_there : whether the result arrived.
    """
    return np.where(is_result_there, result_kwh, default_kwh)


@dataclass(frozen=True)
class Readings:
    """Energy that is settled, and whether it is a substitute; both of the same shape.

    Attributes
    ----------
    energy_kwh : of the meter, or of the forecast in its place.
    is_substituted : flag of the latter.
    """

    energy_kwh: Floats
    is_substituted: Bools


def substitute_readings(reading_kwh: Floats, is_there: Bools, forecast_kwh: Floats) -> Readings:
    """Put the forecast in the place of readings that are lost; any shape.

    Parameters
    ----------
    reading_kwh : of the meters; where lost, any value.
    is_there : whether the reading arrived.
    forecast_kwh : made before the slot.

    Raises
    ------
    MarketError
        If a reading is lost for which there is no forecast either.
    """
    energy = np.where(is_there, reading_kwh, forecast_kwh)
    if not np.isfinite(energy).all():
        where = np.argwhere(~np.isfinite(energy))[0].tolist()
        raise MarketError(
            f"reading {where}: neither reading nor forecast is a finite number of kWh; state one"
        )
    return Readings(energy, ~is_there)


def late_readings(before: Readings, reading_kwh: Floats, is_there: Bools) -> Readings:
    """Put readings that have arrived since in the place of their substitutes.

    Readings that were there already stay as they are.
    """
    arrived = before.is_substituted & is_there
    return Readings(
        np.where(arrived, reading_kwh, before.energy_kwh), before.is_substituted & ~arrived
    )


def true_up_eur(before: Readings, after: Readings, settle: Callable[[Floats], Floats]) -> Floats:
    """Return what is still to be paid once late readings are there: the difference of two bills.

    Both bills are settled as the slot's rule says, at the slot's prices. Where the rule lets agents
    share costs, the bills of others change too.

    Parameters
    ----------
    before, after : the readings settled so far, and those known now.
    settle : bills of given energies, EUR, positive pays.

    Examples
    --------
    >>> before = Readings(np.array([2.0]), np.array([True]))
    >>> after = late_readings(before, np.array([2.5]), np.array([True]))
    >>> true_up_eur(before, after, lambda energy_kwh: 0.3 * energy_kwh).round(6).tolist()
    [0.15]
    """
    return settle(after.energy_kwh) - settle(before.energy_kwh)
