"""Key figures of energy and peaks, from the agents' series and the areas' imports.

Series of agents are read in blocks of some days. Kept of a whole run are a few numbers per agent,
and per slot a few per area and customer class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tricell.results import kpis, layout
from tricell.results.area_series import AreaSeries
from tricell.results.figure_scopes import AGENT, AREA, LEVEL, RUN, Scope, Scopes
from tricell.results.reader import Results

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]
Values: TypeAlias = dict[str, dict[Scope, float | None]]
"""Figure -> scope -> value."""

POWERS = ("p_load", "p_pv", "p_net")


@dataclass(frozen=True)
class AgentSums:
    """What is kept of each agent, kW, shape (N,); NaN where an agent is never known.

    Attributes
    ----------
    load, generation, imported, exported : sums over the known slots.
    peak_import, peak_export : highest power in and out.
    mean_net : mean of the net power.
    """

    load: Floats
    generation: Floats
    imported: Floats
    exported: Floats
    peak_import: Floats
    peak_export: Floats
    mean_net: Floats


@dataclass(frozen=True)
class Community:
    """Energies of agents together, kWh per slot, shape (T,); NaN where one of them is unknown.

    Attributes
    ----------
    net : what they take from outside, negative what they give.
    load, generation : of all of them.
    demand, surplus : sums of their positive and of their negative net demands.
    """

    net: Floats
    load: Floats
    generation: Floats
    demand: Floats
    surplus: Floats

    def sums(self) -> dict[str, float | None]:
        """Add up the slots: what ratios are made of, kWh."""
        return {
            "load": _sum(self.load),
            "generation": _sum(self.generation),
            "import": kpis.imported(self.net),
            "export": kpis.exported(self.net),
            "shared": _sum(np.minimum(self.demand, self.surplus)),
            "together": _sum(np.abs(self.demand - self.surplus)),
            "apart": _sum(self.demand + self.surplus),
        }


def energy_figures(results: Results, scopes: Scopes, areas: AreaSeries, hours: float) -> Values:
    """Compute the figures of energy and peaks of every scope; slots last `hours`."""
    is_told = "agent" in results.groups and set(POWERS) <= set(results.variables("agent"))
    if not is_told or not scopes.agent:
        return {}
    members = {scope: of for scope, of in scopes.members().items() if scope.kind != LEVEL}
    agents, groups = read_agents(results, np.array(list(members.values())), hours)
    communities = _at_the_border(dict(zip(members, groups, strict=True)), scopes, areas, hours)
    sums = _sums(communities, scopes, agents, hours)
    return {
        **{name: sums[name] for name in ("load", "generation", "import", "export")},
        **_ratios(sums),
        **_peaks(communities, scopes, agents, hours),
        **_against_no_trading(communities, scopes, areas, hours),
    }


def read_agents(results: Results, groups: Bools, hours: float) -> tuple[AgentSums, list[Community]]:
    """Read the agents' powers once, block by block.

    Parameters
    ----------
    results : an open file.
    groups : which agents belong to each group, shape (groups, N).
    hours : length of a slot, h.
    """
    packs = _packs(groups)
    sums, parts = [], []
    # A day at a time: what is computed of it stays in the cache.
    days = (results.blocks("agent", name, slots=layout.ROWS_PER_CHUNK) for name in POWERS)
    for powers in zip(*days, strict=True):
        day = _energy_rates(*(np.take(power, packs.agents, axis=1) for power in powers))
        parts.append(np.stack([packs.add_up(each) for each in day]) * hours)
        sums.append(_agent_sums(*day))
    series = np.concatenate([np.empty((4, 0, len(groups))), *parts], axis=1)
    communities = [
        Community(demand - surplus, load, generation, demand, surplus)
        for load, generation, demand, surplus in series.transpose(2, 0, 1)
    ]
    joined = _joined(sums, groups.shape[1])
    return AgentSums(*joined[:, np.argsort(packs.agents)]), communities


@dataclass(frozen=True)
class _Packs:
    """Agents in packs that belong to the same groups.

    Attributes
    ----------
    agents : rows of the agents, pack after pack.
    first : position in `agents` of each pack's first.
    groups : to which groups a pack belongs, 0 or 1, shape (packs, groups).
    """

    agents: NDArray[np.int64]
    first: NDArray[np.int64]
    groups: Floats

    def add_up(self, values: Floats) -> Floats:
        """Add up the agents of each group, shape (T, groups); NaN where one is unknown."""
        of_packs = np.add.reduceat(values, self.first, axis=1)
        if not np.isnan(of_packs).any():
            return of_packs @ self.groups
        gaps = np.isnan(of_packs).astype(np.float64) @ self.groups
        return np.where(gaps > 0.0, np.nan, np.nan_to_num(of_packs) @ self.groups)


def _packs(groups: Bools) -> _Packs:
    """Put agents together that belong to the same groups; `groups` has the shape (groups, N)."""
    kinds, pack = np.unique(groups.T, axis=0, return_inverse=True)
    order = np.argsort(pack, kind="stable")
    first = np.searchsorted(pack[order], np.arange(len(kinds)))
    return _Packs(order, first, kinds.astype(np.float64))


def _energy_rates(load: Floats, pv: Floats, net: Floats) -> tuple[Floats, ...]:
    """Return what is consumed, generated, taken and given, kW; all NaN where one is unknown."""
    # Negative load feeds in, negative generation consumes.
    consumed = np.maximum(load, 0.0) + np.maximum(-pv, 0.0)
    generated = np.maximum(pv, 0.0) + np.maximum(-load, 0.0)
    rates = (consumed, generated, np.maximum(net, 0.0), np.maximum(-net, 0.0))
    if not np.isnan(sum(each.sum() for each in rates)):
        return rates
    is_known = np.isfinite(load) & np.isfinite(pv) & np.isfinite(net)
    return tuple(np.where(is_known, each, np.nan) for each in rates)


def _agent_sums(consumed: Floats, generated: Floats, taken: Floats, given: Floats) -> Floats:
    """Return sums of the four, peaks of the last two, and the known slots, shape (7, N)."""
    sums = [_column_sums(each) for each in (consumed, generated, taken, given)]
    peaks = [np.fmax.reduce(each, axis=0) for each in (taken, given)]
    return np.stack([*sums, *peaks, np.isfinite(taken).sum(axis=0)])


def _column_sums(values: Floats) -> Floats:
    sums: Floats = values.sum(axis=0)
    return np.nansum(values, axis=0) if np.isnan(sums).any() else sums


def _joined(blocks: Sequence[Floats], n_agent: int) -> Floats:
    """Join what blocks say of agents: the rows are the attributes of `AgentSums`."""
    every = np.stack([np.zeros((7, n_agent)), *blocks])
    load, generation, imported, exported, _, _, slots = every.sum(axis=0)
    peaks = np.fmax.reduce(every[:, 4:6], axis=0)
    known = np.where(slots > 0.0, 1.0, np.nan)
    mean = (imported - exported) / np.maximum(slots, 1.0)
    sums = (load, generation, imported, exported, peaks[0], peaks[1], mean)
    return np.asarray(known * np.stack(sums))


def _at_the_border(
    groups: Mapping[Scope, Community], scopes: Scopes, areas: AreaSeries, hours: float
) -> dict[Scope, Community]:
    """Put the cleared import of the run and of areas for what their members' meters add up to."""
    imports = areas["p_import"] * hours
    nets = {Scope(AREA, name): imports[:, row] for row, name in enumerate(scopes.area)}
    if scopes.is_top.any():
        nets[RUN] = imports[:, scopes.is_top].sum(axis=1)
    return {
        scope: Community(
            nets[scope] if scope in nets and np.isfinite(nets[scope]).any() else group.net,
            group.load,
            group.generation,
            group.demand,
            group.surplus,
        )
        for scope, group in groups.items()
    }


def _sums(
    communities: Mapping[Scope, Community], scopes: Scopes, agents: AgentSums, hours: float
) -> Values:
    """Add up the energies of every scope; a level's are those of its areas."""
    sums: Values = {}
    for scope, community in communities.items():
        for name, value in community.sums().items():
            sums.setdefault(name, {})[scope] = value
    sums = {name: values | _levels(values, scopes) for name, values in sums.items()}
    for name, powers in (
        ("load", agents.load),
        ("generation", agents.generation),
        ("import", agents.imported),
        ("export", agents.exported),
    ):
        sums[name] |= _of_agents(powers * hours, scopes)
    return sums


def _levels(values: Mapping[Scope, float | None], scopes: Scopes) -> dict[Scope, float | None]:
    """Add up the areas of each level."""
    of_areas = [values[Scope(AREA, name)] for name in scopes.area]
    sums = scopes.of_own(of_areas)
    return {scope: value for scope, value in sums.items() if scope.kind == LEVEL}


def _of_agents(values: Floats, scopes: Scopes) -> dict[Scope, float | None]:
    named = zip(scopes.agent, values.tolist(), strict=True)
    return {Scope(AGENT, name): None if np.isnan(value) else value for name, value in named}


def _ratios(sums: Values) -> Values:
    """Divide sums of energy, for every scope that has them."""
    return {
        "self_sufficiency": each_scope(kpis.remaining_share, sums["import"], sums["load"]),
        "self_consumption": each_scope(kpis.remaining_share, sums["export"], sums["generation"]),
        "share_ratio": each_scope(kpis.share_ratio, sums["shared"], sums["load"]),
        "energy_balance": each_scope(kpis.balanced_share, sums["together"], sums["apart"]),
    }


def _peaks(
    communities: Mapping[Scope, Community], scopes: Scopes, agents: AgentSums, hours: float
) -> Values:
    """Find the peaks of every scope, and how the run, areas and classes exchange."""
    nets = {scope: community.net for scope, community in communities.items()}
    imports = {scope: kpis.peak(net / hours) for scope, net in nets.items()}
    exports = {scope: kpis.peak(-net / hours) for scope, net in nets.items()}
    ratios = {scope: kpis.peak_to_average_ratio(net) for scope, net in nets.items()}
    of_agents = (_of_agents(each, scopes) for each in (agents.peak_import, agents.mean_net))
    return {
        "peak_import": imports | _levels(imports, scopes) | _of_agents(agents.peak_import, scopes),
        "peak_export": exports | _levels(exports, scopes) | _of_agents(agents.peak_export, scopes),
        "peak_to_average_ratio": ratios | each_scope(kpis.peak_over_mean, *of_agents),
        "flatness": {scope: kpis.flatness(net) for scope, net in nets.items()},
    }


def _against_no_trading(
    communities: Mapping[Scope, Community], scopes: Scopes, areas: AreaSeries, hours: float
) -> Values:
    """Find the peaks without trading, known only where nobody has a battery."""
    parts = scopes.elements(np.arange(len(scopes.area)))
    before: dict[Scope, float | None] = {}
    for scope, members in scopes.members().items():
        if scope.kind in (RUN.kind, AREA):
            one = communities[scope]
            curtailed = areas["energy_unsold"][:, parts[scope]].sum(axis=1)
            alone = one.load - one.generation - curtailed
            stores = scopes.may_store[members].any()
            before[scope] = None if stores else kpis.peak(alone / hours)
    before |= _levels(before, scopes)
    after = {scope: kpis.peak(one.net / hours) for scope, one in communities.items()}
    after |= _levels(after, scopes)
    reduced = each_scope(kpis.reduction, {scope: after[scope] for scope in before}, before)
    return {"peak_import_no_trading": before, "peak_import_reduction": reduced}


def each_scope(
    formula: Callable[..., float | None], *values: Mapping[Scope, float | None]
) -> dict[Scope, float | None]:
    """Apply a formula to the values of each scope; None where one of them is undefined."""
    return {
        scope: formula(*(each[scope] for each in values))
        if all(each.get(scope) is not None for each in values)
        else None
        for scope in values[0]
    }


def _sum(values: Floats) -> float | None:
    """Add up the known slots; None if there is none."""
    known = values[~np.isnan(values)]
    return float(known.sum()) if known.size else None
