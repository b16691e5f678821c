r"""Everything that stores or shifts energy as a tank, seen some time ahead.

A battery, a parked vehicle, a heated house and a thermal store all fill and empty alike. Over a
step :math:`t` of a plan, with charging power :math:`c`, discharging power :math:`d`, and energy
:math:`u` that has to come from elsewhere because the tank runs short (:math:`o` that is too much),

.. math::
   s_{t+1} = k_t s_t + a_t c_t - b_t d_t + z_t + u_t - o_t, \qquad
   \underline s_t \le s_{t+1} \le \bar s_t

where :math:`k` is what is kept, :math:`a` and :math:`b` are the energy stored and taken per kW of
power, and :math:`z` is energy that comes or goes whatever is decided: a drive, heat losses and
gains, a heat demand.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tricell.errors import MarketError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class PlanSteps:
    """The time grid of a plan: single slots first, longer steps later.

    Attributes
    ----------
    slots : slots in every step, int64, shape (H,), each at least 1.
    slot_hours : length of a slot, h.
    """

    slots: Indices
    slot_hours: float

    @classmethod
    def of(cls, slot_hours: float, *, horizon_h: float = 24.0, fine_h: float = 1.0) -> Self:
        """Return single slots for the first hours and steps of an hour for the rest.

        Parameters
        ----------
        slot_hours : length of a slot, h.
        horizon_h : length of the whole grid, h.
        fine_h : how long single slots come first, h.

        Examples
        --------
        >>> PlanSteps.of(0.25, horizon_h=3.0).slots.tolist()
        [1, 1, 1, 1, 4, 4]
        """
        total, fine = round(horizon_h / slot_hours), round(fine_h / slot_hours)
        fine = min(max(fine, 1), total)
        coarse = max(round(1.0 / slot_hours), 1)
        steps = [1] * fine + [coarse] * ((total - fine) // coarse)
        rest = total - sum(steps)
        return cls(np.array([*steps, *([rest] if rest else [])], np.int64), slot_hours)

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def total_slots(self) -> int:
        """Slots of the whole grid."""
        return int(self.slots.sum())

    @cached_property
    def hours(self) -> Floats:
        """Length of every step, h, shape (H,)."""
        return np.asarray(self.slots * self.slot_hours, np.float64)

    @cached_property
    def first(self) -> Indices:
        """First slot of every step, counted from the start of the plan, shape (H,)."""
        return np.cumsum(self.slots) - self.slots

    def mean(self, values: Floats) -> Floats:
        """Return the mean over every step of values per slot, shape (total_slots, ...)."""
        counts = self.slots.reshape(-1, *[1] * (values.ndim - 1))
        return np.asarray(np.add.reduceat(values, self.first, axis=0) / counts)

    def total(self, values: Floats) -> Floats:
        """Return the sum over every step of values per slot, shape (total_slots, ...)."""
        return np.asarray(np.add.reduceat(values, self.first, axis=0))


@dataclass(frozen=True)
class TankOutlook:
    """What tanks can do in the coming steps; shapes (n,) and (H, n).

    Attributes
    ----------
    start_kwh : energy now, shape (n,); heat below the comfort band is negative.
    kept : share of the energy that is left after each step, shape (H, n).
    into_kwh_per_kw : energy stored by a kW of charging over the step; 0 never happens.
    out_kwh_per_kw : energy taken by a kW of discharging over the step.
    inflow_kwh : energy that comes whatever is decided, negative goes.
    lowest_kwh, highest_kwh : allowed energy at the end of each step.
    charge_kw, discharge_kw : largest power in each step, at least 0; 0 where a vehicle is away.
    shortfall_eur_per_kwh : what a kWh costs that the tank lacks or cannot take, shape (n,).
    worth_at_end_eur_per_kwh : what a stored kWh is worth after the last step, shape (n,).
    wear_eur_per_kwh : wear per kWh discharged at the terminals, shape (n,).
    """

    start_kwh: Floats
    kept: Floats
    into_kwh_per_kw: Floats
    out_kwh_per_kw: Floats
    inflow_kwh: Floats
    lowest_kwh: Floats
    highest_kwh: Floats
    charge_kw: Floats
    discharge_kw: Floats
    shortfall_eur_per_kwh: Floats
    worth_at_end_eur_per_kwh: Floats
    wear_eur_per_kwh: Floats

    def __len__(self) -> int:
        return len(self.start_kwh)

    @classmethod
    def joined(cls, parts: list[TankOutlook]) -> TankOutlook:
        """Put tanks of several fleets side by side.

        Raises
        ------
        MarketError
            If there are none, or if they look ahead over different numbers of steps.
        """
        if len({part.kept.shape[0] for part in parts}) != 1:
            raise MarketError("tanks that are planned together need the same steps")
        columns = {
            each.name: np.concatenate([getattr(part, each.name) for part in parts], axis=-1)
            for each in fields(cls)
        }
        return cls(**columns)

    def some(self, rows: Indices) -> TankOutlook:
        """Return some of the tanks."""
        columns = {each.name: getattr(self, each.name)[..., rows] for each in fields(self)}
        return type(self)(**columns)


@dataclass(frozen=True)
class Plan:
    """What was planned for tanks; shapes (H, n).

    Attributes
    ----------
    charge_kw, discharge_kw : power at the terminals; never both above 0 for one tank and step.
    stored_kwh : energy at the end of each step.
    value_eur_per_kwh : what one more stored kWh is worth at the end of each step, EUR per kWh.
    cost_eur : what the plan expects to cost over the horizon, less what is left in the tanks.
    """

    charge_kw: Floats
    discharge_kw: Floats
    stored_kwh: Floats
    value_eur_per_kwh: Floats
    cost_eur: float
