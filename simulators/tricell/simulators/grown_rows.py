"""Rows that are kept block after block until the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
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

    def unsaved(self) -> Rows:
        """Return the rows that no earlier call returned; there must be some."""
        new = self._parts[self._saved :]
        self._saved = len(self._parts)
        return np.concatenate(new)

    def recall(self, rows: Rows) -> None:
        """Begin with rows that were saved before."""
        self._parts, self._saved = [rows], 1


class GrownTable:
    """Columns by name that all grow with the run."""

    def __init__(self) -> None:
        self._columns: dict[str, GrownRows] = {}

    def add(self, columns: Mapping[str, Rows]) -> None:
        """Keep rows of every column; the arrays must not change afterwards."""
        for name, rows in columns.items():
            self._columns.setdefault(name, GrownRows()).add(rows)

    def all(self) -> dict[str, Rows]:
        """Return all rows so far; nothing if there are none."""
        return {name: rows.all() for name, rows in self._columns.items()}

    def unsaved(self) -> dict[str, Rows]:
        """Return the rows that no earlier call returned; a column that is kept must have some."""
        return {name: rows.unsaved() for name, rows in self._columns.items()}

    def recall(self, columns: Mapping[str, Rows]) -> None:
        """Begin with rows that were saved before."""
        for name, rows in columns.items():
            self._columns.setdefault(name, GrownRows()).recall(rows)
