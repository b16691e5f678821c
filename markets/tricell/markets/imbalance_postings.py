"""The books of imbalance: who pays whom where meters tell something else than what was contracted.

Agents settle their deviations with the operator of the balancing of their area, areas with the one
above (`tricell.markets.imbalance.net_by_level`), and the operator at the top with the retailer, at
his prices: what he gets for the net deviation is ::

    retail  D = (retail - charges - levy) D   to the retailer                  if D > 0
                + charges D + levy D          to the network operator
    feed_in D                                 to the retailer, who pays        if D < 0

with ``charges`` the network charges in the retail price. So only what the net takes from outside
pays them; what deviations cancel of each other pays them to nobody, and stays with the operator.
Charges by the meter (on imports, exports and peaks) are billed on metered power, elsewhere.

Whoever does not trade has contracted nothing: its metered energy is the retailer's. What was moved
by a service of flexibility is no deviation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tricell.markets.charge import Source
from tricell.markets.imbalance import (
    AgentAreas,
    ImbalancePrices,
    ImbalanceScheme,
    LevelNetting,
    net_by_level,
)
from tricell.markets.postings import Kind, Party, Posting, paid_by_agents
from tricell.markets.traded_block import ClearedBlock, TradingAreas

Floats = NDArray[np.float64]


def imbalance_postings(
    areas: TradingAreas, block: ClearedBlock, levy_eur_per_kwh: float
) -> list[Posting]:
    """Book the deviations of a block; nothing where none was contracted apart.

    Parameters
    ----------
    areas : tree and membership.
    block : meters, contracts and prices.
    levy_eur_per_kwh : levies in the price of a kWh from the retailer.

    Raises
    ------
    MarketError
        If the scheme misses its price.
    """
    if block.contracts is None:
        return []
    deviation = deviations_kwh(areas, block)
    terms = block.contracts.terms
    tree = AgentAreas(areas.agent_area, areas.parent)
    net = deviation.sum(axis=1)
    prices = ImbalancePrices(
        retail=block.retail_price,
        feed_in=block.feed_in_price,
        contract=_contract_prices(areas, block, net)
        if terms.scheme is ImbalanceScheme.UCS
        else None,
        imbalance=terms.price,
    )
    netted = net_by_level(deviation, tree, prices, terms.scheme)
    of_agents = paid_by_agents(Party.OPERATOR, Kind.IMBALANCE, deviation, netted.cost_eur)
    top = netted.net_kwh[:, tree.parent < 0]
    return [of_agents, *_outside_postings(block, netted, top, levy_eur_per_kwh)]


def deviations_kwh(areas: TradingAreas, block: ClearedBlock) -> Floats:
    """Return metered less contracted energy, kWh, shape (T, agents); 0 for who does not trade."""
    return np.asarray((block.p_net_kw - block.promised_kw) * areas.takes_part * block.hours)


def _outside_postings(
    block: ClearedBlock, netted: LevelNetting, top_kwh: Floats, levy_eur_per_kwh: float
) -> list[Posting]:
    """Book what the balancing pays on for the net deviations of the top areas, shape (T, tops)."""
    taken = np.maximum(top_kwh, 0.0).sum(axis=1)
    charge = taken * block.rates.by_source[:, Source.RETAIL]
    levy = taken * levy_eur_per_kwh
    operator = Party.OPERATOR
    postings = [
        Posting(
            operator,
            Party.RETAILER,
            Kind.IMBALANCE,
            top_kwh.sum(axis=1),
            netted.retailer_eur - charge - levy,
        )
    ]
    for kind, amount in ((Kind.NETWORK, charge), (Kind.LEVY, levy)):
        if amount.any():
            postings.append(Posting(operator, Party.DSO, kind, taken, amount))
    return postings


def _contract_prices(areas: TradingAreas, block: ClearedBlock, net_kwh: Floats) -> Floats:
    """Return what a contracted kWh costs in every area, EUR/kWh, shape (T, areas).

    An area without trade has no price of its own and takes that of the area above; without any,
    the price is the retailer's for the net deviation, shape (T,). A price beyond the retail price
    is that of a limit that had to be broken, which nobody pays.
    """
    retail, feed_in = block.retail_price, block.feed_in_price
    at_retailer = np.where(net_kwh > 0.0, retail, feed_in)
    price = block.area_price.copy()
    for area, parent in enumerate(areas.parent):
        above = price[:, parent] if parent >= 0 else at_retailer
        price[:, area] = np.where(np.isnan(price[:, area]), above, price[:, area])
    lowest = np.minimum(feed_in, 0.0)
    return np.clip(price, lowest[:, None], retail[:, None])
