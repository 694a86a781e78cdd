"""Separation: a direction along which no row loses and some row gains, by a linear programme."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.optimize
import scipy.sparse

from .._compat import to_host
from ..history import Result, Status
from ..objectives.basis import take_rows

if TYPE_CHECKING:
    from .problem import Problem

#: Margin from which a row may be separated, where no Newton step is known.
FAR = 5.0
#: Parameters up to which there is a linear programme, its comparisons and the entries of its matrix at most, how often
#: the violated ones are added, and the seconds for one programme.
MOST_PARAMETERS, COMPARED, ENTRIES, ROUNDS, SECONDS = 200, 3000, 200_000, 12, 5.0
#: Largest coefficient of a standardised column in a programme: a comparison that it wins by 1 is won beyond rounding.
REACH = 1e5


class _Comparisons:
    """The comparisons of a fit: row i of class y against class k; its margin is z_y - z_k.

    Parameters are (outputs, d + 1) with the first class with weight at zero: adding the same to all classes changes
    nothing.
    """

    def __init__(self, problem: Problem, margins: np.ndarray):
        codes, weights = to_host(problem.codes), np.broadcast_to(to_host(problem.weights), problem.codes.shape)
        self.classes = np.flatnonzero(to_host(problem.prior) > 0.0)
        self.model, self.X = problem.model, problem.X
        self.xp, self.device = problem.xp, problem.device
        place = np.zeros(problem.n_classes, dtype=int)
        place[self.classes] = np.arange(len(self.classes))
        rows = np.flatnonzero(weights > 0.0)
        own = place[codes[rows]]
        K = len(self.classes)
        self.rows = np.repeat(rows, K - 1)
        self.own = np.repeat(own, K - 1)
        self.other = (np.add.outer(own, np.arange(1, K)) % K).ravel()
        scores = margins[:, self.classes]
        self.margins = scores[self.rows, self.own] - scores[self.rows, self.other]
        self.K, self.width = K, self.model.n_features + self.model.fit_intercept

    def matrix(self, which: np.ndarray) -> np.ndarray:
        """Return the design of some comparisons, shape (len(which), (K - 1) (d + 1))."""
        A = self.standardised(self.rows[which])
        out = np.zeros((len(which), self.K, self.width))
        at = np.arange(len(which))
        out[at, self.own[which]] += A
        out[at, self.other[which]] -= A
        return out[:, 1:].reshape(len(which), -1)

    def standardised(self, rows: np.ndarray) -> np.ndarray:
        """Return rows of X in the standardised basis, with the constant."""
        if hasattr(self.X, "indptr"):
            X = self.X[rows].toarray()
        else:
            X = take_rows(self.X, self.xp.asarray(rows, device=self.device))
        X = to_host(X)
        A = (X.astype(np.float64) - to_host(self.model.mean)) / to_host(self.model.scale)
        return np.hstack([A, np.ones((len(A), 1))]) if self.model.fit_intercept else A

    def all_margins(self, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the margins of all comparisons for parameters of shape ((K - 1) (d + 1),), and sums of their sizes."""
        B = np.vstack([np.zeros(self.width), beta.reshape(self.K - 1, self.width)])
        rows, where = np.unique(self.rows, return_inverse=True)
        parts = [self.standardised(part) for part in np.array_split(rows, len(rows) // 4096 + 1)]
        scores, sizes = (np.vstack([f(A) @ f(B).T for A in parts]) for f in (np.asarray, np.abs))
        own, other = (where, self.own), (where, self.other)
        return scores[own] - scores[other], sizes[own] + sizes[other]


def separation(
    problem: Problem, result: Result, only_far: bool, least: float | None = None
) -> tuple[str, np.ndarray] | None:
    """Return ("complete" or "quasi", direction in the user's units), None where the classes overlap.

    With `least`, also where a margin is not above that: then nothing is searched.
    """
    scores = to_host(result.point.parts[0].margins)
    if problem.offset is not None:  # whether the classes are separated is a matter of X alone
        scores = scores - to_host(problem.offset)
    if scores.ndim == 1:
        scores = np.stack([np.zeros_like(scores), scores], axis=1)
    elif scores.shape[1] < problem.n_classes:  # the outputs are the classes but the reference
        scores = np.insert(scores, problem.outputs.reference, 0.0, axis=1)
    if problem.outputs.loss.n_outputs == 1 and getattr(problem.outputs, "reference", 0) == 1:
        scores = scores[:, ::-1]
    compared = _Comparisons(problem, scores)
    if not compared.margins.size or (only_far and not compared.margins.max() > FAR):
        return None
    if least is not None and not compared.margins.min() > least:
        return None
    complete = result.status is Status.SEPARATED or compared.margins.min() > 0.0
    p = (compared.K - 1) * compared.width
    beta = None
    whole = problem.model.X is problem.X  # not a thin factor
    if whole and p <= MOST_PARAMETERS and (not complete or p * len(compared.rows) <= ENTRIES):
        beta, won = _programme(compared)
        complete = complete or won
    if beta is None:
        if not complete:
            return None
        coef, _ = problem.outputs.to_attributes(*problem.model.coefficients(result.point.theta), False)
        direction = to_host(coef)[0] if problem.n_classes == 2 and len(coef) == 1 else to_host(coef)
        direction = direction[1] - direction[0] if problem.n_classes == 2 and direction.ndim == 2 else direction
        return "complete", direction / np.linalg.norm(direction)
    B = np.zeros((problem.n_classes, compared.width))
    B[compared.classes[1:]] = beta.reshape(compared.K - 1, compared.width)
    coef = B[:, : problem.model.n_features] / to_host(problem.model.scale)
    if problem.n_classes == 2:
        direction = coef[1] - coef[0]
    else:
        direction = coef - coef.mean(axis=0)
    size = np.linalg.norm(direction)
    return "complete" if complete else "quasi", direction / size if size > 0.0 else direction


def _programme(compared: _Comparisons) -> tuple[np.ndarray | None, bool]:
    """Return a direction that loses no comparison and wins all that can be won, and whether these are all.

    Where there are too many comparisons for one programme it begins with those of the smallest and of the largest
    margins, and adds what the answer violates. Of the directions that win the same comparisons the one of least
    absolute sum is returned, which uses few columns.
    """
    p = (compared.K - 1) * compared.width
    most = min(COMPARED, ENTRIES // p)
    order = np.argsort(compared.margins)
    chosen = order if len(order) <= most else np.concatenate([order[: most // 2], order[-(most // 2) :]])
    for _ in range(ROUNDS):
        A = compared.matrix(chosen)
        won = _won(A)
        beta = None if won is None else _sparse_winner(A, won)
        if beta is None:
            return None, False
        beta = np.where(np.abs(beta) > 1e-9 * np.abs(beta).max(), beta, 0.0)
        margins, sizes = compared.all_margins(beta)
        lost = np.setdiff1d(np.flatnonzero(margins < -1e-6), chosen)
        if not len(lost):
            # won by a row so far out that the programme takes what the others lose for rounding
            hidden = (margins < -0.01 * sizes).any()
            return (None, False) if hidden else (beta, bool((margins > 0.5).all()))
        lost = lost[np.argsort(margins[lost])][: max(most // 3, 1)]
        if len(chosen) > 3 * most:
            return None, False
        chosen = np.concatenate([chosen, lost])
    return None, False


def _won(A: np.ndarray) -> np.ndarray | None:
    """Return which comparisons a direction can win without losing one, None where there are none.

    Maximises sum t over A beta >= t and 0 <= t <= 1. The sum of two such directions is another one, and so is a
    multiple: at the maximum t is 1 for each comparison that can be won.
    """
    m, p = A.shape
    matrix = scipy.sparse.hstack([scipy.sparse.csr_array(-A), scipy.sparse.eye_array(m)], format="csr")
    cost = np.concatenate([np.zeros(p), -np.ones(m)])
    bounds = np.vstack([np.tile([-REACH, REACH], (p, 1)), np.tile([0.0, 1.0], (m, 1))])
    x = _solved(cost, matrix, np.zeros(m), bounds)
    if x is None:
        return None
    won = x[p:] > 0.5
    return won if won.any() else None


def _sparse_winner(A: np.ndarray, won: np.ndarray) -> np.ndarray | None:
    """Return the direction of least absolute sum that wins those comparisons by 1 and loses none."""
    p = A.shape[1]
    x = _solved(np.ones(2 * p), np.hstack([-A, A]), -won.astype(float), np.tile([0.0, REACH], (2 * p, 1)))
    return None if x is None else x[:p] - x[p:]


def _solved(cost: np.ndarray, matrix: Any, limit: np.ndarray, bounds: np.ndarray) -> np.ndarray | None:
    """Return the minimiser of cost'x over matrix x <= limit within the bounds, None where HiGHS finds none in time."""
    found = scipy.optimize.linprog(
        cost, A_ub=matrix, b_ub=limit, bounds=bounds, method="highs", options={"time_limit": SECONDS}
    )
    return found.x if found.status == 0 else None
