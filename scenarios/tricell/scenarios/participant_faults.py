"""Faults of participants that only the network and its data show, all of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tricell.errors import DataError
from tricell.scenarios.faults import did_you_mean
from tricell.scenarios.yaml_tree import Key, dotted


@dataclass(frozen=True)
class FieldFault:
    """A field of the scenario that does not fit the network or the run."""

    path: tuple[Key, ...]
    """Where the field stands in the scenario."""
    message: str
    """What is wrong, as a sentence without a full stop."""
    allowed: str = ""
    """What would be right here."""
    suggestion: str = ""
    """What to do next."""


class ParticipantError(DataError):
    """Fields of the participants do not fit the network or the run; `faults` holds all of them."""

    def __init__(self, faults: Sequence[FieldFault]) -> None:
        self.faults = tuple(faults)
        lines = []
        for each in self.faults:
            told = [f"{dotted(each.path)}: {each.message}"]
            told += [f"allowed: {each.allowed}"] if each.allowed else []
            told += [each.suggestion] if each.suggestion else []
            lines.append("; ".join(told))
        super().__init__("\n".join(lines))


@dataclass
class FieldFaults:
    """Collects faults, so that one look finds all of them."""

    found: list[FieldFault] = field(default_factory=list)

    def add(
        self, path: tuple[Key, ...], message: str, *, allowed: str = "", suggestion: str = ""
    ) -> None:
        """Add a fault."""
        self.found.append(FieldFault(path, message, allowed, suggestion))

    def row_of(
        self, name: str, rows: Mapping[str, int], path: tuple[Key, ...], message: str, allowed: str
    ) -> int | None:
        """Return the row of a name; a fault and None if there is no such name."""
        if name not in rows:
            self.add(path, message, allowed=allowed, suggestion=did_you_mean(name, rows))
            return None
        return rows[name]

    def refuse_repeated(
        self, names: Iterable[tuple[str, tuple[Key, ...]]], taken: Iterable[str], message: str
    ) -> None:
        """Refuse names that are taken, by others or by one before."""
        known = set(taken)
        for name, path in names:
            if name in known:
                self.add(path, message.format(name), suggestion="give each its own name")
            known.add(name)

    def raise_if_any(self) -> None:
        """Raise what was found.

        Raises
        ------
        ParticipantError
            If there is any fault.
        """
        if self.found:
            raise ParticipantError(self.found)
