"""Settings of all tests, and what they share so that it is done once.

No time limit for an example, as machines that test are shared.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from hypothesis import settings
from pandapower.auxiliary import pandapowerNet
from pandapower.network_structure import get_structure_dict
from simbench.networks import extract_simbench_grids_from_csv as simbench_data

settings.register_profile("tricell", deadline=None)
settings.load_profile("tricell")


def _tables_once() -> None:
    """Copy the empty tables of new networks: to build them takes 0.2 s, and tests build many."""
    tables = pandapowerNet.create_dataframes(get_structure_dict())

    def copied(structure: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: tables[key].copy() if isinstance(value, dict) else value
            for key, value in structure.items()
        }

    pandapowerNet.create_dataframes = staticmethod(copied)


def _simbench_files_once() -> None:
    """Read each of SimBench's files once: to read them for every grid anew takes 2 s."""
    read = simbench_data.read_csv_data
    read_once = cache(read)

    def copied(path: str, sep: str, tablename: str | None = None) -> Any:
        return read(path, sep) if tablename is None else read_once(path, sep, tablename).copy()

    simbench_data.read_csv_data = copied


_tables_once()
_simbench_files_once()
