"""Batteries as a fleet: `tricell.simulators.battery` with its state from slot to slot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tricell.markets.flexibility.tanks import PlanSteps, TankOutlook
from tricell.simulators.battery import apply_power, power_bounds
from tricell.simulators.device_checks import PowerBand
from tricell.simulators.fleet import SHORTFALL_EUR_PER_KWH, DeviceState, EnergyPerPower
from tricell.simulators.population import Batteries, FloatArray


class BatteryDevices:
    """Batteries; see `Fleet`.

    Parameters
    ----------
    batteries : ratings, owners and first states.
    names : one per battery.
    hours : length of a slot, h.
    wear_eur_per_kwh : wear of discharging a kWh.
    """

    kind = "battery"

    def __init__(
        self,
        batteries: Batteries,
        names: tuple[str, ...],
        hours: float,
        wear_eur_per_kwh: float = 0.0,
    ) -> None:
        self.batteries, self.names, self._hours = batteries, names, hours
        self._wear = wear_eur_per_kwh
        self.soc_kwh = batteries.soc0_kwh.copy()
        self.agent = batteries.agent
        self.charge_kw, self.discharge_kw = batteries.charge_kw, batteries.discharge_kw
        self.capacity_kwh = batteries.energy_kwh

    def begin_slot(self, slot: int) -> None:
        """Nothing happens between slots."""

    def band(self, slot: int) -> PowerBand:
        """Return what the stored energy and the ratings allow."""
        charge, discharge = power_bounds(self.batteries, self.soc_kwh, self._hours)
        return PowerBand(-discharge, charge)

    def rule_kw(self, slot: int) -> FloatArray:
        """Stand still: without an owner's surplus or deficit a battery has no rule."""
        return np.zeros(len(self.names))

    def thrifty_kw(self, slot: int, price: FloatArray) -> FloatArray:
        """Stand still, too."""
        return self.rule_kw(slot)

    def carry_out(self, slot: int, power_kw: FloatArray) -> None:
        """Charge and discharge."""
        self.soc_kwh = apply_power(self.batteries, self.soc_kwh, power_kw, self._hours)

    def energy_per_power(self, slot: int) -> EnergyPerPower:
        """Return the efficiencies."""
        batteries = self.batteries
        wear = np.full(len(batteries), self._wear)
        return EnergyPerPower(batteries.eta_charge, 1.0 / batteries.eta_discharge, wear)

    def outlook(self, slot: int, steps: PlanSteps) -> TankOutlook:
        """Return the store between empty and full."""
        batteries, hours = self.batteries, steps.hours[:, None]
        ones = np.ones((len(steps), len(batteries)))
        return TankOutlook(
            start_kwh=self.soc_kwh,
            kept=(1.0 - batteries.self_discharge_per_day) ** (hours / 24.0),
            into_kwh_per_kw=hours * batteries.eta_charge,
            out_kwh_per_kw=hours / batteries.eta_discharge,
            inflow_kwh=0.0 * ones,
            lowest_kwh=0.0 * ones,
            highest_kwh=batteries.energy_kwh * ones,
            charge_kw=batteries.charge_kw * ones,
            discharge_kw=batteries.discharge_kw * ones,
            shortfall_eur_per_kwh=np.full(len(batteries), SHORTFALL_EUR_PER_KWH),
            worth_at_end_eur_per_kwh=np.zeros(len(batteries)),
            wear_eur_per_kwh=np.full(len(batteries), self._wear),
        )

    def state(self) -> DeviceState:
        """Return the stored energy."""
        return DeviceState.of(self.soc_kwh)

    def memory(self) -> Mapping[str, Any]:
        """Return the stored energy."""
        return {"soc_kwh": self.soc_kwh}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on within a slot."""
        self.soc_kwh = memory["soc_kwh"]
