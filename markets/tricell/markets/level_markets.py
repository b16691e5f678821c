"""One slot of the markets level by level, inside the limits of the grid.

The levels clear first (`local_first`); what is carried out then depends on how the market meets
the grid:

* ``none``: as cleared; the AC power flow only judges it.
* ``envelope``: before the gate every connection gets the room that it may use, whatever the
  others do with theirs; orders are clipped to it (`operating_envelopes`). The gate is that of
  the slot, or one for a whole day (`daily_envelopes`).
* ``redispatch``: after the gate, the smallest change that keeps all limits (`redispatch`).
* ``endogenous``: the joint program, which knows the grid, decides how much flows; the mechanisms
  decide who trades with whom, and at which price.

Where what is carried out differs from what was traded, the difference is settled at what it is
worth to the household itself (a plant without fuel saves nothing by standing still), so that
nobody loses or gains by being moved. The network operator bears it, and the energy difference as
well: what is missing he replaces, first at the feed-in price as far as energy was to be fed in,
then at the retailer's price (without network charges); what is left over, the other way round.

Orders of a slot arrive in random sequence (by the seed), which matters where time does.

Every slot is also cleared by the joint program: its optimum of the same orders is what the
mechanisms' gains from trade are measured by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.grid_models.arrays import sum_by_key
from tricell.markets.charge import Source
from tricell.markets.daily_envelopes import DayForecast, PowerRange, daily_envelopes
from tricell.markets.joint_market import Clearing, GridLimits, JointMarket, TradePrices
from tricell.markets.level_settlement import LevelTrade
from tricell.markets.linear_flow import LinearFlow
from tricell.markets.local_first import LocalFirstResult, MarketAreas, clear_local_first
from tricell.markets.mechanism import MarketTerms, Mechanism
from tricell.markets.meter_orders import MeterOrders, MeterState, Outcome
from tricell.markets.operating_envelopes import EnvelopeCalculator, Rule
from tricell.markets.order_table import Orders
from tricell.markets.orders import OrderBook
from tricell.markets.own_use import OwnUse, clear_with_own_use
from tricell.markets.redispatch import Redispatch
from tricell.markets.settlement import TradingAreas, area_trade_kw

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

NetworkMode = Literal["none", "envelope", "redispatch", "endogenous"]


@dataclass(frozen=True)
class MarketDesign:
    """How the levels clear.

    Attributes
    ----------
    mechanisms : of each area, None where there is no market.
    network : how the market meets the grid.
    envelope_rule : how room is shared among connections, with ``network="envelope"``.
    seed : of everything random.
    """

    mechanisms: Sequence[Mechanism | None]
    network: NetworkMode
    envelope_rule: Rule = "max_total"
    seed: int = 0


@dataclass(frozen=True)
class SlotDemand:
    """What one slot brings to the markets.

    Attributes
    ----------
    slot : its number.
    meters : what stands behind every meter.
    book : the same, as orders of the joint program.
    firm_node_kw : firm net demand per node.
    untraded_node_kw : the part of it of those who take no part in the markets; None for nothing.
    prices : prices at the areas' borders in the joint program.
    fee : network fee of a kWh that is traded in each area, EUR/kWh.
    seen_fee : the same, but at most all that trade could gain: what the joint program knows.
    entry, exit : what a kWh pays that enters or leaves each area through its border, EUR/kWh.
    retail_charge : network charges in the retail price, EUR/kWh.
    limits : limits of the linear model.
    retail_price, feed_in_price : EUR/kWh.
    own_use : what plants can serve at home in the joint program; None where no plant runs.
    allowed : what was published for this slot before the day began; None if nothing was.
    """

    slot: int
    meters: MeterState
    book: OrderBook
    firm_node_kw: Floats
    untraded_node_kw: Floats | None
    prices: TradePrices
    fee: Floats
    seen_fee: Floats
    entry: Floats
    exit: Floats
    retail_charge: float
    limits: GridLimits
    retail_price: float
    feed_in_price: float
    own_use: OwnUse | None = None
    allowed: PowerRange | None = None


class LevelMarkets:
    """The markets of all areas, set up once, cleared slot after slot.

    Parameters
    ----------
    joint : the joint program of the same agents and areas.
    meters : order rows of the population.
    generators : agents whose generation stands in the joint program's first order columns.
    areas, area_names : the tree.
    design : mechanisms, and how they meet the grid.
    agent_names : name of each agent.
    hours : length of a slot, h.
    """

    def __init__(
        self,
        joint: JointMarket,
        meters: MeterOrders,
        *,
        generators: Indices,
        areas: TradingAreas,
        area_names: tuple[str, ...],
        design: MarketDesign,
        agent_names: tuple[str, ...],
        hours: float,
    ) -> None:
        problem = joint.problem
        self.joint, self.design = joint, design
        self._meters, self._generators, self._hours = meters, generators, hours
        self._areas, self._agent_names = areas, agent_names
        self._area_names = area_names
        self._row_area = areas.agent_area[meters.agent]
        self._row_trades = None if areas.takes_part.all() else areas.takes_part[meters.agent]
        self._flow = LinearFlow(problem.grid, problem.constant_kw)
        self._redispatch = Redispatch(problem) if design.network == "redispatch" else None
        self._envelopes = (
            EnvelopeCalculator(problem, meters.agent_node, design.envelope_rule)
            if design.network == "envelope"
            else None
        )

    def memory(self) -> dict[str, Any]:
        """Return all that later slots depend on, but for the joint program."""
        parts = {"redispatch": self._redispatch, "envelopes": self._envelopes}
        return {name: part.memory() for name, part in parts.items() if part is not None}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from `memory` and nothing else."""
        if self._redispatch is not None:
            self._redispatch.recall(memory["redispatch"])
        if self._envelopes is not None:
            self._envelopes.recall(memory["envelopes"])

    def publish(self, day: DayForecast) -> PowerRange:
        """Return the envelopes of a day, for `SlotDemand.allowed` of each of its slots.

        Raises
        ------
        MarketError
            If these markets do not meet the grid by envelopes.
        """
        if self._envelopes is None:
            raise MarketError(
                f"there are no envelopes to publish with `network: {self.design.network}`; "
                "allowed is `network: envelope`"
            )
        return daily_envelopes(self._envelopes, self._meters.agent_node, day)

    def clear(self, demand: SlotDemand) -> tuple[Clearing, LevelTrade]:
        """Clear one slot on all levels.

        Returns
        -------
        The schedule that is carried out, in the columns of the joint program, and the trades.
        """
        optimum = clear_with_own_use(
            self.joint,
            demand.book,
            demand.firm_node_kw,
            demand.prices,
            demand.limits,
            untraded_kw=demand.untraded_node_kw,
            own=demand.own_use,
        )
        areas = MarketAreas(
            self._areas.parent, demand.fee, self._area_names, demand.entry, demand.exit
        )
        retailer = self._retailer_at(demand, areas)
        rows = self._meters.rows(demand.meters, *retailer)
        seed = int(np.random.SeedSequence((self.design.seed, demand.slot)).generate_state(1)[0])
        rows = rows.arriving(np.random.default_rng(seed).permutation(len(rows)))
        offered = rows.energy_kwh
        market = clear_local_first(
            rows.with_energy(self._admitted(demand, rows, optimum)),
            self._row_area,
            areas,
            self.design.mechanisms,
            MarketTerms(demand.retail_price, demand.feed_in_price, seed, self._agent_names),
            takes_part=self._row_trades,
        )
        cleared = self._meters.outcome(demand.meters, offered, market.taken_kwh)
        done, clearing = self._carried_out(demand, cleared, optimum)
        flowing = self._meters.rows_of(demand.meters, offered, done)
        alone, optimal = (
            self._cost_alone(demand, rows, *retailer),
            self._cost_of_optimum(demand, optimum, *retailer),
        )
        trade = self._trade(
            demand, rows, market, flowing_kwh=flowing, done=done, costs=(alone, optimal)
        )
        # The objective of the joint program, as far as these markets stay behind its optimum.
        cost = optimum.cost_eur_per_h + (trade.optimal_gain - trade.gain) / self._hours
        return replace(clearing, area_price=market.area_price, cost_eur_per_h=cost), trade

    def _retailer_at(self, demand: SlotDemand, areas: MarketAreas) -> tuple[Floats, Floats]:
        """Retail and feed-in price at every agent's meter, with the borders on the way."""
        member = self._areas.agent_area
        retail = demand.retail_price + areas.to_top(demand.entry)[member]
        return retail, demand.feed_in_price - areas.to_top(demand.exit)[member]

    def _traded_kw(self, demand: SlotDemand) -> Floats:
        """Firm net demand per node of those who take part in the markets."""
        if demand.untraded_node_kw is None:
            return demand.firm_node_kw
        return demand.firm_node_kw - demand.untraded_node_kw

    def _admitted(self, demand: SlotDemand, rows: Orders, optimum: Clearing) -> Floats:
        """Energy of each row that may be traded."""
        if self.design.network == "endogenous":
            planned = self._meters.rows_of(
                demand.meters, rows.energy_kwh, self._outcome(demand, optimum.accepted_kw)
            )
            return np.clip(planned, 0.0, rows.energy_kwh)
        if self._envelopes is None:
            return rows.energy_kwh
        return self._clipped(demand, rows, self._envelopes)

    def _clipped(self, demand: SlotDemand, rows: Orders, envelopes: EnvelopeCalculator) -> Floats:
        """Energy of each row inside the envelope of its connection."""
        meters, hours = self._meters, self._hours
        always = meters.always(demand.meters, rows.energy_kwh) / hours
        firm = sum_by_key(meters.agent_node, always, self.joint.problem.grid.n_node)
        flexible = meters.flexible(demand.meters, rows.energy_kwh)
        wanted = [meters.by_agent(flexible, side) / hours for side in (1.0, -1.0)]
        if demand.allowed is None:
            room = envelopes.limits(firm, firm, wanted[0], wanted[1], demand.limits)
        else:
            published = demand.allowed.room(always).at_most(*wanted)
            room = envelopes.cut(firm, published, demand.limits)
        share = [
            np.divide(limit, want, out=np.ones_like(want), where=want > 0.0)
            for limit, want in zip((room.import_kw, room.export_kw), wanted, strict=True)
        ]
        kept = np.where(rows.side > 0.0, share[0][meters.agent], share[1][meters.agent])
        return np.asarray(rows.energy_kwh - flexible * (1.0 - np.minimum(kept, 1.0)))

    def _carried_out(
        self, demand: SlotDemand, cleared: Outcome, optimum: Clearing
    ) -> tuple[Outcome, Clearing]:
        """Return what is carried out, and its state in the linear model."""
        if self.design.network == "endogenous":
            return self._outcome(demand, optimum.accepted_kw), optimum
        accepted = self._columns(cleared)
        if self._redispatch is not None:
            changed = self._redispatch.adjust(
                accepted, demand.book.quantity_kw, demand.firm_node_kw, demand.limits
            )
            net_import = self.joint.net_import_kw(changed.accepted_kw, self._traded_kw(demand))
            clearing = replace(
                changed.clearing,
                accepted_kw=changed.accepted_kw,
                net_import_kw=net_import,
                node_price=optimum.node_price,
            )
            return self._outcome(demand, changed.accepted_kw), clearing
        return cleared, self._as_cleared(demand, accepted, optimum)

    def _as_cleared(self, demand: SlotDemand, accepted: Floats, optimum: Clearing) -> Clearing:
        orders, grid = self.joint.problem.orders, self.joint.problem.grid
        net = demand.firm_node_kw + sum_by_key(orders.node, orders.side * accepted, grid.n_node)
        state = self._flow.state(net, demand.limits.voltage_offset)
        flow_breach, voltage2_breach = np.zeros(grid.n_edge), np.zeros(grid.n_node)
        if self._envelopes is not None:
            # Orders keep their envelopes, but what flows in any case may break a limit alone.
            flow_breach = _beyond(
                state.flow_kw, demand.limits.flow_min_kw, demand.limits.flow_max_kw
            )
            problem = self.joint.problem
            voltage2_breach = np.nan_to_num(
                _beyond(state.voltage2, problem.v2_min, problem.v2_max), nan=0.0
            )
        return replace(
            optimum,
            accepted_kw=accepted,
            net_import_kw=self.joint.net_import_kw(accepted, self._traded_kw(demand)),
            flow_kw=state.flow_kw,
            voltage2=state.voltage2,
            flow_breach_kw=flow_breach,
            voltage2_breach=voltage2_breach,
        )

    def _columns(self, outcome: Outcome) -> Floats:
        """Return accepted power in the order columns of the joint program."""
        steps = outcome.steps_kw
        return np.concatenate([outcome.generation_kw[self._generators], steps.ravel()])

    def _outcome(self, demand: SlotDemand, accepted_kw: Floats) -> Outcome:
        generation = demand.meters.generation_kw.copy()
        n_generator = len(self._generators)
        generation[self._generators] = accepted_kw[:n_generator]
        return Outcome(generation, accepted_kw[n_generator:].reshape(4, -1))

    def _trade(
        self,
        demand: SlotDemand,
        rows: Orders,
        market: LocalFirstResult,
        *,
        flowing_kwh: Floats,
        done: Outcome,
        costs: tuple[float, float],
    ) -> LevelTrade:
        """Return the slot's trades; `costs` are those of no trade and of the joint optimum."""
        by_agent = self._meters.by_agent
        change = flowing_kwh - market.taken_kwh
        # Own generation that was wanted at home (a flow below zero) was never sold to anybody.
        retail_price = np.full(len(self._agent_names), demand.retail_price)
        worth = self._meters.worth(demand.meters, retail_price)
        moved = rows.side * worth * (np.maximum(flowing_kwh, 0.0) - market.taken_kwh)
        retail = _rebalancing_cost(float((rows.side * change).sum()), market, demand)
        cost = _device_cost(demand, done, self._hours)
        cost += float(market.retail_eur.sum() + market.network_eur.sum()) + retail
        alone, optimal = costs
        bought_retail = by_agent(market.bought_retail_kwh)
        (bought, paid), (sold, got) = self._by_source(market, 1.0), self._by_source(market, -1.0)
        bought[Source.RETAIL] = bought_retail
        sold[Source.RETAIL] = by_agent(market.sold_retail_kwh)
        return LevelTrade(
            bought=bought,
            sold=sold,
            energy_bought=paid,
            energy_sold=-got,
            energy_retail=bought_retail * (demand.retail_price - demand.retail_charge),
            export=by_agent(market.retail_eur, -1.0),
            moved=by_agent(rows.side * change),
            redispatch=by_agent(moved),
            area_traded=market.area_traded_kwh,
            area_residual=market.area_residual_kwh,
            operator_surplus=float(market.area_surplus_eur.sum()),
            redispatch_moved=float(np.abs(change).sum()),
            redispatch_cost=retail - float(moved.sum()),
            redispatch_retail=retail,
            gain=alone - cost,
            optimal_gain=alone - optimal,
            iterations=sum(each.result.iterations for each in market.markets),
            unfinished=sum("not converged" in each.result.flags for each in market.markets),
        )

    def _by_source(self, market: LocalFirstResult, side: float) -> tuple[Floats, Floats]:
        """Energy that each agent traded on one side and its payment, by `Source`, (4, agents)."""
        meters, n_agent = self._meters, len(self._agent_names)
        energy, paid = np.zeros((len(Source), n_agent)), np.zeros((len(Source), n_agent))
        for each in market.markets:
            chosen = each.orders.side == side
            agent = meters.agent[each.rows[chosen]]
            source = int(self._areas.level[each.area]) - 1
            energy[source] += sum_by_key(agent, each.taken_kwh[chosen], n_agent)
            paid[source] += sum_by_key(agent, each.result.payment_eur[chosen], n_agent)
        return energy, paid

    def _cost_alone(
        self, demand: SlotDemand, rows: Orders, retail: Floats, feed_in: Floats
    ) -> float:
        """Cost of supply without any trade: everybody alone with the retailer."""
        taken = np.where(rows.attribute("retail", 1.0) > 0.0, rows.energy_kwh, 0.0)
        done = self._meters.outcome(demand.meters, rows.energy_kwh, taken)
        agent = rows.agent
        paid = np.where(rows.side > 0.0, retail[agent], -feed_in[agent]) * taken
        return _device_cost(demand, done, self._hours) + float(paid.sum())

    def _cost_of_optimum(
        self, demand: SlotDemand, optimum: Clearing, retail: Floats, feed_in: Floats
    ) -> float:
        """Cost of supply in the joint optimum, with the fees of what is traded inside each area."""
        done = self._outcome(demand, optimum.accepted_kw)
        orders, areas, hours = self.joint.problem.orders, self._areas, self._hours
        net = demand.meters.firm_kw - demand.meters.generation_kw
        curtailed = (
            demand.meters.generation_kw[self._generators] - done.generation_kw[self._generators]
        )
        n_agent, n_generator = len(net), len(self._generators)
        net = net + sum_by_key(self._generators, curtailed, n_agent)
        battery = (orders.side * optimum.accepted_kw)[n_generator:]
        net += sum_by_key(orders.agent[n_generator:], battery, n_agent)
        alone = np.where(areas.takes_part, 0.0, net)
        imported = optimum.net_import_kw
        traded = area_trade_kw(areas, net - alone, imported)
        borders = np.maximum(imported, 0.0) @ np.broadcast_to(demand.entry, imported.shape)
        borders += np.maximum(-imported, 0.0) @ np.broadcast_to(demand.exit, imported.shape)
        supply = _retail_cost(float(imported[0]), demand)
        supply += float(np.maximum(alone, 0.0) @ retail - np.maximum(-alone, 0.0) @ feed_in)
        fees = float(traded @ demand.seen_fee) + float(borders)
        return _device_cost(demand, done, hours) + (fees + supply) * hours


def _beyond(value: Floats, low: Floats, high: Floats) -> Floats:
    """By how much values lie above their upper bound, or (negative) below their lower one."""
    return np.maximum(value - high, 0.0) - np.maximum(low - value, 0.0)


def _device_cost(demand: SlotDemand, done: Outcome, hours: float) -> float:
    """Cost of what plants and batteries give less the worth of what these take, EUR.

    All at their own prices, in which charges on the owner's imports and exports are included.
    """
    own_charge, charge, own_discharge, discharge = done.steps_kw
    meters = demand.meters
    taken = meters.own_charge_price @ own_charge + meters.market_charge_price @ charge
    given = meters.own_discharge_price @ own_discharge + meters.market_discharge_price @ discharge
    made = meters.generation_offer @ done.generation_kw
    return float(given - taken + made) * hours


def _rebalancing_cost(missing_kwh: float, market: LocalFirstResult, demand: SlotDemand) -> float:
    """Cost of replacing energy that was traded but does not flow, EUR; negative if too much does.

    It comes out of what was to be fed in, and only then from the retailer's own supply; energy too
    much takes the place of what was to be bought from him, and is only then fed in.
    """
    retail, feed_in = demand.retail_price - demand.retail_charge, demand.feed_in_price
    if missing_kwh > 0.0:
        spared = min(missing_kwh, float(market.sold_retail_kwh.sum()))
        return spared * feed_in + (missing_kwh - spared) * retail
    spared = min(-missing_kwh, float(market.bought_retail_kwh.sum()))
    return -spared * retail - (-missing_kwh - spared) * feed_in


def _retail_cost(net: float, demand: SlotDemand) -> float:
    """Cost of energy (or power, per hour) from the retailer; a negative one is fed in."""
    price = demand.retail_price if net > 0.0 else demand.feed_in_price
    return net * price
