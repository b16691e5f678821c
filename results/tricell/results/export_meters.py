"""What each meter measured, slot by slot, as those who settle energy sharing exchange it.

A meter stands where a participant is connected; its name is the participant's id. What it took from
the grid and what it fed in are the two sides of `p_net`. The shared part of both is what was traded
with peers, at any level. Where contracts are made on forecasts, what was traded is part of what was
contracted, which stands beside what was metered. The file knows it

* where trades name buyer and seller;
* where all levels clear jointly. There everybody deals with the pool of an area, which serves all
  its members alike: of each purchase the share traded / demand meets in the own area, and of what
  is left the share of the area above, and so on (equation 18 of the documentation). What was traded
  in each area and slot is in the file. The sums are held against the bills.

Elsewhere the shared part is left empty: behind pools that serve by price, and where redispatch
moved what was traded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from tricell.errors import ResultsError
from tricell.results import layout
from tricell.results.export import VALUES_PER_BLOCK, Period, RowAxes
from tricell.results.export_writing import Stream, field
from tricell.results.reader import Results

Floats = NDArray[np.float64]

SMALLEST_KWH = 1e-12
RETAIL = "retail"
TOLERANCE_KWH = 1e-6
"""What sums of meters may differ from the bills, for each kWh of them."""
COLUMNS = (
    field("import_kwh", pa.float64(), "kWh", "taken from the grid"),
    field("export_kwh", pa.float64(), "kWh", "fed into the grid"),
    field("shared_import_kwh", pa.float64(), "kWh", "part of import_kwh that peers sold"),
    field("shared_export_kwh", pa.float64(), "kWh", "part of export_kwh that peers bought"),
)
CONTRACTED = field(
    "contracted_kwh", pa.float64(), "kWh", "contracted at the gate, taken less fed in"
)


@dataclass(frozen=True)
class AreaTree:
    """Areas and their members.

    Attributes
    ----------
    parent : row of the area above, -1 at the top.
    agent_area : row of each agent's area.
    order : rows of all areas, lowest first.
    """

    parent: NDArray[np.int64]
    agent_area: NDArray[np.int64]
    order: NDArray[np.int64]


def shared_parts(
    imported: Floats, exported: Floats, traded: Floats, tree: AreaTree
) -> tuple[Floats, Floats]:
    """Share out what met in each area: in proportion, lowest areas first, equation (18).

    Parameters
    ----------
    imported, exported : of all who take part, kWh, (slots, agents).
    traded : what met in each area, kWh, (slots, areas).
    tree : areas and members.

    Returns
    -------
    The shared part of both, kWh, (slots, agents).

    Examples
    --------
    >>> tree = AreaTree(np.array([-1]), np.array([0, 0, 0]), np.array([0]))
    >>> bought, sold = shared_parts(
    ...     np.array([[3.0, 1.0, 0.0]]), np.array([[0.0, 0.0, 2.0]]), np.array([[2.0]]), tree
    ... )
    >>> bought.tolist(), sold.tolist()
    ([[1.5, 0.5, 0.0]], [[0.0, 0.0, 2.0]])
    """
    return _shared(imported, traded, tree), _shared(exported, traded, tree)


def _shared(energy: Floats, traded: Floats, tree: AreaTree) -> Floats:
    asked = np.zeros_like(traded)
    for agent, area in enumerate(tree.agent_area):
        asked[:, area] += energy[:, agent]
    for area in tree.order:
        if (above := tree.parent[area]) >= 0:
            asked[:, above] += asked[:, area] - traded[:, area]
    left = 1.0 - np.divide(traded, asked, out=np.zeros_like(asked), where=asked > SMALLEST_KWH)
    for area in tree.order[::-1]:
        if (above := tree.parent[area]) >= 0:
            left[:, area] *= left[:, above]
    return energy * (1.0 - left)[:, tree.agent_area]


def meter_stream(results: Results, period: Period) -> Stream:
    """Give a row per slot and meter: time, meter, import, export and the shared part of both.

    Where the file tells contracts from meters, what was contracted is one more column, and what
    was shared is part of it.

    Raises
    ------
    ResultsError
        If the file has no net power of agents; while blocks are read, if what is shared does not
        add up to the bills.
    """
    times = results.times("agent", period.start, period.stop)
    agents = list(results.ids("agent"))
    slots = max(VALUES_PER_BLOCK // (len(COLUMNS) * max(len(agents), 1)), 1)
    hours = float(results.attrs["time_step_s"]) / 3600.0
    axes = RowAxes(times, "meter", agents)
    names = ("p_net", *_telling_contracts(results.variables("agent")))
    has_contracts = len(names) > 1
    schema = pa.schema([*axes.schema, *COLUMNS, *([CONTRACTED] if has_contracts else [])])
    powers = zip(
        *(results.blocks("agent", each, period.start, period.stop, slots=slots) for each in names),
        strict=True,
    )
    sharing = _sharing(results, period, times, slots)

    def read() -> Iterator[pa.RecordBatch]:
        for number, (metered_kw, *told_kw) in enumerate(powers):
            rows = slice(number * slots, number * slots + len(metered_kw))
            contracted = _contracted_kw(names, metered_kw, told_kw) * hours
            shared = sharing.of_block(rows, *_both_ways(contracted))
            told = (contracted,) if has_contracts else ()
            values = (*_both_ways(metered_kw * hours), *shared, *told)
            arrays = [pa.array(each.ravel(), pa.float64(), from_pandas=True) for each in values]
            yield pa.record_batch([*axes.columns(rows), *arrays], schema=schema)
        sharing.check()

    return Stream(schema, read())


def _telling_contracts(variables: Sequence[str]) -> tuple[str, ...]:
    """Give the variable that tells contracts from meters, none where meters tell them."""
    return next(((name,) for name in ("p_contracted", "p_service") if name in variables), ())


def _contracted_kw(names: Sequence[str], metered_kw: Floats, told_kw: Sequence[Floats]) -> Floats:
    if not told_kw:
        return metered_kw
    # What services moved was sold beside the contracts.
    return told_kw[0] if names[1] == "p_contracted" else metered_kw - told_kw[0]


def _both_ways(energy: Floats) -> tuple[Floats, Floats]:
    """Part energy into what is taken and what is given."""
    return np.maximum(energy, 0.0), np.maximum(-energy, 0.0)


class _Unknown:
    """Sharing that the file does not tell: gaps."""

    def of_block(self, rows: slice, imported: Floats, exported: Floats) -> tuple[Floats, Floats]:
        gaps = np.full_like(imported, np.nan)
        return gaps, gaps

    def check(self) -> None:
        """Nothing was told, so nothing can be wrong."""


class _FromPools(_Unknown):
    """Sharing where all levels clear jointly."""

    def __init__(self, results: Results, period: Period, bills: pd.DataFrame, slots: int) -> None:
        self._path = results.path
        self._areas = results.table("area")
        self._tree = _tree(results, self._areas)
        billed = bills[["bought_p2p", "sold_p2p"]].to_numpy(dtype=np.float64)
        # Who takes part and ever buys or sells shares in every area that ever trades.
        self._takes_part = (billed != 0.0).any(axis=1)
        self._billed = billed if period.is_open else None
        self._sums = np.zeros_like(billed)
        self._traded = {
            level: results.blocks(level, "energy_traded", period.start, period.stop, slots=slots)
            for level in results.levels
        }
        place = {area: row for row, area in enumerate(self._areas["area"])}
        self._places = {
            level: [place[area] for area in results.ids(level)] for level in results.levels
        }

    def of_block(self, rows: slice, imported: Floats, exported: Floats) -> tuple[Floats, Floats]:
        traded = np.zeros((len(imported), len(self._areas)))
        for level, blocks in self._traded.items():
            traded[:, self._places[level]] = next(blocks)
        both = shared_parts(
            imported * self._takes_part, exported * self._takes_part, traded, self._tree
        )
        self._sums += np.stack([each.sum(axis=0) for each in both], axis=1)
        return both

    def check(self) -> None:
        if self._billed is None:
            return
        error = np.abs(self._sums - self._billed)
        if (error > TOLERANCE_KWH * np.maximum(self._billed, 1.0)).any():
            raise ResultsError(
                f"{self._path}: what meters share differs by up to {error.max():.3g} kWh from what "
                f"tables/bill says; `tricell validate` lists all that deviates"
            )


class _FromTrades(_Unknown):
    """Sharing where trades name who bought from whom; a pool makes its slot unknown."""

    def __init__(self, results: Results, times: pd.DatetimeIndex) -> None:
        self._path = results.path
        self._blocks = results.table_blocks(layout.TRADE)
        self._times = times
        self._read = next(self._blocks)

    def of_block(self, rows: slice, imported: Floats, exported: Floats) -> tuple[Floats, Floats]:
        trades = self._trades_until(self._times[rows][-1])
        slots = self._times[rows].get_indexer(pd.DatetimeIndex(trades["time"]))
        with_peers = (slots >= 0) & (trades["level"] != RETAIL).to_numpy()
        energy = trades["energy"].to_numpy(dtype=np.float64)
        shared = np.zeros((2, *imported.shape))
        for side, party in enumerate(("buyer", "seller")):
            agent = trades[party].to_numpy(dtype=np.int64)
            named = with_peers & (agent >= 0) & (agent < imported.shape[1])
            np.add.at(shared[side], (slots[named], agent[named]), energy[named])
            shared[side, slots[with_peers & (agent == layout.POOL_ROW)]] = np.nan
        return shared[0], shared[1]

    def _trades_until(self, last: pd.Timestamp) -> pd.DataFrame:
        """Take the trades up to a slot; they stand in the order of time."""
        taken = [self._read]
        while self._read["time"].max() <= last or self._read.empty:
            following = next(self._blocks, None)
            if following is None:
                break
            self._read = following
            taken.append(following)
        trades = pd.concat(taken) if len(taken) > 1 else taken[0]
        if not trades["time"].is_monotonic_increasing:
            raise ResultsError(
                f"{self._path}: tables/trade is not in the order of time; `tricell validate` lists "
                f"all that deviates"
            )
        end = int(trades["time"].searchsorted(last, side="right"))
        self._read = trades.iloc[end:]
        return trades.iloc[:end]


def _sharing(results: Results, period: Period, times: pd.DatetimeIndex, slots: int) -> _Unknown:
    if _clears_jointly(results):
        if "bill" not in results.tables:
            return _Unknown()  # without bills nobody knows who takes part
        return _FromPools(results, period, results.table("bill"), slots)
    if layout.TRADE not in results.tables:
        return _Unknown()
    return _FromTrades(results, times)


def _clears_jointly(results: Results) -> bool:
    """Tell whether all levels clear jointly: then no gain of separate markets is known."""
    if layout.SLOT not in results.groups or "gain" not in results.variables(layout.SLOT):
        return False
    return all(bool(np.isnan(block).all()) for block in results.blocks(layout.SLOT, "gain"))


def _tree(results: Results, areas: pd.DataFrame) -> AreaTree:
    place = {area: row for row, area in enumerate(areas["area"])}
    parent = np.array([place.get(above, -1) for above in areas["parent"]], dtype=np.int64)
    depth, above = np.zeros(len(parent), dtype=np.int64), parent.copy()
    for _ in range(len(parent)):
        depth += above >= 0
        above = np.where(above >= 0, parent[above], -1)
    members = results.table("agent")["area"]
    lost = sorted(set(members) - set(place))
    if lost:
        raise ResultsError(
            f"{results.path}: agents are in the area {lost[0]!r}, which tables/area does not have; "
            f"`tricell validate` lists all that deviates"
        )
    agent_area = np.array([place[area] for area in members], dtype=np.int64)
    return AreaTree(parent, agent_area, np.argsort(-depth, kind="stable"))
