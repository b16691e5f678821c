"""A run that is killed, stopped or has no room left goes on and ends as if nothing had been.

The world is built once; every run and every resumption is a process of its own, forked from here,
so that many real kills take little time.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tricell.errors import ResultsError
from tricell.results import open_results, writer
from tricell.results.run_folder import RunFolder, part_path
from tricell.scenarios import resumption, runner
from tricell.scenarios.resumption import resume_run
from tricell.scenarios.run_command import _resume
from tricell.scenarios.run_identity import computed_with
from tricell.scenarios.runner import run_scenario
from tricell.scenarios.scenario_file import Override, as_yaml, from_yaml, load_scenario
from tricell.scenarios.schema import Scenario
from tricell.scenarios.shipped import shipped_names
from tricell.scenarios.world import World, build_world
from tricell.simulators.interrupts import stop_like_ctrl_c

KILLS = 25
# A shell's background job ignores Ctrl-C, and so would its children without the first line.
PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from tricell.scenarios.command_line import main
main()
"""
TRICELL = [sys.executable, "-c", PROGRAM]
LIMIT_S = 120.0
"""A process that takes longer hangs."""
NOBODY = 65534

FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Case:
    """A scenario, its world and its results without any interruption."""

    scenario: Scenario
    world: World
    whole: Path
    seconds: float

    def start(self, output: Path, *, go_on: bool, prepare: Callable[[], None] | None = None) -> Any:
        """Run, or go on, in a process of its own; its exit code is 0, 2, or that of a signal."""
        process = FORK.Process(target=self._work, args=(output, go_on, prepare))
        process.start()
        return process

    def _work(self, output: Path, go_on: bool, prepare: Callable[[], None] | None) -> None:
        for module in (runner, resumption):
            vars(module)["build_world"] = lambda _: self.world
        # As in a terminal, whatever those who called the tests do with these signals.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
        sys.stderr = (output.parent / f"{output.name}.says").open("w", encoding="utf-8")
        try:
            if prepare is not None:
                prepare()
            if go_on:
                resume_run(output)
            else:
                run_scenario(self.scenario, output)
        except (ResultsError, KeyboardInterrupt) as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(2)
        os._exit(0)


def finished(process: Any) -> int:
    process.join(LIMIT_S)
    assert process.exitcode is not None, "the run hangs"
    return int(process.exitcode)


def said(output: Path) -> str:
    return (output.parent / f"{output.name}.says").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A village with a market level by level and a charge of the whole period."""
    assignments = [
        "time.days=4",
        "output.checkpoint_s=0",
        "market.coordination=local_first",
        "market.network=redispatch",
        "charges=[{kind: monthly_peak, rate_eur_per_kw_year: 60.0}]",
        "participants.battery.kind=price_band",
    ]
    scenario = load_scenario("village", [Override.from_assignment(text) for text in assignments])
    output = tmp_path_factory.mktemp("whole") / "run.h5"
    case = Case(scenario, build_world(scenario), output, 0.0)
    begun = time.perf_counter()
    assert finished(case.start(output, go_on=False)) == 0, said(output)
    return Case(scenario, case.world, output, time.perf_counter() - begun)


def datasets(path: Path) -> dict[str, bytes]:
    """Bytes of every dataset but the timings."""
    found: dict[str, bytes] = {}

    def take(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("tables/timing"):
            values = np.asarray(item[()])
            raw = str(values.tolist()).encode() if values.dtype == object else values.tobytes()
            found[name] = raw

    with h5py.File(path) as file:
        file.visititems(take)
        for name, value in file.attrs.items():
            if name not in ("date_created", "run_id", "history"):
                found[f"@{name}"] = str(value).encode()
    return found


def assert_same_results(path: Path, expected: Path) -> None:
    found, wanted = datasets(path), datasets(expected)
    assert set(found) == set(wanted)
    differing = [name for name in wanted if found[name] != wanted[name]]
    assert differing in ([], ["meta/provenance_json"]), differing


def test_a_run_killed_at_any_moment_ends_with_the_same_bits(case: Case, tmp_path: Path) -> None:
    # A run that is killed before it has said what it is, begins again.
    moments = random.Random(7)
    kills = chains = 0
    while kills < KILLS:
        output = tmp_path / f"run{chains}.h5"
        while not output.exists():
            process = case.start(output, go_on=RunFolder(output).holds_a_run)
            if kills < KILLS:
                time.sleep(moments.uniform(0.0, 0.8 * case.seconds))
            else:
                process.join(LIMIT_S)
            if process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
            code = finished(process)
            assert code in (0, -signal.SIGKILL), said(output)
        chains += 1
        assert_same_results(output, case.whole)
        assert not part_path(output).exists()
    assert kills == KILLS


@pytest.fixture
def stopped(case: Case, tmp_path: Path) -> Callable[..., Path]:
    """Start a run and do something to it once it has its second checkpoint."""

    def stop(act: Callable[[Any, Path], None], **options: Any) -> Path:
        output = tmp_path / "run.h5"
        process = case.start(output, go_on=False, **options)
        wait_for(part_path(output) / "slots-0000096.h5", process)
        act(process, output)
        finished(process)
        return output

    return stop


def wait_for(file: Path, process: Any) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not file.exists():
        assert process.is_alive(), "the run ended early"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_run_stopped_by_ctrl_c_says_what_is_left_and_goes_on(
    case: Case, stopped: Callable[..., Path]
) -> None:
    output = stopped(lambda process, _: os.kill(process.pid, signal.SIGINT))
    assert f"tricell run --resume {output}" in said(output)
    with open_results(output) as results:
        assert results.status == "failed"
        assert 192 <= len(results.times()) <= case.scenario.time.slots
        assert results.attrs["failure_message"] == "stopped by Ctrl-C"
    assert finished(case.start(output, go_on=True)) == 0, said(output)
    assert_same_results(output, case.whole)


def press_while_joining() -> None:
    """Press Ctrl-C, twice, while the segments of a run become its file."""
    join = vars(writer)["join"]

    def join_and_press(*arguments: Any) -> None:
        join(*arguments)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    vars(writer)["join"] = join_and_press


def test_ctrl_c_at_the_very_end_of_a_run_says_that_it_is_complete(
    case: Case, tmp_path: Path
) -> None:
    output = tmp_path / "run.h5"
    assert finished(case.start(output, go_on=False, prepare=press_while_joining)) == 2
    assert said(output) == f"All slots had been computed: the results in {output} are complete.\n"
    assert_same_results(output, case.whole)
    assert not part_path(output).exists()


def test_ctrl_c_again_while_a_stopped_run_is_closed_still_says_what_is_left(
    stopped: Callable[..., Path],
) -> None:
    output = stopped(
        lambda process, _: os.kill(process.pid, signal.SIGINT), prepare=press_while_joining
    )
    assert f"slots computed so far are in {output}" in said(output)
    assert f"tricell run --resume {output}" in said(output)
    with open_results(output) as results:
        assert results.status == "failed"


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signal")
def test_a_closed_terminal_stops_a_run_like_ctrl_c(
    case: Case, stopped: Callable[..., Path]
) -> None:
    output = stopped(
        lambda process, _: os.kill(process.pid, signal.SIGHUP), prepare=stop_like_ctrl_c
    )
    assert f"tricell run --resume {output}" in said(output)
    assert finished(case.start(output, go_on=True)) == 0, said(output)
    assert_same_results(output, case.whole)


def ignore_hang_up() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop_like_ctrl_c()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signal")
def test_a_run_that_shall_outlive_its_terminal_does(
    case: Case, stopped: Callable[..., Path]
) -> None:
    output = stopped(lambda process, _: os.kill(process.pid, signal.SIGHUP), prepare=ignore_hang_up)
    assert_same_results(output, case.whole)


@dataclass
class SlowDisk:
    """Stands for recorder, sink and writer; counts the checkpoints."""

    segments_written: int = 0

    @property
    def writer(self) -> SlowDisk:
        return self

    def memory(self) -> dict[str, Any]:
        return {}

    def unsaved_rows(self) -> dict[str, Any]:
        return {}

    def checkpoint(self, *_: Any) -> None:
        self.segments_written += 1


def test_a_day_of_checkpoints_is_few_enough_files_to_have_open_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr(runner, "perf_counter", lambda: clock[0])
    disk: Any = SlowDisk()
    checkpoints = runner.Checkpoints(disk, disk, 10.0)
    for now in range(86_400):
        clock[0] = float(now)
        checkpoints.take_if_due()
    # 10 s / ln 2 * 50 * (2**(n/50) - 1) = 86 400 s
    assert disk.segments_written == pytest.approx(50 * np.log2(1 + 8640 * np.log(2) / 50), rel=0.02)
    assert disk.segments_written < 350


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own that holds about half of the run."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=5M", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_run_without_room_says_so_and_goes_on_once_there_is_some(
    case: Case, small_disk: Path
) -> None:
    output = small_disk / "run.h5"
    assert finished(case.start(output, go_on=False)) == 2
    assert "No space left on device" in said(output)
    assert "free some space" in said(output)
    assert f"tricell run --resume {output}" in said(output)
    assert not output.exists()
    with open_results(output) as results:
        assert 96 <= len(results.times()) < case.scenario.time.slots
    subprocess.run(["mount", "-o", "remount,size=64M", str(small_disk)], check=True)
    assert finished(case.start(output, go_on=True)) == 0, said(output)
    assert_same_results(output, case.whole)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can change users")
def test_a_run_that_loses_its_permission_says_so_and_goes_on_with_it(case: Case) -> None:
    def take_away(folder: Path) -> None:
        folder.chmod(0o555)
        os.chown(folder, 0, 0)

    # Folders of tests can be entered by root alone.
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        output = Path(name) / "run.h5"
        process = case.start(output, go_on=False, prepare=lambda: os.setuid(NOBODY))
        wait_for(part_path(output) / "slots-0000096.h5", process)
        take_away(part_path(output))
        assert finished(process) == 2
        assert "Permission denied" in said(output)
        assert "mend the permissions" in said(output)
        with open_results(output) as results:
            assert len(results.times()) >= 96
        assert finished(case.start(output, go_on=True)) == 0, said(output)
        assert_same_results(output, case.whole)


def test_others_read_what_is_done_while_a_run_goes_on(case: Case, tmp_path: Path) -> None:
    output = tmp_path / "run.h5"
    process = case.start(output, go_on=False)
    seen = []
    while process.is_alive():
        if part_path(output).is_dir() or output.exists():
            # Between the end of the run and the removal of its folder either may be gone.
            with suppress(ResultsError), open_results(output) as results:
                seen.append((results.status, len(results.frame("agent", "p_net"))))
        time.sleep(0.01)
    assert finished(process) == 0, said(output)
    running = [slots for status, slots in seen if status == "running"]
    assert running == sorted(running)
    assert {slots % 96 for slots in running} == {0}
    assert any(0 < slots < case.scenario.time.slots for slots in running)
    assert_same_results(output, case.whole)


def test_nothing_is_resumed_beside_a_run_that_goes_on(stopped: Callable[..., Path]) -> None:
    def resume_too(_: Any, output: Path) -> None:
        with pytest.raises(ResultsError, match="a run is writing it"):
            resume_run(output)

    stopped(resume_too)


def test_a_run_of_another_version_is_not_resumed(
    case: Case, stopped: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = stopped(lambda process, _: os.kill(process.pid, signal.SIGKILL))
    before = sorted(part_path(output).iterdir())
    monkeypatch.setattr(
        resumption,
        "computed_with",
        lambda scenario: {**computed_with(scenario), "highspy": "0.0.1", "source": "abc"},
    )
    changes = r"highspy: .*, now 0\.0\.1; tricell's own source has changed\..*--force"
    with pytest.raises(ResultsError, match=changes):
        resume_run(output)
    assert sorted(part_path(output).iterdir()) == before


@pytest.mark.parametrize("name", shipped_names())
def test_a_scenario_comes_back_from_its_results_file_as_it_was(name: str) -> None:
    scenario = load_scenario(name)
    assert from_yaml(as_yaml(scenario)) == scenario


# --- as a user does it ---

# A network that is loaded in no time, and enough days to be stopped in.
SMALL = """\
extends: village
name: small
time: {days: 12}
grid: {source: {kind: pandapower, function: create_cigre_network_lv}}
participants: {profiles: constant}
output: {checkpoint_s: 0}
"""


def tricell(*arguments: str, cwd: Path) -> Any:
    return subprocess.Popen(
        [*TRICELL, *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_run_asked_to_end_goes_on_by_the_command_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    started = tricell("run", "small.yaml", "--quiet", "--output", "my run.h5", cwd=tmp_path)
    deadline = time.monotonic() + LIMIT_S
    while not (tmp_path / "my run.h5.part" / "slots-0000096.h5").exists():
        assert started.poll() is None, started.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    started.terminate()
    _, told = started.communicate(timeout=LIMIT_S)
    assert started.returncode == 130, told
    assert "Traceback" not in told
    assert "`tricell run --resume 'my run.h5'` goes on from the last" in " ".join(told.split())
    again = tricell("run", "--resume", "my run.h5", "--quiet", cwd=tmp_path)
    answer, told = again.communicate(timeout=LIMIT_S)
    assert (again.returncode, answer) == (0, "my run.h5\n"), told
    with open_results(tmp_path / "my run.h5") as results:
        assert results.status == "complete"
        assert len(results.times()) == 12 * 96
    complete = tricell("run", "--resume", "my run.h5", cwd=tmp_path)
    _, told = complete.communicate(timeout=LIMIT_S)
    assert complete.returncode == 2
    assert "is complete, there is nothing to resume" in " ".join(told.split())


def test_a_stopped_run_is_found_without_the_ending_of_its_name(tmp_path: Path) -> None:
    part_path(tmp_path / "week.h5").mkdir()
    with pytest.raises(ResultsError, match=r"did you mean .*week\.h5\?"):
        _resume(tmp_path / "week", quiet=True)


def test_options_of_a_run_are_refused_beside_resume(tmp_path: Path) -> None:
    refused = tricell("run", "village", "--resume", "run.h5", "--seed", "2", cwd=tmp_path)
    _, told = refused.communicate(timeout=LIMIT_S)
    assert refused.returncode == 2
    assert "leave out SCENARIO, --seed" in " ".join(told.split())
