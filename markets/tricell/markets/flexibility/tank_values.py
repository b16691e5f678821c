r"""What a stored kWh is worth in a planned tank, where the dual solution leaves it open.

The dual of a tank's balance is what its energy is worth. Where an optimum is degenerate, as with
every empty tank that stays empty, the dual is any value between what one kWh *more* would bring and
what one kWh *less* would cost. An empty battery may then seem to value a kWh at just what buying
one costs, and would buy. With the prices :math:`\pi` at the owner's meter (`more`: what energy left
over brings, `less`: what energy in want of costs; EUR per kW over a step) both sides follow
backwards from the end:

.. math::
    R_t = \max \{ k_{t+1} R_{t+1} \text{ if not full},\ \pi^{more}_t / a_t \text{ if } c > 0,\
                  (\pi^{more}_t - w_t) / b_t \text{ if } d < \bar d \}

    L_t = \min \{ k_{t+1} L_{t+1} \text{ if not empty},\ \pi^{less}_t / a_t \text{ if } c < \bar c,\
                  (\pi^{less}_t - w_t) / b_t \text{ if } d > 0 \}

Where a tank charges, its value is L, so that it keeps to the plan when prices come out a little
higher; where it discharges, it is R. Where it rests, an empty one, and one that only takes, has R,
a full one L, and any other the middle: where nothing is at a bound all are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tricell.markets.flexibility.tanks import TankOutlook

Floats = NDArray[np.float64]

AT_BOUND = 1e-7
"""kW or kWh within which a tank is at a bound; as HiGHS keeps bounds."""


@dataclass(frozen=True)
class MeterPrices:
    """Prices at the owner's meter of every tank, EUR per kW over a step, shape (H, n).

    Attributes
    ----------
    more : what a kW left over brings: less is bought, or more is sold.
    less : what a kW in want of costs: less is sold, or more is bought.
    """

    more: Floats
    less: Floats


def stored_values(
    outlook: TankOutlook,
    prices: MeterPrices,
    dual: Floats,
    *,
    charge_kw: Floats,
    discharge_kw: Floats,
    stored_kwh: Floats,
    wear_cost: Floats,
) -> Floats:
    """Return the value of stored energy at the end of each step, EUR per kWh, shape (H, n).

    Parameters
    ----------
    outlook : what the tanks can do.
    prices : at the owners' meters.
    dual : a dual solution of the tanks' balances, EUR per kWh; lies between both sides.
    charge_kw, discharge_kw, stored_kwh : the optimum, shape (H, n).
    wear_cost : EUR per kW of discharging over a step, shape (H, n).
    """
    into, out, kept = outlook.into_kwh_per_kw, outlook.out_kwh_per_kw, outlook.kept
    full = stored_kwh >= outlook.highest_kwh - AT_BOUND
    empty = stored_kwh <= outlook.lowest_kwh + AT_BOUND
    charges, discharges = charge_kw > AT_BOUND, discharge_kw > AT_BOUND
    gives_more = discharge_kw < outlook.discharge_kw - AT_BOUND
    takes_more = charge_kw < outlook.charge_kw - AT_BOUND
    used = np.maximum(
        _where(charges, prices.more / into, -np.inf),
        _where(gives_more, (prices.more - wear_cost) / out, -np.inf),
    )
    replaced = np.minimum(
        _where(takes_more, prices.less / into, np.inf),
        _where(discharges, (prices.less - wear_cost) / out, np.inf),
    )
    holds = charges | (full & ~discharges)
    wants_no_more = discharges | empty | (outlook.discharge_kw <= 0.0)
    value = np.empty_like(dual)
    shortfall = outlook.shortfall_eur_per_kwh
    more = less = outlook.worth_at_end_eur_per_kwh
    for step in range(len(dual) - 1, -1, -1):
        more = np.maximum(used[step], _where(~full[step], more, -shortfall))
        less = np.minimum(replaced[step], _where(~empty[step], less, shortfall))
        # Rounding may put the dual a little outside.
        more, less = np.minimum(more, dual[step]), np.maximum(less, dual[step])
        value[step] = np.where(
            holds[step], less, np.where(wants_no_more[step], more, 0.5 * (more + less))
        )
        more, less = kept[step] * more, kept[step] * less
    return value


def _where(condition: NDArray[np.bool_], value: Floats, other: Floats | float) -> Floats:
    return np.where(condition, value, other)
