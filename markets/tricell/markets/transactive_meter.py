"""The transactive meter: signed readings with the faults of a meter, and whether it joins a market.

A meter of accuracy class ``c`` has an error of its own that stays, uniform between -c and c; a
clock that is slow by ``s`` seconds begins its slots of length ``h`` that much late. With the energy
``e_t`` drawn evenly within each slot it reads::

    m_t = (1 + error) ((1 - |s| / h) e_t + |s| / h e_(t+1))        s > 0;  e_(t-1) for s < 0

The meter takes part in the market of a slot if it expects to gain by it, against the retailer
alone, and if what it plans is within its operating limits (`joins_market`).

Sources: accuracy classes, IEC 62053-21; signature, HMAC with SHA-256 (RFC 2104).
"""

from __future__ import annotations

import hmac
import json
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tricell.errors import MarketError
from tricell.markets.random_streams import AgentSlots, uniforms

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

LEAST_GAIN_EUR = 1e-9
"""A gain up to this counts as none."""


@dataclass(frozen=True)
class SignedReading:
    """What a meter sends for a slot.

    Attributes
    ----------
    meter : its id.
    slot : number of the slot.
    energy_kwh : net energy, positive consumes.
    class_error : largest relative error that its accuracy class allows; 0.01 in class 1.
    clock_drift_s : by how much its clock is slow, s; negative if fast.
    signature : of all the above, by the meter's key; 64 hexadecimal digits.
    """

    meter: str
    slot: int
    energy_kwh: float
    class_error: float
    clock_drift_s: float
    signature: str = ""

    def signed(self, key: bytes) -> SignedReading:
        """Return the reading with the signature by a key."""
        content = asdict(self) | {"signature": _signature(self, key)}
        return SignedReading(**content)

    def is_genuine(self, key: bytes) -> bool:
        """Whether the signature is that of this content by this key.

        Examples
        --------
        >>> reading = SignedReading("m1", 3, 0.25, 0.01, 0.0).signed(b"secret")
        >>> reading.is_genuine(b"secret"), reading.is_genuine(b"other")
        (True, False)
        """
        return hmac.compare_digest(self.signature, _signature(self, key))


def _signature(reading: SignedReading, key: bytes) -> str:
    content = asdict(reading)
    del content["signature"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hmac.new(key, text.encode("utf-8"), "sha256").hexdigest()


def measured_kwh(energy_kwh: Floats, clock_drift_s: ArrayLike, slot_h: float) -> Floats:
    """Return what meters with clocks that are wrong read, without the error of their class.

    At the ends of the block, where the next or the last slot is unknown, it counts as equal to the
    slot itself. Otherwise energy only moves between neighbouring slots.

    Parameters
    ----------
    energy_kwh : shape (T, N).
    clock_drift_s : of each meter, slow above 0, at most a slot; a number or shape (N,).
    slot_h : length of a slot, h.

    Raises
    ------
    MarketError
        Naming the meter whose clock is wrong by more than a slot.

    Examples
    --------
    >>> measured_kwh(np.array([[1.0], [2.0]]), 90.0, 0.25).round(6).ravel().tolist()
    [1.1, 2.0]
    """
    slots, meters = energy_kwh.shape
    share = np.broadcast_to(np.asarray(clock_drift_s, np.float64) / (slot_h * 3600.0), (meters,))
    for meter in np.flatnonzero(~(np.abs(share) <= 1.0)):
        raise MarketError(
            f"meter {meter}: clock_drift_s is {share[meter] * slot_h * 3600.0:g}; allowed is at "
            f"most a slot of {slot_h * 3600.0:g} s, either way"
        )
    rows = np.arange(slots)
    after = energy_kwh[np.minimum(rows + 1, slots - 1)]
    before = energy_kwh[np.maximum(rows - 1, 0)]
    neighbour = np.where(share > 0.0, after, before)
    return np.asarray((1.0 - np.abs(share)) * energy_kwh + np.abs(share) * neighbour)


def class_errors(class_error: ArrayLike, seed: int, meters: ArrayLike) -> Floats:
    """Draw the lasting relative error of each meter, uniform within its class, shape (N,).

    Parameters
    ----------
    class_error : largest relative error, 0 to below 1; a number or shape (N,).
    seed : of the run, at least 0.
    meters : number of each meter (`random_streams.agent_numbers`), shape (N,).

    Raises
    ------
    MarketError
        If a class is out of range.
    """
    largest = np.asarray(class_error, dtype=np.float64)
    if not ((largest >= 0.0) & (largest < 1.0)).all():
        raise MarketError(
            "meter: a class_error is outside 0 to 1; it is a relative error, 0.01 in class 1"
        )
    drawn = uniforms(seed, "accuracy of meters", AgentSlots(meters, 0, 1))[0]
    return np.asarray(largest * (2.0 * drawn - 1.0))


def joins_market(
    expected_bill_eur: ArrayLike,
    bill_alone_eur: ArrayLike,
    planned_kwh: ArrayLike,
    limits_kwh: tuple[ArrayLike, ArrayLike],
) -> Bools:
    """Whether each meter joins: it expects to gain, and keeps its limits.

    Who expects nothing in particular (NaN) does not join.

    Parameters
    ----------
    expected_bill_eur : with the market, positive pays; any shape.
    bill_alone_eur : with the retailer alone.
    planned_kwh : net energy it would contract, positive consumes.
    limits_kwh : least and most net energy that its connection allows.

    Raises
    ------
    MarketError
        If the limits of a meter contradict each other.

    Examples
    --------
    >>> joins_market([0.9, 1.0, 0.9], [1.0, 1.0, 1.0], [2.0, 2.0, 4.0], (-3.0, 3.0)).tolist()
    [True, False, False]
    """
    least, most = (np.asarray(each, dtype=np.float64) for each in limits_kwh)
    if (least > most).any() or np.isnan(least).any() or np.isnan(most).any():
        raise MarketError("meter: limits_kwh contradict each other; allowed is least <= most")
    gain = np.asarray(bill_alone_eur, np.float64) - np.asarray(expected_bill_eur, np.float64)
    planned = np.asarray(planned_kwh, dtype=np.float64)
    return np.asarray((gain > LEAST_GAIN_EUR) & (planned >= least) & (planned <= most))
