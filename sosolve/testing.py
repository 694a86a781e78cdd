"""Conformance checks for plug-ins: run them on your own loss, model or solver; they raise AssertionError with reasons.

Examples
--------
>>> from sosolve.objectives import LogisticLoss
>>> from sosolve.solvers import NewtonCG
>>> from sosolve.testing import check_loss, check_solver
>>> check_loss(LogisticLoss(), y=[0.0, 1.0, 1.0, 0.0])
>>> check_solver(NewtonCG())
"""

from __future__ import annotations

import numpy as np

from .history import Status
from .objectives import L2, DataTerm, LinearModel, LogisticLoss, Loss, SquaredLoss, Sum
from .solvers import Solver


def check_loss(loss: Loss, y, *, z=None, extreme: float | None = 1e4, rtol: float = 1e-5) -> None:
    """Check that a loss keeps its contract.

    Value, gradient and curvature agree with central differences; the curvature is positive semidefinite; weights
    enter all three linearly, a zero weight like a removed row; splitting the rows changes nothing; inputs are not
    written to; extreme predictors give finite numbers.

    Parameters
    ----------
    loss : Loss
    y : array-like of shape (n,)
        Valid targets, n >= 2.
    z : array-like of shape (n,) or (n, K), optional
        Predictors at which to check; standard normal numbers where None.
    extreme : float or None, default=1e4
        Largest |z| that must give finite results; None to leave that out (a loss whose true value overflows).
    rtol : float, default=1e-5
        Relative tolerance of the comparison with differences.

    Raises
    ------
    AssertionError
        With what was found, what was expected and what to look at.
    """
    _expect(isinstance(loss, Loss), f"{loss!r}", "an instance of a class derived from Loss", "the argument")
    y = np.array(y, dtype=np.float64)
    n, K = len(y), loss.n_outputs
    rng = np.random.default_rng(0)
    z = rng.standard_normal((n,) if K == 1 else (n, K)) if z is None else np.array(z, dtype=np.float64)
    w = rng.uniform(0.5, 2.0, n)
    for array in (y, z, w):
        array.flags.writeable = False
    value, r, curv = loss.rows(y, z, w)
    _expect(np.ndim(value) == 0, f"rows returned a value of shape {np.shape(value)}", "a float", "sum over the rows")
    _expect(np.shape(r) == z.shape, f"gradient rows of shape {np.shape(r)}", f"{z.shape}", "one row for each of z")
    u = rng.standard_normal(z.shape)
    step = 1e-5
    up, down = loss.rows(y, z + step * u, w), loss.rows(y, z - step * u, w)
    _close(np.sum(r * u), (up[0] - down[0]) / (2 * step), rtol, "the gradient along a direction", "rows' second result")
    Hu = loss.curv_mv(curv, u, w)
    if loss.exact:
        _close(Hu, (up[1] - down[1]) / (2 * step), 10 * rtol, "the curvature times a direction", "rows' third result")
    _expect(np.sum(u * Hu) >= 0.0, f"curvature {np.sum(u * Hu):g} along a direction", ">= 0", "convexity of the loss")
    _check_weights(loss, y, z, w, value)
    if extreme is not None:
        for sign in (-1.0, 1.0):
            value, r, curv = loss.rows(y, np.full(z.shape, sign * extreme), w)
            finite = np.isfinite(value) and np.isfinite(r).all() and np.isfinite(curv).all()
            _expect(finite, f"numbers that are not finite at z = {sign * extreme:g}", "finite ones", "stable formulas")


def _check_weights(loss: Loss, y, z, w, value: float) -> None:
    """Check linearity in the weights and additivity over rows."""
    doubled = loss.rows(y, z, 2.0 * w)[0]
    _close(doubled, 2.0 * value, 1e-12, "the value with doubled weights", "w, multiplied into every result")
    half = len(y) // 2
    parts = loss.rows(y[:half], z[:half], w[:half])[0] + loss.rows(y[half:], z[half:], w[half:])[0]
    _close(parts, value, 1e-12, "the sum over two halves of the rows", "terms that mix rows")
    masked = w.copy()
    masked[0] = 0.0
    without = loss.rows(y[1:], z[1:], w[1:])[0]
    _close(loss.rows(y, z, masked)[0], without, 1e-12, "the value with a weight of zero", "w in each term")


def check_model(model, theta, *, rtol: float = 1e-6) -> None:
    """Check that a model's products agree: J v with differences of z, J' r with J v, the Gram matrix with both.

    Parameters
    ----------
    model : object
        With `size` and `at(theta)` giving `z()`, `jvp(v)`, `vjp(r)`, `gram(blocks)` and `diagonal(rows)`.
    theta : array-like of shape (p,)
    rtol : float, default=1e-6

    Raises
    ------
    AssertionError
        With what was found, what was expected and what to look at.
    """
    theta = np.array(theta, dtype=np.float64)
    rng = np.random.default_rng(0)
    v, at = rng.standard_normal(theta.shape), model.at(theta)
    step = 1e-6 * max(1.0, float(np.abs(theta).max(initial=0.0)))
    Jv = at.jvp(v)
    differences = (model.at(theta + step * v).z() - model.at(theta - step * v).z()) / (2 * step)
    _close(Jv, differences, rtol, "jvp(v)", "the derivative of z")
    r = rng.standard_normal(Jv.shape)
    _close(np.sum(at.vjp(r) * v), np.sum(r * Jv), 1e-9, "vjp(r) . v", "that vjp is the transpose of jvp")
    if Jv.ndim == 1:
        h = rng.uniform(0.1, 1.0, Jv.shape)
        H = at.gram([(0, 0, h)])
        _close(H @ v, at.vjp(h * Jv), 1e-9, "gram times v", "gram, which is J' diag(h) J")
        _close(at.diagonal(h), np.diagonal(H), 1e-9, "diagonal", "the diagonal of gram")


def check_solver(solver: Solver, *, rtol: float = 1e-6) -> None:
    """Check that a solver keeps its contract on two small convex problems.

    It reaches the minimum to the relative gap `rtol`, never raises the value, ends with CONVERGED, starts at the
    optimum without leaving it, keeps `max_iter`, counts what it does and keeps no state between two runs.

    Parameters
    ----------
    solver : Solver
    rtol : float, default=1e-6
        Relative gap to the minimum that must be reached within 10 000 iterations.

    Raises
    ------
    AssertionError
        With what was found, what was expected and what to look at.
    """
    _expect(isinstance(solver, Solver), f"{solver!r}", "an instance of a class derived from Solver", "the argument")
    limit = solver.max_iter
    try:
        for name, make in (("ridge regression", _ridge), ("logistic regression", _logistic)):
            objective, best = make()
            solver.max_iter = 10_000
            result = solver.minimize(objective, np.zeros(objective.size))
            _expect(
                result.status is Status.CONVERGED, f"{result.status.name} on {name}", "CONVERGED", "the stopping tests"
            )
            gap = (result.value - best) / abs(best)
            _expect(gap <= rtol, f"a relative gap of {gap:.1e} on {name}", f"<= {rtol:g}", "step or tolerance")
            values = np.array(result.history.column("value"))
            risen = np.diff(values) > 1e-12 * np.abs(values[1:])
            _expect(not risen.any(), f"a value that rises on {name}", "one that falls", "the acceptance test")
            _expect(result.counts.n_grad >= 1, "no gradient counted", "at least one", "points made by objective.at")
            again = solver.minimize(objective, np.zeros(objective.size))
            _expect(
                bool(np.all(again.theta == result.theta)), "another result the second time", "the same", "state on self"
            )
            rest = solver.minimize(objective, result.theta)
            _expect(rest.value <= result.value, "a higher value when started at the optimum", "no step up", "step()")
            solver.max_iter = 2
            short = solver.minimize(objective, np.zeros(objective.size))
            _expect(short.n_iter <= 2, f"{short.n_iter} iterations with max_iter=2", "at most 2", "loops inside step()")
    finally:
        solver.max_iter = limit


def _ridge() -> tuple[Sum, float]:
    """Return a least-squares problem of condition number about 30 and its minimum from the normal equations."""
    rng = np.random.default_rng(1)
    X, s = rng.standard_normal((60, 5)) * np.array([1.0, 2.0, 0.5, 1.5, 1.0]), np.array([1.0 / 60.0])
    y = X @ np.arange(5.0) + rng.standard_normal(60)
    model = LinearModel(X, fit_intercept=False)
    objective = Sum([DataTerm(model, SquaredLoss(), y, s), L2(np.full(5, 0.01))])
    theta = np.linalg.solve(X.T @ X / 60.0 + 0.01 * np.eye(5), X.T @ y / 60.0)
    return objective, objective.at(theta).value


def _logistic() -> tuple[Sum, float]:
    """Return a logistic problem and its minimum by 50 plain Newton steps."""
    rng = np.random.default_rng(2)
    X, s = rng.standard_normal((80, 4)), np.array([1.0 / 80.0])
    y = (X @ np.array([1.0, -1.0, 0.5, 0.0]) + rng.standard_normal(80) > 0.0).astype(float)
    model = LinearModel(X)
    objective = Sum([DataTerm(model, LogisticLoss(), y, s), L2(model.strengths(0.05))])
    theta = np.zeros(model.size)
    for _ in range(50):
        point = objective.at(theta)
        theta = theta - np.linalg.solve(point.curvature.dense(), point.grad)
    return objective, objective.at(theta).value


def _expect(condition: bool, found: str, expected: str, look_at: str) -> None:
    """Raise AssertionError in three parts unless the condition holds."""
    if not condition:
        raise AssertionError(f"found {found}; expected {expected}: look at {look_at}")


def _close(found, expected, rtol: float, what: str, look_at: str) -> None:
    """Raise AssertionError unless two arrays agree relative to the largest entry."""
    found, expected = np.asarray(found), np.asarray(expected)
    scale = max(float(np.abs(expected).max(initial=0.0)), 1e-12)
    error = float(np.abs(found - expected).max(initial=0.0)) / scale
    _expect(error <= rtol, f"{what} off by {error:.1e} (relative)", f"at most {rtol:g}", look_at)
