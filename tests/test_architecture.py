"""The rooms keep their arrows, and the repository does not depend on the machine it was made on."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("scenarios", "simulators", "markets", "grid_models", "results")
MACHINE_PATH = re.compile(
    r"(?<![\w.:/~%})\"'-])/(?:home|root|Users|opt|tmp|work|mnt|var/folders)/\w", re.ASCII
)
WINDOWS_PATH = re.compile(r"\b[A-Z]:\\\\?(?:Users|Windows|Program Files)", re.ASCII)
QUOTED_MACHINE_PATH = re.compile(r"[\"'`(]/(?:home|root|Users|opt|tmp|work|mnt)/\w", re.ASCII)
EXAMPLE_USER = "/home/ann/"
"""The home of nobody, for examples in docstrings."""


def tracked_files() -> list[Path]:
    """Files of the repository, or all files of the rooms where there is no git."""
    listing = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False
    )
    if listing.returncode == 0:
        files = [ROOT / name for name in listing.stdout.split("\0") if name]
        return [file for file in files if file.is_file()]
    return [file for room in (*ROOMS, "tests", "docs") for file in (ROOT / room).rglob("*.*")]


def text_of(file: Path) -> str:
    """Text of a file, empty for pictures and other binaries."""
    data = file.read_bytes()
    return "" if b"\0" in data else data.decode("utf-8")


def test_every_import_contract_is_kept() -> None:
    program = Path(sys.executable).parent / "lint-imports"
    result = subprocess.run(
        [str(program), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_namespace_package_has_no_init_file() -> None:
    inits = [init for room in ROOMS for init in (ROOT / room / "tricell").rglob("__init__.py")]
    assert not [init for init in inits if init.parent.name == "tricell"]


def test_no_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    found = []
    for file in tracked_files():
        if file == Path(__file__):
            continue
        for number, line in enumerate(text_of(file).splitlines(), start=1):
            told = line.replace(EXAMPLE_USER, "")
            if any(p.search(told) for p in (MACHINE_PATH, QUOTED_MACHINE_PATH, WINDOWS_PATH)):
                found.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)
