"""All participants of a scenario: those of the network's data and those that a planner adds."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.errors import DataError
from tricell.scenarios.adoption import Adoption, ProfileShelf, with_adoption
from tricell.scenarios.faults import did_you_mean
from tricell.scenarios.population_builder import LOW_VOLTAGE_BELOW_KV
from tricell.scenarios.population_tables import (
    ConstantProfiles,
    CsvProfiles,
    Hdf5Profiles,
    ProfileSource,
    SimbenchProfiles,
    population_from_source,
)
from tricell.scenarios.pv_choice import PvFromWeather, pv_from_weather
from tricell.scenarios.schema import ExtraParticipant, Scenario
from tricell.scenarios.time_tables import TimeTable, join_tables, read_csv_table, read_hdf5_table
from tricell.simulators.population import (
    NO_PROFILE,
    AgentKind,
    AgentTable,
    Batteries,
    DeviceKind,
    Devices,
    Population,
)

NO_FOLDER = Path()
"""Paths of a loaded scenario are whole already."""

Column = NDArray[np.float32]
ProfileReader = Callable[[str, DeviceKind], Column]


def build_population(scenario: Scenario, net: Any) -> Population:
    """Read everybody who takes part in a scenario.

    Parameters
    ----------
    scenario : Scenario
        As `load_scenario` returns it, with whole paths.
    net : pandapowerNet
        Its network.

    Returns
    -------
    Population
        The participants of the network's data with the devices of ``adoption``, then the extra
        ones in the order of the file, whom ``adoption`` does not concern. With ``pv: weather``
        all PV plants follow the weather.

    Raises
    ------
    DataError
        If profiles are wrong or too short, or an extra participant does not fit the network.
    """
    time, source = scenario.time, scenario.participants.profiles
    population = population_from_source(
        source,
        net,
        start=time.start_utc,
        slots=time.slots,
        step_s=time.step_s,
        folder=NO_FOLDER,
    )
    adoption, extra = scenario.participants.adoption, scenario.participants.extra
    pv = scenario.participants.pv
    if extra or adoption != Adoption():
        reader = _profile_reader(source, net, len(population.profiles.values))
        offered = _offered_profiles(source, net)
        if isinstance(pv, PvFromWeather):
            reader = _but_any_pv(reader, len(population.profiles.values))
            offered[DeviceKind.PV] = ("weather",)
        shelf = ProfileShelf(reader, offered)
        population = with_adoption(population, adoption, shelf, scenario.seed)
        if extra:
            population = with_extra_participants(population, extra, net, reader)
    if isinstance(pv, PvFromWeather) and scenario.weather is not None:
        population = pv_from_weather(population, pv, scenario.weather, scenario.seed)
    return population


def profile_shelf(source: ProfileSource, net: Any, rows: int) -> ProfileShelf:
    """Return where new devices find their profiles, each with that many rows."""
    return ProfileShelf(_profile_reader(source, net, rows), _offered_profiles(source, net))


def with_extra_participants(
    population: Population, extra: Sequence[ExtraParticipant], net: Any, reader: ProfileReader
) -> Population:
    """Append participants that a scenario names one by one.

    Parameters
    ----------
    population : Population
        The participants so far.
    extra : sequence of ExtraParticipant
        The ones to append.
    net : pandapowerNet
        Network with the buses they name.
    reader : function of (column name, kind of device)
        Gives the values of a profile, shape (n_row,).

    Raises
    ------
    DataError
        If a bus or a profile does not exist, or a name is in use.
    """
    agents = _appended_agents(population.agents, extra, net)
    wanted = [device for row, one in enumerate(extra) for device in _wanted_devices(row, one)]
    first_column = len(population.profiles.columns)
    columns = [_column(device, reader, len(population.profiles.values)) for device in wanted]
    profiles = replace(
        population.profiles,
        values=np.column_stack([population.profiles.values, *columns]),
        columns=(*population.profiles.columns, *(f"extra/{d.name}" for d in wanted)),
    )
    offset = len(population.agents)
    return replace(
        population,
        agents=agents,
        devices=_appended_devices(population.devices, wanted, offset, first_column),
        batteries=_appended_batteries(population.batteries, extra, offset),
        profiles=profiles,
    )


@dataclass(frozen=True)
class _WantedDevice:
    name: str
    agent: int
    kind: DeviceKind
    rated_kw: float
    profile: str | None

    @property
    def generates(self) -> bool:
        return self.kind is DeviceKind.PV


def _wanted_devices(agent: int, extra: ExtraParticipant) -> list[_WantedDevice]:
    load = _WantedDevice(
        f"{extra.name} load", agent, DeviceKind.BASE_LOAD, extra.load_kw, extra.load_profile
    )
    pv = _WantedDevice(f"{extra.name} PV", agent, DeviceKind.PV, extra.pv_kwp, extra.pv_profile)
    return [device for device in (load, pv) if device.rated_kw > 0]


def _column(device: _WantedDevice, reader: ProfileReader, rows: int) -> Column:
    if device.profile is None:
        return np.ones(rows, dtype=np.float32)
    values = reader(device.profile, device.kind)
    if not np.isfinite(values).all():
        raise DataError(
            f"The profile {device.profile!r} of {device.name!r} has gaps. Fill them, or choose "
            "another profile in participants.extra."
        )
    return values


def _appended_agents(agents: AgentTable, extra: Sequence[ExtraParticipant], net: Any) -> AgentTable:
    taken = set(agents.id)
    for one in extra:
        if one.name in taken:
            raise DataError(
                f"The extra participant {one.name!r} has the name of a participant of the "
                "network. Choose another name in participants.extra."
            )
    bus_rows = np.array([_bus_row(one, net) for one in extra], dtype=np.int64)
    vn_kv = net.bus["vn_kv"].to_numpy(dtype=np.float64)[bus_rows]
    kinds = [
        _kind(one, bool(low)) for one, low in zip(extra, vn_kv < LOW_VOLTAGE_BELOW_KV, strict=True)
    ]
    return AgentTable(
        id=(*agents.id, *(one.name for one in extra)),
        bus_row=np.concatenate([agents.bus_row, bus_rows]),
        kind=np.concatenate([agents.kind, np.array(kinds, dtype=np.int64)]),
    )


def _kind(extra: ExtraParticipant, low_voltage: bool) -> int:
    if extra.load_kw == 0:
        return int(AgentKind.PRODUCER)
    return int(AgentKind.HOUSEHOLD if low_voltage else AgentKind.BUSINESS)


def _bus_row(extra: ExtraParticipant, net: Any) -> int:
    names = [str(name) for name in net.bus["name"]]
    if extra.bus not in names:
        advice = did_you_mean(extra.bus, names)
        raise DataError(
            f"The extra participant {extra.name!r} stands at bus {extra.bus!r}, which the network "
            f"does not have{'; ' + advice if advice else '. Use a name from its bus table.'}"
        )
    if names.count(extra.bus) > 1:
        raise DataError(
            f"The network has {names.count(extra.bus)} buses called {extra.bus!r}, so that the "
            f"place of {extra.name!r} is not clear. Give the buses different names."
        )
    return names.index(extra.bus)


def _appended_devices(
    devices: Devices, wanted: Sequence[_WantedDevice], first_agent: int, first_column: int
) -> Devices:
    count = len(wanted)
    return Devices(
        name=(*devices.name, *(device.name for device in wanted)),
        agent=_joined(devices.agent, [first_agent + device.agent for device in wanted]),
        kind=_joined(devices.kind, [int(device.kind) for device in wanted]),
        generates=_joined(devices.generates, [device.generates for device in wanted]),
        p_profile=_joined(devices.p_profile, [first_column + row for row in range(count)]),
        rated_kw=_joined(devices.rated_kw, [device.rated_kw for device in wanted]),
        q_profile=_joined(devices.q_profile, [NO_PROFILE] * count),
        rated_kvar=_joined(devices.rated_kvar, [0.0] * count),
    )


def _appended_batteries(
    batteries: Batteries, extra: Sequence[ExtraParticipant], first_agent: int
) -> Batteries:
    owners = [(first_agent + row, one) for row, one in enumerate(extra) if one.battery_kwh > 0]
    power_kw = [one.battery_kw for _, one in owners]
    efficiency = [one.battery_efficiency for _, one in owners]
    nothing = [0.0] * len(owners)
    return Batteries(
        agent=_joined(batteries.agent, [agent for agent, _ in owners]),
        energy_kwh=_joined(batteries.energy_kwh, [one.battery_kwh for _, one in owners]),
        charge_kw=_joined(batteries.charge_kw, power_kw),
        discharge_kw=_joined(batteries.discharge_kw, power_kw),
        eta_charge=_joined(batteries.eta_charge, efficiency),
        eta_discharge=_joined(batteries.eta_discharge, efficiency),
        self_discharge_per_day=_joined(batteries.self_discharge_per_day, nothing),
        soc0_kwh=_joined(batteries.soc0_kwh, nothing),
    )


def _joined(values: NDArray[Any], more: Sequence[Any]) -> NDArray[Any]:
    return np.concatenate([values, np.array(more, dtype=values.dtype)])


def _profile_reader(source: ProfileSource, net: Any, rows: int) -> ProfileReader:
    match source:
        case SimbenchProfiles():
            return lambda name, kind: _simbench_column(net, name, kind)
        case CsvProfiles(files=files):
            tables = [
                read_csv_table(Path(file), source.time_column, source.utc_offset_hours)
                for file in files
            ]
            return _table_reader(join_tables(tables))
        case Hdf5Profiles(files=files):
            tables = [
                read_hdf5_table(Path(file), source.group, source.utc_offset_hours) for file in files
            ]
            return _table_reader(join_tables(tables))
        case ConstantProfiles():
            return lambda name, kind: np.ones(rows, dtype=np.float32)


OFFERED = {
    DeviceKind.PV: ("renewables", re.compile(r"(PV\d.*)")),
    DeviceKind.EV: ("load", re.compile(r"(HLS_.*)_pload")),
    DeviceKind.HEAT_PUMP: ("load", re.compile(r"((?:Air|Soil)_.*)_pload")),
}
"""Table and names of SimBench's profiles that suit a household's new device."""


def _offered_profiles(source: ProfileSource, net: Any) -> dict[DeviceKind, tuple[str, ...]]:
    if not isinstance(source, SimbenchProfiles):
        return {}
    return {
        kind: tuple(
            found[1]
            for column in net.profiles[table].columns
            if (found := pattern.fullmatch(str(column)))
        )
        for kind, (table, pattern) in OFFERED.items()
    }


def _but_any_pv(reader: ProfileReader, rows: int) -> ProfileReader:
    """Read profiles, but for PV plants, whose place the weather takes later."""
    ones = np.ones(rows, dtype=np.float32)
    return lambda name, kind: ones if kind is DeviceKind.PV else reader(name, kind)


def _table_reader(table: TimeTable) -> ProfileReader:
    return lambda name, kind: table.column(name).astype(np.float32)


def _simbench_column(net: Any, name: str, kind: DeviceKind) -> Column:
    if kind is DeviceKind.PV:
        table, column = net.profiles["renewables"], name
    else:
        table, column = net.profiles["load"], f"{name}_pload"
    if column not in table.columns:
        known = [str(label).removesuffix("_pload") for label in table.columns]
        advice = did_you_mean(name, known)
        raise DataError(
            f"SimBench has no profile {name!r} for {kind.label} in participants; "
            + (advice or f"it has {', '.join(known[1:6])} and others.")
        )
    return np.asarray(table[column], dtype=np.float32)
