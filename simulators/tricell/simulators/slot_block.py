"""Slots from being kept one by one to a settled block of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.markets.level_settlement import LevelTrade, settle_level_trades
from tricell.markets.settlement import Billing, ClearedBlock, Contracts, Settlement, settle
from tricell.markets.traded_block import SoldServices
from tricell.simulators.messages import GridReport
from tricell.simulators.recorder_layout import RecorderLayout
from tricell.simulators.service_record import ServiceRecord
from tricell.simulators.slot_extremes import binding_limits, extremes
from tricell.simulators.slot_simulator import SLOTS_PER_BLOCK
from tricell.simulators.slot_values import values_of_slot

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Columns = dict[str, NDArray[Any]]
Series = Mapping[str, Mapping[str, NDArray[Any]]]


@dataclass(frozen=True)
class SlotBlock:
    """Everything about some consecutive slots.

    Attributes
    ----------
    first_slot : number of the first slot.
    series : group -> variable -> array (slots, entities), or (slots,) in the group ``slot``.
        The group ``area`` holds all areas; the sink parts them by level.
    settlement : money and trades of the block.
    services : what was asked for as a service, a row each: number of the `slot`, number of the
        `service` in the scenario, `kind` (dso_request, tso_request, peak_shaving,
        reserve, set_point), row of the `area` or -1, and `need`, `accepted`,
        `delivered`, `unmet` (kWh) and `cost` (EUR). None without any.
    """

    first_slot: int
    series: Series
    settlement: Settlement
    services: Mapping[str, Sequence[Any] | NDArray[Any]] | None = None


class KeptSlots:
    """Slots since the last block; their length is how many.

    Parameters
    ----------
    layout : sizes and memberships.
    services : settles what the slots sold as services; None for nothing.
    """

    def __init__(self, layout: RecorderLayout, services: ServiceRecord | None) -> None:
        self._layout, self._services = layout, services
        self._columns: dict[str, Columns] = {}
        self._trades: list[LevelTrade] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, slot: int, report: GridReport) -> None:
        """Copy what a slot's report says."""
        for group, values in values_of_slot(self._layout, slot, report).items():
            self._keep(group, values)
        schedule = report.schedule
        if schedule.trade is not None:
            self._trades.append(schedule.trade)
        if self._services is not None and schedule.services is not None:
            self._services.keep(schedule.services)
        self._count += 1

    def settled(self, first_slot: int) -> SlotBlock:
        """Derive what follows from the slots, the first of which is `first_slot`.

        Raises
        ------
        MarketError
            If the books do not balance.
        """
        layout = self._layout
        series = {
            group: {name: rows[: self._count] for name, rows in columns.items()}
            for group, columns in self._columns.items()
        }
        services = None
        if self._services is not None:
            wholesale = series["slot"]["wholesale_price"]
            services = self._services.settle(first_slot, series["agent"]["p_net"], wholesale)
        sold = None if services is None else services.sold
        settlement = _settlement(layout, first_slot, series, self._trades, sold)
        series["agent"] |= _derived_of_agents(series["agent"])
        series["area"] |= _derived_of_areas(layout, series["agent"], settlement)
        series["slot"] |= extremes(series) | binding_limits(series, layout.grid, layout.limits)
        told = None if services is None else services.rows
        return SlotBlock(first_slot, series, settlement, told)

    def forget(self) -> None:
        """Begin the next block."""
        self._count = 0
        self._trades.clear()
        if self._services is not None:
            self._services.forget()

    def _keep(self, group: str, values: Mapping[str, Any]) -> None:
        kept = self._columns.get(group)
        if kept is None:
            size = self._layout.sizes[group]
            shape = (SLOTS_PER_BLOCK, size) if group != "slot" else (SLOTS_PER_BLOCK,)
            kept = {name: np.empty(shape, np.asarray(v).dtype) for name, v in values.items()}
            self._columns[group] = kept
        for name, value in values.items():
            kept[name][self._count] = value


def _settlement(
    layout: RecorderLayout,
    first_slot: int,
    series: Series,
    trades: Sequence[LevelTrade],
    services: SoldServices | None,
) -> Settlement:
    """Settle slots; by their trades where the levels were cleared one after the other."""
    agent, area, slot = series["agent"], series["area"], series["slot"]
    count = len(slot["retail_price"])
    contracts = None
    if layout.imbalance is not None:
        contracts = Contracts(agent["p_contracted"], layout.imbalance.part(first_slot, count))
    block = ClearedBlock(
        p_net_kw=agent["p_net"],
        area_price=area["price"],
        agent_price=agent["price"],
        retail_price=slot["retail_price"],
        feed_in_price=slot["feed_in_price"],
        hours=layout.hours,
        rates=layout.rates.part(first_slot, count),
        wholesale_price=slot["wholesale_price"],
        area_loss_kw=area["loss"],
        first_slot=first_slot,
        services=services,
        contracts=contracts,
    )
    calendar = None if layout.calendar is None else layout.calendar.part(first_slot, count)
    billing = Billing(layout.charges, calendar, layout.customers, layout.levy_eur_per_kwh)
    if trades:
        return settle_level_trades(trades, layout.areas, block, billing)
    return settle(layout.areas, block, billing)


def _derived_of_agents(agent: Mapping[str, NDArray[Any]]) -> Columns:
    """Return what stores did and what plants held back, kW."""
    curtailed = np.maximum(agent["p_pv_available"], 0.0) - np.maximum(agent["p_pv"], 0.0)
    return {
        "p_storage": agent["p_net"] - agent["p_load"] + agent["p_pv"],
        "p_curtailed": curtailed,
        "p_unserved": np.zeros_like(curtailed),
    }


def _derived_of_areas(
    layout: RecorderLayout, agent: Mapping[str, NDArray[Any]], settlement: Settlement
) -> Columns:
    """Return traded, residual and lost energy of every area, kWh, and what the meters import."""
    areas, trade = layout.areas, settlement.areas
    unsold = _sum_by(areas.agent_area, agent["p_curtailed"], len(areas.parent))
    derived = {
        "energy_traded": trade.traded_kwh,
        "energy_residual": trade.residual_kwh,
        "energy_unsold": unsold * layout.hours,
        "energy_unserved": np.zeros_like(unsold),
        "network_charge": trade.network_charge_eur,
    }
    if layout.imbalance is not None or not areas.takes_part.all():
        # What the markets import is then not what the meters show.
        derived["p_import"] = agent["p_net"] @ areas.within
    return derived


def _sum_by(group: Indices, values: Floats, size: int) -> Floats:
    """Sum columns by group, shape (rows, size)."""
    total = np.zeros((len(values), size))
    np.add.at(total.T, group, values.T)
    return total
