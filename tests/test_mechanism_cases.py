"""Every worked case of the mechanisms is answered as published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.mechanism_cases import run

FOLDER = Path(__file__).parent / "cases" / "mechanisms"
CASES: list[dict[str, Any]] = [
    case for file in sorted(FOLDER.glob("*.json")) for case in json.loads(file.read_text("utf-8"))
]


def differences(expected: Any, given: Any, tolerance: float, where: str = "") -> list[str]:
    """Where two answers differ: numbers beyond the tolerance (absolute below 1, else relative)."""
    if isinstance(expected, dict) and isinstance(given, dict):
        if expected.keys() != given.keys():
            return [f"{where}: keys {sorted(expected)} and {sorted(given)}"]
        parts = [(f"{where}.{key}", expected[key], given[key]) for key in expected]
    elif isinstance(expected, list) and isinstance(given, list | tuple):
        if len(expected) != len(given):
            return [f"{where}: {expected} and {given}"]
        parts = [
            (f"{where}[{n}]", *pair) for n, pair in enumerate(zip(expected, given, strict=True))
        ]
    else:
        return [] if _equal(expected, given, tolerance) else [f"{where}: {expected} and {given}"]
    return [text for at, one, other in parts for text in differences(one, other, tolerance, at)]


def _equal(expected: Any, given: Any, tolerance: float) -> bool:
    def is_number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool)

    if is_number(expected) and is_number(given):
        return bool(abs(expected - given) <= tolerance * max(1.0, abs(expected), abs(given)))
    return type(expected) is type(given) and bool(expected == given)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['mechanism']}: {c['title']}")
def test_a_worked_case_is_answered_as_published(case: dict[str, Any]) -> None:
    """The tolerance is the case's own; it is that of the digits it states."""
    assert differences(case["expected"], run(case["mechanism"], case["input"]), case["tol"]) == []
