"""Packages of third parties: really installed by pip, or written by hand as it would leave them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def installed(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install a package with pip and return the folder in which it lies."""
    pytest.importorskip("hatchling", reason="pip builds the package without the network")
    source = tmp_path_factory.mktemp("source") / package.name
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(package, source)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(folder), str(source)],
        check=True,
        capture_output=True,
        timeout=120,
    )
    return folder


def pretend_package(folder: Path, name: str, module: str, group: str) -> None:
    """Write a package by hand, with its entry point, as an installer would leave it."""
    (folder / f"{name}.py").write_text(module, encoding="utf-8")
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{group}]\n{name} = {name}\n")
