"""The hierarchy of a run as a map: areas, the customer classes in them, and each customer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from tricell.results.report import look
from tricell.results.report.parts import Control, Part
from tricell.results.report.run_data import RunData
from tricell.results.report.words import number

Floats: TypeAlias = NDArray[np.float64]

ALL = "all:"
"""Id of the node that holds all, where no single area does."""
UNDEFINED = "#FFFFFF"
_BORDER = {"width": 1, "color": look.PALE}
"""Blocks of one colour can still be told apart."""
LEVELS_SHOWN = 3
"""So many levels of the map are shown at a time; a click goes deeper."""


@dataclass(frozen=True)
class Measure:
    """A figure that can colour the map.

    Attributes
    ----------
    name, unit : for people.
    values : of each node, NaN where undefined.
    scale : colours, from the lowest to the highest.
    low, high : values at the ends of the scale; what lies beyond has the colour of the end.
    logarithmic : whether colours follow the logarithm.
    """

    name: str
    unit: str
    values: Floats
    scale: look.ColourScale
    low: float
    high: float
    logarithmic: bool = False


@dataclass
class Nodes:
    """Nodes of the map, each after the one that holds it.

    Attributes
    ----------
    areas : the area that choosing the node chooses.
    members : customers in the node, as rows of table agent.
    """

    ids: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    parents: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    areas: list[str] = field(default_factory=list)
    members: list[NDArray[np.int64]] = field(default_factory=list)

    def add(
        self,
        node: str,
        label: str,
        *,
        parent: str,
        kind: str,
        area: str,
        members: NDArray[np.int64],
    ) -> None:
        """Add a node."""
        self.ids.append(node)
        self.labels.append(label)
        self.parents.append(parent)
        self.kinds.append(kind)
        self.areas.append(area)
        self.members.append(members)


def hierarchy(data: RunData) -> Part:
    """Draw the areas and their customers as a treemap that one can click through."""
    nodes = hierarchy_nodes(data)
    measures = hierarchy_measures(data, nodes)
    figure = go.Figure(
        go.Treemap(
            ids=nodes.ids,
            labels=nodes.labels,
            parents=nodes.parents,
            values=_own_weights(nodes),
            branchvalues="remainder",
            text=_sizes(nodes),
            textinfo="label+text",
            customdata=nodes.areas,
            hovertext=_hover_texts(nodes, measures),
            hoverinfo="text",
            maxdepth=LEVELS_SHOWN,
            tiling={"pad": 3},
            pathbar={"visible": True, "thickness": 28},
            marker={"line": _BORDER},
        )
    )
    if measures:
        figure.update_traces(_look(measures[0]))
    figure.update_layout(uniformtext={"minsize": 11, "mode": "hide"})
    figure.update_layout(look.base_layout(560, margin={"l": 2, "r": 2, "t": 32, "b": 60}))
    return Part(
        key="hierarchy",
        title="Areas and customers",
        caption="Each block is an area, as large as it has customers; in it lie the areas that it "
        "feeds and its own customers by class. Click a block to go into it, down to the single "
        "customer, and the path above to go back. The whole page then shows that area where it "
        "can. White blocks have no such figure.",
        figure=figure,
        control=_control(measures),
        extra={
            "kinds": nodes.kinds,
            "measures": [measure_heading(each) for each in measures],
            "figures": [[rounded(value) for value in each.values] for each in measures],
        },
    )


def measure_heading(measure: Measure) -> str:
    """Write the name of a measure with its unit."""
    return f"{measure.name}, {measure.unit}"


def hierarchy_nodes(data: RunData) -> Nodes:
    """Return areas, the classes of their own customers, and customers."""
    nodes = Nodes()
    agents = data.agents
    own = {
        str(area): np.flatnonzero((agents["area"] == area).to_numpy())
        for area in agents["area"].unique()
    }
    tops = [str(area) for area in data.areas.loc[data.areas["parent"] == "", "area"]]
    if len(tops) != 1:
        nodes.add(ALL, "All areas", parent="", kind="run", area="", members=np.arange(len(agents)))
    for top in tops:
        _add_area(data, nodes, own, top, ALL if len(tops) != 1 else "")
    return nodes


def _add_area(
    data: RunData, nodes: Nodes, own: Mapping[str, NDArray[np.int64]], area: str, parent: str
) -> None:
    row = data.areas.loc[data.areas["area"] == area].iloc[0]
    inside = [own[each] for each in data.inside(area) if each in own]
    members = np.concatenate(inside) if inside else np.empty(0, dtype=np.int64)
    kind = look.LEVEL_NAME[str(row["level"])]
    label = str(row.get("name") or area)
    nodes.add(area, label, parent=parent, kind=kind, area=area, members=members)
    for child in data.areas.loc[data.areas["parent"] == area, "area"]:
        _add_area(data, nodes, own, str(child), area)
    customers = data.agents.iloc[own.get(area, np.empty(0, dtype=np.int64))]
    for name, group in customers.groupby("class", sort=True):
        node = f"class:{area}:{name}"
        label = str(name).replace("_", " ")
        rows = group.index.to_numpy(np.int64)
        nodes.add(node, label, parent=area, kind="customer class", area=area, members=rows)
        for row, agent in zip(group.index, group["agent"], strict=True):
            nodes.add(
                f"agent:{agent}",
                str(agent),
                parent=node,
                kind=label,
                area=area,
                members=np.array([row]),
            )


def hierarchy_measures(data: RunData, nodes: Nodes) -> list[Measure]:
    """Return the figures that the run knows, of each node."""
    counts = np.array([len(rows) for rows in nodes.members], dtype=np.float64)
    measures = []
    if len(data.bills):
        bills = data.bills
        saving = _sums(bills["saving"].to_numpy(np.float64), nodes)
        before = _sums(np.abs(bills["no_trading_total"].to_numpy(np.float64)), nodes)
        measures.append(
            _signed("saving", "% of the bill without trading", 100 * saving, before, gain=True)
        )
        measures.append(_signed("saving per customer", data.currency, saving, counts, gain=True))
        if {"bought_p2p", "bought_retail"} <= set(bills):
            peers = _sums(bills["bought_p2p"].to_numpy(np.float64), nodes)
            retail = _sums(bills["bought_retail"].to_numpy(np.float64), nodes)
            share = _ratio(100 * peers, peers + retail)
            measures.append(_share("bought from peers", "% of what is bought", share))
    sufficiency = 100.0 * _key_figures(data, nodes, "self_sufficiency")
    measures.append(_share("self-sufficiency", "% of the load", sufficiency))
    if data.has("agent", "p_load"):
        load = _sums(data.total("agent", "p_load") * data.slot_hours, nodes)
        measures.append(_amount("load per customer", "kWh", _ratio(load, counts)))
    if data.has("agent", "p_net"):
        net = _sums(data.total("agent", "p_net") * data.slot_hours, nodes)
        measures.append(_signed("import less export per customer", "kWh", net, counts))
    return [each for each in measures if np.isfinite(each.values).any()]


def _sums(of_agents: Floats, nodes: Nodes) -> Floats:
    return np.array([np.nansum(of_agents[rows]) for rows in nodes.members], dtype=np.float64)


def _ratio(part: Floats, whole: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Floats = np.where(whole > 0.0, part / whole, np.nan)
    return ratio


def _key_figures(data: RunData, nodes: Nodes, name: str) -> Floats:
    """Return a key figure of areas and customers, NaN for the other nodes."""
    kpis = data.kpis[data.kpis["name"] == name]
    known = {
        (str(kind), str(scope)): float(value)
        for kind, scope, value in zip(kpis["scope_kind"], kpis["scope"], kpis["value"], strict=True)
    }
    keys = [
        ("agent", node.removeprefix("agent:")) if node.startswith("agent:") else ("area", node)
        for node in nodes.ids
    ]
    return np.array([known.get(key, np.nan) for key in keys], dtype=np.float64)


def _signed(name: str, unit: str, part: Floats, whole: Floats, *, gain: bool = False) -> Measure:
    """Return a ratio whose colours turn at zero; its ends leave out the farthest tenth."""
    values = _ratio(part, whole)
    end = _percentile(np.abs(values), 90.0) or 1.0
    return Measure(name, unit, values, look.GAIN if gain else look.DIVERGING, -end, end)


def _share(name: str, unit: str, values: Floats) -> Measure:
    return Measure(name, unit, values, look.SEQUENTIAL, 0.0, 100.0)


def _amount(name: str, unit: str, values: Floats) -> Measure:
    positive = np.where(values > 0.0, values, np.nan)
    low = max(_percentile(positive, 2.0), 1e-3)
    high = max(_percentile(positive, 98.0), 10.0 * low)
    return Measure(name, unit, positive, look.SEQUENTIAL, low, high, logarithmic=True)


def _percentile(values: Floats, percent: float) -> float:
    known = values[np.isfinite(values)]
    return float(np.percentile(known, percent)) if known.size else 0.0


def _own_weights(nodes: Nodes) -> NDArray[np.int32]:
    """Return the width of each node beside those inside it: 1 for a customer or an empty area."""
    holders = set(nodes.parents)
    return np.array([node not in holders for node in nodes.ids], dtype=np.int32)


def _sizes(nodes: Nodes) -> list[str]:
    return [
        "" if node.startswith("agent:") else f"{len(rows):,} customers"
        for node, rows in zip(nodes.ids, nodes.members, strict=True)
    ]


def _hover_texts(nodes: Nodes, measures: Sequence[Measure]) -> list[str]:
    heads = [
        f"<b>{label}</b>, {kind}"
        + ("" if node.startswith("agent:") else f", {len(rows):,} customers")
        for node, label, kind, rows in zip(
            nodes.ids, nodes.labels, nodes.kinds, nodes.members, strict=True
        )
    ]
    lines = [
        [
            f"<br>{each.name}: {number(value)} {each.unit}" if np.isfinite(value) else ""
            for value in each.values
        ]
        for each in measures
    ]
    return ["".join(texts) for texts in zip(heads, *lines, strict=True)]


def rounded(value: float) -> float | None:
    """Return a number with four digits that count, None where it is undefined."""
    return float(f"{value:.4g}") if np.isfinite(value) else None


def _scaled(measure: Measure, values: Floats) -> Floats:
    """Return what colours follow: the values, or their logarithms."""
    return np.log10(values) if measure.logarithmic else values


def _look(measure: Measure) -> dict[str, object]:
    """Return the colours of the blocks, those of their labels, and the colour bar."""
    values = _scaled(measure, measure.values)
    low, high = _scaled(measure, np.array([measure.low, measure.high]))
    shares = (values - low) / (high - low)
    colours = [
        look.sample(measure.scale, share) if np.isfinite(share) else UNDEFINED for share in shares
    ]
    return {
        "marker": {
            "colors": [UNDEFINED if value is None else value for value in map(rounded, values)],
            "colorscale": [list(each) for each in measure.scale],
            "cmin": low,
            "cmax": high,
            "showscale": True,
            "colorbar": _colour_bar(measure, low, high),
            "line": _BORDER,
        },
        "textfont": {"color": [look.text_on(colour) for colour in colours]},
        "pathbar": {"textfont": {"color": look.INK}},
    }


def _colour_bar(measure: Measure, low: float, high: float) -> dict[str, object]:
    bar: dict[str, object] = {
        "title": {"text": measure_heading(measure), "side": "top"},
        "orientation": "h",
        "thickness": 12,
        "len": 0.6,
        "x": 0.0,
        "xanchor": "left",
        "y": 0.0,
        "yanchor": "top",
        "outlinewidth": 0,
        "tickmode": "auto",
        "ticktext": None,
        "tickvals": None,
    }
    if measure.logarithmic:
        powers = list(range(int(np.ceil(low)), int(np.floor(high)) + 1))
        bar |= {
            "tickmode": "array",
            "tickvals": powers,
            "ticktext": [f"{10.0**power:,g}" for power in powers],
        }
    return bar


def _control(measures: Sequence[Measure]) -> Control | None:
    if not measures:
        return None
    return Control(
        label="Colour by",
        options=[measure_heading(each) for each in measures],
        updates=[
            [{name: [value] for name, value in _look(each).items()}, {}, [0]] for each in measures
        ],
    )
