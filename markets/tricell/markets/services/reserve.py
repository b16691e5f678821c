"""Power held in reserve: taken off the band of stores before anybody can trade or call it.

Reserve against too little generation is power by which a store can lower its consumption from
wherever the markets put it: its lowest power rises. Reserve of the other direction lowers its
highest power. No store is made to draw or give back energy for it: a battery holds at most what it
could give back (or take) in the slot, with the energy that it has, and a vehicle that charges what
it could charge less (or more). So energy held in one slot is still there for the next.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tricell.markets.services.offers import Bools, Direction, Floats, StoreBand


def hold_reserve(
    band: StoreBand, need_kw: float, direction: Direction, may_hold: Bools, idle_kw: Floats
) -> tuple[Floats, StoreBand]:
    """Hold power in reserve, in proportion to what each store can hold.

    Parameters
    ----------
    band : what is left of the stores.
    need_kw : wanted, at least 0.
    direction : which way consumption would move if the reserve were used.
    may_hold : stores that are asked.
    idle_kw : what each store takes if it trades nothing, inside its band.

    Returns
    -------
    What each store holds, kW, shape (stores,); what is left of the bands.

    Examples
    --------
    >>> none = np.zeros((2, 2))
    >>> band = StoreBand(np.array([-3.0, -1.0]), np.array([2.0, 2.0]), none, none)
    >>> held, left = hold_reserve(band, 2.0, Direction.DOWN, np.ones(2, bool), np.zeros(2))
    >>> held.tolist(), left.lowest_kw.tolist()
    ([1.5, 0.5], [-1.5, -0.5])
    """
    free = idle_kw - band.lowest_kw if direction is Direction.DOWN else band.highest_kw - idle_kw
    room = np.where(may_hold, np.maximum(free, 0.0), 0.0)
    total = float(room.sum())
    held = room * (min(1.0, need_kw / total) if total > 0.0 else 0.0)
    if direction is Direction.DOWN:
        return held, replace(band, lowest_kw=band.lowest_kw + held)
    return held, replace(band, highest_kw=band.highest_kw - held)
