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

which is the exact infimal convolution of a convex cost with a linear piece: the price of the
piece, as far as it lies between the values before and after it. Values are kept at
`LEVELS` fillings, straight lines between. Below the reserve of a peak plan a kWh is worth more
than any energy, so that the reserve is filled in the cheapest slots before it is needed. Local
prices are not foreseen: what neighbours offer is taken when it is better than the value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tricell.simulators.population import Batteries, FloatArray, IntArray

LEVELS = 17
"""Fillings at which values are kept: empty, every sixteenth, full."""
SMALLEST_FALL = 1e-12
"""Fall of the value between two levels that counts as one, EUR/kWh."""
FULL_OR_EMPTY = 1e6
"""Value of energy that an empty store lacks; minus that of energy that a full one cannot take."""
RESERVE_WORTH = 2.0
"""Value of a kWh below the reserve, in terms of the highest price foreseen."""


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
class StoredValues:
    """Value of one more kWh in store at fillings from empty to full, EUR/kWh.

    Attributes
    ----------
    at_end : at the end of every slot, shape (H, LEVELS, n_battery).
    at_start : at the start of the first slot, shape (LEVELS, n_battery): what the slots before
        have to know of these.
    """

    at_end: FloatArray
    at_start: FloatArray


def stored_energy_values(
    batteries: Batteries,
    outlook: Outlook,
    after: FloatArray | None = None,
    *,
    wear_eur_per_kwh: float,
    margin_eur_per_kwh: float,
) -> StoredValues:
    """Value stored energy in the slots of an outlook.

    Long times are valued part by part, the last one first, each with what the next one begins with.

    Parameters
    ----------
    batteries : Batteries
        Ratings.
    outlook : Outlook
        Prices and own net power of the coming slots.
    after : float64, shape (LEVELS, n_battery), or None
        Value at the end of the outlook; None for the least that energy could have earned in it.
    wear_eur_per_kwh : float
        Wear per kWh discharged, EUR/kWh.
    margin_eur_per_kwh : float
        By how much later pieces of energy are made worse, EUR/kWh.

    Returns
    -------
    StoredValues
        EUR per kWh stored, at fillings from empty to full, falling and never negative.
    """
    pieces = _Pieces.of(batteries, outlook, wear_eur_per_kwh, margin_eur_per_kwh)
    least_kwh = np.linspace(0.0, 1.0, LEVELS)[:, None] * batteries.energy_kwh
    values = np.empty((len(outlook), LEVELS, len(batteries)))
    if after is None:
        rest = np.maximum(outlook.earns.min(axis=0), 0.0) / batteries.eta_charge
        after = np.tile(rest, (LEVELS, 1))
    value = after
    for slot in range(len(outlook) - 1, -1, -1):
        reserve = outlook.reserve_kwh[slot]
        if reserve.any():
            value = np.where(least_kwh < reserve, np.maximum(value, pieces.dearest), value)
        values[slot] = value
        value = pieces.one_slot_back(value, slot)
    return StoredValues(at_end=values, at_start=value)


def value_at(values: FloatArray, filling: FloatArray) -> FloatArray:
    """Return the value of one more kWh in store at a filling.

    Parameters
    ----------
    values : float64, shape (LEVELS, n_battery)
        Values of a slot from `stored_energy_values`.
    filling : float64, shape (n_battery,)
        Stored energy as a share of the capacity; clipped to 0 to 1.
    """
    place = np.clip(filling, 0.0, 1.0) * (LEVELS - 1)
    low = np.minimum(place.astype(np.int64), LEVELS - 2)
    column = np.arange(values.shape[1])
    share = place - low
    return np.asarray(values[low, column] * (1.0 - share) + values[low + 1, column] * share)


def filling_worth(values: FloatArray, price: FloatArray) -> FloatArray:
    """Return the filling up to which one more kWh is worth at least a price.

    Parameters
    ----------
    values : float64, shape (LEVELS, n_battery)
        Values of a slot from `stored_energy_values`.
    price : float64, shape (n_battery,)
        EUR per kWh stored.

    Returns
    -------
    float64, shape (n_battery,)
        Share of the capacity, 0 to 1.
    """
    count = np.count_nonzero(values >= price, axis=0)
    column = np.arange(values.shape[1])
    above = values[np.maximum(count - 1, 0), column]
    below = values[np.minimum(count, LEVELS - 1), column]
    # Where all levels are worth it, or none is, there is no fall and the clip decides.
    between = (above - price) / np.maximum(above - below, SMALLEST_FALL)
    return np.asarray(np.clip((count - 1 + between) / (LEVELS - 1), 0.0, 1.0))


@dataclass(frozen=True)
class _Piece:
    """One piece of energy in every slot: how far it moves the filling, and its price.

    Attributes
    ----------
    place : where the lowest level is moved to, as a row of `_Pieces.padded` times its width.
    share : how far beyond that row, 0 to 1.
    price : EUR per kWh stored.
    """

    place: IntArray
    share: FloatArray
    price: FloatArray

    @classmethod
    def of(cls, steps: FloatArray, price: FloatArray) -> _Piece:
        """Return a piece that moves the filling by some levels; shape (H, n_battery)."""
        within = np.clip(steps, -LEVELS, LEVELS)
        whole = np.floor(within)
        n_battery = steps.shape[1]
        place = (LEVELS + whole.astype(np.int64)) * n_battery + np.arange(n_battery)
        return cls(place, within - whole, price)


@dataclass(frozen=True)
class _Pieces:
    """The pieces of energy of every slot.

    Attributes
    ----------
    own : own surplus to store, or own deficit to cover.
    buy, sell : the rest of the power, with the market.
    kept : share of stored energy left after self-discharge.
    dearest : value of energy below a reserve.
    padded : room for the values between those beyond a full and an empty store.
    rows : start of each level in a flat array.
    """

    own: _Piece
    buy: _Piece
    sell: _Piece
    kept: FloatArray
    dearest: float
    padded: FloatArray
    rows: IntArray

    @classmethod
    def of(cls, batteries: Batteries, outlook: Outlook, wear: float, margin: float) -> _Pieces:
        charge, discharge = batteries.charge_kw, batteries.discharge_kw
        net, hours = outlook.net_kw, outlook.hours
        surplus, deficit = np.clip(-net, 0.0, charge), np.clip(net, 0.0, discharge)
        buys = np.clip(np.minimum(outlook.cap_kw - net, charge) - surplus, 0.0, None)
        steps_per_kwh = (LEVELS - 1) / batteries.energy_kwh
        into = hours * batteries.eta_charge * steps_per_kwh
        out_of = hours / batteries.eta_discharge * steps_per_kwh
        own_cost = (outlook.earns + margin) / batteries.eta_charge
        own_gain = batteries.eta_discharge * (outlook.retail - wear - margin)
        buy_price = (outlook.retail + margin) / batteries.eta_charge
        sell_price = batteries.eta_discharge * (outlook.earns - wear - margin)
        padded = np.full((3 * LEVELS + 1, len(batteries)), FULL_OR_EMPTY)
        padded[2 * LEVELS :] = -FULL_OR_EMPTY
        return cls(
            own=_Piece.of(
                np.where(net < 0, surplus * into, -deficit * out_of),
                np.where(net < 0, own_cost, own_gain),
            ),
            buy=_Piece.of(buys * into, buy_price),
            sell=_Piece.of(-(discharge - deficit) * out_of, sell_price),
            kept=(1.0 - batteries.self_discharge_per_day) ** (hours / 24.0),
            dearest=RESERVE_WORTH * float(max(np.max(outlook.retail), 0.0)) + 1.0,
            padded=padded,
            rows=np.arange(LEVELS)[:, None] * len(batteries),
        )

    def one_slot_back(self, value: FloatArray, slot: int) -> FloatArray:
        """Return the value of stored energy at the start of a slot from that at its end."""
        value = self._with(value, self.buy, slot)
        value = self._with(value, self.own, slot)
        # Values fall with the filling: where selling brings less than the last, it changes nothing.
        if (self.sell.price[slot] > value[-1]).any():
            value = self._with(value, self.sell, slot)
        return np.maximum(value * self.kept, 0.0)

    def _with(self, value: FloatArray, piece: _Piece, slot: int) -> FloatArray:
        """Return the value with a piece: its price, between the values before and after it."""
        self.padded[LEVELS : 2 * LEVELS] = value
        flat, place = self.padded.ravel(), self.rows + piece.place[slot]
        moved = flat.take(place)
        above = flat.take(place + self.padded.shape[1])
        above -= moved
        above *= piece.share[slot]
        moved += above
        lowest, highest = np.minimum(value, moved), np.maximum(value, moved)
        return np.asarray(np.minimum(np.maximum(piece.price[slot], lowest), highest))
