"""One manager plans all tanks of a community over the coming day, under the limits of the network.

The program is `community_model`, compiled once. A plan writes its numbers into it, takes the basis
of the plan before, moved on by the time between two plans, and lets HiGHS's dual simplex finish.
The first plan begins from the basis of tanks that are left alone: on `district_flexible` that
takes 14 000 pivots instead of the 80 000 from nothing, and a sixth of the time.

What solves it was chosen by measurement on `district_flexible`: 553 tanks, 27 steps, network limits
(HiGHS 1.15.1; mean and worst of a day's plans in seconds): dual simplex with the basis moved on and
hardly perturbed costs 1.1 and 1.5, with costs perturbed as by default 1.7 and 2.6, without 2.4 and
15, primal simplex 5 and 15. A plan from nothing takes 5 to 14, with presolve 5 to 8, by an interior
point 10. Bounds on what owners buy and sell halve the iterations; Devex weights do not pay. Each
plan begins from a saved basis and nothing else, so that it has the same bits whenever it is
repeated. `benchmarks/look_ahead_community.py` measures a whole day.

No tank charges and discharges at once. A linear program may want that where energy is worth less
than nothing: then the lesser of the two is forbidden to that tank in that step, and the program is
solved again from where it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyomo.environ as pe
import scipy.sparse as sp
from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.markets.compiled_program import CompiledProgram, Solution
from tricell.markets.flexibility.community_model import (
    CommunityMembers,
    CommunityProblem,
    build_community_model,
    watch,
)
from tricell.markets.flexibility.tank_values import MeterPrices, stored_values
from tricell.markets.flexibility.tanks import Plan, PlanSteps, TankOutlook
from tricell.markets.joint_market import GridLimits
from tricell.markets.joint_model import JointProblem

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

RESIDUE_KW = 1e-7
"""Power that counts as nothing; as far as HiGHS keeps bounds."""
MOST_PASSES = 8
"""How often tanks are kept from charging and discharging at once before both are just netted."""
READ = (
    *("charge_kw", "discharge_kw", "missing_kwh", "excess_kwh"),
    *("bought_kw", "sold_kw", "curtailed_kw"),
)
"""Variables that are read from a solution."""
COST_PERTURBATION = 0.1
"""How much HiGHS perturbs costs while it solves, as a share of what it does by default. A basis
that was moved on is often not dual feasible, and without any some plans stall in ties for ten times
as long; with all of it every plan takes half as long again. Optima are those of the true costs."""
STATE = ("stored_kwh", "import_kw", "flow_kw", "voltage2")
"""Variables that follow from the power of all owners, each by the balance of its own row."""
SMALLEST_LOSS_EUR_PER_KWH = -1e-12
"""What importing and exporting at once may cost at least; less than nothing is rounding."""

_NOTHING = np.zeros((1, 1))


@dataclass(frozen=True)
class CommunityPrices:
    """Mean prices of the steps, EUR/kWh; arrays may have length 1 along axes without change.

    Attributes
    ----------
    retail, feed_in : of the retailer, all in, shape (H,).
    fee : on a kWh bought within each area; rises with the level, shape (H, areas).
    import_charge, export_charge : of every kWh that passes an agent's meter, shape (H, agents).
    entry, exit : of every kWh that crosses an area's border to the area above, shape (H, areas).
    """

    retail: Floats
    feed_in: Floats
    fee: Floats
    import_charge: Floats = field(default_factory=_NOTHING.copy)
    export_charge: Floats = field(default_factory=_NOTHING.copy)
    entry: Floats = field(default_factory=_NOTHING.copy)
    exit: Floats = field(default_factory=_NOTHING.copy)


class CommunityPlanner:
    """Plans all tanks of a community, again and again; compiled once.

    Parameters
    ----------
    network : grid, areas, voltage bounds and breach prices (its orders do not matter here).
    members : who stands where.
    limits : limits of the linear model at the start of the run; they decide which are watched.
    steps : the time grid of every plan.
    replan_slots : slots between two plans; only speed depends on it.

    Attributes
    ----------
    problem : what the program was built from.
    program : the compiled program.
    passes : solutions so far; more than plans where tanks wanted to charge and discharge at once.
    """

    def __init__(
        self,
        network: JointProblem,
        members: CommunityMembers,
        limits: GridLimits,
        steps: PlanSteps,
        *,
        replan_slots: int = 1,
    ) -> None:
        watched = watch(network, members, limits)
        self.problem = CommunityProblem(network, members, watched)
        self.steps, self.passes = steps, 0
        self._limits = limits
        model = build_community_model(self.problem)
        self.program = program = CompiledProgram(
            model,
            copies=len(steps),
            chained=(model.before_kwh, model.stored_kwh),
            options={"dual_simplex_cost_perturbation_multiplier": COST_PERTURBATION},
        )
        self._set("hours", steps.hours[:, None])
        self._basis = np.empty(0, np.int8)
        self._columns = {name: program.columns(getattr(model, name)) for name in READ}
        self._tank_rows, self._owner_rows = program.rows(model.tank), program.rows(model.owner)
        self._later = _moved_on(model, program, _step_before(steps, replan_slots))
        self._state_columns = np.concatenate(
            [program.columns(getattr(model, name)).ravel() for name in STATE]
        )
        self._sums = _Sums.of(self.problem)

    def memory(self) -> NDArray[np.int8]:
        """Return all that a later plan depends on; see `CompiledProgram.memory`."""
        return self._basis

    def recall(self, memory: NDArray[np.int8]) -> None:
        """Go on from `memory` and nothing else."""
        self._basis = memory

    def plan(
        self,
        outlook: TankOutlook,
        load_kw: Floats,
        generation_kw: Floats,
        prices: CommunityPrices,
        limits: GridLimits | None = None,
    ) -> Plan:
        """Plan the coming steps.

        Parameters
        ----------
        outlook : what the tanks can do, in the order of `CommunityMembers.tank_agent`.
        load_kw, generation_kw : mean power of all agents without their tanks, shape (H, N).
        prices : of the steps.
        limits : limits of the linear model as the last AC power flow teaches them; those given at
            the start where None.

        Raises
        ------
        MarketError
            If shapes do not fit, if an area could earn by importing and exporting at once, or if
            HiGHS finds no optimum.
        """
        self._check(outlook, load_kw, generation_kw)
        self._set_tanks(outlook)
        net_kw = self._set_power(load_kw, generation_kw)
        self._set_most(outlook, load_kw, generation_kw)
        constant = self._set_prices(prices, net_kw)
        self._set_limits(limits or self._limits)
        solution, charge, discharge = self._solved(outlook)
        stored = self._stored(outlook, solution, charge, discharge)
        value = stored_values(
            outlook,
            self._meter_prices(solution),
            -solution.row_duals[self._tank_rows],
            charge_kw=charge,
            discharge_kw=discharge,
            stored_kwh=stored,
            wear_cost=np.outer(self.steps.hours, outlook.wear_eur_per_kwh),
        )
        return Plan(charge, discharge, stored, value, solution.objective + constant)

    def _check(self, outlook: TankOutlook, load_kw: Floats, generation_kw: Floats) -> None:
        members, n_step = self.problem.members, len(self.steps)
        expected = {
            "outlook.kept": (outlook.kept, (n_step, len(members.tank_agent))),
            "load_kw": (load_kw, (n_step, len(members.agent_node))),
            "generation_kw": (generation_kw, (n_step, len(members.agent_node))),
        }
        for name, (values, shape) in expected.items():
            if values.shape != shape:
                raise MarketError(f"{name} has shape {values.shape}; this community needs {shape}")
        gives = (outlook.discharge_kw > 0.0).any(axis=0) & ~(members.tank_discharge_kw > 0.0)
        if gives.any():
            tank = int(np.argmax(gives))
            raise MarketError(
                f"tank {tank} would discharge, but the community was built with a discharging "
                "power of 0 kW for it; give it its rating"
            )

    def _set(self, name: str, values: Floats) -> None:
        self.program.parameter(name)[:] = values

    def _set_tanks(self, outlook: TankOutlook) -> None:
        giving = self.problem.members.giving
        self._set("start_kwh", outlook.start_kwh)
        self._set("kept", outlook.kept)
        self._set("into_kwh_per_kw", outlook.into_kwh_per_kw)
        self._set("out_kwh_per_kw", outlook.out_kwh_per_kw[:, giving])
        self._set("inflow_kwh", outlook.inflow_kwh)
        self._set("lowest_kwh", outlook.lowest_kwh)
        self._set("highest_kwh", outlook.highest_kwh)
        self._set("charge_max_kw", outlook.charge_kw)
        self._set("discharge_max_kw", outlook.discharge_kw[:, giving])
        self._set("shortfall_cost", outlook.shortfall_eur_per_kwh)
        self.program.parameter("worth")[-1] = outlook.worth_at_end_eur_per_kwh
        self._set("wear_cost", np.outer(self.steps.hours, outlook.wear_eur_per_kwh[giving]))

    def _set_power(self, load_kw: Floats, generation_kw: Floats) -> Floats:
        """Write what is not decided here; return the net power of all agents."""
        members, sums = self.problem.members, self._sums
        net = load_kw - generation_kw
        self._set("owner_firm_kw", net[:, members.owners])
        producers = members.owners[sums.producing_owners]
        self._set("owner_generation_kw", generation_kw[:, producers])
        self._set("pool_surplus_kw", np.maximum(-net, 0.0) @ sums.in_pool)
        self._set("area_firm_kw", net @ sums.in_area)
        untraded = net @ sums.outside_at_node + self.problem.network.constant_kw
        self._set("edge_firm_kw", net @ sums.below_edge + untraded @ sums.untraded_below_edge)
        return net

    def _set_most(self, outlook: TankOutlook, load_kw: Floats, generation_kw: Floats) -> None:
        """Write the most that owners can buy (all curtailed) and sell."""
        owners, of_tank = self.problem.members.owners, self._sums.at_owner
        surplus = np.maximum(generation_kw - load_kw, 0.0)[:, owners]
        need = np.maximum(load_kw, 0.0)[:, owners]
        self._set("bought_max_kw", need + outlook.charge_kw @ of_tank)
        self._set("sold_max_kw", surplus + outlook.discharge_kw @ of_tank)

    def _set_prices(self, prices: CommunityPrices, net_kw: Floats) -> float:
        """Write all prices; return what members without tanks pay whatever is decided, EUR."""
        problem, hours = self.problem, self.steps.hours[:, None]
        parent, owners = problem.network.area_parent, problem.members.owners
        fee = np.broadcast_to(prices.fee, (len(hours), len(parent)))
        retail, feed_in = prices.retail[:, None], prices.feed_in[:, None]
        import_price = np.where(parent >= 0, fee[:, parent] - fee, retail - fee) + prices.entry
        export_price = np.where(parent >= 0, 0.0, feed_in) - prices.exit
        bought = fee[:, problem.agent_area] + prices.import_charge
        sold = np.broadcast_to(prices.export_charge, bought.shape)
        _refuse_gain(import_price - export_price)
        surplus = np.maximum(-net_kw, 0.0)
        charged, in_pool = (surplus * sold) @ self._sums.in_pool, surplus @ self._sums.in_pool
        refund = np.divide(charged, in_pool, out=np.zeros_like(charged), where=in_pool > 0.0)
        self._set("import_cost", hours * import_price)
        self._set("export_earns", hours * export_price)
        self._set("bought_cost", hours * bought[:, owners])
        # An export that earns more than an import costs would be imported for: who has one meter
        # cannot do both, so such a credit counts only as far as it pays for the import.
        self._set("sold_cost", hours * np.maximum(sold, -bought)[:, owners])
        self._set("pool_refund", hours * refund)
        others = problem.members.others
        paid = bought * np.maximum(net_kw, 0.0) + sold * surplus
        return float((hours * paid[:, others]).sum())

    def _set_limits(self, limits: GridLimits) -> None:
        watched = self.problem.watched
        self._set("flow_min_kw", limits.flow_min_kw[watched.limited])
        self._set("flow_max_kw", limits.flow_max_kw[watched.limited])
        self._set("voltage_offset", limits.voltage_offset[watched.drops])

    def _solved(self, outlook: TankOutlook) -> tuple[Solution, Floats, Floats]:
        """Solve from the basis of the plan before until no tank charges and discharges at once."""
        program, giving = self.program, self.problem.members.giving
        if self._basis.size:
            program.recall(self._basis)
            program.start_like(*self._later)
        else:
            program.recall(self._first_basis())
        into, out = outlook.into_kwh_per_kw[:, giving], outlook.out_kwh_per_kw[:, giving]
        for _ in range(MOST_PASSES):
            solution = program.solve()
            self.passes += 1
            charge = np.clip(solution.values[self._columns["charge_kw"]], 0.0, outlook.charge_kw)
            discharge = np.zeros_like(charge)
            given = solution.values[self._columns["discharge_kw"]]
            discharge[:, giving] = np.clip(given, 0.0, outlook.discharge_kw[:, giving])
            both = np.minimum(charge, discharge)[:, giving] > RESIDUE_KW
            if not both.any():
                break
            fills = into * charge[:, giving] >= out * discharge[:, giving]
            program.parameter("discharge_max_kw")[both & fills] = 0.0
            most = program.parameter("charge_max_kw")
            step, place = np.nonzero(both & ~fills)
            most[step, giving[place]] = 0.0
        self._basis = program.memory()
        return solution, *_netted(charge, discharge, outlook)

    def _first_basis(self) -> NDArray[np.int8]:
        """Return the basis of a plan that leaves all tanks alone: each balance has its column."""
        columns = self._columns
        lacks = self.program.parameter("owner_firm_kw") >= 0.0
        traded = np.where(lacks, columns["bought_kw"], columns["sold_kw"])
        return self.program.basis_of(np.concatenate([self._state_columns, traded.ravel()]))

    def _stored(
        self, outlook: TankOutlook, solution: Solution, charge_kw: Floats, discharge_kw: Floats
    ) -> Floats:
        """Energy that follows from the powers, without what HiGHS leaves of a row's residue."""
        missing = np.maximum(solution.values[self._columns["missing_kwh"]], 0.0)
        excess = np.maximum(solution.values[self._columns["excess_kwh"]], 0.0)
        change = outlook.into_kwh_per_kw * charge_kw - outlook.out_kwh_per_kw * discharge_kw
        change += outlook.inflow_kwh + missing - excess
        stored = np.empty_like(change)
        before = outlook.start_kwh
        for step, kept in enumerate(outlook.kept):
            before = stored[step] = kept * before + change[step]
        return stored

    def _meter_prices(self, solution: Solution) -> MeterPrices:
        """Return what a kW more, and a kW less, is worth behind the meter of each tank's owner."""
        values, duals, columns = solution.values, solution.row_duals, self._columns
        reduced = self.program.cost - self.program.form.matrix.T @ duals
        price = duals[self._owner_rows]
        buys, sells = (values[columns[name]] > RESIDUE_KW for name in ("bought_kw", "sold_kw"))
        curtails = np.zeros_like(sells)
        producers = self._sums.producing_owners
        curtails[:, producers] = values[columns["curtailed_kw"]] > RESIDUE_KW
        to_sell = np.maximum(reduced[columns["sold_kw"]], 0.0)
        to_buy = np.maximum(reduced[columns["bought_kw"]], 0.0)
        more = np.where(buys, price, price - to_sell)
        less = np.where(sells | curtails, price, price + to_buy)
        of_tank = self.problem.members.tank_owner
        return MeterPrices(more[:, of_tank], less[:, of_tank])


@dataclass(frozen=True)
class _Sums:
    """Which agents and nodes are summed to what; sparse matrices with ones.

    Attributes
    ----------
    producing_owners : which of the owners generate.
    at_owner : from tanks to their owners.
    in_pool, in_area, below_edge : from agents to pools, areas and watched edges; members without
        tanks alone.
    outside_at_node : from agents to nodes; outsiders alone.
    untraded_below_edge : from nodes to watched edges, for power that nobody trades.
    """

    producing_owners: Indices
    at_owner: sp.csr_matrix
    in_pool: sp.csr_matrix
    in_area: sp.csr_matrix
    below_edge: sp.csr_matrix
    outside_at_node: sp.csr_matrix
    untraded_below_edge: sp.csr_matrix

    @classmethod
    def of(cls, problem: CommunityProblem) -> _Sums:
        """Read them from a community."""
        members, watched, grid = problem.members, problem.watched, problem.network.grid
        owners, n_agent = members.owners, len(members.agent_node)
        others = np.full(n_agent, -1, dtype=np.int64)
        others[members.others] = problem.agent_area[members.others]
        outside = np.full(n_agent, -1, dtype=np.int64)
        outside[members.outsiders] = members.agent_node[members.outsiders]
        place = np.full(grid.n_edge + 1, -1, dtype=np.int64)
        place[watched.edges] = np.arange(len(watched.edges))
        # What is taken in an area is in its exchange, and that is the flow over its entry.
        place[grid.entry_edge[grid.entry_edge >= 0]] = -1
        edge = np.where(others >= 0, place[watched.above_node[members.agent_node]], -1)
        return cls(
            producing_owners=np.flatnonzero(members.highest_generation_kw[owners] > 0.0),
            at_owner=_ones(members.tank_owner, len(owners)),
            in_pool=_ones(problem.pool_of_agent, problem.n_pool),
            in_area=_ones(others, len(problem.network.area_parent)),
            below_edge=_ones(edge, len(watched.edges)),
            outside_at_node=_ones(outside, grid.n_node),
            untraded_below_edge=_untraded_below(problem),
        )


def _untraded_below(problem: CommunityProblem) -> sp.csr_matrix:
    """From nodes to watched edges: below entries all, below others what no other flow carries."""
    grid, watched = problem.network.grid, problem.watched
    entries = grid.entry_edge[grid.entry_edge >= 0]
    matrix = sp.lil_matrix((grid.n_node, len(watched.edges)))

    def below(edge: int) -> Indices:
        return grid.subtree_order[grid.subtree_start[edge] : grid.subtree_stop[edge]]

    for column, edge in enumerate(watched.edges.tolist()):
        if edge in entries:
            parts = [below(edge)]
        else:
            parts = [np.flatnonzero(watched.above_node == edge)]
            parts += [below(entry) for entry in entries if watched.above_edge[entry] == edge]
        matrix[np.concatenate(parts), column] = 1.0
    return matrix.tocsr()


def _ones(group: Indices, size: int) -> sp.csr_matrix:
    """Matrix that sums rows to their groups; those of group -1 to nothing."""
    member = np.flatnonzero(group >= 0)
    return sp.csr_matrix((np.ones(len(member)), (member, group[member])), shape=(len(group), size))


def _refuse_gain(loss: Floats) -> None:
    """Refuse prices at which an area would import and export without end."""
    wrong = (loss < SMALLEST_LOSS_EUR_PER_KWH).any(axis=0)
    if wrong.any():
        area = int(np.argmax(wrong))
        raise MarketError(
            f"area {area} would earn {-loss[:, area].min():.6g} EUR/kWh by importing and exporting "
            "at once, so that a plan would never end; allowed are fees, border charges and prices "
            "at which that costs something or nothing"
        )


def _netted(charge_kw: Floats, discharge_kw: Floats, outlook: TankOutlook) -> tuple[Floats, Floats]:
    """Take what is left of charging and discharging at once, with the same energy in the tank."""
    both = (charge_kw > 0.0) & (discharge_kw > 0.0)
    into, out = outlook.into_kwh_per_kw, outlook.out_kwh_per_kw
    gain = into * charge_kw - out * discharge_kw
    charge = np.where(both, np.maximum(gain, 0.0) / into, charge_kw)
    return charge, np.where(both, np.maximum(-gain, 0.0) / out, discharge_kw)


def _step_before(steps: PlanSteps, slots: int) -> Indices:
    """Step of the plan before in which each step begins, where a plan is made every few slots.

    Examples
    --------
    >>> _step_before(PlanSteps.of(0.25, horizon_h=4.0), 4).tolist()
    [4, 4, 4, 4, 5, 6, 6]
    """
    begins = np.minimum(steps.first + slots, steps.total_slots - 1)
    return np.asarray(np.searchsorted(steps.first, begins, side="right") - 1)


def _moved_on(
    model: pe.ConcreteModel, program: CompiledProgram, before: Indices
) -> tuple[Indices, Indices]:
    """For each column and each row, the one of the step before whose status it starts with."""

    def moved(size: int, places: list[Indices]) -> Indices:
        later = np.arange(size)
        for place in places:
            later[place] = place[before]
        return later

    n_row, n_column = program.form.matrix.shape
    # What tanks hold before a step is what they hold after the step before, but for the first.
    variables = (each for each in model.component_objects(pe.Var) if each is not model.before_kwh)
    columns = [program.columns(each) for each in variables]
    rows = [program.rows(each) for each in model.component_objects(pe.Constraint)]
    return moved(n_column, columns), moved(n_row, rows)
