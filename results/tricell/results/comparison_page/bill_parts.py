"""Who gains and who loses between two runs or designs, as figures and tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from plotly.graph_objects import Bar, Scatter

from tricell.results.bill_changes import ALL, ClassChange, WinnersLosers
from tricell.results.charge_indicators import WORSE_EUR_PER_YEAR, WORSE_PERCENT
from tricell.results.report import look
from tricell.results.report.drawing import nothing, panels, small
from tricell.results.report.figures_bills import COMPONENTS
from tricell.results.report.parts import Part, PartTable
from tricell.results.report.run_data import RunData, span
from tricell.results.report.words import counted, euros

SAME_EUR = 0.005
MOST_CLASSES = 8
PAYS_LESS, PAYS_MORE = look.OKABE_ITO[0], look.BAD
DAYS_PER_YEAR = 365.0


def sorted_changes(first: RunData, other: RunData, letters: tuple[str, str]) -> Part:
    """Draw by how much the bill of each customer differs, sorted, a panel per class."""
    before, after = letters
    key, title = (
        f"bills_{after}",
        f"What each customer pays more or less in {after} than in {before}",
    )
    table = _changes(first, other)
    if table.empty:
        return nothing(key, title, "the two files do not have bills of the same customers.")
    sizes = table["class"].value_counts()
    classes = [str(name) for name in sizes.index[:MOST_CLASSES]]
    titles = [_panel_title(name, table.loc[table["class"] == name, "change"]) for name in classes]
    figure = panels([140] * len(classes), titles, gap=58, below=44)
    for row, name in enumerate(classes, start=1):
        part = table[table["class"] == name].sort_values("change", kind="stable")
        change = part["change"].to_numpy(np.float64)
        figure.add_trace(
            Bar(
                x=np.arange(1, len(change) + 1, dtype=np.int32),
                y=small(change),
                width=0.8 if len(change) <= 120 else 1.0,
                marker={
                    "color": np.where(change > 0.0, PAYS_MORE, PAYS_LESS).tolist(),
                    "line": {"width": 0},
                },
                customdata=[str(agent) for agent in part.index],
                hovertemplate="%{customdata}: %{y:+,.2f} EUR<extra></extra>",
                name=name,
            ),
            row=row,
            col=1,
        )
        figure.update_xaxes(range=[0.5, len(change) + 0.5], showgrid=False, row=row)
        figure.update_yaxes(title_text="EUR", row=row)
    figure.update_xaxes(title_text="customers, from who pays less to who pays more",
                        row=len(classes))  # fmt: skip
    figure.update_layout(showlegend=False)
    total = table["change"]
    less, more = int((total < -SAME_EUR).sum()), int((total > SAME_EUR).sum())
    left_out = len(sizes) - len(classes)
    return Part(
        key,
        title,
        f"Bill in {after} less bill in {before} over the period. Of "
        f"{counted(len(total), 'customer')} {less:,} pay less, {more:,} more and "
        f"{len(total) - less - more:,} the same; together "
        f"{euros(float(total.sum()))}. Each class has its own scale; bars below zero pay less.",
        figure,
        notes=(f"{counted(left_out, 'smaller class', 'smaller classes')} not drawn.",)
        if left_out
        else (),
    )


def _changes(first: RunData, other: RunData) -> pd.DataFrame:
    """Return class and change (EUR, positive pays more) of the customers of both runs."""
    if first.bills.empty or other.bills.empty:
        return pd.DataFrame()
    before, after = (each.bills.set_index("agent")["total"].dropna() for each in (first, other))
    names = before.index.intersection(after.index)
    groups = first.agents.set_index("agent")["class"].reindex(names).fillna("unknown")
    return pd.DataFrame({"class": groups.astype(str), "change": after[names] - before[names]})


def _panel_title(name: str, change: pd.Series[float]) -> str:
    more = int((change > SAME_EUR).sum())
    return f"<b>{name.replace('_', ' ')}</b>: {len(change):,} customers, {more:,} pay more"


def classes(winners: WinnersLosers, letters: tuple[str, str], seeds: int = 1) -> Part:
    """Draw and list how the bills of customer classes change."""
    before, after = letters
    found = list(winners.classes)
    figure = panels([40 + 34 * len(found)], [""], above=30)
    names = [_class_name(each) for each in found]
    figure.add_trace(
        Bar(
            x=[each.p90_eur - each.p10_eur for each in found],
            base=[each.p10_eur for each in found],
            y=names,
            orientation="h",
            width=0.5,
            name="the middle 80 % of customers",
            marker={"color": look.PALE, "line": {"width": 0}},
            customdata=[f"{each.p10_eur:+,.2f} to {each.p90_eur:+,.2f}" for each in found],
            hovertemplate="%{y}, middle 80 %: %{customdata} EUR/yr<extra></extra>",
        )
    )
    for label, symbol, values in (
        ("median", "line-ns-open", [each.median_eur for each in found]),
        ("mean", "diamond", [each.mean_eur for each in found]),
    ):
        figure.add_trace(
            Scatter(
                x=values,
                y=names,
                mode="markers",
                name=label,
                marker={
                    "symbol": symbol,
                    "size": 20 if symbol == "line-ns-open" else 9,
                    "color": look.INK if symbol == "line-ns-open" else look.OKABE_ITO[0],
                    "line": {"width": 2.2 if symbol == "line-ns-open" else 0},
                },
                hovertemplate=f"%{{y}}, {label}: %{{x:+,.2f}} EUR/yr<extra></extra>",
            )
        )
    figure.update_xaxes(title_text="pays more per year, EUR", zeroline=True, zerolinewidth=1.5)
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="", type="category")
    rows = [
        (
            _class_name(each),
            each.customers,
            each.better,
            each.worse,
            each.mean_eur,
            each.median_eur,
            each.p10_eur,
            each.p90_eur,
            each.mean_percent,
            100.0 * each.hard_share,
        )
        for each in found
    ]
    headings = ("class", "customers", "better off", "worse off", "mean, EUR/yr", "median, EUR/yr",
                "10 %, EUR/yr", "90 %, EUR/yr", "mean, %", "hit hard, %")  # fmt: skip
    return Part(
        f"classes_{after}",
        f"Customer classes: bills in {after} against {before}",
        f"{_scaled(winners)} Positive pays more. Hit hard: worse by more than {WORSE_PERCENT:g} % "
        f"and more than {WORSE_EUR_PER_YEAR:g} EUR/yr." + _of_seeds(seeds),
        figure,
        PartTable(headings, rows),
    )


def _class_name(change: ClassChange) -> str:
    return "all customers" if change.group == ALL else change.group.replace("_", " ")


def _scaled(winners: WinnersLosers) -> str:
    return f"Bills of {span(round(24.0 * DAYS_PER_YEAR * winners.year_share, 6))} scaled to a year."


def _of_seeds(seeds: int) -> str:
    return f" The customers of {seeds} seeds are counted together." if seeds > 1 else ""


def components(winners: WinnersLosers, letters: tuple[str, str]) -> Part:
    """List how the components of all bills change."""
    before, after = letters
    key, title = f"components_{after}", f"Components of all bills: {after} against {before}"
    if not winners.components:
        return Part(key, title, "", notes=("The files do not tell the components of bills.",))
    found = sorted(winners.components, key=lambda each: -abs(each.change_eur))
    rows: list[Sequence[str | float]] = [
        (COMPONENTS.get(each.component, each.component.replace("_", " ")), each.before_eur,
         each.after_eur, _no_residue(each.change_eur))
        for each in found
    ]  # fmt: skip
    sums = [sum(getattr(each, name) for each in found) for name in ("before_eur", "after_eur")]
    rows.append(("all together", *sums, _no_residue(sums[1] - sums[0])))
    headings = ("component", f"{before}, EUR/yr", f"{after}, EUR/yr", f"{after} − {before}, EUR/yr")
    return Part(key, title, _scaled(winners), rows=PartTable(headings, rows))


def _no_residue(amount: float) -> float:
    return 0.0 if abs(amount) < SAME_EUR else amount


def losers(winners: WinnersLosers, letters: tuple[str, str]) -> Part:
    """List who pays most more."""
    before, after = letters
    key, title = f"losers_{after}", f"Who pays most more in {after} than in {before}"
    if not winners.largest_losers:
        return Part(key, title, "", notes=("Nobody pays more.",))
    rows = [
        (each.customer, each.group.replace("_", " "), each.change_eur, each.percent)
        for each in winners.largest_losers
    ]
    headings = ("customer", "class", "pays more, EUR/yr", "%")
    return Part(key, title, _scaled(winners), rows=PartTable(headings, rows))
