"""What open files of results have in common: a path, and closing."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import h5py


class OpenFile:
    """An open HDF5 file, closed at the end of a ``with`` block."""

    def __init__(self, path: Path, file: h5py.File) -> None:
        self.path = path
        self._file = file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
