"""Every network charge by its name: those of tricell, and those of third parties.

A charge of tricell is one file in `tricell.markets.charges`; nothing else names it. A third party's
is a module behind an entry point of the group ``tricell.charges``; it looks the same: a constant
``ABOUT`` and a class derived from `SlotCharge` or `PeriodCharge`.
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

import tricell.markets.charges as built_in
from tricell.errors import MarketError
from tricell.markets.charge import AboutCharge, Charge

ENTRY_POINT_GROUP = "tricell.charges"


@dataclass(frozen=True)
class KnownCharge:
    """One charge.

    Attributes
    ----------
    about : what it is.
    parameters : its class.
    origin : "tricell", or the package of the third party.
    """

    about: AboutCharge
    parameters: type[Charge]
    origin: str


@cache
def known_charges() -> Mapping[str, KnownCharge]:
    """All charges by name, those of tricell first.

    Raises
    ------
    MarketError
        If a third party's module cannot be loaded, is no charge, or takes a name that is taken.
    """
    known: dict[str, KnownCharge] = {}
    for charge in (*_built_in(), *_third_party()):
        name = charge.about.name
        if name in known:
            raise MarketError(
                f"The package {charge.origin!r} offers a charge {name!r}, but there is one of that "
                f"name from {known[name].origin!r}. Rename it, or uninstall one of them."
            )
        known[name] = charge
    return known


def charge_classes() -> tuple[type[Charge], ...]:
    """Parameter classes of all charges."""
    return tuple(each.parameters for each in known_charges().values())


def _built_in() -> Iterator[KnownCharge]:
    for name in sorted(module.name for module in iter_modules(built_in.__path__)):
        yield _described(import_module(f"{built_in.__name__}.{name}"), "tricell")


def _third_party() -> Iterator[KnownCharge]:
    for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda each: each.name):
        package = entry.dist.name if entry.dist is not None else entry.value
        try:
            module: Any = entry.load()
        except (ImportError, AttributeError) as error:
            raise MarketError(
                f"The charge {entry.name!r} of the package {package!r} cannot be loaded ({error}). "
                "Repair the package, or uninstall it."
            ) from error
        yield _described(module, package)


def _described(module: ModuleType, origin: str) -> KnownCharge:
    about = getattr(module, "ABOUT", None)
    if not isinstance(about, AboutCharge):
        raise MarketError(
            f"The charge {getattr(module, '__name__', module)!r} of {origin!r} has no `ABOUT`. "
            "Name a module with a constant ABOUT of the type tricell.markets.charge.AboutCharge."
        )
    classes = [
        each
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, Charge)
        and each.__module__ == module.__name__
        and "kind" in each.model_fields
        and each.model_fields["kind"].default == about.name
    ]
    if not classes:
        raise MarketError(
            f"The charge {about.name!r} of {origin!r} has no class derived from SlotCharge or "
            "PeriodCharge whose field `kind` has that name as its default."
        )
    return KnownCharge(about, classes[0], origin)
