"""Builds a `Population` row by row; shared by the readers of SimBench and of planners' tables."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tricell.errors import DataError
from tricell.simulators.population import (
    NO_PROFILE,
    AgentKind,
    AgentTable,
    Batteries,
    DeviceKind,
    Devices,
    Population,
    Profiles,
)

LOW_VOLTAGE_BELOW_KV = 1.0


@dataclass(frozen=True)
class ElementRow:
    """One row in service of a network's load, sgen or storage table, in tricell's units.

    Attributes
    ----------
    name : str
        Name in the network, or table and index where the network has none.
    bus_row : int
        Row position of its bus in ``net.bus``.
    profile : str
        Name in the table's ``profile`` column, empty for none.
    kind : str
        Text in the table's ``type`` column, empty for none.
    p_kw, q_kvar : float
        Rated power with the sign of the table, scaling included.
    position : int
        Row position in the table.
    """

    name: str
    bus_row: int
    profile: str
    kind: str
    p_kw: float
    q_kvar: float
    position: int


def element_rows(net: object, table: str) -> list[ElementRow]:
    """Read the rows in service of a network table.

    Parameters
    ----------
    net : pandapowerNet
        Any pandapower network.
    table : str
        ``load``, ``sgen`` or ``storage``.

    Returns
    -------
    list of ElementRow
        In the order of the table.

    Raises
    ------
    DataError
        If a row stands at a bus that does not exist or its rated power is not a number.
    """
    frame: pd.DataFrame = getattr(net, table)
    bus: pd.DataFrame = net.bus  # type: ignore[attr-defined]  # pandapower ships no types
    in_service = frame["in_service"].to_numpy(dtype=bool)
    positions = np.flatnonzero(in_service)
    frame = frame[in_service]
    scaling = frame["scaling"].to_numpy(dtype=np.float64)
    p_kw = frame["p_mw"].to_numpy(dtype=np.float64) * scaling * 1e3
    q_kvar = frame["q_mvar"].to_numpy(dtype=np.float64) * scaling * 1e3
    bus_row = bus.index.get_indexer(pd.Index(frame["bus"]))
    rows = [
        ElementRow(name, int(at), profile, kind, float(p), float(q), int(position))
        for name, at, profile, kind, p, q, position in zip(
            _names(frame, table),
            bus_row,
            _texts(frame, "profile"),
            _texts(frame, "type"),
            p_kw,
            q_kvar,
            positions,
            strict=True,
        )
    ]
    for row in rows:
        if row.bus_row < 0:
            raise DataError(f"net.{table} {row.name!r} stands at a bus that net.bus does not hold.")
        if not np.isfinite([row.p_kw, row.q_kvar]).all():
            raise DataError(
                f"net.{table} {row.name!r} has p_mw, q_mvar or scaling that is not a number. "
                "Give it a rated power or take it out of service."
            )
    return rows


def _names(frame: pd.DataFrame, table: str) -> list[str]:
    names = zip(_texts(frame, "name"), frame.index, strict=True)
    return [name or f"{table} {index}" for name, index in names]


def _texts(frame: pd.DataFrame, column: str) -> list[str]:
    if column not in frame.columns:
        return [""] * len(frame)
    return ["" if pd.isna(value) else str(value) for value in frame[column]]


class PopulationBuilder:
    """Collects agents, devices and batteries; `build` turns them into arrays."""

    def __init__(self, bus_vn_kv: NDArray[np.float64]) -> None:
        self._bus_vn_kv = bus_vn_kv
        self._ids: dict[str, int] = {}
        self._agents: list[tuple[int, int]] = []
        self._devices: list[tuple[str, int, DeviceKind, bool, int, float, int, float]] = []
        self._batteries: list[tuple[int, float, float, float, float, float, float, float]] = []
        self._columns: dict[str, int] = {}
        self._customers: dict[int, list[int]] = defaultdict(list)
        self._guests: dict[int, int] = defaultdict(int)
        self._pv_kw: dict[int, float] = defaultdict(float)
        self.notes: list[str] = []

    @property
    def columns(self) -> tuple[str, ...]:
        """Profile columns in use, in the order in which the devices count them."""
        return tuple(self._columns)

    def is_low_voltage(self, bus_row: int) -> bool:
        """Whether a bus lies below 1 kV."""
        return bool(self._bus_vn_kv[bus_row] < LOW_VOLTAGE_BELOW_KV)

    def add_agent(self, name: str, bus_row: int, kind: AgentKind) -> int:
        """Add an agent and return its row; a name in use gets a number."""
        unique, number = name, 1
        while unique in self._ids:
            number += 1
            unique = f"{name} ({number})"
        agent = len(self._agents)
        self._ids[unique] = agent
        self._agents.append((bus_row, int(kind)))
        return agent

    def add_customer(self, name: str, bus_row: int, kind: AgentKind) -> int:
        """Add an agent to whom devices at the same bus may belong."""
        agent = self.add_agent(name, bus_row, kind)
        self._customers[bus_row].append(agent)
        return agent

    def next_customer_at(self, bus_row: int) -> int | None:
        """Return the customers of a bus in turn, none where there is no customer."""
        customers = self._customers.get(bus_row)
        if not customers:
            return None
        turn = self._guests[bus_row]
        self._guests[bus_row] += 1
        return customers[turn % len(customers)]

    def customer_with_least_pv_at(self, bus_row: int) -> int | None:
        """Return the customer of a bus with the least PV so far, the first of equals."""
        customers = self._customers.get(bus_row)
        return min(customers, key=lambda agent: self._pv_kw[agent]) if customers else None

    def add_load(
        self, agent: int, row: ElementRow, kind: DeviceKind, p_column: str, q_column: str
    ) -> None:
        """Add a load with its reactive power (column not needed where that is zero)."""
        self._add_device(agent, row, kind, False, (p_column, q_column))

    def add_generator(
        self, agent: int, row: ElementRow, kind: DeviceKind, p_column: str, q_column: str
    ) -> None:
        """Add a generator; its rated power is positive when it generates."""
        self._add_device(agent, row, kind, True, (p_column, q_column))
        if kind is DeviceKind.PV:
            self._pv_kw[agent] += row.p_kw

    def _add_device(
        self,
        agent: int,
        row: ElementRow,
        kind: DeviceKind,
        generates: bool,
        columns: tuple[str, str],
    ) -> None:
        p_column, q_column = columns
        p_profile = self._column(p_column)
        q_profile = self._column(q_column) if row.q_kvar else NO_PROFILE
        self._devices.append(
            (row.name, agent, kind, generates, p_profile, row.p_kw, q_profile, row.q_kvar)
        )

    def add_battery(
        self,
        agent: int,
        *,
        energy_kwh: float,
        charge_kw: float,
        discharge_kw: float,
        eta_charge: float,
        eta_discharge: float,
        self_discharge_per_day: float,
        soc0_kwh: float,
    ) -> None:
        """Add a battery of an agent."""
        self._batteries.append(
            (
                agent,
                energy_kwh,
                charge_kw,
                discharge_kw,
                eta_charge,
                eta_discharge,
                self_discharge_per_day,
                soc0_kwh,
            )
        )

    def build(self, profiles: Profiles) -> Population:
        """Turn what was collected into a population.

        Parameters
        ----------
        profiles : Profiles
            Values of exactly the columns in `columns`, in that order.

        Returns
        -------
        Population
            Agents in the order in which they were added.
        """
        agents = np.array(self._agents, dtype=np.int64).reshape(-1, 2)
        batteries = np.array(self._batteries, dtype=np.float64).reshape(-1, 8)
        devices = list(zip(*self._devices, strict=True)) or [()] * 8
        return Population(
            agents=AgentTable(tuple(self._ids), agents[:, 0].copy(), agents[:, 1].copy()),
            devices=Devices(
                name=tuple(devices[0]),
                agent=np.array(devices[1], dtype=np.int64),
                kind=np.array(devices[2], dtype=np.int64),
                generates=np.array(devices[3], dtype=np.bool_),
                p_profile=np.array(devices[4], dtype=np.int64),
                rated_kw=np.array(devices[5], dtype=np.float64),
                q_profile=np.array(devices[6], dtype=np.int64),
                rated_kvar=np.array(devices[7], dtype=np.float64),
            ),
            batteries=Batteries(
                batteries[:, 0].astype(np.int64), *(column.copy() for column in batteries.T[1:])
            ),
            profiles=profiles,
            notes=tuple(self.notes),
        )

    def _column(self, name: str) -> int:
        return self._columns.setdefault(name, len(self._columns))
