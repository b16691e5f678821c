"""No trading: everybody deals with the retailer. The yardstick of all other mechanisms.

With net energy n per meter and slot, retail price r (all in, network fee included) and feed-in
price f::

    bill = r max(n, 0) - f max(-n, 0)

The network operator gets the network fee of every kWh imported, and the retailer keeps the bills
less that and less the wholesale value of what all meters together take. A negative feed-in price
makes exporters pay; a plant that can stop then does. With net metering, a meter is billed for its
net energy over the billing month: at r down to zero, and its excess is worth f.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tricell.errors import MarketError
from tricell.markets.mechanism import (
    About,
    Guarantees,
    MarketResult,
    MarketTerms,
    Mechanism,
    uniform_result,
)
from tricell.markets.order_table import Orders

Floats = NDArray[np.float64]

ABOUT = About(
    name="retail_only",
    line="no trading: everybody buys from and sells to the retailer",
    source="feed-in tariff and retail tariff as usual",
    guarantees=Guarantees(
        budget_balance="strong",
        individual_rationality=True,
        efficiency=False,
        incentive_compatibility=True,
    ),
)


class RetailOnly(Mechanism):
    """No trading: all energy is left to the retailer."""

    kind: Literal["retail_only"] = "retail_only"
    """No trading: all energy is left to the retailer."""

    def clear(self, orders: Orders, terms: MarketTerms) -> MarketResult:
        """Accept nothing."""
        return uniform_result(orders, np.zeros(len(orders)), None, None)


@dataclass(frozen=True)
class RetailSettlement:
    """Who pays what without trading, EUR over all slots.

    Attributes
    ----------
    bill_eur : per meter; positive pays.
    network_eur : what the network operator gets.
    wholesale_eur : what the retailer pays for the net energy of all meters.
    retailer_margin_eur : what stays with the retailer; negative is a loss.
    """

    bill_eur: Floats
    network_eur: float
    wholesale_eur: float
    retailer_margin_eur: float


def settle_at_retail(
    net_kwh: ArrayLike,
    retail_price: ArrayLike,
    feed_in_price: ArrayLike,
    *,
    network_fee: float = 0.0,
    wholesale_price: ArrayLike = 0.0,
    is_curtailable: ArrayLike = False,
    net_metering: bool = False,
) -> RetailSettlement:
    """Settle metered net energies with the retailer; see the module.

    Parameters
    ----------
    net_kwh : shape (meters,), or (slots, meters); positive consumes.
    retail_price, feed_in_price, wholesale_price : EUR/kWh, one number or shape (slots,).
    network_fee : the part of the retail price that the network operator gets, EUR/kWh.
    is_curtailable : shape (meters,) or one for all; plants that stop at a negative feed-in price.
    net_metering : bill the net energy of all slots, which are the billing month, at once; prices
        must then be single numbers.

    Raises
    ------
    MarketError
        Naming the meter whose net energy is no finite number, or prices that vary over a billing
        month with net metering.
    """
    net = _checked_net(net_kwh)
    retail, feed_in, wholesale = (
        _per_slot(name, price, len(net))
        for name, price in (
            ("retail_price", retail_price),
            ("feed_in_price", feed_in_price),
            ("wholesale_price", wholesale_price),
        )
    )
    stops = np.asarray(is_curtailable, dtype=np.bool_) & (feed_in < 0.0) & (net < 0.0)
    net = np.where(stops, 0.0, net)
    wholesale_eur = float((wholesale * net).sum())
    if net_metering:
        _require_one_price(retail, feed_in)
        net = net.sum(axis=0, keepdims=True)
        retail, feed_in = retail[:1], feed_in[:1]
    imports = np.maximum(net, 0.0)
    bill = (retail * imports - feed_in * np.maximum(-net, 0.0)).sum(axis=0)
    network_eur = network_fee * float(imports.sum())
    return RetailSettlement(
        bill_eur=bill,
        network_eur=network_eur,
        wholesale_eur=wholesale_eur,
        retailer_margin_eur=float(bill.sum()) - network_eur - wholesale_eur,
    )


def _checked_net(net_kwh: ArrayLike) -> Floats:
    net = np.atleast_2d(np.asarray(net_kwh, dtype=np.float64))
    wrong = np.argwhere(~np.isfinite(net))
    if len(wrong):
        slot, meter = (int(each) for each in wrong[0])
        raise MarketError(
            f"meter {meter}, slot {slot}: net_kwh is {net[slot, meter]:g}; "
            "allowed is a finite number of kWh"
        )
    return net


def _per_slot(name: str, price: ArrayLike, slots: int) -> Floats:
    """Return a price as a column, one row for each slot."""
    column = np.asarray(price, dtype=np.float64).reshape(-1, 1)
    if len(column) not in (1, slots) or not np.isfinite(column).all():
        raise MarketError(
            f"{name} is {column.ravel().tolist()}; allowed is one finite number, or one for each "
            f"of the {slots} slots, in EUR/kWh"
        )
    return np.broadcast_to(column, (slots, 1))


def _require_one_price(retail: Floats, feed_in: Floats) -> None:
    for name, price in (("retail_price", retail), ("feed_in_price", feed_in)):
        if len(price) and np.ptp(price) > 0.0:
            raise MarketError(
                f"{name} lies between {price.min():g} and {price.max():g} EUR/kWh in the billing "
                "month; net metering needs one price for all of it"
            )
