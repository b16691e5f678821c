"""Bilateral contract network: prices of single lots rise until nobody wants what he cannot get.

A contract is one lot of a seller for a buyer. Each has a price at which its buyer may buy and one
at which its seller may sell; all start at the same price. In a round, at the same time,

* a buyer takes its cheapest contracts (price plus fee, then name) while its k-th value is at least
  the cost of the k-th;
* a seller offers its dearest contracts (then name) while the price of the k-th is at least its
  k-th marginal cost.

The selling price of each contract that its buyer wants and its seller does not rises by a tick if
the buying price is above it; otherwise the buying price rises by a tick. When none is left, those
wanted by both are agreed: the buyer pays the selling price, and the fee to the grid operator.
Prices only rise, in whole ticks above the start, so the end is reached; it is stable within a tick.

A round costs two sorts of all contracts, and there are about two rounds for each tick between the
start and the final prices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from tricell.errors import MarketError
from tricell.markets.mechanism import (
    About,
    Guarantees,
    MarketResult,
    MarketTerms,
    Mechanism,
    Trades,
    paired_result,
)
from tricell.markets.order_table import Orders

ABOUT = About(
    name="bilateral_contract_network",
    line="lots between pairs, each with its own price, which rises until all choices agree",
    source="Morstyn, Teytelboym, McCulloch 2019, Bilateral contract networks",
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
Flags = NDArray[np.bool_]

SAME_PRICE_DIGITS = 6
"""Digits of a tick behind which two prices are the same."""


@dataclass(frozen=True)
class Contracts:
    """Possible contracts of one lot each, arrays of equal length; names decide ties.

    Attributes
    ----------
    seller, buyer : numbers of the agents.
    fee : of the grid operator for the lot, EUR/kWh.
    rank : position by name; unique.
    """

    seller: Indices
    buyer: Indices
    fee: Floats
    rank: Indices

    def __len__(self) -> int:
        return len(self.seller)

    @staticmethod
    def of(
        names: Sequence[str], seller: ArrayLike, buyer: ArrayLike, fee: ArrayLike | None = None
    ) -> Contracts:
        """Make contracts from columns.

        Raises
        ------
        MarketError
            If columns differ in length, or a name occurs twice.
        """
        count = len(names)
        sellers = np.asarray(seller, dtype=np.int64).reshape(-1)
        buyers = np.asarray(buyer, dtype=np.int64).reshape(-1)
        fees = np.asarray(np.zeros(count) if fee is None else fee, dtype=np.float64)
        for name, length in (("seller", len(sellers)), ("buyer", len(buyers)), ("fee", len(fees))):
            if length != count:
                raise MarketError(
                    f"the contracts have {count} names but {length} entries of {name!r}; "
                    "give one for each"
                )
        order = np.argsort(np.asarray(names, dtype=np.str_), kind="stable")
        ordered = [names[row] for row in order]
        for first, second in pairwise(ordered):
            if first == second:
                raise MarketError(f"two contracts are named {first!r}; give each its own name")
        rank = np.empty(count, dtype=np.int64)
        rank[order] = np.arange(count)
        return Contracts(sellers, buyers, fees, rank)


@dataclass(frozen=True)
class AgreedContracts:
    """What a network of contracts came to.

    Attributes
    ----------
    agreed : which contracts both sides want.
    price : what the seller gets in each, EUR/kWh.
    iterations : rounds in which a price rose.
    """

    agreed: Flags
    price: Floats
    iterations: int


def agree_contracts(
    contracts: Contracts,
    *,
    values: Sequence[Sequence[float]],
    costs: Sequence[Sequence[float]],
    start: float,
    tick: float,
) -> AgreedContracts:
    """Let the prices rise until buyers and sellers want the same contracts.

    Parameters
    ----------
    contracts : possible contracts.
    values : for each buyer, the value of its first, second, ... lot, EUR/kWh.
    costs : for each seller, the cost of its first, second, ... lot, EUR/kWh.
    start : price at which all begin, EUR/kWh.
    tick : step of prices, EUR/kWh, above 0.

    Raises
    ------
    MarketError
        If the tick is not above 0, or a contract names an agent that is not there.
    """
    if not tick > 0.0:
        raise MarketError(f"the tick is {tick:g} EUR/kWh; it must be above 0")
    _check_agents("buyer", contracts.buyer, len(values))
    _check_agents("seller", contracts.seller, len(costs))
    worth = _in_ticks(values, start, tick, -np.inf)
    burden = _in_ticks(costs, start, tick, np.inf)
    fee = np.round(contracts.fee / tick, SAME_PRICE_DIGITS)
    buying = np.zeros(len(contracts), dtype=np.int64)
    selling = np.zeros(len(contracts), dtype=np.int64)
    iterations = 0
    while True:
        wanted = _chosen(contracts.buyer, buying + fee, contracts.rank, worth)
        offered = _chosen(contracts.seller, -selling.astype(float), contracts.rank, -burden)
        unmet = wanted & ~offered
        if not unmet.any():
            break
        follow = buying > selling
        selling += unmet & follow
        buying += unmet & ~follow
        iterations += 1
    return AgreedContracts(wanted, start + tick * selling.astype(np.float64), iterations)


def forward_settlement(
    *,
    forward_kwh: float,
    forward_price: float,
    actual_kwh: float,
    real_time_kwh: float,
    real_time_price: float,
    retail_price: float,
    feed_in_price: float,
) -> tuple[float, float, float]:
    """Settle a forward contract: its deviation first in real time, the rest at the retailer.

    Parameters
    ----------
    forward_kwh, forward_price : contract of the day before; positive buys.
    actual_kwh : metered; positive buys.
    real_time_kwh, real_time_price : largest amount of the real-time contract, in the direction of
        the deviation, and its price, EUR/kWh.
    retail_price, feed_in_price : of the retailer, EUR/kWh.

    Returns
    -------
    bill in EUR (positive pays), energy of the real-time contract and rest in kWh, both with the
    sign of the deviation.
    """
    deviation = actual_kwh - forward_kwh
    in_real_time = float(np.copysign(min(abs(deviation), abs(real_time_kwh)), deviation))
    rest = deviation - in_real_time
    outside = retail_price if rest > 0.0 else feed_in_price
    bill = forward_kwh * forward_price + in_real_time * real_time_price + rest * outside
    return bill, in_real_time, rest


def _check_agents(role: str, agents: Indices, count: int) -> None:
    wrong = np.flatnonzero((agents < 0) | (agents >= count))
    if len(wrong):
        row = int(wrong[0])
        raise MarketError(
            f"contract {row + 1} names {role} {agents[row]}; there are {count}, counted from 0"
        )


def _in_ticks(lots: Sequence[Sequence[float]], start: float, tick: float, none: float) -> Floats:
    """Values of lots as ticks above the start, a row for each agent, `none` behind its last."""
    width = max((len(each) for each in lots), default=0) + 1
    table = np.full((len(lots), width), none)
    for row, each in enumerate(lots):
        table[row, : len(each)] = np.round((np.asarray(each) - start) / tick, SAME_PRICE_DIGITS)
    return table


def _chosen(agent: Indices, cost: Floats, rank: Indices, worth: Floats) -> Flags:
    """Which contracts the agents take: the cheapest, while the k-th worth is at least the cost."""
    chosen = np.zeros(len(agent), dtype=np.bool_)
    if not len(agent):
        return chosen
    order = np.lexsort((rank, cost, agent))
    owner = agent[order]
    first = np.flatnonzero(np.concatenate([[True], owner[1:] != owner[:-1]]))
    sizes = np.diff(np.append(first, len(owner)))
    place = np.arange(len(owner)) - np.repeat(first, sizes)
    last_column = worth.shape[1] - 1
    too_dear = cost[order] > worth[owner, np.minimum(place, last_column)]
    stop = np.minimum.reduceat(np.where(too_dear, place, len(owner)), first)
    chosen[order] = place < np.repeat(stop, sizes)
    return chosen


class BilateralContractNetwork(Mechanism):
    """Lots between pairs of neighbours, each with its own price.

    The energy of an order that is no whole lot stays untraded. 100 orders with the defaults and
    about 1 kWh each take about 0.2 s, 1000 orders 4 s; a fifth of the tick takes five times that.
    """

    kind: Literal["bilateral_contract_network"] = "bilateral_contract_network"
    """Lots between pairs of neighbours, each with its own price."""
    lot_kwh: Annotated[float, Field(gt=0)] = 0.1
    """Energy of one contract (0.1 kWh)."""
    tick: Annotated[float, Field(gt=0)] = 0.005
    """Step of prices (0.005 EUR/kWh); half of it takes twice the rounds."""
    partners: Annotated[int, Field(ge=1)] = 5
    """Sellers that each buyer has contracts with, those at the nearest nodes (5)."""
    lots_per_pair: Annotated[int, Field(ge=1)] = 10
    """Most contracts of a pair (10)."""
    fee: Annotated[float, Field(ge=0)] = 0.0
    """What the buyer pays to the grid operator on top, EUR/kWh (0)."""
    start_price: float | None = None
    """Price at which all contracts begin, EUR/kWh; none: the lowest price of a seller."""

    def clear(self, orders: Orders, terms: MarketTerms) -> MarketResult:
        """Clear one market for one slot; see the module."""
        lots = np.floor(orders.energy_kwh / self.lot_kwh + 1e-9).astype(np.int64)
        sequence = np.argsort(orders.priority)
        sequence = sequence[lots[sequence] > 0]
        buys, sells = (sequence[orders.side[sequence] * way > 0.0] for way in (1.0, -1.0))
        if not len(buys) or not len(sells):
            return paired_result(orders, _no_trades())
        pair_buy, pair_sell = self._pairs(orders, buys, sells)
        number = np.minimum(lots[buys[pair_buy]], lots[sells[pair_sell]])
        number = np.minimum(number, self.lots_per_pair)
        buyer, seller = np.repeat(pair_buy, number), np.repeat(pair_sell, number)
        limit = orders.price_eur_per_kwh
        result = agree_contracts(
            Contracts(seller, buyer, np.full(len(buyer), self.fee), np.arange(len(buyer))),
            values=[[limit[row]] * lots[row] for row in buys],
            costs=[[limit[row]] * lots[row] for row in sells],
            start=float(limit[sells].min()) if self.start_price is None else self.start_price,
            tick=self.tick,
        )
        agreed = result.agreed
        price = result.price[agreed]
        trades = Trades(
            buy=buys[buyer[agreed]],
            sell=sells[seller[agreed]],
            energy_kwh=np.full(int(agreed.sum()), self.lot_kwh),
            buy_price=price + self.fee,
            sell_price=price,
        )
        return paired_result(orders, trades, iterations=result.iterations)

    def _pairs(self, orders: Orders, buys: Indices, sells: Indices) -> tuple[Indices, Indices]:
        """Positions of buyers and of their nearest sellers; without nodes, those that follow."""
        away = np.abs(orders.node[buys][:, None] - orders.node[sells]).astype(float)
        follows = (np.arange(len(sells)) - np.arange(len(buys))[:, None]) % len(sells)
        near = np.lexsort((follows, away), axis=1)[:, : self.partners]
        return np.repeat(np.arange(len(buys)), near.shape[1]), near.reshape(-1)


def _no_trades() -> Trades:
    rows, numbers = np.zeros(0, dtype=np.int64), np.zeros(0)
    return Trades(rows, rows, numbers, numbers, numbers)
