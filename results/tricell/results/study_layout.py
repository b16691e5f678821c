"""The layout of the results of a study, schema 1.0.0: the only place that names what is in them.

One HDF5 file holds all runs of a study. It has tables only, as a results file has them::

    /                      attributes of the study (`ROOT_ATTRIBUTES`)
    /meta/<name>           texts: the study file, the base scenario, the provenance (`META`)
    /names/<column>        the words of a column that repeats them; the tables hold row numbers
    /tables/<name>/        columns of equal length

Every table but `design` and `parameter` has the column ``run``, the row of the run in
``tables/run``. Money and energy are sums over the period that was simulated; a figure per year is
the sum divided by ``tables/run/year_share``. What a DSO receives is positive, and so is what a
customer pays.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tricell.results.layout import (
    AREA_LEVELS,
    TIME_UNIT,
    Attribute,
    Flag,
    Table,
    Variable,
)

SCHEMA_NAME = "tricell-study"
SCHEMA_VERSION = "1.0.0"
SUFFIX = ".study.h5"

ALL_LEVELS = "all"
"""Stands for the sum over all levels where a table has a column `level`."""

CLOSURES = ("none", "fixed", "resolved")
"""How a design meets the customers: `none`: nobody reacts, its bills are those of the reference
run's meters; `fixed`: rates from those meters, then everybody reacts; `resolved`: rates and
reactions until both stay."""

RUN_STATUS = ("complete", "not_converged", "failed")

COMPONENTS = ("energy_p2p", "energy_retail", "export", "levy", "congestion", "redispatch")
"""Components of a bill beside the charges, which go by their labels in tables/bill_component."""

DURATION_POINTS = 101
"""Points of a load duration curve: 0 %, 1 %, ... 100 % of the time."""

CODED = (
    "customer",
    "class",
    "area",
    "trafo",
    "level",
    "design",
    "closure",
    "component",
    "charge",
    "field",
    "scope",
    "name",
    "unit",
)
"""Text columns that repeat few words: stored as rows of /names/<column>."""

_YES_NO = (Flag(0, "no", "no"), Flag(1, "yes", "yes"))


def _text(name: str, meaning: str, *, required: bool = True) -> Variable:
    return Variable(name, "str", "", meaning, required=required)


def _number(name: str, unit: str, meaning: str) -> Variable:
    return Variable(name, "f8", unit, meaning, required=True)


def _count(name: str, meaning: str) -> Variable:
    return Variable(name, "i4", "1", meaning, required=True)


def _flag(name: str, meaning: str) -> Variable:
    return Variable(name, "i1", "1", meaning, _YES_NO, required=True)


_RUN = _count("run", "row in tables/run")
_CUSTOMER = _text("customer", "id of the customer")
_AREA = _text("area", "id of the market area")
_LEVEL = _text("level", "level: " + ", ".join(AREA_LEVELS))
_LEVEL_OR_ALL = _text("level", f"level: {', '.join(AREA_LEVELS)}, or {ALL_LEVELS} for the sum")

_DESIGN = Table(
    "design",
    "what was studied; the order is that of the study file",
    "design",
    (
        _text("design", "name of the charge design"),
        _text("label", "name for people"),
        _text("description", "what it is, in a sentence"),
        _flag("is_reference", "whether changes count from this design"),
        _text("charges", "its charges with the rates of the study file, as YAML"),
    ),
)
_PARAMETER = Table(
    "parameter",
    "parameters with source and year (T8)",
    "row",
    (
        _text("name", "what it is, with the design or charge it belongs to"),
        _text("value", "its value as text"),
        _text("unit", "its unit; empty for none"),
        _text("source", "where the value comes from"),
        _text("year", "year that the value speaks of; empty where it has none"),
    ),
)
_RUN_TABLE = Table(
    "run",
    "one row per design, closure and point of the axes",
    "run",
    (
        _count("run", "number of the run, from 0"),
        _text("design", "name of the charge design"),
        _text("closure", "how customers react: " + ", ".join(CLOSURES)),
        _count("point", "number of the point of the axes, from 0; 0 is the base point"),
        Variable("seed", "i8", "1", "seed of everything random", required=True),
        Variable("start", "i8", TIME_UNIT, "start of the first slot, UTC", required=True),
        _number("days", "d", "length of the period"),
        _number("pv_share", "1", "share of households with PV; NaN as in the base scenario"),
        _number("battery_share", "1", "share of households with a battery; NaN as in the base"),
        _number("ev_share", "1", "share of households with an electric car; NaN as in the base"),
        _number("heat_pump_share", "1", "share of households with a heat pump; NaN as in the base"),
        _number("participation", "1", "share that trades in the local markets; NaN as in the base"),
        _text("status", "state: " + ", ".join(RUN_STATUS)),
        _text("message", "why it failed or did not converge; empty otherwise"),
        _number("seconds", "s", "computing time of its simulations, also of those reused"),
        _count("simulations", "simulations that it needed"),
        _count("reused", "how many of them an earlier study had done already"),
        _count("iterations", "rounds of rates and reactions"),
        _flag("converged", "whether rates and reactions stayed; 1 where nothing is iterated"),
        _number("year_share", "1", "share of a year that the period covers"),
        _text("meters", "content hash of the simulation whose meters are billed"),
    ),
)
_RATE = Table(
    "rate",
    "rates that were solved, round by round (T2, F5)",
    "row",
    (
        _RUN,
        _count("iteration", "round, from 0; the last one holds the rates of the bills"),
        _flag("is_final", "whether these are the rates of the bills"),
        _text("charge", "label of the charge"),
        _text("field", "field of the charge, with the position inside tables"),
        _number("value", "unit", "rate in the unit of the column unit"),
        _text("unit", "unit of the value"),
        _number("collected", "EUR", "what all charges of the design collect in this round"),
        _number("change", "1", "largest relative change of a rate to the round before; NaN in 0"),
    ),
)
_REVENUE = Table(
    "revenue",
    "the network operator's revenue by level of the customers (T1, F10)",
    "row",
    (
        _RUN,
        _LEVEL_OR_ALL,
        _number("allowed", "EUR", "revenue allowed for the period, after the cascade of levels"),
        _number("own", "EUR", "cost of this level's own network, before the cascade"),
        _number("collected", "EUR", "what the customers of the level pay for the network"),
        _number("gap", "EUR", "collected less allowed"),
    ),
)
_BILL = Table(
    "bill",
    "bill of every customer for the period (T3, T4, F1)",
    "row",
    (
        _RUN,
        _CUSTOMER,
        _text("class", "customer class"),
        _AREA,
        _LEVEL,
        _flag("with_pv", "whether a plant stands behind the meter"),
        _flag("with_battery", "whether a battery stands behind the meter"),
        _flag("participates", "whether it trades in the local markets"),
        _number("load_kwh", "kWh", "consumption behind the meter, without the battery"),
        _number("import_kwh", "kWh", "imported through the meter"),
        _number("export_kwh", "kWh", "exported through the meter"),
        _number("shared_kwh", "kWh", "imported and bought in a local market"),
        _number("energy_p2p", "EUR", "bought less sold in local markets"),
        _number("energy_retail", "EUR", "bought from the retailer, without network charges"),
        _number("export", "EUR", "export to the retailer; negative is income"),
        _number("network", "EUR", "all network charges"),
        _number("levy", "EUR", "charges collected for the state"),
        _number("losses", "EUR", "charges for losses"),
        _number("other", "EUR", "congestion and redispatch"),
        _number("total", "EUR", "bill"),
        _number("no_trading_total", "EUR", "bill without local markets and the reference design"),
        _number("causal_cost", "EUR", "network cost that the customer causes"),
    ),
)
_BILL_COMPONENT = Table(
    "bill_component",
    "bills by component; they add up to the total (F2)",
    "row",
    (
        _RUN,
        _CUSTOMER,
        _text("component", "a charge's label, or one of " + ", ".join(COMPONENTS)),
        _number("amount", "EUR", "what the customer pays"),
    ),
)
_INTERFACE = Table(
    "interface",
    "the connection of every area to the one above (T5, F7)",
    "row",
    (
        _RUN,
        _AREA,
        _LEVEL,
        _text("trafo", "ids of the transformers that feed the area, separated by blanks"),
        _text("parent", "id of the area above, empty at the top"),
        _number("rating", "kV A", "rating of these transformers; NaN for none"),
        _number("peak_kw", "kW", "largest import of the area"),
        Variable("peak_time", "i8", TIME_UNIT, "start of the slot of that import", required=True),
        _number("peak_export_kw", "kW", "largest export of the area, 0 or more"),
        _number("peak_loading", "percent", "highest loading of the transformers; NaN for none"),
        _number("hours_over_limit", "h", "time above the loading limit of the scenario"),
        _number("coincidence", "1", "peak of the area over the sum of its customers' peaks"),
        _number("energy_kwh", "kWh", "imported into the area"),
    ),
)
_DURATION = Table(
    "duration",
    "load duration curve of every interface (F3)",
    "row",
    (
        _RUN,
        _AREA,
        _number("share_of_time", "1", "share of the time with at least this power"),
        _number("kw", "kW", "import of the area; negative is export"),
    ),
)
_MEAN_DAY = Table(
    "mean_day",
    "mean day of every interface (F4)",
    "row",
    (
        _RUN,
        _AREA,
        _number("hour", "h", "local time of the start of the slot, 0 to below 24"),
        _number("kw", "kW", "mean import of the area; negative is export"),
    ),
)
_DAY_MATRIX = Table(
    "day_matrix",
    "import of every interface by day and hour (F4)",
    "row",
    (
        _RUN,
        _AREA,
        _count("day", "days since 1970-01-01 by local time"),
        _number("hour", "h", "local time of the start of the slot, 0 to below 24"),
        _number("kw", "kW", "import of the area; negative is export"),
    ),
)
_TRADED = Table(
    "traded",
    "energy bought by where it was bought, and the network charge on it (F9)",
    "row",
    (
        _RUN,
        _text("level", f"level of the market: {', '.join(AREA_LEVELS)}, or retail"),
        _number("energy_kwh", "kWh", "imported energy bought there"),
        _number("charge_eur", "EUR", "energy-related network charges on it"),
    ),
)
_GRID = Table(
    "grid",
    "grid indicators by level of the network (T5)",
    "row",
    (
        _RUN,
        _LEVEL_OR_ALL,
        _number("loss_kwh", "kWh", "losses"),
        _number("voltage_hours", "h", "hours of buses outside their voltage limits, summed"),
        _number("overload_hours", "h", "hours of transformers and lines above their limits"),
        _number("curtailed_kwh", "kWh", "generation that was not fed in"),
        _number("peak_kw", "kW", "sum of the interface peaks; for all: peak of the grid"),
        _number("vm_min", "1", "lowest voltage, per unit"),
        _number("vm_max", "1", "highest voltage, per unit"),
    ),
)
_PEAK = Table(
    "peak",
    "each customer's own peak beside its part in the area's peak (F8)",
    "row",
    (
        _RUN,
        _CUSTOMER,
        _number("individual_kw", "kW", "largest import of the customer"),
        _number("coincident_kw", "kW", "its import in the slot of the area's largest import"),
    ),
)
_KPI = Table(
    "kpi",
    "key figures (T6)",
    "row",
    (
        _RUN,
        _text("name", "name of the figure"),
        _text("scope", "what it speaks of: run, a customer class, a level or an area"),
        _number("value", "unit", "value in the unit of the column unit; NaN where undefined"),
        _text("unit", "unit of the value"),
    ),
)

TABLES: Mapping[str, Table] = MappingProxyType(
    {
        table.name: table
        for table in (
            _DESIGN,
            _PARAMETER,
            _RUN_TABLE,
            _RATE,
            _REVENUE,
            _BILL,
            _BILL_COMPONENT,
            _INTERFACE,
            _DURATION,
            _MEAN_DAY,
            _DAY_MATRIX,
            _TRADED,
            _GRID,
            _PEAK,
            _KPI,
        )
    }
)

META: Mapping[str, str] = MappingProxyType(
    {
        "study_yaml": "the study that was run, complete, as YAML",
        "scenario_yaml": "the base scenario, complete, as YAML",
        "provenance_json": "packages, inputs with version and licence, solver, machine, as JSON",
    }
)

ROOT_ATTRIBUTES = (
    Attribute("Conventions", "conventions that the file follows"),
    Attribute("schema_name", f"always {SCHEMA_NAME}"),
    Attribute("schema_version", "version of this layout; a reader refuses a higher major one"),
    Attribute("study", "name of the study"),
    Attribute("description", "what it is about"),
    Attribute("reference_design", "name of the design that changes count from"),
    Attribute("date_created", "when the study ended, ISO 8601, UTC"),
    Attribute("source", "program and version that made the file"),
    Attribute("time_zone_local", "time zone of the place"),
    Attribute("currency", "currency of all money"),
)
