"""Who plans ahead: every household for itself, or one manager for a whole community.

Both see the same: what every store can do in the coming steps, the forecast of all other power
that holds at this gate, and the prices of the retailer and all charges of the coming hours. What
appliances will draw is no part of the forecast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tricell.markets.charge import EnergyRates
from tricell.markets.flexibility.community_plan import CommunityPlanner, CommunityPrices
from tricell.markets.flexibility.household_plan import HouseholdPlanner
from tricell.markets.flexibility.tanks import Plan, PlanSteps, TankOutlook
from tricell.simulators.owner_prices import OwnerPrices
from tricell.simulators.population import FloatArray, IntArray
from tricell.simulators.power_forecast import PowerForecast, like_the_last_day


@dataclass(frozen=True)
class ComingSlots:
    """What is foreseen of the slots of a plan.

    Attributes
    ----------
    forecast : of loads and plants.
    steps : the time grid of the plan.
    count : slots of the run; later ones are like those of its last day.
    """

    forecast: PowerForecast
    steps: PlanSteps
    count: int

    def power(self, slot: int) -> tuple[FloatArray, FloatArray]:
        """Return load and generation of all agents, kW, means of the steps, shape (H, n_agent)."""
        load, generation = self.forecast.ahead(slot, self.steps.total_slots)
        return self.steps.mean(load), self.steps.mean(generation)

    def slots(self, slot: int) -> IntArray:
        """Return the slots of the run that stand for those of the plan."""
        per_day = round(24.0 / self.steps.slot_hours)
        return like_the_last_day(slot + np.arange(self.steps.total_slots), self.count, per_day)


class HouseholdManager:
    """Every household plans alone, against the retailer's prices.

    Parameters
    ----------
    planner : the programs of all households, compiled.
    coming : what is foreseen.
    prices : of all agents.
    """

    def __init__(self, planner: HouseholdPlanner, coming: ComingSlots, prices: OwnerPrices) -> None:
        self._planner, self._coming, self._prices = planner, coming, prices
        self.steps = coming.steps

    def plan(self, slot: int, outlook: TankOutlook, moved_slots: int) -> Plan:
        """Plan the steps from a slot on; see `Manager`."""
        load, generation = self._coming.power(slot)
        slots = self._coming.slots(slot)
        imported = self.steps.mean(self._prices.retail_at(slots))
        exported = self.steps.mean(self._prices.earned_at(slots))
        return self._planner.plan(
            outlook, load, generation, imported, exported, moved_slots=moved_slots
        )

    def memory(self) -> Mapping[str, Any]:
        """Return what the solvers start from."""
        return {"planner": self._planner.memory()}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on with emptied solvers."""
        self._planner.recall(memory["planner"])


@dataclass(frozen=True)
class CommunityTerms:
    """What a community pays, per slot of the run.

    Attributes
    ----------
    prices : outside prices, of all agents.
    rates : network charges per kWh.
    fee : of a kWh bought in each area, shape (T or 1, areas).
    """

    prices: OwnerPrices
    rates: EnergyRates
    fee: FloatArray

    def of_steps(
        self, slots: IntArray, mean: Callable[[FloatArray], FloatArray]
    ) -> CommunityPrices:
        """Return the mean prices of steps."""

        def at(series: FloatArray) -> FloatArray:
            return series if len(series) == 1 else mean(series[slots])

        outside = self.prices.prices
        return CommunityPrices(
            retail=mean(outside.retail[slots]),
            feed_in=mean(outside.feed_in[slots]),
            fee=at(self.fee),
            import_charge=at(self.rates.imported),
            export_charge=at(self.rates.exported),
            entry=at(self.rates.entry),
            exit=at(self.rates.exit),
        )


class CommunityManager:
    """One manager plans for all members, under the limits of the network.

    Stores of those who take no part in the markets are planned by their households.

    Parameters
    ----------
    planner : program of the members, compiled.
    members : rows of the stores of members.
    coming : what is foreseen.
    terms : what the community pays.
    alone : plans the stores of all others; None where everybody takes part.
    """

    def __init__(
        self,
        planner: CommunityPlanner,
        members: IntArray,
        coming: ComingSlots,
        terms: CommunityTerms,
        alone: HouseholdManager | None,
    ) -> None:
        self._planner, self._members = planner, members
        self._coming, self._terms, self._alone = coming, terms, alone
        self.steps = coming.steps

    def plan(self, slot: int, outlook: TankOutlook, moved_slots: int) -> Plan:
        """Plan the steps from a slot on; see `Manager`."""
        load, generation = self._coming.power(slot)
        prices = self._terms.of_steps(self._coming.slots(slot), self.steps.mean)
        together = self._planner.plan(outlook.some(self._members), load, generation, prices)
        if self._alone is None:
            return together
        others = np.setdiff1d(np.arange(len(outlook)), self._members)
        alone = self._alone.plan(slot, outlook.some(others), moved_slots)
        return _merged(together, self._members, alone, others)

    def memory(self) -> Mapping[str, Any]:
        """Return what the solvers start from."""
        alone = {} if self._alone is None else self._alone.memory()
        return {"planner": self._planner.memory(), "alone": alone}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on with emptied solvers."""
        self._planner.recall(memory["planner"])
        if self._alone is not None:
            self._alone.recall(memory["alone"])


def _merged(first: Plan, first_rows: IntArray, second: Plan, second_rows: IntArray) -> Plan:
    """Put two plans side by side, each in the columns of its stores."""
    columns = len(first_rows) + len(second_rows)
    merged = {}
    for name in ("charge_kw", "discharge_kw", "stored_kwh", "value_eur_per_kwh"):
        values = np.empty((len(first.charge_kw), columns))
        values[:, first_rows] = getattr(first, name)
        values[:, second_rows] = getattr(second, name)
        merged[name] = values
    return replace(first, **merged, cost_eur=first.cost_eur + second.cost_eur)
