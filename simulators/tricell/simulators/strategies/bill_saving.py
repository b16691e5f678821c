r"""Strategy ``bill_saving``: the smallest bill of the owner, from prices and power foreseen.

`tricell.simulators.energy_plan` gives the value :math:`v(s)` of a kWh in store at every filling,
from the prices and the own net power of all the run to come, so that no hour is one in which all
batteries change their plans. In a slot the battery wants, at the retail price :math:`p` (with all
charges of the owner), the feed-in price :math:`f`, the export charge :math:`g`, wear :math:`w`
and a small margin :math:`m`,

* to keep own surplus as long as :math:`v \eta_c \ge f - g + m`,
* to cover own deficit as long as :math:`v / \eta_d + w \le p - m`,
* to charge from the market as long as :math:`v \eta_c \ge p + m`.

Each step bids the value at its far end, so that every kWh of it pays. What is not wanted at the
retail price is still offered at its value: neighbours may pay more or take less than the
retailer. They have to beat own energy by a little (`OWN_FIRST`): a battery that its own sun will
fill leaves the same energy at the same price to others, and one with energy to spare serves its
own household first. Otherwise all batteries of a place would fill in the first sunny slot from
the neighbours and export their own sun later, which brings nobody anything but peaks. What is left
are trades that pay: without enough sun of its own a battery takes cheap energy of neighbours as
soon as there is any, at full power, for deficits to come and not beyond them.

With flat prices this is self-consumption; with time bands or dynamic prices cheap slots
are charged for dear ones where the spread exceeds losses and wear.

Where power has a price, `tricell.simulators.peak_plan` gives a cap on the import and the energy
that must be left at the end of the slot. The battery discharges at any price to hold the cap,
otherwise never below that energy; it recharges towards it at any price up to the retail price;
and it never charges beyond the cap. Without a price on power nothing of this applies.

The own net power is foreseen as it will be forecast at the gates of the coming slots; what
simulators of third parties add is not foreseen. With perfect forecasts that is the best case of a
forecast, not a typical one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tricell.errors import SimulatorError
from tricell.simulators.battery import power_bounds, stored_after_self_discharge
from tricell.simulators.battery_orders import (
    BatteryOrders,
    BatterySlot,
    KnownPrices,
    SlotPlan,
    Step,
)
from tricell.simulators.energy_plan import EnergyPlanner, StoredValue
from tricell.simulators.population import Batteries, FloatArray

OWN_FIRST = 3.0
"""Margins by which neighbours must beat own energy; later pieces are worse by two in the plan."""


class BillSaving(BaseModel):
    """Self-consumption, charging in cheap slots for dear ones, and peak shaving, with foresight."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    kind: Literal["bill_saving"] = "bill_saving"
    wear_eur_per_kwh: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Wear per kWh discharged, EUR/kWh (0)."""
    priority_margin_eur_per_kwh: float = Field(default=0.001, gt=0, allow_inf_nan=False)
    """Margin that a use must be better than the retailer by, EUR/kWh (0.001); decides ties."""
    peak_shaving: bool = True
    """Whether batteries keep the import below a cap where power has a price (true)."""


def bill_saving_planner(parameters: BillSaving) -> EnergyPlanner:
    """Return what values stored energy for this strategy.

    Later pieces of energy are made worse by two margins, so that the battery takes the first of
    equal ones in spite of the margin of the slot.
    """
    return EnergyPlanner(
        wear=parameters.wear_eur_per_kwh, margin=2.0 * parameters.priority_margin_eur_per_kwh
    )


def bill_saving_orders(
    parameters: BillSaving,
    batteries: Batteries,
    slot: BatterySlot,
    prices: KnownPrices,
) -> BatteryOrders:
    """Orders of one slot; see the module.

    Parameters
    ----------
    parameters : BillSaving
        Wear and margin.
    batteries : Batteries
        Ratings.
    slot : BatterySlot
        Stored energy, own surplus and the plan.
    prices : KnownPrices
        Prices of the slot.

    Returns
    -------
    BatteryOrders
        All four steps.

    Raises
    ------
    SimulatorError
        If the slot has no plan.
    """
    if not len(batteries):
        return BatteryOrders(np.zeros((len(Step), 0)), np.zeros((len(Step), 0)))
    if slot.plan is None:
        raise SimulatorError(
            "The strategy bill_saving needs a plan, but the storage simulator was set up without "
            "one. Give StorageSettings.look_ahead."
        )
    store = _Store.of(batteries, slot, slot.plan)
    limits = _Limits.of(parameters, prices)
    charge = _charging(batteries, store, limits)
    discharge = _discharging(batteries, store, limits)
    # With a charge on export that pays back more than an import costs, the two would cross.
    discharge[0][1] = np.maximum(discharge[0][1], charge[0][1])
    # Of a filling that differs from an edge of the value by rounding, own use might cross, too.
    may_buy = (charge[1][1] > 0) & (store.must_discharge_kw == 0)
    discharge[0][0] = np.where(may_buy, np.maximum(discharge[0][0], charge[0][1]), discharge[0][0])
    order = (Step.CHARGE_OWN, Step.CHARGE_MARKET, Step.DISCHARGE_OWN, Step.DISCHARGE_MARKET)
    assert order == tuple(Step)
    return BatteryOrders(
        limit_price_eur_per_kwh=np.stack([*charge[0], *discharge[0]]),
        upper_kw=np.stack([*charge[1], *discharge[1]]),
    )


@dataclass(frozen=True)
class _Store:
    """What each battery can, may and must do in a slot; kW and kWh, shape (n_battery,)."""

    kwh: FloatArray
    value: StoredValue
    hours: float
    own_surplus_kw: FloatArray
    may_charge_kw: FloatArray
    must_charge_kw: FloatArray
    may_discharge_kw: FloatArray
    must_discharge_kw: FloatArray

    @classmethod
    def of(cls, batteries: Batteries, slot: BatterySlot, plan: SlotPlan) -> _Store:
        kwh = stored_after_self_discharge(batteries, slot.soc_kwh, slot.hours)
        max_charge_kw, max_discharge_kw = power_bounds(batteries, slot.soc_kwh, slot.hours)
        spare_kw = plan.cap_kw + slot.own_surplus_kw
        must_discharge_kw = np.clip(-spare_kw, 0.0, max_discharge_kw)
        above_reserve_kw = (kwh - plan.reserve_kwh) * batteries.eta_discharge / slot.hours
        may_charge_kw = np.clip(spare_kw, 0.0, max_charge_kw)
        missing_kw = (plan.reserve_kwh - kwh) / (batteries.eta_charge * slot.hours)
        return cls(
            kwh=kwh,
            value=plan.value,
            hours=slot.hours,
            own_surplus_kw=slot.own_surplus_kw,
            may_charge_kw=may_charge_kw,
            must_charge_kw=np.clip(missing_kw, 0.0, may_charge_kw),
            may_discharge_kw=np.clip(above_reserve_kw, must_discharge_kw, max_discharge_kw),
            must_discharge_kw=must_discharge_kw,
        )


@dataclass(frozen=True)
class _Limits:
    """Prices of a slot; EUR/kWh."""

    retail: FloatArray | float
    earns: FloatArray | float
    buyer_pays: FloatArray
    export_charge: FloatArray | float
    wear: float
    margin: float
    surely_bought: FloatArray
    surely_sold: float

    @classmethod
    def of(cls, parameters: BillSaving, prices: KnownPrices) -> _Limits:
        margin = parameters.priority_margin_eur_per_kwh
        highest_price = prices.retail_eur_per_kwh - prices.local_fee_eur_per_kwh
        return cls(
            retail=prices.retail_eur_per_kwh,
            earns=prices.feed_in_eur_per_kwh - prices.export_charge_eur_per_kwh,
            buyer_pays=prices.local_fee_eur_per_kwh,
            export_charge=prices.export_charge_eur_per_kwh,
            wear=parameters.wear_eur_per_kwh,
            margin=margin,
            surely_bought=highest_price + margin,
            surely_sold=prices.feed_in_eur_per_kwh - margin,
        )


_Steps = tuple[list[FloatArray], list[FloatArray]]
"""Limit prices and powers of two steps, own and market."""


def _charging(batteries: Batteries, store: _Store, limits: _Limits) -> _Steps:
    """Return the steps ``CHARGE_OWN`` and ``CHARGE_MARKET``."""
    per_kw = batteries.eta_charge * store.hours
    eta = batteries.eta_charge

    def wanted_kw(price: FloatArray | float) -> FloatArray:
        target = store.value.worth_at_least((price + limits.margin) / eta)
        return np.asarray((target - store.kwh) / per_kw)

    def value_after(charged_kw: FloatArray) -> FloatArray:
        return store.value.of_last(store.kwh + charged_kw * per_kw) * eta

    must = store.must_charge_kw
    own_room = np.clip(store.own_surplus_kw, 0.0, store.may_charge_kw)
    own_must = np.minimum(must, own_room)
    own = np.clip(wanted_kw(limits.earns), own_must, own_room)
    own_price = value_after(own) + limits.export_charge
    own_price = np.where(own_must > 0, np.maximum(own_price, limits.surely_bought), own_price)

    room = store.may_charge_kw - own
    market_must = np.clip(must - own, 0.0, room)
    at_retail = np.clip(wanted_kw(limits.retail) - own, market_must, room)
    # From neighbours, only what is worth much more than own energy, as long as anything is.
    next_value = store.value.of_next(store.kwh + own * per_kw) * eta
    middle = 0.5 * (next_value + np.minimum(limits.earns + limits.margin, next_value))
    needed = np.clip(wanted_kw(middle - limits.margin) - own, 0.0, room)
    market = np.where(at_retail > 0, at_retail, np.where(needed > 0, needed, room))
    preferred = np.where(at_retail > 0, 0.0, OWN_FIRST * limits.margin)
    price = value_after(own + market) - limits.buyer_pays - preferred
    price = np.where(market_must > 0, np.maximum(price, limits.surely_bought), price)
    return [own_price, price], [own, market]


def _discharging(batteries: Batteries, store: _Store, limits: _Limits) -> _Steps:
    """Return the steps ``DISCHARGE_OWN`` and ``DISCHARGE_MARKET``."""
    eta = batteries.eta_discharge
    per_kw = store.hours / eta

    def value_after(taken_kw: FloatArray) -> FloatArray:
        return store.value.of_next(store.kwh - taken_kw * per_kw) / eta + limits.wear

    stored_price = eta * (limits.retail - limits.wear - limits.margin)
    at_retail = (store.kwh - store.value.worth_more_than(stored_price)) / per_kw
    own_room = np.clip(-store.own_surplus_kw, 0.0, store.may_discharge_kw)
    must = np.minimum(store.must_discharge_kw, own_room)
    wanted = np.clip(at_retail, must, own_room)
    own = np.where(wanted > 0, wanted, own_room)
    preferred = np.where(wanted > 0, OWN_FIRST * limits.margin, 0.0)
    own_price = value_after(own) - limits.buyer_pays - preferred
    own_price = np.where(must > 0, np.minimum(own_price, limits.surely_sold), own_price)

    # To neighbours, only what is worth much less than energy for own deficits, if anything is.
    room = store.may_discharge_kw - own
    last_value = store.value.of_last(store.kwh - own * per_kw)
    middle = 0.5 * (last_value + np.maximum(stored_price, last_value))
    spare = np.clip((store.kwh - store.value.worth_more_than(middle)) / per_kw - own, 0.0, room)
    market = np.where(spare > 0, spare, room)
    price = value_after(own + market)
    preferred = np.where(price > limits.earns, OWN_FIRST * limits.margin, 0.0)
    price = price + limits.export_charge + preferred
    return [own_price, price], [own, market]
