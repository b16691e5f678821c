"""What a check of a results file finds: one typed value for each deviation from the layout."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

from tricell.results.open_file import DAMAGE

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


UNUSABLE = (
    DeviationKind.MISSING,
    DeviationKind.TYPE,
    DeviationKind.SHAPE,
    DeviationKind.UNREADABLE,
)
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


def unreadable(path: str, error: BaseException) -> Deviation:
    """Say that something is damaged, in the words of HDF5."""
    found = f"damage ({' '.join(str(error).split())})"
    return Deviation(DeviationKind.UNREADABLE, path, found, "what can be read")


def guarded(path: str, deviations: Iterator[Deviation]) -> Iterator[Deviation]:
    """Yield deviations; where the bytes are damaged say so and go on with what comes after."""
    try:
        yield from deviations
    except DAMAGE as error:
        yield unreadable(path, error)


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
