"""Validate a tree against a pydantic model; its errors become faults with line numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tricell.scenarios.faults import Fault, did_you_mean, listed
from tricell.scenarios.field_guide import TYPE_WORDS, FieldGuide, guide_of
from tricell.scenarios.yaml_tree import Key, Node, Place, Plain, dotted, plain

ModelT = TypeVar("ModelT", bound=BaseModel)

SCALAR_TYPES: dict[type, set[str]] = {
    bool: {"boolean"},
    int: {"integer", "number"},
    float: {"integer", "number"},
    str: {"string"},
}

PLAIN_WORDS = (
    (r"^Input should be a valid integer.*", "must be a whole number"),
    (r"^Input should be a valid number.*", "must be a number"),
    (r"^Input should be a valid string.*", "must be a text"),
    (r"^Input should be a valid boolean.*", "must be true or false"),
    (r"^Input should be a valid (list|array|tuple).*", "must be a list"),
    (r"^Input should be an? (valid )?(object|dictionary).*", "must be a section with fields"),
    (r"^Input should be a valid datetime.*", "must be a date and time"),
    (r"^Input should be a valid path.*|^Input is not a valid path.*", "must be the path of a file"),
    (
        r"^(List|Tuple|Set|Frozenset|Dictionary) should have (.*) after validation, not (.*)",
        r"must have \2, not \3",
    ),
    (r"^(Input|String|Value) should", "must"),
)


def validated(tree: Node, model: type[ModelT]) -> tuple[ModelT | None, list[Fault]]:
    """Return the model that the tree describes, or None and every fault.

    YAML has types, so a text is not taken for a number, nor `true` for 1: pydantic would.
    """
    data = plain(tree)
    guide = guide_of(model)
    faults = list(_mistyped(tree, (), data, guide))
    try:
        found = model.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False)
        faults += [
            _Translation(tree, data, guide, detail, model.__name__.lower()).fault()
            for detail in details
            if not (_follows_from_members(detail, details) or _is_another_kind(detail, details))
        ]
        return None, _one_per_place(faults)
    return (None if faults else found), faults


def _mistyped(
    node: Node, path: tuple[Key, ...], data: Plain, guide: FieldGuide, whose: str = ""
) -> Iterator[Fault]:
    """Find texts where a number is due, and the like, which pydantic would convert."""
    for key, child in node.children():
        yield from _mistyped(child, (*path, key), data, guide, _whose(key, child) or whose)
    allowed_types = guide.types(path, data)
    given = SCALAR_TYPES.get(type(node.value))
    if not allowed_types or given is None or given & allowed_types:
        return
    written = as_written(node)
    yield node.place.fault(
        f"`{dotted(path)}`{whose} must be "
        f"{listed(sorted(TYPE_WORDS[name] for name in allowed_types))}",
        field=dotted(path),
        value=written,
        allowed=guide.allowed(path, data),
        suggestion=f"did you mean `[{written}]`?" if "array" in allowed_types else "",
    )


def _whose(key: Key, node: Node) -> str:
    """Return the name of an entry of a list as faults tell it; empty where it has none."""
    name = node.child("name") if isinstance(key, int) else None
    return f" of `{name.value}`" if name is not None and isinstance(name.value, str) else ""


class _Translation:
    """One pydantic error on its way to a fault."""

    def __init__(
        self, tree: Node, data: Plain, guide: FieldGuide, detail: ErrorDetails, noun: str
    ) -> None:
        self.data = data
        self.noun = noun
        self.guide = guide
        self.detail = detail
        self.context: dict[str, Any] = detail.get("ctx", {})
        self.chain = [tree]
        self.path: tuple[Key, ...] = ()
        self._follow((*detail["loc"], *self.context.get("at", ())))

    def _follow(self, location: tuple[Key, ...]) -> None:
        """Walk the tree along pydantic's location, leaving out the names of union variants."""
        for position, key in enumerate(location):
            child = self.chain[-1].child(key)
            if child is not None:
                self.chain.append(child)
                self.path = (*self.path, key)
            elif self._is_absent_field(position, location):
                self.path = (*self.path, key)

    def _is_absent_field(self, position: int, location: tuple[Key, ...]) -> bool:
        absent_is_the_point = self.detail["type"] == "missing" or "at" in self.context
        return absent_is_the_point and position == len(location) - 1

    @property
    def node(self) -> Node:
        return self.chain[-1]

    @property
    def is_absent(self) -> bool:
        return len(self.chain) - 1 < len(self.path)

    @property
    def name(self) -> str:
        return dotted(self.path)

    @property
    def whose(self) -> str:
        """The named entry of a list that the field belongs to."""
        inside = zip(self.path, self.chain[1:], strict=False)
        found = [whose for key, node in inside if (whose := _whose(key, node))]
        return found[-1] if found and self.path[-1] != "name" else ""

    def fault(self) -> Fault:
        match self.detail["type"]:
            case "missing":
                fault = self._missing()
            case "extra_forbidden":
                fault = self._unknown_field()
            case "literal_error" | "enum":
                fault = self._wrong_word()
            case "union_tag_invalid" | "union_tag_not_found":
                fault = self._wrong_kind()
            case "string_pattern_mismatch":
                fault = self._wrong_text()
            case "value_error" | "scenario_rule":
                fault = self._broken_rule()
            case _:
                fault = self._wrong_value()
        return fault

    def _at_value(self, message: str, allowed: str = "", suggestion: str = "") -> Fault:
        return self._place().fault(
            message,
            field=self.name,
            value="" if self.is_absent else as_written(self.node),
            allowed=allowed,
            suggestion=suggestion,
        )

    def _place(self) -> Place:
        """Mark a scalar where it stands, a section or an absent field at its key."""
        if isinstance(self.node.value, dict | list) or self.is_absent:
            return self.node.key_place or self.node.place
        return self.node.place

    def _missing(self) -> Fault:
        where = dotted(self.path[:-1])
        inside = f" in `{where}`" if where else ""
        fault = self._at_value(
            f"`{self.path[-1]}`{self.whose} is missing{inside}",
            allowed=self.guide.allowed(self.path, self.data),
        )
        return fault if inside else replace(fault, excerpt="", column=None)

    def _unknown_field(self) -> Fault:
        *parents, key = self.path
        section = tuple(parents)
        known = self.guide.field_names(section, self.data)
        inside = f"`{dotted(section)}`" if section else f"a {self.noun}"
        return (self.node.key_place or self.node.place).fault(
            f"`{key}` is not a field of {inside}",
            field=self.name,
            value=as_written(self.node),
            allowed="fields " + ", ".join(known) if known else "",
            suggestion=did_you_mean(str(key), known) or self._belongs_elsewhere(str(key), section),
        )

    def _belongs_elsewhere(self, key: str, section: tuple[Key, ...]) -> str:
        home = self.guide.likely_home(key, section)
        # Another kind of the same section has it: there it is right.
        is_here = home == dotted((*section, key))
        return f"did you mean `{home}`?" if home is not None and not is_here else ""

    def _wrong_word(self) -> Fault:
        """Tell the words that a field may be, and what else where it may be more than a word."""
        fault = self._wrong_choice(self.guide.choices(self.path, self.data))
        if self.guide.is_free(self.path, self.data):
            return replace(fault, allowed=self.guide.allowed(self.path, self.data))
        return fault

    def _wrong_choice(self, choices: list[str]) -> Fault:
        return self._at_value(
            f"`{self.name}`{self.whose} cannot be `{as_written(self.node)}`",
            allowed=listed(choices) if choices else str(self.context.get("expected", "")),
            suggestion=did_you_mean(str(self.node.value), choices),
        )

    def _wrong_kind(self) -> Fault:
        kinds = self.guide.kinds(self.path, self.data)
        if not isinstance(self.node.value, dict):
            return self._wrong_choice(kinds)
        selector = str(self.context.get("discriminator", "'kind'")).strip("'")
        child = self.node.child(selector)
        self.path = (*self.path, selector)
        if child is None:
            where = dotted(self.path[:-1])
            problem = f"`{selector}` is missing in `{where}`"
            return self._at_value(problem, allowed=listed(kinds) if kinds else "")
        self.chain.append(child)
        return self._wrong_choice(kinds)

    def _wrong_text(self) -> Fault:
        return self._at_value(
            f"`{self.name}` cannot be `{self.node.value}`",
            allowed=self.guide.meaning(self.path, self.data),
        )

    def _wrong_value(self) -> Fault:
        return self._at_value(
            f"`{self.name}`{self.whose} {in_plain_words(self.detail['msg'])}",
            allowed=self.guide.allowed(self.path, self.data),
        )

    def _broken_rule(self) -> Fault:
        message = re.sub(r"^Value error, ", "", self.detail["msg"])
        return self._at_value(
            message,
            allowed=str(self.context.get("allowed", "")),
            suggestion=str(self.context.get("help", "")),
        )


def _follows_from_members(detail: ErrorDetails, details: list[ErrorDetails]) -> bool:
    """Tell whether a list counts as too short only because its members are wrong."""
    depth = len(detail["loc"])
    inside = (other for other in details if len(other["loc"]) > depth)
    return detail["type"] == "too_short" and any(
        other["loc"][:depth] == detail["loc"] for other in inside
    )


def _is_another_kind(detail: ErrorDetails, details: list[ErrorDetails]) -> bool:
    """Tell whether a value is no word because it is a section, and faults inside are told."""
    field = detail["loc"][:-1]
    inside = (other["loc"] for other in details if len(other["loc"]) > len(field) + 1)
    return detail["type"] == "literal_error" and any(
        place[: len(field)] == field for place in inside
    )


def in_plain_words(message: str) -> str:
    """Return the message of a pydantic error in the words of tricell."""
    for pattern, replacement in PLAIN_WORDS:
        message, count = re.subn(pattern, replacement, message)
        if count:
            return message
    return message[:1].lower() + message[1:]


def as_written(node: Node) -> str:
    """Return a value as text, near to how it was written."""
    value = plain(node)
    return value if isinstance(value, str) else json.dumps(value)


def _one_per_place(faults: list[Fault]) -> list[Fault]:
    """Keep the first fault of a field: pydantic reports one for every variant of a union."""
    first: dict[tuple[str, int | None, int | None, str], Fault] = {}
    for fault in faults:
        first.setdefault((fault.file, fault.line, fault.column, fault.field), fault)
    return list(first.values())
