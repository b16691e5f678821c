"""One simulation of a study: from a scenario to what bills and indicators need of it.

The record of a run is far smaller than a results file and is kept by its content hash, so that no
run is simulated twice. A record is written beside its place and renamed: it is there as a whole or
not at all.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from time import perf_counter
from typing import Any, get_type_hints

import h5py
import numpy as np
from numpy.typing import NDArray

from tricell.errors import SimulatorError
from tricell.grid_models.area_tree import LEVEL_NAMES
from tricell.markets.charge import (
    Bools,
    Calendar,
    Charge,
    Customers,
    MeterData,
    SlotCharge,
    Source,
)
from tricell.markets.settlement import Settlement
from tricell.scenarios.co_simulation import start_co_simulation
from tricell.scenarios.run_identity import run_hash
from tricell.scenarios.runner import provenance
from tricell.scenarios.schema import Scenario
from tricell.scenarios.world import World, build_world
from tricell.simulators.no_trading import LoneHouseholds
from tricell.simulators.recorder_simulator import RecorderSimulator
from tricell.simulators.slot_block import SlotBlock

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

RECORD_VERSION = 3
"""Raised whenever a record holds something else than before."""
CUSTOMER_PREFIX = "customers."
SETTLED_TOLERANCE_EUR = 1e-6
PER_CUSTOMER = (
    "with_battery",
    "participates",
    "load_kwh",
    "curtailed_kwh",
    "net_kw",
    "bought_kwh",
    "no_trading_net_kw",
    "energy_p2p_eur",
    "export_eur",
    "congestion_eur",
    "redispatch_eur",
    "border_eur",
)
"""Fields of a record whose last axis is that of the customers."""
PACKING: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


@dataclass(frozen=True)
class RunRecord:
    """What a run leaves behind; T slots, N customers, A areas.

    Attributes
    ----------
    start : start of every slot, UTC, datetime64[s], shape (T,).
    hours, zone : length of a slot, h, and time zone of the place.
    customers : who is billed.
    area_id, area_trafo : names of the areas and of the transformers that feed them.
    area_rating_kva : rating of these; nan for none.
    with_battery, participates : per customer.
    load_kwh, curtailed_kwh : per customer, over the run.
    net_kw : shape (T, N), positive imports.
    bought_kwh : shape (4, T, N), imported energy by where it was bought.
    no_trading_net_kw : shape (T, N), without any market.
    area_net_kw, area_loss_kw : shape (T, A).
    wholesale_price, retail_price, feed_in_price : shape (T,), EUR/kWh; retail without charges.
    congestion_rent_eur : what the network operator got because lines were full, shape (T,).
    energy_p2p_eur, export_eur, congestion_eur, redispatch_eur : per customer, over the run;
        positive is paid.
    border_eur : per customer, charges that need the flows between areas and not only the meters.
    peak_loading_percent : highest loading of the transformers that feed each area; nan for none.
    overload_hours : time that these are above their limit, per area.
    line_overload_hours, voltage_hours : of the lines and buses of each area, summed, h.
    vm_min, vm_max : extreme voltages of each area, pu.
    limits_met_share : share of the slots in which the AC power flow keeps all limits.
    provenance : packages, inputs, solver and machine, as JSON.
    seconds : computing time.
    """

    start: NDArray[np.datetime64]
    hours: float
    zone: str
    customers: Customers
    area_id: tuple[str, ...]
    area_trafo: tuple[str, ...]
    area_rating_kva: Floats
    with_battery: Bools
    participates: Bools
    load_kwh: Floats
    curtailed_kwh: Floats
    net_kw: Floats
    bought_kwh: Floats
    no_trading_net_kw: Floats
    area_net_kw: Floats
    area_loss_kw: Floats
    wholesale_price: Floats
    retail_price: Floats
    feed_in_price: Floats
    congestion_rent_eur: Floats
    energy_p2p_eur: Floats
    export_eur: Floats
    congestion_eur: Floats
    redispatch_eur: Floats
    border_eur: Floats
    peak_loading_percent: Floats
    overload_hours: Floats
    line_overload_hours: Floats
    voltage_hours: Floats
    vm_min: Floats
    vm_max: Floats
    limits_met_share: float
    provenance: str
    seconds: float

    @property
    def calendar(self) -> Calendar:
        """The slots."""
        return Calendar(self.start, self.hours, self.zone)

    @property
    def meters(self) -> MeterData:
        """What the charges are billed on."""
        return MeterData(
            calendar=self.calendar,
            customers=self.customers,
            net_kw=self.net_kw,
            bought_kwh=self.bought_kwh,
            area_net_kw=self.area_net_kw,
            area_loss_kw=self.area_loss_kw,
            wholesale_price=self.wholesale_price,
            congestion_rent_eur=self.congestion_rent_eur,
        )

    @property
    def no_trading_meters(self) -> MeterData:
        """What the meters would show without any market; all of it is bought from the retailer."""
        return MeterData(
            calendar=self.calendar,
            customers=self.customers,
            net_kw=self.no_trading_net_kw,
            wholesale_price=self.wholesale_price,
            congestion_rent_eur=np.zeros(len(self.start)),
        )

    @property
    def retail_kwh(self) -> Floats:
        """Energy bought from the retailer, shape (T, N)."""
        return np.asarray(self.bought_kwh[Source.RETAIL])


class RunCache:
    """Records of runs in a folder, by content hash.

    Parameters
    ----------
    folder : is made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, run: str) -> Path:
        """Return the file of a run."""
        return self.folder / f"{run}.h5"

    def get(self, run: str) -> RunRecord | None:
        """Return a record; None if there is none that can be read."""
        try:
            return read_record(self.path(run))
        except (OSError, KeyError, ValueError):
            return None

    def put(self, run: str, record: RunRecord) -> None:
        """Keep a record."""
        write_record(self.path(run), record)


@dataclass(frozen=True)
class Obtained:
    """A record with where it is from.

    Attributes
    ----------
    run : its content hash.
    whole : the record of everybody.
    record : that of the customers asked for.
    reused : whether it was there before.
    """

    run: str
    whole: RunRecord
    record: RunRecord
    reused: bool


def obtain(scenario: Scenario, cache: RunCache, levels: Sequence[str] = ()) -> Obtained:
    """Return the record of a run: the one kept, or that of a simulation.

    Parameters
    ----------
    scenario, cache : what to run, and where records are kept.
    levels : of the network at which the customers asked for are connected; empty for all.

    Raises
    ------
    TricellError
        If the scenario cannot be simulated, or has no customer at these levels.
    """
    run = run_hash(scenario, RECORD_VERSION)
    whole = cache.get(run)
    reused = whole is not None
    if whole is None:
        whole = simulate(scenario)
        cache.put(run, whole)
    return Obtained(run, whole, of_levels(whole, levels), reused)


def of_levels(record: RunRecord, levels: Sequence[str]) -> RunRecord:
    """Return the record of the customers at some levels; what speaks of areas stays as it was.

    The rent of congested lines counts for them by their share of all imported energy.

    Parameters
    ----------
    record : of N customers.
    levels : those connected at one of them stay; empty for all.

    Raises
    ------
    SimulatorError
        If there is no such customer.
    """
    level = np.array([LEVEL_NAMES[int(number)] for number in record.customers.level])
    chosen = np.isin(level, levels) if levels else np.ones(len(level), np.bool_)
    if chosen.all():
        return record
    if not chosen.any():
        raise SimulatorError(
            f"`billed_levels`: there is no customer at the level {', '.join(levels)}; levels with "
            f"customers: {', '.join(sorted(set(level.tolist())))}"
        )
    imported = np.maximum(record.net_kw, 0.0).sum(axis=0)
    total = imported.sum()
    rent_share = imported[chosen].sum() / total if total > 0.0 else 0.0
    kept = {name: getattr(record, name)[..., chosen] for name in PER_CUSTOMER}
    return replace(
        record,
        customers=_chosen_customers(record.customers, chosen),
        congestion_rent_eur=record.congestion_rent_eur * rent_share,
        **kept,
    )


def _chosen_customers(customers: Customers, chosen: Bools) -> Customers:
    areas = ("area_level", "area_parent")
    rows = np.flatnonzero(chosen)
    values: dict[str, Any] = {}
    for name in (field.name for field in fields(customers) if field.name not in areas):
        value = getattr(customers, name)
        is_text = isinstance(value, tuple)
        values[name] = tuple(value[row] for row in rows) if is_text else value[rows]
    return replace(customers, **values)


def simulate(scenario: Scenario) -> RunRecord:
    """Simulate a scenario and return its record.

    Raises
    ------
    TricellError
        If something cannot be used or fails.
    """
    started = perf_counter()
    world = build_world(scenario)
    sink = RecordSink(world)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"mosaik($|\.|_)")
        co_simulation = start_co_simulation(world, sink)
        try:
            co_simulation.run()
            if co_simulation.recorder.slots_done < scenario.time.slots:
                raise SimulatorError("mosaik ended the run before its last slot")
            co_simulation.recorder.flush()
        finally:
            co_simulation.shut_down()
    return sink.record(perf_counter() - started)


class RecordSink:
    """Takes the recorder's blocks and makes a record of them.

    Parameters
    ----------
    world : what runs.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._hours = world.scenario.time.step_hours
        self._series: dict[str, list[Floats]] = {}
        self._sums: dict[str, Any] = {}
        self._alone = LoneHouseholds(world.population.batteries)
        self._fed_by = _feeding_trafos(world)
        self._vm_min = np.full(len(world.tree), np.inf)
        self._vm_max = np.full(len(world.tree), -np.inf)
        self._peak_loading = np.full(len(world.tree), np.nan)

    def write(self, block: SlotBlock) -> None:
        """Take a block of slots."""
        agent, area, slot = (block.series[name] for name in ("agent", "area", "slot"))
        self._keep("net_kw", agent["p_net"])
        self._keep("area_net_kw", area["p_import"])
        self._keep("area_loss_kw", area["loss"])
        self._keep("wholesale_price", slot["wholesale_price"])
        self._keep("feed_in_price", slot["feed_in_price"])
        self._keep("congestion_rent_eur", block.settlement.congestion_rent_eur)
        self._keep("bought_kwh", np.moveaxis(block.settlement.bought_kwh, 1, 0))
        earns = slot["feed_in_price"][:, None]
        alone = self._alone.net_kw(agent["p_load"], agent["p_pv_available"], earns, self._hours)
        self._keep("no_trading_net_kw", alone)
        load = np.maximum(agent["p_load"], 0.0) + np.maximum(-agent["p_pv"], 0.0)
        self._add("load_kwh", load.sum(axis=0) * self._hours)
        self._add("curtailed_kwh", agent["p_curtailed"].sum(axis=0) * self._hours)
        self._add("limits_met", float((slot["verdict"] < 2).sum()))
        for name, amount in money_by_kind(block.settlement).items():
            self._add(name, amount)
        self._add("settled", block.settlement.network + block.settlement.losses)
        self._grid(block)

    def close(self, recorder: RecorderSimulator) -> None:
        """End the record; whether all slots are in is for the caller to see."""

    def record(self, seconds: float) -> RunRecord:
        """Return the record of all blocks."""
        world = self._world
        series = {name: np.concatenate(parts) for name, parts in self._series.items()}
        series["bought_kwh"] = np.moveaxis(series["bought_kwh"], 0, 1).copy()
        met = self._sums.pop("limits_met") / len(series["net_kw"])
        settled = self._sums.pop("settled")
        rating = np.asarray(world.tree.rating_kva, np.float64)
        record = RunRecord(
            border_eur=np.zeros(len(settled)),
            start=world.calendar.start.astype("datetime64[s]"),
            hours=self._hours,
            zone=world.calendar.zone,
            customers=world.customers,
            area_id=tuple(world.tree.id),
            area_trafo=_feeder_names(world),
            area_rating_kva=np.where(np.isfinite(rating), rating, np.nan),
            with_battery=world.population.battery_kwh > 0.0,
            participates=np.asarray(world.population.takes_part, np.bool_),
            retail_price=supply_price(world),
            peak_loading_percent=self._peak_loading,
            vm_min=np.where(np.isfinite(self._vm_min), self._vm_min, np.nan),
            vm_max=np.where(np.isfinite(self._vm_max), self._vm_max, np.nan),
            limits_met_share=float(met),
            provenance=json.dumps(provenance(world), ensure_ascii=False),
            seconds=seconds,
            **series,
            **self._sums,
        )
        return replace(record, border_eur=border_fees(world.charges, record.meters, settled))

    def _keep(self, name: str, values: Floats) -> None:
        self._series.setdefault(name, []).append(np.array(values, np.float64))

    def _add(self, name: str, values: Any) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + values

    def _grid(self, block: SlotBlock) -> None:
        """Take extremes and hours over limits, by area."""
        world, areas = self._world, len(self._world.tree)
        limits, grid = world.limits, world.grid
        loading = block.series["trafo"]["loading"]
        over = np.zeros(areas)
        limit = np.append(limits.loading_percent, np.inf)[grid.transformer_branch]
        beyond = loading > limit + limits.loading_tolerance_percent
        for area, rows in enumerate(self._fed_by):
            if len(rows):
                highest = float(np.nanmax(loading[:, rows]))
                self._peak_loading[area] = np.fmax(self._peak_loading[area], highest)
                over[area] = beyond[:, rows].any(axis=1).sum() * self._hours
        self._add("overload_hours", over)
        self._add("line_overload_hours", self._line_hours(block))
        vm = block.series["bus"]["vm"]
        node = grid.node_of_bus
        low = np.append(limits.vm_min_pu, -np.inf)[node] - limits.voltage_tolerance_pu
        high = np.append(limits.vm_max_pu, np.inf)[node] + limits.voltage_tolerance_pu
        outside = ((vm < low) | (vm > high)).sum(axis=0) * self._hours
        area_of_bus = np.maximum(world.tree.area_of_bus, 0)
        self._add("voltage_hours", np.bincount(area_of_bus, outside, minlength=areas))
        np.fmin.at(self._vm_min, area_of_bus, np.where(np.isnan(vm), np.inf, vm).min(axis=0))
        np.fmax.at(self._vm_max, area_of_bus, np.where(np.isnan(vm), -np.inf, vm).max(axis=0))

    def _line_hours(self, block: SlotBlock) -> Floats:
        world, limits = self._world, self._world.limits
        limit = np.append(limits.loading_percent, np.inf)[world.grid.line_branch]
        beyond = block.series["line"]["loading"] > limit + limits.loading_tolerance_percent
        start = world.net.bus.index.get_indexer(world.net.line["from_bus"])
        area = np.maximum(world.tree.area_of_bus[start], 0)
        hours = beyond.sum(axis=0) * self._hours
        return np.asarray(np.bincount(area, hours, minlength=len(world.tree)), np.float64)


def write_record(path: Path, record: RunRecord) -> None:
    """Write a record; the file gets its name when it is whole."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with h5py.File(part, "w") as file:
        file.attrs["record_version"] = RECORD_VERSION
        for field in fields(record):
            if field.name != "customers":
                _store(file, field.name, getattr(record, field.name))
        for field in fields(record.customers):
            _store(file, CUSTOMER_PREFIX + field.name, getattr(record.customers, field.name))
    os.replace(part, path)


def read_record(path: Path) -> RunRecord:
    """Read a record.

    Raises
    ------
    OSError, KeyError, ValueError
        If there is no such file, or if it is not a record of this version.
    """
    with h5py.File(path, "r") as file:
        if file.attrs["record_version"] != RECORD_VERSION:
            raise ValueError(f"{path} holds a record of another version")
        customers = Customers(**_loaded(file, Customers, CUSTOMER_PREFIX))
        return RunRecord(customers=customers, **_loaded(file, RunRecord, ""))


def _store(file: h5py.File, name: str, value: Any) -> None:
    match value:
        case str():
            file.create_dataset(name, data=value, dtype=h5py.string_dtype())
        case tuple():
            file.create_dataset(name, data=list(value), dtype=h5py.string_dtype())
        case np.ndarray() if value.dtype.kind == "M":
            file.create_dataset(name, data=value.astype("datetime64[s]").astype(np.int64))
        case np.ndarray():
            file.create_dataset(name, data=value, **(PACKING if value.size else {}))
        case _:
            file.attrs[name] = value


def _loaded(file: h5py.File, kind: type[Any], prefix: str) -> dict[str, Any]:
    readers: dict[str, Callable[[Any], Any]] = {
        name: _reader(hint) for name, hint in get_type_hints(kind).items() if hint is not Customers
    }
    return {
        name: read(file.attrs[name] if name in file.attrs else file[prefix + name])
        for name, read in readers.items()
    }


def _reader(hint: Any) -> Callable[[Any], Any]:
    if hint is float:
        return float
    if hint is str:
        return lambda dataset: str(dataset.asstr()[()])
    if hint == tuple[str, ...]:
        return lambda dataset: tuple(dataset.asstr()[:])
    if hint == NDArray[np.datetime64]:
        return lambda dataset: dataset[:].astype("datetime64[s]")
    return lambda dataset: dataset[...]


def _feeding_trafos(world: World) -> list[Indices]:
    """Return the columns of the transformer series that feed each area."""
    first = {"trafo": 0, "trafo3w": len(world.net.trafo)}
    return [
        np.array([first[table] + row for table, row in feeders if table in first], np.int64)
        for feeders in world.tree.connection_trafos
    ]


def _feeder_names(world: World) -> tuple[str, ...]:
    names = world.names.trafo
    return tuple(" ".join(names[row] for row in rows) for rows in _feeding_trafos(world))


def supply_price(world: World) -> Floats:
    """Return the retail price without network charges, EUR/kWh, shape (T,)."""
    charge = np.broadcast_to(world.rates.by_source[:, Source.RETAIL], world.prices.retail.shape)
    return np.asarray(world.prices.retail - charge)


def money_by_kind(money: Settlement) -> dict[str, Floats]:
    """Return what customers pay in a block beside charges and the retailer, EUR, shape (N,)."""
    return {
        "energy_p2p_eur": money.energy_p2p,
        "export_eur": money.export,
        "congestion_eur": money.congestion,
        "redispatch_eur": money.redispatch,
    }


def border_fees(charges: Sequence[Charge], meters: MeterData, settled_eur: Floats) -> Floats:
    """Return what the settlement bills of charges beyond what the meters tell, EUR, shape (N,).

    Parameters
    ----------
    charges : of the run.
    meters : of the run.
    settled_eur : what customers paid slot by slot for the network and losses, shape (N,).
    """
    by_meters = np.zeros(len(settled_eur))
    for charge in charges:
        if isinstance(charge, SlotCharge) and charge.purpose == "network":
            by_meters += charge.bill_eur(meters)
    rest = settled_eur - by_meters
    return np.where(np.abs(rest) > SETTLED_TOLERANCE_EUR, rest, 0.0)
