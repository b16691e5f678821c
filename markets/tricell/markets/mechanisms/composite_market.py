"""Composite market: communities net inside, what is left trades with others at one price.

Inside, a community exchanges at the mid-market rate, the middle of the retailer's prices, or by its
manager. Its residual enters a call auction with independent peers: a deficit bids the retail price
less the fee, a surplus asks the feed-in price. The buyer pays the price and the fee, which goes to
the grid operator. What remains goes to the retailer.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    welfare_eur,
)
from tricell.markets.mechanisms.community_manager import CommunityManager
from tricell.markets.mechanisms.uniform_price import UniformPrice
from tricell.markets.order_table import ENERGY_RESIDUE_KWH, Orders

ABOUT = About(
    name="composite_market",
    line="communities net inside, their residuals trade with independent peers at one price",
    source="Sousa et al. 2019, Peer-to-peer and community-based markets",
    guarantees=Guarantees(
        budget_balance="weak",
        individual_rationality=True,
        efficiency=False,
        incentive_compatibility=False,
        note="fees stay with the operator; without fees the budget is strongly balanced",
    ),
)

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

INDEPENDENT = -1
"""The community of those in none."""


@dataclass(frozen=True)
class CompositeTrade:
    """What communities and independent peers traded.

    Attributes
    ----------
    accepted_kwh : of each community, then of each independent order.
    to_retailer_kwh : what each has left, in the same sequence.
    price : of all, EUR/kWh; None without trade.
    volume_kwh : energy bought.
    fee_eur : what buyers pay to the grid operator.
    """

    accepted_kwh: Floats
    to_retailer_kwh: Floats
    price: float | None
    volume_kwh: float
    fee_eur: float


def trade_residuals(
    names: Sequence[str],
    residual_kwh: Floats,
    independents: Orders,
    *,
    retail_price: float,
    feed_in_price: float,
    fee: float = 0.0,
    k: float = 0.5,
) -> CompositeTrade:
    """Trade what communities could not net inside with independent peers.

    Parameters
    ----------
    names : of the communities.
    residual_kwh : load less generation of each; above 0 buys.
    independents : orders of peers in no community.
    retail_price, feed_in_price, fee : EUR/kWh.
    k : where in the interval of clearing prices the price lies.

    Raises
    ------
    MarketError
        If there are not as many residuals as names.
    """
    if len(names) != len(residual_kwh):
        raise MarketError(
            f"there are {len(names)} communities but {len(residual_kwh)} residuals; give one each"
        )
    count = len(names)
    some = np.flatnonzero(np.abs(residual_kwh) > ENERGY_RESIDUE_KWH)
    residual = residual_kwh[some]
    orders = Orders.of(
        id=[*(names[row] for row in some.tolist()), *independents.id.tolist()],
        side=np.concatenate([np.sign(residual), independents.side]),
        energy_kwh=np.concatenate([np.abs(residual), independents.energy_kwh]),
        price_eur_per_kwh=np.concatenate(
            [
                np.where(residual > 0.0, retail_price - fee, feed_in_price),
                independents.price_eur_per_kwh,
            ]
        ),
        time=np.concatenate([np.zeros(len(some)), independents.time]),
    )
    result = UniformPrice(k=k).clear(orders, MarketTerms(retail_price, feed_in_price))
    accepted = np.zeros(count + len(independents))
    accepted[some] = result.accepted_kwh[: len(some)]
    accepted[count:] = result.accepted_kwh[len(some) :]
    offered = np.concatenate([np.abs(residual_kwh), independents.energy_kwh])
    volume = result.volume_kwh(orders)
    return CompositeTrade(accepted, offered - accepted, result.buy_price, volume, fee * volume)


class CompositeMarket(Mechanism):
    """Communities net inside, their residuals trade with independent peers at one price.

    The column `community` numbers the community of each order; -1, or no column, is none. Buyers
    bid less by the fee, so that with it they stay within their limit.
    """

    kind: Literal["composite_market"] = "composite_market"
    """Communities net inside, their residuals trade with independent peers at one price."""
    inside: Literal["mid_market", "manager"] = "mid_market"
    """How a community nets: at the mid-market rate, or by its manager.

    Without a retailer there is no mid-market rate, and the manager does it.
    """
    fee: Annotated[float, Field(ge=0)] = 0.0
    """What buyers pay to the grid operator for energy from outside, EUR/kWh (0)."""
    k: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Where in the interval of clearing prices the price outside lies (0.5)."""

    def clear(self, orders: Orders, terms: MarketTerms) -> MarketResult:
        """Clear one market for one slot; see the module."""
        accepted, paid = np.zeros(len(orders)), np.zeros(len(orders))
        community = orders.attribute("community", INDEPENDENT)
        for number in np.unique(community[community >= 0]):
            rows = np.flatnonzero(community == number)
            accepted[rows], paid[rows] = self._net(orders.take(rows), terms)
        left = orders.energy_kwh - accepted
        rows = np.flatnonzero(left > ENERGY_RESIDUE_KWH * np.maximum(1.0, orders.energy_kwh))
        outside = self._residual_orders(orders.take(rows).with_energy(left[rows]), terms)
        result = UniformPrice(k=self.k).clear(outside, terms)
        fee = np.where(outside.side > 0.0, self.fee * result.accepted_kwh, 0.0)
        accepted[rows] += result.accepted_kwh
        paid[rows] += result.payment_eur + fee
        return MarketResult(
            accepted_kwh=accepted,
            payment_eur=paid,
            buy_price=None,
            sell_price=None,
            welfare_eur=welfare_eur(orders, accepted),
            operator_surplus_eur=float(paid.sum()),
        )

    def _residual_orders(self, orders: Orders, terms: MarketTerms) -> Orders:
        """Return orders of what is left: no worse than the retailer, buyers less by the fee."""
        limit = orders.price_eur_per_kwh
        return orders.with_price(
            np.where(
                orders.side > 0.0,
                np.fmin(limit, terms.retail_price) - self.fee,
                np.fmax(limit, terms.feed_in_price),
            )
        )

    def _net(self, orders: Orders, terms: MarketTerms) -> tuple[Floats, Floats]:
        """Return accepted energies and payments inside a community."""
        price = 0.5 * (terms.retail_price + terms.feed_in_price)
        if self.inside == "manager" or np.isnan(price):
            result = CommunityManager().clear(orders, terms)
            return result.accepted_kwh, result.payment_eur
        willing = orders.side * (orders.price_eur_per_kwh - price) >= 0.0
        energy = np.where(willing, orders.energy_kwh, 0.0)
        buys = orders.side > 0.0
        bought, sold = float(energy[buys].sum()), float(energy[~buys].sum())
        matched = min(bought, sold)
        if matched <= 0.0:
            return np.zeros(len(orders)), np.zeros(len(orders))
        accepted = energy * np.where(buys, matched / bought, matched / sold)
        return accepted, orders.side * price * accepted
