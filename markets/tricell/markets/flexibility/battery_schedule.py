"""The cheapest schedule of a battery behind a meter, all prices and powers known beforehand.

With the meter's net energy ``n`` (load less generation), import ``i`` and export ``e``::

    minimise    sum_t  p_im i - p_ex e + wear d
    subject to  n + c - d = i - e,    i e = 0
                stored' = stored + eta_c c - d / eta_d,    0 <= stored' <= capacity,    c d = 0
                stored at the end >= what is asked for

The products are kept at 0 by binary variables: at negative prices, or if selling earns more than
buying costs, a program without them would burn energy or trade with itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pe
from numpy.typing import ArrayLike, NDArray

from tricell.markets.flexibility.battery import (
    Battery,
    BatteryPath,
    battery_block,
    check_hours,
    check_series,
    path_of,
    replay,
)
from tricell.markets.flexibility.mixed_integer import NoScheduleError, has_optimum
from tricell.markets.mechanism import About

Floats = NDArray[np.float64]

ABOUT = About(
    name="battery_schedule",
    line="cheapest schedule of a battery behind a meter over a horizon",
    source="the usual storage program with perfect foresight; tricell's own wording",
)


@dataclass(frozen=True)
class Tariff:
    """Net energy of a meter and what it pays; arrays of shape (slots,).

    Attributes
    ----------
    net_kwh : load less generation.
    import_price, export_price : EUR/kWh, of any sign.
    """

    net_kwh: Floats
    import_price: Floats
    export_price: Floats

    def cost_eur(self, path: BatteryPath, wear_eur_per_kwh: float) -> float:
        """Return what the meter pays with a battery, its wear included, EUR."""
        outside = self.net_kwh + path.power_kwh
        bought = self.import_price * np.maximum(outside, 0.0)
        sold = self.export_price * np.maximum(-outside, 0.0)
        return float(np.sum(bought - sold + wear_eur_per_kwh * path.discharge_kwh))


@dataclass(frozen=True)
class BatterySchedule:
    """The cheapest schedule.

    Attributes
    ----------
    path : what the battery does.
    import_kwh, export_kwh : at the meter, shape (slots,), never both above 0.
    cost_eur : with the battery, its wear included.
    cost_without_eur : with an idle battery.
    """

    path: BatteryPath
    import_kwh: Floats
    export_kwh: Floats
    cost_eur: float
    cost_without_eur: float

    @property
    def saving_eur(self) -> float:
        """What the battery saves; below 0 only if it has to be filled for the end, EUR."""
        return self.cost_without_eur - self.cost_eur


def schedule_battery(
    net_kwh: ArrayLike,
    import_price: ArrayLike,
    export_price: ArrayLike,
    battery: Battery,
    hours: float = 1.0,
) -> BatterySchedule:
    """Schedule a battery at least cost; an idle one stays idle where nothing is cheaper.

    Parameters
    ----------
    net_kwh : load less generation, shape (slots,), kWh.
    import_price, export_price : one number or shape (slots,), EUR/kWh.
    battery : ratings, and what it holds at the start and has to hold at the end.
    hours : length of a slot, h.

    Raises
    ------
    NoScheduleError
        If the battery cannot hold what is asked for at the end.
    MarketError
        If a number is missing or a series has another length.

    Examples
    --------
    >>> prices = [0.10, 0.30]
    >>> battery = Battery(5.0, 5.0, charge_efficiency=0.9, discharge_efficiency=0.9)
    >>> round(schedule_battery([0.0, 0.0], prices, prices, battery).saving_eur, 6)
    0.715
    """
    tariff = _tariff(net_kwh, import_price, export_price)
    check_hours(hours)
    slots = range(len(tariff.net_kwh))
    idle = replay(battery, np.zeros(len(slots)), hours)
    idle_cost = tariff.cost_eur(idle, battery.wear_eur_per_kwh)
    model = _model(tariff, battery, slots, hours)
    if not has_optimum(model):
        raise NoScheduleError(
            f"{battery.name}: holds {battery.stored_kwh:g} kWh and cannot hold end_kwh = "
            f"{battery.end_kwh:g} after {len(slots)} slots of {hours:g} h; its capacity is "
            f"{battery.capacity_kwh:g} kWh and its power {battery.power_kw:g} kW"
        )
    path = path_of(model.battery, battery, slots, hours)
    cost = tariff.cost_eur(path, battery.wear_eur_per_kwh)
    if battery.stored_kwh >= battery.end_kwh and idle_cost <= cost:
        path, cost = idle, idle_cost
    outside = tariff.net_kwh + path.power_kwh
    return BatterySchedule(
        path=path,
        import_kwh=np.maximum(outside, 0.0),
        export_kwh=np.maximum(-outside, 0.0),
        cost_eur=cost,
        cost_without_eur=idle_cost,
    )


def _tariff(net_kwh: ArrayLike, import_price: ArrayLike, export_price: ArrayLike) -> Tariff:
    net = np.asarray(net_kwh, dtype=np.float64)
    check_series("net_kwh", net, net.size)

    def prices(name: str, given: ArrayLike) -> Floats:
        values = np.asarray(given, dtype=np.float64)
        values = np.full(net.size, values) if values.ndim == 0 else values
        check_series(name, values, net.size)
        return values

    return Tariff(net, prices("import_price", import_price), prices("export_price", export_price))


def _model(tariff: Tariff, battery: Battery, slots: range, hours: float) -> pe.ConcreteModel:
    model = pe.ConcreteModel(name="battery schedule")
    model.battery = battery_block(battery, slots, hours)
    net = tariff.net_kwh.tolist()
    most_in = [max(each + battery.most_charged_kwh(hours), 0.0) for each in net]
    most_out = [max(battery.most_discharged_kwh(hours) - each, 0.0) for each in net]
    model.bought = pe.Var(slots, bounds=lambda _, t: (0.0, most_in[t]))
    model.sold = pe.Var(slots, bounds=lambda _, t: (0.0, most_out[t]))
    model.is_buying = pe.Var(slots, domain=pe.Binary)

    def balance(m: pe.ConcreteModel, t: int) -> Any:
        used = m.battery.charge[t] - m.battery.discharge[t]
        return m.bought[t] - m.sold[t] - used == net[t]

    model.balance = pe.Constraint(slots, rule=balance)
    model.buys_only = pe.Constraint(
        slots, rule=lambda m, t: m.bought[t] <= most_in[t] * m.is_buying[t]
    )
    model.sells_only = pe.Constraint(
        slots, rule=lambda m, t: m.sold[t] <= most_out[t] * (1.0 - m.is_buying[t])
    )
    model.cost = pe.Objective(
        expr=sum(
            float(tariff.import_price[t]) * model.bought[t]
            - float(tariff.export_price[t]) * model.sold[t]
            + battery.wear_eur_per_kwh * model.battery.discharge[t]
            for t in slots
        )
    )
    return model
