"""Read studies: a shipped name or a path; all faults of the study and of its scenarios at once.

The base scenario, then the study's ``set``, then for each design its ``set`` and its charges are
laid over one another as the sections of a scenario that extends another are. Paths in a study file
start at its folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tricell.errors import ScenarioError
from tricell.scenarios.faults import Fault, ScenarioFaultsError, did_you_mean
from tricell.scenarios.forecasts import has_errors
from tricell.scenarios.scenario_file import (
    dumped,
    overlaid,
    read_tree,
    scenario_of,
    scenario_tree,
    with_whole_paths,
)
from tricell.scenarios.schema import MINUTES_PER_DAY, Scenario
from tricell.scenarios.schema_faults import validated
from tricell.scenarios.shipped import looks_like_path, shipped_names
from tricell.scenarios.study_schema import Design, Study
from tricell.scenarios.yaml_tree import Node

STUDY_FOLDER = Path(__file__).parent / "studies"
SHIPPED_PREFIX = "studies"
"""`studies/NAME.yaml` means the shipped study too, where there is no such file."""
ROUNDING = 1e-6
EMPTY_ADVICE = "start from a shipped one: copy that of `tricell study network_charges_village`"


@dataclass(frozen=True)
class LoadedStudy:
    """A study with the scenarios that it speaks of.

    Attributes
    ----------
    study : the study.
    base : base scenario with what the study sets.
    designs : scenario of each design, in their order, with its charges.
    """

    study: Study
    base: Scenario
    designs: tuple[Scenario, ...]

    def scenario_of(self, design: Design) -> Scenario:
        """Return the scenario of a design."""
        names = [each.name for each in self.study.designs]
        return self.designs[names.index(design.name)]


def shipped_study_names() -> list[str]:
    """Return the names of the shipped studies in alphabetical order."""
    return sorted(path.stem for path in STUDY_FOLDER.glob("*.yaml"))


def require_name(name_or_path: str | None) -> str:
    """Return which study is asked for.

    Raises
    ------
    ScenarioError
        If none is; its message names those that are shipped.
    """
    if name_or_path is None:
        raise ScenarioError(
            f"Which study? Shipped are {', '.join(shipped_study_names())}; `tricell list studies` "
            "says what they ask. Or give the path of a YAML file: tricell study STUDY"
        )
    return name_or_path


def load_study(name_or_path: str) -> LoadedStudy:
    """Read and check a study with all of its scenarios.

    Parameters
    ----------
    name_or_path : name of a shipped study, or path of a YAML file.

    Raises
    ------
    ScenarioFaultsError
        Holds every fault of the study file and of its scenarios.
    """
    path = _locate(name_or_path)
    tree, faults = read_tree(path, "study", EMPTY_ADVICE)
    if faults:
        raise ScenarioFaultsError(name_or_path, faults)
    tree, path_faults = with_whole_paths(tree, Study)
    study, faults = validated(tree, Study)
    if path_faults or faults or study is None:
        raise ScenarioFaultsError(name_or_path, [*path_faults, *faults])
    study = study.model_copy(update={"scenario": _whole_scenario(study.scenario, path.parent)})
    return _with_scenarios(study, tree, name_or_path)


def study_as_yaml(study: Study) -> str:
    """Return the complete study, defaults included, as YAML."""
    return dumped(study.model_dump(mode="json", by_alias=True))


def _with_scenarios(study: Study, tree: Node, name: str) -> LoadedStudy:
    """Lay what the study sets over its base scenario, and check what comes out."""
    try:
        base_tree, faults = scenario_tree(study.scenario)
    except ScenarioFaultsError as error:
        node = tree.child("scenario")
        assert node is not None
        raise ScenarioFaultsError(name, [_moved(error.faults[0], node)]) from error
    base_tree, more = _with_fields(base_tree, tree.child("set"))
    base, faults = scenario_of(base_tree, [*faults, *more])
    if base is None or faults:
        raise ScenarioFaultsError(name, faults)
    faults += _odd_lengths(study, base, tree)
    designs = []
    for node in _items(tree.child("designs")):
        design_tree, design_faults = _with_fields(base_tree, node.child("set"))
        charges = node.child("charges")
        assert charges is not None
        design_tree, more = overlaid(design_tree, "charges", charges)
        scenario, design_faults = scenario_of(design_tree, [*design_faults, *more])
        faults += design_faults
        if scenario is not None:
            faults += _money_beside_contracts(scenario, tree)
            designs.append(scenario)
    if faults:
        raise ScenarioFaultsError(name, list(dict.fromkeys(faults)))
    return LoadedStudy(study, base, tuple(designs))


def _with_fields(tree: Node, fields: Node | None) -> tuple[Node, list[Fault]]:
    faults: list[Fault] = []
    if fields is None or not isinstance(fields.value, dict):
        return tree, faults
    for field, value in fields.value.items():
        tree, more = overlaid(tree, field, value)
        faults += more
    return tree, faults


def _money_beside_contracts(scenario: Scenario, tree: Node) -> list[Fault]:
    """Find what is settled beside contracts: a study bills on what meters tell and contracts say.

    Imbalance and services would be billed twice, or not at all.
    """
    node = tree.child("scenario")
    assert node is not None
    asked = {
        "forecasts": has_errors(scenario.forecasts),
        "services": bool(scenario.services),
    }
    return [
        node.place.fault(
            f"the scenario has `{section}`, whose payments a study of charges does not bill",
            field="scenario",
            value=str(node.value),
            allowed="perfect forecasts" if section == "forecasts" else "no services",
            suggestion=f"leave `{section}` out, and compare single runs of it with tricell compare",
        )
        for section, is_asked in asked.items()
        if is_asked
    ]


def _odd_lengths(study: Study, base: Scenario, tree: Node) -> list[Fault]:
    """Find lengths of the axis `days` that are no whole number of slots."""
    minutes = base.time.step_minutes
    axes = tree.child("axes")
    written = _items(axes.child("days")) if axes is not None else ()
    return [
        node.place.fault(
            f"{days:g} days are no whole number of slots of {minutes} min",
            field="axes.days",
            value=f"{days:g}",
            allowed=f"a multiple of {minutes / MINUTES_PER_DAY:.6g} days",
        )
        for node, days in zip(written, study.axes.days, strict=True)
        if abs(days * MINUTES_PER_DAY / minutes % 1.0 - 0.5) < 0.5 - ROUNDING
    ]


def _items(node: Node | None) -> Sequence[Node]:
    return node.value if node is not None and isinstance(node.value, list) else ()


def _moved(fault: Fault, node: Node) -> Fault:
    """Put the fault of a scenario that does not exist where the study names it."""
    placed = node.place.fault(fault.message, field="scenario", value=fault.value)
    return replace(placed, allowed=fault.allowed, suggestion=fault.suggestion)


def _whole_scenario(name: str, folder: Path) -> str:
    """Return a path from the folder of the study file; a shipped name stays."""
    path = folder / Path(name).expanduser()
    return str(path) if name not in shipped_names() and path.is_file() else name


def _locate(name_or_path: str) -> Path:
    shipped = shipped_study_names()
    if name_or_path in shipped:
        return STUDY_FOLDER / f"{name_or_path}.yaml"
    path = Path(name_or_path)
    if path.is_file():
        return path
    spelled = path.parts[-2:-1] == (SHIPPED_PREFIX,) and len(path.parts) == 2
    if spelled and path.suffix in (".yaml", ".yml") and path.stem in shipped:
        return STUDY_FOLDER / f"{path.stem}.yaml"
    raise ScenarioFaultsError(name_or_path, [_not_found(name_or_path, path, shipped)])


def _not_found(text: str, path: Path, shipped: Sequence[str]) -> Fault:
    if path.is_dir():
        message = f"`{text}` is a folder, not a study file"
    elif looks_like_path(text):
        message = f"there is no file `{text}`"
    else:
        message = f"there is no study `{text}`, neither shipped nor as a file"
    beside = [str(file) for file in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    return Fault(
        file=text,
        line=None,
        field="",
        value=text,
        message=message,
        allowed=f"a shipped study ({', '.join(shipped)}) or the path of a YAML file",
        suggestion=did_you_mean(text, [*shipped, *beside]),
    )
