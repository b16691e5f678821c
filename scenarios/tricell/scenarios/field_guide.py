"""Tell from the JSON Schema what a field of a scenario may hold, in words for people."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import BaseModel

from tricell.scenarios.faults import closest, listed
from tricell.scenarios.yaml_tree import Key, Plain, dotted

JsonSchema = dict[str, Any]

TYPE_WORDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a section with fields",
    "null": "null",
}
FORMAT_WORDS = {
    "date-time": "a date and time such as 2016-01-18T00:00Z",
    "path": "the path of a file",
    "time-of-day": "a time of day such as 17:30",
}
BOUND_WORDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}
MAX_DEPTH = 8
PATH_FIELDS = frozenset({"file", "files", "path"})
"""Text fields with these names are paths, counted from the file that names them."""


class FieldGuide:
    """Answers about the fields of a pydantic model, read from its JSON Schema."""

    def __init__(self, schema: JsonSchema) -> None:
        self.schema = schema
        self.definitions: dict[str, JsonSchema] = schema.get("$defs", {})

    def at(self, path: tuple[Key, ...], data: Plain) -> JsonSchema | None:
        """Return the schema of the field at `path`; `data` says which variants are chosen."""
        node: JsonSchema | None = self.schema
        for key in path:
            node = self._member(node, key, data) if node is not None else None
            data = _descend(data, key)
        return None if node is None else self._resolved(node, data)

    def is_path(self, path: tuple[Key, ...], data: Plain) -> bool:
        """Whether the field at `path` holds the path of a file: by its type or by its name."""
        field = path[:-1] if path and isinstance(path[-1], int) else path
        node = self.at(path, data)
        if node is None or not field:
            return False
        variants = self._variants(node)
        is_text = any(variant.get("type") == "string" for variant in variants)
        named_so = field[-1] in PATH_FIELDS and field[-1] in self.field_names(field[:-1], data)
        return any(v.get("format") == "path" for v in variants) or (is_text and named_so)

    def field_names(self, path: tuple[Key, ...], data: Plain) -> list[str]:
        """Return the fields that the section at `path` may have."""
        node = self.at(path, data)
        if node is None:
            return []
        names = [name for variant in self._variants(node) for name in variant.get("properties", {})]
        return list(dict.fromkeys(names))

    def allowed(self, path: tuple[Key, ...], data: Plain) -> str:
        """Describe in words what the field at `path` may hold; empty if nothing is known."""
        node = self.at(path, data)
        if node is None:
            return ""
        if "properties" in node:
            return "fields " + ", ".join(node["properties"])
        words = listed(dict.fromkeys(self._words(variant) for variant in self._variants(node)))
        default = node.get("default")
        if isinstance(default, str | int | float) and default != "":
            return f"{words} (default {_as_yaml(default)})"
        return words

    def meaning(self, path: tuple[Key, ...], data: Plain) -> str:
        """Return the documentation of the field at `path`, on one line."""
        node = self.at(path, data) or {}
        return " ".join(str(node.get("description", "")).split())

    def types(self, path: tuple[Key, ...], data: Plain) -> set[str]:
        """Return the JSON types that the field at `path` may have; empty if any may do."""
        node = self.at(path, data)
        variants = self._variants(node) if node is not None else [{}]
        if any("type" not in v or v.get("format") == "date-time" for v in variants):
            return set()
        return {str(variant["type"]) for variant in variants}

    def choices(self, path: tuple[Key, ...], data: Plain) -> list[str]:
        """Return the values that the field at `path` is limited to; empty if it is free."""
        node = self.at(path, data) or {}
        return [str(value) for variant in self._variants(node) for value in _choices(variant)]

    def is_free(self, path: tuple[Key, ...], data: Plain) -> bool:
        """Whether the field at `path` may hold more than the `choices`."""
        node = self.at(path, data) or {}
        return not all(_choices(variant) for variant in self._variants(node))

    def kinds(self, path: tuple[Key, ...], data: Plain) -> list[str]:
        """Return the values of the field that selects between variants at `path`."""
        raw: JsonSchema | None = self.schema
        for key in path:
            raw = self._member(raw, key, data) if raw is not None else None
            data = _descend(data, key)
        if raw is None:
            return []
        found = [mapping for node in self._options(raw) if (mapping := _mapping(node))]
        return list(found[0]) if found else []

    def likely_home(self, field: str, section: tuple[Key, ...] = ()) -> str | None:
        """Return the path of the only field that has, or almost has, this name.

        A field further inside `section` is preferred to one elsewhere.
        """
        paths = list(dict.fromkeys(self._all_paths(self.schema, (), 0)))
        name = closest(field, {str(path[-1]) for path in paths})
        homes = [path for path in paths if path[-1] == name]
        inside = [path for path in homes if path[: len(section)] == section]
        for candidates in (inside, homes):
            if len(candidates) == 1:
                return dotted(candidates[0])
        return None

    def _all_paths(
        self, node: JsonSchema, path: tuple[Key, ...], depth: int
    ) -> Iterator[tuple[Key, ...]]:
        if depth > MAX_DEPTH:
            return
        for variant in self._variants(self._dereferenced(node)):
            for name, child in variant.get("properties", {}).items():
                yield (*path, name)
                yield from self._all_paths(child, (*path, name), depth + 1)

    def _member(self, node: JsonSchema, key: Key, data: Plain) -> JsonSchema | None:
        for variant in self._variants(self._resolved(node, data)):
            if isinstance(key, int) and "items" in variant:
                items: JsonSchema = variant["items"]
                return items
            child = variant.get("properties", {}).get(key)
            if child is None and isinstance(variant.get("additionalProperties"), dict):
                child = variant["additionalProperties"]
            if child is not None:
                found: JsonSchema = child
                return found
        return None

    def _resolved(self, node: JsonSchema, data: Plain) -> JsonSchema:
        """Follow a reference, and the variant that the data's `kind` selects."""
        node = self._dereferenced(node)
        if not isinstance(data, dict):
            return node
        for option in self._options(node):
            mapping = _mapping(option)
            tag = str(data.get(option["discriminator"]["propertyName"])) if mapping else ""
            if tag in mapping:
                return self._dereferenced({"$ref": mapping[tag]})
        return node

    def _options(self, node: JsonSchema) -> Iterator[JsonSchema]:
        """Yield a node and the nodes that it lets choose from, at any depth."""
        node = self._dereferenced(node)
        yield node
        for option in (*node.get("anyOf", ()), *node.get("oneOf", ())):
            yield from self._options(option)

    def _dereferenced(self, node: JsonSchema) -> JsonSchema:
        if "$ref" not in node:
            return node
        target = self.definitions[node["$ref"].rsplit("/", 1)[-1]]
        beside = {key: value for key, value in node.items() if key != "$ref"}
        return {**target, **beside}

    def _variants(self, node: JsonSchema) -> list[JsonSchema]:
        options = node.get("anyOf") or node.get("oneOf")
        if not options:
            return [node]
        return [inner for option in options for inner in self._variants(self._dereferenced(option))]

    def _words(self, node: JsonSchema) -> str:
        choices = _choices(node)
        if choices:
            return listed(str(choice) for choice in choices)
        if node.get("format") in FORMAT_WORDS:
            return FORMAT_WORDS[node["format"]]
        words = TYPE_WORDS.get(str(node.get("type")), "a value")
        bounds = [f"{word} {node[key]:.10g}" for key, word in BOUND_WORDS.items() if key in node]
        text = ", ".join([words, *bounds[:1]]) if bounds else words
        return " and ".join([text, *bounds[1:]])


@cache
def guide_of(model: type[BaseModel]) -> FieldGuide:
    """Return the guide to a model's fields; its schema takes a while to make."""
    return FieldGuide(model.model_json_schema())


def _choices(node: JsonSchema) -> list[Any]:
    if "const" in node:
        return [node["const"]]
    return list(node.get("enum", []))


def _as_yaml(value: str | float) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else f"{value:.10g}"


def _mapping(node: JsonSchema) -> dict[str, str]:
    mapping: dict[str, str] = node.get("discriminator", {}).get("mapping", {})
    return mapping


def _descend(data: Plain, key: Key) -> Plain:
    if isinstance(data, dict) and isinstance(key, str):
        return data.get(key)
    if isinstance(data, list) and isinstance(key, int) and key < len(data):
        return data[key]
    return None
