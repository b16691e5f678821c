"""Runs with devices that shift energy: nothing is lost, promises are kept, plans are worth it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tricell.scenarios.co_simulation import start_co_simulation
from tricell.scenarios.look_ahead_value import run_cost_eur
from tricell.scenarios.scenario_file import Override, load_scenario
from tricell.scenarios.schema import Scenario
from tricell.scenarios.world import World, build_world
from tricell.simulators.device_list import DeviceTotals
from tricell.simulators.recorder_simulator import RecorderSimulator
from tricell.simulators.slot_block import SlotBlock

Floats = NDArray[np.float64]

HOURS = 0.25
DEVICES = (
    "weather={try_region: 4}",
    "time.start=2016-03-07T00:00Z",
    "participants.evs={share: 0.3, gives_back_share: 0.5}",
    "participants.heat_pumps={share: 0.2, model: building}",
    "participants.appliances={share: 0.3}",
    "participants.shared_batteries="
    "[{name: store, area: LV2.101, energy_kwh: 50, power_kw: 20, members: all}]",
)
STORES_OF_HEAT = "participants.heat_pumps={share: 0.2, model: store}"
COMMUNITY = "participants.strategy={kind: lookahead, manager: community}"
HOUSEHOLDS = "participants.strategy=lookahead"
NEGATIVE = "prices.retail={kind: dynamic, adder_eur_per_kwh: -0.05}"
"""Less than the wholesale price of many hours: energy is paid for being used."""


@dataclass
class Kept:
    """Sink that keeps all series."""

    series: dict[str, dict[str, list[NDArray[Any]]]] = field(default_factory=dict)

    def write(self, block: SlotBlock) -> None:
        for group, columns in block.series.items():
            for name, values in columns.items():
                self.series.setdefault(group, {}).setdefault(name, []).append(values.copy())

    def close(self, recorder: RecorderSimulator) -> None:
        pass


@dataclass
class Done:
    """A run: its world, series (slots, entities), sums of devices and bills, and its cost."""

    world: World
    series: Mapping[str, Mapping[str, Floats]]
    totals: DeviceTotals
    bills: Mapping[str, Floats]
    cost_eur: float

    def of_kind(self, kind: str) -> NDArray[np.bool_]:
        return np.array([each == kind for each in self.world.devices.kind], np.bool_)

    def device(self, name: str, kind: str) -> Floats:
        return self.series["device"][name][:, self.of_kind(kind)]


def village(*assignments: str) -> Scenario:
    overrides = [Override.from_assignment(text) for text in ("time.days=1", *assignments)]
    return load_scenario("village", overrides)


@cache
def run(*assignments: str) -> Done:
    world, sink = build_world(village(*assignments)), Kept()
    co_simulation = start_co_simulation(world, sink)
    co_simulation.run()
    recorder = co_simulation.recorder
    recorder.flush()
    totals = recorder.totals
    cost = run_cost_eur(world, co_simulation)
    co_simulation.shut_down()
    series = {
        group: {name: np.concatenate(parts) for name, parts in columns.items()}
        for group, columns in sink.series.items()
    }
    assert totals.devices is not None
    return Done(world, series, totals.devices, totals.bills, cost)


RUNS = {
    "by rule": DEVICES,
    "thrifty": (*DEVICES, "participants.strategy=price_band"),
    "households ahead": (*DEVICES, HOUSEHOLDS),
    "community ahead": (*DEVICES, COMMUNITY),
    "stores of heat": (*DEVICES, STORES_OF_HEAT, COMMUNITY),
}


@pytest.mark.parametrize("name", RUNS)
def test_energy_of_every_device_is_conserved(name: str) -> None:
    """Against each device's own equation; 1e-9 kWh is what rounding leaves."""
    done = run(*RUNS[name])
    flexible = done.world.flexible
    assert flexible.vehicles is not None
    vehicles, windows = flexible.vehicles.vehicles, flexible.vehicles.windows
    power, stored = done.device("p", "vehicle"), done.device("stored", "vehicle")
    driven = np.zeros_like(stored)
    inside = windows.arrive_slot < len(driven)
    np.add.at(
        driven, (windows.arrive_slot[inside], windows.vehicle[inside]), windows.need_kwh[inside]
    )
    gain = np.maximum(power, 0) * vehicles.charge_efficiency
    gain -= np.maximum(-power, 0) / vehicles.discharge_efficiency
    change = gain[:-1] * HOURS - driven[1:] + done.device("unmet", "vehicle")[1:]
    np.testing.assert_allclose(np.diff(stored, axis=0), change, atol=1e-9)

    shared = done.device("stored", "shared_battery")
    batteries, row = done.world.population.batteries, done.world.shared_batteries
    power = done.device("p", "shared_battery")
    gain = np.maximum(power, 0) * batteries.eta_charge[row]
    gain -= np.maximum(-power, 0) / batteries.eta_discharge[row]
    kept = (1 - batteries.self_discharge_per_day[row]) ** (HOURS / 24)
    np.testing.assert_allclose(shared[1:], shared[:-1] * kept + gain[:-1] * HOURS, atol=1e-9)

    heating = flexible.houses or flexible.stores
    assert heating is not None
    kind = "heat_store" if heating.fleet.is_store else "house"
    heat, conditions = done.device("stored", kind), heating.conditions
    fleet = heating.fleet
    # The exact solution of C dT/dt = heat + gain - (T - T_a) / R over a slot (see equations.md).
    low = np.zeros(1) if fleet.is_store else fleet.low
    state = heat / fleet.capacity + low
    rest = conditions.surroundings[:-1] + fleet.resistance * (
        done.device("p", kind)[:-1] * conditions.cop[:-1] + conditions.gain_kw[:-1]
    )
    after = rest + (state[:-1] - rest) * np.exp(-HOURS / (fleet.resistance * fleet.capacity))
    served = after + done.device("unmet", kind)[1:] / HOURS * fleet.state_per_kw
    np.testing.assert_allclose(state[1:], served, atol=1e-9)


@pytest.mark.parametrize("name", RUNS)
def test_meters_show_what_devices_draw_and_give_back(name: str) -> None:
    done = run(*RUNS[name])
    agent = done.series["agent"]
    whole = agent["p_load"] + agent["p_storage"] - agent["p_pv"]
    np.testing.assert_allclose(agent["p_net"], whole, atol=1e-9)
    world, power = done.world, done.series["device"]["p"]
    of_devices = np.zeros_like(agent["p_net"])
    np.add.at(of_devices.T, world.devices.agent, power.T)
    forecast = world.forecast.of_slots(0, len(power))
    homes = np.ones(len(world.population.agents), np.bool_)
    homes[world.population.batteries.agent] = False
    fixed = (forecast.p_load_kw - agent["p_pv"])[:, homes]
    np.testing.assert_allclose(agent["p_net"][:, homes], fixed + of_devices[:, homes], atol=1e-9)


@pytest.mark.parametrize("name", RUNS)
def test_every_vehicle_leaves_with_its_energy_or_the_miss_is_told(name: str) -> None:
    done = run(*RUNS[name])
    flexible = done.world.flexible
    assert flexible.vehicles is not None
    vehicle = done.of_kind("vehicle")
    assert done.totals.departures[vehicle].sum() > 5
    windows, slots = flexible.vehicles.windows, len(done.series["device"]["p"])
    left = windows.depart_slot < slots
    assert done.totals.departures[vehicle].sum() == left.sum()
    stored = done.device("stored", "vehicle")
    before = stored[windows.depart_slot[left], windows.vehicle[left]]
    target = flexible.vehicles.vehicles.target_kwh[windows.vehicle[left]]
    assert (before >= target - 1e-6).all()
    np.testing.assert_allclose(
        done.totals.unmet_kwh[vehicle], done.device("unmet", "vehicle").sum(axis=0), atol=1e-12
    )
    # Here every need fits into its window, so that nothing has to be missed.
    assert done.totals.unmet_kwh[vehicle].max() < 1e-3


@pytest.mark.parametrize("name", ["by rule", "households ahead", "community ahead"])
def test_houses_stay_inside_their_comfort_band(name: str) -> None:
    done = run(*RUNS[name])
    heating = done.world.flexible.houses
    assert heating is not None
    temperature = done.device("temperature", "house")
    reached = temperature[8:]  # some begin too cold to be warm at once
    assert (reached > heating.fleet.low - 0.02).mean() > 0.999
    assert (reached < heating.fleet.high + 0.02).all()


def test_looking_ahead_is_never_dearer_than_rules() -> None:
    """With perfect forecasts, and what is left in store priced alike."""
    rule = run(*RUNS["by rule"]).cost_eur
    together = run(*RUNS["community ahead"]).cost_eur
    assert together < rule
    alone = (*DEVICES, "participants.adoption.participation=0")
    assert run(*alone, HOUSEHOLDS).cost_eur < run(*alone).cost_eur


def test_at_negative_prices_nothing_charges_and_gives_back_at_once() -> None:
    for strategy in (HOUSEHOLDS, COMMUNITY):
        done = run(
            *DEVICES, "time.start=2016-03-06T00:00Z", "time.days=0.5", NEGATIVE, strategy,
            "prices.feed_in={kind: fixed, price_eur_per_kwh: -0.2}",
        )  # fmt: skip
        assert done.series["slot"]["retail_price"].min() < 0
        flexible = done.world.flexible
        assert flexible.vehicles is not None
        # A store that did both would lose energy beyond its efficiency; conservation is exact.
        power, stored = done.device("p", "shared_battery"), done.device("stored", "shared_battery")
        batteries, row = done.world.population.batteries, done.world.shared_batteries
        gain = np.maximum(power, 0) * batteries.eta_charge[row]
        gain -= np.maximum(-power, 0) / batteries.eta_discharge[row]
        np.testing.assert_allclose(np.diff(stored, axis=0), gain[:-1] * HOURS, atol=1e-9)


def test_surplus_fills_home_then_community_then_cell_as_fees_rise() -> None:
    """By rule alone: own batteries first, then the nearer of two shared ones."""
    done = run(
        "time.start=2016-05-23T00:00Z",
        "prices.fees={microgrid: 0.01, cell: 0.03, multicell: 0.05}",
        "participants.shared_batteries=["
        "{name: community, area: LV2.101, energy_kwh: 60, power_kw: 20},"
        "{name: cell, area: MV1.101, energy_kwh: 2000, power_kw: 60}]",
    )
    names = list(done.world.devices.name)
    community = done.series["device"]["p"][:, names.index("community")]
    cell = done.series["device"]["p"][:, names.index("cell")]
    assert community.max() == pytest.approx(20, rel=1e-6)
    first = np.flatnonzero(community > 1e-6)[0]
    assert first <= np.flatnonzero(cell > 1e-6)[0]
    microgrid = done.world.areas.agent_area[done.world.devices.agent[names.index("community")]]
    # While the community battery takes less than it could, its neighbours send nothing to the cell.
    room = done.series["device"]["stored"][:, names.index("community")] < 55
    waiting = room & (community < 19.9)
    sent = done.series["area"]["p_import"][:, microgrid]
    assert (sent[waiting] > -1e-6).all()


def test_the_same_seed_gives_the_same_bits_and_another_other_devices() -> None:
    design = (*DEVICES, COMMUNITY)
    first, again = run(*design), run(*design, "name=village")
    for group, columns in first.series.items():
        for name, values in columns.items():
            assert values.tobytes() == again.series[group][name].tobytes(), (group, name)
    other = build_world(village(*DEVICES, "seed=2"))
    assert other.devices.name != first.world.devices.name


def test_members_get_what_their_shared_battery_earns() -> None:
    done = run(*RUNS["community ahead"])
    (battery,) = done.world.flexible.shared
    for part, bill in done.bills.items():
        if not part.endswith("_kwh"):
            assert bill[battery.agent] == pytest.approx(0.0, abs=1e-12), part
