"""The loop: every Status, the counts, the callback, the settings."""

import math
import pickle
from dataclasses import dataclass
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
from tables import make_objective, make_tables

from sosolve import (
    BFGS,
    LBFGS,
    History,
    LevenbergMarquardt,
    NewtonCG,
    NewtonCholesky,
    Record,
    Result,
    Solver,
    Status,
    Step,
    TrustRegion,
)
from sosolve.history import InnerStop
from sosolve.protocols import Counts, PointwiseRay
from sosolve.solvers import SOLVERS, loop

TABLES = make_tables()


class Plain:
    """An objective from three functions; `hess` may be None."""

    def __init__(self, size, f, grad, hess=None):
        self.size, self.f, self.grad, self.hess, self.counts = size, f, grad, hess, Counts()

    def at(self, theta):
        return PlainPoint(self, theta)


class PlainPoint:
    """A point of `Plain`."""

    def __init__(self, objective, theta):
        self.objective, self.theta = objective, theta
        with np.errstate(all="ignore"):
            self.value, self.grad = float(objective.f(theta)), objective.grad(theta)
        objective.counts.n_value += 1
        objective.counts.n_grad += 1
        self.curvature = None if objective.hess is None else PlainCurvature(objective.hess(theta))

    def along(self, d):
        return PointwiseRay(self.objective, self, d)


class PlainCurvature:
    """A dense matrix as a curvature."""

    exact = True

    def __init__(self, H):
        self.H = H

    def mv(self, v):
        return self.H @ v

    def diag(self):
        return np.diag(self.H).copy()

    def dense(self, rows=1.0):
        return self.H


def rosenbrock():
    """Return Rosenbrock's function: not convex away from the valley."""
    return Plain(
        2,
        lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2 + 1.0,
        lambda x: np.array([-400 * x[0] * (x[1] - x[0] ** 2) - 2 * (1 - x[0]), 200 * (x[1] - x[0] ** 2)]),
        lambda x: np.array([[1200 * x[0] ** 2 - 400 * x[1] + 2, -400 * x[0]], [-400 * x[0], 200.0]]),
    )


ALL = [cls() for cls in SOLVERS.values() if issubclass(cls, (NewtonCG, NewtonCholesky, TrustRegion, BFGS, LBFGS))]
ALL += [TrustRegion(subproblem="dogleg"), NewtonCG(preconditioner="cholesky", sample_rows=1.0)]


@pytest.mark.parametrize("solver", ALL, ids=lambda s: s.name)
def test_nonconvex_function(solver):
    """Every solver finds the minimum of Rosenbrock's function from the usual start."""
    solver = solver.__class__(**{**solver.get_params(), "tol": 1e-8, "max_iter": 500})
    result = solver.minimize(rosenbrock(), np.array([-1.2, 1.0]))
    assert result.status is Status.CONVERGED
    np.testing.assert_allclose(result.theta, [1.0, 1.0], atol=1e-6)
    assert all(np.diff(result.history.column("value")) <= 0)


@pytest.mark.parametrize("solver", ALL, ids=lambda s: s.name)
def test_max_iter(solver):
    """The limit is kept, the best iterate too; no iterations at all give the start."""
    objective, model = make_objective(TABLES["unscaled"])
    for limit in (0, 1, 2):
        solver = solver.__class__(**{**solver.get_params(), "max_iter": limit, "tol": 1e-12})
        result = solver.minimize(objective, np.zeros(model.size))
        assert (result.status, result.n_iter) == (Status.MAX_ITER, limit)
        assert result.value == min(result.history.column("value"))


@pytest.mark.parametrize("solver", ALL, ids=lambda s: s.name)
def test_start_at_the_optimum(solver):
    """A gradient of zero at the start is converged at once."""
    result = solver.minimize(rosenbrock(), np.array([1.0, 1.0]))
    assert result.status is Status.CONVERGED
    assert result.n_iter == 1


@pytest.mark.parametrize("solver", ALL, ids=lambda s: s.name)
def test_stalled_at_the_rounding_level(solver):
    """Tolerances of zero end with STALLED (or a gradient of zero), long before max_iter."""
    objective, model = make_objective(TABLES["dense"])
    solver = solver.__class__(**{**solver.get_params(), "tol": 0.0, "max_iter": 1000})
    result = solver.minimize(objective, np.zeros(model.size))
    assert result.status in (Status.STALLED, Status.CONVERGED)
    assert result.n_iter < 100
    assert result.grad_norm < 1e-8


def test_max_time(monkeypatch):
    """The clock, here one that ticks once a look, is looked at after each iteration."""
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=count().__next__))
    objective = Plain(2, lambda x: float(x @ x) + 1.0, lambda x: 0.01 * 2 * x)
    result = LBFGS(max_time=3.0, tol=1e-14).minimize(objective, np.ones(2))
    assert result.status is Status.MAX_TIME
    assert result.history.column("seconds") == [1.0, 2.0, 3.0]


def test_nonfinite_start():
    """NaN at the start is told; no step is made."""
    for value in (math.nan, math.inf):
        result = LBFGS().minimize(Plain(1, lambda x, value=value: value, lambda x: x), np.ones(1))
        assert (result.status, result.n_iter) == (Status.NONFINITE, 0)
    result = LBFGS().minimize(Plain(1, lambda x: 1.0, lambda x: x * math.nan), np.ones(1))
    assert result.status is Status.NONFINITE


@pytest.mark.parametrize("solver", [NewtonCG(), NewtonCholesky(), LBFGS(), BFGS()], ids=lambda s: s.name)
def test_line_search_failed(solver):
    """A gradient that disagrees with the value is found out."""
    objective = Plain(2, lambda x: float(x @ x) + 1.0, lambda x: -2 * x, lambda x: 2 * np.eye(2))
    result = solver.minimize(objective, np.ones(2))
    assert result.status is Status.LINE_SEARCH_FAILED
    np.testing.assert_array_equal(result.theta, np.ones(2))


def test_trust_region_with_a_wrong_gradient_stalls():
    """The radius shrinks until nothing is left; the start is kept."""
    objective = Plain(2, lambda x: float(x @ x) + 1.0, lambda x: -2 * x, lambda x: 2 * np.eye(2))
    result = TrustRegion(max_iter=10_000).minimize(objective, np.ones(2))
    assert result.status is Status.STALLED
    np.testing.assert_array_equal(result.theta, np.ones(2))


def test_not_positive_definite():
    """A Hessian that is not finite has no factor."""
    objective = Plain(2, lambda x: float(x @ x) + 1.0, lambda x: 2 * x, lambda x: np.full((2, 2), np.nan))
    assert NewtonCholesky().minimize(objective, np.ones(2)).status is Status.NOT_POSITIVE_DEFINITE


def test_trials_that_are_not_finite_are_rejected_steps():
    """A barrier: log x is only defined for x > 0, and Newton's first step leaves that region."""
    objective = Plain(
        1,
        lambda x: float(x[0] - 0.1 * np.log(x[0])) + 1 if x[0] > 0 else math.nan,
        lambda x: np.array([1 - 0.1 / x[0]]),
        lambda x: np.array([[0.1 / x[0] ** 2]]),
    )
    for solver in (NewtonCG(tol=1e-8), NewtonCholesky(tol=1e-8), TrustRegion(tol=1e-8), BFGS(tol=1e-8)):
        result = solver.minimize(objective, np.array([2.0]))
        assert result.status is Status.CONVERGED
        assert result.theta[0] == pytest.approx(0.1, rel=1e-4)


def test_interrupted_keeps_the_best_iterate():
    """Ctrl-C inside an evaluation ends the fit; what was reached stays."""
    calls = []

    def f(x):
        calls.append(x)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return rosenbrock().f(x)

    r = rosenbrock()
    result = BFGS().minimize(Plain(2, f, r.grad, r.hess), np.array([-1.2, 1.0]))
    assert result.status is Status.INTERRUPTED
    assert result.value < r.f(np.array([-1.2, 1.0]))
    assert result.value == min(result.history.column("value"))


def test_callback_sees_each_iteration_and_stops():
    """`begin` before, the call after each iteration; True stops, a Status is taken as it is."""
    events = []

    class Watch:
        def begin(self):
            events.append("begin")

        def __call__(self, record, point):
            events.append(record.iteration)
            return record.iteration == 3

    result = NewtonCG().minimize(rosenbrock(), np.array([-1.2, 1.0]), Watch())
    assert result.status is Status.CALLBACK
    assert events == ["begin", 1, "begin", 2, "begin", 3]
    result = NewtonCG().minimize(rosenbrock(), np.array([-1.2, 1.0]), lambda record, point: Status.SEPARATED)
    assert (result.status, result.n_iter) == (Status.SEPARATED, 1)


def test_error_in_the_callback_reaches_the_caller():
    """Exceptions of user code are not swallowed."""

    def broken(record, point):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        NewtonCG().minimize(rosenbrock(), np.array([-1.2, 1.0]), broken)


def test_ftol_and_xtol():
    """The optional tests fire; off by default."""
    objective, model = make_objective(TABLES["dense"])
    theta = np.zeros(model.size)
    full = LBFGS(tol=1e-10).minimize(objective, theta)
    for setting in ({"ftol": 1e-3}, {"xtol": 1e-2}):
        result = LBFGS(tol=1e-10, **setting).minimize(objective, theta)
        assert result.status is Status.CONVERGED
        assert result.n_iter < full.n_iter


def test_gtol_is_a_test_of_its_own():
    """A loose decrement does not end a fit whose gradient is above gtol."""
    objective, model = make_objective(TABLES["dense"])
    theta = np.zeros(model.size)
    loose = NewtonCholesky(tol=0.1).minimize(objective, theta)
    strict = NewtonCholesky(tol=0.1, gtol=1e-10).minimize(objective, theta)
    assert loose.grad_norm > 1e-10 >= strict.grad_norm


def test_missing_curvature_is_one_readable_sentence():
    """A solver that needs products says so, and which solver needs less."""
    objective = Plain(1, lambda x: float(x @ x) + 1, lambda x: 2 * x)
    with pytest.raises(TypeError, match=r"NewtonCG needs grad, mv, but the objective offers no 'mv'.*lbfgs"):
        NewtonCG().minimize(objective, np.ones(1))
    assert LBFGS(tol=1e-8).minimize(objective, np.ones(1)).converged


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        (NewtonCG(tol=-1.0), r"received tol=-1.0 for NewtonCG; expected a number in \[0, inf\]"),
        (NewtonCG(max_iter=-1), "received max_iter=-1"),
        (NewtonCG(tol="small"), "received tol='small'"),
        (
            NewtonCG(preconditioner="ilu"),
            "received preconditioner='ilu' for NewtonCG; expected one of auto, none, jacobi, kronecker, cholesky",
        ),
        (LBFGS(preconditioner="jacobi"), "received preconditioner='jacobi' for LBFGS; expected one of auto, none"),
        (NewtonCG(rtol_max=2.0), "received rtol_max=2.0"),
        (TrustRegion(subproblem="exact"), "received subproblem='exact' for TrustRegion; expected one of steihaug"),
        (TrustRegion(radius0=0.0), "received radius0=0.0"),
        (TrustRegion(accept=0.9), "received accept=0.9"),
        (LBFGS(memory=0), "received memory=0"),
        (LBFGS(gtol=math.nan), "received gtol=nan"),
    ],
)
def test_settings_out_of_range(solver, message):
    """Misuse raises at once, in three parts."""
    with pytest.raises(ValueError, match=message):
        solver.minimize(rosenbrock(), np.zeros(2))


def test_wrong_shape_of_the_start():
    """theta0 must be flat and as long as the objective says."""
    with pytest.raises(ValueError, match=r"received theta0 of shape \(3,\); the objective has 2 parameters"):
        NewtonCG().minimize(rosenbrock(), np.zeros(3))


def test_set_params():
    """Settings are reachable by name; an unknown one is told."""
    solver = TrustRegion().set_params(radius0=10.0)
    assert solver.get_params()["radius0"] == 10.0
    with pytest.raises(ValueError, match=r"received the setting 'radius' for TrustRegion.*radius0"):
        solver.set_params(radius=1.0)


def test_a_solver_is_written_with_what_was_changed():
    """As scikit-learn writes estimators: no setting at its default, arrays always; a repr of the user's own stays."""

    @dataclass(kw_only=True)
    class Own(Solver):
        """A solver."""

        length: float = 1.0

        def __repr__(self) -> str:
            return "mine"

    assert repr(TrustRegion(radius0=3.0)) == "TrustRegion(radius0=3.0)"
    assert repr(LevenbergMarquardt(lower=np.zeros(2))) == "LevenbergMarquardt(lower=array([0., 0.]))"
    assert repr(Own()) == "mine"


def test_step_with_an_unknown_field():
    """A misspelt record field is an error at once."""
    with pytest.raises(TypeError, match=r"unknown record field ared; .*actual"):
        Step(None, None, True, ared=1.0)


def test_solver_without_step():
    """The base class says what is missing."""

    class Empty(Solver):
        pass

    with pytest.raises(NotImplementedError, match="define step"):
        Empty().minimize(rosenbrock(), np.zeros(2))


def test_history_and_result():
    """Columns, slices, pandas, pickling."""
    result = TrustRegion().minimize(rosenbrock(), np.array([-1.2, 1.0]))
    history = result.history
    assert isinstance(history, History)
    assert len(history) == result.n_iter + 1
    assert history.column("iteration") == list(range(len(history)))
    assert isinstance(history[0], Record)
    assert len(history[1:3]) == 2
    frame = history.to_pandas()
    assert frame.shape == (len(history), len(Record.__slots__))
    assert set(frame["inner_stop"]) <= {int(stop) for stop in InnerStop}
    with pytest.raises(KeyError, match="received the column 'loss'; expected one of iteration"):
        history.column("loss")
    copy = pickle.loads(pickle.dumps(result))
    assert isinstance(copy, Result)
    assert copy.point is None
    np.testing.assert_array_equal(copy.theta, result.theta)
    assert "CONVERGED" in repr(result)
    assert "iterations" in repr(history)
    assert repr(History()) == "History(empty)"
    for status in Status:
        assert ":" in status.value or status is Status.SEPARATED


def test_radius_follows_the_ratio():
    """The policy without a problem: shrink, keep, double."""
    from sosolve.solvers.trust_region import next_radius

    assert next_radius(1.0, 0.1, 1.0, True) == 0.25
    assert next_radius(1.0, -math.inf, 0.5, False) == 0.125
    assert next_radius(1.0, math.nan, 1.0, True) == 0.25
    assert next_radius(1.0, 0.5, 1.0, True) == 1.0
    assert next_radius(1.0, 0.9, 1.0, True) == 2.0
    assert next_radius(1.0, 0.9, 0.5, False) == 1.0
    radius = 1.0
    for ratio in (0.9, 0.9, 0.0, 0.0, 0.5, 0.9):
        radius = next_radius(radius, ratio, radius, True)
    assert radius == 4.0 / 16.0 * 2.0


def test_trust_region_rejects_and_shrinks():
    """A huge first radius on Rosenbrock's function gives rejected steps, and the value never rises."""
    result = TrustRegion(radius0=1e4, tol=1e-8).minimize(rosenbrock(), np.array([-1.2, 1.0]))
    accepted = result.history.column("accepted")
    assert not all(accepted)
    assert result.converged
    rejected = [r for r in result.history if not r.accepted and r.ratio == r.ratio]
    assert all(r.ratio <= 1e-4 for r in rejected)
