"""Cases of the markets level by level."""

from __future__ import annotations

from typing import Any

import numpy as np

from tricell.markets.local_first import MarketAreas, clear_local_first
from tricell.markets.mechanism import MarketTerms
from tricell.markets.mechanisms.uniform_price import UniformPrice
from tricell.markets.order_table import Orders, is_order

SIDES = {"buy": 1.0, "sell": -1.0}
TOP = "ALL"


def three_level(case: dict[str, Any]) -> dict[str, Any]:
    bids = [bid for bid in case["bids"] if is_order(bid["q"], bid["p"])]
    idle, cell_of = {bid["id"]: 0.0 for bid in case["bids"]}, case["cell_of"]
    microgrids = sorted({*cell_of, *(bid["mg"] for bid in bids)})
    cells = sorted(set(cell_of.values()))
    names = [TOP, *cells, *microgrids]
    row = {name: n for n, name in enumerate(names)}
    level = [3] + [2] * len(cells) + [1] * len(microgrids)
    parent = [-1] + [0] * len(cells) + [row[cell_of[name]] for name in microgrids]
    areas = MarketAreas(
        np.array(parent), np.array(case["fees"], dtype=float)[np.array(level) - 1], tuple(names)
    )
    orders = Orders.of(
        id=[bid["id"] for bid in bids],
        side=[SIDES[bid["side"]] for bid in bids],
        energy_kwh=[bid["q"] for bid in bids],
        price_eur_per_kwh=[bid["p"] for bid in bids],
        time=[bid.get("t", 0) for bid in bids],
        agent=range(len(bids)),
    )
    result = clear_local_first(
        orders,
        np.array([row[bid["mg"]] for bid in bids], dtype=np.int64),
        areas,
        [UniformPrice(k=case.get("k", 0.5))] * len(names),
        MarketTerms(case["p_im"], case["p_ex"], agent_names=tuple(orders.id.tolist())),
    )
    return {
        "cash": idle | _by_id(orders, result.energy_eur + result.network_eur + result.retail_eur),
        "dso": float(result.area_network_eur.sum()),
        "local_welfare": sum(market.result.welfare_eur for market in result.markets),
        "markets": [
            {
                "level": level[market.area],
                "market": names[market.area],
                "price": market.result.buy_price,
                "volume": market.result.volume_kwh(market.orders),
            }
            for market in sorted(result.markets, key=lambda m: (level[m.area], m.area))
            if market.result.buy_price is not None
        ],
        "residual": idle | _by_id(orders, orders.energy_kwh - result.traded_kwh),
    }


def _by_id(orders: Orders, values: Any) -> dict[str, float]:
    return dict(zip(orders.id.tolist(), values.tolist(), strict=True))


ADAPTERS = {"J1_three_level": three_level}
