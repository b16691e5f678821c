"""Who pays what to whom where the levels are cleared one after the other.

The markets themselves say what is paid for traded energy (`local_first`). Here their slots become
a `Settlement`: what agents pay, less what the retailer gets for his energy and the market
operators keep as surplus, goes to the network operator, who also bears what redispatch costs.
Every slot's payments add up to zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tricell.markets.settlement import AreaTrade, Settlement

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LevelTrade:
    """What was traded in one slot, and what that was worth; kWh and EUR.

    Attributes
    ----------
    bought_p2p, sold_p2p, bought_retail, sold_retail : kWh per agent.
    energy_p2p, energy_retail, export, network, redispatch : EUR per agent, positive pays.
    area_traded, area_residual, area_network : kWh, kWh and EUR per area.
    operator_surplus : EUR that stays with the market operators; negative is a deficit.
    redispatch_moved : kWh by which the schedule was changed.
    redispatch_cost : EUR that this costs the network operator.
    redispatch_retail : EUR of it that the retailer receives.
    gain, optimal_gain : EUR by which trade lowers the cost of supply against no trade: of these
        markets, and of the joint optimum.
    iterations : rounds of iterative mechanisms, summed.
    unfinished : markets that did not converge.
    """

    bought_p2p: Floats
    sold_p2p: Floats
    bought_retail: Floats
    sold_retail: Floats
    energy_p2p: Floats
    energy_retail: Floats
    export: Floats
    network: Floats
    redispatch: Floats
    area_traded: Floats
    area_residual: Floats
    area_network: Floats
    operator_surplus: float
    redispatch_moved: float
    redispatch_cost: float
    redispatch_retail: float
    gain: float
    optimal_gain: float
    iterations: int
    unfinished: int


def settle_level_trades(trades: Sequence[LevelTrade]) -> Settlement:
    """Settle consecutive slots.

    Parameters
    ----------
    trades : of each slot.
    """

    def over_time(name: str) -> Floats:
        return np.array([getattr(trade, name) for trade in trades], dtype=np.float64)

    def per_agent(name: str) -> Floats:
        return np.asarray(over_time(name).sum(axis=0))

    parts = ("energy_p2p", "energy_retail", "export", "network", "redispatch")
    paid = {name: over_time(name).sum(axis=1) for name in parts}
    to_retailer = over_time("redispatch_retail")
    retailer = paid["energy_retail"] + paid["export"] + to_retailer
    return Settlement(
        energy_p2p=per_agent("energy_p2p"),
        energy_retail=per_agent("energy_retail"),
        export=per_agent("export"),
        network=per_agent("network"),
        congestion=np.zeros_like(trades[0].network),
        redispatch=per_agent("redispatch"),
        bought_p2p_kwh=per_agent("bought_p2p"),
        sold_p2p_kwh=per_agent("sold_p2p"),
        bought_retail_kwh=per_agent("bought_retail"),
        sold_retail_kwh=per_agent("sold_retail"),
        agents_eur=-np.asarray(sum(paid.values())),
        retailer_eur=retailer,
        network_operator_eur=paid["network"] + paid["redispatch"] - to_retailer,
        market_operator_eur=paid["energy_p2p"],
        retail_import_kwh=over_time("bought_retail").sum(axis=1),
        retail_export_kwh=over_time("sold_retail").sum(axis=1),
        areas=AreaTrade(
            over_time("area_traded"), over_time("area_residual"), over_time("area_network")
        ),
    )
