"""Rates that are solved again after customers reacted to them, until they stand still.

With the rates ``c_k`` customers behave, which gives meter data; on these the rates that recover the
allowed revenue are ``G(c_k)``. The next rates keep a share ``d`` of the old ones (damping)::

    c_{k+1} = d c_k + (1 - d) G(c_k)          until max |G(c_k) - c_k| <= tolerance max |c_k|

The textbook case has a closed form: a volumetric rate pays for a network whose customers save the
share ``phi`` of their energy ``E0`` once they own a plant, and own one with the share ``F(c)``::

    c_{k+1} = R / (E0 (1 - phi a_k)),   a_{k+1} = F(c_k)

It settles where ``|F'(a) dc/da| < 1``. Beyond that the rate chases the base away: the death spiral.

Sources
-------
.. [1] Costello, Hemphill 2014, Electric utilities' 'death spiral': hyperbole or reality?
   The Electricity Journal 27(10).
.. [2] Darghouth, Wiser, Barbose, Mills 2016, Net metering and market feedback loops. Applied
   Energy 162.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tricell.errors import MarketError
from tricell.markets.charge import Charge, MeterData
from tricell.markets.rate_solution import NoRateError, RateSolution, billed

Floats = NDArray[np.float64]
Reason = Literal["converged", "cycle", "diverging", "iteration limit"]
Respond = Callable[[tuple[Charge, ...]], MeterData]
Solve = Callable[[tuple[Charge, ...], MeterData], RateSolution]

RUNAWAY = 1e3
"""Rates that have become this many times those solved on the first run diverge."""
SAME = 1e-3
"""Rates come back to earlier ones if they miss them by less than this share of the last step."""
GROWING_STEPS = 3
"""At the iteration limit rates diverge if that many steps in a row were each larger."""


@dataclass(frozen=True)
class FeedbackPath:
    """What the rates did from run to run; K runs, C charges.

    Attributes
    ----------
    labels : names of the charges.
    factor : rates of each run as multiples of those given, shape (K, C); 1 in the first run.
    solved_factor : rates that would have recovered the allowed revenue on the meter data of each
        run, shape (K, C); nan where no rate could.
    revenue_eur : what the operator got in each run at its rates, shape (K,); nan where no rate
        could be solved.
    reason : why it ended.
    solution : rates solved on the last run in which a rate could be found. After `converged` these
        are the result.
    meters : meter data of the last run.
    message : in words what happened, for tables and warnings.
    """

    labels: tuple[str, ...]
    factor: Floats
    solved_factor: Floats
    revenue_eur: Floats
    reason: Reason
    solution: RateSolution
    meters: MeterData
    message: str

    @property
    def converged(self) -> bool:
        """Whether the rates stand still."""
        return self.reason == "converged"

    @property
    def iterations(self) -> int:
        """Number of runs K."""
        return len(self.factor)

    @property
    def gap_eur(self) -> Floats:
        """Allowed less collected revenue of each run, shape (K,)."""
        return np.asarray(self.solution.allowed_eur - self.revenue_eur)


def resolve_until_stable(
    respond: Respond,
    solve: Solve,
    start: Sequence[Charge],
    *,
    tolerance: float = 1e-6,
    max_iterations: int = 20,
    damping: float = 0.0,
) -> FeedbackPath:
    """Let customers react and solve the rates again, until the rates stand still.

    Parameters
    ----------
    respond : gives the meter data of customers who know these charges, such as a simulation.
    solve : gives the rates that recover the allowed revenue on meter data, by scaling the charges
        handed to it (`tricell.markets.rate_solution.solve_rates`). It always gets ``start``.
    start : charges of the first run.
    tolerance : largest change of a rate, as a share of the largest rate (as multiples of start).
    max_iterations : most runs of ``respond``, at least 1.
    damping : share of the old rates that is kept, from 0 to below 1.

    Returns
    -------
    FeedbackPath
        With the reason ``converged``; ``cycle`` where rates come back to earlier ones;
        ``diverging`` where no rate can recover the revenue any more, rates exceed 1000 times those
        solved first, or changes still grow at the iteration limit; ``iteration limit`` otherwise.

    Raises
    ------
    MarketError
        If an option is out of range; if no rate can recover the revenue in the first run.
    """
    _check_options(tolerance, max_iterations, damping)
    first = tuple(start)
    factor = np.ones(len(first))
    runs: list[_Run] = []
    while True:
        runs.append(_run(respond, solve, first, factor))
        following = damping * factor + (1.0 - damping) * runs[-1].solved_factor
        ending = _ending(runs, following, tolerance, max_iterations)
        if ending is not None:
            return _path(first, runs, *ending)
        factor = following


def adoption_feedback(
    allowed_eur: float,
    energy_kwh: float,
    saved_share: float,
    adoption: Callable[[float], float],
    *,
    first_adoption: float,
    iterations: int,
) -> tuple[Floats, Floats]:
    """Return rates (EUR/kWh) and adoption of the textbook case, each of shape (iterations,).

    ``c_k = R / (E0 (1 - phi a_k))`` and ``a_{k+1} = F(c_k)``; inf where no base is left.

    Parameters
    ----------
    allowed_eur, energy_kwh : R, and E0 without any plant.
    saved_share : phi, share of its energy that a customer with a plant does not import.
    adoption : F, share of customers with a plant at a rate.
    first_adoption : share at the beginning.
    iterations : number of rates.

    Examples
    --------
    >>> rate, share = adoption_feedback(
    ...     100.0, 1000.0, 0.5, lambda rate: 0.4, first_adoption=0.0, iterations=3
    ... )
    >>> rate, share
    (array([0.1  , 0.125, 0.125]), array([0. , 0.4, 0.4]))
    """
    rates, shares = np.zeros(iterations), np.zeros(iterations)
    share = first_adoption
    for step in range(iterations):
        base = energy_kwh * (1.0 - saved_share * share)
        shares[step], rates[step] = share, allowed_eur / base if base > 0.0 else np.inf
        share = adoption(float(rates[step]))
    return rates, shares


@dataclass(frozen=True)
class _Run:
    """One run: its rates, what customers did, and the rates that would have been right."""

    factor: Floats
    meters: MeterData
    solution: RateSolution | None
    revenue_eur: float
    problem: str = ""

    @property
    def solved_factor(self) -> Floats:
        if self.solution is None:
            return np.full(len(self.factor), np.nan)
        return self.solution.factor

    @property
    def change(self) -> float:
        return _distance(self.solved_factor, self.factor)


def _run(respond: Respond, solve: Solve, first: tuple[Charge, ...], factor: Floats) -> _Run:
    """Let customers react to the charges times a factor, and solve the rates on what they did."""
    charges = tuple(
        charge if times == 1.0 else charge.scaled(float(times))
        for charge, times in zip(first, factor, strict=True)
    )
    meters = respond(charges)
    try:
        solution = solve(first, meters)
    except NoRateError as error:
        return _Run(factor, meters, None, np.nan, str(error))
    bill = billed(charges, meters, solution.allowed_eur, solution.collected_eur)
    return _Run(factor, meters, solution, bill.revenue_eur)


def _ending(
    runs: list[_Run], following: Floats, tolerance: float, max_iterations: int
) -> tuple[Reason, str] | None:
    """Return why the path ends after the last run, in a word and a sentence; None to go on."""
    last, count = runs[-1], len(runs)
    if last.solution is None:
        if count == 1:
            raise NoRateError(last.problem)
        return "diverging", f"After {count} runs: {last.problem}"
    if last.change <= tolerance * _size(last.factor):
        return "converged", f"The rates stand still after {count} runs."
    grown = _size(following) / (_size(runs[0].solved_factor) or 1.0)
    if not grown <= RUNAWAY:
        return "diverging", f"After {count} runs rates are {grown:.3g} times those solved first."
    period = _period(runs, following)
    if period is not None:
        return "cycle", f"After {count} runs the rates repeat themselves every {period} runs."
    return None if count < max_iterations else _at_limit(runs)


def _period(runs: list[_Run], following: Floats) -> int | None:
    """Return after how many runs the rates come back to what they were; None if they do not."""
    near = SAME * _distance(following, runs[-1].factor)
    for row in reversed(range(len(runs) - 1)):
        if _distance(following, runs[row].factor) <= near:
            return len(runs) - row
    return None


def _at_limit(runs: list[_Run]) -> tuple[Reason, str]:
    """Tell rates that run away from those that only need more time."""
    steps = np.diff([run.change for run in runs[-GROWING_STEPS - 1 :]])
    if len(steps) == GROWING_STEPS and (steps > 0.0).all():
        return "diverging", f"The change of the rates still grows after {len(runs)} runs."
    return "iteration limit", (
        f"After {len(runs)} runs rates still change by {runs[-1].change:.3g} times those of the "
        "start. Allow more iterations, or use damping."
    )


def _path(
    first: tuple[Charge, ...], runs: list[_Run], reason: Reason, message: str
) -> FeedbackPath:
    solution = next(run.solution for run in reversed(runs) if run.solution is not None)
    return FeedbackPath(
        labels=tuple(charge.label for charge in first),
        factor=np.array([run.factor for run in runs]),
        solved_factor=np.array([run.solved_factor for run in runs]),
        revenue_eur=np.array([run.revenue_eur for run in runs]),
        reason=reason,
        solution=solution,
        meters=runs[-1].meters,
        message=message,
    )


def _size(factor: Floats) -> float:
    return float(np.abs(factor).max(initial=0.0))


def _distance(one: Floats, other: Floats) -> float:
    return float(np.abs(one - other).max(initial=0.0))


def _check_options(tolerance: float, max_iterations: int, damping: float) -> None:
    if not tolerance > 0.0:
        raise MarketError(f"feedback: tolerance is {tolerance}; allowed are numbers above 0")
    if max_iterations < 1:
        raise MarketError(f"feedback: {max_iterations} iterations; allowed are 1 or more")
    if not 0.0 <= damping < 1.0:
        raise MarketError(f"feedback: damping is {damping}; allowed is 0 to below 1")
