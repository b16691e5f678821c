"""What stores can offer to network operators beside the schedule that the markets gave them.

A store whose market schedule is ``p`` kW (positive consumes), inside the power band of the slot
``low <= p <= high``, can move in two steps, the first one first::

    less consumption    charge less     max(p, 0) - max(low, 0)     asks  bid of charging
                        give back more  min(p, 0) - min(low, 0)     asks  ask of giving back
    more consumption    give back less  min(high, 0) - min(p, 0)    pays  ask of giving back
                        charge more     max(high, 0) - max(p, 0)    pays  bid of charging

What is bought moves the schedule and leaves the contract as it is: the energy of less consumption
goes to the operator, so its price is what that energy is worth to the owner; energy of more
consumption comes from the operator, and the owner pays for it (a price below 0). What it is worth
says the store's own limit price in the market. Power that it kept from the market has none: then
energy given away is bought again from the retailer, with what storing it loses, and energy taken
is worth no more than feeding it in, where it can be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from tricell.errors import MarketError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BAND_RESIDUE_KW = 1e-4
"""A schedule may stand outside its band by so much of it (or kW): residues of solvers."""


class Direction(IntEnum):
    """Which way consumption is to move."""

    DOWN = -1
    UP = 1


@dataclass(frozen=True)
class StoreBand:
    """What stores can do in a slot, arrays of shape (stores,).

    Attributes
    ----------
    lowest_kw, highest_kw : power between which each store may stand, positive consumes.
    asks : EUR/kWh for charging less and for giving back more, shape (2, stores).
    pays : EUR/kWh for giving back less and for charging more, shape (2, stores).
    """

    lowest_kw: Floats
    highest_kw: Floats
    asks: Floats
    pays: Floats


@dataclass(frozen=True)
class StoreBids:
    """Prices that stores bid in the market of a slot, and what energy costs outside.

    Attributes
    ----------
    charge_own, charge_market, discharge_own, discharge_market : limit price of each step, EUR/kWh,
        in terms of the area's price; NaN where the store offers no power of that step.
    retail, feed_in : all-in prices outside, EUR/kWh, one number or one per store.
    round_trip : share of drawn energy that comes back, shape (stores,); 0 where none does.
    wear : EUR per kWh given back, shape (stores,).
    """

    charge_own: Floats
    charge_market: Floats
    discharge_own: Floats
    discharge_market: Floats
    retail: Floats | float
    feed_in: Floats | float
    round_trip: Floats
    wear: Floats

    def asks(self) -> Floats:
        """Return prices of charging less and of giving back more, EUR/kWh, shape (2, stores)."""
        gives = self.round_trip > 0.0
        again = np.full(len(self.round_trip), np.inf)
        np.divide(self.retail, self.round_trip, out=again, where=gives)
        return np.array(
            [
                _first_known(self.charge_own, self.charge_market, self.retail),
                _first_known(self.discharge_market, again + self.wear),
            ]
        )

    def pays(self) -> Floats:
        """Return prices of giving back less and of charging more, EUR/kWh, shape (2, stores)."""
        kept = np.where(self.round_trip > 0.0, self.round_trip, 1.0)
        stored = np.asarray(self.feed_in) * kept
        return np.array(
            [
                _first_known(self.discharge_own, self.discharge_market, self.feed_in),
                _first_known(self.charge_market, np.maximum(stored, 0.0)),
            ]
        )


def _first_known(*prices: Floats | float) -> Floats:
    """Return the first price of each store that is a number."""
    found = np.asarray(prices[0])
    for price in prices[1:]:
        found = np.where(np.isnan(found), price, found)
    return found


@dataclass(frozen=True)
class FlexOffers:
    """Offers of one direction, two steps per store; arrays of shape (2, stores).

    Attributes
    ----------
    power_kw : by how much each step can move consumption in its direction, at least 0.
    price : what a kWh of it costs, EUR/kWh; below 0 where the owner pays.
    """

    power_kw: Floats
    price: Floats

    @property
    def of_stores_kw(self) -> Floats:
        """What each store can move in all, shape (stores,)."""
        return np.asarray(self.power_kw.sum(axis=0))

    def without(self, taken_kw: Floats) -> FlexOffers:
        """Return what is left once some of it is sold, shape (2, stores)."""
        return replace(self, power_kw=np.maximum(self.power_kw - taken_kw, 0.0))

    def of(self, may_offer: Bools) -> FlexOffers:
        """Return the offers of some stores alone."""
        return replace(self, power_kw=np.where(may_offer, self.power_kw, 0.0))


def store_offers(band: StoreBand, schedule_kw: Floats, direction: Direction) -> FlexOffers:
    """Return what stores can offer beside their schedules.

    Parameters
    ----------
    band : what the slot allows, what is held in reserve already taken off.
    schedule_kw : what the markets decided, shape (stores,).
    direction : which way consumption is to move.

    Raises
    ------
    MarketError
        If a schedule lies outside its band.

    Examples
    --------
    A battery that charges with 1 kW of a band from -3 to 2 kW can charge 1 kW less and then give
    back 3 kW:

    >>> asks, pays = np.array([[0.2], [0.3]]), np.array([[0.3], [0.2]])
    >>> band = StoreBand(np.array([-3.0]), np.array([2.0]), asks, pays)
    >>> offers = store_offers(band, np.array([1.0]), Direction.DOWN)
    >>> offers.power_kw.ravel().tolist(), offers.price.ravel().tolist()
    ([1.0, 3.0], [0.2, 0.3])
    """
    now = _inside(band, schedule_kw)
    low, high = band.lowest_kw, band.highest_kw
    charging, giving = np.maximum(now, 0.0), np.minimum(now, 0.0)
    if direction is Direction.DOWN:
        power = np.array([charging - np.maximum(low, 0.0), giving - np.minimum(low, 0.0)])
        price = band.asks
    else:
        power = np.array([np.minimum(high, 0.0) - giving, np.maximum(high, 0.0) - charging])
        price = -band.pays
    # The second step is out of reach before the first is used up, so it is never the cheaper one.
    return FlexOffers(np.maximum(power, 0.0), np.maximum.accumulate(price, axis=0))


def _inside(band: StoreBand, schedule_kw: Floats) -> Floats:
    """Return schedules without the residues that they have beside their bands."""
    low, high = band.lowest_kw, band.highest_kw
    slack = BAND_RESIDUE_KW * np.maximum(1.0, np.maximum(np.abs(low), np.abs(high)))
    wrong = np.flatnonzero(~((schedule_kw >= low - slack) & (schedule_kw <= high + slack)))
    if len(wrong):
        row = wrong[0]
        raise MarketError(
            f"store {row} is scheduled at {schedule_kw[row]:g} kW; its band of the slot is "
            f"{low[row]:g} to {high[row]:g} kW. Offers are made beside schedules inside the band."
        )
    return np.clip(schedule_kw, low, high)
