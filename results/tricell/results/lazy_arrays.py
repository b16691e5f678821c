"""Datasets of an open file as xarray variables that are read when their values are asked for.

Why not `xarray.open_dataset`: it opens the path a second time, and behind that path another file
may stand by then, as long as the run goes on. And what cannot be read must end as an error of
tricell, however late it is noticed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

Read: TypeAlias = Callable[[h5py.Dataset, Any], NDArray[Any]]
"""Give the part of a dataset that an index selects."""

HDF5_ATTRIBUTES = frozenset({"CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST"})
"""What HDF5 itself keeps with a dataset to tie it to its axes."""


class _LazyArray(BackendArray):
    """A dataset that xarray asks for the parts it needs."""

    def __init__(self, dataset: h5py.Dataset, read: Read) -> None:
        self._dataset = dataset
        self._read = read
        self.shape = dataset.shape
        is_text = h5py.check_string_dtype(dataset.dtype) is not None
        self.dtype = np.dtype(object) if is_text else dataset.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER_1VECTOR, self._part
        )

    def _part(self, key: tuple[Any, ...]) -> NDArray[Any]:
        return self._read(self._dataset, key)


def lazy_variable(dataset: h5py.Dataset, dims: tuple[str, ...], read: Read) -> xr.Variable:
    """Make a variable of a dataset, not decoded; `xarray.decode_cf` makes times of numbers."""
    attributes = {
        name: value for name, value in dataset.attrs.items() if name not in HDF5_ATTRIBUTES
    }
    return xr.Variable(dims, indexing.LazilyIndexedArray(_LazyArray(dataset, read)), attributes)
