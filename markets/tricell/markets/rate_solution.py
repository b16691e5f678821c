"""Rates that recover an allowed revenue from given meter data.

Every charge is proportional to its rates, ``revenue_c(x_c rates) = x_c revenue_c``. Some charges
keep their rates; the others are scaled so that the network operator gets what it is allowed to::

    need = allowed - collected otherwise - sum_{c kept} revenue_c
    one common factor:     x = need / sum_{c solved} revenue_c
    shares s_c of the need: x_c = s_c need / revenue_c,   sum s_c = 1

Collected otherwise is what no charge bills: congestion rent and fees at the borders of areas. It is
deducted, so that nothing is collected twice. Levies keep their rates and recover nothing.

Sources
-------
.. [1] Baroche, Pinson, Le Goff Latimier, Ben Ahmed 2019, Exogenous cost allocation in peer-to-peer
   electricity markets: the unit fee from the cost to recover.
.. [2] CEER 2020, Paper on electricity distribution tariffs supporting the energy transition.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.markets.charge import Charge, MeterData

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

EXACT = 1e-9
"""Relative difference between revenue and allowed revenue that is rounding."""


class NoRateError(MarketError):
    """The allowed revenue cannot be recovered by any rate."""


@dataclass(frozen=True)
class RateSolution:
    """Charges with solved rates, and what they bill; C charges, N customers.

    Attributes
    ----------
    charges : with the rates that were found, in the order given.
    factor : what the rates of each were multiplied by, shape (C,); 1 for those that keep theirs.
    bill_eur : shape (C, N).
    recovers : whether a charge counts towards the allowed revenue (levies do not), shape (C,).
    collected_eur : what is collected otherwise.
    allowed_eur : allowed revenue.
    """

    charges: tuple[Charge, ...]
    factor: Floats
    bill_eur: Floats
    recovers: Bools
    collected_eur: float
    allowed_eur: float

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the charges."""
        return tuple(charge.label for charge in self.charges)

    @property
    def charge_revenue_eur(self) -> Floats:
        """What each charge collects, shape (C,)."""
        return np.asarray(self.bill_eur.sum(axis=1))

    @property
    def revenue_eur(self) -> float:
        """What the network operator gets: its charges, and what is collected otherwise."""
        return float(self.charge_revenue_eur @ self.recovers + self.collected_eur)

    @property
    def gap_eur(self) -> float:
        """Allowed less collected revenue."""
        return self.allowed_eur - self.revenue_eur


def bills_by_charge(charges: Sequence[Charge], meters: MeterData) -> Floats:
    """Return what each charge bills each customer over the meter data, EUR, shape (C, N)."""
    bills = [charge.bill_eur(meters) for charge in charges]
    return np.array(bills).reshape(len(charges), len(meters.customers))


def billed(
    charges: Sequence[Charge],
    meters: MeterData,
    allowed_eur: float,
    collected_eur: float = 0.0,
) -> RateSolution:
    """Bill charges with the rates that they have; the gap to the allowed revenue stays."""
    recovers = np.array([charge.purpose == "network" for charge in charges], np.bool_)
    return RateSolution(
        charges=tuple(charges),
        factor=np.ones(len(charges)),
        bill_eur=bills_by_charge(charges, meters),
        recovers=recovers,
        collected_eur=collected_eur,
        allowed_eur=allowed_eur,
    )


def solve_rates(
    charges: Sequence[Charge],
    meters: MeterData,
    allowed_eur: float,
    shares: Mapping[str, float] | None = None,
    *,
    fixed: Collection[str] = (),
    collected_eur: float = 0.0,
) -> RateSolution:
    """Scale the rates of charges until their revenue is what the operator is allowed to collect.

    Parameters
    ----------
    charges : C charges with their rates in the ratio wanted.
    meters : of the period that the allowed revenue is for.
    allowed_eur : allowed revenue of this period (`tricell.markets.cost_recovery`), EUR.
    shares : share of what is left to recover, by label of a charge; each is scaled on its own.
        None scales all by one factor.
    fixed : labels of charges that keep their rates. Levies, and charges without a rate of their
        own such as congestion rent, keep theirs in any case.
    collected_eur : what is collected otherwise (congestion rent, fees at borders), EUR.

    Returns
    -------
    RateSolution
        Its revenue is the allowed one to 1e-9 of it.

    Raises
    ------
    MarketError
        If a label is named that there is not, or twice; shares do not add up to 1 or leave out a
        charge; the allowed revenue is negative; a charge is not proportional to its rates.
    NoRateError
        If no rate can recover the allowed revenue: there is nothing to bill, or what keeps its
        rates recovers more already.
    """
    _check_names(charges, shares or {}, fixed)
    _check_amounts(allowed_eur, collected_eur)
    solved = np.array([_is_solved(charge, fixed) for charge in charges], np.bool_)
    share_by_row = None if shares is None else _share_by_row(charges, solved, shares)
    start = billed(charges, meters, allowed_eur, collected_eur)
    revenue = start.charge_revenue_eur
    kept = float(revenue @ (start.recovers & ~solved))
    need = _need(allowed_eur, kept, collected_eur)
    if share_by_row is None:
        factor = np.where(solved, _factor(charges, solved, revenue, need), 1.0)
    else:
        factor = np.ones(len(charges))
        for row, share in share_by_row.items():
            alone = np.arange(len(charges)) == row
            factor[row] = _factor(charges, alone, revenue, share * need)
    return _scaled(start, factor, meters)


def _scaled(start: RateSolution, factor: Floats, meters: MeterData) -> RateSolution:
    """Scale the charges, bill them, and check that the revenue came out."""
    charges = tuple(
        charge if times == 1.0 else charge.scaled(float(times))
        for charge, times in zip(start.charges, factor, strict=True)
    )
    solution = RateSolution(
        charges=charges,
        factor=factor,
        bill_eur=bills_by_charge(charges, meters),
        recovers=start.recovers,
        collected_eur=start.collected_eur,
        allowed_eur=start.allowed_eur,
    )
    expected = start.charge_revenue_eur * factor
    wrong = np.abs(solution.charge_revenue_eur - expected) > EXACT * max(
        float(np.abs(expected).max(initial=0.0)), start.allowed_eur
    )
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise MarketError(
            f"charge {solution.labels[row]!r}: {factor[row]:g} times its rates collect "
            f"{solution.charge_revenue_eur[row]:g} EUR, not {expected[row]:g} EUR: it is not "
            "proportional to its rates (RATES), so they cannot be solved. Let it keep its rates."
        )
    return solution


def _is_solved(charge: Charge, fixed: Collection[str]) -> bool:
    has_rates = bool(charge.RATES) and charge.purpose == "network"
    return has_rates and charge.label not in fixed


def _need(allowed_eur: float, kept_eur: float, collected_eur: float) -> float:
    """Return what the solved charges have to collect."""
    need = allowed_eur - kept_eur - collected_eur
    if need < -EXACT * allowed_eur or (allowed_eur == 0.0 and need < 0.0):
        raise NoRateError(
            f"allowed revenue: {allowed_eur:g} EUR, but charges that keep their rates collect "
            f"{kept_eur:g} EUR and congestion rent and border fees {collected_eur:g} EUR: already "
            "more than allowed. Lower those rates, or let them be solved too."
        )
    return max(need, 0.0)


def _factor(charges: Sequence[Charge], solved: Bools, revenue: Floats, need: float) -> float:
    """Return the factor by which the solved charges collect what is needed."""
    base = float(revenue @ solved)
    if base > 0.0 and np.isfinite(need / base):
        return need / base
    if need == 0.0:
        return 0.0
    names = ", ".join(
        repr(each.label) for each, is_in in zip(charges, solved, strict=True) if is_in
    )
    if not names:
        reason = "no charge is left whose rates could be solved. Name one that does not keep them."
    elif not any(_has_rate(each) for each, is_in in zip(charges, solved, strict=True) if is_in):
        reason = f"all rates of {names} are 0. Give them in the ratio wanted, such as 1."
    elif base < 0.0:
        reason = f"{names} pay out more than they collect ({base:g} EUR at the rates given)."
    else:
        reason = (
            f"there is nothing that {names} could bill: every base is zero in these meter data."
        )
    raise NoRateError(f"allowed revenue: no rate can recover {need:g} EUR: {reason}")


def _has_rate(charge: Charge) -> bool:
    """Whether any rate of a charge is not zero."""
    return charge.scaled(0.0).model_dump() != charge.model_dump()


def _share_by_row(
    charges: Sequence[Charge], solved: Bools, shares: Mapping[str, float]
) -> dict[int, float]:
    """Return the share of every solved charge by its row, and check that they fit."""
    labels = [charge.label for charge in charges]
    wanted = {label for label, is_in in zip(labels, solved, strict=True) if is_in}
    if wanted != set(shares):
        odd = sorted(wanted ^ set(shares))
        raise MarketError(
            f"shares of revenue: {', '.join(odd)}; needed is one share for every charge whose "
            f"rates are solved: {', '.join(sorted(wanted)) or 'none'}. Let the others "
            "keep their rates."
        )
    total = sum(shares.values())
    if min(shares.values(), default=0.0) < 0.0 or not abs(total - 1.0) <= EXACT:
        listed = ", ".join(f"{label} {share:g}" for label, share in shares.items())
        raise MarketError(
            f"shares of revenue: {listed} add up to {total:g}; allowed are shares from 0 to 1 that "
            "add up to 1"
        )
    return {labels.index(label): share / total for label, share in shares.items()}


def _check_names(
    charges: Sequence[Charge], shares: Mapping[str, float], fixed: Collection[str]
) -> None:
    labels = [charge.label for charge in charges]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise MarketError(
            f"charges: {', '.join(map(repr, twice))} is there more than once. Give each a `name`."
        )
    unknown = sorted((set(shares) | set(fixed)) - set(labels))
    if unknown:
        raise MarketError(
            f"rates to solve: there is no charge {', '.join(map(repr, unknown))}; charges here: "
            f"{', '.join(labels) or 'none'}"
        )


def _check_amounts(allowed_eur: float, collected_eur: float) -> None:
    if not (np.isfinite(allowed_eur) and allowed_eur >= 0.0):
        raise MarketError(
            f"allowed revenue: {allowed_eur:g} EUR; allowed are numbers from 0 upwards"
        )
    if not np.isfinite(collected_eur):
        raise MarketError(f"collected otherwise: {collected_eur:g} EUR is not a number")
