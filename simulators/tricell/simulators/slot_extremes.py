"""What stood worst in each slot of a block: voltages, loadings, and the limit that binds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.grid_models.arrays import take_or
from tricell.grid_models.electrical_grid import ElectricalGrid
from tricell.simulators.grid_simulator import OperatingLimits

Columns = dict[str, NDArray[Any]]
Series = Mapping[str, Mapping[str, NDArray[Any]]]

BINDING_FROM = 0.99
"""Share of a limit (for voltages: of the half band) from which on it counts as binding."""


def extremes(series: Series) -> Columns:
    """Return lowest and highest voltage and highest loadings of each slot, with their rows.

    Parameters
    ----------
    series : of buses (``vm``), lines and transformers (``loading``), shape (slots, entities).
    """
    vm = series["bus"]["vm"]
    low, high = np.where(np.isnan(vm), np.inf, vm), np.where(np.isnan(vm), -np.inf, vm)
    worst = {
        "vm_min": low.min(axis=1),
        "vm_min_bus": low.argmin(axis=1),
        "vm_max": high.max(axis=1),
        "vm_max_bus": high.argmax(axis=1),
    }
    for kind in ("line", "trafo"):
        loading = series[kind]["loading"]
        if loading.shape[1]:
            worst[f"{kind}_loading_max"] = loading.max(axis=1)
            worst[f"{kind}_loading_max_{kind}"] = loading.argmax(axis=1)
        else:
            worst[f"{kind}_loading_max"] = np.full(len(vm), np.nan)
            worst[f"{kind}_loading_max_{kind}"] = np.full(len(vm), -1)
    return worst


def binding_limits(series: Series, grid: ElectricalGrid, limits: OperatingLimits) -> Columns:
    """Find what stands closest to its limit in each slot, if it stands at it.

    Parameters
    ----------
    series : as in `extremes`.
    grid, limits : the network, and what it is held against.

    Returns
    -------
    dict
        ``binding_kind`` (0 nothing, 1 bus, 2 line, 3 transformer) and ``binding_element`` (row, or
        -1), shape (slots,).
    """
    low = take_or(limits.vm_min_pu, grid.node_of_bus, np.nan)
    high = take_or(limits.vm_max_pu, grid.node_of_bus, np.nan)
    middle, half_band = 0.5 * (low + high), 0.5 * (high - low)
    line = take_or(limits.loading_percent, grid.line_branch, np.inf)
    trafo = take_or(limits.loading_percent, grid.transformer_branch, np.inf)
    of_kinds = (
        np.abs(series["bus"]["vm"] - middle) / half_band,
        series["line"]["loading"] / line,
        series["trafo"]["loading"] / trafo,
    )
    tightness = [np.nan_to_num(of_kind, nan=0.0) for of_kind in of_kinds]
    worst = np.stack([of_kind.max(axis=1, initial=0.0) for of_kind in tightness], axis=1)
    where = np.stack(
        [
            of_kind.argmax(axis=1) if of_kind.shape[1] else -np.ones(len(worst))
            for of_kind in tightness
        ],
        axis=1,
    )
    kind = worst.argmax(axis=1)
    rows = np.arange(len(worst))
    binds = worst[rows, kind] >= BINDING_FROM
    return {
        "binding_kind": np.where(binds, kind + 1, 0),
        "binding_element": np.where(binds, where[rows, kind], -1).astype(np.int64),
    }
