"""Who pays what to whom: the money of a block of cleared slots, as arrays.

Everybody settles at the price of the own node, capped by what the retailer would have charged
(where a limit had to be broken the dual is a breach price, which no household pays). Inside an area
members' purchases and sales meet first; what is left crosses to the area above, in proportion for
all members alike, and at the top to the retailer. With the price ``p`` of the own area, the fee
``f_l`` of the level where a kWh met and ``n``, ``x`` what crossing borders costs on the way there
and back, a buyer of the area a pays and a seller of the area a gets for its energy ::

    bought at level l     p_a + f_a - f_l - n_al        to the market's operator
    sold at level l       p_a + x_al                    from him
    from the retailer     p_a + f_a - f_retail - n_a    to the retailer, less the levy in it
    to the retailer       p_a + x_a                     from the retailer

and beside it what each network charge bills (`tricell.markets.charge`), so that a kWh costs its
buyer ``p_a + f_a`` all in and its seller keeps ``p_a``. What the operator takes in more than he
pays out, and what retail sales bring beyond the retailer's own prices, is the rent of congested
lines; it goes to the network operator, as does what the price of the own node adds to that of the
area. Whoever does not take part in the markets buys at the retail price and feeds in.

The retailer buys at the wholesale price what all agents together import; where losses are billed,
the network operator does so for the losses. All of this is written down in double entry
(`tricell.markets.postings`) and held against the meters, slot by slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from tricell.grid_models.arrays import sum_by_key
from tricell.markets.charge import (
    Calendar,
    Charge,
    Customers,
    EnergyRates,
    MeterData,
    SlotCharge,
    Source,
)
from tricell.markets.postings import (
    Kind,
    Party,
    Posting,
    check_postings,
    of_kind,
    paid_by_agents,
    paid_to_agents,
)

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Bools = NDArray[np.bool_]

LOSS_CHARGE = "loss_allocation"
"""The kind of charge for which the network operator buys losses."""
ALL_RATES = "fees"
"""Name in bills of what the rates ask for where no charges are named."""
LOCAL = (Source.MICROGRID, Source.CELL, Source.MULTICELL)


@dataclass(frozen=True)
class TradingAreas:
    """The tree of market areas, parents first.

    Attributes
    ----------
    parent : row of the area above, -1 for the top.
    level : level of each area, 1 microgrid, 2 cell, 3 multi-cell.
    agent_area : area of each agent.
    takes_part : whether each agent trades; the others buy from and sell to the retailer only.
    """

    parent: Indices
    level: Indices
    agent_area: Indices
    takes_part: Bools

    @classmethod
    def of(cls, parent: Indices, level: Indices, agent_area: Indices) -> TradingAreas:
        """Return a tree in which every agent trades."""
        return cls(parent, level, agent_area, np.ones(len(agent_area), np.bool_))

    def fee(self, rates: EnergyRates) -> Floats:
        """Return the fee of a kWh that is bought in each area, EUR/kWh, shape (T or 1, areas)."""
        return rates.by_source[:, self.level - 1]

    def seen_fee(self, rates: EnergyRates, retail: Floats, feed_in: Floats) -> Floats:
        """Return the fee of each area, but at most all that trade there could gain.

        Trade is worth no more than the gap between buying from and feeding in to the retailer,
        borders on the way included. Where the fee is larger the area's market is closed, and its
        members act as with a fee of just that gap: all is indifferent to them but the retailer.

        Parameters
        ----------
        rates : network charges per kWh.
        retail, feed_in : EUR/kWh, shape (T,); the retail price is all in.

        Returns
        -------
        EUR/kWh, shape (T, areas), or (1, areas) where the fees do not change and all are open.
        """
        fee, gap = self.fee(rates), self._gap(rates, retail, feed_in)
        return fee if (fee <= gap).all() else np.minimum(fee, gap)

    def is_open(self, rates: EnergyRates, retail: Floats, feed_in: Floats) -> Bools:
        """Return whether the fee of each area leaves anything to gain, shape (T, areas)."""
        return np.asarray(self.fee(rates) <= self._gap(rates, retail, feed_in))

    def _gap(self, rates: EnergyRates, retail: Floats, feed_in: Floats) -> Floats:
        borders = self.border_cost(rates.entry) + self.border_cost(rates.exit)
        return np.asarray((retail - feed_in)[:, None] + borders[Source.RETAIL])

    def border_cost(self, at_border: Floats) -> Floats:
        """Cost of crossing borders between each area and where a kWh meets, by its source.

        Parameters
        ----------
        at_border : EUR/kWh at each area's border to the area above, shape (T or 1, areas or 1).

        Returns
        -------
        EUR/kWh, shape (4, T or 1, areas); zero at the top, which has no area above.
        """
        own = np.broadcast_to(at_border, (len(at_border), len(self.parent)))
        cost = np.zeros((len(Source), *own.shape))
        for area, parent in enumerate(self.parent):
            if parent >= 0:
                cost[:, :, area] = cost[:, :, parent]
                cost[self.level[area] :, :, area] += own[:, area]
        return cost

    @cached_property
    def members(self) -> Any:
        """Sparse matrix (agents, areas): 1 in the agent's own area."""
        return self._matrix(self.agent_area)

    @cached_property
    def within(self) -> Any:
        """Sparse matrix (agents, areas): 1 in the agent's own area and all above it."""
        total = here = self.agent_area
        matrix = self._matrix(here)
        while (here := np.where(here >= 0, self.parent[here], -1)).max(initial=-1) >= 0:
            matrix = matrix + self._matrix(here)
        assert len(total) == matrix.shape[0]
        return matrix.tocsr()

    @cached_property
    def market_of(self) -> tuple[Any, ...]:
        """Per level a sparse matrix (agents, areas): 1 in the area where the agent trades on it."""
        found = []
        for level in range(1, len(LOCAL) + 1):
            here = self.agent_area.copy()
            for _ in range(len(self.parent)):
                lower = (here >= 0) & (self.level[here] < level)
                if not lower.any():
                    break
                here = np.where(lower, self.parent[here], here)
            here = np.where((here >= 0) & (self.level[here] == level), here, -1)
            found.append(self._matrix(here))
        return tuple(found)

    def _matrix(self, area: Indices) -> Any:
        agent = np.flatnonzero(area >= 0)
        shape = (len(area), len(self.parent))
        return sp.csr_matrix((np.ones(len(agent)), (agent, area[agent])), shape=shape)


@dataclass(frozen=True)
class ClearedBlock:
    """Schedules and prices of T slots.

    Attributes
    ----------
    p_net_kw : shape (T, agents), positive buys.
    area_price, agent_price : EUR/kWh, shapes (T, areas) and (T, agents).
    retail_price, feed_in_price : EUR/kWh, shape (T,); the retail price is all in.
    hours : length of a slot.
    rates : all network charges per kWh of these slots.
    wholesale_price : EUR/kWh, shape (T,); None where the wholesale side is left out.
    area_loss_kw : losses in every area's own network, shape (T, areas); None if not known.
    first_slot : number of the first slot, for messages.
    """

    p_net_kw: Floats
    area_price: Floats
    agent_price: Floats
    retail_price: Floats
    feed_in_price: Floats
    hours: float
    rates: EnergyRates
    wholesale_price: Floats | None = None
    area_loss_kw: Floats | None = None
    first_slot: int = 0


@dataclass(frozen=True)
class Billing:
    """What is billed beside energy.

    Attributes
    ----------
    charges : all network charges; those of a billing period are left to its end. Without any,
        the block's rates are billed as one charge.
    calendar, customers : the block's slots, and who is billed; needed where there are charges.
    levy_eur_per_kwh : levies in the price of a kWh from the retailer.
    """

    charges: tuple[Charge, ...] = ()
    calendar: Calendar | None = None
    customers: Customers | None = None
    levy_eur_per_kwh: float = 0.0


@dataclass(frozen=True)
class SlotTrades:
    """What everybody bought and sold in T slots, and what the energy alone cost.

    Attributes
    ----------
    bought_kwh, sold_kwh : by where it was traded (`Source`), shape (4, T, agents).
    bought_eur, sold_eur : paid and received for it without network charges, the same shape.
    congestion, redispatch : EUR that agents pay for the price of the own node, and for being moved
        away from what was traded, shape (T, agents).
    moved_kwh : how much more each agent consumes than it bought, shape (T, agents).
    redispatch_retail : EUR that the retailer receives for energy that takes its place, shape (T,).
    operator_keeps : whether the markets' operators keep what buyers pay more than sellers get;
        otherwise it is congestion rent.
    area_traded_kwh, area_residual_kwh : what met in each area, what crossed its border, (T, areas).
    """

    bought_kwh: Floats
    sold_kwh: Floats
    bought_eur: Floats
    sold_eur: Floats
    congestion: Floats
    redispatch: Floats
    moved_kwh: Floats
    redispatch_retail: Floats
    operator_keeps: bool
    area_traded_kwh: Floats
    area_residual_kwh: Floats


@dataclass(frozen=True)
class AreaTrade:
    """Energy that met inside each area and what crossed its border, shape (T, areas), kWh, EUR."""

    traded_kwh: Floats
    residual_kwh: Floats
    network_charge_eur: Floats


@dataclass(frozen=True)
class TradeReceipts:
    """What the energy of each market costs in all; EUR, shape (T, areas + 2).

    The columns are the areas' markets, purchases from the retailer and sales to him. Every amount
    of a kind adds up to its postings.

    Attributes
    ----------
    energy_eur : for the energy itself; negative where the retailer pays for what is fed in.
    network_eur, losses_eur, congestion_eur, levy_eur : on top of it.
    """

    energy_eur: Floats
    network_eur: Floats
    losses_eur: Floats
    congestion_eur: Floats
    levy_eur: Floats


@dataclass(frozen=True)
class Settlement:
    """Money and energy of a block, positive amounts are paid by the agent.

    Attributes
    ----------
    energy_p2p, energy_retail, export, network, congestion, losses, levy : EUR per agent, summed
        over slots; `network` without charges of a whole period.
    redispatch : EUR per agent, for being moved away from what was traded.
    bought_p2p_kwh, sold_p2p_kwh, bought_retail_kwh, sold_retail_kwh : per agent.
    bought_kwh : by where it was bought (`Source`), shape (4, T, agents).
    agents_eur, retailer_eur, network_operator_eur, market_operator_eur : per slot, what each side
        receives (the agents' is what they pay, negative); the four add up to zero.
    retailer_pays_eur, network_operator_pays_eur : per slot, to the wholesale market.
    retail_import_kwh, retail_export_kwh : per slot, bought from and sold to the retailer.
    areas : trade inside and across areas.
    receipts : what the energy of each market costs.
    postings : the books.
    """

    energy_p2p: Floats
    energy_retail: Floats
    export: Floats
    network: Floats
    congestion: Floats
    losses: Floats
    levy: Floats
    redispatch: Floats
    bought_p2p_kwh: Floats
    sold_p2p_kwh: Floats
    bought_retail_kwh: Floats
    sold_retail_kwh: Floats
    bought_kwh: Floats
    agents_eur: Floats
    retailer_eur: Floats
    network_operator_eur: Floats
    market_operator_eur: Floats
    retailer_pays_eur: Floats
    network_operator_pays_eur: Floats
    retail_import_kwh: Floats
    retail_export_kwh: Floats
    areas: AreaTrade
    receipts: TradeReceipts
    postings: tuple[Posting, ...]


def settle(areas: TradingAreas, block: ClearedBlock, billing: Billing | None = None) -> Settlement:
    """Settle a block of jointly cleared slots.

    Parameters
    ----------
    areas : tree and membership.
    block : schedules and prices.
    billing : what is billed beside energy; None for the block's rates alone.

    Raises
    ------
    SettlementError
        If the books do not balance.
    """
    return book(areas, block, joint_trades(areas, block), billing or Billing())


def joint_trades(areas: TradingAreas, block: ClearedBlock) -> SlotTrades:
    """Return who traded with whom at which level, and at what price, in joint clearings."""
    energy = block.p_net_kw * areas.takes_part * block.hours
    buy, sell = np.maximum(energy, 0.0), np.maximum(-energy, 0.0)
    demand, supply = buy @ areas.members, sell @ areas.members
    is_open = areas.is_open(block.rates, block.retail_price, block.feed_in_price)
    traded = np.zeros_like(demand)
    for area in range(len(areas.parent) - 1, -1, -1):
        traded[:, area] = np.minimum(demand[:, area], supply[:, area]) * is_open[:, area]
        if (above := areas.parent[area]) >= 0:
            demand[:, above] += demand[:, area] - traded[:, area]
            supply[:, above] += supply[:, area] - traded[:, area]
    member = areas.agent_area
    bought = _by_source(areas, _ratio(traded, demand))[:, :, member] * buy
    sold = _by_source(areas, _ratio(traded, supply))[:, :, member] * sell
    price = _JointPrices.of(areas, block)
    return SlotTrades(
        bought_kwh=bought,
        sold_kwh=sold,
        bought_eur=bought * price.bought[:, :, member],
        sold_eur=sold * price.sold[:, :, member],
        congestion=energy * price.at_node,
        redispatch=np.zeros((0, len(member))),
        moved_kwh=np.zeros((0, len(member))),
        redispatch_retail=np.zeros(0),
        operator_keeps=False,
        area_traded_kwh=traded,
        area_residual_kwh=demand + supply - 2.0 * traded,
    )


@dataclass(frozen=True)
class _JointPrices:
    """Prices of energy alone by source in every area, and what the own node adds; EUR/kWh."""

    bought: Floats
    sold: Floats
    at_node: Floats

    @classmethod
    def of(cls, areas: TradingAreas, block: ClearedBlock) -> _JointPrices:
        rates, member = block.rates, areas.agent_area
        fee = areas.seen_fee(rates, block.retail_price, block.feed_in_price)
        into, out = areas.border_cost(rates.entry), areas.border_cost(rates.exit)
        ceiling = block.retail_price[:, None] - fee + into[Source.RETAIL]
        floor = np.minimum(block.feed_in_price[:, None] - out[Source.RETAIL], 0.0)
        base = np.clip(block.area_price, floor, ceiling)
        node = np.clip(block.agent_price, floor[:, member], ceiling[:, member])
        charged = rates.by_source.T[:, :, None] + into
        return cls(base + fee - charged, base + out, node - base[:, member])


def book(
    areas: TradingAreas, block: ClearedBlock, trades: SlotTrades, billing: Billing
) -> Settlement:
    """Write down who pays whom for the trades of a block, and hold the books against the meters.

    Parameters
    ----------
    areas : tree and membership.
    block : schedules and prices.
    trades : of those who take part; the others are added.
    billing : what is billed beside energy.

    Raises
    ------
    SettlementError
        If the books do not balance.
    """
    trades = _with_outsiders(areas, block, trades)
    totals = _Totals.of(trades)
    parts = _ChargeBook(areas, block, trades).parts(billing)
    postings = [
        *_market_postings(trades, totals),
        *_retail_postings(block, trades, totals, billing.levy_eur_per_kwh),
        *_redispatch_postings(trades),
        *(posting for part in parts for posting in part.postings(trades, totals)),
    ]
    wholesale = _wholesale_postings(block, billing)
    net_kwh = block.p_net_kw * block.hours
    balance = check_postings([*postings, *wholesale], net_kwh, block.first_slot)
    receipts = _receipts(areas, trades, totals, parts, postings)
    pays = {
        party: sum(
            (
                one.amount_eur if one.payer is party else -one.amount_eur
                for one in wholesale
                if party in (one.payer, one.payee)
            ),
            np.zeros(len(net_kwh)),
        )
        for party in (Party.RETAILER, Party.DSO)
    }
    n_agent, n_area = len(areas.agent_area), len(areas.parent)
    per_agent = {kind: of_kind(postings, (kind,), n_agent) for kind in Kind}
    local = slice(0, len(LOCAL))
    return Settlement(
        energy_p2p=per_agent[Kind.ENERGY_P2P],
        energy_retail=per_agent[Kind.ENERGY_RETAIL],
        export=per_agent[Kind.EXPORT],
        network=per_agent[Kind.NETWORK],
        congestion=per_agent[Kind.CONGESTION],
        losses=per_agent[Kind.LOSSES],
        levy=per_agent[Kind.LEVY],
        redispatch=per_agent[Kind.FLEX],
        bought_p2p_kwh=totals.bought_by_agent[local].sum(axis=0),
        sold_p2p_kwh=totals.sold_by_agent[local].sum(axis=0),
        bought_retail_kwh=totals.bought_by_agent[Source.RETAIL],
        sold_retail_kwh=totals.sold_by_agent[Source.RETAIL],
        bought_kwh=trades.bought_kwh,
        agents_eur=balance[Party.AGENTS],
        retailer_eur=balance[Party.RETAILER] + pays[Party.RETAILER],
        network_operator_eur=balance[Party.DSO] + pays[Party.DSO],
        market_operator_eur=balance[Party.OPERATOR],
        retailer_pays_eur=pays[Party.RETAILER],
        network_operator_pays_eur=pays[Party.DSO],
        retail_import_kwh=totals.bought[Source.RETAIL],
        retail_export_kwh=totals.sold[Source.RETAIL],
        areas=AreaTrade(
            trades.area_traded_kwh, trades.area_residual_kwh, receipts.network_eur[:, :n_area]
        ),
        receipts=receipts,
        postings=(*postings, *wholesale),
    )


@dataclass(frozen=True)
class _Totals:
    """Energy by source over agents, shape (4, T), and over slots, shape (4, agents)."""

    bought: Floats
    sold: Floats
    bought_by_agent: Floats
    sold_by_agent: Floats

    @classmethod
    def of(cls, trades: SlotTrades) -> _Totals:
        bought, sold = trades.bought_kwh, trades.sold_kwh
        return cls(bought.sum(axis=2), sold.sum(axis=2), bought.sum(axis=1), sold.sum(axis=1))


def _with_outsiders(areas: TradingAreas, block: ClearedBlock, trades: SlotTrades) -> SlotTrades:
    """Add what those buy and sell who do not take part in the markets."""
    out = np.flatnonzero(~areas.takes_part)
    if not len(out):
        return trades
    energy = block.p_net_kw[:, out] * block.hours
    price = block.retail_price - block.rates.by_source[:, Source.RETAIL]
    buy, sell = np.maximum(energy, 0.0), np.maximum(-energy, 0.0)

    def at_retailer(values: Floats, own: Floats) -> Floats:
        filled = values.copy()
        filled[:, :, out] = 0.0
        filled[Source.RETAIL][:, out] = own
        return filled

    def without(values: Floats) -> Floats:
        cleared = values.copy()
        cleared[:, out] = 0.0
        return cleared

    return replace(
        trades,
        bought_kwh=at_retailer(trades.bought_kwh, buy),
        sold_kwh=at_retailer(trades.sold_kwh, sell),
        bought_eur=at_retailer(trades.bought_eur, buy * price[:, None]),
        sold_eur=at_retailer(trades.sold_eur, sell * block.feed_in_price[:, None]),
        congestion=without(trades.congestion),
        redispatch=without(trades.redispatch),
        moved_kwh=without(trades.moved_kwh),
    )


def _market_postings(trades: SlotTrades, totals: _Totals) -> list[Posting]:
    """Book what agents pay the markets' operators, what these pay on, and the congestion rent."""
    postings = []
    rent = np.zeros(totals.bought.shape[1])
    for source in LOCAL:
        if not (totals.bought[source].any() or totals.sold[source].any()):
            continue
        bought = paid_by_agents(
            Party.OPERATOR,
            Kind.ENERGY_P2P,
            trades.bought_kwh[source],
            trades.bought_eur[source],
            source,
        )
        sold = paid_to_agents(
            Party.OPERATOR,
            Kind.ENERGY_P2P,
            trades.sold_kwh[source],
            trades.sold_eur[source],
            source,
        )
        rent += bought.amount_eur - sold.amount_eur
        postings += [bought, sold]
    if not trades.operator_keeps:
        nothing = np.zeros_like(rent)
        postings.append(Posting(Party.OPERATOR, Party.DSO, Kind.CONGESTION, nothing, rent))
    if len(trades.congestion):
        postings.append(
            _without_energy(Party.DSO, Kind.CONGESTION, trades.congestion),
        )
    return postings


def _without_energy(payee: Party, kind: Kind, amount_eur: Floats) -> Posting:
    slots, agents = amount_eur.shape
    return Posting(
        Party.AGENTS,
        payee,
        kind,
        np.zeros(slots),
        amount_eur.sum(axis=1),
        agent_kwh=np.zeros(agents),
        agent_eur=amount_eur.sum(axis=0),
    )


def _retail_postings(
    block: ClearedBlock, trades: SlotTrades, totals: _Totals, levy_eur_per_kwh: float
) -> list[Posting]:
    """Book what is bought from and sold to the retailer, who gets and pays his own prices."""
    retail = Source.RETAIL
    bought, imports = trades.bought_kwh[retail], totals.bought[retail]
    bought_eur = trades.bought_eur[retail]
    postings = []
    if levy_eur_per_kwh:
        levy = bought * levy_eur_per_kwh
        bought_eur = bought_eur - levy
        postings.append(paid_by_agents(Party.DSO, Kind.LEVY, bought, levy, retail))
    import_ = paid_by_agents(Party.RETAILER, Kind.ENERGY_RETAIL, bought, bought_eur, retail)
    export = paid_to_agents(
        Party.RETAILER, Kind.EXPORT, trades.sold_kwh[retail], trades.sold_eur[retail], retail
    )
    price = block.retail_price - block.rates.by_source[:, retail] - levy_eur_per_kwh
    beyond = import_.amount_eur - imports * price
    missing = export.amount_eur - totals.sold[retail] * block.feed_in_price
    nothing = np.zeros_like(beyond)
    return [
        *postings,
        import_,
        export,
        Posting(Party.RETAILER, Party.DSO, Kind.CONGESTION, nothing, beyond, retail),
        Posting(Party.DSO, Party.RETAILER, Kind.CONGESTION, nothing, missing, retail),
    ]


def _redispatch_postings(trades: SlotTrades) -> list[Posting]:
    """Book what the network operator pays for moving schedules, and to the retailer for energy."""
    if not len(trades.redispatch):
        return []
    moved = paid_by_agents(Party.DSO, Kind.FLEX, trades.moved_kwh, trades.redispatch)
    nothing = np.zeros_like(trades.redispatch_retail)
    return [
        moved,
        Posting(Party.DSO, Party.RETAILER, Kind.FLEX, nothing, trades.redispatch_retail),
    ]


def _wholesale_postings(block: ClearedBlock, billing: Billing) -> list[Posting]:
    """Book what the retailer buys for all agents, and the network operator for losses."""
    price = block.wholesale_price
    if price is None:
        return []
    retailer, market, source = Party.RETAILER, Party.WHOLESALE, Source.RETAIL
    net = block.p_net_kw.sum(axis=1) * block.hours
    bought, sold = np.maximum(net, 0.0), np.maximum(-net, 0.0)
    postings = [
        Posting(retailer, market, Kind.ENERGY_RETAIL, bought, bought * price, source),
        Posting(market, retailer, Kind.EXPORT, sold, sold * price, source),
    ]
    if block.area_loss_kw is not None and any(each.kind == LOSS_CHARGE for each in billing.charges):
        lost = block.area_loss_kw.sum(axis=1) * block.hours
        postings.append(Posting(Party.DSO, market, Kind.LOSSES, lost, lost * price))
    return postings


@dataclass(frozen=True)
class _ChargePart:
    """What a charge bills in a block, by where energy was traded.

    Attributes
    ----------
    label, kind : name in the books, and what is paid for.
    rate : EUR per kWh bought, shape (T or 1, 4).
    extra : EUR beside it, shape (4, T, agents); None for nothing.
    on_sales : whether it is billed on what is sold, too.
    """

    label: str
    kind: Kind
    rate: Floats
    extra: Floats | None = None
    on_sales: bool = False

    def postings(self, trades: SlotTrades, totals: _Totals) -> list[Posting]:
        """Return one posting per source where anything is to be paid."""
        found = []
        for source in Source:
            rate = np.broadcast_to(self.rate[:, source], totals.bought[source].shape)
            by_slot = totals.bought[source] * rate
            by_agent = rate @ trades.bought_kwh[source]
            if self.extra is not None:
                by_slot = by_slot + self.extra[source].sum(axis=1)
                by_agent = by_agent + self.extra[source].sum(axis=0)
            if not by_slot.any() and not by_agent.any():
                continue
            sold = (totals.sold[source], totals.sold_by_agent[source])
            of_sales = sold if self.on_sales else (0.0, 0.0)
            found.append(
                Posting(
                    Party.AGENTS,
                    Party.DSO,
                    self.kind,
                    totals.bought[source] + of_sales[0],
                    by_slot,
                    source,
                    self.label,
                    totals.bought_by_agent[source] + of_sales[1],
                    by_agent,
                )
            )
        return found


@dataclass(frozen=True)
class _ChargeBook:
    """Turns charges into what they bill in a block."""

    areas: TradingAreas
    block: ClearedBlock
    trades: SlotTrades

    def parts(self, billing: Billing) -> list[_ChargePart]:
        """Return what every charge that is settled slot by slot bills."""
        if not billing.charges:
            return [self._by_rates(self.block.rates, ALL_RATES, Kind.NETWORK)]
        calendar, customers = billing.calendar, billing.customers
        assert calendar is not None
        assert customers is not None
        meters = MeterData(
            calendar=calendar,
            customers=customers,
            net_kw=self.block.p_net_kw,
            bought_kwh=self.trades.bought_kwh,
            area_net_kw=self.block.p_net_kw @ self.areas.within,
            area_loss_kw=self.block.area_loss_kw,
            wholesale_price=self.block.wholesale_price,
        )
        slot_charges = [each for each in billing.charges if isinstance(each, SlotCharge)]
        return [self._part(charge, meters) for charge in slot_charges]

    def _part(self, charge: SlotCharge, meters: MeterData) -> _ChargePart:
        kind = kind_of_charge(charge)
        if type(charge).amounts_eur is SlotCharge.amounts_eur:
            rates = charge.rates(meters.calendar, meters.customers)
            assert rates is not None, f"{charge.kind} has no rates and no rule of its own"
            return self._by_rates(rates, charge.label, kind)
        traded = self.trades.bought_kwh + self.trades.sold_kwh
        extra = _spread(charge.amounts_eur(meters), traded)
        return _ChargePart(charge.label, kind, np.zeros((1, len(Source))), extra, True)

    def _by_rates(self, rates: EnergyRates, label: str, kind: Kind) -> _ChargePart:
        net, hours, member = self.block.p_net_kw, self.block.hours, self.areas.agent_area
        bought, sold = self.trades.bought_kwh, self.trades.sold_kwh
        extra: list[Floats] = []
        if rates.imported.any():
            extra.append(_spread(np.maximum(net, 0.0) * hours * rates.imported, bought))
        if rates.exported.any():
            extra.append(_spread(np.maximum(-net, 0.0) * hours * rates.exported, sold))
        if rates.entry.any():
            extra.append(bought * self.areas.border_cost(rates.entry)[:, :, member])
        if rates.exit.any():
            extra.append(sold * self.areas.border_cost(rates.exit)[:, :, member])
        together = np.asarray(sum(extra)) if extra else None
        on_sales = bool(rates.exported.any() or rates.exit.any())
        return _ChargePart(label, kind, rates.by_source, together, on_sales)


def kind_of_charge(charge: Charge) -> Kind:
    """Return what a charge is paid for: levies, losses, or the network."""
    if charge.purpose == "levy":
        return Kind.LEVY
    return Kind.LOSSES if charge.kind == LOSS_CHARGE else Kind.NETWORK


def _spread(amount: Floats, energy: Floats) -> Floats:
    """Share amounts among the sources of each agent's energy; without any, they are retail's.

    Parameters
    ----------
    amount : shape (T, agents).
    energy : shape (4, T, agents).
    """
    whole = energy.sum(axis=0)
    per_kwh = _ratio(amount, whole)
    shared = energy * per_kwh
    shared[Source.RETAIL] += np.where(whole > 0.0, 0.0, amount)
    return shared


@dataclass(frozen=True)
class _Columns:
    """Sums amounts over the agents of each market, and of purchases from and sales to retail."""

    areas: TradingAreas
    trades: SlotTrades

    def of(self, amount: Floats) -> Floats:
        """Return amounts by source, shape (4, T, agents), per market, shape (T, areas + 2)."""
        local = sum(amount[source] @ self.areas.market_of[source] for source in LOCAL)
        bought = self.trades.bought_kwh[Source.RETAIL]
        both = bought + self.trades.sold_kwh[Source.RETAIL]
        of_purchases = np.where(both > 0.0, _ratio(bought, both), 1.0) * amount[Source.RETAIL]
        of_sales = amount[Source.RETAIL] - of_purchases
        ends = np.stack([of_purchases.sum(axis=1), of_sales.sum(axis=1)], axis=1)
        return np.concatenate([local, ends], axis=1)


def _receipts(
    areas: TradingAreas,
    trades: SlotTrades,
    totals: _Totals,
    parts: Sequence[_ChargePart],
    postings: Sequence[Posting],
) -> TradeReceipts:
    """Return what the energy of each market costs in all."""
    columns = _Columns(areas, trades)
    slots, n_area = trades.area_traded_kwh.shape
    bought = np.zeros((slots, n_area + 2))
    paid, got = bought.copy(), bought.copy()
    for source in LOCAL:
        market = areas.market_of[source]
        bought[:, :n_area] += trades.bought_kwh[source] @ market
        paid[:, :n_area] += trades.bought_eur[source] @ market
        got[:, :n_area] += trades.sold_eur[source] @ market
    bought[:, n_area] = totals.bought[Source.RETAIL]
    congestion = np.zeros_like(bought)
    if len(trades.congestion):
        congestion += columns.of(_spread(trades.congestion, trades.bought_kwh + trades.sold_kwh))
    if not trades.operator_keeps:
        congestion += paid - got
        paid = got
    _add_retail(paid, congestion, postings, n_area)
    charged = {kind: np.zeros_like(bought) for kind in (Kind.NETWORK, Kind.LOSSES, Kind.LEVY)}
    level = np.append(areas.level - 1, Source.RETAIL)
    for part in parts:
        charged[part.kind][:, : n_area + 1] += bought[:, : n_area + 1] * part.rate[:, level]
        if part.extra is not None:
            charged[part.kind] += columns.of(part.extra)
    for posting in postings:
        if posting.kind is Kind.LEVY and not posting.charge:
            charged[Kind.LEVY][:, n_area] += posting.amount_eur
    return TradeReceipts(
        energy_eur=paid,
        network_eur=charged[Kind.NETWORK],
        losses_eur=charged[Kind.LOSSES],
        congestion_eur=congestion,
        levy_eur=charged[Kind.LEVY],
    )


def _add_retail(
    energy_eur: Floats, congestion: Floats, postings: Sequence[Posting], n_area: int
) -> None:
    """Add what the retailer gets and pays at his own prices, and what congestion adds to that."""
    for posting in postings:
        if posting.source is not Source.RETAIL:
            continue
        match posting.payer, posting.payee, posting.kind:
            case Party.AGENTS, Party.RETAILER, Kind.ENERGY_RETAIL:
                energy_eur[:, n_area] += posting.amount_eur
            case Party.RETAILER, Party.AGENTS, Kind.EXPORT:
                energy_eur[:, n_area + 1] -= posting.amount_eur
            case Party.RETAILER, Party.DSO, Kind.CONGESTION:
                energy_eur[:, n_area] -= posting.amount_eur
                congestion[:, n_area] += posting.amount_eur
            case Party.DSO, Party.RETAILER, Kind.CONGESTION:
                energy_eur[:, n_area + 1] += posting.amount_eur
                congestion[:, n_area + 1] -= posting.amount_eur


def area_trade_kw(areas: TradingAreas, p_net_kw: Floats, net_import_kw: Floats) -> Floats:
    """Power that meets inside each area in one slot, kW.

    Parameters
    ----------
    areas : tree and membership.
    p_net_kw : per agent, positive buys.
    net_import_kw : per area, positive into the area.
    """
    child = np.flatnonzero(areas.parent >= 0)
    n_area = len(areas.parent)

    def side(agents: Floats, children: Floats) -> Floats:
        own = sum_by_key(areas.agent_area, np.maximum(agents, 0.0), n_area)
        below = sum_by_key(areas.parent[child], np.maximum(children[child], 0.0), n_area)
        return own + below

    return np.minimum(side(p_net_kw, net_import_kw), side(-p_net_kw, -net_import_kw))


def _by_source(areas: TradingAreas, local: Floats) -> Floats:
    """Share of the members' energy that meets at each level or goes to retail, (4, T, areas)."""
    share = np.zeros((len(Source), *local.shape))
    for area, parent in enumerate(areas.parent):
        left = 1.0 - local[:, area]
        if parent >= 0:
            share[:, :, area] = left * share[:, :, parent]
        else:
            share[Source.RETAIL, :, area] = left
        share[areas.level[area] - 1, :, area] += local[:, area]
    return share


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0.0)
