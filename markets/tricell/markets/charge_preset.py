"""Published tariffs as data: charges with the country, year and source that their numbers are from.

A preset is one YAML file in the folder ``charge_presets``. Its ``charges`` are written exactly as
in a scenario. Some presets leave one thing to choose, such as the network operator: then
``variants`` has the charges of every other choice, or a table of price sheets has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML

from tricell.errors import MarketError
from tricell.markets.charge import Charge
from tricell.markets.charge_registry import known_charges
from tricell.markets.section_14a import PRESET_FOLDER, module_3_prices

Fields = dict[str, Any]

PARAMETERS = ("operator", "level", "year")
"""What a preset may leave to choose."""


class _Described(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class PresetSource(_Described):
    """Where numbers are from."""

    name: str
    """Publisher and document."""
    url: str = ""
    """Address, where there is one."""


class PresetParameter(_Described):
    """What a preset leaves to choose."""

    name: Literal["operator", "level", "year"]
    """Name of the parameter."""
    meaning: str
    """What is chosen, in a few words."""
    default: str
    """The choice whose charges are under `charges`."""
    table: Literal["de_14a_module_3_2026"] | None = None
    """Table of price sheets with all choices; without one they are under `variants`."""


class ChargePreset(_Described):
    """A published tariff."""

    name: str
    """Name, as that of its file."""
    country: str
    """Country, ISO 3166, with the region where it matters."""
    year: int
    """Year that the prices are of."""
    line: str
    """What it is, in one line."""
    description: str
    """How the tariff works and how it is put together here."""
    quality: Literal["official", "transcribed", "secondary", "low", "placeholder"]
    """How far to trust the prices: `official` publication; `transcribed` by third parties from
    official price sheets; `secondary` such as press; `low`: check before use; `placeholder`: the
    rule is published, the prices are ours."""
    vat: Literal["net"]
    """Prices are net of VAT."""
    sources: Annotated[tuple[PresetSource, ...], Field(min_length=1)]
    """Where rules and prices are from."""
    assumptions: tuple[str, ...] = ()
    """What is not published and was chosen here."""
    published: Fields = {}
    """Prices as published, where those of the charges are derived from them."""
    parameter: PresetParameter | None = None
    """What is left to choose."""
    charges: Annotated[tuple[Fields, ...], Field(min_length=1)]
    """The charges, as in a scenario."""
    variants: dict[str, tuple[Fields, ...]] = {}
    """The charges of every other choice of the parameter."""

    @property
    def choices(self) -> tuple[str, ...]:
        """All choices of the parameter, the default first; empty without a parameter."""
        if self.parameter is None:
            return ()
        others = module_3_prices() if self.parameter.table else self.variants
        return tuple(dict.fromkeys((self.parameter.default, *others)))

    def fields(self, choice: str | None = None) -> tuple[Fields, ...]:
        """Return the charges of a choice as in a scenario.

        Raises
        ------
        MarketError
            If there is no such choice.
        """
        if self.parameter is None or choice is None or choice == self.parameter.default:
            return self.charges
        if choice not in self.choices:
            raise MarketError(
                f"preset {self.name!r}: there is no {self.parameter.name} {choice!r}. Choose one "
                f"of {_some(self.choices)}."
            )
        if self.parameter.table is None:
            return self.variants[choice]
        bands = module_3_prices()[choice].time_bands()
        return tuple({**charge, **bands} for charge in self.charges)


def preset_names() -> tuple[str, ...]:
    """Return the names of all presets in alphabetical order, without reading their files."""
    return tuple(sorted(file.stem for file in PRESET_FOLDER.glob("*.yaml")))


def known_presets() -> Mapping[str, ChargePreset]:
    """Return all presets by name, in alphabetical order.

    Raises
    ------
    MarketError
        If a file of the folder is no preset.
    """
    return {name: preset_of(name) for name in preset_names()}


@cache
def preset_of(name: str) -> ChargePreset:
    """Return the preset of a name.

    Raises
    ------
    MarketError
        If there is none, or if its file is no preset.
    """
    if name not in preset_names():
        raise MarketError(
            f"There is no preset {name!r} of charges. Choose one of {', '.join(preset_names())}."
        )
    return read_preset(PRESET_FOLDER / f"{name}.yaml")


def load_preset(name: str, **parameters: str | int | None) -> tuple[Charge, ...]:
    """Return the charges of a preset.

    Parameters
    ----------
    name : its name, as `tricell list charges` shows it.
    parameters : what the preset leaves to choose, such as ``operator="Westnetz GmbH"``; those
        that are None count as not given.

    Raises
    ------
    MarketError
        If there is no such preset, parameter or choice, or if its charges cannot be read.
    """
    preset = preset_of(name)
    choice = None
    for parameter, value in parameters.items():
        if value is None:
            continue
        if preset.parameter is None or parameter != preset.parameter.name:
            has = "none" if preset.parameter is None else f"only `{preset.parameter.name}`"
            raise MarketError(
                f"preset {name!r} has no parameter `{parameter}`, it has {has}. Leave it out."
            )
        choice = str(value)
    return tuple(charge_of(fields) for fields in preset.fields(choice))


def charge_of(fields: Mapping[str, Any]) -> Charge:
    """Return the charge that fields describe, the way a scenario writes them.

    Raises
    ------
    MarketError
        If ``kind`` names no charge, or if a field is wrong.
    """
    kind = fields.get("kind")
    known = known_charges()
    if kind not in known:
        raise MarketError(f"There is no charge {kind!r}. Choose one of {', '.join(known)}.")
    try:
        return known[str(kind)].parameters.model_validate(dict(fields))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or kind}: {_words(each['msg'])}"
            for each in error.errors()
        )
        raise MarketError(f"charge {kind!r}: {faults}. Correct these fields.") from error


def read_preset(file: Path) -> ChargePreset:
    """Read the file of a preset.

    Raises
    ------
    MarketError
        If it is none, or if it calls itself by another name.
    """
    try:
        preset = ChargePreset.model_validate(YAML(typ="safe", pure=True).load(file))
    except ValidationError as error:
        raise MarketError(f"The preset of charges {file.name} cannot be used: {error}") from error
    if preset.name != file.stem:
        raise MarketError(
            f"The preset of charges {file.name} calls itself {preset.name!r}. Give the file that "
            "name, or the preset that of its file."
        )
    return preset


def _words(message: str) -> str:
    return message.removeprefix("Value error, ")


def _some(words: tuple[str, ...], count: int = 6) -> str:
    rest = len(words) - count
    return ", ".join(words[:count]) + (f" and {rest} more" if rest > 0 else "")
