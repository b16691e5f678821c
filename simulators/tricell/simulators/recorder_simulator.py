"""mosaik simulator that keeps what the others say and hands it on, day by day.

Within a slot it only copies vectors. Once a day it derives what follows from them (net power,
trades, bills) for all slots at once and hands the block to a *sink*: the results file in a
`tricell run`, anything with the same methods elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.simulators.interrupts import interrupts_held_back
from tricell.simulators.messages import GridReport, Schedule
from tricell.simulators.recorder_layout import RecorderLayout
from tricell.simulators.run_totals import RunTotals
from tricell.simulators.service_desk import RunServices
from tricell.simulators.service_record import ServiceRecord
from tricell.simulators.slot_block import KeptSlots, SlotBlock
from tricell.simulators.slot_simulator import SLOTS_PER_BLOCK, Memory, SlotSimulator


class Sink(Protocol):
    """Where the recorder hands its blocks."""

    def write(self, block: SlotBlock) -> None:
        """Take a block of slots; arrays are only valid during the call."""

    def close(self, recorder: RecorderSimulator) -> None:
        """End the record; called once, after the last block."""


@dataclass(frozen=True)
class RecorderSettings:
    """What the recorder is set up with.

    Attributes
    ----------
    layout : sizes and memberships.
    sink : takes the blocks.
    services : flexibility that network operators ask for; None for nothing.
    """

    layout: RecorderLayout
    sink: Sink
    services: RunServices | None = None


class RecorderSimulator(SlotSimulator[RecorderSettings]):
    """Keeps the run's record.

    Parent model ``Recorder``: reads ``report``, which carries the schedule and what led to it.

    Attributes
    ----------
    layout : sizes and memberships.
    totals : what the blocks add up to: bills, energies, breaches.
    slots_done : slots handed to the sink or waiting for it.
    settle_seconds, write_seconds, flushes : time in settlement and in the sink, and how often.
    on_slot : called with the number of slots done after each.
    on_block : called after each full block but the last; then `memory` tells all that is to come
        depends on.
    """

    MODEL = "Recorder"
    ATTRIBUTES = ("report",)

    def set_up(self, settings: RecorderSettings) -> None:
        """Set up the record."""
        layout, run = settings.layout, settings.services
        self.layout, self._sink = layout, settings.sink
        self.totals = RunTotals(layout)
        self._services: ServiceRecord | None = None
        if run is not None:
            assert layout.calendar is not None
            self._services = ServiceRecord(run.services, run.who, layout.calendar)
        self._kept = KeptSlots(layout, self._services)
        self.settle_seconds = self.write_seconds = 0.0
        self.slots_done = self.flushes = 0
        self._closed = False
        self.on_slot: Callable[[int], None] | None = None
        self.on_block: Callable[[], None] | None = None

    def advance(self, slot: int, inputs: Mapping[str, Any]) -> None:
        """Copy one slot; write once a block is full or the run ends."""
        with interrupts_held_back():
            self._take(slot, self.parent_input(inputs, "report"))

    def _take(self, slot: int, report: GridReport) -> None:
        clearing = report.schedule.clearing
        self._kept.add(slot, report)
        self.totals.breaches.add(slot, clearing.flow_breach_kw, clearing.voltage2_breach)
        self._last = report
        self.slots_done += 1
        is_whole, is_end = len(self._kept) == SLOTS_PER_BLOCK, self.slots_done == self.layout.n_slot
        if is_whole or is_end:
            self.flush()
        if is_whole and not is_end and self.on_block is not None:
            self.on_block()
        if self.on_slot is not None:
            self.on_slot(self.slots_done)

    @property
    def last_schedule(self) -> Schedule:
        """What was done in the last slot."""
        return self._last.schedule

    def memory(self) -> dict[str, Memory]:
        """Return what all simulators remember, by their names; at the end of a block.

        Other simulators may be a step ahead of the recorder, so that what they remember comes with
        the report of the slot.
        """
        report = self._last
        schedule = report.schedule
        assert schedule.memory is not None
        assert report.memory is not None
        assert schedule.storage.memory is not None
        return {
            "storage": {**schedule.storage.memory, "battery_kw": schedule.battery_kw},
            "market": schedule.memory,
            "grid": report.memory,
            "recorder": {
                "slots_done": self.slots_done,
                "totals": self.totals.memory(),
                "services": {} if self._services is None else self._services.memory(),
            },
        }

    def unsaved_rows(self) -> dict[str, NDArray[Any]]:
        """Return what the end of the run needs of the slots since the last call, row by row."""
        return self.totals.unsaved_rows()

    def recall(self, memory: Memory) -> None:
        """Go on from what `memory` returned, with the rows of `unsaved_rows` under ``rows``."""
        self.slots_done = int(memory["slots_done"])
        self.totals.recall(memory["totals"], memory["rows"])
        if self._services is not None:
            self._services.recall(memory["services"])

    def discard(self) -> None:
        """Forget the record: the run never began."""
        self._closed = True

    def finalize(self) -> None:
        """End the record when mosaik shuts down."""
        if self._closed:
            return
        self._closed = True
        with interrupts_held_back():
            self.flush()
            self.totals.bill_period(self.slots_done)
            self._sink.close(self)

    def flush(self) -> None:
        """Derive what follows from the slots kept so far and hand them to the sink."""
        if not len(self._kept):
            return
        started = perf_counter()
        block = self._settled_block()
        settled = perf_counter()
        self._sink.write(block)
        written = perf_counter()
        # Only now: where writing fails, this is tried once more when the run is closed.
        self.totals.add(block, self.last_schedule)
        self._kept.forget()
        self.flushes += 1
        self.write_seconds += written - settled
        self.settle_seconds += perf_counter() - started - (written - settled)
        if self.slots_done == self.layout.n_slot:
            self.totals.bill_period(self.slots_done)

    def _settled_block(self) -> SlotBlock:
        """Settle a block; one whose books do not balance is left out, so that the rest is kept."""
        count = len(self._kept)
        try:
            return self._kept.settled(self.slots_done - count)
        except MarketError:
            self.slots_done -= count
            self._kept.forget()
            raise
