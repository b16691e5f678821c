"""Cutting networks into microgrids, cells and multi-cells."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandapower as pp
import pandapower.networks
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tricell.errors import GridError
from tricell.grid_models.area_tree import cut_areas, find_islands, render_tree

MV_LV = "0.4 MVA 20/0.4 kV"
HV_MV = "25 MVA 110/20 kV"
MV_LINE = "NA2XS2Y 1x185 RM/25 12/20 kV"
LV_LINE = "NAYY 4x150 SE"


def three_levels(cells: int = 2, microgrids: int = 2) -> Any:
    """110 kV ring line, below it cells of two buses, below each of them microgrids of two."""
    net = pp.create_empty_network()
    top, other = pp.create_bus(net, 110.0, name="HV a"), pp.create_bus(net, 110.0, name="HV b")
    pp.create_ext_grid(net, top)
    pp.create_line(net, top, other, 1.0, "149-AL1/24-ST1A 110.0")
    for cell in range(cells):
        first, second = (pp.create_bus(net, 20.0, name=f"MV {cell} {end}") for end in "ab")
        pp.create_transformer(net, other, first, HV_MV, name=f"HV-MV {cell}")
        pp.create_line(net, first, second, 1.0, MV_LINE)
        for grid in range(microgrids):
            busbar, end = (pp.create_bus(net, 0.4, name=f"LV {cell}.{grid} {e}") for e in "ab")
            pp.create_transformer(net, second, busbar, MV_LV, name=f"MV-LV {cell}.{grid}")
            pp.create_line(net, busbar, end, 0.1, LV_LINE)
            pp.create_load(net, end, 0.01)
    return net


def ids_by_level(net: Any, **options: Any) -> dict[str, int]:
    tree = cut_areas(net, **options)
    names = [identity.rsplit(" ", 1)[0] for identity in tree.id]
    return {name: names.count(name) for name in names}


def test_transformers_cut_three_levels_and_name_the_parents() -> None:
    tree = cut_areas(three_levels())
    assert tree.id == (
        "multicell 1",
        "cell 1",
        "cell 2",
        "microgrid 1",
        "microgrid 2",
        "microgrid 3",
        "microgrid 4",
    )
    assert tree.level.tolist() == [3, 2, 2, 1, 1, 1, 1]
    assert tree.parent.tolist() == [-1, 0, 0, 1, 1, 2, 2]
    assert tree.n_bus.tolist() == [2] * 7
    assert tree.connection_trafos[0] == ()
    assert tree.connection_trafos[3] == (("trafo", 1),)
    assert tree.rating_kva.tolist() == [np.inf, 25e3, 25e3, 400.0, 400.0, 400.0, 400.0]


def test_the_tree_is_listed_depth_first_with_names_loads_and_ratings() -> None:
    net = three_levels(cells=1, microgrids=1)
    rows = render_tree(cut_areas(net), net)
    assert [row.depth for row in rows] == [0, 1, 2]
    assert rows[2].level_name == "microgrid"
    assert rows[2].parent_id == "cell 1"
    assert rows[2].connection_names == ("MV-LV 0.0",)
    assert (rows[2].n_bus, rows[2].n_loads, rows[2].rating_kva) == (2, 1, 400.0)


def test_a_busbar_that_only_brings_the_grid_to_one_area_is_no_area() -> None:
    net = pandapower.networks.create_kerber_landnetz_freileitung_1()
    tree = cut_areas(net)
    assert tree.id == ("microgrid 1",)
    assert tree.connection_trafos == ((("trafo", 0),),)
    hv_row = net.bus.index.get_loc(net.ext_grid.bus.iloc[0])
    assert tree.area_of_bus[hv_row] == -1
    assert tree.rating_kva.tolist() == [160.0]


def test_a_busbar_that_feeds_several_areas_stays_an_area() -> None:
    tree = cut_areas(pandapower.networks.create_cigre_network_lv())
    assert tree.id == ("cell 1", "microgrid 1", "microgrid 2", "microgrid 3")
    assert tree.parent.tolist() == [-1, 0, 0, 0]


def test_parallel_transformers_join_one_area_with_the_sum_of_their_ratings() -> None:
    net = three_levels(cells=1, microgrids=1)
    lv = net.trafo.lv_bus.iloc[1]
    pp.create_transformer(net, net.trafo.hv_bus.iloc[1], lv, MV_LV, name="second")
    tree = cut_areas(net)
    assert tree.connection_trafos[2] == (("trafo", 1), ("trafo", 2))
    assert tree.rating_kva[2] == 800.0


def test_three_winding_transformer_feeds_an_area_on_each_lower_side() -> None:
    net = pandapower.networks.example_multivoltage()
    tree = cut_areas(net)
    assert tree.id == ("multicell 1", "cell 1", "cell 2", "microgrid 1")
    assert tree.connection_trafos[1] == tree.connection_trafos[2] == (("trafo3w", 0),)
    sides = net.trafo3w[["sn_mv_mva", "sn_lv_mva"]].iloc[0] * 1e3
    assert sorted(tree.rating_kva[1:3]) == sorted(sides)


def test_several_areas_on_the_external_grid_get_a_synthetic_top() -> None:
    net = three_levels(cells=2, microgrids=1)
    net.line.loc[0, "in_service"] = False
    net.trafo.loc[net.trafo.name == "HV-MV 1", "hv_bus"] = 0
    pp.create_ext_grid(net, 1)
    tree = cut_areas(net)
    assert tree.id[0] == "upstream"
    assert tree.parent.tolist() == [-1, 0, 0, 1, 2]
    assert tree.level.tolist() == [3, 2, 2, 1, 1]
    assert tree.n_bus[0] == 0
    assert (tree.area_of_bus != 0).all()


@pytest.mark.parametrize("side", ["hv_bus", "lv_bus"])
def test_a_transformer_with_an_open_switch_joins_nothing(side: str) -> None:
    net = three_levels(cells=1, microgrids=2)
    row = net.trafo.index[net.trafo.name == "MV-LV 0.1"][0]
    net.load["in_service"] = net.load.bus != net.load.bus.iloc[1]
    pp.create_switch(net, net.trafo.at[row, side], row, et="t", closed=False)
    assert cut_areas(net).id == ("multicell 1", "cell 1", "microgrid 1")
    assert [len(island) for island in find_islands(net)] == [2]


def test_open_line_switches_and_closed_bus_couplers_decide_what_is_one_area() -> None:
    net = three_levels(cells=1, microgrids=2)
    busbars = net.bus.index[net.bus.name.isin(["LV 0.0 a", "LV 0.1 a"])]
    coupler = pp.create_switch(net, *busbars, et="b", closed=True)
    joined = cut_areas(net)
    assert joined.id == ("multicell 1", "cell 1", "microgrid 1")
    assert joined.rating_kva[2] == 800.0
    net.switch.loc[coupler, "closed"] = False
    assert len(cut_areas(net)) == 4


def test_networks_without_transformers_can_be_cut_at_lines() -> None:
    net = pandapower.networks.case33bw()
    assert ids_by_level(net) == {"cell": 1}
    tree = cut_areas(net, cut_lines=[5, 24])
    assert tree.level.tolist() == [2, 1, 1]
    assert tree.connection_trafos == ((), (("line", 5),), (("line", 24),))
    assert tree.n_bus.sum() == 33


@pytest.mark.parametrize(("vn_kv", "levels"), [(110.0, [3, 2, 1, 1]), (0.4, [1, 1, 1, 1])])
def test_each_cut_lowers_the_level_down_to_microgrids(vn_kv: float, levels: list[int]) -> None:
    net = pp.create_empty_network()
    buses = [pp.create_bus(net, vn_kv) for _ in range(4)]
    pp.create_ext_grid(net, buses[0])
    for start, end in pairwise(buses):
        pp.create_line(net, start, end, 1.0, LV_LINE)
    pp.create_load(net, buses[0], 0.01)
    assert cut_areas(net, cut_lines=[0, 1, 2]).level.tolist() == levels


def test_a_cut_line_that_separates_nothing_is_refused() -> None:
    net = pandapower.networks.case33bw()
    net.line["in_service"] = True
    with pytest.raises(GridError, match="'line 5' separates nothing"):
        cut_areas(net, cut_lines=[5])


def test_subnet_names_of_the_data_name_the_areas_and_are_made_unique() -> None:
    net = three_levels(cells=1, microgrids=2)
    net.bus["subnet"] = [
        "HV1" if vn > 60 else "MV1.101_feeder2" if vn > 1 else "LV1.101" for vn in net.bus.vn_kv
    ]
    assert cut_areas(net).id == ("HV1", "MV1.101", "LV1.101a", "LV1.101b")


def test_islands_with_loads_are_an_error_that_names_the_buses() -> None:
    net = three_levels(cells=1, microgrids=1)
    net.trafo.loc[net.trafo.name == "MV-LV 0.0", "in_service"] = False
    with pytest.raises(GridError) as raised:
        cut_areas(net)
    assert "'LV 0.0 a', 'LV 0.0 b'" in str(raised.value)
    assert "Close a switch" in str(raised.value)


def test_dead_buses_without_loads_are_left_out_and_found() -> None:
    net = three_levels(cells=1, microgrids=1)
    alone = pp.create_bus(net, 0.4)
    out_of_service = pp.create_bus(net, 0.4, in_service=False)
    tree = cut_areas(net)
    assert tree.area_of_bus[[alone, out_of_service]].tolist() == [-1, -1]
    assert [island.tolist() for island in find_islands(net)] == [[alone]]


def test_an_area_fed_from_two_sides_is_refused_with_both_names_and_transformers() -> None:
    net = three_levels(cells=2, microgrids=1)
    microgrid = net.bus.index[net.bus.name == "LV 0.0 b"][0]
    cell = net.bus.index[net.bus.name == "MV 1 b"][0]
    pp.create_transformer(net, cell, microgrid, MV_LV, name="second feeder")
    with pytest.raises(GridError) as raised:
        cut_areas(net)
    for word in ("'LV 0.0 a'", "'MV 0 a'", "'MV 1 a'", "'MV-LV 0.0'", "'second feeder'", "2 sides"):
        assert word in str(raised.value)


def test_an_area_with_a_feeder_and_its_own_external_grid_is_refused() -> None:
    net = three_levels(cells=1, microgrids=1)
    pp.create_ext_grid(net, net.bus.index[net.bus.name == "MV 0 b"][0])
    with pytest.raises(GridError, match="external grid of its own"):
        cut_areas(net)


def test_a_network_without_external_grid_is_refused() -> None:
    net = three_levels()
    net.ext_grid["in_service"] = False
    with pytest.raises(GridError, match="create_ext_grid"):
        cut_areas(net)


def test_merging_by_substation_needs_the_column() -> None:
    with pytest.raises(GridError, match="substation"):
        cut_areas(three_levels(), merge_by_substation=True)


@settings(max_examples=12, deadline=None)
@given(microgrids=st.lists(st.integers(1, 3), min_size=1, max_size=4), seed=st.integers(0, 999))
def test_every_bus_has_an_area_below_its_parent_whatever_the_bus_order(
    microgrids: Sequence[int], seed: int
) -> None:
    net = three_levels(cells=len(microgrids), microgrids=microgrids[0])
    shuffled = np.random.default_rng(seed).permutation(len(net.bus))
    net.bus = net.bus.iloc[shuffled]
    tree = cut_areas(net)
    assert (tree.parent < np.arange(len(tree))).all()
    below_top = tree.parent >= 0
    assert (tree.level[tree.parent[below_top]] == tree.level[below_top] + 1).all()
    counted = np.bincount(tree.area_of_bus, minlength=len(tree))
    np.testing.assert_array_equal(counted, tree.n_bus)
    assert len(tree) == 1 + len(microgrids) * (1 + microgrids[0])
    again = cut_areas(net)
    assert again.id == tree.id
    np.testing.assert_array_equal(again.area_of_bus, tree.area_of_bus)
