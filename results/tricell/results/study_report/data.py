"""What the tables and figures of a report are made from: a study, read once and matched.

A run is compared with the run of the reference design at the same point of the axes with the same
seed, so with the same households in the same weather::

    change_n = bill_n(design, closure) - bill_n(reference design)

The reference is taken at the closure of the run where the study has it, else at `none`. Runs that
failed, and runs without a reference, take no part. Amounts per year are those of the period divided
by its share of a year of 8760 h.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from tricell.errors import ResultsError
from tricell.results import study_layout
from tricell.results.figure_names import LOW_VOLTAGE_PEAK, LOW_VOLTAGE_REDUCTION
from tricell.results.study_results import open_study

AXES = ("pv_share", "battery_share", "ev_share", "heat_pump_share", "participation", "days")
"""Columns of tables/run that make a point of the axes, beside the seed."""
AXIS_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "pv_share": "Share of households with PV, %",
        "battery_share": "Share of households with a battery, %",
        "ev_share": "Share of households with an electric car, %",
        "heat_pump_share": "Share of households with a heat pump, %",
        "participation": "Share that trades locally, %",
        "days": "Length of the period, d",
        "seed": "Seed",
    }
)
CLOSURE_LABELS: Mapping[str, str] = MappingProxyType(
    {"none": "no reaction", "fixed": "reaction, fixed rates", "resolved": "reaction, new rates"}
)
RATES_LABELS: Mapping[str, str] = MappingProxyType(
    {"none": "no reaction", "fixed": "fixed rates", "resolved": "new rates"}
)
"""Closures in the heads of columns."""
LEVEL_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "microgrid": "low voltage (microgrid)",
        "cell": "medium voltage (cell)",
        "multicell": "high voltage (multi-cell)",
        "retail": "retailer",
        "all": "all levels",
    }
)
EVERYBODY = "all customers"
LOW_VOLTAGE = "microgrid"
PEAK_LABELS: Mapping[str, str] = MappingProxyType(
    {
        LOW_VOLTAGE: "sum of the peaks of the low-voltage interfaces",
        study_layout.ALL_LEVELS: "peak of the grid connection",
    }
)
"""What the peak of a level in tables/grid is."""


@dataclass(frozen=True)
class StudyData:
    """A study, read once.

    Attributes
    ----------
    attrs : attributes of the file.
    provenance : packages, inputs and machine.
    tables : tables of `study_layout.TABLES`, words as text; classes without underscores.
    """

    path: Path
    attrs: Mapping[str, str]
    provenance: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame]

    @cached_property
    def designs(self) -> tuple[str, ...]:
        """Names of the designs that have a run to show, in the order of the study."""
        shown = set(self.runs["design"])
        return tuple(name for name in self.tables["design"]["design"] if name in shown)

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """What each design is called."""
        table = self.tables["design"]
        return {
            name: label or name for name, label in zip(table["design"], table["label"], strict=True)
        }

    @cached_property
    def reference(self) -> str:
        """The design that changes count from."""
        return self.attrs["reference_design"]

    @cached_property
    def others(self) -> tuple[str, ...]:
        """All designs but the reference."""
        return tuple(name for name in self.designs if name != self.reference)

    @cached_property
    def runs(self) -> pd.DataFrame:
        """Runs that did not fail, each with `setting` (its point without the seed) and `before`.

        `before` is the run of the reference design that it is compared with. Indexed by run.
        """
        runs = self.tables["run"]
        runs = runs[runs["status"] != "failed"].set_index("run", drop=False).rename_axis(None)
        settings = [
            " ".join(f"{value:g}" for value in row)
            for row in runs[list(AXES)].to_numpy(np.float64).tolist()
        ]
        runs = runs.assign(setting=settings)
        reference = runs[runs["design"] == self.reference]
        known = {
            key: run
            for run, *key_parts in reference[["run", "setting", "seed", "closure"]].itertuples(
                index=False
            )
            for key in [tuple(key_parts)]
        }
        before = [
            next(
                (
                    known[setting, seed, closure]
                    for closure in (own, *study_layout.CLOSURES)
                    if (setting, seed, closure) in known
                ),
                -1,
            )
            for setting, seed, own in runs[["setting", "seed", "closure"]].itertuples(index=False)
        ]
        runs = runs.assign(before=before)
        return runs[runs["before"] >= 0]

    @cached_property
    def base(self) -> pd.DataFrame:
        """Runs of the base point of the axes, all seeds."""
        settings: pd.Series[str] = self.runs.sort_values(["point", "run"])["setting"]
        chosen: pd.DataFrame = self.runs[self.runs["setting"] == settings.iloc[0]]
        return chosen

    @cached_property
    def closures(self) -> tuple[str, ...]:
        """Closures that the study has, in the order none, fixed, resolved."""
        return tuple(c for c in study_layout.CLOSURES if (self.runs["closure"] == c).any())

    @cached_property
    def main_closure(self) -> str:
        """The closure of figures that show one: the last at which every design has a run."""
        found = [
            closure
            for closure in self.closures
            if set(self.base.loc[self.base["closure"] == closure, "design"]) == set(self.designs)
        ]
        return (found or self.closures)[-1]

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the base point."""
        return tuple(sorted(int(seed) for seed in set(self.base["seed"])))

    @cached_property
    def days(self) -> float:
        """Length of the period at the base point, d."""
        return float(self.base["days"].iloc[0])

    @property
    def period(self) -> str:
        """Length of the period in words."""
        return "1 day" if self.days == 1.0 else f"{self.days:g} days"

    def rows(
        self,
        table: str,
        *,
        closure: str | None = None,
        runs: pd.DataFrame | None = None,
    ) -> pd.DataFrame:
        """Return rows of a table with design, closure, seed, setting, before and year_share.

        Parameters
        ----------
        closure : only runs of this closure.
        runs : only these runs; those of the base point by default.
        """
        return self.joined(self.tables[table], closure=closure, runs=runs)

    def joined(
        self,
        table: pd.DataFrame,
        *,
        closure: str | None = None,
        runs: pd.DataFrame | None = None,
    ) -> pd.DataFrame:
        """Return what `rows` does of a table that has the column run."""
        chosen = self.base if runs is None else runs
        if closure is not None:
            chosen = chosen[chosen["closure"] == closure]
        columns = ["design", "closure", "seed", "setting", "before", "year_share"]
        return table.join(chosen[columns], on="run", how="inner")

    @cached_property
    def customers(self) -> pd.DataFrame:
        """Bills of all runs per year beside those of the reference, one row per customer and run.

        Columns: those of `rows` and of tables/bill, `segment`, and the reference's `total_before`
        and `network_before`; all money in EUR/yr.
        """
        bills = self.rows("bill", runs=self.runs)
        money = [c.name for c in study_layout.TABLES["bill"].columns if c.unit == "EUR"]
        bills[money] = bills[money].div(bills["year_share"], axis=0)
        before = bills[["run", "customer", "total", "network"]].rename(columns={"run": "before"})
        bills = bills.merge(before, on=["before", "customer"], suffixes=("", "_before"))
        return bills.assign(segment=segments(bills))

    def bills(self, closure: str, runs: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return `customers` of the base point (or of these runs) at one closure."""
        chosen = self.base if runs is None else runs
        chosen = chosen[chosen["closure"] == closure]
        return self.customers[self.customers["run"].isin(chosen["run"])]

    @cached_property
    def segment_names(self) -> tuple[str, ...]:
        """Customer classes, parted by PV where a class has both; the largest first."""
        counts = self.bills(self.main_closure)["segment"].value_counts()
        return tuple(counts.sort_index().sort_values(ascending=False, kind="stable").index)

    @cached_property
    def title(self) -> str:
        """The name of the study as a title."""
        words = self.attrs["study"].replace("_", " ").strip()
        return words[:1].upper() + words[1:]

    @cached_property
    def peak_level(self) -> str:
        """The level whose peak the report judges designs by: low voltage where there is any."""
        table = self.tables["grid"]
        low = table[table["level"] == LOW_VOLTAGE]["peak_kw"]
        return LOW_VOLTAGE if (low > 0.0).any() else study_layout.ALL_LEVELS

    def peaks(self, level: str) -> pd.DataFrame:
        """Return kw, before (the reference's) and change, %, of a level's peak, by run."""
        table = self.tables["grid"]
        of_level = table[table["level"] == level].set_index("run")["peak_kw"]
        runs = self.runs
        kw = of_level.reindex(runs.index)
        before = pd.Series(of_level.reindex(runs["before"]).to_numpy(), index=runs.index)
        change = 100.0 * (kw / before.where(before > 0.0) - 1.0)
        return pd.DataFrame({"kw": kw, "before": before, "change": change})

    @cached_property
    def key_figures(self) -> pd.DataFrame:
        """tables/kpi with the low-voltage peaks of every run, where there are any."""
        table = self.tables["kpi"]
        if self.peak_level != LOW_VOLTAGE:
            return table
        peaks = self.peaks(LOW_VOLTAGE)
        added = [
            pd.DataFrame(
                {"run": peaks.index, "name": name, "scope": "run", "value": values, "unit": unit}
            )
            for name, values, unit in (
                (LOW_VOLTAGE_PEAK, peaks["kw"], "kW"),
                (LOW_VOLTAGE_REDUCTION, -peaks["change"] / 100.0, "1"),
            )
        ]
        return pd.concat([*added, table], ignore_index=True)

    @cached_property
    def low_voltage_areas(self) -> tuple[str, ...]:
        """The areas whose peaks are summed where low voltage counts, else the root alone."""
        table = self.rows("interface")
        areas = table.loc[table["level"] == LOW_VOLTAGE, "area"]
        return tuple(dict.fromkeys(areas)) or (self.root,)

    @cached_property
    def root(self) -> str:
        """The area at the top of the tree: that without an area above, with the largest peak."""
        table = self.rows("interface")
        top = table[table["parent"] == ""]
        peaks = (top if len(top) else table).groupby("area")["peak_kw"].max()
        return str(peaks.idxmax())


def segments(bills: pd.DataFrame) -> pd.Series[str]:
    """Name the class of each customer, parted by PV where the class has customers with and without.

    Examples
    --------
    >>> bills = pd.DataFrame({"class": ["home", "home", "shop"], "with_pv": [0, 1, 0]})
    >>> list(segments(bills))
    ['home, no PV', 'home with PV', 'shop']
    """
    has_pv = bills["with_pv"].astype(bool)
    share = has_pv.groupby(bills["class"]).transform("mean")
    is_mixed = (share > 0.0) & (share < 1.0)
    suffix = np.where(is_mixed, np.where(has_pv, " with PV", ", no PV"), "")
    return bills["class"].astype(str) + suffix


def load(path: Path) -> StudyData:
    """Read the results of a study.

    Raises
    ------
    ResultsError
        If it cannot be read, or if no run of it can be compared with the reference design.
    """
    with open_study(path) as study:
        tables = {name: study.table(name) for name in study_layout.TABLES}
        attrs, provenance = dict(study.attrs), dict(study.provenance)
    bills = tables["bill"]
    tables["bill"] = bills.assign(**{"class": bills["class"].astype(str).str.replace("_", " ")})
    data = StudyData(path=path, attrs=attrs, provenance=provenance, tables=tables)
    if data.runs.empty:
        failed = int((data.tables["run"]["status"] == "failed").sum())
        raise ResultsError(
            f"{path}: nothing to report: {failed} of {len(data.tables['run'])} runs failed and no "
            f"other has a run of the reference design {data.reference!r} to compare with. Read the "
            "column message of tables/run, mend the cause and run the study again."
        )
    return data


def in_order(values: Sequence[str], order: Sequence[str]) -> pd.Categorical[Any]:
    """Make texts sort as a list does."""
    return pd.Categorical(list(values), categories=pd.Index(order), ordered=True)
