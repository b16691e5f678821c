"""Two designs of a study side by side: who wins and who loses between them.

The bills of design B are compared with those of design A for the same customers: at the base point
of the axes, with the same seed and at the same closure. Classes take the customers of all seeds
together; who loses most is told by each customer's mean over the seeds, and sums over customers
are means over the seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tricell.errors import ResultsError
from tricell.results.bill_changes import WinnersLosers, winners_and_losers
from tricell.results.study_layout import CLOSURES
from tricell.results.study_report.data import StudyData, load
from tricell.results.study_results import is_study

PAIR = 2
TRAITS = ("class", "area", "with_pv", "with_battery", "load_kwh")
"""Columns of tables/bill that make two customers of one name the same."""


@dataclass(frozen=True)
class ComparedFigure:
    """A key figure of both designs, means over the seeds."""

    name: str
    unit: str
    before: float
    after: float


@dataclass(frozen=True)
class DesignComparison:
    """Two designs of a study.

    Attributes
    ----------
    labels : what the two designs are called.
    closure : at which closure both are compared.
    seeds : seeds that both have.
    days : length of the period.
    warnings : what differs between the runs besides the design, and what was left out.
    """

    study: str
    path: Path
    designs: tuple[str, str]
    labels: tuple[str, str]
    closure: str
    seeds: tuple[int, ...]
    days: float
    customers: int
    winners: WinnersLosers
    figures: tuple[ComparedFigure, ...]
    warnings: tuple[str, ...]


def compare_designs(
    path: Path, designs: tuple[str, str], closure: str | None = None
) -> DesignComparison:
    """Compare two designs of a study.

    Parameters
    ----------
    path : results of a study.
    designs : names of the designs; changes count from the first.
    closure : none, fixed or resolved; by default the last of these that both designs have.

    Raises
    ------
    ResultsError
        If the file is no study, if a design or closure is not in it, or if the two designs have no
        seed in common.
    """
    data = load(path)
    for name in designs:
        if name not in data.designs:
            raise ResultsError(
                f"{path} has no runs of a design {name!r}; it has: {', '.join(data.designs)}."
            )
    if designs[0] == designs[1]:
        raise ResultsError(f"The design {designs[0]!r} is named twice; name two designs.")
    chosen = _closure(data, designs, closure)
    runs = [_runs(data, name, chosen) for name in designs]
    shared = runs[0].index.intersection(runs[1].index).sort_values()
    if shared.empty:
        raise ResultsError(
            f"{path}: the designs {designs[0]} and {designs[1]} have no seed in common at the "
            f"closure {chosen!r}; read the column message of tables/run."
        )
    pairs = pd.DataFrame(
        {"before": runs[0].loc[shared, "run"], "after": runs[1].loc[shared, "run"]}
    )
    bills = _paired_bills(data, pairs)
    year_share = float(runs[0].loc[shared, "year_share"].iloc[0])
    return DesignComparison(
        study=data.attrs["study"],
        path=path,
        designs=designs,
        labels=(data.labels[designs[0]], data.labels[designs[1]]),
        closure=chosen,
        seeds=tuple(int(seed) for seed in shared),
        days=data.days,
        customers=len(bills),
        winners=winners_and_losers(
            bills,
            year_share,
            _components(data, pairs["before"]),
            _components(data, pairs["after"]),
        ),
        figures=_figures(data, pairs),
        warnings=tuple(_warnings(data, runs, bills)),
    )


def require_designs(
    files: Sequence[Path], designs: tuple[str, str] | None, closure: str | None
) -> tuple[Path, tuple[str, str], str | None] | None:
    """Return what `compare_designs` needs, None where files are runs to be compared.

    Raises
    ------
    ResultsError
        If designs are named but there is not one study, or if a study is given without them.
    """
    studies = [path for path in files if is_study(path)]
    if designs is None:
        if studies:
            names = load(studies[0]).designs
            raise ResultsError(
                f"{studies[0]} holds the results of a study. Name the two designs to compare, such "
                f"as --designs {' '.join(names[:PAIR])}; it has: {', '.join(names)}."
            )
        if closure is not None:
            raise ResultsError("--closure speaks of a study; name two of its designs too.")
        return None
    if len(files) != 1:
        raise ResultsError(
            f"--designs compares two designs of one study, but {len(files)} files are named."
        )
    if files[0].is_file() and not studies:
        raise ResultsError(
            f"{files[0]} is not the results of a study, and --designs speaks of a study. Leave it "
            "out to compare runs."
        )
    return files[0], designs, closure


def _closure(data: StudyData, designs: tuple[str, str], wanted: str | None) -> str:
    found = [set(data.base.loc[data.base["design"] == name, "closure"]) for name in designs]
    both = [name for name in CLOSURES if name in found[0] & found[1]]
    if wanted is None and both:
        return both[-1]
    if wanted is None or wanted not in both:
        raise ResultsError(
            f"{data.path}: the designs {designs[0]} and {designs[1]} do not both have a run at "
            f"the closure {wanted or 'wanted'!r}; both have: {', '.join(both) or 'none'}."
        )
    return wanted


def _runs(data: StudyData, design: str, closure: str) -> pd.DataFrame:
    """Return the runs of a design at the base point, by seed."""
    chosen = data.base[(data.base["design"] == design) & (data.base["closure"] == closure)]
    return chosen.set_index("seed").drop_duplicates()


def _paired_bills(data: StudyData, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return group, before, after and whether it is another customer, by customer and seed."""
    table = data.tables["bill"]
    parts = []
    for before, after in pairs.itertuples(index=False):
        one = table[table["run"] == before].set_index("customer")
        two = table[table["run"] == after].set_index("customer")
        names = one.index.intersection(two.index)
        one, two = one.loc[names], two.loc[names]
        other = pd.concat([one[name] != two[name] for name in TRAITS[:-1]], axis=1).any(axis=1)
        moved = (one["load_kwh"] - two["load_kwh"]).abs() > 1e-6 * one["load_kwh"].abs()
        parts.append(
            pd.DataFrame(
                {
                    "group": one["class"].to_numpy(),
                    "before": one["total"].to_numpy(),
                    "after": two["total"].to_numpy(),
                    "is_other": (other | moved).to_numpy(),
                },
                index=names,
            )
        )
    return pd.concat(parts)


def _components(data: StudyData, runs: pd.Series[int]) -> pd.DataFrame:
    """Return components by customer and run, over the number of runs."""
    rows = data.tables["bill_component"]
    rows = rows[rows["run"].isin(runs)]
    amounts = rows["amount"] / len(runs)
    return amounts.groupby([rows["run"], rows["customer"], rows["component"]]).sum().unstack()


def _figures(data: StudyData, pairs: pd.DataFrame) -> tuple[ComparedFigure, ...]:
    rows = data.key_figures
    rows = rows[rows["scope"] == "run"]
    means = [
        rows[rows["run"].isin(pairs[side])].groupby(["name", "unit"], sort=False)["value"].mean()
        for side in ("before", "after")
    ]
    table = pd.concat(means, axis=1, keys=["before", "after"]).dropna()
    return tuple(
        ComparedFigure(str(name), str(unit), float(before), float(after))
        for (name, unit), before, after in zip(
            table.index, table["before"], table["after"], strict=True
        )
    )


def _warnings(data: StudyData, runs: list[pd.DataFrame], bills: pd.DataFrame) -> list[str]:
    found = []
    lonely = sorted(set(runs[0].index) ^ set(runs[1].index))
    if lonely:
        found.append(
            "seeds that only one design has are left out: " + ", ".join(str(s) for s in lonely)
        )
    starts = [set(part["start"]) for part in runs]
    if starts[0] != starts[1]:
        found.append("the designs were run over different periods")
    if bills["is_other"].any():
        found.append(f"{int(bills['is_other'].sum()):,} customers differ in what they own or use")
    if data.runs["setting"].nunique() > 1:
        found.append("only the base point of the axes is compared")
    open_runs = sum(int((part["status"] != "complete").sum()) for part in runs)
    if open_runs:
        found.append(f"{open_runs} of the runs did not settle")
    return found
