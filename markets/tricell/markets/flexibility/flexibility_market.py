"""Flexibility for network operators: who is called, what was delivered, and what it earns.

A distribution operator (DSO) needs energy at a node, where a kWh of an offer counts as much as its
sensitivity says. The cheapest per effect are taken until the need is met::

    accepted = min(q, need left / sensitivity)        by rising price / sensitivity
    pay as bid:       price
    pay as cleared:   pi sensitivity,    pi = largest accepted price / sensitivity

Delivery is measured against a baseline, the mean of the last like days without events::

    delivered = min(max(baseline - meter, 0), accepted)
    pay = price delivered,  times delivered / accepted where that is below a threshold

Whatever the DSO did not take may be sold to the transmission operator (TSO), whose products also
pay for power held ready. No kWh is sold twice, and none is counted as delivered twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tricell.errors import MarketError
from tricell.markets.flexibility.battery import check_hours
from tricell.markets.mechanism import About
from tricell.markets.order_table import ENERGY_RESIDUE_KWH, Orders

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

ABOUT = About(
    name="flexibility_market",
    line="network operators buy flexibility at a node: the DSO first, then the TSO",
    source="local flexibility markets as usual (call by price per effect, baseline, delivery)",
)

Operator = Literal["DSO", "TSO"]
Pricing = Literal["pay_as_bid", "pay_as_clear"]
OPERATORS: tuple[Operator, ...] = ("DSO", "TSO")
"""In the sequence in which they are served."""
PRICINGS: tuple[Pricing, ...] = ("pay_as_bid", "pay_as_clear")

LIKE_DAYS = 5
RATIO_TOLERANCE = 1e-9
"""A share delivered that misses the threshold by less is rounding."""


@dataclass(frozen=True)
class FlexibilityRequest:
    """What an operator asks for in a slot.

    Attributes
    ----------
    operator : the DSO is served before the TSO.
    need_kwh : at the operator's node, at least 0.
    sensitivity : effect at that node of a kWh of each offer, shape (offers,) or one number; an
        offer without effect, or with an adverse one, is not called.
    pricing : what an accepted kWh is paid.
    threshold : share delivered, 0 to 1, below which pay is reduced.
    capacity_price : EUR per kW held ready and hour.
    held_hours : how long the accepted power is held ready, h.

    Raises
    ------
    MarketError
        If one of them is not allowed.
    """

    operator: Operator
    need_kwh: float
    sensitivity: ArrayLike = 1.0
    pricing: Pricing = "pay_as_bid"
    threshold: float = 0.0
    capacity_price: float = 0.0
    held_hours: float = 0.0

    def __post_init__(self) -> None:
        rules = (
            ("operator", self.operator in OPERATORS, " or ".join(OPERATORS)),
            ("need_kwh", 0.0 <= self.need_kwh < np.inf, "a finite number of at least 0"),
            ("sensitivity", bool(np.isfinite(self.sensitivity).all()), "finite numbers"),
            ("pricing", self.pricing in PRICINGS, " or ".join(PRICINGS)),
            ("threshold", 0.0 <= self.threshold <= 1.0, "0 to 1"),
            ("capacity_price", 0.0 <= self.capacity_price < np.inf, "a finite number, 0 or up"),
            ("held_hours", 0.0 <= self.held_hours < np.inf, "a finite number of at least 0"),
        )
        for parameter, is_allowed, allowed in rules:
            if not is_allowed:
                raise MarketError(
                    f"request of the {self.operator}: {parameter} is {getattr(self, parameter)}; "
                    f"allowed is {allowed}"
                )


@dataclass(frozen=True)
class Purchase:
    """What a request buys; arrays of shape (offers,).

    Attributes
    ----------
    accepted_kwh : of each offer.
    price : of an accepted kWh, EUR/kWh; 0 where nothing is accepted.
    clearing_price : largest accepted price per effect; None if nothing is accepted.
    unmet_kwh : need that no offer meets.
    """

    accepted_kwh: Floats
    price: Floats
    clearing_price: float | None
    unmet_kwh: float


@dataclass(frozen=True)
class Outcome:
    """A request after the meters were read; arrays of shape (offers,).

    Attributes
    ----------
    request, purchase : what was asked for and bought.
    delivered_kwh : counted for this request.
    payment_eur : to each offer, for energy and for power held ready.
    """

    request: FlexibilityRequest
    purchase: Purchase
    delivered_kwh: Floats
    payment_eur: Floats

    @property
    def cost_eur(self) -> float:
        """What the operator pays."""
        return float(self.payment_eur.sum())


def buy_flexibility(
    offers: Orders, request: FlexibilityRequest, offered_kwh: Floats | None = None
) -> Purchase:
    """Take the offers that are cheapest per effect until the need is met.

    Parameters
    ----------
    offers : sells, in kWh and EUR/kWh; equal ones by time, then id.
    request : what is asked for.
    offered_kwh : what is left of each offer, shape (offers,); by default all of it.

    Raises
    ------
    MarketError
        If an offer buys, or there is not one sensitivity for each offer.
    """
    if len(offers.buys):
        raise MarketError(f"offer {offers.id[offers.buys[0]]} buys; flexibility offers only sell")
    effect = _per_offer("sensitivity", request.sensitivity, len(offers))
    left = offers.energy_kwh if offered_kwh is None else offered_kwh
    useful = np.flatnonzero((effect > 0.0) & (left > 0.0))
    per_effect = offers.price_eur_per_kwh[useful] / effect[useful]
    cheapest = np.lexsort((offers.priority[useful], per_effect))
    called, per_effect = useful[cheapest], per_effect[cheapest]
    effects = left[called] * effect[called]
    before = np.concatenate([[0.0], np.cumsum(effects)])[:-1]
    wanted = np.clip(_without_residue(request.need_kwh - before, request), 0.0, effects)
    accepted, price = np.zeros(len(offers)), np.zeros(len(offers))
    accepted[called] = np.where(wanted >= effects, left[called], wanted / effect[called])
    taken = accepted > 0.0
    clearing = float(per_effect[taken[called]].max()) if taken.any() else None
    if request.pricing == "pay_as_bid" or clearing is None:
        price[taken] = offers.price_eur_per_kwh[taken]
    else:
        price[taken] = clearing * effect[taken]
    unmet = _without_residue(np.array(request.need_kwh - wanted.sum()), request)
    return Purchase(accepted, price, clearing, max(float(unmet), 0.0))


def _without_residue(left_kwh: Floats, request: FlexibilityRequest) -> Floats:
    """Need that is left, where what sums leave by rounding counts as nothing."""
    residue = ENERGY_RESIDUE_KWH * max(1.0, request.need_kwh)
    return np.where(np.abs(left_kwh) <= residue, 0.0, left_kwh)


def serve_requests(
    offers: Orders,
    requests: Sequence[FlexibilityRequest],
    baseline_kwh: ArrayLike,
    meter_kwh: ArrayLike,
    hours: float = 1.0,
) -> list[Outcome]:
    """Serve requests of one slot from the same offers, those of the DSO before those of the TSO.

    Parameters
    ----------
    offers : sells.
    requests : in any sequence; the outcomes come in the sequence served.
    baseline_kwh, meter_kwh : energy expected and metered behind each offer, shape (offers,).
    hours : length of the slot, h; turns accepted energy into power held ready.

    Raises
    ------
    MarketError
        If a number is missing or not allowed.
    """
    check_hours(hours)
    baseline = _per_offer("baseline_kwh", baseline_kwh, len(offers))
    reduced = np.maximum(baseline - _per_offer("meter_kwh", meter_kwh, len(offers)), 0.0)
    left = offers.energy_kwh.copy()
    outcomes = []
    for request in sorted(requests, key=lambda each: OPERATORS.index(each.operator)):
        purchase = buy_flexibility(offers, request, left)
        delivered = np.minimum(reduced, purchase.accepted_kwh)
        left, reduced = left - purchase.accepted_kwh, reduced - delivered
        payment = pay_for_delivery(request, purchase, delivered, hours)
        outcomes.append(Outcome(request, purchase, delivered, payment))
    return outcomes


def pay_for_delivery(
    request: FlexibilityRequest, purchase: Purchase, delivered_kwh: Floats, hours: float = 1.0
) -> Floats:
    """Pay for delivered energy and for power held ready, less below the threshold, EUR.

    Below the threshold both are reduced by the share delivered: power that is not there when
    called was not held ready either.
    """
    accepted = purchase.accepted_kwh
    share = np.divide(delivered_kwh, accepted, out=np.ones_like(accepted), where=accepted > 0.0)
    kept = np.where(share < request.threshold - RATIO_TOLERANCE, share, 1.0)
    ready = request.capacity_price * request.held_hours * accepted / hours
    pay: Floats = (purchase.price * delivered_kwh + ready) * kept
    return pay


def baseline_from_like_days(
    energy_kwh: ArrayLike,
    day_kind: ArrayLike,
    is_event: ArrayLike,
    kind: str | int,
    days: int = LIKE_DAYS,
) -> Floats:
    """Baseline of a day: the mean of the last like days on which no flexibility was called.

    Parameters
    ----------
    energy_kwh : of the days before, oldest first, shape (days, ...), such as (days, slots, meters).
    day_kind : what kind of day each was ("workday", "holiday", ...), shape (days,).
    is_event : whether flexibility was called on it, shape (days,).
    kind : of the day that needs a baseline.
    days : how many of them count; fewer if there are not so many.

    Returns
    -------
    kWh, shape of one day.

    Raises
    ------
    MarketError
        If no day is like it, or the columns have other lengths.

    Examples
    --------
    >>> history = [[1.0], [9.0], [3.0], [7.0]]
    >>> kinds, events = ["work", "work", "work", "holiday"], [False, True, False, False]
    >>> baseline_from_like_days(history, kinds, events, "work")
    array([2.])
    """
    energy = np.asarray(energy_kwh, dtype=np.float64)
    kinds, events = np.asarray(day_kind), np.asarray(is_event, dtype=np.bool_)
    if kinds.shape != (len(energy),) or events.shape != kinds.shape:
        raise MarketError(
            f"energy of {len(energy)} days needs as many day_kind and is_event; given are "
            f"{kinds.size} and {events.size}"
        )
    like = np.flatnonzero((kinds == kind) & ~events)[-days:]
    if days < 1 or not len(like):
        raise MarketError(
            f"no baseline: none of the last {len(energy)} days is of the kind {kind!r} without an "
            f"event, or days = {days} is below 1"
        )
    mean: Floats = energy[like].mean(axis=0)
    return mean


def rebound_cost_eur(
    baseline_kwh: ArrayLike, meter_kwh: ArrayLike, imbalance_price: ArrayLike
) -> Floats:
    """Price the energy caught up after an event as imbalance, EUR, in the inputs' common shape.

    Parameters
    ----------
    baseline_kwh, meter_kwh : of slots after the event.
    imbalance_price : EUR/kWh; what is used beyond the baseline pays it.
    """
    caught_up = np.maximum(np.asarray(meter_kwh) - np.asarray(baseline_kwh), 0.0)
    cost: Floats = np.asarray(imbalance_price) * caught_up
    return cost


def _per_offer(name: str, values: ArrayLike, offers: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    array = np.full(offers, array) if array.ndim == 0 else array
    if array.shape != (offers,):
        raise MarketError(f"{name} has shape {array.shape}; allowed is ({offers},), one per offer")
    wrong = np.flatnonzero(~np.isfinite(array))
    if len(wrong):
        raise MarketError(f"{name} of offer {wrong[0]} is {array[wrong[0]]}; give a finite number")
    return array
