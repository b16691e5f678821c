"""The scenarios that tricell ships, listed without reading the schema (which is slow to load)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

SHIPPED_FOLDER = Path(__file__).parent / "library"


@dataclass(frozen=True)
class ShippedScenario:
    """What a list of scenarios shows of one."""

    name: str
    description: str
    days: float
    start: str


def shipped_names() -> list[str]:
    """Return the names of the shipped scenarios in alphabetical order."""
    return sorted(path.stem for path in SHIPPED_FOLDER.glob("*.yaml"))


def shipped_scenarios() -> list[ShippedScenario]:
    """Return name, description and period of every shipped scenario."""
    return [_described(name) for name in shipped_names()]


def looks_like_path(text: str) -> bool:
    """Tell a path from a name: it has a separator or ends like a YAML file.

    >>> looks_like_path("mine.yaml"), looks_like_path("village")
    (True, False)
    """
    return bool(re.search(r"[/\\]|\.ya?ml$", text))


def _described(name: str) -> ShippedScenario:
    fields = _fields(name)
    time = fields["time"]
    description = " ".join(str(fields["description"]).split())
    return ShippedScenario(name, description, float(time["days"]), str(time["start"]))


def _fields(name: str) -> dict[str, Any]:
    """Return the fields of a shipped file and, merged one level deep, of those it extends."""
    own: dict[str, Any] = YAML(typ="safe", pure=True).load(SHIPPED_FOLDER / f"{name}.yaml")
    base = _fields(str(own["extends"])) if "extends" in own else {}
    return {**base, **own, "time": {**base.get("time", {}), **own.get("time", {})}}
