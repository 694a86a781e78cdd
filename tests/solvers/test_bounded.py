"""Bounds of `minimize`: the optima of SciPy's L-BFGS-B, exact bounds, and the arguments in each form."""

import numpy as np
import pytest
import scipy.optimize
from scipy.optimize import Bounds, OptimizeWarning, rosen, rosen_der, rosen_hess

from sosolve.history import Status
from sosolve.objectives.function import FunctionObjective
from sosolve.scipy_api import minimize
from sosolve.solvers.bounded import BoundedLBFGS, BoundedTrustRegion

METHODS = ("l-bfgs", "trust-region", "newton-cg")


def quadratic(kind):
    """Return (f, gradient, start, bounds) of a convex quadratic in 12 variables."""
    rng = np.random.default_rng(["both", "upper", "mixed", "fixed"].index(kind))
    A = rng.normal(size=(12, 12))
    Q, b = A @ A.T + 0.1 * np.eye(12), 5.0 * rng.normal(size=12)
    low, high = -rng.random(12), rng.random(12)
    if kind == "upper":
        low[:] = -np.inf
    if kind == "mixed":
        high[::2], low[1::2] = np.inf, -np.inf
    if kind == "fixed":
        low[[3, 5]] = high[[3, 5]] = 0.2, 0.0
    return (lambda x: 0.5 * x @ Q @ x - b @ x), (lambda x: Q @ x - b), np.clip(np.zeros(12), low, high), (low, high)


D = np.array([1.0, 2.0, 3.0, 4.0])
FREE = (-np.inf, np.inf)
#: name -> f, gradient, start, (lower, upper)
PROBLEMS = {
    "inactive": (rosen, rosen_der, [-1.2, 1.0], ([-2, -2], [2, 2])),
    "one active": (rosen, rosen_der, [-1.2, 1.0], ([-2, -2], [0.5, 2])),
    "from a corner": (rosen, rosen_der, [3.0, 3.0], ([1.5, 2], [3, 3])),
    "half bounded": (rosen, rosen_der, [0.5] * 10, ([-1] * 5 + [-np.inf] * 5, [0.8] * 5 + [np.inf] * 5)),
    "valley": (rosen, rosen_der, [-1.0] * 10, ([-np.inf] * 10, [0.9] + [np.inf] * 9)),
    "many": (rosen, rosen_der, np.full(60, 0.3), (np.full(60, -1.0), np.where(np.arange(60) % 3, 1.0, 0.7))),
    "quadratic, both": quadratic("both"),
    "quadratic, upper": quadratic("upper"),
    "quadratic, mixed": quadratic("mixed"),
    "quadratic, fixed": quadratic("fixed"),
    "degenerate": (lambda x: 0.5 * x @ (D * x), lambda x: D * x, [1.0] * 4, ([0] * 4, [2] * 4)),
    "flat": (lambda x: ((x - 1) ** 4).sum(), lambda x: 4 * (x - 1) ** 3, [3.0, 3.0], ([1, 0], [4, 4])),
    "logarithm": (
        lambda x: x[0] - np.log(x[0]) + x[1] ** 2,
        lambda x: np.array([1 - 1 / x[0], 2 * x[1]]),
        [5.0, 1.0],
        ([1e-9, 0.1], [np.inf, np.inf]),
    ),
    "nonconvex": (
        lambda x: np.sin(3 * x[0]) + 0.1 * x[0] ** 2 + (x[1] - x[0]) ** 2,
        lambda x: np.array([3 * np.cos(3 * x[0]) + 0.2 * x[0] - 2 * (x[1] - x[0]), 2 * (x[1] - x[0])]),
        [0.3, 0.0],
        ([-0.2, -1], [2, 0.1]),
    ),
    "saddle": (lambda x: x[0] * x[1], lambda x: x[::-1].copy(), [0.5, 0.4], ([-1, -1], [1, 1])),
    "linear": (np.sum, np.ones_like, [0.5] * 3, ([0] * 3, [1] * 3)),
}


@pytest.mark.parametrize("gradient", ["exact", "differences"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_optimum_is_scipys(name, method, gradient):
    """Same value and point as L-BFGS-B with tight tolerances; no evaluation leaves the box."""
    f, grad, x0, (lower, upper) = PROBLEMS[name]
    bounds = Bounds(lower, upper)
    tight = {"gtol": 1e-9, "ftol": 1e-15, "maxiter": 5000, "maxfun": 50000}
    want = scipy.optimize.minimize(f, x0, jac=grad, bounds=bounds, method="L-BFGS-B", options=tight)

    def watched(x):
        assert (x >= bounds.lb).all()
        assert (x <= bounds.ub).all()
        return f(x)

    got = minimize(watched, x0, jac=grad if gradient == "exact" else None, bounds=bounds, method=method)
    assert got.success
    assert got.fun <= want.fun + 1e-9 * max(abs(want.fun), 1.0)
    assert np.allclose(got.x, want.x, atol=5e-3 if name == "flat" else 1e-5)
    held = (want.x == bounds.lb) | (want.x == bounds.ub)
    if name not in ("flat", "degenerate"):
        assert (got.x[held] == want.x[held]).all()


@pytest.mark.parametrize("how", ["hess", "hessp"])
def test_hessians_are_used(how):
    """An exact Hessian takes no gradients for its products; SciPy's trust-constr ends at the same point."""
    pairs = [(-2.0, 0.5), (None, 2.0)]
    extra = {"hess": rosen_hess} if how == "hess" else {"hessp": lambda x, v: rosen_hess(x) @ v}
    got = minimize(rosen, [-1.2, 1.0], jac=rosen_der, method="trust-region", bounds=pairs, **extra)
    want = scipy.optimize.minimize(
        rosen, [-1.2, 1.0], jac=rosen_der, hess=rosen_hess, method="trust-constr", bounds=pairs, options={"gtol": 1e-9}
    )
    assert np.allclose(got.x, want.x, atol=1e-4)
    assert got.njev <= got.nit + 1
    assert got.nhev > 0


@pytest.mark.parametrize("method", ["L-BFGS-B", "TNC", "l-bfgs", "trust-exact", "Newton-Cholesky", None])
def test_names(method):
    """Each method but BFGS takes bounds; without a name it is L-BFGS."""
    got = minimize(rosen, [0.0, 0.0], method=method, bounds=[(None, 0.5), (0, None)])
    assert got.success
    assert got.x == pytest.approx([0.5, 0.25], abs=1e-6)
    assert got.solver == ("trust-region" if method in ("TNC", "trust-exact", "Newton-Cholesky") else "lbfgs")
    if got.solver == "lbfgs":
        assert got.hess_inv.shape == (2, 2)
    with pytest.raises(ValueError, match="use 'l-bfgs'"):
        minimize(rosen, [0.0, 0.0], method="BFGS", bounds=[(None, 0.5), (0, None)])


def test_forms_of_bounds():
    """`Bounds` with numbers, one pair for all, None and inf; what binds nothing changes nothing."""
    forms = [Bounds(0.0, 0.5), Bounds([0.0, 0.0], [0.5, 0.5]), [(0.0, 0.5)], ((0, 0.5), [0, 0.5])]
    for bounds in forms:
        assert minimize(rosen, [0.1, 0.1], bounds=bounds).x == pytest.approx([0.5, 0.25], abs=1e-6)
    assert minimize(rosen, [0.1, 0.1], bounds=[(None, None), (-np.inf, np.inf)]).solver == "bfgs"


def test_a_start_outside_is_clipped():
    with pytest.warns(OptimizeWarning, match="not within the specified bounds: received 5 for parameter 1"):
        got = minimize(rosen, [0.0, 5.0], bounds=[(0, 0.5), (0, 1)])
    assert got.x == pytest.approx([0.5, 0.25], abs=1e-6)


def test_bad_bounds_are_told():
    with pytest.raises(ValueError, match="upper bound is less than the corresponding lower bound: received 1 and 0"):
        minimize(rosen, [0.0, 0.0], bounds=[(1, 0), (0, 1)])
    with pytest.raises(ValueError, match=r"number of bounds is not compatible.*received 3, expected 2"):
        minimize(rosen, [0.0, 0.0], bounds=[(0, 1)] * 3)
    with pytest.raises(ValueError, match="NaN"):
        minimize(rosen, [0.0, 0.0], bounds=[(np.nan, 1), (0, 1)])
    with pytest.raises(TypeError, match=r"one \(min, max\) for each"):
        minimize(rosen, [0.0, 0.0], bounds=(0, 1))


@pytest.mark.parametrize("method", METHODS)
def test_fixed_variables(method):
    """Equal bounds fix a variable; where all are fixed the function is evaluated there and nothing moves."""
    got = minimize(rosen, [0.3, 0.0, 0.0], bounds=[(0.3, 0.3), (None, None), (None, None)], method=method)
    want = scipy.optimize.minimize(lambda z: rosen(np.r_[0.3, z]), [0.0, 0.0], options={"gtol": 1e-10})
    assert got.x == pytest.approx(np.r_[0.3, want.x], abs=1e-5)
    assert got.x[0] == 0.3
    got = minimize(rosen, [1.0, 2.0], bounds=[(1, 1), (2, 2)], method=method)
    assert got.success
    assert got.message == "All independent variables were fixed by bounds."
    assert (got.x.tolist(), got.fun, got.nfev) == ([1.0, 2.0], 100.0, 1)


def test_a_stationary_point_on_the_bounds_ends_at_once():
    """The gradient points out of the box: nothing to do, although it is large."""
    got = minimize(lambda x: float(x @ x), [1.0, 1.0], jac=lambda x: 2 * x, bounds=[(1, 2)] * 2)
    assert (got.success, got.nit, got.nfev) == (True, 1, 1)
    assert (got.jac == 2.0).all()


def test_values_that_are_not_finite_are_rejected_steps():
    """A function that breaks off inside the box is approached all the same."""
    got = minimize(
        lambda x: np.inf if x[0] > 3 else (x[0] - 2.9) ** 2 + x[1] ** 2, [-5.0, 0.3], bounds=[(-9, 9), (0, 1)]
    )
    assert got.x == pytest.approx([2.9, 0.0], abs=1e-4)


def test_products_with_the_hessian_stay_inside_narrow_boxes():
    """Differences of gradients in a box narrower than their step, at a corner, and along directions out of it."""
    low, high = np.array([0.0, 0.0, 0.0]), np.array([1e-9, 1.0, 1.0])
    H = np.array([[2.0, 1.0, 0.0], [1.0, 3.0, -1.0], [0.0, -1.0, 4.0]])

    def grad(x):
        assert (x >= low).all()
        assert (x <= high).all()
        return H @ x

    objective = FunctionObjective(lambda x: 0.5 * x @ H @ x, 3, grad, lower=low, upper=high)
    curvature = objective.at(np.array([0.0, 1.0, 0.5])).curvature
    for v in ([0.0, 1.0, 1.0], [0.0, -1.0, 1.0], [1.0, 0.0, 0.0], [-1.0, 2.0, -3.0]):
        assert np.allclose(curvature.mv(np.array(v)), H @ v, atol=1e-5)
    assert (curvature.mv(np.zeros(3)) == 0.0).all()
    box = {"lower": np.zeros(3), "upper": np.array([0.0, 1.0, 1.0])}
    held = FunctionObjective(lambda x: 0.5 * x @ H @ x, 3, grad, **box).at(np.array([0.0, 0.5, 0.5])).curvature
    assert (held.mv(np.array([1.0, 0.0, 0.0])) == 0.0).all()


def test_as_a_solver():
    """The solver itself: settings are checked, a start outside is refused, infinite bounds are none."""
    objective = FunctionObjective(lambda x: float(((x - 3) ** 2).sum()), 2, lambda x: 2 * (x - 3))
    for solver in (BoundedLBFGS(upper=1.0), BoundedTrustRegion(upper=[1.0, 1.0], radius0=0.1)):
        result = solver.minimize(objective, np.zeros(2))
        assert (result.status, result.theta.tolist()) == (Status.CONVERGED, [1.0, 1.0])
        with pytest.raises(ValueError, match="start inside"):
            solver.minimize(objective, np.full(2, 2.0))
    assert BoundedLBFGS().minimize(objective, np.zeros(2)).theta == pytest.approx([3.0, 3.0])
    with pytest.raises(ValueError, match="memory"):
        BoundedLBFGS(memory=0).minimize(objective, np.zeros(2))
    assert BoundedTrustRegion(max_iter=1).minimize(objective, np.zeros(2)).status is Status.MAX_ITER
