"""Where services of flexibility meet the markets: before a slot is cleared, and right after it.

Before the markets clear, power that is held in reserve is taken out of what stores offer them.
Once they have cleared, open requests buy what is left of the bands beside the schedule, and what
they buy moves the schedule before the grid proves it. The prices of the markets stay: what is
moved was contracted, and is settled as a service (`tricell.simulators.service_record`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tricell.grid_models.arrays import sum_by_key
from tricell.markets.joint_market import Clearing
from tricell.markets.linear_flow import LinearFlow
from tricell.markets.services.offers import StoreBand, StoreBids
from tricell.markets.services.service import (
    HeldReserve,
    Service,
    SlotServices,
    StoreOwners,
    serve_slot,
    take_reserve,
)
from tricell.markets.settlement import TradingAreas
from tricell.simulators.battery_orders import BatteryOrders, Step
from tricell.simulators.device_checks import PowerBand
from tricell.simulators.messages import Schedule, StorageNow
from tricell.simulators.owner_prices import OwnerPrices
from tricell.simulators.population import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class RunServices:
    """Services of a run and who can serve them.

    Attributes
    ----------
    services : in the order of the scenario, at least one.
    who : owners of the stores.
    store_agent : owner of each store, shape (n_store,).
    agent_node : electrical node of each agent.
    prices : what energy costs the owners outside the markets.
    round_trip : share of drawn energy that each store gives back, shape (n_store,); 0 for none.
    wear_eur_per_kwh : of a kWh given back, shape (n_store,).
    """

    services: tuple[Service, ...]
    who: StoreOwners
    store_agent: IntArray
    agent_node: IntArray
    prices: OwnerPrices
    round_trip: FloatArray
    wear_eur_per_kwh: FloatArray

    @property
    def is_open(self) -> BoolArray:
        """Slots in which anything is asked for, shape (n_slot,)."""
        return np.asarray(np.any([service.is_open for service in self.services], axis=0))


class ServiceDesk:
    """Sells flexibility of one run.

    Parameters
    ----------
    run : the services and who can serve them.
    flow : the linear grid model.
    areas : tree of areas and membership.
    """

    def __init__(self, run: RunServices, flow: LinearFlow, areas: TradingAreas) -> None:
        self._run, self._flow, self._areas = run, flow, areas
        self._is_open = run.is_open
        self._idle = SlotServices.nothing(len(run.services), run.who)
        grid = flow.grid
        self._no_offset = np.zeros(grid.n_edge)
        self._at_rest = flow.state(np.zeros(grid.n_node), self._no_offset)

    def hold(self, slot: int, storage: StorageNow) -> tuple[HeldReserve | None, StorageNow]:
        """Take reserve off what stores offer to the markets; None while nothing is open."""
        if not self._is_open[slot]:
            return None, storage
        assert storage.band is not None
        band = self._band(slot, storage, storage.band)
        reserve = take_reserve(self._run.services, slot, band, storage.must_kw)
        if not reserve.held_kw.any():
            return reserve, storage
        orders = _orders_within(storage.orders, reserve.band, storage.must_kw)
        return reserve, replace(storage, orders=orders)

    def serve(self, slot: int, schedule: Schedule, reserve: HeldReserve | None) -> Schedule:
        """Sell what is left beside a schedule, and move the schedule by it."""
        if reserve is None:
            return replace(schedule, services=self._idle)
        run = self._run
        sold = serve_slot(
            run.services,
            slot,
            reserve,
            schedule.battery_kw,
            # Those who do not trade load the connection of their area as well.
            np.asarray(schedule.p_net_kw @ self._areas.within),
            who=run.who,
            hours=run.prices.hours,
        )
        if not sold.move_kw.any():
            return replace(schedule, services=sold)
        agent_kw = sum_by_key(run.store_agent, sold.move_kw, len(schedule.p_net_kw))
        node_kw = sum_by_key(run.agent_node, agent_kw, len(schedule.p_node_kw))
        return replace(
            schedule,
            services=sold,
            battery_kw=schedule.battery_kw + sold.move_kw,
            p_net_kw=schedule.p_net_kw + agent_kw,
            p_node_kw=schedule.p_node_kw + node_kw,
            clearing=self._moved(schedule.clearing, agent_kw, node_kw),
        )

    def _band(self, slot: int, storage: StorageNow, band: PowerBand) -> StoreBand:
        run, orders = self._run, storage.orders
        bids = np.where(orders.upper_kw > 0.0, orders.limit_price_eur_per_kwh, np.nan)
        priced = StoreBids(
            charge_own=bids[Step.CHARGE_OWN],
            charge_market=bids[Step.CHARGE_MARKET],
            discharge_own=bids[Step.DISCHARGE_OWN],
            discharge_market=bids[Step.DISCHARGE_MARKET],
            retail=run.prices.retail_at(np.array([slot]))[0],
            feed_in=run.prices.earned_at(slot)[0],
            round_trip=run.round_trip,
            wear=run.wear_eur_per_kwh,
        )
        # What a device takes by its own rule is within its reach, whatever its band says.
        return StoreBand(
            np.minimum(band.lowest_kw, storage.must_kw),
            np.maximum(band.highest_kw, storage.must_kw),
            priced.asks(),
            priced.pays(),
        )

    def _moved(self, clearing: Clearing, agent_kw: FloatArray, node_kw: FloatArray) -> Clearing:
        """Return the state of the linear model after a move; prices are those of the market."""
        after = self._flow.state(node_kw, self._no_offset)
        return replace(
            clearing,
            net_import_kw=clearing.net_import_kw + agent_kw @ self._areas.within,
            flow_kw=clearing.flow_kw + (after.flow_kw - self._at_rest.flow_kw),
            voltage2=clearing.voltage2 + (after.voltage2 - self._at_rest.voltage2),
        )


def _orders_within(orders: BatteryOrders, band: StoreBand, must_kw: FloatArray) -> BatteryOrders:
    """Cut orders to a band, those to the market first."""
    upper = orders.upper_kw.copy()
    rooms = (
        (Step.CHARGE_OWN, Step.CHARGE_MARKET, band.highest_kw - must_kw),
        (Step.DISCHARGE_OWN, Step.DISCHARGE_MARKET, must_kw - band.lowest_kw),
    )
    for own, market, room in rooms:
        upper[own] = np.minimum(upper[own], np.maximum(room, 0.0))
        upper[market] = np.minimum(upper[market], np.maximum(room - upper[own], 0.0))
    return replace(orders, upper_kw=upper)
