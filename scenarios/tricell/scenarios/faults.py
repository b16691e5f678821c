"""Faults of a scenario file or an option: data first, shown the way a compiler shows them.

::

    mine.yaml:7:9: error: `time.days` must be greater than 0
         7 |   days: -3
           |         ^^
           = allowed: a number above 0 (default 1)
           = help: did you mean ...?
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from tricell.errors import ScenarioError

PAGE_WIDTH = 80
GUTTER_WIDTH = 7


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in a scenario file or in an option of the command line."""

    file: str
    """Path of the file, or the option as it was typed."""
    line: int | None
    """Line in the file, from 1; None where there is none (an option, a missing file)."""
    field: str
    """Dotted path of the field, such as `time.days`; empty for the whole file."""
    value: str
    """The value as it was written; empty where a value is missing."""
    message: str
    """What is wrong, as a sentence without a full stop."""
    allowed: str = ""
    """What would be right here."""
    suggestion: str = ""
    """What to do next: the likely spelling, a command to run."""
    column: int | None = None
    """Column in the line, from 1."""
    excerpt: str = ""
    """The line of the file as it was written."""
    marked: int = 1
    """How many characters of the excerpt to underline."""

    def __str__(self) -> str:
        parts = [self._headline(), *self._excerpt_lines()]
        for label, text in (("allowed", self.allowed), ("help", self.suggestion)):
            if text:
                parts.append(_hanging(f"= {label}: {text}"))
        return "\n".join(parts)

    def _headline(self) -> str:
        position = "".join(f":{n}" for n in (self.line, self.column) if n is not None)
        return f"{self.file}{position}: error: {self.message}"

    def _excerpt_lines(self) -> list[str]:
        if not self.excerpt or self.line is None or self.column is None:
            return []
        shown, column = _window(self.excerpt, self.column)
        marks = max(1, min(self.marked, len(shown) - column + 1))
        gutter = " " * GUTTER_WIDTH
        return [
            f"{self.line:>{GUTTER_WIDTH - 1}} | {shown}",
            f"{gutter}| {' ' * (column - 1)}{'^' * marks}",
        ]


class ScenarioFaultsError(ScenarioError):
    """A scenario cannot be used; `faults` holds everything that is wrong with it."""

    def __init__(self, scenario: str, faults: Sequence[Fault]) -> None:
        self.scenario = scenario
        self.faults = tuple(sorted(faults, key=_reading_order))
        super().__init__(scenario, self.faults)

    def __str__(self) -> str:
        count = len(self.faults)
        noun = "fault" if count == 1 else "faults"
        blocks = [str(fault) for fault in self.faults]
        blocks.append(f"{count} {noun} in {self.scenario}; nothing was run.")
        return "\n\n".join(blocks)


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that `word` was probably meant to be, or None.

    >>> closest("vilage", ["village", "district"])
    'village'
    >>> closest("zebra", ["village", "district"]) is None
    True
    """
    by_lower = {candidate.lower(): candidate for candidate in known}
    matches = get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[matches[0]] if matches else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `did you mean ...?` for the closest known word, or an empty text."""
    match = closest(word, known)
    return f"did you mean `{match}`?" if match is not None else ""


def listed(words: Iterable[str]) -> str:
    """Return words as one readable list.

    >>> listed(["a", "b", "c"])
    'a, b or c'
    """
    *head, last = words
    return f"{', '.join(head)} or {last}" if head else last


def _reading_order(fault: Fault) -> tuple[str, int, int]:
    return fault.file, fault.line or 0, fault.column or 0


def _hanging(text: str) -> str:
    indent = " " * GUTTER_WIDTH
    return textwrap.fill(
        text,
        width=PAGE_WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _window(line: str, column: int) -> tuple[str, int]:
    """Cut a long line to what fits on the page around `column`; tabs become one space."""
    line = line.replace("\t", " ")
    room = PAGE_WIDTH - GUTTER_WIDTH - 2
    if len(line) <= room:
        return line.rstrip(), column
    start = max(0, column - 1 - room // 3)
    return line[start : start + room].rstrip(), column - start
