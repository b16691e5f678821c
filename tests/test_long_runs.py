"""A run of 10 000 slots holds no more memory and no more open files than one of 2 000.

A process of its own runs a hamlet on look-ahead for 105 days. It takes about 35 s of one idle core:
7 s to import and set up, and 2.6 ms per slot.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="memory and open files are read from /proc"
)

DAYS = 105
AT_SLOTS = (2_000, 6_000, 10_000)
MEMORY_MB = 6.0
"""What 8 000 slots may add: a kB per slot would be 8 MB, what is kept of every slot for the results
file (prices, verdicts, counts) is 0.2 kB."""


@dataclass(frozen=True)
class Measured:
    """What the process held before some slots, and what it made before and within slots."""

    memory_mb: list[float]
    open_files: list[int]
    made: dict[str, list[int]]
    output: str


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    folder = tmp_path_factory.mktemp("hamlet")
    command = [sys.executable, "-m", "tests.long_run", folder, DAYS, *AT_SLOTS]
    done = subprocess.run(
        [str(part) for part in command],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def test_memory_stays_flat_from_slot_to_slot(measured: Measured) -> None:
    first, middle, last = measured.memory_mb
    assert last - first <= MEMORY_MB
    assert last - middle <= MEMORY_MB / 2.0


def test_no_file_stays_open_from_slot_to_slot(measured: Measured) -> None:
    """One more or less: between checkpoints no part of the results is open for writing."""
    assert max(measured.open_files) - min(measured.open_files) <= 1


def test_no_solver_is_made_within_a_slot(measured: Measured) -> None:
    """Two at least are made before: those of the market and of the plans."""
    for what, (before, within) in measured.made.items():
        assert before >= 2, what
        assert within == 0, what


def test_the_run_ends_with_its_results(measured: Measured) -> None:
    assert Path(measured.output).is_file()
