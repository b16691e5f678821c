"""Who is called: the cheapest per effect, in proportion among equals; and set-points of areas.

A request in one place is served as `tricell.markets.flexibility.flexibility_market` says, with one
difference: among equal prices nobody comes first, all are called for the same share.

A request of all cells goes down the tree of areas. Every area offers the sum of what its members
offer, as a curve of prices and powers; it gets a set-point and splits it among its members the
same way: a microgrid among its stores, a cell among its microgrids, all cells among the cells. ::

    sum of the members' set-points = set-point of the area,    0 <= set-point <= what was offered
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.grid_models.arrays import sum_by_key
from tricell.markets.flexibility.flexibility_market import FlexibilityRequest, Purchase

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

SAME_PRICE_EUR_PER_KWH = 1e-9
"""Prices per effect that are this near count as equal."""
RESIDUE_KW = 1e-9
"""Power below this is rounding."""


@dataclass(frozen=True)
class PriceCurve:
    """What members of groups offer, each row a price step of one member.

    Attributes
    ----------
    group, member : numbers of the area that asks and of the member that offers, shape (steps,).
    power_kw : at least 0.
    price : EUR/kWh.
    """

    group: Indices
    member: Indices
    power_kw: Floats
    price: Floats


def take_cheapest(
    need_kw: Floats, group: Indices, effect_kw: Floats, price_per_effect: Floats
) -> Floats:
    """Return how much of the effect of each offer its group takes, shape (offers,).

    Parameters
    ----------
    need_kw : of each group, at least 0, shape (groups,).
    group : whose need each offer can serve.
    effect_kw : what each offer can do for it, at least 0.
    price_per_effect : EUR/kWh; among equals all are taken for the same share.

    Examples
    --------
    >>> need, group = np.array([3.0, 1.0]), np.array([0, 0, 0, 1])
    >>> take_cheapest(need, group, np.array([1.0, 2.0, 2.0, 5.0]), np.array([0.1, 0.2, 0.2, 0.1]))
    array([1., 1., 1., 1.])
    """
    taken = np.zeros(len(group))
    if not len(group):
        return taken
    level = np.round(price_per_effect / SAME_PRICE_EUR_PER_KWH)
    order = np.lexsort((level, group))
    is_new = np.ones(len(order), dtype=np.bool_)
    is_new[1:] = (np.diff(group[order]) != 0) | (np.diff(level[order]) != 0)
    tie = np.cumsum(is_new) - 1
    of_tie = sum_by_key(tie, effect_kw[order], int(tie[-1]) + 1)
    its_group = group[order][is_new]
    served = _served(need_kw, its_group, of_tie)
    share = np.divide(served, of_tie, out=np.zeros_like(of_tie), where=of_tie > 0.0)
    taken[order] = effect_kw[order] * share[tie]
    return taken


def _served(need_kw: Floats, group: Indices, effect_kw: Floats) -> Floats:
    """Return what ties, in the sequence of their prices, serve of the need of their groups."""
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    total = np.cumsum(effect_kw)
    begin = np.repeat((total - effect_kw)[starts], np.diff(np.append(starts, len(group))))
    left = need_kw[group] - (total - effect_kw - begin)
    left = np.where(left > RESIDUE_KW, left, 0.0)
    return np.minimum(left, effect_kw)


def buy_fairly(
    offered_kwh: Floats, price: Floats, request: FlexibilityRequest, max_price: float = np.inf
) -> Purchase:
    """Serve a request with the offers that are cheapest per effect.

    Parameters
    ----------
    offered_kwh, price : energy of each offer and its price, EUR/kWh, shape (offers,).
    request : what is asked for, `sensitivity` per offer or one number.
    max_price : what the operator pays at most for a kWh of effect, EUR/kWh.

    Returns
    -------
    Purchase, as of `buy_flexibility`; both are equal where no prices per effect are.

    Examples
    --------
    >>> request = FlexibilityRequest("DSO", 3.0)
    >>> bought = buy_fairly(np.array([2.0, 4.0]), np.array([0.2, 0.2]), request)
    >>> bought.accepted_kwh.tolist(), bought.unmet_kwh
    ([1.0, 2.0], 0.0)
    """
    effect = np.broadcast_to(np.asarray(request.sensitivity, np.float64), offered_kwh.shape)
    useful = np.flatnonzero((effect > 0.0) & (offered_kwh > 0.0))
    useful = useful[price[useful] <= max_price * effect[useful] + SAME_PRICE_EUR_PER_KWH]
    per_effect, sensitivity = price[useful] / effect[useful], effect[useful]
    effects = offered_kwh[useful] * sensitivity
    need = np.array([request.need_kwh])
    wanted = take_cheapest(need, np.zeros(len(useful), np.int64), effects, per_effect)
    accepted, paid = np.zeros(len(offered_kwh)), np.zeros(len(offered_kwh))
    accepted[useful] = np.where(wanted >= effects, offered_kwh[useful], wanted / sensitivity)
    taken = wanted > 0.0
    clearing = float(per_effect[taken].max()) if taken.any() else None
    called = useful[taken]
    if request.pricing == "pay_as_bid" or clearing is None:
        paid[called] = price[called]
    else:
        paid[called] = clearing * effect[called]
    unmet = request.need_kwh - float(wanted.sum())
    return Purchase(accepted, paid, clearing, unmet if unmet > RESIDUE_KW else 0.0)


def aggregate_offers(
    group: Indices, member: Indices, power_kw: Floats, price: Floats
) -> PriceCurve:
    """Add up offers of equal price that stand behind the same member: what an area offers upwards.

    Parameters
    ----------
    group, member, power_kw, price : of each offer, shape (offers,); see `PriceCurve`.
    """
    level = np.round(price / SAME_PRICE_EUR_PER_KWH)
    order = np.lexsort((level, member, group))
    is_new = np.ones(len(order), dtype=np.bool_)
    for key in (group, member, level):
        is_new[1:] &= np.diff(key[order]) == 0
    is_new[1:] = ~is_new[1:]
    step = np.cumsum(is_new) - 1
    first = order[is_new]
    power = sum_by_key(step, power_kw[order], len(first))
    return PriceCurve(group[first], member[first], power, price[first])


def split_set_points(set_point_kw: Floats, curve: PriceCurve, members: int) -> Floats:
    """Split the set-points of groups among their members, cheapest first; shape (members,).

    Parameters
    ----------
    set_point_kw : by which each group is to move, at least 0, shape (groups,).
    curve : what the members offered.
    members : how many members there are, in all groups.

    Raises
    ------
    MarketError
        If a group is to move by more than its members offered.
    """
    offered = sum_by_key(curve.group, curve.power_kw, len(set_point_kw))
    beyond = set_point_kw - offered
    if not (beyond <= RESIDUE_KW * np.maximum(1.0, offered)).all():
        worst = int(np.argmax(beyond))
        raise MarketError(
            f"area {worst} gets a set-point of {set_point_kw[worst]:g} kW, but offered "
            f"{offered[worst]:g} kW; a set-point lies between 0 and what was offered"
        )
    taken = take_cheapest(set_point_kw, curve.group, curve.power_kw, curve.price)
    return sum_by_key(curve.member, taken, members)


@dataclass(frozen=True)
class Dispatch:
    """A request of all cells, split down to the stores.

    Attributes
    ----------
    area_kw : set-point of every area, shape (areas,).
    offer_kw : what each offer is called for, shape (offers,).
    """

    area_kw: Floats
    offer_kw: Floats


def split_down(
    need_kw: float, way: Sequence[Indices], power_kw: Floats, price: Floats, areas: int
) -> Dispatch:
    """Offer from the stores up to the area that is asked, and split its set-point down again.

    Parameters
    ----------
    need_kw : at least 0; what is offered less is not met.
    way : the areas above each offer, the one that is asked first; -1 once the offer stands in the
        area before, shape (offers,) each.
    power_kw, price : of each offer, shape (offers,).
    areas : how many areas there are.

    Examples
    --------
    Cell 1 has two stores, cell 2 one; all areas pass the cheapest on:

    >>> way = [np.zeros(3, int), np.array([1, 1, 2])]
    >>> split = split_down(3.0, way, np.array([1.0, 4.0, 4.0]), np.array([0.1, 0.2, 0.2]), 3)
    >>> split.area_kw.tolist(), split.offer_kw.tolist()
    ([3.0, 2.0, 1.0], [1.0, 1.0, 1.0])
    """
    n_offer = len(power_kw)
    set_point = np.zeros(areas + n_offer)
    top = way[0]
    if not n_offer:
        return Dispatch(set_point[:areas], set_point[areas:])
    set_point[top[0]] = min(need_kw, float(power_kw.sum()))
    here, stores = top, areas + np.arange(n_offer)
    for below in [*way[1:], np.full(n_offer, -1)]:
        on_the_way = here >= 0
        member = np.where(below >= 0, below, stores)
        rows = np.flatnonzero(on_the_way)
        curve = aggregate_offers(here[rows], member[rows], power_kw[rows], price[rows])
        asked = np.zeros(areas)
        asked[here[rows]] = set_point[here[rows]]
        set_point[member[rows]] = split_set_points(asked, curve, areas + n_offer)[member[rows]]
        here = np.where(on_the_way, below, -1)
    return Dispatch(set_point[:areas], np.minimum(set_point[areas:], power_kw))
