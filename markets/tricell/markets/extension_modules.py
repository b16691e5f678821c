"""Extensions by name: modules in a folder of tricell, and those of third parties.

An extension of tricell is one module in a folder; nothing else names it. A third party's is a
module behind an entry point of a group; it looks the same.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, TypeVar

from tricell.errors import MarketError

OURS = "tricell"

Extension = TypeVar("Extension")


def extension_modules(
    folder: ModuleType, group: str, what: str
) -> Iterator[tuple[ModuleType, str]]:
    """Yield all modules with their origin: "tricell", or the package of the third party.

    Parameters
    ----------
    folder : the package whose modules are tricell's own.
    group : entry point group of third parties.
    what : what one is called in messages.

    Raises
    ------
    MarketError
        If a third party's module cannot be loaded.
    """
    for name in sorted(module.name for module in iter_modules(folder.__path__)):
        yield import_module(f"{folder.__name__}.{name}"), OURS
    for entry in sorted(entry_points(group=group), key=lambda each: each.name):
        package = entry.dist.name if entry.dist is not None else entry.value
        try:
            module: Any = entry.load()
        except (ImportError, AttributeError) as error:
            raise MarketError(
                f"The {what} {entry.name!r} of the package {package!r} cannot be loaded ({error}). "
                "Repair the package, or uninstall it."
            ) from error
        yield module, package


def by_name(
    extensions: Iterable[Extension],
    name_and_origin: Callable[[Extension], tuple[str, str]],
    what: str,
) -> Mapping[str, Extension]:
    """Return extensions by their names.

    Raises
    ------
    MarketError
        If two have the same name.
    """
    known: dict[str, Extension] = {}
    for extension in extensions:
        name, origin = name_and_origin(extension)
        if name in known:
            other = name_and_origin(known[name])[1]
            raise MarketError(
                f"The package {origin!r} offers a {what} {name!r}, but there is one of that name "
                f"from {other!r}. Rename it, or uninstall one of them."
            )
        known[name] = extension
    return known


def model_of_kind(module: ModuleType, base: Any, kind: str) -> Any:
    """Return the module's own class derived from a base whose field `kind` has a default, or None.

    Parameters
    ----------
    module : where to look.
    base : a pydantic model, abstract or not.
    kind : the default that is looked for.
    """
    own: list[Any] = [
        each
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, base) and each.__module__ == module.__name__
    ]
    for each in own:
        if "kind" in each.model_fields and each.model_fields["kind"].default == kind:
            return each
    return None
