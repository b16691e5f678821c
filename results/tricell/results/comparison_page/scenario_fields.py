"""What differs between scenarios, field by field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def differing_fields(
    scenarios: Sequence[Mapping[str, Any]],
) -> list[tuple[str, tuple[str | None, ...]]]:
    """Return the fields in which scenarios differ, in their order.

    Parameters
    ----------
    scenarios : each as it was run, with all its fields.

    Returns
    -------
    list
        Dotted path of the field and, for each scenario, its value as text; None where the scenario
        does not have the field.

    Examples
    --------
    >>> one, other = {"seed": 1, "market": {"k": 0.5}}, {"seed": 2, "market": {"k": 0.5}}
    >>> differing_fields([one, other])
    [('seed', ('1', '2'))]
    """
    flat = [_flat(scenario) for scenario in scenarios]
    fields = dict.fromkeys(field for each in flat for field in each)
    rows = [(field, tuple(each.get(field) for each in flat)) for field in fields]
    return [(field, values) for field, values in rows if len(set(values)) > 1]


def _flat(value: Any, path: str = "") -> dict[str, str]:
    """Return values by dotted path; lists of plain values are one value."""
    if isinstance(value, Mapping) and value:
        inner = [(f"{path}.{key}" if path else str(key), each) for key, each in value.items()]
    elif isinstance(value, list) and any(isinstance(each, (Mapping, list)) for each in value):
        inner = [(f"{path}[{number}]", each) for number, each in enumerate(value)]
    else:
        return {path: _text(value)}
    return {field: text for key, each in inner for field, text in _flat(each, key).items()}


def _text(value: Any) -> str:
    """Write a value as YAML does; nothing as `none`."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(_text(each) for each in value) or "[]"
    return "{}" if value == {} else str(value) or '""'
