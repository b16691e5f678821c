"""SimBench networks: by code, or composed of chosen high, medium and low voltage grids.

The data are part of the package `simbench` and stand under the Open Database License 1.0 (ODbL):
name the source, share derived data bases alike. They are German benchmark grids of the year 2016
in three scenarios (0 today, 1 and 2 with more heat pumps, electric vehicles, PV and batteries).
"""

from __future__ import annotations

import copy
import difflib
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import pandapower as pp
import pandas as pd
import simbench
from pandapower.toolbox import fuse_buses
from pydantic import BaseModel, ConfigDict, Field, model_validator
from simbench.networks.extract_simbench_grids_from_csv import (
    complete_data_path,
    get_extracted_csv_data,
)
from simbench.networks.loadcases import filter_loadcases
from simbench.networks.profiles import filter_unapplied_profiles

from tricell.errors import GridError
from tricell.grid_models.electrical_grid import activate_tap_changers

SIMBENCH_LICENCE = "ODbL-1.0"
HIGH_VOLTAGE_GRIDS = ("HV1", "HV2")


class SimbenchGrid(BaseModel):
    """A SimBench network: either `code`, or `hv`, `mv` and `lv` that are joined."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    kind: Literal["simbench"]
    """Grid source: the data of the package simbench."""
    scenario: Literal[0, 1, 2] | None = None
    """0 today, 1 and 2 future; 2 if nothing is said. Not with `code`, which holds its own."""
    code: str | None = None
    """A SimBench code such as "1-LV-rural2--2-sw"."""
    hv: str | None = None
    """High voltage grid on top, "HV1" or "HV2"; leave out to start at the medium voltage."""
    mv: tuple[str, ...] = ()
    """Medium voltage grids, such as "MV2.101"."""
    lv: tuple[str, ...] = ()
    """Low voltage grids, such as "LV1.201". Without `mv` they hang on one common busbar."""
    lv_per_mv: int | None = Field(default=None, ge=1)
    """Instead of `lv`: so many low voltage grids below each of `mv`, one of each type in turn."""

    @model_validator(mode="after")
    def _one_way_only(self) -> SimbenchGrid:
        parts = bool(self.hv or self.mv or self.lv or self.lv_per_mv)
        if bool(self.code) == parts:
            raise ValueError("give either 'code', or some of 'hv', 'mv', 'lv' and 'lv_per_mv'")
        if self.code and self.scenario is not None:
            raise ValueError("'scenario' is part of 'code' (its last but one number); leave it out")
        if self.lv and self.lv_per_mv:
            raise ValueError("give either 'lv' or 'lv_per_mv', not both")
        if self.lv_per_mv and not self.mv:
            raise ValueError("'lv_per_mv' needs 'mv'")
        if self.hv and not self.mv:
            raise ValueError("'hv' needs at least one grid in 'mv'")
        return self


def load_simbench_grid(source: SimbenchGrid) -> pp.pandapowerNet:
    """Load a SimBench network with the profiles that its elements use.

    Parameters
    ----------
    source : SimbenchGrid

    Returns
    -------
    pandapowerNet
        With `net.profiles` (tables of relative values per quarter hour) and working tap changers.

    Raises
    ------
    GridError
        If a code or a grid's name is unknown, or the chosen grids do not fit together.
    """
    return copy.deepcopy(_loaded(source))


@lru_cache(maxsize=2)
def _loaded(source: SimbenchGrid) -> pp.pandapowerNet:
    """Read a network from SimBench's tables: seconds, against hundredths for a copy."""
    if source.code is not None:
        net = _load_code(source.code)
    elif source.mv:
        net = _load_joined(source)
    else:
        net = _load_on_common_busbar(source)
    activate_tap_changers(net)
    net.name = describe(source)
    return net


def describe(source: SimbenchGrid) -> str:
    """Name a network in one line, for results and messages."""
    if source.code is not None:
        return f"SimBench {source.code}"
    parts = [*([source.hv] if source.hv else []), *source.mv, *source.lv]
    more = f" with {source.lv_per_mv} LV grids each" if source.lv_per_mv else ""
    return f"SimBench {'+'.join(parts)}{more}, scenario {_scenario(source)}"


def low_voltage_grids(mv: str, scenario: int, count: int) -> list[str]:
    """Choose low voltage grids below one medium voltage grid, one of each type in turn.

    Parameters
    ----------
    mv : str
        A medium voltage grid such as "MV2.101".
    scenario : {0, 1, 2}
    count : int
        How many to choose.

    Returns
    -------
    list of str
        The lowest number of each type first, then the next of each type.
    """
    below = _parents_of_low_voltage(scenario)
    by_type: dict[str, list[str]] = {}
    for lv in sorted(lv for lv, parent in below.items() if parent == mv):
        by_type.setdefault(lv.split(".")[0], []).append(lv)
    in_turn = sorted(
        (number, lv_type, lv)
        for lv_type, names in by_type.items()
        for number, lv in enumerate(names)
    )
    if len(in_turn) < count:
        raise GridError(
            f"{mv} has {len(in_turn)} low voltage grids in SimBench, but 'lv_per_mv' asks for "
            f"{count}. The four with low voltage detail are "
            f"{', '.join(sorted(set(below.values())))}."
        )
    return [lv for _, _, lv in in_turn[:count]]


def _scenario(source: SimbenchGrid) -> int:
    return 2 if source.scenario is None else source.scenario


def _load_code(code: str) -> pp.pandapowerNet:
    known = simbench.collect_all_simbench_codes()
    if code not in known:
        close = difflib.get_close_matches(code, known, n=3)
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise GridError(
            f"SimBench has no network '{code}'.{hint} A code looks like '1-LV-rural2--2-sw': "
            "version, voltage level, type, part, scenario, with switches (sw) or without (no_sw); "
            "simbench.collect_all_simbench_codes() lists all."
        )
    return simbench.get_simbench_net(code)


def _load_joined(source: SimbenchGrid) -> pp.pandapowerNet:
    scenario = _scenario(source)
    _refuse_misfits(source, scenario)
    lv = list(source.lv)
    if source.lv_per_mv:
        for mv in source.mv:
            lv += low_voltage_grids(mv, scenario, source.lv_per_mv)
    upper = [*([source.hv] if source.hv else []), *source.mv]
    replaced = [*(source.mv if source.hv else ()), *lv]
    return _extract(scenario, [*upper, *lv], replaced)


def _load_on_common_busbar(source: SimbenchGrid) -> pp.pandapowerNet:
    """Join low voltage grids at one medium voltage busbar with one external grid."""
    scenario = _scenario(source)
    _refuse_misfits(source, scenario)
    net = _extract(scenario, list(source.lv), [])
    busbars = net.ext_grid.bus.to_numpy()
    if net.bus.vn_kv.loc[busbars].nunique() > 1:
        raise GridError(
            f"The low voltage grids {', '.join(source.lv)} hang on medium voltages of "
            f"{sorted(set(net.bus.vn_kv.loc[busbars]))} kV and cannot share one busbar. Choose "
            "grids below medium voltage grids of one voltage (MV1 and MV2: 20 kV, MV3 and MV4: "
            "10 kV)."
        )
    common = int(busbars[0])
    net.ext_grid = net.ext_grid.iloc[:1].copy()
    others = [int(bus) for bus in busbars[1:] if bus != common]
    if others:
        fuse_buses(net, common, others)
    return net


def _extract(scenario: int, whole: list[str], replaced: list[str]) -> pp.pandapowerNet:
    """Take the named grids out of SimBench's complete data.

    `whole` are the grids with all their elements; `replaced` are those among them that stand in
    the data of the grid above as an equivalent load, which then has to go.
    """
    tables: dict[str, pd.DataFrame] = get_extracted_csv_data(
        (whole, replaced), complete_data_path(scenario)
    )
    filter_unapplied_profiles(tables)
    filter_loadcases(tables)
    return simbench.csv_data2pp(tables)


def _refuse_misfits(source: SimbenchGrid, scenario: int) -> None:
    parents = _parents_of_low_voltage(scenario)
    medium = _parents_of_medium_voltage(scenario)
    known = {"hv": HIGH_VOLTAGE_GRIDS, "mv": tuple(medium), "lv": tuple(parents)}
    chosen = {"hv": (source.hv,) if source.hv else (), "mv": source.mv, "lv": source.lv}
    for field, names in chosen.items():
        _refuse_unknown(field, names, known[field])
    if source.hv:
        strange = [mv for mv in source.mv if medium[mv] != source.hv]
        if strange:
            raise GridError(f"{', '.join(strange)}: not fed by {source.hv} in SimBench.")
    if source.mv:
        orphans = [name for name in source.lv if parents[name] not in source.mv]
        if orphans:
            raise GridError(
                f"{', '.join(orphans)}: the medium voltage grid above is not in 'mv' "
                f"({', '.join(source.mv)}). Add {', '.join(sorted({parents[o] for o in orphans}))} "
                "or choose other low voltage grids."
            )


def _refuse_unknown(field: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise GridError(f"'{field}' names {', '.join(repeated)} more than once.")
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3) or list(known[:6])
            raise GridError(
                f"SimBench has no grid '{name}' for '{field}'. Allowed are, for example, "
                f"{', '.join(close)}."
            )


@lru_cache(maxsize=3)
def _parents_of_low_voltage(scenario: int) -> dict[str, str]:
    """Medium voltage grid above each low voltage grid, from the transformers."""
    return _parents(scenario, "LV")


@lru_cache(maxsize=3)
def _parents_of_medium_voltage(scenario: int) -> dict[str, str]:
    """High voltage grid above each medium voltage grid."""
    return _parents(scenario, "MV")


def _parents(scenario: int, level: str) -> dict[str, str]:
    path = Path(os.fspath(complete_data_path(scenario))) / "Transformer.csv"
    trafos: Any = pd.read_csv(path, sep=";", usecols=["nodeHV", "subnet"])
    child = trafos["subnet"].str.split("_").str[0]
    parent = trafos["nodeHV"].str.split(" ").str[0]
    ours = child.str.startswith(level)
    return dict(sorted(zip(child[ours], parent[ours], strict=True)))
