"""Line searches: functions on a `Ray`. They return no step rather than raise where there is none to be found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..linalg import dot
from ..protocols import Array, Point, Ray

#: Differences of two values below this fraction of the value may be rounding (of a long sum, or of predictors that
#: cancel large means); slopes are compared instead. The trapezoidal rule is right to about the square root of it.
ROUNDING = 1e-10


@dataclass(frozen=True, slots=True)
class LineSearch:
    """The outcome: the accepted point with its step size t, or None.

    Attributes
    ----------
    point : Point or None
    step_size : float
        t; 0 where nothing was accepted.
    actual : float
        Decrease of the objective.
    """

    point: Point | None
    step_size: float
    actual: float


def decrease(phi0: float, slope0: float, phi1: float, slope1: float, t: float) -> float:
    """Return phi0 - phi1, from the slopes where the difference of the values is rounding.

    There the trapezoidal rule -t (slope0 + slope1) / 2 is right to third order in t. With the test
    `decrease >= -c t slope0` it is the approximate Wolfe condition of Hager and Zhang (2005), equation 4.1:
    slope1 <= (2c - 1) slope0.

    Parameters
    ----------
    phi0, phi1 : float
        Values at both ends of the step.
    slope0, slope1 : float
        Slopes there, per unit of t.
    t : float
        Step size.

    Returns
    -------
    float
        The decrease; -inf where phi1 or slope1 is not finite.
    """
    if not (math.isfinite(phi1) and math.isfinite(slope1)):
        return -math.inf
    change = phi0 - phi1
    if abs(change) <= ROUNDING * abs(phi0):
        return -0.5 * t * (slope0 + slope1)
    return change


#: Share of the slope that a full step leaves, above which a longer one is tried, and how many times as long at most.
REMAINING, LONGEST = 0.07, 3.0


def backtrack(
    ray: Ray, start: Point, d: Array, slope: float, *, c1: float = 1e-4, max_trials: int = 40, stretch: bool = False
) -> LineSearch:
    """Return the first of the trial points that satisfies Armijo's condition.

    f(theta + t d) <= f(theta) + c1 t slope, tried at t = 1 (a full evaluation), then at safeguarded minimisers of
    the cubic through values and slopes, shrinking t by a factor in [0.1, 0.5] each time.

    Parameters
    ----------
    ray : Ray
        From `start` along `d`.
    start : Point
    d : Array of shape (p,)
        Descent direction.
    slope : float
        grad'd at the start, < 0.
    c1 : float, default=1e-4
        Fraction of the linear decrease asked for, in (0, 1/2).
    max_trials : int, default=40
    stretch : bool, default=False
        Where the full step is accepted and leaves more than a few hundredths of the slope, try the minimiser of the
        cubic beyond it, up to three times as long: one trial more, and two passes where it is refused
        and points share their rows, for solvers whose steps cost far more than that.

    Returns
    -------
    LineSearch

    References
    ----------
    Nocedal and Wright (2006), algorithm 3.1 and section 3.5.
    """
    phi0 = start.value
    trial = ray.point(1.0)
    t, phi, dphi = 1.0, trial.value, dot(trial.grad, d)
    for _ in range(max_trials):
        if _shrunk_to_rounding(phi0, slope, t, 1.0):
            break
        actual = decrease(phi0, slope, phi, dphi, t)
        if actual >= -c1 * t * slope:
            if t < 1.0:
                return LineSearch(ray.point(t), t, actual)
            if stretch and dphi < REMAINING * slope and actual > ROUNDING * abs(phi0):
                return _stretched(ray, LineSearch(trial, t, actual), _cubic(0.0, phi0, slope, t, phi, dphi, t, LONGEST))
            return LineSearch(trial, t, actual)
        t = _cubic(0.0, phi0, slope, t, phi, dphi, 0.1 * t, 0.5 * t)
        phi, dphi = ray(t)
    return LineSearch(None, 0.0, 0.0)


def _stretched(ray: Ray, full: LineSearch, t: float) -> LineSearch:
    """Return the longer step of size t where it is better than the full one."""
    if t > full.step_size and full.point is not None:
        further = full.point.value - ray(t)[0]
        if further > 0.0:
            return LineSearch(ray.point(t), t, full.actual + further)
    return full


def backtrack_composite(start: Any, u: Any, linear: float, *, c1: float = 1e-4, max_trials: int = 40) -> LineSearch:
    """Return the first of the trial points between a composite point and u that satisfies Armijo's condition.

    F(theta + t d) <= F(theta) + c1 t linear with d = u - theta, tried at t = 1 (a full evaluation), then at minimisers
    of the parabola through both values and the first slope, shrinking t by a factor in [0.1, 0.5] each time.

    Parameters
    ----------
    start : CompositePoint
    u : Array of shape (p,)
        Minimiser of the model, exactly where the trial at t = 1 ends.
    linear : float
        g'd + h(u) - h(theta), < 0.
    c1 : float, default=1e-4
        In (0, 1/2).
    max_trials : int, default=40

    Returns
    -------
    LineSearch

    References
    ----------
    Tseng and Yun (2009). A coordinate gradient descent method for nonsmooth separable minimization. Math. Program.
    117, equation 9. Where the decrease is rounding, the smooth part's is read off its slopes as in `decrease`.
    """
    theta, penalty, smooth = start.theta, start.penalty, start.smooth
    d = u - theta
    slope = dot(smooth.grad, d)
    trial = start.objective.at(u)
    ray: Any = None
    t, phi, dphi = 1.0, trial.smooth.value, dot(trial.smooth.grad, d)
    for _ in range(max_trials):
        if _shrunk_to_rounding(start.value, linear, t, 1.0):
            break
        bend = penalty.change(theta, t * d)
        actual = smooth.value - phi - bend
        if not math.isfinite(phi) or not math.isfinite(dphi):
            actual = -math.inf
        elif abs(actual) <= ROUNDING * abs(start.value):
            actual = -0.5 * t * (slope + dphi) - bend
        if actual >= -c1 * t * linear:
            return LineSearch(trial if t == 1.0 else ray.point(t), t, actual)
        bottom = -t * linear - actual  # F(t) - F(0) - t F'(0), at least
        best = -0.5 * t * t * linear / bottom if bottom > 0.0 and math.isfinite(bottom) else 0.1 * t
        t = min(max(best, 0.1 * t), 0.5 * t)
        ray = start.along(d) if ray is None else ray
        phi, dphi = ray.smooth(t)
    return LineSearch(None, 0.0, 0.0)


def strong_wolfe(
    ray: Ray,
    start: Point,
    d: Array,
    slope: float,
    *,
    t0: float = 1.0,
    c1: float = 1e-4,
    c2: float = 0.9,
    max_trials: int = 40,
) -> LineSearch:
    """Return a point that satisfies the strong Wolfe conditions.

    f(theta + t d) <= f(theta) + c1 t slope and |slope(t)| <= c2 |slope|. A first bracketing phase doubles t (at
    least) until a minimiser lies inside, a second one shrinks the bracket by safeguarded cubic interpolation.
    Where the trials run out, the best one that satisfies the first condition is returned.

    Parameters
    ----------
    ray : Ray
    start : Point
    d : Array of shape (p,)
        Descent direction.
    slope : float
        grad'd at the start, < 0.
    t0 : float, default=1
        First trial, evaluated as a full point.
    c1, c2 : float
        0 < c1 < c2 < 1.
    max_trials : int, default=40

    Returns
    -------
    LineSearch

    References
    ----------
    Nocedal and Wright (2006), algorithms 3.5 and 3.6.
    """
    phi0 = start.value
    first = ray.point(t0)
    t, phi, dphi = t0, first.value, dot(first.grad, d)
    low, phi_low, slope_low = 0.0, phi0, slope  # the best trial so far that satisfies Armijo
    high, phi_high, slope_high = math.inf, math.nan, math.nan
    for _ in range(max_trials):
        if low == 0.0 and _shrunk_to_rounding(phi0, slope, t, t0):
            break
        actual = decrease(phi0, slope, phi, dphi, t)
        better = actual >= -c1 * t * slope and decrease(phi_low, slope_low, phi, dphi, t - low) >= 0.0
        if better and abs(dphi) <= -c2 * slope:
            return LineSearch(first if t == t0 else ray.point(t), t, actual)
        if not better:
            high, phi_high, slope_high = t, phi, dphi
        else:
            if dphi * (high - low if math.isfinite(high) else 1.0) >= 0.0:
                high, phi_high, slope_high = low, phi_low, slope_low
            low, phi_low, slope_low = t, phi, dphi
        if math.isfinite(high):
            width = high - low
            if width == 0.0:  # the bracket has shrunk to one number: slopes and values contradict each other
                break
            edges = sorted((low + 0.1 * width, high - 0.1 * width))
            t = _cubic(low, phi_low, slope_low, high, phi_high, slope_high, *edges)
        else:
            t = 4.0 * t
        phi, dphi = ray(t)
    if low > 0.0:
        return LineSearch(ray.point(low), low, decrease(phi0, slope, phi_low, slope_low, low))
    return LineSearch(None, 0.0, 0.0)


def _shrunk_to_rounding(phi0: float, slope: float, t: float, t0: float) -> bool:
    """Return whether the decrease to be had at t is rounding, while that at the first trial t0 was not.

    Then the values have contradicted the slope all the way down: the gradient is wrong, and comparing slopes would
    only repeat its error.
    """
    return -t * slope <= ROUNDING * abs(phi0) < -t0 * slope


def _cubic(a: float, fa: float, ga: float, b: float, fb: float, gb: float, low: float, high: float) -> float:
    """Return the minimiser of the cubic through (a, fa, ga) and (b, fb, gb), kept within [low, high].

    Nocedal and Wright (2006), equation 3.59; the middle of [low, high] where the data are not finite or the cubic
    has no minimiser.
    """
    middle = 0.5 * (low + high)
    if not all(map(math.isfinite, (fb, gb))):
        return low if low > 0.0 else middle
    d1 = ga + gb - 3.0 * (fa - fb) / (a - b)
    square = d1 * d1 - ga * gb
    if not square >= 0.0 or math.isinf(square):
        return middle
    d2 = math.copysign(math.sqrt(square), b - a)
    bottom = gb - ga + 2.0 * d2
    t = b - (b - a) * (gb + d2 - d1) / bottom if bottom else middle
    return min(max(t, low), high) if math.isfinite(t) else middle
