"""From a scenario to everything a run needs, before the first slot: the *world*.

`build_world` loads the network and the data, cuts the areas, compiles the market and prepares
the AC power flow. Nothing of this happens again inside the slot loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.errors import GridError, PowerFlowError
from tricell.grid_models.ac_feedback import AcFeedback, Correction
from tricell.grid_models.area_tree import LEVEL_NAMES, AreaTree
from tricell.grid_models.arrays import sum_by_key
from tricell.grid_models.electrical_grid import BranchKind, ElectricalGrid, build_electrical_grid
from tricell.grid_models.findings import GridFinding
from tricell.grid_models.linear_grid import LinearGrid, build_linear_grid
from tricell.grid_models.power_flow import PowerFlow
from tricell.grid_models.tap_changer import TapController
from tricell.markets.charge import Calendar, Charge, Customers, EnergyRates, Source
from tricell.markets.joint_market import JointMarket
from tricell.markets.joint_model import JointProblem
from tricell.markets.level_markets import LevelMarkets, MarketDesign
from tricell.markets.meter_orders import MeterOrders
from tricell.markets.orders import BUY, SELL, OrderColumns, OrderKind
from tricell.markets.settlement import TradingAreas
from tricell.scenarios.flexible_population import build_flexible
from tricell.scenarios.forecasts import build_forecast, imbalance_terms
from tricell.scenarios.network import load_network
from tricell.scenarios.network_charges import (
    build_calendar,
    build_charges,
    build_customers,
    energy_rates,
)
from tricell.scenarios.participants import build_population
from tricell.scenarios.prices import (
    WholesaleSeries,
    check_prices,
    feed_in_prices,
    retail_prices,
    wholesale_series,
)
from tricell.scenarios.schema import Scenario
from tricell.simulators.battery_orders import Step
from tricell.simulators.device_list import DeviceList
from tricell.simulators.fleet import Fleet
from tricell.simulators.flexible_devices import FlexibleDevices
from tricell.simulators.grid_simulator import GridNames, OperatingLimits
from tricell.simulators.household_power import AgentPower
from tricell.simulators.market_settings import MarketParticipants
from tricell.simulators.owner_prices import PriceSeries
from tricell.simulators.population import AgentKind, Population
from tricell.simulators.power_forecast import PowerForecast
from tricell.simulators.recorder_layout import RecorderLayout
from tricell.simulators.store_fleets import appliances_of, other_fleets, shared_fleet

Floats = NDArray[np.float64]

GENERATION_OFFER_EUR_PER_KWH = 0.0
"""What plants without fuel ask for: below it they would rather be curtailed."""

_STEP_SIDE = {
    Step.CHARGE_OWN: (BUY, OrderKind.CHARGE_OWN),
    Step.CHARGE_MARKET: (BUY, OrderKind.CHARGE_MARKET),
    Step.DISCHARGE_OWN: (SELL, OrderKind.DISCHARGE_OWN),
    Step.DISCHARGE_MARKET: (SELL, OrderKind.DISCHARGE_MARKET),
}


@dataclass(frozen=True)
class World:
    """A scenario made ready to run.

    Attributes
    ----------
    scenario : what the planner asked for.
    net : the pandapower network.
    tree : its areas.
    grid, linear : its arrays and its linear model.
    names : unique names of buses, lines and transformers.
    population : who takes part.
    flexible : what they own that shifts energy, beside their batteries.
    participants, areas : where they stand in the market.
    calendar, customers : the slots, and everybody as customers of the network operator.
    charges : network charges, the fees per level first.
    rates : what these ask for a kWh, as far as agents know it.
    prices, wholesale : outside prices per slot, and where they come from.
    market : the compiled joint market.
    levels : the markets level by level; None if the joint market clears all.
    controller : tap changers around the AC power flow.
    feedback : AC error to linear model.
    limits : operating limits and tolerances.
    first_correction : for the very first clearing, from the AC power flow without any market.
    findings : what the check of the network found.
    """

    scenario: Scenario
    net: Any
    tree: AreaTree
    grid: ElectricalGrid
    linear: LinearGrid
    names: GridNames
    population: Population
    flexible: FlexibleDevices
    participants: MarketParticipants
    areas: TradingAreas
    calendar: Calendar
    customers: Customers
    charges: tuple[Charge, ...]
    rates: EnergyRates
    prices: PriceSeries
    wholesale: WholesaleSeries
    market: JointMarket
    levels: LevelMarkets | None
    controller: TapController
    feedback: AcFeedback
    limits: OperatingLimits
    first_correction: Correction
    findings: tuple[GridFinding, ...]

    @property
    def battery_names(self) -> tuple[str, ...]:
        """Name of each battery: its owner's, numbered where there are several."""
        ids = self.population.agents.id
        return unique_names([ids[agent] for agent in self.population.batteries.agent], "battery")

    @property
    def shared_batteries(self) -> NDArray[np.int64]:
        """Rows of the batteries that are shared storage."""
        kind = self.population.agents.kind[self.population.batteries.agent]
        return np.flatnonzero(kind == AgentKind.SHARED_STORAGE)

    @cached_property
    def forecast(self) -> PowerForecast:
        """What is known at the gates of the power of loads and plants."""
        return build_forecast(self.scenario, self.population)

    @cached_property
    def devices(self) -> DeviceList:
        """All devices that shift energy beside the batteries of households."""
        hours, flexible = self.scenario.time.step_hours, self.flexible
        return DeviceList.of(
            [
                *other_fleets(flexible, hours),
                *appliances_of(flexible, self.population.agents.id),
                shared_fleet(self.population.batteries, self.shared_batteries, self.battery_names),
            ]
        )

    @property
    def fixed_taps(self) -> NDArray[np.int64]:
        """Tap positions in the data, per row of the transformer table; 0 where there is none."""
        tables = (self.net.trafo, self.net.trafo3w)
        positions = np.concatenate([t["tap_pos"].to_numpy(dtype=np.float64) for t in tables])
        return np.where(np.isnan(positions), 0.0, positions).astype(np.int64)

    @property
    def level_names(self) -> tuple[str, ...]:
        """Level of each area, in words."""
        return tuple(LEVEL_NAMES[int(level)] for level in self.tree.level)

    def recorder_layout(self) -> RecorderLayout:
        """Return what the recorder needs to know of the world."""
        time, problem = self.scenario.time, self.market.problem
        return RecorderLayout(
            grid=self.grid,
            linear=self.linear,
            areas=self.areas,
            agent_node=self.participants.agent_node,
            batteries=self.population.batteries,
            store_agent=self.participants.battery_agent,
            prices=self.prices,
            n_slot=time.slots,
            hours=time.step_hours,
            flow_breach_eur_per_kwh=problem.flow_breach_eur_per_kwh,
            voltage_breach_eur_per_pu2_h=problem.voltage_breach_eur_per_pu2_h,
            limits=self.limits,
            rates=self.rates,
            charges=self.charges,
            calendar=self.calendar,
            customers=self.customers,
            levy_eur_per_kwh=self.scenario.prices.levies_eur_per_kwh,
            imbalance=imbalance_terms(self.scenario, self.prices.wholesale),
            devices=self.devices if len(self.devices) else None,
            shared=self.shared_batteries,
            members=self.flexible.shared,
        )


def build_world(scenario: Scenario) -> World:
    """Load, cut, compile.

    Raises
    ------
    TricellError
        If the network or the data cannot be used; the message says what to change.
    """
    network = load_network(scenario)
    net, tree = network.net, network.tree
    grid = build_electrical_grid(net)
    linear = build_linear_grid(grid, tree, grid.node_of_bus)
    population = build_population(scenario, net)
    population, flexible = build_flexible(scenario, net, tree, population)
    limits = _operating_limits(scenario, grid)
    areas = _trading_areas(tree, population)
    calendar = build_calendar(scenario.time)
    customers = build_customers(population, tree, grid, linear.node_area)
    charges = build_charges(scenario, tree.id)
    rates = energy_rates(charges, calendar, customers)
    wholesale, prices = build_prices(scenario, rates)
    participants = _participants(population, grid, other_fleets(flexible, scenario.time.step_hours))
    power_flow = PowerFlow(grid, net)
    controller = TapController(grid, net, power_flow)
    feedback = AcFeedback(grid, linear, limits.loading_percent / 100.0)
    problem = _joint_problem(
        scenario, grid=grid, linear=linear, tree=tree, who=participants, limits=limits
    )
    market = JointMarket(problem)
    return World(
        scenario=scenario,
        net=net,
        tree=tree,
        grid=grid,
        linear=linear,
        names=_grid_names(net),
        population=population,
        flexible=flexible,
        participants=participants,
        areas=areas,
        calendar=calendar,
        customers=customers,
        charges=charges,
        rates=rates,
        prices=prices,
        wholesale=wholesale,
        market=market,
        levels=_level_markets(scenario, tree, areas, participants, market),
        controller=controller,
        feedback=feedback,
        limits=limits,
        first_correction=_first_correction(
            scenario,
            population=population,
            who=participants,
            grid=grid,
            linear=linear,
            controller=controller,
            feedback=feedback,
        ),
        findings=(*network.findings, *controller.findings),
    )


def _level_markets(
    scenario: Scenario,
    tree: AreaTree,
    areas: TradingAreas,
    who: MarketParticipants,
    market: JointMarket,
) -> LevelMarkets | None:
    wanted = scenario.market
    if wanted.coordination == "joint":
        return None
    hours = scenario.time.step_hours
    meters = MeterOrders(
        who.agent_ids,
        who.agent_node,
        who.battery_agent,
        hours=hours,
    )
    return LevelMarkets(
        market,
        meters,
        generators=who.generators,
        areas=areas,
        area_names=tree.id,
        design=MarketDesign(
            mechanisms=[wanted.of_level(int(level)) for level in tree.level],
            network=wanted.network,
            envelope_rule=wanted.envelope_rule,
            seed=scenario.seed,
        ),
        agent_names=who.agent_ids,
        hours=hours,
    )


def build_prices(scenario: Scenario, rates: EnergyRates) -> tuple[WholesaleSeries, PriceSeries]:
    """Return the prices of every slot, checked that the retailer buys no dearer than he sells.

    Parameters
    ----------
    scenario : the scenario.
    rates : network charges per kWh; those on energy from the retailer go on top of his price.
    """
    time, prices = scenario.time, scenario.prices
    wholesale = wholesale_series(
        prices.wholesale,
        start=time.start_utc,
        slots=time.slots,
        step_s=time.step_s,
        folder=Path(),
    )
    spot = wholesale.price_eur_per_kwh
    charge = np.broadcast_to(rates.by_source[:, Source.RETAIL], time.slots)
    retail = retail_prices(prices.retail, spot) + charge
    feed_in = feed_in_prices(prices.feed_in, spot)
    check_prices(retail, feed_in, start=time.start_utc, step_s=time.step_s)
    return wholesale, PriceSeries(wholesale=spot, retail=retail, feed_in=feed_in)


def unique_names(names: Sequence[object], kind: str) -> tuple[str, ...]:
    """Make names unique: what is missing gets its row, what repeats gets a number.

    Examples
    --------
    >>> unique_names(["a", None, "a"], "bus")
    ('a', 'bus 1', 'a (2)')
    """
    taken: set[str] = set()
    unique = []
    for row, name in enumerate(names):
        text = str(name) if isinstance(name, str) and name else f"{kind} {row}"
        candidate, number = text, 1
        while candidate in taken:
            number += 1
            candidate = f"{text} ({number})"
        taken.add(candidate)
        unique.append(candidate)
    return tuple(unique)


def _grid_names(net: Any) -> GridNames:
    return GridNames(
        bus=unique_names(list(net.bus["name"]), "bus"),
        line=unique_names(list(net.line["name"]), "line"),
        trafo=unique_names([*net.trafo["name"], *net.trafo3w["name"]], "trafo"),
    )


def _operating_limits(scenario: Scenario, grid: ElectricalGrid) -> OperatingLimits:
    limits = scenario.limits
    low, high = grid.node_vm_min_pu.copy(), grid.node_vm_max_pu.copy()
    has_bus = np.isfinite(high)
    if limits.voltage_min_pu is not None:
        low[has_bus] = limits.voltage_min_pu
    if limits.voltage_max_pu is not None:
        high[has_bus] = limits.voltage_max_pu
    is_line = grid.branch_kind == BranchKind.LINE
    wanted = np.where(is_line, limits.line_loading_percent, limits.trafo_loading_percent)
    # A limit in the data below 100 % stays; the scenario scales it like all others.
    percent = wanted * grid.branch_loading_limit_percent / 100.0
    unrated = np.isinf(grid.branch_rating_from_ka)
    return OperatingLimits(
        vm_min_pu=low,
        vm_max_pu=high,
        loading_percent=np.where(unrated, np.inf, percent),
        voltage_tolerance_pu=limits.voltage_tolerance_pu,
        loading_tolerance_percent=limits.loading_tolerance_percent,
    )


def _trading_areas(tree: AreaTree, population: Population) -> TradingAreas:
    agent_area = tree.area_of_bus[population.agents.bus_row]
    return TradingAreas(
        parent=np.asarray(tree.parent, dtype=np.int64),
        level=np.asarray(tree.level, dtype=np.int64),
        # Whoever stands at the mere grid connection trades in the top area.
        agent_area=np.maximum(agent_area, 0),
        takes_part=population.takes_part,
    )


def _participants(
    population: Population, grid: ElectricalGrid, fleets: Sequence[Fleet]
) -> MarketParticipants:
    agents, devices = population.agents, population.devices
    node = grid.node_of_bus[agents.bus_row]
    if (node < 0).any():
        name = agents.id[int(np.argmin(node))]
        raise GridError(
            f"{name!r} stands at a bus that is out of service. Put the bus into service, or the "
            "load or plant out of service."
        )
    return MarketParticipants(
        agent_ids=agents.id,
        agent_node=node,
        generators=np.unique(devices.agent[devices.generates]),
        battery_agent=np.concatenate([population.batteries.agent, *[f.agent for f in fleets]]),
    )


def _first_correction(
    scenario: Scenario,
    *,
    population: Population,
    who: MarketParticipants,
    grid: ElectricalGrid,
    linear: LinearGrid,
    controller: TapController,
    feedback: AcFeedback,
) -> Correction:
    """Let the first slot's loads and plants run as they would, and learn from that.

    If the grid cannot carry that, the market may still find what it can carry: then it starts
    from the grid without any load.
    """
    time = scenario.time
    row = population.profiles.first_row(time.start_utc, time.slots, time.step_s)
    power = AgentPower(population).block(row, 1)
    p_agent = power.p_load_kw[0] - power.p_generation_available_kw[0]
    q_agent = power.q_load_kvar[0] - power.q_generation_kvar[0]
    p_node = sum_by_key(who.agent_node, p_agent, linear.n_node)
    constant = grid.node_constant_p_kw
    q_node = sum_by_key(who.agent_node, q_agent, linear.n_node)
    try:
        state = controller.regulate(p_node, q_node)
    except PowerFlowError:
        p_node, q_node = np.zeros(linear.n_node), np.zeros(linear.n_node)
        state = controller.regulate(p_node, q_node)
    ac_flow = linear.sum_to_edges(linear.branch_sign * state.p_from_kw)
    flow = np.where(linear.edge_meshed, ac_flow, linear.downstream_sum(p_node + constant))
    return feedback.correction(state, flow, q_node)


def _joint_problem(
    scenario: Scenario,
    *,
    grid: ElectricalGrid,
    linear: LinearGrid,
    tree: AreaTree,
    who: MarketParticipants,
    limits: OperatingLimits,
) -> JointProblem:
    prices = scenario.limits
    is_line = grid.branch_kind == BranchKind.LINE
    branch_price = np.where(
        is_line, prices.line_breach_eur_per_kwh, prices.trafo_breach_eur_per_kwh
    )
    edge_price = np.zeros(linear.n_edge)
    np.maximum.at(edge_price, linear.branch_edge, branch_price)
    # 1 pu of voltage is 2 pu^2 of squared voltage near 1 pu.
    voltage_price = prices.voltage_breach_eur_per_pu_h / 2.0
    return JointProblem(
        grid=linear,
        area_parent=np.asarray(tree.parent, dtype=np.int64),
        orders=_order_columns(who),
        constant_kw=grid.node_constant_p_kw,
        v2_min=limits.vm_min_pu**2,
        v2_max=limits.vm_max_pu**2,
        flow_breach_eur_per_kwh=edge_price,
        voltage_breach_eur_per_pu2_h=voltage_price,
    )


def _order_columns(who: MarketParticipants) -> OrderColumns:
    """List generation first, then the four steps of all batteries, step by step."""
    n_battery = len(who.battery_agent)
    agent = np.concatenate([who.generators, *[who.battery_agent] * len(Step)])
    side = [np.full(len(who.generators), SELL)]
    kind = [np.full(len(who.generators), OrderKind.GENERATION)]
    for step in Step:
        step_side, step_kind = _STEP_SIDE[step]
        side.append(np.full(n_battery, step_side))
        kind.append(np.full(n_battery, step_kind))
    return OrderColumns(
        agent=agent.astype(np.int64),
        node=who.agent_node[agent],
        side=np.concatenate(side),
        kind=np.concatenate(kind).astype(np.int8),
    )
