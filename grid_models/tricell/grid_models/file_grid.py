"""Networks of the planner's own: a pandapower JSON or Excel file."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pandapower as pp
from pydantic import BaseModel, ConfigDict

from tricell.errors import GridError
from tricell.grid_models.electrical_grid import activate_tap_changers

JSON_SUFFIXES = (".json",)
EXCEL_SUFFIXES = (".xlsx",)
UNREADABLE = (
    UserWarning,
    AttributeError,
    ImportError,
    KeyError,
    OSError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
)
"""What pandapower's readers raise on a file that is not theirs."""


class FileGrid(BaseModel):
    """A network in a file that pandapower wrote."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    kind: Literal["file"]
    """Grid source: a file."""
    path: Path
    """File that `pandapower.to_json` or `pandapower.to_excel` wrote (.json or .xlsx)."""


def load_file_grid(source: FileGrid) -> pp.pandapowerNet:
    """Read a network from a file.

    Parameters
    ----------
    source : FileGrid
        A relative path counts from the working directory.

    Returns
    -------
    pandapowerNet

    Raises
    ------
    GridError
        If the file is missing, of another kind, or holds no network.
    """
    path = source.path
    if not path.is_file():
        raise GridError(f"There is no file '{path}'. Check 'path' (it counts from {Path.cwd()}).")
    suffix = path.suffix.lower()
    if suffix not in JSON_SUFFIXES + EXCEL_SUFFIXES:
        raise GridError(
            f"'{path}' ends in '{suffix}', but a network is read from a pandapower JSON file "
            "(.json) or Excel file (.xlsx). Write one with pandapower.to_json(net, path)."
        )
    net = _read(path, pp.from_json if suffix in JSON_SUFFIXES else pp.from_excel)
    if not isinstance(net, pp.pandapowerNet) or len(net.bus) == 0:
        raise _no_network(path, "it holds no buses")
    activate_tap_changers(net)
    return net


def _read(path: Path, reader: Callable[[str], Any]) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", category=FutureWarning)
            return reader(str(path))
    except UNREADABLE as error:
        raise _no_network(path, str(error) or type(error).__name__) from error


def _no_network(path: Path, why: str) -> GridError:
    return GridError(
        f"'{path}' holds no pandapower network that can be read: {why}. Write it again with "
        "pandapower.to_json(net, path), with pandapower 3 or newer."
    )
