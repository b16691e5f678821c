"""Makes the golden file of this layout: `python tests/golden/make.py`; see the README beside it."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from subprocess import DEVNULL, run
from tempfile import TemporaryDirectory

from tricell.results import layout

HERE = Path(__file__).parent
SCENARIO = "scenario-1.1.yaml"
"""What the golden file of the present version is a run of."""


def golden_path(version: str) -> Path:
    """Return the path of the golden file of a minor version."""
    return HERE / f"results-{'.'.join(version.split('.')[:2])}.h5.gz"


def make() -> Path:
    """Run the scenario and keep its results, packed."""
    target = golden_path(layout.SCHEMA_VERSION)
    with TemporaryDirectory() as folder:
        results = Path(folder) / "golden.h5"
        command = ["run", SCENARIO, "--quiet", "--output", str(results)]
        program = "from tricell.scenarios.command_line import main; main()"
        run([sys.executable, "-c", program, *command], cwd=HERE, check=True, stdout=DEVNULL)
        target.write_bytes(gzip.compress(results.read_bytes(), mtime=0))
    return target


if __name__ == "__main__":
    print(make())
