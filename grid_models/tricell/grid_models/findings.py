"""What a check of a network has to say, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class GridFinding:
    """One fault or one assumption, and what tricell does about it.

    Attributes
    ----------
    severity : {"error", "warning"}
        An error stops a run; a warning goes into the results file.
    table : str
        Table of the pandapower network.
    row : int
        Row position in that table; -1 where the finding is about the table as a whole.
    name : str
        Name of the element, or of the group of elements.
    message : str
        What is missing or wrong.
    treatment : str
        What tricell does, or what has to be done.
    """

    severity: Severity
    table: str
    row: int
    name: str
    message: str
    treatment: str
