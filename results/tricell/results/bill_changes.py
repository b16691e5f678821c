"""Who wins and who loses between two sets of bills of the same customers, by customer class.

For customer n with the bills b_n before and a_n after, both scaled to a year of 8760 h::

    change_n  = a_n - b_n                      EUR/yr, positive pays more
    percent_n = 100 change_n / b_n             undefined where b_n < 1 EUR/yr

A customer is better or worse off from one cent per year on. Hit hard is who is worse off by more
than 10 % and more than 100 EUR/yr, both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tricell.results.charge_indicators import share_clearly_worse

MATTERS_EUR = 0.01
"""A change below this per year counts as none."""
SMALL_BILL_EUR = 1.0
"""Bills below this per year have no change in percent."""
LARGEST = 5
"""How many of the largest losers are named."""
ALL = "all"
"""The row of all classes together."""


@dataclass(frozen=True)
class CustomerChange:
    """What one customer pays more per year; percent is None where the bill before was none."""

    customer: str
    group: str
    change_eur: float
    percent: float | None


@dataclass(frozen=True)
class ClassChange:
    """How the bills of a class change; EUR/yr, positive pays more.

    Attributes
    ----------
    group : customer class, or `ALL`.
    customers, better, worse : numbers; the rest pay the same.
    mean_percent : change of the sum of bills in percent of that sum, None where that is none.
    median_percent : median over the customers who have a change in percent.
    hard_share : share of customers hit hard, 0 to 1.
    """

    group: str
    customers: int
    better: int
    worse: int
    mean_eur: float
    median_eur: float
    p10_eur: float
    p90_eur: float
    mean_percent: float | None
    median_percent: float | None
    hard_share: float


@dataclass(frozen=True)
class ComponentChange:
    """How a component of the bills changes, summed over all customers, EUR/yr."""

    component: str
    before_eur: float
    after_eur: float

    @property
    def change_eur(self) -> float:
        """After less before, EUR/yr."""
        return self.after_eur - self.before_eur


@dataclass(frozen=True)
class WinnersLosers:
    """Winners and losers between two sets of bills.

    Attributes
    ----------
    classes : all customers first, then every class by name.
    largest_losers : who pays most more, the most first.
    components : how the bills change by component; empty where components are not known.
    year_share : share of a year that the bills cover; what all amounts were divided by.
    """

    classes: tuple[ClassChange, ...]
    largest_losers: tuple[CustomerChange, ...]
    components: tuple[ComponentChange, ...]
    year_share: float


def percent_change(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return changes in percent of yearly bills, NaN where a bill was below `SMALL_BILL_EUR`.

    Parameters
    ----------
    before, after : EUR/yr, shape (N,).
    """
    known = before >= SMALL_BILL_EUR
    shares = np.divide(after - before, before, out=np.full(len(before), np.nan), where=known)
    return np.asarray(100.0 * shares, np.float64)


def winners_and_losers(
    bills: pd.DataFrame,
    year_share: float,
    before: pd.DataFrame | None = None,
    after: pd.DataFrame | None = None,
) -> WinnersLosers:
    """Compare two sets of bills.

    Parameters
    ----------
    bills : one row per customer and seed, indexed by customer, with the columns `group`, `before`
        and `after`, EUR over the period.
    year_share : share of a year that the period covers, above 0.
    before, after : bills by component, EUR over the period, one row per customer and one column
        per component; None where they are not known.
    """
    yearly = pd.DataFrame(
        {
            "group": bills["group"].astype(str),
            "before": bills["before"].to_numpy(np.float64) / year_share,
            "after": bills["after"].to_numpy(np.float64) / year_share,
        },
        index=bills.index,
    )
    groups = [(ALL, yearly), *((str(name), part) for name, part in yearly.groupby("group"))]
    return WinnersLosers(
        classes=tuple(_class_change(name, part) for name, part in groups if len(part)),
        largest_losers=_largest_losers(yearly),
        components=_components(before, after, year_share),
        year_share=year_share,
    )


def _class_change(group: str, yearly: pd.DataFrame) -> ClassChange:
    before, after = (yearly[name].to_numpy(np.float64) for name in ("before", "after"))
    change = after - before
    percent = percent_change(before, after)
    low, middle, high = np.quantile(change, (0.1, 0.5, 0.9))
    of_sum = percent_change(before.sum(keepdims=True), after.sum(keepdims=True))[0]
    return ClassChange(
        group=group,
        customers=len(change),
        better=int((change < -MATTERS_EUR).sum()),
        worse=int((change > MATTERS_EUR).sum()),
        mean_eur=float(change.mean()),
        median_eur=float(middle),
        p10_eur=float(low),
        p90_eur=float(high),
        mean_percent=_known(of_sum),
        median_percent=_known(np.nanmedian(percent)) if np.isfinite(percent).any() else None,
        hard_share=share_clearly_worse(after, before, 1.0) or 0.0,
    )


def _largest_losers(yearly: pd.DataFrame) -> tuple[CustomerChange, ...]:
    """Name who pays most more, everybody once: by the mean of its bills over all seeds."""
    one_each = yearly.groupby(level=0, sort=False).agg(
        {"group": "first", "before": "mean", "after": "mean"}
    )
    before, after = (one_each[name].to_numpy(np.float64) for name in ("before", "after"))
    change, percent = after - before, percent_change(before, after)
    rows = np.argsort(-change, kind="stable")[:LARGEST]
    return tuple(
        CustomerChange(
            str(one_each.index[row]),
            str(one_each["group"].iloc[row]),
            float(change[row]),
            _known(percent[row]),
        )
        for row in rows
        if change[row] > MATTERS_EUR
    )


def _components(
    before: pd.DataFrame | None, after: pd.DataFrame | None, year_share: float
) -> tuple[ComponentChange, ...]:
    if before is None or after is None:
        return ()
    names = list(dict.fromkeys([*before.columns, *after.columns]))
    sums = [
        table.reindex(columns=names).fillna(0.0).sum() / year_share for table in (before, after)
    ]
    return tuple(
        ComponentChange(str(name), float(sums[0][name]), float(sums[1][name]))
        for name in names
        if max(abs(sums[0][name]), abs(sums[1][name])) > MATTERS_EUR
    )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
