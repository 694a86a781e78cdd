"""Which solver and which preconditioner for data of a given shape, with the reason in words."""

from __future__ import annotations

from ..solvers import NewtonCG, NewtonCholesky, Solver

#: Parameters up to which a dense Hessian of few rows is cheaper than the Python overhead of conjugate gradients.
DENSE_SIZE, DENSE_WORK = 128, 3e7
#: Parameters up to which a factor of a sampled Hessian pays for tall data, and rows per parameter that "tall" means.
SAMPLED_SIZE, SAMPLED_ROWS = 512, 20


def choose(n: int, d: int, K: int, is_sparse: bool) -> tuple[Solver, str]:
    """Return the solver for a problem of this shape and why.

    Parameters
    ----------
    n, d : int
        Rows and columns of X.
    K : int
        Outputs of the model (1 for two classes).
    is_sparse : bool

    Returns
    -------
    Solver
        With default tolerances.
    str
        The reason.
    """
    p = K * (d + 1)
    if p <= DENSE_SIZE and n * p * p <= DENSE_WORK:
        return NewtonCholesky(), f"{p} parameters and {n} rows: the dense Hessian is cheap"
    if not is_sparse and p <= SAMPLED_SIZE and n >= SAMPLED_ROWS * p:
        rows = min(1.0, max(0.02, 10.0 * p / n))
        reason = f"{n} rows for {p} parameters: {rows:.0%} of the rows give a preconditioner"
        return NewtonCG(preconditioner="cholesky", sample_rows=rows), reason
    return NewtonCG(), f"{p} parameters, {n} rows: conjugate gradients with Jacobi scaling need no p x p matrix"
