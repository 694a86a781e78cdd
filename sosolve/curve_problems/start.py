"""Starting values where p0 is None: from the library's guesses, from a grid with the linear part solved, by trying.

Everything is deterministic: a fit of the same data starts from the same point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..solvers import LevenbergMarquardt
from .model import CallableModel
from .problem import CurveProblem
from .pursuit import MAX_CANDIDATES, Pursuit

#: Rows that a search looks at, candidates it tries, and how many of the best it polishes for how many iterations.
MAX_ROWS, MAX_TRIALS, POLISHED, POLISH_ITERATIONS = 200, 2500, 6, 25
#: Rounds of changing one parameter after the other.
ROUNDS = 2
#: Candidates for a function of the user's, which may be slow.
CALLABLE_TRIALS = 300
#: Most oscillations over the range of x that are looked for.
MAX_PERIODS = 250


def find_start(problem: CurveProblem, known: np.ndarray) -> np.ndarray:
    """Return starting values for all parameters, within the bounds.

    Parameters
    ----------
    problem : CurveProblem
    known : ndarray of shape (p,)
        Values given; NaN for those to find.

    Returns
    -------
    ndarray of shape (p,)
        The known values as they are.

    Raises
    ------
    ValueError
        If the model is finite at none of the candidates.
    """
    if not np.isnan(known).any():
        return known
    small = replace(_thinned(problem), loss="linear")
    ends, is_robust = _ends(small, known), problem.loss != "linear"
    if is_robust:  # a wild point must not choose the start
        ends += _ends(replace(small, y=_without_ends(small.y)), known)
    theta = _best(small, ends, is_robust)
    if theta is None:
        raise ValueError(
            f"received p0=None and found no starting values at which the model {problem.model.text} is finite in all "
            f"{len(problem.y)} rows, among values from 1e-3 to 1e3 and those of the data's scale; expected such "
            "values: pass p0, a number for each parameter, and bounds that keep the model defined; leave out rows "
            "in which it never is, as x = 0 under a logarithm"
        )
    return _clipped(problem, np.where(np.isnan(known), theta, known))


def _ends(problem: CurveProblem, known: np.ndarray) -> list[np.ndarray]:
    """Return where the best candidates lead."""
    candidates = [theta for theta in _guesses(problem, known) if np.isfinite(theta).all()]
    if not candidates or isinstance(problem.model, CallableModel) or not _is_good(problem, candidates):
        candidates += _pursued(problem, known) or _searched(problem, known)
    return _polished(problem, candidates)


def _without_ends(y: np.ndarray) -> np.ndarray:
    """Return y clipped to its quartiles -+ 5 times their distance."""
    low, high = np.quantile(y, [0.25, 0.75])
    reach = 5.0 * (high - low)
    return np.clip(y, low - reach, high + reach) if reach > 0.0 else y


def _thinned(problem: CurveProblem) -> CurveProblem:
    """Return the problem on at most MAX_ROWS rows, evenly spread over the order of the first column."""
    n = len(problem.y)
    if n <= MAX_ROWS:
        return problem
    order = np.argsort(problem.X[:, 0], kind="stable")
    at = order[np.linspace(0, n - 1, MAX_ROWS).round().astype(int)]
    parts = {name: None if (a := getattr(problem, name)) is None else a[at] for name in ("precision", "frequency")}
    return replace(problem, X=problem.X[at], y=problem.y[at], **parts)


def _clipped(problem: CurveProblem, theta: np.ndarray) -> np.ndarray:
    """Return theta within the bounds, a thousandth of the interval off a bound that it would sit on."""
    span = problem.upper - problem.lower
    inset = np.where(np.isfinite(span), 1e-3 * span, 1e-3 * np.maximum(np.abs(theta), 1e-3))
    low = np.where(np.isfinite(problem.lower), problem.lower + inset, problem.lower)
    high = np.where(np.isfinite(problem.upper), problem.upper - inset, problem.upper)
    return np.where(problem.free, np.clip(theta, low, high), theta)


def _guesses(problem: CurveProblem, known: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the model's own guess, with the known values in their places."""
    form = getattr(problem.model, "form", None)
    if form is not None:
        theta = form.guess(problem.model.select(problem.X), problem.y)  # type: ignore[union-attr]
        yield _clipped(problem, np.where(np.isnan(known), theta, known))


def _is_good(problem: CurveProblem, candidates: list[np.ndarray]) -> bool:
    """Return whether a guess explains half of the variance: then no search is needed."""
    level = problem.y - np.average(problem.y, weights=(problem.root / problem.root.max()) ** 2)
    total = float(np.sum((problem.root * level) ** 2))
    return min(_sum_of_squares(problem, theta) for theta in candidates) <= 0.5 * total


def _sum_of_squares(problem: CurveProblem, theta: np.ndarray) -> float:
    with np.errstate(all="ignore"):
        r = problem.residual(problem.pack(theta))
        value = float(np.real(r @ r))
    return value if np.isfinite(value) else np.inf


def _searched(problem: CurveProblem, known: np.ndarray) -> list[np.ndarray]:
    """Return the best of many candidates for the parameters that are neither known nor solved for."""
    search = np.isnan(known) & problem.free & ~problem.linear()
    base = np.where(np.isnan(known), 1.0, known)
    fill = _solver_of_linear_part(problem, base)
    axes = [_axis(problem, j) for j in np.flatnonzero(search)]
    limit = CALLABLE_TRIALS if isinstance(problem.model, CallableModel) else MAX_TRIALS

    def score(values: np.ndarray) -> tuple[float, np.ndarray]:
        theta = base.copy()
        theta[search] = values
        return fill(_clipped(problem, theta))

    trials = [(*score(values), values) for values in _combinations(axes, limit)]
    trials.sort(key=lambda trial: trial[0])
    trials = [_descended(score, trial, axes) for trial in trials[:POLISHED]]
    return [fill(theta, complete=True)[1] for value, theta, _ in trials if value < np.inf]


def _pursued(problem: CurveProblem, known: np.ndarray) -> list[np.ndarray]:
    """Return starts for a sum of terms, found one term after the other; none where the model is no such sum."""
    if not problem.splits():
        return []
    search = np.isnan(known) & problem.free & ~problem.linear()
    base = np.where(np.isnan(known), 1.0, known)

    def candidates(wanted: Sequence[int]) -> np.ndarray:
        if len(wanted) == 1:
            values = np.concatenate([_axis(problem, wanted[0]), _frequencies(problem)])
            values = values[(values >= problem.lower[wanted[0]]) & (values <= problem.upper[wanted[0]])]
            return np.unique(values)[:, None]
        return _combinations([_axis(problem, j, lean=True) for j in wanted], MAX_CANDIDATES)

    return Pursuit(problem, base, search, candidates).starts()


def _frequencies(problem: CurveProblem) -> np.ndarray:
    """Return frequencies, angular frequencies and periods of up to n / 2 oscillations over the range of x.

    Four to an oscillation over the range, so that the best lies within an eighth of a cycle at both ends.
    """
    span = float(np.ptp(problem.X[:, 0])) or 1.0
    frequencies = np.arange(1, 4 * min(MAX_PERIODS, max(1, len(problem.y) // 2)) + 1) / (4.0 * span)
    return np.concatenate([frequencies, 2.0 * np.pi * frequencies, 1.0 / frequencies, 0.5 / np.pi / frequencies])


def _descended(score: Callable, trial: tuple, axes: list[np.ndarray]) -> tuple:
    """Return the best trial from changing one parameter after the other along its axis, as often as that helps."""
    if len(axes) < 3 or not trial[0] < np.inf:
        return trial
    for k, axis in [*enumerate(axes)] * ROUNDS:
        for value in axis[:: max(1, len(axis) // 24)]:
            values = trial[2].copy()
            values[k] = value
            found = score(values)
            if found[0] < trial[0]:
                trial = (*found, values)
    return trial


def _solver_of_linear_part(problem: CurveProblem, base: np.ndarray) -> Callable:
    """Return theta -> (sum of squares with the best linear parameters within their bounds, theta).

    With `complete`, or with bounds on linear parameters, the theta returned has these parameters in it.
    """
    if not problem.linear().any():
        return lambda theta, complete=False: (_sum_of_squares(problem, theta), theta)
    projected = replace(problem, base=base).projected()
    bounded = not problem.splits()

    def fill(theta: np.ndarray, complete: bool = False) -> tuple[float, np.ndarray]:
        alpha = projected.start(theta)
        if complete or bounded:
            theta = _clipped(problem, projected.full(alpha))
        if bounded:
            return (_sum_of_squares(problem, theta) if np.isfinite(theta).all() else np.inf), theta
        return 2.0 * projected.objective.at(alpha).value, theta

    return fill


def _axis(problem: CurveProblem, j: int, *, lean: bool = False) -> np.ndarray:
    """Return values to try for one parameter: rates, places and widths of the data, and pure numbers.

    Rates 0.05 to 500 over the range of x with both signs, quantiles of x, widths of 1 to 100 % of the range, and
    0.1 to 10 with both signs, for each column; between finite bounds evenly spread values instead. `lean` takes fewer
    of them, for pairs.
    """
    low, high = problem.lower[j], problem.upper[j]
    if np.isfinite(low) and np.isfinite(high):
        inside = low + (high - low) * np.linspace(0.02, 0.98, 21)
        return np.concatenate([inside, np.geomspace(low, high, 11)]) if low > 0.0 else inside
    pure = np.array([0.1, 0.3, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0])
    pure = pure[1::3] if lean else pure
    parts = [pure, -pure]
    for x in problem.X.T[:3]:
        span = float(np.ptp(x)) or float(abs(x[0])) or 1.0
        rates = np.geomspace(0.05, 500.0, 9 if lean else 20) / span
        places = np.quantile(x, np.linspace(0.03, 0.97, 17 if lean else 11))
        parts += [rates, -rates, places, span * np.geomspace(0.01, 1.0, 7)]
    top = float(np.abs(problem.y).max(initial=0.0))
    if isinstance(problem.model, CallableModel) or not problem.linear().any():
        parts += [np.quantile(problem.y, [0.02, 0.5, 0.98]), np.array([top, -top])]
    values = np.unique(np.concatenate(parts))
    return values[(values >= low) & (values <= high)] if ((values >= low) & (values <= high)).any() else values


def _combinations(axes: list[np.ndarray], limit: int) -> np.ndarray:
    """Return the grid over some axes, or a fixed sample of it, shape (k, number of axes), k <= limit + 1."""
    ones = np.ones((1, len(axes)))
    if not axes:
        return ones
    if np.prod([float(len(axis)) for axis in axes]) <= limit:
        grid = np.stack([a.ravel() for a in np.meshgrid(*axes, indexing="ij")], axis=1)
    else:
        rng = np.random.default_rng(20240229)
        grid = np.stack([rng.choice(axis, size=limit) for axis in axes], axis=1)
    return np.concatenate([ones, grid])


def _polished(problem: CurveProblem, candidates: list[np.ndarray]) -> list[np.ndarray]:
    """Return the candidates after a few steps each."""
    lower, upper = problem.box()
    few = {"max_iter": POLISH_ITERATIONS, "second_try": False}
    results = []
    for theta in candidates:
        if problem.splits():
            projected = replace(problem, base=theta).projected()
            side = [None if b is None else b[projected.nonlinear[problem.free]] for b in (lower, upper)]
            solver = LevenbergMarquardt(lower=side[0], upper=side[1], **few)
            end = projected.full(solver.minimize(projected.objective, projected.start(theta)).theta)
        else:
            solver = LevenbergMarquardt(lower=lower, upper=upper, **few)
            end = problem.full(solver.minimize(problem.objective(), problem.pack(theta)).theta)
        results.append(theta if not np.isfinite(end).all() else end)
    return results


def _best(problem: CurveProblem, candidates: list[np.ndarray], is_robust: bool) -> np.ndarray | None:
    """Return the candidate with the smallest finite sum of squares; of the smaller three quarters where robust.

    The second is least trimmed squares: Rousseeuw (1984), J. Amer. Statist. Assoc. 79, 871-880.
    """

    def size(theta: np.ndarray) -> float:
        with np.errstate(all="ignore"):
            squares = np.sort(problem.residual(problem.pack(theta)) ** 2)
            value = float(np.sum(squares[: max(1, 3 * len(squares) // 4)] if is_robust else squares))
        return value if np.isfinite(squares[-1]) else np.inf

    value, k = min(((size(theta), k) for k, theta in enumerate(candidates)), default=(np.inf, -1))
    return candidates[k] if value < np.inf else None
