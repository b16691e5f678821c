"""Bilateral contracts, signed beforehand: if the seller has surplus and the buyer deficit, deliver.

In the sequence of priority, then id::

    energy = min(surplus of the seller, deficit of the buyer, cap)

at the contract's price, which is fixed or follows an index, ``clip(offset + factor index, floor,
ceiling)``. What no contract covers is left to the level above, and at last to the retailer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tricell.errors import MarketError
from tricell.markets.mechanism import (
    About,
    Guarantees,
    MarketResult,
    MarketTerms,
    Mechanism,
    Trades,
    paired_result,
)
from tricell.markets.merit_order import merit_order, pairs
from tricell.markets.order_table import ENERGY_RESIDUE_KWH, NO_AGENT, Orders

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

ABOUT = About(
    name="bilateral_contracts",
    line="contracts between two agents: deliver if one has surplus and the other deficit",
    source="if-then contracts between prosumers; the rule is tricell's own",
    guarantees=Guarantees(
        budget_balance="strong",
        individual_rationality=False,
        efficiency=False,
        incentive_compatibility=False,
        note="a price was agreed beforehand and binds, also where it is worse than the retailer's "
        "in this slot",
    ),
)


class BilateralContract(BaseModel):
    """Contract of a seller and a buyer."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    id: str
    """Name of the contract."""
    seller: str
    """Name of the agent that delivers."""
    buyer: str
    """Name of the agent that takes."""
    price: float | None = None
    """Fixed price, EUR/kWh; without it the price follows the index."""
    index_offset: float = 0.0
    """Price at an index of 0, EUR/kWh (0)."""
    index_factor: float = 0.0
    """What a rise of the index by 1 adds to the price (0)."""
    floor: float | None = None
    """Lowest indexed price, EUR/kWh (none)."""
    ceiling: float | None = None
    """Highest indexed price, EUR/kWh (none)."""
    cap_kwh: Annotated[float, Field(ge=0)] | None = None
    """Most energy of a slot, kWh (no limit)."""
    priority: int = 0
    """Lower goes first; equal ones by id (0)."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.seller == self.buyer:
            raise ValueError(
                f"contract {self.id!r}: seller and buyer are both {self.seller!r}; name two agents"
            )
        if self.floor is not None and self.ceiling is not None and self.floor > self.ceiling:
            raise ValueError(
                f"contract {self.id!r}: floor {self.floor:g} lies above ceiling {self.ceiling:g}"
            )
        return self


def contract_price(contract: BilateralContract, index: float | None) -> float:
    """Price of a contract at a value of the index, EUR/kWh.

    Raises
    ------
    MarketError
        If the price follows an index and there is none.
    """
    if contract.price is not None:
        return contract.price
    if index is None:
        if contract.index_factor != 0.0:
            raise MarketError(
                f"contract {contract.id!r} follows an index, but index is not given; give the "
                "index of the slot in EUR/kWh, or a fixed price"
            )
        index = 0.0
    price = contract.index_offset + contract.index_factor * index
    price = price if contract.floor is None else max(price, contract.floor)
    return price if contract.ceiling is None else min(price, contract.ceiling)


@dataclass(frozen=True)
class Deliveries:
    """What contracts deliver in one slot, in the sequence of delivery; nothing empty.

    Attributes
    ----------
    contracts : the contracts.
    seller, buyer : rows of the agents.
    energy_kwh, price : energy and price (EUR/kWh) of each.
    """

    contracts: tuple[BilateralContract, ...]
    seller: Indices
    buyer: Indices
    energy_kwh: Floats
    price: Floats


def deliver(
    surplus_kwh: ArrayLike,
    deficit_kwh: ArrayLike,
    contracts: Sequence[BilateralContract],
    agents: Sequence[str],
    index: float | None = None,
) -> Deliveries:
    """Deliver contracts by priority, then id.

    Parameters
    ----------
    surplus_kwh, deficit_kwh : shape (agents,), what each can deliver and needs, at least 0.
    contracts : the contracts.
    agents : names, one for each entry.
    index : of the slot, EUR/kWh.

    Raises
    ------
    MarketError
        If a contract names an agent that does not exist, or misses its index, or two have one id.
    """
    row = {name: number for number, name in enumerate(agents)}
    _check_contracts(contracts, row)
    surplus = np.array(surplus_kwh, dtype=np.float64)
    deficit = np.array(deficit_kwh, dtype=np.float64)
    done: list[tuple[BilateralContract, int, int, float, float]] = []
    for contract in sorted(contracts, key=lambda each: (each.priority, each.id)):
        seller, buyer = row[contract.seller], row[contract.buyer]
        cap = inf if contract.cap_kwh is None else contract.cap_kwh
        energy = min(float(surplus[seller]), float(deficit[buyer]), cap)
        if energy <= 0.0:
            continue
        surplus[seller] = _less(float(surplus[seller]), energy)
        deficit[buyer] = _less(float(deficit[buyer]), energy)
        done.append((contract, seller, buyer, energy, contract_price(contract, index)))
    return Deliveries(
        contracts=tuple(each[0] for each in done),
        seller=np.array([each[1] for each in done], dtype=np.int64),
        buyer=np.array([each[2] for each in done], dtype=np.int64),
        energy_kwh=np.array([each[3] for each in done], dtype=np.float64),
        price=np.array([each[4] for each in done], dtype=np.float64),
    )


def _less(before: float, energy: float) -> float:
    """Subtract an energy; a rounding residue is nothing."""
    left = before - energy
    return 0.0 if left <= ENERGY_RESIDUE_KWH * max(1.0, before) else left


def _check_contracts(contracts: Sequence[BilateralContract], row: Mapping[str, int]) -> None:
    seen: set[str] = set()
    for contract in contracts:
        for role, name in (("seller", contract.seller), ("buyer", contract.buyer)):
            if name not in row:
                raise MarketError(
                    f"contract {contract.id!r}: {role} is {name!r}, but there is no agent of that "
                    f"name; there are {len(row)} agents: {', '.join(list(row)[:5]) or 'none'}"
                    f"{', ...' if len(row) > 5 else ''}"
                )
        if contract.id in seen:
            raise MarketError(f"two contracts have the id {contract.id!r}; give each its own")
        seen.add(contract.id)


@dataclass(frozen=True)
class ContractSettlement:
    """Contracts and the retailer together, for one slot.

    Attributes
    ----------
    bill_eur : per agent; positive pays.
    deliveries : what the contracts delivered.
    residual_kwh : per agent, what is left to the retailer; positive consumes.
    """

    bill_eur: Floats
    deliveries: Deliveries
    residual_kwh: Floats


def settle_contracts(
    net_kwh: ArrayLike,
    contracts: Sequence[BilateralContract],
    agents: Sequence[str],
    *,
    retail_price: float,
    feed_in_price: float,
    index: float | None = None,
) -> ContractSettlement:
    """Settle metered net energies by contracts, and what is left with the retailer.

    Parameters
    ----------
    net_kwh : shape (agents,), positive consumes.
    contracts : the contracts.
    agents : names, one for each entry.
    retail_price, feed_in_price : EUR/kWh.
    index : of the slot, EUR/kWh, for indexed prices.

    Raises
    ------
    MarketError
        As `deliver`, or if a net energy is no finite number.
    """
    net = np.asarray(net_kwh, dtype=np.float64).reshape(-1)
    if len(net) != len(agents):
        raise MarketError(f"there are {len(net)} net energies, but {len(agents)} agents")
    wrong = np.flatnonzero(~np.isfinite(net))
    if len(wrong):
        raise MarketError(
            f"agent {agents[wrong[0]]!r}: net_kwh is {net[wrong[0]]:g}; allowed is a finite number"
        )
    done = deliver(np.maximum(-net, 0.0), np.maximum(net, 0.0), contracts, agents, index)
    count, value = len(net), done.energy_kwh * done.price
    bought = np.bincount(done.buyer, done.energy_kwh, count)
    sold = np.bincount(done.seller, done.energy_kwh, count)
    left = net - bought + sold
    left = np.where(np.abs(left) <= ENERGY_RESIDUE_KWH * np.maximum(1.0, np.abs(net)), 0.0, left)
    outside = np.where(left > 0.0, retail_price, feed_in_price) * left
    paid = np.bincount(done.buyer, value, count) - np.bincount(done.seller, value, count)
    return ContractSettlement(paid + outside, done, left)


class BilateralContracts(Mechanism):
    """Contracts between two agents each, as a market for a slot.

    An agent's surplus is what it offers in all its orders, its deficit what it asks for. Its best
    orders, cheapest sells and dearest buys, are filled first; the contract's price holds whatever
    the orders' prices are.
    """

    kind: Literal["bilateral_contracts"] = "bilateral_contracts"
    """Contracts between two agents each; the rest goes a level up."""
    contracts: tuple[BilateralContract, ...] = ()
    """The contracts; agents by their names."""
    index: float | None = None
    """Value of the index that prices follow, EUR/kWh; needed for indexed prices only."""

    def clear(self, orders: Orders, terms: MarketTerms) -> MarketResult:
        """Clear one market for one slot; see the class."""
        buys, sells = merit_order(orders)
        buys, sells = (rows[orders.agent[rows] != NO_AGENT] for rows in (buys, sells))
        count = len(terms.agent_names)
        if self.contracts:
            _require_names(orders, count)
        known = max(count, int(orders.agent.max(initial=NO_AGENT)) + 1)
        offered = np.bincount(orders.agent[sells], orders.energy_kwh[sells], known)
        wanted = np.bincount(orders.agent[buys], orders.energy_kwh[buys], known)
        done = deliver(offered, wanted, self.contracts, terms.agent_names, self.index)
        return paired_result(orders, _trades(orders, buys, sells, done))


def _require_names(orders: Orders, count: int) -> None:
    if len(orders) and orders.agent.max() >= count:
        row = int(np.argmax(orders.agent))
        raise MarketError(
            f"order {str(orders.id[row])!r}: agent is {orders.agent[row]}, but terms.agent_names "
            f"has {count} names; give a name for each agent number"
        )


def _trades(orders: Orders, buys: Indices, sells: Indices, done: Deliveries) -> Trades:
    """Fill each contract's energy into the orders of its agents, best orders first."""
    left = orders.energy_kwh.copy()
    parts: list[tuple[Indices, Indices, Floats, Floats]] = []
    for seller, buyer, energy, price in zip(
        done.seller, done.buyer, done.energy_kwh, done.price, strict=True
    ):
        buy, bought = _fill(left, buys[orders.agent[buys] == buyer], energy)
        sell, sold = _fill(left, sells[orders.agent[sells] == seller], energy)
        buy_row, sell_row, part = pairs(buy, bought, sell, sold)
        parts.append((buy_row, sell_row, part, np.full(len(part), price)))
    none = np.zeros(0, dtype=np.int64)
    buy_rows = np.concatenate([none, *(part[0] for part in parts)])
    sell_rows = np.concatenate([none, *(part[1] for part in parts)])
    energies = np.concatenate([np.zeros(0), *(part[2] for part in parts)])
    prices = np.concatenate([np.zeros(0), *(part[3] for part in parts)])
    return Trades(buy_rows, sell_rows, energies, prices, prices)


def _fill(left: Floats, rows: Indices, energy: float) -> tuple[Indices, Floats]:
    """Take an energy from orders in sequence, and reduce what is left of them."""
    room = left[rows]
    taken = np.clip(energy - (np.cumsum(room) - room), 0.0, room)
    taken[taken <= ENERGY_RESIDUE_KWH * max(1.0, energy)] = 0.0
    rest = room - taken
    left[rows] = np.where(rest <= ENERGY_RESIDUE_KWH * np.maximum(1.0, room), 0.0, rest)
    used = taken > 0.0
    return rows[used], taken[used]
