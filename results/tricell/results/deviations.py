"""What a check of a results file finds: one typed value for each deviation from the layout."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

SHOWN_VALUES = 3


class DeviationKind(StrEnum):
    """What is wrong."""

    MISSING = "missing"
    UNKNOWN = "unknown"
    TYPE = "type"
    SHAPE = "shape"
    AXIS = "axis"
    ATTRIBUTE = "attribute"
    STORAGE = "storage"
    VALUE = "value"
    REFERENCE = "reference"
    TIME = "time"
    MONEY = "money"
    UNREADABLE = "unreadable"


UNUSABLE = (DeviationKind.MISSING, DeviationKind.TYPE, DeviationKind.SHAPE)
"""Kinds after which the values of a dataset cannot be looked at."""


@dataclass(frozen=True)
class Deviation:
    """One thing in a file that is not as the layout says.

    Attributes
    ----------
    kind
        What is wrong.
    path
        Where: the path in the file, with ``@name`` for an attribute.
    found, expected
        In words, for people.
    """

    kind: DeviationKind
    path: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.path}: found {self.found}, expected {self.expected}"


def listed(values: Collection[object], count: int | None = None) -> str:
    """Name the first few values and say how many there are in all.

    Examples
    --------
    >>> listed([7, 8]), listed(["a", "b", "c", "d", "e"])
    ('7, 8', "'a', 'b', 'c', ... (5 in all)")
    """
    shown = ", ".join(repr(value) for value in list(values)[:SHOWN_VALUES])
    number = len(values) if count is None else count
    return shown if number <= SHOWN_VALUES else f"{shown}, ... ({number} in all)"
