"""The automatic cut of SimBench's medium voltage grids with all their low voltage grids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simbench

from tricell.grid_models.area_tree import cut_areas

CASE = Path(__file__).parent / "cases" / "SB09"
EXPECTED: dict[str, Any] = json.loads((CASE / "expected.json").read_text())["expected"]


@pytest.mark.parametrize("code", EXPECTED)
def test_every_low_voltage_grid_is_one_microgrid_behind_one_transformer_case_sb09(
    code: str,
) -> None:
    net = simbench.get_simbench_net(code)
    tree = cut_areas(net)
    microgrids = np.flatnonzero(tree.level == 1)
    assert len(microgrids) == EXPECTED[code]["microgrids"]
    prefix = net.bus.subnet.str.split("_").str[0].to_numpy()
    for area in microgrids:
        assert len(tree.connection_trafos[area]) == 1
        assert tree.level[tree.parent[area]] == 2
        assert set(prefix[tree.area_of_bus == area]) == {tree.id[area]}
    # Two transformers bring in the high voltage; all others feed one microgrid each.
    assert len(microgrids) == len(net.trafo) - 2
