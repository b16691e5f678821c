"""Long-run incremental cost: what one more MW costs because reinforcement comes earlier.

An asset of capacity C (MW) that carries D (MW) at its peak, with demand growing by the share r a
year, is full after n years; its replacement for A EUR is worth PV today at the discount rate d::

    n = ln(C / D) / ln(1 + r)          PV(D) = A / (1 + d)^n
    charge = (PV(D + x) - PV(D)) annuity / x       EUR per MW and year, x = 1 MW
    annuity = d / (1 - (1 + d)^-life)

A customer at a node pays for every asset on the way, weighted with the sensitivity of its flow::

    charge of the node = sum_assets (dF / dD) charge of the asset

An asset that carries nothing never has to be replaced: n is infinite and PV 0. One that carries
more than its capacity had to be replaced before today: n is negative and PV above A.

Sources
-------
.. [1] Li, Tolley 2007, Long-run incremental cost pricing based on unused capacity. IEEE
   Transactions on Power Systems 22(4), 1683-1689.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tricell.errors import MarketError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outlook:
    """What is assumed of the years to come.

    Attributes
    ----------
    growth : r, growth of demand as a share per year, above 0.
    discount : d, discount rate as a share per year, above 0.
    life_years : years over which a replacement is paid off.
    """

    growth: float
    discount: float
    life_years: float = 40.0

    def __post_init__(self) -> None:
        for name in ("growth", "discount", "life_years"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0.0):
                raise MarketError(
                    f"long-run incremental cost: {name} is {value}; allowed are numbers above 0"
                )

    @property
    def annuity(self) -> float:
        """Yearly payment per EUR borrowed for the life of an asset."""
        return float(self.discount / (1.0 - (1.0 + self.discount) ** -self.life_years))


def years_to_reinforcement(flow_mw: ArrayLike, capacity_mw: ArrayLike, outlook: Outlook) -> Floats:
    """Return n, the years until each asset is full; shape of the inputs.

    Examples
    --------
    >>> float(years_to_reinforcement(5.0, 10.0, Outlook(growth=1.0, discount=0.05)))
    1.0
    """
    flow, capacity = _checked(flow_mw, capacity_mw)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(capacity / flow) / np.log1p(outlook.growth))


def present_value_eur(
    flow_mw: ArrayLike, capacity_mw: ArrayLike, cost_eur: ArrayLike, outlook: Outlook
) -> Floats:
    """Return what the replacement of each asset is worth today; shape of the inputs [1]_.

    Parameters
    ----------
    flow_mw : D, peak flow, 0 or more.
    capacity_mw : C, above 0.
    cost_eur : A, cost of the replacement.
    outlook : growth and discount rate.
    """
    years = years_to_reinforcement(flow_mw, capacity_mw, outlook)
    return np.asarray(np.asarray(cost_eur, np.float64) * (1.0 + outlook.discount) ** -years)


def asset_charge_eur_per_mw(
    flow_mw: ArrayLike,
    capacity_mw: ArrayLike,
    cost_eur: ArrayLike,
    outlook: Outlook,
    increment_mw: float = 1.0,
) -> Floats:
    """Return what one more MW through each asset costs, EUR per MW and year [1]_.

    Parameters
    ----------
    flow_mw, capacity_mw, cost_eur, outlook : as in `present_value_eur`.
    increment_mw : x, the increment that is looked at; smaller ones suit small assets.

    Raises
    ------
    MarketError
        If the increment is not above 0, or a flow or capacity is out of range.
    """
    if not increment_mw > 0.0:
        raise MarketError(
            f"long-run incremental cost: increment {increment_mw} MW; allowed are numbers above 0"
        )
    flow = np.asarray(flow_mw, np.float64)
    before = present_value_eur(flow, capacity_mw, cost_eur, outlook)
    after = present_value_eur(flow + increment_mw, capacity_mw, cost_eur, outlook)
    return np.asarray((after - before) * outlook.annuity / increment_mw)


def node_charge_eur_per_mw(asset_charge: Floats, sensitivity: Floats) -> Floats:
    """Return what one more MW at each node costs, EUR per MW and year.

    Parameters
    ----------
    asset_charge : EUR per MW and year, shape (assets,).
    sensitivity : dF/dD, change of the flow of the asset of the column per MW at the node of the
        row, shape (nodes, assets); 1 on the path to the node of a radial grid.
    """
    return np.asarray(sensitivity @ asset_charge)


def deferred_reinforcement_eur(
    reference_flow_mw: ArrayLike,
    flow_mw: ArrayLike,
    capacity_mw: ArrayLike,
    cost_eur: ArrayLike,
    outlook: Outlook,
) -> Floats:
    """Return what a lower peak saves by deferring reinforcement, ``PV(D_ref) - PV(D)``, EUR today.

    Negative where the peak is higher than the reference.
    """
    before = present_value_eur(reference_flow_mw, capacity_mw, cost_eur, outlook)
    return np.asarray(before - present_value_eur(flow_mw, capacity_mw, cost_eur, outlook))


def _checked(flow_mw: ArrayLike, capacity_mw: ArrayLike) -> tuple[Floats, Floats]:
    flow, capacity = np.asarray(flow_mw, np.float64), np.asarray(capacity_mw, np.float64)
    if not (np.isfinite(flow).all() and (flow >= 0.0).all()):
        raise MarketError(
            "long-run incremental cost: a peak flow is negative or not a number; give the size of "
            "each asset's peak flow, MW, 0 or more"
        )
    if not (np.isfinite(capacity).all() and (capacity > 0.0).all()):
        raise MarketError(
            "long-run incremental cost: a capacity is not above 0; give that of each asset, MW"
        )
    return flow, capacity
