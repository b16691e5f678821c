"""A part of the grid that is cut off serves its loads from its own supply.

Upper levels and the retailer are gone. Critical load bids the value of lost load, flexible load its
own price, and one price clears with k = 0: the lowest one that does. So load is shed from the
lowest bid up, in proportion at the margin, and supply that is left over is curtailed. An island
needs a unit that forms the grid, and a reserve of at least its largest unit; else it goes dark.

The island ends at the first gate after the resynchronisation. A contract across the open breaker is
void in proportion to the time that it was open, and the rest of it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from tricell.errors import MarketError
from tricell.markets.mechanism import (
    About,
    Guarantees,
    MarketResult,
    MarketTerms,
    Mechanism,
    uniform_result,
)
from tricell.markets.mechanisms.uniform_price import UniformPrice
from tricell.markets.order_table import Orders

Floats = NDArray[np.float64]

ABOUT = About(
    name="island_operation",
    line="a part cut off from the grid: critical load first, one lowest price, the rest is shed",
    source="Mengelkamp et al. 2018, Designing microgrid energy markets (Brooklyn Microgrid)",
    guarantees=Guarantees(
        budget_balance="strong",
        individual_rationality=True,
        efficiency=True,
        incentive_compatibility=False,
        note="critical load counts at the value of lost load",
    ),
)

BLACKOUT = "blackout"


@dataclass(frozen=True, kw_only=True)
class IslandResult(MarketResult):
    """What an island serves and loses, kWh.

    Attributes
    ----------
    shed_kwh : per order; load that is not served, 0 for sells.
    unused_supply_kwh : supply that nobody takes.
    energy_not_served_critical_kwh : critical load that is shed.
    """

    shed_kwh: Floats
    unused_supply_kwh: float
    energy_not_served_critical_kwh: float

    @property
    def blackout(self) -> bool:
        """Whether the island could not be operated."""
        return BLACKOUT in self.flags


class IslandOperation(Mechanism):
    """Serves a part that is cut off; buys with an attribute ``critical`` above 0 go first."""

    kind: Literal["island_operation"] = "island_operation"
    """Serves a part of the grid that is cut off from the rest."""
    value_of_lost_load: Annotated[float, Field(gt=0)] = 3.0
    """What critical load bids, EUR/kWh (3)."""
    grid_forming: bool = True
    """Whether a unit forms the grid; without one the island goes dark (true)."""
    reserve_kwh: Annotated[float, Field(ge=0)] | None = None
    """Reserve held in the slot; below the largest sell the island goes dark. None: not checked."""

    def clear(self, orders: Orders, terms: MarketTerms) -> IslandResult:
        """Clear one market for one slot; see the module."""
        critical = (orders.attribute("critical", 0.0) > 0.0) & (orders.side > 0.0)
        bids = np.where(critical, self.value_of_lost_load, orders.price_eur_per_kwh)
        island = orders.with_price(bids)
        if self.operable(orders):
            market = UniformPrice(k=0.0).clear(island, terms)
        else:
            flags = frozenset({BLACKOUT})
            market = uniform_result(island, np.zeros(len(orders)), None, None, flags=flags)
        return _island_result(orders, market, critical)

    def operable(self, orders: Orders) -> bool:
        """Whether a unit forms the grid and the reserve covers the largest unit."""
        if self.reserve_kwh is None:
            return self.grid_forming
        largest = float(orders.energy_kwh[orders.sells].max(initial=0.0))
        return self.grid_forming and self.reserve_kwh >= largest - 1e-9


def _island_result(
    orders: Orders, market: MarketResult, critical: NDArray[np.bool_]
) -> IslandResult:
    left = orders.energy_kwh - market.accepted_kwh
    shed = np.where(orders.side > 0.0, left, 0.0)
    return IslandResult(
        accepted_kwh=market.accepted_kwh,
        payment_eur=market.payment_eur,
        buy_price=market.buy_price,
        sell_price=market.sell_price,
        welfare_eur=market.welfare_eur,
        operator_surplus_eur=market.operator_surplus_eur,
        flags=market.flags,
        shed_kwh=shed,
        unused_supply_kwh=float(left[orders.sells].sum()),
        energy_not_served_critical_kwh=float(shed[critical].sum()),
    )


def contract_left_kwh(contracted_kwh: ArrayLike, islanded_hours: float, hours: float) -> Floats:
    """Return what stands of contracts across the breaker, kWh, same shape.

    ``contracted (1 - islanded / hours)``; the rest is imbalance without penalty.

    Parameters
    ----------
    contracted_kwh : energy contracted for the period.
    islanded_hours : time in the period with an open breaker.
    hours : length of the period.

    Raises
    ------
    MarketError
        If the islanded time is not between 0 and the period.
    """
    if not (hours > 0.0 and 0.0 <= islanded_hours <= hours):
        raise MarketError(
            f"island: islanded_hours is {islanded_hours:g} of {hours:g} hours; allowed is 0 up to "
            "a period above 0"
        )
    contracted = np.asarray(contracted_kwh, dtype=np.float64)
    return np.asarray(contracted * (1.0 - islanded_hours / hours), dtype=np.float64)


def reconnection_gate(gates: ArrayLike, resynchronised: float) -> float | None:
    """Return the first gate at or after the resynchronisation, in the same unit of time.

    None if it comes after the last gate.
    """
    times = np.sort(np.asarray(gates, dtype=np.float64).reshape(-1))
    position = int(np.searchsorted(times, resynchronised, side="left"))
    return float(times[position]) if position < len(times) else None
