"""Puts a run's record into a results file: the one place where both worlds meet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.grid_models.electrical_grid import BranchKind
from tricell.markets.charge import Source
from tricell.markets.postings import Posting, Receipts
from tricell.markets.settlement import ALL_RATES
from tricell.results import layout
from tricell.results.key_figures import Figure, kpi_table
from tricell.results.reader import open_results
from tricell.results.writer import ResultsWriter
from tricell.scenarios.forecasts import has_errors
from tricell.scenarios.world import World
from tricell.simulators.breaches import Breaches
from tricell.simulators.device_list import DeviceTotals
from tricell.simulators.population import AgentKind, DeviceKind
from tricell.simulators.recorder_simulator import RecorderSimulator
from tricell.simulators.run_totals import RunTotals
from tricell.simulators.slot_block import SlotBlock

Floats = NDArray[np.float64]
Columns = dict[str, Any]

TRADED_AT_LEAST_KWH = 1e-9
POSTED_AT_LEAST = 1e-12
"""Energy (kWh) or amount (EUR) from which a row is worth its place."""
STORED_FIGURES = ("stored_energy_end", "stored_energy_end_no_trading")
"""Key figures that series do not tell: energy in all batteries after the last slot."""
LOAD_DEVICES = (
    DeviceKind.BASE_LOAD,
    DeviceKind.EV,
    DeviceKind.HEAT_PUMP,
    DeviceKind.LOWER_GRID_LOAD,
)
PLANT_DEVICES = (DeviceKind.PV, DeviceKind.WIND, DeviceKind.BIOMASS, DeviceKind.HYDRO)


class ResultsSink:
    """Writes blocks of slots, and the tables at the end.

    Parameters
    ----------
    world : what runs.
    writer : writes the results file.

    Attributes
    ----------
    timings : part of the run -> (seconds, calls); filled by the runner before the end.
    warnings : (kind, element, message, count) of what others have to say.
    told_eur : key figure that only the run knows -> EUR, such as ``lookahead_value``.
    failure : why the run ended early; empty if it did not.
    """

    def __init__(self, world: World, writer: ResultsWriter) -> None:
        self._world = world
        level = world.level_names
        self._rows_of_level = {
            name: np.flatnonzero(np.array(level) == name) for name in layout.AREA_LEVELS
        }
        self.writer = writer
        self.timings: dict[str, tuple[float, int]] = {}
        self.warnings: list[tuple[str, str, str, int]] = []
        self.told_eur: dict[str, float] = {}
        self._recalled: list[tuple[str, str, str, int]] = []
        self._at_start = 0
        self.failure = ""
        self.path: Path | None = None
        labels = [charge.label for charge in world.charges] or [ALL_RATES]
        self._charge_row = {label: row for row, label in enumerate(labels)}

    def begin(self) -> None:
        """Make the files of the run, and count the warnings of its start."""
        self._at_start = len(self.warnings)
        self.warnings += self._recalled
        self.writer.begin()

    def memory(self) -> dict[str, Any]:
        """Return the warnings since the start, which no other process would find again."""
        return {"warnings": self.warnings[self._at_start :]}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from what `memory` returned; before `begin`."""
        self._recalled = [(kind, element, text, n) for kind, element, text, n in memory["warnings"]]

    def write(self, block: SlotBlock) -> None:
        """Append a block of slots and its trades."""
        series = {
            group: {name: each for name, each in values.items() if _is_kept(group, name)}
            for group, values in block.series.items()
            if group != "area"
        }
        area = block.series["area"]
        for name, rows in self._rows_of_level.items():
            if len(rows):
                series[name] = {variable: values[:, rows] for variable, values in area.items()}
        self.writer.write_block(series)
        self._append_trades(block)
        slots = block.first_slot + np.arange(len(block.series["slot"]["verdict"]))
        self._append_postings(block.settlement.postings, self._times(slots))
        self._append_services(block.services)

    def close(self, recorder: RecorderSimulator) -> None:
        """Write the tables at the end and give the file its name."""
        whole = recorder.slots_done == self._world.scenario.time.slots and not self.failure
        if not self.failure and not whole:
            self.failure = "the run ended before its last slot"
        if recorder.slots_done == 0:
            self.path = self.writer.finish("failed")
            return
        totals, last = recorder.totals, self._times(np.array([recorder.slots_done - 1]))
        self._append_postings(totals.period_postings, last)
        tables = {
            "charge": self._charge_table(totals.receipts),
            "receipt": self._receipt_table(totals.receipts),
            "bill": self._bill_table(totals),
            "warning": self._warning_table(totals.breaches),
            "timing": self._timing_table(),
            **_device_totals(totals.devices),
            **self._forecast_table(totals.forecast_errors()),
        }
        self.path = self.writer.finish(
            "complete" if whole else "failed",
            tables,
            failure_message=self.failure,
            derive=lambda file: {"kpi": self._key_figures(file, totals)},
        )

    def _times(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Start of slots, seconds since 1970."""
        time = self._world.scenario.time
        start = time.start_utc.astype("datetime64[s]").astype(np.int64)
        return np.asarray(start + time.step_s * slots)

    def _append_trades(self, block: SlotBlock) -> None:
        """Energy that met in each area's pool, and what crossed to the retailer, per slot."""
        world, money = self._world, block.settlement
        receipts = money.receipts
        retail = np.stack([money.retail_import_kwh, money.retail_export_kwh], axis=1)
        energy = np.concatenate([money.areas.traded_kwh, retail], axis=1)
        costs = {
            "network_charge": receipts.network_eur,
            "energy_cost": receipts.energy_eur,
            "losses": receipts.losses_eur,
            "congestion": receipts.congestion_eur,
            "levy": receipts.levy_eur,
        }
        is_told = energy > TRADED_AT_LEAST_KWH
        for amounts in costs.values():
            is_told |= np.abs(amounts) > POSTED_AT_LEAST
        slot, market = np.nonzero(is_told)
        if not len(slot):
            return
        rows = _market_rows(np.asarray(world.tree.level))
        columns = {name: values[market] for name, values in rows.items()}
        columns |= {name: amounts[slot, market] for name, amounts in costs.items()}
        columns["time"] = self._times(block.first_slot + slot)
        columns["energy"] = energy[slot, market]
        columns["price"] = self._trade_prices(block)[slot, market]
        self.writer.append_trades(columns)

    def _trade_prices(self, block: SlotBlock) -> Floats:
        """Price that sellers receive in every market: the areas', the retailer's, feed-in."""
        slot, layout_of_run = block.series["slot"], self._world.recorder_layout()
        rates = layout_of_run.rates.part(block.first_slot, len(slot["verdict"]))
        retail = slot["retail_price"] - rates.by_source[:, Source.RETAIL]
        ends = [retail - layout_of_run.levy_eur_per_kwh, slot["feed_in_price"]]
        return np.concatenate([block.series["area"]["price"], np.stack(ends, axis=1)], axis=1)

    def _append_postings(self, postings: Sequence[Posting], times: NDArray[np.int64]) -> None:
        """Append the rows of some slots' books."""
        if not postings:
            return
        energy = np.stack([each.energy_kwh for each in postings], axis=1)
        amount = np.stack([each.amount_eur for each in postings], axis=1)
        is_told = (np.abs(energy) > POSTED_AT_LEAST) | (np.abs(amount) > POSTED_AT_LEAST)
        slot, which = np.nonzero(is_told)
        if not len(slot):
            return
        columns = {
            "payer": [int(layout.Party[each.payer.name]) for each in postings],
            "payee": [int(layout.Party[each.payee.name]) for each in postings],
            "kind": [int(layout.PostingKind[each.kind.name]) for each in postings],
            "level": [_posting_level(each.source) for each in postings],
            "charge": [self._charge_row.get(each.charge, layout.NO_ROW) for each in postings],
        }
        self.writer.append_rows(
            layout.POSTING,
            {
                "time": times[slot],
                **{name: np.array(codes)[which] for name, codes in columns.items()},
                "energy": energy[slot, which],
                "amount": amount[slot, which],
            },
        )

    def _append_services(self, services: Mapping[str, Any] | None) -> None:
        """Append what was asked for as a service, in the order of time."""
        if services is None or not len(services["slot"]):
            return
        order = np.argsort(services["slot"], kind="stable")
        told = {name: np.asarray(values)[order] for name, values in services.items()}
        kinds = [int(layout.ServiceKind[str(word).upper()]) for word in told["kind"]]
        times = {"time": self._times(told.pop("slot")), "kind": kinds}
        self.writer.append_rows(layout.SERVICE, told | times)

    def _forecast_table(self, errors: Mapping[str, Floats] | None) -> dict[str, Columns]:
        if errors is None:
            return {}
        return {layout.FORECAST: {"area": self._world.tree.id, **errors}}

    def _charge_table(self, receipts: Receipts) -> Columns:
        charges = {charge.label: charge for charge in self._world.charges}
        return {
            "charge": list(self._charge_row),
            "kind": [
                charges[label].kind if label in charges else label for label in self._charge_row
            ],
            "purpose": [
                charges[label].purpose if label in charges else "network"
                for label in self._charge_row
            ],
            "revenue": [receipts.revenue_eur(label) for label in self._charge_row],
        }

    def _receipt_table(self, receipts: Receipts) -> Columns:
        """List what each agent pays for what, agent by agent."""
        kept = receipts.all
        energy = np.stack([each.kwh for each in kept], axis=1)
        amount = np.stack([each.eur for each in kept], axis=1)
        is_told = (np.abs(energy) > POSTED_AT_LEAST) | (np.abs(amount) > POSTED_AT_LEAST)
        agent, which = np.nonzero(is_told)
        codes = {
            "kind": [int(layout.PostingKind[each.kind.name]) for each in kept],
            "level": [_posting_level(each.source) for each in kept],
            "charge": [self._charge_row.get(each.charge, layout.NO_ROW) for each in kept],
        }
        return {
            "agent": agent,
            **{name: np.array(values)[which] for name, values in codes.items()},
            "energy": energy[agent, which],
            "amount": amount[agent, which],
        }

    def _bill_table(self, totals: RunTotals) -> Columns:
        bills = totals.bills
        asked = {"imbalance": has_errors(self._world.scenario.forecasts)}
        asked["flexibility"] = bool(self._world.scenario.services)
        parts = [part for part in layout.BILL_PARTS if asked.get(part, True)]
        total = sum(bills[part] for part in parts)
        reference = totals.reference.bill_eur
        return {
            "agent": self._world.population.agents.id,
            **{part: bills[part] for part in parts},
            "total": total,
            "no_trading_total": reference,
            "saving": reference - total,
            "bought_p2p": bills["bought_p2p_kwh"],
            "sold_p2p": bills["sold_p2p_kwh"],
            "bought_retail": bills["bought_retail_kwh"],
            "sold_retail": bills["sold_retail_kwh"],
            "unserved": np.zeros(len(reference)),
            "curtailed": totals.curtailed_kwh,
        }

    def _warning_table(self, breaches: Breaches) -> Columns:
        world = self._world
        findings = [
            _Warning(f"grid: {f.table}", f.name, f"{f.message}. {f.treatment}")
            for f in world.findings
        ]
        notes = [_Warning("data", "", note) for note in world.population.notes]
        said = [_Warning(kind, name, text, 0, count) for kind, name, text, count in self.warnings]
        market = world.market
        if market.unresolved_ties:
            text = "orders that tie were left as the solver served them, not in proportion"
            said.append(_Warning("market: ties", "", text, 0, market.unresolved_ties))
        if market.elastic_slots:
            text = "the market had no solution within all limits and breached some at their price"
            said.append(_Warning("market: limits", "", text, 0, market.elastic_slots))
        rows = [*findings, *notes, *said, *_breach_warnings(world, breaches)]
        time = world.scenario.time
        starts = time.start_utc.astype("datetime64[s]").astype(np.int64)
        return {
            "time": [starts + time.step_s * row.first_slot for row in rows],
            "kind": [row.kind for row in rows],
            "element": [row.element for row in rows],
            "message": [row.message for row in rows],
            "count": [row.count for row in rows],
        }

    def _key_figures(self, file: Path, totals: RunTotals) -> Columns:
        """Return the key figures of a file that is whole but for them."""
        stored = totals.stored_kwh, totals.reference.stored_kwh
        extra = [
            Figure(name, float(kwh.sum()), "kWh")
            for name, kwh in zip(STORED_FIGURES, stored, strict=True)
        ]
        extra += [Figure(name, eur, "EUR") for name, eur in self.told_eur.items()]
        with open_results(file) as results:
            return dict(kpi_table(results, extra))

    def _timing_table(self) -> Columns:
        return {
            "part": list(self.timings),
            "seconds": [seconds for seconds, _ in self.timings.values()],
            "calls": [calls for _, calls in self.timings.values()],
        }


def _is_kept(group: str, variable: str) -> bool:
    """Whether a variable is for the file, and not only for what is added up over the run."""
    return layout.SERIES[group].variable(variable) is not None


def _posting_level(source: Source | None) -> int:
    return int(layout.PostingLevel.NONE if source is None else layout.PostingLevel(source + 1))


def _market_rows(level: NDArray[np.int64]) -> Columns:
    """Tell where and between whom energy is traded: areas, purchases and sales at the retailer."""
    pool, retailer = layout.POOL_ROW, layout.RETAILER_ROW
    return {
        "level": np.append(level, [int(layout.Level.RETAIL)] * 2),
        "area": np.append(np.arange(len(level)), [layout.NO_ROW] * 2),
        "seller": np.append(np.full(len(level), pool), [retailer, pool]),
        "buyer": np.append(np.full(len(level), pool), [pool, retailer]),
    }


@dataclass(frozen=True)
class _Warning:
    kind: str
    element: str
    message: str
    first_slot: int = 0
    count: int = 1


def _device_totals(devices: DeviceTotals | None) -> dict[str, Columns]:
    """Tell what devices did over the run, as more columns of their table."""
    if devices is None:
        return {}
    return {
        layout.DEVICE: {
            "energy": devices.energy_kwh,
            "unmet": devices.unmet_kwh,
            "departures": devices.departures,
            "short_departures": devices.short_departures,
            "discomfort": devices.discomfort_kh,
        }
    }


def _breach_warnings(world: World, breaches: Breaches) -> list[_Warning]:
    """Name every element whose limit the market could not keep, with kW and price."""
    hours, problem = world.scenario.time.step_hours, world.market.problem
    warnings = []
    for edge in np.flatnonzero(breaches.edge_slots):
        price = problem.flow_breach_eur_per_kwh[edge]
        warnings.append(
            _Warning(
                "limit: power",
                _edge_name(world, int(edge)),
                f"beyond its rating by up to {breaches.flow_kw[edge]:,.1f} kW, "
                f"{breaches.flow_kw_sum[edge] * hours:,.1f} kWh in all, "
                f"accepted at {price:g} EUR/kWh because firm demand cannot be met otherwise",
                int(breaches.edge_first[edge]),
                int(breaches.edge_slots[edge]),
            )
        )
    node_of_bus = world.grid.node_of_bus
    for node in np.flatnonzero(breaches.node_slots):
        buses = np.flatnonzero(node_of_bus == node)
        name = world.names.bus[buses[0]] if len(buses) else f"node {node}"
        # Near 1 pu a breach of squared voltage is twice that of voltage.
        warnings.append(
            _Warning(
                "limit: voltage",
                name,
                f"outside its voltage band by up to {breaches.voltage2[node] / 2.0:.4f} pu, "
                f"accepted at {world.scenario.limits.voltage_breach_eur_per_pu_h:g} EUR/(pu h)",
                int(breaches.node_first[node]),
                int(breaches.node_slots[node]),
            )
        )
    return warnings


def _edge_name(world: World, edge: int) -> str:
    """Names of the lines or transformers that make up an edge."""
    grid, names = world.grid, world.names
    named = []
    for branch in np.flatnonzero(world.linear.branch_edge == edge):
        kind, row = BranchKind(int(grid.branch_kind[branch])), int(grid.branch_row[branch])
        table = {
            BranchKind.LINE: names.line,
            BranchKind.TRAFO: names.trafo,
            BranchKind.TRAFO3W: names.trafo[len(world.net.trafo) :],
        }.get(kind)
        named.append(table[row] if table is not None else f"{kind.name.lower()} {row}")
    return " + ".join(named)


def entity_tables(world: World) -> Mapping[str, Columns]:
    """Return the tables of agents, areas, buses, lines, transformers and, if any, of devices."""
    tables = {
        "agent": _agent_table(world),
        "area": _area_table(world),
        "bus": _bus_table(world),
        "line": _line_table(world),
        "trafo": _trafo_table(world),
    }
    return tables | ({layout.DEVICE: _device_table(world)} if len(world.devices) else {})


def _agent_table(world: World) -> Columns:
    population = world.population
    area = world.areas.agent_area
    load = sum(population.rated_kw_by_agent(kind) for kind in LOAD_DEVICES)
    strategies = _strategies(world)
    return {
        "agent": population.agents.id,
        "area": [world.tree.id[a] for a in area],
        "level": [world.level_names[a] for a in area],
        "bus": [world.names.bus[row] for row in population.agents.bus_row],
        "class": [AgentKind(int(kind)).label for kind in population.agents.kind],
        "strategy": strategies,
        "load_kw": load,
        "pv_kwp": population.pv_kwp,
        "battery_kwh": population.battery_kwh,
        "battery_kw": population.battery_kw,
    }


def _strategies(world: World) -> list[str]:
    """Tell how what everybody stores bids; empty for who stores nothing."""
    participants = world.scenario.participants
    has_device = np.isin(np.arange(len(world.population.agents.id)), world.devices.agent)
    is_rule = participants.strategy.kind == "rule"
    of_battery = participants.battery.kind if is_rule else participants.strategy.kind
    return [
        of_battery if battery else participants.strategy.kind if device else ""
        for battery, device in zip(world.population.battery_kwh > 0.0, has_device, strict=True)
    ]


def _device_table(world: World) -> Columns:
    devices = world.devices
    area = world.areas.agent_area[devices.agent]
    return {
        "device": devices.name,
        "agent": [world.population.agents.id[agent] for agent in devices.agent],
        "area": [world.tree.id[each] for each in area],
        "kind": devices.kind,
        "charge_kw": devices.charge_kw,
        "discharge_kw": devices.discharge_kw,
        "capacity_kwh": devices.capacity_kwh,
    }


def _area_table(world: World) -> Columns:
    tree, net = world.tree, world.net
    names = {
        "trafo": world.names.trafo,
        "trafo3w": world.names.trafo[len(net.trafo) :],
        "line": world.names.line,
    }
    feeders = [
        layout.SEPARATOR.join(
            names[table][row] if table in names else f"{table} {row}" for table, row in connections
        )
        for connections in tree.connection_trafos
    ]
    vn_kv = net.bus["vn_kv"].to_numpy(dtype=np.float64)
    nominal = [float(vn_kv[tree.area_of_bus == area].max(initial=0.0)) for area in range(len(tree))]
    return {
        "area": tree.id,
        "name": tree.id,
        "level": world.level_names,
        "parent": ["" if parent < 0 else tree.id[parent] for parent in tree.parent],
        "trafo": feeders,
        "network_model": ["meshed" if m else "radial" for m in world.linear.area_meshed],
        "n_bus": np.bincount(_area_of_bus(world), minlength=len(tree)),
        "n_agent": np.bincount(world.areas.agent_area, minlength=len(tree)),
        "nominal_kv": nominal,
        "rating": np.where(np.isfinite(tree.rating_kva), tree.rating_kva, np.nan),
    }


def _area_ids(world: World, bus_rows: NDArray[np.int64]) -> list[str]:
    return [world.tree.id[area] for area in _area_of_bus(world)[bus_rows]]


def _area_of_bus(world: World) -> NDArray[np.int64]:
    """Area of every bus; those above the top area's transformers count as its own."""
    return np.maximum(world.tree.area_of_bus, 0)


def _bus_table(world: World) -> Columns:
    net, node = world.net, world.grid.node_of_bus
    x, y = _positions(net)
    low, high = np.append(world.limits.vm_min_pu, np.nan), np.append(world.limits.vm_max_pu, np.nan)
    return {
        "bus": world.names.bus,
        "name": world.names.bus,
        "area": _area_ids(world, np.arange(len(node))),
        "nominal_kv": net.bus["vn_kv"].to_numpy(dtype=np.float64),
        "vm_min": low[node],
        "vm_max": high[node],
        "x": x,
        "y": y,
    }


def _positions(net: Any) -> tuple[Floats, Floats]:
    """Coordinates of the buses from pandapower's GeoJSON points; nan where there are none."""
    points = np.full((len(net.bus), 2), np.nan)
    if "geo" in net.bus:
        for row, text in enumerate(net.bus["geo"]):
            if isinstance(text, str) and text:
                points[row] = json.loads(text)["coordinates"][:2]
    return points[:, 0], points[:, 1]


def _rows(net: Any, table: str, column: str) -> NDArray[np.int64]:
    return np.asarray(net.bus.index.get_indexer(net[table][column]), dtype=np.int64)


def _limit_percent(world: World, branch: NDArray[np.int64]) -> Floats:
    return np.append(world.limits.loading_percent, np.nan)[branch]


def _line_table(world: World) -> Columns:
    line = world.net.line
    start, end = _rows(world.net, "line", "from_bus"), _rows(world.net, "line", "to_bus")
    current = line["max_i_ka"] * line["df"] * line["parallel"]
    return {
        "line": world.names.line,
        "name": world.names.line,
        "area": _area_ids(world, start),
        "from_bus": [world.names.bus[row] for row in start],
        "to_bus": [world.names.bus[row] for row in end],
        "length": line["length_km"].to_numpy(dtype=np.float64),
        "rated_current": current.to_numpy(dtype=np.float64),
        "loading_max": _limit_percent(world, world.grid.line_branch),
    }


def _trafo_table(world: World) -> Columns:
    """List transformers with two windings, then those with three by high and low end."""
    net = world.net
    two, three = net.trafo, net.trafo3w
    high = np.concatenate([_rows(net, "trafo", "hv_bus"), _rows(net, "trafo3w", "hv_bus")])
    low = np.concatenate([_rows(net, "trafo", "lv_bus"), _rows(net, "trafo3w", "lv_bus")])
    rating = [*(two["sn_mva"] * two["df"] * two["parallel"]), *three["sn_hv_mva"]]
    set_points = np.full(len(high), np.nan)
    for tap in world.controller.tap_changers:
        set_points[tap.row] = tap.set_point_pu
    return {
        "trafo": world.names.trafo,
        "name": world.names.trafo,
        "area": _area_ids(world, low),
        "hv_bus": [world.names.bus[row] for row in high],
        "lv_bus": [world.names.bus[row] for row in low],
        "rating": np.array(rating, dtype=np.float64) * 1e3,
        "loading_max": _limit_percent(world, world.grid.transformer_branch),
        **{tap: _whole(two, three, tap) for tap in ("tap_min", "tap_max", "tap_neutral")},
        "vm_set": set_points,
    }


def _whole(two: Any, three: Any, column: str) -> NDArray[np.int64]:
    values = np.concatenate([t[column].to_numpy(dtype=np.float64) for t in (two, three)])
    return np.where(np.isnan(values), 0.0, values).astype(np.int64)
