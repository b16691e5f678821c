"""What the figures of a report need to know about a run, read from its file only once.

A year of a region is 3 GB of numbers. So each variable is read in blocks, and all that figures
want of it is worked out on the way: means and extremes of buckets of time, sums, and the values
at some chosen moments.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tricell.results import layout
from tricell.results.reader import Results

Values: TypeAlias = NDArray[Any]
How: TypeAlias = Literal["mean", "min", "max"]

SLOTS_SHOWN = 700
"""Up to so many slots are shown one by one: a week of quarter hours."""
BUCKETS = 400
"""More slots than that are shown in at most so many buckets of whole hours."""
BUCKET_HOURS = (1, 2, 3, 4, 6, 8, 12, 24, 48, 72, 168)
WHOLE_VALUES = 4_000_000
"""A variable of so many values is kept whole: every area and transformer of a year."""


@dataclass(frozen=True)
class Moment:
    """A slot that is shown by itself: its number, its local time, and why it was chosen."""

    slot: int
    time: pd.Timestamp
    reason: str = ""

    @property
    def label(self) -> str:
        """Its time and, if it is an extreme, of what."""
        text = f"{self.time:%a %d %b %Y %H:%M}"
        return f"{text}, {self.reason}" if self.reason else text


@dataclass(frozen=True)
class Reduced:
    """What is kept of one variable.

    Attributes
    ----------
    mean, low, high : of each bucket, gaps left out, (buckets, entities).
    total : sum over all slots, gaps left out, (entities,).
    known : slots that are no gap, (entities,).
    at_moments : values at `RunData.moments`, (moments, entities).
    whole : all values (slots, entities); None where they are too many to keep.
    """

    mean: Values
    low: Values
    high: Values
    total: Values
    known: Values
    at_moments: Values
    whole: Values | None


class RunData:
    """A run as the figures of a report see it.

    Arrays have the entities in the order of `ids`, which for agents, buses, lines and
    transformers is that of their table; the group ``slot`` has one column.

    Attributes
    ----------
    results : the open results file.
    bucket_hours : length of a bucket; that of a slot where all slots are shown.
    slot_hours : length of a slot.
    """

    def __init__(self, results: Results) -> None:
        self.results = results
        self.slot_hours = float(results.attrs["time_step_s"]) / 3600.0
        self.slot_times = _local(self._clock(), str(results.attrs["time_zone_local"]))
        self.slots_per_bucket = _slots_per_bucket(len(self.slot_times), self.slot_hours)
        self.bucket_hours = self.slots_per_bucket * self.slot_hours
        self._reduced: dict[tuple[str, str], Reduced] = {}
        self._tables: dict[str, pd.DataFrame] = {}

    # the run

    @property
    def status(self) -> str:
        """Status of the run: running, complete or failed."""
        return self.results.status

    @property
    def slots_done(self) -> int:
        """Slots in the file."""
        return len(self.slot_times)

    @property
    def slots_planned(self) -> int:
        """Slots that the run was to have."""
        return int(self.results.attrs["number_of_slots"])

    @cached_property
    def scenario(self) -> Mapping[str, Any]:
        """The scenario as it was run; empty where the file does not have it as YAML."""
        try:
            return dict(YAML(typ="safe").load(io.StringIO(self.results.scenario_yaml)) or {})
        except (YAMLError, TypeError, ValueError):
            return {}

    @property
    def title(self) -> str:
        """Name of the scenario."""
        return str(self.scenario.get("name") or self.results.attrs["run_id"])

    @property
    def description(self) -> str:
        """What the scenario is about, in its author's words; empty if they said nothing."""
        return str(self.scenario.get("description") or "")

    @property
    def currency(self) -> str:
        """Currency of all money."""
        return str(self.results.attrs.get("currency", "EUR"))

    @property
    def period(self) -> str:
        """First and last local day and how long it is."""
        if not self.slots_done:
            return "no slot yet"
        first, last = self.slot_times[0], self.slot_times[-1]
        days = self.slots_done * self.slot_hours / 24.0
        length = f"{days:,.4g} days" if days >= 2.0 else f"{days * 24.0:,.4g} hours"
        if _day(first) == _day(last):
            return f"{_day(first)}, {length} from {first:%H:%M}"
        return f"{_day(first)} to {_day(last)}, {length}"

    # time

    @cached_property
    def times(self) -> pd.DatetimeIndex:
        """Starts of the buckets (of the slots, if all are shown), local wall clock, no zone."""
        return self.slot_times[:: self.slots_per_bucket]

    @property
    def time_title(self) -> str:
        """Title of an axis of time: which clock, and how long a bucket is."""
        zone = str(self.results.attrs["time_zone_local"])
        if self.slots_per_bucket == 1:
            return f"local time ({zone})"
        return f"local time ({zone}), in steps of {span(self.bucket_hours)}"

    @cached_property
    def moments(self) -> tuple[Moment, ...]:
        """Slots that are shown one by one in the order of time, the worst ones among them."""
        worst = self._worst_slots
        every = _spread(self.slot_times, self.slot_hours)
        return tuple(
            Moment(slot, self.slot_times[slot], worst.get(slot, ""))
            for slot in sorted({*every, *worst})
        )

    # entities

    @property
    def agents(self) -> pd.DataFrame:
        """Table agent."""
        return self.table("agent")

    @property
    def areas(self) -> pd.DataFrame:
        """Table area; parents stand before the areas inside them."""
        return self.table("area")

    @property
    def buses(self) -> pd.DataFrame:
        """Table bus."""
        return self.table("bus")

    @property
    def lines(self) -> pd.DataFrame:
        """Table line."""
        return self.table("line")

    @property
    def trafos(self) -> pd.DataFrame:
        """Table trafo."""
        return self.table("trafo")

    @property
    def bills(self) -> pd.DataFrame:
        """Table bill; empty while the run goes on."""
        return self.table("bill")

    @property
    def kpis(self) -> pd.DataFrame:
        """Table kpi: name, scope_kind, scope, value, unit."""
        table = self.table("kpi")
        if "scope_kind" not in table:
            table = table.assign(scope_kind=self._scope_kinds(table["scope"]))
            self._tables["kpi"] = table
        return table

    @property
    def warnings(self) -> pd.DataFrame:
        """Table warning."""
        return self.table("warning")

    @cached_property
    def slots(self) -> pd.DataFrame:
        """Run-wide variables, a row per slot; coded ones as categories; index as `slot_times`."""
        if layout.SLOT not in self.results.groups:
            return pd.DataFrame(index=self.slot_times)
        return self.results.slots().set_axis(self.slot_times, axis=0)

    @cached_property
    def levels(self) -> tuple[str, ...]:
        """Levels of markets in this run, from the lowest."""
        known = set(self.areas["level"])
        return tuple(level for level in layout.AREA_LEVELS if level in known)

    def table(self, name: str) -> pd.DataFrame:
        """Return a table; without rows, but with its columns, where the file has none."""
        if name not in self._tables:
            if name in self.results.tables:
                self._tables[name] = self.results.table(name)
            else:
                columns = [column.name for column in layout.TABLES[name].columns]
                self._tables[name] = pd.DataFrame(columns=columns)
        return self._tables[name]

    def ids(self, group: str) -> pd.Index[str]:
        """Return the ids of a group's columns."""
        return self.results.ids(group)

    def figure(self, name: str, scope: str = layout.RUN_SCOPE) -> float | None:
        """Return a key figure, None where it is undefined or not in the file."""
        return self.results.kpis.get(scope, {}).get(name)

    def inside(self, area: str) -> tuple[str, ...]:
        """Return an area and all areas inside it."""
        children = self.areas.loc[self.areas["parent"] == area, "area"]
        return (area, *(each for child in children for each in self.inside(str(child))))

    # time series

    def has(self, group: str, variable: str) -> bool:
        """Return whether the file has at least one slot of a variable."""
        return (
            self.slots_done > 0
            and group in self.results.groups
            and variable in self.results.variables(group)
        )

    def bucketed(self, group: str, variable: str, how: How = "mean") -> Values:
        """Return the mean, lowest or highest value in each bucket, (buckets, entities).

        The buckets start at `times`; gaps are left out, NaN where all is a gap.
        """
        if how not in get_args(How):
            raise ValueError(f"how is {how!r}, allowed is one of {get_args(How)}")
        reduced = self._read(group, variable)
        return {"mean": reduced.mean, "min": reduced.low, "max": reduced.high}[how]

    def total(self, group: str, variable: str) -> Values:
        """Return the sum over all slots, (entities,); times `slot_hours` it makes kWh of kW."""
        return self._read(group, variable).total

    def at_moments(self, group: str, variable: str) -> Values:
        """Return the values at `moments`, (moments, entities)."""
        return self._read(group, variable).at_moments

    def lowest(self, group: str, variable: str) -> Values:
        """Return the lowest value of the run, (entities,)."""
        lowest: Values = np.fmin.reduce(self._read(group, variable).low, axis=0)
        return lowest

    def highest(self, group: str, variable: str) -> Values:
        """Return the highest value of the run, (entities,)."""
        highest: Values = np.fmax.reduce(self._read(group, variable).high, axis=0)
        return highest

    def whole(self, group: str, variable: str) -> Values:
        """Return all values, (slots, entities).

        Those of more than `WHOLE_VALUES` are read anew each time, in single precision; for
        areas, transformers and the group ``slot`` they are at hand.
        """
        kept = self._read(group, variable).whole
        if kept is not None:
            return kept
        blocks = [block.astype(np.float32) for block in self.results.blocks(group, variable)]
        return np.concatenate(blocks)

    def duration_curve(self, group: str, variable: str, points: int = 400) -> Values:
        """Return the values from the highest to the lowest, (points or slots, entities).

        The points are spread evenly over the slots, the first is the highest value and the last
        the lowest; so the share of time goes evenly from 0 to 1 along the curve.
        """
        falling = -np.sort(-self.whole(group, variable), axis=0)
        known = np.isfinite(falling).sum(axis=0)
        share = np.linspace(0.0, 1.0, min(points, len(falling)))
        rows = np.rint(share[:, None] * np.maximum(known - 1, 0)).astype(np.int64)
        return np.take_along_axis(falling, rows, axis=0)

    def _clock(self) -> pd.DatetimeIndex:
        groups = self.results.groups
        if not groups:
            return pd.DatetimeIndex([], tz="UTC")
        return self.results.times(layout.SLOT if layout.SLOT in groups else groups[0])

    def _scope_kinds(self, scopes: pd.Series[str]) -> list[str]:
        """Tell by the tables what a key figure of an early file speaks about."""
        kinds = dict.fromkeys(self.agents["agent"], "agent")
        kinds |= dict.fromkeys(self.agents["class"], "class")
        kinds |= dict.fromkeys(self.areas["area"], "area")
        kinds |= dict.fromkeys(layout.AREA_LEVELS, "level") | {layout.RUN_SCOPE: "run"}
        return [kinds.get(scope, "") for scope in scopes]

    @cached_property
    def _worst_slots(self) -> dict[int, str]:
        """Return the slots of extremes and what is extreme there."""
        picks = (
            ("vm_min", np.nanargmin, "lowest voltage"),
            ("vm_max", np.nanargmax, "highest voltage"),
            ("line_loading_max", np.nanargmax, "highest line loading"),
            ("trafo_loading_max", np.nanargmax, "highest transformer loading"),
        )
        worst: dict[int, str] = {}
        for name, pick, reason in picks:
            if name in self.slots and self.slots[name].notna().any():
                slot = int(pick(self.slots[name].to_numpy(np.float64)))
                worst[slot] = f"{worst[slot]}, {reason}" if slot in worst else reason
        return worst

    def _read(self, group: str, variable: str) -> Reduced:
        key = (group, variable)
        if key not in self._reduced:
            self._reduced[key] = self._reduce(group, variable)
        return self._reduced[key]

    def _reduce(self, group: str, variable: str) -> Reduced:
        entities = 1 if group == layout.SLOT else len(self.ids(group))
        sums = _Sums(len(self.times), entities, self.slots_per_bucket)
        moments = np.array([moment.slot for moment in self.moments], dtype=np.int64)
        at_moments: list[Values] = []
        kept: list[Values] | None = [] if self.slots_done * entities <= WHOLE_VALUES else None
        first = 0
        for block in self.results.blocks(group, variable):
            values = block.reshape(len(block), -1)[: self.slots_done - first]
            sums.add(first, values)
            here = moments[(moments >= first) & (moments < first + len(values))]
            at_moments.append(values[here - first])
            if kept is not None:
                kept.append(values)
            first += len(values)
        none = np.empty((0, entities))
        return Reduced(
            **sums.result(),
            at_moments=np.concatenate(at_moments or [none]),
            whole=None if kept is None else np.concatenate(kept or [none]),
        )


class _Sums:
    """Sums and extremes of buckets, filled block by block."""

    def __init__(self, buckets: int, entities: int, slots_per_bucket: int) -> None:
        self._per_bucket = slots_per_bucket
        self._sum = np.zeros((buckets, entities))
        self._count = np.zeros((buckets, entities), dtype=np.int32)
        self._low = np.full((buckets, entities), np.nan)
        self._high = np.full((buckets, entities), np.nan)

    def add(self, first: int, values: Values) -> None:
        """Add a block (slots, entities) whose first slot has this number."""
        buckets = np.arange(first, first + len(values)) // self._per_bucket
        rows, starts = np.unique(buckets, return_index=True)
        if not len(rows):
            return
        self._low[rows] = np.fmin(self._low[rows], np.fmin.reduceat(values, starts, axis=0))
        self._high[rows] = np.fmax(self._high[rows], np.fmax.reduceat(values, starts, axis=0))
        gaps = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
        filled = np.where(gaps, 0.0, values) if gaps.any() else values
        self._sum[rows] += np.add.reduceat(filled, starts, axis=0, dtype=np.float64)
        self._count[rows] += np.add.reduceat(~gaps, starts, axis=0, dtype=np.int32)

    def result(self) -> dict[str, Values]:
        """Return what `Reduced` keeps of the blocks."""
        with np.errstate(invalid="ignore"):
            mean = self._sum / self._count
        return {
            "mean": mean,
            "low": self._low,
            "high": self._high,
            "total": self._sum.sum(axis=0),
            "known": self._count.sum(axis=0),
        }


def span(hours: float) -> str:
    """Write a length of time.

    Examples
    --------
    >>> span(0.25), span(1.0), span(6.0), span(24.0), span(48.0)
    ('15 minutes', '1 hour', '6 hours', '1 day', '2 days')
    """
    for size, word in ((24.0, "day"), (1.0, "hour"), (1.0 / 60.0, "minute")):
        count = hours / size
        if count >= 1.0 and abs(count - round(count)) < 1e-9:
            return f"{count:.0f} {word}" + ("" if round(count) == 1 else "s")
    return f"{hours * 3600.0:g} seconds"


def _slots_per_bucket(slots: int, slot_hours: float) -> int:
    if slots <= SLOTS_SHOWN:
        return 1
    for hours in BUCKET_HOURS:
        size = round(hours / slot_hours)
        if size >= 1 and -(-slots // size) <= BUCKETS:
            return size
    return -(-slots // BUCKETS)


def _spread(times: pd.DatetimeIndex, slot_hours: float) -> list[int]:
    """Choose slots evenly: all of two days, every third hour of two weeks, else four a day."""
    slots = len(times)
    days = slots * slot_hours / 24.0
    if days <= 2.0:
        return list(range(slots))
    if days <= 15.0:
        return list(range(0, slots, max(1, round(3.0 / slot_hours))))
    per_day = 24.0 / slot_hours
    midnights = np.round((np.arange(12) + 0.5) / 12.0 * (days - 1.0)).astype(int)
    hours = np.array([0.25, 0.5, 0.75, 1.0]) - 0.25
    return [int(day * per_day + hour * per_day) for day in midnights for hour in hours]


def _local(times: pd.DatetimeIndex, zone: str) -> pd.DatetimeIndex:
    try:
        return times.tz_convert(zone).tz_localize(None)
    except (KeyError, ValueError):
        return times.tz_localize(None)


def _day(time: pd.Timestamp) -> str:
    return f"{time.day} {time:%B %Y}"
