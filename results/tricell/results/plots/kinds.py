"""The names of the figures that `tricell plot` draws and what they show; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Kind:
    """A kind of figure.

    Attributes
    ----------
    shows : what is seen.
    options : what it can be restricted by: area, level, period, at.
    """

    name: str
    shows: str
    options: tuple[str, ...]


_SERIES = ("area", "level", "period")

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Kind("prices", "prices of the market levels over time, with the tariffs", _SERIES),
            Kind("price-map", "prices as colours: by area, or by time of day over months", _SERIES),
            Kind("energy-flows", "where energy was traded: at each level, with retail", _SERIES),
            Kind("energy", "load, generation, batteries, import and export", _SERIES),
            Kind("bills", "what each participant saves by trading, sorted", ("area", "level")),
            Kind("duration", "load duration curves of the transformers", _SERIES),
            Kind("voltage-map", "lowest and highest voltages as colours", _SERIES),
            Kind("verdicts", "whether the grid kept its limits, slot by slot", ("period",)),
            Kind("grid", "the network on a map at one moment", ("area", "period", "at")),
            Kind("hierarchy", "the tree of areas, with figures", _SERIES),
        )
    }
)
