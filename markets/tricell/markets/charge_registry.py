"""Every network charge by its name: those of tricell, and those of third parties.

A charge of tricell is one file in `tricell.markets.charges`; nothing else names it. A third party's
is a module behind an entry point of the group ``tricell.charges``; it looks the same: a constant
``ABOUT`` and a class derived from `SlotCharge` or `PeriodCharge`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import tricell.markets.charges as built_in
from tricell.errors import MarketError
from tricell.markets.charge import AboutCharge, Charge
from tricell.markets.extension_modules import by_name, extension_modules, model_of_kind

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
    modules = extension_modules(built_in, ENTRY_POINT_GROUP, "charge")
    charges = (_described(module, origin) for module, origin in modules)
    return by_name(charges, lambda each: (each.about.name, each.origin), "charge")


def charge_classes() -> tuple[type[Charge], ...]:
    """Parameter classes of all charges."""
    return tuple(each.parameters for each in known_charges().values())


def _described(module: ModuleType, origin: str) -> KnownCharge:
    about = getattr(module, "ABOUT", None)
    if not isinstance(about, AboutCharge):
        raise MarketError(
            f"The charge {getattr(module, '__name__', module)!r} of {origin!r} has no `ABOUT`. "
            "Name a module with a constant ABOUT of the type tricell.markets.charge.AboutCharge."
        )
    parameters = model_of_kind(module, Charge, about.name)
    if parameters is None:
        raise MarketError(
            f"The charge {about.name!r} of {origin!r} has no class derived from SlotCharge or "
            "PeriodCharge whose field `kind` has that name as its default."
        )
    return KnownCharge(about, parameters, origin)
