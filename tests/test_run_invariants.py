"""What the results file of a real run keeps, read back and worked out again independently."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from numpy.typing import NDArray

from tricell.grid_models.electrical_grid import private_copy
from tricell.grid_models.grid_sources import load_grid
from tricell.scenarios.participants import build_population
from tricell.scenarios.runner import run_scenario
from tricell.scenarios.scenario_file import Override, load_scenario
from tricell.scenarios.schema import Scenario

Floats = NDArray[np.float64]

# Village from noon on: PV surplus, batteries charging, trade on both levels. CIGRE's MV network
# with its plants and batteries follows a CSV file. The stressed runs allow a tenth of the loading.
MIDDAY = ("time.start=2016-05-23T10:00Z", "time.days=0.25")
CIGRE = """\
extends: village
name: cigre
time: {start: 2016-05-23T10:00Z, days: 0.125}
grid:
  source: {kind: pandapower, function: create_cigre_network_mv, arguments: {with_der: all}}
participants:
  profiles: {kind: csv, files: [profiles.csv]}
  extra:
    - {name: depot, bus: Bus 5, load_kw: 500, load_profile: PV 4, pv_kwp: 800, pv_profile: PV 3,
       battery_kwh: 400, battery_kw: 200}
    - {name: school, bus: Bus 12, load_kw: 20, pv_kwp: 90, pv_profile: PV 3, battery_kwh: 60,
       battery_kw: 30}
"""
STRESS = ("limits.line_loading_percent=10", "limits.trafo_loading_percent=10")

AREA_GROUPS = ("multicell", "cell", "microgrid")
WALL_CLOCK = ("tables/timing", "meta/provenance_json")


@dataclass(frozen=True)
class Run:
    """A finished run: its scenario and its file."""

    scenario: Scenario
    path: Path

    def read(self, name: str) -> Any:
        with h5py.File(self.path) as file:
            return file[name][()]

    def names(self, name: str) -> list[str]:
        return [one.decode() for one in self.read(name)]

    def kpi(self, name: str) -> float:
        return float(self.read("tables/kpi/value")[self.names("tables/kpi/name").index(name)])

    @cached_property
    def areas(self) -> Mapping[str, Floats]:
        """Net import of every area over time, kW."""
        found: dict[str, Floats] = {}
        with h5py.File(self.path) as file:
            for group in AREA_GROUPS:
                if f"timeseries/{group}" in file:
                    one = file[f"timeseries/{group}"]
                    ids = [name.decode() for name in one[group][()]]
                    found |= dict(zip(ids, one["p_import"][()].T, strict=True))
        return found


NETWORKS: dict[str, Any] = {}


def network(source: Any) -> Any:
    """Load a network once for all tests: SimBench's files take seconds."""
    key = source.model_dump_json()
    if key not in NETWORKS:
        NETWORKS[key] = load_grid(source)
    return NETWORKS[key]


def write_cigre(folder: Path) -> str:
    """Write the scenario and profiles that differ from element to element and slot to slot."""
    net = pp.networks.create_cigre_network_mv(with_der="all")
    random = np.random.default_rng(1)
    times = pd.date_range("2016-05-23T10:00Z", periods=12, freq="15min")
    columns: dict[str, Any] = {"time": times.strftime("%Y-%m-%dT%H:%MZ")}
    for name in [*net.load.name, *net.sgen.name, *net.storage.name]:
        columns[str(name)] = random.uniform(0.2, 1.0, len(times))
    pd.DataFrame(columns).to_csv(folder / "profiles.csv", index=False)
    (folder / "cigre.yaml").write_text(CIGRE)
    return str(folder / "cigre.yaml")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    cigre = write_cigre(folder)
    wanted = {
        "village": ("village", MIDDAY),
        "village again": ("village", MIDDAY),
        "village stressed": ("village", (*MIDDAY, *STRESS)),
        "cigre": (cigre, ()),
        "cigre again": (cigre, ()),
        "cigre stressed": (cigre, STRESS),
    }
    done = {}
    for name, (source, assignments) in wanted.items():
        scenario = load_scenario(source, [Override.from_assignment(text) for text in assignments])
        outcome = run_scenario(scenario, folder / f"{name}.h5")
        done[name] = Run(scenario, outcome.output)
    return done


ALL = ("village", "village stressed", "cigre", "cigre stressed")


@pytest.mark.parametrize("name", ALL)
def test_the_import_of_every_area_is_the_sum_of_its_members(
    runs: dict[str, Run], name: str
) -> None:
    run = runs[name]
    p_net = run.read("timeseries/agent/p_net")
    agent_area = np.array(run.names("tables/agent/area"))
    ids, parents = run.names("tables/area/area"), run.names("tables/area/parent")
    assert parents.count("") == 1
    for area in ids:
        members = p_net[:, agent_area == area].sum(axis=1)
        below = sum(
            (run.areas[child] for child, up in zip(ids, parents, strict=True) if up == area),
            np.zeros(len(p_net)),
        )
        np.testing.assert_allclose(run.areas[area], members + below, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_power_adds_up_for_every_agent_and_nobody_gives_more_than_there_is(
    runs: dict[str, Run], name: str
) -> None:
    agent = {
        variable: runs[name].read(f"timeseries/agent/{variable}")
        for variable in (
            "p_load",
            "p_pv",
            "p_pv_available",
            "p_curtailed",
            "p_unserved",
            "p_storage",
            "p_net",
        )
    }
    by_parts = agent["p_load"] - agent["p_unserved"] - agent["p_pv"] + agent["p_storage"]
    np.testing.assert_allclose(agent["p_net"], by_parts, rtol=0, atol=1e-9)
    assert (agent["p_pv"] <= agent["p_pv_available"] + 1e-6).all()
    available = np.maximum(agent["p_pv_available"], 0.0)
    used = np.maximum(agent["p_pv"], 0.0) + agent["p_curtailed"]
    np.testing.assert_allclose(used, available, rtol=0, atol=1e-6)
    no_battery = runs[name].read("tables/agent/battery_kwh") == 0.0
    np.testing.assert_allclose(agent["p_storage"][:, no_battery], 0.0, atol=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_batteries_conserve_energy_from_slot_to_slot(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    batteries = build_population(run.scenario, network(run.scenario.grid.source)).batteries
    assert len(set(batteries.agent.tolist())) == len(batteries), "one battery each"
    owner = batteries.agent
    soc = run.read("timeseries/agent/soc")[:, owner]
    power = run.read("timeseries/agent/p_storage")[:, owner]
    hours = run.scenario.time.step_hours
    assert np.abs(power).max() > 0.1 or "stressed" in name
    np.testing.assert_allclose(soc[0], batteries.soc0_kwh, rtol=0, atol=1e-9)
    kept = (1.0 - batteries.self_discharge_per_day) ** (hours / 24.0)
    charged = np.maximum(power, 0.0) * batteries.eta_charge * hours
    discharged = np.maximum(-power, 0.0) / batteries.eta_discharge * hours
    expected = soc * kept + charged - discharged
    # The state is that of the start of a slot, so that the next one shows what a slot did.
    np.testing.assert_allclose(soc[1:], expected[:-1], rtol=1e-12, atol=1e-9)
    assert (soc >= -1e-5).all()
    assert (soc <= batteries.energy_kwh * (1.0 + 1e-6)).all()
    assert (np.maximum(power, 0.0) <= batteries.charge_kw + 1e-6).all()
    assert (np.maximum(-power, 0.0) <= batteries.discharge_kw + 1e-6).all()


def bits(values: Any) -> Any:
    """Bytes of numbers; texts as they are."""
    if isinstance(values, bytes):
        return values
    return values.tolist() if values.dtype == object else values.tobytes()


@pytest.mark.parametrize("name", ["village", "cigre"])
def test_a_second_run_gives_the_same_bits(runs: dict[str, Run], name: str) -> None:
    with h5py.File(runs[name].path) as one, h5py.File(runs[f"{name} again"].path) as two:
        paths: list[str] = []
        one.visititems(lambda path, item: paths.append(path) if hasattr(item, "dtype") else None)
        assert len(paths) > 80
        for path in paths:
            if not path.startswith(WALL_CLOCK):
                assert bits(one[path][()]) == bits(two[path][()]), path


@pytest.mark.parametrize("name", ALL)
def test_bills_are_what_retailer_and_operator_receive(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    bill = {
        part: run.read(f"tables/bill/{part}")
        for part in ("energy_p2p", "energy_retail", "export", "network", "congestion", "total")
    }
    parts = sum(bill[part] for part in bill if part != "total")
    np.testing.assert_allclose(bill["total"], parts, rtol=1e-12, atol=1e-9)
    receives = run.kpi("retailer_receives") + run.kpi("network_operator_receives")
    scale = 1e-9 * np.abs(bill["total"]).sum()
    assert bill["total"].sum() == pytest.approx(receives, abs=max(scale, 1e-6))
    assert run.kpi("agents_pay") == pytest.approx(bill["total"].sum(), abs=max(scale, 1e-6))
    energy = run.read("timeseries/agent/p_net") * run.scenario.time.step_hours
    bought = run.read("tables/bill/bought_p2p") + run.read("tables/bill/bought_retail")
    sold = run.read("tables/bill/sold_p2p") + run.read("tables/bill/sold_retail")
    np.testing.assert_allclose(bought, np.maximum(energy, 0.0).sum(axis=0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(sold, np.maximum(-energy, 0.0).sum(axis=0), rtol=1e-9, atol=1e-9)
    saving = run.read("tables/bill/no_trading_total") - bill["total"]
    np.testing.assert_allclose(run.read("tables/bill/saving"), saving, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("name", ["village", "village stressed"])
def test_trade_as_cheap_as_alone_or_cheaper_unless_limits_bind(
    runs: dict[str, Run], name: str
) -> None:
    """With a fee below the spread of retail and feed-in price nobody loses by trading."""
    saving = runs[name].read("tables/bill/saving")
    if name == "village":
        assert (saving >= -1e-6).all()
    assert saving.sum() == pytest.approx(runs[name].kpi("saving"))


@pytest.mark.parametrize("name", ALL)
def test_voltages_and_loadings_are_those_of_a_fresh_power_flow(
    runs: dict[str, Run], name: str
) -> None:
    run = runs[name]
    net = private_copy(network(run.scenario.grid.source))
    # The file holds no reactive power of plants: here they have none.
    assert not net.sgen.q_mvar.any()
    bus_of_name = dict(zip(run.names("tables/bus/bus"), net.bus.index, strict=True))
    buses = [bus_of_name[one] for one in run.names("tables/agent/bus")]
    for table in ("load", "sgen", "storage"):
        net[table] = net[table].iloc[:0]
    slots = len(run.read("timeseries/agent/p_net"))
    for slot in (0, slots // 2):
        solved = copy.deepcopy(net)
        p_kw = run.read("timeseries/agent/p_net")[slot]
        q_kvar = run.read("timeseries/agent/q_load")[slot]
        pp.create_loads(solved, buses, p_mw=p_kw / 1e3, q_mvar=q_kvar / 1e3)
        taps = run.read("timeseries/trafo/tap")[slot].astype(np.float64)
        has_tap = solved.trafo["tap_pos"].notna().to_numpy()
        solved.trafo.loc[has_tap, "tap_pos"] = taps[has_tap]
        pp.runpp(solved, calculate_voltage_angles=True, init="dc", numba=False)
        for path, answer, tolerance in (
            ("bus/vm", solved.res_bus.vm_pu, 1e-6),
            ("line/loading", solved.res_line.loading_percent, 1e-3),
            ("trafo/loading", solved.res_trafo.loading_percent, 1e-3),
        ):
            ours = run.read(f"timeseries/{path}")[slot]
            expected = answer.to_numpy() if path == "bus/vm" else answer.fillna(0.0).to_numpy()
            np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("name", ["village stressed", "cigre stressed"])
def test_a_run_under_stress_ends_well_and_names_what_was_broken(
    runs: dict[str, Run], name: str
) -> None:
    run = runs[name]
    with h5py.File(run.path) as file:
        assert file.attrs["run_status"] == "complete"
    slot = {
        variable: run.read(f"timeseries/slot/{variable}")
        for variable in ("verdict", "breach_kw", "breach_cost", "reclearings", "welfare")
    }
    assert np.isfinite(slot["welfare"]).all()
    for variable in ("p_net", "price"):
        assert np.isfinite(run.read(f"timeseries/agent/{variable}")).all()
    given_up = slot["breach_kw"] > 1e-6
    assert given_up.any()
    assert (slot["breach_cost"][given_up] > 0.0).all()
    loading_limit = 10.0 + run.scenario.limits.loading_tolerance_percent
    over = run.read("timeseries/line/loading").max(axis=1) > loading_limit
    over |= run.read("timeseries/trafo/loading").max(axis=1) > loading_limit
    assert over.any()
    assert (slot["verdict"][over] == 2).all()
    assert (given_up[over]).all(), "a limit was broken that the market believes kept"
    # What was given up is named, with its kilowatts.
    assert any("breach" in kind or "limit" in kind for kind in run.names("tables/warning/kind"))
    assert run.read("tables/warning/element").size > 0
