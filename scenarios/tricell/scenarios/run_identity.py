"""What decides a run's results: its scenario, the files it names, the packages and tricell itself.

Two runs with the same hash give the same meters, and a run that was stopped is only continued
where nothing of this has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import Any

from tricell.markets.charge_registry import known_charges
from tricell.markets.mechanism_registry import known_mechanisms
from tricell.scenarios.field_guide import guide_of
from tricell.scenarios.scenario_file import as_yaml
from tricell.scenarios.schema import Scenario

DECIDING_PACKAGES = (
    "tricell",
    "mosaik",
    "numpy",
    "scipy",
    "pandas",
    "pyomo",
    "highspy",
    "pandapower",
    "simbench",
)
"""Packages whose versions decide what a run gives."""
WEATHER_PACKAGES = ("demandlib", "pvlib")
"""Those that decide where a scenario has weather."""
ROOMS = ("grid_models", "markets", "simulators", "scenarios")
"""Rooms of tricell whose source decides what a run gives."""
NOT_IN_A_RUN = ("study_", "command_line", "screen", "preview", "results_sink", "shipped")
"""Beginnings of the names of files that no run goes through."""
SOURCE = "source"
"""Under this name stands the hash of tricell's own source."""
COMMAND_ENDING = "_command"
"""Ending of the names of files that no run goes through either."""


def run_hash(scenario: Scenario, record_version: int) -> str:
    """Return the content hash of a run: of everything that decides what it gives.

    Parameters
    ----------
    scenario : with its charges; its name and description do not count.
    record_version : of what is kept of a run.
    """
    nameless = scenario.model_copy(update={"name": "run", "description": ""})
    digest = hashlib.sha256(f"{record_version}\n{as_yaml(nameless)}".encode())
    for name, value in computed_with(scenario).items():
        digest.update(f"\n{name}={value}".encode())
    return digest.hexdigest()[:32]


def computed_with(scenario: Scenario) -> dict[str, str]:
    """Return, beside the scenario itself, what decides its results: name -> version or hash."""
    files = {str(file): _file_hash(file) for file in sorted(_files(scenario))}
    weather = () if scenario.weather is None else WEATHER_PACKAGES
    return surroundings() | {name: package_version(name) for name in weather} | files


@cache
def surroundings() -> dict[str, str]:
    """Return the versions of Python and the packages, and the hash of tricell's own source."""
    origins = {charge.origin for charge in known_charges().values()}
    origins |= {mechanism.origin for mechanism in known_mechanisms().values()}
    packages = sorted({*DECIDING_PACKAGES, *origins})
    versions = {name: package_version(name) for name in packages}
    return {"python": python_version(), **versions, SOURCE: _source_hash()}


def _files(scenario: Scenario) -> Iterator[Path]:
    """Yield every file that a scenario names."""
    data = scenario.model_dump(mode="json", by_alias=True)
    guide = guide_of(type(scenario))

    def visit(value: Any, path: tuple[str | int, ...]) -> Iterator[Path]:
        if isinstance(value, dict):
            for key, child in value.items():
                yield from visit(child, (*path, key))
        elif isinstance(value, list):
            for position, child in enumerate(value):
                yield from visit(child, (*path, position))
        elif isinstance(value, str) and guide.is_path(path, data) and Path(value).is_file():
            yield Path(value)

    yield from visit(data, ())


def _file_hash(file: Path) -> str:
    state = file.stat()
    return _content_hash(file, state.st_mtime_ns, state.st_size)


@cache
def _content_hash(file: Path, changed_ns: int, size: int) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _source_hash() -> str:
    digest = hashlib.sha256()
    for room in ROOMS:
        for folder in import_module(f"tricell.{room}").__path__:
            for file in sorted(Path(folder).rglob("*")):
                if file.suffix in (".py", ".csv") and not _is_beside_runs(file):
                    digest.update(file.relative_to(folder).as_posix().encode())
                    digest.update(file.read_bytes())
    return digest.hexdigest()


def _is_beside_runs(file: Path) -> bool:
    return file.name.startswith(NOT_IN_A_RUN) or file.stem.endswith(COMMAND_ENDING)


def package_version(package: str) -> str:
    """Return the version of a package, or that it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
