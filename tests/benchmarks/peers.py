"""One adapter for each library: fit(X, y, C, tol) -> (coef (K, d), intercept (K,), passes over X or nan).

Labels are the codes 0 .. K - 1. Libraries that are not installed are left out and named by `absent`.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression

from sosolve import LogisticRegression

Fit = Callable[[object, np.ndarray, float, float], tuple[np.ndarray, np.ndarray, float]]

SKLEARN_TOLS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
SOSOLVE_TOLS = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
OPTIONAL = {"glum": "glum", "snapml": "snapml", "liblinear": "liblinear"}


@dataclass(frozen=True)
class Adapter:
    """A way of fitting, and its tolerances from loose to tight."""

    fit: Fit
    tols: tuple[float, ...]


def sosolve(solver: str = "auto") -> Adapter:
    """Return the adapter of sosolve."""

    def fit(X, y, C, tol):
        model = LogisticRegression(solver=solver, C=C, tol=tol, max_iter=1000).fit(X, y)
        return model.coef_, model.intercept_, model.result_.counts.n_passes

    return Adapter(fit, SOSOLVE_TOLS)


def sklearn(solver: str) -> Adapter:
    """Return the adapter of scikit-learn."""

    def fit(X, y, C, tol):
        model = SklearnLogisticRegression(solver=solver, C=C, tol=tol, max_iter=3000).fit(X, y)
        return model.coef_, model.intercept_, float("nan")

    return Adapter(fit, SKLEARN_TOLS)


def glum() -> Adapter:
    """Return the adapter of glum's iteratively reweighted least squares; two classes."""
    from glum import GeneralizedLinearRegressor

    def fit(X, y, C, tol):
        model = GeneralizedLinearRegressor(
            alpha=1.0 / (C * len(y)), family="binomial", gradient_tol=tol, max_iter=1000, solver="irls-ls"
        ).fit(X, y.astype(X.dtype))
        return np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_), float("nan")

    return Adapter(fit, (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7))


def snapml() -> Adapter:
    """Return the adapter of Snap ML, two classes; it penalises the intercept, which bounds the gap it can reach."""
    from snapml import LogisticRegression as SnapLogisticRegression

    def fit(X, y, C, tol):
        model = SnapLogisticRegression(
            regularizer=1.0 / C, dual=False, fit_intercept=True, intercept_scaling=1e3, tol=tol, max_iter=3000, n_jobs=2
        ).fit(X, y)
        return np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_), float("nan")

    return Adapter(fit, (1e-2, 1e-4, 1e-6, 1e-8))


def liblinear() -> Adapter:
    """Return the adapter of LIBLINEAR's trust-region Newton, bias unpenalised; the conversion of the data counts."""
    from liblinear.liblinearutil import problem, train

    def fit(X, y, C, tol):
        with contextlib.redirect_stdout(io.StringIO()):
            labels = np.where(y == 1, 1.0, -1.0)
            model = train(problem(labels, X, 1), f"-s 0 -c {C:.17g} -e {tol:.17g} -B 1 -R -q")
        d = X.shape[1]
        w = np.array([model.w[j] for j in range(d + 1)])
        sign = 1.0 if model.label[0] == 1 else -1.0
        return sign * w[None, :d], sign * w[d:], float("nan")

    return Adapter(fit, (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7))


def null() -> Adapter:
    """Return the model without features: what a gap of 1 (and more) costs."""

    def fit(X, y, C, tol):
        counts = np.bincount(y)
        logs = np.log(counts / counts.sum())
        K = len(counts)
        intercept = logs[1:] - logs[:1] if K == 2 else logs - logs.mean()
        return np.zeros((len(intercept), X.shape[1])), intercept, 0.0

    return Adapter(fit, (1.0,))


def adapters(X, K: int) -> dict[str, Adapter]:
    """Return the adapters that can run on data of this shape, sosolve's first."""
    d = X.shape[1]
    found = {"sosolve": sosolve(), "null model": null()}
    for solver in ("lbfgs", "newton-cg"):
        found[f"sklearn {solver}"] = sklearn(solver)
    if (K if K > 2 else 1) * d <= 3_000:
        found["sklearn newton-cholesky"] = sklearn("newton-cholesky")
    if K == 2:
        if "glum" not in absent() and d <= 3_000:
            found["glum"] = glum()
        if "snapml" not in absent():
            found["snapml"] = snapml()
        if "liblinear" not in absent() and (sp.issparse(X) or X.size <= 4_000_000):
            found["liblinear"] = liblinear()
    return found


def absent() -> list[str]:
    """Return the optional libraries that are not installed."""
    return [name for name, module in OPTIONAL.items() if find_spec(module) is None]


@contextlib.contextmanager
def quiet():
    """Silence warnings about convergence and what the libraries write while they import one another."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
