"""Runs a worked case of any mechanism: translates its field names to the product and back.

A case is ``{mechanism, input, expected, tol}``. The translations stand in `case_adapters`, a file
for each section of the field; they hold no rule of any mechanism.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

Adapter = Callable[[dict[str, Any]], dict[str, Any]]

FOLDER = Path(__file__).parent / "case_adapters"


def run(mechanism_id: str, input: dict[str, Any]) -> dict[str, Any]:
    """Return the product's answer to a case, in the case's own words."""
    adapters = all_adapters()
    if mechanism_id not in adapters:
        raise KeyError(f"no adapter for {mechanism_id!r}; there is {', '.join(sorted(adapters))}")
    return adapters[mechanism_id](input)


@cache
def all_adapters() -> dict[str, Adapter]:
    """Adapters of all sections by mechanism id; loaded by path, so that any caller may import."""
    adapters: dict[str, Adapter] = {}
    for file in sorted(FOLDER.glob("*.py")):
        spec = spec_from_file_location(f"case_adapters_{file.stem}", file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{file} cannot be loaded")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        adapters |= module.ADAPTERS
    return adapters
