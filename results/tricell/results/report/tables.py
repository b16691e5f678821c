"""Key figures, areas, slot verdicts, what limits the market, warnings and provenance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from plotly.graph_objects import Bar, Figure, Heatmap, Scatter

from tricell.results import layout
from tricell.results.figure_list import FIGURES
from tricell.results.figure_names import figure_factor, figure_name, figure_unit
from tricell.results.report import look
from tricell.results.report.drawing import at_the_end, nothing, panels, small, time_steps
from tricell.results.report.parts import Cell, Part, PartTable
from tricell.results.report.run_data import RunData, span
from tricell.results.report.words import UNKNOWN, counted, number, percent

MOST_BINDING = 15
Binding: TypeAlias = tuple[str, int, int]
"""Kind of an element, its row in the table of that kind, and in how many slots it binds."""


# ---------------------------------------------------------------------------------- key figures


def key_figures(data: RunData) -> Part:
    """List the figures of the whole run."""
    key, title = "key_figures", "Key figures of the run"
    table = data.kpis
    rows = table[table["scope_kind"] == layout.RUN_SCOPE] if len(table) else table
    if rows.empty:
        return Part(key, title, "", notes=(f"No key figures: {at_the_end(data, 'kpi')}",))
    cells = [_figure_row(row) for row in _records(rows)]
    unknown = sum(row[1] is None for row in cells)
    caption = f"{counted(len(cells), 'figure')} of the whole run."
    if unknown:
        caption += f" {unknown} of them {'is' if unknown == 1 else 'are'} undefined: {UNKNOWN}."
    return Part(key, title, caption, rows=PartTable(("figure", "value", "unit", "meaning"), cells))


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    columns = [str(name) for name in table.columns]
    return [dict(zip(columns, row, strict=True)) for row in table.itertuples(index=False)]


def _figure_row(row: Mapping[str, Any]) -> tuple[Cell, ...]:
    name, value = str(row["name"]), float(row["value"])
    defined = np.isfinite(value)
    known = FIGURES.get(name)
    meaning = _capital(known.meaning) if known else ""
    if not defined:
        why = (known.undefined if known else "") or "the file does not tell"
        meaning = f"{meaning}. Undefined: {why}" if meaning else f"Undefined: {why}"
    return (
        _capital(figure_name(name)),
        value * figure_factor(name) if defined else None,
        figure_unit(name, str(row["unit"])),
        meaning,
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# ---------------------------------------------------------------------------------------- areas


def area_table(data: RunData) -> Part:
    """One row per area with its main figures, level by level."""
    key, title = "area_table", "Areas"
    if data.areas.empty:
        return Part(key, title, "", notes=("The file has no areas.",))
    level_of = {level: place for place, level in enumerate(reversed(layout.AREA_LEVELS))}
    order = data.areas["level"].map(level_of).sort_values(kind="stable").index
    areas = data.areas.loc[order]
    columns = _area_columns(data)
    rows = [
        (
            str(area),
            look.LEVEL_NAME.get(str(level), str(level)),
            *(values.get(str(area)) for values in columns.values()),
        )
        for area, level in zip(areas["area"], areas["level"], strict=True)
    ]
    used = _columns_with_values(rows)
    headings = ["area", "level", *columns]
    return Part(
        key,
        title,
        _area_caption(data, areas),
        rows=PartTable(
            [headings[place] for place in used],
            [[row[place] for place in used] for row in rows],
            [str(area) for area in areas["area"]],
        ),
    )


def _columns_with_values(rows: Sequence[Sequence[Cell]]) -> list[int]:
    return [place for place in range(len(rows[0])) if any(row[place] is not None for row in rows)]


def _area_columns(data: RunData) -> dict[str, dict[str, float | None]]:
    """Return heading -> area -> value; None where unknown."""
    agents = data.agents.groupby("area").size() if len(data.agents) else pd.Series(dtype=float)
    saving = _saving_by_area(data)
    return {
        "members": {str(area): int(agents.get(area, 0)) for area in data.areas["area"]},
        "traded, kWh": _from_series(data, "energy_traded", _sum),
        "peak import, kW": _from_series(data, "p_import", _highest),
        "peak export, kW": _from_series(data, "p_import", _lowest_turned),
        "mean price, EUR/kWh": _from_series(data, "price", _mean),
        "losses, kWh": _from_series(data, "loss", _sum_of_kw),
        "lowest voltage, pu": _bus_extreme(data, "min"),
        "highest voltage, pu": _bus_extreme(data, "max"),
        "highest transformer loading, %": _trafo_peak(data),
        "saving of members, EUR": saving,
    }


def _from_series(
    data: RunData, variable: str, reduce: Callable[[RunData, str, str], Any]
) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for level in data.levels:
        if data.has(level, variable):
            values = reduce(data, level, variable)
            for area, value in zip(data.ids(level), values, strict=True):
                found[str(area)] = _finite(value)
    return found


def _sum(data: RunData, level: str, variable: str) -> Any:
    return data.total(level, variable)


def _sum_of_kw(data: RunData, level: str, variable: str) -> Any:
    return data.total(level, variable) * data.slot_hours


def _highest(data: RunData, level: str, variable: str) -> Any:
    return np.maximum(data.highest(level, variable), 0.0)


def _lowest_turned(data: RunData, level: str, variable: str) -> Any:
    return np.maximum(-data.lowest(level, variable), 0.0)


def _mean(data: RunData, level: str, variable: str) -> Any:
    values = data.whole(level, variable)
    known = np.isfinite(values).sum(axis=0)
    total = np.where(np.isfinite(values), values, 0.0).sum(axis=0)
    return np.where(known > 0, total / np.maximum(known, 1), np.nan)


def _bus_extreme(data: RunData, how: str) -> dict[str, float | None]:
    if not data.has("bus", "vm") or data.buses.empty:
        return {}
    values = data.lowest("bus", "vm") if how == "min" else data.highest("bus", "vm")
    groups = pd.Series(values).groupby(data.buses["area"].to_numpy())
    found = groups.min() if how == "min" else groups.max()
    return {str(area): _finite(value) for area, value in found.items()}


def _trafo_peak(data: RunData) -> dict[str, float | None]:
    if not data.has("trafo", "loading") or data.trafos.empty:
        return {}
    peaks = pd.Series(data.highest("trafo", "loading")).groupby(data.trafos["area"].to_numpy())
    return {str(area): _finite(value) for area, value in peaks.max().items()}


def _saving_by_area(data: RunData) -> dict[str, float | None]:
    if data.bills.empty or "saving" not in data.bills:
        return {}
    area_of = data.agents.set_index("agent")["area"].reindex(data.bills["agent"]).to_numpy()
    sums = data.bills["saving"].groupby(area_of).sum(min_count=1)
    return {str(area): _finite(value) for area, value in sums.items()}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _area_caption(data: RunData, areas: pd.DataFrame) -> str:
    counts = areas["level"].value_counts()
    parts = [counted(int(counts[level]), look.LEVEL_NAME[level]) for level in data.levels[::-1]]
    return (
        f"{', '.join(parts)}. Import and export are the cleared power of all members, those of "
        "areas inside too; voltages, losses and members are the area's own; the transformers are "
        "those that feed it."
    )


# -------------------------------------------------------------------------------------- verdicts


def slot_verdicts(data: RunData) -> Part:
    """Draw the verdict on each slot, over time."""
    key, title = "slot_verdicts", "Were all limits kept?"
    if not data.has("slot", "verdict"):
        return nothing(key, title, "the file has no verdicts on slots.")
    verdicts = data.slots["verdict"].astype(str)
    again = _reclearings(data)
    single = data.slots_per_bucket == 1
    titles = ["Verdict on each slot" if single else "Slots by verdict, %", "Markets cleared again"]
    titles = titles if again.any() else titles[:1]
    figure = panels([74 if single else 150, 120][: len(titles)], titles, above=30)
    draw = _draw_strip if single else _draw_shares
    draw(figure, data)
    if again.any():
        _draw_reclearings(figure, data, again)
    figure.update_xaxes(title_text=data.time_title, row=len(titles))
    figure.update_layout(
        barmode="stack", bargap=0.0, showlegend=True, legend={"traceorder": "normal"}
    )
    return Part(key, title, _verdict_caption(data, verdicts), figure, rows=_verdict_rows(verdicts))


def _reclearings(data: RunData) -> NDArray[np.int64]:
    """Return how often markets were cleared again in each step of the axis of time."""
    if not data.has("slot", "reclearings"):
        return np.zeros(0, dtype=np.int64)
    again = data.whole("slot", "reclearings")[:, 0].astype(np.int64)
    sums: NDArray[np.int64] = np.add.reduceat(
        again, np.arange(0, len(again), data.slots_per_bucket)
    )
    return sums


def _draw_strip(figure: Figure, data: RunData) -> None:
    """Draw a strip with a cell for each slot."""
    codes = _verdict_codes(data)
    words = [flag.word for flag in layout.VERDICTS]
    colours = [look.VERDICT_COLOURS[word] for word in words]
    edges = np.linspace(0.0, 1.0, len(words) + 1)
    scale = [
        [float(edge), colour]
        for place, colour in enumerate(colours)
        for edge in edges[place : place + 2]
    ]
    figure.add_trace(
        Heatmap(
            z=[codes.tolist()],
            y=[""],
            **time_steps(data.times, data.bucket_hours),
            zmin=-0.5,
            zmax=len(words) - 0.5,
            colorscale=scale,
            showscale=False,
            text=[[look.VERDICT_NAMES[words[code]] for code in codes]],
            hovertemplate="%{x|%a %d %b %Y %H:%M}: %{text}<extra></extra>",
        ),
        row=1,
        col=1,
    )
    for code in np.unique(codes):
        mark = {"symbol": "square", "size": 11, "color": colours[code]}
        name = look.VERDICT_NAMES[words[code]]
        figure.add_trace(
            Scatter(x=[None], y=[None], mode="markers", marker=mark, name=name), row=1, col=1
        )
    figure.update_yaxes(showgrid=False, ticks="", row=1)


def _draw_shares(figure: Figure, data: RunData) -> None:
    """Draw what share of the slots of each step has which verdict."""
    codes = _verdict_codes(data)
    starts = np.arange(0, len(codes), data.slots_per_bucket)
    slots = np.diff(np.append(starts, len(codes)))
    for code in np.unique(codes):
        word = layout.VERDICTS[code].word
        share = 100.0 * np.add.reduceat((codes == code).astype(np.int64), starts) / slots
        figure.add_trace(
            Bar(
                y=small(share),
                **time_steps(data.times, data.bucket_hours),
                name=look.VERDICT_NAMES[word],
                marker={"color": look.VERDICT_COLOURS[word], "line": {"width": 0}},
                width=data.bucket_hours * 3_600_000,
                offset=0,
                hovertemplate="%{x|%a %d %b %Y %H:%M}, " + look.VERDICT_NAMES[word] + ": "
                "%{y:.1f} % of the slots<extra></extra>",
            ),
            row=1,
            col=1,
        )
    figure.update_yaxes(title_text="%", range=[0, 100], row=1)


def _verdict_codes(data: RunData) -> NDArray[np.int64]:
    codes: NDArray[np.int64] = data.whole("slot", "verdict")[:, 0].astype(np.int64)
    return codes


def _draw_reclearings(figure: Figure, data: RunData, sums: NDArray[np.int64]) -> None:
    figure.add_trace(
        Bar(
            y=sums.astype(np.int32),
            **time_steps(data.times, data.bucket_hours),
            marker={
                "color": look.VERDICT_COLOURS["limits_met_by_reclearing"],
                "line": {"width": 0},
            },
            width=data.bucket_hours * 3_600_000,
            offset=0,
            showlegend=False,
            hovertemplate="%{x|%a %d %b %Y %H:%M}: cleared again %{y} times<extra></extra>",
        ),
        row=2,
        col=1,
    )
    top = int(sums.max(initial=0))
    figure.update_yaxes(title_text="times", range=[0, max(1, top) * 1.08], row=2)
    if top <= 4:
        figure.update_yaxes(dtick=1, row=2)


def _verdict_rows(verdicts: pd.Series[str]) -> PartTable:
    counts = verdicts.value_counts()
    rows: list[Sequence[Cell]] = []
    for flag in layout.VERDICTS:
        count = int(counts.get(flag.word, 0))
        name = _capital(look.VERDICT_NAMES[flag.word])
        rows.append((name, count, 100.0 * count / len(verdicts), _capital(flag.meaning)))
    return PartTable(("verdict", "slots", "share, %", "meaning"), rows)


def _verdict_caption(data: RunData, verdicts: pd.Series[str]) -> str:
    bad = verdicts.isin(["limits_broken", "no_ac_solution"])
    kept = len(verdicts) - int(bad.sum())
    text = f"In {kept:,} of {counted(len(verdicts), 'slot')} all limits are kept"
    by_again = int((verdicts == "limits_met_by_reclearing").sum())
    text += f", in {by_again:,} of them only after the market cleared again." if by_again else "."
    if bad.any():
        first = verdicts.index[int(np.argmax(bad.to_numpy()))]
        text += f" The first that is not is {first:%d %b %Y %H:%M} local time."
    if data.slots_per_bucket > 1:
        text += f" Each step is {span(data.bucket_hours)}."
    return text


# ------------------------------------------------------------------------------------ bottlenecks


def binding_elements(data: RunData) -> Part:
    """Draw which elements limit the market most, and in how many slots."""
    key, title = "binding_elements", "What limits the market"
    if not (data.has("slot", "binding_kind") and data.has("slot", "binding_element")):
        return nothing(key, title, "the file does not tell which element binds.")
    kinds = data.slots["binding_kind"].astype(str)
    free = int((kinds == "none").sum())
    found = pd.DataFrame({"kind": kinds, "row": data.slots["binding_element"].astype(int)})
    bound = found[found["kind"] != "none"].groupby(["kind", "row"], observed=True).size()
    counts = [
        (str(kind), int(row), int(count))
        for kind, row, count in bound.sort_values(ascending=False, kind="stable")
        .rename("count")
        .reset_index()
        .itertuples(index=False)
    ]
    if not counts:
        return nothing(key, title, f"no grid limit binds in any of {counted(len(kinds), 'slot')}.")
    top = counts[:MOST_BINDING]
    figure = panels([26 * len(top) + 20], [""], above=26)
    _draw_binding(figure, data, top)
    caption = _binding_caption(data, counts, free, len(kinds))
    left_out = len(counts) - len(top)
    notes = (f"{counted(left_out, 'other element')} bind more rarely.",) if left_out > 0 else ()
    return Part(key, title, caption, figure, notes=notes)


_BINDING_LOOKS = {
    "bus": ("voltage of a bus", look.OKABE_ITO[0], ""),
    "line": ("line", look.OKABE_ITO[1], "/"),
    "trafo": ("transformer", look.OKABE_ITO[2], "x"),
}


def _draw_binding(figure: Figure, data: RunData, top: Sequence[Binding]) -> None:
    rows = [(kind, *_element(data, kind, row), count) for kind, row, count in top]
    for kind, (label, colour, pattern) in _BINDING_LOOKS.items():
        part = [row for row in rows if row[0] == kind]
        for area in dict.fromkeys(row[2] for row in part):
            mine = [row for row in part if row[2] == area]
            figure.add_trace(
                Bar(
                    x=[row[3] for row in mine],
                    y=[row[1] for row in mine],
                    orientation="h",
                    name=label,
                    legendgroup=kind,
                    showlegend=area == part[0][2],
                    meta={"area": area},
                    marker={
                        "color": colour,
                        "pattern": {"shape": pattern, "fillmode": "overlay", "solidity": 0.2},
                    },
                    hovertemplate=f"%{{y}} ({area})<br>binds in %{{x:,}} slots<extra></extra>",
                )
            )
    names = [row[1] for row in rows]
    figure.update_yaxes(
        categoryorder="array", categoryarray=names[::-1], showgrid=False, ticks="", type="category"
    )
    figure.update_xaxes(title_text="slots in which it binds most", rangemode="tozero")
    figure.update_layout(barmode="stack", bargap=0.3)


def _element(data: RunData, kind: str, row: int) -> tuple[str, str]:
    """Return id and area of an element; the row number where its table does not have it."""
    table = data.table(kind)
    if not 0 <= row < len(table):
        return f"{kind} {row}", ""
    return str(table[kind].iloc[row]), str(table["area"].iloc[row])


def _binding_caption(data: RunData, counts: Sequence[Binding], free: int, slots: int) -> str:
    kind, row, most = counts[0]
    name, _ = _element(data, kind, row)
    label = _BINDING_LOOKS[kind][0]
    return (
        f"In {percent(1.0 - free / slots)} of {counted(slots, 'slot')} a limit of the grid holds "
        f"trade back. Most often it is {name} ({label}), in {counted(most, 'slot')} "
        f"({percent(most / slots)}). Counted is the element that limits the market most in a slot."
    )


# ------------------------------------------------------------------------- warnings and provenance


def warnings(data: RunData) -> Part:
    """List what a reader of the results should know, the most frequent first."""
    key, title = "warnings", "Warnings"
    table = data.warnings
    if table.empty:
        note = "There are none." if data.status == "complete" else "There are none so far."
        return Part(key, title, "What a reader of the results should know.", notes=(note,))
    if "count" not in table:
        table = table.assign(count=1)
    if "element" not in table:
        table = table.assign(element="")
    rows = [
        (str(kind), str(message), *_where(part), int(part["count"].sum()))
        for (kind, message), part in table.groupby(["kind", "message"], sort=False)
    ]
    rows.sort(key=lambda row: -row[-1])
    total = sum(row[-1] for row in rows)
    caption = f"{counted(total, 'warning')} of {counted(len(rows), 'kind')}; times are UTC."
    headings = ("kind", "what happened and how it was treated", "elements", "first", "times")
    return Part(key, title, caption, rows=PartTable(headings, rows))


def _where(part: pd.DataFrame) -> tuple[str, str]:
    elements = [str(each) for each in pd.unique(part["element"]) if each]
    names = ", ".join(elements[:3]) + (
        f" and {len(elements) - 3} more" if len(elements) > 3 else ""
    )
    return names or UNKNOWN, f"{part['time'].min():%Y-%m-%d %H:%M}"


def provenance(data: RunData) -> Part:
    """List what made this run: program, packages, inputs, solver, machine, seed, scenario."""
    attributes = data.results.attrs
    rows: list[Sequence[Cell]] = [
        ("run", label, str(attributes[name]))
        for name, label in (
            ("run_id", "run"),
            ("date_created", "begun"),
            ("source", "made by"),
            ("schema_version", "version of the file's layout"),
            ("scenario_sha256", "SHA-256 of the scenario"),
            ("random_seed", "seed of everything random"),
            ("time_step_s", "length of a slot, s"),
            ("failure_message", "why it failed"),
        )
        if name in attributes
    ]
    rows += list(_provenance_rows(data.results.provenance))
    caption = (
        "What is needed to repeat this run: with the same scenario, seed and versions it ends with "
        "the same numbers."
    )
    folded = {"Scenario as it was run (YAML)": data.results.scenario_yaml}
    return Part(
        "provenance",
        "Provenance",
        caption,
        rows=PartTable(("about", "what", "value"), rows),
        folded=folded,
    )


def _provenance_rows(known: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Give rows of what is known: texts as they are, mappings key by key, inputs one by one."""
    for name_, value in known.items():
        about = name_.replace("_", " ")
        if isinstance(value, Mapping):
            for name, each in value.items():
                yield about, str(name).replace("_", " "), _text(each)
        elif isinstance(value, list) and all(isinstance(each, Mapping) for each in value):
            for each in value:
                yield about, str(each.get("name", "")), _input(each)
        else:
            yield about, "", _text(value)


def _input(given: Mapping[str, Any]) -> str:
    version, licence = str(given.get("version") or ""), str(given.get("licence") or "")
    texts = [f"version {version}" if version else "", f"licence {licence}" if licence else ""]
    rest = [
        f"{name} {_text(value)}"
        for name, value in given.items()
        if name not in ("name", "version", "licence") and value
    ]
    return ", ".join(text for text in (*texts, *rest) if text) or UNKNOWN


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(_text(each) for each in value) or UNKNOWN
    if isinstance(value, float):
        return number(value, 6)
    return UNKNOWN if value is None or value == "" else str(value)


ALL = (
    key_figures,
    area_table,
    slot_verdicts,
    binding_elements,
    warnings,
    provenance,
)
"""All of this module, in the order of a page."""
