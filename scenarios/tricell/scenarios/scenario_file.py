"""Read scenarios: a shipped name or a path, `extends:`, overrides, and all faults at once.

::

    scenario = load_scenario("district", [Override("--set", "time.days", "2")])

Order: the file that is extended, the file itself, the overrides from left to right. Sections
merge, everything else is replaced. Relative paths start at the folder of the file that names
them; those of an override start at the current folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from pydantic import BaseModel
from ruamel.yaml import YAML

from tricell.scenarios.charge_choice import ChargeError, position_of
from tricell.scenarios.faults import Fault, ScenarioFaultsError, did_you_mean
from tricell.scenarios.field_guide import guide_of
from tricell.scenarios.participant_faults import FieldFault, ParticipantError
from tricell.scenarios.schema import Scenario
from tricell.scenarios.schema_faults import validated
from tricell.scenarios.shipped import SHIPPED_FOLDER, looks_like_path, shipped_names
from tricell.scenarios.third_party import FOLDER_PLACEHOLDER
from tricell.scenarios.yaml_tree import (
    Key,
    Node,
    Place,
    Source,
    dotted,
    merged,
    parse,
    plain,
)

EXTENDS = "extends"
START_ADVICE = "start from a shipped one: `extends: village`"


@dataclass(frozen=True)
class Override:
    """One field set from outside the file."""

    option: str
    """The option as typed, without its value: `--set`, `--days`."""
    field: str
    """Dotted path, list positions as numbers: `time.days`, `simulators.0.timeout_s`."""
    text: str
    """The value as YAML."""

    @classmethod
    def from_assignment(cls, assignment: str) -> Override:
        """Read the `key=value` of a `--set`."""
        field, equals, text = assignment.partition("=")
        if not equals or not field.strip():
            fault = Fault(
                file=f"--set {assignment}",
                line=None,
                field=field,
                value=assignment,
                message="this is not an assignment",
                allowed="a field, `=` and a value: --set time.days=2",
            )
            raise ScenarioFaultsError(f"--set {assignment}", [fault])
        return cls("--set", field.strip(), text.strip())

    @property
    def source(self) -> Source:
        """The option as the place of faults."""
        assignment = f"{self.field}={self.text}" if self.option == "--set" else self.text
        return Source(f"{self.option} {assignment}", Path.cwd())


def load_scenario(name_or_path: str, overrides: Sequence[Override] = ()) -> Scenario:
    """Read, merge and validate a scenario.

    Parameters
    ----------
    name_or_path
        Name of a shipped scenario, or path of a YAML file.
    overrides
        Fields that are set from outside, later ones last.

    Raises
    ------
    ScenarioFaultsError
        Holds every fault of the files and of the overrides.
    """
    tree, faults = _tree_with_overrides(name_or_path, overrides)
    scenario, faults = scenario_of(tree, faults)
    if faults or scenario is None:
        raise ScenarioFaultsError(name_or_path, faults)
    return scenario


@contextmanager
def faults_located(
    name_or_path: str, overrides: Sequence[Override], scenario: Scenario
) -> Iterator[None]:
    """Say in which line stands what does not fit the grid, its customers or its participants.

    Raises
    ------
    ScenarioFaultsError
        Instead of a `ChargeError` or `ParticipantError` raised within.
    """
    try:
        yield
    except ChargeError as error:
        position = position_of(error.label, scenario.charges)
        path: tuple[Key, ...] = ("charges",) if position is None else ("charges", position)
        tree, _ = _tree_with_overrides(name_or_path, overrides)
        fault = _fault_at(tree, path, FieldFault(path, str(error)), error.label)
        raise ScenarioFaultsError(name_or_path, [fault]) from error
    except ParticipantError as error:
        tree, _ = _tree_with_overrides(name_or_path, overrides)
        faults = [_fault_at(tree, fault.path, fault) for fault in error.faults]
        raise ScenarioFaultsError(name_or_path, faults) from error


def _fault_at(tree: Node, path: tuple[Key, ...], found: FieldFault, value: str = "") -> Fault:
    """Return a fault at the place of a field, or of the section that lacks it."""
    node = tree
    for key in path:
        child = node.child(key)
        if child is None:
            break
        node = child
    is_plain = not isinstance(node.value, dict | list)
    place = node.place if is_plain else node.key_place or node.place
    return place.fault(
        found.message,
        field=dotted(path),
        value=value or (str(node.value) if is_plain else ""),
        allowed=found.allowed,
        suggestion=found.suggestion,
    )


def _tree_with_overrides(
    name_or_path: str, overrides: Sequence[Override]
) -> tuple[Node, list[Fault]]:
    tree, faults = scenario_tree(name_or_path)
    for override in overrides:
        tree, more = _overridden(tree, override)
        faults.extend(more)
    return tree, faults


def scenario_tree(name_or_path: str) -> tuple[Node, list[Fault]]:
    """Read a scenario with everything it extends, without checking its fields.

    Raises
    ------
    ScenarioFaultsError
        If there is no such scenario.
    """
    return _read_with_base(_locate(name_or_path), ())


def scenario_of(tree: Node, known: Sequence[Fault] = ()) -> tuple[Scenario | None, list[Fault]]:
    """Return the scenario that a tree describes, and the faults known before with its own."""
    faults = list(known)
    tree, more = with_whole_paths(tree, Scenario)
    faults.extend(more)
    scenario, more = validated(tree, Scenario)
    faults.extend(_not_yet_reported(more, faults))
    return scenario, faults


def as_yaml(scenario: Scenario) -> str:
    """Return the complete scenario, defaults included, as YAML that can be run again."""
    return dumped(scenario.model_dump(mode="json", by_alias=True))


def from_yaml(text: str) -> Scenario:
    """Return the scenario that `as_yaml` wrote."""
    return Scenario.model_validate(YAML(typ="safe", pure=True).load(text))


def dumped(data: object) -> str:
    """Return plain data as YAML, in the order that it has."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # typed as None
    yaml.width = 100
    text = StringIO()
    yaml.dump(data, text)
    return text.getvalue()


def _locate(name_or_path: str) -> Path:
    if name_or_path in shipped_names():
        return SHIPPED_FOLDER / f"{name_or_path}.yaml"
    path = Path(name_or_path)
    if path.is_file():
        return path
    raise ScenarioFaultsError(name_or_path, [_not_found(name_or_path, path, None)])


def _not_found(text: str, path: Path, place: Place | None) -> Fault:
    if path.is_dir():
        message = f"`{text}` is a folder, not a scenario file"
    elif looks_like_path(text):
        message = f"there is no file `{text}`"
    else:
        message = f"there is no scenario `{text}`, neither shipped nor as a file"
    shipped = ", ".join(shipped_names())
    allowed = f"a shipped scenario ({shipped}) or the path of a YAML file"
    suggestion = did_you_mean(text, [*shipped_names(), *_neighbours(text, path)])
    if place is not None:
        return place.fault(
            message, field=EXTENDS, value=text, allowed=allowed, suggestion=suggestion
        )
    return Fault(
        file=text,
        line=None,
        field="",
        value=text,
        message=message,
        allowed=allowed,
        suggestion=suggestion,
    )


def _neighbours(text: str, path: Path) -> list[str]:
    """Return the YAML files beside a path that does not exist, written as the path was."""
    folder = path.parent
    if not folder.is_dir():
        return []
    prefix = text[: len(text) - len(path.name)]
    return [prefix + file.name for file in sorted(folder.glob("*.y*ml"))]


def _read_with_base(path: Path, readers: tuple[Path, ...]) -> tuple[Node, list[Fault]]:
    """Read a file and everything it extends; `readers` are the files that led here."""
    tree, faults = read_tree(path)
    if not isinstance(tree.value, dict) or EXTENDS not in tree.value:
        return tree, faults
    members = dict(tree.value)
    extends = members.pop(EXTENDS)
    own = Node(members, tree.place)
    base_path, fault = _base_path(extends, path, (*readers, path))
    if base_path is None:
        return own, [*faults, *([fault] if fault else [])]
    base, base_faults = _read_with_base(base_path, (*readers, path))
    return merged(base, own), [*base_faults, *faults]


def read_tree(
    path: Path, noun: str = "scenario", advice: str = START_ADVICE
) -> tuple[Node, list[Fault]]:
    """Read a YAML file that holds fields.

    Parameters
    ----------
    path : the file.
    noun, advice : what such a file describes, and how to begin one; for faults.
    """
    empty = Source(str(path), path.parent)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        problem = f"the file cannot be read: {error.strerror}"
        return _nothing(empty), [Place(empty).fault(problem)]
    except UnicodeDecodeError as error:
        problem = f"byte {error.start} is not UTF-8 text"
        saved = "save the file as UTF-8"
        return _nothing(empty), [Place(empty).fault(problem, suggestion=saved)]
    source = Source(str(path), path.parent, tuple(text.splitlines()))
    tree, faults = parse(text, source)
    if faults:
        return tree or _nothing(source), faults
    if tree is None:
        problem = f"the {noun} file is empty"
        return _nothing(source), [Place(source).fault(problem, suggestion=advice)]
    if not isinstance(tree.value, dict):
        problem = f"a {noun} file must hold fields, such as `name: my-village`"
        return _nothing(source), [tree.place.fault(problem, value=str(plain(tree)))]
    return tree, []


def _nothing(source: Source) -> Node:
    return Node({}, Place(source))


def _base_path(
    extends: Node, path: Path, readers: tuple[Path, ...]
) -> tuple[Path | None, Fault | None]:
    name = extends.value
    if not isinstance(name, str):
        return None, extends.place.fault(
            "`extends` must be a shipped scenario or the path of a file", field=EXTENDS
        )
    shipped = SHIPPED_FOLDER / f"{name}.yaml"
    base = shipped if name in shipped_names() else path.parent / name
    if not base.is_file():
        return None, _not_found(name, base, extends.place)
    if base.resolve() in {reader.resolve() for reader in readers}:
        return None, extends.place.fault(
            "a scenario cannot extend itself, directly or through others",
            field=EXTENDS,
            value=name,
        )
    return base, None


def _overridden(tree: Node, override: Override) -> tuple[Node, list[Fault]]:
    value, faults = parse(override.text, override.source)
    if faults:
        return tree, faults
    place = Place(override.source)
    given = Node(None if value is None else value.value, place, place)
    return overlaid(tree, override.field, given)


def overlaid(tree: Node, field: str, value: Node) -> tuple[Node, list[Fault]]:
    """Return the tree with the field of a dotted path set: sections merge, all else is replaced."""
    keys: tuple[str, ...] = tuple(field.split("."))
    fault = _blocked(tree, keys, value.key_place or value.place)
    if fault is not None:
        return tree, [fault]
    return _with_value(tree, keys, value), []


def _blocked(tree: Node, keys: tuple[str, ...], place: Place) -> Fault | None:
    """Return the fault of a path that leads through a plain value or past a list's end."""
    node: Node | None = tree
    for depth, key in enumerate(keys):
        if node is None or node.value is None:
            return None
        before = dotted(keys[:depth])
        if isinstance(node.value, list):
            if not key.isdecimal() or int(key) >= len(node.value):
                return place.fault(
                    f"`{key}` is not a position in the list `{before}`",
                    field=dotted(keys),
                    allowed=_positions(len(node.value)),
                )
            node = node.value[int(key)]
        elif isinstance(node.value, dict):
            node = node.value.get(key)
        else:
            return place.fault(
                f"`{before}` is a single value and has no field `{key}`", field=dotted(keys)
            )
    return None


def _positions(count: int) -> str:
    return f"0 to {count - 1}" if count else "nothing: the list is empty"


def _with_value(node: Node | None, keys: tuple[str, ...], value: Node) -> Node:
    """Return the tree with the field at `keys` overlaid with `value`."""
    if not keys:
        return value if node is None else merged(node, value)
    key, rest = keys[0], keys[1:]
    if node is not None and isinstance(node.value, list):
        items = list(node.value)
        items[int(key)] = _with_value(items[int(key)], rest, value)
        return Node(items, node.place, node.key_place)
    inner = node.child(key) if node is not None else None
    overlay = Node({key: _with_value(inner, rest, value)}, value.place, value.key_place)
    return overlay if node is None else merged(node, overlay)


def with_whole_paths(tree: Node, model: type[BaseModel]) -> tuple[Node, list[Fault]]:
    """Make every path of a file whole, and report the files that do not exist.

    Parameters
    ----------
    tree : what the file holds.
    model : says which fields are paths.
    """
    data = plain(tree)
    guide = guide_of(model)
    faults: list[Fault] = []

    def visit(node: Node, path: tuple[Key, ...]) -> Node:
        if isinstance(node.value, dict):
            members = {key: visit(child, (*path, key)) for key, child in node.value.items()}
            return Node(members, node.place, node.key_place)
        if isinstance(node.value, list):
            items = [visit(child, (*path, i)) for i, child in enumerate(node.value)]
            return Node(items, node.place, node.key_place)
        if not isinstance(node.value, str):
            return node
        folder = node.place.source.folder.resolve()
        if guide.is_path(path, data):
            whole = folder / Path(node.value).expanduser()
            faults.extend(_missing_file(whole, node, dotted(path)))
            return Node(str(whole), node.place, node.key_place)
        text = node.value.replace(FOLDER_PLACEHOLDER, str(folder))
        return Node(text, node.place, node.key_place)

    return visit(tree, ()), faults


def _missing_file(whole: Path, node: Node, field: str) -> Iterator[Fault]:
    if whole.exists():
        return
    names = [file.name for file in whole.parent.iterdir()] if whole.parent.is_dir() else []
    near = did_you_mean(whole.name, names)
    yield node.place.fault(
        f"`{field}` names a file that does not exist: {whole}",
        field=field,
        value=str(node.value),
        allowed="a path from the folder of the scenario file, or a whole path",
        suggestion=near,
    )


def _not_yet_reported(faults: Iterable[Fault], known: Sequence[Fault]) -> list[Fault]:
    """Leave out what follows from a fault that is reported already.

    After broken YAML nothing in the file is known; without the base, missing fields are no news.
    """
    if any(not fault.field for fault in known):
        return []
    base_is_missing = any(fault.field == EXTENDS for fault in known)
    reported = {(fault.file, fault.line, fault.field) for fault in known}
    return [
        fault
        for fault in faults
        if (fault.file, fault.line, fault.field) not in reported
        and not (base_is_missing and not fault.value)
    ]
