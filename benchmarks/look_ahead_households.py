"""What it costs to plan the tanks of 500 households 24 h ahead, by part, beside bare HiGHS.

    python benchmarks/look_ahead_households.py [--households N] [--hours N] [--at-once N]

Every household has a battery, 150 in 500 a vehicle (a third of which gives back), 100 in 500 a
heat pump whose coefficient of performance follows the weather. Days are drawn with a seed; what a
plan says for its first slots is carried out before the next plan. Two rhythms are run in one
process: a plan in every slot of a quarter of an hour, and a plan in every hour; the second also
without moving the start of the programs by that hour. The figure that counts is ms per slot.
All is done in one thread and measured as time of the processor, so that what else the computer
does counts for little.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from time import process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from tricell.markets.flexibility.household_plan import (
    HOUSEHOLDS_AT_ONCE,
    HouseholdPlanner,
    HouseholdTanks,
)
from tricell.markets.flexibility.tanks import PlanSteps, TankOutlook

Floats = NDArray[np.float64]

SLOTS_PER_DAY = 96
DAYS = 4
TARGET_MS = 150.0


@dataclass(frozen=True)
class Town:
    """Drawn once: households, their devices, and what happens in each of the slots."""

    tanks: HouseholdTanks
    load_kw: Floats
    generation_kw: Floats
    spot_price: Floats
    capacity_kwh: Floats
    start_kwh: Floats
    is_home: NDArray[np.bool_]
    need_kwh: Floats
    losses_kw_per_k: Floats
    outside_c: Floats
    cop: Floats

    @classmethod
    def drawn(cls, households: int) -> Town:
        random = np.random.default_rng(3)
        hour = np.arange(SLOTS_PER_DAY * DAYS) / 4.0
        of_day = hour % 24.0
        vehicles, heat_pumps = households * 150 // 500, households * 100 // 500
        evening = 0.3 + 0.25 * _bump(of_day, 7.5, 1.5) + 0.6 * _bump(of_day, 19.0, 2.5)
        noise = random.lognormal(-0.1, 0.5, (len(hour), households))
        sun = np.maximum(np.sin((of_day - 6.0) / 12.0 * np.pi), 0.0)
        clouds = np.repeat(random.uniform(0.3, 1.0, len(hour) // 16), 16)
        pv_kw = np.where(random.random(households) < 0.8, random.uniform(3, 10, households), 0.0)
        spot = 0.08 + 0.05 * np.sin((hour - 8.0) / 12.0 * 2.0 * np.pi) - 0.06 * _bump(of_day, 13, 3)
        outside = 5.0 + 4.0 * np.sin((hour - 10.0) / 24.0 * 2.0 * np.pi)
        leaves, returns = random.uniform(6, 9, vehicles), random.uniform(15, 20, vehicles)
        capacity = np.concatenate(
            [
                random.uniform(5.0, 15.0, households),
                random.uniform(40.0, 80.0, vehicles),
                2.0 * random.uniform(3.0, 10.0, heat_pumps),
            ]
        )
        battery_kw = 0.45 * capacity[:households]
        gives_back = random.random(vehicles) < 1.0 / 3.0
        owner = np.concatenate(
            [
                np.arange(households),
                random.choice(households, vehicles, replace=False),
                random.choice(households, heat_pumps, replace=False),
            ]
        )
        charge = [battery_kw, np.full(vehicles, 11.0), random.uniform(2.0, 4.0, heat_pumps)]
        discharge = [battery_kw, np.where(gives_back, 11.0, 0.0), np.zeros(heat_pumps)]
        return cls(
            tanks=HouseholdTanks(owner, np.concatenate(charge), np.concatenate(discharge)),
            load_kw=evening[:, None] * noise,
            generation_kw=(sun * clouds)[:, None] * pv_kw,
            spot_price=np.repeat(spot[::4] + random.normal(0.0, 0.02, len(hour) // 4), 4),
            capacity_kwh=capacity,
            start_kwh=random.uniform(0.2, 0.8, len(capacity)) * capacity,
            is_home=(of_day[:, None] < leaves) | (of_day[:, None] >= returns),
            need_kwh=random.uniform(4.0, 14.0, vehicles),
            losses_kw_per_k=random.uniform(0.1, 0.25, heat_pumps),
            outside_c=outside,
            cop=2.6 + 0.08 * outside,
        )

    def outlook(self, steps: PlanSteps, first: int, start_kwh: Floats) -> TankOutlook:
        """Say what all tanks can do from a slot on."""
        slots = (first + np.arange(steps.total_slots)) % len(self.spot_price)
        vehicles, heat_pumps = self.is_home.shape[1], len(self.losses_kw_per_k)
        batteries = len(start_kwh) - vehicles - heat_pumps
        cars, houses = slice(batteries, batteries + vehicles), slice(batteries + vehicles, None)
        shape, hours = (len(steps), len(start_kwh)), steps.hours[:, None]
        home = self.is_home[slots]
        after = self.is_home[(slots + 1) % len(self.is_home)]
        share, leaves = np.ones(shape), steps.total((home & ~after).astype(float)) > 0.0
        share[:, cars] = steps.mean(home.astype(float))
        kept, lowest, inflow = np.ones(shape), np.zeros(shape), np.zeros(shape)
        into = 0.95 * hours * np.ones(shape)
        lowest[:, cars] = np.where(leaves, 1.5 * self.need_kwh, 0.0)
        inflow[:, cars] = -steps.total((~home & after).astype(float)) * self.need_kwh
        of_store = self.losses_kw_per_k / self.capacity_kwh[houses]
        kept[:, houses] = np.exp(-of_store * hours)
        into[:, houses] = steps.mean(self.cop[slots])[:, None] * hours
        cold_k = 20.0 - steps.mean(self.outside_c[slots])[:, None]
        inflow[:, houses] = -cold_k * self.losses_kw_per_k * hours
        worth = np.full(shape[1], 0.2)
        worth[houses] = 0.06
        return TankOutlook(
            start_kwh=start_kwh,
            kept=kept,
            into_kwh_per_kw=into,
            out_kwh_per_kw=hours / 0.95 * np.ones(shape),
            inflow_kwh=inflow,
            lowest_kwh=lowest,
            highest_kwh=self.capacity_kwh * np.ones(shape),
            charge_kw=self.tanks.charge_kw * share,
            discharge_kw=self.tanks.discharge_kw * share,
            shortfall_eur_per_kwh=np.ones(shape[1]),
            worth_at_end_eur_per_kwh=worth,
            wear_eur_per_kwh=np.full(shape[1], 0.01),
        )

    def series(self, steps: PlanSteps, first: int) -> tuple[Floats, Floats, Floats, Floats]:
        """Return load, generation, import price and export price of the steps from a slot on."""
        slots = (first + np.arange(steps.total_slots)) % len(self.spot_price)
        spot = steps.mean(self.spot_price[slots])[:, None]
        load, generation = steps.mean(self.load_kw[slots]), steps.mean(self.generation_kw[slots])
        return load, generation, spot + 0.20, spot - 0.01


def _bump(hour: Floats, centre: float, width: float) -> Floats:
    return np.exp(-(((hour - centre) / width) ** 2))


class TimedHighs:
    """HiGHS with a clock at its run, and all else passed on."""

    def __init__(self, highs: Any) -> None:
        self._highs = highs
        self.seconds, self.pivots = 0.0, 0

    def run(self) -> Any:
        started = process_time()
        status = self._highs.run()
        self.seconds += process_time() - started
        self.pivots += max(self._highs.getInfo().simplex_iteration_count, 0)
        return status

    def __getattr__(self, name: str) -> Any:
        return getattr(self._highs, name)


@dataclass
class Rhythm:
    """A planner that plans again after so many slots."""

    name: str
    every: int
    moved_slots: int
    planner: HouseholdPlanner
    clocks: list[TimedHighs]
    stored_kwh: Floats

    @classmethod
    def of(cls, town: Town, steps: PlanSteps, at_once: int, kind: tuple[str, int, int]) -> Rhythm:
        """Make a planner for a kind: name, slots between plans, slots its start is moved by."""
        planner = HouseholdPlanner(town.tanks, steps, town.load_kw.shape[1], at_once)
        clocks = []
        for batch in planner._batches:
            clock = TimedHighs(batch.program._highs)
            batch.program._highs = clock
            clocks.append(clock)
        return cls(*kind, planner, clocks, town.start_kwh)

    def plan(self, town: Town, slot: int, moved_slots: int) -> tuple[float, float, int]:
        """Plan and carry out; seconds of the plan, of them in HiGHS, and its pivots."""
        steps = self.planner.steps
        outlook, series = town.outlook(steps, slot, self.stored_kwh), town.series(steps, slot)
        for clock in self.clocks:
            clock.seconds, clock.pivots = 0.0, 0
        started = process_time()
        plan = self.planner.plan(outlook, *series, moved_slots=moved_slots)
        seconds = process_time() - started
        self.stored_kwh = plan.stored_kwh[self.every - 1]
        inside, pivots = sum(c.seconds for c in self.clocks), sum(c.pivots for c in self.clocks)
        return seconds, inside, pivots

    def replan(self, town: Town, slots: int) -> Iterator[tuple[int, tuple[float, float, int]]]:
        """Plan again whenever it is time."""
        for slot in range(0, slots, self.every):
            yield slot, self.plan(town, slot, self.moved_slots if slot else 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--households", type=int, default=500)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--at-once", type=int, default=HOUSEHOLDS_AT_ONCE)
    options = parser.parse_args()
    town, steps = Town.drawn(options.households), PlanSteps.of(0.25)
    started = process_time()
    kinds = (("every slot", 1, 1), ("every hour", 4, 4), ("every hour, start not moved", 4, 0))
    rhythms = [Rhythm.of(town, steps, options.at_once, kind) for kind in kinds]
    compiling = (process_time() - started) / len(rhythms)
    slots = 4 * options.hours
    runs = {each.name: each.replan(town, slots) for each in rhythms}
    taken: dict[str, list[tuple[float, float, int]]] = {name: [] for name in runs}
    # In turns, so that whatever else the computer does meets all of them.
    for slot in range(slots):
        for each in rhythms:
            if slot % each.every == 0:
                taken[each.name].append(next(runs[each.name])[1])
    last, before = rhythms[0], rhythms[0].stored_kwh
    last.plan(town, slots, 1)
    last.stored_kwh = before
    report(rhythms, taken, compiling, last.plan(town, slots, 0))


def report(
    rhythms: list[Rhythm],
    taken: dict[str, list[tuple[float, float, int]]],
    compiling: float,
    again: tuple[float, float, int],
) -> None:
    """Print what plans and slots cost."""
    programs = [batch.program.form.matrix.shape for batch in rhythms[0].planner._batches]
    rows, columns = np.sum(programs, axis=0)
    console = Console()
    console.print(
        f"{len(programs)} programs with {rows} rows and {columns} columns in all, "
        f"compiled in {compiling:.1f} s"
    )
    table = Table("plans", "first plan", "ms per plan", "HiGHS", "ours", "pivots", "ms per slot")
    per_slot = {}
    for each in rhythms:
        first, rest = np.array(taken[each.name][0]), np.array(taken[each.name][1:])
        total, inside, pivots = rest.mean(axis=0)
        per_slot[each.name] = 1e3 * total / each.every
        table.add_row(
            each.name,
            f"{1e3 * first[0]:.0f}",
            f"{1e3 * total:.1f}",
            f"{1e3 * inside:.1f}",
            f"{1e3 * (total - inside):.1f}",
            f"{pivots:.0f}",
            f"{per_slot[each.name]:.1f}",
        )
    console.print(table)
    console.print(
        f"the same plan once more: {1e3 * again[0]:.1f} ms, {again[2]} pivots\n"
        f"target: {TARGET_MS:g} ms per slot; reached with a plan every hour: "
        f"{per_slot['every hour'] <= TARGET_MS}, in every slot: "
        f"{per_slot['every slot'] <= TARGET_MS}"
    )


if __name__ == "__main__":
    main()
