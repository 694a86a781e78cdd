"""Which solver and which preconditioner for data of a given shape, with the reason in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..protocols import Array
from ..solvers import NewtonCG, NewtonCholesky, ProximalNewton, Solver
from ..solvers.newton import CGState

#: Reads of an entry of X in the time that the calls of one pass take, see `tests/benchmarks/calibrate.py`.
CALL_READS = 150_000.0
#: The same in the time that softmax takes for a row and an output: with few columns that is most of a pass.
OUTPUT_READS = 14.0
#: Iterations of Newton's method with a dense Hessian, and passes with conjugate gradients, of an ordinary fit: as they
#: are, preconditioned by a factor of a sample, and begun on that sample as well.
DENSE_ITERATIONS, CG_PASSES, SAMPLED_CG_PASSES, STARTED_CG_PASSES = 6.0, 28.0, 16.0, 8.0
#: Most parameters for which a dense Hessian is considered, of a sparse X too.
DENSE_SIZE, DENSE_SPARSE = 512, 128
#: Passes over X that a sampled Cholesky factor may cost to be built at once; where it costs more it is built when
#: conjugate gradients have turned out slow, and above the second number of parameters never.
SAMPLED_PASSES, SAMPLED_SIZE = 4.0, 1024
#: Multiply-adds of a matrix product in the time of reading one entry of X, and reads in that of writing one weighted
#: entry for the product: of few columns that is most of it.
PRODUCT_PER_READ, READS_PER_WRITE = 16.0, 1.2


def choose(n: int, d: int, K: int, is_sparse: bool, outliers: bool = False) -> tuple[Solver, str]:
    """Return the solver for a problem of this shape and why.

    Parameters
    ----------
    n, d : int
        Rows and columns of X.
    K : int
        Outputs of the model (1 for two classes).
    is_sparse : bool
    outliers : bool, default=False
        Whether far outliers dominate a column: conjugate gradients on products with X then lose the other rows to
        rounding.

    Returns
    -------
    Solver
        With default tolerances.
    str
        The reason.
    """
    p = K * (d + 1)
    if outliers and p <= SAMPLED_SIZE:
        return NewtonCholesky(), f"{p} parameters and far outliers: a factor of the dense Hessian keeps the other rows"
    rows = min(1.0, max(0.02, 10.0 * p / n))
    cost = rows * p / PRODUCT_PER_READ
    sampled = not is_sparse and K == 1 and p <= SAMPLED_SIZE and cost <= SAMPLED_PASSES
    dense, inexact = dense_cost(n, d, K), inexact_cost(n, d, K, sampled)
    if p <= (DENSE_SPARSE if is_sparse else DENSE_SIZE) and dense <= inexact:
        reason = (
            f"{p} parameters and {n} rows: the dense Hessian is cheap, {dense / inexact:.0%} of conjugate gradients"
        )
        return NewtonCholesky(), reason
    if is_sparse or K > 1 or p > SAMPLED_SIZE:
        reason = f"{p} parameters, {n} rows: conjugate gradients need no p x p matrix"
        return NewtonCG(dense_size=0, sample_rows=rows), reason
    if sampled:
        reason = f"{n} rows for {p} parameters: {rows:.0%} of the rows give a preconditioner"
        return NewtonCG(preconditioner="cholesky", sample_rows=rows), reason
    # iterations grow from step to step: after one of a third of the price, all of them have cost about that price
    reason = f"{p} parameters, {n} rows: conjugate gradients; a factor of {rows:.0%} of the rows if they turn out slow"
    return NewtonCG(sample_rows=rows, dense_size=SAMPLED_SIZE, switch_after=max(8, round(cost / 3.0))), reason


def pass_reads(n: int, d: int, K: int) -> float:
    """Return the price of a pass, in reads of an entry of X."""
    return K * n * (d + (OUTPUT_READS if K > 1 else 0.0)) + CALL_READS


def dense_cost(n: int, d: int, K: int) -> float:
    """Return the price of a fit with dense Hessians, in reads of an entry of X.

    K (K + 1) / 2 Gram matrices of d columns with weights of their own, a factorisation and an evaluation an iteration.
    """
    p, blocks = K * (d + 1), K * (K + 1) / 2
    work = (blocks * n * (d + 1) ** 2 + p**3 / 3.0) / PRODUCT_PER_READ
    weights = (5.0 * blocks * n if K > 1 else 0.0) + READS_PER_WRITE * blocks * n * (d + 1)
    return DENSE_ITERATIONS * (work + weights + pass_reads(n, d, K) + (1.0 + 0.05 * blocks) * CALL_READS)


def inexact_cost(n: int, d: int, K: int, sampled: bool) -> float:
    """Return the price of a fit with conjugate gradients, in reads of an entry of X.

    `sampled` says that a factor of a sample of the rows preconditions them.
    """
    passes = STARTED_CG_PASSES if start_share(n, d, K) else SAMPLED_CG_PASSES
    return (passes if sampled else CG_PASSES) * pass_reads(n, d, K)


def proximal(solver: str | Solver) -> tuple[Solver, str]:
    """Return the solver for a problem with an L1 part or with bounds, and why.

    Parameters
    ----------
    solver : str or Solver
        What the estimator was given.

    Raises
    ------
    ValueError
        If that is a solver for smooth objectives.
    """
    if isinstance(solver, ProximalNewton):
        return solver, "given as an instance"
    if solver == ProximalNewton.name:
        return ProximalNewton(), "given by name"
    if solver in ("auto", "saga", "liblinear"):
        reason = "an L1 penalty or bounds: zeros and active bounds are found exactly"
        return ProximalNewton(), reason if solver == "auto" else f"stands in for {solver!r}; {reason}"
    name = solver if isinstance(solver, str) else type(solver).__name__
    raise ValueError(
        f"Solver {name} supports only 'l2' or None penalties and no bounds; received l1_ratio > 0 or bounds: set "
        "solver='auto' or 'proximal-newton', or leave them out"
    )


#: Entries of X from which a start on a sample of the rows saves time, rows a parameter the sample holds at least, and
#: its smallest (for one output) and largest share of all rows.
START_ENTRIES, START_ROWS, START_LEAST, START_SHARE = 2_000_000, 42, 0.04, 0.08
#: Multiply-adds up to which the sample is fitted with dense Hessians: the last factor is of use for all rows.
START_WORK = 1e8
#: Rows of each class that the sample must hold.
START_CLASS = 20
#: Tolerance on the sample: its own error, p / (2 m) nats for m rows, is above.
START_TOL = 3e-2


def start_share(n: int, d: int, K: int) -> float:
    """Return the share of the rows to begin on, 0 where all rows are better from the first iteration.

    With m rows for p parameters the optimum of the sample is about p / (2 m) nats from that of all rows: closer than
    three or four Newton iterations on all rows come, for a few hundredths of their price.
    """
    # K outputs: a row says something about each of them
    share = max(START_LEAST if K == 1 else 0.5 * START_LEAST, START_ROWS * (d + 1) / n)
    return share if n * d >= START_ENTRIES and share <= START_SHARE else 0.0


def start_solver(m: int, d: int, K: int) -> Solver:
    """Return the solver for a sample of m rows."""
    if K == 1 and m * (d + 1) ** 2 <= START_WORK:
        # full steps: the last factor serves all rows, and a stretched step would leave one from further away
        return NewtonCholesky(tol=START_TOL, max_iter=20, stretch=False)
    return replace(choose(m, d, K, False)[0], tol=START_TOL, max_iter=20)


def first_state(solver: Solver, theta0: Array, inverse: Callable[[Array], Array] | None) -> CGState | None:
    """Return the state for a solver whose preconditioner, from a sample of the rows, is known from the start there.

    Parameters
    ----------
    solver : Solver
    theta0 : Array of shape (p,)
    inverse : callable or None
        v -> M^-1 v from the sample.

    Returns
    -------
    CGState or None
        None where the solver makes its own.
    """
    if inverse is None or not isinstance(solver, NewtonCG) or solver.preconditioner != "cholesky":
        return None
    return CGState("cholesky", inverse, theta0, solver.rtol_max, pairs=())
