"""What `least_squares` looks at before the first step: residuals, Jacobian, sparsity, and which differences to take."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import scipy.sparse
from scipy.sparse.linalg import LinearOperator

from ..objectives.residual_jacobians import ResidualLeastSquares, SteppedDifferences
from . import checks

#: A sparse Jacobian with at most this many entries, zeros included, is factorised as a dense one: LSMR is slower.
DENSE_ENTRIES = 100_000
#: Precision above which forward differences are of no use: that of float16 is 1e-3.
HALF = 1e-4


def checked_start(objective: ResidualLeastSquares, theta: np.ndarray, method: str):
    """Return the point at the start after a look at its residuals.

    Raises
    ------
    ValueError
        If they have two dimensions, are complex, not finite, or too few for the method.
    """
    first = objective.begin(theta)
    f0 = first.raw_residual
    if objective.output == "c":
        raise ValueError(
            "`fun` must return real numbers: received complex residuals; return real and imaginary parts as one array"
        )
    if f0.ndim != 1:
        raise ValueError(f"`fun` must return at most 1-d array_like: received f0.shape: {f0.shape}; flatten it")
    if not f0.size or not np.isfinite(f0).all():
        bad = np.flatnonzero(~np.isfinite(f0))
        received = f"{f0[bad[0]]} in row {bad[0]}, {bad.size} of {f0.size} not finite" if bad.size else "none at all"
        raise ValueError(
            f"Residuals are not finite in the initial point: received {received} at x0 = {theta.tolist()}; start "
            "where the model exists"
        )
    if method == "lm" and f0.shape[0] < theta.shape[0]:
        raise ValueError(
            "Method 'lm' doesn't work when the number of residuals is less than the number of variables: received "
            f"{f0.shape[0]} and {theta.shape[0]}; use method='trf'"
        )
    return first


def checked_sparsity(jac_sparsity: Any, jac: Any, method: str, tr_solver: str | None, shape: tuple) -> Any:
    """Return the pattern as a sparse array, None where there is none or `jac` makes it needless.

    Raises
    ------
    ValueError
        If its shape is not (m, p), or the method or `tr_solver` cannot use it.
    """
    if jac_sparsity is None or callable(jac):
        return None
    if method == "lm":
        raise ValueError("method='lm' does not support `jac_sparsity`: received one; use method='trf'")
    pattern = scipy.sparse.csc_array(
        jac_sparsity if scipy.sparse.issparse(jac_sparsity) else np.atleast_2d(jac_sparsity)
    )
    if pattern.shape != shape:
        raise ValueError(
            f"`jac_sparsity` has wrong shape: received {pattern.shape}; expected {shape}, a row for each residual"
        )
    if tr_solver == "exact":
        raise ValueError("tr_solver='exact' is incompatible with `jac_sparsity`: use 'lsmr', or leave one of them out")
    return pattern


def choose_differences(objective, first, jac, diff_step, pattern, workers, box) -> None:
    """Replace the objective's differences where the defaults do not do: own steps, a pattern, float32, workers."""
    low = objective.output == "low"
    if callable(jac) or (diff_step is None and pattern is None and not low and workers in (None, 1)):
        return
    if diff_step is not None:
        checks.check_step(diff_step, first.theta.shape)
    scheme = "2-point" if jac in (None, "auto") or (low and jac == "cs") else jac
    if low and objective.precision > HALF:
        scheme = "3-point"
    objective.differences = SteppedDifferences(
        objective.fun,
        scheme,
        sparsity=pattern,
        relative_step=diff_step,
        precision=objective.precision if low else checks.EPS,
        mapping=mapper(workers),
        **box,
    )


def mapper(workers: Any) -> Callable:
    """Return a map-like function: of threads where `workers` is a number, `workers` itself where it is a function.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if workers is None:
        return map
    if callable(workers):
        return workers
    if not isinstance(workers, int | np.integer) or workers == 0 or workers < -1:
        raise ValueError(f"`workers` must be a positive int, -1 or map-like: received {workers!r}; None is serial")

    def threads(function: Callable, points: list) -> list:
        with ThreadPoolExecutor(None if workers == -1 else int(workers)) as pool:
            return list(pool.map(function, points))

    return threads


def checked_jacobian(objective, first, method: str, tr_solver: str | None, x_scale: Any) -> str:
    """Return "dense", "densified" (small and sparse), "sparse" or "operator" after a look at the first Jacobian.

    Raises
    ------
    ValueError
        If its shape is not (m, p), it is not finite, or the method or an argument does not go with its kind.
    """
    J, shape = first.raw_jac, (first.raw_residual.shape[0], first.theta.shape[0])
    if tuple(J.shape) != shape:
        raise ValueError(
            f"The return value of `jac` has wrong shape: received {tuple(J.shape)}; expected {shape}, a row for each "
            "residual and a column for each parameter"
        )
    if isinstance(J, np.ndarray):
        if not np.isfinite(J).all():
            i, j = np.argwhere(~np.isfinite(J))[0]
            raise ValueError(
                f"The Jacobian is not finite in the initial point: received {J[i, j]} for residual {i}, parameter "
                f"{j}; start where the model has derivatives"
            )
        return "dense"
    for wrong, name in ((method == "lm", "method='lm'"), (tr_solver == "exact", "tr_solver='exact'")):
        if wrong:
            raise ValueError(
                f"{name} works only with dense Jacobian matrices: received a {type(J).__name__}; leave it to "
                "method='trf' and tr_solver='lsmr', or return an array"
            )
    if isinstance(J, LinearOperator):
        if isinstance(x_scale, str):
            raise ValueError(
                "x_scale='jac' can't be used when `jac` returns LinearOperator: it has no columns to measure; pass "
                "numbers or None"
            )
        return "operator"
    if tr_solver is None and shape[0] * shape[1] <= DENSE_ENTRIES:
        objective.densify()
        return "densified"
    return "sparse"
