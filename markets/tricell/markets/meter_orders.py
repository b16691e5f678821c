"""What every household asks of the local markets in one slot: its net need, in priced steps.

A household uses its own generation first. What its meter would show then is offered in rows; with
``p_im`` the retail price, ``p_ex`` the feed-in price, ``b`` what a charging step is worth, ``a``
what a discharging step costs and ``o`` what the plants ask for (all without the area's fee; with
what the household's own network charges add or take, so that each step has its own ``a`` or ``b``):

===================  ====  =========================  =====================================
row                  side  limit price                what happens to energy that nobody took
===================  ====  =========================  =====================================
deficit              buy   ``p_im``                   bought from the retailer
own discharge        buy   ``min(a, p_im)``           the own battery covers it
surplus              sell  ``max(p_ex, o)``           fed in, or curtailed where ``p_ex < o``
own charge           sell  ``max(b, p_ex, o)``        the own battery stores it
market charge        buy   ``min(b, p_im)``           not charged, unless ``b >= p_im``
market discharge     sell  ``max(a, p_ex)``           not discharged, unless ``a <= p_ex``
===================  ====  =========================  =====================================

So the own battery stands behind the meter, and yet trades whenever neighbours value it more: the
same choice that the joint program has. Nobody bids more than the retailer asks, or asks for less
than he pays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tricell.grid_models.arrays import sum_by_key
from tricell.markets.order_table import Orders

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

ROW_SIDES = (1.0, 1.0, -1.0, -1.0, 1.0, -1.0)
"""Deficit, own discharge, surplus, own charge, market charge, market discharge."""


@dataclass(frozen=True)
class MeterState:
    """What stands behind every meter in one slot.

    Attributes
    ----------
    firm_kw : demand that is always served, per agent; negative feeds in.
    generation_kw : available generation, per agent, at least 0.
    own_charge_kw, market_charge_kw, own_discharge_kw, market_discharge_kw : largest power of each
        step, per battery.
    own_charge_price, market_charge_price, own_discharge_price, market_discharge_price : limit
        prices of these steps without the fee of the own area, per battery, EUR/kWh.
    generation_offer : what the plants ask for at least, per agent, EUR/kWh.
    """

    firm_kw: Floats
    generation_kw: Floats
    own_charge_kw: Floats
    market_charge_kw: Floats
    own_discharge_kw: Floats
    market_discharge_kw: Floats
    own_charge_price: Floats
    market_charge_price: Floats
    own_discharge_price: Floats
    market_discharge_price: Floats
    generation_offer: Floats


@dataclass(frozen=True)
class Outcome:
    """What is carried out, kW.

    Attributes
    ----------
    generation_kw : fed in by the plants, per agent.
    steps_kw : own charge, market charge, own discharge, market discharge; shape (4, batteries).
    """

    generation_kw: Floats
    steps_kw: Floats


class MeterOrders:
    """The order rows of a population: fixed places, moving prices and quantities.

    Parameters
    ----------
    agent_ids : name of each agent.
    agent_node : its electrical node.
    battery_agent : owner of each battery.
    hours : length of a slot, h.

    Attributes
    ----------
    agent : agent of every row.
    agent_node : node of every agent.
    """

    def __init__(
        self,
        agent_ids: tuple[str, ...],
        agent_node: Indices,
        battery_agent: Indices,
        hours: float,
    ) -> None:
        agents = np.arange(len(agent_ids))
        parts = (agents, battery_agent, agents, battery_agent, battery_agent, battery_agent)
        self._battery_agent, self._n_agent = battery_agent, len(agent_ids)
        self._hours = hours
        self.agent_node = agent_node
        self._cuts = np.cumsum([len(part) for part in parts])[:-1]
        self.agent = np.concatenate(parts).astype(np.int64)
        self._side = np.repeat(ROW_SIDES, [len(part) for part in parts])
        rows = np.arange(len(self.agent))
        self._rows = Orders(
            id=np.char.mod("%d", rows) if len(rows) else np.zeros(0, np.str_),
            side=self._side,
            energy_kwh=np.zeros(len(rows)),
            price_eur_per_kwh=np.zeros(len(rows)),
            time=np.zeros(len(rows)),
            agent=self.agent,
            node=agent_node[self.agent],
            priority=rows,
        )

    def rows(self, state: MeterState, retail_price: Floats, feed_in_price: Floats) -> Orders:
        """Return all rows of a slot; rows without energy have 0 kWh.

        Parameters
        ----------
        state : what stands behind every meter.
        retail_price, feed_in_price : EUR/kWh, per agent.
        """
        net = state.firm_kw - state.generation_kw
        covered = sum_by_key(self._battery_agent, state.own_discharge_kw, self._n_agent)
        stored = sum_by_key(self._battery_agent, state.own_charge_kw, self._n_agent)
        power = (
            np.maximum(np.maximum(net, 0.0) - covered, 0.0),
            state.own_discharge_kw,
            np.maximum(np.maximum(-net, 0.0) - stored, 0.0),
            state.own_charge_kw,
            state.market_charge_kw,
            state.market_discharge_kw,
        )
        owner = self._battery_agent
        floor = np.maximum(feed_in_price, state.generation_offer)
        price = (
            retail_price,
            np.minimum(state.own_discharge_price, retail_price[owner]),
            floor,
            np.maximum(state.own_charge_price, floor[owner]),
            np.minimum(state.market_charge_price, retail_price[owner]),
            np.maximum(state.market_discharge_price, feed_in_price[owner]),
        )
        limit = np.concatenate(price)
        buys = self._side > 0.0
        dearest = retail_price[self.agent]
        firm = np.where(buys, limit >= dearest, limit <= floor[self.agent])
        served = np.where(buys, limit >= dearest, limit <= feed_in_price[self.agent])
        return Orders(
            id=self._rows.id,
            side=self._side,
            energy_kwh=np.concatenate(power) * self._hours,
            price_eur_per_kwh=limit,
            time=self._rows.time,
            agent=self.agent,
            node=self._rows.node,
            priority=self._rows.priority,
            attributes={"firm": firm, "retail": served},
        )

    def outcome(self, state: MeterState, energy_kwh: Floats, taken_kwh: Floats) -> Outcome:
        """Return what is carried out.

        Parameters
        ----------
        state : what stands behind every meter.
        energy_kwh : energy of every row as it was offered by the household, before any envelope.
        taken_kwh : energy of every row that was traded, with peers or the retailer.
        """
        taken = np.split(taken_kwh / self._hours, self._cuts)
        left = np.split((energy_kwh - taken_kwh) / self._hours, self._cuts)
        _, kept_discharge, unsold, kept_charge, _, _ = left
        # Feed-in that nobody can switch off (negative demand) stays whatever was sold.
        curtailed = np.clip(unsold, 0.0, state.generation_kw)
        return Outcome(
            generation_kw=state.generation_kw - curtailed,
            steps_kw=np.stack([kept_charge, taken[4], kept_discharge, taken[5]]),
        )

    def worth(self, state: MeterState, retail_price: Floats) -> Floats:
        """Return what a kWh of each row is worth to the household itself, EUR/kWh."""
        return np.concatenate(
            [
                retail_price,
                state.own_discharge_price,
                state.generation_offer,
                state.own_charge_price,
                state.market_charge_price,
                state.market_discharge_price,
            ]
        )

    def rows_of(self, state: MeterState, energy_kwh: Floats, outcome: Outcome) -> Floats:
        """Return the energy of each row that flows in a given outcome: the reverse of `outcome`.

        A surplus below zero is generation that the household wanted for itself.

        Parameters
        ----------
        state : what stands behind every meter.
        energy_kwh : energy of every row as it was offered by the household.
        outcome : what is carried out.
        """
        deficit, own_discharge, _, own_charge, _, _ = np.split(energy_kwh, self._cuts)
        steps = outcome.steps_kw * self._hours
        per_battery = (own_discharge - steps[2], own_charge - steps[0], steps[1], steps[3])
        covered, stored, charged, discharged = (
            sum_by_key(self._battery_agent, energy, self._n_agent) for energy in per_battery
        )
        of_battery = outcome.steps_kw[0] + outcome.steps_kw[1]
        of_battery = of_battery - outcome.steps_kw[2] - outcome.steps_kw[3]
        net = state.firm_kw - outcome.generation_kw
        net = net + sum_by_key(self._battery_agent, of_battery, self._n_agent)
        surplus = deficit + covered - stored + charged - discharged - net * self._hours
        return np.concatenate(
            [deficit, per_battery[0], surplus, per_battery[1], per_battery[2], per_battery[3]]
        )

    def flexible(self, state: MeterState, energy_kwh: Floats) -> Floats:
        """Return the energy of each row that need not flow: all but demand and forced feed-in."""
        parts = np.split(energy_kwh.copy(), self._cuts)
        parts[0][:] = 0.0
        forced = np.maximum(-state.firm_kw, 0.0) * self._hours
        parts[2][:] = np.maximum(parts[2] - forced, 0.0)
        return np.concatenate(parts)

    def always(self, state: MeterState, energy_kwh: Floats) -> Floats:
        """Return the energy per agent that flows whatever happens, positive buys, kWh."""
        fixed = energy_kwh - self.flexible(state, energy_kwh)
        return self.by_agent(fixed * self._side)

    def by_agent(self, per_row: Floats, side: float = 0.0) -> Floats:
        """Sum a quantity of the rows over each agent; of one side only if it is given."""
        values = per_row if side == 0.0 else np.where(self._side == side, per_row, 0.0)
        return sum_by_key(self.agent, values, self._n_agent)
