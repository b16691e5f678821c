"""Several runs side by side: their key figures, and who gains and who loses between them.

A sum (an energy, an amount of money) can be compared only where the runs cover the same slots and
the same agents; a ratio always can. What cannot be compared is None, and the run says why. Where
seeds or households differ, differences are shown with a warning: they are then not the design's
alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd

from tricell.errors import ResultsError
from tricell.results import layout
from tricell.results.bill_changes import WinnersLosers, winners_and_losers
from tricell.results.figure_scopes import AREA, LEVEL
from tricell.results.reader import Results, open_results
from tricell.results.run_summary import GAIN_EUR

HOURS_PER_YEAR = 8760.0
RATIO_UNIT = "1"
NO_COMPONENTS = ("total", "no_trading_total", "saving")
"""Amounts in tables/bill that are sums of others."""
LEVEL_FIGURES = ("energy_traded", "price_traded", "peak_import", "self_sufficiency")
"""Figures that are compared for each level too; all others only for the whole run."""
POPULATION = ("class", "area", "load_kw", "pv_kwp", "battery_kwh")
"""Columns of tables/agent that make two agents of one name the same household."""
EXTREMES = 3
"""How many agents are named that gain and that lose most."""


@dataclass(frozen=True)
class ComparedRun:
    """One of the runs.

    Attributes
    ----------
    letter : short name, A for the first.
    slots : slots that are in the file.
    seed : seed of everything random, None where the file does not tell.
    not_comparable : why its sums cannot be set against those of the first; empty if they can.
    warning : what else differs from the first besides the design; empty if nothing does.
    """

    letter: str
    path: Path
    run_id: str
    status: str
    first: pd.Timestamp | None
    slots: int
    step_minutes: float
    agents: int
    seed: int | None = None
    not_comparable: str = ""
    warning: str = ""


@dataclass(frozen=True)
class FigureRow:
    """One figure of all runs.

    Attributes
    ----------
    values : per run; None where it is undefined or not in the file.
    differences : to the first run, None where either is, or where they cannot be compared.
    is_comparable : per run, whether the figure can be compared with that of the first.
    """

    scope: str
    name: str
    unit: str
    values: tuple[float | None, ...]
    differences: tuple[float | None, ...]
    is_comparable: tuple[bool, ...]


@dataclass(frozen=True)
class AgentChange:
    """What an agent's bill became less than in the first run, EUR; negative is more."""

    agent: str
    gain_eur: float


@dataclass(frozen=True)
class BillChange:
    """Bills of one run against those of the first; None where they cannot be compared.

    Attributes
    ----------
    gaining, losing, unchanged : numbers of agents that pay less, more and the same.
    most_gaining, most_losing : agents whose bills changed most, the most first.
    winners : the same by customer class and component, scaled to a year; None where the files do
        not tell the classes.
    """

    letter: str
    gaining: int
    losing: int
    unchanged: int
    most_gaining: tuple[AgentChange, ...]
    most_losing: tuple[AgentChange, ...]
    winners: WinnersLosers | None


@dataclass(frozen=True)
class Comparison:
    """Several runs side by side.

    Attributes
    ----------
    figures : all of the run, and those of its levels that are in `LEVEL_FIGURES`.
    changes : one entry per run after the first.
    part_figures : all of the levels and areas that the first run and another have.
    """

    runs: tuple[ComparedRun, ...]
    figures: tuple[FigureRow, ...]
    changes: tuple[BillChange | None, ...]
    part_figures: tuple[FigureRow, ...] = ()


Figures: TypeAlias = Mapping[tuple[str, str, str], float]
"""Values by scope, name and unit."""


@dataclass(frozen=True)
class _Content:
    """What is read from one file."""

    run: ComparedRun
    figures: Figures
    part_figures: Figures
    bills: pd.DataFrame | None
    agents: frozenset[str]
    population: pd.DataFrame | None


def compare_runs(paths: Sequence[Path | str]) -> Comparison:
    """Compare the results files of two or more runs with the first of them.

    Raises
    ------
    ResultsError
        If there are fewer than two, if a file is named twice, or if one cannot be read.
    """
    if len(paths) < 2:
        raise ResultsError("There is nothing to compare: name the results files of two runs.")
    for number, path in enumerate(paths):
        if Path(path) in [Path(other) for other in paths[:number]]:
            raise ResultsError(f"{path} is named twice; name different results files.")
    contents = [_read(Path(path), _letter(number)) for number, path in enumerate(paths)]
    contents = [_judged(content, contents[0]) for content in contents]
    return Comparison(
        runs=tuple(content.run for content in contents),
        figures=_figures(contents),
        changes=tuple(_change(content, contents[0]) for content in contents[1:]),
        part_figures=_part_figures(contents),
    )


def _letter(number: int) -> str:
    """Name the runs A to Z, then A1 to Z1."""
    cycle, position = divmod(number, 26)
    return chr(ord("A") + position) + (str(cycle) if cycle else "")


def _read(path: Path, letter: str) -> _Content:
    with open_results(path) as results:
        attributes = results.attrs
        times = _times(results)
        bills = _bills(results)
        agents = _agents(results, bills)
        run = ComparedRun(
            letter=letter,
            path=path,
            run_id=str(attributes.get("run_id", path.stem)),
            status=results.status,
            first=times[0] if len(times) else None,
            slots=len(times),
            step_minutes=float(attributes["time_step_s"]) / 60.0,
            agents=len(agents),
            seed=int(attributes["random_seed"]) if "random_seed" in attributes else None,
        )
        return _Content(
            run,
            _run_figures(results, bills),
            _figures_about(results, (LEVEL, AREA)),
            bills,
            agents,
            _population(results),
        )


def _times(results: Results) -> pd.DatetimeIndex:
    if layout.SLOT in results.groups:
        return results.times()
    if results.groups:
        return results.times(results.groups[0])
    return pd.DatetimeIndex([], tz="UTC")


def _population(results: Results) -> pd.DataFrame | None:
    if "agent" not in results.tables:
        return None
    table = results.table("agent").set_index("agent")
    return table[[name for name in POPULATION if name in table]]


def _agents(results: Results, bills: pd.DataFrame | None) -> frozenset[str]:
    if bills is not None:
        return frozenset(bills.index)
    if "agent" in results.tables:
        return frozenset(results.table("agent")["agent"])
    return frozenset()


def _bills(results: Results) -> pd.DataFrame | None:
    if "bill" not in results.tables:
        return None
    return results.table("bill").dropna(subset=["total"]).set_index("agent")


def _run_figures(results: Results, bills: pd.DataFrame | None) -> Figures:
    """Read the figures of the run and some of its levels, and count who gains by trading."""
    figures = dict(_figures_about(results, (layout.RUN_SCOPE,)))
    of_levels = _figures_about(results, (LEVEL,))
    figures |= {key: value for key, value in of_levels.items() if key[1] in LEVEL_FIGURES}
    if bills is not None and "saving" in (table := results.table("bill")):
        saving = table["saving"].to_numpy(dtype=np.float64)
        counts = {"agents_gaining": saving > GAIN_EUR, "agents_losing": saving < -GAIN_EUR}
        for name, who in counts.items():
            figures[layout.RUN_SCOPE, name, "agents"] = float(who.sum())
    return figures


def _figures_about(results: Results, kinds: Sequence[str]) -> Figures:
    """Read the key figures about some kinds of scope; early files know the run only."""
    if "kpi" not in results.tables:
        return {}
    table = results.table("kpi")
    if "scope_kind" not in table:
        table = table.assign(scope_kind=layout.RUN_SCOPE, scope=layout.RUN_SCOPE)
    table = table[table["scope_kind"].isin(list(kinds))]
    return {
        (str(scope), str(name), str(unit)): float(value)
        for scope, name, unit, value in zip(
            table["scope"], table["name"], table["unit"], table["value"], strict=True
        )
    }


def _judged(content: _Content, first: _Content) -> _Content:
    """Say why the sums of a run cannot be set against those of the first."""
    one, run = first.run, content.run
    reasons = []
    if run.step_minutes != one.step_minutes:
        reasons.append(f"slots of {run.step_minutes:g} min, not {one.step_minutes:g}")
    if run.slots != one.slots:
        reasons.append(f"{run.slots:,} slots, not {one.slots:,}")
    if run.first != one.first:
        reasons.append(f"begins {_moment(run.first)}, not {_moment(one.first)}")
    if content.agents != first.agents:
        reasons.append(_other_agents(content.agents, first.agents))
    judged = replace(
        run, not_comparable="; ".join(reasons), warning="; ".join(_differences(content, first))
    )
    return replace(content, run=judged)


def _differences(content: _Content, first: _Content) -> Iterator[str]:
    """Say what differs between two runs besides their design."""
    if content.run.seed != first.run.seed:
        yield f"seed {content.run.seed}, not {first.run.seed}"
    if content.population is None or first.population is None:
        return
    shared = first.population.index.intersection(content.population.index)
    for name in first.population.columns.intersection(content.population.columns):
        ours, theirs = content.population.loc[shared, name], first.population.loc[shared, name]
        others = int(((ours != theirs) & ~(ours.isna() & theirs.isna())).sum())
        if others:
            yield f"{others:,} agents with another {name}"


def _moment(time: pd.Timestamp | None) -> str:
    return "never" if time is None else f"{time:%Y-%m-%d %H:%M}"


def _other_agents(agents: frozenset[str], first: frozenset[str]) -> str:
    only_here, only_there = len(agents - first), len(first - agents)
    return f"other agents ({only_here:,} only here, {only_there:,} only in the first)"


def _figures(contents: Sequence[_Content]) -> tuple[FigureRow, ...]:
    figures = [content.figures for content in contents]
    keys = dict.fromkeys(key for each in figures for key in each)
    scopes = [layout.RUN_SCOPE, *layout.AREA_LEVELS]
    ordered = sorted(keys, key=lambda key: scopes.index(key[0]))
    return tuple(_row(key, contents, figures) for key in ordered)


def _part_figures(contents: Sequence[_Content]) -> tuple[FigureRow, ...]:
    figures = [content.part_figures for content in contents]
    shared = [key for key in figures[0] if any(key in other for other in figures[1:])]
    return tuple(_row(key, contents, figures) for key in shared)


def _row(
    key: tuple[str, str, str], contents: Sequence[_Content], figures: Sequence[Figures]
) -> FigureRow:
    scope, name, unit = key
    values = [_known(each.get(key)) for each in figures]
    comparable = [unit == RATIO_UNIT or not content.run.not_comparable for content in contents]
    differences = [
        value - values[0] if fits and value is not None and values[0] is not None else None
        for value, fits in zip(values, comparable, strict=True)
    ]
    return FigureRow(scope, name, unit, tuple(values), tuple(differences), tuple(comparable))


def _known(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else value


def _change(content: _Content, first: _Content) -> BillChange | None:
    if content.run.not_comparable or content.bills is None or first.bills is None:
        return None
    before, after = first.bills["total"], content.bills["total"].reindex(first.bills.index)
    gains = (before - after).astype(float).sort_values(kind="stable")
    changes = [AgentChange(str(agent), float(gain)) for agent, gain in gains.items()]
    gaining = [each for each in reversed(changes) if each.gain_eur > GAIN_EUR]
    losing = [each for each in changes if each.gain_eur < -GAIN_EUR]
    return BillChange(
        letter=content.run.letter,
        gaining=len(gaining),
        losing=len(losing),
        unchanged=len(changes) - len(gaining) - len(losing),
        most_gaining=tuple(gaining[:EXTREMES]),
        most_losing=tuple(losing[:EXTREMES]),
        winners=_winners(content, first),
    )


def _winners(content: _Content, first: _Content) -> WinnersLosers | None:
    if first.population is None or "class" not in first.population:
        return None
    assert first.bills is not None
    assert content.bills is not None
    order = first.bills.index
    groups = first.population["class"].reindex(order).fillna("unknown")
    totals = {"before": first.bills["total"], "after": content.bills["total"].reindex(order)}
    hours = content.run.slots * content.run.step_minutes / 60.0
    return winners_and_losers(
        pd.DataFrame({"group": groups, **totals}),
        hours / HOURS_PER_YEAR,
        _components(first.bills),
        _components(content.bills),
    )


def _components(bills: pd.DataFrame) -> pd.DataFrame:
    """Return the amounts that make up the totals."""
    amounts = [
        column.name
        for column in layout.TABLES["bill"].columns
        if column.unit == "EUR" and column.name not in NO_COMPONENTS and column.name in bills
    ]
    return bills[amounts]
