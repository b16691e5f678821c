"""Settings of all tests: no time limit for an example, as machines that test are shared."""

from collections.abc import Mapping
from typing import Any

from hypothesis import settings
from pandapower.auxiliary import pandapowerNet
from pandapower.network_structure import get_structure_dict

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


_tables_once()
