"""What there is to say about a run in short, read from its results file.

Reading takes little memory: run-wide numbers per slot, areas and tap positions in blocks, and
the small tables; never a whole series of agents or buses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tricell.results import layout
from tricell.results.layout import PowerFlowMethod, Verdict
from tricell.results.reader import Results, open_results

SILENT_KWH = 1e-6
"""Energy below this is a rounding error and counts as none."""
MATTERS_EUR = 1e-6
"""From this gain on it matters which share of it a market reaches."""
GAIN_EUR = 1e-9
"""A saving below this is a rounding error and no gain."""


@dataclass(frozen=True)
class LevelSummary:
    """What happened on one level; the price is weighted by energy, None if nothing was traded."""

    level: str
    areas: int
    traded_kwh: float
    residual_kwh: float
    unsold_kwh: float
    unserved_kwh: float
    price_eur_per_kwh: float | None


@dataclass(frozen=True)
class Extreme:
    """The worst value of a run: its element and its slot (UTC)."""

    value: float
    element: str
    time: pd.Timestamp


@dataclass(frozen=True)
class GridSummary:
    """The grid's limits over the run; None where the file does not tell."""

    vm_min: Extreme | None
    vm_max: Extreme | None
    line: Extreme | None
    trafo: Extreme | None
    slots_met: int | None
    slots_met_by_reclearing: int | None
    slots_broken: int | None
    slots_without_solution: int | None
    first_broken: pd.Timestamp | None
    reclearings: int | None
    power_flow_fall_backs: int | None
    lp_cold_starts: int | None
    breach_kwh: float | None
    breach_cost_eur: float | None
    ac_gap_pu: float | None
    ac_gap_percent: float | None
    tap_moves: int | None


@dataclass(frozen=True)
class BillSummary:
    """All bills against what the same agents would have paid without trading."""

    agents: int
    total_eur: float
    no_trading_total_eur: float
    saving_eur: float
    gaining_share: float
    losing_agents: int
    median_saving_eur: float
    worst_agent: str
    worst_saving_eur: float
    stored_kwh: float | None = None
    stored_no_trading_kwh: float | None = None

    @property
    def saving_share(self) -> float | None:
        """Saving over the bills without trading; None if those are not a cost."""
        if self.no_trading_total_eur <= 0.0:
            return None
        return self.saving_eur / self.no_trading_total_eur


@dataclass(frozen=True)
class DeviceSummary:
    """What all devices of a kind did over the run.

    Attributes
    ----------
    kind : such as vehicle.
    count : how many there are.
    energy_kwh : drawn less given back.
    unmet_kwh : needs that were not met.
    departures, short_departures : of vehicles, all and those that lacked energy; 0 for others.
    """

    kind: str
    count: int
    energy_kwh: float
    unmet_kwh: float
    departures: int
    short_departures: int


@dataclass(frozen=True)
class FlexibilitySummary:
    """Devices, plans, forecasts and services of a run; figures are None where there are none.

    Attributes
    ----------
    devices : of every kind.
    lookahead_value_eur, lookahead_regret_eur : what looking ahead saved, and forecasts lost.
    forecast_wape : error of the forecasts of all power.
    imbalance_kwh, imbalance_eur : what meters told beside contracts, and what that cost.
    asked_kwh, delivered_kwh, services_eur : of services.
    """

    devices: tuple[DeviceSummary, ...]
    lookahead_value_eur: float | None
    lookahead_regret_eur: float | None
    forecast_wape: float | None
    imbalance_kwh: float | None
    imbalance_eur: float | None
    asked_kwh: float | None
    delivered_kwh: float | None
    services_eur: float | None

    def __bool__(self) -> bool:
        return bool(self.devices) or any(
            getattr(self, each.name) is not None for each in fields(self) if each.name != "devices"
        )


@dataclass(frozen=True)
class ChargeSummary:
    """What all agents pay for one network charge over the run."""

    name: str
    kind: str
    purpose: str
    revenue_eur: float


@dataclass(frozen=True)
class MarketSummary:
    """What markets level by level achieve, beside the joint optimum of the same orders."""

    gain_eur: float
    optimal_gain_eur: float
    welfare_share: float | None
    slots_below_99_percent: int
    redispatch_kwh: float
    redispatch_cost_eur: float
    operators_keep_eur: float
    unfinished_markets: int


@dataclass(frozen=True)
class TimingSummary:
    """Time spent in one part of the run."""

    part: str
    seconds: float
    share: float
    ms_per_slot: float


@dataclass(frozen=True)
class WarningSummary:
    """Warnings of one kind."""

    kind: str
    count: int
    elements: int
    first: pd.Timestamp
    message: str


@dataclass(frozen=True)
class RunSummary:
    """Everything that the terminal shows about a run."""

    path: Path
    run_id: str
    status: str
    failure_message: str
    slots: int
    slots_planned: int
    first: pd.Timestamp | None
    last: pd.Timestamp | None
    levels: tuple[LevelSummary, ...]
    market: MarketSummary | None
    grid: GridSummary | None
    bills: BillSummary | None
    flexibility: FlexibilitySummary
    charges: tuple[ChargeSummary, ...]
    timings: tuple[TimingSummary, ...]
    warnings: tuple[WarningSummary, ...]


def summarise(path: Path | str) -> RunSummary:
    """Read the summary of a run from its results file.

    Raises
    ------
    ResultsError
        If the file cannot be read.
    """
    with open_results(path) as results:
        return summary_of(results)


def summary_of(results: Results) -> RunSummary:
    """Read the summary of a run from its open results file."""
    attributes = results.attrs
    times = _run_times(results)
    return RunSummary(
        path=results.path,
        run_id=str(attributes["run_id"]),
        status=results.status,
        failure_message=str(attributes.get("failure_message", "")),
        slots=len(times),
        slots_planned=int(attributes["number_of_slots"]),
        first=times[0] if len(times) else None,
        last=times[-1] if len(times) else None,
        levels=tuple(
            _level(results, level) for level in layout.AREA_LEVELS if level in results.groups
        ),
        market=_market(results),
        grid=_grid(results, int(attributes["time_step_s"]) / 3600.0),
        bills=_bills(results),
        flexibility=_flexibility(results),
        charges=_charges(results),
        timings=_timings(results, len(times)),
        warnings=_warnings(results),
    )


def _run_times(results: Results) -> pd.DatetimeIndex:
    if not results.groups:
        return pd.DatetimeIndex([], tz="UTC")
    has_slots = layout.SLOT in results.groups
    return results.times(layout.SLOT if has_slots else results.groups[0])


def _level(results: Results, level: str) -> LevelSummary:
    traded, value = _traded(results, level)
    return LevelSummary(
        level=level,
        areas=len(results.ids(level)),
        traded_kwh=traded,
        residual_kwh=_total(results, level, "energy_residual"),
        unsold_kwh=_total(results, level, "energy_unsold"),
        unserved_kwh=_total(results, level, "energy_unserved"),
        price_eur_per_kwh=value / traded if value is not None and traded > SILENT_KWH else None,
    )


def _total(results: Results, group: str, variable: str) -> float:
    if variable not in results.variables(group):
        return float("nan")
    return sum(float(np.nansum(block)) for block in results.blocks(group, variable))


def _traded(results: Results, level: str) -> tuple[float, float | None]:
    """Give the traded energy (kWh) and its value at the areas' prices (EUR), None if unpriced."""
    traded = _total(results, level, "energy_traded")
    if not {"energy_traded", "price"} <= set(results.variables(level)):
        return traded, None
    pairs = zip(results.blocks(level, "energy_traded"), results.blocks(level, "price"), strict=True)
    return traded, sum(float(np.nansum(energy * price)) for energy, price in pairs)


def _grid(results: Results, slot_hours: float) -> GridSummary | None:
    if layout.SLOT not in results.groups:
        return None
    slots = _SlotNumbers(results)
    verdict = slots.get("verdict")
    return GridSummary(
        vm_min=slots.extreme("vm_min", "bus", np.nanargmin),
        vm_max=slots.extreme("vm_max", "bus", np.nanargmax),
        line=slots.extreme("line_loading_max", "line", np.nanargmax),
        trafo=slots.extreme("trafo_loading_max", "trafo", np.nanargmax),
        slots_met=_count(verdict, (Verdict.LIMITS_MET, Verdict.LIMITS_MET_BY_RECLEARING)),
        slots_met_by_reclearing=_count(verdict, (Verdict.LIMITS_MET_BY_RECLEARING,)),
        slots_broken=_count(verdict, (Verdict.LIMITS_BROKEN,)),
        slots_without_solution=_count(verdict, (Verdict.NO_AC_SOLUTION,)),
        first_broken=slots.first(verdict, (Verdict.LIMITS_BROKEN, Verdict.NO_AC_SOLUTION)),
        reclearings=_whole(slots.total("reclearings")),
        power_flow_fall_backs=_count(
            slots.get("power_flow_method"), (PowerFlowMethod.NEWTON, PowerFlowMethod.FAILED)
        ),
        lp_cold_starts=_whole(slots.total("lp_cold_starts")),
        breach_kwh=_scaled(slots.total("breach_kw"), slot_hours),
        breach_cost_eur=slots.total("breach_cost"),
        ac_gap_pu=slots.largest("ac_gap_pu"),
        ac_gap_percent=slots.largest("ac_gap_percent"),
        tap_moves=_tap_moves(results),
    )


class _SlotNumbers:
    """The run-wide variables of a file, None where one is missing or never known."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._names = set(results.variables(layout.SLOT))
        self._times = results.times(layout.SLOT)

    def get(self, name: str) -> NDArray[Any] | None:
        if name not in self._names:
            return None
        return np.concatenate([*self._results.blocks(layout.SLOT, name), np.empty(0)])

    def _known(self, name: str) -> NDArray[Any] | None:
        values = self.get(name)
        return None if values is None or np.isnan(values).all() else values

    def total(self, name: str) -> float | None:
        values = self._known(name)
        return None if values is None else float(np.nansum(values))

    def largest(self, name: str) -> float | None:
        values = self._known(name)
        return None if values is None else float(np.nanmax(values))

    def first(self, values: NDArray[Any] | None, codes: Sequence[int]) -> pd.Timestamp | None:
        if values is None or not (hits := np.isin(values, codes)).any():
            return None
        return self._times[int(hits.argmax())]

    def extreme(self, name: str, table: str, pick: Any) -> Extreme | None:
        values, rows = self._known(name), self.get(f"{name}_{table}")
        if values is None:
            return None
        slot = int(pick(values))
        element = "" if rows is None else _element(self._results, table, int(rows[slot]))
        return Extreme(float(values[slot]), element, self._times[slot])


def _element(results: Results, table: str, row: int) -> str:
    if row < 0 or table not in results.tables:
        return ""
    elements = results.table(table)
    return str(elements[layout.TABLES[table].axis].iloc[row])


def _count(values: NDArray[Any] | None, codes: Sequence[int]) -> int | None:
    return None if values is None else int(np.isin(values, codes).sum())


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _tap_moves(results: Results) -> int | None:
    """Count the steps that all tap changers made."""
    if "trafo" not in results.groups or "tap" not in results.variables("trafo"):
        return None
    moves = 0
    before: NDArray[Any] | None = None
    for block in results.blocks("trafo", "tap"):
        taps = block.astype(np.int64)
        positions = taps if before is None else np.vstack([before, taps])
        moves += int(np.abs(np.diff(positions, axis=0)).sum())
        before = taps[-1:]
    return moves


def _market(results: Results) -> MarketSummary | None:
    slots = _SlotNumbers(results)
    optimal, gain = slots.get("optimal_gain"), slots.get("gain")
    if gain is None or optimal is None or not np.isfinite(optimal).all():
        return None
    matters = optimal > MATTERS_EUR
    return MarketSummary(
        gain_eur=float(gain.sum()),
        optimal_gain_eur=float(optimal.sum()),
        welfare_share=_figure(results, "welfare_share"),
        slots_below_99_percent=int((gain[matters] < 0.99 * optimal[matters]).sum()),
        redispatch_kwh=slots.total("redispatch_moved") or 0.0,
        redispatch_cost_eur=slots.total("redispatch_cost") or 0.0,
        operators_keep_eur=slots.total("market_operator_surplus") or 0.0,
        unfinished_markets=int(slots.total("unfinished_markets") or 0),
    )


def _bills(results: Results) -> BillSummary | None:
    if "bill" not in results.tables:
        return None
    bills = results.table("bill").dropna(subset=["saving"])
    if bills.empty:
        return None
    worst = bills.iloc[int(bills["saving"].to_numpy().argmin())]
    return BillSummary(
        agents=len(bills),
        total_eur=float(bills["total"].sum()),
        no_trading_total_eur=float(bills["no_trading_total"].sum()),
        saving_eur=float(bills["saving"].sum()),
        gaining_share=float((bills["saving"] > GAIN_EUR).mean()),
        losing_agents=int((bills["saving"] < -GAIN_EUR).sum()),
        median_saving_eur=float(bills["saving"].median()),
        worst_agent=str(worst["agent"]),
        worst_saving_eur=float(worst["saving"]),
        stored_kwh=_figure(results, "stored_energy_end"),
        stored_no_trading_kwh=_figure(results, "stored_energy_end_no_trading"),
    )


def _flexibility(results: Results) -> FlexibilitySummary:
    return FlexibilitySummary(
        devices=_devices(results),
        lookahead_value_eur=_figure(results, "lookahead_value"),
        lookahead_regret_eur=_figure(results, "lookahead_regret"),
        forecast_wape=_figure(results, "forecast_wape"),
        imbalance_kwh=_figure(results, "imbalance_energy"),
        imbalance_eur=_figure(results, "imbalance_cost"),
        asked_kwh=_figure(results, "flexibility_asked"),
        delivered_kwh=_figure(results, "flexibility_delivered"),
        services_eur=_figure(results, "flexibility_cost"),
    )


def _devices(results: Results) -> tuple[DeviceSummary, ...]:
    if "device" not in results.tables:
        return ()
    table = results.table("device")
    columns = ["energy", "unmet", "departures", "short_departures"]
    if not set(columns) <= set(table.columns):
        return ()
    return tuple(
        DeviceSummary(
            str(kind),
            len(rows),
            float(rows["energy"].sum()),
            float(rows["unmet"].sum()),
            int(rows["departures"].sum()),
            int(rows["short_departures"].sum()),
        )
        for kind, rows in table.groupby("kind", sort=False)
    )


def _charges(results: Results) -> tuple[ChargeSummary, ...]:
    if "charge" not in results.tables:
        return ()
    table = results.table("charge")
    columns = (table[name] for name in ("charge", "kind", "purpose", "revenue"))
    return tuple(
        ChargeSummary(str(name), str(kind), str(purpose), float(revenue))
        for name, kind, purpose, revenue in zip(*columns, strict=True)
    )


def _timings(results: Results, slots: int) -> tuple[TimingSummary, ...]:
    if "timing" not in results.tables:
        return ()
    table = results.table("timing").sort_values("seconds", ascending=False, kind="stable")
    whole = float(table["seconds"].sum())
    return tuple(
        TimingSummary(
            part=str(part),
            seconds=float(seconds),
            share=float(seconds) / whole if whole > 0.0 else 0.0,
            ms_per_slot=1e3 * float(seconds) / max(slots, 1),
        )
        for part, seconds in zip(table["part"], table["seconds"], strict=True)
    )


def _warnings(results: Results) -> tuple[WarningSummary, ...]:
    if "warning" not in results.tables:
        return ()
    table = results.table("warning")
    if "count" not in table:
        table["count"] = 1
    if "element" not in table:
        table["element"] = ""
    return tuple(
        WarningSummary(
            kind=str(kind),
            count=int(rows["count"].sum()),
            elements=int(rows["element"].loc[rows["element"] != ""].nunique()),
            first=rows["time"].min(),
            message=_first_message(rows),
        )
        for kind, rows in table.groupby("kind", sort=False)
    )


def _first_message(rows: pd.DataFrame) -> str:
    element, message = str(rows["element"].iloc[0]), str(rows["message"].iloc[0])
    return f"{element}: {message}" if element else message


def _figure(results: Results, name: str) -> float | None:
    """Return a figure of the whole run, None where the file has none."""
    if "kpi" not in results.tables:
        return None
    return results.kpis.get(layout.RUN_SCOPE, {}).get(name)
