r"""Approximate leave-one-out: what each row would have been predicted without it, from one fit of all rows.

At the optimum with Hessian H, row i has predictors z_i, gradient g_i and curvature W_i (K numbers, K x K). One Newton
step of the objective without the row gives

.. math:: z_i^{-i} \approx z_i + A_i (I - W_i A_i)^{-1} g_i, \qquad A_i = J_i H^{-1} J_i^T.

The error is of second order in the shift of z_i. It is measured, not assumed: the rows that shift most are fitted
exactly, one at a time, until what the others may add to the mean log loss is within a tolerance.

References
----------
Rad and Maleki (2020). A scalable estimate of the out-of-sample prediction error via approximate leave-one-out
cross-validation. J. R. Stat. Soc. B 82(4), 965-996, equation 8. The exact fits that guard it are an addition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.special

from ..history import Result
from ..objectives import DataTerm, Sum
from ..solvers import Solver

if TYPE_CHECKING:
    from ..objectives import Loss
    from .problem import Problem

#: Largest error of the mean log loss, relative to it, that approximate rows may leave: half of what is promised, for
#: the estimate is one itself.
TARGET = 0.01
#: Rows fitted exactly at first, and at most; with fewer rows than that all may be.
FIRST, MOST = 8, 1000
#: Most parameters: H is dense.
LARGEST = 4000
#: Rows whose A_i are formed at once.
BLOCK = 256


@dataclass(frozen=True)
class LeftOut:
    """Predictions of each row without it.

    Attributes
    ----------
    z : ndarray of shape (n, K)
        Predictors of the outputs.
    n_exact : int
        Rows that were fitted exactly.
    error : float
        Estimate of the error that the others leave in the mean log loss, relative to it.
    """

    z: np.ndarray
    n_exact: int
    error: float

    @property
    def is_good(self) -> bool:
        """Whether the error is within what is promised."""
        return self.error <= 2.0 * TARGET


def leave_one_out(problem: Problem, solver: Solver, result: Result) -> LeftOut:
    """Return what each row would have been predicted without it.

    Parameters
    ----------
    problem : Problem
        Under an L2 penalty or none.
    solver : Solver
        For the exact fits.
    result : Result
        The minimiser on all rows.

    Raises
    ------
    ValueError
        If the problem has too many parameters for a dense Hessian.
    """
    data = problem.objective.terms[0]
    model, loss, n = data.model, data.loss, data.model.n_rows
    if model.size > LARGEST:
        raise ValueError(
            f"received cv='alo' for a problem of {model.size} parameters; leave-one-out factorises their dense Hessian "
            f"and takes at most {LARGEST}: use folds, cv=5"
        )
    weights = np.broadcast_to(data.weights, (n,))
    z = model.forward(result.theta) + (0.0 if data.offset is None else data.offset)
    _, gradient, curvature = loss.rows(data.y, z, weights)
    G, W = gradient.reshape(n, -1), _matrices(loss, curvature, weights, n)
    inverse = _Inverse(problem, result.theta)
    steps = _left_out_steps(inverse, G, W)
    shift = np.concatenate([block[1] for block in steps])
    back = np.concatenate([block[0] for block in steps])
    exact = _Exact(problem, solver, result.theta, inverse)
    return _guarded(exact, z.reshape(n, -1), shift, back, weights)


def _matrices(loss: Loss, curvature: np.ndarray, weights: np.ndarray, n: int) -> np.ndarray:
    """Return the curvature of each row, shape (n, K, K)."""
    W = np.zeros((n, loss.n_outputs, loss.n_outputs))
    for k, other, h in loss.blocks(curvature, weights):
        W[:, k, other] = W[:, other, k] = h
    return W


class _Inverse:
    """H^-1 at an optimum, and the rows of J by blocks.

    A vector added to all outputs of a softmax changes no probability: H may be singular along it. The diagonal of H
    is added in that subspace, which leaves the probabilities of the left-out predictions as they are.
    """

    def __init__(self, problem: Problem, theta: np.ndarray):
        self.model = problem.objective.terms[0].model
        H = problem.objective.at(theta).curvature.dense()
        if self.model.n_outputs > 1:
            K = self.model.n_outputs
            columns = self._columns()
            size = np.sqrt(np.mean(np.diag(H)[columns], axis=0))
            for j in range(columns.shape[1]):
                H[np.ix_(columns[:, j], columns[:, j])] += size[j] ** 2 / K
        scale = 1.0 / np.sqrt(np.maximum(np.diag(H), 1e-300))
        self.scale = scale
        self.L = _safe_cholesky(scale[:, None] * H * scale)

    def _columns(self) -> np.ndarray:
        """Return the index of each parameter, shape (K, d) or (K, d + 1) with the constants last."""
        K, d = self.model.n_outputs, self.model.n_features
        columns = np.arange(K * d).reshape(K, d)
        return np.c_[columns, np.arange(K * d, K * d + K)] if self.model.fit_intercept else columns

    def rows(self, a: int, b: int) -> np.ndarray:
        """Return ((x - mean) / scale, 1) for a block of rows, shape (b - a, d) or (b - a, d + 1)."""
        model, X = self.model, self.model.X[a:b]
        X = X.toarray() if scipy.sparse.issparse(X) else X
        X = (X - model.mean) / model.scale
        return np.c_[X, np.ones(len(X))] if model.fit_intercept else X

    def block(self, a: int, b: int) -> np.ndarray:
        """Return L^-1 J_i', shape (m, K, p), for a block of rows."""
        rows, K, columns = self.rows(a, b), self.model.n_outputs, self._columns()
        J = np.zeros((len(rows), K, self.model.size))
        for k in range(K):
            J[:, k, columns[k]] = rows
        flat = (J * self.scale).reshape(-1, self.model.size)
        return scipy.linalg.solve_triangular(self.L, flat.T, lower=True, check_finite=False).T.reshape(J.shape)

    def step(self, half: np.ndarray) -> np.ndarray:
        """Return H^-1 J' from half of it, L^-1 J', shape (p,)."""
        return self.scale * scipy.linalg.solve_triangular(self.L, half, lower=True, trans="T", check_finite=False)


def _safe_cholesky(H: np.ndarray) -> np.ndarray:
    """Return the lower Cholesky factor of H, of unit diagonal, plus the least multiple of the identity that is safe.

    A ridge makes H safe. Without one columns may depend on others: what is added along such directions changes no
    prediction.
    """
    for shift in (1e-13, 1e-11, 1e-9, 1e-7):
        try:
            return scipy.linalg.cholesky(H + shift * np.eye(len(H)), lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            continue
    raise ValueError("received a Hessian that is not positive definite; leave-one-out needs one: use folds, cv=5")


def _left_out_steps(inverse: _Inverse, G: np.ndarray, W: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return by blocks of rows (I - W A)^-1 g, and the shift A (I - W A)^-1 g of the predictors, shape (m, K) each."""
    found, K = [], G.shape[1]
    rows = max(1, BLOCK // K)
    for a in range(0, len(G), rows):
        half = inverse.block(a, min(a + rows, len(G)))
        A = half @ np.swapaxes(half, 1, 2)
        with np.errstate(all="ignore"):
            try:
                back = np.linalg.solve(np.eye(K) - W[a : a + rows] @ A, G[a : a + rows, :, None])
            except np.linalg.LinAlgError:  # a row that alone determines a coefficient
                back = np.full((*A.shape[:2], 1), math.inf)
            found.append((back[..., 0], (A @ back)[..., 0]))
    return found


class _Exact:
    """Exact fits without one row, from the approximate step."""

    def __init__(self, problem: Problem, solver: Solver, theta: np.ndarray, inverse: _Inverse):
        self.problem, self.theta, self.inverse = problem, theta, inverse
        self.solver = replace(solver, tol=min(solver.decrement_tol, 1e-4))

    def z(self, i: int, back: np.ndarray) -> np.ndarray:
        """Return the predictors of row i by the fit of the others, shape (K,)."""
        data = self.problem.objective.terms[0]
        weights = np.array(np.broadcast_to(data.weights, (data.model.n_rows,)))
        weights[i] = 0.0
        without = Sum(
            [DataTerm(data.model, data.loss, data.y, weights, data.offset), *self.problem.objective.terms[1:]]
        )
        half = self.inverse.block(i, i + 1)[0]
        start = self.theta + self.inverse.step(half.T @ back)
        if not np.isfinite(start).all():
            start = self.theta
        found = self.solver.minimize(without, start)
        row = self.inverse.rows(i, i + 1)[0]
        offset = 0.0 if data.offset is None else data.offset[i]
        columns = self.inverse._columns() if data.model.n_outputs > 1 else slice(None)
        return np.atleast_1d(found.theta[columns] @ row + offset)


def _guarded(exact: _Exact, z: np.ndarray, shift: np.ndarray, back: np.ndarray, weights: np.ndarray) -> LeftOut:
    """Return the predictions, with exact fits for the rows that shift most until the rest is good enough."""
    data = exact.problem.objective.terms[0]
    size = np.abs(shift - (shift.mean(axis=1, keepdims=True) if shift.shape[1] > 1 else 0.0)).max(axis=1)
    lost = ~np.isfinite(size)
    found = np.where(lost[:, None], z, z + shift)
    losses = _losses(data, found)
    # an error of second order: the change of the loss, times the relative change of the curvature on the way
    scale = np.where(lost, math.inf, size * np.abs(losses - _losses(data, z)))
    order = np.argsort(-np.where(weights > 0.0, scale, -1.0), kind="stable")[: np.count_nonzero(weights)]
    ratio, done, error = 0.0, 0, math.inf
    while True:
        rest = order[done:]
        if done:
            error = ratio * float(weights[rest] @ scale[rest]) / max(float(weights @ losses), 1e-300)
            if error <= TARGET or not len(rest) or done >= MOST:
                return LeftOut(found, done, error if len(rest) else 0.0)
        for i in order[done : done + max(FIRST, done)]:
            before = losses[i]
            found[i] = exact.z(i, back[i])
            losses[i] = _losses(data, found[i], i)
            if 0.0 < scale[i] < math.inf:
                ratio = max(ratio, abs(losses[i] - before) / scale[i])
        done = min(len(order), done + max(FIRST, done))


def _losses(data: DataTerm, z: np.ndarray, rows: slice | int = slice(None)) -> np.ndarray:
    """Return the losses of rows in nats, from their predictors, shape (m, K)."""
    y = data.y[rows]
    if data.loss.n_outputs == 1:
        return np.logaddexp(0.0, z[..., 0]) - y * z[..., 0]
    picked = np.take_along_axis(z, np.asarray(y, dtype=np.intp)[..., None], axis=-1)[..., 0]
    return scipy.special.logsumexp(z, axis=-1) - picked
