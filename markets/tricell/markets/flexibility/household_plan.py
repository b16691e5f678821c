r"""Every household plans all its tanks at once, at least cost over the hours to come.

Behind a meter, with import :math:`i`, export :math:`e`, curtailed own generation :math:`g^-`,
charging and discharging power :math:`c_k`, :math:`d_k` of the tanks :math:`k` and the notation of
`tricell.markets.flexibility.tanks`, a household plans

.. math::
   \min \; & \sum_t h_t \Big( p^{im}_t i_t - p^{ex}_t e_t + \sum_k w_k d_{kt} \Big)
             + \sum_{kt} q_k (u_{kt} + o_{kt}) - \sum_k v_k s_{kH} \\
   & i_t - e_t = \text{load}_t - \text{generation}_t + g^-_t + \sum_k (c_{kt} - d_{kt}) \\
   & s_{k,t+1} = k_{kt} s_{kt} + a_{kt} c_{kt} - b_{kt} d_{kt} + z_{kt} + u_{kt} - o_{kt} \\
   & c_{kt} / \bar c_k + d_{kt} / \bar d_k \le r_{kt}

where :math:`r` is the share of the rated power that is available. The last row is the convex hull
of "charges or discharges, never both". It is a linear program: at negative prices it may still
burn energy by doing both, and then the plan nets the two into the one direction that moves the
stored energy as much. Such a plan keeps all limits and stored energies, but draws less than the
program believed. Where selling earns more than buying costs, a meter could trade with itself; the
convex hull of what it really pays is a straight line, so that both prices become one between them.

So the plan is exact where prices are not negative and selling earns no more than buying costs,
and approximate otherwise: no plan costs less than `HouseholdPlanner.lowest_cost_eur`, and
`Plan.cost_eur` is what the plan really costs. `tricell.markets.flexibility.battery_schedule` is
exact in both cases, for one battery, with binary variables.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pe
import scipy.sparse as sp
from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.markets.compiled_program import CompiledProgram
from tricell.markets.flexibility.tanks import Plan, PlanSteps, TankOutlook

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

MOVED_SHARE = 0.5
NO_STATE = -1
"""In the memory of a planner, what stands for a program that has not been solved yet."""
HOUSEHOLDS_AT_ONCE = 30
"""Households in one linear program. More make a pivot dearer, fewer a call; see the benchmark."""


@dataclass(frozen=True)
class HouseholdTanks:
    """Which tanks there are, and whose; arrays of shape (n,).

    Attributes
    ----------
    owner : agent behind whose meter each tank is.
    charge_kw, discharge_kw : rated power each way; 0 where a tank can never be discharged.

    Raises
    ------
    MarketError
        If the columns differ in length, or a power is below 0.
    """

    owner: Indices
    charge_kw: Floats
    discharge_kw: Floats

    def __post_init__(self) -> None:
        if not len(self.owner) == len(self.charge_kw) == len(self.discharge_kw):
            raise MarketError(
                "tanks need one owner, one charge_kw and one discharge_kw each; there are "
                f"{len(self.owner)}, {len(self.charge_kw)} and {len(self.discharge_kw)}"
            )
        for name in ("charge_kw", "discharge_kw"):
            wrong = np.flatnonzero(~(getattr(self, name) >= 0.0))
            if len(wrong):
                raise MarketError(
                    f"tank {wrong[0]}: {name} is {getattr(self, name)[wrong[0]]}; "
                    "allowed is a number of at least 0"
                )


def build_household_model(hours: Floats, can_discharge: tuple[bool, ...]) -> pe.ConcreteModel:
    """Build the plan of one household; every number in it but the hours is a parameter.

    Parameters
    ----------
    hours : length of every step, shape (H,), h.
    can_discharge : whether each of the household's tanks can be discharged.
    """
    model = pe.ConcreteModel(name="household plan")
    steps, tanks = range(len(hours)), range(len(can_discharge))
    last, length = steps[-1], hours.tolist()
    both_ways = [k for k in tanks if can_discharge[k]]

    for name in ("import_price", "export_price", "net_load", "generation"):
        model.add_component(name, pe.Param(steps, mutable=True, initialize=0.0))
    for name in ("kept", "into", "inflow", "lowest", "highest", "most_in"):
        model.add_component(name, pe.Param(steps, tanks, mutable=True, initialize=0.0))
    for name in ("out", "most_out", "available"):
        model.add_component(name, pe.Param(steps, both_ways, mutable=True, initialize=0.0))
    for name in ("per_rated_in", "per_rated_out", "wear"):
        model.add_component(name, pe.Param(both_ways, mutable=True, initialize=0.0))
    for name in ("shortfall", "worth"):
        model.add_component(name, pe.Param(tanks, mutable=True, initialize=0.0))

    model.imported = pe.Var(steps, bounds=(0.0, None))
    model.exported = pe.Var(steps, bounds=(0.0, None))
    model.curtailed = pe.Var(steps, bounds=lambda m, t: (0.0, m.generation[t]))
    model.charge = pe.Var(steps, tanks, bounds=lambda m, t, k: (0.0, m.most_in[t, k]))
    model.discharge = pe.Var(steps, both_ways, bounds=lambda m, t, k: (0.0, m.most_out[t, k]))
    model.stored = pe.Var(steps, tanks, bounds=lambda m, t, k: (m.lowest[t, k], m.highest[t, k]))
    model.missing = pe.Var(steps, tanks, bounds=(0.0, None))
    model.too_much = pe.Var(steps, tanks, bounds=(0.0, None))

    def meter(m: pe.ConcreteModel, t: int) -> Any:
        taken = sum(m.charge[t, k] for k in tanks) - sum(m.discharge[t, k] for k in both_ways)
        return m.imported[t] - m.exported[t] == m.net_load[t] + m.curtailed[t] + taken

    def tank(m: pe.ConcreteModel, t: int, k: int) -> Any:
        # What is left of the energy at the start is part of the first inflow.
        before = m.kept[t, k] * m.stored[t - 1, k] if t else 0.0
        given = m.out[t, k] * m.discharge[t, k] if can_discharge[k] else 0.0
        moved = m.into[t, k] * m.charge[t, k] - given + m.missing[t, k] - m.too_much[t, k]
        return m.stored[t, k] - before - moved == m.inflow[t, k]

    def one_direction(m: pe.ConcreteModel, t: int, k: int) -> Any:
        used = m.per_rated_in[k] * m.charge[t, k] + m.per_rated_out[k] * m.discharge[t, k]
        return used <= m.available[t, k]

    def cost(m: pe.ConcreteModel) -> Any:
        at_meter = sum(
            length[t] * (m.import_price[t] * m.imported[t] - m.export_price[t] * m.exported[t])
            for t in steps
        )
        wear = sum(length[t] * m.wear[k] * m.discharge[t, k] for t in steps for k in both_ways)
        missed = sum(
            m.shortfall[k] * (m.missing[t, k] + m.too_much[t, k]) for t in steps for k in tanks
        )
        return at_meter + wear + missed - sum(m.worth[k] * m.stored[last, k] for k in tanks)

    model.meter = pe.Constraint(steps, rule=meter)
    model.tank = pe.Constraint(steps, tanks, rule=tank)
    model.one_direction = pe.Constraint(steps, both_ways, rule=one_direction)
    model.cost = pe.Objective(rule=cost)
    return model


@dataclass
class _Answer:
    """What the linear programs say.

    Attributes
    ----------
    charge_kw, discharge_kw, added_kwh, value_eur_per_kwh : shape (H, n).
    cost_eur : of all households.
    """

    charge_kw: Floats
    discharge_kw: Floats
    added_kwh: Floats
    value_eur_per_kwh: Floats
    cost_eur: float = 0.0

    @classmethod
    def empty(cls, steps: int, tanks: int) -> _Answer:
        def zeros() -> Floats:
            return np.zeros((steps, tanks))

        return cls(zeros(), zeros(), zeros(), zeros())


class _Batch:
    """Households with tanks of the same kinds, in one linear program.

    Attributes
    ----------
    home : rows of the households, shape (m, 1).
    tank : rows of their tanks, shape (m, K), those that can be discharged first.
    both_ways : the rows of `tank` that can be discharged, shape (m, K').
    """

    def __init__(
        self, home: Indices, tank: Indices, can_discharge: tuple[bool, ...], hours: Floats
    ) -> None:
        self.home, self.tank = home[:, None], tank
        self.both_ways = tank[:, : sum(can_discharge)]
        model = build_household_model(hours, can_discharge)
        self.program = program = CompiledProgram(model, copies=len(home))
        columns, rows = program.columns, program.rows
        self._charge, self._discharge = columns(model.charge), columns(model.discharge)
        self._missing, self._too_much = columns(model.missing), columns(model.too_much)
        self._balance = rows(model.tank)

        def by_step(numbers: Iterable[Indices]) -> list[Indices]:
            return [each.reshape(len(home), len(hours), -1) for each in numbers if each.size]

        self._columns = by_step(columns(each) for each in model.component_objects(pe.Var))
        self._rows = by_step(rows(each) for each in model.component_objects(pe.Constraint))

    def put(self, values: dict[str, Floats], places: Indices) -> None:
        """Set parameters from arrays of shape (H, n) or (n,); `places` has a row per household."""
        for name, value in values.items():
            chosen = value[..., places]
            if chosen.ndim > places.ndim:
                chosen = chosen.transpose(1, 0, 2)
            self.program.parameter(name)[:] = chosen.reshape(len(places), -1)

    def move(self, source: Indices) -> None:
        """Begin with every step in the state of another one, `source` of shape (H,)."""

        def moved(components: list[Indices]) -> Indices:
            whose = np.empty(sum(numbers.size for numbers in components), np.int64)
            for numbers in components:
                whose[numbers] = numbers[:, source]
            return whose

        self.program.start_like(moved(self._columns), moved(self._rows))

    def solve(self, answer: _Answer) -> None:
        """Solve for these households and put what they do in its place."""
        solution = self.program.solve()
        values = solution.values

        def by_step(numbers: Floats, tank: Indices) -> Floats:
            return numbers.reshape(len(tank), -1, tank.shape[1]).transpose(1, 0, 2)

        tank, both_ways = self.tank, self.both_ways
        answer.charge_kw[:, tank] = by_step(values[self._charge], tank)
        if both_ways.size:
            answer.discharge_kw[:, both_ways] = by_step(values[self._discharge], both_ways)
        added = values[self._missing] - values[self._too_much]
        answer.added_kwh[:, tank] = by_step(added, tank)
        answer.value_eur_per_kwh[:, tank] = by_step(-solution.row_duals[self._balance], tank)
        answer.cost_eur += solution.objective


@dataclass(frozen=True)
class _Meters:
    """What meters measure without tanks, and pay; arrays of shape (H, homes).

    Attributes
    ----------
    net_kw : load less generation.
    generation_kw : own generation, which may be curtailed.
    import_price, export_price : EUR/kWh.
    most_kw, least_kw : largest and smallest net power with tanks.
    """

    net_kw: Floats
    generation_kw: Floats
    import_price: Floats
    export_price: Floats
    most_kw: Floats
    least_kw: Floats

    def cost_eur(self, net_kw: Floats, hours: Floats) -> float:
        """Return what meters pay for their net power if they curtail what does not pay, EUR."""
        curtailed = (0.0, np.clip(-net_kw, 0.0, self.generation_kw), self.generation_kw)
        paid = np.min([self._paid(net_kw + each) for each in curtailed], axis=0)
        return float(np.sum(hours @ paid))

    def _paid(self, net_kw: Floats) -> Floats:
        return np.where(net_kw > 0.0, self.import_price, self.export_price) * net_kw

    def convex_prices(self) -> tuple[Floats, Floats]:
        """Return prices of a meter that gains nothing by trading with itself."""
        most, least = self._range()
        span = np.where(most > least, most - least, 1.0)
        between = (self.import_price * most - self.export_price * least) / span
        between = np.where(most > least, between, self.import_price)
        is_convex = self.export_price <= self.import_price
        return (
            np.where(is_convex, self.import_price, between),
            np.where(is_convex, self.export_price, between),
        )

    def constant_eur(self, hours: Floats) -> float:
        """Return what the convex prices leave out: where their straight line begins, EUR."""
        most, _ = self._range()
        return float(np.sum(hours @ ((self.import_price - self.convex_prices()[0]) * most)))

    def _range(self) -> tuple[Floats, Floats]:
        """Net power between which selling may earn more than buying costs; 0 is among it."""
        most = self.most_kw + np.where(self.import_price < 0.0, self.generation_kw, 0.0)
        return np.maximum(most, 0.0), np.minimum(self.least_kw, 0.0)


class HouseholdPlanner:
    """Plans the tanks of all households; every program is compiled when it is made, none later.

    Parameters
    ----------
    tanks : which there are, and whose.
    steps : time grid of all plans.
    n_agent : how many agents the series of powers and prices have.
    households_at_once : households in one linear program, at most.

    Attributes
    ----------
    lowest_cost_eur : no plan could have cost less than this in the last call of `plan`, EUR.

    Raises
    ------
    MarketError
        If an owner is not an agent.
    """

    def __init__(
        self,
        tanks: HouseholdTanks,
        steps: PlanSteps,
        n_agent: int,
        households_at_once: int = HOUSEHOLDS_AT_ONCE,
    ) -> None:
        wrong = np.flatnonzero((tanks.owner < 0) | (tanks.owner >= n_agent))
        if len(wrong):
            raise MarketError(
                f"tank {wrong[0]}: owner is agent {tanks.owner[wrong[0]]}; "
                f"allowed are agents 0 to {n_agent - 1}"
            )
        self.tanks, self.steps, self.n_agent = tanks, steps, n_agent
        self.lowest_cost_eur = 0.0
        self._agent, home = np.unique(tanks.owner, return_inverse=True)
        shape = (len(tanks.owner), len(self._agent))
        ones = np.ones(len(home))
        self._home_of_tank = sp.csr_matrix((ones, (np.arange(len(home)), home)), shape=shape)
        self._batches = [
            _Batch(homes, rows, can_discharge, steps.hours)
            for homes, rows, can_discharge in _alike(tanks, home, households_at_once)
        ]
        # Only the ratio of a power to its rating counts, so 1 does for what never happens.
        self._rated_in = np.where(tanks.charge_kw > 0.0, tanks.charge_kw, 1.0)
        self._rated_out = np.where(tanks.discharge_kw > 0.0, tanks.discharge_kw, 1.0)

    def plan(
        self,
        outlook: TankOutlook,
        load_kw: Floats,
        generation_kw: Floats,
        import_price: Floats,
        export_price: Floats,
        *,
        moved_slots: int = 0,
    ) -> Plan:
        """Plan all tanks at least cost for their owners.

        Parameters
        ----------
        outlook : what the tanks can do, in the order of `tanks`.
        load_kw, generation_kw : mean power of the agents without tanks, shape (H, n_agent).
        import_price, export_price : shape (H, n_agent) or (H, 1), EUR/kWh, of any sign.
        moved_slots : slots since the last plan; the programs begin from that plan, moved on by
            as much, which takes less time. The plan is as good whatever it is.

        Raises
        ------
        MarketError
            If shapes differ, a number is missing, or a tank cannot be as it says.
        """
        self._check(outlook)
        meter = self._meter(outlook, load_kw, generation_kw, import_price, export_price)
        self._put(outlook, meter)
        source = _moved_steps(self.steps, moved_slots)
        # A basis that is moved has to be factored once more: that pays where most steps move.
        is_moved = np.mean(source != np.arange(len(source))) > MOVED_SHARE
        answer = _Answer.empty(len(self.steps), len(outlook))
        for batch in self._batches:
            if is_moved:
                batch.move(source)
            batch.solve(answer)
        charge, discharge, stored, added = _carried_out(outlook, answer)
        self.lowest_cost_eur = answer.cost_eur + meter.constant_eur(self.steps.hours)
        net_kw = meter.net_kw + (charge - discharge) @ self._home_of_tank
        cost = meter.cost_eur(net_kw, self.steps.hours)
        cost += float(np.sum(self.steps.hours @ (discharge * outlook.wear_eur_per_kwh)))
        cost += float(np.sum(np.abs(added) @ outlook.shortfall_eur_per_kwh))
        cost -= float(stored[-1] @ outlook.worth_at_end_eur_per_kwh)
        return Plan(charge, discharge, stored, answer.value_eur_per_kwh, cost)

    def memory(self) -> NDArray[np.int8]:
        """Return what a later plan depends on: the state of all programs, one after the other."""
        parts = []
        for batch in self._batches:
            part = np.full(sum(batch.program.form.matrix.shape), NO_STATE, np.int8)
            memory = batch.program.memory()
            part[: len(memory)] = memory
            parts.append(part)
        return np.concatenate([np.empty(0, np.int8), *parts])

    def recall(self, memory: NDArray[np.int8]) -> None:
        """Begin the next plan from `memory` and from nothing else; see `CompiledProgram.recall`."""
        sizes = [sum(batch.program.form.matrix.shape) for batch in self._batches]
        parts = np.split(memory, np.cumsum(sizes)[:-1]) if sizes else []
        for batch, part in zip(self._batches, parts, strict=True):
            batch.program.recall(part[part != NO_STATE])

    def _check(self, outlook: TankOutlook) -> None:
        """Refuse an outlook that no plan can follow."""
        shape = (len(self.steps), len(self.tanks.owner))
        if outlook.kept.shape != shape:
            raise MarketError(
                f"the outlook of tanks has shape {outlook.kept.shape}; allowed is {shape}, "
                "the steps and tanks of the planner"
            )
        rules = (
            ("lowest_kwh is above highest_kwh", outlook.lowest_kwh <= outlook.highest_kwh),
            ("charge_kw is below 0", outlook.charge_kw >= 0.0),
            ("discharge_kw is below 0", outlook.discharge_kw >= 0.0),
            ("into_kwh_per_kw is not above 0", outlook.into_kwh_per_kw > 0.0),
            ("out_kwh_per_kw is not above 0", outlook.out_kwh_per_kw > 0.0),
            ("shortfall_eur_per_kwh is below 0", outlook.shortfall_eur_per_kwh[None] >= 0.0),
            (
                "discharge_kw is above 0 though its rating is 0",
                (outlook.discharge_kw == 0.0) | (self.tanks.discharge_kw > 0.0),
            ),
        )
        for fault, is_allowed in rules:
            if not is_allowed.all():
                step, tank = np.argwhere(~is_allowed)[0]
                raise MarketError(
                    f"tank {tank} of agent {self.tanks.owner[tank]}: {fault} in step {step}"
                )

    def _meter(
        self,
        outlook: TankOutlook,
        load_kw: Floats,
        generation_kw: Floats,
        import_price: Floats,
        export_price: Floats,
    ) -> _Meters:
        shape = (len(self.steps), self.n_agent)
        series = {
            "load_kw": load_kw,
            "generation_kw": generation_kw,
            "import_price": import_price,
            "export_price": export_price,
        }
        for name, values in series.items():
            allowed = (shape, (shape[0], 1)) if name.endswith("price") else (shape,)
            if values.shape not in allowed:
                raise MarketError(
                    f"{name} has shape {values.shape}; allowed is {' or '.join(map(str, allowed))}"
                )
        load, generation, buying, selling = (
            np.broadcast_to(values, shape)[:, self._agent] for values in series.values()
        )
        net = load - generation
        return _Meters(
            net_kw=net,
            generation_kw=np.maximum(generation, 0.0),
            import_price=buying,
            export_price=selling,
            most_kw=net + outlook.charge_kw @ self._home_of_tank,
            least_kw=net - outlook.discharge_kw @ self._home_of_tank,
        )

    def _put(self, outlook: TankOutlook, meter: _Meters) -> None:
        """Give all programs their parameters."""
        import_price, export_price = meter.convex_prices()
        of_homes = {
            "import_price": import_price,
            "export_price": export_price,
            "net_load": meter.net_kw,
            "generation": meter.generation_kw,
        }
        inflow = outlook.inflow_kwh.copy()
        inflow[0] += outlook.kept[0] * outlook.start_kwh
        of_tanks = {
            "kept": outlook.kept,
            "into": outlook.into_kwh_per_kw,
            "inflow": inflow,
            "lowest": outlook.lowest_kwh,
            "highest": outlook.highest_kwh,
            "most_in": outlook.charge_kw,
            "shortfall": outlook.shortfall_eur_per_kwh,
            "worth": outlook.worth_at_end_eur_per_kwh,
        }
        used_in = outlook.charge_kw / self._rated_in
        used_out = outlook.discharge_kw / self._rated_out
        of_both_ways = {
            "out": outlook.out_kwh_per_kw,
            "most_out": outlook.discharge_kw,
            "available": np.maximum(used_in, used_out),
            "per_rated_in": 1.0 / self._rated_in,
            "per_rated_out": 1.0 / self._rated_out,
            "wear": outlook.wear_eur_per_kwh,
        }
        for batch in self._batches:
            batch.put(of_homes, batch.home)
            batch.put(of_tanks, batch.tank)
            batch.put(of_both_ways, batch.both_ways)


def _alike(
    tanks: HouseholdTanks, home: Indices, at_once: int
) -> Iterator[tuple[Indices, Indices, tuple[bool, ...]]]:
    """Yield households with tanks of the same kinds, their tanks, and what these can do."""
    both_ways = tanks.discharge_kw > 0.0
    of_home: dict[int, list[int]] = defaultdict(list)
    for tank in np.lexsort((~both_ways, home)).tolist():
        of_home[int(home[tank])].append(tank)
    groups: dict[tuple[bool, ...], list[int]] = defaultdict(list)
    for each, rows in of_home.items():
        groups[tuple(both_ways[rows].tolist())].append(each)
    for can_discharge, homes in groups.items():
        for part in np.array_split(homes, -(-len(homes) // at_once)):
            yield part, np.array([of_home[int(each)] for each in part]), can_discharge


def _moved_steps(steps: PlanSteps, moved_slots: int) -> Indices:
    """Return, for every step, the one that its middle was in so many slots ago, shape (H,)."""
    middle = steps.first + (steps.slots - 1) // 2 + moved_slots
    return np.minimum(np.searchsorted(steps.first, middle, side="right") - 1, len(steps) - 1)


def _carried_out(outlook: TankOutlook, answer: _Answer) -> tuple[Floats, Floats, Floats, Floats]:
    """Carry a plan out step by step, in one direction at a time and inside all limits.

    Energy from elsewhere comes as late as it can: only where a limit would be broken, or at the
    end. What the solver's tolerance leaves outside a limit is taken back by power.

    Returns
    -------
    charge_kw, discharge_kw, stored_kwh : the plan, shape (H, n).
    added_kwh : energy from elsewhere (negative: to elsewhere) that it still takes, shape (H, n).
    """
    into, out = outlook.into_kwh_per_kw, outlook.out_kwh_per_kw
    lowest, highest = outlook.lowest_kwh, outlook.highest_kwh
    most_in, most_out = into * outlook.charge_kw, out * outlook.discharge_kw
    moved = np.clip(into * answer.charge_kw - out * answer.discharge_kw, -most_out, most_in)
    stored, added = np.empty_like(moved), np.empty_like(moved)
    now, due = outlook.start_kwh, np.zeros(len(outlook))
    for t, is_last in enumerate([False] * (len(moved) - 1) + [True]):
        due = outlook.kept[t] * due + answer.added_kwh[t]
        others = outlook.kept[t] * now + outlook.inflow_kwh[t]
        lacking = np.clip(others + moved[t], lowest[t], highest[t]) - others - moved[t]
        comes = due if is_last else np.clip(lacking, np.minimum(due, 0.0), np.maximum(due, 0.0))
        wanted = np.clip(others + moved[t] + comes, lowest[t], highest[t])
        moved[t] = np.clip(wanted - others - comes, -most_out[t], most_in[t])
        stored[t] = now = np.clip(others + moved[t] + comes, lowest[t], highest[t])
        added[t], due = now - others - moved[t], due - comes
    charge = np.minimum(np.maximum(moved, 0.0) / into, outlook.charge_kw)
    discharge = np.minimum(np.maximum(-moved, 0.0) / out, outlook.discharge_kw)
    return charge, discharge, stored, added
