"""Who pays what to whom: the money of a block of cleared slots, as arrays.

Agents trade at the prices of `tricell.markets.joint_trades`, or at what the markets level by level
say (`tricell.markets.level_settlement`), through the operators of the markets. From the retailer
they buy at his price, less the network charges and the levy in it, and to him they feed in. Beside
it they pay what each network charge bills (`tricell.markets.charge_bills`). What the operators of
jointly cleared markets take in more than they pay out, and what retail sales bring beyond the
retailer's own prices, is the rent of congested lines; it goes to the network operator, as does what
the price of the own node adds to that of the area. Whoever does not take part in the markets buys
at the retail price and feeds in.

Where meters tell something else than what was contracted, trades are those that were contracted,
and the difference is settled as imbalance (`tricell.markets.imbalance_postings`).

The retailer buys at the wholesale price what all agents together import; where losses are billed,
the network operator does so for the losses. All of this is written down in double entry
(`tricell.markets.postings`) and held against the meters, slot by slot.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tricell.markets.charge import Source
from tricell.markets.charge_bills import (
    ALL_RATES,
    LOSS_CHARGE,
    Billing,
    ChargeBook,
    kind_of_charge,
)
from tricell.markets.imbalance_postings import imbalance_postings
from tricell.markets.joint_trades import area_trade_kw, joint_trades
from tricell.markets.postings import (
    Kind,
    Party,
    Posting,
    balances,
    check_postings,
    of_kind,
    paid_by_agents,
    paid_to_agents,
)
from tricell.markets.trade_receipts import TradeReceipts, trade_receipts
from tricell.markets.traded_block import (
    LOCAL,
    ClearedBlock,
    Contracts,
    SlotTrades,
    Totals,
    TradingAreas,
)

__all__ = [
    "ALL_RATES",
    "AreaTrade",
    "Billing",
    "ClearedBlock",
    "Contracts",
    "Settlement",
    "SlotTrades",
    "TradingAreas",
    "area_trade_kw",
    "book",
    "joint_trades",
    "kind_of_charge",
    "settle",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AreaTrade:
    """Energy that met inside each area and what crossed its border, shape (T, areas), kWh, EUR."""

    traded_kwh: Floats
    residual_kwh: Floats
    network_charge_eur: Floats


@dataclass(frozen=True)
class Settlement:
    """Money and energy of a block, positive amounts are paid by the agent.

    Attributes
    ----------
    energy_p2p, energy_retail, export, network, congestion, losses, levy : EUR per agent, summed
        over slots; `network` without charges of a whole period.
    redispatch : EUR per agent, for being moved away from what was traded.
    imbalance : EUR per agent, for energy that differs from what was contracted.
    flexibility : EUR per agent, for flexibility sold as a service; negative where it earns.
    congestion_rent_eur : per slot, what the network operator gets because lines are full.
    bought_p2p_kwh, sold_p2p_kwh, bought_retail_kwh, sold_retail_kwh : per agent, as contracted.
    bought_kwh : by where it was bought (`Source`), shape (4, T, agents).
    agents_eur, retailer_eur, network_operator_eur, market_operator_eur : per slot, what each side
        receives (the agents' is what they pay, negative); with what the transmission operator pays
        for services, the four add up to zero.
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
    imbalance: Floats
    flexibility: Floats
    congestion_rent_eur: Floats
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
    totals = Totals.of(trades)
    parts = ChargeBook(areas, block, trades).parts(billing)
    postings = [
        *_market_postings(trades, totals),
        *_retail_postings(block, trades, totals, billing.levy_eur_per_kwh),
        *_redispatch_postings(trades),
        *(posting for part in parts for posting in part.postings(trades, totals)),
    ]
    receipts = trade_receipts(areas, trades, totals, parts, postings)
    postings += imbalance_postings(areas, block, billing.levy_eur_per_kwh)
    if block.services is not None:
        postings += block.services.postings
    wholesale = _wholesale_postings(block, billing)
    net_kwh = block.p_net_kw * block.hours
    balance = check_postings([*postings, *wholesale], net_kwh, block.first_slot)
    pays = {party: -paid for party, paid in balances(wholesale, len(net_kwh)).items()}
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
        imbalance=per_agent[Kind.IMBALANCE],
        flexibility=per_agent[Kind.CAPACITY],
        congestion_rent_eur=_rent(postings, len(net_kwh)),
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


def _market_postings(trades: SlotTrades, totals: Totals) -> list[Posting]:
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


def _rent(postings: list[Posting], n_slot: int) -> Floats:
    """Return what the network operator gets in every slot because lines are full."""
    of_rent = [posting for posting in postings if posting.kind is Kind.CONGESTION]
    return np.asarray(balances(of_rent, n_slot)[Party.DSO])


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
    block: ClearedBlock, trades: SlotTrades, totals: Totals, levy_eur_per_kwh: float
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
