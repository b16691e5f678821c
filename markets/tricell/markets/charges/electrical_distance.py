"""A fee on every kWh by the electrical distance that it travels.

In a pooled market energy travels from the seller to the connection of its area and from a
connection to the buyer. Each side pays for its own part of the way::

    B_n = u d_n (sum_t i_nt h + sum_t e_nt h)      d_n from customer n to the connection of its area

for its import ``i`` and export ``e``, so a trade inside an area pays ``u (d_seller + d_buyer) q``.
The distance is the sum of ``|z|`` in ohm (Thevenin) or the number of branches, which in a radial
network is the sum of ``|PTDF|``. Two neighbours far from the connection pay more than for the
path between them alone; `tricell.markets.trade_paths` has the paths of given pairs, and
`tricell.markets.trade_fees` splits their fee in halves.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tricell.markets.charge import AboutCharge, Calendar, Customers, EnergyRates, SlotCharge

ABOUT = AboutCharge(
    name="electrical_distance",
    line="A fee on every kWh by the impedance or the number of branches that it travels.",
    base="kWh imported and exported times ohm, or times branches",
    source="Baroche et al. 2019, Exogenous cost allocation in peer-to-peer electricity markets",
)


class ElectricalDistance(SlotCharge):
    """A fee by electrical distance."""

    RATES: ClassVar[tuple[str, ...]] = ("rate_eur_per_kwh_unit",)

    kind: Literal["electrical_distance"] = "electrical_distance"
    rate_eur_per_kwh_unit: Annotated[float, Field(ge=0)] = 0.0
    """Fee on a kWh for each unit of distance, EUR/kWh per ohm (`thevenin`) or branch (0)."""
    distance: Literal["thevenin", "ptdf"] = "thevenin"
    """What distance is: `thevenin`, magnitudes of impedance in ohm; `ptdf`, branches (thevenin)."""

    def rates(self, calendar: Calendar, customers: Customers) -> EnergyRates:
        """Return the fee of every customer, the same in every slot and both ways."""
        way = customers.distance_ohm if self.distance == "thevenin" else customers.branches
        fee = (self.rate_eur_per_kwh_unit * self.pays(customers) * way)[None, :]
        return EnergyRates.of(imported=fee, exported=fee)
