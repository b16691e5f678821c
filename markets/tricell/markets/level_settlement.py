"""Who pays what to whom where the levels are cleared one after the other.

The markets themselves say what is paid for traded energy (`local_first`). Here their slots become
the trades that `tricell.markets.settlement.book` writes down: buyers pay and sellers are paid by
the operator of their market, who keeps what is left over; the network operator gets network
charges and bears what redispatch costs. Every slot's payments add up to zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tricell.markets.charge import Source
from tricell.markets.settlement import (
    Billing,
    ClearedBlock,
    Settlement,
    SlotTrades,
    TradingAreas,
    book,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LevelTrade:
    """What was traded in one slot, and what that was worth; kWh and EUR.

    Attributes
    ----------
    bought, sold : kWh by where it was traded (`Source`), shape (4, agents).
    energy_bought, energy_sold : EUR paid to and received from peers for it, the same shape; zero
        in the row of the retailer.
    energy_retail : EUR per agent for energy from the retailer, without network charges.
    export : EUR per agent for energy sold to the retailer, negative where it is paid for.
    moved : kWh per agent by which more is consumed than was bought.
    redispatch : EUR per agent for that, positive pays.
    area_traded, area_residual : kWh per area.
    operator_surplus : EUR that stays with the market operators; negative is a deficit.
    redispatch_moved : kWh by which the schedule was changed.
    redispatch_cost : EUR that this costs the network operator.
    redispatch_retail : EUR of it that the retailer receives.
    gain, optimal_gain : EUR by which trade lowers the cost of supply against no trade: of these
        markets, and of the joint optimum.
    iterations : rounds of iterative mechanisms, summed.
    unfinished : markets that did not converge.
    """

    bought: Floats
    sold: Floats
    energy_bought: Floats
    energy_sold: Floats
    energy_retail: Floats
    export: Floats
    moved: Floats
    redispatch: Floats
    area_traded: Floats
    area_residual: Floats
    operator_surplus: float
    redispatch_moved: float
    redispatch_cost: float
    redispatch_retail: float
    gain: float
    optimal_gain: float
    iterations: int
    unfinished: int


def settle_level_trades(
    trades: Sequence[LevelTrade],
    areas: TradingAreas,
    block: ClearedBlock,
    billing: Billing | None = None,
) -> Settlement:
    """Settle consecutive slots.

    Parameters
    ----------
    trades : of each slot.
    areas : tree and membership.
    block : the same slots' schedules and prices outside the markets.
    billing : what is billed beside energy; None for the block's rates alone.

    Raises
    ------
    SettlementError
        If the books do not balance.
    """
    return book(areas, block, level_trades(trades), billing or Billing())


def level_trades(trades: Sequence[LevelTrade]) -> SlotTrades:
    """Return the trades of consecutive slots as arrays."""

    def over_time(name: str) -> Floats:
        return np.array([getattr(trade, name) for trade in trades], dtype=np.float64)

    def by_source(name: str) -> Floats:
        return np.stack([getattr(trade, name) for trade in trades], axis=1)

    bought_eur, sold_eur = by_source("energy_bought"), by_source("energy_sold")
    bought_eur[Source.RETAIL] = over_time("energy_retail")
    sold_eur[Source.RETAIL] = -over_time("export")
    return SlotTrades(
        bought_kwh=by_source("bought"),
        sold_kwh=by_source("sold"),
        bought_eur=bought_eur,
        sold_eur=sold_eur,
        congestion=np.zeros((0, bought_eur.shape[2])),
        redispatch=over_time("redispatch"),
        moved_kwh=over_time("moved"),
        redispatch_retail=over_time("redispatch_retail"),
        operator_keeps=True,
        area_traded_kwh=over_time("area_traded"),
        area_residual_kwh=over_time("area_residual"),
    )
