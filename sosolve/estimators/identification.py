"""Whether the data identify the coefficients of a fit without a penalty: separation and linear dependence.

Separation (Albert and Anderson, 1984): a direction along which no row loses and some row gains; the objective falls
along it for ever. It is looked for by a linear programme (Konis, 2007) only where a fit shows its signs. Dependence:
columns that are combinations of others leave directions along which nothing changes; the solution of least norm in
the user's units is chosen among the equivalent ones.

References
----------
Albert, A., Anderson, J. A. (1984). On the existence of maximum likelihood estimates in logistic regression models.
Biometrika 71(1), 1-10.
Konis, K. (2007). Linear programming algorithms for detecting separated data in binary logistic regression models.
D.Phil. thesis, University of Oxford.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.sparse

from .._compat import to_host
from ..history import Result, Status
from ..objectives.basis import sample_blocks, take_rows
from .weak_penalty import is_tiny, leans_on_penalty

if TYPE_CHECKING:
    from .problem import Problem

#: Change of a margin along the Newton step from which a converged fit may be separated: along a separating direction
#: the step changes margins by 1 whatever the gradient, at a minimum by about the square root of the tolerance.
MOVING = 0.05
#: Margin from which a row may be separated, where no Newton step is known.
FAR = 5.0
#: Parameters up to which there is a linear programme, its comparisons and the entries of its matrix at most, how often
#: the violated ones are added, and the seconds for one programme.
MOST_PARAMETERS, COMPARED, ENTRIES, ROUNDS, SECONDS = 200, 3000, 200_000, 12, 5.0
#: Largest coefficient of a standardised column in a programme: a comparison that it wins by 1 is won beyond rounding.
REACH = 1e5
#: Columns up to which dependence is looked for.
MOST_COLUMNS = 512
#: Relative sizes below which a combination of standardised columns is zero: the second one where the solution of least
#: norm shows that the first was too lenient, by more than the share of the value that counts as rounding.
DEPENDENT, SURELY_DEPENDENT, SAME = 1e-9, 1e-13, 1e-10
#: Squared size, relative to the column, of what the columns before leave of it, from which it is not in doubt: the
#: rounding of a Gram matrix is far below.
CLEAR = 1e-7
#: Names shown in a message.
SHOWN = 8


@dataclass(frozen=True, eq=False)
class Identification:
    """What was found; the fields are those of `Optimality`."""

    separation: str | None = None
    direction: np.ndarray | None = None
    separating: tuple = ()
    dependent: tuple = ()
    notes: tuple[str, ...] = ()


def identify(problem: Problem, result: Result, change: float, names: Sequence) -> Identification:
    """Look for separation and dependence, and move an unpenalised solution to its least norm.

    Parameters
    ----------
    problem : Problem
    result : Result
        With its point. `theta` is replaced where columns are dependent, the status where the classes are separated.
    change : float
        Largest change of a margin along the Newton step at the final point; NaN where it is not known.
    names : sequence
        Of the columns.

    Returns
    -------
    Identification
    """
    if problem.one_sided and result.status is Status.SEPARATED:
        note = "that one class alone has weight, so that the intercept may grow for ever: give another class some"
        return Identification(notes=(note,))
    if not problem.penalty.is_smooth or result.status is Status.NONFINITE or problem.one_sided:
        return Identification()
    if problem.alpha > 0.0:
        return _kept_by_the_penalty(problem, result, names)
    dependent, notes = _dependence(problem, result, names)
    found = None
    stopped = result.status in (Status.INTERRUPTED, Status.CALLBACK)  # by somebody who does not want to wait
    if not stopped and not (result.converged and change < MOVING):
        found = _separation(problem, result, np.isnan(change) and result.converged)
    if found is None:
        return Identification(dependent=dependent, notes=notes)
    kind, direction = found
    result.status = Status.SEPARATED
    columns, where = _used(direction, names)
    if kind == "complete":
        sentence = f"complete separation {where}: no row lies on the wrong side"
    else:
        sentence = f"quasi-complete separation {where}: some rows are predicted perfectly"
    return Identification(kind, direction, columns, dependent, (*notes, sentence))


def _kept_by_the_penalty(problem: Problem, result: Result, names: Sequence) -> Identification:
    """Tell separation where the penalty alone bounds the coefficients: all rows far out, or some and a tiny penalty."""
    if result.point is None:
        return Identification()
    # FAR margins mean losses of exp(-FAR): most fits are told from complete separation by their value, for nothing
    far = result.point.parts[0].value < (problem.n_classes - 1) * np.exp(-FAR)
    found = _separation(problem, result, False, FAR) if far else None
    if found is None and is_tiny(problem) and leans_on_penalty(problem, result, MOVING):
        found = _separation(problem, result, True)
    if found is None:
        return Identification()
    kind, direction = found
    columns, where = _used(direction, names)
    rows = "no row lies on the wrong side" if kind == "complete" else "some rows are predicted perfectly"
    name = "complete separation" if kind == "complete" else "quasi-complete separation"
    sentence = f"{name} {where}: {rows}, the penalty alone bounds the coefficients"
    return Identification(kind, direction, columns, (), (sentence,))


def _used(direction: np.ndarray, names: Sequence) -> tuple[tuple, str]:
    """Return the columns that a direction uses, and a phrase of them."""
    used = np.abs(direction).max(axis=0) if direction.ndim == 2 else np.abs(direction)
    columns = tuple(names[j] for j in np.flatnonzero(used > 1e-6 * used.max(initial=0.0)) if used[j] > 0.0)
    return columns, f"along {_listed(columns)}" if columns else "by their shares alone"


def _listed(columns: tuple) -> str:
    """Return names as a phrase: the column 'a', the columns 'a', 'b' and 3 more."""
    shown = ", ".join(repr(c) for c in columns[:SHOWN])
    more = f" and {len(columns) - SHOWN} more" if len(columns) > SHOWN else ""
    return f"the column{'s' if len(columns) > 1 else ''} {shown}{more}"


# ---------------------------------------------------------------------- separation


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


def _separation(
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


# ---------------------------------------------------------------------- dependence


def _dependence(problem: Problem, result: Result, names: Any) -> tuple[tuple, tuple[str, ...]]:
    """Return the dependent columns and a sentence about them; move the solution to its least norm."""
    model, d = problem.model, problem.model.n_features
    if d > MOST_COLUMNS:
        return (), ()
    weights = problem.xp.broadcast_to(problem.weights, (model.n_rows,))
    n = model.n_rows
    sample = sample_blocks(n, min(1.0, 20.0 * (d + 1) / n))
    columns, null = _null_space(problem, weights, sample, DEPENDENT)
    for least in (DEPENDENT, SURELY_DEPENDENT):
        if len(columns) and (sample is not None or least != DEPENDENT):
            # a sample of full rank proves it for all rows; not the converse
            columns, null = _null_space(problem, weights, None, least)
        if not len(columns):
            return (), ()
        theta = _of_least_norm(problem, result, null)
        if problem.objective.at(theta).value <= result.value + SAME * abs(result.value):
            break  # columns that all but agree may still matter: large coefficients tell them apart
    else:
        return (), ()
    result.theta = theta
    names_of = tuple(names[j] for j in columns)
    first, others = columns[0], np.flatnonzero(np.abs(null[:, 0]) > 1e-6 * np.abs(null[:, 0]).max())
    parts = tuple(names[j] for j in others if j != first)
    example = f"{names[first]!r} is {'a combination of ' + _listed(parts) if parts else 'constant'}"
    plural = "are linear combinations of other columns" if len(columns) > 1 else "is a linear combination of others"
    sentence = f"{_listed(names_of)} {plural} ({example}): of the equivalent solutions that of least norm is given"
    return names_of, (sentence,)


def _null_space(problem: Problem, weights: Any, sample: list | None, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the dependent columns and for each the combination of standardised columns that vanishes, (d, k)."""
    model = problem.model
    G, _ = model.kernels.gram(model.X, weights, model.mean, model.scale, sample)
    G = to_host(G)
    diagonal = np.diagonal(G)
    size = np.sqrt(np.where(diagonal > 0.0, diagonal, 1.0))
    floor = np.maximum(least, 100.0 * 2.0**-52 * np.abs(to_host(model.mean)) / to_host(model.scale))
    C = G / size[:, None] / size[None, :]
    L, failed = scipy.linalg.lapack.dpotrf(C, lower=1)
    if not failed and diagonal.min() > 0.0 and np.diagonal(L).min() ** 2 > CLEAR:
        return np.zeros(0, dtype=int), np.zeros((len(G), 0))
    basis: list[int] = []
    columns, combinations = [], []
    L = np.zeros((len(G), len(G)))  # rows of the factor of the columns in the basis
    for j in range(len(G)):
        k = len(basis)
        row = np.zeros(k)
        if k:
            row = scipy.linalg.solve_triangular(L[:k, :k], C[basis, j], lower=True, check_finite=False)
        rest = float(C[j, j] - row @ row) if diagonal[j] > 0.0 else 0.0
        if rest > CLEAR:
            L[k, :k], L[k, k] = row, np.sqrt(rest)
            basis.append(j)
            continue
        v = np.zeros(len(G))
        v[j] = 1.0 / size[j]
        if k:
            v[basis] = -scipy.linalg.solve_triangular(L[:k, :k].T, row, check_finite=False) / size[basis]
        if sample is None and not _vanishes(problem, weights, v, float(floor[j])):
            L[k, :k], L[k, k] = row, np.sqrt(max(rest, 1e-16))
            basis.append(j)
            continue
        columns.append(j)
        combinations.append(v)
    return np.array(columns, dtype=int), np.array(combinations).T.reshape(len(G), len(columns))


def _vanishes(problem: Problem, weights: Any, v: np.ndarray, floor: float) -> bool:
    """Return whether a combination of the standardised columns is zero on all rows with weight: one pass."""
    model, xp = problem.model, problem.xp
    theta = np.zeros(model.size)
    theta[: model.n_features] = v
    z = model.forward(problem.array(theta))
    z = z if z.ndim == 1 else z[:, 0]
    largest = float(xp.max(xp.abs(z) * xp.astype(weights > 0.0, z.dtype)))
    return largest <= floor * max(1.0, float(np.abs(v).max())) * 10.0


def _of_least_norm(problem: Problem, result: Result, null: np.ndarray) -> Any:
    """Return the equivalent of theta whose coefficients have the least norm in the user's units."""
    model = problem.model
    coef, intercept = (to_host(a) for a in model.coefficients(result.theta))
    user = null / to_host(model.scale)[:, None]
    Q, _ = np.linalg.qr(user / np.linalg.norm(user, axis=0))
    along = coef @ Q
    moved = coef - along @ Q.T
    shift = along @ (Q.T @ to_host(model.mean)) if model.fit_intercept else 0.0
    return model.theta(problem.array(moved), problem.array(intercept + shift))
