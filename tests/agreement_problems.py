"""Classification problems on which packages must agree: bundled real data, raw, scaled, expanded and distorted."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.preprocessing import KBinsDiscretizer, PolynomialFeatures, StandardScaler
from tables import Data, labels, one_hot


def scaled(X):
    """Return the columns with mean 0 and variance 1."""
    return StandardScaler().fit_transform(X)


def one_hot_bins(X, bins=10):
    """Return indicators of the deciles of each column, CSR."""
    binned = KBinsDiscretizer(bins, encode="onehot", strategy="quantile", quantile_method="averaged_inverted_cdf")
    return sp.csr_matrix(binned.fit_transform(X))


def expanded(X, degree=2):
    """Return all products of columns up to a degree."""
    return PolynomialFeatures(degree, include_bias=False).fit_transform(X)


def real() -> dict[str, Data]:
    """Return the bundled data as they are, and transformed."""
    (Xb, yb), (Xd, yd) = load_breast_cancer(return_X_y=True), load_digits(return_X_y=True)
    (Xw, yw), (Xi, yi) = load_wine(return_X_y=True), load_iris(return_X_y=True)
    Xs, target = load_diabetes(return_X_y=True, scaled=False)
    ys = (target > np.median(target)).astype(int)
    later = yi > 0
    return {
        "breast cancer": Data(Xb, yb),
        "breast cancer, scaled": Data(scaled(Xb), yb),
        "breast cancer, bins": Data(one_hot_bins(Xb), yb),
        "breast cancer, products": Data(expanded(Xb[:, :10]), yb),
        "breast cancer, scaled products": Data(scaled(expanded(Xb[:, :10])), yb),
        "breast cancer, float32": Data(Xb.astype(np.float32), yb),
        "digits": Data(Xd, yd),
        "digits, scaled": Data(scaled(Xd), yd),
        "digits, CSR": Data(sp.csr_matrix(Xd), yd),
        "digits, 100 rows": Data(Xd[:100], yd[:100]),
        "digits, even or odd": Data(Xd, yd % 2),
        "digits, eight or not": Data(Xd, (yd == 8).astype(int)),
        "wine": Data(Xw, yw),
        "wine, scaled": Data(scaled(Xw), yw),
        "wine, products": Data(expanded(Xw), yw),
        "wine, bins": Data(one_hot_bins(Xw, 5), yw),
        "iris": Data(Xi, yi),
        "iris, scaled": Data(scaled(Xi), yi),
        "iris, cubes": Data(expanded(Xi, 3), yi),
        "iris, no penalty": Data(Xi[later], yi[later] - 1, C=np.inf),
        "diabetes": Data(Xs, ys),
        "diabetes, no penalty": Data(Xs, ys, C=np.inf),
        "diabetes, products": Data(expanded(Xs), ys),
    }


def distorted() -> dict[str, Data]:
    """Return real data with weights, repeated columns, rare classes, offsets and units."""
    rng = np.random.default_rng(11)
    Xb, yb = load_breast_cancer(return_X_y=True)
    (Xw, yw), (Xi, yi) = load_wine(return_X_y=True), load_iris(return_X_y=True)
    rare = np.flatnonzero((yb == 1) | (np.arange(len(yb)) % 20 == 0))
    levels = one_hot(rng, n=800, levels=(4, 25, 150))
    z = np.asarray(levels @ rng.standard_normal((levels.shape[1], 3)))
    return {
        "weighted": Data(Xb, yb, weights=rng.exponential(size=len(yb))),
        "whole weights, some zero": Data(Xw, yw, weights=rng.integers(0, 4, len(yw)).astype(float)),
        "weights of 1e-6 to 1e6": Data(Xi, yi, weights=10.0 ** rng.uniform(-6, 6, len(yi))),
        "repeated columns": Data(np.c_[Xb, Xb[:, :5], Xb[:, :5] + 1e-9 * rng.standard_normal((len(yb), 5))], yb),
        "sums of columns": Data(np.c_[scaled(Xw), scaled(Xw) @ rng.standard_normal((13, 4))], yw),
        "rare class": Data(Xb[rare], yb[rare]),
        "rare levels": Data(levels, labels(2 * z, rng)),
        "rare levels, binary": Data(levels, labels(2 * z[:, 0], rng)),
        "offset of 1e6": Data(Xb + 1e6, yb),
        "offset of 1e6, three classes": Data(Xi + 1e6, yi),
        "units of 1e-6 to 1e6": Data(Xw * 10.0 ** np.linspace(-6, 6, 13), yw),
        "one outlier": Data(np.where(Xi == Xi.max(), 1e8, Xi), yi),
        "sparse counts": Data(sp.csr_matrix(rng.poisson(0.05, (500, 200)).astype(float)), rng.integers(0, 4, 500)),
        "more columns than rows": Data(rng.standard_normal((80, 700)), rng.integers(0, 2, 80)),
        "large offset, small spread": Data(1e4 + 1e-3 * scaled(Xi), yi),
    }


def strengths() -> dict[str, Data]:
    """Return two data sets over the whole range of penalties."""
    (Xb, yb), (Xw, yw) = load_breast_cancer(return_X_y=True), load_wine(return_X_y=True)
    grid = (1e-4, 1e-2, 1e2, 1e4)
    return {
        **{f"breast cancer, C = {C:g}": Data(Xb, yb, C=C) for C in grid},
        **{f"wine, scaled, C = {C:g}": Data(scaled(Xw), yw, C=C) for C in grid},
    }


def all_problems() -> dict[str, Data]:
    """Return every problem by name."""
    return {**real(), **distorted(), **strengths()}
