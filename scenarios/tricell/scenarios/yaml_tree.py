"""YAML as a tree that remembers where each key and value was written.

The tree holds only plain data: no tags, no Python objects. Nothing here knows what a scenario
is; faults are returned, never raised, so that one reading finds all of them.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, StringMark, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.nodes import Node as YamlNode

from tricell.scenarios.faults import Fault

Scalar: TypeAlias = str | int | float | bool | None
Plain: TypeAlias = "Scalar | dict[str, Plain] | list[Plain]"
Key: TypeAlias = str | int

MAX_NODES = 50_000
CORE_TAG = "tag:yaml.org,2002:"
PARSED_SCALARS = frozenset(CORE_TAG + name for name in ("int", "float", "bool", "null"))
TEXT_SCALARS = frozenset(CORE_TAG + name for name in ("str", "timestamp"))


@dataclass(frozen=True)
class Source:
    """A text that holds settings: a file, or the value of an option."""

    name: str
    """Path of the file or the option as typed; shown in faults."""
    folder: Path
    """Relative paths inside the text start here."""
    lines: tuple[str, ...] = ()
    """The lines of a file; empty for an option."""

    @property
    def is_file(self) -> bool:
        """Whether line numbers mean anything."""
        return bool(self.lines)


@dataclass(frozen=True)
class Place:
    """Where something is written; line and column count from 1."""

    source: Source
    line: int = 1
    column: int = 1
    width: int = 1

    def fault(
        self,
        message: str,
        *,
        field: str = "",
        value: str = "",
        allowed: str = "",
        suggestion: str = "",
    ) -> Fault:
        """Return a fault at this place."""
        in_file = self.source.is_file and 0 < self.line <= len(self.source.lines)
        return Fault(
            file=self.source.name,
            line=self.line if self.source.is_file else None,
            column=self.column if in_file else None,
            excerpt=self.source.lines[self.line - 1] if in_file else "",
            marked=self.width,
            field=field,
            value=value,
            message=message,
            allowed=allowed,
            suggestion=suggestion,
        )


@dataclass(frozen=True)
class Node:
    """A value with the place where it, and the key in front of it, are written."""

    value: Scalar | dict[str, Node] | list[Node]
    place: Place
    key_place: Place | None = None

    def children(self) -> Iterator[tuple[Key, Node]]:
        """Yield the key or index and the node of each member."""
        if isinstance(self.value, dict):
            yield from self.value.items()
        elif isinstance(self.value, list):
            yield from enumerate(self.value)

    def child(self, key: Key) -> Node | None:
        """Return the member `key`, or None."""
        if isinstance(self.value, dict) and isinstance(key, str):
            return self.value.get(key)
        if isinstance(self.value, list) and isinstance(key, int) and key < len(self.value):
            return self.value[key]
        return None


def plain(node: Node) -> Plain:
    """Return the data of a tree without the places."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def dotted(path: tuple[Key, ...]) -> str:
    """Return a path as people write it after `--set`.

    >>> dotted(("simulators", 0, "name"))
    'simulators.0.name'
    """
    return ".".join(str(key) for key in path)


def merged(base: Node, over: Node) -> Node:
    """Return `base` overlaid with `over`: sections merge, everything else is replaced.

    A section whose `kind` changes is replaced as a whole, because the fields of the old kind
    mean nothing to the new one. A merged section stands where the last file wrote it.
    """
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)):
        return over
    if _kind_changes(base.value, over.value):
        return over
    members = dict(base.value)
    for key, child in over.value.items():
        members[key] = merged(members[key], child) if key in members else child
    last = over if over.place.source.is_file else base
    return Node(members, last.place, last.key_place)


def _kind_changes(base: dict[str, Node], over: dict[str, Node]) -> bool:
    return "kind" in base and "kind" in over and base["kind"].value != over["kind"].value


def parse(text: str, source: Source) -> tuple[Node | None, list[Fault]]:
    """Read one YAML text.

    Returns
    -------
    node
        The tree; None if the text is empty or is not YAML.
    faults
        Broken YAML, a tag, a repeated key, a number that is not finite.
    """
    yaml = YAML(typ="safe", pure=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ReusedAnchorWarning)
            root = yaml.compose(text)
    except MarkedYAMLError as error:
        return None, [_syntax_fault(error, source)]
    except YAMLError as error:
        return None, [_unreadable_character(error, source)]
    except RecursionError:
        return None, [Place(source).fault("this YAML is nested too deeply to be a scenario")]
    if root is None:
        return None, []
    reader = _TreeReader(yaml, source)
    return reader.read(root), reader.faults


@dataclass
class _TreeReader:
    yaml: YAML
    source: Source
    faults: list[Fault] = field(default_factory=list)
    open_nodes: list[YamlNode] = field(default_factory=list)
    count: int = 0

    def read(self, node: YamlNode, key_place: Place | None = None) -> Node:
        place = self._place(node)
        self.count += 1
        if node in self.open_nodes:
            return self._refuse(place, f"the alias `*{node.anchor}` contains itself")
        if self.count > MAX_NODES:
            if self.count == MAX_NODES + 1:
                self._refuse(place, f"the file has more than {MAX_NODES} values")
            return Node(None, place, key_place)
        self.open_nodes.append(node)
        value = self._value(node, place)
        self.open_nodes.pop()
        return Node(value, place, key_place)

    def _value(self, node: YamlNode, place: Place) -> Scalar | dict[str, Node] | list[Node]:
        if isinstance(node, MappingNode):
            return self._members(node)
        if isinstance(node, SequenceNode):
            return [self.read(item) for item in node.value]
        return self._scalar(node, place)

    def _members(self, node: MappingNode) -> dict[str, Node]:
        members: dict[str, Node] = {}
        for key_node, value_node in node.value:
            place = self._place(key_node)
            if not isinstance(key_node, ScalarNode):
                self._refuse(place, "a field name must be a plain word")
                continue
            key = str(key_node.value)
            if key in members:
                first = members[key].key_place
                line = f" (first on line {first.line})" if first is not None else ""
                self._refuse(
                    place, f"`{key}` is given twice{line}", key, "keep one of the two lines"
                )
                continue
            members[key] = self.read(value_node, place)
        return members

    def _scalar(self, node: YamlNode, place: Place) -> Scalar:
        tag, text = str(node.tag), str(node.value)
        if tag in TEXT_SCALARS:
            return self._text(text, place)
        if tag not in PARSED_SCALARS:
            self._refuse(place, f"the tag `{tag}` is not allowed: a scenario holds plain data only")
            return None
        value = _parsed_scalar(self.yaml, node)
        if value is None and not tag.endswith("null"):
            self._refuse(place, f"`{text[:40]}` cannot be read as a number")
        if isinstance(value, float) and not math.isfinite(value):
            self._refuse(place, f"`{text}` is not a finite number")
            return None
        return value

    def _text(self, text: str, place: Place) -> str:
        """Join the two halves that JSON escapes write for one character (surrogates)."""
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._refuse(place, "half a character: an escape such as \\ud800 stands alone")
            return ""

    def _refuse(self, place: Place, message: str, field: str = "", suggestion: str = "") -> Node:
        self.faults.append(place.fault(message, field=field, suggestion=suggestion))
        return Node(None, place)

    def _place(self, node: YamlNode) -> Place:
        start, end = node.start_mark, node.end_mark
        width = end.column - start.column if end.line == start.line else 1
        return Place(self.source, start.line + 1, start.column + 1, max(1, width))


def _parsed_scalar(yaml: YAML, node: YamlNode) -> Scalar:
    try:
        value: Scalar = yaml.constructor.construct_object(node)
    except (ValueError, YAMLError):
        return None
    return value


EXPLAINED_PROBLEMS = (
    (
        r"character '\\t'",
        "a tab is used for indentation, which YAML does not allow",
        "indent with spaces, two per level",
    ),
    (
        r"mapping values are not allowed here",
        "this line is indented further than the one above, or has a second `: `",
        "align the line with its neighbours, or put the value in quotes",
    ),
    (
        r"found another document",
        "the file holds a second YAML document",
        "one file describes one scenario: remove the `---` and what follows",
    ),
    (
        r"found unexpected end of stream",
        "a quote is opened and never closed",
        "close the quote",
    ),
    (r"undefined alias", "an alias is used before its anchor", "define `&name` above `*name`"),
)


def _syntax_fault(error: MarkedYAMLError, source: Source) -> Fault:
    problem = str(error.problem or error.context or "it cannot be parsed")
    mark = _telling_mark(error)
    place = Place(source) if mark is None else Place(source, mark.line + 1, mark.column + 1)
    for pattern, message, advice in EXPLAINED_PROBLEMS:
        if re.search(pattern, problem):
            return place.fault(f"this is not YAML: {message}", suggestion=advice)
    context = f" {error.context}" if error.context and error.problem else ""
    return place.fault(f"this is not YAML: {problem}{context}")


def _telling_mark(error: MarkedYAMLError) -> StringMark | None:
    """Prefer the place where an unclosed quote or bracket was opened."""
    unclosed = "end" in str(error.problem) and "stream" in str(error.problem)
    opened, met = error.context_mark, error.problem_mark
    mark: StringMark | None = (opened or met) if unclosed else (met or opened)
    return mark


def _unreadable_character(error: YAMLError, source: Source) -> Fault:
    position = getattr(error, "position", None)
    place = Place(source)
    if isinstance(position, int):
        before = "\n".join(source.lines)[:position]
        line = before.count("\n") + 1
        place = Place(source, line, position - (before.rfind("\n") + 1) + 1)
    return place.fault(
        "this is not YAML: a control character is not allowed in a text file",
        suggestion="open the file in a plain-text editor and remove the character",
    )
