"""What services earn: delivery measured against baselines, pay, and the books of a block.

With the power ``sold`` of an owner, its meter and its baseline (positive consumes)::

    delivered = min(left, sold),    left = max(baseline - meter, 0) less what services before took
                                           max(meter - baseline, 0) where more is to be consumed
    pay       = price delivered + capacity price sold,    both times delivered / sold where that
                                                          is below the threshold

Reserve is paid its capacity price alone. The energy by which a store was moved was contracted in
the markets, so it is no imbalance of its owner: the operator takes it over, and passes it on to the
retailer, who supplies all agents, at the wholesale price. What a store draws later to fill up again
is ordered and paid like all other energy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tricell.markets.flexibility.flexibility_market import Purchase, pay_for_delivery
from tricell.markets.postings import Kind, Party, Posting
from tricell.markets.services.offers import Direction
from tricell.markets.services.service import Service, ServiceKind, StoreOwners

Floats = NDArray[np.float64]

PAYER = {"DSO": Party.DSO, "TSO": Party.TSO}


@dataclass(frozen=True)
class SoldBlock:
    """What T slots sold and what the meters showed.

    Attributes
    ----------
    sold_kw, price : shape (T, services, owners).
    baseline_kw, meter_kw : shape (T, owners), positive consumes.
    hours : length of a slot, h.
    """

    sold_kw: Floats
    price: Floats
    baseline_kw: Floats
    meter_kw: Floats
    hours: float


@dataclass(frozen=True)
class ServiceOutcome:
    """One service over a block.

    Attributes
    ----------
    accepted_kwh, delivered_kwh : of each owner, shape (T, owners).
    pay_eur : to each owner, shape (T, owners).
    moved_kwh : by how much each owner consumes more than contracted, shape (T, owners).
    """

    accepted_kwh: Floats
    delivered_kwh: Floats
    pay_eur: Floats
    moved_kwh: Floats


def settle_services(services: Sequence[Service], block: SoldBlock) -> list[ServiceOutcome]:
    """Measure and pay what a block sold.

    Parameters
    ----------
    services : of the run.
    block : what was sold, baselines and meters.

    Returns
    -------
    One outcome per service, in the order of the scenario.
    """
    change = (block.meter_kw - block.baseline_kw) * block.hours
    left = {way: np.maximum(int(way) * change, 0.0) for way in Direction}
    found: dict[int, ServiceOutcome] = {}
    # Delivery counts in the sequence in which services are served.
    for row in sorted(range(len(services)), key=lambda each: services[each].operator != "DSO"):
        service = services[row]
        sold, price = block.sold_kw[:, row] * block.hours, block.price[:, row]
        request = service.request(0.0, 1.0, block.hours)
        delivered, moved = sold, np.zeros_like(sold)
        if service.kind is not ServiceKind.RESERVE:
            delivered = np.minimum(left[service.direction], sold)
            left[service.direction] = left[service.direction] - delivered
            moved = int(service.direction) * sold
        purchase = Purchase(sold, price, None, 0.0)
        pay = pay_for_delivery(request, purchase, delivered, block.hours)
        found[row] = ServiceOutcome(sold, delivered, pay, moved)
    return [found[row] for row in range(len(services))]


def service_postings(
    services: Sequence[Service],
    outcomes: Sequence[ServiceOutcome],
    who: StoreOwners,
    *,
    n_agent: int,
    wholesale_price: Floats | None,
) -> list[Posting]:
    """Write down what operators pay owners, and what the retailer pays for the energy.

    Parameters
    ----------
    services, outcomes : in the order of the scenario.
    who : owners of the stores.
    n_agent : number of agents.
    wholesale_price : EUR/kWh, shape (T,); None where the wholesale side is left out.
    """
    postings = []
    for service, outcome in zip(services, outcomes, strict=True):
        if not outcome.accepted_kwh.any():
            continue
        payer = PAYER[service.operator]
        given = -outcome.moved_kwh
        kwh, eur = np.zeros(n_agent), np.zeros(n_agent)
        kwh[who.agent] = -given.sum(axis=0)
        eur[who.agent] = -outcome.pay_eur.sum(axis=0)
        energy, amount = given.sum(axis=1), outcome.pay_eur.sum(axis=1)
        postings.append(
            Posting(
                payer,
                Party.AGENTS,
                Kind.CAPACITY,
                energy,
                amount,
                charge=service.name,
                agent_kwh=kwh,
                agent_eur=eur,
            )
        )
        if wholesale_price is not None and outcome.moved_kwh.any():
            passed_on = energy * wholesale_price
            postings.append(
                Posting(
                    Party.RETAILER, payer, Kind.CAPACITY, energy, passed_on, charge=service.name
                )
            )
    return postings


def moved_kw(services: Sequence[Service], sold_kw: Floats) -> Floats:
    """Return by how much owners consume more than contracted, kW, shape (T, owners).

    Parameters
    ----------
    services : of the run.
    sold_kw : shape (T, services, owners).
    """
    sign = [0 if each.kind is ServiceKind.RESERVE else int(each.direction) for each in services]
    return np.asarray(np.einsum("s,tso->to", np.array(sign, dtype=np.float64), sold_kw))
