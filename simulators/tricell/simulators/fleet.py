"""What every fleet of devices that shift energy can be asked: a `Fleet` is physics, no decision.

A fleet lives through the slots one after the other::

    fleet.begin_slot(slot)      # vehicles come and go
    fleet.band(slot)            # what the slot allows
    fleet.carry_out(slot, kw)   # what the slot did, told at the start of the next one

Whoever decides asks `rule_kw` for the plain rule of the device, `thrifty_kw` for what it draws if
it waits for cheap slots, or `outlook` for what the coming steps allow, to plan them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np

from tricell.grid_models.arrays import sum_by_key
from tricell.markets.flexibility.tanks import PlanSteps, TankOutlook
from tricell.simulators.device_checks import PowerBand
from tricell.simulators.population import BoolArray, FloatArray, IntArray

SHORTFALL_EUR_PER_KWH = 2.0
"""What a plan pays for a kWh that a tank lacks: more than any usual price of energy."""


@dataclass(frozen=True)
class DeviceState:
    """Devices at the start of a slot, arrays of shape (n_device,).

    Attributes
    ----------
    stored_kwh : energy in the device; heat above the lower end of the band, may be negative.
    unmet_kwh : energy that a vehicle lacked that has just left, a heat demand that was not served
        in the slot before, or a job that can no longer run.
    temperature_c : indoor temperature, degC; NaN for devices without.
    departed : whether a vehicle has just left.
    discomfort_kh : distance from the comfort band in the slot before, K h.
    """

    stored_kwh: FloatArray
    unmet_kwh: FloatArray
    temperature_c: FloatArray
    departed: BoolArray
    discomfort_kh: FloatArray

    @classmethod
    def of(
        cls,
        stored_kwh: FloatArray,
        unmet_kwh: FloatArray | None = None,
        *,
        temperature_c: FloatArray | None = None,
        departed: BoolArray | None = None,
        discomfort_kh: FloatArray | None = None,
    ) -> DeviceState:
        """Fill in what a kind of device does not have."""
        none = np.zeros(len(stored_kwh))
        return cls(
            stored_kwh,
            none if unmet_kwh is None else unmet_kwh,
            none + np.nan if temperature_c is None else temperature_c,
            none > 0 if departed is None else departed,
            none if discomfort_kh is None else discomfort_kh,
        )

    @classmethod
    def joined(cls, parts: Sequence[DeviceState]) -> DeviceState:
        """Put devices of several kinds one after the other."""
        return cls(
            **{
                f.name: np.concatenate([getattr(each, f.name) for each in parts])
                for f in fields(cls)
            }
        )


@dataclass(frozen=True)
class EnergyPerPower:
    """What a kW does to a store in a slot, arrays of shape (n_device,).

    Attributes
    ----------
    into : kWh stored per kWh drawn; the COP of a heat pump.
    out_of : kWh taken from the store per kWh given back; infinite where nothing is given back.
    wear_eur_per_kwh : wear per kWh given back.
    """

    into: FloatArray
    out_of: FloatArray
    wear_eur_per_kwh: FloatArray


class RatedDevices(Protocol):
    """Devices of one kind with what is on their nameplates; arrays of shape (n_device,).

    Attributes
    ----------
    kind : word for the device table and prefix of the child entities.
    names : unique names.
    agent : owner of each device.
    charge_kw, discharge_kw, capacity_kwh : ratings.
    """

    kind: str
    names: tuple[str, ...]
    agent: IntArray
    charge_kw: FloatArray
    discharge_kw: FloatArray
    capacity_kwh: FloatArray


class Fleet(RatedDevices, Protocol):
    """Devices of one kind that live through a run; powers in kW, positive consumes."""

    def begin_slot(self, slot: int) -> None:
        """Let a slot begin."""

    def band(self, slot: int) -> PowerBand:
        """Return between which powers every promise of the device stays within reach."""

    def rule_kw(self, slot: int) -> FloatArray:
        """Return what the device draws by its plain rule, whatever energy costs."""

    def thrifty_kw(self, slot: int, price: FloatArray) -> FloatArray:
        """Return what it draws if it waits for cheap slots.

        Parameters
        ----------
        slot : this slot.
        price : float64, shape (S, n_device), EUR/kWh, from this slot on as far as it is known.
        """

    def carry_out(self, slot: int, power_kw: FloatArray) -> None:
        """Take over what a slot did."""

    def energy_per_power(self, slot: int) -> EnergyPerPower:
        """Return what power does to the store in a slot."""

    def outlook(self, slot: int, steps: PlanSteps) -> TankOutlook:
        """Return what the coming steps allow, this slot first."""

    def state(self) -> DeviceState:
        """Return the state after `begin_slot`."""

    def memory(self) -> Mapping[str, Any]:
        """Return all that later slots depend on, after `begin_slot`."""

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from what `memory` returned."""


def shared_by_owner(agent: IntArray, wanted: FloatArray, available: FloatArray) -> FloatArray:
    """Return what each device gets of what its owner has, in proportion to what it wants.

    Parameters
    ----------
    agent : int64, shape (n_device,)
        Owner of each device.
    wanted : float64, shape (n_device,)
        What each device wants, at least 0.
    available : float64, shape (n_agent,)
        What each owner has; negative counts as nothing.

    Examples
    --------
    >>> shared_by_owner(np.array([0, 0, 1]), np.array([3.0, 1.0, 2.0]), np.array([2.0, 5.0]))
    array([1.5, 0.5, 2. ])
    """
    total = sum_by_key(agent, wanted, len(available))
    share = np.ones(len(available))
    has = np.maximum(available, 0.0)
    np.divide(has, total, out=share, where=total > has)
    return np.asarray(wanted * share[agent])
