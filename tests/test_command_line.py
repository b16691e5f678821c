"""The command `tricell`: what it prints, what it refuses, with which exit code, and how fast."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from tricell.errors import GridError, SimulatorError
from tricell.scenarios import command_line, preview, screen
from tricell.scenarios.command_line import app
from tricell.scenarios.shipped import shipped_names

TRICELL = [sys.executable, "-c", "from tricell.scenarios.command_line import main; main()"]
PLAIN = {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def tricell(*arguments: str) -> Result:
    return CliRunner(env=PLAIN).invoke(app, arguments)


def in_a_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TRICELL, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **PLAIN},
    )


def pretend_runner(monkeypatch: pytest.MonkeyPatch, run: Callable[..., Any]) -> None:
    """Put a function in the place of the runner, which takes seconds."""
    stand_in = ModuleType("tricell.scenarios.runner")
    vars(stand_in)["run_scenario"] = run
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)


# --- in a real process ---


def test_the_version_is_shown_in_half_a_second() -> None:
    start = time.perf_counter()
    result = in_a_process("--version")
    assert time.perf_counter() - start < 2.0, "0.1 s on an idle machine; others may be working"
    assert result.stdout.startswith("tricell ")
    assert result.returncode == 0


def test_listing_scenarios_loads_no_network_library() -> None:
    code = (
        "import sys\nfrom typer.testing import CliRunner\n"
        "from tricell.scenarios.command_line import app\n"
        "CliRunner().invoke(app, ['list', 'scenarios'])\n"
        "print({'pandapower', 'simbench', 'mosaik', 'pyomo', 'pandas'} & set(sys.modules))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert loaded.stdout.strip() == "set()"


def test_a_wrong_scenario_exits_2_with_a_message_and_no_traceback_or_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: vilage\n")
    result = in_a_process("run", "mine.yaml")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("mine.yaml:1:10: error: there is no scenario `vilage`")
    assert "did you mean `village`?" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "mine.yaml"]


# --- what it prints ---


def test_scenarios_are_listed_with_what_they_show() -> None:
    result = tricell("list", "scenarios")
    assert result.exit_code == 0
    assert all(name in result.stdout for name in shipped_names())
    assert max(len(line) for line in result.stdout.splitlines()) <= 80


def test_grids_are_listed_with_their_source() -> None:
    result = tricell("list", "grids")
    assert result.exit_code == 0
    assert "MV2.101" in result.stdout
    assert "create_cigre_network_lv" in result.stdout


def test_the_schema_is_json_that_names_every_section() -> None:
    schema = json.loads(tricell("schema").stdout)
    assert {"time", "grid", "prices", "extends"} <= set(schema["properties"])


@pytest.mark.parametrize("arguments", [["run"], ["rnu"], ["run", "--dayz"], ["list", "things"]])
def test_a_wrong_command_exits_2_and_points_to_the_help(arguments: list[str]) -> None:
    result = tricell(*arguments)
    assert result.exit_code == 2
    assert "Usage" in result.output


# --- what it refuses ---


def test_faults_of_options_are_named_after_the_option() -> None:
    result = tricell("run", "village", "--days", "0", "--start", "2016", "--set", "tme.days=1")
    assert result.exit_code == 2
    assert "--days 0: error: `time.days` must be greater than 0" in result.stderr
    assert "--start 2016: error: `2016` is not a date" in result.stderr
    assert "--set tme.days=1: error: `tme` is not a field of a scenario" in result.stderr
    assert "3 faults in village; nothing was run." in result.stderr


@pytest.mark.parametrize("arguments", [[], ["--output", "village.h5"]])
def test_an_existing_output_is_refused_before_any_work(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_runner(monkeypatch, lambda *_, **__: pytest.fail("the run was started"))
    (tmp_path / "village.h5").write_text("precious")
    result = tricell("run", "village", *arguments)
    assert result.exit_code == 2
    assert "exists and is not overwritten" in result.stderr
    assert "--force" in result.stderr
    assert (tmp_path / "village.h5").read_text() == "precious"


@pytest.mark.parametrize(
    ("output", "words"), [("missing/x.h5", "does not exist"), (".", "is a folder")]
)
def test_an_output_that_cannot_be_written_is_refused(output: str, words: str) -> None:
    result = tricell("run", "village", "--output", output)
    assert result.exit_code == 2
    assert words in result.stderr


# --- running (with another runner in place of the real one) ---


def test_a_quiet_run_prints_only_the_path_of_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def run(scenario: Any, output: Path, *, force: bool, progress: Callable[..., None]) -> Any:
        seen.update(seed=scenario.seed, days=scenario.time.days, force=force)
        progress(1, 2)
        return SimpleNamespace(output=output)

    pretend_runner(monkeypatch, run)
    result = tricell("run", "village", "--seed", "7", "--days", "2", "--force", "--quiet")
    assert result.stdout == "village.h5\n"
    assert result.stderr == ""
    assert seen == {"seed": 7, "days": 2, "force": True}


def test_an_error_of_the_run_is_a_message_and_exits_2(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, **__: Any) -> Any:
        raise SimulatorError("The simulator `ev` did not answer for 30 s.")

    pretend_runner(monkeypatch, run)
    result = tricell("run", "village")
    assert result.exit_code == 2
    assert "error: The simulator `ev` did not answer for 30 s." in result.stderr
    assert "Traceback" not in result.stderr


def test_stopping_a_run_exits_130_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    pretend_runner(monkeypatch, run)
    result = tricell("run", "village")
    assert result.exit_code == 130
    assert "stopped by Ctrl-C before the end. No file was written." in result.stderr


def test_a_fault_of_tricell_itself_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    pretend_runner(monkeypatch, run)
    result = tricell("run", "village")
    assert result.exit_code == 1
    assert isinstance(result.exception, ZeroDivisionError)


def test_progress_shows_slots_per_second_on_standard_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = StringIO()
    console = Console(file=shown, force_terminal=True, width=80)
    monkeypatch.setattr(screen, "error_output", lambda: console)
    with screen.RunProgress("village", shown=True) as progress:
        for done in range(1, 97):
            progress.update(done, 96)
            time.sleep(0.001)
    assert "slots/s" in shown.getvalue()
    assert "96/96" in shown.getvalue()


# --- check ---


def test_checking_shows_the_areas_members_and_ratings_without_running(tmp_path: Path) -> None:
    result = tricell("check", "village")
    assert result.exit_code == 0, result.stderr
    for words in ("LV2.101", "LV4.101", "microgrid", "members", "MVA", "household", "retail"):
        assert words in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_shows_what_check_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(preview, "preview", lambda scenario: scenario.name)
    monkeypatch.setattr(screen, "show_preview", lambda console, seen: shown.append(seen))
    assert tricell("run", "district", "--dry").exit_code == 0
    assert shown == ["district"]


def test_a_grid_that_cannot_be_used_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(scenario: Any) -> Any:
        raise GridError("Bus 3 is an island. Connect it or take it out of service.")

    monkeypatch.setattr(preview, "preview", refuse)
    result = tricell("check", "village")
    assert result.exit_code == 2
    assert "error: Bus 3 is an island." in result.stderr


def test_the_exit_codes_are_documented_in_the_help_and_the_module() -> None:
    assert "130" in str(app.info.epilog)
    assert "130" in str(command_line.__doc__)
