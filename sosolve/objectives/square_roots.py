"""A matrix A with A' A the Hessian of a small linear model: its condition is the root of the Hessian's."""

from __future__ import annotations

from typing import Any

import numpy as np

from .basis import heights

#: Products of the QR factorisation of A at most, and of the Gram matrix of X from which on a fit keeps BLAS to one
#: thread: below, a large A would wait for others.
LARGEST_ROOT, THREADS = 2e8, 2e5


def of_data(term: Any, curv: Any) -> Any:
    """Return A of a data term, shape (m, p), None where it is not for dense NumPy data, or too large.

    One row for each row of X and output: sqrt(h) (x, 1) for one output. For softmax diag(P) - P P' = F' F with
    F = sqrt(P) (I - 1 P'), and the directions without curvature are lifted as in `basis.lifted`.

    Parameters
    ----------
    term : DataTerm
    curv : Array
        The curvature of the loss by rows, see `Loss.rows`.
    """
    model, loss = term.model, term.loss
    K, X = model.n_outputs, model.X
    if type(X) is not np.ndarray or not hasattr(loss, "root"):
        return None
    work = X.shape[0] * K * model.size**2
    if work > LARGEST_ROOT or X.size * X.shape[1] < THREADS <= work:
        return None
    F = loss.root(curv, term.weights)
    rows, n = F.shape[1], X.shape[0]
    standard = (X - model.mean) / model.scale
    A = np.empty((n, rows, model.size))
    A[:, :, : K * X.shape[1]] = (F[:, :, :, None] * standard[:, None, None, :]).reshape(n, rows, -1)
    if model.fit_intercept:
        A[:, :, K * X.shape[1] :] = F
    A = A.reshape(n * rows, model.size)
    if not loss.is_invariant:
        return A
    pair: Any = heights(np.einsum("ij,ij->j", A, A), K, X.shape[1])
    column, height = pair
    lift = np.where(column[None, :] == np.arange(column.max() + 1)[:, None], np.sqrt(height)[None, :], 0.0)
    return np.concatenate([A, lift])


def of_softmax(P: Any, w: Any, reference: bool) -> Any:
    """Return F of each row, shape (n, classes, K): F' F = w (diag(P) - P P')."""
    K = P.shape[1]
    every = np.column_stack([P, np.maximum(1.0 - P.sum(axis=1), 0.0)]) if reference else P
    F = np.eye(every.shape[1], K) - P[:, None, :]
    for k in range(K):  # 1 - P_k as a sum: near 1 it has its relative accuracy
        F[:, k, k] = every[:, :k].sum(axis=1) + every[:, k + 1 :].sum(axis=1)
    return np.sqrt(w[:, None] * every)[:, :, None] * F
