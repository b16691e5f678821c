"""Two small array operations that all rooms use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def sum_by_key(keys: NDArray[np.int64], values: Floats, size: int) -> Floats:
    """Sum values that have the same key.

    Examples
    --------
    >>> sum_by_key(np.array([0, 2, 0]), np.array([1.0, 5.0, 2.0]), 3)
    array([3., 0., 5.])
    """
    return np.asarray(np.bincount(keys, weights=values, minlength=size), dtype=np.float64)


def take_or(values: NDArray[Any], places: NDArray[np.int64], absent: float) -> NDArray[Any]:
    """Pick values by place; a place of -1 gives `absent`.

    Examples
    --------
    >>> take_or(np.array([4.0, 5.0]), np.array([1, -1]), 0.0)
    array([5., 0.])
    """
    extended: NDArray[Any] = np.append(values, absent)
    return extended[places]
