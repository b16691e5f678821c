"""The devices of a run in one list: what the table of devices and their series stand for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.simulators.fleet import RatedDevices
from tricell.simulators.population import FloatArray, IntArray

SHORT_FROM_KWH = 1e-6
"""What a vehicle has to lack at departure to count as short: more than the solver's residues."""


@dataclass(frozen=True)
class DeviceList:
    """Devices beside the batteries of households; arrays of shape (n_device,).

    Attributes
    ----------
    name : unique names.
    kind : vehicle, house, heat_store, appliance or shared_battery.
    agent : owner of each device.
    charge_kw, discharge_kw : largest power drawn and given back.
    capacity_kwh : of the store; heat for houses and heat stores, 0 for appliances.
    """

    name: tuple[str, ...]
    kind: tuple[str, ...]
    agent: IntArray
    charge_kw: FloatArray
    discharge_kw: FloatArray
    capacity_kwh: FloatArray

    def __len__(self) -> int:
        return len(self.name)

    @classmethod
    def of(cls, fleets: Sequence[RatedDevices]) -> DeviceList:
        """Put fleets one after the other; names that occur twice get their kind."""
        names = [name for fleet in fleets for name in fleet.names]
        kinds = [fleet.kind for fleet in fleets for _ in fleet.names]
        counts = Counter(names)
        unique = tuple(
            f"{name} ({kind})" if counts[name] > 1 else name
            for name, kind in zip(names, kinds, strict=True)
        )

        def joined(parts: list[FloatArray]) -> FloatArray:
            return np.concatenate([np.zeros(0), *parts])

        agent = np.concatenate([np.zeros(0, np.int64), *[fleet.agent for fleet in fleets]])
        return cls(
            unique,
            tuple(kinds),
            agent,
            joined([fleet.charge_kw for fleet in fleets]),
            joined([fleet.discharge_kw for fleet in fleets]),
            joined([fleet.capacity_kwh for fleet in fleets]),
        )


class DeviceTotals:
    """What devices did over a run, added up block by block; arrays of shape (n_device,).

    Attributes
    ----------
    energy_kwh : drawn less given back.
    unmet_kwh : needs that were not met.
    departures, short_departures : of vehicles, all and those that lacked energy.
    discomfort_kh : outside the comfort band, K h.
    """

    def __init__(self, count: int) -> None:
        self.energy_kwh, self.unmet_kwh = np.zeros(count), np.zeros(count)
        self.departures, self.short_departures = np.zeros(count), np.zeros(count)
        self.discomfort_kh = np.zeros(count)

    def add(self, series: Mapping[str, NDArray[Any]], hours: float) -> None:
        """Take a block of slots, arrays of shape (slots, n_device)."""
        unmet, departed = series["unmet"], series["departed"]
        self.energy_kwh += series["p"].sum(axis=0) * hours
        self.unmet_kwh += unmet.sum(axis=0)
        self.departures += departed.sum(axis=0)
        self.short_departures += (departed & (unmet > SHORT_FROM_KWH)).sum(axis=0)
        self.discomfort_kh += series["discomfort"].sum(axis=0)

    def memory(self) -> dict[str, FloatArray]:
        """Return all totals so far."""
        return vars(self).copy()

    def recall(self, memory: Mapping[str, FloatArray]) -> None:
        """Go on from what `memory` returned."""
        vars(self).update(memory)
