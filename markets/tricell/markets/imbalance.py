"""Imbalance: what it costs to consume or generate other than contracted.

Of agent n with metered energy ``a_n``, contracted energy ``c_n`` and contract price ``p``::

    d_n    = a_n - c_n                                     deviation; above 0 takes too much
    bill_n = p c_n + cost_n

    dual      cost_n = retail d_n if d_n > 0, else feed_in d_n
    single    cost_n = imbalance_price d_n
    ucs       cost_n = p d_n + share of C among those who deviate the way D = sum d_n points
              C = (retail - p) D if D > 0, else (p - feed_in) |D|;   all shares are equal

The balancing party of an area collects the costs and passes on what it pays itself. At the top that
is what the retailer gets for the net deviation, ``retail D`` or ``feed_in D``. What it keeps is

    dual      (retail - feed_in) x energy that deviations cancelled, never negative if the feed-in
              price is at most the retail price
    single    sum of costs less what the retailer gets; of either sign
    ucs       0; deviations that cancel cost their agents nothing beyond ``p``

In a tree of areas deviations net inside the microgrid first, then in the cell, then in the area of
all cells. `net_by_level` applies the same rule at every level: an area's net deviation is to the
area above what an agent's deviation is to its own area. So an area pays the area above as an agent
pays its area, and each balancing party keeps what netting gains at its own level. Under ``ucs``
contract prices may differ from area to area; then a balancing party also keeps, or bears, the
difference of prices on what its area passes on.

Sources: Madhusudan, Zobiri, Mustafa 2022, Billing models for peer-to-peer electricity trading
markets with imperfect bid-offer fulfillment (universal cost split); two-price and one-price
imbalance settlement as in European balancing markets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tricell.errors import MarketError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Bools = NDArray[np.bool_]

DEVIATION_TOLERANCE_KWH = 1e-9
"""Deviations up to this size count as none where the rule asks who deviates."""


class ImbalanceScheme(StrEnum):
    """How deviations are priced; see the module."""

    DUAL = "dual"
    SINGLE = "single"
    UCS = "ucs"


@dataclass(frozen=True)
class ImbalancePrices:
    """Prices of deviations, EUR/kWh, each a number or one per slot, shape (...,).

    Attributes
    ----------
    retail, feed_in : what the retailer takes and gives.
    contract : price of the contracted energy; scheme ``ucs`` needs it.
    imbalance : price of scheme ``single``.
    """

    retail: ArrayLike
    feed_in: ArrayLike
    contract: ArrayLike | None = None
    imbalance: ArrayLike | None = None


@dataclass(frozen=True)
class ImbalanceTerms:
    """How the deviations of a run are settled.

    Attributes
    ----------
    scheme : see the module.
    price : of scheme ``single``, EUR/kWh in every slot; None for the others.
    """

    scheme: ImbalanceScheme
    price: Floats | None = None

    def part(self, first: int, count: int) -> ImbalanceTerms:
        """Return the terms of some consecutive slots."""
        price = None if self.price is None else self.price[first : first + count]
        return replace(self, price=price)


@dataclass(frozen=True)
class DeviationCosts:
    """What the deviations of one area cost; shapes (..., N) and (...,).

    Attributes
    ----------
    cost_eur : of every agent, shape (..., N); positive pays.
    retailer_eur : what the retailer gets for the net deviation, shape (...,).
    kept_eur : what the balancing party keeps, shape (...,).
    """

    cost_eur: Floats
    retailer_eur: Floats
    kept_eur: Floats


@dataclass(frozen=True)
class ImbalanceSettlement:
    """Bills of the agents of one area, contracts and deviations; shapes (..., N) and (...,).

    Attributes
    ----------
    deviation_kwh : metered less contracted energy, shape (..., N).
    bill_eur : shape (..., N); positive pays.
    retailer_eur : what the retailer gets for the net deviation, shape (...,).
    balance_eur : bills less what the retailer gets, shape (...,); what the balancing party keeps
        if the contracts balance.
    """

    deviation_kwh: Floats
    bill_eur: Floats
    retailer_eur: Floats
    balance_eur: Floats


def settle_imbalance(
    actual_kwh: ArrayLike,
    contracted_kwh: ArrayLike,
    prices: ImbalancePrices,
    scheme: ImbalanceScheme | str,
) -> ImbalanceSettlement:
    """Settle contracts and deviations of the agents of one area.

    Without a contract price, or in slots where it is NaN, nothing was traded, and all is settled
    at the retailer's prices, as under ``dual``.

    Parameters
    ----------
    actual_kwh, contracted_kwh : shape (..., N), positive consumes.
    prices : numbers, or one per slot.
    scheme : ``dual``, ``single`` or ``ucs``.

    Raises
    ------
    MarketError
        Naming the agent or price that is not finite, the price that the scheme misses, or energy
        that is contracted without a price.

    Examples
    --------
    >>> prices = ImbalancePrices(retail=0.30, feed_in=0.08, contract=0.19)
    >>> settled = settle_imbalance([-2.5, 2.3, 0.9], [-3.0, 2.0, 1.0], prices, "ucs")
    >>> settled.bill_eur.round(6).tolist()
    [-0.4365, 0.4755, 0.171]
    """
    actual = _energies("actual_kwh", actual_kwh)
    contracted = _energies("contracted_kwh", contracted_kwh)
    deviation = actual - contracted
    price = np.asarray(np.nan if prices.contract is None else prices.contract, dtype=np.float64)
    traded = ~np.isnan(price)
    if (contracted.any(axis=-1) & ~traded).any():
        raise MarketError(
            "imbalance: energy is contracted, but there is no contract price; state it, or "
            "contract 0 kWh where nothing was traded"
        )
    # any price will do for the slots without trade: their costs are replaced
    filled = replace(prices, contract=np.where(traded, price, 0.0))
    stated = _scheme(scheme)
    applied = stated if traded.any() else ImbalanceScheme.DUAL
    costs = price_deviations(deviation, filled, applied)
    alone = price_deviations(deviation, filled, ImbalanceScheme.DUAL)
    cost = np.where(traded[..., None], costs.cost_eur, alone.cost_eur)
    bill = np.where(traded, price, 0.0)[..., None] * contracted + cost
    return ImbalanceSettlement(
        deviation, bill, costs.retailer_eur, bill.sum(axis=-1) - costs.retailer_eur
    )


def price_deviations(
    deviation_kwh: ArrayLike, prices: ImbalancePrices, scheme: ImbalanceScheme | str
) -> DeviationCosts:
    """Price the deviations of the agents of one area; contracts are settled elsewhere.

    Parameters
    ----------
    deviation_kwh : shape (..., N).
    prices, scheme : as in `settle_imbalance`.

    Raises
    ------
    MarketError
        Naming the agent or price that is not finite, or the price that the scheme misses.
    """
    deviation = _energies("deviation_kwh", deviation_kwh)
    net = deviation.sum(axis=-1)
    retailer = _two_prices(net, prices)
    match _scheme(scheme):
        case ImbalanceScheme.DUAL:
            cost = _two_prices(deviation, prices, per_agent=True)
        case ImbalanceScheme.SINGLE:
            cost = _needed("imbalance", prices.imbalance, scheme)[..., None] * deviation
        case ImbalanceScheme.UCS:
            contract = _needed("contract", prices.contract, scheme)
            extra = _equal_shares(deviation, net, _split_cost(net, prices))
            cost = contract[..., None] * deviation + extra
    return DeviationCosts(cost, retailer, cost.sum(axis=-1) - retailer)


def _two_prices(energy_kwh: Floats, prices: ImbalancePrices, per_agent: bool = False) -> Floats:
    """Price energy: taken at the retail price, given at the feed-in price, EUR."""
    retail, feed_in = _price("retail", prices.retail), _price("feed_in", prices.feed_in)
    if per_agent:
        retail, feed_in = retail[..., None], feed_in[..., None]
    return np.asarray(np.where(energy_kwh > 0.0, retail, feed_in) * energy_kwh)


def _split_cost(net_kwh: Floats, prices: ImbalancePrices) -> Floats:
    """Cost of the net deviation beyond the contract price, EUR; 0 where deviations cancel."""
    contract = _needed("contract", prices.contract, ImbalanceScheme.UCS)
    cost = _two_prices(net_kwh, prices) - contract * net_kwh
    return np.asarray(np.where(np.abs(net_kwh) > DEVIATION_TOLERANCE_KWH, cost, 0.0))


def _equal_shares(deviation_kwh: Floats, net_kwh: Floats, cost_eur: Floats) -> Floats:
    """Equal shares of a cost, shape (...,), among those who deviate as the net does."""
    bears = _deviates_with(deviation_kwh, net_kwh)
    bearers = bears.sum(axis=-1)
    each = np.divide(cost_eur, bearers, out=np.zeros_like(cost_eur), where=bearers > 0)
    return np.asarray(np.where(bears, each[..., None], 0.0))


def _deviates_with(deviation_kwh: Floats, net_kwh: Floats) -> Bools:
    """Whose deviation, shape (..., N), has the sign of the net deviation, shape (...,).

    If sizes at the tolerance leave nobody, the one who deviates most that way is meant.
    """
    along = deviation_kwh * np.sign(net_kwh)[..., None]
    most = along.max(axis=-1, keepdims=True, initial=0.0)
    return np.asarray((along > 0.0) & (along >= np.minimum(most, DEVIATION_TOLERANCE_KWH)))


# --- areas in a tree ---


@dataclass(frozen=True)
class AgentAreas:
    """Agents in areas, and areas in areas.

    Attributes
    ----------
    area_of_agent : row of the area of every agent, shape (N,).
    parent : row of the area above each area, -1 at the top, shape (A,).
    """

    area_of_agent: Indices
    parent: Indices

    def __post_init__(self) -> None:
        """Refuse rows that do not exist and areas that are above themselves."""
        areas = len(self.parent)
        for what, rows, least in (
            ("area of agent", self.area_of_agent, 0),
            ("parent of area", self.parent, -1),
        ):
            wrong = np.flatnonzero((rows < least) | (rows >= areas))
            if len(wrong):
                raise MarketError(
                    f"{what} {wrong[0]} is row {rows[wrong[0]]}; allowed are {least} to {areas - 1}"
                )
        self.bottom_up()

    def bottom_up(self) -> Indices:
        """Rows of the areas, each before the area above it; a MarketError if they form a ring."""
        depth = np.zeros(len(self.parent), np.int64)
        at = self.parent.copy()
        for _ in range(len(self.parent)):
            depth += at >= 0
            at = np.where(at >= 0, self.parent[at], -1)
        if (at >= 0).any():
            row = int(np.flatnonzero(at >= 0)[0])
            raise MarketError(f"area {row} lies below itself; areas must form a tree")
        return np.asarray(np.argsort(-depth, kind="stable"), dtype=np.int64)

    def members(self, area: int) -> tuple[Indices, Indices]:
        """Rows of the agents of an area itself, and of the areas right below it."""
        return np.flatnonzero(self.area_of_agent == area), np.flatnonzero(self.parent == area)


@dataclass(frozen=True)
class LevelNetting:
    """Deviations netted level by level; T slots, N agents, A areas.

    In every slot what agents pay is what balancing parties keep and what retailers get.

    Attributes
    ----------
    cost_eur : of every agent, shape (T, N); positive pays.
    net_kwh : what each area passes on to the area above, or the top to the retailer, shape (T, A).
    cancelled_kwh : energy taken too much that others of the same area took too little, shape (T,
        A); deviations of areas below count by their net.
    kept_eur : what the balancing party of each area keeps, shape (T, A).
    retailer_eur : what the retailer gets for the net deviations of the top areas, shape (T,).
    """

    cost_eur: Floats
    net_kwh: Floats
    cancelled_kwh: Floats
    kept_eur: Floats
    retailer_eur: Floats


def net_by_level(
    deviation_kwh: ArrayLike,
    tree: AgentAreas,
    prices: ImbalancePrices,
    scheme: ImbalanceScheme | str,
) -> LevelNetting:
    """Net deviations inside each area, lowest level first, and price them.

    An area's members are its own agents and the areas right below it, each with its net deviation.
    Under ``ucs`` only the top has a cost to split: an area shares what falls to it among those
    of its members who deviate the same way, so that an area that balances itself bears nothing.

    Parameters
    ----------
    deviation_kwh : metered less contracted energy, shape (T, N).
    tree : where agents and areas belong.
    prices, scheme : as in `settle_imbalance`; one set of prices for all levels, but for the
        contract price, which may be that of each area, shape (T, A).

    Raises
    ------
    MarketError
        As in `price_deviations`, and if the deviations are not one column per agent.

    Examples
    --------
    Two microgrids below a cell; the second cancels half a kWh itself, the cell another half:

    >>> tree = AgentAreas(np.array([1, 2, 2]), np.array([-1, 0, 0]))
    >>> netted = net_by_level([[-1.0, 1.0, -0.5]], tree, ImbalancePrices(0.30, 0.10), "dual")
    >>> netted.net_kwh.tolist(), netted.kept_eur.round(6).tolist()
    ([[-0.5, -1.0, 0.5]], [[0.1, 0.0, 0.1]])
    """
    deviation = _energies("deviation_kwh", deviation_kwh)
    if deviation.ndim != 2 or deviation.shape[1] != len(tree.area_of_agent):
        raise MarketError(
            f"deviation_kwh has shape {deviation.shape}; allowed is (slots, "
            f"{len(tree.area_of_agent)}), a column for each agent of the tree"
        )
    net, cancelled = _net_of_areas(deviation, tree)
    agent_cost, area_cost = _costs_of_members(deviation, net, tree, prices, _scheme(scheme))
    top = tree.parent < 0
    kept = -area_cost
    for area in range(len(tree.parent)):
        agents, below = tree.members(area)
        kept[:, area] += agent_cost[:, agents].sum(axis=1) + area_cost[:, below].sum(axis=1)
    return LevelNetting(agent_cost, net, cancelled, kept, area_cost[:, top].sum(axis=1))


def _net_of_areas(deviation_kwh: Floats, tree: AgentAreas) -> tuple[Floats, Floats]:
    """Net deviation of every area, and what cancelled inside it; shapes (T, A)."""
    net = np.zeros((len(deviation_kwh), len(tree.parent)))
    cancelled = np.zeros_like(net)
    for area in tree.bottom_up():
        agents, below = tree.members(int(area))
        members = np.concatenate([deviation_kwh[:, agents], net[:, below]], axis=1)
        net[:, area] = members.sum(axis=1)
        taken, given = np.maximum(members, 0.0).sum(axis=1), np.maximum(-members, 0.0).sum(axis=1)
        cancelled[:, area] = np.minimum(taken, given)
    return net, cancelled


def _costs_of_members(
    deviation_kwh: Floats,
    net_kwh: Floats,
    tree: AgentAreas,
    prices: ImbalancePrices,
    scheme: ImbalanceScheme,
) -> tuple[Floats, Floats]:
    """Costs of agents, paid to their area, (T, N), and of areas, paid to the one above, (T, A)."""
    match scheme:
        case ImbalanceScheme.DUAL:
            agent = _two_prices(deviation_kwh, prices, per_agent=True)
            area = _two_prices(net_kwh, prices, per_agent=True)
        case ImbalanceScheme.SINGLE:
            price = _needed("imbalance", prices.imbalance, scheme)[..., None]
            agent, area = price * deviation_kwh, price * net_kwh
        case ImbalanceScheme.UCS:
            price = _contract_by_area(prices, net_kwh)
            agent_share, area_share = _shares_down_the_tree(
                deviation_kwh, net_kwh, tree, replace(prices, contract=price)
            )
            # what the top has above itself is priced below
            agent = price[:, tree.area_of_agent] * deviation_kwh + agent_share
            area = price[:, tree.parent] * net_kwh + area_share
    top = tree.parent < 0
    area[:, top] = _two_prices(net_kwh[:, top], prices, per_agent=True)
    return agent, area


def _shares_down_the_tree(
    deviation_kwh: Floats, net_kwh: Floats, tree: AgentAreas, prices: ImbalancePrices
) -> tuple[Floats, Floats]:
    """Shares of agents, (T, N), and areas, (T, A), in the cost of net deviations at the top."""
    agent_share, area_share = np.zeros_like(deviation_kwh), np.zeros_like(net_kwh)
    contract = _contract_by_area(prices, net_kwh)
    for area in tree.bottom_up()[::-1]:
        net, total = net_kwh[:, area], area_share[:, area]
        if tree.parent[area] < 0:
            total = _split_cost(net, replace(prices, contract=contract[:, area]))
        agents, below = tree.members(int(area))
        members = np.concatenate([deviation_kwh[:, agents], net_kwh[:, below]], axis=1)
        shares = _equal_shares(members, net, total)
        agent_share[:, agents], area_share[:, below] = np.split(shares, [len(agents)], axis=1)
    return agent_share, area_share


def _contract_by_area(prices: ImbalancePrices, net_kwh: Floats) -> Floats:
    """Contract price of every area, EUR/kWh, shape (T, A)."""
    price = _needed("contract", prices.contract, ImbalanceScheme.UCS)
    return np.broadcast_to(price if price.ndim == 2 else price[..., None], net_kwh.shape)


# --- checked input ---


def _scheme(name: ImbalanceScheme | str) -> ImbalanceScheme:
    try:
        return ImbalanceScheme(name)
    except ValueError:
        allowed = ", ".join(ImbalanceScheme)
        raise MarketError(f"imbalance scheme is {name!r}; allowed are {allowed}") from None


def _energies(name: str, energy_kwh: ArrayLike) -> Floats:
    """Energies as an array, a column for each agent; all must be finite."""
    energy = np.atleast_1d(np.asarray(energy_kwh, dtype=np.float64))
    wrong = np.argwhere(~np.isfinite(energy))
    if len(wrong):
        *slot, agent = wrong[0].tolist()
        where = f"slot {', '.join(map(str, slot))}, agent {agent}" if slot else f"agent {agent}"
        raise MarketError(
            f"{where}: {name} is {energy[tuple(wrong[0])]:g}; allowed is a finite number of kWh "
            "(a lost reading is substituted first)"
        )
    return energy


def _needed(name: str, price: ArrayLike | None, scheme: ImbalanceScheme | str) -> Floats:
    if price is None:
        raise MarketError(f"imbalance scheme {scheme} needs the {name} price, EUR/kWh; state it")
    return _price(name, price)


def _price(name: str, price: ArrayLike) -> Floats:
    values = np.asarray(price, dtype=np.float64)
    if not np.isfinite(values).all():
        raise MarketError(
            f"imbalance: a {name} price is not finite; allowed are finite prices in EUR/kWh"
        )
    return values
