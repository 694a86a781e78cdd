"""The data of the benchmark: twelve shapes, generated from fixed seeds, each with the target ratio to the best peer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp


@dataclass(frozen=True)
class Shape:
    """One case: how to make (X, y), the target best peer / sosolve at a relative gap of 1e-7, what it is, and C."""

    make: Callable[[float], tuple[object, np.ndarray]]
    target: float
    what: str
    C: float = 1.0


def _labels(z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return labels drawn from the model with scores z, (n,) or (n, K)."""
    if z.ndim == 1:
        return (rng.random(len(z)) < 1.0 / (1.0 + np.exp(-z))).astype(np.int64)
    return np.argmax(z + rng.gumbel(size=z.shape), axis=1)


def _dense(n: int, d: int, K: int = 1, correlation: float = 0.3, dtype=np.float64, scales=None, shift: float = 0.0):
    """Return a maker of dense Gaussian data with correlated columns."""

    def make(size: float):
        rng = np.random.default_rng(0)
        rows = max(200, int(n * size))
        mix = np.eye(d) + correlation * rng.standard_normal((d, d)) / np.sqrt(d)
        X = np.empty((rows, d), dtype=dtype)
        for start in range(0, rows, 50_000):
            stop = min(rows, start + 50_000)
            X[start:stop] = rng.standard_normal((stop - start, d)) @ mix
        w = 2.0 * rng.standard_normal((d, K)) / np.sqrt(d)
        z = X @ w.astype(dtype)
        y = _labels((z[:, 0] if K == 1 else z).astype(np.float64) + shift, rng)
        if scales is not None:
            X *= np.asarray(scales, dtype=dtype)
        return X, y

    return make


def _text(n: int, d: int, per_row: int, K: int = 1):
    """Return a maker of sparse count-like data: column frequencies fall like 1 / rank."""

    def make(size: float):
        rng = np.random.default_rng(0)
        rows = max(200, int(n * size))
        share = 1.0 / np.arange(1, d + 1)
        cdf = np.cumsum(share / share.sum())
        columns = np.minimum(np.searchsorted(cdf, rng.random((rows, per_row))), d - 1)
        data = 1.0 + rng.random((rows, per_row))
        X = sp.csr_matrix((data.ravel(), columns.ravel(), np.arange(0, rows * per_row + 1, per_row)), shape=(rows, d))
        X.sum_duplicates()
        X = sp.csr_matrix(X.multiply(1.0 / np.sqrt(X.multiply(X).sum(axis=1))))
        w = 3.0 * rng.standard_normal((d, K))
        z = np.asarray(X @ w)
        return X, _labels(z[:, 0] if K == 1 else z, rng)

    return make


def _one_hot(n: int, d: int, per_row: int, decay: float = 1.0):
    """Return a maker of one-hot rows: `per_row` groups of levels with frequencies like rank^-decay."""

    def make(size: float):
        rng = np.random.default_rng(0)
        rows, levels = max(200, int(n * size)), d // per_row
        share = 1.0 / np.arange(1, levels + 1) ** decay
        cdf = np.cumsum(share / share.sum())
        codes = np.minimum(np.searchsorted(cdf, rng.random((rows, per_row))), levels - 1)
        columns = codes + levels * np.arange(per_row)
        X = sp.csr_matrix(
            (np.ones(rows * per_row), columns.ravel(), np.arange(0, rows * per_row + 1, per_row)), shape=(rows, d)
        )
        return X, _labels(np.asarray(X @ rng.standard_normal(d)) - 0.5, rng)

    return make


SHAPES = {
    "tall": Shape(_dense(500_000, 50), 8.0, "500 000 x 50, correlated columns"),
    "tall, float32": Shape(_dense(500_000, 50, dtype=np.float32), 8.0, "the same in single precision"),
    "thin": Shape(_dense(2_000_000, 15), 12.0, "2 000 000 x 15"),
    "mid": Shape(_dense(50_000, 500), 2.0, "50 000 x 500"),
    "square, correlated": Shape(_dense(5_000, 2_000, correlation=1.0), 2.0, "5000 x 2000, strongly correlated columns"),
    "wide": Shape(_dense(400, 20_000), 2.0, "400 x 20 000"),
    "sparse text": Shape(
        _text(20_000, 100_000, 80), 1.5, "20 000 x 100 000 CSR, 80 words a row with frequencies like 1 / rank"
    ),
    "one-hot": Shape(_one_hot(300_000, 3_000, 10), 3.0, "300 000 x 3000 CSR, ten groups of levels"),
    "unscaled": Shape(
        _dense(100_000, 30, scales=10.0 ** np.linspace(-3, 3, 30)), 4.0, "100 000 x 30, units from 1e-3 to 1e3"
    ),
    "softmax dense": Shape(_dense(60_000, 100, K=10), 3.0, "60 000 x 100, 10 classes"),
    "softmax sparse": Shape(_text(10_000, 30_000, 80, K=20), 2.5, "10 000 x 30 000 CSR, 20 classes"),
    "small": Shape(_dense(569, 30), 1.0, "569 x 30"),
}

#: Cases beside the twelve: hard on somebody, and no target but to be first.
EXTRA = {
    "correlated": Shape(_dense(100_000, 100, correlation=3.0), 1.0, "100 000 x 100, very strongly correlated columns"),
    "rare levels": Shape(
        _one_hot(100_000, 10_000, 10, decay=2.0), 1.0, "100 000 x 10 000 CSR, levels that hardly occur"
    ),
    "imbalance": Shape(_dense(200_000, 30, shift=-8.0), 1.0, "200 000 x 30, one label rare"),
    "tiny C": Shape(_dense(100_000, 50), 1.0, "100 000 x 50, C = 1e-5", C=1e-5),
    "huge C": Shape(_dense(100_000, 50), 1.0, "100 000 x 50, C = 1e6", C=1e6),
    "100 classes": Shape(_dense(10_000, 200, K=100), 1.0, "10 000 x 200, 100 classes"),
}
