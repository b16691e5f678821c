"""Operating envelopes as a daily product: published before a day begins, held all through it.

At the gate the network operator knows forecasts: firm demand of every connection, and what the
grid looked like in the same slots of the day before. From those, and from the powers that devices
are rated for, the rules of `operating_envelopes` make the envelopes of all slots of the day.
With the firm net demand f of a connection (positive consumes) and its envelopes e+ and e-, what is
published is a range of its net power p::

    f - e-  <=  p  <=  f + e+

Whatever all connections do inside their ranges keeps the linear limits of the forecast, and no
connection needs to know what the forecast of its demand was. During the day every connection has
what its range leaves beside its demand of the slot: nothing, where demand is beyond the range.

The day may come otherwise than forecast. Where the last meter values and the last AC solution show
that a limit would break even so, the network operator cuts the slot by as few kW as possible
(`EnvelopeCalculator.cut`); he never gives more than he has published.

Source: Petrou et al. 2021, Ensuring distribution network integrity using dynamic operating limits
for prosumers, whose operating limits are published for a day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.grid_models.arrays import sum_by_key
from tricell.markets.joint_market import GridLimits
from tricell.markets.operating_envelopes import EnvelopeCalculator, Envelopes

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class DayForecast:
    """What is known of a day before it begins.

    Attributes
    ----------
    firm_kw : net demand that flows whatever happens, positive consumes, kW, (slots, agents).
    import_capacity_kw, export_capacity_kw : how far devices can raise and lower it, at least 0,
        kW, (slots, agents).
    limits : limits of the linear model in every slot.
    """

    firm_kw: Floats
    import_capacity_kw: Floats
    export_capacity_kw: Floats
    limits: Sequence[GridLimits]

    def __post_init__(self) -> None:
        shape = (len(self.limits), self.firm_kw.shape[-1])
        for name in ("firm_kw", "import_capacity_kw", "export_capacity_kw"):
            if getattr(self, name).shape != shape:
                raise MarketError(
                    f"{name} of a day has shape {getattr(self, name).shape}; allowed is {shape}, "
                    "a row for each slot with limits and a column for each agent"
                )


@dataclass(frozen=True)
class PowerRange:
    """Between which net powers each connection may move, kW, positive consumes.

    Attributes
    ----------
    lowest_kw, highest_kw : of one slot (agents,), or of a day (slots, agents).
    """

    lowest_kw: Floats
    highest_kw: Floats

    def of_slot(self, row: int) -> PowerRange:
        """Return one slot of a day."""
        return PowerRange(self.lowest_kw[row], self.highest_kw[row])

    def room(self, firm_kw: Floats) -> Envelopes:
        """Return what is left beside a firm net demand, 0 where that is beyond the range.

        Examples
        --------
        >>> allowed = PowerRange(np.array([-4.0, -1.0]), np.array([6.0, 2.0]))
        >>> left = allowed.room(np.array([1.0, 3.0]))
        >>> left.import_kw.tolist(), left.export_kw.tolist()
        ([5.0, 0.0], [5.0, 4.0])
        """
        return Envelopes(
            import_kw=np.maximum(self.highest_kw - firm_kw, 0.0),
            export_kw=np.maximum(firm_kw - self.lowest_kw, 0.0),
        )


def daily_envelopes(
    calculator: EnvelopeCalculator, agent_node: Indices, day: DayForecast
) -> PowerRange:
    """Return the ranges of all connections in all slots of a day.

    Parameters
    ----------
    calculator : the grid, and the rule that shares its room.
    agent_node : electrical node of each agent.
    day : what is known of the day.

    Raises
    ------
    MarketError
        If a capacity is negative or no finite number.
    """
    lowest, highest = np.empty_like(day.firm_kw), np.empty_like(day.firm_kw)
    n_node = calculator.problem.grid.n_node
    for row, limits in enumerate(day.limits):
        firm = day.firm_kw[row]
        at_node = sum_by_key(agent_node, firm, n_node)
        capacity = day.import_capacity_kw[row], day.export_capacity_kw[row]
        found = calculator.limits(at_node, at_node, *capacity, limits)
        lowest[row], highest[row] = firm - found.export_kw, firm + found.import_kw
    return PowerRange(lowest, highest)
