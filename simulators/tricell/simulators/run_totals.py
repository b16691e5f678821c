"""What a run adds up block by block, and books after its last slot."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tricell.markets.forecast_error import AccuracySums
from tricell.markets.postings import Posting, Receipts, check_postings
from tricell.simulators.battery import apply_power
from tricell.simulators.breaches import Breaches
from tricell.simulators.device_list import DeviceTotals
from tricell.simulators.final_postings import charges_of_period, shares_of_members
from tricell.simulators.messages import Schedule
from tricell.simulators.metered_series import MeteredSeries
from tricell.simulators.no_trading import MeterRates, NoTradingReference
from tricell.simulators.recorder_layout import RecorderLayout
from tricell.simulators.slot_block import SlotBlock
from tricell.simulators.slot_simulator import Memory

Floats = NDArray[np.float64]

BILL_PARTS = (
    "energy_p2p",
    "energy_retail",
    "export",
    "network",
    "congestion",
    "losses",
    "levy",
    "redispatch",
    "imbalance",
    "flexibility",
)
"""Components of a bill, in EUR, that add up to its total."""
BILL_ENERGIES = ("bought_p2p_kwh", "sold_p2p_kwh", "bought_retail_kwh", "sold_retail_kwh")


class Remembered(Protocol):
    """Sums that a run can go on from."""

    def memory(self) -> Memory:
        """Return all that later slots add to."""

    def recall(self, memory: Any) -> None:
        """Go on from what `memory` returned."""


class RunTotals:
    """Sums over a run.

    Parameters
    ----------
    layout : sizes, memberships and prices of the run.

    Attributes
    ----------
    bills : settlement component -> sum per agent, EUR or kWh.
    receipts : what every agent pays for what.
    period_postings : charges of the whole period and shares of members, booked after the last slot.
    reference : bills without trading.
    curtailed_kwh : per agent.
    devices : totals of the devices beside household batteries; None without any.
    stored_kwh : energy in each battery after the last slot.
    breaches : what the market had to give up, per edge and per node.
    """

    def __init__(self, layout: RecorderLayout) -> None:
        n_agent = len(layout.agent_node)
        self._layout = layout
        self.bills: dict[str, Floats] = {}
        self.curtailed_kwh = np.zeros(n_agent)
        self.stored_kwh = layout.batteries.soc0_kwh
        self.period_postings: tuple[Posting, ...] = ()
        self.receipts = Receipts()
        self.breaches = Breaches(layout.linear.n_edge, layout.linear.n_node)
        self.devices = None if layout.devices is None else DeviceTotals(len(layout.devices))
        self._accuracy = None if layout.imbalance is None else AccuracySums(layout.areas.within)
        self._metered = MeteredSeries(layout)
        self.reference = NoTradingReference(
            layout.batteries, n_agent, layout.charges, layout.customers, layout.areas
        )
        of_period = (
            None if layout.calendar is None else self.reference.period_rates(layout.calendar)
        )
        self._meter_rates = MeterRates.of(layout.areas, layout.rates, of_period)
        self._period_billed = False
        parts: dict[str, Remembered | None] = {
            "receipts": self.receipts,
            "breaches": self.breaches,
            "reference": self.reference,
            "devices": self.devices,
            "accuracy": self._accuracy,
        }
        self._parts = {name: part for name, part in parts.items() if part is not None}
        self._growing = {"metered": self._metered.rows, "reference": self.reference.rows}

    def add(self, block: SlotBlock, last: Schedule) -> None:
        """Add a block of slots.

        Parameters
        ----------
        block : the slots.
        last : what was done in the last of them.
        """
        layout, money = self._layout, block.settlement
        for name in (*BILL_PARTS, *BILL_ENERGIES):
            self.bills[name] = self.bills.get(name, 0.0) + getattr(money, name)
        self.receipts.add(money.postings)
        self._metered.add(block)
        self._add_accuracy(block)
        self._add_reference(block)
        if self.devices is not None:
            self.devices.add(block.series["device"], layout.hours)
        curtailed = block.series["agent"]["p_curtailed"].sum(axis=0) * layout.hours
        self.curtailed_kwh = self.curtailed_kwh + curtailed
        batteries = layout.batteries
        done_kw = last.battery_kw[: len(batteries)]
        self.stored_kwh = apply_power(batteries, last.storage.soc_kwh, done_kw, layout.hours)

    def bill_period(self, slots: int) -> None:
        """Book charges of the whole period and shares of members; only the first call does.

        Parameters
        ----------
        slots : how many the period has; without any, nothing is booked.
        """
        layout = self._layout
        if self._period_billed or slots == 0:
            return
        self._period_billed = True
        booked: list[Posting] = []
        if self._metered.charges:
            booked += charges_of_period(self._metered.charges, self._metered.data(slots))
            for posting in booked:
                self._add_to_bills(posting.kind.value, posting)
            assert layout.calendar is not None
            self.reference.bill_period(layout.calendar.part(0, slots))
        parts = {name: self.bills[name] for name in BILL_PARTS}
        for name, posting in shares_of_members(parts, layout.members).items():
            self._add_to_bills(name, posting)
            booked.append(posting)
        check_postings(booked, np.zeros((1, len(layout.agent_node))), slots - 1)
        self.receipts.add(booked)
        self.period_postings = tuple(booked)

    def forecast_errors(self) -> dict[str, Floats] | None:
        """Return errors of forecasts of every area; None where forecasts are perfect.

        The columns are `mae`, `wape`, `member_mae` and `member_wape` of tables/forecast; NaN where
        a figure is undefined.
        """
        if self._accuracy is None:
            return None
        figures = [
            (each.mae_kwh, each.wape, each.member_mae_kwh, each.member_wape)
            for each in self._accuracy.accuracy()
        ]
        columns = np.array(figures, dtype=np.float64).T
        return dict(zip(("mae", "wape", "member_mae", "member_wape"), columns, strict=True))

    def memory(self) -> dict[str, Any]:
        """Return all sums so far, but for what `unsaved_rows` returns."""
        parts = {name: part.memory() for name, part in self._parts.items()}
        return {
            "bills": self.bills,
            "curtailed_kwh": self.curtailed_kwh,
            "stored_kwh": self.stored_kwh,
            **parts,
        }

    def unsaved_rows(self) -> dict[str, NDArray[Any]]:
        """Return what the end of the run needs of the slots since the last call, row by row."""
        return {
            f"{table} {name}": rows
            for table, growing in self._growing.items()
            for name, rows in growing.unsaved().items()
        }

    def recall(self, memory: Memory, rows: Memory) -> None:
        """Go on from what `memory` and all calls of `unsaved_rows` returned."""
        self.bills = dict(memory["bills"])
        self.curtailed_kwh, self.stored_kwh = memory["curtailed_kwh"], memory["stored_kwh"]
        for name, part in self._parts.items():
            part.recall(memory[name])
        for place, values in rows.items():
            table, name = place.split(" ")
            self._growing[table].recall({name: values})

    def _add_accuracy(self, block: SlotBlock) -> None:
        if self._accuracy is None:
            return
        agent, hours = block.series["agent"], self._layout.hours
        net = (agent["p_load"] - agent["p_pv_available"]) * hours
        forecast = (agent["p_load_forecast"] - agent["p_pv_forecast"]) * hours
        self._accuracy.add(net, forecast)

    def _add_reference(self, block: SlotBlock) -> None:
        agent, slot = block.series["agent"], block.series["slot"]
        self.reference.add(
            agent["p_load"],
            agent["p_pv_available"],
            slot["retail_price"],
            slot["feed_in_price"],
            self._layout.hours,
            rates=self._meter_rates.part(block.first_slot, len(slot["retail_price"])),
        )

    def _add_to_bills(self, part: str, posting: Posting) -> None:
        assert posting.agent_eur is not None
        self.bills[part] = self.bills[part] + posting.agent_eur
