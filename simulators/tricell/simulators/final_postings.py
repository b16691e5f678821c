"""What is booked after the last slot: charges of the whole period, and shares of members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tricell.markets.charge import MeterData, PeriodCharge
from tricell.markets.postings import Kind, Party, Posting
from tricell.markets.settlement import kind_of_charge
from tricell.simulators.flexible_devices import SharedBattery

Floats = NDArray[np.float64]

KIND_OF_PART = {"redispatch": Kind.FLEX, "flexibility": Kind.CAPACITY}
"""What is paid for in parts of a bill that have another name than their kind."""


def charges_of_period(charges: Sequence[PeriodCharge], meters: MeterData) -> tuple[Posting, ...]:
    """Return what each charge of the whole period bills on what the meters show.

    Parameters
    ----------
    charges : of the run.
    meters : of the whole period.
    """
    return tuple(
        _without_energy(Party.DSO, kind_of_charge(charge), charge.bill_eur(meters), charge.label)
        for charge in charges
    )


def shares_of_members(
    bills: Mapping[str, Floats], shared: Sequence[SharedBattery]
) -> dict[str, Posting]:
    """Return what hands the bills of shared batteries on to their members, part by part.

    A shared battery trades for itself. At the end each member pays its share of every part of the
    battery's bill, or gets it where the battery has earned; the battery itself is left with
    nothing. Among the members no money appears or vanishes.

    Parameters
    ----------
    bills : part of the bill -> EUR per agent, positive is paid, shape (n_agent,).
    shared : the batteries with their members.
    """
    postings = {}
    for part, bill in bills.items():
        moved = np.zeros_like(bill)
        for battery in shared:
            moved[battery.members] += battery.shares * bill[battery.agent]
            moved[battery.agent] -= bill[battery.agent]
        if moved.any():
            kind = KIND_OF_PART.get(part) or Kind(part)
            postings[part] = _without_energy(Party.AGENTS, kind, moved)
    return postings


def _without_energy(payee: Party, kind: Kind, agent_eur: Floats, charge: str = "") -> Posting:
    return Posting(
        Party.AGENTS,
        payee,
        kind,
        np.zeros(1),
        np.array([agent_eur.sum()]),
        charge=charge,
        agent_kwh=np.zeros(len(agent_eur)),
        agent_eur=agent_eur,
    )
