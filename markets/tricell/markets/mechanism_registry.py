"""Every mechanism by its name: those of tricell, and those of third parties.

A mechanism of tricell is one file in `tricell.markets.mechanisms`; nothing else names it. A third
party's is a module behind an entry point of the group ``tricell.mechanisms``; it looks the same:
a constant ``ABOUT`` and, if it clears a market for a slot, a class derived from `Mechanism`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

import tricell.markets.mechanisms as built_in
from tricell.errors import MarketError
from tricell.markets.mechanism import About, Mechanism

ENTRY_POINT_GROUP = "tricell.mechanisms"


@dataclass(frozen=True)
class KnownMechanism:
    """One mechanism.

    Attributes
    ----------
    about : what it is and promises.
    parameters : class whose `clear` clears a market for a slot; None for those that are called as
        a function only.
    origin : "tricell", or the package of the third party.
    """

    about: About
    parameters: type[Mechanism] | None
    origin: str


@cache
def known_mechanisms() -> Mapping[str, KnownMechanism]:
    """All mechanisms by name, those of tricell first.

    Raises
    ------
    MarketError
        If a third party's module cannot be loaded, is no mechanism, or takes a name that is taken.
    """
    known: dict[str, KnownMechanism] = {}
    for mechanism in (*_built_in(), *_third_party()):
        name = mechanism.about.name
        if name in known:
            raise MarketError(
                f"The package {mechanism.origin!r} offers a mechanism {name!r}, but there is one "
                f"of that name from {known[name].origin!r}. Rename it, or uninstall one of them."
            )
        known[name] = mechanism
    return known


def slot_mechanisms() -> tuple[type[Mechanism], ...]:
    """Parameter classes of all mechanisms that clear a market for a slot."""
    known = known_mechanisms().values()
    return tuple(each.parameters for each in known if each.parameters is not None)


def _built_in() -> Iterator[KnownMechanism]:
    for name in sorted(module.name for module in iter_modules(built_in.__path__)):
        yield _described(import_module(f"{built_in.__name__}.{name}"), "tricell")


def _third_party() -> Iterator[KnownMechanism]:
    for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda each: each.name):
        package = entry.dist.name if entry.dist is not None else entry.value
        try:
            module: Any = entry.load()
        except (ImportError, AttributeError) as error:
            raise MarketError(
                f"The mechanism {entry.name!r} of the package {package!r} cannot be loaded "
                f"({error}). Repair the package, or uninstall it."
            ) from error
        yield _described(module, package)


def _described(module: ModuleType, origin: str) -> KnownMechanism:
    about = getattr(module, "ABOUT", None)
    if not isinstance(about, About):
        raise MarketError(
            f"The mechanism {getattr(module, '__name__', module)!r} of {origin!r} has no `ABOUT`. "
            "Name a module with a constant ABOUT of the type tricell.markets.mechanism.About."
        )
    classes = [
        each
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, Mechanism)
        and each.model_fields["kind"].default == about.name
        and each.__module__ == module.__name__
    ]
    return KnownMechanism(about, classes[0] if classes else None, origin)
