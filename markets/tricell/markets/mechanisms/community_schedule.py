"""A community's meters and batteries scheduled together over several slots, at least cost.

Each meter n buys and sells outside at its best price, exchanges energy inside the community for
the tariff ``tau`` of the local grid, and runs its battery::

    minimise    sum_nt  buy_price buy - sell_price sell + tau received + wear charge
    subject to  demand - generation + charge - discharge = buy - sell + received - given
                sum_n received = sum_n given                                     every slot
                stored_t = stored_(t-1) + eta charge - discharge / eta,  0 <= stored <= capacity

All of it is known beforehand: this is the schedule of perfect foresight. Power is energy per slot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pe
from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.markets.compiled_program import CompiledProgram
from tricell.markets.mechanism import About

Floats = NDArray[np.float64]

ABOUT = About(
    name="community_schedule",
    line="meters and batteries of a community scheduled together over several slots",
    source="INESC TEC, rec-operation (renewable energy communities, pool operation)",
)


@dataclass(frozen=True)
class CommunityMeters:
    """Meters of a community over T slots.

    Attributes
    ----------
    demand_kwh, generation_kwh : shape (meters, T), at least 0.
    buy_price, sell_price : best price outside, shape (meters, T), EUR/kWh; buying costs at least
        what selling earns.
    local_tariff : paid by the receiver of energy from inside the community, EUR/kWh.
    capacity_kwh, power_kwh, stored_kwh : battery of each meter: size, largest energy per slot each
        way, and energy at the start; 0 where there is none.
    efficiency : of charging, and of discharging, above 0 and at most 1.
    wear_eur_per_kwh : per kWh charged.
    """

    demand_kwh: Floats
    generation_kwh: Floats
    buy_price: Floats
    sell_price: Floats
    local_tariff: float
    capacity_kwh: Floats
    power_kwh: Floats
    stored_kwh: Floats
    efficiency: float = 1.0
    wear_eur_per_kwh: float = 0.0

    def only(self, meter: int) -> CommunityMeters:
        """Return one meter alone, without partners."""
        row = slice(meter, meter + 1)
        return CommunityMeters(
            self.demand_kwh[row],
            self.generation_kwh[row],
            self.buy_price[row],
            self.sell_price[row],
            self.local_tariff,
            self.capacity_kwh[row],
            self.power_kwh[row],
            self.stored_kwh[row],
            self.efficiency,
            self.wear_eur_per_kwh,
        )


@dataclass(frozen=True)
class CommunitySchedule:
    """The cheapest schedule; arrays of shape (meters, T), kWh.

    Attributes
    ----------
    cost_eur : of the whole community.
    stored_kwh : in each battery at the end of each slot.
    bought_kwh, sold_kwh : outside.
    received_kwh, given_kwh : inside the community.
    """

    cost_eur: float
    stored_kwh: Floats
    bought_kwh: Floats
    sold_kwh: Floats
    received_kwh: Floats
    given_kwh: Floats


def schedule_community(meters: CommunityMeters) -> CommunitySchedule:
    """Schedule a community at least cost.

    Raises
    ------
    MarketError
        If a number is missing, or if selling earns more than buying costs.
    """
    _check(meters)
    model = _model(meters)
    program = CompiledProgram(model)
    solution = program.solve()

    def energy(variable: pe.Var) -> Floats:
        return solution.values[program.columns(variable)].reshape(meters.demand_kwh.shape)

    return CommunitySchedule(
        cost_eur=solution.objective,
        stored_kwh=energy(model.stored),
        bought_kwh=energy(model.buy),
        sold_kwh=energy(model.sell),
        received_kwh=energy(model.receive),
        given_kwh=energy(model.give),
    )


def _model(meters: CommunityMeters) -> pe.ConcreteModel:
    n_meter, n_slot = meters.demand_kwh.shape
    model = pe.ConcreteModel(name="community schedule")
    model.meters, model.slots = pe.RangeSet(0, n_meter - 1), pe.RangeSet(0, n_slot - 1)
    for name in ("buy", "sell", "receive", "give"):
        setattr(model, name, pe.Var(model.meters, model.slots, bounds=(0.0, None)))

    def of_battery(highest: Floats) -> pe.Var:
        return pe.Var(model.meters, model.slots, bounds=lambda _, n, t: (0.0, float(highest[n])))

    model.charge, model.discharge = of_battery(meters.power_kwh), of_battery(meters.power_kwh)
    model.stored = of_battery(meters.capacity_kwh)
    net = meters.demand_kwh - meters.generation_kwh
    eta = meters.efficiency

    def balance(m: pe.ConcreteModel, n: int, t: int) -> Any:
        outside = m.buy[n, t] - m.sell[n, t] + m.receive[n, t] - m.give[n, t]
        return outside - m.charge[n, t] + m.discharge[n, t] == float(net[n, t])

    def exchange(m: pe.ConcreteModel, t: int) -> Any:
        return sum(m.receive[n, t] - m.give[n, t] for n in m.meters) == 0.0

    def storage(m: pe.ConcreteModel, n: int, t: int) -> Any:
        before = m.stored[n, t - 1] if t > 0 else float(meters.stored_kwh[n])
        change = eta * m.charge[n, t] - m.discharge[n, t] / eta
        return m.stored[n, t] - change - before == 0.0

    model.balance = pe.Constraint(model.meters, model.slots, rule=balance)
    model.exchange = pe.Constraint(model.slots, rule=exchange)
    model.storage = pe.Constraint(model.meters, model.slots, rule=storage)
    model.cost = pe.Objective(
        expr=sum(
            float(meters.buy_price[n, t]) * model.buy[n, t]
            - float(meters.sell_price[n, t]) * model.sell[n, t]
            + meters.local_tariff * model.receive[n, t]
            + meters.wear_eur_per_kwh * model.charge[n, t]
            for n in model.meters
            for t in model.slots
        )
    )
    return model


def _check(meters: CommunityMeters) -> None:
    """Refuse what has no cheapest schedule."""
    columns = ("demand_kwh", "generation_kwh", "buy_price", "sell_price")
    for name in columns:
        if not np.isfinite(getattr(meters, name)).all():
            raise MarketError(f"{name} of the community's meters has a gap; give finite numbers")
    wrong = meters.sell_price > meters.buy_price
    if wrong.any():
        meter, slot = (int(each[0]) for each in np.nonzero(wrong))
        raise MarketError(
            f"meter {meter}, slot {slot}: selling earns {meters.sell_price[meter, slot]:g} "
            f"EUR/kWh, more than buying costs, {meters.buy_price[meter, slot]:g}; who does both "
            "earns without limit. Give a sell_price of at most the buy_price"
        )
