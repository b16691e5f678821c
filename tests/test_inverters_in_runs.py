"""Inverters of PV plants in runs: reactive power, voltages, limits, curtailment, and refusals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from pandapower.networks import create_cigre_network_lv

from tricell.errors import DataError
from tricell.scenarios import network
from tricell.scenarios.faults import ScenarioFaultsError
from tricell.scenarios.inverter_choice import InverterChoice, pv_owners, with_inverters
from tricell.scenarios.network import load_network
from tricell.scenarios.participant_faults import FieldFaults
from tricell.scenarios.participants import build_population
from tricell.scenarios.resumption import resume_run
from tricell.scenarios.runner import run_scenario
from tricell.scenarios.scenario_file import load_scenario
from tricell.scenarios.schema import Scenario
from tricell.simulators.grid_simulator import GridSimulator
from tricell.simulators.inverter import Inverters, ReactiveControl, standard_characteristic
from tricell.simulators.inverter_control import InverterControl
from tricell.simulators.messages import GridReport
from tricell.simulators.population import NO_PROFILE, DeviceKind, Population

Floats = NDArray[np.float64]

# CIGRE's low-voltage network around noon of a fair day in May, 90 kWp at every household.
FEEDER = """\
extends: village
name: feeder
time: {{start: 2016-05-20T10:00Z, days: {days}}}
grid: {{source: {{kind: pandapower, function: create_cigre_network_lv}}}}
weather: {{try_region: 4}}
participants:
  profiles: constant
  adoption: {{pv_share: 1, pv_kwp: {kwp}}}
  pv: {{kind: weather, tilt_deg: 30, azimuth_deg: 180}}
  {inverters}
"""
FORECASTS = "forecasts: {kind: ar1, sigma: {pv: 0.2}}\n"
TWO_HOURS = 1 / 12
APART = ("tables/timing", "tables/warning", "meta/")


def feeder(
    folder: Path, inverters: str = "", days: float = TWO_HOURS, kwp: float = 90.0
) -> Scenario:
    path = folder / "feeder.yaml"
    section = f"inverters: {inverters}" if inverters else ""
    path.write_text(FEEDER.format(days=days, kwp=kwp, inverters=section), encoding="utf-8")
    return load_scenario(str(path))


@pytest.fixture(scope="module", autouse=True)
def _one_network() -> Iterator[None]:
    """Build pandapower's network once: nothing changes it, and it takes longer than a run."""
    with pytest.MonkeyPatch.context() as patch:
        net = create_cigre_network_lv()
        patch.setattr(network, "load_grid", lambda _: net)
        yield


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[GridReport]:
    """What the grid proves, slot by slot and clearing by clearing."""
    seen: list[GridReport] = []
    advance = GridSimulator.advance

    def noted(self: GridSimulator, slot: int, inputs: Mapping[str, Any]) -> None:
        advance(self, slot, inputs)
        seen.append(self.outputs["report"])

    monkeypatch.setattr(GridSimulator, "advance", noted)
    return seen


def all_datasets(path: Path) -> dict[str, bytes]:
    """Bytes of all datasets but the timings, the scenario and what is noted about the data."""
    found: dict[str, bytes] = {}

    def take(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith(APART):
            values = np.asarray(item[()])
            raw = str(values.tolist()).encode() if values.dtype == object else values.tobytes()
            found[name] = raw

    with h5py.File(path) as file:
        file.visititems(take)
    return found


# In runs -------------------------------------------------------------------------------------


def test_a_feeder_full_of_pv_has_lower_voltages_with_q_of_u_that_has_settled(
    tmp_path: Path, reports: list[GridReport]
) -> None:
    run_scenario(feeder(tmp_path), tmp_path / "without.h5")
    without = [float(report.state.vm_pu.max()) for report in reports]
    reports.clear()
    run_scenario(feeder(tmp_path, "{control: voltage}"), tmp_path / "voltage.h5")
    highest = [float(report.state.vm_pu.max()) for report in reports]
    # Q(U) does nothing below 1.03 pu, and lowers what is above.
    assert max(without) == pytest.approx(1.083, abs=0.002)
    assert max(highest) == pytest.approx(1.053, abs=0.002)
    for report in reports:
        schedule, plants = report.schedule, report.schedule.power.plants
        assert plants is not None
        seen = report.state.vm_pu[plants.node]
        wanted = plants.inverter_kvar(schedule.generation_kw, seen)
        loads = schedule.power.q_load_kvar.sum()
        total = plants.inverters.rated_kva.sum()
        assert schedule.q_node_kvar.sum() == pytest.approx(loads - wanted.sum(), abs=1e-4 * total)
        assert (wanted[seen > 1.031] < 0).all()


def test_a_fixed_power_factor_gives_the_reactive_power_of_a_hand_calculation(
    tmp_path: Path, reports: list[GridReport]
) -> None:
    section = "{control: power_factor, power_factor: 0.9, kva_per_kwp: 1}"
    run_scenario(feeder(tmp_path, section, days=1 / 48), tmp_path / "run.h5")
    curtailed = False
    for report in reports:
        schedule = report.schedule
        generation = schedule.generation_kw
        assert generation.max() > 40
        curtailed |= bool((generation < schedule.power.generation_kw - 0.1).any())
        # tan(acos(0.9)) = 0.484322; what is absorbed adds to the reactive power of the loads
        loads, plants = schedule.power.q_load_kvar.sum(), 0.4843221 * generation.sum()
        assert schedule.q_node_kvar.sum() == pytest.approx(loads + plants, rel=1e-6)
    assert curtailed
    assert reports[-1].breach.limits_met


@pytest.mark.parametrize(
    ("settings", "most_kw"),
    [
        ("control: power_factor, gives_way: active", 40.5),
        ("control: power_factor, gives_way: reactive", 45.0),
        ("control: voltage", 45.0),
    ],
)
def test_no_inverter_exceeds_its_apparent_power(
    tmp_path: Path, reports: list[GridReport], settings: str, most_kw: float
) -> None:
    # 0.5 x 90 kVA, of which a power factor of 0.9 leaves 40.5 kW where active power gives way
    section = f"{{{settings}, kva_per_kwp: 0.5}}"
    run_scenario(feeder(tmp_path, section, days=1 / 48), tmp_path / "run.h5")
    for report in reports:
        schedule, plants = report.schedule, report.schedule.power.plants
        assert plants is not None
        p_kw = schedule.generation_kw[plants.inverters.agent]
        q_kvar = plants.inverter_kvar(schedule.generation_kw, report.state.vm_pu[plants.node])
        size = np.hypot(p_kw, q_kvar)
        assert (size <= 45.0 * (1 + 1e-9)).all()
        assert size.max() > 44.0
        assert p_kw.max() <= most_kw * (1 + 1e-9)


def test_inverters_that_ask_for_nothing_change_no_bit(tmp_path: Path) -> None:
    plain = "{control: power_factor, power_factor: 1, kva_per_kwp: 2}"
    for name, section in (("without", ""), ("plain", plain)):
        run_scenario(feeder(tmp_path, section, days=1 / 48), tmp_path / f"{name}.h5")
    assert all_datasets(tmp_path / "plain.h5") == all_datasets(tmp_path / "without.h5")


def test_reactive_power_under_wrong_forecasts_is_that_of_what_comes(
    tmp_path: Path, reports: list[GridReport]
) -> None:
    text = "{control: power_factor, power_factor: 0.95, kva_per_kwp: 1}"
    scenario = feeder(tmp_path, text, days=1 / 48, kwp=40.0)
    path = tmp_path / "feeder.yaml"
    path.write_text(path.read_text() + FORECASTS, encoding="utf-8")
    scenario = load_scenario(str(path))
    run_scenario(scenario, tmp_path / "run.h5")
    for report in reports:
        schedule = report.schedule
        assert schedule.contracted is not None
        expected = schedule.contracted.forecast.generation_kw
        assert np.abs(expected - schedule.power.generation_kw).max() > 1.0
        loads = schedule.power.q_load_kvar.sum()
        plants = 0.328684 * schedule.generation_kw.sum()
        assert schedule.q_node_kvar.sum() == pytest.approx(loads + plants, rel=1e-6)


def test_a_run_that_goes_on_sees_the_voltages_of_the_slot_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 97 slots: a block of 96, and one slot that depends on what the grid remembers.
    scenario = feeder(tmp_path, "{control: voltage}", days=97 / 96)
    scenario = scenario.model_copy(
        update={"output": scenario.output.model_copy(update={"checkpoint_s": 0.0})}
    )
    whole, stopped = tmp_path / "whole.h5", tmp_path / "stopped.h5"
    run_scenario(scenario, whole)
    advance = GridSimulator.advance

    def stops(self: GridSimulator, slot: int, inputs: Mapping[str, Any]) -> None:
        if slot == 96:
            raise KeyboardInterrupt
        advance(self, slot, inputs)

    monkeypatch.setattr(GridSimulator, "advance", stops)
    with pytest.raises(KeyboardInterrupt):
        run_scenario(scenario, stopped)
    monkeypatch.setattr(GridSimulator, "advance", advance)
    resume_run(stopped)
    assert all_datasets(stopped) == all_datasets(whole)


# One slot ------------------------------------------------------------------------------------


def one_roof(control: ReactiveControl) -> InverterControl:
    power_factor = np.array([0.9])
    voltage, share = standard_characteristic(power_factor)
    inverters = Inverters(
        name=("roof",),
        agent=np.array([1]),
        rated_kva=np.array([10.0]),
        control=np.array([int(control)]),
        power_factor=power_factor,
        absorbs=np.array([True]),
        reactive_first=np.array([True]),
        voltage_pu=voltage,
        reactive_share=share,
    )
    return InverterControl(inverters, node=np.array([2]))


def test_reactive_power_is_that_of_what_is_really_fed_in() -> None:
    # tan(acos(0.9)) = 0.484322, sin(acos(0.9)) = 0.435890; 9.5 kW of sun are cut to 10 kVA x 0.9.
    sun, other = np.array([3.0, 9.5]), np.array([0.5, 0.0])
    vm_pu = np.array([1.0, 1.0, 1.09])
    for control in ReactiveControl:
        within, reactive, plants = one_roof(control).controlled(sun, other, vm_pu)
        assert within == pytest.approx([3.0, 9.0])
        assert reactive == pytest.approx([0.5, -4.35890], abs=1e-5)
        assert plants.reactive_kvar(within) == pytest.approx(reactive)
        curtailed = plants.reactive_kvar(np.array([3.0, 2.0]))
        assert curtailed == pytest.approx([0.5, -2 * 0.484322], abs=1e-5)
        assert plants.reactive_kvar(np.zeros(2)) == pytest.approx([0.5, 0.0])


def test_q_of_u_sees_the_voltage_where_the_plant_stands() -> None:
    control = one_roof(ReactiveControl.VOLTAGE)
    sun, other = np.array([0.0, 6.0]), np.zeros(2)
    # between 1.03 and 1.07 the characteristic falls in a straight line to 0.43589 of 10 kVA
    for at_plant, expected in ((1.0, 0.0), (1.04, -1.08972), (1.05, -2.17945), (0.95, 2.17945)):
        _, reactive, _ = control.controlled(sun, other, np.array([1.2, 0.8, at_plant]))
        assert reactive[1] == pytest.approx(expected, abs=1e-5)


# What a scenario asks for --------------------------------------------------------------------


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Population:
    scenario = feeder(tmp_path_factory.mktemp("people"))
    return build_population(scenario, load_network(scenario).net)


def chosen(people: Population, **section: object) -> tuple[Population, Inverters]:
    wanted = InverterChoice.model_validate({"control": "power_factor", **section})
    faults = FieldFaults()
    population, inverters = with_inverters(people, wanted, 1, faults)
    faults.raise_if_any()
    assert inverters is not None
    return population, inverters


def test_a_share_of_the_plants_gets_inverters_and_a_smaller_one_is_part_of_it(
    people: Population,
) -> None:
    owners = pv_owners(people)
    half, most = chosen(people, share=0.5)[1], chosen(people, share=0.8)[1]
    assert len(half) == round(0.5 * len(owners.name))
    note = chosen(people, share=0.5)[0].notes[-1]
    assert note.startswith(f"{len(half)} of {len(owners.name)} PV plants have inverters")
    assert set(half.name) < set(most.name) < set(owners.name)
    assert (half.power_factor == 0.9).all()
    ratio = half.rated_kva / people.pv_kwp[half.agent]
    assert ratio.min() >= 0.85
    assert ratio.max() <= 1.0


def test_listed_inverters_are_as_told_and_leave_the_others_to_the_share(
    people: Population,
) -> None:
    first, second = pv_owners(people).name[:2]
    plants = [
        {"participant": second, "rated_kva": 4.0, "control": "voltage"},
        {"participant": first, "rated_kva": 70.0, "power_factor": 0.97},
    ]
    _, inverters = chosen(people, share=0, plants=plants)
    assert inverters.name == (second, first)
    assert inverters.rated_kva.tolist() == [4.0, 70.0]
    assert inverters.control.tolist() == [ReactiveControl.VOLTAGE, ReactiveControl.POWER_FACTOR]
    assert inverters.power_factor.tolist() == [0.95, 0.97]
    _, everybody = chosen(people, plants=plants)
    assert len(set(everybody.name)) == len(everybody) == len(pv_owners(people).name)


def test_the_reactive_power_of_the_data_gives_way_to_that_of_the_inverters(
    people: Population,
) -> None:
    population, inverters = chosen(people, share=0.5)
    devices = population.devices
    theirs = devices.generates & np.isin(devices.agent, inverters.agent)
    assert (devices.q_profile[theirs] == NO_PROFILE).all()
    assert (devices.kind[theirs] == DeviceKind.PV).all()
    others = ~theirs
    assert (devices.q_profile[others] == people.devices.q_profile[others]).all()


def test_plants_that_do_not_exist_and_those_listed_twice_are_refused_together(
    people: Population,
) -> None:
    known = pv_owners(people).name[0]
    plants = [{"participant": name, "rated_kva": 5} for name in (known, known, "nowhere")]
    with pytest.raises(DataError) as caught:
        chosen(people, plants=plants)
    told = str(caught.value)
    assert f"participants.inverters.plants.1.participant: the plant of `{known}`" in told
    assert "participants.inverters.plants.2.participant: `nowhere` has no PV plant" in told


@pytest.mark.parametrize(
    ("section", "field", "told"),
    [
        (
            "{control: voltage, plants: [{participant: roof 7, rated_kva: 0}]}",
            "plants.0.rated_kva",
            "`roof 7` has 0 kVA",
        ),
        (
            "{control: voltage, plants: [{participant: roof 7, rated_kva: 5, power_factor: 2}]}",
            "plants.0.power_factor",
            "`roof 7` has the power factor 2",
        ),
        ("{control: voltage, corners_pu: [0.9, 1.1, 1.0, 1.2]}", "corners_pu", "do not rise"),
        ("{control: voltage, absorbs: false}", "absorbs", "does nothing"),
        ("{control: power_factor, corners_pu: [0.9, 1, 1.1, 1.2]}", "corners_pu", "does nothing"),
        ("{control: power_factor, power_factor: 0}", "power_factor", "greater than 0"),
        ("{control: voltage, kva_per_kwp: -1}", "kva_per_kwp", "cannot be used"),
        ("{share: 1}", "control", ""),
    ],
)
def test_a_wrong_value_is_told_at_its_field(
    tmp_path: Path, section: str, field: str, told: str
) -> None:
    with pytest.raises(ScenarioFaultsError) as caught:
        feeder(tmp_path, section)
    (fault,) = caught.value.faults
    assert fault.field == f"participants.inverters.{field}"
    assert told in fault.message
