"""What open files of results have in common: opening, reading without tracebacks, and closing.

Every read of a file goes through `OpenFile.reading`, so that damage, however late it is met, ends
as a `ResultsError`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
from numpy.typing import NDArray

from tricell.errors import ResultsError

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
LARGEST_DEFLATE_RATIO = 1032
"""How many bytes one byte of gzip can stand for at most, zlib.net/zlib_tech.html."""

DAMAGE = (
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
)
"""What h5py and numpy raise on a file whose bytes are wrong."""
WHAT_TO_DO = "copy the file again or repeat the run"


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

    def is_gone(self) -> ResultsError:
        """Give the error for a file that was removed while it was open."""
        return ResultsError(f"{self.path} is gone: its run has ended; open it again")

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Turn what goes wrong inside the block into an error that names the file and the part.

        Raises
        ------
        ResultsError
            If the part cannot be read, if the file was closed, or if it is gone.
        """
        try:
            yield
        except DAMAGE as error:
            if not self._file:
                raise ResultsError(
                    f"{self.path} is closed; read {what} before the end of the `with` block"
                ) from error
            if not self.path.exists():
                raise self.is_gone() from error
            raise ResultsError(
                f"{self.path}: {what} is damaged and cannot be read; {WHAT_TO_DO}. "
                f"Found: {_one_line(error)}"
            ) from error

    def _members(self, path: str) -> dict[str, h5py.Dataset | h5py.Group]:
        with self.reading(path):
            return dict(self._file[path].items())

    def _read(self, dataset: h5py.Dataset, key: Any) -> NDArray[Any]:
        """Read a part of a dataset, texts as `str`."""
        with self.reading(_name(dataset)):
            refuse_more_than_stored(dataset)
            is_text = h5py.check_string_dtype(dataset.dtype) is not None
            values: NDArray[Any] = (dataset.asstr() if is_text else dataset)[key]
        return values


def open_hdf5(path: Path, *, locking: bool | None = None) -> h5py.File:
    """Open an HDF5 file for reading.

    Parameters
    ----------
    path : a file.
    locking : whether HDF5 locks the file against writers; None as HDF5 itself decides.

    Raises
    ------
    ResultsError
        If there is no such file, if it is a folder, may not be read, is not HDF5, is cut off or is
        being written.
    """
    if path.is_dir():
        raise ResultsError(f"{path} is a folder; expected a results file such as week.h5")
    if not path.exists():
        raise ResultsError(f"{path}: no such file")
    try:
        _refuse_other_formats(path)
        return h5py.File(path, "r", locking=locking)
    except PermissionError as error:
        raise ResultsError(
            f"{path}: no permission to read it; ask its owner, or change its permissions"
        ) from error
    except BlockingIOError as error:
        raise ResultsError(f"{path} is being written; wait until that has ended") from error
    except DAMAGE as error:
        raise ResultsError(
            f"{path} is HDF5 but damaged or cut off ({_size(path)} bytes), expected a whole file; "
            f"{WHAT_TO_DO}. HDF5 says: {_one_line(error)}"
        ) from error


def refuse_more_than_stored(dataset: h5py.Dataset) -> None:
    """Raise an error if a dataset claims more numbers than its bytes can stand for.

    Otherwise one wrong byte in a size would fill the memory with gap values.

    Raises
    ------
    ValueError
        If it does.
    """
    if dataset.is_virtual:
        return
    claimed = math.prod(dataset.shape) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    if claimed > LARGEST_DEFLATE_RATIO * stored:
        raise ValueError(f"shape {dataset.shape} but only {stored} bytes")


def _refuse_other_formats(path: Path) -> None:
    with path.open("rb") as file:
        begin = file.read(len(HDF5_SIGNATURE))
    if begin == HDF5_SIGNATURE or h5py.is_hdf5(path):
        return
    raise ResultsError(
        f"{path} is not a results file: expected HDF5, which begins with {HDF5_SIGNATURE!r}; "
        f"found {begin!r}{'' if begin else ', the file is empty'}; `tricell run` and "
        f"`tricell study` write such files"
    )


def _name(dataset: h5py.Dataset) -> str:
    # A damaged or closed file may not even know the name.
    try:
        return str(dataset.name or "values")
    except DAMAGE:
        return "values"


def _size(path: Path) -> int | str:
    try:
        return path.stat().st_size
    except OSError:
        return "unknown"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
