"""What a slot brings to the markets: orders, firm power, prices, and what happens outside them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tricell.grid_models.arrays import sum_by_key
from tricell.markets.charge import EnergyRates, Source
from tricell.markets.daily_envelopes import PowerRange
from tricell.markets.joint_market import GridLimits, TradePrices
from tricell.markets.level_markets import SlotDemand
from tricell.markets.meter_orders import MeterState
from tricell.markets.orders import OrderBook, check_order_book
from tricell.markets.own_use import OwnUse
from tricell.simulators.battery_orders import Step
from tricell.simulators.market_settings import MarketSettings
from tricell.simulators.messages import AgentPowerNow, StorageNow
from tricell.simulators.outsiders import Outside

Floats = NDArray[np.float64]


def with_firm_load(power: AgentPowerNow, firm_kw: Floats) -> AgentPowerNow:
    """Return the power of the agents with what their devices must take, part of their load."""
    if not firm_kw.any():
        return power
    return replace(power, p_load_kw=power.p_load_kw + firm_kw)


def reactive_of_nodes(
    settings: MarketSettings, power: AgentPowerNow, fed_in_kw: Floats | None
) -> Floats:
    """Return what nodes consume, kvar, shape (n_node,).

    Parameters
    ----------
    settings : who stands where.
    power : what the slot brings.
    fed_in_kw : what plants feed in, which inverters may go by; None as long as it is not known.
    """
    generated = power.q_generation_kvar
    if power.plants is not None and fed_in_kw is not None:
        generated = power.plants.reactive_kvar(fed_in_kw)
    n_node = settings.market.problem.grid.n_node
    return sum_by_key(settings.participants.agent_node, power.q_load_kvar - generated, n_node)


def outside_of_markets(
    settings: MarketSettings, slot: int, power: AgentPowerNow, storage: StorageNow
) -> Outside | None:
    """Return what those do who take no part; None if everybody does."""
    if not settings.outsiders:
        return None
    prices, owner = settings.prices, settings.participants.battery_agent
    rates = settings.rates.part(slot, 1)
    earns = np.broadcast_to(prices.feed_in[slot] - rates.exported[0], len(power.p_load_kw))
    own_fee = settings.seen_fee(slot)[settings.areas.agent_area[owner]]
    return settings.outsiders.act(
        power,
        storage,
        feed_in=float(prices.feed_in[slot]),
        feed_in_net=np.asarray(earns),
        retail=prices.retail[slot] - own_fee,
    )


def slot_demand(
    settings: MarketSettings,
    slot: int,
    power: AgentPowerNow,
    storage: StorageNow,
    *,
    limits: GridLimits,
    outside: Outside | None,
    allowed: PowerRange | None,
) -> SlotDemand:
    """Put together what the slot brings to the markets.

    Parameters
    ----------
    settings : who stands where, prices and rates.
    slot : its number.
    power : what is known at the gate; what stores must take is in the load.
    storage : states and orders of all stores.
    limits : of the grid.
    outside : what those do who take no part.
    allowed : envelopes that were published before; None where they are not.
    """
    who, areas, n_node = settings.participants, settings.areas, settings.market.problem.grid.n_node
    rates, fee = settings.rates.part(slot, 1), settings.seen_fee(slot)
    offer = _generation_offer(settings, power, rates)
    firm = power.p_load_kw + np.maximum(-power.generation_kw, 0.0)
    untraded_node = None
    if outside is not None:
        firm = np.where(areas.takes_part, firm, outside.net_kw)
        untraded_node = sum_by_key(who.agent_node, outside.net_kw, n_node)
    return SlotDemand(
        slot=slot,
        meters=_meter_state(settings, power, storage, firm_kw=firm, fee=fee, offer=offer),
        book=_order_book(settings, power, storage, offer),
        firm_node_kw=sum_by_key(who.agent_node, firm, n_node),
        untraded_node_kw=untraded_node,
        prices=_trade_prices(settings, slot, fee, rates),
        fee=areas.fee(rates)[0],
        seen_fee=fee,
        entry=rates.entry[0],
        exit=rates.exit[0],
        retail_charge=float(rates.by_source[0, Source.RETAIL]),
        limits=limits,
        retail_price=float(settings.prices.retail[slot]),
        feed_in_price=float(settings.prices.feed_in[slot]),
        own_use=_own_use(settings, power),
        allowed=allowed,
    )


def _generation_offer(settings: MarketSettings, power: AgentPowerNow, rates: EnergyRates) -> Floats:
    """Return what each agent's plants ask for: their own price, and what feeding in costs.

    Plants that do not exceed the own load feed nothing in and pay nothing for it.
    """
    feeds_in = power.generation_kw > power.p_load_kw
    return np.asarray(settings.generation_price + np.where(feeds_in, rates.exported[0], 0.0))


def _own_use(settings: MarketSettings, power: AgentPowerNow) -> OwnUse | None:
    """Return what plants can serve at home; None where no plant runs."""
    who = settings.participants
    plants = np.maximum(power.generation_kw[who.generators], 0.0)
    if not plants.any():
        return None
    load = np.clip(power.p_load_kw[who.generators], 0.0, plants)
    load = np.where(settings.areas.takes_part[who.generators], load, 0.0)
    return OwnUse(load, who.generators, who.battery_agent)


def _order_book(
    settings: MarketSettings, power: AgentPowerNow, storage: StorageNow, offer: Floats
) -> OrderBook:
    who, orders = settings.participants, storage.orders
    plants = np.maximum(power.generation_kw[who.generators], 0.0)
    quantity = np.concatenate([plants, orders.upper_kw.ravel()])
    if settings.outsiders:
        quantity *= settings.order_trades
    price = np.concatenate([offer[who.generators], orders.limit_price_eur_per_kwh.ravel()])
    book = OrderBook(price, quantity)
    check_order_book(settings.market.problem.orders, book, who.agent_ids)
    return book


def _trade_prices(
    settings: MarketSettings, slot: int, fee: Floats, rates: EnergyRates
) -> TradePrices:
    """Fees between levels and at borders; at the top, retail less the top fee, and feed-in."""
    parent, prices = settings.areas.parent, settings.prices
    import_price = np.where(parent >= 0, fee[parent] - fee, prices.retail[slot] - fee)
    export_price = np.where(parent >= 0, 0.0, prices.feed_in[slot])
    return TradePrices(import_price + rates.entry[0], export_price - rates.exit[0])


def _meter_state(
    settings: MarketSettings,
    power: AgentPowerNow,
    storage: StorageNow,
    *,
    firm_kw: Floats,
    fee: Floats,
    offer: Floats,
) -> MeterState:
    """Return what stands behind every meter; prices without the fee of the own area."""
    areas, owner = settings.areas, settings.participants.battery_agent
    upper = storage.orders.upper_kw
    generation = np.maximum(power.generation_kw, 0.0)
    if settings.outsiders:
        upper = upper * areas.takes_part[owner]
        generation = np.where(areas.takes_part, generation, 0.0)
    price = storage.orders.limit_price_eur_per_kwh
    own_fee = fee[areas.agent_area[owner]]
    return MeterState(
        firm_kw=firm_kw,
        generation_kw=generation,
        own_charge_kw=upper[Step.CHARGE_OWN],
        market_charge_kw=upper[Step.CHARGE_MARKET],
        own_discharge_kw=upper[Step.DISCHARGE_OWN],
        market_discharge_kw=upper[Step.DISCHARGE_MARKET],
        own_charge_price=price[Step.CHARGE_OWN],
        market_charge_price=price[Step.CHARGE_MARKET] + own_fee,
        own_discharge_price=price[Step.DISCHARGE_OWN] + own_fee,
        market_discharge_price=price[Step.DISCHARGE_MARKET],
        generation_offer=offer,
    )
