"""Services of flexibility over a run: what is asked for and when, and what one slot sells to whom.

In a slot with open services reserve is taken off the stores' bands before the markets clear. Then,
beside the schedule of the markets, the network operator's requests, and peaks that he wants shaved,
are served in the order of the scenario, and after them those of the transmission operator. He asks
an area, such as all cells together: each area gets a set-point from the area above and splits it
among its members. What one has bought is gone for the next, and whoever was called one way is not
called the other way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tricell.grid_models.arrays import sum_by_key
from tricell.markets.flexibility.flexibility_market import (
    FlexibilityRequest,
    Operator,
    Pricing,
    Purchase,
)
from tricell.markets.services.offers import Direction, FlexOffers, StoreBand, store_offers
from tricell.markets.services.reserve import hold_reserve
from tricell.markets.services.selection import RESIDUE_KW, Dispatch, buy_fairly, split_down

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Bools = NDArray[np.bool_]


class ServiceKind(StrEnum):
    """What is asked for."""

    DSO_REQUEST = "dso_request"
    TSO_REQUEST = "tso_request"
    PEAK_SHAVING = "peak_shaving"
    RESERVE = "reserve"


BY_DSO = (ServiceKind.DSO_REQUEST, ServiceKind.PEAK_SHAVING)
"""Served first, in the order of the scenario."""


@dataclass(frozen=True)
class Service:
    """A service over a run.

    Attributes
    ----------
    name : unique.
    kind : what is asked for.
    direction : which way consumption is to move.
    area : row of the area that is asked; -1 where a line or transformer is relieved.
    effect : what a kW of each store does for it, shape (stores,); 0 for stores that are not asked.
    is_open : slots in which it is asked for, shape (T,).
    power_kw : wanted; of peak shaving the largest import of the area.
    max_price : EUR/kWh at most.
    pricing : what an accepted kWh is paid.
    threshold : share delivered below which pay is reduced.
    capacity_price : EUR per kW held ready and hour.
    """

    name: str
    kind: ServiceKind
    direction: Direction
    area: int
    effect: Floats
    is_open: Bools
    power_kw: float
    max_price: float = np.inf
    pricing: Pricing = "pay_as_bid"
    threshold: float = 0.0
    capacity_price: float = 0.0

    @property
    def operator(self) -> Operator:
        """Who asks and pays."""
        return "DSO" if self.kind in BY_DSO else "TSO"

    def request(self, need_kwh: float, effect: Floats | float, hours: float) -> FlexibilityRequest:
        """Return what it asks for in one slot."""
        return FlexibilityRequest(
            self.operator,
            need_kwh,
            effect,
            self.pricing,
            self.threshold,
            self.capacity_price,
            held_hours=hours,
        )


@dataclass(frozen=True)
class StoreOwners:
    """Who owns the stores, and where they stand in the tree of areas.

    Attributes
    ----------
    owner : number of each store's owner among those who own stores, shape (stores,).
    agent : row of each owner in the table of agents, shape (owners,).
    way : areas from the top down to each store, -1 once it stands in the area before; shape
        (stores,) each.
    n_area : how many areas there are.
    """

    owner: Indices
    agent: Indices
    way: tuple[Indices, ...]
    n_area: int

    @classmethod
    def of(cls, store_agent: Indices, agent_area: Indices, parent: Indices) -> StoreOwners:
        """Return the owners of stores in a tree of areas, parents first."""
        agent, owner = np.unique(store_agent, return_inverse=True)
        depth = np.zeros(len(parent), np.int64)
        for area, above in enumerate(parent):
            depth[area] = depth[above] + 1 if above >= 0 else 0
        here = agent_area[store_agent]
        way = np.full((int(depth.max(initial=0)) + 1, len(store_agent)), -1)
        while (inside := np.flatnonzero(here >= 0)).size:
            way[depth[here[inside]], inside] = here[inside]
            here = np.where(here >= 0, parent[here], -1)
        return cls(owner.astype(np.int64), agent, tuple(way), len(parent))

    def below(self, area: int) -> Bools:
        """Tell which stores stand in an area or below it, shape (stores,)."""
        return np.asarray((np.array(self.way) == area).any(axis=0))

    @cached_property
    def within(self) -> Floats:
        """1 where an owner stands in an area or below it, shape (owners, areas)."""
        found = np.zeros((len(self.agent), self.n_area))
        for step in self.way:
            here = step >= 0
            found[self.owner[here], step[here]] = 1.0
        return found

    def sum_by_owner(self, of_stores: Floats) -> Floats:
        """Add up over the stores of each owner, shape (owners,)."""
        return sum_by_key(self.owner, of_stores, len(self.agent))


@dataclass(frozen=True)
class SlotServices:
    """What one slot sold; arrays of shape (services,), (services, owners) and others.

    Attributes
    ----------
    need_kw, unmet_kw : asked for, and not bought, in terms of the effect, shape (services,).
    sold_kw : bought of, or held ready by, each owner, at least 0, shape (services, owners).
    price : of a kWh of it, EUR/kWh, the same shape.
    set_point_kw : by how much each area below the one that is asked is to change its consumption
        in the direction of a request of the TSO, at least 0, shape (services, areas).
    move_kw : by how much each store's consumption changes, shape (stores,).
    """

    need_kw: Floats
    unmet_kw: Floats
    sold_kw: Floats
    price: Floats
    set_point_kw: Floats
    move_kw: Floats

    @classmethod
    def nothing(cls, services: int, who: StoreOwners) -> SlotServices:
        """Return what a slot sells in which nothing is open."""
        shape = (services, len(who.agent))
        return cls(
            np.zeros(services),
            np.zeros(services),
            np.zeros(shape),
            np.zeros(shape),
            np.zeros((services, who.n_area)),
            np.zeros(len(who.owner)),
        )


@dataclass(frozen=True)
class HeldReserve:
    """Reserve of one slot.

    Attributes
    ----------
    held_kw : by each store for each service, shape (services, stores).
    band : what is left of the stores.
    """

    held_kw: Floats
    band: StoreBand


def take_reserve(
    services: Sequence[Service], slot: int, band: StoreBand, idle_kw: Floats
) -> HeldReserve:
    """Take reserve off the bands of a slot, in the order of the scenario.

    Parameters
    ----------
    services : of the run.
    slot : its number.
    band : what the slot allows.
    idle_kw : what each store takes if it trades nothing, inside its band.
    """
    held = np.zeros((len(services), len(band.lowest_kw)))
    for row, service in enumerate(services):
        if service.kind is ServiceKind.RESERVE and service.is_open[slot]:
            asked = service.effect > 0.0
            held[row], band = hold_reserve(
                band, service.power_kw, service.direction, asked, idle_kw
            )
    return HeldReserve(held, band)


def serve_slot(
    services: Sequence[Service],
    slot: int,
    reserve: HeldReserve,
    schedule_kw: Floats,
    import_kw: Floats,
    *,
    who: StoreOwners,
    hours: float,
) -> SlotServices:
    """Sell what is left beside the schedule of the markets.

    Parameters
    ----------
    services : of the run.
    slot : its number.
    reserve : what is held, and the bands that are left.
    schedule_kw : power of each store by the markets, shape (stores,).
    import_kw : net import of each area without services, shape (areas,).
    who : owners of the stores.
    hours : length of a slot, h.

    Raises
    ------
    MarketError
        If a schedule lies outside its band.
    """
    sold = SlotServices.nothing(len(services), who)
    desk = _Desk(reserve.band, schedule_kw, who, hours)
    for row, service in enumerate(services):
        if service.kind is ServiceKind.RESERVE and service.is_open[slot]:
            held = reserve.held_kw[row]
            sold.need_kw[row] = service.power_kw
            unmet = service.power_kw - float(held.sum())
            sold.unmet_kw[row] = unmet if unmet > RESIDUE_KW else 0.0
            sold.sold_kw[row] = who.sum_by_owner(held)
    for row in _in_turn(services, slot):
        service = services[row]
        need = service.power_kw
        if service.kind is ServiceKind.PEAK_SHAVING:
            moved = float(desk.move_kw @ service.effect)
            need = max(float(import_kw[service.area]) + moved - need, 0.0)
        if need <= 0.0:
            continue
        bought, kw = desk.buy(service, need, sold.set_point_kw[row])
        sold.need_kw[row], sold.unmet_kw[row] = need, bought.unmet_kwh / hours
        sold.sold_kw[row] = who.sum_by_owner(kw.sum(axis=0))
        paid = who.sum_by_owner((bought.price * bought.accepted_kwh).reshape(2, -1).sum(axis=0))
        energy = sold.sold_kw[row] * hours
        np.divide(paid, energy, out=sold.price[row], where=energy > 0.0)
    sold.move_kw[:] = desk.move_kw
    return sold


def _in_turn(services: Sequence[Service], slot: int) -> list[int]:
    """Rows of the open requests of a slot, those of the DSO before those of the TSO."""
    rows = [
        row
        for row, service in enumerate(services)
        if service.is_open[slot] and service.kind is not ServiceKind.RESERVE
    ]
    return sorted(rows, key=lambda row: services[row].operator != "DSO")


class _Desk:
    """What is left to be sold in one slot, purchase after purchase."""

    def __init__(
        self, band: StoreBand, schedule_kw: Floats, who: StoreOwners, hours: float
    ) -> None:
        self._band, self._schedule_kw = band, schedule_kw
        self._who, self._hours = who, hours
        self._left: dict[Direction, FlexOffers] = {}
        self.move_kw = np.zeros(len(schedule_kw))

    def buy(
        self, service: Service, need_kw: float, set_point_kw: Floats
    ) -> tuple[Purchase, Floats]:
        """Serve one request; return the purchase and the power of both steps, (2, stores).

        The set-points of areas are put into `set_point_kw`.
        """
        if not self._left:
            offered = (store_offers(self._band, self._schedule_kw, way) for way in Direction)
            self._left = dict(zip(Direction, offered, strict=True))
        way, hours = service.direction, self._hours
        offers = self._left[way].of(service.effect > 0.0)
        price = offers.price.ravel()
        request = service.request(need_kw * hours, np.tile(service.effect, 2), hours)
        if service.kind is ServiceKind.TSO_REQUEST:
            bought = self._through_the_areas(service, offers, request, set_point_kw)
        else:
            energy = offers.power_kw.ravel() * hours
            bought = buy_fairly(energy, price, request, service.max_price)
        taken = (bought.accepted_kwh / hours).reshape(2, -1)
        self._take(way, taken)
        return bought, taken

    def _through_the_areas(
        self,
        service: Service,
        offers: FlexOffers,
        request: FlexibilityRequest,
        set_point_kw: Floats,
    ) -> Purchase:
        """Ask the area, which splits its set-point down to the stores."""
        hours, price = self._hours, offers.price.ravel()
        affordable = np.where(price <= service.max_price, offers.power_kw.ravel(), 0.0)
        split = self._split(service, request.need_kwh / hours, affordable, price)
        accepted, paid = split.offer_kw * hours, np.zeros(len(price))
        taken = accepted > 0.0
        clearing = float(price[taken].max()) if taken.any() else None
        if clearing is not None:
            paid[taken] = price[taken] if service.pricing == "pay_as_bid" else clearing
        set_point_kw[:] = split.area_kw
        set_point_kw[service.area] = 0.0  # It is the one that is asked.
        unmet = request.need_kwh - float(accepted.sum())
        return Purchase(accepted, paid, clearing, unmet if unmet > RESIDUE_KW * hours else 0.0)

    def _split(self, service: Service, need_kw: float, power_kw: Floats, price: Floats) -> Dispatch:
        who = self._who
        asked = np.flatnonzero((np.tile(service.effect, 2) > 0.0) & (power_kw > 0.0))
        way = np.tile(np.array(who.way), (1, 2))[:, asked]
        if not len(asked):
            return Dispatch(np.zeros(who.n_area), np.zeros(len(power_kw)))
        # Areas above the one that is asked pass nothing on.
        first = int(np.argmax((way == service.area).any(axis=1)))
        found = split_down(need_kw, list(way[first:]), power_kw[asked], price[asked], who.n_area)
        offer = np.zeros(len(power_kw))
        offer[asked] = found.offer_kw
        return Dispatch(found.area_kw, offer)

    def _take(self, way: Direction, taken: Floats) -> None:
        who, other = self._who, Direction(-way)
        self._left[way] = self._left[way].without(taken)
        called = who.sum_by_owner(taken.sum(axis=0)) > 0.0
        self._left[other] = self._left[other].of(~called[who.owner])
        self.move_kw = self.move_kw + int(way) * taken.sum(axis=0)
