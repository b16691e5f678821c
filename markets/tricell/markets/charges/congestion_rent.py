"""What congested lines bring at nodal prices, and who gets it.

A trade of ``q`` kWh at nodal prices (DLMP) pays for the path between its nodes, negative for a
flow against the congestion; either side pays half::

    c_k = q_k (DLMP_buyer - DLMP_seller)          sum over trades = congestion rent

The rent flows to the network operator with the clearing. ``use: deduct`` lowers what its other
charges must recover by it; ``use: rebate`` returns it to the customers who pay this charge, the
same to each, and leaves the cost to be recovered whole. Either way no cost is charged twice::

    deduct: B_n = 0,          still to recover = allowed - rent
    rebate: B_n = -rent / N,  still to recover = allowed

The rent is what the books of a run say (`MeterData.congestion_rent_eur`).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from tricell.errors import MarketError
from tricell.markets.charge import AboutCharge, Floats, MeterData, PeriodCharge

ABOUT = AboutCharge(
    name="congestion_rent",
    line="The rent of congested lines, deducted from other charges or returned to customers.",
    base="kWh traded times difference of nodal prices",
    source="Kim and Dvorkin 2020, A P2P-dominant distribution system architecture",
)


class CongestionRent(PeriodCharge):
    """What happens to the rent of congested lines."""

    kind: Literal["congestion_rent"] = "congestion_rent"
    use: Literal["deduct", "rebate"] = "deduct"
    """`deduct`: lowers what others must recover; `rebate`: back to customers alike (deduct)."""

    def bill_eur(self, meters: MeterData) -> Floats:
        """Return what every customer gets back, negative, EUR, shape (N,).

        Raises
        ------
        MarketError
            If the rent is to be returned and is not known, or nobody is there to get it.
        """
        pays = self.pays(meters.customers)
        if self.use == "deduct":
            return np.zeros(len(pays))
        if meters.congestion_rent_eur is None:
            raise MarketError(
                f"charge {self.label!r}: the rent of congested lines is not known; give the meter "
                "data its `congestion_rent_eur`, or take `use: deduct`"
            )
        if not pays.any():
            raise MarketError(
                f"charge {self.label!r}: there is no customer who could get the rent; leave "
                "`customers` empty, or take `use: deduct`"
            )
        return np.asarray(-meters.congestion_rent_eur.sum() * pays / pays.sum())


def nodal_price_charges(buyer_price: Floats, seller_price: Floats, energy_kwh: Floats) -> Floats:
    """Return what trades pay at nodal prices, negative for counterflow, EUR, shape (K,).

    Parameters
    ----------
    buyer_price, seller_price : price at the nodes of either side, EUR/kWh, shape (K,).
    energy_kwh : of every trade, shape (K,).
    """
    return np.asarray(energy_kwh * (buyer_price - seller_price))
