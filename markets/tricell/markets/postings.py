"""Double-entry bookkeeping: who pays whom for what, slot by slot.

A `Posting` is one kind of payment between two parties over the slots of a block. The payer is who
gets the energy or the service; a negative amount flows the other way. Each party's balance in a
slot is what it receives less what it pays, so that the balances add up to zero::

    sum over parties of balance_t = 0

`check_postings` holds the books of a block against the meters, whose net import of agent ``n`` is
``E_tn``. With ``b`` the energy that agents get in postings of energy and ``s`` what they give::

    sum_n b_tn - s_tn = sum_n E_tn   in every slot
    sum_t b_tn - s_tn = sum_t E_tn   for every agent

and what is bought at a level's markets is what is sold there. No payment is booked twice: there is
one posting per payer, payee, kind, level and charge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.markets.charge import Source

Floats = NDArray[np.float64]

MONEY_TOLERANCE_EUR = 1e-9
"""By how much a slot's balances may miss zero, for each EUR that changes hands and in all."""
ENERGY_TOLERANCE_KWH = 1e-6
"""By how much books and meters may differ, for each kWh and in all: the solver's residues."""


class SettlementError(MarketError):
    """The books of a slot do not balance; a fault of a mechanism, a charge or tricell itself."""


class Party(StrEnum):
    """Who pays and is paid."""

    AGENTS = "agents"
    OPERATOR = "operator"
    RETAILER = "retailer"
    DSO = "dso"
    WHOLESALE = "wholesale"
    TSO = "tso"


class Kind(StrEnum):
    """What is paid for."""

    ENERGY_P2P = "energy_p2p"
    ENERGY_RETAIL = "energy_retail"
    EXPORT = "export"
    NETWORK = "network"
    CONGESTION = "congestion"
    LOSSES = "losses"
    LEVY = "levy"
    FLEX = "flex"
    IMBALANCE = "imbalance"
    CAPACITY = "capacity"


METERED = (
    Kind.ENERGY_P2P,
    Kind.ENERGY_RETAIL,
    Kind.EXPORT,
    Kind.FLEX,
    Kind.IMBALANCE,
    Kind.CAPACITY,
)
"""Kinds whose energy passes an agent's meter."""


@dataclass(frozen=True)
class Posting:
    """One kind of payment over the T slots of a block.

    Attributes
    ----------
    payer, payee : two parties; the payer gets the energy or the service.
    kind : what is paid for.
    energy_kwh : energy that it is paid for, shape (T,).
    amount_eur : shape (T,); negative where the payee pays.
    source : where the energy was traded; None where that plays no part.
    charge : name of the network charge; empty for anything else.
    agent_kwh, agent_eur : the same summed over slots for every agent, shape (N,), positive where
        the agent gets energy and pays; None where no agent is a party.
    """

    payer: Party
    payee: Party
    kind: Kind
    energy_kwh: Floats
    amount_eur: Floats
    source: Source | None = None
    charge: str = ""
    agent_kwh: Floats | None = None
    agent_eur: Floats | None = None

    @property
    def key(self) -> tuple[Party, Party, Kind, Source | None, str]:
        """What tells this posting from the others of a block."""
        return self.payer, self.payee, self.kind, self.source, self.charge


def paid_by_agents(
    payee: Party,
    kind: Kind,
    energy_kwh: Floats,
    amount_eur: Floats,
    source: Source | None = None,
) -> Posting:
    """Return a posting from energies and amounts of every slot and agent, shape (T, N)."""
    return Posting(
        Party.AGENTS,
        payee,
        kind,
        energy_kwh.sum(axis=1),
        amount_eur.sum(axis=1),
        source,
        "",
        energy_kwh.sum(axis=0),
        amount_eur.sum(axis=0),
    )


def paid_to_agents(
    payer: Party, kind: Kind, energy_kwh: Floats, amount_eur: Floats, source: Source | None = None
) -> Posting:
    """Return a posting of what agents give and get for it, shape (T, N); amounts they receive."""
    return Posting(
        payer,
        Party.AGENTS,
        kind,
        energy_kwh.sum(axis=1),
        amount_eur.sum(axis=1),
        source,
        "",
        -energy_kwh.sum(axis=0),
        -amount_eur.sum(axis=0),
    )


@dataclass(frozen=True)
class Receipt:
    """What every agent pays for one thing over several blocks.

    Attributes
    ----------
    kind, source, charge : as in `Posting`.
    kwh, eur : shape (N,), positive where the agent gets energy and pays.
    """

    kind: Kind
    source: Source | None
    charge: str
    kwh: Floats
    eur: Floats


class Receipts:
    """Adds up the postings of all agents, block after block."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Party, Party, Kind, Source | None, str], Receipt] = {}

    def add(self, postings: Sequence[Posting]) -> None:
        """Take the postings of a block."""
        for one in postings:
            if one.agent_kwh is None or one.agent_eur is None:
                continue
            before = self._kept.get(one.key)
            kwh, eur = one.agent_kwh, one.agent_eur
            if before is not None:
                kwh, eur = before.kwh + kwh, before.eur + eur
            self._kept[one.key] = Receipt(one.kind, one.source, one.charge, kwh, eur)

    @property
    def all(self) -> tuple[Receipt, ...]:
        """Everything so far, energy bought and energy sold apart."""
        return tuple(self._kept.values())

    def memory(self) -> dict[str, Any]:
        """Return everything so far as names and arrays, for `recall`."""
        names = [
            (payer.name, payee.name, kind.name, "" if source is None else source.name, charge)
            for payer, payee, kind, source, charge in self._kept
        ]
        kept = self._kept.values()
        return {
            "names": names,
            "kwh": np.array([each.kwh for each in kept]),
            "eur": np.array([each.eur for each in kept]),
        }

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from what `memory` returned."""
        self._kept = {}
        for name, kwh, eur in zip(memory["names"], memory["kwh"], memory["eur"], strict=True):
            payer, payee, kind, source, charge = name
            key = (Party[payer], Party[payee], Kind[kind], Source[source] if source else None)
            self._kept[*key, charge] = Receipt(key[2], key[3], charge, kwh, eur)

    def revenue_eur(self, charge: str) -> float:
        """Return what all agents paid for a network charge."""
        return sum(float(each.eur.sum()) for each in self._kept.values() if each.charge == charge)


def balances(postings: Sequence[Posting], n_slot: int) -> Mapping[Party, Floats]:
    """Return what each party receives less what it pays in every slot, EUR, shape (T,)."""
    balance = {party: np.zeros(n_slot) for party in Party}
    for posting in postings:
        balance[posting.payer] -= posting.amount_eur
        balance[posting.payee] += posting.amount_eur
    return balance


def of_kind(postings: Sequence[Posting], kinds: Sequence[Kind], n_agent: int) -> Floats:
    """Return what every agent pays in all postings of some kinds, EUR, shape (N,)."""
    total = np.zeros(n_agent)
    for posting in postings:
        if posting.kind in kinds and posting.agent_eur is not None:
            total += posting.agent_eur
    return total


def check_postings(
    postings: Sequence[Posting], net_kwh: Floats, first_slot: int = 0
) -> Mapping[Party, Floats]:
    """Hold the books of a block against its meters.

    Parameters
    ----------
    postings : of the block.
    net_kwh : metered net import of every slot and agent, shape (T, N).
    first_slot : number of the block's first slot, for messages.

    Returns
    -------
    What each party receives less what it pays in every slot, EUR, shape (T,).

    Raises
    ------
    SettlementError
        If a payment is booked twice, money appears or vanishes, or books and meters differ; it
        names the slot or the agent, and the gap.
    """
    _check_once(postings)
    balance = balances(postings, len(net_kwh))
    turnover = np.abs([posting.amount_eur for posting in postings]).sum(axis=0)
    gap = np.asarray(sum(balance.values()))
    _require_zero(gap, turnover, MONEY_TOLERANCE_EUR, first_slot, "payments miss zero, in EUR,")
    _check_both_sums(postings)
    _check_meters(postings, net_kwh, first_slot)
    _check_markets(postings, len(net_kwh), first_slot)
    return balance


def _check_once(postings: Sequence[Posting]) -> None:
    seen = set()
    for posting in postings:
        if posting.key in seen:
            level = "" if posting.source is None else f" at the level {posting.source.label}"
            raise SettlementError(
                f"settlement: {posting.kind} {posting.charge}{level}, paid by {posting.payer} to "
                f"{posting.payee}, is booked twice. Give every network charge a name of its own."
            )
        seen.add(posting.key)


def _check_both_sums(postings: Sequence[Posting]) -> None:
    """Require that slots and agents tell the same amount."""
    for posting in postings:
        if posting.agent_eur is None:
            continue
        sign = 1.0 if posting.payer is Party.AGENTS else -1.0
        by_slot, by_agent = float(posting.amount_eur.sum()), sign * float(posting.agent_eur.sum())
        scale = max(1.0, float(np.abs(posting.agent_eur).sum()))
        if not abs(by_slot - by_agent) <= MONEY_TOLERANCE_EUR * scale:
            raise SettlementError(
                f"settlement: {posting.kind} {posting.charge} comes to {by_slot:.9f} EUR over the "
                f"slots, but to {by_agent:.9f} EUR over the agents."
            )


def _check_meters(postings: Sequence[Posting], net_kwh: Floats, first_slot: int) -> None:
    per_slot, per_agent = np.zeros(len(net_kwh)), np.zeros(net_kwh.shape[1])
    for posting in postings:
        if posting.kind in METERED and posting.agent_kwh is not None:
            sign = 1.0 if posting.payer is Party.AGENTS else -1.0
            per_slot += sign * posting.energy_kwh
            per_agent += posting.agent_kwh
    moved = np.abs(net_kwh)
    text = "settled and metered energy differ, in kWh,"
    gap = per_slot - net_kwh.sum(axis=1)
    _require_zero(gap, moved.sum(axis=1), ENERGY_TOLERANCE_KWH, first_slot, text)
    gap, scale = per_agent - net_kwh.sum(axis=0), moved.sum(axis=0)
    if not (np.abs(gap) <= ENERGY_TOLERANCE_KWH * np.maximum(scale, 1.0)).all():
        worst = int(np.argmax(np.abs(gap)))
        raise SettlementError(
            f"settlement: {text} by {gap[worst]:.9f} for the agent in row {worst}, in "
            f"{len(net_kwh)} slots from slot {first_slot} on."
        )


def _check_markets(postings: Sequence[Posting], n_slot: int, first_slot: int) -> None:
    for source in Source:
        bought, sold = np.zeros(n_slot), np.zeros(n_slot)
        for posting in postings:
            if posting.kind is Kind.ENERGY_P2P and posting.source is source:
                side = bought if posting.payer is Party.AGENTS else sold
                side += posting.energy_kwh
        text = f"purchases and sales at the level {source.label} differ, in kWh,"
        _require_zero(bought - sold, bought, ENERGY_TOLERANCE_KWH, first_slot, text)


def _require_zero(gap: Floats, scale: Floats, tolerance: float, first_slot: int, text: str) -> None:
    beyond = ~(np.abs(gap) <= tolerance * np.maximum(scale, 1.0))
    if beyond.any():
        worst = int(np.argmax(np.where(beyond, np.nan_to_num(np.abs(gap), nan=np.inf), -1.0)))
        raise SettlementError(
            f"settlement of slot {first_slot + worst}: {text} by {gap[worst]:.9f} (at most "
            f"{tolerance:g} is allowed). Check the mechanism and the network charges of this run."
        )
