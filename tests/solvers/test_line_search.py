"""Line searches on rays of known functions."""

import math

import numpy as np
import pytest

from sosolve.protocols import Counts, PointwiseRay
from sosolve.solvers.line_search import backtrack, decrease, strong_wolfe


class Function:
    """An objective of one parameter from f and f'."""

    size = 1

    def __init__(self, f, df):
        self.f, self.df, self.counts, self.calls = f, df, Counts(), 0

    def at(self, theta):
        return FunctionPoint(self, theta)


class FunctionPoint:
    """A point of `Function`."""

    curvature = None

    def __init__(self, objective, theta):
        objective.calls += 1
        self.objective, self.theta = objective, theta
        self.value, self.grad = objective.f(float(theta[0])), np.array([objective.df(float(theta[0]))])

    def along(self, d):
        return PointwiseRay(self.objective, self, d)


def start(f, df, x0, d):
    """Return (ray, point, direction, slope)."""
    point = Function(f, df).at(np.array([x0]))
    d = np.array([d])
    return point.along(d), point, d, float(point.grad @ d)


PARABOLA = (lambda x: (x - 1) ** 2, lambda x: 2 * (x - 1))


def test_backtrack_takes_the_full_step_with_one_evaluation():
    """t = 1 is tried first and costs one evaluation."""
    ray, point, d, slope = start(*PARABOLA, 0.0, 1.0)
    found = backtrack(ray, point, d, slope)
    assert (found.step_size, found.actual) == (1.0, 1.0)
    assert point.objective.calls == 2


LOGISTIC = (lambda x: math.log1p(math.exp(-x)) + 0.05 * x, lambda x: 0.05 - 1.0 / (1.0 + math.exp(x)))


def test_backtrack_stretches_a_step_that_leaves_much_of_the_slope():
    """The minimiser of the cubic beyond t = 1 costs one evaluation, and is taken where it is lower."""
    ray, point, d, slope = start(*LOGISTIC, 0.0, 1.8)
    short = backtrack(ray, point, d, slope)
    assert (short.step_size, point.objective.calls) == (1.0, 2)
    found = backtrack(point.along(d), point, d, slope, stretch=True)
    assert 1.0 < found.step_size <= 3.0
    assert found.point.value < short.point.value
    assert found.actual == pytest.approx(point.value - found.point.value)
    assert abs(float(found.point.grad @ d)) < 0.2 * abs(slope)
    assert point.objective.calls == 4


def test_backtrack_stretches_neither_a_good_step_nor_into_a_worse_one():
    """A full step to the minimiser is left alone; a longer one that is higher is not taken."""
    ray, point, d, slope = start(*PARABOLA, 0.0, 1.0)
    assert backtrack(ray, point, d, slope, stretch=True).step_size == 1.0
    assert point.objective.calls == 2
    wall = (lambda x: LOGISTIC[0](x) + (10.0 if x > 1.9 else 0.0), LOGISTIC[1])
    ray, point, d, slope = start(*wall, 0.0, 1.8)
    found = backtrack(ray, point, d, slope, stretch=True)
    assert (found.step_size, point.objective.calls) == (1.0, 3)


@pytest.mark.parametrize("length", [10.0, 1e3, 1e8])
def test_backtrack_shrinks_a_step_that_is_too_long(length):
    """Armijo's condition holds at the accepted point."""
    ray, point, d, slope = start(*PARABOLA, 0.0, length)
    found = backtrack(ray, point, d, slope)
    assert 0 < found.step_size < 1
    assert found.point.value <= point.value + 1e-4 * found.step_size * slope


def test_backtrack_leaves_a_region_that_is_not_finite():
    """A trial of inf or NaN is a rejected trial."""

    def f(x):
        return math.log(x) + 1 / x if x > 0 else math.nan

    ray, point, d, slope = start(f, lambda x: 1 / x - 1 / x**2 if x > 0 else math.nan, 3.0, -50.0)
    found = backtrack(ray, point, d, slope)
    assert found.point.value < point.value


def test_backtrack_gives_up_on_a_wrong_gradient():
    """A slope that lies has no acceptable step: None, not an exception."""
    ray, point, d, _ = start(lambda x: x**2, lambda x: -1.0, 0.0, 1.0)
    assert backtrack(ray, point, d, -1.0).point is None


@pytest.mark.parametrize("t0", [1e-3, 0.1, 1.0, 10.0, 1e3])
@pytest.mark.parametrize(
    ("f", "df"),
    [
        PARABOLA,
        (lambda x: -x / (x * x + 2), lambda x: (x * x - 2) / (x * x + 2) ** 2),  # Moré and Thuente (1994), 5.1
        (lambda x: (x + 0.004) ** 5 - 2 * (x + 0.004) ** 4, lambda x: (x + 0.004) ** 3 * (5 * (x + 0.004) - 8)),
        (lambda x: math.exp(min(x, 700.0)) - 3 * x, lambda x: math.exp(min(x, 700.0)) - 3),
    ],
)
def test_strong_wolfe(f, df, t0):
    """Both conditions hold for starts too short and too long."""
    ray, point, d, slope = start(f, df, 0.0, 1.0)
    found = strong_wolfe(ray, point, d, slope, t0=t0, c2=0.1)
    t = found.step_size
    assert f(t) <= f(0) + 1e-4 * t * slope
    assert abs(df(t)) <= 0.1 * abs(slope)
    assert float(found.point.theta[0]) == pytest.approx(t)


def test_strong_wolfe_returns_the_best_when_trials_run_out():
    """An unbounded descent has no Wolfe point; the longest acceptable step comes back."""
    ray, point, d, slope = start(lambda x: -x, lambda x: -1.0, 0.0, 1.0)
    found = strong_wolfe(ray, point, d, slope, max_trials=5)
    assert found.point.value < point.value - 100


def test_strong_wolfe_ends_where_the_bracket_is_one_number():
    """Slopes of random sign shrink the bracket to nothing; the best trial comes back."""
    signs = np.random.default_rng(0)
    ray, point, d, _ = start(lambda x: -min(x, 0.3), lambda x: float(signs.choice([-1, 1])), 0.0, 1.0)
    found = strong_wolfe(ray, point, d, -1.0, max_trials=400)
    assert found.point.value < point.value


def test_strong_wolfe_gives_up_on_a_wrong_gradient():
    """None where even the first condition cannot be met."""
    ray, point, d, _ = start(lambda x: x**2, lambda x: -1.0, 0.0, 1.0)
    assert strong_wolfe(ray, point, d, -1.0).point is None


def test_decrease_compares_slopes_below_the_rounding_level():
    """Where the values agree to rounding the trapezoidal rule decides, with the right sign."""
    big = 1e6
    f, df = (lambda x: big + x * x), (lambda x: 2 * x)
    step = 1e-7
    assert f(step) == f(0.5 * step)
    found = decrease(f(step), -df(step), f(0.0), 0.0, step)
    assert found == pytest.approx(step * step, rel=1e-9)
    assert decrease(f(0.0), 0.0, f(step), df(step), step) < 0
    assert decrease(1.0, -1.0, math.nan, 0.0, 1.0) == -math.inf
    assert decrease(1.0, -1.0, math.inf, 0.0, 1.0) == -math.inf


def test_searches_accept_progress_at_the_rounding_level():
    """Close to the minimum of a large function both searches still move by the slopes."""
    f, df = (lambda x: 1e8 + (x - 1) ** 2), (lambda x: 2 * (x - 1))
    for search in (backtrack, strong_wolfe):
        ray, point, d, slope = start(f, df, 1 + 1e-6, -1e-6)
        found = search(ray, point, d, slope)
        assert abs(float(found.point.theta[0]) - 1) < 1e-12
