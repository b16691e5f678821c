"""Population of any pandapower network, with the planner's own profiles.

Every row of ``net.load`` is an agent (a household below 1 kV, else a business). PV below 1 kV
belongs to the customer of its bus with the least PV; other generators are producers. A row of
``net.storage`` with a capacity is a battery of a customer at its bus; its ``p_mw`` is a rating,
not a schedule.

A profile is found by the element's name (a column ``Load 7``) or else by the text in the
``profile`` column of ``net.load`` and ``net.sgen``. A name finds a column for one element only, a
profile may be shared. Profiles are relative (times ``p_mw``) or absolute in kW; generation is
written positive. Reactive power follows a column ``<name>_q`` where there is one, and else keeps
the power factor of the element's ``p_mw`` and ``q_mvar``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BeforeValidator, Field

from tricell.errors import DataError
from tricell.scenarios.population_builder import ElementRow, PopulationBuilder, element_rows
from tricell.scenarios.population_simbench import population_from_simbench
from tricell.scenarios.section import Section
from tricell.scenarios.time_tables import (
    TimeTable,
    close_match,
    join_tables,
    read_csv_table,
    read_hdf5_table,
)
from tricell.simulators.population import AgentKind, DeviceKind, Population, Profiles

DEFAULT_EFFICIENCY = 0.95
CONSTANT = "constant"
GENERATOR_WORDS = {
    DeviceKind.PV: ("pv", "solar"),
    DeviceKind.WIND: ("wind", "wp", "wka"),
    DeviceKind.BIOMASS: ("bio", "bm"),
    DeviceKind.HYDRO: ("hydro", "water"),
}


class SimbenchProfiles(Section):
    """The profiles that come with a SimBench network."""

    kind: Literal["simbench"] = "simbench"


class ConstantProfiles(Section):
    """Every load and generator at its rated power all the time."""

    kind: Literal["constant"] = "constant"


class CsvProfiles(Section):
    """Profiles from CSV files, one column per element or profile name."""

    kind: Literal["csv"] = "csv"
    files: Annotated[tuple[str, ...], Field(min_length=1)]
    """Paths, counted from the scenario file's folder; all with the same times."""
    unit: Literal["relative", "kw"] = "relative"
    """`relative`: times the rated power of the element; `kw`: power itself (relative)."""
    time_column: str = "time"
    """Column with the start of each interval, ISO 8601 (time)."""
    utc_offset_hours: Annotated[float, Field(ge=-14, le=14)] = 0.0
    """Offset of a clock written without one, h (0: UTC)."""


class Hdf5Profiles(Section):
    """Profiles from HDF5 files: a dataset `time` and one dataset per element or profile name."""

    kind: Literal["hdf5"] = "hdf5"
    files: Annotated[tuple[str, ...], Field(min_length=1)]
    """Paths, counted from the scenario file's folder; all with the same times."""
    unit: Literal["relative", "kw"] = "relative"
    """`relative`: times the rated power of the element; `kw`: power itself (relative)."""
    group: str = "/"
    """Group that holds the datasets (/)."""
    utc_offset_hours: Annotated[float, Field(ge=-14, le=14)] = 0.0
    """Offset of a clock written without one, h (0: UTC)."""


AnyProfiles = Annotated[
    SimbenchProfiles | ConstantProfiles | CsvProfiles | Hdf5Profiles, Field(discriminator="kind")
]


def _kind_alone(value: object) -> object:
    return {"kind": value} if isinstance(value, str) else value


ProfileSource = Annotated[
    AnyProfiles,
    BeforeValidator(
        _kind_alone, json_schema_input_type=AnyProfiles | Literal["simbench", "constant"]
    ),
]
"""Where profiles come from; ``profiles: constant`` is short for ``profiles: {kind: constant}``."""


def population_from_source(
    source: SimbenchProfiles | ConstantProfiles | CsvProfiles | Hdf5Profiles,
    net: Any,
    *,
    start: np.datetime64,
    slots: int,
    step_s: int,
    folder: Path,
) -> Population:
    """Read who consumes and produces, with profiles that cover the horizon.

    Parameters
    ----------
    source : SimbenchProfiles, ConstantProfiles, CsvProfiles or Hdf5Profiles
        Validated section of the scenario.
    net : pandapowerNet
        The network.
    start : numpy.datetime64
        UTC start of the horizon.
    slots : int
        Number of slots.
    step_s : int
        Length of a slot, s.
    folder : Path
        Folder of the scenario file, from which relative paths count.

    Returns
    -------
    Population
        ``population.profiles.first_row(start, slots, step_s)`` is valid.

    Raises
    ------
    DataError
        If a file, a column, a value or the covered time is wrong.
    """
    match source:
        case SimbenchProfiles():
            population = population_from_simbench(net)
        case ConstantProfiles():
            population = _constant_population(net, start, slots, step_s)
        case CsvProfiles():
            read = [
                read_csv_table(folder / file, source.time_column, source.utc_offset_hours)
                for file in source.files
            ]
            population = population_from_table(net, join_tables(read), unit=source.unit)
        case Hdf5Profiles():
            read = [
                read_hdf5_table(folder / file, source.group, source.utc_offset_hours)
                for file in source.files
            ]
            population = population_from_table(net, join_tables(read), unit=source.unit)
    population.profiles.first_row(start, slots, step_s)
    return population


def population_from_table(
    net: Any, table: TimeTable, *, unit: Literal["relative", "kw"] = "relative"
) -> Population:
    """Read a network whose elements follow the columns of a table.

    Parameters
    ----------
    net : pandapowerNet
        Any network.
    table : TimeTable
        Profiles by element or profile name.
    unit : {"relative", "kw"}
        Whether profiles are multiplied with ``p_mw`` or are kW themselves.

    Returns
    -------
    Population
        Agents in the order of ``net.load``, then producers.

    Raises
    ------
    DataError
        If elements have no column (all of them are counted), several elements have the name of
        one column, a column holds a gap, or generation is written negative.
    """
    _require_columns(net, table)
    _require_one_element_by_name(net, table)

    def columns_of(row: ElementRow) -> tuple[str, str]:
        p_column = row.name if row.name in table.series else row.profile
        q_column = f"{p_column}_q" if f"{p_column}_q" in table.series else p_column
        return p_column, q_column

    for row in element_rows(net, "sgen"):
        rated_kw = row.p_kw if unit == "relative" else 1.0
        _require_positive_generation(table, columns_of(row)[0], row, rated_kw)

    def in_unit(row: ElementRow) -> ElementRow:
        if unit == "relative":
            return row
        p_column, q_column = columns_of(row)
        peak_kw = _peak(table, p_column)
        if q_column != p_column:
            return replace(row, p_kw=peak_kw, q_kvar=_peak(table, q_column))
        kvar_per_kw = row.q_kvar / row.p_kw if row.p_kw else 0.0
        return replace(row, p_kw=peak_kw, q_kvar=kvar_per_kw * peak_kw)

    builder = _build(net, columns_of, in_unit)
    values = np.empty((table.n_row, len(builder.columns)), dtype=np.float32)
    for number, name in enumerate(builder.columns):
        peak = _peak(table, name) if unit == "kw" else 1.0
        values[:, number] = table.column(name) / (peak or 1.0)
    return builder.build(
        Profiles(values, builder.columns, table.start, table.step_s, table.source, "")
    )


def _peak(table: TimeTable, column: str) -> float:
    """Return the largest absolute value, the rated power of a profile in kW."""
    return float(np.abs(table.column(column)).max())


def _constant_population(net: Any, start: np.datetime64, slots: int, step_s: int) -> Population:
    builder = _build(net, lambda row: (CONSTANT, CONSTANT), lambda row: row)
    builder.notes.append("Profiles are constant: loads and generators stay at their rated power.")
    values = np.ones((slots, len(builder.columns)), dtype=np.float32)
    first = start.astype("datetime64[s]")
    return builder.build(Profiles(values, builder.columns, first, step_s, "constant profiles", ""))


def _build(
    net: Any,
    columns_of: Callable[[ElementRow], tuple[str, str]],
    in_unit: Callable[[ElementRow], ElementRow],
) -> PopulationBuilder:
    builder = PopulationBuilder(net.bus["vn_kv"].to_numpy(dtype=np.float64))
    for row in element_rows(net, "load"):
        low_voltage = builder.is_low_voltage(row.bus_row)
        kind = AgentKind.HOUSEHOLD if low_voltage else AgentKind.BUSINESS
        agent = builder.add_customer(row.name, row.bus_row, kind)
        builder.add_load(agent, in_unit(row), DeviceKind.BASE_LOAD, *columns_of(row))
    for row in element_rows(net, "sgen"):
        device_kind = _generator_kind(row)
        owner = None
        if device_kind is DeviceKind.PV and builder.is_low_voltage(row.bus_row):
            owner = builder.customer_with_least_pv_at(row.bus_row)
        if owner is None:
            owner = builder.add_agent(row.name, row.bus_row, AgentKind.PRODUCER)
        builder.add_generator(owner, in_unit(row), device_kind, *columns_of(row))
    for row in element_rows(net, "storage"):
        _add_battery(builder, row, net.storage.iloc[row.position])
    return builder


def _require_columns(net: Any, table: TimeTable) -> None:
    missing = [
        (kind, row)
        for kind in ("load", "sgen")
        for row in element_rows(net, kind)
        if row.name not in table.series and row.profile not in table.series
    ]
    if missing:
        listed = "; ".join(
            f"net.{kind} {row.name!r}"
            + (f" with profile {row.profile!r}" if row.profile else "")
            + close_match(row.profile or row.name, table.series)
            for kind, row in missing[:5]
        )
        raise DataError(
            f"{table.source} has no column for {len(missing)} elements of the network: {listed}"
            f"{'; ...' if len(missing) > 5 else ''}. Name a column like the element, or put the "
            "name of a column into the element's profile column."
        )


def _require_one_element_by_name(net: Any, table: TimeTable) -> None:
    elements: dict[str, list[str]] = defaultdict(list)
    only_by_name: set[str] = set()
    for kind in ("load", "sgen"):
        for row in element_rows(net, kind):
            if row.name in table.series:
                elements[row.name].append(f"net.{kind} index {net[kind].index[row.position]}")
                if row.profile != row.name:
                    only_by_name.add(row.name)
    for name in table.series:
        found = elements.get(name, [])
        if len(found) > 1 and name in only_by_name:
            raise DataError(
                f"{table.source}: the column {name!r} has the name of {len(found)} elements: "
                f"{', '.join(found[:5])}{', ...' if len(found) > 5 else ''}. Rename elements so "
                f"that one is left, or, if all of them follow this column, put {name!r} into "
                "their profile column, which may be shared."
            )


def _require_positive_generation(
    table: TimeTable, column: str, row: ElementRow, rated_kw: float
) -> None:
    """Refuse a column that takes more energy than it gives; standby at night may be negative."""
    values = table.column(column)
    if rated_kw > 0 and values.sum() < 0:
        raise DataError(
            f"{table.source}: the column {column!r} of the generator net.sgen {row.name!r} is "
            f"mostly below zero (mean {values.mean():.3g}), but generation is written positive. "
            "Turn the sign of the column, or make the element a load if it consumes."
        )


def _generator_kind(row: ElementRow) -> DeviceKind:
    texts = (row.kind.lower(), row.name.lower())
    for text in texts:
        for kind, words in GENERATOR_WORDS.items():
            if any(word in text for word in words):
                return kind
    return DeviceKind.OTHER_GENERATION


def _add_battery(builder: PopulationBuilder, row: ElementRow, data: pd.Series[Any]) -> None:
    scaling = float(data["scaling"])
    energy_kwh = _number(data, "max_e_mwh", 0.0) * scaling * 1e3
    charge_kw = _number(data, "max_p_mw", 0.0) * scaling * 1e3 or abs(row.p_kw)
    discharge_kw = -_number(data, "min_p_mw", 0.0) * scaling * 1e3 or abs(row.p_kw)
    if energy_kwh <= 0 or max(charge_kw, discharge_kw) <= 0:
        builder.notes.append(
            f"net.storage {row.name!r} has no capacity (max_e_mwh) or no power (p_mw, max_p_mw, "
            "min_p_mw) and was left out."
        )
        return
    efficiency = _number(data, "efficiency_percent", DEFAULT_EFFICIENCY)
    efficiency = efficiency / 100 if efficiency > 1 else efficiency
    agent = builder.next_customer_at(row.bus_row)
    if agent is None:
        agent = builder.add_agent(row.name, row.bus_row, AgentKind.PRODUCER)
    builder.add_battery(
        agent,
        energy_kwh=energy_kwh,
        charge_kw=charge_kw,
        discharge_kw=discharge_kw,
        eta_charge=efficiency,
        eta_discharge=efficiency,
        self_discharge_per_day=_number(data, "self-discharge_percent_per_day", 0.0) / 100,
        soc0_kwh=energy_kwh * _number(data, "soc_percent", 0.0) / 100,
    )


def _number(data: pd.Series[Any], key: str, default: float) -> float:
    value = data.get(key)
    number = float(value) if value is not None and not pd.isna(value) else math.nan
    return number if math.isfinite(number) else default
