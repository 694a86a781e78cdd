"""After the first solver: exact steps where it lost its way, and a status that the proof gives."""

import numpy as np
import pytest

from sosolve import LogisticRegression, TrustRegion
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
