"""The network charges of a scenario, made ready for its market and its settlement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.grid_models.area_tree import AreaTree
from tricell.grid_models.electrical_distance import distance_from_connection
from tricell.grid_models.electrical_grid import ElectricalGrid
from tricell.markets.charge import Calendar, Charge, Customers, EnergyRates, Source
from tricell.markets.charges.level_fee import LevelFee
from tricell.scenarios.charge_choice import ChargeError, expanded
from tricell.scenarios.schema import Scenario, Time
from tricell.simulators.population import AgentKind, DeviceKind, Population

Floats = NDArray[np.float64]

FEES = "fees"
"""Name in bills of what `prices.fees` asks for."""
CONTROLLABLE = (DeviceKind.EV, DeviceKind.HEAT_PUMP)
RISING_TOLERANCE_EUR_PER_KWH = 1e-12


def build_charges(scenario: Scenario, area_ids: Sequence[str]) -> tuple[Charge, ...]:
    """Return all charges of a scenario: the fees per level first, then its list.

    Parameters
    ----------
    scenario : the scenario.
    area_ids : names of the areas, which fee matrices speak of.

    Raises
    ------
    ChargeError
        If two charges have one name, or an area does not exist.
    """
    fees = scenario.prices.fees
    per_level = LevelFee(
        name=FEES, microgrid=fees.microgrid, cell=fees.cell, multicell=fees.multicell
    )
    charges = (per_level, *expanded(scenario.charges))
    labels = [charge.label for charge in charges]
    for position, label in enumerate(labels):
        if label in labels[:position]:
            raise ChargeError(
                f"two charges are called {label!r}; give each a `name` of its own, so that bills "
                "can tell them apart",
                label,
            )
    return tuple(_resolved(charge, area_ids) for charge in charges)


@contextmanager
def _blamed_on(charge: Charge) -> Iterator[None]:
    """Say of an error which charge it comes from."""
    try:
        yield
    except MarketError as error:
        raise ChargeError(str(error), charge.label) from error


def _resolved(charge: Charge, area_ids: Sequence[str]) -> Charge:
    with _blamed_on(charge):
        return charge.resolved(area_ids)


def build_calendar(time: Time) -> Calendar:
    """Return the calendar of a scenario's slots."""
    return Calendar(time.slot_starts(), time.step_hours, time.local_zone)


def build_customers(
    population: Population, tree: AreaTree, grid: ElectricalGrid, node_area: NDArray[np.int64]
) -> Customers:
    """Return everybody as customers of the network operator."""
    agents, devices = population.agents, population.devices
    area = np.maximum(tree.area_of_bus[agents.bus_row], 0)
    parent = np.asarray(tree.parent, dtype=np.int64)
    distance = distance_from_connection(grid, node_area, parent)
    node = grid.node_of_bus[agents.bus_row]
    controllable = population.battery_kwh > 0.0
    controllable[devices.agent[np.isin(devices.kind, CONTROLLABLE)]] = True
    return Customers(
        id=agents.id,
        group=tuple(AgentKind(int(kind)).label for kind in agents.kind),
        area=area,
        area_level=np.asarray(tree.level, dtype=np.int64),
        area_parent=parent,
        connection_kw=np.full(len(agents), np.nan),
        controllable=controllable,
        has_pv=population.pv_kwp > 0.0,
        distance_ohm=np.nan_to_num(distance.ohm[node]),
        branches=np.nan_to_num(distance.branches[node]),
    )


def energy_rates(
    charges: Sequence[Charge], calendar: Calendar, customers: Customers
) -> EnergyRates:
    """Return what all charges together ask for a kWh, as far as agents know it.

    Raises
    ------
    ChargeError
        If a class of customers does not exist, clusters of areas contain each other, or energy
        from farther away would cost less.
    """
    known = [_rates_of(charge, calendar, customers) for charge in charges]
    total = reduce(add, (rates for rates in known if rates is not None), EnergyRates.of())
    _check_rising(total, calendar)
    return total


def _rates_of(charge: Charge, calendar: Calendar, customers: Customers) -> EnergyRates | None:
    with _blamed_on(charge):
        charge.pays(customers)
        return charge.rates(calendar, customers)


def _check_rising(rates: EnergyRates, calendar: Calendar) -> None:
    """Require that trading farther away never costs less: a circle would earn money."""
    steps = np.diff(rates.by_source[:, : Source.RETAIL], axis=1)
    if (steps >= -RISING_TOLERANCE_EUR_PER_KWH).all():
        return
    slot, lower = np.argwhere(steps < -RISING_TOLERANCE_EUR_PER_KWH)[0]
    near, far = rates.by_source[slot, lower], rates.by_source[slot, lower + 1]
    raise ChargeError(
        f"`charges`: at {calendar.start[slot]} UTC a kWh traded in a {Source(lower).label} costs "
        f"{near:g} EUR in network charges, but one traded in a {Source(lower + 1).label} only "
        f"{far:g} EUR. Trading farther away must not be cheaper: lower the fee or discount nearby, "
        "or raise the one farther away"
    )
