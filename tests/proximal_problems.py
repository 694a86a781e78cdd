"""Problems with an L1 part or bounds, and the optimality conditions of their solutions in extended precision."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from tables import Data, labels, make_tables


def make_problems() -> dict[str, Data]:
    """Return the tables of all solvers and four real data sets."""
    rng = np.random.default_rng(11)
    mixed = rng.standard_normal((200, 30)) @ (np.eye(30) + 0.9 * np.ones((30, 30)))
    wide = rng.standard_normal((100, 2000))
    tables = make_tables()
    problems = {name: tables[name] for name in tables if name not in ("unpenalised",)}
    return problems | {
        "correlated": Data(mixed, labels(mixed[:, 0] / 3, rng), C=0.5),
        "very wide": Data(wide, labels(wide[:, :5].sum(axis=1), rng)),
        "breast cancer": Data(*load_breast_cancer(return_X_y=True)),
        "digits": Data(*load_digits(return_X_y=True), C=0.02),
        "iris": Data(*load_iris(return_X_y=True), C=10.0),
        "wine": Data(*load_wine(return_X_y=True)),
    }


def value(data: Data, coef, intercept, C: float, l1_ratio: float, omega=1.0) -> float:
    """Return the mean-loss objective in extended precision."""
    losses, _, _, weights = _rows(data, coef, intercept)
    coef = np.asarray(coef, dtype=np.longdouble)
    penalty = (omega * ((1 - l1_ratio) / 2 * coef**2 + l1_ratio * np.abs(coef))).sum()
    return (np.sum(weights * losses) + (penalty / C if np.isfinite(C) else 0)) / weights.sum()


def violation(data: Data, coef, intercept, C: float, l1_ratio: float, omega=1.0, lower=-np.inf, upper=np.inf) -> float:
    """Return the largest violation of the optimality conditions, in units of the spread of its column.

    The distance of 0 to the subdifferential of the mean loss plus penalty plus indicator of the bounds, in extended
    precision from coefficients in the user's units.
    """
    _, residual, X, weights = _rows(data, coef, intercept)
    coef = np.asarray(coef, dtype=np.longdouble)
    total = weights.sum()
    grad = residual.T @ X / total + omega * (1 - l1_ratio) * coef / (C * total)
    strength = np.broadcast_to(omega * l1_ratio / (C * total), coef.shape)
    low = grad + np.where(coef > 0, strength, -strength)
    high = grad + np.where(coef < 0, -strength, strength)
    low = np.where(coef <= lower, -np.inf, low)
    high = np.where(coef >= upper, np.inf, high)
    distance = np.maximum(low, 0) + np.minimum(high, 0)
    mean = weights @ X / total
    spread = np.sqrt(weights @ (X - mean) ** 2 / total)
    unit = np.where(spread > 0, spread, 1)
    constants = np.abs(residual.sum(axis=0)).max() / total
    # the gradient by a column with a large mean is that of the centred column plus the mean times that of the constant
    return float(max(constants, np.abs((distance - np.outer(residual.sum(axis=0) / total, mean)) / unit).max()))


def _rows(data: Data, coef, intercept):
    """Return losses, residuals of shape (n, rows of coef), X and weights in extended precision."""
    X = (data.X.toarray() if sp.issparse(data.X) else data.X).astype(np.longdouble)
    coef, intercept = np.asarray(coef, dtype=np.longdouble), np.asarray(intercept, dtype=np.longdouble)
    weights = np.ones(len(data.y)) if data.weights is None else data.weights
    z = X @ coef.T + intercept
    binary = z.shape[1] == 1
    if binary:
        z = np.concatenate([np.zeros_like(z), z], axis=1)
    top = z.max(axis=1, keepdims=True)
    e = np.exp(z - top)
    losses = np.log(e.sum(axis=1)) + top[:, 0] - z[np.arange(len(data.y)), data.y]
    P = e / e.sum(axis=1, keepdims=True)
    P[np.arange(len(data.y)), data.y] -= 1
    residual = weights[:, None] * P
    return losses, residual[:, 1:] if binary else residual, X, weights
