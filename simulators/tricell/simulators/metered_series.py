"""Meter data that are kept for charges of the whole period."""

from __future__ import annotations

from tricell.markets.charge import MeterData, PeriodCharge
from tricell.simulators.grown_rows import GrownTable
from tricell.simulators.recorder_layout import RecorderLayout
from tricell.simulators.slot_block import SlotBlock


class MeteredSeries:
    """Keeps what the charges of the whole period are billed on; nothing where there are none.

    Parameters
    ----------
    layout : with the charges of the run.

    Attributes
    ----------
    charges : those of the whole period.
    rows : what was kept, by its names in `MeterData`.
    """

    def __init__(self, layout: RecorderLayout) -> None:
        self.charges = [each for each in layout.charges if isinstance(each, PeriodCharge)]
        self.rows = GrownTable()
        self._layout = layout

    def add(self, block: SlotBlock) -> None:
        """Keep the meter data of a block."""
        if not self.charges:
            return
        wanted = {
            "net_kw": block.series["agent"]["p_net"],
            "area_net_kw": block.series["area"]["p_import"],
            "area_loss_kw": block.series["area"]["loss"],
            "wholesale_price": block.series["slot"]["wholesale_price"],
            "congestion_rent_eur": block.settlement.congestion_rent_eur,
        }
        self.rows.add({name: values.copy() for name, values in wanted.items()})

    def data(self, slots: int) -> MeterData:
        """Return the meter data of the whole period of so many slots."""
        layout = self._layout
        assert layout.calendar is not None
        assert layout.customers is not None
        return MeterData(layout.calendar.part(0, slots), layout.customers, **self.rows.all())
