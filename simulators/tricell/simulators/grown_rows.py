"""Rows that are kept block after block until the end of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[Any]


class GrownRows:
    """Rows of one array that grows with the run; a checkpoint saves those that are new."""

    def __init__(self) -> None:
        self._parts: list[Rows] = []
        self._saved = 0

    def add(self, rows: Rows) -> None:
        """Keep rows; the array must not change afterwards."""
        self._parts.append(rows)

    def all(self) -> Rows:
        """Return all rows so far; there must be some."""
        return np.concatenate(self._parts)

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def unsaved(self) -> Rows:
        """Return the rows that no earlier call returned; there must be some."""
        new = self._parts[self._saved :]
        self._saved = len(self._parts)
        return np.concatenate(new)

    def recall(self, rows: Rows) -> None:
        """Begin with rows that were saved before."""
        self._parts, self._saved = [rows], 1
