"""What a figure shows: which area, level, moment and width; and which part of the run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tricell.results import layout
from tricell.results.reader import ROWS_PER_BLOCK, Instant, Results
from tricell.results.report.run_data import RunData


@dataclass(frozen=True)
class Choice:
    """What was asked for; see `tricell plot`.

    Attributes
    ----------
    area : id of the only area shown, with all inside it; empty for all.
    level : the only level shown; empty for all.
    at : the slot shown in figures of one moment, UTC; None for the worst.
    width : name of the printed width, see `canvas.WIDTHS_CM`.
    """

    area: str = ""
    level: str = ""
    at: pd.Timestamp | None = None
    width: str = "double"

    @property
    def is_narrow(self) -> bool:
        """Whether it is one column of a paper."""
        return self.width == "single"

    def areas(self, data: RunData) -> list[str]:
        """Return the ids of the areas shown, in the order of their table."""
        inside = data.inside(self.area) if self.area else tuple(data.areas["area"])
        rows = data.areas[data.areas["area"].isin(list(inside))]
        if self.level:
            rows = rows[rows["level"] == self.level]
        return list(rows["area"])

    def levels(self, data: RunData) -> list[str]:
        """Return the levels of the areas shown, the lowest first."""
        found = set(data.areas.loc[data.areas["area"].isin(self.areas(data)), "level"])
        return [level for level in data.levels if level in found]

    def columns(self, data: RunData, level: str) -> NDArray[np.int64]:
        """Return the columns of a level's series that are shown."""
        shown = set(self.areas(data))
        ids = data.ids(level)
        return np.array([n for n, area in enumerate(ids) if area in shown], dtype=np.int64)


class PartOfRun(Results):
    """The slots of a run from `start` up to but without `stop`, read as if there were no others.

    Tables are those of the whole run. Closing it closes the file.
    """

    def __init__(self, whole: Results, start: Instant | None, stop: Instant | None) -> None:
        super().__init__(whole.path, whole._file)
        self._start, self._stop = start, stop

    def times(
        self, group: str = layout.SLOT, start: Instant | None = None, stop: Instant | None = None
    ) -> pd.DatetimeIndex:
        """Read the starts of the slots, UTC."""
        return super().times(group, start or self._start, stop or self._stop)

    def slots(self, start: Instant | None = None, stop: Instant | None = None) -> pd.DataFrame:
        """Read all run-wide variables."""
        return super().slots(start or self._start, stop or self._stop)

    def blocks(
        self,
        group: str,
        variable: str,
        start: Instant | None = None,
        stop: Instant | None = None,
        *,
        slots: int = ROWS_PER_BLOCK,
    ) -> Iterator[NDArray[Any]]:
        """Read one variable in blocks of that many slots."""
        return super().blocks(
            group, variable, start or self._start, stop or self._stop, slots=slots
        )


def summed(
    data: RunData, group: str, variable: str, columns: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the sum of some columns of a variable in every slot, gaps left out, (slots,).

    Zero throughout where the file does not have the variable.
    """
    if not data.has(group, variable):
        return np.zeros(data.slots_done)
    parts = [
        np.nansum(block[:, columns], axis=1, dtype=np.float64)
        for block in data.results.blocks(group, variable)
    ]
    return np.concatenate(parts)[: data.slots_done]
