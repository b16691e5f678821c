"""A design at a point of the axes, under all closures: rates, runs and bills.

With the reference run's meters ``M0`` and the rates ``c = G(M)`` that recover the allowed revenue
on meters M, and the meters ``M(c)`` of a run in which everybody knows the rates c::

    none        c0 = G(M0)          bills of c0 on M0
    fixed       c0 = G(M0)          bills of c0 on M(c0): the revenue differs from the allowed one
    resolved    c  = G(M(c))        found by iteration from c0; bills of G(M) on the last meters M

Fees at the borders of areas are known only for the run in which they hold: they count as collected
otherwise, as congestion rent does, and are not in bills without reaction.

A closure that cannot be computed is recorded with its message; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from tricell.errors import TricellError
from tricell.markets.charge import Charge, MeterData
from tricell.markets.cost_recovery import (
    CostCascade,
    CostSplit,
    allowed_for_period,
    causal_cost,
    cost_cascade,
)
from tricell.markets.feedback import FeedbackPath, resolve_until_stable
from tricell.markets.rate_solution import RateSolution, billed, solve_rates
from tricell.scenarios.network_charges import FEES, build_charges
from tricell.scenarios.schema import Scenario
from tricell.scenarios.study_plan import with_charges
from tricell.scenarios.study_run import Obtained, RunCache, RunRecord, obtain
from tricell.scenarios.study_schema import Closure, CostShares, Design, Study

Floats = NDArray[np.float64]
Notify = Callable[[bool], None]
"""Called after every run with whether it was reused."""

NOT_BELIEVABLE = (ArithmeticError, ValueError, LookupError, RuntimeError, AssertionError, OSError)
"""What a broken run may raise beside tricell's own errors; the study records it and goes on."""
EXACT = 1e-9


@dataclass(frozen=True)
class Job:
    """One design at one point.

    Attributes
    ----------
    study : says how rates are solved.
    design : the design.
    scenario, reference : scenarios of this and of the reference design at the point.
    allowed_eur_per_year : allowed revenue by level, microgrid to multi-cell.
    cache : folder of the records.
    """

    study: Study
    design: Design
    scenario: Scenario
    reference: Scenario
    allowed_eur_per_year: tuple[float, float, float]
    cache: Path


@dataclass(frozen=True)
class RateRound:
    """The rates of a round.

    Attributes
    ----------
    charges : with their rates.
    collected_eur : what they collect.
    change : largest change to the round before, as a share of the largest; nan in the first.
    """

    charges: tuple[Charge, ...]
    collected_eur: float
    change: float = float("nan")


@dataclass(frozen=True)
class Billing:
    """Bills of a closure; C charges, N customers.

    Attributes
    ----------
    record : the run whose meters are billed, with the customers of the study alone.
    whole : the same run with everybody.
    solution : charges, what they bill, and the allowed revenue.
    cascade : the allowed revenue by level of the customers.
    causal_eur : network cost that each customer causes.
    no_trading_eur : bills without markets at the rates of the reference design, without reaction.
    levies_eur_per_kwh : part of the retail price that is collected for the state.
    reference : the reference run.
    """

    record: RunRecord
    whole: RunRecord
    solution: RateSolution
    cascade: CostCascade
    causal_eur: Floats
    no_trading_eur: Floats
    levies_eur_per_kwh: float
    reference: RunRecord


@dataclass(frozen=True)
class ClosureResult:
    """A closure of a design at a point.

    Attributes
    ----------
    closure : which.
    status, message : `study_layout.RUN_STATUS`, and why.
    seconds : computing time of its runs, also of reused ones.
    simulations, reused : runs that it needed, and how many of them were there before.
    iterations : rounds of rates and reactions.
    meters : content hash of the run that is billed; empty if it failed.
    rounds : rates, round by round; the last are those of the bills.
    billing : bills; None if it failed.
    """

    closure: Closure
    status: str
    message: str = ""
    seconds: float = 0.0
    simulations: int = 0
    reused: int = 0
    iterations: int = 0
    meters: str = ""
    rounds: tuple[RateRound, ...] = ()
    billing: Billing | None = None

    @property
    def converged(self) -> bool:
        """Whether rates and reactions stayed."""
        return self.status == "complete"


@dataclass
class _Runs:
    """Runs that a closure asks for."""

    scenario: Scenario
    cache: RunCache
    levels: Sequence[str]
    notify: Notify
    taken: list[Obtained] = field(default_factory=list)

    def of(self, charges: Sequence[Charge]) -> RunRecord:
        """Return the record of the run in which everybody knows these charges."""
        known = tuple(charge for charge in charges if charge.label != FEES)
        found = obtain(with_charges(self.scenario, known), self.cache, self.levels)
        self.notify(found.reused)
        self.taken.append(found)
        return found.record

    @property
    def last(self) -> Obtained:
        """The run asked for last."""
        return self.taken[-1]


def reference_run(
    scenario: Scenario, cache: Path, notify: Notify, levels: Sequence[str] = ()
) -> tuple[float, float, str]:
    """Make sure that the record of a reference run is there.

    Parameters
    ----------
    scenario, cache : what to run, and the folder of the records.
    notify : is told whether the record was there.
    levels : those whose customers the study bills; empty for all.

    Returns
    -------
    tuple
        What its network charges collect from these customers in the period, EUR, the share of a
        year that it covers, and its provenance as JSON.

    Raises
    ------
    TricellError
        If the run fails.
    """
    found = obtain(scenario, RunCache(cache), levels)
    notify(found.reused)
    record = found.record
    charges = build_charges(scenario, record.area_id)
    solution = billed(charges, record.meters, 0.0, collected_otherwise(record))
    return solution.revenue_eur, record.calendar.year_share, record.provenance


def evaluate(job: Job, notify: Notify) -> tuple[ClosureResult, ...]:
    """Compute all closures of a design at a point; what fails is recorded."""
    return tuple(_tried(job, closure, notify) for closure in job.study.closures)


def collected_otherwise(record: RunRecord) -> float:
    """Return what the network operator gets beside the charges: congestion rent, border fees."""
    return float(record.congestion_rent_eur.sum() + record.border_eur.sum())


def _tried(job: Job, closure: Closure, notify: Notify) -> ClosureResult:
    started = perf_counter()
    try:
        return _computed(job, closure, notify)
    except TricellError as error:
        message = str(error)
    except NOT_BELIEVABLE as error:
        message = f"{type(error).__name__}: {error}"
    return ClosureResult(closure, "failed", message, seconds=perf_counter() - started)


def _computed(job: Job, closure: Closure, notify: Notify) -> ClosureResult:
    cache = RunCache(job.cache)
    reference = obtain(job.reference, cache, job.study.billed_levels)
    runs = _Runs(job.scenario, cache, job.study.billed_levels, notify)
    start = build_charges(job.scenario, reference.record.area_id)
    first = _solved(job, start, reference.record)
    rounds: tuple[RateRound, ...] = (RateRound(first.charges, first.revenue_eur),)
    status, message, iterations = "complete", "", 0
    if closure == "none":
        billable, solution = reference, first
    elif closure == "fixed":
        record = runs.of(first.charges)
        allowed, extra = first.allowed_eur, collected_otherwise(record)
        solution, billable = billed(first.charges, record.meters, allowed, extra), runs.last
        rounds, iterations = (RateRound(solution.charges, solution.revenue_eur),), 1
    else:
        path = _path(job, first, runs)
        # Where no rate could be found any more, the bills are those of the last run with one.
        billable = runs.taken[int(np.flatnonzero(~np.isnan(path.solved_factor).any(axis=1))[-1])]
        solution = path.solution
        rounds, iterations = _rounds(path, first), path.iterations
        if not path.converged:
            status, message = "not_converged", path.message
    return ClosureResult(
        closure,
        status,
        message,
        seconds=sum((run.record.seconds for run in runs.taken), reference.record.seconds),
        simulations=len(runs.taken) + 1,
        reused=sum(run.reused for run in runs.taken) + 1,
        iterations=iterations,
        meters=billable.run,
        rounds=rounds,
        billing=_billing(job, billable, solution, reference.record),
    )


def _solved(job: Job, charges: Sequence[Charge], record: RunRecord) -> RateSolution:
    """Solve the rates of a design on the meters of a run."""
    return _solve(job.study, job.design, charges, record, _allowed(job, record))


def _solve(
    study: Study, design: Design, charges: Sequence[Charge], record: RunRecord, allowed: float
) -> RateSolution:
    fixed = tuple(label for label in (FEES, *design.fixed) if label in _labels(charges))
    extra = collected_otherwise(record)
    solution = solve_rates(
        charges, record.meters, allowed, design.shares, fixed=fixed, collected_eur=extra
    )
    if (np.abs(solution.factor - 1.0) <= EXACT).all():
        return billed(charges, record.meters, allowed, extra)
    return solution


def _labels(charges: Sequence[Charge]) -> list[str]:
    return [charge.label for charge in charges]


def _allowed(job: Job, record: RunRecord) -> float:
    return float(allowed_for_period(job.allowed_eur_per_year, record.calendar).sum())


def _path(job: Job, first: RateSolution, runs: _Runs) -> FeedbackPath:
    """Iterate rates and reactions."""

    def respond(charges: tuple[Charge, ...]) -> MeterData:
        return runs.of(charges).meters

    def solve(charges: tuple[Charge, ...], meters: MeterData) -> RateSolution:
        return _solved(job, charges, runs.last.record)

    study = job.study
    return resolve_until_stable(
        respond,
        solve,
        first.charges,
        tolerance=study.tolerance,
        max_iterations=study.max_iterations,
        damping=study.damping,
    )


def _rounds(path: FeedbackPath, first: RateSolution) -> tuple[RateRound, ...]:
    """Return the rates of every run, and last those of the bills."""
    factors = [*path.factor, path.solution.factor]
    collected = [*path.revenue_eur, path.solution.revenue_eur]
    rounds = []
    for number, (factor, revenue) in enumerate(zip(factors, collected, strict=True)):
        charges = tuple(
            charge.scaled(float(times)) if times != 1.0 else charge
            for charge, times in zip(first.charges, factor, strict=True)
        )
        change = np.nan
        if number:
            before = factors[number - 1]
            change = float(np.abs(factor - before).max() / np.abs(before).max())
        rounds.append(RateRound(charges, float(revenue), change))
    return tuple(rounds)


def _billing(job: Job, run: Obtained, solution: RateSolution, reference: RunRecord) -> Billing:
    cost, record = job.study.cost, run.record
    cascade = cost_cascade(job.allowed_eur_per_year, record.meters, cost.peak_hours)
    return Billing(
        record=record,
        whole=run.whole,
        solution=solution,
        cascade=cascade,
        causal_eur=causal_cost(cascade, record.meters, _split(cost)).eur,
        no_trading_eur=_no_trading(job, reference),
        levies_eur_per_kwh=job.scenario.prices.levies_eur_per_kwh,
        reference=reference,
    )


def _split(cost: CostShares) -> CostSplit:
    return CostSplit(cost.energy, cost.peak, cost.customer)


def _no_trading(job: Job, reference: RunRecord) -> Floats:
    """Bill customers without any market at the rates of the reference design, EUR, shape (N,)."""
    design, study = job.study.reference_design, job.study
    charges = build_charges(job.reference, reference.area_id)
    rates = _solve(study, design, charges, reference, _allowed(job, reference))
    meters = reference.no_trading_meters
    energy = meters.import_kwh * reference.retail_price[:, None]
    income = meters.export_kwh * np.maximum(reference.feed_in_price, 0.0)[:, None]
    network = sum((charge.bill_eur(meters) for charge in rates.charges), np.zeros(len(income.T)))
    return np.asarray((energy - income).sum(axis=0) + network)
