"""A run that goes on from what its simulators remember gives the bits of one that never stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tricell.scenarios.co_simulation import start_co_simulation
from tricell.scenarios.scenario_file import Override, load_scenario
from tricell.scenarios.schema import Scenario
from tricell.scenarios.world import build_world
from tricell.simulators.recorder_simulator import RecorderSimulator
from tricell.simulators.run_totals import RunTotals
from tricell.simulators.slot_block import SlotBlock
from tricell.simulators.slot_simulator import SLOTS_PER_BLOCK

Memory = Mapping[str, Any]

DEVICES = (
    "participants.evs={share: 0.3, gives_back_share: 0.5}",
    "participants.heat_pumps={share: 0.2}",
    "participants.appliances={share: 0.3}",
    "participants.shared_batteries="
    "[{name: store, area: LV2.101, energy_kwh: 50, power_kw: 20, members: all}]",
)
DESIGNS = {
    "joint, with a charge of the whole period": [
        "participants.battery.kind=price_band",
        "charges=[{kind: monthly_peak, rate_eur_per_kw_year: 60.0}]",
    ],
    "elastic": ["limits.trafo_loading_percent=4", "limits.line_loading_percent=4"],
    "redispatch": ["market.coordination=local_first", "market.network=redispatch"],
    "envelope": [
        "market.coordination=local_first",
        "market.network=envelope",
        "limits.trafo_loading_percent=25",
    ],
    "devices by rule": [
        *DEVICES,
        "participants.inverters.control=voltage",
        "forecasts.kind=persistence",
    ],
    "devices, households ahead": [
        *DEVICES,
        "participants.strategy=lookahead",
        "forecasts={kind: ar1, sigma: {load: 0.2, pv: 0.3}, correlation: 0.9}",
        "imbalance.kind=ucs",
    ],
    "devices, a community ahead": [
        *DEVICES,
        "participants.adoption.participation=0.8",
        "participants.strategy={kind: lookahead, manager: community, horizon_h: 12, replan_h: 3}",
    ],
}


@dataclass
class Kept:
    """Sink that keeps all series."""

    blocks: dict[int, dict[str, dict[str, NDArray[Any]]]] = field(default_factory=dict)

    def write(self, block: SlotBlock) -> None:
        series = {
            group: {name: array.copy() for name, array in columns.items()}
            for group, columns in block.series.items()
        }
        self.blocks[block.first_slot] = series

    def close(self, recorder: RecorderSimulator) -> None:
        pass


@dataclass
class Done:
    """What a run left."""

    sink: Kept
    recorder: RecorderSimulator
    saved: dict[int, Memory]


def run(scenario: Scenario, memory: Memory | None = None, first_slot: int = 0) -> Done:
    """Run to the end; keep what is remembered after each block."""
    sink = Kept()
    co_simulation = start_co_simulation(build_world(scenario), sink, memory, first_slot)
    recorder = co_simulation.recorder
    saved: dict[int, Memory] = {}
    rows: dict[str, list[NDArray[Any]]] = {}

    def save() -> None:
        for name, values in recorder.unsaved_rows().items():
            rows.setdefault(name, []).append(values)
        remembered: dict[str, Any] = deepcopy(recorder.memory())
        remembered["recorder"]["rows"] = {name: np.concatenate(v) for name, v in rows.items()}
        saved[recorder.slots_done] = remembered

    recorder.on_block = save
    co_simulation.run()
    co_simulation.shut_down()
    return Done(sink, recorder, saved)


@pytest.mark.parametrize("design", DESIGNS)
def test_a_run_goes_on_from_any_block_with_the_same_bits(design: str) -> None:
    overrides = [Override.from_assignment(text) for text in ["time.days=3", *DESIGNS[design]]]
    scenario = load_scenario("village", overrides)
    whole = run(scenario)
    assert sorted(whole.saved) == list(range(SLOTS_PER_BLOCK, scenario.time.slots, SLOTS_PER_BLOCK))
    if design == "elastic":
        assert whole.saved[SLOTS_PER_BLOCK]["market"]["joint"]["elastic_slots"] > 0
    for first_slot, memory in list(whole.saved.items())[1:]:
        rest = run(scenario, memory, first_slot)
        assert list(rest.sink.blocks) == list(range(first_slot, scenario.time.slots, 96))
        for block, groups in rest.sink.blocks.items():
            for group, columns in groups.items():
                for name, values in columns.items():
                    expected = whole.sink.blocks[block][group][name]
                    assert values.tobytes() == expected.tobytes(), (first_slot, group, name)
        assert_same_end(rest.recorder.totals, whole.recorder.totals)


def assert_same_end(resumed: RunTotals, whole: RunTotals) -> None:
    read: Mapping[str, Callable[[RunTotals], NDArray[Any]]] = {
        "bills": lambda end: np.array([end.bills[name] for name in sorted(end.bills)]),
        "receipts": lambda end: np.array([(each.kwh, each.eur) for each in end.receipts.all]),
        "curtailed": lambda end: end.curtailed_kwh,
        "stored": lambda end: end.stored_kwh,
        "reference": lambda end: end.reference.bill_eur,
        "stored without trading": lambda end: end.reference.stored_kwh,
        "breaches": lambda end: np.concatenate([end.breaches.flow_kw, end.breaches.voltage2]),
        "period": lambda end: np.array([each.agent_eur for each in end.period_postings]),
    }
    for name, figures in read.items():
        assert figures(resumed).tobytes() == figures(whole).tobytes(), name
    assert [each.charge for each in resumed.receipts.all] == [
        each.charge for each in whole.receipts.all
    ]
