"""Every place a network can come from, behind one function.

A new source is one more module with a pydantic model (``kind: Literal["..."]``) and a load
function, and one line in `_LOADERS` and `GridSource` here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pandapower as pp
import simbench
from pydantic import Field

from tricell.grid_models.file_grid import FileGrid, load_file_grid
from tricell.grid_models.pandapower_grid import (
    PandapowerGrid,
    load_pandapower_grid,
    network_functions,
)
from tricell.grid_models.simbench_grid import SimbenchGrid, load_simbench_grid

GridSource = Annotated[SimbenchGrid | PandapowerGrid | FileGrid, Field(discriminator="kind")]
"""Parameters of any grid source; `kind` tells which."""

_LOADERS: dict[type[Any], Callable[[Any], pp.pandapowerNet]] = {
    SimbenchGrid: load_simbench_grid,
    PandapowerGrid: load_pandapower_grid,
    FileGrid: load_file_grid,
}


@dataclass(frozen=True)
class KnownGrid:
    """One network that a scenario can name.

    Attributes
    ----------
    name : str
        SimBench code or function name.
    kind : str
        Grid source that loads it.
    description : str
        One line about it.
    """

    name: str
    kind: str
    description: str


def load_grid(source: SimbenchGrid | PandapowerGrid | FileGrid) -> pp.pandapowerNet:
    """Load a network from any source.

    Parameters
    ----------
    source : SimbenchGrid, PandapowerGrid or FileGrid

    Returns
    -------
    pandapowerNet

    Raises
    ------
    GridError
        If there is no such network.
    """
    return _LOADERS[type(source)](source)


def list_grids() -> list[KnownGrid]:
    """List the networks that can be named; files and composed SimBench grids come on top."""
    return [*_simbench_codes(), *_pandapower_functions()]


def _simbench_codes() -> list[KnownGrid]:
    scenarios = {"0": "today", "1": "future 1", "2": "future 2"}
    grids = []
    for code in simbench.collect_all_simbench_codes():
        _, level, area_type, part, scenario, switches = _split_code(code)
        what = f"{level} {area_type}" + ("" if part in ("", "all") else f", part {part}")
        kept = "with switches" if switches == "sw" else "switches merged"
        grids.append(KnownGrid(code, "simbench", f"{what}, {scenarios[scenario]}, {kept}"))
    return grids


def _split_code(code: str) -> tuple[str, str, str, str, str, str]:
    """Split "1-MVLV-rural-1.108-0-sw"; codes of one level have an empty part."""
    version, level, area_type, part, scenario, switches = code.split("-")
    return version, level, area_type, part, scenario, switches


def _pandapower_functions() -> list[KnownGrid]:
    grids = []
    for name, function in sorted(network_functions().items()):
        text = inspect.getdoc(function) or ""
        first = next((line.strip() for line in text.splitlines() if line.strip()), "")
        grids.append(KnownGrid(name, "pandapower", first))
    return grids
