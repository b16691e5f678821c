"""What every market mechanism has in common: parameters in, orders in, a result out.

A mechanism is pure: the same orders, terms and parameters give the same result, and randomness
enters only through ``MarketTerms.seed``. Each lives in a file of its own in
`tricell.markets.mechanisms`, which says in `ABOUT` what it is, what it guarantees and where it is
published. A mechanism that clears one market in one slot also has a class that derives from
`Mechanism`; its fields are its parameters.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from tricell.markets.order_table import Orders

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

BudgetBalance = Literal["strong", "weak", "none"]


@dataclass(frozen=True)
class Guarantees:
    """What a mechanism promises; property tests try each promise, and break each that is not made.

    Attributes
    ----------
    budget_balance : "strong": what buyers pay is what sellers get; "weak": the operator never
        loses; "none": it may.
    individual_rationality : nobody is worse off than its own orders say.
    efficiency : the welfare of the reported orders is the largest possible.
    incentive_compatibility : no misreport of the own price pays.
    note : where a promise holds only under a condition, which; empty otherwise.
    """

    budget_balance: BudgetBalance
    individual_rationality: bool
    efficiency: bool
    incentive_compatibility: bool
    note: str = ""


@dataclass(frozen=True)
class About:
    """What a mechanism is, in a line, with its promises and its source.

    Attributes
    ----------
    name : name of its file, and `kind` of its parameters if it clears a slot.
    line : what it does, in one line.
    source : paper or project that it comes from.
    guarantees : None where the idea does not apply (a tariff, a negotiation, an analysis).
    """

    name: str
    line: str
    source: str
    guarantees: Guarantees | None = None


@dataclass(frozen=True)
class MarketTerms:
    """What a market knows of the world outside.

    Attributes
    ----------
    retail_price, feed_in_price : what the retailer takes and pays, EUR/kWh.
    seed : of everything random in this market and slot.
    agent_names : name of each agent number, where a mechanism speaks of agents by name.
    """

    retail_price: float = np.nan
    feed_in_price: float = np.nan
    seed: int = 0
    agent_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trades:
    """Who sold to whom, arrays of equal length.

    Attributes
    ----------
    buy, sell : rows of the two orders.
    energy_kwh : energy.
    buy_price, sell_price : what the buyer pays and the seller gets, EUR/kWh.
    """

    buy: Indices
    sell: Indices
    energy_kwh: Floats
    buy_price: Floats
    sell_price: Floats

    def __len__(self) -> int:
        return len(self.buy)


@dataclass(frozen=True)
class MarketResult:
    """What a mechanism decided. Mechanisms with more to say derive from this.

    Attributes
    ----------
    accepted_kwh : per order.
    payment_eur : per order; positive pays, negative receives.
    buy_price, sell_price : the price of each side, EUR/kWh; None if nothing was traded, or if
        every trade has its own price.
    trades : pairs, or None where a mechanism makes none.
    welfare_eur : value of what was bought less cost of what was sold, as reported.
    operator_surplus_eur : what stays with the operator; negative is a deficit.
    iterations : rounds of an iterative mechanism.
    flags : what a reader should know, such as "reduced" or "not converged".
    """

    accepted_kwh: Floats
    payment_eur: Floats
    buy_price: float | None
    sell_price: float | None
    welfare_eur: float
    operator_surplus_eur: float
    trades: Trades | None = None
    iterations: int = 0
    flags: frozenset[str] = field(default_factory=frozenset)

    def volume_kwh(self, orders: Orders) -> float:
        """Energy that was bought."""
        return float(self.accepted_kwh[orders.side > 0.0].sum())


class Mechanism(BaseModel):
    """Parameters of a market mechanism; the subclass's `clear` is the mechanism."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    kind: str
    """Name of the mechanism."""

    @abstractmethod
    def clear(self, orders: Orders, terms: MarketTerms) -> MarketResult:
        """Clear one market for one slot.

        Parameters
        ----------
        orders : checked orders, of any number, also none or of one side only.
        terms : prices outside, seed and names.
        """


def welfare_eur(orders: Orders, accepted_kwh: Floats) -> float:
    """Value of what is bought less cost of what is sold, as reported, EUR."""
    return float(np.sum(orders.side * orders.price_eur_per_kwh * accepted_kwh))


def uniform_result(
    orders: Orders,
    accepted_kwh: Floats,
    buy_price: float | None,
    sell_price: float | None,
    *,
    iterations: int = 0,
    flags: frozenset[str] = frozenset(),
) -> MarketResult:
    """Return the result of a market with one price per side; None for both if none was traded."""
    paid = np.zeros(len(orders))
    if buy_price is not None and sell_price is not None:
        price = np.where(orders.side > 0.0, buy_price, sell_price)
        paid = orders.side * price * accepted_kwh
    return MarketResult(
        accepted_kwh=accepted_kwh,
        payment_eur=paid,
        buy_price=buy_price,
        sell_price=sell_price,
        welfare_eur=welfare_eur(orders, accepted_kwh),
        operator_surplus_eur=float(paid.sum()),
        iterations=iterations,
        flags=flags,
    )


def paired_result(
    orders: Orders,
    trades: Trades,
    *,
    iterations: int = 0,
    flags: frozenset[str] = frozenset(),
) -> MarketResult:
    """Return the result of a market in which every trade has its own price."""
    count = len(orders)
    bought = np.bincount(trades.buy, trades.energy_kwh, count)
    sold = np.bincount(trades.sell, trades.energy_kwh, count)
    pays = np.bincount(trades.buy, trades.energy_kwh * trades.buy_price, count)
    gets = np.bincount(trades.sell, trades.energy_kwh * trades.sell_price, count)
    # Sums of parts may exceed the whole by rounding.
    accepted = np.minimum(np.where(orders.side > 0.0, bought, sold), orders.energy_kwh)
    return MarketResult(
        accepted_kwh=accepted,
        payment_eur=np.asarray(pays - gets, dtype=np.float64),
        buy_price=None,
        sell_price=None,
        welfare_eur=welfare_eur(orders, accepted),
        operator_surplus_eur=float(pays.sum() - gets.sum()),
        trades=trades,
        iterations=iterations,
        flags=flags,
    )
