"""Solves the small programs with yes-or-no variables of this package by HiGHS.

A battery that would charge and discharge at once, or a meter that would import and export at once,
burns energy or money that a real one cannot. At negative prices, or where selling earns more than
buying costs, only a binary variable keeps a program from that.
"""

from __future__ import annotations

import pyomo.environ as pe
from pyomo.contrib.solver.common.results import TerminationCondition
from pyomo.contrib.solver.solvers.highs import Highs

from tricell.errors import MarketError

OPTIONS = {
    "mip_feasibility_tolerance": 1e-9,
    "primal_feasibility_tolerance": 1e-9,
    "dual_feasibility_tolerance": 1e-9,
}
SMALLEST_GAP = 1e-10
"""How much better than the answer an optimum could still be."""
NO_POINT = (TerminationCondition.provenInfeasible, TerminationCondition.infeasibleOrUnbounded)


class NoScheduleError(MarketError):
    """No schedule keeps all limits; the message names the device that they fail.

    Attributes
    ----------
    missing_kwh : by name of the device, the energy that it would lack, where that is known.
    """

    def __init__(self, message: str, missing_kwh: dict[str, float] | None = None) -> None:
        super().__init__(message)
        self.missing_kwh = missing_kwh or {}


def has_optimum(model: pe.ConcreteModel) -> bool:
    """Solve a bounded model and write the values into it; False if no point keeps its constraints.

    Raises
    ------
    MarketError
        If HiGHS ends in any other way.
    """
    solver = Highs()
    result = solver.solve(
        model,
        load_solutions=False,
        raise_exception_on_nonoptimal_result=False,
        threads=1,
        rel_gap=0.0,
        abs_gap=SMALLEST_GAP,
        solver_options=OPTIONS,
    )
    how = result.termination_condition
    if how in NO_POINT:
        return False
    if how != TerminationCondition.convergenceCriteriaSatisfied:
        raise MarketError(f"HiGHS ended the model {model.name!r} with {how.name}, not an optimum")
    result.solution_loader.load_vars()
    return True
