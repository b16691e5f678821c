"""Who consumes and produces: agents, their devices and batteries, and the profiles they follow.

Everything is an array, one entry per agent, device or battery; nothing here is an object per
household. Conventions:

* an *agent* is one trading party at one bus (a household, a firm, a wind farm, ...);
* a *device* is one row of a network's load or generator table; its power is
  ``rated_kw * profile[t]``, positive as consumption for loads and as generation for generators;
* reactive power is ``rated_kvar * profile[t]`` with the sign of the network data: consumed for
  loads, generated for generators;
* times are UTC and label the start of an interval.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from tricell.errors import DataError

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

NO_PROFILE = -1
"""Value of `Devices.q_profile` for a device without reactive power."""


class AgentKind(IntEnum):
    """What an agent is; the codes are stable and may be stored in files."""

    HOUSEHOLD = 0
    BUSINESS = 1
    FARM = 2
    CHARGING_STATION = 3
    HEAT_PUMP = 4
    PRODUCER = 5
    LOWER_GRID = 6
    SHARED_STORAGE = 7

    @property
    def label(self) -> str:
        """Lower-case name for tables and reports, such as ``charging_station``."""
        return self.name.lower()


class DeviceKind(IntEnum):
    """What a device is; the codes are stable and may be stored in files."""

    BASE_LOAD = 0
    EV = 1
    HEAT_PUMP = 2
    PV = 3
    WIND = 4
    BIOMASS = 5
    HYDRO = 6
    OTHER_GENERATION = 7
    LOWER_GRID_LOAD = 8
    LOWER_GRID_GENERATION = 9
    LOWER_GRID_STORAGE = 10

    @property
    def label(self) -> str:
        """Lower-case name for tables and reports, such as ``heat_pump``."""
        return self.name.lower()


@dataclass(frozen=True)
class AgentTable:
    """The trading parties.

    Attributes
    ----------
    id : tuple of str
        Unique readable names.
    bus_row : int64, shape (n_agent,)
        Row position (not index label) of the agent's bus in ``net.bus``.
    kind : int64, shape (n_agent,)
        Codes of `AgentKind`.
    """

    id: tuple[str, ...]
    bus_row: IntArray
    kind: IntArray

    def __post_init__(self) -> None:
        _require_equal_lengths(
            "agents", {"id": len(self.id), "bus_row": len(self.bus_row), "kind": len(self.kind)}
        )
        if len(set(self.id)) < len(self.id):
            twice = next(name for name in self.id if self.id.count(name) > 1)
            raise DataError(f"The agent id {twice!r} occurs more than once; ids must be unique.")

    def __len__(self) -> int:
        return len(self.id)


@dataclass(frozen=True)
class Devices:
    """Loads and generators that follow a profile.

    Attributes
    ----------
    name : tuple of str
        Name of the network row the device comes from.
    agent : int64, shape (n_device,)
        Row of the owner in `AgentTable`.
    kind : int64, shape (n_device,)
        Codes of `DeviceKind`.
    generates : bool, shape (n_device,)
        True for generators, false for loads.
    p_profile : int64, shape (n_device,)
        Profile column of the active power.
    rated_kw : float64, shape (n_device,)
        Factor of the active-power profile, kW.
    q_profile : int64, shape (n_device,)
        Profile column of the reactive power, `NO_PROFILE` for none.
    rated_kvar : float64, shape (n_device,)
        Factor of the reactive-power profile, kvar.
    """

    name: tuple[str, ...]
    agent: IntArray
    kind: IntArray
    generates: BoolArray
    p_profile: IntArray
    rated_kw: FloatArray
    q_profile: IntArray
    rated_kvar: FloatArray

    def __post_init__(self) -> None:
        _require_equal_lengths("devices", {k: len(v) for k, v in vars(self).items()})

    def __len__(self) -> int:
        return len(self.name)


@dataclass(frozen=True)
class Batteries:
    """Batteries, each owned by one agent.

    Attributes
    ----------
    agent : int64, shape (n_battery,)
        Row of the owner in `AgentTable`.
    energy_kwh : float64, shape (n_battery,)
        Usable capacity, kWh, above zero.
    charge_kw, discharge_kw : float64, shape (n_battery,)
        Largest power at the terminals, kW, zero or more.
    eta_charge, eta_discharge : float64, shape (n_battery,)
        Efficiencies, in (0, 1].
    self_discharge_per_day : float64, shape (n_battery,)
        Share of the stored energy lost in a day, in [0, 1).
    soc0_kwh : float64, shape (n_battery,)
        Stored energy at the start, kWh, in [0, energy_kwh].
    """

    agent: IntArray
    energy_kwh: FloatArray
    charge_kw: FloatArray
    discharge_kw: FloatArray
    eta_charge: FloatArray
    eta_discharge: FloatArray
    self_discharge_per_day: FloatArray
    soc0_kwh: FloatArray

    def __post_init__(self) -> None:
        _require_equal_lengths("batteries", {k: len(v) for k, v in vars(self).items()})
        energy, soc0 = self.energy_kwh, self.soc0_kwh
        lossy = self.self_discharge_per_day
        _require_all("energy_kwh", energy, (energy > 0) & np.isfinite(energy), "above 0 kWh")
        for key in ("charge_kw", "discharge_kw"):
            power: FloatArray = getattr(self, key)
            _require_all(key, power, (power >= 0) & np.isfinite(power), "0 kW or more")
        for key in ("eta_charge", "eta_discharge"):
            eta: FloatArray = getattr(self, key)
            _require_all(key, eta, (eta > 0) & (eta <= 1), "in (0, 1]; 95 % is 0.95")
        _require_all("self_discharge_per_day", lossy, (lossy >= 0) & (lossy < 1), "in [0, 1)")
        _require_all("soc0_kwh", soc0, (soc0 >= 0) & (soc0 <= energy), "between 0 and energy_kwh")

    def __len__(self) -> int:
        return len(self.agent)


@dataclass(frozen=True)
class Profiles:
    """Profile matrix: one row per interval, one column per shape.

    Attributes
    ----------
    values : float32, shape (n_row, n_column)
        Relative power; multiplied with the rated power of a device.
    columns : tuple of str
        Column names.
    start : numpy.datetime64[s]
        UTC start of the first interval.
    step_s : int
        Length of an interval, s.
    source, licence : str
        Where the data come from and under which terms.
    step_is_fixed : bool
        Whether the data set comes with this step only, so that the scenario has to follow it.
    """

    values: NDArray[np.float32]
    columns: tuple[str, ...]
    start: np.datetime64
    step_s: int
    source: str = ""
    licence: str = ""
    step_is_fixed: bool = False

    @property
    def end(self) -> np.datetime64:
        """UTC end of the last interval."""
        return self.start + np.timedelta64(len(self.values) * self.step_s, "s")

    def first_row(self, start: np.datetime64, slots: int, step_s: int) -> int:
        """Row of the first slot of a horizon that must lie inside the profiles.

        Parameters
        ----------
        start : numpy.datetime64
            UTC start of the horizon.
        slots : int
            Number of slots.
        step_s : int
            Length of a slot, s.

        Returns
        -------
        int
            Row position in `values`.

        Raises
        ------
        DataError
            If the step differs, the start falls between two rows or the profiles are too short.
        """
        if step_s != self.step_s:
            raise DataError(self._step_differs(step_s))
        offset_s = int((start.astype("datetime64[s]") - self.start) / np.timedelta64(1, "s"))
        row, remainder = divmod(offset_s, step_s)
        if row < 0 or row + slots > len(self.values):
            end = start.astype("datetime64[s]") + np.timedelta64(slots * step_s, "s")
            raise DataError(
                f"The profiles of {self.source or 'this scenario'} cover {self.start} to "
                f"{self.end} UTC, but the scenario needs {start.astype('datetime64[s]')} to {end} "
                "UTC. Choose a horizon inside the profiles or supply longer ones."
            )
        if remainder:
            raise DataError(
                f"The scenario starts at {start} UTC, between two rows of the profiles of "
                f"{self.source or 'this scenario'} (first row {self.start}, every {step_s} s). "
                f"Move the start by {remainder} s to an earlier time."
            )
        return row

    def _step_differs(self, step_s: int) -> str:
        if self.step_is_fixed:
            return (
                f"{self.source} profiles have {self.step_s / 60:g} min steps, but the scenario's "
                f"slots last {step_s / 60:g} min: set time.step_minutes to {self.step_s / 60:g}."
            )
        return (
            f"The profiles of {self.source or 'this scenario'} have a step of {self.step_s} s, "
            f"but the scenario's slots last {step_s} s. Set the slot length to {self.step_s} s "
            f"or resample the profiles to {step_s} s."
        )


@dataclass(frozen=True)
class Population:
    """All agents of a scenario with what they own.

    Attributes
    ----------
    agents, devices, batteries, profiles
        See the classes.
    notes : tuple of str
        Sentences on data that were left out or read in a particular way; for the results file.
    not_trading : int64, shape (n,)
        Rows of the agents that take no part in local markets and deal with the retailer only.
    """

    agents: AgentTable
    devices: Devices
    batteries: Batteries
    profiles: Profiles
    notes: tuple[str, ...] = field(default=())
    not_trading: IntArray = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        n_column = len(self.profiles.columns)
        _require_rows("devices.agent", self.devices.agent, 0, len(self.agents))
        _require_rows("batteries.agent", self.batteries.agent, 0, len(self.agents))
        _require_rows("devices.p_profile", self.devices.p_profile, 0, n_column)
        _require_rows("devices.q_profile", self.devices.q_profile, NO_PROFILE, n_column)
        _require_rows("not_trading", self.not_trading, 0, len(self.agents))

    @property
    def takes_part(self) -> BoolArray:
        """Whether each agent trades in local markets, shape (n_agent,)."""
        return ~np.isin(np.arange(len(self.agents)), self.not_trading)

    @property
    def pv_kwp(self) -> FloatArray:
        """Rated PV power of each agent, kW, shape (n_agent,)."""
        return self.rated_kw_by_agent(DeviceKind.PV)

    @property
    def battery_kwh(self) -> FloatArray:
        """Battery capacity of each agent, kWh, shape (n_agent,)."""
        return self._sum_by_agent(self.batteries.agent, self.batteries.energy_kwh)

    @property
    def battery_kw(self) -> FloatArray:
        """Largest battery discharge power of each agent, kW, shape (n_agent,)."""
        return self._sum_by_agent(self.batteries.agent, self.batteries.discharge_kw)

    def rated_kw_by_agent(self, kind: DeviceKind) -> FloatArray:
        """Rated power of the devices of one kind, kW, shape (n_agent,)."""
        chosen = self.devices.kind == kind
        return self._sum_by_agent(self.devices.agent[chosen], self.devices.rated_kw[chosen])

    def device_energy_kwh(self) -> FloatArray:
        """Energy of each device over all rows of the profiles, kWh, shape (n_device,)."""
        hours = self.profiles.step_s / 3600
        full_load_hours = self.profiles.values.sum(axis=0, dtype=np.float64) * hours
        return np.asarray(full_load_hours[self.devices.p_profile] * self.devices.rated_kw)

    def counts(self) -> dict[str, int]:
        """Numbers of agents by kind, devices by kind and batteries, for reports."""
        agents = {
            f"agents_{kind.label}": int(np.sum(self.agents.kind == kind)) for kind in AgentKind
        }
        devices = {
            f"devices_{kind.label}": int(np.sum(self.devices.kind == kind)) for kind in DeviceKind
        }
        return {**agents, **devices, "batteries": len(self.batteries)}

    def _sum_by_agent(self, agent: IntArray, value: FloatArray) -> FloatArray:
        total = np.zeros(len(self.agents))
        np.add.at(total, agent, value)
        return total


def _require_equal_lengths(what: str, lengths: dict[str, int]) -> None:
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{key} {length}" for key, length in lengths.items())
        raise DataError(f"The columns of {what} must have equal lengths, but have: {listed}.")


def _require_all(name: str, values: FloatArray, good: BoolArray, allowed: str) -> None:
    if not good.all():
        row = int(np.argmin(good))
        raise DataError(
            f"Battery {row}: {name} is {values[row]:g}, but must be {allowed}. "
            "Correct the storage table of the network or the scenario."
        )


def _require_rows(name: str, rows: IntArray, low: int, high: int) -> None:
    if len(rows) and (rows.min() < low or rows.max() >= high):
        raise DataError(
            f"{name} must lie in {low}..{high - 1}, but spans {rows.min()}..{rows.max()}."
        )
