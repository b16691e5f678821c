"""Packing whole chunks outside HDF5, where a faster deflate than HDF5's own is installed.

HDF5 packs series of noisy numbers with zlib at some 50 MB/s, which is as long as a slot's linear
program. The ISA-L library writes the same format ten times faster. A chunk packed here is
what any reader expects of a dataset with the filters shuffle and gzip.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from typing import Any, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

Deflate: TypeAlias = Callable[[bytes], bytes]

ISAL_LEVEL = 1


def fast_deflate() -> Deflate | None:
    """Give a deflate that is faster than HDF5's, None if none is installed (package `isal`)."""
    if find_spec("isal") is None:
        return None
    compress = import_module("isal.isal_zlib").compress
    return lambda data: bytes(compress(data, ISAL_LEVEL))


def shuffled(block: NDArray[Any]) -> bytes:
    """Order the bytes as HDF5's shuffle filter: all first bytes, all second bytes, ...

    Examples
    --------
    >>> shuffled(np.array([0x0102, 0x0304], dtype="<u2")).hex()
    '02040103'
    """
    octets = np.ascontiguousarray(block).view(np.uint8).reshape(-1, block.itemsize)
    return octets.T.tobytes()


def write_chunks(dataset: h5py.Dataset, start: int, rows: NDArray[Any], deflate: Deflate) -> None:
    """Write rows of a shuffled and gzipped dataset that has room for them, chunk by chunk.

    The rows must fill chunks: they begin and end at a multiple of the chunk's rows.
    """
    height, *width = dataset.chunks
    for first in range(0, rows.shape[0], height):
        day = rows[first : first + height]
        if not width:
            dataset.id.write_direct_chunk((start + first,), deflate(shuffled(day)))
            continue
        for left in range(0, rows.shape[1], width[0]):
            block = _padded(day[:, left : left + width[0]], width[0])
            dataset.id.write_direct_chunk((start + first, left), deflate(shuffled(block)))


def _padded(block: NDArray[Any], width: int) -> NDArray[Any]:
    missing = width - block.shape[1]
    return np.pad(block, ((0, 0), (0, missing))) if missing else block


def copy_chunks(source: h5py.Dataset, target: h5py.Dataset, first: int) -> None:
    """Copy all rows of a dataset to those from `first` on of another, still packed.

    Both have the same chunks and filters, and `first` is a multiple of the chunk's rows.
    """
    grid = (range(0, size, step) for size, step in zip(source.shape, source.chunks, strict=True))
    for row, *left in product(*grid):
        mask, packed = source.id.read_direct_chunk((row, *left))
        target.id.write_direct_chunk((first + row, *left), packed, mask)
