"""The examples run as their pages say, and do what they say."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tricell.results.reader import open_results
from tricell.scenarios import runner
from tricell.scenarios.co_simulation import start_co_simulation
from tricell.scenarios.runner import run_scenario
from tricell.scenarios.scenario_file import Override, load_scenario
from tricell.scenarios.world import World, build_world

EXAMPLES = Path(__file__).parents[1] / "examples"
CHARGER = EXAMPLES / "ev_charger"
TRICELL = [sys.executable, "-c", "from tricell.scenarios.command_line import main; main()"]

# 20 kWh at 11 kW from 17:40 UTC on, as in scenario.yaml, in slots of 15 min from 17:30 to 19:30.
CHARGED_KW = [11 / 3, *[11.0] * 6, 80 - 6 * 11 - 11 / 3]
FIRST_CHARGED = 70


@dataclass(frozen=True)
class Village:
    """The shipped scenario, built and run once for all tests."""

    world: World
    file: Path


@pytest.fixture(scope="module")
def village(tmp_path_factory: pytest.TempPathFactory) -> Village:
    world = build_world(load_scenario("village"))
    file = tmp_path_factory.mktemp("village") / "village.h5"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "build_world", lambda scenario: world)
        run_scenario(world.scenario, file)
    return Village(world, file)


@pytest.fixture
def in_the_village(village: Village, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        runner, "build_world", lambda scenario: replace(village.world, scenario=scenario)
    )


def load_kw(file: Path, household: str) -> Any:
    with open_results(file) as results:
        return results.frame("agent", "p_load")[household].to_numpy()


def charger_kw() -> Any:
    power = np.zeros(96)
    power[FIRST_CHARGED : FIRST_CHARGED + len(CHARGED_KW)] = CHARGED_KW
    return power


def test_the_ev_charger_adds_exactly_its_power_to_one_household(
    village: Village, tmp_path: Path
) -> None:
    done = subprocess.run(
        [*TRICELL, "run", str(CHARGER / "scenario.yaml"), "--quiet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    file = tmp_path / done.stdout.strip()
    name = "LV2.101 Load 10"
    # Only the times are rounded, to the microseconds of Python's timedelta.
    expected = load_kw(village.file, name) + charger_kw()
    np.testing.assert_allclose(load_kw(file, name), expected, rtol=0, atol=1e-6)
    other = "LV2.101 Load 9"
    assert (load_kw(file, other) == load_kw(village.file, other)).all()


@pytest.mark.usefixtures("in_the_village")
def test_the_ev_charger_can_run_as_a_server_that_tricell_connects_to(
    village: Village, tmp_path: Path
) -> None:
    with charging_server() as address:
        overrides = [f"simulators.0.connect={address}", "simulators.0.cmd=null"]
        scenario = load_scenario(
            str(CHARGER / "scenario.yaml"), [Override.from_assignment(text) for text in overrides]
        )
        file = run_scenario(scenario, tmp_path / "run.h5").output
    name = "LV2.101 Load 10"
    added = load_kw(file, name) - load_kw(village.file, name)
    np.testing.assert_allclose(added, charger_kw(), atol=1e-6)
    assert added.sum() / 4 == pytest.approx(20, abs=1e-6), "kWh"


@contextmanager
def charging_server() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    server = subprocess.Popen([sys.executable, str(CHARGER / "charger.py"), "--remote", address])
    try:
        wait_for_listener(int(address.partition(":")[2]), server)
        yield address
        assert server.wait(timeout=10) == 0, "it ends when the run does"
    finally:
        server.kill()
        server.wait()


def wait_for_listener(port: int, server: subprocess.Popen[bytes]) -> None:
    """Wait without connecting: the server takes the first connection for mosaik."""
    for _ in range(200):
        assert server.poll() is None
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return
        try:
            server.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError("the charger does not listen")


@pytest.mark.usefixtures("in_the_village")
def test_mosaik_csv_adds_measured_watts_as_kilowatts(village: Village, tmp_path: Path) -> None:
    scenario = load_scenario(str(EXAMPLES / "measured_load" / "scenario.yaml"))
    file = run_scenario(scenario, tmp_path / "run.h5").output
    added = {
        name: load_kw(file, name) - load_kw(village.file, name)
        for name in ("LV2.101 Load 9", "LV4.101 Load 3")
    }
    # measured.csv, in W from hour to hour
    oven = np.repeat([300, 6200, 2400, 300], [12, 10, 10, 64])
    pump = np.repeat([0, 750, 0, 750, 0], [24, 16, 37, 7, 12])
    np.testing.assert_allclose(added["LV2.101 Load 9"], oven / 1000, atol=1e-12)
    np.testing.assert_allclose(added["LV4.101 Load 3"], pump / 1000, atol=1e-12)


def test_a_plain_mosaik_script_gets_the_numbers_of_tricell_run(village: Village) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "plain_mosaik.py")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "error::UserWarning"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    *lines, total = done.stdout.splitlines()
    printed = np.array([[float(number) for number in line.split()[::2]] for line in lines])
    slots = len(printed)
    assert slots == 48
    with open_results(village.file) as results:
        voltage = results.frame("bus", "vm")["LV2.101 Bus 61"].to_numpy()[:slots]
        price = results.frame("microgrid", "price")["LV2.101"].to_numpy()[:slots]
        load = results.frame("agent", "p_load").to_numpy()[:slots].sum() / 4
    # Printed with six decimals; the file holds voltages as 4-byte floats.
    np.testing.assert_allclose(printed[:, 1], voltage, rtol=0, atol=6e-7)
    np.testing.assert_allclose(printed[:, 2], price, rtol=0, atol=6e-7)
    assert len(set(price)) >= 3, "the comparison means something"
    assert total == f"{slots} slots, {load:.3f} kWh consumed"


class Nothing:
    """A sink that forgets."""

    def write(self, block: Any) -> None:
        pass

    def close(self, recorder: Any) -> None:
        pass


def test_the_page_of_the_charger_lists_what_can_be_read_and_set(village: Village) -> None:
    page = (CHARGER / "README.md").read_text(encoding="utf-8")
    listed: dict[str, tuple[list[str], list[str]]] = {}
    for row in re.findall(r"^\| (`.*?) \|(.*?)\|(.*?)\|$", page, flags=re.MULTILINE):
        kinds, read, settable = (re.findall(r"`([a-z_]+)`", cell) for cell in row)
        listed |= {kind.capitalize(): (read, settable) for kind in kinds}
    co_simulation = start_co_simulation(village.world, Nothing())
    co_simulation.shut_down()
    offered = {
        name: (model["persistent"], model["non-trigger"])
        for simulator in co_simulation.simulators.values()
        for name, model in simulator.meta["models"].items()
        if not model["public"]
    }
    assert listed == offered
