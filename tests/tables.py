"""Data sets and problems that several tests share; fixed seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from sosolve.objectives import L2, DataTerm, LinearModel, LogisticLoss, SoftmaxLoss, Sum


@dataclass(frozen=True)
class Data:
    """One classification data set with its penalty and weights."""

    X: object
    y: np.ndarray
    C: float = 1.0
    weights: np.ndarray | None = None

    @property
    def K(self) -> int:
        return len(np.unique(self.y))


def labels(z, rng):
    """Return noisy labels from scores, (n,) for two classes, (n, K) for more."""
    if z.ndim == 1:
        return (rng.random(len(z)) < 1 / (1 + np.exp(-z))).astype(int)
    return np.argmax(z + rng.gumbel(size=z.shape), axis=1)


def one_hot(rng, n=400, levels=(3, 8, 40)):
    """Return one-hot columns with rare levels, CSR."""
    blocks = []
    for count in levels:
        share = 1.0 / np.arange(1, count + 1) ** 1.5
        codes = rng.choice(count, size=n, p=share / share.sum())
        blocks.append(sp.csr_matrix((np.ones(n), (np.arange(n), codes)), shape=(n, count)))
    return sp.hstack(blocks, format="csr")


def make_tables() -> dict[str, Data]:
    """Return the table of problems on which every solver must reach the same optimum."""
    rng = np.random.default_rng(7)
    X = rng.standard_normal((300, 8))
    w = rng.standard_normal((8, 10))
    binary = labels(X @ w[:, 0], rng)
    rare = one_hot(rng)
    scales = 10.0 ** np.linspace(-6, 6, 8)
    wide = rng.standard_normal((40, 120))
    sparse = sp.random(250, 30, density=0.2, random_state=3, format="csr")
    return {
        "dense": Data(X, binary),
        "fortran": Data(np.asfortranarray(X), binary, C=10.0),
        "float32": Data(X.astype(np.float32), binary),
        "sparse": Data(sparse, labels(np.asarray(sparse @ rng.standard_normal(30)) * 3, rng)),
        "weighted": Data(X, binary, weights=rng.integers(0, 4, 300).astype(float)),
        "unpenalised": Data(X, binary, C=np.inf),
        "collinear": Data(np.c_[X, X[:, 0] + 1e-10 * rng.standard_normal(300), X[:, 1]], binary),
        "wide": Data(wide, labels(wide[:, 0] * 2, rng)),
        "one-hot": Data(rare, labels(np.asarray(rare @ rng.standard_normal(rare.shape[1])), rng)),
        "unscaled": Data(X * scales, binary, C=100.0),
        "means of 1e6": Data(X + 1e6, binary),
        "three classes": Data(X, labels(X @ w[:, :3], rng)),
        "ten classes": Data(X, labels(X @ w, rng)),
        "three classes, sparse": Data(sparse, labels(np.asarray(sparse @ rng.standard_normal((30, 3))) * 3, rng)),
        "three classes, weighted": Data(X, labels(X @ w[:, :3], rng), C=5.0, weights=rng.random(300)),
    }


def make_objective(data: Data, standardise: bool = True) -> tuple[Sum, LinearModel]:
    """Return the mean-loss objective of a data set and its model."""
    n = data.X.shape[0]
    weights = np.ones(n) if data.weights is None else data.weights
    alpha = 1.0 / data.C / weights.sum()
    s = weights / weights.sum()
    K = 1 if data.K == 2 else data.K
    loss = LogisticLoss() if K == 1 else SoftmaxLoss(K)
    model = LinearModel.standardised(data.X, s, alpha, K) if standardise else LinearModel(data.X, K)
    return Sum([DataTerm(model, loss, data.y.astype(float), s), L2(model.strengths(alpha))]), model


def long_double_value(data: Data, coef: np.ndarray, intercept: np.ndarray) -> float:
    """Return the mean-loss objective in extended precision from coefficients in the user's units."""
    X = (data.X.toarray() if sp.issparse(data.X) else data.X).astype(np.longdouble)
    coef, intercept = coef.astype(np.longdouble), intercept.astype(np.longdouble)
    weights = np.ones(len(data.y)) if data.weights is None else data.weights
    z = X @ coef.T + intercept
    if z.shape[1] == 1:
        z = np.concatenate([np.zeros_like(z), z], axis=1)
    top = z.max(axis=1, keepdims=True)
    losses = np.log(np.exp(z - top).sum(axis=1)) + top[:, 0] - z[np.arange(len(data.y)), data.y]
    penalty = (coef**2).sum() / (2 * np.longdouble(data.C)) if np.isfinite(data.C) else 0
    return (np.sum(weights * losses) + penalty) / weights.sum()
