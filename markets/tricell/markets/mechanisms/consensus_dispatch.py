"""Consensus dispatch: partners agree on bilateral energies and prices by exchanging proposals.

Agent ``n`` exchanges ``s = sum_m p_nm`` at the cost ``a s^2 / 2 + b s``, within its limits;
producers only sell (``p >= 0``), consumers only buy (``p <= 0``, ``b`` is marginal utility). A
term ``gamma_nm p_nm`` is a preference or a network charge for partner ``m``. In each round every
agent proposes, with ``t = (p_nm - p_mn) / 2`` of the proposals before, what is cheapest for it::

    min  a s^2 / 2 + b s + sum_m [gamma_nm p_nm + lambda_nm (t - p_nm) + rho/2 (t - p_nm)^2]

and the price of each link moves, ``lambda_nm <- lambda_nm - rho (p_nm + p_mn) / 2``, until
``sum (p_nm + p_mn)^2`` and ``sum (change of p)^2`` are below the tolerance. This is the alternating
direction method of multipliers; agents show proposals, never their costs.

The subproblem has a closed form. With ``c_m = rho t + lambda_nm - gamma_nm`` a producer's proposals
are ``max(0, c_m - theta) / rho``, where ``theta`` is its marginal cost plus what a limit adds; the
sorted ``c_m`` give ``theta`` as in the projection onto a simplex. Consumers are mirrored. One sort
of a table (agents by links) solves all agents at once.

A message that comes late leaves the link's price as it is, and partners use the last proposal
they received.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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
    Trades,
    paired_result,
)
from tricell.markets.order_table import Orders

ABOUT = About(
    name="consensus_dispatch",
    line="partners exchange proposals until they agree on energies and a price for each pair",
    source="Sorin, Bobo, Pinson 2019, Consensus-based approach with product differentiation",
    guarantees=Guarantees(
        budget_balance="strong",
        individual_rationality=True,
        efficiency=False,
        incentive_compatibility=False,
        note="efficient for costs with the slope and the preferences that agents state",
    ),
)

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

NOT_CONVERGED = "not converged"
"""Flag of a result without trades, since the rounds did not suffice."""
NO_ENERGY_KWH = 1e-6
"""Below this, a link carries nothing and has no price."""


@dataclass(frozen=True)
class DispatchAgents:
    """Agents of a dispatch, arrays of equal length.

    Attributes
    ----------
    slope, intercept : ``a`` in EUR/kWh^2 (0 or more) and ``b`` in EUR/kWh of the cost.
    least_kwh, most_kwh : limits of what the agent injects; consumers inject 0 or less.
    """

    slope: Floats
    intercept: Floats
    least_kwh: Floats
    most_kwh: Floats


@dataclass(frozen=True)
class DispatchLinks:
    """Who may trade with whom, arrays of equal length.

    Attributes
    ----------
    producer, consumer : numbers of the agents; nobody is both, and a pair occurs once.
    producer_gamma, consumer_gamma : what the energy of the link costs each in addition, EUR/kWh,
        times its signed energy: a consumer's dislike is below 0.
    """

    producer: Indices
    consumer: Indices
    producer_gamma: Floats
    consumer_gamma: Floats


@dataclass(frozen=True)
class Rounds:
    """How proposals are exchanged.

    Attributes
    ----------
    rho : how fast prices follow disagreement, EUR/kWh^2.
    tolerance_kwh2 : of both sums of squares.
    most : rounds at most.
    late_share : share of links whose messages come late in a round, at random.
    seed : of what comes late.
    """

    rho: float = 0.02
    tolerance_kwh2: float = 1e-12
    most: int = 50_000
    late_share: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Dispatch:
    """What the partners agreed on.

    Attributes
    ----------
    energy_kwh : of each link.
    price : of each link, EUR/kWh; nan where no energy flows.
    social_cost_eur : cost of all agents, without preferences.
    iterations : rounds.
    converged : whether they agreed; otherwise all energies are 0.
    """

    energy_kwh: Floats
    price: Floats
    social_cost_eur: float
    iterations: int
    converged: bool


def dispatch_by_consensus(
    agents: DispatchAgents, links: DispatchLinks, rounds: Rounds | None = None
) -> Dispatch:
    """Exchange proposals until all partners agree.

    Raises
    ------
    MarketError
        If an agent is producer and consumer, a pair has two links, limits or slopes are impossible,
        or rho is not above 0.
    """
    rounds = Rounds() if rounds is None else rounds
    _check(agents, links, rounds)
    sellers = _Side.of(agents, links.producer, links.producer_gamma, +1.0)
    buyers = _Side.of(agents, links.consumer, links.consumer_gamma, -1.0)
    random = np.random.default_rng(rounds.seed)
    count = len(links.producer)
    sold, bought, price = np.zeros(count), np.zeros(count), np.zeros(count)
    heard_sold, heard_bought = sold, bought
    converged, iteration = count == 0, 0
    while not converged and iteration < rounds.most:
        iteration += 1
        before = sold, bought
        sold = sellers.propose(0.5 * (sold + heard_bought), price, rounds.rho)
        bought = buyers.propose(0.5 * (bought + heard_sold), price, rounds.rho)
        if rounds.late_share > 0.0:
            late = random.random(count) < rounds.late_share
            heard_sold = np.where(late, heard_sold, sold)
            heard_bought = np.where(late, heard_bought, bought)
            price = price - np.where(late, 0.0, 0.5 * rounds.rho * (sold - bought))
        else:
            heard_sold, heard_bought = sold, bought
            price = price - 0.5 * rounds.rho * (sold - bought)
        change = np.sum((sold - before[0]) ** 2) + np.sum((bought - before[1]) ** 2)
        gap = np.sum((sold - bought) ** 2)
        converged = bool(gap < rounds.tolerance_kwh2 and change < rounds.tolerance_kwh2)
    converged = converged and _within_limits(agents, links, 0.5 * (sold + bought), rounds)
    energy = 0.5 * (sold + bought) if converged else np.zeros(count)
    return Dispatch(
        energy_kwh=energy,
        price=np.where(energy > NO_ENERGY_KWH, price, np.nan),
        social_cost_eur=_social_cost(agents, links, energy),
        iterations=iteration,
        converged=converged,
    )


@dataclass(frozen=True)
class _Side:
    """Agents of one side as a table: a row for each, a column for each of its links.

    Consumers are mirrored, so that all proposals here are 0 or more.
    """

    sign: float
    gamma: Floats
    rows: Indices
    columns: Indices
    slope: Floats
    intercept: Floats
    least: Floats
    most: Floats
    table: Floats = field(repr=False)

    @staticmethod
    def of(agents: DispatchAgents, agent: Indices, gamma: Floats, sign: float) -> _Side:
        members, rows, sizes = np.unique(agent, return_inverse=True, return_counts=True)
        first = np.cumsum(sizes) - sizes
        columns = np.empty(len(agent), dtype=np.int64)
        order = np.argsort(rows, kind="stable")
        columns[order] = np.arange(len(agent)) - np.repeat(first, sizes)
        limits = sign * agents.least_kwh[members], sign * agents.most_kwh[members]
        return _Side(
            sign=sign,
            gamma=gamma,
            rows=rows,
            columns=columns,
            slope=agents.slope[members][:, None],
            intercept=sign * agents.intercept[members][:, None],
            least=np.maximum(np.minimum(*limits), 0.0)[:, None],
            most=np.maximum(*limits)[:, None],
            table=np.full((len(members), int(sizes.max(initial=0))), -np.inf),
        )

    def propose(self, middle: Floats, price: Floats, rho: float) -> Floats:
        """Energies that are cheapest for each agent, 0 or more, for all links."""
        table = self.table.copy()
        table[self.rows, self.columns] = rho * middle + self.sign * (price - self.gamma)
        falling = -np.sort(-table, axis=1)
        sums = np.cumsum(np.where(np.isfinite(falling), falling, 0.0), axis=1)
        links = np.arange(1.0, table.shape[1] + 1.0)
        free = self.intercept + self.slope * (sums - links * self.intercept) / (
            rho + links * self.slope
        )
        theta = _last(falling > free, free, self.intercept)
        energy = np.maximum(table - theta, 0.0).sum(axis=1, keepdims=True) / rho
        limited = np.clip(energy, self.least, self.most)
        bound = limited != energy
        if bound.any():
            fixed = (sums - rho * limited) / links
            theta = np.where(bound, _last(falling > fixed, fixed, falling[:, :1]), theta)
        return np.asarray(np.maximum(table - theta, 0.0)[self.rows, self.columns] / rho)


def _last(active: NDArray[np.bool_], value: Floats, none: Floats) -> Floats:
    """Value at the last active column of each row, the given one where there is none."""
    number = np.count_nonzero(active, axis=1)[:, None]
    at = np.take_along_axis(value, np.maximum(number - 1, 0), axis=1)
    return np.asarray(np.where(number > 0, at, none))


def _injection(agents: DispatchAgents, links: DispatchLinks, energy: Floats) -> Floats:
    count = len(agents.slope)
    sold = np.bincount(links.producer, energy, count)
    return np.asarray(sold - np.bincount(links.consumer, energy, count))


def _within_limits(
    agents: DispatchAgents, links: DispatchLinks, energy: Floats, rounds: Rounds
) -> bool:
    """Whether every agent can do this; one with a least energy and no partner cannot."""
    injection = _injection(agents, links, energy)
    room = NO_ENERGY_KWH + np.sqrt(rounds.tolerance_kwh2 * len(energy))
    fits = (injection >= agents.least_kwh - room) & (injection <= agents.most_kwh + room)
    return bool(fits.all())


def _social_cost(agents: DispatchAgents, links: DispatchLinks, energy: Floats) -> float:
    injection = _injection(agents, links, energy)
    return float(np.sum(0.5 * agents.slope * injection**2 + agents.intercept * injection))


def _check(agents: DispatchAgents, links: DispatchLinks, rounds: Rounds) -> None:
    if not rounds.rho > 0.0:
        raise MarketError(f"rho is {rounds.rho:g} EUR/kWh^2; it must be above 0")
    both = np.intersect1d(links.producer, links.consumer)
    if len(both):
        raise MarketError(
            f"agent {both[0]} is producer of one link and consumer of another; split it into two"
        )
    pairs = links.producer * len(agents.slope) + links.consumer
    unique, first = np.unique(pairs, return_index=True)
    if len(unique) != len(pairs):
        row = int(np.setdiff1d(np.arange(len(pairs)), first)[0])
        raise MarketError(
            f"link {row + 1} joins agents {links.producer[row]} and {links.consumer[row]}, as one "
            "before it does; give a pair one link"
        )
    wrong = np.flatnonzero(~((agents.slope >= 0.0) & (agents.least_kwh <= agents.most_kwh)))
    if len(wrong):
        row = int(wrong[0])
        raise MarketError(
            f"agent {row}: slope {agents.slope[row]:g}, limits {agents.least_kwh[row]:g} to "
            f"{agents.most_kwh[row]:g} kWh; the slope is 0 or more, limits do not cross"
        )


class ConsensusDispatch(Mechanism):
    """Partners exchange proposals until they agree.

    An order is an agent whose cost starts at its price and gets dearer by the slope, so that a
    buyer's last kWh is worth less than its first. If they do not agree, nothing is traded.
    100 orders of about 1 kWh take 0.05 to 0.3 s, 1000 orders more than a minute.
    """

    kind: Literal["consensus_dispatch"] = "consensus_dispatch"
    """Partners exchange proposals until they agree."""
    slope: Annotated[float, Field(ge=0)] = 0.02
    """How marginal cost rises and utility falls, EUR/kWh^2, for orders without a column `slope`."""
    distance_weight: Annotated[float, Field(ge=0)] = 0.0
    """How much a buyer dislikes a seller, EUR/kWh for each step between their nodes (0)."""
    rho: Annotated[float, Field(gt=0)] = 0.5
    """How fast prices follow disagreement, EUR/kWh^2 (0.5, for orders of about 1 kWh)."""
    tolerance_kwh2: Annotated[float, Field(gt=0)] = 1e-8
    """Of the sums of squares of disagreement and of change (1e-8 kWh^2)."""
    max_rounds: Annotated[int, Field(ge=1)] = 5000
    """Rounds at most (5000)."""
    late_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of messages that come late in a round (0)."""

    def clear(self, orders: Orders, terms: MarketTerms) -> MarketResult:
        """Clear one market for one slot; see the module."""
        limit = orders.price_eur_per_kwh
        sells, buys = orders.sells, orders.buys
        sell, buy = np.nonzero(limit[sells][:, None] < limit[buys])
        sell, buy = sells[sell], buys[buy]
        away = np.abs(orders.node[sell] - orders.node[buy])
        result = dispatch_by_consensus(
            DispatchAgents(
                slope=orders.attribute("slope", self.slope),
                intercept=limit,
                least_kwh=np.where(orders.side > 0.0, -orders.energy_kwh, 0.0),
                most_kwh=np.where(orders.side > 0.0, 0.0, orders.energy_kwh),
            ),
            DispatchLinks(
                sell, buy, np.zeros(len(sell)), -self.distance_weight * away.astype(float)
            ),
            Rounds(self.rho, self.tolerance_kwh2, self.max_rounds, self.late_share, terms.seed),
        )
        flags = frozenset[str]() if result.converged else frozenset({NOT_CONVERGED})
        trades = _trades(orders, sell, buy, result)
        return paired_result(orders, trades, iterations=result.iterations, flags=flags)


def _trades(orders: Orders, sell: Indices, buy: Indices, result: Dispatch) -> Trades:
    """Trades of a dispatch, within the limits of the orders to the last digit."""
    used = np.flatnonzero(result.energy_kwh > NO_ENERGY_KWH)
    sell, buy, energy = sell[used], buy[used], result.energy_kwh[used]
    for side in (sell, buy):
        total = np.bincount(side, energy, len(orders))
        room = np.minimum(orders.energy_kwh / np.maximum(total, orders.energy_kwh), 1.0)
        energy = energy * room[side]
    limit = orders.price_eur_per_kwh
    price = np.clip(result.price[used], limit[sell], limit[buy])
    return Trades(buy=buy, sell=sell, energy_kwh=energy, buy_price=price, sell_price=price)
