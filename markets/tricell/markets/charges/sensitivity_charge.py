"""A fee by what energy adds to losses, and by the branches that it uses.

For a trade of ``q`` kWh, with marginal loss factors ``m`` (kW of losses per kW withdrawn)::

    fee_k = p_loss max(q (m_buyer - m_seller), 0) + u q sum_l |PTDF_l|

With ``credit`` a trade that lowers the losses earns by it. A pooled market has no pairs. There each
side pays for its own part, with the net withdrawal ``w`` and the branches ``b_n`` to the connection
of the area::

    B_nt = p_loss h max(w_nt sum_a m_atn, 0) + u b_n h |w_nt|

Areas a are the customer's own and those above it; their factors are fitted to meters by
`loss_factors.FeederLosses`. Agents know the second part before the gate, not the first, which
depends on what all of them do.

Source: Guerrero, Chapman and Verbic 2019, Decentralized P2P energy trading under network
constraints in a low-voltage network.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from tricell.errors import MarketError
from tricell.markets.charge import (
    AboutCharge,
    Calendar,
    Customers,
    EnergyRates,
    Floats,
    MeterData,
    SlotCharge,
    billed_by_rates,
)
from tricell.markets.loss_factors import distance_in_area, fit_feeder_losses, members_below

ABOUT = AboutCharge(
    name="sensitivity_charge",
    line="A fee by what energy adds to losses, and by the branches that it uses.",
    base="kWh times marginal loss factor, and kWh times branches",
    source="Guerrero, Chapman and Verbic 2019, Decentralized P2P energy trading under network "
    "constraints in a low-voltage network",
)


class SensitivityCharge(SlotCharge):
    """A fee by marginal losses and use of branches."""

    RATES: ClassVar[tuple[str, ...]] = ("loss_eur_per_kwh", "use_eur_per_kwh_branch")

    kind: Literal["sensitivity_charge"] = "sensitivity_charge"
    loss_eur_per_kwh: Annotated[float, Field(ge=0)] = 0.0
    """Price of a kWh lost, EUR/kWh (0)."""
    use_eur_per_kwh_branch: Annotated[float, Field(ge=0)] = 0.0
    """Fee on a kWh for each branch that it uses, EUR/kWh (0)."""
    credit: bool = False
    """Whether who lowers the losses earns by it (false)."""

    def rates(self, calendar: Calendar, customers: Customers) -> EnergyRates:
        """Return the fee for the use of branches, the same in every slot and both ways."""
        fee = (self.use_eur_per_kwh_branch * self.pays(customers) * customers.branches)[None, :]
        return EnergyRates.of(imported=fee, exported=fee)

    def amounts_eur(self, meters: MeterData) -> Floats:
        """Return what every customer pays in every slot, EUR, shape (T, N).

        Raises
        ------
        MarketError
            If losses have a price and those of the areas are not known.
        """
        use = billed_by_rates(self.rates(meters.calendar, meters.customers), meters)
        if self.loss_eur_per_kwh == 0.0:
            return use
        if meters.area_loss_kw is None:
            raise MarketError(
                f"charge {self.label!r} needs the losses of the areas, which these meter data do "
                "not have; bill a run with a grid, or set its `loss_eur_per_kwh` to 0"
            )
        added = meters.net_kw * self._factor(meters, meters.area_loss_kw)
        if not self.credit:
            added = np.maximum(added, 0.0)
        price = self.loss_eur_per_kwh * meters.calendar.hours * self.pays(meters.customers)
        return np.asarray(use + price * added)

    def _factor(self, meters: MeterData, loss_kw: Floats) -> Floats:
        """Return what 1 kW more adds to the losses of all areas on the way up, shape (T, N)."""
        customers = meters.customers
        below = members_below(customers.area, customers.area_parent)
        factor = np.zeros_like(meters.net_kw)
        for area in np.flatnonzero(below.any(axis=1)):
            rows = np.flatnonzero(below[area])
            away = distance_in_area(customers.distance_ohm, customers.area == area)[rows]
            fitted = fit_feeder_losses(meters.net_kw[:, rows], away, loss_kw[:, area])
            factor[:, rows] += fitted.factor
        return factor


def sensitivity_fees(
    added_loss_kwh: Floats,
    energy_kwh: Floats,
    branches_used: Floats,
    loss_price: float,
    use_fee: float,
    *,
    credit: bool = False,
) -> Floats:
    """Return the fee of given trades, EUR, shape (K,).

    Parameters
    ----------
    added_loss_kwh : energy times the difference of the loss factors of buyer and seller.
    energy_kwh : of every trade.
    branches_used : ``sum_l |PTDF_l|`` of every trade.
    loss_price : EUR per kWh lost.
    use_fee : EUR per kWh and branch.
    credit : whether trades that lower the losses earn by it.

    Examples
    --------
    >>> one = np.array([1.0])
    >>> sensitivity_fees(np.array([-0.05]), 2.0 * one, one, 0.2, 0.01).tolist()
    [0.02]
    """
    priced = added_loss_kwh if credit else np.maximum(added_loss_kwh, 0.0)
    return np.asarray(loss_price * priced + use_fee * energy_kwh * branches_used)
