"""A package that tricell does not know adds a network charge: listed, checked, billed, traded on.

The package is built and installed by pip into a folder of its own. Charges are looked up once per
process, so that every test asks a new one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.third_party_packages import installed, pretend_package

PACKAGE = Path(__file__).parent / "third_party" / "charge_package"
TRICELL = [sys.executable, "-c", "from tricell.scenarios.command_line import main; main()"]
PLAIN = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
SCENARIO = """\
extends: village
name: evening
time: {start: 2016-05-23T17:00Z, days: 0.0416666666666667}
charges:
  - {kind: evening, rate_eur_per_kwh: 0.05, from_hour: 19.5}
"""
BILL = """\
import numpy as np
from tricell.markets.charge import Calendar, Customers, MeterData
from tricell.markets.charge_preset import charge_of

start = np.datetime64("2016-05-23T16:00", "s") + np.arange(3) * np.timedelta64(3600, "s")
meters = MeterData(Calendar(start, 1.0), Customers.plain(2), np.array([[1.0, 2], [3, -1], [5, 4]]))
charge = charge_of({"kind": "evening", "rate_eur_per_kwh": 0.1, "from_hour": 19})
print(charge.bill_eur(meters).round(9).tolist())
"""

Command = Callable[..., subprocess.CompletedProcess[str]]


def python_with(folder: Path, cwd: Path | None = None) -> Command:
    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=cwd,
            env={**os.environ, **PLAIN, "PYTHONPATH": str(folder)},
        )

    return python


def tricell_with(folder: Path) -> Command:
    def tricell(*arguments: str) -> subprocess.CompletedProcess[str]:
        return python_with(folder)(*TRICELL[1:], *arguments)

    return tricell


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which pip has installed the package."""
    return installed(PACKAGE, tmp_path_factory)


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    file = tmp_path / "evening.yaml"
    file.write_text(SCENARIO, encoding="utf-8")
    return file


def test_the_list_shows_a_third_partys_charge_with_its_package(site: Path) -> None:
    result = tricell_with(site)("list", "charges")
    assert result.returncode == 0, result.stderr
    for words in ("evening ", "kWh imported in the", "from the package evening-charge"):
        assert words in result.stdout
    assert "volumetric " in result.stdout, "those of tricell are there too"


def test_a_third_partys_charge_bills_meters_at_local_time(site: Path) -> None:
    # 16, 17 and 18 h UTC are 18, 19 and 20 h in Berlin in May: 3 + 5 kWh and 4 kWh at 0.1 EUR.
    result = python_with(site)("-c", BILL)
    assert result.stdout.strip() == "[0.8, 0.4]", result.stderr


def test_a_scenario_with_a_third_partys_charge_runs(site: Path, scenario: Path) -> None:
    tricell = tricell_with(site)
    output = str(scenario.with_suffix(".h5"))
    result = tricell("run", str(scenario), "--output", output, "--quiet")
    assert result.returncode == 0, result.stderr
    assert Path(output).stat().st_size > 0


def test_the_parameters_of_a_third_partys_charge_are_checked(site: Path, scenario: Path) -> None:
    scenario.write_text(SCENARIO.replace("from_hour: 19.5", "from_hour: 25"), encoding="utf-8")
    result = tricell_with(site)("check", str(scenario))
    assert result.returncode == 2
    assert "from_hour" in result.stderr
    assert "25" in result.stderr
    scenario.write_text(SCENARIO.replace("from_hour", "from_our"), encoding="utf-8")
    result = tricell_with(site)("check", str(scenario))
    assert result.returncode == 2
    assert "did you mean `from_hour`?" in result.stderr


def test_without_the_package_there_is_no_such_charge(tmp_path: Path, scenario: Path) -> None:
    result = tricell_with(tmp_path)("check", str(scenario))
    assert result.returncode == 2
    assert "`evening`" in result.stderr
    assert "volumetric" in result.stderr, "it says what is allowed"


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("import a_package_that_is_not_there\n", "cannot be loaded"),
        ("ABOUT = 'mine'\n", "has no `ABOUT`"),
        (
            "from tricell.markets.charge import AboutCharge\n"
            "ABOUT = AboutCharge('mine', 'mine', 'kWh', 'me')\n",
            "has no class derived from SlotCharge or PeriodCharge",
        ),
        (
            "from typing import Literal\n"
            "from tricell.markets.charge import AboutCharge, SlotCharge\n"
            "ABOUT = AboutCharge('volumetric', 'mine', 'kWh', 'me')\n"
            "class Mine(SlotCharge):\n"
            "    kind: Literal['volumetric'] = 'volumetric'\n",
            "there is one of that name",
        ),
    ],
    ids=["missing import", "no ABOUT", "no class", "name taken"],
)
def test_a_broken_package_is_named_without_a_traceback(
    module: str, words: str, tmp_path: Path
) -> None:
    pretend_package(tmp_path, "broken_charge", module, "tricell.charges")
    result = tricell_with(tmp_path)("list", "charges")
    assert result.returncode == 2
    shown = " ".join(result.stderr.split())
    assert words in shown
    assert "broken_charge" in shown
    assert "Traceback" not in shown
