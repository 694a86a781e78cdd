"""Agreement on the objective: every solver with the minimum, and the package with its peers, on 46 problems.

The objective is computed by `tables.long_double_value` from the coefficients alone. A minimum is the lowest value that
an exact Newton method with tight tolerances or any peer has found.
"""

import warnings
from functools import cache

import numpy as np
import pytest
import scipy.sparse as sp
from agreement_problems import all_problems
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression
from tables import Data, long_double_value

from sosolve import LogisticRegression, NewtonCholesky, SoftmaxRegression

PROBLEMS = all_problems()
NAMES = sorted(PROBLEMS)
SECOND_ORDER = ["auto", "newton-cg", "newton-cholesky", "trust-region"]
#: An entry of 1e8 among entries below 8: predictors of the outlier lose the digits that conjugate gradients need.
TOLD = [("one outlier", "newton-cg"), ("one outlier", "trust-region")]
#: Where a basis cannot repair the numbers themselves, so that a gap of 1e-8 is out of reach of double precision.
LOST_DIGITS = {"offset of 1e6", "one outlier", "large offset, small spread"}


def value(data: Data, clf) -> np.longdouble:
    """Return the objective at the coefficients of a fitted classifier."""
    return long_double_value(data, np.asarray(clf.coef_, dtype=float), np.asarray(clf.intercept_, dtype=float))


@cache
def minimum(name: str) -> np.longdouble:
    """Return the objective at the end of an exact Newton method with tight tolerances."""
    data = PROBLEMS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # gtol is beyond rounding on some
        clf = LogisticRegression(C=data.C, solver=NewtonCholesky(tol=1e-9, gtol=1e-9, max_iter=300))
        return value(data, clf.fit(double(data.X), data.y, sample_weight=data.weights))


def double(X):
    """Return X in float64: coefficients of float32 are rounded where they are stored."""
    return X.astype(np.float64) if X.dtype == np.float32 else X


def gap(name: str, clf) -> float:
    """Return the excess of the objective over the minimum, relative to it."""
    return float(value(PROBLEMS[name], clf) / minimum(name) - 1)


# ---------------------------------------------------------------------- our own solvers


def is_long(name: str) -> bool:
    """Return whether fits of a problem take a second or more."""
    return PROBLEMS[name].K * PROBLEMS[name].X.shape[1] > 500


EVERY = [
    pytest.param(n, s, marks=pytest.mark.slow if is_long(n) and s != "auto" else [])
    for n in NAMES
    for s in SECOND_ORDER
    if (n, s) not in TOLD
]


@pytest.mark.parametrize(("name", "solver"), EVERY)
def test_defaults(name, solver):
    """At default settings: no warning, a relative gap of at most 1e-6."""
    data = PROBLEMS[name]
    clf = LogisticRegression(C=data.C, solver=solver).fit(data.X, data.y, sample_weight=data.weights)
    assert clf.result_.converged
    assert gap(name, clf) <= 1e-6


@pytest.mark.parametrize(("name", "solver"), EVERY)
def test_tight(name, solver):
    """With a tight tolerance: a relative gap of at most 1e-8, or told that rounding is in the way."""
    data = PROBLEMS[name]
    clf = LogisticRegression(C=data.C, solver=solver, tol=1e-6, max_iter=300)
    with warnings.catch_warnings():
        if name in LOST_DIGITS:
            warnings.simplefilter("ignore", ConvergenceWarning)
        clf.fit(double(data.X), data.y, sample_weight=data.weights)
    assert gap(name, clf) <= 1e-8


@pytest.mark.parametrize(
    ("name", "solver"), [*TOLD, *((n, s) for n in NAMES for s in ("lbfgs", "bfgs") if not is_long(n))]
)
def test_never_silently_wrong(name, solver):
    """Within 100 iterations: the minimum, or a warning that says how far the fit has come."""
    data = PROBLEMS[name]
    clf = LogisticRegression(C=data.C, solver=solver)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clf.fit(data.X, data.y, sample_weight=data.weights)
    assert clf.result_.converged != any(issubclass(w.category, ConvergenceWarning) for w in caught)
    assert gap(name, clf) <= 1e-6 or not clf.result_.converged


# ---------------------------------------------------------------------- scikit-learn


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if is_long(n) else []) for n in NAMES])
def test_scikit_learn(name):
    """No solver of scikit-learn's, tightly set, is below ours; on scaled data they find the same minimum."""
    data = PROBLEMS[name]
    best = np.longdouble(np.inf)
    for solver in ["lbfgs"] if is_long(name) else ["lbfgs", "newton-cholesky"]:
        theirs = SklearnLogisticRegression(C=data.C, solver=solver, tol=1e-8, max_iter=300)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs.fit(double(data.X), data.y, sample_weight=data.weights)
        if np.isfinite(theirs.coef_).all():
            best = min(best, value(data, theirs))
    assert minimum(name) <= best * (1 + 1e-8)
    if "scaled" in name or "bins" in name:
        assert best / minimum(name) - 1 <= 1e-6


# ---------------------------------------------------------------------- statsmodels


def without_penalty():
    """Return problems whose minimum is finite without a penalty."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal((400, 6)) @ np.diag([1.0, 5.0, 0.2, 1.0, 30.0, 1e-3])
    z = X @ np.array([1.0, 0.1, -2.0, 0.3, 0.02, 100.0])
    three = np.argmax(np.c_[np.zeros(400), z, -0.5 * z] + rng.gumbel(size=(400, 3)), axis=1)
    binary = (z + rng.logistic(size=400) > 0).astype(int)
    return {
        "diabetes": PROBLEMS["diabetes, no penalty"],
        "iris": PROBLEMS["iris, no penalty"],
        "units": Data(X, binary, C=np.inf),
        "whole weights": Data(X, binary, C=np.inf, weights=rng.integers(0, 4, 400).astype(float)),
        "three classes": Data(X, three, C=np.inf),
        "three classes, weights": Data(X, three, C=np.inf, weights=rng.integers(0, 4, 400).astype(float)),
    }


FREE = without_penalty()


@pytest.mark.parametrize("name", [n for n, data in FREE.items() if data.K == 2])
def test_statsmodels_binary(name):
    """Logit and GLM give the same coefficients and the same log-likelihood."""
    api = pytest.importorskip("statsmodels.api", reason="statsmodels is not installed")
    data = FREE[name]
    ours = LogisticRegression(C=np.inf, tol=1e-10).fit(data.X, data.y, sample_weight=data.weights)
    exog = api.add_constant(data.X)
    fits = [api.GLM(data.y, exog, api.families.Binomial(), freq_weights=data.weights).fit(tol=1e-12, maxiter=200)]
    if data.weights is None:
        fits.append(api.Logit(data.y, exog).fit(disp=False, method="newton", tol=1e-12, maxiter=200))
    for theirs in fits:
        found = np.r_[ours.intercept_, ours.coef_[0]]
        np.testing.assert_allclose(found, theirs.params, rtol=1e-6, atol=1e-9)
        total = len(data.y) if data.weights is None else data.weights.sum()
        assert -theirs.llf == pytest.approx(ours.result_.value * total, rel=1e-10)


@pytest.mark.parametrize("name", [n for n, data in FREE.items() if data.K == 3])
def test_statsmodels_multinomial(name):
    """MNLogit's log odds against the first class are those of a reference class."""
    api = pytest.importorskip("statsmodels.api", reason="statsmodels is not installed")
    data = FREE[name]
    ours = SoftmaxRegression(C=np.inf, reference_class=0, tol=1e-10)
    ours.fit(data.X, data.y, sample_weight=data.weights)
    rows = (
        np.arange(len(data.y)) if data.weights is None else np.repeat(np.arange(len(data.y)), data.weights.astype(int))
    )
    theirs = api.MNLogit(data.y[rows], api.add_constant(data.X[rows])).fit(disp=False, method="newton", tol=1e-12)
    np.testing.assert_allclose(ours.coef_[1:], theirs.params[1:].T, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(ours.intercept_[1:] - ours.intercept_[0], theirs.params[0], rtol=1e-5, atol=1e-8)
    assert -theirs.llf == pytest.approx(ours.result_.value * len(rows), rel=1e-10)


# ---------------------------------------------------------------------- glum and liblinear


@pytest.mark.parametrize("name", [n for n in NAMES if PROBLEMS[n].K == 2 and np.isfinite(PROBLEMS[n].C)])
def test_glum(name):
    """glum is nowhere below our minimum, and reaches it where it converges."""
    glum = pytest.importorskip("glum", reason="glum is not installed")
    data = PROBLEMS[name]
    total = len(data.y) if data.weights is None else data.weights.sum()
    theirs = glum.GeneralizedLinearRegressor(
        family="binomial", link="logit", alpha=1.0 / (data.C * total), l1_ratio=0.0, gradient_tol=1e-9, max_iter=500
    )
    X = data.X.tocsc() if sp.issparse(data.X) else double(data.X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.fit(X, data.y.astype(float), sample_weight=data.weights)
    coef, intercept = theirs.coef_[None, :], np.array([theirs.intercept_])
    found = long_double_value(data, coef, intercept)
    assert minimum(name) <= found * (1 + 1e-8)
    if "scaled" in name:
        assert found / minimum(name) - 1 <= 1e-6


@pytest.mark.parametrize("name", ["breast cancer", "breast cancer, scaled", "diabetes", "rare levels, binary"])
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_liblinear(name, C):
    """liblinear's trust-region Newton, primal, without an intercept (it would penalise that)."""
    liblinear = pytest.importorskip("liblinear.liblinearutil", reason="liblinear-official is not installed")
    X, y = PROBLEMS[name].X, PROBLEMS[name].y
    ours = LogisticRegression(C=C, fit_intercept=False, tol=1e-8, max_iter=300).fit(X, y)
    model = liblinear.train(liblinear.problem(y.astype(float), sp.csr_matrix(X)), f"-s 0 -c {C} -e 1e-9 -q")
    w = np.array(model.get_decfun()[0]) * (1.0 if model.get_labels()[0] == 1 else -1.0)
    data = Data(X, y, C=C)
    found = long_double_value(data, w[None, :], np.zeros(1))
    lowest = long_double_value(data, ours.coef_, np.zeros(1))
    assert lowest <= found * (1 + 1e-8)
    if name != "breast cancer":
        assert found / lowest - 1 <= 1e-6
        np.testing.assert_allclose(ours.coef_[0], w, rtol=1e-2, atol=1e-3)
