"""What a check reads of a results file that may be damaged anywhere."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from tricell.results import layout
from tricell.results.deviations import Deviation, unreadable
from tricell.results.open_file import DAMAGE, refuse_more_than_stored

BYTES_PER_BLOCK = 2**25
"""What is read of a series at once, rounded to whole chunks of slots."""


class UsableFile:
    """The datasets of an open file that can be read as the layout says; the others are None.

    Parameters
    ----------
    file
        The open file.
    unusable
        Paths of the datasets that are missing or of another type or shape.

    Attributes
    ----------
    unreadable
        What could not be read, filled as columns are asked for.
    """

    def __init__(self, file: h5py.File, unusable: Collection[str]) -> None:
        self.file = file
        self.unreadable: list[Deviation] = []
        self._unusable = unusable
        self._columns: dict[str, NDArray[Any] | None] = {}

    def dataset(self, path: str) -> h5py.Dataset | None:
        """Give a dataset, None if it is not usable."""
        if path in self._unusable:
            return None
        try:
            found = self.file.get(path)
        except DAMAGE:  # told where the structure is checked
            return None
        return found if isinstance(found, h5py.Dataset) else None

    def values(self, path: str) -> NDArray[Any] | None:
        """Read a whole dataset once; texts as objects."""
        if path not in self._columns:
            dataset = self.dataset(path)
            self._columns[path] = None if dataset is None else self._read(path, dataset, ...)
        return self._columns[path]

    def column(self, table: str, column: str) -> NDArray[Any] | None:
        """Read a column of a table."""
        return self.values(layout.table_path(table, column))

    def blocks(self, path: str) -> Iterator[tuple[int, NDArray[Any]]]:
        """Read a series in blocks of whole chunks: first row, values."""
        dataset = self.dataset(path)
        if dataset is None:
            return
        per_row = max(1, dataset.nbytes // max(1, dataset.shape[0]))
        days = max(1, BYTES_PER_BLOCK // (per_row * layout.ROWS_PER_CHUNK))
        rows = days * layout.ROWS_PER_CHUNK
        for first in range(0, dataset.shape[0], rows):
            values = self._read(path, dataset, slice(first, first + rows))
            if values is None:
                return
            yield first, values

    def _read(self, path: str, dataset: h5py.Dataset, rows: Any) -> NDArray[Any] | None:
        try:
            refuse_more_than_stored(dataset)
            is_text = h5py.check_string_dtype(dataset.dtype) is not None
            values = dataset.asstr()[rows] if is_text else dataset[rows]
        except DAMAGE as error:
            self.unreadable.append(unreadable(path, error))
            return None
        return np.asarray(values)
