"""BFGS and L-BFGS: the preconditioner before any pair, where it comes from, and what it saves."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import ConvergenceWarning
from tables import make_objective, make_tables

from sosolve import BFGS, LBFGS, LogisticRegression, NewtonCholesky
from sosolve.objectives.function import FunctionObjective

TABLES = make_tables()


@pytest.mark.parametrize("solver", ["lbfgs", "bfgs"])
def test_raw_breast_cancer_at_default_settings(solver):
    """No warning, a proof of 1e-6, and some 20 iterations where the identity needs hundreds."""
    X, y = load_breast_cancer(return_X_y=True)
    clf = LogisticRegression(solver=solver).fit(X, y)
    assert clf.optimality_.relative_bound < 1e-6
    assert clf.n_iter_[0] <= 25
    plain = (LBFGS if solver == "lbfgs" else BFGS)(preconditioner="none", max_iter=2000)
    assert LogisticRegression(solver=plain).fit(X, y).n_iter_[0] > 100


def test_raw_digits():
    """130 iterations, where the identity needs over 1000; the warning at 100 says how close it is."""
    X, y = load_digits(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match=r"at most \d\.\de-0[5-6] of it above its minimum"):
        short = LogisticRegression(solver="lbfgs").fit(X, y)
    assert short.n_iter_[0] == 100
    assert LogisticRegression(solver=LBFGS(max_iter=140)).fit(X, y).result_.converged


@pytest.mark.parametrize("name", ["dense", "sparse", "ten classes", "unpenalised", "wide"])
@pytest.mark.parametrize("kind", [LBFGS, BFGS])
@pytest.mark.parametrize("settings", [{}, {"refresh": 2}, {"dense_size": 0, "refresh": 3}, {"preconditioner": "none"}])
def test_the_same_optimum_with_any_preconditioner(name, kind, settings):
    """Rough, sampled, diagonal or none: the value is that of Newton."""
    objective, model = make_objective(TABLES[name])
    start = np.zeros(model.size)
    found = kind(**settings, max_iter=500).minimize(objective, start)
    best = NewtonCholesky(tol=1e-9).minimize(objective, start)
    assert found.converged
    assert found.value / best.value - 1 < 1e-7


def test_a_function_without_a_rough_inverse_begins_with_the_identity():
    """No product with a Hessian is spent on a preconditioner."""
    objective = FunctionObjective(lambda t: float(t @ t + t[0] ** 4), 3, grad=lambda t: 2 * t + [4 * t[0] ** 3, 0, 0])
    result = LBFGS(confirm_cg=0).minimize(objective, np.ones(3))
    assert result.converged
    assert result.counts.n_mv == 0
    assert result.state.precond is None


@pytest.mark.parametrize("kind", [LBFGS, BFGS])
def test_settings_are_checked(kind):
    """What was received, what is expected."""
    objective, model = make_objective(TABLES["dense"])
    for bad in ({"preconditioner": "cholesky"}, {"refresh": 0}, {"sample_rows": 2.0}, {"dense_size": -1}):
        with pytest.raises(ValueError, match=rf"received {next(iter(bad))}=.*expected"):
            kind(**bad).minimize(objective, np.zeros(model.size))
