"""The layout of a results file, schema 1.1.0: the only place that names what is in it.

A results file is plain HDF5 that follows the netCDF-4 rules, so that h5py, xarray, pandas,
MATLAB or Julia open it without tricell::

    /                      attributes of the run (`ROOT_ATTRIBUTES`)
    /meta/<name>           texts: the scenario file, the provenance (`META`)
    /timeseries/<group>/   one kind of entity each: `time`, `<group>` (the ids) and variables
                           of shape (time, entity); the group `slot` has no entities, its
                           variables have the shape (time,)
    /tables/<name>/        columns of equal length with a dimension of their own

Signs: power is positive when consumed; `p_import` is positive into the area.
Times are the starts of the intervals, UTC, in seconds since 1970-01-01.

The layout is frozen. What is added raises the minor version, says `since` which one, and is never
required of what there was before; whatever changes or takes away something raises the major
version. `tricell.results.validation` checks a file against it, `tricell.results.layout_text` tells
it to people and to programs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from types import MappingProxyType
from typing import Literal, TypeAlias

SCHEMA_NAME = "tricell-results"
SCHEMA_VERSION = "1.1.0"
FIRST_VERSION = "1.0.0"
FLEXIBILITY_VERSION = "1.1.0"
"""Added: devices that shift energy, forecasts and their imbalance, services of flexibility."""
CONVENTIONS = "CF-1.11"
CURRENCY = "EUR"

TIME_UNIT = "seconds since 1970-01-01 00:00:00"
TIME_CALENDAR = "proleptic_gregorian"
TIME_LABEL = "interval start"
SIGN_CONVENTION = "power is positive when consumed; p_import is positive into the area"

ROWS_PER_CHUNK = 96
"""Slots in one chunk, and the slots that a writer collects before it writes: a day of 15 min."""
MAX_ENTITIES_PER_CHUNK = 512

RETAILER_ROW = -1
"""Stands for the retailer where `seller` or `buyer` of a trade is not a row of tables/agent."""
POOL_ROW = -2
"""Stands for the pool of the trade's area where it is not known who met whom."""
NO_ROW = -1
"""Stands for "none" in every other column or variable that holds a row number."""
SEPARATOR = "; "
"""Stands between ids where one text holds several of them."""

RUN_SCOPE = "run"
"""The scope of a KPI that speaks about the whole run."""
SCOPE_KINDS = (RUN_SCOPE, "level", "area", "class", "agent")
"""What kinds of things KPIs speak about."""

ALWAYS = "always"
WHEN_FAILED = "when the run failed"
Outside: TypeAlias = tuple[tuple[int | str, str], ...]
"""Values that point at no row of another table, each with its meaning."""
Dtype = Literal["i1", "i4", "i8", "f4", "f8", "str"]
RunStatus = Literal["running", "complete", "failed"]
RUN_STATUSES: tuple[RunStatus, ...] = ("running", "complete", "failed")
Presence = Literal["always", "complete", "rows"]
"""When a table is in a file: always, in complete runs, or if it has rows."""


class Level(IntEnum):
    """Codes of `level` in tables/trade."""

    MICROGRID = 1
    CELL = 2
    MULTICELL = 3
    RETAIL = 4


class PostingLevel(IntEnum):
    """Codes of `level` in tables/posting and tables/receipt."""

    NONE = 0
    MICROGRID = 1
    CELL = 2
    MULTICELL = 3
    RETAIL = 4


class Party(IntEnum):
    """Codes of `payer` and `payee` in tables/posting."""

    AGENTS = 0
    OPERATOR = 1
    RETAILER = 2
    DSO = 3
    WHOLESALE = 4
    TSO = 5


class PostingKind(IntEnum):
    """Codes of `kind` in tables/posting and tables/receipt."""

    ENERGY_P2P = 0
    ENERGY_RETAIL = 1
    EXPORT = 2
    NETWORK = 3
    CONGESTION = 4
    LOSSES = 5
    LEVY = 6
    FLEX = 7
    IMBALANCE = 8
    CAPACITY = 9


class ServiceKind(IntEnum):
    """Codes of `kind` in tables/service."""

    DSO_REQUEST = 0
    TSO_REQUEST = 1
    PEAK_SHAVING = 2
    RESERVE = 3
    SET_POINT = 4


class Verdict(IntEnum):
    """Codes of `verdict` in the group slot."""

    LIMITS_MET = 0
    LIMITS_MET_BY_RECLEARING = 1
    LIMITS_BROKEN = 2
    NO_AC_SOLUTION = 3


class BindingKind(IntEnum):
    """Codes of `binding_kind` in the group slot."""

    NONE = 0
    BUS = 1
    LINE = 2
    TRAFO = 3


class PowerFlowMethod(IntEnum):
    """Codes of `power_flow_method` in the group slot."""

    FIXED_POINT = 0
    NEWTON = 1
    FAILED = 2


@dataclass(frozen=True)
class Flag:
    """One value of a coded variable and the word it stands for."""

    value: int
    word: str
    meaning: str
    since: str = FIRST_VERSION


@dataclass(frozen=True)
class Variable:
    """One dataset: a variable of a time series group, a column of a table or an id axis.

    `unit` is UDUNITS-like, "1" for plain numbers, and empty for text only. `flags` are the codes
    that a coded number may have, `words` the texts that a text may be; empty for any.

    Values that point at another table name it in `points_to`: whole numbers are rows of it from
    0, texts are its ids. `outside` are the values that point at no row. `since` is the version of
    the layout that brought it.
    """

    name: str
    dtype: Dtype
    unit: str
    meaning: str
    flags: tuple[Flag, ...] = ()
    required: bool = False
    words: tuple[str, ...] = ()
    points_to: str = ""
    outside: Outside = ()
    since: str = FIRST_VERSION

    @property
    def is_time(self) -> bool:
        """Whether the values are instants."""
        return self.unit == TIME_UNIT

    @property
    def is_float(self) -> bool:
        """Whether gaps can be told as NaN."""
        return self.dtype in ("f4", "f8")


@dataclass(frozen=True)
class SeriesGroup:
    """Time series of one kind of entity; its ids are those of a table (of one level of it).

    The group is in a file if there are entities of its kind; `slot` always is.
    """

    name: str
    meaning: str
    variables: tuple[Variable, ...]
    id_table: str = ""
    level: str = ""
    since: str = FIRST_VERSION

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the axes of its variables."""
        return (TIME.name, self.name) if self.id_table else (TIME.name,)

    @property
    def axes(self) -> tuple[Variable, ...]:
        """The coordinates: the time, and the ids of the entities."""
        if not self.id_table:
            return (TIME,)
        meaning = f"ids, as in tables/{self.id_table}"
        return (TIME, Variable(self.name, "str", "", meaning, required=True))

    def variable(self, name: str) -> Variable | None:
        """Give the variable of that name, None if the layout has none."""
        return next((each for each in self.variables if each.name == name), None)


@dataclass(frozen=True)
class Table:
    """Columns of equal length.

    The axis is the column of unique ids called `axis`, or, where no column has that name, row
    numbers from 0 in a dataset of that name.
    """

    name: str
    meaning: str
    axis: str
    columns: tuple[Variable, ...]
    presence: Presence = "complete"
    since: str = FIRST_VERSION

    @property
    def row_number(self) -> Variable | None:
        """The axis of a table without ids: row numbers; None where there are ids."""
        return None if self.has_ids else Variable(self.axis, "i8", "1", "row number", required=True)

    @property
    def has_ids(self) -> bool:
        """Whether the axis is a column of unique ids and not just row numbers."""
        return self.column(self.axis) is not None

    def column(self, name: str) -> Variable | None:
        """Give the column of that name, None if the layout has none."""
        return next((each for each in self.columns if each.name == name), None)


def version_numbers(version: str) -> tuple[int, int]:
    """Give the major and minor number of a version; 0 for what is no number.

    Examples
    --------
    >>> version_numbers("1.10.2") > version_numbers("1.9.0")
    True
    """
    major, minor = (*version.split("."), "", "")[:2]
    return (int(major) if major.isdecimal() else 0, int(minor) if minor.isdecimal() else 0)


def is_in(added: Flag | Variable | SeriesGroup | Table, version: str) -> bool:
    """Tell whether a version of the layout has it already."""
    return version_numbers(added.since) <= version_numbers(version)


@dataclass(frozen=True)
class Attribute:
    """An attribute of the file, of a group or of a dataset.

    `allowed` are the values that it may have, `pattern` a regular expression for the whole value;
    empty for any. `required` says in words when it is there.
    """

    name: str
    meaning: str
    dtype: Literal["str", "i8", "f8", "that of the dataset"] = "str"
    required: str = ALWAYS
    allowed: tuple[str, ...] = ()
    pattern: str = ""


def _text(
    name: str,
    meaning: str,
    *,
    required: bool = False,
    words: tuple[str, ...] = (),
    ids_of: str = "",
    outside: Outside = (),
) -> Variable:
    return Variable(
        name, "str", "", meaning, required=required, words=words, points_to=ids_of, outside=outside
    )


def _flag(code: IntEnum, meaning: str, since: str = FIRST_VERSION) -> Flag:
    return Flag(code.value, code.name.lower(), meaning, since)


def _row_of(table: str, name: str, meaning: str, outside: Outside = ()) -> Variable:
    return Variable(name, "i4", "1", meaning, required=True, points_to=table, outside=outside)


def _added(*variables: Variable) -> tuple[Variable, ...]:
    """Mark what 1.1 added to a group or table of 1.0."""
    return tuple(replace(variable, since=FLEXIBILITY_VERSION) for variable in variables)


def _all_required(variables: tuple[Variable, ...]) -> tuple[Variable, ...]:
    return tuple(replace(variable, required=True) for variable in variables)


TIME = Variable("time", "i8", TIME_UNIT, "start of the interval, UTC", required=True)

_NO_ROW: Outside = ((NO_ROW, "none"),)
_PARTIES_OF_TRADE: Outside = ((RETAILER_ROW, "the retailer"), (POOL_ROW, "the area's pool"))

LEVELS = (
    _flag(Level.MICROGRID, "an LV grid behind its transformer"),
    _flag(Level.CELL, "an MV area with the microgrids it feeds"),
    _flag(Level.MULTICELL, "the HV area, or the grid connection, that ties the cells together"),
)
AREA_LEVELS = tuple(level.word for level in LEVELS)
TRADE_LEVELS = (*LEVELS, _flag(Level.RETAIL, "bought from or sold to the retailer"))

POSTING_LEVELS = (
    _flag(PostingLevel.NONE, "where energy was traded plays no part"),
    _flag(PostingLevel.MICROGRID, "energy traded in a microgrid"),
    _flag(PostingLevel.CELL, "energy traded in a cell"),
    _flag(PostingLevel.MULTICELL, "energy traded in the multi-cell area"),
    _flag(PostingLevel.RETAIL, "energy bought from or sold to the retailer"),
)
PARTIES = (
    _flag(Party.AGENTS, "all participants together; tables/receipt has each of them"),
    _flag(Party.OPERATOR, "the operators of the local markets"),
    _flag(Party.RETAILER, "the retailer"),
    _flag(Party.DSO, "the network operator, who also collects levies"),
    _flag(Party.WHOLESALE, "the wholesale market"),
    _flag(Party.TSO, "the transmission system operator", FLEXIBILITY_VERSION),
)
POSTING_KINDS = (
    _flag(PostingKind.ENERGY_P2P, "energy traded in a local market"),
    _flag(PostingKind.ENERGY_RETAIL, "energy supplied by the retailer, or to him"),
    _flag(PostingKind.EXPORT, "energy fed in"),
    _flag(PostingKind.NETWORK, "network charges"),
    _flag(PostingKind.CONGESTION, "what congested lines add, and their rent"),
    _flag(PostingKind.LOSSES, "losses of the network"),
    _flag(PostingKind.LEVY, "levies"),
    _flag(PostingKind.FLEX, "for being moved away from what was traded"),
    _flag(
        PostingKind.IMBALANCE, "energy that differs from what was contracted", FLEXIBILITY_VERSION
    ),
    _flag(
        PostingKind.CAPACITY,
        "flexibility sold as a service, held ready or delivered",
        FLEXIBILITY_VERSION,
    ),
)
SERVICE_KINDS = tuple(
    replace(flag, since=FLEXIBILITY_VERSION)
    for flag in (
        _flag(ServiceKind.DSO_REQUEST, "energy that the network operator asks for"),
        _flag(ServiceKind.TSO_REQUEST, "energy that the transmission system operator asks for"),
        _flag(ServiceKind.PEAK_SHAVING, "what is above a limit on the import of an area"),
        _flag(ServiceKind.RESERVE, "power held ready"),
        _flag(ServiceKind.SET_POINT, "what the area above passes on of a request"),
    )
)
DEVICE_KINDS = ("vehicle", "house", "heat_store", "appliance", "shared_battery")
"""Words of `kind` in tables/device; houses and heat stores are those behind a heat pump."""

VERDICTS = (
    _flag(Verdict.LIMITS_MET, "the AC power flow keeps every limit"),
    _flag(Verdict.LIMITS_MET_BY_RECLEARING, "it does after the market was cleared again"),
    _flag(Verdict.LIMITS_BROKEN, "a limit is broken beyond the tolerance"),
    _flag(Verdict.NO_AC_SOLUTION, "the AC power flow found no solution"),
)
BINDING_KINDS = (
    _flag(BindingKind.NONE, "no grid limit binds"),
    _flag(BindingKind.BUS, "a voltage limit; the element is a row of tables/bus"),
    _flag(BindingKind.LINE, "a line limit; the element is a row of tables/line"),
    _flag(BindingKind.TRAFO, "a transformer limit; the element is a row of tables/trafo"),
)
POWER_FLOW_METHODS = (
    _flag(PowerFlowMethod.FIXED_POINT, "fast iteration on the factorised admittance matrix"),
    _flag(PowerFlowMethod.NEWTON, "the fall-back: Newton-Raphson of pandapower"),
    _flag(PowerFlowMethod.FAILED, "neither converged"),
)
NETWORK_MODELS = ("radial", "meshed")
CHARGE_PURPOSES = ("network", "levy")

_SLOT = (
    Variable("verdict", "i1", "1", "whether the grid's limits are met", VERDICTS),
    Variable("vm_min", "f4", "1", "lowest voltage of all buses, per unit"),
    _row_of("bus", "vm_min_bus", "row in tables/bus of the lowest voltage", _NO_ROW),
    Variable("vm_max", "f4", "1", "highest voltage of all buses, per unit"),
    _row_of("bus", "vm_max_bus", "row in tables/bus of the highest voltage", _NO_ROW),
    Variable("line_loading_max", "f4", "percent", "highest loading of all lines"),
    _row_of("line", "line_loading_max_line", "row in tables/line of the highest loading", _NO_ROW),
    Variable("trafo_loading_max", "f4", "percent", "highest loading of all transformers"),
    _row_of(
        "trafo", "trafo_loading_max_trafo", "row in tables/trafo of the highest loading", _NO_ROW
    ),
    Variable("binding_kind", "i1", "1", "what limits the market most", BINDING_KINDS),
    Variable(
        "binding_element",
        "i4",
        "1",
        "row of what limits the market most, in the table that binding_kind names; -1 = none",
    ),
    Variable("ac_gap_pu", "f4", "1", "largest voltage gap, linear model to AC, per unit"),
    Variable("ac_gap_percent", "f4", "percent", "largest loading gap, linear model to AC"),
    Variable("reclearings", "i4", "1", "how often the market was cleared again"),
    Variable("breach_kw", "f8", "kW", "sum of the limit breaches that the market had to accept"),
    Variable("breach_cost", "f8", "EUR", "those breaches at the stated breach prices"),
    Variable("power_flow_method", "i1", "1", "how AC was solved", POWER_FLOW_METHODS),
    Variable("lp_cold_starts", "i4", "1", "linear programs solved without a warm start"),
    Variable("welfare", "f8", "EUR", "value of the cleared orders less their cost"),
    Variable("gain", "f8", "EUR", "cost of supply that trade saves; NaN where all clear jointly"),
    Variable("optimal_gain", "f8", "EUR", "the same in the joint optimum of the same orders"),
    Variable("redispatch_moved", "f8", "kWh", "change from what was traded to what flows"),
    Variable("redispatch_cost", "f8", "EUR", "what that costs the network operator"),
    Variable("market_operator_surplus", "f8", "EUR", "what the markets' operators keep"),
    Variable("market_iterations", "i4", "1", "rounds of iterative mechanisms"),
    Variable("unfinished_markets", "i4", "1", "markets that did not converge"),
    Variable("wholesale_price", "f8", "EUR/kWh", "wholesale price"),
    Variable("retail_price", "f8", "EUR/kWh", "retail tariff, all in"),
    Variable("feed_in_price", "f8", "EUR/kWh", "feed-in tariff"),
)
_AGENT = (
    Variable(
        "p_load",
        "f8",
        "kW",
        "demand before anything is left unserved; what vehicles, heat pumps and appliances draw "
        "is part of it",
    ),
    Variable("q_load", "f8", "kvar", "reactive demand, positive when inductive"),
    Variable("p_pv_available", "f8", "kW", "generation that sun or wind would allow, positive"),
    Variable("p_pv", "f8", "kW", "generation that was fed in, positive"),
    Variable(
        "p_storage",
        "f8",
        "kW",
        "battery power, positive when charging; what vehicles give back is part of it, negative",
    ),
    Variable("soc", "f8", "kWh", "energy in the battery at the start of the interval"),
    Variable("p_net", "f8", "kW", "cleared net power: load - unserved - generation + battery"),
    Variable("p_curtailed", "f8", "kW", "available generation that was not fed in"),
    Variable("p_unserved", "f8", "kW", "demand that was not met"),
    Variable("price", "f8", "EUR/kWh", "price at the agent's bus (DLMP); may be negative"),
)
_AGENT_ADDED = _added(
    Variable("p_contracted", "f8", "kW", "net power contracted at the gate, positive consumes"),
    Variable("p_load_forecast", "f8", "kW", "p_load as forecast at the gate"),
    Variable("p_pv_forecast", "f8", "kW", "p_pv_available as forecast at the gate"),
    Variable(
        "p_service",
        "f8",
        "kW",
        "what services moved its storage by beside its contracts, positive consumes more; part "
        "of p_net",
    ),
)
_DEVICE = (
    *_all_required(
        (
            Variable("p", "f8", "kW", "power at the terminals, positive consumes"),
            Variable(
                "stored",
                "f8",
                "kWh",
                "energy at the start of the interval, in the battery or store; of a house heat "
                "above the lower comfort limit, may be negative",
            ),
            Variable(
                "unmet",
                "f8",
                "kWh",
                "energy that a vehicle lacked when it left, heat demand that was not served, "
                "energy of a job that was missed, in the interval",
            ),
        )
    ),
    Variable(
        "temperature", "f8", "degC", "temperature indoors at the start; NaN where there is none"
    ),
)
_BUS = (
    Variable("vm", "f4", "1", "voltage magnitude, per unit"),
    Variable("price", "f8", "EUR/kWh", "distribution locational marginal price (DLMP)"),
)
_LINE = (
    Variable("loading", "f4", "percent", "current over rated current"),
    Variable("p_from", "f4", "kW", "active power into the line at its from-bus"),
)
_TRAFO = (
    Variable("loading", "f4", "percent", "loading as pandapower defines it"),
    Variable("p_from", "f4", "kW", "active power into the transformer at its upper side"),
    Variable("tap", "i1", "1", "tap position"),
)
_AREA_SERIES = (
    Variable("p_import", "f8", "kW", "into the area, cleared: sum of its members' p_net"),
    Variable("price", "f8", "EUR/kWh", "price of energy at this area's balance"),
    Variable("energy_traded", "f8", "kWh", "traded between members at this level"),
    Variable("energy_residual", "f8", "kWh", "left after this level, handed to the level above"),
    Variable("energy_unsold", "f8", "kWh", "offered in this area and sold to nobody"),
    Variable("energy_unserved", "f8", "kWh", "asked for in this area and delivered by nobody"),
    Variable("loss", "f8", "kW", "losses in the area's own network"),
    Variable("network_charge", "f8", "EUR", "network charges on this level's trades"),
)


def _area_series(level: Flag) -> SeriesGroup:
    variables = _all_required(_AREA_SERIES)
    return SeriesGroup(level.word, level.meaning, variables, id_table="area", level=level.word)


SLOT = "slot"
DEVICE = "device"
SERIES: Mapping[str, SeriesGroup] = MappingProxyType(
    {
        group.name: group
        for group in (
            SeriesGroup(SLOT, "one number per slot for the whole run", _all_required(_SLOT)),
            SeriesGroup(
                "agent",
                "households and other participants",
                (*_all_required(_AGENT), *_AGENT_ADDED),
                id_table="agent",
            ),
            SeriesGroup("bus", "buses", _all_required(_BUS), id_table="bus"),
            SeriesGroup("line", "lines and cables", _all_required(_LINE), id_table="line"),
            SeriesGroup("trafo", "transformers", _all_required(_TRAFO), id_table="trafo"),
            *(_area_series(level) for level in LEVELS),
            SeriesGroup(
                DEVICE,
                "devices that shift energy, beside the batteries of households",
                _added(*_DEVICE),
                id_table=DEVICE,
                since=FLEXIBILITY_VERSION,
            ),
        )
    }
)

_AGENT_TABLE = Table(
    "agent",
    "participants; series of the group agent stand in this order",
    "agent",
    (
        _text("agent", "id of the participant", required=True),
        _text("area", "id of the area it is a member of", required=True, ids_of="area"),
        _text("level", "level of that area", required=True, words=AREA_LEVELS),
        _text("bus", "id of the bus it is connected to", required=True, ids_of="bus"),
        _text("class", "customer class", required=True),
        _text("strategy", "how what it stores bids, empty where it stores nothing"),
        Variable("load_kw", "f8", "kW", "rated power of its load"),
        Variable("pv_kwp", "f8", "kW", "rated power of its generation"),
        Variable("battery_kwh", "f8", "kWh", "usable size of its battery"),
        Variable("battery_kw", "f8", "kW", "rated power of its battery"),
    ),
    "always",
)
_AREA_TABLE = Table(
    "area",
    "market areas; series of each level stand in this order",
    "area",
    (
        _text("area", "id of the area", required=True),
        _text("name", "name for people"),
        _text("level", "level of the area", required=True, words=AREA_LEVELS),
        _text(
            "parent",
            "id of the area above, empty at the top",
            required=True,
            ids_of="area",
            outside=(("", "none: the area is at the top"),),
        ),
        _text("trafo", f"ids of what feeds it from above, separated by {SEPARATOR!r}"),
        _text("network_model", "how the market sees its network", words=NETWORK_MODELS),
        Variable("n_bus", "i4", "1", "number of buses of its own"),
        Variable("n_agent", "i4", "1", "number of agents of its own"),
        Variable("nominal_kv", "f8", "kV", "nominal voltage"),
        Variable("rating", "f8", "kV A", "rating of the transformers that feed it, NaN = none"),
    ),
    "always",
)
_BUS_TABLE = Table(
    "bus",
    "buses; series of the group bus stand in this order",
    "bus",
    (
        _text("bus", "id of the bus", required=True),
        _text("name", "name for people"),
        _text("area", "id of its area", required=True, ids_of="area"),
        Variable("nominal_kv", "f8", "kV", "nominal voltage"),
        Variable("vm_min", "f8", "1", "lower voltage limit, per unit"),
        Variable("vm_max", "f8", "1", "upper voltage limit, per unit"),
        Variable("x", "f8", "1", "position to the east in the data's own coordinates"),
        Variable("y", "f8", "1", "position to the north in the data's own coordinates"),
    ),
    "always",
)
_LINE_TABLE = Table(
    "line",
    "lines and cables; series of the group line stand in this order",
    "line",
    (
        _text("line", "id of the line", required=True),
        _text("name", "name for people"),
        _text("area", "id of its area", required=True, ids_of="area"),
        _text("from_bus", "id of the bus at its start", required=True, ids_of="bus"),
        _text("to_bus", "id of the bus at its end", required=True, ids_of="bus"),
        Variable("length", "f8", "km", "length"),
        Variable("rated_current", "f8", "kA", "rated current"),
        Variable("loading_max", "f8", "percent", "loading limit"),
    ),
    "always",
)
_TRAFO_TABLE = Table(
    "trafo",
    "transformers; series of the group trafo stand in this order",
    "trafo",
    (
        _text("trafo", "id of the transformer", required=True),
        _text("name", "name for people"),
        _text("area", "id of the area that it feeds", required=True, ids_of="area"),
        _text("hv_bus", "id of the bus at its upper side", required=True, ids_of="bus"),
        _text("lv_bus", "id of the bus at its lower side", required=True, ids_of="bus"),
        Variable("rating", "f8", "kV A", "rated power"),
        Variable("loading_max", "f8", "percent", "loading limit"),
        Variable("tap_min", "i4", "1", "lowest tap position"),
        Variable("tap_max", "i4", "1", "highest tap position"),
        Variable("tap_neutral", "i4", "1", "neutral tap position"),
        Variable("vm_set", "f8", "1", "set-point of its tap changer, per unit, NaN = none"),
    ),
    "always",
)
_DEVICE_TABLE = Table(
    DEVICE,
    "devices that shift energy; series of the group device stand in this order",
    DEVICE,
    _added(
        _text("device", "id of the device", required=True),
        _text("agent", "id of its owner", required=True, ids_of="agent"),
        _text("area", "id of the area that its owner is a member of", required=True, ids_of="area"),
        _text("kind", "what it is", required=True, words=DEVICE_KINDS),
        Variable("charge_kw", "f8", "kW", "highest power that it consumes"),
        Variable("discharge_kw", "f8", "kW", "highest power that it gives back"),
        Variable(
            "capacity_kwh",
            "f8",
            "kWh",
            "energy that it can hold; of a house heat from the lower to the upper comfort limit; "
            "of an appliance 0",
        ),
        Variable("energy", "f8", "kWh", "energy consumed over the run, less what it gave back"),
        Variable("unmet", "f8", "kWh", "sum of its series of that name"),
        Variable("departures", "i4", "1", "times that a vehicle left"),
        Variable("short_departures", "i4", "1", "times that a vehicle left without its energy"),
        Variable("discomfort", "f8", "K h", "time outside the comfort band times how far outside"),
    ),
    "rows",
    FLEXIBILITY_VERSION,
)
DEVICE_TOTALS = ("energy", "unmet", "departures", "short_departures", "discomfort")
"""Columns of tables/device that are known at the end of a run only."""
TRADE = "trade"
_TRADE_TABLE = Table(
    TRADE,
    "trades, or positions against a pool, in the order of time",
    TRADE,
    (
        Variable("time", "i8", TIME_UNIT, "start of the slot, UTC", required=True),
        Variable("level", "i1", "1", "where it was traded", TRADE_LEVELS, required=True),
        _row_of(
            "area",
            "area",
            "row in tables/area whose market it was, -1 = none (retail)",
            ((NO_ROW, "none: bought from or sold to the retailer"),),
        ),
        _row_of(
            "agent",
            "seller",
            "row in tables/agent, -1 = the retailer, -2 = the area's pool",
            _PARTIES_OF_TRADE,
        ),
        _row_of(
            "agent",
            "buyer",
            "row in tables/agent, -1 = the retailer, -2 = the area's pool",
            _PARTIES_OF_TRADE,
        ),
        Variable("energy", "f8", "kWh", "energy sold", required=True),
        Variable("price", "f8", "EUR/kWh", "price that the seller receives", required=True),
        Variable("network_charge", "f8", "EUR", "network charge on this trade", required=True),
        Variable("energy_cost", "f8", "EUR", "paid for the energy itself; negative is received"),
        Variable("losses", "f8", "EUR", "losses on this trade"),
        Variable("congestion", "f8", "EUR", "what congested lines add to this trade"),
        Variable("levy", "f8", "EUR", "levies on this trade"),
    ),
    "rows",
)
POSTING = "posting"
_POSTING_TABLE = Table(
    POSTING,
    "double-entry bookkeeping, slot by slot: who pays whom for what; the parties' balances of a "
    "slot add up to zero",
    POSTING,
    (
        Variable("time", "i8", TIME_UNIT, "start of the slot, UTC", required=True),
        Variable("payer", "i1", "1", "who gets the energy or service", PARTIES, required=True),
        Variable("payee", "i1", "1", "who is paid for it", PARTIES, required=True),
        Variable("kind", "i1", "1", "what is paid for", POSTING_KINDS, required=True),
        Variable("level", "i1", "1", "where the energy was traded", POSTING_LEVELS, required=True),
        _row_of("charge", "charge", "row in tables/charge, -1 = none", _NO_ROW),
        Variable("energy", "f8", "kWh", "energy that it is paid for", required=True),
        Variable("amount", "f8", "EUR", "amount; negative where the payee pays", required=True),
    ),
    "rows",
)
_RECEIPT_TABLE = Table(
    "receipt",
    "what each agent pays over the run for what; all rows of an agent add up to its bill",
    "receipt",
    (
        _row_of("agent", "agent", "row in tables/agent"),
        Variable("kind", "i1", "1", "what is paid for", POSTING_KINDS, required=True),
        Variable("level", "i1", "1", "where the energy was traded", POSTING_LEVELS, required=True),
        _row_of("charge", "charge", "row in tables/charge, -1 = none", _NO_ROW),
        Variable("energy", "f8", "kWh", "energy bought, negative: sold", required=True),
        Variable("amount", "f8", "EUR", "paid, negative: received", required=True),
    ),
)
_CHARGE_TABLE = Table(
    "charge",
    "network charges of the run",
    "charge",
    (
        _text("charge", "name in bills", required=True),
        _text("kind", "which charge it is", required=True),
        _text("purpose", "what the money is for", required=True, words=CHARGE_PURPOSES),
        Variable("revenue", "f8", "EUR", "what all agents pay over the run", required=True),
    ),
)
BILL_PARTS: Mapping[str, PostingKind] = MappingProxyType(
    {
        "energy_p2p": PostingKind.ENERGY_P2P,
        "energy_retail": PostingKind.ENERGY_RETAIL,
        "export": PostingKind.EXPORT,
        "network": PostingKind.NETWORK,
        "congestion": PostingKind.CONGESTION,
        "losses": PostingKind.LOSSES,
        "levy": PostingKind.LEVY,
        "redispatch": PostingKind.FLEX,
        "imbalance": PostingKind.IMBALANCE,
        "flexibility": PostingKind.CAPACITY,
    }
)
"""Columns of tables/bill that add up to its total, and the kind of postings each is made of."""
OPTIONAL_BILL_PARTS = ("imbalance", "flexibility")
"""Those that count as 0 where a file does not have them."""
_BILL_TABLE = Table(
    "bill",
    "what each agent pays over the run; a negative amount is received",
    "agent",
    (
        _text("agent", "id of the participant", required=True, ids_of="agent"),
        Variable("energy_p2p", "f8", "EUR", "energy bought from peers less energy sold to them"),
        Variable("energy_retail", "f8", "EUR", "energy bought from the retailer"),
        Variable("export", "f8", "EUR", "feed-in to the retailer, negative when paid for"),
        Variable("network", "f8", "EUR", "network charges and fees, those of the period too"),
        Variable("congestion", "f8", "EUR", "what congested lines add at the own bus"),
        Variable("losses", "f8", "EUR", "losses of the network"),
        Variable("levy", "f8", "EUR", "levies"),
        Variable("redispatch", "f8", "EUR", "for being moved away from what was traded"),
        *_added(
            Variable("imbalance", "f8", "EUR", "energy that differs from what was contracted"),
            Variable("flexibility", "f8", "EUR", "flexibility sold as a service, then negative"),
        ),
        Variable("total", "f8", "EUR", "sum of the amounts before", required=True),
        Variable(
            "no_trading_total",
            "f8",
            "EUR",
            "what it would pay at the retail and feed-in tariff if nobody traded",
            required=True,
        ),
        Variable("saving", "f8", "EUR", "no_trading_total - total", required=True),
        Variable("bought_p2p", "f8", "kWh", "energy bought from peers"),
        Variable("sold_p2p", "f8", "kWh", "energy sold to peers"),
        Variable("bought_retail", "f8", "kWh", "energy bought from the retailer"),
        Variable("sold_retail", "f8", "kWh", "energy sold to the retailer"),
        Variable("unserved", "f8", "kWh", "demand that was not met"),
        Variable("curtailed", "f8", "kWh", "available generation that was not fed in"),
    ),
)
FORECAST = "forecast"
_FORECAST_TABLE = Table(
    FORECAST,
    "errors of the forecasts of net power at the gate, by area with all areas below it; energies "
    "are those of a slot",
    "area",
    _added(
        _text("area", "id of the area", required=True, ids_of="area"),
        Variable("mae", "f8", "kWh", "mean absolute error of the area's net energy"),
        Variable("wape", "f8", "1", "sum of those errors over the sum of absolute net energies"),
        Variable("member_mae", "f8", "kWh", "mean absolute error of a participant's net energy"),
        Variable("member_wape", "f8", "1", "wape of all participants, each for itself"),
    ),
    "rows",
    FLEXIBILITY_VERSION,
)
SERVICE = "service"
_SERVICE_TABLE = Table(
    SERVICE,
    "flexibility that was asked for as a service, in the order of time",
    "row",
    _added(
        Variable("time", "i8", TIME_UNIT, "start of the slot, UTC", required=True),
        Variable(
            "service", "i4", "1", "its place among the services of the scenario", required=True
        ),
        Variable("kind", "i1", "1", "what is asked for", SERVICE_KINDS, required=True),
        _row_of("area", "area", "row in tables/area that it is asked of, -1 = none", _NO_ROW),
        Variable("need", "f8", "kWh", "energy asked for in the slot", required=True),
        Variable("accepted", "f8", "kWh", "energy bought of it", required=True),
        Variable("delivered", "f8", "kWh", "energy delivered against the baseline", required=True),
        Variable("unmet", "f8", "kWh", "energy asked for and not delivered", required=True),
        Variable("cost", "f8", "EUR", "paid for it by who asked", required=True),
    ),
    "rows",
    FLEXIBILITY_VERSION,
)
_KPI_TABLE = Table(
    "kpi",
    "key figures; NaN where a figure is undefined",
    "kpi",
    (
        _text("name", "name of the figure", required=True),
        _text("scope_kind", "what the figure speaks about", required=True, words=SCOPE_KINDS),
        _text("scope", f"id of that; {RUN_SCOPE!r} for the whole run", required=True),
        Variable("value", "f8", "1", "the figure, in the unit of the same row", required=True),
        _text("unit", "unit of the value", required=True),
    ),
)
_WARNING_TABLE = Table(
    "warning",
    "what a reader of the results should know",
    "warning",
    (
        Variable("time", "i8", TIME_UNIT, "slot of the first occurrence, UTC", required=True),
        _text("kind", "short word for the cause", required=True),
        _text("element", "id of the element, empty if it is about the run"),
        _text("message", "what happened and how it was treated", required=True),
        Variable("count", "i8", "1", "number of occurrences"),
    ),
)
_TIMING_TABLE = Table(
    "timing",
    "where the time of the run went",
    "timing",
    (
        _text("part", "part of a slot's way, or a simulator", required=True),
        Variable("seconds", "f8", "s", "wall-clock time", required=True),
        Variable("calls", "i8", "1", "number of calls"),
    ),
)

ENTITY_TABLES: Mapping[str, Table] = MappingProxyType(
    {
        table.name: table
        for table in (
            _AGENT_TABLE,
            _AREA_TABLE,
            _BUS_TABLE,
            _LINE_TABLE,
            _TRAFO_TABLE,
            _DEVICE_TABLE,
        )
    }
)
"""Tables that are known before the run."""
TABLES: Mapping[str, Table] = MappingProxyType(
    {
        **ENTITY_TABLES,
        **{
            table.name: table
            for table in (
                _TRADE_TABLE,
                _POSTING_TABLE,
                _SERVICE_TABLE,
                _CHARGE_TABLE,
                _RECEIPT_TABLE,
                _BILL_TABLE,
                _FORECAST_TABLE,
                _KPI_TABLE,
                _WARNING_TABLE,
                _TIMING_TABLE,
            )
        },
    }
)

SERIES_ROOT = "timeseries"
TABLE_ROOT = "tables"
META_ROOT = "meta"
SCENARIO_YAML = "scenario_yaml"
PROVENANCE_JSON = "provenance_json"
META: Mapping[str, str] = MappingProxyType(
    {
        SCENARIO_YAML: "the scenario that was run, complete, as YAML",
        PROVENANCE_JSON: "packages, inputs with version and licence, solver, machine, as JSON",
    }
)

VERSION_PATTERN = r"\d+\.\d+\.\d+"
ROOT_ATTRIBUTES = (
    Attribute("Conventions", "conventions that the file follows", allowed=(CONVENTIONS,)),
    Attribute("schema_name", "what kind of file it is", allowed=(SCHEMA_NAME,)),
    Attribute(
        "schema_version",
        "version of this layout; a reader refuses a higher major one",
        pattern=VERSION_PATTERN,
    ),
    Attribute("run_id", "name of the run"),
    Attribute("run_status", "how far the run came; written last", allowed=RUN_STATUSES),
    Attribute("failure_message", "why the run failed", required=WHEN_FAILED),
    Attribute(
        "date_created",
        "when the file was begun, ISO 8601, UTC",
        pattern=r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)",
    ),
    Attribute("source", "program and version that made the file"),
    Attribute("history", "what was done to the file, one line each"),
    Attribute("scenario_sha256", "SHA-256 of meta/scenario_yaml", pattern="[0-9a-f]{64}"),
    Attribute("random_seed", "seed of everything random", "i8"),
    Attribute("time_step_s", "length of a slot in seconds, at least 1", "i8"),
    Attribute("number_of_slots", "slots that the run was to have", "i8"),
    Attribute("time_label", "what a time stands for", allowed=(TIME_LABEL,)),
    Attribute("time_zone_local", "time zone of the place (IANA), for local days and tariff bands"),
    Attribute("currency", "currency of all money", allowed=(CURRENCY,)),
    Attribute("sign_convention", "what a positive power means", allowed=(SIGN_CONVENTION,)),
)
GROUP_ATTRIBUTES = (Attribute("long_name", "what the group holds", required="series and tables"),)
DATASET_ATTRIBUTES = (
    Attribute("long_name", "what the values mean"),
    Attribute(
        "units", "unit of the values, UDUNITS-like; 1 for plain numbers", required="for numbers"
    ),
    Attribute("calendar", "calendar of the times", required="for times", allowed=(TIME_CALENDAR,)),
    Attribute("_FillValue", "stands for a gap: NaN", "that of the dataset", required="for floats"),
    Attribute("flag_values", "all codes", "that of the dataset", required="for codes"),
    Attribute("flag_meanings", "a word for each code, separated by blanks", required="for codes"),
)
"""What a dataset has beside the attributes of HDF5's dimension scales."""


def series_path(group: str, variable: str = "") -> str:
    """Give the path in the file of a time series group or of a variable in it.

    Examples
    --------
    >>> series_path("agent", "p_net")
    '/timeseries/agent/p_net'
    """
    return f"/{SERIES_ROOT}/{group}/{variable}".rstrip("/")


def table_path(table: str, column: str = "") -> str:
    """Give the path in the file of a table or of a column in it."""
    return f"/{TABLE_ROOT}/{table}/{column}".rstrip("/")


def meta_path(name: str) -> str:
    """Give the path in the file of a text about the run."""
    return f"/{META_ROOT}/{name}"


def chunk_shape(entities: int | None = None) -> tuple[int, ...]:
    """Give the chunk of a series: a day of slots by at most 512 entities, evenly shared.

    Examples
    --------
    >>> chunk_shape(573), chunk_shape()
    ((96, 287), (96,))
    """
    if entities is None:
        return (ROWS_PER_CHUNK,)
    parts = -(-entities // MAX_ENTITIES_PER_CHUNK)
    return (ROWS_PER_CHUNK, -(-entities // parts))
