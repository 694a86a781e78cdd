"""What happens after the first solver: exact Newton steps where it lost its way, and a status that the proof gives.

Conjugate gradients, trust regions and quasi-Newton methods estimate the Newton decrement. On columns of which one is
nearly a combination of others the estimate may be far too small, and a far outlier may stop them where a factor of
the Hessian goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..history import Result, Status, joined
from ..kernels.streamed import StreamedRows
from ..solvers import NewtonCholesky, Solver
from .audit import audited, to_audit
from .auto import SAMPLED_SIZE
from .optimality import Optimality

if TYPE_CHECKING:
    from .problem import Problem

#: Multiply-adds of the dense Hessians of a second run at most: some seconds.
SECOND_WORK = 2e9
#: How many times the tolerance the exact decrement may be where the first solver has estimated it.
DOUBT = 4.0
#: Relative bound that proves too little to believe an estimate, and the multiply-adds of a Hessian that such a doubt is
#: worth: some milliseconds.
LOOSE, LITTLE_WORK = 1e-3, 3e7
#: Iterations that are spent on a doubt.
CHECKS = 30
#: Rounding of the value that a proof is granted on top of tol^2, relative, where more iterations would not help.
ROUNDING = 64.0 * 2.0**-52
#: Ends of a fit that say nothing about the point.
BAD_LUCK = (Status.STALLED, Status.LINE_SEARCH_FAILED, Status.NOT_POSITIVE_DEFINITE, Status.MAX_ITER)


def may_go_on(problem: Problem, solver: Solver, given: object, result: Result) -> bool:
    """Return whether Newton steps with a factorised Hessian may follow a fit: not for solvers given as instances.

    Parameters
    ----------
    problem : Problem
    solver : Solver
        What ran.
    given : str or Solver
        The estimator's parameter.
    result : Result
    """
    model = problem.model
    return (
        isinstance(given, str)
        and problem.penalty.is_smooth
        and not problem.unseen
        and not isinstance(solver, NewtonCholesky)
        and not isinstance(model.X, StreamedRows)
        and model.size <= SAMPLED_SIZE
        and _work(problem) <= SECOND_WORK
        and result.n_iter < (solver.max_iter or 0)
    )


def gone_on(
    problem: Problem, solver: Solver, result: Result, why: str, callback: Callable | None
) -> tuple[Solver, Result]:
    """Return the exact solver and the outcome of both runs as one, begun where the first one ended.

    Parameters
    ----------
    problem, solver, result
        See `may_go_on`.
    why : str
        For the note beside the solver's.
    callback : callable or None
        Of the loop.
    """
    exact = NewtonCholesky(tol=solver.tol, gtol=solver.gtol, max_iter=solver.max_iter)
    rest = replace(exact, max_iter=(solver.max_iter or 0) - result.n_iter)
    found = joined(result, rest.minimize(problem.objective, result.theta, callback))
    found.history.notes["second"] = f"{why}: newton-cholesky went on from iteration {result.history[-1].iteration}"
    return exact, found


def _work(problem: Problem) -> float:
    """Return the multiply-adds of a dense Hessian."""
    model = problem.model
    return 0.5 * model.n_outputs * (model.n_outputs + 1) * model.n_rows * (model.n_features + 1) ** 2


def doubted(problem: Problem, result: Result, proof: Optimality, solver: Solver) -> bool:
    """Return whether the exact decrement at the end of a fit contradicts its status, or next to nothing supports it."""
    tol = solver.decrement_tol
    contradicted = proof.decrement > (DOUBT * tol * tol + ROUNDING) * proof.value
    return result.converged and (contradicted or (proof.relative_bound > LOOSE and _work(problem) <= LITTLE_WORK))


def checked(problem: Problem, solver: Solver, result: Result) -> tuple[Solver, Result]:
    """Return what exact steps make of a fit that is doubted: the fit itself where they win nothing of note.

    Then the decrement is rounding of a gradient that is summed over columns of very different units.
    """
    why, limit, tol = "the exact decrement or the bound is too large", solver.max_iter or 0, solver.decrement_tol
    short = replace(solver, max_iter=min(limit, result.n_iter + CHECKS))
    exact, found = gone_on(problem, short, result, why, None)
    if found.converged or result.value - found.value > DOUBT * tol * tol * abs(result.value):
        return replace(exact, max_iter=limit), found
    return solver, result


def settled(problem: Problem, result: Result, proof: Optimality, solver: Solver, names: Sequence | None) -> Optimality:
    """Return the proof, and set the status to converged where it says that the tolerance is met, however that ended.

    A small fit that proves little is looked at in more digits.
    """
    tol = solver.decrement_tol
    share = tol * tol + (0.0 if result.status is Status.MAX_ITER else ROUNDING)
    if result.status in BAD_LUCK and tol and proof.bound <= share * proof.value:
        result.status, result.reason = Status.CONVERGED, "proof"
        proof = replace(proof, status=result.status)
    if _work(problem) <= LITTLE_WORK and to_audit(problem, result, proof, tol):
        proof = audited(problem, result, proof, tol, range(problem.X.shape[1]) if names is None else names)
    return proof
