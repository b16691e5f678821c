"""The golden results files, unpacked; see tests/golden/README.md."""

from __future__ import annotations

import gzip
from pathlib import Path

from tests.golden.make import golden_path


def unpacked_golden(folder: Path, version: str = "1.0.0") -> Path:
    """Unpack the golden file of a version into a folder."""
    target = folder / "golden.h5"
    target.write_bytes(gzip.decompress(golden_path(version).read_bytes()))
    return target
