"""Every household's look-ahead program: at least cost, inside all limits, one way at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pyomo.environ as pe
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyomo.contrib.solver.solvers.highs import Highs

from tricell.errors import MarketError
from tricell.markets import compiled_program
from tricell.markets.flexibility.battery import Battery
from tricell.markets.flexibility.battery_schedule import schedule_battery
from tricell.markets.flexibility.household_plan import HouseholdPlanner, HouseholdTanks
from tricell.markets.flexibility.tanks import Plan, PlanSteps, TankOutlook

Floats = NDArray[np.float64]

STEPS = PlanSteps.of(0.5, horizon_h=6.0, fine_h=1.0)
HOURS = PlanSteps(np.ones(24, np.int64), 1.0)

OWNER = np.array([4, 1, 1, 2, 4, 0, 1], np.int64)
CHARGE_KW = np.array([5.0, 4.0, 11.0, 3.0, 11.0, 2.0, 3.0])
DISCHARGE_KW = np.array([5.0, 3.0, 11.0, 0.0, 0.0, 2.0, 0.0])
N_AGENT = 6
"""Agent 1 has a battery, a vehicle that gives back, and a heat pump; 3 and 5 have nothing."""


@dataclass(frozen=True)
class Case:
    """What a planner is given."""

    outlook: TankOutlook
    load_kw: Floats
    generation_kw: Floats
    import_price: Floats
    export_price: Floats

    def plan(self, planner: HouseholdPlanner, **options: Any) -> Plan:
        series = (self.load_kw, self.generation_kw, self.import_price, self.export_price)
        return planner.plan(self.outlook, *series, **options)


def a_planner(steps: PlanSteps = STEPS, households_at_once: int = 20) -> HouseholdPlanner:
    tanks = HouseholdTanks(OWNER, CHARGE_KW, DISCHARGE_KW)
    return HouseholdPlanner(tanks, steps, N_AGENT, households_at_once)


@cache
def warm_planner() -> HouseholdPlanner:
    return a_planner()


def a_case(seed: int, steps: PlanSteps = STEPS, *, lowest_price: float = 0.05) -> Case:
    """Batteries, vehicles that come and go, heat pumps whose performance changes."""
    random, size = np.random.default_rng(seed), (len(steps), len(OWNER))
    hours = steps.hours[:, None]
    present = np.where(random.random(size) < 0.8, 1.0, random.choice([0.0, 0.5], size))
    highest = random.uniform(4.0, 15.0, size[1]) * np.ones(size)
    lowest = np.where(random.random(size) < 0.1, 0.6 * highest, 0.0)
    outlook = TankOutlook(
        start_kwh=random.uniform(-1.0, 1.0, size[1]) * highest[0],
        kept=random.uniform(0.97, 1.0, size),
        into_kwh_per_kw=random.uniform(0.8, 3.5, size) * hours,
        out_kwh_per_kw=random.uniform(1.02, 1.3, size) * hours,
        inflow_kwh=random.uniform(-3.0, 1.0, size) * (random.random(size) < 0.3),
        lowest_kwh=lowest,
        highest_kwh=highest,
        charge_kw=CHARGE_KW * present,
        discharge_kw=DISCHARGE_KW * present,
        shortfall_eur_per_kwh=random.uniform(0.5, 2.0, size[1]),
        worth_at_end_eur_per_kwh=random.uniform(0.0, 0.2, size[1]),
        wear_eur_per_kwh=random.uniform(0.0, 0.03, size[1]),
    )
    buying = random.uniform(lowest_price, 0.4, (size[0], N_AGENT))
    selling = buying - random.uniform(0.0, 0.2, buying.shape)
    load = random.uniform(0.0, 3.0, buying.shape)
    sun = random.uniform(0.0, 6.0, buying.shape) * (random.random(N_AGENT) < 0.7)
    return Case(outlook, load, sun, buying, selling)


def cost_of_the_model_written_anew(case: Case, steps: PlanSteps) -> float:
    """Solve the equations of the module's first page, with numbers, by Pyomo's own interface."""
    look, hours = case.outlook, steps.hours.tolist()
    n_step, n_tank = look.kept.shape
    homes = sorted(set(OWNER.tolist()))
    m = pe.ConcreteModel()
    time, tanks = range(n_step), range(n_tank)
    m.i = pe.Var(time, homes, bounds=(0.0, None))
    m.e = pe.Var(time, homes, bounds=(0.0, None))
    m.g = pe.Var(time, homes, bounds=lambda _, t, a: (0.0, case.generation_kw[t, a]))
    m.c = pe.Var(time, tanks, bounds=lambda _, t, k: (0.0, look.charge_kw[t, k]))
    m.d = pe.Var(time, tanks, bounds=lambda _, t, k: (0.0, look.discharge_kw[t, k]))
    m.s = pe.Var(
        time, tanks, bounds=lambda _, t, k: (look.lowest_kwh[t, k], look.highest_kwh[t, k])
    )
    m.u = pe.Var(time, tanks, bounds=(0.0, None))
    m.o = pe.Var(time, tanks, bounds=(0.0, None))
    m.rows = pe.ConstraintList()
    cost = 0.0
    for t in time:
        for a in homes:
            used = sum(m.c[t, k] - m.d[t, k] for k in tanks if OWNER[k] == a)
            net = float(case.load_kw[t, a] - case.generation_kw[t, a])
            m.rows.add(m.i[t, a] - m.e[t, a] == net + m.g[t, a] + used)
            buying, selling = float(case.import_price[t, a]), float(case.export_price[t, a])
            cost += hours[t] * (buying * m.i[t, a] - selling * m.e[t, a])
        for k in tanks:
            before = m.s[t - 1, k] if t else float(look.start_kwh[k])
            moved = float(look.into_kwh_per_kw[t, k]) * m.c[t, k]
            moved -= float(look.out_kwh_per_kw[t, k]) * m.d[t, k]
            others = float(look.inflow_kwh[t, k]) + m.u[t, k] - m.o[t, k]
            m.rows.add(m.s[t, k] == float(look.kept[t, k]) * before + moved + others)
            if DISCHARGE_KW[k]:
                share = max(
                    look.charge_kw[t, k] / CHARGE_KW[k], look.discharge_kw[t, k] / DISCHARGE_KW[k]
                )
                used = m.c[t, k] / float(CHARGE_KW[k]) + m.d[t, k] / float(DISCHARGE_KW[k])
                m.rows.add(used <= float(share))
            cost += hours[t] * float(look.wear_eur_per_kwh[k]) * m.d[t, k]
            cost += float(look.shortfall_eur_per_kwh[k]) * (m.u[t, k] + m.o[t, k])
    cost -= sum(float(look.worth_at_end_eur_per_kwh[k]) * m.s[n_step - 1, k] for k in tanks)
    m.cost = pe.Objective(expr=cost)
    return float(Highs().solve(m).incumbent_objective)


def assert_inside_all_limits(outlook: TankOutlook, plan: Plan, *, may_miss: bool) -> None:
    """One direction, inside power and energy; energy that appears from nowhere is 1e-9 at most."""
    assert (plan.charge_kw >= 0.0).all()
    assert (plan.discharge_kw >= 0.0).all()
    assert (plan.charge_kw <= outlook.charge_kw).all()
    assert (plan.discharge_kw <= outlook.discharge_kw).all()
    assert not ((plan.charge_kw > 0.0) & (plan.discharge_kw > 0.0)).any()
    assert (plan.stored_kwh >= outlook.lowest_kwh).all()
    assert (plan.stored_kwh <= outlook.highest_kwh).all()
    before = np.vstack([outlook.start_kwh, plan.stored_kwh[:-1]])
    moved = outlook.into_kwh_per_kw * plan.charge_kw - outlook.out_kwh_per_kw * plan.discharge_kw
    gap = plan.stored_kwh - outlook.kept * before - moved - outlook.inflow_kwh
    if may_miss:
        # Only a tank that would leave its limits gets or gives energy elsewhere.
        room = np.minimum(
            plan.stored_kwh - outlook.lowest_kwh, outlook.highest_kwh - plan.stored_kwh
        )
        gap = gap[:-1][room[:-1] > 1e-9]
    np.testing.assert_allclose(gap, 0.0, rtol=0, atol=1e-9)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.05, -0.2]))
def test_plans_cost_what_pyomo_finds_for_the_same_equations(seed: int, lowest: float) -> None:
    case = a_case(seed, lowest_price=lowest)
    plan = case.plan(warm_planner())
    expected = cost_of_the_model_written_anew(case, STEPS)
    assert warm_planner().lowest_cost_eur == pytest.approx(expected, rel=1e-7, abs=1e-6)
    if lowest > 0.0 and (case.export_price > 0.0).all():
        assert plan.cost_eur == pytest.approx(expected, rel=1e-7, abs=1e-6)
    assert plan.cost_eur >= expected - 1e-6


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.05, -0.5]))
def test_plans_are_inside_all_limits_whatever_the_prices(seed: int, lowest: float) -> None:
    case = a_case(seed, lowest_price=lowest)
    plan = case.plan(warm_planner())
    assert_inside_all_limits(case.outlook, plan, may_miss=True)


# --- one battery against the exact schedule and against self-consumption ---


def a_battery(**changes: Any) -> Battery:
    usual = Battery(
        capacity_kwh=8.0,
        power_kw=3.0,
        stored_kwh=2.0,
        charge_efficiency=0.95,
        discharge_efficiency=0.9,
        wear_eur_per_kwh=0.01,
    )
    return replace(usual, **changes)


def outlook_of(battery: Battery, steps: PlanSteps, worth: float = 0.0) -> TankOutlook:
    ones, hours = np.ones((len(steps), 1)), steps.hours[:, None]
    return TankOutlook(
        start_kwh=np.array([battery.stored_kwh]),
        kept=ones,
        into_kwh_per_kw=battery.charge_efficiency * hours,
        out_kwh_per_kw=hours / battery.discharge_efficiency,
        inflow_kwh=0.0 * ones,
        lowest_kwh=0.0 * ones,
        highest_kwh=battery.capacity_kwh * ones,
        charge_kw=battery.power_kw * ones,
        discharge_kw=battery.power_kw * ones,
        shortfall_eur_per_kwh=np.array([1.0]),
        worth_at_end_eur_per_kwh=np.array([worth]),
        wear_eur_per_kwh=np.array([battery.wear_eur_per_kwh]),
    )


@cache
def planner_of_one_battery() -> HouseholdPlanner:
    power = np.array([a_battery().power_kw])
    return HouseholdPlanner(HouseholdTanks(np.array([0]), power, power), HOURS, 1)


def a_day(seed: int, prices: tuple[float, float], spread: tuple[float, float]) -> Case:
    """A home with a battery; selling earns less than buying costs by a share of `spread`."""
    random = np.random.default_rng(seed)
    buying = random.uniform(*prices, (24, 1))
    return Case(
        outlook_of(a_battery(), HOURS),
        random.uniform(0.2, 2.0, (24, 1)),
        random.uniform(0.0, 4.0, (24, 1)) * (np.abs(np.arange(24) - 12) < 6)[:, None],
        buying,
        buying - random.uniform(*spread, (24, 1)),
    )


def exact_cost(case: Case, battery: Battery) -> float:
    """Of the schedule with binary variables, which knows no curtailment."""
    net = (case.load_kw - case.generation_kw)[:, 0]
    prices = case.import_price[:, 0], case.export_price[:, 0]
    return schedule_battery(net, *prices, battery).cost_eur


@pytest.mark.parametrize("seed", range(3))
def test_a_battery_is_planned_as_its_exact_schedule_where_no_binary_binds(seed: int) -> None:
    case = a_day(seed, (0.2, 0.5), (0.0, 0.19))
    plan = case.plan(planner_of_one_battery())
    assert_inside_all_limits(case.outlook, plan, may_miss=False)
    assert plan.cost_eur == pytest.approx(exact_cost(case, a_battery()), abs=1e-6)


@pytest.mark.parametrize("prices", [(-0.5, 0.3), (-0.5, -0.1)])
@pytest.mark.parametrize("spread", [(0.0, 0.1), (-0.2, 0.0)], ids=["usual", "selling earns more"])
def test_the_exact_schedule_lies_between_the_bound_and_the_plan(
    prices: tuple[float, float], spread: tuple[float, float]
) -> None:
    case = a_day(5, prices, spread)
    case = replace(case, generation_kw=np.zeros((24, 1)))  # the exact one does not curtail
    planner = planner_of_one_battery()
    plan = case.plan(planner)
    exact = exact_cost(case, a_battery())
    assert_inside_all_limits(case.outlook, plan, may_miss=False)
    assert planner.lowest_cost_eur <= exact + 1e-6
    assert exact <= plan.cost_eur + 1e-6


def test_selling_for_more_than_buying_costs_is_not_endless_and_is_used_over_time() -> None:
    """Bought at 0.1 and sold at 0.4 hours later: 7.2 kWh out of 8 stored, and 2 there before."""
    battery, none = a_battery(wear_eur_per_kwh=0.0), np.zeros((24, 1))
    buying = np.where(np.arange(24) < 12, 0.1, 0.3)[:, None]
    selling = np.where(np.arange(24) < 12, 0.0, 0.4)[:, None]
    case = Case(outlook_of(battery, HOURS), none, none, buying, selling)
    plan = case.plan(planner_of_one_battery())
    assert plan.cost_eur == pytest.approx(0.1 * 6.0 / 0.95 - 0.4 * 8.0 * 0.9, abs=1e-9)
    assert plan.discharge_kw.sum() == pytest.approx(7.2)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.1, 0.25]))
def test_a_plan_never_costs_more_than_self_consumption(seed: int, worth: float) -> None:
    case, battery = a_day(seed, (0.1, 0.5), (0.0, 0.1)), a_battery()
    case = replace(case, outlook=outlook_of(battery, HOURS, worth))
    plan = case.plan(planner_of_one_battery())
    stored, cost = battery.stored_kwh, 0.0
    for t in range(24):
        net = float(case.load_kw[t, 0] - case.generation_kw[t, 0])
        charge = min(max(-net, 0.0), battery.power_kw, (battery.capacity_kwh - stored) / 0.95)
        discharge = min(max(net, 0.0), battery.power_kw, stored * 0.9)
        stored += 0.95 * charge - discharge / 0.9
        outside = net + charge - discharge
        price = case.import_price if outside > 0.0 else case.export_price
        cost += float(price[t, 0]) * outside + 0.01 * discharge
    assert plan.cost_eur <= cost - worth * stored + 1e-9


def test_curtailed_generation_is_not_paid_for_where_feeding_in_costs_money() -> None:
    full = a_battery(stored_kwh=8.0)
    outlook = outlook_of(full, HOURS, worth=0.2)
    day = np.ones((24, 1))
    case = Case(outlook, 1.0 * day, 4.0 * day, 0.3 * day, -0.1 * day)
    plan = case.plan(planner_of_one_battery())
    assert plan.cost_eur == pytest.approx(-0.2 * 8.0)
    np.testing.assert_array_equal(plan.charge_kw, 0.0)


def test_what_is_burnt_by_doing_both_at_negative_prices_is_netted() -> None:
    """A full battery would charge and discharge at once to be paid for the losses."""
    full, day = outlook_of(a_battery(stored_kwh=8.0), HOURS, worth=0.2), np.ones((24, 1))
    case = Case(full, 0.5 * day, 0.0 * day, -0.3 * day, -0.4 * day)
    planner = planner_of_one_battery()
    plan = case.plan(planner)
    assert_inside_all_limits(full, plan, may_miss=False)
    assert planner.lowest_cost_eur < plan.cost_eur - 0.1
    outside = case.load_kw + plan.charge_kw - plan.discharge_kw
    prices = np.where(outside > 0.0, case.import_price, case.export_price)
    expected = np.sum(prices * outside) + 0.01 * plan.discharge_kw.sum() - 0.2 * plan.stored_kwh[-1]
    assert plan.cost_eur == pytest.approx(float(expected[0]))


def test_the_value_is_what_another_kwh_at_the_end_of_a_step_saves() -> None:
    case, planner = a_day(3, (0.2, 0.5), (0.05, 0.15)), planner_of_one_battery()
    plan = case.plan(planner)
    for step in (0, 7, 15):
        costs = []
        for extra in (-1e-4, 1e-4):
            inflow = case.outlook.inflow_kwh.copy()
            inflow[step] += extra
            moved = replace(case, outlook=replace(case.outlook, inflow_kwh=inflow))
            costs.append(moved.plan(planner).cost_eur)
        lower, upper = (plan.cost_eur - costs[1]) / 1e-4, (costs[0] - plan.cost_eur) / 1e-4
        # Where the tank is at a limit, a kWh more saves less than a kWh less costs.
        assert lower - 1e-5 <= plan.value_eur_per_kwh[step, 0] <= upper + 1e-5


# --- vehicles and houses ---


def one_tank(charge_kw: float, discharge_kw: float = 0.0) -> HouseholdPlanner:
    tanks = HouseholdTanks(np.array([0]), np.array([charge_kw]), np.array([discharge_kw]))
    return HouseholdPlanner(tanks, HOURS, 1)


def alone(outlook: TankOutlook, price: Floats) -> Case:
    none = np.zeros((24, 1))
    return Case(outlook, none, none, price[:, None], price[:, None] - 0.05)


def a_vehicle(target_kwh: float) -> TankOutlook:
    """Plugged in until hour 7 with 10 kWh, leaves with a target, comes back at 18 with 12 less."""
    outlook = outlook_of(Battery(50.0, 11.0, 10.0, charge_efficiency=0.9), HOURS, worth=0.25)
    hours = np.arange(24)[:, None]
    home = ((hours < 7) | (hours >= 18)).astype(np.float64)
    return replace(
        outlook,
        charge_kw=11.0 * home,
        discharge_kw=0.0 * home,
        lowest_kwh=np.where(hours == 6, target_kwh, 0.0),
        inflow_kwh=np.where(hours == 17, -12.0, 0.0),
        shortfall_eur_per_kwh=np.array([2.0]),
    )


def test_a_vehicle_is_full_enough_when_it_leaves_and_charges_when_that_is_cheapest() -> None:
    price = np.full(24, 0.40)
    price[2:4] = 0.20
    plan = alone(outlook := a_vehicle(32.0), price).plan(one_tank(11.0))
    assert_inside_all_limits(outlook, plan, may_miss=False)
    assert plan.stored_kwh[6, 0] == pytest.approx(32.0)
    np.testing.assert_array_equal(plan.charge_kw[7:18], 0.0)
    # 22 kWh stored, of which 2 cheap hours give 19.8 and the rest costs 0.4.
    expected = (2 * 11.0 * 0.2 + 2.2 / 0.9 * 0.4) - 0.25 * 20.0
    assert plan.cost_eur == pytest.approx(expected)
    # One kWh less to store before it leaves, but one more at the end: 0.4 / 0.9 in all.
    assert plan.value_eur_per_kwh[5, 0] == pytest.approx(0.4 / 0.9)


def test_a_vehicle_that_cannot_be_full_enough_pays_for_what_it_lacks() -> None:
    """7 hours of 4.4 kW store 27.72 kWh on top of 10; 45 are asked for."""
    outlook = replace(a_vehicle(45.0), charge_kw=a_vehicle(45.0).charge_kw * 0.4)
    plan = alone(outlook, np.full(24, 0.30)).plan(one_tank(11.0))
    stored = 10.0 + 7 * 4.4 * 0.9
    np.testing.assert_allclose(plan.charge_kw[:7], 4.4)
    np.testing.assert_allclose(plan.stored_kwh[5, 0], 10.0 + 6 * 4.4 * 0.9)
    assert plan.stored_kwh[6, 0] == 45.0
    expected = 7 * 4.4 * 0.3 + 2.0 * (45.0 - stored) - 0.25 * (45.0 - 12.0)
    assert plan.cost_eur == pytest.approx(expected)
    assert plan.value_eur_per_kwh[3, 0] == pytest.approx(2.0)


def test_a_house_is_heated_while_the_heat_pump_works_best() -> None:
    """Heat for the night is made in the warm afternoon, as far as the house can keep it."""
    hours = np.arange(24)[:, None]
    cop = 3.0 + 1.5 * np.cos((hours - 14) / 12 * np.pi)
    outlook = replace(
        outlook_of(Battery(8.0, 3.0, 4.0), HOURS),
        kept=np.full((24, 1), 0.98),
        into_kwh_per_kw=cop,
        discharge_kw=np.zeros((24, 1)),
        inflow_kwh=np.full((24, 1), -2.5),
        lowest_kwh=np.where(hours == 23, 4.0, 0.0),
    )
    planner, price = one_tank(3.0), np.full(24, 0.3)
    plan = alone(outlook, price).plan(planner)
    assert_inside_all_limits(outlook, plan, may_miss=False)
    spent = 0.3 * plan.charge_kw.sum()
    assert plan.cost_eur == pytest.approx(spent)
    assert plan.stored_kwh[17, 0] == pytest.approx(8.0)
    held_at_4_kwh = 0.3 * float(np.sum((2.5 + 0.02 * 4.0) / cop))
    assert plan.cost_eur < held_at_4_kwh
    alone(replace(outlook, into_kwh_per_kw=0.5 * cop + 1.0), price).plan(planner)
    again = alone(outlook, price).plan(planner)
    assert again.cost_eur == pytest.approx(plan.cost_eur, abs=1e-9)


# --- running on ---


def test_a_planner_goes_on_from_its_memory_bit_by_bit_also_when_the_horizon_moves() -> None:
    first, second = a_planner(), a_planner()
    for seed in range(3):
        a_case(seed).plan(first, moved_slots=2)
    first.recall(first.memory())
    second.recall(first.memory())
    for seed in range(3, 7):
        one = a_case(seed).plan(first, moved_slots=2)
        other = a_case(seed).plan(second, moved_slots=2)
        for name in ("charge_kw", "discharge_kw", "stored_kwh", "value_eur_per_kwh"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert one.cost_eur == other.cost_eur
    np.testing.assert_array_equal(first.memory(), second.memory())


def test_a_planner_that_was_never_asked_has_a_memory_too() -> None:
    planner = a_planner()
    planner.recall(planner.memory())
    expected = a_case(1).plan(a_planner()).cost_eur
    assert a_case(1).plan(planner).cost_eur == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("households_at_once", [1, 2])
def test_neither_batches_nor_a_moved_start_change_what_a_plan_costs(
    households_at_once: int,
) -> None:
    planner = a_planner(households_at_once=households_at_once)
    for seed in range(4):
        case = a_case(seed)
        cost = case.plan(planner, moved_slots=2).cost_eur
        assert cost == pytest.approx(case.plan(warm_planner()).cost_eur, rel=1e-7, abs=1e-7)


def test_no_model_and_no_solver_is_made_by_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    planner = a_planner()

    def refuse(*_: Any) -> None:
        raise AssertionError("made within a plan")

    monkeypatch.setattr(compiled_program, "_new_highs", refuse)
    monkeypatch.setattr(pe, "ConcreteModel", refuse)
    for seed in range(3):
        a_case(seed).plan(planner, moved_slots=1)


def test_one_price_for_all_is_the_same_as_the_price_of_each() -> None:
    case = a_case(2)
    shared = replace(
        case, import_price=case.import_price[:, :1], export_price=case.export_price[:, :1]
    )
    everyone = replace(
        case,
        import_price=np.repeat(shared.import_price, N_AGENT, axis=1),
        export_price=np.repeat(shared.export_price, N_AGENT, axis=1),
    )
    expected = everyone.plan(warm_planner()).cost_eur
    assert shared.plan(warm_planner()).cost_eur == pytest.approx(expected, rel=1e-9)


def test_without_tanks_there_is_nothing_to_plan() -> None:
    none = np.empty(0)
    planner = HouseholdPlanner(HouseholdTanks(np.empty(0, np.int64), none, none), HOURS, 2)
    wide, narrow = np.ones((24, 2)), np.empty((24, 0))
    outlook = TankOutlook(none, *(narrow,) * 8, none, none, none)
    plan = planner.plan(outlook, wide, wide, wide, wide)
    assert plan.charge_kw.shape == (24, 0)
    assert plan.cost_eur == 0.0
    planner.recall(planner.memory())


# --- what is refused ---


def test_impossible_tanks_are_refused_by_name_and_owner() -> None:
    case = a_case(1)
    outlook = case.outlook
    below = outlook.highest_kwh.copy()
    below[2, 1] = -9.0
    faults = {
        "lowest_kwh is above highest_kwh": {"highest_kwh": below},
        "charge_kw is below 0": {"charge_kw": -outlook.charge_kw},
        "into_kwh_per_kw is not above 0": {"into_kwh_per_kw": 0.0 * outlook.into_kwh_per_kw},
        "discharge_kw is above 0 though its rating is 0": {
            "discharge_kw": outlook.discharge_kw + 1.0
        },
        "shortfall_eur_per_kwh is below 0": {
            "shortfall_eur_per_kwh": -outlook.shortfall_eur_per_kwh
        },
    }
    for fault, changes in faults.items():
        wrong = replace(case, outlook=replace(outlook, **changes))
        with pytest.raises(MarketError, match=rf"tank \d of agent \d: {fault}"):
            wrong.plan(warm_planner())
    with pytest.raises(MarketError, match=r"tank 1 of agent 1: .* in step 2"):
        replace(case, outlook=replace(outlook, highest_kwh=below)).plan(warm_planner())


def test_series_of_another_shape_and_missing_numbers_are_refused_by_name() -> None:
    case = a_case(1)
    with pytest.raises(MarketError, match="load_kw has shape"):
        replace(case, load_kw=case.load_kw[:, :3]).plan(warm_planner())
    with pytest.raises(MarketError, match="export_price has shape"):
        replace(case, export_price=case.export_price[:3]).plan(warm_planner())
    with pytest.raises(MarketError, match="the outlook of tanks has shape"):
        case.plan(a_planner(HOURS))
    gaps = np.full_like(case.outlook.inflow_kwh, np.nan)
    with_gaps = replace(case, outlook=replace(case.outlook, inflow_kwh=gaps))
    with pytest.raises(MarketError, match="inflow"):
        with_gaps.plan(warm_planner())


def test_tanks_without_an_owner_or_with_a_negative_rating_are_refused() -> None:
    one, minus = np.ones(1), -np.ones(1)
    with pytest.raises(MarketError, match="owner is agent 3; allowed are agents 0 to 2"):
        HouseholdPlanner(HouseholdTanks(np.array([3]), one, one), HOURS, 3)
    with pytest.raises(MarketError, match="tank 0: discharge_kw is -1"):
        HouseholdTanks(np.array([0]), one, minus)
    with pytest.raises(MarketError, match="there are 2, 1 and 1"):
        HouseholdTanks(np.array([0, 1]), one, one)
