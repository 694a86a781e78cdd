"""After the first solver: exact steps where it lost its way, and a status that the proof gives."""

import numpy as np
import pytest
from sklearn.datasets import load_wine
from tables import Data, long_double_value

from sosolve import LogisticRegression, NewtonCholesky, TrustRegion
from sosolve.history import Status

RNG = np.random.default_rng(0)
PLAIN = RNG.standard_normal((200, 4))
Y = (PLAIN @ [1.0, -1.0, 0.5, 0.0] + RNG.logistic(size=200) > 0).astype(int)
#: One column after another over dozens of orders of magnitude; no intercept for columns that hardly differ from one.
HEAVY, ALIKE = np.exp(20.0 * RNG.standard_normal((200, 4))), PLAIN + 1e6


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "trust-region"])
@pytest.mark.parametrize(("X", "options"), [(HEAVY, {}), (ALIKE, {"fit_intercept": False})], ids=["heavy", "alike"])
def test_every_name_finds_the_minimum(solver, X, options):
    """Converged within the tolerance; the trust region was an eighth above the minimum without a word."""
    expected = LogisticRegression(solver="newton-cholesky", max_iter=400, **options).fit(X, Y).optimality_
    assert expected.relative_bound < 1e-6
    clf = LogisticRegression(solver=solver, max_iter=400, **options).fit(X, Y)
    assert clf.optimality_.status is Status.CONVERGED
    assert clf.optimality_.value <= expected.value * (1.0 + 1e-6)


def test_one_record_of_both_runs():
    """Iterations, passes and seconds go on; the note says why; all iterations count for max_iter."""
    clf = LogisticRegression(solver="newton-cg", max_iter=400).fit(HEAVY, Y)
    history = clf.history_
    assert "newton-cholesky went on from iteration" in history.notes["second"]
    assert clf.solver_.name == "newton-cholesky"
    assert history.column("iteration") == list(range(len(history)))
    for name in ("n_passes", "seconds"):
        assert (np.diff(history.column(name)) >= 0).all()
    assert clf.result_.counts.n_passes >= history[-1].n_passes
    assert int(clf.n_iter_[0]) == len(history) - 1


def test_an_instance_runs_as_it_is():
    """Who passes a solver gets that one, and its status."""
    with pytest.warns(UserWarning, match="LogisticRegression [A-Z_]+: "):
        clf = LogisticRegression(solver=TrustRegion(max_iter=60)).fit(HEAVY, Y)
    assert clf.solver_.name == "trust-region"
    assert "second" not in clf.history_.notes


def test_a_proof_within_the_tolerance_is_convergence():
    """Rounding stops the loop before its own tests are met; the bound says that there is nothing left to win."""
    clf = LogisticRegression().fit(HEAVY, Y)
    assert (clf.result_.status, clf.result_.reason) == (Status.CONVERGED, "proof")
    assert "upper bound on the distance" in clf.result_.message
    with pytest.warns(UserWarning, match="STALLED"):
        LogisticRegression(tol=0.0).fit(HEAVY, Y)


@pytest.mark.parametrize(("seed", "solver"), [(10, "newton-cg"), (35, "auto")])
def test_units_over_fourteen_decades(seed, solver):
    """Three classes: no rounding along what all of them share; an end without a proof is looked at again."""
    X, y = load_wine(return_X_y=True)
    rng = np.random.default_rng(seed)
    X, C = X * 10.0 ** rng.uniform(-7, 7, X.shape[1]), 10.0 ** rng.uniform(-3, 4)
    clf = LogisticRegression(C=C, solver=solver).fit(X, y)
    exact = LogisticRegression(C=C, solver=NewtonCholesky(tol=1e-8, max_iter=300)).fit(X, y)
    assert clf.result_.converged
    values = [long_double_value(Data(X, y, C=C), c.coef_, c.intercept_) for c in (clf, exact)]
    assert values[0] <= values[1] * (1.0 + 1e-6)
