"""Electric vehicles of one site charged at least cost, each inside its plug window.

::

    minimise    sum_t  p import - p_ex export + wear d
    subject to  sum of charging = need                      each vehicle, arrive <= t < depart
                charging <= charger                         each vehicle and slot
                building + sum of (charging - discharging) = import - export
                import <= feeder,  export <= feeder,  import export = 0

A vehicle with a `Battery` may also give energy back while it is plugged in: to the building (V2B),
or to the grid if export has a price (V2G). It then follows the rule of the battery schedule, and
its battery holds at least `need` more at departure than at arrival.

Without such vehicles only the sequence of prices matters, and equal prices fill the earliest slot
first, so that the total of each slot is unique.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyomo.environ as pe
from numpy.typing import ArrayLike, NDArray

from tricell.errors import MarketError
from tricell.markets.flexibility.battery import (
    Battery,
    battery_block,
    check_hours,
    check_series,
    path_of,
)
from tricell.markets.flexibility.mixed_integer import NoScheduleError, has_optimum
from tricell.markets.mechanism import About

Floats = NDArray[np.float64]

ABOUT = About(
    name="ev_charging",
    line="vehicles of a site charged at least cost inside their plug windows under a feeder's cap",
    source="Wu, Mohsenian-Rad, Huang 2012, Vehicle-to-aggregator interaction game",
)

SMALLEST_KWH = 1e-7
"""Less energy missing than this is rounding."""


@dataclass(frozen=True)
class Vehicle:
    """A stay of a vehicle at a charger; who comes twice is given twice.

    Attributes
    ----------
    name : what errors call it.
    arrive, depart : first slot plugged in, and first slot gone; slots after the horizon do not
        count.
    need_kwh : to be charged, at least 0.
    power_kw : of its charger, above 0.
    battery : with it, the vehicle may give energy back; its power is that of the charger, and its
        `end_kwh` is set by the need.

    Raises
    ------
    MarketError
        If one of them is not allowed.
    """

    name: str
    arrive: int
    depart: int
    need_kwh: float
    power_kw: float
    battery: Battery | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.arrive <= self.depart:
            raise MarketError(
                f"vehicle {self.name}: plugged in from slot {self.arrive} to {self.depart}; "
                "allowed is 0 <= arrive <= depart"
            )
        if not 0.0 <= self.need_kwh < np.inf:
            raise MarketError(
                f"vehicle {self.name}: need_kwh is {self.need_kwh}; allowed is a finite number of "
                "at least 0"
            )
        if not 0.0 < self.power_kw < np.inf:
            raise MarketError(
                f"vehicle {self.name}: power_kw is {self.power_kw}; allowed is a finite number "
                "above 0"
            )
        if self.battery is not None:
            room = self.battery.capacity_kwh - self.battery.stored_kwh
            if self.need_kwh > room:
                raise MarketError(
                    f"vehicle {self.name}: need_kwh is {self.need_kwh:g}, but its battery has room "
                    f"for {room:g} kWh"
                )

    def window(self, slots: int) -> range:
        """Slots of a horizon in which it is plugged in."""
        return range(min(self.arrive, slots), min(self.depart, slots))

    def charged_battery(self) -> Battery:
        """Return the battery behind its charger, as full at the end as is needed."""
        if self.battery is None:
            raise MarketError(f"vehicle {self.name} gives nothing back: it has no battery")
        return replace(
            self.battery,
            power_kw=self.power_kw,
            end_kwh=self.battery.stored_kwh + self.need_kwh,
            name=f"battery of vehicle {self.name}",
        )


@dataclass(frozen=True)
class Site:
    """Where vehicles charge.

    Attributes
    ----------
    price : of imported energy, shape (slots,), EUR/kWh.
    feeder_kw : largest import, and export, shape (slots,); may be infinite.
    building_kwh : load of the building, shape (slots,), at least 0.
    export_price : shape (slots,), EUR/kWh; None: nothing is exported.
    hours : length of a slot, h.
    """

    price: Floats
    feeder_kw: Floats
    building_kwh: Floats
    export_price: Floats | None = None
    hours: float = 1.0

    @classmethod
    def of(
        cls,
        price: ArrayLike,
        feeder_kw: ArrayLike = np.inf,
        building_kwh: ArrayLike = 0.0,
        export_price: ArrayLike | None = None,
        hours: float = 1.0,
    ) -> Site:
        """Make a site from series, or numbers that hold in every slot, and check them.

        Raises
        ------
        MarketError
            If a number is missing or not allowed.
        """
        prices = np.asarray(price, dtype=np.float64)
        check_series("price", prices, prices.size)
        check_hours(hours)

        def series(name: str, given: ArrayLike) -> Floats:
            values = np.asarray(given, dtype=np.float64)
            values = np.full(prices.size, values) if values.ndim == 0 else values
            check_series(name, np.where(np.isposinf(values), 0.0, values), prices.size)
            return values

        feeder, building = series("feeder_kw", feeder_kw), series("building_kwh", building_kwh)
        for name, values in (("feeder_kw", feeder), ("building_kwh", building)):
            if (values < 0.0).any():
                slot = int(np.argmin(values))
                raise MarketError(
                    f"{name} in slot {slot} is {values[slot]:g}; allowed is at least 0"
                )
        over = np.flatnonzero(building > feeder * hours)
        if len(over):
            raise MarketError(
                f"building_kwh in slot {over[0]} is {building[over[0]]:g}, more than the feeder "
                f"carries: {feeder[over[0]] * hours:g}"
            )
        sold = None if export_price is None else series("export_price", export_price)
        return cls(prices, feeder, building, sold, hours)


@dataclass(frozen=True)
class ChargingPlan:
    """When vehicles charge; arrays of shape (vehicles, slots), kWh at the charger.

    Attributes
    ----------
    charge_kwh, discharge_kwh : 0 outside the plug windows.
    cost_eur : of the site with the vehicles, less that without them; wear included.
    """

    charge_kwh: Floats
    discharge_kwh: Floats
    cost_eur: float

    @property
    def total_kwh(self) -> Floats:
        """What all vehicles together take in each slot, shape (slots,)."""
        return np.asarray((self.charge_kwh - self.discharge_kwh).sum(axis=0))


def charge_vehicles(site: Site, vehicles: Sequence[Vehicle]) -> ChargingPlan:
    """Charge vehicles at least cost; see the module.

    Raises
    ------
    NoScheduleError
        If vehicles cannot get what they need; it names them and the kWh that each would lack in a
        schedule that lacks the least.

    Examples
    --------
    >>> site = Site.of([0.30, 0.20, 0.10, 0.15], feeder_kw=4.0)
    >>> both = [Vehicle("e1", 0, 4, 4.0, 3.0), Vehicle("e2", 1, 3, 3.0, 3.0)]
    >>> round(charge_vehicles(site, both).cost_eur, 6)
    0.85
    """
    _check_chargers(site, vehicles)
    model = _model(site, vehicles)
    if not has_optimum(model):
        raise _shortfall(model, vehicles)
    shape = len(vehicles), len(site.price)
    charge, discharge, wear = np.zeros(shape), np.zeros(shape), 0.0
    for n, vehicle in enumerate(vehicles):
        window = vehicle.window(shape[1])
        if vehicle.battery is None:
            energy = [model.charge[n, t].value for t in window]
            charge[n, window] = np.clip(energy, 0.0, vehicle.power_kw * site.hours)
        elif window:
            battery = vehicle.charged_battery()
            path = path_of(model.battery[n], battery, window, site.hours)
            charge[n, window], discharge[n, window] = path.charge_kwh, path.discharge_kwh
            wear += battery.wear_eur_per_kwh * float(path.discharge_kwh.sum())
    outside = site.building_kwh + (charge - discharge).sum(axis=0)
    cost = site.price @ (np.maximum(outside, 0.0) - site.building_kwh)
    if site.export_price is not None:
        cost -= site.export_price @ np.maximum(-outside, 0.0)
    return ChargingPlan(charge, discharge, float(cost) + wear)


def _check_chargers(site: Site, vehicles: Sequence[Vehicle]) -> None:
    """Refuse vehicles that lack energy even if the feeder carries anything."""
    missing: dict[str, float] = {}
    for vehicle in vehicles:
        most = vehicle.power_kw * site.hours * len(vehicle.window(len(site.price)))
        if vehicle.battery is not None:
            most *= vehicle.battery.charge_efficiency
        if vehicle.need_kwh > most + SMALLEST_KWH:
            lacking = missing.get(vehicle.name, 0.0)
            missing[vehicle.name] = lacking + vehicle.need_kwh - most
    if missing:
        raise NoScheduleError(
            "the charger is too small, or the plug window too short, for "
            f"{_lacks(missing)}; give a smaller need_kwh, more power_kw or a longer window",
            missing,
        )


def _shortfall(model: pe.ConcreteModel, vehicles: Sequence[Vehicle]) -> NoScheduleError:
    """Find who lacks what where as little as possible is missing in all."""
    model.missing.unfix()
    model.cost.deactivate()
    model.least_missing = pe.Objective(expr=sum(model.missing.values()))
    if not has_optimum(model):
        return NoScheduleError("no schedule keeps the limits of the site and of its vehicles")
    missing: dict[str, float] = {}
    for n, vehicle in enumerate(vehicles):
        if model.missing[n].value > SMALLEST_KWH:
            lacking = missing.get(vehicle.name, 0.0)
            missing[vehicle.name] = lacking + float(model.missing[n].value)
    return NoScheduleError(
        f"the feeder is too small for {_lacks(missing)}; give a larger feeder_kw, a smaller "
        "need_kwh or longer plug windows",
        missing,
    )


def _lacks(missing: dict[str, float]) -> str:
    return ", ".join(f"vehicle {name}, which lacks {kwh:g} kWh" for name, kwh in missing.items())


def _model(site: Site, vehicles: Sequence[Vehicle]) -> pe.ConcreteModel:
    slots = len(site.price)
    windows = [vehicle.window(slots) for vehicle in vehicles]
    plain = [n for n, vehicle in enumerate(vehicles) if vehicle.battery is None]
    two_way = [n for n, v in enumerate(vehicles) if v.battery is not None and windows[n]]
    model = pe.ConcreteModel(name="charging of vehicles")
    model.missing = pe.Var(range(len(vehicles)), bounds=(0.0, None))
    model.missing.fix(0.0)
    model.charge = pe.Var(
        [(n, t) for n in plain for t in windows[n]],
        bounds=lambda _, n, t: (0.0, vehicles[n].power_kw * site.hours),
    )
    needy = [n for n in plain if windows[n]]
    model.need = pe.Constraint(needy, rule=lambda m, n: _charged(m, n, windows[n], vehicles[n]))
    model.battery = pe.Block(pe.Set(initialize=two_way))
    for n in two_way:
        battery = vehicles[n].charged_battery()
        block = battery_block(battery, windows[n], site.hours, model.missing[n])
        model.battery[n].transfer_attributes_from(block)
    _connect(model, site, vehicles, windows)
    return model


def _charged(model: pe.ConcreteModel, n: int, window: range, vehicle: Vehicle) -> Any:
    return sum(model.charge[n, t] for t in window) + model.missing[n] == vehicle.need_kwh


def _connect(
    model: pe.ConcreteModel, site: Site, vehicles: Sequence[Vehicle], windows: Sequence[range]
) -> None:
    """Connect vehicles and building to the feeder, and price what flows there."""
    slots, two_way = range(len(site.price)), list(model.battery)
    taken: list[Any] = site.building_kwh.tolist()
    for (_, t), charged in model.charge.items():
        taken[t] += charged
    for n in two_way:
        for t in windows[n]:
            taken[t] += model.battery[n].charge[t] - model.battery[n].discharge[t]
    chargers = site.hours * sum(vehicle.power_kw for vehicle in vehicles)
    feeder = site.feeder_kw * site.hours
    most_in = np.minimum(feeder, site.building_kwh + chargers).tolist()
    sells = site.export_price is not None and two_way
    most_out = np.minimum(feeder, chargers if sells else 0.0).tolist()
    model.bought = pe.Var(slots, bounds=lambda _, t: (0.0, most_in[t]))
    model.sold = pe.Var(slots, bounds=lambda _, t: (0.0, most_out[t]))
    model.balance = pe.Constraint(
        slots, rule=lambda m, t: m.bought[t] - m.sold[t] - taken[t] == 0.0
    )
    if sells:
        model.is_buying = pe.Var(slots, domain=pe.Binary)
        model.buys_only = pe.Constraint(
            slots, rule=lambda m, t: m.bought[t] <= most_in[t] * m.is_buying[t]
        )
        model.sells_only = pe.Constraint(
            slots, rule=lambda m, t: m.sold[t] <= most_out[t] * (1.0 - m.is_buying[t])
        )
    price = site.price if two_way else _place_by_price(site.price)
    earned = np.zeros(len(slots)) if site.export_price is None else site.export_price
    model.cost = pe.Objective(
        expr=sum(
            float(price[t]) * model.bought[t] - float(earned[t]) * model.sold[t] for t in slots
        )
        + sum(
            model.battery[n].discharge[t] * vehicles[n].charged_battery().wear_eur_per_kwh
            for n in two_way
            for t in windows[n]
        )
    )


def _place_by_price(price: Floats) -> Floats:
    """Place of each slot by rising price, the earliest first among equals.

    Where vehicles only charge, totals per slot form the bases of a polymatroid: what is cheapest
    follows from the sequence of the prices alone (Edmonds 1970). So places do as well as prices,
    and leave no ties.
    """
    places = np.empty(len(price))
    places[np.argsort(price, kind="stable")] = np.arange(len(price))
    return places
