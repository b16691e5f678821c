"""A package that tricell does not know adds a mechanism: it is listed, and it clears a book.

The package is built and installed by pip into a folder of its own. Mechanisms are looked up once
per process, so that every test asks a new one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.third_party_packages import installed, pretend_package

PACKAGE = Path(__file__).parent / "third_party" / "mechanism_package"
BOOK = Path(__file__).parents[1] / "examples" / "orders.csv"
TRICELL = [sys.executable, "-c", "from tricell.scenarios.command_line import main; main()"]
PLAIN = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}

Command = Callable[..., subprocess.CompletedProcess[str]]


def tricell_with(folder: Path) -> Command:
    def tricell(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*TRICELL, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **PLAIN, "PYTHONPATH": str(folder)},
        )

    return tricell


@pytest.fixture(scope="module")
def tricell(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command in a process where the package is installed."""
    folder = installed(PACKAGE, tmp_path_factory)
    return tricell_with(folder)


def test_the_list_shows_a_third_partys_mechanism_with_its_package(tricell: Command) -> None:
    result = tricell("list", "mechanisms")
    assert result.returncode == 0, result.stderr
    for words in ("even_price ", "fixed beforehand", "from the package even-price-market"):
        assert words in result.stdout
    assert "uniform_price " in result.stdout, "those of tricell are there too"


def test_a_third_partys_mechanism_clears_a_book_with_its_parameter(tricell: Command) -> None:
    result = tricell("clear", str(BOOK), "-m", "even_price", "--param", "price=0.22")
    assert result.returncode == 0, result.stderr
    # Willing at 0.22: buys 2 kWh at .30 and 3 at .25, sells 1 at .10 and 3 at .18.
    assert "4 kWh" in result.stdout
    assert "0.2200 EUR/kWh" in result.stdout


def test_its_parameters_are_checked_like_any_other(tricell: Command) -> None:
    result = tricell("clear", str(BOOK), "-m", "even_price", "--param", "prize=1")
    assert result.returncode == 2
    assert "there is no parameter `prize`" in result.stderr
    assert "did you mean `price`?" in result.stderr
    assert "default 0.2" in result.stderr


def test_without_the_package_there_is_no_such_mechanism(tmp_path: Path) -> None:
    result = tricell_with(tmp_path)("clear", str(BOOK), "-m", "even_price")
    assert result.returncode == 2
    assert "there is no mechanism `even_price`" in result.stderr


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("import a_package_that_is_not_there\n", "cannot be loaded"),
        ("ABOUT = 'mine'\n", "has no `ABOUT`"),
        (
            "from tricell.markets.mechanism import About\n"
            "ABOUT = About('uniform_price', 'mine', 'me')\n",
            "there is one of that name",
        ),
    ],
    ids=["missing import", "no ABOUT", "name taken"],
)
def test_a_broken_package_is_named_without_a_traceback(
    module: str, words: str, tmp_path: Path
) -> None:
    pretend_package(tmp_path, "broken_market", module, "tricell.mechanisms")
    result = tricell_with(tmp_path)("list", "mechanisms")
    assert result.returncode == 2
    shown = " ".join(result.stderr.split())
    assert words in shown
    assert "broken_market" in shown
    assert "Traceback" not in shown
