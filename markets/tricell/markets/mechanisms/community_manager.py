"""Community manager: the cheapest operation of a community against the retailer, one price inside.

Generators cost ``a x^2 / 2 + b x`` up to a limit, loads are worth ``b x - a x^2 / 2``, and fixed
members have a net. The manager solves::

    min  sum of costs - sum of utilities + p_im imports - p_ex exports
    s.t. sum of injections + imports - exports = 0

The price is the multiplier ``lambda`` of the balance, within ``[p_ex, p_im]``; at it every member
does what is best for itself within its limits: ``x = (lambda - b) / a`` of a generator,
``x = (b - lambda) / a`` of a load. The sum of injections rises with lambda and is linear between
the members' kinks, so a search over the sorted kinks finds it exactly. Where a range of prices
balances the community the price is its middle; members with constant marginal cost at the price
are rationed in proportion, so that as much as possible is exchanged inside. Each member pays
``-lambda`` times its injection, and the manager pays the retailer: imports cost lambda = p_im,
exports earn lambda = p_ex.

``balance_by_messages`` finds the same by exchanging injections, imports and exports for a price
(alternating direction method of multipliers), so that members keep their costs to themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tricell.errors import MarketError
from tricell.markets.mechanism import (
    About,
    Guarantees,
    MarketResult,
    MarketTerms,
    Mechanism,
    uniform_result,
)
from tricell.markets.mechanisms.uniform_price import UniformPrice
from tricell.markets.order_table import ENERGY_RESIDUE_KWH, Orders

ABOUT = About(
    name="community_manager",
    line="a manager runs the community at least cost and settles all members at one price",
    source="Moret, Pinson 2019, Energy collectives",
    guarantees=Guarantees(
        budget_balance="strong",
        individual_rationality=True,
        efficiency=False,
        incentive_compatibility=False,
        note="efficient together with what the community imports and exports",
    ),
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CommunityMembers:
    """Members of a community, arrays of equal length.

    Attributes
    ----------
    slope, intercept : ``a`` in EUR/kWh^2 (0 or more) and ``b`` in EUR/kWh.
    least_kwh, most_kwh : limits of the injection: 0 to its limit for a generator, minus its limit
        to 0 for a load, both minus the net for a fixed member.
    """

    slope: Floats
    intercept: Floats
    least_kwh: Floats
    most_kwh: Floats


@dataclass(frozen=True)
class CommunityOperation:
    """What the manager decided.

    Attributes
    ----------
    injection_kwh : of each member; positive gives.
    price : inside the community, EUR/kWh; None if nobody injects or withdraws.
    imports_kwh, exports_kwh : exchanged with the retailer.
    bill_eur : of each member; positive pays.
    iterations : rounds of messages; 0 if the manager computed it at once.
    converged : False if the messages did not come to an end.
    """

    injection_kwh: Floats
    price: float | None
    imports_kwh: float
    exports_kwh: float
    bill_eur: Floats
    iterations: int = 0
    converged: bool = True


@dataclass(frozen=True)
class CommunityFairness:
    """How evenly a community treats its members; None where it is not defined.

    Attributes
    ----------
    jain : of the energies that members exchange.
    qoe : evenness of unit prices within the retailer's prices.
    min_max : smallest unit price over the largest.
    """

    jain: float | None
    qoe: float | None
    min_max: float | None


def operate_community(
    members: CommunityMembers, import_price: float, export_price: float
) -> CommunityOperation:
    """Operate a community at least cost, exactly.

    Parameters
    ----------
    members : their costs, utilities and limits.
    import_price, export_price : of the retailer, EUR/kWh; infinite if there is none.

    Raises
    ------
    MarketError
        If slopes or limits are impossible, or exporting earns more than importing costs.
    """
    _check(members, import_price, export_price)
    low, high = _balancing_prices(members, import_price, export_price)
    price = _between(low, high)
    injection, left = _operation_at(members, price)
    if not np.isfinite(price) or not injection.any():
        nothing = np.zeros(len(injection))
        return CommunityOperation(nothing, None, 0.0, 0.0, nothing)
    imports = max(-left, 0.0) if price >= import_price else 0.0
    exports = max(left, 0.0) if price <= export_price else 0.0
    return CommunityOperation(injection, price, imports, exports, -price * injection)


def balance_by_messages(
    members: CommunityMembers,
    import_price: float,
    export_price: float,
    *,
    rho: float = 0.05,
    tolerance_kwh: float = 1e-9,
    most_rounds: int = 20_000,
) -> CommunityOperation:
    """Find the same operation by messages: the manager never sees a cost.

    In each round everyone, the manager's imports and exports included, moves to what is best at
    the price plus ``rho/2`` times the square of its distance to its last energy less the mean
    imbalance; the price then follows the mean imbalance.

    Raises
    ------
    MarketError
        As `operate_community`, and if a retailer's price is not finite.
    """
    _check(members, import_price, export_price)
    if not np.isfinite([import_price, export_price]).all():
        raise MarketError("messages need finite prices of the retailer")
    slope = np.append(members.slope, [0.0, 0.0])
    intercept = np.append(members.intercept, [import_price, export_price])
    volume = float(np.maximum(np.abs(members.least_kwh), np.abs(members.most_kwh)).sum())
    least = np.append(members.least_kwh, [0.0, -volume])
    most = np.append(members.most_kwh, [volume, 0.0])
    energy = np.clip(np.zeros(len(slope)), least, most)
    price, rounds, converged = 0.5 * (import_price + export_price), 0, False
    while not converged and rounds < most_rounds:
        rounds += 1
        target = energy - energy.mean()
        moved = np.clip((rho * target + price - intercept) / (slope + rho), least, most)
        imbalance = float(moved.mean())
        price -= rho * imbalance
        change = float(np.abs(moved - energy).max())
        converged = max(change, abs(imbalance) * len(moved)) < tolerance_kwh
        energy = moved
    injection = energy[:-2]
    return CommunityOperation(
        injection_kwh=injection,
        price=price,
        imports_kwh=float(energy[-2]),
        exports_kwh=float(-energy[-1]),
        bill_eur=-price * injection,
        iterations=rounds,
        converged=converged,
    )


def import_shares(operation: CommunityOperation, cap: float = 1.0) -> Floats | None:
    """How many kWh of the imports count as each member's, in proportion to what it withdraws.

    Parameters
    ----------
    operation : of the community.
    cap : largest share of the imports that one member may have, above 0; what it has beyond goes
        to the others in proportion.

    Returns
    -------
    energies in kWh, or None if the cap leaves imports without a member.
    """
    deficit = np.maximum(-operation.injection_kwh, 0.0)
    share = np.zeros(len(deficit))
    if operation.imports_kwh <= 0.0:
        return share
    if cap * np.count_nonzero(deficit) < 1.0 - ENERGY_RESIDUE_KWH:
        return None
    capped = np.zeros(len(deficit), dtype=np.bool_)
    while True:
        free = deficit * ~capped
        rest = 1.0 - cap * np.count_nonzero(capped)
        total = float(free.sum())
        share = np.where(capped, cap, free * (rest / total) if total > 0.0 else 0.0)
        beyond = (share > cap + ENERGY_RESIDUE_KWH) & ~capped
        if not beyond.any():
            return np.asarray(share * operation.imports_kwh)
        capped |= beyond


def community_fairness(
    operation: CommunityOperation, import_price: float, export_price: float
) -> CommunityFairness:
    """How evenly the members exchange energy and pay for it.

    With one price the largest unit price is the smallest possible one, and both measures of prices
    are 1; a fee that differs between members, added to ``bill_eur``, moves them.
    """
    active = np.abs(operation.injection_kwh) > 0.0
    energy = np.abs(operation.injection_kwh)
    if not active.any():
        return CommunityFairness(1.0 if len(energy) else None, None, None)
    unit = -operation.bill_eur[active] / operation.injection_kwh[active]
    spread = import_price - export_price
    return CommunityFairness(
        jain=float(energy.sum() ** 2 / (len(energy) * np.sum(energy**2))),
        qoe=float(1.0 - 2.0 * np.std(unit) / spread) if spread > 0.0 else None,
        min_max=float(unit.min() / unit.max()) if unit.max() > 0.0 else None,
    )


def _wanted(members: CommunityMembers, price: float) -> tuple[Floats, Floats]:
    """Least and most that each member is content to inject at a price."""
    steep = members.slope > 0.0
    away = price - members.intercept
    smooth = away / np.where(steep, members.slope, 1.0)
    least = np.where(steep, smooth, np.where(away > 0.0, np.inf, -np.inf))
    most = np.where(steep, smooth, np.where(away >= 0.0, np.inf, -np.inf))
    return (
        np.clip(least, members.least_kwh, members.most_kwh),
        np.clip(most, members.least_kwh, members.most_kwh),
    )


def _residue(members: CommunityMembers) -> float:
    energy = np.maximum(np.abs(members.least_kwh), np.abs(members.most_kwh)).sum()
    return ENERGY_RESIDUE_KWH * max(1.0, float(energy))


def _balancing_prices(
    members: CommunityMembers, import_price: float, export_price: float
) -> tuple[float, float]:
    """Lowest and highest price, within the retailer's, at which the community can balance."""
    residue = _residue(members)
    kinks = np.concatenate(
        [
            members.intercept + members.slope * members.least_kwh,
            members.intercept + members.slope * members.most_kwh,
        ]
    )
    kinks = np.unique(kinks[(kinks > export_price) & (kinks < import_price)])
    prices = np.concatenate([[export_price], kinks, [import_price]])

    def least(price: float) -> float:
        return float(_wanted(members, price)[0].sum())

    def most(price: float) -> float:
        return float(_wanted(members, price)[1].sum())

    enough = _first(prices, lambda price: most(price) >= -residue)
    too_much = _first(prices, lambda price: least(price) > residue)
    low = import_price if enough == len(prices) else float(prices[enough])
    if 0 < enough < len(prices):
        low = _zero(float(prices[enough - 1]), most(float(prices[enough - 1])), low, least(low))
    if too_much == 0:
        return export_price, export_price
    high = import_price
    if too_much < len(prices):
        top, bottom = float(prices[too_much]), float(prices[too_much - 1])
        high = _zero(bottom, most(bottom), top, least(top), highest=True)
    return low, max(low, high)


def _first(prices: Floats, holds: Callable[[float], bool]) -> int:
    """Position of the first price at which a rising condition holds; their number if none."""
    low, high = 0, len(prices)
    while low < high:
        middle = (low + high) // 2
        if holds(float(prices[middle])):
            high = middle
        else:
            low = middle + 1
    return low


def _zero(
    bottom: float, at_bottom: float, top: float, at_top: float, *, highest: bool = False
) -> float:
    """Where a straight line crosses 0 between two prices; an end if it does not."""
    if highest and at_bottom >= 0.0:
        return bottom
    if at_top <= 0.0 or at_bottom >= 0.0 or not np.isfinite(bottom):
        return top
    return bottom + (top - bottom) * (-at_bottom / (at_top - at_bottom))


def _between(low: float, high: float) -> float:
    """Middle of an interval, or its finite end."""
    if np.isfinite(low) and np.isfinite(high):
        return low + 0.5 * (high - low)
    return low if np.isfinite(low) else high


def _operation_at(members: CommunityMembers, price: float) -> tuple[Floats, float]:
    """Injections at the price, and what they leave over (below 0: what they lack)."""
    least, most = _wanted(members, price)
    idle = np.clip(0.0, least, most)
    surplus = float(idle.sum())
    more, less = most - idle, idle - least
    room_up, room_down = float(more.sum()), float(less.sum())
    # Among those indifferent at the price, as much as possible is exchanged inside.
    up = min(room_up, max(0.0, room_down - surplus))
    down = min(room_down, max(0.0, surplus + up))
    injection = idle.copy()
    if room_up > 0.0:
        injection += more * (up / room_up)
    if room_down > 0.0:
        injection -= less * (down / room_down)
    left = surplus + up - down
    if abs(left) <= _residue(members):
        left = 0.0
    return injection, left


def _check(members: CommunityMembers, import_price: float, export_price: float) -> None:
    if not export_price <= import_price:
        raise MarketError(
            f"exports earn {export_price:g} EUR/kWh and imports cost {import_price:g}; a community "
            "needs an export price that is not above the import price"
        )
    good = (members.slope >= 0.0) & (members.least_kwh <= members.most_kwh)
    if not good.all():
        row = int(np.argmin(good))
        raise MarketError(
            f"member {row}: slope {members.slope[row]:g}, injection {members.least_kwh[row]:g} to "
            f"{members.most_kwh[row]:g} kWh; the slope is 0 or more, limits do not cross"
        )


class CommunityManager(Mechanism):
    """A manager runs the community at least cost, at one price.

    The retailer's prices bound the price inside; what the community would import or export is left
    to the level above, shared in proportion among those who withdraw or inject.
    """

    kind: Literal["community_manager"] = "community_manager"
    """A manager runs the community at least cost, at one price."""
    slope: Annotated[float, Field(ge=0)] = 0.0
    """How marginal cost rises and utility falls, EUR/kWh^2, for orders without a column `slope`."""
    mode: Literal["manager", "competitive"] = "manager"
    """Whether the manager optimises, or runs a call auction among the members."""

    def clear(self, orders: Orders, terms: MarketTerms) -> MarketResult:
        """Clear one market for one slot; see the module."""
        if self.mode == "competitive":
            return UniformPrice().clear(orders, terms)
        buys = orders.side > 0.0
        operation = operate_community(
            CommunityMembers(
                slope=orders.attribute("slope", self.slope),
                intercept=orders.price_eur_per_kwh,
                least_kwh=np.where(buys, -orders.energy_kwh, 0.0),
                most_kwh=np.where(buys, 0.0, orders.energy_kwh),
            ),
            np.inf if np.isnan(terms.retail_price) else terms.retail_price,
            -np.inf if np.isnan(terms.feed_in_price) else terms.feed_in_price,
        )
        energy = np.abs(operation.injection_kwh)
        bought, sold = float(energy[buys].sum()), float(energy[~buys].sum())
        inside = min(bought, sold)
        if inside <= ENERGY_RESIDUE_KWH * max(1.0, bought, sold):
            return uniform_result(orders, np.zeros(len(orders)), None, None)
        accepted = energy * np.where(buys, inside / bought, inside / sold)
        accepted = np.minimum(accepted, orders.energy_kwh)
        return uniform_result(orders, accepted, operation.price, operation.price)
