"""Dependent columns: which are combinations of others, and the solution of least norm among the equivalent ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg

from .._compat import to_host
from ..history import Result
from ..objectives.basis import sample_blocks

if TYPE_CHECKING:
    from .problem import Problem

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


def dependence(problem: Problem, result: Result, names: Any) -> tuple[tuple, tuple[str, ...]]:
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
    example = f"{names[first]!r} is {'a combination of ' + listed(parts) if parts else 'constant'}"
    plural = "are linear combinations of other columns" if len(columns) > 1 else "is a linear combination of others"
    sentence = f"{listed(names_of)} {plural} ({example}): of the equivalent solutions that of least norm is given"
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


def listed(columns: tuple) -> str:
    """Return names as a phrase: the column 'a', the columns 'a', 'b' and 3 more."""
    shown = ", ".join(repr(c) for c in columns[:SHOWN])
    more = f" and {len(columns) - SHOWN} more" if len(columns) > SHOWN else ""
    return f"the column{'s' if len(columns) > 1 else ''} {shown}{more}"
