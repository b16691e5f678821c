r"""What a kWh in store is worth, from prices and own net power to come.

Seen backwards from the end of the time foreseen, every slot offers each battery pieces of energy:
own surplus of :math:`A` kWh at the cost :math:`a` per kWh stored (what it would earn), energy
from the market of :math:`B` at :math:`b` (the all-in retail price), own deficit of :math:`C` at
the gain :math:`c` per kWh taken from the store, and export of :math:`D` at :math:`d`:

.. math::
   a = (f_t - g_t + m) / \eta_c, \quad b = (p_t + m) / \eta_c, \quad
   c = \eta_d (p_t - w - m), \quad d = \eta_d (f_t - g_t - w - m)

with the retail price :math:`p`, feed-in price :math:`f`, export charge :math:`g`, wear :math:`w`
and a margin :math:`m`, which makes later pieces a little worse, so that of equal pieces the
battery takes the first. The marginal value :math:`v(s)` of stored energy falls with the filling
:math:`s`. One step back in time, a piece to charge and a piece to discharge change it to

.. math::
   v \leftarrow \min(v(s), \max(v(s + A), a)), \qquad
   v \leftarrow \max(v(s), \min(v(s - C), c))

which is the exact infimal convolution of a convex cost with a linear piece. For the filling
:math:`S(p)` up to which a kWh is worth at least :math:`p` these are mere shifts,

.. math::
   S(p) \leftarrow S(p) - A \; [p > a], \qquad S(p) \leftarrow S(p) + C \; [p \le c]

between 0 and the capacity, so that steps of the value stay sharp however long the time is. Kept
is :math:`S` at the prices of all pieces; of more than `LEVELS` of them, at that many, which makes
the value a little too low. Below the reserve of a peak plan energy is worth more than any price,
so that the reserve is filled in the cheapest slots before it is needed. Self-discharge makes
fillings shrink, their value stays. Local prices are not foreseen: what neighbours offer is taken
when it is better than the value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tricell.simulators.population import Batteries, BoolArray, FloatArray

LEVELS = 40
"""Most prices at which fillings are kept."""
SAME_FILLING = 1e-9
"""Share of the capacity by which equal fillings may differ, for rounding."""


@dataclass(frozen=True)
class Outlook:
    """What is known of the coming H slots; arrays of shape (H, n_battery) or (H, 1).

    Attributes
    ----------
    retail : all-in retail price of each owner, EUR/kWh.
    earns : what an exported kWh earns, feed-in price less export charge, EUR/kWh.
    net_kw : own net power of each owner, positive imports; shape (H, n_battery).
    cap_kw : largest import of each owner; infinite for none.
    reserve_kwh : least stored energy at the end of each slot; 0 for none.
    hours : length of a slot, h.
    """

    retail: FloatArray
    earns: FloatArray
    net_kw: FloatArray
    cap_kw: FloatArray
    reserve_kwh: FloatArray
    hours: float

    def __len__(self) -> int:
        return len(self.net_kw)


@dataclass(frozen=True)
class EnergyPlanner:
    """Values stored energy.

    Attributes
    ----------
    wear : per kWh discharged, EUR/kWh.
    margin : by how much later pieces of energy are made worse, EUR/kWh.
    """

    wear: float
    margin: float

    def charging_prices(
        self, batteries: Batteries, retail: FloatArray, earns: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return the cost of own and of bought energy, EUR per kWh stored."""
        eta = batteries.eta_charge
        return np.asarray((earns + self.margin) / eta), np.asarray((retail + self.margin) / eta)

    def discharging_prices(
        self, batteries: Batteries, retail: FloatArray, earns: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return the gain of own deficits covered and of exports, EUR per kWh stored."""
        eta, less = batteries.eta_discharge, self.wear + self.margin
        return np.asarray(eta * (retail - less)), np.asarray(eta * (earns - less))

    def levels(self, batteries: Batteries, retail: FloatArray, earns: FloatArray) -> FloatArray:
        """Return the prices at which the fillings of a run are kept.

        Parameters
        ----------
        batteries : Batteries
            Ratings.
        retail, earns : float64, shape (T, n_battery) or (T, 1)
            As in `Outlook`, of the whole run.

        Returns
        -------
        float64, shape (n_level, n_battery)
            EUR per kWh stored, rising. One of them is the least that energy could have earned,
            which is what it is worth when nothing is foreseen any more.
        """
        some_retail, some_earns = np.unique(retail, axis=0), np.unique(earns, axis=0)
        charging = self.charging_prices(batteries, some_retail, some_earns)
        discharging = self.discharging_prices(batteries, some_retail, some_earns)
        rest = _worth_at_last(batteries, earns)[None]
        prices: FloatArray = np.maximum(np.concatenate([*charging, *discharging, rest]), 0.0)
        prices = np.sort(prices, axis=0)
        if len(prices) <= LEVELS:
            return prices
        return np.asarray(prices[np.linspace(0, len(prices) - 1, LEVELS).round().astype(np.int64)])

    def fillings(
        self,
        batteries: Batteries,
        outlook: Outlook,
        levels: FloatArray,
        after: FloatArray | None = None,
    ) -> tuple[FloatArray, FloatArray]:
        """Compute up to which filling energy is worth each price, from what is foreseen.

        Long times are valued part by part, the last one first.

        Parameters
        ----------
        batteries : Batteries
            Ratings.
        outlook : Outlook
            Prices and own net power of the coming slots.
        levels : float64, shape (n_level, n_battery)
            From `levels`.
        after : float64, shape (n_level, n_battery), or None
            Fillings at the end of the outlook; None where nothing is foreseen after it.

        Returns
        -------
        at_end : float64, shape (H, n_level, n_battery)
            Fillings at the end of every slot, kWh, falling with the price.
        at_start : float64, shape (n_level, n_battery)
            The same at the start of the first slot.
        """
        full = batteries.energy_kwh
        if after is None:
            after = np.where(levels <= _worth_at_last(batteries, outlook.earns), full, 0.0)
        steps = _Steps.of(self, batteries, outlook)
        kept = (1.0 - batteries.self_discharge_per_day) ** (outlook.hours / 24.0)
        at_end = np.empty((len(outlook), *levels.shape))
        now = after.copy()
        for slot in range(len(outlook) - 1, -1, -1):
            np.maximum(now, outlook.reserve_kwh[slot], out=now)
            at_end[slot] = now
            steps.one_slot_back(now, levels, slot)
            np.clip(now, 0.0, full, out=now)
            now /= kept
            np.minimum(now, full, out=now)
        return at_end, now


def _worth_at_last(batteries: Batteries, earns: FloatArray) -> FloatArray:
    """Return what energy is worth that nobody will need, EUR per kWh stored."""
    return np.asarray(np.maximum(earns.min(axis=0), 0.0) / batteries.eta_charge)


@dataclass(frozen=True)
class _Steps:
    """The pieces of energy of every slot, kWh stored, and their prices; shape (H, n_battery)."""

    surplus: FloatArray
    bought: FloatArray
    deficit: FloatArray
    sold: FloatArray
    surplus_price: FloatArray
    bought_price: FloatArray
    deficit_price: FloatArray
    sold_price: FloatArray

    @classmethod
    def of(cls, planner: EnergyPlanner, batteries: Batteries, outlook: Outlook) -> _Steps:
        charge, discharge = batteries.charge_kw, batteries.discharge_kw
        net, hours = outlook.net_kw, outlook.hours
        surplus, deficit = np.clip(-net, 0.0, charge), np.clip(net, 0.0, discharge)
        bought = np.clip(np.minimum(outlook.cap_kw - net, charge) - surplus, 0.0, None)
        into, out_of = hours * batteries.eta_charge, hours / batteries.eta_discharge
        prices = batteries, outlook.retail, outlook.earns
        surplus_price, bought_price = planner.charging_prices(*prices)
        deficit_price, sold_price = planner.discharging_prices(*prices)
        return cls(
            surplus=surplus * into,
            bought=bought * into,
            deficit=deficit * out_of,
            sold=(discharge - deficit) * out_of,
            surplus_price=surplus_price,
            bought_price=bought_price,
            deficit_price=deficit_price,
            sold_price=sold_price,
        )

    def one_slot_back(self, filling: FloatArray, levels: FloatArray, slot: int) -> None:
        """Shift fillings from the end of a slot to its start, in place and without bounds."""
        filling -= self.surplus[slot] * (levels > self.surplus_price[slot])
        filling -= self.bought[slot] * (levels > self.bought_price[slot])
        filling += self.deficit[slot] * (levels <= self.deficit_price[slot])
        filling += self.sold[slot] * (levels <= self.sold_price[slot])


@dataclass(frozen=True)
class StoredValue:
    """Value of energy in store at one moment; arrays of shape (n_level, n_battery).

    Attributes
    ----------
    levels : prices, EUR per kWh stored, rising.
    filling_kwh : up to which stored energy a kWh is worth at least that, falling.
    energy_kwh : capacity, shape (n_battery,).
    """

    levels: FloatArray
    filling_kwh: FloatArray
    energy_kwh: FloatArray

    def of_last(self, stored_kwh: FloatArray) -> FloatArray:
        """Return what the last kWh up to a filling is worth, EUR/kWh; shape (n_battery,)."""
        return self._at(self.filling_kwh >= stored_kwh - SAME_FILLING * self.energy_kwh)

    def of_next(self, stored_kwh: FloatArray) -> FloatArray:
        """Return what one more kWh beyond a filling is worth, EUR/kWh; shape (n_battery,)."""
        return self._at(self.filling_kwh > stored_kwh + SAME_FILLING * self.energy_kwh)

    def worth_at_least(self, price: FloatArray) -> FloatArray:
        """Return up to which filling a kWh is worth at least a price, kWh; shape (n_battery,)."""
        return self._up_to(self.levels < price)

    def worth_more_than(self, price: FloatArray) -> FloatArray:
        """Return up to which filling a kWh is worth more than a price, kWh; shape (n_battery,)."""
        return self._up_to(self.levels <= price)

    def _at(self, reached: BoolArray) -> FloatArray:
        count = np.count_nonzero(reached, axis=0)
        value = self.levels[np.maximum(count - 1, 0), np.arange(len(count))]
        return np.where(count > 0, value, 0.0)

    def _up_to(self, below: BoolArray) -> FloatArray:
        count = np.count_nonzero(below, axis=0)
        top = len(self.levels) - 1
        filling = self.filling_kwh[np.minimum(count, top), np.arange(len(count))]
        return np.where(count > top, 0.0, filling)
