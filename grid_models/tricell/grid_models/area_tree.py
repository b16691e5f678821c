"""Cut a network into the areas that trade: microgrids, cells and multi-cells.

Transformers are the borders. What is galvanically connected, through lines and closed switches,
is one area; a transformer in service with closed switches joins an area to the one that feeds
it. The nominal voltage names the level: below 1 kV a *microgrid*, below 60 kV a *cell*, above
that a *multi-cell*; no area stands above the one that feeds it. Networks without transformers can
be cut at named lines instead, and a cut lowers the level (see `cut_areas`).

A busbar that only brings in the external grid (SimBench's 110 kV stub of a medium-voltage grid)
is no area: the transformers there are the grid connection of the area below. If it feeds several
areas it stays one, for they trade across it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
import pandapower as pp
from numpy.typing import NDArray
from pandapower import topology
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from tricell.errors import GridError
from tricell.grid_models.electrical_grid import column_or, line_rating_ka, trafo_rating_mva

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Connection = tuple[str, int]
"""A border of an area: table ("trafo", "trafo3w" or "line") and row position in it."""
Links = dict[int, dict[int, list[Connection]]]
"""For every part: the parts next to it, and the connections to each."""

LEVEL_NAMES = {1: "microgrid", 2: "cell", 3: "multicell"}
MICROGRID_BELOW_KV = 1.0
CELL_BELOW_KV = 60.0
TOP_LEVEL = 3
UPSTREAM_ID = "upstream"
INJECTION_TABLES = ("load", "sgen", "storage", "gen", "motor", "asymmetric_load", "asymmetric_sgen")
MAX_NAMES_IN_A_MESSAGE = 8


@dataclass(frozen=True, eq=False)
class AreaTree:
    """The areas of a network; a parent always stands before its children.

    Attributes
    ----------
    id : tuple of str
        Unique name of each area, from the data's subnet names where there are any.
    level : array of int8
        1 microgrid, 2 cell, 3 multi-cell (`LEVEL_NAMES`).
    parent : array of int
        Row of the area that feeds this one; -1 at the top.
    n_bus : array of int
        Number of buses in service; 0 for a synthetic top area.
    area_of_bus : array of int, one per row of ``net.bus``
        Row of the bus's area; -1 for buses of the grid connection, out of service or dead.
    connection_trafos : tuple of tuples of (table, row position)
        Transformers (or cut lines) that join the area to its parent, or the top to the grid.
    rating_kva : array of float
        Sum of their ratings [kVA]; inf where the area sits directly on the external grid or a
        connection has no rating.
    """

    id: tuple[str, ...]
    level: NDArray[np.int8]
    parent: IntArray
    n_bus: IntArray
    area_of_bus: IntArray
    connection_trafos: tuple[tuple[Connection, ...], ...]
    rating_kva: FloatArray

    def __len__(self) -> int:
        """Count the areas."""
        return len(self.id)

    def children(self, area: int) -> IntArray:
        """Rows of the areas that one area feeds."""
        return np.flatnonzero(self.parent == area)


@dataclass(frozen=True)
class AreaRow:
    """One line of the tree as it is shown to a person."""

    id: str
    level_name: str
    parent_id: str
    depth: int
    n_bus: int
    n_loads: int
    connection_names: tuple[str, ...]
    rating_kva: float


@dataclass(frozen=True, eq=False)
class _Parts:
    """Galvanically connected parts of a network, before they become areas."""

    of_bus: IntArray
    links: Links
    vn_kv: FloatArray
    has_source: NDArray[np.bool_]
    has_line: NDArray[np.bool_]
    has_injection: NDArray[np.bool_]

    @property
    def count(self) -> int:
        return len(self.vn_kv)


def cut_areas(
    net: pp.pandapowerNet, cut_lines: Sequence[int] = (), merge_by_substation: bool = False
) -> AreaTree:
    """Cut a network at its transformers into a tree of areas.

    Parameters
    ----------
    net : pandapowerNet
        Any network; it is not changed.
    cut_lines : sequence of int
        Row positions in ``net.line`` that are borders as well. The area behind such a line
        stands at least one level below the one before it, even at the same voltage (a cell behind
        a cut becomes a microgrid); a microgrid behind a microgrid stays a microgrid.
    merge_by_substation : bool
        Join parts of one nominal voltage whose buses name the same substation, such as the two
        busbar sections of SimBench's MV3.101.

    Returns
    -------
    AreaTree

    Raises
    ------
    GridError
        If loads or generation stand on an island, if an area is fed from two sides, if a cut
        line separates nothing, or if there is no external grid.
    """
    parts = _find_parts(net, cut_lines, merge_by_substation)
    _refuse_islands(net, parts)
    connection_parts = _grid_connections(parts)
    feeder = _feeders(net, parts, connection_parts)
    order = _top_first(net, parts, feeder)
    return _assemble(net, parts, connection_parts, feeder, order)


def find_islands(net: pp.pandapowerNet) -> list[IntArray]:
    """Find buses in service that no external grid supplies.

    Returns
    -------
    list of arrays of int
        Row positions in ``net.bus``, one array per island, with or without loads on it.
    """
    parts = _find_parts(net, (), False)
    return [np.flatnonzero(parts.of_bus == part) for part in _unsupplied(parts)]


def buses_with_injection(net: pp.pandapowerNet) -> NDArray[np.bool_]:
    """Tell for every row of ``net.bus`` whether load, generation or storage stands there."""
    marked = np.zeros(len(net.bus), dtype=bool)
    for table in INJECTION_TABLES:
        if table in net and len(net[table]):
            live = net[table].in_service.to_numpy(dtype=bool)
            marked[net.bus.index.get_indexer(net[table].bus.to_numpy()[live])] = True
    return marked


def render_tree(tree: AreaTree, net: pp.pandapowerNet) -> list[AreaRow]:
    """List the areas depth first, as rows for a table or a drawn tree."""
    load_area = tree.area_of_bus[net.bus.index.get_indexer(net.load.bus)]
    load_area = load_area[net.load.in_service.to_numpy(dtype=bool) & (load_area >= 0)]
    n_loads = np.bincount(load_area, minlength=len(tree))
    rows: list[AreaRow] = []
    waiting = [(int(top), 0) for top in tree.children(-1)[::-1]]
    while waiting:
        area, depth = waiting.pop()
        parent = int(tree.parent[area])
        names = tuple(connection_name(net, c) for c in tree.connection_trafos[area])
        rows.append(
            AreaRow(
                id=tree.id[area],
                level_name=LEVEL_NAMES[int(tree.level[area])],
                parent_id=tree.id[parent] if parent >= 0 else "",
                depth=depth,
                n_bus=int(tree.n_bus[area]),
                n_loads=int(n_loads[area]),
                connection_names=names,
                rating_kva=float(tree.rating_kva[area]),
            )
        )
        waiting.extend((int(child), depth + 1) for child in tree.children(area)[::-1])
    return rows


def connection_name(net: pp.pandapowerNet, connection: Connection) -> str:
    """Name a transformer or line as the data do, or by its table and index."""
    table, row = connection
    return element_name(net, table, row)


def element_name(net: pp.pandapowerNet, table: str, row: int) -> str:
    """Name one element as the data do, or by its table and index where they have no name."""
    name = net[table]["name"].iloc[row] if "name" in net[table] else None
    if isinstance(name, str) and name:
        return name
    return f"{table} {net[table].index[row]}"


def _find_parts(
    net: pp.pandapowerNet, cut_lines: Sequence[int], merge_by_substation: bool
) -> _Parts:
    of_bus = _galvanic_parts(net, cut_lines)
    if merge_by_substation:
        of_bus = _merge_substations(net, of_bus)
    count = int(of_bus.max(initial=-1)) + 1
    live = of_bus >= 0
    vn_kv = np.zeros(count)
    np.maximum.at(vn_kv, of_bus[live], net.bus.vn_kv.to_numpy(dtype=float)[live])
    line_ends = _rows_in_service(net, "line", ("from_bus", "to_bus"), drop=cut_lines)
    return _Parts(
        of_bus=of_bus,
        links=_links(net, of_bus, cut_lines),
        vn_kv=vn_kv,
        has_source=_mark(of_bus, _source_buses(net), count),
        has_line=_mark(of_bus, line_ends, count),
        has_injection=_mark(of_bus, np.flatnonzero(buses_with_injection(net)), count),
    )


def _galvanic_parts(net: pp.pandapowerNet, cut_lines: Sequence[int]) -> IntArray:
    """Give the galvanically connected parts numbers, in the order of their first bus."""
    kept_lines = np.delete(net.line.index.to_numpy(), list(cut_lines))
    graph = topology.create_nxgraph(
        net,
        respect_switches=True,
        include_lines=kept_lines if len(cut_lines) else True,
        include_trafos=False,
        include_trafo3ws=False,
    )
    of_bus = np.full(len(net.bus), -1, dtype=np.int64)
    bus_row = {bus: row for row, bus in enumerate(net.bus.index)}
    groups = [sorted(bus_row[bus] for bus in group) for group in nx.connected_components(graph)]
    for part, rows in enumerate(sorted(groups)):
        of_bus[rows] = part
    of_bus[~net.bus.in_service.to_numpy(dtype=bool)] = -1
    return _renumbered(of_bus)


def _merge_substations(net: pp.pandapowerNet, of_bus: IntArray) -> IntArray:
    if "substation" not in net.bus:
        raise GridError(
            "'merge_by_substation' is set, but the network's buses have no column 'substation'. "
            "Switch the option off or add the column."
        )
    named = net.bus["substation"].notna().to_numpy() & (of_bus >= 0)
    first: dict[tuple[str, float], int] = {}
    pairs: list[tuple[int, int]] = []
    for row in np.flatnonzero(named):
        place = (str(net.bus["substation"].iloc[row]), float(net.bus["vn_kv"].iloc[row]))
        pairs.append((first.setdefault(place, int(of_bus[row])), int(of_bus[row])))
    count = int(of_bus.max(initial=-1)) + 1
    a, b = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    joined = coo_matrix((np.ones(len(a)), (a, b)), shape=(count, count))
    merged = connected_components(joined, directed=False)[1].astype(np.int64)
    return _renumbered(np.where(of_bus >= 0, merged[of_bus], -1))


def _renumbered(of_bus: IntArray) -> IntArray:
    """Give the parts the numbers 0, 1, ... in the order of their first bus; keep -1."""
    parts, first_row = np.unique(of_bus[of_bus >= 0], return_index=True)
    new_number = np.empty(int(parts.max(initial=-1)) + 1, dtype=np.int64)
    new_number[parts[np.argsort(first_row)]] = np.arange(len(parts))
    if not len(parts):
        return of_bus
    return np.where(of_bus >= 0, new_number[of_bus], -1)


def _mark(of_bus: IntArray, bus_rows: IntArray, count: int) -> NDArray[np.bool_]:
    marked = np.zeros(count, dtype=bool)
    parts = of_bus[bus_rows]
    marked[parts[parts >= 0]] = True
    return marked


def _rows_in_service(
    net: pp.pandapowerNet, table: str, bus_columns: Iterable[str], drop: Sequence[int] = ()
) -> IntArray:
    """Bus rows at which the elements in service of one table end."""
    live = net[table].in_service.to_numpy(dtype=bool).copy()
    live[list(drop)] = False
    ends = [net.bus.index.get_indexer(net[table][c].to_numpy()[live]) for c in bus_columns]
    return np.concatenate(ends).astype(np.int64)


def _source_buses(net: pp.pandapowerNet) -> IntArray:
    slack_gens = net.gen[net.gen.in_service.astype(bool) & net.gen.slack.astype(bool)]
    gen_rows = net.bus.index.get_indexer(slack_gens.bus.to_numpy())
    return np.concatenate([_rows_in_service(net, "ext_grid", ("bus",)), gen_rows]).astype(np.int64)


def _links(net: pp.pandapowerNet, of_bus: IntArray, cut_lines: Sequence[int]) -> Links:
    links: Links = defaultdict(lambda: defaultdict(list))
    for connection, buses in _borders(net, cut_lines):
        parts = of_bus[net.bus.index.get_indexer(buses)]
        if connection[0] == "line" and parts[0] == parts[1] >= 0:
            raise GridError(
                f"The cut line '{connection_name(net, connection)}' separates nothing: its two "
                "ends stay joined by other lines. Cut those too, or leave this line out."
            )
        upper = int(parts[0])
        for lower in {int(part) for part in parts[1:]} - {upper}:
            if upper >= 0 and lower >= 0:
                links[upper][lower].append(connection)
                links[lower][upper].append(connection)
    return links


def _borders(
    net: pp.pandapowerNet, cut_lines: Sequence[int]
) -> Iterable[tuple[Connection, list[int]]]:
    """Every closed border in service with the buses it joins, highest voltage first."""
    opened = net.switch[~net.switch.closed.astype(bool)]
    open_ends = {(et, int(e), int(b)) for et, e, b in opened[["et", "element", "bus"]].to_numpy()}
    tables = (
        ("trafo", "t", ("hv_bus", "lv_bus"), range(len(net.trafo))),
        ("trafo3w", "t3", ("hv_bus", "mv_bus", "lv_bus"), range(len(net.trafo3w))),
        ("line", "l", ("from_bus", "to_bus"), cut_lines),
    )
    for table, switch_type, columns, rows in tables:
        ends = net[table][list(columns)].to_numpy(dtype=np.int64)
        live = net[table].in_service.to_numpy(dtype=bool)
        index = net[table].index
        for row in rows:
            key = (switch_type, int(index[row]))
            closed = [int(bus) for bus in ends[row] if (*key, int(bus)) not in open_ends]
            if live[row] and len(closed) > 1:
                yield (table, int(row)), closed


def _unsupplied(parts: _Parts) -> list[int]:
    supplied = _reachable(parts.links, np.flatnonzero(parts.has_source).tolist())
    return [part for part in range(parts.count) if part not in supplied]


def _reachable(links: Links, start: Iterable[int]) -> dict[int, int]:
    """Parts that can be reached, with their distance from the start."""
    depth = dict.fromkeys(start, 0)
    waiting = list(depth)
    for part in waiting:
        for neighbour in links.get(part, {}):
            if neighbour not in depth:
                depth[neighbour] = depth[part] + 1
                waiting.append(neighbour)
    return depth


def _refuse_islands(net: pp.pandapowerNet, parts: _Parts) -> None:
    if not parts.has_source.any():
        raise GridError(
            "No external grid is in service. Add one with pandapower.create_ext_grid at the bus "
            "where the network joins the grid above, or set it in service."
        )
    islands = [part for part in _unsupplied(parts) if parts.has_injection[part]]
    if islands:
        buses = np.flatnonzero(np.isin(parts.of_bus, islands))
        raise GridError(
            f"{len(islands)} part(s) of the network with loads or generation have no path to an "
            f"external grid. Their buses: {_bus_names(net, buses)}. Close a switch, set a line or "
            "transformer in service, add an external grid, or set these buses out of service."
        )


def _bus_names(net: pp.pandapowerNet, rows: IntArray) -> str:
    names = [f"'{element_name(net, 'bus', int(row))}'" for row in rows[:MAX_NAMES_IN_A_MESSAGE]]
    rest = len(rows) - len(names)
    return ", ".join(names) + (f" and {rest} more" if rest else "")


def _grid_connections(parts: _Parts) -> set[int]:
    """Parts that only pass the external grid on to one area."""
    stubs: set[int] = set()
    while True:
        found = {part for part in range(parts.count) if _is_stub(parts, part, stubs)} - stubs
        if not found:
            return stubs
        stubs.add(min(found))


def _is_stub(parts: _Parts, part: int, stubs: set[int]) -> bool:
    neighbours = set(parts.links.get(part, {}))
    at_source = parts.has_source[part] or bool(neighbours & stubs)
    empty = not (parts.has_line[part] or parts.has_injection[part])
    return bool(at_source and empty and len(neighbours - stubs) == 1)


def _feeders(net: pp.pandapowerNet, parts: _Parts, stubs: set[int]) -> dict[int, int]:
    """Part that feeds each area; -1 for those fed by the external grid."""
    roots = [
        part
        for part in range(parts.count)
        if part not in stubs and (parts.has_source[part] or set(parts.links.get(part, {})) & stubs)
    ]
    areas_only: Links = {
        part: {other: c for other, c in others.items() if other not in stubs}
        for part, others in parts.links.items()
        if part not in stubs
    }
    depth = _reachable(areas_only, roots)
    feeder: dict[int, int] = {}
    for part in depth:
        upper = [other for other in areas_only.get(part, {}) if _feeds(parts, depth, other, part)]
        if len(upper) + (part in roots) > 1:
            _refuse_two_feeders(net, parts, part, upper)
        feeder[part] = upper[0] if upper else -1
    return feeder


def _feeds(parts: _Parts, depth: dict[int, int], upper: int, lower: int) -> bool:
    """Power comes from the side nearer to the grid; at equal distance from the higher voltage."""
    return (depth[upper], -parts.vn_kv[upper], upper) < (depth[lower], -parts.vn_kv[lower], lower)


def _refuse_two_feeders(
    net: pp.pandapowerNet, parts: _Parts, part: int, upper: Sequence[int]
) -> None:
    named = [
        f"{_described(net, parts, other)} through "
        + ", ".join(f"'{connection_name(net, c)}'" for c in parts.links[part][other])
        for other in upper
    ]
    if len(named) == 1:
        named.append("an external grid of its own")
    raise GridError(
        f"{_described(net, parts, part)} is fed from {len(named)} sides: {'; '.join(named)}. "
        "Each area needs one feeding area: open all but one of these connections, or join the "
        "feeding areas with a line or a closed switch."
    )


def _described(net: pp.pandapowerNet, parts: _Parts, part: int) -> str:
    name = _part_name(net, parts, part)
    buses = f"buses {_bus_names(net, np.flatnonzero(parts.of_bus == part))}"
    return f"area '{name}' ({buses})" if name else f"the area with the {buses}"


def _part_name(net: pp.pandapowerNet, parts: _Parts, part: int) -> str:
    """Most common subnet prefix of a part's buses; empty where the data name none."""
    if "subnet" not in net.bus:
        return ""
    subnets = net.bus["subnet"].to_numpy()[parts.of_bus == part]
    prefixes = Counter(name.split("_")[0] for name in subnets if isinstance(name, str))
    return max(sorted(prefixes), key=lambda prefix: prefixes[prefix], default="")


def _top_first(net: pp.pandapowerNet, parts: _Parts, feeder: dict[int, int]) -> list[int]:
    """Order the areas by distance from the top, then by name, then by first bus."""

    def depth(part: int) -> int:
        return 0 if feeder[part] < 0 else 1 + depth(feeder[part])

    return sorted(feeder, key=lambda part: (depth(part), _part_name(net, parts, part), part))


def _assemble(
    net: pp.pandapowerNet,
    parts: _Parts,
    stubs: set[int],
    feeder: dict[int, int],
    order: list[int],
) -> AreaTree:
    connections = [_connections_upward(parts, stubs, part, feeder[part]) for part in order]
    level = _levels(parts, feeder, order, connections)
    ratings = [
        _rating_kva(net, parts, part, upward)
        for part, upward in zip(order, connections, strict=True)
    ]
    roots = [part for part in order if feeder[part] < 0]
    synthetic = len(roots) > 1
    position = {part: row + synthetic for row, part in enumerate(order)}
    parent = [position.get(feeder[part], 0 if synthetic else -1) for part in order]
    names = [_part_name(net, parts, part) for part in order]
    if synthetic:
        top_level = min(TOP_LEVEL, 1 + max(level[part] for part in roots))
        connections.insert(0, ())
        ratings.insert(0, np.inf)
        parent.insert(0, -1)
        names.insert(0, UPSTREAM_ID)
    levels = ([top_level] if synthetic else []) + [level[part] for part in order]
    area_of_part = np.full(parts.count + 1, -1, dtype=np.int64)
    for part, row in position.items():
        area_of_part[part] = row
    area_of_bus = area_of_part[parts.of_bus]
    return AreaTree(
        id=_unique_ids(names, levels),
        level=np.array(levels, dtype=np.int8),
        parent=np.array(parent, dtype=np.int64),
        n_bus=np.bincount(area_of_bus[area_of_bus >= 0], minlength=len(names)),
        area_of_bus=area_of_bus,
        connection_trafos=tuple(connections),
        rating_kva=np.array(ratings, dtype=float),
    )


def _connections_upward(
    parts: _Parts, stubs: set[int], part: int, feeder: int
) -> tuple[Connection, ...]:
    upper = [feeder] if feeder >= 0 else sorted(set(parts.links.get(part, {})) & stubs)
    return tuple(sorted({c for other in upper for c in parts.links[part][other]}))


def _levels(
    parts: _Parts,
    feeder: dict[int, int],
    order: list[int],
    connections: list[tuple[Connection, ...]],
) -> dict[int, int]:
    """Level by nominal voltage, never above the parent's, one lower behind a cut line."""
    level: dict[int, int] = {}
    for part, upward in zip(order, connections, strict=True):
        level[part] = _level_by_voltage(parts.vn_kv[part])
        if feeder[part] >= 0:
            behind_line = any(table == "line" for table, _ in upward)
            level[part] = max(1, min(level[part], level[feeder[part]] - behind_line))
    return level


def _level_by_voltage(vn_kv: float) -> int:
    if vn_kv < MICROGRID_BELOW_KV:
        return 1
    return 2 if vn_kv < CELL_BELOW_KV else 3


def _rating_kva(
    net: pp.pandapowerNet, parts: _Parts, part: int, connections: Sequence[Connection]
) -> float:
    """Sum of the ratings of the connections that feed one part; inf without any."""
    if not connections:
        return float(np.inf)
    return float(sum(_one_rating_kva(net, parts, part, *one) for one in connections))


def _one_rating_kva(net: pp.pandapowerNet, parts: _Parts, part: int, table: str, row: int) -> float:
    if table == "trafo":
        return float(trafo_rating_mva(net)[row]) * 1e3
    if table == "trafo3w":
        return _winding_rating_mva(net, parts, part, row) * 1e3
    vn_kv = float(net.bus.at[net.line["from_bus"].iloc[row], "vn_kv"])
    return float(np.sqrt(3.0) * vn_kv * line_rating_ka(net)[row]) * 1e3


def _winding_rating_mva(net: pp.pandapowerNet, parts: _Parts, part: int, row: int) -> float:
    """Rating of the windings at one part, at most that of the high-voltage winding."""
    total = 0.0
    for side in ("hv", "mv", "lv"):
        bus_row = net.bus.index.get_loc(net.trafo3w[f"{side}_bus"].iloc[row])
        if parts.of_bus[bus_row] == part:
            total += column_or(net.trafo3w, f"sn_{side}_mva", np.inf)[row]
    return float(min(total, column_or(net.trafo3w, "sn_hv_mva", np.inf)[row]))


def _unique_ids(names: list[str], levels: list[int]) -> tuple[str, ...]:
    """Append a, b, ... to repeated names; number unnamed areas within their level."""
    ids: list[str] = []
    repeated = Counter(names)
    seen: Counter[str] = Counter()
    for name, level in zip(names, levels, strict=True):
        key = name or LEVEL_NAMES[level]
        seen[key] += 1
        if not name:
            ids.append(f"{key} {seen[key]}")
        else:
            ids.append(f"{name}{_letters(seen[key])}" if repeated[name] > 1 else name)
    return tuple(ids)


def _letters(number: int) -> str:
    """Spell 1, 2, ... 26, 27 as a, b, ... z, aa."""
    letters = ""
    while number:
        number, digit = divmod(number - 1, 26)
        letters = chr(ord("a") + digit) + letters
    return letters
