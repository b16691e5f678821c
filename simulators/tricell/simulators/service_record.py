"""What services of a run sold, measured and paid, block after block of slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tricell.markets.charge import Calendar
from tricell.markets.services.baselines import (
    BaselineHistory,
    baselines_of_block,
    kind_of_day,
)
from tricell.markets.services.service import Service, ServiceKind, SlotServices, StoreOwners
from tricell.markets.services.settlement import (
    ServiceOutcome,
    SoldBlock,
    moved_kw,
    service_postings,
    settle_services,
)
from tricell.markets.traded_block import SoldServices
from tricell.simulators.population import FloatArray, IntArray

SET_POINT = "set_point"
"""Word for a row that tells what the area above asked of an area."""


@dataclass(frozen=True)
class SettledServices:
    """Services of a block.

    Attributes
    ----------
    sold : for the settlement.
    rows : what was asked for and what came of it, a row each; columns as in `SlotBlock.services`.
    """

    sold: SoldServices
    rows: Mapping[str, Sequence[Any] | IntArray | FloatArray]


class ServiceRecord:
    """Keeps what slots sold, and settles it block by block.

    Parameters
    ----------
    services : of the run.
    who : owners of the stores.
    calendar : all slots of the run.
    """

    def __init__(self, services: Sequence[Service], who: StoreOwners, calendar: Calendar) -> None:
        self._services, self._who, self._calendar = services, who, calendar
        self._hours = calendar.hours
        self._history = BaselineHistory(round(24.0 / calendar.hours), len(who.agent))
        self._slots: list[SlotServices] = []

    def keep(self, slot: SlotServices) -> None:
        """Take what a slot sold."""
        self._slots.append(slot)

    def memory(self) -> Mapping[str, Any]:
        """Return all that later blocks depend on; at the end of a block."""
        return self._history.memory()

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from what `memory` returned."""
        self._history.recall(memory)

    def forget(self) -> None:
        """Leave out the slots that were kept since the last block."""
        self._slots.clear()

    def settle(
        self, first_slot: int, net_kw: FloatArray, wholesale_price: FloatArray | None
    ) -> SettledServices:
        """Settle the slots that were kept, and forget them.

        Parameters
        ----------
        first_slot : number of the first of them.
        net_kw : what the meters tell, shape (T, n_agent), positive consumes.
        wholesale_price : EUR/kWh, shape (T,); None where the wholesale side is left out.
        """
        slots, who = self._slots, self._who
        sold = np.array([slot.sold_kw for slot in slots])
        moved = moved_kw(self._services, sold)
        meter = net_kw[:, who.agent]
        baseline = self._baseline(first_slot, meter, moved, sold)
        price = np.array([slot.price for slot in slots])
        block = SoldBlock(sold, price, baseline, meter, self._hours)
        outcomes = settle_services(self._services, block)
        postings = service_postings(
            self._services,
            outcomes,
            who,
            n_agent=net_kw.shape[1],
            wholesale_price=wholesale_price,
        )
        of_agents = np.zeros_like(net_kw)
        of_agents[:, who.agent] = moved
        rows = self._rows(first_slot, outcomes)
        self.forget()
        return SettledServices(SoldServices(of_agents, tuple(postings)), rows)

    def _baseline(
        self, first_slot: int, meter: FloatArray, moved: FloatArray, sold: FloatArray
    ) -> FloatArray:
        """Return baselines; before there is a like day, what the meter would have shown."""
        part = self._calendar.part(first_slot, len(meter))
        is_reserve = [each.kind is ServiceKind.RESERVE for each in self._services]
        called = np.asarray(np.any(sold[:, ~np.array(is_reserve)] > 0.0, axis=1))
        day = np.array([date.toordinal() for date in part.local.date], dtype=np.int64)
        return baselines_of_block(
            self._history,
            day=day,
            kind=kind_of_day(part.weekday),
            place=np.floor(part.hour / self._hours + 1e-9).astype(np.int64),
            meter=meter,
            expected=meter - moved,
            called=called,
        )

    def _rows(
        self, first_slot: int, outcomes: Sequence[ServiceOutcome]
    ) -> Mapping[str, Sequence[Any] | IntArray | FloatArray]:
        """List every slot of every service that was asked for, and the set-points of areas."""
        parts = []
        for row, outcome in enumerate(outcomes):
            parts.append(self._rows_of_service(row, first_slot, outcome))
            parts.append(self._rows_of_set_points(row, first_slot, outcome))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _rows_of_service(
        self, row: int, first_slot: int, outcome: ServiceOutcome
    ) -> Mapping[str, Any]:
        service, hours = self._services[row], self._hours
        need = np.array([slot.need_kw[row] for slot in self._slots]) * hours
        unmet = np.array([slot.unmet_kw[row] for slot in self._slots]) * hours
        # What is bought and delivered counts by its effect, as what is asked for does.
        effect = np.zeros(len(self._who.agent))
        np.maximum.at(effect, self._who.owner, service.effect)
        missing = (outcome.accepted_kwh - outcome.delivered_kwh) @ effect
        asked = np.flatnonzero(need > 0.0)
        return {
            "slot": first_slot + asked,
            "service": np.full(len(asked), row),
            "kind": np.full(len(asked), service.kind.value),
            "area": np.full(len(asked), service.area),
            "need": need[asked],
            "accepted": (need - unmet)[asked],
            "delivered": (need - unmet - missing)[asked],
            "unmet": (unmet + missing)[asked],
            "cost": outcome.pay_eur.sum(axis=1)[asked],
        }

    def _rows_of_set_points(
        self, row: int, first_slot: int, outcome: ServiceOutcome
    ) -> Mapping[str, Any]:
        """List what areas asked of the areas below; who asked them all pays for it."""
        wanted = np.array([slot.set_point_kw[row] for slot in self._slots]) * self._hours
        done = outcome.delivered_kwh @ self._who.within
        slot, area = np.nonzero(wanted > 0.0)
        need, delivered = wanted[slot, area], done[slot, area]
        return {
            "slot": first_slot + slot,
            "service": np.full(len(slot), row),
            "kind": np.full(len(slot), SET_POINT),
            "area": area,
            "need": need,
            "accepted": need,
            "delivered": delivered,
            "unmet": np.maximum(need - delivered, 0.0),
            "cost": np.zeros(len(slot)),
        }
