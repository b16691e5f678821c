"""Losses of every area, bought at the wholesale price and paid by whoever causes them.

In every slot the losses ``L_a`` of each area a (kW) are allocated to the customers at and below it
with their net withdrawals ``w_n`` (kW, negative injects)::

    pro_rata   share_n = |w_n| / sum |w|
    marginal   share_n L_a = m_n w_n / 2 + (L_a - k Q) |w_n| / sum |w|
    amount     B_nt = p_t h sum_a share_na L_at

with the linear factors ``m`` and what they explain, ``k Q``, of `loss_factors.FeederLosses`;
marginal shares are negative for whoever lowers the losses. Where nobody withdraws or injects,
the customers share alike, and losses of an area without paying customers fall to all who pay. So
the network operator gets exactly what the losses cost, in every slot.

Customers below in other areas count at the mean distance of the area's own customers.
Agents do not know it before the gate: it depends on what all of them do.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from tricell.errors import MarketError
from tricell.markets.charge import AboutCharge, Floats, MeterData, SlotCharge
from tricell.markets.loss_factors import distance_in_area, fit_feeder_losses, members_below

ABOUT = AboutCharge(
    name="loss_allocation",
    line="Losses at the wholesale price, paid pro rata or by marginal factors.",
    base="kWh lost, by withdrawal",
    source="Conejo et al. 2002, Transmission loss allocation: a comparison of different practical "
    "algorithms, IEEE Transactions on Power Systems 17(3)",
)


class LossAllocation(SlotCharge):
    """Losses at the wholesale price."""

    kind: Literal["loss_allocation"] = "loss_allocation"
    rule: Literal["pro_rata", "marginal"] = "pro_rata"
    """How losses are shared: `pro_rata` to withdrawals, or by `marginal` factors (pro_rata)."""

    def amounts_eur(self, meters: MeterData) -> Floats:
        """Return what every customer pays in every slot, EUR, shape (T, N).

        Raises
        ------
        MarketError
            If the losses of the areas or the wholesale price are not known, or nobody pays.
        """
        loss, price = meters.area_loss_kw, meters.wholesale_price
        if loss is None or price is None:
            missing = "losses of the areas" if loss is None else "wholesale price"
            raise MarketError(
                f"charge {self.label!r} needs the {missing}, which these meter data do not have; "
                "bill a run with a grid, or take another charge"
            )
        lost = self._shared_kw(meters, loss)
        return np.asarray(lost * price[:, None] * meters.calendar.hours)

    def _shared_kw(self, meters: MeterData, loss_kw: Floats) -> Floats:
        """Return the losses that every customer bears, kW, shape (T, N)."""
        customers = meters.customers
        pays = self.pays(customers) > 0.0
        if not pays.any():
            raise MarketError(
                f"charge {self.label!r}: there is no customer who could bear the losses; leave "
                "`customers` empty"
            )
        below = members_below(customers.area, customers.area_parent) & pays
        shared = np.zeros_like(meters.net_kw)
        for area, lost in enumerate(loss_kw.T):
            rows = np.flatnonzero(below[area] if below[area].any() else pays)
            withdrawal, rest = meters.net_kw[:, rows], lost
            if self.rule == "marginal":
                away = distance_in_area(customers.distance_ohm, customers.area == area)[rows]
                fitted = fit_feeder_losses(withdrawal, away, lost)
                shared[:, rows] += 0.5 * fitted.factor * withdrawal
                rest = lost - fitted.explained_kw
            shared[:, rows] += rest[:, None] * _shares(withdrawal)
        return shared


def _shares(withdrawal_kw: Floats) -> Floats:
    """Return shares in proportion to the size of withdrawals; equal ones where all are 0."""
    size = np.abs(withdrawal_kw)
    whole = size.sum(axis=1, keepdims=True)
    equal = np.full_like(size, 1.0 / size.shape[1])
    return np.asarray(np.divide(size, whole, out=equal, where=whole > 0.0))
