"""Cases of the auctions that clear a book at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from tricell.markets.mechanism import MarketTerms
from tricell.markets.mechanisms.marginal_pair_price import MarginalPairPrice
from tricell.markets.mechanisms.mcafee import auction_of_lots
from tricell.markets.mechanisms.pay_as_bid import PayAsBid, Pricing
from tricell.markets.mechanisms.random_halves import draw_halves, trade_in_halves
from tricell.markets.mechanisms.reverse_vickrey import procure
from tricell.markets.mechanisms.trade_reduction import TradeReduction
from tricell.markets.mechanisms.uniform_price import UniformPrice
from tricell.markets.mechanisms.vickrey import Vickrey
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
    names = {str(bid["agent"]) for bid in bids if bid.get("agent") is not None}
    agents = {name: number for number, name in enumerate(sorted(names))}
    return Orders.of(
        id=[bid["id"] for bid in bids],
        side=[SIDES[bid["side"]] for bid in bids],
        energy_kwh=[bid["q"] for bid in bids],
        price_eur_per_kwh=[bid["p"] for bid in bids],
        time=[bid.get("t", 0) for bid in bids],
        agent=[agents.get(str(bid.get("agent")), -1) for bid in bids],
    )


def uniform_price(case: dict[str, Any]) -> dict[str, Any]:
    orders = orders_of(case["bids"])
    result = UniformPrice(k=case.get("k", 0.5)).clear(orders, MarketTerms())
    return {
        "accepted": by_id(case["bids"], orders, result.accepted_kwh),
        "payments": by_id(case["bids"], orders, result.payment_eur),
        "price": result.buy_price,
        "volume": result.volume_kwh(orders),
        "welfare": result.welfare_eur,
    }


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


def random_halves(case: dict[str, Any]) -> dict[str, Any]:
    orders = orders_of(case["bids"])
    owners = [str(bid.get("agent", bid["id"])) for bid in valid(case["bids"])]
    left, rank = draw_halves(orders, case.get("seed", 0))
    right = ~left
    if "partition" in case:
        left = np.array([owner in case["partition"]["left"] for owner in owners], dtype=bool)
        right = np.array([owner in case["partition"]["right"] for owner in owners], dtype=bool)
    if "lottery" in case:
        places = {str(agent): place for place, agent in enumerate(case["lottery"])}
        rank = np.array([places.get(owner, len(places)) for owner in owners], dtype=np.int64)
    result = trade_in_halves(orders, left, rank, right)
    return {
        "accepted": by_id(case["bids"], orders, result.accepted_kwh),
        "price_left": result.price_left,
        "price_right": result.price_right,
        "volume_left": result.volume_left_kwh,
        "volume_right": result.volume_right_kwh,
    }


def vickrey(case: dict[str, Any]) -> dict[str, Any]:
    orders = orders_of(case["bids"])
    result = Vickrey().clear(orders, MarketTerms())
    return {
        "accepted": by_id(case["bids"], orders, result.accepted_kwh),
        "payments": by_id(case["bids"], orders, result.payment_eur),
        "welfare": result.welfare_eur,
        "deficit": -result.operator_surplus_eur,
    }


ADAPTERS = {
    "B1_uniform": uniform_price,
    "B2_kprice": marginal_pair_price,
    "B3_pab": pay_as_bid,
    "B5_mcafee": mcafee,
    "B5m_huang": trade_reduction,
    "B6_muda": random_halves,
    "B7_vcg": vickrey,
    "B8_reverse_vickrey": reverse_vickrey,
}
