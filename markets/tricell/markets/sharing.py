"""What the sharing rules have in common: one local price for the energy that members share.

Members submit metered net energy only; two prices are announced afterwards. With demand D, supply
S, shared energy ``T = min(D, S)``, local price ``pi``, retail price r and feed-in price f::

    p_buy = (pi T + r (D - T)) / D        p_sell = (pi T + f (S - T)) / S

Members together pay exactly what the community pays the retailer, ``r max(D - S, 0) - f max(S - D,
0)``. A rule is a function that gives ``pi``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tricell.errors import MarketError
from tricell.markets.mechanism import MarketResult, MarketTerms, Mechanism, uniform_result
from tricell.markets.order_table import ENERGY_RESIDUE_KWH, Orders

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

NO_FLAGS: frozenset[str] = frozenset()


@dataclass(frozen=True)
class LocalPrice:
    """Price of the shared energy.

    Attributes
    ----------
    eur_per_kwh : what a buyer pays and a seller gets for it.
    flags : what a reader should know, such as "fallback".
    """

    eur_per_kwh: float
    flags: frozenset[str] = NO_FLAGS


LocalPriceRule = Callable[[float, float, float, float], LocalPrice]
"""From demand, supply (both above 0, kWh), retail and feed-in price (EUR/kWh)."""


@dataclass(frozen=True)
class SharingResult:
    """What the members of a community pay for one slot.

    Attributes
    ----------
    bill_eur : per member; positive pays.
    buy_price, sell_price : EUR/kWh; None for a side that is absent.
    shared_kwh : energy that members share.
    retailer_net_eur : what the community pays the retailer.
    imbalance_eur : bills less what the retailer gets; rounding only.
    supply_demand_ratio : supply over demand; None without demand.
    flags : what a reader should know, such as "fallback".
    """

    bill_eur: Floats
    buy_price: float | None
    sell_price: float | None
    shared_kwh: float
    retailer_net_eur: float
    imbalance_eur: float
    supply_demand_ratio: float | None
    flags: frozenset[str] = NO_FLAGS


def share(
    net_kwh: ArrayLike, retail_price: float, feed_in_price: float, rule: LocalPriceRule
) -> SharingResult:
    """Settle the metered net energies of a community for one slot.

    Parameters
    ----------
    net_kwh : shape (members,), positive consumes.
    retail_price, feed_in_price : EUR/kWh.
    rule : gives the local price where there is demand and supply.

    Raises
    ------
    MarketError
        Naming the member whose net energy, or the price, that is no finite number.
    """
    net = _checked_net(net_kwh)
    _require_prices(retail_price, feed_in_price)
    demand = float(np.maximum(net, 0.0).sum())
    supply = float(np.maximum(-net, 0.0).sum())
    shared, unmet, unsold = _shared(demand, supply)
    local = LocalPrice(0.0)
    if shared > 0.0:
        local = rule(demand, supply, retail_price, feed_in_price)
    paid_inside = local.eur_per_kwh * shared
    buy = (paid_inside + retail_price * unmet) / demand if demand > 0.0 else None
    sell = (paid_inside + feed_in_price * unsold) / supply if supply > 0.0 else None
    price = np.where(net > 0.0, 0.0 if buy is None else buy, 0.0 if sell is None else sell)
    bill = price * net
    retailer_net = retail_price * unmet - feed_in_price * unsold
    return SharingResult(
        bill_eur=bill,
        buy_price=buy,
        sell_price=sell,
        shared_kwh=shared,
        retailer_net_eur=retailer_net,
        imbalance_eur=float(bill.sum()) - retailer_net,
        supply_demand_ratio=supply / demand if demand > 0.0 else None,
        flags=local.flags,
    )


def _checked_net(net_kwh: ArrayLike) -> Floats:
    net = np.asarray(net_kwh, dtype=np.float64).reshape(-1)
    finite = np.isfinite(net)
    if not finite.all():
        member = int(np.argmin(finite))
        raise MarketError(
            f"member {member}: net_kwh is {net[member]:g}; allowed is a finite number of kWh"
        )
    return net


def _require_prices(retail_price: float, feed_in_price: float) -> None:
    for name, price in (("retail_price", retail_price), ("feed_in_price", feed_in_price)):
        if not isfinite(price):
            raise MarketError(
                f"{name} is {price:g}; a sharing rule needs a finite price in EUR/kWh"
            )


def _shared(demand: float, supply: float) -> tuple[float, float, float]:
    """Return shared energy, demand left to the retailer and supply left to it."""
    shared = min(demand, supply)
    if abs(demand - supply) <= ENERGY_RESIDUE_KWH * max(demand, supply):
        return shared, 0.0, 0.0
    return shared, demand - shared, supply - shared


class SharingRule(Mechanism):
    """Market for a slot that shares, at one local price, what flows in any case.

    Takes part who would otherwise deal with the retailer: a buy of at least the retail price and
    a sell of at most the feed-in price (or 0, if that is higher). Where a fee lies on the level,
    orders carry lower prices; a boolean attribute ``firm`` then says which buys take part, and
    adds sells. The rule sees as outside prices the lowest price among these buys and the highest
    among these sells if they leave less room than the retailer's, so that a fee is never paid for
    nothing. Both sides are served in proportion; the rest is not accepted.
    """

    @abstractmethod
    def local_price(
        self, demand_kwh: float, supply_kwh: float, retail_price: float, feed_in_price: float
    ) -> LocalPrice:
        """Price of the shared energy, where there is demand and supply."""

    def clear(self, orders: Orders, terms: MarketTerms) -> MarketResult:
        """Clear one market for one slot; see the class."""
        accepted = np.zeros(len(orders))
        buys, sells = firm_orders(orders, terms)
        if not len(buys) or not len(sells):
            return uniform_result(orders, accepted, None, None)
        price = orders.price_eur_per_kwh
        outside_buy = min(terms.retail_price, float(price[buys].min()))
        outside_sell = max(terms.feed_in_price, float(price[sells].max()))
        if outside_buy < outside_sell:
            return uniform_result(orders, accepted, None, None)
        demand = float(orders.energy_kwh[buys].sum())
        supply = float(orders.energy_kwh[sells].sum())
        shared, unmet, unsold = _shared(demand, supply)
        accepted[buys] = orders.energy_kwh[buys] * (shared / demand if unmet > 0.0 else 1.0)
        accepted[sells] = orders.energy_kwh[sells] * (shared / supply if unsold > 0.0 else 1.0)
        local = self.local_price(demand, supply, outside_buy, outside_sell)
        pi = local.eur_per_kwh
        return uniform_result(orders, accepted, pi, pi, flags=local.flags)


def firm_orders(orders: Orders, terms: MarketTerms) -> tuple[Indices, Indices]:
    """Rows of the buys and of the sells that flow in any case; see `SharingRule`."""
    _require_prices(terms.retail_price, terms.feed_in_price)
    price, rounding = orders.price_eur_per_kwh, 1e-12
    buys = price >= terms.retail_price - rounding
    sells = price <= max(terms.feed_in_price, 0.0) + rounding
    if "firm" in orders.attributes:
        buys = np.asarray(orders.attributes["firm"], dtype=np.bool_)
        sells = sells | buys
    return orders.buys[buys[orders.buys]], orders.sells[sells[orders.sells]]


@dataclass(frozen=True)
class ResponseResult:
    """Where prices and the members' reaction to them came to rest.

    Attributes
    ----------
    net_kwh : shape (slots, members).
    slots : settlement of each slot.
    rounds : iterations done.
    flags : "last defence" if prices did not settle and the cheapest iterate was kept.
    """

    net_kwh: Floats
    slots: tuple[SharingResult, ...]
    rounds: int
    flags: frozenset[str] = field(default_factory=frozenset)


def share_with_response(
    net_kwh: ArrayLike,
    retail_price: ArrayLike,
    feed_in_price: ArrayLike,
    rule: LocalPriceRule,
    respond: Callable[[Floats, Floats], Floats],
    *,
    step: float = 0.5,
    tolerance: float = 1e-6,
    max_rounds: int = 100,
) -> ResponseResult:
    """Iterate prices and demand response, ``x <- x + step (x* - x)``, until prices stay.

    Parameters
    ----------
    net_kwh : shape (slots, members), where members start.
    retail_price, feed_in_price : shape (slots,) or one number, EUR/kWh.
    rule : gives the local price of a slot.
    respond : from buy and sell price per slot to the net energies ``x*`` that members would
        choose, shape (slots, members). An absent side sees the retailer's price.
    step : share of the way to ``x*`` that is gone each round, in (0, 1].
    tolerance : largest change of a price at which iteration ends, EUR/kWh.
    max_rounds : after these the iterate that costs the community least is kept, and flagged.
    """
    net = np.atleast_2d(np.asarray(net_kwh, dtype=np.float64))
    retail = np.broadcast_to(np.asarray(retail_price, dtype=np.float64), len(net))
    feed_in = np.broadcast_to(np.asarray(feed_in_price, dtype=np.float64), len(net))
    if not 0.0 < step <= 1.0 or max_rounds < 1:
        raise MarketError(
            f"step is {step:g} and max_rounds {max_rounds}; allowed are a step in (0, 1] and at "
            "least one round"
        )

    def settle(net: Floats) -> tuple[SharingResult, ...]:
        return tuple(
            share(row, float(r), float(f), rule)
            for row, r, f in zip(net, retail, feed_in, strict=True)
        )

    slots = settle(net)
    best = (_cost(slots), net, slots)
    prices = _announced(slots, retail, feed_in)
    for done in range(1, max_rounds + 1):
        net = net + step * (respond(prices[0], prices[1]) - net)
        slots = settle(net)
        best = min(best, (_cost(slots), net, slots), key=lambda each: each[0])
        before, prices = prices, _announced(slots, retail, feed_in)
        if np.max(np.abs(prices - before), initial=0.0) < tolerance:
            return ResponseResult(net, slots, done)
    return ResponseResult(best[1], best[2], max_rounds, frozenset({"last defence"}))


def _cost(slots: tuple[SharingResult, ...]) -> float:
    return sum(slot.retailer_net_eur for slot in slots)


def _announced(slots: tuple[SharingResult, ...], retail: Floats, feed_in: Floats) -> Floats:
    """Buy and sell price per slot, shape (2, slots)."""
    buy = [r if s.buy_price is None else s.buy_price for s, r in zip(slots, retail, strict=True)]
    sell = [
        f if s.sell_price is None else s.sell_price for s, f in zip(slots, feed_in, strict=True)
    ]
    return np.array([buy, sell], dtype=np.float64)
