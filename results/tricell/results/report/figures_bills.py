"""Figures of bills: what trade saves each agent, and what bills are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from plotly.graph_objects import Bar, Figure, Scatter

from tricell.results.report import look
from tricell.results.report.drawing import Values, at_the_end, nothing, panels, small
from tricell.results.report.parts import Part
from tricell.results.report.run_data import RunData
from tricell.results.report.words import counted, energy, euros, percent

SAME_KWH = 0.5
SAME_EUR = 0.005
"""Half a cent: bills that differ by less are the same."""
COMPONENTS: Mapping[str, str] = {
    "energy_retail": "energy from the retailer",
    "energy_p2p": "energy from and to peers",
    "export": "fed in to the retailer",
    "network": "network charges",
    "congestion": "congestion",
    "losses": "losses",
    "levy": "levies",
    "redispatch": "redispatch",
    "imbalance": "imbalance",
    "flexibility": "flexibility sold",
}
COMPONENT_COLOURS: Mapping[str, str] = dict(
    zip(COMPONENTS, (*look.TOL_LIGHT, "#BBAADD"), strict=True)
)
MOST_BARS_WITH_GAPS = 120
MOST_CLASSES = 8
CUT_AT = 3.0
"""Panels of savings end at so many times what 95 % of the agents stay below."""


# -------------------------------------------------------------------------------------- savings


def savings(data: RunData) -> Part:
    """Draw the saving of each agent against no trading, sorted, a panel per customer class."""
    key, title = "savings", "Bills against no trading"
    table = bills_of_classes(data)
    if table.empty:
        return nothing(key, title, at_the_end(data, "bill"))
    classes = _largest_classes(table)
    titles = [_class_title(name, part["saving"]) for name, part in classes.items()]
    figure = panels([150] * len(classes), titles, gap=58, below=44)
    for row, (name, part) in enumerate(classes.items(), start=1):
        _draw_savings(figure, row, part.sort_values("saving", kind="stable"), name, row - 1)
    figure.update_xaxes(title_text="agents, from the least to the most saved", row=len(classes))
    figure.update_layout(showlegend=False)
    return Part(key, title, _savings_caption(table), figure, notes=_stored_note(data))


def _stored_note(data: RunData) -> tuple[str, ...]:
    """Say what batteries hold at the end, where that is another amount than without trading."""
    stored, without = (
        data.figure(name) for name in ("stored_energy_end", "stored_energy_end_no_trading")
    )
    if stored is None or without is None or abs(stored - without) < SAME_KWH:
        return ()
    return (
        f"At the end batteries hold {energy(stored)}, without trading {energy(without)}: that "
        "energy is in no bill.",
    )


def bills_of_classes(data: RunData) -> pd.DataFrame:
    """Return the bills whose saving is known, with class and area of each agent."""
    bills = data.bills
    if bills.empty or "saving" not in bills:
        return pd.DataFrame()
    agents = data.agents.set_index("agent")
    joined = bills.assign(
        agent_class=agents["class"].reindex(bills["agent"]).fillna("unknown").to_numpy(),
        area=agents["area"].reindex(bills["agent"]).fillna("").to_numpy(),
    )
    return joined.dropna(subset=["saving"])


def _largest_classes(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Part the bills by class, the largest class first; beyond a few the others together."""
    sizes = table["agent_class"].value_counts()
    kept = list(sizes.index[: MOST_CLASSES if len(sizes) <= MOST_CLASSES else MOST_CLASSES - 1])
    parts = {str(name): table[table["agent_class"] == name] for name in kept}
    others = table[~table["agent_class"].isin(kept)]
    return parts if others.empty else {**parts, "other classes": others}


def _class_title(name: str, saving: pd.Series[float]) -> str:
    label = name.replace("_", " ")
    worse = int((saving < -SAME_EUR).sum())
    return f"<b>{label}</b>: {len(saving):,} agents, {worse:,} worse off"


def _draw_savings(figure: Figure, row: int, part: pd.DataFrame, name: str, place: int) -> None:
    saving = part["saving"].to_numpy(np.float64)
    ranks = np.arange(1, len(saving) + 1)
    worse = saving < -SAME_EUR
    shown = look.colour(place)
    figure.add_trace(
        Bar(
            x=ranks.astype(np.int32),
            y=small(saving),
            width=0.8 if len(saving) <= MOST_BARS_WITH_GAPS else 1.0,
            name=name,
            marker={"color": shown, "line": {"width": 0}},
            customdata=[
                f"{agent} ({area})" for agent, area in zip(part["agent"], part["area"], strict=True)
            ],
            hovertemplate="%{customdata}<br>saves %{y:,.2f} EUR<extra></extra>",
        ),
        row=row,
        col=1,
    )
    figure.update_yaxes(title_text="EUR", row=row)
    figure.update_xaxes(
        range=[0.5, len(saving) + 0.5], tickformat=",d", showgrid=False, nticks=8, row=row
    )
    _cut_single_bars(figure, row, saving)
    if worse.any():
        _mark_worse_off(figure, row, int(worse.sum()), len(saving))


def _cut_single_bars(figure: Figure, row: int, saving: Values) -> None:
    """Let a few very long bars run out of the panel, with their value written, for the others."""
    usual = CUT_AT * float(np.quantile(np.abs(saving), 0.95))
    low, high = float(saving.min(initial=0.0)), float(saving.max(initial=0.0))
    if usual <= SAME_EUR or max(-low, high) <= 2.0 * usual:
        return
    bottom, top = max(low, -usual), min(high, usual)
    room = 0.06 * (top - bottom)
    figure.update_yaxes(range=[bottom - room, top + room], row=row)
    ends = ((low, bottom, 1, "left"), (high, top, len(saving), "right"))
    for value, edge, rank, side in ends:
        if value != edge:
            figure.add_annotation(
                x=rank,
                y=edge,
                text=f"down to {euros(value)}" if value < 0.0 else f"up to {euros(value)}",
                showarrow=False,
                xanchor=side,
                xshift=12 if side == "left" else -12,
                yanchor="bottom" if edge < 0.0 else "top",
                font={"size": 12},
                row=row,
                col=1,
            )


def _mark_worse_off(figure: Figure, row: int, worse: int, count: int) -> None:
    """Shade the agents who lose: where they end is seen even if their bars are tiny."""
    figure.add_vrect(
        x0=0.5,
        x1=worse + 0.5,
        fillcolor=look.BAD,
        opacity=0.13,
        line_width=0,
        row=row,
        col=1,
        annotation={
            "text": f"{worse:,} worse off",
            "font": {"size": 12, "color": look.INK},
            "showarrow": False,
        },
        annotation_position="bottom right" if worse > count // 2 else "top right",
    )
    if worse <= count // 2:
        figure.layout.annotations[-1].update(xanchor="left", xshift=4)


def _savings_caption(table: pd.DataFrame) -> str:
    saving = table["saving"]
    worse = table[saving < -SAME_EUR]
    total, before = float(saving.sum()), float(table["no_trading_total"].sum())
    verb = "save" if total >= 0.0 else "lose"
    meaningful = before > SAME_EUR and abs(total) <= before
    share = f", {percent(abs(total) / before)} of what they would pay" if meaningful else ""
    text = f"All {counted(len(table), 'agent')} together {verb} {euros(abs(total))}{share}."
    text += f" The median is {euros(float(saving.median()))}."
    if worse.empty:
        text += " Nobody is worse off than without trading."
    else:
        worst = worse.iloc[int(worse["saving"].to_numpy().argmin())]
        text += (
            f" {counted(len(worse), 'agent')} ({percent(len(worse) / len(table))}) "
            f"{'is' if len(worse) == 1 else 'are'} worse off (shaded), {worst['agent']} the most "
            f"({euros(float(worst['saving']))})."
        )
    return (
        f"{text} A bar is the bill without trading less the bill; each class has its own scale. "
        "Changes below half a cent count as none."
    )


# ----------------------------------------------------------------------------------- components


def bill_components(data: RunData) -> Part:
    """Draw what the mean bill of each class is made of, beside the bill without trading."""
    key, title = "bill_components", "What bills are made of"
    table = bills_of_classes(data)
    found = [name for name in COMPONENTS if name in table]
    if table.empty or not found:
        return nothing(key, title, at_the_end(data, "bill"))
    classes = _largest_classes(table)
    found = [name for name in found if (table[name].abs() > SAME_EUR).any()]
    titles = [
        f"<b>{name.replace('_', ' ')}</b>, mean of {len(part):,}" for name, part in classes.items()
    ]
    figure = panels([64] * len(classes), titles, gap=66, above=24 + 22 * (len(found) // 3 + 1))
    for row, part in enumerate(classes.values(), start=1):
        _draw_components(figure, row, part, found)
    figure.update_layout(barmode="relative", bargap=0.3)
    figure.update_xaxes(title_text="EUR per agent over the run", row=len(classes))
    figure.update_yaxes(showgrid=False, ticks="", showticklabels=False)
    return Part(key, title, _components_caption(table, found), figure)


def _draw_components(figure: Figure, row: int, part: pd.DataFrame, found: Sequence[str]) -> None:
    for name in found:
        figure.add_trace(
            Bar(
                x=[float(part[name].mean())],
                y=["bill"],
                orientation="h",
                name=COMPONENTS[name],
                legendgroup=name,
                showlegend=row == 1,
                marker={
                    "color": COMPONENT_COLOURS[name],
                    "line": {"color": "white", "width": 0.5},
                },
                hovertemplate=f"{COMPONENTS[name]}: %{{x:,.2f}} EUR per agent<extra></extra>",
            ),
            row=row,
            col=1,
        )
    marks = (("total", "total", "diamond"), ("no_trading_total", "without trading", "line-ns-open"))
    for name, label, symbol in marks:
        figure.add_trace(
            Scatter(
                x=[float(part[name].mean())],
                y=["bill"],
                mode="markers",
                name=label,
                legendgroup=name,
                showlegend=row == 1,
                marker={
                    "symbol": symbol,
                    "size": 11 if symbol == "diamond" else 26,
                    "color": look.INK,
                    "line": {"width": 2.5 if symbol != "diamond" else 0, "color": look.INK},
                },
                hovertemplate=f"{label}: %{{x:,.2f}} EUR per agent<extra></extra>",
            ),
            row=row,
            col=1,
        )


def _components_caption(table: pd.DataFrame, found: Sequence[str]) -> str:
    sums = {name: float(table[name].sum()) for name in found}
    ordered = sorted(sums, key=lambda name: -abs(sums[name]))
    paid = [f"{euros(sums[k])} for {COMPONENTS[k]}" for k in ordered if sums[k] > SAME_EUR]
    received = [f"{euros(-sums[k])} {COMPONENTS[k]}" for k in ordered if sums[k] < -SAME_EUR]
    text = f"All bills add up to {euros(float(table['total'].sum()))}. "
    text += f"Paid is {', '.join(paid)}." if paid else "Nothing is paid."
    if received:
        text += f" Received is {', '.join(received)}."
    return f"{text} What is received goes to the left; each class has its own scale."
