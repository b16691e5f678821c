"""What the energy of each market costs in all: the receipt of every traded kWh.

Amounts that belong to an agent are shared among the sources of its energy, and those of a source
are summed over the agents who trade in the same area. Every kind adds up to its postings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tricell.markets.charge import Source
from tricell.markets.charge_bills import ChargePart, spread
from tricell.markets.postings import Kind, Party, Posting
from tricell.markets.traded_block import LOCAL, SlotTrades, Totals, TradingAreas, ratio

Floats = NDArray[np.float64]


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


def trade_receipts(
    areas: TradingAreas,
    trades: SlotTrades,
    totals: Totals,
    parts: Sequence[ChargePart],
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
        congestion += columns.of(spread(trades.congestion, trades.bought_kwh + trades.sold_kwh))
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
        of_purchases = np.where(both > 0.0, ratio(bought, both), 1.0) * amount[Source.RETAIL]
        of_sales = amount[Source.RETAIL] - of_purchases
        ends = np.stack([of_purchases.sum(axis=1), of_sales.sum(axis=1)], axis=1)
        return np.concatenate([local, ends], axis=1)


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
