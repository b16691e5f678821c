"""Population of a SimBench network, from its element tables and relative profiles.

Rules (SimBench names in brackets):

* Base loads (``H0-A``, ``G3-M``, ``L2-A``, ``BL-H``, ``WB-H``) are customers: households,
  businesses and farms, one agent per row, named like the row.
* Heat pumps (``Air_*``, ``Soil_*``) and chargers (``HLS_*``, ``APLS_*``) belong to the customers
  of their bus in turn; where there is none, each is an agent of its own.
* PV in low voltage belongs to the customer of its bus with the least PV so far. Every other
  generator, and PV without a customer, is a producer.
* Equivalents of grids that the network does not model (``lv_*``, ``mv_*``) form one agent per
  bus. The storage row of an equivalent is a given net feed-in series and stays one.
* A storage row ``Storage_PV5_H0-A`` is a PV plant *with* a battery, not a battery: the series
  that SimBench gives for it is the output of both under greedy self-consumption (simbench
  issue 2). It is taken apart: PV of profile ``PV5`` with ``|p_mw|`` kWp, a battery of
  ``max_e_mwh`` and ``|p_mw|``. The owner is the customer of the bus whose load has the profile
  ``H0-A``. Where no such row exists (``Storage_WP4_3%_e_MWh``) the plant is a producer and no
  load is invented.

``efficiency_percent`` of SimBench holds a fraction (0.95) and applies to each direction. Profiles
carry a naive clock without daylight saving time; their PV days are centred at 11:36, solar noon
in Germany in UTC, so the clock is read as UTC.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tricell.errors import DataError
from tricell.scenarios.population_builder import ElementRow, PopulationBuilder, element_rows
from tricell.simulators.population import AgentKind, DeviceKind, Population, Profiles

SIMBENCH_SOURCE = "SimBench"
SIMBENCH_LICENCE = "ODbL-1.0"

CUSTOMER_KINDS = {
    re.compile(r"H\d-"): AgentKind.HOUSEHOLD,
    re.compile(r"(G\d|BL|WB)-"): AgentKind.BUSINESS,
    re.compile(r"L\d-"): AgentKind.FARM,
}
FLEXIBLE_KINDS = {
    re.compile(r"(HLS|APLS)_"): (DeviceKind.EV, AgentKind.CHARGING_STATION),
    re.compile(r"(Air|Soil)_"): (DeviceKind.HEAT_PUMP, AgentKind.HEAT_PUMP),
}
GENERATOR_KINDS = {
    re.compile(r"PV\d"): DeviceKind.PV,
    re.compile(r"WP\d"): DeviceKind.WIND,
    re.compile(r"BM\d"): DeviceKind.BIOMASS,
    re.compile(r"Hydro\d"): DeviceKind.HYDRO,
}
LOWER_GRID = re.compile(r"(lv|mv|hv)_")
PLANT_WITH_BATTERY = re.compile(r"Storage_(?P<generator>[A-Za-z]+\d+)_(?P<load>.+)")

CONSTANT_COLUMN = "constant/1"

Kind = TypeVar("Kind")


def population_from_simbench(net: Any) -> Population:
    """Read who consumes and produces in a SimBench network.

    Parameters
    ----------
    net : pandapowerNet
        Network from simbench with ``net.profiles``.

    Returns
    -------
    Population
        Customers, then own heat pumps and chargers, producers and lower grids; `notes` says what
        was left out or could not be joined.

    Raises
    ------
    DataError
        If ``net.profiles`` is missing, lacks a column or holds something that is not a number,
        or if an element has an unknown profile.
    """
    if not getattr(net, "profiles", None):
        raise DataError(
            "The network has no profiles: net.profiles is missing or empty. Load it with "
            "simbench.get_simbench_net, or give the scenario profile tables of its own."
        )
    builder = PopulationBuilder(net.bus["vn_kv"].to_numpy(dtype=np.float64))
    loads = _rated_rows(builder, net, "load")
    sgens = _rated_rows(builder, net, "sgen")
    storages = _rated_rows(builder, net, "storage")
    customer_by_load = _add_customers(builder, loads)
    _add_flexible_loads(builder, loads)
    _add_plants_with_battery(builder, net.storage, storages, customer_by_load)
    _add_generators(builder, sgens)
    _add_lower_grids(builder, loads, sgens, storages)
    if len(getattr(net, "gen", ())):
        builder.notes.append(
            f"{len(net.gen)} voltage-controlled generators (net.gen) take no part in trading."
        )
    return builder.build(_profiles(net.profiles, builder.columns))


def _rated_rows(builder: PopulationBuilder, net: Any, table: str) -> list[ElementRow]:
    rows = element_rows(net, table)
    rated = [row for row in rows if row.p_kw or row.q_kvar]
    if len(rated) < len(net[table]):
        builder.notes.append(
            f"{len(net[table]) - len(rated)} rows of net.{table} are out of service or have a "
            "rated power of 0 and were left out."
        )
    return rated


def _add_customers(
    builder: PopulationBuilder, loads: list[ElementRow]
) -> dict[tuple[int, str], list[int]]:
    """Add base loads; return the agents by bus and profile for joining plants with battery."""
    agents: dict[tuple[int, str], list[int]] = {}
    for row in loads:
        kind = _first_match(CUSTOMER_KINDS, row.profile)
        if kind is not None:
            agent = builder.add_customer(row.name, row.bus_row, kind)
            _add_load(builder, agent, row, DeviceKind.BASE_LOAD)
            agents.setdefault((row.bus_row, row.profile), []).append(agent)
        elif not LOWER_GRID.match(row.profile) and not _first_match(FLEXIBLE_KINDS, row.profile):
            raise DataError(
                f"net.load {row.name!r} has the unknown SimBench profile {row.profile!r}. Known "
                "are H*, G*, L*, BL-*, WB-* (base load), Air_*, Soil_* (heat pumps), HLS_*, "
                "APLS_* (charging) and lv_*, mv_*, hv_* (lower grids)."
            )
    return agents


def _add_flexible_loads(builder: PopulationBuilder, loads: list[ElementRow]) -> None:
    for row in loads:
        kinds = _first_match(FLEXIBLE_KINDS, row.profile)
        if kinds is None:
            continue
        device_kind, agent_kind = kinds
        agent = builder.next_customer_at(row.bus_row)
        if agent is None:
            agent = builder.add_agent(row.name, row.bus_row, agent_kind)
        _add_load(builder, agent, row, device_kind)


def _add_plants_with_battery(
    builder: PopulationBuilder,
    storage: pd.DataFrame,
    rows: list[ElementRow],
    customer_by_load: dict[tuple[int, str], list[int]],
) -> None:
    without_load: Counter[str] = Counter()
    for row in rows:
        plant = PLANT_WITH_BATTERY.fullmatch(row.profile)
        if plant is None:
            continue
        owners = customer_by_load.get((row.bus_row, plant["load"]))
        if owners:
            agent = owners[0]
            owners.append(owners.pop(0))
        else:
            agent = builder.add_agent(row.name, row.bus_row, AgentKind.PRODUCER)
            without_load[row.profile] += 1
        _add_generator(builder, agent, _fed_in(row), plant["generator"])
        _add_battery(builder, agent, row, storage.iloc[row.position])
    if without_load:
        listed = ", ".join(f"{n} x {profile}" for profile, n in without_load.items())
        builder.notes.append(
            f"{without_load.total()} plants with battery have no load of their profile at the "
            f"bus; they are producers without load: {listed}."
        )


def _add_battery(
    builder: PopulationBuilder, agent: int, row: ElementRow, data: pd.Series[Any]
) -> None:
    energy_kwh = float(data["max_e_mwh"]) * 1e3 * float(data["scaling"])
    efficiency = float(data["efficiency_percent"])
    builder.add_battery(
        agent,
        energy_kwh=energy_kwh,
        charge_kw=abs(row.p_kw),
        discharge_kw=abs(row.p_kw),
        eta_charge=efficiency,
        eta_discharge=efficiency,
        self_discharge_per_day=float(data["self-discharge_percent_per_day"]) / 100,
        soc0_kwh=energy_kwh * float(data["soc_percent"]) / 100,
    )


def _add_generators(builder: PopulationBuilder, sgens: list[ElementRow]) -> None:
    for row in sgens:
        if LOWER_GRID.match(row.profile):
            continue
        is_pv = _first_match(GENERATOR_KINDS, row.profile) is DeviceKind.PV
        agent = None
        if is_pv and builder.is_low_voltage(row.bus_row):
            agent = builder.customer_with_least_pv_at(row.bus_row)
        if agent is None:
            agent = builder.add_agent(row.name, row.bus_row, AgentKind.PRODUCER)
        _add_generator(builder, agent, row, row.profile)


def _add_lower_grids(
    builder: PopulationBuilder,
    loads: list[ElementRow],
    sgens: list[ElementRow],
    storages: list[ElementRow],
) -> None:
    agent_at: dict[int, int] = {}

    def agent_of(row: ElementRow) -> int:
        if row.bus_row not in agent_at:
            agent_at[row.bus_row] = builder.add_agent(row.name, row.bus_row, AgentKind.LOWER_GRID)
        return agent_at[row.bus_row]

    for row in _lower_grid_rows(loads):
        _add_load(builder, agent_of(row), row, DeviceKind.LOWER_GRID_LOAD)
    for row in _lower_grid_rows(sgens):
        _add_generator(builder, agent_of(row), row, row.profile, DeviceKind.LOWER_GRID_GENERATION)
    for row in storages:
        if PLANT_WITH_BATTERY.fullmatch(row.profile):
            continue
        kind = DeviceKind.LOWER_GRID_STORAGE
        builder.add_generator(agent_of(row), _fed_in(row), kind, f"storage/{row.profile}", "")


def _fed_in(row: ElementRow) -> ElementRow:
    """Turn a storage row, negative when it feeds in, into a generator row."""
    if row.p_kw > 0:
        raise DataError(
            f"net.storage {row.name!r} has p_mw above 0. SimBench's storage rows feed in (p_mw "
            "below 0); for batteries of your own give the scenario profile tables of its own."
        )
    return replace(row, p_kw=-row.p_kw, q_kvar=0.0)


def _lower_grid_rows(rows: list[ElementRow]) -> list[ElementRow]:
    return [row for row in rows if LOWER_GRID.match(row.profile)]


def _add_load(builder: PopulationBuilder, agent: int, row: ElementRow, kind: DeviceKind) -> None:
    column = f"load/{row.profile}"
    builder.add_load(agent, row, kind, f"{column}_pload", f"{column}_qload")


def _add_generator(
    builder: PopulationBuilder,
    agent: int,
    row: ElementRow,
    profile: str,
    kind: DeviceKind | None = None,
) -> None:
    """Add a generator; SimBench has no profile for its reactive power, so that is constant."""
    kind = kind or _first_match(GENERATOR_KINDS, profile) or DeviceKind.OTHER_GENERATION
    builder.add_generator(agent, row, kind, f"sgen/{profile}", CONSTANT_COLUMN)


def _first_match(kinds: dict[re.Pattern[str], Kind], profile: str) -> Kind | None:
    return next((kind for pattern, kind in kinds.items() if pattern.match(profile)), None)


def _profiles(tables: dict[str, pd.DataFrame], columns: tuple[str, ...]) -> Profiles:
    start, step_s, n_row = _clock(tables["load"]["time"])
    frames = {
        "load": [tables["load"]],
        "sgen": [tables["renewables"], tables["powerplants"]],
        "storage": [tables["storage"]],
    }
    values = np.empty((n_row, len(columns)), dtype=np.float32)
    missing = []
    for number, column in enumerate(columns):
        table, name = column.split("/", 1)
        if column == CONSTANT_COLUMN:
            values[:, number] = 1.0
            continue
        holder = next((frame for frame in frames[table] if name in frame.columns), None)
        if holder is None:
            missing.append(column)
        else:
            values[:, number] = holder[name].to_numpy(dtype=np.float32)
    if missing:
        raise DataError(
            f"net.profiles lacks {len(missing)} columns that elements use: "
            f"{', '.join(missing[:5])}. Load the network with simbench.get_simbench_net, which "
            "keeps them."
        )
    _require_numbers(values, columns, start, step_s)
    return Profiles(
        values, columns, start, step_s, SIMBENCH_SOURCE, SIMBENCH_LICENCE, step_is_fixed=True
    )


def _clock(time: pd.Series[Any]) -> tuple[np.datetime64, int, int]:
    first, second, last = (
        np.datetime64(pd.to_datetime(time.iloc[row], format="%d.%m.%Y %H:%M"), "s")
        for row in (0, 1, -1)
    )
    step_s = int((second - first) / np.timedelta64(1, "s"))
    if first + np.timedelta64((len(time) - 1) * step_s, "s") != last:
        raise DataError(
            f"The times of net.profiles are not evenly spaced: {len(time)} rows every {step_s} s "
            f"from {first} should not end at {last}."
        )
    return first, step_s, len(time)


def _require_numbers(
    values: NDArray[np.float32], columns: tuple[str, ...], start: np.datetime64, step_s: int
) -> None:
    if np.isfinite(values).all():
        return
    row, column = np.argwhere(~np.isfinite(values))[0]
    raise DataError(
        f"net.profiles holds no number at {start + np.timedelta64(int(row) * step_s, 's')} in "
        f"column {columns[column]!r}. Fill the gap in the data."
    )
