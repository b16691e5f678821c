"""Cases of the auctions that price pairs, give up trades, or procure."""

from __future__ import annotations

from typing import Any

import numpy as np

from tricell.markets.mechanism import MarketTerms
from tricell.markets.mechanisms.marginal_pair_price import MarginalPairPrice
from tricell.markets.mechanisms.mcafee import auction_of_lots
from tricell.markets.mechanisms.pay_as_bid import PayAsBid, Pricing
from tricell.markets.mechanisms.reverse_vickrey import procure
from tricell.markets.mechanisms.trade_reduction import TradeReduction
from tricell.markets.order_table import Orders, is_order

SIDES = {"buy": 1.0, "sell": -1.0}
PRICINGS: dict[str, Pricing] = {"pab": "own_bid", "pair_k": "split"}


def valid(bids: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [bid for bid in bids if is_order(bid["q"], bid["p"])]


def by_id(bids: list[dict[str, Any]], orders: Orders, values: Any) -> dict[str, float]:
    """Values of all bids; invalid ones stay idle."""
    idle = {bid["id"]: 0.0 for bid in bids}
    return idle | dict(zip(orders.id.tolist(), values.tolist(), strict=True))


def orders_of(bids: list[dict[str, Any]]) -> Orders:
    """Columns of the valid ones of a list of bids; bids of the same `agent` share a number."""
    bids = valid(bids)
    agents = {name: n for n, name in enumerate(sorted({b["agent"] for b in bids if "agent" in b}))}
    return Orders.of(
        id=[bid["id"] for bid in bids],
        side=[SIDES[bid["side"]] for bid in bids],
        energy_kwh=[bid["q"] for bid in bids],
        price_eur_per_kwh=[bid["p"] for bid in bids],
        time=[bid.get("t", 0) for bid in bids],
        agent=[agents.get(bid.get("agent", ""), -1) for bid in bids],
    )


def marginal_pair_price(case: dict[str, Any]) -> dict[str, Any]:
    orders = orders_of(case["bids"])
    result = MarginalPairPrice(k=case.get("k", 0.5)).clear(orders, MarketTerms())
    return {
        "accepted": by_id(case["bids"], orders, result.accepted_kwh),
        "marginal_buy": result.marginal_buy,
        "marginal_sell": result.marginal_sell,
        "price": result.buy_price,
        "volume": result.volume_kwh(orders),
    }


def pay_as_bid(case: dict[str, Any]) -> dict[str, Any]:
    orders = orders_of(case["bids"])
    market = PayAsBid(pricing=PRICINGS[case.get("mode", "pab")], k=case.get("k", 0.5))
    result = market.clear(orders, MarketTerms())
    trades = result.trades
    assert trades is not None
    columns = np.column_stack([trades.energy_kwh, trades.buy_price, trades.sell_price]).tolist()
    names = zip(orders.id[trades.buy].tolist(), orders.id[trades.sell].tolist(), strict=True)
    return {
        "operator_surplus": result.operator_surplus_eur,
        "trades": [
            {"buy": buy, "sell": sell, "q": q, "p_buy": p_buy, "p_sell": p_sell}
            for (buy, sell), (q, p_buy, p_sell) in zip(names, columns, strict=True)
        ],
    }


def mcafee(case: dict[str, Any]) -> dict[str, Any]:
    outcome = auction_of_lots(case["buys"], case["sells"], case.get("lot", 1.0))
    return {
        "lots": outcome.lots,
        "p_buy": outcome.buy_price,
        "p_sell": outcome.sell_price,
        "reduced": outcome.reduced,
        "surplus": outcome.surplus_eur,
    }


def trade_reduction(case: dict[str, Any]) -> dict[str, Any]:
    orders = orders_of(case["bids"])
    result = TradeReduction().clear(orders, MarketTerms())
    return {
        "accepted": by_id(case["bids"], orders, result.accepted_kwh),
        "p_buy": result.buy_price,
        "p_sell": result.sell_price,
        "surplus": result.operator_surplus_eur,
        "volume": result.volume_kwh(orders),
    }


def reverse_vickrey(case: dict[str, Any]) -> dict[str, Any]:
    asks = case["asks"]
    bought = procure(
        [ask["id"] for ask in asks],
        [ask["p"] for ask in asks],
        units=case["units"],
        reserve=case["reserve"],
    )
    return {
        "cost": bought.cost_eur,
        "price": bought.price,
        "shortfall": bought.shortfall,
        "winners": list(bought.winners),
    }


ADAPTERS = {
    "B2_kprice": marginal_pair_price,
    "B3_pab": pay_as_bid,
    "B5_mcafee": mcafee,
    "B5m_huang": trade_reduction,
    "B8_reverse_vickrey": reverse_vickrey,
}
