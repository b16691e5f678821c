"""Other people's mosaik simulators in a run: that they take part, and what happens if they fail.

The grid is CIGRE's low-voltage benchmark with constant loads, so that a run takes a second. What
concerns processes, signals and the terminal is tried with the command itself.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from textwrap import indent
from typing import Any

import numpy as np
import pytest

from tricell.errors import SimulatorError
from tricell.results.reader import open_results
from tricell.scenarios import runner
from tricell.scenarios.faults import ScenarioFaultsError
from tricell.scenarios.resumption import resume_run
from tricell.scenarios.runner import run_scenario
from tricell.scenarios.scenario_file import Override, load_scenario
from tricell.scenarios.schema import Scenario
from tricell.scenarios.world import World, build_world

FOLDER = Path(__file__).parent / "third_party"
SCRIPT = FOLDER / "scripted_load.py"
COMMANDS = FOLDER / "commands.py"
HOUSEHOLD = "Load R11"
RATED_KW = 14.25  # of that load in pandapower's create_cigre_network_lv
SLOTS = 12
SMALL = (
    "name=small",
    "time.days=0.125",
    "grid.source={kind: pandapower, function: create_cigre_network_lv}",
    "participants.profiles=constant",
)
GRID = """
extends: village
name: small
time: {days: 0.125}
grid: {source: {kind: pandapower, function: create_cigre_network_lv}}
participants: {profiles: constant}
simulators:
"""
IN_PROCESS = f"""
- name: guest
  python: scripted_load:ScriptedLoad
  cwd: {FOLDER}
"""
COMMAND = f"""
- name: guest
  cmd: '%(python)s "{SCRIPT}" %(addr)s'
  env: {{PID_FILE: "%(folder)s/guest.pid"}}
"""
MODEL = """
  model: ScriptedLoad
"""
CONNECTED = f"""
  connections:
  - {{from: {{attr: p_kw}}, to: {{household: {HOUSEHOLD}, attr: p_kw}}}}
"""


@cache
def small_world() -> World:
    return build_world(load_scenario("village", [Override.from_assignment(a) for a in SMALL]))


@pytest.fixture(autouse=True)
def _build_the_world_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(scenario: Scenario) -> World:
        same = scenario.participants == small_world().scenario.participants
        return replace(small_world(), scenario=scenario) if same else build_world(scenario)

    monkeypatch.setattr(runner, "build_world", build)


def scenario_text(*parts: str) -> str:
    return GRID + indent("".join(part.strip("\n") + "\n" for part in parts), "  ")


def written(folder: Path, *parts: str) -> Path:
    file = folder / "scenario.yaml"
    file.write_text(scenario_text(*parts), encoding="utf-8")
    return file


def run(folder: Path, *parts: str) -> Path:
    return run_scenario(load_scenario(str(written(folder, *parts))), folder / "run.h5").output


def error_of(folder: Path, *parts: str) -> str:
    """Run in this process and return the message of the error that must come."""
    with pytest.raises(SimulatorError) as caught:
        run(folder, *parts)
    return str(caught.value)


def guest(starter: str, *, init: str = "", more: str = "") -> tuple[str, ...]:
    return starter, MODEL, f"  init: {{{init}}}\n{more}", CONNECTED


def p_load_kw(file: Path, household: str = HOUSEHOLD) -> Any:
    with open_results(file) as results:
        return results.frame("agent", "p_load")[household].to_numpy()


# --- taking part ---


@pytest.mark.parametrize("starter", [IN_PROCESS, COMMAND], ids=["in process", "over TCP"])
def test_its_power_adds_to_the_load_of_the_household_that_it_is_connected_to(
    starter: str, tmp_path: Path
) -> None:
    file = run(tmp_path, *guest(starter))
    assert (p_load_kw(file) == RATED_KW + 2.5).all()
    assert (p_load_kw(file, "Load R15") == 49.4).all()


def test_one_that_reads_voltage_price_and_charge_can_feed_back_a_slot_later(tmp_path: Path) -> None:
    thermostat = f"""
- name: guest
  python: scripted_load:Thermostat
  cwd: {FOLDER}
  model: Thermostat
  connections:
  - {{from: {{bus: Bus R11, attr: vm_pu}}, to: {{attr: vm_pu}}}}
  - {{from: {{area: microgrid 1, attr: price_eur_per_kwh}}, to: {{attr: price}}}}
  - {{from: {{battery: Home, attr: soc_kwh}}, to: {{attr: soc_kwh}}, scale: 0.5}}
  - from: {{attr: p_kw}}
    to: {{household: {HOUSEHOLD}, attr: p_kw}}
    scale: 0.1
    time_shifted: true
    initial: 7
"""
    battery = "participants: {extra: [{name: Home, bus: Bus R15, battery_kwh: 4, battery_kw: 1}]}"
    text = scenario_text(thermostat).replace(
        "participants: {profiles: constant}",
        battery.replace("{extra", "{profiles: constant, extra"),
    )
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    file = run_scenario(load_scenario(str(tmp_path / "s.yaml")), tmp_path / "run.h5").output
    with open_results(file) as results:
        vm_pu = results.frame("bus", "vm")["Bus R11"].to_numpy()
        price = results.frame("microgrid", "price")["microgrid 1"].to_numpy()
        soc_kwh = results.frame("agent", "soc")["Home"].to_numpy()
    heard = 0.1 * (10.0 * vm_pu + price + 0.5 * soc_kwh)
    extra = p_load_kw(file) - RATED_KW
    assert extra[0] == 7.0, "`initial` is in the unit of the target, whatever the scale"
    # The file holds voltages as 4-byte floats, good to 1e-7.
    np.testing.assert_allclose(extra[1:], heard[:-1], atol=1e-6)


def test_devices_can_be_read_by_their_names(tmp_path: Path) -> None:
    meter = f"""
- name: guest
  python: scripted_load:Thermostat
  cwd: {FOLDER}
  model: Thermostat
  connections:
  - {{from: {{vehicle: car, attr: soc_kwh}}, to: {{attr: soc_kwh}}}}
  - {{from: {{vehicle: car, attr: p_kw}}, to: {{attr: vm_pu}}}}
  - {{from: {{heat_store: pump, attr: soc_kwh}}, to: {{attr: price}}}}
  - {{from: {{appliance: appliances of {HOUSEHOLD}, attr: p_kw}}, to: {{attr: price}}}}
  - {{from: {{attr: p_kw}}, to: {{household: Load R15, attr: p_kw}}, time_shifted: true}}
"""
    devices = """participants:
  profiles: constant
  evs:
    list: [{name: car, owner: OWNER, battery_kwh: 40, charger_kw: 11,
            windows: [{arrive: "02:30", depart: "04:30", need_kwh: 8}]}]
  heat_pumps: {stores: [{name: pump, owner: OWNER, rated_kw: 2, capacity_kwh: 8, heat_kw: 4,
                         profile: any}]}
  appliances: {list: [{name: dryer, owner: OWNER, power_kw: [2, 1], earliest: "03:00",
                       latest_end: "04:00"}]}
""".replace("OWNER", HOUSEHOLD)
    text = scenario_text(meter).replace("participants: {profiles: constant}\n", devices)
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    file = run_scenario(load_scenario(str(tmp_path / "s.yaml")), tmp_path / "run.h5").output
    with open_results(file) as results:
        stored, power = results.frame("device", "stored"), results.frame("device", "p")
    dryer = power[f"appliances of {HOUSEHOLD}"].to_numpy()
    before = np.concatenate([[0.0], power["car"].to_numpy()[:-1]])
    heard = 10.0 * before + dryer + stored["pump"].to_numpy() + stored["car"].to_numpy()
    told = p_load_kw(file, "Load R15") - 49.4
    assert before.any()
    assert dryer.any()
    np.testing.assert_allclose(told[1:], heard[:-1], atol=1e-4)


def test_a_slower_one_is_heard_until_it_speaks_again(tmp_path: Path) -> None:
    csv = tmp_path / "hourly.csv"
    csv.write_text(
        "date,P\n2016-05-23 00:00:00,1000\n2016-05-23 01:00:00,2000\n2016-05-23 02:00:00,500\n",
        encoding="utf-8",
    )
    measured = f"""
- name: measured
  python: mosaik_csv:CSV
  init: {{sim_start: "%(start)s", datafile: {csv}}}
  model: Data
  connections:
  - {{from: {{attr: P}}, to: {{household: {HOUSEHOLD}, attr: p_kw}}, scale: 0.001}}
"""
    file = run(tmp_path, measured)
    assert (p_load_kw(file) == RATED_KW + np.repeat([1.0, 2.0, 0.5], 4)).all()


def test_several_entities_of_one_can_add_to_the_same_household(tmp_path: Path) -> None:
    second = CONNECTED.splitlines()[-1].replace("attr: p_kw}, to", "entity: 1, attr: p_kw}, to")
    file = run(tmp_path, IN_PROCESS, MODEL, "  count: 2", CONNECTED, second)
    assert (p_load_kw(file) == RATED_KW + 2 * 2.5).all()


def test_one_of_an_old_mosaik_takes_part_and_is_noted_in_the_file_not_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = run(tmp_path, *guest(IN_PROCESS.replace("ScriptedLoad", "OldLoad")))
    assert (p_load_kw(file) == RATED_KW + 2.5).all()
    said = messages_of_simulators(file)
    assert any("Simulator guest is using an outdated API version, namely 2.2" in m for m in said)
    assert capsys.readouterr() == ("", "")


def test_a_warning_of_mosaik_is_in_the_file_not_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = run(tmp_path, *guest(IN_PROCESS, init="misbehaves: speaks for others"))
    assert (p_load_kw(file) == RATED_KW + 2.5).all()
    (said,) = messages_of_simulators(file)
    assert said.startswith("Simulator guest returned data for the entity ghost which was never")
    assert capsys.readouterr() == ("", "")


def messages_of_simulators(file: Path) -> list[str]:
    with open_results(file) as results:
        warnings = results.table("warning")
    return list(warnings.loc[warnings["kind"] == "simulator", "message"])


def test_what_it_writes_when_it_is_finalized_is_waited_for(tmp_path: Path) -> None:
    run(tmp_path, *guest(COMMAND, init="misbehaves: writes at the end"))
    assert (tmp_path / "guest.end").read_text() == "written"


def test_a_failure_after_the_last_slot_is_a_warning_in_a_complete_file(tmp_path: Path) -> None:
    file = run(tmp_path, *guest(IN_PROCESS, init="misbehaves: raises in finalize"))
    with open_results(file) as results:
        assert results.status == "complete"
        warnings = results.table("warning")
    (message,) = warnings.loc[warnings["element"] == "guest", "message"]
    assert message.startswith("failed when it was stopped: OSError: disk full (scripted_load.py,")


# --- scenarios that do not fit ---


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (
            (IN_PROCESS, "  model: ScriptedLod", CONNECTED),
            "simulator 'guest' has no model 'ScriptedLod'; did you mean `ScriptedLoad`. Correct",
        ),
        (
            (IN_PROCESS, "  model: Hidden", CONNECTED),
            "simulator 'guest' has no model 'Hidden'; there is ScriptedLoad. Correct `model`",
        ),
        (
            (IN_PROCESS, MODEL, CONNECTED.replace("attr: p_kw}, to", "attr: p_kW_}, to")),
            "simulator 'guest' wants to read 'p_kW_' of 'load 0', which is not possible; did you",
        ),
        (
            (IN_PROCESS, MODEL, CONNECTED.replace("attr: p_kw}}", "attr: p_load_kw}}")),
            "wants to set 'p_load_kw' of 'household:Load R11', which is not possible; did you mean "
            "`p_kw`. Correct `attr`",
        ),
        (
            (IN_PROCESS, MODEL, CONNECTED.replace(HOUSEHOLD, "Load R111")),
            "wants to connect to the household 'Load R111', which does not exist; did you mean "
            "`Load R11`. Correct `household`",
        ),
        (
            (IN_PROCESS, MODEL, CONNECTED.replace(HOUSEHOLD, "xyz")),
            "which does not exist; there is Load R1, Load R11, Load R15, Load R16, Load R17 and "
            "10 more. Correct",
        ),
        (
            (IN_PROCESS, MODEL, CONNECTED.replace(f"household: {HOUSEHOLD}", "battery: Home")),
            "wants to connect to the battery 'Home', which does not exist; there is none. Correct",
        ),
        (
            (
                IN_PROCESS,
                MODEL,
                CONNECTED.replace("{attr: p_kw}, to", "{entity: x, attr: p_kw}, to"),
            ),
            "simulator 'guest' has no entity 'x'; there is load 0. Correct `entity`",
        ),
        (
            guest(IN_PROCESS.replace("name: guest", "name: market")),
            "a simulator cannot be called 'market', as one of tricell's own is; change its `name`",
        ),
        (
            guest(IN_PROCESS, more="  create: {size: 3}"),
            "simulator 'guest' does not fit into the run: create() got unexpected keyword",
        ),
        (
            guest(IN_PROCESS, init="misbehaves: creates too few"),
            "does not fit into the run: 1 entities were requested but 0 were created",
        ),
        (
            guest(IN_PROCESS, init="misbehaves: raises in init"),
            "simulator 'guest' failed in init(): ValueError: no licence file (scripted_load.py,",
        ),
        (
            guest(IN_PROCESS.replace("scripted_load:", "scripted_lod:")),
            "simulator 'guest' did not start: ModuleNotFoundError: No module named 'scripted_lod'",
        ),
        (
            guest(IN_PROCESS.replace(":ScriptedLoad", ":ScriptedLod")),
            "did not start: AttributeError: module 'scripted_load' has no attribute 'ScriptedLod'",
        ),
        (
            guest(COMMAND.replace("%(python)s", "pythn_of_mine")),
            "simulator 'guest' did not start: No such file or directory: pythn_of_mine\nCheck `cmd",
        ),
        (
            guest(COMMAND.replace("%(addr)s", "fail # %(addr)s")),
            "simulator 'guest' did not start: before it connected to mosaik, its process ended "
            "with exit code 1\n    RuntimeError: cannot find the charging station\nCheck `cmd",
        ),
    ],
    ids=lambda value: value[:70] if isinstance(value, str) else "",
)
def test_one_that_does_not_fit_is_refused_before_the_first_slot(
    parts: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    message = error_of(tmp_path, *parts)
    assert told in message
    assert not list(tmp_path.glob("*.h5*"))


def test_reading_and_feeding_back_in_one_slot_is_a_fault_of_the_scenario(tmp_path: Path) -> None:
    reads = "  - {from: {bus: Bus R11, attr: vm_pu}, to: {attr: vm_pu}}"
    file = written(tmp_path, IN_PROCESS, MODEL, CONNECTED, reads)
    with pytest.raises(ScenarioFaultsError) as caught:
        load_scenario(str(file))
    (fault,) = caught.value.faults
    assert fault.message == (
        "simulator `guest` takes vm_pu of the bus `Bus R11` and gives p_kw in the same slot, but "
        "each follows from the other"
    )
    assert "add `time_shifted: true`" in fault.suggestion
    line = file.read_text(encoding="utf-8").splitlines()[(fault.line or 0) - 1]
    assert line.strip() == reads.strip()


def test_connecting_to_a_port_where_nobody_listens_says_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    connect = f"- name: guest\n  connect: 127.0.0.1:{port}\n"
    message = error_of(tmp_path, *guest(connect))
    assert message.startswith("simulator 'guest' did not start:")
    assert f"Start it so that it listens at 127.0.0.1:{port} before the run" in message


def test_connecting_to_a_server_that_does_not_speak_mosaik_ends_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect = f"- name: guest\n  connect: 127.0.0.1:{server.getsockname()[1]}\n"
        message = error_of(tmp_path, *guest(connect, more="  timeout_s: 0.5"))
    assert "simulator 'guest' failed in init(): it gave no answer within 0.5 s" in message


# --- wrong values in mid run ---


@pytest.mark.parametrize("starter", [IN_PROCESS, COMMAND], ids=["in process", "over TCP"])
@pytest.mark.parametrize(
    ("misbehaves", "told"),
    [
        (
            "sends nan",
            "sent nan as p_kw, for p_kw of the household 'Load R11'. It must be a finite",
        ),
        ("sends text", "sent '2.5 kW' as p_kw, for p_kw of the household 'Load R11'. It must be"),
        ("sends nothing", "sent None as p_kw, for p_kw of the household 'Load R11'. It must be"),
        ("steps back", "failed in step(): at 2700 s it returned 0 as the time of its next step"),
        ("raises", "failed in step(): ZeroDivisionError: the car has no battery (scripted_load.py"),
    ],
)
def test_wrong_values_end_the_run_and_leave_what_was_computed(
    starter: str, misbehaves: str, told: str, tmp_path: Path
) -> None:
    message = error_of(tmp_path, *guest(starter, init=f"misbehaves: {misbehaves}"))
    assert message.startswith("simulator 'guest' ")
    assert told in message
    assert re.search(r"\nThe [23] slots computed so far are in .*run\.h5; .* begins again", message)
    assert_failed_in_slot_3(tmp_path / "run.h5", told)


def assert_failed_in_slot_3(file: Path, told: str) -> None:
    with open_results(file) as results:
        assert results.status == "failed"
        assert told in results.attrs["failure_message"]
        assert (results.frame("agent", "p_load")[HOUSEHOLD] == RATED_KW + 2.5).all()
        # mosaik lets a simulator be a step ahead of those that read from it.
        assert len(results.times("agent")) in {2, 3}


# --- processes, signals, terminal ---


@dataclass(frozen=True)
class Failure:
    """A run of the command that must fail.

    Attributes
    ----------
    parts : of the scenario.
    told : what the message must hold.
    leaves_file : some slot was computed before.
    longest_s : longest time that the run may wait for the simulator.
    """

    parts: tuple[str, ...]
    told: str
    leaves_file: bool = True
    longest_s: float = 1.0


@dataclass(frozen=True)
class Outcome:
    """What a run of the command left."""

    folder: Path
    code: int
    text: str
    processes: list[int] = field(default_factory=list)


FAILURES = {
    "raises over TCP": Failure(
        guest(COMMAND, init="misbehaves: raises"),
        "simulator 'guest' failed in step(): ZeroDivisionError: the car has no battery",
    ),
    "dies over TCP": Failure(
        guest(COMMAND, init="misbehaves: dies"),
        "simulator 'guest' failed in step(): its process ended with exit code 7\n    out of memory",
    ),
    "hangs over TCP": Failure(
        guest(COMMAND, init="misbehaves: hangs stubbornly", more="  timeout_s: 1.5"),
        "simulator 'guest' failed in step(): it gave no answer within 1.5 s; mend it, or raise",
        longest_s=2.5,
    ),
    "never connects": Failure(
        guest(COMMAND.replace("%(addr)s", "hang %(addr)s"), more="  timeout_s: 1.5"),
        "simulator 'guest' did not start: it was not ready within 1.5 s, it did not connect",
        leaves_file=False,
    ),
    "raises in process": Failure(
        guest(IN_PROCESS, init="misbehaves: raises"),
        "simulator 'guest' failed in step(): ZeroDivisionError: the car has no battery",
    ),
    "exits in process": Failure(
        guest(IN_PROCESS, init="misbehaves: exits"),
        "simulator 'guest' failed in step(): SystemExit: 4",
    ),
    "hangs in process": Failure(
        guest(IN_PROCESS, init="misbehaves: hangs", more="  timeout_s: 1.5"),
        "simulator 'guest' failed in step(): it gave no answer within 1.5 s; mend it, or raise",
        longest_s=2.5,
    ),
}


@dataclass(frozen=True)
class Commands:
    """Starts the command in processes of its own, one after another."""

    starter: subprocess.Popen[str]

    def start(self, folder: Path) -> int:
        """Start the command in a folder and return the number of its process."""
        assert self.starter.stdin is not None
        self.starter.stdin.write(f"{folder}\n")
        self.starter.stdin.flush()
        return self._number()

    def outcome(self, folder: Path) -> Outcome:
        """Wait for the command's end."""
        code = self._number()
        said = (folder / "said.txt").read_text(encoding="utf-8")
        return Outcome(folder, code, said, processes_in(folder))

    def _number(self) -> int:
        assert self.starter.stdout is not None
        return int(self.starter.stdout.readline())


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    environment = {**os.environ, "COLUMNS": "200", "TERM": "dumb"}
    streams: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, COMMANDS], env=environment, **streams) as starter:
        yield Commands(starter)


def processes_in(folder: Path) -> list[int]:
    return [int(file.read_text()) for file in folder.glob("guest.*")]


@pytest.mark.parametrize("name", FAILURES)
def test_a_failing_simulator_ends_the_command_with_its_name_and_no_traceback(
    name: str, commands: Commands, tmp_path: Path
) -> None:
    failure = FAILURES[name]
    written(tmp_path, *failure.parts)
    commands.start(tmp_path)
    outcome = commands.outcome(tmp_path)
    assert outcome.code == 2, outcome.text
    assert failure.told in outcome.text
    for noise in ("Traceback", "Warning", "INFO", "never retrieved", "was destroyed"):
        assert noise not in outcome.text
    assert ("guest.pid" in failure.parts[0]) == bool(outcome.processes)
    assert not [number for number in outcome.processes if is_alive(number)]
    file = outcome.folder / "small.h5"
    assert file.exists() == failure.leaves_file
    if not failure.leaves_file:
        return
    assert_failed_in_slot_3(file, failure.told)
    with open_results(file) as results:
        timing = results.table("timing").set_index("part")["seconds"]
    assert timing["guest"] < failure.longest_s


def is_alive(process: int) -> bool:
    """Tell whether a process runs; a killed one that nobody has collected yet (Z) does not."""
    deadline = time.monotonic() + 1.0
    while runs(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    return runs(process)


def runs(process: int) -> bool:
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except ProcessLookupError:
        return False
    except FileNotFoundError:
        return not Path("/proc/self").exists()
    return state.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("when", ["in a step", "while it starts"])
def test_ctrl_c_stops_the_run_and_the_simulators(
    when: str, commands: Commands, tmp_path: Path
) -> None:
    starts = when == "while it starts"
    command = COMMAND.replace("%(addr)s", "hang %(addr)s") if starts else COMMAND
    written(tmp_path, *guest(command, init="misbehaves: hangs"))
    process = commands.start(tmp_path)
    wait_until_it_hangs(tmp_path / "guest.pid")
    os.kill(process, signal.SIGINT)
    outcome = commands.outcome(tmp_path)
    assert outcome.code == 130, outcome.text
    assert "tricell was stopped by Ctrl-C before the end." in outcome.text
    assert "Traceback" not in outcome.text
    assert outcome.processes
    assert not [number for number in outcome.processes if is_alive(number)]
    if starts:
        assert "No file was written." in outcome.text
    else:
        assert (
            "slots computed so far are in small.h5; `tricell run --resume small.h5`" in outcome.text
        )
        assert_failed_in_slot_3(tmp_path / "small.h5", "stopped by Ctrl-C")


def wait_until_it_hangs(pid_file: Path) -> None:
    deadline = time.monotonic() + 30
    while not pid_file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.5)


# --- going on with a run that was stopped ---


def test_a_stopped_run_with_guests_begins_again_and_ends_as_if_it_had_not_been_stopped(
    tmp_path: Path,
) -> None:
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = run(tmp_path / "whole", *guest(IN_PROCESS))

    def stop(done: int, _: int) -> None:
        if done > 10:
            raise KeyboardInterrupt

    scenario = load_scenario(str(written(tmp_path / "stopped", *guest(IN_PROCESS))))
    stopped = tmp_path / "stopped" / "run.h5"
    with pytest.raises(KeyboardInterrupt, match="tricell run --resume"):
        run_scenario(scenario, stopped, progress=stop)
    assert resume_run(stopped).output == stopped
    assert (p_load_kw(stopped) == p_load_kw(whole)).all()
    with open_results(stopped) as results:
        assert results.status == "complete"
