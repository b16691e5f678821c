"""Every mechanism by its name: those of tricell, and those of third parties.

A mechanism of tricell is one file in `tricell.markets.mechanisms`; nothing else names it. A third
party's is a module behind an entry point of the group ``tricell.mechanisms``; it looks the same:
a constant ``ABOUT`` and, if it clears a market for a slot, a class derived from `Mechanism`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import tricell.markets.mechanisms as built_in
from tricell.errors import MarketError
from tricell.markets.extension_modules import by_name, extension_modules, model_of_kind
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
    modules = extension_modules(built_in, ENTRY_POINT_GROUP, "mechanism")
    mechanisms = (_described(module, origin) for module, origin in modules)
    return by_name(mechanisms, lambda each: (each.about.name, each.origin), "mechanism")


def slot_mechanisms() -> tuple[type[Mechanism], ...]:
    """Parameter classes of all mechanisms that clear a market for a slot."""
    known = known_mechanisms().values()
    return tuple(each.parameters for each in known if each.parameters is not None)


def _described(module: ModuleType, origin: str) -> KnownMechanism:
    about = getattr(module, "ABOUT", None)
    if not isinstance(about, About):
        raise MarketError(
            f"The mechanism {getattr(module, '__name__', module)!r} of {origin!r} has no `ABOUT`. "
            "Name a module with a constant ABOUT of the type tricell.markets.mechanism.About."
        )
    return KnownMechanism(about, model_of_kind(module, Mechanism, about.name), origin)
