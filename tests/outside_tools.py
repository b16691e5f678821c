"""Programs of other languages that tests call; without them such tests are left out.

Where the environment variable ``TRICELL_CI_TOOLS`` is ``required``, as `.ci/run` sets it, such a
test fails instead.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

READERS = Path(__file__).parent / "readers"


def require_tool(name: str, package: str) -> str:
    """Return the path of a program, or skip the test."""
    found = shutil.which(name)
    if found is None:
        _leave_out(f"no program {name} on the PATH (Debian: apt-get install {package})")
    return str(found)


def require_node_package(name: str) -> None:
    """Skip the test if a package for Node is not installed beside the readers."""
    if not (READERS / "node_modules" / name).is_dir():
        _leave_out(f"the package {name} is not installed (npm ci --prefix {READERS})")


def _leave_out(reason: str) -> None:
    if os.environ.get("TRICELL_CI_TOOLS") == "required":
        pytest.fail(reason)
    pytest.skip(reason)
