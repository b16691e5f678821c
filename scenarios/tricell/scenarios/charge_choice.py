"""Entries of a list of network charges: a charge with its parameters, or a published preset.

::

    charges:
      - {kind: volumetric, rate_eur_per_kwh: 0.05}
      - {preset: de_14a_module_3, operator: Westnetz GmbH, customers: [controllable]}
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from tricell.errors import MarketError
from tricell.markets.charge import Charge
from tricell.markets.charge_preset import (
    PARAMETERS,
    ChargePreset,
    charge_of,
    load_preset,
    preset_names,
    preset_of,
)
from tricell.markets.charge_registry import charge_classes
from tricell.scenarios.faults import did_you_mean
from tricell.scenarios.section import Section, broken_rule

WORDS_SHOWN = 8
MORE = "`tricell list charges` shows all"


class ChargeError(MarketError):
    """A charge fits neither its neighbours nor the grid; `label` is its name, empty for several."""

    def __init__(self, message: str, label: str = "") -> None:
        super().__init__(message)
        self.label = label


def _told_by_preset(schema: dict[str, Any]) -> None:
    """Name all presets in the JSON Schema, and say that `preset` tells entries from charges."""
    names = list(preset_names())
    here = dict.fromkeys(names, "#/$defs/PresetEntry")
    schema["discriminator"] = {"propertyName": "preset", "mapping": here}
    schema["properties"]["preset"]["enum"] = names


class PresetEntry(Section):
    """A published tariff by its name."""

    model_config = ConfigDict(json_schema_extra=_told_by_preset)

    preset: str
    """Name of the preset, as `tricell list charges` shows it."""
    operator: str | None = None
    """Network operator, where the preset has several (that of the preset)."""
    level: str | None = None
    """Network level, where the preset has several (that of the preset)."""
    year: int | None = None
    """Year, where the preset has several (that of the preset)."""
    name: str = ""
    """What it is called in bills and tables (the names that the preset has)."""
    scale: Annotated[float, Field(ge=0)] = 1.0
    """Multiplies all of its rates (1)."""
    customers: tuple[str, ...] = ()
    """Classes that pay it, where the preset does not say who does (all)."""

    @model_validator(mode="before")
    @classmethod
    def _is_no_charge(cls, value: Any) -> Any:
        if isinstance(value, dict) and "kind" in value:
            raise broken_rule(
                "an entry is either a charge or a preset, this one is both",
                at=("kind",),
                allowed="`kind` with the parameters of a charge, or `preset`",
                suggestion="remove `kind` or `preset`",
            )
        return value

    @model_validator(mode="after")
    def _exists(self) -> Self:
        if self.preset not in preset_names():
            raise broken_rule(
                f"there is no preset `{self.preset}` of charges",
                at=("preset",),
                allowed=", ".join(preset_names()),
                suggestion=f"{did_you_mean(self.preset, preset_names())} {MORE}".strip(),
            )
        preset = preset_of(self.preset)
        for name in PARAMETERS:
            self._check_parameter(name, preset)
        self._check_customers()
        return self

    def _check_parameter(self, name: str, preset: ChargePreset) -> None:
        value = getattr(self, name)
        if value is None:
            return
        if preset.parameter is None or preset.parameter.name != name:
            has = preset.parameter
            raise broken_rule(
                f"the preset `{preset.name}` has no {name} to choose",
                at=(name,),
                allowed="no such field" if has is None else f"`{has.name}`: {has.meaning}",
                suggestion=f"remove `{name}`",
            )
        if str(value) not in preset.choices:
            raise broken_rule(
                f"the preset `{preset.name}` has no {name} `{value}`",
                at=(name,),
                allowed=_some(preset.choices),
                suggestion=did_you_mean(str(value), preset.choices),
            )

    def _check_customers(self) -> None:
        if not self.customers:
            return
        named = {name for charge in load_preset(self.preset) for name in charge.customers}
        if named:
            raise broken_rule(
                f"the preset `{self.preset}` says itself who pays what",
                at=("customers",),
                allowed=f"no such field; its charges are for {', '.join(sorted(named))}",
                suggestion="remove `customers`",
            )
        try:
            self.charges()
        except MarketError as error:
            raise broken_rule(
                f"the preset `{self.preset}` cannot be limited to customers: a charge in it holds "
                "for everybody",
                at=("customers",),
                allowed="no such field",
                suggestion="remove `customers`",
            ) from error

    def charges(self) -> tuple[Charge, ...]:
        """Return the charges of the preset, with the changes that the entry makes."""
        chosen = {name: getattr(self, name) for name in PARAMETERS}
        charges = load_preset(self.preset, **chosen)
        if self.scale != 1.0:
            charges = tuple(charge.scaled(self.scale) for charge in charges)
        if self.customers:
            paid_by = {"customers": self.customers}
            charges = tuple(charge_of({**charge.model_dump(), **paid_by}) for charge in charges)
        if self.name:
            names = _named(self.name, charges)
            charges = tuple(
                charge.model_copy(update={"name": name})
                for charge, name in zip(charges, names, strict=True)
            )
        return charges


def _named(name: str, charges: Sequence[Charge]) -> list[str]:
    """Return a name for each charge: the one given, before its own where there are several."""
    return [name] if len(charges) == 1 else [f"{name}: {charge.label}" for charge in charges]


def _sort_of_entry(value: Any) -> str:
    """Tell a preset from a charge, before anything of it is checked."""
    has_preset = "preset" in value if isinstance(value, dict) else isinstance(value, PresetEntry)
    return "preset entry" if has_preset else "charge entry"


if TYPE_CHECKING:
    ChargeEntry = Charge | PresetEntry
else:
    ChargeEntry = Annotated[
        Annotated[
            Annotated[reduce(or_, charge_classes()), Field(discriminator="kind")],
            Tag("charge entry"),
        ]
        | Annotated[PresetEntry, Tag("preset entry")],
        Discriminator(_sort_of_entry),
    ]
    """Parameters of any charge, third parties' included, or a preset."""


def expanded(entries: Iterable[ChargeEntry]) -> tuple[Charge, ...]:
    """Return charges only: every preset replaced by its charges, in the order of the entries."""
    charges: list[Charge] = []
    for entry in entries:
        charges += entry.charges() if isinstance(entry, PresetEntry) else (entry,)
    return tuple(charges)


def position_of(label: str, entries: Sequence[ChargeEntry]) -> int | None:
    """Return the position of the entry that a charge comes from, the last of several."""
    positions = [
        position
        for position, entry in enumerate(entries)
        if label in [charge.label for charge in expanded([entry])]
    ]
    return positions[-1] if positions else None


def _some(words: tuple[str, ...]) -> str:
    rest = len(words) - WORDS_SHOWN
    return ", ".join(words[:WORDS_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
