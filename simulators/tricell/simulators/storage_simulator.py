"""mosaik simulator of all that stores or shifts energy: states, and what is bid for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tricell.grid_models.arrays import sum_by_key
from tricell.simulators.appliance_jobs import ApplianceJobs
from tricell.simulators.device_checks import PowerBand
from tricell.simulators.fleet import DeviceState
from tricell.simulators.messages import StorageNow
from tricell.simulators.owner_prices import OwnerPrices
from tricell.simulators.population import BoolArray, FloatArray, IntArray
from tricell.simulators.slot_simulator import SLOTS_PER_BLOCK, ChildKind, Memory, SlotSimulator
from tricell.simulators.store_decisions import Decides, Stores


@dataclass(frozen=True)
class StorageSettings:
    """What the storage simulator is set up with.

    Attributes
    ----------
    stores : batteries, vehicles and heat pumps at their first states.
    decides : what turns states and prices into orders.
    appliances : jobs that run whole; None for none.
    appliance_prices : what energy costs every agent, for jobs that wait for cheap slots; None for
        jobs that start as early as they may.
    shared : rows of the batteries that are shared, each a device of its own in the results.
    tells_band : slots in which the bands of all stores are published; None for none.
    """

    stores: Stores
    decides: Decides
    appliances: ApplianceJobs | None
    appliance_prices: OwnerPrices | None
    shared: IntArray
    tells_band: BoolArray | None = None


class StorageSimulator(SlotSimulator[StorageSettings]):
    """Batteries, vehicles, heat pumps and appliances of all agents.

    Parent model ``Storage``: reads ``power`` of the households and ``battery_kw``, the power of all
    stores in the last slot (a time-shifted connection); gives ``storage`` (`StorageNow`). Children
    ``Battery`` (named by their agent), ``Vehicle``, ``House`` and ``HeatStore``: read ``soc_kwh``,
    the stored energy at the start of the slot, and ``p_kw`` of the slot before. Children
    ``Appliance``: read ``p_kw``.
    """

    MODEL = "Storage"
    ATTRIBUTES = ("power", "battery_kw", "storage")

    def set_up(self, settings: StorageSettings) -> None:
        """Set up the fleets."""
        self._stores, self._decides = settings.stores, settings.decides
        self._jobs, self._job_prices = settings.appliances, settings.appliance_prices
        self._shared, self._tells_band = settings.shared, settings.tells_band

    def child_kinds(self) -> Sequence[ChildKind]:
        """One child per device."""
        kinds = []
        for fleet in self._stores.fleets:
            outputs = {name: f"{fleet.kind} {name}" for name in ("soc_kwh", "p_kw")}
            kinds.append(ChildKind(_model(fleet.kind), fleet.kind, fleet.names, outputs))
        if self._jobs is not None:
            kind = self._jobs.kind
            kinds.append(ChildKind(_model(kind), kind, self._jobs.names, {"p_kw": f"{kind} p_kw"}))
        return tuple(each for each in kinds if each.names)

    def recall(self, memory: Memory) -> None:
        """Go on with what was stored and planned at the start of the slot before."""
        for fleet in self._stores.fleets:
            fleet.recall(memory[fleet.kind])
        if self._jobs is not None:
            self._jobs.recall(memory[self._jobs.kind])
        self._decides.recall(memory["decides"])

    def memory(self) -> Memory:
        """Return all that later slots depend on, beside what is done in this one."""
        kept = {fleet.kind: fleet.memory() for fleet in self._stores.fleets}
        if self._jobs is not None:
            kept[self._jobs.kind] = self._jobs.memory()
        return {**kept, "decides": self._decides.memory()}

    def advance(self, slot: int, inputs: Mapping[str, Any]) -> None:
        """Carry out the last set-points, then bid for this slot."""
        fleets = self._stores.fleets
        done_kw = self.parent_input(inputs, "battery_kw")
        done = self._stores.split(done_kw)
        for fleet, power_kw in zip(fleets, done, strict=True):
            if slot > 0:
                fleet.carry_out(slot - 1, power_kw)
            fleet.begin_slot(slot)
        if slot % SLOTS_PER_BLOCK == 0 and slot > 0:
            self._decides.recall(self._decides.memory())
        power = self.parent_input(inputs, "power")
        jobs_kw = self._run_jobs(slot, len(power.p_load_kw))
        decision = self._decides.decide(slot, power.generation_kw - power.p_load_kw - jobs_kw)
        must = sum_by_key(self._stores.agent, decision.must_kw, len(jobs_kw))
        self.outputs = {
            "storage": StorageNow(
                soc_kwh=self._stores.batteries.soc_kwh,
                orders=decision.orders,
                must_kw=decision.must_kw,
                firm_kw=jobs_kw + must,
                devices=self._device_states(),
                job_kw=None if self._jobs is None else self._jobs.power_kw,
                memory=self.memory() if self.ends_block(slot) else None,
                band=self._band(slot),
            )
        }
        for fleet, power_kw in zip(fleets, done, strict=True):
            self.outputs[f"{fleet.kind} p_kw"] = power_kw

    def vector(self, name: str) -> Any:
        """Return what children are read from; stored energy is looked up only where asked for."""
        if name.endswith(" soc_kwh"):
            kind = name.split(" ", maxsplit=1)[0]
            return next(f.state().stored_kwh for f in self._stores.fleets if f.kind == kind)
        if self._jobs is not None and name == f"{self._jobs.kind} p_kw":
            return self._jobs.power_kw
        return self.outputs[name]

    def left_after(
        self, slot: int, power_kw: FloatArray
    ) -> list[tuple[str, FloatArray, FloatArray]]:
        """Carry out the last slot and tell what is left; for after a run, once.

        Parameters
        ----------
        slot : the last slot.
        power_kw : float64, shape (n_store,), what every store did in it.

        Returns
        -------
        list
            Kind, stored energy (kWh) and energy stored per kWh drawn, for each fleet.
        """
        left = []
        for fleet, done in zip(self._stores.fleets, self._stores.split(power_kw), strict=True):
            into = fleet.energy_per_power(slot).into
            fleet.carry_out(slot, done)
            left.append((fleet.kind, fleet.state().stored_kwh, into))
        return left

    def _run_jobs(self, slot: int, n_agent: int) -> FloatArray:
        """Start the jobs of a slot and return what all of them draw, kW, shape (n_agent,)."""
        if self._jobs is None:
            return np.zeros(n_agent)
        prices = self._job_prices
        power = self._jobs.run(slot, None if prices is None else prices.retail_ahead(slot))
        return sum_by_key(self._jobs.agent, power, n_agent)

    def _band(self, slot: int) -> PowerBand | None:
        """Return what all stores could do, where somebody asks for more than their orders."""
        if self._tells_band is None or not self._tells_band[slot]:
            return None
        return self._stores.band(slot)

    def _device_states(self) -> DeviceState | None:
        """Return the states of all devices beside household batteries; None without any."""
        states = [fleet.state() for fleet in self._stores.others]
        if self._jobs is not None:
            states.append(self._jobs.state())
        if len(self._shared):
            states.append(DeviceState.of(self._stores.batteries.soc_kwh[self._shared]))
        return DeviceState.joined(states) if states else None


def _model(kind: str) -> str:
    """Return the mosaik model of a kind of device, such as HeatStore for heat_store."""
    return kind.title().replace("_", "")
